//! Section 3: the stages, in their order.

use super::*;

#[test]
fn the_first_header_that_yields_somebody_decides() {
    for (fields, want) in [
        ("X-Original-To: anna@provider.example\nDelivered-To: boris@provider.example\n", "anna@provider.example"),
        ("Delivered-To: boris@provider.example\nX-Original-To: anna@provider.example\n", "anna@provider.example"),
        ("X-Original-To: who@foreign.example\nEnvelope-To: anna@provider.example\n", "anna@provider.example"),
        ("X-Original-To: box@provider.example\nDelivered-To: anna@provider.example\n", "anna@provider.example"),
        // Topmost only.
        ("Envelope-To: box@provider.example\nEnvelope-To: anna@provider.example\n", "default: own_address_only"),
        // Delivered-To is walked.
        ("Delivered-To: Box@Provider.example\nDelivered-To: anna@provider.example\nDelivered-To: x@provider.example\n", "anna@provider.example"),
        ("X-Original-Recipient: rfc822; anna@provider.example\n", "anna@provider.example"),
        ("x-rcpt-to: anna@provider.example\n", "anna@provider.example"),
        ("X-Forwarded-To: who@foreign.example\n", "default: foreign_address_only"),
        ("Envelope-To: a@provider.example, b@provider.example, a@PROVIDER.example\n", "a@provider.example b@provider.example"),
        ("", "default: no_envelope_header"),
    ] {
        assert_eq!(who(&format!("{fields}{OUTSIDE}To: to@provider.example\nBcc: bcc@provider.example\n"), &rules()).join(" "), want, "of {fields:?}");
    }
}

#[test]
fn received_for_needs_exactly_one_address_and_trust() {
    for (fields, want) in [
        ("Received: from x ([203.0.113.7]) by mx.provider.example for <anna@provider.example>; d\n", "anna@provider.example"),
        ("Received: from x ([203.0.113.7]) by mx.provider.example for <a@provider.example>,<b@provider.example>; d\n", "default: no_envelope_header"),
        (
            "Received: by mx.provider.example with LMTP for <box@provider.example>; d\nReceived: from x ([203.0.113.7]) by mx.provider.example for <anna@provider.example>; d\n",
            "anna@provider.example",
        ),
        (
            "Received: from x ([203.0.113.7]) by mx.provider.example; d\nReceived: from x by mx.provider.example for <anna@provider.example>; d\n",
            "default: no_envelope_header",
        ),
        ("Received: from x ([203.0.113.7]) by mx.other.example for <anna@provider.example>; d\n", "default: no_envelope_header"),
    ] {
        assert_eq!(who(fields, &rules()).join(" "), want, "of {fields:?}");
    }
}

#[test]
fn acceptance() {
    let mut r = rules();
    r.map.insert("почта.рф".parse().unwrap(), MapTo::Domain("икс.рф".parse().unwrap()));
    r.aliases = vec![
        alias("info@provider.example", &["раз@икс.рф", "два@икс.рф"]),
        alias("sales+*@provider.example", &["sales@local.example"]),
        alias("*@catch.example", &["all@local.example"]),
        alias("sales+vip@provider.example", &["vip@local.example"]),
        alias("back@provider.example", &["box@provider.example"]),
    ];
    for (found, want) in [
        ("раз@почта.рф", "раз@икс.рф"),
        ("раз@xn--80a1acny.xn--p1ai", "раз@икс.рф"),
        ("INFO@provider.example", "раз@икс.рф два@икс.рф"),
        ("info+tag@provider.example", "раз+tag@икс.рф два+tag@икс.рф"),
        ("sales+spring@provider.example", "sales@local.example"),
        ("sales+vip@provider.example", "vip@local.example"),
        ("sales@provider.example", "sales@provider.example"),
        ("who@catch.example", "all@local.example"),
        ("who@sub.provider.example", "default: foreign_address_only"),
        ("back@provider.example", "default: own_address_only"),
        ("prvs=0123456789=anna@provider.example", "anna@provider.example"),
    ] {
        assert_eq!(who(&format!("Envelope-To: {found}\n{OUTSIDE}"), &r).join(" "), want, "of {found}");
    }
    let (resolution, _) = resolve(&header(&format!("Envelope-To: раз@почта.рф\n{OUTSIDE}")), &r);
    assert_eq!(resolution.recipients()[0].original, Some(a("раз@почта.рф")));
    let (resolution, _) = resolve(&header(&format!("Envelope-To: anna@provider.example\n{OUTSIDE}")), &r);
    assert_eq!(resolution.recipients()[0].original, None);
}

#[test]
fn the_own_address_counts_where_an_alias_names_it() {
    let r = Rules { aliases: vec![alias("box@provider.example", &["boss@local.example"])], ..rules() };
    assert_eq!(who(&format!("X-Original-To: box@provider.example\n{OUTSIDE}"), &r), ["boss@local.example"]);
    assert_eq!(who(&format!("Delivered-To: box@provider.example\n{OUTSIDE}"), &r), ["default: own_address_only"]);
}

