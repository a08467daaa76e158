//! Layer 3: where a message becomes whole. [`Spool::intake`] takes a share of the memory budget before the first octet, an [`Intake`] puts
//! octets into canonical form as they come, moves a large message into an unlinked file of the state directory, and yields a
//! [`crate::mail::Message`] only when the source says that it is complete. An intake that is dropped leaves nothing behind. A message that
//! came inside of another one ([`Spool::report`], [`Spool::original`]) is a part of the same octets.

mod intake;
mod original;
pub mod reader;

/// What to do if a message cannot be spooled.
pub const HINT: &str = "make room where the state directory is; the mail stays on the server, and comes by itself when there is room";

pub use intake::{Intake, Spool, SpoolError};
