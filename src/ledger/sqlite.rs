//! The ledger in a SQLite file: one thread writes, what arrives while it waits for the disk is its next transaction (group commit).
//!
//! WAL with `synchronous=FULL`: a commit that returned survives a power cut (<https://sqlite.org/pragma.html#pragma_synchronous>). An fsync a
//! row would manage some hundred rows a second; a group manages tens of thousands.

use super::sqlite_rows::{
    FolderRow, Uid, cursor, doubt_unfinished_batch, earlier, encode_batch, except, exceptions, folder_row, former, highest, keep, kept, prune,
};
use super::{
    AtSource, Claim, Entry, Finished, Forget, HeldEnd, HeldId, HeldMail, HeldTotal, History, Instance, Ledger, LedgerError, Mark, Marked, Place,
    Progress, Remembered, SEEN_MAX, Seen, SeenKey, State, schema, sqlite_forget, sqlite_held,
};
use crate::mail::{Epoch, FolderName, MailboxId, Present, RemoteUid, TraceId};
use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::collections::HashMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait for the writer; more wait in their callers.
const QUEUE_MAX: usize = 4096;
/// Most writes of one transaction.
const GROUP_MAX: usize = 4096;
/// How long another process may hold the file (a backup, the `sqlite3` shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The embedded ledger. Dropping it waits for its writes and closes the file in order, so that no `-wal` is left to grow from run to run.
pub struct SqliteLedger {
    path: PathBuf,
    /// `None` only while it is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    claims: Claims,
    /// A second connection for look-ups, opened at the first.
    reader: Arc<Mutex<Option<Connection>>>,
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        // The writer closes last: whoever does folds the -wal into the file.
        drop(self.reader.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The newest token of each mailbox. One process holds a state directory (flock), so that claims need not be in the file: a poll that finds
/// nothing new writes nothing.
#[derive(Clone, Default)]
struct Claims(Arc<Mutex<HashMap<i64, i64>>>);

impl Claims {
    fn take(&self, mailbox: i64) -> Claim {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.entry(mailbox).or_default();
        *token += 1;
        Claim { mailbox, token: *token }
    }

    /// Every write checks that no later pass claimed the mailbox.
    fn check(&self, claim: Claim) -> Result<(), Failure> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.get(&claim.mailbox) == Some(&claim.token) { Ok(()) } else { Err(Failure::Fenced) }
    }
}

/// One write: applied inside the group's transaction, or told why there is none; and told after the commit how that went.
type Job = Box<dyn FnOnce(Result<&Connection, LedgerError>) -> Told + Send>;
type Told = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

impl SqliteLedger {
    /// Opens or makes the file, readable by its owner only. Blocks on the disk.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_patient(path, BUSY_TIMEOUT)
    }

