//! Every configuration of these tests is laid before a validator with contrib/schema/mailgather.schema.json as well: what is taken is valid, and what
//! is refused for an unknown key or a wrong type is not.

use super::*;
use mailgather::config::edit::{Data, values};
use serde_json::{Map, Value, json};

/// As validators read YAML.
fn json_of(data: &Data) -> Value {
    match data {
        Data::Empty | Data::Alias => Value::Null,
        Data::Scalar(text, false) => json!(text),
        Data::Scalar(text, true) => match text.as_str() {
            "~" | "null" => Value::Null,
            "true" | "True" | "TRUE" => json!(true),
            "false" | "False" | "FALSE" => json!(false),
            text if text.starts_with(|c: char| c.is_ascii_digit()) => {
                text.parse::<u64>().map(|n| json!(n)).or_else(|_| text.parse::<f64>().map(|n| json!(n))).unwrap_or_else(|_| json!(text))
            }
            text => json!(text),
        },
        Data::List(items) => items.iter().map(json_of).collect(),
        Data::Map(entries) => entries.iter().map(|(key, data)| (key.clone(), json_of(data))).collect::<Map<_, _>>().into(),
    }
}

thread_local! {
    static SCHEMA: (boon::Schemas, boon::SchemaIndex) = {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/schema/mailgather.schema.json");
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("mailgather.json", serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).unwrap();
        let index = compiler.compile("mailgather.json", &mut schemas).unwrap();
        (schemas, index)
    };
}

/// What the validator says; `None` if the text cannot be shown to it.
fn validated(text: &str) -> Option<Result<(), String>> {
    let all: Map<String, Value> = values(Path::new("t.yaml"), text).ok()?.into_iter().map(|(key, value)| (key, json_of(value.data()))).collect();
    Some(SCHEMA.with(|(schemas, index)| schemas.validate(&all.into(), *index).map_err(|error| format!("{error:#}"))))
}

/// Lays what was read before the validator.
#[track_caller]
pub fn compare(text: &str, read: &Result<Loaded, Report>) {
    let Some(valid) = validated(text) else { return };
    match (read, valid) {
        (Ok(_), Err(error)) => panic!("the program takes it, and the schema does not: {error}\n{text}"),
        (Err(report), Ok(())) => {
            let is_shape = |problem: &Problem| matches!(problem.code, Code::UnknownKey);
            assert!(!report.errors.iter().any(is_shape), "the schema takes it: {report}\n{text}");
        }
        _ => {}
    }
}

#[test]
fn the_command_prints_the_committed_one() {
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_mailgather")).arg("schema").output().unwrap();
    let there = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/schema/mailgather.schema.json")).unwrap();
    assert!(printed.status.success() && printed.stdout == there);
}

#[test]
fn wrong_types_and_unknown_keys_are_invalid() {
    for text in [
        "collectors: {a: {port: x}}",
        "collectors: {a: {enabled: 5}}",
        "collectors: {a: {interval: 5}}",
        "collectors: {a: {tls: {mode: x}}}",
        "service: {max_sessions: many}",
        "colectors: {}",
        "collectors: {a: {tls: [implicit]}}",
        "log: {level: loud}",
        "collectors: {'a b': {}}",
        "collectors: {a: {folders: [{name: A, flagg: spam}]}}",
        "collectors: {a: {password: {fil: /x}}}",
        "delivery: {policy: [{replay: 5}]}",
    ] {
        assert!(validated(text).unwrap().is_err(), "{text}");
        assert!(read(text).is_err(), "{text}");
    }
}
