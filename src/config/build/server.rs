//! The remote server of a collector, and `tls:`.

use super::Ctx;
use super::address;
use super::block::{Block, Keys};
use super::password::password;
use super::values::{boolean, choice, duration, number, path, text};
use crate::config::error::Code;
use crate::config::outside::Outside;
use crate::config::{Auth, AuthMethod, PartialFetch, Protocol, SecretSource, Server, Tls, TlsMode};
use crate::mail::{Address, Secret};
use std::time::Duration;

const TLS: Keys = Keys {
    known: &["mode", "ca_file"],
    not_yet: &["verify", "fingerprint", "client_cert", "client_key", "min_version", "backend", "security_level"],
};
const AUTH: Keys = Keys {
    known: &["method", "allow_plaintext"],
    not_yet: &["disable", "domain", "client_id", "client_secret", "tenant", "flow", "scopes", "provider"],
};
const TIMEOUTS: Keys = Keys { known: &["connect", "idle_data"], not_yet: &[] };
const LOGIN_OCTETS_MAX: usize = 1_000;

/// Where to collect and how to log in.
pub(super) fn server(ctx: &mut Ctx<'_>, block: &Block<'_>, email: Option<&Address>) -> Option<Server> {
    let protocol = protocol(ctx, block);
    let tls = tls(ctx, block, TlsMode::Implicit);
    let auth = block.child(ctx, "auth", &AUTH);
    let methods = [("auto", AuthMethod::Auto), ("password", AuthMethod::Password), ("plain", AuthMethod::Plain)];
    let later = ["login", "cram_md5", "scram", "apop", "ntlm", "oauth2", "none"];
    let method = auth.get("method").and_then(|entry| choice(ctx, entry, &methods, &later)).unwrap_or(AuthMethod::Auto);
    let allow_plaintext = auth.get("allow_plaintext").and_then(|entry| boolean(ctx, entry)).unwrap_or(false);
    if tls.mode == TlsMode::None && !allow_plaintext {
        let mode = block.child(ctx, "tls", &TLS);
        let span = mode.get("mode").map_or(block.span, |entry| entry.value.span);
        let problem = ctx.error(Code::Contradiction, span, format!("{} would send its password over an open channel", block.name));
        ctx.add(problem.hint("`tls: {mode: implicit}` or `starttls`; on a trusted link only: `auth: {allow_plaintext: true}`"));
    }
    let timeouts = block.child(ctx, "timeouts", &TIMEOUTS);
    let timeout = |ctx: &mut Ctx<'_>, key, default| {
        let configured = timeouts.get(key).and_then(|entry| duration(ctx, entry)).unwrap_or(Duration::from_secs(default));
        (!configured.is_zero()).then_some(configured)
    };
    let (connect_timeout, idle_timeout) = (timeout(ctx, "connect", 30), timeout(ctx, "idle_data", 120));
    for key in ["connect", "idle_data"] {
        if let Some(entry) =
            timeouts.get(key).filter(|entry| matches!(&entry.value.value, crate::config::yaml::Value::Scalar { text, .. } if text == "0"))
        {
            ctx.add(ctx.warning(Code::Doubtful, entry.value.span, format!("`{key}: 0` waits for ever: a dead server stops this collector")));
        }
    }
    let host = match block.get("server") {
        Some(entry) => address::server(ctx, entry),
        None => {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has no `server`", block.name));
            ctx.add(problem.hint("write `server: imap.example.org`; servers are not found by the address yet"));
            None
        }
    };
    let port = block.get("port").and_then(|entry| number(ctx, entry, 1..=65_535)).map_or(default_port(protocol, tls.mode), |port| port as u16);
    let username = username(ctx, block, email);
    let password = match block.get("password") {
        Some(entry) => password(ctx, entry),
        None => {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has no `password`", block.name));
            ctx.add(problem.hint("`password: {file: /path}`, `{credential: name}`, `{env: NAME}` or `{command: [program, argument]}`"));
            None
        }
    };
    Some(Server {
        protocol,
        host: host?,
        port,
        tls,
        username: username?,
        password: password.unwrap_or(SecretSource::Plain(Secret::new(String::new()))),
        auth: Auth { method, allow_plaintext, ..Auth::default() },
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

/// `tls:` of a collector or a relay.
pub(super) fn tls(ctx: &mut Ctx<'_>, block: &Block<'_>, default: TlsMode) -> Tls {
    let block = block.child(ctx, "tls", &TLS);
    let modes = [
        ("implicit", TlsMode::Implicit),
        ("starttls", TlsMode::StartTls),
        ("none", TlsMode::None),
        ("ssl", TlsMode::Implicit),
        ("ssl/tls", TlsMode::Implicit),
    ];
    let mode = block.get("mode").and_then(|entry| choice(ctx, entry, &modes, &["opportunistic"])).unwrap_or(default);
    let ca_file = block.get("ca_file").and_then(|entry| path(ctx, entry));
    if let Some(entry) = block.get("ca_file").filter(|_| mode == TlsMode::None && block.get("mode").is_some()) {
        ctx.add(ctx.warning(Code::Doubtful, entry.span, "`ca_file` has no effect with `mode: none`"));
    }
    if let (Some(entry), Some(path)) = (block.get("ca_file"), &ca_file) {
        ctx.names(entry.value.span, Outside::File("ca_file", path.clone()));
    }
    Tls { ca_file, ..Tls::mode(mode) }
}

/// RFC 8314 §7.3 and the classic ports.
fn default_port(protocol: Protocol, mode: TlsMode) -> u16 {
    match (protocol, mode) {
        (Protocol::Imap, TlsMode::Implicit) => 993,
        (Protocol::Imap, _) => 143,
        (Protocol::Pop3, TlsMode::Implicit) => 995,
        (Protocol::Pop3, _) => 110,
    }
}

fn username(ctx: &mut Ctx<'_>, block: &Block<'_>, email: Option<&Address>) -> Option<String> {
    let Some(entry) = block.get("username") else {
        if block.get("email").is_none() {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has neither `email` nor `username`", block.name));
            ctx.add(problem.hint("`email` is the address of the mailbox and the login name, unless `username` is set"));
        }
        return email.map(ToString::to_string);
    };
    let name = text(ctx, entry)?;
    if name.is_empty() || name.len() > LOGIN_OCTETS_MAX || name.chars().any(char::is_control) {
        ctx.add(ctx.error(Code::Value, entry.value.span, "`username` is empty, too long, or holds control characters"));
        return None;
    }
    Some(name.to_owned())
}
