//! The built-in table (docs/delivery.md has it for operators): what a refusal means for the message, once nothing of the operator's matches.

use super::{Action, Policy};
use crate::mail::{Blame, Diagnosis, Outcome, Reply, Stage};

/// What is to be done, and which rule says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub action: Action,
    /// The rule in words: `policy rule 2`, `unknown recipient`.
    pub by: String,
}

/// What the decision needs to know beside the outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// There is a default box, and it is another one than this recipient.
    pub default_box: bool,
    /// This recipient is the default box.
    pub is_default_box: bool,
    /// The message has been tried for as long as `retry.give_up` says.
    pub given_up: bool,
}

impl Policy {
    /// What is done about one recipient whose outcome this is. `None` if there is nothing to decide: it was delivered, or nobody knows, or the
    /// target as a whole failed, for which no message is to blame.
    pub fn decide(&self, outcome: &Outcome, with: Circumstances) -> Option<Decision> {
        let (diagnosis, permanent) = match outcome {
            Outcome::Delivered(_) | Outcome::Unknown(_) => return None,
            Outcome::Deferred(diagnosis) => (diagnosis, false),
            Outcome::Rejected(diagnosis) => (diagnosis, true),
        };
        if let Some((nth, action)) = self.configured(diagnosis) {
            return Some(self.possible(Decision { action, by: format!("policy rule {}", nth + 1) }, with));
        }
        if diagnosis.blame == Blame::Target {
            return None;
        }
        let decision = match permanent {
            false => self.for_now(diagnosis, with),
            true => self.for_good(diagnosis, with),
        };
        Some(self.possible(decision, with))
    }

    /// The first of the operator's rules that matches. They are about replies to a message, not about those to a connection.
    fn configured(&self, diagnosis: &Diagnosis) -> Option<(usize, Action)> {
        let reply = diagnosis.reply.as_ref()?;
        let about_a_message = matches!(diagnosis.stage, Stage::MailFrom | Stage::RcptTo | Stage::Data | Stage::Content);
        // 421 says that the server goes away (RFC 5321 §3.8), whatever else it says.
        if !about_a_message || reply.code == 421 {
            return None;
        }
        self.rules.iter().enumerate().find(|(_, rule)| rule.reply.matches(reply)).map(|(nth, rule)| (nth, rule.action))
    }

    fn for_now(&self, diagnosis: &Diagnosis, with: Circumstances) -> Decision {
        let decision = |action, by: &str| Decision { action, by: by.to_owned() };
        let full = diagnosis.reply.as_ref().is_some_and(is_mailbox_full);
        match (with.given_up, full) {
            (false, true) => decision(Action::Defer, "mailbox full: it becomes empty some day"),
            (false, false) => decision(Action::Defer, "temporary failure"),
            (true, true) if with.default_box => decision(Action::DefaultBox, "mailbox full for longer than retry.give_up"),
            (true, _) => decision(Action::Hold, "tried for longer than retry.give_up"),
        }
    }

    fn for_good(&self, diagnosis: &Diagnosis, with: Circumstances) -> Decision {
        let decision = |action, by: &str| Decision { action, by: by.to_owned() };
        let about_recipient = diagnosis.blame == Blame::Recipient;
        if with.is_default_box && about_recipient {
            // The last resort must not be lost to a typing error in the target's tables: the operator is told, and it is tried again.
            return match with.given_up {
                false => decision(Action::Defer, "the default box was refused"),
                true => decision(Action::Hold, "the default box was refused for longer than retry.give_up"),
            };
        }
        if about_recipient && !diagnosis.reply.as_ref().is_some_and(is_policy) {
            let action = if with.default_box { Action::DefaultBox } else { self.on_permanent_failure };
            return decision(action, "unknown recipient");
        }
        let by = match diagnosis.stage {
            Stage::RcptTo => "recipient refused by the target's policy (on_permanent_failure)",
            Stage::MailFrom => "sender refused (on_permanent_failure)",
            _ => "message refused (on_permanent_failure)",
        };
        decision(self.on_permanent_failure, by)
    }

