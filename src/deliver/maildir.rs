//! Delivery into Maildirs: a file per message and recipient, durable before it is called delivered, and never there twice.
//!
//! The path is a template: `{local}` is the local part as it is in the recipient's address, `{domain}` its domain in lower case as people
//! write it (`почта.рф`, not `xn--…`: an operator who looks for a folder looks for that name). Each value must be one safe path component;
//! an address that is none has no Maildir, and is rejected. The part of the path before the first placeholder is the operator's: it must be
//! there (a file system that is not mounted must not look like a new one), and symbolic links in it are followed. From the first
//! placeholder on, and in `tmp`, `new` and `cur`, every component is opened by its parent's handle with O_NOFOLLOW, so that nobody who owns
//! a mailbox can lead us elsewhere.
//!
//! A delivery writes `tmp/NAME` (O_EXCL, 0600, line ends as LF), fsyncs it, links it to `new/NAME`, removes `tmp/NAME` and fsyncs `new`.
//! NAME is made of the message's trace id and the recipient, so it is the same when a crash makes us deliver once more: link(2) then says
//! EEXIST, which means done. A reader may have moved the file to `cur` by then: when an earlier attempt is in doubt, `cur` is searched
//! first. What is left in `tmp` by a crash has the same name too, and is replaced. After a failed fsync the file is discarded: the kernel
//! may have dropped its pages, and a second fsync would lie.

mod inspect;

use super::{Destination, Inspection};
use crate::config::maildir_base;
use crate::mail::{Address, Blame, Diagnosis, Envelope, Message, Outcome, Recipient, Reply, Stage};
use crate::spool::reader::Outgoing;
use async_trait::async_trait;
use futures_util::future::join_all;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Longest path component, in octets: NAME_MAX of every file system in use.
const COMPONENT_OCTETS_MAX: usize = 255;
/// Files written at once, unless configured: more gain little, as they share the disk's fsyncs.
const WRITERS: usize = 4;
/// Octets of one write.
const WRITE_OCTETS: usize = 128 * 1024;

/// Maildirs to deliver into.
pub struct MaildirDestination {
    shared: Arc<Shared>,
    permits: Semaphore,
}

struct Shared {
    template: Template,
    create: bool,
    always_create: HashSet<Address>,
    /// Names that are being written: the same message for the same recipient is never written twice at once.
    writing: Mutex<HashSet<String>>,
}

impl MaildirDestination {
    /// Maildirs at `path`, a template with `{local}` and `{domain}`. Folders of `always_create` (the addresses of `forward_to` and
    /// `default_box`) are made if they are missing, those of other recipients only with `create`.
    pub fn new(path: &str, create: bool, always_create: Vec<Address>) -> Self {
        let always_create = always_create.into_iter().collect();
        let shared = Shared { template: Template::new(path), create, always_create, writing: Mutex::default() };
        MaildirDestination { shared: Arc::new(shared), permits: Semaphore::new(WRITERS) }
    }

    /// Writes that many files at once.
    pub fn with_writers(mut self, writers: usize) -> Self {
        self.permits = Semaphore::new(writers.clamp(1, Semaphore::MAX_PERMITS));
        self
    }

    async fn deliver_to(&self, address: Address, envelope: &Envelope, message: &Message) -> Outcome {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.ok();
        let name = file_name(message, &address);
        let outgoing = Outgoing::new(&envelope.prefix, &envelope.edits, &message.content);
        let (shared, in_doubt) = (Arc::clone(&self.shared), envelope.in_doubt);
        let written = tokio::task::spawn_blocking(move || shared.deliver(&address, &name, outgoing, in_doubt)).await;
        written.unwrap_or_else(|join| Err(target(join.to_string(), None))).unwrap_or_else(|outcome| outcome)
    }
}

