//! The ledger in its file: upgrades, broken and locked files, crashes, shared commits.

use super::*;
use crate::ledger::Pending;
use crate::ledger::suite::ledger_suite;

fn fresh() -> (tempfile::TempDir, SqliteLedger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(&dir.path().join("ledger.db")).unwrap();
    (dir, ledger)
}

ledger_suite!(fresh());

#[tokio::test]
async fn the_file_is_ours_alone_and_survives() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, ledger) = fresh();
    let id = ledger.instance().await.unwrap().id;
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
    drop(ledger);
    assert!(!dir.path().join("ledger.db-wal").exists(), "closed in order");
    let again = SqliteLedger::open(&dir.path().join("ledger.db")).unwrap();
    assert_eq!(again.instance().await.unwrap().id, id);
}

#[test]
fn a_newer_file_is_refused() {
    let (dir, ledger) = fresh();
    drop(ledger);
    let path = dir.path().join("ledger.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteLedger::open(&path), Err(LedgerError::Newer { found: 99, .. })));
}

/// The file of the first version, as it is in use today, with a kept message in it.
fn version_1() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema::STEPS[0]).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection
        .execute_batch(
            "INSERT INTO instance VALUES (1, x'000102030405060708090a0b0c0d0e0f', zeroblob(32));
                 INSERT INTO mailbox (protocol, host, login) VALUES ('imap', 'mail.example.org', 'u');
                 INSERT INTO folder (mailbox, name, epoch, watermark) VALUES (1, 'INBOX', 1, 9); INSERT INTO kept VALUES (1, 9, NULL);",
        )
        .unwrap();
    (dir, path)
}

