//! `status`, `collect`, `reload`, `stop`.

use crate::kit::{imap, letter, request, running, socket};
use crate::support::dovecot::PASSWORD;
use crate::support::process::{PASSWORD_VARIABLE, Signal};
use crate::support::*;
use serde_json::Value;

/// Collecting by the command line, by the signal and by the API has the same effect, and the same line in the log but for who asked.
#[test]
fn i13_collect_by_command_signal_and_api() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one"), imap(&server, "two").set("enabled", "false")]));
    let daemon = running(&program, 1);
    let path = socket(&program);
    server.put("one", &letter(1));
    let done = program.run_to_end("collect", &[]).expect_success();
    assert_eq!(done.stdout, "one: 1 delivered\n");
    server.put("one", &letter(2));
    daemon.signal(Signal::USR1);
    sink.wait_for(2);
    server.put("one", &letter(3));
    let (status, body) = request(&path, "POST", "/v1/collectors/one/collect?wait=30s", "");
    assert_eq!(status, 200, "{body}");
    let job: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&job["state"], &job["collectors"][0]["result"]["delivered"]), (&Value::from("done"), &Value::from(1)), "{body}");
    // One that is switched off is collected once, on request only.
    server.put("two", &letter(4));
    assert_eq!(program.run_to_end("collect", &["two"]).expect_success().stdout, "two: 1 delivered\n");
    assert_eq!(sink.taken().len(), 4);
    let uid = rustix::process::getuid().as_raw();
    for by in [format!("by=\"cli uid={uid}\""), "by=signal".to_owned(), format!("by=\"api uid={uid}\"")] {
        daemon.counted(&format!("collect_requested {by} collectors=1 names="), 1);
    }
    daemon.stop().expect_success();
    assert!(!path.exists(), "the socket goes with the daemon");
}

#[test]
fn collect_says_what_is_wrong_with_the_codes_of_once() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let good = config(&sink.delivery(), &[imap(&server, "one").id("wrong"), imap(&server, "two")]);
    let program = Mailgather::new(&good.replacen(&format!("{{env: {PASSWORD_VARIABLE}}}"), "{file: wrong.txt}", 1));
    let file = program.path().join("wrong.txt");
    std::fs::write(&file, "no such password").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = program.run();
    socket(&program);
    let failed = program.run_to_end("collect", &["wrong"]).expect_code(77);
    assert_eq!(failed.stdout, "", "nothing happened before it failed");
    assert!(failed.stderr.contains("wrong: FAILED: error[MG-203]") && failed.stderr.contains("hint: "), "{}", failed.stderr);
    // Of several some failed.
    let both = program.run_to_end("collect", &[]).expect_code(75);
    assert!(both.stdout.contains("two: 0 delivered"), "{}", both.stdout);
    let unknown = program.run_to_end("collect", &["nobody"]).expect_code(64);
    assert!(unknown.stderr.contains("no collector is called `nobody`") && unknown.stderr.contains("two, wrong"), "{}", unknown.stderr);
    let status = program.run_to_end("status", &[]).expect_success();
    assert!(status.stdout.contains("1 needs attention") && status.stdout.contains("  ! MG-203"), "{}", status.stdout);
    let one = program.run_to_end("status", &["wrong"]).expect_code(75);
    assert!(one.stdout.contains("state         failing") && one.stdout.contains("MG-203"), "{}", one.stdout);
    assert!(!format!("{}{}{}", status.stdout, one.stdout, failed.stderr).contains("no such password"), "a secret got out");
    daemon.stop();
}

/// What is wrong has the same code, whoever collects: the daemon or a process of its own.
#[test]
fn collect_and_once_end_with_the_same_codes() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let dead = ports::Port::reserve();
    let off = |collector: CollectorYaml| collector.set("enabled", "false").forward_to("anna@example.org");
    let collectors = [
        off(CollectorYaml::imap(&server, "well")),
        off(CollectorYaml::imap(&server, "nowhere").set("folders", "[NoSuchFolder]")),
        off(CollectorYaml::imap(&server, "nowhere2").set("folders", "[NoSuchFolder]")),
        off(CollectorYaml::imap(&server, "refused")),
        off(CollectorYaml::at("imap", "dead", dead.number())),
    ];
    let text = crate::kit::with_wrong_password(&config(&sink.delivery(), &collectors), "refused");
    let program = Mailgather::new(&text);
    server.maildir("well").make();
    let cases: [(&[&str], i32); 6] =
        [(&["well"], 0), (&["nowhere"], 78), (&["refused"], 77), (&["dead"], 69), (&["nowhere", "nowhere2"], 78), (&["nowhere", "well"], 75)];
    for (names, code) in cases {
        let done = program.once(names).expect_code(code);
        assert!(!done.stdout.contains("nowhere: 0 delivered") && !done.stdout.contains("dead: 0 delivered"), "{names:?}: {}", done.stdout);
    }
    let daemon = program.run();
    socket(&program);
    for (names, code) in cases {
        program.run_to_end("collect", names).expect_code(code);
    }
    daemon.stop().expect_success();
}

