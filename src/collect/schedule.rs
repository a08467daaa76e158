//! When the next pass runs. Pure: durations in, a duration out.

use crate::source::Retry;
use std::time::Duration;

/// The first delay after a failure; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(60);
/// The longest delay after failures.
const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// After refused credentials: slow enough that no account gets locked.
const CREDENTIALS_FIRST: Duration = Duration::from_secs(15 * 60);
const CREDENTIALS_MAX: Duration = Duration::from_secs(6 * 3600);
/// The share of a delay that chance may add, so that collectors do not move in step.
const JITTER: f64 = 0.1;

/// How the last pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order; `more` if the session's limit left mail on the server.
    Fine {
        /// A backlog goes on at once.
        more: bool,
    },
    /// It failed, for the n-th time in a row.
    Failed {
        /// 1 for the first failure.
        failures: u32,
        /// What the failure allows.
        retry: Retry,
    },
    /// The target takes nothing: no fault of the mailbox, so no delay that grows. It is asked again after this time.
    TargetDown(Duration),
}

/// The wait before the next pass; `chance` is in 0..1.
pub fn wait(interval: Duration, ended: Ended, chance: f64) -> Duration {
    match ended {
        Ended::Fine { more: true } => Duration::ZERO,
        Ended::Fine { more: false } => jittered(interval, chance),
        Ended::TargetDown(again) => jittered(again.max(Duration::from_secs(1)), chance),
        Ended::Failed { failures, retry } => match retry {
            // A box that is polled each second is not asked each second while it fails.
            Retry::Backoff => jittered(doubled(interval.min(BACKOFF_FIRST).max(Duration::from_secs(1)), failures, BACKOFF_MAX.max(interval)), chance),
            Retry::Credentials => jittered(doubled(CREDENTIALS_FIRST, failures, CREDENTIALS_MAX), chance),
            Retry::After(told) => jittered(told.max(interval), chance),
        },
    }
}

fn doubled(first: Duration, failures: u32, max: Duration) -> Duration {
    let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(max)
}

fn jittered(wait: Duration, chance: f64) -> Duration {
    wait + wait.mul_f64(JITTER * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE_MINUTES: Duration = Duration::from_secs(300);

    fn failed(failures: u32, retry: Retry) -> u64 {
        wait(FIVE_MINUTES, Ended::Failed { failures, retry }, 0.0).as_secs()
    }

    #[test]
    fn a_backlog_goes_on_at_once() {
        assert_eq!(wait(FIVE_MINUTES, Ended::Fine { more: true }, 1.0), Duration::ZERO);
    }

    #[test]
    fn the_interval_has_some_jitter() {
        assert_eq!(wait(FIVE_MINUTES, Ended::Fine { more: false }, 0.0).as_secs(), 300);
        assert_eq!(wait(FIVE_MINUTES, Ended::Fine { more: false }, 1.0).as_secs(), 330);
    }

    #[test]
    fn a_target_is_waited_for_as_long_as_it_is_left_alone() {
        assert_eq!(wait(Duration::from_secs(86_400), Ended::TargetDown(Duration::from_secs(40)), 0.0).as_secs(), 40);
        assert_eq!(wait(FIVE_MINUTES, Ended::TargetDown(Duration::ZERO), 0.0).as_secs(), 1);
    }

    #[test]
    fn failures_slow_down() {
        assert_eq!([1, 2, 3, 7, 99].map(|n| failed(n, Retry::Backoff)), [60, 120, 240, 3600, 3600]);
        assert_eq!([1, 2, 6, 99].map(|n| failed(n, Retry::Credentials)), [900, 1800, 21600, 21600]);
        assert_eq!(failed(1, Retry::After(Duration::from_secs(900))), 900);
        assert_eq!(wait(Duration::from_millis(50), Ended::Failed { failures: 1, retry: Retry::Backoff }, 0.0).as_secs(), 1);
    }
}
