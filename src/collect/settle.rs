//! From the outcomes of a delivery to the state of the message. Pure. Only a positive answer is final; anything unknown means "not delivered".
//!
//! ```text
//! outcome ─fate (policy)─▶ Fate, one per recipient ─Tally::add─▶ Tally ─settle─▶ Settled: final, again, or not now
//! ```

use crate::config::RetryTimes;
use crate::ledger::state::LEFT_RETRY;
use crate::ledger::{HeldWhy, Pending};
use crate::mail::{Outcome, Recipient, TargetDown};
use crate::policy::{Action, Circumstances, Policy, is_greylisting};
use std::time::Duration;

/// After so many attempts without an answer to the final dot a message is held: each may have left a copy with its recipient.
const IN_DOUBT_MAX: u32 = 5;
/// A server that greylists is not asked again before.
const GREYLISTING_MIN: Duration = Duration::from_secs(5 * 60);

/// What is to become of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has the message.
    Delivered,
    /// Tried again, not before this much time.
    Again {
        /// Why, in the target's words.
        reason: String,
        /// The least wait.
        at_least: Duration,
    },
    /// The default box gets it instead.
    DefaultBox {
        /// Why.
        reason: String,
    },
    /// It is held.
    Hold {
        /// The kind of reason.
        why: HeldWhy,
        /// And its words.
        reason: String,
    },
    /// It is thrown away: the operator's policy says so.
    Discard {
        /// Why, and by which rule.
        reason: String,
    },
    /// It stays at the source, and is tried once a day.
    Leave {
        /// Why.
        reason: String,
    },
    /// The target takes nothing now.
    TargetDown(TargetDown),
    /// No answer to the final dot: there may be a copy.
    InDoubt {
        /// Why.
        reason: String,
    },
}

/// Decides about one recipient. A missing outcome counts as no answer, never as success.
pub fn fate(outcome: Option<&Outcome>, policy: &Policy, with: Circumstances, before: &Pending) -> Fate {
    let Some(outcome) = outcome else { return Fate::InDoubt { reason: "no answer".into() } };
    let diagnosis = match outcome {
        Outcome::Delivered(_) => return Fate::Delivered,
        Outcome::Unknown(diagnosis) => {
            let (reason, tries) = (diagnosis.to_string(), before.in_doubt.min(before.tries) + 1);
            return match tries >= IN_DOUBT_MAX {
                true => Fate::Hold { why: HeldWhy::InDoubt, reason: format!("{tries} attempts without an answer; the last: {reason}") },
                false => Fate::InDoubt { reason },
            };
        }
        Outcome::Deferred(diagnosis) | Outcome::Rejected(diagnosis) => diagnosis,
    };
    let Some(decision) = policy.decide(outcome, with) else { return Fate::TargetDown(diagnosis.into()) };
    let reason = diagnosis.to_string();
    match decision.action {
        Action::Defer => Fate::Again { reason, at_least: if is_greylisting(diagnosis) { GREYLISTING_MIN } else { Duration::ZERO } },
        Action::DefaultBox => Fate::DefaultBox { reason },
        Action::Hold => {
            let why = if with.given_up { HeldWhy::GaveUp } else { HeldWhy::Refused };
            Fate::Hold { why, reason: format!("{reason} [{}]", decision.by) }
        }
        Action::Discard => Fate::Discard { reason: format!("{reason} [{}]", decision.by) },
        Action::Leave => Fate::Leave { reason: format!("{reason} [{}]", decision.by) },
    }
}

/// True if a message has been tried for as long as `give_up` says.
pub fn is_given_up(before: &Pending, retry: &RetryTimes, now: i64) -> bool {
    before.first > 0 && now.saturating_sub(before.first) >= i64::try_from(retry.give_up.as_secs()).unwrap_or(i64::MAX)
}

/// The fates of all recipients, taken together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Recipients that are final, as they stood in RCPT TO.
    done: Vec<String>,
    /// Those whom the default box is to replace, and why.
    refused: Vec<Recipient>,
    refusal: Option<String>,
    /// Those for whom the message is to be held, and why.
    hold: Vec<Recipient>,
    hold_because: Option<(HeldWhy, String)>,
    again: Option<String>,
    at_least: Duration,
    leave: Option<String>,
    target_down: Option<TargetDown>,
    doubts: u32,
    is_held: bool,
}

