//! IMAP servers that misbehave, row by row of the list of faults.

use super::beside::{Bad, hold_up_nobody};
use crate::support::Say;
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, compress, create_comp_flags_from_zip_params};

const OFFERS: &str = "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN LOGIN-REFERRALS] hi\r\n";

/// It says this to a command.
fn says(at: &'static str, text: &str) -> Vec<(&'static str, Vec<Say>)> {
    vec![(at, Say::text(text))]
}

/// It says this to a command, and then floods.
fn floods(at: &'static str, text: &str, piece: &str) -> Vec<(&'static str, Vec<Say>)> {
    vec![(at, vec![Say::Text(text.to_owned()), Say::flood(piece)])]
}

/// A line of some length, which is read as fast as such a line can be: an unoptimised program takes half a minute for a flood of short ones.
fn long(start: &str, word: &str, end: &str) -> String {
    format!("{start}{}{end}\r\n", word.repeat(30_000 / word.len()))
}

/// A greeting, and an answer to STARTTLS.
fn starttls(greeting: &str, answer: Vec<Say>) -> Vec<(&'static str, Vec<Say>)> {
    vec![("", Say::text(greeting)), ("CAPABILITY", Say::text("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n@ OK done\r\n")), ("STARTTLS", answer)]
}

/// Nobody logs in before TLS, and nothing that is said before it makes us wait, or grow.
#[test]
fn f10_f15_starttls_that_does_not_come() {
    let refused = |id, answer: &str| Bad::imap(id, "MG-222", starttls(OFFERS, Say::text(answer))).starttls();
    let greets = |id, code, greeting: &str| Bad::imap(id, code, starttls(greeting, vec![])).starttls();
    let state = "* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n* 9 EXISTS\r\n* LIST () \"/\" x\r\n* SEARCH 1 2\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n\
        * FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 666] x\r\n* PREAUTH in\r\n";
    hold_up_nobody(vec![
        greets("absent", "MG-222", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"),
        greets("absent_when_asked", "MG-222", "* OK hi\r\n"),
        greets("preauth", "MG-222", "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n"),
        greets("bye", "MG-213", "* BYE not you\r\n"),
        greets("no_imap", "MG-241", "+OK POP3 ready\r\n"),
        refused("no", "@ NO no\r\n"),
        refused("bad", "@ BAD what\r\n"),
        refused("question", "+ go on\r\n"),
        refused("referral", "@ NO [REFERRAL imap://evil.example/] moved\r\n"),
        refused("state_and_no", &format!("{state}@ NO no\r\n")),
        // Injected behind the OK: it would be read as if TLS had covered it.
        refused("behind", "@ OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
        refused("preauth_behind", "@ OK begin\r\n* PREAUTH in\r\n"),
        refused("half_a_line_behind", "@ OK begin\r\n* CAPA"),
        // State before the OK, and then no TLS.
        Bad::imap("state_and_rubbish", "MG-221", starttls(OFFERS, vec![Say::Text(format!("{state}@ OK begin\r\n")), Say::Silence]))
            .or("MG-212")
            .starttls(),
        Bad::imap("silence", "MG-212", starttls(OFFERS, vec![Say::Silence])).starttls(),
        Bad::imap("exists_before_tls", "MG-241", starttls(OFFERS, vec![Say::flood("* 1 EXISTS\r\n")])).or("MG-212").starttls(),
        Bad::imap("endless_before_tls", "MG-241", starttls(OFFERS, vec![Say::flood("x")])).or("MG-212").starttls(),
        Bad::imap("endless_greeting", "MG-241", vec![("", vec![Say::Text("* OK ".into()), Say::flood("x")])]).or("MG-212").starttls(),
        Bad::imap("capabilities", "MG-241", vec![("", vec![Say::Text("* OK [CAPABILITY".into()), Say::flood(" AUTH=X")])]).or("MG-212").starttls(),
    ]);
}

#[test]
fn f17_f19_uids_that_do_not_last() {
    let selected = |codes: &str| format!("* 3 EXISTS\r\n{codes}@ OK [READ-WRITE] done\r\n");
    let changes = |at| vec![(at, vec![Say::Text("* OK [UIDVALIDITY 8] rebuilt\r\n".into()), Say::AsUsual])];
    hold_up_nobody(vec![
        Bad::imap("no_uidvalidity", "MG-241", says("SELECT", &selected(""))),
        Bad::imap("uidvalidity_0", "MG-241", says("SELECT", &selected("* OK [UIDVALIDITY 0] x\r\n"))),
        Bad::imap("not_sticky", "MG-241", says("SELECT", &selected("* OK [UIDVALIDITY 7] x\r\n* NO [UIDNOTSTICKY] x\r\n"))),
        Bad::imap("changes_in_search", "MG-241", changes("UID SEARCH")),
        Bad::imap("changes_in_fetch", "MG-241", changes("UID FETCH")),
        // Everything has arrived, and nothing is deleted by a number that means something else by now.
        Bad::imap("changes_in_store", "MG-241", changes("UID STORE")),
        Bad::imap("back", "", says("SELECT", &selected("* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 1] x\r\n"))).told_by("session_finished"),
    ]);
}

/// Another client, or somebody who plays one.
#[test]
fn f20_f22_mail_that_vanishes_and_literals_that_are_cut() {
    let head = "* 1 FETCH (UID 1 BODY[] {400}\r\nFrom: a";
    hold_up_nobody(vec![
        Bad::imap("expunged", "", says("UID FETCH", "* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n@ OK\r\n"))
            .told_by("message_not_fetched")
            .keeps_some(),
        Bad::imap("expungeissued", "", says("UID FETCH", "@ NO [EXPUNGEISSUED] gone\r\n")).told_by("message_not_fetched").keeps_some(),
        Bad::imap("expunge_storm", "MG-241", floods("UID FETCH", "", "* 1 EXPUNGE\r\n")),
        Bad::imap("cut_at_once", "MG-213", vec![("UID FETCH", vec![Say::Text("* 1 FETCH (UID 1 BODY[] {400}\r\n".into()), Say::Close])]).keeps_some(),
        Bad::imap("cut_inside", "MG-213", vec![("UID FETCH", vec![Say::Text(head.into()), Say::Close])]).keeps_some(),
        Bad::imap("cut_behind", "MG-213", vec![("UID FETCH", vec![Say::Text("* 1 FETCH (UID 1 BODY[] {3}\r\nabc".into()), Say::Close])]).keeps_some(),
        Bad::imap("stopped_inside", "MG-212", vec![("UID FETCH", vec![Say::Text(head.into()), Say::Silence])]).keeps_some(),
    ]);
}

#[test]
fn f23_f24_literals_of_odd_sizes() {
    let literal = |size: &str| format!("* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[] {{{size}}}\r\nabc)\r\n@ OK\r\n");
    let announced = |id, size: &str| Bad::imap(id, "MG-241", says("UID FETCH", &literal(size))).or("MG-212").keeps_some();
    let body = vec![Say::Text("* 1 FETCH (UID 1 BODY[] {2000000000}\r\n".into()), Say::Flood(b"0123456789abcde\r\n".repeat(4096), 1500), Say::Close];
    hold_up_nobody(vec![
        announced("u32", "4294967295"),
        announced("i64", "9223372036854775807"),
        announced("beyond_u64", "18446744073709551616"),
        announced("negative", "-1"),
        announced("letters", "1x"),
        announced("nothing", ""),
        announced("too_short", "2"),
        announced("too_long", "5"),
        announced("never_there", "2000000000"),
        // A hundred megabytes of it come: they are on the disk, and gone when it breaks off.
        Bad::imap("endless_body", "MG-213", vec![("UID FETCH", body)]).keeps_some(),
        Bad::imap("literal_in_select", "MG-241", floods("SELECT", "* OK {4000000000}\r\n", "x")).or("MG-212"),
        Bad::imap("literal_in_list", "MG-241", floods("LIST", "* LIST () \"/\" {4000000000}\r\n", "x")).or("MG-212").key("folders", "['*']"),
    ]);
}

/// Whatever goes on without an end.
#[test]
fn f25_floods_in_the_listing() {
    let id: String = (0..100_000).map(|n| format!("\"k{n}\" \"v\" ")).collect();
    let odd: String = (0..3_000_000).map(|n| format!(" {}", n * 2 + 1)).collect();
    hold_up_nobody(vec![
        Bad::imap("line", "MG-241", floods("UID SEARCH", "", "x")),
        Bad::imap("greeting", "MG-241", floods("", "* OK ", "x")).or("MG-212"),
        Bad::imap("parentheses", "MG-241", floods("UID SEARCH", "* X ", "(")),
        Bad::imap("parameters", "MG-241", says("SELECT", &format!("* ID ({id})\r\n"))),
        Bad::imap("response_code", "MG-241", floods("SELECT", "* OK [X", "y")),
        Bad::imap("exists", "MG-241", floods("SELECT", "", "* 4294967295 EXISTS\r\n")),
        Bad::imap("numbers", "MG-241", says("UID SEARCH", &format!("* SEARCH{odd}\r\n@ OK done\r\n"))),
        Bad::imap("numbers_without_end", "MG-241", floods("UID SEARCH", "* SEARCH", " 1 3 5 7 9 4294967295")).or("MG-212"),
        Bad::imap("results_without_end", "MG-241", floods("UID SEARCH", "", &long("* ESEARCH (\"", "x", "\")"))),
        Bad::imap("everything", "MG-241", says("UID SEARCH", "* ESEARCH UID ALL 1:4294967295\r\n@ OK\r\n")),
        Bad::imap("fetched", "MG-241", floods("UID SEARCH", "", &long("* 1 FETCH (UID 1 FLAGS (\\Deleted) X-Y \"", "y", "\")"))),
        Bad::imap("alerts", "MG-241", floods("UID SEARCH", "", &long("* OK [ALERT] your mailbox", " is on fire", ""))),
        Bad::imap("unknown", "MG-241", floods("UID SEARCH", "", &long("* XYZZY", " 1 2 3", ""))),
    ]);
}

#[test]
fn f25_floods_elsewhere() {
    let unasked = format!("* 1 FETCH (UID 99 BODY[] {{65536}}\r\n{})\r\n", "y".repeat(65_536));
    hold_up_nobody(vec![
        Bad::imap("bodies", "MG-241", floods("UID FETCH", "", &unasked)),
        Bad::imap("deep", "MG-241", says("UID FETCH", &("* 1 FETCH (".to_owned() + &"(".repeat(60_000) + "\r\n@ BAD deep\r\n"))),
        Bad::imap("flags", "MG-241", floods("UID FETCH", "", &long("* 1 FETCH (UID 1 FLAGS (\\Deleted) X-Y \"", "y", "\")"))),
        Bad::imap("store", "MG-241", floods("UID STORE", "", &long("* 1 FETCH (UID 1 FLAGS (\\Deleted) X-Y \"", "y", "\")"))),
        Bad::imap("challenge", "MG-241", floods("LOGIN", "+ ", "x")),
        Bad::imap("login", "MG-241", floods("LOGIN", "", &long("* OK", " not yet", ""))),
        Bad::imap("capability", "MG-241", floods("LOGIN", "* CAPABILITY IMAP4rev1", " X-Y")),
    ]);
}

/// Silence, at each step: the two that are well do not wait for it.
#[test]
fn f27_a_black_hole_at_each_step() {
    let silent = |id, at| Bad::imap(id, "MG-212", vec![(at, vec![Say::Silence])]);
    hold_up_nobody(vec![
        silent("greeting", ""),
        silent("login", "LOGIN"),
        silent("select", "SELECT"),
        silent("search", "UID SEARCH"),
        silent("fetch", "UID FETCH").keeps_some(),
        silent("store", "UID STORE"),
        silent("expunge", "UID EXPUNGE"),
    ]);
}

/// A login that is refused, one that is asked for too often, and a server that has no time: each is told by its number, a refused password is tried once.
#[test]
fn f49_f51_f52_logins_that_do_not_succeed() {
    let login = |id, code, answer: &str| Bad::imap(id, code, says("LOGIN", answer));
    let scram = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=SCRAM-SHA-256] hi\r\n";
    let preauth = "* PREAUTH [CAPABILITY IMAP4rev1] somebody is logged in\r\n";
    hold_up_nobody(vec![
        login("wrong", "MG-203", "@ NO [AUTHENTICATIONFAILED] no\r\n").logs_in_once(),
        login("expired", "MG-203", "@ NO [EXPIRED] no\r\n").logs_in_once(),
        login("plain_no", "MG-203", "@ NO no\r\n").logs_in_once(),
        login("unavailable", "MG-204", "@ NO [UNAVAILABLE] later\r\n"),
        login("limit", "MG-204", "@ NO [LIMIT] Maximum number of connections from user+IP exceeded\r\n"),
        login("not_connected", "MG-204", "@ NO User is authenticated but not connected.\r\n"),
        login("too_many", "MG-204", "* BYE Too many connections from your IP\r\n"),
        Bad::imap("too_many_at_once", "MG-204", says("", "* BYE Too many connections\r\n")),
        Bad::imap("logged_in", "MG-203", says("", preauth)),
        // It asks for more where there is nothing more to say, for ever.
        Bad::imap("asks", "MG-203", says("LOGIN", "+ x\r\n")).or("MG-241").or("MG-212"),
        // Neither the other's proof nor any work without an end.
        Bad::imap("scram", "MG-203", vec![("", Say::text(scram)), ("AUTHENTICATE", Say::text("+ cj14LHM9eCxpPTEwMDAwMDAwMDA=\r\n"))])
            .auth("{method: auto, allow_plaintext: true}")
            .or("MG-241")
            .or("MG-212"),
        Bad::imap("no_token", "MG-202", says("", "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] hi\r\n"))
            .auth("{method: oauth2, allow_plaintext: true, token: {command: [cat, /dev/zero]}}")
            .keeps_some(),
    ]);
}

/// Bombs: a few hundred kilobytes that would be hundreds of megabytes.
#[test]
fn f69_what_inflates_without_an_end() {
    let packed = |octets: &[u8]| {
        let mut state = CompressorOxide::new(create_comp_flags_from_zip_params(9, -15, 0));
        let mut out = vec![0; octets.len() / 100];
        let (_, used, made) = compress(&mut state, octets, &mut out, TDEFLFlush::Sync);
        assert_eq!(used, octets.len());
        out.truncate(made);
        out
    };
    let offers = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n";
    let bomb = |id, octets: Vec<u8>| {
        let in_it = "* CAPABILITY IMAP4rev1 UIDPLUS COMPRESS=DEFLATE\r\n@ OK in\r\n";
        let active = vec![Say::Text("@ OK DEFLATE active\r\n".into()), Say::Octets(octets), Say::Silence];
        let answers = vec![("", Say::text(offers)), ("AUTHENTICATE", Say::text(in_it)), ("COMPRESS", active)];
        Bad::imap(id, "MG-241", answers).key("compress", "true")
    };
    hold_up_nobody(vec![
        bomb("blanks", packed(&vec![b' '; 65 << 20])),
        bomb("lines", packed(&format!("* OK {}\r\n", "x".repeat(60_000)).repeat(1200).into_bytes())),
        bomb("garbage", b"\xff\xff\xff".to_vec()),
    ]);
}

/// Waiting for mail: whatever is said in IDLE, the mail that is there was collected before, and the interval's poll goes on.
#[test]
fn f70_servers_that_are_waited_at() {
    let offers = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN UIDPLUS IDLE] hi\r\n";
    let in_it = "* CAPABILITY IMAP4rev1 SASL-IR LITERAL+ UIDPLUS IDLE\r\n@ OK in\r\n";
    let idling = |id, idle: Vec<Say>, done: Vec<Say>| {
        let answers = vec![("", Say::text(offers)), ("AUTHENTICATE", Say::text(in_it)), ("IDLE", idle), ("DONE", done)];
        Bad::imap(id, "", answers).key("idle", "'on'").told_by("idle_dropped")
    };
    let begins = |more: Vec<Say>| [vec![Say::Text("+ idling\r\n".into())], more].concat();
    hold_up_nobody(vec![
        idling("still_here", begins(vec![Say::flood("* OK Still here\r\n")]), vec![]),
        idling("line", begins(vec![Say::flood("x")]), vec![]),
        idling("refuses", Say::text("@ NO not now\r\n"), vec![]),
        idling("hangs_up", begins(vec![Say::Close]), vec![]),
        idling("bye", begins(Say::text("* BYE enough\r\n")), vec![]),
        // News without an end: it wakes passes, and each finds nothing. They are fewer and fewer.
        idling("exists", begins(vec![Say::flood("* 9 EXISTS\r\n")]), vec![Say::Silence]).told_by("session_finished"),
    ]);
}

