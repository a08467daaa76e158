//! Taking a message in, octet by octet, within the memory budget.

use crate::mail::header::HEADER_OCTETS_MAX;
use crate::mail::{Canonical, Content, Fingerprint, HeaderBlock, Message, MessageKey};
use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget is counted in units of this many octets.
const BUDGET_UNIT: u64 = 1024;
/// Octets that are gathered before a write to the spool file.
const WRITE_OCTETS: usize = 256 * 1024;
/// Least memory that a message starts with.
const FIRST_OCTETS: usize = 16 * 1024;

/// The state directory's spool and the memory budget of the process.
#[derive(Clone, Debug)]
pub struct Spool {
    pub(super) dir: Arc<Path>,
    spool_above: u64,
    budget: Arc<Semaphore>,
}

/// The spool file cannot be made or written: no space, no right, a broken disk. The message stays where it is.
#[derive(Debug, thiserror::Error)]
#[error("cannot spool a message in {dir}: {}", crate::disk::told(.dir, .error))]
pub struct SpoolError {
    /// The spool's folder.
    pub dir: PathBuf,
    /// What the system said.
    pub error: std::io::Error,
}

impl Spool {
    /// A spool in `dir` (made if it is missing), for messages above `spool_above` octets; `memory` octets of messages in memory in all.
    pub fn new(dir: &Path, spool_above: u64, memory: u64) -> Result<Self, SpoolError> {
        // For its owner alone, whatever the umask says.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| SpoolError { dir: dir.into(), error })?;
        let units = memory.max(spool_above).div_ceil(BUDGET_UNIT).min(Semaphore::MAX_PERMITS as u64) as usize;
        Ok(Spool { dir: dir.into(), spool_above, budget: Arc::new(Semaphore::new(units)) })
    }

    /// Opens an intake once the budget has room for the message: its `expected` size if the server announced one, but at most the spool's
    /// threshold. The whole share is taken before the first octet, or collectors would wait for each other for ever.
    pub async fn intake(&self, key: MessageKey, expected: Option<u64>) -> Intake {
        let share = expected.unwrap_or(u64::MAX).min(self.spool_above).div_ceil(BUDGET_UNIT).max(1);
        let permit = self.budget.clone().acquire_many_owned(u32::try_from(share).unwrap_or(u32::MAX)).await.ok();
        let first = expected.unwrap_or(FIRST_OCTETS as u64).min(64 * FIRST_OCTETS as u64).min(self.spool_above) as usize;
        Intake {
            spool: self.clone(),
            key,
            canonical: Canonical::new(),
            held: Vec::with_capacity(first + 2),
            header_ended: false,
            searched: 0,
            filed: None,
            received: 0,
            eight_bit: false,
            permit,
        }
    }
}

/// A message on its way in. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Intake {
    spool: Spool,
    key: MessageKey,
    canonical: Canonical,
    /// Canonical octets not in the file: all of a small message.
    held: Vec<u8>,
    /// The header's blank line is in `held`; octets of `held` that were searched for it.
    header_ended: bool,
    searched: usize,
    filed: Option<Filed>,
    received: u64,
    eight_bit: bool,
    permit: Option<OwnedSemaphorePermit>,
}

/// What is in the file already.
#[derive(Debug)]
struct Filed {
    file: Arc<File>,
    len: u64,
    header: HeaderBlock,
    body: Sha256,
}

impl Intake {
    /// Takes the next octets, as they came from the source (dot-unstuffed, but not yet canonical).
    pub async fn write(&mut self, raw: &[u8]) -> Result<(), SpoolError> {
        self.received += raw.len() as u64;
        self.eight_bit |= !raw.is_ascii();
        self.canonical.push(raw, &mut self.held);
        let full = match &self.filed {
            // The header is read once, when the file is made: until then all of it must be held, however much had come when the threshold was crossed.
            None => self.held.len() as u64 > self.spool.spool_above && self.holds_header(),
            Some(_) => self.held.len() >= WRITE_OCTETS,
        };
        if full { self.write_out().await } else { Ok(()) }
    }

    /// True if the header's blank line has come, or as much as is ever read of a header.
    fn holds_header(&mut self) -> bool {
        if !self.header_ended {
            // The blank line may have come in pieces.
            let from = self.searched.saturating_sub(3);
            self.header_ended = self.held.starts_with(b"\r\n") || memchr::memmem::find(&self.held[from..], b"\r\n\r\n").is_some();
            self.searched = self.held.len();
        }
        self.header_ended || self.held.len() >= HEADER_OCTETS_MAX
    }

