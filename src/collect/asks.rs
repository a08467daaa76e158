//! Passes that somebody asked for: a signal, the command line, the API. One that is asked for while another runs comes after it; many are one.

use super::task::Session;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// Most who wait for one pass; who comes later is told at once that nobody keeps a place for them.
const WAITING_MAX: usize = 64;

/// What is asked of one collector.
#[derive(Debug, Default)]
pub struct Asks {
    wake: Notify,
    waiting: Mutex<Vec<Answer>>,
}

/// Where the end of the pass is told: of all sessions that it took, until the mailbox has no new mail.
pub type Answer = oneshot::Sender<Arc<Session>>;

impl Asks {
    /// Asks for a pass now.
    pub fn ask(&self) {
        self.wake.notify_one();
    }

    /// The same, and is told how it ended. The answer never comes if the collector ends before it.
    pub fn ask_and_hear(&self) -> oneshot::Receiver<Arc<Session>> {
        let (answer, heard) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.retain(|answer| !answer.is_closed());
        if waiting.len() < WAITING_MAX {
            waiting.push(answer);
        }
        drop(waiting);
        self.wake.notify_one();
        heard
    }

    /// Resolves when a pass is asked for.
    pub async fn asked(&self) {
        self.wake.notified().await;
    }

    /// Those who wait for the pass that begins now.
    pub(super) fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.waiting())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
