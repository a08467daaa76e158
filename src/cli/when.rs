//! Times as people read them: to the second, in the zone of this machine, which is named.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `2026-11-22 04:02:03 MSK`
pub(in crate::cli) fn shown(at: Timestamp) -> String {
    in_zone(at, TimeZone::system())
}

/// The same of a time that a program wrote; what is none stays as it is.
pub(in crate::cli) fn shown_again(stamp: &str) -> String {
    stamp.parse().map_or_else(|_| stamp.to_owned(), shown)
}

fn in_zone(at: Timestamp, zone: TimeZone) -> String {
    at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fractions_and_always_a_zone() {
        let at: Timestamp = "2026-11-22T01:02:03.987654321Z".parse().unwrap();
        assert_eq!(in_zone(at, TimeZone::UTC), "2026-11-22 01:02:03 UTC");
        assert_eq!(in_zone(at, TimeZone::fixed(jiff::tz::offset(3))), "2026-11-22 04:02:03 +03");
        assert_eq!(shown_again("soon"), "soon");
        assert_eq!(shown_again("2026-11-22T01:02:03Z"), shown("2026-11-22T01:02:03Z".parse().unwrap()));
    }
}
