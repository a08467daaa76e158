//! A ledger that is broken, in part or in whole, or locked by somebody else.

use super::*;
use std::path::Path;

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
