//! `mailgather clear`: what it forgets comes again, and nothing else.

use super::*;
use mailgather::ledger::sqlite::SqliteLedger;
use mailgather::ledger::{Ledger, Mark};
use mailgather::mail::{Epoch, FolderName, MailboxId, RemoteUid};
use std::io::Write;
use std::process::Stdio;

type Protocol = fn(&Dovecot, &str) -> CollectorYaml;
const BOTH: [(&str, Protocol); 2] = [("imap", CollectorYaml::imap), ("pop3", CollectorYaml::pop3)];

fn twice(numbers: std::ops::Range<usize>) -> Vec<String> {
    letters(numbers.clone().chain(numbers))
}

/// With duplicates suppressed for a week, and a target that knows each message by its id: forgotten is forgotten.
#[test]
fn i13_what_was_collected_comes_again_and_is_counted_before() {
    for (user, protocol) in BOTH {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        fill(&server, user, 0..5);
        let program = Mailgather::new(&config(&boxes.delivery(), &[resolving(protocol(&server, user)).set("max_messages_per_session", "2")]));
        assert!(program.once(&[]).expect_success().stdout.contains("5 delivered"));
        OtherClient::inbox(server.imap(), user).expunge(&[3]);
        let flags = server.flags(user);
        let done = program.run_to_end("clear", &[user, "--yes"]).expect_success();
        assert!(done.stderr.contains(&format!("This forgets 5 collected messages of «{user}» (127.0.0.1, {user}).")), "{}", done.stderr);
        assert!(done.stderr.contains("4 of them are still on the server and WILL BE COLLECTED AND DELIVERED AGAIN."), "{}", done.stderr);
        assert!(done.stdout.contains(&format!("{user}: 5 forgotten, 4 of them")), "{}", done.stdout);
        assert_eq!(server.flags(user), flags, "the server was only asked");
        // The limit of a session is for this mail too.
        let again = program.once(&[]).expect_success();
        assert!(again.stdout.contains("4 delivered") && !again.stdout.contains("duplicates"), "{}", again.stdout);
        assert!(again.stderr.matches("session_started").count() >= 2, "{}", again.stderr);
        assert_eq!(arrived(&boxes), letters([0, 1, 2, 3, 4, 0, 1, 3, 4]));
        // It counts as collected once more, and may be forgotten once more.
        assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"));
        let done = program.run_to_end("clear", &[user, "--yes", "--json"]).expect_success();
        let json: serde_json::Value = serde_json::from_str(done.stdout.trim()).unwrap();
        assert_eq!((&json["forgotten"], &json["again"], &json["held"]), (&4.into(), &4.into(), &0.into()), "{json}");
        assert!(program.once(&[]).expect_success().stdout.contains("4 delivered"));
        assert_eq!(boxes.subjects(BOX).len(), 13, "{user}");
    }
}

#[test]
fn i13_some_by_uid_by_date_and_by_folder() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    fill(&server, "u", 0..4);
    let program = Mailgather::new(&config(&boxes.delivery(), &[resolving(CollectorYaml::imap(&server, "u"))]));
    program.once(&[]).expect_success();
    let clear = |more: &[&str]| program.run_to_end("clear", &[&["u", "--yes"], more].concat());
    for (more, code, says) in [
        (&["--uid", "99"][..], 66, "`99` is not one that was collected"),
        (&["--uid", "x"], 64, "no UID of IMAP"),
        (&["--uid", "1", "--uid", "99"], 66, "`99`"),
        (&["--folder", "Nowhere"], 66, "it knows `INBOX`"),
        (&["--before", "soon"], 64, "neither a date"),
        (&["--offline", "--mark-collected"], 64, "cannot be used with"),
        (&["--before", "2020-01-01"], 0, "This forgets 0 collected messages"),
    ] {
        let done = clear(more).expect_code(code);
        assert!(done.stderr.contains(says), "{more:?}: {}", done.stderr);
    }
    assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"), "nothing was forgotten so far");
    assert!(clear(&["--uid", "2", "--uid", "4"]).expect_success().stdout.contains("2 forgotten, 2 of them"));
    assert!(program.once(&[]).expect_success().stdout.contains("2 delivered"));
    assert_eq!(arrived(&boxes), letters([0, 1, 2, 3, 1, 3]));
    assert!(clear(&["--folder", "inbox", "--before", "2100-01-01", "--offline"]).expect_success().stderr.contains("cannot be told"));
    assert!(program.once(&[]).expect_success().stdout.contains("4 delivered"));
    assert_eq!(boxes.subjects(BOX).len(), 10);
}

