//! Trace fields.

use super::*;

fn stamp(edit: impl Fn(&mut Stamp<'_>), resolution: &Resolution, recipients: &[Recipient]) -> String {
    let time: jiff::Zoned = "2026-11-16T10:00:05+03:00[+03:00]".parse().unwrap();
    let collector = CollectorId::new("office").unwrap();
    let mut stamp = Stamp {
        received: true,
        id: true,
        return_path: None,
        hostname: "gate.example",
        product: "mailgather/0.1.0",
        protocol: "IMAPS",
        source_host: "imap.provider.example",
        source_ip: "192.0.2.1".parse().ok(),
        trace_id: TraceId([0xab; 16]),
        collector: &collector,
        time: &time,
        recipients,
        resolution,
        refused: &[],
        marker: "1 aa bb cc",
    };
    edit(&mut stamp);
    String::from_utf8(stamp.to_header()).unwrap()
}

fn names(text: &str) -> Vec<&str> {
    text.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with('\t')).map(|line| line.split(':').next().unwrap()).collect()
}

#[test]
fn s10_the_field_and_the_order_of_ours() {
    let resolution = resolved(2, "Envelope-To", Some(0), &["anna@local.example"]);
    let text = stamp(|_| {}, &resolution, resolution.recipients());
    let id = "ab".repeat(16);
    assert!(
        text.starts_with(&format!(
            "Received: from imap.provider.example ([192.0.2.1])\r\n\tby gate.example (mailgather/0.1.0 with IMAPS, collector office)\r\n\t\
                 id {id}\r\n\tfor <anna@local.example>;\r\n\tMon, 16 Nov 2026 10:00:05 +0300\r\n"
        )),
        "{text}"
    );
    assert_eq!(names(&text), ["Received", "X-Mailgather-Id", "X-Mailgather-Collector", "X-Mailgather-Resolved", "X-Mailgather-Loop"]);
    let maildir = stamp(|stamp| stamp.return_path = Some(&ReversePath::Null), &resolution, resolution.recipients());
    assert_eq!(names(&maildir)[..2], ["Return-Path", "Received"]);
}

#[test]
fn s10_for_names_one_recipient_only() {
    let resolution = resolved(2, "Envelope-To", Some(0), &["anna@local.example", "boris@local.example"]);
    for (recipients, named) in [
        (to(&["anna@local.example"]), true),
        (to(&["anna@local.example", "boris@local.example"]), false),
        (to(&["анна@икс.рф"]), false),
        (to(&["anna@икс.рф"]), true),
    ] {
        let text = stamp(|_| {}, &resolution, &recipients);
        assert_eq!(text.contains("\tfor <"), named, "{text}");
        assert!(text.is_ascii());
    }
}

#[test]
fn s10_without_received_the_marker_stays() {
    let resolution = default_box();
    let recipients = resolution.recipients();
    assert_eq!(names(&stamp(|s| s.received = false, &resolution, recipients))[0], "X-Mailgather-Id");
    let bare = |s: &mut Stamp<'_>| (s.received, s.id) = (false, false);
    assert_eq!(names(&stamp(bare, &resolution, recipients)), ["X-Mailgather-Loop"]);
}

#[test]
fn s10_our_field_is_read_by_our_own_parser() {
    let resolution = resolved(2, "Envelope-To", Some(0), &["anna@local.example"]);
    for (ip, peer) in [("192.0.2.1", "192.0.2.1"), ("2001:db8::7", "2001:db8::7")] {
        let text = stamp(|s| s.source_ip = ip.parse().ok(), &resolution, resolution.recipients());
        let header = HeaderBlock::parse(Bytes::from(text));
        let received = Received::parse(&header.text(&header.fields()[0]));
        assert_eq!((received.from.as_deref(), received.by.as_deref()), (Some("imap.provider.example"), Some("gate.example")));
        assert_eq!(received.peers.iter().map(|peer| peer.ip.to_string()).collect::<Vec<_>>(), [peer]);
        assert_eq!(received.for_, [a("anna@local.example")]);
    }
}

#[test]
fn s10_guessed_mail_says_guess() {
    for (stage, guess) in [(0, false), (1, false), (2, false), (3, false), (4, true)] {
        let resolution = resolved(stage, "To", Some(0), &["anna@local.example"]);
        let text = stamp(|_| {}, &resolution, resolution.recipients());
        assert_eq!(text.contains("X-Mailgather-Resolved: guess"), guess, "{text}");
    }
}
