//! A session: the folder, its listing, its disposals. Fetching is in its own file.

use super::Shared;
use super::connection::{Connection, Input, Tag};
use super::fetch::Fetching;
use crate::mail::{Epoch, FolderName, Present, RemoteUid, UidSet};
use crate::proto::imap::{Code, Command, State, Status};
use crate::source::{Disposal, Disposed, Fetched, Listed, Listing, Peeked, Selected, Session, SourceError, SourceErrorKind, Want, Wanted};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// How long a SELECT that went along with the login may stay without any sign before it is sent once more.
const SELECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a good-bye may take.
const LOGOUT_PATIENCE: Duration = Duration::from_secs(3);

/// A logged in connection.
pub(super) struct ImapSession {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    read_only: bool,
    /// A SELECT INBOX whose answer is still to come.
    selecting: Option<Tag>,
    pub(super) folder: Option<Folder>,
    pub(super) fetching: Fetching,
}

/// The selected folder, as far as the server keeps us informed.
pub(super) struct Folder {
    pub(super) name: FolderName,
    pub(super) epoch: Epoch,
    pub(super) exists: u32,
    /// `None` once something arrived.
    uid_next: Option<u32>,
}

impl Folder {
    /// Keeps up with what the server says at any time (RFC 9051 §5.2).
    pub(super) fn note(&mut self, input: &Input) {
        match input {
            Input::Exists(number) => {
                self.exists = *number;
                self.uid_next = None;
            }
            Input::Expunge => self.exists = self.exists.saturating_sub(1),
            _ => {}
        }
    }

    fn has_none_above(&self, uid: u32) -> bool {
        self.exists == 0 || uid == u32::MAX || self.uid_next == Some(uid + 1)
    }
}

impl ImapSession {
    pub(super) fn new(connection: Connection, shared: Arc<Shared>, selecting: Option<Tag>, read_only: bool) -> Self {
        ImapSession { connection, shared, read_only, selecting, folder: None, fetching: Fetching::default() }
    }

    /// The folder, for a command that needs one and finds no other command unanswered.
    pub(super) fn ready(&mut self, stage: &'static str) -> Result<(), SourceError> {
        self.connection.enter(stage);
        match (self.folder.is_some(), self.fetching.is_done()) {
            (true, true) => Ok(()),
            (false, _) => Err(self.connection.error(SourceErrorKind::Mailbox, "no folder is open")),
            (true, false) => Err(self.connection.error(SourceErrorKind::Protocol, "messages are still on their way")),
        }
    }

    /// Waits for a command's OK; what the server says about the folder meanwhile is noted, and everything goes to `take`.
    async fn finish(&mut self, tag: Tag, what: &str, mut take: impl FnMut(Input)) -> Result<Status, SourceError> {
        let folder = &mut self.folder;
        let finished = self.connection.finish(tag, what, |input| {
            folder.iter_mut().for_each(|folder| folder.note(&input));
            take(input);
        });
        finished.await
    }

    /// The UIDs that a search found. `None` if the server said OK and no result.
    async fn found(&mut self, tag: Tag) -> Result<Option<UidSet>, SourceError> {
        let mut found: Option<UidSet> = None;
        let take = |input| {
            if let Input::Search(set) = input {
                match &mut found {
                    None => found = Some(set),
                    Some(found) => set.ranges().iter().for_each(|range| found.insert_range(range.clone())),
                }
            }
        };
        self.finish(tag, "UID SEARCH", take).await?;
        Ok(found)
    }

    /// Searches for the UIDs of `sets`. `None` if the server gave no result for one of them: what is there is unknown then, not nothing.
    async fn search(&mut self, sets: &[String], unseen: bool) -> Result<Option<UidSet>, SourceError> {
        let command = |set| if unseen { Command::SearchUnseen(set) } else { Command::Search(set) };
        let mut all = UidSet::new();
        for set in sets {
            let tag = self.connection.send(&command(set)).await?;
            let Some(found) = self.found(tag).await? else { return Ok(None) };
            found.ranges().iter().for_each(|range| all.insert_range(range.clone()));
        }
        Ok(Some(all))
    }

    async fn search_all(&mut self) -> Result<UidSet, SourceError> {
        let tag = self.connection.send(&Command::SearchAll).await?;
        let all = self.found(tag).await?.unwrap_or_default();
        let exists = self.folder.as_ref().map_or(0, |folder| folder.exists);
        // Whoever prunes by this listing would forget the whole mailbox.
        if all.is_empty() && exists > 0 {
            return Err(self.connection.error(SourceErrorKind::Protocol, format!("the server finds no message in a folder of {exists}")));
        }
        Ok(all)
    }

