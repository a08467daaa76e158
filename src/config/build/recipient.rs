//! `recipient:`: everything to fixed addresses, or the resolver's rules.

use super::address::{address, addresses, domain};
use super::block::{Block, Keys, open_entry};
use super::values::{boolean, choice, number, one_or_more, text};
use super::{Ctx, kind_of};
use crate::config::error::Code;
use crate::config::yaml::{Entry, Value};
use crate::config::{RecipientMode, SenderFallback};
use crate::mail::{Address, Domain};
use crate::resolve::{Alias, Guess, HeaderRule, Headers, MapTo, Rules, Take, Unresolved};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const RECIPIENT: Keys =
    Keys { known: &["forward_to", "auto", "default_box", "unresolved", "sender_fallback"], not_yet: &["journal", "journal_from"] };
const AUTO: Keys = Keys {
    known: &["headers", "domains", "map", "aliases", "trusted_hosts", "trusted_hops", "envelope_below_received", "max_recipients"],
    not_yet: &["lists", "rewrite", "exclude", "keep_tag", "guess", "check_local", "stop_at_first"],
};
const HEADER: Keys = Keys { known: &["header", "index", "skip", "strip_prefix", "take", "trust"], not_yet: &["pattern"] };
const FIXED: Keys = Keys { known: &["fixed"], not_yet: &[] };
/// What people wrote into a message says who it was meant for, not whose copy this is.
const GUESSES: &[&str] = &["to", "cc", "bcc"];

/// Who gets the mail of a collector. `comes_back` if the destination could send mail for `email` back to the server that it came from.
pub(super) fn recipient(ctx: &mut Ctx<'_>, owner: &Block<'_>, email: Option<&Address>, server_host: &str, comes_back: bool) -> Option<RecipientMode> {
    let Some(entry) = owner.get("recipient") else {
        let problem = ctx.error(Code::Missing, owner.span, format!("{} has no `recipient`", owner.name));
        ctx.add(problem.hint("`recipient: {forward_to: someone@example.org}` or `recipient: {auto: true, default_box: postmaster@example.org}`"));
        return None;
    };
    let block = open_entry(ctx, entry, &format!("`recipient` of {}", owner.name), &RECIPIENT)?;
    let sender = block.get("sender_fallback").map_or(Some(SenderFallback::Default), |entry| sender_fallback(ctx, entry));
    let looping = email.filter(|_| comes_back);
    let auto = block.get("auto").filter(|entry| !is_false(entry));
    match (block.get("forward_to"), auto) {
        (Some(forward), Some(auto)) => {
            let problem = ctx.error(Code::Contradiction, auto.span, format!("{} both forwards everything and looks for recipients", owner.name));
            ctx.add(problem.hint("keep `forward_to` for fixed addresses, or `auto`; with `auto`, `default_box` takes what nobody else gets"));
            addresses(ctx, forward);
            rules(ctx, &block, auto, email, server_host, looping);
            None
        }
        (Some(forward), None) => {
            for key in ["default_box", "unresolved"] {
                if let Some(useless) = block.get(key) {
                    let problem = ctx.error(Code::Contradiction, useless.span, format!("`{key}` has no effect with `forward_to`"));
                    ctx.add(problem.hint("everything goes to `forward_to`: remove it"));
                }
            }
            let to = addresses(ctx, forward)?;
            warn_of_loops(ctx, forward, &to, looping);
            Some(RecipientMode::ForwardTo(to, sender?))
        }
        (None, Some(auto)) => {
            let rules = rules(ctx, &block, auto, email, server_host, looping)?;
            Some(RecipientMode::Auto(Arc::new(rules), sender?))
        }
        (None, None) => {
            let problem = ctx.error(Code::Missing, entry.span, format!("`recipient` of {} takes `forward_to` or `auto`", owner.name));
            ctx.add(problem.hint("`auto: true` finds recipients with the default rules"));
            None
        }
    }
}

fn is_false(entry: &Entry) -> bool {
    matches!(&entry.value.value, Value::Scalar { text, .. } if text == "false")
}

