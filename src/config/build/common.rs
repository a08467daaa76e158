//! The keys that a collector shares with `defaults`, `templates` and `providers`.

use super::Ctx;
use super::block::{Block, Keys};
use super::disposal::{Disposal, after, expunge, on_hold};
use super::fetching::{first_run, max_bytes_per_session, max_message_size, partial_fetch};
use super::folders::{Placed, folders};
use super::schedule::{idle, interval, schedule};
use super::server::protocol;
use super::service::Limits;
use super::values::{boolean, choice, duration_within, number};
use crate::config::{After, Collect, Expunge, FirstRun, FolderSelect, Idle, LogMode, OnHold, PartialFetch, Schedule, TooLarge};
use std::time::Duration;

/// Longest `dedupe_window`: what is remembered is kept in the ledger.
const DEDUPE_WINDOW_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Keys, and between them those that say what is collected and when: whatever can name one of these can name all of them.
macro_rules! with_fetching {
    ($($before:literal),*; $($after:literal),*) => {
        &[
            $($before,)*
            "folders",
            "interval",
            "schedule",
            "idle",
            "collect",
            "after",
            "expunge",
            "allow_plain_expunge",
            "keep_without_uidl",
            "first_run",
            "max_messages_per_session",
            "max_bytes_per_session",
            "max_message_size",
            "partial_fetch",
            "compress",
            "timeouts",
            $($after,)*
        ]
    };
}
pub(super) use with_fetching;

/// The keys of a collector.
pub(super) const COLLECTOR: Keys = Keys {
    known: with_fetching![
        "title", "description", "enabled", "use", "provider", "protocol", "email", "server", "port", "url", "exchange_version", "impersonate", "tls", "auth", "login", "username", "password";
        "recipient", "delivery", "dedupe_window", "on_hold", "log", "notify"
    ],
    not_yet: NOT_YET,
};
/// What makes sense to share: not what names one mailbox, and not who gets its mail.
pub(super) const DEFAULTS: Keys = Keys {
    known: with_fetching!["enabled", "provider", "protocol", "port", "exchange_version", "tls", "auth", "login"; "delivery", "dedupe_window", "on_hold", "log", "notify"],
    not_yet: NOT_YET,
};
/// A template says what a kind of collectors has in common: its server and who gets the mail too.
pub(super) const TEMPLATE: Keys = Keys {
    known: with_fetching!["enabled", "provider", "protocol", "server", "port", "url", "exchange_version", "impersonate", "tls", "auth", "login"; "recipient", "delivery", "dedupe_window", "on_hold", "log", "notify"],
    not_yet: NOT_YET,
};
const NOT_YET: &[&str] = &["disabled_until"];

/// Their values.
pub(super) struct Common {
    pub enabled: bool,
    pub interval: Duration,
    pub manual: bool,
    pub schedule: Schedule,
    pub idle: Idle,
    pub folders: Vec<Placed>,
    pub collect: Collect,
    pub disposal: Disposal,
    pub expunge: Expunge,
    pub allow_plain_expunge: bool,
    pub keep_without_uidl: bool,
    pub first_run: FirstRun,
    pub max_messages_per_session: usize,
    pub max_bytes_per_session: Option<u64>,
    pub max_message_size: Option<u64>,
    pub too_large: TooLarge,
    pub partial_fetch: PartialFetch,
    pub compress: bool,
    pub dedupe_window: Option<Duration>,
    pub on_hold: OnHold,
    /// Where held mail's copies are moved, if `on_hold` names the folder itself.
    pub on_hold_to: Option<FolderSelect>,
    pub log: LogMode,
}

/// Reads them. What contradicts what is another question: a collector may add what is missing in `defaults`.
pub(super) fn common(ctx: &mut Ctx<'_>, block: &Block<'_>, limits: &Limits) -> Common {
    protocol(ctx, block);
    let (interval, manual) = interval(ctx, block, limits);
    let collects = [("new", Collect::New), ("all", Collect::All), ("unseen", Collect::Unseen)];
    let logs = [("full", LogMode::Full), ("errors", LogMode::Errors), ("off", LogMode::Off)];
    let (max_message_size, too_large) = max_message_size(ctx, block);
    let (on_hold, on_hold_to) = block.get("on_hold").and_then(|entry| on_hold(ctx, entry)).unwrap_or_default();
    Common {
        enabled: block.get("enabled").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        interval,
        manual,
        schedule: schedule(ctx, block, limits.business_hours.as_ref()),
        idle: idle(ctx, block),
        folders: folders(ctx, block),
        collect: block.get("collect").and_then(|entry| choice(ctx, entry, &collects, &[])).unwrap_or(Collect::New),
        // What goes with most, so that one error does not lead to another.
        disposal: block.get("after").map_or(Disposal::word(After::Keep), |entry| after(ctx, entry).unwrap_or(Disposal::word(After::Delete))),
        expunge: expunge(ctx, block),
        allow_plain_expunge: block.get("allow_plain_expunge").and_then(|entry| boolean(ctx, entry)).unwrap_or(false),
        keep_without_uidl: block.get("keep_without_uidl").and_then(|entry| boolean(ctx, entry)).unwrap_or(false),
        first_run: first_run(ctx, block),
        max_messages_per_session: block.get("max_messages_per_session").and_then(|entry| number(ctx, entry, 0..=100_000)).unwrap_or(100),
        max_bytes_per_session: max_bytes_per_session(ctx, block),
        max_message_size,
        too_large,
        partial_fetch: partial_fetch(ctx, block),
        compress: block.get("compress").and_then(|entry| boolean(ctx, entry)).unwrap_or(false),
        dedupe_window: block.get("dedupe_window").and_then(|entry| duration_within(ctx, entry, Duration::ZERO..=DEDUPE_WINDOW_MAX)),
        on_hold,
        on_hold_to,
        log: block.get("log").and_then(|entry| choice(ctx, entry, &logs, &[])).unwrap_or_default(),
    }
}
