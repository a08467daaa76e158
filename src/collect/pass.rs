//! A pass: one walk over one mailbox.
//!
//! ```text
//! claim ─▶ open ─▶ select ─▶ progress ─▶ plan ─▶ list ─▶ batches ─▶ close
//!            a batch:  begin ─▶ fetch ══▶ deliver ══▶ record ─▶ dispose ─▶ finish
//! ```
//!
//! The order of effects is what keeps mail safe: *begin* is durable before the first DATA, *record* is durable before *dispose*. A pass is asked
//! to stop and never dropped: what was handed over is finished and recorded; with answers outstanding it ends without LOGOUT or QUIT, and the
//! disposal stays owed.

use super::dedupe::Dedupe;
use super::deliver_one::{By, Deliverer, Done};
use super::plan::{self, BATCH_MESSAGES_MAX, Plan, Step, Watermark};
use super::route::Router;
use super::stop::Stop;
use crate::config::{After, Collect, Collector};
use crate::deliver::Destination;
use crate::deliver::local_check::LocalCheck;
use crate::deliver::maildir::CREATE_IT;
use crate::held::HeldStore;
use crate::ledger::state::Due;
use crate::ledger::{Entry, Finished, Former, Ledger, LedgerError, Place, Progress, State};
use crate::mail::{FolderName, MessageKey, Present, RemoteUid, code};
use crate::net::DnsError;
use crate::observe::{Counters, maillog};
use crate::source::{Disposed, Fetched, Listed, Listing, Retry, Selected, Session, Source, SourceError, Wanted};
use crate::spool::Spool;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Deliveries in flight for each connection that the destination may have: one being sent, one ready to follow.
const IN_FLIGHT_PER_CONNECTION: usize = 2;
/// Most deliveries in flight in one pass, each holding at most the spool's threshold in memory.
const IN_FLIGHT_MAX: usize = 32;
/// Most outcomes of one pass that wait for the ledger's next commit.
const RECORDS_MAX: usize = 64;

/// Everything that one pass needs.
pub struct Pass<'a> {
    /// Whose pass it is.
    pub collector: &'a Collector,
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
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// New messages that were listed, whatever became of them.
    pub found: u64,
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
    /// Messages that stay on the server: no recipient, too large.
    pub left: u64,
    /// Messages that are held: refused, a loop, given up.
    pub held: u64,
    /// Octets of the messages handled.
    pub octets: u64,
    /// Copies disposed of at the source.
    pub disposed: u64,
    /// The session's limit left new mail on the server.
    pub more: bool,
    /// The pass was asked to stop.
    pub stopped: bool,
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
    /// The destination takes nothing now.
    #[error("delivery: {}", without_advice(.0))]
    Target(String),
}

/// What to do stands in the hint.
fn without_advice(reason: &str) -> &str {
    reason.split_once(CREATE_IT).map_or(reason, |(reason, _)| reason.trim_end_matches([' ', ':']))
}

impl PassError {
    /// What allows the next try.
    pub fn retry(&self) -> Retry {
        match self {
            PassError::Source(error) => error.retry(),
            PassError::Ledger(_) | PassError::Dns(_) | PassError::Target(_) => Retry::Backoff,
        }
    }

