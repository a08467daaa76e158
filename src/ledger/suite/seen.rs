//! What was delivered before, by whichever way it came.

use super::*;

pub(crate) async fn seen_has_exact_borders(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let entry = Entry { seen: vec![seen(1, 1_000), seen(2, 2_000)], ..entry(uid(1), State::Kept) };
    ledger.record(&place, entry).await.unwrap();
    for (since, known) in
        [(999, [true, true, false]), (1_000, [true, true, false]), (1_001, [false, true, false]), (2_000, [false, true, false]), (2_001, [false; 3])]
    {
        let answers = ledger.seen(&[seen_key(1), seen_key(2), seen_key(3)], since).await.unwrap();
        assert_eq!(answers.iter().map(Option::is_some).collect::<Vec<_>>(), known, "since {since}");
    }
    assert_eq!(
        ledger.seen(&[seen_key(2), seen_key(1)], 0).await.unwrap(),
        [Some(TraceId([2; 16])), Some(TraceId([1; 16]))],
        "in the order of the question"
    );
    assert!(ledger.seen(&[], 0).await.unwrap().is_empty());
    // A later delivery takes the place of the one that is too old; an earlier one, recorded late, does not.
    for (trace, at) in [(8, 3_000), (9, 500)] {
        let again = Seen { trace_id: TraceId([trace; 16]), ..seen(1, at) };
        ledger.record(&place, Entry { seen: vec![again], ..Entry::new(uid(2), State::Kept, None) }).await.unwrap();
    }
    assert_eq!(ledger.seen(&[seen_key(1)], 3_000).await.unwrap(), [Some(TraceId([8; 16]))]);
}

pub(crate) async fn seen_is_forgotten(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let entry = Entry { seen: (1..=5).map(|n| seen(n, i64::from(n) * 10)).collect(), ..entry(uid(1), State::Kept) };
    ledger.record(&place, entry).await.unwrap();
    assert_eq!(ledger.prune_seen(25).await.unwrap(), 1, "at the border itself it is still known");
    ledger.forget_seen(&[seen_key(3), seen_key(99)]).await.unwrap();
    let known = ledger.seen(&[1, 2, 3, 4, 5].map(seen_key), 0).await.unwrap();
    assert_eq!(known.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true, true]);
    // Each for as long as was asked for when it was noted, whoever notes it again for a shorter time.
    let long = Seen { expires: 1_000, ..seen(6, 60) };
    let more = Entry { seen: vec![long, seen(7, 60), Seen { at: 70, ..seen(6, 60) }], ..Entry::new(uid(2), State::Kept, None) };
    ledger.record(&place, more).await.unwrap();
    ledger.prune_seen(1_000).await.unwrap();
    let known = ledger.seen(&[seen_key(6), seen_key(7)], 70).await.unwrap();
    assert_eq!(known, [Some(TraceId([6; 16])), None]);
}
