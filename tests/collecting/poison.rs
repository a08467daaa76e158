//! A message that cannot be fetched or delivered: tried, counted, set aside, reported, and never in the way of the others.

use super::kit::*;
use crate::support::*;

const LETTERS: usize = 7;
/// Neither the first nor the last.
const BAD: usize = 3;

fn messages() -> Vec<Vec<u8>> {
    (0..LETTERS).map(|n| corpus::letter(n, "anna@pop.example")).collect()
}

fn all_but_the_bad() -> Vec<String> {
    letters((0..LETTERS).filter(|n| *n != BAD))
}

/// Runs until everything but the bad message has arrived; then on, until it is set aside.
#[track_caller]
fn all_others_arrive(what: &str, collector: CollectorYaml) -> Scene {
    let collector = collector.forward_to(BOX).set("timeouts", "{connect: 10s, idle_data: 1s}");
    let scene = Scene::new(&collector);
    let (mut arrived, mut runs) = (Vec::new(), 0);
    while arrived.len() < LETTERS - 1 {
        let done = scene.program.once(&[]);
        arrived.extend(scene.arrived());
        scene.sink.clear();
        runs += 1;
        assert!(runs <= 3, "{what}: after {runs} runs only {arrived:?}\n{}", done.stderr);
        assert!(runs > 1 || done.stderr.contains("message_not_fetched"), "{what}: {}", done.stderr);
        assert_ne!(done.status.code(), Some(0), "{what}: a run that leaves mail behind does not look like success");
    }
    arrived.sort();
    assert_eq!(arrived, all_but_the_bad(), "{what}");
    for run in runs.. {
        assert!(run < 16, "{what}: never set aside");
        let done = scene.program.once(&[]);
        assert_eq!(scene.arrived(), letters([]), "{what}");
        if done.stdout.contains("1 left on the server") {
            break;
        }
        if done.stderr.contains("it could not be fetched 10 times") {
            break;
        }
    }
    scene
}

#[test]
fn f25_a_message_that_imap_cannot_serve() {
    for trouble in Trouble::ALL {
        for after in ["keep", "delete"] {
            let server = RawImap::with_trouble(messages(), BAD + 1, trouble);
            let what = format!("IMAP, {trouble:?}, {after}");
            all_others_arrive(&what, CollectorYaml::at("imap", "box", server.port()).after(after));
            let others: Vec<usize> = (1..=LETTERS).filter(|uid| *uid != BAD + 1).collect();
            assert_eq!(server.deleted(), if after == "delete" { others } else { Vec::new() }, "{what}");
        }
    }
}

#[test]
fn f25_a_message_that_pop3_cannot_serve() {
    for trouble in Trouble::ALL {
        for after in ["keep", "delete"] {
            let server = RawPop3::with_trouble(messages(), BAD + 1, trouble);
            let what = format!("POP3, {trouble:?}, {after}");
            all_others_arrive(&what, CollectorYaml::at("pop3", "box", server.port()).after(after));
            let others: Vec<usize> = (1..=LETTERS).filter(|n| *n != BAD + 1).collect();
            assert_eq!(server.deleted(), if after == "delete" { others } else { Vec::new() }, "{what}");
        }
    }
}

/// The daemon: what is in the way is tried at its own times, what comes meanwhile is not held up by it.
#[test]
fn the_daemon_goes_on_with_the_others() {
    for trouble in [Trouble::Close, Trouble::Refuse] {
        let server = RawImap::with_trouble(messages(), BAD + 1, trouble);
        let collector = CollectorYaml::at("imap", "box", server.port()).forward_to(BOX).after("delete").set("interval", "1s");
        let sink = Sink::lmtp();
        let program = Mailgather::new(&format!("limits: {{interval_min: 100ms}}\n{}", config(&sink.delivery(), &[collector])));
        let mut daemon = program.run();
        sink.wait_for(LETTERS - 1);
        daemon.wait_for("stop_reason=done");
        daemon.stop().expect_success();
        let mut arrived: Vec<String> = sink.taken().iter().map(|taken| maildir::field(&taken.content, "Subject").unwrap()).collect();
        arrived.sort();
        assert_eq!(arrived, all_but_the_bad(), "{trouble:?}");
        assert_eq!(server.deleted().len(), LETTERS - 1, "{trouble:?}");
    }
}

