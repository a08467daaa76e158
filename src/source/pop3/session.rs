//! The TRANSACTION state: a first-in-first-out line of commands, of which a window is on its way.

use super::super::{Disposal, Disposed, Fetched, Listed, Listing, Peeked, Selected, Session, SourceError, SourceErrorKind, Want, Wanted};
use super::login::Login;
use super::peek::Look;
use super::roster::Roster;
use super::wire::Wire;
use super::{Pop3Source, Quirks};
use crate::mail::{CollectorId, Epoch, FolderName, MailboxId, MessageKey, Present, RemoteUid};
use crate::proto::pop3::reply::Refusal;
use crate::proto::pop3::{Command, Piece, Reply, Status, Unstuff, listing};
use crate::spool::{Spool, SpoolError};
use async_trait::async_trait;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Commands on their way at once, where the server takes more than one. At 17 octets each they fit into any socket's buffer, so that a
/// write never waits for a server that itself waits for us to read.
const WINDOW: usize = 256;
/// Most messages of a mailbox.
const MESSAGES_MAX: usize = 1_000_000;
/// Most octets of one message, for those who configured no limit: a server could go on for ever.
const MESSAGE_OCTETS_MAX: u64 = 16 << 30;

pub(super) struct Pop3Session {
    pub(super) wire: Wire,
    quirks: Arc<Quirks>,
    spool: Spool,
    collector: CollectorId,
    mailbox: Arc<MailboxId>,
    max_message_size: Option<u64>,
    window: usize,
    /// Commands to send, in order.
    pub(super) queue: VecDeque<Task>,
    /// Commands sent, whose answers are outstanding, in order.
    sent: VecDeque<Task>,
    /// STAT and UIDL went out with the login, and not both are answered.
    pub(super) asked_ahead: bool,
    /// False while an operation runs: an error, or a future that was dropped, leaves the session unusable.
    sound: bool,
    exists: Option<u64>,
    pub(super) roster: Option<Roster>,
    /// Answers to a fetch that need no server.
    missing: VecDeque<Fetched>,
    /// RETRs queued or sent.
    pub(super) retrieving: usize,
    requested: HashSet<RemoteUid>,
    /// Messages that share an id, until all of them may go.
    held: HashMap<u128, HashSet<RemoteUid>>,
    accepted: Vec<RemoteUid>,
    /// The last refusal of a DELE.
    refusal: Option<String>,
    /// One of several messages that share an id was marked, another could not be.
    torn: bool,
}

/// A command of this state.
#[derive(Debug)]
pub(super) enum Task {
    Stat,
    Uidl,
    List,
    Retr { number: u32, wanted: Wanted },
    Top { number: u32, uid: RemoteUid },
    Dele { number: u32, uid: RemoteUid, twin: bool },
    Quit,
}

impl Task {
    fn command(&self) -> Command<'static> {
        match self {
            Task::Stat => Command::Stat,
            Task::Uidl => Command::Uidl,
            Task::List => Command::List,
            Task::Retr { number, .. } => Command::Retr(*number),
            Task::Top { number, .. } => Command::Top(*number),
            Task::Dele { number, .. } => Command::Dele(*number),
            Task::Quit => Command::Quit,
        }
    }
}

impl Pop3Session {
    pub(super) fn new(source: &Pop3Source, wire: Wire, login: Login) -> Self {
        let pipelines = login.capabilities.pipelining && source.quirks.pipelining.may_try();
        let sent = if login.asked_ahead { VecDeque::from([Task::Stat, Task::Uidl]) } else { VecDeque::new() };
        Pop3Session {
            wire,
            quirks: source.quirks.clone(),
            spool: source.spool.clone(),
            collector: source.collector.clone(),
            mailbox: source.mailbox.clone(),
            max_message_size: source.max_message_size,
            window: if pipelines { WINDOW } else { 1 },
            queue: VecDeque::new(),
            sent,
            asked_ahead: login.asked_ahead,
            sound: true,
            exists: None,
            roster: None,
            missing: VecDeque::new(),
            retrieving: 0,
            requested: HashSet::new(),
            held: HashMap::new(),
            accepted: Vec::new(),
            refusal: None,
            torn: false,
        }
    }

