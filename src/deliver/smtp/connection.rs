//! One connection to an SMTP or LMTP server: commands out and replies in. How it comes to be is in [`super::hello`].

use super::limits::Limits;
use crate::mail::outcome::harmless;
use crate::mail::{Blame, Client, Diagnosis, Reply, Stage};
use crate::net::{Channel, Trace};
use crate::proto::smtp::{Extensions, FullReply, Protocol, ReplyReader, command};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

/// Octets read at once; replies are short.
const READ_OCTETS: usize = 4096;

/// Why a connection cannot be used any more.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The peer closed it.
    #[error("the server closed the connection")]
    Closed,
    /// The time was up.
    #[error("no answer in {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// Reading or writing failed.
    #[error("connection lost: {0}")]
    Io(String),
    /// What came is no reply.
    #[error("the server's answer cannot be understood: {0}")]
    Garbage(String),
    /// Something came that nobody had asked for.
    #[error("the server spoke out of turn: {0}")]
    OutOfTurn(String),
}

/// How far a write of the message's end got.
#[derive(Debug)]
pub(super) enum Write {
    /// All octets are with the system.
    Done,
    /// Not all of them: the server said something first.
    Interrupted,
    /// Not all of them.
    Failed(Broken),
    /// All of them, as far as can be told, and then it failed.
    FailedAtEnd(Broken),
}

/// An open connection, ready for MAIL.
pub(super) struct Connection {
    pub(super) channel: Channel,
    /// What is said, for whoever wants to see it.
    pub(super) trace: Trace,
    /// What came and was not taken yet.
    input: Vec<u8>,
    pub(super) reader: ReplyReader,
    pub(super) limits: Limits,
    pub(super) protocol: Protocol,
    pub(super) extensions: Extensions,
    /// Whom the server takes us for, if XCLIENT told it.
    pub(super) client: Option<Client>,
    /// The server holds nothing of a former transaction: no RSET is needed.
    pub(super) clean: bool,
    /// Set once replies can no longer be paired with commands.
    pub(super) broken: bool,
    /// Transactions so far.
    pub(super) messages: usize,
    /// When it was last used.
    pub(super) rested: Instant,
}

impl Connection {
    /// A connection at its first octet.
    pub(super) fn new(channel: Channel, protocol: Protocol, limits: Limits) -> Self {
        Connection {
            channel,
            trace: Trace::default(),
            input: Vec::new(),
            reader: ReplyReader::new(),
            limits,
            protocol,
            extensions: Extensions::default(),
            client: None,
            clean: true,
            broken: false,
            messages: 0,
            rested: Instant::now(),
        }
    }

    /// One command and its reply.
    pub(super) async fn ask(&mut self, line: &[u8], limit: Duration) -> Result<FullReply, Broken> {
        self.write(line).await?;
        self.reply(limit).await
    }

