//! Looking at headers: UIDL for the names, TOP n 0 for the headers. Never RETR, which servers take for "collected" (RFC 1939 §7 leaves TOP
//! optional, so that it may be refused). The answer is only ever looked at: Maillennium cuts it off at 64 to 82 kB.

use super::pipeline::Task;
use super::roster::Roster;
use super::session::Pop3Session;
use crate::mail::RemoteUid;
use crate::mail::outcome::harmless;
use crate::mail::uidset::digest;
use crate::proto::pop3::reply::Refusal;
use crate::proto::pop3::{Status, listing};
use crate::source::{PEEKED_OCTETS_IN_ALL_MAX, Peeked, SourceError, SourceErrorKind};
use std::collections::VecDeque;

/// Most lines of a listing that are read.
const LINES_MAX: usize = 1_000_000;
/// Headers that are asked for together.
const TOPS_AHEAD: usize = 64;

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
            return Err(self.pipe.out_of_turn());
        }
        let mut wanted = self.names(look).await?;
        let mut peeked = Vec::new();
        let (mut octets, mut refused) = (0, None);
        // From the newest backwards: when the limit is reached, the older ones are left out.
        while octets < PEEKED_OCTETS_IN_ALL_MAX && !wanted.is_empty() {
            let from = wanted.len().saturating_sub(TOPS_AHEAD);
            wanted.drain(from..).rev().for_each(|(number, uid)| self.pipe.push(Task::Top { number, uid }));
            while let Some((task, reply)) = self.pipe.next().await? {
                let Task::Top { uid, .. } = task else { return Err(self.pipe.out_of_turn()) };
                if reply.status != Status::Ok {
                    if reply.refusal() == Refusal::NotNow {
                        return Err(self.pipe.refused("TOP", &reply));
                    }
                    refused.get_or_insert(reply);
                    continue;
                }
                let header = self.top().await?;
                octets += header.octets().len();
                peeked.push(Peeked { uid, header });
            }
        }
        match refused {
            Some(reply) if peeked.is_empty() => {
                let error = self.pipe.wire.error(SourceErrorKind::Mailbox, "the server refuses TOP, which reads a header alone");
                Err(error.said(&harmless(&reply.text, 300)).hint(NO_TOP))
            }
            _ => {
                peeked.reverse();
                Ok(peeked)
            }
        }
    }

    /// The numbers and names of these messages, oldest first. Those without an id of their own are called by their number.
    async fn names(&mut self, look: Look<'_>) -> Result<VecDeque<(u32, RemoteUid)>, SourceError> {
        // A listing knows more: names by content, and everything else that the rest of the session asks for.
        if let (Look::At(uid), Some(roster)) = (look, &self.roster) {
            return Ok(roster.number(uid).map(|number| (number, uid.clone())).into_iter().collect());
        }
        self.pipe.push_uidl();
        let reply = self.pipe.uidl().await?;
        if reply.status != Status::Ok {
            return Err(self.pipe.refused("UIDL", &reply));
        }
        let mut wanted: VecDeque<(u32, RemoteUid)> = VecDeque::new();
        let (mut roster, mut lines) = (Roster::default(), 0);
        while let Some(line) = self.pipe.wire.listed_line().await? {
            let read = listing::uidl(line.octets, line.cut);
            lines += 1;
            if let Some(line) = read
                && roster.enter(line.number, line.id.map(digest))
            {
                let uid = line.id.map_or_else(|| Roster::session_name(line.number), |id| RemoteUid::Opaque(id.into()));
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
            if lines > LINES_MAX {
                return Err(self.pipe.wire.error(SourceErrorKind::Protocol, format!("the server lists more than {LINES_MAX} messages")));
            }
        }
        let shared = roster.settle();
        for (number, uid) in &mut wanted {
            if shared.binary_search_by_key(number, |(number, _)| *number).is_ok() {
                *uid = Roster::session_name(*number);
            }
        }
        self.roster.get_or_insert(roster);
        Ok(wanted)
    }
}
