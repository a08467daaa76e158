//! Files that are written whole or not at all, 0600, and never over others.

use super::super::exit::Exit;
use crate::import::draft::{Draft, Password};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Writes a new file. After a crash it is whole, or not there.
pub(super) fn new(path: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("this is no name of a file"))?;
    let draft = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    // One of a process with our number that was killed.
    let _ = std::fs::remove_file(&draft);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
        file.write_all(octets)?;
        file.sync_all()?;
        // A link is refused where the name is taken; a rename would replace it.
        std::fs::hard_link(&draft, path)
    });
    let _ = std::fs::remove_file(&draft);
    written?;
    std::fs::File::open(folder)?.sync_all()
}

/// Writes each password into a file of its own; of the folder only the last part is made. One that holds this very password already is left as it is.
pub(super) fn secrets(folder: &Path, drafts: &[Draft]) -> Result<(), Exit> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(folder, &error)),
        _ => {}
    }
    for draft in drafts {
        let Password::Plain(secret) = &draft.password else { continue };
        let path = folder.join(&draft.name);
        if std::fs::read(&path).is_ok_and(|there| there == secret.expose().as_bytes()) {
            continue;
        }
        new(&path, secret.expose().as_bytes()).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

pub(super) fn failed(path: &Path, error: &io::Error) -> Exit {
    eprintln!("error: cannot write {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull => Exit::Io,
        _ => Exit::CantCreate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_new_and_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yaml");
        new(&path, b"one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(new(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
}
