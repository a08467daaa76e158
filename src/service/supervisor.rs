//! Runs one task per collector and applies each configuration by its difference from the last. Starting up is a change from nothing, so there
//! is one path.
//!
//! A collector that is removed or changed is asked to stop and ends at a message's border; whoever takes over its mailbox (its successor, or the
//! same block under a new name) starts when it has ended. An unchanged collector is not touched.

use super::board::{Board, Listed};
use super::command::{Collect, Collecting, Command, Manner, Reload, Reloaded, Requester, SwitchTo};
use super::refetch;
use super::switches::{Switch, Switches};
use super::{Installation, systemd};
use crate::collect::asks::Asks;
use crate::collect::pass::Scope;
use crate::collect::task::{Session, Worker};
use crate::collect::{Stop, hours};
use crate::config::{self, Collector, Config, Diff, Environment, Loaded, Report, Sources};
use crate::held::HeldStore;
use crate::ledger::Forget;
use crate::mail::{CollectorId, MailboxId};
use crate::observe::logging::{self, audit};
use futures_util::FutureExt;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

/// First passes are spread so that at most this many begin in a second, but over no more than `start_jitter`.
const STARTS_PER_SECOND: u32 = 4;
/// How often held mail is looked at for its age.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// What ending takes beyond the time of grace: the ledger is closed.
const AFTER_GRACE: Duration = Duration::from_secs(10);
/// A wait for the end of a switch asks the clock again after this time.
const CLOCK_ASKED_EVERY: Duration = Duration::from_secs(60);
/// Collectors that a line about many of them names.
const NAMES_SHOWN_MAX: usize = 20;
/// How long a collector rests whose task ended by a mistake of ours.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// The running collectors.
pub struct Supervisor {
    installation: Installation,
    path: PathBuf,
    environment: Environment,
    /// As the files say.
    written: Config,
    /// With what was switched by commands: what is in force.
    config: Config,
    switches: Switches,
    /// Of the file as it was last read, good or not.
    digest: [u8; 32],
    running: BTreeMap<CollectorId, Running>,
    /// Collectors that were asked to stop and may still be in a pass, and passes of those that are disabled.
    ending: Vec<Ending>,
    board: Arc<Board>,
}

/// A pass beside what runs by itself.
enum Apart {
    /// Until there is no new mail.
    Whole,
    /// One session with a limit, or as many as it takes.
    Part(Option<usize>, Scope),
    /// With messages that are to come once more.
    Again(Forget, Scope),
}

struct Ending {
    mailbox: MailboxId,
    stop: Stop,
    ended: Stop,
}

struct Running {
    mailbox: MailboxId,
    stop: Stop,
    asks: Arc<Asks>,
    ended: Stop,
}

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every pass ended in order.
    Clean,
    /// The grace time was over, or the operator did not want to wait: passes were cut off, which counts as a crash.
    Cut,
}

impl Supervisor {
    /// Takes over a configuration that was read from `path`.
    pub fn new(installation: Installation, path: PathBuf, environment: Environment, loaded: Loaded) -> Self {
        let Loaded { config: written, digest, .. } = loaded;
        let switches = installation.switches().clone();
        let config = switches.over(&written, Timestamp::now());
        let board = Arc::new(Board::new(path.clone()));
        Supervisor { installation, path, environment, written, config, switches, digest, running: BTreeMap::new(), ending: Vec::new(), board }
    }