    /// Without a default box, or for the default box itself, another way has to do.
    fn possible(&self, decision: Decision, with: Circumstances) -> Decision {
        let other = match (decision.action, self.on_permanent_failure) {
            (Action::DefaultBox, _) if with.default_box => return decision,
            (Action::DefaultBox, Action::DefaultBox) => Action::Hold,
            (Action::DefaultBox, other) => other,
            _ => return decision,
        };
        let why = if with.is_default_box { "it is the default box" } else { "there is no default box" };
        Decision { action: other, by: format!("{}; {why}", decision.by) }
    }
}

/// RFC 3463 §3.8: 5.7.x is about security and policy; 554 without an enhanced code is what servers say who want no mail from us.
fn is_policy(reply: &Reply) -> bool {
    match reply.enhanced {
        Some((_, subject, _)) => subject == 7,
        None => reply.code == 554,
    }
}

/// RFC 3463 §3.3: X.2.2; 552 where there is no enhanced code.
pub fn is_mailbox_full(reply: &Reply) -> bool {
    match reply.enhanced {
        Some((_, subject, detail)) => (subject, detail) == (2, 2),
        None => reply.code == 552,
    }
}

/// RFC 6647: a server that greylists wants to be asked again, and not at once.
pub fn is_greylisting(diagnosis: &Diagnosis) -> bool {
    let later = |reply: &Reply| matches!(reply.code, 450 | 451);
    diagnosis.stage == Stage::RcptTo && diagnosis.reply.as_ref().is_some_and(later)
}

#[cfg(test)]
mod tests {
    use super::super::{PolicyRule, ReplyPattern};
    use super::*;
    use crate::mail::Pattern;
    use Action::*;

    fn said(stage: Stage, blame: Blame, text: &str) -> Diagnosis {
        let mut words = text.splitn(3, ' ');
        let code = words.next().unwrap().parse().unwrap();
        let rest = words.next().unwrap_or("");
        let digits: Vec<u16> = rest.split('.').filter_map(|n| n.parse().ok()).collect();
        let (enhanced, text) = match digits[..] {
            [class, subject, detail] => (Some((class as u8, subject, detail)), words.next().unwrap_or("").to_owned()),
            _ => (None, text.split_once(' ').map_or("", |(_, rest)| rest).to_owned()),
        };
        Diagnosis::of_reply(stage, blame, Reply::new(code, enhanced, &text))
    }

    const BOX: Circumstances = Circumstances { default_box: true, is_default_box: false, given_up: false };
    const NO_BOX: Circumstances = Circumstances { default_box: false, is_default_box: false, given_up: false };
    const IS_BOX: Circumstances = Circumstances { default_box: false, is_default_box: true, given_up: false };

    fn late(with: Circumstances) -> Circumstances {
        Circumstances { given_up: true, ..with }
    }

