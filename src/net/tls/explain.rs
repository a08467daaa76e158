//! Errors of a handshake in an operator's words, and what to do about each.

use super::super::{DialError, DialErrorKind};
use super::verify::Untrusted;
use rustls::{AlertDescription, CertificateError, Error};

const OLD_HINT: &str = "the server speaks older TLS than 1.2, or only weak ciphers: have it renewed; if that cannot be, see `backend: openssl` in \
                        docs/tls.md";
const CLIENT_HINT: &str = "the server wants a client certificate, or another one: `tls: {client_cert: …, client_key: …}`";

/// A handshake that failed.
pub(super) fn handshake(host: &str, error: &std::io::Error) -> DialError {
    let (text, hint) = explain(error);
    let failed = DialError::new(DialErrorKind::Tls, format!("TLS handshake with {host} failed: {text}"));
    if let Some(hint) = hint { failed.hint(hint) } else { failed }
}

fn explain(error: &std::io::Error) -> (String, Option<&'static str>) {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
                ("the server closed the connection in the handshake".to_owned(), Some("the port may not speak TLS, or only older TLS than 1.2"))
            }
            _ => (error.to_string(), None),
        };
    };
    match tls {
        Error::InvalidCertificate(CertificateError::Other(other)) => match other.0.downcast_ref::<Untrusted>() {
            Some(untrusted) => of_certificate(untrusted),
            None => (format!("the certificate is not trusted: {}", other.0), None),
        },
        Error::InvalidCertificate(CertificateError::BadSignature) => ("the server does not hold the key of its certificate".to_owned(), None),
        Error::InvalidCertificate(why) => (format!("the certificate is not trusted: {why}"), Some("its key or its signature is too weak or too odd")),
        Error::InvalidMessage(_) => (
            "the server's answer is not TLS".to_owned(),
            Some("this port does not speak TLS from the first octet: try `tls: {mode: starttls}`, or the port of implicit TLS (993, 995)"),
        ),
        Error::PeerIncompatible(why) => (format!("no TLS version or cipher in common: {why:?}"), Some(OLD_HINT)),
        Error::AlertReceived(alert) => {
            use AlertDescription::*;
            let hint = match alert {
                ProtocolVersion | HandshakeFailure | InsufficientSecurity => Some(OLD_HINT),
                CertificateRequired | BadCertificate | UnknownCA | CertificateUnknown | CertificateExpired | CertificateRevoked | AccessDenied => {
                    Some(CLIENT_HINT)
                }
                _ => None,
            };
            (format!("the server says {alert:?}"), hint)
        }
        other => (other.to_string(), None),
    }
}

/// Why it is not taken, and what it says of itself: whoever has to decide needs both.
fn of_certificate(untrusted: &Untrusted) -> (String, Option<&'static str>) {
    let (text, hint) = verdict(untrusted);
    match &untrusted.certificate {
        Some(certificate) => (format!("{text}; {certificate}"), hint),
        None => (text, hint),
    }
}

fn verdict(untrusted: &Untrusted) -> (String, Option<&'static str>) {
    let own = fingerprint(&untrusted.fingerprint);
    let Some(why) = &untrusted.why else {
        let text = format!("the certificate is not one of `tls.fingerprint`: its SHA-256 is {own}");
        return (text, Some("if the server's owner has renewed the certificate, and confirms it, write the new one; else somebody sits on the line"));
    };
    let (text, hint) = match why {
        CertificateError::UnknownIssuer => (
            format!("the certificate is not trusted: unknown issuer; its SHA-256 is {own}"),
            "the certificate's authority is unknown here: name its file by `tls: {ca_file: …}`, or the certificate itself by `tls: {fingerprint: …}`",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("the certificate is not valid for this name".to_owned(), "the certificate is for other names: use a name that it has as `server`")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("the certificate has expired".to_owned(), "the server's owner has to renew it; if it is valid, check this host's clock")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("the certificate is not valid yet".to_owned(), "check this host's clock")
        }
        // The type of what is inside belongs to the verifier's crate, which nothing else here needs: its name has to do.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
            format!("the certificate is not trusted: it is a CA certificate; its SHA-256 is {own}"),
            "the server sends a CA certificate as its own (often self-signed): let it use one with `basicConstraints=CA:FALSE`, signed by that CA, \
             and name the CA's file by `tls: {ca_file: …}`; or name the certificate itself by `tls: {fingerprint: …}`",
        ),
        CertificateError::BadSignature => (
            format!(
                "the certificate is not trusted: the authority that it names did not sign it, or a key is too weak (RSA below 2048 bits); its SHA-256 \
                 is {own}"
            ),
            "let the server's owner replace it; name the right authority by `tls: {ca_file: …}`, or the certificate itself by `tls: {fingerprint: …}`",
        ),
        other => (
            format!("the certificate is not trusted: {other:?}; its SHA-256 is {own}"),
            "let the server's owner replace it; one that is known can be named by `tls: {fingerprint: …}`",
        ),
    };
    (text, Some(hint))
}

/// As openssl prints it.
pub(super) fn fingerprint(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{InvalidMessage, OtherError, PeerIncompatible};
    use std::sync::Arc;

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
        let other = |inner: OtherError| CertificateError::Other(inner);
        let untrusted = |why| Error::InvalidCertificate(other(OtherError(Arc::new(Untrusted { why, fingerprint: [0xab; 32], certificate: None }))));
        let ca = other(OtherError(Arc::new(CaUsedAsEndEntity)));
        for (error, text, hint) in [
            (untrusted(Some(CertificateError::UnknownIssuer)), "not trusted: unknown issuer; its SHA-256 is AB:AB:", "ca_file"),
            (untrusted(Some(CertificateError::NotValidForName)), "not valid for this name", "other names"),
            (untrusted(Some(CertificateError::Expired)), "expired", "renew"),
            (untrusted(Some(CertificateError::NotValidYet)), "not valid yet", "clock"),
            (untrusted(Some(ca)), "a CA certificate", "CA:FALSE"),
            (untrusted(Some(CertificateError::BadEncoding)), "BadEncoding", "replace it"),
            (untrusted(Some(CertificateError::BadSignature)), "too weak", "replace it"),
            (untrusted(None), "not one of `tls.fingerprint`: its SHA-256 is AB:AB:", "sits on the line"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "not TLS", "mode: starttls"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "ProtocolVersion", "backend: openssl"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "CertificateRequired", "client_cert"),
            (Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig), "in common", "backend: openssl"),
        ] {
            let (said, advised) = explain(&std::io::Error::new(std::io::ErrorKind::InvalidData, error));
            assert!(said.contains(text) && advised.is_some_and(|advised| advised.contains(hint)), "{text}: {said} {advised:?}");
        }
        assert!(explain(&std::io::ErrorKind::UnexpectedEof.into()).0.contains("closed the connection"));
    }
}
