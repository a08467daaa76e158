//! Messages of earlier epochs of a folder: after a change of UIDVALIDITY the mail is the same and its UIDs are not. Pure.

use super::State;
use crate::mail::{Fingerprint, RemoteUid};
use std::collections::HashMap;

/// What is known of them, until each has met the new message that it is.
#[derive(Clone, Debug, Default)]
pub struct Former {
    /// Kept messages: how many of each identity.
    kept: HashMap<Fingerprint, u32>,
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
    pub fn add_kept(&mut self, identity: Fingerprint) {
        *self.kept.entry(identity).or_default() += 1;
    }

    /// Adds another one, by the copy that it is; by its identity only where that is all that is known.
    pub fn add(&mut self, message: FormerMessage, hash: Fingerprint) {
        self.by_hash.entry(hash).or_default().push(self.others.len());
        self.others.push(Some(message));
    }

    /// True if there never was one.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.others.is_empty()
    }

    /// The former message that a new one is: the same copy rather than the same letter to the same people. Each stands for one new message.
    pub fn take(&mut self, copy: &Fingerprint, identity: &Fingerprint) -> Option<FormerMessage> {
        if let Some(same) = self.take_other(copy) {
            return Some(same);
        }
        if let Some(left) = self.kept.get_mut(identity).filter(|left| **left > 0) {
            *left -= 1;
            return Some(FormerMessage { state: State::Kept, key: None });
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
        former.add_kept(hash(1));
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
