//! `idle`, at servers that do not tell, tell too much, or are not there any more: the interval's poll is the guard.

use super::peer::{Manner, Peer};
use super::*;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use mailgather::collect::idle::{Idle, IdleServers, Passed, Seen};
use mailgather::collect::{Limits, Stop};
use mailgather::config::Idle as Word;
use mailgather::mail::{CollectorId, Epoch, FolderName, RemoteUid};
use mailgather::observe::Counters;
use mailgather::source::{Disposal, Disposed, Fetched, Listing, Selected, Session, Source, SourceError, SourceErrorKind, Want, Wanted, Woken};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A server that accepts IDLE and never tells: the interval finds the mail, says so each time, and with `auto` the server is asked no more.
#[test]
fn m13_a_server_that_misses_messages_is_left_to_the_interval() {
    for (idle, stays) in [("auto", false), ("'on'", true)] {
        let (peer, boxes) = (Peer::start(Manner::Silent), Boxes::new());
        let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", idle).set("interval", "300ms");
        let program = Mailgather::new(&often(&config(&boxes.delivery(), &[collector])));
        let mut daemon = program.run();
        eventually("it waits", SOON, || peer.idling() == 1);
        for n in 0..4 {
            let before = sessions(&daemon, "u");
            eventually("a pass that finds nothing", SOON, || lines(&daemon, "session_finished", "u") >= before + 2);
            peer.put(&letter(n, "anna@pop.example"));
            eventually("the interval finds it", SOON, || boxes.of(BOX).count() == n + 1);
            if n < 3 {
                let line = daemon.wait_for("idle_missed");
                assert!(line.contains(&format!("missed={} ", n + 1)), "{line}");
                assert_eq!(line.contains("this server is left to the interval"), n == 2 && !stays, "{line}");
            }
        }
        if stays {
            daemon.wait_for("missed=4 ");
            eventually("it waits on, on the same connection", SOON, || (peer.idling(), peer.idles()) == (1, 5));
            assert_eq!(daemon.counted("idle_started", 1), 1);
        } else {
            eventually("it is let go", SOON, || peer.idling() == 0);
            assert_eq!((daemon.counted("idle_started", 1), daemon.counted("idle_missed", 3)), (1, 3));
        }
        daemon.stop().expect_success();
        assert_arrived(&boxes, 0..4);
        assert!(peer.logouts() + 1 >= peer.logins(), "every session ended in order, but for a pass that the stop found at its begin");
    }
}

/// What one collector finds out about a server, all of them know that ask for it; until a reload changes one of them.
#[test]
fn m13_a_server_that_misses_the_mail_of_one_is_left_to_the_interval_by_all() {
    let (peer, boxes) = (Peer::start(Manner::Silent), Boxes::new());
    let yaml = |title: &str| {
        let at = |user: &str, idle: &str| CollectorYaml::at("imap", user, peer.port()).forward_to(BOX).set("idle", idle);
        // All mailboxes of this server are one, so that the others' polls would find what the first one does.
        let polled = at("polled", "auto").set("interval", "300ms");
        let others = [("other", "auto"), ("another", "auto"), ("trusting", "'on'")].map(|(user, idle)| at(user, idle).set("interval", "24h"));
        let mut all = vec![polled];
        all.extend(others);
        all[1] = all[1].clone().set("title", title);
        often(&config(&boxes.delivery(), &all))
    };
    let program = Mailgather::new(&yaml("before"));
    let mut daemon = program.run();
    eventually("all wait", SOON, || peer.idling() == 4);
    for n in 0..3 {
        let before = sessions(&daemon, "polled");
        eventually("a pass that finds nothing", SOON, || lines(&daemon, "session_finished", "polled") >= before + 2);
        peer.put(&letter(n, "anna@pop.example"));
        let line = daemon.wait_for("idle_missed");
        assert!(line.contains("collector=polled ") && line.contains(&format!("missed={} ", n + 1)), "{line}");
        assert_eq!(line.contains("by all collectors with `idle: auto`"), n == 2, "{line}");
    }
    eventually("only the one waits that says `on`", SOON, || peer.idling() == 1);
    assert_eq!(["polled", "other", "another", "trusting"].map(|id| lines(&daemon, "idle_left", id)), [0, 1, 1, 0]);
    assert_eq!(lines(&daemon, "idle_started", "trusting"), 1, "it was never asked to end");

    program.configure(&yaml("after"));
    assert!(daemon.wait_for("config_loaded").contains("changed=1 removed=0 unchanged=3"));
    eventually("the server has another chance", SOON, || peer.idling() == 4);
    daemon.stop().expect_success();
}

