//! What operators did, in files of its own: `audit/audit-2026-11.log` in the state directory, one a month, for a year. Neither `log` nor `log.level` has a
//! say in it, and it is synced: there is little of it, and it is asked for when something went wrong.

use super::files;
use super::read::whole_lines;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The target of `tracing` by which an event passes whatever `log.level` says.
pub const TARGET: &str = "mailgather::audit";

/// What is an audit line: requests of operators, whichever way they came, and what they changed.
pub const EVENTS: &[&str] = &[
    "collect_requested",
    "collector_cleared",
    "collector_disabled",
    "collector_enabled",
    "collector_marked",
    "config_loaded",
    "config_rejected",
    "config_written",
    "held_dropped",
    "held_released",
    "history_imported",
    "login_failed",
    "login_ok",
    "notice_tested",
    "oauth_revoked",
    "oauth_signed_in",
    "reload_requested",
    "secret_removed",
    "secret_set",
    "service_paused",
    "service_resumed",
    "stop_requested",
];

/// The folder's name in the state directory.
const FOLDER: &str = "audit";
/// Months that are kept, with the one that runs.
const MONTHS_MAX: usize = 13;
/// A month that grows beyond this is put aside, once: of a flood the last part stays.
const FILE_OCTETS_MAX: u64 = 16 * 1024 * 1024;
/// Lines that wait for the disk; of more the oldest are lost, which is said.
const WAITING_MAX: usize = 1024;
/// After an error it is tried again after this time.
const AFTER_ERROR: Duration = Duration::from_secs(10);
/// How often who follows looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// Where the files of a state directory are.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER)
}

/// Hands over the last lines, or all, the oldest first, in pieces, until `take` wants no more; with `follow` also what is still to come. A piece may be
/// empty: then it is only asked whether to go on. Blocks.
pub fn read(folder: &Path, last: Option<usize>, follow: bool, mut take: impl FnMut(Vec<u8>) -> bool) -> io::Result<()> {
    // From where on it is followed: what comes while the rest is read comes once, and behind it.
    let mut tail = if follow { Some(Tail::at_end(folder)?) } else { None };
    if !kept(folder, last, tail.as_ref(), &mut take)? {
        return Ok(());
    }
    while let Some(tail) = &mut tail {
        let lines = tail.next()?;
        let is_quiet = lines.is_empty();
        if !take(lines) {
            break;
        }
        if is_quiet {
            std::thread::sleep(FOLLOW_EVERY);
        }
    }
    Ok(())
}

/// What is there already, as far as `tail` does not have it to come. False: nobody wants more.
fn kept(folder: &Path, last: Option<usize>, tail: Option<&Tail<'_>>, take: &mut impl FnMut(Vec<u8>) -> bool) -> io::Result<bool> {
    let files = files_of(folder)?;
    let before_tail = |path: &Path| -> io::Result<Vec<u8>> {
        let mut lines = content(path)?;
        if let Some(tail) = tail.filter(|tail| tail.is_at(path)) {
            lines.truncate(usize::try_from(tail.position).unwrap_or(usize::MAX));
        }
        Ok(lines)
    };
    let Some(last) = last else {
        for path in files {
            if !take(before_tail(&path)?) {
                return Ok(false);
            }
        }
        return Ok(true);
    };
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    for path in files.iter().rev() {
        for line in before_tail(path)?.split_inclusive(|b| *b == b'\n').rev() {
            if kept.len() == last {
                break;
            }
            kept.push_front(line.to_owned());
        }
    }
    Ok(take(kept.into_iter().flatten().collect()))
}

/// Where a reader is who waits for more.
struct Tail<'a> {
    folder: &'a Path,
    open: Option<File>,
    position: u64,
}

impl<'a> Tail<'a> {
    /// Behind the last whole line that is there now.
    fn at_end(folder: &'a Path) -> io::Result<Self> {
        let mut tail = Tail { folder, open: None, position: 0 };
        tail.go_to_newest()?;
        if let Some(file) = &tail.open {
            let mut octets = Vec::new();
            file.take(2 * FILE_OCTETS_MAX).read_to_end(&mut octets)?;
            tail.position = memchr::memrchr(b'\n', &octets).map_or(0, |end| end as u64 + 1);
        }
        Ok(tail)
    }

    /// The next whole lines; none if that was all for now.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let lines = self.lines()?;
        // What was written before another file was begun is read first.
        if lines.is_empty() && self.go_to_newest()? { self.lines() } else { Ok(lines) }
    }

    fn lines(&mut self) -> io::Result<Vec<u8>> {
        self.open.as_ref().map_or(Ok(Vec::new()), |file| whole_lines(file, &mut self.position))
    }

    /// Goes on to the newest file, if it is another one: a month began, or the one that was read was put aside.
    fn go_to_newest(&mut self) -> io::Result<bool> {
        let Some(newest) = files_of(self.folder)?.pop() else { return Ok(false) };
        if self.is_at(&newest) {
            return Ok(false);
        }
        match File::open(newest) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            file => {
                (self.open, self.position) = (Some(file?), 0);
                Ok(true)
            }
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        let ours = self.open.as_ref().and_then(|file| file.metadata().ok());
        matches!((ours, std::fs::metadata(path)), (Some(ours), Ok(there)) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }
}

