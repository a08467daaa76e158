//! What a web server is asked.

use super::super::Trace;
use super::WebErrorKind;
use super::error::WebError;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};

/// A request. Who we are and that the answer is wanted as it is are added.
#[derive(Clone, Debug)]
pub struct Question {
    method: Method,
    target: String,
    fields: HeaderMap,
    body: Bytes,
}

impl Question {
    /// Without a body. `target` is path and query, escaped.
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Question { method, target: target.into(), fields: HeaderMap::new(), body: Bytes::new() }
    }

    /// GET.
    pub fn get(target: impl Into<String>) -> Self {
        Question::new(Method::GET, target)
    }

    /// POST with a body.
    pub fn post(target: impl Into<String>, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Question::new(Method::POST, target).body(content_type, body)
    }

    /// With this body.
    pub fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }

    /// The same without its body, for a step of a login whose answer is not the one that is wanted.
    pub fn without_body(&self) -> Self {
        let mut bare = Question { body: Bytes::new(), ..self.clone() };
        bare.fields.remove(CONTENT_TYPE);
        bare
    }

    /// With a field. An error if its value has line ends or other octets that no field can have.
    pub fn field(mut self, name: HeaderName, value: &str) -> Result<Self, WebError> {
        let value = HeaderValue::from_str(value).map_err(|_| unsendable(&name))?;
        self.fields.insert(name, value);
        Ok(self)
    }

    /// With `Authorization`, which never shows.
    pub fn authorization(mut self, value: &str) -> Result<Self, WebError> {
        let mut value = HeaderValue::from_str(value).map_err(|_| unsendable(&AUTHORIZATION))?;
        value.set_sensitive(true);
        self.fields.insert(AUTHORIZATION, value);
        Ok(self)
    }

    pub(super) fn request(mut self, authority: &str) -> Result<Request<Full<Bytes>>, WebError> {
        // An empty body is said to be one (RFC 9110 §8.6); IIS answers 411 otherwise.
        if self.body.is_empty() && self.method == Method::POST {
            self.fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.target)
            .body(Full::new(self.body))
            .map_err(|error| WebError { sent: false, ..WebError::new(WebErrorKind::Protocol, format!("this cannot be asked: {error}")) })?;
        *request.headers_mut() = self.fields;
        let host = HeaderValue::from_str(authority).map_err(|_| unsendable(&HOST))?;
        for (name, value) in
            [(HOST, host), (USER_AGENT, HeaderValue::from_static("mailgather")), (ACCEPT_ENCODING, HeaderValue::from_static("identity"))]
        {
            request.headers_mut().entry(name).or_insert(value);
        }
        Ok(request)
    }
}

fn unsendable(name: &HeaderName) -> WebError {
    WebError { sent: false, ..WebError::new(WebErrorKind::Protocol, format!("the field {name} would hold octets that no field can have")) }
}

/// Shows a request: no credentials, and of its body the size.
pub(super) fn tell_question(trace: &mut Trace, question: &Question) {
    if !trace.is_on() {
        return;
    }
    trace.sent_command(format!("{} {} HTTP/1.1", question.method, question.target).as_bytes());
    for (name, value) in &question.fields {
        let text = String::from_utf8_lossy(value.as_bytes());
        if value.is_sensitive() || *name == AUTHORIZATION {
            // `Basic`, `Bearer`, `NTLM` may show; what is behind it may not.
            let (scheme, secret) = text.split_once(' ').unwrap_or(("", &text));
            trace.sent_secret(format!("{name}: {scheme}").trim_end(), secret);
        } else {
            trace.sent_command(format!("{name}: {text}").as_bytes());
        }
    }
    if !question.body.is_empty() {
        trace.sent_command(format!("{{{} octets}}", question.body.len()).as_bytes());
    }
}
