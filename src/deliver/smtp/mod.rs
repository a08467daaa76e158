//! Delivery by SMTP and LMTP: a pool of connections to one server, and one transaction after the other on each.
//!
//! At most `max_connections` are open at once; a delivery takes the one that was used last, opens one if there is none, and waits if all are
//! busy. A connection rests for half a minute before it is closed. A failure to connect answers for everybody for a second, so that a dead
//! server is not dialled once per message.
//!
//! What each reply means is in [`mod@crate::proto::smtp::verdict`]; what a broken connection means is in the transaction: deferred before the
//! final dot, unknown behind it.

mod connection;
mod limits;
mod transaction;

use self::connection::{Connection, failed, in_background};
use self::transaction::{Mail, Report};
use super::Destination;
use crate::config::secret::SecretReader;
use crate::config::{Delivery, Endpoint, Relay, TlsMode};
use crate::mail::{Blame, Diagnosis, Envelope, Message, Outcome, Stage};
use crate::net::TlsClient;
use crate::proto::smtp::{Extensions, Protocol};
use crate::spool::reader::Outgoing;
use async_trait::async_trait;
use futures_util::future::join_all;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

pub use limits::Limits;

/// Most recipients of one transaction, whatever is configured.
const RECIPIENTS_MAX: usize = 1000;

struct Login<'a> {
    username: &'a str,
    password: &'a SecretReader,
}

/// An SMTP or LMTP server to deliver to.
pub struct SmtpDestination {
    pool: Arc<Pool>,
}

struct Pool {
    relay: Relay,
    protocol: Protocol,
    limits: Limits,
    password: SecretReader,
    max_recipients: usize,
    max_messages_per_connection: usize,
    permits: Semaphore,
    tls: OnceCell<TlsClient>,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    /// Connections that nobody uses; the last was used last.
    idle: Vec<Connection>,
    /// A task waits to close connections that rested too long.
    reaper: bool,
    /// The last failure to connect.
    failure: Option<(Instant, Diagnosis)>,
}

impl SmtpDestination {
    /// A destination without any connection yet. `password` is asked only if the relay has a login.
    pub fn new(relay: Relay, protocol: Protocol, delivery: &Delivery, password: SecretReader) -> Self {
        Self::with_limits(relay, protocol, delivery, password, Limits::DEFAULT)
    }

    /// The same with other time limits, for tests that cannot wait.
    pub fn with_limits(relay: Relay, protocol: Protocol, delivery: &Delivery, password: SecretReader, limits: Limits) -> Self {
        let pool = Pool {
            relay,
            protocol,
            limits,
            password,
            max_recipients: delivery.max_recipients.clamp(1, RECIPIENTS_MAX),
            max_messages_per_connection: delivery.max_messages_per_connection,
            permits: Semaphore::new(delivery.max_connections.clamp(1, Semaphore::MAX_PERMITS)),
            tls: OnceCell::new(),
            state: Mutex::new(PoolState::default()),
        };
        SmtpDestination { pool: Arc::new(pool) }
    }
}

#[async_trait]
impl Destination for SmtpDestination {
    async fn deliver(&self, envelope: &Envelope, message: &Message) -> Vec<Outcome> {
        let pool = &self.pool;
        // The semaphore is never closed; were it, delivering without a permit is what harms least.
        let _permit = pool.permits.acquire().await.ok();
        let mut delivery = Running { pool, envelope, message, outcomes: vec![None; envelope.recipients.len()] };
        let rest = delivery.run().await;
        if let Some(connection) = rest {
            Pool::put_back(pool, connection);
        }
        let forgotten = || Outcome::Deferred(failed(Stage::Connect, "not tried"));
        delivery.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(forgotten)).collect()
    }

    fn name(&self) -> String {
        let protocol = match self.pool.protocol {
            Protocol::Smtp => "smtp",
            Protocol::Lmtp => "lmtp",
        };
        match self.pool.relay.endpoints.first() {
            None => protocol.to_owned(),
            Some(Endpoint::Tcp { host, port }) if host.contains(':') => format!("{protocol} [{host}]:{port}"),
            Some(Endpoint::Tcp { host, port }) => format!("{protocol} {host}:{port}"),
            Some(Endpoint::Unix(path)) => format!("{protocol} unix:{}", path.display()),
        }
    }

    async fn rest(&self) {
        let idle = std::mem::take(&mut self.pool.state().idle);
        join_all(idle.into_iter().map(Connection::quit)).await;
    }
}

