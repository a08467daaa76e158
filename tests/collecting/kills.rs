//! SIGKILL at the k-th system call, for every k, while mail is moved, marked, aged, collected from several folders: nothing is lost, and a letter comes
//! twice only where its delivery was not recorded when the program died. `tests/sweeps/killsweep.rs` does the same for `delete`, with faults of every kind.

use super::kit::*;
use crate::support::*;
use std::collections::BTreeMap;

const LETTERS: usize = 4;
/// The sweep ends when no thread gets as far as k; this is the end of a test that is wrong.
const K_MAX: usize = 400;

/// One mailbox for each round, so that the ledger is made once.
struct Sweep<'a> {
    server: &'a Dovecot,
    /// The collector of a user.
    make: &'a dyn Fn(&str) -> CollectorYaml,
    /// Puts the letters in their places.
    fill: &'a dyn Fn(&str),
    /// Every folder in which a letter may be, by its name on the wire.
    folders: &'a [&'a str],
    /// What must be where at the end, however often it has to be asked.
    is_done: &'a dyn Fn(&str) -> Result<(), String>,
    /// Nothing ever leaves these folders.
    keeps_all: bool,
}

impl Sweep<'_> {
    fn run(&self, name: &str) {
        let scene = Scene::new(&(self.make)("nobody"));
        let calls: &[&str] = if std::env::var_os("MAILGATHER_LONG_SWEEP").is_some() {
            &["sendto", "fsync", "pwrite64", "recvfrom", "write"]
        } else {
            &["sendto", "fsync"]
        };
        let (mut round, mut in_doubt, mut duplicates) = (0, 0, 0);
        for call in calls {
            for k in 1.. {
                assert!(k < K_MAX, "{name}: {call} is made without end");
                round += 1;
                let (user, what) = (format!("{name}{round}"), format!("{name}, {call} {k}"));
                (self.fill)(&user);
                scene.configure(&(self.make)(&user));
                let killed = strace::once_with_fault(&scene.program, call, "signal=KILL", k).is_some();
                eventually("the sink's connections end", SOON, || scene.sink.open() == 0);
                let before = counts(&scene);
                let there = self.there(&user);
                for n in 0..LETTERS {
                    let letter = format!("letter {n}");
                    assert!(there.contains(&letter) || before.contains_key(&letter), "{what}: {letter} is lost");
                    assert!(there.contains(&letter) || !self.keeps_all, "{what}: {letter} is gone from the source");
                }
                let recorded = recorded(&scene.program, &user);
                // The next passes make up for it.
                let start = std::time::Instant::now();
                loop {
                    scene.program.once(&["--quiet"]).expect_success();
                    match (self.is_done)(&user) {
                        Ok(()) => break,
                        Err(still) => assert!(start.elapsed() < SOON, "{what}: {still}"),
                    }
                }
                scene.program.once(&["--quiet"]).expect_success();
                let after = counts(&scene);
                assert_eq!(after.keys().cloned().collect::<Vec<_>>(), letters(0..LETTERS), "{what}");
                let again: usize = after.values().map(|count| count - 1).sum();
                let delivered: usize = before.values().sum();
                assert!(again <= delivered.saturating_sub(recorded), "{what}: {again} came twice, {delivered} had arrived, {recorded} were recorded");
                assert!(after.values().all(|count| *count <= 2), "{what}: {after:?}");
                in_doubt += usize::from(delivered > recorded);
                duplicates += again;
                scene.sink.clear();
                if !killed {
                    break;
                }
            }
        }
        println!("{name}: {round} rounds, {in_doubt} in doubt, {duplicates} duplicates");
        assert!(round > 12, "{name}: only {round} rounds");
    }

    fn there(&self, user: &str) -> Vec<String> {
        self.folders.iter().flat_map(|folder| subjects_in(self.server, user, folder)).collect()
    }
}

fn counts(scene: &Scene) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    scene.arrived().into_iter().for_each(|subject| *counts.entry(subject).or_insert(0) += 1);
    counts
}

/// How many messages of this user's mailbox the ledger calls delivered. A copy of the files is read: a look at the files themselves would do the
/// recovery that the program is to do.
fn recorded(program: &Mailgather, user: &str) -> usize {
    let copy = tempfile::tempdir().expect("a folder");
    for file in ["ledger.db", "ledger.db-wal"] {
        let _ = std::fs::copy(program.state_dir().join(file), copy.path().join(file));
    }
    let Ok(ledger) = rusqlite::Connection::open(copy.path().join("ledger.db")) else { return 0 };
    let of_user = "folder IN (SELECT f.id FROM folder f JOIN mailbox m ON m.id = f.mailbox WHERE m.login = ?1)";
    let count = |sql: String| ledger.query_row(&sql, [user], |row| row.get::<_, i64>(0)).unwrap_or(0) as usize;
    count(format!("SELECT count(*) FROM exception WHERE state IN ('owed', 'flagged') AND {of_user}"))
        + count(format!("SELECT count(*) FROM kept WHERE {of_user}"))
}

