//! The content as it goes over the wire after 354: every line start that is a dot gets another one, and a lone dot ends it (RFC 5321 §4.5.2).
//!
//! This encoder is the last line of defence against SMTP smuggling: servers in the field end the message at `LF . LF` or `CR . CR` too, and
//! would read the rest of a hostile message as commands of ours. The content is canonical already when it comes here (see
//! [`crate::mail::canonical`]); the encoder applies the same rule once more, so that it is safe by itself: a bare CR or LF becomes CRLF,
//! a NUL is dropped, and only then is a line start a line start.

/// Encodes one message, in pieces cut anywhere.
#[derive(Clone, Debug)]
pub struct Stuffer {
    /// The next octet starts a line.
    line_start: bool,
    /// The former octet was a bare CR, whose CRLF has been written: a LF that follows belongs to it.
    after_cr: bool,
}

impl Default for Stuffer {
    fn default() -> Self {
        Stuffer { line_start: true, after_cr: false }
    }
}

impl Stuffer {
    /// An encoder at the start of a message.
    pub fn new() -> Self {
        Stuffer::default()
    }

    /// Appends the encoded piece to `out`; at most twice its length.
    pub fn push(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        // Octets from `copied` to `at` are good as they are and wait to be copied in one go.
        let (mut copied, mut at) = (0, 0);
        while at < raw.len() {
            if std::mem::take(&mut self.after_cr) && raw[at] == b'\n' {
                at += 1;
                copied = at;
                continue;
            }
            if self.line_start && raw[at] == b'.' {
                out.extend_from_slice(&raw[copied..at]);
                out.push(b'.');
                copied = at;
            }
            let Some(plain) = memchr::memchr3(b'\r', b'\n', 0, &raw[at..]) else {
                self.line_start = false;
                break;
            };
            self.line_start &= plain == 0;
            at += plain;
            let odd = raw[at];
            if odd == b'\r' && raw.get(at + 1) == Some(&b'\n') {
                at += 2;
                self.line_start = true;
                continue;
            }
            out.extend_from_slice(&raw[copied..at]);
            at += 1;
            copied = at;
            if odd != 0 {
                out.extend_from_slice(b"\r\n");
                self.line_start = true;
                self.after_cr = odd == b'\r';
            }
        }
        out.extend_from_slice(&raw[copied..]);
    }

    /// Ends the last line if it is open, and the message.
    pub fn finish(self, out: &mut Vec<u8>) {
        if !self.line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Canonical;
    use proptest::prelude::*;

    fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (Stuffer::new(), Vec::new());
        pieces.iter().for_each(|piece| stuffer.push(piece, &mut out));
        stuffer.finish(&mut out);
        out
    }

    /// What a server does (RFC 5321 §4.5.2): lines up to the lone dot, one leading dot cut. Returns what follows the lone dot too.
    fn unstuffed(wire: &[u8]) -> (Vec<u8>, &[u8]) {
        let (mut out, mut rest) = (Vec::new(), wire);
        loop {
            let end = memchr::memmem::find(rest, b"\r\n").expect("the message ends with a lone dot") + 2;
            let (line, after) = rest.split_at(end);
            if line == b".\r\n" {
                return (out, after);
            }
            out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            rest = after;
        }
    }

    fn canonical(raw: &[u8]) -> Vec<u8> {
        let (mut canonical, mut out) = (Canonical::new(), Vec::new());
        canonical.push(raw, &mut out);
        canonical.finish(&mut out);
        out
    }

    #[test]
    fn a_table() {
        for (raw, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r\n..\r\n", b"a\r\n...\r\n.\r\n"),
            (b"a\r\n\0.\r\n", b"a\r\n..\r\n.\r\n"),
            (b"a.b\r\n", b"a.b\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(&[raw]).escape_ascii().to_string(), wire.escape_ascii().to_string());
        }
    }

    #[test]
    fn no_smuggling_ending_survives() {
        let ends: [&[u8]; 4] = [b"\n", b"\r", b"\r\n", b"\r\0\n"];
        for before in ends {
            for after in ends {
                let raw = [b"text", before, b".", after, b"MAIL FROM:<ceo@bank.example>", after].concat();
                let wire = stuffed(&[&raw]);
                let (text, rest) = unstuffed(&wire);
                assert_eq!((text, rest), (canonical(&raw), &b""[..]));
                // And no server that is content with less finds an end either.
                let inner = &wire[..wire.len() - 5];
                for end in [&b"\n.\n"[..], b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\0"] {
                    assert_eq!(memchr::memmem::find(inner, end), None, "{}", wire.escape_ascii());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_arrives_is_the_canonical_message(
            raw in proptest::collection::vec(prop_oneof![3 => Just(b'.'), 3 => Just(b'\r'), 3 => Just(b'\n'), 1 => Just(0u8), 2 => any::<u8>()], 0..80),
            cuts in (0usize..80, 0usize..80),
        ) {
            let (a, b) = (cuts.0.min(cuts.1).min(raw.len()), cuts.0.max(cuts.1).min(raw.len()));
            let wire = stuffed(&[&raw[..a], &raw[a..b], &raw[b..]]);
            prop_assert_eq!(&wire, &stuffed(&[&raw]));
            // Whatever goes in, what arrives is one message in canonical form; and the canonical message arrives as it is.
            let (text, rest) = unstuffed(&wire);
            prop_assert_eq!(&canonical(&text), &text);
            prop_assert!(rest.is_empty());
            let message = canonical(&raw);
            let wire = stuffed(&[&message]);
            prop_assert_eq!(unstuffed(&wire), (message, &b""[..]));
        }
    }
}
