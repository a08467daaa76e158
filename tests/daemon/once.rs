//! `mailgather once`: what it collects and what it says.

use super::*;
use std::net::TcpListener;

/// `service.enabled: false` holds for `once` as well, but for what is named.
#[test]
fn once_collects_nothing_where_the_service_is_switched_off() {
    let server = Dovecot::start();
    server.put("u", &letter(1));
    let sink = Sink::lmtp();
    let yaml = config(&sink.delivery(), &[imap(&server, "u")]).replacen("service: {", "service: {enabled: false, ", 1);
    let program = Mailgather::new(&yaml);
    let done = program.run_to_end("once", &[]).expect_success();
    assert!(done.stderr.contains("`service: {enabled: false}`: nothing is collected") && done.stdout.is_empty(), "{} {}", done.stdout, done.stderr);
    assert_each_once(&sink, 0);
    program.run_to_end("once", &["u"]).expect_success();
    assert_each_once(&sink, 1);
}

/// A letter from cron is a failure.
#[test]
fn once_quiet_says_nothing_unless_something_fails() {
    let server = Dovecot::start();
    let sink = Sink::lmtp();
    server.put("u", &letter(1));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "u")]));
    for _ in 0..2 {
        let done = program.run_to_end("once", &["-q"]).expect_success();
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    }
    assert_each_once(&sink, 1);
    let dead = CollectorYaml::at("imap", "dead", 1).forward_to("anna@example.org");
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "u"), dead]));
    let done = program.run_to_end("once", &["-q"]).expect_code(75);
    assert_eq!(done.stdout, "", "nothing happened before it failed");
    assert!(done.stderr.contains("dead: FAILED: error[MG-211]"), "{}", done.stderr);
}

#[test]
fn once_names_the_collector_beside_its_hint() {
    let sink = Sink::lmtp();
    let collector = |user| CollectorYaml::at("imap", user, 9).forward_to("anna@example.org");
    let text = config(&sink.delivery(), &[collector("one"), collector("two")]);
    let program = Mailgather::new(&text.replace(PASSWORD_VARIABLE, "NO_SUCH_VARIABLE"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Both get a greeting, and then there is no password: a fault of ours, not a refused login.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.as_ref().unwrap(), b"* OK [CAPABILITY IMAP4rev1] hi\r\n");
            std::mem::forget(stream);
        }
    });
    program.configure(&text.replace(PASSWORD_VARIABLE, "NO_SUCH_VARIABLE").replace("port: 9", &format!("port: {port}")));
    let finished = program.once(&[]).expect_code(78);
    for id in ["one", "two"] {
        let lines: Vec<&str> = finished.stderr.lines().collect();
        let failed = lines.iter().position(|line| line.starts_with(&format!("{id}: FAILED"))).unwrap_or_else(|| panic!("{lines:?}"));
        assert!(lines[failed + 1].starts_with(&format!("hint: {id}: look at what `password`")), "{lines:?}");
        assert!(
            finished.stderr.contains(&format!("{id}: FAILED: error[MG-202]: 127.0.0.1:{port}: login: the environment variable NO_SUCH_VARIABLE")),
            "{}",
            finished.stderr
        );
    }
}
