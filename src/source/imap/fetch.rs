//! Fetching: ranges of messages in chunks, several commands ahead, each body streamed into the spool as it comes. Back-pressure is not reading:
//! while the memory budget has no room, the server waits in its own send buffer. Always the whole BODY[]: header and text fetched apart do not fit
//! together on servers that make MIME boundaries up (Domino).

use super::connection::{Input, Tag};
use super::refusal::{is_not_now, said};
use super::session::ImapSession;
use crate::mail::{Content, Epoch, FolderName, MessageKey, RemoteUid};
use crate::proto::imap::{Body, Command, Fetch, Line, Response, State, Status};
use crate::source::{Fetched, SourceError, SourceErrorKind, Wanted};
use crate::spool::{Intake, SpoolError};
use std::collections::{HashMap, VecDeque};

/// Messages that one command asks for: a refusal concerns no more than these.
const CHUNK_MESSAGES: usize = 200;
/// Commands ahead: the line must not fall silent while an answer travels.
const CHUNKS_AHEAD: usize = 4;
/// Largest message that is read at all, be it to be thrown away.
pub(super) const BODY_OCTETS_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Why a message that was listed is not there.
const GONE: &str = "another client has removed it meanwhile";
/// What Courier sends in place of a message that another client has removed, canonical. Nothing that was ever delivered looks like it: it has no
/// Date and no trace.
const COURIER_NOTICE: &[u8] = b"From: System Administrator <root@localhost>\r\nSubject: message unavailable\r\n\r\n\
    This message is no longer available on the server.\r\n";

/// What was asked for and is not answered yet.
#[derive(Default)]
pub(super) struct Fetching {
    pub(super) wanted: HashMap<u32, Wanted>,
    queue: VecDeque<Chunk>,
    sent: Vec<(Tag, Chunk)>,
    ready: VecDeque<Fetched>,
    /// Large messages that are asked for in pieces, one after the other, when nothing else is on its way.
    in_pieces: VecDeque<u32>,
}

/// Messages of one command.
struct Chunk {
    uids: Vec<u32>,
    /// The second try, for what did not come or for one message of a chunk that was refused.
    again: bool,
}

impl Fetching {
    /// True if everything has been answered and handed out.
    pub(super) fn is_done(&self) -> bool {
        self.wanted.is_empty() && self.queue.is_empty() && self.sent.is_empty() && self.ready.is_empty() && self.in_pieces.is_empty()
    }

    fn miss(&mut self, uid: u32, reason: &str) {
        if self.wanted.remove(&uid).is_some() {
            self.ready.push_back(Fetched::Missing { uid: RemoteUid::Number(uid), reason: reason.to_owned() });
        }
    }
}

impl ImapSession {
    pub(super) async fn start_fetching(&mut self, batch: Vec<Wanted>) -> Result<(), SourceError> {
        let mut uids = Vec::with_capacity(batch.len());
        for wanted in batch {
            match wanted.uid.number() {
                Some(uid) => {
                    if self.fetching.wanted.insert(uid, wanted).is_none() {
                        uids.push(uid);
                    }
                }
                None => self.fetching.ready.push_back(Fetched::Missing { uid: wanted.uid, reason: "this is no UID of IMAP".into() }),
            }
        }
        let (whole, in_pieces) = self.split_by_size(uids).await?;
        self.fetching.in_pieces.extend(in_pieces);
        self.fetching.queue.extend(whole.chunks(CHUNK_MESSAGES).map(|uids| Chunk { uids: uids.to_vec(), again: false }));
        self.ask_ahead().await
    }

    pub(super) async fn next_fetched(&mut self) -> Result<Option<Fetched>, SourceError> {
        self.connection.enter("fetch");
        loop {
            if let Some(fetched) = self.fetching.ready.pop_front() {
                return Ok(Some(fetched));
            }
            if self.fetching.is_done() {
                return Ok(None);
            }
            self.still_numbered()?;
            if self.fetching.sent.is_empty()
                && self.fetching.queue.is_empty()
                && let Some(uid) = self.fetching.in_pieces.pop_front()
            {
                let Some(wanted) = self.fetching.wanted.remove(&uid) else { continue };
                return self.fetch_in_pieces(uid, wanted).await.map(Some);
            }
            let fetched = match self.connection.next().await? {
                Input::BodyStart(line, size) => self.streamed(&line, size).await?,
                Input::Fetch(fetch) => self.inline(fetch).await?,
                Input::Answer(tag, status) => {
                    self.answered(tag, &status)?;
                    self.ask_ahead().await?;
                    None
                }
                other => {
                    self.folder.iter_mut().for_each(|folder| folder.note(&other));
                    None
                }
            };
            if fetched.is_some() {
                return Ok(fetched);
            }
        }
    }

