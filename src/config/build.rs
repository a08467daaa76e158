//! The tree of a file to a [`Config`]: pure, and every error is collected, so that one look at the report is enough.
//!
//! A reader of a value returns `None` after it reported what is wrong; its caller goes on with the default, so that what follows is still
//! checked. Whether there was an error decides at the end.

mod address;
mod auth;
mod auto;
mod block;
mod check_local;
mod collector;
mod common;
mod contradictions;
mod control;
mod delivery;
mod disposal;
mod doubts;
mod exclude;
mod fetching;
mod folders;
mod headers;
mod join;
mod notify;
mod oauth;
pub(super) mod origin;
mod password;
mod pattern;
mod policy;
mod port;
pub(super) mod provider;
mod providers;
mod recipient;
mod schedule;
#[cfg(test)]
mod schema;
mod server;
mod service;
mod target;
mod templates;
mod tls;
mod values;
mod web;

use super::error::{Code, Problem, Report, Severity};
use super::load::Environment;
use super::outside::Outside;
use super::text::{Span, Text};
use super::words::nearest;
use super::yaml::{self, Entry, Value};
use super::{Config, LogFormat, LogLevel, LogRedact, SecretSource};
use block::{Block, Keys};
use origin::Said;
use std::collections::HashSet;
use std::path::PathBuf;
pub(super) use values::show_duration;

const TOP: Keys = Keys {
    known: &[
        "version",
        "include",
        "service",
        "limits",
        "log",
        "defaults",
        "delivery",
        "collectors",
        "providers",
        "templates",
        "control",
        "metrics",
        "notify",
    ],
    not_yet: &["ledger", "web"],
};
const LOG: Keys = Keys { known: &["level", "format", "redact"], not_yet: &[] };

/// Stands for all collectors where one is asked about: none can have this name.
pub(super) const ALL: &str = "*";

/// The keys of a collector, in the order in which they are shown.
pub(super) fn collector_keys() -> &'static [&'static str] {
    common::COLLECTOR.known
}

/// A configuration that can be used.
pub(super) struct Built {
    pub config: Config,
    pub warnings: Vec<Problem>,
    /// What it names outside of its file, and where; each once.
    pub outside: Vec<(Span, Outside)>,
    /// What is said of the collector that somebody asked about.
    pub said: Vec<(String, Vec<Said>)>,
}

/// A configuration that cannot: what is wrong, and what it names outside of its file, as far as that was read.
pub(super) struct Broken {
    pub report: Report,
    pub outside: Vec<(Span, Outside)>,
}

/// What a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The one that the command line names: everything.
    Main,
    /// One of `conf.d`, or included: everything but `include`.
    Beside,
    /// One of `collectors.d`: collectors.
    Collectors,
}

/// The first file, read already: its tree, and what is wrong with it.
pub(super) type First = (Option<yaml::Node>, Vec<Problem>);

/// Reads the file that names the others.
pub(super) fn first(text: &Text<'_>) -> First {
    let mut problems = Vec::new();
    (yaml::parse(text, 0, &mut problems), problems)
}

/// Builds the configuration from the texts of its files, each with what it may hold. Warnings come with it, or with the errors. Of the collector
/// that is asked about, or of all for [`ALL`], it tells where each value is.
pub(super) fn build(text: &Text<'_>, parts: &[Part], first: First, env: &Environment, asked: Option<&str>) -> Result<Built, Broken> {
    let mut ctx = Ctx { asked, ..Ctx::new(text, env) };
    let (main, mut problems) = first;
    let mut roots = vec![main];
    roots.extend((1..text.files()).map(|file| yaml::parse(text, file, &mut problems)));
    problems.into_iter().for_each(|problem| ctx.add(problem));
    // A file that cannot be read leaves the others to be looked at, but makes no configuration.
    let is_whole = roots.iter().all(Option::is_some);
    let read: Vec<_> = roots.into_iter().zip(parts).filter_map(|(root, part)| Some((root?, *part))).collect();
    let config = if is_whole { join::join(&mut ctx, read).and_then(|root| top(&mut ctx, &root)) } else { None };
    let place = |problem: &Problem| problem.place.as_ref().map(|place| (text.index_of(&place.path), place.line, place.column));
    ctx.report.errors.sort_by_key(place);
    ctx.report.warnings.sort_by_key(place);
    match config {
        Some(config) if ctx.report.errors.is_empty() => Ok(Built { config, warnings: ctx.report.warnings, outside: ctx.outside, said: ctx.said }),
        _ => Err(Broken { report: ctx.report, outside: ctx.outside }),
    }
}

