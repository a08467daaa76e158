//! The thread that writes the history: rows in groups, and what is too old or too much goes in pieces.
//!
//! WAL with `synchronous=NORMAL`: a group costs no fsync, the file stays whole over a power cut, and what such a cut takes is the rows since the last
//! checkpoint (<https://sqlite.org/pragma.html#pragma_synchronous>).

use super::Row;
use rusqlite::{Connection, ErrorCode, params};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rows, and octets of them, that wait for the thread, beside as many that it writes.
const QUEUE_ROWS_MAX: usize = 16 * 1024;
const QUEUE_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Those who wait for what was put so far. More wait for nothing.
const FLUSHES_MAX: usize = 256;
/// Rows of one transaction.
const GROUP_MAX: usize = 1024;
/// A row waits for others that go with it, no longer than this.
const GATHER: Duration = Duration::from_millis(100);
/// The file is opened for the first row, or after this time: a pass of `once` that finds nothing is over before.
const OPEN_AFTER: Duration = Duration::from_millis(300);
/// How often the thread looks around if nothing comes.
const TICK: Duration = Duration::from_secs(1);
/// Rows that go at once: a reader, or the next group, gets a turn in between.
const PIECE_MAX: u64 = 1000;
/// How often it is looked for what is too old.
const AGE_ASKED_EVERY: Duration = Duration::from_secs(60);
/// After an error the file is left alone for this long.
const AFTER_ERROR: Duration = Duration::from_secs(10);
/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Each step leads from version n to n + 1; a file knows its version (`PRAGMA user_version`).
pub(super) const STEPS: &[&str] = &["
    CREATE TABLE message (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, collector TEXT NOT NULL, mailbox TEXT NOT NULL, folder TEXT NOT NULL, epoch INTEGER NOT NULL,
        uid TEXT NOT NULL, trace_id BLOB, message_id TEXT NOT NULL, sender TEXT NOT NULL, header_from TEXT NOT NULL, octets INTEGER NOT NULL,
        recipients TEXT NOT NULL, found_by TEXT NOT NULL, result TEXT NOT NULL, why TEXT NOT NULL, target TEXT NOT NULL, reason TEXT NOT NULL,
        arrived INTEGER) STRICT;
    CREATE INDEX message_at ON message (at);
    CREATE INDEX message_letter ON message (message_id) WHERE message_id <> '';
"];

/// What waits for the thread.
#[derive(Default)]
struct Queue {
    rows: Vec<Row>,
    octets: usize,
    /// To be told when everything before is written.
    flushes: Vec<SyncSender<()>>,
    is_closed: bool,
}

/// What both sides know.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the thread: not for each row, as waking costs more than a row.
    bell: Condvar,
    /// Rows for which there was no room.
    lost: AtomicU64,
    /// Rows in the file; `u64::MAX` as long as nobody knows.
    pub entries: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Shared { queue: Mutex::default(), bell: Condvar::new(), lost: AtomicU64::new(0), entries: AtomicU64::new(u64::MAX) }
    }
}

