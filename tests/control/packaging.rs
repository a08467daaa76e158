//! What packages are made of: the commands that make their parts, and units that the program keeps to.

use crate::kit::{imap, letter, socket};
use crate::support::process::{Daemon, PASSWORD_VARIABLE, PROGRAM, Signal, finish};
use crate::support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Enough for what computes, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

fn said(words: &[&str]) -> process::Finished {
    let mut command = Command::new(PROGRAM);
    command.args(words);
    finish(command, LIMIT)
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The values of a key in a unit file, in order.
fn unit(name: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(source("contrib/systemd").join(name)).unwrap();
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
}

fn value(key: &str) -> String {
    unit("mailgather.service", key).pop().unwrap_or_else(|| panic!("the unit has no {key}="))
}

#[test]
fn the_version_has_the_commit() {
    let full = said(&["--version"]).expect_success().stdout;
    assert_eq!(full, said(&["version"]).expect_success().stdout);
    let json: Value = serde_json::from_str(&said(&["version", "--json"]).expect_success().stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    match json["commit"].as_str() {
        Some(commit) => assert_eq!(full, format!("mailgather {} ({commit})\n", env!("CARGO_PKG_VERSION"))),
        None => assert_eq!(full, format!("mailgather {}\n", env!("CARGO_PKG_VERSION"))),
    }
    // Where git is there and nobody said otherwise, it is the commit that is checked out.
    let git = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(source("")).output();
    let head = git.ok().filter(|git| git.status.success() && source(".git").exists()).map(|git| String::from_utf8(git.stdout).unwrap());
    if let (Some(head), None) = (head, std::env::var_os("MAILGATHER_COMMIT")) {
        assert_eq!(json["commit"], head[..12], "build.rs has not seen that HEAD changed");
    }
}

#[test]
fn shells_complete_and_pages_are_written() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = said(&["completions", shell]).expect_success().stdout;
        assert!(text.contains("healthcheck") && text.contains("state-dir"), "{shell}: {text}");
    }
    said(&["completions", "tcsh"]).expect_code(64);
    let complete = "set -e; source <($0 completions bash); COMP_WORDS=(mailgather hea); COMP_CWORD=1; _mailgather mailgather hea mailgather; echo ${COMPREPLY[*]}";
    let mut bash = Command::new("bash");
    bash.args(["-c", complete, PROGRAM]);
    assert_eq!(finish(bash, LIMIT).expect_success().stdout, "healthcheck\n");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    said(&["man", "--dir", pages.to_str().unwrap()]).expect_success();
    let first = std::fs::read_to_string(pages.join("mailgather.1")).unwrap();
    assert_eq!(first, said(&["man"]).expect_success().stdout);
    assert!(pages.join("mailgather-status.1").exists() && pages.join("mailgather-held-release.1").exists());
    let file = pages.join("mailgather.1");
    let refused = said(&["man", "--dir", file.to_str().unwrap()]).expect_code(73);
    assert!(refused.stderr.contains("mailgather.1: "), "{}", refused.stderr);
}

#[test]
fn health_is_that_of_the_daemon_or_of_the_collectors_too() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let good = config(&sink.delivery(), &[imap(&server, "one")]);
    let program = Mailgather::new(&good);
    let without = program.run_to_end("healthcheck", &[]).expect_code(69);
    assert!(without.stderr.contains("error[MG-501]"), "{}", without.stderr);
    let daemon = program.run();
    socket(&program);
    assert_eq!(program.run_to_end("healthcheck", &[]).expect_success().stdout, "healthy\n");
    assert_eq!(program.run_to_end("healthcheck", &["--quiet"]).expect_success().stdout, "");
    eventually("the first pass", SOON, || daemon.count_log("session_finished") > 0);
    program.run_to_end("healthcheck", &["--collectors"]).expect_success();
    // One that cannot be reached, and a file that is wrong.
    let nowhere = imap(&server, "two").by_port(1);
    program.configure(&config(&sink.delivery(), &[imap(&server, "one"), nowhere]));
    program.run_to_end("reload", &[]).expect_success();
    eventually("the failure", SOON, || daemon.count_log("session_failed") > 0);
    let failing = program.run_to_end("healthcheck", &["--collectors"]).expect_code(75);
    assert!(failing.stderr.contains("1 of the collectors fail: two") && failing.stderr.contains("hint: "), "{}", failing.stderr);
    let json: Value = serde_json::from_str(&program.run_to_end("healthcheck", &["--collectors", "--json"]).expect_code(75).stdout).unwrap();
    assert_eq!((&json["failing"][0], &json["config_ok"]), (&"two".into(), &true.into()), "{json}");
    program.configure(&good.replace("interval:", "intervall:"));
    program.run_to_end("reload", &[]).expect_code(78);
    let failing = program.run_to_end("healthcheck", &["--collectors"]).expect_code(75);
    assert!(failing.stderr.contains("was not taken"), "{}", failing.stderr);
    // The daemon itself is well.
    program.run_to_end("healthcheck", &[]).expect_success();
    daemon.stop().expect_success();
}

