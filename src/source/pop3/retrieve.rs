//! A message on its way in.

use super::super::{Fetched, SourceError, SourceErrorKind, Wanted};
use super::session::{MESSAGE_OCTETS_MAX, Pop3Session};
use crate::mail::outcome::harmless;
use crate::mail::{Epoch, FolderName, MessageKey};
use crate::proto::pop3::{Piece, Reply, Status, Unstuff};
use crate::spool::{Intake, SpoolError};
use std::time::Duration;

/// A server that may have ended a message without the line end before the dot is waited for so long.
const GRACE: Duration = Duration::from_secs(5);
/// What it then ended with.
const BARE_END: &[u8; 3] = b".\r\n";

impl Pop3Session {
    /// Reads what follows the first line of an answer to RETR.
    pub(super) async fn receive(&mut self, wanted: Wanted, reply: Reply) -> Result<Fetched, SourceError> {
        let uid = wanted.uid.clone();
        if reply.status != Status::Ok {
            return Ok(Fetched::Missing { uid, reason: harmless(&reply.text, 300) });
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
        let mut text = Text { intake: Some(self.spool.intake(key, announced).await), octets: 0, limit, last: Vec::new() };
        let exact = [wanted.size, reply.octets()];
        let mut unstuff = Unstuff::new();
        'message: loop {
            let may_be_over = self.pipe.one_at_a_time() && text.may_be_over(exact);
            let mut input = match self.pipe.wire.octets_within(may_be_over.then_some(GRACE)).await? {
                Some(input) => input,
                None => {
                    text.cut_bare_end();
                    break;
                }
            };
            let before = input.len();
            loop {
                match unstuff.next(&mut input) {
                    Piece::Text(piece) => {
                        if let Err(error) = text.push(piece).await {
                            return Err(self.disk(error));
                        }
                    }
                    Piece::More => break,
                    Piece::End => {
                        let used = before - input.len();
                        self.pipe.wire.consume(used);
                        break 'message;
                    }
                }
            }
            self.pipe.wire.consume(before);
            if text.octets > limit.max(MESSAGE_OCTETS_MAX) {
                return Err(self.pipe.wire.error(SourceErrorKind::Protocol, "the server sends a message without an end"));
            }
        }
        let octets = text.octets;
        let intake = match text.finish().await {
            Ok(Some(intake)) => intake,
            Ok(None) => return Ok(Fetched::TooLarge { uid, octets }),
            Err(error) => return Err(self.disk(error)),
        };
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
        self.pipe.wire.error(SourceErrorKind::Disk, error.to_string()).hint(crate::spool::HINT)
    }
}

/// A message's text on its way to the spool, the last octets of it held back.
struct Text {
    /// `None` once it is too large.
    intake: Option<Intake>,
    octets: u64,
    limit: u64,
    /// Octets that came and were not yet written: they may turn out to be the server's end of the message.
    last: Vec<u8>,
}

impl Text {
    async fn push(&mut self, piece: &[u8]) -> Result<(), SpoolError> {
        self.octets += piece.len() as u64;
        if self.octets > self.limit.saturating_add(BARE_END.len() as u64) {
            self.intake = None;
        }
        let Some(intake) = &mut self.intake else { return Ok(()) };
        if let Some(sure) = piece.len().checked_sub(KEPT_BACK) {
            intake.write(&self.last).await?;
            self.last.clear();
            intake.write(&piece[..sure]).await?;
            self.last.extend_from_slice(&piece[sure..]);
        } else {
            self.last.extend_from_slice(piece);
            let sure = self.last.len().saturating_sub(KEPT_BACK);
            intake.write(&self.last[..sure]).await?;
            self.last.drain(..sure);
        }
        Ok(())
    }

    /// True if all announced octets are here, and what follows them looks like the dot of a server that puts no line end before it (old
    /// Exchange). The dot of a line of its own cannot be meant: that one would have been the end.
    fn may_be_over(&self, announced: [Option<u64>; 2]) -> bool {
        let [before @ .., _, _, _] = self.last.as_slice() else { return false };
        let bare = self.last.ends_with(BARE_END) && before.last().is_some_and(|octet| *octet != b'\n');
        bare && announced.into_iter().flatten().any(|octets| octets > 0 && octets + BARE_END.len() as u64 == self.octets)
    }

    /// The server's dot is no part of the message.
    fn cut_bare_end(&mut self) {
        self.last.truncate(self.last.len().saturating_sub(BARE_END.len()));
        self.octets -= BARE_END.len() as u64;
    }

    /// Everything is here: the intake, or `None` if the message is too large.
    async fn finish(self) -> Result<Option<Intake>, SpoolError> {
        let Some(mut intake) = self.intake.filter(|_| self.octets <= self.limit) else { return Ok(None) };
        intake.write(&self.last).await?;
        Ok(Some(intake))
    }
}

/// The bare end, and the octet before it.
const KEPT_BACK: usize = BARE_END.len() + 1;
