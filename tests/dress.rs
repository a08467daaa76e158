//! What a message is dressed in for its delivery, rule by rule: reverse-path (section 4 of the rules), loops (6), repair of the header (8),
//! edits (9), trace fields (10). Each table is named after its section.

use bytes::Bytes;
use mailgather::mail::header::Edit;
use mailgather::mail::{Address, Canonical, CollectorId, Fingerprint, HeaderBlock, MailboxId, Recipient, ReversePath, TraceId};
use mailgather::resolve::*;

fn canonical(text: &[u8]) -> Bytes {
    let (mut canonical, mut out) = (Canonical::new(), Vec::new());
    canonical.push(text, &mut out);
    canonical.finish(&mut out);
    Bytes::from(out)
}

fn header(text: &str) -> HeaderBlock {
    HeaderBlock::parse(canonical(text.as_bytes()))
}

fn a(text: &str) -> Address {
    text.parse().unwrap()
}

fn to(addresses: &[&str]) -> Vec<Recipient> {
    addresses.iter().map(|address| Recipient::new(a(address))).collect()
}

/// What the resolver would say, found by this stage in this header.
fn resolved(stage: u8, name: &str, field: Option<usize>, recipients: &[&str]) -> Resolution {
    Resolution::Recipients(to(recipients), Evidence { stage, header: name.into(), instance: 1, field })
}

fn default_box() -> Resolution {
    Resolution::DefaultBox(Recipient::new(a("postmaster@local.example")), Reason::NoEnvelopeHeader)
}

/// The octets with the edits applied, line ends as LF.
fn apply(octets: &[u8], edits: &[Edit]) -> String {
    let (mut at, mut out) = (0, Vec::new());
    for edit in edits {
        out.extend_from_slice(&octets[at..edit.cut.start]);
        out.extend_from_slice(&edit.with);
        at = edit.cut.end;
    }
    out.extend_from_slice(&octets[at..]);
    String::from_utf8_lossy(&out).replace("\r\n", "\n")
}

const OUTSIDE: &str = "Received: from x (x.example [203.0.113.7]) by mx.provider.example with ESMTP id 1; d\n";

mod s4_sender {
    use super::*;

    fn path(text: &str, trust: &Trust, fallback: &SenderFallback, resolution: &Resolution) -> (String, String) {
        let header = header(text);
        let block = TrustedBlock::find(&header, trust);
        let (path, evidence) = sender(&header, &block, fallback, is_uncertain(resolution));
        (path.to_string(), evidence.to_string())
    }

    fn automatic(text: &str) -> (String, String) {
        path(text, &Trust::automatic("imap.provider.example"), &SenderFallback::Default, &resolved(2, "Envelope-To", None, &["a@local.example"]))
    }

    #[test]
    fn s4_the_topmost_return_path_inside_the_trusted_block_only() {
        for (text, want, by) in [
            (format!("Return-Path: <s@x.example>\n{OUTSIDE}From: f@y.example\n"), "s@x.example", "Return-Path"),
            (format!("{OUTSIDE}Return-Path: <victim@z.example>\nFrom: f@y.example\n"), "f@y.example", "From"),
            (format!("Return-Path: <one@x.example>\nReturn-Path: <two@x.example>\n{OUTSIDE}"), "one@x.example", "Return-Path"),
            ("Return-Path: <victim@z.example>\nFrom: f@y.example\n".into(), "f@y.example", "From"),
        ] {
            assert_eq!(automatic(&text), (want.into(), by.into()), "of {text:?}");
        }
    }

    #[test]
    fn s4_a_provider_may_write_it_lower() {
        let text = format!("{OUTSIDE}From: f@y.example\nReturn-Path: s@x.example\n");
        let below = Trust { envelope_below_received: true, ..Trust::automatic("imap.provider.example") };
        assert_eq!(path(&text, &below, &SenderFallback::Default, &default_box()).0, "s@x.example");
        assert_eq!(path(&text, &Trust::automatic("imap.provider.example"), &SenderFallback::Default, &default_box()).0, "<>");
    }

    #[test]
    fn s4_null_stays_null_whatever_the_fallback() {
        for fallback in [SenderFallback::Default, SenderFallback::Null, SenderFallback::From, SenderFallback::Fixed(a("z@x.example"))] {
            let text = format!("Return-Path: <>\n{OUTSIDE}From: f@y.example\nX-Envelope-From: e@x.example\n");
            assert_eq!(path(&text, &Trust::automatic("imap.provider.example"), &fallback, &default_box()).0, "<>", "{fallback:?}");
        }
    }

    #[test]
    fn s4_rubbish_is_absent() {
        for value in ["root", "@", "<@>", "<root>", "<a@b..c>", "", "<a@b.example", "a b", "<a@b.example> <c@d.example>", "\u{fffd}@x.example"] {
            let (path, by) = automatic(&format!("Return-Path: {value}\n{OUTSIDE}From: f@y.example\n"));
            // An unclosed bracket is read as if it were closed.
            let want = if value == "<a@b.example" { ("a@b.example", "Return-Path") } else { ("f@y.example", "From") };
            assert_eq!((path.as_str(), by.as_str()), want, "of {value:?}");
        }
    }

