//! Tries a collector's connections, step by step, by the code that collects and delivers: from the server's name to the destination. Nothing is
//! changed at either end: folders are opened by EXAMINE, the state directory is not needed and not locked, no MAIL is sent unless a test
//! message is asked for.

mod letter;
mod step;
mod watch;

pub use step::{Cause, Depth, Ended, Report, Step, StepName, plan, server};

use super::installation::{configured_recipients, destination, relay_password};
use super::look;
use crate::collect::folders;
use crate::config::{After, AuthMethod, CheckLocal, Collector, Delivery, FolderSelect, Protocol, Target, TlsMode, secret};
use crate::deliver::local_check::{Exists, LocalCheck};
use crate::deliver::{Destination, Inspection};
use crate::mail::outcome::harmless;
use crate::mail::{Address, Blame, Diagnosis, Envelope, FolderName, Outcome, Recipient, ReversePath, Stage};
use crate::net::{self, DialErrorKind, TlsClient, Tracer};
use crate::oauth::verdict::{self, Verdict, Wanted};
use crate::oauth::{Found, Keeper};
use crate::source::{Session, SourceError, SourceErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use watch::Watch;

/// Most folders that are opened.
const FOLDERS_MAX: usize = 100;
/// Names of folders in a line.
const FOLDERS_SHOWN: usize = 8;
/// Most recipients that a target is asked about.
const RECIPIENTS_ASKED_MAX: usize = 20;
/// How long the target may be looked at.
const INSPECTION_MAX: Duration = Duration::from_secs(60);
/// How long another port may take to answer.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(3);

/// What a probe is to do.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// How far to go.
    pub depth: Depth,
    /// Whom to send a test message, really.
    pub deliver: Option<Address>,
    /// Shows what is said; off by default.
    pub tracer: Tracer,
}

/// Tries a collector; tells each step as it ends.
pub async fn run(collector: &Collector, order: &Order, tell: impl Fn(&Step) + Send + Sync + 'static) -> Report {
    let watch = Arc::new(Watch::new(collector.server.clone(), order.tracer.clone(), Box::new(tell)));
    let cause = tried(collector, order, &watch).await.err();
    let steps = watch.steps();
    let plan = plan(collector, order.depth, order.deliver.is_some());
    let not_tried = plan.into_iter().filter(|name| cause.is_some() && !steps.iter().any(|step| step.name == *name)).collect();
    Report { collector: collector.id.clone(), server: server(collector), steps, not_tried, cause }
}

async fn tried(collector: &Collector, order: &Order, watch: &Arc<Watch>) -> Result<(), Cause> {
    let source = look::source(collector, false, Arc::clone(watch) as Arc<dyn net::Witness>, order.tracer.clone());
    let source = source.map_err(|error| Cause::Ours(error.to_string()))?;
    if order.depth == Depth::Tls {
        return match source.reach().await {
            Ok(()) => {
                watch.reached();
                Ok(())
            }
            Err(error) => Err(failed(collector, watch, error).await),
        };
    }
    let mut session = match source.open().await {
        Ok(session) => session,
        Err(error) => return Err(failed(collector, watch, error).await),
    };
    // What is missing in the mailbox keeps nobody from looking at the rest.
    let mut missing = None;
    if order.depth == Depth::Whole {
        match mailbox(collector, watch, &mut *session).await {
            Ok(all_there) => missing = all_there,
            Err(error) => {
                session.abandon().await;
                watch.failed(&error, Vec::new());
                return Err(Cause::Source(error));
            }
        }
    }
    // What was seen is seen: a good-bye that fails changes nothing.
    let _ = session.close().await;
    if order.depth == Depth::Whole {
        let destination = destination(&collector.delivery, &configured_recipients(collector), &order.tracer);
        inspect(&*destination, &recipients(collector), watch).await?;
        if let Some(address) = &order.deliver {
            deliver(&*destination, address, collector, watch).await?;
        }
    }
    missing.map_or(Ok(()), |missing| Err(Cause::Folder(missing)))
}

