//! Section 3: whether an address is one of ours, and who gets its mail. One table for each letter of the list of rules.

use super::*;
use mailgather::mail::Pattern;

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn rewrite(regex: &str, to: &str) -> Rewrite {
    Rewrite { regex: pattern(regex), to: to.into() }
}

/// Who gets what is addressed to `found`, and why nobody does.
fn gets(found: &str, rules: &Rules) -> String {
    who(&format!("X-Original-To: {found}\n{OUTSIDE}"), rules).join(" ")
}

fn table(rules: &Rules, rows: &[(&str, &str)]) {
    for (found, want) in rows {
        assert_eq!(gets(found, rules), *want, "of {found}");
    }
}

const EXCLUDED: &str = "default: excluded_only";
const FOREIGN: &str = "default: foreign_address_only";

/// Each rule catches an address of its own and all that those below it would catch.
fn every_rule() -> Rules {
    let mut r = rules();
    r.domains.insert("ours.example".parse().unwrap());
    r.exclude = vec![Exclude::Address(a("a@ours.example"))];
    r.aliases = vec![
        alias("*@ours.example", &["glob@local.example"]),
        alias("a@ours.example", &["exact@local.example"]),
        alias("b@ours.example", &["exact@local.example"]),
        alias("b+tag@ours.example", &["tagged@local.example"]),
    ];
    r.rewrite = vec![rewrite(".*@(ours|rest)\\.example", "rewrite@local.example")];
    r.map = [("ours.example", "map.example"), ("rest.example", "map.example")]
        .map(|(from, to)| (from.parse().unwrap(), MapTo::Domain(to.parse().unwrap())))
        .into();
    r
}

#[test]
fn s3_the_order_of_the_rules() {
    table(
        &every_rule(),
        &[
            ("a@ours.example", EXCLUDED),
            ("b@ours.example", "exact@local.example"),
            ("b+tag@ours.example", "tagged@local.example"),
            ("b+other@ours.example", "exact+other@local.example"),
            ("c@ours.example", "glob@local.example"),
            ("c@rest.example", "rewrite@local.example"),
        ],
    );
    let r = Rules { aliases: Vec::new(), ..every_rule() };
    assert_eq!(gets("c@ours.example", &r), "rewrite@local.example");
    let r = Rules { rewrite: Vec::new(), ..r };
    assert_eq!(gets("c@ours.example", &r), "c@map.example");
    let r = Rules { map: Default::default(), ..r };
    assert_eq!(gets("c@ours.example", &r), "c@ours.example");
    let r = Rules { domains: BTreeSet::new(), ..r };
    assert_eq!(gets("c@ours.example", &r), FOREIGN);
}

#[test]
fn s3_exclude_comes_before_aliases() {
    let mut r = rules();
    r.exclude =
        vec![Exclude::Address(a("Trap@provider.example")), Exclude::Pattern(pattern("^no-?reply@")), Exclude::Pattern(pattern("@почта\\.рф$"))];
    r.aliases = vec![alias("trap@provider.example", &["anna@local.example"])];
    r.domains.insert("почта.рф".parse().unwrap());
    table(
        &r,
        &[
            ("tRAP@provider.example", EXCLUDED),
            ("NoReply@provider.example", EXCLUDED),
            ("no-reply@provider.example", EXCLUDED),
            ("раз@почта.рф", EXCLUDED),
            ("раз@xn--80a1acny.xn--p1ai", EXCLUDED),
            ("prvs=0123456789=trap@provider.example", EXCLUDED),
            ("SRS0=H=TT=provider.example=trap@provider.example", EXCLUDED),
            ("anna@provider.example", "anna@provider.example"),
            ("trap@foreign.example", FOREIGN),
            // Somebody else in the same field still gets it; foreign addresses are the better reason.
            ("trap@provider.example, anna@provider.example", "anna@provider.example"),
            ("trap@provider.example, x@foreign.example", FOREIGN),
        ],
    );
    // The next header is asked, and the trail has a word of its own.
    let text = format!("X-Original-To: trap@provider.example\nDelivered-To: box@provider.example\n{OUTSIDE}");
    assert_eq!(who(&text, &r), [EXCLUDED]);
    let (_, trail) = resolve(&header(&text), &r);
    assert_eq!(trail.steps()[0].decision.code(), "excluded_address");
    assert!(trail.to_text().contains("on the exclude list"), "{}", trail.to_text());
    assert_eq!(who(&format!("X-Original-To: trap@provider.example\nDelivered-To: anna@provider.example\n{OUTSIDE}"), &r), ["anna@provider.example"]);
    // An expression in A-labels catches both spellings as well.
    let r = Rules { exclude: vec![Exclude::Pattern(pattern("@xn--80a1acny\\.xn--p1ai$"))], ..r };
    table(&r, &[("раз@почта.рф", EXCLUDED), ("раз@xn--80a1acny.xn--p1ai", EXCLUDED)]);
}

