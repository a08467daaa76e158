//! Messages on their way in: many with each request, each streamed to the spool.

use super::session::{EwsSession, id_of};
use super::wire::Incoming;
use crate::mail::outcome::harmless;
use crate::mail::{Epoch, Message, MessageKey, RemoteUid};
use crate::proto::ews::{Class, CodeKind, Event, Fault, ItemInfo, MimeEnd, Outcome};
use crate::source::{Fetched, PEEKED_OCTETS_IN_ALL_MAX, PEEKED_OCTETS_MAX, Peeked, SourceError, SourceErrorKind, Wanted};
use crate::spool::{Intake, SpoolError};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// Messages of one GetItem.
const MESSAGES_MAX: usize = 100;
/// Octets of them together, as the server gave their sizes; a larger one is asked for alone. What was answered when a connection breaks is not lost, so
/// this bounds what the server has to make ready at once.
const OCTETS_MAX: u64 = 16 * 1024 * 1024;
/// What one of which nothing is known is taken for.
const OCTETS_USUAL: u64 = 64 * 1024;
/// Messages of one GetItem that only wants headers.
const PEEKED_MAX: usize = 20;
/// Behind a header so much is read on; what is longer costs a connection.
const READ_ON_MAX: u64 = 1024 * 1024;
/// So many messages in a row that the server shows and has no time to give are no fault of theirs.
const STUCK_MAX: u32 = 4;
/// Most octets of one message, for those who configured no limit: a server could go on for ever.
const MESSAGE_OCTETS_MAX: u64 = 16 << 30;

/// A request whose answer is coming in.
pub(super) struct Batch {
    incoming: Incoming,
    /// What came and was not yet read.
    piece: Bytes,
    /// What was asked for and not yet answered, in this order.
    asked: VecDeque<Wanted>,
    current: Option<Receiving>,
    fault: Option<Fault>,
    /// Those that the server had no time for, and what it said.
    stuck: Vec<(Wanted, Outcome)>,
    /// So many were asked for.
    size: usize,
}

/// The message that is coming in.
struct Receiving {
    wanted: Wanted,
    /// `None` before its content begins, and once it is too large.
    intake: Option<Intake>,
    octets: u64,
    end: Option<MimeEnd>,
    item: Option<ItemInfo>,
    /// It has two contents, or two items.
    doubled: bool,
}

enum Step {
    More,
    Done(Box<Fetched>),
    Stuck(Wanted, Outcome),
    Busy(Outcome),
    TooMany,
    Disk(SpoolError),
    Endless,
}

impl EwsSession {
    /// The next of those that were asked for.
    pub(super) async fn receive(&mut self) -> Result<Option<Fetched>, SourceError> {
        loop {
            if let Some(missing) = self.missing.pop_front() {
                return Ok(Some(missing));
            }
            let Some(mut batch) = self.batch.take() else {
                if self.waiting.is_empty() {
                    return Ok(None);
                }
                self.request().await?;
                continue;
            };
            if batch.piece.is_empty() {
                match batch.incoming.piece(&self.wire).await {
                    Ok(Some(piece)) => batch.piece = piece,
                    Ok(None) => {
                        self.ended(batch).await?;
                        continue;
                    }
                    Err(error) => {
                        self.broke(batch, error).await?;
                        continue;
                    }
                }
            }
            let step = match self.step(&mut batch).await {
                Ok(step) => step,
                Err(error) => {
                    self.broke(batch, error).await?;
                    continue;
                }
            };
            if let Step::Stuck(wanted, outcome) = step {
                batch.stuck.push((wanted, outcome));
                self.batch = Some(batch);
                continue;
            }
            self.batch = Some(batch);
            match step {
                Step::More | Step::Stuck(..) => {}
                Step::Done(fetched) => {
                    if matches!(*fetched, Fetched::Message(_)) {
                        self.stuck = 0;
                    }
                    return Ok(Some(*fetched));
                }
                Step::Busy(outcome) => return Err(self.wire.refused(&outcome)),
                Step::TooMany => return Err(self.wire.error(SourceErrorKind::Protocol, "the server answers for more messages than were asked for")),
                Step::Disk(error) => return Err(self.wire.error(SourceErrorKind::Disk, error.to_string()).hint(crate::spool::HINT)),
                Step::Endless => return Err(self.wire.error(SourceErrorKind::Protocol, "the server sends a message without an end")),
            }
        }
    }

