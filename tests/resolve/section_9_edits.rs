//! Section 9: what is changed in the header that goes on.

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
    assert!(forwarded.starts_with("X-Original-To: anna@provider.example\nX-Original-To: boris@provider.example\nDelivered-To: Anna"), "{forwarded}");
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
