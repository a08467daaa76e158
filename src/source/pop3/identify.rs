//! Messages that no id of the server tells apart: they are read, and called by what they hold.

use super::super::{PEEKED_OCTETS_MAX, Peeked, SourceError};
use super::content::ContentDigest;
use super::pipeline::Task;
use super::roster::Roster;
use super::session::{MESSAGE_OCTETS_MAX, Pop3Session};
use super::survey::{Nameless, Survey};
use crate::mail::{HeaderBlock, RemoteUid};
use crate::proto::pop3::reply::Refusal;
use crate::proto::pop3::{Reply, Status};

/// So many messages of a listing are told by their content in any case: where UIDL fails for a few, reading them in each pass costs little,
/// and leaving them would be worse.
const ALWAYS_MAX: usize = 100;
/// Messages that are asked for together.
const AHEAD: usize = 256;

impl Pop3Session {
    /// Names what has no id of its own, as far as that is allowed and the server shows it.
    pub(super) async fn name_by_content(&mut self, survey: &mut Survey, has_uidl: bool) -> Result<(), SourceError> {
        let nameless = std::mem::take(&mut survey.nameless);
        let allowed = self.by_content || (has_uidl && nameless.len() <= ALWAYS_MAX);
        if !allowed {
            survey.unnamed = nameless.iter().map(|one| one.number).collect();
            survey.partial |= !nameless.is_empty();
            return Ok(());
        }
        let mut gaps = Vec::new();
        for some in nameless.chunks(AHEAD) {
            if survey.fresh.len() + gaps.len() >= survey.want.limit {
                (survey.more, survey.partial) = (true, true);
                break;
            }
            some.iter().for_each(|one| self.pipe.push(Task::Identify { number: one.number }));
            for one in some {
                let Some((Task::Identify { .. }, reply)) = self.pipe.next().await? else { return Err(self.pipe.out_of_turn()) };
                match self.identify(reply, survey.want.since.is_some()).await? {
                    // Judged when all others are named.
                    Some((content, header)) if one.is_gap && has_uidl => gaps.push((*one, content, header)),
                    Some((content, header)) => survey.named(*one, content, header),
                    None => {
                        survey.unnamed.push(one.number);
                        survey.partial = true;
                    }
                }
            }
        }
        self.judge_gaps(survey, gaps);
        if survey.fresh.len() > survey.want.limit {
            survey.fresh.sort_by_key(|fresh| fresh.number);
            survey.fresh.truncate(survey.want.limit);
            survey.more = true;
        }
        Ok(())
    }

    /// Messages for which UIDL has no line. While ids are missing that the caller remembers, they may be those: a damaged listing must not bring
    /// mail a second time. When it stays so, the server means it.
    fn judge_gaps(&self, survey: &mut Survey, gaps: Vec<(Nameless, u128, Option<HeaderBlock>)>) {
        let before = survey.fresh.len();
        let cut = survey.partial && survey.more;
        for (one, content, header) in gaps {
            survey.named(one, content, header);
        }
        if cut {
            // Not everything was looked at, so that nothing can be said of what is missing.
        } else if !survey.misses_some() {
            self.quirks.gaps.end();
        } else if survey.fresh.len() > before && self.quirks.gaps.may_try() {
            self.quirks.gaps.more();
            survey.unnamed.extend(survey.fresh.drain(before..).map(|fresh| fresh.number));
            survey.partial = true;
        }
    }

    /// Reads a message that is not kept: the hash of its content, and its header if that is wanted. `None` if the server does not show it.
    async fn identify(&mut self, reply: Reply, header_wanted: bool) -> Result<Option<(u128, Option<HeaderBlock>)>, SourceError> {
        if reply.status != Status::Ok {
            return match reply.refusal() {
                Refusal::NotNow => Err(self.pipe.refused("RETR", &reply)),
                _ => Ok(None),
            };
        }
        let (mut digest, mut header) = (ContentDigest::new(), Vec::new());
        let room = if header_wanted { PEEKED_OCTETS_MAX } else { 0 };
        let octets = self.pipe.wire.text(MESSAGE_OCTETS_MAX, |piece| {
            digest.push(piece);
            header.extend_from_slice(&piece[..piece.len().min(room - header.len())]);
        });
        let octets = octets.await?;
        // Servers answer so when they cannot read the message.
        if octets == 0 && reply.octets() != Some(0) {
            return Ok(None);
        }
        let header = header_wanted.then(|| header_block(&header, octets));
        Ok(Some((digest.finish(), header)))
    }

    /// Takes out of the survey what came before the time that is asked for: each message's own header says when, read by TOP. Where there is no
    /// TOP, nothing is taken out, and the caller sees the date when it has the message.
    pub(super) async fn before(&mut self, survey: &mut Survey) -> Result<Vec<RemoteUid>, SourceError> {
        let Some(since) = survey.want.since else { return Ok(Vec::new()) };
        let mut asked: Vec<(u32, usize)> = Vec::new();
        for (at, fresh) in survey.fresh.iter().enumerate().filter(|(_, fresh)| !survey.is_due(&fresh.uid)) {
            if fresh.header.is_none() {
                asked.push((fresh.number, at));
            }
        }
        let mut offered = self.offers_top;
        for some in asked.chunks(AHEAD) {
            if !offered {
                break;
            }
            for (number, at) in some {
                self.pipe.push(Task::Top { number: *number, uid: survey.fresh[*at].uid.clone() });
            }
            let mut refusals = 0;
            for (_, at) in some {
                let Some((Task::Top { .. }, reply)) = self.pipe.next().await? else { return Err(self.pipe.out_of_turn()) };
                match (reply.status, reply.refusal()) {
                    (Status::Ok, _) => survey.fresh[*at].header = Some(self.top().await?),
                    (_, Refusal::NotNow) => return Err(self.pipe.refused("TOP", &reply)),
                    _ => refusals += 1,
                }
            }
            // It does not know the command.
            offered = refusals < some.len();
        }
        let mut older = Vec::new();
        let due: Vec<bool> = survey.fresh.iter().map(|fresh| survey.is_due(&fresh.uid)).collect();
        let mut due = due.into_iter();
        survey.fresh.retain_mut(|fresh| {
            let arrived = fresh.header.take().and_then(|header| crate::mail::arrived(&header));
            let keep = due.next().unwrap_or(true) || arrived.is_none_or(|arrived| arrived >= since);
            if !keep {
                older.push(fresh.uid.clone());
            }
            keep
        });
        Ok(older)
    }

    /// The header that follows an answer to TOP. A server that ignores the 0 sends lines of the text too.
    pub(super) async fn top(&mut self) -> Result<HeaderBlock, SourceError> {
        let mut header = Vec::new();
        let octets = self.pipe.wire.text(TOP_OCTETS_MAX, |piece| {
            let room = PEEKED_OCTETS_MAX - header.len();
            header.extend_from_slice(&piece[..piece.len().min(room)]);
        });
        let octets = octets.await?;
        Ok(header_block(&header, octets))
    }
}

/// Most octets of one answer to TOP: some servers send the whole message.
const TOP_OCTETS_MAX: u64 = 256 * 1024 * 1024;

/// A header of which `octets` came and these were kept.
fn header_block(kept: &[u8], octets: u64) -> HeaderBlock {
    Peeked::new(Roster::session_name(0), kept, octets > kept.len() as u64).header
}