    /// Writes commands. The server must be silent until they are out: a reply to nothing would be paired with them.
    pub(super) async fn write(&mut self, octets: &[u8]) -> Result<(), Broken> {
        if self.has_spoken().await {
            return Err(self.interruption());
        }
        self.trace.sent(octets);
        let limit = self.limits.block;
        let written = timeout(limit, async {
            self.channel.write_all(octets).await?;
            self.channel.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(Broken::TimedOut(limit)),
        }
    }

    /// Writes a block of the content while it listens: a server that gives up in the middle closes or answers early, and may have stopped
    /// reading. With `last`, the block holds the final dot, and it matters whether all of it went out.
    pub(super) async fn write_content(&mut self, block: &[u8], last: bool) -> Write {
        let limit = self.limits.block;
        let mut written = 0;
        match timeout(limit, poll_fn(|cx| self.poll_content(cx, block, &mut written))).await {
            Ok(Ok(true)) => Write::Done,
            Ok(Ok(false)) => Write::Interrupted,
            Ok(Err(broken)) if last && written == block.len() => Write::FailedAtEnd(broken),
            Ok(Err(broken)) => Write::Failed(broken),
            Err(_) if last && written == block.len() => Write::FailedAtEnd(Broken::TimedOut(limit)),
            Err(_) => Write::Failed(Broken::TimedOut(limit)),
        }
    }

    /// True once all is written, false if the server spoke before.
    fn poll_content(&mut self, cx: &mut Context<'_>, block: &[u8], written: &mut usize) -> Poll<Result<bool, Broken>> {
        while *written < block.len() {
            match self.poll_hear(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Closed)),
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(false)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(&error))),
                Poll::Pending => {}
            }
            match ready!(Pin::new(&mut self.channel).poll_write(cx, &block[*written..])) {
                Ok(0) => return Poll::Ready(Err(Broken::Closed)),
                Ok(octets) => {
                    self.trace.sent_content(octets);
                    *written += octets;
                }
                Err(error) => return Poll::Ready(Err(lost(&error))),
            }
        }
        Pin::new(&mut self.channel).poll_flush(cx).map(|flushed| flushed.map(|()| true).map_err(|error| lost(&error)))
    }

    /// The next reply, complete within `limit`.
    pub(super) async fn reply(&mut self, limit: Duration) -> Result<FullReply, Broken> {
        timeout(limit, self.next_reply()).await.unwrap_or(Err(Broken::TimedOut(limit)))
    }

    async fn next_reply(&mut self) -> Result<FullReply, Broken> {
        loop {
            if self.input.is_empty() && poll_fn(|cx| self.poll_hear(cx)).await.map_err(|error| lost(&error))? == 0 {
                return Err(Broken::Closed);
            }
            let (taken, reply) = self.reader.push(&self.input).map_err(|error| Broken::Garbage(error.to_string()))?;
            self.input.drain(..taken);
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
    }

    /// Reads into `input`, which never holds more than two reads' worth; 0 is the end of the stream.
    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut octets = [0; READ_OCTETS];
        let mut buf = ReadBuf::new(&mut octets);
        ready!(Pin::new(&mut self.channel).poll_read(cx, &mut buf))?;
        self.trace.received(buf.filled());
        self.input.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// True if the server said something, or hung up, while it had nothing to answer. Does not wait.
    pub(super) async fn has_spoken(&mut self) -> bool {
        if !self.input.is_empty() || self.reader.has_begun() {
            return true;
        }
        poll_fn(|cx| Poll::Ready(self.poll_hear(cx).is_ready())).await
    }

    /// What [`Self::has_spoken`] found.
    pub(super) fn interruption(&self) -> Broken {
        if self.input.is_empty() { Broken::Closed } else { Broken::OutOfTurn(harmless(String::from_utf8_lossy(&self.input).trim_end(), 200)) }
    }

    /// Replies that are here already, beyond those that were due. Does not wait.
    pub(super) async fn surplus(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while self.has_spoken().await && !self.input.is_empty() && replies.len() < super::RECIPIENTS_MAX {
            match self.reader.push(&self.input) {
                Ok((taken, reply)) => {
                    self.input.drain(..taken);
                    replies.extend(reply.map(|full| full.reply));
                }
                Err(_) => {
                    replies.push(Reply::new(0, None, "not a reply"));
                    break;
                }
            }
        }
        replies
    }

    /// QUIT, and a short wait for the answer. Nothing depends on it.
    pub(super) async fn quit(mut self) {
        let limit = self.limits.quit;
        let _ = timeout(limit, async {
            if self.write(command::QUIT).await.is_ok() {
                let _ = self.next_reply().await;
            }
            let _ = self.channel.shutdown().await;
        })
        .await;
    }
}

/// A failure of the target as a whole.
pub(super) fn failed(stage: Stage, text: impl ToString) -> Diagnosis {
    Diagnosis::of_text(stage, Blame::Target, text.to_string())
}

fn lost(error: &io::Error) -> Broken {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted => {
            Broken::Closed
        }
        _ => Broken::Io(error.to_string()),
    }
}

/// Runs `close` without anybody waiting for it.
pub(super) fn in_background(close: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(close);
    }
}
