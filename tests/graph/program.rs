//! The whole program over Graph: nothing in collecting knows the protocol.

use crate::kit::{BOX, letter};
use crate::support::graph::{Fault, Graph, Mime, TOKEN};
use crate::support::maildir::field;
use crate::support::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const TO: &str = "anna@example.org";

/// One collector, with these lines more.
pub fn yaml(graph: &Graph, delivery: &str, address: &str, token: &Path, more: &str) -> String {
    let lines: String = more.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "service: {{start_jitter: 0s, spool_above: 64KiB}}\nlog: {{level: debug}}\ndelivery: {delivery}\ncollectors:\n  box:\n    protocol: graph\n    url: {}\n    email: {address}\n    \
         auth: {{method: oauth2, token: {{file: {}}}, allow_plaintext: true}}\n    collect: new\n    max_messages_per_session: 0\n    interval: 24h\n    recipient: {{forward_to: [{TO}]}}\n{lines}",
        graph.url(),
        token.display()
    )
}

/// The program with such a collector.
pub fn program(graph: &Graph, delivery: &str, more: &str) -> Mailgather {
    let program = Mailgather::new("");
    let token = program.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    program.configure(&yaml(graph, delivery, BOX, &token, more));
    program
}

fn subjects(sink: &Sink) -> Vec<String> {
    let mut all: Vec<String> = sink.taken().iter().map(|taken| field(&taken.content, "Subject").unwrap_or_default()).collect();
    all.sort();
    all
}

fn named(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{n:03}")).collect()
}

fn put(graph: &Graph, range: std::ops::Range<usize>) -> Vec<String> {
    named(range).iter().map(|subject| graph.put(BOX, "inbox", letter(subject))).collect()
}

#[test]
fn k7_mail_is_collected_with_a_token_and_then_only_what_is_new() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    put(&graph, 0..120);
    let program = program(&graph, &sink.delivery(), "after: keep");
    program.check().expect_success();
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), named(0..120));
    assert_eq!((graph.most_at_once() <= 4, graph.refused_at_once(), graph.requests("PATCH") + graph.requests("DELETE")), (true, 0, 0));
    put(&graph, 120..123);
    graph.web.forget();
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), named(0..123));
    // What changed was asked for, by the cursor that the ledger has, and nothing more than that was read.
    assert_eq!((graph.requests("deltatoken"), graph.requests("/delta?$select"), graph.requests("$value")), (1, 0, 3));
    graph.web.forget();
    program.once(&[]).expect_success();
    assert_eq!((graph.requests("$value"), subjects(&sink).len()), (0, 123));
}

#[test]
fn each_way_of_disposing() {
    for (after, inbox, read, done, deleted) in [("mark_seen", 8, 8, 0, 0), ("delete", 0, 0, 0, 8), ("{move_to: Done/here}", 0, 0, 8, 0)] {
        let (graph, sink) = (Graph::start(), Sink::lmtp());
        put(&graph, 0..8);
        let program = program(&graph, &sink.delivery(), &format!("after: {after}"));
        program.once(&[]).expect_success();
        let is_read = graph.read(BOX, "inbox").into_iter().filter(|read| *read).count();
        let there = (graph.ids(BOX, "inbox").len(), is_read, graph.ids(BOX, "Done/here").len(), graph.ids(BOX, "recoverableitemsdeletions").len());
        assert_eq!(there, (inbox, read, done, deleted), "{after}");
        program.once(&[]).expect_success();
        assert_eq!(subjects(&sink), named(0..8), "{after}");
    }
}

#[test]
fn f68_a_cursor_that_is_gone_and_429_cost_no_second_delivery() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    let all = put(&graph, 0..30);
    let program = program(&graph, &sink.delivery(), "after: keep");
    program.once(&[]).expect_success();
    graph.expire_delta_tokens();
    graph.remove(BOX, &all[0]);
    put(&graph, 30..33);
    graph.fault("$value", 2, Fault::Error(429, "ApplicationThrottled", Some(1)));
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), named(0..33));
    // A wait that is longer than a session is the next pass's.
    put(&graph, 33..34);
    graph.fault("mailFolders", 1, Fault::Error(503, "ServiceUnavailable", Some(600)));
    let said = program.once(&[]);
    assert!(!said.status.success() && said.stderr.contains("503 ServiceUnavailable"), "{}", said.stderr);
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), named(0..34));
}