/// Only a session that goes well ends a row of failures, whoever asks for sessions and by whatever way; then nothing is left of it.
#[test]
fn failures_are_counted_until_a_session_goes_well() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let proxy = FaultProxy::start(server.imap());
    let collectors = [imap(&server, "locked").set("interval", "1m"), imap(&server, "far").by_port(proxy.port())];
    let text = config(&sink.delivery(), &collectors);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong").unwrap();
    let (before, locked) = text.split_once("  locked:\n").unwrap();
    let line = locked.lines().find(|line| line.contains("password: {env:")).unwrap();
    let program =
        Mailgather::new(&format!("{before}  locked:\n{}", locked.replacen(line, &format!("    password: {{file: '{}'}}", file.path().display()), 1)));
    proxy.set(Towards::Client, Fault::Close(0));
    let daemon = program.run();
    socket(&program);
    let of = |id: &str| -> Value {
        let json: Value = serde_json::from_str(&program.run_to_end("status", &["--json"]).expect_success().stdout).unwrap();
        json["collectors"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap().clone()
    };
    eventually("both fail", SOON, || of("locked")["failures"] == 1 && of("far")["failures"] == 1);
    let since = of("locked")["failing_since"].clone();
    for (n, more) in [&["locked"][..], &["locked", "--limit", "1"], &["locked"]].into_iter().enumerate() {
        program.run_to_end("collect", more).expect_code(77);
        eventually("it is counted", SOON, || of("locked")["failures"] == n + 2 && of("locked")["next"].is_string());
        // A login that is refused is tried again after 15 min, and twice as long each time, whoever tried it.
        let next: jiff::Timestamp = of("locked")["next"].as_str().unwrap().parse().unwrap();
        let wait = next.duration_since(jiff::Timestamp::now()).as_secs();
        assert!(wait > (900 << (n + 1)) - 60, "{n}: {wait} s");
    }
    assert_eq!(of("locked")["failing_since"], since);
    let shown = program.run_to_end("status", &[]).expect_success().stdout;
    assert!(shown.contains("failing ×4") && shown.contains("2 need attention") && shown.matches("  ! MG-").count() >= 2, "{shown}");
    assert!(
        daemon.count_log("collector=locked") > 0 && daemon.log().iter().any(|line| line.contains("session_failed") && line.contains("failures=4"))
    );
    // Both are well again: neither a number nor a hint is left.
    std::fs::write(file.path(), PASSWORD).unwrap();
    proxy.set(Towards::Client, Fault::Close(u64::MAX));
    program.run_to_end("collect", &[]).expect_success();
    let shown = program.run_to_end("status", &[]).expect_success().stdout;
    assert!(!shown.contains("failing") && !shown.contains("  ! ") && !shown.contains("hint") && !shown.contains("attention"), "{shown}");
    for id in ["locked", "far"] {
        let one = of(id);
        assert!(one["failures"] == 0 && one["error"].is_null() && one["failing_since"].is_null(), "{one}");
        assert!(!program.run_to_end("status", &[id]).expect_success().stdout.contains("MG-"));
    }
    daemon.stop().expect_success();
}

