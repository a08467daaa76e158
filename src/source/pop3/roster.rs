//! The messages of one session by number and id. An id is kept as 128 bits of its SHA-256, so a listing of any length costs a few dozen
//! octets a message.
//!
//! **Two messages with one id.** RFC 1939 §7 lets a server give copies of one message the same id, and broken servers do it to others. The
//! first keeps its id; the second is called by the id, a NUL and `2`, and so on, which no server can send. If one of them were deleted alone,
//! the next session would call another one by its name; so they are only ever deleted together ([`Roster::twins`]).
//!
//! **A message without a usable id** (none, too long, with a NUL) is called by a NUL and its number. It cannot be recognised in the next
//! session, so it is never fetched and never deleted.

use crate::mail::RemoteUid;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// What was listed.
#[derive(Debug, Default)]
pub(super) struct Roster {
    by_id: HashMap<u128, Seen>,
    /// The second and later messages of an id.
    twins: HashMap<(u128, u32), u32>,
    /// Every number that was listed: a number must not stand for two messages.
    numbers: HashSet<u32>,
    unusable: HashSet<u32>,
}

#[derive(Debug)]
struct Seen {
    number: u32,
    count: u32,
}

impl Roster {
    /// Notes a listed message and names it, or `None` if its number was listed before.
    pub(super) fn enter(&mut self, number: u32, id: Option<&[u8]>) -> Option<RemoteUid> {
        if !self.numbers.insert(number) {
            return None;
        }
        let Some(id) = id else {
            self.unusable.insert(number);
            return Some(RemoteUid::Opaque(format!("\0{number}").into_bytes().into()));
        };
        let digest = digest(id);
        let seen = self.by_id.entry(digest).or_insert(Seen { number, count: 0 });
        seen.count += 1;
        if seen.count == 1 {
            return Some(RemoteUid::Opaque(id.into()));
        }
        self.twins.insert((digest, seen.count), number);
        let name = [id, b"\0", seen.count.to_string().as_bytes()].concat();
        Some(RemoteUid::Opaque(name.into()))
    }

    /// How many messages were listed.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// True if the name is that of a message without a usable id.
    pub(super) fn is_unusable(uid: &RemoteUid) -> bool {
        matches!(uid, RemoteUid::Opaque(name) if name.first() == Some(&0))
    }

    /// True if the message was listed.
    pub(super) fn contains(&self, uid: &RemoteUid) -> bool {
        match uid {
            RemoteUid::Opaque(name) if Self::is_unusable(uid) => {
                std::str::from_utf8(&name[1..]).ok().and_then(|n| n.parse().ok()).is_some_and(|n| self.unusable.contains(&n))
            }
            _ => self.number(uid).is_some(),
        }
    }

    /// The number of a message that can be fetched.
    pub(super) fn number(&self, uid: &RemoteUid) -> Option<u32> {
        let (digest, occurrence) = parts(uid)?;
        match occurrence {
            1 => self.by_id.get(&digest).map(|seen| seen.number),
            more => self.twins.get(&(digest, more)).copied(),
        }
    }

    /// What all messages of the same id have in common, and how many they are.
    pub(super) fn twins(&self, uid: &RemoteUid) -> Option<(u128, u32)> {
        let (digest, _) = parts(uid)?;
        self.by_id.get(&digest).map(|seen| (digest, seen.count))
    }
}

/// The digest of the server's id, and which of the messages of this id is meant.
fn parts(uid: &RemoteUid) -> Option<(u128, u32)> {
    let RemoteUid::Opaque(name) = uid else { return None };
    match name.iter().position(|b| *b == 0) {
        None => Some((digest(name), 1)),
        Some(0) => None,
        Some(at) => Some((digest(&name[..at]), std::str::from_utf8(&name[at + 1..]).ok()?.parse().ok().filter(|n| *n > 1)?)),
    }
}

fn digest(id: &[u8]) -> u128 {
    let hash = Sha256::digest(id);
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let mut roster = Roster::default();
        let lines: [(u32, Option<&[u8]>, Option<&[u8]>); 7] = [
            (1, Some(b"a"), Some(b"a")),
            (2, Some(b"b"), Some(b"b")),
            (3, Some(b"a"), Some(b"a\x002")),
            (4, None, Some(b"\x004")),
            (5, Some(b"a"), Some(b"a\x003")),
            (5, Some(b"c"), None),
            (9, Some(b"a2"), Some(b"a2")),
        ];
        for (number, id, name) in lines {
            let uid = roster.enter(number, id);
            assert_eq!(uid, name.map(|name| RemoteUid::Opaque(name.into())));
            if let (Some(uid), Some(_)) = (uid, id) {
                assert_eq!(roster.number(&uid), Some(number));
                assert!(roster.contains(&uid));
            }
        }
        let uid = |name: &[u8]| RemoteUid::Opaque(name.into());
        assert_eq!(roster.len(), 6);
        assert_eq!(roster.twins(&uid(b"a")).unwrap().1, 3);
        assert_eq!(roster.twins(&uid(b"a")), roster.twins(&uid(b"a\x003")));
        assert_eq!(roster.twins(&uid(b"b")).unwrap().1, 1);
        assert!(roster.contains(&uid(b"\x004")) && !roster.contains(&uid(b"\x003")));
        for absent in [&b"c"[..], b"a\x004", b"a\x001", b"b\x002", b"\x004", b"\x001", b""] {
            assert_eq!(roster.number(&uid(absent)), None);
        }
        assert_eq!(roster.number(&RemoteUid::Number(1)), None);
    }
}
