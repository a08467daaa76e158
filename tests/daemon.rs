//! The daemon: signals, reloading, stopping, and what it does while a server or the target is down.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::maildir::field;
use support::process::{Daemon, PASSWORD_VARIABLE, Signal};
use support::*;

fn letter(n: usize) -> Vec<u8> {
    format!("From: a@remote.example\r\nSubject: letter {n}\r\nMessage-ID: <{n}@remote.example>\r\n\r\nBody {n}\r\n").into_bytes()
}

fn imap(server: &Dovecot, user: &str) -> CollectorYaml {
    CollectorYaml::imap(server, user).forward_to("anna@example.org")
}

/// A configuration whose collectors may run often.
fn often(config: &str) -> String {
    format!("limits: {{interval_min: 50ms}}\n{config}")
}

/// A configuration with another time of grace.
fn grace(config: &str, time: &str) -> String {
    config.replace("service: {", &format!("service: {{shutdown_grace: {time}, "))
}

/// How often each letter was taken, by its subject.
fn books(sink: &Sink) -> BTreeMap<String, usize> {
    let mut books = BTreeMap::new();
    for taken in sink.taken() {
        *books.entry(field(&taken.content, "Subject").unwrap_or_default()).or_insert(0) += 1;
    }
    books
}

/// Every letter of so many came exactly once.
#[track_caller]
fn assert_each_once(sink: &Sink, letters: usize) {
    let books = books(sink);
    assert_eq!(books.len(), letters, "{books:?}");
    assert!(books.values().all(|&count| count == 1), "{books:?}");
}

/// Waits until a collector's first passes are over, so that a later one is known to be new.
#[track_caller]
fn first_pass(daemon: &mut Daemon) {
    daemon.wait_for("session_finished");
}

/// How many sessions this collector has begun.
fn sessions(daemon: &Daemon, id: &str) -> usize {
    daemon.log().iter().filter(|line| line.contains("session_started") && line.contains(&format!("collector={id} "))).count()
}

#[test]
fn sigusr1_collects_now() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let mut daemon = program.run();
    first_pass(&mut daemon);
    server.put("one", &letter(1));
    daemon.signal(Signal::USR1);
    sink.wait_for(1);
    daemon.wait_for("session_finished");
    daemon.stop().expect_success();
    assert_each_once(&sink, 1);
}

#[test]
fn the_log_says_when_each_collector_begins_and_that_none_does() {
    let dead = |id: &str| CollectorYaml::at("imap", id, 1).forward_to("anna@example.org");
    let several = config("{lmtp: '127.0.0.1:1'}", &[dead("one"), dead("two")]);
    let program = Mailgather::new(&several.replace("start_jitter: 0s", "start_jitter: 30s"));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    let log = daemon.log();
    for id in ["one", "two"] {
        let line = log.iter().find(|line| line.contains(&format!("collector_started collector={id} "))).unwrap_or_else(|| panic!("{log:?}"));
        assert!(line.contains("first_pass=\"in 1 s\"") && line.contains("interval_s="), "{line}");
    }
    assert!(!log.iter().any(|line| line.contains("no_enabled_collector")), "{log:?}");
    // The last one is switched off.
    program.configure(&several.replace("    protocol:", "    enabled: false\n    protocol:"));
    daemon.signal(Signal::HUP);
    let said = daemon.wait_for("no_enabled_collector");
    assert!(said.contains(" warn ") && said.contains("no collector is enabled"), "{said}");
    daemon.stop();
    let alone = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[dead("one")]));
    let mut daemon = alone.run();
    assert!(daemon.wait_for("collector_started").contains("first_pass=now"));
    daemon.stop();
}

/// Also those whose first pass nobody knows yet, or only the clock.
#[test]
fn the_log_says_truly_when_the_first_pass_is() {
    let dead = |id: &str| CollectorYaml::at("imap", id, 1).forward_to("anna@example.org");
    let never_today = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        [(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).weekday().to_monday_zero_offset() as usize + 3) % 7];
    let closed = dead("closed").set("schedule", &format!("{{days: {never_today}, timezone: UTC}}"));
    let program = Mailgather::new(&config("{lmtp: '127.0.0.1:1'}", &[dead("manual").set("interval", "manual"), closed]));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    let log = daemon.log();
    let of = |id: &str| log.iter().find(|line| line.contains(&format!("collector_started collector={id} "))).unwrap_or_else(|| panic!("{log:?}"));
    assert!(of("manual").contains("first_pass=\"on request\""), "{}", of("manual"));
    assert!(of("closed").contains("when its schedule lets it"), "{}", of("closed"));
    daemon.stop();
}

