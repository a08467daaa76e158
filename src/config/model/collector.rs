//! A collector: what is taken from where, when, for whom, and what happens to it afterwards.

use super::{Delivery, Relay, Server};
use crate::mail::{Address, CollectorId, FolderName};
use crate::resolve::{Rules, SenderFallback};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `log` of a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogMode {
    /// Everything.
    #[default]
    Full,
    /// Warnings and errors.
    Errors,
    /// Nothing; the service's own lines stay, and what the operator does.
    Off,
}

/// One collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Collector {
    /// The key of its block.
    pub id: CollectorId,
    /// Free text for people; the id if unset.
    pub title: String,
    /// Free text.
    pub description: String,
    /// False: it is checked, and not run.
    pub enabled: bool,
    /// The mailbox's own address.
    pub email: Option<Address>,
    /// Where and how to collect.
    pub server: Server,
    /// Time between passes; 50 ms to days.
    pub interval: Duration,
    /// `interval: manual`: passes run on request only.
    pub manual: bool,
    /// The provider that filled in what the collector does not say, by its name.
    pub provider: Option<String>,
    /// The hosts whose Received fields the provider of its server writes, with what is below them.
    pub received_hosts: Vec<String>,
    /// What to collect.
    pub collect: Collect,
    /// What to do with what was delivered.
    pub after: After,
    /// Where [`After::Move`] moves it.
    pub move_to: Option<FolderSelect>,
    /// The folders to collect, in this order; never empty. POP3 has one, INBOX.
    pub folders: Vec<Folder>,
    /// What is put on top of the mail of the folder at hand: set while a pass is in a folder that has one.
    pub flag: Option<FolderFlag>,
    /// When passes may run by themselves.
    pub schedule: Schedule,
    /// Whether the server tells of new mail.
    pub idle: Idle,
    /// What a first pass over a folder takes of what is there already.
    pub first_run: FirstRun,
    /// When what was delivered is expunged.
    pub expunge: Expunge,
    /// A POP3 server without UIDL may be collected from though mail stays there: each pass then reads all of it.
    pub keep_without_uidl: bool,
    /// 0 means no limit.
    pub max_messages_per_session: usize,
    /// Octets that one session fetches at most, but for its last message; `None` means no limit.
    pub max_bytes_per_session: Option<u64>,
    /// Messages above this size are skipped and reported.
    pub max_message_size: Option<u64>,
    /// What is done with them.
    pub too_large: TooLarge,
    /// Who gets the mail.
    pub recipient: RecipientMode,
    /// A hash of everything that decides about recipients: when it changes, what was left on the server is tried again.
    pub recipient_hash: u64,
    /// How a recipient's address is checked before it is delivered to; with `auto` only.
    pub check_local: CheckLocal,
    /// How long a delivered message is remembered, so that another copy for the same recipient is not delivered; zero: not at all.
    pub dedupe_window: Duration,
    /// What becomes of the source's copy of held mail.
    pub on_hold: OnHold,
    /// How much is logged of it.
    pub log: LogMode,
    /// Who is told of its trouble, maybe nobody; `None`: those who are told of all collectors.
    pub notify: Option<Vec<Arc<crate::config::Channel>>>,
    /// Where it goes.
    pub delivery: Arc<Delivery>,
}

/// An entry of `folders`.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// Which folder or folders of the mailbox.
    pub select: FolderSelect,
    /// A header field that is put on top of what comes from it, as `flag: spam` puts `X-Spam-Flag: YES`.
    pub flag: Option<FolderFlag>,
    /// Its mail goes to these addresses, whatever `recipient` says.
    pub forward_to: Option<Vec<Address>>,
    /// What is done with what was delivered, if not the collector's `after`.
    pub after: Option<After>,
    /// Where it is moved, if not to the collector's `move_to`.
    pub move_to: Option<FolderSelect>,
}

/// What an entry of `folders` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderSelect {
    /// One, by its name in Unicode.
    Name(FolderName),
    /// All that match: `*` stands for anything, `%` for anything without the hierarchy separator (RFC 9051 §6.3.9).
    Glob(String),
    /// The one with this attribute (RFC 6154): `\\Junk`.
    SpecialUse(String),
}

/// `flag` of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderFlag {
    /// `X-Spam-Flag: YES`
    Spam,
}

/// `schedule`
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Schedule {
    /// At any time.
    #[default]
    Always,
    /// Inside these hours.
    Inside(Hours),
    /// Outside these hours: `after_hours`, with those of `service.business_hours`.
    Outside(Hours),
}

/// Days and hours in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    /// Monday first.
    pub days: [bool; 7],
    /// Minutes since midnight; a range whose end is not above its start goes on over midnight, into the next day.
    pub from: u16,
    /// The first minute that is outside.
    pub to: u16,
    /// An IANA name, or the system's zone.
    pub timezone: Option<String>,
}

/// `idle`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Only the interval.
    #[default]
    Off,
    /// IDLE (RFC 2177) where it is offered, with the interval's poll as its guard.
    On,
    /// The same, and switched off for a server that does not tell of new mail.
    Auto,
}

/// `first_run`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstRun {
    /// All of it.
    #[default]
    All,
    /// Nothing: what is there counts as collected.
    None,
    /// What arrived within this time before the pass (IMAP: INTERNALDATE; POP3: the Date of the message).
    Since(Duration),
}

/// `expunge`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expunge {
    /// After so many deleted messages; 0: at the end of each batch and session.
    pub every_messages: u32,
    /// Only in each n-th session; 0 and 1: in each.
    pub every_sessions: u32,
}

/// `max_message_size.action`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TooLarge {
    /// It stays on the server and is reported.
    #[default]
    Skip,
    /// It is fetched and held.
    Hold,
    /// Its header is delivered, with a note in place of the body; the message stays on the server.
    HeadersOnly,
}

/// `recipient.auto.check_local`
#[derive(Clone, Debug, Default, PartialEq)]
pub enum CheckLocal {
    /// Not at all.
    #[default]
    None,
    /// RCPT at this LMTP server.
    Lmtp(Relay),
    /// RCPT at this SMTP server.
    Smtp(Relay),
    /// A file with one address a line (or `@domain` for all of a domain), read again when it changes.
    File(PathBuf),
    /// A command, given the address as its last argument: 0 means that it exists, 1 or 67 (EX_NOUSER) that it does not, anything else that
    /// nobody knows.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
}

/// `on_hold`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHold {
    /// It stays, and is never fetched again.
    #[default]
    Keep,
    /// It is deleted: the held copy is then the only one.
    Delete,
    /// It is moved to the folder that `move_to` names.
    Move,
}

/// `collect`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collect {
    /// What is not in our history.
    New,
    /// What is listed, but for what is owed a disposal or set aside.
    All,
    /// What has no \Seen and is not in our history.
    Unseen,
}

/// `after`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Leave the copy on the server.
    Keep,
    /// Delete it.
    Delete,
    /// Set \Seen.
    MarkSeen,
    /// Delete it when it has been collected for so long.
    DeleteAfter(Duration),
    /// Move it to the folder that `move_to` names.
    Move,
}

/// `recipient:`
#[derive(Clone, Debug, PartialEq)]
pub enum RecipientMode {
    /// Everything goes to these addresses.
    ForwardTo(Vec<Address>, SenderFallback),
    /// The resolver decides.
    Auto(Arc<Rules>, SenderFallback),
}