impl Shared {
    pub fn put(&self, row: Box<Row>) {
        let octets = row.octets_in_memory();
        let mut queue = self.lock();
        if queue.rows.len() >= QUEUE_ROWS_MAX || queue.octets + octets > QUEUE_OCTETS_MAX {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        queue.octets += octets;
        queue.rows.push(*row);
        if queue.rows.len() == 1 || queue.rows.len() == GROUP_MAX {
            self.bell.notify_one();
        }
    }

    pub fn flush(&self, done: SyncSender<()>) {
        let mut queue = self.lock();
        if queue.flushes.len() < FLUSHES_MAX {
            queue.flushes.push(done);
            self.bell.notify_one();
        }
    }

    pub fn close(&self) {
        self.lock().is_closed = true;
        self.bell.notify_one();
    }

    /// The next group, who waits for it, and whether there is more to come. Nothing comes for a while, at most.
    fn next(&self) -> (Vec<Row>, Vec<SyncSender<()>>, bool) {
        let is_hurry = |queue: &mut Queue| queue.rows.len() >= GROUP_MAX || !queue.flushes.is_empty() || queue.is_closed;
        let queue = self.lock();
        let nothing = |queue: &mut Queue| queue.rows.is_empty() && !is_hurry(queue);
        let (queue, _) = self.bell.wait_timeout_while(queue, TICK, nothing).unwrap_or_else(PoisonError::into_inner);
        let gather = if queue.rows.is_empty() { Duration::ZERO } else { GATHER };
        let (mut queue, _) = self.bell.wait_timeout_while(queue, gather, |queue| !is_hurry(queue)).unwrap_or_else(PoisonError::into_inner);
        queue.octets = 0;
        (std::mem::take(&mut queue.rows), std::mem::take(&mut queue.flushes), !queue.is_closed)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's life.
pub(super) fn work(path: &Path, keep: Duration, max_entries: u64, shared: &Shared) {
    let mut keeper =
        Keeper { path: path.to_owned(), keep, max_entries, store: None, again: Instant::now() + OPEN_AFTER, is_new: true, lost: 0, is_said: false };
    loop {
        let (rows, flushed, goes_on) = shared.next();
        keeper.lost += shared.lost.swap(0, Relaxed);
        // Nothing is also a reason to look around.
        let groups = rows.len().div_ceil(GROUP_MAX).max(1);
        for group in 0..groups {
            keeper.write(rows.get(group * GROUP_MAX..rows.len().min((group + 1) * GROUP_MAX)).unwrap_or_default(), shared);
        }
        // Who asked may not wait any more.
        for done in flushed {
            let _ = done.send(());
        }
        if !goes_on {
            return;
        }
    }
}

struct Keeper {
    path: PathBuf,
    keep: Duration,
    max_entries: u64,
    store: Option<Store>,
    /// When it is tried again, without one.
    again: Instant,
    /// It was not tried yet.
    is_new: bool,
    /// Rows that could not be written.
    lost: u64,
    is_said: bool,
}

impl Keeper {
    fn open(&mut self, shared: &Shared) {
        let opened = Store::open(&self.path).or_else(|error| match error {
            // Nothing is decided by the history: a new one takes the place of what cannot be read.
            OpenError::Sql(error) if is_broken(&error) => {
                let aside = self.path.with_extension("db.broken");
                let _ = std::fs::rename(&self.path, &aside);
                ["-wal", "-shm"].iter().for_each(|end| drop(std::fs::remove_file(format!("{}{end}", self.path.display()))));
                tracing::warn!(event = "history_renewed", file = %self.path.display(), reason = %error, next = format!("what was there is {}; mail is not affected", aside.display()));
                Store::open(&self.path)
            }
            error => Err(error),
        });
        match opened {
            Ok(store) => {
                shared.entries.store(store.entries, Relaxed);
                self.store = Some(store);
            }
            Err(error) => self.failed(&error.to_string(), shared),
        }
    }

    fn write(&mut self, rows: &[Row], shared: &Shared) {
        let is_due = Instant::now() >= self.again || (self.is_new && !rows.is_empty());
        if self.store.is_none() && is_due {
            self.is_new = false;
            self.open(shared);
        }
        let Some(store) = &mut self.store else {
            self.lost += rows.len() as u64;
            return;
        };
        let now = jiff::Timestamp::now().as_millisecond();
        let before = now.saturating_sub(i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX));
        let done = store.add(rows).and_then(|()| store.prune(before, self.max_entries));
        shared.entries.store(store.entries, Relaxed);
        match done {
            Err(error) => {
                self.lost += rows.len() as u64;
                self.failed(&error.to_string(), shared);
            }
            Ok(()) if self.lost > 0 => {
                tracing::warn!(
                    event = "history_incomplete",
                    lost = self.lost,
                    reason = "more was to be written than could be",
                    next = "mail is not affected"
                );
                (self.lost, self.is_said) = (0, false);
            }
            Ok(()) => self.is_said = false,
        }
    }

    /// Says so once, however long it lasts.
    fn failed(&mut self, reason: &str, shared: &Shared) {
        if !self.is_said {
            tracing::error!(event = "history_failed", file = %self.path.display(), reason, next = "rows are lost until it can be written; mail is not affected");
        }
        shared.entries.store(u64::MAX, Relaxed);
        (self.store, self.is_said, self.again) = (None, true, Instant::now() + AFTER_ERROR);
    }
}

/// The file, open.
struct Store {
    connection: Connection,
    entries: u64,
    /// There may be more that is too old.
    is_due: Instant,
}

/// Why it cannot be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("{0}")]
    Sql(#[from] rusqlite::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it has version {0}, and was written by a newer mailgather")]
    Newer(i64),
}

impl Store {
    fn open(path: &Path) -> Result<Self, OpenError> {
        // Made by us first, so that it never is readable by others; SQLite gives -wal and -shm the same mode.
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        loop {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            let steps = usize::try_from(version).unwrap_or(usize::MAX);
            if steps == STEPS.len() {
                break;
            }
            let step = STEPS.get(steps).ok_or(OpenError::Newer(version))?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", version + 1)?;
            transaction.commit()?;
        }
        let entries: i64 = connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0))?;
        Ok(Store { connection, entries: entries.cast_unsigned(), is_due: Instant::now() })
    }

