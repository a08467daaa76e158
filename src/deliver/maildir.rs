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

mod folder;
mod inspect;
mod lines;
mod outcome;
mod template;

use folder::Folder;
use outcome::{recipient, target};
use template::Template;

use super::{Destination, Inspection};
use crate::mail::{Address, Envelope, Message, Outcome, Recipient, Reply};
use crate::spool::reader::Outgoing;
use async_trait::async_trait;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Files written at once, unless configured: more gain little, as they share the disk's fsyncs.
const WRITERS: usize = 4;

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
