//! Disposing of copies at the source whose recipients are all final: the last thing that happens to them, and only after the ledger says so.

use super::pass::{PassError, PassReport, Scope};
use super::walk::Walk;
use crate::config::{After, Collect};
use crate::ledger::Finished;
use crate::mail::RemoteUid;
use crate::observe::counters::{Remote, RemoteResult};
use crate::observe::maillog;
use crate::source::{Disposal, Disposed, Session, SourceError, SourceErrorKind};
use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// True if what was delivered is deleted, sooner or later.
pub(super) fn deletes(after: After) -> bool {
    matches!(after, After::Delete | After::DeleteAfter(_))
}

/// Disposes of these copies as the collector says.
pub(super) async fn dispose(
    walk: &Walk<'_>,
    session: &mut dyn Session,
    uids: Vec<RemoteUid>,
    report: &mut PassReport,
) -> Result<Finished, PassError> {
    let collector = walk.pass.collector;
    let expunge = collector.expunge;
    let how = match collector.after {
        _ if uids.is_empty() => return Ok(Finished::default()),
        _ if walk.pass.scope == Scope::Purge => Disposal::Delete,
        After::Keep => return Ok(Finished::default()),
        After::MarkSeen => Disposal::MarkSeen,
        After::Delete | After::DeleteAfter(_) if expunge.every_sessions > 1 => Disposal::Flag,
        After::Delete | After::DeleteAfter(_) => Disposal::Delete,
        After::Move => match move_to(walk) {
            Some(how) => how,
            None => return Ok(Finished::default()),
        },
    };
    let groups = match (expunge.every_messages, &how) {
        (1.., Disposal::Delete) => expunge.every_messages as usize,
        _ => uids.len(),
    };
    let mut finished = Finished::default();
    for group in uids.chunks(groups) {
        one_command(walk, session, group.to_vec(), &how, &mut finished, report).await?;
    }
    Ok(finished)
}

/// Expunges copies that were only flagged so far.
pub(super) async fn expunge(
    walk: &Walk<'_>,
    session: &mut dyn Session,
    uids: Vec<RemoteUid>,
    report: &mut PassReport,
) -> Result<Finished, PassError> {
    let mut finished = Finished::default();
    if !uids.is_empty() {
        one_command(walk, session, uids, &Disposal::Delete, &mut finished, report).await?;
    }
    Ok(finished)
}

/// Moves copies of held mail away, whatever is done with what was delivered.
pub(super) async fn move_held(
    walk: &Walk<'_>,
    session: &mut dyn Session,
    uids: Vec<RemoteUid>,
    report: &mut PassReport,
) -> Result<Finished, PassError> {
    let mut finished = Finished::default();
    if let Some(how) = move_to(walk) {
        one_command(walk, session, uids, &how, &mut finished, report).await?;
    }
    Ok(finished)
}

fn move_to(walk: &Walk<'_>) -> Option<Disposal> {
    let folder = walk.place.move_to.clone();
    // A special use may turn out to be the folder at hand: what is moved there comes again, for ever.
    let problem = match &folder {
        None => "the folder that mail is moved to is not there; the mail stays where it is",
        Some(folder) if *folder == walk.place.name => "mail would be moved into the folder that it is in; it stays where it is",
        Some(folder) => return Some(Disposal::Move(folder.clone())),
    };
    let server = &walk.pass.collector.server;
    let error = SourceError::new(SourceErrorKind::Mailbox, "dispose", &format!("{}:{}", server.host, server.port), problem);
    refused(
        walk,
        error.hint("`mailgather test` shows the folders that are there; name one of them in `move_to`; new mail is collected all the same"),
    );
    None
}

/// The last session deleted messages, and as many are there as before, under other names.
pub(super) fn came_to_nothing(walk: &Walk<'_>) {
    let server = &walk.pass.collector.server;
    let problem = "as many messages are there as before the last session deleted some, and all have other ids (UIDL)";
    let error = SourceError::new(SourceErrorKind::Mailbox, "dispose", &format!("{}:{}", server.host, server.port), problem);
    let hint = "either the server deletes nothing, or as many have come meanwhile; what has neither Message-ID nor Date is delivered again each time; \
                sessions keep to the interval until the mailbox gets smaller";
    refused(walk, error.hint(hint));
}

