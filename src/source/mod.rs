//! Layer 4: where mail comes from. A [`Source`] opens a [`Session`] with one mailbox; a session lists, fetches and disposes by UID.
//!
//! The rules that every implementation keeps:
//!
//! - A command is done only at its own positive answer. End of stream, NO, BAD, -ERR and BYE are errors, and an empty listing after an error is an error.
//! - Only a complete message is yielded.
//! - Nothing is marked, moved or deleted but by [`Session::dispose`].
//! - Time limits live inside: a call ends by itself, so that nobody has to drop its future.

mod auth;
pub mod autodiscover;
pub mod error;
pub mod ews;
pub mod graph;
mod hints;
pub mod imap;
pub mod pop3;
mod renewing;
mod web;
pub mod web_login;

pub use error::{Retry, SourceError, SourceErrorKind};
pub use renewing::{Renew, Renewing};

use crate::mail::{Canonical, Epoch, FolderName, HeaderBlock, KnownUids, Message, Present, RemoteUid};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::time::Duration;

/// A mailbox that can be connected to.
#[async_trait]
pub trait Source: Send + Sync {
    /// Connects, secures the channel, logs in.
    async fn open(&self) -> Result<Box<dyn Session>, SourceError>;

    /// Connects, hears the greeting and secures the channel, and goes away again without a login: for those who only want to see that.
    async fn reach(&self) -> Result<(), SourceError> {
        Err(SourceError::new(SourceErrorKind::Protocol, "connect", "", "this source cannot be reached without a login"))
    }

    /// The folder and its epoch, where the protocol knows but one of each (POP3): what is remembered of it can be read beforehand.
    fn only_place(&self) -> Option<(FolderName, Epoch)> {
        None
    }

    /// The least time between two sessions that the server asks for, as far as it is known by now (POP3 LOGIN-DELAY, RFC 2449 §6.5).
    fn least_interval(&self) -> Option<Duration> {
        None
    }
}

/// A session with one mailbox. After any error the session is used no more, but for [`Session::abandon`].
#[async_trait]
pub trait Session: Send {
    /// Opens a folder for collecting.
    async fn select(&mut self, folder: &FolderName) -> Result<Selected, SourceError>;

    /// Lists the messages that `want` asks for, in the order in which they should be collected.
    async fn list(&mut self, want: Want) -> Result<Listing, SourceError>;

    /// Asks for these messages, whole; they then come by [`Session::next_message`]. Called again only when the former request is used up.
    /// `generation` of each key is 0 unless the ledger says otherwise.
    async fn fetch(&mut self, batch: Vec<Wanted>) -> Result<(), SourceError>;

    /// The next of the messages that were asked for, or `None` when all have been answered for.
    async fn next_message(&mut self) -> Result<Option<Fetched>, SourceError>;

    /// The headers of the last messages of the folder, oldest first, at most `last`. Nothing is marked, nothing is delivered: for those who only
    /// want to look.
    async fn headers(&mut self, last: usize) -> Result<Vec<Peeked>, SourceError> {
        let _ = last;
        Err(SourceError::new(SourceErrorKind::Mailbox, "headers", "", "this source cannot show headers alone"))
    }

    /// The header of one message of the folder, or `None` if it is not there. Nothing is marked. A refusal ([`SourceError::is_refusal`]) concerns
    /// this message alone: the session goes on.
    async fn header_of(&mut self, uid: &RemoteUid) -> Result<Option<Peeked>, SourceError> {
        let _ = uid;
        Err(SourceError::new(SourceErrorKind::Mailbox, "headers", "", "this source cannot show headers alone"))
    }

    /// The folders of the mailbox that can be selected. A server without folders has one, INBOX.
    async fn folders(&mut self) -> Result<Vec<RemoteFolder>, SourceError> {
        Ok(vec![RemoteFolder { name: FolderName::inbox(), attributes: Vec::new(), separator: None }])
    }

    /// True if the server offers to tell of new mail in the selected folder, and has not been told not to be asked.
    fn can_idle(&self) -> bool {
        false
    }

