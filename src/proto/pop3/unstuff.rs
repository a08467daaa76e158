//! The body of a multi-line answer: dots taken off, its end found, across any borders of buffers (RFC 1939 §3).
//!
//! Only CRLF "." CRLF ends a message, and "." CRLF right after the first line an empty one. A bare LF or CR is content, before and after a
//! dot: `LF . CRLF` and `LF . LF` occur inside of messages, and a reader that stopped there would take half a message for a whole one and
//! the rest of it for answers. A server that ends its answers with bare LF can therefore not be collected from: the read runs into the
//! time limit, and nothing is lost. The CRLF before the dot belongs to the message.

use memchr::memmem::Finder;

/// Takes dots off. Copies nothing: pieces are parts of the input.
#[derive(Clone, Debug)]
pub struct Unstuff {
    at: At,
    dot_line: Finder<'static>,
}

/// The next of what the input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Octets of the message.
    Text(&'a [u8]),
    /// The input is used up, and the message is not at its end.
    More,
    /// The message is complete; what is left of the input is the next answer.
    End,
}

/// What the octets so far end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Inside,
    Cr,
    Dot,
    DotCr,
    End,
}

impl Default for Unstuff {
    fn default() -> Self {
        Unstuff::new()
    }
}

impl Unstuff {
    /// At the start of a message.
    pub fn new() -> Self {
        Unstuff { at: At::LineStart, dot_line: Finder::new(b"\r\n.") }
    }

    /// Takes the next piece from the front of `input`.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Piece<'a> {
        loop {
            let Some(&first) = input.first() else {
                return if self.at == At::End { Piece::End } else { Piece::More };
            };
            match self.at {
                At::End => return Piece::End,
                At::LineStart if first == b'.' => {
                    *input = &input[1..];
                    self.at = At::Dot;
                }
                At::LineStart => self.at = At::Inside,
                At::Cr if first == b'\n' => {
                    self.at = At::LineStart;
                    return Piece::Text(take(input, 1));
                }
                At::Cr => self.at = At::Inside,
                At::Dot if first == b'\r' => {
                    *input = &input[1..];
                    self.at = At::DotCr;
                }
                // The dot was the server's, and is gone; what follows is the line.
                At::Dot => self.at = At::Inside,
                At::DotCr if first == b'\n' => {
                    *input = &input[1..];
                    self.at = At::End;
                    return Piece::End;
                }
                At::DotCr => {
                    self.at = At::Inside;
                    return Piece::Text(b"\r");
                }
                At::Inside => {
                    if let Some(found) = self.dot_line.find(input) {
                        self.at = At::LineStart;
                        return Piece::Text(take(input, found + 2));
                    }
                    self.at = match **input {
                        [.., b'\r', b'\n'] => At::LineStart,
                        [.., b'\r'] => At::Cr,
                        _ => At::Inside,
                    };
                    return Piece::Text(take(input, input.len()));
                }
            }
        }
    }
}

fn take<'a>(input: &mut &'a [u8], octets: usize) -> &'a [u8] {
    let (piece, rest) = input.split_at(octets);
    *input = rest;
    piece
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a server does, written as plainly as possible.
    fn stuff(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (n, byte) in text.iter().enumerate() {
            if *byte == b'.' && (n == 0 || text[..n].ends_with(b"\r\n")) {
                out.push(b'.');
            }
            out.push(*byte);
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    /// The text and what is left, or `None` if no end was found.
    fn unstuff<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut unstuff, mut text, mut rest, mut ended) = (Unstuff::new(), Vec::new(), Vec::new(), false);
        for mut input in pieces {
            while !ended {
                match unstuff.next(&mut input) {
                    Piece::Text(piece) => text.extend_from_slice(piece),
                    Piece::More => break,
                    Piece::End => ended = true,
                }
            }
            rest.extend_from_slice(input);
        }
        ended.then_some((text, rest))
    }

    #[test]
    fn unstuffs_at_every_cut() {
        let table: [(&[u8], Option<(&[u8], &[u8])>); 14] = [
            (b".\r\n", Some((b"", b""))),
            (b".\r\n+OK", Some((b"", b"+OK"))),
            (b"a\r\n.\r\n", Some((b"a\r\n", b""))),
            (b"..\r\n...\r\n.\r\n", Some((b".\r\n..\r\n", b""))),
            (b".a\r\n.\r\n", Some((b"a\r\n", b""))),
            (b"\r\n\r\n.\r\n-ERR", Some((b"\r\n\r\n", b"-ERR"))),
            // Only CRLF "." CRLF ends a message.
            (b"a\n.\nb\r\n.\r\n", Some((b"a\n.\nb\r\n", b""))),
            (b"a\n.\r\nb\r\n.\r\n", Some((b"a\n.\r\nb\r\n", b""))),
            (b"a\r.\r\nb\r\n.\r\n", Some((b"a\r.\r\nb\r\n", b""))),
            (b"a\r\n.\nb\r\n.\r\n", Some((b"a\r\n\nb\r\n", b""))),
            (b"a\r\n.\rb\r\n.\r\n", Some((b"a\r\n\rb\r\n", b""))),
            (b"a\r\n.\r\r\n.\r\n", Some((b"a\r\n\r\r\n", b""))),
            (b"a\r\n.", None),
            (b"a\r\n.\r", None),
        ];
        for (raw, expect) in table {
            let expect = expect.map(|(text, rest)| (text.to_vec(), rest.to_vec()));
            for one in 0..=raw.len() {
                for two in one..=raw.len() {
                    let got = unstuff([&raw[..one], &raw[one..two], &raw[two..]]);
                    assert_eq!(got, expect, "{} cut at {one} and {two}", raw.escape_ascii());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn is_the_inverse_of_stuffing(lines in proptest::collection::vec("[.a\r\n\u{0}]{0,6}", 0..20), cut in 1usize..9) {
            let text = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let mut raw = stuff(text.as_bytes());
            raw.extend_from_slice(b"+OK next\r\n");
            let (got, rest) = unstuff(raw.chunks(cut)).unwrap();
            prop_assert_eq!(got, text.as_bytes());
            prop_assert_eq!(rest, b"+OK next\r\n");
        }

        #[test]
        fn no_prefix_of_a_message_is_a_message(lines in proptest::collection::vec("[.a\r\n]{0,5}", 0..8), at in any::<proptest::sample::Index>()) {
            let text = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let raw = stuff(text.as_bytes());
            prop_assert_eq!(unstuff([&raw[..at.index(raw.len())]]), None);
        }
    }
}