/// One delivery on its way: as many transactions as its recipients need, one after the other.
struct Running<'a> {
    pool: &'a Arc<Pool>,
    envelope: &'a Envelope,
    message: &'a Message,
    outcomes: Vec<Option<Outcome>>,
}

impl Running<'_> {
    /// Returns the connection if it can be used again.
    async fn run(&mut self) -> Option<Connection> {
        let everybody: Vec<usize> = (0..self.outcomes.len()).collect();
        let mut groups: VecDeque<Vec<usize>> = everybody.chunks(self.pool.max_recipients).map(<[usize]>::to_vec).collect();
        let mut held = None;
        while let Some(group) = groups.pop_front() {
            let mut connection = match held.take() {
                Some(connection) => connection,
                None => match self.pool.connection().await {
                    Ok(connection) => connection,
                    Err(diagnosis) => return self.give_up(diagnosis),
                },
            };
            let mut group = self.sort_out(&connection.extensions, group);
            if group.is_empty() {
                held = Some(connection);
                continue;
            }
            let reused = connection.messages > 0;
            let mut report = self.transact(&mut connection, &group).await;
            if report.untouched && reused {
                // The server had closed a resting connection, and we learnt it too late: this says nothing about the message.
                connection = match self.pool.open().await {
                    Ok(connection) => connection,
                    Err(diagnosis) => return self.give_up(diagnosis),
                };
                group = self.sort_out(&connection.extensions, group);
                if group.is_empty() {
                    held = Some(connection);
                    continue;
                }
                report = self.transact(&mut connection, &group).await;
            }
            for (index, outcome) in group.into_iter().zip(report.outcomes) {
                self.outcomes[index] = Some(outcome);
            }
            if let Some(diagnosis) = report.trouble {
                return self.give_up(diagnosis);
            }
            if !report.too_many.is_empty() {
                groups.push_front(report.too_many);
            }
            held = self.pool.keep(connection);
        }
        held
    }

    async fn transact(&self, connection: &mut Connection, group: &[usize]) -> Report {
        let needs_smtputf8 = group.iter().any(|&index| self.envelope.recipients[index].address.needs_smtputf8());
        let smtputf8 = needs_smtputf8 || self.envelope.sender.needs_smtputf8();
        transaction::run(connection, &Mail { envelope: self.envelope, message: self.message, recipients: group, smtputf8 }).await
    }

    /// Answers for those whom this server cannot take, without asking it; returns the others.
    fn sort_out(&mut self, offered: &Extensions, group: Vec<usize>) -> Vec<usize> {
        let octets = Outgoing::new(&self.envelope.prefix, &self.envelope.edits, &self.message.content).len();
        let smtputf8 = offered.smtputf8 && self.pool.relay.smtputf8;
        let why = if offered.smtputf8 { "is switched off for this target" } else { "is not offered by the server" };
        let rejected = |stage, blame, text| Some(Outcome::Rejected(Diagnosis { stage, blame, reply: None, text }));
        let message_refused = if offered.size_max.is_some_and(|max| octets > max) {
            // RFC 1870 §6.3: what the server announces it will not take need not be sent.
            let max = offered.size_max.unwrap_or_default();
            rejected(Stage::MailFrom, Blame::Message, format!("the message has {octets} octets, and the server takes {max} at most (SIZE)"))
        } else if self.envelope.sender.needs_smtputf8() && !smtputf8 {
            let text = format!("the sender {} needs SMTPUTF8, which {why}", self.envelope.sender);
            rejected(Stage::MailFrom, Blame::Message, text)
        } else {
            None
        };
        let mut rest = Vec::with_capacity(group.len());
        for index in group {
            let address = &self.envelope.recipients[index].address;
            self.outcomes[index] = match &message_refused {
                Some(refused) => Some(refused.clone()),
                None if address.needs_smtputf8() && !smtputf8 => {
                    rejected(Stage::RcptTo, Blame::Recipient, format!("the recipient {address} needs SMTPUTF8, which {why}"))
                }
                None => {
                    rest.push(index);
                    None
                }
            };
        }
        rest
    }

    /// The target is at fault, or it broke off at this message: whoever was not answered is deferred.
    fn give_up(&mut self, diagnosis: Diagnosis) -> Option<Connection> {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(Outcome::Deferred(diagnosis.clone()));
        }
        None
    }
}