#[tokio::test]
async fn a_file_of_the_first_version_is_upgraded() {
    let (_dir, path) = version_1();
    let look = |path: &Path| look_at_held(path).unwrap();
    assert!(look(&path).is_empty(), "looking changes nothing");
    assert_eq!(Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    let ledger = SqliteLedger::open(&path).unwrap();
    assert_eq!(ledger.instance().await.unwrap().id, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let claim = ledger.claim(&crate::ledger::suite::mailbox("u")).await.unwrap();
    let progress = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::Full).await.unwrap();
    assert_eq!((progress.watermark, progress.kept.contains(&RemoteUid::Number(9)), progress.kept_count), (9, true, 1));
    assert!(ledger.held().await.unwrap().is_empty());
    assert_eq!(ledger.held_octets().await.unwrap(), 0);
    assert_eq!(ledger.prune_seen(0).await.unwrap(), 0);
}

/// Files of every earlier version, with what each could hold, become ones of today, and nothing in them is lost.
#[tokio::test]
async fn files_of_every_version_are_upgraded() {
    for version in 1..schema::STEPS.len() {
        let (_dir, path) = version_1();
        let connection = Connection::open(&path).unwrap();
        for step in &schema::STEPS[1..version] {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", version as i64).unwrap();
        let states = "INSERT INTO exception (folder, uid, state, tries, first, next_try, in_doubt, done, reason, number, fingerprint) VALUES
                (1, 1, 'owed', 0, 0, 0, 0, '', '', 0, zeroblob(32)), (1, 2, 'pending', 2, 5, 6, 1, 'a@b' || char(10) || 'c@d', '450 later', 0, NULL),
                (1, 3, 'left', 1, 5, 77, 0, '', 'nobody', -1, NULL), (1, 4, 'skipped', 0, 0, 0, 0, '', '', 9, NULL), (1, 5, 'flagged', 0, 0, 0, 0, '', '', 0, NULL);
                INSERT INTO kept (folder, uid, fingerprint) VALUES (1, 6, zeroblob(32)); INSERT INTO batch VALUES (1, CAST('n7:8' AS BLOB));";
        connection.execute_batch(states).unwrap();
        if version >= 2 {
            connection.execute_batch("UPDATE exception SET held = 1, copy = zeroblob(32) WHERE uid = 2").unwrap();
        }
        drop(connection);
        let ledger = SqliteLedger::open(&path).unwrap();
        let claim = ledger.claim(&crate::ledger::suite::mailbox("u")).await.unwrap();
        let progress = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::Full).await.unwrap();
        assert_eq!((progress.watermark, progress.kept_count, progress.generation, progress.unexpunged), (9, 2, 0, 0), "version {version}");
        assert_eq!(progress.begun, 0);
        assert!(!progress.first_run, "a folder that was collected before there were first runs has had its own");
        let done: Vec<String> = vec!["a@b".into(), "c@d".into()];
        let (tries, held) = (2, version >= 2);
        let pending = Pending { tries, first: 5, next_try: 6, done, in_doubt: 1, held, reason: "450 later".into(), forgotten: 0 };
        let doubt = |uid: u32| match &progress.exceptions[&RemoteUid::Number(uid)] {
            State::Pending(pending) => pending.in_doubt,
            other => panic!("{other:?}"),
        };
        assert_eq!((doubt(7), doubt(8)), (1, 1));
        let state = |uid: u32| progress.exceptions[&RemoteUid::Number(uid)].clone();
        assert_eq!((state(1), state(2), state(5)), (State::Owed, State::Pending(pending), State::Flagged));
        assert_eq!(state(4), State::Skipped { octets: 9 });
        assert!(matches!(state(3), State::Left { rules: u64::MAX, next_try: 77, before, .. } if before.tries == 1));
        // Since when it is kept nobody wrote down; it counts from the upgrade, so that nothing is deleted too early.
        assert_eq!(ledger.owe_aged(&progress.place, 1_700_000_000, 100).await.unwrap(), u64::from(version >= 3));
        drop(ledger);
        assert!(SqliteLedger::open(&path).is_ok(), "and once more");
    }
}

/// A kill in the midst of forgetting: the file is copied while the transaction is open, as a crash leaves it.
#[tokio::test]
async fn forgetting_is_whole_or_not_at_all() {
    let (dir, ledger) = fresh();
    let path = dir.path().join("ledger.db");
    let mailbox = crate::ledger::suite::mailbox("u");
    let claim = ledger.claim(&mailbox).await.unwrap();
    let place = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::None).await.unwrap().place;
    for n in 1..=50 {
        ledger.record(&place, Entry::new(RemoteUid::Number(n), State::Kept, None)).await.unwrap();
    }
    drop(ledger);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA cache_size = 1; BEGIN IMMEDIATE").unwrap();
    assert_eq!(sqlite_forget::forget(&connection, &mailbox, &Forget::default(), 1).ok(), Some(50));
    let crashed = dir.path().join("crashed.db");
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", path.display()), format!("{}{end}", crashed.display())).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    for (path, kept) in [(crashed, 50), (path, 0)] {
        let ledger = SqliteLedger::open(&path).unwrap();
        let claim = ledger.claim(&mailbox).await.unwrap();
        let progress = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::None).await.unwrap();
        assert_eq!((progress.kept_count, progress.exceptions.len() as u64), (kept, 50 - kept));
    }
}

#[tokio::test]
async fn held_mail_can_be_looked_at_beside_the_daemon() {
    let (dir, ledger) = fresh();
    let path = dir.path().join("ledger.db");
    assert!(look_at_held(&dir.path().join("none.db")).unwrap().is_empty() && !dir.path().join("none.db").exists());
    assert!(look_at_held(&path).unwrap().is_empty());
    crate::ledger::suite::held_mail_is_recorded_with_its_state(&ledger).await;
    let looked = look_at_held(&path).unwrap();
    assert_eq!(looked.iter().map(|(mail, _)| mail.clone()).collect::<Vec<_>>(), ledger.held().await.unwrap());
    assert_eq!(looked.iter().map(|(_, copy)| *copy).collect::<Vec<_>>(), [AtSource::ToGo, AtSource::Stays]);
    let ids: Vec<_> = looked.into_iter().map(|(mail, _)| mail.id).collect();
    Connection::open(&path).unwrap().execute_batch("DELETE FROM exception").unwrap();
    assert!(look_at_held(&path).unwrap().iter().all(|(_, copy)| *copy == AtSource::Unknown));
    for (state, copy) in [
        ("pending", AtSource::Stays),
        ("left", AtSource::Stays),
        ("skipped", AtSource::Stays),
        ("held", AtSource::Stays),
        ("flagged", AtSource::ToGo),
    ] {
        let sql = "INSERT OR REPLACE INTO exception (folder, uid, state) VALUES (1, 1, ?1)";
        Connection::open(&path).unwrap().execute(sql, [state]).unwrap();
        assert_eq!(look_at_held(&path).unwrap()[1].1, copy, "{state}");
    }
    Connection::open(&path).unwrap().execute_batch("DELETE FROM exception; INSERT INTO kept (folder, uid) VALUES (1, 1)").unwrap();
    assert_eq!(look_at_held(&path).unwrap()[1].1, AtSource::Stays, "kept");
    // It does not wait for a writer, nor does a writer wait for it.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(look_at_held(&path).unwrap().len(), 2);
    other.execute_batch("ROLLBACK").unwrap();
    // A row that cannot be read is said, never passed over: its file would be taken for a left-over.
    other.execute("UPDATE held SET why = 'because' WHERE id = ?1", [ids[0].0]).unwrap();
    assert!(ledger.held().await.unwrap_err().to_string().contains("`because`"));
}

