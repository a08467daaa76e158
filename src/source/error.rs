//! What can go wrong at a source: what happened, where, what the server said, and what to do next.

use crate::config::TlsMode;
use crate::config::secret::{SecretError, SecretErrorKind};
use crate::mail::outcome::harmless;
use crate::mail::{RemoteUid, code};
use crate::net::{DialError, DialErrorKind, WebError, WebErrorKind};
use std::fmt;
use std::time::Duration;

/// An error of a source. `Display` is one line for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// What kind of failure.
    pub kind: SourceErrorKind,
    /// The step, in the field's words: "connect", "greeting", "starttls", "login", "select", "list", "fetch", "dispose", "quit".
    pub stage: &'static str,
    /// `host:port`.
    pub peer: String,
    /// What happened, in words.
    pub text: String,
    /// What the server said, made harmless; never a secret.
    pub server: Option<Box<str>>,
    /// What the operator can do.
    pub hint: Option<Box<str>>,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// It happened while dialling: a name, a connection, a handshake.
    pub dialled: bool,
    /// Of several messages only these were refused, and it is done to the others; empty: to none.
    pub only: Vec<RemoteUid>,
}

/// The kinds of failure, each with another consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// The name does not resolve.
    Dns,
    /// No connection.
    Connect,
    /// The channel cannot be secured: certificate, missing STARTTLS, handshake.
    Tls,
    /// Our side: the password or token cannot be read, or cannot be sent.
    Secret,
    /// The server refuses these credentials.
    Auth,
    /// The server has no time for us now (throttled, in use, unavailable); try later, as told.
    Throttled,
    /// No answer within the limit.
    Timeout,
    /// The connection ended.
    Closed,
    /// The service is switched off by whoever runs it: another one has to be asked.
    SwitchedOff,
    /// The server said something that the protocol does not allow, or more than our limits.
    Protocol,
    /// The folder cannot be opened, or an operation on it was refused.
    Mailbox,
    /// Our side: no space or an I/O error for the spool.
    Disk,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With growing delays and jitter.
    Backoff,
    /// The credentials are refused: slowly, so that no account gets locked; at once when the secret changes or an operator asks.
    Credentials,
    /// Not before this time.
    After(Duration),
}

impl SourceError {
    /// An error without an answer of the server.
    pub fn new(kind: SourceErrorKind, stage: &'static str, peer: &str, text: impl Into<String>) -> Self {
        SourceError {
            kind,
            stage,
            peer: peer.to_owned(),
            text: text.into(),
            server: None,
            hint: None,
            retry_after: None,
            dialled: false,
            only: Vec::new(),
        }
    }

    /// A connection or handshake that failed.
    pub fn dial(stage: &'static str, peer: &str, error: DialError) -> Self {
        let kind = match error.kind {
            DialErrorKind::Dns => SourceErrorKind::Dns,
            DialErrorKind::Connect => SourceErrorKind::Connect,
            DialErrorKind::Timeout => SourceErrorKind::Timeout,
            DialErrorKind::Tls => SourceErrorKind::Tls,
        };
        SourceError { hint: error.hint.map(Box::from), dialled: true, ..SourceError::new(kind, stage, peer, error.text) }
    }

    /// A web server that cannot be reached, or whose answer is none.
    pub fn web(stage: &'static str, peer: &str, error: WebError) -> Self {
        let kind = match error.kind {
            WebErrorKind::Dns => SourceErrorKind::Dns,
            WebErrorKind::Connect => SourceErrorKind::Connect,
            WebErrorKind::Timeout => SourceErrorKind::Timeout,
            WebErrorKind::Tls => SourceErrorKind::Tls,
            WebErrorKind::Closed => SourceErrorKind::Closed,
            WebErrorKind::Protocol | WebErrorKind::TooLong | WebErrorKind::Unread => SourceErrorKind::Protocol,
        };
        let stage = if error.dialled { "connect" } else { stage };
        let hint = match kind {
            // What `server` and `port` are for others.
            SourceErrorKind::Connect if error.hint.is_some() => Some("nothing listens there: check `url`".into()),
            _ => error.hint.map(Box::from),
        };
        SourceError { hint, dialled: error.dialled, ..SourceError::new(kind, stage, peer, error.text) }
    }

    /// The same error of a greeting: one that does not come, where TLS was not expected from the first octet, may be due to the port.
    pub fn of_greeting(self, mode: TlsMode) -> Self {
        match (self.kind, mode) {
            (SourceErrorKind::Timeout, TlsMode::None | TlsMode::StartTls) => {
                self.hint("a port that speaks TLS from the first octet sends no greeting: try `tls: {mode: implicit}`")
            }
            _ => self,
        }
    }

