//! The form of a log line. Text: `time level event key=value key="a value"`, one line whatever the values hold. JSON: an object a line.

use super::record::{Record, Value};
use std::fmt::Write;
use tracing::Level;

/// A line of text with its time.
pub(super) fn text(record: &Record) -> String {
    let mut out = String::with_capacity(256);
    // Writing to a String cannot fail, here and below.
    let _ = write!(out, "{:.3} {:5} ", record.time, word(record.level));
    message_to(&mut out, record);
    out.push('\n');
    out
}

/// The same without time and level, and without the line's end: for journald, which has both.
pub(super) fn message(record: &Record) -> String {
    let mut out = String::with_capacity(256);
    message_to(&mut out, record);
    out
}

/// A line of JSON.
pub(super) fn json(record: &Record) -> String {
    let mut out = String::with_capacity(384);
    let _ = write!(out, r#"{{"time":"{:.3}","level":"{}","event":"#, record.time, word(record.level));
    json_text_to(&mut out, &record.event);
    for (name, value) in &record.fields {
        let _ = write!(out, r#","{name}":"#);
        match value {
            Value::Text(text) => json_text_to(&mut out, text),
            Value::Bare(bare) => out.push_str(bare),
        }
    }
    out.push_str("}\n");
    out
}

/// A line of text as a line of JSON; `None` if it is none of ours. What looks like a number or a truth value is one.
pub fn json_of_line(line: &str) -> Option<String> {
    let (time, rest) = line.trim_end_matches('\n').split_once(' ')?;
    let (level, rest) = rest.split_once(' ')?;
    let (event, mut rest) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
    let is_ours = time.parse::<jiff::Timestamp>().is_ok() && ["error", "warn", "info", "debug"].contains(&level);
    if !is_ours || event.is_empty() {
        return None;
    }
    let mut out = format!(r#"{{"time":"{time}","level":"{level}","event":"#);
    json_text_to(&mut out, event);
    while let Some((name, value)) = rest.split_once('=') {
        out.push(',');
        json_text_to(&mut out, name);
        out.push(':');
        let Some(quoted) = value.strip_prefix('"') else {
            let (bare, after) = value.split_once(' ').unwrap_or((value, ""));
            if is_bare(bare) {
                out.push_str(bare)
            } else {
                json_text_to(&mut out, bare)
            }
            rest = after;
            continue;
        };
        let (text, after) = unquoted(quoted)?;
        json_text_to(&mut out, &text);
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    out.push('}');
    Some(out)
}

pub(super) fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

/// A text with what could end its line, turn it round or steer a terminal written as an escape.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

fn message_to(out: &mut String, record: &Record) {
    out.push_str(&escaped(&record.event));
    for (name, value) in &record.fields {
        let _ = write!(out, " {name}=");
        value_to(out, value.as_str());
    }
}

/// Bare where nothing in it could be mistaken, in quotes with escapes otherwise.
fn value_to(out: &mut String, value: &str) {
    let plain = |c: char| !c.is_whitespace() && !is_unsafe(c) && !matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_unsafe(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// What a quoted value says, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'u' => {
                    let code: String = chars.by_ref().map(|(_, c)| c).skip_while(|c| *c == '{').take_while(|c| *c != '}').collect();
                    out.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                }
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
    None
}

/// True for a number as JSON writes it, and for truth values.
fn is_bare(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let all_digits = |text: &str| !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    let is_number = all_digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(all_digits);
    is_number || matches!(text, "true" | "false")
}

/// A string of JSON (RFC 8259 §7).
fn json_text_to(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // All of these are in the basic plane: four digits.
            c if is_unsafe(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Control characters, marks of direction, and line ends of Unicode. What stands between them, dashes and the ellipsis, is ordinary text.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::observe::logging) fn record(level: Level, event: &str, fields: &[(&'static str, &str)]) -> Record {
        let fields = fields.iter().map(|(name, value)| (*name, Value::Text((*value).to_owned()))).collect();
        Record { time: "2026-11-22T01:02:03.004Z".parse().unwrap(), level, event: event.into(), fields, is_said: true, is_filed: true }
    }

    fn written(value: &str) -> String {
        let mut out = String::new();
        value_to(&mut out, value);
        out
    }

    #[test]
    fn a_value_stays_on_its_line() {
        assert_eq!(written("раз@икс.рф"), "раз@икс.рф");
        assert_eq!(written("250 2.0.0 Ok"), "\"250 2.0.0 Ok\"");
        assert_eq!(written("a\r\nb=\"c\""), r#""a\r\nb=\"c\"""#);
        assert_eq!(written("{email: …}"), "\"{email: …}\"");
        assert_eq!(written("a–b…"), "a–b…");
        assert_eq!(written("a\u{202e}b\u{2028}c"), r#""a\u{202e}b\u{2028}c""#);
        assert_eq!(written(""), "\"\"");
        assert_eq!(written("\u{1b}[31m"), "\"\\u{1b}[31m\"");
    }

    #[test]
    fn text_and_json_say_the_same() {
        let hostile = "a \"b\"\\\r\n\u{1b}[31m\u{202e}=é";
        let mut record = record(Level::WARN, "session_failed", &[("collector", "sales"), ("reason", hostile), ("empty", "")]);
        record.fields.push(("failures", Value::Bare("3".into())));
        let line = text(&record);
        assert!(
            line.starts_with("2026-11-22T01:02:03.004Z warn  session_failed collector=sales reason=\"") && line.ends_with(" failures=3\n"),
            "{line}"
        );
        let (json, of_line) = (json(&record), json_of_line(&line).unwrap());
        assert_eq!(json.trim_end(), of_line);
        assert!(!json.trim_end().contains(is_unsafe) && !line.trim_end().contains(is_unsafe), "{json} {line}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["reason"], &value["failures"], &value["level"]), (&hostile.into(), &3.into(), &"warn".into()));
        assert_eq!(json_of_line("2026-11-22T01:02:03.004Z info  x a=\"b"), None, "torn");
        for nothing in ["", "x", "x y z", "2026-11-22T01:02:03.004Z loud x"] {
            assert_eq!(json_of_line(nothing), None);
        }
        assert!(["0", "-1", "1.5", "true"].into_iter().all(is_bare) && !["", "-", "01", "1.", ".5", "1e5", "truth"].into_iter().any(is_bare));
    }
}
