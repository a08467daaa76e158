//! What the daemon can be asked to do, whoever asks: a signal, a change of the file, the command line, the API. The same request has the same
//! effect and the same line in the log, wherever it comes from.

use crate::collect::task::Session;
use crate::config::Diff;
use crate::mail::CollectorId;
use crate::observe::Counters;
use crate::observe::logging::audit;
use std::fmt;
use std::sync::Arc;
use tokio::sync::oneshot;
use tracing::info;

/// A request to the supervisor.
#[derive(Debug)]
pub enum Command {
    /// Collect now; back-off does not count (SIGUSR1).
    Collect(Collect),
    /// Read the configuration again (SIGHUP).
    Reload(Reload),
    /// The file changed on disk: read it again, if its content did change.
    FileChanged,
    /// Switch collectors or the whole service on or off, and keep it so.
    Switch(SwitchTo),
    /// End at message borders, within the grace time (SIGTERM, SIGINT).
    Stop(Requester),
    /// End at once (a second SIGINT or SIGTERM, or SIGQUIT): it counts as a crash, which loses nothing.
    StopNow,
}

/// Who asks: for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// A signal; nobody knows from whom.
    Signal,
    /// Over the control socket, by this user of the system.
    Socket {
        /// Its number.
        uid: u32,
        /// The program that speaks: `cli`, or what it calls itself.
        agent: &'static str,
    },
}

impl Requester {
    /// Whoever runs a command that does without the daemon.
    pub fn cli() -> Self {
        Requester::Socket { uid: rustix::process::getuid().as_raw(), agent: "cli" }
    }

    /// The line of the audit for a secret that was set. Its value has no way here.
    pub fn log_secret_set(&self, name: &str, replaced: bool) {
        info!(target: audit::TARGET, event = "secret_set", secret = name, by = %self, replaced);
    }

    /// The same for one that was removed.
    pub fn log_secret_removed(&self, name: &str) {
        info!(target: audit::TARGET, event = "secret_removed", secret = name, by = %self);
    }

    /// Somebody has signed in for a collector. A token has no way here.
    pub fn log_signed_in(&self, collector: &str) {
        info!(target: audit::TARGET, event = "oauth_signed_in", collector, by = %self);
    }

    /// The tokens of a collector were removed; `told`: the provider took them back.
    pub fn log_tokens_removed(&self, collector: &str, told: bool) {
        info!(target: audit::TARGET, event = "oauth_revoked", collector, by = %self, told);
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Requester::Signal => f.write_str("signal"),
            Requester::Socket { uid, agent } => write!(f, "{agent} uid={uid}"),
        }
    }
}

/// Collect now.
#[derive(Debug)]
pub struct Collect {
    /// Who wants it.
    pub by: Requester,
    /// Whose mail; `None`: of every enabled collector. One that is disabled is collected once.
    pub which: Option<Vec<CollectorId>>,
    /// How.
    pub manner: Manner,
    /// Where to tell what began, or why nothing did; nobody waits for a signal.
    pub answer: Option<oneshot::Sender<Result<Vec<Collecting>, String>>>,
}

/// How mail is collected that somebody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Until there is no new mail.
    #[default]
    Whole,
    /// Not all of it.
    Part {
        /// One session each, which takes so many new messages at most.
        limit: Option<usize>,
        /// Only what arrived at this time or later, in seconds since the epoch (IMAP).
        since: Option<i64>,
    },
    /// Nothing is taken: what one collector has delivered and kept on its server is deleted there.
    Purge,
    /// The same as the first, and these messages once more, on purpose; for one collector.
    Again {
        /// Their UIDs or UIDLs, as the log has them.
        uids: Vec<String>,
        /// Their folder, where the mailbox has several.
        folder: Option<String>,
        /// Only what arrived at this time or later, in seconds since the epoch (IMAP): of these, and of new mail.
        since: Option<i64>,
    },
}

/// A pass that was asked for.
#[derive(Debug)]
pub struct Collecting {
    /// Whose.
    pub id: CollectorId,
    /// How far it is.
    pub counters: Arc<Counters>,
    /// How it ended; it never comes if the collector was stopped before.
    pub heard: oneshot::Receiver<Arc<Session>>,
}

/// Switch on or off.
#[derive(Debug)]
pub struct SwitchTo {
    /// Who wants it.
    pub by: Requester,
    /// Which collectors; `None`: the whole service.
    pub which: Option<Vec<CollectorId>>,
    /// On or off.
    pub on: bool,
    /// Until when; `None`: until the reverse is said.
    pub until: Option<jiff::Timestamp>,
    /// Why.
    pub reason: String,
    /// Where to tell that it is so, or why it could not be kept.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Read the configuration again.
#[derive(Debug)]
pub struct Reload {
    /// Who wants it.
    pub by: Requester,
    /// Where to tell what came of it.
    pub answer: Option<oneshot::Sender<Reloaded>>,
}

/// What came of reading the configuration: what changed, or what is wrong with it, in which case nothing changed.
pub type Reloaded = Result<Diff, crate::config::Report>;