    #[test]
    fn s4_its_kin_in_order_then_the_comment_then_the_fallback() {
        let kin = ["X-Envelope-From", "Envelope-From", "X-Envelope-Sender", "X-Return-Path"];
        for (nth, name) in kin.iter().enumerate() {
            // All that come later stand above it, and lose.
            let above: String = kin[nth + 1..].iter().map(|name| format!("{name}: later@x.example\n")).collect();
            let (path, by) = automatic(&format!("{above}{name}: <{nth}@x.example>\n{OUTSIDE}From: f@y.example\n"));
            assert_eq!((path, by.as_str()), (format!("{nth}@x.example"), *name));
            let (_, by) = automatic(&format!("{OUTSIDE}{name}: forged@x.example\nFrom: f@y.example\n"));
            assert_eq!(by, "From", "{name} below the block");
        }
        for (comment, want, by) in [
            ("(envelope-from <c@x.example>)", "c@x.example", "Received (envelope-from)"),
            ("(envelope-from c@x.example)", "c@x.example", "Received (envelope-from)"),
            ("(envelope-from <>)", "<>", "Received (envelope-from)"),
            ("(envelope-from root)", "f@y.example", "From"),
        ] {
            let text = format!("Received: from x (x.example [203.0.113.7]) by mx.provider.example with esmtp {comment} id 1; d\nFrom: f@y.example\n");
            assert_eq!(automatic(&text), (want.into(), by.into()), "of {comment}");
        }
        let below = format!("{OUTSIDE}Received: from y by mx.provider.example (envelope-from <forged@x.example>) id 2; d\nFrom: f@y.example\n");
        assert_eq!(automatic(&below).0, "f@y.example");
    }

    #[test]
    fn s4_the_fallback_from_takes_valid_addresses_only() {
        for (fields, want, by) in [
            ("Resent-Sender: 1@x.example\nSender: 2@x.example\nResent-From: 3@x.example\nFrom: 4@x.example\n", "1@x.example", "Resent-Sender"),
            ("From: 4@x.example\nResent-From: 3@x.example\nSender: 2@x.example\n", "2@x.example", "Sender"),
            ("From: 4@x.example\nResent-From: 3@x.example\n", "3@x.example", "Resent-From"),
            ("Sender: root\nFrom: 4@x.example\n", "4@x.example", "From"),
            ("From: undisclosed-recipients:;\n", "<>", "sender_fallback"),
            ("Reply-To: 5@x.example\n", "<>", "sender_fallback"),
        ] {
            assert_eq!(automatic(&format!("{OUTSIDE}{fields}")), (want.into(), by.into()), "of {fields:?}");
        }
    }

    #[test]
    fn s4_null_for_default_box_and_guessed_mail() {
        let text = format!("{OUTSIDE}From: f@y.example\n");
        let box_only = [default_box(), Resolution::Hold(Reason::NoEnvelopeHeader), resolved(4, "To", None, &["a@local.example"])];
        let named = [1, 2, 3].map(|stage| resolved(stage, "Envelope-To", Some(0), &["a@local.example"]));
        let trust = Trust::automatic("imap.provider.example");
        for (fallback, for_uncertain, for_named) in [
            (SenderFallback::Default, "<>", "f@y.example"),
            (SenderFallback::Null, "<>", "<>"),
            (SenderFallback::From, "f@y.example", "f@y.example"),
            (SenderFallback::Fixed(a("z@x.example")), "z@x.example", "z@x.example"),
        ] {
            for resolution in &box_only {
                assert_eq!(path(&text, &trust, &fallback, resolution).0, for_uncertain, "{fallback:?} {resolution:?}");
            }
            for resolution in named.iter().chain([&forward(&[a("a@local.example")]).0]) {
                assert_eq!(path(&text, &trust, &fallback, resolution).0, for_named, "{fallback:?} {resolution:?}");
            }
        }
        // What is known is not given up for it.
        assert_eq!(path(&format!("Return-Path: <s@x.example>\n{text}"), &trust, &SenderFallback::Default, &box_only[2]).0, "s@x.example");
    }

    #[test]
    fn s4_a_bounce_without_return_path_has_the_null_path() {
        for (fields, bounce) in [
            ("Content-Type: multipart/report; report-type=delivery-status\n", true),
            ("Content-Type: MULTIPART/REPORT\n", true),
            ("Auto-Submitted: auto-replied\n", true),
            ("Auto-Submitted: auto-replied (vacation)\n", true),
            ("Auto-Submitted: auto-generated\n", false),
            ("Content-Type: multipart/mixed\n", false),
        ] {
            let (path, by) = automatic(&format!("{OUTSIDE}From: f@y.example\n{fields}"));
            assert_eq!((path.as_str(), by.as_str()), if bounce { ("<>", "an automatic message") } else { ("f@y.example", "From") }, "{fields}");
        }
        for (from, bounce) in [
            ("MAILER-DAEMON@x.example", true),
            ("Mail Delivery System <Mailer-Daemon@x.example>", true),
            ("MAILER-DAEMON (Mail Delivery System)", true),
            ("\"mailer-daemon\" <f@y.example>", false),
        ] {
            let (path, _) = automatic(&format!("{OUTSIDE}From: {from}\n"));
            assert_eq!(path == "<>", bounce, "{from}");
        }
        let known = format!("Return-Path: <s@x.example>\n{OUTSIDE}From: MAILER-DAEMON@x.example\n");
        assert_eq!(automatic(&known).0, "s@x.example");
    }
}

