//! Servers of both protocols that fail before anybody is logged in, that say everything an octet at a time, and that break every connection.

use super::beside::{Bad, hold_up_nobody};
use crate::support::Say;
use crate::support::certificates::Authority;
use std::sync::Arc;
use std::time::Duration;

/// What an operator of a bad server can say about one in few words.
type New = fn(&'static str, &'static str, Vec<(&str, Vec<Say>)>) -> Bad;

const BOTH: [(&str, New); 2] = [("imap", Bad::imap), ("pop3", Bad::pop3)];

/// Collectors' names live as long as the test.
fn id(protocol: &str, case: &str) -> &'static str {
    Box::leak(format!("{protocol}_{}", case.replace([' ', '\'', '-'], "_")).into_boxed_str())
}

/// Each is told with the number of its own page, and hears nothing of a login.
#[test]
fn f16_certificates_that_are_wrong() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut bad = Vec::new();
    for (case, identity, _) in authority.wrong(&other) {
        let identity = Arc::new(identity);
        bad.extend(BOTH.map(|(protocol, new)| new(id(protocol, case), "MG-221", vec![]).with_certificate(Arc::clone(&identity), &authority)));
    }
    hold_up_nobody(bad);
}

/// An octet a second: in the handshake, in the greeting, in an answer, in a message and in its end. A session that gets on so slowly goes on for as
/// long as a slow line may need, beside all others, and what it was about comes in the end, whole and once.
#[test]
fn f26_an_octet_at_a_time() {
    const SECOND: Duration = Duration::from_secs(1);
    let drip = |text: &str| vec![Say::Drip(text.into(), SECOND)];
    let mut bad =
        Vec::from(BOTH.map(|(protocol, new)| new(id(protocol, "handshake"), "MG-212", vec![]).or("MG-221").with_slow_handshake(SECOND / 4)));
    bad.extend([
        Bad::imap("imap_greeting", "MG-212", vec![("", drip("* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ UIDPLUS] so early\r\n"))]),
        Bad::pop3("pop3_greeting", "MG-212", vec![("", drip("+OK you are early today, wait a moment\r\n"))]),
        Bad::imap("imap_select", "session_started", vec![("SELECT", vec![Say::Drip(format!("* OK {}\r\n", "x".repeat(500)), SECOND), Say::AsUsual])]),
        Bad::imap(
            "imap_search",
            "session_started",
            vec![("UID SEARCH", vec![Say::Drip(format!("* OK {}\r\n", "x".repeat(500)), SECOND), Say::AsUsual])],
        ),
        // In the middle of a body, and in the line that ends the answer behind it.
        Bad::imap("imap_literal", "session_started", vec![("UID FETCH", vec![Say::Drip(body(0), SECOND), Say::Text("@ OK done\r\n".into())])])
            .keeps_some(),
        Bad::imap("imap_store", "session_started", vec![("UID STORE", vec![Say::Drip("* OK still working\r\n".repeat(30), SECOND), Say::AsUsual])]),
        Bad::pop3("pop3_stat", "MG-212", vec![("STAT", drip(&format!("+OK {}", "0".repeat(500))))]),
        Bad::pop3("pop3_uidl", "MG-212", vec![("UIDL", drip(&format!("+OK\r\n1 {}", "x".repeat(500))))]),
        Bad::pop3("pop3_body", "MG-212", vec![("RETR", drip(&format!("+OK\r\nSubject: {}", "x".repeat(500))))]),
        Bad::pop3("pop3_last_dot", "MG-212", vec![("RETR", vec![Say::Text("+OK\r\nSubject: x\r\n\r\n".into()), Say::Drip(".".repeat(500), SECOND)])]),
    ]);
    hold_up_nobody(bad.into_iter().map(|bad| if bad.tells("session_started") { bad.told_by("session_started") } else { bad }).collect());
}

