//! `mailgather run`: the daemon.

use super::exit::Exit;
use super::{Common, no_room, runtime};
use crate::control::{self, Daemon, Listening, metrics_listener};
use crate::mail::code;
use crate::observe::{logging, version};
use crate::service::notices::{self, Notices};
use crate::service::{Installation, OpenError, Outcome, Supervisor, signals, watch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::sync::Arc;

/// Commands that may wait for the supervisor.
const COMMANDS_MAX: usize = 16;

pub(super) fn run(common: &Common) -> Exit {
    try_run(common).unwrap_or_else(|exit| exit)
}

fn try_run(common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    common.start_logging(&loaded.config, false);
    raise_open_files();
    // Before there are threads.
    let inherited = control::socket::inherited();
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let (sender, commands) = tokio::sync::mpsc::channel(COMMANDS_MAX);
        // Before anything else: a signal that comes early must not end the process.
        signals::listen(sender.clone()).map_err(|error| {
            eprintln!("error: cannot listen for signals: {error}");
            Exit::Os
        })?;
        let installation = Installation::open(&loaded.config).await.map_err(|error| open_failed(&error))?;
        tracing::info!(event = "service_started", version = version::NUMBER, commit = version::COMMIT.unwrap_or("unknown"), collectors = loaded.config.collectors.len(), state_dir = %loaded.config.service.state_dir.display());
        watch::start(&loaded.folders, sender.clone());
        let logs = logging::folder(&loaded.config.service.state_dir);
        let (socket, group) = (common.socket_of(&loaded.config), loaded.config.control.group.clone());
        let (metrics, state_dir, ledger) = (loaded.config.metrics, installation.state_dir().clone(), Arc::clone(installation.ledger()));
        let history = Arc::clone(installation.history());
        let supervisor = Supervisor::new(installation, common.config.clone(), common.environment(), loaded);
        let (board, notices) = (Arc::clone(supervisor.board()), Arc::new(Notices::default()));
        let telling = tokio::spawn(notices::run(Arc::clone(&notices), Arc::clone(&board), Arc::clone(&ledger), state_dir.clone()));
        let (config, environment) = (common.config.clone(), common.environment());
        let daemon = Daemon { board, commands: sender, logs, history, ledger, state_dir, notices, requests: Arc::default(), config, environment };
        let measuring = serve_metrics(metrics, &daemon).await;
        // Without it mail is collected all the same.
        let listening = match inherited {
            Ok(Some(listener)) => Listening::of_systemd(listener),
            Ok(None) => Listening::open(&socket, group.as_deref()).await,
            Err(error) => Err(error),
        };
        let serving = match listening {
            Ok(listening) => Some(tokio::spawn(control::server::serve(listening, daemon))),
            Err(error) => {
                tracing::error!(event = "control_unavailable", reason = %error, next = "the daemon collects, and cannot be asked");
                None
            }
        };
        let outcome = supervisor.run(commands).await;
        telling.abort();
        measuring.inspect(tokio::task::JoinHandle::abort);
        if let Some(serving) = serving {
            serving.abort();
            // The socket's file goes with it.
            let _ = serving.await;
        }
        Ok(outcome)
    })?;
    // What is still running was cut off: it must not hold the process up.
    runtime.shutdown_background();
    Ok(match outcome {
        Outcome::Clean => Exit::Ok,
        Outcome::Cut => Exit::TempFail,
    })
}

/// The place for metrics on TCP, if there is to be one. Without it mail is collected all the same.
async fn serve_metrics(address: Option<SocketAddr>, daemon: &Daemon) -> Option<tokio::task::JoinHandle<()>> {
    let address = address?;
    match metrics_listener::open(address).await {
        Ok(listener) => Some(tokio::spawn(metrics_listener::serve(listener, daemon.clone()))),
        Err(error) => {
            tracing::error!(event = "metrics_unavailable", address = %address, reason = %error, next = "the control socket has them too");
            None
        }
    }
}

/// Thousands of collectors that wait in IDLE need as many descriptors; the usual limit of 1024 is there for programs that use select(2). What the system
/// refuses stays as it is: the limit that holds is met when a connection fails.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Says why the state directory cannot be used.
pub(super) fn open_failed(error: &OpenError) -> Exit {
    if let OpenError::Directory { error: why, .. } = error
        && let Some(hint) = no_room(why)
    {
        eprintln!("error[MG-{}]: {error}\nhint: {hint}", code::DISK);
        return Exit::Io;
    }
    let code = match error {
        OpenError::Busy(_) | OpenError::Directory { .. } => code::STATE_DIR,
        OpenError::Ledger(_) => code::LEDGER,
        OpenError::Spool(_) | OpenError::Held(_) => code::DISK,
        OpenError::Switches(_) => code::STATE_DIR,
    };
    eprintln!("error[MG-{code}]: {error}");
    match error {
        OpenError::Busy(_) => {
            eprintln!(
                "hint: a daemon runs on it: `mailgather collect` collects now, `mailgather stop --wait` ends it; or name another one with `--state-dir`"
            );
            Exit::TempFail
        }
        OpenError::Directory { .. } => {
            eprintln!("hint: name a folder that this user may write with `--state-dir` or `service.state_dir`");
            Exit::CantCreate
        }
        OpenError::Ledger(_) | OpenError::Spool(_) | OpenError::Held(_) | OpenError::Switches(_) => Exit::Io,
    }
}
