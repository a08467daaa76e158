//! Whether the provider puts one copy into the box for each recipient, or one for all of them.

use super::candidates::message_id;
use super::{is_accepted, is_list_mail, is_own, percent};
use crate::mail::{Address, HeaderBlock};
use crate::resolve::{Rules, addresses};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Least messages to several of us before their number of copies tells anything.
const SEVERAL_MIN: usize = 3;
/// The share of them with one copy, in per cent, that makes a single-copy provider.
const SINGLE_PERCENT_MIN: usize = 75;

/// Messages to several accepted addresses, and how many copies of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Messages (by Message-ID, lists left out) whose To and Cc name more than one accepted address.
    pub to_several: usize,
    /// Those that are in the mailbox once only.
    pub single: usize,
    /// Messages, lists left out, whose To and Cc name an accepted address: what guessing would find.
    pub guessable: usize,
}

pub(super) fn find(headers: &[HeaderBlock], rules: &Rules) -> Copies {
    let mut groups: BTreeMap<String, (usize, BTreeSet<Address>)> = BTreeMap::new();
    let mut guessable = 0;
    for header in headers.iter().filter(|header| !is_list_mail(header)) {
        let fields = header.all("To").chain(header.all("Cc"));
        let named: BTreeSet<Address> = fields
            .flat_map(|field| addresses(&header.text(field)))
            .filter(|address| is_accepted(address.domain(), rules) && !is_own(address, rules))
            .collect();
        guessable += usize::from(!named.is_empty());
        if let Some(id) = message_id(header) {
            let group = groups.entry(id).or_default();
            group.0 += 1;
            group.1.extend(named);
        }
    }
    let several: Vec<usize> = groups.into_values().filter(|(_, named)| named.len() > 1).map(|(copies, _)| copies).collect();
    Copies { to_several: several.len(), single: several.iter().filter(|copies| **copies == 1).count(), guessable }
}

impl Copies {
    /// True if one copy stands for all recipients.
    pub fn is_single(&self) -> bool {
        self.to_several >= SEVERAL_MIN && percent(self.single, self.to_several) >= SINGLE_PERCENT_MIN
    }

    pub(super) fn finding(&self) -> Option<String> {
        let Copies { to_several, single, .. } = self;
        if *to_several == 0 {
            return None;
        }
        let meaning = match (self.is_single(), to_several - single) {
            (true, _) => "the provider keeps one copy for all recipients, so To and Cc have to be asked as well (guess: union)",
            (false, 0) => "too few to tell",
            (false, _) => "there is a copy for each recipient, so an envelope header alone decides",
        };
        Some(format!("copies: {to_several} messages name several of your addresses, {single} of them are there once only: {meaning}"))
    }

    pub(super) fn to_json(self) -> Value {
        json!({"to_several": self.to_several, "single": self.single, "guessable": self.guessable, "single_copy_provider": self.is_single()})
    }
}
