//! `max_messages_per_session`, `max_bytes_per_session`, `max_message_size`, `service.min_free_space`: how much, and what becomes of the rest.

use super::kit::*;
use crate::support::maildir::field;
use crate::support::*;

const PROTOCOLS: [(Protocol, &str); 2] = [(CollectorYaml::imap, "imap"), (CollectorYaml::pop3, "pop")];

/// A letter of about so many octets.
fn large(n: usize, octets: usize) -> Vec<u8> {
    let mut letter = corpus::letter(n, "anna@pop.example");
    let line = b"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr\r\n";
    (0..octets / line.len()).for_each(|_| letter.extend_from_slice(line));
    letter
}

/// Each key ends a session at its limit; the backlog goes on at once, in the same run of `once` and without the daemon's interval.
#[test]
fn i12_messages_and_octets_of_a_session() {
    let server = Dovecot::start();
    for (protocol, name) in PROTOCOLS {
        for (key, limit, expected) in [
            ("max_messages_per_session", "4", vec![4, 4, 1]),
            // The last message of a session may be beyond it: 3 of 50 KB are more than 128 KiB.
            ("max_bytes_per_session", "128KiB", vec![3, 3, 3]),
            // One message that alone is larger comes all the same.
            ("max_bytes_per_session", "1KiB", vec![1; 9]),
        ] {
            let user = &format!("{name}-{}-{limit}", key.replace('_', "-")).to_ascii_lowercase();
            (0..9).for_each(|n| server.put(user, &large(n, 50_000)));
            let scene = Scene::new(&protocol(&server, user).forward_to(BOX).set(key, limit));
            let (arrived, said) = scene.once_said();
            assert_eq!(arrived, letters(0..9), "{user}");
            assert_eq!(sessions(&said.stderr), expected, "{user}");
            assert_eq!(scene.once(), letters([]), "{user}");
        }
    }
}

/// The limit is the session's, and all folders share it.
#[test]
fn folders_share_the_limit_of_a_session() {
    let server = Dovecot::start();
    fill(&server, "box", 0..5);
    (5..10).for_each(|n| Maildir(server.maildir("box").0.join(".Lists")).put(&corpus::letter(n, "anna@pop.example")));
    for (key, limit) in [("max_messages_per_session", "3"), ("max_bytes_per_session", "1000")] {
        let collector = CollectorYaml::imap(&server, "box").forward_to(BOX).set("folders", "[INBOX, Lists]").set(key, limit);
        let scene = Scene::new(&collector);
        let (arrived, said) = scene.once_said();
        assert_eq!((arrived, sessions(&said.stderr)), (letters(0..10), vec![3, 3, 3, 1]), "{key}: {}", said.stderr);
        assert_eq!(scene.once(), letters([]), "{key}");
    }
}

/// The daemon goes on with the backlog at once, though the interval is a day; and another collector of the same host gets its turn in between.
#[test]
fn the_backlog_goes_on_at_once_and_others_get_their_turn() {
    let server = Dovecot::start();
    for (protocol, name) in PROTOCOLS {
        let (many, few) = (format!("{name}-many"), format!("{name}-few"));
        fill(&server, &many, 0..30);
        fill(&server, &few, 100..102);
        let collectors = [
            protocol(&server, &many).forward_to(BOX).set("max_messages_per_session", "2"),
            protocol(&server, &few).forward_to("few@example.org").set("max_messages_per_session", "2"),
        ];
        let sink = Sink::lmtp();
        // One session at a time, so that they have to take turns.
        let yaml = config(&sink.delivery(), &collectors).replace("service: {", "service: {max_sessions: 1, ");
        let program = Mailgather::new(&yaml);
        let daemon = program.run();
        sink.wait_for(32);
        daemon.stop().expect_success();
        let taken = sink.taken();
        assert_eq!(taken.len(), 32, "{name}: none twice");
        let last_of_few = taken.iter().rposition(|taken| taken.recipients == ["few@example.org"]).unwrap();
        assert!(last_of_few < 20, "{name}: the few came at {last_of_few} of 32");
    }
}

