//! Edits of the header.

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
        for (name, prefix) in [("Authentication-Results", ""), ("ARC-Authentication-Results", "i=2; "), ("arc-authentication-results", " i = 1 ;\t")]
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
    let all =
        HeaderOptions { bcc: BccOption::Remove, delivered_to: DeliveredToOption::RenameAll, spam: SpamOption::Strip, receipts: ReceiptOption::Drop };
    for resolution in [auto(), journal(), with_forward(), default_box(), resolved(4, "Cc", Some(2), &["vera@local.example"])] {
        assert_eq!(dressed(text, &resolution, &all), text, "{resolution:?}");
    }
}
