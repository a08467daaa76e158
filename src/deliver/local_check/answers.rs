//! What was answered about addresses, for a while; one question at a time about each.

use super::Exists;
use crate::mail::Address;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long it is remembered that an address exists.
const YES_LASTS: Duration = Duration::from_secs(60 * 60);
/// How long it is remembered that it does not: a new mailbox gets its mail after that at the latest.
const NO_LASTS: Duration = Duration::from_secs(15 * 60);
/// Most answers that are remembered: spam to a catch-all mailbox invents addresses without end.
const ANSWERS_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Answers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Answers, and until when they hold.
    known: HashMap<Address, (Exists, Instant)>,
    /// Questions on their way.
    asked: HashMap<Address, Arc<OnceCell<Exists>>>,
}

impl Answers {
    /// The answer that is known, or that of `ask`.
    pub(super) async fn get(&self, address: &Address, ask: impl Future<Output = Exists>) -> Exists {
        let question = {
            let mut state = self.state();
            match state.known.get(address) {
                Some((answer, until)) if Instant::now() < *until => return answer.clone(),
                _ => Arc::clone(state.asked.entry(address.clone()).or_default()),
            }
        };
        // If whoever asks is dropped, one of those who wait asks in its place.
        let answer = question.get_or_init(|| ask).await.clone();
        let mut state = self.state();
        if state.asked.get(address).is_some_and(|current| Arc::ptr_eq(current, &question)) {
            state.asked.remove(address);
            state.remember(address, &answer, Instant::now());
        }
        answer
    }

    /// No code runs under this lock that could panic half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, address: &Address, answer: &Exists, now: Instant) {
        let lasts = match answer {
            Exists::Yes => YES_LASTS,
            Exists::No(_) => NO_LASTS,
            Exists::Unknown(_) => return,
        };
        if self.known.len() >= ANSWERS_MAX && !self.known.contains_key(address) {
            self.known.retain(|_, (_, until)| now < *until);
            // Still full: the tenth that ends first goes, so that this is not done for each new one.
            if self.known.len() >= ANSWERS_MAX {
                let mut ends: Vec<Instant> = self.known.values().map(|(_, until)| *until).collect();
                let (_, limit, _) = ends.select_nth_unstable(ANSWERS_MAX / 10);
                let limit = *limit;
                self.known.retain(|_, (_, until)| *until > limit);
            }
        }
        self.known.insert(address.clone(), (answer.clone(), now + lasts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn address(n: usize) -> Address {
        format!("r{n}@x.example").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_last_as_long_as_they_should() {
        let answers = Answers::default();
        let asked = AtomicUsize::new(0);
        for (answer, lasts) in [(Exists::Yes, 3600), (Exists::No("who?".into()), 900), (Exists::Unknown("down".into()), 0)] {
            let ask = async || {
                asked.fetch_add(1, Ordering::SeqCst);
                answer.clone()
            };
            asked.store(0, Ordering::SeqCst);
            let who = address(lasts);
            assert_eq!(answers.get(&who, ask()).await, answer);
            if lasts > 0 {
                tokio::time::advance(Duration::from_secs(lasts as u64 - 1)).await;
                assert_eq!(answers.get(&who, ask()).await, answer);
                assert_eq!(asked.load(Ordering::SeqCst), 1);
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            answers.get(&who, ask()).await;
            assert_eq!(asked.load(Ordering::SeqCst), 2);
        }
        assert!(answers.state().asked.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_at_a_time() {
        let answers = Answers::default();
        let asked = AtomicUsize::new(0);
        let who = address(1);
        // Not even an answer that is not remembered is asked for by each.
        let ask = async || {
            asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Exists::Unknown("slow".into())
        };
        let together = futures_util::future::join_all((0..50).map(|_| answers.get(&who, ask()))).await;
        assert_eq!((together.len(), asked.load(Ordering::SeqCst)), (50, 1));
        // Who asks may be dropped.
        let dropped = tokio::time::timeout(Duration::from_millis(10), answers.get(&who, ask()));
        let (dropped, waited) = tokio::join!(dropped, answers.get(&who, ask()));
        assert!(dropped.is_err() && waited == Exists::Unknown("slow".into()));
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn no_more_than_ten_thousand() {
        let now = Instant::now();
        let mut state = State::default();
        for n in 0..3 * ANSWERS_MAX {
            state.remember(&address(n), &Exists::No(String::new()), now + Duration::from_millis(n as u64));
            assert!(state.known.len() <= ANSWERS_MAX);
        }
        assert!(state.known.len() > ANSWERS_MAX / 2 && state.known.contains_key(&address(3 * ANSWERS_MAX - 1)));
        // Equal times do no harm.
        let mut state = State::default();
        (0..2 * ANSWERS_MAX).for_each(|n| state.remember(&address(n), &Exists::Yes, now));
        assert!(state.known.len() <= ANSWERS_MAX);
    }
}
