//! Held mail from the outside: `mailgather held`, with real and scripted targets. Messages are put into the store by the library, as a pass does
//! it: the file first, then the row with the state of its UID.

use crate::support::corpus::letter;
use crate::support::maildir::field;
use crate::support::process::peak_memory;
use crate::support::*;
use mailgather::config::HeldLimits;
use mailgather::held::{HeldStore, HoldNote};
use mailgather::ledger::sqlite::SqliteLedger;
use mailgather::ledger::{AtSource, Entry, HeldId, HeldMail, HeldWhy, History, Ledger, Seen, State, sqlite};
use mailgather::mail::{CollectorId, Epoch, FolderName, MailboxId, Message, MessageKey, Recipient, RemoteUid, ReversePath};
use mailgather::spool::Spool;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

/// 2026-11-21 10:02:00 UTC.
const NOW: i64 = 1_795_255_320;

/// The mailbox `user` of a collector of these tests.
fn key(collector: &str, user: &str, epoch: u32, uid: u32) -> MessageKey {
    MessageKey {
        collector: CollectorId::new(collector).unwrap(),
        mailbox: Arc::new(MailboxId { protocol: "imap", host: "127.0.0.1".into(), login: user.into() }),
        folder: FolderName::inbox(),
        epoch: Epoch(epoch),
        uid: RemoteUid::Number(uid),
        generation: 0,
    }
}

/// What is put into the store.
struct Put<'a> {
    key: MessageKey,
    raw: &'a [u8],
    why: HeldWhy,
    reason: &'a str,
    sender: &'a str,
    recipients: &'a [&'a str],
    /// Recipients that have it already.
    had: &'a [&'a str],
}

impl<'a> Put<'a> {
    fn new(key: MessageKey, raw: &'a [u8], recipients: &'a [&'a str]) -> Self {
        let why = if recipients.is_empty() { HeldWhy::Unresolved } else { HeldWhy::Refused };
        Put { key, raw, why, reason: "550 5.1.1 no such user", sender: "s@remote.example", recipients, had: &[] }
    }

    /// Into the store of a program that does not run.
    fn into(self, program: &Mailgather) -> HeldMail {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let ledger = Arc::new(SqliteLedger::open(&program.state_dir().join("ledger.db")).unwrap());
            let store = HeldStore::open(&program.state_dir().join("held"), HeldLimits::default(), ledger.clone()).unwrap();
            let message = taken(program.path(), self.key.clone(), self.raw).await;
            let recipients: Vec<Recipient> = self.recipients.iter().map(|address| Recipient::new(address.parse().unwrap())).collect();
            let sender = if self.sender.is_empty() { ReversePath::Null } else { ReversePath::Address(self.sender.parse().unwrap()) };
            let note =
                HoldNote { why: self.why, reason: self.reason, sender: &sender, recipients: &recipients, done: &[], from_journal: false, now: NOW };
            let mail = store.hold(&message, note).await.unwrap();
            let claim = ledger.claim(&self.key.mailbox).await.unwrap();
            let place = ledger.progress(&claim, &self.key.folder, self.key.epoch, History::None).await.unwrap().place;
            let had = self.had.iter().map(|name| name.parse().unwrap()).map(|address| Seen {
                key: mailgather::collect::dedupe::key(&message.fingerprint, &address, &target(program)),
                trace_id: mail.trace_id,
                at: NOW,
                expires: i64::MAX,
            });
            let entry = Entry {
                held: Some(Box::new(mail.clone())),
                seen: had.collect(),
                ..Entry::new(self.key.uid.clone(), State::Held, Some(message.identity(&recipients)))
            };
            ledger.record(&place, entry).await.unwrap();
            ledger.held().await.unwrap().into_iter().find(|row| row.trace_id == mail.trace_id).unwrap()
        })
    }
}

/// The name of the target, as it stands in the configuration of a scripted sink.
fn target(program: &Mailgather) -> String {
    let text = std::fs::read_to_string(program.config_file()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("delivery: {")).unwrap();
    let (protocol, rest) = line.split_once(':').unwrap();
    format!("{protocol} {}", rest.trim().trim_end_matches('}').trim_matches('\''))
}

