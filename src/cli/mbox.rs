//! A file of messages: one, or an mbox (RFC 4155) with several, read one at a time.
//!
//! A file is an mbox if its first line is a separator. A separator begins with `From ` and has a time in it, behind an empty line or at the
//! top: a text that begins a paragraph with "From here" is none.

use std::io::{self, BufRead, Read};

/// Octets of a line that are looked at in one piece; a longer one is no separator.
const PIECE_OCTETS: u64 = 16 * 1024;

/// The messages of a file, each with its separator, cut at a limit.
pub(super) struct Mbox<R> {
    reader: R,
    limit: usize,
    /// The separator that ended the message before, or the first line of the file.
    start: Option<Vec<u8>>,
    is_mbox: bool,
}

impl<R: BufRead> Mbox<R> {
    /// Reads the first line.
    pub(super) fn open(mut reader: R, limit: u64) -> io::Result<Self> {
        let first = piece(&mut reader)?;
        let is_mbox = is_separator(&first);
        Ok(Mbox { reader, limit: usize::try_from(limit).unwrap_or(usize::MAX), start: Some(first), is_mbox })
    }

    /// The next message; `None` behind the last. What is behind the limit is passed over in an mbox, and not read in a single message.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(mut message) = self.start.take() else { return Ok(None) };
        if !self.is_mbox {
            let more = self.limit.saturating_sub(message.len()) as u64;
            (&mut self.reader).take(more).read_to_end(&mut message)?;
            return Ok(Some(message));
        }
        let (mut at_start, mut behind_empty) = (message.ends_with(b"\n"), false);
        loop {
            let piece = piece(&mut self.reader)?;
            if piece.is_empty() {
                return Ok(Some(message));
            }
            if at_start && behind_empty && is_separator(&piece) {
                self.start = Some(piece);
                return Ok(Some(message));
            }
            behind_empty = at_start && matches!(piece.as_slice(), b"\n" | b"\r\n");
            at_start = piece.ends_with(b"\n");
            message.extend_from_slice(&piece[..piece.len().min(self.limit.saturating_sub(message.len()))]);
        }
    }
}

/// A line with its end, or a piece of a long one.
fn piece(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    reader.take(PIECE_OCTETS).read_until(b'\n', &mut piece)?;
    Ok(piece)
}

/// `From sender Sat Nov 21 10:00:00 2026`; senders may hold anything, times look alike everywhere.
fn is_separator(line: &[u8]) -> bool {
    let time = |at: &[u8]| at[0].is_ascii_digit() && at[1] == b':' && at[2].is_ascii_digit();
    line.starts_with(b"From ") && line.ends_with(b"\n") && line.windows(3).any(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str, limit: u64) -> Vec<String> {
        let mut mbox = Mbox::open(text.as_bytes(), limit).unwrap();
        std::iter::from_fn(|| mbox.next().unwrap()).map(|message| String::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn messages_are_parted_at_separators() {
        let one = "From a@x Sat Nov 21 10:00:00 2026\nA: 1\n\nFrom here on it is text\nFrom b@x Sat Nov 21 10:00:00 2026\n";
        let two = "From b@x Sat Nov 21 10:00:01 2026\r\nA: 2\r\n\r\n>From c@x Sat Nov 21 10:00:01 2026\r\n\r\n";
        let long = format!("From c@x Sat Nov 21 10:00:02 2026\nA: 3\n\n{}From c@x 10:00\nend", "x".repeat(2 * PIECE_OCTETS as usize));
        assert_eq!(messages(&format!("{one}\n{two}{long}"), u64::MAX), [format!("{one}\n"), two.to_owned(), long]);
        // What begins otherwise is one message, whatever is in it.
        let letter = format!("A: 1\n\n{two}{two}");
        assert_eq!(messages(&letter, u64::MAX), [letter]);
        assert_eq!(messages("", 10), [""]);
    }

    #[test]
    fn each_message_is_cut_at_the_limit() {
        let one = "From a@x Sat Nov 21 10:00:00 2026\nA: 1\n\ntext\n\n";
        assert_eq!(messages(&one.repeat(3), 38), [&one[..38]; 3]);
        assert_eq!(messages("A: 1\nB: 2\n", 7), ["A: 1\nB:"]);
    }
}
