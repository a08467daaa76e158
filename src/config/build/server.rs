//! The remote server of a collector.

use super::Ctx;
use super::address;
use super::auth::{auth, username};
use super::block::{Block, Keys};
use super::port::doubt_port;
use super::tls::source_tls;
use super::values::{choice, duration, number};
use crate::config::error::Code;
use crate::config::{PartialFetch, Protocol, SecretSource, Server, TlsMode};
use crate::mail::{Address, Secret};
use std::time::Duration;

pub(super) const TIMEOUTS: Keys = Keys { known: &["connect", "idle_data"], not_yet: &[] };

/// Where to collect and how to log in.
pub(super) fn server(ctx: &mut Ctx<'_>, block: &Block<'_>, email: Option<&Address>) -> Option<Server> {
    let protocol = protocol(ctx, block);
    let tls = source_tls(ctx, block);
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
    let host = match block.get("server") {
        Some(entry) => address::server(ctx, entry),
        None => {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has no `server`", block.name));
            ctx.add(problem.hint("write `server: imap.example.org`; or `email:`, whose domain may tell the provider"));
            None
        }
    };
    let port = block.get("port").and_then(|entry| number(ctx, entry, 1..=65_535)).map_or(default_port(protocol, tls.mode), |port| port as u16);
    if let Some(entry) = block.get("port") {
        let service = if protocol == Protocol::Imap { "IMAP" } else { "POP3" };
        doubt_port(ctx, entry.value.span, port, service, tls.mode);
    }
    let username = username(ctx, block, email);
    let (auth, password) = auth(ctx, block, protocol, &tls);
    Some(Server {
        protocol,
        host: host?,
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
    })
}

/// IMAP unless it says otherwise.
pub(super) fn protocol(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Protocol {
    let protocols = [("imap", Protocol::Imap), ("pop3", Protocol::Pop3)];
    block.get("protocol").and_then(|entry| choice(ctx, entry, &protocols, &["exchange", "graph"])).unwrap_or(Protocol::Imap)
}

/// RFC 8314 §7.3 and the classic ports.
pub(super) fn default_port(protocol: Protocol, mode: TlsMode) -> u16 {
    match (protocol, mode) {
        (Protocol::Imap, TlsMode::Implicit) => 993,
        (Protocol::Imap, _) => 143,
        (Protocol::Pop3, TlsMode::Implicit) => 995,
        (Protocol::Pop3, _) => 110,
    }
}
