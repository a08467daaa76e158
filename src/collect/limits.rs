//! How much happens at once. Permits are taken in one fixed order (the host's, the share for failing collectors, the process's), so that no
//! two passes can wait for each other. The host's comes first: whoever waits for one host's turn holds nothing that others wait for.
//!
//! A pass in which next to nothing happens gives the process's permit to others and counts among the quiet ones from then on: a server that
//! accepts and never answers costs a connection and a little memory, and must not keep a collector from its turn whose server is well.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, interval_at};

/// Collectors whose last session failed share this part of the permits, so that hanging mailboxes starve nobody.
const FAILING_SHARE: usize = 4;
/// So many times `max_sessions` may be quiet, beside those that are at work.
const QUIET_TIMES: usize = 4;
/// How often a pass is looked at, whether it is quiet.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// Fewer events in this time are quiet: also a server that sends an octet now and then.
const EVENTS_FEW: u32 = 4;

/// Permits for passes.
#[derive(Debug)]
pub struct Limits {
    all: Arc<Semaphore>,
    failing: Arc<Semaphore>,
    quiet: Arc<Semaphore>,
    idle: Semaphore,
    per_host: usize,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to run one pass; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    failing: Option<OwnedSemaphorePermit>,
    _host: Option<OwnedSemaphorePermit>,
    /// The process's, or one of the quiet.
    all: Option<OwnedSemaphorePermit>,
    quiet: Arc<Semaphore>,
}

impl Limits {
    /// At most `sessions` passes at once, and `per_host` to one remote host; beside them at most `idle` connections that wait for news.
    pub fn new(sessions: usize, per_host: usize, idle: usize) -> Self {
        Limits {
            all: Arc::new(Semaphore::new(sessions.max(1))),
            failing: Arc::new(Semaphore::new((sessions / FAILING_SHARE).max(1))),
            quiet: Arc::new(Semaphore::new(sessions.max(1).saturating_mul(QUIET_TIMES))),
            idle: Semaphore::new(idle),
            per_host: per_host.max(1),
            hosts: Mutex::default(),
        }
    }

    /// The right to keep a connection that waits for news, if there is one to have now.
    pub fn idle_permit_now(&self) -> Option<SemaphorePermit<'_>> {
        self.idle.try_acquire().ok()
    }

    /// Waits for the right to keep a connection that waits for news.
    pub async fn idle_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.idle.acquire().await.ok()
    }

    /// Waits for a permit to `host`.
    pub async fn permit(&self, host: &str, failing: bool) -> Permit {
        let host = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            // Hosts that nobody waits for or uses are forgotten, so that the map follows the configuration.
            hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            Arc::clone(hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.per_host))))
        };
        // These semaphores are never closed; a permit that is missing all the same only means more at once.
        let host = host.acquire_owned().await.ok();
        let failing = if failing { Arc::clone(&self.failing).acquire_owned().await.ok() } else { None };
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        Permit { failing, _host: host, all, quiet: Arc::clone(&self.quiet) }
    }
}

impl Permit {
    /// Runs a pass with this permit.
    pub async fn run<T>(mut self, pass: impl Future<Output = T>) -> T {
        let events = AtomicU32::new(0);
        let mut pass = pin!(pass);
        let mut pass = pin!(poll_fn(|context| {
            events.fetch_add(1, Relaxed);
            pass.as_mut().poll(context)
        }));
        let mut looks = interval_at(Instant::now() + LOOKED_AT_EVERY, LOOKED_AT_EVERY);
        loop {
            tokio::select! {
                // In this order a look is no event of the pass, but for the one right behind it.
                biased;
                _ = looks.tick() => {}
                done = &mut pass => return done,
            }
            if events.swap(0, Relaxed) <= EVENTS_FEW && self.step_aside() {
                return pass.await;
            }
        }
    }

    /// Gives the process's permit back for one of the quiet; false if there is none. The share of those that fail too: a collector that failed
    /// once must not wait for its next turn behind all that hang.
    fn step_aside(&mut self) -> bool {
        match Arc::clone(&self.quiet).try_acquire_owned() {
            Ok(quiet) => self.all = Some(quiet),
            Err(TryAcquireError::NoPermits) => return false,
            Err(TryAcquireError::Closed) => self.all = None,
        }
        self.failing = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn failing_collectors_leave_room() {
        let limits = Limits::new(8, 8, 8);
        let held = [limits.permit("bad", true).await, limits.permit("bad", true).await];
        assert!(limits.permit("bad", true).now_or_never().is_none(), "a third failing one has to wait");
        assert!(limits.permit("good", false).now_or_never().is_some());
        drop(held);
        assert!(limits.permit("bad", true).now_or_never().is_some());
    }

    /// Two permits, both taken by a server that is silent or drips; a third pass gets its turn. One that is busy keeps its permit.
    #[tokio::test(start_paused = true)]
    async fn who_is_quiet_steps_aside() {
        for (pause, is_quiet) in [(Duration::from_secs(30), true), (Duration::from_secs(1), true), (Duration::from_millis(100), false)] {
            let limits = Limits::new(2, 8, 8);
            let work = || async {
                for _ in 0..1000 {
                    tokio::time::sleep(pause).await;
                }
            };
            let (first, second) = (limits.permit("a", false).await, limits.permit("b", false).await);
            let waiting = async {
                tokio::select! {
                    () = first.run(work()) => {}
                    () = second.run(work()) => {}
                    _permit = limits.permit("c", false) => {}
                }
            };
            assert_eq!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), is_quiet, "{pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_failed_once_does_not_wait_behind_all_that_hang() {
        // As many hang at one host as share the permits of those that fail, and more; it takes one at a time.
        let limits = Limits::new(8, 1, 8);
        let hanging = async || limits.permit("hangs", true).await.run(std::future::pending::<()>()).await;
        let waiting = async {
            tokio::select! {
                biased;
                () = hanging() => {}
                () = hanging() => {}
                () = hanging() => {}
                _permit = limits.permit("well again", true) => {}
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(15), waiting).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn not_more_than_so_many_are_quiet() {
        let limits = Limits::new(1, 100, 8);
        let begun = AtomicU32::new(0);
        let passes = (0..20).map(|n| {
            let (limits, begun) = (&limits, &begun);
            async move {
                let permit = limits.permit(&n.to_string(), false).await;
                begun.fetch_add(1, Relaxed);
                permit.run(tokio::time::sleep(Duration::from_secs(600))).await;
            }
        });
        let all = futures_util::future::join_all(passes);
        assert!(tokio::time::timeout(Duration::from_secs(500), all).await.is_err());
        assert_eq!(begun.load(Relaxed) as usize, QUIET_TIMES + 1);
    }

    #[tokio::test]
    async fn no_idle_connection_where_none_is_allowed() {
        let limits = Limits::new(8, 2, 0);
        assert!(limits.idle_permit_now().is_none() && limits.idle_permit().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_host_has_its_own_limit() {
        let limits = Limits::new(8, 2, 8);
        let held = [limits.permit("a", false).await, limits.permit("a", false).await];
        assert!(limits.permit("a", false).now_or_never().is_none());
        assert!(limits.permit("b", false).now_or_never().is_some());
        drop(held);
        assert!(limits.permit("a", false).now_or_never().is_some());
    }
}
