//! When passes run, and what a slow or silent server can do about it: intervals, schedules, IDLE, time limits, pieces and compression, in the real
//! daemon. Tests are named after the rows of the requirements (`m13_…`); `requirements` holds docs/requirements.md to the tests and the keys.

#[path = "../support/mod.rs"]
mod support;

mod fetching;
mod idle;
mod missing;
mod peer;
mod places;
mod requirements;
mod schedule;
mod starting;
mod timeouts;

use support::corpus::letter;
use support::process::Daemon;
use support::*;

/// Where everything goes.
const BOX: &str = "box@example.org";

/// `letter 0` … for a mailbox.
fn put(server: &Dovecot, user: &str, number: usize) {
    server.put(user, &letter(number, "anna@pop.example"));
}

fn letters(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut all: Vec<String> = numbers.into_iter().map(|n| format!("letter {n}")).collect();
    all.sort();
    all
}

fn imap(server: &Dovecot, user: &str) -> CollectorYaml {
    CollectorYaml::imap(server, user).forward_to(BOX)
}

/// A configuration whose collectors may run often.
fn often(config: &str) -> String {
    format!("limits: {{interval_min: 50ms}}\n{config}")
}

/// A configuration with more keys of `service`.
fn service(config: &str, keys: &str) -> String {
    config.replacen("service: {", &format!("service: {{{keys}, "), 1)
}

/// How many sessions this collector has begun.
fn sessions(daemon: &Daemon, id: &str) -> usize {
    lines(daemon, "session_started", id)
}

/// How many lines of this event there are about this collector.
fn lines(daemon: &Daemon, event: &str, id: &str) -> usize {
    let of = format!("collector={id} ");
    daemon.log().iter().filter(|line| line.contains(event) && format!("{line} ").contains(&of)).count()
}

/// These letters, each once, and nothing else.
#[track_caller]
fn assert_arrived(boxes: &Boxes, numbers: impl IntoIterator<Item = usize>) {
    assert_eq!(boxes.subjects(BOX), letters(numbers));
}
