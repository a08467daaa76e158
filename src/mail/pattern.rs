//! A regular expression that an operator wrote: compiled once, within a bound, and equal to another one with the same text.

use regex::{Captures, Regex, RegexBuilder};
use std::fmt;

/// Longest expression, in octets.
pub const PATTERN_OCTETS_MAX: usize = 1_000;
/// Most octets of a compiled expression. Matching is linear in the text whatever the expression (<https://docs.rs/regex/#untrusted-input>).
const COMPILED_OCTETS_MAX: usize = 256 * 1024;

/// A compiled expression. It looks for a match anywhere in the text, unless it has anchors, and does not regard case.
#[derive(Clone)]
pub struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Compiles it. The error says in one line what is wrong.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > PATTERN_OCTETS_MAX {
            return Err(format!("a regular expression has 1 to {PATTERN_OCTETS_MAX} octets"));
        }
        let regex = RegexBuilder::new(text).case_insensitive(true).size_limit(COMPILED_OCTETS_MAX).build();
        // The crate's message draws the place over several lines; the last one says what is wrong.
        let last_line = |error: regex::Error| error.to_string().lines().last().unwrap_or("").trim().trim_start_matches("error: ").to_owned();
        Ok(Pattern { regex: regex.map_err(last_line)? })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// True if it matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The first match, with its groups.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.regex.captures(text)
    }
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
}