    /// Every operation starts here, and ends with `self.sound = true` if it went well.
    fn begin(&mut self, stage: &'static str) -> Result<(), SourceError> {
        self.wire.stage = stage;
        if !std::mem::replace(&mut self.sound, false) {
            return Err(self.wire.error(SourceErrorKind::Protocol, "the session was used after an error"));
        }
        Ok(())
    }

    /// Sends what the window allows, in one write. It is filled anew when half of it is answered, so that writes are few.
    async fn pump(&mut self) -> Result<(), SourceError> {
        if self.sent.len() > self.window / 2 {
            return Ok(());
        }
        while self.sent.len() < self.window
            && let Some(task) = self.queue.pop_front()
        {
            self.wire.push(task.command())?;
            self.sent.push_back(task);
        }
        self.wire.flush().await
    }

    /// The next command whose answer is to be read now, with the first line of the answer.
    async fn next_answer(&mut self) -> Result<Option<(Task, Reply)>, SourceError> {
        self.pump().await?;
        let Some(task) = self.sent.pop_front() else { return Ok(None) };
        let reply = self.wire.final_reply().await?;
        Ok(Some((task, reply)))
    }

    /// Reads answers up to the next one that is not for a DELE.
    pub(super) async fn next_but_dele(&mut self) -> Result<Option<(Task, Reply)>, SourceError> {
        loop {
            match self.next_answer().await? {
                Some((Task::Dele { uid, twin, .. }, reply)) => self.note_dele(uid, twin, reply),
                answer => return Ok(answer),
            }
        }
    }

    fn note_dele(&mut self, uid: RemoteUid, twin: bool, reply: Reply) {
        if reply.status == Status::Ok {
            self.accepted.push(uid);
        } else {
            self.torn |= twin;
            self.refusal = Some(reply.text);
        }
    }

    pub(super) fn refused(&self, what: &str, reply: &Reply) -> SourceError {
        let kind = if reply.refusal() == Refusal::NotNow { SourceErrorKind::Throttled } else { SourceErrorKind::Mailbox };
        self.wire.error(kind, format!("the server refuses {what}")).said(&reply.text)
    }

    pub(super) fn out_of_turn(&self) -> SourceError {
        self.wire.error(SourceErrorKind::Protocol, "operations of the session were mixed up")
    }

    pub(super) async fn stat(&mut self) -> Result<u64, SourceError> {
        if let Some(exists) = self.exists {
            return Ok(exists);
        }
        if !self.asked_ahead {
            self.queue.push_back(Task::Stat);
        }
        let Some((Task::Stat, reply)) = self.next_but_dele().await? else { return Err(self.out_of_turn()) };
        if reply.status != Status::Ok {
            return Err(self.refused("STAT", &reply));
        }
        let Some((exists, _)) = reply.stat() else {
            return Err(self.wire.error(SourceErrorKind::Protocol, "the answer to STAT has no count").said(&reply.text));
        };
        self.exists = Some(exists);
        Ok(exists)
    }

