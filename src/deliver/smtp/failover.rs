//! Which of several servers is asked: the first in the list that is not left alone, then the next one, as long as nothing was handed over.

use super::connection::failed;
use super::pool::Pool;
use crate::deliver::breaker::{Admission, FIRST_WAIT};
use crate::mail::{Diagnosis, Stage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

/// What one delivery says about the server.
pub(super) enum Standing {
    /// It answered as a server does; `took`: it took the message for somebody.
    Works {
        /// See above.
        took: bool,
    },
    /// It could not be reached or broke off.
    Failed(Diagnosis),
    /// It refuses our login, or everybody: trying soon again would do no good.
    Misconfigured(Diagnosis),
    /// It was not asked: it failed a moment ago.
    Remembered(Diagnosis),
}

impl Standing {
    /// Of a server that did not do its part.
    pub(super) fn failure(diagnosis: Diagnosis, remembered: bool) -> Self {
        match remembered {
            true => Standing::Remembered(diagnosis),
            false if diagnosis.stage == Stage::Auth && diagnosis.reply.is_some() => Standing::Misconfigured(diagnosis),
            false => Standing::Failed(diagnosis),
        }
    }
}

/// The way of one message along the list.
pub(super) struct Round<'a> {
    pools: &'a [Arc<Pool>],
    tried: Vec<bool>,
    failures: Vec<String>,
}

/// A server's turn. Dropped without [`Turn::end`] it says nothing about the server.
pub(super) struct Turn<'a> {
    pub(super) pool: &'a Arc<Pool>,
    trial: bool,
    _permit: Option<SemaphorePermit<'a>>,
}

impl<'a> Round<'a> {
    pub(super) fn new(pools: &'a [Arc<Pool>]) -> Self {
        Round { pools, tried: vec![false; pools.len()], failures: Vec::new() }
    }

    /// The next server to ask. If all others are left alone and one is being tried out by another delivery, waits for what comes of that.
    pub(super) async fn next(&mut self) -> Option<Turn<'a>> {
        loop {
            let mut being_tried = None;
            for (pool, tried) in self.pools.iter().zip(&mut self.tried).filter(|(_, tried)| !**tried) {
                if pool.state().breaker.open(Instant::now()).is_some() {
                    continue;
                }
                // The semaphore is never closed; were it, delivering without a permit is what harms least.
                let permit = pool.permits.acquire().await.ok();
                let end_of_trial = pool.tried.subscribe();
                let admission = {
                    let mut state = pool.state();
                    let admission = state.breaker.admit(Instant::now());
                    if admission == Admission::Trial {
                        state.refusals.forget();
                    }
                    admission
                };
                match admission {
                    Admission::Yes | Admission::Trial => {
                        *tried = true;
                        return Some(Turn { pool, trial: admission == Admission::Trial, _permit: permit });
                    }
                    Admission::Busy => drop(being_tried.get_or_insert(end_of_trial)),
                    Admission::No { .. } => {}
                }
            }
            // An error would say that the pool is gone, and this round holds it.
            being_tried?.changed().await.ok()?;
        }
    }

    /// Keeps why a server did not take the message; says it with the others' reasons, if there are several servers.
    pub(super) fn add(&mut self, pool: &Pool, diagnosis: Diagnosis) -> Diagnosis {
        if self.pools.len() == 1 {
            return diagnosis;
        }
        let earlier = self.failures.iter().map(|failure| format!("; before that {failure}")).collect::<String>();
        let gap = if diagnosis.text.is_empty() { "" } else { ": " };
        let text = format!("{}{gap}{}{earlier}", pool.name(), diagnosis.text);
        self.failures.push(format!("{}: {diagnosis}", pool.name()));
        Diagnosis { text, ..diagnosis }
    }

    /// Why nobody was asked.
    pub(super) fn nobody(&self) -> Diagnosis {
        failed(Stage::Connect, down(self.pools).unwrap_or_else(|| "no target can be asked now".to_owned()))
    }
}

impl Turn<'_> {
    /// Tells the breaker. Returns the failure if the next server may be asked.
    pub(super) fn end(mut self, standing: Standing) -> Option<Diagnosis> {
        let now = Instant::now();
        let mut state = self.pool.state();
        let (change, failure) = match standing {
            Standing::Works { took } => {
                let change = state.breaker.succeeded(took);
                if took {
                    state.refusals.forget();
                }
                (change, None)
            }
            Standing::Failed(diagnosis) => (state.breaker.failed(now, &diagnosis.to_string()), Some(diagnosis)),
            Standing::Misconfigured(diagnosis) => (state.breaker.trip(now, &diagnosis.to_string()), Some(diagnosis)),
            // A trial is given back on drop.
            Standing::Remembered(diagnosis) => return Some(diagnosis),
        };
        drop(state);
        self.pool.note(change, &failure.as_ref().map(Diagnosis::to_string).unwrap_or_default());
        if std::mem::take(&mut self.trial) {
            self.pool.tried.send_replace(());
        }
        failure
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.trial {
            self.pool.state().breaker.abandoned(Instant::now());
            self.pool.tried.send_replace(());
        }
    }
}

/// When the first server of the list is asked again; one that is not left alone yet was refused a moment ago.
pub(super) fn asked_again_in(pools: &[Arc<Pool>]) -> Duration {
    let now = Instant::now();
    let wait = |pool: &Arc<Pool>| pool.state().breaker.open(now).map_or(FIRST_WAIT, |(until, _)| until.duration_since(now));
    pools.iter().map(wait).min().unwrap_or(FIRST_WAIT)
}

/// Why no server of the list is to be asked now, and when the first will be.
pub(super) fn down(pools: &[Arc<Pool>]) -> Option<String> {
    let now = Instant::now();
    let mut reasons = Vec::with_capacity(pools.len());
    let mut next: Option<Instant> = None;
    for pool in pools {
        let state = pool.state();
        let (until, reason) = state.breaker.open(now)?;
        next = Some(next.map_or(until, |next| next.min(until)));
        reasons.push(if pools.len() == 1 { reason.to_owned() } else { format!("{}: {reason}", pool.name()) });
    }
    let wait = next?.duration_since(now).as_secs_f32().ceil();
    Some(format!("{}; next try in {wait} s", reasons.join("; ")))
}
