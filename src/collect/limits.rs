//! How much happens at once. Permits are taken in one fixed order (the share for failing collectors, the host's, the process's), so that no
//! two passes can wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Collectors whose last session failed share this part of the permits, so that hanging mailboxes starve nobody.
const FAILING_SHARE: usize = 4;

/// Permits for passes.
#[derive(Debug)]
pub struct Limits {
    all: Arc<Semaphore>,
    failing: Arc<Semaphore>,
    idle: Semaphore,
    per_host: usize,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to run one pass; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _failing: Option<OwnedSemaphorePermit>,
    _host: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Limits {
    /// At most `sessions` passes at once, and `per_host` to one remote host; beside them at most `idle` connections that wait for news.
    pub fn new(sessions: usize, per_host: usize, idle: usize) -> Self {
        Limits {
            all: Arc::new(Semaphore::new(sessions.max(1))),
            failing: Arc::new(Semaphore::new((sessions / FAILING_SHARE).max(1))),
            idle: Semaphore::new(idle.max(1)),
            per_host: per_host.max(1),
            hosts: Mutex::default(),
        }
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
        let failing = if failing { Arc::clone(&self.failing).acquire_owned().await.ok() } else { None };
        let host = host.acquire_owned().await.ok();
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        Permit { _failing: failing, _host: host, _all: all }
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
