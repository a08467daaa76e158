//! TLS as a client: chain, name and time are always verified (RFC 9525), TLS 1.2 and 1.3 only.

use super::{Channel, DialError, DialErrorKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
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
            Ok(Err(error)) => {
                let (text, hint) = explain(&error);
                let failed = DialError::new(DialErrorKind::Tls, format!("TLS handshake with {host} failed: {text}"));
                Err(if let Some(hint) = hint { failed.hint(hint) } else { failed })
            }
            Err(_) => Err(DialError::new(DialErrorKind::Timeout, format!("no TLS handshake in {} s", limit.as_secs_f32()))),
        }
    }
}

/// An error of a handshake in an operator's words, and what to do about it.
fn explain(error: &std::io::Error) -> (String, Option<&'static str>) {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return (error.to_string(), None);
    };
    let (text, hint) = match tls {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => (
                "the certificate is not trusted: unknown issuer",
                "the certificate's authority is unknown here: name its file by `tls: {ca_file: …}`",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ("the certificate is not valid for this name", "the certificate is for other names: use a name that it has as `server`")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ("the certificate has expired", "the server's owner has to renew it; if it is valid, check this host's clock")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ("the certificate is not valid yet", "check this host's clock")
            }
            // The type of what is inside belongs to the verifier's crate, which nothing else here needs: its name has to do.
            CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
                "the certificate is not trusted: it is a CA certificate",
                "the server sends a CA certificate as its own (often self-signed): let it use one with `basicConstraints=CA:FALSE`, signed by that CA, \
                 and name the CA's file by `tls: {ca_file: …}`",
            ),
            other => return (format!("the certificate is not trusted: {other}"), None),
        },
        rustls::Error::InvalidMessage(_) => (
            "the server's answer is not TLS",
            "this port does not speak TLS from the first octet: try `tls: {mode: starttls}`, or the port of implicit TLS (993, 995)",
        ),
        other => return (other.to_string(), None),
    };
    (text.to_owned(), Some(hint))
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{Error, InvalidMessage, OtherError};
    use tokio::io::AsyncWriteExt;

    #[test]
    fn errors_in_operators_words() {
        #[derive(Debug)]
        struct CaUsedAsEndEntity;
        impl std::fmt::Display for CaUsedAsEndEntity {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("CaUsedAsEndEntity")
            }
        }
        impl std::error::Error for CaUsedAsEndEntity {}
        let ca = CertificateError::Other(OtherError(Arc::new(CaUsedAsEndEntity)));
        for (error, text, hint) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "not trusted: unknown issuer", "ca_file"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "not valid for this name", "other names"),
            (Error::InvalidCertificate(CertificateError::Expired), "expired", "renew"),
            (Error::InvalidCertificate(CertificateError::NotValidYet), "not valid yet", "clock"),
            (Error::InvalidCertificate(ca), "a CA certificate", "CA:FALSE"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "not TLS", "mode: starttls"),
        ] {
            let (said, advised) = explain(&std::io::Error::new(std::io::ErrorKind::InvalidData, error));
            assert!(said.contains(text) && advised.is_some_and(|advised| advised.contains(hint)), "{text}: {said} {advised:?}");
        }
        assert_eq!(explain(&std::io::ErrorKind::UnexpectedEof.into()).1, None);
    }

    /// The errors as they come out of a handshake, wrapped as they are.
    #[tokio::test]
    async fn a_port_that_speaks_no_tls_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"* OK hello, this is IMAP\r\n").await.unwrap();
            stream
        });
        let limit = Some(Duration::from_secs(20));
        let channel = super::super::tcp("127.0.0.1", port, limit).await.unwrap();
        let error = TlsClient::new(None).unwrap().secure(channel, "127.0.0.1", limit).await.unwrap_err();
        assert!(error.text.contains("not TLS") && error.hint.is_some_and(|hint| hint.contains("starttls")), "{error:?}");
        drop(server.await);
    }
}
