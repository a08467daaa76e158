//! What a server was found to do in former sessions, so that the same trouble is not met each time. Kept for the source's life.

use super::super::{SourceError, SourceErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// The longest LOGIN-DELAY that is believed: RFC 2449 §6.5 sets no limit, and a server must not stop us for a year.
const LOGIN_DELAY_MAX: Duration = Duration::from_secs(24 * 3600);

/// What went wrong, or was asked for.
#[derive(Debug, Default)]
pub(super) struct Quirks {
    /// The server ends the connection at CAPA, and does its work without.
    pub(super) no_capa: AtomicBool,
    /// Sessions in a row that ended between a pipelined login and its last answer.
    pub(super) pipelining: Streak,
    /// Listings in a row in which messages had no line while known ids were missing.
    pub(super) gaps: Streak,
    /// LOGIN-DELAY in seconds, 0 for none.
    login_delay: AtomicU64,
}

impl Quirks {
    /// Notes what CAPA said.
    pub(super) fn note_login_delay(&self, seconds: Option<u32>) {
        self.login_delay.store(seconds.map_or(0, u64::from), Ordering::Relaxed);
    }

    /// The least time between two logins.
    pub(super) fn login_delay(&self) -> Option<Duration> {
        let seconds = self.login_delay.load(Ordering::Relaxed);
        (seconds > 0).then(|| Duration::from_secs(seconds).min(LOGIN_DELAY_MAX))
    }

    /// What a refused login means for the next one. A busy mailbox is no wrong password, and asking at once would be refused again.
    pub(super) fn advise(&self, error: SourceError) -> SourceError {
        if error.kind != SourceErrorKind::Throttled {
            return error;
        }
        let said = error.server.as_deref().unwrap_or_default().to_ascii_lowercase();
        let error = match self.login_delay() {
            Some(delay) => {
                let told = error.retry_after.unwrap_or_default();
                error.after(told.max(delay))
            }
            None => error,
        };
        if said.starts_with("[login-delay") {
            error.hint(
                "the server wants more time between two logins: a longer `interval`, and no second program on this mailbox; it is tried again later",
            )
        } else if error.stage == "login" && (said.starts_with("[in-use") || said.contains("lock")) && !said.contains("connections") {
            error.hint("another session has the mailbox; one that broke off may keep it locked for ten minutes; it is tried again later")
        } else {
            error
        }
    }
}

/// Failures in a row. After the second one the thing is left alone: a single one may be the line's.
#[derive(Debug, Default)]
pub(super) struct Streak(AtomicU8);

impl Streak {
    pub(super) fn may_try(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 2
    }

    pub(super) fn note<T>(&self, result: &Result<T, SourceError>) {
        match result {
            Ok(_) => self.end(),
            Err(error) if matches!(error.kind, SourceErrorKind::Closed | SourceErrorKind::Timeout | SourceErrorKind::Protocol) => self.more(),
            Err(_) => {}
        }
    }

    /// It failed once more.
    pub(super) fn more(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
    }

    /// It went well.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
