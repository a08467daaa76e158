//! The octets of a message in canonical form (see [`super::canonical`]): small ones in memory, large ones in an unlinked file.

use bytes::Bytes;
use std::fs::File;
use std::sync::Arc;

/// The whole message, header and body. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum Content {
    /// All of it.
    Memory(Bytes),
    /// A file without a name in the state directory, complete and never written again. It vanishes with the last handle.
    Spooled {
        /// The file; read it by offset only.
        file: Arc<File>,
        /// Where the message starts in it: not at 0 if it came inside of another one.
        start: u64,
        /// Its length in octets.
        len: u64,
    },
}

impl Content {
    /// The length in octets, line ends as CRLF: what SIZE= says (RFC 1870 §6).
    pub fn len(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::Spooled { len, .. } => *len,
        }
    }

    /// True for a message of no octets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
