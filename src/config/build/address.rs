//! Addresses, domains and host names.

use super::Ctx;
use super::values::{one_or_more, text};
use crate::config::error::{Code, Problem};
use crate::config::text::Span;
use crate::config::yaml::Entry;
use crate::mail::{Address, Domain};
use std::net::IpAddr;

/// One address.
pub(super) fn address(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Address> {
    let text = text(ctx, entry)?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            ctx.add(ctx.error(
                Code::Value,
                entry.value.span,
                format!("`{}`: {} is no address: {error}", entry.key, ctx.quoted(text, entry.value.span)),
            ));
            None
        }
    }
}

/// An address or a list of addresses, each once.
pub(super) fn addresses(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<Address>> {
    let mut addresses = Vec::new();
    let mut whole = true;
    for item in one_or_more(ctx, entry)? {
        match address(ctx, &item) {
            Some(address) if addresses.contains(&address) => {}
            Some(address) => addresses.push(address),
            None => whole = false,
        }
    }
    whole.then_some(addresses)
}

/// A domain name that stands at a place.
pub(super) fn domain(ctx: &mut Ctx<'_>, what: &str, text: &str, span: Span) -> Option<Domain> {
    match text.parse() {
        Ok(domain) => Some(domain),
        Err(_) => {
            let problem = ctx.error(Code::Value, span, format!("`{what}`: {} is no domain name", ctx.quoted(text, span)));
            ctx.add(if text.contains('@') {
                problem.hint("addresses go to `aliases`, domains without `@` to the left side of `map` and to `domains`")
            } else {
                problem
            });
            None
        }
    }
}

/// The name or address of a host, in A-labels; `Err` says what is wrong with it.
pub(super) fn host(text: &str) -> Result<String, &'static str> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    if bare.len() != text.len() {
        return Err("in `[ ]` stands an IPv6 address only");
    }
    text.parse::<Domain>().map(|domain| domain.as_ascii().to_owned()).map_err(|_| "it is neither a host name nor an IP address")
}

/// The host that a collector connects to: no scheme, no `@`, no port.
pub(super) fn server(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<String> {
    let text = text(ctx, entry)?.trim();
    let problem = |message: String| -> Problem { ctx.error(Code::Server, entry.value.span, message) };
    let problem = if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or(rest);
        let host = host.rsplit('@').next().unwrap_or(host);
        if scheme.starts_with("http") {
            let message = format!("server {} is a web address, not a mail server", ctx.quoted(text, entry.value.span));
            problem(message).hint("Exchange Web Services take it: `protocol: exchange` with `url:`; `protocol: imap` takes a host name")
        } else {
            let problem = problem(format!("server {} has a scheme", ctx.quoted(text, entry.value.span)));
            problem.hint(format!("did you mean {}? (the scheme is `protocol:` and `tls:`)", ctx.quoted(host, entry.value.span)))
        }
    } else if text.contains('@') {
        let problem = problem(format!("server {} is an address, not a host", ctx.quoted(text, entry.value.span)));
        match ctx.text.may_quote(text, entry.value.span) {
            true => problem.hint(format!("did you mean `{}`? (no scheme, no @)", text.replace('@', "."))),
            false => problem,
        }
    } else if let Some((host, port)) = host_and_port(text) {
        let host = ctx.quoted(host.trim_matches(['[', ']']), entry.value.span);
        problem(format!("server {} has a port", ctx.quoted(text, entry.value.span)))
            .hint(format!("the port has a key of its own: server {host} and `port: {port}`"))
    } else {
        match host(text) {
            Ok(host) => return Some(host),
            Err(error) => problem(format!("server {}: {error}", ctx.quoted(text, entry.value.span))),
        }
    };
    ctx.add(problem);
    None
}

/// `imap.example.org`, `imap.example.org:993`, `[::1]:993`, as a person types it.
pub fn server_place(text: &str) -> Result<(String, Option<u16>), String> {
    let text = text.trim();
    let (name, port) = host_and_port(text).map_or((text, None), |(name, port)| (name, Some(port)));
    let why = match host(name) {
        Ok(_) if port == Some(0) => "there is no port 0",
        Ok(host) => return Ok((host, port)),
        Err(_) if text.contains("://") => "a scheme has no place here",
        Err(why) => why,
    };
    Err(format!("{why}: HOST, HOST:PORT, or [ADDRESS]:PORT for IPv6"))
}

/// `host:25`, `[::1]:25`; a bare IPv6 address has no port.
pub(super) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("imap.example.org", Some("imap.example.org")),
            ("почта.рф", Some("xn--80a1acny.xn--p1ai")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[::1]", Some("::1")),
            ("::1", Some("::1")),
            ("localhost", Some("localhost")),
            ("a b", None),
            ("[a]", None),
            ("", None),
        ] {
            assert_eq!(host(text).ok().as_deref(), expected, "{text}");
        }
        assert_eq!(host_and_port("[::1]:25"), Some(("[::1]", 25)));
        assert_eq!(host_and_port("::1"), None);
        assert_eq!(host_and_port("a:99999"), None);
        for (text, wanted) in [
            ("imap.example.org", Some(("imap.example.org", None))),
            (" imap.example.org:1993 ", Some(("imap.example.org", Some(1993)))),
            ("[::1]:993", Some(("::1", Some(993)))),
            ("::1", Some(("::1", None))),
            ("192.0.2.1:143", Some(("192.0.2.1", Some(143)))),
            ("a:99999", None),
            ("a:0", None),
            ("a:", None),
            ("a:b", None),
            (":993", None),
            ("imaps://a", None),
            ("[::1]993", None),
            ("anna@example.org", None),
        ] {
            assert_eq!(server_place(text).ok(), wanted.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }
}