    /// The same, waiting as long as this for a file that another process holds.
    fn open_patient(path: &Path, busy_timeout: Duration) -> Result<Self, LedgerError> {
        let failed = |error: &dyn std::fmt::Display| store_error(path, error);
        // Made by us first, so that it never is readable by others, not even for a moment; SQLite gives -wal and -shm the same mode.
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|error| failed(&error))?;
        let mut connection = Connection::open(path).map_err(|error| failed(&error))?;
        let set_up = |connection: &mut Connection| {
            connection.busy_timeout(busy_timeout)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", false)?;
            // What REPLACE removes is counted too.
            connection.pragma_update(None, "recursive_triggers", true)?;
            connection.set_prepared_statement_cache_capacity(64);
            schema::migrate(connection)
        };
        if let Err(found) = set_up(&mut connection).map_err(|error| failed(&error))? {
            return Err(LedgerError::Newer { path: path.display().to_string(), found, known: schema::STEPS.len() as i64 });
        }
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let writer_path = path.to_owned();
        let write = move || write_all(&writer_path, connection, queue);
        let writer = std::thread::Builder::new().name("ledger".into()).spawn(write).map_err(|error| failed(&error))?;
        Ok(SqliteLedger { path: path.into(), jobs: Some(jobs), writer: Some(writer), claims: Claims::default(), reader: Arc::default() })
    }

    /// Runs `apply` in the next group; resolves when the group is durable.
    async fn write<T: Send + 'static>(&self, apply: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let path = self.path.clone();
        let job: Job = Box::new(move |connection| {
            let result = connection.and_then(|connection| in_savepoint(connection, apply).map_err(|failure| failure.named(&path)));
            Box::new(move |committed| {
                let _ = answer.send(committed.and(result));
            })
        });
        let gone = || store_error(&self.path, &"the write was not done, as the ledger's thread has ended; see the log");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Runs `look` on the reader's own connection: it sees what was committed, and waits for no fsync.
    async fn read<T: Send + 'static>(&self, look: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static) -> Result<T, LedgerError> {
        let (reader, path) = (Arc::clone(&self.reader), self.path.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let open = || -> rusqlite::Result<Connection> {
                let connection = Connection::open(&path)?;
                connection.busy_timeout(BUSY_TIMEOUT)?;
                connection.pragma_update(None, "query_only", true)?;
                Ok(connection)
            };
            let connection = match &mut *reader {
                Some(connection) => connection,
                none => none.insert(open().map_err(|error| store_error(&path, &error))?),
            };
            look(connection).map_err(|failure| failure.named(&path))
        });
        looked.await.map_err(|error| store_error(&self.path, &error))?
    }
}

/// All held mail, oldest first, as it stands in the file at `path`: read only, and beside the process that holds it. A file that is not there, or
/// that was written before there was held mail, holds none.
pub fn look_at_held(path: &Path) -> Result<Vec<(HeldMail, AtSource)>, LedgerError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let look = || -> Result<Result<Vec<(HeldMail, AtSource)>, i64>, Failure> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // One transaction: the rows and what is known about their copies are of one moment.
        connection.execute_batch("BEGIN")?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > schema::STEPS.len() as i64 {
            return Ok(Err(version));
        }
        if version < schema::WITH_HELD {
            return Ok(Ok(Vec::new()));
        }
        let with_copy = |mail| sqlite_held::at_source(&connection, &mail).map(|copy| (mail, copy));
        sqlite_held::all(&connection)?.into_iter().map(with_copy).collect::<Result<_, _>>().map(Ok)
    };
    let newer = |found| LedgerError::Newer { path: path.display().to_string(), found, known: schema::STEPS.len() as i64 };
    look().map_err(|failure| failure.named(path))?.map_err(newer)
}

/// How many messages of a mailbox are remembered as collected, and how many are held: read only, and beside the process that holds the file.
pub fn look_at_memory(path: &Path, mailbox: &MailboxId) -> Result<(u64, u64), LedgerError> {
    if !path.exists() {
        return Ok((0, 0));
    }
    let look = || -> Result<Result<(u64, u64), i64>, Failure> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version != schema::STEPS.len() as i64 {
            return Ok(Err(version));
        }
        let folders = sqlite_forget::remembered(&connection, mailbox, &super::Forget::default())?;
        let held = folders.iter().map(|folder| folder.held).sum();
        Ok(Ok((folders.iter().map(super::Remembered::forgets).sum(), held)))
    };
    let other = |found: i64| store_error(path, &format!("it has form {found}, and this program knows {}", schema::STEPS.len()));
    look().map_err(|failure| failure.named(path))?.map_err(other)
}

/// The writer's life: a group of jobs, one transaction, then the answers.
fn write_all(path: &Path, connection: Connection, mut queue: mpsc::Receiver<Job>) {
    let connection = &connection;
    while let Some(first) = queue.blocking_recv() {
        let failed = |error: rusqlite::Error| {
            tracing::error!(event = "ledger_failed", path = %path.display(), error = %error);
            store_error(path, &error)
        };
        // If no transaction can begin, all that waited meanwhile fails with it: each for itself would wait for the file all over again.
        let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(failed);
        let transaction = || begun.clone().map(|()| connection);
        let mut told = vec![first(transaction())];
        while told.len() < GROUP_MAX
            && let Ok(job) = queue.try_recv()
        {
            told.push(job(transaction()));
        }
        let committed = begun.and_then(|()| connection.execute_batch("COMMIT").map_err(failed));
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        told.into_iter().for_each(|tell| tell(committed.clone()));
    }
}