/// `service.enabled: false` holds for `once` as well, but for what is named.
#[test]
fn once_collects_nothing_where_the_service_is_switched_off() {
    let server = Dovecot::start();
    server.put("u", &letter(1));
    let sink = Sink::lmtp();
    let yaml = config(&sink.delivery(), &[imap(&server, "u")]).replacen("service: {", "service: {enabled: false, ", 1);
    let program = Mailgather::new(&yaml);
    let done = program.run_to_end("once", &[]).expect_success();
    assert!(done.stderr.contains("`service: {enabled: false}`: nothing is collected") && done.stdout.is_empty(), "{} {}", done.stdout, done.stderr);
    assert_each_once(&sink, 0);
    program.run_to_end("once", &["u"]).expect_success();
    assert_each_once(&sink, 1);
}

/// A letter from cron is a failure.
#[test]
fn once_quiet_says_nothing_unless_something_fails() {
    let server = Dovecot::start();
    let sink = Sink::lmtp();
    server.put("u", &letter(1));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "u")]));
    for _ in 0..2 {
        let done = program.run_to_end("once", &["-q"]).expect_success();
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    }
    assert_each_once(&sink, 1);
    let dead = CollectorYaml::at("imap", "dead", 1).forward_to("anna@example.org");
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "u"), dead]));
    let done = program.run_to_end("once", &["-q"]).expect_code(75);
    assert_eq!(done.stdout, "dead: 0 delivered\n");
    assert!(done.stderr.contains("dead: FAILED: error[MG-211]"), "{}", done.stderr);
}

#[test]
fn the_interval_collects_again() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&often(&config(&sink.delivery(), &[imap(&server, "one").set("interval", "100ms")])));
    let mut daemon = program.run();
    for n in 1..=3 {
        first_pass(&mut daemon);
        server.put("one", &letter(n));
        sink.wait_for(n);
    }
    daemon.stop().expect_success();
    assert_each_once(&sink, 3);
}

/// Each way to save a file is noticed; then SIGHUP, with nothing to be noticed.
#[test]
fn a_changed_file_is_applied_however_it_is_saved() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let with = |names: &[&str]| {
        let collectors: Vec<_> = names.iter().map(|name| imap(&server, name)).collect();
        config(&sink.delivery(), &collectors)
    };
    let program = Mailgather::new(&with(&["a"]));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    first_pass(&mut daemon);

    program.configure(&with(&["a", "b"]));
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=0 removed=0 unchanged=1"));
    first_pass(&mut daemon);

    std::fs::write(program.config_file(), with(&["a", "b", "c"])).unwrap();
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=0 removed=0 unchanged=2"));
    first_pass(&mut daemon);

    daemon.signal(Signal::HUP);
    daemon.wait_for("config_unchanged");
    assert_eq!(["a", "b", "c"].map(|id| sessions(&daemon, id)), [1, 1, 1], "a reload touches no unchanged collector");
    daemon.stop().expect_success();
}

/// Kubernetes swaps a symbolic link to the folder in which the file is.
#[test]
fn a_swapped_symbolic_link_is_noticed() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new("");
    for (folder, names) in [("..2026_1", &["a"][..]), ("..2026_2", &["a", "b"])] {
        let collectors: Vec<_> = names.iter().map(|name| imap(&server, name)).collect();
        std::fs::create_dir(program.path().join(folder)).unwrap();
        std::fs::write(program.path().join(folder).join("mailgather.yaml"), config(&sink.delivery(), &collectors)).unwrap();
    }
    std::fs::remove_file(program.config_file()).unwrap();
    symlink("..2026_1", program.path().join("..data")).unwrap();
    symlink("..data/mailgather.yaml", program.config_file()).unwrap();
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    symlink("..2026_2", program.path().join("..data_tmp")).unwrap();
    std::fs::rename(program.path().join("..data_tmp"), program.path().join("..data")).unwrap();
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=0 removed=0 unchanged=1"));
    daemon.stop().expect_success();
}

