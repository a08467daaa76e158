//! `idle`: how many connections wait, and that they leave a place to passes and people.

use super::idle::folder;
use super::*;
use std::time::Duration;
use support::process::Signal;

/// The provider allows two connections to a mailbox, and those that wait take both: one is let go, for the sake of the passes.
#[test]
fn m13_connections_that_wait_do_not_lock_the_passes_out() {
    let (server, boxes) = (Dovecot::builder().max_connections(2).start(), Boxes::new());
    for name in ["A", "B"] {
        folder(&server, "u", name).make();
        std::fs::write(folder(&server, "u", name).0.join("maildirfolder"), "").unwrap();
    }
    let collector = imap(&server, "u").set("folders", "[INBOX, A, B]").set("idle", "auto").set("interval", "5s");
    let program = Mailgather::new(&often(&config(&boxes.delivery(), &[collector])));
    let mut daemon = program.run();
    // Dovecot may let a third one in that logs in at the same moment.
    eventually("all that may wait do", SOON, || daemon.count_log("idle_started") >= 2);
    let first = daemon.wait_for("idle_dropped");
    assert!(first.contains("IDLE") || first.contains("connections"), "{first}");
    put(&server, "u", 0);
    ["A", "B"].into_iter().enumerate().for_each(|(n, name)| folder(&server, "u", name).put(&letter(n + 1, "anna@pop.example")));
    eventually("all is collected", Duration::from_secs(45), || boxes.of(BOX).count() == 3);
    let room = daemon.wait_for("idle_room");
    assert!(room.contains("watched=1 "), "{room}");
    // The one that stays goes on to tell, and passes are refused no more.
    let before = daemon.count_log("session_failed");
    assert!(before <= 3, "{before} passes failed");
    put(&server, "u", 3);
    eventually("it is collected as well", Duration::from_secs(30), || boxes.of(BOX).count() == 4);
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(daemon.count_log("session_failed"), before);
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..4);
}

/// With `on` every folder is watched that the server has place for, with `auto` the first eight; those that are not are named, once.
#[test]
fn m13_as_many_folders_are_watched_as_the_server_lets() {
    const MANY: usize = 14;
    let names: Vec<String> = (1..MANY).map(|n| format!("f{n:02}")).collect();
    let folders = format!("[INBOX, {}]", names.join(", "));
    // A server with places enough, one whose limit is Dovecot's default, and `auto`.
    for (idle, places, watched) in [("'on'", 100, MANY), ("'on'", 10, 10), ("auto", 100, 8)] {
        let (server, boxes) = (Dovecot::builder().max_connections(places).start(), Boxes::new());
        for name in &names {
            folder(&server, "u", name).make();
            std::fs::write(folder(&server, "u", name).0.join("maildirfolder"), "").unwrap();
        }
        let program = Mailgather::new(&config(&boxes.delivery(), &[imap(&server, "u").set("folders", &folders).set("idle", idle)]));
        let mut daemon = program.run();
        eventually("all that may wait have begun", SOON, || daemon.count_log("idle_started") == watched);
        if places == 10 {
            let room = daemon.wait_for("idle_room");
            assert!(room.contains("watched=7 "), "{room}");
        }
        if idle == "auto" {
            let others = daemon.wait_for("idle_folders");
            assert!(others.contains("watched=8 unwatched=6 ") && others.contains("f08") && others.contains("f13"), "{others}");
        }
        // The passes have a place, and so have people.
        let people = [(); 2].map(|()| OtherClient::login(server.imap(), "u"));
        put(&server, "u", 0);
        names.iter().enumerate().for_each(|(n, name)| folder(&server, "u", name).put(&letter(n + 1, "anna@pop.example")));
        daemon.signal(Signal::USR1);
        eventually("all is collected", SOON, || boxes.of(BOX).count() == MANY);
        drop(people);
        assert_eq!((daemon.count_log("session_failed"), daemon.count_log("idle_folders")), (0, usize::from(idle == "auto")));
        daemon.stop().expect_success();
        assert_arrived(&boxes, 0..MANY);
    }
}

