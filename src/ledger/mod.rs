//! Layer 3: the ledger: what was delivered to whom, durable before anything happens at the source.
//!
//! State belongs to the mailbox (protocol, host, login), its folder and its epoch. A mailbox that is kept on the server stays cheap: a pass
//! reads and writes a watermark and the exceptions. Only the *domain* is in the trait; SQL and transactions are not.
//!
//! What is kept about a message, by its state:
//!
//! | state | where | until |
//! |---|---|---|
//! | being delivered | the batch, one row a folder | the batch is finished; after a crash its messages are *in doubt* |
//! | [`State::Pending`], [`State::Left`], [`State::Skipped`] | an exception | it is settled, or gone from the server |
//! | [`State::Owed`]: every recipient is final, the copy still stands | an exception | the disposal is confirmed |
//! | [`State::Held`]: it is in the store of held mail | an exception | it is released, or gone from the server |
//! | [`State::HeldAway`]: held, and the copy still stands | an exception | the move is confirmed |
//! | [`State::Flagged`]: \Deleted is set and nobody expunged | an exception | it is gone from the server |
//! | forgotten by the operator: [`Pending::forgotten`] | an exception | it is settled, or gone from the server |
//! | [`State::Kept`] | its UID and identity, written once | it is gone from the server |

pub mod forget;
pub mod former;
pub mod held;
mod schema;
pub mod sqlite;
mod sqlite_forget;
mod sqlite_held;
mod sqlite_rows;
pub mod state;
#[cfg(test)]
pub(crate) mod suite;

pub use forget::{Forget, Mark, Marked, Remembered};
pub use former::{Former, FormerKey, FormerMessage};
pub use held::{AtSource, HeldEnd, HeldId, HeldMail, HeldTotal, HeldWhy};
pub use state::{Pending, State, due};

use crate::mail::{Epoch, Fingerprint, FolderName, KnownUids, MailboxId, Present, RemoteUid, TraceId};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// A store of what was delivered. Every write is durable when its future resolves; a write under a stale claim changes nothing.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// This installation's id and key, made once.
    async fn instance(&self) -> Result<Instance, LedgerError>;

    /// Takes the mailbox for one pass. Every earlier claim on it is stale from now on.
    async fn claim(&self, mailbox: &MailboxId) -> Result<Claim, LedgerError>;

    /// Where an earlier pass got to in this folder. A batch that no pass finished (a crash) becomes exceptions that are in doubt.
    async fn progress(&self, claim: &Claim, folder: &FolderName, epoch: Epoch, history: History) -> Result<Progress, LedgerError>;

    /// Notes, before the first DATA, which messages are about to be delivered.
    async fn begin(&self, place: &Place, batch: &[RemoteUid]) -> Result<(), LedgerError>;

    /// Records what became of one message.
    async fn record(&self, place: &Place, entry: Entry) -> Result<(), LedgerError>;

    /// Ends a batch: notes what was disposed of and how far everything is settled.
    async fn finish(&self, place: &Place, finished: Finished) -> Result<(), LedgerError>;

    /// Notes messages as collected that never were: those that a first run leaves where they are.
    async fn collected(&self, place: &Place, uids: &[RemoteUid]) -> Result<(), LedgerError>;

    /// Kept messages that were collected before this time (seconds since the epoch), at most `limit`: they are owed a disposal from now on, and
    /// keep their hashes. Returns how many. A message without an identity was never delivered, and does not age.
    async fn owe_aged(&self, place: &Place, before: i64, limit: usize) -> Result<u64, LedgerError>;

    /// The same whatever their age: what was delivered and is kept, and is in no store of held mail.
    async fn owe_kept(&self, place: &Place, limit: usize) -> Result<u64, LedgerError>;

    /// The server gives out UIDs again that other messages had, under the same UIDVALIDITY: what is known of this folder becomes that of an
    /// earlier epoch. The place is stale from now on; [`Ledger::progress`] gives the new one.
    async fn renumber(&self, place: &Place) -> Result<(), LedgerError>;

    /// Forgets what is gone from the server; returns how many. Only ever called with a complete listing.
    async fn prune(&self, place: &Place, present: &Present) -> Result<u64, LedgerError>;

    /// Forgets the earlier epochs of this folder, once every message of it has been compared with them; not while there is one that could not be
    /// fetched yet.
    async fn forget_former(&self, place: &Place) -> Result<(), LedgerError>;

    /// What a mailbox remembers of what was collected, as far as `which` says: one answer for each folder.
    async fn remembered(&self, mailbox: &MailboxId, which: &Forget) -> Result<Vec<Remembered>, LedgerError>;

    /// Forgets it at `now`, all or nothing: these messages are collected again. Returns how many. For an operator, while no pass runs.
    async fn forget(&self, mailbox: &MailboxId, which: &Forget, now: i64) -> Result<u64, LedgerError>;

    /// The reverse: these messages count as collected from now on, all or nothing. For an operator, while no pass runs.
    async fn mark_collected(&self, mailbox: &MailboxId, marks: &[Mark]) -> Result<Marked, LedgerError>;

    /// Which of these deliveries were made at or after `since` (seconds since the epoch): one answer for each, the trace id of the message
    /// that was delivered.
    async fn seen(&self, keys: &[SeenKey], since: i64) -> Result<Vec<Option<TraceId>>, LedgerError>;

    /// Forgets deliveries whose time is over at `now`, and the oldest beyond [`SEEN_MAX`]; returns how many.
    async fn prune_seen(&self, now: i64) -> Result<u64, LedgerError>;

    /// Forgets these deliveries, so that they can be made once more.
    async fn forget_seen(&self, keys: &[SeenKey]) -> Result<(), LedgerError>;

    /// All held mail, oldest first.
    async fn held(&self) -> Result<Vec<HeldMail>, LedgerError>;

    /// How much mail is held, by collector and reason.
    async fn held_totals(&self) -> Result<Vec<HeldTotal>, LedgerError>;

    /// Octets of all held mail.
    async fn held_octets(&self) -> Result<u64, LedgerError>;

    /// Notes that only these recipients of a held message are still to get it, that those who are `done` have it now, and that these deliveries
    /// were made.
    async fn held_rest(&self, id: HeldId, recipients: &[String], done: &[String], seen: &[Seen]) -> Result<(), LedgerError>;

    /// Takes a message out of the store; false if it was not in it. Its file may be removed afterwards.
    async fn held_end(&self, id: HeldId, end: HeldEnd) -> Result<bool, LedgerError>;
}

