//! The resolver's further rules in one piece, from a real Dovecot to real servers: exclude, rewrite, BATV and SRS, lists and
//! guessing, journal reports, the question whether a recipient exists. Tests are named after the row that they belong to.

mod support;

use support::corpus::letter;
use support::maildir::{field, subjects};
use support::*;

/// Numbers of an Exim user's letters.
fn letters(to: &Exim, user: &str) -> Vec<String> {
    subjects(&to.messages(user))
}

#[test]
fn i7_each_rule_of_acceptance_at_exim() {
    let (from, to) = (Dovecot::start(), Exim::start());
    let envelope = [
        "bot-17@pop.example",                            // excluded
        "a.n.n.a@pop.example",                           // rewritten
        "prvs=0123456789=boris@pop.example",             // BATV
        "vera@sales.sub.example",                        // another domain of the map
        "info@pop.example",                              // an alias for two
        "stranger@elsewhere.example",                    // foreign
        "SRS0=HHH=TT=remote.example=klient@pop.example", // undone: foreign
    ];
    envelope.iter().enumerate().for_each(|(n, whom)| from.put("source", &letter(n, whom)));
    let rules = "{map: {pop.example: example.org, sales.sub.example: example.org}, exclude: ['/^bot-/'], \
                 rewrite: [{regex: 'a\\.n\\.n\\.a@pop\\.example', to: anna@example.org}], \
                 aliases: {info@pop.example: [anna@example.org, grigori@example.org]}}";
    let program = Mailgather::new(&config(&to.delivery(), &[CollectorYaml::imap(&from, "source").auto(rules, "post@example.org")]));
    let done = program.once(&[]).expect_success();
    eventually("all arrive", SOON, || ["anna", "boris", "vera", "grigori", "post"].map(|user| to.count(user)) == [2, 1, 1, 1, 3]);
    assert_eq!(letters(&to, "anna"), ["letter 1", "letter 4"], "{}", done.stderr);
    assert_eq!((letters(&to, "boris"), letters(&to, "vera")), (vec!["letter 2".to_string()], vec!["letter 3".to_string()]));
    assert_eq!((letters(&to, "grigori"), letters(&to, "post").join(", ")), (vec!["letter 4".to_string()], "letter 0, letter 5, letter 6".into()));
}

#[test]
fn i7_guessing_takes_to_and_cc_but_no_list_mail() {
    let (from, to) = (Dovecot::start(), Exim::start());
    let with = |n: usize, header: &str| {
        format!(
            "Received: from out.remote.example (out.remote.example [192.0.2.7])\r\n\tby mx.pop.example with ESMTP id {n}; Sat, 21 Nov 2026 10:00:00 \
             +0000\r\nFrom: klient@remote.example\r\n{header}Subject: letter {n}\r\nMessage-ID: <{n}@remote.example>\r\n\r\nbody {n}\r\n"
        )
    };
    from.put("source", with(1, "To: anna@pop.example\r\nCc: friend@elsewhere.example, boris@pop.example\r\n").as_bytes());
    // The copy for the other recipient names the same two: nobody gets it twice.
    from.put("source", with(1, "To: anna@pop.example\r\nCc: friend@elsewhere.example, boris@pop.example\r\n").as_bytes());
    from.put("source", with(2, "To: dev@lists.example\r\nCc: anna@pop.example\r\nList-Id: <dev.lists.example>\r\n").as_bytes());
    from.put("source", with(3, "To: anna@pop.example\r\nList-Id: <other.lists.example>\r\n").as_bytes());
    let rules = "{guess: on, map: {pop.example: example.org}, lists: {dev.lists.example: [vera@example.org]}}";
    let program = Mailgather::new(&config(&to.delivery(), &[CollectorYaml::imap(&from, "source").auto(rules, "post@example.org")]));
    let done = program.once(&[]).expect_success();
    eventually("all arrive", SOON, || ["anna", "boris", "vera", "post"].map(|user| to.count(user)) == [1, 1, 1, 1]);
    assert!(done.stderr.contains("duplicate_suppressed"), "{}", done.stderr);
    assert_eq!((letters(&to, "vera"), letters(&to, "post")), (vec!["letter 2".to_string()], vec!["letter 3".to_string()]));
    // Guessed mail has the null sender: nobody's vacation answer goes astray.
    assert_eq!(field(&to.messages("anna")[0], "Return-path").as_deref(), Some("<>"));
}

