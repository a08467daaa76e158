//! Layer 1, pure: what to do about a target's refusal: the operator's rules first, then the built-in table.

mod table;

pub use table::{Circumstances, Decision, is_greylisting, is_mailbox_full};

use crate::mail::{Pattern, Reply};

/// What is done with a message, or with one recipient of it, that the target did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Tried again later.
    Defer,
    /// The default box gets it in the recipient's place, once.
    DefaultBox,
    /// It is held here, for the operator.
    Hold,
    /// It is thrown away, and logged: only where the operator wrote so.
    Discard,
    /// It stays at its source, set aside and reported.
    Leave,
}

/// Which replies a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyPattern {
    /// This code: `554`.
    Code(u16),
    /// This enhanced code (RFC 3463): `5.7.1`; `None` where the operator wrote `x` or left it out.
    Enhanced(u8, Option<u16>, Option<u16>),
    /// The whole reply as it is logged, `554 5.7.1 text`, matches.
    Regex(Pattern),
}

impl ReplyPattern {
    /// True if the reply is meant.
    pub fn matches(&self, reply: &Reply) -> bool {
        match self {
            ReplyPattern::Code(code) => reply.code == *code,
            ReplyPattern::Enhanced(class, subject, detail) => reply
                .enhanced
                .is_some_and(|(c, s, d)| c == *class && subject.is_none_or(|subject| subject == s) && detail.is_none_or(|detail| detail == d)),
            ReplyPattern::Regex(pattern) => pattern.is_match(&reply.to_string()),
        }
    }
}

/// `delivery.policy`: one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Which replies.
    pub reply: ReplyPattern,
    /// What to do.
    pub action: Action,
}

/// `delivery.policy` and `on_permanent_failure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The operator's rules; the first that matches decides.
    pub rules: Vec<PolicyRule>,
    /// What becomes of a message that the target refuses for good.
    pub on_permanent_failure: Action,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { rules: Vec::new(), on_permanent_failure: Action::Hold }
    }
}
