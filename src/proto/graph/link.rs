//! `@odata.nextLink` and `@odata.deltaLink`: whole addresses that a server names, with which our token is sent. Only those that lead to where we
//! asked are followed.

/// Longest link that is taken: what fits into a request's first line at the servers that there are.
const LINK_OCTETS_MAX: usize = 16 * 1024;

/// Where we ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// With TLS.
    pub secure: bool,
    /// Host name or address, an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Below this path: `/v1.0`.
    pub base: String,
}

/// Path and query of a link that leads to where we ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(String);

impl Link {
    /// The link, if it leads to `origin`.
    pub fn follow(link: &str, origin: &Origin) -> Option<Link> {
        let (scheme, rest) = link.split_once("://")?;
        let usual = match origin.secure {
            true => ("https", 443),
            false => ("http", 80),
        };
        let slash = rest.find('/')?;
        let (authority, target) = rest.split_at(slash);
        // Names before `@`, and whatever else is no host, differ from ours.
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")))
            }
            None => authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port))),
        };
        let port = match port? {
            "" => usual.1,
            digits if digits.bytes().all(|octet| octet.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        let is_there = scheme.eq_ignore_ascii_case(usual.0) && host.eq_ignore_ascii_case(&origin.host) && port == origin.port;
        if is_there { Link::kept(target, origin) } else { None }
    }

    /// A path and query that was kept as a cursor.
    pub fn kept(target: &str, origin: &Origin) -> Option<Link> {
        let below = target.strip_prefix(origin.base.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
        let is_sendable = target.len() <= LINK_OCTETS_MAX && target.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#');
        (below && is_sendable).then(|| Link(target.to_owned()))
    }

    /// Path and query, as they are asked.
    pub fn target(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin() -> Origin {
        Origin { secure: true, host: "graph.microsoft.com".into(), port: 443, base: "/v1.0".into() }
    }

    #[test]
    fn where_links_may_lead() {
        let target = "/v1.0/users('x%40y')/messages/delta?$deltatoken=a_b-c";
        for (link, is_ours) in [
            (format!("https://graph.microsoft.com{target}"), true),
            (format!("HTTPS://Graph.Microsoft.COM:443{target}"), true),
            (format!("https://graph.microsoft.com:{target}"), true),
            (format!("http://graph.microsoft.com{target}"), false),
            (format!("https://graph.microsoft.com:8443{target}"), false),
            (format!("https://graph.microsoft.com.evil.example{target}"), false),
            (format!("https://evil.example{target}"), false),
            (format!("https://graph.microsoft.com@evil.example{target}"), false),
            (format!("https://user@graph.microsoft.com{target}"), false),
            (format!("https://graph.microsoft.com\\@evil.example{target}"), false),
            (format!("//graph.microsoft.com{target}"), false),
            (target.into(), false),
            ("https://graph.microsoft.com".into(), false),
            ("https://graph.microsoft.com/v1.0".into(), false),
            ("https://graph.microsoft.com/v1.0x/y".into(), false),
            ("https://graph.microsoft.com/beta/users".into(), false),
            ("https://graph.microsoft.com/v1.0/a b".into(), false),
            ("https://graph.microsoft.com/v1.0/a\r\nX: y".into(), false),
            ("https://graph.microsoft.com/v1.0/a#b".into(), false),
            (format!("https://graph.microsoft.com/v1.0/{}", "x".repeat(LINK_OCTETS_MAX)), false),
            (String::new(), false),
        ] {
            assert_eq!(Link::follow(&link, &origin()).is_some(), is_ours, "{link:.200}");
        }
        let six = Origin { secure: false, host: "::1".into(), port: 8080, base: "/".into() };
        assert_eq!(Link::follow("http://[::1]:8080/a?b", &six).map(|link| link.0).as_deref(), Some("/a?b"));
        assert_eq!(Link::follow("http://[::1]x/a", &six), None);
        assert_eq!(Link::kept("/v1.0/x", &origin()).as_ref().map(Link::target), Some("/v1.0/x"));
        assert_eq!(Link::kept("https://graph.microsoft.com/v1.0/x", &origin()), None);
    }

    proptest! {
        /// Another host is never followed, whatever stands around it.
        #[test]
        fn no_other_host(host in "[a-z.@:\\[\\]\\\\?#/%]{1,30}", rest in "[ -~]{0,40}") {
            let link = format!("https://{host}/v1.0/{rest}");
            if let Some(link) = Link::follow(&link, &origin()) {
                prop_assert!(host == "graph.microsoft.com" || host.starts_with("graph.microsoft.com/") || host.starts_with("graph.microsoft.com:"));
                prop_assert!(link.target().starts_with("/v1.0/"));
            }
        }

        #[test]
        fn any_text_is_taken_or_not(text in any::<String>()) {
            let _ = Link::follow(&text, &origin());
            let _ = Link::kept(&text, &origin());
        }
    }
}
