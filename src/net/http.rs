//! Small documents by HTTPS. Never by HTTP: what is read here says where passwords go, and anybody on the way could write an open answer. [`post`]
//! and [`submit`] send one over a connection that somebody else has made.
//!
//! One connection for each question, HTTP/1.1, certificates verified as everywhere; a redirect leads to another https place on the port of
//! HTTPS, a few times at most; size, header and time have limits.

use super::dial::{first_that_answers, tcp};
use super::web::in_words;
use super::witness::Nobody;
use super::{Channel, DialError, Dns, DnsError, TlsClient};
use crate::config::{Tls, WebPlace};
use crate::mail::outcome::harmless;
use crate::mail::{Domain, Secret};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Names, connections, redirects and documents together.
const LIMIT: Duration = Duration::from_secs(10);
/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// Longest header of an answer.
const HEADER_OCTETS_MAX: usize = 16 * 1024;
/// Most fields of it.
const FIELDS_MAX: usize = 64;
/// The port of HTTPS, and no other: nobody leads us to a service that is none of the web.
const PORT: u16 = 443;

/// Reads documents.
pub struct Https<'d> {
    dns: &'d Dns,
    tls: TlsClient,
}

/// Why there is no document.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HttpError {
    /// The host is not there.
    #[error("there is no such host")]
    NoSuchHost,
    /// Name servers do not answer.
    #[error("{0}")]
    Dns(#[from] DnsError),
    /// No connection, no TLS, or a certificate that is not trusted.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The server has no such document.
    #[error("it answers {0}")]
    Status(u16),
    /// Beyond the limit.
    #[error("its answer has more than {0} octets")]
    TooLong(usize),
    /// A redirect that is not followed.
    #[error("it redirects to {0}, which is no https place")]
    Insecure(String),
    /// Too many in a row.
    #[error("it redirects more than {REDIRECTS_MAX} times")]
    Redirects,
    /// Compressed, though nobody asked for it.
    #[error("its answer has the encoding {0}")]
    Encoding(String),
    /// Not what HTTP allows, or cut off.
    #[error("its answer is broken: {0}")]
    Broken(String),
    /// The time was up.
    #[error("no whole answer in {} s", LIMIT.as_secs())]
    Timeout,
}

/// Where a document is: a host and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: Domain,
    target: String,
}

enum Answer {
    Document(Vec<u8>),
    Elsewhere(Place),
}

impl<'d> Https<'d> {
    /// Trusts the system's authorities, and finds hosts by this resolver.
    pub fn new(dns: &'d Dns) -> Result<Self, DialError> {
        Ok(Https { dns, tls: TlsClient::new(&Tls::default())? })
    }

    /// The document at a host; `target` is path and query, escaped.
    pub async fn get(&self, host: &Domain, target: &str, octets_max: usize) -> Result<Vec<u8>, HttpError> {
        let place = Place { host: host.clone(), target: target.to_owned() };
        timeout(LIMIT, self.follow(place, octets_max)).await.unwrap_or(Err(HttpError::Timeout))
    }

    async fn follow(&self, mut place: Place, octets_max: usize) -> Result<Vec<u8>, HttpError> {
        for _ in 0..=REDIRECTS_MAX {
            let host = place.host.as_ascii();
            let addresses: Vec<SocketAddr> = self.dns.addresses(&place.host).await?.into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect();
            if addresses.is_empty() {
                return Err(HttpError::NoSuchHost);
            }
            let channel = first_that_answers(&addresses, LIMIT, &Nobody).await?;
            let channel = self.tls.secure(channel, host, Some(LIMIT)).await?;
            match ask(channel, &place, octets_max).await? {
                Answer::Document(octets) => return Ok(octets),
                Answer::Elsewhere(next) => place = next,
            }
        }
        Err(HttpError::Redirects)
    }
}

