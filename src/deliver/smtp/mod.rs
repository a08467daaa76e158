//! Delivery by SMTP and LMTP: a list of servers, a pool of connections to each, and one transaction after the other on each connection.
//!
//! The first server that is not left alone by its [breaker](super::breaker) is asked; only if all that came of it is the server's own failure,
//! so that nothing was handed over, the next one is.
//!
//! At most `max_connections` are open at once; a delivery takes the one that was used last, opens one if there is none, and waits if all are
//! busy. A connection rests for half a minute before it is closed. A failure to connect answers for everybody for a second, so that a dead
//! server is not dialled once per message.
//!
//! What each reply means is in [`mod@crate::proto::smtp::verdict`]; what a broken connection means is in the transaction: deferred before the
//! final dot, unknown behind it.

mod connection;
mod delivery;
mod failover;
mod hello;
mod inspect;
mod limits;
mod pool;
mod probe;
mod refusals;
mod transaction;

use self::failover::Round;
use self::pool::Pool;
use super::{Destination, Inspection};
use crate::config::secret::SecretReader;
use crate::config::{Delivery, Endpoint, Relay};
use crate::mail::{Address, Envelope, Message, Outcome};
use crate::net::Tracer;
use crate::proto::smtp::Protocol;
use async_trait::async_trait;
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;

pub use limits::Limits;
pub(in crate::deliver) use probe::Probed;

/// Most recipients of one transaction, whatever is configured.
const RECIPIENTS_MAX: usize = 1000;

/// An SMTP or LMTP server to deliver to, or several in a list: the first that works gets the mail.
pub struct SmtpDestination {
    pools: Vec<Arc<Pool>>,
}

impl SmtpDestination {
    /// A destination without any connection yet. `password` is asked only if the relay has a login.
    pub fn new(relay: Relay, protocol: Protocol, delivery: &Delivery, password: SecretReader) -> Self {
        Self::with_limits(relay, protocol, delivery, password, Limits::DEFAULT)
    }

    /// The same with other time limits, for tests that cannot wait.
    pub fn with_limits(relay: Relay, protocol: Protocol, delivery: &Delivery, password: SecretReader, limits: Limits) -> Self {
        let pool = |endpoint: &Endpoint| {
            let relay = Relay { endpoints: vec![endpoint.clone()], ..relay.clone() };
            Arc::new(Pool::new(relay, protocol, delivery, password.clone(), limits))
        };
        SmtpDestination { pools: relay.endpoints.iter().map(pool).collect() }
    }

    /// The dialogues of a destination without any connection yet are shown.
    pub fn traced_by(mut self, tracer: &Tracer) -> Self {
        // Nobody else has them yet.
        self.pools.iter_mut().filter_map(Arc::get_mut).for_each(|pool| pool.tracer = tracer.clone());
        self
    }
}

#[async_trait]
impl Destination for SmtpDestination {
    async fn deliver(&self, envelope: &Envelope, message: &Message) -> Vec<Outcome> {
        let mut round = Round::new(&self.pools);
        let mut failure = None;
        while let Some(turn) = round.next().await {
            let pool = turn.pool;
            let (mut outcomes, standing) = delivery::run(pool, envelope, message).await;
            if self.pools.len() > 1 {
                let server: Arc<str> = pool.name().into();
                outcomes.iter_mut().for_each(|outcome| outcome.said_by(&server));
            }
            match turn.end(standing) {
                None => return outcomes,
                Some(diagnosis) => failure = Some(round.add(pool, diagnosis)),
            }
        }
        let failure = failure.unwrap_or_else(|| round.nobody());
        vec![Outcome::Deferred(failure); envelope.recipients.len()]
    }

    fn name(&self) -> String {
        self.pools.iter().map(|pool| pool.name()).collect::<Vec<_>>().join(", ")
    }

    fn down(&self) -> Option<String> {
        failover::down(&self.pools)
    }

    fn asked_again_in(&self) -> Option<Duration> {
        Some(failover::asked_again_in(&self.pools))
    }

    async fn inspect(&self, recipients: &[Address]) -> Vec<Inspection> {
        join_all(self.pools.iter().map(|pool| inspect::run(pool, recipients))).await
    }

    async fn rest(&self) {
        join_all(self.pools.iter().map(|pool| pool.rest())).await;
    }
}
