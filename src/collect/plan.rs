//! What a pass is going to do, decided without any I/O: which messages to ask for, which to take, which copies are owed a disposal, and how
//! far the watermark may rise.

use super::bookmark::Bookmark;
use super::pass::{Room, Scope};
use crate::config::{After, Collect, Collector, TooLarge};
use crate::ledger::state::Due;
use crate::ledger::{History, Pending, Progress, State, due};
use crate::mail::RemoteUid;
use crate::source::{Listed, Listing, Selected, Want, Wanted};
use std::collections::{BTreeSet, HashSet, VecDeque};

/// Messages of one listing; the rest is listed when these are done, so that memory does not follow the mailbox.
pub const LISTING_MAX: usize = 10_000;
/// A mailbox is listed at most so often in a pass: each listing costs time by the size of the mailbox, and so would their number.
const LISTINGS_MAX: usize = 20;
/// Most messages of one listing of any mailbox.
const LARGE_LISTING_MAX: usize = 100_000;
/// Most exceptions of earlier passes that one pass takes up.
const DUE_MAX: usize = 2_000;
/// New messages whose sizes nobody knows that are taken before it is counted how large they were, where a session has a limit in octets.
const UNSIZED_MESSAGES_MAX: usize = 20;
/// Most messages of one batch: one FETCH behind another, one disposal, one line in the ledger that says "in flight".
pub const BATCH_MESSAGES_MAX: usize = 500;

/// The state of a message all of whose recipients are final.
pub fn final_state(after: After) -> State {
    match after {
        After::Keep | After::DeleteAfter(_) => State::Kept,
        After::MarkSeen | After::Delete | After::Move => State::Owed,
    }
}

/// The state of a message whose copy was owed a disposal before, and still stands.
pub fn still_owed(after: After) -> State {
    if after == After::Keep { State::Kept } else { State::Owed }
}

/// How much of the history a pass has to read.
pub fn history(collector: &Collector) -> History {
    match (collector.collect, collector.after) {
        (Collect::New, _) => History::AboveWatermark,
        // What waits for its deletion is not to come again.
        (Collect::Unseen, _) | (Collect::All, After::DeleteAfter(_)) => History::Full,
        (Collect::All, _) => History::None,
    }
}

/// The first listing of a pass, and what earlier passes left to do.
#[derive(Debug)]
pub struct Plan {
    /// What to list.
    pub want: Want,
    /// Copies that are owed a disposal.
    pub owed: BTreeSet<RemoteUid>,
    /// Copies of held mail that are owed a move.
    pub held_away: BTreeSet<RemoteUid>,
    /// Copies that were owed one, but the configuration now says to keep them.
    pub keep_after_all: Vec<RemoteUid>,
    /// More exceptions are due than one pass takes up.
    pub more: bool,
}

/// Plans a pass from what the ledger and the server say.
pub fn plan(collector: &Collector, selected: &Selected, progress: &Progress, with: Due, scope: Scope) -> Plan {
    let owed: BTreeSet<RemoteUid> = progress.exceptions.iter().filter(|(_, state)| **state == State::Owed).map(|(uid, _)| uid.clone()).collect();
    let (owed, keep_after_all) = if collector.after == After::Keep { (BTreeSet::new(), owed.into_iter().collect()) } else { (owed, Vec::new()) };
    let held_away: BTreeSet<RemoteUid> =
        progress.exceptions.iter().filter(|(_, state)| **state == State::HeldAway).map(|(uid, _)| uid.clone()).collect();
    let mut due_now: Vec<RemoteUid> = progress.exceptions.iter().filter(|(_, state)| due(state, with)).map(|(uid, _)| uid.clone()).collect();
    let more = due_now.len() > DUE_MAX;
    take_turns(&mut due_now, with.now);
    let also: Vec<RemoteUid> = owed.iter().chain(&held_away).cloned().chain(due_now).collect();
    let mut known = progress.kept.clone();
    let listed_anyway: HashSet<&RemoteUid> = also.iter().collect();
    for uid in progress.exceptions.keys().filter(|uid| !listed_anyway.contains(uid)) {
        known.insert(uid);
    }
    let remembered = progress.kept_count + progress.exceptions.len() as u64;
    let want = Want {
        above: above(collector, progress),
        also,
        unseen: collector.collect == Collect::Unseen,
        since: None,
        not_before: None,
        sizes: collector.max_message_size.is_some() || collector.max_bytes_per_session.is_some(),
        // UIDs that we remember can only become fewer: when fewer messages are there than we remember, some of those are gone.
        complete: selected.exists < remembered,
        known,
        limit: listing_max(selected.exists),
        cursor: progress.cursor.clone().filter(|_| Bookmark::applies(collector, scope)),
    };
    Plan { want, owed, held_away, keep_after_all, more }
}