mod s6_loops {
    use super::*;

    const F: Fingerprint = Fingerprint([1; 32]);

    fn guard() -> LoopGuard {
        LoopGuard::new([7; 32], "one")
    }

    fn mailbox(login: &str) -> MailboxId {
        MailboxId { protocol: "imap", host: "imap.provider.example".into(), login: login.into() }
    }

    fn mark(guard: &LoopGuard, login: &str, fingerprint: &Fingerprint, recipients: &[&str]) -> String {
        format!("X-Mailgather-Loop: {}\n", guard.mint(&mailbox(login), fingerprint, &to(recipients)))
    }

    fn check(text: &str, login: &str, fingerprint: &Fingerprint, recipients: &[&str]) -> Option<Loop> {
        guard().check(&header(text), &mailbox(login), fingerprint, &to(recipients), 50, 3)
    }

    #[test]
    fn s6_max_hops_counts_the_whole_header() {
        for (hops, max, is_loop) in [(49, 50, false), (50, 50, true), (51, 50, true), (3, 3, true), (500, 0, false)] {
            let text = format!("{}From: a@b.example\n{}", "Received: by x; d\n".repeat(hops / 2), "rEceived: by y; d\n".repeat(hops - hops / 2));
            let found = guard().check(&header(&text), &mailbox("u"), &F, &to(&["a@local.example"]), max, 3);
            assert_eq!(found, is_loop.then_some(Loop::Hops { count: hops, max }));
        }
    }

    #[test]
    fn s6_the_same_mailbox_and_recipient_is_a_loop_at_once() {
        let text = mark(&guard(), "u", &F, &["a@local.example", "b@local.example"]);
        for (login, recipients, want) in [
            ("u", &["a@local.example"][..], Some(Loop::SeenHere)),
            ("u", &["c@local.example", "B@local.example"], Some(Loop::SeenHere)),
            ("u", &["c@local.example"], None),
            ("v", &["a@local.example"], None),
        ] {
            assert_eq!(check(&text, login, &F, recipients), want, "{login} {recipients:?}");
        }
    }

    #[test]
    fn s6_forged_and_replayed_markers_do_not_count() {
        let good = mark(&guard(), "u", &F, &["a@local.example"]);
        let other_message = mark(&guard(), "u", &Fingerprint([2; 32]), &["a@local.example"]);
        let other_key = mark(&LoopGuard::new([8; 32], "one"), "u", &F, &["a@local.example"]);
        let other_instance = mark(&LoopGuard::new([7; 32], "two"), "u", &F, &["a@local.example"]);
        let words: Vec<&str> = good.split_whitespace().collect();
        let other: Vec<&str> = other_message.split_whitespace().collect();
        // Parts of two good markers, put together.
        let mixed = |mac: &str, mailbox: &str, tag: &str| format!("X-Mailgather-Loop: 1 {mac} {mailbox} {tag}\n");
        let forged = [
            other_message.clone(),
            other_key,
            other_instance,
            mixed(other[2], words[3], words[4]),
            mixed(words[2], words[3], other[4]),
            mixed(&"0".repeat(32), words[3], words[4]),
            format!("X-Mailgather-Loop: 1 {}\n", words[2]),
            format!("X-Mailgather-Loop: {} {}\n", words[1..].join(" "), words[4]),
            good.replace("X-Mailgather-Loop", "X-Mailgather-Loop-Copy"),
        ];
        for text in &forged {
            assert_eq!(check(text, "u", &F, &["a@local.example"]), None, "{text}");
        }
        // However many: they are not passes either.
        assert_eq!(check(&forged.concat().repeat(5), "v", &F, &["a@local.example"]), None);
        assert_eq!(check(&good, "u", &F, &["a@local.example"]), Some(Loop::SeenHere));
        assert_eq!(check(&(forged.concat() + &good), "u", &F, &["a@local.example"]), Some(Loop::SeenHere), "a good one below forged ones");
    }

    #[test]
    fn s6_other_collectors_may_pass_max_passes_times() {
        let text: String = ["a", "b", "c"].map(|login| mark(&guard(), login, &F, &["a@local.example"])).concat();
        for (max, want) in [(0, None), (4, None), (3, Some(Loop::Passes { count: 3, max: 3 })), (1, Some(Loop::Passes { count: 3, max: 1 }))] {
            assert_eq!(guard().check(&header(&text), &mailbox("me"), &F, &to(&["a@local.example"]), 50, max), want, "{max}");
        }
        let one_thrice = mark(&guard(), "a", &F, &["a@local.example"]).repeat(3);
        assert_eq!(check(&one_thrice, "me", &F, &["a@local.example"]), None, "one marker counts once");
    }

