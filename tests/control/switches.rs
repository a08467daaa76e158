//! `enable`, `disable`, `pause`, `resume`.

use crate::kit::{imap, letter, request, running, socket};
use crate::support::process::Signal;
use crate::support::*;
use serde_json::Value;

fn status(program: &Mailgather, id: &str) -> Value {
    let all: Value = serde_json::from_str(&program.run_to_end("status", &["--json"]).expect_success().stdout).unwrap();
    all["collectors"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap().clone()
}

#[test]
fn i13_m2_c3_a_collector_is_switched_off_and_on_and_stays_so() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let text = config(&sink.delivery(), &[imap(&server, "one"), imap(&server, "two"), imap(&server, "three").set("enabled", "false")]);
    let program = Mailgather::new(&text);
    let daemon = running(&program, 2);
    socket(&program);
    let done = program.run_to_end("disable", &["one", "--reason", "moving house"]).expect_success();
    assert_eq!(done.stdout, "one: disabled\n");
    let one = status(&program, "one");
    assert_eq!((&one["state"], &one["switch"]["reason"], &one["enabled"]), (&"off".into(), &"moving house".into(), &false.into()), "{one}");
    assert!(one["next"].is_null(), "nothing comes next: {one}");
    let listed = program.run_to_end("list", &["one"]).expect_success().stdout;
    assert!(listed.lines().nth(1).is_some_and(|line| line.split_whitespace().nth(1) == Some("no")), "{listed}");
    assert_eq!(program.run_to_end("enable", &["three"]).expect_success().stdout, "three: enabled\n");
    // Neither a signal nor a reload, nor a crash brings it back; what was switched on against the file stays on.
    ["one", "two", "three"].iter().for_each(|user| server.put(user, &letter(1)));
    daemon.signal(Signal::USR1);
    sink.wait_for(2);
    program.configure(&text.replace("start_jitter: 0s", "start_jitter: 1ms"));
    program.run_to_end("reload", &[]).expect_success();
    daemon.kill();
    let daemon = running(&program, 2);
    socket(&program);
    assert_eq!((status(&program, "one")["state"].as_str(), status(&program, "three")["state"].as_str()), (Some("off"), Some("ok")));
    assert!(program.run_to_end("status", &["one"]).expect_success().stdout.contains("moving house"));
    // `once` heeds it as well, and one that is named is collected all the same.
    daemon.stop().expect_success();
    assert!(!program.once(&[]).expect_success().stdout.contains("one:"));
    assert_eq!(sink.taken().len(), 2);
    let daemon = running(&program, 2);
    socket(&program);
    program.run_to_end("enable", &["one"]).expect_success();
    sink.wait_for(3);
    assert!(status(&program, "one")["switch"].is_null(), "the file says so anyway");
    let uid = rustix::process::getuid().as_raw();
    assert!(daemon.count_log(&format!("collector_enabled collector=one by=\"cli uid={uid}\"")) == 1, "{:?}", daemon.log());
    let unknown = program.run_to_end("disable", &["nobody"]).expect_code(64);
    assert!(unknown.stderr.contains("no collector is called `nobody`"), "{}", unknown.stderr);
    daemon.stop().expect_success();
}

#[test]
fn i1_c14_the_service_is_paused_and_resumed_and_a_switch_has_an_end() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")])).env("TZ", "UTC");
    let daemon = running(&program, 1);
    let path = socket(&program);
    assert_eq!(program.run_to_end("pause", &[]).expect_success().stdout, "the service: paused\n");
    server.put("one", &letter(1));
    daemon.signal(Signal::USR1);
    assert!(program.run_to_end("status", &[]).expect_success().stdout.starts_with("SERVICE  paused"));
    assert!(sink.taken().is_empty());
    assert_eq!(program.run_to_end("resume", &[]).expect_success().stdout, "the service: running\n");
    sink.wait_for(1);
    // It comes back by itself when its time is over.
    let done = program.run_to_end("disable", &["one", "--for", "2s"]).expect_success();
    assert!(done.stdout.starts_with("one: disabled until 2"), "{}", done.stdout);
    server.put("one", &letter(2));
    sink.wait_for(2);
    eventually("the switch is over", SOON, || status(&program, "one")["switch"].is_null());
    program.run_to_end("disable", &["one", "--for", "2"]).expect_code(64);
    // What is meant to stand for ever is said without a time, and a time is one that people can read.
    for command in ["disable", "enable"] {
        let refused = program.run_to_end(command, &["one", "--for", "99999d"]).expect_code(64);
        assert!(refused.stderr.contains("the longest is 3650d"), "{}", refused.stderr);
    }
    let (status_code, answer) = request(&path, "POST", "/v1/collectors/one/disable", "{\"for_seconds\": 315360001}");
    assert!(status_code == 400 && answer.contains("315360000 at most"), "{answer}");
    let is_time = |text: &str| text.len() > 20 && text.as_bytes()[19] == b' ' && text[..19].parse::<jiff::civil::DateTime>().is_ok();
    let done = program.run_to_end("disable", &["one", "--for", "2h"]).expect_success();
    let until = done.stdout.strip_prefix("one: disabled until ").unwrap().trim_end();
    assert!(is_time(until) && until.ends_with(" UTC"), "{until}");
    let shown = program.run_to_end("status", &[]).expect_success().stdout;
    assert!(shown.contains(&format!("off until {until}")), "{shown}");
    let detail = program.run_to_end("status", &["one"]).expect_success().stdout;
    let at = detail.lines().find_map(|line| line.strip_prefix("switch ")?.split_once(" at ")).unwrap().1;
    assert!(is_time(at) && at.ends_with(" UTC"), "{detail}");
    let one = status(&program, "one");
    for stamp in [&one["switch"]["until"], &one["switch"]["at"], &one["last_try"], &one["last_success"], &one["last_mail"]] {
        let stamp = stamp.as_str().unwrap();
        assert!(stamp.len() == "2026-11-22T01:02:03Z".len() && stamp.ends_with('Z'), "{one}");
    }
    program.run_to_end("enable", &["one"]).expect_success();
    daemon.stop().expect_success();
    // What somebody else wrote there is no reason to guess.
    std::fs::write(program.state_dir().join("switches.json"), "{").unwrap();
    let refused = program.run_to_end("once", &[]).expect_code(74);
    assert!(refused.stderr.contains("switches.json is not what mailgather writes there"), "{}", refused.stderr);
}
