//! IMAP as a source: every wait for the server costs a round trip, so commands go together whenever the protocol lets them. A pass over a
//! mailbox is greeting, (LOGIN, SELECT), UID SEARCH, UID FETCH, UID STORE, UID EXPUNGE, LOGOUT: six waits besides TLS.
//!
//! What servers do that the RFCs do not say, and what we make of it: docs/imap.md, with the test of each.

mod connection;
mod disposal;
mod fetch;
mod folders;
mod hello;
mod idle;
mod listing;
mod login;
mod peek;
mod pieces;
mod quirk;
mod refusal;
mod reissue;
mod select;
mod session;

use super::{Session, Source, SourceError, SourceErrorKind};
use crate::config::secret::SecretReader;
use crate::config::{PartialFetch, Server, TlsMode};
use crate::mail::{CollectorId, Epoch, FolderName, MailboxId, UidSet};
use crate::net::{self, Channel, DialError, Dialect, Handshake, Nobody, Seen, TlsClient, Tracer, Witness};
use crate::spool::Spool;
use async_trait::async_trait;
use connection::Connection;
use hello::introduce;
use login::{greeting, log_in, offers_tls, start_tls};
use reissue::Reissue;
use session::{ImapSession, LOGOUT_PATIENCE};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Connecting and greeting, for those who configured no limit.
const CONNECT_MAX: Duration = Duration::from_secs(600);

/// A mailbox on an IMAP server.
pub struct ImapSource {
    server: Server,
    password: SecretReader,
    read_only: bool,
    witness: Arc<dyn Witness>,
    tracer: Tracer,
    pub(self) shared: Arc<Shared>,
}

/// A connection as it is before the login: greeted, and secured as configured.
struct Reached {
    connection: Connection,
    preauth: bool,
    wants_id: bool,
}

/// What a session needs of its source.
struct Shared {
    spool: Spool,
    collector: CollectorId,
    mailbox: Arc<MailboxId>,
    max_message_size: Option<u64>,
    partial_fetch: PartialFetch,
    /// Messages in the middle of which a session broke off: with `partial_fetch: auto` they are asked for in pieces.
    broke_off: Mutex<BTreeSet<(FolderName, Epoch, u32)>>,
    /// What was copied to another folder and is still to be deleted.
    copied: Mutex<BTreeMap<disposal::Way, UidSet>>,
    allow_plain_expunge: bool,
    /// False once the server forgot a SELECT that came together with the login, as some proxies do.
    select_with_login: AtomicBool,
    /// True once the server refused an IDLE that it offers.
    idle_refused: AtomicBool,
    /// How long an IDLE may last.
    reissue: Mutex<Reissue>,
    /// True once the server gave an answer to ESEARCH that makes no sense.
    esearch_failed: AtomicBool,
}

