//! Rows of the requirements, and what goes with them, by the whole program: nothing in collecting knows the protocol.

use crate::support::certificates::{Authority, for_names};
use crate::support::dovecot::PASSWORD;
use crate::support::ews::{Item, Judge, Login, Trouble};
use crate::support::maildir::field;
use crate::support::*;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

pub const BOX: &str = "u@corp.example";

pub fn letter(number: usize) -> Vec<u8> {
    format!("From: a@b.example\r\nSubject: {number:04}\r\nMessage-ID: <{number}@b.example>\r\n\r\nText {number}\r\n").into_bytes()
}

/// One collector, with these lines more.
pub fn yaml(server: &Ews, delivery: &str, more: &str) -> String {
    yaml_of(&server.url(), delivery, &format!("username: {BOX}\nauth: {{method: password, allow_plaintext: true}}\n{more}"))
}

pub fn yaml_of(url: &str, delivery: &str, more: &str) -> String {
    let lines: String = more.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "service: {{start_jitter: 0s, spool_above: 64KiB}}\nlog: {{level: debug}}\ndelivery: {delivery}\ncollectors:\n  box:\n    protocol: exchange\n    \
         url: {url}\n    password: {{env: MAILGATHER_TEST_PASSWORD}}\n    interval: 24h\n    recipient: {{forward_to: [anna@example.org]}}\n{lines}"
    )
}

fn start(count: usize) -> (Ews, Sink) {
    let server = Ews::start();
    server.accounts(&[BOX, "CORP\\u"], PASSWORD);
    (1..=count).for_each(|number| drop(server.put("INBOX", &letter(number))));
    (server, Sink::lmtp())
}

fn subjects(sink: &Sink) -> Vec<String> {
    let mut all: Vec<String> = sink.taken().iter().map(|taken| field(&taken.content, "Subject").unwrap_or_default()).collect();
    all.sort();
    all
}

fn numbers(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|number| format!("{number:04}")).collect()
}

/// P3, P4: Exchange is a protocol among others, at an address with a scheme.
#[test]
fn p3_p4_mail_is_collected_over_ews_and_then_only_what_is_new() {
    let (server, sink) = start(120);
    let program = Mailgather::new(&yaml(&server, &sink.delivery(), "collect: new\nafter: keep\nmax_messages_per_session: 0"));
    program.check().expect_success();
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), numbers(1..=120));
    for taken in sink.taken() {
        assert!(String::from_utf8_lossy(&taken.content).ends_with("\r\n"));
    }
    assert_eq!((server.count("GetItem") <= 4, server.count("UpdateItem") + server.count("DeleteItem") + server.count("MoveItem")), (true, 0));
    (121..=123).for_each(|number| drop(server.put("INBOX", &letter(number))));
    server.world(|world| world.operations.clear());
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), numbers(1..=123));
    assert_eq!((server.count("SyncFolderItems"), server.count("GetItem")), (1, 1), "only what has changed was asked for");
    // The state is lost, and so is what the server knows of us: nothing comes twice.
    server.world(|world| world.store.generation += 1);
    program.once(&[]).expect_success();
    assert_eq!(sink.count(), 123);
    server.assert_no_violations();
}

/// A mailbox that was restored or has moved calls all messages by other ids: they are compared with what was collected, be it more than one listing
/// holds.
#[test]
fn f67_other_ids_for_all_messages_and_nothing_comes_twice() {
    for count in [50, 10_050] {
        let (server, sink) = start(count);
        let program = Mailgather::new(&yaml(&server, &sink.delivery(), "collect: new\nafter: keep\nmax_messages_per_session: 0"));
        program.once(&[]).expect_success();
        assert_eq!(sink.count(), count);
        server.world(|world| world.store.restore());
        let fresh = server.put("INBOX", &letter(count + 1));
        program.once(&[]).expect_success();
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains(": 0 delivered"), "{}", done.stdout);
        assert_eq!((sink.count(), field(&sink.taken()[count].content, "Subject")), (count + 1, Some(format!("{:04}", count + 1))), "{fresh}");
        // From here on the new ids are the ones that are known.
        server.world(|world| world.operations.clear());
        program.once(&[]).expect_success();
        assert_eq!((server.count("SyncFolderItems"), server.count("GetItem")), (1, 0));
        server.assert_no_violations();
    }
}