    fn add(&mut self, rows: &[Row]) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        let sql = "INSERT INTO message (at, collector, mailbox, folder, epoch, uid, trace_id, message_id, sender, header_from, octets, recipients, found_by,
                       result, why, target, reason, arrived)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
        for row in rows {
            transaction.prepare_cached(sql)?.execute(params![
                row.at,
                row.collector,
                row.mailbox,
                row.folder,
                row.epoch,
                row.uid,
                row.trace_id.map(|id| id.0),
                row.message_id,
                row.sender,
                row.from,
                row.octets.cast_signed(),
                row.recipients_text(),
                row.by,
                row.result.as_str(),
                row.why,
                row.target,
                row.reason,
                row.arrived,
            ])?;
        }
        transaction.commit()?;
        self.entries += rows.len() as u64;
        Ok(())
    }

    /// A piece of what is older than this, and of what is more than these.
    fn prune(&mut self, before: i64, max_entries: u64) -> rusqlite::Result<()> {
        let surplus = self.entries.saturating_sub(max_entries).min(PIECE_MAX);
        if surplus > 0 {
            let sql = "DELETE FROM message WHERE id IN (SELECT id FROM message ORDER BY id LIMIT ?1)";
            self.entries -= self.connection.execute(sql, [surplus.cast_signed()])? as u64;
        }
        if Instant::now() >= self.is_due {
            let sql = "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE at < ?1 ORDER BY at LIMIT ?2)";
            let gone = self.connection.execute(sql, params![before, PIECE_MAX.cast_signed()])? as u64;
            self.entries = self.entries.saturating_sub(gone);
            if gone < PIECE_MAX {
                self.is_due = Instant::now() + AGE_ASKED_EVERY;
            }
        }
        Ok(())
    }
}

/// True if there is no way to go on with the file as it is.
fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

#[cfg(test)]
mod tests {
    use super::super::{Recipient, Wanted, Word, look};
    use super::*;
    use crate::config::HistoryLimits;
    use crate::history::{FILE, History};

    fn row(n: u64) -> Row {
        let mut row = Row { at: 1_000 * n as i64, collector: format!("c{}", n % 2), octets: n, ..Row::default() };
        row.message_id = format!("{n}@x.example");
        row.from = "Анна <anna@x.example>".into();
        row.add(Recipient::new(&format!("Box{n}@Икс.рф"), Some("раз@почта.рф"), "delivered", "250 Ok"));
        if n.is_multiple_of(10) {
            (row.result, row.why) = (Word::Held, "loop".into());
        }
        row
    }

    fn numbers(path: &Path, wanted: Wanted) -> Vec<u64> {
        look(path, &wanted).unwrap().rows.into_iter().map(|(_, row)| row.octets).collect()
    }

