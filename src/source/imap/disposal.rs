//! What happens to copies that are final: marked, deleted, moved. By UID only, and only what the caller named: another client's mail is never touched.
//!
//! Deleting is UID STORE and UID EXPUNGE of exactly our UIDs (RFC 4315 §2.1). A server without UIDPLUS knows only EXPUNGE, which takes everything
//! that anybody flagged \Deleted. There we flag and leave; with `allow_plain_expunge` we ask after the STORE, in the same session, what is flagged, and say
//! EXPUNGE only if that is nothing but ours. The protocol leaves one window: what another client flags between the server's answer to that
//! question and its reading of our next line, one round trip, is expunged too, as it would be by that client's own next EXPUNGE.

use super::connection::Input;
use super::session::ImapSession;
use crate::mail::outcome::harmless;
use crate::mail::{Epoch, FolderName, UidSet};
use crate::proto::imap::{Code, Command, State, Status};
use crate::source::{Disposal, Disposed, SourceError, SourceErrorKind};
use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

/// Longest list of UIDs in the log.
const LOGGED_OCTETS_MAX: usize = 300;
/// Most pairs of folders, and most ranges of UIDs in each, of which it is remembered what was copied. Beyond them a copy may be made once more.
const WAYS_MAX: usize = 1000;
const NOTED_RANGES_MAX: usize = 50_000;

/// From where, with which UIDVALIDITY, to where.
pub(super) type Way = (FolderName, Epoch, FolderName);

/// What COPYUID told: the copies of ours, and where they are.
struct Copied {
    epoch: u32,
    from: UidSet,
    to: UidSet,
}

impl ImapSession {
    pub(super) async fn dispose_of(&mut self, uids: UidSet, how: Disposal) -> Result<Disposed, SourceError> {
        match how {
            _ if uids.is_empty() => Ok(Disposed::Confirmed),
            Disposal::Keep => Ok(Disposed::Confirmed),
            // Before a COPY that would be repeated for ever, as the STORE behind it is refused each time.
            _ if self.folder.as_ref().is_some_and(|folder| folder.is_read_only) => {
                let error = self
                    .connection
                    .error(SourceErrorKind::Mailbox, "the server opened the folder read-only: nothing can be marked, moved or deleted");
                Err(error.hint("give this login the right to write there, or say `after: keep`"))
            }
            Disposal::MarkSeen => self.mark_seen(&uids).await,
            Disposal::Flag => self.flag(&uids).await,
            Disposal::Delete => self.delete(&uids).await,
            Disposal::Move(folder) => self.move_to(uids, &folder).await,
        }
    }

    async fn mark_seen(&mut self, uids: &UidSet) -> Result<Disposed, SourceError> {
        for set in Command::sets(uids) {
            self.store(&Command::StoreSeen(&set)).await?;
        }
        Ok(Disposed::Confirmed)
    }

    async fn flag(&mut self, uids: &UidSet) -> Result<Disposed, SourceError> {
        for set in Command::sets(uids) {
            self.store(&Command::StoreDeleted(&set)).await?;
        }
        Ok(Disposed::Confirmed)
    }

    /// A STORE; returns how many messages went meanwhile.
    async fn store(&mut self, command: &Command<'_>) -> Result<u64, SourceError> {
        let mut gone = 0;
        let status = self.again_if_expunged(command, |input| gone += u64::from(matches!(input, Input::Expunge))).await?;
        if status.state == State::Ok { Ok(gone) } else { Err(self.connection.refused("UID STORE", &status)) }
    }

    /// A command. If the server refuses it because another client expunged some of the messages (RFC 2180 §4.2, RFC 5530), it learns of that by
    /// NOOP, and the command is said once more for those that are left.
    async fn again_if_expunged(&mut self, command: &Command<'_>, mut take: impl FnMut(Input)) -> Result<Status, SourceError> {
        let tag = self.connection.send(command).await?;
        let status = self.answer(tag, &mut take).await?;
        if status.state != State::No || !matches!(&status.code, Some(Code::Named(name)) if name == "EXPUNGEISSUED") {
            return Ok(status);
        }
        let noop = self.connection.send(&Command::Noop).await?;
        self.finish(noop, "NOOP", &mut take).await?;
        let tag = self.connection.send(command).await?;
        self.answer(tag, &mut take).await
    }

