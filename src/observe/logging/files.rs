//! A file for each collector: `ID.log`, and as it grows `ID.log.1` to `ID.log.4`, the oldest last.
//!
//! Lines go through a queue of bounded size to one thread, which writes them in batches and syncs nothing: mail waits neither for the disk nor
//! for a lock that is held while it works. What cannot be written is counted and told, once.

use super::read::path;
use super::{Log, audit};
use crate::mail::CollectorId;
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A file that would grow beyond this is put aside.
const FILE_OCTETS_MAX: u64 = 10 * 1024 * 1024;
/// Files of one collector, with the one that is written.
pub(super) const FILES_MAX: usize = 5;
/// What waits for the thread takes at most so many octets, with what each line costs beside its own.
const QUEUE_OCTETS_MAX: usize = 8 * 1024 * 1024;
const LINE_COSTS: usize = 128;
/// Octets that are written at once.
const BATCH_OCTETS: usize = 64 * 1024;
/// Lines that are taken from the queue before what was taken is written.
const BATCH_LINES: usize = 1024;
/// Files that are open at once.
const OPEN_MAX: usize = 64;
/// How often the thread looks at what was folded.
const TICK: Duration = Duration::from_secs(1);
/// After an error no file is tried for this long.
const AFTER_ERROR: Duration = Duration::from_secs(10);

/// The way to the thread: bounded by `octets`, and without the room that a bounded channel of the library takes from the start.
#[derive(Default)]
pub(super) struct Queue {
    sender: OnceLock<Sender<Told>>,
    octets: AtomicUsize,
    /// Lines for which there was no room.
    lost: AtomicU64,
    /// What operators did: it has a place of its own, so that no flood of other lines is in its way.
    audit: audit::Waiting,
}

enum Told {
    Line(String, String),
    Folder {
        logs: Option<PathBuf>,
        audit: PathBuf,
    },
    /// Something waits for the audit log.
    Audit,
    Reopen,
    Finish(Sender<()>),
}

