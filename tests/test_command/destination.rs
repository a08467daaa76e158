//! The last step: what takes the mail, looked at and left alone; and one real message where it is asked for.

use crate::kit::*;
use crate::support::corpus::letter;
use crate::support::maildir::field;
use crate::support::*;
use std::net::TcpListener;

/// A mailbox with a letter, and a program that delivers there.
fn program(server: &Dovecot, delivery: &str, to: &str) -> Mailgather {
    server.put("u", &letter(0, "anna@pop.example"));
    Mailgather::new(&config(delivery, &[CollectorYaml::imap(server, "u").forward_to(to)]))
}

#[test]
fn a_server_is_greeted_and_left() {
    let server = Dovecot::start();
    for sink in [Sink::smtp(), Sink::lmtp()] {
        let done = test(&program(&server, &sink.delivery(), BOX), &["u"]).expect_success();
        let destination = line(&done.stdout, "destination");
        assert!(destination.contains("said 220 ") && destination.contains("offers PIPELINING, 8BITMIME, SMTPUTF8"), "{}", done.stdout);
        let verbs: Vec<String> = sink.commands().iter().map(|command| command.split(' ').nth(1).unwrap().to_ascii_uppercase()).collect();
        assert!(verbs == ["EHLO", "QUIT"] || verbs == ["LHLO", "QUIT"], "{verbs:?}");
        assert!(sink.violations().is_empty(), "{:?}", sink.violations());
        assert_eq!(sink.count(), 0);
    }
    // Real ones.
    let postfix = Postfix::builder().message_size_limit(10_240_000).start();
    let done = test(&program(&server, &format!("{{smtp: 127.0.0.1:{}}}", postfix.port()), "anna@example.org"), &["u"]).expect_success();
    assert!(line(&done.stdout, "destination").contains("SIZE 10240000"), "{}", done.stdout);
    assert!(!postfix.log().contains("from=<"), "{}", postfix.log());
    for lmtp in [format!("127.0.0.1:{}", server.lmtp()), format!("unix:{}", server.lmtp_socket().display())] {
        let done = test(&program(&server, &format!("{{lmtp: '{lmtp}'}}"), BOX), &["u"]).expect_success();
        assert!(line(&done.stdout, "destination").contains(&format!("lmtp {lmtp}: said 220 ")), "{}", done.stdout);
    }
    assert_eq!(server.count(BOX), 0);
}

#[test]
fn a_target_that_is_down_or_odd() {
    let server = Dovecot::start();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let done = test(&program(&server, &format!("{{smtp: 127.0.0.1:{dead}}}"), BOX), &["u"]).expect_code(69);
    assert!(line(&done.stdout, "destination").contains("FAILED: connect: ") && line(&done.stdout, "count").contains("retrieved"), "{}", done.stdout);
    assert!(done.stderr.contains(&format!("error[MG-431]: u: smtp 127.0.0.1:{dead}: connect: ")), "{}", done.stderr);
    let refuses = Sink::builder().on("CONNECT", 0, "554 5.7.1 not you").start();
    let done = test(&program(&server, &refuses.delivery(), BOX), &["u"]).expect_code(69);
    assert!(done.stdout.contains("554 5.7.1 not you"), "{}", done.stdout);
    // STARTTLS that is not there.
    let open = Sink::smtp();
    let done = test(&program(&server, &format!("{{smtp: '127.0.0.1:{}', tls: {{mode: starttls}}}}", open.port()), BOX), &["u"]).expect_code(69);
    assert!(done.stdout.contains("does not offer STARTTLS") && done.stderr.contains("hint: check `delivery.tls`"), "{}{}", done.stdout, done.stderr);
    // Of a list one is enough.
    let sink = Sink::smtp();
    let both = format!("{{smtp: ['127.0.0.1:{dead}', '127.0.0.1:{}']}}", sink.port());
    let done = test(&program(&server, &both, BOX), &["u"]).expect_success();
    assert!(done.stdout.contains(&format!("smtp 127.0.0.1:{dead}: FAILED: ")) && done.stdout.contains("said 220 "), "{}", done.stdout);
    // An address that this server cannot take.
    let old = Sink::builder().without("SMTPUTF8").start();
    let done = test(&program(&server, &old.delivery(), "раз@икс.рф"), &["u"]).expect_code(78);
    assert!(done.stderr.contains("error[MG-421]: u: smtp ") && done.stderr.contains("hint: correct `recipient`"), "{}", done.stderr);
    assert!(done.stdout.contains("does not offer SMTPUTF8, which the address раз@икс.рф needs"), "{}", done.stdout);
    let done = test(&program(&server, &old.delivery(), BOX), &["u"]).expect_success();
    assert!(done.stdout.contains("without SMTPUTF8 mail to or from an address like"), "{}", done.stdout);
}

