//! How long an IDLE may last here. Routers, providers and servers end or forget a connection on which nothing is said, each after its own time, and none
//! says so: what is lost after the same time twice would be lost so each time. Pure.

use std::time::Duration;
use tokio::time::Instant;

/// After so long an IDLE is ended and begun again. Servers may end one after 30 minutes (RFC 2177), routers and providers forget connections after 5 to
/// 10; and a connection that died without a word is noticed no sooner.
const REISSUE: Duration = Duration::from_secs(9 * 60);
/// What is lost sooner than this is no silence that somebody found too long.
const CUT_MIN: Duration = Duration::from_secs(80);
/// Two losses after the same time differ by no more.
const TOLERANCE: Duration = Duration::from_secs(15);
/// Connections of several folders that end together are one loss: the server was stopped.
const TOGETHER: Duration = Duration::from_secs(30);

/// The time, as far as it is known by now.
#[derive(Debug)]
pub(super) struct Reissue {
    every: Duration,
    last: Option<Cut>,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    at: Instant,
    after: Duration,
}

impl Default for Reissue {
    fn default() -> Self {
        Reissue { every: REISSUE, last: None }
    }
}

impl Reissue {
    /// An IDLE is to be begun again after this time.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// A connection was lost so long `after` its IDLE began, by an end or by an answer that did not come. Returns the new time, if it is another one.
    pub fn lost(&mut self, after: Duration) -> Option<Duration> {
        let now = Instant::now();
        let last = self.last.replace(Cut { at: now, after })?;
        let is_another = now - last.at > TOGETHER;
        if !is_another || after < CUT_MIN || after > self.every + TOLERANCE || last.after.abs_diff(after) > TOLERANCE {
            return None;
        }
        self.every = self.every.min(after) * 3 / 4;
        Some(self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is learnt of losses: seconds since the last one, and seconds of IDLE before it.
    async fn learnt(losses: &[(u64, u64)]) -> u64 {
        let mut reissue = Reissue::default();
        for (pause, after) in losses {
            tokio::time::advance(Duration::from_secs(*pause)).await;
            reissue.lost(Duration::from_secs(*after));
        }
        reissue.every().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cut_after_the_same_time_twice_is_begun_again_sooner() {
        assert_eq!(learnt(&[]).await, 540);
        assert_eq!(learnt(&[(0, 300)]).await, 540, "once is an accident");
        assert_eq!(learnt(&[(0, 300), (315, 302)]).await, 226);
        assert_eq!(learnt(&[(0, 300), (315, 120), (135, 300)]).await, 540, "each time another one");
        assert_eq!(learnt(&[(0, 200), (1, 201), (1, 200)]).await, 540, "several folders at once");
        assert_eq!(learnt(&[(0, 20), (60, 20), (60, 20)]).await, 540, "that is no silence");
        // A router that forgets: the answer to DONE does not come, until IDLE is short enough.
        assert_eq!(learnt(&[(0, 540), (600, 540), (600, 405), (450, 405)]).await, 303);
    }
}
