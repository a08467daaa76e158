//! One connection to a web server, pinned: for one mailbox, one request after another, never pooled and never shared. A login may belong to the
//! connection (NTLM), and an answer may be hundreds of megabytes, so nothing is hidden here: no redirect is followed, nothing is asked twice, a body
//! comes in pieces, and a body that was not read to its end leaves a connection that cannot be used again.

use super::tls::end_point_binding;
use super::{Channel, DialError, DialErrorKind, Dialect, Handshake, Seen, TlsClient, Trace, Tracer, Witness, tcp_seen};
use crate::mail::outcome::harmless;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION, PROXY_AUTHENTICATE, RETRY_AFTER, SET_COOKIE, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Version};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Longest head of an answer, and what is read of a body at once.
const HEAD_OCTETS_MAX: usize = 64 * 1024;
/// Most fields of it.
const FIELDS_MAX: usize = 100;
/// Longest wait that a server can ask for: one that names a year must not stop mail, and asking once an hour hurts nobody.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// For names, connecting and the handshake, for those who configured no limit.
const CONNECT_MAX: Duration = Duration::from_secs(600);
/// The limit of a wait for those who configured none.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// A server that keeps us waiting this many idle limits must have sent ...
const SLOW_WAITS: u32 = 4;
/// ... this much of a body meanwhile: an octet now and then must not hold a session for ever.
const SLOW_OCTETS_MIN: u64 = 1024;

/// How long what may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebLimits {
    /// Names, all addresses and the handshake together.
    pub connect: Option<Duration>,
    /// Until the head of an answer, and until each piece of its body.
    pub idle: Option<Duration>,
}

/// A connection to a web server.
pub struct Web {
    /// What is sent as `Host`.
    authority: String,
    sender: http1::SendRequest<Full<Bytes>>,
    /// Drives the connection; it ends with this value.
    _driver: JoinSet<hyper::Result<()>>,
    idle: Duration,
    state: Arc<AtomicU8>,
    trace: Arc<Mutex<Trace>>,
    peer: Option<IpAddr>,
    private: bool,
    binding: Option<Vec<u8>>,
}

/// Nothing is on its way.
const READY: u8 = 0;
/// A request was begun, and its answer is not here to its end.
const BUSY: u8 = 1;
/// The server closes the connection behind its answer, or something broke.
const OVER: u8 = 2;

/// A request. Who we are and that the answer is wanted as it is are added.
#[derive(Clone, Debug)]
pub struct Question {
    method: Method,
    target: String,
    fields: HeaderMap,
    body: Bytes,
}

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

impl Web {
    /// Connects, and secures the connection if `tls` is given. The server's certificate must be for `host`.
    pub async fn open(
        host: &str,
        port: u16,
        tls: Option<&TlsClient>,
        limits: WebLimits,
        witness: &dyn Witness,
        tracer: &Tracer,
    ) -> Result<Web, WebError> {
        let limit = limits.connect.unwrap_or(CONNECT_MAX);
        let deadline = Instant::now() + limit;
        let mut channel = tcp_seen(host, port, Some(limit), witness).await?;
        if let Some(tls) = tls {
            channel = tls.secure(channel, host, Some(deadline.saturating_duration_since(Instant::now()))).await?;
            Handshake::of(&channel).into_iter().for_each(|handshake| witness.saw(Seen::Secured(Box::new(handshake))));
        }
        Web::over(channel, host, port, limits, tracer).await
    }