/// Folder names: text, and never anything else.
#[test]
fn f71_lists_of_folders() {
    let all = |bad: Bad| bad.key("folders", "['*']");
    let hostile = "* LIST () \"/\" \"../../etc\"\r\n* LIST () \"/\" \"`id`; $(id) '--\"\r\n* LIST () \"/\" {3}\r\na\0b\r\n* LIST () \"/\" \"a&b\"\r\n\
        * LIST () \"/\" INBOX\r\n@ OK done\r\n";
    let hostile = vec![("LIST", Say::text(hostile)), ("SELECT \"", Say::text("@ NO [NONEXISTENT] no\r\n"))];
    let many: String = (0..200_000).map(|n| format!("* LIST () \"/\" f{n}\r\n")).collect();
    hold_up_nobody(vec![
        all(Bad::imap("hostile", "", hostile).told_by("folders_left_out")),
        all(Bad::imap("endless", "MG-241", floods("LIST", "", &long("* LIST () \"/\" \"", "y", "\"")))),
        all(Bad::imap("endless_name", "MG-241", floods("LIST", "* LIST () \"/\" \"", "y"))),
        all(Bad::imap("refused", "MG-242", says("LIST", "@ NO no\r\n"))),
        Bad::imap("many", "", says("LIST", &(many + "* LIST () \"/\" INBOX\r\n@ OK done\r\n")))
            .told_by("folders_left_out")
            .key("folders", "['\\Junk', INBOX]"),
    ]);
}