/// The figures that a metric would show, beside a server that tells and one that does not.
#[test]
fn m13_what_idle_does_is_counted() {
    use mailgather::config::{Environment, parse};
    use mailgather::service::Installation;
    let (peer, server, boxes) = (Peer::start(Manner::Silent), Dovecot::start(), Boxes::new());
    let silent = CollectorYaml::at("imap", "silent", peer.port()).forward_to(BOX).set("idle", "'on'").set("interval", "300ms");
    let yaml = often(&config(&boxes.delivery(), &[imap(&server, "tells").set("idle", "'on'"), silent]));
    let yaml = yaml.replace(&format!("{{env: {}}}", support::process::PASSWORD_VARIABLE), support::dovecot::PASSWORD);
    let state = tempfile::tempdir().unwrap();
    let environment = Environment { state_dir: Some(state.path().to_owned()), ..Environment::default() };
    let loaded = parse(&yaml, std::path::Path::new("test.yaml"), &environment).unwrap_or_else(|report| panic!("{report}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let installation = runtime.block_on(Installation::open(&loaded.config)).unwrap();
    let stop = mailgather::collect::Stop::new();
    let running = loaded.config.collectors.values().map(|collector| {
        let (worker, stop) = (installation.worker(collector), stop.clone());
        let counters = worker.counters.clone();
        let task = runtime.spawn(async move { worker.run(&stop, &mailgather::collect::asks::Asks::default(), Duration::ZERO).await });
        (collector.id.to_string(), counters, task)
    });
    let running: std::collections::BTreeMap<String, _> = running.map(|(id, counters, task)| (id, (counters, task))).collect();
    let figures = |id: &str| {
        let figures = running[id].0.idle();
        (figures.connected, figures.wakeups, figures.missed)
    };
    eventually("both wait", SOON, || figures("tells") == (1, 0, 0) && figures("silent") == (1, 0, 0));
    for round in 1..=2 {
        put(&server, "tells", round);
        std::thread::sleep(Duration::from_secs(1));
        peer.put(&letter(10 + round, "anna@pop.example"));
        eventually("it is counted", SOON, || figures("tells") == (1, round as u64, 0) && figures("silent") == (1, 0, round as u64));
    }
    stop.request();
    for (_, task) in running.values() {
        eventually("it ends", SOON, || task.is_finished());
    }
    assert_eq!((figures("tells"), figures("silent")), ((0, 2, 0), (0, 0, 2)));
    assert_arrived(&boxes, [1, 2, 11, 12]);
}

/// A connection that died without a word, or whose server answers nothing, has told of nothing: that is found out by the next polls, long before IDLE
/// would be begun again, and the server is not blamed for it.
#[test]
fn f70_p24_a_connection_that_died_silently_is_no_server_that_misses_mail() {
    for manner in [Manner::Deaf, Manner::Dead] {
        let (peer, boxes) = (Peer::start(manner), Boxes::new());
        let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", "auto").set("interval", "500ms");
        let program = Mailgather::new(&often(&config(&boxes.delivery(), &[collector])));
        let mut daemon = program.run();
        eventually("it waits", SOON, || peer.idling() == 1);
        for n in 0..4 {
            let before = sessions(&daemon, "u");
            eventually("a pass that finds nothing", SOON, || lines(&daemon, "session_finished", "u") >= before + 2);
            peer.put(&letter(n, "anna@pop.example"));
            eventually("the interval finds it", SOON, || boxes.of(BOX).count() == n + 1);
        }
        let dropped = daemon.wait_for("idle_dropped");
        assert!(dropped.contains("does not answer DONE"), "{dropped}");
        eventually("another connection waits", Duration::from_secs(60), || peer.idles() == 2);
        assert_eq!(daemon.count_log("idle_missed"), 0, "{manner:?}");
        assert_eq!(daemon.count_log("session_failed"), 0);
        let stopped = daemon.stop().expect_success();
        assert!(stopped.took < Duration::from_secs(10), "nobody waits for its answer: {:?}", stopped.took);
        assert_arrived(&boxes, 0..4);
    }
}

/// A server that tells of mail without an end costs neither memory nor the passes.
#[test]
fn f70_an_exists_storm_leaves_the_passes_alone() {
    let (peer, boxes) = (Peer::start(Manner::Storm), Boxes::new());
    peer.put(&letter(0, "anna@pop.example"));
    let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", "on").set("interval", "500ms");
    let program = Mailgather::new(&often(&config(&boxes.delivery(), &[collector])));
    let mut daemon = program.run();
    let dropped = daemon.wait_for("idle_dropped");
    assert!(dropped.contains("in 15 s") || dropped.contains("in 16 s"), "{dropped}");
    peer.put(&letter(1, "anna@pop.example"));
    eventually("it is collected", SOON, || boxes.of(BOX).count() == 2);
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak: u64 = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 128 << 10, "{peak} KiB");
    assert_eq!(daemon.count_log("session_failed"), 0);
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..2);
}

/// A backlog that many passes work off is no mail that was missed.
#[test]
fn m13_a_backlog_is_not_missed() {
    let (peer, boxes) = (Peer::start(Manner::Silent), Boxes::new());
    (0..40).for_each(|n| peer.put(&letter(n, "anna@pop.example")));
    let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", "auto").set("interval", "300ms");
    let program = Mailgather::new(&often(&config(&boxes.delivery(), &[collector.set("max_messages_per_session", "4")])));
    let mut daemon = program.run();
    eventually("all is here", SOON, || boxes.of(BOX).count() == 40);
    daemon.wait_for("idle_started");
    let before = sessions(&daemon, "u");
    eventually("and some passes more", SOON, || sessions(&daemon, "u") >= before + 4);
    assert_eq!((peer.idling(), daemon.count_log("idle_missed")), (1, 0));
    daemon.stop().expect_success();
    assert_arrived(&boxes, 0..40);
}

