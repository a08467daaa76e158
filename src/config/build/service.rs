//! `service:` and `limits:`.

use super::Ctx;
use super::block::{Block, Keys};
use super::password::password;
use super::schedule::hours;
use super::values::{boolean, duration, number, one_or_more, path, show_duration, size, text};
use crate::config::error::Code;
use crate::config::store;
use crate::config::yaml::Entry;
use crate::config::{HeldLimits, HistoryLimits, Hours, Service};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(super) const SERVICE: Keys = Keys {
    known: &[
        "state_dir",
        "token_key",
        "enabled",
        "max_sessions",
        "max_sessions_per_host",
        "start_jitter",
        "shutdown_grace",
        "memory",
        "spool_above",
        "held",
        "dns",
        "min_free_space",
        "business_hours",
        "max_idle",
        "history",
    ],
    not_yet: &[],
};
pub(super) const HISTORY: Keys = Keys { known: &["keep", "max_entries"], not_yet: &[] };
pub(super) const HELD: Keys = Keys { known: &["max_age", "max_size"], not_yet: &[] };
pub(super) const LIMITS: Keys = Keys { known: &["interval_min", "interval_max"], not_yet: &[] };

/// Shortest age at which held mail is dropped.
const HELD_AGE_MIN: Duration = Duration::from_secs(3_600);
/// Least room for held mail.
const HELD_SIZE_MIN: u64 = 1 << 20;
/// Shortest time for which a history is worth its file.
const HISTORY_MIN: Duration = Duration::from_secs(3_600);
/// So many rows are some ten gigabytes.
const HISTORY_ENTRIES: std::ops::RangeInclusive<usize> = 1_000..=50_000_000;
/// Least threshold of the spool: most headers fit.
const SPOOL_ABOVE_MIN: u64 = 64 << 10;
/// Free space that is left to others, if nobody says otherwise.
const MIN_FREE_SPACE: u64 = 512 << 20;
/// As many as resolv.conf takes.
const NAME_SERVERS_MAX: usize = 3;
/// Shortest interval that an operator may allow: MailArchiva's journal advice.
pub(super) const INTERVAL_FLOOR: Duration = Duration::from_millis(50);

/// The process.
pub(super) fn service(ctx: &mut Ctx<'_>, top: &Block<'_>) -> Service {
    let block = top.child(ctx, "service", &SERVICE);
    let configured = block.get("state_dir").and_then(|entry| path(ctx, entry));
    let state_dir = ctx.env.state_dir.clone().or(configured).unwrap_or_else(|| ctx.env.default_state_dir());
    ctx.secrets = state_dir.join(store::FOLDER);
    let token_key = block.get("token_key").and_then(|entry| password(ctx, entry));
    ctx.token_key = token_key.clone();
    let memory = block.get("memory").and_then(|entry| size(ctx, entry)).unwrap_or(64 << 20);
    let spool_above = block.get("spool_above").and_then(|entry| size(ctx, entry)).unwrap_or(1 << 20);
    let at = |key: &str| block.get(key).map_or(block.span, |entry| entry.value.span);
    if memory < 1 << 20 {
        ctx.add(ctx.error(Code::Range, at("memory"), "`memory` must be 1MiB at least"));
    }
    if spool_above < SPOOL_ABOVE_MIN {
        let problem = ctx.error(Code::Range, at("spool_above"), "`spool_above` must be 64KiB at least");
        ctx.add(problem.hint("smaller messages cost less in memory than in a file"));
    }
    // What is too little for everything needs no further word about a part of it.
    if spool_above > memory && memory >= 1 << 20 {
        let problem = ctx.error(Code::Contradiction, at("spool_above"), "`spool_above` is more than `memory`: such a message would wait for ever");
        ctx.add(problem.hint("messages up to `spool_above` stay in memory, so `memory` must hold at least one"));
    }
    Service {
        state_dir,
        token_key,
        enabled: block.get("enabled").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        max_sessions: block.get("max_sessions").and_then(|entry| number(ctx, entry, 1..=10_000)).unwrap_or(64),
        max_sessions_per_host: block.get("max_sessions_per_host").and_then(|entry| number(ctx, entry, 1..=10_000)).unwrap_or(8),
        start_jitter: block.get("start_jitter").and_then(|entry| duration(ctx, entry)).unwrap_or(Duration::from_secs(30)),
        shutdown_grace: block.get("shutdown_grace").and_then(|entry| duration(ctx, entry)).unwrap_or(Duration::from_secs(30)),
        memory,
        spool_above,
        min_free_space: block.get("min_free_space").and_then(|entry| size(ctx, entry)).unwrap_or(MIN_FREE_SPACE),
        max_idle: block.get("max_idle").and_then(|entry| number(ctx, entry, 0..=1_000_000)).unwrap_or(10_000),
        held: held(ctx, &block),
        history: history(ctx, &block),
        dns: block.get("dns").map(|entry| dns(ctx, entry)).unwrap_or_default(),
    }
}

