//! The program's own store of secrets: the folder `secrets` in the state directory, a file for each. What `{secret: NAME}` names is there.
//!
//! A secret is written whole or not at all: into a new file, fsync, rename, fsync of the folder. Root, who may set one for the service's user, must
//! not be led elsewhere by that user: everything is opened below the folder's own descriptor, and no symbolic link is followed.

use super::{Channel, CheckLocal, Collector, Config, Delivery, Relay, SecretSource, Target, Way};
use crate::mail::{CollectorId, Secret};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder's name in the state directory.
pub const FOLDER: &str = "secrets";
/// Longest name.
const NAME_MAX: usize = 64;
/// Most secrets that are listed.
const LISTED_MAX: usize = 100_000;

/// The store of one state directory.
#[derive(Clone, Debug)]
pub struct Store {
    state_dir: PathBuf,
    folder: &'static str,
}

/// A secret that is there: all that is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// When it was set, in seconds of Unix time.
    pub set: i64,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system says no.
    #[error("{path}: {}", crate::disk::told(.path, .error))]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: std::io::Error,
    },
    /// Somebody put something else there.
    #[error("{0} is no folder of ours: a symbolic link, a file, or another user's")]
    Strange(PathBuf),
}

/// True for a name that a secret can have: letters, digits, `.`, `_` and `-`, with a letter or a digit in front.
pub fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    name.len() <= NAME_MAX && name.bytes().all(fits) && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

impl Store {
    /// That of this state directory.
    pub fn new(state_dir: &Path) -> Self {
        Store { state_dir: state_dir.to_owned(), folder: FOLDER }
    }

    /// A folder beside it with the same rules, for what the program itself keeps secret.
    pub fn named(state_dir: &Path, folder: &'static str) -> Self {
        Store { state_dir: state_dir.to_owned(), folder }
    }

    /// Where it is.
    pub fn folder(&self) -> PathBuf {
        self.state_dir.join(self.folder)
    }

    /// Keeps a secret, in place of the one that has this name: durable when it returns. True if there was one. The name must be one
    /// ([`is_name`]). Blocks on the disk.
    pub fn set(&self, name: &str, secret: &Secret) -> Result<bool, StoreError> {
        let (folder, owner) = self.open_to_write()?;
        let failed = |error: Errno| StoreError::Io { path: self.folder().join(name), error: error.into() };
        // No name that is listed begins with a dot. What a crash left of an earlier one is replaced.
        let new = format!(".{name}.new");
        let _ = rustix::fs::unlinkat(&folder, &new, AtFlags::empty());
        let written = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&folder, &new, flags, Mode::RUSR | Mode::WUSR)?;
            rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
            give(&file, &owner)?;
            let mut file = File::from(file);
            let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
            file.write_all(secret.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
            let replaces = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            rustix::fs::renameat(&folder, &new, &folder, name)?;
            rustix::fs::fsync(&folder)?;
            Ok(replaces)
        };
        written().map_err(|error| {
            let _ = rustix::fs::unlinkat(&folder, &new, AtFlags::empty());
            failed(error)
        })
    }

    /// Removes a secret: durable when it returns. False if there is none with this name. Blocks on the disk.
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        if !self.folder().exists() {
            return Ok(false);
        }
        let (folder, _) = self.open_to_write()?;
        let removed = match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            removed => removed.and_then(|()| rustix::fs::fsync(&folder)),
        };
        removed.map(|()| true).map_err(|error| StoreError::Io { path: self.folder().join(name), error: error.into() })
    }

    /// Takes the lock that goes with this name, unless another process has it; it is let go when the file is closed, however that comes about.
    /// Blocks on the disk.
    pub fn try_lock(&self, name: &str) -> Result<Option<File>, StoreError> {
        let (folder, owner) = self.open_to_write()?;
        let locked = || {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&folder, format!(".{name}.lock"), flags, Mode::RUSR | Mode::WUSR)?;
            give(&file, &owner)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(File::from(file))),
                Err(Errno::WOULDBLOCK) => Ok(None),
                Err(error) => Err(error),
            }
        };
        locked().map_err(|error: Errno| StoreError::Io { path: self.folder().join(name), error: error.into() })
    }

    /// All that are there, in the order of their names. Blocks on the disk.
    pub fn list(&self) -> Result<Vec<Stored>, StoreError> {
        let failed = |error: Errno| StoreError::Io { path: self.folder(), error: error.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(self.folder(), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(StoreError::Strange(self.folder())),
            folder => folder.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in Dir::read_from(&folder).map_err(failed)?.take(LISTED_MAX) {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| is_name(name)) else { continue };
            // What goes away meanwhile is not there.
            let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                found.push(Stored { name: name.to_owned(), set: stat.st_mtime });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The folder, open and for its owner alone, made if it is missing; and the state directory, whose owner gets what is made here. Nobody else
    /// writes there until it is closed.
    fn open_to_write(&self) -> Result<(OwnedFd, Stat), StoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error: Errno| StoreError::Io { path, error: error.into() }
        };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.state_dir);
        made.map_err(|error| StoreError::Io { path: self.state_dir.clone(), error })?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let state_dir = rustix::fs::open(&self.state_dir, flags, Mode::empty()).map_err(at(&self.state_dir))?;
        let owner = rustix::fs::fstat(&state_dir).map_err(at(&self.state_dir))?;
        let path = self.folder();
        let is_new = match rustix::fs::mkdirat(&state_dir, self.folder, Mode::RWXU) {
            Err(Errno::EXIST) => false,
            made => made.map(|()| true).map_err(at(&path))?,
        };
        let folder = match rustix::fs::openat(&state_dir, self.folder, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(StoreError::Strange(path)),
            folder => folder.map_err(at(&path))?,
        };
        let stat = rustix::fs::fstat(&folder).map_err(at(&path))?;
        let ours = rustix::process::geteuid().as_raw();
        if ![owner.st_uid, ours].contains(&stat.st_uid) {
            return Err(StoreError::Strange(path));
        }
        give(&folder, &owner).map_err(at(&path))?;
        rustix::fs::fchmod(&folder, Mode::RWXU).map_err(at(&path))?;
        if is_new {
            rustix::fs::fsync(&state_dir).map_err(at(&path))?;
        }
        // One writer at a time: the new file has one name.
        rustix::fs::flock(&folder, FlockOperation::LockExclusive).map_err(at(&path))?;
        Ok((folder, owner))
    }
}

