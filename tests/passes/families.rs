//! The same rows against each family of servers: Dovecot, Cyrus, Courier. What differs between them is written down here and in docs/testing.md.

use crate::support::corpus::{canonical, hostile, letter};
use crate::support::maildir::{difference, field, subjects, with_crlf};
use crate::support::ports::Port;
use crate::support::process::Channel;
use crate::support::*;

/// A server of any family.
type Server = dyn MailServer;

const BOX: &str = "anna@example.org";
const PROTOCOLS: [(&str, fn(&Server, &str) -> CollectorYaml); 2] = [("imap", CollectorYaml::imap), ("pop", CollectorYaml::pop3)];
const CHANNELS: [(&str, Channel); 3] = [("plain", Channel::Plain), ("starttls", Channel::StartTls), ("tls", Channel::Tls)];

/// Each row as a test of each family: `cargo test --test passes families::cyrus`.
macro_rules! rows {
    ($($row:ident),* $(,)?) => {
        mod dovecot {
            $(#[test] fn $row() { super::$row(&super::Dovecot::start()) })*
        }
        mod cyrus {
            $(#[test] fn $row() { super::$row(&super::Cyrus::start()) })*
        }
        mod courier {
            $(#[test] fn $row() { super::$row(&super::Courier::start()) })*
        }
    };
}

rows![
    hostile_mail_by_imap,
    hostile_mail_by_pop3,
    i10_new_and_keep,
    i10_new_and_delete,
    i10_all_and_delete,
    m12_unseen_and_mark_seen,
    a_new_uidvalidity_brings_nothing_twice,
    another_client_expunges_meanwhile,
    a_deletion_by_pop3_counts_when_quit_is_answered,
    i6_a_refused_login_is_told_from_a_server_that_is_not_there,
    an_append_while_idle_is_seen_by_the_next_pass,
];

/// Every protocol by every channel, each with a user of its own.
fn every_way(server: &Server) -> Vec<(String, CollectorYaml)> {
    let mut all = Vec::new();
    for (protocol, collector) in PROTOCOLS {
        for (word, channel) in CHANNELS {
            let user = format!("{protocol}{word}");
            all.push((user.clone(), collector(server, &user).channel(channel).forward_to(BOX)));
        }
    }
    all
}

/// `letter 0` … in a user's mailbox.
fn fill(server: &Server, user: &str, numbers: std::ops::Range<usize>) {
    server.put_all(user, &numbers.map(|n| letter(n, "anna@pop.example")).collect::<Vec<_>>());
}

fn letters(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut all: Vec<String> = numbers.into_iter().map(|n| format!("letter {n}")).collect();
    all.sort();
    all
}

fn i10_new_and_keep(server: &Server) {
    for (user, collector) in every_way(server) {
        let boxes = Boxes::new();
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
        fill(server, &user, 0..3);
        assert!(program.once(&[]).expect_success().stdout.contains("3 delivered"), "{user}");
        assert_eq!(boxes.subjects(BOX), letters(0..3), "{user}");
        // Gone from where it was delivered to, so that a second copy would be seen.
        std::fs::remove_dir_all(boxes.of(BOX).0).unwrap();
        assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"), "{user}");
        fill(server, &user, 3..4);
        assert!(program.once(&[]).expect_success().stdout.contains("1 delivered"), "{user}");
        assert_eq!((boxes.subjects(BOX), subjects(&server.messages(&user))), (letters([3]), letters(0..4)), "{user}");
        assert_untouched(server, &user);
    }
}

/// No flag by IMAP. By POP3 Dovecot and Courier set \Seen themselves at RETR, and no client can help it.
fn assert_untouched(server: &Server, user: &str) {
    let allowed = if user.starts_with("pop") && server.family() != "Cyrus" { "S" } else { "" };
    assert!(server.flags(user).iter().all(|flags| flags == allowed), "{user}: {:?}", server.flags(user));
}

fn i10_new_and_delete(server: &Server) {
    for (user, collector) in every_way(server) {
        let boxes = Boxes::new();
        let program = Mailgather::new(&config(&boxes.delivery(), std::slice::from_ref(&collector)));
        fill(server, &user, 0..2);
        program.once(&[]).expect_success();
        program.configure(&config(&boxes.delivery(), &[collector.after("delete")]));
        fill(server, &user, 2..5);
        assert!(program.once(&[]).expect_success().stdout.contains("3 delivered, 3 removed"), "{user}");
        assert_eq!((boxes.subjects(BOX), subjects(&server.messages(&user))), (letters(0..5), letters(0..2)), "{user}");
    }
}

fn i10_all_and_delete(server: &Server) {
    for (user, collector) in every_way(server) {
        let boxes = Boxes::new();
        let program = Mailgather::new(&config(&boxes.delivery(), std::slice::from_ref(&collector)));
        fill(server, &user, 0..2);
        program.once(&[]).expect_success();
        program.configure(&config(&boxes.delivery(), &[collector.set("collect", "all").after("delete")]));
        fill(server, &user, 2..4);
        assert!(program.once(&[]).expect_success().stdout.contains("4 delivered, 4 removed"), "{user}");
        assert_eq!((boxes.subjects(BOX), server.count(&user)), (letters(0..4), 0), "{user}");
    }
}

fn m12_unseen_and_mark_seen(server: &Server) {
    for (word, channel) in CHANNELS {
        let boxes = Boxes::new();
        let collector = CollectorYaml::imap(server, word).channel(channel).forward_to(BOX).set("collect", "unseen").after("mark_seen");
        fill(server, word, 0..4);
        // A person has read letter 1.
        let mut person = OtherClient::inbox(server.imap(), word);
        let uids = person.search("ALL");
        person.command(&format!("UID STORE {} +FLAGS (\\Seen)", uids[1]));
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
        assert!(program.once(&[]).expect_success().stdout.contains("3 delivered"), "{word}");
        assert_eq!((boxes.subjects(BOX), server.flags(word)), (letters([0, 2, 3]), vec!["S".to_string(); 4]), "{word}");
        assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"), "{word}");
        // She marks letter 1 unread: it was never collected.
        person.command(&format!("UID STORE {} -FLAGS (\\Seen)", uids[1]));
        assert!(program.once(&[]).expect_success().stdout.contains("1 delivered"), "{word}");
        assert_eq!(boxes.subjects(BOX), letters(0..4), "{word}");
    }
}

fn a_new_uidvalidity_brings_nothing_twice(server: &Server) {
    let boxes = Boxes::new();
    let collector = CollectorYaml::imap(server, "box").forward_to(BOX);
    let program = Mailgather::new(&config(&boxes.delivery(), std::slice::from_ref(&collector)));
    fill(server, "box", 0..5);
    program.once(&[]).expect_success();
    let validity = |mut client: OtherClient| {
        let lines = client.command("SELECT INBOX").lines;
        lines.iter().find_map(|line| Some(line.split_once("UIDVALIDITY ")?.1.split(']').next()?.to_string())).expect("SELECT tells it")
    };
    let before = validity(OtherClient::login(server.imap(), "box"));
    server.new_uidvalidity("box");
    assert_ne!(before, validity(OtherClient::login(server.imap(), "box")));
    std::fs::remove_dir_all(boxes.of(BOX).0).unwrap();
    fill(server, "box", 5..7);
    let done = program.once(&[]).expect_success();
    assert_eq!((boxes.subjects(BOX), server.count("box")), (letters(5..7), 7), "{}", done.stderr);
    // The books are right again: what is disposed of now is what is new.
    program.configure(&config(&boxes.delivery(), &[collector.after("delete")]));
    fill(server, "box", 7..9);
    assert!(program.once(&[]).expect_success().stdout.contains("2 delivered, 2 removed"));
    assert_eq!((boxes.subjects(BOX), subjects(&server.messages("box"))), (letters(5..9), letters(0..7)));
}

/// While a pass is stopped in the middle by a target that takes its time, a person removes messages: some that were collected, some that were
/// not. What nobody removed arrives once, and nothing but what arrived is deleted.
fn another_client_expunges_meanwhile(server: &Server) {
    const LETTERS: usize = 60;
    for after in ["keep", "delete"] {
        let sink = Sink::builder().delay("DOT", 3, std::time::Duration::from_millis(700)).start();
        let collector = CollectorYaml::imap(server, after).forward_to(BOX).after(after);
        // Larger than what may be held in memory and what the sockets take, so that most of it is still with the server.
        let long = |n| [letter(n, "anna@pop.example"), "0123456789abcdef\r\n".repeat(6000).into_bytes()].concat();
        server.put_all(after, &(0..LETTERS).map(long).collect::<Vec<_>>());
        let program = Mailgather::new(&config(&sink.delivery(), &[collector]).replace("service: {", "service: {memory: 2MiB, "));
        let mut person = OtherClient::inbox(server.imap(), after);
        let uids = person.search("ALL");
        let pass = std::thread::spawn(move || (program.once(&[]), program));
        sink.wait_for(2);
        let gone = [0, 1, 2, 20, 21, 40, 58, 59];
        person.expunge(&gone.map(|n| uids[n]));
        let (done, program) = pass.join().unwrap();
        // A server may end the session for it; the next pass makes up.
        let again = program.once(&[]).expect_success();
        let got = subjects(&sink.taken().into_iter().map(|taken| taken.content).collect::<Vec<_>>());
        let mut once = got.clone();
        once.dedup();
        assert_eq!(once, got, "{after}: something came twice");
        let missing: Vec<String> = letters((0..LETTERS).filter(|n| !gone.contains(n))).into_iter().filter(|name| !got.contains(name)).collect();
        assert!(missing.is_empty(), "{after}: {missing:?} did not come\n{}\n{}\n{}", done.stdout, done.stderr, again.stderr);
        assert_eq!(server.count(after), if after == "keep" { LETTERS - gone.len() } else { 0 }, "{after}\n{}", done.stderr);
    }
}

/// RFC 1939 §6: a server that has not seen QUIT removes nothing. Nothing comes twice, and the removal is made up for.
fn a_deletion_by_pop3_counts_when_quit_is_answered(server: &Server) {
    let proxy = FaultProxy::start(server.pop3());
    let boxes = Boxes::new();
    let collector = CollectorYaml::pop3(server, "box").forward_to(BOX).after("delete");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector.by_port(proxy.port())]));
    fill(server, "box", 0..3);
    let whole = {
        // Another box with the same letters tells how long the dialogue is.
        let other = CollectorYaml::pop3(server, "bax").forward_to(BOX).after("delete").by_port(proxy.port());
        fill(server, "bax", 0..3);
        Mailgather::new(&config(&Boxes::new().delivery(), &[other])).once(&[]).expect_success();
        proxy.octets(Towards::Server)
    };
    // Everything but QUIT itself reaches the server.
    proxy.set(Towards::Server, Fault::Close(whole - "QUIT\r\n".len() as u64));
    program.once(&[]);
    assert_eq!((proxy.struck(), boxes.subjects(BOX), server.count("box")), (1, letters(0..3), 3));
    std::fs::remove_dir_all(boxes.of(BOX).0).unwrap();
    proxy.set(Towards::Server, Fault::None);
    // A server may hold its lock on the maildrop until it has noticed that the first session is gone.
    eventually("the maildrop is free", SOON, || program.once(&[]).status.success());
    assert_eq!((boxes.of(BOX).count(), server.count("box")), (0, 0));
}

