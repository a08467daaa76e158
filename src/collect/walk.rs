//! A pass inside one folder: list, batches, disposal. The order of effects is the one of [`super::pass`].

use super::batch::{Batch, Brakes, fetch_and_deliver};
use super::bookmark::Bookmark;
use super::chronicle;
use super::deliver_one::{By, Deliverer};
use super::disposal;
use super::first_run;
use super::pass::{Pass, PassError, PassReport, Place, Room, Scope};
use super::plan::{self, BATCH_MESSAGES_MAX, Plan, Step, Tried, Watermark};
use super::renumbered::Renumbered;
use crate::config::{After, Collect, OnHold, TooLarge};
use crate::history::Row;
use crate::ledger::state::Due;
use crate::ledger::{Entry, Finished, Former, Pending, Progress, State};
use crate::mail::{MessageKey, Present, RemoteUid, TargetDown};
use crate::observe::counters::Skipped;
use crate::observe::maillog;
use crate::source::{Fetched, Listed, Listing, Selected, Session, SourceError, Wanted};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A message that could not be fetched so often is set aside, reported, and tried once a day.
const FETCHES_MAX: u32 = 10;

/// What is to be recorded, by which way it got there, and the row of the history if it is not the plain one.
pub(super) type Recorded = (Entry, By, Option<Box<Row>>);

/// The state of a pass inside its folder.
pub(super) struct Walk<'a> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) progress: &'a Progress,
    pub(super) selected: &'a Selected,
    pub(super) place: &'a Place,
    pub(super) watermark: Watermark,
    bookmark: Bookmark,
    /// Answers to FETCH or RETR are outstanding: the session can only be abandoned.
    outstanding: bool,
    pub(super) target_down: Mutex<Option<TargetDown>>,
    /// The first disposal that the server refused.
    pub(super) refused: Mutex<Option<SourceError>>,
    /// Deletions were asked for that only the session's end confirms: whatever breaks it undoes them.
    pub(super) unconfirmed: AtomicBool,
    /// What is not recorded would come again: once the ledger fails, nothing more is handed over.
    ledger_failed: AtomicBool,
    /// Messages of an earlier epoch that no new one has matched yet.
    pub(super) former: Mutex<Former>,
    /// How many of them there are at the start; those of an earlier epoch in the ledger only.
    former_count: usize,
    /// What is owed a disposal, and may be there under other names.
    pub(super) held_back: Vec<RemoteUid>,
    /// How many messages were compared with those, from the first one on; `None` once one was found, or not looked at.
    pub(super) compared_first: Option<usize>,
    ids_changed: bool,
    /// What came of messages that have other names than before.
    pub(super) renumbered: Renumbered,
    /// What turned out to be too large only when it came, where headers are delivered in place of such messages, and how large.
    large: Mutex<Vec<(RemoteUid, u64)>>,
    /// What the server has and cannot give, for good as it seems, and what it said.
    pub(super) unreadable: Mutex<Vec<(RemoteUid, String)>>,
    /// Messages of what was held back, and their octets, that were found again under other names.
    again: (usize, u64),
    /// Octets of new messages whose sizes nobody knew before they came.
    uncounted: u64,
    source_ip: Option<IpAddr>,
}

impl<'a> Walk<'a> {
    /// `former` are those of `progress`.
    pub(super) fn new(
        pass: &'a Pass<'a>,
        progress: &'a Progress,
        former: Former,
        selected: &'a Selected,
        place: &'a Place,
        source_ip: Option<IpAddr>,
    ) -> Self {
        Walk {
            pass,
            progress,
            selected,
            place,
            watermark: Watermark::new(pass.collector, pass.scope),
            bookmark: Bookmark::new(pass.collector, pass.scope),
            outstanding: false,
            target_down: Mutex::default(),
            refused: Mutex::default(),
            unconfirmed: AtomicBool::default(),
            ledger_failed: AtomicBool::new(false),
            former_count: former.len(),
            former: Mutex::new(former),
            held_back: Vec::new(),
            compared_first: Some(0),
            ids_changed: false,
            renumbered: Renumbered::default(),
            large: Mutex::default(),
            unreadable: Mutex::default(),
            again: (0, 0),
            uncounted: 0,
            source_ip,
        }
    }

