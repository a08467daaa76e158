//! `notify:`: who is told of what, and how.

use super::{Delivery, SecretSource, Tls};
use crate::mail::Address;
use std::net::IpAddr;
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
}

impl NoticeEvent {
    /// All of them.
    pub const ALL: [NoticeEvent; 6] =
        [NoticeEvent::Failing, NoticeEvent::AuthFailed, NoticeEvent::Stale, NoticeEvent::Held, NoticeEvent::Loop, NoticeEvent::Certificate];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            NoticeEvent::Failing => "failing",
            NoticeEvent::AuthFailed => "auth_failed",
            NoticeEvent::Stale => "stale",
            NoticeEvent::Held => "held",
            NoticeEvent::Loop => "loop",
            NoticeEvent::Certificate => "certificate",
        }
    }
}

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPlace {
    /// By TLS.
    pub is_secure: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query, at least `/`.
    pub target: String,
}

impl WebPlace {
    /// Reads an address of the web; the error says what is wrong with it and holds nothing of it.
    pub fn parse(text: &str) -> Result<WebPlace, &'static str> {
        let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("it does not start with https://"),
        };
        if text.len() > 2_000 || !text.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err("it is too long, or holds something else than ASCII without blanks");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('?') => (&rest[..at], format!("/{}", &rest[at..])),
            Some(at) => (&rest[..at], rest[at..].to_owned()),
            None => (rest, "/".to_owned()),
        };
        if authority.contains('@') {
            return Err("it holds a user or a password; use `token`");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(inside) => inside.split_once(']').map(|(host, port)| (host, port.strip_prefix(':'))).ok_or("its host has no `]`")?,
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => {
                if is_secure {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("its port is no port")?,
        };
        let address: Option<IpAddr> = host.parse().ok();
        if address.is_none() && host.parse::<crate::mail::Domain>().is_err() {
            return Err("its host is no host");
        }
        // What goes over the wire in clear stays on this machine.
        if !is_secure && !address.map_or(host == "localhost", |address| address.is_loopback()) {
            return Err("it is not https, and its host is not this machine");
        }
        Ok(WebPlace { is_secure, host: host.to_owned(), port, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_web() {
        let place = |is_secure, host: &str, port, target: &str| Ok(WebPlace { is_secure, host: host.into(), port, target: target.into() });
        for (text, wanted) in [
            ("https://hooks.example/a/b?c=d", place(true, "hooks.example", 443, "/a/b?c=d")),
            ("https://hooks.example:8443", place(true, "hooks.example", 8443, "/")),
            ("https://hooks.example?x=y#z", place(true, "hooks.example", 443, "/?x=y")),
            ("http://127.0.0.1:9/x", place(false, "127.0.0.1", 9, "/x")),
            ("http://[::1]:9/x", place(false, "::1", 9, "/x")),
            ("http://localhost/x", place(false, "localhost", 80, "/x")),
            ("http://hooks.example/", Err("it is not https, and its host is not this machine")),
            ("http://192.0.2.1/", Err("it is not https, and its host is not this machine")),
            ("https://u:p@hooks.example/", Err("it holds a user or a password; use `token`")),
            ("https://hooks.example:0/", Err("its port is no port")),
            ("https:///x", Err("its host is no host")),
            ("https://a b/", Err("it is too long, or holds something else than ASCII without blanks")),
            ("https://a/\r\nX: y", Err("it is too long, or holds something else than ASCII without blanks")),
            ("ftp://hooks.example/", Err("it does not start with https://")),
        ] {
            assert_eq!(WebPlace::parse(text), wanted, "{text}");
        }
    }
}
