//! The content with the line ends of Maildir readers.

use crate::spool::reader::Outgoing;
use std::fs::File;
use std::io::{self, Write};

/// Octets of one write.
const WRITE_OCTETS: usize = 128 * 1024;

/// Writes the message with LF as its line end, as Maildir readers expect it.
pub(super) fn copy(mut outgoing: Outgoing, mut file: File) -> io::Result<File> {
    let (mut lines, mut block) = (LineFeeds::default(), Vec::with_capacity(WRITE_OCTETS.min(outgoing.len() as usize + 1)));
    // An error of the spool has no number here, so that it is not taken for one of the Maildir's disk.
    while let Some(piece) = outgoing.next_blocking().map_err(|error| io::Error::other(error.to_string()))? {
        for part in piece.chunks(WRITE_OCTETS) {
            lines.push(part, &mut block);
            if block.len() >= WRITE_OCTETS {
                file.write_all(&block)?;
                block.clear();
            }
        }
    }
    lines.finish(&mut block);
    file.write_all(&block)?;
    Ok(file)
}

/// CRLF to LF, in pieces cut anywhere. A bare CR, which canonical content does not hold, stays.
#[derive(Default)]
struct LineFeeds {
    held_cr: bool,
}

impl LineFeeds {
    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if !piece.is_empty() && std::mem::take(&mut self.held_cr) && piece[0] != b'\n' {
            out.push(b'\r');
        }
        let mut rest = piece;
        while let Some(cr) = memchr::memchr(b'\r', rest) {
            out.extend_from_slice(&rest[..cr]);
            match rest.get(cr + 1) {
                Some(b'\n') => {}
                Some(_) => out.push(b'\r'),
                None => self.held_cr = true,
            }
            rest = &rest[cr + 1..];
        }
        out.extend_from_slice(rest);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn line_ends_are_lf(raw in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40), cut in 0usize..40) {
            let cut = cut.min(raw.len());
            let (mut lines, mut out) = (LineFeeds::default(), Vec::new());
            lines.push(&raw[..cut], &mut out);
            lines.push(&raw[cut..], &mut out);
            lines.finish(&mut out);
            let expected = String::from_utf8(raw).unwrap().replace("\r\n", "\n");
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
