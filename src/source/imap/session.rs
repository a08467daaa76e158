//! A session: a logged in connection, its folder, and what goes on in it. Each thing that it does is in a file of its own.

use super::Shared;
use super::connection::{Connection, Input, Tag};
use super::fetch::Fetching;
use crate::mail::{Epoch, FolderName, RemoteUid};
use crate::proto::imap::{Code, Status};
use crate::source::{
    Disposal, Disposed, Fetched, Listing, Peeked, RemoteFolder, Selected, Session, SourceError, SourceErrorKind, Want, Wanted, Woken,
};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a good-bye may take.
pub(super) const LOGOUT_PATIENCE: Duration = Duration::from_secs(3);

/// A logged in connection.
pub(super) struct ImapSession {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) read_only: bool,
    /// A SELECT INBOX whose answer is still to come.
    pub(super) selecting: Option<Tag>,
    pub(super) folder: Option<Folder>,
    pub(super) fetching: Fetching,
    /// False once the server did not understand ESEARCH, MOVE.
    pub(super) can_esearch: bool,
    pub(super) can_move: bool,
}

/// The selected folder, as far as the server keeps us informed.
pub(super) struct Folder {
    pub(super) name: FolderName,
    pub(super) epoch: Epoch,
    pub(super) exists: u32,
    /// `None` once something arrived.
    pub(super) uid_next: Option<u32>,
    /// UIDNEXT as SELECT told it.
    pub(super) uid_next_once: Option<u32>,
    /// Something arrived since the last listing began.
    pub(super) has_news: bool,
    /// The server gave the folder another UIDVALIDITY in the middle of the session: no UID means anything any more.
    pub(super) is_renumbered: bool,
    /// The server lets nothing be changed in it.
    pub(super) is_read_only: bool,
}

impl Folder {
    /// Keeps up with what the server says at any time (RFC 9051 §5.2).
    pub(super) fn note(&mut self, input: &Input) {
        match input {
            Input::Exists(number) => {
                self.has_news |= *number > self.exists;
                self.exists = *number;
                self.uid_next = None;
            }
            Input::Expunge => self.exists = self.exists.saturating_sub(1),
            Input::Code(Code::UidValidity(epoch)) => self.is_renumbered |= *epoch != self.epoch.0,
            _ => {}
        }
    }

    pub(super) fn has_none_above(&self, uid: u32) -> bool {
        self.exists == 0 || uid == u32::MAX || self.uid_next == Some(uid + 1)
    }
}

impl ImapSession {
    pub(super) fn new(connection: Connection, shared: Arc<Shared>, selecting: Option<Tag>, read_only: bool) -> Self {
        let fetching = Fetching::default();
        ImapSession { connection, shared, read_only, selecting, folder: None, fetching, can_esearch: true, can_move: true }
    }

    /// The folder, for a command that needs one and finds no other command unanswered.
    pub(super) fn ready(&mut self, stage: &'static str) -> Result<(), SourceError> {
        self.connection.enter(stage);
        match (self.folder.is_some(), self.fetching.is_done()) {
            (true, true) => self.still_numbered(),
            (false, _) => Err(self.connection.error(SourceErrorKind::Mailbox, "no folder is open")),
            (true, false) => Err(self.connection.error(SourceErrorKind::Protocol, "messages are still on their way")),
        }
    }

    /// An error if UIDs mean something else than at SELECT (RFC 9051 §2.3.1.1): nothing is fetched or deleted by them any more.
    pub(super) fn still_numbered(&self) -> Result<(), SourceError> {
        match self.folder.as_ref().is_some_and(|folder| folder.is_renumbered) {
            true => Err(self.connection.error(SourceErrorKind::Protocol, "the server changed UIDVALIDITY in the middle of the session")),
            false => Ok(()),
        }
    }

    /// True if the server offers this, or the version of IMAP that includes it.
    pub(super) fn offers(&self, capability: &str) -> bool {
        self.connection.has(capability) || self.connection.has("IMAP4REV2")
    }

    /// Waits for a command's OK; what the server says about the folder meanwhile is noted, and everything goes to `take`.
    pub(super) async fn finish(&mut self, tag: Tag, what: &str, take: impl FnMut(Input)) -> Result<Status, SourceError> {
        let status = self.answer(tag, take).await?;
        match status.state {
            crate::proto::imap::State::Ok => Ok(status),
            _ => Err(self.connection.refused(what, &status)),
        }
    }

    /// The same for any answer.
    pub(super) async fn answer(&mut self, tag: Tag, mut take: impl FnMut(Input)) -> Result<Status, SourceError> {
        let folder = &mut self.folder;
        let answered = self.connection.answer(tag, |input| {
            folder.iter_mut().for_each(|folder| folder.note(&input));
            take(input);
        });
        let status = answered.await?;
        self.still_numbered()?;
        Ok(status)
    }
}

#[async_trait]
impl Session for ImapSession {
    async fn select(&mut self, folder: &FolderName) -> Result<Selected, SourceError> {
        self.open_folder(folder).await
    }

    async fn list(&mut self, want: Want) -> Result<Listing, SourceError> {
        self.ready("list")?;
        self.list_messages(want).await
    }

    async fn fetch(&mut self, batch: Vec<Wanted>) -> Result<(), SourceError> {
        self.ready("fetch")?;
        self.start_fetching(batch).await
    }

    async fn next_message(&mut self) -> Result<Option<Fetched>, SourceError> {
        self.next_fetched().await
    }

    async fn headers(&mut self, last: usize) -> Result<Vec<Peeked>, SourceError> {
        self.ready("headers")?;
        self.peek_last(last).await
    }

    async fn header_of(&mut self, uid: &RemoteUid) -> Result<Option<Peeked>, SourceError> {
        self.ready("headers")?;
        self.peek_one(uid).await
    }

    async fn folders(&mut self) -> Result<Vec<RemoteFolder>, SourceError> {
        self.connection.enter("folders");
        if !self.fetching.is_done() {
            return Err(self.connection.error(SourceErrorKind::Protocol, "messages are still on their way"));
        }
        self.list_folders().await
    }

    fn can_idle(&self) -> bool {
        self.may_idle()
    }

    async fn idle(&mut self, limit: Duration, stop: BoxFuture<'_, ()>) -> Result<Woken, SourceError> {
        self.ready("idle")?;
        self.wait_for_news(limit, stop).await
    }

    fn peer(&self) -> Option<IpAddr> {
        self.connection.channel().peer_ip()
    }

    async fn dispose(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError> {
        self.ready("dispose")?;
        if self.read_only && how != Disposal::Keep {
            return Err(self.connection.error(SourceErrorKind::Mailbox, "the session is for looking only"));
        }
        self.dispose_of(uids.iter().filter_map(RemoteUid::number).collect(), how).await
    }

    async fn close(self: Box<Self>) -> Result<Vec<RemoteUid>, SourceError> {
        // A server that still sends bodies would have to send them all before it reads LOGOUT.
        if self.fetching.is_done() && self.selecting.is_none() && !self.connection.is_owed_answers() {
            self.connection.logout(LOGOUT_PATIENCE).await;
        }
        Ok(Vec::new())
    }

    async fn abandon(self: Box<Self>) {}
}
