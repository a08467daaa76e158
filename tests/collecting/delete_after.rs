//! `after: {delete_after: …}`: what was collected stays for its time, and not a letter longer than until the next pass.

use super::kit::*;
use crate::support::*;
use std::time::{Duration, Instant};

/// Long enough for the passes of a busy machine to end within it.
const AGE: Duration = Duration::from_secs(6);

const COLLECTS: [(Protocol, &str, &str); 5] = [
    (CollectorYaml::imap, "new", "imap-new"),
    (CollectorYaml::imap, "unseen", "imap-unseen"),
    (CollectorYaml::imap, "all", "imap-all"),
    (CollectorYaml::pop3, "new", "pop-new"),
    (CollectorYaml::pop3, "all", "pop-all"),
];

fn collector(server: &Server, (protocol, collect, user): (Protocol, &str, &str)) -> CollectorYaml {
    protocol(server, user).forward_to(BOX).set("collect", collect).after(&format!("{{delete_after: {}s}}", AGE.as_secs()))
}

/// Passes until the mailbox has so many messages; nothing may arrive by them. Returns when that was.
#[track_caller]
fn pass_until(scene: &Scene, server: &Server, user: &str, count: usize) -> Instant {
    let at = pass_until_at_most(scene, server, user, count);
    assert_eq!(server.count(user), count, "{user}");
    at
}