    /// False if answers are outstanding: the session can be used no more.
    pub(super) fn is_sound(&self) -> bool {
        !self.outstanding
    }

    /// True if nothing was done, because the server calls all messages by other names than before (POP3).
    pub(super) fn ids_have_changed(&self) -> bool {
        self.ids_changed
    }

    pub(super) async fn all(&mut self, session: &mut dyn Session, room: &mut Room, report: &mut PassReport) -> Result<(), PassError> {
        let collector = self.pass.collector;
        let due =
            Due { now: self.place.now, rules: collector.recipient_hash, max_message_size: collector.max_message_size, forced: self.pass.forced };
        let Plan { mut want, owed, held_away, keep_after_all, more } = plan::plan(collector, self.selected, self.progress, due, self.pass.scope);
        let progress_before = report.progress;
        if !keep_after_all.is_empty() {
            report.progress += keep_after_all.len() as u64;
            self.pass.ledger.finish(&self.progress.place, Finished { kept: keep_after_all, ..Finished::default() }).await?;
        }
        let first_run = self.progress.first_run && self.former_count == 0;
        if first_run && !first_run::prepare(self, session, &mut want).await? {
            self.outstanding = true;
            return Ok(());
        }
        // A first run looks at all that is there, whatever this pass takes of it.
        want.not_before = self.pass.scope.not_before();
        // What was in no listing, and why: known only when the last one has come.
        let (mut listed, is_filtered) = (0, collector.collect == Collect::Unseen || want.since.max(want.not_before).is_some());
        let mut is_first = true;
        // Messages that never came whole, and copies that are owed a deletion and have to be read again for it.
        let (mut suspects, mut rereads) = (Vec::new(), Vec::new());
        // What was collected or left alone before, and comes under another name, is no new mail that limits are for: where the names are good for one
        // session, a pass that did not get through all of it would get no further than the next one.
        let renames = collector.server.protocol.renames_messages();
        let mut compared =
            if !collector.server.protocol.numbers_messages() { usize::try_from(self.progress.earlier_count).unwrap_or(usize::MAX) } else { 0 };
        loop {
            let Some(listing) = self.pass.unless_stopped(session.list(want.clone())).await else {
                self.outstanding = true;
                return Ok(());
            };
            let listing = listing?;
            if is_first && let Some(before) = self.pass.before {
                report.in_vain = before.is_in_vain(self.selected.exists, &listing);
                if report.in_vain {
                    disposal::came_to_nothing(self);
                }
            }
            if is_first && self.all_is_new(&want, &listing) {
                if self.progress.kept_count > 0 {
                    self.ids_changed = true;
                    return Ok(());
                }
                // Limits are for these: after an ordinary session that deleted all it took, all that is there is new.
                self.hold_back();
                if listing.more {
                    // A part of the mailbox need not be its beginning.
                    self.compared_first = None;
                }
            }
            if self.held_back.is_empty() {
                self.forget_vanished(&listing, report).await?;
            }
            if is_first {
                self.expunge_flagged(session, &listing, report).await?;
            }
            is_first = false;
            if !listing.older.is_empty() {
                self.pass.ledger.collected(&self.progress.place, &listing.older).await?;
                report.progress += listing.older.len() as u64;
            }
            // Most names are for ever. An UIDL may name another message by now: those that are owed come with the others, and are compared
            // before they are disposed of.
            let is_settled = |uid: &RemoteUid| !renames && owed.contains(uid);
            let (owed_now, fresh): (Vec<Listed>, Vec<Listed>) = listing.messages.iter().cloned().partition(|message| is_settled(&message.uid));
            self.dispose_owed(session, owed_now, report).await?;
            let (away, fresh): (Vec<Listed>, Vec<Listed>) = fresh.into_iter().partition(|message| held_away.contains(&message.uid));
            self.move_away(session, away.into_iter().map(|message| message.uid).collect(), report).await?;
            self.bookmark.listed(&listing, |uid| self.progress.exceptions.contains_key(uid));
            self.watermark.listed(&fresh, self.progress.watermark, |uid| self.progress.exceptions.contains_key(uid));
            let known: HashSet<&RemoteUid> = fresh.iter().take(compared).map(|message| &message.uid).collect();
            compared -= known.len();
            let tried = |uid: &RemoteUid| match Tried::of(self.progress, uid) {
                Tried::Never if known.contains(uid) => Tried::Before,
                tried => tried,
            };
            let mut rest = fresh.as_slice();
            let taken = loop {
                let mut taken = plan::steps(collector, rest, tried, self.progress.generation, room);
                rest = &rest[taken.looked_at..];
                taken.steps.iter_mut().chain(&mut taken.suspects).for_each(|step| self.rename(step));
                report.folders.iter_mut().filter(|seen| seen.name == self.place.name).for_each(|seen| seen.found += taken.new as u64);
                self.pass.counters.listed((taken.steps.len() + taken.suspects.len()) as u64);
                rereads.extend(taken.without_owed(collector, &owed));
                report.put_off += taken.suspects.len() as u64;
                suspects.append(&mut taken.suspects);
                if self.pass.suspects_first {
                    self.suspects(session, &mut suspects, report).await?;
                }
                for batch in taken.steps.chunks(BATCH_MESSAGES_MAX) {
                    if self.is_over() {
                        break;
                    }
                    self.batch(session, batch, report).await?;
                }
                room.octets = room.octets.saturating_sub(std::mem::take(&mut self.uncounted));
                self.let_go().await?;
                self.check_target()?;
                // What earlier sessions collected and could not delete, under other names, is no new mail that limits are for: else nothing behind it
                // would ever come.
                let (messages, octets) = std::mem::take(&mut self.again);
                (room.messages, room.octets) = (room.messages.saturating_add(messages), room.octets.saturating_add(octets));
                let goes_on = messages > 0 || (taken.uncounted && !room.is_used_up());
                if !taken.more || !goes_on || self.is_over() {
                    break taken;
                }
            };
            report.left_over = rest.first().filter(|_| taken.more).map(|first| first.uid.clone());
            listed += listing.messages.len() as u64 + listing.older.len() as u64;
            self.pass.counters.skipped_all(Skipped::Filtered, listing.older.len() as u64);
            if !listing.more && !taken.more && !self.is_over() {
                let why = if is_filtered { Skipped::Filtered } else { Skipped::Known };
                self.pass.counters.skipped_all(why, self.selected.exists.saturating_sub(listed));
            }
            let is_last = self.is_over() || !listing.more || taken.more || room.is_used_up();
            if is_last {
                self.read_again(session, &mut rereads, report).await?;
                self.check_target()?;
                self.suspects(session, &mut suspects, report).await?;
                self.check_target()?;
            }
            // Rows that are due, and neither found nor gone, are no reason to begin anew.
            report.more |= taken.more || (listing.more && room.is_used_up()) || (more && report.progress > progress_before);
            // What is too old for this pass was not looked at.
            let is_whole =
                self.pass.scope == Scope::Whole && suspects.is_empty() && rereads.is_empty() && !self.is_over() && !listing.more && !taken.more;
            // What is held back may be anywhere: it is looked for from the start, until it was found or is known to be gone.
            let is_searched = self.held_back.is_empty();
            if let Some(cursor) = self.bookmark.take().filter(|cursor| is_searched && self.progress.cursor.as_ref() != Some(cursor)) {
                self.pass.ledger.finish(&self.progress.place, Finished { cursor: Some(cursor), ..Finished::default() }).await?;
            }
            if is_whole && !self.held_back.is_empty() {
                let vanished = std::mem::take(&mut self.held_back);
                self.pass.ledger.finish(&self.progress.place, Finished { vanished, ..Finished::default() }).await?;
            }
            if is_whole && self.progress.has_earlier {
                // Every message of the new epoch has been compared with the former one. Where only unseen ones are looked at, a seen one may become unseen
                // and is still to be known; but what comes from now on is no mail that a first run left alone.
                let all_found = self.former.get_mut().unwrap_or_else(PoisonError::into_inner).is_empty();
                if collector.collect != Collect::Unseen || all_found {
                    self.pass.ledger.forget_former(&self.progress.place).await?;
                } else if !self.progress.compared {
                    self.pass.ledger.finish(&self.progress.place, Finished { compared: true, ..Finished::default() }).await?;
                }
            }
            if is_whole && self.progress.first_run {
                first_run::over(self).await?;
            }
            if is_last {
                return self.end_of_folder(session, report).await;
            }
            want = plan::next_want(&want, &listing);
        }
    }

