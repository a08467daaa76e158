//! `folders`: several, by pattern, by use, with rules of their own; folders that come and go; names in any alphabet.

use super::kit::*;
use crate::support::*;

const SPECIAL: &str = "namespace inbox {
  inbox = yes
  separator = /
  mailbox Спам {
    auto = create
    special_use = \\Junk
  }
  mailbox Everything {
    auto = create
    special_use = \\All
  }
}";

/// A folder's Maildir, by its name on the wire; Dovecot's folders are beside each other.
fn folder(server: &Dovecot, user: &str, wire: &str) -> Maildir {
    Maildir(server.maildir(user).0.join(format!(".{}", wire.replace('/', "."))))
}

fn put(server: &Dovecot, user: &str, wire: &str, numbers: std::ops::Range<usize>) {
    numbers.for_each(|n| folder(server, user, wire).put(&corpus::letter(n, "anna@pop.example")));
}

fn collecting(server: &Dovecot, user: &str, folders: &str) -> CollectorYaml {
    CollectorYaml::imap(server, user).forward_to(BOX).set("folders", folders)
}

#[test]
fn several_folders_patterns_and_special_uses() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    for (n, (folders, arrives)) in [
        ("[INBOX]", vec![0]),
        ("[inbox, Lists/a]", vec![0, 1]),
        ("['Lists/%']", vec![1, 2]),
        ("['Lists/*']", vec![1, 2, 3]),
        ("['*']", vec![0, 1, 2, 3, 4, 5]),
        ("['%']", vec![0, 4, 5]),
        ("['\\Junk']", vec![4]),
        ("['\\All', INBOX]", vec![0, 5]),
        ("[Спам]", vec![4]),
        ("['Сп*', Lists/b]", vec![2, 4]),
        ("[Lists/b, 'L*', '*/b', INBOX, '%']", vec![0, 1, 2, 3, 4, 5]),
    ]
    .into_iter()
    .enumerate()
    {
        let user = &format!("user{n}");
        fill(&server, user, 0..1);
        put(&server, user, "Lists/a", 1..2);
        put(&server, user, "Lists/b", 2..3);
        put(&server, user, "Lists/b/deep", 3..4);
        put(&server, user, "&BCEEPwQwBDw-", 4..5);
        put(&server, user, "Everything", 5..6);
        let scene = Scene::new(&collecting(&server, user, folders));
        assert_eq!(scene.once(), letters(arrives.iter().copied()), "{folders}");
        assert_eq!(scene.once(), letters([]), "{folders}");
        // One more in each.
        fill(&server, user, 10..11);
        for (n, wire) in [(11, "Lists/a"), (12, "Lists/b"), (13, "Lists/b/deep"), (14, "&BCEEPwQwBDw-"), (15, "Everything")] {
            put(&server, user, wire, n..n + 1);
        }
        assert_eq!(scene.once(), letters(arrives.iter().map(|n| n + 10)), "{folders}");
    }
}

/// Each folder with its recipient, its mark and its `after`.
#[test]
fn folders_with_rules_of_their_own() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    let user = "box";
    fill(&server, user, 0..2);
    put(&server, user, "&BCEEPwQwBDw-", 2..4);
    put(&server, user, "Lists/a", 4..6);
    put(&server, user, "Lists/b", 6..8);
    let folders = "[INBOX, {name: '\\Junk', flag: spam, forward_to: spam@example.org, after: delete}, \
                   {name: 'Lists/a', forward_to: [lists@example.org, archive@example.org], after: {move_to: Done}}, \
                   {name: 'Lists/%', after: keep}]";
    let scene = Scene::new(&collecting(&server, user, folders).after("mark_seen"));
    for round in 0..2 {
        let done = scene.program.once(&[]).expect_success();
        let taken = scene.sink.taken();
        assert_eq!(taken.len(), if round == 0 { 8 } else { 0 }, "{}", done.stderr);
        for taken in &taken {
            let subject = maildir::field(&taken.content, "Subject").unwrap();
            let n: usize = subject["letter ".len()..].parse().unwrap();
            let (to, is_spam): (&[&str], bool) = match n {
                2 | 3 => (&["spam@example.org"], true),
                4 | 5 => (&["lists@example.org", "archive@example.org"], false),
                _ => (&[BOX], false),
            };
            assert_eq!(taken.recipients, to, "{subject}");
            assert_eq!(maildir::field(&taken.content, "X-Spam-Flag").as_deref(), is_spam.then_some("YES"), "{subject}");
        }
        scene.sink.clear();
        let flags = |wire: &str| inside(&server, user, wire).unwrap().into_iter().map(|(_, flags)| flags).collect::<Vec<_>>();
        assert_eq!(flags("INBOX"), ["\\Seen", "\\Seen"]);
        assert_eq!(flags("&BCEEPwQwBDw-"), [""; 0]);
        assert_eq!(flags("Lists/a"), [""; 0]);
        assert_eq!(subjects_in(&server, user, "Done"), letters(4..6));
        assert_eq!(flags("Lists/b"), ["", ""]);
    }
}

