//! What works, and perhaps not as it is meant: warnings about a whole collector.

use super::Ctx;
use super::block::Block;
use super::values::show_duration;
use crate::config::error::Code;
use crate::config::words::distance;
use crate::config::yaml::Value;
use crate::config::{AuthMethod, Delivery, Endpoint, OnHold, Protocol, Provider, RecipientMode, Relay, Server, Target};
use crate::mail::Address;
use crate::mail::Domain;
use crate::resolve::{Alias, Guess, MapTo};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many letters a domain may be away from the one that is meant.
const NEAR_DISTANCE_MAX: usize = 2;

/// Settings that lose mail, or deliver it too often, together.
pub(super) fn warn_of_lost_mail(
    ctx: &mut Ctx<'_>,
    block: &Block<'_>,
    recipient: &RecipientMode,
    dedupe_window: Option<Duration>,
    on_hold: OnHold,
    held_age: Option<Duration>,
) {
    let at = |key: &str| block.get(key).map_or(block.span, |entry| entry.value.span);
    if on_hold == OnHold::Delete
        && let Some(age) = held_age
    {
        let message = format!("`on_hold: delete`, and held mail is dropped after {}: then it is nowhere", show_duration(age));
        ctx.add(ctx.warning(Code::Doubtful, at("on_hold"), message).hint("`service: {held: {max_age: 0}}` keeps it until somebody looks"));
    }
    if let RecipientMode::Auto(rules, _) = recipient
        && rules.guess != Guess::Off
        && dedupe_window == Some(Duration::ZERO)
    {
        let problem = ctx.warning(Code::Doubtful, at("dedupe_window"), "`dedupe_window: 0` with `guess`: each copy goes to everybody in To and Cc");
        ctx.add(problem.hint("the box has a copy for each of them, so each gets as many as there are; remove `dedupe_window`"));
    }
}

/// Built-in providers that take no password any more.
const OAUTH_ONLY: [&str; 1] = ["outlook"];

/// What a provider is known for, and goes against what is configured.
pub(super) fn warn_of_provider(ctx: &mut Ctx<'_>, block: &Block<'_>, provider: Option<&Provider>, server: &Server) {
    let Some(provider) = provider.filter(|provider| provider.built_in) else { return };
    let at = |key: &str| block.get(key).map_or(block.span, |entry| entry.value.span);
    let title = &provider.title;
    if OAUTH_ONLY.contains(&provider.id.as_str()) && server.auth.method != AuthMethod::OAuth2 {
        let problem = ctx.warning(Code::Doubtful, at("password"), format!("{title} takes no passwords any more, nor app passwords"));
        ctx.add(problem.hint("`auth: {method: oauth2, token: {command: […]}}`; docs/providers.md"));
    }
    if provider.id == "gmail" && server.protocol == Protocol::Pop3 {
        let message = format!("by POP3 {title} hides from later sessions what it has handed out once, to whomever");
        ctx.add(ctx.warning(Code::Doubtful, at("protocol"), message).hint("`protocol: imap` sees everything that is there"));
    }
}

/// Most accepted domains among which one is looked for that an alias may mean.
const NEAR_DOMAINS_MAX: usize = 200;

