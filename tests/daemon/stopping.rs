//! Signals that end the daemon, at whatever moment: what was handed over is finished, and nothing comes twice.

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stopped at several moments of a large collection: each message comes exactly once, also over the restarts.
fn stopped_and_started(protocol: fn(&Dovecot, &str) -> CollectorYaml) {
    const LETTERS: usize = 600;
    // Slow enough that the stops come in the middle: some seconds for all.
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().delay("DOT", 0, Duration::from_millis(10)).start());
    (0..LETTERS).for_each(|n| server.put("one", &letter(n)));
    let program = Mailgather::new(&config(&sink.delivery(), &[protocol(&server, "one").forward_to("anna@example.org").after("delete")]));
    let mut in_the_middle = 0;
    for moment in [0, 1, 60, 300, 550] {
        let mut daemon = program.run();
        if moment == 0 {
            daemon.wait_for("service_started");
        }
        sink.wait_for(moment);
        let log = daemon.stop().expect_success().stderr;
        assert!(log.contains("service_stopped"), "{log}");
        assert!(server.count("one") + sink.count() >= LETTERS, "what is gone from the source has arrived");
        in_the_middle += usize::from((1..LETTERS).contains(&sink.count()));
    }
    assert!(in_the_middle > 1, "the stops came in the middle");
    program.once(&[]).expect_success();
    assert_each_once(&sink, LETTERS);
    assert_eq!(server.count("one"), 0, "disposals that were owed are made up for");
}

#[test]
fn f56_sigterm_in_a_large_collection_imap() {
    stopped_and_started(CollectorYaml::imap);
}

#[test]
fn f56_sigterm_in_a_large_collection_pop3() {
    stopped_and_started(CollectorYaml::pop3);
}

/// What was handed over when the stop came is finished, however long its answer takes. Disposals that stay owed: `tests/sweeps/killsweep.rs`.
#[test]
fn f56_what_was_handed_over_is_finished() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().delay("DOT", 2, Duration::from_secs(2)).start());
    (0..2).for_each(|n| server.put("one", &letter(n)));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
    let mut daemon = program.run();
    daemon.wait_for("message_delivered");
    daemon.stop().expect_success();
    assert_eq!(sink.count(), 2, "what was handed over is finished");
    let mut daemon = program.run();
    first_pass(&mut daemon);
    daemon.stop().expect_success();
    assert_each_once(&sink, 2);
    assert_eq!(server.count("one"), 0);
}

/// A server that accepts connections and never says a word.
fn mute() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn sigusr2_ends_nothing_and_sigquit_ends_at_once() {
    let (listener, port) = mute();
    let sink = Sink::lmtp();
    let collector = CollectorYaml::at("imap", "one", port).forward_to("anna@example.org");
    let program = Mailgather::new(&grace(&config(&sink.delivery(), &[collector]), "5m"));
    let mut daemon = program.run();
    let _connection: TcpStream = listener.accept().unwrap().0;
    daemon.signal(Signal::USR2);
    let line = daemon.wait_for("status_requested");
    assert!(line.contains("not available yet"), "{line}");
    assert!(daemon.is_alive());
    daemon.signal(Signal::QUIT);
    daemon.wait(SOON).expect_code(75);
}

#[test]
fn f56_sigterm_while_the_source_hangs() {
    for protocol in ["imap", "pop3"] {
        let (listener, port) = mute();
        let sink = Sink::lmtp();
        let collector = CollectorYaml::at(protocol, "one", port).forward_to("anna@example.org");
        let program = Mailgather::new(&grace(&config(&sink.delivery(), &[collector]), "1s"));
        let daemon = program.run();
        let _connection: TcpStream = listener.accept().unwrap().0;
        daemon.signal(Signal::TERM);
        let finished = daemon.wait(SOON);
        assert!([Some(0), Some(75)].contains(&finished.status.code()), "{}\n{}", finished.status, finished.stderr);
    }
}

