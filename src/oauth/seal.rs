//! What is kept of tokens, sealed with a key of the operator's: AES-256-GCM, the key derived by HMAC-SHA-256 (RFC 5869), the collector's name bound in.

use crate::mail::Secret;
use crate::net;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// Shortest key that is taken, in octets.
const KEY_OCTETS_MIN: usize = 16;
/// What the key is for: another purpose has another one.
const PURPOSE: &[u8] = b"mailgather tokens 1";

/// Seals a text; `name` has to be the same when it is opened. The error holds nothing of either.
pub fn seal(key: &Secret, name: &str, text: &Secret) -> Result<Secret, &'static str> {
    let nonce: [u8; NONCE_LEN] = net::random_octets().map_err(|_| "the system has no random octets")?;
    let mut octets = text.expose().as_bytes().to_vec();
    let sealed = cipher(key)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name.as_bytes()), &mut octets);
    sealed.map_err(|_| "it cannot be sealed")?;
    Ok(Secret::new(json!({"form": 1, "nonce": STANDARD.encode(nonce), "sealed": STANDARD.encode(&octets)}).to_string()))
}

/// True if this is something sealed.
pub fn is_sealed(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value.get("sealed").is_some())
}

/// Opens it again.
pub fn open(key: &Secret, name: &str, text: &str) -> Result<Secret, &'static str> {
    let broken = "it is damaged";
    let value: Value = serde_json::from_str(text).map_err(|_| broken)?;
    let octets = |field: &str| value[field].as_str().and_then(|text| STANDARD.decode(text).ok()).ok_or(broken);
    let nonce = Nonce::try_assume_unique_for_key(&octets("nonce")?).map_err(|_| broken)?;
    let mut octets = octets("sealed")?;
    let opened = cipher(key)?.open_in_place(nonce, Aad::from(name.as_bytes()), &mut octets);
    let opened = opened.map_err(|_| "it was sealed with another key, or is damaged")?;
    String::from_utf8(opened.to_vec()).map(Secret::new).map_err(|_| broken)
}

fn cipher(key: &Secret) -> Result<LessSafeKey, &'static str> {
    if key.expose().len() < KEY_OCTETS_MIN {
        return Err("the key is shorter than 16 octets");
    }
    // RFC 5869 with an empty salt and one block of output. HMAC takes keys of any length.
    let mac = |key: &[u8], text: &[&[u8]]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| "the key cannot be used")?;
        text.iter().for_each(|text| mac.update(text));
        Ok::<_, &'static str>(mac.finalize().into_bytes())
    };
    let extracted = mac(&[0; 32], &[key.expose().as_bytes()])?;
    let derived = mac(&extracted, &[PURPOSE, &[1]])?;
    let key = UnboundKey::new(&AES_256_GCM, &derived).map_err(|_| "the key cannot be used")?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_and_the_name_open_it() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let (key, other, text) = (secret("0123456789abcdef"), secret("0123456789abcdeF"), secret("{\"access_token\":\"x\"}"));
        let sealed = seal(&key, "a", &text).unwrap();
        assert!(is_sealed(sealed.expose()) && !is_sealed(text.expose()) && !sealed.expose().contains("access"));
        assert_ne!(sealed, seal(&key, "a", &text).unwrap());
        assert_eq!(open(&key, "a", sealed.expose()).unwrap(), text);
        assert!(open(&other, "a", sealed.expose()).is_err() && open(&key, "b", sealed.expose()).is_err());
        assert!(open(&key, "a", "{}").is_err() && open(&key, "a", "").is_err());
        assert_eq!(seal(&secret("short"), "a", &text), Err("the key is shorter than 16 octets"));
        // A changed octet.
        let flipped = sealed.expose().replacen("\"sealed\":\"A", "\"sealed\":\"B", 1).replacen("\"sealed\":\"", "\"sealed\":\"AAAA", 1);
        assert!(open(&key, "a", &flipped).is_err());
    }
}
