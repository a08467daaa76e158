//! Old TLS by the system's OpenSSL, for servers that speak nothing better. On purpose only; the same rules for certificates hold.

use super::explain::fingerprint;
use super::{identity, ours, roots_file};
use crate::config::{Tls, TlsVerify, TlsVersion};
use crate::net::{Channel, DialError};
use openssl::hash::MessageDigest;
use openssl::ssl::{Ssl, SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslOptions, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use openssl::x509::verify::X509CheckFlags;
use std::pin::Pin;
use tokio::net::TcpStream;

/// SSL_OP_LEGACY_SERVER_CONNECT: a server without RFC 5746 is taken, as those of that age are.
const LEGACY_SERVER_CONNECT: u64 = 1 << 2;

#[derive(Clone)]
pub(super) struct Connector {
    connector: SslConnector,
    verify: TlsVerify,
}

impl Connector {
    pub(super) fn new(tls: &Tls, security_level: Option<u8>) -> Result<Self, DialError> {
        let connector = build(tls, security_level).map_err(|error| ours(format!("OpenSSL: {error}")))??;
        Ok(Connector { connector, verify: tls.verify.clone() })
    }

    pub(super) async fn secure(&self, stream: TcpStream, host: &str) -> Result<Channel, DialError> {
        let failed = |why: String| ours(format!("TLS handshake with {host} failed: {why}"));
        let ssl = self.prepare(host).map_err(|error| failed(error.to_string()))?;
        let mut secured = tokio_openssl::SslStream::new(ssl, stream).map_err(|error| failed(error.to_string()))?;
        if let Err(error) = Pin::new(&mut secured).connect().await {
            let verdict = secured.ssl().verify_result();
            let why =
                if verdict == openssl::x509::X509VerifyResult::OK { error.to_string() } else { format!("the certificate is not trusted: {verdict}") };
            return Err(failed(why));
        }
        if let TlsVerify::Fingerprint(fingerprints) = &self.verify {
            let certificate = secured.ssl().peer_certificate().and_then(|certificate| certificate.digest(MessageDigest::sha256()).ok());
            let own = certificate.as_deref().unwrap_or_default();
            if !fingerprints.iter().any(|fingerprint| fingerprint == own) {
                return Err(failed(format!("the certificate is not one of `tls.fingerprint`: its SHA-256 is {}", fingerprint(own))));
            }
        }
        Ok(Channel::OpenSsl(Box::new(secured)))
    }

    fn prepare(&self, host: &str) -> Result<Ssl, openssl::error::ErrorStack> {
        let mut configured = self.connector.configure()?;
        if self.verify != TlsVerify::Full {
            return configured.verify_hostname(false).into_ssl(host);
        }
        // A name in CN alone is none (RFC 9525 §2), as with rustls.
        configured.param_mut().set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT);
        configured.into_ssl(host)
    }
}

type Built = Result<Result<SslConnector, DialError>, openssl::error::ErrorStack>;

fn build(tls: &Tls, security_level: Option<u8>) -> Built {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(match tls.min_version {
        TlsVersion::V1_0 => SslVersion::TLS1,
        TlsVersion::V1_1 => SslVersion::TLS1_1,
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }))?;
    if let Some(level) = security_level {
        builder.set_security_level(u32::from(level));
        if level == 0 {
            builder.set_options(SslOptions::from_bits_retain(LEGACY_SERVER_CONNECT));
        }
    }
    builder.set_verify(if tls.verify == TlsVerify::Full { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
    if let Err(error) = files(&mut builder, tls)? {
        return Ok(Err(error));
    }
    Ok(Ok(builder.build()))
}

fn files(builder: &mut SslConnectorBuilder, tls: &Tls) -> Result<Result<(), DialError>, openssl::error::ErrorStack> {
    if let Some(path) = &tls.ca_file {
        match roots_file(path) {
            Ok(certificates) => {
                for certificate in certificates {
                    builder.cert_store_mut().add_cert(X509::from_der(&certificate)?)?;
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    if let Some(client) = &tls.client_cert {
        // The same checks, with the same words, as without OpenSSL.
        if let Err(error) = identity(client) {
            return Ok(Err(error));
        }
        builder.set_certificate_chain_file(&client.cert)?;
        builder.set_private_key_file(&client.key, SslFiletype::PEM)?;
        builder.check_private_key()?;
    }
    Ok(Ok(()))
}