    pub(super) fn settled(&mut self, uid: &RemoteUid) {
        self.watermark.settled(uid);
        self.bookmark.settled(uid);
    }

    /// A message that the operator had forgotten gets another name, so that a target which knows the first one takes it.
    fn rename(&self, step: &mut Step) {
        if let Step::Collect(wanted) = step
            && let Some(Pending { forgotten, .. }) = self.progress.exceptions.get(&wanted.uid).and_then(State::before)
        {
            wanted.generation = wanted.generation.wrapping_add(u32::try_from(*forgotten).unwrap_or(u32::MAX));
        }
    }

    /// Expunges what earlier passes only flagged, if that is possible by now: the configuration allows a plain EXPUNGE, or the server has learnt to
    /// expunge by UID. Before anything else is disposed of, as a plain EXPUNGE takes all that is flagged and is only said if that is nothing but ours.
    async fn expunge_flagged(&self, session: &mut dyn Session, listing: &Listing, report: &mut PassReport) -> Result<(), PassError> {
        let collector = self.pass.collector;
        let may = self.selected.can_delete || collector.server.allow_plain_expunge;
        let deletes = disposal::deletes(collector.after);
        // What was moved by COPY waits for no session's turn.
        let wants = collector.after == After::Move || collector.on_hold == OnHold::Move || deletes;
        let waits = deletes && collector.expunge.every_sessions > 1;
        if !collector.server.protocol.expunges() || !may || !wants || waits {
            return Ok(());
        }
        let is_there = |uid: &RemoteUid| listing.present.as_ref().is_none_or(|present| present.contains(uid));
        let flagged = self.progress.exceptions.iter().filter(|(uid, state)| **state == State::Flagged && is_there(uid));
        let flagged: Vec<RemoteUid> = flagged.map(|(uid, _)| uid.clone()).collect();
        if flagged.is_empty() {
            return Ok(());
        }
        let finished = disposal::expunge(self, session, flagged, report).await?;
        self.pass.ledger.finish(&self.progress.place, finished).await?;
        Ok(())
    }

