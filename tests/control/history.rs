//! `mailgather history`, `GET /v1/history`, `GET /v1/events`: what became of messages.

use crate::kit::{imap, letter, request, running, socket};
use crate::support::process::Signal;
use crate::support::*;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn rows(program: &Mailgather, more: &[&str]) -> Vec<Value> {
    let arguments: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
    let done = program.run_to_end("history", &arguments).expect_success();
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn of<'r>(rows: &'r [Value], message_id: &str) -> &'r Value {
    rows.iter().find(|row| row["message_id"] == message_id).unwrap_or_else(|| panic!("no {message_id} in {rows:?}"))
}

fn written(from: &str, id: &str, more: &str) -> Vec<u8> {
    let received = "Received: from a by mx; Sun, 22 Nov 2026 01:02:03 +0000";
    format!("{more}{received}\r\nFrom: {from}\r\nSubject: s\r\nMessage-ID: <{id}>\r\n\r\nBody\r\n").into_bytes()
}

/// Each way in which a message can end has its row: by `once`, read without a daemon, and by one.
#[test]
fn each_end_of_a_message_has_its_row() {
    let (server, sink) = (
        Dovecot::start(),
        Sink::lmtp_builder().on_text("RCPT", "nobody@", "550 5.1.1 no such user").on_text("RCPT", "later@", "450 4.2.1 later").start(),
    );
    let auto = imap(&server, "box").auto("{map: {pop.example: example.org}}", "postmaster@example.org");
    let auto = auto.set("max_message_size", "20KiB").set("dedupe_window", "7d");
    let program = Mailgather::new(&config(&sink.delivery(), &[auto]));
    let quiet = program.run_to_end("history", &[]).expect_success();
    assert!(quiet.stdout.is_empty() && quiet.stderr.contains("no such message is in the history"), "{quiet:?}");
    let to = |address: &str| format!("Delivered-To: {address}\r\n");
    for message in [
        written("Клиент <klient@remote.example>", "good@x", &to("раз@pop.example")),
        written("a@remote.example", "nobody@x", ""),
        written("a@remote.example", "refused@x", &to("nobody@pop.example")),
        written("a@remote.example", "later@x", &to("later@pop.example")),
        [written("a@remote.example", "large@x", &to("b@pop.example")), "x".repeat(70).into_bytes().repeat(400)].concat(),
        written("\"=cmd|'/c calc'!A1\" <f@remote.example>", "=formula@x", &to("b@pop.example")),
    ] {
        server.put("box", &message);
    }
    program.once(&[]).expect_code(75);
    let file = program.state_dir().join("history.db");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let all = rows(&program, &[]);
    assert_eq!(all.len(), 6, "{all:?}");
    let good = of(&all, "good@x");
    assert_eq!((&good["result"], &good["collector"], &good["folder"]), (&"delivered".into(), &"box".into(), &"INBOX".into()), "{good}");
    assert_eq!(good["recipients"][0]["to"], "раз@example.org", "{good}");
    assert_eq!((&good["recipients"][0]["original"], &good["recipients"][0]["result"]), (&"раз@pop.example".into(), &"delivered".into()), "{good}");
    assert!(good["reply"].as_str().unwrap().starts_with("250") && good["by"].as_str().unwrap().contains("Delivered-To"), "{good}");
    assert!(good["from"].as_str().unwrap().contains("Клиент") && good["octets"].as_u64().unwrap() > 100, "{good}");
    assert_eq!(good["arrived"], "2026-11-22T01:02:03Z");
    assert!(good["trace_id"].as_str().is_some_and(|id| id.len() == 32) && good["mailbox"].as_str().unwrap().starts_with("imap://box@"), "{good}");
    for (id, result, why) in [
        ("nobody@x", "delivered", Value::from("unresolved")),
        ("refused@x", "delivered", "refused".into()),
        ("later@x", "deferred", Value::Null),
        ("=formula@x", "delivered", Value::Null),
    ] {
        let row = of(&all, id);
        assert_eq!((&row["result"], &row["why"]), (&result.into(), &why), "{row}");
    }
    assert_eq!(of(&all, "refused@x")["recipients"].as_array().unwrap().len(), 2, "the one who was refused, and the default box");
    assert!(of(&all, "later@x")["reason"].as_str().unwrap().contains("450"), "{all:?}");
    // One that was never fetched has only a name at its source.
    let large = all.iter().find(|row| row["result"] == "skipped").unwrap();
    assert_eq!((&large["why"], &large["message_id"]), (&"too_large".into(), &Value::Null), "{large}");
    assert!(large["octets"].as_u64().unwrap() > 20_000);
    // Searched for by what one knows.
    for (asked, found) in [
        (&["--recipient", "РАЗ@pop"][..], &["good@x"][..]),
        (&["--recipient", "nobody@"], &["refused@x"]),
        (&["--from", "клиент"], &["good@x"]),
        (&["--message-id", "<later@x>"], &["later@x"]),
        (&["--result", "deferred"], &["later@x"]),
        (&["--result", "unresolved"], &["nobody@x"]),
        (&["--result", "held"], &[]),
        (&["nobody"], &[]),
        (&["box", "--since", "1h", "--message-id", "good@x"], &["good@x"]),
        (&["--until", "2026-01-01"], &[]),
        (&["--since", "1h", "--result", "refused"], &["refused@x"]),
    ] {
        let ids: Vec<String> = rows(&program, asked).iter().map(|row| row["message_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, found, "{asked:?}");
    }
    assert_eq!(rows(&program, &["--limit", "2"]).len(), 2);
    let table = program.run_to_end("history", &["--limit", "3"]).expect_success();
    assert!(table.stdout.starts_with("WHEN ") && table.stdout.lines().count() == 4, "{}", table.stdout);
    let csv = program.run_to_end("history", &["--export", "csv"]).expect_success().stdout;
    assert!(csv.starts_with("number,at,collector,") && csv.lines().count() == 7 && csv.matches("\r\n").count() == 7, "{csv}");
    assert!(csv.contains(",'=formula@x,"), "what came in a message is no formula: {csv}");
    for (wrong, said) in [
        (&["--result", "lost"][..], "it is one of delivered"),
        (&["--since", "yesterday"], "neither a time ago"),
        (&["--limit", "0"], "0"),
        (&["--json", "--export", "csv"], "cannot be used with"),
    ] {
        assert!(program.run_to_end("history", wrong).expect_code(64).stderr.contains(said), "{wrong:?}");
    }
    // By a daemon the same, and beside it more; a letter that comes twice is known.
    let daemon = running(&program, 1);
    let path = socket(&program);
    server.put("box", &written("again@remote.example", "good@x", &to("раз@pop.example")));
    server.put("box", &written("a@remote.example", "new@x", &to("b@pop.example")));
    program.run_to_end("collect", &[]).expect_code(75);
    assert!(rows(&program, &["--message-id", "new@x"])[0]["result"] == "delivered", "what has ended is there at once");
    let (status, body) = request(&path, "GET", "/v1/history?result=delivered&limit=2", "");
    let page: Value = serde_json::from_str(&body).unwrap();
    assert!(status == 200 && page["history"].as_array().unwrap().len() == 2 && page["next"].is_i64(), "{body}");
    let (mut numbers, mut place) = (Vec::new(), "/v1/history?limit=2".to_owned());
    loop {
        let page: Value = serde_json::from_str(&request(&path, "GET", &place, "").1).unwrap();
        numbers.extend(page["history"].as_array().unwrap().iter().map(|row| row["number"].as_i64().unwrap()));
        let Some(next) = page["next"].as_i64() else { break };
        place = format!("/v1/history?limit=2&before={next}");
    }
    assert!(numbers.len() >= 8 && numbers.windows(2).all(|pair| pair[0] > pair[1]), "{numbers:?}");
    assert_eq!(numbers.len(), rows(&program, &["--limit", "1000"]).len());
    assert_eq!(request(&path, "GET", "/v1/history?form=a", "").0, 400);
    let (_, metrics) = request(&path, "GET", "/metrics", "");
    let value =
        |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap_or_else(|| panic!("{metrics}"));
    assert!(value("mailgather_history_entries ") == numbers.len() as f64 && value("mailgather_state_bytes ") > 4096.0, "{metrics}");
    // A crash costs nothing that was written, and no letter.
    daemon.kill();
    assert_eq!(rows(&program, &["--message-id", "new@x"]).len(), 1);
    let daemon = running(&program, 1);
    daemon.stop().expect_success();
    assert!(rows(&program, &["--limit", "1000"]).len() >= numbers.len());
}

#[test]
fn held_loops_and_duplicates_are_told_apart_and_no_history_is_one() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().on_text("RCPT", "nobody@", "550 5.1.1 no such user").start());
    let forward = imap(&server, "nobody").forward_to("nobody@example.org");
    let auto = imap(&server, "list").set("recipient", "{auto: {domains: [example.org]}, unresolved: hold}").set("dedupe_window", "7d");
    let text = config(&sink.delivery(), &[forward, auto]);
    let program = Mailgather::new(&text);
    server.put("nobody", &written("a@remote.example", "refused@x", ""));
    server.put("list", &written("a@remote.example", "lost@x", ""));
    server.put("list", &written("a@remote.example", "twice@x", "Delivered-To: b@example.org\r\n"));
    program.once(&["list"]);
    server.put("list", &written("a@remote.example", "twice@x", "Delivered-To: b@example.org\r\n"));
    program.once(&[]);
    let all = rows(&program, &[]);
    for (id, result, why) in [("refused@x", "held", "refused"), ("lost@x", "held", "unresolved")] {
        let row = of(&all, id);
        assert_eq!((&row["result"], &row["why"]), (&result.into(), &why.into()), "{row}");
        assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row}");
    }
    let twice: Vec<&Value> = all.iter().filter(|row| row["message_id"] == "twice@x").map(|row| &row["result"]).collect();
    assert_eq!(twice, ["duplicate", "delivered"], "the newest first");
    assert_eq!(rows(&program, &["--result", "held"]).len(), 2);
    assert_eq!(rows(&program, &["--result", "refused"]).len(), 1);
    // What an operator sends on its way has a row of its own.
    program.run_to_end("held", &["release", "--all", "--to", "c@example.org"]).expect_success();
    let released = &rows(&program, &["--message-id", "lost@x"])[0];
    assert_eq!((&released["result"], &released["recipients"][0]["to"]), (&"delivered".into(), &"c@example.org".into()), "{released}");
    assert_eq!(released["by"], "released by the operator");
    // Nothing lies in a span that ends before it begins, and that is no answer.
    for span in [["--since", "1h", "--until", "2h"], ["--since", "2026-11-02", "--until", "2026-11-02"]] {
        let refused = program.run_to_end("history", &span).expect_code(64);
        assert!(refused.stderr.contains("`--until` is not later than `--since`") && refused.stdout.is_empty(), "{}", refused.stderr);
    }
    program.run_to_end("history", &["--since", "2h", "--until", "1h"]).expect_success();
    // Who wants none has none; mail is collected all the same.
    let none = Mailgather::new(&text.replace("start_jitter: 0s", "start_jitter: 0s, history: {keep: 0}"));
    server.put("nobody", &written("a@remote.example", "again@x", ""));
    none.once(&[]);
    assert!(none.run_to_end("held", &["list"]).expect_success().stdout.contains("refused") && rows(&none, &[]).is_empty());
    assert!(!none.state_dir().join("history.db").exists());
}