/// Most deliveries that are remembered to know duplicates by.
pub const SEEN_MAX: u64 = 1_000_000;

/// What two deliveries have in common that are the same letter for the same person: a hash of fingerprint, recipient and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeenKey(pub [u8; 16]);

/// A delivery to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is known by.
    pub key: SeenKey,
    /// The message that was delivered.
    pub trace_id: TraceId,
    /// When, in seconds since the epoch.
    pub at: i64,
    /// Until when it is remembered: the window of who noted it, from then on. Another collector of the same target may have a shorter one.
    pub expires: i64,
}

/// Who this installation is: for loop markers that outsiders cannot forge.
#[derive(Clone)]
pub struct Instance {
    /// Public.
    pub id: [u8; 16],
    /// Secret.
    pub key: [u8; 32],
}

/// The right to write for a mailbox, until somebody else claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub(crate) mailbox: i64,
    pub(crate) token: i64,
}

/// One folder in one epoch, under a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) claim: Claim,
    pub(crate) folder: i64,
}

/// Which of the kept messages a pass has to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// None: `collect: all`.
    None,
    /// Those above the watermark (IMAP), or all (POP3).
    AboveWatermark,
    /// All: `collect: unseen`.
    Full,
}

/// Where earlier passes got to.
#[derive(Debug)]
pub struct Progress {
    /// What writes go to.
    pub place: Place,
    /// How often the server has given out its UIDs anew, under this UIDVALIDITY.
    pub generation: u32,
    /// No pass has gone through the whole folder yet, in any epoch.
    pub first_run: bool,
    /// Sessions since the last one that expunged.
    pub unexpunged: u32,
    /// When the folder was collected for the first time, in any epoch, in seconds since the epoch; 0 if nobody wrote that down.
    pub begun: i64,
    /// All that is there was compared with the earlier epochs ([`Finished::compared`]): what comes now is no mail that a first run left alone.
    pub compared: bool,
    /// The ledger has earlier epochs of this folder, though maybe nothing that can be known again.
    pub has_earlier: bool,
    /// How many messages it remembers of them, also those that cannot be known again: what a first run left alone.
    pub earlier_count: u64,
    /// Every message up to this UID is settled or an exception (IMAP; 0 at first).
    pub watermark: u32,
    /// Where the next listing may go on (EWS, Graph): everything that was listed before has a recorded state.
    pub cursor: Option<Bytes>,
    /// The highest UID that the server has given to anything remembered here (IMAP).
    pub highest: u32,
    /// Messages that are not settled, and those whose copy is owed a disposal.
    pub exceptions: BTreeMap<RemoteUid, State>,
    /// Kept messages, as far as they were asked for.
    pub kept: KnownUids,
    /// How many messages are kept in all.
    pub kept_count: u64,
    /// Which messages the exceptions are, as far as they were ever fetched.
    pub hashes: HashMap<RemoteUid, Hashes>,
    /// Messages of earlier epochs of this folder (UIDVALIDITY changed). A new message that is one of them takes over its state.
    pub former: Former,
}

