//! One connection: commands out, inputs in, every tagged answer matched with its command, every wait with an end.

use super::refusal::{is_not_now, refusal, said, wait_as_told};
use crate::mail::UidSet;
use crate::net::Channel;
use crate::proto::imap::{Capabilities, Code, Command, Event, Fetch, Framer, Line, Literals, Response, State, Status};
use crate::source::{SourceError, SourceErrorKind};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// What is read at once.
const READ_OCTETS: usize = 64 * 1024;
/// Least room in the buffer for a read.
const READ_OCTETS_MIN: usize = 16 * 1024;
/// The wait without any octet, for those who configured no limit.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// A server that keeps us waiting longer than this in all for one answer has to send at least [`PACE_OCTETS`] for each further second.
const PACE_GRACE: Duration = Duration::from_secs(600);
const PACE_OCTETS: u64 = 256;
/// Most octets between two tagged answers that are neither bodies nor search results: a flood ends here.
const CHATTER_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// The tag of a command that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u32);

/// What comes from the server that is not the connection's own business.
#[derive(Debug)]
pub(super) enum Input {
    /// The answer to a command: the oldest that was sent, as a rule.
    Answer(Tag, Status),
    /// EXISTS.
    Exists(u32),
    /// EXPUNGE.
    Expunge,
    /// UIDVALIDITY or UIDNEXT, in an untagged OK.
    Code(Code),
    /// A search result.
    Search(UidSet),
    /// A body begins; what FETCH said up to there.
    BodyStart(Line, u64),
    /// Octets of it.
    Body(Bytes),
    /// Its announced octets are there.
    BodyEnd,
    /// A whole FETCH response.
    Fetch(Fetch),
    /// A `+`.
    Continue,
    /// The greeting of a connection that is logged in already.
    PreAuth,
    /// An untagged OK, NO or BAD.
    Note(Status),
}

/// A connection with a server.
pub(super) struct Connection {
    channel: Channel,
    buffer: BytesMut,
    framer: Framer,
    peer: String,
    idle: Duration,
    stage: &'static str,
    tags: u32,
    outstanding: VecDeque<Tag>,
    literals: Literals,
    /// What stood behind the last `+`.
    challenge: Vec<u8>,
    /// As last told; `None` before, and after STARTTLS and the login.
    pub(super) capabilities: Option<Capabilities>,
    waited: Duration,
    received: u64,
    chatter: u64,
}

impl Connection {
    pub(super) fn new(channel: Channel, peer: &str, idle: Option<Duration>) -> Self {
        Connection {
            channel,
            buffer: BytesMut::new(),
            framer: Framer::new(),
            peer: peer.to_owned(),
            idle: idle.unwrap_or(IDLE_MAX),
            stage: "greeting",
            tags: 0,
            outstanding: VecDeque::new(),
            literals: Literals::default(),
            challenge: Vec::new(),
            capabilities: None,
            waited: Duration::ZERO,
            received: 0,
            chatter: 0,
        }
    }

    /// Names the step that errors are about, from here on.
    pub(super) fn enter(&mut self, stage: &'static str) {
        self.stage = stage;
    }

