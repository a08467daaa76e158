//! docs/configuration.md is true: every key of every block has a row there, and every row names a key.

use super::*;
use std::collections::BTreeSet;

/// A section of the reference, and for the prefix of its rows a file with the block in which a key is unknown; its report lists the known ones.
fn blocks() -> Vec<(&'static str, &'static str, String)> {
    let top = |text: &str| format!("{text}\n{}", with(""));
    let of_collector = |block: &str| with(&format!("{block}: {{qqqqqqqq: 1}}"));
    let mut blocks = vec![
        ("## Top level", "", top("qqqqqqqq: 1")),
        ("## `service`", "", top("service: {qqqqqqqq: 1}")),
        ("## `service`", "held.", top("service: {held: {qqqqqqqq: 1}}")),
        ("## `service`", "history.", top("service: {history: {qqqqqqqq: 1}}")),
        ("## `limits`", "", top("limits: {qqqqqqqq: 1}")),
        ("## `log`", "", top("log: {qqqqqqqq: 1}")),
        ("## `control`", "", top("control: {qqqqqqqq: 1}")),
        ("## `metrics`", "", top("metrics: {qqqqqqqq: 1}")),
        ("## `notify`", "", top("notify: [{qqqqqqqq: 1}]")),
        ("## A collector", "", with("qqqqqqqq: 1")),
        ("### `folders`", "", with("folders: [{name: A, qqqqqqqq: 1}]")),
        ("### `schedule`", "", with("schedule: {days: mon, qqqqqqqq: 1}")),
        ("## `providers`", "", top("providers: {p: {server: x.example, qqqqqqqq: 1}}")),
        ("## `providers`", "imap.", top("providers: {p: {imap: {server: x.example, qqqqqqqq: 1}}}")),
        ("## `providers`", "pop3.", top("providers: {p: {pop3: {server: x.example, qqqqqqqq: 1}}}")),
        ("## `recipient`", "", with("recipient: {auto: true, qqqqqqqq: 1}")),
        ("## `recipient`", "", with("recipient: {auto: {qqqqqqqq: 1}}")),
        ("## `delivery`", "", with("delivery: {qqqqqqqq: 1}")),
        ("### `policy`", "", with("delivery: {policy: [{qqqqqqqq: 1}]}")),
        ("### `headers`", "", with("delivery: {headers: {qqqqqqqq: 1}}")),
    ];
    blocks.push(("## `tls`", "", of_collector("tls")));
    blocks.push(("## `auth`", "", of_collector("auth")));
    for block in ["timeouts", "after", "expunge", "first_run", "max_message_size", "partial_fetch", "on_hold"] {
        let prefix: &'static str = Box::leak(format!("{block}.").into_boxed_str());
        blocks.push(("## A collector", prefix, of_collector(block)));
    }
    blocks
}

/// The keys that a report lists.
fn known(text: &str) -> BTreeSet<String> {
    let report = read(text).unwrap_err();
    let problem = report.errors.iter().find(|problem| problem.message.contains("`qqqqqqqq`")).unwrap_or_else(|| panic!("{text}\n{report}"));
    let keys = problem.hints.iter().find_map(|hint| hint.strip_prefix("its keys: ")).unwrap_or_else(|| panic!("{problem}"));
    keys.split(", ").map(str::to_owned).collect()
}

/// The keys in the first column of a section's tables.
fn rows(docs: &str, heading: &str) -> BTreeSet<String> {
    let at = docs.find(&format!("{heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = &docs[at + heading.len()..];
    let section = &section[..section.find("\n##").unwrap_or(section.len())];
    let mut keys = BTreeSet::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let first = line.trim_start_matches("| ").split(" | ").next().unwrap();
        keys.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    keys
}

#[test]
fn every_key_has_a_row_and_every_row_names_a_key() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let blocks = blocks();
    let headings: BTreeSet<&str> = blocks.iter().map(|(heading, ..)| *heading).collect();
    let mut wrong = Vec::new();
    for heading in headings {
        let rows = rows(&docs, heading);
        let mut allowed = BTreeSet::new();
        for (_, prefix, text) in blocks.iter().filter(|(of, ..)| *of == heading) {
            let known: BTreeSet<String> = known(text).iter().map(|key| format!("{prefix}{key}")).collect();
            // A block whose keys have rows of their own needs none itself.
            let missing = known.iter().filter(|key| !rows.contains(*key) && !rows.iter().any(|row| row.starts_with(&format!("{key}."))));
            wrong.extend(missing.map(|key| format!("{heading}: no row for `{key}`")));
            for row in rows.iter().filter(|row| row.strip_prefix(prefix).is_some_and(|key| !key.contains('.')) && !known.contains(*row)) {
                let key = row.strip_prefix(prefix).unwrap();
                let not_yet =
                    read(&text.replace("qqqqqqqq", key)).is_err_and(|report| report.to_string().contains(&format!("`{key}` does not work yet")));
                if not_yet {
                    allowed.insert(row.clone());
                }
            }
            allowed.extend(known);
        }
        let strange = rows.iter().filter(|row| !allowed.contains(*row));
        wrong.extend(strange.map(|row| format!("{heading}: `{row}` is no key")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn templates_list_their_keys() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let section = docs.split_once("## `templates`\n").unwrap().1.split_once("```").unwrap().0;
    let listed: BTreeSet<String> = section.split_once("`use`:").unwrap().1.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(listed, known(&format!("templates: {{t: {{qqqqqqqq: 1}}}}\n{}", with(""))));
}
