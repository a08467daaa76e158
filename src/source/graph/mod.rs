//! A mailbox of Microsoft 365 by Graph: changes since the last listing (delta queries), messages as MIME, at most four requests at once.
//!
//! ```text
//! token ─ inbox ─ delta, page by page ─ $value ×4 … ─ DELETE, PATCH or move ×4
//! ```
//!
//! What a caller has to know:
//!
//! - Ids are immutable ones (`Prefer: IdType="ImmutableId"`): a message keeps its id when it is moved inside the mailbox, and no other message ever
//!   gets it. Folders are asked for by path, `/` between the levels; the inbox is INBOX in any language.
//! - A listing without a filter ends with a cursor, the delta link without its host. One that the server refuses (410 Gone) is dropped, and the whole
//!   folder is listed, compared with what is known.
//! - Links to further pages are only followed to where we asked: our token goes nowhere else.
//! - Each message comes by a connection of its own, up to four at once, and they are yielded as they complete. One whose MIME the server cannot make is
//!   [`super::Fetched::Unreadable`], one whose transfer breaks off twice is [`super::Fetched::Missing`], and the others go on; only when nothing but
//!   failures comes does the session end.
//! - Sizes are not known beforehand. One above the limit ends its own request.
//! - What the server asks for by 429 or 503 is waited for in the session, if it is short; else it is a `Throttled` error with that time.

mod client;
mod disposal;
mod fetch;
mod folders;
mod listing;
mod peek;
mod refusal;
mod session;

use super::web::{Dialer, place_of};
use super::{Session, Source, SourceError};
use crate::config::secret::SecretReader;
use crate::config::{Server, TlsMode, WebPlace};
use crate::mail::{CollectorId, MailboxId};
use crate::net::{Nobody, Tracer, Witness};
use crate::proto::graph::{Mailbox, Origin};
use crate::spool::Spool;
use async_trait::async_trait;
use client::Client;
use session::GraphSession;
use std::sync::Arc;

/// The base of all that is asked, for those who configured none.
const BASE: &str = "/v1.0";
/// Most requests at once for one mailbox: more are refused (429, MailboxConcurrency).
const IN_FLIGHT: usize = 4;
/// Longest page that is taken, in octets.
const PAGE_OCTETS_MAX: usize = 8 * 1024 * 1024;

/// A mailbox of Microsoft 365.
pub struct GraphSource(Arc<Shared>);

/// What a session needs of its source.
struct Shared {
    server: Server,
    /// `host:port`
    peer: String,
    origin: Origin,
    place: Mailbox,
    dialer: Dialer,
    /// The server.
    web: WebPlace,
    token: SecretReader,
    spool: Spool,
    collector: CollectorId,
    mailbox: Arc<MailboxId>,
    max_message_size: Option<u64>,
    witness: Arc<dyn Witness>,
    at_once: usize,
}

impl GraphSource {
    /// A source that reads its token by `token`, and spools messages to `spool`. Messages above `max_message_size` octets are not taken.
    pub fn new(server: Server, token: SecretReader, spool: Spool, collector: CollectorId, max_message_size: Option<u64>) -> Self {
        let base = server.web.path.as_deref().unwrap_or(BASE).trim_end_matches('/').to_owned();
        // Without an address it is who the token was made for.
        let address = server.web.address.as_ref().map_or_else(|| server.username.clone(), ToString::to_string);
        let secure = server.tls.mode != TlsMode::None;
        GraphSource(Arc::new(Shared {
            peer: format!("{}:{}", server.host, server.port),
            place: Mailbox::new(&base, &address),
            origin: Origin { secure, host: server.host.clone(), port: server.port, base: base.clone() },
            dialer: Dialer::new(&server),
            web: place_of(&server, &base),
            mailbox: Arc::new(server.mailbox()),
            server,
            token,
            spool,
            collector,
            max_message_size,
            witness: Arc::new(Nobody),
            at_once: IN_FLIGHT,
        }))
    }

    /// Somebody watches how sessions come about.
    pub fn seen_by(self, witness: Arc<dyn Witness>) -> Self {
        self.changed(|shared| shared.witness = witness)
    }

    /// The dialogue is shown.
    pub fn traced_by(self, tracer: Tracer) -> Self {
        self.changed(|shared| shared.dialer.traced_by(tracer))
    }

    /// No more than so many requests at once; four are the most.
    pub fn at_once(self, requests: usize) -> Self {
        self.changed(|shared| shared.at_once = requests.clamp(1, IN_FLIGHT))
    }

    fn changed(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        // Before the first session nobody else has it.
        Arc::get_mut(&mut self.0).map(change);
        self
    }
}

#[async_trait]
impl Source for GraphSource {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        let client = Client::new(Arc::clone(&self.0)).await?;
        Ok(Box::new(GraphSession::open(client).await?))
    }

    async fn reach(&self) -> Result<(), SourceError> {
        let dialled = self.0.dialer.dial(&self.0.web, &*self.0.witness).await;
        dialled.map(drop).map_err(|error| SourceError::web("connect", &self.0.peer, error))
    }
}