async fn taken(spool: &Path, key: MessageKey, raw: &[u8]) -> Message {
    let mut intake = Spool::new(&spool.join("test-spool"), 1 << 20, 64 << 20).unwrap().intake(key, Some(raw.len() as u64)).await;
    for piece in raw.chunks(64 * 1024) {
        intake.write(piece).await.unwrap();
    }
    intake.finish().await.unwrap()
}

/// Rows as they stand in the file.
fn rows(program: &Mailgather) -> Vec<(HeldMail, AtSource)> {
    sqlite::look_at_held(&program.state_dir().join("ledger.db")).unwrap()
}

fn files(program: &Mailgather) -> usize {
    std::fs::read_dir(program.state_dir().join("held")).unwrap().count()
}

fn held(program: &Mailgather, arguments: &[&str]) -> process::Finished {
    // The options of all commands may stand anywhere.
    program.run_to_end("held", arguments)
}

/// A program that would collect `source` from a server that is not there.
fn program(delivery: &str) -> Mailgather {
    Mailgather::new(&config(delivery, &[CollectorYaml::at("imap", "source", 9).auto("{map: {pop.example: example.org}}", "post@example.org")]))
}

/// All octets of what was printed that could steer a terminal or a reader's eye.
fn dangerous(text: &str) -> String {
    let bidi =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
    text.chars().filter(|c| (c.is_control() && *c != '\n') || bidi(*c)).collect()
}

#[test]
fn nothing_is_held_at_first() {
    let program = program("{maildir: '/nowhere/{local}'}");
    for arguments in [&["list"][..], &["list", "--json"]] {
        let done = held(&program, arguments).expect_success();
        assert_eq!(done.stdout, "");
        assert!(!program.state_dir().join("ledger.db").exists(), "looking makes nothing");
    }
    for arguments in [&["show", "H-0001"][..], &["release", "H-0001"], &["redeliver", "1"], &["drop", "H-0001", "--yes"]] {
        let done = held(&program, arguments).expect_code(66);
        assert!(done.stderr.contains("H-0001 is not held"), "{}", done.stderr);
    }
    held(&program, &["release", "--all"]).expect_success();
    for arguments in [&["release"][..], &["drop"], &["show", "H-x"], &["release", "--all", "H-0001"], &["release", "1", "--to", "a\r\nb@x"]] {
        held(&program, arguments).expect_code(64);
    }
    held(&program, &["release", "--all", "--collector", "nobody"]).expect_code(64);
}

#[test]
fn hostile_fields_are_shown_harmless() {
    let program = program("{maildir: '/nowhere/{local}'}");
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}gpj.exe\u{2066}\u{200f}\u{9b}31m";
    let raw = format!(
        "From: {hostile} <a@remote.example>\r\nSubject: {hostile}=?utf-8?B?G1sySg==?=\r\nX-Odd:\t{hostile}\r\n\tfolded\r\nX-Raw: \u{1}\r\nMessage-ID: <1@x>\r\n\r\nthe content {hostile}\r\n"
    );
    let mut put = Put::new(key("source", "source", 1, 1), raw.as_bytes(), &[]);
    put.reason = "550 \u{1b}[2J no";
    put.into(&program);
    // Octets that are no UTF-8, and a subject of 100,000 characters.
    let mut raw = b"Subject: \xff\xfe".to_vec();
    raw.extend("я".repeat(50_000).bytes());
    raw.extend(b"\r\nFrom: =?utf-8?B?0JDQvdC90LA=?= <a@x>\r\nMessage-ID: <2@x>\r\n\r\n");
    Put::new(key("source", "source", 1, 2), &raw, &["a@example.org", "b@example.org", "c@example.org"]).into(&program);
    let list = held(&program, &["list"]).expect_success();
    assert_eq!(dangerous(&list.stdout), "");
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", list.stdout);
    assert!(lines.iter().all(|line| line.chars().count() < 250), "{}", list.stdout);
    assert!(lines[1].starts_with("H-0001  20") && lines[1].contains("source") && lines[1].contains("unresolved") && lines[1].contains("gpj.exe"));
    assert!(lines[2].contains("Анна <a@x>") && lines[2].contains("a@example.org and 2 more"), "{}", lines[2]);
    let json = held(&program, &["list", "--json"]).expect_success();
    assert_eq!(dangerous(&json.stdout), "");
    let objects: Vec<serde_json::Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2);
    assert_eq!((&objects[0]["number"], &objects[0]["why"], &objects[0]["at_source"]), (&"H-0001".into(), &"unresolved".into(), &"stays".into()));
    assert_eq!(objects[1]["recipients"].as_array().unwrap().len(), 3);
    assert_eq!(objects[1]["since"], "2026-11-21T10:02:00Z");
    for arguments in [&["show", "1"][..], &["show", "h-1", "--headers-only"], &["show", "H-0001", "--json"], &["show", "2"]] {
        let show = held(&program, arguments).expect_success();
        assert_eq!(dangerous(&show.stdout), "", "{arguments:?}");
        assert!(!show.stdout.contains("content"), "the header only: {}", show.stdout);
        assert!(show.stdout.contains("X-Odd") == (arguments[1] != "2") && show.stdout.len() < 20_000);
    }
}

