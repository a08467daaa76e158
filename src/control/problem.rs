//! What is said when something cannot be done: problem+json (RFC 9457), with the number of the page that explains it.

use serde_json::{Value, json};

/// An error as it goes out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    /// The status of HTTP.
    pub status: u16,
    /// The number of its page, where it has one.
    pub code: Option<u16>,
    /// In words.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
    /// What programs may want to know beside that.
    pub more: Vec<(&'static str, Value)>,
}

impl Problem {
    pub(super) fn new(status: u16, detail: impl Into<String>) -> Self {
        Problem { status, code: None, detail: detail.into(), hint: None, more: Vec::new() }
    }

    pub(super) fn code(self, code: u16) -> Self {
        Problem { code: Some(code), ..self }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Problem { hint: Some(hint.into()), ..self }
    }

    pub(super) fn with(mut self, key: &'static str, value: Value) -> Self {
        self.more.push((key, value));
        self
    }

    /// The document.
    pub(super) fn json(&self) -> Value {
        let title = match self.status {
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            413 => "Content Too Large",
            422 => "Unprocessable Content",
            428 => "Precondition Required",
            429 => "Too Many Requests",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let code = self.code.map(|code| format!("MG-{code}"));
        let kind = self.code.map_or("about:blank".to_owned(), |code| format!("urn:mailgather:error:MG-{code}"));
        let mut document = json!({"type": kind, "title": title, "status": self.status, "detail": self.detail});
        if let Some(code) = code {
            document["code"] = code.into();
        }
        if let Some(hint) = &self.hint {
            document["hint"] = hint.as_str().into();
        }
        for (key, value) in &self.more {
            document[*key] = value.clone();
        }
        document
    }
}
