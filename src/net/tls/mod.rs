//! TLS as a client. By default chain, name and time are verified (RFC 9525), with TLS 1.2 and 1.3 only; what an operator relaxes is said aloud.

mod binding;
mod certificate;
mod explain;
mod handshake;
mod kept;
#[cfg(feature = "legacy-tls")]
mod legacy;
mod verify;

use super::{Channel, DialError, DialErrorKind};
use crate::config::{ClientCertificate, Tls, TlsBackend, TlsVerify, TlsVersion};
pub use binding::end_point_binding;
pub use certificate::Certificate;
pub use handshake::Handshake;
pub use kept::TlsKept;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest handshake, for those who configured no limit.
const HANDSHAKE_MAX: Duration = Duration::from_secs(600);

/// Chooses the cryptographic provider of the process; call it first thing in `main` and in tests. Later calls do nothing.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Octets that nobody can predict, for nonces. The system's own: the first of AWS-LC's costs 40 ms of gathering entropy, which a process that
/// needs no TLS can do without.
pub fn random_octets<const N: usize>() -> Result<[u8; N], DialError> {
    let mut octets = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut octets[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(more) if more > 0 => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            _ => return Err(DialError::new(DialErrorKind::Tls, "the system has no random octets")),
        }
    }
    Ok(octets)
}

/// A way to secure connections, ready to be used. Cloning is cheap.
#[derive(Clone)]
pub struct TlsClient {
    engine: Engine,
    warning: Option<&'static str>,
}

#[derive(Clone)]
enum Engine {
    Rustls(Arc<ClientConfig>),
    #[cfg(feature = "legacy-tls")]
    OpenSsl(legacy::Connector),
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient")
    }
}

impl TlsClient {
    /// As configured: trusts the system's authorities, and those in `ca_file` (PEM) beside them, unless the certificate itself is named. Reads
    /// files: not for the runtime's threads in bulk.
    pub fn new(tls: &Tls) -> Result<Self, DialError> {
        install_crypto_provider();
        let warning = match (&tls.verify, tls.backend) {
            (TlsVerify::Off, _) => Some("tls.verify is off: whoever sits on the line reads the password and the mail"),
            (_, TlsBackend::OpenSsl { .. }) => Some("tls.backend is openssl: what it takes of old TLS can be broken"),
            _ => None,
        };
        let engine = match tls.backend {
            TlsBackend::Rustls => Engine::Rustls(Arc::new(modern(tls)?)),
            #[cfg(feature = "legacy-tls")]
            TlsBackend::OpenSsl { security_level } => Engine::OpenSsl(legacy::Connector::new(tls, security_level)?),
            #[cfg(not(feature = "legacy-tls"))]
            TlsBackend::OpenSsl { .. } => return Err(ours("this build has no OpenSSL in it: it was made without the feature `legacy-tls`")),
        };
        Ok(TlsClient { engine, warning })
    }

    /// [`TlsClient::new`] on a thread that may block.
    pub async fn load(tls: &Tls) -> Result<Self, DialError> {
        let tls = tls.clone();
        let read = tokio::task::spawn_blocking(move || TlsClient::new(&tls)).await;
        read.unwrap_or_else(|join| Err(ours(join.to_string())))
    }

    /// Secures a TCP channel. The certificate must be valid for `host`, which may be an IP address.
    pub async fn secure(&self, channel: Channel, host: &str, limit: Option<Duration>) -> Result<Channel, DialError> {
        let Channel::Tcp(stream) = channel else {
            return Err(ours("only a TCP connection can be secured"));
        };
        if let Some(warning) = self.warning {
            warn_once(host, warning);
        }
        let limit = limit.unwrap_or(HANDSHAKE_MAX);
        let handshake = async {
            match &self.engine {
                Engine::Rustls(config) => {
                    let name =
                        ServerName::try_from(host.to_owned()).map_err(|_| ours(format!("`{host}` is not a name that a certificate can have")))?;
                    let secured = TlsConnector::from(config.clone()).connect(name, stream).await;
                    secured.map(|stream| Channel::Tls(Box::new(stream))).map_err(|error| explain::handshake(host, &error))
                }
                #[cfg(feature = "legacy-tls")]
                Engine::OpenSsl(connector) => connector.secure(stream, host).await,
            }
        };
        match timeout(limit, handshake).await {
            Ok(secured) => secured,
            Err(_) => Err(DialError::new(DialErrorKind::Timeout, format!("no TLS handshake in {} s", limit.as_secs_f32()))),
        }
    }
}