    /// Sends commands until enough are ahead.
    async fn ask_ahead(&mut self) -> Result<(), SourceError> {
        let free = CHUNKS_AHEAD.saturating_sub(self.fetching.sent.len()).min(self.fetching.queue.len());
        let chunks: Vec<Chunk> = self.fetching.queue.drain(..free).collect();
        if chunks.is_empty() {
            return Ok(());
        }
        // A chunk is far shorter than the longest line.
        let sets: Vec<String> = chunks.iter().map(|chunk| Command::sets(&chunk.uids.iter().copied().collect()).join(",")).collect();
        // Gmail has a letter once for each of its labels, under one name.
        let has_names = self.connection.has("X-GM-EXT-1");
        let command = |set| if has_names { Command::FetchLetters(set) } else { Command::FetchBodies(set) };
        let commands: Vec<Command<'_>> = sets.iter().map(|set| command(set.as_str())).collect();
        let tags = self.connection.send_all(&commands).await?;
        self.fetching.sent.extend(tags.into_iter().zip(chunks));
        Ok(())
    }

    /// A chunk is answered. Whatever of it did not come gets a second try: under an OK together, for an EXPUNGE of another client or a fault of the
    /// server may be the reason (RFC 2180 §4.1, RFC 2683 §3.4); under a NO each alone, because one broken message is enough for it. Then it is missing.
    fn answered(&mut self, tag: Tag, status: &Status) -> Result<(), SourceError> {
        let Some(at) = self.fetching.sent.iter().position(|(sent, _)| *sent == tag) else { return Ok(()) };
        let (_, chunk) = self.fetching.sent.remove(at);
        let left: Vec<u32> = chunk.uids.into_iter().filter(|uid| self.fetching.wanted.contains_key(uid)).collect();
        match status.state {
            State::Ok if chunk.again => left.iter().for_each(|uid| self.fetching.miss(*uid, "the server did not send it")),
            State::Ok if left.is_empty() => {}
            State::Ok => self.fetching.queue.push_back(Chunk { uids: left, again: true }),
            State::Bad => return Err(self.connection.refused("UID FETCH", status)),
            State::No if is_not_now(status) => return Err(self.connection.refused("UID FETCH", status)),
            State::No if chunk.again && left.len() == 1 => left.iter().for_each(|uid| self.fetching.miss(*uid, &said(status))),
            State::No => self.fetching.queue.extend(left.into_iter().map(|uid| Chunk { uids: vec![uid], again: true })),
        }
        Ok(())
    }

    /// A body that comes as a literal. It is a message only once the whole response is there.
    async fn streamed(&mut self, line: &Line, size: u64) -> Result<Option<Fetched>, SourceError> {
        let uid = Response::uid_before_body(line);
        let nobody_asked = uid.is_some_and(|uid| !self.fetching.wanted.contains_key(&uid));
        let mut intake = match self.too_large(size) || nobody_asked || size == 0 || size > BODY_OCTETS_MAX {
            true => None,
            false => Some(Box::new(self.intake(uid.unwrap_or(0), size).await)),
        };
        let fetch = match self.read_body(size, &mut intake).await {
            Ok(fetch) => fetch,
            Err(error) => {
                if let (Some(uid), SourceErrorKind::Closed | SourceErrorKind::Timeout) = (uid, error.kind) {
                    self.breaks_off_at(uid);
                }
                return Err(error);
            }
        };
        // A piece that does not begin the message, where pieces were not asked for, is not the message.
        if fetch.origin.is_some_and(|origin| origin > 0) {
            return Err(self.connection.error(SourceErrorKind::Protocol, "the server sent a piece of a message where all of it was asked for"));
        }
        let Some(wanted) = fetch.uid.and_then(|uid| self.fetching.wanted.remove(&uid)) else {
            self.connection.tolerate(size)?;
            return Ok(None);
        };
        match intake {
            Some(intake) => self.message(wanted, fetch.letter_id, *intake).await.map(Some),
            None if size == 0 => self.empty(wanted, fetch.size).await.map(Some),
            None => Ok(Some(Fetched::TooLarge { uid: wanted.uid, octets: size })),
        }
    }

