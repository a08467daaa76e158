//! One connection to a web server, pinned: for one mailbox, one request after another, never pooled and never shared. A login may belong to the
//! connection (NTLM), and an answer may be hundreds of megabytes, so nothing is hidden here: no redirect is followed, nothing is asked twice, a body
//! comes in pieces, and a body that was not read to its end leaves a connection that cannot be used again.

mod answer;
mod error;
mod pause;
mod question;

use super::tls::end_point_binding;
use super::{Channel, Dialect, Handshake, Seen, TlsClient, Trace, Tracer, Witness, tcp_seen};
use crate::mail::outcome::harmless;
pub use answer::Answer;
use answer::{closes, tell_answer, words};
use bytes::Bytes;
use error::broken;
pub(super) use error::in_words;
pub use error::{WebError, WebErrorKind};
use http_body_util::Full;
use hyper::Version;
use hyper::client::conn::http1;
use hyper::header::CONTENT_ENCODING;
use hyper_util::rt::TokioIo;
pub use pause::RETRY_AFTER_MAX;
pub(super) use pause::wanted_pause;
pub use question::Question;
use question::tell_question;
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
/// For names, connecting and the handshake, for those who configured no limit.
const CONNECT_MAX: Duration = Duration::from_secs(600);
/// The limit of a wait for those who configured none.
const IDLE_MAX: Duration = Duration::from_secs(600);

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
        Ok(Answer::begins(head.status.as_u16(), head.headers, body, idle, Arc::clone(&self.state), Arc::clone(&self.trace), stays))
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

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Web({})", self.authority)
    }
}

fn locked(trace: &Mutex<Trace>) -> MutexGuard<'_, Trace> {
    trace.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{LOCATION, WWW_AUTHENTICATE};
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
