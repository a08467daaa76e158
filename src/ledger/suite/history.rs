//! What is kept: how it is read, counted, pruned, and how it ages.

use super::*;

pub(crate) async fn history_is_read_as_asked(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    for n in 1..=5 {
        ledger.record(&place, entry(uid(n), State::Kept)).await.unwrap();
    }
    ledger.finish(&place, Finished { watermark: Some(3), ..Finished::default() }).await.unwrap();
    for (history, known) in [(History::None, 0), (History::AboveWatermark, 2), (History::Full, 5)] {
        let progress = opened(ledger, 1, history).await;
        assert_eq!((progress.kept.len(), progress.kept_count), (known, 5));
    }
}

pub(crate) async fn kept_mail_ages(ledger: &dyn Ledger) {
    const FAR: i64 = i64::MAX / 2;
    for (epoch, make) in [(1, uid as fn(u32) -> RemoteUid), (0, |n| uidl(&format!("id-{n}")))] {
        let place = opened(ledger, epoch, History::None).await.place;
        let hashes = Hashes { identity: Some(Fingerprint([7; 32])), copy: Some(Fingerprint([8; 32])) };
        ledger.record(&place, Entry { copy: hashes.copy, ..entry(make(1), State::Kept) }).await.unwrap();
        ledger.record(&place, Entry { copy: hashes.copy, ..entry(make(2), State::Owed) }).await.unwrap();
        // Marked, and history from now on.
        ledger.finish(&place, Finished { kept: vec![make(2)], ..Finished::default() }).await.unwrap();
        // A first run left these alone: nobody ever got them.
        ledger.collected(&place, &[make(3)]).await.unwrap();
        ledger.record(&place, Entry::new(make(4), State::Kept, None)).await.unwrap();
        assert_eq!(ledger.owe_aged(&place, 1, 9).await.unwrap(), 0, "none of them is that old");
        assert_eq!(ledger.owe_aged(&place, FAR, 1).await.unwrap(), 1, "no more than asked for");
        assert_eq!(ledger.owe_aged(&place, FAR, 9).await.unwrap(), 1);
        assert_eq!(ledger.owe_aged(&place, FAR, 9).await.unwrap(), 0);
        let progress = opened(ledger, epoch, History::Full).await;
        for n in [1, 2] {
            assert_eq!((&progress.exceptions[&make(n)], &progress.hashes[&make(n)]), (&State::Owed, &hashes), "{n}");
        }
        assert!(progress.exceptions.len() == 2 && progress.kept_count == 2);
        assert!([3, 4].into_iter().all(|n| progress.kept.contains(&make(n))), "what was never delivered does not age");
    }
}

pub(crate) async fn pruning_forgets_what_is_gone(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    for n in 1..=5 {
        ledger.record(&place, entry(uid(n), if n == 5 { State::Owed } else { State::Kept })).await.unwrap();
    }
    let present = Present::Numbers([2, 3].into_iter().collect::<UidSet>());
    assert_eq!(ledger.prune(&place, &present).await.unwrap(), 3);
    let progress = opened(ledger, 1, History::Full).await;
    assert_eq!((progress.kept_count, progress.exceptions.len()), (2, 0));
    assert!(progress.kept.contains(&uid(2)) && progress.kept.contains(&uid(3)));
    // The highest UID that there can be, and a folder that is empty.
    ledger.record(&progress.place, entry(uid(u32::MAX), State::Kept)).await.unwrap();
    for (present, pruned) in [(vec![2, u32::MAX], 1), (vec![], 2)] {
        let present = Present::Numbers(present.into_iter().collect::<UidSet>());
        assert_eq!(ledger.prune(&progress.place, &present).await.unwrap(), pruned);
    }
    assert!(opened(ledger, 1, History::Full).await.kept.is_empty());
}

/// Whatever is done to the kept messages: how many there are is told without looking at them, and it must be true, or nothing is ever pruned.
pub(crate) async fn what_is_kept_is_counted(ledger: &dyn Ledger) {
    for (epoch, make) in [(1, uid as fn(u32) -> RemoteUid), (0, |n| uidl(&format!("id-{n}")))] {
        let place = opened(ledger, epoch, History::None).await.place;
        let counted = async |expected: u64, when: &str| {
            let progress = opened(ledger, epoch, History::Full).await;
            assert_eq!((progress.kept.len(), progress.kept_count), (expected, expected), "{when}");
            progress
        };
        for n in [1, 2, 3, 4, 5, 3, 3] {
            ledger.record(&place, entry(make(n), State::Kept)).await.unwrap();
        }
        let place = counted(5, "some were recorded again").await.place;
        ledger.collected(&place, &[make(5), make(6), make(7)]).await.unwrap();
        ledger.record(&place, entry(make(8), State::Owed)).await.unwrap();
        ledger
            .finish(&place, Finished { kept: vec![make(8)], deleted: vec![make(1)], vanished: vec![make(2), make(99)], ..Finished::default() })
            .await
            .unwrap();
        let place = counted(6, "3 to 8").await.place;
        assert_eq!(ledger.owe_aged(&place, i64::MAX, 2).await.unwrap(), 2);
        let progress = counted(4, "two are owed a disposal").await;
        let (place, still) = (progress.place, |n: &u32| progress.kept.contains(&make(*n)));
        let gone = (3..=8).find(still).unwrap();
        let present = match make(1) {
            RemoteUid::Number(_) => Present::Numbers((1..=9).filter(|n| *n != gone).collect()),
            RemoteUid::Opaque(_) => {
                let mut known = progress.kept.clone();
                for n in (3..=8).filter(|n| *n != gone) {
                    known.meet(&make(n));
                }
                progress.exceptions.keys().for_each(|uid| {
                    known.insert(uid);
                    known.meet(uid);
                });
                Present::Met(known)
            }
        };
        assert_eq!(ledger.prune(&place, &present).await.unwrap(), 1);
        let progress = counted(3, "one was pruned").await;
        assert!(!progress.kept.contains(&make(gone)) && progress.exceptions.len() == 2);
    }
}