/// Notes where the source failed, and whether a port nearby would answer.
async fn failed(collector: &Collector, watch: &Watch, mut error: SourceError) -> Cause {
    let mut notes = Vec::new();
    if error.kind == SourceErrorKind::Auth
        && let Some(verdict) = verdict(collector).await
    {
        error = error.hint(verdict.hint);
        notes.push(verdict.text);
    }
    let no_connection = error.dialled && matches!(error.kind, SourceErrorKind::Connect | SourceErrorKind::Timeout);
    if (no_connection || error.stage == "greeting" && error.kind == SourceErrorKind::Timeout)
        && let Some(found) = neighbour(collector).await
    {
        error = error.hint(found.clone());
        notes.push(found);
    }
    watch.failed(&error, notes);
    Cause::Source(error)
}

/// What is wrong with the token that was refused, as far as it tells.
async fn verdict(collector: &Collector) -> Option<Verdict> {
    let server = &collector.server;
    if server.auth.method != AuthMethod::OAuth2 {
        return None;
    }
    let token = match &server.auth.oauth {
        None => secret::read(&server.password).await.ok()?,
        Some(oauth) => match Keeper::new(&collector.id, oauth).kept().await {
            Ok(Found::Tokens(tokens)) => tokens.access,
            _ => return None,
        },
    };
    let mailbox = server.web.address.as_ref().map_or_else(|| server.username.clone(), Address::to_string);
    verdict::of_refused(token.expose(), Wanted { protocol: server.protocol, username: &mailbox, now: jiff::Timestamp::now().as_second() })
}

/// Another port of the protocol that answers, where the configured one does not.
async fn neighbour(collector: &Collector) -> Option<String> {
    let server = &collector.server;
    let usual = match server.protocol {
        Protocol::Imap => [(993, TlsMode::Implicit), (143, TlsMode::StartTls)],
        Protocol::Pop3 => [(995, TlsMode::Implicit), (110, TlsMode::StartTls)],
        // The port is a part of `url`.
        Protocol::Exchange | Protocol::Graph => return None,
    };
    for (port, mode) in usual.into_iter().filter(|(port, _)| *port != server.port) {
        let Ok(channel) = net::tcp(&server.host, port, Some(NEIGHBOUR_PATIENCE)).await else { continue };
        if mode == TlsMode::StartTls {
            return Some(format!("port {port} answers: `port: {port}`, `tls: {{mode: starttls}}` is probably meant"));
        }
        let Ok(client) = TlsClient::load(&server.tls).await else { continue };
        let answers = match client.secure(channel, &server.host, Some(NEIGHBOUR_PATIENCE)).await {
            Ok(_) => true,
            // It is TLS, whatever is wrong with it.
            Err(error) => error.kind == DialErrorKind::Tls && error.text.contains("certificate"),
        };
        if answers {
            return Some(format!("port {port} answers with TLS: `port: {port}`, `tls: {{mode: implicit}}` is probably meant"));
        }
    }
    None
}

/// Opens the folders and counts. Gives back what the configuration names and the mailbox does not have.
async fn mailbox(collector: &Collector, watch: &Watch, session: &mut dyn Session) -> Result<Option<String>, SourceError> {
    let chosen = match folders::needs_list(collector) {
        true => folders::choose(collector, &session.folders().await?),
        false => as_named(collector, session).await?,
    };
    let (mut messages, mut last_with_mail, mut selected) = (0, None, None);
    for (name, _) in chosen.folders.iter().take(FOLDERS_MAX) {
        let opened = session.select(name).await?;
        messages += opened.exists;
        selected = Some(name);
        if opened.exists > 0 {
            last_with_mail = Some(name);
        }
    }
    let (without_target, made_later) = targets(collector, session).await?;
    let missing: Vec<String> = chosen.missing.iter().cloned().chain(without_target).collect();
    let missing = (!missing.is_empty()).then(|| harmless(&missing.join("; "), 1000));
    let names: Vec<&FolderName> = chosen.folders.iter().map(|(name, _)| name).collect();
    let mut notes = made_later;
    if names.len() > FOLDERS_MAX {
        notes.push(format!("{} further folders were not opened", names.len() - FOLDERS_MAX));
    }
    match &missing {
        None => watch.well(StepName::Folder, shown(&names), notes),
        Some(missing) => {
            let found = if names.is_empty() { String::new() } else { format!("; found: {}", shown(&names)) };
            watch.badly(StepName::Folder, "MISSING", format!("{missing}{found}"), notes);
        }
    }
    if names.is_empty() {
        return Ok(missing);
    }
    let count = match messages {
        1 => "1 message".to_owned(),
        messages => format!("{messages} messages"),
    };
    let Some(folder) = last_with_mail else {
        watch.well(StepName::Count, format!("{count}: nothing to retrieve"), Vec::new());
        return Ok(missing);
    };
    // As it was opened last, unless others came behind it.
    if selected != Some(folder) {
        session.select(folder).await?;
    }
    match session.headers(1).await {
        Ok(headers) if headers.is_empty() => watch.well(StepName::Count, count, vec!["the last one went away meanwhile".to_owned()]),
        Ok(_) => watch.well(StepName::Count, format!("{count}; retrieved the header of the last one"), Vec::new()),
        // TOP is optional (RFC 1939 §7) and not needed for collecting; UIDL is, unless mail is deleted.
        Err(error) if error.kind == SourceErrorKind::Mailbox && !collector.server.protocol.has_folders() => {
            if error.text.contains("UIDL") && collector.after != After::Delete {
                return Err(error);
            }
            watch.well(StepName::Count, count, vec![harmless(&error.text, 300)]);
        }
        Err(error) => return Err(error),
    }
    Ok(missing)
}

