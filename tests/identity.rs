//! What counts as the same message when its UID cannot tell: after a change of UIDVALIDITY.

mod support;

use support::maildir::subjects;
use support::*;

const USERS: [&str; 3] = ["anna@example.org", "boris@example.org", "post@example.org"];

/// One letter, as a provider stores a copy of it for each recipient: alike but for the envelope traces.
fn copy(subject: &str, to: &str) -> Vec<u8> {
    format!(
        "X-Original-To: {to}\r\nReceived: from out.remote.example (out.remote.example [192.0.2.7])\r\n\tby localhost with ESMTP id 1; Sat, 21 Nov 2026 10:00:00 +0000\r\n\
         From: s@remote.example\r\nTo: all@pop.example\r\nSubject: {subject}\r\nMessage-ID: <{subject}@remote.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nBody\r\n"
    )
    .into_bytes()
}

#[test]
fn a_new_uidvalidity_brings_nothing_twice_and_loses_nobody() {
    let server = Dovecot::builder().users(&USERS).start();
    let collector = |after: &str| CollectorYaml::imap(&server, "source").auto("{map: {pop.example: example.org}}", USERS[2]).after(after);
    let delivery = format!("{{lmtp: '127.0.0.1:{}'}}", server.lmtp());
    server.put("source", &copy("one", "anna@pop.example"));
    server.put("source", &copy("two", "anna@pop.example"));
    let program = Mailgather::new(&config(&delivery, &[collector("keep")]));
    assert!(program.once(&[]).expect_success().stdout.contains("2 delivered"));

    // The other recipient's copy comes together with the new numbering.
    server.new_uidvalidity("source");
    server.put("source", &copy("one", "boris@pop.example"));
    program.configure(&config(&delivery, &[collector("delete")]));
    let done = program.once(&[]).expect_success();
    assert_eq!(done.stderr.matches("message_duplicate").count(), 2, "{}", done.stderr);
    assert_eq!(subjects(&server.messages("anna@example.org")), ["one", "two"]);
    assert_eq!(subjects(&server.messages("boris@example.org")), ["one"]);
    assert_eq!(server.count("source"), 0);

    // s5: within the window another copy of a letter for the same person is a duplicate, and is disposed of as if delivered.
    server.put("source", &copy("two", "anna@pop.example"));
    let done = program.once(&[]).expect_success();
    assert!(done.stderr.contains("duplicate_suppressed"), "{}", done.stderr);
    assert_eq!((subjects(&server.messages("anna@example.org")), server.count("source")), (vec!["one".into(), "two".into()], 0));

    // The former epoch is done with: without a window the same letter, sent once more, is a letter.
    program.configure(&config(&delivery, &[collector("delete").set("dedupe_window", "0s")]));
    server.put("source", &copy("two", "anna@pop.example"));
    program.once(&[]).expect_success();
    assert_eq!(subjects(&server.messages("anna@example.org")), ["one", "two", "two"]);
}
