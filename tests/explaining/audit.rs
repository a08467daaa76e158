//! `mailgather audit`: mailboxes shaped like those of the common servers. The proposal is used as it is printed, and then has to find everybody;
//! the mailbox is left as it was.

use crate::support::{CollectorYaml, Dovecot, Mailgather, config};
use mailgather::mail::{Address, Canonical, Domain, HeaderBlock};
use mailgather::resolve::Rules;
use mailgather::resolve::audit::{Audit, Mode, TrustAdvice, audit};
use serde_json::Value;

/// A message of a shape: its number, and the local part that it is for.
type Shape = fn(usize, &str) -> String;

const PEOPLE: [&str; 4] = ["anna", "bob", "carl", "dora"];

fn tail(n: usize, user: &str) -> String {
    format!(
        "Message-ID: <{n}@client.example>\r\nFrom: klient@client.example\r\nTo: {user}@firm.example\r\nSubject: {n}\r\nDate: Mon, 16 Nov 2026 10:00:00 +0300\r\n\r\ntext\r\n"
    )
}

fn postfix(n: usize, user: &str) -> String {
    let received = format!(
        "Received: from client.example (client.example [203.0.113.7])\r\n\tby mx.host.example (Postfix) with ESMTPS id A{n}\r\n\tfor <{user}@firm.example>; Mon, 16 Nov 2026 10:00:00 +0300\r\n"
    );
    format!(
        "Return-Path: <klient@client.example>\r\nX-Original-To: {user}@firm.example\r\nDelivered-To: box@firm.example\r\n{received}{}",
        tail(n, user)
    )
}

fn exim(n: usize, user: &str) -> String {
    format!(
        "Return-path: <klient@client.example>\r\nEnvelope-to: {user}@firm.example\r\nDelivery-date: Mon, 16 Nov 2026 10:00:00 +0300\r\nReceived: from client.example ([203.0.113.7])\r\n\tby mx.host.example with esmtps (TLS1.3) (Exim 4.96)\r\n\t(envelope-from <klient@client.example>)\r\n\tid 1abc{n}; Mon, 16 Nov 2026 10:00:00 +0300\r\n{}",
        tail(n, user)
    )
}

fn qmail(n: usize, user: &str) -> String {
    format!(
        "Return-Path: <klient@client.example>\r\nDelivered-To: firm-box-{user}@firm.example\r\nReceived: (qmail {n} invoked by uid 89); 16 Nov 2026 07:00:00 -0000\r\nReceived: from unknown (HELO client.example) (203.0.113.7)\r\n  by mx.host.example with SMTP; 16 Nov 2026 07:00:00 -0000\r\n{}",
        tail(n, user)
    )
}

fn google(n: usize, user: &str) -> String {
    format!(
        "Delivered-To: box@firm.example\r\nX-Gm-Original-To: {user}@firm.example\r\nReceived: by 2002:a05:6a10:1234:b0:1a2:3b4c:5d6e with SMTP id x{n}; Mon, 16 Nov 2026 10:00:00 +0300\r\nReturn-Path: <klient@client.example>\r\nReceived: from client.example (client.example. [203.0.113.7])\r\n        by mx.google.com with ESMTPS id abc; Mon, 16 Nov 2026 10:00:00 +0300\r\n{}",
        tail(n, user)
    )
}

/// The only hint is the for-clause; Yandex writes it so.
fn yandex(n: usize, user: &str) -> String {
    format!(
        "Received: from mxfront.mail.yandex.net ([127.0.0.1])\r\n\tby mxfront.mail.yandex.net with LMTP id Z{n}\r\n\tfor <{user}@firm.example>; Mon, 16 Nov 2026 10:00:00 +0300\r\nReceived: from client.example (client.example [203.0.113.7])\r\n\tby mxfront.mail.yandex.net (mxfront/Yandex) with ESMTPS id a1\r\n\tfor <{user}@firm.example>; Mon, 16 Nov 2026 10:00:00 +0300\r\nReturn-Path: klient@client.example\r\n{}",
        tail(n, user)
    )
}