/// Leaves as many as one pass takes up, others each time: rows that no listing finds, and none says are gone, stay due, and must not keep all others
/// from their turn.
fn take_turns(due_now: &mut Vec<RemoteUid>, now: i64) {
    if due_now.len() > DUE_MAX {
        // Passes come at even times, which would lead to the same rows again.
        let mixed = now.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let start = usize::try_from(mixed).unwrap_or_default() % due_now.len();
        due_now.rotate_left(start);
        due_now.truncate(DUE_MAX);
    }
}

fn listing_max(exists: u64) -> usize {
    usize::try_from(exists).unwrap_or(usize::MAX).div_ceil(LISTINGS_MAX).clamp(LISTING_MAX, LARGE_LISTING_MAX)
}

fn above(collector: &Collector, progress: &Progress) -> u32 {
    match collector.collect {
        Collect::New if collector.server.protocol.numbers_messages() => progress.watermark,
        _ => 0,
    }
}

/// The next listing, when the last one was cut: what comes behind it.
pub fn next_want(want: &Want, listing: &Listing) -> Want {
    let mut known = want.known.clone();
    let listed = &listing.messages;
    // What is too old is not listed again, or a listing of nothing but old messages would come for ever.
    known.insert_all(listed.iter().map(|message| &message.uid).chain(&listing.older));
    let above = listed.iter().filter_map(|message| message.uid.number()).max().unwrap_or(want.above).max(want.above);
    let cursor = listing.cursor.clone().or_else(|| want.cursor.clone());
    Want { above, also: Vec::new(), complete: false, known, cursor, ..want.clone() }
}

/// What to do with one listed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fetch and deliver it.
    Collect(Wanted),
    /// It is larger than the limit: note that, and leave it.
    TooLarge {
        /// Which.
        uid: RemoteUid,
        /// Its size, as the server says.
        octets: u64,
    },
}

/// What is taken of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What never came whole in earlier tries, the least tried first. Each may break the session, so that it comes by itself, behind all others.
    pub suspects: Vec<Step>,
    /// How many of these no earlier pass has tried.
    pub new: usize,
    /// Some were left for want of room.
    pub more: bool,
    /// They were left only until it shows how large those before them are: nobody knew the sizes.
    pub uncounted: bool,
    /// How many of the listing were looked at; behind them is what was left.
    pub looked_at: usize,
}

impl Taken {
    /// Takes out the copies that are `owed` a disposal: they need to be looked at again, but by themselves. Those that are larger than what is
    /// collected by now stay owed.
    pub fn without_owed(&mut self, collector: &Collector, owed: &BTreeSet<RemoteUid>) -> Vec<Step> {
        let is_owed = |step: &mut Step| {
            let (Step::Collect(Wanted { uid, .. }) | Step::TooLarge { uid, .. }) = step;
            owed.contains(uid)
        };
        let mut again: Vec<Step> = self.steps.extract_if(.., is_owed).collect();
        let limit = collector.max_message_size.filter(|_| collector.too_large != TooLarge::Hold).unwrap_or(u64::MAX);
        again.retain(|step| matches!(step, Step::Collect(wanted) if wanted.size.is_none_or(|octets| octets <= limit)));
        again
    }
}

/// What earlier passes did with a listed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Nothing.
    Never,
    /// It was tried.
    Before,
    /// So often, and it never came whole.
    Unfetched(u32),
}

impl Tried {
    /// What the ledger says.
    pub fn of(progress: &Progress, uid: &RemoteUid) -> Tried {
        match progress.exceptions.get(uid) {
            None => Tried::Never,
            Some(state) if is_forgotten(state) => Tried::Never,
            Some(state) => match state.before().map_or(0, |before| before.tries) {
                tries @ 1.. if !progress.hashes.contains_key(uid) => Tried::Unfetched(tries),
                _ => Tried::Before,
            },
        }
    }
}

