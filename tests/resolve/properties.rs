//! Whatever octets a header holds: the resolver answers, its addresses cannot break a line of SMTP, its work has bounds, and both spellings
//! of a domain are one domain to every rule.

use super::{a, alias, canonical};
use bytes::Bytes;
use mailgather::mail::header::{FIELDS_MAX, HEADER_OCTETS_MAX};
use mailgather::mail::{Address, Domain, HeaderBlock, Pattern};
use mailgather::resolve::addresses::ADDRESSES_MAX;
use mailgather::resolve::guess::GUESS_MAX;
use mailgather::resolve::trail::{LINE_OCTETS_MAX, TRAIL_STEPS_MAX};
use mailgather::resolve::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn header(raw: &[u8]) -> HeaderBlock {
    HeaderBlock::parse(canonical(raw))
}

fn d(text: &str) -> Domain {
    text.parse().unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn rewrite(regex: &str, to: &str) -> Rewrite {
    Rewrite { regex: pattern(regex), to: to.into() }
}

fn configured(header: &str, pick: Option<&str>, prefix: Option<&str>, take: Take, trust_any: bool) -> HeaderRule {
    HeaderRule { header: header.into(), index: None, pattern: pick.map(pattern), strip_prefix: prefix.map(str::to_owned), take, trust_any }
}

fn rules() -> Rules {
    Rules {
        domains: BTreeSet::from([d("provider.example"), d("почта.рф")]),
        server_host: "imap.provider.example".into(),
        own: Some(a("box@provider.example")),
        default_box: Some(a("postmaster@local.example")),
        unresolved: Unresolved::DefaultBox,
        ..Rules::default()
    }
}

/// Rules that between them use every key.
fn all_sorts() -> Vec<Rules> {
    let rich = Rules {
        subdomains: BTreeSet::from([d("provider.example"), d("x.example")]),
        map: [(d("почта.рф"), MapTo::Domain(d("икс.рф"))), (d("old.example"), MapTo::Mailbox(a("one@local.example")))].into(),
        aliases: vec![
            alias("anna@provider.example", &["\"a b\"@local.example", "box@provider.example"]),
            alias("a*b@provider.example", &["раз@икс.рф"]),
        ],
        rewrite: vec![rewrite("(.*)@(.*)", "$2@$1"), rewrite("\"?(.*?)\"?@.*", "$1@local.example"), rewrite(".*", "$0")],
        lists: vec![
            ListRule { list: ListName::Id("list.provider.example".into()), to: vec![a("раз@икс.рф")] },
            ListRule { list: ListName::Address(a("anna@provider.example")), to: vec![a("box@provider.example"), a("два@икс.рф")] },
        ],
        exclude: vec![Exclude::Address(a("раз@почта.рф")), Exclude::Pattern(pattern("^x.*@"))],
        ..rules()
    };
    let list = |rules: Vec<HeaderRule>| Headers::List(rules);
    vec![
        rules(),
        Rules { guess: Guess::On, own: None, server_host: "localhost".into(), ..rich.clone() },
        Rules {
            guess: Guess::Union,
            keep_tag: false,
            trusted_hops: Some(3),
            envelope_below_received: true,
            unresolved: Unresolved::Hold,
            ..rich.clone()
        },
        Rules {
            headers: list(vec![
                configured("X-Original-To", Some("(<.*)|.*"), Some("a"), Take::Last, true),
                configured("Received:for", Some("[^\"]+"), None, Take::First, true),
                configured("Delivered-To", None, Some("box-"), Take::All, false),
                configured("Received", Some("for (.*)"), None, Take::All, true),
            ]),
            mx_hosts: vec!["mx.почта.рф".into(), "é..".into()],
            trusted_hosts: vec![".provider.example".into(), "почта.рф".into()],
            guess: Guess::On,
            ..rich
        },
    ]
}

/// What must hold of every answer.
fn check(header: &HeaderBlock, rules: &Rules) -> Result<(), TestCaseError> {
    let (resolution, trail) = resolve(header, rules);
    prop_assert_eq!(&resolve(header, rules).0, &resolution, "the same question, another answer");
    check_answer(&resolution, &trail, rules)?;
    if let Resolution::Recipients(_, evidence) = &resolution {
        let block = TrustedBlock::find(header, &Trust::from(rules));
        let trusts_any = matches!(rules.headers, Headers::List(_));
        match evidence.field {
            Some(field) => prop_assert!(trusts_any || block.contains(field), "{:?}", evidence),
            None => prop_assert!(evidence.is_guess() && rules.guess != Guess::Off, "{:?}", evidence),
        }
    }
    let named: Vec<Address> = header.fields().iter().flat_map(|field| addresses(&header.text(field))).take(50).collect();
    let (resolution, trail) = resolve_journal(&named, header, rules);
    check_answer(&resolution, &trail, rules)
}

fn check_answer(resolution: &Resolution, trail: &Trail, rules: &Rules) -> Result<(), TestCaseError> {
    for recipient in resolution.recipients() {
        check_path(&recipient.address)?;
        recipient.original.as_ref().map_or(Ok(()), check_path)?;
        prop_assert!(rules.own.as_ref() != Some(&recipient.address), "to the collected mailbox itself");
    }
    match resolution {
        Resolution::Recipients(recipients, _) => {
            prop_assert!(!recipients.is_empty() && recipients.len() <= rules.max_recipients);
            let different: BTreeSet<String> = recipients.iter().map(|recipient| recipient.address.to_smtp().to_lowercase()).collect();
            prop_assert_eq!(different.len(), recipients.len(), "somebody twice: {:?}", recipients);
        }
        other => prop_assert!(other.reason().is_some()),
    }
    prop_assert!(trail.steps().len() <= TRAIL_STEPS_MAX);
    let (text, line) = (trail.to_text(), trail.to_line());
    let odd = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
    prop_assert!(!text.contains(|c| c != '\n' && odd(c)), "{:?}", text);
    prop_assert!(!line.contains(odd) && line.len() <= LINE_OCTETS_MAX, "{:?}", line);
    prop_assert_eq!(trail.to_json()["steps"].as_array().map(Vec::len), Some(trail.steps().len()));
    Ok(())
}

/// Nothing in it ends a line or a path, or starts a parameter.
fn check_path(address: &Address) -> Result<(), TestCaseError> {
    let path = address.to_smtp();
    prop_assert!(!path.contains(char::is_control), "{:?}", path);
    let (mut quoted, mut escaped, mut outside) = (false, false, String::new());
    for c in path.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if !quoted => outside.push(c),
            _ => {}
        }
    }
    prop_assert!(!quoted && !escaped, "{:?} leaves a quote open", path);
    prop_assert!(!outside.contains(['<', '>', ' ', '\t', ',', ';', '"', '\\']), "{:?}", path);
    prop_assert_eq!(outside.matches('@').count(), 1, "{:?}", path);
    prop_assert_eq!(&path.parse::<Address>().ok(), &Some(address.clone()), "{:?} is another address when read again", path);
    Ok(())
}