/// Which message it is, where a UID cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashes {
    /// Its [`crate::mail::Message::identity`].
    pub identity: Option<Fingerprint>,
    /// Its [`crate::mail::Message::copy_hash`].
    pub copy: Option<Fingerprint>,
}

/// What became of one message.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which.
    pub uid: RemoteUid,
    /// Its state from now on.
    pub state: State,
    /// Its identity ([`crate::mail::Message::identity`]), if it was fetched.
    pub identity: Option<Fingerprint>,
    /// Which copy it is ([`crate::mail::Message::copy_hash`]), if it was fetched.
    pub copy: Option<Fingerprint>,
    /// The message of an earlier epoch that it is: what is recorded there moves here, and of a kept one since when it is.
    pub former: Option<FormerKey>,
    /// Deliveries of it to be remembered.
    pub seen: Vec<Seen>,
    /// Who has it by now, where others are held for: the row of the held message is to say so.
    pub had: Vec<String>,
    /// It is held from now on; its file is durable already. Goes with [`State::Held`], or with [`State::Owed`] if the source's copy is to go.
    pub held: Option<Box<HeldMail>>,
}

impl Entry {
    /// An entry about a message that was not delivered now.
    pub fn new(uid: RemoteUid, state: State, identity: Option<Fingerprint>) -> Self {
        Entry { uid, state, identity, copy: None, former: None, seen: Vec::new(), had: Vec::new(), held: None }
    }
}

/// The end of a batch, or of disposals that were owed.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// Deleted at the source, confirmed: forgotten.
    pub deleted: Vec<RemoteUid>,
    /// Flagged \Deleted, and left by a server without UIDPLUS.
    pub flagged: Vec<RemoteUid>,
    /// Disposed of and still there (marked, or kept after all): history from now on.
    pub kept: Vec<RemoteUid>,
    /// Vanished from the server without us: forgotten.
    pub vanished: Vec<RemoteUid>,
    /// Every message up to this UID is settled or an exception.
    pub watermark: Option<u32>,
    /// Where the next listing may go on, from now on.
    pub cursor: Option<Bytes>,
    /// A pass has gone through the whole folder.
    pub first_run_over: bool,
    /// All that is there was compared with what an earlier epoch's first run left alone.
    pub compared: bool,
    /// Sessions since the last one that expunged, this one too.
    pub unexpunged: Option<u32>,
}

/// Why the ledger did not do what it was asked. Nothing was recorded then, and nothing may be disposed of.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another pass claimed the mailbox since.
    #[error("another pass has claimed this mailbox; this one records nothing more")]
    Fenced,
    /// The store failed: disk full, I/O error, locked, corrupt.
    #[error("ledger {path}: {text}")]
    Store {
        /// The file.
        path: String,
        /// What it said.
        text: String,
    },
    /// The file was written by a newer version.
    #[error("ledger {path} has schema version {found}, this program knows up to {known}: it was written by a newer mailgather")]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
}