/// Nothing is forgotten without a yes: not by a slip, not by a script that does not say so, and not beside a daemon.
#[test]
fn i13_it_asks_for_the_collectors_name() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    fill(&server, "u", 0..2);
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap(&server, "u"))]));
    program.once(&[]).expect_success();
    assert!(program.run_to_end("clear", &["u"]).expect_code(64).stderr.contains("--yes"));
    assert!(program.run_to_end("clear", &["nobody", "--yes"]).expect_code(64).stderr.contains("the configuration has: u"));
    let mut daemon = program.run();
    daemon.wait_for("session_finished");
    let busy = program.run_to_end("clear", &["u", "--yes"]).expect_code(75);
    assert!(busy.stderr.contains("stop it first"), "{}", busy.stderr);
    daemon.stop();
    // On a terminal.
    let line = std::iter::once(support::process::PROGRAM.to_owned()).chain(program.arguments("clear")).chain(["u".to_owned()]);
    let line = line.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    for (answer, code) in [("yes\n", 75), ("\n", 75), ("u\n", 0)] {
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env(support::process::PASSWORD_VARIABLE, support::dovecot::PASSWORD);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout);
        assert_eq!(done.status.code(), Some(code), "{answer:?}: {text}");
        assert!(text.contains("Type the collector's name to go on:") && text.contains("2 of them are still on the server"), "{text}");
        let again = if code == 0 { "2 delivered" } else { "0 delivered" };
        assert!(program.once(&[]).expect_success().stdout.contains(again), "{answer:?}");
    }
    assert_eq!(arrived(&boxes), twice(0..2));
}

/// A server that cannot be asked is no reason not to forget; the answer says what it does not know.
#[test]
fn i13_a_server_that_cannot_be_reached() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    fill(&server, "u", 0..3);
    let collector = forwarding(CollectorYaml::imap(&server, "u"));
    let program = Mailgather::new(&config(&boxes.delivery(), std::slice::from_ref(&collector)));
    program.once(&[]).expect_success();
    let nobody = support::ports::Port::reserve();
    program.configure(&config(&boxes.delivery(), &[collector.clone().by_port(nobody.number())]));
    let done = program.run_to_end("clear", &["u", "--yes", "--json"]).expect_success();
    assert!(done.stderr.contains("cannot be told: the server was asked, and"), "{}", done.stderr);
    let json: serde_json::Value = serde_json::from_str(done.stdout.trim()).unwrap();
    assert_eq!((&json["forgotten"], &json["again"]), (&3.into(), &serde_json::Value::Null));
    program.configure(&config(&boxes.delivery(), &[collector]));
    assert!(program.once(&[]).expect_success().stdout.contains("3 delivered"));
    assert_eq!(arrived(&boxes), twice(0..3));
}

/// Held mail stays held, with one copy; what was dropped can be had again; what is deleted at the source is delivered again before.
#[test]
fn i13_held_mail_and_what_is_owed() {
    let (from, to) = (Dovecot::start(), Dovecot::builder().users(&[BOX]).start());
    fill(&from, "u", 0..2);
    let collector = |to: &str| CollectorYaml::imap(&from, "u").after("delete").forward_to(to);
    let delivery = format!("{{lmtp: '127.0.0.1:{}'}}", to.lmtp());
    let program = Mailgather::new(&config(&delivery, &[collector("nobody@example.org")]));
    assert!(program.once(&[]).expect_success().stdout.contains("2 held"));
    program.run_to_end("held", &["drop", "1", "--yes"]).expect_success();
    let done = program.run_to_end("clear", &["u", "--yes"]).expect_success();
    assert!(
        done.stderr.contains("This forgets 1 collected message of") && done.stderr.contains("1 held message is not forgotten"),
        "{}",
        done.stderr
    );
    program.configure(&config(&delivery, &[collector(BOX)]));
    assert!(program.once(&[]).expect_success().stdout.contains("1 delivered"));
    assert_eq!((to.count(BOX), from.count("u")), (1, 1));
    assert_eq!(program.run_to_end("held", &["list", "--json"]).expect_success().stdout.lines().count(), 1);
    program.run_to_end("held", &["release", "2", "--to", BOX]).expect_success();
    program.once(&[]).expect_success();
    assert_eq!((support::maildir::subjects(&to.messages(BOX)), from.count("u")), (letters(0..2), 0));
}

