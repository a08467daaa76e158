//! What the daemon can be asked to do, whoever asks.

/// A request to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Collect now from every enabled collector; back-off does not count (SIGUSR1).
    CollectNow,
    /// Read the configuration again (SIGHUP).
    Reload,
    /// The file changed on disk: read it again, if its content did change.
    FileChanged,
    /// End at message borders, within the grace time (SIGTERM, SIGINT).
    Stop,
    /// End at once (a second SIGINT or SIGTERM, or SIGQUIT): it counts as a crash, which loses nothing.
    StopNow,
}
