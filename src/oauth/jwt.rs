//! Statements that are signed with RSA (RFC 7515, RFC 7518 §3.3 and §3.5): by a client about itself, by a service account about a mailbox.

use crate::mail::Secret;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// How a statement is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// PKCS #1 v1.5: what everybody takes.
    Rs256,
    /// PSS: what Microsoft recommends.
    Ps256,
}

/// A statement, signed. `header` is added to the algorithm; the key is PEM (PKCS #8 or PKCS #1). The error holds nothing of the key.
pub fn signed(algorithm: Algorithm, mut header: Map<String, Value>, claims: &Value, key: &Secret) -> Result<Secret, &'static str> {
    let name = match algorithm {
        Algorithm::Rs256 => "RS256",
        Algorithm::Ps256 => "PS256",
    };
    header.insert("alg".to_owned(), name.into());
    header.insert("typ".to_owned(), "JWT".into());
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(Value::Object(header).to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = pair(key)?;
    let mut signature = vec![0; key.public_modulus_len()];
    let padding: &dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_SHA256,
        Algorithm::Ps256 => &RSA_PSS_SHA256,
    };
    key.sign(padding, &SystemRandom::new(), text.as_bytes(), &mut signature).map_err(|_| "nothing can be signed with this key")?;
    Ok(Secret::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

fn pair(key: &Secret) -> Result<RsaKeyPair, &'static str> {
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| "it is no private key in PEM form, or has a passphrase")?;
    let pair = match &key {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err("it is no RSA key"),
    };
    pair.map_err(|_| "it is no RSA key of 2048 to 8192 bits")
}

/// `x5t#S256` (RFC 7515 §4.1.8): tells which certificate goes with the key.
pub fn thumbprint(certificate: &[u8]) -> Result<String, &'static str> {
    let der = CertificateDer::from_pem_slice(certificate).map_err(|_| "it is no certificate in PEM form")?;
    Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(&der)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::json;

    /// Made for this test, and of no other use.
    fn key() -> (rcgen::KeyPair, Secret) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let pem = Secret::new(key.serialize_pem());
        (key, pem)
    }

    #[test]
    fn what_is_signed_can_be_verified() {
        let (key, pem) = key();
        let header = Map::from_iter([("kid".to_owned(), json!("k1"))]);
        for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
            let statement = signed(algorithm, header.clone(), &json!({"iss": "me"}), &pem).unwrap();
            let (text, signature) = statement.expose().rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let public = pair(&pem).unwrap().public_key().as_ref().to_vec();
            match algorithm {
                Algorithm::Rs256 => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(text.as_bytes(), &signature).unwrap(),
                Algorithm::Ps256 => UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public).verify(text.as_bytes(), &signature).unwrap(),
            }
            let (head, claims) = text.split_once('.').unwrap();
            let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
            assert_eq!((&read(head)["kid"], &read(head)["typ"], &read(claims)["iss"]), (&json!("k1"), &json!("JWT"), &json!("me")));
            assert_eq!(read(head)["alg"], if algorithm == Algorithm::Rs256 { "RS256" } else { "PS256" });
        }
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let wanted = URL_SAFE_NO_PAD.encode(Sha256::digest(certificate.der()));
        assert_eq!(thumbprint(certificate.pem().as_bytes()), Ok(wanted));
    }

    #[test]
    fn what_is_no_key() {
        let of = |text: &str| signed(Algorithm::Rs256, Map::new(), &json!({}), &Secret::new(text.to_owned())).unwrap_err();
        assert!(of("hunter2").contains("no private key"));
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(of(&other).contains("no RSA key"));
        assert!(thumbprint(b"x").is_err());
    }
}