fn i6_a_refused_login_is_told_from_a_server_that_is_not_there(server: &Server) {
    let boxes = Boxes::new();
    for (user, collector) in every_way(server) {
        let program = Mailgather::new(&config(&boxes.delivery(), std::slice::from_ref(&collector))).env(process::PASSWORD_VARIABLE, "wrong");
        let refused = program.once(&[]).expect_code(77);
        assert!(refused.stderr.contains("hint") && refused.stderr.contains("FAILED"), "{user}: {}", refused.stderr);
        let nobody = Port::reserve();
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector.by_port(nobody.number())]));
        program.once(&[]).expect_code(69);
    }
}

fn an_append_while_idle_is_seen_by_the_next_pass(server: &Server) {
    let boxes = Boxes::new();
    let collectors: Vec<CollectorYaml> = every_way(server)
        .into_iter()
        .map(|(user, collector)| collector.id(&user).forward_to(&format!("{user}@example.org")).set("interval", "300ms"))
        .collect();
    let program = Mailgather::new(&format!("limits: {{interval_min: 50ms}}\n{}", config(&boxes.delivery(), &collectors)));
    let daemon = program.run();
    for n in 0..3 {
        every_way(server).iter().for_each(|(user, _)| fill(server, user, n..n + 1));
        eventually("every collector has it", SOON, || {
            every_way(server).iter().all(|(user, _)| boxes.of(&format!("{user}@example.org")).count() == n + 1)
        });
    }
    daemon.stop().expect_success();
    for (user, _) in every_way(server) {
        assert_eq!(boxes.subjects(&format!("{user}@example.org")), letters(0..3), "{user}");
    }
}