/// The same until there are so many or fewer.
#[track_caller]
fn pass_until_at_most(scene: &Scene, server: &Server, user: &str, count: usize) -> Instant {
    let start = Instant::now();
    loop {
        assert_eq!(scene.once(), letters([]), "{user}: it was delivered before");
        if server.count(user) <= count {
            return Instant::now();
        }
        assert!(start.elapsed() < 5 * AGE + SOON, "{user}: never deleted");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn kept_mail_is_deleted_when_its_age_is_over_and_not_before() {
    let server = Dovecot::start();
    for case in COLLECTS {
        let user = case.2;
        fill(&server, user, 0..2);
        let scene = Scene::new(&collector(&server, case));
        let before = Instant::now();
        assert_eq!(scene.once(), letters(0..2), "{user}");
        // Later mail has its own time.
        std::thread::sleep(AGE / 2);
        fill(&server, user, 2..3);
        assert_eq!(scene.once(), letters([2]), "{user}");
        let later = Instant::now();
        if before.elapsed() < AGE {
            assert_eq!(server.count(user), 3, "{user}");
        }
        let gone = pass_until_at_most(&scene, &server, user, 1);
        assert!(gone - before >= AGE, "{user}: deleted before its time: {:?}", gone - before);
        let left = maildir::subjects(&server.messages(user));
        // On a slow machine the time of the later one may be over too by then.
        assert!(left == letters([2]) || (left == letters([]) && later.elapsed() >= AGE - Duration::from_secs(1)), "{user}: {left:?}");
        assert!(pass_until(&scene, &server, user, 0) - later >= AGE - Duration::from_secs(1), "{user}");
        fill(&server, user, 3..4);
        assert_eq!(scene.once(), letters([3]), "{user}");
    }
}

/// The program is killed at each moment at which it could have forgotten what it owes; what is young stays, what is old goes, nothing comes twice.
#[test]
fn kills_between_the_passes_forget_nothing() {
    let server = Dovecot::start();
    for case in COLLECTS {
        let user = case.2;
        fill(&server, user, 0..3);
        let scene = Scene::new(&collector(&server, case).set("interval", "24h"));
        let mut daemon = scene.program.run();
        daemon.wait_for("session_finished");
        daemon.kill();
        assert_eq!(scene.arrived(), letters(0..3), "{user}");
        scene.sink.clear();
        std::thread::sleep(AGE + Duration::from_secs(2));
        // Owed by the time it dies, or deleted and not recorded, or not even looked at.
        for (call, k) in [("sendto", 3), ("fsync", 1), ("sendto", 6), ("fdatasync", 1), ("sendto", 9)] {
            strace::once_with_fault(&scene.program, call, "signal=KILL", k);
            assert_eq!(scene.arrived(), letters([]), "{user}: {call} {k}");
        }
        pass_until(&scene, &server, user, 0);
        assert_eq!(scene.once(), letters([]), "{user}");
    }
}

/// An UIDL may name another message by now, and so what is to be deleted by POP3 is read once more. It is known again, whoever gets mail by now, and a
/// collector that keeps its mail after all keeps it.
#[test]
fn other_recipients_meanwhile_bring_nothing_twice() {
    for server in families() {
        let server = &*server;
        for (protocol, user) in [(CollectorYaml::imap as Protocol, "imap"), (CollectorYaml::pop3, "pop")] {
            let what = format!("{}, {user}", server.family());
            fill(server, user, 0..3);
            let collector = |to: &str, after: &str| protocol(server, user).forward_to(to).after(after);
            let scene = Scene::new(&collector(BOX, "{delete_after: 2s}"));
            assert_eq!(scene.once(), letters(0..3), "{what}");
            std::thread::sleep(Duration::from_millis(3500));
            // Kept after all: its age is over, and nothing happens to it.
            scene.configure(&collector("boris@example.org", "keep"));
            assert_eq!(scene.once(), letters([]), "{what}");
            assert_eq!(server.count(user), 3, "{what}");
            scene.configure(&collector("boris@example.org", "{delete_after: 2s}"));
            pass_until(&scene, server, user, 0);
            fill(server, user, 3..4);
            assert_eq!(scene.once(), letters([3]), "{what}");
        }
    }
}

/// What a first run leaves alone was never delivered: no age makes it go.
#[test]
fn what_a_first_run_leaves_alone_is_never_deleted() {
    let server = Dovecot::start();
    let cases = [
        (CollectorYaml::imap as Protocol, "new", "none", "imap-new-none"),
        (CollectorYaml::imap, "unseen", "none", "imap-unseen-none"),
        (CollectorYaml::imap, "new", "{since: 1h}", "imap-new-since"),
        (CollectorYaml::imap, "unseen", "{since: 1h}", "imap-unseen-since"),
        (CollectorYaml::pop3, "new", "none", "pop-none"),
        (CollectorYaml::pop3, "new", "{since: 1h}", "pop-since"),
    ];
    for (protocol, collect, first_run, user) in cases {
        // A year old, by its header and by the file's time.
        server.put(user, &super::first_run::dated(0, 365 * 86_400));
        super::first_run::age_files(&server, user, 365 * 86_400);
        server.put(user, &super::first_run::dated(1, 2 * 3600));
        super::first_run::age_files(&server, user, 2 * 3600);
        let make = || protocol(&server, user).forward_to(BOX).set("collect", collect).set("first_run", first_run);
        let scene = Scene::new(&make().after("{delete_after: 1s}"));
        assert_eq!(scene.once(), letters([]), "{user}");
        fill(&server, user, 2..3);
        assert_eq!(scene.once(), letters([2]), "{user}");
        std::thread::sleep(Duration::from_millis(2500));
        pass_until(&scene, &server, user, 2);
        assert_eq!(maildir::subjects(&server.messages(user)), letters(0..2), "{user}");
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(scene.once(), letters([]), "{user}");
        assert_eq!(maildir::subjects(&server.messages(user)), letters(0..2), "{user}: what was never delivered stays");
    }
}

/// Nor under other UIDs, where everything is compared with what is known: what nobody ever got is still nothing that was delivered.
#[test]
fn what_a_first_run_left_alone_is_not_deleted_under_another_uid() {
    let server = Dovecot::start();
    let moved = Dovecot::builder().extra("pop3_uidl_format = x%u-%v").start();
    let cases = [
        (CollectorYaml::imap as Protocol, "new", "none", "imap-new-none"),
        (CollectorYaml::imap, "unseen", "none", "imap-unseen-none"),
        (CollectorYaml::imap, "new", "{since: 1h}", "imap-new-since"),
        (CollectorYaml::pop3, "new", "none", "pop-none"),
        (CollectorYaml::pop3, "new", "{since: 1h}", "pop-since"),
    ];
    for (protocol, collect, first_run, user) in cases {
        for (n, seconds) in [365 * 86_400, 2 * 3600].into_iter().enumerate() {
            server.put(user, &super::first_run::dated(n, seconds));
            super::first_run::age_files(&server, user, seconds);
        }
        let make = |server: &Server| protocol(server, user).forward_to(BOX).set("collect", collect).set("first_run", first_run);
        let scene = Scene::new(&make(&server).after("{delete_after: 1s}"));
        assert_eq!(scene.once(), letters([]), "{user}");
        server.put(user, &super::first_run::dated(2, 0));
        assert_eq!(scene.once(), letters([2]), "{user}");
        let server = if user.starts_with("pop") {
            server.messages(user).iter().for_each(|message| moved.put(user, message));
            scene.configure(&make(&moved).after("{delete_after: 1s}"));
            &moved
        } else {
            server.new_uidvalidity(user);
            &server
        };
        assert_eq!(scene.once(), letters([]), "{user}");
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(2500));
            pass_until(&scene, server, user, 2);
            assert_eq!(maildir::subjects(&server.messages(user)), letters(0..2), "{user}: what was never delivered stays");
        }
    }
}
