//! Compact sets of UIDs: what is known, what is present. Memory follows the number of gaps (IMAP) or is a few octets per message (POP3).

use super::{RemoteUid, by_content};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

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
/// 16 octets of memory for each message that stays on a POP3 server, and 4 once they are listed in another order than that of the ledger; copies
/// share them.
#[derive(Clone, Debug, Default)]
pub struct KnownUids {
    numbers: UidSet,
    /// The UIDLs that were there at first.
    base: Arc<Digests>,
    /// A bit for each of them that a listing has met; empty before the first.
    met: Vec<u64>,
    /// Which of them is likely to be met next: most servers list in the order of their ids.
    next: usize,
    /// Those of them that were removed: names for one session, few.
    removed: HashSet<u128>,
    /// UIDLs that came later, and whether a listing has met them.
    added: HashMap<u128, bool>,
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

    /// These are known.
    pub fn of(numbers: UidSet, uidls: KnownUidls) -> Self {
        let KnownUidls { digests, shared, plain } = uidls;
        KnownUids { numbers, base: Arc::new(Digests::new(digests)), shared, plain, ..KnownUids::default() }
    }

    /// Adds a UID.
    pub fn insert(&mut self, uid: &RemoteUid) {
        match uid {
            RemoteUid::Number(number) => self.numbers.insert(*number),
            RemoteUid::Opaque(uidl) => {
                let digest = digest(uidl);
                if !self.removed.remove(&digest) && self.base.position(digest).is_none() {
                    self.added.entry(digest).or_insert(false);
                }
                self.shared.extend(by_content::shared_id(uid));
                self.plain |= uidl.first() != Some(&0);
            }
        }
    }