/// What root makes belongs to whom the state directory belongs to: the service's user reads it.
fn give(file: impl AsFd, owner: &Stat) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() || owner.st_uid == 0 {
        return Ok(());
    }
    rustix::fs::fchown(file, Some(rustix::fs::Uid::from_raw(owner.st_uid)), Some(rustix::fs::Gid::from_raw(owner.st_gid)))
}

/// Where a secret of the store is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// By which collector; `None`: by what is for all of them.
    pub collector: Option<CollectorId>,
    /// For which of its keys.
    pub key: &'static str,
}

impl Use {
    /// Whose it is, in words.
    pub fn whose(&self) -> &str {
        self.collector.as_ref().map_or("the service", CollectorId::as_str)
    }
}

/// The secrets of the store that a configuration names, each with its uses.
pub fn uses(config: &Config) -> BTreeMap<String, Vec<Use>> {
    let folder = Store::new(&config.service.state_dir).folder();
    let mut uses: BTreeMap<String, Vec<Use>> = BTreeMap::new();
    let mut all: Vec<(Option<&CollectorId>, &'static str, &SecretSource)> = Vec::new();
    all.extend(config.service.token_key.as_ref().map(|source| (None, "service.token_key", source)));
    all.extend(of_channels(&config.notify).into_iter().map(|(key, source)| (None, key, source)));
    for (id, collector) in &config.collectors {
        all.extend(sources(collector).into_iter().map(|(key, source)| (Some(id), key, source)));
    }
    for (collector, key, source) in all {
        // A file of the store is the store's, however it is named.
        let path = match source {
            SecretSource::Stored(path) => path,
            SecretSource::File(path) if path.parent() == Some(folder.as_path()) => path,
            _ => continue,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        uses.entry(name).or_default().push(Use { collector: collector.cloned(), key });
    }
    uses
}

/// Every secret of a collector, with its key.
fn sources(collector: &Collector) -> Vec<(&'static str, &SecretSource)> {
    let server = &collector.server;
    let mut sources = Vec::new();
    match (&server.auth.token, &server.auth.oauth) {
        // A login by a token has it in both places.
        (Some(token), _) => sources.push(("auth.token", token)),
        (None, Some(oauth)) => sources.extend(oauth.secret()),
        (None, None) => sources.push(("password", &server.password)),
    }
    let Delivery { target, .. } = &*collector.delivery;
    if let Target::Smtp(relay) | Target::Lmtp(relay) = target {
        sources.extend(of_relay(relay).map(|password| ("delivery.auth.password", password)));
    }
    sources.extend(of_channels(collector.notify.as_deref().unwrap_or_default()));
    if let CheckLocal::Smtp(relay) | CheckLocal::Lmtp(relay) = &collector.check_local {
        sources.extend(of_relay(relay).map(|password| ("recipient.auto.check_local.auth.password", password)));
    }
    sources
}

/// Every secret of those who are told of trouble.
fn of_channels(channels: &[Arc<Channel>]) -> Vec<(&'static str, &SecretSource)> {
    let mut sources = Vec::new();
    for channel in channels {
        match &channel.way {
            Way::Webhook { url, token, .. } => {
                sources.push(("notify.webhook", url));
                sources.extend(token.as_ref().map(|token| ("notify.token", token)));
            }
            Way::Email { via, is_shared: false, .. } => {
                if let Target::Smtp(relay) | Target::Lmtp(relay) = &via.target {
                    sources.extend(of_relay(relay).map(|password| ("notify.via.auth.password", password)));
                }
            }
            Way::Email { .. } | Way::Command { .. } => {}
        }
    }
    sources
}

fn of_relay(relay: &Relay) -> Option<&SecretSource> {
    relay.auth.as_ref().map(|auth| &auth.password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn set_listed_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("new/state"));
        assert_eq!(store.list().unwrap(), []);
        assert!(!store.remove("boss").unwrap());
        assert!(!store.set("boss", &secret("one")).unwrap());
        assert!(store.set("boss", &secret("two")).unwrap());
        assert!(!store.set("a.b-c_1", &secret("three")).unwrap());
        let path = store.folder().join("boss");
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode(&path), mode(&store.folder())), ("two", 0o600, 0o700));
        // What a crash left, and what somebody else put there, is no secret.
        std::fs::write(store.folder().join(".boss.new"), "half").unwrap();
        std::fs::create_dir(store.folder().join("folder")).unwrap();
        let names: Vec<String> = store.list().unwrap().into_iter().map(|stored| stored.name).collect();
        assert_eq!(names, ["a.b-c_1", "boss"]);
        assert!(store.set("boss", &secret("four")).unwrap());
        assert!(!store.folder().join(".boss.new").exists());
        assert!(store.remove("boss").unwrap() && !store.remove("boss").unwrap() && !path.exists());
        // A folder that was opened to others is closed again.
        std::fs::set_permissions(store.folder(), PermissionsExt::from_mode(0o777)).unwrap();
        store.set("boss", &secret("five")).unwrap();
        assert_eq!(mode(&store.folder()), 0o700);
    }

    #[test]
    fn nobody_leads_it_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (state, other) = (dir.path().join("state"), dir.path().join("other"));
        std::fs::create_dir(&state).unwrap();
        std::fs::create_dir(&other).unwrap();
        let store = Store::new(&state);
        symlink(&other, store.folder()).unwrap();
        assert!(matches!(store.set("boss", &secret("x")), Err(StoreError::Strange(_))));
        assert!(matches!(store.list(), Err(StoreError::Strange(_))));
        assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0);
        std::fs::remove_file(store.folder()).unwrap();
        // A link in the place of a secret is replaced, and what it leads to stays as it is.
        let target = dir.path().join("target");
        std::fs::write(&target, "mine").unwrap();
        store.set("a", &secret("x")).unwrap();
        for link in ["boss", ".boss.new"] {
            symlink(&target, store.folder().join(link)).unwrap();
        }
        store.set("boss", &secret("y")).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
        assert!(!std::fs::symlink_metadata(store.folder().join("boss")).unwrap().is_symlink());
    }

    #[test]
    fn names() {
        for (name, wanted) in [
            ("boss", true),
            ("a.b-c_1", true),
            ("7", true),
            ("", false),
            (".boss", false),
            ("..", false),
            ("-x", false),
            ("a/b", false),
            ("a b", false),
            ("почта", false),
        ] {
            assert_eq!(is_name(name), wanted, "{name}");
        }
        assert!(is_name(&"x".repeat(64)) && !is_name(&"x".repeat(65)));
    }
}
