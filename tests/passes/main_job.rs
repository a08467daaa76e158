//! The main job end to end: the real program between real servers.

use crate::support::maildir::field;
use crate::support::*;

/// A message as a provider would hand it over: its own Received on top, the envelope recipient beside it.
fn letter(n: usize, envelope_to: &str) -> Vec<u8> {
    format!(
        "Return-Path: <sender{n}@remote.example>\r\nX-Original-To: {envelope_to}\r\nReceived: from out.remote.example (out.remote.example [192.0.2.7])\r\n\tby localhost with ESMTP id {n}\r\n\tfor <{envelope_to}>; Sat, 21 Nov 2026 10:00:00 +0000\r\n\
         From: Sender <sender{n}@remote.example>\r\nTo: list@pop.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}@remote.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nBody {n}\r\n.\r\n..dots\r\n"
    )
    .into_bytes()
}

fn collected_to_lmtp(protocol: fn(&Dovecot, &str) -> CollectorYaml) {
    let server = Dovecot::builder().users(&["anna@example.org", "boris@example.org", "post@example.org"]).start();
    for (n, to) in ["anna@pop.example", "boris@pop.example", "nobody@pop.example", "stranger@elsewhere.example"].iter().enumerate() {
        server.put("source", &letter(n, to));
    }
    let collector = protocol(&server, "source").auto("{map: {pop.example: example.org}}", "post@example.org");
    let program = Mailgather::new(&config(&format!("{{lmtp: '127.0.0.1:{}'}}", server.lmtp()), &[collector]));
    let first = program.once(&[]).expect_success();
    assert!(first.stdout.contains("4 delivered"), "{}\n{}", first.stdout, first.stderr);
    for (user, subjects) in
        [("anna@example.org", vec!["letter 0"]), ("boris@example.org", vec!["letter 1"]), ("post@example.org", vec!["letter 2", "letter 3"])]
    {
        let mut found: Vec<String> = server.messages(user).iter().map(|m| field(m, "Subject").unwrap()).collect();
        found.sort();
        assert_eq!(found, subjects, "{user}\n{}", first.stderr);
    }
    let second = program.once(&[]).expect_success();
    assert!(second.stdout.contains("0 delivered"), "{}", second.stdout);
    assert_eq!(server.count("post@example.org"), 2);
    assert_eq!(server.count("source"), 4, "mail stays on the server");
}

#[test]
fn pop3_to_lmtp() {
    collected_to_lmtp(CollectorYaml::pop3);
}

#[test]
fn imap_to_lmtp() {
    collected_to_lmtp(CollectorYaml::imap);
}