#[test]
fn a_bad_file_is_reported_and_the_old_one_stays() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let good = config(&sink.delivery(), &[imap(&server, "one")]);
    let program = Mailgather::new(&good);
    let mut daemon = program.run();
    first_pass(&mut daemon);
    let line = good.lines().position(|line| line.contains("collect: new")).unwrap() + 1;
    program.configure(&good.replace("collect: new", "collect: never"));
    let problem = daemon.wait_for("config_error");
    assert!(problem.contains(&format!("mailgather.yaml:{line}:")), "the place is named: {problem}");
    daemon.wait_for("config_rejected");
    // Half a file, as an editor without a temporary file leaves it for a moment.
    program.configure(&good[..good.len() / 2]);
    daemon.wait_for("config_rejected");
    std::fs::remove_file(program.config_file()).unwrap();
    daemon.wait_for("config_rejected");
    server.put("one", &letter(1));
    daemon.signal(Signal::USR1);
    sink.wait_for(1);
    // Back to what is in force: nothing to do.
    program.configure(&good);
    daemon.wait_for("config_unchanged");
    daemon.stop().expect_success();
    assert_each_once(&sink, 1);
}

#[test]
fn removed_changed_and_renamed_collectors() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    for user in ["gone", "changed", "renamed", "same"] {
        server.put(user, &letter(1));
    }
    let collectors = |renamed: &str, interval: &str| {
        vec![imap(&server, "same"), imap(&server, "changed").set("interval", interval), imap(&server, "renamed").id(renamed)]
    };
    let before = [collectors("old", "24h"), vec![imap(&server, "gone")]].concat();
    let program = Mailgather::new(&config(&sink.delivery(), &before));
    let mut daemon = program.run();
    for _ in &before {
        first_pass(&mut daemon);
    }
    program.configure(&config(&sink.delivery(), &collectors("young", "12h")));
    assert!(daemon.wait_for("config_loaded").contains("added=1 changed=1 removed=2 unchanged=1"));
    // Both that are new start a session; the renamed one collects nothing twice, as state belongs to the mailbox.
    first_pass(&mut daemon);
    first_pass(&mut daemon);
    assert_eq!(["same", "changed", "old", "young", "gone"].map(|id| sessions(&daemon, id)), [1, 2, 1, 1, 1]);
    ["gone", "changed", "renamed", "same"].iter().for_each(|user| server.put(user, &letter(2)));
    daemon.signal(Signal::USR1);
    sink.wait_for(7);
    daemon.stop().expect_success();
    assert_eq!(books(&sink), BTreeMap::from([("letter 1".to_owned(), 4), ("letter 2".to_owned(), 3)]), "the removed one collects no more");
}

#[test]
fn a_changed_password_file_is_used_at_the_next_login() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    server.put("one", &letter(1));
    let program = Mailgather::new("");
    let secret = program.path().join("secret");
    let write = |password: &str| {
        std::fs::write(&secret, format!("{password}\n")).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("wrong-canary");
    let text = config(&sink.delivery(), &[imap(&server, "one")]);
    program.configure(&text.replace(&format!("{{env: {PASSWORD_VARIABLE}}}"), &format!("{{file: {}}}", secret.display())));
    let mut daemon = program.run();
    daemon.wait_for("session_failed");
    assert_eq!(sink.count(), 0);
    write(dovecot::PASSWORD);
    daemon.signal(Signal::USR1);
    sink.wait_for(1);
    let log = daemon.stop().expect_success().stderr;
    assert_eq!(log.matches("config_loaded").count(), 1, "no reload");
    assert!(!log.contains("wrong-canary") && !log.contains(dovecot::PASSWORD), "a password is in the log");
}

