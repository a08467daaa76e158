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

/// A file's text with its name.
#[derive(Debug)]
pub struct Text<'t> {
    path: PathBuf,
    text: &'t str,
    lines: Vec<&'t str>,
    /// Made at the first problem: most files have none.
    masked: OnceCell<Vec<String>>,
}

impl<'t> Text<'t> {
    /// Takes a text; a byte order mark is no part of it.
    pub fn new(path: &Path, text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Text { path: path.to_owned(), text, lines: text.lines().collect(), masked: OnceCell::new() }
    }

    /// The whole text.
    pub fn as_str(&self) -> &'t str {
        self.text
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
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
        format!("{}:{}:{}", self.path.display(), span.start.line, span.start.column)
    }

    fn place(&self, span: Span) -> Place {
        // An error at the end of the file is shown at its last line.
        let line = span.start.line.clamp(1, self.lines.len().max(1));
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
        Place { path: self.path.clone(), line, column, width, text, caret, before: None, label: String::new() }
    }

    /// True if a piece of a line may stand in a message: the mask left it there.
    pub fn may_quote(&self, text: &str, span: Span) -> bool {
        may_be_quoted(text) && self.masked(span.start.line).contains(text)
    }

    /// A line as it may be printed.
    pub fn masked(&self, number: usize) -> &str {
        let lines = self.masked.get_or_init(|| masked_lines(self.text));
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
}