    /// What it shows of itself.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Outcome {
        self.apply(None);
        let sweeping = tokio::spawn(sweep_held(Arc::clone(self.installation.held())));
        let _sweeping = AbortOnDrop(sweeping);
        systemd::ready(self.running.len());
        let mut heartbeat = systemd::heartbeat().map(tokio::time::interval);
        loop {
            // The watchdog hears from this loop, and not from a task beside it: what hangs here hangs the service.
            let command = tokio::select! {
                command = commands.recv() => command,
                () = switch_ends(self.switches.next_end(Timestamp::now())) => {
                    self.switched();
                    continue;
                }
                () = beat(&mut heartbeat) => {
                    systemd::alive();
                    continue;
                }
            };
            let Some(command) = command else { break };
            match command {
                Command::Collect(collect) => self.collect(collect).await,
                Command::Reload(Reload { by, answer }) => {
                    let reloaded = self.reload(Some(&by)).await;
                    // Who asked may have gone away.
                    if let Some(answer) = answer {
                        let _ = answer.send(reloaded);
                    }
                }
                Command::Switch(to) => self.switch(to).await,
                Command::FileChanged => drop(self.reload(None).await),
                Command::Stop(by) => {
                    info!(target: audit::TARGET, event = "stop_requested", by = %by);
                    break;
                }
                Command::StopNow => return Outcome::Cut,
            }
        }
        self.shut_down(commands).await
    }

    async fn collect(&mut self, Collect { by, which, manner, answer }: Collect) {
        let ids = which.unwrap_or_else(|| self.running.keys().cloned().collect());
        let names: Vec<&str> = ids.iter().take(NAMES_SHOWN_MAX).map(CollectorId::as_str).collect();
        let (limit, again, since, purge) = match &manner {
            Manner::Whole => (None, None, None, None),
            Manner::Part { limit, since } => (*limit, None, *since, None),
            Manner::Again { uids, since, .. } => (None, Some(uids.len()), *since, None),
            Manner::Purge => (None, None, None, Some(true)),
        };
        let since = since.and_then(|since| Timestamp::from_second(since).ok()).map(|since| since.to_string());
        let (collectors, names) = (ids.len(), names.join(","));
        info!(target: audit::TARGET, event = "collect_requested", by = %by, collectors, names, limit, again, since, purge);
        let is_heard = answer.is_some();
        let began = match manner {
            Manner::Whole => Ok(ids.into_iter().filter_map(|id| self.collect_one(id, is_heard)).collect()),
            Manner::Part { limit, since } => {
                let scope = scope(since);
                Ok(ids.into_iter().filter_map(|id| self.collect_aside(id, Apart::Part(limit, scope))).collect())
            }
            Manner::Purge => {
                self.alone(&ids).map(|_| ids.into_iter().filter_map(|id| self.collect_aside(id, Apart::Part(None, Scope::Purge))).collect())
            }
            Manner::Again { uids, folder, since } => self.collect_again(ids, &uids, folder.as_deref(), since).await,
        };
        answer.map(|answer| answer.send(began));
    }

    /// Single messages once more.
    async fn collect_again(
        &mut self,
        ids: Vec<CollectorId>,
        uids: &[String],
        folder: Option<&str>,
        since: Option<i64>,
    ) -> Result<Vec<Collecting>, String> {
        let collector = self.alone(&ids)?;
        let which = refetch::which(&collector, uids, folder, &**self.installation.ledger()).await?;
        Ok(self.collect_aside(collector.id.clone(), Apart::Again(which, scope(since))).into_iter().collect())
    }

    /// The one collector of a request that changes what is remembered of its mailbox: that must not be what another pass is working on.
    fn alone(&self, ids: &[CollectorId]) -> Result<Arc<Collector>, String> {
        let [id] = ids else { return Err("this is done for one collector at a time".to_owned()) };
        let collector = self.config.collectors.get(id).cloned().ok_or("there is no such collector")?;
        let mailbox = collector.server.mailbox();
        match self.running.iter().find(|(other, running)| *other != id && running.mailbox == mailbox) {
            Some((other, _)) => Err(format!("the collector `{other}` collects the same mailbox")),
            None => Ok(collector),
        }
    }

    /// `None`: no such collector, or nobody wants to hear of it.
    fn collect_one(&mut self, id: CollectorId, is_heard: bool) -> Option<Collecting> {
        let Some(running) = self.running.get(&id) else { return self.collect_apart(id, Apart::Whole) };
        if !is_heard {
            running.asks.ask();
            return None;
        }
        let counters = self.board.listed(&id)?.counters;
        Some(Collecting { heard: running.asks.ask_and_hear(), id, counters })
    }

    /// A pass for which a collector that runs steps aside at a message's border; it begins again when its time comes, but behind a limit after its
    /// interval: what that leaves is not to come a moment later.
    fn collect_aside(&mut self, id: CollectorId, how: Apart) -> Option<Collecting> {
        let interval = self.running.contains_key(&id).then(|| self.config.collectors.get(&id).map(|collector| collector.interval)).flatten();
        let due = match how {
            Apart::Part(Some(_), _) => None,
            _ => self.board.listed(&id).and_then(|listed| listed.status.snapshot().next),
        };
        // Who asks more often than the interval must not put off for ever what comes by itself.
        let until_due = due.map(|due| Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default());
        let interval = interval.map(|interval| until_due.map_or(interval, |until| until.min(interval)));
        self.stop(&id);
        let began = self.collect_apart(id.clone(), how);
        if let Some(interval) = interval {
            // It waits for the pass first, as that is in its mailbox; if it fails, that counts as if it had come by itself.
            self.start(&id, interval, true);
        }
        began
    }

    /// A pass beside what runs by itself.
    fn collect_apart(&mut self, id: CollectorId, how: Apart) -> Option<Collecting> {
        let mailbox = self.config.collectors.get(&id)?.server.mailbox();
        let worker = self.worker(&id)?;
        let (answer, heard) = oneshot::channel();
        let counters = Arc::clone(&worker.counters);
        let ending = Ending { mailbox, stop: Stop::new(), ended: Stop::new() };
        let (stop, ended, before) = (ending.stop.clone(), RaiseOnDrop(ending.ended.clone()), self.before(&ending.mailbox));
        self.ending.push(ending);
        tokio::spawn(async move {
            let _ended = ended;
            for predecessor in before {
                predecessor.requested().await;
            }
            let session = match how {
                Apart::Whole => worker.drain(Scope::Whole, &stop).await,
                Apart::Part(None, scope) => worker.drain(scope, &stop).await,
                Apart::Part(Some(limit), scope) => worker.some(limit, scope, &stop).await,
                Apart::Again(which, scope) => {
                    let (id, mailbox) = (&worker.collector.id, worker.collector.server.mailbox());
                    let young = match scope {
                        Scope::Since(since) => worker.young(which, since, &stop).await,
                        Scope::Whole | Scope::Purge => Ok(Some(which)),
                    };
                    let which = match young {
                        Ok(Some(which)) => which,
                        Ok(None) => {
                            let _ = answer.send(Arc::new(worker.drain(scope, &stop).await));
                            return;
                        }
                        Err(error) => {
                            let _ = answer.send(Arc::new(Session::failed(error)));
                            return;
                        }
                    };
                    match worker.ledger.forget(&mailbox, &which, Timestamp::now().as_second()).await {
                        Ok(forgotten) => info!(event = "collector_refetches", collector = %id, mailbox = %mailbox, forgotten),
                        Err(error) => {
                            error!(event = "collector_refetch_failed", collector = %id, mailbox = %mailbox, reason = %error, next = "nothing was forgotten, and nothing comes again");
                            return;
                        }
                    }
                    worker.drain(scope, &stop).await
                }
            };
            let _ = answer.send(Arc::new(session));
        });
        Some(Collecting { id, counters, heard })
    }

    /// Reads the file; a good one is applied, a bad one reported and the old one stays. Only if somebody asked it says so when nothing changed.
    async fn reload(&mut self, by: Option<&Requester>) -> Reloaded {
        if let Some(by) = by {
            info!(target: audit::TARGET, event = "reload_requested", by = %by);
        }
        let (path, environment) = (self.path.clone(), self.environment.clone());
        let read = tokio::task::spawn_blocking(move || {
            let sources = Sources::read(&path, &environment);
            let digest = sources.as_ref().ok().map(Sources::digest);
            (digest, sources.and_then(|sources| sources.load(&environment)))
        });
        let Ok((digest, loaded)) = read.await else { return Ok(Diff::default()) };
        // A bad file is reported once, and again when somebody asks.
        let same = digest == Some(self.digest) || (digest.is_none() && self.digest == [0; 32]);
        if same && by.is_none() {
            return Ok(Diff::default());
        }
        self.digest = digest.unwrap_or_default();
        let by = by.map_or_else(|| "file".to_owned(), ToString::to_string);
        let loaded = loaded.inspect_err(|report| self.reject(report, &by))?;
        if loaded.config == self.written {
            info!(event = "config_unchanged", file = %self.path.display());
            self.board.taken(by);
            return Ok(Diff { unchanged: self.running.keys().cloned().collect(), ..Diff::default() });
        }
        for warning in &loaded.warnings {
            warn!(event = "config_warning", text = %warning.to_string().replace('\n', " | "));
        }
        self.written = loaded.config;
        let diff = self.switched();
        self.board.taken(by);
        Ok(diff)
    }

    /// Keeps what was switched, then lets it take effect: a crash in between does it at the next start.
    async fn switch(&mut self, SwitchTo { by, which, on, until, reason, answer }: SwitchTo) {
        let (now, mut switches) = (Timestamp::now(), self.switches.clone());
        let switch = Switch { on, until, reason, by: by.to_string(), at: now };
        match &which {
            Some(ids) => ids.iter().for_each(|id| switches.set(Some(id), switch.clone())),
            None => switches.set(None, switch.clone()),
        }
        switches.tidy(&self.written, now);
        let (kept, state_dir) = (switches.clone(), self.installation.state_dir().clone());
        let written = tokio::task::spawn_blocking(move || kept.write(&state_dir).map_err(|error| error.to_string())).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(error.to_string())) {
            error!(event = "switch_not_kept", by = %by, reason = %error, next = "nothing was switched");
            let _ = answer.send(Err(error));
            return;
        }
        self.switches = switches;
        let until = until.map(crate::mail::when::stamp).unwrap_or_default();
        let reason = &switch.reason;
        for id in which.iter().flatten() {
            match on {
                true => info!(target: audit::TARGET, event = "collector_enabled", collector = %id, by = %by, until, reason),
                false => info!(target: audit::TARGET, event = "collector_disabled", collector = %id, by = %by, until, reason),
            }
        }
        match (&which, on) {
            (None, true) => info!(target: audit::TARGET, event = "service_resumed", by = %by, until, reason),
            (None, false) => info!(target: audit::TARGET, event = "service_paused", by = %by, until, reason),
            (Some(_), _) => {}
        }
        self.switched();
        let _ = answer.send(Ok(()));
    }

    /// Applies the configuration with what is switched now.
    fn switched(&mut self) -> Diff {
        let config = self.switches.over(&self.written, Timestamp::now());
        let old = std::mem::replace(&mut self.config, config);
        self.apply(Some(old))
    }

    fn reject(&self, report: &Report, by: &str) {
        for problem in &report.errors {
            error!(event = "config_error", text = %problem.to_string().replace('\n', " | "));
        }
        error!(target: audit::TARGET, event = "config_rejected", file = %self.path.display(), errors = report.errors.len(), next = "the configuration that was in force stays in force");
        self.board.rejected(report.to_string(), by);
    }

    fn apply(&mut self, old: Option<Config>) -> Diff {
        logging::configure(&self.config);
        let diff = config::diff(old.as_ref(), &self.config);
        for setting in &diff.needs_restart {
            warn!(event = "config_needs_restart", setting, next = "the change takes effect after a restart");
        }
        for id in diff.removed.iter().chain(&diff.changed) {
            self.stop(id);
        }
        self.show(&diff);
        let starting = diff.added.len() as u32;
        let spread = self.config.service.start_jitter.min(Duration::from_secs(1) * starting / STARTS_PER_SECOND);
        for id in diff.added.iter().chain(&diff.changed) {
            // One alone need not wait for anybody.
            let wait = if starting > 1 { spread.mul_f64(fastrand::f64()) } else { Duration::ZERO };
            self.start(id, wait, false);
        }
        let (added, changed, removed, unchanged) = (diff.added.len(), diff.changed.len(), diff.removed.len(), diff.unchanged.len());
        info!(target: audit::TARGET, event = "config_loaded", file = %self.path.display(), added, changed, removed, unchanged);
        systemd::status(&format!("{} collectors run", self.running.len()));
        if self.running.is_empty() {
            let why = if self.config.service.enabled { "no collector is enabled" } else { "service.enabled is false" };
            warn!(event = "no_enabled_collector", reason = why, next = "nothing is collected until the configuration changes");
        }
        diff
    }

    /// Puts the configuration on the board; what is known of a collector outlives its change.
    fn show(&self, diff: &Diff) {
        let (config, needs_restart, switches, now) = (&self.config, diff.needs_restart.clone(), &self.switches, Timestamp::now());
        self.board.update(|shown| {
            let mut known = std::mem::take(&mut shown.collectors);
            shown.collectors = config
                .collectors
                .iter()
                .map(|(id, collector)| {
                    let before = known.remove(id);
                    let (status, counters) = before.map(|listed| (listed.status, listed.counters)).unwrap_or_default();
                    let switch = switches.of(id, now).cloned();
                    (id.clone(), Listed { collector: Arc::clone(collector), status, counters, switch })
                })
                .collect();
            (shown.enabled, shown.switch) = (config.service.enabled, switches.of_service(now).cloned());
            (shown.notify, shown.redact) = (config.notify.clone(), config.log_redact);
            shown.needs_restart.extend(needs_restart);
            shown.needs_restart.sort_unstable();
            shown.needs_restart.dedup();
        });
    }

    /// The worker of a collector, with what is known of it.
    fn worker(&self, id: &CollectorId) -> Option<Worker> {
        let Listed { collector, status, counters, .. } = self.board.listed(id)?;
        Some(self.installation.worker_of(&collector, counters, status))
    }

    /// Those who may still be at work in this mailbox.
    fn before(&mut self, mailbox: &MailboxId) -> Vec<Stop> {
        self.ending.retain(|ending| !ending.ended.is_requested());
        self.ending.iter().filter(|ending| ending.mailbox == *mailbox).map(|ending| ending.ended.clone()).collect()
    }

    fn stop(&mut self, id: &CollectorId) {
        if let Some(running) = self.running.remove(id) {
            running.stop.request();
            self.ending.push(Ending { mailbox: running.mailbox, stop: running.stop, ended: running.ended });
        }
    }

    /// Starts a collector, whose first pass is after `wait`; `goes_on` behind a pass that somebody asked for.
    fn start(&mut self, id: &CollectorId, wait: Duration, goes_on: bool) {
        let Some(collector) = self.config.collectors.get(id) else { return };
        let mailbox = collector.server.mailbox();
        let first_pass = first_pass(collector, wait, Timestamp::now());
        info!(event = "collector_started", collector = %id, first_pass, interval_s = collector.interval.as_secs());
        let before = self.before(&mailbox);
        let Some(worker) = self.worker(id) else { return };
        let running = Running { mailbox, stop: Stop::new(), asks: Arc::default(), ended: Stop::new() };
        let (stop, asks, ended) = (running.stop.clone(), Arc::clone(&running.asks), RaiseOnDrop(running.ended.clone()));
        tokio::spawn(async move {
            let _ended = ended;
            for predecessor in before {
                predecessor.requested().await;
            }
            let mut wait = if goes_on { wait.max(worker.set_back()) } else { wait };
            // A mistake of ours in one collector ends neither the others nor, for good, this one.
            while AssertUnwindSafe(worker.run(&stop, &asks, wait)).catch_unwind().await.is_err() {
                error!(event = "internal_error", collector = %worker.collector.id, next = "this collector goes on in 60 s; please report what stands above");
                wait = AFTER_PANIC;
            }
        });
        self.running.insert(id.clone(), running);
    }

    /// Asks every collector to stop and waits for them, no longer than the grace time.
    async fn shut_down(mut self, mut commands: mpsc::Receiver<Command>) -> Outcome {
        info!(event = "service_stopping", collectors = self.running.len());
        systemd::stopping(self.config.service.shutdown_grace + AFTER_GRACE);
        let ids: Vec<CollectorId> = self.running.keys().cloned().collect();
        ids.iter().for_each(|id| self.stop(id));
        self.ending.iter().for_each(|ending| ending.stop.request());
        self.board.update(|shown| shown.stopping = true);
        let all_ended = async {
            for ending in &self.ending {
                ending.ended.requested().await;
            }
        };
        let hurry = async { while commands.recv().await.is_some_and(|command| !matches!(command, Command::StopNow)) {} };
        let outcome = tokio::select! {
            () = all_ended => Outcome::Clean,
            () = tokio::time::sleep(self.config.service.shutdown_grace) => Outcome::Cut,
            () = hurry => Outcome::Cut,
        };
        match outcome {
            Outcome::Clean => info!(event = "service_stopped"),
            Outcome::Cut => warn!(event = "service_cut_off", next = "what was in flight is in doubt and is tried again at the next start"),
        }
        outcome
    }
}

