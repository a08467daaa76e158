//! Layer 3: where a message becomes whole. [`Spool::intake`] takes a share of the memory budget before the first octet, an [`Intake`] puts
//! octets into canonical form as they come, moves a large message into an unlinked file of the state directory, and yields a
//! [`crate::mail::Message`] only when the source says that it is complete. An intake that is dropped leaves nothing behind.

mod intake;
pub mod reader;

pub use intake::{Intake, Spool, SpoolError};
