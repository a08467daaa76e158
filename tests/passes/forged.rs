//! Forged headers on a real path: a Postfix plays the provider. It takes a message from outside, puts its own Received, X-Original-To and
//! Delivered-To on top, and delivers into the mailbox that is collected. Whatever the sender wrote below decides nothing.

use crate::support::maildir::{field, subjects};
use crate::support::*;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// The provider: every address of pop.example ends in one mailbox of this Dovecot.
struct Provider {
    mailbox: Dovecot,
    server: Postfix,
}

/// How the provider's Postfix hands over to the mailbox.
#[derive(Clone, Copy, Debug)]
enum HandOver {
    /// virtual(8) writes into the Maildir, with X-Original-To and Delivered-To on top.
    Maildir,
    /// By LMTP: only Received and Dovecot's Delivered-To, which names the mailbox itself.
    Lmtp,
}

impl Provider {
    fn start(hand_over: HandOver) -> Provider {
        let mailbox = Dovecot::start();
        let maildir = mailbox.maildir("source@pop.example");
        maildir.make();
        let transport = match hand_over {
            HandOver::Maildir => "virtual".to_string(),
            HandOver::Lmtp => format!("lmtp:inet:127.0.0.1:{}", mailbox.lmtp()),
        };
        let server = Postfix::builder()
            .extra(&format!(
                "myhostname = mx.pop.example\nvirtual_mailbox_domains = pop.example\nvirtual_mailbox_base = /\nvirtual_transport = {transport}\n\
                 virtual_mailbox_maps = inline:{{ {{source@pop.example = {}/}} }}\n\
                 virtual_alias_maps = inline:{{ {{@pop.example = source@pop.example}} }}\nsmtpd_authorized_xclient_hosts = 127.0.0.1",
                maildir.0.display()
            ))
            .start();
        Provider { mailbox, server }
    }

    /// Hands a message over from outside: Postfix believes the address and the name that XCLIENT tells, as if they were the connection's.
    fn takes(&self, hello: &str, to: &[&str], message: &str) {
        let stream = TcpStream::connect(("127.0.0.1", self.server.port())).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut say = |line: &str, expected: &str| {
            (&stream).write_all(line.as_bytes()).unwrap();
            loop {
                let mut reply = String::new();
                reader.read_line(&mut reply).unwrap_or_else(|error| panic!("{line:?}: {error}\n{}", self.server.log()));
                if reply.as_bytes().get(3) != Some(&b'-') {
                    assert!(reply.starts_with(expected), "{line:?}: {reply}");
                    break;
                }
            }
        };
        say("", "220");
        say("EHLO test\r\n", "250");
        say("XCLIENT ADDR=203.0.113.9 NAME=[UNAVAILABLE]\r\n", "220");
        say(&format!("EHLO {hello}\r\n"), "250");
        say("MAIL FROM:<mallory@evil.example>\r\n", "250");
        for recipient in to {
            say(&format!("RCPT TO:<{recipient}>\r\n"), "250");
        }
        say("DATA\r\n", "354");
        say(&format!("{}\r\n.\r\n", message.trim_end().replace('\n', "\r\n")), "250");
        say("QUIT\r\n", "221");
    }

    fn wait_for(&self, count: usize) {
        eventually("the provider delivers", SOON, || self.mailbox.count("source@pop.example") == count);
    }
}

