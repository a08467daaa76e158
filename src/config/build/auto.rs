//! `recipient.auto:`, the resolver's rules.

use super::address::{address, addresses, domain};
use super::block::{Block, Keys, open_entry};
use super::doubts::warn_of_slips;
use super::exclude::{exclude, matches_all, warn_of_exclusion};
use super::headers::headers;
use super::pattern::{pattern, replacement};
use super::recipient::{journal, unresolved, warn_of_loops};
use super::values::{boolean, choice, list, number, one_or_more, text};
use super::{Ctx, kind_of};
use crate::config::error::Code;
use crate::config::yaml::{Entry, Value};
use crate::mail::{Address, Domain};
use crate::resolve::{Alias, Guess, Headers, ListName, ListRule, MapTo, Rewrite, Rules};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The keys of `recipient.auto:`.
pub(super) const AUTO: Keys = Keys {
    known: &[
        "headers",
        "domains",
        "map",
        "aliases",
        "lists",
        "rewrite",
        "exclude",
        "keep_tag",
        "guess",
        "check_local",
        "trusted_hosts",
        "trusted_hops",
        "envelope_below_received",
        "max_recipients",
    ],
    not_yet: &[],
};
pub(super) const REWRITE: Keys = Keys { known: &["regex", "to"], not_yet: &[] };
/// Most entries of `rewrite` and of `exclude`: each expression is asked for each address of each message.
const EXPRESSIONS_MAX: usize = 1_000;
/// RFC 2919 §3 allows 255 characters, without line breaks.
const LIST_ID_OCTETS_MAX: usize = 255;

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
    let map = block.get("map").map_or(Some(BTreeMap::new()), |entry| domain_map(ctx, entry, looping));
    let aliases = block.get("aliases").map_or(Some(Vec::new()), |entry| aliases(ctx, entry, email));
    let configured = block.get("domains").map(|entry| domains(ctx, entry));
    let rewrite = block.get("rewrite").map_or(Some(Vec::new()), |entry| rewrite(ctx, entry));
    let exclude = block.get("exclude").map_or(Some(Vec::new()), |entry| exclude(ctx, entry));
    let guesses = [("off", Guess::Off), ("on", Guess::On), ("union", Guess::Union)];
    let guess = block.get("guess").map_or(Some(Guess::Off), |entry| choice(ctx, entry, &guesses, &[]));
    let lists = block.get("lists").map_or(Some(Vec::new()), |entry| lists(ctx, entry, looping));
    if let Some(entry) = block.get("lists").filter(|_| guess == Some(Guess::Off)) {
        let problem = ctx.error(Code::Contradiction, entry.span, "`lists` has no effect without `guess`");
        ctx.add(problem.hint("lists are asked where recipients are taken from To and Cc: add `guess: on`, or remove it"));
    }
    let journal = journal(ctx, recipient);
    let default_box = recipient.get("default_box").map(|entry| {
        let address = address(ctx, entry)?;
        warn_of_loops(ctx, entry, std::slice::from_ref(&address), looping);
        Some(address)
    });
    let unresolved = unresolved(ctx, recipient, default_box.is_some());
    let trusted = block.get("trusted_hosts").map_or(Some((Vec::new(), None)), |entry| trusted_hosts(ctx, entry, email));
    let trusted_hops = block.get("trusted_hops").and_then(|entry| number(ctx, entry, 0..=100));
    if let (Some(hops), Some(hosts)) = (block.get("trusted_hops"), trusted.as_ref().filter(|(hosts, mx)| !hosts.is_empty() || mx.is_some())) {
        let what = if hosts.0.is_empty() { "mx".to_owned() } else { format!("{} of them", hosts.0.len()) };
        let problem = ctx.error(Code::Contradiction, hops.span, format!("`trusted_hops` beside `trusted_hosts` ({what})"));
        ctx.add(problem.hint("the number decides alone: remove one of the two"));
    }
    let below = block.get("envelope_below_received").and_then(|entry| boolean(ctx, entry)).unwrap_or(false);
    if let Some(entry) = block.get("envelope_below_received").filter(|_| below) {
        let problem = ctx.warning(Code::Doubtful, entry.span, "`envelope_below_received` believes fields that a sender may have written");
        ctx.add(problem.hint("only for servers that always write their envelope fields there"));
    }
    let keep_tag = block.get("keep_tag").and_then(|entry| boolean(ctx, entry)).unwrap_or(true);
    let max_recipients = block.get("max_recipients").and_then(|entry| number(ctx, entry, 1..=1_000)).unwrap_or(20);
    let (map, aliases) = (map?, aliases?);
    let (rewrite, lists, exclude, guess) = (rewrite?, lists?, exclude?, guess?);
    let (trusted_hosts, mx_of) = trusted?;
    warn_of_exclusion(ctx, &block, &aliases, &exclude);
    warn_of_slips(ctx, &block, &map, &aliases, configured.as_ref().and_then(Option::as_ref), email);
    if default_box.is_none() && recipient.get("unresolved").is_none() {
        let problem =
            ctx.warning(Code::Doubtful, entry.span, "`auto` has neither `default_box` nor `unresolved`: mail for nobody stays on the server");
        ctx.add(problem.hint("say who gets it, as in `default_box: postmaster@example.org`, or that it is meant: `unresolved: leave`"));
    }
    let (domains, subdomains, target_domains) = match configured {
        Some(domains) => {
            let (domains, subdomains) = domains?;
            (domains, subdomains, BTreeSet::new())
        }
        None => {
            let targets = target_domains(&map, &aliases, email);
            warn_of_guessing(ctx, &block, guess, &map, email);
            warn_of_targets(ctx, &block, guess, &targets);
            (default_domains(&map, &aliases, email), BTreeSet::new(), targets)
        }
    };
    if domains.is_empty() && subdomains.is_empty() && rewrite.is_empty() && lists.is_empty() && map.is_empty() && aliases.is_empty() {
        let problem = ctx.warning(Code::Doubtful, entry.span, "`auto` accepts no address: there is no `domains`, `map`, `aliases` or `email`");
        ctx.add(problem.hint("name your domains: `auto: {domains: [example.org]}`"));
    }
    Some(Rules {
        headers: headers?,
        domains,
        subdomains,
        target_domains,
        map,
        aliases,
        rewrite,
        lists,
        exclude,
        keep_tag,
        guess,
        journal: journal?,
        mx_of,
        mx_hosts: Vec::new(),
        provider_hosts: Vec::new(),
        trusted_hosts,
        trusted_hops,
        envelope_below_received: below,
        max_recipients,
        server_host: server_host.to_owned(),
        own: email.cloned(),
        default_box: default_box.flatten(),
        unresolved,
    })
}

