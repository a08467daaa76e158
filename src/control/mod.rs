//! Layer 7: the control socket. HTTP/1.1 and JSON on a unix socket: the command line speaks to the daemon by it, and nothing else does it can
//! do that this cannot. [`server`] accepts connections, `route` says what is asked (pure), `api` does it, `show` is the JSON of what runs (pure),
//! [`jobs`] are requests that take their time; [`client`] is the other end.
//!
//! The paths begin with their version, `/v1`; what is there stays, more may come. An error is a `application/problem+json` (RFC 9457) with the
//! number of its page as `code`.

mod api;
pub mod client;
mod feed;
pub mod jobs;
mod metrics;
mod problem;
mod route;
pub mod server;
mod show;
pub mod socket;

pub use client::{Client, ClientError};
pub use socket::Listening;

use crate::history::History;
use crate::service::Board;
use crate::service::command::Command;
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
    /// The state directory.
    pub state_dir: PathBuf,
}
