//! `mailgather test --trace`: everything that is said shows, but for what is nobody's business.

use crate::kit::*;
use crate::support::corpus::letter;
use crate::support::process::Channel;
use crate::support::*;
use serde_json::Value;

/// What stands behind the collector's name and the time.
fn said(stderr: &str) -> Vec<&str> {
    stderr.lines().filter_map(|line| line.split_once(" ms ")).map(|(_, said)| said).collect()
}

#[track_caller]
fn assert_says(stderr: &str, lines: &[&str]) {
    let said = said(stderr);
    let mut rest = said.iter();
    for wanted in lines {
        assert!(rest.any(|line| line.starts_with(wanted)), "{wanted} does not come in its turn:\n{stderr}");
    }
}

#[test]
fn m18_a_trace_shows_each_line_by_each_channel_and_no_secret() {
    let server = Dovecot::start();
    let sink = Sink::lmtp();
    server.put("u", &letter(0, "anna@pop.example"));
    for (n, protocol) in [CollectorYaml::imap, CollectorYaml::pop3].into_iter().enumerate() {
        for channel in [Channel::Plain, Channel::StartTls, Channel::Tls] {
            let program = Mailgather::new(&config(&sink.delivery(), &[protocol(&server, "u").channel(channel).forward_to(BOX)]));
            let without = test(&program, &["u"]).expect_success();
            assert_eq!(without.stderr, "");
            let done = test(&program, &["u", "--trace", "--deliver", BOX]).expect_success();
            let (out, trace) = (&done.stdout, &done.stderr);
            assert!(out.ends_with("u: test successful\n") && !out.contains("C: "), "{out}");
            assert!(trace.starts_with("warning: a trace has names, addresses"), "{trace}");
            let tls: &[&str] = match (channel, n) {
                (Channel::Plain, _) => &[],
                (Channel::Tls, _) => &["     -- TLSv1.3, localhost"],
                (Channel::StartTls, 0) => &["imap C: a1 STARTTLS", "imap S: a1 OK", "     -- TLSv1.3, localhost"],
                (Channel::StartTls, _) => &["pop3 C: STLS", "pop3 S: +OK", "     -- TLSv1.3, localhost"],
            };
            assert_says(trace, tls);
            assert_says(trace, &["     -- connected to 127.0.0.1:"]);
            match n {
                0 => assert_says(trace, &["imap S: * OK [CAPABILITY", "imap C: a", "imap S: * FLAGS", "imap S: * 1 FETCH", "imap S: )", "imap C: a"]),
                _ => assert_says(trace, &["pop3 S: +OK", "pop3 C: CAPA", "pop3 S: .", "pop3 C: TOP 1 0", "pop3 S: {", "pop3 S: .", "pop3 C: QUIT"]),
            }
            let target =
                ["smtp S: 220", "smtp C: LHLO", "smtp S: 250", "smtp C: QUIT", "smtp S: 220", "smtp C: MAIL FROM:<>", "smtp C: RCPT TO:<box@"];
            assert_says(trace, &target);
            assert_says(trace, &["smtp C: DATA", "smtp S: 354", "smtp C: {", "smtp S: 250", "smtp C: QUIT"]);
            assert!(trace.contains(" octets}"), "{trace}");
            assert!(!trace.contains(dovecot::PASSWORD) && !trace.contains("Subject:") && !trace.contains("letter 0"), "{trace}");
            assert!(trace.lines().skip(1).all(|line| line.starts_with("u ")), "{trace}");
        }
    }
}

#[test]
fn a_refused_login_shows_the_refusal_and_json_stays_json() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let collectors = [CollectorYaml::imap(&server, "a"), CollectorYaml::pop3(&server, "b")].map(|yaml| yaml.forward_to(BOX));
    let program = Mailgather::new(&config(&boxes.delivery(), &collectors)).env(process::PASSWORD_VARIABLE, "wr0ng-horse");
    let done = test(&program, &["--all", "--trace", "--json"]).expect_code(77);
    assert!(done.stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", done.stdout);
    assert!(done.stderr.contains("imap S: a1 NO [AUTHENTICATIONFAILED]") && done.stderr.contains("pop3 S: -ERR [AUTH]"), "{}", done.stderr);
    assert!(!done.stderr.contains("wr0ng-horse"), "{}", done.stderr);
}

#[test]
fn rubbish_secrets_that_are_echoed_and_listings_without_end_are_harmless() {
    let boxes = Boxes::new();
    let port = scripted("* OK \x1b]0;hi\x07 there\r\n", |line| {
        let tag = line.split(' ').next().unwrap_or_default().to_owned();
        Some(match line {
            line if line.contains("CAPABILITY") => format!("* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"),
            line if line.contains("LOGIN") => format!("{tag} NO what is {line}? {}\r\n", "x".repeat(3000)),
            _ => format!("{tag} BAD\r\n"),
        })
    });
    let yaml = CollectorYaml::at("imap", "u", port).forward_to(BOX);
    let done = test(&Mailgather::new(&config(&boxes.delivery(), &[yaml])), &["u", "--trace"]).expect_code(77);
    let trace: Vec<_> = done.stderr.lines().filter(|line| line.contains(" ms imap ")).collect();
    assert!(trace[0].ends_with("imap S: * OK ?]0;hi? there"), "{trace:?}");
    assert!(trace.iter().any(|line| line.ends_with("imap C: a2 LOGIN ***")), "{trace:?}");
    assert!(trace.iter().any(|line| line.ends_with("imap S: *** (a line with a secret in it)")), "{trace:?}");
    assert!(trace.iter().all(|line| line.len() < 600 && !line.contains(dovecot::PASSWORD)), "{trace:?}");
}