/// Rules that do what stands there, which is hardly what is meant. `domains` are those that were written out.
pub(super) fn warn_of_slips(
    ctx: &mut Ctx<'_>,
    auto: &Block<'_>,
    map: &BTreeMap<Domain, MapTo>,
    aliases: &[Alias],
    domains: Option<&(BTreeSet<Domain>, BTreeSet<Domain>)>,
    email: Option<&Address>,
) {
    if let Some(entry) = auto.get("trusted_hops").filter(|entry| matches!(&entry.value.value, Value::Scalar { text, .. } if text == "0")) {
        let problem = ctx.warning(
            Code::Range,
            entry.value.span,
            "`trusted_hops: 0` believes no header at all: only `guess` or `trust: any` could find somebody",
        );
        ctx.add(problem.hint("1 believes the topmost Received, which your provider's server wrote; without the key the hosts decide"));
    }
    let back = |from: &Domain, to: &Domain| from < to && matches!(map.get(to), Some(MapTo::Domain(back)) if back == from);
    let pair = map.iter().find_map(|(from, to)| match to {
        MapTo::Domain(to) if back(from, to) => Some((from, to)),
        _ => None,
    });
    if let (Some(entry), Some((one, other))) = (auto.get("map"), pair) {
        let message = format!("`map` leads from `{one}` to `{other}` and back: the two only change places");
        ctx.add(
            ctx.warning(Code::Doubtful, entry.span, message).hint("each address is mapped once: keep the line that leads to where the mailboxes are"),
        );
    }
    let (Some(entry), Some((exact, parents))) = (auto.get("aliases"), domains) else { return };
    if exact.len() > NEAR_DOMAINS_MAX {
        return;
    }
    let accepted = |domain: &Domain| {
        exact.contains(domain)
            || map.contains_key(domain)
            || parents.iter().any(|parent| domain.is_within(parent))
            || email.is_some_and(|email| email.domain() == domain)
    };
    // An alias of a strange domain is as good as any; one that is a slip of the finger away is none.
    let names: Vec<String> = exact.iter().map(Domain::to_unicode).collect();
    let strange: BTreeSet<&Domain> = aliases.iter().map(|alias| &alias.domain).filter(|domain| !accepted(domain)).collect();
    for domain in strange {
        let written = domain.to_unicode();
        let near = names.iter().map(|name| (distance(&written, name), name)).min().filter(|(distance, _)| *distance <= NEAR_DISTANCE_MAX);
        if let Some((_, near)) = near {
            let message = format!("an alias at `{written}`, which is not in `domains`: did you mean `{near}`?");
            ctx.add(ctx.warning(Code::Doubtful, entry.span, message).hint("if it is meant, add its domain to `domains`, or to `map`"));
            return;
        }
    }
}

/// Found addresses need Maildirs that are there; who does not say otherwise may not know. `layers` are those of `delivery`.
pub(super) fn warn_of_missing_maildirs(ctx: &mut Ctx<'_>, layers: &Block<'_>, recipient: &RecipientMode, delivery: &Delivery) {
    if let (RecipientMode::Auto(..), Target::Maildir { path, .. }, Some(entry), None) =
        (recipient, &delivery.target, layers.get("maildir"), layers.get("maildir_create"))
        && !path.is_empty()
    {
        let problem = ctx.warning(Code::Doubtful, entry.span, "the Maildirs of resolved addresses must be there: none is made for them");
        ctx.add(problem.hint("`maildir_create: true` in `delivery` makes them; `maildir_create: false` says that only who has one gets mail"));
    }
}

/// What can be known before the first message.
pub(super) fn warn_of_delivery(ctx: &mut Ctx<'_>, block: &Block<'_>, server: &Server, recipient: &RecipientMode, delivery: &Delivery) {
    let known: Vec<&Address> = match recipient {
        RecipientMode::ForwardTo(to, _) => to.iter().collect(),
        RecipientMode::Auto(rules, _) => {
            let of_lists = rules.lists.iter().flat_map(|list| &list.to);
            let of_map = rules.map.values().filter_map(|to| match to {
                MapTo::Mailbox(mailbox) => Some(mailbox),
                MapTo::Domain(_) => None,
            });
            rules.aliases.iter().flat_map(|alias| &alias.to).chain(of_lists).chain(of_map).chain(&rules.default_box).collect()
        }
    };
    let at = block.get("recipient").map_or(block.span, |entry| entry.span);
    if let Some(address) = known.iter().find(|address| address.needs_smtputf8()) {
        let shown = format!("`{address}`");
        match &delivery.target {
            Target::Lmtp(_) => {
                let problem = ctx.warning(Code::Doubtful, at, format!("{shown} needs SMTPUTF8, which Dovecot 2.3 does not offer for LMTP"));
                ctx.add(problem.hint("Dovecot 2.4 does; a server without it gets no such mail, and the collector says so"));
            }
            Target::Smtp(Relay { smtputf8: false, .. }) => {
                ctx.add(ctx.error(Code::Contradiction, at, format!("{shown} needs SMTPUTF8, and `smtputf8` is off")));
            }
            _ => {}
        }
    }
    if let Target::Smtp(Relay { endpoints, auth, .. }) | Target::Lmtp(Relay { endpoints, auth, .. }) = &delivery.target {
        let is_source = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Tcp { host, .. } if *host == server.host);
        let same_login = auth.as_ref().is_some_and(|auth| auth.username == server.username);
        let same_user = known.iter().any(|address| address.to_string() == server.username || address.local() == server.username);
        if endpoints.iter().any(is_source) && (same_login || same_user) {
            let problem = ctx.warning(Code::Doubtful, at, format!("{} delivers to the server it collects from, for the same user", block.name));
            ctx.add(problem.hint("what is delivered is collected again: a loop, until `max_hops` stops it"));
        }
    }
}