#[test]
fn the_raw_message_is_the_message() {
    let program = program("{maildir: '/nowhere/{local}'}");
    let raw = b"Subject: a\r\nMessage-ID: <1@x>\r\n\r\n\x01\xff\xfe.\r\n.\r\nFrom x\r\n";
    let mail = Put::new(key("source", "source", 1, 1), raw, &[]).into(&program);
    let done = program.command("held", &["show", "H-0001", "--raw"]).output().unwrap();
    assert_eq!((done.status.code(), done.stdout.as_slice()), (Some(0), &raw[..]));
    // Gone or changed, it is said.
    let file = program.state_dir().join("held").join(format!("{}.eml", mail.trace_id));
    std::fs::write(&file, "x").unwrap();
    assert!(held(&program, &["show", "1", "--raw"]).expect_code(74).stderr.contains("was changed"));
    std::fs::remove_file(&file).unwrap();
    let done = held(&program, &["show", "1"]).expect_code(74);
    assert!(done.stderr.contains("is missing") && done.stdout.contains("550 5.1.1 no such user"), "what the row says is shown all the same");
    let done = held(&program, &["release", "1", "--to", "a@example.org"]).expect_code(74);
    assert!(done.stderr.contains("is missing"));
    assert_eq!(rows(&program).len(), 1, "and its row stays");
    held(&program, &["drop", "1", "--yes"]).expect_success();
    assert!(rows(&program).is_empty());
}

/// The whole way at real servers: held, never collected again, released by LMTP, and then disposed of at the source as configured.
#[test]
fn a_released_message_arrives_and_its_source_copy_is_disposed_of() {
    for (after, left) in [("delete", 0), ("mark_seen", 1), ("keep", 1)] {
        let (from, to) = (Dovecot::start(), Dovecot::builder().users(&["anna@example.org"]).start());
        from.put("source", &letter(1, "nobody@pop.example"));
        let collector = CollectorYaml::imap(&from, "source").after(after).auto("{map: {pop.example: example.org}}", "anna@example.org");
        let program = Mailgather::new(&config(&format!("{{lmtp: '127.0.0.1:{}'}}", to.lmtp()), &[collector]));
        // A pass that may not collect anything tells which epoch the mailbox has.
        let epoch = uidvalidity(&from);
        let raw = with_trace(&letter(1, "nobody@pop.example"));
        Put::new(key("source", "source", epoch, 1), &raw, &["anna@example.org"]).into(&program);
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("source: 0 delivered"), "held mail is not collected again: {}", done.stdout);
        let list = held(&program, &["list"]).expect_success();
        assert!(list.stdout.contains("anna@example.org"), "{}", list.stdout);
        let done = held(&program, &["release", "H-0001"]).expect_success();
        assert!(done.stdout.contains("H-0001: delivered to anna@example.org, lmtp") && done.stdout.contains("H-0001: done"), "{}", done.stdout);
        let arrived = to.messages("anna@example.org");
        assert_eq!(arrived.len(), 1);
        assert_eq!(field(&arrived[0], "X-Mailgather-Collector").as_deref(), Some("source"));
        assert!(field(&arrived[0], "X-Mailgather-Loop").is_some() && field(&arrived[0], "Received").is_some());
        assert_eq!(field(&arrived[0], "Return-Path").as_deref(), Some("<s@remote.example>"));
        assert_eq!((rows(&program).len(), files(&program)), (0, 0));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("source: 0 delivered"), "{}", done.stdout);
        assert_eq!((from.count("source"), to.count("anna@example.org")), (left, 1), "after: {after}");
        assert_eq!(from.flags("source").iter().any(|flags| flags.contains('S')), after == "mark_seen");
    }
}