    /// Asks for the next ones.
    async fn request(&mut self) -> Result<(), SourceError> {
        let most = if self.alone > 0 { 1 } else { MESSAGES_MAX };
        self.alone = self.alone.saturating_sub(1);
        let (mut asked, mut octets) = (VecDeque::new(), 0u64);
        while let Some(next) = self.waiting.front() {
            octets = octets.saturating_add(next.size.unwrap_or(OCTETS_USUAL));
            if asked.len() == most || (octets > OCTETS_MAX && !asked.is_empty()) {
                break;
            }
            asked.extend(self.waiting.pop_front());
        }
        let request = self.wire.requests.get_items(asked.iter().map(|wanted| id_of(&wanted.uid)), true);
        let incoming = match self.wire.ask(request).await {
            Ok(incoming) => incoming,
            Err(error) => return self.unanswered(asked.into(), error).await,
        };
        let size = asked.len();
        self.batch = Some(Batch { incoming, piece: Bytes::new(), asked, current: None, fault: None, stuck: Vec::new(), size });
        Ok(())
    }

    /// The answer broke off. Where a message had begun, that one may be to blame, and the caller sees which.
    async fn broke(&mut self, batch: Batch, error: SourceError) -> Result<(), SourceError> {
        match batch.size > 1 && batch.asked.len() == batch.size {
            true => self.unanswered(batch.asked.into(), error).await,
            false => Err(error),
        }
    }

