//! The resolver against the rules of the field, section by section, a corpus of realistic headers, and whatever octets there may be.

use bytes::Bytes;
use mailgather::mail::{Address, CollectorId, Fingerprint, HeaderBlock, MailboxId, Recipient, ReversePath, TraceId};
use mailgather::resolve::*;
use std::collections::BTreeSet;

fn header(text: &str) -> HeaderBlock {
    let (mut canonical, mut out) = (mailgather::mail::Canonical::new(), Vec::new());
    canonical.push(text.as_bytes(), &mut out);
    canonical.finish(&mut out);
    HeaderBlock::parse(Bytes::from(out))
}

fn a(text: &str) -> Address {
    text.parse().unwrap()
}

fn alias(from: &str, to: &[&str]) -> Alias {
    let (local, domain) = from.rsplit_once('@').unwrap();
    Alias { local: local.into(), domain: domain.parse().unwrap(), to: to.iter().map(|text| a(text)).collect() }
}

/// A catch-all mailbox `box@provider.example` at `imap.provider.example`.
fn rules() -> Rules {
    Rules {
        headers: Headers::Auto,
        domains: BTreeSet::from(["provider.example".parse().unwrap(), "local.example".parse().unwrap()]),
        server_host: "imap.provider.example".into(),
        own: Some(a("box@provider.example")),
        default_box: Some(a("postmaster@local.example")),
        unresolved: Unresolved::DefaultBox,
        ..Rules::default()
    }
}

fn who(text: &str, rules: &Rules) -> Vec<String> {
    match resolve(&header(text), rules).0 {
        Resolution::Recipients(recipients, _) => recipients.iter().map(|r| r.address.to_string()).collect(),
        Resolution::DefaultBox(_, reason) => vec![format!("default: {}", reason.code())],
        Resolution::Leave(reason) => vec![format!("leave: {}", reason.code())],
        Resolution::Hold(reason) => vec![format!("hold: {}", reason.code())],
        Resolution::Discard(reason) => vec![format!("discard: {}", reason.code())],
    }
}

const OUTSIDE: &str = "Received: from x (x.example [203.0.113.7]) by mx.provider.example with ESMTP id 1; d\n";

/// As the configuration knows them.
fn hosts_of_provider(server: &str) -> Vec<String> {
    let all = mailgather::config::presets();
    mailgather::config::provider_of_hosts(all.iter().map(|p| &**p), &[server.to_owned()]).map(|p| p.received_hosts.clone()).unwrap_or_default()
}

mod corpus {
    use super::*;

    fn rules_for(name: &str) -> Rules {
        let mut r = rules();
        match &name[3..] {
            "yandex" | "cyrillic" => {
                r.server_host = if name.ends_with("yandex") { "imap.yandex.ru".into() } else { "imap.почта.рф".into() };
                r.provider_hosts = hosts_of_provider(&r.server_host);
                r.own = Some(a("example@почта.рф"));
                r.domains = BTreeSet::from(["почта.рф".parse().unwrap()]);
                r.map.insert("почта.рф".parse().unwrap(), MapTo::Domain("икс.рф".parse().unwrap()));
                r.default_box = Some(a("postmaster@икс.рф"));
            }
            "gmail" | "gmail_routed" => {
                r.server_host = "imap.gmail.com".into();
                r.provider_hosts = hosts_of_provider(&r.server_host);
                r.own = Some(a("box@gmail.com"));
            }
            "qmail" => {
                let rule = HeaderRule {
                    header: "Delivered-To".into(),
                    index: None,
                    pattern: None,
                    strip_prefix: Some("box-".into()),
                    take: Take::All,
                    trust_any: false,
                };
                r.headers = Headers::List(vec![rule]);
            }
            "alias_and_foreign" => r.aliases = vec![alias("sales@provider.example", &["anna@local.example", "team@local.example"])],
            "no_received" => r.unresolved = Unresolved::Leave,
            _ => {}
        }
        r
    }

