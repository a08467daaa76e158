//! One message, from whole to settled: journal, loop check, resolver, duplicates, local check, delivery, the policy for what was refused, the
//! default box, the store of held mail, and what the ledger is to say about it all.

use super::chronicle::Chronicle;
use super::copies::Copies;
use super::dedupe::{Dedupe, InFlight};
use super::journal::Opened;
use super::pass::Scope;
use super::plan::{final_state, still_owed};
use super::route::{Aside, Dress, Route, Routed, Router};
use super::settle::{self, Fate, Settled, Tally};
use crate::config::{Collector, OnHold};
use crate::deliver::Destination;
use crate::deliver::local_check::{Exists, LocalCheck};
use crate::held::{HeldStore, HoldNote};
use crate::history::{History, Row};
use crate::ledger::{Entry, Former, FormerKey, FormerMessage, Hashes, HeldMail, HeldWhy, Ledger, LedgerError, Pending, Seen, State};
use crate::mail::{Address, Blame, Diagnosis, Envelope, Fingerprint, Message, Outcome, Recipient, RemoteUid, Stage, TargetDown, arrived};
use crate::observe::counters::{Attempt, Found, Skipped};
use crate::observe::{Counters, maillog};
use crate::policy::{Action, Circumstances};
use crate::spool::Spool;
use futures_util::future::join_all;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What all messages of a pass share.
pub struct Deliverer<'a> {
    /// Whose messages these are.
    pub collector: &'a Collector,
    /// Who gets them.
    pub router: &'a Router,
    /// Where they go.
    pub destination: &'a dyn Destination,
    /// Tells which recipients exist.
    pub local_check: Option<&'a LocalCheck>,
    /// What the pass is to do.
    pub scope: Scope,
    /// What was delivered before.
    pub ledger: &'a dyn Ledger,
    /// Where mail is held.
    pub held: &'a HeldStore,
    /// Who is told what became of it, once that is recorded.
    pub history: &'a History,
    /// Where the original of a journal report is read from.
    pub spool: &'a Spool,
    /// The deliveries that are on their way.
    pub dedupe: &'a Arc<Dedupe>,
    /// Exceptions of earlier passes.
    pub exceptions: &'a BTreeMap<RemoteUid, State>,
    /// Which messages these are, as far as they were ever fetched.
    pub hashes: &'a HashMap<RemoteUid, Hashes>,
    /// Messages of an earlier epoch that no new one has matched yet.
    pub former: &'a Mutex<Former>,
    /// Progress.
    pub counters: &'a Counters,
    /// Goes up when the target is down: the pass takes no more.
    pub target_down: &'a Mutex<Option<TargetDown>>,
    /// The address of the server that the messages come from.
    pub source_ip: Option<IpAddr>,
    /// What is delivered is a note in place of a message of so many octets.
    pub too_large: Option<u64>,
    /// What is held is a note in place of a message that the server cannot give, for this reason.
    pub unreadable: Option<&'a str>,
    /// What arrived before this time is left alone: a first run that takes young mail only.
    pub not_before: Option<i64>,
    /// Seconds since the epoch.
    pub now: i64,
}

/// What became of a message.
#[derive(Debug)]
pub struct Done {
    /// What the ledger is to say; `None` if nothing changed (the target is down), or it cannot be asked.
    pub entry: Option<Entry>,
    /// Its size.
    pub octets: u64,
    /// The ledger could not be asked: nothing was delivered.
    pub failed: Option<LedgerError>,
    /// Keeps other copies waiting; to be dropped when the entry is recorded.
    pub in_flight: Option<InFlight>,
    /// How it became what it is, for the summary.
    pub by: By,
    /// What the history is to say when the entry is recorded.
    pub row: Option<Box<Row>>,
}

/// By which way a message became final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// To somebody who was found, and taken.
    #[default]
    Delivery,
    /// To the default box: nobody was found.
    Unresolved,
    /// To the default box: somebody was refused.
    Refused,
    /// Everybody has it already.
    Duplicate,
    /// Thrown away: the configuration says so.
    Discard,
    /// Too old for a first run: it stays where it is.
    Old,
    /// Its header alone, as it is too large; the message stays where it is.
    Header,
}