/// f39, f74: what happens is told to whoever listens; one that does not read is cut off, and no mail waits for it.
#[test]
fn events_for_who_listens_and_no_wait_for_who_does_not_read() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let dead = CollectorYaml::at("imap", "dead", 1).forward_to("anna@example.org");
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one"), dead.set("enabled", "false")]));
    let daemon = running(&program, 1);
    let path = socket(&program);
    let listen = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    };
    let mut lines = BufReader::new(listen()).lines();
    let mut next = |name: &str| -> Value {
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("{name} never came")).unwrap();
            if line != format!("event: {name}") {
                continue;
            }
            let data = lines.next().unwrap().unwrap();
            return serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        }
    };
    next("listening");
    server.put("one", &letter(1));
    daemon.signal(Signal::USR1);
    assert_eq!(next("session_started")["collector"], "one");
    let delivered = next("message_delivered");
    assert_eq!((&delivered["message_id"], &delivered["recipients"][0]["to"]), (&"1@remote.example".into(), &"anna@example.org".into()));
    assert_eq!(next("session_finished")["delivered"], 1);
    program.run_to_end("collect", &["dead"]).expect_code(69);
    assert_eq!(next("session_failed")["code"], "MG-211");
    // One that never reads, while more happens than fits on the way to it.
    let mut stuck = listen();
    let began = Instant::now();
    for round in 0..8 {
        (0..250).for_each(|n| server.put("one", &letter(1_000 * (round + 1) + n)));
        program.run_to_end("collect", &["one"]).expect_success();
    }
    assert_eq!(sink.taken().len(), 2_001);
    // It is let go without having read, and reads what was on the way, then the end.
    std::thread::sleep(Duration::from_secs(13).saturating_sub(began.elapsed()));
    let mut found = Vec::new();
    stuck.read_to_end(&mut found).unwrap_or_else(|error| panic!("it is still open: {error}"));
    let found = String::from_utf8_lossy(&found).matches("event: message_delivered").count();
    assert!(found < 2_000, "{found}: all of it fitted on the way");
    daemon.stop().expect_success();
}
