//! contrib/schema/mailgather.schema.json, made from the keys that the readers know and from their rows in docs/configuration.md, which another test
//! holds to the same keys. `UPDATE_EXPECTED=1` writes it anew. Nothing of it is written twice: what a row says of type and range is what the schema says.

use super::*;
use serde_json::{Map, Value as Json, json};
use std::path::Path;

const DOCS: &str = include_str!("../../../docs/configuration.md");
const FILE: &str = "contrib/schema/mailgather.schema.json";
const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
const SIZE: &str = "^[0-9]+ ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?$";
const NAME: &str = "^[A-Za-z0-9_-]{1,64}$";

/// A block: its name in the schema, its keys, the section of the reference, and what stands before its keys there.
fn blocks() -> Vec<(&'static str, &'static Keys, &'static str, &'static str)> {
    const COLLECTOR: &str = "## A collector";
    vec![
        ("file", &TOP, "## Top level", ""),
        ("service", &service::SERVICE, "## `service`", ""),
        ("held", &service::HELD, "## `service`", "held."),
        ("history", &service::HISTORY, "## `service`", "history."),
        ("limits", &service::LIMITS, "## `limits`", ""),
        ("logging", &LOG, "## `log`", ""),
        ("control", &control::CONTROL, "## `control`", ""),
        ("metrics", &notify::METRICS, "## `metrics`", ""),
        ("place", &notify::NOTIFY, "## `notify`", ""),
        ("collector", &common::COLLECTOR, COLLECTOR, ""),
        ("defaults", &common::DEFAULTS, COLLECTOR, ""),
        ("template", &common::TEMPLATE, COLLECTOR, ""),
        ("after", &disposal::AFTER, COLLECTOR, "after."),
        ("expunge", &disposal::EXPUNGE, COLLECTOR, "expunge."),
        ("first_run", &fetching::FIRST_RUN, COLLECTOR, "first_run."),
        ("max_message_size", &fetching::SIZE_LIMIT, COLLECTOR, "max_message_size."),
        ("partial_fetch", &fetching::PARTIAL, COLLECTOR, "partial_fetch."),
        ("timeouts", &server::TIMEOUTS, COLLECTOR, "timeouts."),
        ("on_hold", &disposal::ON_HOLD, COLLECTOR, "on_hold."),
        ("folder", &folders::FOLDER, "### `folders`", ""),
        ("schedule", &schedule::HOURS, "### `schedule`", ""),
        ("tls", &tls::TLS, "## `tls`", ""),
        ("auth", &auth::AUTH, "## `auth`", ""),
        ("provider", &provider::PROVIDER, "## `providers`", ""),
        ("imap", &provider::ACCESS, "## `providers`", "imap."),
        ("pop3", &provider::ACCESS, "## `providers`", "pop3."),
        ("recipient", &recipient::RECIPIENT, "## `recipient`", ""),
        ("auto", &auto::AUTO, "## `recipient`", ""),
        ("delivery", &delivery::DELIVERY, "## `delivery`", ""),
        ("rule", &policy::RULE, "### `policy`", ""),
        ("headers", &delivery::HEADERS, "### `headers`", ""),
    ]
}

