//! The same rows against each family of servers: Dovecot, Cyrus, Courier. What differs between them is written down here and in docs/testing.md.

mod support;

use support::corpus::{canonical, hostile, letter};
use support::maildir::{difference, field, subjects, with_crlf};
use support::process::Channel;
use support::*;

/// A server of any family.
type Server = dyn MailServer;

const BOX: &str = "anna@example.org";
const PROTOCOLS: [(&str, fn(&Server, &str) -> CollectorYaml); 2] = [("imap", CollectorYaml::imap), ("pop", CollectorYaml::pop3)];
const CHANNELS: [(&str, Channel); 3] = [("plain", Channel::Plain), ("starttls", Channel::StartTls), ("tls", Channel::Tls)];

/// Each row as a test of each family: `cargo test --test families cyrus`.
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

rows![hostile_mail_by_imap, hostile_mail_by_pop3, i10_new_and_keep, i10_new_and_delete, i10_all_and_delete,];

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
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector.clone()]));
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
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector.clone()]));
        fill(server, &user, 0..2);
        program.once(&[]).expect_success();
        program.configure(&config(&boxes.delivery(), &[collector.set("collect", "all").after("delete")]));
        fill(server, &user, 2..4);
        assert!(program.once(&[]).expect_success().stdout.contains("4 delivered, 4 removed"), "{user}");
        assert_eq!((boxes.subjects(BOX), server.count(&user)), (letters(0..4), 0), "{user}");
    }
}

/// A message by its name, in the form in which it is expected.
type Named = (String, Vec<u8>);

fn hostile_mail_by_imap(server: &Server) {
    let expected = hostile().into_iter().filter(|(_, raw)| can_hold(server, raw)).map(|(name, raw)| (name, raw));
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