    async fn delete(&mut self, uids: &UidSet) -> Result<Disposed, SourceError> {
        let exact = self.offers("UIDPLUS");
        let mut is_gone = true;
        for set in Command::sets(uids) {
            let gone = self.store(&Command::StoreDeleted(&set)).await?;
            // Not in one write with the STORE: where other clients are at work, Dovecot begins the second before the first shows, says OK and
            // leaves everything there.
            if exact {
                is_gone &= self.expunge(&set, gone > 0).await?;
            }
        }
        match (exact, self.shared.allow_plain_expunge) {
            (true, _) if is_gone => Ok(Disposed::Confirmed),
            (true, _) => Ok(Disposed::FlaggedOnly),
            (false, true) => self.plain_expunge(uids).await,
            (false, false) => Ok(Disposed::FlaggedOnly),
        }
    }

    /// UID EXPUNGE of a set. As many EXPUNGEs as it has UIDs are ours, unless `others` are seen at work: the server does not say whose they are. If it
    /// tells of more or fewer, some may have been gone before, or it said OK too soon: it is asked what is left, and told once more. False if flagged
    /// messages stay all the same, or if it does not say.
    async fn expunge(&mut self, set: &str, others: bool) -> Result<bool, SourceError> {
        let mut awaited = count(set);
        for _ in 0..2 {
            let tag = self.connection.send(&Command::Expunge(set)).await?;
            let mut gone = 0;
            self.finish(tag, "UID EXPUNGE", |input| gone += u64::from(matches!(input, Input::Expunge))).await?;
            if gone == awaited && !others {
                return Ok(true);
            }
            match self.search_deleted_of(set).await? {
                Some(left) if left.is_empty() => return Ok(true),
                Some(left) => awaited = left.len(),
                None => break,
            }
        }
        tracing::warn!(
            event = "expunge_failed",
            collector = %self.shared.collector, server = self.connection.peer(),
            next = "the server says OK and keeps flagged messages, or does not say"
        );
        Ok(false)
    }

    /// EXPUNGE, if all that it would take is ours.
    async fn plain_expunge(&mut self, uids: &UidSet) -> Result<Disposed, SourceError> {
        let flagged = self.search_deleted().await?;
        if !flagged.as_ref().is_some_and(|flagged| is_within(flagged, uids)) {
            let others = flagged.map(|flagged| flagged.len().saturating_sub(uids.len())).unwrap_or_default();
            let next = "another mail program expunges them, or a server with UIDPLUS";
            tracing::warn!(event = "expunge_left", collector = %self.shared.collector, server = self.connection.peer(), flagged = uids.len(), others, next);
            return Ok(Disposed::FlaggedOnly);
        }
        let tag = self.connection.send(&Command::ExpungeAll).await?;
        let mut gone = 0u64;
        self.finish(tag, "EXPUNGE", |input| gone += u64::from(matches!(input, Input::Expunge))).await?;
        if gone > uids.len() {
            let next = "another client flagged mail in the same moment; see `allow_plain_expunge` in docs/imap.md";
            tracing::error!(event = "expunged_more", collector = %self.shared.collector, server = self.connection.peer(), ours = uids.len(), gone, next);
        }
        Ok(Disposed::Confirmed)
    }