/// Only To tells anything.
fn without_hint(n: usize, user: &str) -> String {
    format!(
        "Received: from client.example (client.example [203.0.113.7]) by mx.host.example with ESMTP id {n}; Mon, 16 Nov 2026 10:00:00 +0300\r\n{}",
        tail(n, user)
    )
}

/// A field that nobody knows.
fn odd_field(n: usize, user: &str) -> String {
    format!("X-Hoster-Rcpt: <{user}@firm.example>\r\n{}", without_hint(n, "undisclosed"))
}

fn user(n: usize) -> &'static str {
    PEOPLE[n % PEOPLE.len()]
}

fn put(server: &Dovecot, shape: Shape, count: usize) {
    (0..count).for_each(|n| server.put("box@firm.example", shape(n, user(n)).as_bytes()));
}

fn headers(messages: impl IntoIterator<Item = String>) -> Vec<HeaderBlock> {
    let block = |text: String| {
        let mut octets = Vec::new();
        Canonical::new().push(text.as_bytes(), &mut octets);
        HeaderBlock::parse(octets.into())
    };
    messages.into_iter().map(block).collect()
}

/// As the command makes them for a collector that forwards everything so far.
fn rules(server_host: &str, own: &str) -> Rules {
    let own: Address = own.parse().unwrap();
    Rules { domains: [own.domain().clone()].into(), own: Some(own), server_host: server_host.into(), ..Rules::default() }
}

fn of(shape: Shape, count: usize, rules: &Rules) -> Audit {
    audit(&headers((0..count).map(|n| shape(n, user(n)))), rules)
}

fn candidate<'a>(audit: &'a Audit, name: &str) -> &'a mailgather::resolve::audit::Candidate {
    audit.candidates.iter().find(|one| one.header.eq_ignore_ascii_case(name)).unwrap_or_else(|| panic!("{name}: {}", audit.to_text()))
}

/// Shape, what the proposal is, and a line that it has to have.
const SHAPES: [(&str, Shape, Mode, &str); 7] = [
    ("postfix", postfix, Mode::Auto, "headers: auto   # finds 100 % of the messages"),
    ("exim", exim, Mode::Auto, "headers: auto   # finds 100 % of the messages"),
    ("qmail", qmail, Mode::List, "- {header: Delivered-To, strip_prefix: firm-box-}"),
    ("google", google, Mode::Auto, "headers: auto   # finds 100 % of the messages"),
    ("yandex", yandex, Mode::Auto, "headers: auto   # finds 100 % of the messages"),
    ("odd", odd_field, Mode::List, "- X-Hoster-Rcpt   # finds 100 % of the messages"),
    ("no hint", without_hint, Mode::Guess, "guess: on   # nothing but To and Cc tells anything"),
];

#[test]
fn each_shape_gets_its_proposal() {
    for (name, shape, mode, line) in SHAPES {
        let audit = of(shape, 40, &rules("127.0.0.1", "box@firm.example"));
        assert_eq!(audit.proposal.mode, mode, "{name}: {}", audit.to_text());
        assert!(audit.proposal.yaml.contains(line), "{name}: {}", audit.to_text());
        assert_eq!(audit.trust.advice, TrustAdvice::Keep, "{name}");
    }
    let audit = of(postfix, 40, &rules("127.0.0.1", "box@firm.example"));
    let original = candidate(&audit, "X-Original-To");
    assert_eq!((original.present, original.inside, original.one, original.distinct, original.own), (40, 40, 40, 4, 0));
    let delivered = candidate(&audit, "Delivered-To");
    assert_eq!((delivered.one, delivered.own, delivered.distinct), (0, 40, 0));
    assert_eq!(candidate(&audit, "Received:for").one, 40);
    assert_eq!(audit.candidates[0].header, "X-Original-To");
}