/// RST at each step of a session, and in the middle of a body.
#[test]
fn f28_resets_at_each_step() {
    let at = |step: &'static str| vec![(step, vec![Say::Reset])];
    let cut = |step: &'static str, text: &str| vec![(step, vec![Say::Text(text.into()), Say::Reset])];
    hold_up_nobody(vec![
        Bad::imap("imap_greeting", "MG-213", at("")).or("MG-211"),
        Bad::imap("imap_login", "MG-213", at("LOGIN")),
        Bad::imap("imap_select", "MG-213", at("SELECT")),
        Bad::imap("imap_search", "MG-213", at("UID SEARCH")),
        Bad::imap("imap_fetch", "MG-213", at("UID FETCH")).keeps_some(),
        Bad::imap("imap_body", "MG-213", cut("UID FETCH", "* 1 FETCH (UID 1 RFC822.SIZE 900 BODY[] {900}\r\nSubject: letter 0\r\n")).keeps_some(),
        Bad::imap("imap_behind", "MG-213", vec![("UID FETCH", vec![Say::Octets(body(0).into()), Say::Reset])]).keeps_some(),
        Bad::imap("imap_store", "MG-213", at("UID STORE")),
        Bad::imap("imap_expunge", "MG-213", at("UID EXPUNGE")),
        // It may come before the connection is used for the first time.
        Bad::pop3("pop3_greeting", "MG-213", at("")).or("MG-211"),
        Bad::pop3("pop3_user", "MG-213", at("USER")),
        Bad::pop3("pop3_pass", "MG-213", at("PASS")),
        Bad::pop3("pop3_stat", "MG-213", at("STAT")),
        Bad::pop3("pop3_uidl", "MG-213", at("UIDL")),
        Bad::pop3("pop3_retr", "MG-213", at("RETR")).keeps_some(),
        Bad::pop3("pop3_body", "MG-213", cut("RETR", "+OK\r\nSubject: letter 0\r\n")).keeps_some(),
        Bad::pop3("pop3_dele", "MG-213", at("DELE")),
        Bad::pop3("pop3_quit", "MG-213", at("QUIT")),
    ]);
}

/// A letter of the fixture as IMAP sends it.
fn body(n: usize) -> String {
    let letter = String::from_utf8(crate::support::corpus::canonical(&crate::support::corpus::letter(n, "anna@pop.example"))).expect("it is ASCII");
    format!("* 1 FETCH (UID {} RFC822.SIZE {} BODY[] {{{}}}\r\n{letter})\r\n", n + 1, letter.len(), letter.len())
}

/// Programs that yield no token, and servers that take none: each in its way, nobody waits for it, and nothing of a secret is told.
#[test]
fn f48_tokens_that_cannot_be_had() {
    const OFFERS: &str = "* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ UIDPLUS AUTH=XOAUTH2] hi\r\n";
    let by = |id, code, script: &str, answer: Vec<(&str, Vec<Say>)>| {
        let bad = Bad::imap(id, code, [vec![("", Say::text(OFFERS))], answer].concat());
        bad.auth(&format!("{{method: oauth2, allow_plaintext: true, token: {{command: [sh, -c, \"{script}\"], timeout: 2s}}}}"))
    };
    let none = |id, script: &str| by(id, "MG-202", script, vec![]).keeps_some();
    let refuses = |id, code, answer: &str| by(id, code, "echo good-token", vec![("AUTHENTICATE", Say::text(answer))]);
    let challenge = "+ eyJzdGF0dXMiOiI0MDAifQ==\r\n";
    let mut bad = vec![
        none("invalid_grant", "echo invalid_grant >&2; exit 1"),
        none("html", "echo '<html>sign in please</html>'"),
        none("nothing", "true"),
        none("too_much", "head -c 70000 /dev/zero | tr '\\\\0' a"),
        none("no_end", "echo abc; sleep 60"),
        refuses("expired", "MG-203", "@ NO [AUTHENTICATIONFAILED] expired\r\n"),
        refuses("server_503", "MG-204", "@ NO [UNAVAILABLE] the server of tokens is away\r\n"),
        // The session outlives its token: the server ends it, and the next one has a new token.
        by("in_mid_session", "MG-213", "echo good-token", vec![("UID SEARCH", vec![Say::Text("* BYE token expired\r\n".into()), Say::Close])])
            .or("MG-204"),
    ];
    bad.push(by("challenge", "MG-203", "echo good-token", vec![("AUTHENTICATE", Say::text(challenge)), ("", vec![])]).or("MG-241").or("MG-212"));
    hold_up_nobody(bad);
}
