//! Looking into the history: read only, and beside the process that writes it.

use super::Row;
use super::row::Word;
use super::store::STEPS;
use crate::mail::TraceId;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use std::path::Path;
use std::time::Duration;

/// Rows that are looked at for one page. There may be more behind them, which is said.
const LOOKED_AT_MAX: usize = 100_000;
/// Most rows of a page, if nobody says fewer.
const PAGE_MAX: usize = 1_000;
/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Which rows. What is not said is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this collector.
    pub collector: Option<String>,
    /// At or after this time, and before that one, in seconds since the epoch.
    pub since: Option<i64>,
    /// See `since`.
    pub until: Option<i64>,
    /// In whose addresses this stands, whatever the case.
    pub recipient: Option<String>,
    /// In whose reverse-path or From this stands.
    pub from: Option<String>,
    /// Whose result, or whose reason, is this word.
    pub result: Option<String>,
    /// With this Message-ID, in brackets or not.
    pub message_id: Option<String>,
    /// Older than the one with this number: the `next` of the page before.
    pub before: Option<i64>,
    /// At most so many; 0: as many as a page has.
    pub limit: usize,
}

impl Wanted {
    /// True if nothing can lie in the span: it ends before it begins, or as it begins.
    pub fn is_empty_span(&self) -> bool {
        matches!((self.since, self.until), (Some(since), Some(until)) if until <= since)
    }
}

/// Rows with their numbers, the newest first.
#[derive(Debug, Default)]
pub struct Page {
    /// The rows.
    pub rows: Vec<(i64, Box<Row>)>,
    /// From where to go on; `None`: these were all.
    pub next: Option<i64>,
}

/// Looks. A file that is not there is an empty history. The error says what is wrong with the file.
pub fn look(path: &Path, wanted: &Wanted) -> Result<Page, String> {
    if !path.exists() {
        return Ok(Page::default());
    }
    let failed = |error: rusqlite::Error| format!("{}: {error}", path.display());
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    match usize::try_from(version) {
        // Its thread is about to make it.
        Ok(0) => Ok(Page::default()),
        Ok(version) if version <= STEPS.len() => page(&connection, wanted).map_err(failed),
        _ => Err(format!("{} has version {version}, and was written by a newer mailgather", path.display())),
    }
}

fn page(connection: &Connection, wanted: &Wanted) -> rusqlite::Result<Page> {
    let (sql, values) = sql(wanted);
    let limit = if wanted.limit == 0 { PAGE_MAX } else { wanted.limit.min(PAGE_MAX) };
    let (recipient, from) = (wanted.recipient.as_deref().map(str::to_lowercase), wanted.from.as_deref().map(str::to_lowercase));
    let mut select = connection.prepare(&sql)?;
    let mut found = select.query(params_from_iter(values))?;
    let (mut page, mut looked_at, mut last) = (Page::default(), 0, 0);
    while let Some(row) = found.next()? {
        if page.rows.len() == limit || looked_at == LOOKED_AT_MAX {
            page.next = Some(last);
            break;
        }
        (looked_at, last) = (looked_at + 1, row.get(0)?);
        let text = |at: usize| row.get_ref(at).map(|value| value.as_str().unwrap_or_default().to_owned());
        if let Some(wanted) = &recipient
            && !text(12)?.lines().flat_map(|line| line.split('\t').take(2)).any(|address| address.to_lowercase().contains(wanted))
        {
            continue;
        }
        if let Some(wanted) = &from
            && ![text(9)?, text(10)?].iter().any(|from| from.to_lowercase().contains(wanted))
        {
            continue;
        }
        page.rows.push((last, Box::new(whole(row)?)));
    }
    Ok(page)
}

/// The statement and its values; what somebody typed is only ever a value.
fn sql(wanted: &Wanted) -> (String, Vec<Value>) {
    let mut sql =
        "SELECT id, at, collector, mailbox, folder, epoch, uid, trace_id, message_id, sender, header_from, octets, recipients, found_by, result,
                   why, target, reason, arrived FROM message WHERE 1"
            .to_owned();
    let mut values = Vec::new();
    let mut with = |condition: &str, of: &[Value]| {
        sql.push_str(condition);
        values.extend_from_slice(of);
    };
    let milliseconds = |seconds: i64| Value::Integer(seconds.saturating_mul(1000));
    if let Some(before) = wanted.before {
        with(" AND id < ?", &[before.into()]);
    }
    if let Some(since) = wanted.since {
        // The index tells where to stop; the clock may have been set back meanwhile, so that the time itself is asked too.
        let sql = " AND id >= coalesce((SELECT min(id) FROM message INDEXED BY message_at WHERE at >= ?), 9223372036854775807) AND +at >= ?";
        with(sql, &[milliseconds(since), milliseconds(since)]);
    }
    if let Some(until) = wanted.until {
        let sql = " AND id <= coalesce((SELECT max(id) FROM message INDEXED BY message_at WHERE at < ?), -1) AND +at < ?";
        with(sql, &[milliseconds(until), milliseconds(until)]);
    }
    if let Some(collector) = &wanted.collector {
        with(" AND +collector = ?", &[collector.clone().into()]);
    }
    if let Some(result) = &wanted.result {
        with(" AND (+result = ? OR +why = ?)", &[result.clone().into(), result.clone().into()]);
    }
    if let Some(id) = &wanted.message_id {
        let id = id.trim().trim_start_matches('<').trim_end_matches('>');
        with(" AND message_id = ? AND message_id <> ''", &[Row::text(id).into()]);
    }
    sql.push_str(" ORDER BY id DESC");
    (sql, values)
}

fn whole(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let result: String = row.get(14)?;
    let recipients: String = row.get(12)?;
    Ok(Row {
        at: row.get(1)?,
        collector: row.get(2)?,
        mailbox: row.get(3)?,
        folder: row.get(4)?,
        epoch: row.get(5)?,
        uid: row.get(6)?,
        trace_id: row.get::<_, Option<[u8; 16]>>(7)?.map(TraceId),
        message_id: row.get(8)?,
        sender: row.get(9)?,
        from: row.get(10)?,
        octets: row.get::<_, i64>(11)?.cast_unsigned(),
        recipients: Row::recipients_of(&recipients),
        by: row.get(13)?,
        result: Word::parse(&result).unwrap_or_default(),
        why: row.get(15)?,
        target: row.get(16)?,
        reason: row.get(17)?,
        arrived: row.get(18)?,
    })
}