fn scope(since: Option<i64>) -> Scope {
    since.map_or(Scope::Whole, Scope::Since)
}

/// Resolves when a switch is over; never if none is to end.
async fn switch_ends(at: Option<Timestamp>) {
    match at {
        // Asked again now and then: somebody may set the clock.
        Some(at) => loop {
            let left = at.duration_since(Timestamp::now());
            if left.is_negative() || left.is_zero() {
                return;
            }
            tokio::time::sleep(left.unsigned_abs().min(CLOCK_ASKED_EVERY)).await;
        },
        None => std::future::pending().await,
    }
}

/// Resolves at the next beat; never without a watchdog.
async fn beat(heartbeat: &mut Option<tokio::time::Interval>) {
    match heartbeat {
        Some(heartbeat) => drop(heartbeat.tick().await),
        None => std::future::pending().await,
    }
}

/// When the first pass is, in words.
fn first_pass(collector: &Collector, wait: Duration, now: Timestamp) -> String {
    if collector.manual {
        return "on request".to_owned();
    }
    let closed = hours::wait(&collector.schedule, now.checked_add(wait).unwrap_or(now));
    match (wait + closed).as_secs_f64().ceil() as u64 {
        0 => "now".to_owned(),
        seconds if closed.is_zero() => format!("in {seconds} s"),
        seconds => format!("in {seconds} s, when its schedule lets it"),
    }
}

/// Keeps the store of held mail in order, at the start and then now and again.
async fn sweep_held(held: Arc<HeldStore>) {
    loop {
        if let Err(error) = held.sweep(jiff::Timestamp::now().as_second()).await {
            error!(event = "held_sweep_failed", reason = %error, next = "tried again in an hour; held mail is as it was");
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

/// A sweep drops nothing half: each step of it is whole in the ledger.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct RaiseOnDrop(Stop);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}