/// The one folder that is named and needs no list; if it cannot be opened, the list tells whether it is there, and which may be meant.
async fn as_named(collector: &Collector, session: &mut dyn Session) -> Result<folders::Chosen, SourceError> {
    let chosen = folders::as_named(collector);
    let Some((name, _)) = chosen.folders.first().filter(|(name, _)| *name != FolderName::inbox()) else { return Ok(chosen) };
    let Err(error) = session.select(name).await else { return Ok(chosen) };
    if !error.is_refusal() || !collector.server.protocol.has_folders() {
        return Err(error);
    }
    let chosen = folders::choose(collector, &session.folders().await?);
    if chosen.missing.is_empty() { Err(error) } else { Ok(chosen) }
}

/// Where mail is moved to, as far as it is not there: what keeps mail from being moved, and what is made with the first message.
async fn targets(collector: &Collector, session: &mut dyn Session) -> Result<(Vec<String>, Vec<String>), SourceError> {
    let (mut missing, mut made_later) = (Vec::new(), Vec::new());
    if !collector.server.protocol.has_folders() || folders::moves_to(collector).next().is_none() {
        return Ok((missing, made_later));
    }
    let listed = session.folders().await?;
    for select in folders::moves_to(collector).filter(|select| folders::find(select, &listed).is_none()) {
        match select {
            FolderSelect::Name(name) => {
                made_later.push(harmless(&format!("`{name}`, where mail is moved to, is not there: it is made with the first message"), 1000));
            }
            FolderSelect::SpecialUse(attribute) | FolderSelect::Glob(attribute) => {
                missing.push(format!("mail is to be moved to {attribute}, and the server names no folder so (RFC 6154): it would stay where it is"));
            }
        }
    }
    Ok((missing, made_later))
}

fn shown(names: &[&FolderName]) -> String {
    let mut text = names.iter().take(FOLDERS_SHOWN).map(|name| harmless(name.as_str(), 100)).collect::<Vec<_>>().join(", ");
    if names.len() > FOLDERS_SHOWN {
        text += &format!(" and {} more", names.len() - FOLDERS_SHOWN);
    }
    text
}

/// All recipients that the configuration of a collector names.
pub fn recipients(collector: &Collector) -> Vec<Address> {
    let mut recipients = configured_recipients(collector);
    recipients.extend(collector.folders.iter().filter_map(|folder| folder.forward_to.clone()).flatten());
    recipients.sort_unstable();
    recipients.dedup();
    recipients
}

/// Looks at a target alone, whoever's mail goes there: whether it answers, and takes these recipients. No MAIL is sent.
pub async fn inspect_target(delivery: &Arc<Delivery>, recipients: &[Address]) -> Vec<Inspection> {
    inspected(&*destination(delivery, recipients, &Tracer::default()), recipients).await
}

