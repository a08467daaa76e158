//! YAML text to a tree that remembers where everything stood and how scalars were written.
//!
//! The events come from saphyr-parser (YAML 1.2); serde's YAML readers are not used because they stop at the first error and know no
//! positions of keys. Columns of the parser count characters. What may grow without bound in YAML has a limit here: nesting, and the
//! copies that aliases make.

use super::error::{Code, Problem};
use super::text::{Pos, Span, Text};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use std::collections::HashMap;

/// Deepest nesting of lists and maps; ours needs seven.
pub const DEPTH_MAX: usize = 32;
/// Most nodes that aliases and merge keys may copy: an alias bomb makes billions, twenty thousand collectors with a shared block do not.
pub const COPIED_NODES_MAX: usize = 1_000_000;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands; of an alias, where the alias stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
    /// It has a tag, `!like_this`.
    pub tag: Option<String>,
    /// It has an anchor, `&like_this`.
    pub anchored: bool,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing at all stands there.
    Empty,
    /// Raw text, quotes and escapes undone; what type it has, its reader decides.
    Scalar {
        /// The text.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// `[a, b]` or `- a`.
    List(Vec<Node>),
    /// `{a: b}` or `a: b`.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub span: Span,
    /// The value.
    pub value: Node,
}

/// Reads the one document of a file. Duplicate keys are problems, and the tree is whole without the second; after an error of syntax there is no tree.
pub fn parse(text: &Text<'_>, file: usize, problems: &mut Vec<Problem>) -> Option<Node> {
    let (octets, before) = text.file(file);
    let mut reader = Reader { events: Parser::new_from_str(octets), text, before, problems, anchors: HashMap::new(), copied: 0 };
    match reader.document() {
        Ok(node) => Some(node),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

struct Reader<'a, 't> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    text: &'a Text<'t>,
    /// Lines of other files before it.
    before: usize,
    problems: &'a mut Vec<Problem>,
    anchors: HashMap<usize, (Node, usize)>,
    copied: usize,
}

impl<'t> Reader<'_, 't> {
    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ if root.is_some() => return Err(self.text.error(Code::Syntax, span, "a second document: `---` may stand once only")),
                event => root = Some(self.node(event, span, 0)?.0),
            }
        }
        Ok(root.unwrap_or(Node { span: Span::default(), value: Value::Map(Vec::new()), tag: None, anchored: false }))
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Problem> {
        match self.events.next_event() {
            None => Ok((Event::StreamEnd, Span::default())),
            Some(Ok((event, span))) => Ok((event, Span { start: pos(&span.start, self.before), end: pos(&span.end, self.before) })),
            Some(Err(error)) => Err(syntax_error(self.text, self.before, &error)),
        }
    }

    /// The node that starts with this event, and how many nodes it holds.
    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<(Node, usize), Problem> {
        if depth > DEPTH_MAX {
            return Err(self.text.error(Code::Syntax, span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let (value, tag, anchor, size, span) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                // The parser says `~` with an empty span where nothing stands.
                let span = if plain { span } else { self.without_tail(span) };
                let nothing = plain && (text.is_empty() || (text == "~" && !self.text.rest_of_line(span.start).starts_with('~')));
                (if nothing { Value::Empty } else { Value::Scalar { text: text.into_owned(), plain } }, tag, anchor, 1, span)
            }
            Event::SequenceStart(anchor, tag) => {
                let (mut items, mut size) = (Vec::new(), 1);
                let end = loop {
                    match self.next()? {
                        (Event::SequenceEnd, end) => break end,
                        (event, span) => {
                            let (node, nodes) = self.node(event, span, depth + 1)?;
                            size += nodes;
                            items.push(node);
                        }
                    }
                };
                (Value::List(items), tag, anchor, size, Span { start: span.start, end: end.end })
            }
            Event::MappingStart(anchor, tag) => {
                let (entries, size, end) = self.map(depth)?;
                (Value::Map(entries), tag, anchor, size, Span { start: span.start, end })
            }
            _ => return Err(self.text.error(Code::Syntax, span, "the file ends in the middle of a value")),
        };
        let node = Node { span, value, tag: tag.map(|tag| tag.to_string()), anchored: anchor > 0 };
        if anchor > 0 {
            self.count_copies(size, span)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok((node, size))
    }

    /// The parser counts blanks and a comment behind a closing quote to the value.
    fn without_tail(&self, span: Span) -> Span {
        let rest = self.text.rest_of_line(span.start);
        let Some(quote) = rest.chars().next().filter(|c| "'\"".contains(*c)) else { return span };
        let mut escaped = false;
        for (n, c) in rest.chars().enumerate().skip(1) {
            // A doubled single quote ends the span early, which only shortens the carets.
            if c == quote && !escaped {
                return Span { end: Pos { column: span.start.column + n + 1, ..span.start }, ..span };
            }
            escaped = quote == '"' && c == '\\' && !escaped;
        }
        span
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(Node, usize), Problem> {
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(self.text.error(Code::Syntax, span, "this alias stands inside its own anchor"));
        };
        let (mut node, size) = (node.clone(), *size);
        self.count_copies(size, span)?;
        if let Value::Empty | Value::Scalar { .. } = node.value {
            node.span = span;
        }
        Ok((node, size))
    }

    fn count_copies(&mut self, size: usize, span: Span) -> Result<(), Problem> {
        self.copied += size;
        if self.copied > COPIED_NODES_MAX {
            return Err(self.text.error(Code::Syntax, span, format!("aliases make more than {COPIED_NODES_MAX} values out of this file")));
        }
        Ok(())
    }

    /// The entries of a map, merged ones behind its own; how many nodes; where it ends.
    fn map(&mut self, depth: usize) -> Result<(Vec<Entry>, usize, Pos), Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut merges: Vec<Node> = Vec::new();
        let mut size = 1;
        let end = loop {
            let (key, key_span) = match self.next()? {
                (Event::MappingEnd, end) => break end.end,
                (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                (_, span) => return Err(self.text.error(Code::Syntax, span, "a key must be one word, not a list, a map or an alias")),
            };
            let (event, span) = self.next()?;
            let (value, nodes) = self.node(event, span, depth + 1)?;
            size += nodes;
            if key == "<<" {
                merges.push(value);
            } else if let Some(first) = seen.get(&key) {
                let shown = if self.text.may_quote(&key, key_span) { &key } else { "…" };
                let message = format!("`{shown}` is there twice");
                let first = self.text.name_of(*first);
                self.problems.push(self.text.error(Code::Duplicate, key_span, message).note(format!("first at {first}")));
            } else {
                seen.insert(key.clone(), key_span);
                entries.push(Entry { key, span: key_span, value });
            }
        };
        for merge in merges {
            let sources = match merge.value {
                Value::List(items) => items,
                _ => vec![merge],
            };
            for source in sources {
                let Value::Map(merged) = source.value else {
                    return Err(self.text.error(Code::Syntax, source.span, "`<<` takes an alias of a map, or a list of such"));
                };
                for entry in merged {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(entry.key.clone(), entry.span);
                        entries.push(entry);
                    }
                }
            }
        }
        Ok((entries, size, end))
    }
}

