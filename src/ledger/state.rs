//! The states of a message, and the pure rules that lead from one to the next.

use std::time::Duration;

/// What the ledger says about one message that is not simply kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not final: to be tried again.
    Pending(Pending),
    /// Every recipient is final; the copy at the source is owed its disposal.
    Owed,
    /// \Deleted is set at a server that cannot expunge just this one.
    Flagged,
    /// Every recipient is final and the copy stays.
    Kept,
    /// No recipient here, or a loop: it stays on the server.
    Left {
        /// Why, for the operator.
        reason: String,
        /// A hash of the rules that said so: others get a new try.
        rules: u64,
        /// When it is tried again anyway, in seconds since the epoch.
        next_try: i64,
        /// What earlier tries left behind: who has it already.
        before: Box<Pending>,
    },
    /// It is in the store of held mail, or was dropped from there; the copy at the source stays, and is never fetched again.
    Held,
    /// It is in the store of held mail, and the copy at the source is owed a move to another folder.
    HeldAway,
    /// Not collected on purpose: larger than the limit.
    Skipped {
        /// Its size.
        octets: u64,
    },
}

/// A message on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Tries that failed because of the message or its recipients (not because the target was down).
    pub tries: u32,
    /// When it was first tried, in seconds since the epoch.
    pub first: i64,
    /// Not before this time.
    pub next_try: i64,
    /// Recipients that have it already, as they stood in RCPT TO.
    pub done: Vec<String>,
    /// How many attempts ended without an answer to the final dot, or in a crash: each may have left a copy.
    pub in_doubt: u32,
    /// It is held for some of its recipients, who are in `done`.
    pub held: bool,
    /// The last failure, for the operator.
    pub reason: String,
    /// When the operator had it forgotten, in seconds since the epoch; 0: never. What was delivered before that does not count.
    pub forgotten: i64,
}

/// The longest wait that anybody configures. What lies further ahead comes of a clock that went back, and is due.
pub const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// What was left on the server is looked at again after this time.
pub const LEFT_RETRY: Duration = Duration::from_secs(24 * 3600);

impl State {
    /// What earlier tries left behind, if it is not settled.
    pub fn before(&self) -> Option<&Pending> {
        match self {
            State::Pending(pending) => Some(pending),
            State::Left { before, .. } => Some(before),
            _ => None,
        }
    }

    /// It stays on the server for now, though some of its recipients may have it.
    pub fn left(reason: String, rules: u64, now: i64, before: Pending) -> State {
        let before = Box::new(Pending { reason: String::new(), next_try: 0, ..before });
        State::Left { reason, rules, next_try: now.saturating_add(LEFT_RETRY.as_secs().cast_signed()), before }
    }
}

impl Pending {
    /// After one more failed try at `now`; not again before `delay` is over.
    pub fn failed(mut self, now: i64, reason: String, delay: Duration) -> Pending {
        self.tries = self.tries.saturating_add(1);
        if self.first == 0 {
            self.first = now;
        }
        self.next_try = now.saturating_add(delay.as_secs() as i64);
        self.reason = reason;
        self
    }
}

/// What decides whether an exception is due in a pass.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Seconds since the epoch.
    pub now: i64,
    /// The hash of the rules in force.
    pub rules: u64,
    /// The size limit in force.
    pub max_message_size: Option<u64>,
    /// The operator asked: back-off does not count.
    pub forced: bool,
}

/// True if this exception is to be fetched (again) in this pass.
pub fn due(state: &State, with: Due) -> bool {
    match state {
        State::Pending(pending) => with.forced || pending.next_try <= with.now || pending.next_try > with.now + WAIT_MAX.as_secs() as i64,
        State::Left { rules, next_try, .. } => {
            with.forced || *rules != with.rules || *next_try <= with.now || *next_try > with.now + LEFT_RETRY.as_secs() as i64
        }
        State::Skipped { octets } => with.max_message_size.is_none_or(|limit| *octets <= limit),
        State::Owed | State::Flagged | State::Kept | State::Held | State::HeldAway => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn with(forced: bool) -> Due {
        Due { now: NOW, rules: 7, max_message_size: Some(100), forced }
    }

    #[test]
    fn a_failure_counts_and_waits() {
        let pending = Pending::default().failed(NOW, "450".into(), Duration::from_secs(60)).failed(NOW + 60, "451".into(), Duration::from_secs(300));
        assert_eq!((pending.tries, pending.first, pending.next_try, pending.reason.as_str()), (2, NOW, NOW + 360, "451"));
    }

    #[test]
    fn what_is_due() {
        let later = State::Pending(Pending { next_try: NOW + 60, ..Pending::default() });
        assert!(!due(&later, with(false)) && due(&later, with(true)));
        assert!(due(&State::Pending(Pending { next_try: NOW, ..Pending::default() }), with(false)));
        // A clock that was ten years ahead when the row was written must not stop the message for ten years.
        assert!(due(&State::Pending(Pending { next_try: NOW + 315_360_000, ..Pending::default() }), with(false)));
        let left = |rules, next_try| State::Left { reason: String::new(), rules, next_try, before: Box::default() };
        assert!(!due(&left(7, NOW + 1), with(false)));
        assert!(due(&left(8, NOW + 1), with(false)) && due(&left(7, NOW), with(false)) && due(&left(7, NOW + 1), with(true)));
        assert!(!due(&State::Skipped { octets: 101 }, with(true)) && due(&State::Skipped { octets: 100 }, with(false)));
        assert!(!due(&State::Owed, with(true)) && !due(&State::Flagged, with(true)) && !due(&State::Held, with(true)));
    }
}