    async fn read_listing(&mut self, mut want: Want) -> Result<Listing, SourceError> {
        let exists = self.stat().await?;
        if self.retrieving > 0 {
            return Err(self.out_of_turn());
        }
        if !std::mem::take(&mut self.asked_ahead) {
            self.queue.push_back(Task::Uidl);
        }
        if want.sizes {
            self.queue.push_back(Task::List);
        }
        let Some((Task::Uidl, reply)) = self.next_but_dele().await? else { return Err(self.out_of_turn()) };
        if reply.status != Status::Ok {
            let error = self.refused("UIDL", &reply);
            return Err(error.hint("a server without UIDL (RFC 1939 §7) cannot be collected from: its messages cannot be told apart; try IMAP"));
        }
        let also: HashSet<RemoteUid> = want.also.iter().cloned().collect();
        let (mut roster, mut messages, mut unusable) = (Roster::default(), Vec::new(), Vec::new());
        let (mut lines, mut more) = (0, false);
        let mut index = HashMap::new();
        while let Some(line) = self.wire.listed_line().await? {
            lines += 1;
            if lines > MESSAGES_MAX {
                return Err(self.wire.error(SourceErrorKind::Protocol, format!("the server lists more than {MESSAGES_MAX} messages")));
            }
            // A line that names no message, or a number for the second time, is left out: the listing then is shorter than STAT's count.
            let Some(line) = listing::uidl(line.octets, line.cut) else { continue };
            let Some(uid) = roster.enter(line.number, line.id) else { continue };
            let known = want.known.meet(&uid);
            if known && !also.contains(&uid) {
                continue;
            }
            // Those that can never be fetched come last, so that they take no one's place.
            let list = if line.id.is_some() { &mut messages } else { &mut unusable };
            if list.len() < want.limit {
                list.push(Listed { uid, size: None });
                if want.sizes && line.id.is_some() {
                    index.insert(line.number, messages.len() - 1);
                }
            } else {
                more = true;
            }
        }
        let room = want.limit - messages.len();
        more |= unusable.len() > room;
        messages.extend(unusable.into_iter().take(room));
        if want.sizes {
            self.read_sizes(&index, &mut messages).await?;
        }
        // An id that was missed by a damaged listing must not be forgotten, or its message would be collected again.
        let complete = roster.len() as u64 + self.accepted.len() as u64 >= exists;
        let vanished = if complete { want.also.into_iter().filter(|uid| !roster.contains(uid)).collect() } else { Vec::new() };
        self.roster = Some(roster);
        Ok(Listing { messages, more, vanished, present: complete.then_some(Present::Met(want.known)) })
    }

    async fn read_sizes(&mut self, index: &HashMap<u32, usize>, messages: &mut [Listed]) -> Result<(), SourceError> {
        let Some((Task::List, reply)) = self.next_but_dele().await? else { return Err(self.out_of_turn()) };
        if reply.status != Status::Ok {
            // Sizes are hints: without them the limit is enforced as the message comes.
            return Ok(());
        }
        let mut lines = 0;
        while let Some(line) = self.wire.listed_line().await? {
            lines += 1;
            if lines > MESSAGES_MAX {
                return Err(self.wire.error(SourceErrorKind::Protocol, format!("the server lists more than {MESSAGES_MAX} messages")));
            }
            if let Some((number, size)) = listing::list(line.octets)
                && let Some(at) = index.get(&number)
            {
                messages[*at].size = Some(size);
            }
        }
        Ok(())
    }

