//! The TRANSACTION state: what a caller may ask for, and in which order.

use super::super::{Disposal, Disposed, Fetched, Listing, Peeked, Selected, Session, SourceError, SourceErrorKind, Want, Wanted};
use super::Pop3Source;
use super::login::Login;
use super::peek::Look;
use super::pipeline::{Pipeline, Task};
use super::quirks::Quirks;
use super::roster::Roster;
use super::wire::Wire;
use crate::mail::{CollectorId, Epoch, FolderName, MailboxId, RemoteUid, by_content};
use crate::spool::Spool;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Most octets of one message, for those who configured no limit: a server could go on for ever.
pub(super) const MESSAGE_OCTETS_MAX: u64 = 16 << 30;

pub(super) struct Pop3Session {
    pub(super) pipe: Pipeline,
    pub(super) quirks: Arc<Quirks>,
    pub(super) spool: Spool,
    pub(super) collector: CollectorId,
    pub(super) mailbox: Arc<MailboxId>,
    pub(super) max_message_size: Option<u64>,
    /// Messages may be read to be told apart, however many.
    pub(super) by_content: bool,
    /// CAPA has UIDL.
    pub(super) offers_uidl: bool,
    /// CAPA has TOP, or nothing is known.
    pub(super) offers_top: bool,
    /// False while an operation runs: an error, or a future that was dropped, leaves the session unusable.
    sound: bool,
    exists: Option<u64>,
    pub(super) roster: Option<Roster>,
    /// Answers to a fetch that need no server.
    missing: VecDeque<Fetched>,
    /// RETRs queued or sent.
    pub(super) retrieving: usize,
}

impl Pop3Session {
    pub(super) fn new(source: &Pop3Source, wire: Wire, login: Login, has_capa: bool) -> Self {
        let pipelines = login.capabilities.pipelining && source.quirks.pipelining.may_try();
        Pop3Session {
            pipe: Pipeline::new(wire, pipelines, login.asked_ahead),
            quirks: source.quirks.clone(),
            spool: source.spool.clone(),
            collector: source.collector.clone(),
            mailbox: source.mailbox.clone(),
            max_message_size: source.max_message_size,
            by_content: source.by_content,
            offers_uidl: login.capabilities.uidl,
            offers_top: login.capabilities.top || !has_capa,
            sound: true,
            exists: None,
            roster: None,
            missing: VecDeque::new(),
            retrieving: 0,
        }
    }

    /// Every operation starts here, and ends with `self.sound = true` if it went well.
    fn begin(&mut self, stage: &'static str) -> Result<(), SourceError> {
        self.pipe.wire.stage = stage;
        if !std::mem::replace(&mut self.sound, false) {
            return Err(self.pipe.wire.error(SourceErrorKind::Protocol, "the session was used after an error"));
        }
        Ok(())
    }

    /// How many messages STAT counted at the start.
    pub(super) async fn stat(&mut self) -> Result<u64, SourceError> {
        if self.exists.is_none() {
            self.exists = Some(self.pipe.stat().await?);
        }
        Ok(self.exists.unwrap_or_default())
    }

    /// Queues the DELE of a message that this session listed.
    fn mark(&mut self, uid: &RemoteUid) {
        if let Some(number) = self.roster.as_ref().and_then(|roster| roster.number(uid))
            && self.pipe.deletions.request(uid)
        {
            self.pipe.push(Task::Dele { number, uid: uid.clone() });
        }
    }

    async fn quit(&mut self) -> Result<Vec<RemoteUid>, SourceError> {
        self.begin("quit")?;
        if self.retrieving > 0 {
            return Err(self.pipe.wire.error(SourceErrorKind::Closed, "closed without QUIT: messages were still on their way"));
        }
        self.pipe.quit().await?;
        let confirmed = self.pipe.deletions.confirmed();
        confirmed.map_err(|refusal| self.pipe.wire.error(SourceErrorKind::Mailbox, "the server refuses to delete").said(&refusal))
    }
}

#[async_trait]
impl Session for Pop3Session {
    async fn select(&mut self, folder: &FolderName) -> Result<Selected, SourceError> {
        self.begin("select")?;
        if *folder != FolderName::inbox() {
            let text = format!("a POP3 mailbox has no folder `{}`", folder.as_str());
            return Err(self.pipe.wire.error(SourceErrorKind::Mailbox, text).hint("POP3 has only INBOX; folders need IMAP"));
        }
        let exists = self.stat().await;
        if self.pipe.asked_ahead() && exists.is_err() {
            self.quirks.pipelining.note(&exists);
        }
        self.sound = exists.is_ok();
        Ok(Selected { epoch: Epoch(0), exists: exists?, uid_next: None, can_delete: true })
    }

    async fn list(&mut self, want: Want) -> Result<Listing, SourceError> {
        self.begin("list")?;
        if want.not_before.is_some() {
            let text = "a POP3 server does not tell when its messages arrived";
            return Err(self.pipe.wire.error(SourceErrorKind::Mailbox, text).hint("`--since` needs IMAP"));
        }
        let ahead = self.pipe.asked_ahead();
        let listing = self.survey(want).await;
        if ahead {
            self.quirks.pipelining.note(&listing);
        }
        self.sound = listing.is_ok();
        listing
    }

    async fn fetch(&mut self, batch: Vec<Wanted>) -> Result<(), SourceError> {
        self.begin("fetch")?;
        let Some(roster) = self.roster.as_ref().filter(|_| self.retrieving == 0 && self.missing.is_empty()) else {
            return Err(self.pipe.out_of_turn());
        };
        for wanted in batch {
            let reason = match roster.number(&wanted.uid) {
                Some(number) => {
                    self.pipe.push(Task::Retr { number, wanted });
                    self.retrieving += 1;
                    continue;
                }
                None if Roster::is_session_name(&wanted.uid) => {
                    "the server gives this message no unique id (UIDL) that can be used, and it could not be told by its content"
                }
                None if by_content::is_name(&wanted.uid) => "no message in this session's listing has this content",
                None => "the message is not in this session's listing",
            };
            self.missing.push_back(Fetched::Missing { uid: wanted.uid, reason: reason.into() });
        }
        let pumped = self.pipe.pump().await;
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
            let Some((Task::Retr { wanted, .. }, reply)) = self.pipe.next().await? else { return Err(self.pipe.out_of_turn()) };
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
        self.sound = peeked.as_ref().map_or_else(SourceError::is_refusal, |_| true);
        Ok(peeked?.pop())
    }

    fn peer(&self) -> Option<IpAddr> {
        self.pipe.wire.channel().peer_ip()
    }

    async fn dispose(&mut self, uids: &[RemoteUid], how: Disposal) -> Result<Disposed, SourceError> {
        self.begin("dispose")?;
        let wire = &self.pipe.wire;
        let disposed = match how {
            Disposal::Keep => Disposed::Confirmed,
            Disposal::Flag => return Err(wire.error(SourceErrorKind::Mailbox, "POP3 has no \\Deleted to set")),
            Disposal::Move(_) => return Err(wire.error(SourceErrorKind::Mailbox, "POP3 has no folders to move to")),
            Disposal::MarkSeen => return Err(wire.error(SourceErrorKind::Mailbox, "POP3 has no \\Seen to set")),
            Disposal::Delete if self.roster.is_none() => {
                return Err(wire.error(SourceErrorKind::Mailbox, "nothing can be deleted before a listing in this session"));
            }
            Disposal::Delete => {
                uids.iter().for_each(|uid| self.mark(uid));
                self.pipe.pump().await?;
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
