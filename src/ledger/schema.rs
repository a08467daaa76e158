//! The tables, and how an older file becomes a newer one.
//!
//! `uid` has no type on purpose: an IMAP UID is stored as an integer and sorts as one, an UIDL as a blob.

use rusqlite::Connection;

/// Each step leads from version n to n + 1; a file knows its version (`PRAGMA user_version`).
pub(super) const STEPS: &[&str] = &[
    "
    CREATE TABLE instance (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL, key BLOB NOT NULL) STRICT;
    CREATE TABLE mailbox (
        id INTEGER PRIMARY KEY, protocol TEXT NOT NULL, host TEXT NOT NULL, login TEXT NOT NULL,
        claimed_at INTEGER NOT NULL DEFAULT 0, UNIQUE (protocol, host, login)) STRICT;
    CREATE TABLE folder (
        id INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES mailbox, name TEXT NOT NULL, epoch INTEGER NOT NULL,
        watermark INTEGER NOT NULL DEFAULT 0, UNIQUE (mailbox, name, epoch)) STRICT;
    CREATE TABLE batch (folder INTEGER PRIMARY KEY REFERENCES folder, uids BLOB NOT NULL) STRICT;
    CREATE TABLE exception (
        folder INTEGER NOT NULL REFERENCES folder, uid NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
        first INTEGER NOT NULL DEFAULT 0, next_try INTEGER NOT NULL DEFAULT 0, in_doubt INTEGER NOT NULL DEFAULT 0,
        done TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '', number INTEGER NOT NULL DEFAULT 0, fingerprint BLOB,
        PRIMARY KEY (folder, uid)) WITHOUT ROWID;
    CREATE TABLE kept (folder INTEGER NOT NULL REFERENCES folder, uid NOT NULL, fingerprint BLOB, PRIMARY KEY (folder, uid)) WITHOUT ROWID;
    ",
    "
    CREATE TABLE seen (key BLOB PRIMARY KEY, trace_id BLOB NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX seen_at ON seen (at);
    CREATE TABLE held (
        id INTEGER PRIMARY KEY AUTOINCREMENT, trace_id BLOB NOT NULL UNIQUE, collector TEXT NOT NULL, protocol TEXT NOT NULL, host TEXT NOT NULL,
        login TEXT NOT NULL, folder TEXT NOT NULL, epoch INTEGER NOT NULL, uid NOT NULL, generation INTEGER NOT NULL, why TEXT NOT NULL,
        reason TEXT NOT NULL, since INTEGER NOT NULL, octets INTEGER NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL,
        header_from TEXT NOT NULL, subject TEXT NOT NULL);
    ",
];

/// Brings the file to the newest version, each step whole or not at all. Returns the version found if it is newer than ours.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<Result<(), i64>> {
    loop {
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let Ok(at) = usize::try_from(version) else { return Ok(Err(version)) };
        if at > STEPS.len() {
            return Ok(Err(version));
        }
        let Some(step) = STEPS.get(at) else { return Ok(Ok(())) };
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
}