/// What is too large stays and is reported once; the rest comes; with a higher limit it comes, too, and once.
#[test]
fn too_large_is_skipped_until_the_limit_is_raised() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS {
        for (collect, after) in [("new", "keep"), ("new", "delete"), ("all", "delete")] {
            let user = &format!("{user}-{collect}-{after}");
            server.put(user, &large(0, 1_000));
            server.put(user, &large(1, 60_000));
            server.put(user, &large(2, 1_000));
            server.put(user, &large(3, 600_000));
            let collector = |limit: &str| protocol(&server, user).forward_to(BOX).set("collect", collect).after(after).set("max_message_size", limit);
            let scene = Scene::new(&collector("{limit: 20KiB, action: skip}"));
            let (arrived, said) = scene.once_said();
            assert_eq!(arrived, letters([0, 2]), "{user}");
            assert_eq!(lines_with(&said.stderr, &["message_skipped", "more than max_message_size"]), 2, "{user}: {}", said.stderr);
            assert!(said.stdout.contains("2 left on the server"), "{user}: {}", said.stdout);
            let left = if after == "keep" { letters(0..4) } else { letters([1, 3]) };
            assert_eq!(maildir::subjects(&server.messages(user)), left, "{user}");
            let (arrived, said) = scene.once_said();
            assert_eq!((arrived, lines_with(&said.stderr, &["message_skipped"])), (letters([]), 0), "{user}: reported once");
            server.put(user, &large(4, 1_000));
            assert_eq!(scene.once(), letters([4]), "{user}");
            scene.configure(&collector("100KiB"));
            assert_eq!(scene.once(), letters([1]), "{user}: the limit is higher");
            assert_eq!(scene.once(), letters([]), "{user}");
            scene.configure(&protocol(&server, user).forward_to(BOX).set("collect", collect).after(after));
            assert_eq!(scene.once(), letters([3]), "{user}: there is no limit");
            assert_eq!(scene.once(), letters([]), "{user}");
            assert_eq!(server.count(user), if after == "keep" { 5 } else { 0 }, "{user}");
        }
    }
}

/// Messages that are too large take no place in a session from those that are not.
#[test]
fn what_is_skipped_takes_no_room() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS {
        (0..6).for_each(|n| server.put(user, &large(n, 60_000)));
        (6..12).for_each(|n| server.put(user, &large(n, 1_000)));
        let collector = protocol(&server, user).forward_to(BOX).set("max_message_size", "20KiB").set("max_messages_per_session", "3");
        let (arrived, said) = Scene::new(&collector).once_said();
        assert_eq!((arrived, sessions(&said.stderr)), (letters(6..12), vec![3, 3]), "{user}");
    }
}

/// It is fetched and held, and nobody gets it before the operator says so.
#[test]
fn too_large_is_held() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS {
        for after in ["keep", "delete"] {
            let user = &format!("{user}-{after}");
            server.put(user, &large(0, 1_000));
            server.put(user, &large(1, 60_000));
            let collector = protocol(&server, user).forward_to(BOX).after(after).set("max_message_size", "{limit: 20KiB, action: hold}");
            let scene = Scene::new(&collector);
            let (arrived, said) = scene.once_said();
            assert_eq!(arrived, letters([0]), "{user}");
            assert!(said.stdout.contains("1 held"), "{user}: {}", said.stdout);
            assert_eq!(scene.once(), letters([]), "{user}");
            let listed = scene.program.run_to_end("held", &["list"]).expect_success();
            assert!(listed.stdout.contains("letter 1"), "{user}: {}", listed.stdout);
            assert_eq!(maildir::subjects(&server.messages(user)), if after == "keep" { letters(0..2) } else { letters([1]) }, "{user}");
            let released = scene.program.run_to_end("held", &["release", "H-0001"]).expect_success();
            assert_eq!(scene.arrived(), letters([1]), "{user}: {}", released.stdout);
            let taken = scene.sink.taken();
            maildir::assert_same("the released message", &corpus::canonical(&large(1, 60_000)), &taken[0].content);
            scene.sink.clear();
            assert_eq!(scene.once(), letters([]), "{user}");
            assert_eq!(maildir::subjects(&server.messages(user)), if after == "keep" { letters(0..2) } else { letters([]) }, "{user}");
        }
    }
}

