//! Other copies of one letter: those that its recipients got lately, and those that are on their way.

use super::dedupe::{self, InFlight};
use super::deliver_one::Deliverer;
use super::route::Route;
use crate::ledger::{LedgerError, Seen, SeenKey};
use crate::mail::{Address, Fingerprint, Message};
use std::collections::HashMap;
use std::time::Duration;

/// Other copies of this letter for these recipients: delivered lately, or on their way.
pub(super) struct Copies {
    target: String,
    fingerprint: Fingerprint,
    window: Duration,
    /// What was delivered within the window, by key.
    earlier: HashMap<SeenKey, String>,
    pub(super) in_flight: Option<InFlight>,
}

impl Copies {
    /// Looks them up, once nobody else is delivering one. Nothing is looked up where duplicates are not looked for, and what was delivered before
    /// the operator had the message `forgotten` does not count.
    pub(super) async fn enter(deliverer: &Deliverer<'_>, message: &Message, route: &Route, forgotten: i64) -> Result<Self, LedgerError> {
        let window = deliverer.collector.dedupe_window;
        let mut copies =
            Copies { target: deliverer.destination.name(), fingerprint: message.fingerprint, window, earlier: HashMap::new(), in_flight: None };
        // Equal alarms without an id and a date are different mail.
        if window.is_zero() || !message.has_identity() {
            return Ok(copies);
        }
        let addresses = route.recipients.iter().map(|recipient| &recipient.address).chain(deliverer.router.default_box());
        let mut keys: Vec<SeenKey> = addresses.map(|address| copies.key(address)).collect();
        keys.sort_unstable_by_key(|key| key.0);
        keys.dedup();
        copies.in_flight = Some(deliverer.dedupe.enter(keys.clone()).await);
        let since = deliverer.now.saturating_sub(i64::try_from(window.as_secs()).unwrap_or(i64::MAX)).max(forgotten.saturating_add(1));
        let earlier = deliverer.ledger.seen(&keys, since).await?;
        copies.earlier = keys.into_iter().zip(earlier).filter_map(|(key, trace_id)| trace_id.map(|id| (key, id.to_string()))).collect();
        Ok(copies)
    }

    fn key(&self, address: &Address) -> SeenKey {
        dedupe::key(&self.fingerprint, address, &self.target)
    }

    /// The trace id of the message that this recipient got already.
    pub(super) fn earlier(&self, address: &Address) -> Option<String> {
        if self.earlier.is_empty() { None } else { self.earlier.get(&self.key(address)).cloned() }
    }

    pub(super) fn remember(&self, message: &Message, delivered: &[Address], at: i64) -> Vec<Seen> {
        if self.in_flight.is_none() {
            return Vec::new();
        }
        let trace_id = message.trace_id();
        delivered.iter().map(|address| dedupe::seen(self.key(address), trace_id, at, self.window)).collect()
    }
}
