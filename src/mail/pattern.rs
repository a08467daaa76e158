//! A regular expression that an operator wrote: compiled once, within a bound, and equal to another one with the same text.

use regex::{Captures, Regex, RegexBuilder};
use std::fmt;
use std::sync::OnceLock;

/// Longest expression, in octets.
pub const PATTERN_OCTETS_MAX: usize = 1_000;
/// Most octets of a compiled expression. Matching is linear in the text whatever the expression (<https://docs.rs/regex/#untrusted-input>).
const COMPILED_OCTETS_MAX: usize = 256 * 1024;

/// A compiled expression. It looks for a match anywhere in the text, unless it has anchors, and does not regard case.
#[derive(Clone)]
pub struct Pattern {
    regex: Regex,
    /// The same with anchors at both ends, once it was asked for; `None` if it does not compile.
    whole: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Compiles it. The error says in one line what is wrong.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > PATTERN_OCTETS_MAX {
            return Err(format!("a regular expression has 1 to {PATTERN_OCTETS_MAX} octets"));
        }
        let regex = compiled(text);
        // The crate's message draws the place over several lines; the last one says what is wrong.
        let last_line = |error: regex::Error| error.to_string().lines().last().unwrap_or("").trim().trim_start_matches("error: ").to_owned();
        Ok(Pattern { regex: regex.map_err(last_line)?, whole: OnceLock::new() })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// The names of its groups, the whole match first; `None` for a group without a name.
    pub fn group_names(&self) -> regex::CaptureNames<'_> {
        self.regex.capture_names()
    }

    /// True if it matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The first match, with its groups.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.regex.captures(text)
    }

    /// A match from the first character to the last, with its groups. The groups have the same numbers.
    pub fn captures_whole<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        let whole = self.whole.get_or_init(|| compiled(&format!("\\A(?:{})\\z", self.as_str())).ok());
        match whole {
            Some(whole) => whole.captures(text),
            // A comment at its end (`(?x)`) would swallow the bracket: then the first match must happen to be the whole.
            None => self.regex.captures(text).filter(|groups| groups.get(0).is_some_and(|all| all.as_str() == text)),
        }
    }
}

fn compiled(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).case_insensitive(true).size_limit(COMPILED_OCTETS_MAX).build()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_within_bounds() {
        assert!(Pattern::new("^spam .* rejected$").unwrap().is_match("SPAM was rejected"));
        assert!(Pattern::new("").is_err());
        assert!(Pattern::new(&"a".repeat(PATTERN_OCTETS_MAX + 1)).is_err());
        assert!(Pattern::new("(((a{100}){100}){100})").is_err(), "an expression that grows beyond all bounds");
        assert!(Pattern::new("(").unwrap_err().contains("unclosed"));
        assert_eq!(Pattern::new("a|b"), Pattern::new("a|b"));
    }

    #[test]
    fn the_whole_text() {
        let group = |pattern: &str, text| {
            Pattern::new(pattern).unwrap().captures_whole(text).map(|groups| groups.get(1).map_or("", |group| group.as_str()).to_owned())
        };
        assert_eq!(group("a|(ab)", "AB").as_deref(), Some("AB"), "not the first of the two that matches somewhere");
        assert_eq!(group("(a)", "xa"), None);
        assert_eq!(group("(a)", "a\n"), None);
        assert_eq!(group("^(a)$", "a").as_deref(), Some("a"));
        assert_eq!(group("(?x)(a) # a", "a").as_deref(), Some("a"));
        assert_eq!(group("(?x)(a) # a", "ab"), None);
    }
}
