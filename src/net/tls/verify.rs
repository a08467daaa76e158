//! How a server's certificate is judged.

use super::certificate::Certificate;
use super::ours;
use crate::net::DialError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The judge. Whatever it asks of the certificate, the server must show that it holds the certificate's key.
#[derive(Debug)]
pub(super) struct Verifier {
    policy: Policy,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Policy {
    Full(Arc<WebPkiServerVerifier>),
    Fingerprint(Vec<[u8; 32]>),
    Off,
}

/// A certificate that is not taken, and its fingerprint, by which an operator can name it.
#[derive(Debug)]
pub(super) struct Untrusted {
    pub(super) why: Option<CertificateError>,
    pub(super) fingerprint: [u8; 32],
    /// What it says of itself, if it can be read.
    pub(super) certificate: Option<Certificate>,
}

impl std::fmt::Display for Untrusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("untrusted")
    }
}

impl std::error::Error for Untrusted {}

impl Verifier {
    pub(super) fn full(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Self, DialError> {
        let algorithms = provider.signature_verification_algorithms;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Verifier { policy: Policy::Full(verifier.map_err(|error| ours(error.to_string()))?), algorithms })
    }

    pub(super) fn fingerprint(fingerprints: Vec<[u8; 32]>, provider: &CryptoProvider) -> Self {
        Verifier { policy: Policy::Fingerprint(fingerprints), algorithms: provider.signature_verification_algorithms }
    }

    pub(super) fn off(provider: &CryptoProvider) -> Self {
        Verifier { policy: Policy::Off, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint: [u8; 32] = Sha256::digest(end_entity).into();
        let untrusted = |why| {
            let untrusted = Untrusted { why, fingerprint, certificate: Certificate::read(end_entity) };
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted))))
        };
        match &self.policy {
            Policy::Full(verifier) => match verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                Err(Error::InvalidCertificate(why)) => Err(untrusted(Some(why))),
                other => other,
            },
            Policy::Fingerprint(fingerprints) if !fingerprints.contains(&fingerprint) => Err(untrusted(None)),
            Policy::Fingerprint(_) | Policy::Off => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
