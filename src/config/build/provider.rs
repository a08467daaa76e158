//! One provider: its block, read into what it fills in under a collector. The built-in ones are blocks too.

use super::address::{self, domain};
use super::block::{Block, Keys, open_entry};
use super::common::with_fetching;
use super::server::{default_port, protocol};
use super::tls::source_tls;
use super::values::{choice, number, one_or_more, text};
use super::{Ctx, word_of};
use crate::config::error::Code;
use crate::config::load::Environment;
use crate::config::text::{Span, Text};
use crate::config::yaml::{self, Entry, Node, Value};
use crate::config::{Access, Protocol, Provider, ProviderDomain};
use crate::mail::CollectorId;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The keys of a provider: its own, and those that it fills in.
pub(super) const PROVIDER: Keys = Keys {
    known: with_fetching![
        "title", "domains", "received_hosts", "imap", "pop3", "special_folders", "limits", "quirks", "help", "protocol", "server", "port", "tls", "auth",
        "login";
    ],
    not_yet: &["url", "exchange_version"],
};
/// The keys of `imap` and `pop3`.
pub(super) const ACCESS: Keys = Keys { known: &["server", "port", "tls"], not_yet: &[] };
/// Those that a collector knows nothing of.
const OWN: [&str; 9] = ["title", "domains", "received_hosts", "imap", "pop3", "special_folders", "limits", "quirks", "help"];

/// Longest line of `limits` and `quirks`.
const LINE_CHARS_MAX: usize = 500;

/// The built-in ones.
const PRESETS: &str = include_str!("../providers.yaml");

pub(super) static BUILT_IN: LazyLock<Vec<Arc<Known>>> = LazyLock::new(|| {
    let (text, env) = (Text::new(Path::new("providers.yaml"), PRESETS), Environment::default());
    let mut ctx = Ctx::new(&text, &env);
    read_all(&mut ctx).into_iter().map(Arc::new).collect()
});

/// Reads the built-in table; what is wrong in it is in the report. A test says that nothing is.
fn read_all(ctx: &mut Ctx<'_>) -> Vec<Known> {
    let mut problems = Vec::new();
    let root = yaml::parse(ctx.text, 0, &mut problems);
    problems.into_iter().for_each(|problem| ctx.add(problem));
    let Some(Node { value: Value::Map(entries), .. }) = root else { return Vec::new() };
    entries.iter().filter_map(|entry| known(ctx, entry, true)).collect()
}

/// The built-in providers.
pub(in crate::config) fn presets() -> Vec<Arc<Provider>> {
    BUILT_IN.iter().map(|known| Arc::clone(&known.provider)).collect()
}

/// A provider, with the keys that it fills in.
pub(super) struct Known {
    pub provider: Arc<Provider>,
    /// All but the server.
    pub keys: Vec<Entry>,
    /// Server, port and TLS.
    imap: Vec<Entry>,
    pop3: Vec<Entry>,
}