impl Queue {
    /// A line for the file of a collector; it is made only if there are files.
    pub fn put(&self, id: &str, line: impl FnOnce() -> String) {
        let Some(sender) = self.sender.get() else { return };
        let line = line();
        let length = line.len() + LINE_COSTS;
        if self.octets.fetch_add(length, Relaxed) + length > QUEUE_OCTETS_MAX || sender.send(Told::Line(id.to_owned(), line)).is_err() {
            self.octets.fetch_sub(length, Relaxed);
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// A line for the audit log.
    pub fn put_audit(&self, line: audit::Line) {
        self.audit.put(line);
        // With a full queue the thread is at work anyway.
        self.sender.get().map(|sender| sender.send(Told::Audit));
    }

    pub fn folders(&self, logs: PathBuf, audit: PathBuf) {
        self.tell(Told::Folder { logs: Some(logs), audit });
    }

    pub fn audit_folder(&self, audit: PathBuf) {
        self.tell(Told::Folder { logs: None, audit });
    }

    pub fn reopen(&self) {
        self.tell(Told::Reopen);
    }

    /// Waits until everything is written that was put here, no longer than this.
    pub fn finish(&self, wait: Duration) {
        let (done, is_done) = channel();
        self.tell(Told::Finish(done));
        let _ = is_done.recv_timeout(wait);
    }

    fn tell(&self, told: Told) {
        // Without the thread there is nothing to do.
        if let Some(sender) = self.sender.get() {
            let _ = sender.send(told);
        }
    }
}

/// Starts the thread.
pub(super) fn start(log: &Arc<Log>) {
    let (sender, receiver) = channel();
    let for_thread = Arc::clone(log);
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || work(&for_thread, &receiver));
    match thread {
        Ok(_) => drop(log.files.sender.set(sender)),
        Err(error) => tracing::error!(event = "log_files_unavailable", reason = %error, next = "collectors have no files of their own"),
    }
}

fn work(log: &Log, queue: &Receiver<Told>) {
    let (mut writer, mut audit) = (Writer::new(FILE_OCTETS_MAX), audit::Writer::new());
    let mut swept = Instant::now();
    loop {
        match queue.recv_timeout(TICK) {
            Ok(told) => {
                for told in std::iter::once(told).chain(queue.try_iter().take(BATCH_LINES)) {
                    take(log, &mut writer, &mut audit, told);
                }
                writer.flush();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        audit.write(&log.files.audit);
        if swept.elapsed() >= TICK {
            swept = Instant::now();
            log.sweep(Some(swept));
            let lost = log.files.lost.swap(0, Relaxed);
            if lost > 0 {
                tracing::warn!(event = "log_lines_lost", lost, reason = "more was to be logged than could be written", next = "mail is not affected");
            }
        }
    }
}

fn take(log: &Log, writer: &mut Writer, audit: &mut audit::Writer, told: Told) {
    match told {
        Told::Line(id, line) => {
            log.files.octets.fetch_sub(line.len() + LINE_COSTS, Relaxed);
            writer.line(&id, &line);
        }
        Told::Folder { logs, audit: of_audit } => (writer.folder, audit.folder) = (logs, Some(of_audit)),
        // Written behind each group.
        Told::Audit => {}
        Told::Reopen => {
            writer.flush();
            writer.open.clear();
        }
        Told::Finish(done) => {
            writer.flush();
            audit.write(&log.files.audit);
            let _ = done.send(());
        }
    }
}

/// Writes the files.
struct Writer {
    folder: Option<PathBuf>,
    octets_max: u64,
    open: HashMap<String, Open>,
    /// Since an error: when files are tried again, and how many lines were lost.
    trouble: Option<(Instant, u64)>,
}

pub(super) struct Open {
    pub file: File,
    pub size: u64,
    /// Whole lines that are still to be written.
    lines: Vec<u8>,
}

impl Writer {
    fn new(octets_max: u64) -> Self {
        Writer { folder: None, octets_max, open: HashMap::new(), trouble: None }
    }

    fn line(&mut self, id: &str, line: &str) {
        // A name of a collector has nothing that leads to another folder; what is none has no file.
        let (Some(folder), Some(name)) = (self.folder.clone(), CollectorId::new(id)) else { return };
        if let Some((until, lost)) = &mut self.trouble
            && Instant::now() < *until
        {
            *lost += 1;
            return;
        }
        if !self.open.contains_key(id) {
            if self.open.len() >= OPEN_MAX {
                self.flush();
                self.open.clear();
            }
            match open(&folder, &name) {
                Ok(opened) => drop(self.open.insert(id.to_owned(), opened)),
                Err(error) => return self.failed(&path(&folder, &name, 0), &error, 1),
            }
        }
        let Some(opened) = self.open.get_mut(id) else { return };
        opened.lines.extend_from_slice(line.as_bytes());
        if opened.lines.len() >= BATCH_OCTETS {
            self.write(&folder, id, &name);
        }
    }

    /// Writes what was collected.
    fn flush(&mut self) {
        let Some(folder) = self.folder.clone() else { return };
        let ids: Vec<String> = self.open.iter().filter(|(_, open)| !open.lines.is_empty()).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(name) = CollectorId::new(&id) {
                self.write(&folder, &id, &name);
            }
        }
    }

    fn write(&mut self, folder: &Path, id: &str, name: &CollectorId) {
        let Some(mut opened) = self.open.remove(id) else { return };
        let count = memchr::memchr_iter(b'\n', &opened.lines).count() as u64;
        match opened.write(folder, name, self.octets_max) {
            Ok(()) => {
                self.open.insert(id.to_owned(), opened);
                if let Some((_, lost)) = self.trouble.take() {
                    tracing::info!(event = "log_file_resumed", lost, file = %path(folder, name, 0).display());
                }
            }
            // What was written in part goes again: no line is torn. The file is opened anew when it is tried again.
            Err(error) => {
                let _ = opened.file.set_len(opened.size);
                self.failed(&path(folder, name, 0), &error, count);
            }
        }
    }

    /// Says so once, however long it lasts.
    fn failed(&mut self, file: &Path, error: &io::Error, lost: u64) {
        let until = Instant::now() + AFTER_ERROR;
        match &mut self.trouble {
            Some((again, so_far)) => (*again, *so_far) = (until, *so_far + lost),
            None => {
                self.trouble = Some((until, lost));
                tracing::error!(event = "log_file_failed", file = %file.display(), reason = crate::disk::told(file, error), next = "lines of collectors' own logs are lost until it can be written; mail is not affected");
            }
        }
    }
}

impl Open {
    fn write(&mut self, folder: &Path, name: &CollectorId, octets_max: u64) -> io::Result<()> {
        if self.size > 0 && self.size + self.lines.len() as u64 > octets_max {
            put_aside(folder, name)?;
            let lines = std::mem::take(&mut self.lines);
            *self = Open { lines, ..open(folder, name)? };
        }
        self.file.write_all(&self.lines)?;
        self.size += self.lines.len() as u64;
        self.lines.clear();
        Ok(())
    }
}

/// The file of a collector.
fn open(folder: &Path, name: &CollectorId) -> io::Result<Open> {
    open_at(folder, &path(folder, name, 0))
}

/// A file to be written at its end. A link that stands there is not followed.
pub(super) fn open_at(folder: &Path, path: &Path) -> io::Result<Open> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Without NONBLOCK the open of a pipe would wait for its reader.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    let mut size = meta.len();
    // A crash may have torn the last line: what comes stands on a line of its own.
    let mut last = [b'\n'];
    if size > 0 && file.read_at(&mut last, size - 1)? == 1 && last != *b"\n" {
        file.write_all(b"\n")?;
        size += 1;
    }
    Ok(Open { file, size, lines: Vec::new() })
}

/// Each file takes the place of the next older one; the oldest goes.
fn put_aside(folder: &Path, name: &CollectorId) -> io::Result<()> {
    for number in (0..FILES_MAX - 1).rev() {
        match std::fs::rename(path(folder, name, number), path(folder, name, number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::read::Tail;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn writer(folder: &Path, octets_max: u64) -> Writer {
        Writer { folder: Some(folder.to_owned()), ..Writer::new(octets_max) }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_rotate_and_readers_follow() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        let id = CollectorId::new("a").unwrap();
        let mut writer = writer(&folder, 1000);
        let mut tail = Tail::from_start(&folder, &id);
        let mut seen = Vec::new();
        for n in 0..100 {
            writer.line("a", &format!("{n:0>99}\n"));
            writer.flush();
            seen.extend(tail.next().unwrap());
        }
        assert_eq!(names(&folder), ["a.log", "a.log.1", "a.log.2", "a.log.3", "a.log.4"]);
        for name in names(&folder) {
            let meta = std::fs::metadata(folder.join(name)).unwrap();
            assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (1000, 0o600));
        }
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        seen.extend(std::iter::from_fn(|| Some(tail.next().unwrap()).filter(|lines| !lines.is_empty())).flatten());
        let all: String = (0..100).map(|n| format!("{n:0>99}\n")).collect();
        assert_eq!(String::from_utf8(seen).unwrap(), all, "who follows misses nothing");
        // Who comes later finds what is kept, oldest first.
        let mut tail = Tail::from_start(&folder, &id);
        let kept: Vec<u8> = std::iter::from_fn(|| Some(tail.next().unwrap()).filter(|lines| !lines.is_empty())).flatten().collect();
        assert_eq!(String::from_utf8(kept).unwrap(), all[5000..]);
    }

    #[test]
    fn no_name_leads_elsewhere_and_a_torn_line_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        let mut writer = writer(&folder, 1000);
        for id in ["../evil", "a/b", "", ".", "a.log", "/etc/x", "a\0"] {
            writer.line(id, "x\n");
        }
        writer.flush();
        assert!(!folder.exists() && names(dir.path()).is_empty());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("a.log"), "torn").unwrap();
        writer.line("a", "next\n");
        writer.flush();
        assert_eq!(std::fs::read_to_string(folder.join("a.log")).unwrap(), "torn\nnext\n");
        // Moved away: after a reopen there is a new one.
        std::fs::rename(folder.join("a.log"), folder.join("moved")).unwrap();
        writer.open.clear();
        writer.line("a", "new\n");
        writer.flush();
        assert_eq!(std::fs::read_to_string(folder.join("a.log")).unwrap(), "new\n");
        // A link, and what is no file, is neither followed nor waited for.
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, folder.join("b.log")).unwrap();
        writer.line("b", "x\n");
        assert!(!target.exists() && writer.trouble.is_some());
    }

