//! The text of a configuration file: its lines, for places in messages.

use super::error::{Code, Place, Problem, Severity};
use super::mask::{MASK, masked_lines, may_be_quoted};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// A position: line and column from 1, counted in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// From the first character to behind the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first character.
    pub start: Pos,
    /// Behind the last.
    pub end: Pos,
}

/// The texts of all files of a configuration, as one: the lines of each follow those of the one before it, so that a position says the file too.
#[derive(Debug, Default)]
pub struct Text<'t> {
    files: Vec<File<'t>>,
    lines: Vec<&'t str>,
    /// Made at the first problem: most files have none.
    masked: OnceCell<Vec<String>>,
}

/// One file.
#[derive(Debug)]
struct File<'t> {
    path: PathBuf,
    text: &'t str,
    /// How many lines stand before its first.
    before: usize,
    /// How many it has.
    lines: usize,
    mode: Option<u32>,
}

impl<'t> Text<'t> {
    /// Takes one text that came from nowhere.
    pub fn new(path: &Path, text: &'t str) -> Self {
        let mut all = Text::default();
        all.push(path, text, None);
        all
    }

    /// Adds the text of a further file, with its permissions if it has any. A byte order mark is no part of it.
    pub fn push(&mut self, path: &Path, text: &'t str, mode: Option<u32>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let before = self.lines.len();
        self.lines.extend(text.lines());
        let lines = self.lines.len() - before;
        // What is wrong at the end of a file is still in this file.
        self.lines.extend([""; 2]);
        self.files.push(File { path: path.to_owned(), text, before, lines, mode });
        self.masked = OnceCell::new();
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The whole text of a file, and how many lines stand before it.
    pub fn file(&self, index: usize) -> (&'t str, usize) {
        (self.files[index].text, self.files[index].before)
    }

    /// Which file it is that has this path.
    pub fn index_of(&self, path: &Path) -> Option<usize> {
        self.files.iter().position(|file| file.path == path)
    }

    /// The main file: the others came by it.
    pub fn main(&self) -> Option<&Path> {
        self.files.first().map(|file| file.path.as_path())
    }

    /// The file that a place is in.
    pub fn path(&self, span: Span) -> &Path {
        &self.of(span.start.line).path
    }

    /// The permissions of the file that a place is in.
    pub fn mode(&self, span: Span) -> Option<u32> {
        self.of(span.start.line).mode
    }

    /// The number of a line in its own file.
    pub fn number_in_file(&self, line: usize) -> usize {
        line - self.of(line).before.min(line)
    }

    fn of(&self, line: usize) -> &File<'t> {
        let at = self.files.partition_point(|file| file.before < line);
        &self.files[at.saturating_sub(1)]
    }

    /// A line by its number, unmasked: to decide, not to print.
    pub fn line(&self, number: usize) -> &'t str {
        number.checked_sub(1).and_then(|n| self.lines.get(n)).copied().unwrap_or("")
    }

    /// What stands in a line from a position on, unmasked.
    pub fn rest_of_line(&self, from: Pos) -> &'t str {
        let line = self.line(from.line);
        let start = line.char_indices().nth(from.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
        &line[start..]
    }

    /// An error at a place.
    pub fn error(&self, code: Code, span: Span, message: impl Into<String>) -> Problem {
        Problem { place: Some(Box::new(self.place(span))), ..Problem::error(code, message) }
    }

    /// A warning at a place.
    pub fn warning(&self, code: Code, span: Span, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..self.error(code, span, message) }
    }

    /// `path:line:column`, for notes.
    pub fn name_of(&self, span: Span) -> String {
        format!("{}:{}:{}", self.path(span).display(), self.number_in_file(span.start.line), span.start.column)
    }

    fn place(&self, span: Span) -> Place {
        // An error at the end of the file is shown at its last line.
        let file = self.of(span.start.line);
        let line = span.start.line.clamp(file.before + 1, file.before + file.lines.max(1));
        let raw = self.line(line);
        let column = if line == span.start.line { span.start.column } else { raw.chars().count() + 1 };
        let end = if span.end.line == line { span.end.column } else { raw.trim_end().chars().count() + 1 };
        let width = end.saturating_sub(column).max(1);
        let text = self.masked(line).to_owned();
        // Behind a mask all columns are gone: the carets stand under the mask then.
        let shown = text.chars().count();
        let hidden_from = text.ends_with(MASK).then(|| shown - MASK.len());
        let (caret, width) = match hidden_from {
            Some(from) if column > from => (from + 1, MASK.len()),
            Some(from) if column + width > from + 1 => (column, from + 1 + MASK.len() - column),
            _ => (column, width),
        };
        Place { path: file.path.clone(), line: line - file.before, column, width, text, caret, before: None, label: String::new() }
    }

    /// True if a piece of a line may stand in a message: the mask left it there.
    pub fn may_quote(&self, text: &str, span: Span) -> bool {
        may_be_quoted(text) && self.masked(span.start.line).contains(text)
    }

    /// A line as it may be printed.
    pub fn masked(&self, number: usize) -> &str {
        let of_file = |file: &File<'_>| masked_lines(file.text).into_iter().chain([String::new(), String::new()]).collect::<Vec<_>>();
        let lines = self.masked.get_or_init(|| self.files.iter().flat_map(of_file).collect());
        number.checked_sub(1).and_then(|n| lines.get(n)).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters() {
        let text = Text::new(Path::new("x"), "\u{feff}а: б\r\nключ: я\n");
        let at = |line, column| Pos { line, column };
        assert_eq!(text.rest_of_line(at(2, 5)), ": я");
    }

    #[test]
    fn a_position_says_the_file() {
        let mut text = Text::default();
        text.push(Path::new("a"), "version: 1\nport: 2\n", Some(0o600));
        text.push(Path::new("b"), "", None);
        text.push(Path::new("c"), "port: 3\n", Some(0o644));
        let span = |line| Span { start: Pos { line, column: 1 }, end: Pos { line, column: 4 } };
        let name = |line| text.name_of(span(line));
        // Behind the last line of a file, it is still that file.
        assert_eq!([name(1), name(2), name(3), name(5), name(7)], ["a:1:1", "a:2:1", "a:3:1", "b:1:1", "c:1:1"]);
        assert_eq!((text.mode(span(2)), text.mode(span(5)), text.mode(span(7))), (Some(0o600), None, Some(0o644)));
        let place = |line| text.error(Code::Value, span(line), "x").place.map(|place| (place.path, place.line, place.text)).unwrap();
        assert_eq!(place(7), ("c".into(), 1, "port: 3".into()));
        assert_eq!(place(3), ("a".into(), 2, "port: 2".into()), "the end of a file is shown at its last line");
        assert_eq!(text.file(2), ("port: 3\n", 6));
    }
}
