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
use crate::resolve::accept::same;
use crate::resolve::addresses::addresses;
use crate::resolve::rules::{Journal, JournalKind, Rules};
use crate::resolve::trusted::{Trust, TrustedBlock};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use std::collections::HashSet;
use std::ops::Range;

mod entry;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    QuotedPrintable,
    Base64,
    Unknown,
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

/// What a header says about the message, to a collector that opens journal reports.
#[derive(Debug)]
pub enum Recognised {
    /// Ordinary mail.
    Ordinary,
    /// The header names the recipients, and the message is the original.
    Named(Vec<Address>),
    /// A report: the scanner reads recipients and original from its body.
    Report(Box<JournalScanner>),
}

/// Tells reports of the journal that these rules name from ordinary mail.
pub fn recognise(header: &HeaderBlock, rules: &Rules) -> Recognised {
    let Some(journal) = &rules.journal else { return Recognised::Ordinary };
    let block = TrustedBlock::find(header, &Trust::from(rules));
    match journal.kind {
        JournalKind::Google => google_recipients(header, &block, journal).map_or(Recognised::Ordinary, Recognised::Named),
        JournalKind::Exchange => {
            JournalScanner::new(header, &block, journal).map_or(Recognised::Ordinary, |scanner| Recognised::Report(Box::new(scanner)))
        }
    }
}

/// Why a message that says that it is a report of this journal is not opened all the same; `None` for all others.
pub(super) fn not_opened(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<String> {
    let claims = exchange_boundary(header, block, journal).is_some() || google_named(header, block, journal).is_some();
    entry::entry(block, journal).err().filter(|_| claims)
}

/// The boundary of a message that claims to be a report of Exchange.
fn exchange_boundary(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<String> {
    let from_journal = journal.kind == JournalKind::Exchange
        && is_from(header, &journal.from)
        && return_path(header, block).is_none_or(|path| path == Path::Null || path == Path::of(&journal.from));
    from_journal.then(|| boundary(header)).flatten()
}

/// The recipients of a message that Google's journal sent: all that X-Gm-Original-To names, if the message comes from the journal's sender and
/// host. At most one more than [`RECIPIENTS_MAX`], so that whoever counts sees that they are too many.
pub fn google_recipients(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<Vec<Address>> {
    google_named(header, block, journal).filter(|_| entry::entry(block, journal).is_ok())
}

fn google_named(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<Vec<Address>> {
    let from_journal = || is_from(header, &journal.from) || return_path(header, block) == Some(Path::of(&journal.from));
    if journal.kind != JournalKind::Google || !from_journal() {
        return None;
    }
    let mut known = HashSet::new();
    let named = header.all("X-Gm-Original-To").flat_map(|field| addresses(&header.text(field)));
    let recipients: Vec<Address> = named.filter(|address| known.insert(address.clone())).take(RECIPIENTS_MAX + 1).collect();
    (!recipients.is_empty()).then_some(recipients)
}

/// True if the message has one From, and this address alone in it.
fn is_from(header: &HeaderBlock, address: &Address) -> bool {
    let mut fields = header.all("From");
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    matches!(&addresses(&header.text(field))[..], [only] if same(only, address))
}

#[derive(Debug)]
enum Path {
    Null,
    Address(Address),
    Rubbish,
}

impl Path {
    fn of(address: &Address) -> Self {
        Path::Address(address.clone())
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Path::Null, Path::Null) => true,
            (Path::Address(one), Path::Address(other)) => same(one, other),
            _ => false,
        }
    }
}

/// The topmost Return-Path that the provider wrote.
fn return_path(header: &HeaderBlock, block: &TrustedBlock) -> Option<Path> {
    let field = header.fields()[..block.len()].iter().find(|field| header.is(field, "Return-Path"))?;
    let text = header.text(field);
    Some(match &addresses(&text)[..] {
        [only] => Path::of(only),
        [] if text.chars().filter(|c| !c.is_whitespace()).eq(['<', '>']) => Path::Null,
        _ => Path::Rubbish,
    })
}

/// The boundary of a multipart/mixed message; `None` for all others, and for one that says it twice.
fn boundary(header: &HeaderBlock) -> Option<String> {
    let mut fields = header.all("Content-Type");
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let text = header.text(field);
    let mut parameters = parameters(&text).into_iter();
    if !parameters.next()?.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let mut found = None;
    for parameter in parameters {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("boundary") && found.replace(value.trim().to_owned()).is_some() {
            return None;
        }
    }
    let usable =
        |text: &String| (1..=BOUNDARY_OCTETS_MAX).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b)) && !text.ends_with(' ');
    found.filter(usable)
}

