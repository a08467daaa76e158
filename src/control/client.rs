//! The other end of the socket, for the command line.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// What we call ourselves.
pub(super) const AGENT: &str = "mailgather-cli/";
/// Longest answer that is taken whole: twenty thousand collectors fit.
const ANSWER_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// Longest event.
const EVENT_OCTETS_MAX: usize = 16 * 1024 * 1024;

/// Speaks to the daemon of one socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("cannot talk to the daemon: {path}: {error}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("the daemon's answer broke off: {0}")]
    Broken(String),
    /// The daemon cannot do it.
    #[error("{detail}")]
    Problem {
        /// The status of HTTP.
        status: u16,
        /// The number of the page, `MG-501`, where there is one.
        code: Option<String>,
        /// In words.
        detail: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl Client {
    /// One for the daemon at this socket; connects at each request.
    pub fn new(path: &Path) -> Self {
        Client { path: path.to_owned() }
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A document of the daemon's.
    pub async fn get(&self, place: &str) -> Result<Value, ClientError> {
        document(self.send("GET", place, Bytes::new()).await?).await
    }

    /// Asks for something to be done.
    pub async fn post(&self, place: &str, body: &Value) -> Result<Value, ClientError> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        document(self.send("POST", place, body).await?).await
    }

    /// The events of a place, each handed over as it comes, until the server ends them. Each is its name and its document.
    pub async fn events(&self, place: &str, mut take: impl FnMut(&str, &Value)) -> Result<(), ClientError> {
        let response = self.send("GET", place, Bytes::new()).await?;
        if !response.status().is_success() {
            return document(response).await.map(drop);
        }
        let (mut body, mut left) = (response.into_body(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ClientError::Broken(error.to_string()))?;
            left.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if left.len() > EVENT_OCTETS_MAX {
                return Err(ClientError::Broken(format!("an event has more than {EVENT_OCTETS_MAX} octets")));
            }
            while let Some(end) = memchr::memmem::find(&left, b"\n\n") {
                let event = left.split_to(end + 2);
                if let Some((name, document)) = parse(&event) {
                    take(&name, &document);
                }
            }
        }
        Ok(())
    }

    /// The text of a place, handed over as it comes, until the server ends it or nobody wants more.
    pub async fn text(&self, place: &str, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), ClientError> {
        let response = self.send("GET", place, Bytes::new()).await?;
        if !response.status().is_success() {
            return document(response).await.map(drop);
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ClientError::Broken(error.to_string()))?;
            if !take(frame.data_ref().map_or(&[], |data| data)) {
                break;
            }
        }
        Ok(())
    }

    async fn send(&self, method: &str, place: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let failed = |error| ClientError::Connect { path: self.path.clone(), error };
        let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
        let stream = UnixStream::connect(&self.path).await.map_err(failed)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let agent = concat!("mailgather-cli/", env!("CARGO_PKG_VERSION"));
        let request = Request::builder().method(method).uri(place).header(HOST, "localhost").header(USER_AGENT, agent).body(Full::new(body));
        let request = request.map_err(|error| ClientError::Broken(error.to_string()))?;
        sender.send_request(request).await.map_err(broken)
    }
}

/// The document of an answer, or what is wrong.
async fn document(response: Response<Incoming>) -> Result<Value, ClientError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_OCTETS_MAX).collect().await.map_err(|error| ClientError::Broken(error.to_string()))?;
    let document: Value = serde_json::from_slice(&body.to_bytes()).map_err(|error| ClientError::Broken(error.to_string()))?;
    if status.is_success() || document.get("detail").is_none() {
        return Ok(document);
    }
    let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
    Err(ClientError::Problem { status: status.as_u16(), code: text("code"), detail: text("detail").unwrap_or_default(), hint: text("hint") })
}

/// The name and the document of an event.
fn parse(event: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(event).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    Some((field("event:")?.to_owned(), serde_json::from_str(field("data:")?).ok()?))
}
