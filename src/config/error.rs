//! What is wrong with a configuration, where, and what to write instead.
//!
//! A [`Problem`] is plain text with a place; it is printed the way rustc prints its own. Source lines in it are masked before they get here
//! (see [`super::mask`]), so that a problem can go to a terminal, a log or an API as it is.

use std::fmt;
use std::path::PathBuf;

/// Most problems that are printed: the first hundred of a broken file say enough.
pub const PRINTED_MAX: usize = 100;
/// Most characters of a source line that are printed; a longer line is cut around the place that is pointed at.
pub const LINE_CHARS_MAX: usize = 140;

/// What kind of problem: a number to search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// No key of ours.
    UnknownKey = 101,
    /// Not YAML, or more of it than we read.
    Syntax = 102,
    /// Twice the same key.
    Duplicate = 103,
    /// A key or a value that must be there is not.
    Missing = 104,
    /// YAML reads this value otherwise than people do.
    YamlTrap = 105,
    /// A list where one value is wanted, a word where a number is, and so on.
    WrongType = 106,
    /// Where a secret comes from.
    SecretSource = 107,
    /// The right type, but none of the values that are taken.
    Value = 108,
    /// The file is not there.
    NoSuchFile = 109,
    /// The file cannot be read.
    Unreadable = 110,
    /// Outside the range.
    Range = 112,
    /// Two settings that do not go together.
    Contradiction = 115,
    /// The name of a server.
    Server = 118,
    /// A key of the product that does not work in this version.
    NotYet = 119,
    /// It works, and perhaps not as it is meant.
    Doubtful = 120,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MG-{}", *self as u16)
    }
}

/// Whether it keeps the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// A place in a file, with the line for the eye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// The line, secrets masked.
    pub text: String,
    /// Where the carets stand in `text`: masking may have moved them. From 1.
    pub caret: usize,
    /// The line before, number and text, where it helps: errors of indentation.
    pub before: Option<(usize, String)>,
    /// What stands behind the carets.
    pub label: String,
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Kind.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` if it is about the file or about something that is not in it.
    pub place: Option<Box<Place>>,
    /// What else to know.
    pub notes: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
}

impl Problem {
    /// An error without a place.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Problem { severity: Severity::Error, code, message: message.into(), place: None, notes: Vec::new(), hints: Vec::new() }
    }

    /// A warning without a place.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Problem { severity: Severity::Warning, ..Problem::error(code, message) }
    }

    /// The same, with a `hint:` line.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same, with a `note:` line.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The same, with words behind the carets.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        if let Some(place) = &mut self.place {
            place.label = label.into();
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{word}[{}]: {}", self.code, harmless(&self.message))?;
        if let Some(place) = &self.place {
            place.fmt(f)?;
        }
        for note in &self.notes {
            write!(f, "\nnote: {}", harmless_lines(note))?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {}", harmless_lines(hint))?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  --> {}:{}:{}", harmless(&self.path.to_string_lossy()), self.line, self.column)?;
        let gutter = self.line.to_string().len();
        // The line before is cut like the line itself, so that the two stand in one picture.
        let skip = if self.text.chars().count() > LINE_CHARS_MAX { self.caret.saturating_sub(LINE_CHARS_MAX / 2) } else { 0 };
        let window = |text: &str| -> String {
            let cut: String = text.chars().skip(skip).take(LINE_CHARS_MAX).collect();
            let cut = if skip > 0 { format!("…{}", cut.chars().skip(1).collect::<String>()) } else { cut };
            harmless(&cut)
        };
        if let Some((number, text)) = &self.before {
            write!(f, "\n{}", format!("{number:>gutter$} | {}", window(text)).trim_end())?;
        }
        write!(f, "\n{}", format!("{} | {}", self.line, window(&self.text)).trim_end())?;
        let indent = (self.caret - 1).saturating_sub(skip).min(LINE_CHARS_MAX);
        let carets = "^".repeat(self.width.clamp(1, LINE_CHARS_MAX - indent.min(LINE_CHARS_MAX - 1)));
        // The carets stand under a mask, and the mask stands for more than is meant.
        let hidden = if self.caret < self.column { format!(" (hidden: column {} of the line)", self.column) } else { String::new() };
        write!(f, "\n{}", format!("{:gutter$} | {:indent$}{carets} {}{hidden}", "", "", harmless(&self.label)).trim_end())
    }
}

/// The same with the line ends that we put there; no value with a line end in it is ever quoted.
fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// Nothing that a terminal would obey, and one character for one, so that carets stay in place.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            // Bidirectional overrides make a line read otherwise than it is.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What keeps it from being used; at least one, unless it is returned beside a configuration.
    pub errors: Vec<Problem>,
    /// What does not.
    pub warnings: Vec<Problem>,
}

impl Report {
    /// True if the file itself was not there: a different exit code.
    pub fn is_missing_file(&self) -> bool {
        self.errors.iter().any(|problem| problem.code == Code::NoSuchFile)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.errors.iter().chain(&self.warnings);
        for (n, problem) in all.take(PRINTED_MAX).enumerate() {
            writeln!(f, "{}{problem}", if n > 0 { "\n" } else { "" })?;
        }
        match (self.errors.len() + self.warnings.len()).saturating_sub(PRINTED_MAX) {
            0 => Ok(()),
            more => writeln!(f, "\nnote: {more} more not shown"),
        }
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, caret: usize, width: usize) -> Place {
        let text = text.to_owned();
        Place { path: "a.yaml".into(), line: 12, column: caret, width, text, caret, before: None, label: "here".into() }
    }

    #[test]
    fn prints_like_rustc() {
        let mut problem = Problem::error(Code::UnknownKey, "unknown key `pasword`").hint("read on").note("seen");
        problem.place = Some(Box::new(place("  pasword: ***", 3, 7)));
        let expected = "error[MG-101]: unknown key `pasword`\n  --> a.yaml:12:3\n12 |   pasword: ***\n   |   ^^^^^^^ here\nnote: seen\nhint: read on";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let mut problem = Problem::warning(Code::Value, "x");
        problem.place = Some(Box::new(place(&format!("{}яд{}", "a".repeat(1000), "b".repeat(1000)), 1001, 2)));
        let text = problem.to_string();
        let lines: Vec<_> = text.lines().collect();
        let at = lines[2].chars().position(|c| c == 'я').unwrap();
        assert_eq!(lines[3].chars().position(|c| c == '^').unwrap(), at);
        assert!(lines.iter().all(|line| line.chars().count() < LINE_CHARS_MAX + 20), "{text}");
    }

    #[test]
    fn what_a_mask_hides_is_named_by_its_column() {
        let mut problem = Problem::error(Code::UnknownKey, "unknown key `prot`");
        problem.place = Some(Box::new(Place { column: 31, ..place("a: {password: ***", 15, 3) }));
        let text = problem.to_string();
        assert!(text.ends_with("a: {password: ***\n   |               ^^^ here (hidden: column 31 of the line)"), "{text}");
    }

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        let problem = Problem::error(Code::Value, "a\u{1b}[31m\r\n\u{202e}b");
        assert!(!problem.to_string().contains(['\u{1b}', '\r', '\u{202e}']));
        assert_eq!(problem.to_string().lines().count(), 1);
    }

    #[test]
    fn a_flood_is_counted() {
        let report = Report { errors: vec![Problem::error(Code::Value, "x"); PRINTED_MAX + 7], warnings: vec![] };
        assert!(report.to_string().ends_with("note: 7 more not shown\n"));
    }
}
