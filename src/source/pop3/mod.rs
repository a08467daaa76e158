//! A POP3 mailbox (RFC 1939): few round trips, one try to log in, and nothing deleted but by QUIT's +OK.
//!
//! ```text
//! greeting ─ [STLS ─ handshake] ─ CAPA ─ USER, PASS, STAT, UIDL ─ RETR… ─ DELE… ─ QUIT      one write each where PIPELINING is offered
//! ```
//!
//! What a caller has to know:
//!
//! - A message is deleted by its number, and a number is only good in its session. [`Session::dispose`] therefore wants a listing in this
//!   session first; it deletes any message that the listing met, known or not. One that is no longer there is passed over, and found in
//!   `vanished` when it was in [`super::Want::also`]: what is owed a disposal belongs there.
//! - Answers to DELE are read as the session goes on. Only what [`Session::close`] returns is deleted; a DELE that the server refused, or one
//!   held back (see `roster`: messages that share an id are only deleted together), is not in it and stays owed.
//! - A server without UIDL is an error of kind `Mailbox`: its messages could not be recognised in the next session.
//! - If the listing is shorter than what STAT counted, what it has is collected, but nothing counts as vanished.

mod login;
mod peek;
mod roster;
mod session;
mod wire;

use super::{Session, Source, SourceError, SourceErrorKind};
use crate::config::secret::SecretReader;
use crate::config::{Server, Tls, TlsMode};
use crate::mail::{CollectorId, MailboxId, Secret};
use crate::net::{self, Channel, DialError, DialErrorKind, TlsClient};
use crate::proto::pop3::Capabilities;
use crate::spool::Spool;
use async_trait::async_trait;
use session::Pop3Session;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use wire::Wire;

/// For connecting, the handshake and the greeting, for those who configured no limit.
const CONNECT_MAX: Duration = Duration::from_secs(600);

/// A POP3 mailbox.
pub struct Pop3Source {
    server: Server,
    mailbox: Arc<MailboxId>,
    spool: Spool,
    collector: CollectorId,
    max_message_size: Option<u64>,
    password: SecretReader,
    peer: String,
    tls: OnceCell<TlsClient>,
    quirks: Arc<Quirks>,
}

/// What went wrong in former sessions, so that it is not tried for ever.
#[derive(Debug, Default)]
struct Quirks {
    /// Connections in a row that ended at CAPA.
    capa: Streak,
    /// Sessions in a row that ended between a pipelined login and its last answer.
    pipelining: Streak,
}

/// Failures in a row. After the second one the thing is left alone: a single one may be the line's.
#[derive(Debug, Default)]
struct Streak(AtomicU8);

impl Streak {
    fn may_try(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 2
    }

    fn note<T>(&self, result: &Result<T, SourceError>) {
        match result {
            Ok(_) => self.0.store(0, Ordering::Relaxed),
            Err(error) if matches!(error.kind, SourceErrorKind::Closed | SourceErrorKind::Timeout | SourceErrorKind::Protocol) => {
                let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
            }
            Err(_) => {}
        }
    }
}

impl Pop3Source {
    /// A mailbox on `server`. Messages above `max_message_size` octets are read and thrown away.
    pub fn new(server: Server, password: SecretReader, spool: Spool, collector: CollectorId, max_message_size: Option<u64>) -> Self {
        let peer = format!("{}:{}", server.host, server.port);
        let mailbox = Arc::new(server.mailbox());
        let (tls, quirks) = (OnceCell::new(), Arc::default());
        Pop3Source { server, mailbox, spool, collector, max_message_size, password, peer, tls, quirks }
    }

    /// Starts a session over a channel that is connected, and secured if that is to happen before the greeting: for tests.
    pub async fn open_over(&self, channel: Channel) -> Result<Box<dyn Session>, SourceError> {
        let deadline = Instant::now() + self.server.connect_timeout.unwrap_or(CONNECT_MAX);
        self.converse(channel, deadline).await
    }

