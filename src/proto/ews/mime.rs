//! base64 as it comes (RFC 4648 §4), in any pieces: what is decoded is handed on at once.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A text in base64 on its way.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Characters that wait for the rest of their group.
    group: Vec<u8>,
    decoded: Vec<u8>,
    /// It ended with `=`.
    padded: bool,
    broken: bool,
    octets: u64,
}

impl Decoder {
    /// What this piece brings. Nothing once something was no base64.
    pub(super) fn push(&mut self, text: &[u8]) -> &[u8] {
        self.decoded.clear();
        if self.broken {
            return &[];
        }
        if text.iter().any(u8::is_ascii_whitespace) {
            self.group.extend(text.iter().filter(|octet| !octet.is_ascii_whitespace()));
        } else {
            self.group.extend_from_slice(text);
        }
        if self.group.is_empty() {
            return &[];
        }
        // Nothing comes behind the padding.
        self.broken = self.padded;
        let whole = self.group.len() / 4 * 4;
        if let Some(at) = memchr::memchr(b'=', &self.group[..whole]) {
            self.padded = true;
            self.broken |= at + 4 < self.group.len() || at + 2 < whole;
        }
        self.decoded.resize(whole / 4 * 3, 0);
        match STANDARD.decode_slice(&self.group[..whole], &mut self.decoded) {
            Ok(octets) if !self.broken => self.decoded.truncate(octets),
            _ => {
                self.broken = true;
                self.decoded.clear();
            }
        }
        self.group.drain(..whole);
        self.octets += self.decoded.len() as u64;
        &self.decoded
    }

    /// What the last piece brought.
    pub(super) fn decoded(&self) -> &[u8] {
        &self.decoded
    }

    /// It has ended: how many octets it was, or `None` if it was no base64, or not all of it.
    pub(super) fn finish(&self) -> Option<u64> {
        (!self.broken && self.group.is_empty()).then_some(self.octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(text: &[u8], size: usize) -> Option<Vec<u8>> {
        let mut decoder = Decoder::default();
        let octets: Vec<u8> = text.chunks(size).flat_map(|piece| decoder.push(piece).to_vec()).collect();
        let count = decoder.finish()?;
        assert_eq!(count, octets.len() as u64);
        Some(octets)
    }

    #[test]
    fn what_is_base64() {
        for (text, wanted) in [
            ("", Some("")),
            ("YWJj", Some("abc")),
            (" YW\r\nJj\t", Some("abc")),
            ("YQ==", Some("a")),
            ("YQ= =\r\n", Some("a")),
            ("YQ", None),
            ("YQ=", None),
            ("YQ==YQ==", None),
            ("YQ==\nY", None),
            ("Y===", None),
            ("=YWJ", None),
            ("YW-_", None),
            ("YWJj<", None),
        ] {
            for size in [1, 2, 3, 4, 5, 100] {
                assert_eq!(decoded(text.as_bytes(), size).as_deref(), wanted.map(str::as_bytes), "{text} {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn all_octets_in_any_pieces(octets in proptest::collection::vec(any::<u8>(), 0..100), size in 1usize..20) {
            let text = STANDARD.encode(&octets);
            prop_assert_eq!(decoded(text.as_bytes(), size), Some(octets));
            // Cut anywhere but between groups it is none.
            for cut in (0..text.len()).filter(|cut| cut % 4 != 0) {
                prop_assert_eq!(decoded(&text.as_bytes()[..cut], size), None);
            }
        }
    }
}
