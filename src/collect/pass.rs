//! A pass: one walk over one mailbox.
//!
//! ```text
//! claim ─▶ open ─▶ folders ─▶ close
//!          a folder:  select ─▶ progress ─▶ plan ─▶ list ─▶ batches          ([`super::walk`]; POP3: the progress is read during the open)
//!           a batch:  begin ─▶ fetch ══▶ deliver ══▶ record ─▶ dispose ─▶ finish   ([`super::batch`])
//! ```
//!
//! The order of effects is what keeps mail safe: *begin* is durable before the first DATA, *record* is durable before *dispose*. A pass is asked
//! to stop and never dropped: what was handed over is finished and recorded; with answers outstanding it ends without LOGOUT or QUIT, and the
//! disposal stays owed.

use super::dedupe::Dedupe;
use super::deliver_one::By;
use super::disk::DiskShort;
use super::idle::Seen;
use super::route::Router;
use super::stop::Stop;
use super::walk::Walk;
use super::{disposal, folders, plan, purge, renumbered};
use crate::config::{After, Collector, FolderSelect};
use crate::deliver::Destination;
use crate::deliver::local_check::LocalCheck;
use crate::held::HeldStore;
use crate::ledger::{Claim, Entry, History, Ledger, LedgerError, Progress, State};
use crate::mail::{Epoch, FolderName, RemoteUid, TargetDown, code};
use crate::net::DnsError;
use crate::observe::{Counters, maillog};
use crate::source::{Listing, Retry, Session, Source, SourceError, SourceErrorKind};
use crate::spool::Spool;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// What a pass is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All that there is to do.
    #[default]
    Whole,
    /// Only mail that arrived at this time or later, in seconds since the epoch. Of older mail nothing is noted.
    Since(i64),
    /// Nothing is taken: what was delivered and kept is deleted.
    Purge,
}

impl Scope {
    /// Before which nothing is taken.
    pub(super) fn not_before(self) -> Option<i64> {
        match self {
            Scope::Since(since) => Some(since),
            Scope::Whole | Scope::Purge => None,
        }
    }
}

/// Everything that one pass needs.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// Whose pass it is.
    pub collector: &'a Arc<Collector>,
    /// The mailbox.
    pub source: &'a dyn Source,
    /// Who gets the mail.
    pub router: &'a Router,
    /// Where it goes.
    pub destination: &'a dyn Destination,
    /// Tells which recipients exist.
    pub local_check: Option<&'a LocalCheck>,
    /// What was delivered before.
    pub ledger: &'a dyn Ledger,
    /// Where mail is held.
    pub held: &'a HeldStore,
    /// Who is told what became of it.
    pub history: &'a crate::history::History,
    /// Where large messages are.
    pub spool: &'a Spool,
    /// The deliveries that are on their way, in all passes.
    pub dedupe: &'a Arc<Dedupe>,
    /// Asks the pass to end.
    pub stop: &'a Stop,
    /// Progress.
    pub counters: &'a Counters,
    /// The operator asked for this pass: back-off of single messages does not count.
    pub forced: bool,
    /// What it is to do.
    pub scope: Scope,
    /// What never came whole comes before all others, for once: behind them there was always something that it could have spoilt.
    pub suspects_first: bool,
    /// What the pass before this one left on the server for want of room.
    pub before: Option<&'a Before>,
    /// Copies that are owed a deletion, and broke the session that read them again: after all others.
    pub set_aside: &'a BTreeSet<RemoteUid>,
}

/// What a pass left for want of room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// The first message that it left.
    pub left_over: RemoteUid,
    /// How many messages there were.
    pub exists: u64,
}

