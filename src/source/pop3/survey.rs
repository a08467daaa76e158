//! A listing in the making: which messages there are, and which of them the caller has to know of.

use super::super::{Listed, Listing, SourceError, SourceErrorKind, Want};
use super::pipeline::Task;
use super::roster::Roster;
use super::session::Pop3Session;
use super::wire::Wire;
use crate::mail::uidset::digest;
use crate::mail::{HeaderBlock, Present, RemoteUid, by_content};
use crate::proto::pop3::reply::Refusal;
use crate::proto::pop3::{Reply, Status, listing};
use std::collections::HashSet;

/// Most messages of a mailbox.
const MESSAGES_MAX: usize = 1_000_000;

/// A listing in the making.
pub(super) struct Survey {
    pub(super) want: Want,
    /// The digests of `want.also`.
    also: HashSet<u128>,
    /// Ids that were shared by messages of `want.also`.
    was_shared: HashSet<u128>,
    pub(super) roster: Roster,
    /// What is not known, or wanted all the same; by number once [`Survey::settle`] ran.
    pub(super) fresh: Vec<Fresh>,
    /// What cannot be called by an id, by number.
    pub(super) nameless: Vec<Nameless>,
    /// What could not be called by its content either.
    pub(super) unnamed: Vec<u32>,
    /// Messages that STAT counts and no deletion of this session explains.
    there: u64,
    pub(super) more: bool,
    /// Nothing can be said of what was not found.
    pub(super) partial: bool,
}

/// A message to be listed.
pub(super) struct Fresh {
    pub(super) number: u32,
    pub(super) uid: RemoteUid,
    pub(super) size: Option<u64>,
    /// Its header, if it was read on the way.
    pub(super) header: Option<HeaderBlock>,
}

/// A message to be called by its content.
#[derive(Clone, Copy)]
pub(super) struct Nameless {
    pub(super) number: u32,
    /// The id that it shares, or shared, with others.
    pub(super) id: Option<u128>,
    /// UIDL has no line for it at all.
    pub(super) is_gap: bool,
}

impl Survey {
    fn new(want: Want) -> Self {
        let also = want.also.iter().filter_map(name_digest).collect();
        let was_shared = want.also.iter().filter_map(by_content::shared_id).collect();
        let (roster, fresh, nameless, unnamed) = Default::default();
        Survey { want, also, was_shared, roster, fresh, nameless, unnamed, there: 0, more: false, partial: false }
    }

    /// Reads the lines of UIDL.
    async fn read_ids(&mut self, wire: &mut Wire) -> Result<(), SourceError> {
        let mut lines = 0;
        while let Some(line) = wire.listed_line().await? {
            let (octets, cut) = (line.octets, line.cut);
            lines += 1;
            // A line that names no message, or a number for the second time, is left out: the listing then is shorter than STAT's count.
            if let Some(line) = listing::uidl(octets, cut) {
                let id = line.id.map(digest);
                if self.roster.enter(line.number, id)
                    && let Some((id, name)) = id.zip(line.id)
                {
                    self.meet(line.number, id, name);
                }
            }
            if lines > MESSAGES_MAX {
                return Err(too_many(wire));
            }
        }
        Ok(())
    }

    fn meet(&mut self, number: u32, id: u128, name: &[u8]) {
        let is_known = self.want.known.meet_digest(id);
        if self.want.known.was_shared(id) || self.was_shared.contains(&id) {
            self.nameless.push(Nameless { number, id: Some(id), is_gap: false });
        } else if !is_known || self.also.contains(&id) {
            if self.fresh.len() < self.want.limit {
                self.fresh.push(Fresh { number, uid: RemoteUid::Opaque(name.into()), size: None, header: None });
            } else {
                self.more = true;
            }
        }
    }

    /// Ends the reading of ids.
    fn settle(&mut self) {
        for (number, id) in self.roster.settle() {
            self.nameless.push(Nameless { number, id: Some(id), is_gap: false });
        }
        self.nameless.extend(self.roster.nameless().iter().map(|number| Nameless { number: *number, id: None, is_gap: false }));
        self.sort();
        let nameless = &self.nameless;
        self.fresh.retain(|fresh| nameless.binary_search_by_key(&fresh.number, |one| one.number).is_err());
    }

    fn sort(&mut self) {
        self.fresh.sort_by_key(|fresh| fresh.number);
        self.nameless.sort_by_key(|one| one.number);
        self.nameless.dedup_by_key(|one| one.number);
    }

    /// True if UIDL told of fewer messages than there are.
    fn has_gaps(&self) -> bool {
        (self.roster.len() as u64) < self.there
    }

    /// Reads the lines of LIST: sizes, and with `gaps` the numbers that UIDL left out.
    async fn read_sizes(&mut self, wire: &mut Wire, gaps: bool) -> Result<(), SourceError> {
        let mut lines = 0;
        while let Some(line) = wire.listed_line().await? {
            lines += 1;
            if let Some((number, size)) = listing::list(line.octets) {
                if let Ok(at) = self.fresh.binary_search_by_key(&number, |fresh| fresh.number) {
                    self.fresh[at].size = Some(size);
                }
                if gaps && self.roster.enter(number, None) {
                    self.nameless.push(Nameless { number, id: None, is_gap: true });
                }
            }
            if lines > MESSAGES_MAX {
                return Err(too_many(wire));
            }
        }
        self.sort();
        Ok(())
    }