    async fn sizes(&mut self, uids: &UidSet) -> Result<BTreeMap<u32, u64>, SourceError> {
        let mut sizes = BTreeMap::new();
        for set in Command::sets(uids) {
            let tag = self.connection.send(&Command::FetchSizes(&set)).await?;
            let take = |input| {
                if let Input::Fetch(fetch) = input
                    && let (Some(uid), Some(size), false) = (fetch.uid, fetch.size, fetch.broken)
                    && uids.contains(uid)
                {
                    sizes.insert(uid, size);
                }
            };
            self.finish(tag, "UID FETCH", take).await?;
        }
        Ok(sizes)
    }

    async fn send_select(&mut self, folder: &FolderName) -> Result<Tag, SourceError> {
        let command = if self.read_only { Command::Examine(folder) } else { Command::Select(folder) };
        self.connection.send(&command).await
    }

    /// Waits for the SELECT. One that went with the login may have been forgotten by a proxy: then it is sent once more.
    async fn selected(&mut self, mut tag: Tag, with_login: bool, folder: &FolderName) -> Result<Answered, SourceError> {
        let mut answered = Answered::default();
        let mut may_be_lost = with_login;
        let patience = SELECT_PATIENCE.min(self.connection.idle() / 2);
        loop {
            let input = match may_be_lost {
                true => timeout(patience, self.connection.next()).await,
                false => Ok(self.connection.next().await),
            };
            match input.ok().transpose()? {
                Some(Input::Answer(own, status)) if own == tag => {
                    return if status.state == State::Ok {
                        Ok(answered)
                    } else {
                        Err(self.connection.refused(&format!("to open `{folder}`"), &status))
                    };
                }
                // No sign, or the answer to the CAPABILITY that was sent later.
                lost @ (None | Some(Input::Answer(..))) if may_be_lost => {
                    answered.capability |= lost.is_some();
                    self.shared.select_with_login.store(false, Ordering::Relaxed);
                    self.connection.forget(tag);
                    tag = self.send_select(folder).await?;
                    may_be_lost = false;
                }
                Some(Input::Answer(..)) => answered.capability = true,
                Some(Input::Exists(number)) => answered.exists = Some(number),
                Some(Input::Code(Code::UidValidity(number))) => answered.epoch = Some(number),
                Some(Input::Code(Code::UidNext(number))) => answered.uid_next = Some(number),
                _ => {}
            }
        }
    }
}

/// What the answer to SELECT held.
#[derive(Default)]
struct Answered {
    exists: Option<u32>,
    epoch: Option<u32>,
    uid_next: Option<u32>,
    /// Whether the answer to CAPABILITY came before.
    capability: bool,
}

#[async_trait]
impl Session for ImapSession {
    async fn select(&mut self, folder: &FolderName) -> Result<Selected, SourceError> {
        self.connection.enter("select");
        if !self.fetching.is_done() {
            return Err(self.connection.error(SourceErrorKind::Protocol, "messages are still on their way"));
        }
        self.folder = None;
        let mut with_login = self.selecting.take();
        let is_inbox = folder.as_str().eq_ignore_ascii_case("INBOX");
        if let Some(tag) = with_login.filter(|_| !is_inbox) {
            self.selected(tag, true, &FolderName::inbox()).await?;
            with_login = None;
        }
        let tag = match with_login {
            Some(tag) => tag,
            None => self.send_select(folder).await?,
        };
        let asked = match self.connection.capabilities {
            Some(_) => None,
            None => Some(self.connection.send(&Command::Capability).await?),
        };
        let answered = self.selected(tag, with_login.is_some(), folder).await?;
        let mut exists = answered.exists;
        let mut uid_next = answered.uid_next;
        if let Some(asked) = asked.filter(|_| !answered.capability) {
            let take = |input| {
                if let Input::Exists(number) = input {
                    (exists, uid_next) = (Some(number), None);
                }
            };
            self.connection.finish(asked, "CAPABILITY", take).await?;
        }
        // Without it, UIDs mean nothing (RFC 9051 §2.3.1.1): state must neither be used nor forgotten.
        let Some(epoch) = answered.epoch.filter(|epoch| *epoch > 0).map(Epoch) else {
            return Err(self.connection.error(SourceErrorKind::Protocol, "the server names no UIDVALIDITY for the folder"));
        };
        let Some(exists) = exists else {
            return Err(self.connection.error(SourceErrorKind::Protocol, "the server does not say how many messages the folder holds"));
        };
        self.folder = Some(Folder { name: folder.clone(), epoch, exists, uid_next });
        let can_delete = self.connection.has("UIDPLUS") || self.connection.has("IMAP4REV2");
        Ok(Selected { epoch, exists: u64::from(exists), uid_next, can_delete })
    }

