//! Message-ID and Date for a message that has none (RFC 5322 §3.6 asks for a Date, and says that there should be a Message-ID): mail
//! programs thread by one and sort by the other.
//!
//! Both come out the same when the message is collected once more, so that its reader's program knows it again. The name is made of the
//! fingerprint; where no Date tells equal messages apart (alarms, test prints), of the Received fields too, or the local server would take the
//! second alarm for a duplicate of the first.

use crate::mail::{Domain, Fingerprint, HeaderBlock};
use crate::resolve::loops::{hex, unhex};
use jiff::Zoned;
use jiff::fmt::rfc2822;
use sha2::{Digest, Sha256};

/// Most Received fields that are searched for a date.
const RECEIVED_MAX: usize = 100;
/// Octets of the hash that tells equal messages apart.
const ARRIVAL_OCTETS: usize = 8;

/// The fields to add on top, each complete with CRLF; mostly none. Nothing is added to a message without a header, nor to one whose header
/// is too long to be read to its end.
pub fn missing(header: &HeaderBlock, fingerprint: &Fingerprint, hostname: &str) -> Vec<u8> {
    let mut lines = String::new();
    if header.fields().is_empty() || header.is_truncated() {
        return Vec::new();
    }
    let has_date = header.first("Date").is_some();
    if header.first("Message-ID").is_none() {
        let host = hostname.parse::<Domain>().ok();
        let host = host.as_ref().map_or("mailgather.invalid", Domain::as_ascii);
        let arrival = if has_date { String::new() } else { format!(".{}", hex(&arrival(header))) };
        lines.push_str(&format!("Message-ID: <{}{arrival}@{host}>\r\n", hex(&fingerprint.0)));
    }
    if !has_date && let Some(date) = date(header) {
        lines.push_str(&format!("Date: {date}\r\n"));
    }
    lines.into_bytes()
}

/// The fingerprint that a Message-ID of ours tells. Anybody can write one: it may be asked whether a marker fits it, and nothing else.
pub(super) fn named_fingerprint(header: &HeaderBlock) -> Option<Fingerprint> {
    let text = header.text(header.first("Message-ID")?);
    let (name, _) = text.strip_prefix('<')?.split_once('@')?;
    unhex(name.split('.').next()?).map(Fingerprint)
}

/// What differs between two messages that came at different times, and stays the same for each.
fn arrival(header: &HeaderBlock) -> [u8; ARRIVAL_OCTETS] {
    let mut hash = Sha256::new();
    for field in header.all("Received").take(RECEIVED_MAX) {
        let value = header.value(field);
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    }
    let mut octets = [0; ARRIVAL_OCTETS];
    octets.copy_from_slice(&hash.finalize()[..ARRIVAL_OCTETS]);
    octets
}

/// The date of the topmost Received field that has one: when the provider took the message.
fn date(header: &HeaderBlock) -> Option<String> {
    let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let read = |text: String| -> Option<Zoned> { parser.parse_zoned(text.rsplit_once(';')?.1.trim()).ok() };
    let found = header.all("Received").take(RECEIVED_MAX).find_map(|field| read(header.text(field)))?;
    Some(found.strftime("%a, %d %b %Y %H:%M:%S %z").to_string())
}
