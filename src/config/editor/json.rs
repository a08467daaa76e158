//! A collector's own keys as JSON, and JSON as edits of them.

use crate::config::edit::{Data, Op, Refusal, Value};
use crate::config::harmless::HARMLESS;
use crate::config::mask::{MASK, names_a_secret, says_where};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// The keys, secrets hidden.
pub(super) fn shown(keys: &BTreeMap<String, Data>) -> Json {
    keys.iter().map(|(key, data)| (key.clone(), one(key, data))).collect::<Map<_, _>>().into()
}

fn one(key: &str, data: &Data) -> Json {
    // The address of a webhook is often one.
    let is_secret = (names_a_secret(key) && !HARMLESS.contains(&key)) || key == "webhook";
    match data {
        Data::Empty | Data::Alias => Json::Null,
        // The arguments of a program may be secrets.
        Data::List(items) if key == "command" => items.iter().enumerate().map(|(n, item)| if n == 0 { one("", item) } else { json!(MASK) }).collect(),
        Data::Map(entries) if is_secret && entries.keys().all(|key| says_where(key) || key == "command") => {
            let of = |(key, data): (&String, &Data)| match data {
                // The name of a stored secret is none.
                Data::Scalar(text, plain) if says_where(key) => (key.clone(), scalar(text, *plain)),
                _ => (key.clone(), one(key, data)),
            };
            entries.iter().map(of).collect::<Map<_, _>>().into()
        }
        _ if is_secret => json!(MASK),
        Data::Scalar(text, plain) => scalar(text, *plain),
        Data::List(items) => items.iter().map(|item| one(key, item)).collect(),
        Data::Map(entries) => shown(entries),
    }
}

/// What YAML takes for a number or a switch is one; `5m` and `off` are texts.
fn scalar(text: &str, plain: bool) -> Json {
    match text {
        "true" if plain => json!(true),
        "false" if plain => json!(false),
        text if plain => text.parse::<u64>().ok().filter(|number| number.to_string() == text).map_or_else(|| json!(text), |number| json!(number)),
        text => json!(text),
    }
}

/// The edits that make these keys of those, and no others.
pub(super) fn replaced(keys: &BTreeMap<String, Data>, wanted: &Map<String, Json>) -> Result<Vec<Op>, Refusal> {
    let mut ops: Vec<Op> = Vec::new();
    for (key, value) in wanted {
        if keys.get(key).is_none_or(|data| one(key, data) != *value) {
            ops.push(Op::Set(vec![key.clone()], Value::json(value)?));
        }
    }
    // Behind the others: a block that loses all of its keys in between would be none.
    ops.extend(keys.keys().filter(|key| !wanted.contains_key(*key)).map(|key| Op::Unset(vec![key.clone()])));
    Ok(ops)
}

/// The edits of a merge patch: `null` takes a key away, a block is merged into a block, anything else takes the place of what was there.
pub(super) fn patched(keys: &BTreeMap<String, Data>, patch: &Map<String, Json>) -> Result<Vec<Op>, Refusal> {
    fn walk(keys: &BTreeMap<String, Data>, patch: &Map<String, Json>, path: &[String], ops: &mut Vec<Op>) -> Result<(), Refusal> {
        for (key, value) in patch {
            let place = [path, std::slice::from_ref(key)].concat();
            match (keys.get(key), value) {
                (None, Json::Null) => {}
                (Some(_), Json::Null) => ops.push(Op::Unset(place)),
                // Of a secret there is one place: another one is not merged into it.
                (Some(Data::Map(inner)), Json::Object(patch)) if !names_a_secret(key) => walk(inner, patch, &place, ops)?,
                (Some(data), value) if one(key, data) == *value => {}
                (_, value) => ops.push(Op::Set(place, Value::json(value)?)),
            }
        }
        Ok(())
    }
    let mut ops = Vec::new();
    walk(keys, patch, &[], &mut ops)?;
    ops.sort_by_key(|op| matches!(op, Op::Unset(_)));
    Ok(ops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::edit::{edit, keys};

    const FILE: &str = "collectors:\n  a:\n    port: 993\n    title: '5'\n    interval: 5m\n    enabled: true\n    password: hunter2\n    tls:\n      mode: none\n      verify: full\n";

    #[test]
    fn what_comes_back_as_it_was_changes_nothing() {
        let keys = keys(FILE, "a").unwrap();
        let json = shown(&keys);
        assert_eq!(
            json,
            json!({"port": 993, "title": "5", "interval": "5m", "enabled": true, "password": "***", "tls": {"mode": "none", "verify": "full"}})
        );
        assert_eq!(replaced(&keys, json.as_object().unwrap()), Ok(Vec::new()));
        assert_eq!(patched(&keys, json.as_object().unwrap()), Ok(Vec::new()));
        let hidden = one(
            "password",
            &Data::Map(BTreeMap::from([("command".into(), Data::List(vec![Data::Scalar("pass".into(), true), Data::Scalar("x".into(), true)]))])),
        );
        assert_eq!(hidden, json!({"command": ["pass", "***"]}));
    }

    #[test]
    fn a_patch_touches_what_it_names() {
        let patch = json!({"interval": "10m", "tls": {"verify": null, "min_version": "1.3"}, "title": null, "absent": null, "idle": "auto"});
        let ops = patched(&keys(FILE, "a").unwrap(), patch.as_object().unwrap()).unwrap();
        let done = edit(FILE, "a", &ops).unwrap();
        let wanted =
            FILE.replace("5m", "10m").replace("    title: '5'\n", "").replace("      verify: full\n", "      min_version: 1.3\n    idle: auto\n");
        assert_eq!(done.lines().collect::<std::collections::BTreeSet<_>>(), wanted.lines().collect());
        assert!(patched(&keys(FILE, "a").unwrap(), json!({"x": [null]}).as_object().unwrap()).is_err());
    }
}
