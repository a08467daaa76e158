//! IDLE (RFC 2177): a connection for each folder on which the server tells of new mail, beside the one that a pass uses. What it tells wakes the
//! collector; the interval's poll stays as its guard, and finds out a server that says nothing.

mod guard;
mod servers;

pub use servers::{IdleServer, IdleServers};

use super::limits::Limits;
use super::schedule::{self, Ended as PassEnded};
use super::stop::Stop;
use crate::config;
use crate::mail::{CollectorId, FolderName};
use crate::observe::Counters;
use crate::observe::maillog::{self, IdleLeft};
use crate::source::{Retry, Selected, Source, SourceError, Woken};
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use guard::Guard;
use servers::Sentence;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

/// Folders of one collector that are watched with `idle: auto`; the interval finds what comes into the others. Providers allow 10 to 15 connections to a
/// mailbox, and passes and people need some.
pub const FOLDERS_AUTO: usize = 8;
/// The same with `idle: on`: whoever says so wants each folder watched, as far as the server lets.
pub const FOLDERS_ON: usize = 64;
/// When the server has no place for one more that waits, so many of those that do are let go: one place is for the passes, the others for people.
const PLACES_LEFT: usize = 3;
/// After a connection was lost the next one is made after this time, and twice as long after each further loss.
const AGAIN_FIRST: Duration = Duration::from_secs(15);
/// A connection that held so long was no failure: providers close them after 5 to 30 minutes.
const SOUND: Duration = Duration::from_secs(2 * 60);
/// A server that has let so much new mail of a collector go unsaid, and told it of nothing meanwhile, is not asked any more (`idle: auto`).
const MISSED_MAX: u64 = 3;
/// The longest that one call waits; the source re-issues IDLE by itself.
const ONE_WAIT: Duration = Duration::from_secs(24 * 3600);
/// How long an IDLE that is to end may take for it; a reload waits for that.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// What is told within this time wakes the collector once: a mailing list's letter comes as ten.
const GATHERED: Duration = Duration::from_millis(200);
/// That time is doubled for each pass in a row that found nothing of what it was told of, so often at most: a server must not keep us running.
const IN_VAIN_MAX: u32 = 8;

/// What the watched folders of one collector told.
pub struct Idle {
    collector: CollectorId,
    /// `idle: auto`: a server that misses mail is left to the interval.
    is_auto: bool,
    counters: Arc<Counters>,
    server: Arc<IdleServer>,
    wake: Notify,
    told: AtomicBool,
    in_vain: AtomicU32,
    /// Since its last word to this collector.
    missed: AtomicU64,
    /// Connections were asked whether they live: the first one that does proves that the server missed mail.
    is_asked: AtomicBool,
    /// What the last pass that came to its end saw; nothing is watched before: who cannot log in need not try it twice.
    seen: watch::Sender<Vec<Seen>>,
    guard: Mutex<Guard>,
    /// So many of the folders, the first ones, may be watched: fewer once the server had no place for more.
    room: watch::Sender<usize>,
    /// One connection is made after the other, so that the first one for which there is no place is known.
    opening: tokio::sync::Mutex<()>,
}

/// A folder as a pass saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: FolderName,
    /// As it was when it was opened.
    pub selected: Selected,
    /// New messages that were listed.
    pub found: u64,
}

/// A pass, for what it tells about the server's word.
pub struct Passed<'a> {
    /// The folders that it looked at.
    pub folders: &'a [Seen],
    /// It came to its end and left no new mail.
    pub is_whole: bool,
    /// Nobody asked for it: it began by the interval.
    pub by_interval: bool,
    /// It began because a server told of something.
    pub by_word: bool,
}

