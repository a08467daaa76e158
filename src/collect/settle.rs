//! From the outcomes of a delivery to the state of the message. Pure. Only a positive answer is final; anything unknown means "not delivered".

use crate::ledger::Pending;
use crate::mail::{Address, Blame, Outcome, Recipient};

/// What the outcomes of one delivery say, taken together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Recipients that have it, as they stood in RCPT TO.
    pub done: Vec<String>,
    /// Recipients that were refused for good.
    pub refused: Vec<Recipient>,
    /// Why it was refused, in the target's words.
    pub refusal: Option<String>,
    /// A failure of this message or of a recipient, for now.
    pub failed: Option<String>,
    /// A failure of the target: nobody is to blame but the target.
    pub target_down: Option<String>,
    /// No answer to the final dot: there may be a copy.
    pub unknown: bool,
}

/// Sums up one outcome per recipient; a missing one counts as unknown.
pub fn sum_up(recipients: &[Recipient], outcomes: &[Outcome]) -> Summary {
    let mut summary = Summary::default();
    for (n, recipient) in recipients.iter().enumerate() {
        match outcomes.get(n) {
            Some(Outcome::Delivered(_)) => summary.done.push(recipient.address.to_smtp()),
            Some(Outcome::Rejected(diagnosis)) => {
                summary.refused.push(recipient.clone());
                summary.refusal.get_or_insert_with(|| diagnosis.to_string());
            }
            Some(Outcome::Deferred(diagnosis)) if diagnosis.blame == Blame::Target => {
                summary.target_down.get_or_insert_with(|| diagnosis.to_string());
            }
            Some(Outcome::Deferred(diagnosis)) => {
                summary.failed.get_or_insert_with(|| diagnosis.to_string());
            }
            Some(Outcome::Unknown(diagnosis)) => {
                summary.unknown = true;
                summary.failed.get_or_insert_with(|| diagnosis.to_string());
            }
            None => summary.unknown = true,
        }
    }
    summary
}

/// Who takes what was refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Instead {
    /// One copy to the default box.
    DefaultBox(Address),
    /// The default box has the message already.
    HasIt,
    /// Nobody: it is set aside.
    Nobody,
}

/// The default box takes a refused message once; if it was itself refused, nobody does.
pub fn instead(summary: &Summary, done_before: &[String], default_box: Option<&Address>) -> Instead {
    let Some(default_box) = default_box else { return Instead::Nobody };
    let smtp = default_box.to_smtp();
    if summary.done.iter().chain(done_before).any(|done| *done == smtp) {
        Instead::HasIt
    } else if summary.refused.iter().any(|recipient| recipient.address == *default_box) {
        Instead::Nobody
    } else {
        Instead::DefaultBox(default_box.clone())
    }
}

/// What becomes of the message.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// Every recipient is final.
    Final,
    /// To be tried again, after a delay of its own.
    Again(Pending),
    /// The target is down: tried again when it is back, with no penalty; to be recorded only if some recipients have it already.
    NotNow(Option<Pending>),
}