#[test]
fn s3_exact_alias() {
    let mut r = rules();
    r.aliases = vec![
        alias("info@provider.example", &["раз@икс.рф", "два@икс.рф"]),
        alias("раз@почта.рф", &["один@икс.рф"]),
        // A target that is an alias itself is taken as written.
        alias("first@provider.example", &["info@provider.example"]),
    ];
    table(
        &r,
        &[
            ("INFO@provider.example", "раз@икс.рф два@икс.рф"),
            ("РАЗ@почта.рф", "один@икс.рф"),
            ("раз@XN--80a1acny.xn--p1ai", "один@икс.рф"),
            ("first@provider.example", "info@provider.example"),
            ("info@provider.example, info@provider.example", "раз@икс.рф два@икс.рф"),
            ("inf@provider.example", "inf@provider.example"),
        ],
    );
}

#[test]
fn s3_alias_without_the_tag() {
    let mut r = rules();
    r.aliases = vec![alias("anna@provider.example", &["anna@local.example", "copy@local.example"])];
    let rows = |kept: &'static str, cut: &'static str| [("anna+shop@provider.example", kept), ("ANNA+a+b@provider.example", cut)];
    table(&r, &rows("anna+shop@local.example copy+shop@local.example", "anna+a+b@local.example copy+a+b@local.example"));
    let r = Rules { keep_tag: false, ..r };
    table(&r, &rows("anna@local.example copy@local.example", "anna@local.example copy@local.example"));
    table(&r, &[("+tag@provider.example", "+tag@provider.example"), ("who+tag@provider.example", "who+tag@provider.example")]);
}

#[test]
fn s3_alias_with_a_star() {
    let mut r = rules();
    r.aliases = vec![
        alias("sales+*@provider.example", &["sales@local.example"]),
        alias("*-bounces@provider.example", &["bounces@local.example"]),
        alias("*@catch.example", &["all@local.example"]),
        alias("имя*@почта.рф", &["один@икс.рф"]),
    ];
    table(
        &r,
        &[
            ("Sales+Spring@provider.example", "sales@local.example"),
            ("sales@provider.example", "sales@provider.example"),
            ("list-BOUNCES@provider.example", "bounces@local.example"),
            ("anybody@catch.example", "all@local.example"),
            ("anybody@sub.catch.example", FOREIGN),
            ("Имярек@xn--80a1acny.xn--p1ai", "один@икс.рф"),
        ],
    );
}

#[test]
fn s3_rewrite_by_expression() {
    let mut r = rules();
    r.subdomains.insert("local.example".parse().unwrap());
    r.rewrite = vec![
        rewrite("(?<user>[^+@]+)\\+(?<tag>[^@]+)@old\\.example", "${user}@${tag}.local.example"),
        rewrite("(.+)@old\\.example", "$1@local.example"),
        rewrite("bad@(.+)", "not an address"),
        rewrite("(b)ad@provider\\.example", "$1@local.example"),
        rewrite("cut", "never@local.example"),
        rewrite("a|alt@provider\\.example", "alt@local.example"),
        rewrite("(.+)@почта\\.рф", "$1@икс.рф"),
        rewrite("empty@provider\\.example", "$1$2"),
    ];
    r.map.insert("old.example".parse().unwrap(), MapTo::Domain("never.example".parse().unwrap()));
    table(
        &r,
        &[
            ("Anna@OLD.example", "Anna@local.example"),
            ("anna+crm@old.example", "anna@crm.local.example"),
            // Anchored to the whole address, from either end, in each alternative.
            ("cut@provider.example", "cut@provider.example"),
            ("alt@provider.example", "alt@local.example"),
            ("x.alt@provider.example", "x.alt@provider.example"),
            ("alt@provider.example.foreign.example", FOREIGN),
            // What is no address is no match: the next rule is asked.
            ("bad@provider.example", "b@local.example"),
            ("bad@foreign.example", FOREIGN),
            ("empty@provider.example", "empty@provider.example"),
            ("раз@почта.рф", "раз@икс.рф"),
            ("раз@xn--80a1acny.xn--p1ai", "раз@икс.рф"),
            // A blank ends a word; quoted it stays quoted.
            ("anna+a b@old.example", "b@local.example"),
            ("\"anna b\"@old.example", "\"anna b\"@local.example"),
        ],
    );
    let (_, trail) = resolve(&header(&format!("X-Original-To: bad@provider.example\n{OUTSIDE}")), &r);
    assert_eq!(trail.steps()[0].note, "rewrite bad@(.+) makes no address of it");
    let text = trail.to_text();
    assert!(text.contains("rewrite (b)ad@provider\\.example") && text.contains("b@local.example"), "{text}");
    // Back to the collected mailbox, and for a domain that nothing else accepts.
    let r = Rules {
        rewrite: vec![rewrite(".*@provider\\.example", "box@provider.example"), rewrite("(.*)@else\\.example", "$1@local.example")],
        ..rules()
    };
    table(&r, &[("x@provider.example", "default: own_address_only"), ("x@else.example", "x@local.example")]);
}

