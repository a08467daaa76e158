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
//! - Answers to DELE are read as the session goes on. Only what [`Session::close`] returns is deleted; a DELE that the server refused is not in
//!   it and stays owed.
//! - Message numbers mean nothing in the next session. What has no UIDL of its own (none, one that cannot be used, one that others have too) is
//!   called by a hash of its content (`mail::by_content`), and for that it is read in each listing. Up to 100 such messages are, in any case;
//!   more of them, or a server without UIDL at all, only with [`Pop3Source::by_content`]. A message that cannot be named so either is listed
//!   under a name for this session, which [`Session::fetch`] answers with the reason.
//! - An id that was unique when its message was collected, and is given to a second message later, names neither from then on: the first comes
//!   a second time.
//! - A UIDL that changes from session to session names another message each time: by `after: keep` all mail comes again in each pass.
//! - If the listing is shorter than what STAT counted, what it has is collected, but nothing counts as vanished.
//! - [`super::Want::since`] is answered by the date in the topmost Received field, else by Date, as TOP shows them. A message without a date is
//!   listed; on a server without TOP all are, and [`crate::mail::arrived()`] tells the date when the message is here.
//! - A server that ends the connection at CAPA is asked once more without it, in a new connection, and never again for the source's life.

mod content;
mod deletions;
mod identify;
mod login;
mod peek;
mod pipeline;
mod quirks;
mod retrieve;
mod roster;
mod session;
mod survey;
mod wire;

use super::{Session, Source, SourceError, SourceErrorKind};
use crate::config::secret::SecretReader;
use crate::config::{Server, TlsMode};
use crate::mail::{CollectorId, Epoch, FolderName, MailboxId, Secret};
use crate::net::{self, Channel, Dialect, Handshake, Nobody, Seen, TlsKept, Tracer, Witness};
use crate::proto::pop3::{Capabilities, Command};
use crate::spool::Spool;
use async_trait::async_trait;
use quirks::Quirks;
use session::Pop3Session;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use wire::Wire;

/// For connecting, the handshake and the greeting, for those who configured no limit.
const CONNECT_MAX: Duration = Duration::from_secs(600);
/// How long a good-bye may take where nothing depends on it.
const QUIT_PATIENCE: Duration = Duration::from_secs(3);

/// A POP3 mailbox.
pub struct Pop3Source {
    server: Server,
    mailbox: Arc<MailboxId>,
    spool: Spool,
    collector: CollectorId,
    max_message_size: Option<u64>,
    password: SecretReader,
    peer: String,
    tls: TlsKept,
    quirks: Arc<Quirks>,
    by_content: bool,
    witness: Arc<dyn Witness>,
    tracer: Tracer,
}

/// A connection as it is before the login: greeted, secured as configured, and asked for what it can do.
struct Reached {
    wire: Wire,
    greeting: String,
    known: Option<Capabilities>,
}

/// Why no session came about.
struct Failed {
    error: SourceError,
    /// It may have been CAPA that broke it.
    at_capa: bool,
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Failed { error, at_capa: false }
    }
}

impl Pop3Source {
    /// A mailbox on `server`. Messages above `max_message_size` octets are read and thrown away.
    pub fn new(server: Server, password: SecretReader, spool: Spool, collector: CollectorId, max_message_size: Option<u64>) -> Self {
        let peer = format!("{}:{}", server.host, server.port);
        let mailbox = Arc::new(server.mailbox());
        let (tls, quirks) = (TlsKept::new(server.tls.clone()), Arc::default());
        let (witness, tracer) = (Arc::new(Nobody), Tracer::default());
        Pop3Source { server, mailbox, spool, collector, max_message_size, password, peer, tls, quirks, by_content: false, witness, tracer }
    }

    /// Somebody watches how sessions come about.
    pub fn seen_by(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = witness;
        self
    }

    /// The dialogue is shown.
    pub fn traced_by(mut self, tracer: Tracer) -> Self {
        self.tracer = tracer;
        self
    }