/// True if the operator had it forgotten, and it was not tried since: it is new mail, as far as limits are concerned.
fn is_forgotten(state: &State) -> bool {
    matches!(state, State::Pending(Pending { forgotten: 1.., tries: 0, in_doubt: 0, done, .. }) if done.is_empty())
}

/// Sorts a listing into steps, as far as there is room. What an earlier pass has tried is neither counted nor held up: a hundred stuck messages
/// must not starve the box, nor the box them.
pub fn steps(collector: &Collector, listed: &[Listed], tried: impl Fn(&RemoteUid) -> Tried, generation: u32, room: &mut Room) -> Taken {
    let retried = |uid: &RemoteUid| tried(uid) != Tried::Never;
    let mut taken = Taken { looked_at: listed.len(), ..Taken::default() };
    let (mut suspects, mut unsized_new) = (Vec::new(), 0);
    for (at, Listed { uid, size }) in listed.iter().enumerate() {
        let too_large = size.filter(|octets| collector.max_message_size.is_some_and(|limit| *octets > limit));
        let wanted = || Step::Collect(Wanted { uid: uid.clone(), generation, size: *size });
        let header_only = collector.too_large == TooLarge::HeadersOnly;
        match too_large {
            Some(octets) if collector.too_large != TooLarge::Hold && (header_only || !retried(uid)) => {
                let step = Step::TooLarge { uid: uid.clone(), octets };
                match tried(uid) {
                    Tried::Unfetched(tries) => suspects.push((tries, step)),
                    Tried::Never | Tried::Before => taken.steps.push(step),
                }
                continue;
            }
            _ if retried(uid) => {
                match tried(uid) {
                    Tried::Unfetched(tries) => suspects.push((tries, wanted())),
                    Tried::Never | Tried::Before => taken.steps.push(wanted()),
                }
                continue;
            }
            _ if room.is_used_up() => {
                (taken.more, taken.looked_at) = (true, at);
                break;
            }
            _ if size.is_none() && collector.max_bytes_per_session.is_some() => {
                if unsized_new == UNSIZED_MESSAGES_MAX {
                    (taken.more, taken.uncounted, taken.looked_at) = (true, true, at);
                    break;
                }
                unsized_new += 1;
            }
            _ => {}
        }
        taken.new += 1;
        taken.steps.push(wanted());
        room.messages = room.messages.saturating_sub(1);
        // The last message may be larger than what is left, or it would never come.
        room.octets = room.octets.saturating_sub(size.unwrap_or(0).max(1));
    }
    suspects.sort_by_key(|(tries, _)| *tries);
    taken.suspects = suspects.into_iter().map(|(_, step)| step).collect();
    taken
}

/// How far everything is settled: rises through the UIDs of the listings in ascending order, as long as each has a recorded state.
#[derive(Debug)]
pub struct Watermark {
    ahead: VecDeque<u32>,
    settled: HashSet<u32>,
    applies: bool,
}

impl Watermark {
    /// A watermark for this collector: IMAP's, and not while only unseen messages are looked at, or only young ones, as those that were not looked at
    /// are not settled.
    pub fn new(collector: &Collector, scope: Scope) -> Self {
        let applies = collector.server.protocol.numbers_messages() && collector.collect != Collect::Unseen && scope == Scope::Whole;
        Watermark { ahead: VecDeque::new(), settled: HashSet::new(), applies }
    }

    /// These messages were listed above the former watermark, in ascending order. Those of which an earlier pass has recorded something are settled,
    /// whatever comes of the next try: it may never be reached.
    pub fn listed(&mut self, messages: &[Listed], above: u32, is_recorded: impl Fn(&RemoteUid) -> bool) {
        if self.applies {
            self.ahead.extend(messages.iter().filter_map(|message| message.uid.number()).filter(|uid| *uid > above));
            messages.iter().filter(|message| is_recorded(&message.uid)).for_each(|message| self.settled(&message.uid));
        }
    }

