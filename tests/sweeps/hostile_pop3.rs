//! POP3 servers that misbehave, row by row of the list of faults.

use super::beside::{Bad, hold_up_nobody};
use crate::support::Say;

/// It says this to a command.
fn says(at: &'static str, text: &str) -> Vec<(&'static str, Vec<Say>)> {
    vec![(at, Say::text(text))]
}

/// It says this to a command, and then floods.
fn floods(at: &'static str, text: &str, piece: &str) -> Vec<(&'static str, Vec<Say>)> {
    vec![(at, vec![Say::Text(text.to_owned()), Say::flood(piece)])]
}

/// Nobody logs in before TLS, and nothing that is said before it makes us wait, or grow.
#[test]
fn f12_f15_stls_that_does_not_come() {
    let refused = |id, answer: &str| Bad::pop3(id, "MG-222", says("STLS", answer)).starttls();
    let greets = |id, code, greeting: &str| Bad::pop3(id, code, says("", greeting)).starttls();
    hold_up_nobody(vec![
        refused("err", "-ERR no\r\n"),
        refused("err_with_code", "-ERR [AUTH] log in first\r\n"),
        refused("question", "+ go on\r\n"),
        refused("behind", "+OK begin\r\n+OK\r\nUSER\r\n.\r\n"),
        refused("half_a_line_behind", "+OK begin\r\n+O"),
        Bad::pop3("no_answer_of_pop3", "MG-241", says("STLS", "* OK begin\r\n")).starttls(),
        Bad::pop3("silence", "MG-212", vec![("STLS", vec![Say::Silence])]).starttls(),
        Bad::pop3("rubbish", "MG-221", vec![("STLS", vec![Say::Text("+OK begin\r\n".into()), Say::Silence])]).or("MG-212").starttls(),
        Bad::pop3("endless", "MG-241", floods("STLS", "+OK ", "x")).or("MG-212").starttls(),
        Bad::pop3("lines", "MG-222", floods("STLS", "", "+OK more\r\n")).starttls(),
        greets("refuses", "MG-204", "-ERR [SYS/TEMP] later\r\n"),
        greets("is_imap", "MG-241", "* OK [CAPABILITY IMAP4rev1] hi\r\n"),
        greets("is_logged_in", "MG-241", "* PREAUTH hi\r\n"),
        // What nobody asked for: read as the answer to STLS, and then there is no TLS.
        greets("answers_ahead", "MG-222", "+OK hi\r\n+OK begin TLS\r\n").or("MG-221").or("MG-212"),
        greets("is_in_already", "MG-222", "+OK hi\r\n-ERR you are logged in\r\n"),
        greets("talks", "MG-222", "+OK hi\r\n+OK\r\nSTLS\r\nUSER\r\n.\r\n").or("MG-221").or("MG-212"),
        Bad::pop3("greets_without_end", "MG-241", floods("", "+OK ", "x")).or("MG-212").starttls(),
        Bad::pop3("greets_and_talks_without_end", "MG-222", floods("", "+OK hi\r\n", "+OK\r\n")).or("MG-212").starttls(),
    ]);
}

/// TLS is there or not, as the server likes, and the password is not for an open channel: nobody logs in. (With no TLS at all such a collector is not
/// taken from the file.)
#[test]
fn f12_opportunistic_tls_that_does_not_come() {
    let by_chance = |id, code, answers: Vec<(&str, Vec<Say>)>| Bad::pop3(id, code, answers).opportunistic();
    let apop = || ("", Say::text("+OK <1896.697170952@dbc.mtview.ca.us> hi\r\n"));
    hold_up_nobody(vec![
        by_chance("not_offered", "MG-222", says("CAPA", "+OK\r\nUSER\r\n.\r\n")),
        by_chance("sasl", "MG-222", says("CAPA", "+OK\r\nSASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\r\n.\r\n")),
        by_chance("capa_refused", "MG-222", says("CAPA", "-ERR what\r\n")),
        by_chance("stls_refused", "MG-222", vec![("CAPA", Say::text("+OK\r\nSTLS\r\n.\r\n")), ("STLS", Say::text("-ERR no\r\n"))]),
        by_chance("stls_behind", "MG-222", vec![("CAPA", Say::text("+OK\r\nSTLS\r\n.\r\n")), ("STLS", Say::text("+OK\r\n+OK\r\n"))]),
        by_chance("apop", "MG-222", vec![apop(), ("CAPA", Say::text("+OK\r\nUSER\r\n.\r\n"))]),
        by_chance("capa_without_end", "MG-222", floods("CAPA", "+OK\r\n", "X-LINE\r\n")).or("MG-241").or("MG-212"),
        by_chance("capa_line", "MG-222", floods("CAPA", "+OK\r\n", "x")).or("MG-241").or("MG-212"),
        by_chance("capa_twice", "MG-222", says("CAPA", "+OK\r\nUSER\r\n.\r\n+OK\r\nSTLS\r\n.\r\n")),
    ]);
}