/// The UIDVALIDITY of INBOX of `source`.
fn uidvalidity(server: &Dovecot) -> u32 {
    use std::io::{Read, Write};
    let mut imap = std::net::TcpStream::connect(("127.0.0.1", server.imap())).unwrap();
    imap.write_all(format!("a LOGIN source {}\r\nb SELECT INBOX\r\nc LOGOUT\r\n", dovecot::PASSWORD).as_bytes()).unwrap();
    let mut text = String::new();
    imap.read_to_string(&mut text).unwrap();
    let digits = text.split("UIDVALIDITY ").nth(1).unwrap().split(']').next().unwrap();
    digits.parse().unwrap()
}

/// Line ends as they come over the wire.
fn with_trace(letter: &[u8]) -> Vec<u8> {
    crate::support::corpus::canonical(letter)
}

#[test]
fn what_is_left_of_the_recipients_stays_held() {
    let sink =
        Sink::lmtp_builder().on_text("RCPT", "b@example.org", "550 5.1.1 b is unknown").on_text("DOT", "c@example.org", "452 4.2.2 full").start();
    let program = program(&sink.delivery());
    Put::new(key("source", "source", 1, 1), b"Subject: x\r\nMessage-ID: <1@x>\r\n\r\n", &["a@example.org", "b@example.org", "c@example.org"])
        .into(&program);
    let done = held(&program, &["release", "--all"]).expect_code(75);
    for line in [
        "delivered to a@example.org",
        "not delivered to b@example.org",
        "550 5.1.1 b is unknown",
        "452 4.2.2 full",
        "stays held: for b@example.org, c@example.org",
    ] {
        assert!(done.stdout.contains(line), "{line}: {}", done.stdout);
    }
    let (mail, copy) = rows(&program).remove(0);
    assert_eq!((mail.recipients, copy, files(&program)), (vec!["b@example.org".to_owned(), "c@example.org".to_owned()], AtSource::Stays, 1));
    assert_eq!(mail.id, HeldId(1));
    // The rest goes elsewhere.
    let done = held(&program, &["release", "H-0001", "--to", "d@example.org", "--to", "D@EXAMPLE.ORG", "--to", "e@example.org"]).expect_success();
    assert!(done.stdout.contains("H-0001: done"), "{}", done.stdout);
    let taken: Vec<Vec<String>> = sink.taken().into_iter().map(|taken| taken.recipients).collect();
    assert_eq!(taken[0], ["a@example.org"]);
    assert!(taken[1].contains(&"d@example.org".to_owned()) && taken[1].contains(&"e@example.org".to_owned()) && taken.len() == 2, "{taken:?}");
    assert_eq!((rows(&program).len(), files(&program)), (0, 0));
    assert_eq!(sink.violations(), Vec::<String>::new());
}

#[test]
fn a_target_that_does_not_say_yes_gets_nothing_out() {
    for (sink, words) in [
        (Sink::builder().close_at("CONNECT", 0), "not delivered"),
        (Sink::builder().on("MAIL", 0, "451 later"), "451 later"),
        (Sink::builder().on("DOT", 0, "554 5.7.1 spam"), "554 5.7.1 spam"),
        (Sink::builder().close_at("DOT", 0), "perhaps delivered"),
        (Sink::builder().take_and_close_at("DOT", 0), "perhaps delivered"),
    ] {
        let sink = sink.start();
        let program = program(&sink.delivery());
        let mail = Put::new(key("source", "source", 1, 1), b"Subject: x\r\n\r\n", &["a@example.org"]).into(&program);
        let done = held(&program, &["release", "1"]).expect_code(75);
        assert!(done.stdout.contains(words) && done.stdout.contains("stays held"), "{words}: {}", done.stdout);
        assert_eq!((rows(&program), files(&program)), (vec![(mail, AtSource::Stays)], 1), "{words}");
    }
}

