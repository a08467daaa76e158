//! Which version this is. What the build knows comes from build.rs.

/// The number of the version.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from; `None` if the build had neither git's files nor `MAILGATHER_COMMIT`.
pub const COMMIT: Option<&str> = option_env!("MAILGATHER_BUILD_COMMIT");
/// Both: `0.1.0 (1234567890ab)`.
pub const FULL: &str = env!("MAILGATHER_BUILD_VERSION");
