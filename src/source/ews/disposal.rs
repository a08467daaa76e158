//! Marking, deleting and moving what is settled: many messages with each request.

use super::session::{EwsSession, id_of};
use crate::mail::RemoteUid;
use crate::proto::ews::{Change, Class, CodeKind, Event, Outcome};
use crate::source::{Disposal, Disposed, SourceError, SourceErrorKind};

/// Messages of one request.
const MESSAGES_MAX: usize = 200;

impl EwsSession {
    pub(super) async fn do_with(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError> {
        let change = match how {
            Disposal::Keep => return Ok(Disposed::Confirmed),
            Disposal::Flag => return Err(self.wire.error(SourceErrorKind::Mailbox, "Exchange has no \\Deleted to set")),
            Disposal::MarkSeen => Change::MarkRead,
            Disposal::Delete => Change::Delete,
            Disposal::Move(folder) => Change::Move(self.resolve(&folder).await?),
        };
        let mut refused: Option<Outcome> = None;
        let (mut answered, mut in_order, mut only) = (0, true, Vec::new());
        for some in uids.chunks(MESSAGES_MAX) {
            let request = self.wire.requests.change(some.iter().map(id_of), &change);
            let (mut refusal, mut count) = (None, 0usize);
            self.wire
                .read(request, |event| {
                    if let Event::Ends(outcome) = event {
                        // What is gone needs nothing more.
                        let done = outcome.class == Class::Success || outcome.code.kind() == CodeKind::NoItem;
                        // Answers come in the order of what was asked.
                        only.extend(some.get(count).filter(|_| !done).cloned());
                        count += 1;
                        if !done && (refusal.is_none() || outcome.code.kind() == CodeKind::Busy) {
                            refusal = Some(outcome);
                        }
                    }
                })
                .await?;
            answered += count;
            in_order &= count == some.len();
            match refusal {
                // The rest would be refused as well.
                Some(outcome) if outcome.code.kind() == CodeKind::Busy => return Err(self.wire.refused(&outcome)),
                Some(outcome) => refused = Some(outcome),
                None => {}
            }
        }
        match refused {
            // With an answer too few or too many nobody knows whose was whose.
            Some(outcome) if in_order => Err(self.wire.refused(&outcome).only(only)),
            Some(outcome) => Err(self.wire.refused(&outcome)),
            None if answered < uids.len() => {
                let text = format!("the server answered for {answered} of {} messages", uids.len());
                Err(self.wire.error(SourceErrorKind::Mailbox, text))
            }
            None => Ok(Disposed::Confirmed),
        }
    }
}
