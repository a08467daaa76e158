//! Replies as they arrive (RFC 5321 §4.2), in pieces cut anywhere.
//!
//! A reader of our own, and not `smtp_proto::ResponseReceiver` 0.2.5, though that one is bounded and does not panic: it takes any three
//! digits for a code, takes a multi-line reply whose lines disagree about the code, keeps the last line's enhanced code whatever its class,
//! and folds the lines of an EHLO into one text, while its EHLO parser wants all of it at once and fails as a whole on one odd keyword.
//! What we ask of a reply decides whether mail counts as delivered, so it is strict where the meaning hangs on it (the digits, the
//! separator, one code for all lines) and tolerant elsewhere (no text, a bare LF as line end, 8-bit text).

use crate::mail::Reply;

/// Longest line, without its line end. RFC 5321 §4.5.3.1.5 says 512.
pub const LINE_OCTETS_MAX: usize = 2048;
/// Most lines of one reply.
pub const LINES_MAX: usize = 128;

/// A complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullReply {
    /// Code, enhanced code and text.
    pub reply: Reply,
    /// The text of each line, without codes; what EHLO's keywords are read from. Hostile text, not made harmless.
    pub lines: Vec<String>,
}

/// Why octets are not a reply. The stream cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not three digits, of which the first is 2 to 5, and a blank, a hyphen or the line's end.
    #[error("this is not an SMTP reply")]
    Syntax,
    /// Lines of one reply with different codes.
    #[error("the lines of one reply have different codes")]
    Codes,
    /// A line without end, or lines without end.
    #[error("the reply is too long")]
    TooLong,
}

/// Puts replies together.
#[derive(Debug, Default)]
pub struct ReplyReader {
    line: Vec<u8>,
    code: Option<u16>,
    lines: Vec<String>,
}

impl ReplyReader {
    /// A reader at the start of a reply.
    pub fn new() -> Self {
        ReplyReader::default()
    }

    /// True in the middle of a reply.
    pub fn has_begun(&self) -> bool {
        !self.line.is_empty() || self.code.is_some()
    }

    /// Takes octets up to the end of one reply; says how many were taken, and the reply once it is complete.
    pub fn push(&mut self, octets: &[u8]) -> Result<(usize, Option<FullReply>), ReplyError> {
        let mut taken = 0;
        while let Some(end) = memchr::memchr(b'\n', &octets[taken..]) {
            self.extend_line(&octets[taken..taken + end])?;
            taken += end + 1;
            if let Some(reply) = self.end_line()? {
                return Ok((taken, Some(reply)));
            }
        }
        self.extend_line(&octets[taken..])?;
        Ok((octets.len(), None))
    }

    fn extend_line(&mut self, octets: &[u8]) -> Result<(), ReplyError> {
        if self.line.len() + octets.len() > LINE_OCTETS_MAX + 1 {
            return Err(ReplyError::TooLong);
        }
        self.line.extend_from_slice(octets);
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<FullReply>, ReplyError> {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let (code, more, text) = split_line(line).ok_or(ReplyError::Syntax)?;
        if self.code.is_some_and(|first| first != code) {
            return Err(ReplyError::Codes);
        }
        if self.lines.len() == LINES_MAX {
            return Err(ReplyError::TooLong);
        }
        self.code = Some(code);
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        self.line.clear();
        if more {
            return Ok(None);
        }
        self.code = None;
        Ok(Some(full_reply(code, std::mem::take(&mut self.lines))))
    }
}

/// `250-text`, `250 text`, `250`.
fn split_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !matches!(digits[0], b'2'..=b'5') || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Some((code, false, rest)),
        Some((b' ', text)) => Some((code, false, text)),
        Some((b'-', text)) => Some((code, true, text)),
        Some(_) => None,
    }
}

/// The enhanced code is read from the first line and cut from each line that repeats it (RFC 2034 §4).
fn full_reply(code: u16, lines: Vec<String>) -> FullReply {
    let enhanced = lines.first().and_then(|line| enhanced_code(line)).filter(|(class, ..)| u16::from(*class) == code / 100);
    let mut text = String::new();
    for line in &lines {
        let shown = match enhanced {
            Some(ours) if enhanced_code(line) == Some(ours) => line.split_once(' ').map_or("", |(_, text)| text),
            _ => line,
        };
        // What is kept for logs is short; the rest of a long reply is not even copied.
        if text.len() > Reply::TEXT_OCTETS_MAX {
            break;
        }
        if !text.is_empty() && !shown.is_empty() {
            text.push(' ');
        }
        text.push_str(shown);
    }
    FullReply { reply: Reply::new(code, enhanced, text.trim()), lines }
}

