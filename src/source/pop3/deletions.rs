//! What was asked to be deleted in this session, and what the server said to each.

use crate::mail::RemoteUid;
use crate::proto::pop3::{Reply, Status};
use std::collections::HashSet;

/// The session's DELEs. Nothing of it is done before QUIT's +OK.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    requested: HashSet<RemoteUid>,
    accepted: Vec<RemoteUid>,
    /// The last refusal.
    refusal: Option<String>,
}

impl Deletions {
    /// True if it was not asked before: a second DELE would be refused.
    pub(super) fn request(&mut self, uid: &RemoteUid) -> bool {
        self.requested.insert(uid.clone())
    }

    /// What the server said to a DELE.
    pub(super) fn answered(&mut self, uid: RemoteUid, reply: Reply) {
        if reply.status == Status::Ok {
            self.accepted.push(uid);
        } else {
            self.refusal = Some(reply.text);
        }
    }

    /// How many messages no listing of this session shows any more.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.len() as u64
    }

    /// What QUIT's +OK made final, or what the server said if it refused all.
    pub(super) fn confirmed(&mut self) -> Result<Vec<RemoteUid>, String> {
        match self.refusal.take() {
            Some(refusal) if self.accepted.is_empty() => Err(refusal),
            _ => Ok(std::mem::take(&mut self.accepted)),
        }
    }
}
