//! CRAM-MD5 (RFC 2195).

use crate::mail::Secret;
use hmac::{Hmac, Mac};
use md5::Md5;

/// Login name, a blank, and the keyed hash of the challenge.
pub(super) fn response(username: &str, password: &Secret, challenge: &[u8]) -> String {
    let digest = keyed(password.expose().as_bytes(), challenge);
    format!("{username} {}", hex(&digest))
}

fn keyed(key: &[u8], message: &[u8]) -> [u8; 16] {
    // HMAC takes keys of any length; without one there is no digest that a server would take.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key) else { return [0; 16] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// In small letters, as RFC 2195 and RFC 1939 want it.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
