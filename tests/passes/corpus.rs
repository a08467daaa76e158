//! Hostile messages end to end: the real program between real servers. Each message arrives exactly once, its body octet for octet after the
//! line-end rule, its header but for the listed edits; nothing in a message makes a second one; and a huge message needs no memory.

use crate::support::corpus::{canonical, hostile, huge};
use crate::support::maildir::{difference, field, name_of, split, with_crlf};
use crate::support::process::peak_memory;
use crate::support::*;
use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

const BOX: &str = "anna@example.org";

/// A message by its name, in the form in which it is expected.
type Named = (String, Vec<u8>);

/// The corpus in a mailbox of this server, and what is expected of it when it is collected by IMAP: Dovecot serves NUL as 0x80 there.
fn in_an_imap_mailbox(server: &Dovecot) -> Vec<Named> {
    let expected = |raw: &[u8]| canonical(&with_crlf(raw).into_iter().map(|b| if b == 0 { 0x80 } else { b }).collect::<Vec<u8>>());
    hostile().into_iter().inspect(|(_, raw)| server.put("source", raw)).map(|(name, raw)| (name, expected(&raw))).collect()
}

/// The same for POP3, where NUL comes as it is. Dovecot 2.3 does not stuff a dot that is the very first octet of a message, so what it sends
/// for those is another message, and then out of step: no client can know. They come by IMAP only.
fn in_a_pop3_mailbox(server: &Dovecot) -> Vec<Named> {
    let all: Vec<Named> = hostile().into_iter().filter(|(_, raw)| !raw.starts_with(b".")).collect();
    assert_eq!(all.len() + 1, hostile().len(), "only `one-dot` is left out");
    all.into_iter().inspect(|(_, raw)| server.put("source", raw)).map(|(name, raw)| (name, as_served_by_pop3(&raw))).collect()
}

/// By POP3 the server has to end the last line before the final dot: one that ends with a bare CR gets CRLF behind it, two line ends.
fn as_served_by_pop3(raw: &[u8]) -> Vec<u8> {
    let mut served = with_crlf(raw);
    if !served.ends_with(b"\r\n") {
        served.extend(b"\r\n");
    }
    canonical(&served)
}

/// What Postfix makes of a message: a line in the header that is no field ends the header, and cleanup(8) puts a blank line before it. (The
/// program reads fields behind such a line too, and has taken out Return-Path there.)
fn as_stored_by_postfix((name, octets): Named) -> Named {
    (name, with_header_ended(octets, false))
}

/// Exim does the same, but takes a field without a name for one, and stores the line that ends the header also where there is no body.
fn as_stored_by_exim((name, octets): Named) -> Named {
    let mut stored = with_header_ended(octets, true);
    let (fields, _) = split(&stored);
    let has_header = fields.first().is_some_and(|first| first.contains(&b':'));
    if has_header && fields.iter().map(Vec::len).sum::<usize>() == stored.len() {
        stored.extend(b"\r\n");
    }
    (name, stored)
}

fn with_header_ended(octets: Vec<u8>, nameless_fields: bool) -> Vec<u8> {
    let (fields, body) = split(&octets);
    let is_field = |field: &[u8]| {
        let name = field.split(|&b| b == b':').next().unwrap_or_default().trim_ascii_end();
        field.contains(&b':') && (nameless_fields || !name.is_empty()) && name.iter().all(u8::is_ascii_graphic)
    };
    let is_junk = |field: &[u8]| field.starts_with(b"From ") || field.starts_with(b">From ") || field.starts_with(b"\xef\xbb\xbf");
    let has_header = fields.first().is_some_and(|first| is_field(first) || is_junk(first));
    let Some(end) = (1..fields.len()).find(|&at| has_header && !is_field(&fields[at])) else { return octets };
    let has_body = fields.iter().map(Vec::len).sum::<usize>() < octets.len();
    let behind: Vec<u8> = fields[end..].iter().filter(|field| name_of(field) != "return-path").flatten().copied().collect();
    let blank: &[u8] = if has_body { b"\r\n" } else { b"" };
    [&fields[..end].concat(), &b"\r\n"[..], &behind, blank, &body].concat()
}

/// Fails the test unless each message arrived exactly once and nothing else did. All that is wrong is told at once.
#[track_caller]
fn assert_exactly_once(expected: &[Named], delivered: &[Vec<u8>]) {
    let mut left: HashMap<Vec<u8>, Vec<&Vec<u8>>> = HashMap::new();
    delivered.iter().for_each(|copy| left.entry(essence(copy)).or_default().push(copy));
    let mut wrong = Vec::new();
    for (name, message) in expected {
        let candidates = left.get_mut(&essence(message)).filter(|copies| !copies.is_empty());
        match candidates.and_then(|copies| copies.iter().position(|copy| difference(message, copy).is_none()).map(|at| copies.swap_remove(at))) {
            Some(_) => {}
            None => wrong.push(format!("{name}: not there; nearest: {}", nearest(message, delivered))),
        }
    }
    let surplus: Vec<String> = left.values().flatten().map(|copy| format!("surplus: {}", copy[..copy.len().min(900)].escape_ascii())).collect();
    assert!(wrong.is_empty() && surplus.is_empty(), "{}\n{}", wrong.join("\n"), surplus.join("\n"));
    assert_eq!(expected.len(), delivered.len());
}

