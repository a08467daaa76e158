//! Marking, deleting and moving what is final: a request for each message, several at once. What is not there any more needs nothing.
//!
//! A message that somebody has moved keeps its id, and whether the server refuses a request for it by way of the folder that it has left is not proven.
//! What is disposed of was seen in the folder in this session: it was listed, or is owed, and was looked at (a delta tells of those above the limit for
//! that). What remains is a message that is moved between the listing and this: it may be marked, deleted or moved where it is by then.

use super::super::{Disposal, Disposed, SourceError, SourceErrorKind};
use super::client::Ask;
use super::listing::id_of;
use super::refusal;
use super::session::{GraphSession, Open};
use crate::mail::{FolderName, RemoteUid};
use crate::proto::graph::{self, Mailbox, MarkRead, Meaning, Problem};

impl GraphSession {
    pub(super) async fn dispose_of(&mut self, uids: &[RemoteUid], how: &Disposal) -> Result<Disposed, SourceError> {
        let folder = self.opened("dispose")?.clone();
        // What has no id of Graph's is no message of this mailbox.
        let ids: Vec<&str> = uids.iter().filter_map(id_of).collect();
        let refused = match how {
            Disposal::Keep => Vec::new(),
            Disposal::Flag => return Err(self.client.error(SourceErrorKind::Mailbox, "dispose", "Graph has no \\Deleted to set")),
            Disposal::MarkSeen => self.mark_seen(&folder, &ids).await?,
            Disposal::Delete => self.each(&ids, |place, id| Ask::delete(place.message(&folder.id, id))).await?,
            Disposal::Move(name) => self.move_all(&folder, &ids, name).await?,
        };
        match refused.last() {
            None => Ok(Disposed::Confirmed),
            Some((_, problem)) => {
                let error = refusal::error(&self.client.shared, "dispose", problem);
                let only = refused.iter().map(|(id, _)| RemoteUid::Opaque(id.as_bytes().into())).collect();
                Err(SourceError { kind: SourceErrorKind::Mailbox, ..error }.only(only))
            }
        }
    }

    /// Asks this of each of them; tells which are refused, and are not only gone.
    async fn each<'a>(&self, ids: &[&'a str], ask: impl Fn(&Mailbox, &str) -> Ask) -> Result<Vec<(&'a str, Problem)>, SourceError> {
        let asks = ids.iter().map(|id| ask(&self.client.shared.place, id)).collect();
        let answers = self.client.acts("dispose", asks).await?;
        let refused = ids.iter().zip(answers).filter_map(|(id, answer)| answer.err().map(|problem| (*id, problem)));
        Ok(refused.filter(|(_, problem)| problem.meaning() != Meaning::NotFound).collect())
    }

    async fn mark_seen<'a>(&mut self, folder: &Open, ids: &[&'a str]) -> Result<Vec<(&'a str, Problem)>, SourceError> {
        let mark = |how| move |place: &Mailbox, id: &str| Ask::patch(place.message(&folder.id, id), graph::marked_read(how));
        let mut refused = self.each(ids, mark(self.mark_read)).await?;
        if self.mark_read == MarkRead::WithoutReceipt && refused.iter().any(|(_, problem)| problem.status == 400) {
            // A server that lets nobody say that no receipt is to be sent.
            self.mark_read = MarkRead::Only;
            let again: Vec<&str> = refused.iter().map(|(id, _)| *id).collect();
            refused = self.each(&again, mark(self.mark_read)).await?;
        }
        Ok(refused)
    }

    async fn move_all<'a>(&mut self, folder: &Open, ids: &[&'a str], name: &FolderName) -> Result<Vec<(&'a str, Problem)>, SourceError> {
        let destination = self.destination(name).await?;
        if destination == folder.id {
            return Err(self.client.error(SourceErrorKind::Mailbox, "dispose", "mail would be moved into the folder that it is in"));
        }
        let asks = ids.iter().map(|id| Ask::post(self.client.shared.place.moving(&folder.id, id), graph::moved_to(&destination))).collect();
        let answers = self.client.acts("dispose", asks).await?;
        let (mut refused, mut not_found) = (Vec::new(), Vec::new());
        for (id, answer) in ids.iter().zip(answers) {
            match answer {
                Ok(_) => {}
                Err(problem) if problem.meaning() == Meaning::NotFound => not_found.push((*id, problem)),
                Err(problem) => refused.push((*id, problem)),
            }
        }
        // The message, or the folder that it was to go to.
        let uids: Vec<RemoteUid> = not_found.iter().map(|(id, _)| RemoteUid::Opaque(id.as_bytes().into())).collect();
        let there = self.look(folder, &uids).await?;
        refused.extend(not_found.into_iter().zip(there).filter(|(_, there)| there.is_some()).map(|(refused, _)| refused));
        if !refused.is_empty() {
            self.forget(name);
        }
        Ok(refused)
    }
}
