//! `first_run`: nothing of the old mail arrives, all of the new does, whatever happens in between.

use super::kit::*;
use crate::support::*;
use std::time::{Duration, SystemTime};

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// A letter that arrived so many seconds ago, as its header says.
pub fn dated(n: usize, seconds: u64) -> Vec<u8> {
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds as i64);
    let date = then.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
    let text = String::from_utf8(corpus::letter(n, "anna@pop.example")).expect("letters are text");
    text.replace("Sat, 21 Nov 2026 10:00:00 +0000", &date).into_bytes()
}

/// The server's own time of arrival of everything that is there and was not aged yet: Maildir's is the file's.
pub fn age_files(server: &Dovecot, user: &str, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    for entry in std::fs::read_dir(server.maildir(user).0.join("new")).into_iter().flatten().flatten() {
        let is_young =
            entry.metadata().and_then(|data| data.modified()).is_ok_and(|time| time.elapsed().unwrap_or_default() < Duration::from_secs(600));
        if is_young {
            std::fs::File::options().write(true).open(entry.path()).and_then(|file| file.set_modified(then)).expect("root may");
        }
    }
}

/// Letters 0 to 4: a year, two days, two hours, half an hour and no time ago.
fn of_all_ages(server: &Dovecot, user: &str) {
    for (n, seconds) in [365 * DAY, 2 * DAY, 2 * HOUR, HOUR / 2, 0].into_iter().enumerate() {
        server.put(user, &dated(n, seconds));
        age_files(server, user, seconds);
    }
}

const WAYS: [(Protocol, &str, &str); 3] =
    [(CollectorYaml::imap, "new", "imap-new"), (CollectorYaml::imap, "unseen", "imap-unseen"), (CollectorYaml::pop3, "new", "pop")];

#[test]
fn all_none_and_since() {
    let server = Dovecot::start();
    for (protocol, collect, name) in WAYS {
        for (word, first_run, arrives) in
            [("all", "all", 0..5), ("none", "none", 5..5), ("hour", "{since: 1h}", 3..5), ("day", "{since: 1d}", 2..5), ("week", "{since: 7d}", 1..5)]
        {
            let user = &format!("{name}-{word}");
            of_all_ages(&server, user);
            let scene = Scene::new(&protocol(&server, user).forward_to(BOX).set("collect", collect).set("first_run", first_run).after("keep"));
            assert_eq!(scene.once(), letters(arrives), "{user}");
            assert_eq!(scene.once(), letters([]), "{user}: a second pass");
            // What comes later comes, however old its header says it is.
            server.put(user, &dated(5, 365 * DAY));
            fill(&server, user, 6..7);
            assert_eq!(scene.once(), letters([5, 6]), "{user}: new mail");
            assert_eq!(scene.once(), letters([]), "{user}: at the end");
            assert_eq!(server.count(user), 7, "{user}");
            // By any other `first_run`: the first one is over.
            scene.configure(&protocol(&server, user).forward_to(BOX).set("collect", collect).set("first_run", "all").after("keep"));
            assert_eq!(scene.once(), letters([]), "{user}: `first_run: all` afterwards");
        }
    }
}

/// An empty mailbox has had its first run, too: what comes then is new.
#[test]
fn the_first_run_of_an_empty_mailbox() {
    let server = Dovecot::start();
    for (protocol, collect, name) in WAYS {
        let user = &format!("{name}-empty");
        server.maildir(user).make();
        let scene = Scene::new(&protocol(&server, user).forward_to(BOX).set("collect", collect).set("first_run", "none"));
        assert_eq!(scene.once(), letters([]), "{user}");
        fill(&server, user, 0..2);
        assert_eq!(scene.once(), letters(0..2), "{user}");
    }
}

/// With a limit of messages for each session the first run takes several sessions.
#[test]
fn a_first_run_of_several_sessions() {
    let server = Dovecot::start();
    for (protocol, collect, name) in WAYS {
        let user = &format!("{name}-limit");
        server.put(user, &dated(0, 365 * DAY));
        age_files(&server, user, 365 * DAY);
        (1..8).for_each(|n| server.put(user, &dated(n, 60)));
        let collector = protocol(&server, user).forward_to(BOX).set("collect", collect).set("first_run", "{since: 1d}");
        let scene = Scene::new(&collector.set("max_messages_per_session", "3"));
        let (arrived, said) = scene.once_said();
        assert_eq!(arrived, letters(1..8), "{user}");
        assert_eq!(sessions(&said.stderr), [3, 3, 1], "{user}");
        assert_eq!(scene.once(), letters([]), "{user}");
    }
}

