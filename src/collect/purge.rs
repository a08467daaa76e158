//! What an operator wants gone from the server: messages that were delivered and kept. Nothing new is taken, and nothing is deleted in a way of its own:
//! the ledger makes them owed a disposal, durably, and they are disposed of as those of an ordinary pass are.
//!
//! A crash in between leaves them owed: a collector that keeps its mail keeps them again, any other disposes of them as it says.

use super::pass::{Ended, Pass, PassError, PassReport, Place, Sound};
use super::plan::{LISTING_MAX, Step};
use super::walk::Walk;
use crate::config::After;
use crate::ledger::{Finished, Progress, State};
use crate::mail::{KnownUids, RemoteUid};
use crate::source::{Selected, Session, Want, Wanted};
use std::collections::BTreeSet;
use std::sync::PoisonError;

/// Most messages of one session where names do not last (POP3), and a second one would meet them again.
const RENAMED_MAX: usize = 100_000;

/// Deletes what was delivered from one folder and is kept there.
pub(super) async fn folder(
    pass: &Pass<'_>,
    session: &mut dyn Session,
    mut progress: Progress,
    selected: &Selected,
    place: &Place,
    report: &mut PassReport,
) -> Result<Ended, PassError> {
    let (ledger, claim, epoch, history) = (pass.ledger, progress.place.claim, selected.epoch, super::plan::history(pass.collector));
    let mut others = owed(&progress);
    if pass.collector.after == After::Keep && !others.is_empty() {
        // A purge that was cut off left them, or an earlier configuration: the collector keeps them, until this purge says otherwise.
        ledger.finish(&progress.place, Finished { kept: others.into_iter().collect(), ..Finished::default() }).await?;
        others = BTreeSet::new();
    }
    let renames = pass.collector.server.protocol.renames_messages();
    let most = if renames { RENAMED_MAX } else { LISTING_MAX };
    let count = ledger.owe_kept(&progress.place, most).await?;
    progress = ledger.progress(&claim, &place.name, epoch, history).await?;
    let purged: BTreeSet<RemoteUid> = owed(&progress).difference(&others).cloned().collect();
    if purged.is_empty() {
        return Ok((Sound::Yes, None));
    }
    let former = std::mem::take(&mut progress.former);
    let mut walk = Walk::new(pass, &progress, former, selected, place, session.peer());
    let want = Want { known: known(&progress, &purged), limit: most.saturating_add(LISTING_MAX), ..Want::only(purged.iter().cloned().collect()) };
    let Some(listing) = pass.unless_stopped(session.list(want)).await else { return Ok((Sound::No, None)) };
    let listing = listing?;
    let there: Vec<_> = listing.messages.into_iter().filter(|message| purged.contains(&message.uid)).collect();
    // Of what is there under none of the names that we know, a POP3 server may only have changed the names.
    if (!renames || !there.is_empty()) && !listing.vanished.is_empty() {
        report.progress += listing.vanished.len() as u64;
        ledger.finish(&progress.place, Finished { vanished: listing.vanished, ..Finished::default() }).await?;
    }
    let duplicates = report.duplicates;
    if renames {
        // An UIDL may name another message by now: each is read, and compared with what was delivered.
        let step = |uid| Step::Collect(Wanted { uid, generation: progress.generation, size: None });
        let mut steps: Vec<Step> = there.into_iter().map(|message| step(message.uid)).collect();
        walk.read_again(session, &mut steps, report).await?;
    } else {
        walk.dispose_owed(session, there, report).await?;
    }
    report.duplicates = duplicates;
    report.more |= !renames && count >= most as u64;
    let refused = walk.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok((if walk.is_sound() { Sound::Yes } else { Sound::No }, refused))
}

fn owed(progress: &Progress) -> BTreeSet<RemoteUid> {
    progress.exceptions.iter().filter(|(_, state)| **state == State::Owed).map(|(uid, _)| uid.clone()).collect()
}

/// What is not to be listed: all that is remembered, but for what is purged.
fn known(progress: &Progress, purged: &BTreeSet<RemoteUid>) -> KnownUids {
    let mut known = progress.kept.clone();
    progress.exceptions.keys().filter(|uid| !purged.contains(uid)).for_each(|uid| known.insert(uid));
    known
}
