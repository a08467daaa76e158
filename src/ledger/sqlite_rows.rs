//! The rows of folders and their messages: what [`super::sqlite`] reads and writes about them.

use super::sqlite::Failure;
use super::{Former, FormerKey, FormerMessage, Hashes, History, Pending, State};
use crate::mail::{Epoch, Fingerprint, FolderName, KnownUidls, KnownUids, Present, RemoteUid, UidSet};
use bytes::Bytes;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use std::collections::{BTreeMap, HashMap};

/// What is known of the messages of earlier epochs of this folder.
pub(super) fn former(connection: &Connection, mailbox: i64, name: &FolderName, now: i64) -> Result<Former, Failure> {
    let others = "SELECT id FROM folder WHERE mailbox = ?1 AND name = ?2 AND id <> ?3";
    let mut former = Former::default();
    let sql = format!("SELECT fingerprint, copy, folder, uid FROM kept WHERE folder IN ({others}) AND fingerprint IS NOT NULL");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params![mailbox, name.as_str(), now])?;
    while let Some(row) = rows.next()? {
        let copy: Option<[u8; 32]> = row.get(1)?;
        former.add_kept(Fingerprint(row.get(0)?), copy.map(Fingerprint), FormerKey { folder: row.get(2)?, uid: uid_of(row, 3)? });
    }
    // What was skipped for its size is judged anew, as it was never fetched.
    let sql = format!("SELECT {EXCEPTION}, folder FROM exception WHERE folder IN ({others}) AND state <> 'skipped' ORDER BY folder, uid");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params![mailbox, name.as_str(), now])?;
    while let Some(row) = rows.next()? {
        // What was dropped from the store stays `Held`, as in its own epoch: it does not come again, and nothing may delete it, as nobody got it.
        let (uid, state, Hashes { identity, copy }) = exception(row)?;
        let key = FormerKey { folder: row.get(13)?, uid };
        if let Some(hash) = copy.or(identity) {
            former.add(FormerMessage { state, key: Some(key) }, hash);
        }
    }
    Ok(former)
}

/// Whether there are earlier epochs of this folder, and how many messages are remembered of them.
pub(super) fn earlier(connection: &Connection, mailbox: i64, name: &FolderName, now: i64) -> Result<(bool, u64), Failure> {
    let sql = "SELECT count(*) > 0, coalesce(sum(kept_count + (SELECT count(*) FROM exception WHERE exception.folder = folder.id)), 0)
               FROM folder WHERE mailbox = ?1 AND name = ?2 AND id <> ?3";
    let both = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0).cast_unsigned()));
    Ok(connection.prepare_cached(sql)?.query_row(params![mailbox, name.as_str(), now], both)?)
}

/// A folder in one epoch.
#[derive(Clone, Copy)]
pub(super) struct FolderRow {
    pub id: i64,
    pub watermark: u32,
    pub generation: u32,
    pub first_run: bool,
    pub unexpunged: u32,
    /// Kept up to date by triggers.
    pub kept_count: u64,
    pub begun: i64,
    pub compared: bool,
}

/// The folder's row; made at its first pass. A folder that was collected in an earlier epoch is not new.
pub(super) fn folder_row(connection: &Connection, mailbox: i64, folder: &FolderName, epoch: Epoch) -> Result<FolderRow, Failure> {
    let select = "SELECT id, watermark, epoch >> 32, first_run, unexpunged, kept_count, begun, compared FROM folder
                  WHERE mailbox = ?1 AND name = ?2 AND epoch & 4294967295 = ?3 ORDER BY epoch DESC LIMIT 1";
    let of = params![mailbox, folder.as_str(), epoch.0];
    let read = |row: &Row<'_>| {
        Ok(FolderRow {
            id: row.get(0)?,
            watermark: row.get(1)?,
            generation: row.get(2)?,
            first_run: row.get(3)?,
            unexpunged: row.get(4)?,
            kept_count: row.get::<_, i64>(5)?.max(0).cast_unsigned(),
            begun: row.get(6)?,
            compared: row.get(7)?,
        })
    };
    if let Some(found) = connection.prepare_cached(select)?.query_row(of, read).optional()? {
        return Ok(found);
    }
    let insert = "INSERT INTO folder (mailbox, name, epoch, first_run, begun)
                  VALUES (?1, ?2, ?3, NOT EXISTS (SELECT 1 FROM folder WHERE mailbox = ?1 AND name = ?2 AND first_run = 0),
                          coalesce((SELECT min(begun) FROM folder WHERE mailbox = ?1 AND name = ?2), unixepoch()))";
    connection.execute(insert, of)?;
    Ok(connection.prepare_cached(select)?.query_row(of, read)?)
}