#[test]
fn status_shows_what_runs() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program =
        Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").set("title", "Отдел"), imap(&server, "two").set("enabled", "false")]));
    let without = program.run_to_end("status", &[]).expect_code(69);
    assert!(
        without.stderr.contains("error[MG-501]: cannot talk to the daemon") && without.stderr.contains("hint: no daemon runs"),
        "{}",
        without.stderr
    );
    // What starts one with this file; systemd does not.
    let start = format!("`mailgather run --config {} --state-dir {}` starts one", program.config_file().display(), program.state_dir().display());
    assert!(without.stderr.contains(&start) && !without.stderr.contains("systemctl"), "{}", without.stderr);
    server.put("one", &letter(1));
    let daemon = running(&program, 1);
    socket(&program);
    let shown = program.run_to_end("status", &[]).expect_success().stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("SERVICE  running ") && lines[0].contains("config ok") && lines[0].contains("2 collectors"), "{shown}");
    let one = lines.iter().find(|line| line.starts_with("one ")).unwrap();
    assert!(one.contains("imap 127.0.0.1") && one.contains(" ok ") && one.contains("ago") && one.contains(" in "), "{shown}");
    assert!(lines.iter().any(|line| line.starts_with("two ") && line.contains(" off ")), "{shown}");
    let json: Value = serde_json::from_str(&program.run_to_end("status", &["--json"]).expect_success().stdout).unwrap();
    let of_one = &json["collectors"][0];
    assert_eq!((&of_one["id"], &of_one["state"], &of_one["title"]), (&"one".into(), &"ok".into(), &"Отдел".into()), "{json}");
    assert_eq!((&of_one["since_start"]["messages"]["taken"], &of_one["since_start"]["sessions"]["ok"]), (&1.into(), &1.into()), "{json}");
    assert!(of_one["last_mail"].is_string() && of_one["next"].is_string() && of_one["error"].is_null(), "{json}");
    assert_eq!(json["service"]["pid"], Value::from(daemon.pid()));
    let detail = program.run_to_end("status", &["one"]).expect_success().stdout;
    assert!(detail.contains("one (Отдел)") && detail.contains("→ anna@example.org") && detail.contains("1 messages"), "{detail}");
    assert!(!shown.contains(PASSWORD) && !json.to_string().contains(PASSWORD) && !detail.contains(PASSWORD), "a secret got out");
    daemon.stop().expect_success();
}

#[test]
fn reload_says_what_changed_or_where_the_file_is_wrong() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let good = config(&sink.delivery(), &[imap(&server, "one")]);
    let program = Mailgather::new(&good);
    let daemon = running(&program, 1);
    socket(&program);
    assert_eq!(program.run_to_end("reload", &[]).expect_success().stdout, "nothing changed\n");
    program.configure(&config(&sink.delivery(), &[imap(&server, "one").set("interval", "2h"), imap(&server, "two")]));
    let done = program.run_to_end("reload", &["--wait"]).expect_success();
    // The watcher may have been faster, which is the same to everybody but this line.
    assert!(["added: two; changed: one\n", "nothing changed\n"].contains(&done.stdout.as_str()), "{}", done.stdout);
    eventually("the new collector", SOON, || daemon.count_log("session_finished") >= 2);
    assert_eq!(daemon.counted("added=1 changed=1 removed=0 unchanged=0", 1), 1, "{:?}", daemon.log());
    program.configure(&good.replace("interval:", "intervall:"));
    let failed = program.run_to_end("reload", &["--wait"]).expect_code(78);
    assert!(failed.stderr.contains("error[MG-101]: unknown key `intervall`") && failed.stderr.contains(".yaml:"), "{}", failed.stderr);
    assert!(failed.stderr.contains("^^^") && failed.stderr.contains("stays in force"), "{}", failed.stderr);
    // The daemon goes on with what it had, and says so as long as it is so.
    server.put("two", &letter(1));
    // The command finds the socket though the file is broken: it is beside the state that the command line names.
    assert_eq!(program.run_to_end("collect", &["two"]).expect_success().stdout, "two: 1 delivered\n");
    let status = program.run_to_end("status", &[]).expect_success().stdout;
    assert!(status.contains("CONFIG REJECTED") && status.contains("unknown key `intervall`"), "{status}");
    program.configure(&good);
    program.run_to_end("reload", &[]).expect_success();
    assert!(program.run_to_end("status", &[]).expect_success().stdout.contains("config ok"));
    daemon.stop().expect_success();
}