#[async_trait]
impl Destination for MaildirDestination {
    async fn deliver(&self, envelope: &Envelope, message: &Message) -> Vec<Outcome> {
        // An address that is there twice gets one file, as its name says, and one outcome.
        let mut addresses: Vec<&Address> = envelope.recipients.iter().map(|recipient| &recipient.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let outcomes = join_all(addresses.iter().map(|&address| self.deliver_to(address.clone(), envelope, message))).await;
        let of = |recipient: &Recipient| match addresses.binary_search(&&recipient.address) {
            Ok(position) => outcomes[position].clone(),
            Err(_) => target("not tried".into(), None),
        };
        envelope.recipients.iter().map(of).collect()
    }

    fn name(&self) -> String {
        format!("maildir {}", self.shared.template.text)
    }

    async fn inspect(&self, recipients: &[Address]) -> Vec<Inspection> {
        let (shared, recipients) = (Arc::clone(&self.shared), recipients.to_vec());
        // A task that panicked has found nothing out.
        tokio::task::spawn_blocking(move || shared.inspect(&recipients)).await.into_iter().collect()
    }

    async fn rest(&self) {}
}

/// The name of the file for this message and recipient: the same at each attempt, and valid in a Maildir (no `/`, no `:`, no leading dot).
fn file_name(message: &Message, address: &Address) -> String {
    let hash = Sha256::digest(address.to_smtp().as_bytes());
    let hash: String = hash[..8].iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{}.{hash}.mailgather", message.trace_id())
}

impl Shared {
    fn deliver(&self, address: &Address, name: &str, outgoing: Outgoing, in_doubt: bool) -> Result<Outcome, Outcome> {
        let _turn = Turn::take(&self.writing, name).ok_or_else(|| recipient("this message is being written for this recipient".into()))?;
        let may_create = self.create || self.always_create.contains(address);
        let folder = Folder::open(&self.template, address, may_create)?;
        if folder.holds(name, in_doubt)? {
            return Ok(Outcome::Delivered(Reply::new(0, None, &format!("{name} is there already"))));
        }
        folder.write(name, outgoing)?;
        Ok(Outcome::Delivered(Reply::new(0, None, &format!("saved as {name}"))))
    }
}

/// The right to write a name, given back when dropped.
struct Turn<'a> {
    writing: &'a Mutex<HashSet<String>>,
    name: &'a str,
}

impl<'a> Turn<'a> {
    fn take(writing: &'a Mutex<HashSet<String>>, name: &'a str) -> Option<Self> {
        let taken = writing.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        taken.then_some(Turn { writing, name })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).remove(self.name);
    }
}

/// A path with placeholders, split where its components stop to be the operator's.
struct Template {
    text: String,
    base: PathBuf,
    /// The components below the base; at least one.
    below: Vec<String>,
}

impl Template {
    fn new(text: &str) -> Self {
        let (base, below) = maildir_base(text);
        Template { text: text.to_owned(), base, below: below.iter().map(|part| part.to_string()).collect() }
    }

    /// The components below the base for this address, or why it cannot have any.
    fn components(&self, address: &Address) -> Result<Vec<String>, String> {
        let domain = address.domain().to_unicode().to_lowercase();
        let fill = |part: &String| {
            let mut filled = String::new();
            let mut rest = part.as_str();
            // From left to right, so that a local part `{domain}` is not filled in once more.
            while let Some(at) = rest.find('{') {
                filled.push_str(&rest[..at]);
                rest = &rest[at..];
                let value = if let Some(after) = rest.strip_prefix("{local}") {
                    rest = after;
                    address.local()
                } else if let Some(after) = rest.strip_prefix("{domain}") {
                    rest = after;
                    &domain
                } else {
                    rest = &rest[1..];
                    filled.push('{');
                    continue;
                };
                filled.push_str(safe(value)?);
            }
            filled.push_str(rest);
            if filled.len() > COMPONENT_OCTETS_MAX {
                return Err(format!("`{filled}` is too long for a file name"));
            }
            match filled.as_str() {
                "." | ".." => Err(format!("`{filled}` cannot be a folder")),
                _ => Ok(filled),
            }
        };
        self.below.iter().map(fill).collect()
    }
}

/// The value, if it can be (a part of) one path component whatever stands around it.
fn safe(value: &str) -> Result<&str, String> {
    let why = if value.is_empty() {
        "it is empty"
    } else if value.starts_with('.') {
        "it starts with a dot"
    } else if value.contains('/') {
        "it has a slash"
    } else if value.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(value);
    };
    Err(format!("`{}` cannot name a folder: {why}", value.escape_debug()))
}

/// An open Maildir.
struct Folder {
    tmp: OwnedFd,
    new: OwnedFd,
    cur: OwnedFd,
}

