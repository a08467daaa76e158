//! Rows of the requirements about who gets a message, each from a real Dovecot to a real Dovecot (LMTP), Postfix (SMTP) or into Maildirs.
//! Tests are named after their rows.

mod support;

use support::corpus::letter;
use support::maildir::{field, subjects};
use support::*;

/// `{map: {почта.рф: икс.рф}}`, as the requirement has it.
const MAP: &str = "{map: {почта.рф: икс.рф}}";
/// икс.рф and почта.рф in A-labels.
const TARGET: &str = "xn--h1aev.xn--p1ai";
const SOURCE: &str = "xn--80a1acny.xn--p1ai";

/// A Dovecot to collect from, with letters to these envelope recipients in `source`.
fn source(envelope_recipients: &[&str]) -> Dovecot {
    let server = Dovecot::start();
    envelope_recipients.iter().enumerate().for_each(|(n, to)| server.put("source", &letter(n, to)));
    server
}

/// Numbers of letters, sorted, from their subjects.
fn numbers(messages: &[Vec<u8>]) -> Vec<usize> {
    subjects(messages).iter().map(|subject| subject.trim_start_matches("letter ").parse().unwrap()).collect()
}

fn lmtp(server: &Dovecot) -> String {
    format!("{{lmtp: '127.0.0.1:{}'}}", server.lmtp())
}

fn smtp(server: &Postfix) -> String {
    format!("{{smtp: '127.0.0.1:{}'}}", server.port())
}

/// A Postfix that knows раз, два and ivan at икс.рф in both spellings, and the users at example.org.
fn cyrillic_postfix() -> Postfix {
    let users: String = ["раз", "ivan", "post"]
        .iter()
        .flat_map(|user| [format!("{{ {user}@икс.рф = {user}/ }}"), format!("{{ {user}@{TARGET} = {user}/ }}")])
        .collect::<Vec<_>>()
        .join(", ");
    Postfix::builder()
        .extra(&format!("virtual_mailbox_domains = example.org, икс.рф, {TARGET}\nvirtual_mailbox_maps = inline:{{ {users} }}, texthash:$data_directory/../etc/users"))
        .start()
}

#[test]
fn i7_cyrillic_aliases_arrive_by_smtp_with_smtputf8() {
    // Both spellings of the domain, a Cyrillic and an ASCII local part.
    let from = source(&["раз@почта.рф", &format!("раз@{SOURCE}"), "ivan@почта.рф", &format!("ivan@{SOURCE}"), "<ivan@ПОЧТА.РФ>"]);
    let to = cyrillic_postfix();
    let program = Mailgather::new(&config(&smtp(&to), &[CollectorYaml::imap(&from, "source").auto(MAP, "post@икс.рф")]));
    program.check().expect_success();
    let done = program.once(&[]).expect_success();
    eventually("all arrive", SOON, || to.count("раз") + to.count("ivan") + to.count("post") == 5);
    assert_eq!(numbers(&to.messages("раз")), [0, 1], "{}\n{}", done.stderr, to.log());
    assert_eq!(numbers(&to.messages("ivan")), [2, 3, 4]);
}

#[test]
fn i7_cyrillic_aliases_arrive_by_exim() {
    let from = source(&["раз@почта.рф", &format!("раз@{SOURCE}"), "anna@почта.рф", &format!("<anna@{SOURCE}>"), "никто@почта.рф"]);
    let to = Exim::start();
    let program = Mailgather::new(&config(&to.delivery(), &[CollectorYaml::imap(&from, "source").auto(MAP, "post@икс.рф")]));
    program.check().expect_success();
    let done = program.once(&[]).expect_success();
    eventually("all arrive", SOON, || to.count("раз") == 2 && to.count("anna") == 2 && to.count("post") == 1);
    assert_eq!((numbers(&to.messages("раз")), numbers(&to.messages("anna"))), (vec![0, 1], vec![2, 3]), "{}\n{}", done.stderr, to.log());
    // Exim takes SMTPUTF8, but does not know this user: once the default box, with the address it was for.
    let refused = field(&to.messages("post")[0], "X-Mailgather-Refused").unwrap();
    assert!(refused.starts_with("=?utf-8?Q?=D0=BD"), "{refused}");
    assert_eq!(to.log().matches("<= sender").count(), 5, "{}", to.log());
}

