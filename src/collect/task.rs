//! One collector's life: wait, take a permit, run a pass, say how it went.

use super::asks::{Answer, Asks};
use super::dedupe::Dedupe;
use super::disk::DiskRoom;
use super::hours;
use super::idle::{Idle, IdleServer, Passed};
use super::limits::Limits;
use super::mx;
use super::pass::{Before, Pass, PassError, PassReport, Scope};
use super::repeats::Repeats;
use super::route::Router;
use super::schedule::{self, Ended};
use super::stop::Stop;
use crate::config::secret::{self, Stamp};
use crate::config::{self, Collector, SecretSource, Server};
use crate::deliver::Destination;
use crate::deliver::local_check::LocalCheck;
use crate::held::HeldStore;
use crate::history::{Event, History};
use crate::ledger::{Forget, Ledger};
use crate::mail::RemoteUid;
use crate::mail::when::stamp;
use crate::net::Dns;
use crate::oauth::Kept;
use crate::observe::maillog::{self, Failure, SessionFigures};
use crate::observe::{Counters, Status};
use crate::source::{Source, SourceError, Want};
use crate::spool::Spool;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One collector, complete: everything that its passes need.
pub struct Worker {
    /// Its configuration.
    pub collector: Arc<Collector>,
    /// Its mailbox.
    pub source: Box<dyn Source>,
    /// Its rules.
    pub router: Router,
    /// Where its mail goes; shared with others that name the same target.
    pub destination: Arc<dyn Destination>,
    /// Tells which recipients exist.
    pub local_check: Option<Arc<LocalCheck>>,
    /// What was delivered.
    pub ledger: Arc<dyn Ledger>,
    /// Where mail is held.
    pub held: Arc<HeldStore>,
    /// What became of messages, for who asks later.
    pub history: Arc<History>,
    /// Where large messages are.
    pub spool: Spool,
    /// The room that the disk has to have.
    pub room: DiskRoom,
    /// Names of mail exchangers.
    pub dns: Arc<Dns>,
    /// The deliveries that are on their way, in all passes.
    pub dedupe: Arc<Dedupe>,
    /// Permits.
    pub limits: Arc<Limits>,
    /// What is known of the server's IDLE; shared with the other collectors of the server.
    pub idle_server: Arc<IdleServer>,
    /// Progress.
    pub counters: Arc<Counters>,
    /// How it fares.
    pub status: Arc<Status>,
}

/// A wait for the hours of a schedule asks the clock again after this time.
const CLOCK_ASKED_EVERY: Duration = Duration::from_secs(600);

/// A disk that is short of room is asked again after this time.
const DISK_ASKED_EVERY: Duration = Duration::from_secs(60);

/// Most copies that are remembered for having broken a session; in the memory of the process only.
const SET_ASIDE_MAX: usize = 100;

/// A connection that was given up for the sake of the passes has ended by then, and the server knows it.
const ROOM_MADE_IN: Duration = Duration::from_secs(5);

/// While a login is refused, the files of its secrets are looked at so often.
const SECRET_ASKED_EVERY: Duration = Duration::from_secs(5);

/// What tells that the secrets of a login are others by now.
type Stamps = [Option<Stamp>; 4];

/// What a pass begins for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waking {
    /// The interval is over.
    Interval,
    /// The server told of new mail.
    Told,
    /// Somebody asked for it.
    Asked,
    /// The login was refused, and its secret is another one now.
    Secret,
    /// Somebody asked for the one before, and it did not get to the end.
    Rest,
}

/// What kind of pass it is.
#[derive(Clone, Debug, Default)]
struct Turn {
    /// Somebody asked for it: back-off of single messages does not count.
    forced: bool,
    /// The last one put off what never came whole.
    suspects_first: bool,
    /// What the last one left.
    before: Option<Before>,
    /// What broke sessions, and is owed a deletion.
    set_aside: BTreeSet<RemoteUid>,
    /// What it is to do.
    scope: Scope,
}

/// True if a server has no place for one more connection, as it says, or as it seems after so many failures before: some close it without a word.
fn is_crowded(error: &SourceError, failures: u32) -> bool {
    error.is_about_connections() || (failures > 0 && error.is_closed_unheard())
}

/// Numbers sessions, so that one can be found in the log.
static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// How one pass of a worker ended.
#[derive(Debug)]
pub struct Session {
    /// What it did.
    pub report: PassReport,
    /// Why it ended early, if it did.
    pub error: Option<PassError>,
    figures: SessionFigures,
    number: u64,
}

impl Session {
    /// One that failed before it began.
    pub fn failed(error: PassError) -> Self {
        Session { error: Some(error), ..Session::none() }
    }