/// A server that has too many sessions of the user already is busy: its refusal says nothing about the password.
#[track_caller]
fn assert_busy(server: &Server, sessions: usize) {
    let boxes = Boxes::new();
    fill(server, "box", 0..1);
    let program = Mailgather::new(&config(&boxes.delivery(), &[CollectorYaml::imap(server, "box").forward_to(BOX)]));
    let others: Vec<OtherClient> = (0..sessions).map(|_| OtherClient::inbox(server.imap(), "box")).collect();
    let busy = program.once(&[]);
    println!("{}", busy.stdout);
    assert!(![Some(0), Some(77)].contains(&busy.status.code()), "{}\n{}\n{}", busy.status, busy.stdout, busy.stderr);
    drop(others);
    eventually("there is room again", SOON, || program.once(&[]).status.success());
    assert_eq!(boxes.subjects(BOX), letters([0]));
}

#[test]
fn f52_too_many_connections_to_dovecot() {
    assert_busy(&Dovecot::builder().max_connections(1).start(), 1);
}

#[test]
fn f52_too_many_connections_to_cyrus() {
    assert_busy(&Cyrus::builder().extra("maxlogins_per_user: 1").start(), 1);
}

#[test]
fn f52_too_many_connections_to_courier() {
    assert_busy(&Courier::builder().max_per_ip(1).start(), 1);
}

