//! A message that arrived whole.

use super::{Content, Fingerprint, HeaderBlock, MessageKey, Recipient, TraceId};
use sha2::{Digest, Sha256};
use std::any::Any;

/// A complete message in canonical form, as it came from its source. Nothing that is not complete becomes one.
pub struct Message {
    /// What names it at its source.
    pub key: MessageKey,
    /// Header fields, as ranges of the content.
    pub header: HeaderBlock,
    /// All its octets.
    pub content: Content,
    /// Identity beyond UIDs.
    pub fingerprint: Fingerprint,
    /// The provider's own name for the letter, the same in each folder of the mailbox that shows it (X-GM-MSGID).
    pub letter_id: Option<u64>,
    /// True if any octet is above 127, so that it needs 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// What was put right as it came in.
    pub repairs: Repairs,
    /// The share of the memory budget that it holds; given back when the message is dropped.
    pub budget: Option<Box<dyn Any + Send + Sync>>,
}

/// What [`super::Canonical`] put right in a message: how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// NUL octets that were removed.
    pub nul: u64,
    /// CRs without a LF that became line ends.
    pub bare_cr: u64,
    /// LFs without a CR that became line ends.
    pub bare_lf: u64,
}

impl Message {
    /// The stable id of this message, for trace headers and file names: the same after a crash, a restart and a rename, and another one for
    /// another message to which a server gives a used UIDL.
    pub fn trace_id(&self) -> TraceId {
        let mut hash = Sha256::new();
        hash.update(self.key.trace_id().0);
        hash.update(self.fingerprint.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        TraceId(id)
    }

    /// What makes it the same letter to the same people: its fingerprint and who gets it. A provider puts one copy for each recipient into a
    /// mailbox, alike but for the envelope traces.
    pub fn identity(&self, recipients: &[Recipient]) -> Fingerprint {
        let mut addresses: Vec<String> = recipients.iter().map(|recipient| recipient.address.to_smtp()).collect();
        addresses.sort_unstable();
        let mut hash = Sha256::new_with_prefix(self.fingerprint.0);
        for address in addresses {
            hash.update((address.len() as u64).to_be_bytes());
            hash.update(address);
        }
        Fingerprint(hash.finalize().into())
    }

    /// Which copy of a letter this is, whatever the rules say about it: its fingerprint, and each header field that names a hop or an address. Two
    /// copies that a provider made for two recipients differ there, and one copy that is fetched twice does not.
    pub fn copy_hash(&self) -> Fingerprint {
        let mut hash = Sha256::new_with_prefix(self.fingerprint.0);
        for field in self.header.fields() {
            let (name, value) = (self.header.name(field), self.header.value(field).trim_ascii());
            if name.eq_ignore_ascii_case(b"Received") || value.contains(&b'@') {
                for part in [name, value] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
        }
        Fingerprint(hash.finalize().into())
    }

    /// True if it says when or by which name it was written. Without either, equal messages are different mail: alarms, test prints.
    pub fn has_identity(&self) -> bool {
        ["Message-ID", "Date"].into_iter().any(|name| self.header.first(name).is_some_and(|field| !self.header.value(field).trim_ascii().is_empty()))
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("key", &self.key).field("octets", &self.content.len()).finish_non_exhaustive()
    }
}