/// What is the same in a message and its copy whatever the header edits: the end of it.
fn essence(message: &[u8]) -> Vec<u8> {
    let end = message.strip_suffix(b"\r\n").unwrap_or(message);
    let from = end.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    end[from..].to_vec()
}

fn nearest(message: &[u8], delivered: &[Vec<u8>]) -> String {
    let subject = field(message, "Subject");
    let same = delivered.iter().find(|copy| subject.is_some() && field(copy, "Subject") == subject);
    same.and_then(|copy| difference(message, copy)).unwrap_or_else(|| "nothing with its subject".into())
}

/// Collects the mailbox `source` to [`BOX`], and once more, when nothing is to come.
#[track_caller]
fn collect(protocol: fn(&Dovecot, &str) -> CollectorYaml, from: &Dovecot, delivery: &str, expected: usize) {
    let collector = protocol(from, "source").forward_to(BOX);
    let program = Mailgather::new(&config(delivery, &[collector]));
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains(&format!("source: {expected} delivered\n")), "{}\n{}", done.stdout, done.stderr);
    let again = program.once(&[]).expect_success();
    assert!(again.stdout.contains("source: 0 delivered\n"), "{}", again.stdout);
    assert_eq!(from.count("source"), expected, "everything is kept at the source");
}

fn lmtp(server: &Dovecot) -> String {
    format!("{{lmtp: '127.0.0.1:{}'}}", server.lmtp())
}

fn smtp(server: &Postfix) -> String {
    format!("{{smtp: '127.0.0.1:{}'}}", server.port())
}

fn crlf(messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    messages.iter().map(|message| with_crlf(message)).collect()
}

#[test]
fn imap_to_lmtp() {
    let server = Dovecot::start();
    let expected = in_an_imap_mailbox(&server);
    collect(CollectorYaml::imap, &server, &lmtp(&server), expected.len());
    assert_exactly_once(&expected, &server.messages(BOX));
}

#[test]
fn imap_to_smtp() {
    // By default Postfix cuts a field at 102,400 octets.
    let (server, postfix) = (Dovecot::start(), Postfix::builder().extra("header_size_limit = 1000000").start());
    let expected = in_an_imap_mailbox(&server);
    collect(CollectorYaml::imap, &server, &smtp(&postfix), expected.len());
    eventually("Postfix delivers everything", SOON, || postfix.count("anna") >= expected.len());
    let expected: Vec<Named> = expected.into_iter().map(as_stored_by_postfix).collect();
    assert_exactly_once(&expected, &postfix.messages("anna"));
}

#[test]
fn imap_to_exim() {
    let (server, exim) = (Dovecot::start(), Exim::start());
    let expected = in_an_imap_mailbox(&server);
    collect(CollectorYaml::imap, &server, &exim.delivery(), expected.len());
    eventually("Exim delivers everything", SOON, || exim.count("anna") >= expected.len());
    let expected: Vec<Named> = expected.into_iter().map(as_stored_by_exim).collect();
    assert_exactly_once(&expected, &exim.messages("anna"));
}

#[test]
fn imap_to_maildir() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let expected = in_an_imap_mailbox(&server);
    collect(CollectorYaml::imap, &server, &boxes.delivery(), expected.len());
    assert_exactly_once(&expected, &crlf(boxes.of(BOX).messages()));
    assert_eq!(boxes.of(BOX).unfinished(), 0);
}

#[test]
fn pop3_to_lmtp() {
    let server = Dovecot::start();
    let expected = in_a_pop3_mailbox(&server);
    collect(CollectorYaml::pop3, &server, &lmtp(&server), expected.len());
    assert_exactly_once(&expected, &server.messages(BOX));
}

#[test]
fn pop3_to_maildir() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let expected = in_a_pop3_mailbox(&server);
    collect(CollectorYaml::pop3, &server, &boxes.delivery(), expected.len());
    assert_exactly_once(&expected, &crlf(boxes.of(BOX).messages()));
}

#[test]
fn an_empty_message_is_a_message_if_its_size_says_so() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    server.put("source", b"");
    server.put("source", &corpus::letter(1, BOX));
    let collector = CollectorYaml::imap(&server, "source").after("delete").forward_to(BOX);
    let done = Mailgather::new(&config(&boxes.delivery(), &[collector])).once(&[]).expect_success();
    assert!(done.stdout.contains("2 delivered"), "{}", done.stdout);
    assert_eq!((server.count("source"), boxes.of(BOX).count()), (0, 2));
}