    async fn list(&mut self, want: Want) -> Result<Listing, SourceError> {
        self.ready("list")?;
        let also: UidSet = want.also.iter().filter_map(RemoteUid::number).collect();
        let none_above = self.folder.as_ref().is_some_and(|folder| folder.has_none_above(want.above));
        let is_empty = self.folder.as_ref().is_some_and(|folder| folder.exists == 0);
        let above = (!none_above).then(|| format!("{}:*", u64::from(want.above) + 1));

        let unknown = |all: Option<UidSet>| Listing { messages: vec![], more: false, vanished: vec![], present: all.map(Present::Numbers) };

        // What is there of `also`, what is new, and everything if that was asked for.
        let mut all = None;
        let mut fresh = UidSet::new();
        let mut there = UidSet::new();
        if want.complete {
            let found = if is_empty { UidSet::new() } else { self.search_all().await? };
            there = found.clone();
            if !want.unseen {
                fresh = found.clone();
            }
            all = Some(found);
        } else if !is_empty {
            let mut sets = Command::sets(&also);
            if let Some(above) = above.as_deref().filter(|_| !want.unseen) {
                match sets.last_mut() {
                    Some(set) => *set = format!("{set},{above}"),
                    None => sets.push(above.to_owned()),
                }
            }
            let Some(found) = self.search(&sets, false).await? else { return Ok(unknown(None)) };
            there = found;
            if !want.unseen {
                fresh = there.clone();
            }
        }
        if let Some(above) = above.filter(|_| want.unseen) {
            let Some(found) = self.search(&[above], true).await? else { return Ok(unknown(all)) };
            fresh = found;
        }

        // `9:*` yields the last message even if its UID is below 9 (RFC 9051 §9, seq-range): hence the look at `above`.
        let is_new = |uid: u32| uid > want.above && fresh.contains(uid) && !want.known.contains(&RemoteUid::Number(uid));
        let is_due = |uid: u32| also.contains(uid) && there.contains(uid);
        let mut candidates = fresh.clone();
        also.ranges().iter().for_each(|range| candidates.insert_range(range.clone()));
        let mut uids: Vec<u32> = candidates.iter().filter(|uid| is_new(*uid) || is_due(*uid)).take(want.limit.saturating_add(1)).collect();
        let more = uids.len() > want.limit;
        uids.truncate(want.limit);
        let sizes = if want.sizes && !uids.is_empty() { self.sizes(&uids.iter().copied().collect()).await? } else { BTreeMap::new() };
        Ok(Listing {
            messages: uids.iter().map(|uid| Listed { uid: RemoteUid::Number(*uid), size: sizes.get(uid).copied() }).collect(),
            more,
            vanished: also.iter().filter(|uid| !there.contains(*uid)).map(RemoteUid::Number).collect(),
            present: all.map(Present::Numbers),
        })
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

    fn peer(&self) -> Option<IpAddr> {
        self.connection.channel().peer_ip()
    }

    async fn dispose(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError> {
        self.ready("dispose")?;
        if self.read_only && how != Disposal::Keep {
            return Err(self.connection.error(SourceErrorKind::Mailbox, "the session is for looking only"));
        }
        let uids: UidSet = uids.iter().filter_map(RemoteUid::number).collect();
        let expunge = how == Disposal::Delete && (self.connection.has("UIDPLUS") || self.connection.has("IMAP4REV2"));
        if let Disposal::Move(_) = how {
            return Err(self.connection.error(SourceErrorKind::Mailbox, "moving is not spoken yet"));
        }
        if how == Disposal::Keep {
            return Ok(Disposed::Confirmed);
        }
        for set in Command::sets(&uids) {
            // An EXPUNGE of exactly these UIDs takes nothing that STORE failed to flag, so that both can go together.
            let store = if matches!(how, Disposal::Delete | Disposal::Flag) { Command::StoreDeleted(&set) } else { Command::StoreSeen(&set) };
            let commands = [store, Command::Expunge(&set)];
            let tags = self.connection.send_all(&commands[..1 + usize::from(expunge)]).await?;
            for (tag, what) in tags.into_iter().zip(["UID STORE", "UID EXPUNGE"]) {
                self.finish(tag, what, |_| ()).await?;
            }
        }
        Ok(if how == Disposal::Delete && !expunge { Disposed::FlaggedOnly } else { Disposed::Confirmed })
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
