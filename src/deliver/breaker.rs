//! The circuit breaker of one target: a target that fails again and again is left alone for a while, and asked by one delivery first.
//!
//! Pure: the time is passed in. Three failures in a row open it for five seconds, and each time it opens again for twice as long, up to five
//! minutes. When the time is up it is half open: one delivery tries. Its success closes the breaker, its failure opens it once more.

use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row that open the breaker.
pub const FAILURES_MAX: u32 = 3;
/// How long it is open the first time.
pub const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How long it is open at most.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// One target's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    first_wait: Duration,
    /// Failures in a row.
    failures: u32,
    /// How often it was opened since the target last took a message.
    opened: u32,
}

#[derive(Clone, Debug, Default)]
enum State {
    /// Deliveries go on.
    #[default]
    Closed,
    /// Nobody asks the target before `until`.
    Open { until: Instant, reason: String },
    /// One delivery tries; if it gives up without a word, the next one may.
    Trial { reason: String },
}

/// Whether a delivery may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Yes,
    /// Yes, and the others wait for what becomes of it.
    Trial,
    /// Another delivery tries just now.
    Busy,
    /// No.
    No {
        /// When the target is asked again.
        until: Instant,
        /// What it failed of.
        reason: String,
    },
}

/// What changed by an event; each is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The target has been working and is left alone from now on, for this long.
    Down(Duration),
    /// It was tried and failed again.
    StillDown(Duration),
    /// It works again.
    Up,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker::new(FIRST_WAIT)
    }
}

impl Breaker {
    /// A closed breaker that is open for `first_wait` the first time.
    pub fn new(first_wait: Duration) -> Self {
        Breaker { state: State::Closed, first_wait, failures: 0, opened: 0 }
    }