#[test]
fn a_second_instance_says_so() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one")]));
    let mut daemon = program.run();
    first_pass(&mut daemon);
    for subcommand in ["run", "once"] {
        let second = program.run_to_end(subcommand, &[]).expect_code(75);
        assert!(second.stderr.contains("another mailgather uses the state directory") && second.stderr.contains("hint:"), "{}", second.stderr);
    }
    daemon.stop().expect_success();
    program.once(&[]).expect_success();
}

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

/// What was handed over when the stop came is finished, however long its answer takes. Disposals that stay owed: `tests/killsweep.rs`.
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
fn once_names_the_collector_beside_its_hint() {
    let sink = Sink::lmtp();
    let collector = |user| CollectorYaml::at("imap", user, 9).forward_to("anna@example.org");
    let text = config(&sink.delivery(), &[collector("one"), collector("two")]);
    let program = Mailgather::new(&text.replace(PASSWORD_VARIABLE, "NO_SUCH_VARIABLE"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Both get a greeting, and then there is no password: a fault of ours, not a refused login.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.as_ref().unwrap(), b"* OK [CAPABILITY IMAP4rev1] hi\r\n");
            std::mem::forget(stream);
        }
    });
    program.configure(&text.replace(PASSWORD_VARIABLE, "NO_SUCH_VARIABLE").replace("port: 9", &format!("port: {port}")));
    let finished = program.once(&[]).expect_code(78);
    for id in ["one", "two"] {
        let lines: Vec<&str> = finished.stderr.lines().collect();
        let failed = lines.iter().position(|line| line.starts_with(&format!("{id}: FAILED"))).unwrap_or_else(|| panic!("{lines:?}"));
        assert!(lines[failed + 1].starts_with(&format!("hint: {id}: look at what `password`")), "{lines:?}");
        assert!(
            finished.stderr.contains(&format!("{id}: FAILED: error[MG-202]: 127.0.0.1:{port}: login: the environment variable NO_SUCH_VARIABLE")),
            "{}",
            finished.stderr
        );
    }
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

/// The job that runs ends with the old configuration, the next one has the new.
#[test]
fn f54_a_reload_in_mid_delivery() {
    let server = Dovecot::start();
    let old = Sink::lmtp_builder().delay("DOT", 1, Duration::from_secs(2)).start();
    let new = Sink::lmtp();
    server.put("one", &letter(1));
    let with = |sink: &Sink| config(&sink.delivery(), &[imap(&server, "one").after("delete")]);
    let program = Mailgather::new(&with(&old));
    let mut daemon = program.run();
    eventually("the content is sent", SOON, || old.commands().iter().any(|line| line.ends_with("DATA")));
    program.configure(&with(&new));
    daemon.signal(Signal::HUP);
    assert!(daemon.wait_for("config_loaded").contains("added=1"), "the start");
    assert!(daemon.wait_for("config_loaded").contains("changed=1"), "the reload");
    daemon.wait_for("message_delivered");
    server.put("one", &letter(2));
    daemon.signal(Signal::USR1);
    new.wait_for(1);
    daemon.stop().expect_success();
    assert_eq!(books(&old), BTreeMap::from([("letter 1".to_owned(), 1)]));
    assert_eq!(books(&new), BTreeMap::from([("letter 2".to_owned(), 1)]));
    assert_eq!(server.count("one"), 0);
}

/// Reloads at several moments of a large collection: the collector changes, goes, comes back, gets another name. Nothing is lost, nothing
/// comes twice.
#[test]
fn f54_reloads_in_a_large_collection() {
    const LETTERS: usize = 600;
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().delay("DOT", 0, Duration::from_millis(10)).start());
    (0..LETTERS).for_each(|n| server.put("one", &letter(n)));
    let one = || imap(&server, "one").after("delete");
    let with = |collectors: &[CollectorYaml]| config(&sink.delivery(), &[collectors, &[imap(&server, "idle")]].concat());
    let program = Mailgather::new(&with(&[one()]));
    let mut daemon = program.run();
    daemon.wait_for("config_loaded");
    let steps = [
        (20, with(&[one().set("interval", "12h")])),
        (80, with(&[one().set("interval", "12h").id("renamed")])),
        (160, with(&[])),
        (160, with(&[one()])),
        (300, with(&[one().after("keep")])),
        (420, with(&[one()])),
    ];
    for (moment, text) in steps {
        sink.wait_for(moment);
        program.configure(&text);
        daemon.signal(Signal::HUP);
        daemon.wait_for("config_loaded");
    }
    sink.wait_for(LETTERS);
    eventually("the pass ends", SOON, || daemon.count_log("session_started") == daemon.count_log("session_finished"));
    daemon.signal(Signal::USR1);
    daemon.wait_for("collect_requested");
    daemon.wait_for("session_finished");
    daemon.stop().expect_success();
    assert_each_once(&sink, LETTERS);
}