/// A server that falls silent after so many octets, in any state of the dialogue: the stop ends in time, and the books balance.
#[test]
fn f56_sigterm_while_the_source_hangs_somewhere() {
    for protocol in [CollectorYaml::imap as fn(&Dovecot, &str) -> CollectorYaml, CollectorYaml::pop3] {
        let (server, sink) = (Dovecot::start(), Sink::lmtp());
        let (mut allowed, mut hung, mut user) = (30, 0, 0);
        loop {
            let name = format!("box{user}");
            user += 1;
            (0..3).for_each(|n| server.put(&name, &letter(n)));
            sink.clear();
            let direct = protocol(&server, &name).after("delete").forward_to("anna@example.org");
            let is_imap = direct.to_string().contains("protocol: imap");
            let proxy = Silent::start(if is_imap { server.imap() } else { server.pop3() }, allowed);
            // State hangs on protocol, host and login, not on the port: the next pass goes straight to the server.
            let port = format!("port: {}", if is_imap { server.imap() } else { server.pop3() });
            let text = grace(&config(&sink.delivery(), &[direct]), "500ms");
            let program = Mailgather::new(&text.replace(&port, &format!("port: {}", proxy.port)));
            let daemon = program.run();
            eventually("the server falls silent or the pass ends", SOON, || proxy.is_silent() || daemon.count_log("session_finished") > 0);
            let ended = daemon.count_log("session_finished") > 0;
            daemon.signal(Signal::TERM);
            let finished = daemon.wait(SOON);
            assert!([Some(0), Some(75)].contains(&finished.status.code()), "{allowed}: {}\n{}", finished.status, finished.stderr);
            assert!(server.count(&name) + sink.count() >= 3, "{allowed}: what is gone from the source has arrived");
            program.configure(&text);
            program.once(&[]).expect_success();
            assert_each_once(&sink, 3);
            assert_eq!(server.count(&name), 0, "{allowed}");
            if ended {
                break;
            }
            hung += 1;
            allowed += 149;
        }
        assert!(hung > 3, "{hung} times");
    }
}

/// A proxy that passes on so many octets from the server and then nothing, with the connection open.
struct Silent {
    port: u16,
    silent: Arc<AtomicBool>,
}

impl Silent {
    fn start(to: u16, allowed: usize) -> Silent {
        let (listener, port) = mute();
        let silent = Arc::new(AtomicBool::new(false));
        let flag = silent.clone();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(std::net::Shutdown::Both);
            });
            let (mut left, mut buffer) = (allowed, [0; 4096]);
            while let Some(n) = server.read(&mut buffer).ok().filter(|&n| n > 0) {
                let pass = n.min(left);
                left -= pass;
                if client.write_all(&buffer[..pass]).is_err() {
                    return;
                }
                flag.fetch_or(left == 0, Ordering::SeqCst);
            }
            // The server may close; the client is not told, as long as it was to be kept waiting.
            if left > 0 {
                let _ = client.shutdown(std::net::Shutdown::Both);
            } else {
                let _ = std::io::copy(&mut client, &mut std::io::sink());
            }
        });
        Silent { port, silent }
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }
}

#[test]
fn f56_sigterm_while_the_sink_hangs() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().silence_at("DOT", 1).start());
    (0..3).for_each(|n| server.put("one", &letter(n)));
    let program = Mailgather::new(&grace(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]), "1s"));
    let mut daemon = program.run();
    // Two of three have their answer; the third never gets it.
    daemon.wait_for("message_delivered");
    daemon.wait_for("message_delivered");
    daemon.signal(Signal::TERM);
    let finished = daemon.wait(SOON).expect_code(75);
    assert!(finished.took >= Duration::from_millis(500), "it waited for the grace time: {:?}", finished.took);
    assert!(finished.stderr.contains("service_cut_off"), "{}", finished.stderr);
    assert_eq!(server.count("one"), 3, "nothing was disposed of");
    program.once(&[]).expect_success();
    assert_each_once(&sink, 3);
    assert_eq!(server.count("one"), 0);
}

#[test]
fn f56_a_second_sigterm_ends_at_once() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().silence_at("DOT", 1).start());
    server.put("one", &letter(1));
    let program = Mailgather::new(&grace(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]), "5m"));
    let mut daemon = program.run();
    eventually("the content is sent", SOON, || sink.commands().iter().any(|line| line.ends_with("DATA")));
    daemon.signal(Signal::TERM);
    daemon.wait_for("service_stopping");
    assert!(daemon.is_alive());
    daemon.signal(Signal::TERM);
    daemon.wait(SOON).expect_code(75);
    assert_eq!(server.count("one"), 1);
    program.once(&[]).expect_success();
    assert_each_once(&sink, 1);
}
