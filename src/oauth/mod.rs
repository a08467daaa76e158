//! Layer 4: access tokens for collectors (RFC 6749): asked for, kept, renewed ahead of their end.
//!
//! A [`Keeper`] is what a login asks ([`Keeper::reader`]); somebody signs in by its functions in [`login`]. The questions and answers are pure
//! ([`request`], [`answer`]).

pub mod answer;
pub mod claims;
pub mod endpoint;
mod grant;
pub mod hidden;
mod jwt;
mod keeper;
mod kept;
pub mod login;
mod pkce;
pub mod request;
mod seal;
mod tokens;
pub mod told;
pub mod verdict;

pub use keeper::Keeper;
pub use kept::{FOLDER, Found, Kept};
pub use pkce::Verifier;
pub use tokens::Tokens;