/// A message by its name, in the form in which it is expected.
type Named = (String, Vec<u8>);

fn hostile_mail_by_imap(server: &Server) {
    let expected = hostile().into_iter().filter(|(_, raw)| can_hold(server, raw));
    let (names, raw): (Vec<String>, Vec<Vec<u8>>) = expected.unzip();
    server.put_all("box", &raw);
    let expected = names.into_iter().zip(raw.iter().map(|raw| canonical(&served_by_imap(server, raw)))).collect();
    assert_comes_unchanged(CollectorYaml::imap(server, "box"), expected);
}

fn hostile_mail_by_pop3(server: &Server) {
    // Dovecot and Courier do not stuff a dot that is the very first octet: the message ends there for every client. Cyrus does not take in a bare
    // LF or a NUL by itself, and when they are in its store all the same, its final dot does not stand behind CRLF.
    let can_tell = |raw: &[u8]| match server.family() {
        "Cyrus" => !raw.contains(&0) && with_crlf(raw) == raw,
        _ => !raw.starts_with(b"."),
    };
    let (names, raw): (Vec<String>, Vec<Vec<u8>>) = hostile().into_iter().filter(|(_, raw)| can_hold(server, raw) && can_tell(raw)).unzip();
    server.put_all("box", &raw);
    let expected = names.into_iter().zip(raw.iter().map(|raw| canonical(&served_by_pop3(server, raw)))).collect();
    assert_comes_unchanged(CollectorYaml::pop3(server, "box"), expected);
}

/// Cyrus cannot have an empty message.
fn can_hold(server: &Server, raw: &[u8]) -> bool {
    !raw.is_empty() || server.family() != "Cyrus"
}

fn served_by_imap(server: &Server, raw: &[u8]) -> Vec<u8> {
    match server.family() {
        "Dovecot" => with_crlf(raw).into_iter().map(|octet| if octet == 0 { 0x80 } else { octet }).collect(),
        "Courier" => every_lf_as_crlf(raw),
        _ => raw.to_vec(),
    }
}

fn served_by_pop3(server: &Server, raw: &[u8]) -> Vec<u8> {
    let mut served = match server.family() {
        "Dovecot" => with_crlf(raw),
        "Courier" => every_lf_as_crlf(raw),
        _ => raw.to_vec(),
    };
    if !served.ends_with(b"\r\n") {
        served.extend(b"\r\n");
    }
    served
}

fn every_lf_as_crlf(raw: &[u8]) -> Vec<u8> {
    raw.iter().flat_map(|&octet| if octet == b'\n' { b"\r\n".to_vec() } else { vec![octet] }).collect()
}

/// Each message arrives once, with its octets; nothing else does. All that is wrong is told at once.
#[track_caller]
fn assert_comes_unchanged(collector: CollectorYaml, expected: Vec<Named>) {
    let boxes = Boxes::new();
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector.forward_to(BOX)]));
    let done = process::finish(program.command("once", &[]), std::time::Duration::from_secs(30));
    let mut left: Vec<Vec<u8>> = boxes.of(BOX).messages().iter().map(|message| with_crlf(message)).collect();
    let mut wrong = Vec::new();
    for (name, message) in &expected {
        match left.iter().position(|copy| difference(message, copy).is_none()) {
            Some(at) => drop(left.swap_remove(at)),
            None => wrong.push(name),
        }
    }
    let subject = |copy: &Vec<u8>| field(copy, "Subject");
    let wrong: Vec<String> = wrong
        .into_iter()
        .map(|name| {
            let (_, message) = expected.iter().find(|(known, _)| known == name).unwrap();
            let near = left.iter().find(|copy| subject(copy).is_some() && subject(copy) == subject(message));
            format!("{name}: {}", near.and_then(|copy| difference(message, copy)).unwrap_or_else(|| "not there".into()))
        })
        .collect();
    let surplus: Vec<String> = left.iter().map(|copy| copy[..copy.len().min(700)].escape_ascii().to_string()).collect();
    assert!(wrong.is_empty() && surplus.is_empty(), "{}\nsurplus: {}\n{}", wrong.join("\n"), surplus.join("\n"), done.stdout);
    assert!(done.stdout.contains(&format!("{} delivered", expected.len())), "{}", done.stdout);
    assert!(program.once(&[]).expect_success().stdout.contains("0 delivered"));
}
