//! TLS as a client: chain, name and time are always verified (RFC 9525), TLS 1.2 and 1.3 only.

use super::{Channel, DialError, DialErrorKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest handshake, for those who configured no limit.
const HANDSHAKE_MAX: Duration = Duration::from_secs(600);

/// Chooses the cryptographic provider of the process; call it first thing in `main` and in tests. Later calls do nothing.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A set of trusted authorities, ready to secure connections. Cloning is cheap.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient")
    }
}

impl TlsClient {
    /// Trusts the system's authorities, and those in `ca_file` (PEM) beside them. Reads files: not for the runtime's threads in bulk.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, DialError> {
        install_crypto_provider();
        let mut roots = system_roots().clone();
        if let Some(path) = ca_file {
            let failed = |error: &dyn std::fmt::Display| DialError::new(DialErrorKind::Tls, format!("tls.ca_file {}: {error}", path.display()));
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
            let mut added = 0;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
                added += 1;
            }
            if added == 0 {
                return Err(failed(&"no certificate in it"));
            }
        }
        Ok(TlsClient { config: Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()) })
    }

    /// Secures a TCP channel. The certificate must be valid for `host`, which may be an IP address.
    pub async fn secure(&self, channel: Channel, host: &str, limit: Option<Duration>) -> Result<Channel, DialError> {
        let Channel::Tcp(stream) = channel else {
            return Err(DialError::new(DialErrorKind::Tls, "only a TCP connection can be secured"));
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| DialError::new(DialErrorKind::Tls, format!("`{host}` is not a name that a certificate can have")))?;
        let limit = limit.unwrap_or(HANDSHAKE_MAX);
        match timeout(limit, TlsConnector::from(self.config.clone()).connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Channel::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(DialError::new(DialErrorKind::Tls, format!("TLS handshake with {host} failed: {error}"))),
            Err(_) => Err(DialError::new(DialErrorKind::Timeout, format!("no TLS handshake in {} s", limit.as_secs_f32()))),
        }
    }
}

/// The system's bundle, read once.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}