    /// MOVE (RFC 6851) where it is offered, else COPY, and then deleting what was copied. The server makes COPY all or nothing (RFC 9051 §6.4.7), and
    /// nothing is flagged before its OK. What was copied and could not be deleted is remembered, as long as the process lives, and not copied again.
    async fn move_to(&mut self, uids: UidSet, folder: &FolderName) -> Result<Disposed, SourceError> {
        let Some(own) = &self.folder else { return Err(self.connection.error(SourceErrorKind::Mailbox, "no folder is open")) };
        if same_folder(&own.name, folder) {
            return Err(self.connection.error(SourceErrorKind::Mailbox, format!("`{folder}` is the folder that mail would be moved from")));
        }
        let way = (own.name.clone(), own.epoch, folder.clone());
        let before = self.copied().get(&way).cloned().unwrap_or_default();
        let (mut copied, rest): (Vec<u32>, Vec<u32>) = uids.iter().partition(|uid| before.contains(*uid));
        let rest: UidSet = rest.into_iter().collect();
        let mut refused = None;
        for set in Command::sets(&rest) {
            match self.move_or_copy(&set, &rest, folder).await? {
                Ok(own) => {
                    self.note_copied(&way, &own);
                    copied.extend(own);
                }
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        // Also where a later copy was refused: what is in the other folder already must not come there again.
        let copied: UidSet = copied.into_iter().collect();
        let deleted = if copied.is_empty() { Ok(Disposed::Confirmed) } else { self.delete(&copied).await };
        match (deleted, refused) {
            (Ok(Disposed::Confirmed), None) => {
                self.copied().remove(&way);
                Ok(Disposed::Confirmed)
            }
            (Err(error), _) if !error.is_refusal() => Err(error),
            (_, Some(refused)) => Err(refused),
            // The copy is where it should be. Deleting is tried again, as for all that is flagged, and the operator is told then.
            (Err(error), None) => {
                tracing::warn!(event = "move_half_done", collector = %self.shared.collector, server = self.connection.peer(), reason = %error, next = "copied, and not copied again");
                Ok(Disposed::FlaggedOnly)
            }
            (deleted, None) => deleted,
        }
    }

    /// One set of UIDs: those that were copied, and none if the server moved them; the inner error, if it refuses.
    async fn move_or_copy(&mut self, set: &str, uids: &UidSet, folder: &FolderName) -> Result<Result<Vec<u32>, SourceError>, SourceError> {
        if self.can_move && self.offers("MOVE") {
            let (status, moved) = self.send_to_folder(&Command::Move(set, folder), folder).await?;
            match status.state {
                State::Ok => {
                    self.log_copied("message_moved", folder, moved.as_ref());
                    return Ok(Ok(Vec::new()));
                }
                State::No => return Ok(Err(self.connection.refused(&format!("to move to `{folder}`"), &status))),
                // Offered and not understood: as without it.
                State::Bad => self.can_move = false,
            }
        }
        let (status, told) = self.send_to_folder(&Command::Copy(set, folder), folder).await?;
        if status.state != State::Ok {
            return Ok(Err(self.connection.refused(&format!("to copy to `{folder}`"), &status)));
        }
        self.log_copied("message_copied", folder, told.as_ref());
        // What the server does not name was not there to be copied; it must not be deleted should it be there all the same.
        Ok(Ok(uids_of(set, uids).filter(|uid| told.as_ref().is_none_or(|told| told.from.contains(*uid))).collect()))
    }

    fn copied(&self) -> MutexGuard<'_, BTreeMap<Way, UidSet>> {
        self.shared.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_copied(&self, way: &Way, uids: &[u32]) {
        let mut copied = self.copied();
        if !copied.contains_key(way) && copied.len() >= WAYS_MAX {
            copied.clear();
        }
        let noted = copied.entry(way.clone()).or_default();
        if noted.ranges().len() >= NOTED_RANGES_MAX {
            *noted = UidSet::new();
        }
        uids.iter().for_each(|uid| {
            noted.insert(*uid);
        });
    }

    /// A MOVE or COPY. A folder that is not there is made, once, if the server says that this would help (TRYCREATE, RFC 9051 §7.1).
    async fn send_to_folder(&mut self, command: &Command<'_>, folder: &FolderName) -> Result<(Status, Option<Copied>), SourceError> {
        let (status, copied) = self.try_to_folder(command).await?;
        let wants_folder = status.state == State::No && matches!(&status.code, Some(Code::Named(name)) if name == "TRYCREATE");
        if !wants_folder {
            return Ok((status, copied));
        }
        let tag = self.connection.send(&Command::Create(folder)).await?;
        let created = self.answer(tag, |_| ()).await?;
        tracing::info!(
            event = "folder_created",
            collector = %self.shared.collector, server = self.connection.peer(),
            folder = harmless(folder.as_str(), LOGGED_OCTETS_MAX),
            ok = (created.state == State::Ok)
        );
        // Somebody else may have made it meanwhile: the second try tells.
        self.try_to_folder(command).await
    }

    async fn try_to_folder(&mut self, command: &Command<'_>) -> Result<(Status, Option<Copied>), SourceError> {
        let mut copied = None;
        // MOVE tells COPYUID in an untagged OK, before the messages go (RFC 6851 §4.3); COPY in the tagged one.
        let status = self
            .again_if_expunged(command, |input| {
                if let Input::Code(Code::CopyUid { epoch, from, to }) = input {
                    copied = Some(Copied { epoch, from, to });
                }
            })
            .await?;
        if let Some(Code::CopyUid { epoch, from, to }) = &status.code {
            copied = Some(Copied { epoch: *epoch, from: from.clone(), to: to.clone() });
        }
        Ok((status, copied))
    }

    fn log_copied(&self, event: &'static str, folder: &FolderName, copied: Option<&Copied>) {
        let text = |set: &UidSet| harmless(&set.to_string(), LOGGED_OCTETS_MAX);
        let (from, to, epoch) = copied.map(|copied| (text(&copied.from), text(&copied.to), copied.epoch)).unwrap_or_default();
        let folder = harmless(folder.as_str(), LOGGED_OCTETS_MAX);
        tracing::info!(event, collector = %self.shared.collector, server = self.connection.peer(), folder, uids = from, uids_there = to, uidvalidity_there = epoch);
    }
}

/// How many UIDs one of our own sequence-sets names.
fn count(set: &str) -> u64 {
    named(set).len()
}

/// True if each UID of `inner` is in `outer`; by ranges, because `inner` is the server's.
fn is_within(inner: &UidSet, outer: &UidSet) -> bool {
    let holds = |range: &std::ops::RangeInclusive<u32>| outer.ranges().iter().any(|own| own.start() <= range.start() && range.end() <= own.end());
    inner.ranges().iter().all(holds)
}

/// Those of `uids` that `set`, one of its sequence-sets, names.
fn uids_of<'a>(set: &str, uids: &'a UidSet) -> impl Iterator<Item = u32> + 'a {
    let named = named(set);
    uids.iter().filter(move |uid| named.contains(*uid))
}

