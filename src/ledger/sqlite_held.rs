//! The SQL of held mail, and of the deliveries by which duplicates are known.

use super::sqlite::Failure;
use super::sqlite_rows::{Uid, except, keep, uid_of};
use super::{AtSource, FormerKey, HeldEnd, HeldId, HeldMail, HeldTotal, HeldWhy, Seen, SeenKey, State};
use crate::mail::{CollectorId, Epoch, Fingerprint, FolderName, MailboxId, MessageKey, RemoteUid, TraceId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

pub(super) fn remember(connection: &Connection, seen: &[Seen]) -> Result<(), Failure> {
    for Seen { key, trace_id, at, expires } in seen {
        // The latest delivery is the one that is known: its id and its time belong together. It is remembered for as long as anybody asked for.
        let sql = "INSERT INTO seen (key, trace_id, at, expires) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET
                       trace_id = iif(excluded.at >= at, excluded.trace_id, trace_id), at = max(at, excluded.at), expires = max(expires, excluded.expires)";
        connection.prepare_cached(sql)?.execute(params![key.0, trace_id.0, at, expires])?;
    }
    Ok(())
}

pub(super) fn seen(connection: &Connection, key: &SeenKey, since: i64) -> Result<Option<TraceId>, Failure> {
    let mut select = connection.prepare_cached("SELECT trace_id FROM seen WHERE key = ?1 AND at >= ?2")?;
    Ok(select.query_row(params![key.0, since], |row| row.get(0)).optional()?.map(TraceId))
}

/// The keys are hashes: each first octet is that of about so many-th of them.
const PARTS: u64 = 256;

/// Forgets what has expired by `now`, and the oldest beyond `most`.
pub(super) fn prune_seen(connection: &Connection, now: i64, most: u64) -> Result<u64, Failure> {
    let mut gone = connection.execute("DELETE FROM seen WHERE expires < ?1", [now])?;
    // SQLite counts by walking through all of them: a part tells whether there can be too many.
    let part: i64 = connection.query_row("SELECT count(*) FROM seen WHERE key < x'01'", [], |row| row.get(0))?;
    if part.cast_unsigned() < most / PARTS / 2 {
        return Ok(gone as u64);
    }
    let count: i64 = connection.query_row("SELECT count(*) FROM seen", [], |row| row.get(0))?;
    let surplus = count.saturating_sub_unsigned(most);
    if surplus > 0 {
        gone += connection.execute("DELETE FROM seen WHERE key IN (SELECT key FROM seen ORDER BY at LIMIT ?1)", [surplus])?;
    }
    Ok(gone as u64)
}

/// Whether any mail is held.
pub(super) fn is_any(connection: &Connection) -> Result<bool, Failure> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM held)", [], |row| row.get(0))?)
}

pub(super) fn forget(connection: &Connection, key: &SeenKey) -> Result<(), Failure> {
    connection.prepare_cached("DELETE FROM seen WHERE key = ?1")?.execute([key.0])?;
    Ok(())
}

