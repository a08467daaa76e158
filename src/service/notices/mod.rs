//! Telling people of trouble: `notify`.
//!
//! A task looks at the board once a second and at the held mail now and then. `judge`, pure, says for each channel what is wrong with a collector;
//! `kept` knows what was told and is not over; what is new goes into the queue of the channel (`post`), which tells it by `mail`, `webhook` or
//! `command`. Nothing that collects waits for any of this, and what is told is never the only record: the log has had it before.
//!
//! What one channel cannot tell, after some tries, the others are told in its place, whatever `events` they want: the mail server that is down is not
//! the only one to say so.

mod command;
mod judge;
mod kept;
mod mail;
mod notice;
mod post;
mod webhook;

use super::Board;
use super::board::{Listed, Shown};
use crate::config::{Channel, LogRedact, NoticeEvent, Way};
use crate::ledger::{HeldTotal, Ledger};
use crate::mail::CollectorId;
use crate::mail::outcome::harmless;
use crate::mail::when::stamp;
use crate::net;
use crate::observe::logging::audit;
use jiff::Timestamp;
use judge::{Finding, Seen, judge};
use kept::{About, Kept, Told};
use notice::{Notice, Stage};
use post::{Ended, Post};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often the board is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often held mail is counted, if no session says that there is more.
const HELD_EVERY: Duration = Duration::from_secs(10);
/// What could be told by no channel of its own is tried again after this time, if not sooner.
const AGAIN: Duration = Duration::from_secs(900);
/// How often the log says that a certificate ends.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(86_400);
/// Longest wait of somebody who asks for the channels.
const UP_TO_DATE: Duration = Duration::from_secs(5);
/// Longest reason that is shown, in octets.
const REASON_OCTETS_MAX: usize = 500;
/// What becomes of notices.
const RESULTS: [&str; 3] = ["sent", "failed", "dropped"];

/// What others see of the notices.
#[derive(Debug, Default)]
pub struct Notices {
    figures: [[AtomicU64; RESULTS.len()]; Way::WORDS.len()],
    state: Mutex<State>,
    /// Somebody wants the channels that are in force now.
    asked: Notify,
    /// How often they were looked at.
    looked: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    redact: LogRedact,
    posts: Vec<Arc<Post>>,
    /// For whom each of them is: some collectors, or all that name none of their own.
    for_whom: Vec<Option<Vec<CollectorId>>>,
    /// How each channel ended last.
    last: BTreeMap<String, (Timestamp, Result<(), String>)>,
    kept: Kept,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("posts", &self.posts.len()).finish_non_exhaustive()
    }
}

/// What came of the trial of a channel.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Its name.
    pub channel: String,
    /// Why it failed.
    pub outcome: Result<(), String>,
}

impl Notices {
    /// Kind of channel, result, how many.
    pub fn figures(&self) -> Vec<(&'static str, &'static str, u64)> {
        let rows = Way::WORDS.iter().zip(&self.figures);
        rows.flat_map(|(word, row)| RESULTS.iter().zip(row).map(|(result, count)| (*word, *result, count.load(Relaxed)))).collect()
    }

    /// The channels, and what was told and is not over.
    pub async fn json(&self) -> Value {
        self.up_to_date().await;
        let state = self.state();
        let name = |key: &str| state.posts.iter().find(|post| post.key == key).map(|post| post.name.clone());
        let channels = state.posts.iter().zip(&state.for_whom).map(|(post, for_whom)| {
            let last = state.last.get(&post.key);
            let Channel { events, after, stale, repeat, .. } = &*post.channel;
            json!({
                "channel": post.name, "collectors": for_whom.as_ref().map(|ids| ids.iter().map(CollectorId::as_str).collect::<Vec<_>>()), "events": events.iter().map(|event| event.word()).collect::<Vec<_>>(), "after": after,
                "stale_seconds": stale.map(|stale| stale.as_secs()), "repeat_seconds": repeat.as_secs(),
                "last": last.map(|(at, outcome)| json!({"at": stamp(*at), "ok": outcome.is_ok(), "reason": outcome.as_ref().err()})),
            })
        });
        let open = state.kept.0.iter().map(|((channel, collector, event), told)| {
            json!({"channel": name(channel), "collector": collector.as_str(), "event": event.word(), "since": stamp(told.since), "told": told.is_told, "at": stamp(told.at)})
        });
        json!({"channels": channels.collect::<Vec<_>>(), "open": open.collect::<Vec<_>>()})
    }

