//! `idle`, with intervals that are far too long for what is asserted.

use super::peer::{Manner, Peer};
use super::*;
use std::time::Duration;
use support::process::Signal;

/// A folder of a user.
fn folder(server: &Dovecot, user: &str, name: &str) -> Maildir {
    Maildir(server.maildir(user).0.join(format!(".{name}")))
}

/// Each way to say it, each folder, one process: what comes is there within moments, though the interval is a day.
#[test]
fn m13_new_mail_wakes_every_collector_in_each_folder() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let folders = "[INBOX, Work, 'Lists*']";
    let collectors = [
        imap(&server, "on").set("idle", "'on'").set("folders", folders),
        imap(&server, "auto").set("idle", "auto").channel(support::process::Channel::Tls),
        imap(&server, "off").set("idle", "'off'"),
        imap(&server, "unsaid"),
    ];
    for name in ["Work", "Lists", "Lists.rust"] {
        folder(&server, "on", name).make();
        std::fs::write(folder(&server, "on", name).0.join("maildirfolder"), "").unwrap();
    }
    let program = Mailgather::new(&config(&boxes.delivery(), &collectors));
    let mut daemon = program.run();
    eventually("every folder is watched", SOON, || lines(&daemon, "idle_started", "on") == 4 && lines(&daemon, "idle_started", "auto") == 1);
    for round in 0..3 {
        let at = round * 10;
        put(&server, "on", at);
        put(&server, "auto", at + 1);
        for (n, name) in ["Work", "Lists", "Lists.rust"].into_iter().enumerate() {
            folder(&server, "on", name).put(&letter(at + 2 + n, "anna@pop.example"));
        }
        ["off", "unsaid"].into_iter().enumerate().for_each(|(n, user)| put(&server, user, at + 7 + n));
        eventually("what was told of", SOON, || boxes.of(BOX).count() == (round + 1) * 5);
    }
    assert_eq!(["off", "unsaid"].map(|id| (sessions(&daemon, id), lines(&daemon, "idle", id))), [(1, 0), (1, 0)]);
    assert_arrived(&boxes, (0..3).flat_map(|round| (0..5).map(move |n| round * 10 + n)));
    daemon.signal(Signal::USR1);
    eventually("the others are asked", SOON, || boxes.of(BOX).count() == 21);
    assert_eq!(daemon.count_log("idle_missed"), 0);
    assert!(daemon.is_alive());
    let stopped = daemon.stop().expect_success();
    assert!(stopped.took < Duration::from_secs(10), "IDLE is broken at once: {:?}", stopped.took);
    assert_eq!(boxes.of(BOX).count(), 21);
    assert_eq!(server.count("on") + server.count("auto"), 6, "everything is kept");
}

/// The connection that waits is that of the unchanged collector, over reloads and requests; a changed one lets go of it at once.
#[test]
fn m13_a_reload_and_a_request_leave_the_connection_that_waits() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let proxy = FaultProxy::start(server.imap());
    let yaml = |of_a: &str, of_b: &str| {
        let a = imap(&server, "a").by_port(proxy.port()).set("idle", "auto").set("interval", of_a);
        config(&boxes.delivery(), &[a, imap(&server, "b").set("interval", of_b)])
    };
    let program = Mailgather::new(&yaml("24h", "24h"));
    let mut daemon = program.run();
    daemon.wait_for("idle_started");
    eventually("both have begun", SOON, || lines(&daemon, "session_finished", "b") == 1);
    assert_eq!(proxy.connections(), 2, "one of the pass, one that waits");

    program.configure(&yaml("24h", "12h"));
    assert!(daemon.wait_for("config_loaded").contains("changed=1 removed=0 unchanged=1"));
    put(&server, "a", 0);
    eventually("it is told of", SOON, || boxes.of(BOX).count() == 1);
    eventually("that pass is over", SOON, || lines(&daemon, "session_finished", "a") == 2);
    assert_eq!(proxy.connections(), 3, "one more, of the pass");

    // A request does not wait for anybody's word.
    daemon.signal(Signal::USR1);
    eventually("it was asked for", SOON, || lines(&daemon, "session_finished", "a") == 3);
    assert_eq!(proxy.connections(), 4);
    assert_eq!(lines(&daemon, "idle_started", "a"), 1);

    program.configure(&yaml("12h", "12h"));
    assert!(daemon.wait_for("config_loaded").contains("changed=1 removed=0 unchanged=1"));
    eventually("the old connection is let go, the new one waits", SOON, || lines(&daemon, "idle_started", "a") == 2);
    assert_eq!(proxy.connections(), 6);
    put(&server, "a", 1);
    eventually("it is told of once more", SOON, || boxes.of(BOX).count() == 2);
    eventually("that pass is over", SOON, || lines(&daemon, "session_finished", "a") == 5);
    assert_eq!(proxy.connections(), 7);
    assert_eq!((daemon.count_log("idle_dropped"), daemon.count_log("idle_missed")), (0, 0));
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..2);
}

