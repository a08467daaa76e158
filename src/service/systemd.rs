//! What systemd is told of the daemon (sd_notify(3)): that it is ready, that it ends, that it lives. Without systemd nothing happens.

use sd_notify::NotifyState;
use std::time::Duration;

/// The daemon is ready: its configuration is in force and it can be asked.
pub fn ready(collectors: usize) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("{collectors} collectors run"))]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The daemon ends, within this time.
pub fn stopping(within: Duration) {
    let micros = within.as_micros().try_into().unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// It lives.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear that it lives: twice in the time after which it would be ended (sd_watchdog_enabled(3)).
pub fn heartbeat() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|every| !every.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    // Without $NOTIFY_SOCKET it is nothing; a socket that fails is systemd's own to miss.
    let _ = sd_notify::notify(states);
}
