//! What is in force for one collector: each value, and where it comes from. Secrets are never among them, only how they are given.

use super::build::origin::{Layer, Said};
use super::build::{ALL, collector_keys};
use super::edit::Value as Written;
use super::error::{Report, harmless};
use super::harmless::HARMLESS;
use super::mask::{MASK as HIDDEN, names_a_secret, says_where};
use super::text::Text;
use super::yaml::{Entry, Node, Value};
use super::{
    After, Collect, Collector, Environment, FirstRun, FolderSelect, Idle, Loaded, LogMode, OnHold, Otherwise, PartialMode, RecipientMode, Schedule,
    Sources, Target, TlsBackend, TlsMode, TlsVerify, TlsVersion,
};
use crate::import::yaml::quoted;
use std::path::PathBuf;
use std::time::Duration;

/// A value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key: `tls.mode`.
    pub key: String,
    /// As it could be written, secrets hidden.
    pub value: String,
    /// Where it comes from.
    pub from: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The collector says it.
    Own(PathBuf, usize),
    /// A template that it uses.
    Template(String, PathBuf, usize),
    /// Its provider; a built-in one stands in no file.
    Provider(String, Option<(PathBuf, usize)>),
    /// `defaults:`
    Defaults(PathBuf, usize),
    /// `delivery:` of the top level.
    Shared(PathBuf, usize),
    /// Nobody says it.
    Default,
}

impl Origin {
    /// For programs.
    pub fn json(&self) -> serde_json::Value {
        let place = self.place();
        serde_json::json!({
            "kind": self.word(), "name": self.name(), "file": place.map(|(file, _)| file.to_string_lossy()), "line": place.map(|(_, line)| line),
        })
    }