#[test]
fn without_a_hint_guessing_is_offered_and_named_as_what_it_is() {
    let audit = of(without_hint, 40, &rules("127.0.0.1", "box@firm.example"));
    assert_eq!(audit.proposal.mode, Mode::Guess, "{}", audit.to_text());
    assert!(audit.proposal.yaml.contains("guess: on"));
    assert!(audit.proposal.findings.last().unwrap().contains("ask the provider"), "{:?}", audit.proposal.findings);

    let blind = audit_of_blind();
    assert_eq!(blind.proposal.mode, Mode::Nothing, "{}", blind.to_text());
    assert!(!blind.proposal.yaml.contains("guess"));
}

fn audit_of_blind() -> Audit {
    let blind = |n: usize| without_hint(n, "x").replace("x@firm.example", "undisclosed-recipients:;");
    audit(&headers((0..20).map(blind)), &rules("127.0.0.1", "box@firm.example"))
}

#[test]
fn where_automatic_trust_finds_nothing_the_writers_are_proposed() {
    // The host that is collected from has another name than those that take mail in.
    let foreign = of(postfix, 40, &rules("imap.other.example", "box@firm.example"));
    assert_eq!(foreign.trust.trusted, 0);
    assert_eq!(foreign.trust.advice, TrustAdvice::Hosts(vec!["host.example".into()]));
    assert!(foreign.proposal.yaml.contains("trusted_hosts: [host.example]"), "{}", foreign.to_text());
    assert_eq!((foreign.auto_resolved, foreign.proposal.mode), (40, Mode::Auto));

    // Each host has a domain of its own.
    let scattered = |n: usize| postfix(n, user(n)).replace("mx.host.example", &format!("mx.h{n}.example"));
    let scattered = audit(&headers((0..40).map(scattered)), &rules("imap.other.example", "box@firm.example"));
    assert_eq!(scattered.trust.advice, TrustAdvice::Hops(1));
    assert!(scattered.proposal.yaml.contains("trusted_hops: 1") && scattered.auto_resolved == 40, "{}", scattered.to_text());

    let bare = |n: usize| tail(n, user(n));
    let bare = audit(&headers((0..40).map(bare)), &rules("imap.other.example", "box@firm.example"));
    assert_eq!(bare.trust.advice, TrustAdvice::Nothing);
}

#[test]
fn a_forged_header_below_is_seen_and_not_proposed() {
    let forged = |n: usize| {
        let at = "Message-ID:";
        without_hint(n, "undisclosed").replace(at, &format!("X-Original-To: boss@firm.example\r\nEnvelope-To: boss@firm.example\r\n{at}"))
    };
    let audit =
        audit(&headers((0..40).map(forged)), &Rules { domains: ["firm.example".parse().unwrap()].into(), ..rules("127.0.0.1", "box@host.example") });
    let original = candidate(&audit, "X-Original-To");
    assert_eq!((original.present, original.inside, original.one), (40, 0, 0));
    assert!(audit.proposal.findings.iter().any(|line| line.contains("X-Original-To is there in 100 %") && line.contains("not believed")));
    // The only way to use it is named with its danger, and not switched on.
    assert!(audit.proposal.findings.iter().any(|line| line.contains("a sender can write there too")));
    assert!(audit.proposal.yaml.contains("\n    # envelope_below_received: true") && audit.proposal.mode == Mode::Guess, "{}", audit.to_text());
    assert!(!audit.proposal.yaml.contains("boss@"), "{}", audit.to_text());
}

