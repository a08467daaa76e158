//! An address of the web.

use std::net::IpAddr;

/// An address of the web: of a webhook, of a server of tokens.
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

    /// As it is written.
    pub fn address(&self) -> String {
        format!("{}://{}{}", if self.is_secure { "https" } else { "http" }, self.authority(), self.target)
    }

    /// The host as requests name it, with its port if that is not the usual one (RFC 9112 §3.2).
    pub fn authority(&self) -> String {
        let name = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_secure, self.port) {
            (true, 443) | (false, 80) => name,
            (_, port) => format!("{name}:{port}"),
        }
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

    #[test]
    fn the_host_as_requests_name_it() {
        for (text, wanted) in [("https://a.example/", "a.example"), ("https://a.example:444/", "a.example:444"), ("http://[::1]:80/", "[::1]")] {
            assert_eq!(WebPlace::parse(text).unwrap().authority(), wanted, "{text}");
        }
    }
}
