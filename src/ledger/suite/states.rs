//! What is recorded, by whom, and how it settles.

use super::*;

pub(crate) async fn the_instance_stays(ledger: &dyn Ledger) {
    let first = ledger.instance().await.unwrap();
    let second = ledger.instance().await.unwrap();
    assert_eq!((first.id, first.key), (second.id, second.key));
    assert_ne!(first.key, [0; 32]);
}

pub(crate) async fn a_stale_claim_writes_nothing(ledger: &dyn Ledger) {
    let old = opened(ledger, 1, History::None).await.place;
    let new = opened(ledger, 1, History::None).await.place;
    assert!(matches!(ledger.record(&old, entry(uid(1), State::Kept)).await, Err(LedgerError::Fenced)));
    assert!(matches!(ledger.begin(&old, &[uid(1)]).await, Err(LedgerError::Fenced)));
    assert!(matches!(ledger.finish(&old, Finished { watermark: Some(9), ..Finished::default() }).await, Err(LedgerError::Fenced)));
    ledger.record(&new, entry(uid(2), State::Kept)).await.unwrap();
    let progress = opened(ledger, 1, History::Full).await;
    assert_eq!((progress.kept_count, progress.watermark), (1, 0));
}

pub(crate) async fn an_unfinished_batch_is_in_doubt(ledger: &dyn Ledger) {
    for (epoch, make) in [(1, uid as fn(u32) -> RemoteUid), (0, |n| uidl(&format!("id-{n}")))] {
        let place = opened(ledger, epoch, History::None).await.place;
        ledger.begin(&place, &[make(1), make(2), make(3), make(4)]).await.unwrap();
        ledger.record(&place, entry(make(1), State::Kept)).await.unwrap();
        ledger.record(&place, entry(make(2), State::Owed)).await.unwrap();
        // The crash is here: 3 and 4 may have been delivered.
        let progress = opened(ledger, epoch, History::Full).await;
        assert_eq!(progress.exceptions[&make(2)], State::Owed);
        for n in [3, 4] {
            assert!(matches!(&progress.exceptions[&make(n)], State::Pending(pending) if pending.in_doubt == 1), "{:?}", progress.exceptions);
        }
        assert!(!progress.exceptions.contains_key(&make(1)) && progress.kept.contains(&make(1)));
        // Nor does a crash put held mail in doubt.
        ledger.begin(&progress.place, &[make(5)]).await.unwrap();
        ledger.record(&progress.place, entry(make(5), State::Held)).await.unwrap();
        let progress = opened(ledger, epoch, History::Full).await;
        assert_eq!(progress.exceptions[&make(5)], State::Held);
        // A batch that was finished leaves no doubt.
        ledger.begin(&progress.place, &[make(9)]).await.unwrap();
        ledger.finish(&progress.place, Finished::default()).await.unwrap();
        assert!(!opened(ledger, epoch, History::None).await.exceptions.contains_key(&make(9)));
    }
}

pub(crate) async fn states_survive(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let pending = Pending {
        tries: 2,
        first: 5,
        next_try: 6,
        done: vec!["a@b".into(), "c@d".into()],
        in_doubt: 1,
        held: true,
        reason: "450 later".into(),
        forgotten: 8,
    };
    let states = [
        State::Pending(pending),
        State::Owed,
        State::Flagged,
        State::Left { reason: "no recipient".into(), rules: u64::MAX, next_try: 77, before: Box::default() },
        State::Left {
            reason: "no recipient any more".into(),
            rules: 7,
            next_try: 78,
            before: Box::new(Pending { tries: 2, first: 5, done: vec!["a@b".into()], in_doubt: 1, held: true, forgotten: 9, ..Pending::default() }),
        },
        State::Skipped { octets: u64::MAX },
        State::Held,
    ];
    for (n, state) in states.iter().enumerate() {
        ledger.record(&place, entry(uid(n as u32 + 1), state.clone())).await.unwrap();
    }
    let progress = opened(ledger, 1, History::None).await;
    assert_eq!(progress.exceptions.into_values().collect::<Vec<_>>(), states);
}

pub(crate) async fn disposals_settle(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    for n in 1..=4 {
        ledger.record(&place, entry(uid(n), State::Owed)).await.unwrap();
    }
    let finished = Finished {
        deleted: vec![uid(1)],
        flagged: vec![uid(2)],
        kept: vec![uid(3)],
        vanished: vec![uid(4)],
        watermark: Some(4),
        ..Finished::default()
    };
    ledger.finish(&place, finished).await.unwrap();
    let progress = opened(ledger, 1, History::Full).await;
    assert_eq!(progress.exceptions.into_iter().collect::<Vec<_>>(), [(uid(2), State::Flagged)]);
    assert!(progress.kept.contains(&uid(3)));
    assert_eq!((progress.kept_count, progress.watermark), (1, 4));
    // A watermark never goes back.
    ledger.finish(&progress.place, Finished { watermark: Some(2), ..Finished::default() }).await.unwrap();
    assert_eq!(opened(ledger, 1, History::None).await.watermark, 4);
}

pub(crate) async fn a_cursor_is_kept(ledger: &dyn Ledger) {
    assert_eq!(opened(ledger, 1, History::None).await.cursor, None);
    for cursor in ["first", "second"] {
        let place = opened(ledger, 1, History::None).await.place;
        ledger.finish(&place, Finished { cursor: Some(cursor.into()), ..Finished::default() }).await.unwrap();
        ledger.finish(&place, Finished::default()).await.unwrap();
        assert_eq!(opened(ledger, 1, History::None).await.cursor.as_deref(), Some(cursor.as_bytes()));
    }
    assert_eq!(opened(ledger, 2, History::None).await.cursor, None, "of another epoch");
}

pub(crate) async fn mailboxes_do_not_mix(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    ledger.record(&place, entry(uid(1), State::Kept)).await.unwrap();
    let claim = ledger.claim(&mailbox("other")).await.unwrap();
    let progress = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::Full).await.unwrap();
    assert_eq!((progress.kept_count, progress.former.is_empty()), (0, true));
    ledger.record(&place, entry(uid(2), State::Kept)).await.expect("a claim on another mailbox is no matter of ours");
}
