//! Section 3, stage 4: guessing, and what may not be guessed.

use super::*;

fn guessing(guess: Guess) -> Rules {
    let mut r = Rules { guess, ..rules() };
    r.aliases = vec![alias("sales@provider.example", &["anna@local.example", "team@local.example"])];
    r.exclude = vec![Exclude::Address(a("trap@provider.example"))];
    r
}

fn evidence(text: &str, rules: &Rules) -> String {
    match resolve(&header(text), rules).0 {
        Resolution::Recipients(_, evidence) => {
            assert_eq!(evidence.is_guess(), evidence.stage == 4);
            assert!(!evidence.is_forward());
            evidence.to_string()
        }
        other => format!("{:?}", other.reason()),
    }
}

#[test]
fn s3_guess_off_asks_neither_to_nor_cc() {
    let text = format!("{OUTSIDE}Resent-To: a@provider.example\nTo: b@provider.example\nCc: c@provider.example\nBcc: d@provider.example\n");
    assert_eq!(who(&text, &guessing(Guess::Off)), ["default: no_envelope_header"]);
}

#[test]
fn s3_guess_from_resent_else_to_cc_and_bcc() {
    for (fields, want) in [
        ("To: a@provider.example\n", "a@provider.example"),
        (
            "To: A <a@provider.example>\nCc: b@provider.example, x@foreign.example\nBcc: c@provider.example\n",
            "a@provider.example b@provider.example c@provider.example",
        ),
        ("To: a@provider.example\nTo: b@provider.example\n", "a@provider.example b@provider.example"),
        ("To: a@provider.example\nCc: A@Provider.example\n", "a@provider.example"),
        ("To: sales@provider.example\n", "anna@local.example team@local.example"),
        ("To: undisclosed-recipients:;\nBcc: a@provider.example\n", "a@provider.example"),
        ("To: x@foreign.example\n", "default: foreign_address_only"),
        ("To: box@provider.example\n", "default: own_address_only"),
        ("To: trap@provider.example\n", "default: excluded_only"),
        ("To: undisclosed-recipients:;\n", "default: no_envelope_header"),
        ("Subject: nobody\n", "default: no_envelope_header"),
        // The topmost Resent block, without those below it and without To.
        ("Resent-To: a@provider.example\nTo: b@provider.example\n", "a@provider.example"),
        (
            "Resent-From: x@y.example\nResent-Cc: a@provider.example\nResent-To: c@provider.example\nTo: b@provider.example\n",
            "a@provider.example c@provider.example",
        ),
        ("Resent-To: a@provider.example\nResent-To: b@provider.example\n", "a@provider.example"),
        ("Resent-Date: d\nResent-To: a@provider.example\nResent-Date: d\nResent-Cc: b@provider.example\n", "a@provider.example"),
        ("Resent-To: a@provider.example\nReceived: by x; d\nResent-Cc: b@provider.example\n", "a@provider.example"),
        ("Resent-To: x@foreign.example\nTo: b@provider.example\n", "default: foreign_address_only"),
        ("Resent-From: x@y.example\nTo: b@provider.example\n", "b@provider.example"),
        ("Resent-To: :;\nTo: b@provider.example\n", "b@provider.example"),
    ] {
        assert_eq!(who(&format!("{OUTSIDE}{fields}"), &guessing(Guess::On)).join(" "), want, "of {fields:?}");
    }
    assert_eq!(evidence(&format!("{OUTSIDE}To: a@provider.example\n"), &guessing(Guess::On)), "To/Cc (stage 4)");
}

#[test]
fn s3_guess_only_where_no_envelope_header_says_anything() {
    let r = guessing(Guess::On);
    let text = format!("Envelope-To: a@provider.example\n{OUTSIDE}To: b@provider.example\n");
    assert_eq!((who(&text, &r).join(" ").as_str(), evidence(&text, &r).as_str()), ("a@provider.example", "Envelope-To 1 (stage 2)"));
    let text = "Received: from x ([203.0.113.7]) by mx.provider.example for <a@provider.example>; d\nTo: b@provider.example\n";
    assert_eq!(who(text, &r), ["a@provider.example"]);
    // Foreign, own and untrusted ones say nothing.
    for fields in ["Envelope-To: x@foreign.example\n", "Delivered-To: box@provider.example\n", ""] {
        let text = format!("{fields}{OUTSIDE}X-Original-To: c@provider.example\nTo: b@provider.example\n");
        assert_eq!(who(&text, &r), ["b@provider.example"], "of {fields}");
    }
    // Configured headers stand before it as well.
    let rule = HeaderRule { header: "X-Mine".into(), index: None, pattern: None, strip_prefix: None, take: Take::All, trust_any: false };
    let r = Rules { headers: Headers::List(vec![rule]), ..r };
    assert_eq!(who(&format!("X-Mine: a@provider.example\n{OUTSIDE}To: b@provider.example\n"), &r), ["a@provider.example"]);
    assert_eq!(who(&format!("X-Mine: x@foreign.example\n{OUTSIDE}To: b@provider.example\n"), &r), ["b@provider.example"]);
}

