//! Layer 7: the control socket. HTTP/1.1 and JSON on a unix socket: the command line speaks to the daemon by it, and nothing else does it can
//! do that this cannot. [`server`] accepts connections, `route` says what is asked (pure), `api` does it, `show` is the JSON of what runs (pure),
//! [`metrics_listener`] is a place for metrics alone, [`jobs`] are requests that take their time; [`client`] is the other end.
//!
//! The paths begin with their version, `/v1`; what is there stays, more may come. An error is a `application/problem+json` (RFC 9457) with the
//! number of its page as `code`.

mod api;
pub mod client;
mod configuration;
mod feed;
pub mod jobs;
mod keys;
mod logins;
mod metrics;
pub mod metrics_listener;
mod problem;
mod route;
pub mod server;
mod show;
pub mod socket;

pub use client::{Client, ClientError};
pub use metrics::Requests;
pub use socket::Listening;

use crate::config::Environment;
use crate::history::History;
use crate::ledger::Ledger;
use crate::service::Board;
use crate::service::command::Command;
use crate::service::notices::Notices;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What the socket needs of the daemon.
#[derive(Clone)]
pub struct Daemon {
    /// What it shows.
    pub board: Arc<Board>,
    /// What it can be asked to do.
    pub commands: mpsc::Sender<Command>,
    /// Where the files of the collectors' own logs are.
    pub logs: PathBuf,
    /// What became of messages.
    pub history: Arc<History>,
    /// What was delivered, and what is held.
    pub ledger: Arc<dyn Ledger>,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Who is told of trouble.
    pub notices: Arc<Notices>,
    /// What was answered so far.
    pub requests: Arc<Requests>,
    /// The configuration file.
    pub config: PathBuf,
    /// What it takes from around it.
    pub environment: Environment,
}

impl Daemon {
    /// The metrics as they are now. A ledger that does not answer costs the figures of held mail only.
    async fn metrics(&self, form: metrics::Form) -> Result<String, std::fmt::Error> {
        let state_dir = self.state_dir.clone();
        let beside = metrics::Beside {
            held: self.ledger.held_totals().await.unwrap_or_default(),
            free: metrics::Beside::free_in(&self.state_dir),
            requests: metrics::Beside::requests_of(&self.requests),
            notices: self.notices.figures(),
            history_entries: self.history.entries(),
            state_octets: tokio::task::spawn_blocking(move || metrics::state_octets(&state_dir)).await.ok().flatten(),
        };
        metrics::text(&self.board.shown(), beside, form)
    }
}
