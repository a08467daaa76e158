//! Edits of the text of a configuration file: only the lines change that must, everything else stays octet for octet. Pure.
//!
//! Each edit is made in the text, the result is read again, and it is taken only if it means what the text meant before but for the intended
//! change. Where that is not certain (braces, aliases, anchors, texts over several lines), the edit is refused, with the change to make by hand
//! where one can be proposed.

mod change;
mod diff;
mod shown;
#[cfg(test)]
mod tests;
mod tree;
mod value;

pub use change::{Op, edit, keys};
pub use diff::{Line, diff, unified};
pub use shown::shown_lines;
pub use tree::Data;
pub use value::{Value, apart, block, path, values};

/// Why a text is not edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub why: String,
    /// The line that it is about, from 1.
    pub line: Option<usize>,
    /// The whole text with the change, to look at and to make by hand: nobody is certain that it is what was meant.
    pub proposal: Option<String>,
    /// There is nothing of that name to edit: the words are about the request, not about the text.
    pub is_absent: bool,
}

impl Refusal {
    pub(crate) fn of(why: impl Into<String>) -> Self {
        Refusal { why: why.into(), line: None, proposal: None, is_absent: false }
    }

    fn at(mut self, text: &str, octet: usize) -> Self {
        self.line = Some(text[..octet.min(text.len())].matches('\n').count() + 1);
        self
    }

    fn absent(why: impl Into<String>) -> Self {
        Refusal { is_absent: true, ..Refusal::of(why) }
    }
}