/// What a server says about recipients, by RCPT; no mail is sent. Nothing for Maildirs, which [`inspect_target`] has looked at.
pub async fn known_recipients(delivery: &Delivery, recipients: &[Address]) -> Vec<(Address, Exists)> {
    let (check, relay) = match &delivery.target {
        Target::Smtp(relay) => (CheckLocal::Smtp(relay.clone()), relay),
        Target::Lmtp(relay) => (CheckLocal::Lmtp(relay.clone()), relay),
        Target::Maildir { .. } => return Vec::new(),
    };
    let check = LocalCheck::new(&check, relay_password(relay));
    let mut known = Vec::new();
    for address in recipients.iter().take(RECIPIENTS_ASKED_MAX) {
        known.push((address.clone(), check.exists(address).await));
    }
    check.rest().await;
    known
}

async fn inspected(destination: &dyn Destination, recipients: &[Address]) -> Vec<Inspection> {
    // Whoever waits for a test is a person: a delivery waits longer, as RFC 5321 §4.5.3.2 wants it.
    timeout(INSPECTION_MAX, destination.inspect(recipients)).await.unwrap_or_else(|_| {
        let text = format!("no answer in {} s", INSPECTION_MAX.as_secs());
        let diagnosis = Diagnosis::of_text(Stage::Connect, Blame::Target, text);
        vec![Inspection { place: destination.name(), found: Err(diagnosis), doubts: Vec::new() }]
    })
}

/// Looks at the target. Of several servers one that works is enough.
async fn inspect(destination: &dyn Destination, recipients: &[Address], watch: &Watch) -> Result<(), Cause> {
    let inspected = inspected(destination, recipients).await;
    let (mut works, mut fails, mut doubts, mut first_failure) = (Vec::new(), Vec::new(), Vec::new(), None);
    for Inspection { place, found, doubts: doubtful } in inspected {
        match found {
            Ok(words) => works.push(format!("{place}: {words}")),
            Err(diagnosis) => {
                fails.push(format!("{place}: FAILED: {diagnosis}"));
                first_failure.get_or_insert((place, diagnosis));
            }
        }
        for doubt in doubtful {
            if !doubts.contains(&doubt) {
                doubts.push(doubt);
            }
        }
    }
    let mut lines = works.iter().chain(&fails).chain(&doubts).cloned();
    let text = lines.next().unwrap_or_else(|| destination.name());
    let notes = lines.collect();
    match first_failure {
        Some((place, diagnosis)) if works.is_empty() => {
            watch.badly(StepName::Destination, "FAILED", text, notes);
            Err(Cause::Target(place, Box::new(diagnosis)))
        }
        _ => {
            watch.well(StepName::Destination, text, notes);
            Ok(())
        }
    }
}

/// Sends one small message, marked as what it is.
async fn deliver(destination: &dyn Destination, address: &Address, collector: &Collector, watch: &Watch) -> Result<(), Cause> {
    let message = letter::write(address, collector).await.map_err(Cause::Ours)?;
    let envelope = Envelope {
        // Nobody is to get a bounce of it.
        sender: ReversePath::Null,
        recipients: vec![Recipient::new(address.clone())],
        prefix: Vec::new(),
        edits: Vec::new(),
        in_doubt: false,
        client: None,
    };
    let outcome = destination.deliver(&envelope, &message).await.into_iter().next();
    destination.rest().await;
    let to = harmless(&address.to_string(), 400);
    let nothing = || Diagnosis::of_text(Stage::Content, Blame::Target, "nothing is known of it");
    let (diagnosis, for_good) = match outcome {
        Some(Outcome::Delivered(reply)) => {
            watch.well(StepName::Deliver, format!("a test message to {to}: {reply}"), Vec::new());
            return Ok(());
        }
        Some(Outcome::Rejected(diagnosis)) => (diagnosis, true),
        Some(Outcome::Deferred(diagnosis) | Outcome::Unknown(diagnosis)) => (diagnosis, false),
        None => (nothing(), false),
    };
    let (word, cause): (_, fn(String, Box<Diagnosis>) -> Cause) = if for_good { ("REFUSED", Cause::Refused) } else { ("FAILED", Cause::Deferred) };
    watch.badly(StepName::Deliver, word, format!("a test message to {to}: {diagnosis}"), Vec::new());
    Err(cause(destination.name(), Box::new(diagnosis)))
}