    /// `UPDATE_EXPECTED=1` writes the files anew; read the difference before it is committed.
    #[test]
    fn each_header_gives_the_written_trail() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resolve");
        let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|ext| ext == "eml"));
        names.sort();
        assert!(names.len() >= 12, "{} headers only", names.len());
        for path in names {
            let header = HeaderBlock::parse(Bytes::from(std::fs::read(&path).unwrap()));
            let rules = rules_for(path.file_stem().unwrap().to_str().unwrap());
            let (resolution, trail) = resolve(&header, &rules);
            let block = TrustedBlock::find(&header, &Trust::from(&rules));
            let (path_, evidence) = sender(&header, &block, &SenderFallback::Default, matches!(resolution, Resolution::DefaultBox(..)));
            let mut text = format!("{}  sender {path_} ({evidence})\n", trail.to_text());
            for edit in edits(&header, &resolution, resolution.recipients(), "gate.example", &HeaderOptions::default()) {
                let cut = String::from_utf8_lossy(header.octets().get(edit.cut.clone()).unwrap()).replace("\r\n", "");
                text.push_str(&format!("  edit {cut:?} -> {:?}\n", String::from_utf8_lossy(&edit.with)));
            }
            let expected = path.with_extension("expected");
            if std::env::var_os("UPDATE_EXPECTED").is_some() {
                std::fs::write(&expected, &text).unwrap();
            }
            let want = std::fs::read_to_string(&expected).unwrap_or_default();
            assert_eq!(text, want, "trail of {}", path.display());
        }
    }
}

#[path = "resolve/section_1_parsing.rs"]
mod section_1_parsing;
#[path = "resolve/section_2_trusted_block.rs"]
mod section_2_trusted_block;

#[path = "resolve/section_3_acceptance.rs"]
mod section_3_acceptance;
#[path = "resolve/section_3_guess.rs"]
mod section_3_guess;
#[path = "resolve/section_3_order.rs"]
mod section_3_order;
#[path = "resolve/trails.rs"]
mod trails;

mod section_4_sender {
    use super::*;

    fn from(text: &str, fallback: SenderFallback, to_default_box: bool) -> String {
        let header = header(text);
        let block = TrustedBlock::find(&header, &Trust::automatic("imap.provider.example"));
        sender(&header, &block, &fallback, to_default_box).0.to_string()
    }

    #[test]
    fn what_the_provider_wrote_then_the_fallback() {
        for (above, below, want) in [
            ("Return-Path: <s@x.example>\n", "", "s@x.example"),
            ("Return-Path: s@x.example\n", "", "s@x.example"),
            ("Return-Path: <>\n", "From: f@x.example\n", "<>"),
            ("Return-Path: < >\n", "From: f@x.example\n", "<>"),
            ("Return-Path: <s@x.example>\nReturn-Path: <t@x.example>\n", "", "s@x.example"),
            ("", "Return-Path: <victim@y.example>\nFrom: f@x.example\n", "f@x.example"),
            ("Return-Path: root\n", "From: f@x.example\n", "f@x.example"),
            ("Return-Path: <@>\n", "From: f@x.example\n", "f@x.example"),
            ("X-Envelope-From: <e@x.example>\n", "From: f@x.example\n", "e@x.example"),
            ("", "From: f@x.example\nSender: s@x.example\nResent-From: r@x.example\n", "s@x.example"),
            ("", "From: \"no address\"\n", "<>"),
            ("", "From: Mail <MAILER-DAEMON@x.example>\n", "<>"),
            ("", "From: f@x.example\nContent-Type: Multipart/Report; x\n", "<>"),
            ("", "From: f@x.example\nAuto-Submitted: auto-replied\n", "<>"),
            ("Return-Path: <s@x.example>\n", "Auto-Submitted: auto-replied\n", "s@x.example"),
        ] {
            assert_eq!(from(&format!("{above}{OUTSIDE}{below}"), SenderFallback::Default, false), want, "of {above:?} {below:?}");
        }
        let comment = "Received: from x ([203.0.113.7]) by mx.provider.example (envelope-from <e@x.example>); d\nFrom: f@x.example\n";
        assert_eq!(from(comment, SenderFallback::Default, false), "e@x.example");
    }

    #[test]
    fn the_fallbacks() {
        let text = "From: f@x.example\n";
        assert_eq!(from(text, SenderFallback::Default, true), "<>");
        assert_eq!(from(text, SenderFallback::From, true), "f@x.example");
        assert_eq!(from(text, SenderFallback::Null, false), "<>");
        assert_eq!(from(text, SenderFallback::Fixed(a("z@x.example")), false), "z@x.example");
    }
}