#[test]
fn a_dead_server_backs_off_alone() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let dead = ports::Port::reserve();
    server.maildir("well").make();
    let collectors = [
        imap(&server, "well").set("interval", "100ms"),
        CollectorYaml::at("imap", "dead", dead.number()).forward_to("anna@example.org").set("interval", "100ms"),
    ];
    let program = Mailgather::new(&often(&config(&sink.delivery(), &collectors)));
    let mut daemon = program.run();
    // With jitter of up to a tenth.
    for (n, next) in ["in 1 s", "in 2 s", "in 4 s"].iter().enumerate() {
        let line = daemon.wait_for("session_failed");
        assert!(line.contains("collector=dead") && line.contains(&format!("failures={}", n + 1)) && line.contains(next), "{line}");
        server.put("well", &letter(n));
        sink.wait_for(n + 1);
    }
    daemon.stop().expect_success();
    assert_each_once(&sink, 3);
}

#[test]
fn a_wrong_password_stops_nobody_else() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    server.maildir("well").make();
    let text = often(&config(&sink.delivery(), &[imap(&server, "locked").set("interval", "100ms"), imap(&server, "well").set("interval", "100ms")]));
    let program = Mailgather::new(&text.replacen(PASSWORD_VARIABLE, "WRONG_PASSWORD", 1)).env("WRONG_PASSWORD", "guess-canary");
    let mut daemon = program.run();
    let line = daemon.wait_for("session_failed");
    assert!(line.contains("collector=locked"), "{line}");
    for n in 1..=3 {
        server.put("well", &letter(n));
        sink.wait_for(n);
    }
    assert_eq!(sessions(&daemon, "locked"), 1, "no second try so soon: an account could get locked");
    assert!(sessions(&daemon, "well") > 2);
    let log = daemon.stop().expect_success().stderr;
    assert!(!log.contains("guess-canary"), "a password is in the log");
}

/// A target that is down costs no message a penalty: all come with the first pass after it is back, not after minutes.
#[test]
fn mail_waits_for_a_sink_that_is_down() {
    let server = Dovecot::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("lmtp");
    (1..=5).for_each(|n| server.put("one", &letter(n)));
    let delivery = format!("{{lmtp: 'unix:{}'}}", socket.display());
    let program = Mailgather::new(&often(&config(&delivery, &[imap(&server, "one").after("delete").set("interval", "100ms")])));
    let mut daemon = program.run();
    daemon.wait_for("session_failed");
    assert_eq!(server.count("one"), 5, "mail stays");
    let sink = Sink::lmtp_builder().unix(&socket).start();
    sink.wait_for(5);
    eventually("the source is empty", SOON, || server.count("one") == 0);
    daemon.stop().expect_success();
    assert_each_once(&sink, 5);
}

/// However rarely its box is polled, and however often the operator asks in the meantime: when the target is asked again, the mail comes.
#[test]
fn a_target_that_was_down_is_not_waited_for_longer_than_it_is_left_alone() {
    let server = Dovecot::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("lmtp");
    (1..=5).for_each(|n| server.put("one", &letter(n)));
    let delivery = format!("{{lmtp: 'unix:{}'}}", socket.display());
    let program = Mailgather::new(&config(&delivery, &[imap(&server, "one").after("delete").set("interval", "24h")]));
    let mut daemon = program.run();
    for n in 1..=7 {
        daemon.wait_for("session_failed");
        daemon.signal(Signal::USR1);
        eventually("the signal is heard", SOON, || sessions(&daemon, "one") > n);
    }
    let line = daemon.wait_for("session_failed");
    assert!(line.contains("code=MG-431") && (1..=11).any(|s| line.contains(&format!("next_try=\"in {s} s\""))), "{line}");
    let sink = Sink::lmtp_builder().unix(&socket).start();
    sink.wait_for(5);
    eventually("the source is empty", SOON, || server.count("one") == 0);
    daemon.stop().expect_success();
    assert_each_once(&sink, 5);
}