fn top(ctx: &mut Ctx<'_>, root: &yaml::Node) -> Option<Config> {
    let block = Block::open(ctx, root, "the file", &TOP)?;
    if let Some(entry) = block.get("version") {
        values::number(ctx, entry, 1..=1);
    }
    if let Some(entry) = block.get("include") {
        // The files are read already; this is for what is none.
        for pattern in values::one_or_more(ctx, entry).unwrap_or_default() {
            values::text(ctx, &pattern);
        }
    }
    let service = service::service(ctx, &block);
    let limits = service::limits(ctx, &block, service.held.max_age);
    let log = block.child(ctx, "log", &LOG);
    let levels = [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];
    let log_level = log.get("level").and_then(|entry| values::choice(ctx, entry, &levels, &[])).unwrap_or(LogLevel::Info);
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json), ("journald", LogFormat::Journald)];
    let log_format = log.get("format").and_then(|entry| values::choice(ctx, entry, &formats, &[])).unwrap_or_default();
    let redacts = [("none", LogRedact::None), ("subjects", LogRedact::Subjects), ("addresses", LogRedact::Addresses)];
    let log_redact = log.get("redact").and_then(|entry| values::choice(ctx, entry, &redacts, &[])).unwrap_or_default();
    let control = control::control(ctx, &block);
    let notify = notify::notify(ctx, &block);
    let metrics = notify::metrics(ctx, &block);
    let mut providers = providers::providers(ctx, &block, &limits);
    let collectors = collector::collectors(ctx, &block, &limits, &mut providers);
    let collectors = collectors.unwrap_or_default();
    Some(Config { service, control, metrics, notify, log_level, log_format, log_redact, collectors, own_providers: providers.own() })
}

/// What to do about a key that stands in the wrong block.
fn elsewhere(key: &str) -> Option<String> {
    if key == "stop_at_first" {
        return Some("an envelope header always outranks To and Cc; `guess: union` asks them as well".to_owned());
    }
    let blocks = [
        ("recipient", &recipient::RECIPIENT),
        ("recipient.auto", &auto::AUTO),
        ("delivery", &delivery::DELIVERY),
        ("a collector", &common::COLLECTOR),
        ("service", &service::SERVICE),
        ("providers.NAME", &provider::PROVIDER),
    ];
    let (block, _) = blocks.iter().find(|(_, keys)| keys.known.contains(&key))?;
    Some(format!("`{key}` is a key of {}", if block.contains(' ') { (*block).to_owned() } else { format!("`{block}`") }))
}

/// The host of a server and its port, as a person types them.
pub fn server_place(text: &str) -> Result<(String, Option<u16>), String> {
    address::server_place(text)
}

/// The keys of a file of answers that are none of a collector, and not its name.
pub(super) fn strange_answers(text: &Text<'_>, entries: &[Entry]) -> Vec<Problem> {
    let env = Environment::default();
    let mut ctx = Ctx::new(text, &env);
    for entry in entries.iter().filter(|entry| entry.key != "name") {
        let near = nearest(&entry.key, common::COLLECTOR.known.iter().copied().chain(["name"]));
        if near == Some("name") {
            let problem = ctx.error(Code::UnknownKey, entry.span, format!("unknown key {} in the answers", ctx.quoted(&entry.key, entry.span)));
            ctx.add(problem.label("did you mean `name`?"));
        } else {
            block::check_key(&mut ctx, entry, "the answers", &common::COLLECTOR);
        }
    }
    ctx.report.errors
}

/// What all readers share.
struct Ctx<'a> {
    text: &'a Text<'a>,
    env: &'a Environment,
    report: Report,
    seen: HashSet<(Code, PathBuf, usize, usize, String)>,
    outside: Vec<(Span, Outside)>,
    named: HashSet<Span>,
    /// The folder of our own secrets.
    secrets: PathBuf,
    /// What access tokens are sealed with.
    token_key: Option<SecretSource>,
    /// The collector that somebody asks about.
    asked: Option<&'a str>,
    /// What is said of it.
    said: Vec<(String, Vec<Said>)>,
}

