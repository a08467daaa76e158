//! The heart of a pass: the messages of a batch as they come, delivered and recorded. Fetching, delivering and recording overlap, each within
//! its own bound.

use super::deliver_one::{By, Deliverer, Done};
use super::pass::PassError;
use super::stop::Stop;
use crate::history::{History, Row};
use crate::ledger::{Entry, Ledger, LedgerError, Place};
use crate::mail::{RemoteUid, TargetDown};
use crate::source::{Fetched, Session, SourceError};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Deliveries in flight for each connection that the destination may have: one being sent, one ready to follow.
const IN_FLIGHT_PER_CONNECTION: usize = 2;
/// Most deliveries in flight in one pass, each holding at most the spool's threshold in memory.
const IN_FLIGHT_MAX: usize = 32;
/// Most outcomes of one pass that wait for the ledger's next commit.
const RECORDS_MAX: usize = 64;

/// What came of a batch's fetching.
#[derive(Default)]
pub(super) struct Batch {
    /// What was recorded, durably, and by which way it got there.
    pub recorded: Vec<(Entry, By)>,
    /// The messages that the source answered for, and the octets of those that came.
    pub answered: BTreeMap<RemoteUid, u64>,
    /// Octets of all of them.
    pub octets: u64,
    /// Why it ended early.
    pub failed: Option<PassError>,
    /// Answers are outstanding: the session can only be abandoned.
    pub outstanding: bool,
}

/// Answers for what the source has in place of a message: what the ledger and the history are to say, if anything.
pub(super) type Other<'a> = dyn Fn(Fetched) -> (RemoteUid, Option<(Entry, Box<Row>)>) + Send + Sync + 'a;

/// What puts an end to a batch before its last message.
#[derive(Clone, Copy)]
pub(super) struct Brakes<'a> {
    /// The pass is to end.
    pub stop: &'a Stop,
    /// The target takes nothing now.
    pub target_down: &'a Mutex<Option<TargetDown>>,
    /// What is not recorded would come again: once the ledger fails, nothing more is handed over.
    pub ledger_failed: &'a AtomicBool,
}

/// Takes what the session was asked for, as it comes; `other` answers for what is no message.
pub(super) async fn fetch_and_deliver(
    session: &mut dyn Session,
    deliverer: &Deliverer<'_>,
    (ledger, place): (&dyn Ledger, Place),
    brakes: Brakes<'_>,
    other: &Other<'_>,
) -> Batch {
    let in_flight = (deliverer.collector.delivery.max_connections * IN_FLIGHT_PER_CONNECTION).clamp(1, IN_FLIGHT_MAX);
    let end: Arc<Mutex<End>> = Arc::default();
    let arriving = arriving(session, brakes, &end);
    // The futures are boxed by name: their types would otherwise be too general for the compiler to see that they may cross threads.
    let take = |fetched| -> BoxFuture<'_, _> { take(deliverer, fetched, other).boxed() };
    let record = |taken| -> BoxFuture<'_, _> { record(ledger, place, brakes.ledger_failed, deliverer.history, taken).boxed() };
    let mut recording = arriving.map(take).buffer_unordered(in_flight).map(record).buffer_unordered(RECORDS_MAX).boxed();
    let mut batch = Batch::default();
    while let Some(handled) = recording.next().await {
        batch.answered.insert(handled.uid, handled.octets);
        batch.octets += handled.octets;
        batch.recorded.extend(handled.entry);
        batch.failed = batch.failed.or(handled.failed.map(PassError::from));
    }
    drop(recording);
    let end = std::mem::take(&mut *end.lock().unwrap_or_else(PoisonError::into_inner));
    batch.outstanding = end.outstanding;
    batch.failed = batch.failed.or(end.failed.map(PassError::from));
    batch
}

async fn take(deliverer: &Deliverer<'_>, fetched: Fetched, other: &Other<'_>) -> (RemoteUid, Done) {
    match fetched {
        Fetched::Message(message) => (message.key.uid.clone(), deliverer.deliver(*message).await),
        fetched => {
            let (uid, entry) = other(fetched);
            let (entry, row) = entry.unzip();
            (uid, Done { entry, octets: 0, failed: None, in_flight: None, by: By::default(), row })
        }
    }
}

/// The messages of a batch as they come, until all are here, the pass is to end, or the source fails.
fn arriving<'s>(session: &'s mut dyn Session, brakes: Brakes<'s>, end: &Arc<Mutex<End>>) -> BoxStream<'s, Fetched> {
    let Brakes { stop, target_down, ledger_failed } = brakes;
    let unfolded = stream::unfold((session, Arc::clone(end)), move |(session, end)| {
        async move {
            let is_down = target_down.lock().is_ok_and(|down| down.is_some());
            let next = if is_down || ledger_failed.load(Ordering::Relaxed) || stop.is_requested() {
                None
            } else {
                tokio::select! {
                    biased;
                    () = stop.requested() => None,
                    next = session.next_message() => Some(next),
                }
            };
            match next {
                Some(Ok(Some(fetched))) => return Some((fetched, (session, end))),
                Some(Ok(None)) => {}
                Some(Err(error)) => end.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(error),
                None => end.lock().unwrap_or_else(PoisonError::into_inner).outstanding = true,
            }
            None
        }
        .boxed()
    });
    unfolded.boxed()
}

/// Records what became of a message. What is not recorded did not happen, as far as the source is concerned.
async fn record(ledger: &dyn Ledger, place: Place, ledger_failed: &AtomicBool, history: &History, (uid, done): (RemoteUid, Done)) -> Handled {
    // Other copies of the letter wait until this one is recorded.
    let Done { entry, octets, failed, in_flight: _in_flight, by, row } = done;
    let Some(entry) = entry else {
        ledger_failed.fetch_or(failed.is_some(), Ordering::Relaxed);
        return Handled { uid, octets, entry: None, failed };
    };
    let failed = ledger.record(&place, entry.clone()).await.err();
    ledger_failed.fetch_or(failed.is_some(), Ordering::Relaxed);
    if failed.is_none() {
        // What is not recorded did not happen.
        if let Some(row) = row {
            history.put(row);
        }
    }
    Handled { uid, octets, entry: failed.is_none().then_some((entry, by)), failed }
}

/// How the stream of arriving messages ended.
#[derive(Default)]
struct End {
    failed: Option<SourceError>,
    outstanding: bool,
}

/// One message on its way out of the stream.
struct Handled {
    uid: RemoteUid,
    octets: u64,
    /// What was recorded, durably.
    entry: Option<(Entry, By)>,
    failed: Option<LedgerError>,
}