#[test]
fn domains_that_are_not_accepted_yet_are_proposed() {
    // The box is at a provider's domain; mail for firm.example comes in.
    let found = of(google, 40, &rules("127.0.0.1", "box@gmail.com"));
    let domains: Vec<(Domain, usize, bool)> = found.domains.clone();
    assert_eq!(domains, [("firm.example".parse().unwrap(), 40, false)], "{}", found.to_text());
    assert!(found.proposal.yaml.contains("domains: [firm.example]"), "{}", found.proposal.yaml);
    assert!(!found.proposal.yaml.contains("gmail.com"), "a provider's other addresses are no business of ours: {}", found.proposal.yaml);
    assert_eq!(found.auto_resolved, 40);
    // A domain that stands in one message is nobody's.
    let stray = |n: usize| if n == 7 { postfix(n, "x").replace("firm.example", "stray.example") } else { postfix(n, user(n)) };
    let stray = audit(&headers((0..200).map(stray)), &rules("127.0.0.1", "box@firm.example"));
    assert!(!stray.proposal.yaml.contains("stray.example"));
}

#[test]
fn what_finds_nobody_is_counted_by_its_reason_and_named() {
    // 18 of 32 are found; 10 name the mailbox only, 4 tell nothing.
    let shape = |n: usize| match n {
        0..18 => postfix(n, user(n)),
        18..28 => format!("Delivered-To: box@firm.example\r\n{}", without_hint(n, "undisclosed")),
        _ => without_hint(n, "undisclosed"),
    };
    let some = audit(&headers((0..32).map(shape)), &rules("127.0.0.1", "box@firm.example"));
    assert_eq!((some.auto_resolved, some.proposal.mode), (18, Mode::Auto), "{}", some.to_text());
    let findings = some.proposal.findings.join("\n");
    for words in [
        "nobody is found for 10 of 32 messages (31 %): the headers name the collected mailbox only (message 28, 27, 26)",
        "nobody is found for 4 of 32 messages (13 %): no header tells the envelope recipient (message 32, 31, 30)",
        "which finds nobody for 14 of 32 messages",
    ] {
        assert!(findings.contains(words), "{words}\n{findings}");
    }
    assert!(!findings.contains("is enough"), "{findings}");
    let json = some.to_json();
    assert_eq!((json["unfound"][0]["reason"].as_str(), json["unfound"][0]["messages"].as_u64()), (Some("own_address_only"), Some(10)), "{json}");
    // From 95 % on it is enough; the rest is named all the same.
    let nearly = |n: usize| if n == 3 { without_hint(n, "undisclosed") } else { postfix(n, user(n)) };
    let nearly = audit(&headers((0..40).map(nearly)), &rules("127.0.0.1", "box@firm.example"));
    let findings = nearly.proposal.findings.join("\n");
    assert!(findings.ends_with("`headers: auto` is enough") && findings.contains("for 1 of 40 messages (3 %)"), "{findings}");
}

#[test]
fn what_finds_nobody_has_its_uid() {
    let server = Dovecot::start();
    put(&server, postfix, 8);
    (8..12).for_each(|n| server.put("box@firm.example", without_hint(n, "undisclosed").as_bytes()));
    let rules = "{domains: [firm.example], check_local: {file: /dev/null}}";
    let collector = CollectorYaml::imap(&server, "box@firm.example").id("box").set("email", "box@firm.example").auto(rules, "post@firm.example");
    let program = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[collector]));
    let text = program.run_to_end("audit", &["box"]).expect_success().stdout;
    assert!(text.contains("no header tells the envelope recipient (uid 12, 11, 10)"), "{text}");
    assert!(text.contains("# keep what you have under: check_local"), "{text}");
}

#[test]
fn a_rare_foreign_domain_is_mentioned_and_not_accepted() {
    let rare = |n: usize| if n < 2 { postfix(n, "x").replace("firm.example", "stray.example") } else { postfix(n, user(n)) };
    let rare = audit(&headers((0..32).map(rare)), &rules("127.0.0.1", "box@firm.example"));
    let yaml = &rare.proposal.yaml;
    assert!(yaml.contains("    domains: [firm.example]\n"), "{yaml}");
    assert!(yaml.contains("    # not accepted, and rare: add to `domains` what is yours: stray.example (2 of 32 messages)\n"), "{yaml}");
    assert_eq!(rare.auto_resolved, 30);
    // One that is accepted already stays, however rare.
    let known =
        Rules { domains: ["stray.example".parse().unwrap(), "firm.example".parse().unwrap()].into(), ..rules("127.0.0.1", "box@host.example") };
    let rare = |n: usize| if n < 2 { postfix(n, "x").replace("firm.example", "stray.example") } else { postfix(n, user(n)) };
    let yaml = audit(&headers((0..32).map(rare)), &known).proposal.yaml;
    assert!(yaml.contains("domains: [firm.example, stray.example]") && !yaml.contains("not accepted"), "{yaml}");
}

