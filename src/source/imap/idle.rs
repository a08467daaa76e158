//! IDLE (RFC 2177): the server tells of new mail by itself, if it keeps its word. Nothing here waits without a limit of its own: not for the `+`, not
//! for news, not for the answer to DONE.

use super::connection::{Input, Tag};
use super::refusal::is_not_now;
use super::session::ImapSession;
use crate::proto::imap::{Command, State};
use crate::source::{SourceError, SourceErrorKind, Woken};
use futures_util::future::BoxFuture;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// How long the server may take for its `+`, and for its answer to DONE.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// How long the `+` is waited for once somebody wants the IDLE to end: without it, no DONE may be sent.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What happened in the folder, as far as one IDLE tells.
#[derive(Default)]
struct News {
    is_there: bool,
    /// How many messages there are by the last word.
    exists: u32,
}

impl News {
    /// EXISTS with a number that is known is no news: some servers repeat it to keep the line open. So is everything else that servers say while
    /// they wait: flags, `OK Still here`, RECENT of none.
    fn take(&mut self, input: &Input) {
        match input {
            Input::Exists(number) => {
                self.is_there |= *number > self.exists;
                self.exists = *number;
            }
            // Who waits for mail is not woken by what goes, our own deletions among it.
            Input::Expunge => self.exists = self.exists.saturating_sub(1),
            Input::Recent(number) => self.is_there |= *number > 0,
            _ => {}
        }
    }
}

impl ImapSession {
    pub(super) fn may_idle(&self) -> bool {
        self.folder.is_some() && self.offers("IDLE") && !self.shared.idle_refused.load(Ordering::Relaxed)
    }

    /// Waits for news. After an error the session is of no use; otherwise no command is left unanswered.
    pub(super) async fn wait_for_news(&mut self, limit: Duration, mut stop: BoxFuture<'_, ()>) -> Result<Woken, SourceError> {
        // What came since the last listing would not be told again.
        if self.folder.as_ref().is_some_and(|folder| folder.has_news) {
            return Ok(Woken::Told);
        }
        let end = Instant::now() + limit.min(LIMIT_MAX);
        loop {
            let mut news = News { is_there: false, exists: self.folder.as_ref().map_or(0, |folder| folder.exists) };
            let tag = self.connection.send(&Command::Idle).await?;
            let stopped = self.begin_idle(tag, &mut news, &mut stop).await?;
            let began = Instant::now();
            let until = end.min(began + self.shared.reissue().every());
            let listened = match stopped {
                true => Ok(Some(Woken::Stopped)),
                false => self.idle_until(until, &mut news, &mut stop).await,
            };
            let silence = began.elapsed();
            let ended = match listened {
                Ok(woken) => self.end_idle(tag, &mut news).await.map(|()| woken),
                Err(error) => Err(error),
            };
            let woken = ended.inspect_err(|error| self.learn(error, silence))?;
            self.still_numbered()?;
            match woken {
                Some(woken) => return Ok(woken),
                None if news.is_there => return Ok(Woken::Told),
                None if Instant::now() >= end => return Ok(Woken::Limit),
                None => {}
            }
        }
    }

    /// A connection that ended, or died, may have been silent for too long.
    fn learn(&self, error: &SourceError, silence: Duration) {
        if !matches!(error.kind, SourceErrorKind::Closed | SourceErrorKind::Timeout) {
            return;
        }
        if let Some(every) = self.shared.reissue().lost(silence) {
            tracing::info!(event = "idle_shortened", collector = %self.shared.collector, every_s = every.as_secs(), next = "IDLE is begun again sooner");
        }
    }

    /// Waits for the `+`. True if `stop` ended meanwhile.
    async fn begin_idle(&mut self, tag: Tag, news: &mut News, stop: &mut BoxFuture<'_, ()>) -> Result<bool, SourceError> {
        let mut stopped = false;
        let mut deadline = Instant::now() + ANSWER_PATIENCE;
        loop {
            let input = tokio::select! {
                biased;
                () = &mut *stop, if !stopped => {
                    stopped = true;
                    deadline = deadline.min(Instant::now() + STOP_PATIENCE);
                    continue;
                }
                input = timeout_at(deadline, self.connection.next()) => input,
            };
            match input {
                Ok(input) => match input? {
                    Input::Continue => return Ok(stopped),
                    // Also an OK: nothing was begun.
                    Input::Answer(answered, status) if answered == tag => {
                        self.shared.idle_refused.fetch_or(status.state != State::Ok && !is_not_now(&status), Ordering::Relaxed);
                        return Err(self.connection.refused("IDLE, though it offers it", &status));
                    }
                    other => self.hear(news, &other),
                },
                Err(_) => return Err(self.connection.error(SourceErrorKind::Timeout, "the server does not answer IDLE")),
            }
        }
    }

    /// Listens until there is news, `until` is over (`None`), or `stop` ends.
    async fn idle_until(&mut self, until: Instant, news: &mut News, stop: &mut BoxFuture<'_, ()>) -> Result<Option<Woken>, SourceError> {
        self.connection.set_idling(true);
        let listened = self.listen(until, news, stop).await;
        self.connection.set_idling(false);
        listened
    }

    async fn listen(&mut self, until: Instant, news: &mut News, stop: &mut BoxFuture<'_, ()>) -> Result<Option<Woken>, SourceError> {
        while !news.is_there {
            let input = tokio::select! {
                biased;
                () = &mut *stop => return Ok(Some(Woken::Stopped)),
                () = sleep_until(until) => return Ok(None),
                input = self.connection.next() => input?,
            };
            match input {
                Input::Answer(_, status) if status.state == State::Ok => {
                    return Err(self.connection.error(SourceErrorKind::Closed, "the server ended IDLE by itself"));
                }
                Input::Answer(_, status) => return Err(self.connection.refused("to go on with IDLE", &status)),
                other => self.hear(news, &other),
            }
        }
        Ok(Some(Woken::Told))
    }

    /// DONE, and the server's answer; what it still tells counts.
    async fn end_idle(&mut self, tag: Tag, news: &mut News) -> Result<(), SourceError> {
        self.connection.say_done().await?;
        let folder = &mut self.folder;
        let answered = self.connection.finish(tag, "to end IDLE", |input| {
            news.take(&input);
            folder.iter_mut().for_each(|folder| folder.note(&input));
        });
        match within(ANSWER_PATIENCE, answered).await {
            Some(answered) => answered.map(|_| ()),
            None => Err(self.connection.error(SourceErrorKind::Timeout, "the server does not answer DONE")),
        }
    }

    fn hear(&mut self, news: &mut News, input: &Input) {
        news.take(input);
        self.folder.iter_mut().for_each(|folder| folder.note(input));
    }
}

/// Longest wait: an [`Instant`] has an end.
const LIMIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(limit, work).await.ok()
}