/// Where the next listing of a folder may go on.
pub(super) fn cursor(connection: &Connection, folder: i64) -> Result<Option<Bytes>, Failure> {
    let cursor: Option<Vec<u8>> = connection.prepare_cached("SELECT cursor FROM folder WHERE id = ?1")?.query_row([folder], |row| row.get(0))?;
    Ok(cursor.map(Bytes::from))
}

/// Messages of a batch that nobody finished and that have no outcome may have been delivered: they become exceptions in doubt.
pub(super) fn doubt_unfinished_batch(connection: &Connection, folder: i64) -> Result<(), Failure> {
    let batch: Option<Vec<u8>> = connection.query_row("SELECT uids FROM batch WHERE folder = ?1", [folder], |row| row.get(0)).optional()?;
    let Some(batch) = batch else { return Ok(()) };
    for uid in decode_batch(&batch) {
        let settled = "SELECT EXISTS (SELECT 1 FROM kept WHERE folder = ?1 AND uid = ?2)";
        if connection.prepare_cached(settled)?.query_row(params![folder, Uid(&uid)], |row| row.get(0))? {
            continue;
        }
        let sql =
            "INSERT INTO exception (folder, uid, state, in_doubt, reason) VALUES (?1, ?2, 'pending', 1, 'the program ended during its delivery')
                   ON CONFLICT DO UPDATE SET in_doubt = in_doubt + 1, state = 'pending', next_try = 0 WHERE state NOT IN ('owed', 'flagged', 'held', 'held_away')";
        connection.prepare_cached(sql)?.execute(params![folder, Uid(&uid)])?;
    }
    connection.execute("DELETE FROM batch WHERE folder = ?1", [folder])?;
    Ok(())
}

/// `hashes` are the message's identity and which copy it is; `since` is when it was collected, if not now.
pub(super) fn keep(
    connection: &Connection,
    folder: i64,
    uid: &RemoteUid,
    hashes: [Option<Fingerprint>; 2],
    since: Option<i64>,
) -> Result<(), Failure> {
    let [identity, copy] = hashes.each_ref().map(|hash| hash.as_ref().map(|hash| hash.0.as_slice()));
    let sql = "INSERT OR REPLACE INTO kept (folder, uid, fingerprint, copy, at) VALUES (?1, ?2, ?3, ?4, coalesce(?5, unixepoch()))";
    connection.prepare_cached(sql)?.execute(params![folder, Uid(uid), identity, copy, since])?;
    connection.prepare_cached("DELETE FROM exception WHERE folder = ?1 AND uid = ?2")?.execute(params![folder, Uid(uid)])?;
    Ok(())
}

/// `hashes` are the message's identity and which copy it is; those that are not known now stay what they were.
pub(super) fn except(connection: &Connection, folder: i64, uid: &RemoteUid, state: &State, hashes: [Option<Fingerprint>; 2]) -> Result<(), Failure> {
    let none = Pending::default();
    let pending = state.before().unwrap_or(&none);
    let (word, number) = match state {
        State::Pending(_) => ("pending", 0),
        State::Owed => ("owed", 0),
        State::Flagged => ("flagged", 0),
        State::Left { rules, .. } => ("left", rules.cast_signed()),
        State::Skipped { octets } => ("skipped", octets.cast_signed()),
        State::Held => ("held", 0),
        State::HeldAway => ("held_away", 0),
        State::Kept => ("kept", 0),
    };
    let (reason, next_try) = match state {
        State::Left { reason, next_try, .. } => (reason.as_str(), *next_try),
        _ => (pending.reason.as_str(), pending.next_try),
    };
    let sql = "INSERT OR REPLACE INTO exception (folder, uid, state, tries, first, next_try, in_doubt, done, reason, number, held, forgotten,
                                                 fingerprint, copy)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?14,
                       coalesce(?12, (SELECT fingerprint FROM exception WHERE folder = ?1 AND uid = ?2)),
                       coalesce(?13, (SELECT copy FROM exception WHERE folder = ?1 AND uid = ?2)))";
    let [identity, copy] = &hashes;
    connection.prepare_cached(sql)?.execute(params![
        folder,
        Uid(uid),
        word,
        pending.tries,
        pending.first,
        next_try,
        pending.in_doubt,
        pending.done.join("\n"),
        reason,
        number,
        pending.held,
        identity.as_ref().map(|f| f.0.as_slice()),
        copy.as_ref().map(|f| f.0.as_slice()),
        pending.forgotten,
    ])?;
    Ok(())
}

