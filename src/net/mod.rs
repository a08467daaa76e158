//! Layer 3: connections: TCP and unix sockets, TLS, time limits.

mod channel;
mod dial;
mod tls;

pub use channel::Channel;
pub use dial::{DialError, DialErrorKind, tcp, unix};
pub use tls::{TlsClient, install_crypto_provider};
