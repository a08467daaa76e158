//! What is to be written: paths of keys and values as they come from a command line or a program.

use super::Refusal;
use super::tree::{self, Data, What};
use crate::config::mask::names_a_secret;
use crate::config::text::Text;
use crate::config::yaml;
use crate::import::yaml::quoted;
use std::fmt::Write;
use std::path::Path;

/// Longest value that one edit writes, in octets.
const OCTETS_MAX: usize = 64 * 1024;
/// Most keys of a path.
const STEPS_MAX: usize = 8;

/// A value, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub(super) written: String,
    pub(super) data: Data,
}

impl Value {
    /// Of a text as one types it: YAML where it is a list, a block or quoted; anything else is a text, quoted where YAML would read something else.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Refusal::of("there is no value; `''` is an empty text"));
        }
        if text.len() > OCTETS_MAX || text.contains(['\n', '\r']) {
            return Err(Refusal::of("a value is one line of 64 KiB at most"));
        }
        let read = of_written(text);
        if text.starts_with(['{', '[', '\'', '"']) {
            return match read {
                Some(data) if !has_alias(&data) => Ok(Value { written: text.to_owned(), data }),
                _ => Err(Refusal::of("the value is no YAML: a brace, a bracket or a quote is missing, or it goes on behind the end")),
            };
        }
        match read {
            Some(data @ Data::Scalar(..)) if matches!(&data, Data::Scalar(found, true) if found == text) => {
                Ok(Value { written: text.to_owned(), data })
            }
            _ => Ok(Value::text(text)),
        }
    }

    /// A text, whatever stands in it.
    pub fn text(text: &str) -> Self {
        let written = quoted(text);
        let data = of_written(&written).unwrap_or_else(|| Data::Scalar(text.to_owned(), false));
        Value { written, data }
    }

    /// Of JSON: what has no form in YAML of ours (`null`) is none.
    pub fn json(value: &serde_json::Value) -> Result<Self, Refusal> {
        let written = flow(value)?;
        if written.len() > OCTETS_MAX {
            return Err(Refusal::of("a value is 64 KiB at most"));
        }
        let data = of_written(&written).ok_or_else(|| Refusal::of("the value cannot be written"))?;
        Ok(Value { written, data })
    }

    /// What it means.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// As it is written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

/// The keys of a file with their values, each as it could stand on one line; or what is wrong with the file.
pub fn values(file: &Path, text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut problems = Vec::new();
    let read = yaml::parse(&Text::new(file, text), 0, &mut problems);
    if let Some(problem) = problems.first() {
        return Err(problem.to_string());
    }
    let Some(yaml::Node { value: yaml::Value::Map(entries), .. }) = read else {
        return Err(format!("error: {}: a block of keys is wanted", file.display()));
    };
    let one = |entry: &yaml::Entry| {
        let written = flow_of(&entry.value);
        let data = of_written(&written).ok_or_else(|| format!("error: {}: `{}` cannot be read", file.display(), entry.key))?;
        Ok((entry.key.clone(), Value { written, data }))
    };
    entries.iter().map(one).collect()
}

