//! Layer 3: the history: what became of each message, for people who ask later. Nothing is decided by it.
//!
//! It has a file of its own, `history.db` in the state directory, and a thread that writes it. The path of the mail puts a row into a queue and goes on: it
//! waits for no disk, and a row for which there is no room is counted and lost. A row is put there when the ledger's record is durable,
//! so the history never says more than what is so; after a `kill -9` its last moments may be missing. In the ledger's own file each row
//! would be in the group commit that mail waits for, and some hundred octets of history for each twenty of state.
//!
//! Who listens is told of the same rows, and of sessions, by a [`feed`](History::listen): what a slow listener has not taken is not kept for him.

mod feed;
mod row;
mod store;
mod wanted;

pub use feed::Event;
pub use row::{RECIPIENTS_MAX, Recipient, Row, Word};
pub use wanted::{Page, Wanted, look};

use crate::config::HistoryLimits;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use store::Shared;
use tokio::sync::broadcast;

/// The file's name in the state directory.
pub const FILE: &str = "history.db";
/// How long the end of the process waits for the last rows.
const FINISH_WAIT: Duration = Duration::from_secs(5);

/// The way to the history, shared by all who add to it.
pub struct History {
    /// False: no history is kept.
    is_kept: bool,
    shared: Arc<Shared>,
    feed: broadcast::Sender<Arc<Event>>,
    path: Option<PathBuf>,
}

impl History {
    /// That of a state directory. It is opened by its own thread: whatever is wrong with it is said there, and mail is collected all the same.
    pub fn open(state_dir: &Path, limits: HistoryLimits) -> Self {
        let path = state_dir.join(FILE);
        let Some(keep) = limits.keep else { return History::without(Some(path)) };
        let shared: Arc<Shared> = Arc::default();
        let (for_thread, file) = (Arc::clone(&shared), path.clone());
        let started = std::thread::Builder::new().name("history".into()).spawn(move || store::work(&file, keep, limits.max_entries, &for_thread));
        if let Err(error) = &started {
            tracing::error!(event = "history_failed", file = %path.display(), reason = %error, next = "no history is kept; mail is not affected");
        }
        History { is_kept: started.is_ok(), shared, feed: feed::channel(), path: Some(path) }
    }

    /// One that keeps nothing.
    pub fn none() -> Self {
        History::without(None)
    }

    fn without(path: Option<PathBuf>) -> Self {
        History { is_kept: false, shared: Arc::default(), feed: feed::channel(), path }
    }

    /// True if anybody wants rows.
    pub fn is_wanted(&self) -> bool {
        self.is_kept || self.feed.receiver_count() > 0
    }

    /// Adds a row. Never waits.
    pub fn put(&self, row: Box<Row>) {
        self.tell(|| Event::of_row(&row));
        if self.is_kept {
            self.shared.put(row);
        }
    }

    /// Tells those who listen, if there are any.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if self.feed.receiver_count() > 0 {
            // They may have gone since.
            let _ = self.feed.send(Arc::new(event()));
        }
    }

    /// What happens from now on. Who is too slow finds out by an error, and has missed something.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.feed.subscribe()
    }

    /// How many rows there are; `None` if no history is kept, or it could not be opened.
    pub fn entries(&self) -> Option<u64> {
        let entries = self.shared.entries.load(Relaxed);
        (self.is_kept && entries != u64::MAX).then_some(entries)
    }

    /// Where it is.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Waits until the rows that were put so far can be read, no longer than this. Blocks.
    pub fn flush(&self, wait: Duration) {
        if self.is_kept {
            let (done, is_done) = sync_channel(1);
            self.shared.flush(done);
            let _ = is_done.recv_timeout(wait);
        }
    }

    /// The same at the end of the process.
    pub fn finish(&self) {
        self.flush(FINISH_WAIT);
    }
}

impl Drop for History {
    /// The thread writes what it has, and ends.
    fn drop(&mut self) {
        self.shared.close();
    }
}
