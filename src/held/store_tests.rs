//! The store on a real folder with a real ledger.

use super::*;
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{Entry, History, State};
use crate::mail::{CollectorId, Content, Epoch, FolderName, MailboxId, MessageKey, RemoteUid};
use crate::spool::Spool;
use std::os::unix::fs::{PermissionsExt, symlink};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

struct Kit {
    dir: tempfile::TempDir,
    ledger: Arc<SqliteLedger>,
    store: HeldStore,
}

fn kit(limits: HeldLimits) -> Kit {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(SqliteLedger::open(&dir.path().join("ledger.db")).unwrap());
    let store = HeldStore::open(&dir.path().join("held"), limits, ledger.clone()).unwrap();
    Kit { dir, ledger, store }
}

impl Kit {
    fn reopen(&mut self) {
        self.store = HeldStore::open(&self.dir.path().join("held"), self.store.shared.limits, self.ledger.clone()).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(self.dir.path().join("held")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Records the row as a pass does.
    async fn record(&self, mail: &HeldMail) -> HeldMail {
        let claim = self.ledger.claim(&mail.key.mailbox).await.unwrap();
        let place = self.ledger.progress(&claim, &mail.key.folder, mail.key.epoch, History::None).await.unwrap().place;
        let entry = Entry { held: Some(Box::new(mail.clone())), ..Entry::new(mail.key.uid.clone(), State::Held, None) };
        self.ledger.record(&place, entry).await.unwrap();
        self.ledger.held().await.unwrap().into_iter().find(|row| row.trace_id == mail.trace_id).unwrap()
    }

    fn set_age(&self, mail: &HeldMail, seconds: i64) {
        let file = std::fs::File::open(file::path(&self.store.shared.dir, mail.trace_id)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs((NOW - seconds) as u64)).unwrap();
    }
}

fn key(uid: u32) -> MessageKey {
    MessageKey {
        collector: CollectorId::new("sales").unwrap(),
        mailbox: Arc::new(MailboxId { protocol: "imap", host: "h".into(), login: "l".into() }),
        folder: FolderName::inbox(),
        epoch: Epoch(1),
        uid: RemoteUid::Number(uid),
        generation: 0,
    }
}

/// As it comes in, in a file if it has more than `spool_above` octets.
async fn taken(uid: u32, raw: &[u8], spool_above: u64) -> Message {
    let dir = tempfile::tempdir().unwrap();
    let mut intake = Spool::new(dir.path(), spool_above, 1 << 30).unwrap().intake(key(uid), Some(raw.len() as u64)).await;
    for piece in raw.chunks(10_007) {
        intake.write(piece).await.unwrap();
    }
    intake.finish().await.unwrap()
}

fn note<'a>(recipients: &'a [Recipient]) -> HoldNote<'a> {
    HoldNote {
        why: HeldWhy::Refused,
        reason: "550 no\r\nsuch user",
        sender: &ReversePath::Null,
        recipients,
        done: &[],
        from_journal: false,
        now: NOW,
    }
}

