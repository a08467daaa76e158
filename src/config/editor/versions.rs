//! What a file held before it was written: the last versions of each, in the state directory.

use sha2::{Digest, Sha256};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The folder in the state directory.
const FOLDER: &str = "config-versions";
/// Versions of one file that are kept.
const KEPT: usize = 20;
/// Longest name of a folder that file systems take.
const NAME_OCTETS_MAX: usize = 255;

/// The versions of files.
#[derive(Clone, Debug)]
pub struct Versions(PathBuf);

impl Versions {
    /// Those of a state directory.
    pub fn of(state_dir: &Path) -> Self {
        Versions(state_dir.join(FOLDER))
    }

    /// The folder with the versions of a file.
    pub fn folder(&self, file: &Path) -> PathBuf {
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let name = whole.to_string_lossy().trim_start_matches('/').replace('%', "%25").replace('/', "%2F");
        match name.len() <= NAME_OCTETS_MAX {
            true => self.0.join(name),
            false => self.0.join(Sha256::digest(name.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect::<String>()),
        }
    }

    /// Keeps what a file holds; the oldest go. It may hold a secret: nobody but the owner may read it.
    pub(super) fn keep(&self, file: &Path, text: &str, now: jiff::Timestamp) -> io::Result<PathBuf> {
        let folder = self.folder(file);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = folder.join(format!("{}.yaml", now.strftime("%Y-%m-%dT%H-%M-%S.%9fZ")));
        let mut version = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        version.write_all(text.as_bytes())?;
        version.sync_all()?;
        File::open(&folder)?.sync_all()?;
        let mut all: Vec<PathBuf> = std::fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        all.sort();
        for old in all.iter().rev().skip(KEPT) {
            std::fs::remove_file(old)?;
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_last_twenty_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::of(folder.path());
        let file = Path::new("/etc/mail%gather/a.yaml");
        for n in 0..25 {
            let now = jiff::Timestamp::from_second(1_800_000_000 + n).unwrap();
            let path = versions.keep(file, &format!("version: {n}\n"), now).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut texts: Vec<String> =
            std::fs::read_dir(versions.folder(file)).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        texts.sort();
        assert_eq!((texts.len(), texts.contains(&"version: 24\n".to_owned()), texts.contains(&"version: 4\n".to_owned())), (20, true, false));
        assert!(versions.folder(file).ends_with("etc%2Fmail%25gather%2Fa.yaml"));
        assert_eq!(versions.folder(Path::new(&"/x".repeat(200))).file_name().unwrap().len(), 64);
    }
}
