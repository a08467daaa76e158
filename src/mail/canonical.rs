//! The one line-end rule, applied once as a message arrives: every CRLF, bare LF and bare CR is one line end and is kept as CRLF, and so is a
//! run of CRs with its LF (servers that end lines twice over write CR CR LF); NUL octets are removed; a message that is not empty ends with
//! CRLF. Nothing else is changed.
//!
//! Bare CR and LF are what SMTP smuggling is made of (a server that takes `LF . LF` for the end of data would read the rest of a message as
//! commands), and RFC 5321 §2.3.8 forbids to send them. A message with mixed line ends cannot have had a valid DKIM body hash on its way, so
//! this does no harm.

use super::Repairs;

/// Most CRs that one LF ends. Of a longer run the first ones are line ends for themselves.
const CRS_MAX: u64 = 16;

/// Turns octets, in pieces cut anywhere, into canonical form.
#[derive(Clone, Debug, Default)]
pub struct Canonical {
    /// CRs at the end of what came so far: what follows tells whether they are one line end or as many as they are.
    crs: u64,
    /// Something was written and it does not end with CRLF.
    open_line: bool,
    repairs: Repairs,
}

impl Canonical {
    /// A converter at the start of a message.
    pub fn new() -> Self {
        Canonical::default()
    }

    /// Appends the canonical form of `raw` to `out`.
    pub fn push(&mut self, mut raw: &[u8], out: &mut Vec<u8>) {
        while !raw.is_empty() {
            if self.crs > 0 {
                match raw[0] {
                    // A run without an end must not be saved up: what is written for it would know no bound.
                    b'\r' if self.crs == CRS_MAX => {
                        self.repairs.bare_cr += 1;
                        self.end_line(out);
                    }
                    b'\r' => self.crs += 1,
                    b'\n' => {
                        self.repairs.bare_cr += self.crs - 1;
                        self.crs = 0;
                        self.end_line(out);
                    }
                    _ => {
                        self.end_crs(out);
                        continue;
                    }
                }
                raw = &raw[1..];
                continue;
            }
            let Some(stop) = next_odd(raw) else {
                out.extend_from_slice(raw);
                self.open_line = !raw.ends_with(b"\n");
                return;
            };
            if stop > 0 {
                out.extend_from_slice(&raw[..stop]);
                self.open_line = raw[stop - 1] != b'\n';
            }
            match raw[stop] {
                0 => self.repairs.nul += 1,
                b'\r' => self.crs = 1,
                _ => {
                    self.repairs.bare_lf += 1;
                    self.end_line(out);
                }
            }
            raw = &raw[stop + 1..];
        }
    }

    /// Ends the last line if it is open.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_crs(out);
        if self.open_line {
            self.end_line(out);
        }
    }

    /// What was put right so far.
    pub fn repairs(&self) -> Repairs {
        self.repairs
    }

    /// No LF came behind these CRs: each is a line end.
    fn end_crs(&mut self, out: &mut Vec<u8>) {
        for _ in 0..std::mem::take(&mut self.crs) {
            self.repairs.bare_cr += 1;
            self.end_line(out);
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.open_line = false;
    }
}

/// The first octet that cannot be copied as it is: a NUL, a CR without its LF in this piece, or a LF without its CR.
fn next_odd(raw: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = memchr::memchr3(b'\r', b'\n', 0, &raw[from..]) {
        let at = from + at;
        if raw[at] != b'\r' || raw.get(at + 1) != Some(&b'\n') {
            return Some(at);
        }
        from = at + 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(raw: &[u8]) -> Vec<u8> {
        let (mut canonical, mut out) = (Canonical::new(), Vec::new());
        canonical.push(raw, &mut out);
        canonical.finish(&mut out);
        out
    }

    #[test]
    fn the_rule_in_a_table() {
        for (raw, kept) in [
            (&b""[..], &b""[..]),
            (b"a", b"a\r\n"),
            (b"a\r\n", b"a\r\n"),
            (b"a\nb", b"a\r\nb\r\n"),
            (b"a\rb\r", b"a\r\nb\r\n"),
            (b"a\r\r\nb\n\r", b"a\r\nb\r\n\r\n"),
            (b"a\r\r\r\n\r\r\nb\r\rc", b"a\r\n\r\nb\r\n\r\nc\r\n"),
            (b"a\r\r", b"a\r\n\r\n"),
            (b"\n\n", b"\r\n\r\n"),
            (b"a\0b\0\r\n", b"ab\r\n"),
            (b"\0", b""),
            (b"a\r\0\n", b"a\r\n\r\n"),
        ] {
            assert_eq!(canonical(raw).escape_ascii().to_string(), kept.escape_ascii().to_string(), "of {:?}", raw.escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(raw in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(0u8), Just(b'.'), Just(b'a')], 0..60), cut in 0usize..60) {
            let cut = cut.min(raw.len());
            let (mut canonical_, mut out) = (Canonical::new(), Vec::new());
            canonical_.push(&raw[..cut], &mut out);
            canonical_.push(&raw[cut..], &mut out);
            canonical_.finish(&mut out);
            prop_assert_eq!(&out, &canonical(&raw));
        }

        #[test]
        fn it_is_canonical_and_stays_so(raw in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(0u8), any::<u8>()], 0..80)) {
            let once = canonical(&raw);
            prop_assert_eq!(&canonical(&once), &once);
            prop_assert!(once.is_empty() || once.ends_with(b"\r\n"));
            let bare = once.split(|&b| b == b'\n').take(once.iter().filter(|&&b| b == b'\n').count()).all(|line| line.ends_with(b"\r") && line.iter().filter(|&&b| b == b'\r').count() == 1);
            prop_assert!(bare);
        }
    }
}
