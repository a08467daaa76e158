//! The connection: lines and octets in, commands out, each wait with its limit.

use super::super::{SourceError, SourceErrorKind};
use crate::net::{Channel, Trace};
use crate::proto::pop3::{Command, Piece, Reply, Status, Unstuff};
use memchr::memchr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout};

/// The read buffer.
const BUFFER_OCTETS: usize = 64 * 1024;
/// Longest line of an answer. RFC 2449 §4 allows 512; an UIDL of 1 KiB and a wordy error fit.
const LINE_OCTETS_MAX: usize = 4096;
/// What is kept of a longer line in a listing: its number.
const CUT_LINE_OCTETS: usize = 64;
/// Most octets of one line that are skipped.
const SKIP_OCTETS_MAX: usize = 16 * 1024 * 1024;
/// The limit of a wait for those who configured none.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// A server that keeps us waiting this many idle limits must have sent ...
const SLOW_WAITS: u32 = 4;
/// ... this much of one answer meanwhile: an octet now and then must not hold a session for ever.
const SLOW_OCTETS_MIN: usize = 1024;

/// A connection to a POP3 server.
pub(super) struct Wire {
    channel: Channel,
    /// What is said, for whoever wants to see it.
    pub(super) trace: Trace,
    pub(super) peer: String,
    pub(super) stage: &'static str,
    idle: Duration,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    cut_line: Vec<u8>,
    out: Vec<u8>,
    /// Something that may be secret went out, or is about to.
    pub(super) spoke_secret: bool,
    /// Time spent waiting in the present answer, and octets that came.
    waited: Duration,
    came: usize,
}

/// A line of a multi-line answer, without its line end.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) octets: &'a [u8],
    /// Longer than our limit: `octets` is its start, the rest was skipped.
    pub(super) cut: bool,
}

impl Wire {
    pub(super) fn new(channel: Channel, peer: String, idle: Option<Duration>) -> Self {
        Wire {
            channel,
            trace: Trace::default(),
            peer,
            stage: "greeting",
            idle: idle.unwrap_or(IDLE_MAX),
            buffer: vec![0; BUFFER_OCTETS].into(),
            start: 0,
            end: 0,
            cut_line: Vec::new(),
            out: Vec::new(),
            spoke_secret: false,
            waited: Duration::ZERO,
            came: 0,
        }
    }

    /// With the dialogue shown.
    pub(super) fn traced(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
    }