    /// `host:port`.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// True if the server offers this; false as long as it has not said what it offers.
    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities.as_ref().is_some_and(|capabilities| capabilities.has(capability))
    }

    /// True if commands have no answer yet.
    pub(super) fn is_owed_answers(&self) -> bool {
        !self.outstanding.is_empty()
    }

    pub(super) fn error(&self, kind: SourceErrorKind, text: impl Into<String>) -> SourceError {
        SourceError::new(kind, self.stage, &self.peer, text)
    }

    /// The error for an answer that is not OK.
    pub(super) fn refused(&self, what: &str, status: &Status) -> SourceError {
        refusal(self.stage, &self.peer, what, status)
    }

    /// Gives the channel back for a TLS handshake. Octets that came behind the answer to STARTTLS would be read as if they had come over TLS
    /// (CVE-2011-0411 and its like): they end the connection.
    pub(super) fn into_channel(self) -> Result<Channel, SourceError> {
        if self.buffer.is_empty() && self.framer.is_between_responses() {
            Ok(self.channel)
        } else {
            Err(self.error(SourceErrorKind::Tls, "the server sent more behind its answer to STARTTLS, as an attacker would"))
        }
    }

    /// Sends a command that is whole in one piece.
    pub(super) async fn send(&mut self, command: &Command<'_>) -> Result<Tag, SourceError> {
        let tags = self.send_all(std::slice::from_ref(command)).await?;
        tags.last().copied().ok_or_else(|| self.error(SourceErrorKind::Protocol, "nothing was sent"))
    }

    /// Sends commands, all in one write as long as no literal has to wait. Answers come in the same order.
    pub(super) async fn send_all(&mut self, commands: &[Command<'_>]) -> Result<Vec<Tag>, SourceError> {
        self.literals = self.capabilities.as_ref().map(Literals::offered).unwrap_or_default();
        let (mut out, mut tags) = (Vec::new(), Vec::with_capacity(commands.len()));
        for command in commands {
            self.tags += 1;
            let tag = Tag(self.tags);
            let wire = command.write(&format!("a{}", tag.0), self.literals);
            let wire = wire.map_err(|error| self.error(SourceErrorKind::Auth, format!("the user name or password cannot be sent: {error}")))?;
            self.outstanding.push_back(tag);
            tags.push(tag);
            for (n, part) in wire.parts().iter().enumerate() {
                if n > 0 {
                    self.write(&std::mem::take(&mut out)).await?;
                    self.wait_for_continue(tag).await?;
                }
                out.extend_from_slice(part);
            }
        }
        self.write(&out).await?;
        Ok(tags)
    }

    /// What stood behind the `+` that came last: a SASL challenge.
    pub(super) fn take_challenge(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.challenge)
    }

    /// Sends the answer to a challenge (RFC 9051 §6.2.2).
    pub(super) async fn answer(&mut self, response: &str) -> Result<(), SourceError> {
        self.write(format!("{response}\r\n").as_bytes()).await
    }

    /// True if the command needs no `+` on its way, and another may follow it at once. Nothing may follow AUTHENTICATE: behind it there may be
    /// a security layer (RFC 9051 §6.2.2), and Cyrus throws away what it has read.
    pub(super) fn goes_at_once(&self, command: &Command<'_>) -> bool {
        if matches!(command, Command::Authenticate(..)) {
            return false;
        }
        let literals = self.capabilities.as_ref().map(Literals::offered).unwrap_or_default();
        command.write("a", literals).is_ok_and(|wire| wire.is_whole())
    }

    /// Waits for the answer to `tag`, which has to be OK, and hands all else to `take`. `what` names the command in errors.
    pub(super) async fn finish(&mut self, tag: Tag, what: &str, mut take: impl FnMut(Input)) -> Result<Status, SourceError> {
        loop {
            match self.next().await? {
                Input::Answer(answered, status) if answered == tag => {
                    return if status.state == State::Ok { Ok(status) } else { Err(self.refused(what, &status)) };
                }
                Input::Answer(..) => {
                    return Err(self.error(SourceErrorKind::Protocol, "the server answers commands in another order than they were sent"));
                }
                other => take(other),
            }
        }
    }

    /// The next input. Whatever ends the connection is an error.
    pub(super) async fn next(&mut self) -> Result<Input, SourceError> {
        loop {
            let before = self.buffer.len();
            let event = self.framer.next(&mut self.buffer);
            let used = (before - self.buffer.len()) as u64;
            let event = event.map_err(|error| self.error(SourceErrorKind::Protocol, format!("the server sent {error}")))?;
            // Bodies belong to FETCH, which counts those that nobody asked for.
            if !matches!((&event, self.stage), (Some(Event::Body(_)), "fetch") | (Some(Event::Search(_)), _)) {
                self.tolerate(used)?;
            }
            let input = match event {
                None => {
                    self.read().await?;
                    continue;
                }
                Some(Event::Line(line)) => self.response(&line)?,
                Some(Event::BodyStart { line, size }) => Some(Input::BodyStart(line, size)),
                Some(Event::Body(octets)) => Some(Input::Body(octets)),
                Some(Event::BodyEnd) => Some(Input::BodyEnd),
                Some(Event::Search(set)) => Some(Input::Search(set)),
            };
            if let Some(input) = input {
                return Ok(input);
            }
        }
    }

    /// Gives up on an answer.
    pub(super) fn forget(&mut self, tag: Tag) {
        self.outstanding.retain(|outstanding| *outstanding != tag);
    }

    /// Counts octets that nobody asked for, up to a limit.
    pub(super) fn tolerate(&mut self, octets: u64) -> Result<(), SourceError> {
        self.chatter = self.chatter.saturating_add(octets);
        match self.chatter {
            ..=CHATTER_OCTETS_MAX => Ok(()),
            _ => Err(self.error(SourceErrorKind::Protocol, "the server does not stop to send what nobody asked for")),
        }
    }

    /// The time limit for any sign of the server.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// Ends in order: LOGOUT, and a moment for the answer. What comes of it changes nothing.
    pub(super) async fn logout(mut self, patience: Duration) {
        let farewell = async {
            let tag = self.send(&Command::Logout).await?;
            // BYE comes first, as an error; the tagged answer and the end of the stream may follow (RFC 9051 §6.1.3).
            self.finish(tag, "LOGOUT", |_| ()).await
        };
        let _ = timeout(patience, farewell).await;
        let _ = timeout(patience, self.channel.shutdown()).await;
    }

    fn response(&mut self, line: &Line) -> Result<Option<Input>, SourceError> {
        Ok(match Response::parse(line) {
            Response::Tagged { tag, status } => {
                let Some(tag) = self.take_outstanding(&tag) else {
                    return Err(self.error(SourceErrorKind::Protocol, "an answer to a command that was not sent").said(&line.to_text()));
                };
                (self.waited, self.received, self.chatter) = (Duration::ZERO, 0, 0);
                self.learn(&status);
                Some(Input::Answer(tag, status))
            }
            Response::Untagged(status) => {
                self.learn(&status);
                match status.code {
                    Some(code @ (Code::UidValidity(_) | Code::UidNext(_))) => Some(Input::Code(code)),
                    _ => Some(Input::Note(status)),
                }
            }
            Response::PreAuth(status) => {
                self.learn(&status);
                Some(Input::PreAuth)
            }
            Response::Bye(status) => {
                let kind = if is_not_now(&status) { SourceErrorKind::Throttled } else { SourceErrorKind::Closed };
                let error = self.error(kind, "the server ends the connection").said(&said(&status));
                return Err(wait_as_told(error, &status));
            }
            Response::Capability(capabilities) => {
                self.capabilities = Some(capabilities);
                None
            }
            Response::Exists(number) => Some(Input::Exists(number)),
            Response::Expunge => Some(Input::Expunge),
            Response::Fetch(fetch) => Some(Input::Fetch(fetch)),
            Response::Continue => {
                self.challenge = line.octets().get(1..).unwrap_or_default().trim_ascii().to_vec();
                Some(Input::Continue)
            }
            Response::Other => None,
            Response::Garbage => {
                let error = self.error(SourceErrorKind::Protocol, "the server sent what is not IMAP").said(&line.to_text());
                let is_pop3 = self.stage == "greeting" && line.to_text().starts_with("+OK");
                return Err(if is_pop3 { error.hint("this is a POP3 server: `protocol: pop3`") } else { error });
            }
        })
    }

    fn learn(&mut self, status: &Status) {
        if let Some(Code::Capability(capabilities)) = &status.code {
            self.capabilities = Some(capabilities.clone());
        }
    }

    fn take_outstanding(&mut self, tag: &str) -> Option<Tag> {
        let number: u32 = tag.strip_prefix('a')?.parse().ok()?;
        let at = self.outstanding.iter().position(|tag| tag.0 == number)?;
        self.outstanding.remove(at)
    }

    /// Waits for the `+` that a literal of `tag` needs.
    async fn wait_for_continue(&mut self, tag: Tag) -> Result<(), SourceError> {
        loop {
            match self.next().await? {
                Input::Continue => return Ok(()),
                Input::Answer(answered, status) if answered == tag => return Err(self.refused("the command", &status)),
                _ => {}
            }
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), SourceError> {
        let idle = self.idle;
        let written = limited(idle, async {
            self.channel.write_all(octets).await?;
            self.channel.flush().await
        });
        match written.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.broken(error)),
        }
    }

    async fn read(&mut self) -> Result<(), SourceError> {
        if self.buffer.capacity() - self.buffer.len() < READ_OCTETS_MIN {
            self.buffer.reserve(READ_OCTETS);
        }
        let allowed = PACE_GRACE.max(self.idle) + Duration::from_secs(self.received / PACE_OCTETS);
        let left = allowed.saturating_sub(self.waited);
        let started = Instant::now();
        let read = limited(self.idle.min(left), self.channel.read_buf(&mut self.buffer)).await;
        self.waited += started.elapsed();
        match read {
            Ok(0) => Err(self.error(SourceErrorKind::Closed, "the server closed the connection")),
            Ok(octets) => {
                self.received += octets as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut && left < self.idle => {
                let text = format!("the server is too slow: {} octets in {} s", self.received, self.waited.as_secs());
                Err(self.error(SourceErrorKind::Timeout, text))
            }
            Err(error) => Err(self.broken(error)),
        }
    }

    fn broken(&self, error: io::Error) -> SourceError {
        match error.kind() {
            io::ErrorKind::TimedOut => self.error(SourceErrorKind::Timeout, format!("no answer in {} s", self.idle.as_secs_f32())),
            // A server that forgets TLS's close_notify ends like one that closes (field practice); in mid-answer both are the same error.
            io::ErrorKind::UnexpectedEof => self.error(SourceErrorKind::Closed, "the server closed the connection"),
            _ => self.error(SourceErrorKind::Closed, format!("the connection broke: {error}")),
        }
    }
}

async fn limited<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
