//! IDLE (RFC 2177): a connection for each folder on which the server tells of new mail, beside the one that a pass uses. What it tells wakes the
//! collector; the interval's poll stays as its guard, and finds out a server that says nothing.

use super::limits::Limits;
use super::stop::Stop;
use crate::mail::{CollectorId, FolderName};
use crate::observe::maillog;
use crate::source::{Source, SourceError, Woken};
use futures_util::FutureExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;

/// After a connection was lost the next one is made after this time, and twice as long after each further loss.
const AGAIN_FIRST: Duration = Duration::from_secs(15);
const AGAIN_MAX: Duration = Duration::from_secs(30 * 60);
/// A connection that held so long was no failure.
const SOUND: Duration = Duration::from_secs(10 * 60);
/// With `idle: auto` a server that has let so much new mail go unsaid is not asked any more.
const MISSED_MAX: u64 = 3;
/// The longest that one call waits; the source re-issues IDLE by itself.
const ONE_WAIT: Duration = Duration::from_secs(24 * 3600);
/// What is told within this time wakes the collector once: a mailing list's letter comes as ten.
const GATHERED: Duration = Duration::from_millis(200);

/// What the watched folders of one collector told.
#[derive(Default)]
pub struct Idle {
    wake: Notify,
    told: AtomicBool,
    connected: AtomicUsize,
    missed: AtomicU64,
    off: AtomicBool,
}

impl Idle {
    /// Resolves when a server told of something.
    pub async fn told(&self) {
        self.wake.notified().await;
        tokio::time::sleep(GATHERED).await;
    }

    /// A pass begins: what is told from now on is new.
    pub fn pass_begins(&self) -> bool {
        self.told.swap(false, Relaxed)
    }

    /// A pass that nobody asked for found new mail. If the server was connected and had said nothing, that was missed; with `auto` one that
    /// goes on like that is left to the interval.
    pub fn found_by_interval(&self, collector: &CollectorId, was_told: bool, auto: bool) {
        if was_told || self.told.load(Relaxed) || self.connected.load(Relaxed) == 0 || self.off.load(Relaxed) {
            return;
        }
        let missed = self.missed.fetch_add(1, Relaxed) + 1;
        let off = auto && missed >= MISSED_MAX;
        maillog::idle_missed(collector, missed, off);
        if off {
            self.off.store(true, Relaxed);
            self.wake.notify_waiters();
        }
    }

    /// Watches one folder until the stop.
    pub async fn watch(&self, collector: &CollectorId, source: &dyn Source, folder: &FolderName, limits: &Limits, stop: &Stop) {
        let mut losses = 0;
        while !stop.is_requested() && !self.off.load(Relaxed) {
            let began = tokio::time::Instant::now();
            let error = match self.connection(collector, source, folder, limits, stop).await {
                Ended::Over => return,
                Ended::Lost(error) => error,
            };
            losses = if began.elapsed() > SOUND { 1 } else { losses + 1 };
            let wait = AGAIN_FIRST.saturating_mul(1 << (losses - 1).min(16)).min(AGAIN_MAX);
            // Waits of many collectors to one server should not end together.
            let wait = wait + wait.mul_f64(fastrand::f64() * 0.2);
            maillog::idle_dropped(collector, folder, &error.to_string(), wait);
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(wait) => {}
            }
            // What came in the meantime was told to nobody.
            self.tell();
        }
    }

    async fn connection(&self, collector: &CollectorId, source: &dyn Source, folder: &FolderName, limits: &Limits, stop: &Stop) -> Ended {
        let _permit = tokio::select! {
            biased;
            () = stop.requested() => return Ended::Over,
            permit = limits.idle_permit() => permit,
        };
        let opening = async {
            let mut session = source.open().await?;
            session.select(folder).await?;
            Ok(session)
        };
        let opened = tokio::select! {
            biased;
            () = stop.requested() => return Ended::Over,
            opened = opening => opened,
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(error) => return Ended::Lost(error),
        };
        if !session.can_idle() {
            maillog::idle_not_offered(collector);
            let _ = session.close().await;
            return Ended::Over;
        }
        let _connected = Connected::new(&self.connected);
        loop {
            match session.idle(ONE_WAIT, stop.requested().boxed()).await {
                Ok(Woken::Told) => {
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
            if self.off.load(Relaxed) {
                let _ = session.close().await;
                return Ended::Over;
            }
        }
    }

    fn tell(&self) {
        self.told.store(true, Relaxed);
        self.wake.notify_one();
    }
}

enum Ended {
    /// Nothing is to be watched any more.
    Over,
    /// The connection.
    Lost(SourceError),
}

/// Counts a connection as long as it lives.
struct Connected<'a>(&'a AtomicUsize);

impl<'a> Connected<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Connected(count)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
