//! What systemd hears, where it is not process 1: a socket of ours stands for it.

use crate::kit::imap;
use crate::support::process::{Daemon, Signal};
use crate::support::*;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn the_service_says_that_it_is_ready_lives_and_ends() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(SOON)).unwrap();
    let hear = |wanted: &str| {
        let mut octets = [0; 4096];
        loop {
            let length = systemd.recv(&mut octets).unwrap_or_else(|error| panic!("{wanted} never came: {error}"));
            let text = String::from_utf8_lossy(&octets[..length]).into_owned();
            if text.lines().any(|line| line == wanted) {
                return text;
            }
        }
    };
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]))
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", &Duration::from_secs(2).as_micros().to_string());
    let daemon = program.run();
    assert!(hear("READY=1").contains("STATUS=1 collectors run"));
    // Ready means that it can be asked.
    program.run_to_end("status", &[]).expect_success();
    (0..3).for_each(|_| drop(hear("WATCHDOG=1")));
    daemon.signal(Signal::TERM);
    hear("STOPPING=1");
    daemon.wait(SOON).expect_success();
}

/// The socket is systemd's: it listens before the daemon is there, starts it with the first question, and outlives it.
#[test]
fn the_control_socket_by_activation() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let path = program.path().join("activated.sock");
    let plain = program.command("run", &[]);
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--fdname=control", "--setenv=MAILGATHER_TEST_PASSWORD", "--listen"]).arg(&path).arg(plain.get_program()).args(plain.get_args());
    command.env("MAILGATHER_TEST_PASSWORD", dovecot::PASSWORD);
    let daemon = Daemon::start(command);
    eventually("the socket", SOON, || path.exists());
    assert_eq!(daemon.count_log("service_started"), 0, "nobody has asked yet");
    // The first that asks has it started, and may be answered before it has read all.
    eventually("it knows its collector", SOON, || {
        program.run_to_end("status", &["--json", "--socket", path.to_str().unwrap()]).expect_success().stdout.contains("\"one\"")
    });
    assert!(!program.state_dir().join("control.sock").exists(), "no second one");
    server.put("one", b"Subject: x\r\n\r\nbody\r\n");
    program.run_to_end("collect", &["--socket", path.to_str().unwrap()]).expect_success();
    assert_eq!(sink.count(), 1);
    let done = daemon.stop().expect_success();
    assert!(!done.stderr.contains("control_unavailable"), "{}", done.stderr);
    assert!(path.exists(), "it is not ours to remove");
}

/// What is called otherwise, or is no unix stream socket that listens, is not spoken on: the daemon says so, and collects.
#[test]
fn what_is_no_control_socket_is_refused() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let folder = tempfile::tempdir().unwrap();
    let unix = || OwnedFd::from(UnixListener::bind(folder.path().join("s")).unwrap());
    for (name, given, words) in [
        ("other", unix(), "none of them is called `control`"),
        ("control", OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap()), "no unix stream socket that listens"),
        ("control", OwnedFd::from(UnixDatagram::bind(folder.path().join("d")).unwrap()), "no unix stream socket that listens"),
        ("control", OwnedFd::from(UnixStream::pair().unwrap().0), "no unix stream socket that listens"),
        ("control", OwnedFd::from(std::fs::File::open("/dev/null").unwrap()), "no unix stream socket that listens"),
    ] {
        let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
        let plain = program.command("run", &[]);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3<&0 </dev/null"]).arg(plain.get_program()).args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("LISTEN_FDNAMES", name).stdin(Stdio::from(given));
        let mut daemon = Daemon::start(command);
        let said = daemon.wait_for("control_unavailable");
        assert!(said.contains(words), "{words}: {said}");
        daemon.wait_for("session_finished");
        daemon.stop().expect_success();
    }
    // What was meant for another process is no concern of ours.
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")])).env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let daemon = program.run();
    eventually("its own socket", SOON, || program.state_dir().join("control.sock").exists());
    daemon.stop().expect_success();
}