/// What a first run leaves alone counts as collected; what was tried, or is owed, stays what it is.
pub(crate) async fn what_is_left_alone_counts_as_collected(ledger: &dyn Ledger) {
    for (epoch, make) in [(1, uid as fn(u32) -> RemoteUid), (0, |n| uidl(&format!("id-{n}")))] {
        let place = opened(ledger, epoch, History::None).await.place;
        let pending = State::Pending(Pending { tries: 1, ..Pending::default() });
        ledger.record(&place, entry(make(1), pending.clone())).await.unwrap();
        ledger.record(&place, entry(make(2), State::Owed)).await.unwrap();
        ledger.record(&place, entry(make(3), State::Kept)).await.unwrap();
        ledger.collected(&place, &[1, 2, 3, 4, 5].map(make)).await.unwrap();
        ledger.collected(&place, &[]).await.unwrap();
        let progress = opened(ledger, epoch, History::Full).await;
        assert_eq!(progress.exceptions.into_iter().collect::<Vec<_>>(), [(make(1), pending), (make(2), State::Owed)]);
        assert_eq!((progress.kept_count, [3, 4, 5].map(|n| progress.kept.contains(&make(n)))), (3, [true; 3]));
        // It was never fetched, so that nobody can know it again in a new epoch; the one that was fetched is known.
        let next = opened(ledger, epoch + 10, History::None).await;
        assert_eq!((next.has_earlier, next.earlier_count), (true, 5), "the session's limits are not for what was there");
        let mut former = next.former;
        let kept = std::iter::from_fn(|| former.take(&Fingerprint([0; 32]), &Fingerprint([7; 32]))).filter(|found| found.state == State::Kept);
        assert_eq!(kept.count(), 1);
        let stale = opened(ledger, epoch, History::None).await.place;
        opened(ledger, epoch, History::None).await;
        assert!(matches!(ledger.collected(&stale, &[make(9)]).await, Err(LedgerError::Fenced)));
        ledger.forget_former(&opened(ledger, 99, History::None).await.place).await.unwrap();
    }
}

pub(crate) async fn what_is_old_is_owed(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    for n in 1..=5 {
        ledger.record(&place, entry(uid(n), State::Kept)).await.unwrap();
    }
    assert_eq!(ledger.owe_aged(&place, 1_000, 100).await.unwrap(), 0, "all were collected long after that");
    assert_eq!(ledger.owe_aged(&place, FAR, 2).await.unwrap(), 2, "no more than was asked for");
    let progress = opened(ledger, 1, History::Full).await;
    assert_eq!((progress.kept_count, progress.exceptions.len()), (3, 2));
    for (uid, state) in &progress.exceptions {
        assert_eq!((state, progress.hashes[uid].identity), (&State::Owed, Some(Fingerprint([7; 32]))), "its disposal knows which message it is");
        assert!(!progress.kept.contains(uid));
    }
    assert!(matches!(ledger.owe_aged(&place, FAR, 2).await, Err(LedgerError::Fenced)));
    assert_eq!(ledger.owe_aged(&progress.place, FAR, 100).await.unwrap(), 3);
    assert_eq!(ledger.owe_aged(&progress.place, FAR, 100).await.unwrap(), 0);
}

/// By UIDL there is no watermark: what lies above it is everything.
pub(crate) async fn the_history_of_uidls_is_all_of_them(ledger: &dyn Ledger) {
    let place = opened(ledger, 0, History::None).await.place;
    for n in 1..=3 {
        ledger.record(&place, entry(uidl(&format!("id-{n}")), State::Kept)).await.unwrap();
    }
    for (history, known) in [(History::None, 0), (History::AboveWatermark, 3), (History::Full, 3)] {
        let progress = opened(ledger, 0, history).await;
        assert_eq!((progress.kept.len(), progress.kept_count), (known, 3));
    }
}