#[test]
fn other_clients_move_and_delete_meanwhile() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    let all = put(&graph, 0..40);
    let program = program(&graph, &sink.delivery(), "after: delete");
    // While the program lists and fetches, somebody clears up.
    graph.set_latency(std::time::Duration::from_millis(10));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the first are asked for", SOON, || graph.requests("$value") > 3);
            (20..30).for_each(|n| {
                if graph.ids(BOX, "inbox").contains(&all[n]) {
                    graph.remove(BOX, &all[n])
                }
            });
            (30..40).for_each(|n| {
                if graph.ids(BOX, "inbox").contains(&all[n]) {
                    graph.move_to(BOX, &all[n], "archive")
                }
            });
        });
        program.once(&[]);
    });
    program.once(&[]).expect_success();
    let came = subjects(&sink);
    assert!(came.windows(2).all(|pair| pair[0] != pair[1]), "{came:?}");
    assert!(named(0..20).iter().all(|subject| came.contains(subject)), "{came:?}");
    assert_eq!(graph.ids(BOX, "inbox").len(), 0);
    // What is gone is owed nothing, and nobody waits for it.
    graph.web.forget();
    program.once(&[]).expect_success();
    assert_eq!(graph.requests("$value") + graph.requests("DELETE"), 0);
}

#[test]
fn a_message_without_mime_is_held_and_does_not_stop_the_rest() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    put(&graph, 0..5);
    graph.put_as(BOX, "inbox", Mime::None("sealed".into()), None);
    put(&graph, 5..10);
    let program = program(&graph, &sink.delivery(), "after: delete\ndelivery: {retry: {delays: [1s]}}");
    for _ in 0..5 {
        program.once(&[]);
        std::thread::sleep(std::time::Duration::from_millis(1500));
    }
    assert_eq!(subjects(&sink), named(0..10));
    let held = program.run_to_end("held", &["list"]);
    assert!(held.stdout.contains("not_fetched") && held.stdout.contains("sealed"), "{}\n{}", held.stdout, held.stderr);
    assert_eq!(graph.ids(BOX, "inbox").len(), 1);
    // Who releases the note gets the note: the message itself was delivered to nobody, and is not deleted.
    program.run_to_end("held", &["release", "1"]).expect_success();
    let note = sink.taken().pop().unwrap();
    assert!(String::from_utf8_lossy(&note.content).contains("This stands for a message that the server has and cannot give"));
    for _ in 0..2 {
        program.once(&[]).expect_success();
    }
    assert_eq!((graph.ids(BOX, "inbox").len(), sink.taken().len()), (1, 11));
}

/// The header of one that cannot be had breaks the session, each time: it is tried later, and another one is held meanwhile.
#[test]
fn one_without_mime_whose_header_breaks_the_session_holds_up_no_other() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    let first = graph.put_as(BOX, "inbox", Mime::None("worse".into()), None);
    graph.put_as(BOX, "inbox", Mime::None("sealed".into()), None);
    let line = format!("{}?$select=internetMessageHeaders", first.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"));
    graph.fault(&line, 99, Fault::Says("{\"id\": "));
    let program = program(&graph, &sink.delivery(), "after: delete\ndelivery: {retry: {delays: [1s]}}");
    for _ in 0..6 {
        program.once(&[]);
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let held = || program.run_to_end("held", &["list"]).stdout;
    assert!(held().contains("sealed") && !held().contains("worse"), "{}", held());
    graph.no_more_faults();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    program.once(&[]);
    assert!(held().contains("worse"), "{}", held());
    assert_eq!((graph.ids(BOX, "inbox").len(), sink.count()), (2, 0));
}

/// One that can never be marked keeps no other owed: each pass asks for that one alone.
#[test]
fn one_that_refuses_its_mark_is_asked_for_alone() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    let program = program(&graph, &sink.delivery(), "after: mark_seen");
    // The line by which a message is marked.
    let first = put(&graph, 0..1).remove(0);
    program.once(&[]).expect_success();
    let line = graph.web.requests().into_iter().find(|line| line.starts_with("PATCH")).unwrap();
    let all = put(&graph, 1..20);
    let escaped = |id: &str| id.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    assert!(line.contains(&escaped(&first)), "{line}");
    let line = line.replace(&escaped(&first), &escaped(&all[7]));
    for pass in 0..3 {
        graph.fault(&line, 9, Fault::Error(500, "ErrorInternalServerError", None));
        graph.web.forget();
        let said = program.once(&[]);
        assert!(said.stderr.contains("500"), "{}", said.stderr);
        let marks = graph.requests("PATCH");
        assert!(if pass == 0 { marks >= 19 } else { (1..10).contains(&marks) }, "{pass}: {marks}");
        graph.no_more_faults();
    }
    program.once(&[]).expect_success();
    graph.web.forget();
    program.once(&[]).expect_success();
    assert_eq!((graph.requests("PATCH"), subjects(&sink)), (0, named(0..20)));
}