    /// One that did not begin, because of a stop.
    fn none() -> Self {
        Session { report: PassReport::default(), error: None, figures: SessionFigures::default(), number: 0 }
    }

    /// What was put off comes first in the next one. Never twice in a row once it broke one: then it is the others' turn.
    fn suspects_are_next(&self) -> bool {
        self.report.suspects_are_next() && !(self.error.is_some() && self.report.suspects_first)
    }

    /// Notes the copy at which it broke, if that is owed a deletion. True if it is news, so that the next session can do without it.
    fn set_aside(&self, set_aside: &mut BTreeSet<RemoteUid>) -> bool {
        let is_room = set_aside.len() < SET_ASIDE_MAX;
        self.report.broke_at.clone().filter(|_| is_room).is_some_and(|uid| set_aside.insert(uid))
    }
}

/// A pass that somebody asked for, in as many sessions as it takes.
#[derive(Default)]
struct Requested {
    answers: Vec<Answer>,
    report: PassReport,
}

impl Requested {
    /// A session ended; `goes_on` if another one is to come for the same request.
    fn took(&mut self, mut session: Session, goes_on: bool) {
        self.report.add(&session.report);
        if goes_on {
            return;
        }
        let requested = std::mem::take(self);
        let last = std::mem::replace(&mut session.report, requested.report);
        session.report.more = last.more;
        session.report.deferred += last.put_off;
        // What earlier sessions could not dispose of, the last one has tried again.
        session.error = session.error.or_else(|| last.undisposed.clone().map(PassError::from));
        (session.report.undisposed, session.report.folders) = (last.undisposed, last.folders);
        let session = Arc::new(session);
        // Who asked may have gone away.
        requested.answers.into_iter().for_each(|answer| drop(answer.send(Arc::clone(&session))));
    }
}

/// What was told of a mailbox, so that it is not told in each pass.
#[derive(Default)]
struct Told {
    missing: Repeats,
    undisposed: Repeats,
}

impl Worker {
    /// Runs passes until asked to stop. `first` is the wait before the first one; `asks` are for one more pass now.
    pub async fn run(&self, stop: &Stop, asks: &Asks, first: Duration) {
        let collector = &self.collector;
        let idle = Idle::new(&collector.id, collector.idle, Arc::clone(&self.counters), Arc::clone(&self.idle_server));
        futures_util::future::join(self.rounds(&idle, stop, asks, first), self.watch(&idle, stop)).await;
    }

    async fn rounds(&self, idle: &Idle, stop: &Stop, asks: &Asks, first: Duration) {
        let mut wait = first;
        // Only a session that goes well ends the row, not that somebody else went on with it.
        let mut failures = self.status.snapshot().failures;
        // A requested pass left some for want of room: it goes on, whatever the schedule says.
        let mut rest = false;
        // The secrets with which the last login was refused, maybe in a pass that somebody asked for, before this began.
        let mut refused = (failures > 0).then(|| self.secrets());
        let mut told = Told::default();
        let mut suspects_first = false;
        let (mut before, mut set_aside) = (None, BTreeSet::new());
        let mut requested = Requested::default();
        self.status.waits(self.next(wait));
        loop {
            let waking = tokio::select! {
                biased;
                () = stop.requested() => return,
                () = asks.asked() => Waking::Asked,
                () = std::future::ready(()), if rest => Waking::Rest,
                () = self.new_secret(refused.unwrap_or_default()), if refused.is_some() => Waking::Secret,
                () = self.scheduled(wait) => Waking::Interval,
                // A mailbox that fails is left alone for its time, whatever its server tells on another connection.
                () = self.told(idle), if failures == 0 => Waking::Told,
            };
            let asked = waking == Waking::Asked;
            requested.answers.extend(asks.take());
            if waking == Waking::Told {
                self.counters.idle_woke();
            }
            idle.pass_begins();
            let secrets = self.secrets();
            let forced = asked || (waking == Waking::Rest && suspects_first);
            let turn = Turn { forced, suspects_first, before, set_aside: set_aside.clone(), scope: Scope::Whole };
            let Some(session) = self.session(stop, turn, failures > 0).await else { return };
            suspects_first = session.suspects_are_next();
            before = session.report.before_next(&self.collector);
            session.set_aside(&mut set_aside);
            idle.pass_ended(&Passed {
                folders: &session.report.folders,
                is_whole: session.error.is_none() && !session.report.goes_on() && !session.report.stopped,
                by_interval: waking == Waking::Interval,
                by_word: waking == Waking::Told,
            });
            let is_requested = matches!(waking, Waking::Asked | Waking::Rest) || !requested.answers.is_empty();
            rest = session.error.is_none() && session.report.goes_on() && !session.report.stopped && is_requested;
            let ended = match &session.error {
                None => {
                    failures = 0;
                    Ended::Fine { more: session.report.goes_on() }
                }
                Some(error) => match error {
                    // Our own connections that wait for news take up what the server allows: one less does.
                    PassError::Source(error) if is_crowded(error, failures) && idle.make_room() => Ended::TargetDown(ROOM_MADE_IN),
                    _ => self.failed(error, &mut failures),
                },
            };
            let is_refused = session.error.as_ref().is_some_and(PassError::is_about_credentials);
            refused = is_refused.then_some(secrets);
            // A server may say how often it wants to be asked at most (POP3's LOGIN-DELAY, RFC 2449 §6.5).
            let least = self.source.least_interval().unwrap_or_default();
            wait = schedule::wait(self.collector.interval, ended, fastrand::f64()).max(least);
            self.ended(&session, failures.max(1), Some(wait));
            self.status.waits(self.next(wait));
            self.tell(&session, &mut told);
            requested.took(session, rest);
        }
    }

