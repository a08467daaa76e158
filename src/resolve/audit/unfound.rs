//! The messages that a proposal finds nobody for: why, how many, and some of them to look at.

use super::{percent, shown};
use crate::mail::HeaderBlock;
use crate::resolve::{Reason, Rules, resolve};
use serde_json::{Value, json};

/// Messages that are named for each reason.
const SAMPLES_MAX: usize = 3;

/// Messages for which nobody is found, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfound {
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: usize,
    /// Some of the last of them: their UIDs, or where those are not known their numbers from 1.
    pub samples: Vec<String>,
}

/// By reason, the most frequent first.
pub(super) fn find(headers: &[HeaderBlock], rules: &Rules, uids: &[String]) -> Vec<Unfound> {
    let mut found: Vec<Unfound> = Vec::new();
    // The last ones are those that an operator remembers.
    for (at, header) in headers.iter().enumerate().rev() {
        let Some(reason) = resolve(header, rules).0.reason() else { continue };
        let position = found.iter().position(|one| one.reason == reason).unwrap_or_else(|| {
            found.push(Unfound { reason, count: 0, samples: Vec::new() });
            found.len() - 1
        });
        let one = &mut found[position];
        one.count += 1;
        if one.samples.len() < SAMPLES_MAX {
            one.samples.push(uids.get(at).map_or_else(|| (at + 1).to_string(), |uid| shown(uid)));
        }
    }
    found.sort_by_key(|one| std::cmp::Reverse(one.count));
    found
}

impl Unfound {
    /// In words; `named` if the samples are UIDs.
    pub(super) fn finding(&self, messages: usize, named: bool) -> String {
        let what = if named { "uid" } else { "message" };
        let (count, share) = (self.count, percent(self.count, messages));
        format!("nobody is found for {count} of {messages} messages ({share} %): {} ({what} {})", self.reason, self.samples.join(", "))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"reason": self.reason.code(), "messages": self.count, "samples": self.samples})
    }
}