    /// Tries each channel once, all at the same time.
    pub async fn test(&self, by: &str) -> Vec<Tried> {
        self.up_to_date().await;
        let posts = self.state().posts.clone();
        let notice = Notice::test(by, Timestamp::now());
        let trials = posts.iter().map(|post| async {
            let outcome = post.send(std::slice::from_ref(&notice)).await.map_err(|reason| self.shown(&reason));
            self.ended(post, 1, &outcome);
            match &outcome {
                Ok(()) => tracing::info!(target: audit::TARGET, event = "notice_tested", channel = %post.name, by, reason = ""),
                Err(reason) => tracing::warn!(target: audit::TARGET, event = "notice_tested", channel = %post.name, by, reason),
            }
            Tried { channel: post.name.clone(), outcome }
        });
        futures_util::future::join_all(trials).await
    }

    /// Waits until the channels are those of the configuration in force, also right after a start or a reload; not for long.
    async fn up_to_date(&self) {
        let mut looked = self.looked.subscribe();
        let before = *looked.borrow_and_update();
        self.asked.notify_one();
        let _ = tokio::time::timeout(UP_TO_DATE, looked.wait_for(|now| *now != before)).await;
    }

    fn have_looked(&self) {
        self.looked.send_modify(|looked| *looked = looked.wrapping_add(1));
    }

    /// A reason as it may be shown.
    fn shown(&self, reason: &str) -> String {
        crate::observe::logging::redacted(&harmless(reason, REASON_OCTETS_MAX), self.state().redact)
    }

    fn ended(&self, post: &Post, notices: u64, outcome: &Result<(), String>) {
        self.count(post, if outcome.is_ok() { 0 } else { 1 }, notices);
        self.state().last.insert(post.key.clone(), (Timestamp::now(), outcome.clone()));
    }