    /// Messages that never came whole, each by itself. They wait for a session that has no deletion to lose; those that do so are left over.
    async fn suspects(&mut self, session: &mut dyn Session, steps: &mut Vec<Step>, report: &mut PassReport) -> Result<(), PassError> {
        while !steps.is_empty() && !self.is_over() && !self.unconfirmed.load(Ordering::Relaxed) {
            let step = steps.remove(0);
            report.put_off -= 1;
            self.batch(session, &[step], report).await?;
        }
        Ok(())
    }

    /// Copies that are owed a deletion under names that may be other messages' by now (POP3), behind all that is new, and in a session that has no
    /// other deletion to lose: what breaks the session once does so each time. Those that wait for one are left over.
    pub(super) async fn read_again(&mut self, session: &mut dyn Session, steps: &mut Vec<Step>, report: &mut PassReport) -> Result<(), PassError> {
        if steps.is_empty() || self.unconfirmed.load(Ordering::Relaxed) {
            report.unfinished |= !steps.is_empty();
            return Ok(());
        }
        // What broke a session undid the deletions of all others in it: it waits for a session of its own.
        let is_set_aside = |step: &mut Step| {
            let (Step::Collect(Wanted { uid, .. }) | Step::TooLarge { uid, .. }) = step;
            self.pass.set_aside.contains(uid)
        };
        let aside: Vec<Step> = steps.extract_if(.., is_set_aside).collect();
        match steps.is_empty() {
            true => *steps = aside,
            false => report.unfinished |= !aside.is_empty(),
        }
        while !steps.is_empty() && !self.is_over() {
            let batch: Vec<Step> = steps.drain(..steps.len().min(BATCH_MESSAGES_MAX)).collect();
            self.batch(session, &batch, report).await?;
        }
        Ok(())
    }

