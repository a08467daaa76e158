//! The configuration as the program uses it: every value checked, every default filled in, every name the operator's own word.

use crate::mail::{Address, CollectorId, FolderName, MailboxId, Secret};
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
    /// How the daemon is asked.
    pub control: Control,
    /// Where metrics are asked for, beside the control socket.
    pub metrics: Option<SocketAddr>,
    /// Who is told of trouble.
    pub notify: Vec<Arc<super::Channel>>,
    /// How much is logged.
    pub log_level: LogLevel,
    /// In what form.
    pub log_format: LogFormat,
    /// What is hidden in it.
    pub log_redact: LogRedact,
    /// The collectors, by id; each complete, defaults applied.
    pub collectors: BTreeMap<CollectorId, Arc<Collector>>,
    /// The providers of the operator's own ([`Config::providers`] has those that are built in as well).
    pub own_providers: Vec<Arc<super::Provider>>,
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
    /// Connections at once that wait for a server to tell of new mail.
    pub max_idle: usize,
    /// First passes are spread over this time.
    pub start_jitter: Duration,
    /// How long a stop waits for passes to end at a message's border.
    pub shutdown_grace: Duration,
    /// Octets of messages in memory, all collectors together.
    pub memory: u64,
    /// Messages above this size go to a file as they arrive.
    pub spool_above: u64,
    /// Below this much free space in the state directory no session starts, and nothing is marked or deleted at a source.
    pub min_free_space: u64,
    /// What held mail may take.
    pub held: HeldLimits,
    /// How much is remembered of what became of messages.
    pub history: HistoryLimits,
    /// The name servers for MX records; empty: those of the system.
    pub dns: Vec<SocketAddr>,
}

/// `control:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The socket; `None`: in the folder that systemd made for the process, else in the state directory.
    pub socket: Option<PathBuf>,
    /// The members of this group may use it: its name, or its number.
    pub group: Option<String>,
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

/// `service.history`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Older rows go; `None`: no history is kept.
    pub keep: Option<Duration>,
    /// The oldest rows beyond so many go.
    pub max_entries: u64,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits { keep: Some(Duration::from_secs(90 * 86_400)), max_entries: 1_000_000 }
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

/// `log.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// journald where stderr is journald's, else text.
    #[default]
    Auto,
    /// Lines for people, on stderr.
    Text,
    /// Objects of JSON, a line each, on stderr.
    Json,
    /// journald's own protocol.
    Journald,
}

/// `log.redact`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogRedact {
    /// Nothing is hidden but secrets, which never get there.
    None,
    /// Subjects.
    #[default]
    Subjects,
    /// Subjects, and the local parts of addresses.
    Addresses,
}

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
    pub auth: Auth,
    /// How large messages are asked for.
    pub partial_fetch: PartialFetch,
    /// COMPRESS=DEFLATE where it is offered (RFC 4978).
    pub compress: bool,
    /// Plain EXPUNGE is used where there is no UIDPLUS, and only when nobody else's message is flagged \Deleted.
    pub allow_plain_expunge: bool,
    /// For connecting, the handshake and the greeting.
    pub connect_timeout: Option<Duration>,
    /// Without any octet from the server.
    pub idle_timeout: Option<Duration>,
}

impl Server {
    /// The mailbox that state belongs to.
    pub fn mailbox(&self) -> MailboxId {
        MailboxId { protocol: self.protocol.word(), host: self.host.to_ascii_lowercase(), login: self.username.clone() }
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

impl Protocol {
    /// As the configuration has it.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Imap => "imap",
            Protocol::Pop3 => "pop3",
        }
    }
}

/// `partial_fetch`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartialFetch {
    /// When.
    pub mode: PartialMode,
    /// Octets of one piece; 0 stands for the default, 1 MiB.
    pub chunk: u32,
}

/// `partial_fetch.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartialMode {
    /// Whole, wherever we know: a transfer that broke off starts anew, because a later session cannot prove that the server would go on with the
    /// same octets. Large messages stream to the spool either way.
    #[default]
    Auto,
    /// Always whole.
    Off,
    /// Always in pieces.
    On,
}