/// What a sender may write to have the message land with `ceo`, each with a Subject of its own. `mx.pop.example` is the provider's own host.
const FORGERIES: [(&str, &str); 8] = [
    (
        "envelope headers alone",
        "X-Original-To: ceo@pop.example\nDelivered-To: ceo@pop.example\nX-Envelope-To: ceo@pop.example\nEnvelope-To: ceo@pop.example\n",
    ),
    (
        "a hop of the provider from inside",
        "X-Original-To: ceo@pop.example\nX-Envelope-To: ceo@pop.example\nReceived: from localhost (localhost [127.0.0.1])\n\tby mx.pop.example (Postfix) \
         with ESMTP id F00D\n\tfor <ceo@pop.example>; Sat, 21 Nov 2026 10:00:00 +0000\n",
    ),
    (
        "headers above and below hops of the provider",
        "X-Original-To: ceo@pop.example\nReceived: from mx.pop.example (mx.pop.example [10.0.0.1])\n\tby mx.pop.example (Postfix) with ESMTP id 1\n\t\
         for <ceo@pop.example>; Sat, 21 Nov 2026 10:00:00 +0000\nDelivered-To: ceo@pop.example\nX-Envelope-To: ceo@pop.example\n\
         Received: from mx.pop.example (mx.pop.example [192.168.0.1])\n\tby mx.pop.example (Postfix) with LMTP id 2\n\tfor <ceo@pop.example>; \
         Sat, 21 Nov 2026 10:00:00 +0000\nX-Original-To: ceo@pop.example\n",
    ),
    (
        "a local hand-over of the provider",
        "Received: by mx.pop.example (Postfix, from userid 0)\n\tid F00D; Sat, 21 Nov 2026 10:00:00 +0000\nX-Original-To: ceo@pop.example\n",
    ),
    (
        "a hand-over by LMTP",
        "Delivered-To: ceo@pop.example\nReceived: from mx.pop.example\n\tby mx.pop.example with LMTP\n\tid x\n\t(envelope-from <a@b.example>)\n\t\
         for <ceo@pop.example>; Sat, 21 Nov 2026 10:00:00 +0000\n",
    ),
    (
        "folded, spelt and spaced oddly",
        "x-original-to:\n\tceo@pop.example\nX-ORIGINAL-TO :ceo@pop.example\nrEcEiVeD:\n from localhost (localhost [127.0.0.1]) by mx.pop.example \
         for <ceo@pop.example>; Sat, 21 Nov 2026 10:00:00 +0000\nX-Original-To: \"ceo\"@pop.example\n",
    ),
    (
        "a return path and a marker",
        "Return-Path: <ceo@pop.example>\nX-Mailgather-Resolved: X-Original-To\nX-Original-To: ceo@pop.example\nX-Real-To: ceo@pop.example\n",
    ),
    (
        "To and Cc",
        "X-RCPT-To: ceo@pop.example\nX-Forwarded-To: ceo@pop.example\nApparently-To: ceo@pop.example\nCc: ceo@pop.example\nResent-To: ceo@pop.example\n",
    ),
];

fn message((name, forged): (&str, &str)) -> String {
    format!(
        "{forged}From: Mallory <mallory@evil.example>\nTo: ceo@pop.example\nSubject: {name}\nMessage-ID: <{}@evil.example>\n\npay at once\n",
        name.len()
    )
}

#[test]
fn forged_headers_below_the_providers_decide_nothing() {
    for hand_over in [HandOver::Maildir, HandOver::Lmtp] {
        // With names that are found by themselves (an IP address: the topmost hop's), with names that the operator wrote, and with a number. By
        // LMTP the topmost hop is Dovecot's, which has another name than Postfix here: it cannot be found by itself.
        let by_itself = match hand_over {
            HandOver::Maildir => "",
            HandOver::Lmtp => ", trusted_hops: 2",
        };
        for trust in [by_itself, ", trusted_hosts: [pop.example, localhost]"] {
            let provider = Provider::start(hand_over);
            for (at, forgery) in FORGERIES.into_iter().enumerate() {
                // A sender chooses the name in HELO too.
                provider.takes(["evil.example", "mx.pop.example", "localhost"][at % 3], &["anna@pop.example"], &message(forgery));
            }
            provider.wait_for(FORGERIES.len());
            let boxes = Boxes::new();
            let host = provider.mailbox.messages("source@pop.example");
            let trust = trust.replace("localhost", &topmost_host(&host[0]));
            let rules = format!("{{map: {{pop.example: example.org}}{trust}}}");
            let collector =
                CollectorYaml::imap(&provider.mailbox, "source@pop.example").set("email", "source@pop.example").auto(&rules, "post@example.org");
            let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
            let done = program.once(&[]).expect_success();
            let mut names: Vec<String> = FORGERIES.iter().map(|(name, _)| name.to_string()).collect();
            names.sort();
            let context = format!("{hand_over:?}{trust}\n{}", done.stderr);
            assert_eq!(boxes.subjects("ceo@example.org"), Vec::<String>::new(), "{context}");
            assert_eq!(boxes.subjects("anna@example.org"), names, "{context}");
            assert_eq!(boxes.of("post@example.org").count(), 0, "{context}");
            for copy in boxes.of("anna@example.org").messages() {
                // The sender of the envelope is the provider's word too.
                assert_eq!(field(&copy, "Return-Path").as_deref(), Some("<mallory@evil.example>"));
            }
            // `explain` shows what was not believed.
            let explained = program.explain(&host[0], &[]).expect_success().stdout;
            assert!(explained.contains("anna@example.org") && !explained.contains("→ ceo@"), "{explained}");
        }
    }
}