/// Name servers: addresses, with a port or without.
fn dns(ctx: &mut Ctx<'_>, entry: &Entry) -> Vec<SocketAddr> {
    let items = one_or_more(ctx, entry).unwrap_or_default();
    if items.len() > NAME_SERVERS_MAX {
        ctx.add(ctx.error(Code::Range, entry.span, format!("`dns` has more than {NAME_SERVERS_MAX} entries")));
        return Vec::new();
    }
    let mut servers = Vec::new();
    for item in &items {
        let Some(name) = text(ctx, item) else { continue };
        match name.parse().or_else(|_| name.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53))) {
            Ok(server) => servers.push(server),
            Err(_) => {
                let problem = ctx.error(Code::Value, item.value.span, format!("`dns`: {} is no IP address", ctx.quoted(name, item.value.span)));
                ctx.add(problem.hint("as in `192.0.2.53`, `192.0.2.53:5353` or `'[2001:db8::53]:5353'`"));
            }
        }
    }
    servers
}

/// What held mail may take.
fn held(ctx: &mut Ctx<'_>, service: &Block<'_>) -> HeldLimits {
    let block = service.child(ctx, "held", &HELD);
    let default = HeldLimits::default();
    let max_age = block.get("max_age").and_then(|entry| duration(ctx, entry).map(|age| (age, entry))).and_then(|(age, entry)| {
        if !age.is_zero() && age < HELD_AGE_MIN {
            let problem = ctx.error(Code::Range, entry.value.span, format!("`max_age` is 0 or {} at least", show_duration(HELD_AGE_MIN)));
            ctx.add(problem.hint("held mail waits for people; 0: it is never dropped"));
        }
        (!age.is_zero()).then_some(age)
    });
    let max_size = block.get("max_size").and_then(|entry| size(ctx, entry)).unwrap_or(default.max_size);
    if max_size < HELD_SIZE_MIN {
        let span = block.get("max_size").map_or(block.span, |entry| entry.value.span);
        let problem = ctx.error(Code::Range, span, "`max_size` of held mail must be 1MiB at least");
        ctx.add(problem.hint("beyond it nothing more is held: messages stay on their server, set aside"));
    }
    HeldLimits { max_age, max_size }
}

/// How much history is kept.
fn history(ctx: &mut Ctx<'_>, service: &Block<'_>) -> HistoryLimits {
    let block = service.child(ctx, "history", &HISTORY);
    let default = HistoryLimits::default();
    let keep = match block.get("keep").and_then(|entry| duration(ctx, entry).map(|keep| (keep, entry))) {
        None => default.keep,
        Some((keep, entry)) => {
            if !keep.is_zero() && keep < HISTORY_MIN {
                let problem = ctx.error(Code::Range, entry.value.span, format!("`keep` is 0 or {} at least", show_duration(HISTORY_MIN)));
                ctx.add(problem.hint("0: no history is kept"));
            }
            (!keep.is_zero()).then_some(keep)
        }
    };
    let max_entries = block.get("max_entries").and_then(|entry| number(ctx, entry, HISTORY_ENTRIES));
    HistoryLimits { keep, max_entries: max_entries.map_or(default.max_entries, |entries| entries as u64) }
}

/// What the file's head says about all collectors: the interval's bounds, the hours of business, and when held mail is dropped.
pub(super) struct Limits {
    pub held_age: Option<Duration>,
    pub min: Duration,
    pub max: Duration,
    pub business_hours: Option<Hours>,
}

/// What intervals the operator allows.
pub(super) fn limits(ctx: &mut Ctx<'_>, top: &Block<'_>, held_age: Option<Duration>) -> Limits {
    let block = top.child(ctx, "limits", &LIMITS);
    let min = block.get("interval_min").and_then(|entry| duration(ctx, entry)).unwrap_or(Duration::from_secs(5));
    let max = block.get("interval_max").and_then(|entry| duration(ctx, entry)).unwrap_or(Duration::from_secs(86_400));
    let business_hours = top.child(ctx, "service", &SERVICE).get("business_hours").and_then(|entry| hours(ctx, entry));
    let at = |key: &str| block.get(key).map_or(block.span, |entry| entry.value.span);
    if min < INTERVAL_FLOOR {
        ctx.add(ctx.error(Code::Range, at("interval_min"), format!("`interval_min` must be {} at least", show_duration(INTERVAL_FLOOR))));
        return Limits { min: INTERVAL_FLOOR, max: max.max(INTERVAL_FLOOR), held_age, business_hours };
    }
    if max < min {
        ctx.add(ctx.error(Code::Contradiction, at("interval_max"), "`interval_max` is below `interval_min`"));
        return Limits { min, max: min, held_age, business_hours };
    }
    Limits { min, max, held_age, business_hours }
}