#[test]
fn the_oldest_deliveries_beyond_the_bound_are_forgotten() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap().unwrap();
    let key = |n: i64| {
        let mut key = [0; 16];
        key[8..].copy_from_slice(&n.to_be_bytes());
        SeenKey(key)
    };
    let seen: Vec<Seen> = (1..=100).map(|n| Seen { key: key(n), trace_id: TraceId([1; 16]), at: 1_000 + n, expires: 1_000 + n }).collect();
    assert!(sqlite_held::remember(&connection, &seen).is_ok());
    for (before, most, gone, oldest) in
        [(0, 100, 0, 1), (0, 99, 1, 2), (1_005, 99, 3, 5), (1_005, 10, 86, 91), (1_096, 10, 5, 96), (2_000, 10, 5, 101)]
    {
        assert_eq!(sqlite_held::prune_seen(&connection, before, most).ok(), Some(gone), "before {before}, at most {most}");
        let known = |n| sqlite_held::seen(&connection, &key(n), 0).ok().unwrap().is_some();
        assert!(!known(oldest - 1) && (oldest > 100 || known(oldest)), "before {before}, at most {most}");
    }
}

#[tokio::test]
async fn a_failed_write_is_not_its_neighbours() {
    let (dir, ledger) = fresh();
    let claim = ledger.claim(&crate::ledger::suite::mailbox("u")).await.unwrap();
    let other = Connection::open(dir.path().join("ledger.db")).unwrap();
    other.execute_batch("DROP TABLE batch").unwrap();
    let place = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::None).await;
    assert!(matches!(place, Err(LedgerError::Store { .. })));
    // One job's failure is not its neighbour's: the claim still writes.
    assert!(ledger.claim(&crate::ledger::suite::mailbox("u")).await.is_ok());
}

/// Writes that wait while another process holds the file fail together and say why; none waits for its own turn at the lock.
#[tokio::test]
async fn a_locked_file_fails_everything_that_waits_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let ledger = SqliteLedger::open_patient(&path, Duration::from_secs(1)).unwrap();
    let claim = ledger.claim(&crate::ledger::suite::mailbox("u")).await.unwrap();
    let place = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::None).await.unwrap().place;
    let entry = |n| Entry::new(RemoteUid::Number(n), State::Kept, None);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let writes = futures_util::future::join_all((1..=50).map(|n| ledger.record(&place, entry(n))));
    // One wait for the lock is a second and fifty are fifty: the limit only tells these two apart.
    let written = tokio::time::timeout(Duration::from_secs(20), writes).await.expect("all fail with the first");
    for failed in written {
        let text = failed.unwrap_err().to_string();
        assert!(text.contains("database is locked"), "{text}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    ledger.record(&place, entry(1)).await.unwrap();
    assert_eq!(ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::Full).await.unwrap().kept.len(), 1);
}

#[tokio::test]
async fn many_writers_share_commits() {
    let (_dir, ledger) = fresh();
    let claim = ledger.claim(&crate::ledger::suite::mailbox("u")).await.unwrap();
    let place = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::None).await.unwrap().place;
    let writes = (1..=500).map(|n| ledger.record(&place, Entry::new(RemoteUid::Number(n), State::Kept, None)));
    futures_util::future::join_all(writes).await.into_iter().for_each(|written| written.unwrap());
    assert_eq!(ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::Full).await.unwrap().kept.len(), 500);
}
