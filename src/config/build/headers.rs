//! `recipient.auto.headers`: which headers are asked.

use super::Ctx;
use super::block::{Block, Keys};
use super::pattern::pattern;
use super::values::{choice, number, one_or_more, text};
use crate::config::error::Code;
use crate::config::yaml::{Entry, Value};
use crate::resolve::{HeaderRule, Headers, Take};

pub(super) const HEADER: Keys = Keys { known: &["header", "index", "skip", "pattern", "strip_prefix", "take", "trust"], not_yet: &[] };
/// What people wrote into a message says who it was meant for, not whose copy this is.
const GUESSES: &[&str] = &["to", "cc", "bcc"];

/// `auto`, or a list of names and blocks.
pub(super) fn headers(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Headers> {
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
        pattern: match block.get("pattern") {
            Some(entry) => Some(pattern(ctx, entry)?),
            None => None,
        },
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
            Code::Value,
            entry.value.span,
            format!("{} says who a message was meant for, not who got this copy", ctx.quoted(name, entry.value.span)),
        );
        ctx.add(problem.hint("remove it; `guess: on` asks To and Cc where no envelope header says anything, `guess: union` asks them as well"));
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