fn mailbox(login: &str) -> MailboxId {
    MailboxId { protocol: "imap", host: "imap.provider.example".into(), login: login.into() }
}

mod section_6_loops {
    use super::*;

    fn guard() -> LoopGuard {
        LoopGuard::new([7; 32], "one")
    }

    fn to(text: &str) -> Vec<Recipient> {
        vec![Recipient::new(a(text))]
    }

    #[test]
    fn the_same_mailbox_and_recipient_at_once() {
        let f = Fingerprint([1; 32]);
        let marked = header(&format!("X-Mailgather-Loop: {}\n", guard().mint(&mailbox("u"), &f, &to("anna@local.example"))));
        let check = |guard: &LoopGuard, login: &str, f, recipient: &str| guard.check(&marked, &mailbox(login), &f, &to(recipient), 50, 3);
        assert_eq!(check(&guard(), "u", f, "Anna@local.example"), Some(Loop::SeenHere));
        assert_eq!(check(&guard(), "u", f, "boris@local.example"), None);
        assert_eq!(check(&guard(), "v", f, "anna@local.example"), None);
        // Another message, another instance, another key: not ours.
        assert_eq!(check(&guard(), "u", Fingerprint([2; 32]), "anna@local.example"), None);
        assert_eq!(check(&LoopGuard::new([7; 32], "two"), "u", f, "anna@local.example"), None);
        assert_eq!(check(&LoopGuard::new([8; 32], "one"), "u", f, "anna@local.example"), None);
    }

    #[test]
    fn other_collectors_pass_a_few_times() {
        let f = Fingerprint([1; 32]);
        let marks = |logins: &[&str]| {
            header(
                &logins
                    .iter()
                    .map(|login| format!("X-Mailgather-Loop: {}\n", guard().mint(&mailbox(login), &f, &to("a@local.example"))))
                    .collect::<String>(),
            )
        };
        let check = |logins: &[&str]| guard().check(&marks(logins), &mailbox("me"), &f, &to("a@local.example"), 50, 3);
        assert_eq!(check(&["a", "b"]), None);
        assert_eq!(check(&["a", "b", "b", "b"]), None);
        assert_eq!(check(&["a", "b", "c"]), Some(Loop::Passes { count: 3, max: 3 }));
    }

    #[test]
    fn a_tampered_or_strange_marker_is_nothing() {
        let f = Fingerprint([1; 32]);
        let good = guard().mint(&mailbox("u"), &f, &to("a@local.example"));
        let mut bad = good.clone().into_bytes();
        bad[3] = if bad[3] == b'0' { b'1' } else { b'0' };
        for value in [String::from_utf8(bad).unwrap(), String::new(), "1".into(), "2 a b".into(), format!("{good} zz"), "1 é é é".into()] {
            assert_eq!(
                guard().check(&header(&format!("X-Mailgather-Loop: {value}\n")), &mailbox("u"), &f, &to("a@local.example"), 50, 3),
                None,
                "{value}"
            );
        }
    }

    #[test]
    fn hops_are_counted() {
        let f = Fingerprint([1; 32]);
        let check = |n, max| guard().check(&header(&"Received: by x; d\n".repeat(n)), &mailbox("u"), &f, &to("a@local.example"), max, 3);
        assert_eq!(check(49, 50), None);
        assert_eq!(check(50, 50), Some(Loop::Hops { count: 50, max: 50 }));
        assert_eq!(check(50, 0), None);
    }

    #[test]
    fn the_internal_message_of_uw_imap() {
        let text = "X-IMAP: 1 2\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\n";
        assert!(is_internal_message(&header(text)));
        assert!(!is_internal_message(&header("X-IMAP: 1 2\nSubject: hello\n\n")));
        assert!(!is_internal_message(&header("Subject: DON'T DELETE THIS MESSAGE\n\n")));
        assert!(!is_internal_message(&header(&format!("{OUTSIDE}{text}"))), "it came from outside");
    }
}