/// A server that always tells of mail that there is not is listened to less and less.
#[test]
fn m13_a_server_that_cries_wolf_keeps_nobody_busy() {
    let (peer, boxes) = (Peer::start(Manner::CriesWolf), Boxes::new());
    peer.put(&letter(0, "anna@pop.example"));
    let collector = CollectorYaml::at("imap", "u", peer.port()).forward_to(BOX).set("idle", "on");
    let program = Mailgather::new(&config(&boxes.delivery(), &[collector]));
    let daemon = program.run();
    eventually("it tells", SOON, || peer.idles() >= 3);
    std::thread::sleep(Duration::from_secs(5));
    assert!(sessions(&daemon, "u") < 12, "{} passes for nothing", sessions(&daemon, "u"));
    daemon.stop().expect_success();
    assert_arrived(&boxes, [0]);
}

/// A mailbox of one folder on a server that ends each connection after five minutes of IDLE.
struct Cutting {
    uid_next: Arc<AtomicU32>,
    opened: Arc<AtomicU32>,
}

#[async_trait]
impl Source for Cutting {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.opened.fetch_add(1, SeqCst);
        Ok(Box::new(Cut(Arc::clone(&self.uid_next))))
    }
}

struct Cut(Arc<AtomicU32>);

#[async_trait]
impl Session for Cut {
    async fn select(&mut self, _: &FolderName) -> Result<Selected, SourceError> {
        Ok(Selected { epoch: Epoch(1), exists: 0, uid_next: Some(self.0.load(SeqCst)), can_delete: true })
    }

    fn can_idle(&self) -> bool {
        true
    }

    async fn idle(&mut self, _: Duration, stop: BoxFuture<'_, ()>) -> Result<Woken, SourceError> {
        tokio::select! {
            () = stop => Ok(Woken::Stopped),
            () = tokio::time::sleep(Duration::from_secs(300)) => Err(SourceError::new(SourceErrorKind::Closed, "idle", "h", "closed")),
        }
    }

    async fn list(&mut self, _: Want) -> Result<Listing, SourceError> {
        unreachable!("it only waits")
    }

    async fn fetch(&mut self, _: Vec<Wanted>) -> Result<(), SourceError> {
        unreachable!("it only waits")
    }

    async fn next_message(&mut self) -> Result<Option<Fetched>, SourceError> {
        unreachable!("it only waits")
    }

    async fn dispose(&mut self, _: &[RemoteUid], _: Disposal) -> Result<Disposed, SourceError> {
        unreachable!("it only waits")
    }

    async fn close(self: Box<Self>) -> Result<Vec<RemoteUid>, SourceError> {
        Ok(Vec::new())
    }

    async fn abandon(self: Box<Self>) {}
}

/// What came in the gap between two connections is told of when the next one stands; and the operator hears of the cutting once.
#[tokio::test(start_paused = true)]
async fn p24_a_server_that_cuts_each_five_minutes_loses_nothing_and_alarms_nobody() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO).with_writer(move || writer.clone()).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let (uid_next, opened, stop) = (Arc::new(AtomicU32::new(7)), Arc::new(AtomicU32::new(0)), Stop::new());
    let source = Cutting { uid_next: Arc::clone(&uid_next), opened: Arc::clone(&opened) };
    let (limits, counters) = (Limits::new(8, 8, 8), Arc::new(Counters::default()));
    let idle = Idle::new(&CollectorId::new("c").unwrap(), Word::Auto, counters.clone(), IdleServers::default().enter("h", 143));
    let pass = || {
        let selected = Selected { epoch: Epoch(1), exists: 0, uid_next: Some(uid_next.load(SeqCst)), can_delete: true };
        idle.pass_begins();
        let folders = [Seen { name: FolderName::inbox(), selected, found: 0 }];
        idle.pass_ended(&Passed { folders: &folders, is_whole: true, by_interval: true, by_word: false });
    };
    let story = async {
        let start = Instant::now();
        pass();
        tokio::time::sleep(Duration::from_secs(302)).await;
        assert_eq!((counters.idle().connected, opened.load(SeqCst)), (0, 1), "it is cut");
        uid_next.store(8, SeqCst);
        idle.told().await;
        assert!(start.elapsed() < Duration::from_secs(320), "{:?}", start.elapsed());
        pass();
        assert!(tokio::time::timeout(Duration::from_secs(3600), idle.told()).await.is_err(), "nothing came");
        assert!((11..=13).contains(&opened.load(SeqCst)), "{opened:?}");
        stop.request();
    };
    tokio::join!(idle.watch(&source, &limits, &stop), story);
    assert_eq!((log.text().matches("idle_dropped").count(), counters.idle().connected), (1, 0), "{}", log.text());
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