#[test]
fn i7_cyrillic_aliases_arrive_in_maildirs() {
    let from = source(&["раз@почта.рф", &format!("раз@{SOURCE}"), "ivan@почта.рф", "два@elsewhere.example"]);
    let boxes = Boxes::new();
    for (protocol, delivered) in [(CollectorYaml::imap as fn(&Dovecot, &str) -> CollectorYaml, 1), (CollectorYaml::pop3, 2)] {
        let program = Mailgather::new(&config(&boxes.delivery(), &[protocol(&from, "source").auto(MAP, "общий@икс.рф")]));
        program.once(&[]).expect_success();
        assert_eq!(boxes.of("раз@икс.рф").count(), 2 * delivered);
        assert_eq!(boxes.of("ivan@икс.рф").count(), delivered);
        assert_eq!(boxes.of("общий@икс.рф").count(), delivered);
    }
    let message = &boxes.of("общий@икс.рф").messages()[0];
    assert_eq!(field(message, "X-Mailgather-Unresolved").as_deref(), Some("foreign_address_only"));
    let message = &boxes.of("ivan@икс.рф").messages()[0];
    assert!(field(message, "X-Mailgather-Resolved").unwrap().contains("X-Original-To"));
}

#[test]
fn i7_lmtp_without_smtputf8_gives_cyrillic_local_parts_to_the_default_box_and_says_so() {
    let from = source(&["раз@почта.рф", "ivan@почта.рф", &format!("ivan@{SOURCE}")]);
    let to = Dovecot::builder().users(&["post@example.org", &format!("ivan@{TARGET}")]).start();
    let rules = "{map: {почта.рф: икс.рф}, aliases: {два@почта.рф: два@икс.рф}}";
    let program = Mailgather::new(&config(&lmtp(&to), &[CollectorYaml::imap(&from, "source").auto(rules, "post@example.org")]));
    let checked = program.check().expect_success();
    assert!(
        checked.stderr.contains("два@икс.рф") && checked.stderr.contains("needs SMTPUTF8, which Dovecot 2.3 does not offer"),
        "{}",
        checked.stderr
    );
    program.run_to_end("check", &["--strict"]).expect_code(78);
    let done = program.once(&[]).expect_success();
    assert!(done.stderr.contains("SMTPUTF8, which is not offered by the server"), "{}", done.stderr);
    assert_eq!(numbers(&to.messages(&format!("ivan@{TARGET}"))), [1, 2]);
    let post = to.messages("post@example.org");
    assert_eq!(numbers(&post), [0]);
    // The address it was for, in encoded words (RFC 2047), and the provider's own field as it was.
    let refused = field(&post[0], "X-Mailgather-Refused").unwrap();
    assert!(refused.starts_with("=?utf-8?Q?=D1=80=D0=B0=D0=B7"), "{refused}");
    assert_eq!(field(&post[0], "X-Original-To").as_deref(), Some("раз@почта.рф"));
}

#[test]
fn i7_an_alias_beats_the_map_and_tags_are_kept() {
    let from = source(&["info@pop.example", "anna+shop@pop.example", "sales+7@pop.example", "Boris@POP.example"]);
    let boxes = Boxes::new();
    let rules = "{map: {pop.example: example.org}, aliases: {info@pop.example: [anna@example.org, vera@example.org], 'sales+*@pop.example': sales@example.org}}";
    Mailgather::new(&config(&boxes.delivery(), &[CollectorYaml::imap(&from, "source").auto(rules, "post@example.org")])).once(&[]).expect_success();
    let at = |address: &str| numbers(&boxes.of(address).messages());
    assert_eq!((at("anna@example.org"), at("vera@example.org")), (vec![0], vec![0]));
    assert_eq!((at("anna+shop@example.org"), at("sales@example.org")), (vec![1], vec![2]));
    assert_eq!((at("Boris@example.org"), at("post@example.org")), (vec![3], vec![]));
}

#[test]
fn i8_the_default_box_takes_what_has_no_recipient() {
    let from = source(&["anna@pop.example", "stranger@elsewhere.example"]);
    from.put("source", b"Subject: letter 2\r\nTo: anna@pop.example\r\n\r\nTo tells nothing about the envelope\r\n");
    let to = Dovecot::builder().users(&["anna@example.org", "post@example.org"]).start();
    let collector = CollectorYaml::pop3(&from, "source").auto("{map: {pop.example: example.org}}", "post@example.org");
    Mailgather::new(&config(&lmtp(&to), &[collector])).once(&[]).expect_success();
    assert_eq!((numbers(&to.messages("anna@example.org")), numbers(&to.messages("post@example.org"))), (vec![0], vec![1, 2]));
    let mut reasons: Vec<_> = to.messages("post@example.org").iter().map(|m| field(m, "X-Mailgather-Unresolved").unwrap()).collect();
    reasons.sort();
    assert_eq!(reasons, ["foreign_address_only", "no_envelope_header"]);
}