    /// Expunges what earlier sessions only flagged, in the session whose turn it is.
    async fn end_of_folder(&self, session: &mut dyn Session, report: &mut PassReport) -> Result<(), PassError> {
        let every = self.pass.collector.expunge.every_sessions;
        if self.outstanding || !disposal::deletes(self.pass.collector.after) {
            return Ok(());
        }
        // The key was there before: what it left flagged waits for nobody else.
        let is_waiting = self.progress.unexpunged > 0 && self.selected.can_delete;
        if every <= 1 && !is_waiting {
            return Ok(());
        }
        let sessions = self.progress.unexpunged.saturating_add(1);
        let mut finished = Finished { unexpunged: Some(sessions), ..Finished::default() };
        if sessions >= every {
            // Those of this session are among them: the ledger says so.
            let flagged =
                self.pass.ledger.progress(&self.progress.place.claim, &self.place.name, self.selected.epoch, crate::ledger::History::None).await?;
            let flagged: Vec<RemoteUid> = flagged.exceptions.into_iter().filter(|(_, state)| *state == State::Flagged).map(|(uid, _)| uid).collect();
            finished = disposal::expunge(self, session, flagged, report).await?;
            finished.unexpunged = Some(0);
        }
        self.pass.ledger.finish(&self.progress.place, finished).await?;
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        self.outstanding || self.pass.stop.is_requested()
    }