/// The targets and sources of `map` and `aliases`, and the domain of `email`.
fn default_domains(map: &BTreeMap<Domain, MapTo>, aliases: &[Alias], email: Option<&Address>) -> BTreeSet<Domain> {
    let of_map = map.iter().flat_map(|(from, to)| match to {
        MapTo::Domain(to) => [from, to],
        MapTo::Mailbox(to) => [from, to.domain()],
    });
    let of_aliases = aliases.iter().flat_map(|alias| std::iter::once(&alias.domain).chain(alias.to.iter().map(Address::domain)));
    of_map.chain(of_aliases).chain(email.map(Address::domain)).cloned().collect()
}

/// Those of the default domains that only stand on the right side, as a mailbox's.
fn target_domains(map: &BTreeMap<Domain, MapTo>, aliases: &[Alias], email: Option<&Address>) -> BTreeSet<Domain> {
    let of_map = map.values().filter_map(|to| match to {
        MapTo::Domain(_) => None,
        MapTo::Mailbox(to) => Some(to.domain()),
    });
    let targets = of_map.chain(aliases.iter().flat_map(|alias| alias.to.iter().map(Address::domain)));
    let is_mapped_to = |domain: &Domain| map.values().any(|to| matches!(to, MapTo::Domain(to) if to == domain));
    let is_ours = |domain: &Domain| {
        map.contains_key(domain)
            || is_mapped_to(domain)
            || aliases.iter().any(|alias| alias.domain == *domain)
            || email.is_some_and(|email| email.domain() == domain)
    };
    targets.filter(|domain| !is_ours(domain)).cloned().collect()
}

