//! Section 10: the fields that we put on top.

use super::*;

pub fn stamp(hostile: &str, recipients: &[Recipient], resolution: &Resolution) -> String {
    let time: jiff::Zoned = "2026-11-16T10:00:05+03:00[+03:00]".parse().unwrap();
    let refused: Vec<Address> = recipients.iter().map(|r| r.address.clone()).collect();
    let stamp = Stamp {
        received: true,
        id: true,
        return_path: Some(&ReversePath::Null),
        hostname: hostile,
        product: hostile,
        protocol: hostile,
        source_host: hostile,
        source_ip: "2001:db8::7".parse().ok(),
        trace_id: TraceId([0xab; 16]),
        collector: &CollectorId::new("office").unwrap(),
        time: &time,
        recipients,
        resolution,
        refused: &refused,
        marker: hostile,
    };
    String::from_utf8(stamp.to_header()).unwrap()
}

#[test]
fn the_fields() {
    let (resolution, _) = resolve(&header(&format!("Envelope-To: anna@provider.example\n{OUTSIDE}")), &rules());
    let time: jiff::Zoned = "2026-11-16T10:00:05+03:00[+03:00]".parse().unwrap();
    let stamp = Stamp {
        received: true,
        id: true,
        return_path: None,
        hostname: "gate.икс.рф",
        product: "mailgather/0.1.0",
        protocol: "IMAPS",
        source_host: "imap.provider.example",
        source_ip: "192.0.2.1".parse().ok(),
        trace_id: TraceId([0xab; 16]),
        collector: &CollectorId::new("office").unwrap(),
        time: &time,
        recipients: resolution.recipients(),
        resolution: &resolution,
        refused: &[],
        marker: "1 aa bb cc dd",
    };
    let id = "ab".repeat(16);
    assert_eq!(
        String::from_utf8(stamp.to_header()).unwrap(),
        format!(
            "Received: from imap.provider.example ([192.0.2.1])\r\n\tby gate.xn--h1aev.xn--p1ai (mailgather/0.1.0 with IMAPS, collector office)\r\n\tid {id}\r\n\
                 \tfor <anna@provider.example>;\r\n\tMon, 16 Nov 2026 10:00:05 +0300\r\nX-Mailgather-Id: {id}\r\nX-Mailgather-Collector: office\r\n\
                 X-Mailgather-Resolved: Envelope-To 1 (stage 2)\r\nX-Mailgather-Loop: 1 aa bb cc\r\n\tdd\r\n"
        )
    );
    let two = [Recipient::new(a("a@b.example")), Recipient::new(a("c@b.example"))];
    let text = String::from_utf8(Stamp { recipients: &two, received: true, id: false, ..stamp }.to_header()).unwrap();
    assert!(!text.contains("for <") && !text.contains("X-Mailgather-Id") && text.contains("X-Mailgather-Loop: 1"), "{text}");
    let refused = [a("раз@икс.рф")];
    let reason = Resolution::DefaultBox(Recipient::new(a("p@b.example")), Reason::NoEnvelopeHeader);
    let text = String::from_utf8(Stamp { refused: &refused, resolution: &reason, received: false, ..stamp }.to_header()).unwrap();
    assert!(text.contains("X-Mailgather-Unresolved: no_envelope_header\r\n"), "{text}");
    assert!(text.contains("X-Mailgather-Refused: =?utf-8?Q?=D1=80=D0=B0=D0=B7=40x?=\r\n\t=?utf-8?Q?n=2D=2Dh1?="), "{text}");
    assert!(!text.contains("Received"), "{text}");
}

#[test]
fn no_value_ends_a_line() {
    let evil = "x\r\nBcc: evil@evil.example\r\n\r\nbody\0é\n. (x) ;".to_owned() + &"y".repeat(3000);
    let evidence = Evidence { stage: 1, header: evil.clone(), instance: 1, field: None };
    let long = Recipient::new(a(&format!("\"{}\"@{}b.example", "\\\"".repeat(200), "a.".repeat(100))));
    let text = stamp(&evil, std::slice::from_ref(&long), &Resolution::Recipients(vec![long.clone()], evidence));
    lines_are_safe(&text);
}

pub fn lines_are_safe(text: &str) {
    assert!(text.ends_with("\r\n") && !text.contains("\r\n\r\n"), "{text:?}");
    for line in text.strip_suffix("\r\n").unwrap().split("\r\n") {
        assert!(line.len() <= stamp::LINE_OCTETS_MAX, "{} octets", line.len());
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        let known = ["Return-Path: ", "Received: ", "X-Mailgather-"].iter().any(|name| line.starts_with(name));
        assert!(known || (line.starts_with('\t') && !line.trim().is_empty()), "{line:?}");
    }
}
