//! One message, from whole to settled: loop check, resolve, deliver, default box, and what the ledger is to say about it.

use super::plan::final_state;
use super::route::{Route, Routed, Router};
use super::settle::{self, Instead, Settled};
use crate::config::Collector;
use crate::deliver::Destination;
use crate::ledger::state::LEFT_RETRY;
use crate::ledger::{Entry, Pending, State};
use crate::mail::{Fingerprint, Message, Outcome, Recipient, RemoteUid};
use crate::observe::{Counters, maillog};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// What all messages of a pass share.
pub struct Deliverer<'a> {
    /// Whose messages these are.
    pub collector: &'a Collector,
    /// Who gets them.
    pub router: &'a Router,
    /// Where they go.
    pub destination: &'a dyn Destination,
    /// Exceptions of earlier passes.
    pub exceptions: &'a BTreeMap<RemoteUid, State>,
    /// The identities of delivered messages whose copy is still owed its disposal.
    pub identities: &'a HashMap<RemoteUid, Fingerprint>,
    /// Messages of an earlier epoch that no new one has matched yet.
    pub former: &'a Mutex<HashMap<Fingerprint, u32>>,
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
    pub async fn deliver(&self, message: Message) -> Done {
        let octets = message.content.len();
        let uid = message.key.uid.clone();
        let (state, identity) = self.settle(&message).await;
        self.counters.taken(octets);
        Done { entry: state.map(|state| Entry::new(uid, state, identity)), octets }
    }

    async fn settle(&self, message: &Message) -> (Option<State>, Option<Fingerprint>) {
        let route = match self.router.route(message) {
            Routed::To(route) => route,
            Routed::Leave { event, reason } => {
                maillog::left(message, event, &reason);
                let next_try = self.now + LEFT_RETRY.as_secs() as i64;
                return (Some(State::Left { reason, rules: self.collector.recipient_hash, next_try }), None);
            }
        };
        let identity = message.identity(&route.recipients);
        if self.was_delivered(message, &identity) {
            return (Some(final_state(self.collector.after)), Some(identity));
        }
        let before = match self.exceptions.get(&message.key.uid) {
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
        let state = match settle::settle(before, first, &instead, second, self.now) {
            Settled::Final => Some(final_state(self.collector.after)),
            Settled::Again(pending) => Some(State::Pending(pending)),
            Settled::NotNow(pending) => pending.map(State::Pending),
        };
        (state, Some(identity))
    }

    /// True if this very message was delivered before: its copy is only owed its disposal, or it is known from an earlier epoch.
    fn was_delivered(&self, message: &Message, identity: &Fingerprint) -> bool {
        if self.exceptions.get(&message.key.uid) == Some(&State::Owed) {
            // A server may give the UIDL of a deleted message to a new one: only the same message may go undelivered.
            return self.identities.get(&message.key.uid) == Some(identity);
        }
        if !message.has_identity() {
            return false;
        }
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        // Each former message stands for one new one.
        let Some(left) = former.get_mut(identity).filter(|left| **left > 0) else { return false };
        *left -= 1;
        maillog::known_by_fingerprint(message);
        true
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
        self.log(message, recipients, &outcomes, by, message.content.len());
        if let Some(reason) = &summary.target_down
            && let Ok(mut down) = self.target_down.lock()
        {
            down.get_or_insert_with(|| reason.clone());
        }
        summary
    }

    fn log(&self, message: &Message, recipients: &[Recipient], outcomes: &[Outcome], by: &str, octets: u64) {
        let to = self.destination.name();
        for (recipient, outcome) in recipients.iter().zip(outcomes) {
            match outcome {
                Outcome::Delivered(reply) => maillog::delivered(message, recipient, by, &to, reply, octets),
                Outcome::Deferred(diagnosis) => maillog::deferred(message, recipient, &to, &diagnosis.to_string()),
                Outcome::Rejected(diagnosis) => {
                    let next = match self.router.default_box() {
                        Some(address) if *address != recipient.address => "default box",
                        _ => "set aside: stays on the server, tried again later",
                    };
                    maillog::refused(message, recipient, &to, &diagnosis.to_string(), next);
                }
                Outcome::Unknown(diagnosis) => maillog::in_doubt(message, recipient, &to, &diagnosis.to_string()),
            }
        }
    }
}
