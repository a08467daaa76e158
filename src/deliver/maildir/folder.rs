//! One Maildir, opened by handles: a file is written to `tmp`, made durable, and linked to `new`.

use super::lines::copy;
use super::outcome::{failure, message, no_base, recipient, rejected, target};
use super::template::Template;
use crate::mail::{Address, Outcome};
use crate::spool::reader::Outgoing;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// An open Maildir.
pub(super) struct Folder {
    tmp: OwnedFd,
    new: OwnedFd,
    cur: OwnedFd,
    path: PathBuf,
}

impl Folder {
    pub(super) fn open(template: &Template, address: &Address, may_create: bool) -> Result<Self, Outcome> {
        let components = template.components(address).map_err(rejected)?;
        let mut shown = template.base.clone();
        let mut folder = rustix::fs::openat(CWD, &template.base, FOLDER, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => Outcome::Deferred(no_base(&shown)),
            error => target(format!("cannot open {}: {error}", shown.display()), None),
        })?;
        let mut made = false;
        for component in &components {
            shown.push(component);
            (folder, made) = match subfolder(&folder, component, may_create) {
                Ok(opened) => opened,
                // For the resolver this is a user who does not exist, and the default box takes over.
                Err(Errno::NOENT) => {
                    return Err(rejected(format!("no such mailbox: {} does not exist, and maildir_create is not true", shown.display())));
                }
                Err(error) => return Err(failure(error, &format!("cannot open {}", shown.display()), &shown)),
            };
        }
        let open = |name: &str| {
            subfolder(&folder, name, may_create || made).map(|(folder, _)| folder).map_err(|error| match error {
                Errno::NOENT => recipient(format!("{} is no Maildir: it has no folder {name}", shown.display())),
                error => failure(error, &format!("cannot open {}/{name}", shown.display()), &shown),
            })
        };
        Ok(Folder { tmp: open("tmp")?, new: open("new")?, cur: open("cur")?, path: shown })
    }

    /// True if an earlier attempt put the file there; then it is made durable, as that attempt may have ended before its fsync.
    pub(super) fn holds(&self, name: &str, in_doubt: bool) -> Result<bool, Outcome> {
        match rustix::fs::statat(&self.new, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {
                // A crash between the link and the removal left its file in tmp.
                self.discard(name);
                return self.settle(name).map(|()| true);
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failure(error, "cannot look into new", &self.path)),
        }
        if !in_doubt || !self.is_in_cur(name).map_err(|error| failure(error, "cannot look into cur", &self.path))? {
            return Ok(false);
        }
        rustix::fs::fsync(&self.cur).map_err(|error| failure(error, "fsync of cur failed", &self.path))?;
        Ok(true)
    }

    /// A reader appends flags (`:2,S`), and some put the size before them (`,S=123`).
    fn is_in_cur(&self, name: &str) -> Result<bool, Errno> {
        for entry in rustix::fs::Dir::read_from(&self.cur)? {
            let entry = entry?;
            let rest = entry.file_name().to_bytes().strip_prefix(name.as_bytes());
            if rest.is_some_and(|rest| matches!(rest.first(), None | Some(b':' | b','))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn write(&self, name: &str, outgoing: Outgoing) -> Result<(), Outcome> {
        let file = self.create(name).map_err(|error| failure(error, "cannot make a file in tmp", &self.path))?;
        let written = copy(outgoing, File::from(file)).and_then(|file| rustix::fs::fsync(&file).map_err(io::Error::from));
        if let Err(error) = written {
            self.discard(name);
            return Err(match error.raw_os_error() {
                Some(code) => failure(Errno::from_raw_os_error(code), "writing the file failed", &self.path),
                None => message(format!("reading the message from the spool failed: {error}")),
            });
        }
        let linked = rustix::fs::linkat(&self.tmp, name, &self.new, name, AtFlags::empty());
        self.discard(name);
        match linked {
            Ok(()) | Err(Errno::EXIST) => self.settle(name),
            Err(error) => Err(failure(error, "cannot link the file from tmp to new", &self.path)),
        }
    }

    /// A new file of ours in tmp. One of that name is left of an attempt that ended half-way, and is removed; never written to, as it may
    /// be a link to somewhere else.
    fn create(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::openat(&self.tmp, name, flags, mode) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&self.tmp, name, AtFlags::empty())?;
                rustix::fs::openat(&self.tmp, name, flags, mode)
            }
            opened => opened,
        }
    }

    /// Failing to remove a file from tmp harms nobody: the next attempt replaces it.
    fn discard(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.tmp, name, AtFlags::empty());
    }

    /// Makes the entry in new durable. If that fails the file goes, so that the next attempt writes it afresh.
    fn settle(&self, name: &str) -> Result<(), Outcome> {
        rustix::fs::fsync(&self.new).map_err(|error| {
            let _ = rustix::fs::unlinkat(&self.new, name, AtFlags::empty());
            failure(error, "fsync of new failed", &self.path)
        })
    }
}

pub(super) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a folder by its parent's handle; makes it (0700, durably) if it is missing and may be made. Says whether it was made.
pub(super) fn subfolder(parent: &OwnedFd, name: &str, may_create: bool) -> Result<(OwnedFd, bool), Errno> {
    let open = || rustix::fs::openat(parent, name, FOLDER.union(OFlags::NOFOLLOW), Mode::empty());
    match open() {
        Err(Errno::NOENT) if may_create => {}
        opened => return opened.map(|folder| (folder, false)),
    }
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        // Somebody else made it meanwhile.
        Err(Errno::EXIST) => {}
        made => made?,
    }
    rustix::fs::fsync(parent)?;
    open().map(|folder| (folder, true))
}