/// The sink took the message and closed without a word (RFC 1047): one duplicate, with the same id.
#[test]
fn f5_the_sink_closes_after_the_final_dot() {
    for sink in [Sink::builder(), Sink::lmtp_builder()] {
        let sink = sink.take_and_close_at("DOT", 1).start();
        let server = Dovecot::start();
        server.put("one", &letter(1));
        let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
        let mut daemon = program.run();
        let line = daemon.wait_for("message_in_doubt");
        assert!(line.contains("possible duplicate"), "{line}");
        daemon.wait_for("session_finished");
        assert_eq!(server.count("one"), 1, "it stays at the source");
        daemon.signal(Signal::USR1);
        daemon.wait_for("message_delivered");
        daemon.wait_for("session_finished");
        let log = daemon.stop().expect_success().stderr;
        assert_eq!(log.matches("message_in_doubt").count(), 1, "{log}");
        let ids: Vec<_> = sink.taken().iter().map(|taken| field(&taken.content, "X-Mailgather-Id")).collect();
        assert!(ids.len() == 2 && ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
        assert_eq!(server.count("one"), 0);
    }
}

/// The same when nothing was taken: then there is no duplicate at all.
#[test]
fn f5_the_sink_closes_after_the_final_dot_and_has_nothing() {
    let (server, sink) = (Dovecot::start(), Sink::smtp());
    sink.script(|script| script.close_at("DOT", 1));
    server.put("one", &letter(1));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
    let first = program.once(&[]).expect_code(75);
    assert!(first.stderr.contains("message_in_doubt"), "{}", first.stderr);
    assert_eq!(server.count("one"), 1);
    program.once(&[]).expect_success();
    assert_each_once(&sink, 1);
}

/// The answer to the dot takes longer than the source's time limit: the program waits, and nothing comes twice.
#[test]
fn f6_the_sink_is_slow_to_answer_the_dot() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp_builder().delay("DOT", 2, Duration::from_secs(4)).start());
    (1..=3).for_each(|n| server.put("one", &letter(n)));
    let collector = imap(&server, "one").after("delete").set("timeouts", "{idle_data: 1s}");
    let program = Mailgather::new(&config(&sink.delivery(), &[collector]));
    let start = Instant::now();
    program.once(&[]).expect_success();
    assert!(start.elapsed() >= Duration::from_secs(4), "it waited");
    assert_each_once(&sink, 3);
    assert_eq!(server.count("one"), 0);
}

/// TLS is asked for and cannot be had: no mail and no secret in clear, the mail is kept.
#[test]
fn f13_no_tls_no_mail() {
    type Script = fn(sink::Builder) -> sink::Builder;
    let scripts: [(&str, Script); 3] = [
        ("not offered", |script| script),
        ("refused", |script| script.capabilities(&["STARTTLS", "AUTH PLAIN"]).on("?", 1, "454 4.7.0 TLS not available")),
        // What comes behind the answer in the same packet was not sent under TLS, and nobody may believe it.
        ("with injected octets", |script| {
            script.capabilities(&["STARTTLS", "AUTH PLAIN"]).on("?", 1, "220 2.0.0 Ready\n250-sink.test\n250 AUTH PLAIN")
        }),
    ];
    for (name, script) in scripts {
        let (server, sink) = (Dovecot::start(), script(Sink::builder()).start());
        server.put("one", &letter(1));
        let delivery =
            format!("{{smtp: 'localhost:{}', tls: {{mode: starttls}}, auth: {{username: gate, password: {{env: RELAY_PASSWORD}}}}}}", sink.port());
        let program = Mailgather::new(&config(&delivery, &[imap(&server, "one").after("delete")])).env("RELAY_PASSWORD", "relay-canary");
        let finished = program.once(&[]).expect_code(75);
        assert!(!finished.stderr.contains("relay-canary") && finished.stderr.contains("TLS"), "{name}: {}", finished.stderr);
        let in_clear: Vec<String> =
            sink.commands().into_iter().filter(|line| ["AUTH", "MAIL", "RCPT", "DATA"].iter().any(|verb| line.contains(verb))).collect();
        assert_eq!(in_clear, [""; 0], "{name}");
        assert_eq!((sink.count(), server.count("one")), (0, 1), "{name}: the mail is kept");
    }
}

