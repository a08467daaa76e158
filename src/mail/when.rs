//! How times are written for programs. Lines of the log have a form of their own, with milliseconds.

use jiff::Timestamp;

/// RFC 3339, in UTC, to the second.
pub fn stamp(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fractions() {
        let at: Timestamp = "2026-11-22T01:02:03.987654321Z".parse().unwrap();
        assert_eq!((stamp(at).as_str(), stamp(Timestamp::UNIX_EPOCH).as_str()), ("2026-11-22T01:02:03Z", "1970-01-01T00:00:00Z"));
    }
}
