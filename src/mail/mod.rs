//! Layer 0: the words of the field, without any I/O: addresses, envelopes, headers, messages, keys, outcomes.

pub mod address;
pub mod arrived;
pub mod by_content;
pub mod canonical;
pub mod code;
pub mod content;
pub mod envelope;
pub mod fingerprint;
pub mod header;
pub mod key;
pub mod message;
pub mod outcome;
pub mod pattern;
pub mod secret;
pub mod uidset;
pub mod when;

pub use address::{Address, AddressError, Domain};
pub use arrived::arrived;
pub use canonical::Canonical;
pub use content::Content;
pub use envelope::{Client, Envelope, Recipient, ReversePath};
pub use fingerprint::Fingerprint;
pub use header::{Field, HeaderBlock};
pub use key::{CollectorId, Epoch, FolderName, MailboxId, MessageKey, RemoteUid, TraceId};
pub use message::{Message, Repairs};
pub use outcome::{Blame, Diagnosis, Outcome, Reply, Stage, TargetDown};
pub use pattern::Pattern;
pub use secret::Secret;
pub use uidset::{KnownUidls, KnownUids, Present, UidSet};
