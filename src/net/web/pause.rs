//! How long a web server wants to be left alone.

use super::answer::words;
use hyper::header::{DATE, HeaderMap, RETRY_AFTER};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Longest wait that a server can ask for: one that names a year must not stop mail, and asking once an hour hurts nobody.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// How long a server with these fields wants to be left alone.
pub(in super::super) fn wanted_pause(fields: &HeaderMap) -> Option<Duration> {
    // By the server's own clock, where it tells: ours may differ.
    let now = words(fields, &DATE).and_then(|date| http_date(&date)).unwrap_or_else(Timestamp::now);
    words(fields, &RETRY_AFTER).and_then(|value| retry_after(&value, now))
}

/// Seconds, or a time.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        // More digits than a number has are more than the most.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)).min(RETRY_AFTER_MAX));
    }
    let seconds = http_date(value)?.as_second() - now.as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(RETRY_AFTER_MAX))
}

/// An HTTP-date, in each of its three forms (RFC 9110 §5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    if let Ok(time) = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text) {
        return Some(time);
    }
    let of = |format: &str| DateTime::strptime(format, text).ok().and_then(|time| time.to_zoned(TimeZone::UTC).ok()).map(|time| time.timestamp());
    of("%A, %d-%b-%y %H:%M:%S GMT").or_else(|| of("%a %b %e %H:%M:%S %Y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
            ("Sun, 06 Nov 2094 08:40:00 GMT", Some(3600)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now).map(|wait| wait.as_secs()), seconds, "{value}");
        }
    }
}