#[test]
fn i8_a_recipient_that_does_not_exist_is_asked_for_before_delivery() {
    let from = Dovecot::start();
    ["anna@pop.example", "nobody@pop.example"].iter().enumerate().for_each(|(n, whom)| from.put("source", &letter(n, whom)));
    let to = Dovecot::builder().users(&["anna@example.org", "post@example.org"]).start();
    let rules = "{map: {pop.example: example.org}, check_local: lmtp}";
    let delivery = format!("{{lmtp: '127.0.0.1:{}'}}", to.lmtp());
    let program = Mailgather::new(&config(&delivery, &[CollectorYaml::imap(&from, "source").auto(rules, "post@example.org")]));
    program.once(&[]).expect_success();
    assert_eq!(
        (subjects(&to.messages("anna@example.org")), subjects(&to.messages("post@example.org"))),
        (vec!["letter 0".into()], vec!["letter 1".into()])
    );
    let refused = field(&to.messages("post@example.org")[0], "X-Mailgather-Refused");
    assert_eq!(refused.as_deref(), Some("nobody@pop.example"));
}

/// A report of Exchange from this sender, of a message that went to anna in the open and to boris hidden.
fn report(n: usize, sender: &str) -> String {
    format!(
        "Received: from ex1.corp.example (ex1.corp.example [192.0.2.8])\r\n\tby mx.pop.example with ESMTP id {n}; Sat, 21 Nov 2026 10:00:00 +0000\r\n\
         From: <{sender}>\r\nTo: <journal@pop.example>\r\nSubject: letter {n}\r\nMessage-ID: <report-{n}@corp.example>\r\nX-MS-Journal-Report:\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_r\"\r\n\r\n--=_r\r\nContent-Type: text/plain; charset=\"us-ascii\"\r\n\r\n\
         Sender: klient@remote.example\r\nSubject: inner {n}\r\nMessage-Id: <{n}@remote.example>\r\nTo: anna@corp.example\r\nBcc: boris@corp.example\r\n\r\n\
         --=_r\r\nContent-Type: message/rfc822\r\n\r\nFrom: klient@remote.example\r\nTo: anna@corp.example\r\nSubject: inner {n}\r\n\
         Message-ID: <{n}@remote.example>\r\n\r\nThe original.\r\n\r\n--=_r--\r\n"
    )
}

#[test]
fn m19_journal_reports_reach_all_recipients_and_forged_ones_are_ordinary_mail() {
    for protocol in [CollectorYaml::imap, CollectorYaml::pop3] {
        let (from, to) = (Dovecot::start(), Exim::start());
        from.put("source", report(1, "exchange@corp.example").as_bytes());
        from.put("source", report(2, "mallory@evil.example").as_bytes());
        let recipient =
            "{journal: exchange, journal_from: exchange@corp.example, auto: {map: {corp.example: example.org}}, default_box: post@example.org}";
        let program = Mailgather::new(&config(&to.delivery(), &[protocol(&from, "source").set("recipient", recipient)]));
        let done = program.once(&[]).expect_success();
        eventually("all arrive", SOON, || ["anna", "boris", "post"].map(|user| to.count(user)) == [1, 1, 1]);
        for user in ["anna", "boris"] {
            let got = &to.messages(user)[0];
            assert_eq!(field(got, "Subject").as_deref(), Some("inner 1"), "{}", done.stderr);
            assert!(got.ends_with(b"\r\n\r\nThe original.\r\n") && !got.windows(6).any(|window| window == b"boris@".as_slice() && user == "anna"));
            assert_eq!(field(got, "Return-path").as_deref(), Some("<klient@remote.example>"));
        }
        assert_eq!(letters(&to, "post"), ["letter 2"]);
    }
}