    /// The octets of a literal, to `intake` if there is one, and the response around it.
    pub(super) async fn read_body(&mut self, size: u64, intake: &mut Option<Box<Intake>>) -> Result<Fetch, SourceError> {
        if size > BODY_OCTETS_MAX {
            return Err(self.connection.error(SourceErrorKind::Protocol, format!("the server announces a message of {size} octets")));
        }
        let fetch = loop {
            match self.connection.next().await? {
                Input::Body(octets) => {
                    if let Some(intake) = intake {
                        intake.write(&octets).await.map_err(|error| self.disk(error))?;
                    }
                }
                Input::BodyEnd => {}
                Input::Fetch(fetch) => break fetch,
                _ => return Err(self.connection.error(SourceErrorKind::Protocol, "the server sent two bodies for one message")),
            }
        };
        if fetch.broken || fetch.body != Some(Body::Streamed(size)) {
            return Err(self.connection.error(SourceErrorKind::Protocol, "what follows a message is not IMAP: its size may be wrong"));
        }
        Ok(fetch)
    }

    /// A response without a literal: flags that somebody changed, or a body in quotes, or none.
    async fn inline(&mut self, fetch: Fetch) -> Result<Option<Fetched>, SourceError> {
        let is_piece = fetch.origin.is_some_and(|origin| origin > 0);
        let (Some(body), Some(uid), false) = (fetch.body, fetch.uid, fetch.broken || is_piece) else { return Ok(None) };
        let Some(wanted) = self.fetching.wanted.remove(&uid) else { return Ok(None) };
        let octets = match body {
            Body::Inline(octets) if !octets.is_empty() => octets,
            Body::Nil => return Ok(Some(no_body(wanted))),
            _ => return self.empty(wanted, fetch.size).await.map(Some),
        };
        let size = octets.len() as u64;
        if self.too_large(size) {
            return Ok(Some(Fetched::TooLarge { uid: wanted.uid, octets: size }));
        }
        let mut intake = self.intake(uid, size).await;
        intake.write(&octets).await.map_err(|error| self.disk(error))?;
        self.message(wanted, fetch.letter_id, intake).await.map(Some)
    }

    /// A message of no octets. Exchange announces messages whose body is not there yet, and whoever took that for the message would
    /// delete it. So it is one only if RFC822.SIZE, which is asked for with each body, says 0 as well; else it is reported, tried again
    /// later, and stands in nobody's way.
    pub(super) async fn empty(&mut self, wanted: Wanted, size: Option<u64>) -> Result<Fetched, SourceError> {
        match size.or(wanted.size) {
            Some(0) => {
                let intake = self.intake(wanted.uid.number().unwrap_or(0), 0).await;
                self.message(wanted, None, intake).await
            }
            _ => Ok(Fetched::Missing { uid: wanted.uid, reason: "the server sent an empty body".into() }),
        }
    }

    pub(super) async fn message(&self, wanted: Wanted, letter_id: Option<u64>, intake: Intake) -> Result<Fetched, SourceError> {
        let mut message = intake.finish().await.map_err(|error| self.disk(error))?;
        if matches!(&message.content, Content::Memory(octets) if octets[..] == *COURIER_NOTICE) {
            return Ok(Fetched::Missing { uid: wanted.uid, reason: GONE.into() });
        }
        // The UID may have come behind the body.
        message.key.uid = wanted.uid;
        message.key.generation = wanted.generation;
        message.letter_id = letter_id;
        Ok(Fetched::Message(Box::new(message)))
    }

    pub(super) async fn intake(&self, uid: u32, size: u64) -> Intake {
        let (folder, epoch) = self.folder.as_ref().map_or((FolderName::inbox(), Epoch(0)), |folder| (folder.name.clone(), folder.epoch));
        let key = MessageKey {
            collector: self.shared.collector.clone(),
            mailbox: self.shared.mailbox.clone(),
            folder,
            epoch,
            uid: RemoteUid::Number(uid),
            generation: 0,
        };
        self.shared.spool.intake(key, Some(size)).await
    }

    pub(super) fn too_large(&self, size: u64) -> bool {
        self.shared.max_message_size.is_some_and(|max| size > max)
    }

    pub(super) fn disk(&self, error: SpoolError) -> SourceError {
        self.connection.error(SourceErrorKind::Disk, error.to_string()).hint(crate::spool::HINT)
    }
}

/// NIL is no message, whatever the size that comes with it: Dovecot says `RFC822.SIZE 0 BODY[] NIL` of a message that another client expunged since
/// the search.
pub(super) fn no_body(wanted: Wanted) -> Fetched {
    Fetched::Missing { uid: wanted.uid, reason: "the server has no body for it (NIL)".into() }
}