#[test]
fn nobody_was_found_so_somebody_must_be_named() {
    let sink = Sink::smtp();
    let program = program(&sink.delivery());
    let mut put = Put::new(key("source", "source", 1, 1), b"Subject: x\r\nBcc: secret@pop.example\r\n\r\nbody\r\n", &[]);
    put.sender = "";
    put.into(&program);
    let done = held(&program, &["release", "1"]).expect_code(75);
    assert!(done.stdout.contains("say `--to ADDR`"), "{}", done.stdout);
    assert_eq!(sink.count(), 0);
    held(&program, &["release", "1", "--to", "ivan@example.org"]).expect_success();
    let taken = sink.taken().remove(0);
    assert_eq!((taken.from.as_str(), taken.recipients), ("", vec!["ivan@example.org".to_owned()]));
    assert_eq!(field(&taken.content, "Bcc"), None, "the other recipients of the remote mailbox are nobody's business");
    assert!(field(&taken.content, "X-Mailgather-Unresolved").is_some());
}

#[test]
fn redelivery_goes_by_todays_rules() {
    let sink = Sink::smtp();
    let at = |rules: &str| config(&sink.delivery(), &[CollectorYaml::at("imap", "source", 9).set("recipient", &format!("{{auto: {rules}}}"))]);
    let program = Mailgather::new(&at("{map: {other.example: example.org}}"));
    let raw = with_trace(&letter(7, "anna@pop.example"));
    Put::new(key("source", "source", 1, 1), &raw, &[]).into(&program);
    let done = held(&program, &["redeliver", "1"]).expect_code(75);
    assert!(done.stdout.contains("stays held"), "{}", done.stdout);
    assert_eq!((sink.count(), rows(&program).len()), (0, 1));
    program.configure(&at("{map: {pop.example: example.org}}"));
    let done = held(&program, &["redeliver", "1"]).expect_success();
    assert!(done.stdout.contains("delivered to anna@example.org"), "{}", done.stdout);
    assert_eq!((sink.taken()[0].recipients.as_slice(), rows(&program).len(), files(&program)), (&["anna@example.org".to_owned()][..], 0, 0));
}

#[test]
fn redelivery_passes_over_who_has_this_very_message() {
    let sink = Sink::smtp();
    let program = Mailgather::new(&config(
        &sink.delivery(),
        &[CollectorYaml::at("imap", "source", 9).set("recipient", "{auto: {aliases: {list@pop.example: [a@example.org, b@example.org]}}}")],
    ));
    let raw = with_trace(&letter(7, "list@pop.example"));
    let mut put = Put::new(key("source", "source", 1, 1), &raw, &["b@example.org"]);
    put.had = &["a@example.org"];
    put.into(&program);
    let done = held(&program, &["redeliver", "1"]).expect_success();
    assert!(done.stdout.contains("a@example.org has it already") && done.stdout.contains("delivered to b@example.org"), "{}", done.stdout);
    assert_eq!(sink.taken().len(), 1);
    assert_eq!(sink.taken()[0].recipients, ["b@example.org"]);
}

