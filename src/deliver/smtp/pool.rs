//! The connections to one server: opened when there is need, kept for the next message, closed when nobody wants them; and what the server
//! showed of itself.

use super::connection::{Connection, failed, in_background};
use super::hello::Introduced;
use super::refusals::Refusals;
use super::{Limits, RECIPIENTS_MAX};
use crate::config::secret::SecretReader;
use crate::config::{Delivery, Endpoint, Otherwise, Relay, TlsMode};
use crate::deliver::breaker::{Breaker, Change};
use crate::mail::{Client, Diagnosis, Stage};
use crate::net::{Nobody, TlsClient, Tracer, Witness};
use crate::proto::smtp::Protocol;
use futures_util::future::join_all;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::Instant;

/// One server and the connections to it.
pub(super) struct Pool {
    /// With this pool's endpoint only.
    pub(super) relay: Relay,
    pub(super) protocol: Protocol,
    pub(super) max_recipients: usize,
    pub(super) suppress_dsn: bool,
    /// A message with octets above 127 is not sent where 8BITMIME is not offered.
    pub(super) eight_bit_held: bool,
    /// One for each connection that may be open.
    pub(super) permits: Semaphore,
    /// Says that a delivery which tried out the server has ended.
    pub(super) tried: watch::Sender<()>,
    /// Shows the dialogues, if somebody wants to see them.
    pub(super) tracer: Tracer,
    limits: Limits,
    password: SecretReader,
    max_messages_per_connection: usize,
    max_connections: usize,
    xclient: bool,
    tls: OnceCell<TlsClient>,
    state: Mutex<PoolState>,
}

pub(super) struct PoolState {
    pub(super) breaker: Breaker,
    pub(super) refusals: Refusals,
    /// Connections that nobody uses; the last was used last.
    idle: Vec<Connection>,
    /// A task waits to close connections that rested too long.
    reaper: bool,
    /// The last failure to connect.
    failure: Option<(Instant, Diagnosis)>,
    /// The server does not take XCLIENT from us: why that was logged, and that it is not asked again.
    without_xclient: Option<NoXclient>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NoXclient {
    NotOffered,
    Refused,
}

/// Why there is no connection.
pub(super) struct NoConnection {
    pub(super) diagnosis: Diagnosis,
    /// It is another delivery's failure of a moment ago: the server was not asked.
    pub(super) remembered: bool,
}

impl From<Diagnosis> for NoConnection {
    fn from(diagnosis: Diagnosis) -> Self {
        NoConnection { diagnosis, remembered: false }
    }
}

impl Pool {
    pub(super) fn new(relay: Relay, protocol: Protocol, delivery: &Delivery, password: SecretReader, limits: Limits) -> Self {
        let max_connections = delivery.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Pool {
            relay,
            protocol,
            max_recipients: delivery.max_recipients.clamp(1, RECIPIENTS_MAX),
            suppress_dsn: delivery.suppress_dsn,
            eight_bit_held: delivery.eight_bit == Otherwise::Hold,
            permits: Semaphore::new(max_connections),
            tried: watch::Sender::new(()),
            tracer: Tracer::default(),
            limits,
            password,
            max_messages_per_connection: delivery.max_messages_per_connection,
            max_connections,
            xclient: delivery.xclient,
            tls: OnceCell::new(),
            state: Mutex::new(PoolState {
                breaker: Breaker::new(limits.breaker_wait),
                refusals: Refusals::default(),
                idle: Vec::new(),
                reaper: false,
                failure: None,
                without_xclient: None,
            }),
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
    pub(super) fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what changed about the server, once per change.
    pub(super) fn note(&self, change: Option<Change>, reason: &str) {
        match change {
            Some(Change::Down(wait)) => {
                tracing::warn!(event = "target_down", to = self.name(), reason, next_try_s = wait.as_secs_f32());
            }
            Some(Change::StillDown(wait)) => {
                tracing::debug!(event = "target_still_down", to = self.name(), reason, next_try_s = wait.as_secs_f32());
            }
            Some(Change::Up) => tracing::info!(event = "target_up", to = self.name()),
            None => {}
        }
    }

    /// The connection that was used last, if it is alive, or a new one; the server takes us for `client`, where it lets us.
    pub(super) async fn connection(&self, client: Option<&Client>) -> Result<Connection, NoConnection> {
        let client = self.client_to_show(client);
        loop {
            let Some(mut connection) = self.take_idle(client) else { return self.fresh(client).await };
            let rested = connection.rested.elapsed() >= self.limits.idle;
            if connection.has_spoken().await {
                // Closed, or about to be: a 421 waits in the buffer.
                continue;
            }
            if rested {
                in_background(connection.quit());
                continue;
            }
            let Some(client) = client.filter(|client| connection.client.as_ref() != Some(client)) else { return Ok(connection) };
            match connection.introduce(client, &self.relay, &self.password).await {
                Ok(introduced) => {
                    if self.is_introduced(introduced) {
                        return Ok(connection);
                    }
                    in_background(connection.quit());
                    return self.fresh(None).await;
                }
                Err(diagnosis) if diagnosis.reply.is_some() => return Err(diagnosis.into()),
                // It had died while it rested.
                Err(_) => {}
            }
        }
    }

    /// A new connection.
    pub(super) async fn fresh(&self, client: Option<&Client>) -> Result<Connection, NoConnection> {
        let mut connection = self.open().await?;
        let Some(client) = self.client_to_show(client) else { return Ok(connection) };
        let introduced = connection.introduce(client, &self.relay, &self.password).await?;
        if self.is_introduced(introduced) {
            return Ok(connection);
        }
        in_background(connection.quit());
        self.open().await
    }

    fn client_to_show<'a>(&self, client: Option<&'a Client>) -> Option<&'a Client> {
        let is_asked = || self.xclient && self.state().without_xclient != Some(NoXclient::Refused);
        client.filter(|client| is_public(client.ip.to_canonical()) && is_asked())
    }

