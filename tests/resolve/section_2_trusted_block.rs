//! Section 2: which fields of a header the provider wrote.

use super::*;

fn trusted(text: &str, trust: &Trust) -> usize {
    TrustedBlock::find(&header(text), trust).hops().len()
}

const CHAIN: &str = "Received: from mx (mx.provider.example [203.0.113.1]) by store.provider.example; d\n\
                     Received: from scan (scan [10.0.0.3]) by mx.provider.example; d\n\
                     Received: from out (out.example [198.51.100.1]) by scan.provider.example; d\n\
                     Received: from mx (mx.provider.example [127.0.0.1]) by mx.provider.example with LMTP; d\n";

#[test]
fn automatic_ends_with_the_hop_from_outside() {
    for (host, hops) in [
        ("imap.provider.example", 3),
        ("provider.example", 3),
        ("IMAP.Provider.Example.", 3),
        ("a.imap.provider.example", 0),
        ("imap.other.example", 0),
        ("notprovider.example", 0),
        // The operator's own server: the topmost counts, and names the one trusted host.
        ("127.0.0.1", 1),
        ("localhost", 1),
        ("dovecot", 1),
        ("[::1]", 1),
    ] {
        assert_eq!(trusted(CHAIN, &Trust::automatic(host)), hops, "of {host}");
    }
}

#[test]
fn an_own_server_is_known_by_the_name_on_top() {
    let own = "Received: from mail.example.org ([127.0.0.1]) by mail.example.org with LMTP id 1; d\n\
               Received: from x (x.example [203.0.113.7]) by mail.example.org (Postfix) with ESMTP; d\n\
               Received: from mail.example.org ([127.0.0.1]) by mail.example.org with LMTP id 1; d\n";
    assert_eq!(trusted(own, &Trust::automatic("127.0.0.1")), 2);
    let other = own.replacen("by mail.example.org (Postfix)", "by other.example.org (Postfix)", 1);
    assert_eq!(trusted(&other, &Trust::automatic("localhost")), 1);
}

#[test]
fn a_public_suffix_is_no_parent() {
    let uk = "Received: from x ([203.0.113.7]) by mx.evil.co.uk; d\n";
    assert_eq!(trusted(uk, &Trust::automatic("victim.co.uk")), 0);
    assert_eq!(trusted(&uk.replace("evil", "victim"), &Trust::automatic("imap.victim.co.uk")), 1);
}

#[test]
fn configured_hosts_and_hops() {
    let hosts = |list: &[&str]| list.iter().map(|host| host.to_string()).collect::<Vec<_>>();
    let with = |hosts: &[String], hops| trusted(CHAIN, &Trust { trusted_hosts: hosts, trusted_hops: hops, ..Trust::automatic("imap.other.example") });
    assert_eq!(with(&hosts(&["provider.example"]), None), 3);
    assert_eq!(with(&hosts(&[".provider.example"]), None), 3);
    assert_eq!(with(&hosts(&["store.provider.example"]), None), 1);
    assert_eq!(with(&hosts(&["mx.provider.example"]), None), 0);
    assert_eq!(with(&hosts(&["mx.provider.example"]), Some(2)), 2);
    assert_eq!(with(&[], Some(0)), 0);
    assert_eq!(with(&[], Some(99)), 4);
}

#[test]
fn inside_means_the_verified_peer_or_a_hand_over() {
    let second = "Received: from y (y.example [198.51.100.1]) by mx.provider.example; d\n";
    for (first, hops) in [
        ("from a (mx.provider.example [203.0.113.1]) by mx.provider.example; d", 2),
        ("from a (unknown [10.1.2.3]) by mx.provider.example; d", 2),
        ("from a (x [IPv6:fd00::1]) by mx.provider.example; d", 2),
        ("from a (x [172.32.0.1]) by mx.provider.example; d", 1),
        ("by mx.provider.example with LMTP; d", 2),
        ("from elsewhere.example by mx.provider.example with LMTP; d", 2),
        ("by mx.provider.example; d", 2),
        // The word behind `from`, and HELO in a comment, are the peer's own.
        ("from mx.provider.example by mx.provider.example; d", 1),
        ("from [127.0.0.1] (unknown [203.0.113.1]) by mx.provider.example; d", 1),
        ("from x (HELO localhost) (203.0.113.1) by mx.provider.example; d", 1),
        ("from mx.provider.example ([203.0.113.1] helo=mx.provider.example) by mx.provider.example; d", 1),
        ("from a (mx.provider.example [203.0.113.1] (may be forged)) by mx.provider.example; d", 1),
        ("from a (x [10.0.0.1]) (y [203.0.113.1]) by mx.provider.example; d", 1),
        // Submissions.
        ("by mx.provider.example (Postfix, from userid 33); d", 1),
        ("from a (localhost [127.0.0.1]) by mx.provider.example with ESMTPSA; d", 1),
    ] {
        let text = format!("Received: {first}\n{second}");
        assert_eq!(trusted(&text, &Trust::automatic("imap.provider.example")), hops, "of {first}");
    }
}