#[test]
fn configured_headers() {
    let rule = |header: &str| HeaderRule { header: header.into(), index: None, pattern: None, strip_prefix: None, take: Take::All, trust_any: false };
    let text = format!("X-To: a@provider.example, b@provider.example\nX-To: c@provider.example\n{OUTSIDE}X-To: d@provider.example\n");
    let with = |rule: HeaderRule| who(&text, &Rules { headers: Headers::List(vec![rule]), ..rules() }).join(" ");
    assert_eq!(with(rule("x-to")), "a@provider.example b@provider.example");
    assert_eq!(with(HeaderRule { take: Take::First, ..rule("X-To") }), "a@provider.example");
    assert_eq!(with(HeaderRule { take: Take::Last, ..rule("X-To") }), "b@provider.example");
    assert_eq!(with(HeaderRule { index: Some(2), ..rule("X-To") }), "c@provider.example");
    assert_eq!(with(HeaderRule { index: Some(3), ..rule("X-To") }), "default: untrusted_envelope_header");
    assert_eq!(with(HeaderRule { index: Some(3), trust_any: true, ..rule("X-To") }), "d@provider.example");
    assert_eq!(with(HeaderRule { index: Some(4), ..rule("X-To") }), "default: no_envelope_header");
    // Nothing else is asked.
    let list = Rules { headers: Headers::List(vec![rule("X-Nothing")]), ..rules() };
    assert_eq!(who(&format!("X-Original-To: anna@provider.example\n{OUTSIDE}"), &list), ["default: no_envelope_header"]);
    let list = Rules { headers: Headers::List(vec![rule("Received:for")]), ..rules() };
    assert_eq!(who("Received: from x ([203.0.113.7]) by mx.provider.example for <anna@provider.example>; d\n", &list), ["anna@provider.example"]);
}

#[test]
fn nobody_found() {
    let text = format!("{OUTSIDE}To: anna@provider.example\n");
    assert_eq!(who(&text, &Rules { unresolved: Unresolved::Leave, ..rules() }), ["leave: no_envelope_header"]);
    assert_eq!(who(&text, &Rules { default_box: None, ..rules() }), ["leave: no_envelope_header"]);
    assert_eq!(who("text only", &rules()), ["default: no_header"]);
    let many: Vec<String> = (0..21).map(|n| format!("u{n}@provider.example")).collect();
    assert_eq!(who(&format!("Envelope-To: {}\n{OUTSIDE}", many.join(",")), &rules()), ["default: too_many_recipients"]);
    assert_eq!(who(&format!("Envelope-To: {}\n{OUTSIDE}", many[1..].join(",")), &rules()).len(), 20);
}

#[test]
fn forward_to_is_its_own_evidence() {
    let (resolution, trail) = forward(&[a("x@икс.рф"), a("x@XN--h1aev.xn--p1ai"), a("y@икс.рф")]);
    let Resolution::Recipients(recipients, evidence) = &resolution else { panic!("{resolution:?}") };
    assert_eq!((recipients.len(), evidence.to_string().as_str()), (2, "forward_to"));
    assert_eq!(trail.to_text(), "  → x@икс.рф\n  → y@икс.рф\n  forward_to\n");
}

#[test]
fn the_trail_is_json_too() {
    let (_, trail) = resolve(&header(&format!("Delivered-To: box@provider.example\nDelivered-To: anna@provider.example\n{OUTSIDE}")), &rules());
    let json = trail.to_json();
    let steps = json["steps"].as_array().unwrap();
    let last = &steps[steps.len() - 2..];
    assert_eq!((last[0]["decision"].as_str(), last[1]["decision"].as_str()), (Some("own_address"), Some("taken")));
    assert_eq!((&last[1]["instance"], &json["recipients"][0]), (&2.into(), &"anna@provider.example".into()));
}

#[test]
fn s3_a_pattern_picks_what_is_read() {
    let rule = |header: &str, text: &str| HeaderRule {
        header: header.into(),
        index: None,
        pattern: Some(mailgather::mail::Pattern::new(text).unwrap()),
        strip_prefix: None,
        take: Take::All,
        trust_any: false,
    };
    let top = format!("X-Info: rcpt=anna@provider.example;\n\tfrom=x@provider.example\nX-Info: rcpt=boris@provider.example\n{OUTSIDE}");
    for (pattern, want) in [
        ("rcpt=([^;]+)", "anna@provider.example"),
        ("RCPT=(\\S+?);", "anna@provider.example"),
        ("from=(.*)", "x@provider.example"),
        // Unfolded: a value goes over its lines.
        ("rcpt=(.*?);\\s*from", "anna@provider.example"),
        // Without a group, all that matches; with several, the first that took part.
        ("[a-z]+@provider\\.example", "anna@provider.example"),
        ("to=(.*)|from=(.*)", "x@provider.example"),
        // The next instance is asked where the first says nothing.
        ("^rcpt=(boris.*)", "boris@provider.example"),
        ("nothing", "default: no_envelope_header"),
        ("rcpt=()", "default: no_envelope_header"),
        ("(rcpt)", "default: no_envelope_header"),
    ] {
        let r = Rules { headers: Headers::List(vec![rule("X-Info", pattern)]), ..rules() };
        assert_eq!(who(&top, &r).join(" "), want, "of {pattern}");
    }
    let r = Rules { headers: Headers::List(vec![rule("X-Info", "nothing")]), ..rules() };
    let (_, trail) = resolve(&header(&top), &r);
    assert_eq!(trail.steps().iter().map(|step| step.decision.code()).collect::<Vec<_>>(), ["no_match", "no_match"]);
    // The for-clause: the pattern is asked about its address.
    let received = "Received: from x ([203.0.113.7]) by mx.provider.example for <anna-box@provider.example>; d\n";
    let r = Rules { headers: Headers::List(vec![rule("Received:for", "^anna-(.*)")]), ..rules() };
    assert_eq!(who(received, &r), ["default: own_address_only"]);
    let r = Rules { headers: Headers::List(vec![rule("Received:for", "^boris")]), ..rules() };
    assert_eq!(who(received, &r), ["default: no_envelope_header"]);
}
