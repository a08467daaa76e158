//! What to do about refusals: `delivery.policy`, `on_permanent_failure`, `retry`.

use super::Ctx;
use super::block::{Block, Keys};
use super::pattern::{compiled, in_slashes};
use super::values::{choice, duration_within, list, one_or_more, show_duration, text};
use crate::config::error::Code;
use crate::config::text::Span;
use crate::config::yaml::{Entry, Value};
use crate::config::{Action, Policy, PolicyRule, ReplyPattern, RetryTimes};
use std::time::Duration;

pub(super) const RULE: Keys = Keys { known: &["reply", "do"], not_yet: &[] };
pub(super) const RETRY: Keys = Keys { known: &["delays", "max", "give_up"], not_yet: &[] };
/// Most entries of `policy`: each is asked for each refusal.
const RULES_MAX: usize = 100;
/// Most entries of `retry.delays`.
const DELAYS_MAX: usize = 20;
const SECOND: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_secs(7 * 86_400);
const GIVE_UP_MAX: Duration = Duration::from_secs(90 * 86_400);

const ACTIONS: [(&str, Action); 5] =
    [("defer", Action::Defer), ("default_box", Action::DefaultBox), ("hold", Action::Hold), ("discard", Action::Discard), ("leave", Action::Leave)];

/// The operator's rules, and what holds where none matches.
pub(super) fn policy(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Policy {
    let rules = block.get("policy").and_then(|entry| rules(ctx, entry)).unwrap_or_default();
    let on_permanent_failure = block.get("on_permanent_failure").and_then(|entry| {
        // Deferring for ever what is refused for ever is no choice.
        let action = choice(ctx, entry, &ACTIONS[1..], &[])?;
        warn_of_discard(ctx, entry, action);
        Some(action)
    });
    Policy { rules, on_permanent_failure: on_permanent_failure.unwrap_or(Action::Hold) }
}

fn rules(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<PolicyRule>> {
    let items = list(ctx, entry, "as in `[{reply: 5.7.1, do: hold}]`")?;
    if items.len() > RULES_MAX {
        ctx.add(ctx.error(Code::Range, entry.span, format!("`policy` has more than {RULES_MAX} entries")));
        return None;
    }
    let mut rules: Vec<PolicyRule> = Vec::new();
    for item in items {
        let Some(block) = Block::open(ctx, &item.value, "an entry of `policy`", &RULE) else { continue };
        let (Some(reply_at), Some(action_at)) = (block.get("reply"), block.get("do")) else {
            let problem = ctx.error(Code::Missing, item.value.span, "an entry of `policy` takes `reply` and `do`");
            ctx.add(problem.hint("as in `{reply: 5.7.1, do: hold}`"));
            continue;
        };
        let (reply, action) = (reply(ctx, reply_at), choice(ctx, action_at, &ACTIONS, &[]));
        let (Some(reply), Some(action)) = (reply, action) else { continue };
        warn_of_discard(ctx, action_at, action);
        if rules.iter().any(|other| other.reply == reply) {
            let problem = ctx.error(Code::Duplicate, reply_at.value.span, "`policy` has this reply twice: the second is never asked");
            ctx.add(problem.hint("the first entry that matches decides"));
            continue;
        }
        rules.push(PolicyRule { reply, action });
    }
    Some(rules)
}

fn reply(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<ReplyPattern> {
    let text = text(ctx, entry)?;
    let span = entry.value.span;
    if let Some(expression) = in_slashes(text) {
        return compiled(ctx, &entry.key, expression, span).map(ReplyPattern::Regex);
    }
    if text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(421) => {
                let problem = ctx.error(Code::Range, span, "`reply: 421` is never about a message: the server goes away (RFC 5321)");
                ctx.add(problem.hint("what was not taken is tried again by itself"));
                None
            }
            Ok(code @ 400..=599) => Some(ReplyPattern::Code(code)),
            _ => {
                ctx.add(ctx.error(Code::Range, span, "`reply` is about refusals: codes from 400 to 599"));
                None
            }
        };
    }
    let enhanced = enhanced(text);
    if enhanced.is_none() {
        let problem = ctx.error(Code::Value, span, format!("`reply`: {} is neither a code nor an expression", ctx.quoted(text, span)));
        ctx.add(problem.hint("a code (550), an enhanced code (5.7.1, 5.7.x), or an expression between slashes ('/^5.*spam/')"));
    }
    enhanced
}

/// `5.7.1`, `5.7.x`, `5.7` (RFC 3463 §2): class 4 or 5, then numbers of at most three digits.
fn enhanced(text: &str) -> Option<ReplyPattern> {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: Option<&&str>| match part.copied() {
        None | Some("x" | "X") => Some(None),
        Some(digits) if (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Some),
        Some(_) => None,
    };
    let class = match parts.first() {
        Some(&"4") => 4,
        Some(&"5") => 5,
        _ => return None,
    };
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    Some(ReplyPattern::Enhanced(class, number(parts.get(1))?, number(parts.get(2))?))
}

fn warn_of_discard(ctx: &mut Ctx<'_>, entry: &Entry, action: Action) {
    if action == Action::Discard {
        let problem = ctx.warning(Code::Doubtful, entry.value.span, format!("`{}: discard` throws mail away that the target refuses", entry.key));
        ctx.add(problem.hint("nobody gets it and nobody is told, but for a line in the log; `hold` keeps it here"));
    }
}

/// Where a default box is to get what was refused, and there is none. `block` is the delivery of the collector that is called `owner`.
pub(super) fn check_default_box(ctx: &mut Ctx<'_>, block: &Block<'_>, owner: &str, forwards: bool) {
    let mut places: Vec<(&str, Span)> = Vec::new();
    let is_box = |entry: &Entry| matches!(&entry.value.value, Value::Scalar { text, .. } if text == "default_box");
    if let Some(entry) = block.get("on_permanent_failure").filter(|entry| is_box(entry)) {
        places.push(("on_permanent_failure", entry.value.span));
    }
    if let Some(Value::List(items)) = block.get("policy").map(|entry| &entry.value.value) {
        for item in items {
            let Value::Map(entries) = &item.value else { continue };
            places.extend(entries.iter().filter(|entry| entry.key == "do" && is_box(entry)).map(|entry| ("do", entry.value.span)));
        }
    }
    for (key, span) in places {
        let problem = ctx.error(Code::Contradiction, span, format!("`{key}: default_box`, and {owner} has no `default_box`"));
        ctx.add(match forwards {
            true => problem.hint("with `forward_to` there is none: write `hold` or `leave`, here or in the collector's own `delivery`"),
            false => problem.hint("add `default_box: postmaster@example.org` to its `recipient`, or write `hold`"),
        });
    }
}

/// When a deferred message is tried again, and until when.
pub(super) fn retry(ctx: &mut Ctx<'_>, delivery: &Block<'_>) -> RetryTimes {
    let block = delivery.child(ctx, "retry", &RETRY);
    let default = RetryTimes::default();
    let at = |key: &str| block.get(key).map(|entry| entry.value.span);
    let max = block.get("max").and_then(|entry| duration_within(ctx, entry, SECOND..=DELAY_MAX));
    let delays = block.get("delays").and_then(|entry| delays(ctx, entry));
    let give_up = block.get("give_up").and_then(|entry| duration_within(ctx, entry, SECOND..=GIVE_UP_MAX));
    let longest = max.unwrap_or(default.max);
    if let (Some(delays), Some(span)) = (&delays, at("delays"))
        && delays.iter().any(|delay| *delay > longest)
    {
        let problem = ctx.error(Code::Contradiction, span, format!("a delay is longer than `max` ({})", show_duration(longest)));
        ctx.add(problem.hint("`max` is the delay behind the last of `delays`"));
    }
    if give_up.unwrap_or(default.give_up) <= longest {
        let shown = (show_duration(give_up.unwrap_or(default.give_up)), show_duration(longest));
        let span = at("give_up").or(at("max")).unwrap_or(block.span);
        let problem = ctx.error(Code::Contradiction, span, format!("`give_up` ({}) must be more than `max` ({})", shown.0, shown.1));
        ctx.add(problem.hint("after `give_up` a message is held, however often it was tried"));
    }
    RetryTimes {
        delays: delays.unwrap_or_else(|| default.delays.iter().map(|delay| *delay.min(&longest)).collect()),
        max: longest,
        give_up: give_up.unwrap_or(default.give_up),
    }
}

fn delays(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<Duration>> {
    let items = one_or_more(ctx, entry)?;
    if items.len() > DELAYS_MAX {
        ctx.add(ctx.error(Code::Range, entry.span, format!("`delays` has more than {DELAYS_MAX} entries")));
        return None;
    }
    let mut delays = Vec::new();
    for item in &items {
        delays.push(duration_within(ctx, item, SECOND..=DELAY_MAX)?);
    }
    Some(delays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes() {
        for (text, expected) in [
            ("5.7.1", Some((5, Some(7), Some(1)))),
            ("4.x.x", Some((4, None, None))),
            ("5.7.x", Some((5, Some(7), None))),
            ("5.7", Some((5, Some(7), None))),
            ("5.x.1", Some((5, None, Some(1)))),
            ("5", None),
            ("2.0.0", None),
            ("5.7.1.1", None),
            ("5.7.", None),
            ("5.7.1000", None),
            ("5.-7.1", None),
            ("55x", None),
        ] {
            let expected = expected.map(|(class, subject, detail)| ReplyPattern::Enhanced(class, subject, detail));
            assert_eq!(enhanced(text), expected, "{text}");
        }
    }
}
