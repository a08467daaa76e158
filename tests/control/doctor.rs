//! `mailgather doctor` and `mailgather check --connect`: what is well, what is not, and what they say about it.

use crate::kit::{imap, on_a_full_disk, running, socket};
use crate::support::*;
use serde_json::Value;
use std::os::unix::fs::{PermissionsExt, chown};

fn open_to_nobody(program: &Mailgather) {
    std::fs::set_permissions(program.state_dir(), PermissionsExt::from_mode(0o700)).unwrap();
}

/// The findings of one check.
fn of<'a>(report: &'a Value, check: &str) -> Vec<&'a Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check).collect()
}

#[test]
fn doctor_finds_what_is_well() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    open_to_nobody(&program);
    let before: Vec<_> = std::fs::read_dir(program.state_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let text = program.run_to_end("doctor", &[]).expect_success().stdout;
    for words in [
        "  config     ok      ",
        "1 collector, 1 enabled",
        "  secrets    ok      ",
        "  locks      ok      flock and fsync work there",
        "  state      ok      ",
        "  ca         ok      ",
        "  dns        ok      the configuration names addresses only",
        "  daemon     ok      none runs",
        "  target     ok      ",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let after: Vec<_> = std::fs::read_dir(program.state_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((before, sink.count()), (after, 0), "nothing is left behind");
    let daemon = running(&program, 1);
    socket(&program);
    let json: Value = serde_json::from_str(&program.run_to_end("doctor", &["--json"]).expect_success().stdout).unwrap();
    assert!(json["ok"] == true && json["exit"] == 0 && of(&json, "daemon")[0]["text"].as_str().unwrap().contains("runs since"), "{json}");
    assert!(of(&json, "limits")[0]["text"].as_str().unwrap().contains("the daemon's limit"), "{json}");
    assert!(!json.to_string().contains(dovecot::PASSWORD));
    daemon.stop().expect_success();
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let sink = Sink::lmtp_builder().on_text("RCPT", "nobody@", "550 5.1.1 unknown").start();
    let collector = |to: &str| CollectorYaml::at("imap", "one", 1).forward_to(to);
    let good = config(&sink.delivery(), &[collector("anna@example.org")]);
    let program = Mailgather::new(&good);
    open_to_nobody(&program);
    let doctor = |code: i32, check: &str, words: &str, hint: &str| {
        let done = program.run_to_end("doctor", &["--json"]).expect_code(code);
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let found = of(&report, check).into_iter().find(|finding| finding["state"] != "ok" && text(finding, "text").contains(words));
        assert!(found.is_some_and(|finding| text(finding, "hint").contains(hint)), "{words}: {report}");
    };
    // The configuration, and what it names: 78.
    program.configure(&good.replace("interval:", "intervall:"));
    doctor(78, "config", "unknown key `intervall`", "check");
    program.configure(&good.replace("{env: MAILGATHER_TEST_PASSWORD}", "{secret: one}"));
    doctor(78, "secrets", "there is no secret `one`", "mailgather secret list");
    // Anything else: 75.
    program.configure(&good);
    std::fs::set_permissions(program.config_file(), PermissionsExt::from_mode(0o666)).unwrap();
    doctor(75, "files", "everybody may write there", "chmod o-w");
    std::fs::set_permissions(program.config_file(), PermissionsExt::from_mode(0o640)).unwrap();
    let foreign = program.state_dir().join("ledger.db");
    std::fs::write(&foreign, "").unwrap();
    chown(&foreign, Some(5000), None).unwrap();
    doctor(75, "state", "ledger.db belongs to", "chown -R root:");
    std::fs::remove_file(foreign).unwrap();
    program.configure(&good.replace("service: {", "service: {min_free_space: 1000000GiB, "));
    doctor(75, "disk", "collection paused", "make room");
    program.configure(&config(&sink.delivery(), &[collector("nobody@example.org")]));
    doctor(75, "target", "550 5.1.1", "default_box");
    program.configure(&config("{lmtp: '127.0.0.1:1'}", &[collector("anna@example.org")]));
    doctor(75, "target", "127.0.0.1:1", "start the target");
    program.configure(&good.replace("server: 127.0.0.1", "server: no-such-host.invalid"));
    doctor(75, "dns", "no-such-host.invalid", "/etc/resolv.conf");
    // Whoever asks nobody hears of neither.
    program.run_to_end("doctor", &["--offline"]).expect_success();
    program.configure(&good);
    std::fs::set_permissions(program.state_dir(), PermissionsExt::from_mode(0o755)).unwrap();
    doctor(0, "state", "others may look", "chmod 700");
}

#[test]
fn check_connect_tries_every_collector_and_target() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let one = || imap(&server, "one");
    let program = Mailgather::new(&config(&sink.delivery(), &[one(), imap(&server, "two")]));
    let done = program.run_to_end("check", &["--connect"]).expect_success();
    for words in ["ok, 2 collectors, 2 enabled", "one: test successful", "two: test successful"] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
    // One that nobody answers, and one that is switched off.
    let dead = CollectorYaml::at("imap", "dead", 1).forward_to("a@example.org");
    program.configure(&config(
        &sink.delivery(),
        &[one(), dead, CollectorYaml::at("imap", "off", 1).forward_to("a@example.org").set("enabled", "false")],
    ));
    let done = program.run_to_end("check", &["--connect"]).expect_code(75);
    assert!(done.stdout.contains("one: test successful") && done.stderr.contains("error[MG-211]: dead:"), "{}{}", done.stdout, done.stderr);
    assert!(!done.stdout.contains("off: connecting"), "{}", done.stdout);
    // What is wrong with the file comes first, and nobody is asked.
    program.configure("nonsense: 1");
    let done = program.run_to_end("check", &["--connect"]).expect_code(78);
    assert!(!done.stdout.contains("connecting"), "{}", done.stdout);
}

/// Passwords, mail and collectors are in there: whoever may write has all of it. And no room is no matter of rights.
#[test]
fn doctor_tells_an_open_state_directory_and_a_full_disk() {
    let program = Mailgather::new(
        &config("{smtp: '127.0.0.1:1'}", &[CollectorYaml::at("imap", "one", 1).forward_to("a@b.example")])
            .replace("service: {", "service: {min_free_space: 0, "),
    );
    let doctor = |done: crate::support::process::Finished, code: i32| -> Value { serde_json::from_str(&done.expect_code(code).stdout).unwrap() };
    std::fs::set_permissions(program.state_dir(), PermissionsExt::from_mode(0o1777)).unwrap();
    let open = doctor(program.run_to_end("doctor", &["--offline", "--json"]), 75);
    let state = of(&open, "state")[0];
    assert!(state["state"] == "failed" && state["text"].as_str().unwrap().contains("everybody may write there"), "{open}");
    open_to_nobody(&program);
    let full = doctor(on_a_full_disk(&program, "doctor", &["--offline", "--json"], ""), 75);
    assert!(
        of(&full, "disk").iter().any(|finding| finding["state"] == "failed"
            && finding["text"].as_str().unwrap().contains("No space left")
            && finding["hint"].as_str().unwrap().contains("the disk is full")),
        "{full}"
    );
    assert!(!full.to_string().contains("must be able to write there"), "{full}");
    // Root is never told to become root.
    let foreign = program.state_dir().join("foreign");
    std::fs::write(&foreign, "").unwrap();
    chown(&foreign, Some(5000), None).unwrap();
    let mixed = doctor(program.run_to_end("doctor", &["--offline", "--json"]), 75);
    assert!(of(&mixed, "state")[0]["hint"].as_str().unwrap().contains("chown -R root:") && !mixed.to_string().contains("runuser -u root"), "{mixed}");
    chown(program.state_dir(), Some(65_534), None).unwrap();
    let other = doctor(program.run_to_end("doctor", &["--offline", "--json"]), 75);
    assert!(of(&other, "user")[0]["hint"].as_str().unwrap().contains("runuser -u nobody -- mailgather doctor"), "{other}");
}