/// A folder that mail is moved to is never collected by a pattern that matches it.
#[test]
fn a_pattern_does_not_take_in_the_folder_that_mail_is_moved_to() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    let user = "box";
    fill(&server, user, 0..2);
    put(&server, user, "Done", 2..3);
    let scene = Scene::new(&collecting(&server, user, "['%', {name: 'Lists/a', after: {move_to: '\\All'}}]"));
    put(&server, user, "Lists/a", 3..4);
    assert_eq!(scene.once(), letters([0, 1, 2, 3]));
    assert_eq!(subjects_in(&server, user, "Everything"), letters([3]));
    assert_eq!(scene.once(), letters([]));
}

/// One goes between two passes, one comes, one never was: the others are collected.
#[test]
fn folders_that_come_and_go() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    let user = "box";
    fill(&server, user, 0..1);
    put(&server, user, "Lists/a", 1..2);
    put(&server, user, "Lists/b", 2..3);
    let folders = "[Lists/a, 'Lists/%', Never, INBOX]";
    let scene = Scene::new(&collecting(&server, user, folders));
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters(0..3));
    assert_eq!(lines_with(&said.stderr, &["folder_missing", "there is no folder `Never`"]), 1, "{}", said.stderr);
    OtherClient::login(server.imap(), user).command("DELETE Lists/a");
    fill(&server, user, 3..4);
    put(&server, user, "Lists/b", 4..5);
    put(&server, user, "Lists/c", 5..6);
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters(3..6), "{}", said.stderr);
    assert_eq!(lines_with(&said.stderr, &["folder_missing", "there is no folder `Lists/a`"]), 1, "{}", said.stderr);
    // Back under its old name, it is another folder; what is in it is new.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    put(&server, user, "Lists/a", 6..7);
    assert_eq!(scene.once(), letters([6]));
    assert_eq!(scene.once(), letters([]));
}

/// A folder that alone is named and not there is the collector's error; of several, one that cannot be opened holds up none of the others.
#[test]
fn a_folder_that_cannot_be_opened() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    let user = "box";
    fill(&server, user, 0..1);
    let scene = Scene::new(&collecting(&server, user, "[Never]"));
    let (arrived, said) = scene.once_code(78);
    assert_eq!(arrived, letters([]));
    assert!(said.stderr.contains("Never"), "{}", said.stderr);
    // Listed, and refused: its files are another user's.
    put(&server, user, "Broken", 1..2);
    put(&server, user, "Last", 2..3);
    inside(&server, user, "Broken");
    let broken = folder(&server, user, "Broken").0;
    let list = broken.join("dovecot-uidlist");
    let _ = std::fs::remove_file(&list);
    std::fs::create_dir(&list).unwrap();
    let scene = Scene::new(&collecting(&server, user, "[Broken, INBOX, Last]"));
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters([0, 2]), "{}", said.stderr);
    assert_eq!(lines_with(&said.stderr, &["folder_missing", "refuses to open `Broken`"]), 1, "{}", said.stderr);
    std::fs::remove_dir(&list).unwrap();
    assert_eq!(scene.once(), letters([1]));
}

/// Where none of those that are named is there, nothing can be collected, and that is no success; a pattern may match something later.
#[test]
fn folders_none_of_which_is_there() {
    let server = Dovecot::start();
    fill(&server, "box", 0..1);
    make_folder(&server, "box", "Spa");
    for folders in ["[Spam, Junk]", "['\\Junk']", "['x*', Spam]"] {
        let scene = Scene::new(&collecting(&server, "box", folders));
        let done = scene.program.run_to_end("once", &["-q"]).expect_code(78);
        assert!(
            done.stderr.contains("FAILED: error[MG-242]") && done.stderr.contains("the mailbox has `") && done.stderr.contains("`INBOX`"),
            "{folders}: {}",
            done.stderr
        );
        assert!(!folders.contains("Spam") || done.stderr.contains("there is no folder `Spam`; there is `Spa`"), "{folders}: {}", done.stderr);
        let tested = scene.program.run_to_end("test", &["box"]);
        assert_eq!(tested.status.code(), Some(78), "{folders}: {}", tested.stdout);
    }
    let scene = Scene::new(&collecting(&server, "box", "['x*']"));
    let (_, said) = scene.once_said();
    assert_eq!(lines_with(&said.stderr, &["folder_missing", "no folder matches `x*`"]), 1, "{}", said.stderr);
}

