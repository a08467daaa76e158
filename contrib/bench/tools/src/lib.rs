//! What the tools share: buffered reading of lines, spans and dot-stuffed blocks; dot-stuffing.

use std::io::{Error, ErrorKind, Read, Result};

/// A reader with a large buffer; a message may be longer than it.
pub struct Buffered<R> {
    stream: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Buffered<R> {
    /// Takes the stream over.
    pub fn new(stream: R) -> Self {
        Buffered { stream, buffer: vec![0; 256 * 1024], start: 0, end: 0 }
    }

    /// The stream itself, for writing.
    pub fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    /// What was read and not taken.
    pub fn ready(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn fill(&mut self) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.end..])? {
            0 => Err(Error::from(ErrorKind::UnexpectedEof)),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }

    /// One line without its line end.
    pub fn line(&mut self) -> Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.ready()[searched..]) {
                let line = &self.ready()[..searched + at];
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.start += searched + at + 1;
                return Ok(line);
            }
            searched = self.ready().len();
            self.fill()?;
        }
    }

    /// Exactly so many octets, in pieces.
    pub fn span(&mut self, mut length: usize, mut each: impl FnMut(&[u8])) -> Result<()> {
        while length > 0 {
            if self.ready().is_empty() {
                self.fill()?;
            }
            let n = self.ready().len().min(length);
            each(&self.buffer[self.start..self.start + n]);
            self.start += n;
            length -= n;
        }
        Ok(())
    }

    /// A dot-stuffed block up to its final dot, stuffing undone, in pieces.
    pub fn dotted(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut line_begins = true;
        loop {
            if line_begins {
                while self.ready().len() < 3 {
                    self.fill()?;
                }
                line_begins = false;
                if self.ready().starts_with(b".\r\n") {
                    self.start += 3;
                    return Ok(());
                }
                if self.ready()[0] == b'.' {
                    self.start += 1;
                }
            }
            match memchr::memmem::find(self.ready(), b"\r\n.") {
                Some(at) => {
                    each(&self.buffer[self.start..self.start + at + 2]);
                    self.start += at + 2;
                    line_begins = true;
                }
                None => {
                    // The last two octets may be the start of CRLF dot.
                    let n = self.ready().len().saturating_sub(2);
                    each(&self.buffer[self.start..self.start + n]);
                    self.start += n;
                    self.fill()?;
                }
            }
        }
    }
}

/// Appends a message (in CRLF form) dot-stuffed, with its final dot.
pub fn stuff(message: &[u8], out: &mut Vec<u8>) {
    if message.first() == Some(&b'.') {
        out.push(b'.');
    }
    let mut from = 0;
    for at in memchr::memmem::find_iter(message, b"\r\n.") {
        out.extend_from_slice(&message[from..at + 2]);
        out.push(b'.');
        from = at + 2;
    }
    out.extend_from_slice(&message[from..]);
    out.extend_from_slice(if message.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" });
}