fn named(set: &str) -> UidSet {
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    let mut named = UidSet::new();
    for part in set.split(',') {
        let (low, high) = part.split_once(':').unwrap_or((part, part));
        named.insert_range(number(low)..=number(high));
    }
    named
}

fn same_folder(one: &FolderName, other: &FolderName) -> bool {
    let is_inbox = |folder: &FolderName| folder.as_str().eq_ignore_ascii_case("INBOX");
    one == other || (is_inbox(one) && is_inbox(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_in_sets() {
        let set = |uids: &[u32]| uids.iter().copied().collect::<UidSet>();
        let mut everything = UidSet::new();
        everything.insert_range(1..=u32::MAX);
        for (inner, outer, wanted) in [
            (set(&[]), set(&[]), true),
            (set(&[4, 5]), set(&[3, 4, 5]), true),
            (set(&[4, 9]), set(&[3, 4, 5, 9]), true),
            (set(&[4, 7]), set(&[3, 4, 5, 9]), false),
            (set(&[4]), set(&[]), false),
            (everything, set(&[4, 7]), false),
        ] {
            assert_eq!(is_within(&inner, &outer), wanted, "{inner} {outer}");
        }
        assert_eq!(uids_of("3:4,9", &set(&[2, 3, 4, 5, 9])).collect::<Vec<_>>(), [3, 4, 9]);
    }
}