    async fn converse(&self, channel: Channel, deadline: Instant) -> Result<Box<dyn Session>, SourceError> {
        // Read before anything else: a command that asks a vault may take longer than the server waits.
        let password = match self.server.auth.method.has_secret() {
            true => (self.password)().await.map_err(|why| SourceError::no_secret(&self.peer, why))?,
            false => Secret::new(String::new()),
        };
        let mut wire = Wire::new(channel, self.peer.clone(), self.server.idle_timeout);
        let greeted = timeout(deadline.saturating_duration_since(Instant::now()), login::greeting(&mut wire)).await;
        let greeting = greeted
            .unwrap_or_else(|_| Err(self.error(SourceErrorKind::Timeout, "greeting", "no greeting within `connect_timeout`")))
            .map_err(|error| error.of_greeting(self.server.tls.mode))?;
        let mut known = None;
        let wants_tls = match self.server.tls.mode {
            TlsMode::StartTls => true,
            TlsMode::Opportunistic => {
                known = self.capabilities(&mut wire).await?;
                known.is_some_and(|can| can.stls)
            }
            TlsMode::Implicit | TlsMode::None => false,
        };
        if wants_tls {
            let limit = self.server.connect_timeout.unwrap_or(CONNECT_MAX);
            let asked = timeout(limit, login::starttls(&mut wire)).await;
            asked.unwrap_or_else(|_| Err(self.error(SourceErrorKind::Timeout, "starttls", "no answer within `connect_timeout`")))?;
            let bare = wire.into_bare_channel()?;
            let secured = self.secure(bare, "starttls", limit).await?;
            wire = Wire::new(secured, self.peer.clone(), self.server.idle_timeout);
            // Nothing that was said before TLS is remembered (RFC 2595 §4).
            known = None;
        }
        if wants_tls || self.server.tls.mode != TlsMode::Opportunistic {
            known = self.capabilities(&mut wire).await?;
        }
        if known.is_some_and(|can| can.utf8) {
            login::utf8(&mut wire).await?;
        }
        let ahead = self.quirks.pipelining.may_try();
        let logged_in = login::login(&mut wire, &self.server, known, &greeting, &password, ahead).await;
        if logged_in.is_err() && ahead && known.is_some_and(|can| can.pipelining) {
            self.quirks.pipelining.note(&logged_in);
        }
        Ok(Box::new(Pop3Session::new(self, wire, logged_in?)))
    }

    /// What the server can do, if it says so; one that hangs up at the question is not asked again.
    async fn capabilities(&self, wire: &mut Wire) -> Result<Option<Capabilities>, SourceError> {
        if !self.quirks.capa.may_try() {
            return Ok(None);
        }
        let asked = login::capabilities(wire).await;
        self.quirks.capa.note(&asked);
        asked
    }

    async fn secure(&self, channel: Channel, stage: &'static str, limit: Duration) -> Result<Channel, SourceError> {
        // The system's authorities are read once; files of the operator's each time, as they may have been renewed.
        let tls = match (&self.server.tls.ca_file, &self.server.tls.client_cert) {
            (None, None) => self.tls.get_or_try_init(|| prepare(self.server.tls.clone())).await.cloned(),
            _ => prepare(self.server.tls.clone()).await,
        };
        let secured = match tls {
            Ok(tls) => tls.secure(channel, &self.server.host, Some(limit)).await,
            Err(error) => Err(error),
        };
        secured.map_err(|error| SourceError::dial(stage, &self.peer, error))
    }

    fn error(&self, kind: SourceErrorKind, stage: &'static str, text: impl Into<String>) -> SourceError {
        SourceError::new(kind, stage, &self.peer, text)
    }
}

/// Reads files, so not on a thread of the runtime.
async fn prepare(tls: Tls) -> Result<TlsClient, DialError> {
    let read = tokio::task::spawn_blocking(move || TlsClient::new(&tls)).await;
    read.unwrap_or_else(|join| Err(DialError { kind: DialErrorKind::Tls, text: join.to_string(), hint: None }))
}

#[async_trait]
impl Source for Pop3Source {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        let limit = self.server.connect_timeout.unwrap_or(CONNECT_MAX);
        let deadline = Instant::now() + limit;
        let dialled = net::tcp(&self.server.host, self.server.port, Some(limit)).await;
        let mut channel = dialled.map_err(|error| SourceError::dial("connect", &self.peer, error))?;
        if self.server.tls.mode == TlsMode::Implicit {
            channel = self.secure(channel, "connect", deadline.saturating_duration_since(Instant::now())).await?;
        }
        self.converse(channel, deadline).await
    }
}
