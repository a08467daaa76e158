//! `partial_fetch` and `compress`: the same octets however they come, in the same memory.

use super::*;
use support::process::Signal;

const MIB: u64 = 1 << 20;
/// The program may take this much, whatever the size of a message is.
const FLAT: u64 = 64 * MIB;
const SERVICE: &str = "memory: 4MiB, spool_above: 256KiB";

/// 20 MB, no two lines of it equal, with what pieces could break: CRs and dots at any place, 8-bit octets, and no line end at the end.
fn large() -> Vec<u8> {
    let mut message = b"From: a@remote.example\r\nTo: anna@pop.example\r\nSubject: letter 0\r\nMessage-ID: <large@remote.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\n".to_vec();
    let mut line = 0u64;
    while message.len() < 20_000_000 {
        let tail = ["..", ".", "", "ÄÖÜ", "я"][(line % 5) as usize];
        message.extend_from_slice(format!("{tail}{line:0width$x}{tail}\r\n", width = 16 + (line % 53) as usize).as_bytes());
        line += 1;
    }
    message.extend_from_slice(b"the end");
    message
}

/// Collects what is there with a daemon of its own; the highest memory that it took.
#[track_caller]
fn collected(collector: CollectorYaml) -> (Vec<u8>, u64) {
    let boxes = Boxes::new();
    let program = Mailgather::new(&service(&config(&boxes.delivery(), &[collector]), SERVICE));
    let mut daemon = program.run();
    daemon.wait_for("session_finished");
    let peak = daemon.peak_memory();
    daemon.stop().expect_success();
    let mut messages = boxes.of(BOX).messages();
    assert_eq!(messages.len(), 1);
    (maildir::with_crlf(&messages.remove(0)), peak)
}

#[test]
fn m14_whole_and_in_pieces_are_the_same_to_the_octet_in_the_same_memory() {
    let server = Dovecot::start();
    let raw = large();
    let canonical = corpus::canonical(&raw);
    server.put("u", &raw);
    for partial in ["'off'", "'on'", "auto", "{mode: on, chunk: 64KiB}", "{mode: on, chunk: 1000001}", "{mode: auto, chunk: 64KiB}"] {
        let (message, peak) = collected(imap(&server, "u").set("partial_fetch", partial));
        maildir::assert_same(partial, &canonical, &message);
        assert!(peak > 0 && peak < FLAT, "{partial}: {} MiB", peak / MIB);
    }
    assert_eq!((server.count("u"), server.flags("u")), (1, vec![String::new()]), "nothing is touched");
}

/// `auto` asks for a message whole, and in pieces once a session broke off in the middle of it; all of it is of one session.
#[test]
fn m14_auto_takes_to_pieces_what_broke_off() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let raw = large();
    server.put("u", &raw);
    put(&server, "u", 1);
    let proxy = FaultProxy::start(server.imap());
    proxy.set(Towards::Client, Fault::Close(10_000_000));
    let collector = imap(&server, "u").by_port(proxy.port()).set("partial_fetch", "auto").after("delete");
    let program = Mailgather::new(&service(&config(&boxes.delivery(), &[collector]), SERVICE));
    let mut daemon = program.run();
    daemon.wait_for("session_failed");
    let asked_whole = proxy.octets(Towards::Server);
    assert_eq!((server.count("u"), boxes.of(BOX).count()), (2, 0));
    proxy.set(Towards::Client, Fault::None);
    daemon.signal(Signal::USR1);
    eventually("both are here", SOON, || boxes.of(BOX).count() == 2);
    daemon.wait_for("session_finished");
    // Twenty commands more, one for each piece.
    assert!(proxy.octets(Towards::Server) > asked_whole + 19 * 30, "{} {asked_whole}", proxy.octets(Towards::Server));
    assert!(daemon.peak_memory() < FLAT, "{}", daemon.peak_memory() / MIB);
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..2);
    let message = boxes.of(BOX).messages().into_iter().max_by_key(Vec::len).unwrap();
    maildir::assert_same("after it broke off", &corpus::canonical(&raw), &maildir::with_crlf(&message));
    assert_eq!(server.count("u"), 0);
}

/// COMPRESS=DEFLATE is used where it is asked for, and nowhere else.
#[test]
fn m14_compression_on_purpose_only() {
    let server = Dovecot::builder().extra("protocol imap {\n mail_plugins = $mail_plugins imap_zlib\n}").start();
    let raw = large();
    let canonical = corpus::canonical(&raw);
    server.put("u", &raw);
    let proxy = FaultProxy::start(server.imap());
    for (compress, partial, is_small) in [("false", "'off'", false), ("true", "'off'", true), ("true", "'on'", true)] {
        let collector = imap(&server, "u").by_port(proxy.port()).set("compress", compress).set("partial_fetch", partial);
        let (message, peak) = collected(collector);
        let octets = proxy.octets(Towards::Client);
        maildir::assert_same(compress, &canonical, &message);
        assert_eq!(octets < raw.len() as u64 / 2, is_small, "{compress}: {octets} octets");
        assert!(peak > 0 && peak < FLAT, "{compress}: {} MiB", peak / MIB);
    }
    // Where nobody asks for it.
    let (message, _) = collected(imap(&server, "u").by_port(proxy.port()));
    maildir::assert_same("unsaid", &canonical, &message);
    assert!(proxy.octets(Towards::Client) > raw.len() as u64);
    assert_eq!(server.count("u"), 1);
}
