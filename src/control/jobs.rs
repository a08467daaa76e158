//! Requests that take their time: each has a number, shows how far it is, and is remembered for a while after its end.

use crate::collect::task::Session;
use crate::mail::CollectorId;
use crate::observe::Counters;
use crate::service::command::Collecting;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// So many are remembered; those that ended first go first.
pub const JOBS_MAX: usize = 256;
/// How often the progress of one is looked at.
const TICK: Duration = Duration::from_millis(200);

/// All of them, oldest first.
#[derive(Debug, Default)]
pub struct Jobs(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    jobs: VecDeque<Arc<Job>>,
}

/// One of them.
#[derive(Debug)]
pub struct Job {
    /// Its number.
    pub number: u64,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub began: Timestamp,
    /// How far it is.
    pub state: watch::Receiver<JobState>,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct JobState {
    /// All of its parts have ended.
    pub is_done: bool,
    /// One for each collector.
    pub parts: Vec<Part>,
}

/// The pass of one collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Whose.
    pub id: CollectorId,
    /// Messages that were found, so far.
    pub found: u64,
    /// Messages that something became of.
    pub taken: u64,
    /// Their octets.
    pub octets: u64,
    /// How it ended; as JSON, with the counts of `mailgather once --json`.
    pub end: Option<Value>,
}

impl Jobs {
    /// A job for these passes; `None` if there are too many jobs that have not ended.
    pub fn collect(&self, by: String, passes: Vec<Collecting>) -> Option<Arc<Job>> {
        let parts = passes.iter().map(|pass| Part { id: pass.id.clone(), found: 0, taken: 0, octets: 0, end: None }).collect();
        let (sender, state) = watch::channel(JobState { is_done: passes.is_empty(), parts });
        let mut kept = self.lock();
        if kept.jobs.len() >= JOBS_MAX {
            let ended = kept.jobs.iter().position(|job| job.state.borrow().is_done)?;
            kept.jobs.remove(ended);
        }
        kept.last += 1;
        let job = Arc::new(Job { number: kept.last, by, began: Timestamp::now(), state });
        kept.jobs.push_back(Arc::clone(&job));
        drop(kept);
        tokio::spawn(follow(passes, sender));
        Some(job)
    }

    /// One of them by its number.
    pub fn get(&self, number: u64) -> Option<Arc<Job>> {
        self.lock().jobs.iter().find(|job| job.number == number).cloned()
    }

    /// All that are remembered.
    pub fn all(&self) -> Vec<Arc<Job>> {
        self.lock().jobs.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Resolves when it has ended.
    pub async fn ended(&self) -> JobState {
        let mut state = self.state.clone();
        match state.wait_for(|state| state.is_done).await {
            Ok(state) => state.clone(),
            // Whoever follows it ended without a word: so did the job.
            Err(_) => self.state.borrow().clone(),
        }
    }

    /// As JSON.
    pub fn json(&self, state: &JobState) -> Value {
        let parts: Vec<Value> = state
            .parts
            .iter()
            .map(|part| json!({"collector": part.id.as_str(), "found": part.found, "taken": part.taken, "octets": part.octets, "result": part.end}))
            .collect();
        let state = if state.is_done { "done" } else { "running" };
        json!({"job": self.number, "kind": "collect", "by": self.by, "began": crate::mail::when::stamp(self.began), "state": state, "collectors": parts})
    }
}

/// A pass, and where its counters stood when it was asked for.
struct Followed {
    counters: Arc<Counters>,
    before: (u64, u64, u64),
    heard: oneshot::Receiver<Arc<Session>>,
    is_over: bool,
}

async fn follow(passes: Vec<Collecting>, state: watch::Sender<JobState>) {
    let follow = |pass: Collecting| Followed { before: pass.counters.read(), counters: pass.counters, heard: pass.heard, is_over: false };
    let mut passes: Vec<Followed> = passes.into_iter().map(follow).collect();
    while passes.iter().any(|pass| !pass.is_over) {
        let _ = tokio::time::timeout(TICK, next_end(&mut passes, &state)).await;
        state.send_if_modified(|state| {
            let mut is_news = false;
            for (part, pass) in state.parts.iter_mut().zip(&passes) {
                let (now, before) = (pass.counters.read(), pass.before);
                let counts = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1), now.2.saturating_sub(before.2));
                if part.end.is_none() || pass.is_over {
                    is_news |= counts != (part.found, part.taken, part.octets);
                    (part.found, part.taken, part.octets) = counts;
                }
            }
            is_news
        });
    }
    state.send_modify(|state| state.is_done = true);
}

/// Waits for the end of any of them, and notes it.
async fn next_end(passes: &mut [Followed], state: &watch::Sender<JobState>) {
    let running = passes.iter_mut().enumerate().filter(|(_, pass)| !pass.is_over);
    let ends = running.map(|(at, pass)| Box::pin(async move { (at, (&mut pass.heard).await) }));
    let ((at, end), ..) = futures_util::future::select_all(ends).await;
    passes[at].is_over = true;
    let end = end.map_or_else(
        |_| json!({"outcome": "stopped", "error": {"message": "the collector was stopped or changed meanwhile"}}),
        |session| summary(&session),
    );
    state.send_modify(|state| state.parts[at].end = Some(end));
}

/// What a pass did, as JSON.
fn summary(session: &Session) -> Value {
    let report = &session.report;
    let outcome = match &session.error {
        Some(_) => "failed",
        None if report.stopped => "stopped",
        None if report.deferred > 0 => "partial",
        None => "ok",
    };
    let mut summary = json!({
        "outcome": outcome, "delivered": report.delivered, "default_box": report.unresolved + report.refused, "duplicates": report.duplicates,
        "discarded": report.discarded, "deferred": report.deferred, "left": report.left, "held": report.held, "disposed": report.disposed,
        "octets": report.octets,
    });
    if let Some(error) = &session.error {
        summary["error"] = json!({
            "code": format!("MG-{}", error.code()), "message": error.to_string(), "hint": error.hint(), "configuration": error.is_configuration(),
        });
    }
    summary
}