    /// Adds what the server said.
    pub fn said(mut self, server: &str) -> Self {
        self.server = Some(harmless(server.trim(), 300).into());
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into());
        self
    }

    /// Adds which messages it is about, where the others are done.
    pub fn only(mut self, uids: Vec<RemoteUid>) -> Self {
        self.only = uids;
        self
    }

    /// Adds how long the server wants to be left alone.
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Our own password or token cannot be read, cannot be had, or cannot be sent as it is, for this reason: the server was told nothing of it.
    pub fn no_secret(peer: &str, why: impl Into<SecretError>) -> Self {
        let SecretError { text, kind, hint } = why.into();
        let (kind, retry_after) = match kind {
            SecretErrorKind::Unreadable => (SourceErrorKind::Secret, None),
            SecretErrorKind::Refused => (SourceErrorKind::Auth, None),
            SecretErrorKind::Unavailable { retry_after } => (SourceErrorKind::Throttled, retry_after),
        };
        let usual = match kind {
            SourceErrorKind::Throttled => "whoever gives the tokens has no time now; it is tried again later",
            _ => "look at what `password` of this collector (for oauth2: `auth`) yields; mailgather check",
        };
        let error = SourceError::new(kind, "login", peer, text).hint(hint.as_deref().unwrap_or(usual));
        SourceError { retry_after, ..error }
    }

    /// True if, in the middle of a fetch, the cause may be the message that was being fetched: a server that chokes on it, refuses it, or sends it so
    /// that nobody can tell where it ends.
    pub fn is_about_one_message(&self) -> bool {
        let is_bug = self.server.as_deref().is_some_and(|said| said.starts_with("[SERVERBUG]"));
        match self.kind {
            SourceErrorKind::Protocol | SourceErrorKind::Timeout | SourceErrorKind::Closed | SourceErrorKind::Mailbox => true,
            SourceErrorKind::Throttled => is_bug,
            _ => false,
        }
    }

    /// True if the server refused what was asked of a folder, and the session goes on. A folder that is full, broken or in use is no reason to
    /// leave the whole server alone.
    pub fn is_refusal(&self) -> bool {
        let of_folder = |said: &str| ["[OVERQUOTA]", "[SERVERBUG]", "[INUSE]"].iter().any(|code| said.starts_with(code));
        self.kind == SourceErrorKind::Mailbox || (self.kind == SourceErrorKind::Throttled && self.server.as_deref().is_some_and(of_folder))
    }

    /// True if the server takes no further connection to this mailbox: one of ours that ends makes room.
    pub fn is_about_connections(&self) -> bool {
        let says = self.server.as_deref().unwrap_or_default().to_ascii_lowercase();
        self.kind == SourceErrorKind::Throttled && matches!(self.stage, "greeting" | "login") && super::hints::is_about_connections(&says)
    }

    /// True if the server closed the connection before it had said a word, as some do with those beyond what they allow (Courier).
    pub fn is_closed_unheard(&self) -> bool {
        let is_closed = self.kind == SourceErrorKind::Closed || (self.dialled && self.text.contains("closed the connection"));
        is_closed && matches!(self.stage, "connect" | "greeting")
    }

    /// Its number, for which there is a page in docs/errors.
    pub fn code(&self) -> u16 {
        match self.kind {
            SourceErrorKind::Dns => code::DNS,
            SourceErrorKind::Connect => code::UNREACHABLE,
            // A handshake that failed is one thing, a server that offers no TLS another.
            SourceErrorKind::Tls if self.dialled => code::CERTIFICATE,
            SourceErrorKind::Tls => code::OPEN_CHANNEL,
            SourceErrorKind::Secret => code::SECRET,
            SourceErrorKind::Auth => code::LOGIN,
            SourceErrorKind::Throttled => code::THROTTLED,
            SourceErrorKind::Timeout => code::TIMEOUT,
            SourceErrorKind::Closed => code::CLOSED,
            SourceErrorKind::SwitchedOff => code::SWITCHED_OFF,
            SourceErrorKind::Protocol => code::PROTOCOL,
            SourceErrorKind::Mailbox => code::MAILBOX,
            SourceErrorKind::Disk => code::DISK,
        }
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match (self.kind, self.retry_after) {
            // Slowly: nobody switches it on again by being asked.
            (SourceErrorKind::Auth | SourceErrorKind::SwitchedOff, _) => Retry::Credentials,
            (_, Some(wait)) => Retry::After(wait),
            _ => Retry::Backoff,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.peer, self.stage, self.text)?;
        if let Some(server) = &self.server {
            write!(f, " (server said: {server})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SourceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_number() {
        use SourceErrorKind::*;
        for (kind, number) in [
            (Dns, 210),
            (Connect, 211),
            (Timeout, 212),
            (Closed, 213),
            (Tls, 222),
            (Secret, 202),
            (Auth, 203),
            (Throttled, 204),
            (SwitchedOff, 231),
            (Protocol, 241),
            (Mailbox, 242),
            (Disk, 301),
        ] {
            assert_eq!(SourceError::new(kind, "login", "h:993", "x").code(), number);
        }
        let handshake = DialError { kind: DialErrorKind::Tls, text: "x".into(), hint: None };
        assert_eq!(SourceError::dial("starttls", "h:143", handshake).code(), 221);
    }

    #[test]
    fn too_many_connections_are_known_by_the_words() {
        for (stage, said, wanted) in [
            ("login", "[LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=2)", true),
            ("login", "[ALERT] Too many simultaneous connections. (Failure)", true),
            ("greeting", "Too many sessions for this user", true),
            ("login", "[LIMIT] LOGIN Rate limit hit.", false),
            ("login", "User is authenticated but not connected.", false),
            ("fetch", "[LIMIT] too many connections", false),
            ("login", "[UNAVAILABLE] Temporary authentication failure. Connection lost", false),
        ] {
            let error = SourceError::new(SourceErrorKind::Throttled, stage, "h:993", "x").said(said);
            assert_eq!(error.is_about_connections(), wanted, "{stage}: {said}");
        }
        let refused = SourceError::new(SourceErrorKind::Auth, "login", "h:993", "x").said("too many connections");
        assert!(!refused.is_about_connections());
    }

    #[test]
    fn an_unreadable_password_is_no_refused_login() {
        let error = SourceError::no_secret("h:993", "/p: No such file or directory");
        assert_eq!((error.kind, error.retry()), (SourceErrorKind::Secret, Retry::Backoff));
        assert_eq!(error.to_string(), "h:993: login: /p: No such file or directory");
        assert!(error.hint.unwrap().contains("mailgather check"));
    }
}
