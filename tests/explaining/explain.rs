//! `mailgather explain` and `mailgather policy test`: of files, of real mailboxes, of error numbers.

use crate::support::process::{Finished, PROGRAM, finish};
use crate::support::{CollectorYaml, Dovecot, Mailgather, config};
use serde_json::Value;
use std::process::Command;

const LETTER: &str = "Delivered-To: anna@firm.example\r\nReceived: from a.example (a.example [192.0.2.1]) by 127.0.0.1 with ESMTP; x\r\nReturn-Path: <s@a.example>\r\nMessage-ID: <1@a.example>\r\nFrom: s@a.example\r\nTo: anna@firm.example\r\n\r\ntext\r\n";

fn to(n: usize, user: &str) -> String {
    format!(
        "X-Original-To: {user}@firm.example\r\nReceived: from a.example (a.example [192.0.2.1]) by mx.firm.example with ESMTP; x\r\nMessage-ID: <{n}@a.example>\r\nFrom: s@a.example\r\nTo: {user}@firm.example\r\nSubject: {n}\r\n\r\ntext\r\n"
    )
}

fn program(server: &Dovecot) -> Mailgather {
    let rules = "{domains: [firm.example]}";
    Mailgather::new(&config(
        "{lmtp: '127.0.0.1:1'}",
        &[
            CollectorYaml::imap(server, "u").auto(rules, "post@firm.example"),
            CollectorYaml::pop3(server, "u").id("p").auto(rules, "post@firm.example"),
        ],
    ))
}

/// Without any configuration.
fn alone(arguments: &[&str]) -> Finished {
    let mut command = Command::new(PROGRAM);
    command.args(["--config", "/nonexistent/mailgather.yaml"]).args(arguments);
    finish(command, std::time::Duration::from_secs(60))
}

#[test]
fn a_mailbox_is_explained_by_its_headers_and_left_as_it_is() {
    let server = Dovecot::start();
    for n in 1..=15 {
        server.put("u", to(n, if n % 2 == 0 { "anna" } else { "bob" }).as_bytes());
    }
    let program = program(&server);
    for (name, arguments, count) in
        [("u", &[][..], 10), ("p", &[], 10), ("u", &["--last", "3"], 3), ("p", &["--last", "99"], 15), ("u", &["--uid", "12"], 1)]
    {
        let text = program.run_to_end("explain", &[&[name], arguments].concat()).expect_success().stdout;
        assert_eq!(text.matches("← taken").count(), count, "{name} {arguments:?}\n{text}");
        assert_eq!(text.matches("  envelope     MAIL FROM:<s@a.example>  RCPT TO:<").count(), count, "{text}");
        assert!(text.contains("by X-Original-To 1 (stage 2)") && text.contains("  loop check   1 Received fields (max_hops 50): no loop"), "{text}");
        let json = program.run_to_end("explain", &[&[name, "--json"], arguments].concat()).expect_success().stdout;
        let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), count);
        for line in &lines {
            let to = line["envelope"]["recipients"][0]["address"].as_str().unwrap();
            assert!(["anna@firm.example", "bob@firm.example"].contains(&to), "{line}");
            assert_eq!((line["collector"].as_str(), line["outcome"].as_str()), (Some(name), Some("delivered")));
            assert!(line["uid"].is_string() && line["trail"]["steps"].is_array(), "{line}");
        }
        if arguments.first() == Some(&"--uid") {
            assert!(text.starts_with("u uid 12  <12@a.example>"), "{text}");
        }
    }
    // Oldest first.
    let text = program.run_to_end("explain", &["u", "--last", "2"]).expect_success().stdout;
    assert!(text.find("<14@a.example>").unwrap() < text.find("<15@a.example>").unwrap());
    // The UIDL that JSON gives is what --uid takes.
    let json = program.run_to_end("explain", &["p", "--last", "1", "--json"]).stdout;
    let uidl = serde_json::from_str::<Value>(&json).unwrap()["uid"].as_str().unwrap().to_owned();
    assert!(program.run_to_end("explain", &["p", "--uid", &uidl]).expect_success().stdout.contains("<15@a.example>"));

    assert_eq!(server.count("u"), 15);
    assert!(server.flags("u").iter().all(String::is_empty), "{:?}", server.flags("u"));
}

