//! Single values: text, numbers, durations, sizes, choices, paths.

use super::{Ctx, kind_of};
use crate::config::error::Code;
use crate::config::words::nearest;
use crate::config::yaml::{Entry, Node, Value};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest duration that is taken: ten years, so that sums of durations stay far from any overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// One piece of text, as it was written.
pub(super) fn text<'n>(ctx: &mut Ctx<'_>, entry: &'n Entry) -> Option<&'n str> {
    match &entry.value.value {
        Value::Scalar { text, .. } => {
            // `!!str` changes nothing; any other tag hides a part of what was meant.
            if let Some(tag) = entry.value.tag.as_deref().filter(|tag| !tag.starts_with("tag:yaml.org,2002:")) {
                let problem = ctx.error(
                    Code::YamlTrap,
                    entry.value.span,
                    format!("{} is a tag for YAML, not a part of `{}`", ctx.quoted(tag, entry.value.span), entry.key),
                );
                ctx.add(problem.hint("a value that starts with `!` must stand in quotes"));
                return None;
            }
            Some(text)
        }
        Value::Empty => {
            let problem = ctx.error(Code::Missing, entry.span, format!("`{}` has no value", entry.key));
            let cut = ctx.text.rest_of_line(entry.span.end).trim_start_matches(':').trim_start().starts_with('#');
            ctx.add(if cut {
                problem.hint("for YAML a comment starts at the `#`: a value that starts with `#` must stand in quotes")
            } else {
                problem
            });
            None
        }
        _ => {
            ctx.add(ctx.error(Code::WrongType, entry.value.span, format!("`{}` takes one value, not {}", entry.key, kind_of(entry))));
            None
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<bool> {
    match text(ctx, entry)? {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        other => {
            let meant = match other.to_lowercase().as_str() {
                "yes" | "on" | "1" => "write `true`",
                "no" | "off" | "0" => "write `false`",
                _ => "",
            };
            let problem = ctx.error(
                Code::WrongType,
                entry.value.span,
                format!("`{}` is `true` or `false`, not {}", entry.key, ctx.quoted(other, entry.value.span)),
            );
            ctx.add(problem.label(meant));
            None
        }
    }
}

/// A whole number in a range.
pub(super) fn number(ctx: &mut Ctx<'_>, entry: &Entry, range: RangeInclusive<usize>) -> Option<usize> {
    let text = text(ctx, entry)?;
    let Ok(number) = text.replace('_', "").parse::<usize>() else {
        ctx.add(ctx.error(
            Code::WrongType,
            entry.value.span,
            format!("`{}` is a whole number, not {}", entry.key, ctx.quoted(text, entry.value.span)),
        ));
        return None;
    };
    if !range.contains(&number) {
        let (key, low, high) = (&entry.key, range.start(), range.end());
        let allowed = if low == high { format!("must be {low}") } else { format!("must be from {low} to {high}") };
        let nearest = number.clamp(*low, *high);
        ctx.add(ctx.error(Code::Range, entry.value.span, format!("`{key}` {allowed}")).hint(format!("the nearest that works is `{key}: {nearest}`")));
        return None;
    }
    Some(number)
}

/// One of some words.
pub(super) fn choice<T: Copy>(ctx: &mut Ctx<'_>, entry: &Entry, words: &[(&str, T)], not_yet: &[&str]) -> Option<T> {
    let text = text(ctx, entry)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    if not_yet.contains(&text) {
        let other = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let what = format!("`{}: {text}` does not work yet in this version", entry.key);
        ctx.add(ctx.error(Code::NotYet, entry.value.span, what).hint(format!("what works: {other}")));
        return None;
    }
    let list = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let problem = ctx.error(Code::Value, entry.value.span, format!("`{}` is one of {list}, not {}", entry.key, ctx.quoted(text, entry.value.span)));
    // In YAML 1.2 `on` and `off` are words; who knows 1.1 writes the others.
    let switch = match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => "on",
        "false" | "no" | "off" => "off",
        _ => "",
    };
    let switch = words.iter().map(|(word, _)| *word).find(|word| *word == switch);
    ctx.add(match switch.or_else(|| nearest(text, words.iter().map(|(word, _)| *word))) {
        Some(near) if switch.is_some() => problem.label(format!("write `{near}`")),
        Some(near) => problem.label(format!("did you mean `{near}`?")),
        None => problem,
    });
    None
}

/// `50ms`, `5s`, `5m`, `1h30m`, `1d`.
pub(super) fn duration(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Duration> {
    let text = text(ctx, entry)?;
    match parse_duration(text) {
        Ok(duration) if duration <= DURATION_MAX => Some(duration),
        Ok(_) => {
            let problem = ctx.error(Code::Range, entry.value.span, format!("`{}` is longer than ten years", entry.key));
            ctx.add(problem.hint(format!("the longest that works is `{}: {}`", entry.key, show_duration(DURATION_MAX))));
            None
        }
        Err(bare) => {
            let problem =
                ctx.error(Code::WrongType, entry.value.span, format!("`{}` is a duration, not {}", entry.key, ctx.quoted(text, entry.value.span)));
            ctx.add(if bare && ctx.text.may_quote(text, entry.value.span) {
                problem.label("no unit").hint(format!("write `{text}s` for seconds or `{text}m` for minutes"))
            } else {
                problem.hint("durations look like 50ms, 5s, 5m, 1h30m, 1d")
            });
            None
        }
    }
}

/// The error says whether it is a number without a unit.
fn parse_duration(text: &str) -> Result<Duration, bool> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| false)?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_ms = match &rest[..unit_len] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(total.is_zero()),
            _ => return Err(false),
        };
        // Units go down: `30m1h` is more likely a slip than meant.
        if unit_ms >= last_unit {
            return Err(false);
        }
        last_unit = unit_ms;
        rest = &rest[unit_len..];
        total = total.saturating_add(Duration::from_millis(number.saturating_mul(unit_ms)));
    }
    if text.is_empty() { Err(false) } else { Ok(total) }
}

