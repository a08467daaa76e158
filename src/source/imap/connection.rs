//! One connection: commands out, inputs in, every tagged answer matched with its command, every wait with an end.

use super::quirk;
use super::refusal::{is_not_now, refusal, said, wait_as_told};
use crate::mail::UidSet;
use crate::mail::outcome::harmless;
use crate::net::{Channel, Trace};
use crate::proto::imap::{
    Capabilities, Code, Command, DONE, Event, Fetch, Framer, Inflater, Line, ListedFolder, Literals, Response, State, Status, stored,
};
use crate::source::{SourceError, SourceErrorKind};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::coop::consume_budget;
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
/// Most octets between two tagged answers that are no bodies: a flood ends here. The result of a search is far shorter, as it comes in windows.
const CHATTER_OCTETS_MAX: u64 = 64 * 1024 * 1024;
/// Alerts of one connection that are logged: the server's operator means them for people (RFC 9051 §7.1), and a hostile one means them for the disk.
const ALERTS_MAX: u32 = 5;
/// Longest text of an alert in the log.
const ALERT_OCTETS_MAX: usize = 300;
/// Longest wait for a sign during IDLE, where silence is what one hopes for; who waits has a limit of his own.
const IDLING_MAX: Duration = Duration::from_secs(3600);

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
    /// RECENT.
    Recent(u32),
    /// A folder.
    Listed(ListedFolder),
    /// UIDVALIDITY, UIDNEXT or COPYUID, in an untagged OK.
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
    /// The greeting of a connection that is logged in already, with its text.
    PreAuth(String),
    /// An untagged OK, NO or BAD.
    Note(Status),
}

/// A connection with a server.
pub(super) struct Connection {
    channel: Channel,
    /// What is said, for whoever wants to see it.
    pub(super) trace: Trace,
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
    alerts: u32,
    /// Both sides compress.
    inflater: Option<Inflater>,
    /// An IDLE is on: silence is no fault.
    idling: bool,
    /// The greeting is that of a server that wants ID first.
    pub(super) wants_id: bool,
}

impl Connection {
    pub(super) fn new(channel: Channel, peer: &str, idle: Option<Duration>) -> Self {
        Connection {
            channel,
            trace: Trace::default(),
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
            alerts: 0,
            inflater: None,
            idling: false,
            wants_id: false,
        }
    }

