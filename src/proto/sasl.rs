//! SASL, as far as all three protocols share it.

use crate::mail::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The one message of PLAIN (RFC 4616 §2) in base 64: no authorisation identity, login name, password. `None` if one of them holds a NUL,
/// which PLAIN cannot carry.
pub fn plain(username: &str, password: &Secret) -> Option<Secret> {
    if username.contains('\0') || password.expose().contains('\0') {
        return None;
    }
    let message = Secret::new(format!("\0{username}\0{}", password.expose()));
    Some(Secret::new(STANDARD.encode(message.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_rfc_4616() {
        assert_eq!(plain("tim", &Secret::new("tanstaaftanstaaf".into())).unwrap().expose(), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
        assert!(plain("a\0b", &Secret::new("c".into())).is_none());
        assert!(plain("a", &Secret::new("b\0c".into())).is_none());
    }
}