/// `5.1.1 text`: class 2, 4 or 5, subject and detail of up to three digits (RFC 3463 §2).
fn enhanced_code(text: &str) -> Option<(u8, u16, u16)> {
    let mut numbers = text.split(' ').next()?.split('.');
    let mut number = |digits_max: usize| {
        let digits = numbers.next()?;
        let fits = (1..=digits_max).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if fits { digits.parse::<u16>().ok() } else { None }
    };
    let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
    (numbers.next().is_none() && matches!(class, 2 | 4 | 5)).then_some((class as u8, subject, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(octets: &[u8]) -> Result<FullReply, ReplyError> {
        let (taken, reply) = ReplyReader::new().push(octets)?;
        assert_eq!(taken, octets.len());
        Ok(reply.expect("the reply is complete"))
    }

    #[test]
    fn replies_of_all_shapes() {
        for (octets, shown) in [
            ("250 OK\r\n", "250 OK"),
            ("250\r\n", "250"),
            ("250 \r\n", "250"),
            ("250 OK\n", "250 OK"),
            ("250 2.1.0 Sender ok\r\n", "250 2.1.0 Sender ok"),
            ("250 2.1.0\r\n", "250 2.1.0"),
            ("550-5.1.1 first\r\n550 5.1.1 second\r\n", "550 5.1.1 first second"),
            ("550-5.1.1 first\r\n550-\r\n550 second\r\n", "550 5.1.1 first second"),
            ("550 4.1.1 class of another code\r\n", "550 4.1.1 class of another code"),
            ("550 5.1.1000 x\r\n", "550 5.1.1000 x"),
            ("550 5.1.1.1 x\r\n", "550 5.1.1.1 x"),
            ("421 4.3.2 a\x1b[31m\0b\r\n", "421 4.3.2 a?[31m?b"),
            ("354 go\r\n", "354 go"),
        ] {
            assert_eq!(one(octets.as_bytes()).unwrap().reply.to_string(), shown);
        }
        assert_eq!(one(b"250 \xff\r\n").unwrap().reply.to_string(), "250 \u{fffd}");
    }

    #[test]
    fn what_is_no_reply() {
        use ReplyError::*;
        let long_line = [b"250 ".as_slice(), &[b'x'; LINE_OCTETS_MAX], b"\r\n"].concat();
        for (octets, error) in [
            (&b"\r\n"[..], Syntax),
            (b"25\r\n", Syntax),
            (b"250x\r\n", Syntax),
            (b"650 x\r\n", Syntax),
            (b"150 x\r\n", Syntax),
            (b"HTTP/1.1 400 Bad\r\n", Syntax),
            (b"* OK IMAP\r\n", Syntax),
            (b"250-a\r\n550 b\r\n", Codes),
            (&long_line, TooLong),
            (&b"250-x\r\n".repeat(LINES_MAX + 1), TooLong),
            (&[b'2'; 1 << 16], TooLong),
        ] {
            assert_eq!(ReplyReader::new().push(octets).unwrap_err(), error, "{:?}", octets.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_follows_a_reply_is_left() {
        assert_eq!(ReplyReader::new().push(b"250 a\r\n354 b\r\n").unwrap().0, 7);
    }

    fn all(pieces: &[&[u8]]) -> Result<Vec<FullReply>, ReplyError> {
        let (mut reader, mut replies) = (ReplyReader::new(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (taken, reply) = reader.push(rest)?;
                replies.extend(reply);
                rest = &rest[taken..];
            }
        }
        Ok(replies)
    }

    proptest! {
        #[test]
        fn cuts_change_nothing_and_nothing_panics(octets in proptest::collection::vec(prop_oneof![
            Just(b"250 ".to_vec()), Just(b"550-".to_vec()), Just(b"\r\n".to_vec()), Just(b"5.1.1 ".to_vec()), proptest::collection::vec(any::<u8>(), 0..4)
        ], 0..12), cut in 0usize..60) {
            let octets = octets.concat();
            let cut = cut.min(octets.len());
            prop_assert_eq!(all(&[&octets]), all(&[&octets[..cut], &octets[cut..]]));
        }
    }
}