async fn octets(message: &Message) -> Vec<u8> {
    let (mut outgoing, mut all) = (crate::spool::reader::Outgoing::new(b"", &[], &message.content), Vec::new());
    while let Some(piece) = outgoing.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

#[tokio::test]
async fn a_message_comes_back_as_it_was() {
    let kit = kit(HeldLimits::default());
    let long_header = format!("X-Long: {}\r\n", "y".repeat(190)).repeat(6_000);
    let raws = [
        "Subject: =?utf-8?B?0J/RgNC40LLQtdGC?=\r\nFrom: a\u{202e}@b\u{7}\r\nMessage-ID: <1@x>\r\n\r\nbody ж\r\n".to_owned(),
        format!("Message-ID: <2@x>\r\n\r\n{}", "line\n".repeat(300_000)),
        format!("Message-ID: <3@x>\r\n{long_header}\r\nbody\r\n"),
        "no header, no blank line\r\n".repeat(50_000),
        "\r\nonly a body\r\n".to_owned(),
        "Subject: no body\r\n".to_owned(),
        String::new(),
    ];
    for (n, raw) in raws.iter().enumerate() {
        for spool_above in [1 << 30, 64 * 1024] {
            let message = taken(n as u32 + 1, raw.as_bytes(), spool_above).await;
            let recipients = [Recipient::new("раз@икс.рф".parse().unwrap())];
            let mail = kit.store.hold(&message, note(&recipients)).await.unwrap();
            assert_eq!((mail.trace_id, mail.octets, mail.since), (message.trace_id(), message.content.len(), NOW));
            assert_eq!((mail.recipients.as_slice(), mail.reason.as_str()), (&["раз@xn--h1aev.xn--p1ai".to_owned()][..], "550 no??such user"));
            let back = kit.store.message(&mail).await.unwrap();
            assert_eq!((back.fingerprint, back.trace_id(), back.eight_bit), (message.fingerprint, mail.trace_id, message.eight_bit), "message {n}");
            assert_eq!((back.header.fields(), back.header.octets().len() <= raw.len() + 2), (message.header.fields(), true));
            assert!(matches!(back.content, Content::Spooled { .. }));
            assert_eq!(octets(&back).await, octets(&message).await);
        }
    }
    assert_eq!(kit.names().len(), raws.len(), "held twice, it is one file");
    let first = taken(1, raws[0].as_bytes(), 1 << 30).await;
    let mail = kit.store.hold(&first, note(&[])).await.unwrap();
    assert_eq!((mail.subject.as_str(), mail.from.as_str()), ("Привет", "a?@b?"));
}

#[tokio::test]
async fn files_are_ours_alone_whatever_the_umask_says() {
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let kit = kit(HeldLimits::default());
    let mail = kit.store.hold(&taken(1, b"A: 1\r\n\r\n", 1 << 20).await, note(&[])).await.unwrap();
    rustix::process::umask(before);
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(file::path(&kit.store.shared.dir, mail.trace_id)), 0o600);
    assert_eq!(mode(kit.store.shared.dir.clone()), 0o700);
}

#[tokio::test]
async fn the_limit_is_exact() {
    let max_size = 100;
    let kit = kit(HeldLimits { max_size, max_age: None });
    let message = |uid, octets: usize| async move { taken(uid, format!("A: 1\r\n\r\n{}\r\n", "x".repeat(octets - 10)).as_bytes(), 1 << 20).await };
    kit.store.hold(&message(1, 60).await, note(&[])).await.unwrap();
    let full = kit.store.hold(&message(2, 41).await, note(&[])).await.unwrap_err();
    assert!(matches!(full, HoldError::Full { octets: 41, used: 60, max: 100 }), "{full}");
    assert_eq!(kit.names().len(), 1, "nothing is left of it");
    kit.store.hold(&message(1, 60).await, note(&[])).await.expect("it is in the store already");
    let second = kit.store.hold(&message(2, 40).await, note(&[])).await.expect("up to the last octet");
    assert_eq!(kit.store.octets(), 100);
    kit.store.remove_file(&second).await.unwrap();
    kit.store.remove_file(&second).await.expect("it is gone, as it should be");
    assert_eq!(kit.store.octets(), 60);
    kit.store.hold(&message(3, 40).await, note(&[])).await.expect("there is room again");
}

#[tokio::test]
async fn many_at_once_do_not_pass_the_limit() {
    let mut kit = kit(HeldLimits { max_size: 550, max_age: None });
    let mut messages = Vec::new();
    for uid in 1..=20 {
        messages.push(taken(uid, format!("A: {uid:02}\r\n\r\n{}\r\n", "x".repeat(89)).as_bytes(), 1 << 20).await);
    }
    let held = futures_util::future::join_all(messages.iter().map(|message| kit.store.hold(message, note(&[])))).await;
    assert_eq!(held.iter().filter(|held| held.is_ok()).count(), 5);
    assert_eq!((kit.names().len(), kit.store.octets()), (5, 500));
    // Another process finds the same.
    kit.reopen();
    assert_eq!(kit.store.octets(), 500);
    assert!(kit.store.hold(&messages[19], note(&[])).await.is_err());
}

