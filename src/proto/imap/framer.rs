//! Cuts what a server sends into responses: lines with their literals (RFC 9051 §4.3), bodies as pieces, SEARCH results read on the way.
//!
//! A literal's size is what a hostile server likes, so nothing is ever allocated for it: small literals are kept inside their line, bodies
//! are handed out as they come, and others are thrown away. Every octet is looked at once, however the network cut the stream.

use super::search::{SearchError, SearchReader};
use super::token::decimal;
use crate::mail::UidSet;
use bytes::{Buf, Bytes, BytesMut};
use std::ops::Range;

/// Longest line, with the literals that are kept in it. RFC 7162 §4 asks servers for 8192; ENVELOPEs and folder lists get longer.
pub const LINE_OCTETS_MAX: usize = 64 * 1024;
/// Largest literal that is kept in its line.
pub const KEPT_LITERAL_OCTETS_MAX: u64 = 4 * 1024;
/// Largest literal that is read only to be thrown away; bodies have a limit of their own.
pub const SKIPPED_LITERAL_OCTETS_MAX: u64 = 16 * 1024 * 1024;
/// The longest start of a line that is looked at to know a SEARCH result.
const START_OCTETS: usize = b"* ESEARCH ".len();

/// What comes from a server, in order.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// A whole response.
    Line(Line),
    /// A FETCH response came to the literal of a message's body: the line so far, and how many octets follow.
    BodyStart {
        /// The line up to the literal.
        line: Line,
        /// The literal's size as announced.
        size: u64,
    },
    /// The next octets of the body.
    Body(Bytes),
    /// The announced octets were all there. The rest of the response follows as [`Event::Line`], with the start of the line.
    BodyEnd,
    /// A SEARCH or ESEARCH response.
    Search(UidSet),
}

/// What cannot be a server of IMAP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramerError {
    /// No end in sight.
    #[error("a line of more than {LINE_OCTETS_MAX} octets")]
    LineTooLong,
    /// A size that is no number of 63 bits.
    #[error("a literal of the size `{0}`")]
    BadLiteral(String),
    /// Too much to throw away.
    #[error("a literal of {0} octets where no body is expected")]
    LiteralTooLarge(u64),
    /// A search result that cannot be trusted.
    #[error(transparent)]
    Search(#[from] SearchError),
}

/// A response without its final CRLF, and the places of the literals in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    octets: Vec<u8>,
    literals: Vec<Mark>,
}

/// A literal in a line: from its `{` to its last kept octet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) place: Range<usize>,
    pub(super) literal: Literal,
}

/// Where the octets of a literal are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    /// In the line.
    Kept(Range<usize>),
    /// Handed out as [`Event::Body`].
    Body(u64),
    /// Thrown away.
    Skipped,
}

impl Line {
    /// The octets, for people.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.octets).into_owned()
    }

    /// The octets, as they came; large literals are not among them.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    pub(super) fn literals(&self) -> &[Mark] {
        &self.literals
    }
}

impl From<&[u8]> for Line {
    /// A line without literals.
    fn from(octets: &[u8]) -> Self {
        Line { octets: octets.to_vec(), literals: Vec::new() }
    }
}

/// The state between two reads.
#[derive(Debug, Default)]
pub struct Framer {
    line: Line,
    /// True once the line's start is known not to be that of a SEARCH result.
    started: bool,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Line,
    Keep(u64),
    Skip(u64),
    Body(u64),
    Search(SearchReader),
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new() -> Self {
        Framer::default()
    }

    /// True if nothing of a response has come yet.
    pub fn is_between_responses(&self) -> bool {
        self.line.octets.is_empty() && matches!(self.state, State::Line)
    }

