//! Proof Key for Code Exchange (RFC 7636): whoever sees the code on its way through a browser cannot use it.

use crate::mail::Secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What only we know.
#[derive(Clone, Debug)]
pub struct Verifier(Secret);

impl Verifier {
    /// From 32 random octets (§4.1).
    pub fn of(random: [u8; 32]) -> Self {
        Verifier(Secret::new(URL_SAFE_NO_PAD.encode(random)))
    }

    /// What the token endpoint is told.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// What the browser carries: `S256` (§4.2).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.expose().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_the_rfc() {
        // RFC 7636 Appendix B.
        let octets = [
            116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132,
            141, 121,
        ];
        let verifier = Verifier::of(octets);
        assert_eq!(verifier.secret().expose(), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(verifier.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
