//! What a web server answers.

use super::super::Trace;
use super::error::{WebError, broken};
use super::pause::wanted_pause;
use super::{BUSY, OVER, READY, WebErrorKind, locked};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderMap, HeaderName, LOCATION, PROXY_AUTHENTICATE, SET_COOKIE, WWW_AUTHENTICATE};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A server that keeps us waiting this many idle limits must have sent ...
const SLOW_WAITS: u32 = 4;
/// ... this much of a body meanwhile: an octet now and then must not hold a session for ever.
const SLOW_OCTETS_MIN: u64 = 1024;

/// The answer: its head is here, its body comes by [`Answer::piece`].
pub struct Answer {
    /// `200`
    pub status: u16,
    /// All fields.
    pub fields: HeaderMap,
    body: Incoming,
    idle: Duration,
    state: Arc<AtomicU8>,
    trace: Arc<Mutex<Trace>>,
    /// The server keeps the connection behind this answer.
    stays: bool,
    octets: u64,
    /// Time spent waiting since so many octets had come.
    waited: Duration,
    counted: u64,
}

impl Answer {
    /// Its head is here. `stays` if the server keeps the connection behind it.
    pub(super) fn begins(
        status: u16,
        fields: HeaderMap,
        body: Incoming,
        idle: Duration,
        state: Arc<AtomicU8>,
        trace: Arc<Mutex<Trace>>,
        stays: bool,
    ) -> Self {
        let answer = Answer { status, fields, body, idle, state, trace, stays, octets: 0, waited: Duration::ZERO, counted: 0 };
        answer.note_end(answer.body.is_end_stream());
        answer
    }

    /// True for 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A field's first value, if it is text.
    pub fn field(&self, name: &HeaderName) -> Option<String> {
        words(&self.fields, name)
    }

    /// All values of a field.
    pub fn all(&self, name: &HeaderName) -> Vec<String> {
        self.fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// How long the server wants to be left alone (`Retry-After`, RFC 9110 §10.2.3), at most [`super::RETRY_AFTER_MAX`].
    pub fn retry_after(&self) -> Option<Duration> {
        wanted_pause(&self.fields)
    }

    /// The octets that the body is announced to have, if it is.
    pub fn announced(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next piece of the body, `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, WebError> {
        loop {
            let begun = Instant::now();
            let frame = match timeout(self.idle, self.body.frame()).await {
                Err(_) => return Err(self.late(format!("nothing more in {} s, after {} octets", self.idle.as_secs_f32(), self.octets))),
                Ok(None) => {
                    self.note_end(true);
                    return Ok(None);
                }
                Ok(Some(Err(error))) => {
                    self.state.store(OVER, Ordering::Release);
                    let error = broken(&error);
                    return Err(WebError { text: format!("the answer broke off after {} octets: {}", self.octets, error.text), ..error });
                }
                Ok(Some(Ok(frame))) => frame,
            };
            self.waited += begun.elapsed();
            // Trailers are of no interest.
            let Ok(piece) = frame.into_data() else { continue };
            self.octets += piece.len() as u64;
            if self.waited > self.idle * SLOW_WAITS {
                let came = self.octets - self.counted;
                if came < SLOW_OCTETS_MIN {
                    return Err(self.late(format!("only {came} octets in {} s", self.waited.as_secs())));
                }
                (self.waited, self.counted) = (Duration::ZERO, self.octets);
            }
            self.note_end(self.body.is_end_stream());
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// The whole body, if it has no more than so many octets.
    pub async fn whole(mut self, octets_max: usize) -> Result<Vec<u8>, WebError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > octets_max {
                return Err(WebError::new(WebErrorKind::TooLong, format!("the answer has more than {octets_max} octets")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Reads what is left, if that is no more than so many octets: the connection can be used again then.
    pub async fn finish(mut self, octets_max: u64) -> Result<(), WebError> {
        let before = self.octets;
        while self.piece().await?.is_some() {
            if self.octets - before > octets_max {
                return Err(WebError::new(WebErrorKind::TooLong, format!("the answer goes on for more than {octets_max} octets")));
            }
        }
        Ok(())
    }

    fn late(&self, text: String) -> WebError {
        self.state.store(OVER, Ordering::Release);
        WebError::new(WebErrorKind::Timeout, text)
    }

    fn note_end(&self, ended: bool) {
        if ended {
            let before = self.state.swap(if self.stays { READY } else { OVER }, Ordering::AcqRel);
            if before == BUSY && self.octets > 0 {
                locked(&self.trace).received(format!("{{{} octets}}\n", self.octets).as_bytes());
            }
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({}, {} octets so far)", self.status, self.octets)
    }
}

pub(super) fn words(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    fields.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

pub(super) fn closes(fields: &HeaderMap) -> bool {
    let values = fields.get_all(CONNECTION);
    values.iter().any(|value| String::from_utf8_lossy(value.as_bytes()).split(',').any(|word| word.trim().eq_ignore_ascii_case("close")))
}

/// Shows the head of an answer. What a server hands out for a login (challenges, cookies, places with a ticket in them) does not show.
pub(super) fn tell_answer(trace: &mut Trace, status: u16, fields: &HeaderMap) {
    if !trace.is_on() {
        return;
    }
    trace.received(format!("HTTP {status}\n").as_bytes());
    for (name, value) in fields {
        let text = String::from_utf8_lossy(value.as_bytes());
        let line = match name {
            _ if *name == SET_COOKIE => format!("{name}: ***"),
            _ if *name == WWW_AUTHENTICATE || *name == PROXY_AUTHENTICATE => {
                let (scheme, challenge) = text.split_once(' ').unwrap_or((&text, ""));
                // Parameters say what is wanted; a token of a dialogue has none.
                let hidden = !challenge.is_empty() && matches!(scheme.to_ascii_lowercase().as_str(), "ntlm" | "negotiate");
                if hidden { format!("{name}: {scheme} ***") } else { format!("{name}: {text}") }
            }
            _ if *name == LOCATION => format!("{name}: {}", text.split('?').next().unwrap_or_default()),
            _ => format!("{name}: {text}"),
        };
        trace.received(format!("{line}\n").as_bytes());
    }
}
