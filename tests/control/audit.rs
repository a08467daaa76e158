//! What operators did: `logs --audit`.

use crate::kit::{imap, letter, request, running, socket};
use crate::support::process::Signal;
use crate::support::*;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

fn lines(program: &Mailgather, event: &str) -> Vec<String> {
    let shown = program.run_to_end("logs", &["--audit", "-n", "1000"]).expect_success().stdout;
    let of_event = |line: &&str| line.split_whitespace().nth(2) == Some(event);
    shown.lines().filter(of_event).map(|line| line.split_once(' ').unwrap().1.trim_start().to_owned()).collect()
}

/// i13, p8: `collect`, SIGUSR1 and the API give the same result and the same audit line, but for who asked and by which way. No `log` silences it.
#[test]
fn i13_collect_by_each_way_has_the_same_result_and_the_same_audit_line() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let text = config(&sink.delivery(), &[imap(&server, "one").set("log", "off"), imap(&server, "two").set("log", "off")]);
    let program = Mailgather::new(&text.replace("level: debug", "level: error"));
    let daemon = program.run();
    let path = socket(&program);
    let bodies = |n: usize| {
        let mut found: Vec<(Vec<String>, String)> = sink.taken()[n..]
            .iter()
            .map(|taken| (taken.recipients.clone(), String::from_utf8_lossy(&taken.content).lines().last().unwrap().to_owned()))
            .collect();
        found.sort();
        found
    };
    let mut results = Vec::new();
    let ways: [(&str, &dyn Fn()); 3] = [
        ("cli", &|| drop(program.run_to_end("collect", &[]).expect_success())),
        ("signal", &|| daemon.signal(Signal::USR1)),
        ("api", &|| assert_eq!(request(&path, "POST", "/v1/collect?wait=30s", "").0, 200)),
    ];
    for (_, ask) in &ways {
        let before = sink.taken().len();
        ["one", "two"].iter().for_each(|user| server.put(user, &letter(1)));
        ask();
        sink.wait_for(before + 2);
        results.push(bodies(before));
    }
    assert!(results[0].len() == 2 && results.iter().all(|result| *result == results[0]), "{results:?}");
    eventually("the audit lines", SOON, || lines(&program, "collect_requested").len() == 3);
    let uid = rustix::process::getuid().as_raw();
    let who = [format!("by=\"cli uid={uid}\""), "by=signal".to_owned(), format!("by=\"api uid={uid}\"")];
    let found = lines(&program, "collect_requested");
    for (line, who) in found.iter().zip(&who) {
        assert_eq!(line.replace(who, "by=WHO"), "info  collect_requested by=WHO collectors=2 names=one,two".trim_start(), "{line}");
    }
    // The process's own log has none of it at this level.
    assert_eq!(daemon.count_log("collect_requested"), 0);
    daemon.stop().expect_success();
}

#[test]
fn what_operators_do_is_kept_for_a_year() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let text = config(&sink.delivery(), &[imap(&server, "one")]);
    let program = Mailgather::new(&text);
    server.put("one", &letter(1));
    let daemon = running(&program, 1);
    let path = socket(&program);
    program.run_to_end("disable", &["one", "--reason", "a\nb"]).expect_success();
    program.run_to_end("enable", &["one"]).expect_success();
    program.run_to_end("pause", &[]).expect_success();
    program.run_to_end("resume", &[]).expect_success();
    daemon.signal(Signal::HUP);
    eventually("the reload", SOON, || lines(&program, "reload_requested").len() == 1);
    program.run_to_end("reload", &[]).expect_success();
    program.configure(&text.replace("interval:", "intervall:"));
    program.run_to_end("reload", &[]).expect_code(78);
    program.configure(&text);
    let (status, shown) = request(&path, "GET", "/v1/audit?download=1", "");
    assert!(status == 200 && shown.contains(" collector_disabled collector=one by=\"cli uid="), "{shown}");
    assert_eq!(request(&path, "GET", "/v1/audit?level=errors", "").0, 400);
    daemon.stop().expect_success();
    // Without a daemon, and by commands that need none.
    program.run_to_end("clear", &["one", "--yes"]).expect_success();
    program.run_to_end("clear", &["one", "--mark-collected", "--yes"]).expect_success();
    let uid = rustix::process::getuid().as_raw();
    let cli = format!("by=\"cli uid={uid}\"");
    for (event, number, with) in [
        ("collector_disabled", 1, cli.as_str()),
        ("collector_enabled", 1, &cli),
        ("service_paused", 1, &cli),
        ("service_resumed", 1, &cli),
        ("config_rejected", 1, "errors=1"),
        ("collector_cleared", 1, &cli),
        ("collector_marked", 1, &cli),
        ("stop_requested", 1, ""),
    ] {
        let found = lines(&program, event);
        assert!(found.len() >= number && found.iter().all(|line| line.contains(with)), "{event}: {found:?}");
    }
    let reloads = lines(&program, "reload_requested");
    assert!(reloads[0].contains("by=signal") && reloads[1].contains(&cli), "{reloads:?}");
    assert!(lines(&program, "message_delivered").is_empty(), "letters have another log");
    let files: Vec<_> = std::fs::read_dir(program.state_dir().join("audit")).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(files.len() == 1 && files[0].file_name().to_string_lossy().starts_with("audit-20"), "{files:?}");
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // For programs, and as a file.
    let json = program.run_to_end("logs", &["--audit", "--json", "-n", "1"]).expect_success().stdout;
    let last: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&last["event"], &last["collector"]), (&"collector_marked".into(), &"one".into()), "{json}");
    let kept = program.path().join("audit.txt");
    program.run_to_end("logs", &["--audit", "--download", kept.to_str().unwrap()]).expect_success();
    assert!(std::fs::read_to_string(&kept).unwrap().lines().count() > 8);
    for wrong in [&["--audit", "one"][..], &["--audit", "--errors"], &[]] {
        program.run_to_end("logs", wrong).expect_code(64);
    }
}

