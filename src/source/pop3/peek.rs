//! Looking at headers: UIDL for the names, TOP n 0 for the headers. Never RETR, which servers take for "collected" (RFC 1939 §7 leaves TOP
//! optional, so that it may be refused).

use super::roster::Roster;
use super::session::{Pop3Session, Task};
use crate::mail::RemoteUid;
use crate::mail::outcome::harmless;
use crate::proto::pop3::reply::Refusal;
use crate::proto::pop3::{Piece, Status, Unstuff, listing};
use crate::source::{PEEKED_OCTETS_IN_ALL_MAX, PEEKED_OCTETS_MAX, Peeked, SourceError, SourceErrorKind};
use std::collections::VecDeque;

/// Most lines of a listing that are read.
const LINES_MAX: usize = 1_000_000;
/// Headers that are asked for together.
const TOPS_AHEAD: usize = 64;
/// Most octets of one answer to TOP: some servers send the whole message.
const TOP_OCTETS_MAX: u64 = 256 * 1024 * 1024;

const NO_TOP: &str = "without TOP headers cannot be read alone, and RETR would mark messages as collected: use IMAP, or save a message to a file for `mailgather explain FILE`";

/// Which messages.
#[derive(Clone, Copy)]
pub(super) enum Look<'a> {
    /// The last ones.
    Last(usize),
    /// This one.
    At(&'a RemoteUid),
}

impl Pop3Session {
    /// The headers of messages, oldest first.
    pub(super) async fn peek(&mut self, look: Look<'_>) -> Result<Vec<Peeked>, SourceError> {
        self.stat().await?;
        if self.retrieving > 0 {
            return Err(self.out_of_turn());
        }
        let mut wanted = self.named(look).await?;
        let mut peeked = Vec::new();
        let (mut octets, mut refused) = (0, None);
        // From the newest backwards: when the limit is reached, the older ones are left out.
        while octets < PEEKED_OCTETS_IN_ALL_MAX && !wanted.is_empty() {
            let from = wanted.len().saturating_sub(TOPS_AHEAD);
            self.queue.extend(wanted.drain(from..).rev().map(|(number, uid)| Task::Top { number, uid }));
            while let Some((task, reply)) = self.next_but_dele().await? {
                let Task::Top { uid, .. } = task else { return Err(self.out_of_turn()) };
                if reply.status != Status::Ok {
                    if reply.refusal() == Refusal::NotNow {
                        return Err(self.refused("TOP", &reply));
                    }
                    refused.get_or_insert(reply);
                    continue;
                }
                let (header, cut) = self.top().await?;
                octets += header.len();
                peeked.push(Peeked::new(uid, &header, cut));
            }
        }
        match refused {
            Some(reply) if peeked.is_empty() => {
                let error = self.wire.error(SourceErrorKind::Mailbox, "the server refuses TOP, which reads a header alone");
                Err(error.said(&harmless(&reply.text, 300)).hint(NO_TOP))
            }
            _ => {
                peeked.reverse();
                Ok(peeked)
            }
        }
    }

    /// The numbers and names of these messages, oldest first.
    async fn named(&mut self, look: Look<'_>) -> Result<VecDeque<(u32, RemoteUid)>, SourceError> {
        if !std::mem::take(&mut self.asked_ahead) {
            self.queue.push_back(Task::Uidl);
        }
        let Some((Task::Uidl, reply)) = self.next_but_dele().await? else { return Err(self.out_of_turn()) };
        if reply.status != Status::Ok {
            return Err(self.refused("UIDL", &reply));
        }
        let mut wanted: VecDeque<(u32, RemoteUid)> = VecDeque::new();
        let (mut roster, mut lines) = (Roster::default(), 0);
        while let Some(line) = self.wire.listed_line().await? {
            lines += 1;
            if lines > LINES_MAX {
                return Err(self.wire.error(SourceErrorKind::Protocol, format!("the server lists more than {LINES_MAX} messages")));
            }
            let Some(line) = listing::uidl(line.octets, line.cut) else { continue };
            let Some(uid) = roster.enter(line.number, line.id) else { continue };
            match look {
                Look::At(one) if *one != uid => {}
                Look::Last(0) => {}
                Look::Last(last) if wanted.len() >= last => {
                    wanted.pop_front();
                    wanted.push_back((line.number, uid));
                }
                Look::Last(_) | Look::At(_) => wanted.push_back((line.number, uid)),
            }
        }
        self.roster = Some(roster);
        Ok(wanted)
    }

    /// The text of one answer to TOP, and whether it was cut: a server that ignores the 0 sends lines of the text too.
    async fn top(&mut self) -> Result<(Vec<u8>, bool), SourceError> {
        let (mut unstuff, mut header, mut octets) = (Unstuff::new(), Vec::new(), 0u64);
        loop {
            let mut input = self.wire.octets().await?;
            let before = input.len();
            let (used, at_end) = loop {
                match unstuff.next(&mut input) {
                    Piece::Text(piece) => {
                        octets += piece.len() as u64;
                        let room = PEEKED_OCTETS_MAX - header.len();
                        header.extend_from_slice(&piece[..piece.len().min(room)]);
                    }
                    Piece::More => break (before, false),
                    Piece::End => break (before - input.len(), true),
                }
            };
            self.wire.consume(used);
            if at_end {
                let cut = octets > header.len() as u64;
                return Ok((header, cut));
            }
            if octets > TOP_OCTETS_MAX {
                return Err(self.wire.error(SourceErrorKind::Protocol, "the server sends a header without an end"));
            }
        }
    }
}
