//! A mailbox on an Exchange server, by Exchange Web Services: one pinned connection, few requests for many messages, contents streamed to the spool.
//!
//! ```text
//! connect ─ [NTLM] ─ GetFolder ─ SyncFolderItems… ─ GetItem (many ids) … ─ UpdateItem | DeleteItem | MoveItem (many ids)
//! ```
//!
//! What a caller has to know:
//!
//! - A message is called by its ItemId. Exchange never gives it to another one, and gives a message that is moved to another folder a new one.
//! - A folder is listed by what has changed since the cursor (SyncFolderItems). Where the server takes the cursor no more, the whole folder is listed,
//!   and what is `known` is left out. A listing that asks for unread mail or for a time is a search (FindItem) without a cursor.
//! - Only what is mail is listed: contacts, appointments and tasks that somebody put into the folder are left alone.
//! - Deleting is a soft delete, as what an IMAP client expunges: the message is among the recoverable items for as long as the server keeps those.
//! - A connection that the server has closed between two requests is made anew, with a login of its own. A request that may have been heard is repeated
//!   once at most, and all of them may be: what is gone counts as deleted.

mod disposal;
mod folders;
mod listing;
mod refusal;
mod retrieve;
mod session;
mod wire;

use super::autodiscover::{Autodiscover, Doors, Network, Who};
use super::web::{Dialer, place_of};
use super::{Session, Source, SourceError, SourceErrorKind};
use crate::config::secret::SecretReader;
use crate::config::{Server, WebPlace};
use crate::mail::{Address, CollectorId, MailboxId, Secret};
use crate::net::{Nobody, Tracer, Witness};
use crate::proto::ews::Version;
use crate::spool::Spool;
use async_trait::async_trait;
use session::EwsSession;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use wire::Wire;

/// A mailbox on an Exchange server.
pub struct EwsSource {
    inner: Arc<Inner>,
}

/// What a session takes along: it may have to connect once more.
struct Inner {
    server: Server,
    mailbox: Arc<MailboxId>,
    spool: Spool,
    collector: CollectorId,
    max_message_size: Option<u64>,
    password: SecretReader,
    dialer: Dialer,
    /// What the server was found to know, for `exchange_version: auto`.
    version: Mutex<Option<Version>>,
    /// Asked where no `url` is given.
    autodiscover: OnceLock<Autodiscover>,
    witness: Arc<dyn Witness>,
}

impl EwsSource {
    /// A mailbox on `server`. Messages above `max_message_size` octets are read and thrown away.
    pub fn new(server: Server, password: SecretReader, spool: Spool, collector: CollectorId, max_message_size: Option<u64>) -> Self {
        let mailbox = Arc::new(server.mailbox());
        let (dialer, version, autodiscover) = (Dialer::new(&server), Mutex::new(None), OnceLock::new());
        let witness = Arc::new(Nobody);
        let inner = Inner { server, mailbox, spool, collector, max_message_size, password, dialer, version, autodiscover, witness };
        EwsSource { inner: Arc::new(inner) }
    }

    /// Somebody watches how sessions come about.
    pub fn seen_by(self, witness: Arc<dyn Witness>) -> Self {
        self.with(|inner| inner.witness = witness)
    }

    /// The dialogue is shown.
    pub fn traced_by(self, tracer: Tracer) -> Self {
        self.with(|inner| inner.dialer.traced_by(tracer))
    }

    /// Autodiscover has these ways to the world: for tests.
    pub fn found_by(self, doors: Arc<dyn Doors>) -> Self {
        self.with(|inner| inner.autodiscover = OnceLock::from(Autodiscover::new(doors)))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        // No session has begun, so that nobody else holds it.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            change(inner);
        }
        self
    }
}

impl Inner {
    /// Where the web services are: as written, or as autodiscover says.
    async fn place(&self, secret: &Secret) -> Result<WebPlace, SourceError> {
        let server = &self.server;
        if let Some(path) = &server.web.path {
            return Ok(place_of(server, path));
        }
        let own: Option<Address> = server.username.parse().ok();
        let Some(address) = server.web.address.as_ref().or(own.as_ref()) else {
            let text = "neither `url` nor an address tells where the web services are";
            return Err(SourceError::new(SourceErrorKind::Connect, "connect", &server.host, text).hint("`url: https://HOST/EWS/Exchange.asmx`"));
        };
        self.autodiscover().place(&Who { address, auth: &server.auth, username: &server.username, secret }).await
    }

    fn autodiscover(&self) -> &Autodiscover {
        self.autodiscover.get_or_init(|| Autodiscover::new(Arc::new(Network::new(&self.server, self.dialer.tracer()))))
    }

    /// What was found does not work: the next session asks anew.
    fn forget_place(&self) {
        if let Some(autodiscover) = self.autodiscover.get() {
            autodiscover.forget();
        }
    }

    /// The password or token.
    async fn secret(&self) -> Result<Secret, SourceError> {
        match self.server.auth.method.has_secret() {
            true => (self.password)().await.map_err(|why| SourceError::no_secret(&format!("{}:{}", self.server.host, self.server.port), why)),
            false => Ok(Secret::new(String::new())),
        }
    }

    /// The schema that is asked for, and whether an older one may be tried.
    fn version(&self) -> (Version, bool) {
        match self.server.web.version {
            Some(fixed) => (fixed, false),
            None => (self.version.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(Version::FIRST), true),
        }
    }

    /// Later sessions begin with it.
    fn note_version(&self, version: Version) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
    }
}

#[async_trait]
impl Source for EwsSource {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        // Whatever is wrong there, the mailbox may have moved: where it is is asked anew. Only who is busy and says how long is where it should be.
        let wire = Wire::open(Arc::clone(&self.inner)).await.inspect_err(|error| {
            if error.kind != SourceErrorKind::Secret && error.retry_after.is_none() {
                self.inner.forget_place();
            }
        })?;
        Ok(Box::new(EwsSession::new(wire)))
    }

    async fn reach(&self) -> Result<(), SourceError> {
        // Who is asked where it is asks for a password first.
        let secret = if self.inner.server.web.path.is_some() { Secret::new(String::new()) } else { self.inner.secret().await? };
        let place = self.inner.place(&secret).await?;
        let peer = format!("{}:{}", place.host, place.port);
        self.inner.dialer.dial(&place, &*self.inner.witness).await.map(drop).map_err(|error| SourceError::web("connect", &peer, error))
    }
}
