//! Just as much of MIME as a report needs: its boundary, and its text without transfer encoding.

use super::BOUNDARY_OCTETS_MAX;
use crate::mail::HeaderBlock;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    QuotedPrintable,
    Base64,
    Unknown,
}

/// The boundary of a multipart/mixed message; `None` for all others, and for one that says it twice.
pub(super) fn boundary(header: &HeaderBlock) -> Option<String> {
    let mut fields = header.all("Content-Type");
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let text = header.text(field);
    let mut parameters = parameters(&text).into_iter();
    if !parameters.next()?.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let mut found = None;
    for parameter in parameters {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("boundary") && found.replace(value.trim().to_owned()).is_some() {
            return None;
        }
    }
    let usable =
        |text: &String| (1..=BOUNDARY_OCTETS_MAX).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b)) && !text.ends_with(' ');
    found.filter(usable)
}

/// The parts of a structured value between semicolons (RFC 2045 §5.1): without comments and quotes, a semicolon inside of those is none.
fn parameters(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ';' => parts.push(std::mem::take(&mut part)),
            '"' => {
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    part.extend(if c == '\\' { chars.next() } else { Some(c) });
                }
            }
            '(' => {
                let mut depth = 1;
                while depth > 0
                    && let Some(c) = chars.next()
                {
                    match c {
                        '\\' => drop(chars.next()),
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                }
            }
            c => part.push(c),
        }
    }
    parts.push(part);
    parts
}

/// `type/subtype` in lower case; text/plain where nothing is said (RFC 2045 §5.2).
pub(super) fn content_type(header: &HeaderBlock) -> String {
    let Some(field) = header.first("Content-Type") else { return "text/plain".into() };
    parameters(&header.text(field)).first().map(|kind| kind.trim().to_ascii_lowercase()).unwrap_or_default()
}

pub(super) fn encoding(header: &HeaderBlock) -> Encoding {
    let Some(field) = header.first("Content-Transfer-Encoding") else { return Encoding::Plain };
    let word = parameters(&header.text(field)).first().map(|word| word.trim().to_ascii_lowercase()).unwrap_or_default();
    match word.as_str() {
        "7bit" | "8bit" | "binary" => Encoding::Plain,
        "quoted-printable" => Encoding::QuotedPrintable,
        "base64" => Encoding::Base64,
        _ => Encoding::Unknown,
    }
}

/// The text of the report. What cannot be decoded is left out: an address in it is then missing or broken, and `report.rs` says so.
pub(super) fn decoded(octets: &[u8], encoding: Encoding) -> String {
    let octets = match encoding {
        Encoding::QuotedPrintable => quoted_printable(octets),
        Encoding::Base64 => {
            let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
            let text: Vec<u8> = octets.iter().copied().filter(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b)).collect();
            GeneralPurpose::new(&STANDARD, config).decode(text).unwrap_or_default()
        }
        Encoding::Plain | Encoding::Unknown => octets.to_vec(),
    };
    String::from_utf8_lossy(&octets).into_owned()
}

/// RFC 2045 §6.7.
fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for line in octets.split_inclusive(|&b| b == b'\n') {
        let text = line.trim_ascii_end();
        let (text, soft) = text.strip_suffix(b"=").map_or((text, false), |text| (text, true));
        let mut rest = text;
        while let Some((&octet, tail)) = rest.split_first() {
            let hex = tail.get(..2).filter(|hex| octet == b'=' && hex.iter().all(u8::is_ascii_hexdigit));
            match hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(decoded) => {
                    out.push(decoded);
                    rest = &tail[2..];
                }
                None => {
                    out.push(octet);
                    rest = tail;
                }
            }
        }
        if !soft {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}
