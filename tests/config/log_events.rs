//! docs/logs.md is true: every event of the program has a row there with its levels and its fields, and every row is an event.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Levels and fields of an event.
type Rows = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

/// Events whose name is chosen where they happen, by a field that each of these places has.
const CHOSEN: &[(&str, &[&str])] = &[
    (
        "src/observe/maillog.rs",
        &["recipient_unresolved", "message_loop", "message_content", "message_too_large", "message_left", "message_unreadable"],
    ),
    ("src/deliver/smtp/pool.rs", &["xclient_refused", "xclient_not_offered"]),
    ("src/source/imap/disposal.rs", &["message_moved", "message_copied"]),
];

/// The arguments of a macro, from behind its parenthesis.
fn arguments(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 1, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        match c {
            ',' if depth == 1 && !quoted => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
        if c == '\\' && quoted {
            parts.last_mut().unwrap().extend(chars.next());
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// What the program logs.
fn said(file: &str, text: &str, found: &mut Rows) {
    for level in ["error", "warn", "info", "debug"] {
        for (at, name) in text.match_indices(&format!("{level}!(")) {
            // `eprintln!` has no level, and a longer word is another macro.
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let (mut events, mut fields) = (Vec::new(), BTreeSet::new());
            for argument in arguments(&text[at + name.len()..]) {
                // To whom it goes is no field.
                if argument.starts_with("target:") {
                    continue;
                }
                let (field, value) = argument.split_once('=').map_or((argument.as_str(), None), |(field, value)| (field.trim(), Some(value.trim())));
                match (field, value) {
                    ("event", Some(value)) => events.push(value.trim_matches('"').to_owned()),
                    ("event", None) => {
                        let (_, chosen) = CHOSEN.iter().find(|(of, _)| *of == file).unwrap_or_else(|| panic!("{file}: which events are these?"));
                        events.extend(chosen.iter().map(|event| (*event).to_owned()));
                    }
                    (field, _) => drop(fields.insert(field.trim_start_matches(['%', '?']).to_owned())),
                }
            }
            for event in events {
                let row = found.entry(event).or_default();
                row.0.insert(level.to_owned());
                row.1.extend(fields.iter().cloned());
            }
        }
    }
}

fn sources(folder: &Path, take: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, take);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            take(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_event_has_a_row_and_every_row_is_an_event() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut words) = (Rows::new(), String::new());
    sources(&root.join("src"), &mut |path, text| {
        said(path.strip_prefix(root).unwrap().to_str().unwrap(), text, &mut found);
        words.push_str(text);
    });
    assert!(found.len() > 50, "the search finds no events any more");
    for event in CHOSEN.iter().flat_map(|(_, events)| *events) {
        assert!(words.contains(&format!("\"{event}\"")), "{event} is chosen nowhere");
    }
    let docs = std::fs::read_to_string(root.join("docs/logs.md")).unwrap();
    let table = docs.split("## Events").nth(1).unwrap();
    let mut rows = Rows::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let list = |cell: &str| cell.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
        let event = cells[0].trim_start_matches("| ").trim_matches('`').to_owned();
        assert!(rows.insert(event, (list(cells[1]), list(cells[2]))).is_none(), "twice: {line}");
    }
    let list = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join(", ");
    let text = |event: &str, row: &(BTreeSet<String>, BTreeSet<String>)| format!("| `{event}` | {} | {} |", list(&row.0), list(&row.1));
    let missing: Vec<String> = found.iter().filter(|(event, row)| rows.get(*event) != Some(row)).map(|(event, row)| text(event, row)).collect();
    let extra: Vec<&String> = rows.keys().filter(|event| !found.contains_key(*event)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "docs/logs.md, rows that are missing or differ:\n{}\nrows of nothing: {extra:?}",
        missing.join("\n")
    );
}