/// True for what could be the name of a key.
pub fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn pos(marker: &saphyr_parser::Marker, before: usize) -> Pos {
    // Its lines count from 1, its columns from 0.
    Pos { line: before + marker.line(), column: marker.col() + 1 }
}

/// Says in our words what the scanner found. Its own words never hold more than one character of the text.
fn syntax_error(text: &Text<'_>, before: usize, error: &ScanError) -> Problem {
    let start = pos(error.marker(), before);
    let span = Span { start, end: Pos { column: start.column + 1, ..start } };
    let info = error.info();
    let line = text.line(start.line);
    let at = |message: &str| text.error(Code::Syntax, span, message);
    if let Some(problem) = indentation(text, before, start, info) {
        return problem;
    }
    // The scanner points somewhere near a tab; what is wrong is in this line or the next one.
    let tab = [start.line, start.line + 1].into_iter().find(|n| indent_of(text.line(*n)).contains('\t'));
    match (info, tab) {
        (_, Some(number)) => {
            let column = indent_of(text.line(number)).chars().take_while(|c| *c != '\t').count() + 1;
            let start = Pos { line: number, column };
            let span = Span { start, end: Pos { column: column + 1, ..start } };
            text.error(Code::Syntax, span, "a tab indents this line").label("YAML takes blanks only")
        }
        _ if info.contains("unknown escape") => {
            at("this text in double quotes holds a `\\` that is no escape").hint("in single quotes a `\\` stands for itself: 'dom\\juser'")
        }
        _ if info.contains("unexpected character") => {
            let c = text.rest_of_line(start).chars().next().filter(|c| "%@`".contains(*c)).map_or(String::new(), |c| format!("with `{c}` "));
            at(&format!("a value may not start {c}without quotes")).hint("put the value in quotes")
        }
        _ if info.contains("unknown anchor") => at("no anchor of this name stands above").hint("a value that starts with `*` must stand in quotes"),
        _ if info.contains("mapping values are not allowed") => at("a `: ` inside a value, or a key too far to the right")
            .hint("a value with `: ` in it must stand in quotes; keys of a block stand in one column"),
        _ if info.contains("quoted scalar") => at("the quote that opens here is not closed as it should be").hint("close it on the same line"),
        _ if info.contains("flow") || info.contains("':' indicator") => {
            let problem = at("a `[` or `{` above is not closed, or a comma is missing");
            if line.contains("{local}") || line.contains("{domain}") {
                return problem.hint("inside `{ }` a path with `{local}` or `{domain}` must stand in quotes");
            }
            problem
        }
        _ => at(&plain_words(info)),
    }
}