/// The reverse: what is there counts as collected, before the first pass or after it, and can be forgotten again.
#[test]
fn i13_marked_as_collected() {
    for (user, protocol) in BOTH {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        fill(&server, user, 0..4);
        let program = Mailgather::new(&config(&boxes.delivery(), &[resolving(protocol(&server, user))]));
        let mark = |more: &[&str]| program.run_to_end("clear", &[&[user, "--mark-collected", "--yes"], more].concat());
        assert!(mark(&["--before", "2020-01-01"]).expect_success().stdout.contains("0 marked"));
        let done = mark(&["--json"]).expect_success();
        let json: serde_json::Value = serde_json::from_str(done.stdout.trim()).unwrap();
        assert_eq!((&json["there"], &json["marked"], &json["given_up"]), (&4.into(), &4.into(), &0.into()), "{json}");
        assert!(done.stderr.contains("4 messages on the server of"), "{}", done.stderr);
        assert_eq!(server.flags(user), ["", "", "", ""]);
        fill(&server, user, 4..5);
        assert!(program.once(&[]).expect_success().stdout.contains("1 delivered"));
        assert!(mark(&[]).expect_success().stdout.contains("0 marked as collected, 5 were so before"));
        assert_eq!(arrived(&boxes), letters(4..5), "{user}");
        let done = program.run_to_end("clear", &[user, "--yes"]).expect_success();
        assert!(done.stdout.contains("5 forgotten, 5 of them"), "{}", done.stdout);
        assert!(program.once(&[]).expect_success().stdout.contains("5 delivered"));
        assert_eq!(arrived(&boxes), letters([0, 1, 2, 3, 4, 4]), "{user}");
    }
}

/// By date: what arrived before counts as collected, the rest comes.
#[test]
fn i13_marked_as_collected_by_date() {
    for (user, protocol) in BOTH {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        fill(&server, user, 0..2);
        let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(protocol(&server, user))]));
        let done = program.run_to_end("clear", &[user, "--mark-collected", "--yes", "--before", "2100-01-01"]).expect_success();
        assert!(done.stdout.contains("2 marked"), "{}", done.stdout);
        fill(&server, user, 2..3);
        assert!(program.once(&[]).expect_success().stdout.contains("1 delivered"));
        assert_eq!(arrived(&boxes), letters(2..3), "{user}");
    }
}

/// A kill at any moment leaves all forgotten, or nothing.
#[test]
fn i13_a_kill_in_the_midst_forgets_all_or_nothing() {
    const MANY: u32 = 20_000;
    let program = Mailgather::new(&config("{maildir: '/nowhere'}", &[forwarding(CollectorYaml::at("imap", "u", 1))]));
    let path = program.state_dir().join("ledger.db");
    let mailbox = MailboxId { protocol: "imap", host: "127.0.0.1".into(), login: "u".into() };
    let mark = Mark { folder: FolderName::inbox(), epoch: Epoch(7), uids: (1..=MANY).map(RemoteUid::Number).collect(), whole: true };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let marked = || {
        let ledger = SqliteLedger::open(&path).unwrap();
        runtime.block_on(ledger.mark_collected(&mailbox, std::slice::from_ref(&mark))).unwrap().marked
    };
    assert_eq!(marked(), u64::from(MANY));
    let clear = || program.command("clear", &["u", "--yes", "--offline", "-q"]);
    let took = support::process::finish(clear(), SOON).expect_success().took;
    assert_eq!(marked(), u64::from(MANY), "all of them were forgotten");
    let (mut whole, mut none) = (0, 0);
    for step in 0..=20 {
        let mut child = clear().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took * step / 16);
        let _ = child.kill();
        let _ = child.wait();
        // What marking finds to do is what was forgotten.
        match marked() {
            0 => none += 1,
            many if many == u64::from(MANY) => whole += 1,
            many => panic!("{many} of {MANY} were forgotten"),
        }
    }
    assert!(none > 0 && whole > 0, "{none} {whole}");
}
