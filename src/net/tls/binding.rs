//! The channel binding `tls-server-end-point` (RFC 5929 §4): what ties a login to the server whose certificate we have seen, so that nobody in between can
//! pass it on. It is the hash of the certificate, by the hash of its own signature.

use super::certificate::Reader;
use crate::net::Channel;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
/// `[0]`, constructed: the hash among the parameters of RSASSA-PSS.
const PSS_HASH: u8 = 0xa0;

/// pkcs-1 (RFC 8017): its last octet tells the algorithm.
const PKCS_1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
/// ecdsa-with-SHA1, and ecdsa-with-SHA2 (RFC 5758 §3.2), whose last octet tells the hash.
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
/// DSA with SHA-1, and with SHA-2.
const DSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3];
const DSA_SHA2: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3];
/// The hashes of NIST, by their last octet (RFC 5754 §2).
const NIST_HASH: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The binding of a channel; `None` without TLS, and where the RFC defines none.
pub fn end_point_binding(channel: &Channel) -> Option<Vec<u8>> {
    match channel {
        Channel::Tls(stream) => stream.get_ref().1.peer_certificates()?.first().and_then(|leaf| of_certificate(leaf)),
        #[cfg(feature = "legacy-tls")]
        Channel::OpenSsl(stream) => stream.ssl().peer_certificate()?.to_der().ok().and_then(|leaf| of_certificate(&leaf)),
        Channel::Tcp(_) | Channel::Unix(_) | Channel::Memory(_) => None,
    }
}

/// The binding of a server with this certificate, in DER.
fn of_certificate(der: &[u8]) -> Option<Vec<u8>> {
    let (certificate, _) = Reader(der).element(SEQUENCE)?;
    let (_, rest) = certificate.element(SEQUENCE)?;
    let (algorithm, _) = rest.element(SEQUENCE)?;
    Some(match hash_of(algorithm)? {
        Hash::Sha224 => Sha224::digest(der).to_vec(),
        Hash::Sha256 => Sha256::digest(der).to_vec(),
        Hash::Sha384 => Sha384::digest(der).to_vec(),
        Hash::Sha512 => Sha512::digest(der).to_vec(),
    })
}

/// The hash to be used for a signature. MD5 and SHA-1 stand for SHA-256 (RFC 5929 §4.1); one that has none of its own (Ed25519) leaves the binding undefined.
fn hash_of(algorithm: Reader<'_>) -> Option<Hash> {
    let (oid, parameters) = algorithm.element(OID)?;
    let (&last, family) = oid.0.split_last()?;
    if oid.0 == ECDSA_SHA1 || oid.0 == DSA_SHA1 {
        return Some(Hash::Sha256);
    }
    match (family, last) {
        (PKCS_1, 10) => of_pss(parameters),
        (PKCS_1, 4 | 5 | 11) | (ECDSA_SHA2 | DSA_SHA2, 2) => Some(Hash::Sha256),
        (PKCS_1, 12) | (ECDSA_SHA2 | DSA_SHA2, 3) => Some(Hash::Sha384),
        (PKCS_1, 13) | (ECDSA_SHA2 | DSA_SHA2, 4) => Some(Hash::Sha512),
        (PKCS_1, 14) | (ECDSA_SHA2 | DSA_SHA2, 1) => Some(Hash::Sha224),
        _ => None,
    }
}

/// RSASSA-PSS names its hash beside it; SHA-1 is what stands for none (RFC 4055 §3.1).
fn of_pss(parameters: Reader<'_>) -> Option<Hash> {
    let named = parameters.element(SEQUENCE).and_then(|(inside, _)| inside.element(PSS_HASH)).and_then(|(inside, _)| inside.element(SEQUENCE));
    let Some((oid, _)) = named.and_then(|(algorithm, _)| algorithm.element(OID)) else { return Some(Hash::Sha256) };
    match oid.0.split_last()? {
        (1, NIST_HASH) => Some(Hash::Sha256),
        (2, NIST_HASH) => Some(Hash::Sha384),
        (3, NIST_HASH) => Some(Hash::Sha512),
        (4, NIST_HASH) => Some(Hash::Sha224),
        // MD5, SHA-1.
        _ => Some(Hash::Sha256),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A certificate as far as it is looked at: something signed, and by which algorithm.
    fn certificate(algorithm: &[u8]) -> Vec<u8> {
        let of = |tag: u8, inside: &[u8]| [&[tag, inside.len() as u8], inside].concat();
        of(SEQUENCE, &[of(SEQUENCE, b"tbs"), of(SEQUENCE, algorithm), of(3, b"signature")].concat())
    }

    fn oid(octets: &[u8], last: u8) -> Vec<u8> {
        [&[OID, octets.len() as u8 + 1], octets, &[last]].concat()
    }

    #[test]
    fn the_hash_of_the_signature() {
        let pss = |hash: &[u8]| {
            let of = |tag: u8, inside: &[u8]| [&[tag, inside.len() as u8], inside].concat();
            let named = if hash.is_empty() { Vec::new() } else { of(PSS_HASH, &of(SEQUENCE, hash)) };
            [oid(PKCS_1, 10), of(SEQUENCE, &named)].concat()
        };
        for (algorithm, octets) in [
            (oid(PKCS_1, 4), Some(32)),
            (oid(PKCS_1, 5), Some(32)),
            (oid(PKCS_1, 11), Some(32)),
            (oid(PKCS_1, 12), Some(48)),
            (oid(PKCS_1, 13), Some(64)),
            (oid(PKCS_1, 14), Some(28)),
            (oid(&ECDSA_SHA1[..6], 1), Some(32)),
            (oid(ECDSA_SHA2, 2), Some(32)),
            (oid(ECDSA_SHA2, 3), Some(48)),
            (oid(ECDSA_SHA2, 4), Some(64)),
            (pss(&[]), Some(32)),
            (pss(&oid(NIST_HASH, 2)), Some(48)),
            (pss(&oid(NIST_HASH, 3)), Some(64)),
            // Ed25519.
            (oid(&[0x2b, 0x65], 0x70), None),
        ] {
            let der = certificate(&algorithm);
            let binding = of_certificate(&der);
            assert_eq!(binding.as_ref().map(Vec::len), octets, "{algorithm:x?}");
            if octets == Some(32) {
                assert_eq!(binding.unwrap(), Sha256::digest(&der).to_vec());
            }
        }
        assert!(of_certificate(b"").is_none() && of_certificate(&[0x30, 0]).is_none());
    }

    #[test]
    fn a_real_certificate_has_one() {
        let made = rcgen::generate_simple_self_signed(["mail.corp.example".to_owned()]).unwrap();
        let der = made.cert.der();
        assert_eq!(of_certificate(der).unwrap(), Sha256::digest(der).to_vec());
    }

    proptest! {
        #[test]
        fn any_octets_end(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = of_certificate(&octets);
        }
    }
}
