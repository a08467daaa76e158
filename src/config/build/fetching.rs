//! How much is taken, of what age, and in which pieces: `max_*`, `first_run`, `partial_fetch`.

use super::Ctx;
use super::block::{Block, Keys, open_entry};
use super::values::{choice, duration_within, size};
use crate::config::error::Code;
use crate::config::yaml::{Entry, Value};
use crate::config::{FirstRun, PartialFetch, PartialMode, TooLarge};
use std::time::Duration;

/// The keys of `max_message_size`, where it is more than a size.
pub(super) const SIZE_LIMIT: Keys = Keys { known: &["limit", "action"], not_yet: &[] };
/// The key of `first_run`, where it is more than a word.
pub(super) const FIRST_RUN: Keys = Keys { known: &["since"], not_yet: &[] };
/// The keys of `partial_fetch`, where it is more than a word.
pub(super) const PARTIAL: Keys = Keys { known: &["mode", "chunk"], not_yet: &[] };

/// Least and most of one piece: below, each message costs many round trips; above, a piece is as hard to get as the whole.
const CHUNK_MIN: u64 = 64 << 10;
const CHUNK_MAX: u64 = 64 << 20;
const SINCE_MAX: Duration = Duration::from_secs(3_660 * 86_400);

const MODES: [(&str, PartialMode); 3] = [("off", PartialMode::Off), ("on", PartialMode::On), ("auto", PartialMode::Auto)];

/// The limit, and what is done with what is above it.
pub(super) fn max_message_size(ctx: &mut Ctx<'_>, block: &Block<'_>) -> (Option<u64>, TooLarge) {
    let Some(entry) = block.get("max_message_size") else { return (None, TooLarge::default()) };
    let (limit, action) = match &entry.value.value {
        Value::Map(_) => {
            let Some(block) = open_entry(ctx, entry, "`max_message_size`", &SIZE_LIMIT) else { return (None, TooLarge::default()) };
            let actions = [("skip", TooLarge::Skip), ("hold", TooLarge::Hold), ("headers_only", TooLarge::HeadersOnly)];
            let action = block.get("action").and_then(|action| choice(ctx, action, &actions, &[])).unwrap_or_default();
            let Some(limit) = block.get("limit") else {
                ctx.add(ctx.error(Code::Missing, entry.span, "`max_message_size` has no `limit`"));
                return (None, action);
            };
            (size(ctx, limit), action)
        }
        _ => (size(ctx, entry), TooLarge::default()),
    };
    if limit == Some(0) {
        ctx.add(ctx.error(Code::Range, entry.value.span, "`max_message_size` of 0 would skip everything").hint("without the key there is no limit"));
    }
    (limit, action)
}

/// Octets; 0 and nothing mean no limit.
pub(super) fn max_bytes_per_session(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Option<u64> {
    block.get("max_bytes_per_session").and_then(|entry| size(ctx, entry)).filter(|octets| *octets > 0)
}

/// `all`, `none`, `{since: 7d}`
pub(super) fn first_run(ctx: &mut Ctx<'_>, block: &Block<'_>) -> FirstRun {
    block.get("first_run").and_then(|entry| first_run_of(ctx, entry)).unwrap_or_default()
}

fn first_run_of(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<FirstRun> {
    if !matches!(entry.value.value, Value::Map(_)) {
        return choice(ctx, entry, &[("all", FirstRun::All), ("none", FirstRun::None)], &[]);
    }
    let block = open_entry(ctx, entry, "`first_run`", &FIRST_RUN)?;
    let Some(since) = block.get("since") else {
        ctx.add(ctx.error(Code::Missing, entry.span, "`first_run` takes a word or `since`").hint("`all`, `none` or `{since: 7d}`"));
        return None;
    };
    duration_within(ctx, since, Duration::from_secs(1)..=SINCE_MAX).map(FirstRun::Since)
}

/// `off`, `on`, `auto`, or `{mode, chunk}`
pub(super) fn partial_fetch(ctx: &mut Ctx<'_>, block: &Block<'_>) -> PartialFetch {
    let Some(entry) = block.get("partial_fetch") else { return PartialFetch::default() };
    if !matches!(entry.value.value, Value::Map(_)) {
        return PartialFetch { mode: choice(ctx, entry, &MODES, &[]).unwrap_or_default(), chunk: 0 };
    }
    let Some(block) = open_entry(ctx, entry, "`partial_fetch`", &PARTIAL) else { return PartialFetch::default() };
    let mode = block.get("mode").and_then(|mode| choice(ctx, mode, &MODES, &[])).unwrap_or_default();
    let chunk = block.get("chunk").and_then(|chunk| {
        let octets = size(ctx, chunk)?;
        if !(CHUNK_MIN..=CHUNK_MAX).contains(&octets) {
            ctx.add(ctx.error(Code::Range, chunk.value.span, "`chunk` must be from 64KiB to 64MiB"));
            return None;
        }
        if mode == PartialMode::Off {
            let problem = ctx.error(Code::Contradiction, chunk.span, "`chunk` has no effect with `mode: off`");
            ctx.add(problem.hint("`mode: on` or `auto`, or remove it"));
        }
        u32::try_from(octets).ok()
    });
    PartialFetch { mode, chunk: chunk.unwrap_or(0) }
}