/// C1, C13: unread mail is collected and marked read, 1000 messages with each session, and the rest at once in the next.
#[test]
fn c13_a_thousand_messages_with_each_session_and_the_rest_behind_them() {
    let (server, sink) = start(1_100);
    let keys = "collect: unseen\nafter: mark_seen\nmax_messages_per_session: 1000\nexchange_version: Exchange2013_SP1";
    let program = Mailgather::new(&yaml(&server, &sink.delivery(), keys));
    let _ = program.once(&[]).expect_success();
    let first = sink.count();
    assert!(first == 1_000 || first == 1_100, "{first}");
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), numbers(1..=1_100));
    assert!(server.items(BOX, "INBOX").iter().all(|item| item.is_read));
    assert_eq!(server.world(|world| world.receipts), 0);
    server.assert_no_violations();
}

/// Each way in which a collected message may be disposed of.
#[test]
fn messages_are_kept_marked_deleted_and_moved() {
    for (after, left, elsewhere) in
        [("keep", 5, ""), ("mark_seen", 5, ""), ("delete", 0, "#recoverableitemsdeletions"), ("{move_to: Done/Mail}", 0, "Done/Mail")]
    {
        let (server, sink) = start(5);
        server.world(|world| world.store.folder(BOX, "Done/Mail"));
        let program = Mailgather::new(&yaml(&server, &sink.delivery(), &format!("collect: new\nafter: {after}")));
        for _ in 0..2 {
            program.once(&[]).expect_success();
            assert_eq!(sink.count(), 5, "{after}");
        }
        let items = server.items(BOX, "INBOX");
        assert_eq!((items.len(), items.iter().filter(|item| item.is_read).count()), (left, if after == "mark_seen" { 5 } else { 0 }), "{after}");
        if !elsewhere.is_empty() {
            assert_eq!(server.items(BOX, elsewhere).len(), 5, "{after}");
        }
        server.assert_no_violations();
    }
}

/// Folders by path and by what they are, whatever they are called.
#[test]
fn several_folders_by_path_and_by_what_they_are() {
    let (server, sink) = start(2);
    server.put("Lists/Rust", &letter(3));
    server.put("Junk-E-Mail", &letter(4));
    server.put("Elsewhere", &letter(5));
    let keys = "collect: new\nafter: delete\nfolders: [INBOX, Lists/Rust, {name: '\\Junk'}]";
    let program = Mailgather::new(&yaml(&server, &sink.delivery(), keys));
    let done = program.once(&[]);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    assert_eq!(subjects(&sink), numbers(1..=4));
    assert_eq!(server.items(BOX, "Elsewhere").len(), 1);
    server.assert_no_violations();
}