#[test]
fn s3_map_of_an_exact_domain() {
    let mut r = rules();
    let d = |text: &str| text.parse().unwrap();
    r.map = [(d("почта.рф"), MapTo::Domain(d("икс.рф"))), (d("one.example"), MapTo::Mailbox(a("one@local.example")))].into();
    r.map.insert(d("back.example"), MapTo::Mailbox(a("Box@provider.example")));
    table(
        &r,
        &[
            ("раз@почта.рф", "раз@икс.рф"),
            ("раз@XN--80A1ACNY.XN--P1AI", "раз@икс.рф"),
            ("два+tag@почта.рф", "два+tag@икс.рф"),
            ("anybody@one.example", "one@local.example"),
            ("a@one.example, b@one.example", "one@local.example"),
            ("раз@мх.почта.рф", FOREIGN),
            ("a@sub.one.example", FOREIGN),
            ("a@back.example", "default: own_address_only"),
        ],
    );
    let (resolution, _) = resolve(&header(&format!("X-Original-To: раз@почта.рф\n{OUTSIDE}")), &r);
    assert_eq!(resolution.recipients()[0].original, Some(a("раз@почта.рф")));
}

#[test]
fn s3_accepted_domains_and_their_sub_domains() {
    let mut r = rules();
    r.domains = BTreeSet::from(["икс.рф".parse().unwrap()]);
    r.subdomains = BTreeSet::from(["under.example".parse().unwrap(), "почта.рф".parse().unwrap()]);
    table(
        &r,
        &[
            ("раз@икс.рф", "раз@икс.рф"),
            ("раз@xn--h1aev.xn--p1ai", "раз@икс.рф"),
            ("раз@а.икс.рф", FOREIGN),
            ("a@x.under.example", "a@x.under.example"),
            ("a@y.x.Under.example", "a@y.x.under.example"),
            ("a@under.example", FOREIGN),
            ("a@notunder.example", FOREIGN),
            ("a@under.example.evil.example", FOREIGN),
            ("раз@а.xn--80a1acny.xn--p1ai", "раз@а.почта.рф"),
            ("раз@почта.рф", FOREIGN),
        ],
    );
}

#[test]
fn s3_foreign_addresses_are_never_relayed() {
    let r = every_rule();
    table(
        &r,
        &[
            ("x@foreign.example", FOREIGN),
            ("x%foreign.example@else.example", FOREIGN),
            ("<@ours.example:x@foreign.example>", FOREIGN),
            ("\"c@ours.example\"@foreign.example", FOREIGN),
            ("x@foreign.example, c@rest.example", "rewrite@local.example"),
        ],
    );
}

