//! The configuration as the program uses it: every value checked, every default filled in, every name the operator's own word.

use crate::mail::{Address, CollectorId, MailboxId, Secret};
pub use crate::policy::{Action, Policy, PolicyRule, ReplyPattern};
use crate::resolve::Rules;
pub use crate::resolve::{HeaderOptions, SenderFallback};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What belongs to the process.
    pub service: Service,
    /// How much is logged.
    pub log_level: LogLevel,
    /// The collectors, by id; each complete, defaults applied.
    pub collectors: BTreeMap<CollectorId, Arc<Collector>>,
}

/// `service:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Ledger and spool.
    pub state_dir: PathBuf,
    /// False: nothing is collected.
    pub enabled: bool,
    /// Passes at once.
    pub max_sessions: usize,
    /// Passes at once to one remote host.
    pub max_sessions_per_host: usize,
    /// First passes are spread over this time.
    pub start_jitter: Duration,
    /// How long a stop waits for passes to end at a message's border.
    pub shutdown_grace: Duration,
    /// Octets of messages in memory, all collectors together.
    pub memory: u64,
    /// Messages above this size go to a file as they arrive.
    pub spool_above: u64,
    /// What held mail may take.
    pub held: HeldLimits,
    /// The name servers for MX records; empty: those of the system.
    pub dns: Vec<SocketAddr>,
}

/// `service.held`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLimits {
    /// Held mail older than this is dropped, and each message logged; `None`: never.
    pub max_age: Option<Duration>,
    /// Octets of held mail in all. Beyond it nothing more is held: messages stay at their source, set aside.
    pub max_size: u64,
}

impl Default for HeldLimits {
    fn default() -> Self {
        HeldLimits { max_age: None, max_size: 1024 * 1024 * 1024 }
    }
}

/// `log.level`, the most silent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What needs the operator.
    Error,
    /// And what may.
    Warn,
    /// And what happens to mail.
    Info,
    /// And how.
    Debug,
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
    /// What to collect.
    pub collect: Collect,
    /// What to do with what was delivered.
    pub after: After,
    /// 0 means no limit.
    pub max_messages_per_session: usize,
    /// Messages above this size are skipped and reported.
    pub max_message_size: Option<u64>,
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
    /// Where it goes.
    pub delivery: Arc<Delivery>,
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
}

/// A remote mail server and how to log in.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// IMAP or POP3.
    pub protocol: Protocol,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the channel is secured.
    pub tls: Tls,
    /// Login name.
    pub username: String,
    /// Where the password is.
    pub password: SecretSource,
    /// How to log in.
    pub auth: AuthMethod,
    /// A password may go over an open channel.
    pub allow_plaintext: bool,
    /// For connecting, the handshake and the greeting.
    pub connect_timeout: Option<Duration>,
    /// Without any octet from the server.
    pub idle_timeout: Option<Duration>,
}

impl Server {
    /// The mailbox that state belongs to.
    pub fn mailbox(&self) -> MailboxId {
        let protocol = match self.protocol {
            Protocol::Imap => "imap",
            Protocol::Pop3 => "pop3",
        };
        MailboxId { protocol, host: self.host.to_ascii_lowercase(), login: self.username.clone() }
    }
}

/// `protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 3501 and RFC 9051.
    Imap,
    /// RFC 1939.
    Pop3,
}

/// `tls:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// When the channel is secured.
    pub mode: TlsMode,
    /// Certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// `tls.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// From the first octet (RFC 8314).
    Implicit,
    /// By STARTTLS or STLS, always: without it there is no login.
    StartTls,
    /// Never, on purpose.
    None,
}

/// `auth.method`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// PLAIN if it is offered, else LOGIN (IMAP) or USER/PASS (POP3). Chosen before the first try; never a second try.
    Auto,
    /// IMAP LOGIN, POP3 USER/PASS.
    Password,
    /// SASL PLAIN (RFC 4616).
    Plain,
}

/// Where a secret is; read at each login, so that a changed secret needs no reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In the YAML itself.
    Plain(Secret),
    /// In a file; one trailing newline is cut.
    File(PathBuf),
    /// In the environment.
    Env(String),
    /// On the standard output of a command: an argument list, no shell.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
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
}

/// `recipient:`
#[derive(Clone, Debug, PartialEq)]
pub enum RecipientMode {
    /// Everything goes to these addresses.
    ForwardTo(Vec<Address>, SenderFallback),
    /// The resolver decides.
    Auto(Arc<Rules>, SenderFallback),
}