/// Decides from the delivery and, if there was one, the delivery to the default box that took its place.
pub fn settle(before: Pending, first: Summary, instead: &Instead, second: Option<Summary>, now: i64) -> Settled {
    let mut pending = before;
    let had_done = pending.done.len();
    pending.done.extend(first.done);
    let mut failed = first.failed;
    let mut target_down = first.target_down;
    let mut doubts = u32::from(first.unknown);
    if !first.refused.is_empty() {
        let refused_done = first.refused.iter().map(|recipient| recipient.address.to_smtp());
        match (instead, second) {
            (Instead::HasIt, _) => pending.done.extend(refused_done),
            (_, Some(second)) => {
                if !second.done.is_empty() {
                    pending.done.extend(second.done);
                    pending.done.extend(refused_done);
                }
                doubts += u32::from(second.unknown);
                failed = failed.or(second.failed).or(second.refusal.map(|refusal| format!("refused, and by the default box too: {refusal}")));
                target_down = target_down.or(second.target_down);
            }
            (_, None) => failed = failed.or(first.refusal),
        }
    }
    pending.in_doubt = pending.in_doubt.saturating_add(doubts);
    if failed.is_some() || doubts > 0 {
        return Settled::Again(pending.failed(now, failed.unwrap_or_else(|| "no answer".into())));
    }
    match target_down {
        None => Settled::Final,
        Some(reason) => {
            pending.next_try = now;
            pending.reason = reason;
            Settled::NotNow((pending.done.len() > had_done).then_some(pending))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Diagnosis, Reply, Stage};

    fn rcpt(address: &str) -> Recipient {
        Recipient::new(address.parse().unwrap())
    }

    fn failure(blame: Blame) -> Diagnosis {
        Diagnosis { stage: Stage::RcptTo, blame, reply: None, text: "because".into() }
    }

    fn outcome(word: &str) -> Outcome {
        match word {
            "ok" => Outcome::Delivered(Reply::new(250, None, "")),
            "no" => Outcome::Rejected(failure(Blame::Recipient)),
            "later" => Outcome::Deferred(failure(Blame::Recipient)),
            "down" => Outcome::Deferred(failure(Blame::Target)),
            _ => Outcome::Unknown(failure(Blame::Target)),
        }
    }

    /// Outcomes of the first delivery, whether there is a default box, the outcome there; and what is to come of it.
    fn settled(first: &[&str], default_box: Option<&str>) -> (Settled, Instead) {
        let recipients: Vec<_> = (0..first.len()).map(|n| rcpt(&format!("r{n}@x.example"))).collect();
        let outcomes: Vec<_> = first.iter().map(|word| outcome(word)).collect();
        let summary = sum_up(&recipients, &outcomes);
        let box_address: Address = "box@x.example".parse().unwrap();
        let instead = instead(&summary, &[], default_box.is_some().then_some(&box_address));
        let second = default_box.filter(|_| !summary.refused.is_empty()).map(|word| sum_up(&[Recipient::new(box_address)], &[outcome(word)]));
        (settle(Pending::default(), summary, &instead, second, 100), instead)
    }

    fn again(settled: &(Settled, Instead)) -> &Pending {
        match &settled.0 {
            Settled::Again(pending) | Settled::NotNow(Some(pending)) => pending,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_have_it() {
        assert_eq!(settled(&["ok", "ok"], None).0, Settled::Final);
    }

    #[test]
    fn who_has_it_gets_no_second_copy() {
        let mixed = settled(&["ok", "later"], None);
        assert_eq!((again(&mixed).done.as_slice(), again(&mixed).tries, again(&mixed).next_try), (&["r0@x.example".to_owned()][..], 1, 160));
    }

    #[test]
    fn a_refusal_goes_to_the_default_box_once() {
        let refused = settled(&["no", "ok", "no"], Some("ok"));
        assert!(matches!(refused.1, Instead::DefaultBox(_)));
        assert_eq!(refused.0, Settled::Final);
        let twice = settled(&["no"], Some("no"));
        assert!(again(&twice).reason.contains("default box too") && again(&twice).done.is_empty());
        let down = settled(&["no", "ok"], Some("down"));
        assert!(matches!(&down.0, Settled::NotNow(Some(pending)) if pending.done == ["r1@x.example"]));
    }

    #[test]
    fn without_a_default_box_it_is_set_aside() {
        let refused = settled(&["no"], None);
        assert_eq!((again(&refused).tries, again(&refused).in_doubt), (1, 0));
    }

    #[test]
    fn a_target_that_is_down_is_nobodys_fault() {
        assert_eq!(settled(&["down", "down"], None).0, Settled::NotNow(None));
        let half = settled(&["ok", "down"], None);
        assert!(matches!(&half.0, Settled::NotNow(Some(pending)) if pending.tries == 0 && pending.done.len() == 1));
    }

    #[test]
    fn no_answer_is_counted_and_tried_again() {
        let doubt = settled(&["?"], None);
        assert_eq!((again(&doubt).in_doubt, again(&doubt).tries), (1, 1));
        // An outcome that is missing counts as unknown, never as success.
        let summary = sum_up(&[rcpt("a@x.example")], &[]);
        assert!(matches!(settle(Pending::default(), summary, &Instead::Nobody, None, 1), Settled::Again(_)));
    }

    #[test]
    fn the_default_box_may_have_it_already() {
        let recipients = [rcpt("a@x.example"), rcpt("box@x.example")];
        let summary = sum_up(&recipients, &[outcome("no"), outcome("ok")]);
        let instead = instead(&summary, &[], Some(&"box@x.example".parse().unwrap()));
        assert_eq!(instead, Instead::HasIt);
        assert_eq!(settle(Pending::default(), summary, &instead, None, 1), Settled::Final);
    }
}
