//! What a caller may ask for, and in which order.

use super::super::{Disposal, Disposed, Fetched, Listing, Peeked, RemoteFolder, Selected, Session, SourceError, SourceErrorKind, Want, Wanted};
use super::client::{Ask, Client};
use super::fetch::Flights;
use super::folders::Directory;
use super::refusal;
use crate::mail::{Epoch, FolderName, RemoteUid};
use crate::net::Seen;
use crate::proto::graph::{self, MarkRead, RemoteMailFolder};
use async_trait::async_trait;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) struct GraphSession {
    pub(super) client: Arc<Client>,
    pub(super) folder: Option<Open>,
    pub(super) directory: Directory,
    pub(super) flights: Flights,
    /// How a message is marked as read at this server.
    pub(super) mark_read: MarkRead,
    /// The inbox as it was when the session began, for the first who selects it.
    inbox: Option<RemoteMailFolder>,
    /// False while an operation runs: an error, or a future that was dropped, leaves the session unusable.
    sound: bool,
}

/// The folder that is collected from.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: String,
    pub(super) name: FolderName,
    pub(super) exists: u64,
}

impl GraphSession {
    /// Whoever can see the inbox can log in.
    pub(super) async fn open(client: Arc<Client>) -> Result<Self, SourceError> {
        let shared = &client.shared;
        let inbox = match client.document("login", &Ask::get(shared.place.folder("inbox"))).await? {
            Ok(body) => graph::folder(&body).map_err(|error| client.error(SourceErrorKind::Protocol, "login", error.to_string()))?,
            Err(problem) => return Err(refusal::error(shared, "login", &problem)),
        };
        shared.witness.saw(Seen::LoggedIn(format!("the mailbox can be opened; its inbox is called {}", inbox.name)));
        Ok(GraphSession {
            client,
            folder: None,
            directory: Directory::default(),
            flights: Flights::default(),
            mark_read: MarkRead::WithoutReceipt,
            inbox: Some(inbox),
            sound: true,
        })
    }

    /// Every operation starts here, and ends with `self.sound = true` if it went well.
    fn begin(&mut self, stage: &'static str) -> Result<(), SourceError> {
        if !std::mem::replace(&mut self.sound, false) {
            return Err(self.client.error(SourceErrorKind::Protocol, stage, "the session was used after an error"));
        }
        Ok(())
    }

    /// Ends an operation: a refusal concerns what was asked, and the session goes on.
    fn end<T>(&mut self, result: Result<T, SourceError>) -> Result<T, SourceError> {
        self.sound = result.as_ref().map_or_else(|error| error.kind == SourceErrorKind::Mailbox, |_| true);
        result
    }

    pub(super) fn opened(&self, stage: &'static str) -> Result<&Open, SourceError> {
        self.folder.as_ref().ok_or_else(|| self.client.error(SourceErrorKind::Protocol, stage, "no folder is selected"))
    }
}

#[async_trait]
impl Session for GraphSession {
    async fn select(&mut self, folder: &FolderName) -> Result<Selected, SourceError> {
        self.begin("select")?;
        self.folder = None;
        let is_inbox = folder.as_str().eq_ignore_ascii_case("INBOX");
        let found = match self.inbox.take().filter(|_| is_inbox) {
            Some(inbox) => Ok(inbox),
            None => self.open_folder(folder).await,
        };
        let found = self.end(found)?;
        let exists = found.messages;
        self.folder = Some(Open { id: found.id, name: folder.clone(), exists });
        Ok(Selected { epoch: Epoch(0), exists, uid_next: None, can_delete: true })
    }

    async fn list(&mut self, want: Want) -> Result<Listing, SourceError> {
        self.begin("list")?;
        let listing = self.list_messages(want).await;
        self.end(listing)
    }

    async fn fetch(&mut self, batch: Vec<Wanted>) -> Result<(), SourceError> {
        self.begin("fetch")?;
        let folder = self.opened("fetch")?.clone();
        let begun = self.flights.begin(&self.client, &folder, batch);
        self.end(begun)
    }

    async fn next_message(&mut self) -> Result<Option<Fetched>, SourceError> {
        self.begin("fetch")?;
        let fetched = self.flights.next(&self.client).await;
        self.end(fetched)
    }

    async fn headers(&mut self, last: usize) -> Result<Vec<Peeked>, SourceError> {
        self.begin("headers")?;
        let peeked = self.peek_last(last).await;
        self.end(peeked)
    }

    async fn header_of(&mut self, uid: &RemoteUid) -> Result<Option<Peeked>, SourceError> {
        self.begin("headers")?;
        let peeked = self.peek_one(uid).await;
        self.end(peeked)
    }

    async fn folders(&mut self) -> Result<Vec<RemoteFolder>, SourceError> {
        self.begin("folders")?;
        let folders = self.list_folders().await;
        self.end(folders)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.client.peer_ip()
    }

    async fn dispose(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError> {
        self.begin("dispose")?;
        let disposed = self.dispose_of(uids, &how).await;
        self.end(disposed)
    }

    async fn close(mut self: Box<Self>) -> Result<Vec<RemoteUid>, SourceError> {
        self.begin("quit")?;
        Ok(Vec::new())
    }

    async fn abandon(self: Box<Self>) {}
}
