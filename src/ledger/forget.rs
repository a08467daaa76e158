//! Forgetting what was collected, and its reverse: what an operator asks for.
//!
//! *Collected* is what was delivered: messages that are kept, those whose copy is owed a disposal or is flagged, those that were thrown away from
//! the store of held mail, and the recipients who have a message that others still wait for. A forgotten message is [`super::State::Pending`] from
//! then on, so that it is fetched whatever the watermark, \Seen or its age say; if it is gone from the server, the next listing tells. Deliveries
//! before that time do not count for it ([`super::Pending::forgotten`]).
//!
//! Never forgotten: mail that is held (it is in the store, and a second copy of it would get there), and what was not delivered to anybody.

use crate::mail::{Epoch, FolderName, RemoteUid};

/// What is to be forgotten of a mailbox: everything, or what fits all of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forget {
    /// In this folder only.
    pub folder: Option<FolderName>,
    /// Only what was collected before this time, in seconds since the epoch. What is still owed a disposal has no such time, and is left alone.
    pub before: Option<i64>,
    /// Only these; all if it is empty. They are those of each folder's latest epoch.
    pub uids: Vec<RemoteUid>,
}

/// What a folder remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The folder.
    pub folder: FolderName,
    /// Its latest epoch.
    pub epoch: Epoch,
    /// What would be forgotten of it.
    pub uids: Vec<RemoteUid>,
    /// The same of earlier epochs: what no message of the latest one has been found to be yet.
    pub former: u64,
    /// How many of `uids` were delivered and are kept, or owed a disposal: what a purge deletes at the source.
    pub delivered: u64,
    /// Messages that are held, which stay so.
    pub held: u64,
    /// Messages that nobody has, which wait or were left.
    pub waiting: u64,
}

impl Remembered {
    /// How many messages would be forgotten.
    pub fn forgets(&self) -> u64 {
        self.uids.len() as u64 + self.former
    }
}

/// Messages that are to count as collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Their folder.
    pub folder: FolderName,
    /// Its epoch, as the server says.
    pub epoch: Epoch,
    /// Which.
    pub uids: Vec<RemoteUid>,
    /// These are all that are there: the folder has had its first run.
    pub whole: bool,
}

/// What came of marking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Messages that count as collected from now on, and did not.
    pub marked: u64,
    /// Of these, messages that waited or were left: they are not tried again.
    pub given_up: u64,
}
