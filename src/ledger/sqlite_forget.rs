//! The SQL of forgetting, and of its reverse. Each is one job of the writer, and so all or nothing.

use super::sqlite::Failure;
use super::sqlite_rows::{Uid, folder_row, uid_of};
use super::{Forget, Mark, Marked, Remembered};
use crate::mail::{Epoch, FolderName, MailboxId};
use rusqlite::{Connection, OptionalExtension, params};

/// Exceptions of a folder that were delivered, to some recipient at least, and are not held.
const COLLECTED: &str = "(e.state IN ('owed', 'flagged', 'held', 'held_away') OR (e.state IN ('pending', 'left') AND e.done <> '' AND NOT e.held))
    AND NOT EXISTS (SELECT 1 FROM held h JOIN folder f ON f.id = e.folder JOIN mailbox m ON m.id = f.mailbox
                    WHERE (h.protocol, h.host, h.login, h.folder, h.epoch, h.uid) = (m.protocol, m.host, m.login, f.name, f.epoch, e.uid))";
/// Those that are held.
const HELD: &str = "EXISTS (SELECT 1 FROM held h JOIN folder f ON f.id = e.folder JOIN mailbox m ON m.id = f.mailbox
                            WHERE (h.protocol, h.host, h.login, h.folder, h.epoch, h.uid) = (m.protocol, m.host, m.login, f.name, f.epoch, e.uid))";

/// Kept messages that were delivered, and are not held. What a first run left alone, and what was only marked as collected, has no fingerprint.
pub(super) const DELIVERED: &str = "fingerprint IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM held h JOIN folder f ON f.id = kept.folder JOIN mailbox m ON m.id = f.mailbox
                    WHERE (h.protocol, h.host, h.login, h.folder, h.epoch, h.uid) = (m.protocol, m.host, m.login, f.name, f.epoch, kept.uid))";

/// A folder in one epoch.
struct Row {
    id: i64,
    name: String,
    epoch: i64,
    /// No other epoch of the folder is newer.
    latest: bool,
}