    #[test]
    fn s7_the_table() {
        use Blame::{Message, Recipient, Target};
        let rejected = |stage, blame, text| Outcome::Rejected(said(stage, blame, text));
        let deferred = |stage, blame, text| Outcome::Deferred(said(stage, blame, text));
        for (outcome, with, want) in [
            // An unknown user: the default box, or else hold.
            (rejected(Stage::RcptTo, Recipient, "550 5.1.1 no such user"), BOX, Some(DefaultBox)),
            (rejected(Stage::RcptTo, Recipient, "550 no such user"), BOX, Some(DefaultBox)),
            (rejected(Stage::RcptTo, Recipient, "551 gone"), BOX, Some(DefaultBox)),
            (rejected(Stage::RcptTo, Recipient, "550 5.1.1 no such user"), NO_BOX, Some(Hold)),
            // The default box itself: never given up lightly.
            (rejected(Stage::RcptTo, Recipient, "550 5.1.1 no such user"), IS_BOX, Some(Defer)),
            (rejected(Stage::RcptTo, Recipient, "550 5.1.1 no such user"), late(IS_BOX), Some(Hold)),
            // Policy.
            (rejected(Stage::RcptTo, Recipient, "554 5.7.1 relay denied"), BOX, Some(Hold)),
            (rejected(Stage::RcptTo, Recipient, "550 5.7.1 no"), BOX, Some(Hold)),
            (rejected(Stage::RcptTo, Recipient, "554 go away"), BOX, Some(Hold)),
            // The message.
            (rejected(Stage::MailFrom, Message, "550 5.1.8 sender domain"), BOX, Some(Hold)),
            (rejected(Stage::Content, Message, "554 5.7.1 spam"), BOX, Some(Hold)),
            (rejected(Stage::Content, Message, "552 5.3.4 too big"), BOX, Some(Hold)),
            (rejected(Stage::Content, Message, "554 5.6.0 content"), IS_BOX, Some(Hold)),
            (rejected(Stage::Content, Recipient, "550 5.1.1 no such user"), BOX, Some(DefaultBox)),
            // For now.
            (deferred(Stage::RcptTo, Recipient, "450 4.2.0 greylisted"), BOX, Some(Defer)),
            (deferred(Stage::RcptTo, Recipient, "450 4.2.0 greylisted"), late(BOX), Some(Hold)),
            (deferred(Stage::RcptTo, Recipient, "552 5.2.2 full"), BOX, Some(Defer)),
            (deferred(Stage::RcptTo, Recipient, "552 5.2.2 full"), late(BOX), Some(DefaultBox)),
            (deferred(Stage::RcptTo, Recipient, "552 5.2.2 full"), late(NO_BOX), Some(Hold)),
            (deferred(Stage::Content, Message, "451 4.3.0 later"), BOX, Some(Defer)),
            // Nobody's fault but the target's.
            (deferred(Stage::RcptTo, Target, "530 5.7.0 login first"), BOX, None),
            (deferred(Stage::Greeting, Target, "554 no service"), BOX, None),
            (Outcome::Unknown(said(Stage::Content, Target, "250 x")), BOX, None),
            (Outcome::Delivered(Reply::new(250, None, "ok")), BOX, None),
        ] {
            let decided = Policy::default().decide(&outcome, with);
            assert_eq!(decided.as_ref().map(|decision| decision.action), want, "{outcome:?} with {with:?}: {decided:?}");
        }
    }

    #[test]
    fn s7_the_operators_rules_come_first_and_only_about_messages() {
        let rule = |reply, action| PolicyRule { reply, action };
        let policy = Policy {
            rules: vec![
                rule(ReplyPattern::Enhanced(5, Some(7), Some(1)), Leave),
                rule(ReplyPattern::Code(554), Discard),
                rule(ReplyPattern::Regex(Pattern::new("spam|virus").unwrap()), DefaultBox),
                rule(ReplyPattern::Enhanced(4, None, None), Hold),
            ],
            on_permanent_failure: Defer,
        };
        for (stage, text, with, want, by) in [
            (Stage::Content, "554 5.7.1 spam", BOX, Some(Leave), "policy rule 1"),
            (Stage::Content, "554 5.6.0 spam", BOX, Some(Discard), "policy rule 2"),
            (Stage::RcptTo, "550 SPAM found", BOX, Some(DefaultBox), "policy rule 3"),
            (Stage::RcptTo, "550 SPAM found", NO_BOX, Some(Defer), "policy rule 3; there is no default box"),
            (Stage::MailFrom, "450 4.7.1 slow down", BOX, Some(Hold), "policy rule 4"),
            (Stage::MailFrom, "550 5.1.8 who", BOX, Some(Defer), "sender refused (on_permanent_failure)"),
            (Stage::Greeting, "554 5.7.1 not you", BOX, None, ""),
            (Stage::MailFrom, "421 4.7.1 bye", BOX, None, ""),
        ] {
            let blame = if stage == Stage::Greeting || text.starts_with("421") { Blame::Target } else { Blame::Message };
            let diagnosis = said(stage, blame, text);
            let outcome = if text.starts_with('4') || blame == Blame::Target { Outcome::Deferred(diagnosis) } else { Outcome::Rejected(diagnosis) };
            let decided = policy.decide(&outcome, with);
            assert_eq!(decided.as_ref().map(|d| d.action), want, "{stage} {text}");
            assert_eq!(decided.map_or(String::new(), |d| d.by), by, "{stage} {text}");
        }
    }
}