    async fn receive(&mut self, wanted: Wanted, reply: Reply) -> Result<Fetched, SourceError> {
        let uid = wanted.uid.clone();
        if reply.status != Status::Ok {
            return Ok(Fetched::Missing { uid, reason: crate::mail::outcome::harmless(&reply.text, 300) });
        }
        let announced = wanted.size.or(reply.octets());
        let limit = self.max_message_size.unwrap_or(MESSAGE_OCTETS_MAX);
        let key = MessageKey {
            collector: self.collector.clone(),
            mailbox: self.mailbox.clone(),
            folder: FolderName::inbox(),
            epoch: Epoch(0),
            uid: wanted.uid,
            generation: wanted.generation,
        };
        let mut intake = Some(self.spool.intake(key, announced).await);
        let (mut unstuff, mut octets) = (Unstuff::new(), 0u64);
        'message: loop {
            let mut input = self.wire.octets().await?;
            let before = input.len();
            loop {
                match unstuff.next(&mut input) {
                    Piece::Text(piece) => {
                        octets += piece.len() as u64;
                        if octets > limit {
                            intake = None;
                        } else if let Some(intake) = &mut intake
                            && let Err(error) = intake.write(piece).await
                        {
                            return Err(self.disk(error));
                        }
                    }
                    Piece::More => break,
                    Piece::End => {
                        let used = before - input.len();
                        self.wire.consume(used);
                        break 'message;
                    }
                }
            }
            self.wire.consume(before);
            if octets > limit.max(MESSAGE_OCTETS_MAX) {
                return Err(self.wire.error(SourceErrorKind::Protocol, "the server sends a message without an end"));
            }
        }
        let Some(intake) = intake else { return Ok(Fetched::TooLarge { uid, octets }) };
        if octets == 0 && announced != Some(0) {
            // Servers answer so when they cannot read the message; a truly empty one is announced with 0 octets.
            let size = announced.map_or("no size".to_owned(), |size| format!("{size} octets"));
            return Ok(Fetched::Missing { uid, reason: format!("the server sent nothing, though it announced {size}") });
        }
        match intake.finish().await {
            Ok(message) => Ok(Fetched::Message(Box::new(message))),
            Err(error) => Err(self.disk(error)),
        }
    }

    fn disk(&self, error: SpoolError) -> SourceError {
        self.wire.error(SourceErrorKind::Disk, error.to_string())
    }

    /// Queues the DELE of a message, or keeps it until those that share its id may go as well.
    fn mark(&mut self, uid: &RemoteUid) {
        let Some(roster) = &self.roster else { return };
        let Some((digest, count)) = roster.twins(uid) else { return };
        if roster.number(uid).is_none() || !self.requested.insert(uid.clone()) {
            return;
        }
        let together = if count == 1 {
            HashSet::from([uid.clone()])
        } else {
            let held = self.held.entry(digest).or_default();
            held.insert(uid.clone());
            if held.len() < count as usize {
                return;
            }
            self.held.remove(&digest).unwrap_or_default()
        };
        for uid in together {
            if let Some(number) = roster.number(&uid) {
                self.queue.push_back(Task::Dele { number, uid, twin: count > 1 });
            }
        }
    }

    async fn quit(&mut self) -> Result<Vec<RemoteUid>, SourceError> {
        self.begin("quit")?;
        if self.retrieving > 0 {
            return Err(self.wire.error(SourceErrorKind::Closed, "closed without QUIT: messages were still on their way"));
        }
        // Marked in part, messages that share an id must not be deleted: their answers are awaited first.
        let twins = self.queue.iter().chain(&self.sent).any(|task| matches!(task, Task::Dele { twin: true, .. }));
        let mut quit_later = twins || self.torn;
        if !quit_later {
            self.queue.push_back(Task::Quit);
        }
        loop {
            match self.next_but_dele().await? {
                Some((Task::Quit, reply)) if reply.status == Status::Ok => break,
                // RFC 1939 §6: some deleted messages were not removed, and nobody knows which.
                Some((Task::Quit, reply)) => return Err(self.wire.error(SourceErrorKind::Mailbox, "QUIT failed").said(&reply.text)),
                // Asked ahead, and never wanted.
                Some((Task::Uidl | Task::List, reply)) if reply.status == Status::Ok => while self.wire.listed_line().await?.is_some() {},
                Some(_) => {}
                None if self.torn => {
                    return Err(self.wire.error(SourceErrorKind::Mailbox, "of several messages with one id not all could be deleted; none is"));
                }
                None if quit_later => {
                    self.queue.push_back(Task::Quit);
                    quit_later = false;
                }
                None => return Err(self.out_of_turn()),
            }
        }
        match self.refusal.take() {
            Some(refusal) if self.accepted.is_empty() => {
                Err(self.wire.error(SourceErrorKind::Mailbox, "the server refuses to delete").said(&refusal))
            }
            _ => Ok(std::mem::take(&mut self.accepted)),
        }
    }
}