    #[test]
    fn s6_a_message_that_got_its_message_id_from_us_is_known_again() {
        for date in ["", "Date: Mon, 16 Nov 2026 10:00:00 +0300\n"] {
            let text = format!("{OUTSIDE}{date}Subject: alarm\n");
            let added = String::from_utf8(missing(&header(&text), &F, "gate.example")).unwrap();
            let back = format!("{}{added}{text}", mark(&guard(), "u", &F, &["a@local.example"]));
            // Its fingerprint holds the Message-ID now.
            assert_eq!(check(&back, "u", &Fingerprint([9; 32]), &["a@local.example"]), Some(Loop::SeenHere), "{back}");
            assert_eq!(check(&back, "u", &Fingerprint([9; 32]), &["b@local.example"]), None);
            let moved = back.replace(&"01".repeat(32), &"02".repeat(32));
            assert_eq!(check(&moved, "u", &Fingerprint([9; 32]), &["a@local.example"]), None);
        }
    }
}

mod s8_repair {
    use super::*;

    const F: Fingerprint = Fingerprint([0xab; 32]);

    fn added(text: &str) -> String {
        String::from_utf8(missing(&header(text), &F, "gate.икс.рф")).unwrap().replace("\r\n", "\n")
    }

    #[test]
    fn s8_missing_fields() {
        let id = "ab".repeat(32);
        let dated = "Received: from x by y; Mon, 16 Nov 2026 10:00:00 +0300 (MSK)\n";
        for (text, want) in [
            ("Message-ID: <1@x>\nDate: Mon, 16 Nov 2026 10:00:00 +0300\n".to_owned(), String::new()),
            ("message-id:\ndate:\n".into(), String::new()),
            ("Date: x\n".into(), format!("Message-ID: <{id}@gate.xn--h1aev.xn--p1ai>\n")),
            (format!("{dated}Message-ID: <1@x>\n"), "Date: Mon, 16 Nov 2026 10:00:00 +0300\n".into()),
            // The topmost that parses.
            (format!("Received: by z\nReceived: by z; soon\n{dated}Message-ID: <1@x>\n"), "Date: Mon, 16 Nov 2026 10:00:00 +0300\n".into()),
            ("Received: by z; Tue, 16 Nov 2026 7:0:05 GMT\nMessage-ID: <1@x>\n".into(), String::new()),
            ("Received: by z; Tue, 16 Nov 2026 07:00:05 GMT\nMessage-ID: <1@x>\n".into(), "Date: Mon, 16 Nov 2026 07:00:05 +0000\n".into()),
            ("Received: by z; 16 Nov 26 07:00 -0500\nMessage-ID: <1@x>\n".into(), "Date: Mon, 16 Nov 2026 07:00:00 -0500\n".into()),
            ("Message-ID: <1@x>\n".into(), String::new()),
            // No header: nothing, and no empty message either.
            ("just text\n".into(), String::new()),
            ("\nbody\n".into(), String::new()),
            (String::new(), String::new()),
        ] {
            assert_eq!(added(&text), want, "of {text:?}");
        }
        assert_eq!(missing(&header(&"X: y\n".repeat(2_001)), &F, "h"), b"", "the rest of the header was not read");
    }

    #[test]
    fn s8_the_same_for_a_re_collect_and_another_for_another_alarm() {
        let alarm = |second: u8| format!("Received: from x by y id {second}; Mon, 16 Nov 2026 10:00:0{second} +0300\nSubject: disk full\n");
        assert_eq!(added(&alarm(1)), added(&alarm(1)));
        assert_ne!(added(&alarm(1)), added(&alarm(2)), "a server would take the second alarm for a duplicate");
        // Where a Date tells them apart, the copies for two people keep one name.
        let copy = |id: u8| format!("Received: from x by y id {id}; d\nDate: Mon, 16 Nov 2026 10:00:00 +0300\n");
        assert_eq!(added(&copy(1)), added(&copy(2)));
    }

    #[test]
    fn s8_no_host_name_breaks_the_line() {
        for host in ["", "a b", "x\r\nBcc: y@z", "localhost", "[::1]"] {
            let lines = String::from_utf8(missing(&header("Date: x\n"), &F, host)).unwrap();
            assert!(lines.starts_with("Message-ID: <abab") && lines.ends_with(">\r\n") && lines.matches("\r\n").count() == 1, "{lines:?}");
        }
    }

    /// Lines of so many octets, with white space each `gap`.
    fn long(len: usize, gap: usize) -> String {
        (1..=len).map(|at| if at % gap == 0 { ' ' } else { 'x' }).collect()
    }