/// Killed at each step of the first run: what is old never comes, what is young comes, at most twice; what came meanwhile comes, too.
#[test]
fn killed_in_the_midst_of_the_first_run() {
    let server = Dovecot::start();
    for (protocol, collect, name) in WAYS {
        for (word, first_run, young) in [("none", "none", 5..5), ("since", "{since: 1h}", 3..5)] {
            for (call, k) in [("sendto", 2), ("sendto", 4), ("sendto", 5), ("sendto", 7), ("fdatasync", 2), ("fsync", 3), ("pwrite64", 12)] {
                let user = &format!("{name}-{word}-{call}-{k}");
                of_all_ages(&server, user);
                let scene = Scene::new(&protocol(&server, user).forward_to(BOX).set("collect", collect).set("first_run", first_run));
                strace::once_with_fault(&scene.program, call, "signal=KILL", k);
                // What had arrived by the time it died, and what came then.
                let mut arrived = scene.once();
                let copies = arrived.len();
                arrived.dedup();
                assert_eq!(arrived, letters(young.clone()), "{user}");
                assert!(copies <= 2 * young.len(), "{user}: {copies} copies");
                assert_eq!(scene.once(), letters([]), "{user}: a third pass");
                fill(&server, user, 5..6);
                assert_eq!(scene.once(), letters([5]), "{user}: new mail");
                assert_eq!(server.count(user), 6, "{user}");
            }
        }
    }
}

/// What came after the collector was set up is no old mail, however long the target is down: its age counts from the beginning of the first run.
#[test]
fn mail_that_waits_for_the_target_does_not_grow_old() {
    let server = Dovecot::start();
    let scenes: Vec<_> = WAYS
        .map(|(protocol, collect, name)| {
            let user = format!("{name}-down");
            server.put(&user, &dated(0, 365 * DAY));
            age_files(&server, &user, 365 * DAY);
            server.put(&user, &dated(1, 0));
            let scene = Scene::new(&protocol(&server, &user).forward_to(BOX).set("collect", collect).set("first_run", "{since: 10s}"));
            scene.sink.script(|script| script.on("CONNECT", 0, "421 4.3.2 closed for the weekend"));
            assert_eq!(scene.once_code(75).0, letters([]), "{user}");
            server.put(&user, &dated(2, 0));
            (scene, user)
        })
        .into();
    std::thread::sleep(Duration::from_secs(11));
    for (scene, user) in scenes {
        scene.once_code(75);
        scene.sink.script(|script| script);
        assert_eq!(scene.once(), letters([1, 2]), "{user}");
        assert_eq!(scene.once(), letters([]), "{user}");
        assert_eq!(server.count(&user), 3, "{user}");
    }
}

/// Killed while everything is compared with what is known, under other UIDs: what the first run left alone does not come after that either.
#[test]
fn killed_while_old_mail_is_compared() {
    let server = Dovecot::start();
    let moved = Dovecot::builder().extra("pop3_uidl_format = x%u-%v").start();
    for (protocol, collect, name) in WAYS {
        for (word, first_run) in [("none", "none"), ("since", "{since: 1h}")] {
            for (call, k) in [("sendto", 4), ("sendto", 5), ("sendto", 6), ("sendto", 7), ("fdatasync", 2), ("fdatasync", 3), ("fdatasync", 4)] {
                let user = &format!("{name}-{word}-{call}-{k}");
                (0..3).for_each(|n| server.put(user, &dated(n, 365 * DAY)));
                age_files(&server, user, 365 * DAY);
                let make = |server: &Server| protocol(server, user).forward_to(BOX).set("collect", collect).set("first_run", first_run);
                let scene = Scene::new(&make(&server));
                assert_eq!(scene.once(), letters([]), "{user}");
                server.put(user, &dated(3, 0));
                assert_eq!(scene.once(), letters([3]), "{user}");
                if name == "pop" {
                    server.messages(user).iter().for_each(|message| moved.put(user, message));
                    scene.configure(&make(&moved));
                } else {
                    server.new_uidvalidity(user);
                }
                strace::once_with_fault(&scene.program, call, "signal=KILL", k);
                assert_eq!(scene.once(), letters([]), "{user}");
                let server = if name == "pop" { &moved } else { &server };
                server.put(user, &dated(4, 0));
                assert_eq!(scene.once(), letters([4]), "{user}");
                assert_eq!(server.count(user), 5, "{user}");
            }
        }
    }
}

/// A server that does not say UIDNEXT: what the first pass leaves alone does not come with the second one.
#[test]
fn without_uid_next_old_mail_stays_old() {
    let server = RawImap::without_uid_next((0..3).map(|n| dated(n, 365 * DAY)).collect());
    for first_run in ["none", "{since: 1h}"] {
        let scene = Scene::new(&CollectorYaml::at("imap", "box", server.port()).forward_to(BOX).set("first_run", first_run));
        for pass in 0..3 {
            assert_eq!(scene.once(), letters([]), "{first_run}, pass {pass}");
        }
    }
}