    /// Takes the next event out of `buffer`, or all of the buffer if that is not enough. After an error the stream is of no use.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, FramerError> {
        loop {
            match &mut self.state {
                State::Body(0) => {
                    self.state = State::Line;
                    return Ok(Some(Event::BodyEnd));
                }
                State::Keep(0) | State::Skip(0) => {
                    if let (State::Keep(_), Some(Mark { place, literal: Literal::Kept(kept) })) = (&self.state, self.line.literals.last_mut()) {
                        kept.end = self.line.octets.len();
                        place.end = kept.end;
                    }
                    self.state = State::Line;
                }
                _ if buffer.is_empty() => return Ok(None),
                State::Body(left) => {
                    let piece = buffer.split_to(upto(*left, buffer.len())).freeze();
                    *left -= piece.len() as u64;
                    return Ok(Some(Event::Body(piece)));
                }
                State::Skip(left) => {
                    let piece = upto(*left, buffer.len());
                    buffer.advance(piece);
                    *left -= piece as u64;
                }
                State::Keep(left) => {
                    let piece = upto(*left, buffer.len());
                    *left -= piece as u64;
                    self.take(buffer, piece)?;
                }
                State::Search(reader) => {
                    let end = memchr::memchr(b'\n', buffer);
                    let piece = end.unwrap_or(buffer.len());
                    reader.push(&buffer[..piece])?;
                    buffer.advance(piece);
                    if end.is_some() {
                        buffer.advance(1);
                        if let State::Search(reader) = std::mem::take(&mut self.state) {
                            return Ok(Some(Event::Search(reader.finish()?)));
                        }
                    }
                }
                State::Line => {
                    if let Some(event) = self.next_of_line(buffer)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    fn next_of_line(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, FramerError> {
        let seen = if self.started { buffer.len() } else { upto((START_OCTETS - self.line.octets.len()) as u64, buffer.len()) };
        let end = memchr::memchr(b'\n', &buffer[..seen]);
        self.take(buffer, end.map_or(seen, |end| end + 1))?;
        if !self.started {
            if end.is_none() && self.line.octets.len() < START_OCTETS {
                return Ok(None);
            }
            self.started = true;
            if let Some((extended, after)) = search_start(&self.line.octets) {
                self.started = false;
                let line = std::mem::take(&mut self.line);
                let mut reader = SearchReader::new(extended);
                let rest = &line.octets[after..];
                reader.push(rest.strip_suffix(b"\n").unwrap_or(rest))?;
                if end.is_some() {
                    return Ok(Some(Event::Search(reader.finish()?)));
                }
                self.state = State::Search(reader);
                return Ok(None);
            }
        }
        if end.is_none() {
            return Ok(None);
        }
        self.line.octets.pop();
        // A CR at the end of a literal is the literal's own, also before a line that is ended by a bare LF.
        let after = self.line.literals.last().map_or(0, |mark| mark.place.end);
        if self.line.octets.len() > after && self.line.octets.last() == Some(&b'\r') {
            self.line.octets.pop();
        }
        if let Some((start, size)) = self.literal_at_end()? {
            return self.start_literal(start, size);
        }
        self.started = false;
        Ok(Some(Event::Line(std::mem::take(&mut self.line))))
    }

    fn start_literal(&mut self, start: usize, size: u64) -> Result<Option<Event>, FramerError> {
        let end = self.line.octets.len();
        let is_body = is_body_item(&self.line.octets[..start]);
        let (literal, state) = match () {
            () if is_body => (Literal::Body(size), State::Body(size)),
            () if size <= KEPT_LITERAL_OCTETS_MAX => (Literal::Kept(end..end), State::Keep(size)),
            () if size <= SKIPPED_LITERAL_OCTETS_MAX => (Literal::Skipped, State::Skip(size)),
            () => return Err(FramerError::LiteralTooLarge(size)),
        };
        let line = is_body.then(|| self.line.clone());
        self.line.literals.push(Mark { place: start..end, literal });
        self.state = state;
        Ok(line.map(|line| Event::BodyStart { line, size }))
    }

    /// The `{n}` at the end of the line: where it starts, and n.
    fn literal_at_end(&self) -> Result<Option<(usize, u64)>, FramerError> {
        let after = self.line.literals.last().map_or(0, |mark| mark.place.end);
        let text = &self.line.octets[after..];
        // The text of a status response may end in anything (RFC 9051 §9, resp-text): it has no literals.
        if text.last() != Some(&b'}') || (self.line.literals.is_empty() && is_status(text)) {
            return Ok(None);
        }
        let Some(start) = memchr::memrchr(b'{', text) else { return Ok(None) };
        if start > 0 && !matches!(text[start - 1], b' ' | b'(' | b'~') {
            return Ok(None);
        }
        let inside = &text[start + 1..text.len() - 1];
        let digits = inside.strip_suffix(b"+").unwrap_or(inside);
        let size = std::str::from_utf8(digits).ok().filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
        match size.and_then(|digits| digits.parse().ok()).filter(|size| *size <= i64::MAX as u64) {
            Some(size) => Ok(Some((after + start, size))),
            None => Err(FramerError::BadLiteral(String::from_utf8_lossy(&inside[..inside.len().min(40)]).into_owned())),
        }
    }

    fn take(&mut self, buffer: &mut BytesMut, octets: usize) -> Result<(), FramerError> {
        if self.line.octets.len() + octets > LINE_OCTETS_MAX {
            return Err(FramerError::LineTooLong);
        }
        self.line.octets.extend_from_slice(&buffer[..octets]);
        buffer.advance(octets);
        Ok(())
    }
}

fn upto(wanted: u64, there: usize) -> usize {
    usize::try_from(wanted).unwrap_or(usize::MAX).min(there)
}

/// Whether the line starts a SEARCH or ESEARCH response, and where its words end.
fn search_start(line: &[u8]) -> Option<(bool, usize)> {
    [(false, "* SEARCH"), (true, "* ESEARCH")].into_iter().find_map(|(extended, words)| {
        let named = line.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words.as_bytes()));
        let ends = matches!(line.get(words.len()), Some(b' ' | b'\r' | b'\n'));
        (named && ends).then_some((extended, words.len()))
    })
}

/// True for tagged and untagged status responses and continuation requests.
fn is_status(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else { return true };
    let word = rest.split(|octet| *octet == b' ').next().unwrap_or_default();
    [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].iter().any(|status| word.eq_ignore_ascii_case(status))
}

/// True if the line up to a literal is a FETCH response that came to the whole message, or to its header alone.
fn is_body_item(line: &[u8]) -> bool {
    let mut words = line.splitn(4, |octet| *octet == b' ');
    let fetch = words.next() == Some(b"*") && words.next().is_some() && words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"FETCH"));
    let line = line.strip_suffix(b"~").unwrap_or(line).trim_ascii_end();
    let item = line.rsplit(|octet| matches!(octet, b' ' | b'(')).next().unwrap_or_default();
    let names = [&b"BODY[]"[..], b"BINARY[]", b"RFC822", b"BODY[HEADER]", b"BODY[HEADER]<0>", b"RFC822.HEADER"];
    fetch && (names.iter().any(|name| item.eq_ignore_ascii_case(name)) || piece_origin(item).is_some())
}

