//! Messages of earlier epochs of a folder: after a change of UIDVALIDITY the mail is the same and its UIDs are not. Pure.

use super::State;
use crate::mail::{Fingerprint, RemoteUid};
use std::collections::HashMap;

/// What is known of them, until each has met the new message that it is.
#[derive(Clone, Debug, Default)]
pub struct Former {
    /// Kept messages of each identity.
    kept: HashMap<Fingerprint, Vec<FormerKey>>,
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
    /// Adds a kept message.
    pub fn add_kept(&mut self, identity: Fingerprint, key: FormerKey) {
        self.kept.entry(identity).or_insert_with(|| Vec::with_capacity(1)).push(key);
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
        if let Some(key) = self.kept.get_mut(identity).and_then(Vec::pop) {
            return Some(FormerMessage { state: State::Kept, key: Some(key) });
        }
        self.take_other(identity)
    }

    fn take_other(&mut self, hash: &Fingerprint) -> Option<FormerMessage> {
        let others = &mut self.others;
        self.by_hash.get(hash)?.iter().find_map(|&n| others.get_mut(n)?.take())
    }
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
        former.add_kept(hash(1), FormerKey { folder: 1, uid: RemoteUid::Number(6) });
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
}