#[test]
fn notes_of_qmail_count_with_the_field_below() {
    let trust = Trust::automatic("mail.provider.example");
    let note = "Received: (qmail 1 invoked by uid 89); d\n";
    assert_eq!(trusted(&format!("{note}{note}{OUTSIDE}{note}"), &trust), 3);
    assert_eq!(trusted(&format!("{note}Received: from x by other.example; d\n"), &trust), 0);
    assert_eq!(trusted(note, &trust), 0);
}

#[test]
fn fields_below_only_if_told() {
    let text = format!("{OUTSIDE}Envelope-To: anna@provider.example\nReceived: from a by b; d\nX-Original-To: boris@provider.example\n");
    assert_eq!(who(&text, &rules()), ["default: untrusted_envelope_header"]);
    assert_eq!(who(&text, &Rules { envelope_below_received: true, ..rules() }), ["anna@provider.example"]);
    let text = "X-Original-To: anna@provider.example\nTo: x@y.example\n";
    assert_eq!(who(text, &Rules { envelope_below_received: true, ..rules() }), ["default: untrusted_envelope_header"]);
}

#[test]
fn s2_hosts_of_mx_records_are_trusted_like_the_server() {
    let by = |host: &str| format!("Received: from x (x.example [203.0.113.7]) by {host}; d\n");
    let mx = ["MX1.Filter.example.".to_owned(), "mx.почта.рф".into(), "mail.victim.co.uk".into(), "10.1.2.3".into(), "localhost".into()];
    for (host, hops) in [
        ("mx.provider.example", 1),
        ("mx1.filter.example", 1),
        ("mx9.filter.example", 1),
        ("relay.xn--80a1acny.xn--p1ai", 1),
        ("mail.victim.co.uk", 1),
        ("mx.evil.co.uk", 0),
        ("10.1.2.3", 0),
        ("localhost", 0),
        ("filter.example.evil.example", 0),
        ("notfilter.example", 0),
    ] {
        let trust = Trust { mx_hosts: &mx, ..Trust::automatic("imap.provider.example") };
        assert_eq!(trusted(&by(host), &trust), hops, "of {host}");
    }
    // What an operator configured stands alone.
    let configured = ["provider.example".to_owned()];
    let trust = Trust { mx_hosts: &mx, trusted_hosts: &configured, ..Trust::automatic("imap.provider.example") };
    assert_eq!(trusted(&by("mx1.filter.example"), &trust), 0);
    // An own server still tells its name by the topmost field, and the MX hosts count below it.
    let chain = format!("Received: by box.home.example with LMTP; d\n{}{}", by("mx1.filter.example"), by("mx1.filter.example"));
    let trust = Trust { mx_hosts: &mx, ..Trust::automatic("127.0.0.1") };
    assert_eq!(trusted(&chain, &trust), 2);
    let r = Rules { mx_hosts: mx.to_vec(), ..rules() };
    assert_eq!(who(&format!("X-Original-To: anna@provider.example\n{}", by("mx1.filter.example")), &r), ["anna@provider.example"]);
}