#[async_trait]
impl Session for Pop3Session {
    async fn select(&mut self, folder: &FolderName) -> Result<Selected, SourceError> {
        self.begin("select")?;
        if *folder != FolderName::inbox() {
            let text = format!("a POP3 mailbox has no folder `{}`", folder.as_str());
            return Err(self.wire.error(SourceErrorKind::Mailbox, text).hint("POP3 has only INBOX; folders need IMAP"));
        }
        let exists = self.stat().await;
        if self.asked_ahead && exists.is_err() {
            self.quirks.pipelining.note(&exists);
        }
        self.sound = exists.is_ok();
        Ok(Selected { epoch: Epoch(0), exists: exists?, uid_next: None, can_delete: true })
    }

    async fn list(&mut self, want: Want) -> Result<Listing, SourceError> {
        self.begin("list")?;
        let ahead = self.asked_ahead;
        let listing = self.read_listing(want).await;
        if ahead {
            self.quirks.pipelining.note(&listing);
        }
        self.sound = listing.is_ok();
        listing
    }

    async fn fetch(&mut self, batch: Vec<Wanted>) -> Result<(), SourceError> {
        self.begin("fetch")?;
        let Some(roster) = self.roster.as_ref().filter(|_| self.retrieving == 0 && self.missing.is_empty()) else {
            return Err(self.out_of_turn());
        };
        for wanted in batch {
            let reason = match roster.number(&wanted.uid) {
                Some(number) => {
                    self.queue.push_back(Task::Retr { number, wanted });
                    self.retrieving += 1;
                    continue;
                }
                None if Roster::is_unusable(&wanted.uid) => "the server gives this message no usable unique id (UIDL)",
                None => "the message is not in this session's listing",
            };
            self.missing.push_back(Fetched::Missing { uid: wanted.uid, reason: reason.into() });
        }
        let pumped = self.pump().await;
        self.sound = pumped.is_ok();
        pumped
    }

    async fn next_message(&mut self) -> Result<Option<Fetched>, SourceError> {
        self.begin("fetch")?;
        let fetched = if let Some(missing) = self.missing.pop_front() {
            Some(missing)
        } else if self.retrieving == 0 {
            None
        } else {
            let Some((Task::Retr { wanted, .. }, reply)) = self.next_but_dele().await? else { return Err(self.out_of_turn()) };
            let fetched = self.receive(wanted, reply).await?;
            self.retrieving -= 1;
            Some(fetched)
        };
        self.sound = true;
        Ok(fetched)
    }

    async fn headers(&mut self, last: usize) -> Result<Vec<Peeked>, SourceError> {
        self.begin("headers")?;
        let peeked = self.peek(Look::Last(last)).await;
        self.sound = peeked.is_ok();
        peeked
    }

    async fn header_of(&mut self, uid: &RemoteUid) -> Result<Option<Peeked>, SourceError> {
        self.begin("headers")?;
        let peeked = self.peek(Look::At(uid)).await;
        self.sound = peeked.is_ok();
        Ok(peeked?.pop())
    }

    fn peer(&self) -> Option<IpAddr> {
        self.wire.channel().peer_ip()
    }

    async fn dispose(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError> {
        self.begin("dispose")?;
        let disposed = match how {
            Disposal::Keep => Disposed::Confirmed,
            Disposal::Flag => return Err(self.wire.error(SourceErrorKind::Mailbox, "POP3 has no \\Deleted to set")),
            Disposal::Move(_) => return Err(self.wire.error(SourceErrorKind::Mailbox, "POP3 has no folders to move to")),
            Disposal::MarkSeen => return Err(self.wire.error(SourceErrorKind::Mailbox, "POP3 has no \\Seen to set")),
            Disposal::Delete if self.roster.is_none() => {
                return Err(self.wire.error(SourceErrorKind::Mailbox, "nothing can be deleted before a listing in this session"));
            }
            Disposal::Delete => {
                uids.iter().for_each(|uid| self.mark(uid));
                self.pump().await?;
                Disposed::Requested
            }
        };
        self.sound = true;
        Ok(disposed)
    }

    async fn close(mut self: Box<Self>) -> Result<Vec<RemoteUid>, SourceError> {
        self.quit().await
    }

    async fn abandon(self: Box<Self>) {}
}