const PIECES: &[&str] = &[
    "X-Original-To: ",
    "Delivered-To: ",
    "Envelope-To: ",
    "To: ",
    "Cc: ",
    "Resent-To: ",
    "Resent-From: x\r\n",
    "List-Id: <list.provider.example>\r\n",
    "List-Post: <mailto:",
    "Precedence: bulk\r\n",
    "Auto-Submitted: ",
    "Received: ",
    "Received: by mx.provider.example; d\r\n",
    "Received: from x ([127.0.0.1]) by mx.provider.example with LMTP for <",
    "Received: from x (x [203.0.113.7]) by mx.provider.example with ESMTP; d\r\n",
    "Received: (qmail 1 invoked by uid 89)\r\n",
    "From ",
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
    "\\\"",
    "(",
    ")",
    ";",
    ":",
    ",",
    " ",
    "\t",
    "$1",
    "*",
    "=",
    "+tag",
    "anna@provider.example",
    "box@provider.example",
    "раз@почта.рф",
    "два@xn--80a1acny.xn--p1ai",
    "x@old.example",
    "a\"b@provider.example",
    "\"a b\"@provider.example",
    "\"a\r\n b\"@provider.example",
    "\">\\\"<\"@provider.example",
    "prvs=0123456789=",
    "SRS0=h=tt=provider.example=",
    "SRS1=h=x==h=tt=old.example=",
    "\"SRS0=h=tt=old.example=a>b\"@provider.example",
    "box-",
    "\u{feff}",
    "\u{202e}",
    "\u{2028}",
    "\u{85}",
    "=?utf-8?Q?=0D=0A?=",
    "by mx.provider.example",
    "for <a@provider.example>",
];

fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![6 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()), 1 => proptest::collection::vec(any::<u8>(), 0..4)];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A well-formed message of a trusted provider, with nasty values: what the pieces alone seldom make.
fn nearly_real() -> impl Strategy<Value = Vec<u8>> {
    const NAMES: &[&str] = &["X-Original-To", "Envelope-To", "Delivered-To", "X-Forwarded-To", "To", "Cc", "Resent-Cc", "List-Id", "Precedence"];
    let value = proptest::collection::vec(proptest::sample::select(PIECES), 0..8).prop_map(|pieces| pieces.concat().replace(['\r', '\n'], " "));
    let field = (proptest::sample::select(NAMES), value).prop_map(|(name, value)| format!("{name}: {value}\r\n"));
    (proptest::collection::vec(field.clone(), 0..5), proptest::collection::vec(field, 0..5)).prop_map(|(above, below)| {
        let received = "Received: from x (x [203.0.113.7]) by mx.provider.example with ESMTP; d\r\n";
        format!("{}{received}{}\r\n", above.concat(), below.concat()).into_bytes()
    })
}

proptest! {
    #[test]
    fn nasty_pieces_never_break_a_line(raw in nasty()) {
        let header = header(&raw);
        for rules in all_sorts() {
            check(&header, &rules)?;
        }
    }

    #[test]
    fn nasty_values_never_break_a_line(raw in nearly_real()) {
        let header = header(&raw);
        for rules in all_sorts() {
            check(&header, &rules)?;
        }
    }

    #[test]
    fn random_octets_never_break_a_line(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        let header = header(&raw);
        for rules in all_sorts() {
            check(&header, &rules)?;
        }
    }

    /// As it arrives without having been made canonical: the reader is not to rely on that.
    #[test]
    fn raw_octets_never_panic(raw in nasty()) {
        let header = HeaderBlock::parse(Bytes::from(raw));
        for rules in all_sorts() {
            let (resolution, _) = resolve(&header, &rules);
            for recipient in resolution.recipients() {
                check_path(&recipient.address)?;
            }
        }
    }

    /// `икс.рф` and `xn--h1aev.xn--p1ai`, in the header or in the rules: the same answer by each rule.
    #[test]
    fn both_spellings_are_one_domain(local in "[а-яё]{1,12}", label in "[а-я]{1,12}", upper in any::<bool>()) {
        let unicode = format!("{label}.рф");
        let ascii = d(&unicode).as_ascii().to_owned();
        let spelt = |domain: &str| if upper { format!("{}@{}", local.to_uppercase(), domain.to_uppercase()) } else { format!("{local}@{domain}") };
        // Each rule written in either spelling.
        for written in [&unicode, &ascii] {
            let (local_at, base) = (format!("{local}@{written}"), Rules { domains: BTreeSet::new(), own: None, ..rules() });
            for (rule, rules, want) in [
                ("domains", Rules { domains: BTreeSet::from([d(written)]), ..base.clone() }, None),
                ("map", Rules { map: [(d(written), MapTo::Domain(d("local.example")))].into(), ..base.clone() }, None),
                ("map to a mailbox", Rules { map: [(d(written), MapTo::Mailbox(a("x@local.example")))].into(), ..base.clone() }, Some("x@local.example")),
                ("alias", Rules { aliases: vec![alias(&local_at, &["x@local.example"])], ..base.clone() }, Some("x@local.example")),
                ("alias with a star", Rules { aliases: vec![alias(&format!("*{local_at}"), &["x@local.example"])], ..base.clone() }, Some("x@local.example")),
                ("rewrite", Rules { rewrite: vec![rewrite(&format!("{local}@{}", written.replace('.', "\\.")), "x@local.example")], ..base.clone() }, Some("x@local.example")),
                ("exclude", Rules { domains: BTreeSet::from([d(written)]), exclude: vec![Exclude::Address(a(&local_at))], ..base.clone() }, Some("excluded_only")),
                ("exclude by expression", Rules { domains: BTreeSet::from([d(written)]), exclude: vec![Exclude::Pattern(pattern(&format!("^{local}@{}$", written.replace('.', "\\."))))], ..base.clone() }, Some("excluded_only")),
                ("own", Rules { domains: BTreeSet::from([d(written)]), own: Some(a(&local_at)), ..base.clone() }, Some("own_address_only")),
                ("sub-domains", Rules { subdomains: BTreeSet::from([d("рф")]), ..base.clone() }, None),
                ("list", Rules { guess: Guess::On, lists: vec![ListRule { list: ListName::Address(a(&local_at)), to: vec![a("x@local.example")] }], ..base }, Some("x@local.example")),
            ] {
                let answer = |domain: &str| {
                    let name = if rule == "list" { "To" } else { "X-Original-To" };
                    let text = format!("{name}: {}\r\nReceived: from x (x [203.0.113.7]) by mx.provider.example; d\r\n\r\n", spelt(domain));
                    resolve(&header(text.as_bytes()), &rules)
                };
                let (from_unicode, from_ascii) = (answer(&unicode), answer(&ascii));
                prop_assert_eq!(&from_unicode, &from_ascii, "{} written as {}", rule, written);
                let got = match &from_unicode.0 {
                    Resolution::Recipients(recipients, _) => recipients[0].address.to_string(),
                    other => other.reason().unwrap().code().to_owned(),
                };
                let want = want.map_or_else(|| spelt(if rule == "map" { "local.example" } else { &unicode }), str::to_owned);
                prop_assert_eq!(got.to_lowercase(), want.to_lowercase(), "{} written as {}", rule, written);
            }
        }
    }
}