/// Its header comes, with a note; the message itself stays, and comes when the limit allows it.
#[test]
fn too_large_sends_its_header() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS {
        for after in ["keep", "delete"] {
            let user = &format!("{user}-{after}");
            server.put(user, &large(0, 1_000));
            server.put(user, &large(1, 600_000));
            let collector = |limit: &str| {
                protocol(&server, user).forward_to(BOX).after(after).set("max_message_size", &format!("{{limit: {limit}, action: headers_only}}"))
            };
            let scene = Scene::new(&collector("20KiB"));
            scene.program.once(&[]).expect_success();
            assert_eq!(scene.arrived(), letters([0, 1]), "{user}");
            let taken = scene.sink.taken();
            let note = taken.iter().find(|taken| field(&taken.content, "Subject").as_deref() == Some("letter 1")).unwrap();
            assert!(note.content.len() < 3_000, "{user}: {}", note.content.len());
            let octets: usize = field(&note.content, "X-Mailgather-Too-Large").unwrap().parse().unwrap();
            assert!((600_000 - 100..620_000).contains(&octets), "{user}: {octets}");
            assert_eq!(field(&note.content, "From").as_deref(), Some("Sender <sender1@remote.example>"), "{user}");
            scene.sink.clear();
            assert_eq!(scene.once(), letters([]), "{user}: the note comes once");
            assert_eq!(maildir::subjects(&server.messages(user)), if after == "keep" { letters(0..2) } else { letters([1]) }, "{user}");
            scene.configure(&collector("1MiB"));
            scene.program.once(&[]).expect_success();
            let taken = scene.sink.taken();
            assert_eq!(scene.arrived(), letters([1]), "{user}");
            maildir::assert_same("the message itself", &corpus::canonical(&large(1, 600_000)), &taken[0].content);
            scene.sink.clear();
            assert_eq!(scene.once(), letters([]), "{user}");
            assert_eq!(server.count(user), if after == "keep" { 2 } else { 0 }, "{user}");
        }
    }
}

/// One of two recipients got the header, the other one nothing yet, when the limit is raised: the message itself is for both of them.
#[test]
fn who_got_the_header_gets_the_message_too() {
    let server = Dovecot::start();
    for (protocol, user) in PROTOCOLS {
        server.put(user, &large(0, 60_000));
        let collector = |limit: &str| {
            protocol(&server, user)
                .set("recipient", "{forward_to: [anna@example.org, boris@example.org]}")
                .after("delete")
                .set("max_message_size", &format!("{{limit: {limit}, action: headers_only}}"))
        };
        let scene = Scene::new(&collector("20KiB"));
        scene.sink.script(|script| script.on_text("RCPT", "boris", "450 4.2.0 later"));
        scene.program.once(&[]);
        let note = scene.sink.taken();
        assert_eq!(
            note.iter().map(|note| (note.content.len() < 3_000, note.recipients.clone())).collect::<Vec<_>>(),
            [(true, vec!["anna@example.org".into()])],
            "{user}"
        );
        scene.sink.clear();
        scene.sink.script(|script| script);
        scene.configure(&collector("1MiB"));
        scene.program.once(&[]).expect_success();
        let whole = corpus::canonical(&large(0, 60_000));
        let mut got: Vec<String> =
            scene.sink.taken().iter().filter(|taken| taken.content.len() >= whole.len()).flat_map(|taken| taken.recipients.clone()).collect();
        got.sort();
        assert_eq!((got, server.count(user)), (vec!["anna@example.org".to_owned(), "boris@example.org".into()], 0), "{user}");
    }
}

/// A server that does not show the header alone: the others are collected, and the next runs do not begin with it.
#[test]
fn a_header_that_cannot_be_read_is_in_nobodys_way() {
    for trouble in [Trouble::Refuse, Trouble::Close] {
        let messages = (0..5).map(|n| large(n, if n == 1 { 60_000 } else { 100 })).collect();
        let server = RawPop3::with_trouble(messages, 2, trouble);
        let collector = CollectorYaml::at("pop3", "box", server.port()).forward_to(BOX).after("delete");
        let scene = Scene::new(&collector.set("max_message_size", "{limit: 20KiB, action: headers_only}"));
        let mut arrived = Vec::new();
        for _ in 0..4 {
            let done = scene.program.once(&[]);
            assert_ne!(done.status.code(), Some(0), "{trouble:?}: {}", done.stderr);
            arrived.extend(scene.arrived());
            scene.sink.clear();
        }
        arrived.sort();
        assert_eq!((arrived, server.deleted()), (letters([0, 2, 3, 4]), vec![1, 3, 4, 5]), "{trouble:?}");
    }
}

