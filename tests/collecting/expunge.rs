//! `after: delete` and `expunge`: what is flagged, when it is gone, and that nobody else's mail goes with it.

use super::kit::*;
use crate::support::*;

fn deleting(server: &Server, user: &str) -> CollectorYaml {
    CollectorYaml::imap(server, user).forward_to(BOX).after("delete")
}

/// Letters that another client has flagged \Deleted and never expunged stay, but for those that were collected.
#[test]
fn m10_deleted_and_expunged_and_nobody_elses() {
    for server in families() {
        let (server, user) = (&*server, "box");
        // Seen by an earlier pass, so that they are no more ours to delete; then flagged by somebody else.
        fill(server, user, 0..2);
        let keeping = CollectorYaml::imap(server, user).forward_to(BOX);
        let scene = Scene::new(&keeping);
        assert_eq!(scene.once(), letters(0..2), "{}", server.family());
        flag(server, user, 1, "\\Deleted");
        fill(server, user, 2..5);
        scene.configure(&deleting(server, user));
        assert_eq!(scene.once(), letters(2..5), "{}", server.family());
        let left = [("letter 0".to_owned(), String::new()), ("letter 1".to_owned(), "\\Deleted".to_owned())];
        let there = inside(server, user, "INBOX").unwrap();
        assert_eq!(there, left, "{}", server.family());
        assert_eq!(scene.once(), letters([]), "{}", server.family());
    }
}

/// Without UIDPLUS nothing is expunged as long as somebody else's \Deleted mail would go, too.
#[test]
fn a_plain_expunge_waits_for_others() {
    let server = Dovecot::builder().without(&["UIDPLUS", "MOVE"]).start();
    fill(&server, "box", 0..1);
    let scene = Scene::new(&CollectorYaml::imap(&server, "box").forward_to(BOX));
    assert_eq!(scene.once(), letters([0]));
    flag(&server, "box", 0, "\\Deleted");
    fill(&server, "box", 1..3);
    scene.configure(&deleting(&server, "box").set("allow_plain_expunge", "true"));
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters(1..3));
    assert!(said.stderr.contains("expunge_left"), "{}", said.stderr);
    assert_eq!(subjects_in(&server, "box", "INBOX"), letters(0..3));
    assert_eq!(scene.once(), letters([]));
    // The other client changes its mind; what comes next is expunged, and what was flagged before is not forgotten by anybody: it is still flagged.
    let mut client = OtherClient::inbox(server.imap(), "box");
    let uid = client.search("SUBJECT \"letter 0\"")[0];
    client.command(&format!("UID STORE {uid} -FLAGS.SILENT (\\Deleted)"));
    drop(client);
    fill(&server, "box", 3..4);
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters([3]), "{}", said.stderr);
    let there = inside(&server, "box", "INBOX").unwrap();
    assert!(there.iter().any(|(subject, flags)| subject == "letter 0" && flags.is_empty()), "{there:?}");
    assert!(there.iter().all(|(subject, flags)| subject == "letter 0" || flags.contains("\\Deleted")), "{there:?}");
}

/// So many at once: a session that dies in between has expunged all whole groups before.
#[test]
fn m11_expunge_every_so_many_messages() {
    for server in [Box::new(Dovecot::start()) as Box<Server>, Box::new(Cyrus::start())] {
        let (server, user) = (&*server, "box");
        fill(server, user, 0..12);
        let scene = Scene::new(&deleting(server, user).set("expunge", "{every_messages: 5}"));
        let (arrived, said) = scene.once_said();
        assert_eq!(arrived, letters(0..12));
        assert_eq!(lines_with(&said.stderr, &["remote_disposed", "how=delete messages=5"]), 2, "{}", said.stderr);
        assert_eq!(lines_with(&said.stderr, &["remote_disposed", "how=delete messages=2"]), 1, "{}", said.stderr);
        assert_eq!(server.count(user), 0);
        // Fewer than so many do not wait for others: the session's end is the latest.
        fill(server, user, 12..14);
        assert_eq!(scene.once(), letters(12..14));
        assert_eq!(server.count(user), 0);
    }
}

