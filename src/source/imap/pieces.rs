//! `partial_fetch: on`: messages above one chunk come in pieces, `BODY.PEEK[]<start.octets>` (RFC 9051 §6.4.5), for servers and lines that do not bear a
//! long answer. RFC822.SIZE says only which messages those are and how far to ask ahead; the message ends where a piece is shorter than asked, and
//! that end is believed only if RFC822.SIZE says the same or nothing comes behind it: a server that cuts each piece short would make us
//! deliver half a message, and delete the whole one.

use super::connection::{Input, Tag};
use super::fetch::BODY_OCTETS_MAX;
use super::refusal::{is_not_now, said};
use super::session::ImapSession;
use crate::config::PartialMode;
use crate::proto::imap::{Body, Command, Fetch, Response, State, Status};
use crate::source::{Fetched, SourceError, SourceErrorKind, Wanted};
use crate::spool::Intake;
use std::collections::VecDeque;

/// A piece, for who says nothing else.
const PIECE_OCTETS: u32 = 1024 * 1024;
/// The smallest: below, the commands would be more than the mail.
const PIECE_OCTETS_MIN: u32 = 4 * 1024;
/// Pieces of one message that are asked for ahead.
const PIECES_AHEAD: usize = 4;

/// What came of one piece.
enum Piece {
    /// So many octets, at the place that was asked for; all of them went to the intake.
    Octets(u64),
    /// The server said OK and sent nothing.
    Absent,
    /// The server refused.
    Refused(Status),
    /// Not the octets that were asked for.
    Misfit(&'static str),
}

/// A message in the making.
struct Making {
    uid: u32,
    intake: Option<Box<Intake>>,
    /// RFC822.SIZE, if the server told it.
    stated: Option<u64>,
    total: u64,
    ended: bool,
    /// Why it comes to nothing.
    failed: Option<String>,
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
}

impl ImapSession {
    /// Which of these are asked for whole, and which in pieces.
    pub(super) async fn split_by_size(&mut self, uids: Vec<u32>) -> Result<(Vec<u32>, Vec<u32>), SourceError> {
        // `auto` is whole: a transfer that broke off ended its session, and the next one cannot know that the server would go on with the same octets.
        if self.shared.partial_fetch.mode != PartialMode::On {
            return Ok((uids, Vec::new()));
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
        let chunk = self.chunk();
        let intake = Some(Box::new(self.intake(uid, u64::MAX).await));
        let mut making = Making { uid, intake, stated: wanted.size, total: 0, ended: false, failed: None };
        let (mut ahead, mut next): (VecDeque<(Tag, u64)>, u64) = (VecDeque::new(), 0);
        loop {
            // Up to what the server says the message has; from there on one by one, because the server may be wrong.
            let expects = |next: u64, making: &Making| making.stated.is_some_and(|stated| next <= stated);
            while !making.ended && making.failed.is_none() && ahead.len() < PIECES_AHEAD && (ahead.is_empty() || expects(next, &making)) {
                ahead.push_back((self.connection.send(&Command::FetchPiece { uid, start: next, octets: chunk }).await?, next));
                next += u64::from(chunk);
            }
            let Some((tag, start)) = ahead.pop_front() else { break };
            let piece = self.piece(tag, start, u64::from(chunk), &mut making).await?;
            self.add(&mut making, u64::from(chunk), piece)?;
        }
        if making.failed.is_none() && making.total > 0 && !making.is_full() && !self.too_large(making.total) {
            self.probe_end(&mut making, chunk).await?;
        }
        match (making.failed, making.intake) {
            _ if self.too_large(making.total) => Ok(Fetched::TooLarge { uid: wanted.uid, octets: making.total.max(making.stated.unwrap_or(0)) }),
            (Some(reason), _) => Ok(Fetched::Missing { uid: wanted.uid, reason }),
            (None, _) if making.total == 0 => self.empty(wanted, making.stated).await,
            (None, Some(intake)) => self.message(wanted, *intake).await,
            (None, None) => Ok(Fetched::Missing { uid: wanted.uid, reason: "its pieces were lost".into() }),
        }
    }

    fn add(&self, making: &mut Making, chunk: u64, piece: Piece) -> Result<(), SourceError> {
        match piece {
            // Behind the end there is nothing, however the server says so.
            Piece::Absent | Piece::Refused(Status { state: State::No, .. }) if making.ended || making.is_full() => making.ended = true,
            Piece::Absent if making.total == 0 => making.fail("the server did not send it"),
            Piece::Absent => making.fail("the server left out a piece"),
            Piece::Refused(status) if status.state == State::Bad || is_not_now(&status) => return Err(self.connection.refused("UID FETCH", &status)),
            Piece::Refused(status) => making.fail(said(&status)),
            Piece::Misfit(why) => making.fail(why),
            Piece::Octets(0) if making.ended => {}
            Piece::Octets(_) if making.ended => making.fail(SHORT),
            Piece::Octets(octets) => {
                making.total += octets;
                making.ended = octets < chunk;
                if self.too_large(making.total) {
                    (making.ended, making.intake) = (true, None);
                } else if making.total > BODY_OCTETS_MAX {
                    making.fail("the server does not come to its end");
                }
            }
        }
        Ok(())
    }

    /// The message ended, but not where RFC822.SIZE says: is there more?
    async fn probe_end(&mut self, making: &mut Making, chunk: u32) -> Result<(), SourceError> {
        let start = making.total;
        let tag = self.connection.send(&Command::FetchPiece { uid: making.uid, start, octets: chunk }).await?;
        // Whatever comes is no part of the message.
        let mut nothing = Making { uid: making.uid, intake: None, stated: None, total: 0, ended: true, failed: None };
        match self.piece(tag, start, u64::from(chunk), &mut nothing).await? {
            Piece::Octets(0) | Piece::Absent => {}
            Piece::Octets(_) | Piece::Misfit(_) => making.fail(SHORT),
            Piece::Refused(status) if status.state == State::Bad || is_not_now(&status) => return Err(self.connection.refused("UID FETCH", &status)),
            Piece::Refused(_) => {}
        }
        Ok(())
    }

    /// The answer to one piece.
    async fn piece(&mut self, tag: Tag, start: u64, chunk: u64, making: &mut Making) -> Result<Piece, SourceError> {
        let mut piece = Piece::Absent;
        loop {
            let (fetch, size) = match self.connection.next().await? {
                Input::BodyStart(line, size) => {
                    let is_other = Response::uid_before_body(&line).is_some_and(|uid| uid != making.uid);
                    let mut nowhere = None;
                    let useless = is_other || size > chunk || making.ended || !matches!(piece, Piece::Absent);
                    let intake = if useless { &mut nowhere } else { &mut making.intake };
                    let fetch = self.read_body(size, intake).await?;
                    (fetch, size)
                }
                Input::Fetch(fetch) => match (&fetch.body, fetch.broken) {
                    (Some(Body::Inline(octets)), false) => {
                        let size = octets.len() as u64;
                        if fetch.uid == Some(making.uid)
                            && size <= chunk
                            && !making.ended
                            && matches!(piece, Piece::Absent)
                            && let Some(intake) = &mut making.intake
                        {
                            intake.write(octets).await.map_err(|error| self.disk(error))?;
                        }
                        (fetch, size)
                    }
                    (Some(Body::Nil), false) => (fetch, 0),
                    _ => continue,
                },
                Input::Answer(answered, status) if answered == tag => {
                    return Ok(if status.state == State::Ok { piece } else { Piece::Refused(status) });
                }
                Input::Answer(..) => {
                    return Err(self.connection.error(SourceErrorKind::Protocol, "the server answers commands in another order than they were sent"));
                }
                other => {
                    self.folder.iter_mut().for_each(|folder| folder.note(&other));
                    continue;
                }
            };
            making.stated = making.stated.or(fetch.size);
            piece = match piece {
                Piece::Absent => judge(&fetch, size, start, chunk, making.uid),
                _ => Piece::Misfit("the server sent a piece twice"),
            };
        }
    }
}

const SHORT: &str = "the server sends shorter pieces than were asked for: `partial_fetch: off` may help";

fn judge(fetch: &Fetch, size: u64, start: u64, chunk: u64, uid: u32) -> Piece {
    match fetch.origin {
        _ if fetch.uid != Some(uid) => Piece::Misfit("the server sent another message than was asked for"),
        // NIL and an empty string have no place.
        None if size == 0 => Piece::Octets(0),
        None => Piece::Misfit("the server does not send pieces: `partial_fetch: off` may help"),
        Some(origin) if origin != start => Piece::Misfit("the server sent another piece than was asked for"),
        Some(_) if size > chunk => Piece::Misfit("the server sent a larger piece than was asked for"),
        Some(_) => Piece::Octets(size),
    }
}
