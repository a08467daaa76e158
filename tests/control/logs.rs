//! The log: what is in it by each mode, each collector's own file, and `mailgather logs`.

use crate::kit::{imap, letter, raw, request, running, socket};
use crate::support::dovecot::PASSWORD;
use crate::support::process::{Daemon, PASSWORD_VARIABLE, Signal};
use crate::support::*;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

/// A secret that must never be seen.
const CANARY: &str = "canary-s3cret";

fn file(program: &Mailgather, name: &str) -> PathBuf {
    program.state_dir().join("logs").join(name)
}

/// What is in a collector's file; empty without one.
fn filed(program: &Mailgather, id: &str) -> String {
    std::fs::read_to_string(file(program, &format!("{id}.log"))).unwrap_or_default()
}

/// A collector whose server is not there.
fn dead(id: &str) -> CollectorYaml {
    CollectorYaml::at("imap", id, 1).forward_to("anna@example.org")
}

#[test]
fn c5_each_collector_logs_everything_errors_only_or_nothing() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let collectors = |of_off: &str| {
        let wrong = imap(&server, "wrong").id("wrong");
        let all = [
            wrong,
            imap(&server, "full"),
            imap(&server, "errors").set("log", "errors"),
            imap(&server, "off").set("log", of_off),
            dead("dead_errors").set("log", "errors"),
            dead("dead_off").set("log", "off"),
        ];
        // The first one's secret is not the right one.
        config(&sink.delivery(), &all).replacen(&format!("{{env: {PASSWORD_VARIABLE}}}"), "{file: wrong.txt}", 1)
    };
    let program = Mailgather::new(&collectors("off"));
    let secret = program.path().join("wrong.txt");
    std::fs::write(&secret, CANARY).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    ["full", "errors", "off"].iter().enumerate().for_each(|(n, user)| server.put(user, &letter(n)));
    let mut daemon = program.run();
    sink.wait_for(3);
    daemon.wait_for("session_failed code=MG-211 collector=dead_errors");
    eventually("the lines of the files", SOON, || {
        filed(&program, "full").contains("session_finished")
            && filed(&program, "wrong").contains("MG-203")
            && !filed(&program, "dead_errors").is_empty()
    });
    let has =
        |event: &str, id: &str| daemon.log().iter().any(|line| line.contains(&format!(" {event} ")) && line.contains(&format!("collector={id} ")));
    assert!(has("message_delivered", "full") && has("session_finished", "full"));
    for (id, failed) in [("errors", false), ("off", false), ("dead_errors", true), ("dead_off", false)] {
        assert!(!has("message_delivered", id) && !has("session_finished", id), "{id}: {:?}", daemon.log());
        assert_eq!(has("session_failed", id), failed, "{id}: {:?}", daemon.log());
        assert!(has("collector_started", id), "what the service does is always said: {id}");
    }
    // The files by themselves.
    assert!(filed(&program, "full").contains(" info  message_delivered collector=full "));
    let errors = filed(&program, "dead_errors");
    assert!(errors.lines().all(|line| line.contains("Z warn ") || line.contains("Z error ")), "{errors}");
    for none in ["off.log", "dead_off.log", "errors.log"] {
        assert!(!file(&program, none).exists(), "{none}");
    }
    assert_eq!(std::fs::metadata(file(&program, "full.log")).unwrap().permissions().mode() & 0o777, 0o600);
    // A change of `log` alone touches no collector.
    program.configure(&collectors("full"));
    socket(&program);
    program.run_to_end("reload", &[]).expect_success();
    server.put("off", &letter(9));
    assert_eq!(program.run_to_end("collect", &["off"]).expect_success().stdout, "off: 1 delivered\n");
    eventually("a file after all", SOON, || filed(&program, "off").contains("message_delivered"));
    assert_eq!(daemon.count_log("collector_started collector=off "), 1, "{:?}", daemon.log());
    daemon.signal(Signal::TERM);
    let log = daemon.wait(SOON).expect_success().stderr;
    let files: String = std::fs::read_dir(file(&program, "")).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    assert!(files.len() > 500 && !format!("{files}{log}").contains(CANARY) && !format!("{files}{log}").contains(PASSWORD), "a secret got out");
}