/// A duration as it would be written.
pub(in crate::config) fn show_duration(duration: Duration) -> String {
    let mut ms = duration.as_millis();
    if ms == 0 {
        return "0".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        // A day is said in hours, as `24h` is what operators write.
        if (unit == "d" && ms < 2 * size) || ms < size {
            continue;
        }
        text += &format!("{}{unit}", ms / size);
        ms %= size;
    }
    text
}

/// `25MiB`, `25MB`, `1000000`.
pub(super) fn size(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<u64> {
    let text = text(ctx, entry)?;
    let size = parse_size(text);
    if size.is_none() {
        let problem = ctx.error(Code::WrongType, entry.value.span, format!("`{}` is a size, not {}", entry.key, ctx.quoted(text, entry.value.span)));
        ctx.add(problem.hint("sizes look like 25MiB, 25MB or 1000000 (octets)"));
    }
    size
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A path; a relative one counts from the folder of the configuration file, wherever the program was started.
pub(super) fn path(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<PathBuf> {
    let text = text(ctx, entry)?;
    let problem = if text.is_empty() {
        ctx.error(Code::Value, entry.value.span, format!("`{}` is empty", entry.key))
    } else if text.contains('\0') {
        ctx.error(Code::Value, entry.value.span, format!("`{}` holds a NUL", entry.key))
    } else if text.starts_with('~') {
        ctx.error(Code::Value, entry.value.span, format!("`{}` starts with `~`, which only a shell knows", entry.key)).hint("write the whole path")
    } else {
        let base = ctx.text.path(entry.value.span).parent().unwrap_or(Path::new(""));
        return Some(base.join(text));
    };
    ctx.add(problem);
    None
}

/// A duration in a range.
pub(super) fn duration_within(ctx: &mut Ctx<'_>, entry: &Entry, range: RangeInclusive<Duration>) -> Option<Duration> {
    let duration = duration(ctx, entry)?;
    if !range.contains(&duration) {
        let (key, low, high) = (&entry.key, show_duration(*range.start()), show_duration(*range.end()));
        let nearest = if duration < *range.start() { &low } else { &high };
        let problem = ctx.error(Code::Range, entry.value.span, format!("`{key}` must be from {low} to {high}"));
        ctx.add(problem.hint(format!("the nearest that works is `{key}: {nearest}`")));
        return None;
    }
    Some(duration)
}

/// A list, perhaps an empty one, each item as an entry of the same key. `example` shows one.
pub(super) fn list(ctx: &mut Ctx<'_>, entry: &Entry, example: &str) -> Option<Vec<Entry>> {
    match &entry.value.value {
        Value::List(items) if items.is_empty() => Some(Vec::new()),
        Value::List(_) => one_or_more(ctx, entry),
        Value::Empty => text(ctx, entry).map(|_| Vec::new()),
        _ => {
            let problem = ctx.error(Code::WrongType, entry.value.span, format!("`{}` takes a list, not {}", entry.key, kind_of(entry)));
            ctx.add(problem.hint(example));
            None
        }
    }
}

/// One value or a list of them, each as an entry of the same key.
pub(super) fn one_or_more(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Vec<Entry>> {
    let as_entry = |node: &Node| Entry { key: entry.key.clone(), span: entry.span, value: node.clone() };
    match &entry.value.value {
        Value::List(items) if items.is_empty() => {
            ctx.add(ctx.error(Code::Missing, entry.value.span, format!("`{}` is an empty list", entry.key)));
            None
        }
        Value::List(items) => Some(items.iter().map(as_entry).collect()),
        _ => Some(vec![entry.clone()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        for (text, expected) in [
            ("50ms", 50),
            ("5s", 5_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("0", 0),
            ("0s", 0),
            ("1000ms", 1_000),
        ] {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        for (text, bare) in [
            ("300", true),
            ("", false),
            ("5 m", false),
            ("m", false),
            ("5x", false),
            ("30m1h", false),
            ("1h30", false),
            ("-5s", false),
            ("5м", false),
        ] {
            assert_eq!(ms(text), Err(bare), "{text}");
        }
        assert!(parse_duration("99999999999999999d").unwrap() > DURATION_MAX);
        for text in ["50ms", "5s", "1h30m", "24h", "2d", "5m"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("25MiB", Some(26_214_400)),
            ("25MB", Some(25_000_000)),
            ("1000000", Some(1_000_000)),
            ("1 GiB", Some(1 << 30)),
            ("5 apples", None),
            ("", None),
            ("-1", None),
            ("99999999999GiB", None),
            ("1M", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }
}