    /// Over a channel that is connected.
    pub async fn over(channel: Channel, host: &str, port: u16, limits: WebLimits, tracer: &Tracer) -> Result<Web, WebError> {
        let (peer, private, binding) = (channel.peer_ip(), channel.is_private(), end_point_binding(&channel));
        let usual = if channel.is_tls() { 443 } else { 80 };
        // An IPv6 address stands in brackets (RFC 3986 §3.2.2).
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let authority = if port == usual { host } else { format!("{host}:{port}") };
        let mut connection = http1::Builder::new();
        connection.max_buf_size(HEAD_OCTETS_MAX).max_headers(FIELDS_MAX);
        let (sender, connection) = connection.handshake(TokioIo::new(channel)).await.map_err(|error| broken(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Web {
            authority,
            sender,
            _driver: driver,
            idle: limits.idle.unwrap_or(IDLE_MAX),
            state: Arc::new(AtomicU8::new(READY)),
            trace: Arc::new(Mutex::new(tracer.start(Dialect::Http))),
            peer,
            private,
            binding,
        })
    }

    /// Asks, and reads the head of the answer. The former answer must have been read to its end.
    pub async fn ask(&mut self, question: Question) -> Result<Answer, WebError> {
        let answer = self.question(question).await;
        if answer.as_ref().is_err_and(|error| error.kind != WebErrorKind::Unread) {
            self.state.store(OVER, Ordering::Release);
        }
        answer
    }

    async fn question(&mut self, question: Question) -> Result<Answer, WebError> {
        match self.state.swap(BUSY, Ordering::AcqRel) {
            READY => {}
            BUSY => return Err(WebError { sent: false, ..WebError::new(WebErrorKind::Unread, "the former answer was not read to its end") }),
            _ => return Err(WebError { sent: false, ..WebError::new(WebErrorKind::Closed, "the server has closed the connection") }),
        }
        let idle = self.idle;
        let late = || WebError::new(WebErrorKind::Timeout, format!("no answer in {} s", idle.as_secs_f32()));
        match timeout(idle, self.sender.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(WebError { sent: false, ..broken(&error) }),
            Err(_) => return Err(WebError { sent: false, ..late() }),
        }
        tell_question(&mut locked(&self.trace), &question);
        let request = question.request(&self.authority)?;
        let answer = match timeout(idle, self.sender.send_request(request)).await {
            Ok(answer) => answer.map_err(|error| WebError { sent: !error.is_canceled(), ..broken(&error) })?,
            Err(_) => return Err(late()),
        };
        let (head, body) = answer.into_parts();
        tell_answer(&mut locked(&self.trace), head.status.as_u16(), &head.headers);
        if let Some(encoding) = words(&head.headers, &CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            let text = format!("the answer has the encoding {}, which nobody asked for", harmless(&encoding, 50));
            return Err(WebError::new(WebErrorKind::Protocol, text));
        }
        let stays = head.version != Version::HTTP_10 && !closes(&head.headers);
        let answer = Answer {
            status: head.status.as_u16(),
            fields: head.headers,
            body,
            idle,
            state: Arc::clone(&self.state),
            trace: Arc::clone(&self.trace),
            stays,
            octets: 0,
            waited: Duration::ZERO,
            counted: 0,
        };
        answer.note_end(answer.body.is_end_stream());
        Ok(answer)
    }

    /// True if another request can be asked, as far as is known now.
    pub fn can_ask(&self) -> bool {
        self.state.load(Ordering::Acquire) == READY && !self.sender.is_closed()
    }

    /// The address of the server.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        self.peer
    }

    /// True if nobody on the way can read along.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// The channel binding `tls-server-end-point` (RFC 5929 §4.1): the hash of the server's certificate. `None` without TLS, and for a certificate whose
    /// signature uses no hash of its own.
    pub fn end_point_binding(&self) -> Option<&[u8]> {
        self.binding.as_deref()
    }

    /// No line of a trace with this in it shows from here on.
    pub fn hide(&self, secret: &str) {
        locked(&self.trace).hide(secret);
    }

    /// Shows that something happened to the connection, to whoever traces it.
    pub fn note(&self, text: &str) {
        locked(&self.trace).note(text);
    }
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