/// What came while the connection was down is fetched as soon as it is up again.
#[test]
fn m13_what_came_while_the_connection_was_lost_is_found() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let proxy = FaultProxy::start(server.imap());
    let program = Mailgather::new(&config(&boxes.delivery(), &[imap(&server, "u").by_port(proxy.port()).set("idle", "on")]));
    let mut daemon = program.run();
    daemon.wait_for("idle_started");
    server.maildir("u").make();
    // Dovecot is told to end the sessions of everybody.
    for pid in children_of_login(&server, "u") {
        support::process::send_signal(pid, Signal::TERM);
    }
    let dropped = daemon.wait_for("idle_dropped");
    put(&server, "u", 0);
    assert!(dropped.contains("the interval's poll goes on meanwhile"), "{dropped}");
    eventually("it is found behind the next login", Duration::from_secs(60), || boxes.of(BOX).count() == 1);
    assert_eq!(daemon.count_log("idle_missed"), 0);
    daemon.stop().expect_success();
    assert_arrived(&boxes, [0]);
}

/// The processes of a user's IMAP sessions, as Dovecot logs them.
fn children_of_login(server: &Dovecot, user: &str) -> Vec<u32> {
    let log = server.log();
    let of_user = log.lines().filter(|line| line.contains("imap-login: ") && line.contains(&format!("user=<{user}>")));
    let mut pids: Vec<u32> = of_user.filter_map(|line| line.split("mpid=").nth(1)?.split([',', ' ']).next()?.parse().ok()).collect();
    pids.retain(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("imap")));
    pids
}

/// Silence is what IDLE is for: `timeouts.idle_data` does not count it. And under compression it is the same.
#[test]
fn m13_m17_a_silent_idle_is_no_silent_server() {
    let boxes = Boxes::new();
    let server = Dovecot::builder().extra("protocol imap {\n mail_plugins = $mail_plugins imap_zlib\n}").start();
    let patient = |user: &str| imap(&server, user).set("idle", "on").set("timeouts", "{idle_data: 1s}");
    let collectors = [patient("plain"), patient("deflated").set("compress", "true"), patient("tls").channel(support::process::Channel::StartTls)];
    let program = Mailgather::new(&config(&boxes.delivery(), &collectors));
    let daemon = program.run();
    eventually("all wait", SOON, || daemon.count_log("idle_started") == 3);
    for round in 0..2 {
        std::thread::sleep(Duration::from_secs(3));
        ["plain", "deflated", "tls"].into_iter().enumerate().for_each(|(n, user)| put(&server, user, round * 3 + n));
        eventually("all are told", SOON, || boxes.of(BOX).count() == (round + 1) * 3);
    }
    assert_eq!((daemon.count_log("idle_started"), daemon.count_log("idle_dropped")), (3, 0));
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..6);
}

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
    put(&server, "u", 0);
    ["A", "B"].into_iter().enumerate().for_each(|(n, name)| folder(&server, "u", name).put(&letter(n + 1, "anna@pop.example")));
    eventually("all is collected", Duration::from_secs(45), || boxes.of(BOX).count() == 3);
    let failed = daemon.wait_for("session_failed");
    assert!(failed.contains("MG-204") && failed.contains("IDLE"), "{failed}");
    let log = daemon.log();
    let given = log.iter().filter(|line| line.contains("idle_dropped") && line.contains("refuses those of the passes"));
    assert!((1..=2).contains(&given.count()), "{log:?}");
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