#[test]
fn i8_without_a_default_box_it_stays_on_the_server_and_is_reported() {
    for protocol in [CollectorYaml::imap, CollectorYaml::pop3] {
        for recipient in ["{auto: RULES}", "{auto: RULES, unresolved: leave}", "{auto: RULES, default_box: post@example.org, unresolved: leave}"] {
            let from = source(&["anna@pop.example", "stranger@elsewhere.example", "anna@pop.example"]);
            let boxes = Boxes::new();
            let with = |rules: &str| protocol(&from, "source").after("delete").set("recipient", &recipient.replace("RULES", rules));
            let program = Mailgather::new(&config(&boxes.delivery(), &[with("{map: {pop.example: example.org}}")]));
            let done = program.once(&[]).expect_success();
            assert!(done.stdout.contains("source: 2 delivered, 1 left on the server, 2 removed"), "{}", done.stdout);
            for words in ["recipient_unresolved", "addresses of other domains only", "stays on the server"] {
                assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
            }
            assert_eq!((numbers(&from.messages("source")), numbers(&boxes.of("anna@example.org").messages())), (vec![1], vec![0, 2]));
            assert_eq!(boxes.of("post@example.org").count(), 0);
            // With rules that know the domain it is tried again.
            program.configure(&config(&boxes.delivery(), &[with("{map: {pop.example: example.org, elsewhere.example: example.org}}")]));
            program.once(&[]).expect_success();
            assert_eq!((from.count("source"), boxes.of("stranger@example.org").count()), (0, 1));
        }
    }
}

#[test]
fn i9_everything_goes_to_one_mailbox() {
    let from = source(&["anna@pop.example", "раз@почта.рф", "stranger@elsewhere.example"]);
    from.put("source", b"Subject: letter 3\r\nBcc: secret@pop.example\r\n\r\nBcc is kept in this mode\r\n");
    let to = Dovecot::builder().users(&["boss@example.org"]).start();
    Mailgather::new(&config(&lmtp(&to), &[CollectorYaml::imap(&from, "source").forward_to("boss@example.org")])).once(&[]).expect_success();
    let got = to.messages("boss@example.org");
    assert_eq!(numbers(&got), [0, 1, 2, 3]);
    assert!(got.iter().any(|m| field(m, "Bcc").as_deref() == Some("secret@pop.example")));
    assert!(got.iter().all(|m| field(m, "X-Mailgather-Resolved").as_deref() == Some("forward_to")));
    // By LMTP the sender of the envelope is the one of Return-Path.
    assert!(got.iter().any(|m| field(m, "Return-Path").as_deref() == Some("<sender0@remote.example>")), "{}", got[0].escape_ascii());
}

#[test]
fn i9_several_addresses_and_smtp() {
    let from = source(&["anna@pop.example"]);
    let to = Postfix::start();
    Mailgather::new(&config(
        &smtp(&to),
        &[CollectorYaml::pop3(&from, "source").forward_to("[anna@example.org, boris@example.org, раз@example.org]")],
    ))
    .once(&[])
    .expect_success();
    for user in ["anna", "boris", "раз"] {
        eventually("it arrives", SOON, || to.count(user) == 1);
    }
}

#[test]
fn an_alias_list_is_one_transaction_with_an_outcome_for_each() {
    let from = source(&["team@pop.example"]);
    let to = Sink::lmtp_builder().on_text("RCPT", "boris@", "550 5.1.1 unknown").on_text("DOT", "vera@", "452 4.2.2 mailbox full").start();
    let rules = "{aliases: {team@pop.example: [anna@example.org, boris@example.org, vera@example.org, grigori@example.org]}}";
    let collector = CollectorYaml::imap(&from, "source").auto(rules, "post@example.org").after("delete");
    let program = Mailgather::new(&config(&to.delivery(), &[collector]));
    let done = program.once(&[]).expect_code(75);
    assert!(done.stdout.contains("0 delivered, 1 to be tried again"), "{}", done.stdout);
    // One transaction for the four, one for the default box in place of boris.
    let recipients = |at: usize| to.taken()[at].recipients.clone();
    assert_eq!(
        (to.count(), recipients(0), recipients(1)),
        (2, vec!["anna@example.org".into(), "grigori@example.org".into()], vec!["post@example.org".into()])
    );
    assert_eq!(field(&to.taken()[1].content, "X-Mailgather-Refused").as_deref(), Some("team@pop.example"));
    assert_eq!(from.count("source"), 1, "vera does not have it yet");
    // Next time only vera is asked.
    to.clear();
    to.script(|script| script);
    program.once(&[]).expect_success();
    assert_eq!((to.count(), recipients(0)), (1, vec!["vera@example.org".into()]));
    assert_eq!(from.count("source"), 0);
    assert_eq!(to.violations(), Vec::<String>::new());
}

