//! A message that arrived whole.

use super::{Content, Fingerprint, HeaderBlock, MessageKey};
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
    /// True if any octet is above 127, so that it needs 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// The share of the memory budget that it holds; given back when the message is dropped.
    pub budget: Option<Box<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("key", &self.key).field("octets", &self.content.len()).finish_non_exhaustive()
    }
}