impl Tally {
    /// Adds one recipient.
    pub fn add(&mut self, recipient: &Recipient, fate: Fate) {
        match fate {
            Fate::Delivered | Fate::Discard { .. } => self.done.push(recipient.address.to_smtp()),
            Fate::DefaultBox { reason } => {
                self.refused.push(recipient.clone());
                self.refusal.get_or_insert(reason);
            }
            Fate::Hold { why, reason } => self.hold_for(recipient.clone(), why, reason),
            other => self.put_off(other),
        }
    }

    /// Recipients that are final, as they stood in RCPT TO.
    pub fn done(&self) -> &[String] {
        &self.done
    }

    /// Those whom the default box is to replace.
    pub fn refused(&self) -> &[Recipient] {
        &self.refused
    }

    /// Why the first of them was refused.
    pub fn refusal(&self) -> &str {
        self.refusal.as_deref().unwrap_or_default()
    }

    /// The default box has the message already, or has it now by its own `fate`: what becomes of those it stands for.
    pub fn default_box(&mut self, default_box: &Recipient, fate: Option<Fate>) {
        let refused = std::mem::take(&mut self.refused);
        match fate {
            None | Some(Fate::Discard { .. }) => self.done.extend(refused.iter().map(|recipient| recipient.address.to_smtp())),
            Some(Fate::Delivered) => {
                self.done.push(default_box.address.to_smtp());
                self.done.extend(refused.iter().map(|recipient| recipient.address.to_smtp()));
            }
            Some(Fate::Hold { why, reason }) => {
                let reason = format!("{}; and by the default box: {reason}", self.refusal());
                refused.into_iter().for_each(|recipient| self.hold_for(recipient, why, reason.clone()));
            }
            // The default box cannot stand in for itself.
            Some(Fate::DefaultBox { reason }) => self.put_off(Fate::Again { reason, at_least: Duration::ZERO }),
            Some(other) => self.put_off(other),
        }
    }

    /// Those for whom the message is to be held, and why.
    pub fn to_hold(&self) -> Option<(&[Recipient], HeldWhy, &str)> {
        self.hold_because.as_ref().map(|(why, reason)| (self.hold.as_slice(), *why, reason.as_str()))
    }

    /// The message is held, durably.
    pub fn held(&mut self) {
        self.done.extend(self.hold.drain(..).map(|recipient| recipient.address.to_smtp()));
        self.hold_because = None;
        self.is_held = true;
    }

    /// It cannot be held: it stays where it is.
    pub fn cannot_hold(&mut self, error: String) {
        self.hold.clear();
        self.hold_because = None;
        self.put_off(Fate::Again { reason: error, at_least: Duration::ZERO });
    }

    /// The target takes nothing now, if so.
    pub fn target_down(&self) -> Option<&TargetDown> {
        self.target_down.as_ref()
    }

    fn hold_for(&mut self, recipient: Recipient, why: HeldWhy, reason: String) {
        self.hold.push(recipient);
        self.hold_because.get_or_insert((why, reason));
    }

    fn put_off(&mut self, fate: Fate) {
        match fate {
            Fate::Again { reason, at_least } => {
                self.again.get_or_insert(reason);
                self.at_least = self.at_least.max(at_least);
            }
            Fate::InDoubt { reason } => {
                self.doubts = 1;
                self.again.get_or_insert(reason);
            }
            Fate::Leave { reason } => drop(self.leave.get_or_insert(reason)),
            Fate::TargetDown(down) => drop(self.target_down.get_or_insert(down)),
            Fate::Delivered | Fate::Discard { .. } | Fate::DefaultBox { .. } | Fate::Hold { .. } => {}
        }
    }
}

/// What becomes of the message.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// Every recipient is final; for some of them it may be held.
    Final {
        /// It is in the store of held mail.
        held: bool,
    },
    /// To be tried again, after a delay of its own.
    Again(Pending),
    /// The target is down: tried again when it is back, with no penalty; to be recorded only if something changed.
    NotNow(Option<Pending>),
}