/// The parts of a structured value between semicolons (RFC 2045 §5.1): without comments and quotes, a semicolon inside of those is none.
fn parameters(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ';' => parts.push(std::mem::take(&mut part)),
            '"' => {
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    part.extend(if c == '\\' { chars.next() } else { Some(c) });
                }
            }
            '(' => {
                let mut depth = 1;
                while depth > 0
                    && let Some(c) = chars.next()
                {
                    match c {
                        '\\' => drop(chars.next()),
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                }
            }
            c => part.push(c),
        }
    }
    parts.push(part);
    parts
}

/// `type/subtype` in lower case; text/plain where nothing is said (RFC 2045 §5.2).
fn content_type(header: &HeaderBlock) -> String {
    let Some(field) = header.first("Content-Type") else { return "text/plain".into() };
    parameters(&header.text(field)).first().map(|kind| kind.trim().to_ascii_lowercase()).unwrap_or_default()
}

fn encoding(header: &HeaderBlock) -> Encoding {
    let Some(field) = header.first("Content-Transfer-Encoding") else { return Encoding::Plain };
    let word = parameters(&header.text(field)).first().map(|word| word.trim().to_ascii_lowercase()).unwrap_or_default();
    match word.as_str() {
        "7bit" | "8bit" | "binary" => Encoding::Plain,
        "quoted-printable" => Encoding::QuotedPrintable,
        "base64" => Encoding::Base64,
        _ => Encoding::Unknown,
    }
}

/// The text of the report. What cannot be decoded is left out: an address in it is then missing or broken, and [`read`] says so.
fn decoded(octets: &[u8], encoding: Encoding) -> String {
    let octets = match encoding {
        Encoding::QuotedPrintable => quoted_printable(octets),
        Encoding::Base64 => {
            let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
            let text: Vec<u8> = octets.iter().copied().filter(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b)).collect();
            GeneralPurpose::new(&STANDARD, config).decode(text).unwrap_or_default()
        }
        Encoding::Plain | Encoding::Unknown => octets.to_vec(),
    };
    String::from_utf8_lossy(&octets).into_owned()
}

/// RFC 2045 §6.7.
fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for line in octets.split_inclusive(|&b| b == b'\n') {
        let text = line.trim_ascii_end();
        let (text, soft) = text.strip_suffix(b"=").map_or((text, false), |text| (text, true));
        let mut rest = text;
        while let Some((&octet, tail)) = rest.split_first() {
            let hex = tail.get(..2).filter(|hex| octet == b'=' && hex.iter().all(u8::is_ascii_hexdigit));
            match hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(decoded) => {
                    out.push(decoded);
                    rest = &tail[2..];
                }
                None => {
                    out.push(octet);
                    rest = tail;
                }
            }
        }
        if !soft {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// The lines of the report: `Sender: a@b`, `Recipient: a@b, Expanded: list@b`. A recipient that cannot be read fails the report: nobody is
/// left out silently.
fn read(text: &str) -> Result<(Option<Address>, Vec<Address>), &'static str> {
    let (mut sender, mut recipients, mut known) = (None, Vec::new(), HashSet::new());
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim().to_ascii_lowercase().as_str() {
            "sender" if sender.is_none() => sender = one_address(value),
            "recipient" | "to" | "cc" | "bcc" if !value.trim().is_empty() => {
                let address = one_address(value).ok_or("the journal report names a recipient that cannot be read")?;
                if known.insert(address.clone()) {
                    recipients.push(address);
                }
                if recipients.len() > RECIPIENTS_MAX {
                    return Err("the journal report names too many recipients");
                }
            }
            _ => {}
        }
    }
    Ok((sender, recipients))
}

/// The address of a line, without the list that it was expanded from and the mailbox that forwarded it: those are no recipients.
fn one_address(value: &str) -> Option<Address> {
    let lower = value.to_ascii_lowercase();
    let end = [", expanded:", ", forwarded:", ",expanded:", ",forwarded:"].iter().filter_map(|word| lower.find(word)).min();
    match &addresses(&value[..end.unwrap_or(value.len())])[..] {
        [only] => Some(only.clone()),
        _ => None,
    }
}