/// What the ledger is to say, on its way to an entry.
#[derive(Default)]
struct Judged {
    state: Option<State>,
    identity: Option<Fingerprint>,
    copy: Option<Fingerprint>,
    former: Option<FormerKey>,
    seen: Vec<Seen>,
    had: Vec<String>,
    held: Option<Box<HeldMail>>,
    in_flight: Option<InFlight>,
    by: By,
}

impl Done {
    /// It did not come.
    pub fn not_fetched(entry: Entry) -> Self {
        Done { entry: Some(entry), octets: 0, failed: None, in_flight: None, by: By::default(), row: None }
    }
}

impl Judged {
    fn of(state: State, identity: Fingerprint) -> Self {
        Judged { state: Some(state), identity: Some(identity), ..Judged::default() }
    }

    /// It is left alone for its age. Without its hashes: nobody got it, so that no age may delete it.
    fn old(message: &Message) -> Self {
        maillog::left_alone(message);
        Judged { state: Some(State::Kept), by: By::Old, ..Judged::default() }
    }
}

/// What earlier passes know about a message.
enum Known {
    /// There is nothing to deliver: it has this state.
    Settled(State, Option<FormerKey>),
    /// It is to be delivered, but for what earlier tries left behind.
    Wanting(Pending, Option<FormerKey>),
}

