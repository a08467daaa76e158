//! `partial_fetch: on`: messages above one chunk come in pieces (`auto`: those at which an earlier session broke off), `BODY.PEEK[]<start.octets>` (RFC 9051 §6.4.5), for servers and lines that do not bear a
//! long answer. RFC822.SIZE says only which messages those are and how far to ask ahead; the message ends where a piece is shorter than asked, and
//! that end is believed only if RFC822.SIZE says the same or nothing comes behind it: a server that cuts each piece short would make us
//! deliver half a message, and delete the whole one.

use super::connection::{Input, Tag};
use super::fetch::{BODY_OCTETS_MAX, no_body};
use super::refusal::{is_not_now, said};
use super::session::ImapSession;
use crate::config::PartialMode;
use crate::proto::imap::{Body, Command, Fetch, Response, State, Status};
use crate::source::{Fetched, SourceError, SourceErrorKind, Wanted};
use crate::spool::Intake;
use std::collections::VecDeque;
use std::sync::PoisonError;

/// A piece, for who says nothing else.
const PIECE_OCTETS: u32 = 1024 * 1024;
/// The smallest: below, the commands would be more than the mail.
const PIECE_OCTETS_MIN: u32 = 4 * 1024;
/// Pieces of one message that are asked for ahead.
const PIECES_AHEAD: usize = 4;

/// Messages that one source remembers to ask for in pieces.
const BROKE_OFF_MAX: usize = 1000;

/// A message in the making. Answers are told apart by where their octets begin, not by tags: a server may send the next piece before it says
/// that it is done with this one (Dovecot does).
struct Making {
    uid: u32,
    chunk: u64,
    intake: Option<Box<Intake>>,
    /// RFC822.SIZE, if the server told it.
    stated: Option<u64>,
    total: u64,
    ended: bool,
    /// The first piece is NIL.
    is_nil: bool,
    /// Why it comes to nothing.
    failed: Option<String>,
    /// Where the pieces begin that were asked for and did not come, in order.
    due: VecDeque<u64>,
    /// Commands that have no tagged answer yet, and where their pieces begin.
    asked: VecDeque<(Tag, u64)>,
}

impl Making {
    fn fail(&mut self, why: impl Into<String>) {
        self.failed.get_or_insert(why.into());
        self.intake = None;
    }

    /// True if all that the server says the message has is here.
    fn is_full(&self) -> bool {
        self.total > 0 && self.stated == Some(self.total)
    }

    /// True if there is a use for the octets of a piece of this size: it can only be the next one.
    fn takes(&self, uid: Option<u32>, size: u64) -> bool {
        uid.is_none_or(|uid| uid == self.uid) && size <= self.chunk && !self.ended && !self.due.is_empty()
    }

    /// A piece is here; what of it [`Making::takes`] is in the intake already.
    fn came(&mut self, fetch: &Fetch, size: u64) {
        self.stated = self.stated.or(fetch.size);
        let Some(start) = self.due.pop_front() else { return self.fail("the server sent a piece twice") };
        match fetch.origin {
            _ if fetch.uid != Some(self.uid) => self.fail("the server sent another message than was asked for"),
            // NIL and an empty string have no place.
            None if size > 0 => self.fail("the server does not send pieces: `partial_fetch: off` may help"),
            Some(origin) if origin != start => self.fail("the server sent another piece than was asked for"),
            _ if size > self.chunk => self.fail("the server sent a larger piece than was asked for"),
            _ if self.ended && size > 0 => self.fail(SHORT),
            _ => {
                self.is_nil |= start == 0 && fetch.body == Some(Body::Nil);
                self.total += size;
                self.ended |= size < self.chunk;
            }
        }
    }

    /// The server is done with the piece that begins there.
    fn done(&mut self, start: u64, status: &Status) {
        if self.due.front().is_none_or(|due| *due > start) {
            // It came. A NO behind it says nothing about it that we do not know.
            return;
        }
        self.due.pop_front();
        match status.state {
            // Behind the end there is nothing, however the server says so.
            _ if self.ended || self.is_full() => self.ended = true,
            State::Ok if self.total == 0 => self.fail("the server did not send it"),
            State::Ok => self.fail("the server left out a piece"),
            State::No | State::Bad => self.fail(said(status)),
        }
    }
}

impl ImapSession {
    /// Which of these are asked for whole, and which in pieces.
    pub(super) async fn split_by_size(&mut self, uids: Vec<u32>) -> Result<(Vec<u32>, Vec<u32>), SourceError> {
        match self.shared.partial_fetch.mode {
            PartialMode::Off => return Ok((uids, Vec::new())),
            // From the beginning: nobody knows that the server would go on with the same octets.
            PartialMode::Auto => return Ok(uids.into_iter().partition(|uid| !self.broke_off_at(*uid))),
            PartialMode::On => {}
        }
        let size_of = |uid: &u32| self.fetching.wanted.get(uid).and_then(|wanted| wanted.size);
        let unknown = uids.iter().copied().filter(|uid| size_of(uid).is_none()).collect();
        let sizes = self.sizes(&unknown).await?;
        for (uid, size) in sizes {
            self.fetching.wanted.entry(uid).and_modify(|wanted| wanted.size = Some(size));
        }
        let chunk = u64::from(self.chunk());
        // A size of 0 is more often a lie than a message.
        let is_small = |uid: &u32| self.fetching.wanted.get(uid).and_then(|wanted| wanted.size).is_some_and(|size| (1..=chunk).contains(&size));
        Ok(uids.into_iter().partition(is_small))
    }