    fn request(mut self, authority: &str) -> Result<Request<Full<Bytes>>, WebError> {
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

impl Answer {
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

    /// How long the server wants to be left alone (`Retry-After`, RFC 9110 §10.2.3), at most [`RETRY_AFTER_MAX`].
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

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Web({})", self.authority)
    }
}

impl WebError {
    fn new(kind: WebErrorKind, text: impl Into<String>) -> Self {
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
fn broken(error: &hyper::Error) -> WebError {
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
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}

fn unsendable(name: &HeaderName) -> WebError {
    WebError { sent: false, ..WebError::new(WebErrorKind::Protocol, format!("the field {name} would hold octets that no field can have")) }
}

fn words(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    fields.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

fn closes(fields: &HeaderMap) -> bool {
    let values = fields.get_all(CONNECTION);
    values.iter().any(|value| String::from_utf8_lossy(value.as_bytes()).split(',').any(|word| word.trim().eq_ignore_ascii_case("close")))
}

/// How long a server with these fields wants to be left alone.
pub(super) fn wanted_pause(fields: &HeaderMap) -> Option<Duration> {
    // By the server's own clock, where it tells: ours may differ.
    let now = words(fields, &DATE).and_then(|date| http_date(&date)).unwrap_or_else(Timestamp::now);
    words(fields, &RETRY_AFTER).and_then(|value| retry_after(&value, now))
}

/// Seconds, or a time.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        // More digits than a number has are more than the most.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)).min(RETRY_AFTER_MAX));
    }
    let seconds = http_date(value)?.as_second() - now.as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(RETRY_AFTER_MAX))
}

/// An HTTP-date, in each of its three forms (RFC 9110 §5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    if let Ok(time) = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text) {
        return Some(time);
    }
    let of = |format: &str| DateTime::strptime(format, text).ok().and_then(|time| time.to_zoned(TimeZone::UTC).ok()).map(|time| time.timestamp());
    of("%A, %d-%b-%y %H:%M:%S GMT").or_else(|| of("%a %b %e %H:%M:%S %Y"))
}

fn locked(trace: &Mutex<Trace>) -> MutexGuard<'_, Trace> {
    trace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows a request: no credentials, and of its body the size.