/// Reads one.
pub(super) fn known(ctx: &mut Ctx<'_>, entry: &Entry, built_in: bool) -> Option<Known> {
    let id = entry.key.as_str();
    if CollectorId::new(id).is_none() || ["auto", "none"].contains(&id) {
        let problem = ctx.error(Code::Value, entry.span, format!("{} is no name for a provider", ctx.quoted(id, entry.span)));
        ctx.add(problem.hint("letters, digits, `_` and `-`, at most 64; `auto` and `none` have a meaning of their own"));
        return None;
    }
    let block = open_entry(ctx, entry, &format!("provider `{id}`"), &PROVIDER)?.at(entry.span);
    let Value::Map(entries) = &entry.value.value else { return None };
    let is_server = |key: &str| key == "server" || key == "port";
    let keys: Vec<Entry> = entries.iter().filter(|e| !OWN.contains(&e.key.as_str()) && !is_server(&e.key)).cloned().collect();
    let flat: Vec<Entry> = entries.iter().filter(|e| is_server(&e.key)).cloned().collect();
    let flat_protocol = protocol(ctx, &block);
    if let Some(port) = flat.iter().find(|e| e.key == "port").filter(|_| block.get("server").is_none()) {
        ctx.add(ctx.error(Code::Missing, port.span, format!("`port` of provider `{id}` without `server`")).hint("or both in `imap` or `pop3`"));
    }
    let mut servers = |which: Protocol, key: &str| -> Vec<Entry> {
        let inside = block.child(ctx, key, &ACCESS);
        let own = block.get(key).and_then(|e| if let Value::Map(entries) = &e.value.value { Some(entries.clone()) } else { None });
        let own_flat = if which == flat_protocol { flat.clone() } else { Vec::new() };
        match own {
            Some(own) if !own_flat.is_empty() => {
                let problem = ctx.error(Code::Contradiction, inside.span, format!("provider `{id}` names its server twice"));
                ctx.add(problem.hint(format!("`server` stands for the one of `{key}`: keep one of the two")));
                own
            }
            Some(own) => {
                if inside.get("server").is_none() {
                    ctx.add(ctx.error(Code::Missing, inside.span, format!("`{key}` of provider `{id}` has no `server`")));
                }
                own
            }
            None => own_flat,
        }
    };
    let (imap, pop3) = (servers(Protocol::Imap, "imap"), servers(Protocol::Pop3, "pop3"));
    if imap.is_empty() && pop3.is_empty() && block.get("domains").is_some() {
        let problem = ctx.error(Code::Missing, entry.span, format!("provider `{id}` has no server"));
        ctx.add(problem.hint("`server: imap.corp.example`, or `imap: {server: …}` and `pop3: {server: …}`"));
    }
    let provider = Provider {
        id: id.to_owned(),
        title: block.get("title").and_then(|e| text(ctx, e)).unwrap_or(id).to_owned(),
        built_in,
        domains: block.get("domains").and_then(|e| domains(ctx, e)).unwrap_or_default(),
        protocol: block.get("protocol").map(|_| flat_protocol),
        imap: access(ctx, &block, &imap, Protocol::Imap),
        pop3: access(ctx, &block, &pop3, Protocol::Pop3),
        login: block.get("login").and_then(|e| choice(ctx, e, &LOGINS, &[])).map(str::to_owned),
        received_hosts: block.get("received_hosts").and_then(|e| received_hosts(ctx, e)).unwrap_or_default(),
        special_folders: special_folders(ctx, &block),
        limits: lines(ctx, &block, "limits"),
        quirks: lines(ctx, &block, "quirks"),
        help: block.get("help").and_then(|e| text(ctx, e)).map(str::to_owned),
    };
    Some(Known { provider: Arc::new(provider), keys, imap, pop3 })
}

/// The words of `login`.
const LOGINS: [(&str, &str); 3] = [("email", "email"), ("local_part", "local_part"), ("manual", "manual")];

fn access(ctx: &mut Ctx<'_>, block: &Block<'_>, entries: &[Entry], which: Protocol) -> Option<Access> {
    let own = Block::of(&block.name, block.span, entries);
    let all = own.clone().over(block);
    let tls = source_tls(ctx, &all);
    let port = own.get("port").and_then(|e| number(ctx, e, 1..=65_535)).map(|port| port as u16);
    let host = address::server(ctx, own.get("server")?)?;
    Some(Access { host, port: port.unwrap_or(default_port(which, tls.mode)), tls: tls.mode })
}

