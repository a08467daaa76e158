//! `notify:`: who is told of what, and how.

use super::{Delivery, SecretSource, Tls};
use crate::mail::Address;
use std::sync::Arc;
use std::time::Duration;

/// One way to tell somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// How.
    pub way: Way,
    /// Of what.
    pub events: Vec<NoticeEvent>,
    /// So many sessions have to fail in a row.
    pub after: u32,
    /// No session went well for so long; `None`: three intervals, and half an hour at least.
    pub stale: Option<Duration>,
    /// What lasts is told again after this time.
    pub repeat: Duration,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// By mail.
    Email {
        /// To whom; never empty.
        to: Vec<Address>,
        /// From whom; `None`: from this host, and nobody gets a bounce.
        from: Option<Address>,
        /// By which server, or into which Maildir.
        via: Arc<Delivery>,
        /// That is the way which collected mail takes too.
        is_shared: bool,
    },
    /// By a POST of JSON.
    Webhook {
        /// Where to; such an address is often a secret.
        url: SecretSource,
        /// `Authorization: Bearer …`
        token: Option<SecretSource>,
        /// How the server is verified.
        tls: Box<Tls>,
        /// How long it may take.
        timeout: Duration,
    },
    /// By a program, without a shell.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
}

impl Way {
    /// `email`, `webhook` or `command`.
    pub fn word(&self) -> &'static str {
        match self {
            Way::Email { .. } => "email",
            Way::Webhook { .. } => "webhook",
            Way::Command { .. } => "command",
        }
    }

    /// The words of all ways.
    pub const WORDS: [&'static str; 3] = ["email", "webhook", "command"];
}

/// What somebody may be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeEvent {
    /// Sessions fail.
    Failing,
    /// The server refuses the login.
    AuthFailed,
    /// No session went well for long, and none says why.
    Stale,
    /// Mail is held.
    Held,
    /// Mail is held because it went in a circle.
    Loop,
    /// The certificate of the server ends soon.
    Certificate,
    /// What access tokens are renewed with is refused, or ends soon.
    OAuth,
}

impl NoticeEvent {
    /// All of them.
    pub const ALL: [NoticeEvent; 7] = [
        NoticeEvent::Failing,
        NoticeEvent::AuthFailed,
        NoticeEvent::Stale,
        NoticeEvent::Held,
        NoticeEvent::Loop,
        NoticeEvent::Certificate,
        NoticeEvent::OAuth,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            NoticeEvent::Failing => "failing",
            NoticeEvent::AuthFailed => "auth_failed",
            NoticeEvent::Stale => "stale",
            NoticeEvent::Held => "held",
            NoticeEvent::Loop => "loop",
            NoticeEvent::Certificate => "certificate",
            NoticeEvent::OAuth => "oauth",
        }
    }
}