    #[test]
    fn what_is_put_there_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert!(look(&path, &Wanted::default()).unwrap().rows.is_empty(), "no file, no history");
        let mut store = Store::open(&path).unwrap();
        store.add(&(0..100).map(row).collect::<Vec<_>>()).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        let whole = look(&path, &Wanted { message_id: Some("7@x.example".into()), ..Wanted::default() }).unwrap().rows;
        assert_eq!(*whole[0].1, row(7), "all of it comes back");
        let wanted = Wanted { limit: 3, ..Wanted::default() };
        assert_eq!(numbers(&path, wanted.clone()), [99, 98, 97], "the newest first");
        for (some, found) in [
            (Wanted { since: Some(98), ..wanted.clone() }, &[99, 98][..]),
            (Wanted { until: Some(2), ..wanted.clone() }, &[1, 0]),
            (Wanted { since: Some(5), until: Some(7), ..wanted.clone() }, &[6, 5]),
            (Wanted { since: Some(1_000), ..wanted.clone() }, &[]),
            (Wanted { collector: Some("c0".into()), ..wanted.clone() }, &[98, 96, 94]),
            (Wanted { result: Some("held".into()), ..wanted.clone() }, &[90, 80, 70]),
            (Wanted { result: Some("loop".into()), ..wanted.clone() }, &[90, 80, 70]),
            (Wanted { recipient: Some("BOX42@икс".into()), ..wanted.clone() }, &[42]),
            (Wanted { recipient: Some("раз@".into()), ..wanted.clone() }, &[99, 98, 97]),
            (Wanted { recipient: Some("250".into()), ..wanted.clone() }, &[]),
            (Wanted { from: Some("АННА".into()), ..wanted.clone() }, &[99, 98, 97]),
            (Wanted { from: Some("%".into()), ..wanted.clone() }, &[]),
            (Wanted { message_id: Some("<5@x.example>".into()), ..wanted.clone() }, &[5]),
            (Wanted { message_id: Some("' OR 1 --".into()), ..wanted.clone() }, &[]),
        ] {
            assert_eq!(numbers(&path, some.clone()), found, "{some:?}");
        }
        // By pages, each where the one before ended.
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = look(&path, &Wanted { limit: 7, before, collector: Some("c1".into()), ..Wanted::default() }).unwrap();
            all.extend(page.rows.iter().map(|(_, row)| row.octets));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(all, (0..50).map(|n| 99 - 2 * n).collect::<Vec<_>>());
    }

    #[test]
    fn old_rows_and_too_many_go_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut store = Store::open(&path).unwrap();
        store.add(&(0..2_500).map(row).collect::<Vec<_>>()).unwrap();
        store.prune(0, 1_000).unwrap();
        assert_eq!(store.entries, 1_500);
        store.prune(0, 1_000).unwrap();
        store.prune(0, 1_000).unwrap();
        assert_eq!((store.entries, numbers(&path, Wanted::default()).first().copied()), (1_000, Some(2_499)));
        // The time has come for what is older than this.
        store.is_due = Instant::now();
        store.prune(2_400_000, 1_000).unwrap();
        assert_eq!(store.entries, 100);
        drop(store);
        assert_eq!(Store::open(&path).unwrap().entries, 100);
    }

    #[test]
    fn a_file_that_is_broken_or_newer_hinders_nobody() {
        let limits = HistoryLimits::default();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "this is no database, and long enough to be taken for one that was".repeat(100)).unwrap();
        let history = History::open(dir.path(), limits);
        history.put(Box::new(Row { at: jiff::Timestamp::now().as_millisecond(), ..row(1) }));
        history.finish();
        assert_eq!((numbers(&path, Wanted::default()), history.entries()), (vec![1], Some(1)));
        assert!(dir.path().join("history.db.broken").exists());
        drop(history);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let history = History::open(dir.path(), limits);
        history.put(Box::new(row(2)));
        history.finish();
        assert_eq!(history.entries(), None);
        assert!(look(&path, &Wanted::default()).unwrap_err().contains("newer"));
        // None at all.
        let off = History::open(dir.path(), HistoryLimits { keep: None, ..limits });
        off.put(Box::new(row(3)));
        off.finish();
        assert!(!off.is_wanted() && off.entries().is_none());
    }

    #[test]
    fn the_queue_is_bounded_and_listeners_are_told() {
        let dir = tempfile::tempdir().unwrap();
        // In the way of the file: nothing can be written.
        std::fs::create_dir(dir.path().join(FILE)).unwrap();
        let history = History::open(dir.path(), HistoryLimits::default());
        let mut listener = history.listen();
        (0..2_000).for_each(|n| history.put(Box::new(row(n))));
        history.finish();
        assert_eq!(history.entries(), None);
        assert!(matches!(listener.try_recv(), Err(tokio::sync::broadcast::error::TryRecvError::Lagged(976))), "who is too slow is told so");
        assert_eq!(listener.try_recv().unwrap().name, "message_delivered");
    }
}