    #[test]
    fn s8_over_long_header_lines_are_folded() {
        for (what, text, folds) in [
            ("short", format!("A: {}\n", "x ".repeat(400)), 0),
            ("998 octets", format!("A: {}x\n", long(994, 10)), 0),
            ("999 octets", format!("A: {}x\n", long(995, 10)), 1),
            ("many", format!("A: {}x\n", long(10_000, 7)), 10),
            ("no white space but behind the colon", format!("A: {}\n", "x".repeat(5_000)), 1),
            ("none at all", format!("A:{}\n", "x".repeat(5_000)), 0),
            ("white space at the end only", format!("A:{}     \n", "x".repeat(5_000)), 0),
            ("white space only", format!("A:{}\n", " ".repeat(5_000)), 0),
            ("a continuation line", format!("A: x\n\t{}x\nB: y\n", long(1_500, 9)), 1),
            ("a blank before the colon", format!("A : {}\n", "x".repeat(2_000)), 1),
            ("above what is read of a field", format!("A: {}x\n", long(70_000, 100)), 77),
            ("the body", format!("A: x\n\n{}\n", long(5_000, 9)), 0),
        ] {
            let raw = canonical(text.as_bytes());
            let header = HeaderBlock::parse(raw.clone());
            let edits = fold(&header);
            assert_eq!(edits.len(), folds, "{what}");
            let after = apply(&raw, &edits);
            // Folding is undone by unfolding (RFC 5322 §2.2.3).
            let folded = HeaderBlock::parse(canonical(after.as_bytes()));
            assert_eq!(folded.fields().len(), header.fields().len(), "{what}");
            for (one, other) in header.fields().iter().zip(folded.fields()) {
                assert_eq!(header.text(one), folded.text(other), "{what}");
            }
            assert!(!after.lines().any(|line| !line.is_empty() && line.trim().is_empty()) || what.starts_with("white"), "{what}");
            let can_fold = !["none", "white", "no white", "a blank", "the body"].iter().any(|start| what.starts_with(start));
            assert!(!can_fold || after.lines().all(|line| line.len() <= 998), "{what}: {:?}", after.lines().map(str::len).max());
        }
    }

    #[test]
    fn s8_folds_join_the_edits() {
        let text = format!("Status: {0}\nSubject: {0}\nBcc: {0}\nX: {0}\n", long(2_000, 9));
        let raw = canonical(text.as_bytes());
        let header = HeaderBlock::parse(raw.clone());
        let resolution = resolved(2, "Envelope-To", None, &["a@local.example"]);
        let edits = edits(&header, &resolution, resolution.recipients(), "gate.example", &HeaderOptions::default());
        let merged = merge(edits, fold(&header));
        let after = apply(&raw, &merged);
        assert!(!after.contains("Status") && !after.contains("Bcc") && after.lines().all(|line| line.len() <= 998), "{after}");
        assert_eq!(after.matches('\n').count(), 6);
        assert_eq!(merge(Vec::new(), fold(&header)).len(), 8);
        assert_eq!(merge(merged.clone(), Vec::new()), merged);
    }
}

mod s9_edits {
    use super::*;

    fn dressed(text: &str, resolution: &Resolution, options: &HeaderOptions) -> String {
        let header = header(text);
        let list = edits(&header, resolution, resolution.recipients(), "gate.example", options);
        apply(header.octets(), &list)
    }

    fn auto() -> Resolution {
        resolved(2, "Envelope-To", Some(0), &["anna@local.example"])
    }

    fn journal() -> Resolution {
        resolved(0, "journal", None, &["anna@local.example"])
    }

    fn with_forward() -> Resolution {
        forward(&[a("anna@local.example")]).0
    }

    #[test]
    fn s9_return_path_and_droppings_always_go() {
        for name in [
            "Return-Path",
            "Status",
            "X-Status",
            "X-Mozilla-Status",
            "X-Mozilla-Status2",
            "X-Mozilla-Keys",
            "X-Keywords",
            "X-UID",
            "X-UIDL",
            "X-IMAP",
            "X-IMAPbase",
            "Content-Length",
            "Lines",
        ] {
            for resolution in [auto(), with_forward(), default_box()] {
                let text = format!("A: 1\n{}: x\n folded\n{OUTSIDE}{}: \nB: 2\n\n", name.to_lowercase(), name.to_uppercase());
                assert_eq!(dressed(&text, &resolution, &HeaderOptions::default()), format!("A: 1\n{OUTSIDE}B: 2\n\n"), "{name}");
            }
        }
    }

    #[test]
    fn s9_bcc() {
        for (option, resolution, kept) in [
            (BccOption::Auto, auto(), false),
            (BccOption::Auto, default_box(), false),
            (BccOption::Auto, journal(), false),
            (BccOption::Auto, with_forward(), true),
            (BccOption::Keep, auto(), true),
            (BccOption::Keep, with_forward(), true),
            (BccOption::Remove, auto(), false),
            (BccOption::Remove, with_forward(), false),
        ] {
            let text = "A: 1\nBcc: x@y.example\nresent-bcc: z@y.example\nTo: w@y.example\n\n";
            let want = if kept { text } else { "A: 1\nTo: w@y.example\n\n" };
            assert_eq!(dressed(text, &resolution, &HeaderOptions { bcc: option, ..HeaderOptions::default() }), want, "{option:?} {resolution:?}");
        }
    }

