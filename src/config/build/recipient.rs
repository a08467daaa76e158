//! `recipient:`: everything to fixed addresses, or the resolver's rules.

use super::Ctx;
use super::address::{address, addresses};
use super::auto::{host_suffixes, rules};
use super::block::{Block, Keys, open_entry};
use super::values::choice;
use crate::config::error::Code;
use crate::config::yaml::{Entry, Value};
use crate::config::{RecipientMode, SenderFallback};
use crate::mail::Address;
use crate::resolve::{Journal, JournalKind, Unresolved};
use std::sync::Arc;

/// The keys of `recipient:`.
pub(super) const RECIPIENT: Keys =
    Keys { known: &["forward_to", "auto", "default_box", "unresolved", "sender_fallback", "journal", "journal_from", "journal_hosts"], not_yet: &[] };
pub(super) const FIXED: Keys = Keys { known: &["fixed"], not_yet: &[] };

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
            for key in ["default_box", "unresolved", "journal", "journal_from", "journal_hosts"] {
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

pub(super) fn unresolved(ctx: &mut Ctx<'_>, recipient: &Block<'_>, has_box: bool) -> Unresolved {
    let default = if has_box { Unresolved::DefaultBox } else { Unresolved::Leave };
    let Some(entry) = recipient.get("unresolved") else { return default };
    let words = [("default_box", Unresolved::DefaultBox), ("leave", Unresolved::Leave), ("hold", Unresolved::Hold), ("discard", Unresolved::Discard)];
    let chosen = choice(ctx, entry, &words, &[]).unwrap_or(default);
    if chosen == Unresolved::DefaultBox && !has_box {
        let problem = ctx.error(Code::Contradiction, entry.span, "`unresolved: default_box` without a `default_box`");
        ctx.add(problem.hint("add `default_box: postmaster@example.org`, or write `unresolved: leave`"));
    }
    if chosen == Unresolved::Discard {
        let problem = ctx.warning(Code::Doubtful, entry.value.span, "`unresolved: discard` throws mail away that has no recipient here");
        ctx.add(problem.hint("nobody gets it and nobody is told, but for a line in the log; `hold` keeps it here, `leave` on the server"));
    }
    chosen
}

/// Whose journal reports are opened, if any are.
pub(super) fn journal(ctx: &mut Ctx<'_>, recipient: &Block<'_>) -> Option<Option<Journal>> {
    let kinds = [("off", None), ("exchange", Some(JournalKind::Exchange)), ("google", Some(JournalKind::Google))];
    let at = recipient.get("journal");
    let kind = at.map_or(Some(None), |entry| choice(ctx, entry, &kinds, &[]))?;
    let from = recipient.get("journal_from");
    if let Some(hosts) = recipient.get("journal_hosts").filter(|_| kind.is_none()) {
        let problem = ctx.error(Code::Contradiction, hosts.span, "`journal_hosts` without `journal`");
        ctx.add(problem.hint("add `journal: exchange` or `journal: google`, or remove it"));
        return None;
    }
    match (kind, from) {
        (None, None) => Some(None),
        (None, Some(from)) => {
            let problem = ctx.error(Code::Contradiction, from.span, "`journal_from` without `journal`");
            ctx.add(problem.hint("add `journal: exchange` or `journal: google`, or remove it"));
            None
        }
        (Some(_), None) => {
            let problem = ctx.error(Code::Missing, at.map_or(recipient.span, |entry| entry.span), "`journal` without `journal_from`");
            ctx.add(problem.hint("the address that the journal sends from: a report from anybody else is ordinary mail, for it says who gets it"));
            None
        }
        (Some(kind), Some(from)) => {
            let hosts = recipient.get("journal_hosts").map_or(Some(Vec::new()), |entry| host_suffixes(ctx, entry));
            Some(Some(Journal { kind, from: address(ctx, from)?, hosts: hosts? }))
        }
    }
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

/// Mail that goes back into the mailbox it came from comes round again.
pub(super) fn warn_of_loops(ctx: &mut Ctx<'_>, entry: &Entry, to: &[Address], looping: Option<&Address>) {
    if looping.is_some_and(|email| to.contains(email)) {
        let problem = ctx.warning(Code::Doubtful, entry.span, format!("{} goes to the collected mailbox itself", ctx.quoted(&entry.key, entry.span)));
        ctx.add(problem.hint("if the local server sends it back there, it is collected again: a loop, until `max_hops` stops it"));
    }
}