    /// The number of its page, as in `error[MG-203]`.
    pub fn code(&self) -> u16 {
        match self {
            PassError::Source(error) => error.code(),
            PassError::Ledger(_) => code::LEDGER,
            PassError::Dns(_) => code::DNS,
            PassError::Target(_) => code::TARGET_DOWN,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> &str {
        match self {
            PassError::Source(error) => error.hint.as_deref().unwrap_or(""),
            PassError::Ledger(LedgerError::Store { .. }) => "nothing is deleted or marked at the source until the ledger can be written again",
            PassError::Ledger(_) => "",
            PassError::Dns(_) => {
                "without them a header may be believed or not by chance, so mail waits at its source; or name the hosts in `trusted_hosts`"
            }
            PassError::Target(reason) if reason.contains(CREATE_IT) => &reason[reason.find(CREATE_IT).unwrap_or(0)..],
            PassError::Target(_) => "mail stays at its source until the destination answers again",
        }
    }
}

impl Pass<'_> {
    /// Runs the pass. The report counts what was done, also when it ended early.
    pub async fn run(&self) -> (PassReport, Result<(), PassError>) {
        let mut report = PassReport::default();
        let result = self.walk(&mut report).await;
        report.stopped = self.stop.is_requested();
        (report, result)
    }

    async fn walk(&self, report: &mut PassReport) -> Result<(), PassError> {
        if let Some(reason) = self.destination.down() {
            return Err(PassError::Target(reason));
        }
        let claim = self.ledger.claim(&self.collector.server.mailbox()).await?;
        let Some(opened) = self.unless_stopped(self.source.open()).await else { return Ok(()) };
        let mut session = opened?;
        let folder = FolderName::inbox();
        let selected = match self.unless_stopped(session.select(&folder)).await {
            Some(Ok(selected)) => selected,
            Some(Err(error)) => return abandon(session, error.into()).await,
            None => {
                session.abandon().await;
                return Ok(());
            }
        };
        let history = plan::history(self.collector.collect);
        let progress = match self.ledger.progress(&claim, &folder, selected.epoch, history).await {
            Ok(progress) => progress,
            Err(error) => return abandon(session, error.into()).await,
        };
        let now = jiff::Timestamp::now().as_second();
        if self.dedupe.is_time_to_prune(now)
            && let Err(error) = self.ledger.prune_seen(now).await
        {
            return abandon(session, error.into()).await;
        }
        if let Some(next) = selected.uid_next.filter(|next| *next <= progress.watermark) {
            maillog::uids_went_back(&self.collector.id, next, progress.watermark);
        }
        let mut walk = Walk::new(self, &progress, &selected, session.peer(), now);
        match walk.all(&mut *session, report).await {
            Ok(()) if walk.outstanding => {
                session.abandon().await;
                Ok(())
            }
            Ok(()) => {
                // What QUIT confirmed stays owed until a listing shows that it is gone: servers have said +OK and removed nothing.
                report.disposed += session.close().await?.len() as u64;
                Ok(())
            }
            Err(error) => abandon(session, error).await,
        }
    }
}

impl Pass<'_> {
    /// Waits for the source, but no longer than until the stop: before anything was handed over there is nothing to finish.
    async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.requested() => None,
            done = waiting => Some(done),
        }
    }
}

async fn abandon<T>(session: Box<dyn Session>, error: PassError) -> Result<T, PassError> {
    session.abandon().await;
    Err(error)
}

/// The state of a pass inside its folder.
struct Walk<'a> {
    pass: &'a Pass<'a>,
    progress: &'a Progress,
    selected: &'a Selected,
    watermark: Watermark,
    /// Answers to FETCH or RETR are outstanding: the session can only be abandoned.
    outstanding: bool,
    target_down: Mutex<Option<String>>,
    /// What is not recorded would come again: once the ledger fails, nothing more is handed over.
    ledger_failed: AtomicBool,
    /// Messages of an earlier epoch that no new one has matched yet.
    former: Mutex<Former>,
    source_ip: Option<IpAddr>,
    now: i64,
}

impl<'a> Walk<'a> {
    fn new(pass: &'a Pass<'a>, progress: &'a Progress, selected: &'a Selected, source_ip: Option<IpAddr>, now: i64) -> Self {
        Walk {
            pass,
            progress,
            selected,
            watermark: Watermark::new(pass.collector),
            outstanding: false,
            target_down: Mutex::default(),
            ledger_failed: AtomicBool::new(false),
            former: Mutex::new(progress.former.clone()),
            source_ip,
            now,
        }
    }

    async fn all(&mut self, session: &mut dyn Session, report: &mut PassReport) -> Result<(), PassError> {
        let collector = self.pass.collector;
        let due = Due { now: self.now, rules: collector.recipient_hash, max_message_size: collector.max_message_size, forced: self.pass.forced };
        let Plan { mut want, owed, keep_after_all } = plan::plan(collector, self.selected, self.progress, due);
        if !keep_after_all.is_empty() {
            self.pass.ledger.finish(&self.progress.place, Finished { kept: keep_after_all, ..Finished::default() }).await?;
        }
        let limit = collector.max_messages_per_session;
        let mut room = if limit == 0 { usize::MAX } else { limit };
        loop {
            let Some(listing) = self.pass.unless_stopped(session.list(want.clone())).await else {
                self.outstanding = true;
                return Ok(());
            };
            let listing = listing?;
            self.forget_vanished(&listing).await?;
            // An IMAP UID names one message for ever. An UIDL may name another one by now: those that are owed come with the others, and are
            // compared before they are disposed of.
            let is_settled = |uid: &RemoteUid| uid.number().is_some() && owed.contains(uid);
            let (owed_now, fresh): (Vec<Listed>, Vec<Listed>) = listing.messages.iter().cloned().partition(|message| is_settled(&message.uid));
            self.dispose_owed(session, owed_now, report).await?;
            self.watermark.listed(&fresh, self.progress.watermark);
            let exceptions = &self.progress.exceptions;
            let (steps, taken, more) = plan::steps(collector, &fresh, |uid| exceptions.contains_key(uid), room);
            room -= taken;
            report.found += taken as u64;
            self.pass.counters.listed(steps.len() as u64);
            for batch in steps.chunks(BATCH_MESSAGES_MAX) {
                if self.is_over() {
                    break;
                }
                self.batch(session, batch, report).await?;
            }
            self.check_target()?;
            report.more = more || (listing.more && room == 0);
            if !self.is_over() && !listing.more && !more && !self.progress.former.is_empty() && collector.collect != Collect::Unseen {
                // Every message of the new epoch has been compared with the former one.
                self.pass.ledger.forget_former(&self.progress.place).await?;
            }
            if self.is_over() || !listing.more || more || room == 0 {
                return Ok(());
            }
            want = plan::next_want(&want, &listing.messages);
        }
    }