fn folders(connection: &Connection, mailbox: &MailboxId, folder: Option<&FolderName>) -> Result<Vec<Row>, Failure> {
    let sql = "SELECT f.id, f.name, f.epoch, NOT EXISTS (SELECT 1 FROM folder o WHERE (o.mailbox, o.name) = (f.mailbox, f.name) AND o.id > f.id)
               FROM folder f JOIN mailbox m ON m.id = f.mailbox WHERE (m.protocol, m.host, m.login) = (?1, ?2, ?3) AND f.name = coalesce(?4, f.name)
               ORDER BY f.name, f.id";
    let mut select = connection.prepare(sql)?;
    let of = params![mailbox.protocol, mailbox.host, mailbox.login, folder.map(FolderName::as_str)];
    let rows = select.query_map(of, |row| Ok(Row { id: row.get(0)?, name: row.get(1)?, epoch: row.get(2)?, latest: row.get(3)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The UIDs of one folder that are chosen, in a table for this connection alone. Returns how many they are.
fn choose(connection: &Connection, folder: &Row, which: &Forget) -> Result<i64, Failure> {
    connection.execute_batch("CREATE TEMP TABLE IF NOT EXISTS chosen (uid PRIMARY KEY, at INTEGER) WITHOUT ROWID; DELETE FROM chosen;")?;
    if !which.uids.is_empty() && !folder.latest {
        return Ok(0);
    }
    connection
        .execute("INSERT INTO chosen SELECT uid, at FROM kept WHERE folder = ?1 AND at < coalesce(?2, at + 1)", params![folder.id, which.before])?;
    if which.before.is_none() {
        connection
            .execute(&format!("INSERT OR IGNORE INTO chosen SELECT e.uid, 0 FROM exception e WHERE e.folder = ?1 AND {COLLECTED}"), [folder.id])?;
    }
    if !which.uids.is_empty() {
        connection.execute_batch("CREATE TEMP TABLE IF NOT EXISTS named (uid PRIMARY KEY) WITHOUT ROWID; DELETE FROM named;")?;
        let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO named VALUES (?1)")?;
        for uid in &which.uids {
            insert.execute([Uid(uid)])?;
        }
        connection.execute("DELETE FROM chosen WHERE uid NOT IN (SELECT uid FROM named)", [])?;
    }
    Ok(connection.query_row("SELECT count(*) FROM chosen", [], |row| row.get(0))?)
}

pub(super) fn remembered(connection: &Connection, mailbox: &MailboxId, which: &Forget) -> Result<Vec<Remembered>, Failure> {
    let mut found: Vec<Remembered> = Vec::new();
    for folder in folders(connection, mailbox, which.folder.as_ref())? {
        let chosen = choose(connection, &folder, which)?;
        let count = |condition: &str| -> Result<u64, Failure> {
            let sql = format!("SELECT count(*) FROM exception e WHERE e.folder = ?1 AND {condition}");
            Ok(connection.query_row(&sql, [folder.id], |row| row.get::<_, i64>(0))?.cast_unsigned())
        };
        let held = count(HELD)?;
        let waiting = count("e.state IN ('pending', 'left', 'skipped') AND (e.done = '' OR e.state = 'skipped')")?;
        let same = found.last_mut().filter(|earlier| earlier.folder.as_str() == folder.name);
        let of_folder = match same {
            Some(of_folder) => of_folder,
            None => {
                let empty = Remembered {
                    folder: FolderName::new(&folder.name),
                    epoch: Epoch(0),
                    uids: Vec::new(),
                    former: 0,
                    delivered: 0,
                    held: 0,
                    waiting: 0,
                };
                found.push(empty);
                let Some(last) = found.last_mut() else { continue };
                last
            }
        };
        of_folder.held += held;
        of_folder.waiting += waiting;
        if !folder.latest {
            of_folder.former += chosen.cast_unsigned();
            continue;
        }
        of_folder.epoch = Epoch((folder.epoch & 0xffff_ffff) as u32);
        let sql = format!(
            "SELECT (SELECT count(*) FROM kept WHERE folder = ?1 AND {DELIVERED} AND uid IN (SELECT uid FROM chosen))
                  + (SELECT count(*) FROM exception WHERE folder = ?1 AND state = 'owed' AND uid IN (SELECT uid FROM chosen))"
        );
        of_folder.delivered = connection.query_row(&sql, [folder.id], |row| row.get::<_, i64>(0))?.cast_unsigned();
        let mut select = connection.prepare("SELECT uid FROM chosen ORDER BY uid")?;
        of_folder.uids = select.query_map([], |row| uid_of(row, 0))?.collect::<Result<_, _>>()?;
    }
    Ok(found)
}

pub(super) fn forget(connection: &Connection, mailbox: &MailboxId, which: &Forget, now: i64) -> Result<u64, Failure> {
    let mut forgotten = 0;
    // Never the same time twice: a target that took the message before, and after it was forgotten for the first time, is to take it once more.
    let sql = "SELECT max(?4, forgotten + 1) FROM mailbox WHERE (protocol, host, login) = (?1, ?2, ?3)";
    let of_mailbox = params![mailbox.protocol, mailbox.host, mailbox.login, now];
    let now: i64 = connection.query_row(sql, of_mailbox, |row| row.get(0)).optional()?.unwrap_or(now);
    for folder in folders(connection, mailbox, which.folder.as_ref())? {
        forgotten += choose(connection, &folder, which)?;
        // Its hashes stay: should the server name it anew before it is fetched, it is still the forgotten one.
        let of = params![folder.id, now];
        let sql = "UPDATE exception SET state = 'pending', tries = 0, first = 0, next_try = 0, in_doubt = 0, done = '', reason = '', number = 0, forgotten = ?2
                   WHERE folder = ?1 AND uid IN (SELECT uid FROM chosen)";
        connection.execute(sql, of)?;
        let sql = "INSERT OR IGNORE INTO exception (folder, uid, state, fingerprint, copy, forgotten)
                   SELECT folder, uid, 'pending', fingerprint, copy, ?2 FROM kept WHERE folder = ?1 AND uid IN (SELECT uid FROM chosen)";
        connection.execute(sql, of)?;
        connection.execute("DELETE FROM kept WHERE folder = ?1 AND uid IN (SELECT uid FROM chosen)", [folder.id])?;
    }
    if forgotten > 0 {
        let sql = "UPDATE mailbox SET forgotten = ?4 WHERE (protocol, host, login) = (?1, ?2, ?3)";
        connection.execute(sql, params![mailbox.protocol, mailbox.host, mailbox.login, now])?;
    }
    Ok(forgotten.cast_unsigned())
}

pub(super) fn mark(connection: &Connection, mailbox: &MailboxId, marks: &[Mark]) -> Result<Marked, Failure> {
    let MailboxId { protocol, host, login } = mailbox;
    connection.execute("INSERT INTO mailbox (protocol, host, login) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING", params![protocol, host, login])?;
    let sql = "SELECT id FROM mailbox WHERE (protocol, host, login) = (?1, ?2, ?3)";
    let mailbox: i64 = connection.query_row(sql, params![protocol, host, login], |row| row.get(0))?;
    let mut marked = Marked::default();
    for mark in marks {
        let folder = folder_row(connection, mailbox, &mark.folder, mark.epoch)?.id;
        let mut state = connection.prepare(&format!("SELECT e.state, {HELD} FROM exception e WHERE e.folder = ?1 AND e.uid = ?2"))?;
        // Without a fingerprint, as after a first run: nobody got it, so that `delete_after` must not count its days.
        let mut keep = connection.prepare("INSERT OR IGNORE INTO kept (folder, uid, at) VALUES (?1, ?2, unixepoch())")?;
        let mut delete = connection.prepare("DELETE FROM exception WHERE folder = ?1 AND uid = ?2")?;
        let mut hold = connection.prepare("UPDATE exception SET state = 'held' WHERE folder = ?1 AND uid = ?2")?;
        for uid in &mark.uids {
            let of = params![folder, Uid(uid)];
            let known: Option<(String, bool)> = state.query_row(of, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            match known.as_ref().map(|(state, held)| (state.as_str(), *held)) {
                None => marked.marked += keep.execute(of)? as u64,
                // For some of its recipients it is in the store.
                Some(("pending" | "left", true)) => {
                    marked.given_up += hold.execute(of)? as u64;
                    marked.marked += 1;
                }
                Some(("pending" | "left" | "skipped", _)) => {
                    keep.execute(of)?;
                    marked.given_up += delete.execute(of)? as u64;
                    marked.marked += 1;
                }
                // It was collected, and is on its way out, or held.
                Some(_) => {}
            }
        }
        if mark.whole {
            // Nothing is in doubt any more either.
            connection.execute("DELETE FROM batch WHERE folder = ?1", [folder])?;
            connection.execute("UPDATE folder SET first_run = 0 WHERE id = ?1", [folder])?;
        }
    }
    Ok(marked)
}
