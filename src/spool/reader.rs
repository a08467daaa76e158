//! Reading a message for a delivery: the trace fields on top, the header edits applied, everything else as it came.

use crate::mail::Content;
use crate::mail::header::Edit;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Most octets of one piece.
const PIECE_OCTETS_MAX: usize = 256 * 1024;

/// A message as it goes out: pieces in order, cut anywhere. Canonical as long as prefix and edits are.
#[derive(Debug)]
pub struct Outgoing {
    content: Content,
    /// What is still to come, in reverse order.
    parts: Vec<Part>,
    len: u64,
}

#[derive(Debug)]
enum Part {
    Ours(Bytes),
    Theirs(Range<u64>),
}

impl Outgoing {
    /// The message with `prefix` on top and `edits` (ascending, not overlapping) applied.
    pub fn new(prefix: &[u8], edits: &[Edit], content: &Content) -> Self {
        let mut parts = vec![Part::Ours(Bytes::copy_from_slice(prefix))];
        let mut at = 0;
        for edit in edits {
            debug_assert!(edit.cut.start as u64 >= at && edit.cut.end as u64 <= content.len(), "edits overlap or lie outside");
            parts.push(Part::Theirs(at..edit.cut.start as u64));
            parts.push(Part::Ours(Bytes::copy_from_slice(&edit.with)));
            at = edit.cut.end as u64;
        }
        parts.push(Part::Theirs(at..content.len()));
        parts.retain(|part| part.len() > 0);
        let len = parts.iter().map(Part::len).sum();
        parts.reverse();
        Outgoing { content: content.clone(), parts, len }
    }

    /// Octets in all: what SIZE= announces.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next piece, or `None` at the end. An error of the spool file ends the delivery before its final dot.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self.step() {
            Step::End => Ok(None),
            Step::Ready(octets) => Ok(Some(octets)),
            Step::Read(file, range) => {
                let read = tokio::task::spawn_blocking(move || read(&file, range));
                read.await.unwrap_or_else(|join| Err(io::Error::other(join))).map(Some)
            }
        }
    }

    /// The same for a thread that may block.
    pub fn next_blocking(&mut self) -> io::Result<Option<Bytes>> {
        match self.step() {
            Step::End => Ok(None),
            Step::Ready(octets) => Ok(Some(octets)),
            Step::Read(file, range) => read(&file, range).map(Some),
        }
    }

    fn step(&mut self) -> Step {
        let range = match self.parts.pop() {
            None => return Step::End,
            Some(Part::Ours(octets)) => return Step::Ready(octets),
            Some(Part::Theirs(range)) => range,
        };
        match &self.content {
            Content::Memory(octets) => Step::Ready(octets.slice(range.start as usize..range.end as usize)),
            Content::Spooled { file, start, .. } => {
                let end = range.end.min(range.start + PIECE_OCTETS_MAX as u64);
                if end < range.end {
                    self.parts.push(Part::Theirs(end..range.end));
                }
                Step::Read(Arc::clone(file), start + range.start..start + end)
            }
        }
    }
}

enum Step {
    End,
    Ready(Bytes),
    Read(Arc<File>, Range<u64>),
}

fn read(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let mut piece = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut piece, range.start).map(|()| Bytes::from(piece))
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Part::Ours(octets) => octets.len() as u64,
            Part::Theirs(range) => range.end - range.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn prefix_and_edits_are_applied() {
        let content = Content::Memory(Bytes::from_static(b"A: 1\r\nB: 2\r\nC: 3\r\n\r\nbody\r\n"));
        let edits = [Edit { cut: 0..6, with: Vec::new() }, Edit { cut: 12..18, with: b"X: 9\r\n".to_vec() }];
        let mut outgoing = Outgoing::new(b"T: 0\r\n", &edits, &content);
        let (len, mut all) = (outgoing.len(), Vec::new());
        while let Some(piece) = outgoing.next().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, b"T: 0\r\nB: 2\r\nX: 9\r\n\r\nbody\r\n");
        assert_eq!(len, all.len() as u64);
    }
}
