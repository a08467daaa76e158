//! Rows of the requirements about the configuration file, shown by `mailgather check` and by what the real program then does. Tests are named
//! after their rows.

mod support;

use mailgather::config::{self, Collector, Environment};
use support::corpus::letter;
use support::maildir::field;
use support::*;

/// The keys of one good collector, from its server on.
const REST: &str = "server: imap.pop.example\n    email: anna@pop.example\n    password: {env: MAILGATHER_TEST_PASSWORD}\n    recipient: {forward_to: box@example.org}\n";

/// A file with one collector of this id and these further lines, each indented by four.
fn file(id: &str, lines: &str) -> String {
    format!("delivery: {{lmtp: 127.0.0.1:24}}\ncollectors:\n  {id}:\n    {REST}{lines}")
}

/// `check` refuses the file and says all of these words.
#[track_caller]
fn refused(yaml: &str, words: &[&str]) {
    let done = Mailgather::new(yaml).check().expect_code(78);
    for word in words {
        assert!(done.stderr.contains(word), "{word:?} is missing in:\n{}\nof\n{yaml}", done.stderr);
    }
    // Nothing runs with it.
    Mailgather::new(yaml).once(&[]).expect_code(78);
    Mailgather::new(yaml).run().wait(SOON).expect_code(78);
}

/// `check` takes the file without a word; the collector as the program reads it.
#[track_caller]
fn taken(yaml: &str) -> std::sync::Arc<Collector> {
    let program = Mailgather::new(yaml);
    let done = program.check().expect_success();
    assert_eq!(done.stderr, "", "{yaml}");
    let loaded = config::load(&program.config_file(), &Environment::of_process(Some(program.state_dir()))).unwrap();
    loaded.config.collectors.into_values().next().unwrap()
}

#[test]
fn c4_a_description_is_free_text() {
    assert_eq!(taken(&file("sales", "    description: 'Собирает всё: заказы, жалобы'\n")).description, "Собирает всё: заказы, жалобы");
    assert_eq!(taken(&file("sales", "")).description, "");
}

#[test]
fn i2_a_title_is_free_text() {
    assert_eq!(taken(&file("sales", "    title: Отдел продаж № 1 (общий)\n")).title, "Отдел продаж № 1 (общий)");
    assert_eq!(taken(&file("sales", "")).title, "sales");

    let server = Dovecot::start();
    let boxes = Boxes::new();
    server.put("u", &letter(0, "anna@pop.example"));
    let collector =
        CollectorYaml::imap(&server, "u").id("sales").set("title", "Отдел продаж").set("description", "заказы").forward_to("box@example.org");
    Mailgather::new(&config(&boxes.delivery(), &[collector])).once(&[]).expect_success();
    assert_eq!(field(&boxes.of("box@example.org").messages()[0], "X-Mailgather-Collector").as_deref(), Some("sales"));
}

#[test]
fn c6_a_server_has_no_scheme_and_the_error_says_what_to_write() {
    for (wrong, hint) in [
        ("imaps://imap.pop.example/", "did you mean `imap.pop.example`"),
        ("imap://anna@imap.pop.example:143/INBOX", "did you mean `imap.pop.example`"),
        ("pop3s://pop.pop.example", "did you mean `pop.pop.example`"),
        ("https://mail.pop.example/owa", "`protocol: exchange` with `url:`"),
        ("http://mail.pop.example", "`protocol: exchange` with `url:`"),
    ] {
        refused(&file("a", "").replace("server: imap.pop.example", &format!("server: {wrong}")), &["MG-118", hint, ":4:"]);
    }
    // What an Exchange collector takes is none of IMAP's.
    refused(&file("a", "    url: https://mail.pop.example/EWS/Exchange.asmx\n"), &["MG-115", "`url` has no effect with IMAP"]);
}

#[test]
fn i3_a_server_is_a_host_name_or_an_address() {
    for (wrong, hint) in [
        ("imap@domain.com", "did you mean `imap.domain.com`"),
        ("imap.pop.example:993", "server `imap.pop.example` and `port: 993`"),
        ("'[::1]:143'", "server `::1` and `port: 143`"),
        ("two words", "neither a host name nor an IP address"),
        ("''", "server"),
    ] {
        refused(&file("a", "").replace("server: imap.pop.example", &format!("server: {wrong}")), &["MG-118", hint, ":4:"]);
    }
    for (right, host) in
        [("192.0.2.1", "192.0.2.1"), ("'::1'", "::1"), ("почта.рф", "xn--80a1acny.xn--p1ai"), ("IMAP.pop.example", "imap.pop.example")]
    {
        assert_eq!(taken(&file("a", "").replace("server: imap.pop.example", &format!("server: {right}"))).server.host.to_lowercase(), host);
    }
}

#[test]
fn i10_all_and_keep_would_deliver_for_ever() {
    refused(&file("a", "    collect: all\n    after: keep\n"), &["MG-115", "for ever", "hint"]);
    refused(&file("a", "    collect: all\n"), &["MG-115", "for ever"]);
    refused(&file("a", "    collect: all\n    after: mark_seen\n"), &["MG-115"]);
    for three in ["    collect: all\n    after: delete\n", "    collect: new\n    after: delete\n", "    collect: new\n    after: keep\n"] {
        taken(&file("a", three));
    }
}

