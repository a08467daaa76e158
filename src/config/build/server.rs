//! The remote server of a collector.

use super::Ctx;
use super::address;
use super::auth::{Login, auth, username};
use super::block::{Block, Keys};
use super::port::doubt_port;
use super::tls::source_tls;
use super::values::{choice, duration, number};
use super::web::{Web, check_method, web};
use crate::config::error::Code;
use crate::config::{PartialFetch, Protocol, SecretSource, Server, TlsMode, WebMailbox};
use crate::mail::{Address, Secret};
use std::time::Duration;

pub(super) const TIMEOUTS: Keys = Keys { known: &["connect", "idle_data"], not_yet: &[] };

/// Where to collect and how to log in.
pub(super) fn server(ctx: &mut Ctx<'_>, block: &Block<'_>, email: Option<&Address>) -> Option<Server> {
    let protocol = protocol(ctx, block);
    let mut tls = source_tls(ctx, block);
    let timeouts = block.child(ctx, "timeouts", &TIMEOUTS);
    let timeout = |ctx: &mut Ctx<'_>, key, default| {
        let configured = timeouts.get(key).and_then(|entry| duration(ctx, entry)).unwrap_or(Duration::from_secs(default));
        (!configured.is_zero()).then_some(configured)
    };
    let (connect_timeout, idle_timeout) = (timeout(ctx, "connect", 30), timeout(ctx, "idle_data", 120));
    for key in ["connect", "idle_data"] {
        let (none, how_long) = match key {
            "connect" => (connect_timeout.is_none(), "waits up to 10 minutes for a server that does not answer"),
            _ => (idle_timeout.is_none(), "waits for ever: a dead server stops this collector"),
        };
        if let Some(entry) = timeouts.get(key).filter(|_| none) {
            ctx.add(ctx.warning(Code::Doubtful, entry.value.span, format!("`{key}: 0` {how_long}")));
        }
    }
    let username = username(ctx, block, email);
    let place = match protocol.is_web() {
        true => {
            let web = web(ctx, block, protocol, email, username.as_deref());
            // The scheme of `url` says it.
            tls.mode = web.as_ref().map_or(TlsMode::Implicit, |web| web.mode);
            web.map(|Web { host, port, mailbox, .. }| (host, port, mailbox))
        }
        false => host_and_port(ctx, block, protocol, tls.mode).map(|(host, port)| (host, port, WebMailbox::default())),
    };
    let host = place.as_ref().map(|(host, ..)| host.as_str());
    let login = Login { protocol, tls: &tls, host, username: username.as_deref() };
    let (auth, password) = auth(ctx, block, &login);
    check_method(ctx, block, protocol, auth.method);
    let (host, port, web) = place?;
    Some(Server {
        protocol,
        host,
        port,
        tls,
        username: username?,
        password: password.unwrap_or(SecretSource::Plain(Secret::new(String::new()))),
        auth,
        partial_fetch: PartialFetch::default(),
        compress: false,
        allow_plain_expunge: false,
        connect_timeout,
        idle_timeout,
        web,
    })
}

/// `server` and `port`.
fn host_and_port(ctx: &mut Ctx<'_>, block: &Block<'_>, protocol: Protocol, mode: TlsMode) -> Option<(String, u16)> {
    let host = match block.get("server") {
        Some(entry) => address::server(ctx, entry),
        None => {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has no `server`", block.name));
            ctx.add(problem.hint("write `server: imap.example.org`; or `email:`, whose domain may tell the provider"));
            None
        }
    };
    let port = block.get("port").and_then(|entry| number(ctx, entry, 1..=65_535)).map_or(default_port(protocol, mode), |port| port as u16);
    if let Some(entry) = block.get("port") {
        doubt_port(ctx, entry.value.span, port, protocol.title(), mode);
    }
    Some((host?, port))
}

/// IMAP unless it says otherwise.
pub(super) fn protocol(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Protocol {
    let protocols = Protocol::ALL.map(|protocol| (protocol.word(), protocol));
    block.get("protocol").and_then(|entry| choice(ctx, entry, &protocols, &[])).unwrap_or(Protocol::Imap)
}

/// RFC 8314 §7.3 and the classic ports.
pub(super) fn default_port(protocol: Protocol, mode: TlsMode) -> u16 {
    match (protocol, mode) {
        (Protocol::Imap, TlsMode::Implicit) => 993,
        (Protocol::Imap, _) => 143,
        (Protocol::Pop3, TlsMode::Implicit) => 995,
        (Protocol::Pop3, _) => 110,
        (Protocol::Exchange | Protocol::Graph, TlsMode::None) => 80,
        (Protocol::Exchange | Protocol::Graph, _) => 443,
    }
}
