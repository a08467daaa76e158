//! The worked examples of docs/recipients.md: each header with each configuration prints what the page says, to the letter. An example is a
//! fenced block `eml`, one `yaml` and one `console`, in this order under one heading.
//!
//! `MAILGATHER_WRITE_DOC=1 cargo test --test explaining recipients_doc` writes what the program prints into the page, to be read before it is committed.

use crate::support::process::PROGRAM;
use std::path::PathBuf;
use std::process::Command;

/// What every example's configuration starts with: it is about recipients, not about the target.
const PREAMBLE: &str = "delivery: {lmtp: unix:/run/dovecot/lmtp}\n";
/// The mail systems and cases that must have an example.
const HEADINGS: [&str; 17] = [
    "Postfix",
    "Exim",
    "qmail",
    "Dovecot",
    "Exchange",
    "Microsoft 365 journal",
    "Google Workspace",
    "Google Workspace journal",
    "Yandex 360",
    "Mail.ru for business",
    "Cyrillic addresses",
    "A forged header",
    "No recipient",
    "Hidden copies",
    "Guessing",
    "A mailing list",
    "Refused by the rules",
];

struct Example {
    heading: String,
    eml: String,
    yaml: String,
    /// The command line and what it prints.
    console: String,
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/recipients.md")
}

fn examples(text: &str) -> Vec<Example> {
    let mut all: Vec<Example> = Vec::new();
    let (mut heading, mut eml, mut yaml) = (String::new(), None, None);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("### ") {
            (heading, eml, yaml) = (title.to_string(), None, None);
        }
        let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else { continue };
        let block: String = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        match kind {
            "eml" => eml = Some(block),
            "yaml" => yaml = Some(block),
            "console" => {
                let missing = || panic!("{heading}: a console block needs an eml and a yaml block before it");
                all.push(Example {
                    heading: heading.clone(),
                    eml: eml.clone().unwrap_or_else(missing),
                    yaml: yaml.clone().unwrap_or_else(missing),
                    console: block,
                });
            }
            other => panic!("{heading}: a block of another kind: {other}"),
        }
    }
    all
}

/// What the program prints for an example, below its command line.
fn printed(example: &Example) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    std::fs::write(folder.path().join("letter.eml"), example.eml.replace('\n', "\r\n")).unwrap();
    std::fs::write(folder.path().join("mailgather.yaml"), format!("{PREAMBLE}{}", example.yaml)).unwrap();
    let line = example.console.lines().next().unwrap_or_default();
    let arguments = line.strip_prefix("$ mailgather ").unwrap_or_else(|| panic!("{}: not a command: {line}", example.heading));
    let output = Command::new(PROGRAM)
        .args(arguments.split(' '))
        .args(["--config", "mailgather.yaml", "--state-dir", "state"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{}: {}", example.heading, text(&output.stderr));
    format!("{line}\n{}", text(&output.stdout))
}

#[test]
fn each_example_prints_what_the_page_says() {
    let text = std::fs::read_to_string(page()).unwrap();
    let all = examples(&text);
    if std::env::var_os("MAILGATHER_WRITE_DOC").is_some() {
        let written = all.iter().fold(text, |text, one| {
            let at = text.find(&format!("### {}\n", one.heading)).unwrap();
            let (before, after) = text.split_at(at);
            format!("{before}{}", after.replacen(&format!("```console\n{}```", one.console), &format!("```console\n{}```", printed(one)), 1))
        });
        std::fs::write(page(), written).unwrap();
        return;
    }
    for example in &all {
        assert_eq!(printed(example), example.console, "{}: the page says something else (right)", example.heading);
    }
    let missing: Vec<&str> = HEADINGS.into_iter().filter(|heading| !all.iter().any(|example| example.heading == *heading)).collect();
    assert!(missing.is_empty(), "no example for {missing:?}");
}
