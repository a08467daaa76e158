//! The connections to one server: opened when there is need, kept for the next message, closed when nobody wants them.

use super::Limits;
use super::RECIPIENTS_MAX;
use super::connection::{Connection, failed, in_background};
use crate::config::secret::SecretReader;
use crate::config::{Delivery, Endpoint, Relay, TlsMode};
use crate::mail::{Diagnosis, Stage};
use crate::net::TlsClient;
use crate::proto::smtp::Protocol;
use futures_util::future::join_all;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

/// One server and the connections to it.
pub(super) struct Pool {
    pub(super) relay: Relay,
    pub(super) protocol: Protocol,
    limits: Limits,
    password: SecretReader,
    pub(super) max_recipients: usize,
    max_messages_per_connection: usize,
    /// One for each connection that may be open.
    pub(super) permits: Semaphore,
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

impl Pool {
    pub(super) fn new(relay: Relay, protocol: Protocol, delivery: &Delivery, password: SecretReader, limits: Limits) -> Self {
        Pool {
            relay,
            protocol,
            limits,
            password,
            max_recipients: delivery.max_recipients.clamp(1, RECIPIENTS_MAX),
            max_messages_per_connection: delivery.max_messages_per_connection,
            permits: Semaphore::new(delivery.max_connections.clamp(1, Semaphore::MAX_PERMITS)),
            tls: OnceCell::new(),
            state: Mutex::new(PoolState::default()),
        }
    }

    /// The server in words.
    pub(super) fn name(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Smtp => "smtp",
            Protocol::Lmtp => "lmtp",
        };
        match self.relay.endpoints.first() {
            None => protocol.to_owned(),
            Some(Endpoint::Tcp { host, port }) if host.contains(':') => format!("{protocol} [{host}]:{port}"),
            Some(Endpoint::Tcp { host, port }) => format!("{protocol} {host}:{port}"),
            Some(Endpoint::Unix(path)) => format!("{protocol} unix:{}", path.display()),
        }
    }

    /// Closes the connections that nobody uses.
    pub(super) async fn rest(&self) {
        let idle = std::mem::take(&mut self.state().idle);
        join_all(idle.into_iter().map(Connection::quit)).await;
    }

    /// No code runs under this lock that could panic half-way, so what it guards is whole even then.
    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, if it is alive, or a new one.
    pub(super) async fn connection(&self) -> Result<Connection, Diagnosis> {
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

    pub(super) async fn open(&self) -> Result<Connection, Diagnosis> {
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
    pub(super) fn keep(&self, connection: Connection) -> Option<Connection> {
        if connection.broken {
            return None;
        }
        if self.max_messages_per_connection > 0 && connection.messages >= self.max_messages_per_connection {
            in_background(connection.quit());
            return None;
        }
        Some(connection)
    }

    pub(super) fn put_back(pool: &Arc<Pool>, mut connection: Connection) {
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
