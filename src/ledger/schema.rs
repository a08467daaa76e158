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
    ALTER TABLE exception ADD COLUMN copy BLOB;
    ALTER TABLE exception ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE seen (key BLOB PRIMARY KEY, trace_id BLOB NOT NULL, at INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX seen_at ON seen (at);
    CREATE INDEX seen_expires ON seen (expires);
    CREATE TABLE held (
        id INTEGER PRIMARY KEY AUTOINCREMENT, trace_id BLOB NOT NULL UNIQUE, collector TEXT NOT NULL, protocol TEXT NOT NULL, host TEXT NOT NULL,
        login TEXT NOT NULL, folder TEXT NOT NULL, epoch INTEGER NOT NULL, uid NOT NULL, generation INTEGER NOT NULL, why TEXT NOT NULL,
        reason TEXT NOT NULL, since INTEGER NOT NULL, octets INTEGER NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL,
        done TEXT NOT NULL, from_journal INTEGER NOT NULL,
        header_from TEXT NOT NULL, subject TEXT NOT NULL);
    CREATE INDEX held_uid ON held (uid);
    ",
    // `epoch` is the UIDVALIDITY, and above its 32 bits how often the server has given out its UIDs anew under it.
    "
    ALTER TABLE kept ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
    UPDATE kept SET at = unixepoch();
    CREATE INDEX kept_at ON kept (folder, at);
    ALTER TABLE folder ADD COLUMN first_run INTEGER NOT NULL DEFAULT 1;
    UPDATE folder SET first_run = 0;
    ALTER TABLE folder ADD COLUMN unexpunged INTEGER NOT NULL DEFAULT 0;
    ",
    // SQLite counts rows by walking through them: a poll that finds nothing new would read an index as long as the mailbox.
    "
    ALTER TABLE folder ADD COLUMN kept_count INTEGER NOT NULL DEFAULT 0;
    UPDATE folder SET kept_count = (SELECT count(*) FROM kept WHERE kept.folder = folder.id);
    CREATE TRIGGER kept_one_more AFTER INSERT ON kept BEGIN UPDATE folder SET kept_count = kept_count + 1 WHERE id = NEW.folder; END;
    CREATE TRIGGER kept_one_less AFTER DELETE ON kept BEGIN UPDATE folder SET kept_count = kept_count - 1 WHERE id = OLD.folder; END;
    ",
    "
    ALTER TABLE exception ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE mailbox ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
    ",
    "ALTER TABLE folder ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE kept ADD COLUMN copy BLOB;",
    // What ages is what was delivered: not to walk past all that a first run left alone, in each pass.
    "
    DROP INDEX kept_at;
    CREATE INDEX kept_aged ON kept (folder, at) WHERE fingerprint IS NOT NULL;
    ",
    // A state of the step before says it by the sign.
    "
    ALTER TABLE folder ADD COLUMN compared INTEGER NOT NULL DEFAULT 0;
    UPDATE folder SET compared = 1, begun = abs(begun) WHERE begun < 0;
    ",
    "ALTER TABLE folder ADD COLUMN cursor BLOB;",
];

/// The first version with held mail.
pub(super) const WITH_HELD: i64 = 2;

/// Brings the file to the newest version, each step whole or not at all. Returns the version found if it is newer than ours.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<Result<(), i64>> {
    migrate_by(connection, STEPS)
}

fn migrate_by(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<Result<(), i64>> {
    loop {
        let version = version(connection)?;
        if usize::try_from(version).is_ok_and(|at| at == steps.len()) {
            return Ok(Ok(()));
        }
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        // Asked again under the lock: another process may have done this step meanwhile.
        if self::version(&transaction)? != version {
            continue;
        }
        let Some(step) = usize::try_from(version).ok().and_then(|at| steps.get(at)) else { return Ok(Err(version)) };
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let mut select =
            connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_step_is_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let mut connection = Connection::open(&path).unwrap();
        migrate_by(&mut connection, &STEPS[..1]).unwrap().unwrap();
        let before = tables(&connection);
        // The second step fails at its last statement: what it had made by then is gone again, and the version is the old one.
        let broken = format!("{} CREATE TABLE mailbox (id INTEGER);", STEPS[1]);
        assert!(migrate_by(&mut connection, &[STEPS[0], &broken]).is_err());
        assert_eq!((tables(&connection), version(&connection).unwrap()), (before.clone(), 1));
        // The same by a crash before the commit: the file is opened anew while its log has half a step.
        connection.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE").unwrap();
        connection.execute_batch(STEPS[1]).unwrap();
        let crashed = dir.path().join("crashed.db");
        for end in ["", "-wal"] {
            std::fs::copy(format!("{}{end}", path.display()), format!("{}{end}", crashed.display())).unwrap();
        }
        let mut connection = Connection::open(&crashed).unwrap();
        assert_eq!((tables(&connection), version(&connection).unwrap()), (before, 1));
        migrate_by(&mut connection, STEPS).unwrap().unwrap();
        assert_eq!(version(&connection).unwrap(), STEPS.len() as i64);
        assert!(tables(&connection).iter().any(|name| name == "held"));
        assert_eq!(migrate_by(&mut connection, &STEPS[..1]).unwrap(), Err(STEPS.len() as i64), "a newer file");
    }

    #[test]
    fn two_processes_may_migrate_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let open = || {
            let connection = Connection::open(&path).unwrap();
            connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
            connection
        };
        open().execute_batch("PRAGMA journal_mode = WAL").unwrap();
        let threads: Vec<_> =
            (0..4).map(|_| open()).map(|mut connection| std::thread::spawn(move || migrate(&mut connection).unwrap().unwrap())).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(version(&open()).unwrap(), STEPS.len() as i64);
    }
}
