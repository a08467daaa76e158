//! `recipient.auto:`, the resolver's rules.

use super::address::{address, addresses, domain};
use super::block::{Block, Keys, open_entry};
use super::headers::headers;
use super::recipient::{unresolved, warn_of_loops};
use super::values::{boolean, number, one_or_more, text};
use super::{Ctx, kind_of};
use crate::config::error::Code;
use crate::config::yaml::{Entry, Value};
use crate::mail::{Address, Domain};
use crate::resolve::{Alias, Guess, Headers, MapTo, Rules};
use std::collections::{BTreeMap, BTreeSet};

const AUTO: Keys = Keys {
    known: &["headers", "domains", "map", "aliases", "trusted_hosts", "trusted_hops", "envelope_below_received", "max_recipients"],
    not_yet: &["lists", "rewrite", "exclude", "keep_tag", "guess", "check_local", "stop_at_first"],
};

/// The rules of a collector in `auto` mode.
pub(super) fn rules(
    ctx: &mut Ctx<'_>,
    recipient: &Block<'_>,
    entry: &Entry,
    email: Option<&Address>,
    server_host: &str,
    looping: Option<&Address>,
) -> Option<Rules> {
    let block = match &entry.value.value {
        // `auto: true` is `auto: {}`.
        Value::Scalar { .. } => {
            boolean(ctx, entry)?;
            Block::empty("`auto`", entry.span)
        }
        _ => open_entry(ctx, entry, &format!("`auto` in {}", recipient.name), &AUTO)?,
    };
    let headers = block.get("headers").map_or(Some(Headers::Auto), |entry| headers(ctx, entry));
    let map = block.get("map").map_or(Some(BTreeMap::new()), |entry| domain_map(ctx, entry));
    let aliases = block.get("aliases").map_or(Some(Vec::new()), |entry| aliases(ctx, entry, email));
    let configured = block.get("domains").map(|entry| domains(ctx, entry));
    let default_box = recipient.get("default_box").map(|entry| {
        let address = address(ctx, entry)?;
        warn_of_loops(ctx, entry, std::slice::from_ref(&address), looping);
        Some(address)
    });
    let unresolved = unresolved(ctx, recipient, default_box.is_some());
    let trusted_hosts = block.get("trusted_hosts").map_or(Some(Vec::new()), |entry| trusted_hosts(ctx, entry));
    let trusted_hops = block.get("trusted_hops").and_then(|entry| number(ctx, entry, 0..=100));
    if let (Some(hops), Some(hosts)) = (block.get("trusted_hops"), trusted_hosts.as_ref().filter(|hosts| !hosts.is_empty())) {
        let problem = ctx.error(Code::Contradiction, hops.span, format!("`trusted_hops` beside `trusted_hosts` ({} of them)", hosts.len()));
        ctx.add(problem.hint("the number decides alone: remove one of the two"));
    }
    let below = block.get("envelope_below_received").and_then(|entry| boolean(ctx, entry)).unwrap_or(false);
    if let Some(entry) = block.get("envelope_below_received").filter(|_| below) {
        let problem = ctx.warning(Code::Doubtful, entry.span, "`envelope_below_received` believes fields that a sender may have written");
        ctx.add(problem.hint("only for servers that always write their envelope fields there"));
    }
    let (map, aliases) = (map?, aliases?);
    let domains = match configured {
        Some(domains) => domains?,
        None => default_domains(&map, &aliases, email),
    };
    if domains.is_empty() {
        let problem = ctx.warning(Code::Doubtful, entry.span, "`auto` accepts no address: there is no `domains`, `map`, `aliases` or `email`");
        ctx.add(problem.hint("name your domains: `auto: {domains: [example.org]}`"));
    }
    Some(Rules {
        headers: headers?,
        domains,
        subdomains: BTreeSet::new(),
        map: map.into_iter().map(|(from, to)| (from, MapTo::Domain(to))).collect(),
        aliases,
        rewrite: Vec::new(),
        lists: Vec::new(),
        exclude: Vec::new(),
        keep_tag: true,
        guess: Guess::Off,
        journal: None,
        mx_hosts: Vec::new(),
        trusted_hosts: trusted_hosts?,
        trusted_hops,
        envelope_below_received: below,
        max_recipients: block.get("max_recipients").and_then(|entry| number(ctx, entry, 1..=1_000)).unwrap_or(20),
        server_host: server_host.to_owned(),
        own: email.cloned(),
        default_box: default_box.flatten(),
        unresolved,
    })
}

