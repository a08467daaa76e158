//! Duplicates: the same letter, for the same recipient, at the same target, once within `dedupe_window`.
//!
//! What was delivered is remembered in the ledger, in the transaction that records the delivery. Two copies that are on their way at the same
//! time wait for each other: the second is decided about only when the first is recorded.

use crate::ledger::{Seen, SeenKey};
use crate::mail::{Address, Fingerprint, TraceId};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How often what is too old is forgotten.
const PRUNE_EVERY: i64 = 3600;

/// What a delivery is known by: `target` is [`crate::deliver::Destination::name`].
pub fn key(fingerprint: &Fingerprint, recipient: &Address, target: &str) -> SeenKey {
    // Mail systems compare local parts without regard to case more often than not, and so does the resolver.
    let recipient = format!("{}@{}", recipient.local().to_lowercase(), recipient.domain().as_ascii());
    let mut hash = Sha256::new();
    for part in [&fingerprint.0[..], recipient.as_bytes(), target.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    SeenKey(key)
}

/// A delivery at `at`, to be remembered for `window`.
pub fn seen(key: SeenKey, trace_id: TraceId, at: i64, window: Duration) -> Seen {
    Seen { key, trace_id, at, expires: at.saturating_add(i64::try_from(window.as_secs()).unwrap_or(i64::MAX)) }
}

/// The deliveries that are on their way in this process.
#[derive(Default)]
pub struct Dedupe {
    in_flight: Mutex<HashSet<SeenKey>>,
    freed: Notify,
    pruned_at: AtomicI64,
}

impl Dedupe {
    /// Waits until nobody else delivers any of these, and takes them all at once: nobody who waits holds anything, so nobody waits for ever.
    pub async fn enter(self: &Arc<Self>, keys: Vec<SeenKey>) -> InFlight {
        let mut freed = std::pin::pin!(self.freed.notified());
        loop {
            // Registered before the look, so that nothing is missed between the look and the wait.
            freed.as_mut().enable();
            if self.take(&keys) {
                return InFlight { dedupe: Arc::clone(self), keys };
            }
            freed.as_mut().await;
            freed.set(self.freed.notified());
        }
    }

    /// True about once an hour: time to forget what has expired.
    pub fn is_time_to_prune(&self, now: i64) -> bool {
        let last = self.pruned_at.load(Ordering::Relaxed);
        let is_time = now - last >= PRUNE_EVERY || now < last;
        is_time && self.pruned_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn take(&self, keys: &[SeenKey]) -> bool {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.iter().any(|key| in_flight.contains(key)) {
            return false;
        }
        in_flight.extend(keys);
        true
    }
}

/// Deliveries on their way. Dropped once they are recorded, or have failed.
pub struct InFlight {
    dedupe: Arc<Dedupe>,
    keys: Vec<SeenKey>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut in_flight = self.dedupe.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &self.keys {
            in_flight.remove(key);
        }
        drop(in_flight);
        self.dedupe.freed.notify_waiters();
    }
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InFlight({})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(recipient: &str, target: &str) -> SeenKey {
        key(&Fingerprint([1; 32]), &recipient.parse().unwrap(), target)
    }

    #[test]
    fn s5_the_key_is_letter_recipient_and_target() {
        assert_eq!(of("Anna@икс.рф", "t"), of("anna@xn--h1aev.xn--p1ai", "t"));
        assert_ne!(of("anna@x.example", "t"), of("anna@x.example", "u"));
        assert_ne!(of("anna@x.example", "t"), of("hanna@x.example", "t"));
        assert_ne!(of("anna@x.example", "t"), key(&Fingerprint([2; 32]), &"anna@x.example".parse().unwrap(), "t"));
    }

    #[tokio::test]
    async fn the_second_copy_waits_for_the_first() {
        let dedupe = Arc::new(Dedupe::default());
        let (a, b, c) = (of("a@x.example", "t"), of("b@x.example", "t"), of("c@x.example", "t"));
        let first = dedupe.enter(vec![a, b]).await;
        let other = dedupe.enter(vec![c]).await;
        let waiting = tokio::spawn({
            let dedupe = Arc::clone(&dedupe);
            async move { dedupe.enter(vec![b, c]).await }
        });
        tokio::task::yield_now().await;
        drop(other);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "one of its keys is still on its way");
        drop(first);
        drop(waiting.await.unwrap());
        assert!(dedupe.in_flight.lock().unwrap().is_empty());
    }

    #[test]
    fn pruning_comes_once_an_hour() {
        let dedupe = Dedupe::default();
        assert_eq!([10_000, 10_001, 13_599, 13_600].map(|now| dedupe.is_time_to_prune(now)), [true, false, false, true]);
    }
}