    /// Notes a message that was called by its content.
    pub(super) fn named(&mut self, one: Nameless, content: u128, header: Option<HeaderBlock>) {
        let uid = self.roster.call(one.number, one.id, content);
        self.want.known.remove(&Roster::session_name(one.number));
        if !self.want.known.meet(&uid) || self.is_due(&uid) {
            self.fresh.push(Fresh { number: one.number, uid, size: None, header });
        }
    }

    /// True if the message is listed whether it is known or not.
    pub(super) fn is_due(&self, uid: &RemoteUid) -> bool {
        name_digest(uid).is_some_and(|name| self.also.contains(&name))
    }

    /// True if something that the caller remembers was not found.
    pub(super) fn misses_some(&self) -> bool {
        self.want.known.unmet() > 0 || self.want.also.iter().any(|uid| !Roster::is_session_name(uid) && !self.contains(uid))
    }

    fn contains(&self, uid: &RemoteUid) -> bool {
        if Roster::is_session_name(uid) {
            return self.unnamed.iter().any(|number| Roster::session_name(*number) == *uid);
        }
        self.roster.number(uid).is_some()
    }

    /// The listing, and the roster for what follows.
    fn listing(mut self, older: Vec<RemoteUid>) -> (Listing, Roster) {
        self.fresh.sort_by_key(|fresh| fresh.number);
        let mut unnamed: Vec<RemoteUid> = self.unnamed.iter().map(|number| Roster::session_name(*number)).collect();
        unnamed.retain(|uid| !self.want.known.meet(uid) || self.is_due(uid));
        // Those that can never be fetched come last, so that they take no one's place.
        let room = self.want.limit.saturating_sub(self.fresh.len() + older.len());
        self.more |= unnamed.len() > room;
        // An id that was missed by a damaged listing must not be forgotten, or its message would be collected again.
        let complete = !self.partial && !self.has_gaps();
        let vanished = if complete { self.want.also.iter().filter(|uid| !self.contains(uid)).cloned().collect() } else { Vec::new() };
        let unnamed = unnamed.into_iter().take(room).map(|uid| Listed { uid, size: None });
        let messages = self.fresh.into_iter().map(|fresh| Listed { uid: fresh.uid, size: fresh.size }).chain(unnamed).collect();
        let present = complete.then_some(Present::Met(self.want.known));
        (Listing { messages, more: self.more, older, vanished, present, met_nothing: false, cursor: None }, self.roster)
    }
}

fn name_digest(uid: &RemoteUid) -> Option<u128> {
    match uid {
        RemoteUid::Opaque(name) => Some(digest(name)),
        RemoteUid::Number(_) => None,
    }
}

fn too_many(wire: &Wire) -> SourceError {
    wire.error(SourceErrorKind::Protocol, format!("the server lists more than {MESSAGES_MAX} messages"))
}

impl Pop3Session {
    /// Lists the mailbox: UIDL, LIST only if it is needed, and what it takes to tell the rest apart.
    pub(super) async fn survey(&mut self, want: Want) -> Result<Listing, SourceError> {
        let exists = self.stat().await?;
        if self.retrieving > 0 {
            return Err(self.pipe.out_of_turn());
        }
        let mut survey = Survey::new(want);
        let sizes = survey.want.sizes;
        self.pipe.push_uidl();
        if sizes {
            self.pipe.push(Task::List);
        }
        let reply = self.pipe.uidl().await?;
        // By now every DELE before it is answered.
        survey.there = exists.saturating_sub(self.pipe.deletions.accepted());
        let has_uidl = reply.status == Status::Ok;
        if has_uidl {
            survey.read_ids(&mut self.pipe.wire).await?;
        } else {
            self.without_uidl(&survey, &reply)?;
        }
        survey.settle();
        let gaps = survey.has_gaps();
        if gaps && !sizes {
            self.pipe.push(Task::List);
        }
        if gaps || sizes {
            match self.pipe.next().await? {
                Some((Task::List, reply)) if reply.status == Status::Ok => survey.read_sizes(&mut self.pipe.wire, gaps).await?,
                Some((Task::List, reply)) if !has_uidl => return Err(self.pipe.refused("LIST", &reply)),
                // Sizes are hints: without them the limit is enforced as the message comes.
                Some((Task::List, _)) => {}
                _ => return Err(self.pipe.out_of_turn()),
            }
        }
        self.name_by_content(&mut survey, has_uidl).await?;
        let older = self.before(&mut survey).await?;
        let (listing, roster) = survey.listing(older);
        self.roster = Some(roster);
        Ok(listing)
    }

    /// UIDL was refused. A server that never had it can be collected from by content; one that only cannot now would have everything come again.
    fn without_uidl(&self, survey: &Survey, reply: &Reply) -> Result<(), SourceError> {
        let error = self.pipe.refused("UIDL", reply);
        let plain = |uid: &RemoteUid| !by_content::is_name(uid) && !Roster::is_session_name(uid);
        let had_it = self.offers_uidl || survey.want.known.has_plain() || survey.want.also.iter().any(plain);
        if had_it || reply.refusal() == Refusal::NotNow {
            return Err(error);
        }
        if !self.by_content {
            return Err(error.hint(
                "a server without UIDL (RFC 1939 §7) has to be asked for every message in each pass, to tell them apart: \
                 `keep_without_uidl: true` allows that, and `after: delete` needs no leave; or try IMAP",
            ));
        }
        Ok(())
    }
}