impl<'a> Ctx<'a> {
    fn new(text: &'a Text<'a>, env: &'a Environment) -> Self {
        Ctx {
            text,
            env,
            report: Report::default(),
            seen: HashSet::new(),
            outside: Vec::new(),
            named: HashSet::new(),
            secrets: PathBuf::new(),
            token_key: None,
            asked: None,
            said: Vec::new(),
        }
    }

    /// Says nothing about this: another error has said it.
    fn mute(&mut self, code: Code, span: Span, message: String) {
        let line = self.text.number_in_file(span.start.line);
        self.seen.insert((code, self.text.path(span).to_owned(), line, span.start.column, message));
    }

    /// Takes a problem, once for each place: a default that is wrong is met again in each collector.
    fn add(&mut self, problem: Problem) {
        if let Some(place) = &problem.place {
            // Several things may be missing at one place.
            let message = if problem.code == Code::Missing { problem.message.clone() } else { String::new() };
            if !self.seen.insert((problem.code, place.path.clone(), place.line, place.column, message)) {
                return;
            }
        }
        match problem.severity {
            Severity::Error => self.report.errors.push(problem),
            Severity::Warning => self.report.warnings.push(problem),
        }
    }

    /// Notes what is to be looked at, once for each place: what stands in `defaults` is met again in each collector.
    fn names(&mut self, span: Span, outside: Outside) {
        if self.named.insert(span) {
            self.outside.push((span, outside));
        }
    }

    fn error(&self, code: Code, span: Span, message: impl Into<String>) -> Problem {
        self.text.error(code, span, message)
    }

    fn warning(&self, code: Code, span: Span, message: impl Into<String>) -> Problem {
        self.text.warning(code, span, message)
    }

    /// A piece of the text for a message: as it stands, if its line may be shown with it.
    fn quoted(&self, text: &str, span: Span) -> String {
        if self.text.may_quote(text, span) { format!("`{text}`") } else { "`…`".to_owned() }
    }

    /// A key or a word of the whole product that has no effect in this version.
    fn not_yet(&mut self, span: Span, what: &str) {
        self.add(self.error(Code::NotYet, span, format!("`{what}` does not work yet in this version; remove it")));
    }
}

/// A word, without a report if it is none: its reader says so.
fn word_of(entry: &Entry) -> Option<&str> {
    match &entry.value.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn kind_of(entry: &Entry) -> &'static str {
    match entry.value.value {
        Value::Empty => "nothing",
        Value::Scalar { .. } => "one value",
        Value::List(_) => "a list",
        Value::Map(_) => "a block of keys",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::harmless::HARMLESS;

    /// A key that the mask does not know hides its value in every report. `command` does so on purpose: its arguments may be secrets.
    #[test]
    fn reports_show_the_values_of_all_keys_but_secrets() {
        let blocks = [
            &TOP,
            &LOG,
            &control::CONTROL,
            &notify::NOTIFY,
            &notify::VIA,
            &notify::METRICS,
            &recipient::RECIPIENT,
            &auto::AUTO,
            &auto::REWRITE,
            &check_local::CHECK_LOCAL,
            &headers::HEADER,
            &common::COLLECTOR,
            &common::DEFAULTS,
            &common::TEMPLATE,
            &disposal::AFTER,
            &disposal::ON_HOLD,
            &disposal::EXPUNGE,
            &fetching::SIZE_LIMIT,
            &fetching::FIRST_RUN,
            &fetching::PARTIAL,
            &folders::FOLDER,
            &provider::PROVIDER,
            &provider::ACCESS,
            &schedule::HOURS,
            &delivery::DELIVERY,
            &delivery::HEADERS,
            &delivery::TRACE,
            &policy::RULE,
            &policy::RETRY,
            &service::SERVICE,
            &service::HELD,
            &service::LIMITS,
        ];
        let hidden: Vec<_> = blocks.iter().flat_map(|keys| keys.known).filter(|key| !HARMLESS.contains(key)).collect();
        // An address may hold a password, in which case it is refused.
        assert_eq!(hidden, [&"webhook", &"token", &"command", &"command", &"url", &"password", &"url", &"token_key"]);
    }
}
