//! Layer 1, pure: who gets a message, and why. The rules come from the envelope traces that mail systems leave in a header.
//!
//! ```text
//! header ─TrustedBlock::find─▶ block ─resolve (or forward, or resolve_journal)─▶ Resolution + Trail     Evidence or Reason, what `explain` prints
//!                                └────sender──────────────▶ ReversePath
//! Resolution ─LoopGuard::check─▶ None ─edits─▶ Vec<Edit>, Stamp::to_header ─▶ Envelope { edits, prefix, … }
//! ```
//!
//! Nothing in here fails and nothing waits: whatever octets a header holds, there is an answer, and the work is linear in the header, whose
//! size [`crate::mail::header`] limits.

mod accept;
pub mod addresses;
pub mod audit;
pub mod client;
mod customer;
pub mod edits;
pub mod fold;
pub mod guess;
pub mod journal;
pub mod loops;
pub mod missing;
pub mod options;
pub mod probe;
pub mod received;
pub mod reliability;
mod resolution;
pub mod resolver;
pub mod rules;
pub mod sender;
mod srs;
pub mod stamp;
pub mod trail;
pub mod trusted;
mod walk;

pub use addresses::addresses;
pub use client::client;
pub use edits::edits;
pub use fold::{fold, merge};
pub use journal::{JournalScanner, Report, google_recipients};
pub use loops::{Loop, LoopGuard, is_internal_message};
pub use missing::missing;
pub use options::{BccOption, DeliveredToOption, HeaderOptions, ReceiptOption, SpamOption};
pub use received::Received;
pub use reliability::Reliability;
pub use resolver::{Evidence, Reason, Resolution, forward, resolve, resolve_journal};
pub use rules::{Alias, Exclude, Guess, HeaderRule, Headers, Journal, JournalKind, ListName, ListRule, MapTo, Rewrite, Rules, Take, Unresolved};
pub use sender::{SenderEvidence, SenderFallback, is_uncertain, sender};
pub use stamp::Stamp;
pub use trail::{Decision, Step, Trail};
pub use trusted::{Trust, TrustedBlock};