#[test]
fn dropping_asks_and_is_final() {
    let (from, boxes) = (Dovecot::start(), Boxes::new());
    from.put("source", &letter(1, "nobody@pop.example"));
    let program = Mailgather::new(&config(&boxes.delivery(), &[CollectorYaml::imap(&from, "source").forward_to("a@example.org")]));
    let epoch = uidvalidity(&from);
    Put::new(key("source", "source", epoch, 1), &with_trace(&letter(1, "nobody@pop.example")), &[]).into(&program);
    Put::new(key("gone", "gone", 1, 1), b"Subject: second\r\n\r\n", &[]).into(&program);
    // Nobody there to be asked.
    let done = held(&program, &["drop", "--all"]).expect_code(64);
    assert!(done.stderr.contains("its copy stays there") && done.stderr.contains("`--yes`"), "{}", done.stderr);
    assert_eq!(rows(&program).len(), 2);
    // On a terminal.
    for (answer, arguments, code, left) in [("yes", "drop H-0001", 75, 2), ("H-0001", "drop 1", 0, 1)] {
        let command = program.command("held", &[]);
        let line: Vec<String> =
            std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy().into_owned()).collect();
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("{} {arguments}", line.join(" ")), "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), format!("{answer}\n").as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(text.contains("cannot be undone"), "{text}");
        assert_eq!((done.status.code(), rows(&program).len()), (Some(code), left), "{answer}: {text}");
    }
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("source: 0 delivered"), "what was dropped does not come again: {}", done.stdout);
    held(&program, &["drop", "--all", "--yes"]).expect_success();
    assert_eq!((rows(&program).len(), files(&program), from.count("source")), (0, 0, 1));
}

#[test]
fn only_looking_works_beside_a_daemon() {
    let sink = Sink::smtp();
    let program = program(&sink.delivery());
    Put::new(key("source", "source", 1, 1), b"Subject: x\r\n\r\n", &["a@example.org"]).into(&program);
    let mut daemon = program.run();
    daemon.wait_for("service_started");
    assert!(held(&program, &["list"]).expect_success().stdout.contains("H-0001"));
    assert!(held(&program, &["show", "1"]).expect_success().stdout.contains("a@example.org"));
    for arguments in [&["release", "1"][..], &["redeliver", "1"], &["drop", "1", "--yes"]] {
        let done = held(&program, arguments).expect_code(75);
        assert!(done.stderr.contains("another mailgather uses the state directory") && done.stderr.contains("hint: "), "{}", done.stderr);
    }
    assert_eq!((sink.count(), rows(&program).len()), (0, 1));
    drop(daemon);
    held(&program, &["release", "1"]).expect_success();
}

#[test]
fn a_collector_that_is_gone_needs_a_name() {
    let sink = Sink::smtp();
    let program = program(&sink.delivery());
    Put::new(key("old", "old", 1, 1), b"Subject: x\r\n\r\n", &["a@example.org"]).into(&program);
    assert!(held(&program, &["list"]).expect_success().stdout.contains("old"));
    held(&program, &["show", "1"]).expect_success();
    let done = held(&program, &["release", "1"]).expect_code(75);
    assert!(done.stdout.contains("old is not in the configuration") && done.stderr.contains("--collector NAME"), "{}{}", done.stdout, done.stderr);
    held(&program, &["release", "1", "--collector", "source"]).expect_success();
    assert_eq!((sink.count(), rows(&program).len()), (1, 0));
    // A collector that was only renamed is found by its mailbox.
    Put::new(key("former", "source", 1, 2), b"Subject: y\r\n\r\n", &["a@example.org"]).into(&program);
    held(&program, &["release", "--all"]).expect_success();
    assert_eq!((sink.count(), rows(&program).len()), (2, 0));
}

