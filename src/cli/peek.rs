//! Looking into a collector's mailbox: headers only, nothing marked, and without the state directory, so that a daemon may run beside it.

use super::exit::Exit;
use super::runtime;
use crate::collect::{PassError, mx};
use crate::config::{Collector, Loaded};
use crate::mail::{FolderName, RemoteUid};
use crate::net::{Dns, Nobody, Tracer};
use crate::service::look;
use crate::source::{Peeked, Source, SourceError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

/// Most messages that one command looks at.
pub(super) const LAST_MAX: u16 = 10_000;

/// How often the sign that something happens moves.
const WAITING_TICK: Duration = Duration::from_millis(200);

/// Which messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look<'a> {
    /// The last ones.
    Last(usize),
    /// The one with this UID, or UIDL.
    Uid(&'a str),
}

/// The headers of messages in a collector's mailbox, oldest first; says what failed.
pub(super) fn headers(collector: &Collector, look: Look<'_>) -> Result<Vec<Peeked>, Exit> {
    let source = source_of(collector, false)?;
    let uid = match (look, collector.server.protocol.numbers_messages()) {
        (Look::Last(_), _) => None,
        (Look::Uid(uid), false) => Some(RemoteUid::Opaque(uid.as_bytes().into())),
        (Look::Uid(uid), true) => match uid.parse() {
            Ok(number) => Some(RemoteUid::Number(number)),
            Err(_) => {
                eprintln!(
                    "error: `{uid}` is no UID of IMAP, which is a number\nhint: the log names each message by COLLECTOR/FOLDER/UIDVALIDITY/UID"
                );
                return Err(Exit::Usage);
            }
        },
    };
    let waiting = Waiting::start(match look {
        Look::Last(last) => format!("{}: the headers of up to {last} messages", collector.id),
        Look::Uid(_) => collector.id.to_string(),
    });
    let looked = runtime()?.block_on(async {
        let mut session = source.open().await?;
        session.select(&FolderName::inbox()).await?;
        let peeked = match (look, &uid) {
            (_, Some(uid)) => session.header_of(uid).await?.into_iter().collect(),
            (Look::Last(last), None) => session.headers(last).await?,
            (Look::Uid(_), None) => Vec::new(),
        };
        // What was read is read: a good-bye that fails changes nothing.
        let _ = session.close().await;
        Ok::<_, SourceError>(peeked)
    });
    drop(waiting);
    let peeked = looked.map_err(|error| said(collector, error))?;
    match look {
        Look::Uid(uid) if peeked.is_empty() => {
            eprintln!("error: {}: no message with the UID `{uid}` is in the mailbox", collector.id.as_str());
            Err(Exit::NoInput)
        }
        _ => Ok(peeked),
    }
}

/// A mailbox to look into; `by_content` as of [`look::source`].
pub(super) fn source_of(collector: &Collector, by_content: bool) -> Result<Box<dyn Source>, Exit> {
    look::source(collector, by_content, Arc::new(Nobody), Tracer::default()).map_err(|error| {
        eprintln!("error: {error}");
        Exit::Os
    })
}

/// On a terminal, a sign that something happens: a large mailbox, or POP3's TOP for each message, takes its time.
struct Waiting(Option<ProgressBar>);

impl Waiting {
    fn start(what: String) -> Self {
        if !std::io::stderr().is_terminal() {
            return Waiting(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(WAITING_TICK);
        Waiting(Some(bar))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The collector with this name.
pub(super) fn named(loaded: &Loaded, name: &str) -> Option<Arc<Collector>> {
    loaded.config.collectors.values().find(|collector| collector.id.as_str() == name).cloned()
}

/// The collector with the mail exchangers that its rules ask for.
pub(super) fn complete(collector: Arc<Collector>, loaded: &Loaded) -> Result<Arc<Collector>, Exit> {
    let dns = Dns::new(&loaded.config.service.dns);
    runtime()?.block_on(mx::with_mx_hosts(&collector, &dns)).map_err(|error| {
        let error = PassError::Dns(error);
        let code = error.code();
        eprintln!("error[MG-{code}]: {}: {error}\nhint: {}\nmore: mailgather explain MG-{code}", collector.id.as_str(), error.hint());
        Exit::of(&error)
    })
}

/// The names of all collectors, for a hint.
pub(super) fn names(loaded: &Loaded) -> String {
    loaded.config.collectors.keys().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn said(collector: &Collector, error: SourceError) -> Exit {
    let (code, id) = (error.code(), collector.id.as_str());
    eprintln!("error[MG-{code}]: {id}: {error}");
    if let Some(hint) = &error.hint {
        eprintln!("hint: {hint}");
    }
    eprintln!("more: mailgather explain MG-{code}");
    Exit::of(&PassError::Source(error))
}

/// Prints text; a reader that went away (`| head`) is no error.
pub(super) fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
