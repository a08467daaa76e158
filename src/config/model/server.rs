//! A remote mail server: where it is, how the channel is secured, and how to log in.

use super::OAuth;
use crate::mail::{Address, MailboxId, Secret};
use crate::proto::ews::Version;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A remote mail server and how to log in.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// How it is spoken to.
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
    /// What else is known of a mailbox behind a web service; the default for all others.
    pub web: WebMailbox,
}

impl Server {
    /// The mailbox that state belongs to. One login may read many, and many may read one: a mailbox that is named is called by its address. Where its
    /// domain is known, that stands for the server: the same mailbox is found by `url` and without it.
    pub fn mailbox(&self) -> MailboxId {
        let login = self.web.address.as_ref().map_or_else(|| self.username.clone(), ToString::to_string);
        let host = self.web.home.as_ref().unwrap_or(&self.host).to_ascii_lowercase();
        MailboxId { protocol: self.protocol.word(), host, login }
    }
}

/// `protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 3501 and RFC 9051.
    Imap,
    /// RFC 1939.
    Pop3,
    /// Exchange Web Services: one's own Exchange servers.
    Exchange,
    /// Microsoft Graph: Microsoft 365.
    Graph,
}

/// What can be relied on in a mailbox that is reached by it. Who collects asks for this, and never which protocol it is.
impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 4] = [Protocol::Imap, Protocol::Pop3, Protocol::Exchange, Protocol::Graph];

    /// As the configuration has it.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Imap => "imap",
            Protocol::Pop3 => "pop3",
            Protocol::Exchange => "exchange",
            Protocol::Graph => "graph",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Protocol::Imap => "IMAP",
            Protocol::Pop3 => "POP3",
            Protocol::Exchange => "EWS",
            Protocol::Graph => "Graph",
        }
    }

    /// There are folders besides INBOX, and mail can be moved between them.
    pub fn has_folders(self) -> bool {
        self != Protocol::Pop3
    }

    /// Messages are read or unread.
    pub fn has_flags(self) -> bool {
        self != Protocol::Pop3
    }

    /// The server tells when a message arrived, whatever the message itself says.
    pub fn tells_arrival(self) -> bool {
        self != Protocol::Pop3
    }

    /// Messages are numbered in the order of their arrival (RFC 9051 §2.3.1.1), so that one number tells how far they are known.
    pub fn numbers_messages(self) -> bool {
        self == Protocol::Imap
    }

    /// What named a message may name another one later, or the same one something else (RFC 1939 §7): before a copy is deleted in a later session it
    /// is read again.
    pub fn renames_messages(self) -> bool {
        self == Protocol::Pop3
    }

    /// Deleting is flagging first and expunging later (RFC 9051 §6.4.3).
    pub fn expunges(self) -> bool {
        self == Protocol::Imap
    }

    /// It is spoken over HTTP, to a place that `url` names.
    pub fn is_web(self) -> bool {
        matches!(self, Protocol::Exchange | Protocol::Graph)
    }

    /// What a Received field calls it, with TLS and without (RFC 5321 §4.4, RFC 3848).
    pub fn trace_word(self, tls: TlsMode) -> &'static str {
        match (self, tls) {
            (Protocol::Imap, TlsMode::None) => "IMAP",
            (Protocol::Imap, _) => "IMAPS",
            (Protocol::Pop3, TlsMode::None) => "POP3",
            (Protocol::Pop3, _) => "POP3S",
            (Protocol::Exchange | Protocol::Graph, TlsMode::None) => "HTTP",
            (Protocol::Exchange | Protocol::Graph, _) => "HTTPS",
        }
    }
}

/// A mailbox behind a web service: what is said of it besides host, port and login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebMailbox {
    /// Path on the host: `/EWS/Exchange.asmx`, `/v1.0`; `None`: host and path are asked for by autodiscover.
    pub path: Option<String>,
    /// Whose mailbox it is; `None`: that of who logs in.
    pub address: Option<Address>,
    /// The domain of the mailbox's address, for a mailbox on somebody's own servers: those change, and where they are may be said or found.
    pub home: Option<String>,
    /// `exchange_version`: the schema that is asked for; `None`: the newest that the server knows of those that we do.
    pub version: Option<Version>,
    /// `impersonate`: who logs in speaks as the owner of the mailbox.
    pub impersonate: bool,
}

/// Exchange Online, in its clouds: where EWS ends (Microsoft MC1227454).
const EXCHANGE_ONLINE: [&str; 5] = ["outlook.office365.com", "outlook.office.com", "outlook.office365.us", "webmail.apps.mil", "partner.outlook.cn"];

/// True if this is Microsoft's own Exchange, and not somebody's server.
pub fn is_exchange_online(host: &str) -> bool {
    EXCHANGE_ONLINE.iter().any(|known| host.eq_ignore_ascii_case(known))
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
    /// How access tokens are got, for `oauth2` with `client_id`.
    pub oauth: Option<Arc<OAuth>>,
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