fn rules(
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

fn unresolved(ctx: &mut Ctx<'_>, recipient: &Block<'_>, has_box: bool) -> Unresolved {
    let default = if has_box { Unresolved::DefaultBox } else { Unresolved::Leave };
    let Some(entry) = recipient.get("unresolved") else { return default };
    let words = [("default_box", Unresolved::DefaultBox), ("leave", Unresolved::Leave)];
    let chosen = choice(ctx, entry, &words, &["hold", "discard"]).unwrap_or(default);
    if chosen == Unresolved::DefaultBox && !has_box {
        let problem = ctx.error(Code::Contradiction, entry.span, "`unresolved: default_box` without a `default_box`");
        ctx.add(problem.hint("add `default_box: postmaster@example.org`, or write `unresolved: leave`"));
    }
    chosen
}

fn sender_fallback(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<SenderFallback> {
    if let Value::Map(_) = entry.value.value {
        let block = open_entry(ctx, entry, "`sender_fallback`", &FIXED)?;
        let Some(fixed) = block.get("fixed") else {
            ctx.add(ctx.error(Code::Missing, entry.span, "`sender_fallback` takes `null`, `from` or `{fixed: address}`"));
            return None;
        };
        return address(ctx, fixed).map(SenderFallback::Fixed);
    }
    // The plain word `null` is meant here as it is written.
    match choice(ctx, entry, &[("null", true), ("from", false)], &[])? {
        true => Some(SenderFallback::Null),
        false => Some(SenderFallback::From),
    }
}

fn headers(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Headers> {
    let items = match &entry.value.value {
        Value::Scalar { text, .. } if text == "auto" => return Some(Headers::Auto),
        _ => one_or_more(ctx, entry)?,
    };
    let mut rules = Vec::new();
    let mut whole = true;
    for item in &items {
        match header_rule(ctx, item) {
            Some(rule) => rules.push(rule),
            None => whole = false,
        }
    }
    whole.then_some(Headers::List(rules))
}

fn header_rule(ctx: &mut Ctx<'_>, item: &Entry) -> Option<HeaderRule> {
    let plain = |header| HeaderRule { header, index: None, pattern: None, strip_prefix: None, take: Take::All, trust_any: false };
    if let Value::Scalar { .. } = item.value.value {
        return header_name(ctx, item).map(plain);
    }
    let block = Block::open(ctx, &item.value, "an entry of `headers`", &HEADER)?;
    let Some(name) = block.get("header") else {
        ctx.add(ctx.error(Code::Missing, item.value.span, "an entry of `headers` takes a name, or a block with `header: name`"));
        return None;
    };
    let index = block.get("index").and_then(|entry| number(ctx, entry, 1..=100));
    // Fetchmail counts what is skipped, getmail what is taken.
    let skip = block.get("skip").and_then(|entry| number(ctx, entry, 0..=99)).map(|skip| skip + 1);
    if let (Some(_), Some(skip)) = (index, block.get("skip")) {
        ctx.add(ctx.error(Code::Contradiction, skip.span, "`skip` beside `index`").hint("`skip: 1` is `index: 2`: remove one of the two"));
    }
    let takes = [("first", Take::First), ("last", Take::Last), ("all", Take::All)];
    Some(HeaderRule {
        index: index.or(skip),
        strip_prefix: block.get("strip_prefix").and_then(|entry| text(ctx, entry)).filter(|prefix| !prefix.is_empty()).map(str::to_owned),
        take: block.get("take").and_then(|entry| choice(ctx, entry, &takes, &[])).unwrap_or(Take::All),
        trust_any: block.get("trust").and_then(|entry| choice(ctx, entry, &[("any", true)], &[])).unwrap_or(false),
        ..plain(header_name(ctx, name)?)
    })
}

/// A field's name (RFC 5322 §2.2), or `Received:for`.
fn header_name(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<String> {
    let name = text(ctx, entry)?;
    let lower = name.to_ascii_lowercase();
    if GUESSES.contains(&lower.as_str()) || lower.starts_with("resent-") {
        let problem = ctx.error(
            Code::NotYet,
            entry.value.span,
            format!("{} says who a message was meant for, not who got this copy", ctx.quoted(name, entry.value.span)),
        );
        ctx.add(problem.hint("taking recipients from it is `guess`, which does not work yet in this version; remove it"));
        return None;
    }
    let known = lower == "received:for";
    if !known && (name.is_empty() || !name.bytes().all(|b| (33..=126).contains(&b) && b != b':')) {
        let problem = ctx.error(Code::Value, entry.value.span, format!("{} is no name of a header field", ctx.quoted(name, entry.value.span)));
        ctx.add(problem.hint("without the colon; `Received:for` stands for the for-clause of Received"));
        return None;
    }
    Some(if known { "Received:for".to_owned() } else { name.to_owned() })
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

/// Mail that goes back into the mailbox it came from comes round again.
fn warn_of_loops(ctx: &mut Ctx<'_>, entry: &Entry, to: &[Address], looping: Option<&Address>) {
    if looping.is_some_and(|email| to.contains(email)) {
        let problem = ctx.warning(Code::Doubtful, entry.span, format!("{} goes to the collected mailbox itself", ctx.quoted(&entry.key, entry.span)));
        ctx.add(problem.hint("if the local server sends it back there, it is collected again: a loop, until `max_hops` stops it"));
    }
}