    #[test]
    fn s9_delivered_to() {
        let text = "Delivered-To: Anna@local.example\nDelivered-To: box@provider.example\n\n";
        for (option, want) in [
            (DeliveredToOption::Rename, "X-Orig-Delivered-To: Anna@local.example\nDelivered-To: box@provider.example\n\n"),
            (DeliveredToOption::RenameAll, "X-Orig-Delivered-To: Anna@local.example\nX-Orig-Delivered-To: box@provider.example\n\n"),
            (DeliveredToOption::Keep, text),
        ] {
            for resolution in [auto(), with_forward()] {
                assert_eq!(dressed(text, &resolution, &HeaderOptions { delivered_to: option, ..HeaderOptions::default() }), want, "{option:?}");
            }
        }
    }

    #[test]
    fn s9_envelope_headers_name_nobody_else() {
        let text = "Envelope-To: anna@provider.example\nX-Original-To: boris@provider.example\nX-Original-To: anna@local.example\n\
                    X-RCPT-To: vera@provider.example\nX-Real-To: anna@local.example, Anna@LOCAL.example\nTo: all@provider.example\n\n";
        let kept = "Envelope-To: anna@provider.example\nX-Original-To: anna@local.example\nX-Real-To: anna@local.example, Anna@LOCAL.example\n\
                    To: all@provider.example\n\n";
        assert_eq!(dressed(text, &auto(), &HeaderOptions::default()), kept);
        assert_eq!(dressed(text, &with_forward(), &HeaderOptions::default()), text, "single-drop keeps them");
        assert_eq!(dressed(text, &default_box(), &HeaderOptions::default()), text, "the default box sees what there is");
        let custom = "X-Customer: anna@local.example\nX-Customer: boris@local.example\n\n";
        let by_custom = resolved(1, "X-Customer", Some(0), &["anna@local.example"]);
        assert_eq!(dressed(custom, &by_custom, &HeaderOptions::default()), "X-Customer: anna@local.example\n\n");
        let guessed = "To: boris@local.example\nTo: anna@local.example\n\n";
        assert_eq!(dressed(guessed, &resolved(4, "To", Some(1), &["anna@local.example"]), &HeaderOptions::default()), guessed, "To is never touched");
    }

    /// Bcc stays hidden: a field that names several is gone for all of them, also where it decided, and where all of them are recipients.
    #[test]
    fn s9_several_addresses_in_an_envelope_header() {
        let both = &["seen@o.example", "hidden@o.example"];
        let pair = "seen@o.example, hidden@o.example";
        let rest = "From: k@s.example\nTo: seen@o.example\n\n";
        for name in ["Envelope-To", "X-Envelope-To", "X-Original-To", "X-Gm-Original-To", "Delivered-To", "x-rcpt-to"] {
            for resolution in [resolved(2, name, Some(0), both), resolved(0, "journal", None, both), resolved(4, "To/Cc", None, both)] {
                for value in [pair.to_owned(), pair.replace(", ", ",\n "), format!("{pair} {}", "x".repeat(70_000)), "x@y.example ".repeat(30_000)] {
                    assert_eq!(dressed(&format!("{name}: {value}\n{rest}"), &resolution, &HeaderOptions::default()), rest, "{name}");
                }
            }
        }
        // The operator's word.
        let kept = HeaderOptions { delivered_to: DeliveredToOption::Keep, ..HeaderOptions::default() };
        let text = format!("Delivered-To: {pair}\n{rest}");
        assert_eq!(dressed(&text, &resolved(2, "Delivered-To", Some(0), both), &kept), text);
        // A configured header that is no envelope header otherwise.
        assert_eq!(dressed(&format!("X-Mine: {pair}\n{rest}"), &resolved(1, "X-Mine", Some(0), both), &HeaderOptions::default()), rest);
        // Several fields, and one transaction for each recipient: each keeps its own. `seen` was found in the first, `hidden` in To (guess: union).
        let text = format!("X-Original-To: seen@o.example\nX-Original-To: hidden@o.example\n{rest}");
        let all = resolved(2, "X-Original-To", Some(0), both);
        let header = header(&text);
        for (recipient, want) in [("seen@o.example", "X-Original-To: seen@o.example\n"), ("hidden@o.example", "X-Original-To: hidden@o.example\n")] {
            let list = edits(&header, &all, &to(&[recipient]), "gate.example", &HeaderOptions::default());
            assert_eq!(apply(header.octets(), &list), format!("{want}{rest}"));
        }
        // The default box got it in their place.
        let list = edits(&header, &all, &to(&["post@o.example"]), "gate.example", &HeaderOptions::default());
        assert_eq!(apply(header.octets(), &list), format!("X-Original-To: seen@o.example\n{rest}"));
        // What was looked up without its prefix is nobody else.
        let text = "Delivered-To: box-anna@o.example\nX-Mine: box-anna@o.example\n\n";
        assert_eq!(dressed(text, &resolved(1, "X-Mine", Some(1), &["anna@o.example"]), &HeaderOptions::default()), text);
    }