    fn is_over(&self) -> bool {
        self.outstanding || self.pass.stop.is_requested()
    }

    fn check_target(&self) -> Result<(), PassError> {
        match self.target_down.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(reason) => Err(PassError::Target(reason)),
            None => Ok(()),
        }
    }

    async fn forget_vanished(&self, listing: &Listing) -> Result<(), PassError> {
        let (ledger, place) = (self.pass.ledger, &self.progress.place);
        if !listing.vanished.is_empty() {
            ledger.finish(place, Finished { vanished: listing.vanished.clone(), ..Finished::default() }).await?;
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

    /// Copies whose disposal an earlier pass could not finish.
    async fn dispose_owed(&self, session: &mut dyn Session, owed: Vec<Listed>, report: &mut PassReport) -> Result<(), PassError> {
        if owed.is_empty() {
            return Ok(());
        }
        let uids: Vec<RemoteUid> = owed.into_iter().map(|message| message.uid).collect();
        let finished = self.dispose(session, uids, report).await?;
        self.pass.ledger.finish(&self.progress.place, finished).await?;
        Ok(())
    }

    /// Disposes of copies that the ledger says are final.
    async fn dispose(&self, session: &mut dyn Session, uids: Vec<RemoteUid>, report: &mut PassReport) -> Result<Finished, PassError> {
        let after = self.pass.collector.after;
        let mut finished = Finished::default();
        if uids.is_empty() || after == After::Keep {
            return Ok(finished);
        }
        let disposed = session.dispose(&uids, plan::disposal(after)).await?;
        let word = if after == After::Delete { "delete" } else { "mark_seen" };
        let state = match disposed {
            Disposed::Confirmed => "confirmed",
            Disposed::Requested => "requested; confirmed when the session ends",
            Disposed::FlaggedOnly => "flagged \\Deleted only: the server has no UIDPLUS, and a plain EXPUNGE would take mail that others flagged",
        };
        maillog::disposed(&self.pass.collector.id, word, uids.len(), state);
        match (disposed, after) {
            (Disposed::Confirmed, After::Delete) => {
                report.disposed += uids.len() as u64;
                // `all` has no watermark to tell what was delivered: were the server not to keep its word, the row would.
                match self.pass.collector.collect {
                    Collect::All => finished.flagged = uids,
                    Collect::New | Collect::Unseen => finished.deleted = uids,
                }
            }
            (Disposed::Confirmed, _) => {
                report.disposed += uids.len() as u64;
                finished.kept = uids;
            }
            (Disposed::FlaggedOnly, _) => finished.flagged = uids,
            (Disposed::Requested, _) => {}
        }
        Ok(finished)
    }

    /// One batch. An error of the source ends it early: what was handed over by then is delivered, recorded, and owed its disposal.
    async fn batch(&mut self, session: &mut dyn Session, steps: &[Step], report: &mut PassReport) -> Result<(), PassError> {
        let (ledger, place, collector) = (self.pass.ledger, &self.progress.place, self.pass.collector);
        let mut entries = Vec::new();
        let mut wanted = Vec::new();
        for step in steps {
            match step {
                Step::Collect(message) => wanted.push(message.clone()),
                Step::TooLarge { uid, octets } => entries.push(self.too_large(uid, *octets)),
            }
        }
        let mut failed = None;
        let mut disposable = Vec::new();
        if !wanted.is_empty() {
            let uids: Vec<RemoteUid> = wanted.iter().map(|message| message.uid.clone()).collect();
            ledger.begin(place, &uids).await?;
            if let Err(error) = session.fetch(wanted.clone()).await {
                // Nothing was asked for, so that nothing is in doubt.
                ledger.finish(place, Finished::default()).await?;
                return Err(error.into());
            }
            let fetched = self.fetch_and_deliver(&mut *session).await;
            failed = fetched.failed;
            self.outstanding |= fetched.outstanding;
            report.octets += fetched.octets;
            for (entry, by) in fetched.recorded {
                count(report, &entry, by);
                self.watermark.settled(&entry.uid);
                if entry.state == State::Owed {
                    disposable.push(entry.uid);
                }
            }
            let answered = fetched.answered;
            if let Some(PassError::Source(error)) = &failed
                && error.is_about_one_message()
                && let Some(message) = wanted.iter().find(|message| !answered.contains(&message.uid) && !self.is_owed(&message.uid))
            {
                // The message at which the session broke may be what broke it: set back, it cannot hold up the others for ever.
                entries.push(self.unfetched(&message.uid, &format!("the session broke at this message: {}", error.text)));
            }
            if failed.is_none() && !self.outstanding {
                entries.extend(
                    wanted
                        .iter()
                        .filter(|message| !answered.contains(&message.uid) && !self.is_owed(&message.uid))
                        .map(|message| self.unanswered(message)),
                );
            }
        }
        for entry in entries {
            if let Err(error) = ledger.record(place, entry.clone()).await {
                return Err(failed.unwrap_or_else(|| error.into()));
            }
            count(report, &entry, By::default());
            self.watermark.settled(&entry.uid);
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
        let mut finished = if self.outstanding { Finished::default() } else { self.dispose(session, disposable, report).await? };
        finished.watermark = self.watermark.rise();
        ledger.finish(place, finished).await?;
        tracing::debug!(event = "batch_finished", collector = %collector.id, messages = steps.len());
        Ok(())
    }

    /// The heart: fetching, delivering and recording overlap, each within its own bound.
    async fn fetch_and_deliver(&self, session: &mut dyn Session) -> Batch {
        let pass = self.pass;
        let deliverer = Deliverer {
            collector: pass.collector,
            router: pass.router,
            destination: pass.destination,
            local_check: pass.local_check,
            ledger: pass.ledger,
            held: pass.held,
            spool: pass.spool,
            dedupe: pass.dedupe,
            exceptions: &self.progress.exceptions,
            hashes: &self.progress.hashes,
            former: &self.former,
            counters: pass.counters,
            target_down: &self.target_down,
            source_ip: self.source_ip,
            now: self.now,
        };
        let in_flight = (pass.collector.delivery.max_connections * IN_FLIGHT_PER_CONNECTION).clamp(1, IN_FLIGHT_MAX);
        let place = self.progress.place;
        let end: Arc<Mutex<End>> = Arc::default();
        let arriving = arriving(session, pass.stop, &self.target_down, &self.ledger_failed, &end);
        // The futures are boxed by name: their types would otherwise be too general for the compiler to see that they may cross threads.
        let take = |fetched| -> BoxFuture<'_, _> { self.take(&deliverer, fetched).boxed() };
        let record = |taken| -> BoxFuture<'_, _> { record(pass.ledger, place, &self.ledger_failed, taken).boxed() };
        let mut recording = arriving.map(take).buffer_unordered(in_flight).map(record).buffer_unordered(RECORDS_MAX).boxed();
        let mut batch = Batch::default();
        while let Some(handled) = recording.next().await {
            batch.answered.insert(handled.uid);
            batch.octets += handled.octets;
            batch.recorded.extend(handled.entry);
            batch.failed = batch.failed.or(handled.failed.map(PassError::from));
        }
        drop(recording);
        let end = std::mem::take(&mut *end.lock().unwrap_or_else(PoisonError::into_inner));
        batch.outstanding = end.outstanding;
        batch.failed = batch.failed.or(end.failed.map(PassError::from));
        batch
    }

    async fn take(&self, deliverer: &Deliverer<'_>, fetched: Fetched) -> (RemoteUid, Done) {
        let without = |uid: RemoteUid, entry: Entry| {
            let entry = (!self.is_owed(&uid)).then_some(entry);
            (uid, Done { entry, octets: 0, failed: None, in_flight: None, by: By::default() })
        };
        match fetched {
            Fetched::Message(message) => (message.key.uid.clone(), deliverer.deliver(*message).await),
            Fetched::Missing { uid, reason } => without(uid.clone(), self.unfetched(&uid, &reason)),
            Fetched::TooLarge { uid, octets } => without(uid.clone(), self.too_large(&uid, octets)),
        }
    }

    /// A message that was delivered before stays owed its disposal, whatever came of looking at it again.
    fn is_owed(&self, uid: &RemoteUid) -> bool {
        self.progress.exceptions.get(uid) == Some(&State::Owed)
    }

    /// The key of a message that was never fetched, for the log.
    fn key(&self, uid: &RemoteUid) -> MessageKey {
        let collector = self.pass.collector;
        MessageKey {
            collector: collector.id.clone(),
            mailbox: Arc::new(collector.server.mailbox()),
            folder: FolderName::inbox(),
            epoch: self.selected.epoch,
            uid: uid.clone(),
            generation: 0,
        }
    }

    fn too_large(&self, uid: &RemoteUid, octets: u64) -> Entry {
        maillog::skipped(&self.key(uid), &format!("{octets} octets are more than max_message_size"));
        Entry::new(uid.clone(), State::Skipped { octets }, None)
    }

    fn unfetched(&self, uid: &RemoteUid, reason: &str) -> Entry {
        maillog::unfetched(&self.key(uid), reason);
        let before = self.progress.exceptions.get(uid).and_then(State::before).cloned().unwrap_or_default();
        let delay = self.pass.collector.delivery.retry.after(before.tries);
        Entry::new(uid.clone(), State::Pending(before.failed(self.now, reason.to_owned(), delay)), None)
    }

    /// The source answered for everything else and never for this one.
    fn unanswered(&self, message: &Wanted) -> Entry {
        self.unfetched(&message.uid, "the server did not answer for this message")
    }
}

/// The messages of a batch as they come, until all are here, the pass is to end, or the source fails.
fn arriving<'s>(
    session: &'s mut dyn Session,
    stop: &'s Stop,
    target_down: &'s Mutex<Option<String>>,
    ledger_failed: &'s AtomicBool,
    end: &Arc<Mutex<End>>,
) -> BoxStream<'s, Fetched> {
    let unfolded = stream::unfold((session, Arc::clone(end)), move |(session, end)| {
        async move {
            let is_down = target_down.lock().is_ok_and(|down| down.is_some());
            let next = if is_down || ledger_failed.load(Ordering::Relaxed) || stop.is_requested() {
                None
            } else {
                tokio::select! {
                    biased;
                    () = stop.requested() => None,
                    next = session.next_message() => Some(next),
                }
            };
            match next {
                Some(Ok(Some(fetched))) => return Some((fetched, (session, end))),
                Some(Ok(None)) => {}
                Some(Err(error)) => end.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(error),
                None => end.lock().unwrap_or_else(PoisonError::into_inner).outstanding = true,
            }
            None
        }
        .boxed()
    });
    unfolded.boxed()
}