/// Holding the same message again (a crash came between) updates its row and keeps its number: the row then tells of the file that was
/// written last, its size included, or the file could not be taken for whole any more.
/// `folder` is where it was collected: its epoch tells how often the server has given out its UIDs anew.
pub(super) fn hold(connection: &Connection, mail: &HeldMail, folder: i64) -> Result<(), Failure> {
    let sql = "INSERT INTO held (trace_id, collector, protocol, host, login, folder, epoch, uid, generation, why, reason, since, octets, sender, recipients,
                                 done, from_journal, header_from, subject)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7 + coalesce((SELECT epoch >> 32 << 32 FROM folder WHERE id = ?20), 0), ?8, ?9, ?10, ?11, ?12,
                       ?13, ?14, ?15, ?16, ?17, ?18, ?19)
               ON CONFLICT (trace_id) DO UPDATE SET collector = excluded.collector, why = excluded.why, reason = excluded.reason,
                   since = excluded.since, octets = excluded.octets, sender = excluded.sender, recipients = excluded.recipients, done = excluded.done,
                   from_journal = excluded.from_journal, header_from = excluded.header_from, subject = excluded.subject";
    // Held before for others of its recipients, and not released yet: it is for all of them.
    let mut select = connection.prepare_cached("SELECT recipients, done FROM held WHERE trace_id = ?1")?;
    let earlier: Option<(String, String)> = select.query_row([mail.trace_id.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (recipients, done) = earlier.unwrap_or_default();
    let recipients = united(lines(&recipients), &mail.recipients);
    let done = without(united(lines(&done), &mail.done), &recipients);
    let key = &mail.key;
    connection.prepare_cached(sql)?.execute(params![
        mail.trace_id.0,
        key.collector.as_str(),
        key.mailbox.protocol,
        key.mailbox.host,
        key.mailbox.login,
        key.folder.as_str(),
        key.epoch.0,
        Uid(&key.uid),
        key.generation,
        mail.why.code(),
        mail.reason,
        mail.since,
        mail.octets.cast_signed(),
        mail.sender,
        recipients.join("\n"),
        done.join("\n"),
        mail.from_journal,
        mail.from,
        mail.subject,
        folder,
    ])?;
    Ok(())
}

/// These have the message by now; the rows about it say so, but for those whom it is held for.
pub(super) fn note_done(connection: &Connection, folder: i64, uid: &RemoteUid, had: &[String]) -> Result<(), Failure> {
    if had.is_empty() {
        return Ok(());
    }
    for id in rows_of(connection, folder, uid)? {
        let both = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let (recipients, done) = connection.query_row("SELECT recipients, done FROM held WHERE id = ?1", [id], both)?;
        let done = without(united(lines(&done), had), &lines(&recipients));
        connection.execute("UPDATE held SET done = ?2 WHERE id = ?1", params![id, done.join("\n")])?;
    }
    Ok(())
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn united(mut some: Vec<String>, more: &[String]) -> Vec<String> {
    for one in more {
        if !some.contains(one) {
            some.push(one.clone());
        }
    }
    some
}

fn without(mut some: Vec<String>, these: &[String]) -> Vec<String> {
    some.retain(|one| !these.contains(one));
    some
}

/// The rows about the message that has this UID in this folder: more than one where it was held again after a change of UIDVALIDITY.
pub(super) fn rows_of(connection: &Connection, folder: i64, uid: &RemoteUid) -> Result<Vec<i64>, Failure> {
    let sql = "SELECT h.id FROM held h JOIN mailbox m ON (m.protocol, m.host, m.login) = (h.protocol, h.host, h.login)
               JOIN folder f ON (f.mailbox, f.name, f.epoch) = (m.id, h.folder, h.epoch) WHERE f.id = ?1 AND h.uid = ?2";
    let mut select = connection.prepare_cached(sql)?;
    Ok(select.query_map(params![folder, Uid(uid)], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// What is held of a message of an earlier epoch belongs to the new message that it is.
pub(super) fn follow(connection: &Connection, former: &FormerKey, folder: i64, uid: &RemoteUid) -> Result<(), Failure> {
    for id in rows_of(connection, former.folder, &former.uid)? {
        let sql = "UPDATE held SET epoch = (SELECT epoch FROM folder WHERE id = ?2), uid = ?3 WHERE id = ?1";
        connection.execute(sql, params![id, folder, Uid(uid)])?;
    }
    Ok(())
}

pub(super) fn all(connection: &Connection) -> Result<Vec<HeldMail>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT id, trace_id, collector, protocol, host, login, folder, epoch, uid, generation, why, reason, since, octets, sender, recipients,
                header_from, subject, done, from_journal FROM held ORDER BY since, id",
    )?;
    let rows = select.query_map([], held_mail)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// No row is passed over, whatever stands in it: a file without a row would be taken for a left-over and removed.
fn held_mail(row: &Row<'_>) -> rusqlite::Result<HeldMail> {
    let (collector, protocol, why): (String, String, String) = (row.get(2)?, row.get(3)?, row.get(10)?);
    let protocol = if protocol == "pop3" { "pop3" } else { "imap" };
    let mailbox = MailboxId { protocol, host: row.get(4)?, login: row.get(5)? };
    let unreadable = |column: usize, text: &str| {
        let error = format!("`{text}` is not a word of ours").into();
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let why = HeldWhy::ALL.into_iter().find(|known| known.code() == why).ok_or_else(|| unreadable(10, &why))?;
    let collector = CollectorId::new(&collector).ok_or_else(|| unreadable(2, &collector))?;
    let folder: String = row.get(6)?;
    let (recipients, done): (String, String) = (row.get(15)?, row.get(18)?);
    let key = MessageKey {
        collector,
        mailbox: Arc::new(mailbox),
        folder: FolderName::new(&folder),
        epoch: Epoch((row.get::<_, i64>(7)? & 0xffff_ffff) as u32),
        uid: uid_of(row, 8)?,
        generation: row.get(9)?,
    };
    Ok(HeldMail {
        id: HeldId(row.get(0)?),
        key,
        trace_id: TraceId(row.get(1)?),
        why,
        reason: row.get(11)?,
        since: row.get(12)?,
        octets: row.get::<_, i64>(13)?.cast_unsigned(),
        sender: row.get(14)?,
        recipients: lines(&recipients),
        done: lines(&done),
        from_journal: row.get(19)?,
        from: row.get(16)?,
        subject: row.get(17)?,
    })
}

/// What is known about the source's copy of a held message.
pub(super) fn at_source(connection: &Connection, mail: &HeldMail) -> Result<AtSource, Failure> {
    let sql = "SELECT coalesce(e.state, iif(k.uid IS NULL, NULL, 'kept')) FROM held h
               JOIN mailbox m ON (m.protocol, m.host, m.login) = (h.protocol, h.host, h.login)
               JOIN folder f ON (f.mailbox, f.name, f.epoch) = (m.id, h.folder, h.epoch)
               LEFT JOIN exception e ON (e.folder, e.uid) = (f.id, h.uid) LEFT JOIN kept k ON (k.folder, k.uid) = (f.id, h.uid) WHERE h.id = ?1";
    let state: Option<Option<String>> = connection.prepare_cached(sql)?.query_row([mail.id.0], |row| row.get(0)).optional()?;
    Ok(match state.flatten().as_deref() {
        Some("owed" | "flagged") => AtSource::ToGo,
        // Whatever is not on its way out: held, tried again for others, left, kept.
        Some(_) => AtSource::Stays,
        None => AtSource::Unknown,
    })
}

pub(super) fn totals(connection: &Connection) -> Result<Vec<HeldTotal>, Failure> {
    let sql = "SELECT collector, why, count(*), sum(octets), min(since) FROM held GROUP BY collector, why";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([])?;
    let mut totals = Vec::new();
    while let Some(row) = rows.next()? {
        let (collector, why): (String, String) = (row.get(0)?, row.get(1)?);
        // What an operator wrote there by hand counts as nothing.
        let why = HeldWhy::ALL.into_iter().find(|known| known.code() == why);
        let (Some(why), Some(collector)) = (why, CollectorId::new(&collector)) else { continue };
        let (messages, octets): (i64, i64) = (row.get(2)?, row.get(3)?);
        totals.push(HeldTotal { collector, why, messages: messages.cast_unsigned(), octets: octets.cast_unsigned(), since: row.get(4)? });
    }
    Ok(totals)
}

pub(super) fn octets(connection: &Connection) -> Result<u64, Failure> {
    Ok(connection.query_row("SELECT coalesce(sum(octets), 0) FROM held", [], |row| row.get::<_, i64>(0))?.cast_unsigned())
}

pub(super) fn rest(connection: &Connection, id: HeldId, recipients: &[String], done: &[String]) -> Result<(), Failure> {
    let both = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let Some((earlier, row_id)) = connection.query_row("SELECT done, id FROM held WHERE id = ?1", [id.0], both).optional()? else { return Ok(()) };
    let all_done = united(lines(&earlier), done);
    connection.execute("UPDATE held SET recipients = ?2, done = ?3 WHERE id = ?1", params![row_id, recipients.join("\n"), all_done.join("\n")])?;
    // Its copy at the source may still be waited with for others: whoever has it from here needs no second one from there.
    if let Some((folder, uid, earlier)) = unsettled_copy(connection, id)? {
        let all_done = united(lines(&earlier), done).join("\n");
        connection.execute("UPDATE exception SET done = ?3 WHERE folder = ?1 AND uid = ?2", params![folder, Uid(&uid), all_done])?;
    }
    Ok(())
}

/// The copy at the source of a held message, where it is tried again for others of its recipients, and who has it.
fn unsettled_copy(connection: &Connection, id: HeldId) -> Result<Option<(i64, RemoteUid, String)>, Failure> {
    let sql = format!("SELECT f.id, e.uid, e.done {COPY} AND e.state IN ('pending', 'left')");
    Ok(connection.query_row(&sql, [id.0], |row| Ok((row.get(0)?, uid_of(row, 1)?, row.get(2)?))).optional()?)
}

/// From the row of a held message to its copy at the source.
const COPY: &str = "FROM held h JOIN mailbox m ON (m.protocol, m.host, m.login) = (h.protocol, h.host, h.login)
    JOIN folder f ON (f.mailbox, f.name, f.epoch) = (m.id, h.folder, h.epoch) JOIN exception e ON (e.folder, e.uid) = (f.id, h.uid) WHERE h.id = ?1";

pub(super) fn end(connection: &Connection, id: HeldId, end: &HeldEnd) -> Result<bool, Failure> {
    if let HeldEnd::Delivered(state) = end {
        let hash = |row: &Row<'_>, column| row.get::<_, Option<[u8; 32]>>(column).map(|hash| hash.map(Fingerprint));
        let at_source = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, uid_of(row, 2)?, [hash(row, 3)?, hash(row, 4)?]));
        let found = connection.query_row(&format!("SELECT e.state, f.id, e.uid, e.fingerprint, e.copy {COPY}"), [id.0], at_source).optional()?;
        if let Some((word, folder, uid, hashes)) = found
            && rows_of(connection, folder, &uid)?.len() == 1
        {
            match (word.as_str(), state) {
                ("held", State::Kept) => keep(connection, folder, &uid, hashes, None)?,
                ("held", state) => except(connection, folder, &uid, state, hashes)?,
                // It is tried again for others: when they have it, nobody is held for any more.
                ("pending" | "left", _) => {
                    connection.execute("UPDATE exception SET held = 0 WHERE folder = ?1 AND uid = ?2", params![folder, Uid(&uid)])?;
                }
                _ => {}
            }
        }
    }
    let since = if let HeldEnd::Expired { since } = end { Some(*since) } else { None };
    Ok(connection.execute("DELETE FROM held WHERE id = ?1 AND since = coalesce(?2, since)", params![id.0, since])? > 0)
}