#[test]
fn stop_ends_the_daemon_and_waits() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let mut daemon = running(&program, 1);
    socket(&program);
    // Whoever waits as its parent has to fetch its end: the command is run beside that.
    let mut command = program.command("stop", &["--wait"]);
    let asked = std::thread::spawn(move || command.output().unwrap());
    eventually("the end", SOON, || !daemon.is_alive());
    let asked = asked.join().unwrap();
    assert!(asked.status.success() && String::from_utf8_lossy(&asked.stderr).contains("the daemon has ended"), "{asked:?}");
    assert!(daemon.counted("stop_requested by=\"cli", 1) == 1 && daemon.counted("service_stopped", 1) == 1, "{:?}", daemon.log());
}

/// A limit is one session with at most so many new messages; the rest comes later, each once, also while the collector runs and waits in IDLE.
#[test]
fn a_limit_takes_so_many_and_the_rest_comes_later() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let one = imap(&server, "one").after("delete").set("idle", "off");
    let program = Mailgather::new(&config(&sink.delivery(), &[one, imap(&server, "off").after("delete").set("enabled", "false")]));
    (0..7).for_each(|n| server.put("one", &letter(n)));
    (0..5).for_each(|n| server.put("off", &letter(100 + n)));
    // Without a daemon.
    let done = program.run_to_end("once", &["one", "--limit", "2"]).expect_success();
    assert!(done.stdout.contains("one: 2 delivered") && server.count("one") == 5, "{}", done.stdout);
    let daemon = running(&program, 1);
    sink.wait_for(7);
    let path = socket(&program);
    (7..13).for_each(|n| server.put("one", &letter(n)));
    assert_eq!(program.run_to_end("collect", &["one", "--limit", "3"]).expect_success().stdout, "one: 3 delivered\n");
    assert_eq!((sink.count(), server.count("one")), (10, 3));
    assert_eq!(program.run_to_end("collect", &["off", "--limit", "4"]).expect_success().stdout, "off: 4 delivered\n");
    assert_eq!((sink.count(), server.count("off")), (14, 1));
    // It goes on as before: asked, it takes all that is left.
    assert_eq!(program.run_to_end("collect", &[]).expect_success().stdout, "one: 3 delivered\n");
    let (status, body) = request(&path, "POST", "/v1/collectors/off/collect?wait=30s", "{\"limit\": 1}");
    assert!(status == 200 && body.contains("\"delivered\":1"), "{body}");
    for (place, body) in
        [("/v1/collect", "{\"limit\": 0}"), ("/v1/collect", "{\"since\": \"1d\"}"), ("/v1/collectors/one/collect", "{\"names\": [\"off\"]}")]
    {
        assert_eq!(request(&path, "POST", place, body).0, 400, "{place} {body}");
    }
    for wrong in [
        &["one", "--limit", "0"][..],
        &["one", "--since", "yesterday"],
        &["one", "--purge-collected"],
        &["--purge-collected", "--yes"],
        &["one", "off", "--purge-collected", "--yes"],
        &["one", "--purge-collected", "--yes", "--since", "1d"],
        &["one", "--yes"],
        &["one", "--limit", "1", "--refetch", "1"],
        &["--refetch", "1"],
    ] {
        program.run_to_end("collect", wrong).expect_code(64);
    }
    assert!(daemon.counted("collectors=1 names=one limit=3", 1) == 1, "{:?}", daemon.log());
    assert_eq!((server.count("one"), server.count("off")), (0, 0));
    daemon.stop().expect_success();
    let mut subjects: Vec<String> = sink.taken().iter().map(|taken| maildir::field(&taken.content, "Subject").unwrap()).collect();
    let all = subjects.len();
    subjects.sort();
    subjects.dedup();
    assert_eq!((all, subjects.len()), (18, 18));
}

