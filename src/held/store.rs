//! The store: what is written, what is read, and what is swept.

use super::{encoded, file};
use crate::config::HeldLimits;
use crate::ledger::{HeldEnd, HeldId, HeldMail, HeldWhy, Ledger, LedgerError};
use crate::mail::outcome::harmless;
use crate::mail::{Message, Recipient, ReversePath, TraceId};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// A file without a row may be a message that is being recorded right now; after this time it is a left-over of a crash.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);
/// Longest From and Subject that is kept for lists, in octets.
const SHOWN_OCTETS_MAX: usize = 200;
/// Longest reason, in octets.
const REASON_OCTETS_MAX: usize = 1000;

/// The held mail of one state directory.
pub struct HeldStore {
    shared: Arc<Shared>,
    ledger: Arc<dyn Ledger>,
}

struct Shared {
    dir: PathBuf,
    limits: HeldLimits,
    /// One file is written or removed at a time: what is counted is what is there.
    used: Mutex<Used>,
    /// A message is held or expires, never both at once.
    order: Arc<tokio::sync::Mutex<()>>,
}

/// The files of the folder and their octets. The ledger cannot count for us: a row comes after its file, and a left-over has none.
#[derive(Default)]
struct Used {
    files: HashMap<TraceId, u64>,
    octets: u64,
}

/// Why a message is held, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct HoldNote<'a> {
    /// Why, as a word.
    pub why: HeldWhy,
    /// Why, in words, with what the target said.
    pub reason: &'a str,
    /// Its reverse-path.
    pub sender: &'a ReversePath,
    /// Who was to get it and did not; empty if nobody was found.
    pub recipients: &'a [Recipient],
    /// Who has it already, as they stood in RCPT TO.
    pub done: &'a [String],
    /// It came in a journal report.
    pub from_journal: bool,
    /// Seconds since the epoch.
    pub now: i64,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Messages dropped because of their age.
    pub expired: u64,
    /// Files without a row that were removed.
    pub left_over: u64,
    /// Rows whose file is missing: reported, and left as they are.
    pub missing: u64,
}

/// Why a message was not held, or cannot be had from the store. Nothing was recorded, and the message stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The store would become larger than `service.held.max_size`.
    #[error("held mail takes {used} octets, and with {octets} more it would pass service.held.max_size ({max})")]
    Full {
        /// The message's size.
        octets: u64,
        /// What is there.
        used: u64,
        /// The limit.
        max: u64,
    },
    /// The file of a held message is not there.
    #[error("the file of {id} is missing: {path}")]
    Missing {
        /// The message.
        id: HeldId,
        /// Its file.
        path: PathBuf,
    },
    /// The file is not the one that was written.
    #[error("the file of {id} was changed: {path} has {found} octets, {expected} were written")]
    Changed {
        /// The message.
        id: HeldId,
        /// Its file.
        path: PathBuf,
        /// Octets that were written.
        expected: u64,
        /// Octets that are there.
        found: u64,
    },
    /// The system failed.
    #[error("held mail: {path}: {}", crate::disk::told(.path, .error))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// The ledger failed.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
}

impl HeldStore {
    /// The store in this folder, which is made if it is missing. Blocks on the disk. Whoever opens it holds the state directory's lock.
    pub fn open(dir: &Path, limits: HeldLimits, ledger: Arc<dyn Ledger>) -> Result<Self, HoldError> {
        let failed = |error| HoldError::Io { path: dir.into(), error };
        file::make_folder(dir).map_err(failed)?;
        let mut used = Used::default();
        for (id, octets) in file::list(dir, true).map_err(failed)? {
            used.count(id, octets);
        }
        Ok(HeldStore { shared: Arc::new(Shared { dir: dir.into(), limits, used: Mutex::new(used), order: Arc::default() }), ledger })
    }

    /// Puts the message into the store. When this returns, its file is durable and its row, which is returned, is not recorded yet: it belongs into
    /// the [`crate::ledger::Entry`] that says what becomes of the copy at the source. Held twice, it is one file.
    pub async fn hold(&self, message: &Message, note: HoldNote<'_>) -> Result<HeldMail, HoldError> {
        let trace_id = message.trace_id();
        let (shared, content) = (Arc::clone(&self.shared), message.content.clone());
        let order = Arc::clone(&self.shared.order).lock_owned().await;
        // It runs to its end even if nobody waits for it any more.
        let write = move || {
            let _order = order;
            shared.write(trace_id, &content)
        };
        blocking(&self.shared.dir, write).await?;
        let shown = |name: &str| {
            let text = message.header.first(name).map(|field| encoded::decoded(&message.header.text(field))).unwrap_or_default();
            harmless(&text, SHOWN_OCTETS_MAX)
        };
        Ok(HeldMail {
            id: HeldId(0),
            key: message.key.clone(),
            trace_id,
            why: note.why,
            reason: harmless(note.reason, REASON_OCTETS_MAX),
            since: note.now,
            octets: message.content.len(),
            sender: note.sender.to_smtp(),
            recipients: note.recipients.iter().map(|recipient| recipient.address.to_smtp()).collect(),
            done: note.done.to_vec(),
            from_journal: note.from_journal,
            from: shown("From"),
            subject: shown("Subject"),
        })
    }

