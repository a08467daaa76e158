//! Layer 4: the store of held mail: messages that could not be placed, until an operator decides.
//!
//! A held message is a row of the ledger ([`crate::ledger::HeldMail`]) and a file, `<state>/held/<trace id>.eml`, with its octets in canonical
//! form, before any edit. The order of effects is what makes it safe:
//!
//! ```text
//! hold:     file durable under its name ─▶ row, in one transaction with State::Held ─▶ only then a disposal at the source
//! release:  delivered ─▶ row ends, and the source's copy gets its final state ─▶ file removed
//! ```
//!
//! So a crash leaves at worst a file without a row: a copy of what is still at its source, which [`HeldStore::sweep`] removes.

mod encoded;
mod file;
mod store;

pub use encoded::decoded;
pub use store::{HeldStore, HoldError, HoldNote, Swept, open_file};

/// The folder's name in the state directory.
pub const FOLDER: &str = "held";