/// The message's header as it leaves: the edits applied.
fn edited(header: &HeaderBlock, resolution: &Resolution) -> String {
    let mut at = 0;
    let mut out = Vec::new();
    for edit in edits(header, resolution, resolution.recipients(), "gate.example", &HeaderOptions::default()) {
        out.extend_from_slice(&header.octets()[at..edit.cut.start]);
        out.extend_from_slice(&edit.with);
        at = edit.cut.end;
    }
    out.extend_from_slice(&header.octets()[at..]);
    String::from_utf8_lossy(&out).replace("\r\n", "\n")
}

mod section_9_edits {
    use super::*;

    #[test]
    fn auto_and_forward() {
        let text = format!(
            "From x@y Mon Jan 1\nReturn-Path: <s@x.example>\nX-Original-To: anna@provider.example\nX-Original-To: boris@provider.example\n\
             Delivered-To: Anna@provider.example\nDelivered-To: box@provider.example\n{OUTSIDE}X-Original-To: list@y.example\nReturn-Path: <z@x.example>\n\
             Envelope-To: anna@provider.example\nStatus: RO\nx-uid: 5\nBcc: secret@provider.example\nTo: to@x.example\nCc: cc@x.example\n\n"
        );
        let header = header(&text);
        let (resolution, _) = resolve(&header, &rules());
        let auto = format!(
            "X-Original-To: anna@provider.example\nX-Orig-Delivered-To: Anna@provider.example\nDelivered-To: box@provider.example\n{OUTSIDE}\
             Envelope-To: anna@provider.example\nTo: to@x.example\nCc: cc@x.example\n\n"
        );
        assert_eq!(edited(&header, &resolution), auto);
        let forwarded = edited(&header, &forward(&[a("box@provider.example")]).0);
        assert!(
            forwarded.starts_with("X-Original-To: anna@provider.example\nX-Original-To: boris@provider.example\nDelivered-To: Anna"),
            "{forwarded}"
        );
        for kept in ["X-Orig-Delivered-To: box@provider.example\n", "\nX-Original-To: list@y.example\n", "\nBcc: secret@provider.example\n"] {
            assert!(forwarded.contains(kept), "{kept} of {forwarded}");
        }
        assert!(!forwarded.contains("Return-Path") && !forwarded.contains("Status"), "{forwarded}");
    }

    #[test]
    fn nobody_else_speaks_under_our_name() {
        let to = forward(&[a("a@local.example")]).0;
        let text = "Authentication-Results: gate.example; spf=pass\nAuthentication-Results: GATE.example 1;\n dkim=pass\nAuthentication-Results: mx.remote.example; spf=fail\n\n";
        let renamed = "X-Orig-Authentication-Results: gate.example; spf=pass\nX-Orig-Authentication-Results: GATE.example 1;\n dkim=pass\n\
                       Authentication-Results: mx.remote.example; spf=fail\n\n";
        assert_eq!(edited(&header(text), &to), renamed);
    }

    #[test]
    fn a_body_without_a_header_stays_a_body() {
        let to = forward(&[a("a@local.example")]).0;
        assert_eq!(edited(&header("just text\nA: b\n"), &to), "\n");
        assert_eq!(edited(&header("\nbody"), &to), "\n");
        assert_eq!(edited(&header("\u{feff}text"), &to), "\n");
        assert_eq!(edited(&header("\u{feff}A: 1\n\nb"), &to), "A: 1\n\n");
        assert_eq!(edited(&header(""), &to), "\n");
    }
}

mod section_10_stamp {
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
}

mod whatever_octets {
    use super::*;
    use proptest::prelude::*;