    /// The message as it was held; its content stays in the file.
    pub async fn message(&self, mail: &HeldMail) -> Result<Message, HoldError> {
        let (dir, mail) = (self.shared.dir.clone(), mail.clone());
        blocking(&self.shared.dir, move || {
            let file = open_file(&dir, &mail)?;
            file::message(file, mail.octets, mail.key).map_err(|error| HoldError::Io { path: file::path(&dir, mail.trace_id), error })
        })
        .await
    }

    /// Takes the message out of the store: first its row, then its file. False if it was not in it.
    pub async fn end(&self, mail: &HeldMail, end: HeldEnd) -> Result<bool, HoldError> {
        let ended = self.ledger.held_end(mail.id, end).await?;
        self.remove_file(mail).await?;
        Ok(ended)
    }

    /// Removes the file of a message whose row has ended; it is no error if there is none.
    pub async fn remove_file(&self, mail: &HeldMail) -> Result<(), HoldError> {
        let (shared, id) = (Arc::clone(&self.shared), mail.trace_id);
        blocking(&self.shared.dir, move || shared.remove(id)).await
    }

    /// Octets of all files in the store.
    pub fn octets(&self) -> u64 {
        self.shared.used().octets
    }

    /// The octets of a held message, for reading; checked to be as many as were written. Blocks on the disk.
    pub fn file(&self, mail: &HeldMail) -> Result<File, HoldError> {
        open_file(&self.shared.dir, mail)
    }

    /// Puts the store in order: drops what is too old, one log line each; removes files without a row that are older than an hour (copies of
    /// what is still at its source, because the row is recorded before any disposal); reports rows without a file.
    pub async fn sweep(&self, now: i64) -> Result<Swept, HoldError> {
        let dir = self.shared.dir.clone();
        // The files before the rows: a message that is held meanwhile is in neither list, or in that of the rows.
        let files = blocking(&dir.clone(), move || file::list(&dir, false).map_err(|error| HoldError::Io { path: dir, error })).await?;
        let rows = self.ledger.held().await?;
        let mut swept = Swept::default();
        let known: HashSet<TraceId> = rows.iter().map(|mail| mail.trace_id).collect();
        for (id, _) in files.iter().filter(|(id, _)| !known.contains(id)) {
            let (shared, id) = (Arc::clone(&self.shared), *id);
            if blocking(&self.shared.dir, move || shared.remove_left_over(id, now)).await? {
                tracing::info!(event = "held_leftover_removed", id = %id, reason = "a file without a row: a crash came before it was recorded; the message is still at its source, or was taken again");
                swept.left_over += 1;
            }
        }
        let there: HashSet<TraceId> = files.into_iter().map(|(id, _)| id).collect();
        for mail in &rows {
            let age = now.saturating_sub(mail.since);
            let is_old = self.shared.limits.max_age.is_some_and(|max_age| u64::try_from(age).is_ok_and(|age| age > max_age.as_secs()));
            if is_old {
                swept.expired += u64::from(self.expire(mail, now).await?);
            } else if !there.contains(&mail.trace_id) && self.is_missing(mail).await? {
                tracing::error!(event = "held_file_missing", collector = %mail.key.collector, key = %mail.key, id = %mail.trace_id, held = %mail.id, from = mail.from, subject = mail.subject, file = %file::path(&self.shared.dir, mail.trace_id).display(), next = "somebody removed the file: put it back from a backup, or `mailgather held drop` the row");
                swept.missing += 1;
            }
        }
        Ok(swept)
    }