/// Records what became of a message. What is not recorded did not happen, as far as the source is concerned.
async fn record(ledger: &dyn Ledger, place: Place, ledger_failed: &AtomicBool, (uid, done): (RemoteUid, Done)) -> Handled {
    // Other copies of the letter wait until this one is recorded.
    let Done { entry, octets, failed, in_flight: _in_flight, by } = done;
    let Some(entry) = entry else {
        ledger_failed.fetch_or(failed.is_some(), Ordering::Relaxed);
        return Handled { uid, octets, entry: None, failed };
    };
    let failed = ledger.record(&place, entry.clone()).await.err();
    ledger_failed.fetch_or(failed.is_some(), Ordering::Relaxed);
    Handled { uid, octets, entry: failed.is_none().then_some((entry, by)), failed }
}

/// How the stream of arriving messages ended.
#[derive(Default)]
struct End {
    failed: Option<SourceError>,
    outstanding: bool,
}

/// One message on its way out of the stream.
struct Handled {
    uid: RemoteUid,
    octets: u64,
    /// What was recorded, durably.
    entry: Option<(Entry, By)>,
    failed: Option<LedgerError>,
}

/// What came of a batch's fetching.
#[derive(Default)]
struct Batch {
    recorded: Vec<(Entry, By)>,
    answered: BTreeSet<RemoteUid>,
    octets: u64,
    failed: Option<PassError>,
    outstanding: bool,
}

fn count(report: &mut PassReport, entry: &Entry, by: By) {
    match (&entry.state, by) {
        (State::Held, _) => report.held += 1,
        _ if entry.held.is_some() => report.held += 1,
        (State::Kept | State::Owed | State::Flagged, By::Duplicate) => report.duplicates += 1,
        (State::Kept | State::Owed | State::Flagged, By::Discard) => report.discarded += 1,
        (State::Kept | State::Owed | State::Flagged, _) => {
            report.delivered += 1;
            report.unresolved += u64::from(by == By::Unresolved);
            report.refused += u64::from(by == By::Refused);
        }
        (State::Pending(_), _) => report.deferred += 1,
        (State::Left { .. } | State::Skipped { .. }, _) => report.left += 1,
    }
}
