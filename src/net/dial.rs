//! Reaching a server: names, addresses in turn, one time limit over all of it.

use super::Channel;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// A limit for those who configured none: the system's own is minutes anyway.
const CONNECT_MAX: Duration = Duration::from_secs(600);

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct DialError {
    /// The kind of failure.
    pub kind: DialErrorKind,
    /// In words, with each address that was tried.
    pub text: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialErrorKind {
    /// The name does not resolve (always temporary for us).
    Dns,
    /// Nobody answers, or nobody listens.
    Connect,
    /// The time was up.
    Timeout,
    /// The handshake failed, or the certificate is not trusted.
    Tls,
}

impl DialError {
    pub(super) fn new(kind: DialErrorKind, text: impl Into<String>) -> Self {
        DialError { kind, text: text.into() }
    }
}

/// Connects to the first address of `host` that answers. `limit` covers names and all addresses together.
pub async fn tcp(host: &str, port: u16, limit: Option<Duration>) -> Result<Channel, DialError> {
    let limit = limit.unwrap_or(CONNECT_MAX);
    let dialled = timeout(limit, async {
        let addresses: Vec<SocketAddr> = match lookup_host((host, port)).await {
            Ok(addresses) => addresses.take(ADDRESSES_MAX).collect(),
            Err(error) => return Err(DialError::new(DialErrorKind::Dns, format!("cannot resolve `{host}`: {error}"))),
        };
        let Some(share) = limit.checked_div(addresses.len() as u32) else {
            return Err(DialError::new(DialErrorKind::Dns, format!("`{host}` has no address")));
        };
        let mut failures = Vec::new();
        for address in &addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Commands are written whole; waiting for more to send would cost 40 ms each.
                    let _ = stream.set_nodelay(true);
                    return Ok(Channel::Tcp(stream));
                }
                Ok(Err(error)) => failures.push(format!("{address}: {}", plain(&error))),
                Err(_) => failures.push(format!("{address}: no answer in {} s", share.as_secs_f32())),
            }
        }
        Err(DialError::new(DialErrorKind::Connect, failures.join("; ")))
    });
    dialled.await.unwrap_or_else(|_| Err(DialError::new(DialErrorKind::Timeout, format!("no connection in {} s", limit.as_secs_f32()))))
}

/// Connects to a unix socket.
pub async fn unix(path: &Path) -> Result<Channel, DialError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Channel::Unix(stream)),
        Err(error) => Err(DialError::new(DialErrorKind::Connect, format!("{}: {}", path.display(), plain(&error)))),
    }
}

/// "connection refused" without the "(os error 111)".
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