/// Whatever way it is done, with a daemon and without one, and though the log itself is silent: who did what, and never a secret.
#[test]
fn secrets_trials_and_held_mail_have_their_lines() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().on_text("RCPT", "anna@", "550 5.1.1 unknown").start());
    let text = config(&sink.delivery(), &[imap(&server, "one")]).replace("level: debug", "level: error");
    let program = Mailgather::new(&format!("notify: [{{command: [/bin/true], events: [stale]}}]\n{text}"));
    let secret = |arguments: &[&str]| {
        let file = program.path().join("input");
        std::fs::write(&file, "canary-value\n").unwrap();
        let mut command = program.command("secret", arguments);
        command.stdin(std::fs::File::open(&file).unwrap());
        let done = crate::support::process::finish(command, SOON).expect_success();
        assert!(!done.stderr.contains("secret_set") && !done.stderr.contains("secret_removed"), "{}", done.stderr);
    };
    let uid = rustix::process::getuid().as_raw();
    let by = format!("by=\"cli uid={uid}\"");
    secret(&["set", "early", "--stdin"]);
    assert_eq!(lines(&program, "secret_set"), [format!("info  secret_set secret=early {by} replaced=false").trim_start()]);
    let daemon = program.run();
    let path = socket(&program);
    secret(&["set", "early", "--stdin"]);
    secret(&["rm", "early", "--yes"]);
    eventually("the daemon's lines", SOON, || lines(&program, "secret_removed").len() == 1);
    assert!(lines(&program, "secret_set")[1].ends_with(&format!("secret=early {by} replaced=true")), "{:?}", lines(&program, "secret_set"));
    assert!(lines(&program, "secret_removed")[0].ends_with(&format!("secret=early {by}")));
    // Nothing but these can be said by others, and no value.
    for body in [
        "",
        "{}",
        "{\"event\": \"stop_requested\", \"name\": \"a\"}",
        "{\"event\": \"secret_removed\", \"name\": \"a b\"}",
        "{\"event\": \"secret_set\", \"name\": \"a\"}",
        "{\"event\": \"secret_set\", \"name\": \"a\", \"replaced\": true, \"value\": \"canary\"}",
    ] {
        assert_eq!(request(&path, "POST", "/v1/audit", body).0, 400, "{body}");
    }
    program.run_to_end("notify", &["--test"]).expect_success();
    eventually("the trial", SOON, || lines(&program, "notice_tested").len() == 1);
    assert!(lines(&program, "notice_tested")[0].contains(&by), "{:?}", lines(&program, "notice_tested"));
    (1..3).for_each(|n| server.put("one", &letter(n)));
    let held = || program.run_to_end("held", &["list", "--json"]).expect_success().stdout.lines().count();
    program.run_to_end("collect", &["one"]);
    assert_eq!(held(), 2);
    daemon.stop().expect_success();
    program.run_to_end("held", &["release", "H-0001", "--to", "bob@example.org"]).expect_success();
    program.run_to_end("held", &["drop", "H-0002", "--yes"]).expect_success();
    assert_eq!(held(), 0);
    let (released, dropped) = (lines(&program, "held_released"), lines(&program, "held_dropped"));
    assert!(released.len() == 1 && released[0].contains(&format!("held_released {by} how=release collector=one")), "{released:?}");
    assert!(dropped.len() == 1 && dropped[0].contains(&format!("held_dropped {by} collector=one")), "{dropped:?}");
    let all = program.run_to_end("logs", &["--audit", "--download", "-"]).expect_success().stdout;
    assert!(!all.contains("canary"), "a secret is in the audit log: {all}");
}

#[test]
fn the_audit_log_is_followed() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let daemon = running(&program, 1);
    socket(&program);
    program.run_to_end("disable", &["one"]).expect_success();
    eventually("the first line", SOON, || lines(&program, "collector_disabled").len() == 1);
    let mut follower = program.command("logs", &["--audit", "-f", "-n", "1000"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut seen: Vec<String> = Vec::new();
    let mut until = |text: &str| {
        while !seen.last().is_some_and(|line| line.contains(text)) {
            seen.push(shown.next().unwrap_or_else(|| panic!("{text} never came")).unwrap());
        }
    };
    until("collector_disabled");
    program.run_to_end("enable", &["one"]).expect_success();
    until("collector_enabled");
    program.run_to_end("collect", &["one"]).expect_success();
    until("collect_requested");
    assert_eq!(seen.iter().filter(|line| line.contains("collector_disabled")).count(), 1, "each once: {seen:?}");
    daemon.stop().expect_success();
    let ended = follower.wait_with_output().unwrap();
    assert!(ended.status.code() == Some(69) && String::from_utf8_lossy(&ended.stderr).contains("the daemon has ended"), "{ended:?}");
}
