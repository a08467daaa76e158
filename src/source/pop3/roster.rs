//! The messages of one session by number and id. An id is kept as 128 bits of its SHA-256, so that a listing of any length costs 20 octets a
//! message.
//!
//! **An id that two messages have** names neither of them: RFC 1939 §7 lets a server give copies of one message the same id, and broken
//! servers do it to others. Nor does one that cannot be told from what we make up (empty, too long, with a NUL). Such messages are called by
//! their content (see [`by_content`]), or, if that cannot be had, by a NUL and their number: that name is good for this session only, so the
//! message is never fetched and never deleted by it.

use crate::mail::uidset::digest;
use crate::mail::{RemoteUid, by_content};
use std::collections::{HashMap, HashSet};

/// What was listed.
#[derive(Debug, Default)]
pub(super) struct Roster {
    named: Vec<Named>,
    nameless: Vec<u32>,
    /// Every number that was listed: a number must not stand for two messages. Only kept once they no longer ascend.
    numbers: Option<HashSet<u32>>,
    highest: u32,
    by_content: HashMap<RemoteUid, u32>,
}

/// As octets, so that one takes 20 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    id: [u8; 16],
    number: u32,
}

impl Roster {
    /// Notes a listed message; false if its number was listed before.
    pub(super) fn enter(&mut self, number: u32, id: Option<u128>) -> bool {
        if number <= self.highest && self.numbers.is_none() {
            self.numbers = Some(self.all_numbers());
        }
        if self.numbers.as_mut().is_some_and(|numbers| !numbers.insert(number)) {
            return false;
        }
        self.highest = self.highest.max(number);
        match id {
            Some(id) => self.named.push(Named { id: id.to_be_bytes(), number }),
            None => self.nameless.push(number),
        }
        true
    }

    /// Ends the listing of ids. Returns the messages that share theirs with others: their numbers, ascending, and their ids.
    pub(super) fn settle(&mut self) -> Vec<(u32, u128)> {
        self.named.sort_unstable();
        let mut shared: Vec<(u32, u128)> = self
            .named
            .chunk_by(|one, other| one.id == other.id)
            .filter(|alike| alike.len() > 1)
            .flat_map(|alike| alike.iter().map(|one| (one.number, u128::from_be_bytes(one.id))))
            .collect();
        shared.sort_unstable();
        shared
    }

    /// Names a message by its content.
    pub(super) fn call(&mut self, number: u32, id: Option<u128>, content: u128) -> RemoteUid {
        let mut copy = 1;
        loop {
            let name = by_content::name(id, content, copy);
            if !self.by_content.contains_key(&name) {
                self.by_content.insert(name.clone(), number);
                return name;
            }
            copy += 1;
        }
    }

    /// How many messages were listed.
    pub(super) fn len(&self) -> usize {
        self.named.len() + self.nameless.len()
    }

    /// Every number that was listed.
    pub(super) fn all_numbers(&self) -> HashSet<u32> {
        self.named.iter().map(|one| one.number).chain(self.nameless.iter().copied()).collect()
    }

    /// The messages that have no usable id.
    pub(super) fn nameless(&self) -> &[u32] {
        &self.nameless
    }

    /// The name of a message for this session only.
    pub(super) fn session_name(number: u32) -> RemoteUid {
        RemoteUid::Opaque(format!("\0{number}").into_bytes().into())
    }

    /// True if the name is good for one session only.
    pub(super) fn is_session_name(uid: &RemoteUid) -> bool {
        matches!(uid, RemoteUid::Opaque(name) if name.first() == Some(&0)) && !by_content::is_name(uid)
    }

    /// The number of a message that can be fetched.
    pub(super) fn number(&self, uid: &RemoteUid) -> Option<u32> {
        if let Some(number) = self.by_content.get(uid) {
            return Some(*number);
        }
        let RemoteUid::Opaque(name) = uid else { return None };
        let id = digest(name).to_be_bytes();
        let from = self.named.partition_point(|one| one.id < id);
        match self.named[from..] {
            [one, ref rest @ ..] if one.id == id && rest.first().is_none_or(|next| next.id != id) => Some(one.number),
            _ => None,
        }
    }

    /// Octets that it takes for each of so many messages.
    #[cfg(test)]
    fn octets_per_message() -> usize {
        size_of::<Named>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &[u8]) -> RemoteUid {
        RemoteUid::Opaque(name.into())
    }

    #[test]
    fn names_and_numbers() {
        let mut roster = Roster::default();
        let lines: [(u32, Option<&[u8]>, bool); 8] = [
            (1, Some(b"a"), true),
            (2, Some(b"b"), true),
            (3, Some(b"a"), true),
            (5, Some(b"a"), true),
            (4, None, true),
            (5, Some(b"c"), false),
            (2, Some(b"d"), false),
            (9, Some(b"a2"), true),
        ];
        for (number, id, fresh) in lines {
            assert_eq!(roster.enter(number, id.map(digest)), fresh, "{number}");
        }
        assert_eq!(roster.settle(), [1, 3, 5].map(|number| (number, digest(b"a"))));
        assert_eq!((roster.len(), roster.nameless()), (6, &[4][..]));
        let names = [(1, 7), (3, 8), (5, 7)].map(|(number, content)| roster.call(number, Some(digest(b"a")), content));
        assert_ne!(names[0], names[2], "alike, and yet two");
        assert_eq!(names.map(|name| roster.number(&name)), [Some(1), Some(3), Some(5)]);
        assert_eq!((roster.number(&uid(b"b")), roster.number(&uid(b"a2"))), (Some(2), Some(9)));
        for absent in [&b"a"[..], b"c", b"d", b"\x004", b""] {
            assert_eq!(roster.number(&uid(absent)), None);
        }
        assert_eq!(roster.number(&RemoteUid::Number(1)), None);
        assert!(Roster::is_session_name(&Roster::session_name(4)) && !Roster::is_session_name(&by_content::name(None, 7, 1)));
        assert_eq!(Roster::octets_per_message(), 20);
    }
}
