//! `first_run`: what the first pass over a folder takes of what is there already. What it leaves counts as collected, and never comes.

use super::pass::PassError;
use super::plan;
use super::walk::Walk;
use crate::config::{Collect, FirstRun};
use crate::ledger::Finished;
use crate::mail::{KnownUids, RemoteUid};
use crate::source::{Session, Want};
use std::collections::HashSet;
use std::time::Duration;

/// Notes what the first pass leaves alone, and limits what it lists. False if the pass was stopped on the way: the session is of no more use.
pub(super) async fn prepare(walk: &Walk<'_>, session: &mut dyn Session, want: &mut Want) -> Result<bool, PassError> {
    let collector = walk.pass.collector;
    match collector.first_run {
        FirstRun::All => Ok(true),
        FirstRun::None => {
            if let (Some(next), Collect::New) = (walk.selected.uid_next, collector.collect) {
                // Whatever has a lower UID is there already (RFC 9051 §2.3.1.1).
                let watermark = Some(next.saturating_sub(1));
                // In one step: after a crash in between, mail that came meanwhile would be left alone too.
                walk.pass.ledger.finish(&walk.progress.place, Finished { watermark, first_run_over: true, ..Finished::default() }).await?;
                want.above = next.saturating_sub(1);
                return Ok(true);
            }
            if !leave(walk, session, want, &HashSet::new()).await? {
                return Ok(false);
            }
            // Whatever comes from now on is new, also if this pass ends early.
            walk.pass.ledger.finish(&walk.progress.place, Finished { first_run_over: true, ..Finished::default() }).await?;
            Ok(true)
        }
        FirstRun::Since(age) => {
            let since = since(begun(walk), age);
            // Such a source tells which are older, by POP3 as far as the server shows headers alone; the rest is judged when it is here.
            let has_watermark = collector.collect == Collect::New && walk.selected.uid_next.is_some();
            if has_watermark || !collector.server.protocol.numbers_messages() {
                want.since = Some(since);
                return Ok(true);
            }
            // Without a watermark each message that is left alone has to be known. The server tells days apart, and each message its hour: the first
            // run is over when all have been looked at.
            let Some(young) = uids(walk, session, &Want { since: Some(since), ..want.clone() }).await? else { return Ok(false) };
            leave(walk, session, want, &young).await
        }
    }
}

/// The first pass has gone through the whole folder.
pub(super) async fn over(walk: &Walk<'_>) -> Result<(), PassError> {
    let collector = walk.pass.collector;
    let mut finished = Finished { first_run_over: true, ..Finished::default() };
    if let (Some(next), Collect::New, FirstRun::Since(_)) = (walk.selected.uid_next, collector.collect, collector.first_run) {
        // What was too old for the first pass is below, and must not come with the second one.
        finished.watermark = Some(next.saturating_sub(1));
    }
    walk.pass.ledger.finish(&walk.progress.place, finished).await?;
    Ok(())
}

/// The time before which messages are left alone: while a first pass goes on, and while messages are compared with those of an earlier epoch, where
/// what the first run left alone is there too, and nobody can know it again.
pub(super) fn limit(walk: &Walk<'_>) -> Option<i64> {
    let progress = walk.progress;
    let compares = progress.has_earlier && progress.begun > 0 && !progress.compared;
    match walk.pass.collector.first_run {
        FirstRun::Since(age) if progress.first_run || compares => Some(since(begun(walk), age)),
        FirstRun::None if compares => Some(progress.begun),
        _ => None,
    }
}

/// When the first run began, which may take as many passes as it will: what comes after that does not grow old while the target is down.
fn begun(walk: &Walk<'_>) -> i64 {
    if walk.progress.begun > 0 { walk.progress.begun } else { walk.place.now }
}

fn since(now: i64, age: Duration) -> i64 {
    now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}

/// Notes everything that `want` lists, but for `young`, as collected.
async fn leave(walk: &Walk<'_>, session: &mut dyn Session, want: &mut Want, young: &HashSet<RemoteUid>) -> Result<bool, PassError> {
    let mut asked = Want { sizes: false, since: None, ..want.clone() };
    loop {
        let Some(listing) = walk.pass.unless_stopped(session.list(asked.clone())).await else { return Ok(false) };
        let listing = listing?;
        let left: Vec<RemoteUid> = listing.messages.iter().map(|message| &message.uid).filter(|uid| !young.contains(uid)).cloned().collect();
        walk.pass.ledger.collected(&walk.progress.place, &left).await?;
        want.known.insert_all(left.iter());
        if !listing.more {
            return Ok(true);
        }
        asked = plan::next_want(&asked, &listing);
    }
}

/// Everything that `want` lists.
async fn uids(walk: &Walk<'_>, session: &mut dyn Session, want: &Want) -> Result<Option<HashSet<RemoteUid>>, PassError> {
    let mut asked = Want { sizes: false, known: KnownUids::new(), ..want.clone() };
    let mut found = HashSet::new();
    loop {
        let Some(listing) = walk.pass.unless_stopped(session.list(asked.clone())).await else { return Ok(None) };
        let listing = listing?;
        found.extend(listing.messages.iter().map(|message| message.uid.clone()));
        if !listing.more {
            return Ok(Some(found));
        }
        asked = plan::next_want(&asked, &listing);
    }
}