/// rustls, configured.
fn modern(tls: &Tls) -> Result<ClientConfig, DialError> {
    static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    let versions = match tls.min_version {
        TlsVersion::V1_3 => &ONLY_1_3[..],
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_0 | TlsVersion::V1_1 => return Err(ours("TLS 1.0 and 1.1 need `tls: {backend: openssl}`")),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match &tls.verify {
        TlsVerify::Full => verify::Verifier::full(roots(tls.ca_file.as_deref())?, provider.clone())?,
        TlsVerify::Fingerprint(fingerprints) => verify::Verifier::fingerprint(fingerprints.clone(), &provider),
        TlsVerify::Off => verify::Verifier::off(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(|error| ours(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    match &tls.client_cert {
        None => Ok(builder.with_no_client_auth()),
        Some(files) => {
            let (chain, key) = identity(files)?;
            let failed = |error: rustls::Error| {
                let why = match error {
                    rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
                    other => other.to_string(),
                };
                ours(format!("tls.client_cert {}, tls.client_key {}: {why}", files.cert.display(), files.key.display()))
            };
            builder.with_client_auth_cert(chain, key).map_err(failed)
        }
    }
}

/// The system's authorities and those of a file.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, DialError> {
    let mut roots = system_roots().clone();
    if let Some(path) = ca_file {
        for certificate in roots_file(path)? {
            roots.add(certificate).map_err(|error| ours(format!("tls.ca_file {}: {error}", path.display())))?;
        }
    }
    if roots.is_empty() {
        return Err(ours("this system knows no certificate authority").hint("install the package ca-certificates, or name `tls: {ca_file: …}`"));
    }
    Ok(roots)
}

/// The authorities of `tls.ca_file`.
fn roots_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    certificates("tls.ca_file", path)
}

/// Our certificate and its key.
fn identity(files: &ClientCertificate) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), DialError> {
    let chain = certificates("tls.client_cert", &files.cert)?;
    let failed = |error: &dyn std::fmt::Display| ours(format!("tls.client_key {}: {error}", files.key.display()));
    let mode = std::fs::metadata(&files.key).map_err(|error| failed(&error))?.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(failed(&format!("it has mode {mode:04o}: everybody may use it; chmod 0600 it (0640 at most)")));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => failed(&"no private key in it, or one that is encrypted"),
        error => failed(&error),
    })?;
    Ok((chain, key))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let failed = |error: &dyn std::fmt::Display| ours(format!("{key} {}: {error}", path.display()));
    let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
    let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    if read.is_empty() { Err(failed(&"no certificate in it")) } else { Ok(read) }
}

/// An error on our own side.
fn ours(text: impl Into<String>) -> DialError {
    DialError::new(DialErrorKind::Tls, text)
}

/// Once for each server and reason, as long as the process lives: a line each pass would be read by nobody.
fn warn_once(host: &str, reason: &'static str) {
    static SAID: OnceLock<Mutex<HashSet<(String, &'static str)>>> = OnceLock::new();
    let mut said = SAID.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert((host.to_owned(), reason)) {
        tracing::warn!(event = "tls_not_safe", server = host, reason, next = "see docs/tls.md");
    }
}

/// How many authorities the system has, and what of its bundle cannot be read.
pub fn authorities() -> (usize, Vec<String>) {
    let found = rustls_native_certs::load_native_certs();
    (found.certs.len(), found.errors.iter().map(ToString::to_string).collect())
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
    use tokio::io::AsyncWriteExt;

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
        let tls = Tls { verify: TlsVerify::Off, ..Tls::default() };
        let error = TlsClient::new(&tls).unwrap().secure(channel, "127.0.0.1", limit).await.unwrap_err();
        assert!(error.text.contains("not TLS") && error.hint.is_some_and(|hint| hint.contains("starttls")), "{error:?}");
        drop(server.await);
    }

    #[test]
    fn files_that_are_not_what_they_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let empty = file("empty", "", 0o600);
        let pair = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
            (file(&format!("{name}.pem"), &certificate.pem(), 0o644), file(&format!("{name}.key"), &key.serialize_pem(), 0o600))
        };
        let ((cert, key), (_, other)) = (pair("a"), pair("b"));
        let open = file("open", &std::fs::read_to_string(&key).unwrap(), 0o644);
        let client = |cert: &Path, key: &Path| Tls {
            verify: TlsVerify::Off,
            client_cert: Some(ClientCertificate { cert: cert.into(), key: key.into() }),
            ..Tls::default()
        };
        assert!(TlsClient::new(&client(&cert, &key)).is_ok());
        let missing = folder.path().join("missing");
        for (tls, words) in [
            (Tls { ca_file: Some(empty.clone()), ..Tls::default() }, "no certificate in it"),
            (Tls { ca_file: Some(missing.clone()), ..Tls::default() }, "tls.ca_file"),
            (client(&missing, &key), "tls.client_cert"),
            (client(&cert, &missing), "tls.client_key"),
            (client(&cert, &empty), "no private key"),
            (client(&cert, &other), "does not belong"),
            (client(&cert, &open), "mode 0644"),
            (Tls { min_version: TlsVersion::V1_0, ..Tls::default() }, "backend: openssl"),
        ] {
            let error = TlsClient::new(&tls).unwrap_err();
            assert!(error.text.contains(words), "{words}: {error}");
        }
        #[cfg(not(feature = "legacy-tls"))]
        assert!(
            TlsClient::new(&Tls { backend: TlsBackend::OpenSsl { security_level: None }, ..Tls::default() }).unwrap_err().text.contains("legacy-tls")
        );
    }
}
