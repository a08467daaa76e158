//! What a TLS handshake came to.

use super::Certificate;
use crate::net::Channel;

/// A channel's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// `TLSv1.3`
    pub version: String,
    /// `TLS13_AES_256_GCM_SHA384`
    pub cipher: String,
    /// The server's certificate, if it can be read.
    pub certificate: Option<Certificate>,
}

impl Handshake {
    /// That of a channel; `None` if it has none.
    pub fn of(channel: &Channel) -> Option<Self> {
        match channel {
            Channel::Tls(stream) => {
                let session = stream.get_ref().1;
                let version = match session.protocol_version() {
                    Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
                    Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
                    other => format!("{other:?}"),
                };
                let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default().to_owned();
                let certificate = session.peer_certificates().and_then(|chain| chain.first()).and_then(|leaf| Certificate::read(leaf));
                Some(Handshake { version, cipher, certificate })
            }
            #[cfg(feature = "legacy-tls")]
            Channel::OpenSsl(stream) => {
                let session = stream.ssl();
                let certificate = session.peer_certificate().and_then(|leaf| leaf.to_der().ok()).and_then(|leaf| Certificate::read(&leaf));
                let cipher = session.current_cipher().map_or("", |cipher| cipher.name()).to_owned();
                Some(Handshake { version: session.version_str().to_owned(), cipher, certificate })
            }
            Channel::Tcp(_) | Channel::Unix(_) | Channel::Memory(_) => None,
        }
    }
}
