//! Where an original stands in its report, and that it is the same message as if it had come alone.

use super::*;
use mailgather::spool::Spool;
use mailgather::spool::reader::Outgoing;
use std::sync::Arc;

fn key() -> MessageKey {
    let mailbox = MailboxId { protocol: "imap", host: "h".into(), login: "l".into() };
    MessageKey {
        collector: CollectorId::new("c").unwrap(),
        mailbox: Arc::new(mailbox),
        folder: FolderName::inbox(),
        epoch: Epoch(1),
        uid: RemoteUid::Number(7),
        generation: 0,
    }
}

async fn taken(spool: &Spool, raw: &[u8]) -> Message {
    let mut intake = spool.intake(key(), Some(raw.len() as u64)).await;
    for part in raw.chunks(65_537) {
        intake.write(part).await.unwrap();
    }
    intake.finish().await.unwrap()
}

async fn octets(message: &Message) -> Vec<u8> {
    let mut outgoing = Outgoing::new(b"", &[], &message.content);
    assert_eq!(outgoing.len(), message.content.len());
    let mut all = Vec::new();
    while let Some(part) = outgoing.next().await.unwrap() {
        all.extend_from_slice(&part);
    }
    all
}

#[tokio::test]
async fn an_original_is_the_same_message_as_if_it_had_come_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (what, above, original) in [
        ("small", 1 << 20, "Subject: x\nMessage-ID: <1@x>\nDate: d\n\nтекст\n".to_owned()),
        ("without a body", 1 << 20, "Subject: x\n".to_owned()),
        ("5 MB in a file", 64 * 1024, format!("Subject: x\nMessage-ID: <1@x>\n\n{}", "a line of text, and some more\n".repeat(170_000))),
        ("its eight bits at the very end", 64 * 1024, format!("Subject: x\n\n{}ж\n", "x".repeat(300_000))),
        ("a header of 300 kB", 64 * 1024, format!("{}Message-ID: <1@x>\n\nbody\n", "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\n".repeat(8_000))),
    ] {
        let spool = Spool::new(dir.path(), above, 8 << 20).unwrap();
        let whole = taken(&spool, attach(&format!("{original}\n"), "").as_bytes()).await;
        assert_eq!(matches!(whole.content, Content::Spooled { .. }), above < 1 << 20, "{what}");
        let mut scanner = JournalScanner::new(&whole.header, &block(&whole.header), &journal(JournalKind::Exchange)).unwrap();
        let _ = scanner.clone().finish().unwrap_err();
        scanner.push(b"");
        let report = spool.report(&whole, scanner).await.unwrap().unwrap();
        let inside = spool.original(whole, report.original).await.unwrap();
        let alone = taken(&spool, original.as_bytes()).await;
        assert_eq!(octets(&inside).await, octets(&alone).await, "{what}");
        assert_eq!(inside.header.fields(), alone.header.fields(), "{what}");
        assert_eq!((inside.fingerprint, inside.eight_bit), (alone.fingerprint, alone.eight_bit), "{what}");
        assert_eq!((inside.header.body_start(), &inside.key), (alone.header.body_start(), &key()), "{what}");
        assert!(inside.budget.is_some(), "the whole's share is held on to");
        // An original inside of an original: places add up.
        let rest = inside.header.body_start() as u64..inside.content.len();
        if !rest.is_empty() {
            let want = octets(&alone).await[rest.start as usize..].to_vec();
            assert_eq!(octets(&spool.original(inside, rest).await.unwrap()).await, want, "{what}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_place_without_a_message_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for above in [1 << 20, 1024] {
        let spool = Spool::new(dir.path(), above, 1 << 20).unwrap();
        let raw = format!("A: 1\r\n\r\n{}", "text\r\n".repeat(1_000));
        for range in [0..0, 8..8, 0..raw.len() as u64 + 1, 8..11, 8..9, u64::MAX - 8..u64::MAX] {
            let message = taken(&spool, raw.as_bytes()).await;
            assert!(spool.original(message, range.clone()).await.is_err(), "{range:?}");
        }
        let message = taken(&spool, raw.as_bytes()).await;
        assert_eq!(octets(&spool.original(message, 8..14).await.unwrap()).await, b"text\r\n");
    }
}
