//! The message that came inside of another one: a journal report's original. Its octets stay where they are, in memory or in the file.

use super::reader::Outgoing;
use super::{Spool, SpoolError};
use crate::mail::header::HEADER_OCTETS_MAX;
use crate::mail::{Content, Fingerprint, HeaderBlock, Message};
use crate::resolve::journal::{JournalScanner, Report};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Octets that are read at once.
const READ_OCTETS: u64 = 256 * 1024;

impl Spool {
    /// Reads a message through the scanner: what it says, or why it is no report after all.
    pub async fn report(&self, message: &Message, mut scanner: JournalScanner) -> Result<Result<Report, &'static str>, SpoolError> {
        let mut header = message.header.body_start();
        let mut octets = Outgoing::new(b"", &[], &message.content);
        while let Some(piece) = octets.next().await.map_err(|error| self.failed(error))? {
            let skipped = header.min(piece.len());
            header -= skipped;
            scanner.push(&piece[skipped..]);
        }
        Ok(scanner.finish())
    }

    /// The part of a message at this place as a message of its own: it has the key, the repairs and the share of the budget of the whole,
    /// and a header and a fingerprint of its own. The place must be whole lines, as a [`Report`] tells it.
    pub async fn original(&self, message: Message, range: Range<u64>) -> Result<Message, SpoolError> {
        let len = range.end.checked_sub(range.start).filter(|len| *len > 0 && range.end <= message.content.len());
        let len = len.ok_or_else(|| self.failed(io::Error::new(io::ErrorKind::InvalidInput, "no message stands there")))?;
        let part = match message.content {
            Content::Memory(octets) => Ok(Part::in_memory(octets.slice(range.start as usize..range.end as usize))),
            Content::Spooled { file, start, .. } => {
                let start = start + range.start;
                let read = tokio::task::spawn_blocking(move || Part::in_file(file, start, len));
                read.await.unwrap_or_else(|join| Err(io::Error::other(join)))
            }
        };
        let part = part.map_err(|error| self.failed(error))?;
        if !part.ends_a_line {
            return Err(self.failed(io::Error::new(io::ErrorKind::InvalidData, "the message does not end with a line end")));
        }
        Ok(Message { header: part.header, content: part.content, fingerprint: part.fingerprint, eight_bit: part.eight_bit, ..message })
    }

    fn failed(&self, error: io::Error) -> SpoolError {
        SpoolError { dir: self.dir.as_ref().into(), error }
    }
}

struct Part {
    header: HeaderBlock,
    content: Content,
    fingerprint: Fingerprint,
    eight_bit: bool,
    ends_a_line: bool,
}

impl Part {
    fn in_memory(octets: Bytes) -> Self {
        let header = HeaderBlock::parse(octets.clone());
        let body = Sha256::digest(&octets[header.body_start()..]).into();
        Part {
            fingerprint: Fingerprint::new(&header, body),
            eight_bit: !octets.is_ascii(),
            ends_a_line: octets.ends_with(b"\r\n"),
            content: Content::Memory(octets),
            header,
        }
    }

    fn in_file(file: Arc<File>, start: u64, len: u64) -> io::Result<Self> {
        let head = read(&file, start, len.min(HEADER_OCTETS_MAX as u64))?;
        // Only the header stays in memory.
        let header = HeaderBlock::parse_start(Bytes::from(head), len > HEADER_OCTETS_MAX as u64).shrunk();
        let mut eight_bit = !header.octets().is_ascii();
        let (mut body, mut last, mut at) = (Sha256::new(), Vec::new(), header.body_start() as u64);
        while at < len {
            last = read(&file, start + at, (len - at).min(READ_OCTETS))?;
            body.update(&last);
            eight_bit |= !last.is_ascii();
            at += last.len() as u64;
        }
        let end = if len >= 2 { read(&file, start + len - 2, 2)? } else { last };
        Ok(Part {
            fingerprint: Fingerprint::new(&header, body.finalize().into()),
            eight_bit,
            ends_a_line: end == b"\r\n",
            content: Content::Spooled { file, start, len },
            header,
        })
    }
}

fn read(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; len as usize];
    file.read_exact_at(&mut octets, at).map(|()| octets)
}
