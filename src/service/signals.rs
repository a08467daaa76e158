//! Signals become commands.

use super::command::{Collect, Command, Manner, Reload, Requester};
use crate::observe::logging;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tracing::info;

/// Listens for signals for the rest of the process's life. Must be called inside the runtime.
///
/// # Errors
/// If the system refuses a handler.
pub fn listen(commands: Sender<Command>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A file beyond RLIMIT_FSIZE is an error of write(2) like a full disk: unheard, this signal would end the process. The handler stays.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            let command = tokio::select! {
                _ = hangup.recv() => {
                    logging::reopen();
                    Command::Reload(Reload { by: Requester::Signal, answer: None })
                }
                _ = user1.recv() => Command::Collect(Collect { by: Requester::Signal, which: None, manner: Manner::Whole, answer: None }),
                _ = user2.recv() => {
                    // Unheard, it would end the process.
                    info!(event = "status_requested", by = "signal", next = "not available yet");
                    continue;
                }
                _ = quit.recv() => Command::StopNow,
                _ = terminate.recv() => Command::Stop(Requester::Signal),
                _ = interrupt.recv() => Command::Stop(Requester::Signal),
            };
            let is_stop = matches!(command, Command::Stop(_));
            let command = if is_stop && stopping { Command::StopNow } else { command };
            stopping |= is_stop;
            if commands.send(command).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