#[test]
fn what_people_get_reaches_each_of_them_unchanged() {
    const USERS: usize = 5;
    for protocol in [CollectorYaml::imap, CollectorYaml::pop3] {
        let to: Vec<String> = (0..USERS).map(|n| format!("user{n}@example.org")).collect();
        let server = Dovecot::builder().users(&to.iter().map(String::as_str).chain(["post@example.org"]).collect::<Vec<_>>()).start();
        let letters = corpus::realistic(40, |i| format!("user{}@pop.example", i % USERS));
        letters.iter().for_each(|letter| server.put("source", letter));
        let collector = protocol(&server, "source").after("delete").auto("{map: {pop.example: example.org}}", "post@example.org");
        let done = Mailgather::new(&config(&lmtp(&server), &[collector])).once(&[]).expect_success();
        assert!(done.stdout.contains("40 delivered, 40 removed"), "{}", done.stdout);
        for (n, user) in to.iter().enumerate() {
            let expected: Vec<Named> =
                letters.iter().enumerate().filter(|(i, _)| i % USERS == n).map(|(i, letter)| (format!("letter {i}"), letter.clone())).collect();
            assert_exactly_once(&expected, &server.messages(user));
        }
        assert_eq!((server.count("source"), server.count("post@example.org")), (0, 0));
    }
}

#[test]
fn a_folded_first_line_hides_no_loop() {
    // On top of such a message stand our trace fields: the line would become a part of the last one, the loop marker, which then is not ours.
    for first in ["", " folded\r\n", "\tfolded\r\n", "From a@b Sat Nov 21 10:00:00 2026\r\n folded\r\n"] {
        let server = Dovecot::start();
        server.put(BOX, format!("{first}From: a@remote.example\r\nSubject: round and round\r\n\r\nbody\r\n").as_bytes());
        let program = Mailgather::new(&config(&lmtp(&server), &[CollectorYaml::imap(&server, BOX).forward_to(BOX)]));
        let done = program.once(&[]).expect_success();
        assert!(done.stdout.contains("1 delivered"), "{first:?}: {}", done.stdout);
        let copy = program.once(&[]).expect_success();
        assert!(copy.stdout.contains("0 delivered, 1 held") && copy.stderr.contains("message_loop"), "{first:?}: {}\n{}", copy.stdout, copy.stderr);
        assert_eq!(server.count(BOX), 2, "{first:?}");
    }
}

/// Octets of one mebibyte.
const MIB: u64 = 1 << 20;

/// Collects a mailbox with [`huge`] in it; fails the test if the program's memory grew over 64 MiB.
#[track_caller]
fn collect_huge(protocol: fn(&Dovecot, &str) -> CollectorYaml, from: &Dovecot, delivery: &str) -> Vec<u8> {
    let (_, raw) = huge();
    from.put("source", &raw);
    let program = Mailgather::new(&config(delivery, &[protocol(from, "source").after("delete").forward_to(BOX)]));
    let mut child = program.command("once", &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    let end = loop {
        // A high-water mark: the last look before the end tells all but the last milliseconds.
        peak = peak.max(peak_memory(child.id()));
        if let Some(end) = child.try_wait().unwrap() {
            break end;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut log = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut log).unwrap();
    assert!(end.success(), "{end}: {log}");
    assert!(peak > 0 && peak < 64 * MIB, "peak memory {} MiB", peak / MIB);
    eprintln!("peak memory {:.1} MiB", peak as f64 / MIB as f64);
    assert_eq!(from.count("source"), 0);
    raw
}

#[track_caller]
fn assert_only_copy(raw: &[u8], copies: &[Vec<u8>]) {
    assert_eq!(copies.len(), 1);
    crate::support::maildir::assert_same("huge", raw, &copies[0]);
}

#[test]
fn huge_imap_to_lmtp() {
    let server = Dovecot::start();
    let raw = collect_huge(CollectorYaml::imap, &server, &lmtp(&server));
    assert_only_copy(&raw, &server.messages(BOX));
}

#[test]
fn huge_imap_to_smtp() {
    let (server, postfix) = (Dovecot::start(), Postfix::start());
    let raw = collect_huge(CollectorYaml::imap, &server, &smtp(&postfix));
    eventually("Postfix delivers it", SOON, || postfix.count("anna") == 1);
    assert_only_copy(&raw, &postfix.messages("anna"));
}

#[test]
fn huge_imap_to_maildir() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let raw = collect_huge(CollectorYaml::imap, &server, &boxes.delivery());
    assert_only_copy(&raw, &crlf(boxes.of(BOX).messages()));
}

#[test]
fn huge_pop3_to_lmtp() {
    let server = Dovecot::start();
    let raw = collect_huge(CollectorYaml::pop3, &server, &lmtp(&server));
    assert_only_copy(&raw, &server.messages(BOX));
}

#[test]
fn huge_pop3_to_maildir() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let raw = collect_huge(CollectorYaml::pop3, &server, &boxes.delivery());
    assert_only_copy(&raw, &crlf(boxes.of(BOX).messages()));
}

