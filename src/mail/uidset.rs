//! Compact sets of UIDs: what is known, what is present. Memory follows the number of gaps (IMAP) or is a few octets per message (POP3).

use super::{RemoteUid, by_content};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;

/// A set of IMAP UIDs as ascending ranges that do not touch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UidSet {
    ranges: Vec<RangeInclusive<u32>>,
}

impl UidSet {
    /// Most ranges that a set holds: a hostile server could list every other number.
    pub const RANGES_MAX: usize = 1_000_000;

    /// The empty set.
    pub fn new() -> Self {
        UidSet::default()
    }

    /// Adds one UID; cheap when UIDs come in ascending order.
    pub fn insert(&mut self, uid: u32) {
        self.insert_range(uid..=uid);
    }

    /// Adds all UIDs of a range.
    pub fn insert_range(&mut self, range: RangeInclusive<u32>) {
        let (mut low, mut high) = (*range.start(), *range.end());
        if low > high {
            return;
        }
        // The ranges that overlap the new one or touch it become one with it.
        let first = self.ranges.partition_point(|r| r.end().saturating_add(1) < low);
        let after = first + self.ranges[first..].partition_point(|r| *r.start() <= high.saturating_add(1));
        if first < after {
            low = low.min(*self.ranges[first].start());
            high = high.max(*self.ranges[after - 1].end());
        }
        self.ranges.splice(first..after, [low..=high]);
    }

    /// True if the UID is in the set.
    pub fn contains(&self, uid: u32) -> bool {
        let at = self.ranges.partition_point(|r| *r.end() < uid);
        self.ranges.get(at).is_some_and(|r| r.contains(&uid))
    }

    /// How many UIDs it holds.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|r| u64::from(r.end() - r.start()) + 1).sum()
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// All UIDs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(Clone::clone)
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[RangeInclusive<u32>] {
        &self.ranges
    }
}

impl FromIterator<u32> for UidSet {
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> Self {
        let mut set = UidSet::new();
        uids.into_iter().for_each(|uid| set.insert(uid));
        set
    }
}

/// As an IMAP sequence-set (RFC 9051 §9): `1:5,8,10:12`. Empty for the empty set, which is not one.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.ranges.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (low, high) if low == high => write!(f, "{comma}{low}")?,
                (low, high) => write!(f, "{comma}{low}:{high}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The UIDs of a folder that need not be collected, with a note of which a listing has met. An UIDL is kept as 128 bits of its SHA-256:
/// 32 octets of memory for each message that stays on a POP3 server.
#[derive(Clone, Debug, Default)]
pub struct KnownUids {
    numbers: UidSet,
    digests: HashMap<u128, bool>,
    /// Ids that several messages shared, of which some are known by their content.
    shared: HashSet<u128>,
    /// Some are known by an id that a server gave.
    plain: bool,
}

impl KnownUids {
    /// Nothing is known.
    pub fn new() -> Self {
        KnownUids::default()
    }

    /// Adds a UID.
    pub fn insert(&mut self, uid: &RemoteUid) {
        match uid {
            RemoteUid::Number(number) => self.numbers.insert(*number),
            RemoteUid::Opaque(uidl) => {
                self.digests.entry(digest(uidl)).or_insert(false);
                self.shared.extend(by_content::shared_id(uid));
                self.plain |= uidl.first() != Some(&0);
            }
        }
    }

    /// Removes an UIDL, so that a listing yields it.
    pub fn remove(&mut self, uid: &RemoteUid) {
        if let RemoteUid::Opaque(uidl) = uid {
            self.digests.remove(&digest(uidl));
        }
    }

    /// True if the UID is known.
    pub fn contains(&self, uid: &RemoteUid) -> bool {
        match uid {
            RemoteUid::Number(number) => self.numbers.contains(*number),
            RemoteUid::Opaque(uidl) => self.digests.contains_key(&digest(uidl)),
        }
    }

    /// True if the UID is known; notes that the listing met it.
    pub fn meet(&mut self, uid: &RemoteUid) -> bool {
        match uid {
            RemoteUid::Number(number) => self.numbers.contains(*number),
            RemoteUid::Opaque(uidl) => self.meet_digest(digest(uidl)),
        }
    }

    /// As [`KnownUids::meet`], for an UIDL by its [`digest`].
    pub fn meet_digest(&mut self, digest: u128) -> bool {
        self.digests.get_mut(&digest).map(|met| *met = true).is_some()
    }

    /// True if any is known by an UIDL that a server gave, and not by a name that we made up.
    pub fn has_plain(&self) -> bool {
        self.plain
    }

    /// True if the id with this [`digest`] was shared by messages of which some are known by their content.
    pub fn was_shared(&self, id: u128) -> bool {
        !self.shared.is_empty() && self.shared.contains(&id)
    }

    /// True if a listing met this UIDL.
    pub fn has_met(&self, uid: &RemoteUid) -> bool {
        match uid {
            RemoteUid::Number(_) => false,
            RemoteUid::Opaque(uidl) => self.digests.get(&digest(uidl)).is_some_and(|met| *met),
        }
    }

    /// How many UIDLs no listing met yet.
    pub fn unmet(&self) -> usize {
        self.digests.values().filter(|met| !**met).count()
    }

    /// How many are known.
    pub fn len(&self) -> u64 {
        self.numbers.len() + self.digests.len() as u64
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an UIDL is known by: 128 bits of its SHA-256.
pub fn digest(uidl: &[u8]) -> u128 {
    let hash = Sha256::digest(uidl);
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(first)
}

/// What a complete listing found, for pruning what has vanished.
#[derive(Clone, Debug)]
pub enum Present {
    /// Every UID of the folder (IMAP).
    Numbers(UidSet),
    /// The known UIDLs, of which those that were met are present (POP3).
    Met(KnownUids),
}

impl Present {
    /// True if the listing found this message.
    pub fn contains(&self, uid: &RemoteUid) -> bool {
        match (self, uid) {
            (Present::Numbers(set), RemoteUid::Number(number)) => set.contains(*number),
            (Present::Met(known), uid) => known.has_met(uid),
            (Present::Numbers(_), RemoteUid::Opaque(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn writes_a_sequence_set() {
        let set: UidSet = [3, 1, 2, 9, 7, u32::MAX].into_iter().collect();
        assert_eq!(set.to_string(), "1:3,7,9,4294967295");
        assert_eq!(set.len(), 6);
    }

    #[test]
    fn knows_and_meets_uidls() {
        let uid = |t: &[u8]| RemoteUid::Opaque(t.into());
        let mut known = KnownUids::new();
        known.insert(&uid(b"a"));
        known.insert(&uid(b"b"));
        assert!(known.meet(&uid(b"a")) && !known.meet(&uid(b"c")));
        assert_eq!(known.unmet(), 1);
        let present = Present::Met(known);
        assert!(present.contains(&uid(b"a")) && !present.contains(&uid(b"b")));
    }

    proptest! {
        #[test]
        fn it_is_a_set(ranges in proptest::collection::vec((0u32..60, 0u32..8), 0..12)) {
            let (mut set, mut model) = (UidSet::new(), BTreeSet::new());
            for (low, more) in ranges {
                set.insert_range(low..=low + more);
                model.extend(low..=low + more);
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), model.len() as u64);
            for uid in 0..80 { prop_assert_eq!(set.contains(uid), model.contains(&uid)); }
            prop_assert!(set.ranges().windows(2).all(|w| *w[0].end() + 1 < *w[1].start()));
        }
    }
}