#[test]
fn s3_batv_and_srs_are_undone_where_the_domain_is_ours() {
    let mut r = rules();
    r.domains.insert("ours.example".parse().unwrap());
    r.aliases = vec![alias("anna@ours.example", &["anna@local.example"]), alias("x@alias-only.example", &["x@local.example"])];
    table(
        &r,
        &[
            ("prvs=0123456789=anna@ours.example", "anna@local.example"),
            ("PRVS=0a2B456789=boris@ours.example", "boris@ours.example"),
            ("SRS0=HHH=TT=ours.example=anna@provider.example", "anna@local.example"),
            ("SRS0+HHH=TT=OURS.example=anna@alias-only.example", "anna@local.example"),
            ("srs0-hhh=tt=ours.example=anna+tag@provider.example", "anna+tag@local.example"),
            ("SRS1=HHH=relay.example==HHH=TT=ours.example=boris@provider.example", "boris@ours.example"),
            ("SRS1-HHH=relay.example=+HHH=TT=ours.example=boris@provider.example", "boris@ours.example"),
            ("SRS0=HHH=TT=ours.example=prvs=0123456789=anna@provider.example", "anna@local.example"),
            // The inner address is judged like any other: it may be foreign, or the mailbox itself.
            ("SRS0=HHH=TT=foreign.example=anna@provider.example", FOREIGN),
            ("SRS0=HHH=TT=provider.example=box@provider.example", "default: own_address_only"),
            ("prvs=0123456789=box@provider.example", "default: own_address_only"),
            // A wrapper of somebody else's domain is no way in.
            ("SRS0=HHH=TT=ours.example=anna@foreign.example", FOREIGN),
            ("prvs=0123456789=anna@foreign.example", FOREIGN),
            // No wrapper.
            ("SRS0=HHH=anna@ours.example", "SRS0=HHH=anna@ours.example"),
            ("srs0@ours.example", "srs0@ours.example"),
        ],
    );
    let (resolution, trail) = resolve(&header(&format!("X-Original-To: SRS0=H=TT=ours.example=anna@provider.example\n{OUTSIDE}")), &r);
    assert_eq!(resolution.recipients()[0].original, Some(a("SRS0=H=TT=ours.example=anna@provider.example")));
    assert_eq!(trail.steps()[0].note, "is anna@ours.example");
}

#[test]
fn s3_the_own_address_says_nothing_in_any_wrapping() {
    let r = Rules { own: Some(a("ящик@почта.рф")), domains: BTreeSet::from(["почта.рф".parse().unwrap()]), ..rules() };
    for found in ["ящик@почта.рф", "Ящик@xn--80a1acny.xn--p1ai", "prvs=0123456789=ящик@почта.рф"] {
        assert_eq!(gets(found, &r), "default: own_address_only", "of {found}");
    }
    // Results that lead back, by alias and tag.
    let r = Rules { aliases: vec![alias("a@почта.рф", &["ящик@почта.рф", "два@почта.рф"])], ..r };
    assert_eq!(gets("a@почта.рф", &r), "два@почта.рф");
}

#[test]
fn s3_a_prefix_is_stripped_before_anything_else() {
    let rule = HeaderRule {
        header: "Delivered-To".into(),
        index: None,
        pattern: None,
        strip_prefix: Some("Box-Ы-".into()),
        take: Take::All,
        trust_any: false,
    };
    let mut r = Rules { headers: Headers::List(vec![rule]), ..rules() };
    r.exclude = vec![Exclude::Address(a("trap@provider.example"))];
    r.aliases = vec![alias("anna@provider.example", &["anna@local.example"])];
    for (found, want) in [
        ("bOX-ы-anna@provider.example", "anna@local.example"),
        ("anna@provider.example", "anna@local.example"),
        ("box-ы-trap@provider.example", EXCLUDED),
        ("box-ы-prvs=0123456789=anna@provider.example", "anna@local.example"),
        ("box-ы-@provider.example", "box-ы-@provider.example"),
    ] {
        assert_eq!(who(&format!("Delivered-To: {found}\n{OUTSIDE}"), &r).join(" "), want, "of {found}");
    }
}

#[test]
fn s3_recipients_once_whatever_their_case() {
    let mut r = rules();
    r.aliases = vec![alias("team@provider.example", &["Anna@provider.example", "boris@provider.example"])];
    table(&r, &[("anna@provider.example, ANNA@Provider.example, team@provider.example", "anna@provider.example boris@provider.example")]);
}

