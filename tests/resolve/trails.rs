//! The trail: complete, harmless, and short enough for a log.

use super::*;

fn line(text: &str, rules: &Rules) -> String {
    resolve(&header(text), rules).1.to_line()
}

#[test]
fn the_line_holds_the_decisive_steps() {
    let mut r = rules();
    r.own = Some(a("box@почта.рф"));
    r.map.insert("почта.рф".parse().unwrap(), MapTo::Domain("икс.рф".parse().unwrap()));
    let text = "Delivered-To: box@почта.рф\nReceived: by mx.provider.example with LMTP; d\n\
                Received: from x ([203.0.113.7]) by mx1.provider.example for <два@почта.рф>; d\n";
    assert_eq!(
        line(text, &r),
        "Delivered-To box@почта.рф own_address; Received:for два@почта.рф hop 2, by mx1.provider.example taken, map почта.рф → икс.рф → два@икс.рф"
    );
    assert_eq!(line(&format!("Envelope-To: anna@provider.example\n{OUTSIDE}"), &r), "Envelope-To anna@provider.example taken");
    assert_eq!(
        line(&format!("{OUTSIDE}X-Original-To: anna@provider.example\n"), &r),
        "X-Original-To untrusted_envelope_header; default box, because only headers that a sender could have written tell a recipient (see \
         trusted_hosts, trusted_hops) → postmaster@local.example"
    );
    assert_eq!(line("text", &Rules { unresolved: Unresolved::Leave, ..r.clone() }), "left on the server, because the message has no header");
    assert_eq!(forward(&[a("x@икс.рф"), a("y@икс.рф")]).1.to_line(), "forward_to → x@икс.рф, y@икс.рф");
}

#[test]
fn the_line_is_cut_and_keeps_what_was_taken() {
    let flood: String = (0..500).map(|n| format!("Delivered-To: {n}@foreign.example\n")).collect();
    let text = format!("{flood}Delivered-To: anna@provider.example\n{OUTSIDE}");
    let taken = "; Delivered-To anna@provider.example instance 501 taken";
    let found = line(&text, &rules());
    assert!(found.len() <= trail::LINE_OCTETS_MAX && found.starts_with("Delivered-To 0@foreign.example foreign_address; "), "{found}");
    assert!(found.ends_with(taken) && found.contains(" more; "), "{found}");
    let (_, trail) = resolve(&header(&text), &rules());
    assert!(trail.steps().len() <= trail::TRAIL_STEPS_MAX);
    let many = format!("Envelope-To: {}\n{OUTSIDE}", (0..300).map(|n| format!("ы{n}@provider.example")).collect::<Vec<_>>().join(", "));
    let r = Rules { max_recipients: 1_000, ..rules() };
    let found = line(&many, &r);
    assert!(found.len() <= trail::LINE_OCTETS_MAX && found.ends_with('…'), "{found}");
    assert!(resolve(&header(&many), &r).1.steps().len() <= trail::TRAIL_STEPS_MAX);
}

#[test]
fn the_line_is_harmless() {
    let text = format!("X-Original-To: \"a\u{202e}b\u{7f}\"@foreign.example, \"x; taken\"@foreign.example\n{OUTSIDE}");
    let found = line(&text, &rules());
    assert!(!found.chars().any(|c| c.is_control() || c == '\u{202e}'), "{found:?}");
}