/// One question and its answer.
async fn ask(channel: Channel, place: &Place, octets_max: usize) -> Result<Answer, HttpError> {
    let request = about_us(Request::get(&place.target), place.host.as_ascii()).body(Empty::<Bytes>::new()).map_err(|error| broken(&error))?;
    let (mut sender, _driver) = connected(channel).await?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let field = |name| answer.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match answer.status().as_u16() {
        200 => {}
        301 | 302 | 303 | 307 | 308 => {
            let to = field(LOCATION).unwrap_or_default();
            return place.redirected(&to).map(Answer::Elsewhere).ok_or_else(|| HttpError::Insecure(harmless(&to, 200)));
        }
        status => return Err(HttpError::Status(status)),
    }
    if let Some(encoding) = field(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(HttpError::Encoding(harmless(&encoding, 50)));
    }
    whole(answer.into_body(), octets_max).await.map(Answer::Document)
}

/// All of a body.
async fn whole(body: Incoming, octets_max: usize) -> Result<Vec<u8>, HttpError> {
    if body.size_hint().lower() > octets_max as u64 {
        return Err(HttpError::TooLong(octets_max));
    }
    match Limited::new(body, octets_max).collect().await {
        Ok(document) => Ok(document.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLong(octets_max)),
        Err(error) => Err(broken(&*error)),
    }
}

/// A channel to a place of the web: by TLS, verified as `tls` says, unless the place is an open one.
pub async fn to_place(place: &WebPlace, tls: &Tls, limit: Duration) -> Result<Channel, HttpError> {
    let channel = tcp(&place.host, place.port, Some(limit)).await?;
    if !place.is_secure {
        return Ok(channel);
    }
    let client = TlsClient::load(tls).await?;
    Ok(client.secure(channel, &place.host, Some(limit)).await?)
}

/// Sends a document of JSON over a connection that was made for it; the answer is read no further than its status. What is no 2xx is an error.
pub async fn post(channel: Channel, place: &WebPlace, token: Option<&str>, document: String) -> Result<(), HttpError> {
    let mut request = about_us(Request::post(&place.target), &place.authority()).header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| HttpError::Broken("the token holds line ends".to_owned()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Full::new(Bytes::from(document))).map_err(|error| broken(&error))?;
    let (mut sender, _driver) = connected(channel).await?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(HttpError::Status(status.as_u16())),
    }
}

/// What a server said, whatever it was.
#[derive(Debug)]
pub struct HttpAnswer {
    /// Its status.
    pub status: u16,
    /// `Retry-After` (RFC 9110 §10.2.3).
    pub retry_after: Option<Duration>,
    /// All of its body.
    pub body: Vec<u8>,
}

/// Sends a form over a connection that was made for it; no redirect is followed.
pub async fn submit(channel: Channel, place: &WebPlace, form: &Secret, octets_max: usize) -> Result<HttpAnswer, HttpError> {
    let request = about_us(Request::post(&place.target), &place.authority())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Full::new(Bytes::copy_from_slice(form.expose().as_bytes())))
        .map_err(|error| broken(&error))?;
    let (mut sender, _driver) = connected(channel).await?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let retry_after = super::web::wanted_pause(answer.headers());
    let status = answer.status().as_u16();
    Ok(HttpAnswer { status, retry_after, body: whole(answer.into_body(), octets_max).await? })
}

/// HTTP/1.1 on a channel, for one question. What drives it ends when the second value is dropped, however the question ends.
async fn connected<B>(channel: Channel) -> Result<(http1::SendRequest<B>, JoinSet<hyper::Result<()>>), HttpError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = http1::Builder::new();
    connection.max_buf_size(HEADER_OCTETS_MAX).max_headers(FIELDS_MAX);
    let (sender, connection) = connection.handshake(TokioIo::new(channel)).await.map_err(|error| broken(&error))?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok((sender, driver))
}

/// The fields of each request: who asks, and that one answer is wanted, as it is.
fn about_us(request: Builder, host: &str) -> Builder {
    request.header(HOST, host).header(USER_AGENT, "mailgather").header(ACCEPT_ENCODING, "identity").header(CONNECTION, "close")
}

