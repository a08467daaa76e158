//! Signals become commands.

use super::Command;
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
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            let command = tokio::select! {
                _ = hangup.recv() => Command::Reload,
                _ = user1.recv() => Command::CollectNow,
                _ = user2.recv() => {
                    // Unheard, it would end the process.
                    info!(event = "status_requested", by = "signal", next = "not available yet");
                    continue;
                }
                _ = quit.recv() => Command::StopNow,
                _ = terminate.recv() => Command::Stop,
                _ = interrupt.recv() => Command::Stop,
            };
            let command = if command == Command::Stop && stopping { Command::StopNow } else { command };
            stopping |= command == Command::Stop;
            if commands.send(command).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