/// A server that accepts IDLE and never tells: the interval finds the mail, says so each time, and with `auto` the server is asked no more.
#[test]
fn m13_a_server_that_misses_messages_is_left_to_the_interval() {
    for (idle, stays) in [("auto", false), ("'on'", true)] {
        let (peer, boxes) = (Peer::start(Manner::Silent), Boxes::new());
        let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", idle).set("interval", "300ms");
        let program = Mailgather::new(&often(&config(&boxes.delivery(), &[collector])));
        let mut daemon = program.run();
        eventually("it waits", SOON, || peer.idling() == 1);
        for n in 0..4 {
            let before = sessions(&daemon, "u");
            eventually("a pass that finds nothing", SOON, || lines(&daemon, "session_finished", "u") >= before + 2);
            peer.put(&letter(n, "anna@pop.example"));
            eventually("the interval finds it", SOON, || boxes.of(BOX).count() == n + 1);
            if n < 3 {
                let line = daemon.wait_for("idle_missed");
                assert!(line.contains(&format!("missed={} ", n + 1)), "{line}");
                assert_eq!(line.contains("this server is left to the interval"), n == 2 && !stays, "{line}");
            }
        }
        if stays {
            daemon.wait_for("missed=4 ");
            assert_eq!((peer.idling(), peer.idles()), (1, 1));
        } else {
            eventually("it is let go", SOON, || peer.idling() == 0);
            assert_eq!((peer.idles(), daemon.count_log("idle_missed")), (1, 3));
        }
        daemon.stop().expect_success();
        assert_arrived(&boxes, 0..4);
        assert!(peer.logouts() + 1 >= peer.logins(), "every session ended in order, but for a pass that the stop found at its begin");
    }
}

/// A backlog that many passes work off is no mail that was missed.
#[test]
fn m13_a_backlog_is_not_missed() {
    let (peer, boxes) = (Peer::start(Manner::Silent), Boxes::new());
    (0..40).for_each(|n| peer.put(&letter(n, "anna@pop.example")));
    let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", "auto").set("interval", "300ms");
    let program = Mailgather::new(&often(&config(&boxes.delivery(), &[collector.set("max_messages_per_session", "4")])));
    let mut daemon = program.run();
    eventually("all is here", SOON, || boxes.of(BOX).count() == 40);
    daemon.wait_for("idle_started");
    let before = sessions(&daemon, "u");
    eventually("and some passes more", SOON, || sessions(&daemon, "u") >= before + 4);
    assert_eq!((peer.idling(), daemon.count_log("idle_missed")), (1, 0));
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..40);
}

/// A server that always tells of mail that there is not is listened to less and less.
#[test]
fn m13_a_server_that_cries_wolf_keeps_nobody_busy() {
    let (peer, boxes) = (Peer::start(Manner::CriesWolf), Boxes::new());
    peer.put(&letter(0, "anna@pop.example"));
    let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", "on");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
    let daemon = program.run();
    eventually("it tells", SOON, || peer.idles() >= 3);
    std::thread::sleep(Duration::from_secs(5));
    assert!(sessions(&daemon, "u") < 12, "{} passes for nothing", sessions(&daemon, "u"));
    daemon.stop().expect_success();
    assert_arrived(&boxes, [0]);
}

/// The connection that waits does not try a password that a pass was refused.
#[test]
fn m13_a_refused_login_is_tried_once() {
    let (peer, boxes) = (Peer::start(Manner::Refuses), Boxes::new());
    let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", "on").set("interval", "5s");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
    let mut daemon = program.run();
    daemon.wait_for("session_failed");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(peer.logins(), 1);
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
    assert_eq!(daemon.count_log("idle_started"), MANY, "no connection was made anew");
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
        assert_eq!(daemon.count_log("idle_started"), waiting);
        daemon.stop().expect_success();
        assert_arrived(&boxes, 0..4);
    }
}
