//! What a probe goes through and what comes of it, as data.

use crate::config::{Collector, TlsMode};
use crate::mail::outcome::harmless;
use crate::mail::{Blame, CollectorId, Diagnosis, Stage, code};
use crate::source::SourceError;
use std::net::IpAddr;
use std::time::Duration;

/// Longest text of a server in a report, in octets.
pub(super) const TEXT_OCTETS_MAX: usize = 300;

/// A step, in the field's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepName {
    /// The server's name becomes addresses.
    Dns,
    /// A connection.
    Tcp,
    /// It is secured.
    Tls,
    /// The server greets.
    Greeting,
    /// It takes our name and password.
    Login,
    /// The folders can be opened.
    Folder,
    /// How much mail there is.
    Count,
    /// The target would take mail.
    Destination,
    /// It took a message.
    Deliver,
}

impl StepName {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            StepName::Dns => "dns",
            StepName::Tcp => "tcp",
            StepName::Tls => "tls",
            StepName::Greeting => "greeting",
            StepName::Login => "login",
            StepName::Folder => "folder",
            StepName::Count => "count",
            StepName::Destination => "destination",
            StepName::Deliver => "deliver",
        }
    }
}

/// How far a probe goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// To the secured channel: no login.
    Tls,
    /// To the login.
    Login,
    /// To the destination.
    #[default]
    Whole,
}

/// The steps of a probe, in the order in which they come. By STARTTLS the server greets first.
pub fn plan(collector: &Collector, depth: Depth, delivers: bool) -> Vec<StepName> {
    use StepName::*;
    let mut steps = vec![Dns, Tcp];
    steps.extend(match collector.server.tls.mode {
        TlsMode::Implicit | TlsMode::None => [Tls, Greeting],
        TlsMode::StartTls | TlsMode::Opportunistic => [Greeting, Tls],
    });
    if depth != Depth::Tls {
        steps.push(Login);
    }
    if depth == Depth::Whole {
        steps.extend([Folder, Count, Destination]);
        steps.extend(delivers.then_some(Deliver));
    }
    steps
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well, after this time.
    Well(Duration),
    /// There was nothing to do.
    NotNeeded,
    /// Not well: a word in capitals, after this time.
    Badly(&'static str, Duration),
}

/// A step that was tried. All text is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub name: StepName,
    /// How it ended.
    pub ended: Ended,
    /// What happened, and what the server said.
    pub text: String,
    /// What else there is to say about it, a line each.
    pub notes: Vec<String>,
}

/// Why a probe failed.
#[derive(Clone, Debug)]
pub enum Cause {
    /// The mailbox.
    Source(SourceError),
    /// The configuration names a folder that the mailbox does not have.
    Folder(String),
    /// The target, or none of several; its name stands first.
    Target(String, Box<Diagnosis>),
    /// The target did not take the test message now.
    Deferred(String, Box<Diagnosis>),
    /// The target refused the test message for good.
    Refused(String, Box<Diagnosis>),
    /// Something of ours: no folder for temporary files.
    Ours(String),
}

impl Cause {
    /// The number of its page.
    pub fn code(&self) -> u16 {
        match self {
            Cause::Source(error) => error.code(),
            Cause::Folder(_) => code::MAILBOX,
            Cause::Target(_, diagnosis) | Cause::Deferred(_, diagnosis) | Cause::Refused(_, diagnosis) => match diagnosis.blame {
                Blame::Target => code::TARGET_DOWN,
                Blame::Message | Blame::Recipient => code::REFUSED,
            },
            Cause::Ours(_) => code::DISK,
        }
    }

    /// What happened, where.
    pub fn message(&self) -> String {
        match self {
            Cause::Source(error) => error.to_string(),
            Cause::Folder(missing) => harmless(missing, TEXT_OCTETS_MAX),
            Cause::Target(place, diagnosis) => format!("{place}: {diagnosis}"),
            Cause::Deferred(place, diagnosis) => format!("{place} did not take the test message now: {diagnosis}"),
            Cause::Refused(place, diagnosis) => format!("{place} did not take the test message: {diagnosis}"),
            Cause::Ours(text) => text.clone(),
        }
    }

    /// What the server said.
    pub fn server(&self) -> Option<String> {
        match self {
            Cause::Source(error) => error.server.as_deref().map(str::to_owned),
            Cause::Target(_, diagnosis) | Cause::Deferred(_, diagnosis) | Cause::Refused(_, diagnosis) => {
                diagnosis.reply.as_ref().map(ToString::to_string)
            }
            Cause::Folder(_) | Cause::Ours(_) => None,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> String {
        if let Cause::Target(_, diagnosis) = self
            && let Some(hint) = &diagnosis.hint
        {
            return hint.clone();
        }
        match self {
            Cause::Source(error) => error.hint.as_deref().unwrap_or_default().to_owned(),
            Cause::Folder(_) => {
                "correct `folders`, or where mail is moved to; names are those that the server has, with its separator between the levels".to_owned()
            }
            Cause::Target(_, diagnosis) if diagnosis.blame == Blame::Target => match diagnosis.stage {
                Stage::Auth => "check the login in `delivery.auth`; mail stays at its source until the target takes it".to_owned(),
                Stage::Tls => "check `delivery.tls` and the target's certificate; mail stays at its source until then".to_owned(),
                Stage::File => "make the folder, or correct `delivery`; it has to belong to the service's user".to_owned(),
                _ => "start the target, or correct `delivery`; mail stays at its source until the target answers".to_owned(),
            },
            Cause::Target(..) => "correct `recipient` or `delivery`; docs/delivery.md has what each refusal leads to".to_owned(),
            Cause::Deferred(..) | Cause::Refused(..) => "`mailgather policy test` says what would become of mail that gets this answer".to_owned(),
            Cause::Ours(_) => "name a folder that can be written in TMPDIR".to_owned(),
        }
    }
}

/// A probe that has ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whose.
    pub collector: CollectorId,
    /// `host:port (imap)`
    pub server: String,
    /// What was tried, in order.
    pub steps: Vec<Step>,
    /// What a failure kept from being tried.
    pub not_tried: Vec<StepName>,
    /// Why it failed, if it did.
    pub cause: Option<Cause>,
}

/// The server of a collector in a few words.
pub fn server(collector: &Collector) -> String {
    let server = &collector.server;
    let protocol = server.protocol.word();
    // Proton's Bridge is the built-in provider of this machine's own address: whoever stands there need not be it.
    let is_own = server.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let provider = collector.provider.as_ref().filter(|_| !is_own).map(|name| format!(", provider {}", harmless(name, 100)));
    let host = harmless(&server.host, TEXT_OCTETS_MAX);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("{host}:{} ({protocol}{})", server.port, provider.unwrap_or_default())
}