/// `tls:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// When the channel is secured.
    pub mode: TlsMode,
    /// How the server's certificate is judged.
    pub verify: TlsVerify,
    /// Certificates to trust besides the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// What we show the server: certificate chain and key (PEM).
    pub client_cert: Option<ClientCertificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whose TLS it is.
    pub backend: TlsBackend,
}

impl Tls {
    /// This mode, and the default of everything else.
    pub fn mode(mode: TlsMode) -> Self {
        Tls { mode, ..Tls::default() }
    }
}

/// `tls.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// From the first octet (RFC 8314).
    #[default]
    Implicit,
    /// By STARTTLS or STLS, always: without it there is no login.
    StartTls,
    /// By STARTTLS or STLS where the server offers it; else the channel stays open, and a password goes over it only with `allow_plaintext`.
    Opportunistic,
    /// Never, on purpose.
    None,
}

impl TlsMode {
    /// As the configuration has it.
    pub fn word(self) -> &'static str {
        match self {
            TlsMode::Implicit => "implicit",
            TlsMode::StartTls => "starttls",
            TlsMode::Opportunistic => "opportunistic",
            TlsMode::None => "none",
        }
    }
}

/// `tls.verify`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsVerify {
    /// Chain, name and time (RFC 9525).
    #[default]
    Full,
    /// The certificate's own SHA-256 (of its DER form) is one of these; chain, name and time are not asked.
    Fingerprint(Vec<[u8; 32]>),
    /// Not at all: whoever sits on the line reads and changes everything. Said aloud at each load.
    Off,
}

/// `tls.min_version`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.0 (RFC 2246): only in a build with the feature `legacy-tls`.
    V1_0,
    /// TLS 1.1 (RFC 4346): the same.
    V1_1,
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// `tls.backend`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsBackend {
    /// TLS 1.2 and 1.3 with what is known to be safe.
    #[default]
    Rustls,
    /// The system's OpenSSL, for servers that speak nothing better: only in a build with the feature `legacy-tls`. Said aloud at each load.
    OpenSsl {
        /// OpenSSL's own measure of what is taken, 0 (anything) to 5; `None`: the system's.
        security_level: Option<u8>,
    },
}

/// `tls.client_cert` and `tls.client_key`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, our own certificate first.
    pub cert: PathBuf,
    /// Its key; the same file may hold both.
    pub key: PathBuf,
}

/// `auth:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// How to log in.
    pub method: AuthMethod,
    /// SASL mechanisms that `auto` never chooses, in upper case: `PLAIN`.
    pub disable: Vec<String>,
    /// The Windows domain, for NTLM.
    pub domain: Option<String>,
    /// A password may go over an open channel.
    pub allow_plaintext: bool,
    /// Where the access token is, for `oauth2`: a command's output or a file.
    pub token: Option<SecretSource>,
}

/// `auth.method`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMethod {
    /// The strongest that the server offers and `disable` leaves: SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5, PLAIN, LOGIN, then IMAP LOGIN or POP3
    /// USER/PASS. Chosen before the first try; never a second try.
    #[default]
    Auto,
    /// IMAP LOGIN, POP3 USER/PASS.
    Password,
    /// SASL PLAIN (RFC 4616).
    Plain,
    /// SASL LOGIN (obsolete, and all that some servers know).
    Login,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// SCRAM-SHA-256 (RFC 7677) or SCRAM-SHA-1 (RFC 5802), the stronger one that is offered; the server's signature is checked.
    Scram,
    /// POP3 APOP (RFC 1939 §7), with a greeting that holds a message id.
    Apop,
    /// NTLM, with `domain`.
    Ntlm,
    /// OAUTHBEARER (RFC 7628) or XOAUTH2, with a token.
    OAuth2,
    /// SASL EXTERNAL (RFC 4422): the client certificate is the login.
    External,
    /// No login: the server greets with PREAUTH (IMAP) or needs none.
    None,
}

impl AuthMethod {
    /// True if this login has a password or a token.
    pub fn has_secret(self) -> bool {
        !matches!(self, AuthMethod::None | AuthMethod::External)
    }
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
    /// In our own store: the path of its file there.
    Stored(PathBuf),
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