/// C8, C9: Basic with a domain, and Windows authentication over the one pinned connection, bound to its TLS channel; the name and the password of a
/// domain. The other side is pyspnego, and it insists on the binding.
#[test]
fn c8_c9_basic_with_a_domain_and_ntlm_with_channel_binding() {
    let (server, sink) = start(3);
    server.accounts(&["CORP\\u"], PASSWORD);
    let keys = "username: u\nauth: {method: password, domain: CORP, allow_plaintext: true}\ncollect: new";
    let done = Mailgather::new(&yaml_of(&server.url(), &sink.delivery(), keys)).once(&[]).expect_success();
    assert_eq!((sink.count(), done.stderr.contains("warning")), (3, false), "{}", done.stderr);

    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let identity = authority.sign(for_names(&["localhost"]));
    let server = Ews::tls(identity.server());
    let binding = Sha256::digest(&identity.certificate);
    for (binding, password, works) in [(binding.as_slice(), PASSWORD, true), (b"another", PASSWORD, false), (&binding, "tanstaaf-2026", false)] {
        let judge = Judge::start(folder.path(), &[&format!("CORP:u:{PASSWORD}")], binding);
        server.world(|world| world.login = Login::Ntlm(judge, HashMap::new()));
        (1..=3).for_each(|number| drop(server.put("INBOX", &letter(number))));
        sink.clear();
        let keys = format!(
            "username: u\nauth: {{method: ntlm, domain: CORP}}\ntls: {{ca_file: {}}}\ncollect: all\nafter: delete",
            authority.file().display()
        );
        let program = Mailgather::new(&yaml_of(&server.url(), &sink.delivery(), &keys)).env("MAILGATHER_TEST_PASSWORD", password);
        server.web().forget();
        let done = program.once(&[]);
        assert_eq!((done.status.success(), sink.count()), (works, if works { 3 } else { 0 }), "{}\n{}", done.stdout, done.stderr);
        assert!(!format!("{}{}", done.stdout, done.stderr).contains(password), "the password shows");
        if works {
            assert_eq!(server.web().connections(), 1, "NTLM lets a connection in, not a request");
        } else {
            assert!(done.stderr.contains("refuses the login"), "{}", done.stderr);
            assert_eq!(server.web().requests().len(), 2, "one try, and no second one that could lock the account");
        }
    }
}

/// C12: the steps of a connection, and its dialogue, without a password in it.
#[test]
fn c12_test_shows_the_steps_and_no_secret() {
    let (server, sink) = start(3);
    let program = Mailgather::new(&yaml(&server, &sink.delivery(), "collect: new"));
    let done = program.run_to_end("test", &["box", "--trace"]);
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("POST /EWS/Exchange.asmx") && !said.contains(PASSWORD), "{said}");
    server.accounts(&[BOX], "another");
    let done = program.run_to_end("test", &["box"]);
    assert!(!done.status.success());
    assert!(format!("{}{}", done.stdout, done.stderr).contains("refuses the login"), "{}\n{}", done.stdout, done.stderr);
}

/// What the server cannot give does not stop the rest, and shows.
#[test]
fn a_message_without_mime_does_not_stop_the_rest() {
    let (server, sink) = start(2);
    server.put_item(BOX, "INBOX", Item::new(&letter(3)).trouble(Trouble::Code("ErrorMimeContentConversionFailed")));
    server.put("INBOX", &letter(4));
    let program = Mailgather::new(&yaml(&server, &sink.delivery(), "collect: new\nafter: delete"));
    let done = program.once(&[]);
    assert_eq!(subjects(&sink), ["0001", "0002", "0004"]);
    assert!(done.stderr.contains("ErrorMimeContentConversionFailed"), "{}", done.stderr);
    assert_eq!(server.items(BOX, "INBOX").len(), 1, "it stays where it is");
}

/// 100 MB go through the program in a fraction of that.
#[test]
fn a_message_of_100_mb_takes_no_memory() {
    let (server, sink) = start(0);
    let peak = |size: usize| {
        let body = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(size / 64);
        server.put("INBOX", &[letter(1), body].concat());
        let program = Mailgather::new(&yaml(&server, &sink.delivery(), "collect: all\nafter: delete\nmax_message_size: 200MiB"));
        let daemon = program.run();
        let before = sink.count();
        eventually("it is delivered", std::time::Duration::from_secs(120), || sink.count() > before);
        let peak = daemon.peak_memory();
        daemon.stop().expect_success();
        peak
    };
    let (small, large) = (peak(64 * 1024), peak(100_000_000));
    assert!(large < small + 24 * 1024 * 1024, "{small} octets for a small one, {large} for a large one");
}
