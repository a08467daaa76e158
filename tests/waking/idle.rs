//! `idle`, with intervals that are far too long for what is asserted.

use super::peer::{Manner, Peer};
use super::*;
use std::time::Duration;
use support::process::Signal;

/// A folder of a user.
pub fn folder(server: &Dovecot, user: &str, name: &str) -> Maildir {
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
    assert_eq!((daemon.counted("idle_started", 3), daemon.count_log("idle_dropped")), (3, 0));
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..6);
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