#[test]
fn a_daemon_that_hangs_is_not_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    // It takes the connection into its queue, and never says a word.
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let hangs = said(&["healthcheck", "--socket", path.to_str().unwrap()]).expect_code(69);
    assert!(hangs.stderr.contains("nothing came in 10 s"), "{}", hangs.stderr);
}

#[test]
fn nothing_is_started_without_a_collector() {
    let program = Mailgather::new("collectors:\n");
    let nothing = program.run_to_end("check", &["--for-start"]).expect_code(75);
    assert!(nothing.stderr.contains("no collector yet"), "{}", nothing.stderr);
    // What is wrong is said by the start itself, loudly.
    program.configure("collectorss:\n");
    program.run_to_end("check", &["--for-start"]).expect_success();
    program.run_to_end("run", &[]).expect_code(78);
    program.run_to_end("check", &["--for-start", "--strict"]).expect_code(64);
    // What the package installs is right as it is, and has no collector; its proposals are right too.
    let shipped = std::fs::read_to_string(source("contrib/debian/mailgather.yaml")).unwrap();
    program.configure(&shipped);
    program.run_to_end("check", &["--for-start"]).expect_code(75);
    assert!(program.check().expect_success().stdout.contains("0 collectors"));
    let password = program.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (head, collectors) = shipped.split_once("\ncollectors:\n").unwrap();
    let chosen = format!("{}\ncollectors:\n{}", head.replacen("#delivery:", "delivery:", 1), collectors.replace('#', " "));
    program.configure(&chosen.replace("/etc/mailgather/secrets/office", password.to_str().unwrap()));
    program.run_to_end("check", &["--for-start"]).expect_success();
    assert!(program.run_to_end("check", &["--strict"]).expect_success().stdout.contains("1 collector, 1 enabled"));
}

/// `systemd-analyze verify` and `security`, with the real program in its place.
#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let mut check = Command::new(source("contrib/systemd/check"));
    check.arg(PROGRAM);
    let said = finish(check, LIMIT).expect_success();
    assert_eq!(said.stdout.matches(": ok").count(), 9, "{}", said.stdout);
}