    const PIECES: &[&str] = &[
        "X-Original-To: ",
        "Delivered-To: ",
        "Envelope-To: ",
        "Return-Path: ",
        "Received: ",
        "Received: from x ([127.0.0.1]) by mx.provider.example with LMTP for <",
        "X-Mailgather-Loop: 1 ",
        "From: ",
        "Status: ",
        "From ",
        "Bcc: ",
        "\r\n",
        "\r\n",
        "\r\n ",
        "\n",
        "\r",
        "\0",
        "<",
        ">",
        "@",
        "\"",
        "\\",
        "(",
        ")",
        ";",
        ":",
        ",",
        " ",
        "anna@provider.example",
        "box@provider.example",
        "раз@почта.рф",
        "\u{feff}",
        "\u{202e}",
        "=?utf-8?Q?=0D=0A?=",
        "by mx.provider.example",
        "for <a@provider.example>",
    ];

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![4 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()), 1 => proptest::collection::vec(any::<u8>(), 0..4)];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_breaks_a_line(raw in octets()) {
            let (mut canonical, mut out) = (mailgather::mail::Canonical::new(), Vec::new());
            canonical.push(&raw, &mut out);
            canonical.finish(&mut out);
            let len = out.len();
            let header = HeaderBlock::parse(Bytes::from(out));
            for rules in [rules(), Rules { trusted_hops: Some(3), envelope_below_received: true, own: None, ..rules() }, Rules { server_host: "localhost".into(), ..rules() }] {
                let (resolution, trail) = resolve(&header, &rules);
                let block = TrustedBlock::find(&header, &Trust::from(&rules));
                let (from, _) = sender(&header, &block, &SenderFallback::Default, false);
                for path in resolution.recipients().iter().map(|r| r.address.to_smtp()).chain([from.to_smtp()]) {
                    prop_assert!(!path.chars().any(char::is_control), "{:?}", path);
                    prop_assert!(path.is_empty() || path.parse::<Address>().is_ok(), "{:?}", path);
                }
                if let Resolution::Recipients(recipients, evidence) = &resolution {
                    prop_assert!(!recipients.is_empty() && evidence.field.is_some_and(|field| block.contains(field)));
                }
                let unsafe_to_print = trail.to_text().chars().find(|&c| c != '\n' && (c.is_control() || c == '\u{202e}'));
                prop_assert_eq!(unsafe_to_print, None);
                let _ = trail.to_json().to_string();
                let mut end = 0;
                for edit in edits(&header, &resolution, resolution.recipients(), "gate.example", &HeaderOptions::default()) {
                    prop_assert!(edit.cut.start >= end && edit.cut.start <= edit.cut.end && edit.cut.end <= len);
                    prop_assert!(edit.with.is_empty() || edit.with.ends_with(b"\r\n"));
                    end = edit.cut.end;
                }
                let _ = LoopGuard::new([0; 32], "i").check(&header, &mailbox("u"), &Fingerprint([0; 32]), resolution.recipients(), 50, 3);
                section_10_stamp::lines_are_safe(&section_10_stamp::stamp(&String::from_utf8_lossy(&raw), resolution.recipients(), &resolution));
            }
        }
    }

    /// Each shape at 1 MiB and at 10 MiB: the limits of the header make the second cost no more than a few times the first, and neither is slow.
    #[test]
    fn a_huge_header_is_bounded() {
        let shapes = [
            "X-Original-To: a@foreign.example\n",
            "Received: by mx.provider.example with LMTP for <a@foreign.example>; d\n",
            "Delivered-To: box@provider.example, a@foreign.example\n",
            "X: y\n (",
            "Envelope-To: (((((((((((\"\"\"\"<<<<,,,,;;;;::::@@@@\n\t",
            "X-Mailgather-Loop: 1 00000000000000000000000000000000 0000000000000000 0000000000000000\n",
        ];
        let mut r = rules();
        r.aliases = (0..200).map(|n| alias(&format!("a*b*{n}@foreign.example"), &["x@local.example"])).collect();
        for shape in shapes {
            let header = header(&shape.repeat(10 * 1024 * 1024 / shape.len()));
            assert!(header.octets().len() <= mailgather::mail::header::HEADER_OCTETS_MAX);
            // What is read is bounded by the limits above, so that this ends; how fast is for a benchmark to say.
            let (resolution, trail) = resolve(&header, &r);
            let list = edits(&header, &resolution, resolution.recipients(), "gate.example", &HeaderOptions::default());
            LoopGuard::new([0; 32], "i").check(&header, &mailbox("u"), &Fingerprint([0; 32]), resolution.recipients(), 0, 0);
            assert!(trail.steps().len() <= trail::TRAIL_STEPS_MAX + 1 && list.len() <= mailgather::mail::header::FIELDS_MAX + 1);
        }
    }
}