#[test]
fn what_becomes_of_unresolved_mail_is_carried_over_as_it_is() {
    use mailgather::resolve::{Journal, JournalKind, Unresolved};
    let base = || rules("127.0.0.1", "box@firm.example");
    let to: Address = "post@firm.example".parse().unwrap();
    for (unresolved, default_box, wanted) in [
        (Unresolved::Hold, None, "  unresolved: hold\n"),
        (Unresolved::Discard, None, "  unresolved: discard\n"),
        (Unresolved::Leave, None, "  unresolved: leave   # on the server; or name who gets it: `default_box: ADDRESS`\n"),
        (Unresolved::DefaultBox, Some(to.clone()), "  default_box: post@firm.example\n"),
        (Unresolved::Hold, Some(to.clone()), "  default_box: post@firm.example\n  unresolved: hold\n"),
        (Unresolved::Leave, Some(to.clone()), "  default_box: post@firm.example\n  unresolved: leave\n"),
    ] {
        let yaml = of(postfix, 40, &Rules { unresolved, default_box: default_box.clone(), ..base() }).proposal.yaml;
        let beside: String = yaml
            .lines()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   ") && *line != "  auto:")
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(beside, wanted, "{yaml}");
    }
    let journal = Some(Journal { kind: JournalKind::Google, from: to, hosts: Vec::new() });
    let more = Rules { keep_tag: false, max_recipients: 7, journal, mx_of: Some("firm.example".parse().unwrap()), ..base() };
    let yaml = of(postfix, 40, &more).proposal.yaml;
    for line in
        ["    keep_tag: false\n", "    max_recipients: 7\n", "    trusted_hosts: mx\n", "  journal: google\n  journal_from: post@firm.example\n"]
    {
        assert!(yaml.contains(line), "{line}{yaml}");
    }
    let collector = CollectorYaml::at("imap", "box@firm.example", 1).id("box").set("email", "box@firm.example");
    Mailgather::new(&with_proposal(&collector, block_of(&of(postfix, 40, &more).to_text()))).check().expect_success();
}

#[test]
fn copies_tell_an_envelope_header_and_a_provider_that_keeps_one() {
    // Each message to three people, a copy each.
    let to_all = "To: anna@firm.example, bob@firm.example, carl@firm.example";
    let copy =
        |n: usize| postfix(n / 3, PEOPLE[n % 3]).replace(&format!("To: {}@firm.example\r\nSubject", PEOPLE[n % 3]), &format!("{to_all}\r\nSubject"));
    let several = audit(&headers((0..60).map(copy)), &rules("127.0.0.1", "box@firm.example"));
    let original = candidate(&several, "X-Original-To");
    assert_eq!((original.copies, original.differ), (20, 20));
    assert_eq!((several.copies.to_several, several.copies.single), (20, 0));
    assert!(!several.proposal.yaml.contains("guess"), "{}", several.to_text());

    // The same with one copy.
    let single =
        |n: usize| postfix(n, PEOPLE[n % 3]).replace(&format!("To: {}@firm.example\r\nSubject", PEOPLE[n % 3]), &format!("{to_all}\r\nSubject"));
    let single = audit(&headers((0..20).map(single)), &rules("127.0.0.1", "box@firm.example"));
    assert_eq!((single.copies.to_several, single.copies.single), (20, 20));
    assert!(single.copies.is_single() && single.proposal.yaml.contains("guess: union"), "{}", single.to_text());

    // Lists do not count.
    let list = |n: usize| format!("List-Id: <l.example>\r\n{}", without_hint(n, "anna"));
    let list = audit(&headers((0..20).map(list)), &rules("127.0.0.1", "box@firm.example"));
    assert_eq!((list.list_mail, list.copies.guessable, list.proposal.mode), (20, 0, Mode::Nothing));
}