impl Folder {
    fn open(template: &Template, address: &Address, may_create: bool) -> Result<Self, Outcome> {
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
                Err(error) => return Err(failure(error, &format!("cannot open {}", shown.display()))),
            };
        }
        let open = |name: &str| {
            subfolder(&folder, name, may_create || made).map(|(folder, _)| folder).map_err(|error| match error {
                Errno::NOENT => recipient(format!("{} is no Maildir: it has no folder {name}", shown.display())),
                error => failure(error, &format!("cannot open {}/{name}", shown.display())),
            })
        };
        Ok(Folder { tmp: open("tmp")?, new: open("new")?, cur: open("cur")? })
    }

    /// True if an earlier attempt put the file there; then it is made durable, as that attempt may have ended before its fsync.
    fn holds(&self, name: &str, in_doubt: bool) -> Result<bool, Outcome> {
        match rustix::fs::statat(&self.new, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {
                // A crash between the link and the removal left its file in tmp.
                self.discard(name);
                return self.settle(name).map(|()| true);
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failure(error, "cannot look into new")),
        }
        if !in_doubt || !self.is_in_cur(name).map_err(|error| failure(error, "cannot look into cur"))? {
            return Ok(false);
        }
        rustix::fs::fsync(&self.cur).map_err(|error| failure(error, "fsync of cur failed"))?;
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

    fn write(&self, name: &str, outgoing: Outgoing) -> Result<(), Outcome> {
        let file = self.create(name).map_err(|error| failure(error, "cannot make a file in tmp"))?;
        let written = copy(outgoing, File::from(file)).and_then(|file| rustix::fs::fsync(&file).map_err(io::Error::from));
        if let Err(error) = written {
            self.discard(name);
            return Err(match error.raw_os_error() {
                Some(code) => failure(Errno::from_raw_os_error(code), "writing the file failed"),
                None => message(format!("reading the message from the spool failed: {error}")),
            });
        }
        let linked = rustix::fs::linkat(&self.tmp, name, &self.new, name, AtFlags::empty());
        self.discard(name);
        match linked {
            Ok(()) | Err(Errno::EXIST) => self.settle(name),
            Err(error) => Err(failure(error, "cannot link the file from tmp to new")),
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
            failure(error, "fsync of new failed")
        })
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a folder by its parent's handle; makes it (0700, durably) if it is missing and may be made. Says whether it was made.
fn subfolder(parent: &OwnedFd, name: &str, may_create: bool) -> Result<(OwnedFd, bool), Errno> {
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

/// Writes the message with LF as its line end, as Maildir readers expect it.
fn copy(mut outgoing: Outgoing, mut file: File) -> io::Result<File> {
    let (mut lines, mut block) = (LineFeeds::default(), Vec::with_capacity(WRITE_OCTETS.min(outgoing.len() as usize + 1)));
    // An error of the spool has no number here, so that it is not taken for one of the Maildir's disk.
    while let Some(piece) = outgoing.next_blocking().map_err(|error| io::Error::other(error.to_string()))? {
        for part in piece.chunks(WRITE_OCTETS) {
            lines.push(part, &mut block);
            if block.len() >= WRITE_OCTETS {
                file.write_all(&block)?;
                block.clear();
            }
        }
    }
    lines.finish(&mut block);
    file.write_all(&block)?;
    Ok(file)
}

/// CRLF to LF, in pieces cut anywhere. A bare CR, which canonical content does not hold, stays.
#[derive(Default)]
struct LineFeeds {
    held_cr: bool,
}

impl LineFeeds {
    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if !piece.is_empty() && std::mem::take(&mut self.held_cr) && piece[0] != b'\n' {
            out.push(b'\r');
        }
        let mut rest = piece;
        while let Some(cr) = memchr::memchr(b'\r', rest) {
            out.extend_from_slice(&rest[..cr]);
            match rest.get(cr + 1) {
                Some(b'\n') => {}
                Some(_) => out.push(b'\r'),
                None => self.held_cr = true,
            }
            rest = &rest[cr + 1..];
        }
        out.extend_from_slice(rest);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) {
            out.push(b'\r');
        }
    }
}

fn diagnosis(blame: Blame, text: String) -> Diagnosis {
    Diagnosis::of_text(Stage::File, blame, text)
}

