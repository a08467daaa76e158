//! Reaching a server: names, addresses in turn, one time limit over all of it.

use super::{Channel, Nobody, Seen, Witness};
use socket2::{SockRef, TcpKeepalive};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout};

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// A limit for those who configured none: the system's own is minutes anyway.
const CONNECT_MAX: Duration = Duration::from_secs(600);

/// A connection that is silent for so long asks the other end's system whether it is there. Connections that wait for news (IDLE) are silent for minutes:
/// routers forget them sooner, and one that died without a word would be waited on until something is to be sent.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// That is asked again after this time.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// So many questions without an answer are the end of the connection.
const KEEPALIVE_PROBES: u32 = 4;

const NAME_HINT: &str = "check the spelling of `server`, and this host's resolver";

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct DialError {
    /// The kind of failure.
    pub kind: DialErrorKind,
    /// In words, with each address that was tried.
    pub text: String,
    /// What the operator can do.
    pub hint: Option<&'static str>,
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
        DialError { kind, text: text.into(), hint: None }
    }

    /// Adds what to do.
    pub(super) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// Connects to the first address of `host` that answers. `limit` covers names and all addresses together.
pub async fn tcp(host: &str, port: u16, limit: Option<Duration>) -> Result<Channel, DialError> {
    tcp_seen(host, port, limit, &Nobody).await
}

/// The same, while somebody watches.
pub async fn tcp_seen(host: &str, port: u16, limit: Option<Duration>, witness: &dyn Witness) -> Result<Channel, DialError> {
    let (limit, begun) = (limit.unwrap_or(CONNECT_MAX), Instant::now());
    let addresses: Vec<SocketAddr> = match timeout(limit, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => return Err(DialError::new(DialErrorKind::Dns, format!("cannot resolve `{host}`: {error}")).hint(NAME_HINT)),
        Err(_) => return Err(DialError::new(DialErrorKind::Timeout, format!("no address of `{host}` in {} s", limit.as_secs_f32())).hint(NAME_HINT)),
    };
    if addresses.is_empty() {
        return Err(DialError::new(DialErrorKind::Dns, format!("`{host}` has no address")).hint(NAME_HINT));
    }
    witness.saw(Seen::Resolved(addresses.iter().map(SocketAddr::ip).collect()));
    // What is left, in tenths of a second. Nothing else watches over it: which address did not answer is told by whoever waited for it.
    let left = limit.saturating_sub(begun.elapsed()).as_millis().div_ceil(100);
    first_that_answers(&addresses, Duration::from_millis(100 * u64::try_from(left).unwrap_or(u64::MAX / 100)), witness).await
}

/// Connects to the first of these addresses that answers, [`ADDRESSES_MAX`] at most; each has its share of the time.
pub(super) async fn first_that_answers(addresses: &[SocketAddr], limit: Duration, witness: &dyn Witness) -> Result<Channel, DialError> {
    let addresses = &addresses[..addresses.len().min(ADDRESSES_MAX)];
    let share = limit / (addresses.len() as u32).max(1);
    let mut failures = Vec::new();
    let mut refused = false;
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Commands are written whole; waiting for more to send would cost 40 ms each.
                let _ = stream.set_nodelay(true);
                // Without it a dead connection is noticed later, and no worse.
                let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive());
                witness.saw(Seen::Connected(address.to_string()));
                return Ok(Channel::Tcp(stream));
            }
            Ok(Err(error)) => {
                refused |= error.kind() == ErrorKind::ConnectionRefused;
                failures.push(format!("{address}: {}", plain(&error)));
            }
            Err(_) => failures.push(format!("{address}: no answer in {} s", share.as_secs_f32())),
        }
    }
    let error = DialError::new(DialErrorKind::Connect, failures.join("; "));
    Err(if refused { error.hint("nothing listens there: check `server`, `port` and `tls.mode`") } else { error })
}

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(KEEPALIVE_PROBES)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p24_a_silent_connection_is_kept_alive_and_its_death_is_noticed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let channel = tcp("127.0.0.1", listener.local_addr().unwrap().port(), None).await.unwrap();
        let Channel::Tcp(stream) = &channel else { panic!("{channel:?}") };
        let socket = SockRef::from(stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        let noticed = socket.tcp_keepalive_time().unwrap() + socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert!(noticed <= Duration::from_secs(150), "before the IDLE is begun again: {noticed:?}");
    }

    #[tokio::test]
    async fn a_failure_says_what_to_do() {
        // A port that was free a moment ago: nothing listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = tcp("127.0.0.1", port, Some(Duration::from_secs(10))).await.unwrap_err();
        assert_eq!((error.kind, error.hint.unwrap().starts_with("nothing listens there")), (DialErrorKind::Connect, true), "{error}");
        // A name that no resolver can hold (RFC 6761 §6.4).
        let error = tcp("no-such-host.invalid", 993, Some(Duration::from_secs(20))).await.unwrap_err();
        assert!(error.kind == DialErrorKind::Timeout || error.hint == Some(NAME_HINT), "{error:?}");
    }
}
