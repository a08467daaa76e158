//! What systemd hears, where it is not process 1: a socket of ours stands for it.

use crate::kit::imap;
use crate::support::process::Signal;
use crate::support::*;
use std::os::unix::net::UnixDatagram;
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