    /// A session failed, after so many in a row that count. What the target or the disk is waited for is no further one.
    fn failed(&self, error: &PassError, failures: &mut u32) -> Ended {
        match (error, self.destination.asked_again_in()) {
            (PassError::Target(_), Some(again)) => Ended::TargetDown(again),
            (PassError::Disk(_), _) => Ended::TargetDown(DISK_ASKED_EVERY),
            _ => {
                *failures = failures.saturating_add(1);
                Ended::Failed { failures: *failures, retry: error.retry() }
            }
        }
    }

    /// How long those that come by themselves have to wait, if a session that somebody asked for has failed.
    pub fn set_back(&self) -> Duration {
        let left = self.status.snapshot().set_back.map(|until| until.duration_since(jiff::Timestamp::now()));
        left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default()
    }

    /// When a pass begins by itself that is due in `wait`.
    fn next(&self, wait: Duration) -> Option<jiff::Timestamp> {
        let due = jiff::Timestamp::now().checked_add(wait).ok().filter(|_| !self.collector.manual)?;
        due.checked_add(hours::wait(&self.collector.schedule, due)).ok()
    }

    /// Resolves when a pass may begin by itself: after `wait`, inside the schedule's hours; never, if passes run on request only.
    async fn scheduled(&self, wait: Duration) {
        if self.collector.manual {
            return std::future::pending().await;
        }
        tokio::time::sleep(wait).await;
        self.opening_hours().await;
    }

    /// The stamps of the password, of the token, of somebody's signing in, and of what tokens are got and renewed with. Not of our own tokens: each try
    /// may renew them, and would so be the reason for the next one.
    fn secrets(&self) -> Stamps {
        let Server { password, auth, .. } = &self.collector.server;
        let signed = auth.oauth.as_ref().map(|oauth| SecretSource::Stored(Kept::of(&self.collector.id, oauth).signed()));
        let proof = auth.oauth.as_ref().and_then(|oauth| oauth.secret());
        let sources = [Some(password), auth.token.as_ref(), signed.as_ref(), proof.map(|(_, source)| source)];
        sources.map(|source| source.and_then(secret::stamp))
    }

    /// Resolves when the secrets are others than these: the account that was refused need not wait out its hours.
    async fn new_secret(&self, refused: Stamps) {
        loop {
            tokio::time::sleep(SECRET_ASKED_EVERY).await;
            if self.secrets() != refused {
                return;
            }
        }
    }

    async fn told(&self, idle: &Idle) {
        idle.told().await;
        self.opening_hours().await;
    }

    async fn opening_hours(&self) {
        loop {
            let closed = hours::wait(&self.collector.schedule, jiff::Timestamp::now());
            if closed.is_zero() {
                return;
            }
            // Hours are the wall clock's, and somebody may set it.
            tokio::time::sleep(closed.min(CLOCK_ASKED_EVERY)).await;
        }
    }

    /// Watches the collector's folders for new mail, if it is to.
    async fn watch(&self, idle: &Idle, stop: &Stop) {
        if self.collector.idle != config::Idle::Off && !self.collector.manual {
            idle.watch(&*self.source, &self.limits, stop).await;
        }
    }

