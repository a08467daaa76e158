//! Layer 3: connections: TCP and unix sockets, TLS, HTTPS, time limits.

mod channel;
mod dial;
mod dns;
mod http;
mod tls;
mod trace;
mod web;
mod witness;

pub use channel::Channel;
pub use dial::{DialError, DialErrorKind, tcp, tcp_seen, unix};
pub use dns::{Dns, DnsError, ServiceHost};
pub use http::{HttpAnswer, HttpError, Https, post, submit, to_place};
pub use tls::{Certificate, Handshake, TlsClient, TlsKept, authorities, end_point_binding, install_crypto_provider, random_octets};
pub use trace::{Dialect, LINES_MAX as TRACE_LINES_MAX, Trace, Tracer};
pub use web::{Answer, Question, RETRY_AFTER_MAX, Web, WebError, WebErrorKind, WebLimits};
pub use witness::{Nobody, Seen, Witness};

/// This host's name, for EHLO and trace fields.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
