//! Delivery by SMTP and LMTP: a pool of connections to one server, and one transaction after the other on each.
//!
//! At most `max_connections` are open at once; a delivery takes the one that was used last, opens one if there is none, and waits if all are
//! busy. A connection rests for half a minute before it is closed. A failure to connect answers for everybody for a second, so that a dead
//! server is not dialled once per message.
//!
//! What each reply means is in [`mod@crate::proto::smtp::verdict`]; what a broken connection means is in the transaction: deferred before the
//! final dot, unknown behind it.

mod connection;
mod delivery;
mod hello;
mod limits;
mod pool;
mod transaction;

use self::pool::Pool;
use super::Destination;
use crate::config::secret::SecretReader;
use crate::config::{Delivery, Relay};
use crate::mail::{Envelope, Message, Outcome};
use crate::proto::smtp::Protocol;
use async_trait::async_trait;
use std::sync::Arc;

pub use limits::Limits;

/// Most recipients of one transaction, whatever is configured.
const RECIPIENTS_MAX: usize = 1000;

/// An SMTP or LMTP server to deliver to.
pub struct SmtpDestination {
    pool: Arc<Pool>,
}

impl SmtpDestination {
    /// A destination without any connection yet. `password` is asked only if the relay has a login.
    pub fn new(relay: Relay, protocol: Protocol, delivery: &Delivery, password: SecretReader) -> Self {
        Self::with_limits(relay, protocol, delivery, password, Limits::DEFAULT)
    }

    /// The same with other time limits, for tests that cannot wait.
    pub fn with_limits(relay: Relay, protocol: Protocol, delivery: &Delivery, password: SecretReader, limits: Limits) -> Self {
        SmtpDestination { pool: Arc::new(Pool::new(relay, protocol, delivery, password, limits)) }
    }
}

#[async_trait]
impl Destination for SmtpDestination {
    async fn deliver(&self, envelope: &Envelope, message: &Message) -> Vec<Outcome> {
        delivery::run(&self.pool, envelope, message).await
    }

    fn name(&self) -> String {
        self.pool.name()
    }

    async fn rest(&self) {
        self.pool.rest().await;
    }
}
