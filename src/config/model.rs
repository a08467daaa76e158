//! The configuration as the program uses it: every value checked, every default filled in, every name the operator's own word.

mod collector;
mod delivery;
mod oauth;
mod server;

use crate::mail::CollectorId;
pub use crate::policy::{Action, Policy, PolicyRule, ReplyPattern};
pub use crate::resolve::{HeaderOptions, SenderFallback};
pub use collector::*;
pub use delivery::*;
pub use oauth::*;
pub use server::*;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What belongs to the process.
    pub service: Service,
    /// How the daemon is asked.
    pub control: Control,
    /// Where metrics are asked for, beside the control socket.
    pub metrics: Option<SocketAddr>,
    /// Who is told of trouble.
    pub notify: Vec<Arc<super::Channel>>,
    /// How much is logged.
    pub log_level: LogLevel,
    /// In what form.
    pub log_format: LogFormat,
    /// What is hidden in it.
    pub log_redact: LogRedact,
    /// The collectors, by id; each complete, defaults applied.
    pub collectors: BTreeMap<CollectorId, Arc<Collector>>,
    /// The providers of the operator's own ([`Config::providers`] has those that are built in as well).
    pub own_providers: Vec<Arc<super::Provider>>,
}

/// `service:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Ledger and spool.
    pub state_dir: PathBuf,
    /// What access tokens are sealed with in it.
    pub token_key: Option<SecretSource>,
    /// False: nothing is collected.
    pub enabled: bool,
    /// Passes at once.
    pub max_sessions: usize,
    /// Passes at once to one remote host.
    pub max_sessions_per_host: usize,
    /// Connections at once that wait for a server to tell of new mail.
    pub max_idle: usize,
    /// First passes are spread over this time.
    pub start_jitter: Duration,
    /// How long a stop waits for passes to end at a message's border.
    pub shutdown_grace: Duration,
    /// Octets of messages in memory, all collectors together.
    pub memory: u64,
    /// Messages above this size go to a file as they arrive.
    pub spool_above: u64,
    /// Below this much free space in the state directory no session starts, and nothing is marked or deleted at a source.
    pub min_free_space: u64,
    /// What held mail may take.
    pub held: HeldLimits,
    /// How much is remembered of what became of messages.
    pub history: HistoryLimits,
    /// The name servers for MX records; empty: those of the system.
    pub dns: Vec<SocketAddr>,
}

/// `control:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The socket; `None`: in the folder that systemd made for the process, else in the state directory.
    pub socket: Option<PathBuf>,
    /// The members of this group may use it: its name, or its number.
    pub group: Option<String>,
}

/// `service.held`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLimits {
    /// Held mail older than this is dropped, and each message logged; `None`: never.
    pub max_age: Option<Duration>,
    /// Octets of held mail in all. Beyond it nothing more is held: messages stay at their source, set aside.
    pub max_size: u64,
}

impl Default for HeldLimits {
    fn default() -> Self {
        HeldLimits { max_age: None, max_size: 1024 * 1024 * 1024 }
    }
}

/// `service.history`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Older rows go; `None`: no history is kept.
    pub keep: Option<Duration>,
    /// The oldest rows beyond so many go.
    pub max_entries: u64,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits { keep: Some(Duration::from_secs(90 * 86_400)), max_entries: 1_000_000 }
    }
}

/// `log.level`, the most silent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What needs the operator.
    Error,
    /// And what may.
    Warn,
    /// And what happens to mail.
    Info,
    /// And how.
    Debug,
}

/// `log.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// journald where stderr is journald's, else text.
    #[default]
    Auto,
    /// Lines for people, on stderr.
    Text,
    /// Objects of JSON, a line each, on stderr.
    Json,
    /// journald's own protocol.
    Journald,
}

/// `log.redact`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogRedact {
    /// Nothing is hidden but secrets, which never get there.
    None,
    /// Subjects.
    #[default]
    Subjects,
    /// Subjects, and the local parts of addresses.
    Addresses,
}
