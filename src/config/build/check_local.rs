//! `recipient.auto.check_local`: how an address is checked before mail is delivered to it.

use super::Ctx;
use super::block::{Block, Keys, open_entry};
use super::password::{COMMAND_TIMEOUT, argv, command_timeout};
use super::target::endpoints;
use super::tls::tls;
use super::values::{choice, path};
use crate::config::error::Code;
use crate::config::outside::Outside;
use crate::config::yaml::{Entry, Value};
use crate::config::{CheckLocal, Endpoint, Relay, Target, Tls, TlsMode};

pub(super) const CHECK_LOCAL: Keys = Keys { known: &["lmtp", "smtp", "file", "command", "timeout", "tls"], not_yet: &[] };

#[derive(Clone, Copy)]
enum Word {
    None,
    Lmtp,
    Smtp,
}

/// The check of a collector, if its `recipient.auto` asks for one. Without a `target`, the error about that has been said.
pub(super) fn check_local(ctx: &mut Ctx<'_>, owner: &Block<'_>, target: Option<&Target>) -> CheckLocal {
    let entry = owner.get("recipient").and_then(|entry| inside(entry, "auto")).and_then(|auto| inside(auto, "check_local"));
    entry.and_then(|entry| read(ctx, entry, target)).unwrap_or_default()
}

fn inside<'n>(entry: &'n Entry, key: &str) -> Option<&'n Entry> {
    match &entry.value.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
        _ => None,
    }
}

fn read(ctx: &mut Ctx<'_>, entry: &Entry, target: Option<&Target>) -> Option<CheckLocal> {
    if let Value::Map(_) = entry.value.value {
        return elsewhere(ctx, entry, target);
    }
    match choice(ctx, entry, &[("none", Word::None), ("lmtp", Word::Lmtp), ("smtp", Word::Smtp)], &[])? {
        Word::None => Some(CheckLocal::None),
        word => of_target(ctx, entry, word, target?),
    }
}

/// `check_local: lmtp` asks the very server that is delivered to.
fn of_target(ctx: &mut Ctx<'_>, entry: &Entry, word: Word, target: &Target) -> Option<CheckLocal> {
    let (wanted, kind, other) = match (word, target) {
        (Word::Lmtp, Target::Lmtp(relay)) => return Some(CheckLocal::Lmtp(relay.clone())),
        (Word::Smtp, Target::Smtp(relay)) => return Some(CheckLocal::Smtp(relay.clone())),
        (Word::Lmtp, Target::Smtp(_)) => ("lmtp", "an SMTP server", "`check_local: smtp` asks that one, `{lmtp: unix:/path}` another one"),
        (Word::Lmtp, _) => ("lmtp", "a Maildir", "name the server to ask, as in `{lmtp: unix:/run/dovecot/lmtp}`, or `{file: /path}`"),
        (_, Target::Lmtp(_)) => ("smtp", "an LMTP server", "`check_local: lmtp` asks that one, `{smtp: 127.0.0.1:25}` another one"),
        _ => ("smtp", "a Maildir", "name the server to ask, as in `{smtp: 127.0.0.1:25}`, or `{file: /path}`"),
    };
    let message = format!("`check_local: {wanted}` asks the target of `delivery`, which is {kind}");
    ctx.add(ctx.error(Code::Contradiction, entry.value.span, message).hint(other));
    None
}

fn elsewhere(ctx: &mut Ctx<'_>, entry: &Entry, target: Option<&Target>) -> Option<CheckLocal> {
    let block = open_entry(ctx, entry, "`check_local`", &CHECK_LOCAL)?;
    let found: Vec<_> = ["lmtp", "smtp", "file", "command"].iter().filter_map(|key| block.get(key)).collect();
    let [one] = found[..] else {
        let problem = ctx.error(Code::Contradiction, entry.span, "`check_local` takes exactly one of lmtp, smtp, file, command");
        ctx.add(problem.hint("or one of the words `none`, `lmtp`, `smtp`"));
        return None;
    };
    for (key, with) in [("timeout", &["command"][..]), ("tls", &["lmtp", "smtp"])] {
        if let Some(useless) = block.get(key).filter(|_| !with.contains(&one.key.as_str())) {
            ctx.add(ctx.error(Code::Contradiction, useless.span, format!("`{key}` does not go with `{}`", one.key)).hint("remove it"));
        }
    }
    match one.key.as_str() {
        "file" => {
            let path = path(ctx, one)?;
            ctx.names(one.value.span, Outside::File("check_local", path.clone()));
            Some(CheckLocal::File(path))
        }
        "command" => {
            let timeout = block.get("timeout").and_then(|entry| command_timeout(ctx, entry)).unwrap_or(COMMAND_TIMEOUT);
            let argv = argv(ctx, one, "[/usr/local/bin/is-mailbox]")?;
            ctx.names(one.span, Outside::Program("check_local", argv.first().cloned().unwrap_or_default()));
            Some(CheckLocal::Command { argv, timeout })
        }
        "lmtp" => relay(ctx, &block, one, 24, target).map(CheckLocal::Lmtp),
        _ => relay(ctx, &block, one, 25, target).map(CheckLocal::Smtp),
    }
}

/// Another server than the target. The name in EHLO and SMTPUTF8 are those of the target; its TLS and its login go to its own hosts only, for a
/// password must never reach a host that it was not written for.
fn relay(ctx: &mut Ctx<'_>, block: &Block<'_>, entry: &Entry, port: u16, target: Option<&Target>) -> Option<Relay> {
    let endpoints = endpoints(ctx, entry, port)?;
    let target = match target {
        Some(Target::Lmtp(relay) | Target::Smtp(relay)) => Some(relay),
        _ => None,
    };
    let host = |endpoint: &Endpoint| match endpoint {
        Endpoint::Tcp { host, .. } => Some(host.clone()),
        Endpoint::Unix(_) => None,
    };
    let of_target = |endpoint: &Endpoint| {
        let name = host(endpoint);
        name.is_some() && target.is_some_and(|relay| relay.endpoints.iter().any(|other| host(other) == name))
    };
    let shared = target.filter(|_| endpoints.iter().all(of_target));
    let tls = match block.get("tls") {
        Some(at) => {
            let tls = tls(ctx, block, TlsMode::None);
            if tls.mode != TlsMode::None && endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Unix(_))) {
                ctx.add(ctx.error(Code::Contradiction, at.span, "TLS on a unix socket").hint("remove `tls`: the socket does not leave this machine"));
            }
            tls
        }
        None => shared.map_or(Tls::mode(TlsMode::None), |relay| relay.tls.clone()),
    };
    Some(Relay {
        endpoints,
        auth: shared.and_then(|relay| relay.auth.clone()).filter(|_| tls.mode != TlsMode::None),
        tls,
        hello: target.and_then(|relay| relay.hello.clone()),
        smtputf8: target.is_none_or(|relay| relay.smtputf8),
    })
}
