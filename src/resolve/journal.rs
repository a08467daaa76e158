//! Journal reports (stage 0): the envelope as the provider's own servers saw it, Bcc included.
//!
//! Exchange and Microsoft 365 send a report for each message: multipart/mixed, its first part a text of lines such as
//! `Recipient: anna@example.org, Expanded: team@example.org`, and the original attached as message/rfc822
//! (<https://learn.microsoft.com/exchange/security-and-compliance/journaling/journaling>). Google sends the message itself, with the
//! recipients in X-Gm-Original-To.
//!
//! Anybody can write such a report, and so dictate recipients: only those of the configured sender are opened, and only if they came
//! in from a host that sends them; all others are ordinary mail. What was opened and is not whole, or not as expected, is an error and never a wrong message: the report then goes where mail
//! without recipients goes.
//!
//! ```text
//! header ─JournalScanner::new─▶ scanner ─push(octets behind the header)…─finish─▶ Report { recipients, original }
//! ```
//!
//! The scanner holds one line and the text of the report; the original passes by, and only its place is kept.

use crate::mail::{Address, HeaderBlock};
use crate::resolve::rules::Journal;
use crate::resolve::trusted::TrustedBlock;
use bytes::Bytes;
use std::ops::Range;

mod entry;
mod mime;
mod recognise;
mod report;

pub(super) use recognise::not_opened;
pub use recognise::{Recognised, google_recipients, recognise};

use mime::{Encoding, content_type, decoded, encoding};
use recognise::exchange_boundary;
use report::read;

/// Longest boundary, in octets. RFC 2046 §5.1.1 says 70; some programs write more.
pub const BOUNDARY_OCTETS_MAX: usize = 200;
/// Longest line of the report's text and of a part's header, in octets.
pub const LINE_OCTETS_MAX: usize = 64 * 1024;
/// Largest text of a report, and header of a part, in octets.
pub const PART_OCTETS_MAX: usize = 512 * 1024;
/// Most recipients of one report.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Most parts of a report.
pub const PARTS_MAX: usize = 100;

/// Blanks that may stand behind a boundary (RFC 2046 §5.1.1, transport padding).
const PADDING_OCTETS_MAX: usize = 100;

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who sent the original; `None` for the null reverse-path, or if the report does not say.
    pub sender: Option<Address>,
    /// Who it was sent to (RFC 5321 envelope), in the report's order; never empty.
    pub recipients: Vec<Address>,
    /// Where the original stands in the whole message: whole lines.
    pub original: Range<u64>,
}

/// Reads a report as it comes.
#[derive(Clone, Debug)]
pub struct JournalScanner {
    /// `--` and the boundary.
    delimiter: Vec<u8>,
    /// Where the line at hand starts in the message.
    line_start: u64,
    /// Its length so far, with its end.
    line_octets: u64,
    /// Its first octets.
    line: Vec<u8>,
    /// The line before it was empty.
    after_blank: bool,
    parts: usize,
    place: Place,
    /// What is gathered of the part at hand: its header, or the report's text.
    gathered: Vec<u8>,
    report: Option<(Option<Address>, Vec<Address>)>,
    original: Option<Range<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Preamble,
    PartHeader,
    Text(Encoding),
    Original { start: u64 },
    OtherPart,
    End,
    Failed(&'static str),
}

impl JournalScanner {
    /// A scanner for a message with this header; `None` if it is no report of Exchange from the journal's sender and host.
    pub fn new(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<Self> {
        let boundary = exchange_boundary(header, block, journal).filter(|_| entry::entry(block, journal).is_ok())?;
        let start = header.body_start() as u64;
        Some(JournalScanner {
            delimiter: [b"--", boundary.as_bytes()].concat(),
            line_start: start,
            line_octets: 0,
            line: Vec::new(),
            after_blank: false,
            parts: 0,
            place: Place::Preamble,
            gathered: Vec::new(),
            report: None,
            original: None,
        })
    }

    /// Takes the next octets of the message, the first ones from [`HeaderBlock::body_start`] on, in pieces cut anywhere.
    pub fn push(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && !matches!(self.place, Place::End | Place::Failed(_)) {
            let end = memchr::memchr(b'\n', octets);
            let (piece, rest) = octets.split_at(end.map_or(octets.len(), |at| at + 1));
            octets = rest;
            let room = self.line_octets_max().saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            self.line_octets += piece.len() as u64;
            if end.is_some() {
                self.take_line();
            }
        }
    }

    /// The report, now that the message is at its end.
    pub fn finish(mut self) -> Result<Report, &'static str> {
        if self.line_octets > 0 {
            self.take_line();
        }
        match self.place {
            Place::Failed(why) => return Err(why),
            Place::End => {}
            _ => return Err("the journal report is cut off"),
        }
        let (sender, recipients) = self.report.ok_or("the journal report has no text")?;
        let original = self.original.ok_or("the journal report has no message attached")?;
        match recipients.is_empty() {
            true => Err("the journal report names no recipient"),
            false => Ok(Report { sender, recipients, original }),
        }
    }