/// The first refusal is told at the end of the pass.
fn refused(walk: &Walk<'_>, error: SourceError) {
    walk.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

/// A refusal, and what it means for the operator.
pub(super) fn with_hint(error: SourceError) -> SourceError {
    match error.hint {
        Some(_) => error,
        None => error.hint("what was delivered stays where it is until the server allows this; new mail is collected all the same"),
    }
}

/// Why messages were flagged and not expunged, in words.
fn left_flagged(how: &Disposal, has_uidplus: bool, may_expunge_all: bool) -> &'static str {
    match (how, has_uidplus, may_expunge_all) {
        (Disposal::Move(_), true, _) => {
            "copied and flagged \\Deleted, not moved again: the server refuses to delete them, or says OK to UID EXPUNGE and keeps them"
        }
        (Disposal::Move(_), false, true) => {
            "copied and flagged \\Deleted, not moved again: the server has no UIDPLUS, and EXPUNGE would take mail that others flagged"
        }
        (Disposal::Move(_), false, false) => {
            "copied and flagged \\Deleted, not moved again: the server has no UIDPLUS, and `allow_plain_expunge` is not set"
        }
        (_, true, _) => "flagged \\Deleted only: the server says OK to UID EXPUNGE and keeps them",
        (_, false, true) => "flagged \\Deleted only: the server has no UIDPLUS, and EXPUNGE would take mail that others flagged",
        (_, false, false) => "flagged \\Deleted only: the server has no UIDPLUS, and `allow_plain_expunge` is not set",
    }
}

/// Counts what was done to copies, and the commands that remove what is flagged: IMAP has them.
fn count(walk: &Walk<'_>, how: &Disposal, result: RemoteResult, copies: u64) {
    let counters = walk.pass.counters;
    match how {
        Disposal::Keep => {}
        Disposal::MarkSeen | Disposal::Flag => counters.remote(Remote::Flag, result, copies),
        Disposal::Move(_) => counters.remote(Remote::Move, result, copies),
        Disposal::Delete => {
            counters.remote(Remote::Delete, result, copies);
            if walk.pass.collector.server.protocol.expunges() {
                counters.remote(Remote::Expunge, result, 1);
            }
        }
    }
}

async fn one_command(
    walk: &Walk<'_>,
    session: &mut dyn Session,
    uids: Vec<RemoteUid>,
    how: &Disposal,
    finished: &mut Finished,
    report: &mut PassReport,
) -> Result<(), PassError> {
    let collector = walk.pass.collector;
    let mut uids = uids;
    let disposed = match session.dispose(&uids, how.clone()).await {
        Ok(disposed) => disposed,
        Err(error) if error.is_refusal() => {
            // They stay owed, and are disposed of when the server lets us. New mail does not wait for that; the operator is told at the end. One that
            // is refused for ever must not keep all others owed.
            let some: HashSet<RemoteUid> = error.only.iter().cloned().collect();
            let all = uids.len();
            uids.retain(|uid| !some.is_empty() && !some.contains(uid));
            count(walk, how, RemoteResult::Refused, (all - uids.len()) as u64);
            refused(walk, with_hint(error));
            if uids.is_empty() {
                return Ok(());
            }
            Disposed::Confirmed
        }
        Err(error) => return Err(error.into()),
    };
    let word = match how {
        Disposal::Keep => "keep",
        Disposal::MarkSeen => "mark_seen",
        Disposal::Flag => "flag",
        Disposal::Delete => "delete",
        Disposal::Move(_) => "move",
    };
    let state = match disposed {
        Disposed::Confirmed => "confirmed",
        Disposed::Requested => "requested; confirmed when the session ends",
        Disposed::FlaggedOnly => left_flagged(how, walk.selected.can_delete, collector.server.allow_plain_expunge),
    };
    maillog::disposed(&collector.id, word, uids.len(), state);
    let result = match disposed {
        Disposed::Confirmed => RemoteResult::Confirmed,
        Disposed::Requested => RemoteResult::Requested,
        Disposed::FlaggedOnly => RemoteResult::Flagged,
    };
    count(walk, how, result, uids.len() as u64);
    // What is only requested may come to nothing, in each session anew.
    report.progress += if disposed == Disposed::Requested { 0 } else { uids.len() as u64 };
    match (disposed, how) {
        (Disposed::Confirmed, Disposal::Flag) => finished.flagged.extend(uids),
        (Disposed::Confirmed, Disposal::Delete | Disposal::Move(_)) => {
            report.disposed += uids.len() as u64;
            // `all` has no watermark to tell what was delivered: were the server not to keep its word, the row would.
            match collector.collect {
                Collect::All => finished.flagged.extend(uids),
                Collect::New | Collect::Unseen => finished.deleted.extend(uids),
            }
        }
        (Disposed::Confirmed, _) => {
            report.disposed += uids.len() as u64;
            finished.kept.extend(uids);
        }
        (Disposed::FlaggedOnly, _) => finished.flagged.extend(uids),
        (Disposed::Requested, _) => walk.unconfirmed.store(true, Ordering::Relaxed),
    }
    Ok(())
}