impl Place {
    /// Where `Location` leads, if that is a place of https.
    fn redirected(&self, location: &str) -> Option<Place> {
        // A path, and a host with the scheme of where it is named (RFC 3986 §4.2).
        let text = match location.strip_prefix("//") {
            Some(rest) => format!("https://{rest}"),
            None if location.starts_with('/') => format!("https://{}{location}", self.host.as_ascii()),
            None => location.to_owned(),
        };
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let is_https = uri.scheme_str() == Some("https") && !authority.as_str().contains('@') && authority.port_u16().is_none_or(|port| port == PORT);
        let host = authority.host().parse::<Domain>().ok().filter(|_| is_https)?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Some(Place { host, target: target.to_owned() })
    }
}

fn broken(error: &dyn std::error::Error) -> HttpError {
    HttpError::Broken(harmless(&in_words(error), 300))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn place(target: &str) -> Place {
        Place { host: "autoconfig.corp.example".parse().unwrap(), target: target.into() }
    }

    /// What becomes of an answer; the peer closes after it.
    async fn answered(answer: impl Into<Vec<u8>>) -> (Result<Answer, HttpError>, String) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let answer = answer.into();
        let peer = tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let octet = theirs.read_u8().await.unwrap();
                request.push(octet);
            }
            let _ = theirs.write_all(&answer).await;
            String::from_utf8(request).unwrap()
        });
        let answer = ask(Channel::Memory(ours), &place("/mail/config-v1.1.xml?emailaddress=a%40b"), 1_000).await;
        (answer, peer.await.unwrap())
    }

    async fn refused(answer: impl Into<Vec<u8>>) -> String {
        match answered(answer).await.0 {
            Ok(_) => panic!("taken"),
            Err(error) => error.to_string(),
        }
    }

    async fn document(answer: &str) -> Vec<u8> {
        match answered(answer).await.0 {
            Ok(Answer::Document(octets)) => octets,
            Ok(Answer::Elsewhere(place)) => panic!("{place:?}"),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn documents_of_a_length_in_chunks_and_to_the_end() {
        assert_eq!(document("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await, b"abc");
        assert_eq!(document("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n").await, b"abc");
        assert_eq!(document("HTTP/1.0 200 OK\r\n\r\nabc").await, b"abc");
        let (_, request) = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert!(request.starts_with("GET /mail/config-v1.1.xml?emailaddress=a%40b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: autoconfig.corp.example\r\n"), "{request}");
    }

    #[tokio::test]
    async fn answers_that_are_not_taken() {
        for (answer, words) in [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "answers 404"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".into(), "more than 1000 octets"),
            (
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", format!("40\r\n{}\r\n", "x".repeat(64)).repeat(20)),
                "more than 1000 octets",
            ),
            (format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(5_000)), "more than 1000 octets"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".into(), "broken"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc".into(), "broken"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc".into(), "broken"),
            ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc".into(), "encoding gzip"),
            (format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1_000)), "broken"),
            (format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(100_000)), "broken"),
            ("* OK IMAP4rev1 ready\r\n".into(), "broken"),
            (String::new(), "broken"),
        ] {
            let said = refused(answer.clone()).await;
            assert!(said.contains(words), "{answer:.80}: {said}");
        }
    }

    #[tokio::test]
    async fn redirects_lead_to_https_only() {
        let to = |location: &str| place("/mail/x").redirected(location).map(|place| format!("{} {}", place.host.as_ascii(), place.target));
        for (location, expected) in [
            ("https://mail.corp.example/a?b=c", Some("mail.corp.example /a?b=c")),
            ("https://mail.corp.example:443", Some("mail.corp.example /")),
            ("//mail.corp.example/a", Some("mail.corp.example /a")),
            ("/other", Some("autoconfig.corp.example /other")),
            ("http://mail.corp.example/a", None),
            ("HTTP://mail.corp.example/a", None),
            ("https://user@mail.corp.example/a", None),
            ("https://mail.corp.example:8443/a", None),
            ("file:///etc/passwd", None),
            ("other", None),
            ("", None),
            ("https:///a", None),
        ] {
            assert_eq!(to(location).as_deref(), expected, "{location}");
        }
        let said = refused("HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n").await;
        assert!(said.contains("http://evil.example/, which is no https place"), "{said}");
        assert!(refused("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n").await.contains("redirects"));
    }
}