#[test]
fn a_box_for_one_address_is_no_multidrop() {
    let audit = audit(&headers((0..20).map(|n| postfix(n, "anna"))), &rules("127.0.0.1", "box@firm.example"));
    assert_eq!(audit.proposal.mode, Mode::Forward);
    assert!(audit.proposal.yaml.contains("forward_to: anna@firm.example"), "{}", audit.to_text());
}

#[test]
fn hostile_headers_end_and_stay_on_their_lines() {
    let long: String = (0..3000).map(|n| format!("X-Field-{n}: <a{n}@firm.example>\r\n")).collect();
    let nasty =
        "X-Original-To: \u{1b}[31m\"a\u{202e}\"@firm.example\r\nX-\u{7f}Odd: x@firm.example\r\nReceived: by 'x\"y`z\r\n for (((\r\n".to_owned();
    let samples = headers([long.clone() + "\r\n", nasty.clone() + "\r\n", String::new(), "\r\n".into(), long + &nasty]);
    for count in [0, 1, 5] {
        let audit = audit(&samples[..count], &rules("imap.other.example", "box@firm.example"));
        let text = audit.to_text();
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7f}']), "{text:?}");
        assert_eq!(audit.messages, count);
    }
}

/// A configuration with this block of YAML, as it is printed, pasted into the collector.
fn with_proposal(collector: &CollectorYaml, printed: &str) -> String {
    config("{lmtp: '127.0.0.1:1'}", std::slice::from_ref(collector)) + printed
}

/// What an operator copies from a terminal: from the comment to the end.
fn block_of(printed: &str) -> &str {
    &printed[printed.find("    # by mailgather audit").unwrap_or_else(|| panic!("{printed}"))..]
}

#[test]
fn the_proposal_works_as_it_is_printed_and_the_mailbox_stays_as_it_was() {
    for (name, shape, mode, _) in SHAPES {
        let server = Dovecot::start();
        put(&server, shape, 24);
        for protocol in [CollectorYaml::imap as fn(&Dovecot, &str) -> CollectorYaml, CollectorYaml::pop3] {
            let bare = protocol(&server, "box@firm.example").id("box").set("email", "box@firm.example");
            let program = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[bare.clone().forward_to("post@firm.example")]));
            let text = program.run_to_end("audit", &["box"]).expect_success().stdout;
            assert!(text.starts_with("box: 24 messages.") && text.contains("verdict: "), "{text}");
            let json: Value = serde_json::from_str(&program.run_to_end("audit", &["box", "--json"]).expect_success().stdout).unwrap();
            assert_eq!((json["messages"].as_u64(), json["mode"].as_str()), (Some(24), Some(mode.word())), "{name}: {text}");
            let yaml = json["yaml"].as_str().unwrap();
            let indented: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
            assert_eq!(block_of(&text).trim_end(), indented.trim_end());

            let program = Mailgather::new(&with_proposal(&bare, block_of(&text)));
            program.check().expect_success();
            let explained = program.run_to_end("explain", &["box", "--last", "99", "--json"]).expect_success().stdout;
            let mut found: Vec<String> = Vec::new();
            for line in explained.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let to: Vec<&str> = line["envelope"]["recipients"].as_array().unwrap().iter().filter_map(|one| one["address"].as_str()).collect();
                assert_eq!((to.len(), line["outcome"].as_str()), (1, Some("delivered")), "{name}: {line}");
                found.push(to[0].to_owned());
            }
            let mut wanted: Vec<String> = (0..24).map(|n| format!("{}@firm.example", user(n))).collect();
            found.sort();
            wanted.sort();
            assert_eq!(found, wanted, "{name}: {yaml}");
        }
        assert_eq!(server.count("box@firm.example"), 24);
        assert!(server.flags("box@firm.example").iter().all(String::is_empty), "{name}");
    }
}

