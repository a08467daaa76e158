//! When a message came to its mailbox, where the server does not say: by the topmost Received field that has a date, which is the provider's
//! own (RFC 5321 §4.4), else by Date, which is the sender's word.

use super::HeaderBlock;
use jiff::fmt::rfc2822::DateTimeParser;

/// Received fields that are looked at.
const RECEIVED_MAX: usize = 16;

/// Seconds since the epoch, or `None` if no date can be read.
pub fn arrived(header: &HeaderBlock) -> Option<i64> {
    let received = header.all("Received").take(RECEIVED_MAX).find_map(|field| seconds(header.text(field).rsplit_once(';')?.1));
    received.or_else(|| seconds(&header.text(header.first("Date")?)))
}

fn seconds(date: &str) -> Option<i64> {
    // Weekdays are wrong often enough, and decide nothing.
    let parser = DateTimeParser::new().relaxed_weekday(true);
    parser.parse_timestamp(date.trim()).ok().map(|when| when.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn the_provider_is_asked_before_the_sender() {
        let table = [
            ("Date: Thu, 1 Jan 1970 00:01:00 +0000\r\n\r\n", Some(60)),
            ("Date: Mon, 1 Jan 1970 00:01:00 +0000 (a wrong weekday)\r\n\r\n", Some(60)),
            ("Received: from a by b with SMTP;\r\n\tThu, 1 Jan 1970 01:02:00 +0100\r\nDate: Thu, 1 Jan 1970 00:01:00 +0000\r\n\r\n", Some(120)),
            ("Received: by x\r\nReceived: by b; 1 Jan 1970 00:03:00 GMT\r\nReceived: by c; 1 Jan 1970 00:02:00 GMT\r\n\r\n", Some(180)),
            ("Received: by b; yesterday\r\nDate: Thu, 1 Jan 1970 00:01:00 +0000\r\n\r\n", Some(60)),
            ("Date: 99 Foo 99999 77:77 +9999\r\n\r\n", None),
            ("Subject: none\r\n\r\n", None),
            ("", None),
        ];
        for (header, expect) in table {
            assert_eq!(arrived(&HeaderBlock::parse(Bytes::from_static(header.as_bytes()))), expect, "{header}");
        }
    }
}