fn domains(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<ProviderDomain>> {
    let mut domains = Vec::new();
    for item in one_or_more(ctx, entry)? {
        let name = text(ctx, &item)?;
        domains.push(match name.strip_prefix("*.") {
            Some(parent) => ProviderDomain::Below(domain(ctx, "domains", parent, item.value.span)?),
            None => ProviderDomain::Exactly(domain(ctx, "domains", name, item.value.span)?),
        });
    }
    Some(domains)
}

/// Hosts with what is below them.
fn received_hosts(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<String>> {
    let mut hosts = Vec::new();
    for item in one_or_more(ctx, entry)? {
        let name = text(ctx, &item)?;
        let parent = name.strip_prefix("*.").unwrap_or(name).trim_start_matches('.');
        hosts.push(domain(ctx, "received_hosts", parent, item.value.span)?.as_ascii().to_owned());
    }
    Some(hosts)
}

fn special_folders(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Vec<(String, String)> {
    let Some(entry) = block.get("special_folders") else { return Vec::new() };
    let Value::Map(entries) = &entry.value.value else {
        ctx.add(ctx.error(Code::WrongType, entry.value.span, "`special_folders` takes a special use and a name each").hint("as in `{\\Junk: Spam}`"));
        return Vec::new();
    };
    entries.iter().filter_map(|entry| text(ctx, entry).map(|name| (entry.key.clone(), name.to_owned()))).collect()
}

fn lines(ctx: &mut Ctx<'_>, block: &Block<'_>, key: &str) -> Vec<String> {
    let items = block.get(key).and_then(|entry| one_or_more(ctx, entry)).unwrap_or_default();
    let line = |item: &Entry| text(ctx, item).map(|line| line.chars().take(LINE_CHARS_MAX).collect::<String>());
    items.iter().filter_map(line).collect()
}

impl Known {
    /// What it fills in under a collector that says these things itself.
    pub fn keys_for(&self, said: &Block<'_>, defaults: &Block<'_>, server: Option<&str>, span: Span) -> Vec<Entry> {
        let provider = &self.provider;
        let asked = |block: &Block<'_>| match block.get("protocol").and_then(word_of) {
            Some("pop3") => Some(Protocol::Pop3),
            Some("imap") => Some(Protocol::Imap),
            _ => None,
        };
        let shared = asked(defaults).filter(|protocol| provider.access(*protocol).is_some());
        let only = if provider.imap.is_none() && provider.pop3.is_some() { Protocol::Pop3 } else { Protocol::Imap };
        let protocol = asked(said).or(provider.protocol).or(shared).unwrap_or(only);
        let access = if protocol == Protocol::Imap { &self.imap } else { &self.pop3 };
        // Port and TLS belong to the server: at another one they say nothing.
        let foreign = server.is_some_and(|host| provider.access(protocol).is_none_or(|access| !access.host.eq_ignore_ascii_case(host)));
        let mode = |word: &str| if ["ssl", "ssl/tls"].contains(&word) { "implicit".to_owned() } else { word.to_owned() };
        let access_mode = provider.access(protocol).map_or("implicit", |access| access.tls.word());
        let other_mode = said.word_in("tls", "mode").is_some_and(|word| mode(word) != access_mode);
        // A name of one's own is written down in place of the provider's rule for it.
        let named = said.get("username").is_some();
        // Where its web services are, no provider says.
        let is_web =
            said.get("protocol").and_then(word_of).is_some_and(|word| Protocol::ALL.iter().any(|known| known.is_web() && known.word() == word));
        let foreign = foreign || is_web;
        let of_access = access.iter().filter(|entry| !foreign && (!other_mode || entry.key != "port"));
        let names = if protocol == Protocol::Imap { "imap" } else { "pop3" };
        let word = Node { span, value: Value::Scalar { text: names.to_owned(), plain: true }, tag: None, anchored: false };
        let mut keys = vec![Entry { key: "protocol".to_owned(), span, value: word }];
        for entry in of_access.chain(self.keys.iter().filter(|entry| !(foreign && entry.key == "tls" || named && entry.key == "login"))) {
            match keys.iter_mut().find(|known| known.key == entry.key) {
                // `tls` of the server over `tls` of the provider.
                Some(Entry { value: Node { value: Value::Map(above), .. }, .. }) => {
                    if let Value::Map(below) = &entry.value.value {
                        let missing: Vec<Entry> = below.iter().filter(|entry| !above.iter().any(|known| known.key == entry.key)).cloned().collect();
                        above.extend(missing);
                    }
                }
                Some(_) => {}
                None => keys.push(entry.clone()),
            }
        }
        if provider.built_in && !foreign && !other_mode {
            // Or `defaults` would decide how its server is spoken to.
            let scalar = |text: &str| Node { span, value: Value::Scalar { text: text.to_owned(), plain: true }, tag: None, anchored: false };
            let mode = Entry { key: "mode".to_owned(), span, value: scalar(access_mode) };
            keys.retain(|entry| entry.key != "tls");
            keys.push(Entry { key: "tls".to_owned(), span, value: Node { span, value: Value::Map(vec![mode]), tag: None, anchored: false } });
        }
        if provider.built_in {
            // These stand in no file of the operator: what is said about them points at what chose the provider.
            keys.iter_mut().for_each(|entry| move_to(entry, span));
        }
        keys
    }
}

fn move_to(entry: &mut Entry, span: Span) {
    fn of_node(node: &mut Node, span: Span) {
        node.span = span;
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| of_node(item, span)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| move_to(entry, span)),
            Value::Empty | Value::Scalar { .. } => {}
        }
    }
    entry.span = span;
    of_node(&mut entry.value, span);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_built_in_table_is_right() {
        let (text, env) = (Text::new(Path::new("providers.yaml"), PRESETS), Environment::default());
        let mut ctx = Ctx::new(&text, &env);
        let read = read_all(&mut ctx);
        assert_eq!(ctx.report.to_string(), "");
        let all = presets();
        assert_eq!(read.len(), all.len());
        assert!(all.len() >= 25, "{}", all.len());
        let mut claims: BTreeMap<String, &str> = BTreeMap::new();
        for provider in &all {
            assert!(provider.imap.is_some() && provider.title != provider.id, "{}", provider.id);
            for claim in &provider.domains {
                assert_eq!(claims.insert(claim.to_string(), &provider.id), None, "{claim}");
            }
        }
    }
}