    #[test]
    fn s9_nobody_else_speaks_under_our_name() {
        for (value, renamed) in [
            ("gate.example; spf=pass", true),
            ("GATE.example 1; spf=pass", true),
            ("gate.example./1; x", true),
            ("\"gate.example\"; spf=pass", true),
            ("(a comment; ) (\\) (nested)) gate.example; spf=pass", true),
            ("\n gate.example; spf=pass", true),
            ("mx.gate.example; spf=pass", false),
            ("mx.remote.example; smtp.helo=gate.example", false),
            ("(unclosed gate.example; x", false),
            ("", false),
        ] {
            for (name, prefix) in
                [("Authentication-Results", ""), ("ARC-Authentication-Results", "i=2; "), ("arc-authentication-results", " i = 1 ;\t")]
            {
                let text = format!("{name}: {prefix}{value}\nB: 1\n\n");
                let want = if renamed { format!("X-Orig-{text}") } else { text.clone() };
                // A line of blanks would be no folding.
                let (text, want) = (text.replace("\t\n ", "\n "), want.replace("\t\n ", "\n "));
                assert_eq!(dressed(&text, &auto(), &HeaderOptions::default()), want);
            }
        }
        let huge = format!("Authentication-Results: {}\n gate.example; spf=pass\n\n", "(x)".repeat(30_000));
        assert!(dressed(&huge, &auto(), &HeaderOptions::default()).starts_with("X-Orig-"), "longer than what we look at");
        let kept = "ARC-Seal: i=1; d=gate.example\nARC-Message-Signature: i=1; d=gate.example\nDKIM-Signature: d=gate.example\n\n";
        assert_eq!(dressed(kept, &auto(), &HeaderOptions::default()), kept);
    }

    #[test]
    fn s9_our_own_fields_are_ours_alone() {
        let text = "X-Mailgather-Id: 00\nx-mailgather-RESOLVED: forged\n folded\nX-Mailgather-Unresolved : x\nX-Mailgather-: y\n\
                    X-Mailgather-Loop: 1 aa bb cc\nX-Orig-Mailgather-Id: 1\nX-Mailgatherer: z\nX-MailGather-Whatever: w\n\n";
        let want = "X-Orig-Mailgather-Id: 00\nX-Orig-mailgather-RESOLVED: forged\n folded\nX-Orig-Mailgather-Unresolved: x\nX-Orig-Mailgather-: y\n\
                    X-Mailgather-Loop: 1 aa bb cc\nX-Orig-Mailgather-Id: 1\nX-Mailgatherer: z\nX-Orig-MailGather-Whatever: w\n\n";
        for resolution in [auto(), with_forward(), default_box(), journal()] {
            assert_eq!(dressed(text, &resolution, &HeaderOptions::default()), want);
        }
    }

    #[test]
    fn s9_verdicts_of_other_filters() {
        let verdicts = [
            "X-Spam-Flag",
            "X-Spam-Status",
            "X-SPAM-LEVEL",
            "X-Spam",
            "X-Spamd-Result",
            "X-Virus-Scanned",
            "X-Virus-Status",
            "X-Amavis-Alert",
            "X-Quarantine-ID",
            "X-MailScanner-SpamCheck",
            "X-Bogosity",
            "X-DSPAM-Result",
            "X-MS-Exchange-Organization-SCL",
            "X-Forefront-Antispam-Report",
            "X-Microsoft-Antispam",
            "X-Yandex-Spam",
            "X-KLMS-AntiSpam-Status",
            "X-DrWeb-SpamState",
        ];
        let others = ["X-Spa", "X-Virtual-To", "X-Mailer", "X-MS-Exchange-Organization-AuthAs", "List-Id", "Precedence", "Auto-Submitted"];
        let fields = |names: &[&str], prefix: &str| names.iter().map(|name| format!("{prefix}{name}: YES,\n score=9\n")).collect::<String>();
        for (option, want) in
            [(SpamOption::Keep, fields(&verdicts, "")), (SpamOption::Strip, String::new()), (SpamOption::Prefix, fields(&verdicts, "X-Orig-"))]
        {
            let text = format!("{}{}\n", fields(&verdicts, ""), fields(&others, ""));
            let want = format!("{want}{}\n", fields(&others, ""));
            assert_eq!(dressed(&text, &with_forward(), &HeaderOptions { spam: option, ..HeaderOptions::default() }), want, "{option:?}");
        }
    }

    #[test]
    fn s9_receipts() {
        let text = "Disposition-Notification-To: x@y.example\nreturn-receipt-to: x@y.example\nX-Confirm-Reading-To: x@y.example\nA: 1\n\n";
        assert_eq!(dressed(text, &auto(), &HeaderOptions::default()), text);
        assert_eq!(dressed(text, &auto(), &HeaderOptions { receipts: ReceiptOption::Drop, ..HeaderOptions::default() }), "A: 1\n\n");
    }

