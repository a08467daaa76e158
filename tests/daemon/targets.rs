//! Targets that close, dawdle or offer no TLS.

use super::*;
use std::time::Instant;

/// The sink took the message and closed without a word (RFC 1047): one duplicate, with the same id.
#[test]
fn f5_the_sink_closes_after_the_final_dot() {
    for sink in [Sink::builder(), Sink::lmtp_builder()] {
        let sink = sink.take_and_close_at("DOT", 1).start();
        let server = Dovecot::start();
        server.put("one", &letter(1));
        let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
        let mut daemon = program.run();
        let line = daemon.wait_for("message_in_doubt");
        assert!(line.contains("possible duplicate"), "{line}");
        daemon.wait_for("session_finished");
        assert_eq!(server.count("one"), 1, "it stays at the source");
        daemon.signal(Signal::USR1);
        daemon.wait_for("message_delivered");
        daemon.wait_for("session_finished");
        let log = daemon.stop().expect_success().stderr;
        assert_eq!(log.matches("message_in_doubt").count(), 1, "{log}");
        let ids: Vec<_> = sink.taken().iter().map(|taken| field(&taken.content, "X-Mailgather-Id")).collect();
        assert!(ids.len() == 2 && ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
        assert_eq!(server.count("one"), 0);
    }
}

/// The same when nothing was taken: then there is no duplicate at all.
#[test]
fn f5_the_sink_closes_after_the_final_dot_and_has_nothing() {
    let (server, sink) = (Dovecot::start(), Sink::smtp());
    sink.script(|script| script.close_at("DOT", 1));
    server.put("one", &letter(1));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
    let first = program.once(&[]).expect_code(75);
    assert!(first.stderr.contains("message_in_doubt"), "{}", first.stderr);
    assert_eq!(server.count("one"), 1);
    program.once(&[]).expect_success();
    assert_each_once(&sink, 1);
}

/// The answer to the dot takes longer than the source's time limit: the program waits, and nothing comes twice.
#[test]
fn f6_the_sink_is_slow_to_answer_the_dot() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().delay("DOT", 2, Duration::from_secs(4)).start());
    (1..=3).for_each(|n| server.put("one", &letter(n)));
    let collector = imap(&server, "one").after("delete").set("timeouts", "{idle_data: 1s}");
    let program = Mailgather::new(&config(&sink.delivery(), &[collector]));
    let start = Instant::now();
    program.once(&[]).expect_success();
    assert!(start.elapsed() >= Duration::from_secs(4), "it waited");
    assert_each_once(&sink, 3);
    assert_eq!(server.count("one"), 0);
}

/// TLS is asked for and cannot be had: no mail and no secret in clear, the mail is kept.
#[test]
fn f13_no_tls_no_mail() {
    type Script = fn(sink::Builder) -> sink::Builder;
    let scripts: [(&str, Script); 3] = [
        ("not offered", |script| script),
        ("refused", |script| script.capabilities(&["STARTTLS", "AUTH PLAIN"]).on("?", 1, "454 4.7.0 TLS not available")),
        // What comes behind the answer in the same packet was not sent under TLS, and nobody may believe it.
        ("with injected octets", |script| {
            script.capabilities(&["STARTTLS", "AUTH PLAIN"]).on("?", 1, "220 2.0.0 Ready\n250-sink.test\n250 AUTH PLAIN")
        }),
    ];
    for (name, script) in scripts {
        let (server, sink) = (Dovecot::start(), script(Sink::builder()).start());
        server.put("one", &letter(1));
        let delivery =
            format!("{{smtp: 'localhost:{}', tls: {{mode: starttls}}, auth: {{username: gate, password: {{env: RELAY_PASSWORD}}}}}}", sink.port());
        let program = Mailgather::new(&config(&delivery, &[imap(&server, "one").after("delete")])).env("RELAY_PASSWORD", "relay-canary");
        let finished = program.once(&[]).expect_code(75);
        assert!(!finished.stderr.contains("relay-canary") && finished.stderr.contains("TLS"), "{name}: {}", finished.stderr);
        let in_clear: Vec<String> =
            sink.commands().into_iter().filter(|line| ["AUTH", "MAIL", "RCPT", "DATA"].iter().any(|verb| line.contains(verb))).collect();
        assert_eq!(in_clear, [""; 0], "{name}");
        assert_eq!((sink.count(), server.count("one")), (0, 1), "{name}: the mail is kept");
    }
}
