//! What was found: a line, and what to do.

use crate::mail::outcome::harmless;
use serde_json::{Value, json};

/// Longest text of one, in octets.
const TEXT_MAX: usize = 1_000;
/// Where the text begins.
const INDENT: usize = 21;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Warning,
    Failed,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "FAILED",
        }
    }
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// What was looked at, in one word.
    pub name: &'static str,
    pub state: State,
    text: String,
    hint: String,
    /// It is about the configuration, or a secret that it names.
    pub is_config: bool,
}

impl Finding {
    pub(super) fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, State::Ok, text.into(), String::new())
    }

    pub(super) fn warning(name: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(name, State::Warning, text.into(), hint.into())
    }

    pub(super) fn failed(name: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(name, State::Failed, text.into(), hint.into())
    }

    fn new(name: &'static str, state: State, text: String, hint: String) -> Self {
        Finding { name, state, text: harmless(&text, TEXT_MAX), hint: harmless(&hint, TEXT_MAX), is_config: false }
    }

    pub(super) fn config(self) -> Self {
        Finding { is_config: true, ..self }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("  {:<11}{:<8}{}\n", self.name, self.state.word(), self.text);
        if !self.hint.is_empty() {
            text += &format!("{:INDENT$}do: {}\n", "", self.hint);
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({"check": self.name, "state": self.state.word().to_lowercase(), "text": self.text, "hint": self.hint})
    }
}