/// A broken ledger: nothing is disposed of, the error names the file, and nothing else is harmed.
#[test]
fn f43_a_ledger_that_cannot_be_used() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    server.put("one", &letter(1));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
    let ledger = program.state_dir().join("ledger.db");
    std::fs::write(&ledger, vec![0x55; 16384]).unwrap();
    let finished = program.once(&[]).expect_code(74);
    assert!(finished.stderr.contains("ledger.db"), "{}", finished.stderr);
    assert_eq!((sink.count(), server.count("one")), (0, 1));
    std::fs::remove_file(&ledger).unwrap();
    program.once(&[]).expect_success();
    assert_each_once(&sink, 1);
}

/// Each page of the ledger's files in turn is garbage: the mail is delivered or stays at its source, and nothing panics.
#[test]
fn f43_a_ledger_with_a_broken_page() {
    const PAGE: usize = 4096;
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    server.put("one", &letter(0));
    let program = Mailgather::new(&config(&sink.delivery(), &[imap(&server, "one").after("delete")]));
    program.once(&[]).expect_success();
    let files = ["ledger.db", "ledger.db-wal"].map(|name| program.state_dir().join(name));
    // All pages into the file itself: behind a log that has them too, a broken one would not be noticed.
    let connection = rusqlite::Connection::open(&files[0]).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let good = files.clone().map(|file| std::fs::read(file).ok());
    let mut refused = 0;
    let mut expected = 1;
    for (file, octets) in files.iter().zip(&good) {
        for page in (0..octets.as_ref().map_or(0, Vec::len)).step_by(PAGE) {
            for (file, octets) in files.iter().zip(&good) {
                match octets {
                    Some(octets) => std::fs::write(file, octets).unwrap(),
                    None => drop(std::fs::remove_file(file)),
                }
            }
            let mut broken = octets.clone().unwrap();
            let end = (page + PAGE).min(broken.len());
            broken[page..end].fill(0xa5);
            std::fs::write(file, broken).unwrap();
            server.put("one", &letter(expected));
            expected += 1;
            let finished = program.once(&[]);
            assert!([Some(0), Some(74)].contains(&finished.status.code()), "{}\n{}", finished.status, finished.stderr);
            assert!(!finished.stderr.contains("panicked") && !finished.stderr.contains("internal_error"), "{}", finished.stderr);
            refused += usize::from(!finished.status.success());
            let books = books(&sink);
            assert!(books.len() + server.count("one") >= expected, "page {page} of {}: lost: {books:?}", file.display());
        }
    }
    assert!(refused > 0, "some pages matter");
    files.iter().for_each(|file| drop(std::fs::remove_file(file)));
    program.once(&[]).expect_success();
    assert_eq!(books(&sink).len(), expected, "all have come in the end");
    assert_eq!(server.count("one"), 0);
}

/// Another process holds the ledger for longer than we wait: nothing is lost, and it goes on by itself.
#[test]
fn f43_a_ledger_that_is_locked() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let collector = imap(&server, "one").after("delete").set("interval", "100ms");
    let program = Mailgather::new(&often(&config(&sink.delivery(), &[collector])));
    let mut daemon = program.run();
    first_pass(&mut daemon);
    let locker = lock(&program.state_dir().join("ledger.db"));
    server.put("one", &letter(1));
    let line = daemon.wait_for("session_failed");
    assert!(line.contains("ledger.db") && line.contains("lock"), "{line}");
    assert_eq!(server.count("one"), 1);
    drop(locker);
    eventually("the source is empty", SOON, || server.count("one") == 0);
    daemon.stop().expect_success();
    assert_each_once(&sink, 1);
}

fn lock(ledger: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(ledger).unwrap();
    connection.busy_timeout(SOON).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    connection
}
