//! IDLE (RFC 2177): a connection for each folder on which the server tells of new mail, beside the one that a pass uses. What it tells wakes the
//! collector; the interval's poll stays as its guard, and finds out a server that says nothing.

use super::limits::Limits;
use super::schedule::{self, Ended as PassEnded};
use super::stop::Stop;
use crate::config;
use crate::mail::{CollectorId, FolderName};
use crate::observe::maillog;
use crate::source::{Retry, Selected, Source, SourceError, Woken};
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

/// Folders of one collector that are watched; the interval finds what comes into the others. Providers allow 10 to 15 connections to a mailbox, and
/// passes and people need some.
pub const FOLDERS_MAX: usize = 8;
/// After a connection was lost the next one is made after this time, and twice as long after each further loss.
const AGAIN_FIRST: Duration = Duration::from_secs(15);
/// A connection that held so long was no failure: providers close them after 5 to 30 minutes.
const SOUND: Duration = Duration::from_secs(2 * 60);
/// With `idle: auto` a server that has let so much new mail go unsaid, and told of nothing meanwhile, is not asked any more.
const MISSED_MAX: u64 = 3;
/// The longest that one call waits; the source re-issues IDLE by itself.
const ONE_WAIT: Duration = Duration::from_secs(24 * 3600);
/// What is told within this time wakes the collector once: a mailing list's letter comes as ten.
const GATHERED: Duration = Duration::from_millis(200);
/// That time is doubled for each pass in a row that found nothing of what it was told of, so often at most: a server must not keep us running.
const IN_VAIN_MAX: u32 = 8;

/// What the watched folders of one collector told.
pub struct Idle {
    wake: Notify,
    told: AtomicBool,
    in_vain: AtomicU32,
    missed: AtomicU64,
    off: Stop,
    /// What the last pass that came to its end saw; nothing is watched before: who cannot log in need not try it twice.
    seen: watch::Sender<Vec<Seen>>,
    watched: Mutex<Watched>,
    /// So many of the folders, the first ones, may be watched: fewer once the server had no place for a pass beside them.
    room: watch::Sender<usize>,
}

impl Default for Idle {
    fn default() -> Self {
        Idle {
            wake: Notify::default(),
            told: AtomicBool::default(),
            in_vain: AtomicU32::default(),
            missed: AtomicU64::default(),
            off: Stop::default(),
            seen: watch::Sender::default(),
            watched: Mutex::default(),
            room: watch::Sender::new(FOLDERS_MAX),
        }
    }
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

/// The folders with a connection that waits for news.
#[derive(Default)]
struct Watched {
    folders: BTreeMap<FolderName, Guard>,
    /// The last pass found mail in a watched folder, of which nothing had been said until it ended.
    is_suspect: bool,
}

/// How far it is known that what comes into a folder comes under the eyes of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// The connection was just made.
    New,
    /// A pass began since.
    Begun,
    /// That pass left no new mail: all that is found from now on has to be told.
    Armed,
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
    /// Resolves when a server told of something.
    pub async fn told(&self) {
        self.wake.notified().await;
        sleep(GATHERED * (1 << self.in_vain.load(Relaxed).min(IN_VAIN_MAX))).await;
    }

    /// A pass begins: what is told from now on is new.
    pub fn pass_begins(&self, collector: &CollectorId, idle: config::Idle) {
        let was_told = self.told.swap(false, Relaxed);
        let mut watched = self.watched();
        // The word may have come just behind the pass.
        if std::mem::take(&mut watched.is_suspect) && !was_told && !self.off.is_requested() {
            let missed = self.missed.fetch_add(1, Relaxed) + 1;
            let off = idle == config::Idle::Auto && missed >= MISSED_MAX;
            maillog::idle_missed(collector, missed, off);
            if off {
                self.off.request();
            }
        }
        for guard in watched.folders.values_mut().filter(|guard| **guard == Guard::New) {
            *guard = Guard::Begun;
        }
        if was_told {
            // Whatever it finds was told of.
            watched.folders.values_mut().filter(|guard| **guard == Guard::Armed).for_each(|guard| *guard = Guard::Begun);
        }
    }