#[test]
fn s3_no_sender_chooses_a_domain_by_a_rewrite() {
    let mut r = rules();
    r.subdomains.insert("local.example".parse().unwrap());
    r.rewrite = vec![rewrite("([^=]+)=([^@]+)@gate\\.example", "$1@$2"), rewrite("\"?(.*?)\"?@all\\.example", "$1")];
    table(
        &r,
        &[
            ("anna=provider.example@gate.example", "anna@provider.example"),
            ("anna=sub.local.example@gate.example", "anna@sub.local.example"),
            ("victim=foreign.example@gate.example", FOREIGN),
            ("\"victim@foreign.example\"@all.example", FOREIGN),
            ("\"anna@provider.example\"@all.example", "anna@provider.example"),
        ],
    );
    let (_, trail) = resolve(&header(&format!("X-Original-To: victim=foreign.example@gate.example\n{OUTSIDE}")), &r);
    assert!(trail.steps()[0].note.ends_with("leads to a domain that is not accepted"), "{}", trail.steps()[0].note);
}

const ROUTING: &str = "default: routing_characters";

#[test]
fn s3_a_sender_does_not_route_mail_through_us() {
    let mut r = rules();
    r.subdomains.insert("sub.example".parse().unwrap());
    r.map = [
        ("mapped.example".parse().unwrap(), MapTo::Domain("local.example".parse().unwrap())),
        ("box.example".parse().unwrap(), MapTo::Mailbox(a("\"all/mail\"@local.example"))),
    ]
    .into();
    r.aliases = vec![
        alias("x400/a@provider.example", &["anna@local.example"]),
        alias("report@provider.example", &["\"|program\"@local.example", "a%b@local.example"]),
        alias("anna@provider.example", &["anna@local.example"]),
        alias("*@starred.example", &["all@local.example"]),
        alias("*@bad-star.example", &["a%b@local.example"]),
    ];
    r.rewrite = vec![rewrite("(.+)@rewritten\\.example", "$1@local.example"), rewrite(".+@fixed\\.example", "a%b@local.example")];
    let ways = [
        "victim%evil.example",
        "evil.example!victim",
        "\"victim@evil.example\"",
        "a/b",
        "\"|rm\"",
        "\".forward\"",
        "\"../x\"",
        "\"@evil.example:x\"",
    ];
    for domain in ["provider.example", "in.sub.example", "mapped.example", "rewritten.example", "bad-star.example"] {
        for way in ways {
            assert_eq!(gets(&format!("{way}@{domain}"), &r), ROUTING, "{way}@{domain}");
        }
    }
    table(
        &r,
        &[
            // The operator's own words.
            ("x400/a@provider.example", "anna@local.example"),
            ("report@provider.example", "|program@local.example a%b@local.example"),
            ("victim%evil.example@starred.example", "all@local.example"),
            ("victim%evil.example@box.example", "all/mail@local.example"),
            ("victim%evil.example@fixed.example", "a%b@local.example"),
            // A tag is the sender's.
            ("anna+a%b@provider.example", ROUTING),
            ("anna+tag@provider.example", "anna+tag@local.example"),
            // Unwrapped, it is what it would have been; elsewhere it is foreign before it is anything else.
            ("prvs=0123456789=a%b@provider.example", ROUTING),
            ("a%b@foreign.example", FOREIGN),
            // What people have in their addresses.
            ("o'brien.x_y+z-1=2@provider.example", "o'brien.x_y+z-1=2@provider.example"),
            ("{a}$b&c#d~e^f`g*h?@provider.example", "{a}$b&c#d~e^f`g*h?@provider.example"),
            // Somebody else in the same field still gets it.
            ("a%b@provider.example, boris@provider.example", "boris@provider.example"),
        ],
    );
    let r = Rules { keep_tag: false, ..r };
    table(&r, &[("anna+a%b@provider.example", "anna@local.example")]);
    let text = format!("X-Original-To: a%b@provider.example\n{OUTSIDE}");
    let (_, trail) = resolve(&header(&text), &r);
    assert_eq!(trail.steps()[0].decision.code(), "routing_characters");
    assert!(trail.to_text().contains("routing characters in the local part"), "{}", trail.to_text());
    // A journal report is as much a sender's word, and so are To and Cc.
    let named = [a("a%b@provider.example"), a("\"c@d.example\"@provider.example")];
    assert_eq!(resolve_journal(&named, &header("From: x@y.example\n"), &r).0.reason(), Some(Reason::RoutingCharacters));
    let r = Rules { guess: Guess::On, ..r };
    assert_eq!(who(&format!("{OUTSIDE}To: a%b@provider.example\n"), &r), [ROUTING]);
}