#[test]
fn several_folders_by_use_and_by_path() {
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    graph.put(BOX, "inbox", letter("in"));
    graph.put(BOX, "junkemail", letter("junk"));
    graph.put(BOX, "Lists/Rust", letter("rust"));
    graph.put(BOX, "Lists/C", letter("c"));
    graph.put(BOX, "sentitems", letter("sent"));
    let program = program(&graph, &sink.delivery(), "after: delete\nfolders: [INBOX, '\\Junk', 'Lists/*']");
    program.check().expect_success();
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), ["c", "in", "junk", "rust"]);
    assert_eq!(graph.ids(BOX, "sentitems").len(), 1);
}

/// Whichever request goes wrong, and however: afterwards every letter is at its target once, and the mailbox is empty. (Not a 404 with a code
/// of Graph's for what is there: to whom says that it is gone, nothing more is said. One without a code says nothing.)
#[test]
fn the_failure_loop_over_every_request() {
    const LETTERS: usize = 3;
    let (graph, sink) = (Graph::start(), Sink::lmtp());
    let program = program(&graph, &sink.delivery(), "after: delete\ndelivery: {retry: {delays: [1s]}}");
    let mut struck = 0;
    for fault in [
        Fault::HangUp,
        Fault::HangUpAfter,
        Fault::Error(500, "InternalServerError", None),
        Fault::Error(429, "ApplicationThrottled", Some(0)),
        Fault::Error(503, "ServiceUnavailable", Some(120)),
        Fault::Error(410, "SyncStateNotFound", None),
        Fault::Error(401, "InvalidAuthenticationToken", None),
        Fault::BreakOff(40),
        Fault::ShortLength(40),
        Fault::Html(200),
        Fault::Html(404),
        Fault::Error(404, "", None),
    ] {
        for k in 1..40 {
            sink.clear();
            put(&graph, 0..LETTERS);
            graph.strike(k, fault.clone());
            program.once(&["--quiet"]);
            let met = graph.no_more_faults();
            let what = format!("{fault:?} at request {k}");
            // What is gone from the mailbox is at the target, whole.
            let there: Vec<String> = graph.messages(BOX, "inbox").iter().filter_map(|octets| field(octets, "Subject")).collect();
            let mut came: BTreeMap<String, usize> = BTreeMap::new();
            for taken in sink.taken() {
                let subject = field(&taken.content, "Subject").unwrap_or_default();
                assert!(String::from_utf8_lossy(&taken.content).ends_with(&format!("Text of {subject}\r\n")), "{what}: {subject} is not whole");
                *came.entry(subject).or_default() += 1;
            }
            assert!(named(0..LETTERS).iter().all(|subject| there.contains(subject) || came.contains_key(subject)), "{what}: {there:?} {came:?}");
            // What was set back waits its second.
            let start = std::time::Instant::now();
            while !graph.ids(BOX, "inbox").is_empty() {
                assert!(start.elapsed() < SOON, "{what}: {:?}", subjects(&sink));
                program.once(&["--quiet"]);
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            assert_eq!(subjects(&sink), named(0..LETTERS), "{what}");
            if !met {
                break;
            }
            struck += 1;
        }
    }
    assert!(struck >= 60, "{struck}");
    assert_eq!(graph.refused_at_once(), 0);
}

#[test]
fn memory_stays_flat_with_messages_of_100_mb() {
    let (graph, maildir) = (Graph::start(), maildir::Boxes::new());
    let program = program(&graph, &maildir.delivery(), "after: delete");
    let mut daemon = program.run();
    daemon.wait_for("session_finished");
    let before = daemon.peak_memory();
    (0..4).for_each(|n| drop(graph.put_as(BOX, "inbox", Mime::Large(format!("large {n}"), 100_000_000), None)));
    daemon.signal(process::Signal::USR1);
    eventually("all have come", std::time::Duration::from_secs(100), || graph.ids(BOX, "inbox").is_empty());
    let peak = daemon.peak_memory();
    assert!(peak < before + (48 << 20), "{} MiB, and before {} MiB", peak >> 20, before >> 20);
    daemon.stop().expect_success();
    assert_eq!(maildir.subjects(TO).len(), 4);
}