    /// True if an earlier session broke off in the middle of this message. Once: a server that knows no pieces must not keep it for ever.
    fn broke_off_at(&self, uid: u32) -> bool {
        let mut broke_off = self.shared.broke_off.lock().unwrap_or_else(PoisonError::into_inner);
        self.folder.as_ref().is_some_and(|folder| broke_off.remove(&(folder.name.clone(), folder.epoch, uid)))
    }

    /// The session breaks off in the middle of this message.
    pub(super) fn breaks_off_at(&self, uid: u32) {
        let mut broke_off = self.shared.broke_off.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = self.folder.as_ref().filter(|_| broke_off.len() < BROKE_OFF_MAX) {
            broke_off.insert((folder.name.clone(), folder.epoch, uid));
        }
    }

    fn chunk(&self) -> u32 {
        match self.shared.partial_fetch.chunk {
            0 => PIECE_OCTETS,
            chunk => chunk.max(PIECE_OCTETS_MIN),
        }
    }

    /// One message in pieces. Nothing else is on its way.
    pub(super) async fn fetch_in_pieces(&mut self, uid: u32, wanted: Wanted) -> Result<Fetched, SourceError> {
        if let Some(octets) = wanted.size.filter(|size| self.too_large(*size)) {
            return Ok(Fetched::TooLarge { uid: wanted.uid, octets });
        }
        let intake = Some(Box::new(self.intake(uid, u64::MAX).await));
        let (due, asked) = (VecDeque::new(), VecDeque::new());
        let chunk = u64::from(self.chunk());
        let mut making = Making { uid, chunk, intake, stated: wanted.size, total: 0, ended: false, is_nil: false, failed: None, due, asked };
        let mut next = 0;
        loop {
            // Up to what the server says the message has; from there on one by one, because the server may be wrong.
            let expects = |next: u64, making: &Making| making.stated.is_some_and(|stated| next <= stated);
            while !making.ended && making.failed.is_none() && making.asked.len() < PIECES_AHEAD && (making.asked.is_empty() || expects(next, &making))
            {
                self.ask_for(&mut making, next).await?;
                next += chunk;
            }
            if making.asked.is_empty() {
                break;
            }
            self.next_of_message(&mut making).await?;
            if self.too_large(making.total) {
                (making.ended, making.intake) = (true, None);
            } else if making.total > BODY_OCTETS_MAX {
                making.fail("the server does not come to its end");
            }
        }
        if making.failed.is_none() && making.total > 0 && !making.is_full() && !self.too_large(making.total) {
            // It ended, but not where RFC822.SIZE says: is there more? What comes is no part of the message.
            let start = making.total;
            self.ask_for(&mut making, start).await?;
            while !making.asked.is_empty() {
                self.next_of_message(&mut making).await?;
            }
        }
        match (making.failed, making.intake) {
            _ if self.too_large(making.total) => Ok(Fetched::TooLarge { uid: wanted.uid, octets: making.total.max(making.stated.unwrap_or(0)) }),
            (Some(reason), _) => Ok(Fetched::Missing { uid: wanted.uid, reason }),
            (None, _) if making.is_nil => Ok(no_body(wanted)),
            (None, _) if making.total == 0 => self.empty(wanted, making.stated).await,
            // Their FETCH does not ask for the letter's name: the few messages that come so are known by their content alone.
            (None, Some(intake)) => self.message(wanted, None, *intake).await,
            (None, None) => Ok(Fetched::Missing { uid: wanted.uid, reason: "its pieces were lost".into() }),
        }
    }

    async fn ask_for(&mut self, making: &mut Making, start: u64) -> Result<(), SourceError> {
        let octets = u32::try_from(making.chunk).unwrap_or(u32::MAX);
        let tag = self.connection.send(&Command::FetchPiece { uid: making.uid, start, octets }).await?;
        making.due.push_back(start);
        making.asked.push_back((tag, start));
        Ok(())
    }

    /// One thing that the server says, while pieces are on their way.
    async fn next_of_message(&mut self, making: &mut Making) -> Result<(), SourceError> {
        match self.connection.next().await? {
            Input::BodyStart(line, size) => {
                let takes = making.takes(Response::uid_before_body(&line), size);
                let mut nowhere = None;
                let fetch = self.read_body(size, if takes { &mut making.intake } else { &mut nowhere }).await?;
                making.came(&fetch, size);
            }
            Input::Fetch(fetch) => match (&fetch.body, fetch.broken) {
                (Some(Body::Inline(octets)), false) => {
                    let size = octets.len() as u64;
                    if making.takes(fetch.uid, size)
                        && let Some(intake) = &mut making.intake
                    {
                        intake.write(octets).await.map_err(|error| self.disk(error))?;
                    }
                    making.came(&fetch, size);
                }
                (Some(Body::Nil), false) => making.came(&fetch, 0),
                // Flags that somebody changed.
                _ => {}
            },
            Input::Answer(answered, status) => {
                let Some((_, start)) = making.asked.pop_front().filter(|(tag, _)| *tag == answered) else {
                    return Err(self.connection.error(SourceErrorKind::Protocol, "the server answers commands in another order than they were sent"));
                };
                if status.state == State::Bad || (status.state == State::No && is_not_now(&status)) {
                    return Err(self.connection.refused("UID FETCH", &status));
                }
                making.done(start, &status);
            }
            other => self.folder.iter_mut().for_each(|folder| folder.note(&other)),
        }
        Ok(())
    }
}

const SHORT: &str = "the server sends shorter pieces than were asked for: `partial_fetch: off` may help";
