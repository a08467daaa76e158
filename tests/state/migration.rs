//! State of another version: an older one is taken over, whole or not at all, wherever a kill comes; a newer one is refused, and stays as it is.

use super::*;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::process::finish;

/// The first version's tables, as it made them.
const FIRST: &str = "
    CREATE TABLE instance (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL, key BLOB NOT NULL) STRICT;
    CREATE TABLE mailbox (
        id INTEGER PRIMARY KEY, protocol TEXT NOT NULL, host TEXT NOT NULL, login TEXT NOT NULL,
        claimed_at INTEGER NOT NULL DEFAULT 0, UNIQUE (protocol, host, login)) STRICT;
    CREATE TABLE folder (
        id INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES mailbox, name TEXT NOT NULL, epoch INTEGER NOT NULL,
        watermark INTEGER NOT NULL DEFAULT 0, UNIQUE (mailbox, name, epoch)) STRICT;
    CREATE TABLE batch (folder INTEGER PRIMARY KEY REFERENCES folder, uids BLOB NOT NULL) STRICT;
    CREATE TABLE exception (
        folder INTEGER NOT NULL REFERENCES folder, uid NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
        first INTEGER NOT NULL DEFAULT 0, next_try INTEGER NOT NULL DEFAULT 0, in_doubt INTEGER NOT NULL DEFAULT 0,
        done TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '', number INTEGER NOT NULL DEFAULT 0, fingerprint BLOB,
        PRIMARY KEY (folder, uid)) WITHOUT ROWID;
    CREATE TABLE kept (folder INTEGER NOT NULL REFERENCES folder, uid NOT NULL, fingerprint BLOB, PRIMARY KEY (folder, uid)) WITHOUT ROWID;
    PRAGMA user_version = 1;
    ";
/// What is copied into them of a newer one.
const COLUMNS: [(&str, &str); 4] = [
    ("instance", "one, id, key"),
    ("mailbox", "id, protocol, host, login"),
    ("folder", "id, mailbox, name, epoch, watermark"),
    ("kept", "folder, uid, fingerprint"),
];

fn ledger(program: &Mailgather) -> std::path::PathBuf {
    program.state_dir().join("ledger.db")
}

/// Puts a ledger of the first version in the place of this one, with what it knows.
fn make_old(program: &Mailgather) {
    let (new, old) = (ledger(program), program.path().join("old.db"));
    let connection = Connection::open(&old).unwrap();
    connection.execute_batch(FIRST).unwrap();
    connection.execute("ATTACH ?1 AS new", [new.to_str().unwrap()]).unwrap();
    for (table, columns) in COLUMNS {
        connection.execute(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}"), []).unwrap();
    }
    drop(connection);
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", new.display()));
    }
    std::fs::rename(old, new).unwrap();
}

fn version(path: &Path) -> i64 {
    Connection::open(path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// Every file below a folder, with its octets.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

/// What the first version had collected does not come again, and what is new comes.
#[test]
fn f82_state_of_the_first_version_is_taken_over() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap(&server, "one"))]));
    fill(&server, "one", 0..5);
    program.once(&[]).expect_success();
    let newest = version(&ledger(&program));
    make_old(&program);
    assert_eq!(version(&ledger(&program)), 1);
    fill(&server, "one", 5..7);
    let done = program.once(&[]).expect_success();
    assert!(done.stdout.contains("2 delivered"), "{}", done.stdout);
    assert_eq!(arrived(&boxes), letters(0..7));
    assert_eq!(version(&ledger(&program)), newest);
    program.once(&[]).expect_success();
    assert_eq!(arrived(&boxes), letters(0..7));
}

/// Killed at each call that writes, while it takes the old state over: the next start goes on from there, and nothing comes twice or is lost.
#[test]
fn f82_a_kill_while_state_is_taken_over_loses_nothing() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap(&server, "one"))]));
    fill(&server, "one", 0..3);
    program.once(&[]).expect_success();
    let newest = version(&ledger(&program));
    make_old(&program);
    let old = std::fs::read(ledger(&program)).unwrap();
    let mut kills = 0;
    for call in ["pwrite64", "fdatasync", "unlink,unlinkat"] {
        for k in 1..500 {
            for end in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", ledger(&program).display()));
            }
            std::fs::write(ledger(&program), &old).unwrap();
            // A command that opens the state, and delivers nothing.
            let plain = program.command("held", &["release", "--all"]);
            let trace = program.path().join("trace");
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o"]).arg(&trace).args([
                "-e",
                &format!("trace={call}"),
                "-e",
                &format!("inject={call}:signal=KILL:when={k}"),
            ]);
            command.arg(plain.get_program()).args(plain.get_args()).env("TOKIO_WORKER_THREADS", "1");
            let done = finish(command, Duration::from_secs(60));
            if !std::fs::read_to_string(&trace).unwrap().contains("killed by SIGKILL") {
                assert_eq!(version(&ledger(&program)), newest, "{call} {k}: {}", done.stderr);
                break;
            }
            kills += 1;
            let found = version(&ledger(&program));
            assert!((1..=newest).contains(&found), "{call} {k}: {found}");
            // Each step is whole: the next start finds a version that it knows.
            program.run_to_end("held", &["release", "--all"]);
            assert_eq!(version(&ledger(&program)), newest, "{call} {k}");
        }
    }
    assert!(kills > 10, "{kills}");
    fill(&server, "one", 3..4);
    program.once(&[]).expect_success();
    assert_eq!(arrived(&boxes), letters(0..4));
}

/// A newer version's state is refused by each command that would write there, before anything is done with the mail, and no octet of it changes.
#[test]
fn f82_state_of_a_newer_version_is_refused_and_left_alone() {
    let (server, boxes) = (Dovecot::start(), Boxes::new());
    let program = Mailgather::new(&config(&boxes.delivery(), &[forwarding(CollectorYaml::imap(&server, "one")).after("delete")]));
    fill(&server, "one", 0..2);
    program.once(&[]).expect_success();
    let connection = Connection::open(ledger(&program)).unwrap();
    connection.execute_batch("CREATE TABLE of_the_future (x); PRAGMA user_version = 999; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(connection);
    fill(&server, "one", 2..4);
    let before = files(&program.state_dir());
    for (subcommand, more) in [("once", &[][..]), ("run", &[]), ("held", &["release", "--all"]), ("clear", &["one", "--yes"])] {
        let done = program.run_to_end(subcommand, more).expect_code(74);
        assert!(done.stderr.contains("error[MG-302]") && done.stderr.contains("999"), "{subcommand}: {}", done.stderr);
        assert!(files(&program.state_dir()) == before, "{subcommand}");
    }
    // Who only looks is refused as well.
    program.run_to_end("held", &["list"]).expect_code(74);
    assert!(std::fs::read(ledger(&program)).unwrap() == before[&ledger(&program).display().to_string()]);
    assert_eq!((arrived(&boxes), server.count("one")), (letters(0..2), 2));
}