    /// How much of a line is of interest: all of the report and of headers, elsewhere enough to know a boundary.
    fn line_octets_max(&self) -> usize {
        match self.place {
            Place::PartHeader | Place::Text(_) => LINE_OCTETS_MAX,
            _ => self.delimiter.len() + PADDING_OCTETS_MAX,
        }
    }

    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let whole = line.len() as u64 == self.line_octets;
        let text = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(&line);
        match self.delimiter_of(text).filter(|_| whole) {
            Some(closes) => self.end_part(closes),
            None => self.take_text(text, &line, whole),
        }
        self.after_blank = text.is_empty();
        self.line_start += self.line_octets;
        self.line_octets = 0;
        self.line = line;
        self.line.clear();
        // A long line is not to be paid for ever.
        self.line.shrink_to(4 * 1024);
    }

    /// `Some(true)` for the boundary that ends all parts (RFC 2046 §5.1.1). The whole line must match, or the boundary of a part inside
    /// the original, which may start like ours, would end it.
    fn delimiter_of(&self, line: &[u8]) -> Option<bool> {
        let rest = line.strip_prefix(&self.delimiter[..])?;
        match rest.trim_ascii_end() {
            b"" => Some(false),
            b"--" => Some(true),
            _ => None,
        }
    }

    fn take_text(&mut self, text: &[u8], line: &[u8], whole: bool) {
        match self.place {
            Place::PartHeader | Place::Text(_) if !whole || self.gathered.len() + line.len() > PART_OCTETS_MAX => {
                self.place = Place::Failed("the text of the journal report is too long");
            }
            Place::PartHeader if text.is_empty() => self.start_part(),
            Place::PartHeader | Place::Text(_) => self.gathered.extend_from_slice(line),
            _ => {}
        }
    }

    /// The header of a part has ended: what is it?
    fn start_part(&mut self) {
        let mut octets = std::mem::take(&mut self.gathered);
        octets.extend_from_slice(b"\r\n");
        let header = HeaderBlock::parse(Bytes::from(octets));
        let (kind, encoding) = (content_type(&header), encoding(&header));
        let is_message = kind == "message/rfc822" || kind == "message/global";
        self.place = match (self.parts, encoding) {
            (1, Encoding::Unknown) => Place::Failed("the text of the journal report has an unknown encoding"),
            (1, encoding) if kind == "text/plain" => Place::Text(encoding),
            (1, _) => Place::Failed("the journal report does not start with a text"),
            // Journal decryption attaches a second one, in the clear: which of them is for the recipients is not ours to guess.
            _ if is_message && self.original.is_some() => Place::Failed("the journal report has more than one message attached"),
            (_, Encoding::Plain) if is_message => Place::Original { start: self.line_start + self.line_octets },
            _ if is_message => Place::Failed("the message in the journal report is encoded"),
            _ => Place::OtherPart,
        };
    }

    fn end_part(&mut self, closes: bool) {
        let next = if closes { Place::End } else { Place::PartHeader };
        match self.place {
            Place::PartHeader if self.parts <= 1 => return self.fail("the journal report has no text"),
            Place::Text(encoding) => {
                let text = decoded(&std::mem::take(&mut self.gathered), encoding);
                match read(&text) {
                    Ok(report) => self.report = Some(report),
                    Err(why) => return self.fail(why),
                }
            }
            Place::Original { start } => {
                // The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1), but the original's last line needs one.
                let end = if self.after_blank { self.line_start.saturating_sub(2) } else { self.line_start };
                if end <= start {
                    return self.fail("the message in the journal report is empty");
                }
                self.original = Some(start..end);
            }
            _ => {}
        }
        self.gathered.clear();
        self.parts += 1;
        self.place = next;
        if self.parts > PARTS_MAX && !closes {
            self.fail("the journal report has too many parts");
        }
    }

    fn fail(&mut self, why: &'static str) {
        self.place = Place::Failed(why);
    }
}
