//! Section 4: the reverse-path.

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