/// Decides from what was before and from the fates of the recipients.
pub fn settle(before: Pending, tally: Tally, retry: &RetryTimes, now: i64) -> Settled {
    let mut pending = before;
    let changed = !tally.done.is_empty();
    pending.done.extend(tally.done);
    pending.held |= tally.is_held;
    pending.in_doubt = pending.in_doubt.saturating_add(tally.doubts);
    // A recipient for whom nothing was decided is not final, whatever the others say.
    let left_over = tally.refused.first().or(tally.hold.first()).map(|recipient| format!("nothing was decided about {}", recipient.address));
    if let Some(reason) = tally.again.or(left_over) {
        let delay = retry.after(pending.tries).max(tally.at_least);
        return Settled::Again(pending.failed(now, reason, delay));
    }
    if let Some(reason) = tally.leave {
        // It is no failure that grows: the operator wants it left.
        let tries = pending.tries;
        return Settled::Again(Pending { tries, ..pending.failed(now, reason, LEFT_RETRY) });
    }
    match tally.target_down {
        None => Settled::Final { held: pending.held },
        Some(down) => {
            pending.next_try = now;
            pending.reason = down.reason;
            Settled::NotNow(changed.then_some(pending))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Address, Blame, Diagnosis, Reply, Stage};

    fn rcpt(address: &str) -> Recipient {
        Recipient::new(address.parse().unwrap())
    }

    fn failure(stage: Stage, blame: Blame, reply: Option<u16>) -> Diagnosis {
        Diagnosis { reply: reply.map(|code| Reply::new(code, None, "because")), ..Diagnosis::of_text(stage, blame, "") }
    }

    fn outcome(word: &str) -> Outcome {
        let recipient = |code| failure(Stage::RcptTo, Blame::Recipient, Some(code));
        match word {
            "ok" => Outcome::Delivered(Reply::new(250, None, "")),
            "no" => Outcome::Rejected(recipient(550)),
            "spam" => Outcome::Rejected(failure(Stage::Content, Blame::Message, Some(554))),
            "later" => Outcome::Deferred(recipient(452)),
            "grey" => Outcome::Deferred(recipient(450)),
            "down" => Outcome::Deferred(failure(Stage::Connect, Blame::Target, None)),
            _ => Outcome::Unknown(failure(Stage::Content, Blame::Target, None)),
        }
    }

    fn policy(action: Action) -> Policy {
        Policy { on_permanent_failure: action, ..Policy::default() }
    }

    /// Outcomes of the first delivery, the outcome at the default box if there is one, whether holding works; and what is to come of it.
    fn run(first: &[&str], default_box: Option<&str>, policy: &Policy, before: Pending, now: i64) -> (Settled, bool) {
        let retry = RetryTimes::default();
        let given_up = is_given_up(&before, &retry, now);
        let (box_address, mut tally) = (rcpt("box@x.example"), Tally::default());
        for (n, word) in first.iter().enumerate() {
            let with = Circumstances { default_box: default_box.is_some(), is_default_box: false, given_up };
            tally.add(&rcpt(&format!("r{n}@x.example")), fate(Some(&outcome(word)), policy, with, &before));
        }
        if !tally.refused().is_empty() {
            let with = Circumstances { default_box: false, is_default_box: true, given_up };
            let at_box = default_box.map(|word| fate(Some(&outcome(word)), policy, with, &before));
            tally.default_box(&box_address, at_box);
        }
        let to_hold = tally.to_hold().is_some();
        if to_hold {
            tally.held();
        }
        (settle(before, tally, &retry, now), to_hold)
    }

    fn settled(first: &[&str], default_box: Option<&str>) -> Settled {
        run(first, default_box, &Policy::default(), Pending::default(), 100).0
    }

    fn again(settled: &Settled) -> &Pending {
        match settled {
            Settled::Again(pending) | Settled::NotNow(Some(pending)) => pending,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_have_it() {
        assert_eq!(settled(&["ok", "ok"], None), Settled::Final { held: false });
    }

    #[test]
    fn s7_who_has_it_gets_no_second_copy() {
        let mixed = settled(&["ok", "later"], None);
        assert_eq!((again(&mixed).done.as_slice(), again(&mixed).tries, again(&mixed).next_try), (&["r0@x.example".to_owned()][..], 1, 160));
    }

    #[test]
    fn s7_greylisting_waits_five_minutes() {
        assert_eq!(again(&settled(&["ok", "grey"], None)).next_try, 400);
    }

    #[test]
    fn s7_an_unknown_user_is_replaced_by_the_default_box_once() {
        assert_eq!(settled(&["no", "ok", "no"], Some("ok")), Settled::Final { held: false });
        // The default box itself is refused: never final, the operator has to look.
        let twice = settled(&["no"], Some("no"));
        assert!(again(&twice).done.is_empty() && again(&twice).tries == 1, "{twice:?}");
        let down = settled(&["no", "ok"], Some("down"));
        assert!(matches!(&down, Settled::NotNow(Some(pending)) if pending.done == ["r1@x.example"]));
    }

    #[test]
    fn s7_what_is_refused_for_good_is_held() {
        assert_eq!(run(&["no"], None, &Policy::default(), Pending::default(), 1), (Settled::Final { held: true }, true));
        assert_eq!(run(&["ok", "spam"], Some("ok"), &Policy::default(), Pending::default(), 1), (Settled::Final { held: true }, true));
        let mixed = run(&["spam", "later"], None, &Policy::default(), Pending::default(), 1).0;
        assert!(again(&mixed).held && again(&mixed).done == ["r0@x.example"], "{mixed:?}");
    }

    #[test]
    fn s7_or_what_the_operator_wants_instead() {
        let with = |action| run(&["spam"], None, &policy(action), Pending::default(), 100).0;
        assert_eq!(with(Action::Discard), Settled::Final { held: false });
        let left = with(Action::Leave);
        assert_eq!((again(&left).tries, again(&left).next_try, again(&left).done.len()), (0, 100 + 24 * 3600, 0));
        assert_eq!(again(&with(Action::Defer)).next_try, 160);
    }

    #[test]
    fn s7_a_target_that_is_down_is_nobodys_fault() {
        assert_eq!(settled(&["down", "down"], None), Settled::NotNow(None));
        let half = settled(&["ok", "down"], None);
        assert!(matches!(&half, Settled::NotNow(Some(pending)) if pending.tries == 0 && pending.done.len() == 1));
    }

    #[test]
    fn s7_no_answer_is_counted_tried_again_and_in_the_end_held() {
        let mut before = Pending::default();
        for n in 1..IN_DOUBT_MAX {
            let doubt = run(&["?"], Some("ok"), &Policy::default(), before, 1).0;
            before = again(&doubt).clone();
            assert_eq!((before.in_doubt, before.tries), (n, n));
        }
        assert_eq!(run(&["?"], Some("ok"), &Policy::default(), before, 1), (Settled::Final { held: true }, true));
        // An outcome that is missing counts as unknown, never as success.
        let missing = fate(None, &Policy::default(), Circumstances::default(), &Pending::default());
        assert!(matches!(missing, Fate::InDoubt { .. }));
        // Crashes are no answers of a target: they alone never have a message held.
        let crashed = Pending { in_doubt: 50, ..Pending::default() };
        assert!(matches!(run(&["?"], None, &Policy::default(), crashed, 1).0, Settled::Again(_)));
    }

    #[test]
    fn s7_what_was_tried_for_five_days_is_given_up() {
        let old = Pending { tries: 9, first: 1, ..Pending::default() };
        let late = 1 + 5 * 24 * 3600;
        assert!(matches!(run(&["later"], None, &Policy::default(), old.clone(), late - 1).0, Settled::Again(_)));
        assert_eq!(run(&["later"], None, &Policy::default(), old, late).0, Settled::Final { held: true });
    }

    #[test]
    fn nobody_is_forgotten() {
        // Whatever is not decided keeps the message from being final.
        let mut tally = Tally::default();
        tally.add(&rcpt("a@x.example"), Fate::DefaultBox { reason: "no".into() });
        assert!(matches!(settle(Pending::default(), tally, &RetryTimes::default(), 1), Settled::Again(_)));
        let mut tally = Tally::default();
        tally.add(&rcpt("a@x.example"), Fate::Hold { why: HeldWhy::Refused, reason: "no".into() });
        tally.cannot_hold("no space".into());
        assert!(matches!(settle(Pending::default(), tally, &RetryTimes::default(), 1), Settled::Again(pending) if pending.reason == "no space"));
    }

    #[test]
    fn the_default_box_may_have_it_already() {
        let mut tally = Tally::default();
        tally.add(&rcpt("a@x.example"), Fate::DefaultBox { reason: "no".into() });
        tally.default_box(&rcpt("box@x.example"), None);
        assert_eq!(settle(Pending::default(), tally, &RetryTimes::default(), 1), Settled::Final { held: false });
    }

    #[test]
    fn addresses_count_as_they_stood_in_rcpt() {
        let address: Address = "a b@x.example".parse().unwrap_or_else(|_| "\"a b\"@x.example".parse().unwrap());
        let mut tally = Tally::default();
        tally.add(&Recipient::new(address), Fate::Delivered);
        assert_eq!(tally.done, ["\"a b\"@x.example"]);
    }
}