/// The scanner's own words, without the quotation of a character.
fn plain_words(info: &str) -> String {
    let words = info.split('`').next().unwrap_or(info).trim_end_matches([' ', ':']);
    format!("this is not YAML: {words}")
}

fn indent_of(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// The commonest slip: a line stands a blank left or right of its neighbours.
fn indentation(text: &Text<'_>, before: usize, at: Pos, info: &str) -> Option<Problem> {
    if !info.contains("did not find expected key") && !info.contains("mapping values are not allowed") {
        return None;
    }
    let line = text.line(at.line);
    let indent = line.len() - line.trim_start_matches(' ').len();
    let above = (before + 1..at.line).rev().find(|n| !text.line(*n).trim().is_empty() && !text.line(*n).trim_start().starts_with('#'))?;
    let neighbour = text.line(above).len() - text.line(above).trim_start_matches(' ').len();
    if indent == neighbour || indent_of(line).contains('\t') || line.trim().is_empty() {
        return None;
    }
    let start = Pos { line: at.line, column: indent + 1 };
    let span = Span { start, end: Pos { column: indent + 2, ..start } };
    let mut problem =
        text.error(Code::Syntax, span, "bad indentation").label(format!("this line is indented by {indent}, its neighbours by {neighbour}"));
    if let Some(place) = &mut problem.place {
        place.before = Some((text.number_in_file(above), text.masked(above).to_owned()));
    }
    Some(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Vec::new();
        let node = parse(&Text::new(Path::new("t.yaml"), text), 0, &mut problems);
        (node, problems.iter().map(ToString::to_string).collect())
    }

    fn entries(text: &str) -> Vec<Entry> {
        match read(text) {
            (Some(Node { value: Value::Map(entries), .. }), problems) if problems.is_empty() => entries,
            other => panic!("{other:?}"),
        }
    }

    fn span(line: usize, start: usize, end: usize) -> Span {
        Span { start: Pos { line, column: start }, end: Pos { line, column: end } }
    }

    #[test]
    fn places_count_characters() {
        let map = entries("\u{feff}# слово\nключ: 'я' # x\nб: [я, {ж: 1}]\n");
        assert_eq!((map[0].key.as_str(), map[0].span, map[0].value.span), ("ключ", span(2, 1, 5), span(2, 7, 10)));
        let Value::List(items) = &map[1].value.value else { panic!() };
        assert_eq!(items[0].span, span(3, 5, 6));
        let Value::Map(inner) = &items[1].value else { panic!() };
        assert_eq!((inner[0].span, inner[0].value.span), (span(3, 9, 10), span(3, 12, 13)));
    }

    #[test]
    fn nothing_and_null_and_quotes_are_told_apart() {
        let map = entries("a:\nb: ~\nc: ''\nd: null\ne: &x\nf: !t\ng: '5'\n");
        let kinds: Vec<_> = map.iter().map(|e| (&e.value.value, e.value.tag.is_some(), e.value.anchored)).collect();
        let scalar = |text: &str, plain| Value::Scalar { text: text.to_owned(), plain };
        assert_eq!(kinds[0].0, &Value::Empty);
        assert_eq!(kinds[1].0, &scalar("~", true));
        assert_eq!(kinds[2].0, &scalar("", false));
        assert_eq!(kinds[3].0, &scalar("null", true));
        assert_eq!(kinds[4], (&Value::Empty, false, true));
        assert_eq!(kinds[5], (&Value::Empty, true, false));
        assert_eq!(kinds[6].0, &scalar("5", false));
    }

    #[test]
    fn merge_keys_yield_to_own_keys() {
        let map = entries("base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nall: {<<: [*b, *m], x: 9}\n");
        let Value::Map(all) = &map[2].value.value else { panic!() };
        let texts: Vec<_> = all
            .iter()
            .map(|e| match &e.value.value {
                Value::Scalar { text, .. } => format!("{}{text}", e.key),
                _ => String::new(),
            })
            .collect();
        assert_eq!(texts, ["x9", "y2", "z4"]);
    }

    #[test]
    fn a_duplicate_is_reported_and_reading_goes_on() {
        let (node, problems) = read("a: 1\nб: 2\nб: 3\na: 4\n");
        assert!(node.is_some());
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].starts_with("error[MG-103]: `б` is there twice\n  --> t.yaml:3:1\n") && problems[0].ends_with("note: first at t.yaml:2:1")
        );
    }

    #[test]
    fn bombs_and_depths_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..10 {
            let refs = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb += &format!("a{n}: &a{n} [{refs}]\n");
        }
        assert!(read(&bomb).1[0].contains("aliases make more than"));
        assert!(read(&"[".repeat(10_000)).0.is_none());
        assert!(read(&"- ".repeat(10_000)).1[0].contains("nested deeper"));
        assert!(read("a: &a [*a]\n").1[0].contains("inside its own anchor"));
        assert!(read("a: 1\n---\nb: 1\n").1[0].contains("second document"));
    }

    #[test]
    fn syntax_errors_say_what_to_do() {
        for (text, place, words) in [
            ("a:\n   b: 1\n  c: 2\n", "3:3", "indented by 2, its neighbours by 3"),
            ("a:\n  b: 1\n   c: 2\n", "3:4", "indented by 3, its neighbours by 2"),
            ("a:\n\tb: 2\n", "2:1", "a tab indents"),
            ("a: @foo\n", "1:4", "start with `@` without quotes"),
            ("a: \"dom\\juser\"\n", "1:4", "single quotes"),
            ("a: *x\n", "1:4", "must stand in quotes"),
            ("a: b: c\n", "1:5", "must stand in quotes"),
            ("a: [1, 2\nb: 3\n", "2:2", "not closed"),
            ("a: \"x\nb: 1\n", "1:4", "close it"),
        ] {
            let (node, problems) = read(text);
            assert!(node.is_none(), "{text}");
            assert!(problems[0].contains(&format!("t.yaml:{place}\n")) && problems[0].contains(words), "{text}: {}", problems[0]);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-a:{}\\[\\],&*!|>'\"%@`#\\\\я \n\t]{0,60}") {
            let (node, problems) = read(&text);
            prop_assert!(node.is_some() || !problems.is_empty());
        }
    }
}