    fn count(&self, post: &Post, result: usize, notices: u64) {
        if let Some(row) = Way::WORDS.iter().position(|word| *word == post.channel.way.word()) {
            self.figures[row][result].fetch_add(notices, Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells people of trouble, for the rest of the process's life.
pub async fn run(notices: Arc<Notices>, board: Arc<Board>, ledger: Arc<dyn Ledger>, state_dir: PathBuf) {
    let (sender, ended) = mpsc::channel(64);
    let folder = state_dir.clone();
    let kept = match tokio::task::spawn_blocking(move || Kept::read(&folder)).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            let file = state_dir.join(kept::FILE);
            tracing::warn!(event = "notices_unreadable", file = %file.display(), reason = %error, next = "what lasts is told once more");
            Kept::default()
        }
        Err(_) => Kept::default(),
    };
    notices.state().kept = kept;
    let watcher = Watcher {
        notices,
        ledger,
        state_dir,
        host: net::hostname(),
        sender,
        running: Vec::new(),
        for_all: Vec::new(),
        own: BTreeMap::new(),
        told: BTreeMap::new(),
        told_all: Vec::new(),
        pending: BTreeSet::new(),
        since: BTreeMap::new(),
        held: None,
        held_at: None,
        held_seen: 0,
        certificates: BTreeMap::new(),
        is_unkept: false,
    };
    watcher.run(board, ended).await;
}

struct Watcher {
    notices: Arc<Notices>,
    ledger: Arc<dyn Ledger>,
    state_dir: PathBuf,
    host: String,
    sender: mpsc::Sender<Ended>,
    running: Vec<(Arc<Post>, AbortOnDrop)>,
    /// The channels of all collectors that have none of their own, which come first in `running`.
    for_all: Vec<Arc<Channel>>,
    /// The collectors that have their own.
    own: BTreeMap<CollectorId, Vec<Arc<Channel>>>,
    /// Who tells of these, and who of all others.
    told: BTreeMap<CollectorId, Vec<Arc<Post>>>,
    told_all: Vec<Arc<Post>>,
    /// What stands in a queue, or is on its way.
    pending: BTreeSet<About>,
    /// Since when each collector is watched.
    since: BTreeMap<CollectorId, Timestamp>,
    held: Option<BTreeMap<CollectorId, Vec<HeldTotal>>>,
    held_at: Option<Instant>,
    /// Messages that sessions had put into the store when it was counted.
    held_seen: u64,
    /// When the log was last told that a certificate ends.
    certificates: BTreeMap<CollectorId, Instant>,
    /// The file could not be written: said once.
    is_unkept: bool,
}

/// A channel that is gone tells nothing more.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watcher {
    async fn run(mut self, board: Arc<Board>, mut ended: mpsc::Receiver<Ended>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let notices = Arc::clone(&self.notices);
        loop {
            let before = self.notices.state().kept.clone();
            tokio::select! {
                Some(ended) = ended.recv() => self.ended(ended),
                _ = ticks.tick() => {
                    self.tick(&board.shown()).await;
                    notices.have_looked();
                }
                () = notices.asked.notified() => {
                    self.channels(&board.shown());
                    notices.have_looked();
                }
            }
            if self.notices.state().kept != before {
                self.keep().await;
            }
        }
    }

    async fn tick(&mut self, shown: &Shown) {
        if shown.stopping {
            return;
        }
        let now = Timestamp::now();
        self.channels(shown);
        self.since.retain(|id, _| shown.collectors.contains_key(id));
        self.certificates(shown, now);
        if self.running.is_empty() {
            return;
        }
        self.count_held(shown).await;
        for (id, listed) in &shown.collectors {
            let since = *self.since.entry(id.clone()).or_insert(now);
            if listed.collector.enabled && shown.enabled {
                self.look(id, listed, since, now);
            }
        }
        self.tidy(shown);
    }

    /// The channels of the configuration that is in force: those that stay go on with what they have to tell.
    fn channels(&mut self, shown: &Shown) {
        let own = shown.collectors.iter().filter_map(|(id, listed)| Some((id.clone(), listed.collector.notify.clone()?))).collect();
        let is_same = self.for_all == shown.notify && self.own == own;
        if !is_same {
            (self.for_all, self.own) = (shown.notify.clone(), own);
            let mut wanted = self.for_all.clone();
            for channel in self.own.values().flatten() {
                if !wanted.contains(channel) {
                    wanted.push(Arc::clone(channel));
                }
            }
            let mut before = std::mem::take(&mut self.running);
            let mut stays = Vec::new();
            for channel in &wanted {
                let running = match before.iter().position(|(post, _)| post.channel == *channel) {
                    Some(at) => {
                        stays.push(Arc::clone(&before[at].0));
                        before.swap_remove(at)
                    }
                    None => {
                        let post = Arc::new(Post::new(Arc::clone(channel), &self.host));
                        let (task, sender) = (Arc::clone(&post), self.sender.clone());
                        (post, AbortOnDrop(tokio::spawn(async move { task.run(sender).await })))
                    }
                };
                self.running.push(running);
            }
            let posts = |channels: &[Arc<Channel>]| {
                let running = self.running.iter().filter(|(post, _)| channels.contains(&post.channel));
                running.map(|(post, _)| Arc::clone(post)).collect::<Vec<_>>()
            };
            self.told = self.own.iter().map(|(id, channels)| (id.clone(), posts(channels))).collect();
            self.told_all = posts(&self.for_all);
            // What stood in the queues of those that are gone is told by nobody now; another with the same place may have it in its own.
            let gone: BTreeSet<&str> = before.iter().map(|(post, _)| post.key.as_str()).collect();
            let (told, told_all) = (&self.told, &self.told_all);
            let stays = |post: &Arc<Post>| stays.iter().any(|stays| Arc::ptr_eq(stays, post));
            let has_it = |key: &str, id: &CollectorId| told.get(id).unwrap_or(told_all).iter().any(|post| post.key == key && stays(post));
            self.pending.retain(|(key, id, _)| !gone.contains(key.as_str()) || has_it(key, id));
        }
        let mut state = self.notices.state();
        state.redact = shown.redact;
        if !is_same {
            state.posts = self.running.iter().map(|(post, _)| Arc::clone(post)).collect();
            let whose = |channel: &Arc<Channel>| {
                let ids = self.own.iter().filter(|(_, channels)| channels.contains(channel)).map(|(id, _)| id.clone());
                (!self.for_all.contains(channel)).then(|| ids.collect::<Vec<_>>())
            };
            state.for_whom = self.running.iter().map(|(post, _)| whose(&post.channel)).collect();
            let State { posts, last, .. } = &mut *state;
            last.retain(|key, _| posts.iter().any(|post| post.key == *key));
        }
    }

    /// Those who are told of a collector.
    fn of(&self, id: &CollectorId) -> Vec<Arc<Post>> {
        self.told.get(id).unwrap_or(&self.told_all).clone()
    }

    /// Those who are told in the place of one who could not be: who else is told of the collector, and who is told of all. Never those who are told of
    /// others alone.
    fn others(&self, id: &CollectorId, key: &str) -> Vec<Arc<Post>> {
        let mut others = self.told_all.clone();
        let own = self.told.get(id).map(Vec::as_slice).unwrap_or_default();
        others.extend(own.iter().filter(|post| !self.told_all.iter().any(|other| Arc::ptr_eq(other, post))).cloned());
        others.retain(|post| post.key != key);
        others
    }

    async fn count_held(&mut self, shown: &Shown) {
        let seen = shown.collectors.values().map(|listed| listed.status.snapshot().totals.held).sum();
        let is_fresh = self.held_at.is_some_and(|at| at.elapsed() < HELD_EVERY);
        if is_fresh && seen == self.held_seen {
            return;
        }
        (self.held_at, self.held_seen) = (Some(Instant::now()), seen);
        // While the ledger does not answer, what was known stands.
        if let Ok(totals) = self.ledger.held_totals().await {
            let mut held: BTreeMap<CollectorId, Vec<HeldTotal>> = BTreeMap::new();
            totals.into_iter().for_each(|total| held.entry(total.collector.clone()).or_default().push(total));
            self.held = Some(held);
        }
    }

    /// Looks at one collector, for each channel.
    fn look(&mut self, id: &CollectorId, listed: &Listed, since: Timestamp, now: Timestamp) {
        let found = listed.status.snapshot();
        let held = self.held.as_ref().map(|held| held.get(id).map(Vec::as_slice).unwrap_or_default());
        let seen = Seen {
            collector: &listed.collector,
            found: &found,
            held,
            certificate: listed.counters.certificate_until(),
            token: listed.counters.token_figures(),
            since,
        };
        for post in self.of(id) {
            for event in &post.channel.events {
                let about = (post.key.clone(), id.clone(), *event);
                let is_pending = self.pending.contains(&about);
                let told = self.notices.state().kept.0.get(&about).cloned();
                let finding = judge(&post.channel, *event, &seen, now);
                let stage = match (&finding, &told) {
                    (Finding::Unknown, _) | (Finding::Fine, None) if !is_pending => continue,
                    (Finding::Fine, None) => {
                        // Over before anybody was told.
                        if post.cancel(&about) {
                            self.pending.remove(&about);
                        }
                        continue;
                    }
                    _ if is_pending => continue,
                    (Finding::Open { .. }, None) => Stage::Raised,
                    (Finding::Open { .. }, Some(told)) => {
                        let wait = if told.is_told { post.channel.repeat } else { post.channel.repeat.min(AGAIN) };
                        if now.duration_since(told.at).as_millis() < wait.as_millis() as i128 {
                            continue;
                        }
                        if told.is_told { Stage::Repeated } else { Stage::Raised }
                    }
                    (Finding::Fine, Some(_)) => Stage::Recovered,
                    (Finding::Unknown, _) => continue,
                };
                let notice = notice_of(stage, &about, listed, finding, told.as_ref(), now).made_harmless(self.notices.state().redact);
                if post.put((Some(about.clone()), notice)) {
                    self.pending.insert(about);
                } else {
                    tracing::warn!(event = "notice_dropped", channel = %post.name, collector = %id, reason = "too many notices wait for this channel");
                    self.notices.count(&post, 2, 1);
                    let since = told.map_or(now, |told| told.since);
                    self.notices.state().kept.0.insert(about, Told { since, at: now, is_told: false });
                }
            }
        }
    }

    /// A channel has told its notices, or given up.
    fn ended(&mut self, Ended { key, notices, outcome }: Ended) {
        for (about, _) in &notices {
            if let Some(about) = about {
                self.pending.remove(about);
            }
        }
        // The channel may be gone meanwhile.
        let Some((post, _)) = self.running.iter().find(|(post, _)| post.key == key) else { return };
        let outcome = outcome.map_err(|reason| self.notices.shown(&reason));
        let count = notices.len();
        self.notices.ended(post, count as u64, &outcome);
        match &outcome {
            Ok(()) => tracing::info!(event = "notice_sent", channel = %post.name, notices = count),
            Err(reason) => {
                let id = notices.iter().find_map(|(about, _)| about.as_ref()).map(|(_, id, _)| id);
                let others = id.map_or(0, |id| self.others(id, &key).len());
                let next = if others > 0 { "the other channels tell it" } else { "nobody else is told; tried again later, while it lasts" };
                tracing::error!(event = "notice_failed", channel = %post.name, notices = count, reason, next);
            }
        }
        for (about, notice) in notices {
            let Some(about) = about else { continue };
            let (id, stage) = (about.1.clone(), notice.stage);
            let mut state = self.notices.state();
            let was_told = state.kept.0.get(&about).is_none_or(|told| told.is_told);
            match stage {
                Stage::Recovered => drop(state.kept.0.remove(&about)),
                _ => drop(state.kept.0.insert(about, Told { since: notice.since, at: notice.at, is_told: outcome.is_ok() })),
            }
            drop(state);
            // Those who heard of the trouble in this one's place hear of its end too.
            if outcome.is_err() || (stage == Stage::Recovered && !was_told) {
                let instead = Notice { instead_of: Some(post.name.clone()), ..notice };
                for other in self.others(&id, &key) {
                    if !other.put((None, instead.clone())) {
                        self.notices.count(&other, 2, 1);
                    }
                }
            }
        }
    }

    /// Forgets what nobody waits for: of channels and collectors that are gone or off.
    fn tidy(&self, shown: &Shown) {
        let is_on = |id: &CollectorId| shown.enabled && shown.collectors.get(id).is_some_and(|listed| listed.collector.enabled);
        let is_wanted =
            |key: &str, id: &CollectorId, event: &NoticeEvent| self.of(id).iter().any(|post| post.key == key && post.channel.events.contains(event));
        let kept: Vec<About> = self.notices.state().kept.0.keys().cloned().collect();
        for about in kept.into_iter().filter(|(key, id, event)| !(is_on(id) && is_wanted(key, id, event))) {
            self.notices.state().kept.0.remove(&about);
        }
    }

    /// The log is told once a day of a certificate that ends, whoever else is.
    fn certificates(&mut self, shown: &Shown, now: Timestamp) {
        for (id, listed) in &shown.collectors {
            let Some(until) = listed.counters.certificate_until().and_then(|until| Timestamp::from_second(until).ok()) else { continue };
            let left = until.duration_since(now).as_secs();
            if left > judge::CERTIFICATE_LEFT.as_secs() as i64 {
                self.certificates.remove(id);
                continue;
            }
            if self.certificates.get(id).is_some_and(|at| at.elapsed() < CERTIFICATE_EVERY) {
                continue;
            }
            self.certificates.insert(id.clone(), Instant::now());
            let server = &listed.collector.server.host;
            tracing::warn!(event = "certificate_expiring", collector = %id, server, until = stamp(until), days = left.div_euclid(86_400));
        }
    }

    /// Writes what was told. Where that cannot be done, a restart tells it once more.
    async fn keep(&mut self) {
        let (kept, folder) = (self.notices.state().kept.clone(), self.state_dir.clone());
        let written = tokio::task::spawn_blocking(move || kept.write(&folder)).await;
        let failed = written.ok().and_then(Result::err);
        if let (Some(error), false) = (&failed, self.is_unkept) {
            tracing::warn!(
                event = "notices_not_kept",
                reason = crate::disk::told(&self.state_dir, error),
                next = "after a restart what lasts is told once more"
            );
        }
        self.is_unkept = failed.is_some();
    }
}

fn notice_of(stage: Stage, (_, id, event): &About, listed: &Listed, finding: Finding, told: Option<&Told>, now: Timestamp) -> Notice {
    let server = &listed.collector.server;
    let (code, message, hint, since) = match finding {
        Finding::Open { code, message, hint, since } => (code, message, hint, told.map_or(since, |told| told.since)),
        Finding::Fine | Finding::Unknown => (0, "it is over".to_owned(), String::new(), told.map_or(now, |told| told.since)),
    };
    Notice {
        stage,
        event: Some(*event),
        collector: Some(id.clone()),
        server: format!("{}:{}", server.host, server.port),
        code,
        message,
        hint,
        since,
        at: now,
        instead_of: None,
    }
}
