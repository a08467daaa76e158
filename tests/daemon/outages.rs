//! A server or a target that is down: nobody else waits for it, and its own mail comes when it is back.

use super::*;

#[test]
fn a_dead_server_backs_off_alone() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let dead = ports::Port::reserve();
    server.maildir("well").make();
    let collectors = [
        imap(&server, "well").set("interval", "100ms"),
        CollectorYaml::at("imap", "dead", dead.number()).forward_to("anna@example.org").set("interval", "100ms"),
    ];
    let program = Mailgather::new(&often(&config(&sink.delivery(), &collectors)));
    let mut daemon = program.run();
    // With jitter of up to a tenth.
    for (n, next) in ["in 1 s", "in 2 s", "in 4 s"].iter().enumerate() {
        let line = daemon.wait_for("session_failed");
        assert!(line.contains("collector=dead") && line.contains(&format!("failures={}", n + 1)) && line.contains(next), "{line}");
        server.put("well", &letter(n));
        sink.wait_for(n + 1);
    }
    daemon.stop().expect_success();
    assert_each_once(&sink, 3);
}

#[test]
fn a_wrong_password_stops_nobody_else() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    server.maildir("well").make();
    let text = often(&config(&sink.delivery(), &[imap(&server, "locked").set("interval", "100ms"), imap(&server, "well").set("interval", "100ms")]));
    let program = Mailgather::new(&text.replacen(PASSWORD_VARIABLE, "WRONG_PASSWORD", 1)).env("WRONG_PASSWORD", "guess-canary");
    let mut daemon = program.run();
    let line = daemon.wait_for("session_failed");
    assert!(line.contains("collector=locked"), "{line}");
    for n in 1..=3 {
        server.put("well", &letter(n));
        sink.wait_for(n);
    }
    assert_eq!(sessions(&daemon, "locked"), 1, "no second try so soon: an account could get locked");
    assert!(sessions(&daemon, "well") > 2);
    let log = daemon.stop().expect_success().stderr;
    assert!(!log.contains("guess-canary"), "a password is in the log");
}

/// A target that is down costs no message a penalty: all come with the first pass after it is back, not after minutes.
#[test]
fn mail_waits_for_a_sink_that_is_down() {
    let server = Dovecot::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("lmtp");
    (1..=5).for_each(|n| server.put("one", &letter(n)));
    let delivery = format!("{{lmtp: 'unix:{}'}}", socket.display());
    let program = Mailgather::new(&often(&config(&delivery, &[imap(&server, "one").after("delete").set("interval", "100ms")])));
    let mut daemon = program.run();
    daemon.wait_for("session_failed");
    assert_eq!(server.count("one"), 5, "mail stays");
    let sink = Sink::lmtp_builder().unix(&socket).start();
    sink.wait_for(5);
    eventually("the source is empty", SOON, || server.count("one") == 0);
    daemon.stop().expect_success();
    assert_each_once(&sink, 5);
}

/// However rarely its box is polled, and however often the operator asks in the meantime: when the target is asked again, the mail comes.
#[test]
fn a_target_that_was_down_is_not_waited_for_longer_than_it_is_left_alone() {
    let server = Dovecot::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("lmtp");
    (1..=5).for_each(|n| server.put("one", &letter(n)));
    let delivery = format!("{{lmtp: 'unix:{}'}}", socket.display());
    let program = Mailgather::new(&config(&delivery, &[imap(&server, "one").after("delete").set("interval", "24h")]));
    let mut daemon = program.run();
    for n in 1..=7 {
        daemon.wait_for("session_failed");
        daemon.signal(Signal::USR1);
        eventually("the signal is heard", SOON, || sessions(&daemon, "one") > n);
    }
    let line = daemon.wait_for("session_failed");
    assert!(line.contains("code=MG-431") && (1..=11).any(|s| line.contains(&format!("next_try=\"in {s} s\""))), "{line}");
    let sink = Sink::lmtp_builder().unix(&socket).start();
    sink.wait_for(5);
    eventually("the source is empty", SOON, || server.count("one") == 0);
    daemon.stop().expect_success();
    assert_each_once(&sink, 5);
}