#[test]
fn s3_guess_is_capped() {
    let r = guessing(Guess::On);
    let text = |n: usize, more: &str| {
        let list: Vec<String> = (0..n).map(|n| format!("u{n}@provider.example")).collect();
        format!("{OUTSIDE}To: {}\nCc: {more}\n", list.join(", "))
    };
    assert_eq!(who(&text(guess::GUESS_MAX, "x@foreign.example"), &r).len(), guess::GUESS_MAX);
    assert_eq!(who(&text(guess::GUESS_MAX, "u0@provider.example"), &r).len(), guess::GUESS_MAX);
    assert_eq!(who(&text(guess::GUESS_MAX, "y@provider.example"), &r), ["default: too_many_recipients"]);
    assert_eq!(who(&text(guess::GUESS_MAX, ""), &Rules { max_recipients: 9, ..r.clone() }), ["default: too_many_recipients"]);
    // Behind the limit of what is read of a field there may be others.
    let flood = "x@foreign.example, ".repeat(addresses::ADDRESSES_MAX);
    assert_eq!(who(&format!("{OUTSIDE}To: a@provider.example, {flood}\n"), &r), ["default: too_many_recipients"]);
}

#[test]
fn s3_list_mail_is_never_guessed() {
    let r = guessing(Guess::On);
    for (fields, is_list) in [
        ("List-Id: Announcements <announce.list.example>\n", true),
        ("List-Post: <mailto:announce@list.example>\n", true),
        ("List-Post: NO (closed)\n", true),
        ("Precedence: list\n", true),
        ("precedence: BULK\n", true),
        ("Precedence: junk (sic)\n", true),
        ("Precedence: first-class\n", false),
        ("Auto-Submitted: auto-generated\n", true),
        ("Auto-Submitted: Auto-Replied; owner=x\n", true),
        ("Auto-Submitted: no\n", false),
        ("Auto-Submitted: NO (really)\n", false),
        ("Auto-Submitted:\n", false),
        ("List-Unsubscribe: <mailto:x@y.example>\n", false),
    ] {
        let text = format!("{OUTSIDE}{fields}To: a@provider.example\n");
        let want = if is_list { "default: list_mail" } else { "a@provider.example" };
        assert_eq!(who(&text, &r).join(" "), want, "of {fields}");
        // An envelope header is no guess.
        assert_eq!(who(&format!("Envelope-To: b@provider.example\n{text}"), &r), ["b@provider.example"], "of {fields}");
    }
    let (_, trail) = resolve(&header(&format!("{OUTSIDE}Precedence: bulk\nTo: a@provider.example\n")), &r);
    let last = trail.steps().last().unwrap();
    assert_eq!((last.header.as_str(), last.decision.code()), ("Precedence", "list_mail"));
}

#[test]
fn s3_a_list_that_is_known_goes_to_its_members() {
    let mut r = guessing(Guess::On);
    let list = |list, to: &[&str]| ListRule { list, to: to.iter().map(|text| a(text)).collect() };
    r.lists = vec![
        list(ListName::Address(a("announce@list.example")), &["team@икс.рф", "раз@икс.рф"]),
        list(ListName::Id("dev.list.example".into()), &["dev@local.example"]),
        list(ListName::Id("новости.почта.рф".into()), &["два@икс.рф"]),
        list(ListName::Address(a("back@list.example")), &["box@provider.example"]),
        list(
            ListName::Address(a("big@list.example")),
            &(0..12).map(|n| format!("m{n}@local.example")).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>(),
        ),
    ];
    for (fields, want, by) in [
        ("List-Id: A <x.example>\nTo: Announce@List.example\n", "team@икс.рф раз@икс.рф", "list announce@list.example (stage 4)"),
        ("List-Id: x\nCc: announce@list.example, a@provider.example\n", "team@икс.рф раз@икс.рф", "list announce@list.example (stage 4)"),
        (
            "List-Post: <mailto:announce@list.example?subject=x>\nTo: a@provider.example\n",
            "team@икс.рф раз@икс.рф",
            "list announce@list.example (stage 4)",
        ),
        ("List-Post: <https://x.example>, <MAILTO:announce@list.example>\n", "team@икс.рф раз@икс.рф", "list announce@list.example (stage 4)"),
        ("List-Id: \"Dev <x>\" <DEV.list.example>\nTo: a@provider.example\n", "dev@local.example", "list dev.list.example (stage 4)"),
        ("List-Id: dev.list.example\n", "dev@local.example", "list dev.list.example (stage 4)"),
        ("List-Id: <xn--b1amnebsh.xn--80a1acny.xn--p1ai>\n", "два@икс.рф", "list новости.почта.рф (stage 4)"),
        (
            "List-Id: <dev.list.example>\nTo: announce@list.example\n",
            "team@икс.рф раз@икс.рф dev@local.example",
            "list announce@list.example (stage 4)",
        ),
        ("Precedence: bulk\nTo: announce@list.example\n", "team@икс.рф раз@икс.рф", "list announce@list.example (stage 4)"),
        // Members are the operator's word: only max_recipients counts them.
        ("List-Id: x\nTo: big@list.example\n", "12", "list big@list.example (stage 4)"),
        ("List-Id: <other.list.example>\nTo: other@list.example\n", "default: list_mail", ""),
        ("List-Id: x\nTo: back@list.example\n", "default: list_mail", ""),
        // Not marked as list mail: whoever else is there counts too.
        ("To: announce@list.example\n", "team@икс.рф раз@икс.рф", "list announce@list.example (stage 4)"),
        ("To: announce@list.example, a@provider.example\n", "a@provider.example team@икс.рф раз@икс.рф", "To/Cc (stage 4)"),
    ] {
        let text = format!("{OUTSIDE}{fields}");
        let found = who(&text, &r);
        let found = if found.len() > 5 { found.len().to_string() } else { found.join(" ") };
        assert_eq!(found, want, "of {fields:?}");
        if !by.is_empty() {
            assert_eq!(evidence(&text, &r), by, "of {fields:?}");
        }
    }
    let (resolution, trail) = resolve(&header(&format!("{OUTSIDE}List-Id: x\nTo: announce@list.example\n")), &r);
    assert_eq!(resolution.recipients()[0].original, Some(a("announce@list.example")));
    assert!(
        trail.to_line().ends_with("lists announce@list.example taken, list announce@list.example → team@икс.рф, раз@икс.рф"),
        "{}",
        trail.to_line()
    );
    // Without guessing no list is asked.
    assert_eq!(who(&format!("{OUTSIDE}List-Id: dev.list.example\n"), &Rules { guess: Guess::Off, ..r }), ["default: no_envelope_header"]);
}