    /// Runs passes until the mailbox has no new mail, as far as `scope` says, or one fails.
    pub async fn drain(&self, scope: Scope, stop: &Stop) -> Session {
        let mut total = PassReport::default();
        let mut turn = Turn { forced: true, scope, ..Turn::default() };
        let mut told = Told::default();
        let (mut broken, mut set_aside) = (None, BTreeSet::new());
        loop {
            let session = self.session(stop, turn, false).await;
            let Some(session) = session else { return Session { report: total, ..Session::none() } };
            self.ended_apart(&session);
            self.tell(&session, &mut told);
            let report = &session.report;
            // What failed a moment ago is not tried again for the sake of the backlog; what waited for its end is.
            let suspects_first = session.suspects_are_next();
            let others_are_next = session.set_aside(&mut set_aside);
            let before = report.before_next(&self.collector);
            turn = Turn { forced: suspects_first, suspects_first, before, set_aside: set_aside.clone(), scope };
            total.add(report);
            let is_stopped = report.stopped;
            if let Some(PassError::Source(error)) = &session.error
                && error.is_about_one_message()
                && (suspects_first || others_are_next)
                && !is_stopped
            {
                // One that is read again for its deletion breaks each session, and would so keep the others from their turn, or undo their deletions.
                broken = session.error;
                continue;
            }
            if session.error.is_some() || !report.goes_on() || is_stopped {
                // What earlier sessions could not dispose of, this one has tried again.
                total.undisposed = report.undisposed.clone();
                total.deferred += report.put_off;
                let error = session.error.or(broken).or_else(|| report.undisposed.clone().map(PassError::from));
                return Session { report: total, error, ..session };
            }
        }
    }

    /// One session, which takes so many new messages at most. What an earlier one left to be tried again, or owes, comes beside them.
    pub async fn some(self, limit: usize, scope: Scope, stop: &Stop) -> Session {
        let most = match self.collector.max_messages_per_session {
            0 => limit,
            most => most.min(limit),
        };
        let collector = Collector { max_messages_per_session: most, ..Collector::clone(&self.collector) };
        let worker = Worker { collector: Arc::new(collector), ..self };
        let Some(mut session) = worker.session(stop, Turn { forced: true, scope, ..Turn::default() }, false).await else { return Session::none() };
        worker.ended_apart(&session);
        worker.tell(&session, &mut Told::default());
        session.report.deferred += session.report.put_off;
        session.error = session.error.or_else(|| session.report.undisposed.clone().map(PassError::from));
        session
    }

    /// One pass under a permit; `None` if the stop came before the permit.
    async fn session(&self, stop: &Stop, turn: Turn, failing: bool) -> Option<Session> {
        let server = &self.collector.server;
        self.status.queued();
        let permit = tokio::select! {
            biased;
            () = stop.requested() => return None,
            permit = self.limits.permit(&server.host, failing) => permit,
        };
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        self.status.began(jiff::Timestamp::now());
        maillog::session_started(&self.collector.id, &format!("{}:{}", server.host, server.port), number);
        self.tell_event("session_started", number, || json!({"server": format!("{}:{}", server.host, server.port)}));
        let (report, result) = permit.run(self.pass(stop, turn)).await;
        let error = result.err();
        let stop_reason = match (&error, report.stopped, report.more) {
            (Some(_), ..) => "failed",
            (None, true, _) => "shutdown",
            (None, _, true) => "limit",
            (None, ..) => "done",
        };
        let figures = SessionFigures {
            delivered: report.delivered,
            default_box: report.unresolved + report.refused,
            duplicates: report.duplicates,
            discarded: report.discarded,
            deferred: report.deferred,
            left: report.left,
            held: report.held,
            octets: report.octets,
            took: started.elapsed(),
        };
        maillog::session_finished(&self.collector.id, number, &figures, stop_reason);
        self.tell_event("session_finished", number, || {
            json!({
                "delivered": figures.delivered, "default_box": figures.default_box, "duplicates": figures.duplicates,
                "discarded": figures.discarded, "deferred": figures.deferred, "left": figures.left, "held": figures.held,
                "octets": figures.octets, "ms": figures.took.as_millis() as u64, "stop_reason": stop_reason,
            })
        });
        self.counters.session(figures.took);
        Some(Session { report, error, figures, number })
    }