/// Whatever goes on without an end.
#[test]
fn f25_f32_floods() {
    let listed = |from: usize, to: usize| (from..to).map(|n| format!("{n} id-{n}\r\n")).collect::<String>();
    hold_up_nobody(vec![
        Bad::pop3("greeting", "MG-241", floods("", "+OK ", "x")).or("MG-212"),
        // Asked once more without CAPA.
        Bad::pop3("capa", "", floods("CAPA", "+OK\r\n", "X-Y\r\n")).told_by("session_finished"),
        Bad::pop3("user", "MG-241", floods("USER", "+OK ", "x")),
        Bad::pop3("pass", "MG-241", floods("PASS", "+OK ", "x")),
        Bad::pop3("stat", "MG-241", floods("STAT", "+OK ", "9")),
        Bad::pop3("stat_huge", "finished", says("STAT", "+OK 4294967295 18446744073709551615\r\n")).told_by("session_finished"),
        Bad::pop3("uidl_line", "MG-241", floods("UIDL", "+OK\r\n1 ", "x")),
        Bad::pop3("uidl_same", "MG-241", floods("UIDL", "+OK\r\n", "1 id-1\r\n")),
        Bad::pop3("uidl_numbers", "MG-241", vec![("UIDL", vec![Say::Text("+OK\r\n".into()), Say::Text(listed(1, 1_500_000)), Say::Silence])]),
        Bad::pop3("uidl_bare", "MG-241", floods("UIDL", "+OK\r\n", "\n")),
        Bad::pop3("dele", "MG-241", floods("DELE", "+OK ", "x")),
        Bad::pop3("quit", "MG-241", floods("QUIT", "+OK ", "x")),
    ]);
}

/// Ids of each form: nothing is lost, and what has no name of its own is called by its content.
#[test]
fn f32_ids_of_each_form() {
    let ids =
        |id, one: &str| Bad::pop3(id, "", says("UIDL", &format!("+OK\r\n1 {one}\r\n2 {one}2\r\n3 {one}3\r\n.\r\n"))).told_by("session_finished");
    hold_up_nobody(vec![
        ids("long", &"x".repeat(900)),
        ids("blanks", "a b c"),
        ids("path", "../../../etc/passwd"),
        ids("sql", "'; DROP TABLE messages; --"),
        ids("utf8", "тест"),
        ids("nul", "a\0b"),
        ids("empty", ""),
        ids("megabyte", &"y".repeat(1 << 20)),
        Bad::pop3("none", "", says("UIDL", "-ERR what\r\n")).told_by("session_finished").and("CAPA", "-ERR what\r\n"),
        Bad::pop3("out_of_order", "", says("UIDL", "+OK\r\n3 id-3\r\n1 id-1\r\n2 id-2\r\n.\r\n")).told_by("session_finished"),
        Bad::pop3("refused_today", "MG-242", says("UIDL", "-ERR not now\r\n")),
    ]);
}

