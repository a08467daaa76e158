//! What came of a folder whose messages have other names than before, in one line: the operator of a mailbox with ten years of mail wants to know that it was
//! known again, or that it was not.

use super::deliver_one::By;
use crate::ledger::{Entry, Progress, State};
use crate::mail::{CollectorId, FolderName};
use crate::observe::maillog::{self, RenumberedFigures};
use crate::source::Selected;

/// More new messages than known ones are a flood from here on.
const FLOOD_MIN: u64 = 20;

/// The messages of one pass that were compared with those of an earlier epoch.
#[derive(Debug, Default)]
pub(super) struct Renumbered {
    known: u64,
    new: u64,
    left_alone: u64,
}

impl Renumbered {
    /// One message was fetched, and this came of it.
    pub fn note(&mut self, progress: &Progress, entry: &Entry, by: By) {
        if !progress.has_earlier || progress.exceptions.contains_key(&entry.uid) {
            return;
        }
        match (&entry.former, by) {
            (Some(_), _) | (None, By::Duplicate) => self.known += 1,
            (None, By::Old) => self.left_alone += 1,
            (None, _) => self.new += 1,
        }
    }

    /// The pass is through with the folder, or broke off.
    pub fn tell(&self, collector: &CollectorId, folder: &FolderName, progress: &Progress) {
        let Renumbered { known, new, left_alone } = *self;
        // Where the former messages are never forgotten (`collect: unseen`), each new one is compared with them, and that is no news.
        if known == 0 && !(is_first_pass(progress) && new + left_alone > 0) {
            return;
        }
        let figures = RenumberedFigures { remembered: progress.earlier_count, known, left_alone, new };
        maillog::renumbered(collector, folder, &figures, new >= FLOOD_MIN && new > known + left_alone);
    }
}

/// Tells of a new UIDVALIDITY, where something is remembered under the former one.
pub(super) fn begins(collector: &CollectorId, folder: &FolderName, selected: &Selected, progress: &Progress) {
    let is_of_use = selected.exists > 0 || progress.earlier_count > 0;
    if is_first_pass(progress) && progress.generation == 0 && selected.epoch.0 != 0 && is_of_use {
        maillog::uidvalidity_changed(collector, folder, selected.epoch, selected.exists, progress.earlier_count);
    }
}

/// True if nothing was recorded under the new names yet.
fn is_first_pass(progress: &Progress) -> bool {
    let is_tried = |state: &State| !matches!(state, State::Pending(pending) if pending.tries == 0);
    progress.has_earlier && progress.watermark == 0 && progress.kept_count == 0 && !progress.exceptions.values().any(is_tried)
}