/// The folder that all Maildirs are in is not there. It is not made: its file system may not be mounted.
fn no_base(base: &Path) -> Diagnosis {
    let hint = format!("create it: mkdir -p {}, owned by the service's user", base.display());
    Diagnosis { hint: Some(hint), ..diagnosis(Blame::Target, format!("cannot open {}: {}", base.display(), Errno::NOENT)) }
}

fn target(text: String, hint: Option<String>) -> Outcome {
    Outcome::Deferred(Diagnosis { hint, ..diagnosis(Blame::Target, text) })
}

fn message(text: String) -> Outcome {
    Outcome::Deferred(diagnosis(Blame::Message, text))
}

fn recipient(text: String) -> Outcome {
    Outcome::Deferred(diagnosis(Blame::Recipient, text))
}

fn rejected(text: String) -> Outcome {
    Outcome::Rejected(diagnosis(Blame::Recipient, text))
}

/// A disk that is full or failing is everybody's trouble, anything else that of this folder.
fn failure(error: Errno, doing: &str) -> Outcome {
    match error {
        Errno::NOSPC | Errno::DQUOT => target(
            format!("{doing}: {error}"),
            Some("make room on the disk of the Maildir; mail stays at its source until it can be written".to_owned()),
        ),
        Errno::IO | Errno::ROFS | Errno::FBIG | Errno::MFILE | Errno::NFILE => target(format!("{doing}: {error}"), None),
        Errno::NOTDIR | Errno::LOOP => recipient(format!("{doing}: it is no folder, or a symbolic link, which is not followed")),
        error => recipient(format!("{doing}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        for error in [Errno::NOSPC, Errno::DQUOT] {
            let Outcome::Deferred(diagnosis) = failure(error, "writing the file failed") else { panic!() };
            assert_eq!(diagnosis.blame, Blame::Target);
            assert!(diagnosis.hint.unwrap().starts_with("make room on the disk of the Maildir"));
        }
    }

    fn components(template: &str, local: &str, domain: &str) -> Result<Vec<String>, String> {
        Template::new(template).components(&Address::new(local, domain.parse().unwrap()).unwrap())
    }

    #[test]
    fn templates() {
        let template = Template::new("/var/mail/{domain}/{local}/Maildir");
        assert_eq!(template.base, PathBuf::from("/var/mail"));
        let of = |template, local, domain| components(template, local, domain).unwrap().join("/");
        assert_eq!(of("/var/mail/{domain}/{local}/Maildir", "Anna", "Example.ORG"), "example.org/Anna/Maildir");
        assert_eq!(of("/m/{local}@{domain}", "раз", "xn--h1aev.xn--p1ai"), "раз@икс.рф");
        assert_eq!(of("/m/{local}", "{domain}", "a.example"), "{domain}");
        assert_eq!(of("/m/{x}{local}", "a", "a.example"), "{x}a");
        assert_eq!(of("/m/box", "a", "a.example"), "box");
        assert_eq!(Template::new("/m/box").base, PathBuf::from("/m"));
    }

    #[test]
    fn an_unsafe_local_part_has_no_folder() {
        for local in [".", "..", ".hidden", "a/b", "../x", "/", "/etc/passwd"] {
            assert!(components("/m/{local}", local, "a.example").is_err(), "{local}");
        }
        assert!(components("/m/{local}-{local}", &"x".repeat(128), "a.example").is_err());
        assert!(components("/m/{local}", &"x".repeat(255), "a.example").is_ok());
    }

    proptest! {
        #[test]
        fn a_component_is_one_component(local in any::<String>()) {
            if let Ok(address) = Address::new(&local, "a.example".parse().unwrap())
                && let Ok(parts) = Template::new("/m/{local}").components(&address)
            {
                prop_assert_eq!(parts.len(), 1);
                let path = PathBuf::from(&parts[0]);
                let kinds: Vec<_> = path.components().collect();
                prop_assert!(matches!(kinds[..], [std::path::Component::Normal(_)]) && !parts[0].contains('\0'));
            }
        }

        #[test]
        fn line_ends_are_lf(raw in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40), cut in 0usize..40) {
            let cut = cut.min(raw.len());
            let (mut lines, mut out) = (LineFeeds::default(), Vec::new());
            lines.push(&raw[..cut], &mut out);
            lines.push(&raw[cut..], &mut out);
            lines.finish(&mut out);
            let expected = String::from_utf8(raw).unwrap().replace("\r\n", "\n");
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