#[test]
fn f33_messages_and_listings_that_do_not_agree() {
    let retr = |id, code, answer: &str| Bad::pop3(id, code, says("RETR 2", answer)).keeps_some();
    hold_up_nobody(vec![
        retr("refused", "", "-ERR no such message\r\n").told_by("message_not_fetched"),
        retr("empty", "", "+OK 400 octets\r\n.\r\n").told_by("message_not_fetched"),
        retr("without_a_dot", "MG-212", "+OK 40 octets\r\nSubject: x\r\n\r\nand so on\r\n"),
        retr("rubbish", "MG-241", "((((\r\n"),
        Bad::pop3("closes", "MG-213", vec![("RETR 2", vec![Say::Text("+OK\r\nSubject: x".into()), Say::Close])]).keeps_some(),
        // A hundred megabytes of it come: they are on the disk, and gone when it breaks off.
        Bad::pop3(
            "endless",
            "MG-213",
            vec![("RETR 2", vec![Say::Text("+OK\r\n".into()), Say::Flood(b"0123456789abcde\r\n".repeat(4096), 1500), Say::Close])],
        )
        .keeps_some(),
        Bad::pop3(
            "numbers",
            "",
            says("UIDL", "+OK\r\n-1 a\r\n0 b\r\n1 id-1\r\n2 id-2\r\n3 id-3\r\n4294967296 c\r\n99999999999999999999 d\r\n1 e\r\n.\r\n"),
        )
        .told_by("session_finished"),
        Bad::pop3("sizes", "", says("LIST", "+OK\r\n1 -5\r\n2 18446744073709551616\r\n3 0\r\n9 9\r\n.\r\n"))
            .told_by("session_finished")
            .key("max_message_size", "1MiB"),
        Bad::pop3("sizes_without_end", "MG-241", floods("LIST", "+OK\r\n", "1 5\r\n")).key("max_message_size", "1MiB"),
    ]);
}

/// A login that is refused, and a server that has no time: each is told by its number, a refused password is tried once.
#[test]
fn f34_f51_f52_logins_that_do_not_succeed() {
    let pass = |id, code, answer: &str| Bad::pop3(id, code, says("PASS", answer));
    hold_up_nobody(vec![
        pass("auth", "MG-203", "-ERR [AUTH] wrong\r\n").logs_in_once(),
        pass("plain", "MG-203", "-ERR no\r\n").logs_in_once(),
        pass("perm", "MG-242", "-ERR [SYS/PERM] disabled\r\n"),
        pass("temp", "MG-204", "-ERR [SYS/TEMP] later\r\n"),
        pass("in_use", "MG-204", "-ERR [IN-USE] locked\r\n"),
        pass("delay", "MG-204", "-ERR [LOGIN-DELAY] too soon\r\n"),
        pass("lock", "MG-204", "-ERR Unable to lock maildrop: lock busy!\r\n"),
        pass("question", "MG-241", "+ more\r\n"),
        Bad::pop3("too_many", "MG-204", says("", "-ERR too many connections from your IP\r\n")),
        Bad::pop3("closes", "MG-213", vec![("PASS", vec![Say::Close])]),
        Bad::pop3("rubbish", "MG-241", says("", "HTTP/1.1 400 Bad Request\r\n")),
    ]);
}

/// The end of a session, and silence at each step: nothing comes twice, and it is deleted in the end.
#[test]
fn f27_f30_silence_and_ends_of_sessions() {
    let silent = |id, at| Bad::pop3(id, "MG-212", vec![(at, vec![Say::Silence])]).or("MG-213");
    hold_up_nobody(vec![
        Bad::pop3("quit_refused", "MG-242", says("QUIT", "-ERR some deleted messages not removed\r\n")).told_by("disposal_refused"),
        Bad::pop3("quit_cut", "MG-213", vec![("QUIT", vec![Say::Close])]),
        Bad::pop3("quit_untrue", "", vec![("QUIT", vec![Say::Text("+OK\r\n".into()), Say::Close])]).told_by("session_finished"),
        Bad::pop3("dele_refused", "MG-242", says("DELE", "-ERR no\r\n")).told_by("disposal_refused"),
        silent("greeting", ""),
        // Asked once more without CAPA.
        Bad::pop3("capa", "", vec![("CAPA", vec![Say::Silence])]).told_by("session_finished"),
        silent("user", "USER"),
        silent("pass", "PASS"),
        silent("stat", "STAT"),
        silent("uidl", "UIDL"),
        silent("retr", "RETR").keeps_some(),
        silent("dele", "DELE"),
        silent("quit", "QUIT"),
    ]);
}
