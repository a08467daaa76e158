//! `recipient.auto.exclude`: addresses that are no recipients.

use super::Ctx;
use super::block::Block;
use super::pattern::{compiled, in_slashes};
use super::values::{one_or_more, text};
use crate::config::error::Code;
use crate::config::yaml::{Entry, Value};
use crate::mail::Address;
use crate::resolve::{Alias, Exclude};

/// Most entries.
const EXCLUDED_MAX: usize = 1_000;

/// Addresses, and expressions between slashes.
pub(super) fn exclude(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<Exclude>> {
    let items = match &entry.value.value {
        Value::List(items) if items.is_empty() => Vec::new(),
        _ => one_or_more(ctx, entry)?,
    };
    if items.len() > EXCLUDED_MAX {
        ctx.add(ctx.error(Code::Range, entry.span, format!("`exclude` has more than {EXCLUDED_MAX} entries")));
        return None;
    }
    let mut excluded = Vec::new();
    let mut whole = true;
    for item in &items {
        match exclusion(ctx, item) {
            Some(one) => excluded.push(one),
            None => whole = false,
        }
    }
    whole.then_some(excluded)
}

fn exclusion(ctx: &mut Ctx<'_>, item: &Entry) -> Option<Exclude> {
    if let Value::Map(_) = item.value.value {
        let problem = ctx.error(Code::WrongType, item.value.span, "`exclude` takes addresses and expressions between slashes");
        ctx.add(problem.hint("as in `[noreply@example.org, '/^bot-.*@/']`"));
        return None;
    }
    let written = text(ctx, item)?;
    let Some(expression) = in_slashes(written) else {
        let span = item.value.span;
        let slashes = "an expression stands between slashes, as in `'/^bot-.*@/'`; without them it is an address, letter for letter";
        return match written.parse::<Address>() {
            Ok(address) => {
                if looks_like_an_expression(written) {
                    let message = format!("`exclude`: {} looks like an expression, and is taken for an address", ctx.quoted(written, span));
                    ctx.add(ctx.warning(Code::Doubtful, span, message).hint(slashes));
                }
                Some(Exclude::Address(address))
            }
            Err(error) => {
                let message = format!("`exclude`: {} is no address: {error}", ctx.quoted(written, span));
                ctx.add(ctx.error(Code::Value, span, message).hint(slashes));
                None
            }
        };
    };
    let pattern = compiled(ctx, &item.key, expression, item.value.span)?;
    if matches_all(|text| pattern.is_match(text)) {
        let problem = ctx.warning(Code::Doubtful, item.value.span, "this expression excludes every address: no recipient is ever found");
        ctx.add(problem.hint("it is looked for anywhere in the address: `^` and `$` stand for its ends"));
    }
    Some(Exclude::Pattern(pattern))
}

/// True for what hardly stands in an address, and often in an expression.
fn looks_like_an_expression(text: &str) -> bool {
    text.starts_with('^') || text.ends_with('$') || text.contains(['*', '|', '\\']) || text.contains(".+")
}

/// True for an expression that takes addresses that have nothing in common but what every address has.
pub(super) fn matches_all(matches: impl Fn(&str) -> bool) -> bool {
    ["zq@xw.kp", "ящер@бдж.угъ", "b-5@f.vn"].into_iter().all(matches)
}

/// An excluded address is dropped before aliases are asked.
pub(super) fn warn_of_exclusion(ctx: &mut Ctx<'_>, auto: &Block<'_>, aliases: &[Alias], excluded: &[Exclude]) {
    let Some(entry) = auto.get("exclude") else { return };
    for alias in aliases.iter().filter(|alias| !alias.local.contains('*')) {
        let Ok(address) = Address::new(&alias.local, alias.domain.clone()) else { continue };
        let hit = excluded.iter().any(|excluded| match excluded {
            Exclude::Address(other) => other.domain() == address.domain() && other.local().to_lowercase() == address.local().to_lowercase(),
            Exclude::Pattern(pattern) => pattern.is_match(&address.to_string()),
        });
        if hit {
            let problem = ctx.warning(Code::Doubtful, entry.span, format!("`exclude` drops `{address}`, which has an alias"));
            ctx.add(problem.hint("excluded addresses are dropped before aliases are asked: remove one of the two"));
            return;
        }
    }
}
