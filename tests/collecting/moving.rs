//! `after: {move_to: …}`: into a folder that is there, that is not, that the server names by its use; on servers with and without MOVE.

use super::kit::*;
use crate::support::*;

const SPECIAL: &str = "namespace inbox {
  inbox = yes
  separator = /
  mailbox Корзина {
    auto = create
    special_use = \\Trash
  }
  mailbox Spam {
    auto = create
    special_use = \\Junk
  }
}";

fn moving(server: &Server, user: &str, folder: &str) -> CollectorYaml {
    CollectorYaml::imap(server, user).forward_to(BOX).after(&format!("{{move_to: '{folder}'}}"))
}

/// With their flags, to a folder that is there and one that is not, with MOVE, with COPY and UID EXPUNGE.
#[test]
fn to_a_folder_that_is_there_and_one_that_is_not() {
    let servers: [(&str, Box<Server>); 4] = [
        ("dovecot", Box::new(Dovecot::start())),
        ("dovecot without MOVE", Box::new(Dovecot::builder().without(&["MOVE"]).start())),
        ("cyrus", Box::new(Cyrus::start())),
        ("courier", Box::new(Courier::start())),
    ];
    for (name, server) in servers {
        let server = &*server;
        // Courier's folders all lie in INBOX.
        let done = if server.family() == "Courier" { "INBOX.Done" } else { "Done" };
        for user in ["there", "missing"] {
            fill(server, user, 0..4);
            flag(server, user, 1, "\\Seen");
            flag(server, user, 2, "\\Flagged");
            if user == "there" {
                make_folder(server, user, done);
            }
            let scene = Scene::new(&moving(server, user, done));
            let (arrived, said) = scene.once_said();
            assert_eq!(arrived, letters(0..4), "{name}, {user}");
            assert_eq!(inside(server, user, "INBOX").unwrap(), [], "{name}, {user}");
            let moved: Vec<There> =
                ["", "\\Seen", "\\Flagged", ""].iter().enumerate().map(|(n, flags)| (format!("letter {n}"), (*flags).to_owned())).collect();
            assert_eq!(inside(server, user, done).unwrap(), moved, "{name}, {user}");
            let by_move = lines_with(&said.stderr, &["message_moved"]);
            assert_eq!(by_move > 0, ["dovecot", "cyrus"].contains(&name), "{name}: {}", said.stderr);
            // What another client puts there is no concern of ours, nor what is new in the folder.
            assert_eq!(scene.once(), letters([]), "{name}, {user}");
            fill(server, user, 4..5);
            assert_eq!(scene.once(), letters([4]), "{name}, {user}");
            assert_eq!(subjects_in(server, user, done), letters(0..5), "{name}, {user}");
        }
    }
}

/// The server calls the folder what it likes.
#[test]
fn to_a_folder_by_its_special_use() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    fill(&server, "box", 0..3);
    let scene = Scene::new(&moving(&server, "box", "\\Trash"));
    assert_eq!(scene.once(), letters(0..3));
    assert_eq!(subjects_in(&server, "box", "INBOX"), letters([]));
    assert_eq!(subjects_in(&server, "box", "&BBoEPgRABDcEOAQ9BDA-"), letters(0..3));
    assert_eq!(scene.once(), letters([]));
}

/// Cyrillic, and a folder inside a folder, made on the way.
#[test]
fn to_a_cyrillic_folder_that_is_made() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    fill(&server, "box", 0..2);
    let scene = Scene::new(&moving(&server, "box", "Собрано/Почта & прочее"));
    assert_eq!(scene.once(), letters(0..2));
    assert_eq!(subjects_in(&server, "box", "INBOX"), letters([]));
    assert_eq!(subjects_in(&server, "box", "&BCEEPgQxBEAEMAQ9BD4-/&BB8EPgRHBEIEMA- &- &BD8EQAQ+BEcENQQ1-"), letters(0..2));
}

/// A special use that no folder has: the mail is delivered, stays, is reported, and is moved once there is such a folder.
#[test]
fn to_a_use_that_no_folder_has() {
    let server = Dovecot::start();
    fill(&server, "box", 0..3);
    let scene = Scene::new(&moving(&server, "box", "\\Archive"));
    let (arrived, said) = scene.once_code(75);
    assert_eq!(arrived, letters(0..3));
    assert_eq!(lines_with(&said.stderr, &["disposal_refused", "the folder that mail is moved to is not there"]), 1, "{}", said.stderr);
    assert!(said.stderr.contains("FAILED: error[MG-242]"), "{}", said.stderr);
    assert_eq!(inside(&server, "box", "INBOX").unwrap(), (0..3).map(|n| (format!("letter {n}"), String::new())).collect::<Vec<_>>());
    fill(&server, "box", 3..4);
    let (arrived, said) = scene.once_code(75);
    assert_eq!(arrived, letters([3]), "it holds up nobody: {}", said.stderr);
    scene.configure(&moving(&server, "box", "Archive"));
    assert_eq!(scene.once(), letters([]));
    assert_eq!(subjects_in(&server, "box", "INBOX"), letters([]));
    assert_eq!(subjects_in(&server, "box", "Archive"), letters(0..4));
}