    /// An error at the present stage.
    pub(super) fn error(&self, kind: SourceErrorKind, text: impl Into<String>) -> SourceError {
        SourceError::new(kind, self.stage, &self.peer, text)
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The channel, for STLS. Nothing may have been read ahead: it would be what somebody on the way put in (RFC 2595 §4, CVE-2011-0411).
    pub(super) fn into_bare_channel(self) -> Result<Channel, SourceError> {
        if self.start < self.end {
            return Err(self.error(SourceErrorKind::Tls, "the server sent octets behind its answer to STLS, in the clear"));
        }
        Ok(self.channel)
    }

    /// Queues a command for the next [`Wire::flush`].
    pub(super) fn push(&mut self, command: Command) -> Result<(), SourceError> {
        self.spoke_secret |= !matches!(command, Command::Capa | Command::Stls | Command::User(_) | Command::Quit);
        let start = self.out.len();
        command.write(&mut self.out).map_err(|error| self.error(SourceErrorKind::Auth, error.to_string()))?;
        match command {
            Command::Pass(password) => self.trace.sent_secret("PASS", password),
            Command::Apop(_, digest) => self.trace.sent_secret("APOP", digest),
            Command::Auth(mechanism, initial) => self.trace.sent_secret(&format!("AUTH {mechanism}"), initial.unwrap_or_default()),
            Command::Response(response) => self.trace.sent_secret("", response),
            _ => self.trace.sent_command(&self.out[start..]),
        }
        Ok(())
    }

    /// Sends all queued commands in one write.
    pub(super) async fn flush(&mut self) -> Result<(), SourceError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.out);
        let sent = timeout(self.idle, async {
            self.channel.write_all(&out).await?;
            self.channel.flush().await
        })
        .await;
        // It may have held a password.
        out.fill(0);
        out.clear();
        self.out = out;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.error(SourceErrorKind::Closed, format!("the connection broke: {error}"))),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// Sends one command and reads its first line.
    pub(super) async fn ask(&mut self, command: Command<'_>) -> Result<Reply, SourceError> {
        self.push(command)?;
        self.flush().await?;
        self.reply().await
    }

    /// Reads the first line of an answer, which starts the clock of this answer.
    pub(super) async fn reply(&mut self) -> Result<Reply, SourceError> {
        (self.waited, self.came) = (Duration::ZERO, 0);
        let line = self.line().await?;
        let read = if line.cut { None } else { Reply::parse(line.octets) };
        match read {
            Some(reply) => Ok(reply),
            None => {
                let said = String::from_utf8_lossy(&line.octets[..line.octets.len().min(300)]).into_owned();
                let error = self.error(SourceErrorKind::Protocol, "this is no answer of a POP3 server").said(&said);
                let is_imap = self.stage == "greeting" && said.starts_with("* ");
                Err(if is_imap { error.hint("this is an IMAP server: `protocol: imap`") } else { error })
            }
        }
    }

    /// As [`Wire::reply`], where `+` makes no sense.
    pub(super) async fn final_reply(&mut self) -> Result<Reply, SourceError> {
        let reply = self.reply().await?;
        if reply.status == Status::Continue {
            return Err(self.error(SourceErrorKind::Protocol, "the server asks for more where nothing follows"));
        }
        Ok(reply)
    }

    /// Reads a line of a listing, or `None` at the dot that ends it. Here a bare LF ends a line too: nothing in a listing comes from mail.
    pub(super) async fn listed_line(&mut self) -> Result<Option<Line<'_>>, SourceError> {
        // One read may hold thousands of lines, and a flood always has another read ready: the others get their turn.
        consume_budget().await;
        let line = self.line().await?;
        Ok(if line.octets == b"." && !line.cut { None } else { Some(line) })
    }

    async fn line(&mut self) -> Result<Line<'_>, SourceError> {
        let mut searched = 0;
        let mut skipped = 0;
        let found = loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.start + searched..self.end]) {
                let (from, to) = (self.start, self.start + searched + at);
                self.start = to + 1;
                break from..to;
            }
            searched = self.end - self.start;
            if searched > LINE_OCTETS_MAX {
                if skipped == 0 {
                    self.cut_line.clear();
                    self.cut_line.extend_from_slice(&self.buffer[self.start..self.start + CUT_LINE_OCTETS]);
                }
                skipped += searched;
                (self.start, searched) = (self.end, 0);
                if skipped > SKIP_OCTETS_MAX {
                    return Err(self.error(SourceErrorKind::Protocol, "the server sends a line without an end"));
                }
            }
            self.fill().await?;
        };
        if skipped > 0 {
            return Ok(Line { octets: &self.cut_line, cut: true });
        }
        let octets = &self.buffer[found];
        let octets = octets.strip_suffix(b"\r").unwrap_or(octets);
        match octets.get(..LINE_OCTETS_MAX) {
            Some(_) if octets.len() > LINE_OCTETS_MAX => Ok(Line { octets: &octets[..CUT_LINE_OCTETS], cut: true }),
            _ => Ok(Line { octets, cut: false }),
        }
    }

    /// What was read and not consumed; waits for some if there is nothing.
    pub(super) async fn octets(&mut self) -> Result<&[u8], SourceError> {
        if self.start == self.end {
            self.fill().await?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// The same, but `None` after so long without any, if that is given.
    pub(super) async fn octets_within(&mut self, limit: Option<Duration>) -> Result<Option<&[u8]>, SourceError> {
        if self.start == self.end {
            match limit {
                // Nothing is lost when the wait is dropped: what is read goes to the buffer at once.
                Some(limit) if limit < self.idle => match timeout(limit, self.fill()).await {
                    Ok(filled) => filled?,
                    Err(_) => return Ok(None),
                },
                _ => self.fill().await?,
            }
        }
        Ok(Some(&self.buffer[self.start..self.end]))
    }

    /// Reads what follows the first line of an answer, up to its dot; returns how many octets it was.
    pub(super) async fn text(&mut self, limit: u64, mut take: impl FnMut(&[u8])) -> Result<u64, SourceError> {
        let (mut unstuff, mut octets) = (Unstuff::new(), 0u64);
        loop {
            let mut input = self.octets().await?;
            let before = input.len();
            let (used, at_end) = loop {
                match unstuff.next(&mut input) {
                    Piece::Text(piece) => {
                        octets += piece.len() as u64;
                        take(piece);
                    }
                    Piece::More => break (before, false),
                    Piece::End => break (before - input.len(), true),
                }
            };
            self.consume(used);
            if at_end {
                return Ok(octets);
            }
            if octets > limit {
                return Err(self.error(SourceErrorKind::Protocol, "the server sends a message without an end"));
            }
        }
    }

    /// Takes octets off that [`Wire::octets`] gave.
    pub(super) fn consume(&mut self, octets: usize) {
        self.start = (self.start + octets).min(self.end);
    }

    /// Reads once. The caller has made sure that the buffer is not full of what it wants to keep.
    async fn fill(&mut self) -> Result<(), SourceError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let begun = Instant::now();
        match timeout(self.idle, self.channel.read(&mut self.buffer[self.end..])).await {
            Err(_) => Err(self.timed_out()),
            Ok(Ok(0)) => Err(self.error(SourceErrorKind::Closed, "the server closed the connection")),
            Ok(Ok(octets)) => {
                self.trace.received(&self.buffer[self.end..self.end + octets]);
                self.end += octets;
                self.came += octets;
                self.waited += begun.elapsed();
                if self.waited > self.idle * SLOW_WAITS {
                    if self.came < SLOW_OCTETS_MIN {
                        let text = format!("only {} octets in {} s", self.came, self.waited.as_secs());
                        return Err(self.error(SourceErrorKind::Timeout, text));
                    }
                    (self.waited, self.came) = (Duration::ZERO, 0);
                }
                Ok(())
            }
            Ok(Err(error)) => Err(self.error(SourceErrorKind::Closed, format!("the connection broke: {error}"))),
        }
    }

    fn timed_out(&self) -> SourceError {
        self.error(SourceErrorKind::Timeout, format!("no answer in {} s", self.idle.as_secs_f32()))
    }
}