    #[test]
    fn s9_everything_else_is_never_touched() {
        let text = "From: a@b.example\nTo: anna@local.example, boris@local.example\nCc: vera@local.example\nReply-To: r@b.example\nSubject: =?x?=\n\
                    Received: by x; d\nList-Id: <l.example>\nno colon here\nDKIM-Signature: d=x\nX-Mailgather-Loop: 1\n\n";
        let all = HeaderOptions {
            bcc: BccOption::Remove,
            delivered_to: DeliveredToOption::RenameAll,
            spam: SpamOption::Strip,
            receipts: ReceiptOption::Drop,
        };
        for resolution in [auto(), journal(), with_forward(), default_box(), resolved(4, "Cc", Some(2), &["vera@local.example"])] {
            assert_eq!(dressed(text, &resolution, &all), text, "{resolution:?}");
        }
    }
}

mod s10_received {
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
}

mod whatever_octets {
    use super::*;
    use proptest::prelude::*;

    const PIECES: &[&str] = &[
        "From x@y Mon\n",
        "\u{feff}",
        "Received: from x (x.example [203.0.113.7]) by mx.provider.example; d\n",
        "Return-Path: ",
        "Delivered-To: ",
        "Envelope-To: ",
        "Bcc: ",
        "Status: ",
        "X-Spam-Flag: ",
        "Return-Receipt-To: ",
        "Authentication-Results: ",
        "ARC-Authentication-Results: i=1; ",
        "gate.example;",
        "anna@local.example",
        "boris@local.example",
        "Subject",
        ":",
        "(",
        "\"",
        "\\",
        " ",
        "\t",
        "\n",
        "\n",
        "\n\n",
        "\nbody: text\n",
        "é",
    ];

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => (1usize..2_500).prop_map(|len| vec![b'x'; len]),
            1 => (1usize..2_500, 1usize..1_200).prop_map(|(len, gap)| (1..=len).map(|at| if at % gap == 0 { b' ' } else { b'x' }).collect()),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..50).prop_map(|pieces| pieces.concat())
    }

    fn options() -> impl Strategy<Value = HeaderOptions> {
        use proptest::sample::select;
        (
            select(&[BccOption::Auto, BccOption::Keep, BccOption::Remove][..]),
            select(&[DeliveredToOption::Rename, DeliveredToOption::RenameAll, DeliveredToOption::Keep][..]),
            select(&[SpamOption::Keep, SpamOption::Strip, SpamOption::Prefix][..]),
            select(&[ReceiptOption::Keep, ReceiptOption::Drop][..]),
        )
            .prop_map(|(bcc, delivered_to, spam, receipts)| HeaderOptions { bcc, delivered_to, spam, receipts })
    }

    proptest! {
        #[test]
        fn edits_touch_whole_fields_of_the_header_only(raw in octets(), options in options()) {
            let raw = canonical(&raw);
            let header = HeaderBlock::parse(raw.clone());
            let resolution = resolved(2, "Envelope-To", Some(0), &["anna@local.example"]);
            let list = edits(&header, &resolution, resolution.recipients(), "gate.example", &options);
            let folds = fold(&header);
            let merged = merge(list.clone(), folds.clone());
            let mut end = 0;
            for edit in &merged {
                prop_assert!(edit.cut.start >= end && edit.cut.start <= edit.cut.end && edit.cut.end <= header.octets().len());
                prop_assert!(edit.cut.end <= header.body_start().max(header.leading_junk().end));
                prop_assert!(edit.with.is_empty() || edit.with.ends_with(b"\r\n"));
                end = edit.cut.end;
                let is_field = header.fields().iter().any(|field| field.whole == edit.cut);
                prop_assert!(is_field || folds.contains(edit) || edit.cut == header.leading_junk());
            }
            prop_assert!(list.iter().all(|edit| merged.contains(edit)), "an edit was lost");
            // With our fields on top, the border between header and body stands where it stood: the body is the same, octet for octet.
            let mut out = b"X-Top: 1\r\n".to_vec();
            out.extend_from_slice(&missing(&header, &Fingerprint([3; 32]), "gate.example"));
            let mut at = 0;
            for edit in &merged {
                out.extend_from_slice(&raw[at..edit.cut.start]);
                out.extend_from_slice(&edit.with);
                at = edit.cut.end;
            }
            out.extend_from_slice(&raw[at..]);
            let after = HeaderBlock::parse(Bytes::from(out.clone()));
            // Without a field there is no header: all behind the junk is body.
            let body = if header.fields().is_empty() { header.leading_junk().end } else { header.body_start() };
            let body = raw[body..].strip_prefix(b"\r\n").filter(|_| header.fields().is_empty()).unwrap_or(&raw[body..]);
            prop_assert_eq!(&out[after.body_start()..], body, "the body, of {:?}", raw.escape_ascii().to_string());
            // What was not edited is there still, in its order.
            let kept: Vec<(String, String)> = header.fields().iter()
                .filter(|field| !list.iter().any(|edit| edit.cut == field.whole))
                .map(|field| (String::from_utf8_lossy(header.name(field)).into_owned(), header.text(field))).collect();
            let there: Vec<(String, String)> = after.fields().iter()
                .map(|field| (String::from_utf8_lossy(after.name(field)).into_owned(), after.text(field))).collect();
            let mut rest = there.iter();
            for field in &kept {
                prop_assert!(rest.any(|other| other == field), "{:?} is gone from {:?}", field, there);
            }
        }
    }
}