#[test]
fn a_file_wins_over_a_collector_and_what_is_neither_is_said_so() {
    let server = Dovecot::start();
    let program = program(&server);
    let text = program.explain(LETTER.as_bytes(), &["--as", "u"]).expect_success().stdout;
    assert!(text.contains("letter.eml  <1@a.example>  from s@a.example") && text.contains("RCPT TO:<anna@firm.example>"), "{text}");
    let rules = "{domains: [firm.example], check_local: lmtp}";
    let checking = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[CollectorYaml::imap(&server, "u").auto(rules, "post@firm.example")]));
    let text = checking.explain(LETTER.as_bytes(), &[]).expect_success().stdout;
    assert!(text.contains("  check_local  asked at delivery only"), "{text}");
    let usage = program.explain(LETTER.as_bytes(), &["--last", "3", "--as", "u"]).expect_code(64);
    assert!(usage.stderr.contains("is a file"), "{}", usage.stderr);

    let neither = program.run_to_end("explain", &["nobody"]).expect_code(66);
    assert!(neither.stderr.contains("`nobody` is neither a file nor a collector") && neither.stderr.contains("p, u"), "{}", neither.stderr);
    let nothing = alone(&["explain", "nobody"]).expect_code(66);
    assert!(nothing.stderr.contains("no file is called `nobody`"), "{}", nothing.stderr);

    let gone = program.run_to_end("explain", &["u", "--uid", "4711"]).expect_code(66);
    assert!(gone.stderr.contains("no message with the UID `4711`"), "{}", gone.stderr);
    program.run_to_end("explain", &["u", "--uid", "x"]).expect_code(64);
    program.run_to_end("explain", &["u", "--as", "p"]).expect_code(64);
    let empty = program.run_to_end("explain", &["u"]).expect_success();
    assert!(empty.stdout.is_empty() && empty.stderr.contains("is empty"), "{}", empty.stderr);
}

#[test]
fn a_mailbox_that_cannot_be_opened_is_an_error_with_a_number() {
    let program = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[CollectorYaml::at("imap", "dead", 1).forward_to("a@b.example")]));
    let failed = program.run_to_end("explain", &["dead"]).expect_code(69);
    assert!(
        failed.stderr.contains("error[MG-211]: dead: 127.0.0.1:1: connect") && failed.stderr.contains("more: mailgather explain MG-211"),
        "{}",
        failed.stderr
    );
    assert!(program.once(&[]).expect_code(69).stderr.contains("dead: FAILED: error[MG-211]: 127.0.0.1:1"));
}

#[test]
fn the_page_of_an_error_needs_nothing() {
    for (code, title) in [("MG-203", "# MG-203: login refused"), ("mg-101", "# MG-101: unknown key"), ("MG-411", "# MG-411: a loop")] {
        let page = alone(&["explain", code]).expect_success();
        assert!(page.stdout.starts_with(title) && page.stdout.contains("## What to do") && page.stderr.is_empty(), "{}", page.stdout);
    }
    let json: Value = serde_json::from_str(&alone(&["explain", "MG-203", "--json"]).expect_success().stdout).unwrap();
    assert_eq!(json["code"], "MG-203");
    let unknown = alone(&["explain", "MG-999"]).expect_code(64);
    assert!(unknown.stderr.contains("MG-203"), "{}", unknown.stderr);
}

/// A report of Exchange: Bcc is in it, and in no header.
const REPORT: &str = "Received: from ex.corp.example (10.0.0.5) by mx.firm.example; x\r\nFrom: journal@corp.example\r\nTo: u@firm.example\r\nMessage-ID: <r@corp.example>\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\nMIME-Version: 1.0\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSender: klient@client.example\r\nSubject: s\r\nMessage-Id: <17@client.example>\r\nTo: anna@firm.example\r\nBcc: boris@firm.example\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: klient@client.example\r\nTo: anna@firm.example\r\nMessage-ID: <17@client.example>\r\n\r\ntext\r\n\r\n--b--\r\n";

#[test]
fn a_journal_report_is_opened_from_a_file_and_named_in_a_mailbox() {
    let server = Dovecot::start();
    server.put("u", REPORT.as_bytes());
    let recipient = "{auto: {domains: [firm.example]}, journal: exchange, journal_from: journal@corp.example, default_box: post@firm.example}";
    let collector = CollectorYaml::imap(&server, "u").set("recipient", recipient);
    let program = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[collector]));
    let text = program.explain(REPORT.as_bytes(), &[]).expect_success().stdout;
    assert!(text.contains("a journal report: it names the recipients"), "{text}");
    assert!(text.contains("MAIL FROM:<klient@client.example>  RCPT TO:<anna@firm.example> <boris@firm.example>"), "{text}");
    let forged = REPORT.replace("From: journal@corp.example", "From: evil@client.example");
    let text = program.explain(forged.as_bytes(), &[]).expect_success().stdout;
    assert!(!text.contains("journal report") && !text.contains("boris"), "{text}");
    let cut = &REPORT[..REPORT.len() - 40];
    let text = program.explain(cut.as_bytes(), &[]).expect_success().stdout;
    assert!(text.contains("cannot be read, so that it names nobody") && text.contains("RCPT TO:<post@firm.example>"), "{text}");

    let text = program.run_to_end("explain", &["u"]).expect_success().stdout;
    assert!(text.contains("which is not read here") && !text.contains("RCPT TO"), "{text}");
    let json = program.run_to_end("explain", &["u", "--json"]).expect_success().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["outcome"].as_str(), json["envelope"]["recipients"].as_array().map(Vec::len)), (Some("unknown"), Some(0)));
}

