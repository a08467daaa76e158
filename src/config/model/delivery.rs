//! Where mail goes, and how.

use super::{SecretSource, Tls};
use crate::policy::Policy;
use crate::resolve::HeaderOptions;
use std::path::PathBuf;
use std::time::Duration;

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
