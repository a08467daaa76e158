//! What belongs to one state directory: the lock, the ledger, the spool, the identity, and the destinations that collectors share.

use super::mailbox::{self, Opening};
use super::switches::{SwitchError, Switches};
use crate::collect::Limits;
use crate::collect::dedupe::Dedupe;
use crate::collect::disk::DiskRoom;
use crate::collect::idle::IdleServers;
use crate::collect::route::Router;
use crate::collect::task::Worker;
use crate::config::secret::{self, SecretReader};
use crate::config::{After, CheckLocal, Collector, Config, Delivery, RecipientMode, Relay, Target, TooLarge};
use crate::deliver::local_check::LocalCheck;
use crate::deliver::smtp::SmtpDestination;
use crate::deliver::{self, Destination};
use crate::held::{self, HeldStore, HoldError};
use crate::history::History;
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{Instance, Ledger, LedgerError};
use crate::mail::Address;
use crate::net::{self, Dns, Seen, Tracer, Witness};
use crate::observe::{Counters, Status, logging};
use crate::proto;
use crate::source::Source;
use crate::spool::{Spool, SpoolError};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The ledger's name in the state directory.
pub const LEDGER_FILE: &str = "ledger.db";

/// One state directory, held by this process alone.
pub struct Installation {
    ledger: Arc<dyn Ledger>,
    instance: Instance,
    held: Arc<HeldStore>,
    history: Arc<History>,
    spool: Spool,
    hostname: String,
    limits: Arc<Limits>,
    dedupe: Arc<Dedupe>,
    dns: Arc<Dns>,
    idle_servers: IdleServers,
    /// Octets of the largest message that can be held.
    held_max: u64,
    room: DiskRoom,
    destinations: Mutex<Vec<Shared>>,
    state_dir: PathBuf,
    switches: Switches,
    /// The kernel lets go of the lock when the process ends, however it ends.
    _lock: File,
}

/// A destination that is in use, and what it was made from.
struct Shared {
    delivery: Arc<Delivery>,
    always_create: Vec<Address>,
    destination: Weak<dyn Destination>,
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made or written.
    #[error("cannot use the state directory {path}: {}", crate::disk::told(.path, .error))]
    Directory {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another process has it.
    #[error("another mailgather uses the state directory {0}")]
    Busy(PathBuf),
    /// The ledger in it.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// The spool in it.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// The held mail in it.
    #[error("{0}")]
    Held(#[from] HoldError),
    /// What was switched by commands.
    #[error("{0}")]
    Switches(#[from] SwitchError),
}

impl Installation {
    /// Takes the state directory of this configuration; makes it if it is missing. Blocks on the disk.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let service = &config.service;
        let dir = &service.state_dir;
        let failed = |error: std::io::Error| OpenError::Directory { path: dir.clone(), error };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let lock = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join("lock")).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => OpenError::Busy(dir.clone()),
            error => failed(error.into()),
        })?;
        // From here on nobody else writes there.
        logging::keep_files(dir);
        let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(&dir.join(LEDGER_FILE))?);
        let instance = ledger.instance().await?;
        let held = HeldStore::open(&dir.join(held::FOLDER), service.held, Arc::clone(&ledger))?;
        Ok(Installation {
            ledger,
            held: Arc::new(held),
            history: Arc::new(History::open(dir, service.history)),
            instance,
            spool: Spool::new(&dir.join("spool"), service.spool_above, service.memory)?,
            hostname: net::hostname(),
            limits: Arc::new(Limits::new(service.max_sessions, service.max_sessions_per_host, service.max_idle)),
            dedupe: Arc::default(),
            dns: Arc::new(Dns::new(&service.dns)),
            idle_servers: IdleServers::default(),
            held_max: service.held.max_size,
            room: DiskRoom { dir: dir.clone(), min_free: service.min_free_space },
            destinations: Mutex::default(),
            state_dir: dir.clone(),
            switches: Switches::read(dir)?,
            _lock: lock,
        })
    }

    /// Everything that one collector needs to run. Made when the collector begins: IDLE at its server is tried again.
    pub fn worker(&self, collector: &Arc<Collector>) -> Worker {
        self.worker_of(collector, Arc::default(), Arc::default())
    }

    /// The same, with what is known of the collector.
    pub fn worker_of(&self, collector: &Arc<Collector>, counters: Arc<Counters>, status: Arc<Status>) -> Worker {
        Worker {
            collector: Arc::clone(collector),
            source: self.source(collector, &counters),
            router: self.router(collector),
            destination: self.destination(collector),
            local_check: self.local_check(collector),
            ledger: Arc::clone(&self.ledger),
            held: Arc::clone(&self.held),
            history: Arc::clone(&self.history),
            spool: self.spool.clone(),
            dedupe: Arc::clone(&self.dedupe),
            dns: Arc::clone(&self.dns),
            room: self.room.clone(),
            limits: Arc::clone(&self.limits),
            idle_server: self.idle_servers.enter(&collector.server.host, collector.server.port),
            counters,
            status,
        }
    }

    /// What was switched by commands when this state directory was taken.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// The state directory.
    pub fn state_dir(&self) -> &PathBuf {
        &self.state_dir
    }

    /// What was delivered.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The store of held mail.
    pub fn held(&self) -> &Arc<HeldStore> {
        &self.held
    }

    /// What became of messages.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Where messages become whole.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// The rules of this collector.
    pub fn router(&self, collector: &Arc<Collector>) -> Router {
        Router::new(Arc::clone(collector), &self.instance, &self.hostname)
    }

    fn local_check(&self, collector: &Collector) -> Option<Arc<LocalCheck>> {
        let password = match &collector.check_local {
            CheckLocal::None => return None,
            CheckLocal::Lmtp(relay) | CheckLocal::Smtp(relay) => relay_password(relay),
            CheckLocal::File(_) | CheckLocal::Command { .. } => no_password(),
        };
        Some(Arc::new(LocalCheck::new(&collector.check_local, password)))
    }

    fn source(&self, collector: &Collector, counters: &Arc<Counters>) -> Box<dyn Source> {
        // What is to be held is fetched whole, as far as there can be room for it.
        let max_message_size = match collector.too_large {
            TooLarge::Hold => collector.max_message_size.and(Some(self.held_max)),
            TooLarge::Skip | TooLarge::HeadersOnly => collector.max_message_size,
        };
        mailbox::source(Opening {
            server: collector.server.clone(),
            spool: self.spool.clone(),
            collector: collector.id.clone(),
            max_message_size,
            by_content: may_read_all(collector),
            read_only: false,
            witness: Arc::new(CertificateWatch(Arc::clone(counters))),
            tracer: Tracer::default(),
            counters: Some(Arc::clone(counters)),
        })
    }

    /// The destination of a collector; collectors with the same delivery share one, and its limits.
    pub fn destination(&self, collector: &Collector) -> Arc<dyn Destination> {
        let delivery = &collector.delivery;
        // Which Maildirs may be made differs by collector; nothing else about a destination does.
        let always_create = match &delivery.target {
            Target::Maildir { .. } => configured_recipients(collector),
            Target::Smtp(_) | Target::Lmtp(_) => Vec::new(),
        };
        let mut destinations = self.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        destinations.retain(|shared| shared.destination.strong_count() > 0);
        let same = destinations.iter().find(|shared| shared.delivery == *delivery && shared.always_create == always_create);
        if let Some(destination) = same.and_then(|shared| shared.destination.upgrade()) {
            return destination;
        }
        let destination = destination(delivery, &always_create, &Tracer::default());
        destinations.push(Shared { delivery: Arc::clone(delivery), always_create, destination: Arc::downgrade(&destination) });
        destination
    }
}

