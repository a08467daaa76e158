//! Writing: lock, compare, keep the old version, write beside, fsync, rename, fsync the folder.

use super::{Change, Versions};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Who writes the configuration holds this file in the state directory.
const LOCK: &str = "config.lock";
/// How long another writer is waited for: each needs a moment only.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How often it is asked again.
const LOCK_TICK: Duration = Duration::from_millis(50);

/// Why a change was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Somebody changed the file since it was read.
    #[error("{0} was changed by somebody else meanwhile; nothing was written")]
    Changed(PathBuf),
    /// Somebody writes the configuration.
    #[error("somebody else writes the configuration: {0} is locked")]
    Busy(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl WriteError {
    /// True if the disk is full or broken; else it is about rights.
    pub fn is_disk(&self) -> bool {
        matches!(self, WriteError::Io { error, .. } if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) || error.raw_os_error() == Some(5))
    }
}

impl Change {
    /// Writes it. Blocks on the disk. What it was made for must be what is there: the whole file is compared.
    pub fn write(&self) -> Result<(), WriteError> {
        let state_dir = &self.loaded.config.service.state_dir;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| WriteError::Io { path, error }
        };
        let owner = make_folder(state_dir, 0o700, None).map_err(failed(state_dir))?;
        let _lock = lock(&state_dir.join(LOCK), &owner)?;
        // A symbolic link stays one: what it leads to is written.
        let file = self.file.canonicalize().unwrap_or_else(|_| self.file.clone());
        let there = match std::fs::read(&file) {
            Ok(octets) => Some(octets),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&file)(error)),
        };
        if there.as_deref() != self.before.as_deref().map(str::as_bytes) {
            return Err(WriteError::Changed(self.file.clone()));
        }
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        if self.before.is_none() {
            make_folder(&folder, 0o750, Some(&owner)).map_err(failed(&folder))?;
        }
        if let Some(before) = &self.before {
            let versions = Versions::of(state_dir);
            let kept = versions.keep(&self.file, before, jiff::Timestamp::now()).map_err(failed(state_dir))?;
            own(&kept, &owner).map_err(failed(&kept))?;
            for folder in kept.ancestors().skip(1).take(2) {
                own(folder, &owner).map_err(failed(folder))?;
            }
        }
        match &self.after {
            None => std::fs::remove_file(&file).map_err(failed(&file))?,
            Some(text) => replace(&file, text, &owner).map_err(failed(&file))?,
        }
        if let Some(moved) = &self.moved {
            renameat_with(CWD, &file, CWD, moved, RenameFlags::NOREPLACE).map_err(|error| failed(moved)(error.into()))?;
        }
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed(&folder))
    }
}

/// Writes a first configuration, which must not be there yet; its group, that of the state directory, may read it.
pub fn create_configuration(file: &Path, text: &str, state_dir: &Path) -> Result<(), WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| WriteError::Io { path, error }
    };
    let owner = make_folder(state_dir, 0o700, None).map_err(failed(state_dir))?;
    let _lock = lock(&state_dir.join(LOCK), &owner)?;
    if file.symlink_metadata().is_ok() {
        return Err(WriteError::Changed(file.to_owned()));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(folder, 0o750, Some(&owner)).map_err(failed(folder))?;
    replace(file, text, &owner).map_err(failed(file))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

/// The line of the audit.
pub fn log_written(by: &str, change: &str, collector: &str, file: &str) {
    // As `observe::logging::audit::TARGET`, which is a layer above: no `log.level` silences it.
    tracing::info!(target: "mailgather::audit", event = "config_written", by, change, collector, file);
}

/// Makes a folder, as root for whom it is made; the owner of one that is there.
fn make_folder(folder: &Path, mode: u32, owner: Option<&Metadata>) -> io::Result<Metadata> {
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(mode).create(folder)?;
        if let Some(owner) = owner {
            own(folder, owner)?;
        }
    }
    std::fs::metadata(folder)
}

/// What root writes into the state directory is for the user who runs the daemon.
fn own(path: &Path, owner: &Metadata) -> io::Result<()> {
    let is = std::fs::metadata(path)?;
    if (is.uid(), is.gid()) == (owner.uid(), owner.gid()) || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
}

fn lock(path: &Path, owner: &Metadata) -> Result<File, WriteError> {
    let failed = |error: io::Error| WriteError::Io { path: path.to_owned(), error };
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    own(path, owner).map_err(failed)?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_TICK),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(WriteError::Busy(path.to_owned())),
            Err(error) => return Err(failed(error.into())),
        }
    }
}

/// Puts a new text in the place of a file at one stroke. Owner and mode stay; a new one is the daemon's, and its group's to read.
fn replace(file: &Path, text: &str, owner: &Metadata) -> io::Result<()> {
    let like = match std::fs::metadata(file) {
        Ok(like) => Some(like),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let name = file.file_name().ok_or_else(|| io::Error::other("this is no name of a file"))?.to_string_lossy();
    // A dot in front: neither `conf.d` nor `collectors.d` reads it.
    let draft = file.with_file_name(format!(".{name}.{}", std::process::id()));
    // One of a process with our number that was killed.
    let _ = std::fs::remove_file(&draft);
    let write = || {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        new.write_all(text.as_bytes())?;
        let (mode, wanted) = match &like {
            Some(like) => (like.mode() & 0o7777, like),
            None => (0o640, owner),
        };
        let is = new.metadata()?;
        if (is.uid(), is.gid()) != (wanted.uid(), wanted.gid()) && (like.is_some() || rustix::process::geteuid().is_root()) {
            fchown(&new, Some(wanted.uid()), Some(wanted.gid()))?;
        }
        new.set_permissions(std::fs::Permissions::from_mode(mode))?;
        new.sync_all()?;
        std::fs::rename(&draft, file)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&draft)))
}
