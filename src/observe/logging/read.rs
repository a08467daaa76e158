//! Reads the file of a collector: its last lines, all of it, and what is still to come, over rotation.

use super::files::FILES_MAX;
use crate::mail::CollectorId;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most lines that are asked for at once, short of all.
pub const LINES_MAX: usize = 10_000;
/// Octets that are read at once.
const CHUNK_OCTETS: usize = 128 * 1024;
/// How often who follows looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
/// While files change places one of them may be missing, for so many looks of this length.
const CHANGING: (usize, Duration) = (50, Duration::from_millis(2));

/// What somebody wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Warnings and errors only.
    pub errors: bool,
    /// Only the last lines, so many; `None`: all that is kept.
    pub last: Option<usize>,
    /// And what is still to come.
    pub follow: bool,
}

/// The files of a collector: 0 is the one that is written.
pub(super) fn path(folder: &Path, id: &CollectorId, number: usize) -> PathBuf {
    folder.join(match number {
        0 => format!("{id}.log"),
        number => format!("{id}.log.{number}"),
    })
}

/// Whether a collector has a file.
pub fn is_there(folder: &Path, id: &CollectorId) -> bool {
    (0..FILES_MAX).any(|number| path(folder, id, number).is_file())
}

/// Hands over what is wanted, in pieces of whole lines, until all is handed over or `take` wants no more. A piece may be empty: then it is only
/// asked whether to go on. Blocks.
pub fn read(folder: &Path, id: &CollectorId, wanted: Wanted, mut take: impl FnMut(Vec<u8>) -> bool) -> io::Result<()> {
    let mut tail = Tail::from_start(folder, id);
    if let Some(last) = wanted.last {
        let mut kept = VecDeque::new();
        loop {
            let lines = chosen(tail.next()?, wanted.errors);
            let Some(lines) = lines else { break };
            for line in lines.split_inclusive(|b| *b == b'\n') {
                kept.push_back(line.to_owned());
                if kept.len() > last.min(LINES_MAX) {
                    kept.pop_front();
                }
            }
        }
        if !take(kept.into_iter().flatten().collect()) {
            return Ok(());
        }
    }
    loop {
        match chosen(tail.next()?, wanted.errors) {
            Some(lines) => {
                if !take(lines) {
                    return Ok(());
                }
            }
            None if wanted.follow => {
                if !take(Vec::new()) {
                    return Ok(());
                }
                std::thread::sleep(FOLLOW_EVERY);
            }
            None => return Ok(()),
        }
    }
}

/// The lines that are wanted; `None` if there were none to choose from.
fn chosen(lines: Vec<u8>, errors: bool) -> Option<Vec<u8>> {
    if lines.is_empty() {
        return None;
    }
    if !errors {
        return Some(lines);
    }
    let is_trouble = |line: &&[u8]| {
        let level = memchr::memchr(b' ', line).map_or(&[][..], |at| &line[at + 1..]);
        level.starts_with(b"warn ") || level.starts_with(b"error ")
    };
    Some(lines.split_inclusive(|b| *b == b'\n').filter(is_trouble).flatten().copied().collect())
}

/// Where a reader is.
pub(super) struct Tail<'a> {
    folder: &'a Path,
    id: &'a CollectorId,
    open: Option<File>,
    position: u64,
}

impl<'a> Tail<'a> {
    /// At the oldest line that is kept.
    pub fn from_start(folder: &'a Path, id: &'a CollectorId) -> Self {
        let open = (0..FILES_MAX).rev().find_map(|number| File::open(path(folder, id, number)).ok());
        Tail { folder, id, open, position: 0 }
    }

    /// The next whole lines; none if that was all for now.
    pub fn next(&mut self) -> io::Result<Vec<u8>> {
        // One look for each file, and one that finds nothing more.
        for _ in 0..=FILES_MAX {
            let lines = self.lines()?;
            if !lines.is_empty() || !self.go_to_newer()? {
                return Ok(lines);
            }
        }
        Ok(Vec::new())
    }

    fn lines(&mut self) -> io::Result<Vec<u8>> {
        self.open.as_ref().map_or(Ok(Vec::new()), |file| whole_lines(file, &mut self.position))
    }

    /// Goes on to the file that was begun after this one, if there is one.
    fn go_to_newer(&mut self) -> io::Result<bool> {
        for _ in 0..CHANGING.0 {
            let ours = match &self.open {
                Some(file) => Some(file.metadata()?),
                None => None,
            };
            let is_ours = |number: usize| {
                let there = std::fs::metadata(path(self.folder, self.id, number)).ok();
                matches!((&ours, there), (Some(ours), Some(there)) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
            };
            let at = (0..FILES_MAX).find(|number| is_ours(*number));
            if at == Some(0) {
                // Somebody cut it.
                let is_cut = ours.is_some_and(|ours| ours.len() < self.position);
                self.position = if is_cut { 0 } else { self.position };
                return Ok(is_cut);
            }
            match File::open(path(self.folder, self.id, at.map_or(0, |at| at - 1))) {
                Ok(file) => {
                    (self.open, self.position) = (Some(file), 0);
                    return Ok(true);
                }
                // Nothing was written since, or files change places just now.
                Err(error) if error.kind() == ErrorKind::NotFound => match at {
                    None | Some(1) => return Ok(false),
                    Some(_) => std::thread::sleep(CHANGING.1),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
/// The next whole lines of a file that grows, from a position on, which goes on behind them. A line that is only begun is read when it is whole; one
/// without an end, which is none of ours, in pieces.
pub(super) fn whole_lines(file: &File, position: &mut u64) -> io::Result<Vec<u8>> {
    let mut lines = vec![0; CHUNK_OCTETS];
    let length = file.read_at(&mut lines, *position)?;
    lines.truncate(length);
    let whole = match memchr::memrchr(b'\n', &lines) {
        Some(end) => end + 1,
        None if length == CHUNK_OCTETS => length,
        None => 0,
    };
    lines.truncate(whole);
    *position += whole as u64;
    Ok(lines)
}