/// The provider's genuine block, and what a sender put below it: none of it counts, whoever's names stand in it.
#[test]
fn s2_what_a_sender_forged_below_the_block_counts_for_nothing() {
    let genuine_blocks = [
        // Postfix with a hand-over inside, Exim, qmail, a spam filter in between.
        "Received: from mx.provider.example (mx.provider.example [10.0.0.2]) by store.provider.example with LMTP; d\n\
         Received: from evil.example (evil.example [203.0.113.66]) by mx.provider.example with ESMTP; d\n",
        "Received: from evil.example ([203.0.113.66] helo=mx.provider.example) by mx.provider.example with esmtp (Exim 4.96); d\n",
        "Received: (qmail 7 invoked by uid 89); d\n\
         Received: from unknown (HELO mx.provider.example) (203.0.113.66) by mx.provider.example with SMTP; d\n",
        "Received: from localhost (localhost [127.0.0.1]) by mx.provider.example (amavis); d\n\
         Received: from mx.provider.example (unknown [203.0.113.66]) by mx.provider.example with ESMTP; d\n",
        // What the sender says in HELO or in an ident answer is no peer.
        "Received: from [203.0.113.66] (ident=x [127.0.0.1] helo=[10.0.0.1]) by mx.provider.example with esmtp; d\n",
        "Received: from mx.provider.example (mx.provider.example [203.0.113.66] (may be forged)) by mx.provider.example; d\n",
    ];
    let forged_traces = [
        "Received: from inside ([127.0.0.1]) by mx.provider.example with LMTP for <boss@provider.example>; d\n",
        "Received: by store.provider.example with LMTP id 1 for <boss@provider.example>; d\n",
        "Received: by 10.0.0.1 with SMTP for <boss@provider.example>; d\n",
        "Received: (qmail 8 invoked by uid 89); d\nReceived: by mx.provider.example for boss@provider.example; d\n",
        "",
    ];
    let forged_headers = [
        "Delivered-To: boss@provider.example\n",
        "X-Original-To: boss@provider.example\n",
        "X-Envelope-To: boss@provider.example\n",
        "Envelope-To: boss@provider.example\n",
        "X-Gm-Original-To: boss@provider.example\nX-Forwarded-To: boss@provider.example\n",
    ];
    let above = "Delivered-To: anna@provider.example\n";
    for genuine in genuine_blocks {
        let hops = trusted(genuine, &Trust::automatic("imap.provider.example"));
        assert_eq!(hops, genuine.matches("Received: ").count(), "the genuine block of {genuine}");
        for trace in forged_traces {
            for forged in forged_headers {
                for below in [format!("{trace}{forged}"), format!("{forged}{trace}"), format!("{forged}{trace}{forged}")] {
                    assert_eq!(trusted(&format!("{genuine}{below}"), &Trust::automatic("imap.provider.example")), hops, "{genuine}{below}");
                    assert_eq!(who(&format!("{above}{genuine}{below}"), &rules()), ["anna@provider.example"], "{genuine}{below}");
                    assert_eq!(who(&format!("{genuine}{below}"), &rules()), ["default: untrusted_envelope_header"], "{genuine}{below}");
                }
            }
        }
    }
}

/// A server that writes HELO down as it came, and a HELO made of clauses: the whole field is nobody's word, and so is what stands below it.
#[test]
fn s2_a_hello_of_clauses_makes_the_field_suspect() {
    let below = "X-Original-To: boss@provider.example\n\
                 Received: from a (a.b [198.51.100.1]) by mx.provider.example with ESMTP id 2 for <boss@provider.example>; d\n";
    for hello in [
        "x ([127.0.0.1]) by mx.provider.example",
        "x()by()mx.provider.example()with()LMTP(",
        "localhost with LMTP",
        "x by mx.provider.example with LMTP (",
        "x for <boss@provider.example>",
        "x (",
        "x \"",
    ] {
        let field = format!(
            "Received: from {hello} (rdns.evil.example [203.0.113.7])\n\tby mx.provider.example (Postfix) with ESMTP id 1\n\tfor <anna@provider.example>; d\n"
        );
        let text = format!("Delivered-To: anna@provider.example\n{field}{below}");
        assert_eq!(who(&text, &rules()), ["default: untrusted_envelope_header"], "{hello}");
        let trail = resolve(&header(&text), &rules()).1.to_text();
        assert!(trail.contains("the sender may have written into Received 1"), "{trail}");
        // Where the operator counts, the block ends there as it says, but the field still names nobody.
        let counting = Rules { trusted_hops: Some(1), ..rules() };
        assert_eq!(who(&text, &counting), ["anna@provider.example"], "{hello}: by Delivered-To");
        assert_eq!(who(&format!("{field}{below}"), &counting), ["default: untrusted_envelope_header"], "{hello}");
        let header = header(&text);
        let block = TrustedBlock::find(&header, &Trust::from(&counting));
        assert!(block.border().is_some() && client(&block).is_none(), "{hello}: no client for XCLIENT");
        // Below a hop that took it from inside, it ends the block without being in it.
        let inside = format!("Received: from mx.provider.example (mx.provider.example [10.0.0.1]) by store.provider.example with LMTP; d\n{text}");
        assert_eq!(trusted(&inside, &Trust::automatic("imap.provider.example")), 1, "{hello}");
    }
    // The same message without the trick.
    let plain = format!("{OUTSIDE}{below}");
    assert_eq!(trusted(&plain, &Trust::automatic("imap.provider.example")), 1);
}

#[test]
fn s2_a_submission_is_outside() {
    let forged = "Received: by mx.provider.example with LMTP for <boss@provider.example>; d\nX-Original-To: boss@provider.example\n";
    for submission in [
        "Received: from pc (localhost [127.0.0.1]) by mx.provider.example with ESMTPSA; d\n",
        "Received: from pc (pc [10.0.0.9]) (Authenticated sender: intern) by mx.provider.example with ESMTP; d\n",
        "Received: by mx.provider.example (Postfix, from userid 33); d\n",
        "Received: from pc with ESMTPSA (pc [10.0.0.9]) by mx.provider.example with ESMTP; d\n",
    ] {
        assert_eq!(who(&format!("{submission}{forged}"), &rules()), ["default: untrusted_envelope_header"], "of {submission}");
    }
}