/// The number in `BODY[]<number>`: where a piece of a message starts.
pub(super) fn piece_origin(item: &[u8]) -> Option<u64> {
    let (name, rest) = item.split_at_checked(b"BODY[]<".len())?;
    let digits = rest.strip_suffix(b">").filter(|digits| !digits.is_empty())?;
    name.eq_ignore_ascii_case(b"BODY[]<").then(|| decimal(digits))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All events of a stream cut at these places, with the pieces of bodies put together.
    fn events(stream: &[u8], cuts: &[usize]) -> (Vec<Event>, Option<FramerError>) {
        let (mut framer, mut buffer, mut events) = (Framer::new(), BytesMut::new(), Vec::<Event>::new());
        let mut at = 0;
        for cut in cuts.iter().copied().chain([stream.len()]) {
            let cut = cut.clamp(at, stream.len());
            buffer.extend_from_slice(&stream[at..cut]);
            at = cut;
            loop {
                match (framer.next(&mut buffer), events.last_mut()) {
                    (Ok(None), _) => break,
                    (Err(error), _) => return (events, Some(error)),
                    (Ok(Some(Event::Body(more))), Some(Event::Body(body))) => *body = [&body[..], &more[..]].concat().into(),
                    (Ok(Some(event)), _) => events.push(event),
                }
            }
            assert!(buffer.is_empty(), "the framer left octets that it will look at again");
        }
        (events, None)
    }

    fn shown(stream: &[u8]) -> String {
        let (events, error) = events(stream, &[]);
        let shown = events.iter().map(|event| match event {
            Event::Line(line) => format!("line {}", line.to_text()),
            Event::BodyStart { line, size } => format!("start {size} {}", line.to_text()),
            Event::Body(body) => format!("body {}", body.escape_ascii()),
            Event::BodyEnd => "end".into(),
            Event::Search(set) => format!("search {set}"),
        });
        shown.chain(error.map(|error| format!("ERROR {error}"))).collect::<Vec<_>>().join("|")
    }

    /// Found by fuzzing: the CR was taken off the literal, and the next look at the line began behind its end.
    #[test]
    fn a_literal_keeps_its_last_octet_before_a_bare_lf() {
        let (events, error) = events(b"* X {1}\r\n\r\n* X {2}\r\na\r}\n", &[]);
        assert!(error.is_none() && events.len() == 2, "{events:?} {error:?}");
        assert!(matches!(&events[0], Event::Line(line) if line.octets.ends_with(b"\r")));
    }

    #[test]
    fn streams() {
        for (stream, wanted) in [
            ("* OK hi\r\na1 OK\r\n", "line * OK hi|line a1 OK"),
            ("* OK hi\n\r\n", "line * OK hi|line "),
            ("* OK costs {5}\r\na1 NO {-1}\r\n+ {x}\r\n", "line * OK costs {5}|line a1 NO {-1}|line + {x}"),
            (
                "* 1 FETCH (UID 7 BODY[] {3}\r\nabc FLAGS ())\r\n",
                "start 3 * 1 FETCH (UID 7 BODY[] {3}|body abc|end|line * 1 FETCH (UID 7 BODY[] {3} FLAGS ())",
            ),
            ("* 1 fetch (body[] ~{0}\r\n)\r\n", "start 0 * 1 fetch (body[] ~{0}|end|line * 1 fetch (body[] ~{0})"),
            ("* 1 FETCH (RFC822 {1+}\r\nx)\r\n", "start 1 * 1 FETCH (RFC822 {1+}|body x|end|line * 1 FETCH (RFC822 {1+})"),
            ("* 1 FETCH (BODY[HEADER] {1}\r\nx)\r\n", "start 1 * 1 FETCH (BODY[HEADER] {1}|body x|end|line * 1 FETCH (BODY[HEADER] {1})"),
            ("* 1 FETCH (UID 7 body[]<9> {1}\r\nx)\r\n", "start 1 * 1 FETCH (UID 7 body[]<9> {1}|body x|end|line * 1 FETCH (UID 7 body[]<9> {1})"),
            ("* 1 FETCH (BODY[]<x> {1}\r\nx)\r\n", "line * 1 FETCH (BODY[]<x> {1}x)"),
            ("* 1 FETCH (BODY[TEXT] {1}\r\nx)\r\n", "line * 1 FETCH (BODY[TEXT] {1}x)"),
            ("* LIST () \"/\" {00000003}\r\na\r\n\r\n* X\r\n", "line * LIST () \"/\" {00000003}a\r\n|line * X"),
            ("* LIST () \"/\" a{3}\r\n", "line * LIST () \"/\" a{3}"),
            ("* SEARCH 1 2 3\r\n* search\r\n* SEARCH \r\n* SEARCHED\r\n", "search 1:3|search |search |line * SEARCHED"),
            ("* ESEARCH (TAG \"a\") UID ALL 1:9\r\n", "search 1:9"),
            ("* ESEARCH\r\n* SEARCH\n", "search |search "),
            ("* X {-1}\r\n", "ERROR a literal of the size `-1`"),
            ("* X {1x}\r\n", "ERROR a literal of the size `1x`"),
            ("* X {}\r\n", "ERROR a literal of the size ``"),
            ("* X {18446744073709551616}\r\n", "ERROR a literal of the size `18446744073709551616`"),
            ("* X {9223372036854775808}\r\n", "ERROR a literal of the size `9223372036854775808`"),
            ("* X {9223372036854775807}\r\n", "ERROR a literal of 9223372036854775807 octets where no body is expected"),
            ("* SEARCH 1 x\r\n", "ERROR a SEARCH result that makes no sense"),
        ] {
            assert_eq!(shown(stream.as_bytes()), wanted, "{stream}");
        }
    }

    #[test]
    fn lines_and_literals_are_bounded() {
        let long = vec![b'x'; LINE_OCTETS_MAX + 1];
        assert_eq!(events(&long, &[]).1, Some(FramerError::LineTooLong));
        assert_eq!(events(&long[..LINE_OCTETS_MAX], &[]), (vec![], None));
        let many = "* X ".to_owned() + &"{0}\r\n ".repeat(LINE_OCTETS_MAX / 3);
        assert_eq!(events(many.as_bytes(), &[]).1, Some(FramerError::LineTooLong));
        // A literal between the limits is thrown away, and the rest of the line is there.
        let size = KEPT_LITERAL_OCTETS_MAX as usize + 1;
        let skipped = format!("* X {{{size}}}\r\n{} y\r\n", "z".repeat(size));
        assert_eq!(shown(skipped.as_bytes()), format!("line * X {{{size}}} y"));
    }

    #[test]
    fn a_search_line_of_megabytes_passes_without_being_held() {
        let mut stream = b"* SEARCH".to_vec();
        (1..=400_000u32).for_each(|uid| stream.extend_from_slice(format!(" {}", uid * 2).as_bytes()));
        stream.extend_from_slice(b"\r\n");
        let cuts: Vec<usize> = (0..stream.len()).step_by(1000).collect();
        let (events, error) = events(&stream, &cuts);
        assert_eq!(error, None);
        assert!(matches!(&events[..], [Event::Search(set)] if set.len() == 400_000));
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let literal = (
            prop_oneof![Just("* 1 FETCH (UID 7 BODY[] "), Just("* 1 FETCH (UID 7 BODY[]<42> "), Just("* 1 FETCH (BODY[1] "), Just("* LIST () NIL ~")],
            proptest::collection::vec(any::<u8>(), 0..40),
        )
            .prop_map(|(head, body)| [format!("{head}{{{}}}\r\n", body.len()).as_bytes(), &body, b" X Y)\r\n"].concat());
        let large = (4090usize..4110).prop_map(|n| format!("* X {{{n}}}\r\n{} \r\n", "q".repeat(n)).into_bytes());
        let line = prop_oneof![
            Just("a1 OK [X] done {7}\r\n"),
            Just("* SEARCH 1 2 4\r\n"),
            Just("* ESEARCH UID ALL 1:3,9\r\n"),
            Just("* SEARCH\r\n"),
            Just("*\r\n"),
            Just("\n"),
            Just("* SEAR\r\n"),
            Just("* X {1x}\r\n"),
            Just("+ go\r\n"),
        ]
        .prop_map(|line| line.as_bytes().to_vec());
        prop_oneof![literal, large, line, proptest::collection::vec(any::<u8>(), 0..20)]
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(pieces in proptest::collection::vec(piece(), 0..8), mut cuts in proptest::collection::vec(0usize..9000, 0..30)) {
            let stream = pieces.concat();
            cuts.sort_unstable();
            let whole = events(&stream, &[]);
            prop_assert_eq!(&events(&stream, &cuts), &whole);
            let each: Vec<usize> = (0..stream.len()).collect();
            prop_assert_eq!(&events(&stream, &each), &whole);
        }

        #[test]
        fn any_octets_end(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
            super::super::read_anything(&octets);
        }
    }
}