/// A server without TOP: what needs no header alone is collected and deleted in the first run, and the large ones come when the limit allows it.
#[test]
fn headers_that_no_server_shows_hold_up_nothing() {
    let messages = (0..6).map(|n| large(n, if n == 1 || n == 3 { 60_000 } else { 100 })).collect();
    let server = RawPop3::serve(messages, Ways { no_top: true, ..Ways::default() });
    let collector = |limit: &str| {
        let collector = CollectorYaml::at("pop3", "box", server.port()).forward_to(BOX).after("delete");
        collector.set("max_message_size", &format!("{{limit: {limit}, action: headers_only}}"))
    };
    let scene = Scene::new(&collector("20KiB"));
    let (arrived, said) = scene.once_code(75);
    assert_eq!((arrived, server.deleted()), (letters([0, 2, 4, 5]), vec![1, 3, 5, 6]), "{}", said.stderr);
    assert_eq!(lines_with(&said.stderr, &["message_not_fetched", "its header cannot be read"]), 2, "{}", said.stderr);
    assert_eq!(lines_with(&said.stderr, &["session_failed"]), 0, "{}", said.stderr);
    server.put(large(6, 100));
    assert_eq!((scene.once_code(75).0, server.deleted()), (letters([6]), vec![1, 3, 5, 6, 7]));
    scene.configure(&collector("1MiB"));
    assert_eq!(scene.once(), letters([1, 3]));
    assert_eq!(server.deleted(), [1, 2, 3, 4, 5, 6, 7]);
}

/// What was delivered, and is still there, is owed its deletion, whatever the limit says by now: no note comes of it.
#[test]
fn what_is_owed_gets_no_note() {
    let server = RawPop3::serve((0..2).map(|n| large(n, 60_000)).collect(), Ways { untrue_quit: true, ..Ways::default() });
    let collector = CollectorYaml::at("pop3", "box", server.port()).forward_to(BOX).after("delete");
    let scene = Scene::new(&collector);
    assert_eq!((scene.once(), server.deleted()), (letters(0..2), vec![]));
    server.is(Ways::default());
    scene.configure(&collector.clone().set("max_message_size", "{limit: 20KiB, action: headers_only}"));
    assert_eq!((scene.once(), server.deleted()), (letters([]), vec![]));
    scene.configure(&collector);
    assert_eq!((scene.once(), server.deleted()), (letters([]), vec![1, 2]));
}

/// Of a backlog that takes many sessions, each session forgets what the one before has deleted.
#[test]
fn what_is_deleted_is_forgotten_on_the_way() {
    let server = RawPop3::with_trouble((0..30).map(|n| large(n, 100)).collect(), 28, Trouble::CloseInside);
    let collector = CollectorYaml::at("pop3", "box", server.port()).forward_to(BOX).after("delete").set("max_messages_per_session", "5");
    let scene = Scene::new(&collector);
    let (arrived, said) = scene.once_code(75);
    assert!(arrived.len() >= 25, "{arrived:?}: {}", said.stderr);
    let ledger = rusqlite::Connection::open(scene.program.state_dir().join("ledger.db")).unwrap();
    let rows: u32 = ledger.query_row("SELECT count(*) FROM exception", [], |row| row.get(0)).unwrap();
    assert!(rows <= 10, "{rows} rows");
}

/// While the disk is short of room no session begins: nothing is fetched, marked or deleted. With room it goes on.
#[test]
fn m12_min_free_space() {
    let server = Dovecot::start();
    fill(&server, "box", 0..3);
    let collector = CollectorYaml::imap(&server, "box").forward_to(BOX).after("delete");
    let sink = Sink::lmtp();
    let yaml = config(&sink.delivery(), &[collector.set("interval", "5s")]);
    let short = yaml.replace("service: {", "service: {min_free_space: 1000000GiB, ");
    let program = Mailgather::new(&short);
    let done = program.once(&[]).expect_code(74);
    assert!(done.stderr.contains("collection paused") && done.stderr.contains("min_free_space"), "{}", done.stderr);
    assert_eq!((sink.connections(), server.log().contains("Login: user=<box>")), (0, false), "{}", server.log());
    let mut daemon = program.run();
    daemon.wait_for("collection paused");
    assert_eq!((sink.count(), server.flags("box")), (0, vec![String::new(); 3]));
    assert!(!server.log().contains("Login: user=<box>"), "{}", server.log());
    daemon.stop().expect_success();
    // A pass that was owed something deletes nothing either.
    program.configure(&yaml);
    program.once(&[]).expect_success();
    assert_eq!((sink.count(), server.count("box")), (3, 0));
}