#[test]
fn each_message_of_an_mbox_is_explained() {
    let server = Dovecot::start();
    let program = program(&server);
    let message = |n: usize| {
        format!(
            "From s@a.example Sat Nov 21 10:00:00 2026\n{}\n",
            to(n, if n.is_multiple_of(2) { "anna" } else { "bob" }).replace("by mx.firm.example", "by 127.0.0.1")
        )
    };
    let mbox = |count: usize| (0..count).map(message).collect::<String>();
    let two = program.explain(mbox(2).as_bytes(), &["--as", "u"]).expect_success();
    for words in
        ["letter.eml message 1  <0@a.example>", "letter.eml message 2  <1@a.example>", "RCPT TO:<anna@firm.example>", "RCPT TO:<bob@firm.example>"]
    {
        assert!(two.stdout.contains(words), "{words}\n{}", two.stdout);
    }
    let json = program.explain(mbox(3).as_bytes(), &["--as", "u", "--json"]).expect_success().stdout;
    let numbers: Vec<u64> = json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    // One message is one, with a `From ` line or without it.
    let one = program.explain(mbox(1).as_bytes(), &["--as", "u"]).expect_success();
    assert!(one.stdout.contains("letter.eml  <0@a.example>") && one.stderr.is_empty(), "{}{}", one.stdout, one.stderr);
    let many = program.explain(mbox(120).as_bytes(), &["--as", "u"]).expect_success();
    assert_eq!(many.stdout.matches("letter.eml message ").count(), 100);
    assert!(many.stderr.contains("the first 100 messages are explained, and there are more"), "{}", many.stderr);
}

#[test]
fn a_reply_is_tried_against_the_policy() {
    let built_in = alone(&["policy", "test", "550 5.1.1 no such user", "--stage", "rcpt"]).expect_success();
    assert!(built_in.stdout.contains("rcpt  default_box  rejected, about the recipient: built in: unknown recipient"), "{}", built_in.stdout);
    assert!(built_in.stderr.contains("built-in table"), "{}", built_in.stderr);
    let server = Dovecot::start();
    let program = program(&server);
    let all = program.run_to_end("policy", &["test", "554 5.7.1 spam"]).expect_success().stdout;
    for stage in ["\n  mail ", "\n  rcpt ", "\n  data ", "\n  dot "] {
        assert!(all.contains(stage), "{all}");
    }
    assert!(all.contains("LMTP, with a default box"), "{all}");
    let json = program.run_to_end("policy", &["test", "452 4.3.1 too many", "--json", "--as", "p", "--protocol", "smtp"]).expect_success().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["stages"].as_array().unwrap().len(), 4);
    assert_eq!((json["code"].as_u64(), json["collector"].as_str(), json["stages"][1]["action"].as_str()), (Some(452), Some("p"), Some("defer")));
    let rules = "{lmtp: '127.0.0.1:1', policy: [{reply: 5.2.2, do: hold}, {reply: '/spam|virus/', do: leave}]}";
    let ruled = Mailgather::new(&config(rules, &[CollectorYaml::imap(&server, "u").forward_to("a@b.example")]));
    let text = ruled.run_to_end("policy", &["test", "554 5.7.1 SPAM", "--stage", "dot"]).expect_success().stdout;
    assert!(text.contains("dot   leave        rejected") && text.contains("delivery.policy, rule 2 of 2: text /spam|virus/ → leave"), "{text}");
    assert!(text.contains("LMTP, without a default box"), "{text}");
    program.run_to_end("policy", &["test", "hello"]).expect_code(64);
    program.run_to_end("policy", &["test", "550 x", "--as", "nobody"]).expect_code(64);
}

/// What is held for its content is no delivery; and who is nobody's is unresolved before it can be a loop, as in a pass.
#[test]
fn what_a_pass_would_hold_is_told() {
    let collector = CollectorYaml::at("imap", "box", 1).set("recipient", "{auto: {map: {pop.example: example.org}}, unresolved: hold}");
    let program = Mailgather::new(&config("{maildir: '/nowhere/{local}', nul: hold, bare_cr: hold, max_hops: 2}", &[collector]));
    let outcome = |message: &[u8]| {
        let done = program.explain(message, &["--json"]).expect_success().stdout;
        let value: serde_json::Value = serde_json::from_str(done.lines().next().unwrap()).unwrap();
        (value["outcome"].as_str().unwrap().to_owned(), value["content"].as_str().unwrap_or_default().to_owned())
    };
    let letter = crate::support::corpus::letter(1, "anna@pop.example");
    assert_eq!(outcome(&letter), ("delivered".into(), String::new()));
    let with_nul = [&letter[..], b"a\0b\r\n"].concat();
    assert_eq!(outcome(&with_nul), ("held".into(), "it held 1 NUL octets, which were removed (nul: hold)".into()));
    let with_cr = [&letter[..], b"a\rb\r\n"].concat();
    assert_eq!(outcome(&with_cr).0, "held");
    assert!(program.explain(&with_cr, &[]).expect_success().stdout.contains("content      it held 1 CRs"));
    let nobody = crate::support::corpus::letter(2, "ivan@other.example");
    let hops = [b"Received: by a.example; d\r\nReceived: by b.example; d\r\n".as_slice(), &nobody].concat();
    assert_eq!(outcome(&hops).0, "held");
}
