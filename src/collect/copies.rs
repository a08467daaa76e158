//! Other copies of one letter: those that its recipients got lately, and those that are on their way.

use super::dedupe::{self, InFlight};
use super::deliver_one::Deliverer;
use super::folders;
use super::route::Route;
use crate::ledger::{LedgerError, Seen, SeenKey};
use crate::mail::{Address, Fingerprint, Message};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::Duration;

/// How long it is remembered who has a letter that the provider names: labels are given long after mail has come.
const NAMED_WINDOW: Duration = Duration::from_secs(366 * 86_400);

/// Other copies of this letter for these recipients: delivered lately, or on their way.
pub(super) struct Copies {
    target: String,
    /// What the letter is known by, and for how long: its content, the provider's name for it, both or neither.
    letters: Vec<(Fingerprint, Duration)>,
    /// What was delivered within the window, by key.
    earlier: HashMap<SeenKey, String>,
    pub(super) in_flight: Option<InFlight>,
}

impl Copies {
    /// Looks them up, once nobody else is delivering one. Nothing is looked up where duplicates are not looked for, and what was delivered before
    /// the operator had the message `forgotten` does not count.
    pub(super) async fn enter(deliverer: &Deliverer<'_>, message: &Message, route: &Route, forgotten: i64) -> Result<Self, LedgerError> {
        let letters = letters(message, deliverer.collector.dedupe_window, folders::may_be_several(deliverer.collector));
        let mut copies = Copies { target: deliverer.destination.name(), letters, earlier: HashMap::new(), in_flight: None };
        if copies.letters.is_empty() {
            return Ok(copies);
        }
        let addresses: Vec<&Address> = route.recipients.iter().map(|recipient| &recipient.address).chain(deliverer.router.default_box()).collect();
        let of_letter = |letter: &Fingerprint| addresses.iter().map(|address| dedupe::key(letter, address, &copies.target)).collect::<Vec<_>>();
        let by_letter: Vec<(Vec<SeenKey>, Duration)> = copies.letters.iter().map(|(letter, window)| (of_letter(letter), *window)).collect();
        let mut keys: Vec<SeenKey> = by_letter.iter().flat_map(|(keys, _)| keys.iter().copied()).collect();
        keys.sort_unstable_by_key(|key| key.0);
        keys.dedup();
        copies.in_flight = Some(deliverer.dedupe.enter(keys).await);
        for (keys, window) in by_letter {
            let since = deliverer.now.saturating_sub(i64::try_from(window.as_secs()).unwrap_or(i64::MAX)).max(forgotten.saturating_add(1));
            let earlier = deliverer.ledger.seen(&keys, since).await?;
            copies.earlier.extend(keys.into_iter().zip(earlier).filter_map(|(key, trace_id)| trace_id.map(|id| (key, id.to_string()))));
        }
        Ok(copies)
    }

    /// The trace id of the message that this recipient got already.
    pub(super) fn earlier(&self, address: &Address) -> Option<String> {
        if self.earlier.is_empty() {
            return None;
        }
        self.letters.iter().find_map(|(letter, _)| self.earlier.get(&dedupe::key(letter, address, &self.target)).cloned())
    }

    pub(super) fn remember(&self, message: &Message, delivered: &[Address], at: i64) -> Vec<Seen> {
        let trace_id = message.trace_id();
        let of_letter = |(letter, window): &(Fingerprint, Duration)| {
            let (letter, window) = (*letter, *window);
            delivered.iter().map(move |address| dedupe::seen(dedupe::key(&letter, address, &self.target), trace_id, at, window))
        };
        self.letters.iter().flat_map(of_letter).collect()
    }
}

/// What the letter is known by. Equal alarms without an id and a date are different mail. Gmail shows a letter in a folder for each of its labels, under
/// one name: where several folders are collected it comes once, also where duplicates are not looked for.
fn letters(message: &Message, window: Duration, several_folders: bool) -> Vec<(Fingerprint, Duration)> {
    let by_content = (!window.is_zero() && message.has_identity()).then_some((message.fingerprint, window));
    let by_name = message.letter_id.filter(|_| several_folders).map(|id| (named(id, message), window.max(NAMED_WINDOW)));
    by_content.into_iter().chain(by_name).collect()
}

/// Names are the mailbox's own: another mailbox may have the same for another letter.
fn named(id: u64, message: &Message) -> Fingerprint {
    let mut hash = Sha256::new_with_prefix(b"letter id\0");
    hash.update(id.to_be_bytes());
    hash.update(message.key.mailbox.to_string());
    Fingerprint(hash.finalize().into())
}