/// A job that fails half-way leaves nothing in the group's transaction.
fn in_savepoint<T>(connection: &Connection, apply: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
    connection.execute_batch("SAVEPOINT job")?;
    let result = apply(connection);
    connection.execute_batch(if result.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" })?;
    result
}

/// A failure inside a job, before it knows the file's name.
pub(super) enum Failure {
    Fenced,
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sql(error)
    }
}

impl Failure {
    fn named(self, path: &Path) -> LedgerError {
        match self {
            Failure::Fenced => LedgerError::Fenced,
            Failure::Sql(error) => store_error(path, &error),
        }
    }
}

/// SQLite says that there is no room, or, where a quota is used up, no more than that a write failed: how much is free tells the operator.
fn store_error(path: &Path, error: &dyn std::fmt::Display) -> LedgerError {
    let mut text = error.to_string();
    if text.contains("database or disk is full") {
        text = crate::disk::full(path);
    } else if ["No space left on device", "Disk quota exceeded"].iter().any(|full| text.contains(full)) {
        text = format!("{text}: {}", crate::disk::full(path));
    } else if text.contains("disk I/O error") {
        text = format!("{text} ({})", crate::disk::free(path));
    }
    LedgerError::Store { path: path.display().to_string(), text }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn instance(&self) -> Result<Instance, LedgerError> {
        self.write(|connection| {
            // SQLite's randomblob comes from a generator seeded by the system's.
            connection.execute("INSERT INTO instance (one, id, key) VALUES (1, randomblob(16), randomblob(32)) ON CONFLICT DO NOTHING", [])?;
            Ok(connection.query_row("SELECT id, key FROM instance", [], |row| Ok(Instance { id: row.get(0)?, key: row.get(1)? }))?)
        })
        .await
    }

    async fn claim(&self, mailbox: &MailboxId) -> Result<Claim, LedgerError> {
        let MailboxId { protocol, host, login } = mailbox.clone();
        let claims = self.claims.clone();
        self.write(move |connection| {
            let known = "SELECT id FROM mailbox WHERE protocol = ?1 AND host = ?2 AND login = ?3 AND claimed_at > unixepoch() - 86400";
            let known = connection.prepare_cached(known)?.query_row(params![protocol, host, login], |row| row.get(0)).optional()?;
            let mailbox = match known {
                Some(mailbox) => mailbox,
                None => {
                    // The day is enough to tell which mailboxes nobody collects any more.
                    let sql = "INSERT INTO mailbox (protocol, host, login, claimed_at) VALUES (?1, ?2, ?3, unixepoch())
                               ON CONFLICT (protocol, host, login) DO UPDATE SET claimed_at = unixepoch() RETURNING id";
                    connection.query_row(sql, params![protocol, host, login], |row| row.get(0))?
                }
            };
            Ok(claims.take(mailbox))
        })
        .await
    }

    async fn progress(&self, claim: &Claim, folder: &FolderName, epoch: Epoch, history: History) -> Result<Progress, LedgerError> {
        let (claim, folder, claims) = (*claim, folder.clone(), self.claims.clone());
        self.write(move |connection| {
            claims.check(claim)?;
            let row = folder_row(connection, claim.mailbox, &folder, epoch)?;
            let FolderRow { id, watermark, generation, first_run, unexpunged, kept_count, begun, compared } = row;
            let cursor = cursor(connection, id)?;
            doubt_unfinished_batch(connection, id)?;
            let (exceptions, hashes) = exceptions(connection, id)?;
            let kept = kept(connection, &row, history)?;
            let highest = watermark.max(highest(connection, id)?);
            let former = former(connection, claim.mailbox, &folder, id)?;
            let (has_earlier, earlier_count) = earlier(connection, claim.mailbox, &folder, id)?;
            let place = Place { claim, folder: id };
            Ok(Progress {
                place,
                generation,
                first_run,
                unexpunged,
                begun,
                compared,
                has_earlier,
                earlier_count,
                watermark,
                cursor,
                highest,
                exceptions,
                kept,
                kept_count,
                hashes,
                former,
            })
        })
        .await
    }

    async fn begin(&self, place: &Place, batch: &[RemoteUid]) -> Result<(), LedgerError> {
        let (place, uids, claims) = (*place, encode_batch(batch), self.claims.clone());
        self.write(move |connection| {
            claims.check(place.claim)?;
            connection.prepare_cached("INSERT OR REPLACE INTO batch (folder, uids) VALUES (?1, ?2)")?.execute(params![place.folder, uids])?;
            Ok(())
        })
        .await
    }

    async fn record(&self, place: &Place, entry: Entry) -> Result<(), LedgerError> {
        let (place, claims) = (*place, self.claims.clone());
        self.write(move |connection| {
            claims.check(place.claim)?;
            let mut since: Option<i64> = None;
            if let Some(former) = &entry.former {
                sqlite_held::follow(connection, former, place.folder, &entry.uid)?;
                let (of, sql) = (params![former.folder, Uid(&former.uid)], "DELETE FROM exception WHERE folder = ?1 AND uid = ?2");
                connection.prepare_cached(sql)?.execute(of)?;
                let sql = "DELETE FROM kept WHERE folder = ?1 AND uid = ?2 RETURNING at";
                since = connection.prepare_cached(sql)?.query_row(of, |row| row.get(0)).optional()?;
            }
            match &entry.state {
                State::Kept => keep(connection, place.folder, &entry.uid, [entry.identity, entry.copy], since)?,
                state => except(connection, place.folder, &entry.uid, state, [entry.identity, entry.copy])?,
            }
            sqlite_held::remember(connection, &entry.seen)?;
            sqlite_held::note_done(connection, place.folder, &entry.uid, &entry.had)?;
            entry.held.map_or(Ok(()), |held| sqlite_held::hold(connection, &held, place.folder))
        })
        .await
    }

    async fn finish(&self, place: &Place, finished: Finished) -> Result<(), LedgerError> {
        let (place, claims) = (*place, self.claims.clone());
        self.write(move |connection| {
            claims.check(place.claim)?;
            for uid in finished.deleted.iter().chain(&finished.vanished) {
                connection.prepare_cached("DELETE FROM exception WHERE folder = ?1 AND uid = ?2")?.execute(params![place.folder, Uid(uid)])?;
                connection.prepare_cached("DELETE FROM kept WHERE folder = ?1 AND uid = ?2")?.execute(params![place.folder, Uid(uid)])?;
            }
            for uid in &finished.flagged {
                connection
                    .prepare_cached("UPDATE exception SET state = 'flagged' WHERE folder = ?1 AND uid = ?2")?
                    .execute(params![place.folder, Uid(uid)])?;
            }
            for uid in &finished.kept {
                let sql = "INSERT OR REPLACE INTO kept (folder, uid, fingerprint, copy, at)
                           SELECT folder, uid, fingerprint, copy, unixepoch() FROM exception WHERE folder = ?1 AND uid = ?2";
                connection.prepare_cached(sql)?.execute(params![place.folder, Uid(uid)])?;
                connection.prepare_cached("DELETE FROM exception WHERE folder = ?1 AND uid = ?2")?.execute(params![place.folder, Uid(uid)])?;
            }
            if let Some(watermark) = finished.watermark {
                connection
                    .prepare_cached("UPDATE folder SET watermark = max(watermark, ?2) WHERE id = ?1")?
                    .execute(params![place.folder, watermark])?;
            }
            if let Some(cursor) = &finished.cursor {
                connection.prepare_cached("UPDATE folder SET cursor = ?2 WHERE id = ?1")?.execute(params![place.folder, &cursor[..]])?;
            }
            if finished.compared {
                connection.execute("UPDATE folder SET compared = 1 WHERE id = ?1", [place.folder])?;
            }
            if finished.first_run_over {
                connection.execute("UPDATE folder SET first_run = 0 WHERE id = ?1", [place.folder])?;
            }
            if let Some(unexpunged) = finished.unexpunged {
                connection.execute("UPDATE folder SET unexpunged = ?2 WHERE id = ?1", params![place.folder, unexpunged])?;
            }
            connection.prepare_cached("DELETE FROM batch WHERE folder = ?1")?.execute([place.folder])?;
            Ok(())
        })
        .await
    }

    async fn collected(&self, place: &Place, uids: &[RemoteUid]) -> Result<(), LedgerError> {
        let (place, uids, claims) = (*place, uids.to_vec(), self.claims.clone());
        self.write(move |connection| {
            claims.check(place.claim)?;
            // What is an exception was tried, and is no message that a first run leaves alone.
            let sql = "INSERT OR IGNORE INTO kept (folder, uid, at) SELECT ?1, ?2, unixepoch()
                       WHERE NOT EXISTS (SELECT 1 FROM exception WHERE folder = ?1 AND uid = ?2)";
            let mut insert = connection.prepare_cached(sql)?;
            for uid in &uids {
                insert.execute(params![place.folder, Uid(uid)])?;
            }
            Ok(())
        })
        .await
    }

    async fn owe_aged(&self, place: &Place, before: i64, limit: usize) -> Result<u64, LedgerError> {
        let (place, claims) = (*place, self.claims.clone());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(move |connection| {
            claims.check(place.claim)?;
            // What a first run left alone has no fingerprint: it was never delivered, and nothing that was not delivered is ever deleted.
            owe(connection, &place, "fingerprint IS NOT NULL", before, limit)
        })
        .await
    }

    async fn owe_kept(&self, place: &Place, limit: usize) -> Result<u64, LedgerError> {
        let (place, claims) = (*place, self.claims.clone());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(move |connection| {
            claims.check(place.claim)?;
            owe(connection, &place, sqlite_forget::DELIVERED, i64::MAX, limit)
        })
        .await
    }

    async fn renumber(&self, place: &Place) -> Result<(), LedgerError> {
        let (place, claims) = (*place, self.claims.clone());
        self.write(move |connection| {
            claims.check(place.claim)?;
            let sql = "INSERT INTO folder (mailbox, name, epoch, first_run, unexpunged, begun)
                       SELECT mailbox, name, epoch + 4294967296, first_run, unexpunged, begun FROM folder WHERE id = ?1 ON CONFLICT DO NOTHING";
            connection.execute(sql, [place.folder])?;
            Ok(())
        })
        .await
    }

    async fn prune(&self, place: &Place, present: &Present) -> Result<u64, LedgerError> {
        let (place, present, claims) = (*place, present.clone(), self.claims.clone());
        self.write(move |connection| {
            claims.check(place.claim)?;
            prune(connection, place.folder, &present)
        })
        .await
    }

    async fn forget_former(&self, place: &Place) -> Result<(), LedgerError> {
        let (place, claims) = (*place, self.claims.clone());
        self.write(move |connection| {
            claims.check(place.claim)?;
            let unfetched =
                "SELECT EXISTS (SELECT 1 FROM exception WHERE folder = ?1 AND state = 'pending' AND fingerprint IS NULL AND copy IS NULL)";
            if connection.query_row(unfetched, [place.folder], |row| row.get(0))? {
                return Ok(());
            }
            let former =
                "SELECT f.id FROM folder f JOIN folder now ON f.mailbox = now.mailbox AND f.name = now.name AND f.id <> now.id WHERE now.id = ?1";
            for table in ["kept", "exception", "batch"] {
                connection.execute(&format!("DELETE FROM {table} WHERE folder IN ({former})"), [place.folder])?;
            }
            connection.execute(&format!("DELETE FROM folder WHERE id IN ({former})"), [place.folder])?;
            Ok(())
        })
        .await
    }

    async fn remembered(&self, mailbox: &MailboxId, which: &Forget) -> Result<Vec<Remembered>, LedgerError> {
        let (mailbox, which) = (mailbox.clone(), which.clone());
        // By the writer, because what is chosen goes to a table of its connection.
        self.write(move |connection| sqlite_forget::remembered(connection, &mailbox, &which)).await
    }

    async fn forget(&self, mailbox: &MailboxId, which: &Forget, now: i64) -> Result<u64, LedgerError> {
        let (mailbox, which) = (mailbox.clone(), which.clone());
        self.write(move |connection| sqlite_forget::forget(connection, &mailbox, &which, now)).await
    }

    async fn mark_collected(&self, mailbox: &MailboxId, marks: &[Mark]) -> Result<Marked, LedgerError> {
        let (mailbox, marks) = (mailbox.clone(), marks.to_vec());
        self.write(move |connection| sqlite_forget::mark(connection, &mailbox, &marks)).await
    }

    async fn seen(&self, keys: &[SeenKey], since: i64) -> Result<Vec<Option<TraceId>>, LedgerError> {
        let keys = keys.to_vec();
        self.read(move |connection| keys.iter().map(|key| sqlite_held::seen(connection, key, since)).collect()).await
    }

    async fn prune_seen(&self, now: i64) -> Result<u64, LedgerError> {
        self.write(move |connection| sqlite_held::prune_seen(connection, now, SEEN_MAX)).await
    }

    async fn forget_seen(&self, keys: &[SeenKey]) -> Result<(), LedgerError> {
        let keys = keys.to_vec();
        self.write(move |connection| keys.iter().try_for_each(|key| sqlite_held::forget(connection, key))).await
    }

    async fn held(&self) -> Result<Vec<HeldMail>, LedgerError> {
        // Mostly there is none, and a connection of the reader's costs more than the question.
        if !self.write(sqlite_held::is_any).await? {
            return Ok(Vec::new());
        }
        self.read(sqlite_held::all).await
    }

    async fn held_totals(&self) -> Result<Vec<HeldTotal>, LedgerError> {
        self.read(sqlite_held::totals).await
    }

    async fn held_octets(&self) -> Result<u64, LedgerError> {
        self.read(sqlite_held::octets).await
    }

    async fn held_rest(&self, id: HeldId, recipients: &[String], done: &[String], seen: &[Seen]) -> Result<(), LedgerError> {
        let (recipients, done, seen) = (recipients.to_vec(), done.to_vec(), seen.to_vec());
        self.write(move |connection| {
            sqlite_held::remember(connection, &seen)?;
            sqlite_held::rest(connection, id, &recipients, &done)
        })
        .await
    }

    async fn held_end(&self, id: HeldId, end: HeldEnd) -> Result<bool, LedgerError> {
        self.write(move |connection| sqlite_held::end(connection, id, &end)).await
    }
}

/// Makes kept messages owed that are `which`, at most `limit`, the oldest first. Returns how many.
fn owe(connection: &Connection, place: &Place, which: &str, before: i64, limit: i64) -> Result<u64, Failure> {
    let chosen = format!("SELECT uid FROM kept WHERE folder = ?1 AND at < ?2 AND {which} ORDER BY at LIMIT ?3");
    let sql = format!(
        "INSERT OR IGNORE INTO exception (folder, uid, state, fingerprint, copy)
         SELECT folder, uid, 'owed', fingerprint, copy FROM kept WHERE folder = ?1 AND uid IN ({chosen})"
    );
    let owed = connection.execute(&sql, params![place.folder, before, limit])?;
    connection.execute(&format!("DELETE FROM kept WHERE folder = ?1 AND uid IN ({chosen})"), params![place.folder, before, limit])?;
    Ok(owed as u64)
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