#[test]
fn s2_only_trust_any_believes_what_stands_below() {
    let text = format!("{OUTSIDE}X-Mine: anna@provider.example\n");
    let rule = |trust_any| {
        let rule = HeaderRule { header: "X-Mine".into(), index: None, pattern: None, strip_prefix: None, take: Take::All, trust_any };
        Rules { headers: Headers::List(vec![rule]), ..rules() }
    };
    assert_eq!(who(&text, &rule(false)), ["default: untrusted_envelope_header"]);
    assert_eq!(who(&text, &rule(true)), ["anna@provider.example"]);
    let (_, trail) = resolve(&header(&text), &rule(false));
    assert_eq!(trail.steps()[0].decision.code(), "untrusted_envelope_header");
}

/// Providers name their customers' machines under their own domain. A customer's machine is outside, whatever it says.
#[test]
fn s2_a_customer_of_the_provider_is_outside() {
    let forged = "X-Original-To: boss@provider.example\nReceived: from a (a.b [198.51.100.1]) by mx1.{parent} with ESMTP id 2; d\n";
    for (host, parent, peer, hops) in [
        ("imap.provider.example", "provider.example", "mx1.provider.example", 2),
        ("imap.provider.example", "provider.example", "mail-out-3.provider.example", 2),
        ("imap.provider.example", "provider.example", "static.7.113.0.203.clients.provider.example", 1),
        ("imap.provider.example", "provider.example", "vps-1a2b3c4d.vps.provider.example", 1),
        ("imap.provider.example", "provider.example", "c-203-0-113-7.hsd1.ma.provider.example", 1),
        ("imap.provider.example", "provider.example", "pcb007107.dip0.provider.example", 1),
        // The collected host itself, whatever its name is, but not what lies below it.
        ("static.provider.example", "provider.example", "static.provider.example", 2),
        ("provider.example", "provider.example", "dsl-17.provider.example", 1),
        ("provider.example", "provider.example", "mx.provider.example", 2),
        // Built-in providers: their hosts are theirs, whatever they are called.
        ("imap.yandex.ru", "yandex.net", "iva5-abc.qloud-c.yandex.net", 2),
        ("imap.yandex.ru", "yandex.net", "mail.cloud.yandex.net", 2),
        ("imap.gmail.com", "google.com", "mail-sor-f41.google.com", 2),
    ] {
        let text = format!(
            "Received: from vps ({peer} [203.0.113.7]) by mx7.{parent} with ESMTP id 1 for <info@provider.example>; d\n{}",
            forged.replace("{parent}", parent)
        );
        let theirs = hosts_of_provider(host);
        assert_eq!(trusted(&text, &Trust { provider_hosts: &theirs, ..Trust::automatic(host) }), hops, "{peer} at {host}");
        // What the operator wrote is the operator's word.
        let configured = [parent.to_owned()];
        assert_eq!(trusted(&text, &Trust { trusted_hosts: &configured, ..Trust::automatic(host) }), 2, "{peer} configured");
    }
    // Nobody but the configuration knows that these two belong together.
    let google = "Received: from a (a.b [203.0.113.7]) by mx.google.com with ESMTPS id 1; d\n";
    assert_eq!(trusted(google, &Trust::automatic("imap.gmail.com")), 0);
    assert_eq!(trusted(google, &Trust { provider_hosts: &hosts_of_provider("imap.gmail.com"), ..Trust::automatic("imap.gmail.com") }), 1);
    // An MX host itself counts, its neighbours under the filter service's domain like those of the provider.
    let mx = ["cloud.filter.example".to_owned()];
    for (peer, hops) in [("cloud.filter.example", 2), ("a.cloud.filter.example", 2), ("static.filter.example", 1), ("mx2.filter.example", 2)] {
        let text = format!("Received: from x ({peer} [203.0.113.7]) by mx.provider.example with ESMTP id 1; d\n{OUTSIDE}");
        assert_eq!(trusted(&text, &Trust { mx_hosts: &mx, ..Trust::automatic("imap.provider.example") }), hops, "{peer}");
    }
    // A name that was learnt from the topmost field.
    let text = |peer: &str| {
        format!(
            "Received: from x ({peer} [203.0.113.7]) by mail.home.example with ESMTP id 1; d\nReceived: from x (x.example [203.0.113.7]) by mail.home.example with ESMTP id 1; d\n"
        )
    };
    for (peer, hops) in [("mail.home.example", 2), ("a.mail.home.example", 2), ("dsl1.mail.home.example", 1), ("x.home.example", 1)] {
        assert_eq!(trusted(&text(peer), &Trust::automatic("127.0.0.1")), hops, "{peer}");
    }
}