/// Exceptions, and which messages they are.
type Exceptions = (BTreeMap<RemoteUid, State>, HashMap<RemoteUid, Hashes>);

pub(super) fn exceptions(connection: &Connection, folder: i64) -> Result<Exceptions, Failure> {
    let mut select = connection.prepare_cached(&format!("SELECT {EXCEPTION} FROM exception WHERE folder = ?1"))?;
    let mut rows = select.query([folder])?;
    let (mut found, mut known) = (BTreeMap::new(), HashMap::new());
    while let Some(row) = rows.next()? {
        let (uid, state, hashes) = exception(row)?;
        if hashes != Hashes::default() {
            known.insert(uid.clone(), hashes);
        }
        found.insert(uid, state);
    }
    Ok((found, known))
}

/// The columns that [`exception`] reads.
const EXCEPTION: &str = "uid, state, tries, first, next_try, in_doubt, done, reason, number, held, fingerprint, copy, forgotten";

fn exception(row: &Row<'_>) -> rusqlite::Result<(RemoteUid, State, Hashes)> {
    let word: String = row.get(1)?;
    let number: i64 = row.get(8)?;
    let done: String = row.get(6)?;
    let pending = Pending {
        tries: row.get(2)?,
        first: row.get(3)?,
        next_try: row.get(4)?,
        in_doubt: row.get(5)?,
        done: done.lines().map(str::to_owned).collect(),
        held: row.get(9)?,
        reason: row.get(7)?,
        forgotten: row.get(12)?,
    };
    let state = match word.as_str() {
        "owed" => State::Owed,
        "flagged" => State::Flagged,
        "left" => State::Left {
            reason: pending.reason.clone(),
            rules: number.cast_unsigned(),
            next_try: pending.next_try,
            before: Box::new(Pending { reason: String::new(), next_try: 0, ..pending }),
        },
        "skipped" => State::Skipped { octets: number.cast_unsigned() },
        "held" => State::Held,
        "held_away" => State::HeldAway,
        // Anything else is not final: unknown means not delivered.
        _ => State::Pending(pending),
    };
    let hash = |column| row.get::<_, Option<[u8; 32]>>(column).map(|hash| hash.map(Fingerprint));
    Ok((uid_of(row, 0)?, state, Hashes { identity: hash(10)?, copy: hash(11)? }))
}

/// Kept messages, as far as this much of the history has them.
pub(super) fn kept(connection: &Connection, folder: &FolderRow, history: History) -> Result<KnownUids, Failure> {
    let above = match history {
        History::None => return Ok(KnownUids::new()),
        History::AboveWatermark => folder.watermark,
        History::Full => 0,
    };
    let mut select = connection.prepare_cached("SELECT uid FROM kept WHERE folder = ?1 AND uid > ?2 ORDER BY uid")?;
    let mut rows = select.query(params![folder.id, above])?;
    let (mut numbers, mut uidls) = (UidSet::new(), KnownUidls::new());
    while let Some(row) = rows.next()? {
        match row.get_ref(0)? {
            ValueRef::Blob(uidl) => uidls.insert(uidl, folder.kept_count),
            _ => uid_of(row, 0)?.number().into_iter().for_each(|uid| numbers.insert(uid)),
        }
    }
    Ok(KnownUids::of(numbers, uidls))
}

/// The highest UID of what is remembered here; 0 if there is none, or if these are no numbers (POP3). Each is one step to the end of a primary key.
pub(super) fn highest(connection: &Connection, folder: i64) -> Result<u32, Failure> {
    let mut highest = 0;
    for sql in ["SELECT max(uid) FROM kept WHERE folder = ?1", "SELECT max(uid) FROM exception WHERE folder = ?1"] {
        let read = |row: &Row<'_>| Ok(if let ValueRef::Integer(uid) = row.get_ref(0)? { u32::try_from(uid).unwrap_or(0) } else { 0 });
        highest = highest.max(connection.prepare_cached(sql)?.query_row([folder], read)?);
    }
    Ok(highest)
}

/// Forgets what the listing did not find; returns how many.
pub(super) fn prune(connection: &Connection, folder: i64, present: &Present) -> Result<u64, Failure> {
    let mut pruned = 0;
    for table in ["kept", "exception"] {
        pruned += match present {
            Present::Numbers(set) => prune_gaps(connection, table, folder, set)?,
            Present::Met(_) => prune_unmet(connection, table, folder, present)?,
        };
    }
    Ok(pruned)
}