impl Drop for Installation {
    /// What is still in the way of the history is written; a crash would lose it.
    fn drop(&mut self) {
        self.history.finish();
    }
}

/// Notes until when the certificate of a collector's server is valid.
struct CertificateWatch(Arc<Counters>);

impl Witness for CertificateWatch {
    fn saw(&self, seen: Seen) {
        if let Seen::Secured(handshake) = seen
            && let Some(certificate) = handshake.certificate
        {
            self.0.certificate(certificate.until.as_second());
        }
    }
}

/// Whether all mail of a POP3 server without UIDL may be read in each pass. What is deleted is read once more at most; what stays there would be
/// read for ever, and somebody has to want that.
pub(crate) fn may_read_all(collector: &Collector) -> bool {
    let all_goes = collector.folders.iter().all(|folder| folder.after.unwrap_or(collector.after) == After::Delete);
    all_goes || collector.keep_without_uidl
}

/// The recipients that the configuration names: `forward_to`, or the default box.
pub(super) fn configured_recipients(collector: &Collector) -> Vec<Address> {
    match &collector.recipient {
        RecipientMode::ForwardTo(to, _) => to.clone(),
        RecipientMode::Auto(rules, _) => rules.default_box.iter().cloned().collect(),
    }
}

/// A destination of its own. The Maildirs of `always_create` may be made in any case.
pub(super) fn destination(delivery: &Delivery, always_create: &[Address], tracer: &Tracer) -> Arc<dyn Destination> {
    let relay = |relay: &Relay, protocol| Arc::new(SmtpDestination::new(relay.clone(), protocol, delivery, relay_password(relay)).traced_by(tracer));
    match &delivery.target {
        Target::Smtp(server) => relay(server, proto::smtp::Protocol::Smtp),
        Target::Lmtp(server) => relay(server, proto::smtp::Protocol::Lmtp),
        Target::Maildir { path, create } => {
            let maildirs = deliver::maildir::MaildirDestination::new(path, *create, always_create.to_vec());
            Arc::new(maildirs.with_writers(delivery.max_connections))
        }
    }
}

fn no_password() -> SecretReader {
    Arc::new(|| Box::pin(async { Err("this relay has no login".into()) }))
}

pub(super) fn relay_password(relay: &Relay) -> SecretReader {
    relay.auth.as_ref().map_or_else(no_password, |auth| secret::reader(&auth.password))
}
