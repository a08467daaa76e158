//! The text of one file as it is written: each key and value with the octets where it stands, aliases as aliases, braces as braces. What an
//! editor has to know, and a reader of the configuration does not.

use super::Refusal;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use std::collections::BTreeMap;
use std::ops::Range;

/// Deepest nesting that is walked: as deep as the configuration is read.
const DEPTH_MAX: usize = crate::config::yaml::DEPTH_MAX;

/// A value where it stands.
#[derive(Debug)]
pub(super) struct Place {
    /// Its octets; of an empty one, where it would stand.
    pub span: Range<usize>,
    /// Where the last octet of it ends; `None` if that is not certain: texts over several lines.
    pub end: Option<usize>,
    pub what: What,
    /// It has an anchor or a tag.
    pub marked: bool,
}

/// What stands there.
#[derive(Debug)]
pub(super) enum What {
    Empty,
    Scalar { text: String, plain: bool },
    Alias,
    List { items: Vec<Place>, braces: bool },
    Map { pairs: Vec<Pair>, braces: bool },
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Pair {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Place,
}

/// What a text means: to compare two of them. Keys have no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    Empty,
    /// A word, and whether it is written without quotes: `5` and `'5'` may be two things.
    Scalar(String, bool),
    /// An alias, which means what its anchor means.
    Alias,
    /// A list.
    List(Vec<Data>),
    /// A block of keys.
    Map(BTreeMap<String, Data>),
}

/// Reads a text; with the reason if it is none that can be edited.
pub(super) fn read(text: &str) -> Result<Place, Refusal> {
    // The parser takes a carriage return alone for a line end, which nobody else does.
    if text.replace("\r\n", "\n").contains('\r') {
        return Err(Refusal::of("a carriage return stands alone in the file"));
    }
    let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let mut reader = Reader { events: Parser::new_from_str(text), text, lines };
    let mut root = None;
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => break,
            _ if root.is_some() => return Err(Refusal::of("the file has a second document")),
            event => root = Some(reader.place(event, span, 0)?),
        }
    }
    let end = text.len();
    Ok(root.unwrap_or(Place { span: end..end, end: Some(end), what: What::Empty, marked: false }))
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Range<usize>)>, Refusal> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, self.at(&span.start)..self.at(&span.end)))),
            Some(Err(_)) => Err(Refusal::of("the file is no YAML: `mailgather check` says where")),
        }
    }

    fn must(&mut self) -> Result<(Event<'t>, Range<usize>), Refusal> {
        self.next()?.ok_or_else(|| Refusal::of("the file ends in the middle of a value"))
    }

    /// The octet of a place; the parser counts characters.
    fn at(&self, marker: &saphyr_parser::Marker) -> usize {
        let start = self.lines.get(marker.line().saturating_sub(1)).copied().unwrap_or(self.text.len());
        let rest = &self.text[start..];
        start + rest.char_indices().nth(marker.col()).map_or(rest.len(), |(at, _)| at)
    }

    fn place(&mut self, event: Event<'t>, span: Range<usize>, depth: usize) -> Result<Place, Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::of("the file is nested too deep"));
        }
        let start = span.start;
        Ok(match event {
            Event::Alias(_) => Place { end: Some(span.end), span, what: What::Alias, marked: false },
            Event::Scalar(text, style, anchor, tag) => self.scalar(text.into_owned(), style, span, anchor > 0 || tag.is_some()),
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                let end = loop {
                    match self.must()? {
                        (Event::SequenceEnd, end) => break end,
                        (event, span) => items.push(self.place(event, span, depth + 1)?),
                    }
                };
                let braces = self.text[start..].starts_with('[');
                let end = if braces { self.closed(&end, ']') } else { last(items.iter()) };
                let what = What::List { items, braces };
                Place { span: start..end.unwrap_or(start), end, what, marked: anchor > 0 || tag.is_some() }
            }
            Event::MappingStart(anchor, tag) => {
                let mut pairs: Vec<Pair> = Vec::new();
                let end = loop {
                    let (key, key_span) = match self.must()? {
                        (Event::MappingEnd, end) => break end,
                        (Event::Scalar(key, style, anchor, tag), span) => {
                            let key_place = self.scalar(key.into_owned(), style, span, anchor > 0 || tag.is_some());
                            match key_place {
                                Place { what: What::Scalar { text, .. }, end: Some(end), span, marked: false } => (text, span.start..end),
                                _ => return Err(Refusal::of("a key in the file is not one plain word")),
                            }
                        }
                        _ => return Err(Refusal::of("a key in the file is a list, a block or an alias")),
                    };
                    let (event, span) = self.must()?;
                    let mut value = self.place(event, span, depth + 1)?;
                    if matches!(value.what, What::Empty) && !value.marked {
                        // Nothing stands there: what will, stands behind the colon.
                        let colon = self.text[key_span.end..].find(':').map_or(key_span.end, |at| key_span.end + at + 1);
                        (value.span, value.end) = (colon..colon, Some(colon));
                    }
                    if pairs.iter().any(|pair| pair.key == key && key != "<<") {
                        return Err(Refusal::of("a key stands twice in one block: `mailgather check` says where"));
                    }
                    pairs.push(Pair { key, key_span, value });
                };
                let braces = self.text[start..].starts_with('{');
                let end = if braces { self.closed(&end, '}') } else { last(pairs.iter().map(|pair| &pair.value)) };
                let what = What::Map { pairs, braces };
                Place { span: start..end.unwrap_or(start), end, what, marked: anchor > 0 || tag.is_some() }
            }
            _ => return Err(Refusal::of("the file ends in the middle of a value")),
        })
    }

    /// Behind the closing brace, if that is where it is expected.
    fn closed(&self, end: &Range<usize>, brace: char) -> Option<usize> {
        [end.end, end.start + 1].into_iter().find(|end| self.text.get(..*end).is_some_and(|text| text.ends_with(brace)))
    }

    fn scalar(&self, text: String, style: ScalarStyle, span: Range<usize>, marked: bool) -> Place {
        let written = &self.text[span.start..];
        let plain = style == ScalarStyle::Plain;
        if plain && (text.is_empty() || (text == "~" && !written.starts_with('~'))) {
            return Place { end: Some(span.start), span, what: What::Empty, marked };
        }
        let line = written.lines().next().unwrap_or("");
        let end = match style {
            // On one line only: the text between two blanks or commas is what was read.
            ScalarStyle::Plain => line.starts_with(text.as_str()).then_some(text.len()),
            ScalarStyle::SingleQuoted => closing_quote(line, '\''),
            ScalarStyle::DoubleQuoted => closing_quote(line, '"'),
            _ => None,
        };
        let end = end.map(|length| span.start + length);
        Place { span: span.start..end.unwrap_or(span.end), end, what: What::Scalar { text, plain }, marked }
    }
}

