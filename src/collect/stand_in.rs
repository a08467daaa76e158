//! What is delivered or held in place of a message that does not come: its header, with a note in place of the body. The message itself stays where
//! it is, whatever is done with others.

use super::chronicle;
use super::deliver_one::{By, Deliverer, Done};
use super::note;
use super::pass::{PassError, PassReport};
use super::walk::{Recorded, Walk};
use crate::ledger::{Entry, Finished, State};
use crate::mail::{HeaderBlock, Message, RemoteUid};
use crate::source::{Session, SourceError};
use bytes::Bytes;
use std::sync::PoisonError;

/// So often the server has to say that it cannot give a message, each time later than before, until a stand-in is held: what it says may be its state
/// of the day.
const UNREADABLE_MIN: u32 = 3;

impl Walk<'_> {
    /// The headers of messages that are too large, behind everything that they could be in the way of.
    pub(super) async fn headers(
        &mut self,
        session: &mut dyn Session,
        headers: Vec<(RemoteUid, u64)>,
        report: &mut PassReport,
    ) -> Result<(), PassError> {
        if headers.is_empty() {
            return Ok(());
        }
        let (ledger, place) = (self.pass.ledger, &self.progress.place);
        let uids: Vec<RemoteUid> = headers.iter().map(|(uid, _)| uid.clone()).collect();
        ledger.begin(place, &uids).await?;
        let mut failed = None;
        for (uid, octets) in headers {
            if failed.is_some() || self.is_over() || self.target_down.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                break;
            }
            let unread = |error: &SourceError| self.unfetched(&uid, &format!("its header cannot be read: {}", error.text));
            let entry = match self.header_only(session, &uid, octets).await {
                Ok(entry) => entry,
                Err(PassError::Source(error)) if error.is_refusal() => Some((unread(&error), By::default(), None)),
                Err(PassError::Source(error)) => {
                    let entry = error.is_about_one_message().then(|| (unread(&error), By::default(), None));
                    failed = Some(error);
                    entry
                }
                Err(error) => return Err(error),
            };
            if let Some((entry, by, row)) = entry {
                ledger.record(place, entry.clone()).await?;
                self.pass.history.put(row.unwrap_or_else(|| chronicle::of_entry(&self.key(&uid), &entry.state)));
                self.count(&entry, by, report);
                self.settled(&entry.uid);
            }
        }
        ledger.finish(place, Finished { watermark: self.watermark.rise(), ..Finished::default() }).await?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The header of a message that is too large, with a note in place of its body, is delivered; the message itself stays where it is.
    /// `None` if the target takes nothing now.
    async fn header_only(&self, session: &mut dyn Session, uid: &RemoteUid, octets: u64) -> Result<Option<Recorded>, PassError> {
        let skipped = self.too_large(uid, octets);
        let Some(peeked) = session.header_of(uid).await? else { return Ok(Some((skipped, By::default(), None))) };
        let note = note::of_too_large(&peeked.header, self.pass.collector, &self.place.name, octets);
        let message = match self.spooled(uid, &note).await {
            Ok(message) => message,
            Err(error) => return Ok(Some((self.unfetched(uid, &format!("its header cannot be spooled: {error}")), By::default(), None))),
        };
        let done = Deliverer { too_large: Some(octets), ..self.deliverer() }.deliver(message).await;
        if let Some(error) = done.failed {
            return Err(error.into());
        }
        let mut row = done.row;
        Ok(done.entry.map(|entry| match entry.state {
            _ if done.by == By::Old => (entry, By::Old, row),
            // What is not final is tried again, and so is the header.
            State::Pending(_) | State::Left { .. } => (entry, done.by, row),
            _ => {
                row.iter_mut().for_each(|row| chronicle::header_only(row, octets));
                (Entry { state: skipped.state, ..entry }, By::Header, row)
            }
        }))
    }

    /// What is recorded of a message that the server cannot give: it is tried again; `None` when that has been done often enough.
    pub(super) fn unreadable_now(&self, uid: &RemoteUid, reason: String) -> Option<Entry> {
        let tries = self.progress.exceptions.get(uid).and_then(State::before).map_or(0, |before| before.tries);
        // One that came whole before was tried for another reason: its target had no time, for example. It can be had.
        let came_whole = self.progress.hashes.contains_key(uid);
        if tries + 1 < UNREADABLE_MIN || came_whole || self.is_owed(uid) {
            return Some(self.unfetched(uid, &reason));
        }
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).push((uid.clone(), reason));
        None
    }

    /// Stand-ins for what the server cannot give, for good as it seems, are held, so that somebody sees them.
    pub(super) async fn unreadable(&mut self, session: &mut dyn Session, report: &mut PassReport) -> Result<(), PassError> {
        let unreadable = std::mem::take(self.unreadable.get_mut().unwrap_or_else(PoisonError::into_inner));
        if unreadable.is_empty() {
            return Ok(());
        }
        let (ledger, place) = (self.pass.ledger, &self.progress.place);
        let uids: Vec<RemoteUid> = unreadable.iter().map(|(uid, _)| uid.clone()).collect();
        ledger.begin(place, &uids).await?;
        let mut failed = None;
        for (uid, reason) in unreadable {
            if self.is_over() {
                break;
            }
            let header = match session.header_of(&uid).await {
                Ok(peeked) => peeked.map(|peeked| peeked.header),
                Err(error) if error.is_refusal() => None,
                // The session broke: a later one has the header. Until then the message stands in nobody's way.
                Err(error) => {
                    let entry = self.unfetched(&uid, &format!("its header cannot be read: {}", error.text));
                    ledger.record(place, entry.clone()).await?;
                    self.pass.history.put(chronicle::of_entry(&self.key(&uid), &entry.state));
                    self.count(&entry, By::default(), report);
                    self.settled(&uid);
                    failed = Some(error);
                    break;
                }
            };
            // Where not even the header can be had, the note says which message it is.
            let header = header.unwrap_or_else(|| HeaderBlock::parse(Bytes::new()));
            let done = match self.spooled(&uid, &note::of_unreadable(&header, self.pass.collector, &self.place.name, &uid, &reason)).await {
                Ok(message) => Deliverer { unreadable: Some(&reason), ..self.deliverer() }.deliver(message).await,
                Err(error) => Done::not_fetched(self.unfetched(&uid, &format!("the note about it cannot be spooled: {error}"))),
            };
            if let Some(error) = done.failed {
                return Err(error.into());
            }
            if let Some(entry) = done.entry {
                ledger.record(place, entry.clone()).await?;
                self.pass.history.put(done.row.unwrap_or_else(|| chronicle::of_entry(&self.key(&uid), &entry.state)));
                self.count(&entry, done.by, report);
                self.settled(&entry.uid);
            }
        }
        ledger.finish(place, Finished { watermark: self.watermark.rise(), ..Finished::default() }).await?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn spooled(&self, uid: &RemoteUid, note: &[u8]) -> Result<Message, crate::spool::SpoolError> {
        let mut intake = self.pass.spool.intake(self.key(uid), Some(note.len() as u64)).await;
        intake.write(note).await?;
        intake.finish().await
    }
}