fn flow_of(node: &yaml::Node) -> String {
    match &node.value {
        yaml::Value::Empty => "''".to_owned(),
        yaml::Value::Scalar { text, plain } => {
            let as_it_is = *plain && !text.contains([',', '{', '}', '[', ']']) && Value::parse(text).is_ok_and(|value| value.written == *text);
            if as_it_is { text.clone() } else { quoted(text) }
        }
        yaml::Value::List(items) => format!("[{}]", items.iter().map(flow_of).collect::<Vec<_>>().join(", ")),
        yaml::Value::Map(entries) => {
            let entries: Vec<String> = entries.iter().map(|entry| format!("{}: {}", quoted(&entry.key), flow_of(&entry.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn flow(value: &serde_json::Value) -> Result<String, Refusal> {
    use serde_json::Value as Json;
    Ok(match value {
        Json::Null => return Err(Refusal::of("`null` is no value; a key that is to go is unset")),
        Json::Bool(word) => word.to_string(),
        Json::Number(number) => number.to_string(),
        // A word of ours needs no quotes, and is easier to read without.
        Json::String(text) => match Value::parse(text) {
            Ok(Value { written, data: Data::Scalar(found, true) }) if found == *text && !text.contains([',', '{', '}', '[', ']']) => written,
            _ => quoted(text),
        },
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Result<Vec<_>, _>>()?.join(", ")),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok(format!("{}: {}", quoted(key), flow(value)?)));
            format!("{{{}}}", entries.collect::<Result<Vec<_>, Refusal>>()?.join(", "))
        }
    })
}

/// What a text means behind `x: `; `None` if it is not one value.
fn of_written(text: &str) -> Option<Data> {
    let line = format!("x: {text}");
    let root = tree::read(&line).ok()?;
    let What::Map { pairs, .. } = &root.what else { return None };
    let [pair] = &pairs[..] else { return None };
    // A comment, or what stands behind the value, would be lost.
    (pair.value.end == Some(line.trim_end().len()) && !pair.value.is_shared()).then(|| pair.value.data())
}

fn has_alias(data: &Data) -> bool {
    match data {
        Data::Alias => true,
        Data::Empty | Data::Scalar(..) => false,
        Data::List(items) => items.iter().any(has_alias),
        Data::Map(entries) => entries.values().any(has_alias),
    }
}

/// The keys of `tls.mode`; one with a dot in it stands in double quotes: `recipient.auto.map."corp.example"`.
pub fn path(text: &str) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::of(format!("`{text}` is no path of keys, as in `interval` or `tls.mode`"));
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        let (step, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(wrong)?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if step.is_empty() || step == "<<" || step.chars().any(|c| c.is_control() || (!rest.starts_with('"') && c.is_whitespace())) {
            return Err(wrong());
        }
        steps.push(step.to_owned());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return Err(wrong()),
        }
    }
    if steps.len() > STEPS_MAX { Err(wrong()) } else { Ok(steps) }
}

/// The same keys with each block of a value taken apart, so that later edits find its keys on lines of their own. A secret's place stays as it is.
pub fn apart(keys: Vec<(Vec<String>, Value)>) -> Vec<(Vec<String>, Value)> {
    let one = |(path, value): (Vec<String>, Value)| match &value.data {
        Data::Map(inner) if !inner.is_empty() && !path.last().is_some_and(|key| names_a_secret(key)) => {
            let inner = inner.iter().map(|(key, data)| {
                let value = Value { written: written_of(data), data: data.clone() };
                ([&path[..], std::slice::from_ref(key)].concat(), value)
            });
            apart(inner.collect())
        }
        _ => vec![(path, value)],
    };
    keys.into_iter().flat_map(one).collect()
}

/// On one line.
fn written_of(data: &Data) -> String {
    match data {
        Data::Empty | Data::Alias => "''".to_owned(),
        Data::Scalar(text, true) if !text.contains([',', '{', '}', '[', ']']) => text.clone(),
        Data::Scalar(text, _) => quoted(text),
        Data::List(items) => format!("[{}]", items.iter().map(written_of).collect::<Vec<_>>().join(", ")),
        Data::Map(entries) => {
            let entries: Vec<String> = entries.iter().map(|(key, data)| format!("{}: {}", quoted(key), written_of(data))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Keys with their values as a block, each line with this indentation and two blanks more for each level.
pub fn block(keys: &[(Vec<String>, Value)], indent: &str, end: &str) -> Result<String, Refusal> {
    let mut text = String::new();
    let mut done: Vec<&str> = Vec::new();
    for (steps, value) in keys {
        let [head, below @ ..] = &steps[..] else { return Err(Refusal::of("a key has no name")) };
        if done.contains(&head.as_str()) {
            // Below a key that was written with the first of its kind.
            continue;
        }
        done.push(head);
        let same: Vec<(Vec<String>, Value)> =
            keys.iter().filter(|(steps, _)| steps.first() == Some(head)).map(|(steps, value)| (steps[1..].to_vec(), value.clone())).collect();
        let key = quoted(head);
        match (below, &same[..]) {
            ([], [_]) => drop(write!(text, "{indent}{key}: {}{end}", value.written)),
            _ if same.iter().any(|(steps, _)| steps.is_empty()) => return Err(Refusal::of(format!("`{head}` is set twice"))),
            _ => text += &format!("{indent}{key}:{end}{}", block(&same, &format!("{indent}  "), end)?),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_is_typed() {
        for (typed, written) in [
            ("5m", "5m"),
            ("Отдел продаж", "Отдел продаж"),
            ("a #b", "'a #b'"),
            ("a: b", "'a: b'"),
            ("*", "'*'"),
            ("&x y", "'&x y'"),
            ("!x", "'!x'"),
            ("| x", "'| x'"),
            ("@home", "'@home'"),
            (" [INBOX, '\\Junk'] ", "[INBOX, '\\Junk']"),
            ("{file: /x}", "{file: /x}"),
            ("'a #b'", "'a #b'"),
            ("it's", "it's"),
            (r"dom\j", r"dom\j"),
        ] {
            assert_eq!(Value::parse(typed).map(|value| value.written).as_deref(), Ok(written), "{typed}");
        }
        for typed in ["", " ", "{a: 1", "[a]]", "'a", "\"a\" b", "[a] # b", "[*a]", "{a: &x 1}", "a\nb: 1", "[!t a]"] {
            assert!(Value::parse(typed).is_err(), "{typed}");
        }
        let json = serde_json::json!({"a": ["x", "5", 5, true, "a, b"], "б": {"c": "#"}});
        assert_eq!(Value::json(&json).unwrap().written, "{a: [x, 5, 5, true, 'a, b'], 'б': {c: '#'}}");
        assert!(Value::json(&serde_json::json!([null])).is_err());
    }

    #[test]
    fn paths() {
        let of = |text: &str| path(text).ok();
        assert_eq!(of("tls.mode").unwrap(), ["tls", "mode"]);
        assert_eq!(of(r#"recipient.auto.map."почта.рф""#).unwrap(), ["recipient", "auto", "map", "почта.рф"]);
        for wrong in ["", ".", "a.", ".a", "a..b", "a b", "\"a", "\"a\"b", "<<", "a.b.c.d.e.f.g.h.i"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn blocks_are_taken_apart_and_secrets_are_not() {
        let keys =
            [("delivery", "{smtp: '127.0.0.1:25', headers: {spam: keep}, policy: []}"), ("password", "{file: /x}"), ("after", "{delete_after: 14d}")];
        let keys = keys.map(|(steps, value)| (path(steps).unwrap(), Value::parse(value).unwrap())).to_vec();
        let wanted =
            "delivery:\n  headers:\n    spam: keep\n  policy: []\n  smtp: '127.0.0.1:25'\npassword: {file: /x}\nafter:\n  delete_after: 14d\n";
        assert_eq!(block(&apart(keys), "", "\n").unwrap(), wanted);
    }

    #[test]
    fn a_block_groups_what_belongs_together() {
        let keys: Vec<_> = [("email", "a@x.example"), ("tls.mode", "starttls"), ("port", "143"), ("tls.verify", "full")]
            .map(|(steps, value)| (path(steps).unwrap(), Value::parse(value).unwrap()))
            .to_vec();
        assert_eq!(block(&keys, "  ", "\n").unwrap(), "  email: a@x.example\n  tls:\n    mode: starttls\n    verify: full\n  port: 143\n");
        let twice = [keys[1].clone(), (path("tls").unwrap(), Value::parse("{mode: none}").unwrap())];
        assert!(block(&twice, "", "\n").unwrap_err().why.contains("`tls` is set twice"));
        let twice = [keys[0].clone(), keys[0].clone()];
        assert!(block(&twice, "", "\n").is_err());
    }
}