    /// With the dialogue shown.
    pub(super) fn traced(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
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
            let wire = wire.map_err(|error| SourceError::no_secret(self.peer(), format!("the user name or password cannot be sent: {error}")))?;
            self.outstanding.push_back(tag);
            tags.push(tag);
            self.show(tag, command, wire.parts());
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
    pub(super) async fn respond(&mut self, response: &str) -> Result<(), SourceError> {
        self.trace.sent_secret("", response);
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
    pub(super) async fn finish(&mut self, tag: Tag, what: &str, take: impl FnMut(Input)) -> Result<Status, SourceError> {
        let status = self.answer(tag, take).await?;
        if status.state == State::Ok { Ok(status) } else { Err(self.refused(what, &status)) }
    }

    /// Waits for the answer to `tag`, whatever it is, and hands all else to `take`.
    pub(super) async fn answer(&mut self, tag: Tag, mut take: impl FnMut(Input)) -> Result<Status, SourceError> {
        loop {
            match self.next().await? {
                Input::Answer(answered, status) if answered == tag => return Ok(status),
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
            // One read may hold thousands of lines, and a flood always has another read ready: the others get their turn. Nothing is lost if who
            // called does not come back, because nothing is taken from the buffer yet.
            consume_budget().await;
            let before = self.buffer.len();
            let event = self.framer.next(&mut self.buffer);
            let used = (before - self.buffer.len()) as u64;
            let event = event.map_err(|error| self.error(SourceErrorKind::Protocol, format!("the server sent {error}")))?;
            // Bodies belong to FETCH, which counts those that nobody asked for.
            if !matches!((&event, self.stage), (Some(Event::Body(_)), "fetch")) {
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

    /// Asks what the server can do, if it has not said so since the login: what it said before may be something else (Exchange, RFC 9051 §6.2.2).
    pub(super) async fn know_capabilities(&mut self) -> Result<(), SourceError> {
        if self.capabilities.is_none() {
            let tag = self.send(&Command::Capability).await?;
            self.finish(tag, "CAPABILITY", |_| ()).await?;
        }
        Ok(())
    }

    /// From here on both sides compress: the server said OK to COMPRESS, and whatever came behind that is compressed already.
    pub(super) fn start_compression(&mut self) {
        let mut inflater = Inflater::default();
        inflater.packed().extend_from_slice(&self.buffer);
        self.buffer.clear();
        self.inflater = Some(inflater);
    }

    /// Whether an IDLE is on. The wait is then the caller's.
    pub(super) fn set_idling(&mut self, idling: bool) {
        self.idling = idling;
    }

    /// Ends an IDLE; its tagged answer follows.
    pub(super) async fn say_done(&mut self) -> Result<(), SourceError> {
        self.trace.sent_command(DONE);
        self.write(DONE).await
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
                    Some(code @ (Code::UidValidity(_) | Code::UidNext(_) | Code::CopyUid { .. })) => Some(Input::Code(code)),
                    _ => Some(Input::Note(status)),
                }
            }
            Response::PreAuth(status) => {
                self.learn(&status);
                Some(Input::PreAuth(status.text))
            }
            Response::Bye(status) => {
                self.learn(&status);
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
            Response::Recent(number) => Some(Input::Recent(number)),
            Response::List(folder) => Some(Input::Listed(folder)),
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
        match &status.code {
            Some(Code::Capability(capabilities)) => self.capabilities = Some(capabilities.clone()),
            Some(Code::Named(name)) if name == "ALERT" && self.alerts < ALERTS_MAX => {
                self.alerts += 1;
                tracing::warn!(event = "server_alert", server = self.peer, text = harmless(&status.text, ALERT_OCTETS_MAX));
            }
            _ => {}
        }
        self.wants_id |= self.stage == "greeting" && quirk::greets_like_coremail(&status.text);
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

    fn show(&mut self, tag: Tag, command: &Command<'_>, parts: &[Vec<u8>]) {
        match *command {
            Command::Login(_, password) => self.trace.sent_secret(&format!("a{} LOGIN", tag.0), password.expose()),
            Command::Authenticate(mechanism, initial) => {
                self.trace.sent_secret(&format!("a{} AUTHENTICATE {mechanism}", tag.0), initial.map_or("", |initial| initial.expose()));
            }
            _ if self.trace.is_on() => self.trace.sent_command(&parts.concat()),
            _ => {}
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), SourceError> {
        let idle = self.idle;
        let packed = self.inflater.is_some().then(|| stored(octets));
        let octets = packed.as_deref().unwrap_or(octets);
        let written = limited(idle, async {
            self.channel.write_all(octets).await?;
            self.channel.flush().await
        });
        match written.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Makes more of the stream available. Dropped in mid-wait, it has lost nothing.
    async fn read(&mut self) -> Result<(), SourceError> {
        if let Some(inflater) = &mut self.inflater {
            match inflater.step(&mut self.buffer) {
                Ok(0) => {}
                Ok(octets) => {
                    self.trace.received(&self.buffer[self.buffer.len() - octets..]);
                    return Ok(());
                }
                Err(error) => {
                    let error = self.error(SourceErrorKind::Protocol, format!("the server sent {error}"));
                    return Err(error.hint("switch `compress` off for this server"));
                }
            }
        }
        let buffer = self.inflater.as_mut().map_or(&mut self.buffer, Inflater::packed);
        if buffer.capacity() - buffer.len() < READ_OCTETS_MIN {
            buffer.reserve(READ_OCTETS);
        }
        if self.idling {
            return match limited(IDLING_MAX, self.channel.read_buf(buffer)).await {
                Ok(0) => Err(self.error(SourceErrorKind::Closed, "the server closed the connection")),
                Ok(octets) => {
                    self.show_read(octets);
                    Ok(())
                }
                Err(error) => Err(self.broken(error)),
            };
        }
        let allowed = PACE_GRACE.max(self.idle) + Duration::from_secs(self.received / PACE_OCTETS);
        let left = allowed.saturating_sub(self.waited);
        let started = Instant::now();
        let read = limited(self.idle.min(left), self.channel.read_buf(buffer)).await;
        self.waited += started.elapsed();
        match read {
            Ok(0) => Err(self.error(SourceErrorKind::Closed, "the server closed the connection")),
            Ok(octets) => {
                self.received += octets as u64;
                self.show_read(octets);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut && left < self.idle => {
                let text = format!("the server is too slow: {} octets in {} s", self.received, self.waited.as_secs());
                Err(self.error(SourceErrorKind::Timeout, text))
            }
            Err(error) => Err(self.broken(error)),
        }
    }

    /// What was read, unless it is compressed and to be read later.
    fn show_read(&mut self, octets: usize) {
        if self.inflater.is_none() {
            self.trace.received(&self.buffer[self.buffer.len() - octets..]);
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
