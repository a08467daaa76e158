//! What a person wants to know of a certificate: whose it is, who signed it, for which names, until when (RFC 5280 §4.1). Nothing is judged
//! here: that is the verifier's, which reads the certificate with a parser of its own.

use crate::mail::outcome::harmless;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::net::IpAddr;

/// Most names that are kept; a certificate may have thousands.
const NAMES_MAX: usize = 20;
/// Longest name that is kept, in octets.
const NAME_OCTETS_MAX: usize = 100;

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]` and `[3]`, constructed: version and extensions of a TBSCertificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `[2]` and `[7]`: dNSName and iPAddress of a GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANISATION: &[u8] = &[0x55, 4, 10];
const UNIT: &[u8] = &[0x55, 4, 11];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];

/// A server's certificate, in a person's words. All text is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is: `CN=mail.example.com`, or empty.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The names that it is for, as far as they were kept.
    pub names: Vec<String>,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Certificate {
    /// Reads a certificate in DER; `None` if it is none. Whatever the octets are, it ends and takes no more memory than they do.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = Reader(der).element(SEQUENCE)?;
        let (mut tbs, _) = certificate.element(SEQUENCE)?;
        if let Some((_, rest)) = tbs.element(VERSION) {
            tbs = rest;
        }
        let (_, rest) = tbs.element(INTEGER)?;
        let (_, rest) = rest.element(SEQUENCE)?;
        let (issuer, rest) = rest.element(SEQUENCE)?;
        let (validity, rest) = rest.element(SEQUENCE)?;
        let (subject, rest) = rest.element(SEQUENCE)?;
        let (_, mut rest) = rest.element(SEQUENCE)?;
        let (from, until) = validity.time()?;
        let (until, _) = until.time()?;
        let mut names = Vec::new();
        while let Some((tag, inside, further)) = rest.any() {
            if tag == EXTENSIONS {
                names = inside.alternative_names();
            }
            rest = further;
        }
        Some(Certificate { subject: subject.name(), issuer: issuer.name(), names, from, until })
    }

    /// Whole days until it ends; negative once it has.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.until.as_second() - now.as_second()).div_euclid(24 * 3600)
    }

    /// The name that it goes by: its subject's common name, else the first of its names.
    pub fn title(&self) -> &str {
        let common = self.subject.split(", ").find_map(|part| part.strip_prefix("CN="));
        common.or(self.names.first().map(String::as_str)).unwrap_or(if self.subject.is_empty() { "no name" } else { &self.subject })
    }
}

impl std::fmt::Display for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none = |text: &str| if text.is_empty() { "nobody".to_owned() } else { text.to_owned() };
        let names = if self.names.is_empty() { "no name".to_owned() } else { self.names.join(", ") };
        let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
        let (subject, issuer) = (or_none(&self.subject), or_none(&self.issuer));
        write!(f, "subject {subject}, issuer {issuer}, for {names}, valid {} to {}", day(self.from), day(self.until))
    }
}

/// What is left of some DER (X.690).
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag, what is inside, what follows.
    fn any(self) -> Option<(u8, Reader<'a>, Reader<'a>)> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // The long form, of at most four octets: no certificate is larger.
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (inside, rest) = rest.split_at_checked(length)?;
        Some((tag, Reader(inside), Reader(rest)))
    }

    /// The next element, if it has this tag.
    pub(super) fn element(self, tag: u8) -> Option<(Reader<'a>, Reader<'a>)> {
        self.any().filter(|(own, ..)| *own == tag).map(|(_, inside, rest)| (inside, rest))
    }

    /// A Time (RFC 5280 §4.1.2.5), always in UTC.
    fn time(self) -> Option<(Timestamp, Reader<'a>)> {
        let (tag, inside, rest) = self.any()?;
        let text = std::str::from_utf8(inside.0).ok()?.strip_suffix('Z')?;
        let text = match tag {
            // RFC 5280 §4.1.2.5.1: 50 and above is the last century.
            UTC_TIME if text.len() == 12 => format!("{}{text}", if text.as_bytes()[0] >= b'5' { "19" } else { "20" }),
            GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
            _ => return None,
        };
        let civil = DateTime::strptime("%Y%m%d%H%M%S", &text).ok()?;
        // The last moment of the calendar stands for "for ever" (§4.1.2.5); what cannot be told is left a day before it.
        let zoned = civil.to_zoned(TimeZone::UTC).or_else(|_| civil.saturating_sub(1.day()).to_zoned(TimeZone::UTC)).ok()?;
        Some((zoned.timestamp(), rest))
    }

    /// A Name: what of it people know it by.
    fn name(mut self) -> String {
        let mut parts = Vec::new();
        while let Some((mut set, rest)) = self.element(SET) {
            while let Some((attribute, more)) = set.element(SEQUENCE) {
                parts.extend(attribute.attribute());
                set = more;
            }
            self = rest;
        }
        harmless(&parts.join(", "), 2 * NAME_OCTETS_MAX)
    }

    fn attribute(self) -> Option<String> {
        let (oid, rest) = self.element(OID)?;
        let (tag, value, _) = rest.any()?;
        let label = match oid.0 {
            COMMON_NAME => "CN",
            ORGANISATION => "O",
            UNIT => "OU",
            _ => return None,
        };
        // BMPString is UTF-16; all others are ASCII, UTF-8, or close enough to be shown.
        let text = match tag {
            0x1e => String::from_utf16_lossy(&value.0.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect::<Vec<_>>()),
            _ => String::from_utf8_lossy(value.0).into_owned(),
        };
        Some(format!("{label}={}", harmless(text.trim(), NAME_OCTETS_MAX)))
    }

    /// The names in the extension for them (§4.2.1.6).
    fn alternative_names(self) -> Vec<String> {
        let mut names = Vec::new();
        let Some((mut extensions, _)) = self.element(SEQUENCE) else { return names };
        while let Some((extension, more)) = extensions.element(SEQUENCE) {
            extensions = more;
            let Some((oid, mut rest)) = extension.element(OID).filter(|(oid, _)| oid.0 == SUBJECT_ALT_NAME) else { continue };
            let _ = oid;
            while let Some((tag, inside, further)) = rest.any() {
                rest = further;
                let Some((mut general, _)) = (tag == OCTETS).then(|| inside.element(SEQUENCE)).flatten() else { continue };
                while let Some((kind, name, further)) = general.any() {
                    general = further;
                    if names.len() < NAMES_MAX {
                        names.extend(one_name(kind, name.0));
                    }
                }
            }
        }
        names
    }
}

fn one_name(kind: u8, octets: &[u8]) -> Option<String> {
    match kind {
        DNS_NAME => Some(harmless(&String::from_utf8_lossy(octets), NAME_OCTETS_MAX)),
        IP_ADDRESS => match octets.len() {
            4 => <[u8; 4]>::try_from(octets).ok().map(|octets| IpAddr::from(octets).to_string()),
            16 => <[u8; 16]>::try_from(octets).ok().map(|octets| IpAddr::from(octets).to_string()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["mail.example.com".into(), "127.0.0.1".into(), "::1".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "mail.example.com");
        params.distinguished_name.push(DnType::OrganizationName, "Пример");
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 2), date_time_ymd(2027, 3, 2));
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn what_people_want_to_know() {
        let read = Certificate::read(&made(|_| ())).unwrap();
        assert_eq!(read.subject, "CN=mail.example.com, O=Пример");
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.names, ["mail.example.com", "127.0.0.1", "::1"]);
        assert_eq!(read.title(), "mail.example.com");
        let now = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(read.days_left(now("2027-03-01T00:00:00Z")), 1);
        assert_eq!(read.days_left(now("2027-03-02T00:00:01Z")), -1);
        assert!(read.to_string().ends_with("for mail.example.com, 127.0.0.1, ::1, valid 2026-01-02 to 2027-03-02"), "{read}");
    }

    #[test]
    fn odd_ones() {
        let nameless = made(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.subject_alt_names.clear();
        });
        let read = Certificate::read(&nameless).unwrap();
        assert_eq!((read.title(), read.subject.as_str()), ("no name", ""));
        assert!(read.to_string().contains("for no name"), "{read}");
        let hostile = made(|params| params.distinguished_name.push(DnType::CommonName, "a\r\nerror[MG-1]: \u{202e}x"));
        assert!(!Certificate::read(&hostile).unwrap().subject.contains(['\r', '\n', '\u{202e}']));
        let far = made(|params| params.not_after = date_time_ymd(2150, 1, 1));
        assert_eq!(Certificate::read(&far).unwrap().until.to_string(), "2150-01-01T00:00:00Z");
        assert_eq!(Certificate::read(b""), None);
    }

    proptest! {
        #[test]
        fn any_octets_end(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Certificate::read(&octets);
        }

        #[test]
        fn a_certificate_that_is_damaged_anywhere_ends(at in 0usize..400, octet: u8, cut in 0usize..600) {
            let mut der = made(|_| ());
            let at = at % der.len();
            der[at] = octet;
            der.truncate(cut.max(1));
            if let Some(read) = Certificate::read(&der) {
                prop_assert!(read.to_string().len() < 10_000);
            }
        }
    }
}
