//! What is owed a disposal, where nothing that is remembered is there by its name: it may be there under another one.

use super::pass::PassError;
use super::walk::Walk;
use crate::ledger::{Finished, FormerKey, FormerMessage, Progress, State};
use crate::mail::{Present, RemoteUid};
use crate::source::{Listing, Want};
use std::collections::HashSet;
use std::sync::PoisonError;

impl Walk<'_> {
    /// True if nothing that is remembered is there, and something else is: a mailbox that was emptied and filled, or a server that has given its
    /// messages other ids (POP3), as some do in each session. A listing that was cut may have all that is known behind the cut: then it costs
    /// comparing what is there with what was, and nothing comes twice.
    pub(super) fn all_is_new(&self, want: &Want, listing: &Listing) -> bool {
        let met_nothing = match &listing.present {
            Some(Present::Met(known)) => known.unmet() as u64 == known.len(),
            _ => listing.met_nothing,
        };
        let remembered = self.progress.kept_count + self.progress.exceptions.len() as u64;
        let was_compared = want.known.len() + want.also.len() as u64 >= remembered;
        met_nothing && remembered > 0 && was_compared && !listing.messages.is_empty() && {
            let there: HashSet<&RemoteUid> = listing.messages.iter().map(|message| &message.uid).collect();
            want.also.iter().all(|uid| !there.contains(uid))
        }
    }

    /// What is owed a disposal may be there under another name, if the last session's deletions came to nothing: it is not forgotten before
    /// everything that is there was compared with it.
    pub(super) fn hold_back(&mut self) {
        let Progress { place, exceptions, hashes, .. } = self.progress;
        let former = self.former.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (uid, state) in exceptions.iter().filter(|(_, state)| !matches!(state, State::Skipped { .. })) {
            if let Some(hash) = hashes.get(uid).and_then(|hashes| hashes.copy.or(hashes.identity)) {
                let key = Some(FormerKey { folder: place.folder, uid: uid.clone() });
                former.add(FormerMessage { state: state.clone(), key }, hash);
            }
        }
        self.held_back = exceptions.keys().cloned().collect();
    }

    /// Forgets what was held back once as many messages as that were looked at and none of them is one of those. What earlier sessions collected
    /// are the first messages of the mailbox, and were their deletion undone, they would be the first again. A mailbox of many sessions' worth
    /// would else remember all of them until its end, and read that in each session.
    pub(super) async fn let_go(&mut self) -> Result<(), PassError> {
        if self.held_back.is_empty() || self.compared_first.is_none_or(|compared| compared < self.held_back.len()) {
            return Ok(());
        }
        let vanished = std::mem::take(&mut self.held_back);
        self.pass.ledger.finish(&self.progress.place, Finished { vanished, ..Finished::default() }).await?;
        Ok(())
    }
}
