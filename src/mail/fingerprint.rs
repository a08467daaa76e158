//! What tells two messages apart when their UIDs cannot: after a change of UIDVALIDITY, or where a server uses an UIDL again.

use super::HeaderBlock;
use sha2::{Digest, Sha256};
use std::fmt;

/// SHA-256 over Message-ID, Date, From and Subject, as they stand in the header, and the body in canonical form. Trace fields are left
/// out: they differ between copies of one message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Combines the identity fields of a header with the SHA-256 of the body.
    pub fn new(header: &HeaderBlock, body_sha256: [u8; 32]) -> Self {
        let mut hash = Sha256::new();
        for name in ["Message-ID", "Date", "From", "Subject"] {
            let value = header.first(name).map(|field| header.value(field).trim_ascii()).unwrap_or_default();
            hash.update((value.len() as u64).to_be_bytes());
            hash.update(value);
        }
        hash.update(body_sha256);
        Fingerprint(hash.finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
