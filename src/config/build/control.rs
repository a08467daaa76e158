//! `control:`.

use super::Ctx;
use super::block::{Block, Keys};
use super::values::{path, text};
use crate::config::Control;

pub(super) const CONTROL: Keys = Keys { known: &["socket", "group"], not_yet: &[] };

/// Where the daemon listens, and for whom.
pub(super) fn control(ctx: &mut Ctx<'_>, top: &Block<'_>) -> Control {
    let block = top.child(ctx, "control", &CONTROL);
    let socket = block.get("socket").and_then(|entry| path(ctx, entry));
    Control { socket, group: block.get("group").and_then(|entry| text(ctx, entry)).map(str::to_owned) }
}
