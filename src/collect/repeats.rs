//! Telling things once that are so in each pass. Pure: texts and an instant in, a decision out.

use std::time::{Duration, Instant};

/// What does not change is told again after this time.
const AGAIN: Duration = Duration::from_secs(3600);

/// What was told last, and when.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    texts: Vec<String>,
    told: Option<Instant>,
}

impl Repeats {
    /// True if these texts are to be told: they are others than before, or were told long ago.
    pub(super) fn is_news(&mut self, texts: &[String], now: Instant) -> bool {
        let is_same = self.texts == texts;
        if is_same && self.told.is_none_or(|told| now.saturating_duration_since(told) < AGAIN) {
            return false;
        }
        self.texts = texts.to_vec();
        self.told = (!texts.is_empty()).then_some(now);
        !texts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_then_when_it_changes_and_hourly() {
        let (start, mut repeats) = (Instant::now(), Repeats::default());
        for (seconds, texts, told) in [
            (0, &[][..], false),
            (1, &["a"][..], true),
            (2, &["a"], false),
            (3600, &["a"], false),
            (3601, &["a"], true),
            (3602, &["a"], false),
            (3603, &["a", "b"], true),
            (3604, &["a"], true),
            (3605, &[], false),
            (3606, &["a"], true),
        ] {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            assert_eq!(repeats.is_news(&texts, start + Duration::from_secs(seconds)), told, "{seconds}");
        }
    }
}
