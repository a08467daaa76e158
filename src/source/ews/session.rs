//! What a caller may ask for, and in which order.

use super::retrieve::Batch;
use super::wire::Wire;
use crate::mail::{Epoch, FolderName, RemoteUid};
use crate::proto::ews::FolderRef;
use crate::source::{Disposal, Disposed, Fetched, Listing, Peeked, RemoteFolder, Selected, Session, SourceError, SourceErrorKind, Want, Wanted};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::net::IpAddr;

pub(super) struct EwsSession {
    pub(super) wire: Wire,
    pub(super) folder: Option<Folder>,
    pub(super) folders: Option<Vec<super::folders::Known>>,
    /// Messages that were asked for and not yet requested.
    pub(super) waiting: VecDeque<Wanted>,
    /// The request whose answer is coming in.
    pub(super) batch: Option<Batch>,
    /// Answers that need no server.
    pub(super) missing: VecDeque<Fetched>,
    /// So many of those that wait are asked for one by one: a request for many failed as a whole, and so the one that is to blame shows.
    pub(super) alone: usize,
    /// Messages that the server shows and does not give for want of time, since the last whole one.
    pub(super) stuck: u32,
    /// False while an operation runs: an error, or a future that was dropped, leaves the session unusable.
    sound: bool,
}

/// The selected folder.
pub(super) struct Folder {
    pub(super) name: FolderName,
    pub(super) at: FolderRef,
    pub(super) exists: u64,
}

impl EwsSession {
    pub(super) fn new(wire: Wire) -> Self {
        let (waiting, missing) = (VecDeque::new(), VecDeque::new());
        EwsSession { wire, folder: None, folders: None, waiting, batch: None, missing, alone: 0, stuck: 0, sound: true }
    }

    /// Every operation starts here, and ends with `self.sound = true` if it went well.
    fn begin(&mut self, stage: &'static str) -> Result<(), SourceError> {
        self.wire.stage = stage;
        if !std::mem::replace(&mut self.sound, false) {
            return Err(self.wire.error(SourceErrorKind::Protocol, "the session was used after an error"));
        }
        Ok(())
    }

    /// A refusal concerns what was asked, and the session goes on.
    fn end<T>(&mut self, done: Result<T, SourceError>) -> Result<T, SourceError> {
        self.sound = done.as_ref().map_or_else(SourceError::is_refusal, |_| true);
        done
    }

    async fn open_folder(&mut self, name: &FolderName) -> Result<Selected, SourceError> {
        self.folder = None;
        let at = self.resolve(name).await?;
        let found = self.wire.folder(&at).await?;
        let exists = found.total.unwrap_or_default();
        self.folder = Some(Folder { name: name.clone(), at: FolderRef::Id(found.id), exists });
        Ok(Selected { epoch: Epoch(0), exists, uid_next: None, can_delete: true })
    }
}

#[async_trait]
impl Session for EwsSession {
    async fn select(&mut self, folder: &FolderName) -> Result<Selected, SourceError> {
        self.begin("select")?;
        let selected = self.open_folder(folder).await;
        self.end(selected)
    }

    async fn list(&mut self, want: Want) -> Result<Listing, SourceError> {
        self.begin("list")?;
        let listing = self.survey(want).await;
        self.end(listing)
    }

    async fn fetch(&mut self, batch: Vec<Wanted>) -> Result<(), SourceError> {
        self.begin("fetch")?;
        if self.folder.is_none() || self.batch.is_some() || !self.waiting.is_empty() || !self.missing.is_empty() {
            return Err(self.wire.error(SourceErrorKind::Protocol, "messages were asked for out of turn"));
        }
        self.waiting.extend(batch);
        self.sound = true;
        Ok(())
    }

    async fn next_message(&mut self) -> Result<Option<Fetched>, SourceError> {
        self.begin("fetch")?;
        let fetched = self.receive().await?;
        self.sound = true;
        Ok(fetched)
    }

    async fn headers(&mut self, last: usize) -> Result<Vec<Peeked>, SourceError> {
        self.begin("headers")?;
        let peeked = match self.last(last).await {
            Ok(uids) => self.peek(&uids).await,
            Err(error) => Err(error),
        };
        self.end(peeked)
    }

    async fn header_of(&mut self, uid: &RemoteUid) -> Result<Option<Peeked>, SourceError> {
        self.begin("headers")?;
        let peeked = self.peek(std::slice::from_ref(uid)).await;
        self.end(peeked).map(|mut peeked| peeked.pop())
    }

    async fn folders(&mut self) -> Result<Vec<RemoteFolder>, SourceError> {
        self.begin("folders")?;
        let folders = self.list_folders().await;
        self.end(folders)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.wire.peer_ip()
    }

    async fn dispose(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError> {
        self.begin("dispose")?;
        let disposed = self.do_with(uids, how).await;
        self.end(disposed)
    }

    async fn close(self: Box<Self>) -> Result<Vec<RemoteUid>, SourceError> {
        // There is no good-bye, and nothing is owed one.
        Ok(Vec::new())
    }

    async fn abandon(self: Box<Self>) {}
}

/// A message's ItemId. What is no text was never Exchange's, which says so.
pub(super) fn id_of(uid: &RemoteUid) -> &str {
    match uid {
        RemoteUid::Opaque(id) => std::str::from_utf8(id).unwrap_or_default(),
        RemoteUid::Number(_) => "",
    }
}