    /// Octets taken so far, as they came.
    pub fn octets(&self) -> u64 {
        self.received
    }

    /// The message, now that the source says that it is complete.
    pub async fn finish(mut self) -> Result<Message, SpoolError> {
        self.canonical.finish(&mut self.held);
        if self.filed.is_some() && !self.held.is_empty() {
            self.write_out().await?;
        }
        let held = std::mem::take(&mut self.held);
        let (header, body_sha256, content) = match self.filed.take() {
            Some(filed) => (filed.header, filed.body.finalize().into(), Content::Spooled { file: filed.file, start: 0, len: filed.len }),
            None => {
                let octets = Bytes::from(held);
                let header = HeaderBlock::parse(octets.clone());
                let body_sha256 = Sha256::digest(&octets[header.body_start()..]).into();
                (header, body_sha256, Content::Memory(octets))
            }
        };
        let fingerprint = Fingerprint::new(&header, body_sha256);
        let budget = self.shrunk_permit(&content, &header);
        Ok(Message {
            key: self.key,
            header,
            content,
            fingerprint,
            letter_id: None,
            eight_bit: self.eight_bit,
            repairs: self.canonical.repairs(),
            budget: budget.map(|permit| Box::new(permit) as _),
        })
    }

    /// Gives back what of the share is not needed after all.
    fn shrunk_permit(&mut self, content: &Content, header: &HeaderBlock) -> Option<OwnedSemaphorePermit> {
        let mut permit = self.permit.take()?;
        let in_memory = match content {
            Content::Memory(octets) => octets.len() as u64,
            Content::Spooled { .. } => header.octets().len() as u64,
        };
        let needed = usize::try_from(in_memory.div_ceil(BUDGET_UNIT)).unwrap_or(usize::MAX).max(1);
        permit.split(permit.num_permits().saturating_sub(needed));
        Some(permit)
    }

    async fn write_out(&mut self) -> Result<(), SpoolError> {
        let octets = std::mem::take(&mut self.held);
        let filed = self.filed.take();
        let dir = self.spool.dir.clone();
        // Writing may wait for the disk, and a large hash for the processor: neither belongs on a thread of the runtime.
        let written = tokio::task::spawn_blocking(move || -> std::io::Result<(Filed, Vec<u8>)> {
            let mut filed = match filed {
                Some(mut filed) => {
                    filed.body.update(&octets);
                    filed
                }
                None => start_file(&dir, &octets)?,
            };
            (&*filed.file).write_all(&octets)?;
            filed.len += octets.len() as u64;
            let mut buffer = octets;
            buffer.clear();
            buffer.shrink_to(2 * WRITE_OCTETS);
            Ok((filed, buffer))
        });
        let (filed, buffer) = written
            .await
            .unwrap_or_else(|join| Err(std::io::Error::other(join)))
            .map_err(|error| SpoolError { dir: self.spool.dir.as_ref().into(), error })?;
        self.filed = Some(filed);
        self.held = buffer;
        Ok(())
    }
}

/// Makes the file, and reads the header from the first octets of the message.
fn start_file(dir: &Path, start: &[u8]) -> std::io::Result<Filed> {
    let file = unlinked_file(dir)?;
    let head = Bytes::copy_from_slice(&start[..start.len().min(HEADER_OCTETS_MAX)]);
    // Only the header stays in memory.
    let header = HeaderBlock::parse_start(head, true).shrunk();
    let body = Sha256::new_with_prefix(&start[header.body_start()..]);
    Ok(Filed { file: Arc::new(file), len: 0, header, body })
}