    /// Drops what is too old. Its file may have been written anew since the row was read: it is held again then, and its record is on its way.
    async fn expire(&self, mail: &HeldMail, now: i64) -> Result<bool, HoldError> {
        let _order = self.shared.order.lock().await;
        let (shared, id) = (Arc::clone(&self.shared), mail.trace_id);
        if blocking(&self.shared.dir, move || Ok(shared.is_young(id, now))).await? {
            return Ok(false);
        }
        // Said before it is done: what is dropped must not vanish without a trace, not even by a crash in between.
        let age = now.saturating_sub(mail.since);
        tracing::warn!(event = "held_expired", collector = %mail.key.collector, key = %mail.key, id = %mail.trace_id, held = %mail.id, why = mail.why.code(), reason = mail.reason, from = mail.from, subject = mail.subject, rcpt = mail.recipients.join(" "), octets = mail.octets, age_days = age / 86_400);
        let ended = self.ledger.held_end(mail.id, HeldEnd::Expired { since: mail.since }).await?;
        if ended {
            self.remove_file(mail).await?;
        }
        Ok(ended)
    }

    /// True if there is a row and no file: asked again, because the lists are not of one moment.
    async fn is_missing(&self, mail: &HeldMail) -> Result<bool, HoldError> {
        let (dir, id) = (self.shared.dir.clone(), mail.trace_id);
        let no_file = blocking(&self.shared.dir, move || Ok(std::fs::symlink_metadata(file::path(&dir, id)).is_err())).await?;
        Ok(no_file && self.ledger.held().await?.iter().any(|row| row.id == mail.id))
    }
}

impl std::fmt::Debug for HeldStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldStore").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

/// The octets of a held message in the folder `dir`, for reading; checked to be as many as were written. Blocks on the disk.
pub fn open_file(dir: &Path, mail: &HeldMail) -> Result<File, HoldError> {
    let path = file::path(dir, mail.trace_id);
    let (file, found) = match file::open(&path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(HoldError::Missing { id: mail.id, path }),
        Err(error) => return Err(HoldError::Io { path, error }),
    };
    if found != mail.octets {
        return Err(HoldError::Changed { id: mail.id, path, expected: mail.octets, found });
    }
    Ok(file)
}

impl Shared {
    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: TraceId, content: &crate::mail::Content) -> Result<(), HoldError> {
        let mut used = self.used();
        let octets = content.len();
        let others = used.octets - used.files.get(&id).copied().unwrap_or(0);
        if others.saturating_add(octets) > self.limits.max_size {
            return Err(HoldError::Full { octets, used: others, max: self.limits.max_size });
        }
        let written = file::write(&self.dir, id, content);
        // What is there is counted, whether or not it came to its end.
        let found = std::fs::symlink_metadata(file::path(&self.dir, id)).map_or(0, |file| file.len());
        used.count(id, found);
        written.map_err(|error| HoldError::Io { path: file::path(&self.dir, id), error })
    }

    fn remove(&self, id: TraceId) -> Result<(), HoldError> {
        let path = file::path(&self.dir, id);
        let mut used = self.used();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HoldError::Io { path, error }),
            _ => {
                used.count(id, 0);
                Ok(())
            }
        }
    }

    /// True if the file was written lately: later than any record can come behind it.
    fn is_young(&self, id: TraceId, now: i64) -> bool {
        let written = std::fs::symlink_metadata(file::path(&self.dir, id)).and_then(|file| file.modified());
        let age = written.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|at| now.saturating_sub_unsigned(at.as_secs()));
        let enough = self.limits.max_age.unwrap_or(LEFT_OVER_AFTER).min(LEFT_OVER_AFTER);
        age.is_some_and(|age| age <= enough.as_secs().cast_signed())
    }

    /// Removes a file that has no row if it is old enough; it may have been written anew since somebody looked.
    fn remove_left_over(&self, id: TraceId, now: i64) -> Result<bool, HoldError> {
        let path = file::path(&self.dir, id);
        let mut used = self.used();
        let written = std::fs::symlink_metadata(&path).and_then(|file| file.modified());
        let age = written.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|at| now.saturating_sub_unsigned(at.as_secs()));
        if age.is_none_or(|age| age <= LEFT_OVER_AFTER.as_secs().cast_signed()) {
            return Ok(false);
        }
        std::fs::remove_file(&path).map_err(|error| HoldError::Io { path, error })?;
        used.count(id, 0);
        Ok(true)
    }
}

impl Used {
    /// The file has so many octets from now on; 0 if there is none.
    fn count(&mut self, id: TraceId, octets: u64) {
        let before = if octets > 0 { self.files.insert(id, octets) } else { self.files.remove(&id) };
        self.octets = self.octets - before.unwrap_or(0) + octets;
    }
}

async fn blocking<T: Send + 'static>(dir: &Path, work: impl FnOnce() -> Result<T, HoldError> + Send + 'static) -> Result<T, HoldError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|join| Err(HoldError::Io { path: dir.into(), error: std::io::Error::other(join) }))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
