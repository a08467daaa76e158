//! Requests that are said twice and done once: a client that did not hear the answer says `POST` again with the same `Idempotency-Key`, and gets
//! the answer of the first.

use super::problem::Problem;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// So many keys are remembered; while all are in use, a request with a further one is refused.
pub(super) const KEYS_MAX: usize = 256;
/// For so long.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Longest key, in octets.
const KEY_OCTETS_MAX: usize = 255;
/// Longest answer that is kept with its key; of a longer one only that it was given.
const ANSWER_OCTETS_MAX: usize = 64 * 1024;

/// Who says which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    uid: u32,
    text: String,
}

/// What a request was answered with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done {
    pub status: u16,
    pub document: Value,
    /// The job that it began.
    pub job: Option<u64>,
}

/// All keys that are remembered.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    key: Key,
    /// Of what was asked for with it.
    request: [u8; 32],
    since: Instant,
    done: watch::Receiver<Option<Done>>,
}

/// Whether a request is new.
pub(super) enum Said {
    /// It is to be done. What is sent is what the others get; if nothing is, it failed, and may be tried again.
    First(watch::Sender<Option<Done>>),
    /// It was said before; what comes is its answer.
    Again(watch::Receiver<Option<Done>>),
}

impl Key {
    /// Printable octets of ASCII, not too many.
    pub fn new(uid: u32, octets: &[u8]) -> Result<Self, Problem> {
        let is_key = (1..=KEY_OCTETS_MAX).contains(&octets.len()) && octets.iter().all(u8::is_ascii_graphic);
        match std::str::from_utf8(octets) {
            Ok(text) if is_key => Ok(Key { uid, text: text.to_owned() }),
            _ => Err(Problem::new(400, format!("an `Idempotency-Key` has from 1 to {KEY_OCTETS_MAX} printable octets without spaces"))),
        }
    }
}

impl Done {
    /// An answer as it is kept.
    pub fn kept(status: u16, document: &Value, job: Option<u64>) -> Self {
        let is_short = document.to_string().len() <= ANSWER_OCTETS_MAX;
        Done { status, document: if is_short { document.clone() } else { json!({"repeated": true}) }, job }
    }
}

impl Keys {
    /// What is to become of a request: of this place, with this body.
    pub fn take(&self, key: &Key, place: &str, body: &[u8], now: Instant) -> Result<Said, Problem> {
        let request = Sha256::new_with_prefix(place).chain_update(b"\0").chain_update(body).finalize().into();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is still being done is not done a second time, however long it takes.
        all.retain(|kept| !kept.is_over() || (now.duration_since(kept.since) < KEPT_FOR && !kept.has_failed()));
        if let Some(kept) = all.iter().find(|kept| kept.key == *key) {
            return match kept.request == request {
                true => Ok(Said::Again(kept.done.clone())),
                false => Err(Problem::new(422, "this `Idempotency-Key` was said with another request").hint("a new request takes a new key")),
            };
        }
        if all.len() >= KEYS_MAX {
            let problem = Problem::new(429, format!("{KEYS_MAX} keys are remembered, each for {} min", KEPT_FOR.as_secs() / 60));
            return Err(problem.hint("nothing was done; try again later, or without a key"));
        }
        let (sender, done) = watch::channel(None);
        all.push(Kept { key: key.clone(), request, since: now, done });
        Ok(Said::First(sender))
    }
}

impl Kept {
    /// Nobody does it any more.
    fn is_over(&self) -> bool {
        self.done.has_changed().is_err()
    }

    /// Whoever did it ended without an answer to keep. The end is asked for first: what was answered before it is seen then.
    fn has_failed(&self) -> bool {
        self.is_over() && self.done.borrow().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(0, text.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_for_one_request_of_one_user_and_for_a_time() {
        let (keys, now) = (Keys::default(), Instant::now());
        let Ok(Said::First(sender)) = keys.take(&key("a"), "/v1/x", b"1", now) else { panic!() };
        assert!(matches!(keys.take(&key("a"), "/v1/x", b"1", now), Ok(Said::Again(done)) if done.borrow().is_none()), "it is being done");
        sender.send_replace(Some(Done::kept(202, &json!({"job": 7}), Some(7))));
        drop(sender);
        let later = now + KEPT_FOR - Duration::from_secs(1);
        assert!(matches!(keys.take(&key("a"), "/v1/x", b"1", later), Ok(Said::Again(done)) if done.borrow().as_ref().unwrap().job == Some(7)));
        for (place, body) in [("/v1/x", &b"2"[..]), ("/v1/y", b"1"), ("/v1/x\0", b"1")] {
            assert_eq!(keys.take(&key("a"), place, body, now).err().map(|problem| problem.status), Some(422), "{place}");
        }
        assert!(matches!(keys.take(&Key { uid: 1, text: "a".into() }, "/v1/x", b"1", now), Ok(Said::First(_))), "another user's");
        assert!(matches!(keys.take(&key("a"), "/v1/x", b"1", now + KEPT_FOR), Ok(Said::First(_))), "its time is over");
    }

    #[test]
    fn what_failed_is_tried_again_and_there_is_an_end_of_keys() {
        let (keys, now) = (Keys::default(), Instant::now());
        drop(keys.take(&key("a"), "/", b"", now));
        let Ok(Said::First(_first)) = keys.take(&key("a"), "/", b"", now) else { panic!("it failed") };
        let kept: Vec<_> = (1..KEYS_MAX).map(|n| keys.take(&key(&n.to_string()), "/", b"", now).ok().unwrap()).collect();
        assert_eq!(keys.take(&key("more"), "/", b"", now).err().map(|problem| problem.status), Some(429));
        assert!(matches!(keys.take(&key("a"), "/", b"", now), Ok(Said::Again(_))));
        drop(kept);
        assert!(keys.take(&key("more"), "/", b"", now).is_ok());
        for wrong in [&b""[..], b"a b", b"a\n", "ключ".as_bytes(), &[b'x'; KEY_OCTETS_MAX + 1]] {
            assert_eq!(Key::new(0, wrong).unwrap_err().status, 400);
        }
        let long = Done::kept(200, &json!({"x": "y".repeat(ANSWER_OCTETS_MAX)}), None);
        assert_eq!(long.document, json!({"repeated": true}));
    }
}