#[test]
fn an_alias_list_at_a_real_lmtp_server() {
    let from = source(&["team@pop.example"]);
    let to = Dovecot::builder().users(&["anna@example.org", "vera@example.org", "post@example.org"]).start();
    let rules = "{aliases: {team@pop.example: [anna@example.org, nobody@example.org, vera@example.org]}}";
    Mailgather::new(&config(&lmtp(&to), &[CollectorYaml::imap(&from, "source").auto(rules, "post@example.org")])).once(&[]).expect_success();
    for user in ["anna@example.org", "vera@example.org", "post@example.org"] {
        assert_eq!(to.count(user), 1, "{user}");
    }
}

#[test]
fn a_refused_recipient_goes_to_the_default_box_with_the_address_it_was_for() {
    let from = source(&["refuse@pop.example", "unknown@pop.example"]);
    let to = Postfix::start();
    let collector = CollectorYaml::imap(&from, "source").auto("{map: {pop.example: example.org}}", "postmaster@example.org").after("delete");
    let done = Mailgather::new(&config(&smtp(&to), &[collector])).once(&[]).expect_success();
    eventually("both arrive", SOON, || to.count("postmaster") == 2);
    let mut refused: Vec<_> = to.messages("postmaster").iter().map(|m| field(m, "X-Mailgather-Refused").unwrap()).collect();
    refused.sort();
    assert_eq!(refused, ["refuse@pop.example", "unknown@pop.example"]);
    assert!(done.stderr.contains("550 5.1.1") && done.stderr.contains("next=\"default box\""), "{}", done.stderr);
    assert_eq!(from.count("source"), 0);
}

#[test]
fn a_refusal_without_a_default_box_is_held_or_what_the_operator_says() {
    let from = source(&["refuse@pop.example", "anna@pop.example"]);
    let to = Postfix::start();
    let collector = CollectorYaml::imap(&from, "source").set("recipient", "{auto: {map: {pop.example: example.org}}}").after("delete");
    let program = Mailgather::new(&config(&smtp(&to), std::slice::from_ref(&collector)));
    let done = program.once(&[]).expect_success();
    let list = format!("mailgather held list --config {} --state-dir {}", program.config_file().display(), program.state_dir().display());
    assert!(done.stdout.contains(&format!("1 delivered, 1 held ({list}), 1 removed")), "{}", done.stdout);
    assert!(done.stderr.contains("message_held") && done.stderr.contains("550 5.1.1"), "{}", done.stderr);
    assert_eq!(numbers(&from.messages("source")), [0]);
    eventually("the other one arrives", SOON, || to.count("anna") == 1);
    // It is never fetched again.
    let again = program.once(&[]).expect_success();
    assert!(again.stdout.starts_with("source: 0 delivered\n"), "{}", again.stdout);

    for (what, code, said) in [
        ("on_permanent_failure: leave", 75, "1 to be tried again"),
        ("policy: [{reply: '5.1.1', do: defer}]", 75, "1 to be tried again"),
        ("policy: [{reply: 550, do: discard}]", 0, "0 delivered, 1 thrown away by the configuration"),
        ("policy: [{reply: /no such user|unknown/, do: leave}, {reply: 550, do: discard}]", 75, "1 to be tried again"),
    ] {
        let from = source(&["refuse@pop.example"]);
        let collector = CollectorYaml::imap(&from, "source").set("recipient", "{auto: {map: {pop.example: example.org}}}").after("delete");
        let delivery = smtp(&to).replace('}', &format!(", {what}}}"));
        let done = Mailgather::new(&config(&delivery, &[collector])).once(&[]).expect_code(code);
        assert!(done.stdout.contains(said), "{what}: {}", done.stdout);
        assert_eq!(from.count("source"), usize::from(code == 75), "{what}");
    }
}

