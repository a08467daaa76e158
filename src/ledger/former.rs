//! Messages of earlier epochs of a folder: after a change of UIDVALIDITY the mail is the same and its UIDs are not. Pure.

use super::State;
use crate::mail::{Fingerprint, RemoteUid};
use std::collections::HashMap;

/// What is known of them, until each has met the new message that it is.
#[derive(Clone, Debug, Default)]
pub struct Former {
    /// Kept messages, until they are taken.
    kept: Vec<Option<FormerKey>>,
    kept_by_copy: Chains,
    kept_by_identity: Chains,
    /// How many there were.
    count: usize,
    /// All others that say something about their future.
    others: Vec<Option<FormerMessage>>,
    by_hash: HashMap<Fingerprint, Vec<usize>>,
}

/// A message of an earlier epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerMessage {
    /// Its state, which the new message takes over.
    pub state: State,
    /// Where it is recorded, if what is recorded there is to follow to the new message.
    pub key: Option<FormerKey>,
}

/// Where a message of an earlier epoch is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerKey {
    pub(crate) folder: i64,
    pub(crate) uid: RemoteUid,
}

impl Former {
    /// Adds a kept message. The copy that it is, if that was written down, stays the same though the rules for recipients have changed since; the
    /// identity stays the same though a server has changed the copy's header.
    pub fn add_kept(&mut self, identity: Fingerprint, copy: Option<Fingerprint>, key: FormerKey) {
        self.kept_by_identity.push(Some(identity));
        self.kept_by_copy.push(copy);
        self.kept.push(Some(key));
        self.count += 1;
    }

    /// Adds another one, by the copy that it is; by its identity only where that is all that is known.
    pub fn add(&mut self, message: FormerMessage, hash: Fingerprint) {
        self.by_hash.entry(hash).or_default().push(self.others.len());
        self.others.push(Some(message));
        self.count += 1;
    }

    /// How many there were, whether they have met theirs or not.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there never was one.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The former message that a new one is: the same copy rather than the same letter to the same people. Each stands for one new message.
    pub fn take(&mut self, copy: &Fingerprint, identity: &Fingerprint) -> Option<FormerMessage> {
        if let Some(same) = self.take_other(copy) {
            return Some(same);
        }
        let kept = self.kept_by_copy.take(copy, &mut self.kept).or_else(|| self.kept_by_identity.take(identity, &mut self.kept));
        if kept.is_some() {
            return Some(FormerMessage { state: State::Kept, key: kept });
        }
        self.take_other(identity)
    }

    fn take_other(&mut self, hash: &Fingerprint) -> Option<FormerMessage> {
        let others = &mut self.others;
        self.by_hash.get(hash)?.iter().find_map(|&n| others.get_mut(n)?.take())
    }
}

/// Which of many messages have one hash: for each hash a chain through a list of numbers, 28 octets a message, as there may be very many.
#[derive(Clone, Debug, Default)]
struct Chains {
    /// Half of a hash tells as much as an UIDL does.
    first: HashMap<[u8; 16], u32>,
    /// By the number of the message, the number of the next one that has the same hash; itself, if it is the last.
    next: Vec<u32>,
}

impl Chains {
    /// The next message has this hash.
    fn push(&mut self, hash: Option<Fingerprint>) {
        let number = u32::try_from(self.next.len()).unwrap_or(u32::MAX);
        let earlier = hash.and_then(|hash| self.first.insert(half(&hash), number));
        self.next.push(earlier.unwrap_or(number));
    }

    /// Takes one of those with this hash that nobody has taken.
    fn take(&mut self, hash: &Fingerprint, from: &mut [Option<FormerKey>]) -> Option<FormerKey> {
        let half = half(hash);
        loop {
            let number = *self.first.get(&half)?;
            match self.next.get(number as usize) {
                Some(next) if *next != number => self.first.insert(half, *next),
                _ => self.first.remove(&half),
            };
            if let Some(key) = from.get_mut(number as usize).and_then(Option::take) {
                return Some(key);
            }
        }
    }
}

fn half(hash: &Fingerprint) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.0[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Pending;

    fn hash(n: u8) -> Fingerprint {
        Fingerprint([n; 32])
    }

    fn other(uid: u32, state: State) -> FormerMessage {
        FormerMessage { state, key: Some(FormerKey { folder: 1, uid: RemoteUid::Number(uid) }) }
    }

    #[test]
    fn each_stands_for_one_and_the_same_copy_comes_first() {
        let mut former = Former::default();
        assert!(former.is_empty());
        former.add_kept(hash(1), None, FormerKey { folder: 1, uid: RemoteUid::Number(6) });
        former.add(other(7, State::Held), hash(1));
        former.add(other(8, State::Pending(Pending::default())), hash(12));
        assert_eq!(
            former.take(&hash(12), &hash(99)).map(|found| found.state),
            Some(State::Pending(Pending::default())),
            "whatever the rules say now"
        );
        assert_eq!(former.take(&hash(12), &hash(1)).map(|found| found.state), Some(State::Kept), "taken already, and another copy is there");
        assert_eq!(former.take(&hash(13), &hash(1)), Some(other(7, State::Held)), "the last that is left");
        assert_eq!(former.take(&hash(13), &hash(1)), None);
        assert!(!former.is_empty());
    }

    #[test]
    fn a_kept_message_is_known_by_its_copy_whatever_the_rules_say_now() {
        let key = |uid| FormerKey { folder: 1, uid: RemoteUid::Number(uid) };
        let kept = |uid| Some(FormerMessage { state: State::Kept, key: Some(key(uid)) });
        let mut former = Former::default();
        // Three copies of one letter to the same people, one of them of unknown look, and another letter.
        for (uid, identity, copy) in [(1, 1, Some(11)), (2, 1, Some(12)), (3, 1, None), (4, 2, Some(14))] {
            former.add_kept(hash(identity), copy.map(hash), key(uid));
        }
        assert_eq!(former.len(), 4);
        // The rules have changed: no identity is what it was.
        assert_eq!(former.take(&hash(11), &hash(91)), kept(1));
        assert_eq!(former.take(&hash(11), &hash(91)), None, "it stands for one message only");
        assert_eq!(former.take(&hash(14), &hash(92)), kept(4));
        // A server has changed the header of a copy: the letter is the same, and none is taken twice.
        let mut rest: Vec<_> = (0..3).map(|_| former.take(&hash(77), &hash(1))).collect();
        rest.sort_by_key(|found| found.as_ref().and_then(|found| found.key.as_ref()).map(|key| key.uid.clone()));
        assert_eq!(rest, [None, kept(2), kept(3)]);
        assert_eq!(former.take(&hash(12), &hash(1)), None);
    }
}