/// What a row cannot say in its one cell: blocks that have a section or a sentence of their own.
fn special(block: &str, key: &str) -> Option<Json> {
    let block_of = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    let named = |name: &str| json!({"type": ["object", "null"], "propertyNames": {"pattern": NAME}, "additionalProperties": block_of(name)});
    let one_or_more = |one: Json| json!({"anyOf": [one, {"type": "array", "items": one}]});
    let text = || json!({"type": "string"});
    let object = |keys: &Keys, of: &dyn Fn(&str) -> Json| {
        let properties: Map<String, Json> = keys.known.iter().map(|key| ((*key).to_owned(), of(key))).collect();
        json!({"type": "object", "properties": properties, "additionalProperties": false})
    };
    let target_auth = || object(&target::AUTH, &|key| if key == "password" { block_of("secret") } else { block_of("text") });
    Some(match (block, key) {
        ("file", "service" | "limits" | "control" | "metrics" | "defaults" | "delivery") => block_of(key),
        ("file", "notify") => json!({"type": ["array", "null"], "items": block_of("place")}),
        ("collector" | "defaults" | "template", "notify") => {
            json!({"anyOf": [{"const": "off"}, {"type": "array", "items": block_of("place"), "minItems": 1}]})
        }
        ("place", "via") => object(&notify::VIA, &|key| match key {
            "tls" => block_of("tls"),
            "auth" => target_auth(),
            "maildir_create" => json!({"type": "boolean"}),
            _ => text(),
        }),
        ("place", "webhook" | "token") => block_of("secret"),
        ("place", "tls") => block_of("tls"),
        ("place", "command") => json!({"type": "array", "items": block_of("text"), "minItems": 1}),
        ("place", "events") => {
            let events = rows("## `notify`").into_iter().find(|(keys, _)| keys.iter().any(|key| key == "events"));
            let event = json!({"enum": words(&events.expect("the reference has the events").1[0])});
            one_or_more(event)
        }
        ("file", "log") => block_of("logging"),
        ("file", "collectors") => named("collector"),
        ("file", "templates") => named("template"),
        ("file", "providers") => named("provider"),
        ("service", "held" | "history") => block_of(key),
        ("service", "token_key") => block_of("secret"),
        ("service", "business_hours") => block_of("schedule"),
        ("collector" | "defaults" | "template" | "provider", "tls" | "auth" | "expunge" | "timeouts" | "recipient" | "delivery") => block_of(key),
        ("provider", "imap" | "pop3") => block_of(key),
        ("provider", "special_folders") => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        ("provider", "limits" | "quirks") => one_or_more(json!({"$ref": "#/$defs/text"})),
        ("imap" | "pop3", "tls") => block_of("tls"),
        ("collector", "password") | ("auth", "token" | "client_secret" | "certificate_key" | "service_account") => block_of("secret"),
        ("folder", "after") => json!({"$ref": "#/$defs/collector/properties/after"}),
        ("collector" | "defaults" | "template" | "provider", "folders") => one_or_more(json!({"anyOf": [text(), block_of("folder")]})),
        ("auth", "method") => {
            let (_, rest) = DOCS.split_once("### `auth.method`").expect("the reference has a table of methods");
            let (table, _) = rest.split_once("\n\n##").unwrap_or((rest, ""));
            let cells = table.lines().skip_while(|line| !line.starts_with("|---")).take_while(|line| line.starts_with('|'));
            json!({"enum": cells.flat_map(|line| words(line.split(" | ").next().unwrap_or(""))).collect::<Vec<_>>()})
        }
        ("auth", "disable") => one_or_more(text()),
        ("auth", "scopes") => json!({"type": "array", "items": text()}),
        ("delivery", "tls") => block_of("tls"),
        ("delivery", "auth") => target_auth(),
        ("delivery", "trace_headers") => object(&delivery::TRACE, &|_| json!({"type": "boolean"})),
        ("delivery", "headers") => block_of("headers"),
        ("delivery", "policy") => json!({"type": "array", "items": block_of("rule")}),
        ("delivery", "retry") => object(&policy::RETRY, &|key| {
            let one = block_of("duration");
            if key == "delays" { json!({"anyOf": [one, {"type": "array", "items": one, "maxItems": 20}]}) } else { one }
        }),
        ("recipient", "auto") => json!({"anyOf": [{"const": true}, block_of("auto")]}),
        ("recipient", "sender_fallback") => {
            json!({"anyOf": [{"enum": ["null", "from", null]}, object(&recipient::FIXED, &|_| text())]})
        }
        ("auto", "headers") => {
            let header = object(&headers::HEADER, &|key| match key {
                "index" | "skip" => json!({"type": "integer", "minimum": 0}),
                "take" => json!({"enum": ["first", "last", "all"]}),
                "trust" => json!({"enum": ["any"]}),
                _ => text(),
            });
            json!({"anyOf": [{"const": "auto"}, {"type": "array", "items": {"anyOf": [text(), header]}, "minItems": 1}]})
        }
        ("auto", "map") => json!({"type": "object", "additionalProperties": text()}),
        ("auto", "aliases" | "lists") => json!({"type": "object", "additionalProperties": one_or_more(text())}),
        ("auto", "rewrite") => json!({"type": "array", "items": object(&auto::REWRITE, &|_| text())}),
        ("auto", "exclude") => json!({"anyOf": [text(), {"type": "array", "items": text()}]}),
        ("auto", "check_local") => {
            let server = object(&check_local::CHECK_LOCAL, &|key| match key {
                "lmtp" | "smtp" => one_or_more(text()),
                "command" => json!({"type": "array", "items": block_of("text"), "minItems": 1}),
                "timeout" => block_of("duration"),
                "tls" => block_of("tls"),
                _ => text(),
            });
            json!({"anyOf": [{"enum": ["none", "lmtp", "smtp"]}, server]})
        }
        _ => return None,
    })
}

