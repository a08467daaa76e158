//! Layer 3: what the operator sees: the log, one function per mail event, and the counters behind progress and status.

pub mod counters;
pub mod histogram;
pub mod logging;
pub mod maillog;
pub mod status;
pub mod version;

pub use counters::Counters;
pub use status::Status;