    /// Waits in the selected folder until the server tells of something, `limit` is over, or `stop` ends; re-issues what the protocol needs
    /// (RFC 2177: within 29 minutes). The session can be used afterwards.
    async fn idle(&mut self, limit: Duration, stop: BoxFuture<'_, ()>) -> Result<Woken, SourceError> {
        let _ = (limit, stop);
        Err(SourceError::new(SourceErrorKind::Mailbox, "idle", "", "this source cannot tell of new mail"))
    }

    /// The address of the server, if the channel has one: for the Received field.
    fn peer(&self) -> Option<IpAddr> {
        None
    }

    /// Asks the server to do `how` with these messages. Only ever called with what the ledger says is final. A refusal names those that it is about
    /// ([`SourceError::only`]) where the server tells, and did it to the others.
    async fn dispose(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError>;

    /// Ends the session in order. Tells which of the disposals that were only requested are now confirmed (POP3: those before QUIT's +OK).
    async fn close(self: Box<Self>) -> Result<Vec<RemoteUid>, SourceError>;

    /// Ends the session at once, without LOGOUT or QUIT: after an error, or with answers outstanding.
    async fn abandon(self: Box<Self>);
}

/// A folder of the mailbox (RFC 9051 §7.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFolder {
    /// Its name, in Unicode.
    pub name: FolderName,
    /// Its attributes: `\\Junk`, `\\All` (RFC 6154).
    pub attributes: Vec<String>,
    /// What stands between the levels of names.
    pub separator: Option<char>,
}

/// Why an [`Session::idle`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The server told of new messages.
    Told,
    /// The time is over.
    Limit,
    /// Somebody asked it to end.
    Stopped,
}

/// A folder as SELECT (or STAT) described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// UIDVALIDITY; never 0 for IMAP, always 0 for POP3.
    pub epoch: Epoch,
    /// How many messages the folder holds.
    pub exists: u64,
    /// The UID that the next arriving message will get at least, if the server said so (RFC 9051 §2.3.1.1).
    pub uid_next: Option<u32>,
    /// False if the server can only expunge everything that anybody flagged (no UIDPLUS): deleting then means flagging.
    pub can_delete: bool,
}

/// What to list.
#[derive(Clone, Debug)]
pub struct Want {
    /// Messages above this UID (IMAP; 0 for all). Elsewhere only [`u32::MAX`] means something: nothing but `also` is wanted. A POP3 listing is always
    /// complete.
    pub above: u32,
    /// These as well, whatever their number: exceptions of earlier passes that are due again.
    pub also: Vec<RemoteUid>,
    /// Only messages without \Seen (all but POP3); does not touch `also`.
    pub unseen: bool,
    /// Only messages that arrived at this time or later, in seconds since the epoch (IMAP: INTERNALDATE, to the day; the rest stays known to
    /// the server alone; all others tell it in [`Listing::older`]); does not touch `also`.
    pub since: Option<i64>,
    /// Only messages that arrived at this time or later, to the second, those of `also` too; what else there is, the listing is silent about (IMAP:
    /// INTERNALDATE; a POP3 server knows no such time, and a listing that asks for it is an error).
    pub not_before: Option<i64>,
    /// Whether sizes are wanted: they cost a bridge a download of each message, so only if a limit is set.
    pub sizes: bool,
    /// Whether every message of the folder must be looked at, so that what has vanished can be pruned (IMAP).
    pub complete: bool,
    /// Messages that are not to be yielded (but for those in `also`).
    pub known: KnownUids,
    /// Most messages to yield; more wait for the next listing.
    pub limit: usize,
    /// Where an earlier listing ended ([`Listing::cursor`]), every message of which has a recorded state: only what has changed since is wanted.
    pub cursor: Option<Bytes>,
}

impl Want {
    /// Every message that is there, read or not, of whatever age, without a limit.
    pub fn all() -> Self {
        Want {
            above: 0,
            also: Vec::new(),
            unseen: false,
            since: None,
            not_before: None,
            sizes: false,
            complete: false,
            known: KnownUids::new(),
            limit: usize::MAX,
            cursor: None,
        }
    }

    /// These, as far as they are there, and nothing else.
    pub fn only(uids: Vec<RemoteUid>) -> Self {
        Want { above: u32::MAX, limit: uids.len(), also: uids, ..Want::all() }
    }
}