fn tell_question(trace: &mut Trace, question: &Question) {
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

/// Shows the head of an answer. What a server hands out for a login (challenges, cookies, places with a ticket in them) does not show.
fn tell_answer(trace: &mut Trace, status: u16, fields: &HeaderMap) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const LIMITS: WebLimits = WebLimits { connect: None, idle: Some(Duration::from_secs(5)) };

    async fn web(tracer: &Tracer) -> (Web, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        (Web::over(Channel::Memory(ours), "mail.corp.example", 80, LIMITS, tracer).await.unwrap(), theirs)
    }

    /// Reads a request without a body.
    async fn request(peer: &mut DuplexStream) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(peer.read_u8().await.unwrap());
        }
        String::from_utf8(request).unwrap()
    }

    /// What becomes of one answer, and whether the connection can be used again. The peer closes behind it if so.
    async fn answered(answer: impl Into<Vec<u8>>, closes: bool) -> (Result<Vec<u8>, WebError>, bool) {
        let (mut web, mut peer) = web(&Tracer::default()).await;
        let answer = answer.into();
        let scripted = tokio::spawn(async move {
            request(&mut peer).await;
            let _ = peer.write_all(&answer).await;
            (!closes).then_some(peer)
        });
        let whole = match web.ask(Question::get("/x")).await {
            Ok(answer) => answer.whole(10_000).await,
            Err(error) => Err(error),
        };
        let again = web.can_ask();
        drop(scripted.await);
        (whole, again)
    }

    #[tokio::test]
    async fn bodies_of_each_kind() {
        for (answer, closes, body, again) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, "abc", true),
            ("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", false, "", true),
            ("HTTP/1.1 204 None\r\n\r\n", false, "", true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", false, "a", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n", false, "abc", true),
            ("HTTP/1.1 200 OK\r\nConnection: Keep-Alive, close\r\nContent-Length: 3\r\n\r\nabc", false, "abc", false),
            ("HTTP/1.1 200 OK\r\n\r\nabc", true, "abc", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, "abc", false),
        ] {
            let (whole, can_ask) = answered(answer, closes).await;
            assert_eq!((String::from_utf8(whole.unwrap()).unwrap().as_str(), can_ask), (body, again), "{answer}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer() {
        use WebErrorKind::{Closed, Protocol, TooLong};
        for (answer, kind) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_owned(), Closed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc".into(), Closed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".into(), Closed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc".into(), Protocol),
            ("HTTP/1.1 200 OK\r\nContent-Len".into(), Closed),
            (String::new(), Closed),
            (format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1_000)), Protocol),
            (format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(200_000)), Protocol),
            (format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(200_000)), Protocol),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(), Protocol),
            ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc".into(), Protocol),
            (format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(20_000)), TooLong),
            ("* OK IMAP4rev1 ready\r\n".into(), Protocol),
        ] {
            let (whole, can_ask) = answered(answer.clone(), true).await;
            let error = whole.expect_err(&format!("{answer:.80}"));
            assert_eq!((error.kind, can_ask), (kind, false), "{answer:.80}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_dripping_end() {
        for (start, drips) in [("", false), ("HTTP/1.1 200 OK\r\n", false), ("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", true)] {
            let (mut web, mut peer) = web(&Tracer::default()).await;
            let scripted = tokio::spawn(async move {
                request(&mut peer).await;
                peer.write_all(start.as_bytes()).await.unwrap();
                while !drips || peer.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
            });
            let begun = Instant::now();
            let error = match web.ask(Question::get("/")).await {
                Ok(answer) => answer.whole(10_000).await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!((error.kind, web.can_ask()), (WebErrorKind::Timeout, false), "{start:?}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
            scripted.abort();
        }
    }

    #[tokio::test]
    async fn one_after_another_and_only_behind_a_whole_answer() {
        let (mut web, mut peer) = web(&Tracer::default()).await;
        let scripted = tokio::spawn(async move {
            for body in ["one", "two", "three"] {
                let request = request(&mut peer).await;
                assert!(request.contains("host: mail.corp.example\r\n") && request.contains("accept-encoding: identity"), "{request}");
                peer.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
            }
            request(&mut peer).await;
        });
        for body in ["one", "two"] {
            assert_eq!(web.ask(Question::get("/")).await.unwrap().whole(10).await.unwrap(), body.as_bytes());
        }
        let unread = web.ask(Question::get("/")).await.unwrap();
        assert!(!web.can_ask());
        let error = web.ask(Question::get("/")).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (WebErrorKind::Unread, false));
        unread.finish(10).await.unwrap();
        assert!(web.can_ask());
        // The peer goes away before it has said a word: that may have been done, or not.
        let error = web.ask(Question::get("/")).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (WebErrorKind::Closed, true), "{error}");
        let error = web.ask(Question::get("/")).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (WebErrorKind::Closed, false), "{error}");
        scripted.await.unwrap();
    }

    #[test]
    fn how_long_to_wait() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
            ("Sun, 06 Nov 2094 08:40:00 GMT", Some(3600)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now).map(|wait| wait.as_secs()), seconds, "{value}");
        }
    }

    #[tokio::test]
    async fn a_trace_shows_no_login_and_no_contents() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&lines);
        let tracer = Tracer::new("box", move |line| noted.lock().unwrap().push(line.split_once("http ").unwrap().1.to_owned()));
        let (mut web, mut peer) = web(&tracer).await;
        let scripted = tokio::spawn(async move {
            request(&mut peer).await;
            let answer = "HTTP/1.1 302 Found\r\nWWW-Authenticate: NTLM VGhpcyBpcw==\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
                Set-Cookie: a=b\r\nLocation: https://sso.example/adfs?ticket=1234\r\nX-Echo: c2VjcmV0\r\nContent-Length: 5\r\n\r\nhello";
            peer.write_all(answer.as_bytes()).await.unwrap();
        });
        let question = Question::post("/EWS/Exchange.asmx", "text/xml", "").authorization("Basic c2VjcmV0").unwrap();
        let answer = web.ask(question).await.unwrap();
        assert_eq!((answer.status, answer.field(&LOCATION).as_deref()), (302, Some("https://sso.example/adfs?ticket=1234")));
        assert_eq!(answer.all(&WWW_AUTHENTICATE).len(), 2);
        answer.whole(10).await.unwrap();
        scripted.await.unwrap();
        let shown = lines.lock().unwrap().join("\n");
        for line in [
            "C: POST /EWS/Exchange.asmx HTTP/1.1",
            "C: authorization: Basic ***",
            "S: HTTP 302",
            "S: www-authenticate: NTLM ***",
            "S: www-authenticate: Basic realm=\"x\"",
            "S: set-cookie: ***",
            "S: location: https://sso.example/adfs",
            "S: {5 octets}",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        for secret in ["c2VjcmV0", "VGhpcyBpcw", "1234", "hello", "a=b"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
    }
}