/// What is missing is told once, and once more when something else is missing.
#[test]
fn the_daemon_tells_of_a_missing_folder_once() {
    let server = Dovecot::start();
    fill(&server, "box", 0..1);
    let sink = Sink::lmtp();
    let collector = collecting(&server, "box", "[INBOX, Spam, Junk]").set("interval", "100ms").set("idle", "off");
    let program = Mailgather::new(&format!("limits: {{interval_min: 50ms}}\n{}", config(&sink.delivery(), &[collector])));
    let daemon = program.run();
    let waiting = std::time::Instant::now();
    let sessions = |count| {
        while daemon.count_log("session_finished") < count {
            assert!(waiting.elapsed() < std::time::Duration::from_secs(60), "{:?}", daemon.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    sessions(6);
    assert_eq!(daemon.count_log("folder_missing"), 2, "{:?}", daemon.log());
    make_folder(&server, "box", "Junk");
    sessions(daemon.count_log("session_finished") + 3);
    assert_eq!(daemon.count_log("folder_missing"), 3, "{:?}", daemon.log());
    daemon.stop().expect_success();
}

/// Names in modified UTF-7: Cyrillic, an ampersand, an emoji beyond the BMP, and octets that are no such name at all.
#[test]
fn f71_names_in_every_alphabet() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    let user = "box";
    for (n, wire) in ["&BB8EPgRHBEIEMA-", "R&-D", "&2D3eAA-", "&BB8EPgRHBEIEMA-/&BDAEMQQy-"].iter().enumerate() {
        make_folder(&server, user, wire);
        put(&server, user, wire, n..n + 1);
    }
    let scene = Scene::new(&collecting(&server, user, "[Почта, 'R&D', '😀', 'Почта/абв']"));
    assert_eq!(scene.once(), letters(0..4));
    assert_eq!(scene.once(), letters([]));
    let scene = Scene::new(&collecting(&server, user, "['Поч*']"));
    assert_eq!(scene.once(), letters([0, 3]));
}

/// Names that mean something to IMAP, to patterns, to YAML or to a terminal: all are names.
#[test]
fn f71_hostile_names() {
    let server = Dovecot::start();
    let user = "box";
    let names = ["we\"ird", "back\\slash", "a*b", "per%cent", "{5}", "(both)", "semi;colon", "nul", " spaces ", "NIL", "INBOX2"];
    let mut client = OtherClient::login(server.imap(), user);
    for name in names {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        client.command(&format!("CREATE \"{quoted}\""));
        client.command(&format!("SELECT \"{quoted}\""));
    }
    drop(client);
    let mut put = 0;
    for entry in std::fs::read_dir(server.maildir(user).0).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && entry.path().join("cur").is_dir() {
            Maildir(entry.path()).put(&corpus::letter(put, "anna@pop.example"));
            put += 1;
        }
    }
    assert_eq!(put, names.len());
    let scene = Scene::new(&collecting(&server, user, "['*']"));
    let (arrived, said) = scene.once_said();
    assert_eq!(arrived, letters(0..put), "{}", said.stderr);
    assert!(!said.stderr.contains('\u{1b}'));
    assert_eq!(scene.once(), letters([]));
    // What no client could make: a line end, and octets that are no modified UTF-7. The others are collected all the same.
    for (n, wire) in ["&AAo-line", "&bad", "&AAAA-"].iter().enumerate() {
        folder(&server, user, wire).put(&corpus::letter(100 + n, "anna@pop.example"));
    }
    folder(&server, user, "NIL").put(&corpus::letter(50, "anna@pop.example"));
    let (arrived, said) = scene.once_said();
    assert!(arrived.contains(&"letter 50".to_owned()), "{arrived:?}\n{}", said.stderr);
    assert!(said.stderr.lines().all(|line| line.starts_with("20")), "no name breaks a line: {}", said.stderr);
    assert_eq!(scene.once(), letters([]));
    // And each by its own name, where a pattern's sign is none: quoted as YAML has it.
    let scene = Scene::new(&collecting(&server, user, "['we\"ird', 'back\\slash', '(both)', '{5}', NIL]"));
    assert_eq!(scene.once().len(), 6);
}

/// The folder's address is no guess: nobody is asked whether it exists here.
#[test]
fn the_recipient_of_a_folder_is_not_checked() {
    let server = Dovecot::builder().extra(SPECIAL).start();
    let user = "box";
    fill(&server, user, 0..1);
    put(&server, user, "&BCEEPwQwBDw-", 1..2);
    let scene = Scene::new(&collecting(&server, user, "[INBOX, {name: '\\Junk', forward_to: spam@elsewhere.example}]"));
    let list = scene.program.path().join("users");
    std::fs::write(&list, "anna@example.org\n").unwrap();
    let rules = format!("{{auto: {{map: {{pop.example: example.org}}, check_local: {{file: {}}}}}, default_box: lost@example.org}}", list.display());
    scene.configure(&collecting(&server, user, "[INBOX, {name: '\\Junk', forward_to: spam@elsewhere.example}]").set("recipient", &rules));
    scene.program.once(&[]).expect_success();
    let to: Vec<String> = scene.sink.taken().into_iter().flat_map(|taken| taken.recipients).collect();
    assert_eq!(to, ["anna@example.org", "spam@elsewhere.example"]);
}
