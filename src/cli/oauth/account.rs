//! How people read what is told of tokens.

use super::super::when::shown;
use jiff::Timestamp;

/// A time for people.
pub(super) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "for ever".to_owned(), shown)
}

/// A span for people: `3 days`.
pub(super) fn span(seconds: i64) -> String {
    let (number, unit) = match seconds.max(0) {
        seconds @ 0..60 => (seconds, "second"),
        seconds @ 60..3600 => (seconds / 60, "minute"),
        seconds @ 3600..172_800 => (seconds / 3600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, text) in [(-5, "0 seconds"), (1, "1 second"), (61, "1 minute"), (7_200, "2 hours"), (172_799, "47 hours"), (864_000, "10 days")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