fn is_there(server: &Server, user: &str, folder: &str, expected: &[String]) -> Result<(), String> {
    let there = subjects_in(server, user, folder);
    if there == expected { Ok(()) } else { Err(format!("{folder} holds {there:?}")) }
}

#[test]
fn killed_while_mail_is_moved() {
    let server = Dovecot::start();
    Sweep {
        server: &server,
        make: &|user| CollectorYaml::imap(&server, user).forward_to(BOX).after("{move_to: Done}").id("box"),
        fill: &|user| fill(&server, user, 0..LETTERS),
        folders: &["INBOX", "Done"],
        is_done: &|user| is_there(&server, user, "INBOX", &[]).and_then(|()| is_there(&server, user, "Done", &letters(0..LETTERS))),
        keeps_all: true,
    }
    .run("move");
}

/// Without MOVE a letter may be copied twice, and is never lost.
#[test]
fn killed_while_mail_is_copied_and_deleted() {
    let server = Dovecot::builder().without(&["MOVE"]).start();
    let is_moved = |user: &str| {
        is_there(&server, user, "INBOX", &[])?;
        let mut there = subjects_in(&server, user, "Done");
        assert!(there.len() <= 2 * LETTERS, "{there:?}");
        there.dedup();
        if there == letters(0..LETTERS) { Ok(()) } else { Err(format!("Done holds {there:?}")) }
    };
    Sweep {
        server: &server,
        make: &|user| CollectorYaml::imap(&server, user).forward_to(BOX).after("{move_to: Done}").id("box"),
        fill: &|user| fill(&server, user, 0..LETTERS),
        folders: &["INBOX", "Done"],
        is_done: &is_moved,
        keeps_all: true,
    }
    .run("copy");
}

#[test]
fn killed_while_mail_is_marked() {
    let server = Dovecot::start();
    let marked = |user: &str| match inside(&server, user, "INBOX").unwrap() {
        all if all.len() == LETTERS && all.iter().all(|(_, flags)| flags == "\\Seen") => Ok(()),
        all => Err(format!("{all:?}")),
    };
    for collect in ["new", "unseen"] {
        Sweep {
            server: &server,
            make: &|user| CollectorYaml::imap(&server, user).forward_to(BOX).after("mark_seen").set("collect", collect).id("box"),
            fill: &|user| fill(&server, user, 0..LETTERS),
            folders: &["INBOX"],
            is_done: &marked,
            keeps_all: true,
        }
        .run(&format!("mark{collect}"));
    }
}

#[test]
fn killed_while_mail_ages() {
    let server = Dovecot::start();
    for (protocol, collect, name) in
        [(CollectorYaml::imap as Protocol, "new", "imap"), (CollectorYaml::imap, "all", "all"), (CollectorYaml::pop3, "new", "pop")]
    {
        Sweep {
            server: &server,
            make: &|user| protocol(&server, user).forward_to(BOX).after("{delete_after: 1s}").set("collect", collect).id("box"),
            fill: &|user| fill(&server, user, 0..LETTERS),
            folders: &["INBOX"],
            is_done: &|user| is_there(&server, user, "INBOX", &[]),
            keeps_all: false,
        }
        .run(&format!("age{name}"));
    }
}

/// Three folders, each with another end.
#[test]
fn killed_between_folders() {
    let server = Dovecot::start();
    let put =
        |user: &str, folder: &str, n: usize| Maildir(server.maildir(user).0.join(format!(".{folder}"))).put(&corpus::letter(n, "anna@pop.example"));
    let done = |user: &str| {
        is_there(&server, user, "INBOX", &letters([0, 1]))?;
        is_there(&server, user, "Spam", &[])?;
        is_there(&server, user, "Lists", &[])?;
        is_there(&server, user, "Done", &letters([3]))
    };
    Sweep {
        server: &server,
        make: &|user| {
            let folders = "[INBOX, {name: Spam, flag: spam, after: delete}, {name: Lists, after: {move_to: Done}}]";
            CollectorYaml::imap(&server, user).forward_to(BOX).set("folders", folders).id("box")
        },
        fill: &|user| {
            fill(&server, user, 0..2);
            put(user, "Spam", 2);
            put(user, "Lists", 3);
        },
        folders: &["INBOX", "Spam", "Lists", "Done"],
        is_done: &done,
        keeps_all: false,
    }
    .run("folders");
}
