//! Where mail goes: the targets of `delivery:`.

use super::Ctx;
use super::address::{host, host_and_port};
use super::block::{Block, Keys, open_entry};
use super::password::password;
use super::port::doubt_port;
use super::tls::tls;
use super::values::{one_or_more, path, text};
use crate::config::error::Code;
use crate::config::outside::Outside;
use crate::config::yaml::Entry;
use crate::config::{Endpoint, Relay, RelayAuth, Target, TlsMode};

/// Their keys.
pub(super) const TARGETS: [&str; 3] = ["lmtp", "smtp", "maildir"];
/// Most servers of one target: each is asked before a pass gives up.
const ENDPOINTS_MAX: usize = 10;
pub(super) const AUTH: Keys = Keys { known: &["username", "password"], not_yet: &["method"] };

/// Exactly one of `lmtp`, `smtp`, `maildir`.
pub(super) fn target(ctx: &mut Ctx<'_>, block: &Block<'_>, owner: &Block<'_>) -> Option<Target> {
    let named: Vec<_> = TARGETS.iter().filter_map(|key| block.get(key)).collect();
    let entry = match named[..] {
        [one] => one,
        [] => {
            let problem = ctx.error(Code::Missing, owner.span, format!("{} has nowhere to deliver to", owner.name));
            ctx.add(problem.hint("one of `delivery: {lmtp: unix:/path}`, `{smtp: 127.0.0.1:25}`, `{maildir: /path}`, for all or in the collector"));
            return None;
        }
        [first, second, ..] => {
            let problem = ctx.error(Code::Contradiction, second.span, format!("two targets: `{}` and `{}`", first.key, second.key));
            let first = ctx.text.name_of(first.span);
            ctx.add(problem.note(format!("the other one is at {first}")).hint("mail goes to one of `lmtp`, `smtp`, `maildir`; remove the other"));
            return None;
        }
    };
    if entry.key == "maildir" {
        return maildir(ctx, block, entry);
    }
    let tls = tls(ctx, block, TlsMode::None);
    let auth = block.get("auth").and_then(|entry| auth(ctx, block, entry, tls.mode));
    let default_port = match (entry.key.as_str(), tls.mode) {
        ("lmtp", _) => 24,
        // RFC 8314 §3.3: nobody speaks TLS from the first octet on port 25.
        (_, TlsMode::Implicit) => 465,
        _ => 25,
    };
    let endpoints = endpoints(ctx, entry, default_port)?;
    for endpoint in endpoints.iter().filter(|_| entry.key == "smtp") {
        if let Endpoint::Tcp { port, .. } = endpoint {
            doubt_port(ctx, entry.value.span, *port, "SMTP", tls.mode);
        }
    }
    if endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Unix(_))) && tls.mode != TlsMode::None {
        ctx.add(ctx.error(Code::Contradiction, entry.span, "TLS on a unix socket").hint("remove `tls`: the socket does not leave this machine"));
    }
    let relay = Relay { endpoints, tls, auth, hello: None, smtputf8: true };
    Some(if entry.key == "lmtp" { Target::Lmtp(relay) } else { Target::Smtp(relay) })
}

fn maildir(ctx: &mut Ctx<'_>, block: &Block<'_>, entry: &Entry) -> Option<Target> {
    for key in ["tls", "auth", "suppress_dsn", "xclient", "eight_bit", "fold"] {
        if let Some(useless) = block.get(key) {
            ctx.add(ctx.error(Code::Contradiction, useless.span, format!("`{key}` does not go with `maildir`")).hint("remove it"));
        }
    }
    let path = path(ctx, entry)?;
    let text = path.to_string_lossy().into_owned();
    let without = text.replace("{local}", "").replace("{domain}", "");
    if without.contains(['{', '}']) {
        let problem = ctx.error(Code::Value, entry.value.span, "`maildir` knows `{local}` and `{domain}` only");
        ctx.add(problem.hint("maildir: /var/mail/{domain}/{local}"));
        return None;
    }
    if !path.is_absolute() && ctx.text.path(entry.value.span).is_absolute() {
        ctx.add(ctx.error(Code::Value, entry.value.span, "`maildir` takes a whole path"));
        return None;
    }
    ctx.names(entry.value.span, Outside::Maildir(text.clone()));
    Some(Target::Maildir { path: text, create: false })
}