#[test]
fn i11_the_interval_from_5_s_to_24_h_and_5_min_if_unset() {
    assert_eq!(taken(&file("a", "")).interval.as_secs(), 300);
    for (text, seconds) in [("5s", 5), ("5000ms", 5), ("5m", 300), ("1h30m", 5400), ("24h", 86400), ("1d", 86400)] {
        assert_eq!(taken(&file("a", &format!("    interval: {text}\n"))).interval.as_secs(), seconds, "{text}");
    }
    for text in ["4s", "4999ms", "0s", "24h1s", "2d"] {
        refused(&file("a", &format!("    interval: {text}\n")), &["MG-112", "limits.interval_", ":8:"]);
    }
    refused(&file("a", "    interval: 300\n"), &[":8:", "interval"]);
    // A journal that is asked each 50 ms says so on purpose (M4).
    taken(&format!("limits: {{interval_min: 50ms, interval_max: 7d}}\n{}", file("a", "    interval: 50ms\n")));
    refused(&format!("limits: {{interval_min: 49ms}}\n{}", file("a", "")), &["MG-112"]);
}

#[test]
fn i12_m5_the_limit_of_a_session_is_100_if_unset() {
    assert_eq!(taken(&file("a", "")).max_messages_per_session, 100);
    for n in [0, 1, 50, 500, 1000, 100_000] {
        assert_eq!(taken(&file("a", &format!("    max_messages_per_session: {n}\n"))).max_messages_per_session, n);
    }
    for wrong in ["-1", "100001", "many"] {
        refused(&file("a", &format!("    max_messages_per_session: {wrong}\n")), &["max_messages_per_session", ":8:"]);
    }
}

#[test]
fn c2_an_id_has_letters_digits_underscore_and_dash_and_is_there_once() {
    for right in ["a", "Sales_2", "a-b", "0", "_", &"x".repeat(64)] {
        assert_eq!(taken(&file(&format!("'{right}'"), "")).id.as_str(), right);
    }
    for wrong in ["продажи", "a b", "a.b", "a/b", "../a", "a@b", "é", "", &"x".repeat(65)] {
        refused(&file(&format!("'{wrong}'"), ""), &["no name for a collector", "letters, digits, `_` and `-`", ":3:"]);
    }
    refused(&format!("{}  a:\n    {}", file("a", ""), REST.replace("anna", "boris")), &["MG-103", ":8:"]);
}

#[test]
fn c7_the_port_is_a_number_from_1_to_65535() {
    for port in [1, 993, 65535] {
        assert_eq!(taken(&file("a", &format!("    port: {port}\n"))).server.port, port);
    }
    for wrong in ["0", "65536", "-1", "imap", "99999999999999999999"] {
        refused(&file("a", &format!("    port: {wrong}\n")), &["port", ":8:"]);
    }
    for (lines, port) in [
        ("", 993),
        ("    tls: {mode: starttls}\n", 143),
        ("    tls: {mode: none}\n    auth: {allow_plaintext: true}\n", 143),
        ("    protocol: pop3\n", 995),
        ("    protocol: pop3\n    tls: {mode: starttls}\n", 110),
        ("    protocol: pop3\n    tls: {mode: ssl}\n", 995),
        ("    protocol: pop3\n    tls: {mode: ssl/tls}\n    port: 1110\n", 1110),
    ] {
        assert_eq!(taken(&file("a", lines)).server.port, port, "{lines}");
    }
}

#[test]
fn m7_backslashes_are_kept() {
    let with = |name: &str| file("a", &format!("    username: {name}\n"));
    assert_eq!(taken(&with(r"'dom\juser\J.User'")).server.username, r"dom\juser\J.User");
    assert_eq!(taken(&with(r"dom\juser\J.User")).server.username, r"dom\juser\J.User");
    assert_eq!(taken(&with(r#""dom\\juser\\J.User""#)).server.username, r"dom\juser\J.User");
    // In double quotes YAML reads `\j` as an escape, and there is none.
    refused(&with(r#""dom\juser\J.User""#), &[":8:"]);
}

#[test]
fn p2_the_login_is_the_address() {
    assert_eq!(taken(&file("a", "")).server.username, "anna@pop.example");
    assert_eq!(taken(&file("a", "    username: other\n")).server.username, "other");
    refused(&file("a", "").replace("    email: anna@pop.example\n", ""), &["neither `email` nor `username`"]);
}

#[test]
fn p7_pop3_has_no_flags_to_set() {
    refused(&file("a", "    protocol: pop3\n    after: mark_seen\n"), &["MG-115", "mark_seen", "POP3"]);
    refused(&file("a", "    protocol: pop3\n    collect: unseen\n"), &["MG-115", "unseen", "POP3"]);
    assert_eq!(taken(&file("a", "")).after, config::After::Keep);
}

#[test]
fn i8_i9_recipients_that_contradict_each_other() {
    let with = |recipient: &str| file("a", "").replace("{forward_to: box@example.org}", recipient);
    refused(&with("{forward_to: box@example.org, auto: true}"), &["MG-115"]);
    refused(&with("{forward_to: box@example.org, default_box: post@example.org}"), &["MG-115", "default_box"]);
    refused(&with("{auto: true, unresolved: default_box}"), &["MG-115", "default_box"]);
    refused(&with("{default_box: post@example.org}"), &["MG-104"]);
    refused(&with("{forward_to: not an address}"), &["no address"]);
    refused(&with("{auto: {headers: [To]}}"), &["MG-108", "guess"]);
    taken(&with("{auto: true, default_box: post@example.org}"));
    let silent = Mailgather::new(&with("{auto: true}")).check().expect_success();
    assert!(silent.stderr.contains("mail for nobody stays on the server"), "{}", silent.stderr);
    taken(&with("{auto: true, unresolved: hold}"));
    // Thrown away only where it is written out, and not without a word.
    let discard = Mailgather::new(&with("{auto: true, unresolved: discard}")).check().expect_success();
    assert!(discard.stderr.contains("throws mail away"), "{}", discard.stderr);
}