/// `delivery:`
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Where to.
    pub target: Target,
    /// Connections at once.
    pub max_connections: usize,
    /// Messages before a connection is closed; 0 means no limit.
    pub max_messages_per_connection: usize,
    /// Recipients in one transaction.
    pub max_recipients: usize,
    /// Add the Received field.
    pub trace_received: bool,
    /// Add the X-Mailgather fields.
    pub trace_id: bool,
    /// A message with this many Received fields is a loop.
    pub max_hops: usize,
    /// A message that went through this many collectors of this instance is a loop.
    pub max_passes: usize,
    /// What to do about refusals.
    pub policy: Policy,
    /// When a deferred message is tried again.
    pub retry: RetryTimes,
    /// DSN NOTIFY=NEVER where it is offered (RFC 3461).
    pub suppress_dsn: bool,
    /// The real client's identity is passed on where XCLIENT is offered.
    pub xclient: bool,
    /// What to do with octets above 127 where 8BITMIME is not offered.
    pub eight_bit: Otherwise,
    /// What to do with NUL octets: removed, or the message held.
    pub nul: Otherwise,
    /// What to do with a CR that is no line end: made one, or the message held.
    pub bare_cr: Otherwise,
    /// Message-ID and Date are added where they are missing.
    pub add_missing: bool,
    /// Over-long lines of the header are folded when the target refuses the content.
    pub fold_headers: bool,
    /// Edits of the header.
    pub headers: HeaderOptions,
}

/// The usual way with odd content, or the careful one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// Deliver it all the same: send 8-bit, strip NUL, turn a bare CR into a line end.
    #[default]
    Deliver,
    /// Hold the message.
    Hold,
}

/// `delivery.retry`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryTimes {
    /// The delays after the first failures.
    pub delays: Vec<Duration>,
    /// The delay after all further ones.
    pub max: Duration,
    /// A message that has been tried for so long is given up: held.
    pub give_up: Duration,
}

impl RetryTimes {
    /// The delay after this many failed tries before the one that failed now.
    pub fn after(&self, tries: u32) -> Duration {
        self.delays.get(tries as usize).copied().unwrap_or(self.max)
    }
}

impl Default for RetryTimes {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        RetryTimes { delays: [1, 5, 15, 60].map(minutes).to_vec(), max: minutes(240), give_up: minutes(5 * 24 * 60) }
    }
}

impl Default for Delivery {
    /// The defaults of every key, into a Maildir without a path.
    fn default() -> Self {
        Delivery {
            target: Target::Maildir { path: String::new(), create: false },
            max_connections: 4,
            max_messages_per_connection: 100,
            max_recipients: 100,
            trace_received: true,
            trace_id: true,
            max_hops: 50,
            max_passes: 3,
            policy: Policy::default(),
            retry: RetryTimes::default(),
            suppress_dsn: true,
            xclient: false,
            eight_bit: Otherwise::Deliver,
            nul: Otherwise::Deliver,
            bare_cr: Otherwise::Deliver,
            add_missing: true,
            fold_headers: true,
            headers: HeaderOptions::default(),
        }
    }
}

/// The three kinds of targets.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// An SMTP server.
    Smtp(Relay),
    /// An LMTP server.
    Lmtp(Relay),
    /// Maildirs.
    Maildir {
        /// The folder, with `{local}` and `{domain}`.
        path: String,
        /// Make the folder of a resolved address too, not only those of `forward_to` and `default_box`.
        create: bool,
    },
}

/// The path of a Maildir target, split where its components stop to be the operator's: before the first placeholder, or before the last component
/// if there is none.
pub fn maildir_base(path: &str) -> (PathBuf, Vec<&str>) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let first = parts.iter().position(|part| part.contains("{local}") || part.contains("{domain}"));
    let (base, below) = parts.split_at(first.unwrap_or(parts.len().saturating_sub(1)));
    let mut folder = PathBuf::from(if path.starts_with('/') { "/" } else { "." });
    folder.extend(base);
    (folder, below.to_vec())
}

/// An SMTP or LMTP server.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// Where it listens: the first that answers gets the mail. Never empty.
    pub endpoints: Vec<Endpoint>,
    /// How the channel is secured; `none` for a local server.
    pub tls: Tls,
    /// Login, for a relay host.
    pub auth: Option<RelayAuth>,
    /// The name in EHLO or LHLO; the host's own if unset.
    pub hello: Option<String>,
    /// False: SMTPUTF8 is never used.
    pub smtputf8: bool,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Host and port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// Login at a relay host: AUTH PLAIN, over TLS only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAuth {
    /// Login name.
    pub username: String,
    /// Where the password is.
    pub password: SecretSource,
}