    /// One word for what it is.
    pub fn word(&self) -> &'static str {
        match self {
            Origin::Own(..) => "collector",
            Origin::Template(..) => "template",
            Origin::Provider(..) => "provider",
            Origin::Defaults(..) => "defaults",
            Origin::Shared(..) => "delivery",
            Origin::Default => "default",
        }
    }

    /// The template or the provider.
    pub fn name(&self) -> Option<&str> {
        match self {
            Origin::Template(name, ..) | Origin::Provider(name, _) => Some(name),
            _ => None,
        }
    }

    /// File and line.
    pub fn place(&self) -> Option<(&PathBuf, usize)> {
        match self {
            Origin::Own(path, line) | Origin::Template(_, path, line) | Origin::Defaults(path, line) | Origin::Shared(path, line) => {
                Some((path, *line))
            }
            Origin::Provider(_, place) => place.as_ref().map(|(path, line)| (path, *line)),
            Origin::Default => None,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.place().map(|(path, line)| format!("{}:{line}", harmless(&path.to_string_lossy()))).unwrap_or_default();
        match self {
            Origin::Own(..) => f.write_str(&place),
            Origin::Template(name, ..) => write!(f, "template {name}, {place}"),
            Origin::Provider(name, None) => write!(f, "provider {name}"),
            Origin::Provider(name, Some(_)) => write!(f, "provider {name}, {place}"),
            Origin::Defaults(..) => write!(f, "defaults, {place}"),
            Origin::Shared(..) => write!(f, "delivery, {place}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

impl Sources {
    /// The configuration, and what is in force for one collector, if there is one of this name.
    pub fn effective(&self, name: &str, env: &Environment) -> Result<(Loaded, Option<Vec<Setting>>), Report> {
        let (loaded, mut all) = self.in_force(Some(name), env)?;
        Ok((loaded, all.pop().map(|(_, settings)| settings)))
    }

    /// The same of one collector, or of all.
    pub fn in_force(&self, name: Option<&str>, env: &Environment) -> Result<(Loaded, Vec<(String, Vec<Setting>)>), Report> {
        let text = self.text();
        let (loaded, said) = self.load_asked(&text, env, Some(name.unwrap_or(ALL)))?;
        let of = |(name, said): (String, Vec<Said>)| {
            let collector = loaded.config.collectors.values().find(|collector| collector.id.as_str() == name)?;
            let settings = settings(&text, collector, &said);
            Some((name, settings))
        };
        let all = said.into_iter().filter_map(of).collect();
        Ok((loaded, all))
    }
}

fn settings(text: &Text<'_>, collector: &Collector, said: &[Said]) -> Vec<Setting> {
    let mut all: Vec<Setting> = said
        .iter()
        .map(|said| {
            let place = (text.path(said.span).to_owned(), text.number_in_file(said.span.start.line));
            let from = match &said.layer {
                Layer::Own => Origin::Own(place.0, place.1),
                Layer::Template(name) => Origin::Template(name.clone(), place.0, place.1),
                Layer::Provider { id, built_in: true } => Origin::Provider(id.clone(), None),
                Layer::Provider { id, .. } => Origin::Provider(id.clone(), Some(place)),
                Layer::Defaults => Origin::Defaults(place.0, place.1),
                Layer::Shared => Origin::Shared(place.0, place.1),
            };
            let last = said.key.rsplit('.').next().unwrap_or_default();
            Setting { key: said.key.clone(), value: shown(last, &said.value), from }
        })
        .collect();
    for (key, value) in defaults(collector) {
        // A block that is taken whole leaves nothing to defaults.
        let is_said =
            |setting: &Setting| setting.key == key || setting.key.starts_with(&format!("{key}.")) || key.starts_with(&format!("{}.", setting.key));
        if !all.iter().any(is_said) {
            all.push(Setting { key: key.to_owned(), value, from: Origin::Default });
        }
    }
    let keys = collector_keys();
    let order = |setting: &Setting| keys.iter().position(|key| setting.key.split('.').next() == Some(key)).unwrap_or(keys.len());
    all.sort_by_key(order);
    all
}

/// A value as it could be written. Of a secret, only where it is.
fn shown(key: &str, node: &Node) -> String {
    let is_secret = is_secret(key);
    match &node.value {
        Value::Empty => "''".to_owned(),
        Value::Scalar { .. } if is_secret => HIDDEN.to_owned(),
        Value::Scalar { text, plain } if *plain && Written::parse(text).is_ok_and(|value| value.written() == text) => harmless(text),
        Value::Scalar { text, .. } => quoted(text),
        Value::List(_) if is_secret => HIDDEN.to_owned(),
        Value::List(items) => format!("[{}]", items.iter().map(|item| inside(key, item)).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let one = |entry: &Entry| match entry.key.as_str() {
                // The arguments of a program may be secrets.
                "command" => format!("command: [{}]", program(&entry.value)),
                // The address of one is often a secret.
                "webhook" => format!("webhook: {HIDDEN}"),
                key if is_secret && !says_where(key) => format!("{}: {HIDDEN}", quoted(key)),
                // The name of a stored secret is none.
                "secret" if is_secret => format!("secret: {}", inside("", &entry.value)),
                key => format!("{}: {}", quoted(key), inside(key, &entry.value)),
            };
            format!("{{{}}}", entries.iter().map(one).collect::<Vec<_>>().join(", "))
        }
    }
}

fn is_secret(key: &str) -> bool {
    names_a_secret(key) && !HARMLESS.contains(&key)
}

/// Inside of brackets a comma ends a word.
fn inside(key: &str, node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, .. } if text.contains([',', '[', ']', '{', '}']) && !is_secret(key) => quoted(text),
        _ => shown(key, node),
    }
}

/// The program of a command, without its arguments.
fn program(node: &Node) -> String {
    match &node.value {
        Value::List(items) => match &items[..] {
            [] => String::new(),
            [program] => inside("", program),
            [program, ..] => format!("{}, {HIDDEN}", inside("", program)),
        },
        _ => HIDDEN.to_owned(),
    }
}

fn time(time: Duration) -> String {
    super::build::show_duration(time)
}

fn limit(limit: Option<u64>) -> String {
    limit.unwrap_or(0).to_string()
}

/// What is in force of what has a default, whoever says it.
fn defaults(collector: &Collector) -> Vec<(&'static str, String)> {
    let (server, delivery) = (&collector.server, &collector.delivery);
    let tls = &server.tls;
    let word = |word: &str| word.to_owned();
    let place = match (server.protocol.is_web(), &server.web.path) {
        (false, _) => vec![("server", server.host.clone()), ("port", server.port.to_string())],
        (true, Some(path)) => {
            vec![("url", format!("{}://{}:{}{path}", server.protocol.trace_word(tls.mode).to_ascii_lowercase(), server.host, server.port))]
        }
        (true, None) => vec![("url", word("autodiscover"))],
    };
    let mut all = vec![
        ("title", quoted(&collector.title)),
        ("enabled", collector.enabled.to_string()),
        ("provider", collector.provider.clone().unwrap_or_else(|| word("none"))),
        ("protocol", word(server.protocol.word())),
    ];
    all.extend(place);
    all.extend([
        (
            "tls.mode",
            word(match tls.mode {
                TlsMode::Implicit => "implicit",
                TlsMode::StartTls => "starttls",
                TlsMode::Opportunistic => "opportunistic",
                TlsMode::None => "none",
            }),
        ),
        (
            "tls.verify",
            word(match tls.verify {
                TlsVerify::Full => "full",
                TlsVerify::Fingerprint(_) => "fingerprint",
                TlsVerify::Off => "off",
            }),
        ),
        (
            "tls.min_version",
            word(match tls.min_version {
                TlsVersion::V1_0 => "1.0",
                TlsVersion::V1_1 => "1.1",
                TlsVersion::V1_2 => "1.2",
                TlsVersion::V1_3 => "1.3",
            }),
        ),
        ("tls.backend", word(if tls.backend == TlsBackend::Rustls { "rustls" } else { "openssl" })),
        ("auth.method", word("auto")),
        ("auth.disable", word("[]")),
        ("auth.allow_plaintext", server.auth.allow_plaintext.to_string()),
        ("username", quoted(&server.username)),
        ("folders", folders(collector)),
        ("interval", if collector.manual { word("manual") } else { time(collector.interval) }),
        ("schedule", word(if collector.schedule == Schedule::Always { "always" } else { "after_hours" })),
        (
            "collect",
            word(match collector.collect {
                Collect::New => "new",
                Collect::All => "all",
                Collect::Unseen => "unseen",
            }),
        ),
        (
            "after",
            match collector.after {
                After::Keep => word("keep"),
                After::Delete => word("delete"),
                After::MarkSeen => word("mark_seen"),
                After::DeleteAfter(age) => format!("{{delete_after: {}}}", time(age)),
                After::Move => word("move"),
            },
        ),
        ("max_messages_per_session", collector.max_messages_per_session.to_string()),
        ("max_bytes_per_session", limit(collector.max_bytes_per_session)),
        (
            "first_run",
            match collector.first_run {
                FirstRun::All => word("all"),
                FirstRun::None => word("none"),
                FirstRun::Since(age) => format!("{{since: {}}}", time(age)),
            },
        ),
        ("timeouts.connect", server.connect_timeout.map_or_else(|| word("0"), time)),
        ("timeouts.idle_data", server.idle_timeout.map_or_else(|| word("0"), time)),
        ("dedupe_window", time(collector.dedupe_window)),
        (
            "on_hold",
            word(match collector.on_hold {
                OnHold::Keep => "keep",
                OnHold::Delete => "delete",
                OnHold::Move => "move",
            }),
        ),
        (
            "log",
            word(match collector.log {
                LogMode::Full => "full",
                LogMode::Errors => "errors",
                LogMode::Off => "off",
            }),
        ),
    ]);
    if server.protocol.expunges() {
        let modes = match server.partial_fetch.mode {
            PartialMode::Auto => "auto",
            PartialMode::Off => "off",
            PartialMode::On => "on",
        };
        let idle = match collector.idle {
            Idle::Off => "off",
            Idle::On => "on",
            Idle::Auto => "auto",
        };
        all.extend([
            ("idle", word(idle)),
            ("expunge.every_messages", collector.expunge.every_messages.to_string()),
            ("expunge.every_sessions", collector.expunge.every_sessions.to_string()),
            ("allow_plain_expunge", server.allow_plain_expunge.to_string()),
            ("partial_fetch", word(modes)),
            ("compress", server.compress.to_string()),
        ]);
    } else {
        all.push(("keep_without_uidl", collector.keep_without_uidl.to_string()));
    }
    if let RecipientMode::Auto(rules, _) = &collector.recipient {
        let domains: Vec<String> = rules.domains.iter().map(|domain| quoted(&domain.to_string())).collect();
        all.extend([
            ("recipient.auto.domains", format!("[{}]", domains.join(", "))),
            ("recipient.auto.keep_tag", rules.keep_tag.to_string()),
            ("recipient.auto.max_recipients", rules.max_recipients.to_string()),
            ("recipient.auto.envelope_below_received", rules.envelope_below_received.to_string()),
            ("recipient.auto.headers", word("auto")),
            ("recipient.auto.guess", word("off")),
            ("recipient.auto.check_local", word("none")),
            ("recipient.auto.trusted_hosts", word("auto")),
            (
                "recipient.unresolved",
                word(match rules.unresolved {
                    crate::resolve::Unresolved::DefaultBox => "default_box",
                    crate::resolve::Unresolved::Leave => "leave",
                    crate::resolve::Unresolved::Hold => "hold",
                    crate::resolve::Unresolved::Discard => "discard",
                }),
            ),
            ("recipient.journal", word("off")),
        ]);
    }
    let hold = |otherwise: Otherwise, usual: &str| word(if otherwise == Otherwise::Hold { "hold" } else { usual });
    let delays: Vec<String> = delivery.retry.delays.iter().map(|delay| time(*delay)).collect();
    all.extend([
        ("delivery.max_connections", delivery.max_connections.to_string()),
        ("delivery.max_messages_per_connection", delivery.max_messages_per_connection.to_string()),
        ("delivery.max_recipients", delivery.max_recipients.to_string()),
        ("delivery.trace_headers.received", delivery.trace_received.to_string()),
        ("delivery.trace_headers.id", delivery.trace_id.to_string()),
        ("delivery.max_hops", delivery.max_hops.to_string()),
        ("delivery.max_passes", delivery.max_passes.to_string()),
        ("delivery.on_permanent_failure", word("hold")),
        ("delivery.policy", word("[]")),
        ("delivery.retry.delays", format!("[{}]", delays.join(", "))),
        ("delivery.retry.max", time(delivery.retry.max)),
        ("delivery.retry.give_up", time(delivery.retry.give_up)),
        ("delivery.bare_cr", hold(delivery.bare_cr, "crlf")),
        ("delivery.nul", hold(delivery.nul, "strip")),
        ("delivery.add_missing", delivery.add_missing.to_string()),
        ("delivery.headers.bcc", word("auto")),
        ("delivery.headers.delivered_to", word("rename")),
        ("delivery.headers.spam", word("keep")),
        ("delivery.headers.receipts", word("keep")),
    ]);
    match &delivery.target {
        Target::Smtp(_) | Target::Lmtp(_) => all.extend([
            ("delivery.tls.mode", word("none")),
            ("delivery.smtputf8", word("auto")),
            ("delivery.suppress_dsn", delivery.suppress_dsn.to_string()),
            ("delivery.xclient", delivery.xclient.to_string()),
            ("delivery.eight_bit", hold(delivery.eight_bit, "send")),
            ("delivery.fold", word(if delivery.fold_headers { "headers" } else { "off" })),
        ]),
        Target::Maildir { create, .. } => all.push(("delivery.maildir_create", create.to_string())),
    }
    all
}

fn folders(collector: &Collector) -> String {
    let name = |select: &FolderSelect| match select {
        FolderSelect::Name(name) => quoted(name.as_str()),
        FolderSelect::Glob(name) | FolderSelect::SpecialUse(name) => quoted(name),
    };
    format!("[{}]", collector.folders.iter().map(|folder| name(&folder.select)).collect::<Vec<_>>().join(", "))
}