    /// False if the connection is of no use: the server went away from what it was, and another one goes without XCLIENT.
    fn is_introduced(&self, introduced: Introduced) -> bool {
        let (why, usable, reply) = match introduced {
            Introduced::Done => return true,
            Introduced::NotOffered => (NoXclient::NotOffered, true, None),
            Introduced::Refused { reply, for_good: false, usable } => {
                tracing::warn!(event = "xclient_refused", to = self.name(), reply = %reply, next = "this message goes without XCLIENT");
                return usable;
            }
            Introduced::Refused { reply, usable, .. } => (NoXclient::Refused, usable, Some(reply)),
        };
        if self.state().without_xclient.replace(why) != Some(why) {
            let reply = reply.map(|reply| reply.to_string()).unwrap_or_default();
            let event = if why == NoXclient::Refused { "xclient_refused" } else { "xclient_not_offered" };
            let hint = "the target must allow XCLIENT to this host (Postfix: smtpd_authorized_xclient_hosts)";
            tracing::warn!(event, to = self.name(), reply, next = "mail goes without XCLIENT", hint);
        }
        usable
    }

    /// A connection that may be used for this client: one that has told its name already, if there is one. Without a client only one that the
    /// server takes for our own will do.
    fn take_idle(&self, client: Option<&Client>) -> Option<Connection> {
        let mut state = self.state();
        let same = |connection: &Connection| connection.client.as_ref() == client;
        let may_be_told = |connection: &Connection| client.is_some() && (connection.client.is_none() || connection.extensions.xclient.is_some());
        let position = state.idle.iter().rposition(same).or_else(|| state.idle.iter().rposition(may_be_told));
        if let Some(position) = position {
            return Some(state.idle.remove(position));
        }
        // A new one will be opened: in the place of one that rests, if there are as many as there may be.
        let busy = self.max_connections - self.permits.available_permits().min(self.max_connections);
        while !state.idle.is_empty() && state.idle.len() + busy > self.max_connections {
            in_background(state.idle.remove(0).quit());
        }
        None
    }

    async fn open(&self) -> Result<Connection, NoConnection> {
        if let Some((when, diagnosis)) = &self.state().failure
            && when.elapsed() < self.limits.failure_memory
        {
            return Err(NoConnection { diagnosis: diagnosis.clone(), remembered: true });
        }
        let opened = self.open_seen(&Nobody).await;
        self.state().failure = opened.as_ref().err().map(|diagnosis| (Instant::now(), diagnosis.clone()));
        Ok(opened?)
    }

    /// A connection that has nothing to do with the others, while somebody watches.
    pub(super) async fn open_seen(&self, witness: &dyn Witness) -> Result<Connection, Diagnosis> {
        let tls = self.tls().await?;
        Connection::open(&self.relay, self.protocol, self.limits, tls, &self.password, witness, &self.tracer).await
    }

    async fn tls(&self) -> Result<Option<&TlsClient>, Diagnosis> {
        if self.relay.tls.mode == TlsMode::None {
            return Ok(None);
        }
        let load = async { TlsClient::load(&self.relay.tls).await.map_err(|error| failed(Stage::Tls, error.text)) };
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

/// False for the provider's inside: to this site such an address is somebody else, one of its own networks perhaps, which it trusts.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let carrier_nat = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || carrier_nat)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_multicast()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_of_a_provider_is_not_the_client() {
        for (ip, public) in [
            ("192.0.2.1", true),
            ("100.128.0.1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.31.0.1", false),
            ("192.168.1.1", false),
            ("169.254.1.1", false),
            ("100.100.0.1", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
        }
    }
}
