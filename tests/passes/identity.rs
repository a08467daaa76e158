//! What counts as the same message when its UID cannot tell: after a change of UIDVALIDITY.

use crate::support::maildir::subjects;
use crate::support::*;
use mailgather::ledger::{AtSource, HeldMail, sqlite};

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
    // What was collected under `keep` is left alone; what was delivered under `delete` is deleted.
    assert_eq!(subjects(&server.messages("source")), ["one", "two"]);

    // s5: within the window another copy of a letter for the same person is a duplicate, and is disposed of as if delivered.
    server.put("source", &copy("two", "anna@pop.example"));
    let done = program.once(&[]).expect_success();
    assert!(done.stderr.contains("duplicate_suppressed"), "{}", done.stderr);
    assert_eq!((subjects(&server.messages("anna@example.org")), server.count("source")), (vec!["one".into(), "two".into()], 2));

    // The former epoch is done with: without a window the same letter, sent once more, is a letter.
    program.configure(&config(&delivery, &[collector("delete").set("dedupe_window", "0s")]));
    server.put("source", &copy("two", "anna@pop.example"));
    program.once(&[]).expect_success();
    assert_eq!((subjects(&server.messages("anna@example.org")), server.count("source")), (vec!["one".into(), "two".into(), "two".into()], 2));
}

fn rows(program: &Mailgather) -> Vec<(HeldMail, AtSource)> {
    sqlite::look_at_held(&program.state_dir().join("ledger.db")).unwrap()
}

/// What is held was delivered to nobody: neither it nor what was dropped from the store is deleted because the UIDs are others.
#[test]
fn held_mail_stays_held_in_a_new_epoch() {
    let (from, to) = (Dovecot::start(), Dovecot::builder().users(&["post@example.org"]).start());
    for subject in ["held", "dropped"] {
        from.put("source", &copy(subject, "anna@pop.example"));
    }
    let collector = CollectorYaml::imap(&from, "source").after("delete").forward_to("nobody@example.org");
    let program = Mailgather::new(&config(&format!("{{lmtp: '127.0.0.1:{}'}}", to.lmtp()), &[collector]));
    program.once(&[]).expect_success();
    let (dropped, _) = rows(&program).into_iter().find(|(mail, _)| mail.subject == "dropped").unwrap();
    program.run_to_end("held", &["drop", &dropped.id.to_string(), "--yes"]).expect_success();

    from.new_uidvalidity("source");
    for _ in 0..2 {
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("source: 0 delivered") || done.stdout.contains("held"), "{}", done.stdout);
        assert_eq!(subjects(&from.messages("source")), ["dropped", "held"]);
    }
    // It is the same row, and knows its copy in the new epoch: released, that one goes and the other stays.
    let (mail, at_source) = rows(&program).remove(0);
    assert_eq!((rows(&program).len(), mail.subject.as_str(), at_source), (1, "held", AtSource::Stays));
    program.run_to_end("held", &["release", &mail.id.to_string(), "--to", "post@example.org"]).expect_success();
    program.once(&[]).expect_success();
    assert_eq!((subjects(&from.messages("source")), subjects(&to.messages("post@example.org"))), (vec!["dropped".into()], vec!["held".into()]));
}

/// Who has a message already does not get it again because the others are still waited for: neither in a new epoch, nor after a time without
/// recipients.
#[test]
fn who_has_it_is_remembered_in_a_new_epoch_and_while_it_is_left() {
    const LIST: &str = "aliases: {list@pop.example: [a@example.org, b@example.org]}";
    let (from, sink) = (Dovecot::start(), Sink::lmtp_builder().on_text("RCPT", "b@example.org", "450 4.2.1 later").start());
    from.put("source", &copy("one", "list@pop.example"));
    let collector = |rules: &str| {
        let rules = format!("{{auto: {{{rules}}}, unresolved: leave}}");
        config(&sink.delivery(), &[CollectorYaml::imap(&from, "source").after("delete").set("dedupe_window", "0s").set("recipient", &rules)])
    };
    let program = Mailgather::new(&collector(LIST));
    program.once(&[]).expect_code(75);
    from.new_uidvalidity("source");
    program.once(&[]).expect_code(75);
    program.configure(&collector("map: {elsewhere.example: example.org}"));
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("1 left on the server"), "{}", done.stdout);
    from.new_uidvalidity("source");
    program.once(&[]);
    program.configure(&collector(LIST));
    sink.script(|script| script);
    program.once(&[]).expect_success();
    let taken: Vec<Vec<String>> = sink.taken().into_iter().map(|taken| taken.recipients).collect();
    assert_eq!((taken, from.count("source")), (vec![vec!["a@example.org".to_owned()], vec!["b@example.org".to_owned()]], 0));
}