/// True if there is anything to be read.
pub fn is_there(folder: &Path) -> bool {
    files_of(folder).is_ok_and(|files| !files.is_empty())
}

/// Whole lines of a file; one that is only begun is left out.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    // It may be put aside just now: then it is read by its other name, or is too old to be missed.
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(octets),
        file => file?,
    };
    file.take(2 * FILE_OCTETS_MAX).read_to_end(&mut octets)?;
    octets.truncate(memchr::memrchr(b'\n', &octets).map_or(0, |end| end + 1));
    Ok(octets)
}

/// The files, oldest first.
fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut months: Vec<(String, bool)> = names
        .filter_map(|name| {
            let rest = name.strip_prefix("audit-")?;
            let (month, is_aside) = rest.strip_suffix(".log").map(|month| (month, false)).or_else(|| Some((rest.strip_suffix(".log.1")?, true)))?;
            (month.len() == 7 && month.bytes().all(|b| b.is_ascii_digit() || b == b'-')).then(|| (month.to_owned(), !is_aside))
        })
        .collect();
    months.sort();
    Ok(months.into_iter().map(|(month, is_last)| path(folder, &month, is_last)).collect())
}

fn path(folder: &Path, month: &str, is_last: bool) -> PathBuf {
    folder.join(format!("audit-{month}.log{}", if is_last { "" } else { ".1" }))
}

/// Lines on their way to the thread that writes.
#[derive(Default)]
pub(super) struct Waiting(Mutex<(VecDeque<Line>, u64)>);

/// A line, and the month that it belongs to.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub month: String,
    pub text: String,
}

impl Waiting {
    pub fn put(&self, line: Line) {
        self.put_back(VecDeque::from([line]), false);
    }

    fn take(&self) -> (VecDeque<Line>, u64) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_back(&self, mut lines: VecDeque<Line>, at_front: bool) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at_front {
            std::mem::swap(&mut waiting.0, &mut lines);
        }
        waiting.0.append(&mut lines);
        while waiting.0.len() > WAITING_MAX {
            waiting.0.pop_front();
            waiting.1 += 1;
        }
    }
}

/// Writes them.
pub(super) struct Writer {
    pub folder: Option<PathBuf>,
    octets_max: u64,
    /// Since an error: when it is tried again.
    again: Option<Instant>,
    lost: u64,
}

impl Writer {
    pub fn new() -> Self {
        Writer { folder: None, octets_max: FILE_OCTETS_MAX, again: None, lost: 0 }
    }

    /// Writes what waits, if it can be written now.
    pub fn write(&mut self, waiting: &Waiting) {
        let Some(folder) = self.folder.clone() else { return };
        if self.again.is_some_and(|again| Instant::now() < again) {
            return;
        }
        let (mut lines, lost) = waiting.take();
        self.lost += lost;
        while let Some(month) = lines.front().map(|line| line.month.clone()) {
            let of_month = lines.iter().take_while(|line| line.month == month).count();
            let text: String = lines.iter().take(of_month).map(|line| line.text.as_str()).collect();
            if let Err(error) = self.append(&folder, &month, &text) {
                waiting.put_back(lines, true);
                if self.again.is_none() {
                    let file = path(&folder, &month, true);
                    tracing::error!(event = "audit_failed", file = %file.display(), reason = crate::disk::told(&file, &error), next = "the lines wait, so many as there is room for; tried again in 10 s");
                }
                self.again = Some(Instant::now() + AFTER_ERROR);
                return;
            }
            lines.drain(..of_month);
            self.again = None;
        }
        if self.lost > 0 {
            tracing::error!(event = "audit_incomplete", lost = self.lost, reason = "more was done than could be written");
            self.lost = 0;
        }
    }

    /// Whole, or not at all.
    fn append(&self, folder: &Path, month: &str, text: &str) -> io::Result<()> {
        let file = path(folder, month, true);
        let is_new = !file.exists();
        let mut opened = files::open_at(folder, &file)?;
        if is_new {
            give(folder, &opened.file);
        }
        if opened.size > 0 && opened.size + text.len() as u64 > self.octets_max {
            std::fs::rename(&file, path(folder, month, false))?;
            opened = files::open_at(folder, &file)?;
        }
        if let Err(error) = opened.file.write_all(text.as_bytes()).and_then(|()| opened.file.sync_data()) {
            let _ = opened.file.set_len(opened.size);
            return Err(error);
        }
        if is_new {
            forget_old(folder);
        }
        Ok(())
    }
}

/// What root makes belongs to whom the state directory belongs to: the service's user writes there next.
fn give(folder: &Path, file: &File) {
    let Some(owner) = folder.parent().and_then(|dir| std::fs::metadata(dir).ok()) else { return };
    if rustix::process::geteuid().is_root() && owner.uid() != 0 {
        // Where it cannot be given, the service says that it cannot write it.
        let _ = std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()));
        let _ = std::os::unix::fs::lchown(folder, Some(owner.uid()), Some(owner.gid()));
    }
}