/// What the target takes from nobody: deferred, then held when its time is over; others go on.
#[test]
fn a_message_that_cannot_be_delivered_is_held_when_its_time_is_over() {
    let server = Dovecot::start();
    fill(&server, "box", 0..5);
    let sink = Sink::lmtp_builder().on_text("MAIL", "sender2@remote.example", "451 4.3.0 not this one").start();
    let collector = CollectorYaml::imap(&server, "box").forward_to(BOX).after("delete");
    let program = Mailgather::new(&config(&sink.delivery(), &[collector]));
    let done = program.once(&[]).expect_code(75);
    assert!(done.stdout.contains("4 delivered, 1 to be tried again"), "{}", done.stdout);
    assert_eq!((sink.count(), subjects_in(&server, "box", "INBOX")), (4, letters([2])));
    fill(&server, "box", 5..6);
    program.once(&[]).expect_code(75);
    assert_eq!((sink.count(), subjects_in(&server, "box", "INBOX")), (5, letters([2])));
    // Its time is over: the ledger's clock is set back in place of waiting.
    let ledger = rusqlite::Connection::open(program.state_dir().join("ledger.db")).unwrap();
    ledger.execute("UPDATE exception SET first = first - 6 * 86400 WHERE state = 'pending'", []).unwrap();
    drop(ledger);
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("1 held"), "{}", done.stdout);
    let listed = program.run_to_end("held", &["list"]).expect_success();
    assert!(listed.stdout.contains("letter 2"), "{}", listed.stdout);
    assert_eq!((sink.count(), subjects_in(&server, "box", "INBOX")), (5, letters([2])), "`on_hold: keep`");
    program.once(&[]).expect_success();
}

/// A server that says +OK to QUIT and keeps everything: what is owed is asked for in each session, and still behind what never came whole.
#[test]
fn what_never_came_whole_gets_its_turn() {
    let ways = Ways { untrue_quit: true, recovers: true, ..Ways::default() };
    let server = RawPop3::serve(messages().into_iter().take(2).collect(), ways);
    server.comes_to(2, Trouble::CloseInside);
    let scene = Scene::new(&CollectorYaml::at("pop3", "box", server.port()).forward_to(BOX).after("delete"));
    assert_eq!(scene.once_code(75).0, letters([0]));
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters([1]), "{}", said.stderr);
    // With new mail in each session it comes, too.
    server.put(corpus::letter(2, BOX));
    server.put(corpus::letter(3, BOX));
    server.comes_to(3, Trouble::CloseInside);
    assert_eq!(scene.once_code(75).0, letters([]));
    server.put(corpus::letter(4, BOX));
    assert_eq!(scene.once(), letters(2..5));
    server.is(Ways::default());
    assert_eq!((scene.once(), server.deleted()), (letters([]), vec![1, 2, 3, 4, 5]));
}

/// A copy that is owed its deletion, and breaks each session that asks for it, is in nobody's way: new mail comes and is deleted.
#[test]
fn what_is_owed_and_breaks_the_session_is_in_nobodys_way() {
    let server = RawPop3::serve(messages().into_iter().take(1).collect(), Ways { untrue_quit: true, ..Ways::default() });
    let scene = Scene::new(&CollectorYaml::at("pop3", "box", server.port()).forward_to(BOX).after("delete"));
    assert_eq!(scene.once(), letters([0]));
    server.is(Ways::default());
    server.comes_to(1, Trouble::CloseInside);
    for n in [1, 3] {
        (n..n + 2).for_each(|n| server.put(corpus::letter(n, BOX)));
        let (arrived, said) = scene.once_code(75);
        assert_eq!(arrived, letters(n..n + 2), "{}", said.stderr);
        assert_eq!(server.deleted(), (2..=n + 2).collect::<Vec<_>>(), "{}", said.stderr);
        assert!(!said.stderr.contains("message_not_fetched"), "nobody else is to blame: {}", said.stderr);
    }
}

/// Nor is it in the way of the others that are owed theirs: it waits for a session of its own, and undoes none of their deletions.
#[test]
fn what_is_owed_and_breaks_the_session_undoes_no_other_deletion() {
    let server = RawPop3::serve((0..4).map(|n| corpus::letter(n, BOX)).collect(), Ways { untrue_quit: true, ..Ways::default() });
    let scene = Scene::new(&CollectorYaml::at("pop3", "box", server.port()).forward_to(BOX).after("delete"));
    assert_eq!(scene.once(), letters(0..4));
    server.is(Ways::default());
    server.comes_to(2, Trouble::CloseInside);
    let (arrived, said) = scene.once_code(75);
    assert_eq!((arrived, server.deleted()), (letters([]), vec![1, 3, 4]), "{}", said.stderr);
    server.put(corpus::letter(4, BOX));
    let (arrived, said) = scene.once_code(75);
    assert_eq!((arrived, server.deleted()), (letters([4]), vec![1, 3, 4, 5]), "{}", said.stderr);
}
