//! The reverse-path.

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
