//! `notify:` and `metrics:`.

use super::Ctx;
use super::block::{Block, Keys};
use super::delivery::{DELIVERY, delivery, is_nowhere};
use super::password::{argv, command_timeout, password};
use super::target::TARGETS;
use super::tls::tls;
use super::values::{choice, duration_within, list, number, one_or_more, text};
use crate::config::error::Code;
use crate::config::outside::Outside;
use crate::config::yaml::{Entry, Value};
use crate::config::{Channel, NoticeEvent, SecretSource, TlsMode, Way, WebPlace};
use crate::mail::Address;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(super) const NOTIFY: Keys =
    Keys { known: &["email", "from", "via", "webhook", "token", "tls", "command", "timeout", "events", "after", "stale", "repeat"], not_yet: &[] };
pub(super) const VIA: Keys = Keys { known: &["lmtp", "smtp", "maildir", "maildir_create", "tls", "auth", "hello"], not_yet: &[] };
pub(super) const METRICS: Keys = Keys { known: &["listen"], not_yet: &[] };

/// Nobody is told.
const OFF: &str = "off";
/// Most entries of `notify`.
const CHANNELS_MAX: usize = 20;
/// Most addresses of one.
const ADDRESSES_MAX: usize = 20;
const AFTER_MAX: usize = 1_000;
const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which keys go with which way alone.
const OF_WAY: [(&str, &[&str]); 5] =
    [("from", &["email"]), ("via", &["email"]), ("token", &["webhook"]), ("tls", &["webhook"]), ("timeout", &["webhook", "command"])];

/// Who is told of what.
pub(super) fn notify(ctx: &mut Ctx<'_>, top: &Block<'_>) -> Vec<Arc<Channel>> {
    top.get("notify").map(|entry| channels(ctx, top, entry)).unwrap_or_default()
}

/// Who is told of one collector, in place of those who are told of all; nobody with `off`. `None`: those who are told of all.
pub(super) fn notify_of(ctx: &mut Ctx<'_>, top: &Block<'_>, collector: &Block<'_>) -> Option<Vec<Arc<Channel>>> {
    let entry = collector.get("notify")?;
    match &entry.value.value {
        Value::Scalar { text, .. } if text == OFF => Some(Vec::new()),
        Value::List(items) if !items.is_empty() => Some(channels(ctx, top, entry)),
        _ => {
            let problem = ctx.error(Code::WrongType, entry.value.span, "`notify` of a collector takes `off`, or a list as `notify` of the file does");
            ctx.add(problem.hint("as in `notify: [{email: postmaster@example.org}]`; without it those are told who are told of all"));
            None
        }
    }
}

fn channels(ctx: &mut Ctx<'_>, top: &Block<'_>, entry: &Entry) -> Vec<Arc<Channel>> {
    let Some(items) = list(ctx, entry, "as in `notify: [{email: postmaster@example.org}]`") else { return Vec::new() };
    if items.len() > CHANNELS_MAX {
        ctx.add(ctx.error(Code::Range, entry.span, format!("`notify` has more than {CHANNELS_MAX} entries")));
        return Vec::new();
    }
    let mut channels: Vec<Arc<Channel>> = Vec::new();
    for item in &items {
        let Some(channel) = channel(ctx, top, item) else { continue };
        if channels.iter().any(|other| other.way == channel.way) {
            let problem = ctx.error(Code::Duplicate, item.value.span, "`notify` tells the same place twice");
            ctx.add(problem.hint("one entry with all of its `events`"));
            continue;
        }
        channels.push(Arc::new(channel));
    }
    // A target that is broken is what most needs telling, and such a notice would wait behind it.
    if !channels.is_empty() && channels.iter().all(|channel| matches!(channel.way, Way::Email { is_shared: true, .. })) {
        let problem = ctx.warning(Code::Doubtful, entry.span, "all notices are mail that goes by `delivery`: when that is broken, nobody is told");
        ctx.add(problem.hint("add a `webhook` or a `command`, or `via: {maildir: /path}`; the log tells it in any case"));
    }
    channels
}

fn channel(ctx: &mut Ctx<'_>, top: &Block<'_>, item: &Entry) -> Option<Channel> {
    let block = Block::open(ctx, &item.value, "an entry of `notify`", &NOTIFY)?;
    let named: Vec<&Entry> = Way::WORDS.iter().filter_map(|key| block.get(key)).collect();
    let way = match named[..] {
        [one] => one,
        [] => {
            let problem = ctx.error(Code::Missing, item.value.span, "an entry of `notify` takes one of `email`, `webhook`, `command`");
            ctx.add(problem.hint("as in `{email: postmaster@example.org}` or `{webhook: 'https://hooks.example/…'}`"));
            return None;
        }
        [first, second, ..] => {
            let problem = ctx.error(Code::Contradiction, second.span, format!("`{}` and `{}` are two ways", first.key, second.key));
            ctx.add(problem.hint("an entry of `notify` for each"));
            return None;
        }
    };
    for (key, ways) in OF_WAY {
        if let Some(useless) = block.get(key).filter(|_| !ways.contains(&way.key.as_str())) {
            ctx.add(ctx.error(Code::Contradiction, useless.span, format!("`{key}` does not go with `{}`", way.key)).hint("remove it"));
        }
    }
    let timeout = block.get("timeout").and_then(|entry| command_timeout(ctx, entry)).unwrap_or(TIMEOUT);
    let events = block.get("events").map(|entry| events(ctx, entry));
    let after = block.get("after").and_then(|entry| number(ctx, entry, 1..=AFTER_MAX)).unwrap_or(5);
    let stale = block.get("stale").and_then(|entry| duration_within(ctx, entry, SECOND..=MONTH));
    let repeat = block.get("repeat").and_then(|entry| duration_within(ctx, entry, SECOND..=MONTH)).unwrap_or(Duration::from_secs(12 * 3_600));
    let way = match way.key.as_str() {
        "email" => email(ctx, top, &block, way)?,
        "webhook" => webhook(ctx, &block, way, timeout)?,
        _ => {
            let argv = argv(ctx, way, "[/usr/local/bin/tell-me, mailgather]")?;
            let program = argv.first().cloned().unwrap_or_default();
            ctx.names(way.span, Outside::Program("command", program));
            Way::Command { argv, timeout }
        }
    };
    let events = match events {
        None => NoticeEvent::ALL.to_vec(),
        Some(events) => events?,
    };
    Some(Channel { way, events, after: after as u32, stale, repeat })
}