/// Goes through the gaps of the listing and not through the rows: of a large mailbox that lost a message there are a few of those.
fn prune_gaps(connection: &Connection, table: &str, folder: i64, set: &UidSet) -> Result<u64, Failure> {
    // What is no number (there is none) sorts behind all numbers, and is not touched.
    let mut delete = connection.prepare(&format!("DELETE FROM {table} WHERE folder = ?1 AND uid >= ?2 AND uid < ?3"))?;
    let (mut pruned, mut from) = (0, 0);
    for range in set.ranges() {
        let (start, end) = (i64::from(*range.start()), i64::from(*range.end()));
        if from < start {
            pruned += delete.execute(params![folder, from, start])?;
        }
        from = end + 1;
    }
    pruned += delete.execute(params![folder, from, i64::from(u32::MAX) + 1])?;
    Ok(pruned as u64)
}

fn prune_unmet(connection: &Connection, table: &str, folder: i64, present: &Present) -> Result<u64, Failure> {
    let mut select = connection.prepare(&format!("SELECT uid FROM {table} WHERE folder = ?1"))?;
    let mut rows = select.query([folder])?;
    let mut gone = Vec::new();
    while let Some(row) = rows.next()? {
        let uid = uid_of(row, 0)?;
        if !present.contains(&uid) {
            gone.push(uid);
        }
    }
    let mut delete = connection.prepare(&format!("DELETE FROM {table} WHERE folder = ?1 AND uid = ?2"))?;
    for uid in &gone {
        delete.execute(params![folder, Uid(uid)])?;
    }
    Ok(gone.len() as u64)
}

/// A UID as a SQL value.
pub(super) struct Uid<'a>(pub(super) &'a RemoteUid);

impl ToSql for Uid<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            RemoteUid::Number(uid) => ToSqlOutput::Owned(Value::Integer(i64::from(*uid))),
            RemoteUid::Opaque(uidl) => ToSqlOutput::Borrowed(ValueRef::Blob(uidl)),
        })
    }
}

pub(super) fn uid_of(row: &Row<'_>, column: usize) -> rusqlite::Result<RemoteUid> {
    match row.get_ref(column)? {
        ValueRef::Integer(uid) => u32::try_from(uid).map(RemoteUid::Number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, uid)),
        value => Ok(RemoteUid::Opaque(value.as_blob()?.into())),
    }
}

/// `n` and a sequence set for IMAP; for POP3 `o`, then each UIDL behind its length.
pub(super) fn encode_batch(batch: &[RemoteUid]) -> Vec<u8> {
    let numbers: Option<UidSet> = batch.iter().map(RemoteUid::number).collect::<Option<Vec<u32>>>().map(|uids| uids.into_iter().collect());
    if let Some(set) = numbers {
        return format!("n{set}").into_bytes();
    }
    let mut octets = vec![b'o'];
    for uid in batch {
        if let RemoteUid::Opaque(uidl) = uid {
            octets.extend_from_slice(&(uidl.len() as u32).to_be_bytes());
            octets.extend_from_slice(uidl);
        }
    }
    octets
}

fn decode_batch(octets: &[u8]) -> Vec<RemoteUid> {
    match octets.split_first() {
        Some((b'n', set)) => {
            let number = |text: &str| text.parse::<u32>().unwrap_or(0);
            let ranges = std::str::from_utf8(set).unwrap_or("").split(',').filter(|text| !text.is_empty());
            ranges
                .flat_map(|text| text.split_once(':').map_or(number(text)..=number(text), |(low, high)| number(low)..=number(high)))
                .map(RemoteUid::Number)
                .collect()
        }
        Some((b'o', mut rest)) => {
            let mut uids = Vec::new();
            while let Some((len, more)) = rest.split_first_chunk::<4>()
                && let Some((uidl, more)) = more.split_at_checked(u32::from_be_bytes(*len) as usize)
            {
                uids.push(RemoteUid::Opaque(uidl.into()));
                rest = more;
            }
            uids
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_batch_is_read_as_written(numbers in proptest::collection::btree_set(1u32..1000, 0..20), uidls in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 1..9)) {
            let batch: Vec<_> = numbers.into_iter().map(RemoteUid::Number).collect();
            prop_assert_eq!(decode_batch(&encode_batch(&batch)), batch);
            let batch: Vec<_> = uidls.into_iter().map(|u| RemoteUid::Opaque(u.into())).collect();
            prop_assert_eq!(decode_batch(&encode_batch(&batch)), batch);
        }
    }
}