    fn check_target(&self) -> Result<(), PassError> {
        match self.target_down.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(down) => Err(PassError::Target(down)),
            None => Ok(()),
        }
    }

    async fn forget_vanished(&self, listing: &Listing, report: &mut PassReport) -> Result<(), PassError> {
        let (ledger, place) = (self.pass.ledger, &self.progress.place);
        if !listing.vanished.is_empty() {
            ledger.finish(place, Finished { vanished: listing.vanished.clone(), ..Finished::default() }).await?;
            report.progress += listing.vanished.len() as u64;
        }
        // Pruning is for complete listings that were compared with the whole history; anything less would forget what is still there.
        let Some(present) = listing.present.clone().filter(|_| !listing.more) else { return Ok(()) };
        match present {
            // A set smaller than EXISTS said is no complete one, whatever the server calls it.
            Present::Numbers(ref set) if set.len() < self.selected.exists => {}
            Present::Numbers(_) => {
                ledger.prune(place, &present).await?;
            }
            Present::Met(mut known) => {
                for message in &listing.messages {
                    known.insert(&message.uid);
                    known.meet(&message.uid);
                }
                let whole_history = known.len() >= self.progress.kept_count;
                if whole_history && known.unmet() > 0 {
                    ledger.prune(place, &Present::Met(known)).await?;
                }
            }
        }
        Ok(())
    }

    /// Moves copies of held mail to the folder for them.
    async fn move_away(&self, session: &mut dyn Session, uids: Vec<RemoteUid>, report: &mut PassReport) -> Result<(), PassError> {
        if uids.is_empty() {
            return Ok(());
        }
        let finished = disposal::move_held(self, session, uids, report).await?;
        self.pass.ledger.finish(&self.progress.place, finished).await?;
        Ok(())
    }

    /// Copies whose disposal an earlier pass could not finish.
    pub(super) async fn dispose_owed(&self, session: &mut dyn Session, owed: Vec<Listed>, report: &mut PassReport) -> Result<(), PassError> {
        if owed.is_empty() {
            return Ok(());
        }
        let uids: Vec<RemoteUid> = owed.into_iter().map(|message| message.uid).collect();
        let finished = disposal::dispose(self, session, uids, report).await?;
        self.pass.ledger.finish(&self.progress.place, finished).await?;
        Ok(())
    }

    /// One batch. An error of the source ends it early: what was handed over by then is delivered, recorded, and owed its disposal.
    async fn batch(&mut self, session: &mut dyn Session, steps: &[Step], report: &mut PassReport) -> Result<(), PassError> {
        let (ledger, place, collector) = (self.pass.ledger, &self.progress.place, self.pass.collector);
        let mut entries = Vec::new();
        let mut wanted = Vec::new();
        let mut headers = Vec::new();
        for step in steps {
            match step {
                Step::Collect(message) => wanted.push(message.clone()),
                Step::TooLarge { uid, octets } if collector.too_large == TooLarge::HeadersOnly => headers.push((uid.clone(), *octets)),
                Step::TooLarge { uid, octets } => entries.push(self.too_large(uid, *octets)),
            }
        }
        if wanted.len() < steps.len() {
            self.compared_first = None;
        }
        let mut failed = None;
        let (mut disposable, mut away) = (Vec::new(), Vec::new());
        if !wanted.is_empty() {
            let uids: Vec<RemoteUid> = wanted.iter().map(|message| message.uid.clone()).collect();
            ledger.begin(place, &uids).await?;
            if let Err(error) = session.fetch(wanted.clone()).await {
                // Nothing was asked for, so that nothing is in doubt.
                ledger.finish(place, Finished::default()).await?;
                return Err(error.into());
            }
            let fetched = self.fetch(&mut *session).await;
            failed = fetched.failed;
            self.outstanding |= fetched.outstanding;
            report.octets += fetched.octets;
            let is_one_of_them = |entry: &Entry| entry.former.is_some() || entry.copy.is_none();
            let is_known = fetched.recorded.len() < wanted.len() || fetched.recorded.iter().any(|(entry, _)| is_one_of_them(entry));
            self.compared_first = self.compared_first.filter(|_| !is_known).map(|compared| compared + wanted.len());
            for (entry, by) in fetched.recorded {
                let is_unsized = || wanted.iter().any(|message| message.uid == entry.uid && message.size.is_none());
                if entry.former.is_none()
                    && collector.max_bytes_per_session.is_some()
                    && is_unsized()
                    && Tried::of(self.progress, &entry.uid) == Tried::Never
                {
                    self.uncounted = self.uncounted.saturating_add(fetched.answered.get(&entry.uid).copied().unwrap_or(0));
                }
                if entry.former.is_some() && !self.held_back.is_empty() {
                    let size = wanted.iter().find(|message| message.uid == entry.uid).and_then(|message| message.size);
                    self.again = (self.again.0 + 1, self.again.1.saturating_add(size.unwrap_or(0).max(1)));
                }
                self.count(&entry, by, report);
                self.renumbered.note(self.progress, &entry, by);
                self.settled(&entry.uid);
                match entry.state {
                    State::Owed => disposable.push(entry.uid),
                    State::HeldAway => away.push(entry.uid),
                    _ => {}
                }
            }
            let answered = fetched.answered;
            if matches!(&failed, Some(PassError::Source(error)) if error.is_about_one_message()) {
                let first = wanted.iter().find(|message| !answered.contains_key(&message.uid));
                report.broke_at = first.map(|message| message.uid.clone()).filter(|uid| self.is_owed(uid));
            }
            if let Some(PassError::Source(error)) = &failed
                && error.is_about_one_message()
                && let Some(message) = wanted.iter().find(|message| !answered.contains_key(&message.uid) && !self.is_owed(&message.uid))
            {
                // The message at which the session broke may be what broke it: set back, it cannot hold up the others for ever.
                entries.push(self.unfetched(&message.uid, &format!("the session broke at this message: {}", error.text)));
            }
            if failed.is_none() && !self.outstanding {
                entries.extend(
                    wanted
                        .iter()
                        .filter(|message| !answered.contains_key(&message.uid) && !self.is_owed(&message.uid))
                        .map(|message| self.unanswered(message)),
                );
            }
        }
        for entry in entries {
            if let Err(error) = ledger.record(place, entry.clone()).await {
                return Err(failed.unwrap_or_else(|| error.into()));
            }
            self.pass.history.put(chronicle::of_entry(&self.key(&entry.uid), &entry.state));
            self.count(&entry, By::default(), report);
            self.settled(&entry.uid);
        }
        if let Some(error @ PassError::Ledger(_)) = failed {
            // What could not be recorded is in doubt, and the batch says so.
            return Err(error);
        }
        if let Some(error) = failed {
            // Owed disposals wait for the next pass; how far everything is settled is noted all the same.
            ledger.finish(place, Finished { watermark: self.watermark.rise(), ..Finished::default() }).await?;
            return Err(error);
        }
        let mut finished = if self.outstanding { Finished::default() } else { disposal::dispose(self, session, disposable, report).await? };
        finished.watermark = self.watermark.rise();
        ledger.finish(place, finished).await?;
        if !self.outstanding {
            self.move_away(session, away, report).await?;
            headers.append(self.large.get_mut().unwrap_or_else(PoisonError::into_inner));
            self.headers(session, headers, report).await?;
            self.unreadable(session, report).await?;
        }
        tracing::debug!(event = "batch_finished", collector = %collector.id, messages = steps.len());
        Ok(())
    }

    /// Counts what was recorded, and whether it leaves the next pass less to do.
    pub(super) fn count(&self, entry: &Entry, by: By, report: &mut PassReport) {
        report.count(entry, by);
        if by == By::Old {
            self.pass.counters.skipped(Skipped::Filtered);
        }
        let is_known = entry.former.is_some() && !self.held_back.is_empty();
        report.progress += u64::from(!is_known && !self.is_owed(&entry.uid));
    }

    async fn fetch(&self, session: &mut dyn Session) -> Batch {
        let brakes = Brakes { stop: self.pass.stop, target_down: &self.target_down, ledger_failed: &self.ledger_failed };
        let other = |fetched: Fetched| {
            let (uid, entry) = match fetched {
                Fetched::Missing { uid, reason } => (uid.clone(), Some(self.unfetched(&uid, &reason))),
                Fetched::Unreadable { uid, reason } => (uid.clone(), self.unreadable_now(&uid, reason)),
                Fetched::TooLarge { uid, octets } if self.pass.collector.too_large == TooLarge::HeadersOnly && !self.is_owed(&uid) => {
                    self.large.lock().unwrap_or_else(PoisonError::into_inner).push((uid.clone(), octets));
                    (uid, None)
                }
                Fetched::TooLarge { uid, octets } => (uid.clone(), Some(self.too_large(&uid, octets))),
                Fetched::Message(message) => (message.key.uid.clone(), None),
            };
            let entry = entry.filter(|_| !self.is_owed(&uid));
            let row = entry.as_ref().map(|entry| chronicle::of_entry(&self.key(&uid), &entry.state));
            (uid, entry.zip(row))
        };
        fetch_and_deliver(session, &self.deliverer(), (self.pass.ledger, self.progress.place), brakes, &other).await
    }

    pub(super) fn deliverer(&self) -> Deliverer<'_> {
        let pass = self.pass;
        Deliverer {
            collector: pass.collector,
            router: pass.router,
            destination: pass.destination,
            local_check: pass.local_check,
            scope: pass.scope,
            ledger: pass.ledger,
            held: pass.held,
            history: pass.history,
            spool: pass.spool,
            dedupe: pass.dedupe,
            exceptions: &self.progress.exceptions,
            hashes: &self.progress.hashes,
            former: &self.former,
            counters: pass.counters,
            target_down: &self.target_down,
            source_ip: self.source_ip,
            too_large: None,
            unreadable: None,
            not_before: first_run::limit(self),
            now: self.place.now,
        }
    }

    /// A message that was delivered before stays owed its disposal, whatever came of looking at it again.
    pub(super) fn is_owed(&self, uid: &RemoteUid) -> bool {
        self.progress.exceptions.get(uid) == Some(&State::Owed)
    }

    /// The key of a message that was never fetched, for the log.
    pub(super) fn key(&self, uid: &RemoteUid) -> MessageKey {
        let collector = self.pass.collector;
        MessageKey {
            collector: collector.id.clone(),
            mailbox: Arc::new(collector.server.mailbox()),
            folder: self.place.name.clone(),
            epoch: self.selected.epoch,
            uid: uid.clone(),
            generation: self.progress.generation,
        }
    }

    pub(super) fn too_large(&self, uid: &RemoteUid, octets: u64) -> Entry {
        maillog::skipped(&self.key(uid), &format!("{octets} octets are more than max_message_size"));
        self.pass.counters.skipped(Skipped::TooLarge);
        Entry::new(uid.clone(), State::Skipped { octets }, None)
    }

    pub(super) fn unfetched(&self, uid: &RemoteUid, reason: &str) -> Entry {
        maillog::unfetched(&self.key(uid), reason);
        let before = self.progress.exceptions.get(uid).and_then(State::before).cloned().unwrap_or_default();
        if before.tries + 1 >= FETCHES_MAX {
            let reason = format!("it could not be fetched {FETCHES_MAX} times; the last: {reason}");
            return Entry::new(uid.clone(), State::left(reason, self.pass.collector.recipient_hash, self.place.now, before), None);
        }
        let delay = self.pass.collector.delivery.retry.after(before.tries);
        Entry::new(uid.clone(), State::Pending(before.failed(self.place.now, reason.to_owned(), delay)), None)
    }

    /// The source answered for everything else and never for this one.
    fn unanswered(&self, message: &Wanted) -> Entry {
        self.unfetched(&message.uid, "the server did not answer for this message")
    }
}