    #[test]
    fn a_disk_that_fails_costs_lines_and_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        std::fs::write(&folder, "in the way").unwrap();
        let mut writer = writer(&folder, 1000);
        (0..10).for_each(|_| writer.line("a", "x\n"));
        assert_eq!(writer.trouble.map(|(_, lost)| lost), Some(10));
        std::fs::remove_file(&folder).unwrap();
        writer.trouble = Some((Instant::now(), 10));
        writer.line("a", "y\n");
        writer.flush();
        assert!(writer.trouble.is_none());
        assert_eq!(std::fs::read_to_string(folder.join("a.log")).unwrap(), "y\n");
        // More files than may be open at once.
        for n in 0..2 * OPEN_MAX {
            writer.line(&format!("c{n}"), "z\n");
            assert!(writer.open.len() <= OPEN_MAX);
        }
        writer.flush();
        assert_eq!(names(&folder).len(), 1 + 2 * OPEN_MAX);
    }

    #[test]
    fn the_queue_is_bounded() {
        let queue = Queue::default();
        queue.put("a", || panic!("nobody takes it"));
        let (sender, receiver) = channel();
        queue.sender.set(sender).unwrap();
        (0..5).for_each(|_| queue.put("a", || "x".repeat(QUEUE_OCTETS_MAX / 2 - LINE_COSTS)));
        assert_eq!((queue.lost.load(Relaxed), queue.octets.load(Relaxed)), (3, QUEUE_OCTETS_MAX));
        drop(receiver);
        queue.finish(Duration::from_secs(60));
    }
}