impl Shared {
    fn reissue(&self) -> MutexGuard<'_, Reissue> {
        self.reissue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ImapSource {
    /// A source that reads its password by `password` at each login, and spools messages to `spool`. Messages above `max_message_size`
    /// octets are not taken.
    pub fn new(server: Server, password: SecretReader, spool: Spool, collector: CollectorId, max_message_size: Option<u64>) -> Self {
        let mailbox = Arc::new(server.mailbox());
        let shared = Shared {
            spool,
            collector,
            mailbox,
            max_message_size,
            partial_fetch: server.partial_fetch,
            broke_off: Mutex::default(),
            copied: Mutex::default(),
            allow_plain_expunge: server.allow_plain_expunge,
            select_with_login: AtomicBool::new(true),
            idle_refused: AtomicBool::new(false),
            reissue: Mutex::default(),
            esearch_failed: AtomicBool::new(false),
        };
        ImapSource { server, password, read_only: false, witness: Arc::new(Nobody), tracer: Tracer::default(), shared: Arc::new(shared) }
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

    /// For looking only: folders are opened by EXAMINE, so that not even \\Recent changes, and nothing can be disposed of.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Opens a session over a channel that is connected already, and secured if `tls.mode` is `implicit`.
    pub async fn open_over(&self, channel: Channel) -> Result<Box<dyn Session>, SourceError> {
        let Reached { mut connection, preauth, wants_id } = self.reach_over(channel).await?;
        // Whatever has to be said before SELECT keeps it from going along with the login.
        let has_more_to_say = wants_id || self.server.compress;
        let pipelined = !self.read_only && !has_more_to_say && self.shared.select_with_login.load(Ordering::Relaxed);
        let selecting = log_in(&mut connection, &self.server, &self.password, preauth, pipelined, &*self.witness).await?;
        if has_more_to_say {
            introduce(&mut connection, wants_id, self.server.compress).await?;
        }
        Ok(Box::new(ImapSession::new(connection, self.shared.clone(), selecting, self.read_only)))
    }

    async fn reach_over(&self, channel: Channel) -> Result<Reached, SourceError> {
        let peer = self.peer();
        let mut connection = self.connection(channel, &peer);
        let limit = self.server.connect_timeout.unwrap_or(CONNECT_MAX);
        let greeted = timeout(limit, greeting(&mut connection)).await;
        let greeting =
            greeted.unwrap_or_else(|_| Err(timed_out("greeting", &peer, limit))).map_err(|error| error.of_greeting(self.server.tls.mode))?;
        self.witness.saw(Seen::Greeted(greeting.text));
        let mut preauth = greeting.preauth;
        let wants_id = connection.wants_id || quirk::wants_id(&self.server.host);
        let wants_tls = match self.server.tls.mode {
            TlsMode::StartTls => true,
            TlsMode::Opportunistic => {
                timeout(limit, offers_tls(&mut connection, preauth)).await.unwrap_or_else(|_| Err(timed_out("starttls", &peer, limit)))?
            }
            TlsMode::Implicit | TlsMode::None => false,
        };
        if wants_tls {
            let plain = timeout(limit, start_tls(connection, preauth)).await.unwrap_or_else(|_| Err(timed_out("starttls", &peer, limit)))?;
            let channel = self.secure("starttls", plain).await?;
            // Nothing that was said before TLS is remembered (RFC 9051 §6.2.1).
            connection = self.connection(channel, &peer);
            preauth = false;
        }
        Ok(Reached { connection, preauth, wants_id })
    }

    fn connection(&self, channel: Channel, peer: &str) -> Connection {
        Connection::new(channel, peer, self.server.idle_timeout).traced(self.tracer.start(Dialect::Imap))
    }

    fn peer(&self) -> String {
        format!("{}:{}", self.server.host, self.server.port)
    }

    async fn secure(&self, stage: &'static str, channel: Channel) -> Result<Channel, SourceError> {
        let failed = |error: DialError| SourceError::dial(stage, &self.peer(), error);
        let client = TlsClient::load(&self.server.tls).await.map_err(failed)?;
        let secured = client.secure(channel, &self.server.host, self.server.connect_timeout).await.map_err(failed)?;
        Handshake::of(&secured).into_iter().for_each(|handshake| self.witness.saw(Seen::Secured(Box::new(handshake))));
        Ok(secured)
    }

    async fn dial(&self) -> Result<Channel, SourceError> {
        let dialled = net::tcp_seen(&self.server.host, self.server.port, self.server.connect_timeout, &*self.witness).await;
        let channel = dialled.map_err(|error| SourceError::dial("connect", &self.peer(), error))?;
        if self.server.tls.mode == TlsMode::Implicit { self.secure("connect", channel).await } else { Ok(channel) }
    }
}

#[async_trait]
impl Source for ImapSource {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.open_over(self.dial().await?).await
    }

    async fn reach(&self) -> Result<(), SourceError> {
        let reached = self.reach_over(self.dial().await?).await?;
        reached.connection.logout(LOGOUT_PATIENCE).await;
        Ok(())
    }
}

fn timed_out(stage: &'static str, peer: &str, limit: Duration) -> SourceError {
    SourceError::new(SourceErrorKind::Timeout, stage, peer, format!("not done in {} s", limit.as_secs_f32()))
}