/// Words between back-ticks.
fn words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of a section: keys, type, default, example, meaning.
fn rows(heading: &str) -> Vec<(Vec<String>, [String; 4])> {
    let at = DOCS.find(&format!("{heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = &DOCS[at + heading.len()..];
    let section = &section[..section.find("\n##").unwrap_or(section.len())];
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_start_matches('|').split('|').map(str::trim).collect();
        let cell = |n: usize| (*cells.get(n).unwrap_or(&"")).to_owned();
        (words(cells[0]), [cell(1), cell(2), cell(3), cell(4)])
    };
    section.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

/// What the type of a row says.
fn of_type(block: &str, key: &str, text: &str) -> Json {
    if let Some(special) = special(block, key) {
        return special;
    }
    let mut options: Vec<Json> = Vec::new();
    let mut enumerated: Vec<Json> = Vec::new();
    // A word that is a number may be written as one.
    let options_of = |word: &str| {
        let number = word.parse::<f64>().ok().map(|number| json!(number));
        std::iter::once(json!(word)).chain(number)
    };
    let plain = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let has = |word: &str| plain.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
    let range = plain.split_once(" to ").and_then(|(low, high)| {
        let number = |text: &str| text.split(' ').next()?.parse::<u64>().ok();
        Some((number(low)?, high))
    });
    if has("bool") {
        options.push(json!({"type": "boolean"}));
    }
    if plain.starts_with("duration") {
        options.push(json!({"$ref": "#/$defs/duration"}));
    }
    if plain.starts_with("size") {
        options.push(json!({"$ref": "#/$defs/size"}));
    }
    if plain.starts_with(|c: char| c.is_ascii_digit()) {
        let high = range.and_then(|(_, high)| high.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok());
        let low = range.map_or_else(|| plain.split(|c: char| !c.is_ascii_digit()).next().and_then(|low| low.parse().ok()), |(low, _)| Some(low));
        let low = low.or_else(|| plain.split(' ').next()?.parse().ok());
        options.push(match (low, high) {
            (Some(low), Some(high)) => json!({"type": "integer", "minimum": low, "maximum": high}),
            (Some(only), None) => json!({"const": only}),
            _ => json!({"type": "integer"}),
        });
    }
    let is_text = [
        "path",
        "text",
        "host",
        "address",
        "name",
        "domain",
        "folder",
        "place",
        "day",
        "range",
        "code",
        "list",
        "expression",
        "regular",
        "SHA",
        "special",
    ];
    let is_word_only = !is_text.iter().any(|word| has(word));
    for word in words(text) {
        // `backend: openssl` beside the words is none of them.
        // Nor is a key that a range is bound by: `duration inside limits, or manual`.
        let is_range = plain.starts_with("duration") || plain.starts_with("size");
        if is_word_only && !word.contains(' ') && (!is_range || text.contains(&format!("or `{word}`"))) {
            enumerated.extend(options_of(&word));
        }
    }
    if !enumerated.is_empty() {
        options.push(json!({"enum": enumerated}));
    }
    if !is_word_only {
        let one = json!({"$ref": "#/$defs/text"});
        options.push(one.clone());
        if plain.contains("list") || plain.contains("or up to") {
            options.push(json!({"type": "array", "items": one}));
        }
    }
    if has("block") {
        options.push(json!({"$ref": format!("#/$defs/{key}")}));
    }
    match options.len() {
        0 => panic!("{block}.{key}: what type is {text:?}? Say it in the row as others do, or in `special`"),
        1 => options.remove(0),
        _ => json!({"anyOf": options}),
    }
}

/// What stands at the key, for people.
fn description(row: &[String; 4]) -> String {
    let [of_type, default, _, meaning] = row;
    // A link is its text.
    let mut text = String::new();
    let mut rest = meaning.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        text += before;
        match after.split_once("](").and_then(|(label, after)| Some((label, after.split_once(')')?.1))) {
            Some((label, after)) if !label.contains('[') => {
                text += label;
                rest = after;
            }
            _ => {
                text.push('[');
                rest = after;
            }
        }
    }
    text += rest;
    let default = if default.is_empty() { String::new() } else { format!("Default: {default}") };
    [text.trim(), of_type, &default].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(". ").replace('`', "")
}

fn schema() -> Json {
    let mut defs = Map::new();
    for (name, keys, heading, prefix) in blocks() {
        let (own, of_collector) = (rows(heading), rows("## A collector"));
        let mut properties = Map::new();
        for key in keys.known {
            let whole = format!("{prefix}{key}");
            let find = |rows: &[(Vec<String>, [String; 4])]| rows.iter().find(|(keys, _)| keys.contains(&whole)).map(|(_, row)| row.clone());
            let row = find(&own).filter(|row| row[0] != "as of a collector").or_else(|| find(&of_collector));
            // The keys of a block may have rows, and it none itself.
            let row = row.unwrap_or_else(|| std::array::from_fn(|n| if n == 0 { "block".to_owned() } else { String::new() }));
            let found = of_type(name, key, &row[0]);
            let about = description(&row);
            let mut property = match found {
                Json::Object(object) => object,
                _ => Map::new(),
            };
            property.insert("description".to_owned(), about.into());
            properties.insert((*key).to_owned(), property.into());
        }
        defs.insert(name.to_owned(), json!({"type": "object", "properties": properties, "additionalProperties": false}));
    }
    let text = json!({"type": ["string", "number", "boolean"]});
    let secret = json!({"anyOf": [
        {"type": ["string", "number"], "description": "The secret itself: better not here"},
        {"type": "object", "properties": {
            "file": {"type": "string"}, "env": {"type": "string"}, "credential": {"type": "string"}, "secret": {"type": "string"},
            "command": {"type": "array", "items": text, "minItems": 1}, "timeout": {"$ref": "#/$defs/duration"},
        }, "additionalProperties": false, "minProperties": 1},
    ]});
    assert_eq!(password::SOURCES.known, ["file", "env", "credential", "command", "secret", "timeout"]);
    defs.insert("text".to_owned(), text);
    defs.insert("secret".to_owned(), secret);
    defs.insert("duration".to_owned(), json!({"anyOf": [{"type": "string", "pattern": DURATION, "minLength": 1}, {"const": 0}]}));
    defs.insert("size".to_owned(), json!({"anyOf": [{"type": "string", "pattern": SIZE}, {"type": "integer", "minimum": 0}]}));
    // A provider, a template, `defaults` may leave a key empty as little as a collector: null is a value nowhere but for a whole list of collectors.
    let file = defs.remove("file").unwrap_or_default();
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mailgather.yaml",
        "description": "The configuration of mailgather, also the files of conf.d and collectors.d. docs/configuration.md is its reference; `mailgather check` knows more than a schema can say.",
    });
    if let (Json::Object(root), Json::Object(file)) = (&mut root, file) {
        root.extend(file);
        root.insert("$defs".to_owned(), defs.into());
    }
    root
}