    /// Whether messages that no UIDL tells apart may be read in each pass, however many they are. Without it a server without UIDL is refused.
    pub fn by_content(mut self, allowed: bool) -> Self {
        self.by_content = allowed;
        self
    }

    /// Starts a session over a channel that is connected, and secured if that is to happen before the greeting: for tests.
    pub async fn open_over(&self, channel: Channel) -> Result<Box<dyn Session>, SourceError> {
        let deadline = Instant::now() + self.server.connect_timeout.unwrap_or(CONNECT_MAX);
        self.converse(channel, deadline, !self.quirks.no_capa.load(Ordering::Relaxed)).await.map_err(|failed| failed.error)
    }

    async fn converse(&self, channel: Channel, deadline: Instant, ask_capa: bool) -> Result<Box<dyn Session>, Failed> {
        // Read before anything else: a command that asks a vault may take longer than the server waits.
        let password = match self.server.auth.method.has_secret() {
            true => (self.password)().await.map_err(|why| SourceError::no_secret(&self.peer, why))?,
            false => Secret::new(String::new()),
        };
        let Reached { mut wire, greeting, known } = self.meet(channel, deadline, ask_capa).await?;
        if known.is_some_and(|can| can.utf8) {
            login::utf8(&mut wire).await?;
        }
        let ahead = self.quirks.pipelining.may_try();
        wire.spoke_secret = false;
        let logged_in = login::login(&mut wire, &self.server, known, &greeting, &password, ahead, &*self.witness).await;
        if logged_in.is_err() && ahead && known.is_some_and(|can| can.pipelining) {
            self.quirks.pipelining.note(&logged_in);
        }
        match logged_in {
            Ok(login) => Ok(Box::new(Pop3Session::new(self, wire, login, known.is_some()))),
            // Some say -ERR to CAPA and then hang up. Once a password may have gone out there is no second try.
            Err(error) => {
                let at_capa = ask_capa && known.is_none() && error.kind == SourceErrorKind::Closed && !wire.spoke_secret;
                Err(Failed { error: self.quirks.advise(error), at_capa })
            }
        }
    }

    /// Everything before the login.
    async fn meet(&self, channel: Channel, deadline: Instant, ask_capa: bool) -> Result<Reached, Failed> {
        let mut wire = self.wire(channel);
        let greeted = timeout(deadline.saturating_duration_since(Instant::now()), login::greeting(&mut wire)).await;
        let greeting = greeted
            .unwrap_or_else(|_| Err(self.error(SourceErrorKind::Timeout, "greeting", "no greeting within `connect_timeout`")))
            .map_err(|error| self.quirks.advise(error.of_greeting(self.server.tls.mode)))?;
        self.witness.saw(Seen::Greeted(greeting.clone()));
        let mut known = None;
        let wants_tls = match self.server.tls.mode {
            TlsMode::StartTls => true,
            TlsMode::Opportunistic if ask_capa => {
                known = self.capabilities(&mut wire).await?;
                known.is_some_and(|can| can.stls)
            }
            TlsMode::Opportunistic | TlsMode::Implicit | TlsMode::None => false,
        };
        if wants_tls {
            let limit = self.server.connect_timeout.unwrap_or(CONNECT_MAX);
            let asked = timeout(limit, login::starttls(&mut wire)).await;
            asked.unwrap_or_else(|_| Err(self.error(SourceErrorKind::Timeout, "starttls", "no answer within `connect_timeout`")))?;
            let bare = wire.into_bare_channel()?;
            let secured = self.secure(bare, "starttls", limit).await?;
            wire = self.wire(secured);
            // Nothing that was said before TLS is remembered (RFC 2595 §4).
            known = None;
        }
        if ask_capa && (wants_tls || self.server.tls.mode != TlsMode::Opportunistic) {
            known = self.capabilities(&mut wire).await?;
        }
        Ok(Reached { wire, greeting, known })
    }

