//! `after`, `on_hold` and `expunge`: what becomes of the copy on the server.

use super::Ctx;
use super::block::{Block, Keys, open_entry};
use super::folders::select;
use super::values::{choice, duration, duration_within, number};
use crate::config::error::Code;
use crate::config::yaml::{Entry, Value};
use crate::config::{After, Expunge, FolderSelect, OnHold};
use std::time::Duration;

/// The keys of `after`, where it is more than a word.
pub(super) const AFTER: Keys = Keys { known: &["delete_after", "move_to"], not_yet: &[] };
/// The same of `on_hold`.
pub(super) const ON_HOLD: Keys = Keys { known: &["move_to"], not_yet: &[] };
/// The keys of `expunge`.
pub(super) const EXPUNGE: Keys = Keys { known: &["every_messages", "every_sessions"], not_yet: &[] };

/// Longest `delete_after`.
const AGE_MAX: Duration = Duration::from_secs(3_660 * 86_400);

/// What is done with what was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disposal {
    pub after: After,
    pub move_to: Option<FolderSelect>,
}

impl Disposal {
    /// This word, without a folder.
    pub fn word(after: After) -> Self {
        Disposal { after, move_to: None }
    }
}

/// `keep`, `delete`, `mark_seen`, `{delete_after: 14d}`, `{move_to: Folder}`.
pub(super) fn after(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Disposal> {
    if !matches!(entry.value.value, Value::Map(_)) {
        let word = choice(ctx, entry, &[("keep", After::Keep), ("delete", After::Delete), ("mark_seen", After::MarkSeen)], &[]);
        return word.map(Disposal::word);
    }
    let block = open_entry(ctx, entry, "`after`", &AFTER)?;
    match (block.get("delete_after"), block.get("move_to")) {
        (Some(age), None) => {
            let given = duration(ctx, age)?;
            if given.is_zero() {
                let problem = ctx.error(Code::Range, age.value.span, "`delete_after: 0` deletes at once");
                ctx.add(problem.hint("that is `after: delete`"));
                return None;
            }
            let age = duration_within(ctx, age, Duration::from_secs(1)..=AGE_MAX)?;
            Some(Disposal::word(After::DeleteAfter(age)))
        }
        (None, Some(folder)) => Some(Disposal { after: After::Move, move_to: Some(select(ctx, folder, false)?) }),
        (Some(_), Some(second)) => {
            let problem = ctx.error(Code::Contradiction, second.span, "`after` both deletes and moves");
            ctx.add(problem.hint("one of `delete_after` and `move_to`"));
            None
        }
        (None, None) => {
            let problem = ctx.error(Code::Missing, entry.span, "`after` takes a word or a key");
            ctx.add(problem.hint("`keep`, `delete`, `mark_seen`, `{delete_after: 14d}` or `{move_to: Collected}`"));
            None
        }
    }
}

/// What is done with the source's copy of held mail, and where to it is moved, if it says so itself.
pub(super) fn on_hold(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<(OnHold, Option<FolderSelect>)> {
    if !matches!(entry.value.value, Value::Map(_)) {
        let words = [("keep", OnHold::Keep), ("delete", OnHold::Delete), ("move", OnHold::Move)];
        return choice(ctx, entry, &words, &[]).map(|word| (word, None));
    }
    let block = open_entry(ctx, entry, "`on_hold`", &ON_HOLD)?;
    let Some(folder) = block.get("move_to") else {
        ctx.add(ctx.error(Code::Missing, entry.span, "`on_hold` takes a word or `move_to`").hint("`keep`, `delete`, `move` or `{move_to: Held}`"));
        return None;
    };
    Some((OnHold::Move, Some(select(ctx, folder, false)?)))
}

/// When what was delivered is expunged.
pub(super) fn expunge(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Expunge {
    let expunge = block.child(ctx, "expunge", &EXPUNGE);
    let mut count = |key: &str, max: usize| expunge.get(key).and_then(|entry| number(ctx, entry, 0..=max)).unwrap_or(0) as u32;
    Expunge { every_messages: count("every_messages", 1_000_000), every_sessions: count("every_sessions", 10_000) }
}