/// The messages of a folder that the caller has to know of.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// What was listed and is not known, in collecting order (oldest first), at most `limit`.
    pub messages: Vec<Listed>,
    /// True if the limit cut the listing.
    pub more: bool,
    /// What arrived before `since`: to be remembered as collected, never fetched (all but IMAP; an IMAP server leaves these out by itself). Together
    /// with `messages` at most `limit`.
    pub older: Vec<RemoteUid>,
    /// Those of `also` that are no longer there; and, where the listing went on from a cursor, those of `known`.
    pub vanished: Vec<RemoteUid>,
    /// Everything that is present, if every message was looked at.
    pub present: Option<Present>,
    /// True if the limit cut a listing that began at the folder's start, and nothing of `known` was among what was looked at: the messages may have
    /// other ids than before.
    pub met_nothing: bool,
    /// Where a later listing may go on, at most [`CURSOR_OCTETS_MAX`]: EWS's sync state, Graph's delta link. Opaque to all but the source, which has to
    /// know one of another folder (the name may have gone to another one) from its own.
    pub cursor: Option<Bytes>,
}

/// Longest cursor that is kept; with a longer one each listing begins anew.
pub const CURSOR_OCTETS_MAX: usize = 1024 * 1024;

/// One listed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its UID.
    pub uid: RemoteUid,
    /// Its size as the server says, if it was asked for; a hint that is never trusted.
    pub size: Option<u64>,
}

/// A message to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its UID.
    pub uid: RemoteUid,
    /// The ledger's generation for it.
    pub generation: u32,
    /// The size that the listing gave.
    pub size: Option<u64>,
}

/// What came of one requested message.
#[derive(Debug)]
pub enum Fetched {
    /// It is here, complete.
    Message(Box<Message>),
    /// The server did not deliver this one (vanished, an error for it alone); the others go on.
    Missing {
        /// Which.
        uid: RemoteUid,
        /// What the server said.
        reason: String,
    },
    /// The server has this one, and says that it cannot give its content (no MIME can be made of it); the others go on.
    Unreadable {
        /// Which.
        uid: RemoteUid,
        /// What the server said.
        reason: String,
    },
    /// It turned out larger than the limit, and its octets were thrown away.
    TooLarge {
        /// Which.
        uid: RemoteUid,
        /// Octets that the server announced or sent.
        octets: u64,
    },
}

/// A message that was only looked at.
#[derive(Clone, Debug)]
pub struct Peeked {
    /// Its UID.
    pub uid: RemoteUid,
    /// Its header, in canonical form.
    pub header: HeaderBlock,
}

/// Most octets of one header that are kept of what a server sends: what the reader of headers looks at.
pub(crate) const PEEKED_OCTETS_MAX: usize = crate::mail::header::HEADER_OCTETS_MAX;
/// Most octets of headers in one answer to [`Session::headers`]: beyond them the older messages are left out.
pub(crate) const PEEKED_OCTETS_IN_ALL_MAX: usize = 64 * 1024 * 1024;

impl Peeked {
    /// From octets as the server sent them; `cut` if more came than was kept.
    pub(crate) fn new(uid: RemoteUid, octets: &[u8], cut: bool) -> Self {
        let mut text = Vec::with_capacity(octets.len() + 2);
        let mut canonical = Canonical::new();
        canonical.push(octets, &mut text);
        canonical.finish(&mut text);
        Peeked { uid, header: HeaderBlock::parse_start(Bytes::from(text), cut).shrunk() }
    }
}

/// What to do with a source copy whose recipients are all final.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Disposal {
    /// Nothing.
    Keep,
    /// Set \Seen.
    MarkSeen,
    /// Set \\Deleted, to be expunged by a later [`Disposal::Delete`].
    Flag,
    /// Delete it for good.
    Delete,
    /// Move it to another folder of the mailbox (RFC 6851, else COPY and delete).
    Move(FolderName),
}

/// How far a disposal got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposed {
    /// Done.
    Confirmed,
    /// Asked for; done when the session ends in order (POP3).
    Requested,
    /// Flagged \Deleted and left: the server has no UIDPLUS, and a plain EXPUNGE is not allowed or would take mail that others flagged; or it does not
    /// keep its word. After a [`Disposal::Move`] the copy is in the other folder already.
    FlaggedOnly,
}
