//! A start beside many bad servers.

use super::*;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Accepts on every address of 127.0.0.0/8, so that each can be a host of its own; `greets` with one octet a second, or is silent.
fn bad_server(drips: bool) -> u16 {
    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let dripping = Arc::clone(&open);
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| open.lock().unwrap().push(stream)));
    if drips {
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                dripping.lock().unwrap().iter_mut().for_each(|stream| {
                    let _ = stream.write_all(b"*");
                });
            }
        });
    }
    port
}

/// 100 servers that never answer, 50 that drip, each a host of its own, all asked before 10 that are well: these get their mail within seconds, and again
/// at each interval. The bad ones are reported.
#[test]
fn f26_f27_a_start_with_many_black_holes_holds_up_nobody() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let (silent, dripping) = (bad_server(false), bad_server(true));
    let bad = |n: usize| {
        let port = if n < 100 { silent } else { dripping };
        let yaml = CollectorYaml::at("imap", &format!("a{n:03}"), port).forward_to(BOX).set("timeouts", "{connect: 25s}").to_string();
        yaml.replace("server: 127.0.0.1\n", &format!("server: 127.1.{}.{}\n", n / 100, n % 100 + 1))
    };
    // By their names they stand behind all bad ones.
    let good: Vec<CollectorYaml> = (0..10).map(|n| imap(&server, &format!("z{n}")).set("interval", "5s")).collect();
    (0..10).for_each(|n| put(&server, &format!("z{n}"), n));
    let yaml = config(&boxes.delivery(), &good) + &(0..150).map(bad).collect::<String>();
    let start = Instant::now();
    let program = Mailgather::new(&yaml);
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    eventually("the good ones are collected", Duration::from_secs(20), || boxes.of(BOX).count() == 10);
    let first = start.elapsed();
    assert_eq!(daemon.count_log("session_failed"), 0, "no bad one had to come to its end for that");
    (0..10).for_each(|n| put(&server, &format!("z{n}"), 10 + n));
    eventually("and again", SOON, || boxes.of(BOX).count() == 20);
    eprintln!("first mail of all after {first:?}");
    eventually("all bad ones are reported", Duration::from_secs(120), || {
        let failed: BTreeSet<String> = daemon.log().iter().filter(|line| line.contains("session_failed")).cloned().collect();
        (0..150).all(|n| failed.iter().any(|line| line.contains(&format!("collector=a{n:03} "))))
    });
    // While they are tried again, too.
    (0..10).for_each(|n| put(&server, &format!("z{n}"), 20 + n));
    eventually("at each interval", SOON, || boxes.of(BOX).count() == 30);
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..30);
}

/// A backlog goes on at once, session by session, and others get their turn between them, though there is one permit for all.
#[test]
fn i12_a_backlog_goes_on_at_once_and_others_get_their_turn() {
    const BACKLOG: usize = 300;
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    (0..BACKLOG).for_each(|n| put(&server, "big", n));
    let big = imap(&server, "big").set("max_messages_per_session", "10");
    let small = imap(&server, "small").set("interval", "100ms");
    let program = Mailgather::new(&often(&service(&config(&boxes.delivery(), &[big, small]), "max_sessions: 1")));
    let daemon = program.run();
    for n in 0..3 {
        let before = sessions(&daemon, "big");
        put(&server, "small", BACKLOG + n);
        eventually("the small one's letter", SOON, || boxes.subjects(BOX).contains(&format!("letter {}", BACKLOG + n)));
        assert!(n > 0 || before < BACKLOG / 10, "the backlog was over before the test began");
    }
    eventually("all of the backlog, without a wait of a day", SOON, || boxes.of(BOX).count() == BACKLOG + 3);
    // Between two sessions of the big one there was never a crowd of the small one's, nor the other way about.
    eventually("the last sessions", SOON, || lines(&daemon, "session_finished", "big") >= BACKLOG / 10);
    let begun: Vec<bool> = daemon.log().iter().filter(|line| line.contains("session_started")).map(|line| line.contains("collector=big ")).collect();
    let first_small = begun.iter().position(|big| !big).unwrap();
    assert!(first_small < 5, "the small one had to wait for {first_small} sessions of the big one");
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..BACKLOG + 3);
    assert_eq!(server.count("big"), BACKLOG);
}
