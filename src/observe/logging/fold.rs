//! Repeats are folded: trouble that says the same again and again is written a few times, then counted, and the count written when its time is over.
//! Of each kind the first line is written at once, and so is whatever differs, in its level too: nothing is lost but what stands there already.

use super::record::{Record, Value};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::time::{Duration, Instant};
use tracing::Level;

/// Repeats within this time after the first are folded.
const WINDOW: Duration = Duration::from_secs(600);
/// So many are written before that.
const WRITTEN_FIRST: u32 = 3;
/// Kinds that are remembered. Beyond it the oldest is let go.
const KINDS_MAX: usize = 1024;
/// Fields without which nobody says why.
const REASONS: &[&str] = &["reason", "text", "error", "reply"];
/// Fields that differ though the same happened again.
const COUNTS: &[&str] = &["session", "failures", "next_try", "next_try_s"];

/// What was said lately.
#[derive(Default)]
pub(super) struct Folds {
    kinds: HashMap<u64, Repeated>,
    hasher: RandomState,
}

struct Repeated {
    since: Instant,
    written: u32,
    folded: u32,
    last: Record,
}

impl Folds {
    /// Whether this line is to be written, and what is to be written before it.
    pub fn see(&mut self, record: &Record, now: Instant) -> (bool, Option<Record>) {
        if !is_trouble(record) {
            return (true, None);
        }
        let kind = self.kind(record);
        if let Some(repeated) = self.kinds.get_mut(&kind) {
            if now.duration_since(repeated.since) < WINDOW {
                let is_written = repeated.written < WRITTEN_FIRST;
                let count = if is_written { &mut repeated.written } else { &mut repeated.folded };
                *count += 1;
                if !is_written {
                    repeated.last = record.clone();
                }
                return (is_written, None);
            }
            let before = self.kinds.remove(&kind).and_then(|repeated| repeated.summary(now));
            self.begin(kind, record, now);
            return (true, before);
        }
        let oldest = match self.kinds.len() >= KINDS_MAX {
            true => self.kinds.iter().min_by_key(|(_, repeated)| repeated.since).map(|(kind, _)| *kind),
            false => None,
        };
        let before = oldest.and_then(|kind| self.kinds.remove(&kind)).and_then(|repeated| repeated.summary(now));
        self.begin(kind, record, now);
        (true, before)
    }

    /// The counts of kinds whose time is over by now; of all at the end.
    pub fn sweep(&mut self, now: Option<Instant>) -> Vec<Record> {
        let is_over = |repeated: &Repeated| now.is_none_or(|now| now.duration_since(repeated.since) >= WINDOW);
        let over: Vec<u64> = self.kinds.iter().filter(|(_, repeated)| is_over(repeated)).map(|(kind, _)| *kind).collect();
        let end = now.unwrap_or_else(Instant::now);
        over.into_iter().filter_map(|kind| self.kinds.remove(&kind)?.summary(end)).collect()
    }

    fn begin(&mut self, kind: u64, record: &Record, now: Instant) {
        self.kinds.insert(kind, Repeated { since: now, written: 1, folded: 0, last: record.clone() });
    }

    fn kind(&self, record: &Record) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        (&record.event, super::rank(record.level)).hash(&mut hasher);
        record.fields.iter().filter(|(name, _)| !COUNTS.contains(name)).for_each(|field| field.hash(&mut hasher));
        hasher.finish()
    }
}

impl Repeated {
    /// The last of them with their number, if any were folded.
    fn summary(self, now: Instant) -> Option<Record> {
        let Repeated { since, folded, mut last, .. } = self;
        let within = now.duration_since(since).min(WINDOW).as_secs();
        let within = if within < 60 { format!("{within} s") } else { format!("{} m", within / 60) };
        last.fields.push(("repeated", Value::Text(format!("… ×{folded} in {within}"))));
        (folded > 0).then_some(last)
    }
}

/// Warnings and errors with a reason. What happens to mail is written each time, and what the operator did.
fn is_trouble(record: &Record) -> bool {
    record.level <= Level::WARN && record.fields.iter().any(|(name, _)| REASONS.contains(name)) && !super::is_of_service(&record.event)
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::record;
    use super::super::form::text;
    use super::*;

    #[test]
    fn the_same_trouble_is_counted() {
        let (mut folds, start) = (Folds::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let failed =
            |session: &str, reason: &str, level| record(level, "session_failed", &[("collector", "a"), ("session", session), ("reason", reason)]);
        for n in 0..123 {
            let (is_new, before) = folds.see(&failed(&n.to_string(), "refused", Level::WARN), at(n));
            assert_eq!((is_new, before.is_none()), (n < 3, true), "{n}");
        }
        // What differs is no repeat: another reason, another level, another collector, mail that arrives.
        assert!(folds.see(&failed("1", "no route", Level::WARN), at(130)).0);
        assert!(folds.see(&failed("1", "refused", Level::ERROR), at(130)).0);
        let delivered = record(Level::INFO, "message_delivered", &[("collector", "a"), ("reply", "250")]);
        assert!((0..9).all(|_| folds.see(&delivered, at(131)).0));
        assert!(folds.sweep(Some(at(599))).is_empty());
        let swept = folds.sweep(Some(at(600)));
        assert_eq!(swept.len(), 1);
        let line = text(&swept[0]);
        assert!(line.contains("session=122 reason=refused repeated=\"… ×120 in 10 m\""), "{line}");
        // The next one begins anew.
        assert!(folds.see(&failed("9", "refused", Level::WARN), at(601)).0);
        // Without a sweep between, its count comes before the next line; at the end everything comes.
        (0..5).for_each(|_| drop(folds.see(&failed("9", "refused", Level::WARN), at(602))));
        let (is_new, before) = folds.see(&failed("9", "refused", Level::WARN), at(1300));
        assert!(is_new && text(&before.unwrap()).contains("×3 in 10 m"));
        (0..4).for_each(|_| drop(folds.see(&failed("9", "refused", Level::WARN), at(1302))));
        assert_eq!(folds.sweep(None).len(), 1);
        assert!(folds.kinds.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost() {
        let (mut folds, now) = (Folds::default(), Instant::now());
        let mut counted = 0;
        for n in 0..3 * KINDS_MAX as u64 {
            let reason = n.to_string();
            let trouble = record(Level::ERROR, "x", &[("reason", &reason)]);
            let at = now + Duration::from_millis(n);
            for repeat in 0..5 {
                let (is_new, before) = folds.see(&trouble, at);
                assert_eq!(is_new, repeat < 3);
                counted += before.iter().filter(|record| record.text("repeated").unwrap().starts_with("… ×2 ")).count();
            }
        }
        assert_eq!(folds.kinds.len(), KINDS_MAX);
        assert_eq!(counted + folds.sweep(None).len(), 3 * KINDS_MAX);
    }
}
