//! The daemon: signals, reloading, stopping, and what it does while a server or the target is down.

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod faults;
mod ledger;
mod once;
mod outages;
mod reloading;
mod running;
mod stopping;
mod storms;
mod targets;
mod watching;

use std::collections::BTreeMap;
use std::time::Duration;
use support::maildir::field;
use support::process::{Daemon, PASSWORD_VARIABLE, Signal};
use support::*;

fn letter(n: usize) -> Vec<u8> {
    format!("From: a@remote.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}@remote.example>\r\n\r\nBody {n}\r\n").into_bytes()
}

fn imap(server: &Dovecot, user: &str) -> CollectorYaml {
    CollectorYaml::imap(server, user).forward_to("anna@example.org")
}

/// A configuration whose collectors may run often.
fn often(config: &str) -> String {
    format!("limits: {{interval_min: 50ms}}\n{config}")
}

/// A configuration with another time of grace.
fn grace(config: &str, time: &str) -> String {
    config.replace("service: {", &format!("service: {{shutdown_grace: {time}, "))
}

/// How often each letter was taken, by its subject.
fn books(sink: &Sink) -> BTreeMap<String, usize> {
    let mut books = BTreeMap::new();
    for taken in sink.taken() {
        *books.entry(field(&taken.content, "Subject").unwrap_or_default()).or_insert(0) += 1;
    }
    books
}

/// Every letter of so many came exactly once.
#[track_caller]
fn assert_each_once(sink: &Sink, letters: usize) {
    let books = books(sink);
    assert_eq!(books.len(), letters, "{books:?}");
    assert!(books.values().all(|&count| count == 1), "{books:?}");
}

/// Waits until a collector's first passes are over, so that a later one is known to be new.
#[track_caller]
fn first_pass(daemon: &mut Daemon) {
    daemon.wait_for("session_finished");
}

/// How many sessions this collector has begun.
fn sessions(daemon: &Daemon, id: &str) -> usize {
    daemon.log().iter().filter(|line| line.contains("session_started") && line.contains(&format!("collector={id} "))).count()
}