/// Removes months that are too old.
fn forget_old(folder: &Path) {
    let Ok(files) = files_of(folder) else { return };
    let month = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().chars().take("audit-2026-11".len()).collect::<String>());
    let mut months: Vec<_> = files.iter().filter_map(month).collect();
    months.dedup();
    let oldest = months.iter().rev().nth(MONTHS_MAX - 1);
    for file in files.iter().filter(|file| oldest.is_some() && month(file).as_ref() < oldest) {
        // What cannot be removed now is too old next month as well.
        let _ = std::fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn line(month: &str, n: usize) -> Line {
        Line { month: month.into(), text: format!("{month} {n:0>90}\n") }
    }

    fn all(folder: &Path, last: Option<usize>) -> String {
        let mut found = Vec::new();
        read(folder, last, false, |piece| {
            found.extend(piece);
            true
        })
        .unwrap();
        String::from_utf8(found).unwrap()
    }

    #[test]
    fn a_year_is_kept_month_by_month() {
        let dir = tempfile::tempdir().unwrap();
        let (waiting, mut writer) = (Waiting::default(), Writer::new());
        waiting.put(line("2025-01", 0));
        writer.write(&waiting);
        assert!(!dir.path().join("audit").exists(), "nobody holds the state directory yet");
        let folder = folder(dir.path());
        writer.folder = Some(folder.clone());
        let months: Vec<String> = (1..=12).map(|m| format!("2025-{m:02}")).chain((1..=3).map(|m| format!("2026-{m:02}"))).collect();
        for month in &months {
            (1..3).for_each(|n| waiting.put(line(month, n)));
            writer.write(&waiting);
        }
        let kept: String = months[2..].iter().flat_map(|month| [line(month, 1).text, line(month, 2).text]).collect();
        assert_eq!(all(&folder, None), kept, "13 months, and all of each");
        assert_eq!(
            all(&folder, Some(3)),
            kept.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().map(|l| format!("{l}\n")).collect::<String>()
        );
        let file = folder.join("audit-2026-03.log");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // A torn line is ended, and what somebody else put there is no month.
        std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"torn").unwrap();
        std::fs::write(folder.join("audit-x.log"), "no\n").unwrap();
        waiting.put(line("2026-03", 3));
        writer.write(&waiting);
        assert!(all(&folder, Some(2)).starts_with("torn\n2026-03 "), "{}", all(&folder, Some(2)));
        assert!(!all(&folder, None).contains("no\n"));
    }

    #[test]
    fn who_follows_gets_each_line_once_over_months_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let (waiting, mut writer) = (Waiting::default(), Writer { octets_max: 250, folder: Some(folder.clone()), ..Writer::new() });
        (0..3).for_each(|n| waiting.put(line("2026-01", n)));
        writer.write(&waiting);
        let (mut found, mut asked) = (String::new(), 0);
        read(&folder, Some(1), true, |piece| {
            found.push_str(std::str::from_utf8(&piece).unwrap());
            if piece.is_empty() {
                // The second of these puts the file aside, and the third is of another month.
                waiting.put(line(if asked == 2 { "2026-02" } else { "2026-01" }, 3 + asked));
                writer.write(&waiting);
                asked += 1;
            }
            asked < 4
        })
        .unwrap();
        let wanted: Vec<String> = [("2026-01", 2), ("2026-01", 3), ("2026-01", 4), ("2026-02", 5)].map(|(month, n)| line(month, n).text).to_vec();
        assert_eq!(found, wanted.concat());
    }

    #[test]
    fn a_flood_is_bounded_and_a_disk_that_fails_costs_nothing_at_first() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        std::fs::write(&folder, "in the way").unwrap();
        let (waiting, mut writer) = (Waiting::default(), Writer { octets_max: 1_000, folder: Some(folder.clone()), ..Writer::new() });
        (0..5).for_each(|n| waiting.put(line("2026-01", n)));
        writer.write(&waiting);
        assert!(writer.again.is_some());
        std::fs::remove_file(&folder).unwrap();
        writer.again = Some(Instant::now());
        waiting.put(line("2026-01", 5));
        writer.write(&waiting);
        assert_eq!(all(&folder, None).lines().count(), 6, "nothing was lost, and the order is kept");
        assert!(all(&folder, Some(1)).ends_with("5\n"));
        for n in 6..100 {
            waiting.put(line("2026-01", n));
            writer.write(&waiting);
        }
        let kept = all(&folder, None);
        assert!(kept.len() <= 2_100 && kept.ends_with(&line("2026-01", 99).text), "{}", kept.len());
        (0..2 * WAITING_MAX).for_each(|n| waiting.put(line("2026-02", n)));
        assert_eq!((waiting.take().1, waiting.take().1), (WAITING_MAX as u64, 0));
    }
}
