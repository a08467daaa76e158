//! Encoded words (RFC 2047) in From and Subject, made readable for lists. Nothing is decided by what comes out: it is only shown.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Mail programs leave the padding out, or bits behind it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// The text with its encoded words decoded, as far as they are UTF-8 or ASCII; all others stay as they are. At most three times as long as the text.
pub fn decoded(text: &str) -> String {
    let (mut out, mut octets, mut rest) = (String::new(), Vec::new(), text);
    while let Some(start) = rest.find("=?") {
        let (before, word) = rest.split_at(start);
        // The blanks between two encoded words are not part of the text (§6.2), and a character may be cut in two by them.
        if octets.is_empty() || !before.trim_ascii().is_empty() {
            flush(&mut octets, &mut out);
            out.push_str(before);
        }
        match encoded_word(word) {
            Some((decoded, end)) => {
                octets.extend(decoded);
                rest = &word[end..];
            }
            None => {
                flush(&mut octets, &mut out);
                out.push_str("=?");
                rest = &word[2..];
            }
        }
    }
    flush(&mut octets, &mut out);
    out.push_str(rest);
    out
}

fn flush(octets: &mut Vec<u8>, out: &mut String) {
    out.push_str(&String::from_utf8_lossy(octets));
    octets.clear();
}

/// The octets of `=?charset?encoding?text?=` at the start, and where it ends.
fn encoded_word(word: &str) -> Option<(Vec<u8>, usize)> {
    let mut parts = word[2..].splitn(4, '?');
    let (charset, encoding, text, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_word = rest.starts_with('=') && !text.contains([' ', '\t', '\r', '\n']);
    let charset = charset.split('*').next().unwrap_or_default();
    if !is_word || !["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)) {
        return None;
    }
    let octets = match encoding {
        "B" | "b" => LENIENT.decode(text).ok()?,
        "Q" | "q" => quoted(text)?,
        _ => return None,
    };
    Some((octets, word.len() - rest.len() + 1))
}

fn quoted(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'_' => b' ',
            b'=' => {
                let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            octet => octet,
        });
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_decoded_and_odd_ones_kept() {
        for (text, shown) in [
            ("plain", "plain"),
            ("=?utf-8?B?0J/RgNC40LLQtdGC?=", "Привет"),
            ("=?UTF-8*ru?b?0J/RgNC40LLQtdGC?= <a@b.example>", "Привет <a@b.example>"),
            ("Re: =?utf-8?Q?=D0=9F_=3d?= x", "Re: П = x"),
            // A character cut in two, as some programs do; the blanks between are not part of it.
            ("=?utf-8?B?0J/R?=\r\n =?utf-8?B?gNC40LLQtdGC?=", "Привет"),
            ("=?utf-8?Q?a?= b =?utf-8?Q?c?=", "a b c"),
            ("=?koi8-r?B?8NLJ18XU?=", "=?koi8-r?B?8NLJ18XU?="),
            ("=?utf-8?Q?=D0", "=?utf-8?Q?=D0"),
            ("=?utf-8?Q?=Dz?=", "=?utf-8?Q?=Dz?="),
            ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
            ("=?utf-8?Q?a b?=", "=?utf-8?Q?a b?="),
            ("=?=?=?utf-8?q?a?=", "=?=?a"),
            ("=?", "=?"),
        ] {
            assert_eq!(decoded(text), shown, "of {text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "(=\\?|utf-8|\\?|[BQ]|=|[a-f0-9]|я| ){0,40}") {
            let shown = decoded(&text);
            // A broken octet becomes a character of three.
            prop_assert!(shown.len() <= 3 * text.len());
        }
    }
}