    /// This message has a recorded state.
    pub fn settled(&mut self, uid: &RemoteUid) {
        if let (true, Some(uid)) = (self.applies, uid.number()) {
            self.settled.insert(uid);
        }
    }

    /// The highest UID up to which everything listed is settled, if that rose.
    pub fn rise(&mut self) -> Option<u32> {
        let mut risen = None;
        while let Some(uid) = self.ahead.front().copied()
            && self.settled.remove(&uid)
        {
            self.ahead.pop_front();
            risen = Some(uid);
        }
        risen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_holds_up_no_watermark() {
        let mut watermark = Watermark { ahead: VecDeque::new(), settled: HashSet::new(), applies: true };
        let messages: Vec<Listed> = [2, 5, 6, 7].map(|uid| Listed { uid: RemoteUid::Number(uid), size: None }).into();
        watermark.listed(&messages, 4, |uid| [2, 5].contains(&uid.number().unwrap()));
        assert_eq!(watermark.rise(), Some(5), "recorded, and not tried in this pass");
        watermark.settled(&RemoteUid::Number(7));
        assert_eq!(watermark.rise(), None, "of 6 nothing is known");
        watermark.settled(&RemoteUid::Number(6));
        assert_eq!(watermark.rise(), Some(7));
    }

    #[test]
    fn rows_that_no_listing_finds_starve_none_behind_them() {
        for interval in [1, 60, 300, 5_000, 86_400] {
            let all: Vec<RemoteUid> = (1..=5_000).map(RemoteUid::Number).collect();
            let mut had_a_turn = HashSet::new();
            for pass in 0..60 {
                let mut due_now = all.clone();
                take_turns(&mut due_now, 1_800_000_000 + pass * interval);
                assert_eq!(due_now.len(), DUE_MAX);
                had_a_turn.extend(due_now);
            }
            assert_eq!(had_a_turn.len(), all.len(), "{interval}");
        }
        let mut few = vec![RemoteUid::Number(1), RemoteUid::Number(2)];
        take_turns(&mut few, 1_800_000_001);
        assert_eq!(few, [1, 2].map(RemoteUid::Number));
    }

    /// How many are taken of messages with these sizes, in a session with this limit in octets; whether more wait, and whether only for a count.
    fn planned(limit: u64, sizes: &[Option<u64>], room: &mut Room) -> (usize, bool, bool) {
        let text = format!(
            "delivery: {{maildir: '/nowhere/{{local}}'}}\ncollectors:\n  a: {{server: h.example, username: u, password: {{env: P}}, \
             recipient: {{forward_to: b@c.example}}, max_bytes_per_session: {limit}}}"
        );
        let loaded = crate::config::parse(&text, std::path::Path::new("t.yaml"), &crate::config::Environment::default()).unwrap();
        let listed: Vec<Listed> = (1..).zip(sizes).map(|(uid, size)| Listed { uid: RemoteUid::Number(uid), size: *size }).collect();
        let taken = steps(loaded.config.collectors.values().next().unwrap(), &listed, |_| Tried::Never, 0, room);
        (taken.steps.len(), taken.more, taken.uncounted)
    }

    #[test]
    fn messages_of_unknown_size_are_counted_as_they_come() {
        let room = |octets| Room { messages: usize::MAX, octets };
        assert_eq!(planned(1_000, &[None; 50], &mut room(1_000)), (20, true, true));
        assert_eq!(planned(1_000, &[None; 20], &mut room(1_000)), (20, false, false));
        assert_eq!(planned(0, &[None; 50], &mut room(u64::MAX)), (50, false, false), "without a limit nobody counts");
        // One among others: what the others fill is filled, and all that is planned is done.
        let mut left = room(1_000);
        assert_eq!(planned(1_000, &[None, Some(600), Some(600), Some(600)], &mut left), (3, true, false));
        assert!(left.is_used_up());
        assert_eq!(planned(1_000, &[None; 50], &mut room(0)), (0, true, false));
    }

    #[test]
    fn a_large_mailbox_is_not_listed_ever_more_often() {
        for (exists, limit) in [(0, LISTING_MAX), (200_000, 10_000), (200_001, 10_001), (1_000_000, 50_000), (u64::MAX, LARGE_LISTING_MAX)] {
            assert_eq!(listing_max(exists), limit, "{exists}");
        }
    }
}