    /// Adds many UIDs, in the form that copies share; no listing has met any UIDL afterwards.
    pub fn insert_all<'a>(&mut self, uids: impl Iterator<Item = &'a RemoteUid>) {
        uids.for_each(|uid| self.insert(uid));
        let there = self.base.all.iter().copied().filter(|digest| !self.removed.contains(digest));
        let all = there.chain(self.added.keys().copied()).collect();
        self.base = Arc::new(Digests::new(all));
        (self.met, self.next, self.removed, self.added) = Default::default();
    }

    /// Removes an UIDL, so that a listing yields it.
    pub fn remove(&mut self, uid: &RemoteUid) {
        if let RemoteUid::Opaque(uidl) = uid {
            let digest = digest(uidl);
            if self.added.remove(&digest).is_none()
                && let Some(at) = self.base.position(digest)
            {
                self.removed.insert(digest);
                self.met.get_mut(at / BITS).into_iter().for_each(|word| *word &= !(1 << (at % BITS)));
            }
        }
    }

    /// True if the UID is known.
    pub fn contains(&self, uid: &RemoteUid) -> bool {
        match uid {
            RemoteUid::Number(number) => self.numbers.contains(*number),
            RemoteUid::Opaque(uidl) => {
                let digest = digest(uidl);
                self.added.contains_key(&digest) || self.in_base(digest).is_some()
            }
        }
    }

    fn in_base(&self, digest: u128) -> Option<usize> {
        let at = self.base.position(digest)?;
        (self.removed.is_empty() || !self.removed.contains(&digest)).then_some(at)
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
        let as_expected = self.removed.is_empty() && self.base.all.get(self.next) == Some(&digest);
        if let Some(at) = if as_expected { Some(self.next) } else { self.in_base(digest) } {
            if self.met.is_empty() {
                self.met = vec![0; self.base.all.len().div_ceil(BITS)];
            }
            self.next = at + 1;
            self.met[at / BITS] |= 1 << (at % BITS);
            return true;
        }
        self.added.get_mut(&digest).map(|met| *met = true).is_some()
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
            RemoteUid::Opaque(uidl) => {
                let digest = digest(uidl);
                let in_base = |at: usize| self.met.get(at / BITS).is_some_and(|word| *word & (1 << (at % BITS)) != 0);
                self.added.get(&digest).is_some_and(|met| *met) || self.in_base(digest).is_some_and(in_base)
            }
        }
    }

    /// How many UIDLs no listing met yet.
    pub fn unmet(&self) -> usize {
        let met: usize = self.met.iter().map(|word| word.count_ones() as usize).sum();
        self.base.all.len() - self.removed.len() - met + self.added.values().filter(|met| !**met).count()
    }

    /// How many are known.
    pub fn len(&self) -> u64 {
        self.numbers.len() + (self.base.all.len() - self.removed.len() + self.added.len()) as u64
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bits of a word of [`KnownUids::met`].
const BITS: usize = u64::BITS as usize;

/// Known UIDLs in the making.
#[derive(Debug, Default)]
pub struct KnownUidls {
    digests: Vec<u128>,
    shared: HashSet<u128>,
    plain: bool,
}

impl KnownUidls {
    /// None yet; room for so many is made when the first one comes.
    pub fn new() -> Self {
        KnownUidls::default()
    }

    /// Adds one, each once; `most` says how many there may be in all.
    pub fn insert(&mut self, uidl: &[u8], most: u64) {
        if self.digests.is_empty() {
            self.digests.reserve_exact(usize::try_from(most).unwrap_or(0).min(UIDLS_AT_ONCE));
        }
        self.digests.push(digest(uidl));
        match uidl.first() {
            Some(&0) => self.shared.extend(by_content::shared_id(&RemoteUid::Opaque(uidl.into()))),
            _ => self.plain = true,
        }
    }
}

/// Most UIDLs for which room is made at once.
const UIDLS_AT_ONCE: usize = 1_000_000;

/// Digests, each once, and where each of them is.
#[derive(Debug, Default)]
struct Digests {
    all: Vec<u128>,
    /// Made when the first one is looked for.
    index: OnceLock<Index>,
}

impl Digests {
    fn new(all: Vec<u128>) -> Self {
        Digests { all, index: OnceLock::new() }
    }

    fn position(&self, digest: u128) -> Option<usize> {
        if self.all.is_empty() {
            return None;
        }
        let index = self.index.get_or_init(|| Index::of(&self.all));
        let alike = index.alike(digest)?;
        let found = alike.binary_search_by_key(&Some(&digest), |at| self.all.get(*at as usize)).ok()?;
        alike.get(found).map(|at| *at as usize)
    }
}

/// The positions of digests, by the bits that they start with and then by themselves. They are hashes, so that few start alike: nobody can change
/// that without much work, and it takes the time of a binary search then.
#[derive(Debug)]
struct Index {
    order: Vec<u32>,
    /// Where those begin that start with the same bits: one for each value, and one behind the last.
    starts: Vec<u32>,
    /// How many bits the others are.
    shift: u32,
}

impl Index {
    /// About so many start with the same bits.
    const ALIKE: usize = 8;

    fn of(all: &[u128]) -> Self {
        let bits = (all.len() / Self::ALIKE).next_power_of_two().max(2).ilog2();
        let shift = u128::BITS - bits;
        let first = |digest: &u128| (digest >> shift) as usize;
        // Counted, then placed: each start moves to the next one's place meanwhile, and so does the array.
        let mut starts = vec![0u32; (1 << bits) + 2];
        all.iter().for_each(|digest| starts[first(digest) + 2] += 1);
        (2..starts.len()).for_each(|n| starts[n] += starts[n - 1]);
        let mut order = vec![0u32; all.len()];
        for (at, digest) in all.iter().enumerate() {
            let place = &mut starts[first(digest) + 1];
            order[*place as usize] = at as u32;
            *place += 1;
        }
        starts.pop();
        let mut rest = order.as_mut_slice();
        for border in starts.windows(2) {
            let (alike, others) = rest.split_at_mut((border[1] - border[0]) as usize);
            alike.sort_unstable_by_key(|at| all[*at as usize]);
            rest = others;
        }
        Index { order, starts, shift }
    }

    fn alike(&self, digest: u128) -> Option<&[u32]> {
        let first = (digest >> self.shift) as usize;
        self.order.get(*self.starts.get(first)? as usize..*self.starts.get(first + 1)? as usize)
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
        fn known_uidls_are_a_map(first in proptest::collection::btree_set(0u32..40, 0..40), steps in proptest::collection::vec((0u32..60, 0u8..5), 0..60)) {
            let uid = |n: u32| RemoteUid::Opaque(n.to_string().into_bytes().into());
            let mut uidls = KnownUidls::new();
            let mut model = std::collections::BTreeMap::new();
            for n in first {
                uidls.insert(n.to_string().as_bytes(), 10);
                model.insert(n, false);
            }
            let mut known = KnownUids::of(UidSet::new(), uidls);
            let before = (known.clone(), model.clone());
            for (n, step) in steps {
                match step {
                    0 => { known.insert(&uid(n)); model.entry(n).or_insert(false); }
                    1 => { known.remove(&uid(n)); model.remove(&n); }
                    2 | 3 => {
                        let met = model.get_mut(&n).map(|met| *met = true).is_some();
                        prop_assert_eq!(known.meet(&uid(n)), met);
                    }
                    _ => {
                        known.insert_all([uid(n), uid(n + 1)].iter());
                        model.extend([(n, false), (n + 1, false)]);
                        model.values_mut().for_each(|met| *met = false);
                    }
                }
            }
            for (known, model) in [before, (known, model)] {
                prop_assert_eq!(known.len(), model.len() as u64);
                prop_assert_eq!(known.unmet(), model.values().filter(|met| !**met).count());
                for n in 0..70 {
                    prop_assert_eq!(known.contains(&uid(n)), model.contains_key(&n));
                    prop_assert_eq!(known.has_met(&uid(n)), model.get(&n) == Some(&true));
                }
            }
        }

        #[test]
        fn digests_are_found(all in proptest::collection::hash_set(prop_oneof![any::<u128>(), 0u128..300], 0..200), other: u128) {
            let digests = Digests::new(all.iter().copied().collect());
            for digest in all.iter().chain([&other, &0, &u128::MAX]) {
                let at = digests.position(*digest);
                prop_assert_eq!(at.is_some(), all.contains(digest));
                prop_assert!(at.is_none_or(|at| digests.all[at] == *digest));
            }
        }

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
