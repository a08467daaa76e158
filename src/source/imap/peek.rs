//! Looking at headers: nothing is marked, nothing is spooled. The last messages are asked for by sequence numbers, so that a mailbox of any size
//! costs the same; numbers stay what they are between these commands, because a server announces no EXPUNGE during FETCH (RFC 9051 §7.5.1).

use super::connection::Input;
use super::refusal::is_not_now;
use super::session::ImapSession;
use crate::mail::RemoteUid;
use crate::proto::imap::{Body, Command, Fetch, State};
use crate::source::{PEEKED_OCTETS_IN_ALL_MAX, PEEKED_OCTETS_MAX, Peeked, SourceError, SourceErrorKind};
use std::collections::BTreeMap;

/// Headers that one command asks for: at the limit of each they stay below what a server may send between two answers.
const CHUNK_HEADERS: u32 = 50;
/// Largest header that is read at all, be it to be cut.
const LITERAL_OCTETS_MAX: u64 = 16 * 1024 * 1024;

impl ImapSession {
    /// The headers of the last messages, oldest first.
    pub(super) async fn peek_last(&mut self, last: usize) -> Result<Vec<Peeked>, SourceError> {
        let mut newest = self.folder.as_ref().map_or(0, |folder| folder.exists);
        let mut left = u32::try_from(last).unwrap_or(u32::MAX).min(newest);
        let mut all = BTreeMap::new();
        let mut octets = 0;
        // From the newest backwards: when the limit is reached, the older ones are left out.
        while left > 0 && octets < PEEKED_OCTETS_IN_ALL_MAX {
            let count = left.min(CHUNK_HEADERS);
            let oldest = newest - (count - 1);
            octets += self.peek(&Command::FetchHeadersBetween(oldest, newest), count, None, &mut all).await?;
            (newest, left) = (oldest - 1, left - count);
        }
        Ok(all.into_values().collect())
    }

    /// The header of one message.
    pub(super) async fn peek_one(&mut self, uid: &RemoteUid) -> Result<Option<Peeked>, SourceError> {
        let Some(number) = uid.number().filter(|number| *number > 0) else { return Ok(None) };
        let mut found = BTreeMap::new();
        self.peek(&Command::FetchHeaders(&number.to_string()), 1, Some(number), &mut found).await?;
        Ok(found.remove(&number))
    }

    /// Asks for at most `count` headers and adds those that come; `only` if one certain UID was asked for. Returns how many octets they have.
    async fn peek(&mut self, command: &Command<'_>, count: u32, only: Option<u32>, all: &mut BTreeMap<u32, Peeked>) -> Result<usize, SourceError> {
        let tag = self.connection.send(command).await?;
        let room = all.len() + count as usize;
        let mut octets = 0;
        let before = all.len();
        loop {
            let (fetch, streamed) = match self.connection.next().await? {
                Input::BodyStart(_, size) => self.streamed_header(size).await?,
                Input::Fetch(fetch) => (fetch, None),
                Input::Answer(answered, status) if answered == tag => {
                    // A server that cannot read one message says NO behind those that it could.
                    return match status.state {
                        State::Ok => Ok(octets),
                        State::No if all.len() > before && !is_not_now(&status) => Ok(octets),
                        _ => Err(self.connection.refused("FETCH of headers", &status)),
                    };
                }
                Input::Answer(..) => return Err(self.connection.error(SourceErrorKind::Protocol, "an answer to another command than the one sent")),
                other => {
                    self.folder.iter_mut().for_each(|folder| folder.note(&other));
                    continue;
                }
            };
            let (Some(uid), false) = (fetch.uid, fetch.broken) else { continue };
            let (header, cut) = match (fetch.header, streamed) {
                (Some(Body::Streamed(size)), Some(header)) => {
                    let cut = size > header.len() as u64;
                    (header, cut)
                }
                (Some(Body::Inline(header)), _) => (header, false),
                (Some(Body::Nil), _) => (Vec::new(), false),
                _ => continue,
            };
            if all.len() < room && only.is_none_or(|only| only == uid) {
                octets += header.len();
                all.insert(uid, Peeked::new(RemoteUid::Number(uid), &header, cut));
            }
        }
    }

    /// A header that comes as a literal, up to the limit, and the response around it.
    async fn streamed_header(&mut self, size: u64) -> Result<(Fetch, Option<Vec<u8>>), SourceError> {
        if size > LITERAL_OCTETS_MAX {
            return Err(self.connection.error(SourceErrorKind::Protocol, format!("the server announces a header of {size} octets")));
        }
        let mut header = Vec::new();
        loop {
            match self.connection.next().await? {
                Input::Body(octets) => {
                    let room = PEEKED_OCTETS_MAX - header.len();
                    header.extend_from_slice(&octets[..octets.len().min(room)]);
                }
                Input::BodyEnd => {}
                Input::Fetch(fetch) => return Ok((fetch, Some(header))),
                _ => return Err(self.connection.error(SourceErrorKind::Protocol, "the server sent two bodies for one message")),
            }
        }
    }
}