impl Deliverer<'_> {
    /// Takes a message to its recipients. Nothing is recorded here, but for the file of a held message.
    pub async fn deliver(&self, message: Message) -> Done {
        let octets = message.content.len();
        let uid = message.key.uid.clone();
        let mut chronicle = Chronicle::begin(self.history, &message);
        let (begun, arrived) = (Instant::now(), arrived(&message.header));
        let done = match self.judge(message, &mut chronicle).await {
            Ok(Judged { state, identity, copy, former, seen, had, held, in_flight, by }) => {
                let row = chronicle.finish(state.as_ref(), by, held.as_deref());
                let entry = state.map(|state| Entry { uid, state, identity, copy, former, seen, had, held });
                Done { entry, octets, failed: None, in_flight, by, row }
            }
            Err(failed) => Done { entry: None, octets, failed: Some(failed), in_flight: None, by: By::default(), row: None },
        };
        self.counters.taken(octets);
        let is_final = done.entry.as_ref().is_some_and(|entry| matches!(entry.state, State::Kept | State::Owed | State::Flagged));
        if is_final && matches!(done.by, By::Delivery | By::Unresolved | By::Refused) {
            let late = arrived.map(|arrived| Duration::from_secs(jiff::Timestamp::now().as_second().saturating_sub(arrived).max(0).unsigned_abs()));
            self.counters.delivered(begun.elapsed(), late);
        }
        done
    }

    /// One delivery to the target.
    async fn hand_over(&self, envelope: &Envelope, message: &Message) -> Vec<Outcome> {
        let begun = Instant::now();
        let outcomes = self.destination.deliver(envelope, message).await;
        let attempts = outcomes.iter().map(|outcome| match outcome {
            Outcome::Delivered(_) => Attempt::Accepted,
            Outcome::Deferred(_) => Attempt::Temporary,
            Outcome::Rejected(_) => Attempt::Permanent,
            Outcome::Unknown(_) => Attempt::Unknown,
        });
        self.counters.answered(begun.elapsed(), attempts);
        outcomes
    }

    async fn judge(&self, message: Message, chronicle: &mut Chronicle) -> Result<Judged, LedgerError> {
        if message.repairs != Default::default() {
            maillog::repaired(&message);
        }
        let is_old = self.is_old(&message);
        // Of an earlier epoch something may be known that is still to be done.
        if is_old && self.former.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(Judged::old(&message));
        }
        // Of a journal report it is the report that counts: two may be about one original.
        let copy = message.copy_hash();
        let Opened { message, report, whole } = self.router.open_journal(message, self.spool).await;
        if whole.is_some() {
            chronicle.opened(&message);
        }
        let routed = self.router.route(&message, report.as_ref());
        let routed = match self.unreadable {
            Some(reason) => Routed::Aside(routed.not_fetched(reason)),
            None => routed,
        };
        let identity = match &routed {
            Routed::To(route) => {
                chronicle.found(&route.by, &route.sender);
                maillog::resolved(&message, &route.recipients, &route.trail);
                self.counters.found(route.found());
                message.identity(&route.recipients)
            }
            Routed::Aside(aside) => {
                match aside.why {
                    HeldWhy::Loop => self.counters.skipped(Skipped::Loop),
                    HeldWhy::TooLarge => self.counters.skipped(Skipped::TooLarge),
                    HeldWhy::Unresolved => self.counters.found(Found::Nothing),
                    HeldWhy::Refused | HeldWhy::GaveUp | HeldWhy::InDoubt | HeldWhy::Content | HeldWhy::NotFetched => {}
                }
                message.identity(&aside.recipients)
            }
        };
        let (before, former) = match self.known(&message, &copy, &identity) {
            Known::Settled(state, former) => return Ok(Judged { copy: Some(copy), former, by: By::Duplicate, ..Judged::of(state, identity) }),
            Known::Wanting(_, None) if is_old => return Ok(Judged::old(&message)),
            Known::Wanting(before, former) => (before, former),
        };
        let judged = match routed {
            Routed::To(route) => self.take_to_recipients(&message, &route, identity, before, chronicle).await?,
            // Only the report names whom its original is for: with it, other rules may find somebody.
            Routed::Aside(aside) if aside.recipients.is_empty() => {
                chronicle.aside(&aside);
                self.set_aside(whole.as_ref().unwrap_or(&message), aside, identity, before).await
            }
            Routed::Aside(aside) => {
                chronicle.aside(&aside);
                self.set_aside(&message, aside, identity, before).await
            }
        };
        Ok(Judged { copy: Some(copy), former, ..judged })
    }

    /// True if it is left alone for its age. What was tried, or forgotten by the operator, is no such mail; a batch that nobody finished says nothing,
    /// as it may have been about to be left alone.
    fn is_old(&self, message: &Message) -> bool {
        let uid = &message.key.uid;
        let before = self.exceptions.get(uid).and_then(State::before);
        let is_wanted = self.hashes.contains_key(uid) || before.is_some_and(|before| !before.done.is_empty() || before.forgotten != 0);
        !is_wanted && self.not_before.is_some_and(|limit| arrived(&message.header).is_some_and(|arrived| arrived < limit))
    }

    async fn take_to_recipients(
        &self,
        message: &Message,
        route: &Route,
        identity: Fingerprint,
        before: Pending,
        chronicle: &mut Chronicle,
    ) -> Result<Judged, LedgerError> {
        let copies = Copies::enter(self, message, route, before.forgotten).await?;
        let mut tally = Tally::default();
        let mut wanting = Vec::new();
        for recipient in route.recipients.iter().filter(|recipient| !before.done.contains(&recipient.address.to_smtp())) {
            match copies.earlier(&recipient.address) {
                Some(earlier) => {
                    maillog::duplicate(message, recipient, &earlier);
                    chronicle.duplicate(recipient);
                    tally.add(recipient, Fate::Delivered);
                }
                None => wanting.push(recipient.clone()),
            }
        }
        let (mut delivered, mut discarded): (Vec<Address>, bool) = (Vec::new(), false);
        let (known, unknown) = self.check_local(wanting).await;
        let outcomes = self.attempt(message, route, &known, before.in_doubt > 0).await;
        let given_up = settle::is_given_up(&before, &self.collector.delivery.retry, self.now);
        let asked = known.iter().enumerate().map(|(n, recipient)| (recipient, outcomes.get(n)));
        for (recipient, outcome) in asked.chain(unknown.iter().map(|(recipient, outcome)| (recipient, Some(outcome)))) {
            let fate = settle::fate(outcome, &self.collector.delivery.policy, self.circumstances(&recipient.address, given_up), &before);
            self.log(message, recipient, outcome, &fate, &route.by, chronicle);
            if fate == Fate::Delivered {
                delivered.push(recipient.address.clone());
            }
            discarded |= matches!(fate, Fate::Discard { .. });
            tally.add(recipient, fate);
        }
        self.default_box(message, route, &before, given_up, &copies, &mut tally, &mut delivered, chronicle).await;
        let instead = self.router.default_box().filter(|to| !route.recipients.iter().any(|recipient| recipient.address == **to));
        let by = match delivered.is_empty() {
            true if discarded => By::Discard,
            true if before.done.is_empty() => By::Duplicate,
            true => By::Delivery,
            false if route.is_default_box() => By::Unresolved,
            false if instead.is_some_and(|to| delivered.contains(to)) => By::Refused,
            false => By::Delivery,
        };
        let done: Vec<String> = before.done.iter().chain(tally.done()).cloned().collect();
        let held = self.hold_if_wanted(message, route, &done, &mut tally).await;
        let had = if before.held { done } else { Vec::new() };
        if let Some(why) = tally.target_down()
            && let Ok(mut down) = self.target_down.lock()
        {
            down.get_or_insert_with(|| why.clone());
        }
        let state = match settle::settle(before, tally, &self.collector.delivery.retry, self.now) {
            Settled::Final { held: false } => Some(final_state(self.collector.after)),
            Settled::Final { held: true } => Some(self.state_of_held()),
            Settled::Again(pending) => Some(State::Pending(pending)),
            Settled::NotNow(pending) => pending.map(State::Pending),
        };
        let seen = copies.remember(message, &delivered, self.now);
        Ok(Judged { state, identity: Some(identity), seen, had, held, in_flight: copies.in_flight, by, ..Judged::default() })
    }

    /// The default box gets one copy in place of all who were refused.
    #[allow(clippy::too_many_arguments)]
    async fn default_box(
        &self,
        message: &Message,
        route: &Route,
        before: &Pending,
        given_up: bool,
        copies: &Copies,
        tally: &mut Tally,
        delivered: &mut Vec<Address>,
        chronicle: &mut Chronicle,
    ) {
        let Some(address) = self.router.default_box().filter(|_| !tally.refused().is_empty()) else { return };
        let (recipient, smtp) = (Recipient::new(address.clone()), address.to_smtp());
        let has_it = before.done.contains(&smtp) || delivered.contains(address) || copies.earlier(address).is_some();
        if has_it {
            return tally.default_box(&recipient, None);
        }
        let originals = |refused: &Recipient| refused.original.as_ref().unwrap_or(&refused.address).clone();
        let refused: Vec<Address> = tally.refused().iter().map(originals).collect();
        let dress =
            Dress { refused: &refused, in_doubt: before.in_doubt > 0, source_ip: self.source_ip, too_large: self.too_large, ..Dress::default() };
        let envelope = self.router.envelope(message, route, std::slice::from_ref(&recipient), &dress);
        let outcomes = self.hand_over(&envelope, message).await;
        let outcome = outcomes.first();
        let fate = settle::fate(outcome, &self.collector.delivery.policy, self.circumstances(address, given_up), before);
        self.log(message, &recipient, outcome, &fate, "refused address: default box", chronicle);
        if fate == Fate::Delivered {
            delivered.push(address.clone());
        }
        tally.default_box(&recipient, Some(fate));
    }

    fn circumstances(&self, recipient: &Address, given_up: bool) -> Circumstances {
        let default_box = self.router.default_box();
        let is_default_box = default_box == Some(recipient);
        Circumstances { default_box: default_box.is_some() && !is_default_box, is_default_box, given_up }
    }

    fn state_of_held(&self) -> State {
        match self.collector.on_hold {
            // A note is no copy of it.
            _ if self.unreadable.is_some() => State::Held,
            OnHold::Keep => State::Held,
            OnHold::Delete => State::Owed,
            OnHold::Move => State::HeldAway,
        }
    }

    /// A message that is for nobody now.
    async fn set_aside(&self, message: &Message, aside: Aside, identity: Fingerprint, before: Pending) -> Judged {
        let Aside { event, why, reason, action, recipients, sender, from_journal } = aside;
        match action {
            Action::Hold => {
                maillog::set_aside(message, event, &reason, "held");
                let mut tally = Tally::default();
                let recipients: Vec<Recipient> = recipients.into_iter().filter(|to| !before.done.contains(&to.address.to_smtp())).collect();
                let note =
                    HoldNote { why, reason: &reason, sender: &sender, recipients: &recipients, done: &before.done, from_journal, now: self.now };
                match self.hold(message, note).await {
                    Ok(held) => Judged { held: Some(held), ..Judged::of(self.state_of_held(), identity) },
                    Err(error) => {
                        tally.cannot_hold(error);
                        match settle::settle(before, tally, &self.collector.delivery.retry, self.now) {
                            Settled::Again(pending) | Settled::NotNow(Some(pending)) => Judged::of(State::Pending(pending), identity),
                            Settled::Final { .. } | Settled::NotNow(None) => Judged::default(),
                        }
                    }
                }
            }
            Action::Discard => {
                maillog::discarded(message, None, &reason);
                // For some of its recipients it may be held.
                let state = if before.held { self.state_of_held() } else { final_state(self.collector.after) };
                Judged { by: By::Discard, ..Judged::of(state, identity) }
            }
            Action::Leave | Action::Defer | Action::DefaultBox => {
                maillog::set_aside(message, event, &reason, "stays on the server");
                Judged::of(State::left(reason, self.collector.recipient_hash, self.now, before), identity)
            }
        }
    }

    async fn hold_if_wanted(&self, message: &Message, route: &Route, done: &[String], tally: &mut Tally) -> Option<Box<HeldMail>> {
        let (recipients, why, reason) = tally.to_hold()?;
        let Route { sender, from_journal, .. } = route;
        match self.hold(message, HoldNote { why, reason, sender, recipients, done, from_journal: *from_journal, now: self.now }).await {
            Ok(held) => {
                tally.held();
                Some(held)
            }
            Err(error) => {
                tally.cannot_hold(error);
                None
            }
        }
    }

    async fn hold(&self, message: &Message, note: HoldNote<'_>) -> Result<Box<HeldMail>, String> {
        let HoldNote { why, reason, .. } = note;
        match self.held.hold(message, note).await {
            Ok(held) => {
                maillog::held(message, why.number(), why.code(), reason);
                Ok(Box::new(held))
            }
            Err(error) => {
                maillog::not_held(message, &error.to_string());
                Err(format!("{reason}; it was to be held: {error}"))
            }
        }
    }

    /// What earlier passes know: this very message is only owed its disposal, or was tried; or it is one of an earlier epoch.
    fn known(&self, message: &Message, copy: &Fingerprint, identity: &Fingerprint) -> Known {
        let uid = &message.key.uid;
        match self.exceptions.get(uid) {
            Some(State::Owed) => {
                // A server may give the UIDL of a deleted message to a new one: only the same message may go undelivered.
                let owed = self.hashes.get(uid).copied().unwrap_or_default();
                let is_same = owed.copy.map_or(owed.identity.as_ref() == Some(identity), |owed| owed == *copy);
                let state = if self.scope == Scope::Purge { State::Owed } else { still_owed(self.collector.after) };
                return if is_same { Known::Settled(state, None) } else { Known::Wanting(Pending::default(), None) };
            }
            Some(state) if self.hashes.contains_key(uid) && state.before().is_some() => {
                // So may it do with one that is waited with, and what was tried may have been a note in place of the message. Who had that has not had
                // this. Other rules change the identity alone, and a server that changes the copy's header the copy alone.
                let tried = self.hashes.get(uid).copied().unwrap_or_default();
                let is_other = tried.copy.is_some_and(|tried| tried != *copy) && tried.identity.is_some_and(|tried| tried != *identity);
                let before = if is_other { Pending::default() } else { state.before().cloned().unwrap_or_default() };
                return Known::Wanting(before, None);
            }
            _ => {}
        }
        // It was never fetched, or never came to a record: an earlier epoch may still know it.
        let here = self.exceptions.get(uid).and_then(State::before).cloned().unwrap_or_default();
        if here.forgotten != 0 {
            return Known::Wanting(here, None);
        }
        // Equal alarms without an id and a date are different mail.
        let former = match message.has_identity() {
            true => self.former.lock().unwrap_or_else(PoisonError::into_inner).take(copy, identity),
            false => None,
        };
        let Some(FormerMessage { state, key }) = former else { return Known::Wanting(here, None) };
        let state = match state {
            State::Pending(before) => return Known::Wanting(Pending { in_doubt: before.in_doubt + here.in_doubt, ..before }, key),
            State::Left { before, .. } => return Known::Wanting(Pending { in_doubt: before.in_doubt + here.in_doubt, ..*before }, key),
            State::Owed | State::Flagged => still_owed(self.collector.after),
            // What was collected under `keep` is left alone, and what is held stays so, whatever the collector does with its mail now.
            State::Kept | State::Held | State::HeldAway | State::Skipped { .. } => state,
        };
        maillog::known_by_fingerprint(message);
        Known::Settled(state, key)
    }

    /// Those who exist here, as far as anybody knows, and the others with what is to be said about them. The default box is never asked for.
    async fn check_local(&self, wanting: Vec<Recipient>) -> (Vec<Recipient>, Vec<(Recipient, Outcome)>) {
        let Some(check) = self.local_check else { return (wanting, Vec::new()) };
        let exists = join_all(wanting.iter().map(|recipient| async {
            match self.router.default_box() == Some(&recipient.address) {
                true => Exists::Yes,
                false => check.exists(&recipient.address).await,
            }
        }));
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (exists, recipient) in exists.await.into_iter().zip(wanting) {
            match exists {
                // Who cannot be asked about is delivered to: the target will say.
                Exists::Yes | Exists::Unknown(_) => known.push(recipient),
                Exists::No(text) => {
                    let text = format!("check_local: {text}");
                    unknown.push((recipient, Outcome::Rejected(Diagnosis::of_text(Stage::RcptTo, Blame::Recipient, text))));
                }
            }
        }
        (known, unknown)
    }

    /// One delivery to these recipients; with another sender, or with the header's long lines folded, once more where that may help.
    async fn attempt(&self, message: &Message, route: &Route, recipients: &[Recipient], in_doubt: bool) -> Vec<Outcome> {
        if recipients.is_empty() {
            return Vec::new();
        }
        let dress = Dress { in_doubt, source_ip: self.source_ip, too_large: self.too_large, ..Dress::default() };
        let mut outcomes = self.hand_over(&self.router.envelope(message, route, recipients, &dress), message).await;
        if let Some(sender) = route.sender_instead(&outcomes) {
            maillog::second_try(message, &format!("the target refuses the sender {}; once more from {sender}", route.sender));
            let dress = Dress { sender: Some(&sender), ..dress };
            self.once_more(message, route, recipients, &dress, &mut outcomes, is_refused_sender).await;
        }
        if self.collector.delivery.fold_headers && outcomes.iter().any(is_refused_content) && self.router.can_fold(message) {
            maillog::second_try(message, "the target refuses the content; once more with the header's long lines folded");
            let dress = Dress { fold: true, ..dress };
            self.once_more(message, route, recipients, &dress, &mut outcomes, is_refused_content).await;
        }
        outcomes
    }

    async fn once_more(
        &self,
        message: &Message,
        route: &Route,
        recipients: &[Recipient],
        dress: &Dress<'_>,
        outcomes: &mut [Outcome],
        who: fn(&Outcome) -> bool,
    ) {
        let positions: Vec<usize> = outcomes.iter().enumerate().filter(|(_, outcome)| who(outcome)).map(|(n, _)| n).collect();
        let some: Vec<Recipient> = positions.iter().filter_map(|&n| recipients.get(n)).cloned().collect();
        if some.is_empty() {
            return;
        }
        let again = self.hand_over(&self.router.envelope(message, route, &some, dress), message).await;
        for (position, outcome) in positions.into_iter().zip(again) {
            outcomes[position] = outcome;
        }
    }

    fn log(&self, message: &Message, recipient: &Recipient, outcome: Option<&Outcome>, fate: &Fate, by: &str, chronicle: &mut Chronicle) {
        let all = self.destination.name();
        let to = outcome.and_then(Outcome::reply).and_then(|reply| reply.by.as_deref()).unwrap_or(&all);
        chronicle.recipient(recipient, outcome, fate, to);
        match fate {
            Fate::Delivered => {
                if let Some(Outcome::Delivered(reply)) = outcome {
                    maillog::delivered(message, recipient, by, to, reply, message.content.len());
                }
            }
            Fate::Again { reason, .. } | Fate::TargetDown(TargetDown { reason, .. }) => maillog::deferred(message, recipient, to, reason),
            Fate::DefaultBox { reason } => maillog::refused(message, recipient, to, reason, "default box"),
            Fate::Hold { reason, .. } => maillog::refused(message, recipient, to, reason, "held"),
            Fate::Leave { reason } => maillog::refused(message, recipient, to, reason, "set aside: stays on the server, tried again in a day"),
            Fate::Discard { reason } => maillog::discarded(message, Some(recipient), reason),
            Fate::InDoubt { reason } => maillog::in_doubt(message, recipient, to, reason),
        }
    }
}

/// MAIL was refused for good.
fn is_refused_sender(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rejected(diagnosis) if diagnosis.stage == Stage::MailFrom)
}

/// The content was refused for good, for how it looks: 5.6.x (RFC 3463 §3.7), or without saying why. Not for its size, nor by policy.
fn is_refused_content(outcome: &Outcome) -> bool {
    let Outcome::Rejected(Diagnosis { stage: Stage::Content, reply: Some(reply), .. }) = outcome else { return false };
    reply.enhanced.is_none_or(|(_, subject, _)| subject == 6)
}
