//! `check_local`: whether a recipient exists here, asked before mail goes to it, so that the default box gets what is for nobody.
//!
//! A mail server is asked by RCPT, a command by its exit status, a file by its lines. What a server or command says is remembered: for an
//! hour that an address exists, for a quarter of one that it does not; that nobody could say is asked again. Deliveries that ask for the same
//! address at once share one question.

mod answers;
mod command;
mod file;

use self::answers::Answers;
use self::command::Command;
pub(crate) use self::command::Running;
use self::file::AddressFile;
use super::Destination;
use super::smtp::{Limits, Probed, SmtpDestination};
use crate::config::secret::SecretReader;
use crate::config::{CheckLocal, Delivery, Relay};
use crate::mail::Address;
use crate::mail::outcome::harmless;
use crate::proto::smtp::Protocol;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time limits of a probe: a pass waits for it, and mail that cannot be checked is delivered all the same.
const LIMITS: Limits =
    Limits { connect: Duration::from_secs(15), greeting: Duration::from_secs(30), command: Duration::from_secs(30), ..Limits::DEFAULT };

/// How often it is said in the log that nobody could tell.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Longest reason in the log, in characters.
const COMPLAINT_CHARS_MAX: usize = 200;

/// The answer about an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exists {
    /// There is such a mailbox.
    Yes,
    /// There is none: why.
    No(String),
    /// Nobody could say: why.
    Unknown(String),
}

/// The check that is configured for a collector.
pub struct LocalCheck {
    how: How,
    answers: Answers,
    complaints: Mutex<Complaints>,
}

/// When it was said last that nobody could tell, and how often it was not said since.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

enum How {
    Nobody,
    Server(Box<SmtpDestination>),
    File(AddressFile),
    Command(Command),
}

impl LocalCheck {
    /// A check that has not asked anybody yet. `password` is asked only if the server is a relay with a login.
    pub fn new(check: &CheckLocal, password: SecretReader) -> Self {
        let server = |relay: &Relay, protocol| {
            let destination = SmtpDestination::with_limits(relay.clone(), protocol, &Delivery::default(), password, LIMITS);
            How::Server(Box::new(destination))
        };
        let how = match check {
            CheckLocal::None => How::Nobody,
            CheckLocal::Lmtp(relay) => server(relay, Protocol::Lmtp),
            CheckLocal::Smtp(relay) => server(relay, Protocol::Smtp),
            CheckLocal::File(path) => How::File(AddressFile::new(path.clone())),
            CheckLocal::Command { argv, timeout } => How::Command(Command::new(argv.clone(), *timeout)),
        };
        LocalCheck { how, answers: Answers::default(), complaints: Mutex::default() }
    }

    /// Whether the address exists. Without a check every address does.
    pub async fn exists(&self, address: &Address) -> Exists {
        let exists = match &self.how {
            How::Nobody => Exists::Yes,
            // In memory already, and as new as the file. That it cannot be read it says itself.
            How::File(file) => return file.exists(address).await,
            How::Server(server) => self.answers.get(address, async { probed(server.probe(address).await) }).await,
            How::Command(command) => self.answers.get(address, command.exists(address)).await,
        };
        if let Exists::Unknown(why) = &exists {
            self.complain(address, why);
        }
        exists
    }

    /// A check that always fails lets everything through, and nobody would know; but spam asks for thousands of addresses.
    fn complain(&self, address: &Address, why: &str) {
        let unsaid = {
            let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            if complaints.last.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
                complaints.unsaid += 1;
                return;
            }
            complaints.last = Some(Instant::now());
            std::mem::take(&mut complaints.unsaid)
        };
        let reason: String = harmless(why, 4 * COMPLAINT_CHARS_MAX).chars().take(COMPLAINT_CHARS_MAX).collect();
        tracing::warn!(event = "check_local_failed", to = %address, reason, unsaid, next = "delivered as if the address existed");
    }

    /// Closes connections that nobody uses.
    pub async fn rest(&self) {
        if let How::Server(server) = &self.how {
            server.rest().await;
        }
    }
}

fn probed(said: Probed) -> Exists {
    match said {
        Probed::Known => Exists::Yes,
        Probed::Unknown(reply) => Exists::No(reply),
        Probed::CannotSay(why) => Exists::Unknown(why),
    }
}