#[test]
fn maildirs() {
    let server = Dovecot::start();
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().display();
    let missing = program(&server, &format!("{{maildir: '{base}/none/{{domain}}/{{local}}'}}"), BOX);
    let done = test(&missing, &["u"]).expect_code(73);
    assert!(line(&done.stdout, "destination").contains("No such file"), "{}", done.stdout);
    assert!(done.stderr.contains("hint: create it: mkdir -p"), "{}", done.stderr);
    assert!(done.stderr.contains("error[MG-431]: u: maildir "), "{}", done.stderr);
    let there = program(&server, &format!("{{maildir: '{base}/{{domain}}/{{local}}'}}"), BOX);
    let done = test(&there, &["u"]).expect_success();
    assert!(line(&done.stdout, "destination").contains("example.org will be made at the first delivery"), "{}", done.stdout);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was made");
    let done = test(&there, &["u", "--deliver", BOX]).expect_success();
    assert!(line(&done.stdout, "deliver").contains("saved as "), "{}", done.stdout);
    let done = test(&there, &["u"]).expect_success();
    assert!(line(&done.stdout, "destination").contains("box is there and writable"), "{}", done.stdout);
    // Nobody else has a Maildir there.
    let done = test(&there, &["u", "--deliver", "other@example.org"]).expect_code(69);
    assert!(done.stdout.contains("no such mailbox") && done.stderr.contains("error[MG-421]: u: "), "{}{}", done.stdout, done.stderr);
}

#[test]
fn a_test_message_is_sent_once_and_says_what_it_is() {
    let server = Dovecot::start();
    let postfix = Postfix::start();
    let deliver = |delivery: &str, to: &str| test(&program(&server, delivery, BOX), &["u", "--deliver", to]);
    for sink in [Sink::smtp(), Sink::lmtp()] {
        let done = deliver(&sink.delivery(), "anna@example.org").expect_success();
        assert!(line(&done.stdout, "deliver").contains("a test message to anna@example.org: 250"), "{}", done.stdout);
        let taken = sink.taken();
        assert_eq!((taken.len(), taken[0].from.as_str(), &taken[0].recipients), (1, "", &vec!["anna@example.org".to_owned()]));
        assert_eq!(field(&taken[0].content, "Subject").unwrap(), "mailgather test of the collector u");
        assert_eq!(field(&taken[0].content, "Auto-Submitted").unwrap(), "auto-generated");
        assert_eq!(field(&taken[0].content, "X-Mailgather-Test").unwrap(), "u");
        assert!(field(&taken[0].content, "Date").is_some() && field(&taken[0].content, "Message-ID").is_some());
        assert!(sink.violations().is_empty(), "{:?}", sink.violations());
    }
    let smtp = format!("{{smtp: 127.0.0.1:{}}}", postfix.port());
    deliver(&smtp, "anna@example.org").expect_success();
    eventually("Postfix delivers", SOON, || postfix.count("anna") == 1);
    let done = deliver(&smtp, "refuse@example.org").expect_code(69);
    assert!(line(&done.stdout, "deliver").contains(" REFUSED ") && done.stderr.contains("error[MG-421]: u: "), "{}{}", done.stdout, done.stderr);
    let done = deliver(&smtp, "defer@example.org").expect_code(75);
    assert!(done.stderr.contains("450"), "{}", done.stderr);
    // A target that is down gets none.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let done = deliver(&format!("{{smtp: 127.0.0.1:{dead}}}"), "anna@example.org").expect_code(69);
    assert!(done.stdout.ends_with("  not tried: deliver\n"), "{}", done.stdout);
    assert_eq!(server.count("u"), 6, "the mailbox keeps its letters");
}