/// YAML as the schema's validators read it.
fn json_of(node: &yaml::Node) -> Json {
    match &node.value {
        Value::Empty => Json::Null,
        Value::Scalar { text, plain: false } => json!(text),
        Value::Scalar { text, .. } => match text.as_str() {
            "~" | "null" | "Null" | "NULL" => Json::Null,
            "true" | "True" | "TRUE" => json!(true),
            "false" | "False" | "FALSE" => json!(false),
            text if text.starts_with(|c: char| c.is_ascii_digit()) => {
                text.parse::<u64>().map(|n| json!(n)).or_else(|_| text.parse::<f64>().map(|n| json!(n))).unwrap_or_else(|_| json!(text))
            }
            text => json!(text),
        },
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), json_of(&entry.value))).collect::<Map<_, _>>().into(),
    }
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn the_schema_is_that_of_the_keys() {
    let made = format!("{:#}\n", schema());
    let path = root().join(FILE);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "{FILE} is not that of the keys: run this test with UPDATE_EXPECTED=1 and look at the difference");
}

/// What a text is for a validator: nothing is wrong with it, or what is.
fn validated(text: &str) -> Result<(), String> {
    thread_local! {
        static COMPILED: (boon::Schemas, boon::SchemaIndex) = {
            let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
            compiler.add_resource("mailgather.json", schema()).unwrap();
            let index = compiler.compile("mailgather.json", &mut schemas).unwrap();
            (schemas, index)
        };
    }
    let mut problems = Vec::new();
    let text = Text::new(Path::new("t.yaml"), text);
    let Some(node) = yaml::parse(&text, 0, &mut problems) else { return Err("no YAML".to_owned()) };
    COMPILED.with(|(schemas, index)| schemas.validate(&json_of(&node), *index).map_err(|error| format!("{error:#}")))
}