#[test]
fn journal_recipients_are_judged_like_others() {
    let mut r = rules();
    r.exclude = vec![Exclude::Address(a("trap@provider.example"))];
    r.aliases = vec![alias("sales@provider.example", &["anna@local.example"])];
    let original = header("To: director@provider.example\nBcc: \n");
    let with = |recipients: &[&str]| resolve_journal(&recipients.iter().map(|text| a(text)).collect::<Vec<_>>(), &original, &r);
    let (resolution, trail) =
        with(&["sales@provider.example", "bcc@provider.example", "SALES@provider.example", "x@foreign.example", "trap@provider.example"]);
    let Resolution::Recipients(recipients, evidence) = &resolution else { panic!("{resolution:?}") };
    assert_eq!(recipients.iter().map(|r| r.address.to_string()).collect::<Vec<_>>(), ["anna@local.example", "bcc@provider.example"]);
    assert_eq!((evidence.to_string().as_str(), evidence.stage, evidence.field), ("journal", 0, None));
    assert!(!evidence.is_forward() && !evidence.is_guess());
    assert_eq!(recipients[0].original, Some(a("sales@provider.example")));
    assert_eq!(
        trail.to_line(),
        "journal x@foreign.example foreign_address; journal trap@provider.example excluded_address; \
         journal sales@provider.example taken, alias sales@provider.example → anna@local.example; journal bcc@provider.example taken; \
         journal SALES@provider.example taken, alias sales@provider.example → anna@local.example"
    );
    assert!(trail.to_text().contains("not used: To: director@provider.example (the journal report decided)"), "{}", trail.to_text());
    for (recipients, want) in [
        (&["x@foreign.example"][..], Reason::ForeignAddressOnly),
        (&["trap@provider.example"], Reason::ExcludedOnly),
        (&["box@provider.example"], Reason::OwnAddressOnly),
        (&[], Reason::NoEnvelopeHeader),
    ] {
        assert_eq!(with(recipients).0.reason(), Some(want), "of {recipients:?}");
    }
    let many: Vec<Address> = (0..21).map(|n| a(&format!("u{n}@provider.example"))).collect();
    assert_eq!(resolve_journal(&many, &original, &r).0.reason(), Some(Reason::TooManyRecipients));
    assert_eq!(resolve_journal(&many[1..], &original, &r).0.recipients().len(), 20);
}

#[test]
fn forward_is_known_by_its_stage_and_name() {
    let Resolution::Recipients(_, evidence) = forward(&[a("x@икс.рф")]).0 else { panic!() };
    assert!(evidence.is_forward() && !evidence.is_guess());
    let configured = Evidence { stage: 1, header: "forward_to".into(), instance: 1, field: Some(0) };
    assert!(!configured.is_forward());
}

#[test]
fn every_reason_and_verdict_has_its_word() {
    let text = format!("{OUTSIDE}Subject: x\n");
    for (unresolved, want) in [
        (Unresolved::DefaultBox, "default: no_envelope_header"),
        (Unresolved::Leave, "leave: no_envelope_header"),
        (Unresolved::Hold, "hold: no_envelope_header"),
        (Unresolved::Discard, "discard: no_envelope_header"),
    ] {
        let r = Rules { unresolved, ..rules() };
        assert_eq!(who(&text, &r), [want]);
        let (resolution, trail) = resolve(&header(&text), &r);
        let boxes = usize::from(unresolved == Unresolved::DefaultBox);
        assert_eq!(resolution.recipients().len(), boxes);
        let words = ["default box, because", "left on the server, because", "held, because", "discarded, because"];
        assert_eq!(words.iter().filter(|words| trail.to_text().contains(**words)).count(), 1);
    }
    // Without a default box nothing goes to it, and nothing is thrown away unless it is written.
    for unresolved in [Unresolved::DefaultBox, Unresolved::Leave] {
        assert_eq!(who(&text, &Rules { unresolved, default_box: None, ..rules() }), ["leave: no_envelope_header"]);
    }
    assert_eq!(who(&text, &Rules { unresolved: Unresolved::Hold, default_box: None, ..rules() }), ["hold: no_envelope_header"]);
    // Hold and discard are for each reason alike.
    let many: Vec<String> = (0..21).map(|n| format!("u{n}@provider.example")).collect();
    for (text, reason) in [
        (format!("Envelope-To: {}\n{OUTSIDE}", many.join(",")), "too_many_recipients"),
        (format!("Envelope-To: x@foreign.example\n{OUTSIDE}"), "foreign_address_only"),
        ("text".to_owned(), "no_header"),
    ] {
        assert_eq!(who(&text, &Rules { unresolved: Unresolved::Hold, ..rules() }), [format!("hold: {reason}")]);
        assert_eq!(who(&text, &Rules { unresolved: Unresolved::Discard, ..rules() }), [format!("discard: {reason}")]);
    }
}
