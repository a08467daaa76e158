//! The files of held mail. A name is made of a trace id, so nothing from outside is in it; a link in its place is not followed.

use crate::mail::header::HEADER_OCTETS_MAX;
use crate::mail::{Content, Fingerprint, HeaderBlock, Message, MessageKey, Repairs, TraceId};
use crate::spool::reader::Outgoing;
use rustix::fs::{CWD, Mode, OFlags};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Octets of one read.
const READ_OCTETS: usize = 256 * 1024;

pub(super) fn path(dir: &Path, id: TraceId) -> PathBuf {
    dir.join(format!("{id}.eml"))
}

/// A name for the file while it is not whole.
fn unfinished(dir: &Path, id: TraceId) -> PathBuf {
    dir.join(format!(".{id}.tmp"))
}

pub(super) fn make_folder(dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if let Some(parent) = dir.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// The files of held mail with their octets. With `tidy`, files that a crash left unfinished are removed: only for who knows that none is being
/// written.
pub(super) fn list(dir: &Path, tidy: bool) -> io::Result<Vec<(TraceId, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(id) = name.strip_suffix(".eml").and_then(trace_id) {
            // Gone since it was listed: not there.
            files.extend(std::fs::symlink_metadata(entry.path()).map(|file| (id, file.len())));
        } else if tidy && name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")).and_then(trace_id).is_some() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(files)
}

fn trace_id(hex: &str) -> Option<TraceId> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (hex.len() == 32 && hex.bytes().all(lower)).then(|| u128::from_str_radix(hex, 16).ok()).flatten().map(|id| TraceId(id.to_be_bytes()))
}

/// Writes the file under another name, makes it durable, and only then gives it its own: a half file never stands there.
pub(super) fn write(dir: &Path, id: TraceId, content: &Content) -> io::Result<()> {
    let unfinished = unfinished(dir, id);
    let written = write_unfinished(&unfinished, content).and_then(|()| std::fs::rename(&unfinished, path(dir, id)));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

fn write_unfinished(path: &Path, content: &Content) -> io::Result<()> {
    // What a crash left here is in the way.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?);
    let mut octets = Outgoing::new(b"", &[], content);
    while let Some(piece) = octets.next_blocking()? {
        file.write_all(&piece)?;
    }
    file.sync_all()
}

/// The file for reading, and its octets.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    // NONBLOCK: a pipe in its place must not stop us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((file, found.len()))
}

/// A message from its file: read through once for its fingerprint, never held in memory but for its header.
pub(super) fn message(file: File, len: u64, key: MessageKey) -> io::Result<Message> {
    let mut start = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(HEADER_OCTETS_MAX)];
    file.read_exact_at(&mut start, 0)?;
    let header = HeaderBlock::parse_start(start.into(), len > HEADER_OCTETS_MAX as u64).shrunk();
    let (mut body, mut eight_bit) = (Sha256::new(), false);
    let (mut at, mut buffer) = (0, vec![0; READ_OCTETS]);
    let body_start = header.body_start() as u64;
    while at < len {
        // Cut where the body begins.
        let end = if at < body_start { body_start } else { len };
        let piece = &mut buffer[..usize::try_from(end - at).unwrap_or(usize::MAX).min(READ_OCTETS)];
        file.read_exact_at(piece, at)?;
        eight_bit |= !piece.is_ascii();
        if at >= body_start {
            body.update(&*piece);
        }
        at += piece.len() as u64;
    }
    let fingerprint = Fingerprint::new(&header, body.finalize().into());
    let content = Content::Spooled { file: Arc::new(file), start: 0, len };
    Ok(Message { key, header, content, fingerprint, letter_id: None, eight_bit, repairs: Repairs::default(), budget: None })
}
