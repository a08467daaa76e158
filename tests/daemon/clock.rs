//! Clocks that jump: the wall clock of the program is another one than ours, by libfaketime. What passes in between is measured by the monotonic clock,
//! which nobody can set.

use super::*;
use std::path::{Path, PathBuf};

/// Where Debian's libfaketime is.
fn library() -> PathBuf {
    let path = Path::new("/usr/lib").join(format!("{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH));
    assert!(path.exists(), "{} is missing: tests/run packages installs it", path.display());
    path
}

/// The program with a clock of its own, which a file sets: `+0`, `+10y`, `-1h`.
struct Clock {
    program: Mailgather,
    file: PathBuf,
}

impl Clock {
    fn new(config: &str) -> Clock {
        let program = Mailgather::new(config);
        let file = program.path().join("clock");
        std::fs::write(&file, "+0\n").unwrap();
        let library = library().display().to_string();
        let program = program
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_RESET", "1")
            .env("TZ", "Europe/Berlin");
        Clock { program, file }
    }

    fn set(&self, time: &str) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{time}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }
}

/// Jumps while the daemon runs: ten years on, back, an hour back, over the end of 32 bits, over both changes of the summer time. Mail goes on coming, once each;
/// the interval is neither stuck nor run through.
#[test]
fn f46_the_clock_jumps_while_the_daemon_runs() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let collectors = [
        imap(&server, "kept").set("interval", "1s"),
        imap(&server, "gone").after("delete").set("interval", "1s"),
        CollectorYaml::pop3(&server, "pop").forward_to("anna@example.org").set("interval", "1s"),
    ];
    let clock = Clock::new(&often(&config(&sink.delivery(), &collectors)));
    let mut daemon = clock.program.run();
    (0..3).for_each(|_| first_pass(&mut daemon));
    let mut letters = 0;
    let started = std::time::Instant::now();
    for time in ["+10y", "+0", "-1h", "@2038-01-19 04:14:06", "@2026-03-29 01:59:59", "@2026-10-25 02:59:59", "-10y", "+0"] {
        clock.set(time);
        for user in ["kept", "gone", "pop"] {
            server.put(user, &letter(letters));
            letters += 1;
        }
        sink.wait_for(letters);
    }
    let passes = sessions(&daemon, "kept");
    assert!(passes as u64 <= started.elapsed().as_secs() + 3, "{passes} passes in {:?}", started.elapsed());
    assert!(daemon.count_log("session_failed") == 0 && daemon.count_log("panicked") == 0, "{:?}", daemon.log());
    daemon.stop().expect_success();
    // Starts under other clocks bring nothing twice either.
    for time in ["+10y", "-1h", "+0"] {
        clock.set(time);
        clock.program.once(&[]).expect_success();
    }
    assert_each_once(&sink, letters);
    assert_eq!((server.count("kept"), server.count("gone"), server.count("pop")), (letters / 3, 0, letters / 3));
}

/// What waits for its next try is neither lost nor tried in a storm when the clock jumps.
#[test]
fn f46_what_was_deferred_waits_no_longer_than_its_delay() {
    let server = Dovecot::start();
    let sink = Sink::lmtp_builder().on_text("RCPT", "anna@", "450 4.2.1 later").start();
    server.put("one", &letter(1));
    let collector = imap(&server, "one").after("delete").set("interval", "100ms");
    let clock = Clock::new(&often(&config(&sink.delivery(), &[collector])));
    let mut daemon = clock.program.run();
    let tried = || sink.commands().iter().filter(|line| line.contains("RCPT")).count();
    eventually("the first try", SOON, || tried() == 1);
    // Back by a day: the next try is not a day and a minute away, and there is no storm of them.
    clock.set("-1d");
    (0..5).for_each(|_| first_pass(&mut daemon));
    let before = tried();
    assert!(before <= 2, "{before} tries");
    // On by an hour: its time has come.
    clock.set("+1h");
    sink.script(|script| script);
    sink.wait_for(1);
    daemon.stop().expect_success();
    assert_each_once(&sink, 1);
    assert_eq!(server.count("one"), 0);
}