/// The host that wrote the topmost Received.
fn topmost_host(message: &[u8]) -> String {
    let received = field(message, "Received").unwrap();
    let mut words = received.split_whitespace().skip_while(|&word| word != "by");
    words.nth(1).unwrap().to_string()
}

#[test]
fn a_provider_that_says_nothing_leaves_forged_headers_without_effect() {
    // Two recipients in one transaction: Received names nobody, and by LMTP nothing else does either. The forged headers are all that is there.
    let provider = Provider::start(HandOver::Lmtp);
    for forgery in FORGERIES {
        provider.takes("mx.pop.example", &["anna@pop.example", "boris@pop.example"], &message(forgery));
    }
    // The alias makes them one recipient for Postfix.
    provider.wait_for(FORGERIES.len());
    let boxes = Boxes::new();
    let rules = "{map: {pop.example: example.org}}";
    let collector = CollectorYaml::imap(&provider.mailbox, "source@pop.example").set("email", "source@pop.example").auto(rules, "post@example.org");
    let done = Mailgather::new(&config(&boxes.delivery(), &[collector])).once(&[]).expect_success();
    let mut expected: Vec<String> = FORGERIES.iter().map(|(name, _)| name.to_string()).collect();
    expected.sort();
    assert_eq!(subjects(&boxes.of("post@example.org").messages()), expected, "{}", done.stderr);
    assert_eq!((boxes.of("ceo@example.org").count(), boxes.of("anna@example.org").count()), (0, 0));
}

#[test]
fn a_sender_does_not_relay_through_us_and_a_trusting_postfix() {
    // A Postfix as it comes from its package, but for what it is the destination of: it swaps `%` and `!`, and looks into quotes.
    let source = Dovecot::start();
    let server = Postfix::builder()
        .extra(
            "mydestination = example.org\nvirtual_mailbox_domains =\nvirtual_mailbox_maps =\nlocal_recipient_maps =\nlocal_transport = discard\n\
             default_transport = discard\nrelay_transport = discard\nsmtpd_recipient_restrictions =\n\
             smtpd_relay_restrictions = permit_mynetworks, reject",
        )
        .start();
    let ways = ["victim%evil.example", "evil.example!victim", "\"victim@evil.example\"", "\"@evil.example:victim\"", "victim/evil.example"];
    for (at, way) in ways.iter().chain(&["anna"]).enumerate() {
        let header = format!(
            "X-Original-To: {way}@example.org\r\nReceived: from x (rdns.evil.example [203.0.113.7])\r\n\tby mx.pop.example with ESMTP id {at}; \
             Sat, 21 Nov 2026 10:00:00 +0000\r\n"
        );
        source.put(
            "source",
            format!("{header}From: mallory@evil.example\r\nSubject: {at}\r\nMessage-ID: <{at}@evil.example>\r\n\r\ntext\r\n").as_bytes(),
        );
    }
    let collector = CollectorYaml::imap(&source, "source").auto("{domains: [example.org]}", "post@example.org");
    let program = Mailgather::new(&config(&format!("{{smtp: '127.0.0.1:{}'}}", server.port()), &[collector]));
    let done = program.once(&[]).expect_success();
    let discarded = |to: &str| server.log().lines().filter(|line| line.contains("/discard[") && line.contains(&format!("to=<{to}>"))).count();
    eventually("Postfix has them all", SOON, || discarded("post@example.org") == ways.len() && discarded("anna@example.org") == 1);
    assert!(!server.log().contains("victim@evil.example"), "{}\n{}", done.stderr, server.log());
    assert!(done.stderr.contains("routing characters in the local part"), "{}", done.stderr);
}