    /// Those of what is to come once more that arrived at this time or later; `None` if none did. The server is asked, and nothing else is done.
    ///
    /// # Errors
    /// The server cannot be asked, or its folder is another one by now.
    pub async fn young(&self, which: Forget, since: i64, stop: &Stop) -> Result<Option<Forget>, PassError> {
        let permit = self.limits.permit(&self.collector.server.host, false).await;
        let asked = permit.run(async {
            let remembered = self.ledger.remembered(&self.collector.server.mailbox(), &which).await?;
            let Some(of) = remembered.into_iter().find(|of| !of.uids.is_empty()) else { return Ok(Vec::new()) };
            let mut session = self.source.open().await?;
            let listed = async {
                let selected = session.select(&of.folder).await?;
                let also = if selected.epoch == of.epoch { which.uids.clone() } else { Vec::new() };
                session.list(Want { not_before: Some(since), ..Want::only(also) }).await
            };
            let listed = listed.await;
            match listed {
                Ok(_) => drop(session.close().await),
                Err(_) => session.abandon().await,
            }
            Ok::<_, PassError>(listed?.messages.into_iter().map(|message| message.uid).collect())
        });
        let uids: Vec<RemoteUid> = tokio::select! {
            biased;
            () = stop.requested() => return Ok(None),
            asked = asked => asked?,
        };
        Ok((!uids.is_empty()).then_some(Forget { uids, ..which }))
    }

    async fn pass(&self, stop: &Stop, Turn { forced, suspects_first, before, set_aside, scope }: Turn) -> (PassReport, Result<(), PassError>) {
        if let Err(short) = self.room.check() {
            return (PassReport::default(), Err(short.into()));
        }
        let collector = match mx::with_mx_hosts(&self.collector, &self.dns).await {
            Ok(collector) => collector,
            Err(error) => return (PassReport::default(), Err(error.into())),
        };
        let router = self.router.with(Arc::clone(&collector));
        let pass = Pass {
            collector: &collector,
            source: &*self.source,
            router: &router,
            destination: &*self.destination,
            local_check: self.local_check.as_deref(),
            ledger: &*self.ledger,
            held: &self.held,
            history: &self.history,
            spool: &self.spool,
            dedupe: &self.dedupe,
            stop,
            counters: &self.counters,
            forced,
            scope,
            suspects_first,
            before: before.as_ref(),
            set_aside: &set_aside,
        };
        pass.run().await
    }

    /// Tells what went wrong without being in anybody's way.
    fn tell(&self, session: &Session, told: &mut Told) {
        let (report, id, now) = (&session.report, &self.collector.id, Instant::now());
        if session.error.is_none() {
            if told.missing.is_news(&report.missing, now) {
                report.missing.iter().for_each(|missing| maillog::folder_missing(id, missing));
            }
            let reasons: Vec<String> = report.undisposed.iter().map(ToString::to_string).collect();
            if let (Some(error), true) = (&report.undisposed, told.undisposed.is_news(&reasons, now)) {
                let failure = Failure { code: error.code(), reason: &reasons.concat(), hint: error.hint.as_deref().unwrap_or("") };
                maillog::disposal_refused(id, session.number, &failure);
            }
        }
    }

    /// Tells those who listen, if there are any.
    fn tell_event(&self, name: &str, session: u64, more: impl FnOnce() -> Value) {
        self.history.tell(|| {
            let mut document = json!({"at": stamp(jiff::Timestamp::now()), "collector": self.collector.id.as_str(), "session": session});
            if let (Some(document), Value::Object(more)) = (document.as_object_mut(), more()) {
                document.extend(more);
            }
            Event { name: name.to_owned(), document }
        });
    }

    /// The same beside what runs by itself: the row of failures goes on, or ends.
    fn ended_apart(&self, session: &Session) {
        let mut failures = self.status.snapshot().failures;
        let wait = session.error.as_ref().map(|error| schedule::wait(self.collector.interval, self.failed(error, &mut failures), fastrand::f64()));
        self.ended(session, failures.max(1), None);
        self.status.sets_back(wait.and_then(|wait| jiff::Timestamp::now().checked_add(wait).ok()));
    }

    /// Says how a session ended, the `failures`th in a row if it failed.
    fn ended(&self, session: &Session, failures: u32, next_try: Option<Duration>) {
        let reason = session.error.as_ref().map(ToString::to_string).unwrap_or_default();
        let failure = session.error.as_ref().map(|error| Failure { code: error.code(), reason: &reason, hint: error.hint() });
        if let Some(failure) = &failure {
            maillog::session_failed(&self.collector.id, session.number, failures, failure, next_try);
            self.tell_event("session_failed", session.number, || {
                let next = next_try.map(|wait| wait.as_secs());
                json!({"code": format!("MG-{}", failure.code), "reason": failure.reason, "hint": failure.hint, "failures": failures, "next_try_seconds": next})
            });
        }
        let failure = failure.as_ref().map(|failure| (failure, failures));
        if session.error.is_none() && !session.report.stopped {
            self.status.saw(session.report.folders.iter().map(|seen| (seen.name.as_str(), seen.selected.exists)));
        }
        self.status.ended(jiff::Timestamp::now(), &session.figures, session.report.waiting(), failure);
    }
}