/// How long a quoted text at the start of a line is, if it ends there.
fn closing_quote(line: &str, quote: char) -> Option<usize> {
    let mut chars = line.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => drop(chars.next()),
            // Two of them stand for one.
            c if c == quote && quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == quote) => drop(chars.next()),
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Where the last of some values ends; not certain if that of any of them is not.
fn last<'p>(places: impl Iterator<Item = &'p Place>) -> Option<usize> {
    places.map(|place| place.end).try_fold(0, |last, end| end.map(|end| last.max(end)))
}

impl Place {
    /// What it means.
    pub fn data(&self) -> Data {
        match &self.what {
            What::Empty => Data::Empty,
            What::Alias => Data::Alias,
            What::Scalar { text, plain } => Data::Scalar(text.clone(), *plain),
            What::List { items, .. } => Data::List(items.iter().map(Place::data).collect()),
            What::Map { pairs, .. } => Data::Map(pairs.iter().map(|pair| (pair.key.clone(), pair.value.data())).collect()),
        }
    }

    /// The entry of a key.
    pub fn pair(&self, key: &str) -> Option<&Pair> {
        match &self.what {
            What::Map { pairs, .. } => pairs.iter().find(|pair| pair.key == key),
            _ => None,
        }
    }

    /// True if an alias, an anchor, a tag or a merge key stands in it.
    pub fn is_shared(&self) -> bool {
        self.marked
            || match &self.what {
                What::Alias => true,
                What::Empty | What::Scalar { .. } => false,
                What::List { items, .. } => items.iter().any(Place::is_shared),
                What::Map { pairs, .. } => pairs.iter().any(|pair| pair.key == "<<" || pair.value.is_shared()),
            }
    }
}