/// A file that has no name, readable by us only; it vanishes with its last handle, also after a crash.
fn unlinked_file(dir: &Path) -> std::io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(CWD, dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(fd) => Ok(File::from(fd)),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::NOENT) if dir.is_dir() => {
            // A file system without O_TMPFILE (NFS, overlays of old): a name for a moment.
            let path = dir.join(format!(".spool-{}-{:016x}", std::process::id(), fastrand::u64(..)));
            let fd = rustix::fs::openat(CWD, &path, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode)?;
            std::fs::remove_file(&path)?;
            Ok(File::from(fd))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::Outgoing;
    use super::*;
    use crate::mail::{CollectorId, Epoch, FolderName, MailboxId, RemoteUid};

    fn key() -> MessageKey {
        let mailbox = MailboxId { protocol: "imap", host: "h".into(), login: "l".into() };
        MessageKey {
            collector: CollectorId::new("c").unwrap(),
            mailbox: Arc::new(mailbox),
            folder: FolderName::inbox(),
            epoch: Epoch(1),
            uid: RemoteUid::Number(1),
            generation: 0,
        }
    }

    async fn taken(spool: &Spool, raw: &[u8], piece: usize) -> Message {
        let mut intake = spool.intake(key(), Some(raw.len() as u64)).await;
        for part in raw.chunks(piece) {
            intake.write(part).await.unwrap();
        }
        assert_eq!(intake.octets(), raw.len() as u64);
        intake.finish().await.unwrap()
    }

    async fn octets(message: &Message) -> Vec<u8> {
        let mut outgoing = Outgoing::new(b"", &[], &message.content);
        let mut all = Vec::new();
        while let Some(part) = outgoing.next().await.unwrap() {
            all.extend_from_slice(&part);
        }
        all
    }

    #[tokio::test]
    async fn a_large_message_is_the_same_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let raw = format!("Subject: x\r\nMessage-ID: <1@x>\r\n\r\n{}", "line\n".repeat(300_000));
        let (memory, file) = (Spool::new(dir.path(), 1 << 30, 1 << 30).unwrap(), Spool::new(dir.path(), 64 * 1024, 1 << 20).unwrap());
        let (small, large) = (taken(&memory, raw.as_bytes(), 4096).await, taken(&file, raw.as_bytes(), 10_007).await);
        assert!(matches!(large.content, Content::Spooled { .. }) && matches!(small.content, Content::Memory(_)));
        assert_eq!((small.fingerprint, small.header.fields()), (large.fingerprint, large.header.fields()));
        assert_eq!(octets(&small).await, octets(&large).await);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the spool file has a name");
    }

    #[tokio::test]
    async fn a_header_longer_than_the_threshold_is_the_same_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let field = format!("X-Long: {}\r\n", "y".repeat(190));
        let header = format!("{}Message-ID: <1@x>\r\nDelivered-To: a@b\r\n\r\n", field.repeat(200_000 / field.len()));
        let raw = format!("{header}{}", "a line\r\n".repeat(100_000));
        assert!(header.len() > 190_000 && raw.len() > 900_000);
        let (memory, file) = (Spool::new(dir.path(), 1 << 30, 1 << 30).unwrap(), Spool::new(dir.path(), 64 * 1024, 1 << 20).unwrap());
        let small = taken(&memory, raw.as_bytes(), 4096).await;
        for piece in [61, 4096, 100_003] {
            let large = taken(&file, raw.as_bytes(), piece).await;
            assert!(matches!(large.content, Content::Spooled { .. }));
            assert_eq!(large.header.fields(), small.header.fields(), "pieces of {piece}");
            assert_eq!((large.fingerprint, large.header.is_truncated()), (small.fingerprint, false));
            assert_eq!(large.header.text(large.header.first("Delivered-To").unwrap()), "a@b");
            assert_eq!(octets(&large).await, raw.as_bytes());
        }
    }

    #[tokio::test]
    async fn a_header_without_an_end_is_not_held_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path(), 64 * 1024, 1 << 20).unwrap();
        let raw = "no header and no blank line\r\n".repeat(100_000);
        let message = taken(&spool, raw.as_bytes(), 8192).await;
        assert!(matches!(message.content, Content::Spooled { .. }));
        assert_eq!(octets(&message).await, raw.as_bytes());
    }

    #[tokio::test]
    async fn the_budget_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path(), 1 << 20, 1 << 20).unwrap();
        let message = taken(&spool, b"A: 1\r\n\r\nx\r\n", 3).await;
        assert_eq!(spool.budget.available_permits(), 1023);
        drop(message);
        drop(spool.intake(key(), None).await);
        assert_eq!(spool.budget.available_permits(), 1024);
    }

    #[tokio::test]
    async fn eight_bit_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path(), 1 << 20, 1 << 20).unwrap();
        assert!(taken(&spool, "A: ж\r\n\r\n".as_bytes(), 1).await.eight_bit);
        assert!(!taken(&spool, b"A: b\r\n\r\n", 1).await.eight_bit);
    }
}