    /// A pass ended.
    pub fn pass_ended(&self, passed: &Passed<'_>) {
        let found = |name: &FolderName| passed.folders.iter().any(|seen| seen.name == *name && seen.found > 0);
        let mut watched = self.watched();
        let missed = watched.folders.iter().any(|(name, guard)| *guard == Guard::Armed && found(name));
        watched.is_suspect = passed.by_interval && missed && !self.told.load(Relaxed);
        for guard in watched.folders.values_mut().filter(|guard| **guard != Guard::New) {
            *guard = if passed.is_whole { Guard::Armed } else { Guard::Begun };
        }
        drop(watched);
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
        let waiting = self.watched().folders.len();
        if waiting == 0 {
            return false;
        }
        // Those that are on their way out make room by themselves.
        self.room.send_if_modified(|room| {
            let lowers = *room >= waiting;
            if lowers {
                *room = waiting - 1;
            }
            lowers
        });
        true
    }

    /// Watches the folders that passes see, until the stop.
    pub async fn watch(&self, collector: &CollectorId, source: &dyn Source, limits: &Limits, stop: &Stop) {
        let mut seen = self.seen.subscribe();
        let mut known = BTreeSet::new();
        let mut watching = FuturesUnordered::new();
        let mut is_over = false;
        loop {
            tokio::select! {
                biased;
                () = self.over(0, stop), if !is_over => is_over = true,
                // `self` keeps the sender, so that there is always a next one.
                _ = seen.changed(), if !is_over => {
                    let now: Vec<FolderName> = seen.borrow_and_update().iter().map(|seen| seen.name.clone()).collect();
                    for name in now {
                        if known.contains(&name) {
                            continue;
                        }
                        if known.len() == FOLDERS_MAX {
                            maillog::idle_folders(collector, FOLDERS_MAX);
                        }
                        known.insert(name.clone());
                        if known.len() <= FOLDERS_MAX {
                            watching.push(self.watch_folder(collector, source, name, known.len(), limits, stop));
                        }
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
            () = self.off.requested() => {}
            // `self` keeps the sender, so that the wait ends by the number only.
            _ = room.wait_for(|room| *room < number) => {}
        }
    }

    async fn watch_folder(&self, collector: &CollectorId, source: &dyn Source, folder: FolderName, number: usize, limits: &Limits, stop: &Stop) {
        self.watch_on(collector, source, &folder, number, limits, stop).await;
        if *self.room.borrow() < number && !stop.is_requested() && !self.off.is_requested() {
            maillog::idle_given_up(collector, &folder);
        }
    }

    async fn watch_on(&self, collector: &CollectorId, source: &dyn Source, folder: &FolderName, number: usize, limits: &Limits, stop: &Stop) {
        let mut losses = 0;
        loop {
            let mut seen = self.seen.subscribe();
            let began = Instant::now();
            let error = match self.connection(collector, source, folder, number, limits, stop).await {
                Ended::Over => return,
                Ended::Lost(error) => error,
            };
            losses = if began.elapsed() > SOUND { 1 } else { losses + 1 };
            let retry = error.retry();
            let wait = schedule::wait(AGAIN_FIRST, PassEnded::Failed { failures: losses, retry }, fastrand::f64());
            maillog::idle_dropped(collector, folder, &error.to_string(), wait);
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

    async fn connection(
        &self,
        collector: &CollectorId,
        source: &dyn Source,
        folder: &FolderName,
        number: usize,
        limits: &Limits,
        stop: &Stop,
    ) -> Ended {
        let permit = async {
            match limits.idle_permit_now() {
                Some(permit) => Some(permit),
                None => {
                    maillog::idle_waits(collector, folder);
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
            let mut session = source.open().await?;
            let selected = session.select(folder).await?;
            Ok((session, selected))
        };
        let opened = tokio::select! {
            biased;
            () = self.over(number, stop) => return Ended::Over,
            opened = opening => opened,
        };
        let (mut session, selected) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ended::Lost(error),
        };
        if !session.can_idle() {
            maillog::idle_not_offered(collector);
            let _ = session.close().await;
            return Ended::Over;
        }
        let _connected = Connected::new(self, folder);
        if self.is_news(folder, &selected) {
            self.tell();
        }
        maillog::idle_started(collector, folder);
        loop {
            match session.idle(ONE_WAIT, self.over(number, stop).boxed()).await {
                Ok(Woken::Told) => {
                    self.missed.store(0, Relaxed);
                    self.tell();
                    // What is there by now is no news any more.
                    if let Err(error) = session.select(folder).await {
                        session.abandon().await;
                        return Ended::Lost(error);
                    }
                }
                Ok(Woken::Limit) => {}
                Ok(Woken::Stopped) => {
                    let _ = session.close().await;
                    return Ended::Over;
                }
                Err(error) => {
                    session.abandon().await;
                    return Ended::Lost(error);
                }
            }
        }
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

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
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
}

impl<'a> Connected<'a> {
    fn new(idle: &'a Idle, folder: &'a FolderName) -> Self {
        idle.watched().folders.insert(folder.clone(), Guard::New);
        Connected { idle, folder }
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.idle.watched().folders.remove(self.folder);
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

    struct Story {
        idle: Idle,
        id: CollectorId,
    }

    impl Story {
        fn pass(&self, found: u64, is_whole: bool, by_interval: bool) {
            self.idle.pass_begins(&self.id, config::Idle::Auto);
            self.idle.pass_ended(&Passed { folders: &seen(found), is_whole, by_interval, by_word: !by_interval });
        }

        fn missed(&self) -> u64 {
            self.idle.pass_begins(&self.id, config::Idle::Auto);
            self.idle.missed.load(Relaxed)
        }
    }

    fn story() -> Story {
        Story { idle: Idle::default(), id: CollectorId::new("c").unwrap() }
    }

    #[test]
    fn what_the_interval_finds_without_a_word_was_missed() {
        let (story, inbox) = (story(), FolderName::inbox());
        let connected = Connected::new(&story.idle, &inbox);
        story.pass(0, true, true);
        for n in 1..=MISSED_MAX {
            assert!(!story.idle.off.is_requested());
            story.pass(1, true, true);
            assert_eq!(story.missed(), n);
        }
        assert!(story.idle.off.is_requested());
        drop(connected);
        story.pass(1, true, true);
        assert_eq!(story.missed(), MISSED_MAX, "nobody was to tell of it");
    }

    #[test]
    fn what_was_there_before_the_connection_was_not_missed() {
        let (story, inbox) = (story(), FolderName::inbox());
        story.pass(0, true, true);
        let _connected = Connected::new(&story.idle, &inbox);
        story.pass(5, true, true);
        assert_eq!(story.missed(), 0);
        // The same in a backlog of several passes.
        let story = super::tests::story();
        let _connected = Connected::new(&story.idle, &inbox);
        for more in [true, true, true, true, false] {
            story.pass(100, !more, true);
        }
        assert_eq!(story.missed(), 0);
    }

    #[test]
    fn what_was_told_in_time_or_just_behind_the_pass_was_not_missed() {
        let (story, inbox) = (story(), FolderName::inbox());
        let _connected = Connected::new(&story.idle, &inbox);
        story.pass(0, true, true);
        story.idle.tell();
        story.pass(1, true, true);
        assert_eq!(story.missed(), 0);
        story.pass(0, true, true);
        story.pass(1, true, true);
        story.idle.tell();
        assert_eq!(story.missed(), 0);
        // Asked for by an operator, or mail in another folder.
        story.pass(0, true, true);
        story.pass(1, true, false);
        assert_eq!(story.missed(), 0);
        let other = FolderName::new("Other");
        let elsewhere = super::tests::story();
        let _connected = Connected::new(&elsewhere.idle, &other);
        elsewhere.pass(0, true, true);
        elsewhere.pass(1, true, true);
        assert_eq!(elsewhere.missed(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cries_wolf_is_listened_to_less_and_less() {
        let story = story();
        let mut waits = Vec::new();
        for _ in 0..12 {
            story.idle.tell();
            let start = Instant::now();
            story.idle.told().await;
            waits.push(start.elapsed().as_millis());
            story.pass(0, true, false);
        }
        assert!(waits.is_sorted() && waits[0] < 250 && (50_000..52_000).contains(&waits[11]), "{waits:?}");
        story.pass(1, true, false);
        story.idle.tell();
        let start = Instant::now();
        story.idle.told().await;
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_folder_that_is_as_a_pass_saw_it_is_no_news() {
        let (story, inbox) = (story(), FolderName::inbox());
        let now = |uid_next| Selected { uid_next, ..seen(0)[0].selected.clone() };
        assert!(story.idle.is_news(&inbox, &now(Some(7))), "nobody has seen it");
        story.pass(0, true, true);
        assert!(!story.idle.is_news(&inbox, &now(Some(7))));
        assert!(story.idle.is_news(&inbox, &now(Some(8))) && story.idle.is_news(&inbox, &now(None)));
    }
}