fn auth(ctx: &mut Ctx<'_>, block: &Block<'_>, entry: &Entry, mode: TlsMode) -> Option<RelayAuth> {
    let login = open_entry(ctx, entry, &format!("`auth` of {}", block.name), &AUTH)?;
    if mode == TlsMode::None {
        let problem = ctx.error(Code::Contradiction, entry.span, "`auth` without TLS would send the relay's password over an open channel");
        ctx.add(problem.hint("add `tls: {mode: starttls}` (port 587) or `tls: {mode: implicit}` (port 465)"));
    }
    let username = login.get("username").and_then(|entry| text(ctx, entry)).filter(|name| !name.is_empty());
    let secret = login.get("password").map(|entry| password(ctx, entry));
    if login.get("username").is_none() || secret.is_none() {
        ctx.add(ctx.error(Code::Missing, entry.span, "`auth` of a relay takes `username` and `password`"));
    }
    Some(RelayAuth { username: username?.to_owned(), password: secret?? })
}

/// One place, or a list of them in the order in which they are asked.
pub(super) fn endpoints(ctx: &mut Ctx<'_>, entry: &Entry, default_port: u16) -> Option<Vec<Endpoint>> {
    let items = one_or_more(ctx, entry)?;
    if items.len() > ENDPOINTS_MAX {
        ctx.add(ctx.error(Code::Range, entry.value.span, format!("`{}` names more than {ENDPOINTS_MAX} servers", entry.key)));
        return None;
    }
    let mut endpoints = Vec::new();
    let mut whole = true;
    for item in &items {
        match endpoint(ctx, item, default_port) {
            Some(endpoint) if endpoints.contains(&endpoint) => {
                ctx.add(ctx.error(Code::Duplicate, item.value.span, format!("`{}` names this server twice", entry.key)));
                whole = false;
            }
            Some(endpoint) => endpoints.push(endpoint),
            None => whole = false,
        }
    }
    whole.then_some(endpoints)
}

/// `unix:/path`, `host:port`, `host`, `[::1]:port`.
fn endpoint(ctx: &mut Ctx<'_>, entry: &Entry, default_port: u16) -> Option<Endpoint> {
    let text = text(ctx, entry)?;
    let fail = |ctx: &mut Ctx<'_>, message: String, hint: &str| {
        ctx.add(ctx.error(Code::Server, entry.value.span, message).hint(hint));
        None
    };
    let forms = "`unix:/path`, `host`, `host:port` or `[::1]:port`";
    if let Some(path) = text.strip_prefix("unix:") {
        // Both `unix:/path` and `unix:///path` are in use.
        let path = if path.starts_with("///") { &path[2..] } else { path };
        if !path.starts_with('/') || path.contains('\0') {
            return fail(ctx, format!("`{}`: a unix socket takes a whole path", entry.key), forms);
        }
        return Some(Endpoint::Unix(path.into()));
    }
    if text.starts_with('/') {
        return fail(ctx, format!("`{}`: {} is a path", entry.key, ctx.quoted(text, entry.value.span)), "a unix socket has `unix:` in front");
    }
    let (name, port) = match host_and_port(text) {
        Some((name, port)) => (name, port),
        None if text.contains(':') && text.parse::<std::net::Ipv6Addr>().is_err() && !text.ends_with(']') => {
            return fail(ctx, format!("`{}`: {} is no place to deliver to", entry.key, ctx.quoted(text, entry.value.span)), forms);
        }
        None => (text, default_port),
    };
    match host(name) {
        Ok(_) if port == 0 => fail(ctx, format!("`{}`: port 0", entry.key), forms),
        Ok(host) => Some(Endpoint::Tcp { host, port }),
        Err(error) => fail(ctx, format!("`{}`: {}: {error}", entry.key, ctx.quoted(text, entry.value.span)), forms),
    }
}

/// The name in EHLO: a domain in A-labels or an address literal (RFC 5321 §4.1.3).
pub(super) fn hello(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<String> {
    let name = text(ctx, entry)?;
    let literal =
        |ip: &str| ip.parse::<std::net::Ipv4Addr>().is_ok() || ip.strip_prefix("IPv6:").is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    if name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).is_some_and(literal) {
        return Some(name.to_owned());
    }
    match name.parse::<crate::mail::Domain>() {
        Ok(domain) => Some(domain.as_ascii().to_owned()),
        Err(_) => {
            ctx.add(ctx.error(Code::Value, entry.value.span, format!("`hello`: {} is no host name", ctx.quoted(name, entry.value.span))));
            None
        }
    }
}