    fn wire(&self, channel: Channel) -> Wire {
        Wire::new(channel, self.peer.clone(), self.server.idle_timeout).traced(self.tracer.start(Dialect::Pop3))
    }

    /// What the server can do, if it says so.
    async fn capabilities(&self, wire: &mut Wire) -> Result<Option<Capabilities>, Failed> {
        let known = login::capabilities(wire).await.map_err(|error| {
            let at_capa = matches!(error.kind, SourceErrorKind::Closed | SourceErrorKind::Timeout | SourceErrorKind::Protocol);
            Failed { error, at_capa }
        })?;
        self.quirks.note_login_delay(known.and_then(|can| can.login_delay));
        Ok(known)
    }

    /// Connects, and starts a session.
    async fn dial(&self, ask_capa: bool) -> Result<Box<dyn Session>, Failed> {
        let (channel, deadline) = self.connect().await?;
        self.converse(channel, deadline, ask_capa).await
    }

    /// A channel, secured if that is to happen before the greeting, and until when that may be awaited.
    async fn connect(&self) -> Result<(Channel, Instant), SourceError> {
        let limit = self.server.connect_timeout.unwrap_or(CONNECT_MAX);
        let deadline = Instant::now() + limit;
        let dialled = net::tcp_seen(&self.server.host, self.server.port, Some(limit), &*self.witness).await;
        let mut channel = dialled.map_err(|error| SourceError::dial("connect", &self.peer, error))?;
        if self.server.tls.mode == TlsMode::Implicit {
            channel = self.secure(channel, "connect", deadline.saturating_duration_since(Instant::now())).await?;
        }
        Ok((channel, deadline))
    }

    async fn secure(&self, channel: Channel, stage: &'static str, limit: Duration) -> Result<Channel, SourceError> {
        let secured = match self.tls.get().await {
            Ok(tls) => tls.secure(channel, &self.server.host, Some(limit)).await,
            Err(error) => Err(error),
        };
        let secured = secured.map_err(|error| SourceError::dial(stage, &self.peer, error))?;
        Handshake::of(&secured).into_iter().for_each(|handshake| self.witness.saw(Seen::Secured(Box::new(handshake))));
        Ok(secured)
    }

    fn error(&self, kind: SourceErrorKind, stage: &'static str, text: impl Into<String>) -> SourceError {
        SourceError::new(kind, stage, &self.peer, text)
    }
}

#[async_trait]
impl Source for Pop3Source {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        let ask_capa = !self.quirks.no_capa.load(Ordering::Relaxed);
        match self.dial(ask_capa).await {
            Err(failed) if failed.at_capa => {
                let again = self.dial(false).await;
                // Only a server that gets further without CAPA was broken by it; else the line was.
                let further = again.as_ref().map_or_else(|failed| is_an_answer(&failed.error), |_| true);
                self.quirks.no_capa.store(further, Ordering::Relaxed);
                again.map_err(|failed| failed.error)
            }
            opened => opened.map_err(|failed| failed.error),
        }
    }

    async fn reach(&self) -> Result<(), SourceError> {
        let (channel, deadline) = self.connect().await?;
        // Capabilities are for the login; asking for them is what broken servers hang up at.
        let asks = self.server.tls.mode == TlsMode::Opportunistic;
        let mut reached = self.meet(channel, deadline, asks).await.map_err(|failed| failed.error)?;
        // Nothing depends on the good-bye.
        let _ = timeout(QUIT_PATIENCE, reached.wire.ask(Command::Quit)).await;
        Ok(())
    }

    fn only_place(&self) -> Option<(FolderName, Epoch)> {
        Some((FolderName::inbox(), Epoch(0)))
    }

    fn least_interval(&self) -> Option<Duration> {
        self.quirks.login_delay()
    }
}

/// True if the server judged the login.
fn is_an_answer(error: &SourceError) -> bool {
    matches!(error.kind, SourceErrorKind::Auth | SourceErrorKind::Throttled | SourceErrorKind::Mailbox) && error.stage == "login"
}