/// A message is delivered once more on purpose, while the daemon runs and without one; what was not collected is refused, and nothing is changed.
#[test]
fn a_message_is_fetched_again_on_purpose() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let pop = CollectorYaml::pop3(&server, "pop").forward_to("anna@example.org").set("interval", "1h");
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").set("idle", "on"), pop]));
    (1..4).for_each(|n| server.put("one", &letter(n)));
    server.put("pop", &letter(9));
    let daemon = running(&program, 2);
    socket(&program);
    sink.wait_for(4);
    let subjects = || {
        let mut subjects: Vec<String> = sink.taken().iter().map(|taken| maildir::field(&taken.content, "Subject").unwrap()).collect();
        subjects.sort();
        subjects
    };
    let before = sessions(&daemon, "one");
    let done = program.run_to_end("collect", &["one", "--refetch", "2"]).expect_success();
    assert!(done.stdout == "one: 1 delivered\n" && done.stderr.contains("on purpose"), "{}{}", done.stdout, done.stderr);
    assert_eq!(subjects(), ["letter 1", "letter 2", "letter 2", "letter 3", "letter 9"]);
    // New mail comes beside it, and the next pass brings neither again.
    server.put("one", &letter(4));
    assert_eq!(
        program.run_to_end("collect", &["one", "--refetch", "1", "--refetch", "3", "--folder", "INBOX"]).expect_success().stdout,
        "one: 3 delivered\n"
    );
    assert_eq!(program.run_to_end("collect", &[]).expect_success().stdout, "one: 0 delivered\npop: 0 delivered\n");
    assert_eq!(sink.count(), 8);
    assert!(sessions(&daemon, "one") >= before + 3, "each was a pass");
    for (names, words) in [
        (&["one", "--refetch", "77"][..], "is not one that was collected"),
        (&["one", "--refetch", "x"], "is no UID of IMAP"),
        (&["one", "--refetch", "1", "--folder", "Nowhere"], "knows no such folder"),
        (&["one", "pop", "--refetch", "1"], "one collector at a time"),
    ] {
        let refused = program.run_to_end("collect", names).expect_code(64);
        assert!(refused.stderr.contains(words) && !refused.stderr.contains("on purpose"), "{names:?}: {}", refused.stderr);
    }
    assert!(
        daemon.count_log("collector_refetches collector=one") == 2 && daemon.count_log("collectors=1 names=one again=1") >= 1,
        "{:?}",
        daemon.log()
    );
    // By POP3 the name is the one in the log.
    let logged = daemon.log().into_iter().find(|line| line.contains("message_delivered") && line.contains("pop/")).unwrap();
    daemon.stop().expect_success();
    let key = logged.split_whitespace().find_map(|word| word.trim_matches('"').strip_prefix("key=")).map(str::to_owned);
    let uidl = key.as_deref().and_then(|key| key.rsplit('/').next()).unwrap_or_else(|| panic!("{logged}")).trim_matches('"').to_owned();
    let done = program.run_to_end("once", &["pop", "--refetch", &uidl]).expect_success();
    assert!(done.stdout.contains("pop: 1 delivered"), "{}", done.stdout);
    let refused = program.run_to_end("once", &["pop", "--refetch", "nobody"]).expect_code(64);
    assert!(refused.stderr.contains("is not one that was collected") && refused.stderr.contains("nothing was changed"), "{}", refused.stderr);
    assert_eq!(sink.count(), 9);
}

fn sessions(daemon: &crate::support::process::Daemon, id: &str) -> usize {
    daemon.log().iter().filter(|line| line.contains("session_started") && line.contains(&format!("collector={id} "))).count()
}

/// A value that is out of range comes with one that works, and with the file in which the range is.
#[test]
fn a_range_says_what_works_and_where() {
    let collector = || CollectorYaml::at("imap", "one", 1).forward_to("anna@example.org");
    let text = |key: &str, value: &str| config("{lmtp: '127.0.0.1:1'}", &[collector().set(key, value)]);
    let program = Mailgather::new(&text("interval", "1s"));
    let main = program.config_file().display().to_string();
    for (key, value, words) in [
        ("interval", "1s", vec!["write `interval: 5s` here; or set `limits: {interval_min: 1s}` in ", main.as_str(), "`idle: on`"]),
        ("interval", "1ms", vec!["write `interval: 5s` here; no limit lets less than 50ms through"]),
        ("interval", "2d", vec!["write `interval: 24h` here; or set `limits: {interval_max: 2d}` in ", main.as_str(), "`interval: manual`"]),
        ("max_messages_per_session", "1000000", vec!["the nearest that works is `max_messages_per_session: 100000`"]),
    ] {
        program.configure(&text(key, value));
        let refused = program.check().expect_code(78).stderr;
        let hint = refused.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
        assert!(refused.contains("error[MG-112]") && words.iter().all(|word| hint.contains(word)), "{refused}");
    }
    // What the hint says does work.
    program.configure(&format!("limits: {{interval_min: 1s}}\n{}", text("interval", "1s")));
    program.check().expect_success();
}