fn domain_map(ctx: &mut Ctx<'_>, entry: &Entry, looping: Option<&Address>) -> Option<BTreeMap<Domain, MapTo>> {
    let mut map = BTreeMap::new();
    for item in entries_of(ctx, entry, "`map` takes `domain: domain` or `domain: address`")? {
        let value = Entry { key: "map".to_owned(), ..item.clone() };
        let from = domain(ctx, "map", &item.key, item.span);
        let Some(to) = text(ctx, &value) else { continue };
        let to = if to.contains('@') {
            address(ctx, &value).map(|mailbox| {
                warn_of_loops(ctx, item, std::slice::from_ref(&mailbox), looping);
                MapTo::Mailbox(mailbox)
            })
        } else {
            domain(ctx, "map", to, item.value.span).map(MapTo::Domain)
        };
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
    warn_of_chains(ctx, entry, &aliases);
    Some(aliases)
}

/// Targets are final. Who writes them as a chain expects them to be followed.
fn warn_of_chains(ctx: &mut Ctx<'_>, entry: &Entry, aliases: &[Alias]) {
    let key = |local: &str, domain: &Domain| (local.to_lowercase(), domain.clone());
    let own: HashSet<_> = aliases.iter().map(|alias| key(&alias.local, &alias.domain)).collect();
    for alias in aliases {
        let itself = key(&alias.local, &alias.domain);
        let chained = alias.to.iter().find(|to| {
            let to = key(to.local(), to.domain());
            to != itself && own.contains(&to)
        });
        if let Some(to) = chained {
            let problem = ctx.warning(Code::Doubtful, entry.span, format!("an alias leads to `{to}`, which is an alias too, and is not followed"));
            ctx.add(problem.hint("targets are final: name the mailboxes that `{to}` stands for".replace("{to}", &to.to_string())));
            return;
        }
    }
}

/// Accepted domains, and those whose sub-domains are accepted: `.example.org`.
fn domains(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<(BTreeSet<Domain>, BTreeSet<Domain>)> {
    let (mut domains, mut parents) = (BTreeSet::new(), BTreeSet::new());
    let mut whole = true;
    for item in one_or_more(ctx, entry)? {
        let taken = text(ctx, &item).and_then(|name| match name.strip_prefix("*.").or(name.strip_prefix('.')) {
            Some(_) if name.starts_with('*') => {
                let problem = ctx.error(Code::Value, item.value.span, format!("`domains`: {} is no domain name", ctx.quoted(name, item.value.span)));
                ctx.add(problem.hint("all sub-domains are `.example.org`, with a dot in front and no star"));
                None
            }
            Some(parent) => domain(ctx, "domains", parent, item.value.span).map(|parent| parents.insert(parent)),
            None => domain(ctx, "domains", name, item.value.span).map(|name| domains.insert(name)),
        });
        whole &= taken.is_some();
    }
    whole.then_some((domains, parents))
}

/// List address or List-Id to members.
fn lists(ctx: &mut Ctx<'_>, entry: &Entry, looping: Option<&Address>) -> Option<Vec<ListRule>> {
    let mut lists: Vec<ListRule> = Vec::new();
    for item in entries_of(ctx, entry, "`lists` takes `list: address` or `list: [addresses]`")? {
        let Some(list) = list_name(ctx, item) else { continue };
        let value = Entry { key: "lists".to_owned(), ..item.clone() };
        let Some(to) = addresses(ctx, &value) else { continue };
        warn_of_loops(ctx, item, &to, looping);
        if lists.iter().any(|other| other.list == list) {
            ctx.add(ctx.error(Code::Duplicate, item.span, format!("the list {} is there twice", ctx.quoted(&item.key, item.span))));
            continue;
        }
        lists.push(ListRule { list, to });
    }
    Some(lists)
}

fn list_name(ctx: &mut Ctx<'_>, item: &Entry) -> Option<ListName> {
    if let Ok(address) = item.key.parse() {
        return Some(ListName::Address(address));
    }
    let id = item.key.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(&item.key);
    let atoms = id.len() <= LIST_ID_OCTETS_MAX && id.split('.').all(|atom| !atom.is_empty());
    if !atoms || !id.contains('.') || id.contains(|c: char| c.is_whitespace() || c.is_control() || "<>@\"(),".contains(c)) {
        let shown = ctx.quoted(&item.key, item.span);
        let problem = ctx.error(Code::Value, item.span, format!("`lists`: {shown} is neither an address nor a List-Id"));
        ctx.add(problem.hint("a list's own address, or what stands between `<` and `>` in its List-Id, as in `announce.lists.example`"));
        return None;
    }
    Some(ListName::Id(id.to_lowercase()))
}

/// Expressions that rewrite addresses, in their order.
fn rewrite(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<Rewrite>> {
    let items = list(ctx, entry, "as in `[{regex: '(.+)-team@example\\.org', to: $1@example.org}]`")?;
    if items.len() > EXPRESSIONS_MAX {
        ctx.add(ctx.error(Code::Range, entry.span, format!("`rewrite` has more than {EXPRESSIONS_MAX} entries")));
        return None;
    }
    let mut rules = Vec::new();
    for item in &items {
        let Some(block) = Block::open(ctx, &item.value, "an entry of `rewrite`", &REWRITE) else { continue };
        let (Some(regex_at), Some(to)) = (block.get("regex"), block.get("to")) else {
            ctx.add(ctx.error(Code::Missing, item.value.span, "an entry of `rewrite` takes `regex` and `to`"));
            continue;
        };
        let regex = pattern(ctx, regex_at);
        let to = replacement(ctx, to, regex.as_ref());
        let (Some(regex), Some(to)) = (regex, to) else { continue };
        if matches_all(|text| regex.captures(text).is_some_and(|groups| groups[0].len() == text.len())) {
            let problem = ctx.warning(Code::Doubtful, regex_at.value.span, "this expression rewrites every address, foreign ones too");
            ctx.add(problem.hint("nothing below it, `map` and `domains` are ever asked; what nobody else gets goes to `default_box`"));
        }
        rules.push(Rewrite { regex, to });
    }
    Some(rules)
}

/// What a sender wrote into To is somebody else's address most of the time, and a provider's domain has millions.
fn warn_of_guessing(ctx: &mut Ctx<'_>, auto: &Block<'_>, guess: Guess, map: &BTreeMap<Domain, MapTo>, email: Option<&Address>) {
    let (Some(entry), Some(email)) = (auto.get("guess"), email) else { return };
    if guess == Guess::Off || map.contains_key(email.domain()) {
        return;
    }
    let message = format!("`guess` delivers to each address at `{}` in To and Cc, as if all of them were yours", email.domain());
    ctx.add(ctx.warning(Code::Doubtful, entry.span, message).hint("say which are: `domains: [example.org]`, or `map` and `aliases` for this domain"));
}

/// Whoever gets mail for an address here has neighbours who are none of ours.
fn warn_of_targets(ctx: &mut Ctx<'_>, auto: &Block<'_>, guess: Guess, targets: &BTreeSet<Domain>) {
    const SHOWN_MAX: usize = 5;
    let Some(entry) = auto.get("guess").filter(|_| guess != Guess::Off && !targets.is_empty()) else { return };
    let mut shown: Vec<String> = targets.iter().take(SHOWN_MAX).map(|domain| format!("`{domain}`")).collect();
    if targets.len() > SHOWN_MAX {
        shown.push(format!("{} more", targets.len() - SHOWN_MAX));
    }
    let message =
        format!("`guess` takes no address at {} from To and Cc: accepted only because an alias or `map` leads to a mailbox there", shown.join(", "));
    // At the value: the key has the other warning's place.
    let problem = ctx.warning(Code::Doubtful, entry.value.span, message);
    ctx.add(problem.hint("envelope headers may name anybody there: write out which domains are yours, as in `domains: [example.org]`"));
}

/// Suffixes for "by", none for `auto`; and for `mx` the domain whose mail exchangers are believed too.
fn trusted_hosts(ctx: &mut Ctx<'_>, entry: &Entry, email: Option<&Address>) -> Option<(Vec<String>, Option<Domain>)> {
    match &entry.value.value {
        Value::Scalar { text, .. } if text == "auto" => return Some((Vec::new(), None)),
        Value::Scalar { text, .. } if text == "mx" => {
            let Some(email) = email else {
                let problem = ctx.error(Code::Missing, entry.value.span, "`trusted_hosts: mx`: the MX records of which domain?");
                ctx.add(problem.hint("say the mailbox's address: `email: post@example.org`"));
                return None;
            };
            return Some((Vec::new(), Some(email.domain().clone())));
        }
        _ => {}
    }
    Some((host_suffixes(ctx, entry)?, None))
}

/// Hosts with what is below them; `.example.org` is what is below it only, and keeps its dot.
pub(super) fn host_suffixes(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<String>> {
    let items = one_or_more(ctx, entry)?;
    let mut host = |item: &Entry| {
        let name = text(ctx, item)?;
        let (dot, parent) = name.strip_prefix('.').map_or(("", name), |parent| (".", parent));
        Some(format!("{dot}{}", domain(ctx, &entry.key, parent, item.value.span)?.as_ascii()))
    };
    // Each that is wrong is told.
    let hosts: Vec<Option<String>> = items.iter().map(&mut host).collect();
    hosts.into_iter().collect()
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