impl Pool {
    /// No code runs under this lock that could panic half-way, so what it guards is whole even then.
    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, if it is alive, or a new one.
    async fn connection(&self) -> Result<Connection, Diagnosis> {
        loop {
            let Some(mut connection) = self.state().idle.pop() else { return self.open().await };
            let rested = connection.rested.elapsed() >= self.limits.idle;
            if connection.has_spoken().await {
                // Closed, or about to be: a 421 waits in the buffer.
                continue;
            }
            if rested {
                in_background(connection.quit());
                continue;
            }
            return Ok(connection);
        }
    }

    async fn open(&self) -> Result<Connection, Diagnosis> {
        if let Some((when, diagnosis)) = &self.state().failure
            && when.elapsed() < self.limits.failure_memory
        {
            return Err(diagnosis.clone());
        }
        let opened = match self.tls().await {
            Ok(tls) => Connection::open(&self.relay, self.protocol, self.limits, tls, &self.password).await,
            Err(diagnosis) => Err(diagnosis),
        };
        self.state().failure = opened.as_ref().err().map(|diagnosis| (Instant::now(), diagnosis.clone()));
        opened
    }

    async fn tls(&self) -> Result<Option<&TlsClient>, Diagnosis> {
        if self.relay.tls.mode == TlsMode::None {
            return Ok(None);
        }
        let load = async {
            let ca_file = self.relay.tls.ca_file.clone();
            match tokio::task::spawn_blocking(move || TlsClient::new(ca_file.as_deref())).await {
                Ok(loaded) => loaded.map_err(|error| failed(Stage::Tls, error.text)),
                Err(join) => Err(failed(Stage::Tls, join)),
            }
        };
        self.tls.get_or_try_init(|| load).await.map(Some)
    }

    /// The connection, unless it is broken or has served long enough.
    fn keep(&self, connection: Connection) -> Option<Connection> {
        if connection.broken {
            return None;
        }
        if self.max_messages_per_connection > 0 && connection.messages >= self.max_messages_per_connection {
            in_background(connection.quit());
            return None;
        }
        Some(connection)
    }

    fn put_back(pool: &Arc<Pool>, mut connection: Connection) {
        connection.rested = Instant::now();
        let mut state = pool.state();
        state.idle.push(connection);
        if !std::mem::replace(&mut state.reaper, true) {
            in_background(Self::reap(Arc::downgrade(pool), pool.limits.idle));
        }
    }

    /// Closes connections that have rested too long, until there are none.
    async fn reap(pool: Weak<Pool>, idle: std::time::Duration) {
        loop {
            tokio::time::sleep(idle).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut state = pool.state();
            let (rested, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.idle).into_iter().partition(|c| c.rested.elapsed() >= idle);
            state.idle = kept;
            state.reaper = !state.idle.is_empty();
            let done = !state.reaper;
            drop(state);
            rested.into_iter().for_each(|connection| in_background(connection.quit()));
            if done {
                return;
            }
        }
    }
}
