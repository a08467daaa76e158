//! The catalogue of errors: what the program can say has a page, each page is about something that the program says, and an example has the form
//! of a message as it is printed. (That pages, files and numbers are the same set is a unit test of `cli::pages`.)

use crate::kit::test;
use crate::support::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where numbers of errors are defined, not used.
const DEFINITIONS: [&str; 2] = ["src/mail/code.rs", "src/config/error.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The files below a folder with one of these endings: path inside the project, and text.
fn texts(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)) {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

fn pages() -> BTreeMap<u16, String> {
    let number = |name: &str| name.strip_prefix("docs/errors/MG-")?.strip_suffix(".md")?.parse().ok();
    texts("docs/errors", &["md"]).into_iter().map(|(name, text)| (number(&name).unwrap_or_else(|| panic!("{name}")), text)).collect()
}

/// The numbers, by how the program names them: `code::LOGIN`, `Code::Syntax`.
fn names() -> BTreeMap<String, u16> {
    let constants = text_of(DEFINITIONS[0]);
    let constants = constants.lines().filter_map(|line| {
        let (name, number) = line.trim().strip_prefix("pub const ")?.split_once(": u16 = ")?;
        Some((format!("code::{name}"), number.strip_suffix(';')?.parse().ok()?))
    });
    let variants = text_of(DEFINITIONS[1]);
    let variants = variants.lines().filter_map(|line| {
        let (name, number) = line.trim().split_once(" = ")?;
        Some((format!("Code::{name}"), number.strip_suffix(',')?.parse().ok()?))
    });
    let all: BTreeMap<String, u16> = constants.chain(variants).collect();
    assert!(all.len() > 35, "{all:?}");
    all
}

/// True if `name` stands in `text` as a whole word.
fn has_word(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| !text[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The numbers that a text names as `MG-nnn`.
fn named(text: &str) -> BTreeSet<u16> {
    let number = |at: usize| {
        let digits: String = text[at + 3..].chars().take_while(char::is_ascii_digit).collect();
        (digits.len() == 3).then(|| digits.parse().ok()).flatten()
    };
    text.match_indices("MG-").filter_map(|(at, _)| number(at)).collect()
}

#[test]
fn each_number_is_said_by_the_program_and_has_a_page() {
    let sources: Vec<(String, String)> = texts("src", &["rs"]).into_iter().filter(|(path, _)| !DEFINITIONS.contains(&path.as_str())).collect();
    // Events of the mail log get theirs where the numbers are defined; the event must be logged by somebody.
    let events: Vec<(String, String)> = text_of(DEFINITIONS[0])
        .lines()
        .filter_map(|line| {
            let (event, name) = line.trim().strip_prefix('"')?.split_once("\" => ")?;
            Some((event.to_owned(), format!("code::{}", name.strip_suffix(',')?)))
        })
        .collect();
    assert!(events.len() >= 8, "{events:?}");
    let code_of = |text: &str| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    let sources: Vec<String> = sources.iter().map(|(_, text)| code_of(text)).collect();
    for (event, name) in &events {
        assert!(sources.iter().any(|text| text.contains(&format!("\"{event}\""))), "nobody logs {event}, which is to have {name}");
    }
    let is_logged = |name: &str| events.iter().any(|(event, of)| of == name && sources.iter().any(|text| text.contains(&format!("\"{event}\""))));
    let pages = pages();
    for (name, number) in names() {
        assert!(pages.contains_key(&number), "MG-{number} ({name}) has no page");
        assert!(sources.iter().any(|text| has_word(text, &name)) || is_logged(&name), "nothing says MG-{number} ({name})");
    }
    let numbers: BTreeSet<u16> = names().into_values().collect();
    assert_eq!(pages.keys().copied().collect::<BTreeSet<_>>(), numbers, "a page about a number that the program does not have");
}

#[test]
fn whoever_names_a_number_names_one_that_has_a_page() {
    let pages: BTreeSet<u16> = pages().into_keys().collect();
    let (mut all, mut seen) = (texts("src", &["rs"]), 0);
    all.extend(texts("docs", &["md"]));
    all.extend(texts("etc", &["yaml"]));
    all.push(("README.md".into(), text_of("README.md")));
    for (path, text) in all {
        // Tests make numbers up.
        let text = if path.ends_with(".rs") { text.split("#[cfg(test)]").next().unwrap().to_owned() } else { text };
        for number in named(&text) {
            seen += 1;
            assert!(pages.contains(&number), "{path} names MG-{number}, which has no page");
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn an_example_looks_like_what_is_printed() {
    for (number, page) in pages() {
        let (_, section) = page.split_once("\n## What it looks like\n\n```\n").unwrap();
        let (example, _) = section.split_once("\n```").unwrap();
        let first = example.lines().next().unwrap();
        let is_message = ["error", "warning"].iter().any(|word| first.contains(&format!("{word}[MG-{number}]: ")));
        // A line of the log: the event, its number, then fields.
        let is_event = first.split(' ').nth(1) == Some(&format!("code=MG-{number}")) && first.contains(" collector=");
        assert!(is_message || is_event, "MG-{number}: {first}");
        assert!(named(example).iter().all(|own| *own == number), "MG-{number}: {example}");
    }
}

#[test]
fn each_page_is_printed_offline() {
    let program = Mailgather::new("collectors: {}\n");
    for (number, page) in pages() {
        assert_eq!(program.run_to_end("explain", &[&format!("MG-{number}")]).expect_success().stdout, page);
    }
    // What `test` says leads there.
    let sink = Sink::lmtp();
    let program = Mailgather::new(&config(&sink.delivery(), &[CollectorYaml::at("imap", "u", 1).forward_to("box@example.org")]));
    let done = test(&program, &["u"]).expect_code(69);
    assert!(done.stderr.contains("error[MG-211]: ") && done.stderr.ends_with("more: mailgather explain MG-211\n"), "{}", done.stderr);
}
