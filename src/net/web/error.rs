//! Why there is no connection to a web server, or no answer.

use super::super::{DialError, DialErrorKind};
use crate::mail::outcome::harmless;
use std::io;

/// Why there is no connection, or no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct WebError {
    /// What kind of failure.
    pub kind: WebErrorKind,
    /// In words.
    pub text: String,
    /// What the operator can do.
    pub hint: Option<&'static str>,
    /// It happened while dialling.
    pub dialled: bool,
    /// False if it is certain that nothing of the request went out: it can be asked on another connection.
    pub sent: bool,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebErrorKind {
    /// The name does not resolve.
    Dns,
    /// Nobody answers, or nobody listens.
    Connect,
    /// The handshake failed, or the certificate is not trusted.
    Tls,
    /// The time was up.
    Timeout,
    /// The connection ended before the answer did.
    Closed,
    /// Not what HTTP allows, or more than our limits.
    Protocol,
    /// The body is longer than the reader takes.
    TooLong,
    /// Our side: the connection cannot be used again, because an answer was not read to its end.
    Unread,
}

impl WebError {
    pub(super) fn new(kind: WebErrorKind, text: impl Into<String>) -> Self {
        WebError { kind, text: text.into(), hint: None, dialled: false, sent: true }
    }
}

impl From<DialError> for WebError {
    fn from(error: DialError) -> Self {
        let kind = match error.kind {
            DialErrorKind::Dns => WebErrorKind::Dns,
            DialErrorKind::Connect => WebErrorKind::Connect,
            DialErrorKind::Timeout => WebErrorKind::Timeout,
            DialErrorKind::Tls => WebErrorKind::Tls,
        };
        WebError { kind, text: error.text, hint: error.hint, dialled: true, sent: false }
    }
}

/// An error of the library's: whether the line or what was said on it is to blame.
pub(super) fn broken(error: &hyper::Error) -> WebError {
    let text = harmless(&in_words(error), 300);
    let below = std::error::Error::source(error).and_then(|below| below.downcast_ref::<io::Error>());
    let is_said = below.is_some_and(|below| matches!(below.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    let is_line = error.is_closed() || error.is_canceled() || error.is_incomplete_message() || below.is_some();
    if error.is_timeout() {
        return WebError::new(WebErrorKind::Timeout, text);
    }
    if is_line && !is_said && !error.is_parse() {
        return WebError::new(WebErrorKind::Closed, format!("the server closed the connection: {text}"));
    }
    WebError::new(WebErrorKind::Protocol, format!("the answer is broken: {text}"))
}

/// With what lies below, which says more.
pub(in super::super) fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}
