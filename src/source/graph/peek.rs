//! Looking at headers: the start of the message itself, as Received fields and their order are only there as they came.

use super::super::{PEEKED_OCTETS_IN_ALL_MAX, PEEKED_OCTETS_MAX, Peeked, SourceError, SourceErrorKind};
use super::client::{Ask, Begun};
use super::listing::id_of;
use super::refusal;
use super::session::{GraphSession, Open};
use crate::mail::RemoteUid;
use crate::proto::graph::{self, Change, Meaning, Problem};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

/// A message that is no longer than this is read to its end, so that the connection can be used again.
const READ_OCTETS_MAX: u64 = 64 * 1024;

impl GraphSession {
    /// The headers of the last messages, oldest first.
    pub(super) async fn peek_last(&mut self, last: usize) -> Result<Vec<Peeked>, SourceError> {
        let folder = self.opened("headers")?.clone();
        let ids = self.newest(&folder, last).await?;
        let one = |uid: RemoteUid| -> BoxFuture<'_, _> { async { self.peek(&folder, uid).await }.boxed() };
        let mut peeking = stream::iter(ids).map(one).buffered(self.client.shared.at_once);
        let (mut all, mut octets) = (Vec::new(), 0);
        while let Some(peeked) = peeking.next().await {
            // One that cannot be had is no reason to show none.
            let peeked = match peeked {
                Err(error) if error.is_refusal() => None,
                peeked => peeked?,
            };
            octets += peeked.as_ref().map_or(0, |peeked| peeked.header.octets().len());
            all.extend(peeked);
            if octets >= PEEKED_OCTETS_IN_ALL_MAX {
                break;
            }
        }
        all.reverse();
        Ok(all)
    }

    /// The header of one message.
    pub(super) async fn peek_one(&mut self, uid: &RemoteUid) -> Result<Option<Peeked>, SourceError> {
        let folder = self.opened("headers")?.clone();
        self.peek(&folder, uid.clone()).await
    }

    /// The last messages, newest first.
    async fn newest(&self, folder: &Open, last: usize) -> Result<Vec<RemoteUid>, SourceError> {
        let shared = &self.client.shared;
        let mut ids = Vec::new();
        let mut target = shared.place.newest(&folder.id, last);
        while ids.len() < last {
            let body = match self.client.document("headers", &Ask::get(target)).await? {
                Ok(body) => body,
                Err(problem) => return Err(refusal::error(shared, "headers", &problem)),
            };
            let odd = |error: graph::UnreadablePage| self.client.error(SourceErrorKind::Protocol, "headers", error.to_string());
            let page = graph::message_page(&body, &shared.origin).map_err(odd)?;
            let before = ids.len();
            ids.extend(page.changes.into_iter().filter_map(|change| match change {
                Change::There(seen) => Some(RemoteUid::Opaque(seen.id.as_bytes().into())),
                Change::Removed(_) => None,
            }));
            match page.next {
                Some(next) if ids.len() > before => target = next.target().to_owned(),
                _ => break,
            }
        }
        ids.truncate(last);
        Ok(ids)
    }

    async fn peek(&self, folder: &Open, uid: RemoteUid) -> Result<Option<Peeked>, SourceError> {
        let shared = &self.client.shared;
        let Some(id) = id_of(&uid) else { return Ok(None) };
        let (mut answer, lane) = match self.client.begin("headers", &Ask::get(shared.place.mime(id))).await? {
            Begun::Answer(answer, lane) => (answer, lane),
            Begun::Refused(problem) if problem.meaning() == Meaning::NotFound => return Ok(None),
            Begun::Refused(problem) => return self.peek_at_properties(folder, uid, &problem).await,
        };
        let failed = |error| SourceError::web("headers", &shared.peer, error);
        let is_small = answer.announced().is_some_and(|octets| octets <= READ_OCTETS_MAX);
        let mut start = Vec::new();
        while !holds_header(&start) && start.len() <= PEEKED_OCTETS_MAX {
            match answer.piece().await.map_err(failed)? {
                Some(piece) => start.extend_from_slice(&piece),
                None => break,
            }
        }
        let cut = start.len() > PEEKED_OCTETS_MAX;
        start.truncate(PEEKED_OCTETS_MAX);
        if is_small && answer.finish(READ_OCTETS_MAX).await.is_ok() {
            lane.give_back();
        }
        Ok(Some(Peeked::new(uid, &start, cut)))
    }
}

impl GraphSession {
    /// What the server knows of a message that it cannot give as MIME.
    async fn peek_at_properties(&self, folder: &Open, uid: RemoteUid, refused: &Problem) -> Result<Option<Peeked>, SourceError> {
        let shared = &self.client.shared;
        let target = shared.place.properties(&folder.id, id_of(&uid).unwrap_or_default());
        match self.client.document("headers", &Ask::get(target)).await? {
            Ok(body) => {
                let header = graph::header(&body).map_err(|error| self.client.error(SourceErrorKind::Protocol, "headers", error.to_string()))?;
                let cut = header.len() > PEEKED_OCTETS_MAX;
                Ok(Some(Peeked::new(uid, &header[..header.len().min(PEEKED_OCTETS_MAX)], cut)))
            }
            Err(problem) if problem.meaning() == Meaning::NotFound => Ok(None),
            Err(_) => {
                let error = refusal::error(shared, "headers", refused);
                Err(SourceError { kind: SourceErrorKind::Mailbox, ..error })
            }
        }
    }
}

/// True if the blank line behind the header is here.
fn holds_header(octets: &[u8]) -> bool {
    let blank = |line: &[u8]| memchr::memmem::find(octets, line).is_some();
    octets.starts_with(b"\r\n") || octets.starts_with(b"\n") || blank(b"\n\r\n") || blank(b"\n\n")
}