#[test]
fn c12_the_log_is_downloaded() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one"), dead("dead")]));
    server.put("one", &letter(1));
    let mut daemon = running(&program, 1);
    daemon.wait_for("session_failed");
    let path = socket(&program);
    eventually("the last line", SOON, || filed(&program, "one").contains("session_finished") && filed(&program, "dead").contains("session_failed"));
    let shown = program.run_to_end("logs", &["one"]).expect_success();
    assert!(shown.stdout.contains(" info  message_delivered collector=one key=one/INBOX/"), "{}", shown.stdout);
    assert_eq!((&shown.stdout, shown.stderr.as_str()), (&filed(&program, "one"), ""));
    // The last lines, warnings and errors, JSON.
    let last = program.run_to_end("logs", &["one", "-n", "1"]).expect_success().stdout;
    assert_eq!(last.lines().collect::<Vec<_>>(), shown.stdout.lines().next_back().into_iter().collect::<Vec<_>>());
    assert_eq!(program.run_to_end("logs", &["one", "--errors"]).expect_success().stdout, "");
    let errors = program.run_to_end("logs", &["dead", "--errors", "--json"]).expect_success().stdout;
    let first: Value = serde_json::from_str(errors.lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["level"], &first["code"]), (&"session_failed".into(), &"warn".into(), &"MG-211".into()), "{errors}");
    assert_eq!((&first["collector"], &first["failures"]), (&"dead".into(), &1.into()), "{errors}");
    // All of it, also what was put aside, into a file that nobody else may read.
    std::fs::write(file(&program, "one.log.1"), "2026-11-21T00:00:00.000Z info  older collector=one\n").unwrap();
    let kept = program.path().join("kept.log");
    let done = program.run_to_end("logs", &["one", "--download", kept.to_str().unwrap()]).expect_success();
    assert_eq!(done.stdout, "");
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(text.starts_with("2026-11-21T00:00:00.000Z info  older") && text.ends_with(&shown.stdout), "{text}");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let answer = raw(&path, "GET /v1/collectors/one/log?download=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("content-disposition: attachment; filename=\"one.log\""), "{answer}");
    assert!(answer.contains(" older collector=one") && answer.contains("message_delivered"), "{answer}");
    for (place, status) in [("nobody/log", 404), ("%2e%2e/log", 404), ("one/log?level=loud", 400), ("one/log?lines=1000000", 400)] {
        assert_eq!(request(&path, "GET", &format!("/v1/collectors/{place}"), "").0, status, "{place}");
    }
    let cannot = program.run_to_end("logs", &["one", "--download", "/no/such/folder/x"]).expect_code(73);
    assert!(cannot.stderr.contains("cannot write /no/such/folder/x") && cannot.stderr.contains("hint: "), "{}", cannot.stderr);
    assert!(program.run_to_end("logs", &["nobody"]).expect_code(64).stderr.contains("the configuration has: dead, one"));
    daemon.stop().expect_success();
    // Without a daemon the files are read.
    let after = program.run_to_end("logs", &["one"]).expect_success().stdout;
    assert!(after.contains(" older collector=one") && after.ends_with(&filed(&program, "one")), "{after}");
    assert!(program.run_to_end("logs", &["nobody"]).expect_code(64).stderr.contains("has no log of one"));
    assert!(program.run_to_end("logs", &["../one"]).expect_code(64).stderr.contains("no collector can be called"));
}

#[test]
fn following_goes_on_over_files_that_change() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let daemon = running(&program, 1);
    socket(&program);
    let mut command = program.command("logs", &["one", "-f", "-n", "0"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut until = |text: &str| loop {
        let line = lines.next().unwrap_or_else(|| panic!("{text} never came")).unwrap();
        if line.contains(text) {
            return;
        }
    };
    let collect = |n| {
        server.put("one", &letter(n));
        program.run_to_end("collect", &["one"]).expect_success();
    };
    // One line at least is there before the follower asks for none, and one comes after.
    std::thread::sleep(std::time::Duration::from_millis(500));
    collect(1);
    until("message_delivered");
    // Somebody moves the file away, as logrotate does, and says so.
    let before = filed(&program, "one");
    std::fs::rename(file(&program, "one.log"), file(&program, "one.log.1")).unwrap();
    daemon.signal(Signal::HUP);
    eventually("the signal", SOON, || daemon.count_log("config_unchanged") > 0);
    collect(2);
    until("message_delivered");
    eventually("a new file", SOON, || filed(&program, "one").contains("message_delivered"));
    assert_eq!(std::fs::read_to_string(file(&program, "one.log.1")).unwrap(), before, "nothing more goes into the old one");
    daemon.stop().expect_success();
    assert_eq!(follower.wait().unwrap().code(), Some(69), "with the daemon it ends");
}

#[test]
fn json_for_programs_and_addresses_for_nobody() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let yaml = config(&sink.delivery(), &[imap(&server, "one")]).replace("log: {level: debug}", "log: {level: debug, redact: addresses}");
    let program = Mailgather::new(&yaml);
    server.put("one", &letter(1));
    let daemon = Daemon::start(program.command("run", &["--log-format", "json"]));
    eventually("the first pass", SOON, || daemon.count_log("session_finished") > 0);
    let log = daemon.log();
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let delivered = lines.iter().find(|line| line["event"] == "message_delivered").unwrap();
    assert_eq!((&delivered["level"], &delivered["collector"], &delivered["rcpt"]), (&"info".into(), &"one".into(), &"***@example.org".into()));
    assert!(delivered["octets"].is_u64() && delivered["time"].as_str().unwrap().ends_with('Z') && delivered["id"].is_string(), "{delivered}");
    assert!(!log.join("\n").contains("anna@"), "{log:?}");
    eventually("its file", SOON, || filed(&program, "one").contains("message_delivered"));
    assert!(!filed(&program, "one").contains("anna@"));
    daemon.stop().expect_success();
    // What cannot be is refused.
    assert!(program.run_to_end("run", &["--log-format", "xml"]).expect_code(64).stderr.contains("possible values: auto, text, json, journald"));
}

#[test]
fn the_same_failure_is_counted() {
    let sink = Sink::lmtp();
    let program = Mailgather::new(&config(&sink.delivery(), &[dead("dead")]).replace("level: debug", "level: info"));
    let mut daemon = program.run();
    daemon.wait_for("session_failed");
    let path = socket(&program);
    for _ in 0..9 {
        assert_eq!(request(&path, "POST", "/v1/collectors/dead/collect?wait=30s", "").0, 200);
    }
    daemon.signal(Signal::TERM);
    let log = daemon.wait(SOON).expect_success().stderr;
    let (counts, written): (Vec<&str>, Vec<&str>) =
        log.lines().filter(|line| line.contains("session_failed")).partition(|line| line.contains("repeated="));
    let count = |line: &&str| line.split("repeated=\"… ×").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok()).unwrap();
    let counted: usize = counts.iter().map(count).sum();
    assert!(counted >= 2 && written.len() + counted == 10, "{log}");
    assert_eq!(filed(&program, "dead").matches("session_failed").count(), written.len() + counts.len());
}
