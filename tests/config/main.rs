//! The configuration from the outside: broken files with the words they are answered with, the shipped samples, and secrets that never show.

use mailgather::config::*;
use std::path::Path;
use std::time::Duration;

mod auth_keys;
mod canary;
mod collecting_keys;
mod delivery_keys;
mod files;
mod links;
mod log_events;
mod log_keys;
mod notify_keys;
mod outside;
mod page;
mod provider_keys;
mod recipient_keys;
mod reference;
mod refusals;
mod samples;
mod schema;
mod translations;
mod values;
mod web_keys;

fn env() -> Environment {
    Environment { uid: 0, file_mode: Some(0o640), ..Environment::default() }
}

fn read(text: &str) -> Result<Loaded, Report> {
    parse(text, Path::new("/etc/mailgather/mailgather.yaml"), &env())
}

/// A configuration with one collector, `a`, to which lines are added.
fn with(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "delivery: {{lmtp: unix:/run/lmtp}}\ncollectors:\n  a:\n    email: a@почта.рф\n    server: imap.example.org\n    password: {{env: P}}\n{}{lines}",
        if lines.contains("recipient:") { "" } else { "    recipient: {forward_to: b@икс.рф}\n" }
    )
}

fn collector(text: &str) -> Collector {
    let read = read(text);
    schema::compare(text, &read);
    let loaded = read.unwrap_or_else(|report| panic!("{text}\n{report}"));
    let first = loaded.config.collectors.values().next().unwrap();
    Collector::clone(first)
}

fn refused(text: &str, words: &str) {
    let read = read(text);
    schema::compare(text, &read);
    match read {
        Ok(_) => panic!("taken:\n{text}"),
        Err(report) => assert!(report.to_string().contains(words), "{words}\n--- in\n{report}"),
    }
}

/// The lines are taken with exactly one warning, which holds these words.
fn warned(lines: &str, words: &str) {
    let warnings = warnings_of(lines);
    assert_eq!(warnings.len(), 1, "{lines}: {warnings:?}");
    assert!(warnings[0].to_string().contains(words), "{words}\n--- in\n{}", warnings[0]);
}

/// The warnings about these lines, but for the one about what becomes of mail for nobody, which has a test of its own.
fn warnings_of(lines: &str) -> Vec<Problem> {
    let mut warnings = read(&with(lines)).unwrap_or_else(|report| panic!("{lines}\n{report}")).warnings;
    warnings.retain(|warning| !warning.message.contains("neither `default_box` nor `unresolved`"));
    warnings
}