/// What a proposal may hold, all at once, is a configuration.
#[test]
fn every_line_of_a_proposal_is_known_to_the_configuration() {
    let one_for_all = |n: usize| postfix(n, PEOPLE[n % 3]).replace("To: ", "Cc: dora@firm.example, anna@firm.example\r\nTo: ");
    let rules = Rules {
        map: [("old.example".parse().unwrap(), mailgather::resolve::MapTo::Mailbox("o'neil@firm.example".parse().unwrap()))].into(),
        aliases: vec![mailgather::resolve::Alias {
            local: "sales+*".into(),
            domain: "firm.example".parse().unwrap(),
            to: vec!["раз@почта.рф".parse().unwrap()],
        }],
        subdomains: ["firm.example".parse().unwrap()].into(),
        domains: ["почта.рф".parse().unwrap()].into(),
        default_box: Some("box-2@firm.example".parse().unwrap()),
        exclude: vec![mailgather::resolve::Exclude::Address("x@firm.example".parse().unwrap())],
        ..rules("imap.other.example", "box@firm.example")
    };
    let found = audit(&headers((0..30).map(one_for_all)), &rules);
    let yaml = &found.proposal.yaml;
    for part in [
        "guess: union",
        "trusted_hosts: [host.example]",
        "'.firm.example'",
        "почта.рф",
        "'sales+*@firm.example': [раз@почта.рф]",
        "# keep what you have under: exclude",
    ] {
        assert!(yaml.contains(part), "{part}\n{yaml}");
    }
    let collector = CollectorYaml::at("imap", "box@firm.example", 1).id("box");
    Mailgather::new(&with_proposal(&collector, block_of(&found.to_text()))).check().expect_success();
}

#[test]
fn what_cannot_be_audited_is_said() {
    let server = Dovecot::start();
    let program = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[CollectorYaml::imap(&server, "u").forward_to("a@b.example")]));
    let empty = program.run_to_end("audit", &["u"]).expect_code(66);
    assert!(empty.stderr.contains("the mailbox of u is empty"), "{}", empty.stderr);
    program.run_to_end("audit", &["u", "--last", "0"]).expect_code(64);
    let unknown = program.run_to_end("audit", &["x"]).expect_code(64);
    assert!(unknown.stderr.contains("the configuration has: u"), "{}", unknown.stderr);
}

/// Every command of docs/audit.md does what the page says, against a mailbox like the one it describes.
#[test]
fn the_page_about_audit_shows_commands_that_run() {
    let server = Dovecot::start();
    put(&server, postfix, 24);
    let collector = CollectorYaml::imap(&server, "box@firm.example").id("office").set("email", "box@firm.example");
    let program = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[collector.auto("{domains: [firm.example]}", "post@firm.example")]));
    let page = include_str!("../../docs/audit.md");
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("$ mailgather ")).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let command = command.replace("'550 5.1.1 no such user'", "550·5.1.1·no·such·user");
        let words: Vec<String> = command.split(' ').map(|word| word.replace('·', " ")).collect();
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let done = match arguments[..] {
            ["letter.eml"] => program.explain(postfix(1, "anna").as_bytes(), &[]),
            _ => program.run_to_end(&words[0], &arguments),
        };
        let done = done.expect_success();
        if std::env::var_os("MAILGATHER_TEST_ECHO").is_some() {
            println!("$ mailgather {command}\n{}", done.stdout);
        }
        assert!(!done.stdout.is_empty() || words[0] == "check", "{command}");
    }
    assert!(server.flags("box@firm.example").iter().all(String::is_empty));
}