fn events(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<NoticeEvent>> {
    let words: Vec<(&str, NoticeEvent)> = NoticeEvent::ALL.iter().map(|event| (event.word(), *event)).collect();
    let mut events = Vec::new();
    for item in one_or_more(ctx, entry)? {
        events.push(choice(ctx, &item, &words, &[])?);
    }
    events.sort_unstable();
    events.dedup();
    Some(events)
}

fn email(ctx: &mut Ctx<'_>, top: &Block<'_>, block: &Block<'_>, entry: &Entry) -> Option<Way> {
    let items = one_or_more(ctx, entry)?;
    if items.len() > ADDRESSES_MAX {
        ctx.add(ctx.error(Code::Range, entry.value.span, format!("`email` has more than {ADDRESSES_MAX} addresses")));
        return None;
    }
    let mut to: Vec<Option<Address>> = items.iter().map(|item| address(ctx, item)).collect();
    // Each is told once, however often it stands there.
    let mut known: Vec<Address> = Vec::new();
    to.retain(|address| match address {
        Some(address) if known.contains(address) => false,
        Some(address) => {
            known.push(address.clone());
            true
        }
        None => true,
    });
    let from = block.get("from").map(|entry| address(ctx, entry));
    let is_shared = block.get("via").is_none();
    let delivery = match is_shared {
        false => {
            let via = block.child(ctx, "via", &VIA);
            delivery(ctx, &via, &via)
        }
        true => {
            let shared = top.child(ctx, "delivery", &DELIVERY);
            if TARGETS.iter().all(|key| shared.get(key).is_none()) {
                let problem = ctx.error(Code::Missing, entry.span, "a notice by mail has nowhere to go: there is no `delivery` for all");
                ctx.add(problem.hint("add `via: {smtp: 127.0.0.1:25}` or `via: {maildir: /path}`"));
                return None;
            }
            delivery(ctx, &shared, &shared)
        }
    }?;
    if is_nowhere(&delivery.target) {
        return None;
    }
    let from = match from {
        None => None,
        Some(from) => Some(from?),
    };
    Some(Way::Email { to: to.into_iter().collect::<Option<_>>()?, from, via: Arc::new(delivery), is_shared })
}

fn address(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Address> {
    let text = text(ctx, entry)?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            ctx.add(ctx.error(Code::Value, entry.value.span, format!("`{}`: {}: {error}", entry.key, ctx.quoted(text, entry.value.span))));
            None
        }
    }
}

fn webhook(ctx: &mut Ctx<'_>, block: &Block<'_>, entry: &Entry, timeout: Duration) -> Option<Way> {
    let url = match &entry.value.value {
        Value::Scalar { .. } => {
            let text = text(ctx, entry)?;
            if let Err(error) = WebPlace::parse(text) {
                ctx.add(
                    ctx.error(Code::Value, entry.value.span, format!("`webhook`: {error}")).hint("as in `webhook: https://hooks.example/mailgather`"),
                );
                return None;
            }
            SecretSource::Plain(crate::mail::Secret::new(text.to_owned()))
        }
        _ => password(ctx, entry)?,
    };
    let token = block.get("token").map(|entry| password(ctx, entry));
    let tls = tls(ctx, block, TlsMode::Implicit);
    if let Some(entry) = block.get("tls").filter(|_| tls.mode != TlsMode::Implicit) {
        ctx.add(ctx.error(Code::Contradiction, entry.span, "`mode` does not go with `webhook`").hint("https is `implicit`; remove it"));
    }
    let token = match token {
        None => None,
        Some(token) => Some(token?),
    };
    Some(Way::Webhook { url, token, tls: Box::new(tls), timeout })
}

/// Where metrics are, beside the control socket.
pub(super) fn metrics(ctx: &mut Ctx<'_>, top: &Block<'_>) -> Option<SocketAddr> {
    let block = top.child(ctx, "metrics", &METRICS);
    let entry = block.get("listen")?;
    let text = text(ctx, entry)?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            ctx.add(ctx.error(Code::Value, entry.value.span, "`listen`: port 0").hint("as in `listen: 127.0.0.1:9480`"));
            None
        }
        Ok(address) => {
            if !address.ip().is_loopback() {
                let problem =
                    ctx.warning(Code::Doubtful, entry.value.span, "whoever reaches this address reads the metrics, without TLS or a password");
                ctx.add(problem.hint("they name collectors and figures, no addresses; 127.0.0.1 is for this machine only"));
            }
            Some(address)
        }
        Err(_) => {
            let problem =
                ctx.error(Code::Value, entry.value.span, format!("`listen`: {} is no address with a port", ctx.quoted(text, entry.value.span)));
            ctx.add(problem.hint("as in `listen: 127.0.0.1:9480` or `listen: '[::1]:9480'`"));
            None
        }
    }
}