/// The endings around a lone dot that some server or other takes for the end of data, besides CRLF . CRLF.
const ENDINGS: [(&str, &[u8]); 10] = [
    ("lf-lf", b"\n.\n"),
    ("lf-crlf", b"\n.\r\n"),
    ("crlf-lf", b"\r\n.\n"),
    ("cr-cr", b"\r.\r"),
    ("cr-lf", b"\r.\n"),
    ("lf-cr", b"\n.\r"),
    ("cr-crlf", b"\r.\r\n"),
    ("crlf-cr", b"\r\n.\r"),
    ("crlf-nul-crlf", b"\r\n.\0\r\n"),
    ("nul-in-ends", b"\r\0\n.\r\0\n"),
];

/// What a server that was fooled would do.
const FORGED: &[u8] = b"MAIL FROM:<ceo@bank.example>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\nSubject: forged\r\n\r\nforged\r\n.\r\n";

/// Each ending at the start, in the middle and at the end of the body, and in the header, with a forged dialogue behind it.
fn smuggled() -> Vec<Named> {
    let mut all = Vec::new();
    for (name, ending) in ENDINGS {
        let header = |place: &str| format!("From: a@remote.example\r\nSubject: {name} {place}\r\n").into_bytes();
        let at = |place: &str, parts: &[&[u8]]| (format!("{name} {place}"), [&header(place), &parts.concat()[..]].concat());
        all.push(at("start", &[b"\r\n", &ending[1..], FORGED, b"rest\r\n"]));
        all.push(at("whole ending at start", &[b"\r\n", ending, FORGED, b"rest\r\n"]));
        all.push(at("middle", &[b"\r\nbefore", ending, FORGED, b"rest\r\n"]));
        all.push(at("end", &[b"\r\nbefore", ending, FORGED]));
        all.push(at("very end", &[b"\r\nbefore", FORGED, b"before", ending]));
        all.push(at("header", &[b"X-Field: value", ending, FORGED, b"\r\nbody\r\n"]));
    }
    all
}

/// Collects the endings from a server that serves them octet for octet; returns what is expected.
fn collect_smuggled(delivery: &str) -> Vec<Named> {
    let all = smuggled();
    let source = RawImap::serve(all.iter().map(|(_, raw)| raw.clone()).collect());
    let program = Mailgather::new(&config(delivery, &[CollectorYaml::at("imap", "source", source.port()).forward_to(BOX)]));
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains(&format!("source: {} delivered\n", all.len())), "{}\n{}", done.stdout, done.stderr);
    all.into_iter().map(|(name, raw)| (name, canonical(&raw))).collect()
}

#[test]
fn nothing_is_smuggled_through_lmtp() {
    let server = Dovecot::start();
    let expected = collect_smuggled(&lmtp(&server));
    let got = server.messages(BOX);
    assert!(got.iter().all(|message| field(message, "Subject").as_deref() != Some("forged")));
    assert_exactly_once(&expected, &got);
}

#[test]
fn nothing_is_smuggled_through_smtp() {
    let postfix = Postfix::start();
    let expected = collect_smuggled(&smtp(&postfix));
    eventually("Postfix delivers everything", SOON, || postfix.count("anna") >= expected.len());
    // A forged one would come right behind: its turn in the queue is over when a later message is there.
    std::thread::sleep(Duration::from_millis(500));
    let got = postfix.messages("anna");
    assert!(!postfix.log().contains("ceo@bank.example"), "{}", postfix.log());
    let expected: Vec<Named> = expected.into_iter().map(as_stored_by_postfix).collect();
    assert_exactly_once(&expected, &got);
}

#[test]
fn nothing_is_smuggled_through_exim() {
    let exim = Exim::start();
    let expected = collect_smuggled(&exim.delivery());
    eventually("Exim delivers everything", SOON, || exim.count("anna") >= expected.len());
    // As above.
    std::thread::sleep(Duration::from_millis(500));
    assert!(!exim.log().contains("ceo@bank.example"), "{}", exim.log());
    let expected: Vec<Named> = expected.into_iter().map(as_stored_by_exim).collect();
    assert_exactly_once(&expected, &exim.messages("anna"));
}

#[test]
fn nothing_is_smuggled_into_a_maildir() {
    let boxes = Boxes::new();
    let expected = collect_smuggled(&boxes.delivery());
    assert_exactly_once(&expected, &crlf(boxes.of(BOX).messages()));
}
