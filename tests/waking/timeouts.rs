//! `timeouts`: servers that do not answer, at each stage, and what holds without a limit.

use super::*;
use std::time::{Duration, Instant};

const PROTOCOLS: [fn(&Dovecot, &str) -> CollectorYaml; 2] = [CollectorYaml::imap, CollectorYaml::pop3];

/// A listener whose queue is full, so that the system answers no further SYN: the connection is not even made.
struct FullBacklog {
    _listener: tokio::net::TcpListener,
    _waiting: Vec<std::net::TcpStream>,
    port: u16,
}

impl FullBacklog {
    fn start(runtime: &tokio::runtime::Runtime) -> FullBacklog {
        let _inside = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the queue has no end");
        }
        FullBacklog { _listener: listener, _waiting: waiting, port: address.port() }
    }
}

/// No connection, no greeting: the end comes after `timeouts.connect`, and says which of the two it was. A connect that is as slow as it may be is none.
#[test]
fn m16_a_server_that_does_not_answer_is_given_up_in_time() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (full, hole) = (FullBacklog::start(&runtime), BlackHole::start());
    for (port, stage, code, exit) in [(full.port, "connect", "MG-211", 69), (hole.port(), "greeting", "MG-212", 75)] {
        for protocol in ["imap", "pop3"] {
            let collector = CollectorYaml::at(protocol, "u", port).forward_to(BOX).set("timeouts", "{connect: 1500ms, idle_data: 1h}");
            let start = Instant::now();
            let done = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[collector])).once(&[]).expect_code(exit);
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(1500) && took < Duration::from_secs(15), "{protocol} {stage}: {took:?}");
            assert!(
                done.stderr.contains(&format!("error[{code}]")) && done.stderr.contains(&format!("{stage}: ")),
                "{protocol} {stage}: {}",
                done.stderr
            );
        }
    }
    // A handshake that does not come either.
    let collector = CollectorYaml::at("imap", "u", hole.port()).forward_to(BOX).set("timeouts", "{connect: 1500ms, idle_data: 1h}");
    let yaml = config("{lmtp: '127.0.0.1:1'}", &[collector]).replace("    tls: {mode: none}\n    auth: {allow_plaintext: true}\n", "");
    let start = Instant::now();
    let done = Mailgather::new(&yaml).once(&[]).expect_code(75);
    assert!(start.elapsed() < Duration::from_secs(15) && done.stderr.contains("error[MG-212]"), "{}", done.stderr);
}

/// A server that falls silent, wherever in a session, is given up after `timeouts.idle_data`; nothing is lost, and all comes once.
#[test]
fn m17_a_server_that_falls_silent_is_given_up_in_time() {
    for (protocol, user) in PROTOCOLS.into_iter().zip(["imap", "pop"]) {
        let (server, boxes) = (Dovecot::start(), Boxes::new());
        (0..5).for_each(|n| put(&server, user, n));
        let collector = protocol(&server, user).forward_to(BOX).after("delete");
        let proxy = FaultProxy::start(collector.port());
        let program = Mailgather::new(&config(&boxes.delivery(), &[collector.by_port(proxy.port()).set("timeouts", "{idle_data: 1s}")]));
        // Behind the greeting, in the login, in the listing, in the middle of a message.
        for octets in [150, 400, 700, 1500] {
            proxy.set(Towards::Client, Fault::Stall(octets));
            let (start, struck) = (Instant::now(), proxy.struck());
            let done = program.once(&[]);
            assert!(start.elapsed() < Duration::from_secs(30), "{user} {octets}: {:?}", start.elapsed());
            // A message by itself may make a session too short to fall silent in.
            if proxy.struck() > struck {
                assert_ne!(done.status.code(), Some(0), "{user} {octets}: {}", done.stderr);
                assert!(done.stderr.contains("error[MG-212]"), "{user} {octets}: {}", done.stderr);
            }
            let gone = 5 - server.count(user);
            assert!(boxes.of(BOX).count() >= gone, "{user} {octets}: what is gone has arrived");
        }
        assert!(proxy.struck() >= 3, "{user}: {} stalls", proxy.struck());
        proxy.set(Towards::Client, Fault::None);
        program.once(&[]).expect_success();
        assert_arrived(&boxes, 0..5);
        assert_eq!(server.count(user), 0);
    }
}

/// 0 is no limit: warned of, and kept to; such a collector waits alone, and a stop ends it.
#[test]
fn m16_m17_no_limit_is_taken_with_a_warning() {
    let (server, boxes, hole) = (Dovecot::start(), Boxes::new(), BlackHole::start());
    for zero in ["0", "0s", "0ms"] {
        let patient =
            |id: &str| CollectorYaml::at("imap", id, hole.port()).forward_to(BOX).set("timeouts", &format!("{{connect: {zero}, idle_data: {zero}}}"));
        let yaml = config(&boxes.delivery(), &[patient("patient"), imap(&server, "other").set("interval", "5s")]);
        let program = Mailgather::new(&yaml);
        let checked = program.check().expect_success();
        for key in ["connect", "idle_data"] {
            assert!(checked.stderr.contains(&format!("`{key}: 0`")), "{zero}: {}", checked.stderr);
        }
        if zero != "0" {
            continue;
        }
        put(&server, "other", 0);
        let mut daemon = program.run();
        eventually("the other one is collected", SOON, || boxes.of(BOX).count() == 1);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!((sessions(&daemon, "patient"), daemon.count_log("session_failed")), (1, 0));
        assert!(daemon.is_alive());
        let stopped = daemon.stop().expect_success();
        assert!(stopped.took < Duration::from_secs(20), "{:?}", stopped.took);
    }
    // A limit that is said is no reason to warn.
    let finite = CollectorYaml::at("imap", "u", 1).forward_to(BOX).set("timeouts", "{connect: 10s, idle_data: 5m}");
    assert!(!Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[finite])).check().expect_success().stderr.contains("warning"));
}