    /// Asks for a delivery. After [`Admission::Trial`] one of the other functions must be called.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match &self.state {
            State::Closed => Admission::Yes,
            State::Trial { .. } => Admission::Busy,
            State::Open { until, reason } if now < *until => Admission::No { until: *until, reason: reason.clone() },
            State::Open { reason, .. } => {
                self.state = State::Trial { reason: reason.clone() };
                Admission::Trial
            }
        }
    }

    /// When the target is asked again and why not now, while that is not yet due.
    pub fn open(&self, now: Instant) -> Option<(Instant, &str)> {
        match &self.state {
            State::Open { until, reason } if now < *until => Some((*until, reason)),
            _ => None,
        }
    }

    /// The target could not be reached, or broke off.
    pub fn failed(&mut self, now: Instant, reason: &str) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed if self.failures < FAILURES_MAX => None,
            // A delivery that began before the others failed says nothing new.
            State::Open { .. } => None,
            State::Closed | State::Trial { .. } => self.trip(now, reason),
        }
    }

    /// The target must not be asked for a while, whatever the number of failures: it refuses our login, or everybody.
    pub fn trip(&mut self, now: Instant, reason: &str) -> Option<Change> {
        let wait = self.first_wait.saturating_mul(1 << self.opened.min(16)).min(LONGEST_WAIT);
        let change = match self.state {
            State::Open { .. } => return None,
            State::Closed => Change::Down(wait),
            State::Trial { .. } => Change::StillDown(wait),
        };
        self.opened = self.opened.saturating_add(1);
        self.state = State::Open { until: now + wait, reason: reason.to_owned() };
        Some(change)
    }

    /// The target answered as a server does. `took` says that it took a message: only that makes it begin with a short wait again.
    pub fn succeeded(&mut self, took: bool) -> Option<Change> {
        // A delivery that began before the breaker opened does not close it, unless the target took a message.
        if matches!(self.state, State::Open { .. }) && !took {
            return None;
        }
        self.failures = 0;
        if took {
            self.opened = 0;
        }
        let was = std::mem::take(&mut self.state);
        (!matches!(was, State::Closed)).then_some(Change::Up)
    }

    /// The delivery that tried ended without a word about the target: the next one may try at once.
    pub fn abandoned(&mut self, now: Instant) {
        if let State::Trial { reason } = &self.state {
            self.state = State::Open { until: now, reason: reason.clone() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.failed(now, "refused"), None);
        assert_eq!(breaker.failed(now, "refused"), None);
        assert_eq!(breaker.admit(now), Admission::Yes);
        assert_eq!(breaker.failed(now, "refused"), Some(Change::Down(5 * SECOND)));
        breaker
    }

    #[test]
    fn three_failures_in_a_row_open_it() {
        let now = Instant::now();
        let breaker = opened(now);
        assert_eq!(breaker.open(now), Some((now + 5 * SECOND, "refused")));
        let mut mixed = Breaker::default();
        for _ in 0..10 {
            assert_eq!((mixed.failed(now, "x"), mixed.failed(now, "x"), mixed.succeeded(false)), (None, None, None));
        }
        assert_eq!(mixed.admit(now), Admission::Yes);
    }

    #[test]
    fn one_tries_and_the_others_wait() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(matches!(breaker.admit(now + 4 * SECOND), Admission::No { .. }));
        let later = now + 5 * SECOND;
        assert_eq!(breaker.open(later), None);
        assert_eq!((breaker.admit(later), breaker.admit(later)), (Admission::Trial, Admission::Busy));
        // One that is dropped leaves its turn to the next.
        breaker.abandoned(later);
        assert_eq!((breaker.admit(later), breaker.succeeded(true)), (Admission::Trial, Some(Change::Up)));
        assert_eq!((breaker.admit(later), breaker.succeeded(true)), (Admission::Yes, None));
    }

    #[test]
    fn the_wait_doubles_up_to_five_minutes() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            now = breaker.open(now).unwrap().0;
            assert_eq!(breaker.admit(now), Admission::Trial);
            assert_eq!(breaker.failed(now, "again"), Some(Change::StillDown(SECOND * seconds)));
            // Those that were on their way do not make it longer.
            assert_eq!(breaker.failed(now, "late"), None);
            assert_eq!(breaker.open(now), Some((now + SECOND * seconds, "again")));
        }
        now = breaker.open(now).unwrap().0;
        assert_eq!((breaker.admit(now), breaker.succeeded(true)), (Admission::Trial, Some(Change::Up)));
        assert_eq!(breaker.trip(now, "login refused"), Some(Change::Down(5 * SECOND)));
    }

    #[test]
    fn an_answer_closes_it_and_a_message_taken_makes_it_forget() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.succeeded(false), None, "an old delivery's answer");
        assert!(breaker.open(now).is_some());
        let later = now + 5 * SECOND;
        assert_eq!((breaker.admit(later), breaker.succeeded(false)), (Admission::Trial, Some(Change::Up)));
        assert_eq!(breaker.trip(later, "x"), Some(Change::Down(10 * SECOND)));
        assert_eq!(breaker.succeeded(true), Some(Change::Up));
        assert_eq!(breaker.trip(later, "x"), Some(Change::Down(5 * SECOND)));
    }

    proptest! {
        /// Whatever happens in whatever order: it never waits longer than five minutes, and never has two trials at once.
        #[test]
        fn it_always_lets_somebody_try_again(events in proptest::collection::vec((0u8..6, 0u64..400), 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::default();
            let mut trials = 0;
            for (event, seconds) in events {
                now += SECOND * seconds as u32;
                match event {
                    0 => match breaker.admit(now) {
                        Admission::Trial => { trials += 1; prop_assert_eq!(trials, 1); }
                        Admission::No { until, .. } => prop_assert!(until > now && until - now <= LONGEST_WAIT),
                        Admission::Busy => prop_assert_eq!(trials, 1),
                        Admission::Yes => prop_assert_eq!(trials, 0),
                    },
                    1 => { breaker.failed(now, "x"); trials = 0; }
                    2 => { breaker.trip(now, "x"); trials = 0; }
                    3 => { if breaker.succeeded(false).is_some() { trials = 0; } }
                    4 => { breaker.succeeded(true); trials = 0; }
                    _ => { breaker.abandoned(now); trials = 0; }
                }
            }
        }
    }
}