#[test]
fn s3_union_adds_to_what_an_envelope_header_said() {
    let mut r = guessing(Guess::Union);
    r.lists = vec![ListRule { list: ListName::Id("dev.list.example".into()), to: vec![a("dev@local.example")] }];
    for (fields, want, by) in [
        ("To: a@provider.example, b@provider.example\nCc: x@foreign.example\n", "a@provider.example b@provider.example", "Envelope-To 1 (stage 2)"),
        ("To: b@provider.example\nCc: c@provider.example\n", "a@provider.example b@provider.example c@provider.example", "Envelope-To 1 (stage 2)"),
        ("To: x@foreign.example\n", "a@provider.example", "Envelope-To 1 (stage 2)"),
        // The rule about lists holds, and leaves what the envelope said.
        ("List-Id: x\nTo: b@provider.example\n", "a@provider.example", "Envelope-To 1 (stage 2)"),
        ("List-Id: <dev.list.example>\nTo: b@provider.example\n", "a@provider.example dev@local.example", "Envelope-To 1 (stage 2)"),
    ] {
        let text = format!("Envelope-To: A@provider.example\n{OUTSIDE}{fields}");
        assert_eq!(who(&text, &r).join(" ").to_lowercase(), want, "of {fields:?}");
        assert_eq!(evidence(&text, &r), by, "of {fields:?}");
    }
    // Nobody by an envelope header: a guess like any other.
    let text = format!("{OUTSIDE}To: b@provider.example\n");
    assert_eq!((who(&text, &r).join(" ").as_str(), evidence(&text, &r).as_str()), ("b@provider.example", "To/Cc (stage 4)"));
    // Nobody is left out silently.
    let list: Vec<String> = (0..11).map(|n| format!("u{n}@provider.example")).collect();
    assert_eq!(who(&format!("Envelope-To: a@provider.example\n{OUTSIDE}To: {}\n", list.join(",")), &r), ["default: too_many_recipients"]);
}

/// An alias that leads to somebody's mailbox elsewhere makes nobody else there ours: not for what a sender wrote into To.
#[test]
fn s3_nobody_is_guessed_where_only_an_alias_leads() {
    for mode in [Guess::On, Guess::Union] {
        let mut r = guessing(mode);
        r.domains.insert("gmail.example".parse().unwrap());
        r.target_domains.insert("gmail.example".parse().unwrap());
        r.aliases = vec![alias("anna@provider.example", &["anna@gmail.example"]), alias("own@gmail.example", &["boris@provider.example"])];
        r.rewrite = vec![Rewrite { regex: mailgather::mail::Pattern::new("(.+)_(.+)@old\\.example").unwrap(), to: "$1@$2".into() }];
        for (field, want) in [
            ("To: stranger@gmail.example", "default: foreign_address_only"),
            ("To: anna@gmail.example\nCc: anna@provider.example", "anna@gmail.example"),
            ("Resent-To: stranger@gmail.example\nTo: anna@provider.example", "default: foreign_address_only"),
            ("To: stranger_gmail.example@old.example", "default: foreign_address_only"),
            ("To: x_provider.example@old.example", "x@provider.example"),
            // An alias speaks of the address itself.
            ("To: own@gmail.example", "boris@provider.example"),
        ] {
            assert_eq!(who(&format!("{OUTSIDE}{field}\n"), &r), [want], "{mode:?} {field}");
        }
        // What the provider wrote is another matter.
        assert_eq!(who(&format!("X-Original-To: other@gmail.example\n{OUTSIDE}"), &r), ["other@gmail.example"]);
    }
}
