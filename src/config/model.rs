//! The configuration as the program uses it: every value checked, every default filled in, every name the operator's own word.

use crate::mail::{Address, CollectorId, MailboxId, Secret};
use crate::resolve::Rules;
pub use crate::resolve::SenderFallback;
use std::collections::BTreeMap;
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
    /// Where it goes.
    pub delivery: Arc<Delivery>,
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

/// An SMTP or LMTP server.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// Where it listens.
    pub endpoint: Endpoint,
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