/// SIGKILL behind the content and before the row ends: it stays held, and comes once more; a Maildir finds its file.
#[test]
fn a_kill_between_delivery_and_record_loses_nothing() {
    let sink = Sink::builder().silence_at("DOT", 1).start();
    let program = program(&sink.delivery());
    Put::new(key("source", "source", 1, 1), b"Subject: x\r\n\r\nbody\r\n", &["a@example.org"]).into(&program);
    let mut child = program.command("held", &["release", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the content is over", SOON, || sink.commands().iter().any(|line| line.contains("DATA")));
    std::thread::sleep(std::time::Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((rows(&program).len(), files(&program)), (1, 1));
    held(&program, &["release", "1"]).expect_success();
    assert_eq!((rows(&program).len(), files(&program), sink.count()), (0, 0, 1));

    let boxes = Boxes::new();
    let program = Mailgather::new(&config(&boxes.delivery(), &[CollectorYaml::at("imap", "source", 9).forward_to("a@example.org")]));
    let put = || Put::new(key("source", "source", 1, 1), b"Subject: x\r\n\r\nbody\r\n", &["a@example.org"]).into(&program);
    put();
    held(&program, &["release", "1"]).expect_success();
    // As if the kill had come before the row ended.
    put();
    held(&program, &["release", "--all"]).expect_success();
    assert_eq!((boxes.of("a@example.org").count(), rows(&program).len()), (1, 0));
}

#[test]
fn umask_000_makes_nothing_readable() {
    use std::os::unix::fs::PermissionsExt;
    let sink = Sink::smtp();
    let program = program(&sink.delivery());
    let mut command = std::process::Command::new("/bin/sh");
    let inner = program.command("held", &["release", "--all"]);
    command.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    process::finish(command, std::time::Duration::from_secs(60)).expect_success();
    let mode = |name: &str| std::fs::metadata(program.state_dir().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("held"), mode("ledger.db"), mode("lock")), (0o700, 0o600, 0o600));
}

/// 100 MiB are held, shown and released without being in memory.
#[test]
fn a_large_message_is_never_in_memory() {
    const MIB: u64 = 1 << 20;
    let boxes = Boxes::new();
    let program = Mailgather::new(&config(&boxes.delivery(), &[CollectorYaml::at("imap", "source", 9).forward_to("a@example.org")]));
    let before = peak_memory(std::process::id());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mail = runtime.block_on(async {
        let ledger = Arc::new(SqliteLedger::open(&program.state_dir().join("ledger.db")).unwrap());
        let store = HeldStore::open(&program.state_dir().join("held"), HeldLimits::default(), ledger.clone()).unwrap();
        let mut intake = Spool::new(&program.path().join("test-spool"), MIB, 64 * MIB).unwrap().intake(key("source", "source", 1, 1), None).await;
        intake.write(b"Subject: large\r\nMessage-ID: <1@x>\r\n\r\n").await.unwrap();
        let piece = "0123456789abcdef\r\n".repeat(58_255);
        for _ in 0..100 {
            intake.write(piece.as_bytes()).await.unwrap();
        }
        let message = intake.finish().await.unwrap();
        let recipients = [Recipient::new("a@example.org".parse().unwrap())];
        let note = HoldNote {
            why: HeldWhy::Refused,
            reason: "552 too large",
            sender: &ReversePath::Null,
            recipients: &recipients,
            done: &[],
            from_journal: false,
            now: NOW,
        };
        let mail = store.hold(&message, note).await.unwrap();
        let claim = ledger.claim(&mail.key.mailbox).await.unwrap();
        let place = ledger.progress(&claim, &mail.key.folder, mail.key.epoch, History::None).await.unwrap().place;
        ledger.record(&place, Entry { held: Some(Box::new(mail.clone())), ..Entry::new(mail.key.uid.clone(), State::Held, None) }).await.unwrap();
        assert_eq!(store.message(&mail).await.unwrap().fingerprint, message.fingerprint);
        mail
    });
    assert!(mail.octets > 99 * MIB);
    assert!(peak_memory(std::process::id()) < before + 48 * MIB, "holding took {} MiB", (peak_memory(std::process::id()) - before) / MIB);
    let mut child = program.command("held", &["release", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut most = 0;
    let status = loop {
        most = most.max(peak_memory(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(status.success() && (MIB..64 * MIB).contains(&most), "{status}, {} MiB", most / MIB);
    let arrived = maildir::with_crlf(&boxes.of("a@example.org").messages()[0]);
    assert!((mail.octets..mail.octets + 4096).contains(&(arrived.len() as u64)), "the message and our fields");
}
/// The examples of docs/held.md, one behind the other: each prints what the page says.
#[test]
fn the_page_tells_the_truth() {
    let page = include_str!("../../docs/held.md");
    let sink = Sink::lmtp_builder().on_text("RCPT", "b@example.org", "550 5.1.1 b is unknown").start();
    let collector = CollectorYaml::at("imap", "sales@x.example", 9).id("sales");
    let with_map = |map: &str| config(&sink.delivery(), &[collector.clone().set("recipient", &format!("{{auto: {{map: {map}}}}}"))]);
    let program = Mailgather::new(&with_map("{other.example: example.org}")).env("TZ", "UTC");
    let received = "Received: from out.x.example (out.x.example [192.0.2.7])\r\n\tby localhost with ESMTP id 1; Sat, 21 Nov 2026 10:00:00 +0000\r\n";
    let first = format!(
        "X-Original-To: ivan@pop.example\r\n{received}From: =?utf-8?B?0JDQvdC90LA=?= <anna@x.example>\r\nSubject: =?utf-8?B?0J/RgNC40LLQtdGC?=\r\nMessage-ID: <1@x.example>\r\n\r\nbody\r\n"
    );
    let mut put = Put::new(key("sales", "sales@x.example", 7, 12), first.as_bytes(), &[]);
    (put.reason, put.sender) = ("foreign_address_only", "anna@x.example");
    put.into(&program);
    let second = format!("From: Boris <boris@x.example>\r\nSubject: Offer\r\nMessage-ID: <2@x.example>\r\n\r\n{}", "a line\r\n".repeat(300));
    let mut put = Put::new(key("sales", "sales@x.example", 7, 13), second.as_bytes(), &["a@example.org", "b@example.org"]);
    (put.reason, put.sender) = ("after RCPT TO: 451 4.3.0 try again", "boris@x.example");
    put.why = HeldWhy::GaveUp;
    put.into(&program);
    let examples = page.split("```console\n$ mailgather held ").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (mut said, mut done, mut count) = (String::new(), String::new(), 0);
    for example in examples {
        let (arguments, expected) = example.split_once('\n').unwrap();
        if arguments.starts_with("redeliver") {
            program.configure(&with_map("{pop.example: example.org}"));
        }
        if arguments.starts_with("drop") {
            Put::new(key("sales", "sales@x.example", 7, 12), first.as_bytes(), &[]).into(&program);
        }
        let finished = held(&program, &arguments.split(' ').collect::<Vec<_>>());
        let printed = finished.stdout.replace(&format!("127.0.0.1:{}", sink.port()), "unix:/run/dovecot/lmtp");
        said.push_str(&format!("$ mailgather held {arguments}\n{expected}"));
        done.push_str(&format!("$ mailgather held {arguments}\n{printed}"));
        count += 1;
    }
    assert_eq!(count, 6);
    assert!(said == done, "the page says\n{said}\nand the program\n{done}");
    assert!(rows(&program).is_empty());
}

#[test]
fn a_state_directory_without_a_ledger_is_named() {
    let text = config("{lmtp: '127.0.0.1:1'}", &[CollectorYaml::at("imap", "u", 1).forward_to("a@b.example")]);
    let program = Mailgather::new(&text);
    let none = program.path().join("none");
    let missing = none.to_str().unwrap();
    // The harness would name a state directory of its own.
    let held = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::process::PROGRAM);
        command.args(["held", "list", "--config", program.config_file().to_str().unwrap()]).args(arguments);
        crate::support::process::finish(command, std::time::Duration::from_secs(60))
    };
    let gone = held(&["--state-dir", missing]).expect_code(66);
    assert!(gone.stderr.contains(&format!("the state directory {missing} does not exist")), "{}", gone.stderr);
    std::fs::create_dir(&none).unwrap();
    for arguments in [&["--state-dir", missing][..], &["--state-dir", missing, "--json"]] {
        let empty = held(arguments).expect_success();
        assert!(empty.stdout.is_empty(), "{}", empty.stdout);
        assert!(empty.stderr.contains(&format!("note: no ledger in {missing}: nothing was collected there yet")), "{}", empty.stderr);
    }
    // By the file: no error, and named all the same.
    program.configure(&text.replace("service: {", &format!("service: {{state_dir: {missing}/deeper, ")));
    let configured = held(&[]).expect_success();
    assert!(configured.stderr.contains(&format!("note: no ledger in {missing}/deeper")), "{}", configured.stderr);
}