/// Courier closes connections beyond what it allows without a word, so that those that wait could lock the passes out for good.
#[test]
fn m13_connections_that_wait_leave_room_at_a_server_that_says_nothing() {
    let (server, boxes) = (Courier::builder().max_per_ip(3).start(), Boxes::new());
    server.add_user("u");
    for name in ["A", "B", "C"] {
        OtherClient::login(server.imap(), "u").command(&format!("CREATE INBOX.{name}"));
    }
    let collector = CollectorYaml::imap(&server, "u").forward_to(BOX).set("folders", "[INBOX, INBOX.A, INBOX.B, INBOX.C]").set("idle", "auto");
    let program = Mailgather::new(&often(&config(&boxes.delivery(), &[collector.set("interval", "2s")])));
    let daemon = program.run();
    // Either those that wait took all places and let one go, or a pass had its own while they were made.
    let goes_on = |daemon: &_| lines(daemon, "session_finished", "u") >= 6;
    eventually("room for the passes", Duration::from_secs(60), || daemon.count_log("idle_room") > 0 || goes_on(&daemon));
    for room in daemon.log().iter().filter(|line| line.contains("idle_room")) {
        assert!(room.contains("watched=1 ") || room.contains("watched=2 "), "{room}");
    }
    let (before, failed) = (lines(&daemon, "session_finished", "u"), daemon.count_log("session_failed"));
    eventually("passes go on", Duration::from_secs(30), || lines(&daemon, "session_finished", "u") >= before + 4);
    assert!(daemon.count_log("session_failed") <= failed + 1, "{:?}", daemon.log());
    server.put("u", &letter(0, "anna@pop.example"));
    eventually("it is collected", SOON, || boxes.of(BOX).count() == 1);
    daemon.stop().expect_success();
}

/// Two hundred that wait in one process: all are woken, and descriptors and threads are as many as connections, before and after.
#[test]
fn m13_two_hundred_wait_in_one_process() {
    const MANY: usize = 200;
    // The system may have fewer inotify instances than that; without one Dovecot looks by itself now and then.
    let server = Dovecot::builder().extra("mailbox_idle_check_interval = 3s").start();
    let boxes = Boxes::new();
    let collectors: Vec<CollectorYaml> = (0..MANY).map(|n| imap(&server, &format!("u{n}")).set("idle", "on")).collect();
    let program = Mailgather::new(&service(&config(&boxes.delivery(), &collectors), "max_sessions_per_host: 16"));
    let mut daemon = program.run();
    let long = Duration::from_secs(120);
    eventually("all wait", long, || {
        assert!(!server.log().contains("Error: "), "{}", server.log());
        daemon.count_log("idle_started") == MANY
    });
    let descriptors = |daemon: &Daemon| std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let threads = |daemon: &Daemon| std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    let (first, first_threads) = (descriptors(&daemon), threads(&daemon));
    assert!((MANY..MANY + 100).contains(&first), "{first} descriptors");
    assert!(first_threads < 100, "{first_threads} threads");
    for round in 0..2 {
        (0..MANY).for_each(|n| put(&server, &format!("u{n}"), round * MANY + n));
        eventually("all are woken", long, || boxes.of(BOX).count() == (round + 1) * MANY);
        // No more than a pass or two may be on their way out.
        eventually("as many descriptors as before", long, || descriptors(&daemon) <= first + 8);
    }
    assert_eq!((daemon.count_log("idle_dropped"), daemon.count_log("session_failed"), daemon.count_log("idle_missed")), (0, 0, 0));
    assert_eq!(daemon.counted("idle_started", MANY), MANY, "no connection was made anew");
    assert!(daemon.is_alive());
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..2 * MANY);
}

/// Not more wait than may; the interval collects from the others.
#[test]
fn m13_not_more_wait_than_max_idle() {
    for (most, waiting) in [("2", 2), ("0", 0)] {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        let collectors: Vec<_> = (0..4).map(|n| imap(&server, &format!("u{n}")).set("idle", "on").set("interval", "500ms")).collect();
        let yaml = often(&service(&config(&boxes.delivery(), &collectors), &format!("max_idle: {most}")));
        let program = Mailgather::new(&yaml);
        let daemon = program.run();
        eventually("so many wait", SOON, || daemon.count_log("idle_started") == waiting && daemon.count_log("idle_waits") == 4 - waiting);
        (0..4).for_each(|n| put(&server, &format!("u{n}"), n));
        eventually("all is collected", SOON, || boxes.of(BOX).count() == 4);
        assert_eq!(daemon.counted("idle_started", waiting), waiting);
        daemon.stop().expect_success();
        assert_arrived(&boxes, 0..4);
    }
}