#[tokio::test]
async fn what_cannot_be_written_whole_is_not_there() {
    let kit = kit(HeldLimits::default());
    let mut message = taken(1, format!("A: 1\r\n\r\n{}", "line\n".repeat(300_000)).as_bytes(), 1024).await;
    // The file behind the message ends early: the write breaks off in the middle, as on a full disk.
    let Content::Spooled { len, .. } = &mut message.content else { panic!("it is in a file") };
    *len += 1;
    let error = kit.store.hold(&message, note(&[])).await.unwrap_err();
    assert!(matches!(error, HoldError::Io { .. }), "{error}");
    assert_eq!((kit.names(), kit.store.octets()), (Vec::<String>::new(), 0));
    // The same where the file cannot be made.
    let message = taken(2, b"A: 1\r\n\r\n", 1024).await;
    let in_the_way = kit.store.shared.dir.join(format!(".{}.tmp", message.trace_id()));
    std::fs::create_dir(&in_the_way).unwrap();
    assert!(kit.store.hold(&message, note(&[])).await.is_err());
    std::fs::remove_dir(&in_the_way).unwrap();
    // An earlier copy of the same message is not harmed by a later try that fails.
    let mail = kit.store.hold(&message, note(&[])).await.unwrap();
    std::fs::create_dir(&in_the_way).unwrap();
    assert!(kit.store.hold(&message, note(&[])).await.is_err());
    assert_eq!(octets(&kit.store.message(&mail).await.unwrap()).await, b"A: 1\r\n\r\n");
    assert_eq!(kit.store.octets(), mail.octets);
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_no_half_file() {
    let mut kit = kit(HeldLimits { max_size: 100, max_age: None });
    let message = taken(1, b"A: 1\r\n\r\nbody\r\n", 1024).await;
    let half = kit.store.shared.dir.join(format!(".{}.tmp", message.trace_id()));
    std::fs::write(&half, vec![b'x'; 1000]).unwrap();
    std::fs::write(kit.store.shared.dir.join("not-ours.txt"), "x").unwrap();
    kit.reopen();
    assert_eq!((kit.names(), kit.store.octets()), (vec!["not-ours.txt".to_owned()], 0), "the next start tidies up, and touches nothing else");
    std::fs::write(&half, "A: 1\r\n").unwrap();
    let mail = kit.store.hold(&message, note(&[])).await.expect("what is in the way is a left-over");
    assert_eq!(octets(&kit.store.message(&mail).await.unwrap()).await, b"A: 1\r\n\r\nbody\r\n");
}

#[tokio::test]
async fn a_file_that_is_not_ours_any_more_is_not_delivered() {
    let kit = kit(HeldLimits::default());
    let message = taken(1, b"A: 1\r\n\r\nbody\r\n", 1024).await;
    let mail = kit.store.hold(&message, note(&[])).await.unwrap();
    let path = file::path(&kit.store.shared.dir, mail.trace_id);
    std::fs::write(&path, "A: 1\r\n").unwrap();
    assert!(matches!(kit.store.message(&mail).await, Err(HoldError::Changed { expected: 14, found: 6, .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(kit.store.message(&mail).await, Err(HoldError::Missing { .. })));
    // A link is neither followed for reading nor for writing.
    let elsewhere = kit.dir.path().join("elsewhere");
    std::fs::write(&elsewhere, "fourteen octet").unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(matches!(kit.store.message(&mail).await, Err(HoldError::Io { .. })));
    kit.store.hold(&message, note(&[])).await.unwrap();
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"fourteen octet");
    assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert!(matches!(kit.store.message(&mail).await, Err(HoldError::Io { .. })), "and a pipe stops nobody");
}

#[tokio::test]
async fn a_sweep_removes_left_overs_and_reports_what_is_missing() {
    let kit = kit(HeldLimits::default());
    let mut mails = Vec::new();
    for uid in 1..=4 {
        mails.push(kit.store.hold(&taken(uid, b"A: 1\r\n\r\n", 1024).await, note(&[])).await.unwrap());
    }
    // 1: a row; 2: no row, old; 3: no row, on the border; 4: a row without a file.
    let one = kit.record(&mails[0]).await;
    let four = kit.record(&mails[3]).await;
    kit.set_age(&mails[0], 9 * DAY);
    kit.set_age(&mails[1], 3_601);
    kit.set_age(&mails[2], 3_600);
    std::fs::remove_file(file::path(&kit.store.shared.dir, four.trace_id)).unwrap();
    assert_eq!(kit.store.sweep(NOW).await.unwrap(), Swept { expired: 0, left_over: 1, missing: 1 });
    let mut left = vec![format!("{}.eml", mails[0].trace_id), format!("{}.eml", mails[2].trace_id)];
    left.sort();
    assert_eq!(kit.names(), left);
    assert_eq!(kit.ledger.held().await.unwrap(), [one, four], "a row is never dropped because its file is missing");
    // What is held again meanwhile is young again.
    kit.set_age(&mails[2], 3_601);
    kit.store.hold(&taken(3, b"A: 1\r\n\r\n", 1024).await, note(&[])).await.unwrap();
    kit.set_age(&mails[2], 0);
    assert_eq!(kit.store.sweep(NOW).await.unwrap().left_over, 0);
    assert_eq!(kit.store.sweep(NOW - 10 * DAY).await.unwrap().left_over, 0, "a clock that went back makes nothing old");
}

#[tokio::test]
async fn what_is_too_old_is_dropped() {
    let kit = kit(HeldLimits { max_age: Some(Duration::from_secs(7 * DAY as u64)), max_size: 1 << 20 });
    let mut rows = Vec::new();
    for (uid, age) in [(1, 7 * DAY + 1), (2, 7 * DAY), (3, 30 * DAY), (4, -DAY)] {
        let message = taken(uid, b"A: 1\r\n\r\n", 1024).await;
        let mail = kit.store.hold(&message, HoldNote { now: NOW - age, ..note(&[]) }).await.unwrap();
        rows.push(kit.record(&mail).await);
        kit.set_age(&mail, age);
    }
    // Too old, and its file is missing: the row ends all the same.
    std::fs::remove_file(file::path(&kit.store.shared.dir, rows[2].trace_id)).unwrap();
    assert_eq!(kit.store.sweep(NOW).await.unwrap(), Swept { expired: 2, left_over: 0, missing: 0 });
    let left: Vec<HeldId> = kit.ledger.held().await.unwrap().iter().map(|mail| mail.id).collect();
    assert_eq!(left, [rows[1].id, rows[3].id]);
    assert_eq!((kit.names().len(), kit.store.octets()), (2, 16));
    // Held again, and its record is on its way: the file that was written anew stays, and the record makes the row as young as it is.
    let again = kit.store.hold(&taken(2, b"A: 1\r\n\r\n", 1024).await, HoldNote { now: NOW + 10, ..note(&[]) }).await.unwrap();
    kit.set_age(&again, -10);
    assert_eq!((kit.store.sweep(NOW + 20).await.unwrap().expired, kit.names().len()), (0, 2));
    kit.record(&again).await;
    kit.set_age(&again, 7 * DAY);
    assert_eq!((kit.store.sweep(NOW + 20).await.unwrap().expired, kit.names().len()), (0, 2));
    // The copy at the source stays known: it does not come again.
    let claim = kit.ledger.claim(&key(1).mailbox).await.unwrap();
    let progress = kit.ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::None).await.unwrap();
    assert!(progress.exceptions.values().all(|state| *state == State::Held) && progress.exceptions.len() == 4);
}

#[tokio::test]
async fn an_empty_message_needs_no_room() {
    let mut kit = kit(HeldLimits { max_size: 0, max_age: None });
    let mail = kit.store.hold(&taken(1, b"", 1024).await, note(&[])).await.expect("no octets need no room");
    assert_eq!(mail.octets, 0);
    kit.reopen();
    assert_eq!(kit.store.octets(), 0);
    assert!(kit.store.hold(&taken(2, b"A: 1\r\n\r\n", 1024).await, note(&[])).await.is_err());
    assert_eq!(kit.store.message(&mail).await.unwrap().content.len(), 0);
}