#[test]
fn a_deferred_recipient_is_tried_again_without_a_second_copy_for_the_others() {
    for protocol in [CollectorYaml::imap, CollectorYaml::pop3] {
        let from = source(&["team@pop.example", "defer@pop.example", "boris@pop.example"]);
        let to = Postfix::start();
        let collector = |whom: &str| {
            let rules = format!("{{map: {{pop.example: example.org}}, aliases: {{team@pop.example: [anna@example.org, {whom}@example.org]}}}}");
            protocol(&from, "source").auto(&rules, "postmaster@example.org").after("delete")
        };
        let program = Mailgather::new(&config(&smtp(&to), &[collector("defer")]));
        for _ in 0..3 {
            let done = program.once(&[]).expect_code(75);
            assert!(done.stdout.contains("2 to be tried again"), "{}", done.stdout);
            assert!(done.stderr.contains("message_deferred") && done.stderr.contains("450 4.2.1 "), "{}", done.stderr);
        }
        eventually("the others arrive", SOON, || to.count("anna") == 1 && to.count("boris") == 1);
        assert_eq!(numbers(&from.messages("source")), [0, 1]);
        // The operator names somebody else in place of the one who is not there.
        program.configure(&config(&smtp(&to), &[collector("vera")]));
        program.once(&[]).expect_code(75);
        eventually("vera gets it", SOON, || to.count("vera") == 1);
        assert_eq!((to.count("anna"), numbers(&from.messages("source"))), (1, vec![1]), "no second copy for anna");
        assert_eq!(to.count("postmaster"), 0, "a deferred recipient is nobody's reason for the default box");
    }
}

/// One message as three copies in the mailbox, as a provider puts it there: one for each recipient, whom Bcc hides or not.
fn copies(server: &Dovecot) {
    for to in ["anna@pop.example", "boris@pop.example", "vera@pop.example"] {
        let message = format!(
            "Return-Path: <klient@remote.example>\r\nX-Original-To: {to}\r\nDelivered-To: source@pop.example\r\n\
             Received: from out.remote.example (out.remote.example [192.0.2.7])\r\n\tby mx.pop.example with ESMTP id 7; \
             Sat, 21 Nov 2026 10:00:00 +0000\r\nFrom: klient@remote.example\r\nTo: anna@pop.example\r\nCc: boris@pop.example\r\n\
             Bcc: vera@pop.example\r\nSubject: letter 7\r\nMessage-ID: <7@remote.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\
             X-Spam-Score: 0\r\nList-Unsubscribe: <https://remote.example/u>\r\nX-Odd:  spaced\ttext \r\n\r\nbody\r\n"
        );
        server.put("source", message.as_bytes());
    }
}

#[test]
fn c14_hidden_copies_reach_whom_the_envelope_names_and_nobody_sees_them() {
    for protocol in [CollectorYaml::imap, CollectorYaml::pop3] {
        let from = Dovecot::start();
        copies(&from);
        let to = Dovecot::builder().users(&["anna@example.org", "boris@example.org", "vera@example.org", "post@example.org"]).start();
        let collector = protocol(&from, "source").set("email", "source@pop.example").auto("{map: {pop.example: example.org}}", "post@example.org");
        let done = Mailgather::new(&config(&lmtp(&to), &[collector])).once(&[]).expect_success();
        assert!(done.stdout.contains("3 delivered"), "{}", done.stdout);
        for user in ["anna@example.org", "boris@example.org", "vera@example.org"] {
            let got = to.messages(user);
            assert_eq!(got.len(), 1, "{user}: one copy each, although To and Cc name two of them in every copy");
            assert_eq!(field(&got[0], "Bcc"), None, "{user}");
            // All other headers reach, as they were.
            for (name, value) in [("To", "anna@pop.example"), ("Cc", "boris@pop.example"), ("X-Spam-Score", "0"), ("X-Odd", "spaced\ttext")] {
                assert_eq!(field(&got[0], name).as_deref(), Some(value), "{user}");
            }
            assert!(String::from_utf8_lossy(&got[0]).contains("\r\nX-Odd:  spaced\ttext \r\n"), "{}", got[0].escape_ascii());
        }
        assert_eq!(to.count("post@example.org"), 0);
    }
}

#[test]
fn c14_every_header_is_kept_where_all_goes_to_one() {
    let from = Dovecot::start();
    copies(&from);
    let to = Exim::start();
    Mailgather::new(&config(&to.delivery(), &[CollectorYaml::imap(&from, "source").forward_to("anna@example.org")])).once(&[]).expect_success();
    eventually("all arrive", SOON, || to.count("anna") == 3);
    for message in to.messages("anna") {
        for (name, value) in [("Bcc", "vera@pop.example"), ("Cc", "boris@pop.example"), ("X-Odd", "spaced\ttext")] {
            assert_eq!(field(&message, name).as_deref(), Some(value));
        }
        assert!(field(&message, "X-Original-To").is_some());
    }
}