/// In each third session only: till then it is flagged, and other programs see that.
#[test]
fn m11_expunge_every_so_many_sessions() {
    for server in [Box::new(Dovecot::start()) as Box<Server>, Box::new(Cyrus::start())] {
        for (collect, user) in [("new", "new"), ("all", "all"), ("unseen", "unseen")] {
            let (server, what) = (&*server, format!("{}, {collect}", server.family()));
            // Somebody else's, which never goes.
            fill(server, user, 0..1);
            let scene = Scene::new(&CollectorYaml::imap(server, user).forward_to(BOX).set("first_run", "all"));
            assert_eq!(scene.once(), letters([0]), "{what}");
            flag(server, user, 0, if collect == "new" { "\\Deleted" } else { "\\Deleted \\Seen" });
            let collector = deleting(server, user).set("collect", collect).set("expunge", "{every_sessions: 3}");
            scene.configure(&collector);
            let foreign = usize::from(collect != "all");
            let mut gone = 0;
            for session in 1..=7 {
                fill(server, user, session..session + 1);
                let arrived = scene.once();
                // `all` takes what was collected before, too, and then it is its own.
                let expected = if session == 1 && collect == "all" { letters([0, 1]) } else { letters([session]) };
                assert_eq!(arrived, expected, "{what}: session {session}");
                let there = inside(server, user, "INBOX").unwrap();
                if session % 3 == 0 {
                    gone = session;
                    assert_eq!(there.len(), foreign, "{what}: session {session}: {there:?}");
                } else {
                    let waiting = session - gone + if foreign == 0 && gone == 0 { 1 } else { foreign };
                    assert_eq!(there.len(), waiting, "{what}: session {session}: {there:?}");
                    assert!(there.iter().all(|(_, flags)| flags.contains("\\Deleted")), "{what}: session {session}: {there:?}");
                }
            }
            // A session that finds nothing counts, too: the last of them is not left for ever.
            assert_eq!((scene.once(), scene.once()), (letters([]), letters([])), "{what}");
            assert_eq!(server.count(user), foreign, "{what}: nothing new for two sessions");
        }
    }
}

/// Both keys, a limit of messages, and a kill in between: nothing comes twice, everything goes in the end.
#[test]
fn m11_flagged_mail_survives_a_kill() {
    let server = Dovecot::start();
    for (n, (call, k)) in [("sendto", 5), ("sendto", 7), ("sendto", 8), ("fdatasync", 3), ("fsync", 3)].into_iter().enumerate() {
        let user = &format!("box{n}");
        fill(&server, user, 0..6);
        let collector = deleting(&server, user).set("expunge", "{every_sessions: 2, every_messages: 2}");
        let sink = Boxes::new();
        let program = Mailgather::new(&config(&sink.delivery(), &[collector]));
        strace::once_with_fault(&program, call, "signal=KILL", k);
        for _ in 0..4 {
            program.once(&[]).expect_success();
        }
        // A Maildir takes the same message once.
        assert_eq!(sink.subjects(BOX), letters(0..6), "{call} {k}");
        assert_eq!(server.count(user), 0, "{call} {k}");
    }
}

/// What is flagged and waits is expunged when the operator says that each session does it again.
#[test]
fn m11_flagged_mail_goes_when_the_key_goes() {
    let server = Dovecot::start();
    fill(&server, "box", 0..3);
    let scene = Scene::new(&deleting(&server, "box").set("expunge", "{every_sessions: 10}"));
    assert_eq!(scene.once(), letters(0..3));
    assert_eq!(server.flags("box").iter().filter(|flags| flags.contains('T')).count(), 3);
    scene.configure(&deleting(&server, "box"));
    fill(&server, "box", 3..4);
    assert_eq!(scene.once(), letters([3]));
    assert_eq!(server.count("box"), 0, "{:?}", server.flags("box"));
}