/// The lines of the unit, in the environment that systemd makes.
#[test]
fn the_unit_is_heeded() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let with_credential = |collector| config(&sink.delivery(), &[collector]).replace(&format!("{{env: {PASSWORD_VARIABLE}}}"), "{credential: one}");
    let good = with_credential(imap(&server, "one"));
    let program = Mailgather::new(&good);
    let folder = |name: &str| {
        let path = program.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (state, runtime, credentials) = (folder("lib"), folder("runtime"), folder("credentials"));
    std::fs::write(credentials.join("one"), dovecot::PASSWORD).unwrap();
    let notify = program.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(SOON)).unwrap();
    let watchdog = Duration::from_secs(value("WatchdogSec").parse().unwrap());
    let command = |key: &str| {
        let line = value(key);
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("/usr/bin/mailgather"), "{line}");
        let mut command = Command::new("sh");
        // What the unit gives besides: the mask.
        command
            .args(["-c", &format!("umask {} && exec \"$@\"", value("UMask")), "sh", PROGRAM])
            .args(words)
            .arg("--config")
            .arg(program.config_file());
        command.env_remove("HOME").env("STATE_DIRECTORY", &state).env("RUNTIME_DIRECTORY", &runtime).env("CREDENTIALS_DIRECTORY", &credentials);
        command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command
    };
    let hear = |wanted: &str| {
        let mut octets = [0; 4096];
        loop {
            let length = systemd.recv(&mut octets).unwrap_or_else(|error| panic!("{wanted} never came: {error}"));
            if String::from_utf8_lossy(&octets[..length]).lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    assert_eq!((value("Type"), value("StateDirectory"), value("RuntimeDirectory")), ("notify".into(), "mailgather".into(), "mailgather".into()));
    finish(command("ExecCondition"), LIMIT).expect_success();
    let daemon = Daemon::start(command("ExecStart"));
    hear("READY=1");
    hear("WATCHDOG=1");
    eventually("the first pass", SOON, || daemon.count_log("session_finished") > 0);
    assert!(runtime.join("control.sock").exists() && state.join("ledger.db").exists());
    assert!(!program.state_dir().join("ledger.db").exists(), "nothing elsewhere");
    for entry in std::fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
    server.put("one", &letter(1));
    program.configure(&with_credential(imap(&server, "one").set("interval", "5s")));
    finish(command("ExecReload"), LIMIT).expect_success();
    sink.wait_for(1);
    program.configure(&good.replace("interval:", "intervall:"));
    let failed = finish(command("ExecReload"), LIMIT).expect_code(78);
    assert!(failed.stderr.contains("mailgather.yaml:") && failed.stderr.contains("unknown key `intervall`"), "{}", failed.stderr);
    daemon.signal(Signal::TERM);
    hear("STOPPING=1");
    daemon.wait(SOON).expect_success();
    assert!(!runtime.join("control.sock").exists());
    // systemd does not try again what ends with this code.
    let code: i32 = value("RestartPreventExitStatus").parse().unwrap();
    finish(command("ExecStart"), LIMIT).expect_code(code);
}

/// The system calls of a group (`systemd-analyze syscall-filter`), with those of the groups in it.
fn group(name: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", name]).output().expect("systemd-analyze: tests/run installs systemd");
    assert!(output.status.success(), "{output:?}");
    let mut calls = BTreeSet::new();
    for word in String::from_utf8(output.stdout).unwrap().lines().filter_map(|line| line.strip_prefix("    ")).filter(|word| !word.starts_with('#')) {
        match word.starts_with('@') {
            true => calls.extend(group(word)),
            false => drop(calls.insert(word.to_owned())),
        }
    }
    calls
}

/// What the daemon and its commands ask of the kernel, against what the unit allows.
#[test]
fn the_program_needs_nothing_that_the_unit_forbids() {
    let mut allowed = group("@default");
    for line in unit("mailgather.service", "SystemCallFilter") {
        let (is_denied, names) = line.strip_prefix('~').map_or((false, line.as_str()), |names| (true, names));
        for call in names.split(' ').flat_map(group) {
            if is_denied {
                allowed.remove(&call)
            } else {
                allowed.insert(call)
            };
        }
    }
    assert!(allowed.len() > 200 && !allowed.contains("setuid") && allowed.contains("fchownat"), "{allowed:?}");
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let group = rustix::process::getgid().as_raw();
    let program = Mailgather::new(&format!("control: {{group: \"{group}\"}}\n{}", config(&sink.delivery(), &[imap(&server, "one")])));
    server.put("one", &letter(1));
    let trace = program.path().join("trace");
    let plain = program.command("run", &[]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&trace).arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let daemon = Daemon::start(command);
    sink.wait_for(1);
    socket(&program);
    program.run_to_end("reload", &[]).expect_success();
    program.run_to_end("stop", &["--wait"]).expect_success();
    daemon.wait(SOON).expect_success();
    let text = std::fs::read_to_string(&trace).unwrap();
    let families: Vec<String> = value("RestrictAddressFamilies").split(' ').map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        // `PID CALL(…`, `PID <... CALL resumed>…`, `PID +++ exited …`.
        let Some((_, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        seen.insert(call.to_owned());
        assert!(allowed.contains(call), "SystemCallFilter= forbids {line}");
        assert!(!(arguments.contains("PROT_WRITE") && arguments.contains("PROT_EXEC")), "MemoryDenyWriteExecute= forbids {line}");
        if let ("socket" | "socketpair", Some((family, _))) = (call, arguments.split_once(',')) {
            assert!(families.iter().any(|known| known == family), "RestrictAddressFamilies= forbids {line}");
        }
    }
    assert!(seen.contains("connect") && (seen.contains("fdatasync") || seen.contains("fsync")), "{seen:?}");
}