    /// Nothing was answered for these. Of several one may be to blame, and the others need not wait for it: they are asked for one by one. One alone
    /// is to blame if the server has time to show it. Who says how long he wants to be left alone, has no time for anybody.
    async fn unanswered(&mut self, asked: Vec<Wanted>, error: SourceError) -> Result<(), SourceError> {
        use SourceErrorKind::{Closed, Protocol, Throttled, Timeout};
        if error.dialled || error.retry_after.is_some() || !matches!(error.kind, Closed | Protocol | Throttled | Timeout) {
            return Err(error);
        }
        if asked.len() > 1 {
            self.again_alone(asked);
            return Ok(());
        }
        self.stuck += 1;
        match asked.into_iter().next() {
            Some(wanted) if error.kind == Throttled && self.stuck < STUCK_MAX && self.is_shown(&wanted.uid).await => {
                let reason = format!("the server shows the message, and has no time to give it: {}", error.server.as_deref().unwrap_or(&error.text));
                self.missing.push_back(Fetched::Missing { uid: wanted.uid, reason: harmless(&reason, 300) });
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn again_alone(&mut self, asked: Vec<Wanted>) {
        self.alone = asked.len();
        asked.into_iter().rev().for_each(|wanted| self.waiting.push_front(wanted));
    }

    /// Whether the server tells what it knows of a message besides its content.
    async fn is_shown(&mut self, uid: &RemoteUid) -> bool {
        let request = self.wire.requests.get_items(std::iter::once(id_of(uid)), false);
        let is_word = |outcome: Option<Outcome>| outcome.is_none_or(|outcome| !matches!(outcome.code.kind(), CodeKind::Busy | CodeKind::Stuck));
        self.wire.read(request, |_| {}).await.is_ok_and(is_word)
    }

    /// Reads on until something is told.
    async fn step(&self, batch: &mut Batch) -> Result<Step, SourceError> {
        let mut rest = &batch.piece[..];
        let event = batch.incoming.reader.next(&mut rest).map_err(|error| self.wire.no_answer(&error))?;
        let used = batch.piece.len() - rest.len();
        batch.piece.advance(used);
        let limit = self.wire.inner.max_message_size.unwrap_or(MESSAGE_OCTETS_MAX);
        match (event, &mut batch.current) {
            (None, _) => batch.piece.clear(),
            (Some(Event::Begins), current) => match batch.asked.pop_front() {
                Some(wanted) => *current = Some(Receiving { wanted, intake: None, octets: 0, end: None, item: None, doubled: false }),
                None => return Ok(Step::TooMany),
            },
            (Some(Event::Fault(fault)), _) => batch.fault = Some(fault),
            (Some(Event::Mime(octets)), Some(current)) => {
                if current.octets == 0 && current.end.is_none() {
                    // Base64 and line ends make a message larger than the store has it.
                    let expected = current.wanted.size.map(|size| size.saturating_add(size / 2));
                    current.intake = Some(self.wire.inner.spool.intake(self.key(&current.wanted), expected).await);
                }
                current.doubled |= current.end.is_some();
                current.octets += octets.len() as u64;
                if current.octets > limit {
                    current.intake = None;
                }
                if current.octets > limit.max(MESSAGE_OCTETS_MAX) {
                    return Ok(Step::Endless);
                }
                if let Some(intake) = &mut current.intake
                    && let Err(error) = intake.write(octets).await
                {
                    return Ok(Step::Disk(error));
                }
            }
            (Some(Event::MimeEnds(end)), Some(current)) => current.doubled |= current.end.replace(end).is_some(),
            (Some(Event::Item(item)), Some(current)) => current.doubled |= current.item.replace(item).is_some(),
            (Some(Event::Ends(outcome)), current) => {
                if let Some(received) = current.take() {
                    return Ok(received.finish(outcome, limit).await);
                }
            }
            (Some(_), _) => {}
        }
        Ok(Step::More)
    }

    /// The answer is over: what it did not answer for is asked for once more, alone, or is missing.
    async fn ended(&mut self, batch: Batch) -> Result<(), SourceError> {
        let left: Vec<Wanted> = batch.current.map(|current| current.wanted).into_iter().chain(batch.asked).collect();
        if let Some(fault) = batch.fault {
            return match fault.code.kind() {
                CodeKind::Other | CodeKind::NoMime | CodeKind::NoItem if batch.size == 1 => {
                    self.miss(left, &harmless(&format!("{}: {}", fault.code, fault.text), 300));
                    Ok(())
                }
                CodeKind::Other | CodeKind::NoMime | CodeKind::NoItem => {
                    self.again_alone(left);
                    Ok(())
                }
                CodeKind::Stuck => self.unanswered(left, self.wire.faulted(&fault)).await,
                _ => Err(self.wire.faulted(&fault)),
            };
        }
        self.miss(left, "the server's answer has nothing of this message");
        let Some((_, outcome)) = batch.stuck.first() else { return Ok(()) };
        let error = self.wire.refused(outcome);
        let stuck: Vec<Wanted> = batch.stuck.into_iter().map(|(wanted, _)| wanted).collect();
        if batch.size > 1 && error.retry_after.is_none() {
            // From one on it may have been the server.
            self.again_alone(stuck);
            return Ok(());
        }
        self.unanswered(stuck, error).await
    }

    fn miss(&mut self, wanted: Vec<Wanted>, reason: &str) {
        self.missing.extend(wanted.into_iter().map(|wanted| Fetched::Missing { uid: wanted.uid, reason: reason.to_owned() }));
    }

    fn key(&self, wanted: &Wanted) -> MessageKey {
        let folder = self.folder.as_ref().map_or_else(crate::mail::FolderName::inbox, |folder| folder.name.clone());
        MessageKey {
            collector: self.wire.inner.collector.clone(),
            mailbox: self.wire.inner.mailbox.clone(),
            folder,
            epoch: Epoch(0),
            uid: wanted.uid.clone(),
            generation: wanted.generation,
        }
    }

    /// The headers of these, as far as they are there. EWS has no way to ask for a header as it is: the message comes, and is read no further.
    pub(super) async fn peek(&mut self, uids: &[RemoteUid]) -> Result<Vec<Peeked>, SourceError> {
        let mut peeked = Vec::new();
        let mut in_all = 0;
        // The newest first, so that the oldest are left out of what is too much.
        for some in uids.rchunks(if uids.len() > 1 { PEEKED_MAX } else { 1 }) {
            let mut heads: Vec<Option<Peeked>> = match (self.peek_at(some).await, some) {
                // Where the server can make no message of it, it has the header all the same.
                (Ok(heads), [one]) if heads.iter().all(Option::is_none) => vec![self.header_alone(one).await?],
                (Err(error), [one]) if error.is_refusal() => vec![Some(self.header_alone(one).await?.ok_or(error)?)],
                (heads, _) => heads?,
            };
            while let Some(head) = heads.pop() {
                let Some(head) = head else { continue };
                in_all += head.header.octets().len();
                if in_all > PEEKED_OCTETS_IN_ALL_MAX {
                    peeked.reverse();
                    return Ok(peeked);
                }
                peeked.push(head);
            }
        }
        peeked.reverse();
        Ok(peeked)
    }

    async fn header_alone(&mut self, uid: &RemoteUid) -> Result<Option<Peeked>, SourceError> {
        let mut header = None;
        let request = self.wire.requests.get_header(id_of(uid));
        self.wire
            .read(request, |event| {
                if let Event::Item(item) = event {
                    header = item.header;
                }
            })
            .await?;
        Ok(header
            .filter(|header| !header.trim().is_empty())
            .map(|header| Peeked::new(uid.clone(), format!("{}\r\n\r\n", header.trim_end()).as_bytes(), false)))
    }

    async fn peek_at(&mut self, uids: &[RemoteUid]) -> Result<Vec<Option<Peeked>>, SourceError> {
        let request = self.wire.requests.get_items(uids.iter().map(id_of), true);
        let mut incoming = self.wire.ask(request).await?;
        let mut heads: Vec<Option<Peeked>> = Vec::new();
        let (mut head, mut whole, mut behind) = (Vec::new(), false, 0u64);
        let mut fault = None;
        while let Some(piece) = incoming.piece(&self.wire).await? {
            let mut rest = &piece[..];
            while let Some(event) = incoming.reader.next(&mut rest).map_err(|error| self.wire.no_answer(&error))? {
                match event {
                    Event::Begins => (head, whole, behind) = (Vec::new(), false, 0),
                    Event::Mime(octets) if whole => behind += octets.len() as u64,
                    Event::Mime(octets) => {
                        let searched = head.len().saturating_sub(3);
                        head.extend_from_slice(octets);
                        let end = memchr::memmem::find(&head[searched..], b"\r\n\r\n").map(|at| searched + at + 4);
                        let end = end.or_else(|| memchr::memmem::find(&head[searched..], b"\n\n").map(|at| searched + at + 2));
                        whole = end.is_some() || head.len() > PEEKED_OCTETS_MAX;
                        head.truncate(end.unwrap_or(usize::MAX).min(PEEKED_OCTETS_MAX + 1));
                    }
                    Event::Fault(said) => fault = Some(said),
                    Event::Ends(outcome) => match outcome.code.kind() {
                        CodeKind::Busy | CodeKind::TooMany | CodeKind::Moving => return Err(self.wire.refused(&outcome)),
                        _ if outcome.class == Class::Success && !head.is_empty() => heads.push(peeked(uids, heads.len(), &head)),
                        CodeKind::NoItem | CodeKind::Done => heads.push(None),
                        // For one, the refusal is the answer; of many, the others are shown.
                        _ if uids.len() == 1 => return Err(self.wire.refused(&outcome)),
                        _ => heads.push(None),
                    },
                    _ => {}
                }
            }
            if whole && behind > READ_ON_MAX && uids.len() == 1 {
                // The rest is not worth a download; the connection is given up for it.
                return Ok(vec![peeked(uids, 0, &head)]);
            }
        }
        match fault {
            Some(fault) => Err(self.wire.faulted(&fault)),
            None => Ok(heads),
        }
    }
}

fn peeked(uids: &[RemoteUid], at: usize, head: &[u8]) -> Option<Peeked> {
    uids.get(at).map(|uid| Peeked::new(uid.clone(), head, head.len() > PEEKED_OCTETS_MAX))
}

impl Receiving {
    /// What came of it.
    async fn finish(self, outcome: Outcome, limit: u64) -> Step {
        let Receiving { wanted, intake, octets, end, item, doubled } = self;
        if outcome.code.kind() == CodeKind::Stuck {
            return Step::Stuck(wanted, outcome);
        }
        let uid = wanted.uid;
        let missing = |uid: RemoteUid, reason: String| Step::Done(Box::new(Fetched::Missing { uid, reason }));
        let unreadable = |uid: RemoteUid, reason: String| Step::Done(Box::new(Fetched::Unreadable { uid, reason }));
        match outcome.code.kind() {
            CodeKind::Busy | CodeKind::TooMany | CodeKind::Moving => return Step::Busy(outcome),
            CodeKind::NoMime if outcome.class != Class::Success => {
                return unreadable(uid, harmless(&format!("{}: {}", outcome.code, outcome.text), 300));
            }
            _ if outcome.class != Class::Success => return missing(uid, harmless(&format!("{}: {}", outcome.code, outcome.text), 300)),
            _ => {}
        }
        let Some(item) = item.filter(|_| !doubled) else {
            return missing(uid, "the server's answer has not just one message in it".to_owned());
        };
        if item.id != id_of(&uid) {
            return missing(uid, "the server answers with another message".to_owned());
        }
        let end = match end {
            Some(MimeEnd::Whole(0)) => return missing(uid, "the server sent an empty content".to_owned()),
            Some(MimeEnd::Whole(end)) => end,
            Some(MimeEnd::NotBase64) => return unreadable(uid, "the content that the server sent is no base64, or not all of it".to_owned()),
            None => return unreadable(uid, format!("the server has no internet message (MIME) of this {}", harmless(&item.kind, 40))),
        };
        if octets > limit {
            return Step::Done(Box::new(Fetched::TooLarge { uid, octets }));
        }
        match intake {
            Some(intake) if intake.octets() == end => match intake.finish().await {
                Ok(message) => Step::Done(Box::new(done(message))),
                Err(error) => Step::Disk(error),
            },
            _ => missing(uid, "the content is not what was counted".to_owned()),
        }
    }
}

fn done(message: Message) -> Fetched {
    Fetched::Message(Box::new(message))
}