impl Before {
    /// True if nothing shows that there will be an end to it: the mailbox has become no smaller, and what was left is called otherwise, so that what
    /// was taken may be what is there. Messages that can be told are told by their content; those without Message-ID and Date cannot.
    pub(super) fn is_in_vain(&self, exists: u64, listing: &Listing) -> bool {
        exists >= self.exists && !listing.messages.iter().any(|message| message.uid == self.left_over)
    }
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// The folders that were opened, each with the new messages that were listed, whatever became of them.
    pub folders: Vec<Seen>,
    /// Messages that were delivered, to all of their recipients.
    pub delivered: u64,
    /// Of these, to the default box: nobody was found.
    pub unresolved: u64,
    /// Of these, to the default box too: somebody was refused.
    pub refused: u64,
    /// Messages that everybody has already.
    pub duplicates: u64,
    /// Messages that were thrown away, as the configuration says.
    pub discarded: u64,
    /// Messages to be tried again.
    pub deferred: u64,
    /// Messages that wait for the next session, so as not to break this one.
    pub put_off: u64,
    /// Messages that stay on the server: no recipient, too large.
    pub left: u64,
    /// Those among them whose header was delivered.
    pub headers: u64,
    /// Messages that are held: refused, a loop, given up.
    pub held: u64,
    /// Octets of the messages handled.
    pub octets: u64,
    /// Copies disposed of at the source.
    pub disposed: u64,
    /// What was recorded, disposed of or forgotten and leaves the next pass less to do.
    pub progress: u64,
    /// The first disposal that the server refused. It waits for the server, and nothing waits for it.
    pub undisposed: Option<SourceError>,
    /// Folders that the configuration names and the server does not open, in words.
    pub missing: Vec<String>,
    /// The session's limit left new mail on the server.
    pub more: bool,
    /// The first message that it left.
    pub left_over: Option<RemoteUid>,
    /// The copy that is owed a deletion at which the session broke.
    pub broke_at: Option<RemoteUid>,
    /// What the pass before did may have come to nothing: nothing is to begin at once.
    pub in_vain: bool,
    /// The pass began with what others had put off.
    pub suspects_first: bool,
    /// Some of what earlier sessions left waits for a session that has less to lose.
    pub unfinished: bool,
    /// The pass was asked to stop.
    pub stopped: bool,
}

impl PassReport {
    /// True if the next pass is to begin at once: this one left some, and got somewhere, so that there will be an end to it. Only what was `put_off`
    /// gets one pass anyway.
    pub fn goes_on(&self) -> bool {
        ((self.more || self.unfinished) && self.progress > 0 && !self.in_vain) || self.suspects_are_next()
    }

    /// What the next pass is to know, in a mailbox whose ids may last for one session only.
    pub fn before_next(&self, collector: &Collector) -> Option<Before> {
        // Only deletions can come to nothing.
        let may_be = collector.server.protocol.renames_messages() && disposal::deletes(collector.after);
        let left_over = self.left_over.clone().filter(|_| may_be)?;
        self.folders.first().map(|seen| Before { left_over, exists: seen.selected.exists })
    }

    /// True if all that could come before them is done, and this pass gave them no turn, or not to all of them.
    pub fn suspects_are_next(&self) -> bool {
        self.put_off > 0 && !self.more && (self.progress > 0 || !self.suspects_first)
    }

    /// Adds what the next session of the same request did. Whether there is more, and what could not be disposed of, the last one knows.
    pub(super) fn add(&mut self, next: &PassReport) {
        self.delivered += next.delivered;
        self.unresolved += next.unresolved;
        self.refused += next.refused;
        self.duplicates += next.duplicates;
        self.discarded += next.discarded;
        self.deferred += next.deferred;
        self.left += next.left;
        self.headers += next.headers;
        self.held += next.held;
        self.octets += next.octets;
        self.disposed += next.disposed;
        self.stopped |= next.stopped;
    }

    /// New messages that were seen and are still to be taken.
    pub fn waiting(&self) -> u64 {
        let found: u64 = self.folders.iter().map(|folder| folder.found).sum();
        let settled = self.delivered + self.duplicates + self.discarded + self.left + self.held;
        found.saturating_sub(settled)
    }

    /// Counts what became of one message.
    pub(super) fn count(&mut self, entry: &Entry, by: By) {
        let report = self;
        match (&entry.state, by) {
            (State::Held | State::HeldAway, _) => report.held += 1,
            _ if entry.held.is_some() => report.held += 1,
            (State::Kept | State::Owed | State::Flagged, By::Old) => report.left += 1,
            (State::Kept | State::Owed | State::Flagged, By::Duplicate) => report.duplicates += 1,
            (State::Kept | State::Owed | State::Flagged, By::Discard) => report.discarded += 1,
            (State::Kept | State::Owed | State::Flagged, _) => {
                report.delivered += 1;
                report.unresolved += u64::from(by == By::Unresolved);
                report.refused += u64::from(by == By::Refused);
            }
            (State::Pending(_), _) => report.deferred += 1,
            (State::Left { .. } | State::Skipped { .. }, by) => {
                report.left += 1;
                report.headers += u64::from(by == By::Header);
            }
        }
    }
}