const OUTSIDE: &str = "Received: from x (x.example [203.0.113.7]) by mx.provider.example with ESMTP id 1; d\r\n";

/// The work is counted, not timed: how much of a header is read, how many addresses of a field, how many steps are kept.
#[test]
fn a_hundred_thousand_addresses_are_bounded() {
    let list = |domain: &str| (0..100_000).map(|n| format!("u{n}@{domain}")).collect::<Vec<_>>().join(",");
    for domain in ["provider.example", "foreign.example"] {
        let folded = list(domain).replace(',', ",\r\n ");
        for (name, text) in [
            // One field over 64 KiB is present and empty; folding makes it no shorter.
            ("one line", format!("X-Original-To: {}\r\n{OUTSIDE}\r\n", list(domain))),
            ("folded", format!("Delivered-To: {folded}\r\n{OUTSIDE}\r\n")),
            ("To", format!("{OUTSIDE}To: {folded}\r\n\r\n")),
            // As many fields as there are addresses, and fields just short enough to be read.
            ("fields", format!("{OUTSIDE}To: {}\r\n\r\n", list(domain).replace(',', "\r\nTo: "))),
            ("above", format!("Delivered-To: {}\r\n{OUTSIDE}\r\n", list(domain).replace(',', "\r\nDelivered-To: "))),
            ("full fields", format!("{OUTSIDE}{}\r\n", format!("To: {}\r\n", &list(domain)[..60_000]).repeat(20))),
        ] {
            let header = header(text.as_bytes());
            assert!(header.octets().len() <= HEADER_OCTETS_MAX && header.fields().len() <= FIELDS_MAX, "{name}");
            for field in header.fields() {
                assert!(addresses(&header.text(field)).len() <= ADDRESSES_MAX, "{name}");
            }
            for guess in [Guess::Off, Guess::On, Guess::Union] {
                let rules = Rules { guess, max_recipients: 1_000, ..rules() };
                let (resolution, trail) = resolve(&header, &rules);
                assert!(trail.steps().len() <= TRAIL_STEPS_MAX, "{name}: {} steps", trail.steps().len());
                assert!(trail.to_line().len() <= LINE_OCTETS_MAX, "{name}");
                match resolution {
                    Resolution::Recipients(recipients, evidence) => {
                        assert!(recipients.len() <= if evidence.is_guess() { GUESS_MAX } else { rules.max_recipients }, "{name}")
                    }
                    other => assert!(other.reason().is_some(), "{name}"),
                }
            }
        }
    }
    let everybody: Vec<Address> = (0..100_000).map(|n| a(&format!("u{n}@provider.example"))).collect();
    let (resolution, trail) = resolve_journal(&everybody, &header(b"\r\n"), &rules());
    assert_eq!(resolution.reason(), Some(Reason::TooManyRecipients));
    assert!(trail.steps().len() <= TRAIL_STEPS_MAX);
}

#[test]
fn ten_megabytes_of_header_are_bounded() {
    for shape in [
        "X-Original-To: a@foreign.example\r\n",
        "To: a@provider.example\r\n",
        "Resent-To: a@provider.example\r\nResent-Date: d\r\n",
        "List-Post: <mailto:a@provider.example>,<mailto:b@provider.example>\r\n",
        "List-Id: <<<<<<<<<<\r\n",
        "Received: by mx.provider.example with LMTP for <a@foreign.example>; d\r\n",
        "Delivered-To: \"SRS0=h=tt=provider.example=prvs=0123456789=a\"@provider.example, box@provider.example\r\n",
        "Envelope-To: (((((((((((\"\"\"\"<<<<,,,,;;;;::::@@@@\r\n\t",
        "X",
        "\r\n ",
    ] {
        let raw = shape.repeat(10 * 1024 * 1024 / shape.len());
        let header = header(format!("{OUTSIDE}{raw}").as_bytes());
        assert!(header.octets().len() <= HEADER_OCTETS_MAX, "{shape:?}");
        assert!(header.fields().len() <= FIELDS_MAX, "{shape:?}");
        for rules in all_sorts() {
            let (_, trail) = resolve(&header, &rules);
            assert!(trail.steps().len() <= TRAIL_STEPS_MAX, "{shape:?}");
        }
    }
}
