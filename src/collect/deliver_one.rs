//! One message, from whole to settled: loop check, resolve, deliver, default box, and what the ledger is to say about it.

use super::plan::final_state;
use super::route::{Route, Routed, Router};
use super::settle::{self, Instead, Settled};
use crate::config::Collector;
use crate::deliver::Destination;
use crate::ledger::state::LEFT_RETRY;
use crate::ledger::{Entry, Ledger, LedgerError, Pending, Place, State};
use crate::mail::{Message, MessageKey, Outcome, Recipient, RemoteUid};
use crate::observe::{Counters, maillog};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// What all messages of a pass share.
pub struct Deliverer<'a> {
    /// Whose messages these are.
    pub collector: &'a Collector,
    /// Who gets them.
    pub router: &'a Router,
    /// Where they go.
    pub destination: &'a dyn Destination,
    /// What was delivered before.
    pub ledger: &'a dyn Ledger,
    /// Where that is noted.
    pub place: Place,
    /// Exceptions of earlier passes.
    pub exceptions: &'a BTreeMap<RemoteUid, State>,
    /// New messages are compared with an earlier epoch first.
    pub rematch: bool,
    /// Progress.
    pub counters: &'a Counters,
    /// Goes up when the target is down: the pass takes no more.
    pub target_down: &'a Mutex<Option<String>>,
    /// Seconds since the epoch.
    pub now: i64,
}

/// What became of a message.
#[derive(Debug)]
pub struct Done {
    /// What the ledger is to say; `None` if nothing changed (the target is down).
    pub entry: Option<Entry>,
    /// Its size.
    pub octets: u64,
}

impl Deliverer<'_> {
    /// Takes a message to its recipients. Nothing is recorded here.
    pub async fn deliver(&self, message: Message) -> Result<Done, LedgerError> {
        let octets = message.content.len();
        let uid = message.key.uid.clone();
        let fingerprint = Some(message.fingerprint);
        let state = self.settle(&message).await?;
        self.counters.taken(octets);
        Ok(Done { entry: state.map(|state| Entry { uid, state, fingerprint }), octets })
    }

    async fn settle(&self, message: &Message) -> Result<Option<State>, LedgerError> {
        let key = &message.key;
        if self.rematch && self.ledger.seen_before(&self.place, &message.fingerprint).await? {
            maillog::known_by_fingerprint(key);
            return Ok(Some(final_state(self.collector.after)));
        }
        let route = match self.router.route(message) {
            Routed::To(route) => route,
            Routed::Leave { event, reason } => {
                maillog::left(key, event, &reason);
                let next_try = self.now + LEFT_RETRY.as_secs() as i64;
                return Ok(Some(State::Left { reason, rules: self.collector.recipient_hash, next_try }));
            }
        };
        let before = match self.exceptions.get(&key.uid) {
            Some(State::Pending(pending)) => pending.clone(),
            _ => Pending::default(),
        };
        let wanting: Vec<Recipient> =
            route.recipients.iter().filter(|recipient| !before.done.contains(&recipient.address.to_smtp())).cloned().collect();
        let first = self.attempt(message, &route, &wanting, None, before.in_doubt > 0).await;
        let instead = settle::instead(&first, &before.done, self.router.default_box());
        let second = match &instead {
            Instead::DefaultBox(address) if !first.refused.is_empty() => {
                let refused = first.refused.first().map(|recipient| recipient.original.as_ref().unwrap_or(&recipient.address).clone());
                Some(self.attempt(message, &route, &[Recipient::new(address.clone())], refused.as_ref(), before.in_doubt > 0).await)
            }
            _ => None,
        };
        Ok(match settle::settle(before, first, &instead, second, self.now) {
            Settled::Final => Some(final_state(self.collector.after)),
            Settled::Again(pending) => Some(State::Pending(pending)),
            Settled::NotNow(pending) => pending.map(State::Pending),
        })
    }

    /// One delivery to these recipients, logged.
    async fn attempt(
        &self,
        message: &Message,
        route: &Route,
        recipients: &[Recipient],
        refused: Option<&crate::mail::Address>,
        in_doubt: bool,
    ) -> settle::Summary {
        if recipients.is_empty() {
            return settle::Summary::default();
        }
        let envelope = self.router.envelope(message, route, recipients, refused, in_doubt);
        let outcomes = self.destination.deliver(&envelope, message).await;
        let summary = settle::sum_up(recipients, &outcomes);
        let by = if refused.is_some() { "refused address: default box" } else { route.by.as_str() };
        self.log(&message.key, recipients, &outcomes, by, message.content.len());
        if let Some(reason) = &summary.target_down
            && let Ok(mut down) = self.target_down.lock()
        {
            down.get_or_insert_with(|| reason.clone());
        }
        summary
    }

    fn log(&self, key: &MessageKey, recipients: &[Recipient], outcomes: &[Outcome], by: &str, octets: u64) {
        let to = self.destination.name();
        for (recipient, outcome) in recipients.iter().zip(outcomes) {
            match outcome {
                Outcome::Delivered(reply) => maillog::delivered(key, recipient, by, &to, reply, octets),
                Outcome::Deferred(diagnosis) => maillog::deferred(key, recipient, &to, &diagnosis.to_string()),
                Outcome::Rejected(diagnosis) => {
                    let next = match self.router.default_box() {
                        Some(address) if *address != recipient.address => "default box",
                        _ => "set aside: stays on the server, tried again later",
                    };
                    maillog::refused(key, recipient, &to, &diagnosis.to_string(), next);
                }
                Outcome::Unknown(diagnosis) => maillog::in_doubt(key, recipient, &to, &diagnosis.to_string()),
            }
        }
    }
}
