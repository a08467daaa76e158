//! A password that was typed, in a file of its own.

use super::super::exit::Exit;
use crate::mail::Secret;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown, fchown};
use std::path::{Path, PathBuf};

/// The folder in the state directory.
const FOLDER: &str = "secrets";

/// Where the password of a collector goes.
pub(super) fn path(state_dir: &Path, name: &str) -> PathBuf {
    let path = state_dir.join(FOLDER).join(name);
    std::path::absolute(&path).unwrap_or(path)
}

/// Writes it, for the user who owns the state directory alone; never over one that is there and says something else.
pub(super) fn write(state_dir: &Path, name: &str, secret: &Secret) -> Result<PathBuf, Exit> {
    let path = path(state_dir, name);
    written(state_dir, &path, secret).map_err(|error| {
        eprintln!("error: cannot write {}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::AlreadyExists => eprintln!("hint: it holds another password: remove it, or choose another name"),
            _ => eprintln!("hint: run it as root or as the user of the service, or say where the password is, as {{file: /path}}"),
        }
        Exit::CantCreate
    })?;
    Ok(path)
}

fn written(state_dir: &Path, path: &Path, secret: &Secret) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let owner = std::fs::metadata(state_dir)?;
    let folder = state_dir.join(FOLDER);
    let is_root = rustix::process::geteuid().is_root();
    if !folder.is_dir() {
        DirBuilder::new().mode(0o700).create(&folder)?;
        if is_root {
            chown(&folder, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    if std::fs::read(path).is_ok_and(|there| there == secret.expose().as_bytes()) {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if is_root {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(secret.expose().as_bytes())?;
    file.sync_all()?;
    File::open(&folder)?.sync_all()
}