#[test]
fn the_samples_and_the_examples_are_valid() {
    let mut all: Vec<(String, String)> = Vec::new();
    for folder in ["etc", "contrib/debian"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                all.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    for (name, text) in [("docs/configuration.md", DOCS), ("README.md", include_str!("../../../README.md"))] {
        let examples = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(example, _)| example);
        all.extend(examples.filter(|example| example.contains("collectors:")).map(|example| (name.to_owned(), example.to_owned())));
    }
    assert!(all.len() >= 5, "{}", all.len());
    for (name, text) in &all {
        validated(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    }
    // With its comments as keys the full sample has every key.
    let full = std::fs::read_to_string(root().join("etc/mailgather.full.yaml")).unwrap();
    assert!(full.contains("# yaml-language-server: $schema="), "an editor finds the schema");
}

/// The configurations of the tests that are taken are valid; of those that are refused, the ones with an unknown key or a wrong type are not.
#[test]
fn the_files_of_the_tests() {
    let env = crate::config::Environment { file_mode: Some(0o640), ..Default::default() };
    let (mut good, mut bad) = (0, 0);
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let valid = validated(&text);
        match crate::config::parse(&text, &path, &env) {
            Ok(_) => {
                good += 1;
                wrong.extend(valid.err().map(|error| format!("{} is taken: {error}", path.display())));
            }
            Err(report) if report.errors.iter().any(|problem| matches!(problem.code, Code::UnknownKey | Code::WrongType | Code::NotYet)) => {
                bad += 1;
                if valid.is_ok() {
                    wrong.push(format!("{} is refused: {report}", path.display()));
                }
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(good >= 3 && bad >= 5, "{good} good, {bad} bad");
}

/// Whatever the schema offers as a word, the reader takes; and of each key the reader's own words are offered.
#[test]
fn the_words_of_the_schema_are_those_of_the_readers() {
    let env = crate::config::Environment { file_mode: Some(0o640), ..Default::default() };
    let schema = schema();
    let mut wrong = Vec::new();
    let file = |block: &str, key: &str, value: &str| {
        let line = match block {
            "collector" => format!("{key}: {value}"),
            "tls" | "timeouts" | "auth" | "partial_fetch" | "max_message_size" => format!("{block}: {{{key}: {value}}}"),
            "delivery" => format!("delivery: {{{key}: {value}}}"),
            "headers" => format!("delivery: {{headers: {{{key}: {value}}}}}"),
            "recipient" => format!("recipient: {{auto: true, {key}: {value}}}"),
            _ => format!("recipient: {{auto: {{{key}: {value}}}}}"),
        };
        let recipient = if line.starts_with("recipient:") { "" } else { "\n    recipient: {forward_to: b@x.example}" };
        format!(
            "delivery: {{lmtp: unix:/l}}\ncollectors:\n  a:\n    email: a@x.example\n    server: i.example\n    password: {{env: P}}{recipient}\n    {line}\n"
        )
    };
    let blocks = ["collector", "tls", "auth", "partial_fetch", "max_message_size", "delivery", "headers", "recipient", "auto"];
    let mut words_seen = 0;
    for block in blocks {
        for (key, property) in schema["$defs"][block]["properties"].as_object().unwrap() {
            let options = property["anyOf"].as_array().cloned().unwrap_or_else(|| vec![property.clone()]);
            let offered: Vec<String> =
                options.iter().filter_map(|option| option["enum"].as_array()).flatten().filter_map(Json::as_str).map(str::to_owned).collect();
            // What the reader says of a word that is none lists its own.
            let Err(report) = crate::config::parse(&file(block, key, "qqqqqqqq"), Path::new("t.yaml"), &env) else { continue };
            let said = report.errors.iter().find_map(|problem| problem.message.strip_prefix(&format!("`{key}` is one of "))?.split_once(", not "));
            let Some((said, _)) = said else { continue };
            let taken = words(said);
            words_seen += taken.len();
            wrong.extend(taken.iter().filter(|word| !offered.contains(word)).map(|word| format!("{block}.{key}: `{word}` is not offered")));
            wrong.extend(
                offered
                    .iter()
                    .filter(|word| !taken.contains(word) && word.parse::<f64>().is_err())
                    .map(|word| format!("{block}.{key}: `{word}` is not taken")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(words_seen > 50, "{words_seen}");
}