impl Idle {
    /// Nothing was told yet. `server` is what the collectors of the same server share.
    pub fn new(collector: &CollectorId, idle: config::Idle, counters: Arc<Counters>, server: Arc<IdleServer>) -> Self {
        let is_auto = idle == config::Idle::Auto;
        Idle {
            collector: collector.clone(),
            is_auto,
            counters,
            server,
            wake: Notify::default(),
            told: AtomicBool::default(),
            in_vain: AtomicU32::default(),
            missed: AtomicU64::default(),
            is_asked: AtomicBool::default(),
            seen: watch::Sender::default(),
            guard: Mutex::default(),
            room: watch::Sender::new(if is_auto { FOLDERS_AUTO } else { FOLDERS_ON }),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// Resolves when a server told of something.
    pub async fn told(&self) {
        self.wake.notified().await;
        sleep(GATHERED * (1 << self.in_vain.load(Relaxed).min(IN_VAIN_MAX))).await;
    }

    /// A pass begins: what is told from now on is new.
    pub fn pass_begins(&self) {
        let was_told = self.told.swap(false, Relaxed);
        self.guard().pass_begins(was_told);
    }

    /// A pass ended.
    pub fn pass_ended(&self, passed: &Passed<'_>) {
        let asked = self.guard().pass_ended(passed, &self.seen.borrow(), self.told.load(Relaxed));
        if !asked.is_empty() {
            self.is_asked.store(true, Relaxed);
        }
        asked.iter().for_each(|ask| ask.notify_one());
        if passed.folders.iter().any(|seen| seen.found > 0) {
            self.in_vain.store(0, Relaxed);
        } else if passed.by_word {
            self.in_vain.fetch_add(1, Relaxed);
        }
        if passed.is_whole {
            self.seen.send_replace(passed.folders.to_vec());
        }
    }

    /// The server refused a pass because there are too many connections: one less waits from now on. False if none does, so that it is not our fault.
    pub fn make_room(&self) -> bool {
        self.let_go(1, 0)
    }

    /// So many fewer wait from now on, but `least` may in any case; false if none waits.
    fn let_go(&self, places: usize, least: usize) -> bool {
        let waiting = self.guard().len();
        let left = waiting.saturating_sub(places).max(least);
        let lowered = self.room.send_if_modified(|room| {
            // Those that are on their way out make room by themselves.
            let lowers = waiting > 0 && *room >= waiting && left < *room;
            if lowers {
                *room = left;
            }
            lowers
        });
        if lowered {
            maillog::idle_room(&self.collector, left);
        }
        waiting > 0
    }

    /// Watches the folders that passes see, until the stop.
    pub async fn watch(&self, source: &dyn Source, limits: &Limits, stop: &Stop) {
        loop {
            self.watch_folders(source, limits, stop).await;
            if stop.is_requested() {
                return;
            }
            if self.missed.swap(0, Relaxed) < MISSED_MAX {
                maillog::idle_left(&self.collector);
            }
            tokio::select! {
                () = stop.requested() => return,
                () = self.server.tried_again(&self.collector) => {}
            }
        }
    }

    /// The same until the server is left to the interval.
    async fn watch_folders(&self, source: &dyn Source, limits: &Limits, stop: &Stop) {
        let most = *self.room.borrow();
        let mut seen = self.seen.subscribe();
        seen.mark_changed();
        let mut known = BTreeSet::new();
        let mut is_said = false;
        let mut watching = FuturesUnordered::new();
        let mut is_over = false;
        loop {
            tokio::select! {
                biased;
                () = self.over(0, stop), if !is_over => is_over = true,
                // `self` keeps the sender, so that there is always a next one.
                _ = seen.changed(), if !is_over => {
                    let mut new: Vec<FolderName> = seen.borrow_and_update().iter().map(|seen| seen.name.clone()).collect();
                    new.retain(|name| !known.contains(name));
                    let others = new.split_off(new.len().min(most - known.len()));
                    for name in new {
                        known.insert(name.clone());
                        watching.push(self.watch_folder(source, name, known.len(), limits, stop));
                    }
                    if !others.is_empty() && !is_said {
                        is_said = true;
                        maillog::idle_folders(&self.collector, known.len(), &others);
                    }
                }
                Some(()) = watching.next(), if !watching.is_empty() => {}
            }
            if is_over && watching.is_empty() {
                return;
            }
        }
    }

    /// Resolves when the `number`th folder is not to be watched any more.
    async fn over(&self, number: usize, stop: &Stop) {
        let mut room = self.room.subscribe();
        tokio::select! {
            () = stop.requested() => {}
            () = self.server.left(&self.collector), if self.is_auto => {}
            // `self` keeps the sender, so that the wait ends by the number only.
            _ = room.wait_for(|room| *room < number) => {}
        }
    }

    /// Resolves when the server had its time to let go of it: nobody waits longer for one that does not answer DONE.
    async fn long_over(&self, number: usize, stop: &Stop) {
        self.over(number, stop).await;
        sleep(LEAVE_PATIENCE).await;
    }

    async fn watch_folder(&self, source: &dyn Source, folder: FolderName, number: usize, limits: &Limits, stop: &Stop) {
        let (mut losses, mut was_sound) = (0, false);
        loop {
            let mut seen = self.seen.subscribe();
            let began = Instant::now();
            let error = match self.connection(source, &folder, number, limits, stop).await {
                Ended::Over => return,
                Ended::Lost(error) => error,
            };
            let is_sound = began.elapsed() > SOUND;
            losses = if is_sound { 1 } else { losses + 1 };
            let retry = error.retry();
            let wait = schedule::wait(AGAIN_FIRST, PassEnded::Failed { failures: losses, retry }, fastrand::f64());
            // A server that cuts each connection in its time is no news each time.
            maillog::idle_dropped(&self.collector, &folder, &error.to_string(), wait, is_sound && was_sound);
            was_sound = is_sound;
            if error.is_about_connections() || (losses > 1 && error.is_closed_unheard()) {
                self.let_go(PLACES_LEFT, 1);
            }
            let again = async {
                sleep(wait).await;
                if retry == Retry::Credentials {
                    // Whether the password is right again, a pass finds out.
                    let _ = seen.changed().await;
                }
            };
            tokio::select! {
                () = self.over(number, stop) => return,
                () = again => {}
            }
        }
    }

    async fn connection(&self, source: &dyn Source, folder: &FolderName, number: usize, limits: &Limits, stop: &Stop) -> Ended {
        let permit = async {
            match limits.idle_permit_now() {
                Some(permit) => Some(permit),
                None => {
                    maillog::idle_waits(&self.collector, folder);
                    limits.idle_permit().await
                }
            }
        };
        let _permit = tokio::select! {
            biased;
            () = self.over(number, stop) => return Ended::Over,
            permit = permit => permit,
        };
        let opening = async {
            let turn = self.opening.lock().await;
            let mut session = source.open().await?;
            let selected = session.select(folder).await?;
            let connected = session.can_idle().then(|| Connected::new(self, folder));
            drop(turn);
            Ok((session, selected, connected))
        };
        let opened = tokio::select! {
            biased;
            () = self.over(number, stop) => return Ended::Over,
            opened = opening => opened,
        };
        let (mut session, selected, connected) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ended::Lost(error),
        };
        let Some(connected) = connected else {
            maillog::idle_not_offered(&self.collector);
            let _ = session.close().await;
            return Ended::Over;
        };
        if self.is_news(folder, &selected) {
            self.tell();
        }
        maillog::idle_started(&self.collector, folder);
        loop {
            let is_over = AtomicBool::new(false);
            let end = async {
                tokio::select! {
                    biased;
                    () = self.over(number, stop) => is_over.store(true, Relaxed),
                    () = connected.ask.notified() => {}
                }
            };
            let woken = tokio::select! {
                biased;
                woken = session.idle(ONE_WAIT, end.boxed()) => woken,
                () = self.long_over(number, stop) => {
                    session.abandon().await;
                    return Ended::Over;
                }
            };
            let error = match woken {
                Ok(Woken::Told) => {
                    self.missed.store(0, Relaxed);
                    self.is_asked.store(false, Relaxed);
                    self.server.has_told();
                    self.tell();
                    // What is there by now is no news any more.
                    session.select(folder).await.err()
                }
                Ok(Woken::Limit) => None,
                Ok(Woken::Stopped) if is_over.load(Relaxed) => {
                    let _ = session.close().await;
                    return Ended::Over;
                }
                // Asked whether it lives, it does: it could have told.
                Ok(Woken::Stopped) => match session.select(folder).await {
                    Ok(now) => {
                        self.proved();
                        if self.is_news(folder, &now) {
                            self.wake.notify_one();
                        }
                        None
                    }
                    Err(error) => Some(error),
                },
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                session.abandon().await;
                return Ended::Lost(error);
            }
        }
    }

    /// A connection on which something should have been told is sound: the server has missed mail.
    fn proved(&self) {
        if !self.is_asked.swap(false, Relaxed) {
            return;
        }
        self.counters.idle_missed();
        let missed = self.missed.fetch_add(1, Relaxed) + 1;
        let sentence = (missed >= MISSED_MAX).then(|| self.server.accuse(&self.collector));
        let left = match sentence.filter(|_| self.is_auto) {
            None => IdleLeft::Nobody,
            Some(Sentence::Collector) => IdleLeft::Collector,
            Some(Sentence::Server) => IdleLeft::Server,
        };
        maillog::idle_missed(&self.collector, missed, left);
    }

    /// What came while nobody watched is told to nobody: the folder has to be as the last pass saw it.
    fn is_news(&self, folder: &FolderName, now: &Selected) -> bool {
        let seen = self.seen.borrow();
        let before = seen.iter().find(|seen| seen.name == *folder).map(|seen| &seen.selected);
        before.is_none_or(|before| before.epoch != now.epoch || now.uid_next.is_none() || before.uid_next != now.uid_next)
    }

    fn tell(&self) {
        self.told.store(true, Relaxed);
        self.wake.notify_one();
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Ended {
    /// Nothing is to be watched any more.
    Over,
    /// The connection.
    Lost(SourceError),
}

/// Notes a connection as long as it lives.
struct Connected<'a> {
    idle: &'a Idle,
    folder: &'a FolderName,
    /// Notified when the connection is to show that it lives.
    ask: Arc<Notify>,
}

impl<'a> Connected<'a> {
    fn new(idle: &'a Idle, folder: &'a FolderName) -> Self {
        idle.counters.idle_begins();
        let ask = idle.guard().add(folder);
        Connected { idle, folder, ask }
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.idle.counters.idle_ended();
        self.idle.guard().remove(self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Epoch;

    /// A folder in which a pass found so much.
    fn seen(found: u64) -> Vec<Seen> {
        vec![Seen { name: FolderName::inbox(), selected: Selected { epoch: Epoch(1), exists: 0, uid_next: Some(7), can_delete: true }, found }]
    }

    fn pass(idle: &Idle, found: u64, by_interval: bool) {
        idle.pass_begins();
        idle.pass_ended(&Passed { folders: &seen(found), is_whole: true, by_interval, by_word: !by_interval });
    }

    fn idle(word: config::Idle) -> Idle {
        let server = IdleServers::default().enter("imap.example.org", 993);
        Idle::new(&CollectorId::new("c").unwrap(), word, Arc::default(), server)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cries_wolf_is_listened_to_less_and_less() {
        let idle = idle(config::Idle::On);
        let mut waits = Vec::new();
        for _ in 0..12 {
            idle.tell();
            let start = Instant::now();
            idle.told().await;
            waits.push(start.elapsed().as_millis());
            pass(&idle, 0, false);
        }
        assert!(waits.is_sorted() && waits[0] < 250 && (50_000..52_000).contains(&waits[11]), "{waits:?}");
        pass(&idle, 1, false);
        idle.tell();
        let start = Instant::now();
        idle.told().await;
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_folder_that_is_as_a_pass_saw_it_is_no_news() {
        let (idle, inbox) = (idle(config::Idle::On), FolderName::inbox());
        let now = |uid_next| Selected { uid_next, ..seen(0)[0].selected.clone() };
        assert!(idle.is_news(&inbox, &now(Some(7))), "nobody has seen it");
        pass(&idle, 0, true);
        assert!(!idle.is_news(&inbox, &now(Some(7))));
        assert!(idle.is_news(&inbox, &now(Some(8))) && idle.is_news(&inbox, &now(None)));
    }

    #[test]
    fn several_folders_of_one_pass_are_one_miss() {
        let idle = idle(config::Idle::Auto);
        for n in 1..=2 {
            idle.is_asked.store(true, Relaxed);
            (0..8).for_each(|_| idle.proved());
            assert_eq!((idle.missed.load(Relaxed), idle.counters.idle().missed), (n, n));
        }
    }

    /// The room that is left with so many folders, when the server has no place for one more that waits, or for a pass.
    #[test]
    fn places_are_left_for_passes_and_people() {
        let names: Vec<FolderName> = (0..12).map(|n| FolderName::new(&n.to_string())).collect();
        for (many, refused_idle, refused_pass) in [(12, 9, 11), (4, 1, 3), (2, 1, 1), (1, 1, 0)] {
            let waiting = |idle: &Idle| names[..many].iter().for_each(|name| drop(idle.guard().add(name)));
            let full = idle(config::Idle::On);
            waiting(&full);
            assert!(full.let_go(PLACES_LEFT, 1));
            assert_eq!(*full.room.borrow(), refused_idle);
            let crowded = idle(config::Idle::On);
            waiting(&crowded);
            assert!(crowded.make_room() && crowded.make_room(), "those that were given up are on their way out");
            assert_eq!(*crowded.room.borrow(), refused_pass);
        }
        assert!(!idle(config::Idle::On).make_room(), "it is not our fault");
    }
}