/// The targets and sources of `map` and `aliases`, and the domain of `email`.
fn default_domains(map: &BTreeMap<Domain, Domain>, aliases: &[Alias], email: Option<&Address>) -> BTreeSet<Domain> {
    let of_map = map.iter().flat_map(|(from, to)| [from, to]);
    let of_aliases = aliases.iter().flat_map(|alias| std::iter::once(&alias.domain).chain(alias.to.iter().map(Address::domain)));
    of_map.chain(of_aliases).chain(email.map(Address::domain)).cloned().collect()
}

fn domain_map(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<BTreeMap<Domain, Domain>> {
    let mut map = BTreeMap::new();
    for item in entries_of(ctx, entry, "`map` takes `domain: domain`")? {
        let value = Entry { key: "map".to_owned(), ..item.clone() };
        let to = text(ctx, &value).map(str::to_owned);
        let (from, to) = (domain(ctx, "map", &item.key, item.span), to.and_then(|to| domain(ctx, "map", &to, item.value.span)));
        if let (Some(from), Some(to)) = (from, to)
            && map.insert(from, to).is_some()
        {
            ctx.add(ctx.error(Code::Duplicate, item.span, format!("{} is mapped twice", ctx.quoted(&item.key, item.span))));
        }
    }
    Some(map)
}

fn aliases(ctx: &mut Ctx<'_>, entry: &Entry, email: Option<&Address>) -> Option<Vec<Alias>> {
    let mut aliases: Vec<Alias> = Vec::new();
    for item in entries_of(ctx, entry, "`aliases` takes `address: address` or `address: [addresses]`")? {
        // The star is no part of an address, so it is checked with a letter in its place.
        let pattern = match item.key.replace('*', "x").parse::<Address>() {
            Ok(plain) => item.key.rsplit_once('@').map(|(local, domain)| (local.trim_matches('"').to_owned(), domain, plain)),
            Err(_) => None,
        };
        let Some((local, domain, plain)) = pattern.filter(|(_, domain, _)| !domain.contains('*')) else {
            let problem = ctx.error(Code::Value, item.span, format!("`aliases`: {} is no address", ctx.quoted(&item.key, item.span)));
            ctx.add(problem.hint("`*` may stand in the local part; a whole domain goes to `map`"));
            continue;
        };
        debug_assert!(!domain.is_empty());
        let value = Entry { key: "aliases".to_owned(), ..item.clone() };
        let Some(to) = addresses(ctx, &value) else { continue };
        warn_of_loops(ctx, item, &to, email);
        let alias = Alias { local, domain: plain.domain().clone(), to };
        if aliases.iter().any(|other| other.local == alias.local && other.domain == alias.domain) {
            ctx.add(ctx.error(Code::Duplicate, item.span, format!("the alias {} is there twice", ctx.quoted(&item.key, item.span))));
            continue;
        }
        aliases.push(alias);
    }
    Some(aliases)
}

fn domains(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<BTreeSet<Domain>> {
    let items = one_or_more(ctx, entry)?;
    items.iter().map(|item| text(ctx, item).and_then(|name| domain(ctx, "domains", name, item.value.span))).collect()
}

/// Suffixes for "by"; `auto` is none.
fn trusted_hosts(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<String>> {
    if matches!(&entry.value.value, Value::Scalar { text, .. } if text == "auto") {
        return Some(Vec::new());
    }
    let mut hosts = Vec::new();
    for item in one_or_more(ctx, entry)? {
        let name = text(ctx, &item)?;
        hosts.push(domain(ctx, "trusted_hosts", name.trim_start_matches('.'), item.value.span)?.as_ascii().to_owned());
    }
    Some(hosts)
}

fn entries_of<'n>(ctx: &mut Ctx<'_>, entry: &'n Entry, wanted: &str) -> Option<&'n [Entry]> {
    match &entry.value.value {
        Value::Map(entries) => Some(entries),
        _ => {
            ctx.add(ctx.error(Code::WrongType, entry.span, format!("{wanted}, not {}", kind_of(entry))));
            None
        }
    }
}
