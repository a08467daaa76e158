//! What names a message at its source, stable over restarts and renames.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// The name of a collector: the key of its block in the YAML, `[A-Za-z0-9_-]{1,64}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectorId(Arc<str>);

impl CollectorId {
    /// Longest name, in characters.
    pub const CHARS_MAX: usize = 64;

    /// The id, or `None` if the text is not one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::CHARS_MAX).contains(&text.len());
        let safe = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        (fits && safe).then(|| CollectorId(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CollectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The mailbox that state belongs to: what it is reached by, not what the collector is called. Renaming a collector keeps its state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxId {
    /// `imap` or `pop3`.
    pub protocol: &'static str,
    /// The server, lower case, as configured.
    pub host: String,
    /// The login name, as configured.
    pub login: String,
}

impl fmt::Display for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}@{}", self.protocol, self.login, self.host)
    }
}

/// The name of a folder in a mailbox, decoded to Unicode. POP3 has one, `INBOX`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderName(Arc<str>);

impl FolderName {
    /// The folder that every mailbox has (RFC 9051 §5.1).
    pub fn inbox() -> Self {
        FolderName("INBOX".into())
    }

    /// A folder by its decoded name.
    pub fn new(text: &str) -> Self {
        FolderName(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The numbering that UIDs of a folder belong to: UIDVALIDITY (RFC 9051 §2.3.1.1), and 0 for POP3, whose UIDLs need none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the source calls a message inside an epoch.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RemoteUid {
    /// An IMAP UID (RFC 9051 §2.3.1.1), ascending.
    Number(u32),
    /// A POP3 UIDL (RFC 1939 §7): any octets, as servers in the wild send longer and stranger ones than the RFC allows.
    Opaque(Arc<[u8]>),
}

impl RemoteUid {
    /// The IMAP UID, if it is one.
    pub fn number(&self) -> Option<u32> {
        match self {
            RemoteUid::Number(uid) => Some(*uid),
            RemoteUid::Opaque(_) => None,
        }
    }
}

impl fmt::Display for RemoteUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteUid::Number(uid) => uid.fmt(f),
            RemoteUid::Opaque(uidl) => uidl.escape_ascii().fmt(f),
        }
    }
}

impl fmt::Debug for RemoteUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one message at its source. `Display` is what one greps for in the mail log: `collector/folder/epoch/uid`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageKey {
    /// The collector that fetched it, for people.
    pub collector: CollectorId,
    /// The mailbox, which is what state belongs to.
    pub mailbox: Arc<MailboxId>,
    /// The folder in it.
    pub folder: FolderName,
    /// The folder's UIDVALIDITY.
    pub epoch: Epoch,
    /// The message in that epoch.
    pub uid: RemoteUid,
    /// Raised when the operator asks for the message once more, so that the copy gets a name of its own. 0 at first.
    pub generation: u32,
}

impl MessageKey {
    /// A name for this place in this mailbox; see [`super::Message::trace_id`] for the message that stands there.
    pub fn trace_id(&self) -> TraceId {
        let mut hash = Sha256::new();
        for part in [self.mailbox.protocol.as_bytes(), self.mailbox.host.as_bytes(), self.mailbox.login.as_bytes(), self.folder.as_str().as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(self.epoch.0.to_be_bytes());
        match &self.uid {
            RemoteUid::Number(uid) => hash.update(uid.to_be_bytes()),
            RemoteUid::Opaque(uidl) => hash.update(uidl),
        }
        hash.update(self.generation.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        TraceId(id)
    }
}

impl fmt::Display for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.collector, self.folder.as_str().escape_debug(), self.epoch, self.uid)
    }
}

/// 128 bits that name a source message everywhere: in the trace header, the Received field and the names of Maildir files.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