/// `\Trash` is the folder that is collected, as the server has it: nothing is moved for ever in a circle.
#[test]
fn to_the_folder_itself() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    let (user, wire) = ("box", "&BBoEPgRABDcEOAQ9BDA-");
    server.add_user(user);
    inside(&server, user, wire);
    let trash = Maildir(server.maildir(user).0.join(format!(".{wire}")));
    (0..2).for_each(|n| trash.put(&corpus::letter(n, BOX)));
    let scene = Scene::new(&moving(&server, user, "\\Trash").set("folders", "[Корзина]"));
    let (arrived, said) = scene.once_code(75);
    assert_eq!(arrived, letters(0..2));
    assert_eq!(lines_with(&said.stderr, &["disposal_refused", "mail would be moved into the folder that it is in"]), 1, "{}", said.stderr);
    assert_eq!(subjects_in(&server, user, wire), letters(0..2));
    assert_eq!(scene.once_code(75).0, letters([]));
    assert_eq!(subjects_in(&server, user, wire), letters(0..2));
    // By its name it is refused when the configuration is read.
    scene.configure(&moving(&server, user, "Корзина").set("folders", "[Корзина]"));
    let (_, said) = scene.once_code(78);
    assert!(said.stderr.contains("which is collected too"), "{}", said.stderr);
}

/// A server that knows neither MOVE nor UIDPLUS: copied and flagged, and never copied again.
#[test]
fn without_move_and_uidplus() {
    let server = Dovecot::builder().without(&["MOVE", "UIDPLUS"]).start();
    fill(&server, "box", 0..3);
    flag(&server, "box", 1, "\\Seen");
    let scene = Scene::new(&moving(&server, "box", "Done"));
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters(0..3));
    assert!(said.stderr.contains("the server has no UIDPLUS"), "{}", said.stderr);
    assert_eq!(subjects_in(&server, "box", "Done"), letters(0..3));
    assert!(inside(&server, "box", "INBOX").unwrap().iter().all(|(_, flags)| flags.contains("\\Deleted")));
    for _ in 0..2 {
        assert_eq!(scene.once(), letters([]));
        assert_eq!(subjects_in(&server, "box", "Done"), letters(0..3), "copied once");
    }
    // With a plain EXPUNGE, where the operator takes it on himself and nobody else has flagged anything.
    fill(&server, "plain", 0..3);
    let scene = Scene::new(&moving(&server, "plain", "Done").set("allow_plain_expunge", "true"));
    assert_eq!(scene.once(), letters(0..3));
    assert_eq!((server.count("plain"), subjects_in(&server, "plain", "Done")), (0, letters(0..3)));
}

/// A folder that cannot be made: the server refuses the move in each pass. What is new is delivered all the same, nothing comes twice, and the
/// operator is told.
#[test]
fn to_a_folder_that_the_server_refuses() {
    // With the separator `.`, a slash can be in no name.
    let server = Dovecot::start();
    fill(&server, "box", 0..2);
    let scene = Scene::new(&moving(&server, "box", "a/b"));
    let (arrived, said) = scene.once_code(75);
    assert_eq!(arrived, letters(0..2));
    assert!(said.stderr.contains("a/b") && said.stderr.contains("new mail is collected all the same"), "{}", said.stderr);
    for n in 2..4 {
        fill(&server, "box", n..n + 1);
        let (arrived, said) = scene.once_code(75);
        assert_eq!(arrived, letters([n]), "{}", said.stderr);
    }
    assert_eq!(subjects_in(&server, "box", "INBOX"), letters(0..4));
    scene.configure(&moving(&server, "box", "Done"));
    assert_eq!(scene.once(), letters([]));
    assert_eq!((server.count("box"), subjects_in(&server, "box", "Done")), (0, letters(0..4)));
}

/// What cannot be moved holds up no new mail: the whole backlog comes in one run, and the daemon keeps its interval.
#[test]
fn a_refused_move_holds_up_nothing() {
    let server = Dovecot::start();
    fill(&server, "many", 0..250);
    let scene = Scene::new(&moving(&server, "many", "a/b").set("max_messages_per_session", "100"));
    let (arrived, said) = scene.once_code(75);
    assert_eq!(arrived, letters(0..250), "{}", said.stderr);
    assert_eq!(sessions(&said.stderr), [100, 100, 50]);
    assert!(said.stderr.contains("FAILED: error[MG-242]"), "{}", said.stderr);
    assert_eq!(lines_with(&said.stderr, &["disposal_refused", "MG-242", "a/b"]), 1, "told once: {}", said.stderr);

    fill(&server, "box", 0..1);
    let sink = Sink::lmtp();
    let yaml = config(&sink.delivery(), &[moving(&server, "box", "a/b").set("interval", "1s").set("idle", "off")]);
    let program = Mailgather::new(&format!("limits: {{interval_min: 100ms}}\n{yaml}"));
    let (started, mut daemon) = (std::time::Instant::now(), program.run());
    for n in 1..8 {
        sink.wait_for(n);
        fill(&server, "box", n..n + 1);
    }
    sink.wait_for(8);
    daemon.wait_for("disposal_refused");
    // With a back-off it would be two minutes.
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
    assert_eq!((daemon.count_log("disposal_refused"), daemon.count_log("session_failed")), (1, 0));
    daemon.stop().expect_success();
    assert_eq!(sink.taken().len(), 8, "none twice");
}
