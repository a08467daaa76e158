//! Layer 3: connections: TCP and unix sockets, TLS, HTTPS, time limits.

mod channel;
mod dial;
mod dns;
mod http;
mod tls;
mod trace;
mod witness;

pub use channel::Channel;
pub use dial::{DialError, DialErrorKind, tcp, tcp_seen, unix};
pub use dns::{Dns, DnsError, ServiceHost};
pub use http::{HttpError, Https, post};
pub use tls::{Certificate, Handshake, TlsClient, authorities, install_crypto_provider, random_octets};
pub use trace::{Dialect, LINES_MAX as TRACE_LINES_MAX, Trace, Tracer};
pub use witness::{Nobody, Seen, Witness};

/// This host's name, for EHLO and trace fields.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
