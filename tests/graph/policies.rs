//! The keys of collecting work by Graph as they do by IMAP; and what `mailgather test` tells.

use crate::kit::{BOX, letter};
use crate::program::{program, yaml};
use crate::support::graph::{Fault, Graph, Mime, TOKEN};
use crate::support::maildir::field;
use crate::support::*;
use std::time::{Duration, Instant};

fn subjects(sink: &Sink) -> Vec<String> {
    let mut all: Vec<String> = sink.taken().iter().map(|taken| field(&taken.content, "Subject").unwrap_or_default()).collect();
    all.sort();
    all
}

/// The program with `collect` in place of `new`.
fn collecting(graph: &Graph, sink: &Sink, collect: &str, more: &str) -> Mailgather {
    let program = program(graph, &sink.delivery(), "");
    let text = yaml(graph, &sink.delivery(), BOX, &program.path().join("token"), more);
    program.configure(&text.replace("collect: new", &format!("collect: {collect}")));
    program
}

#[test]
fn what_is_unread_is_collected_and_read_afterwards() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    let all: Vec<String> = ["a", "b", "c"].iter().map(|subject| graph.put(BOX, "inbox", letter(subject))).collect();
    graph.set_read(BOX, &all[1], true);
    let program = collecting(&graph, &sink, "unseen", "after: mark_seen");
    program.once(&[]).expect_success();
    assert_eq!((subjects(&sink), graph.read(BOX, "inbox")), (vec!["a".into(), "c".into()], vec![true; 3]));
    // Somebody makes one unread that was never collected.
    graph.set_read(BOX, &all[1], false);
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), ["a", "b", "c"]);
    graph.set_read(BOX, &all[0], false);
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), ["a", "b", "c"], "it was delivered before");
}

#[test]
fn a_first_run_leaves_what_it_is_told_to_leave() {
    let now = jiff::Timestamp::now().as_second();
    for (first_run, came) in [("none", &[][..]), ("{since: 1h}", &["young"]), ("all", &["old", "young"])] {
        let (graph, sink) = (Graph::start(), Sink::lmtp());
        for (subject, age) in [("old", 7200), ("young", 60)] {
            graph.put_as(BOX, "inbox", Mime::Octets(letter(subject).into()), Some(now - age));
        }
        let program = collecting(&graph, &sink, "new", &format!("after: delete\nfirst_run: {first_run}"));
        program.once(&[]).expect_success();
        program.once(&[]).expect_success();
        assert_eq!((subjects(&sink), graph.ids(BOX, "inbox").len()), (came.iter().map(ToString::to_string).collect(), 2 - came.len()), "{first_run}");
        graph.put_as(BOX, "inbox", Mime::Octets(letter("later").into()), Some(now + 5));
        program.once(&[]).expect_success();
        assert_eq!(subjects(&sink).len(), came.len() + 1, "{first_run}");
    }
}

#[test]
fn what_was_collected_is_deleted_when_its_time_is_over() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    graph.put(BOX, "inbox", letter("a"));
    let program = collecting(&graph, &sink, "new", "after: {delete_after: 2s}");
    program.once(&[]).expect_success();
    assert_eq!(graph.ids(BOX, "inbox").len(), 1);
    let start = Instant::now();
    while !graph.ids(BOX, "inbox").is_empty() {
        assert!(start.elapsed() < SOON, "it is never deleted");
        std::thread::sleep(Duration::from_millis(500));
        program.once(&[]).expect_success();
    }
    assert_eq!(subjects(&sink), ["a"]);
}

#[test]
fn limits_put_the_rest_off() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    (0..10).for_each(|n| drop(graph.put(BOX, "inbox", letter(&n.to_string()))));
    graph.put_as(BOX, "inbox", Mime::Large("huge".into(), 3_000_000), None);
    let program = collecting(&graph, &sink, "new", "after: keep\nmax_message_size: {limit: 1MiB, action: skip}");
    let text = std::fs::read_to_string(program.config_file()).unwrap();
    program.configure(&text.replace("max_messages_per_session: 0", "max_messages_per_session: 4"));
    for _ in 0..5 {
        program.once(&[]).expect_success();
    }
    assert_eq!(subjects(&sink), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(graph.ids(BOX, "inbox").len(), 11);
}

/// Graph tells no sizes: what is too large shows when it comes.
#[test]
fn what_is_too_large_sends_its_header() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    graph.put(BOX, "inbox", letter("small"));
    graph.put_as(BOX, "inbox", Mime::Large("huge".into(), 3_000_000), None);
    let program = collecting(&graph, &sink, "new", "after: delete\nmax_message_size: {limit: 1MiB, action: headers_only}");
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), ["huge", "small"]);
    let note = sink.taken().into_iter().find(|taken| field(&taken.content, "X-Mailgather-Too-Large").is_some()).expect("a note came");
    assert!(note.content.len() < 3_000 && field(&note.content, "Subject").as_deref() == Some("huge"), "{}", note.content.len());
    program.once(&[]).expect_success();
    assert_eq!((sink.count(), graph.ids(BOX, "inbox").len()), (2, 1), "the note comes once, and the message stays");
    let text = std::fs::read_to_string(program.config_file()).unwrap();
    program.configure(&text.replace("limit: 1MiB", "limit: 8MiB"));
    program.once(&[]).expect_success();
    assert_eq!((sink.count(), graph.ids(BOX, "inbox").len()), (3, 0));
    assert!(sink.taken()[2].content.len() > 3_000_000);
}

#[test]
fn octets_of_a_session_are_counted_as_they_come() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    for n in 0..70 {
        graph.put(BOX, "inbox", format!("From: a@b.example\r\nSubject: {n:02}\r\n\r\n{}\r\n", "x".repeat(10_000)));
    }
    let program = collecting(&graph, &sink, "new", "after: keep\nmax_bytes_per_session: 300KiB");
    let done = program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), (0..70).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    // Looked at after each twenty: 400 kB are more than 300 KiB.
    let sessions: Vec<&str> = done.stderr.lines().filter(|line| line.contains(" session_finished ")).collect();
    assert_eq!(sessions.len(), 2, "{}", done.stderr);
}

#[test]
fn the_test_command_says_what_is_wrong() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    graph.make_mailbox(BOX);
    let program = collecting(&graph, &sink, "new", "after: keep");
    let well = program.run_to_end("test", &["box"]);
    assert!(well.status.success() && well.stdout.contains("its inbox is called Входящие"), "{}\n{}", well.stdout, well.stderr);
    for (fault, words) in [
        (Fault::Error(403, "ErrorAccessDenied", None), "Mail.ReadWrite"),
        (Fault::Error(404, "MailboxNotEnabledForRESTAPI", None), "no licence"),
        (Fault::Error(401, "InvalidAuthenticationToken", None), "graph.microsoft.com/.default"),
    ] {
        graph.fault("mailFolders", 50, fault.clone());
        let said = program.run_to_end("test", &["box"]);
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(!said.status.success() && all.contains(words) && !all.contains(TOKEN), "{fault:?}: {all}");
        graph.no_more_faults();
    }
}