/// Why a pass ended early. What it had recorded by then is recorded; nothing else was disposed of.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PassError {
    /// The mailbox.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The ledger.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// The mail exchangers that the rules ask for.
    #[error("{0}")]
    Dns(#[from] DnsError),
    /// The disk is short of room.
    #[error("{0}")]
    Disk(#[from] DiskShort),
    /// The destination takes nothing now.
    #[error("delivery: {}", .0.reason)]
    Target(TargetDown),
}

impl PassError {
    /// What allows the next try.
    pub fn retry(&self) -> Retry {
        match self {
            PassError::Source(error) => error.retry(),
            PassError::Ledger(_) | PassError::Dns(_) | PassError::Disk(_) | PassError::Target(_) => Retry::Backoff,
        }
    }

    /// True if another password or token may be all that is needed.
    pub fn is_about_credentials(&self) -> bool {
        matches!(self, PassError::Source(error) if matches!(error.kind, SourceErrorKind::Auth | SourceErrorKind::Secret))
    }

    /// True if the configuration names what is not there, or what the server does not open to this login: another try finds the same. What it refuses
    /// for now only is `Throttled`.
    pub fn is_configuration(&self) -> bool {
        matches!(self, PassError::Source(error) if error.kind == SourceErrorKind::Mailbox && matches!(error.stage, "select" | "folders"))
    }

    /// The number of its page, as in `error[MG-203]`.
    pub fn code(&self) -> u16 {
        match self {
            PassError::Source(error) => error.code(),
            PassError::Ledger(_) => code::LEDGER,
            PassError::Dns(_) => code::DNS,
            PassError::Disk(_) => code::DISK,
            PassError::Target(_) => code::TARGET_DOWN,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> &str {
        match self {
            PassError::Source(error) => error.hint.as_deref().unwrap_or(""),
            PassError::Ledger(LedgerError::Store { text, .. }) if text.contains("the disk is full") => {
                "make room on that file system; nothing is deleted or marked at the source until the ledger can be written again"
            }
            PassError::Ledger(LedgerError::Store { .. }) => "nothing is deleted or marked at the source until the ledger can be written again",
            PassError::Ledger(_) => "",
            PassError::Dns(_) => {
                "without them a header may be believed or not by chance, so mail waits at its source; or name the hosts in `trusted_hosts`"
            }
            PassError::Disk(_) => "make room, or lower `service.min_free_space`; nothing is fetched, marked or deleted meanwhile",
            PassError::Target(down) => down.hint.as_deref().unwrap_or("mail stays at its source until the destination answers again"),
        }
    }
}

impl Pass<'_> {
    /// Runs the pass. The report counts what was done, also when it ended early.
    pub async fn run(&self) -> (PassReport, Result<(), PassError>) {
        let mut report = PassReport { suspects_first: self.suspects_first, ..PassReport::default() };
        let result = self.walk(&mut report).await;
        report.stopped = self.stop.is_requested();
        (report, result)
    }

    async fn walk(&self, report: &mut PassReport) -> Result<(), PassError> {
        if let Some(reason) = self.destination.down() {
            return Err(PassError::Target(TargetDown { reason, hint: None }));
        }
        let now = jiff::Timestamp::now().as_second();
        let claim = self.ledger.claim(&self.collector.server.mailbox()).await?;
        if self.dedupe.is_time_to_prune(now) {
            self.ledger.prune_seen(now).await?;
        }
        let (opened, early) = tokio::join!(self.unless_stopped(self.source.open()), self.early_progress(&claim));
        let Some(opened) = opened else { return Ok(()) };
        let mut session = opened?;
        let walked = match early {
            Ok(early) => self.folders(&mut *session, &claim, early, now, report).await,
            Err(error) => Err(error.into()),
        };
        match walked {
            Ok((Sound::Yes, refused)) => {
                report.undisposed = refused;
                match session.close().await {
                    // What QUIT confirmed stays owed until a listing shows that it is gone: servers have said +OK and removed nothing.
                    Ok(confirmed) => report.disposed += confirmed.len() as u64,
                    Err(error) if error.is_refusal() => drop(report.undisposed.get_or_insert(disposal::with_hint(error))),
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            }
            Ok((Sound::No, _)) => {
                session.abandon().await;
                Ok(())
            }
            Err(error) => {
                session.abandon().await;
                Err(error)
            }
        }
    }

    /// What the ledger knows of a mailbox of one folder, read while the session is opened.
    async fn early_progress(&self, claim: &Claim) -> Result<Option<Early>, LedgerError> {
        let Some((name, epoch)) = self.source.only_place() else { return Ok(None) };
        let of = (name, epoch, plan::history(self.collector));
        let (name, epoch, history) = &of;
        let progress = self.ledger.progress(claim, name, *epoch, *history).await?;
        Ok(Some(Early { of, progress }))
    }

    /// All folders of the collector, one after the other, until the session's limits are used up.
    async fn folders(
        &self,
        session: &mut dyn Session,
        claim: &Claim,
        mut early: Option<Early>,
        now: i64,
        report: &mut PassReport,
    ) -> Result<Ended, PassError> {
        let (chosen, listed) = if folders::needs_list(self.collector) {
            let Some(listed) = self.unless_stopped(session.folders()).await else { return Ok((Sound::No, None)) };
            let listed = listed?;
            (folders::choose(self.collector, &listed), listed)
        } else {
            (folders::as_named(self.collector), Vec::new())
        };
        if let Some(error) = chosen.nothing(self.collector, &listed) {
            return Err(error.into());
        }
        report.missing.extend(chosen.missing);
        if chosen.beyond > 0 {
            report.missing.push(format!("{} folders more than the {} that one collector takes", chosen.beyond, folders::FOLDERS_MAX));
        }
        let mut room = Room::of(self.collector);
        let (mut refused, mut is_any_open, mut left) = (None, false, chosen.folders.len());
        for (name, entry) in chosen.folders {
            let Some(folder) = self.collector.folders.get(entry) else { continue };
            let inside = folders::inside(self.collector, folder);
            let router = self.router.with(Arc::clone(&inside));
            let move_to = inside.move_to.as_ref().and_then(|select| match select {
                FolderSelect::Name(name) => Some(name.clone()),
                select => folders::find(select, &listed),
            });
            // Who is named is not asked about; `check_local` is about those who were found.
            let local_check = self.local_check.filter(|_| folder.forward_to.is_none());
            let pass = Pass { collector: &inside, router: &router, local_check, ..*self };
            let place = Place { name, move_to, now };
            left -= 1;
            match pass.folder(session, (claim, early.take()), &place, &mut room, report).await {
                Ok((Sound::Yes, error)) => {
                    is_any_open = true;
                    refused = refused.or(error);
                }
                Ok((Sound::No, error)) => return Ok((Sound::No, refused.or(error))),
                // One of several that cannot be opened is as one that is not there: the others do not wait for it.
                Err(PassError::Source(error)) if (is_any_open || left > 0) && error.stage == "select" && error.is_refusal() => {
                    report.missing.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
            if self.stop.is_requested() {
                break;
            }
        }
        Ok((Sound::Yes, refused))
    }

    async fn folder(
        &self,
        session: &mut dyn Session,
        (claim, early): (&Claim, Option<Early>),
        place: &Place,
        room: &mut Room,
        report: &mut PassReport,
    ) -> Result<Ended, PassError> {
        let Some(selected) = self.unless_stopped(session.select(&place.name)).await else { return Ok((Sound::No, None)) };
        let selected = selected?;
        let history = plan::history(self.collector);
        let mut progress = match early {
            Some(early) if early.of == (place.name.clone(), selected.epoch, history) => early.progress,
            _ => self.ledger.progress(claim, &place.name, selected.epoch, history).await?,
        };
        renumbered::begins(&self.collector.id, &place.name, &selected, &progress);
        if let Some(next) = selected.uid_next.filter(|next| *next <= progress.highest) {
            // UIDs that other messages had name new ones: everything is compared, as if the server had said so (RFC 9051 §2.3.1.1).
            maillog::uids_went_back(&self.collector.id, next, progress.highest);
            self.ledger.renumber(&progress.place).await?;
            progress = self.ledger.progress(claim, &place.name, selected.epoch, history).await?;
        }
        if self.scope == Scope::Purge {
            return purge::folder(self, session, progress, &selected, place, report).await;
        }
        if let After::DeleteAfter(age) = self.collector.after {
            let before = place.now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            // What cannot be deleted for now must not become ever more.
            let owed = progress.exceptions.values().filter(|state| **state == State::Owed).count();
            let room = plan::LISTING_MAX.saturating_sub(owed);
            if room > 0 && self.ledger.owe_aged(&progress.place, before, room).await? > 0 {
                progress = self.ledger.progress(claim, &place.name, selected.epoch, history).await?;
            }
        }
        report.folders.push(Seen { name: place.name.clone(), selected: selected.clone(), found: 0 });
        loop {
            let former = std::mem::take(&mut progress.former);
            let mut walk = Walk::new(self, &progress, former, &selected, place, session.peer());
            let walked = walk.all(session, room, report).await;
            walk.renumbered.tell(&self.collector.id, &place.name, &progress);
            walked?;
            if !walk.ids_have_changed() {
                let refused = walk.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Ok((if walk.is_sound() { Sound::Yes } else { Sound::No }, refused));
            }
            // As with a new UIDVALIDITY: what was collected belongs to an earlier epoch, and the new one has none of it, so that this comes once.
            maillog::ids_changed(&self.collector.id, progress.kept_count);
            self.ledger.renumber(&progress.place).await?;
            progress = self.ledger.progress(claim, &place.name, selected.epoch, history).await?;
        }
    }
}

/// What the ledger knows of a folder, read before the folder was opened.
struct Early {
    of: (FolderName, Epoch, History),
    progress: Progress,
}

/// How a folder ended: whether the session is good for another one, and the first disposal that was refused.
pub(super) type Ended = (Sound, Option<SourceError>);

/// Whether a session can be used any further; one with answers outstanding can only be abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    Yes,
    No,
}

/// Where a pass is.
pub(super) struct Place {
    /// The folder.
    pub name: FolderName,
    /// Where delivered mail is moved, if that folder is there.
    pub move_to: Option<FolderName>,
    /// Seconds since the epoch.
    pub now: i64,
}

/// What the limits of a session leave.
pub struct Room {
    /// Messages that no earlier pass has tried.
    pub messages: usize,
    /// Octets.
    pub octets: u64,
}

impl Room {
    fn of(collector: &Collector) -> Self {
        let messages = if collector.max_messages_per_session == 0 { usize::MAX } else { collector.max_messages_per_session };
        Room { messages, octets: collector.max_bytes_per_session.unwrap_or(u64::MAX) }
    }

    /// True if nothing more is to be begun.
    pub fn is_used_up(&self) -> bool {
        self.messages == 0 || self.octets == 0
    }
}

impl Pass<'_> {
    /// Waits for the source, but no longer than until the stop: before anything was handed over there is nothing to finish.
    pub(super) async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.requested() => None,
            done = waiting => Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pass_that_got_somewhere_is_followed_by_another() {
        let report = |more, unfinished, progress| PassReport { more, unfinished, progress, ..PassReport::default() };
        for (progress, goes_on) in [(0, false), (1, true)] {
            assert_eq!((report(true, false, progress).goes_on(), report(false, true, progress).goes_on()), (goes_on, goes_on), "{progress}");
            assert!(!report(false, false, progress).goes_on());
        }
    }

    #[test]
    fn what_was_put_off_gets_its_turn_and_no_hot_loop() {
        for (more, progress, suspects_first, are_next) in
            [(false, 0, false, true), (false, 0, true, false), (false, 1, true, true), (true, 1, false, false), (true, 0, true, false)]
        {
            let report = PassReport { more, progress, suspects_first, put_off: 1, ..PassReport::default() };
            assert_eq!(report.suspects_are_next(), are_next, "{more} {progress} {suspects_first}");
            assert!(!PassReport { put_off: 0, ..report }.suspects_are_next());
        }
    }
}
