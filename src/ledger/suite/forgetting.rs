//! What the operator has forgotten or marked as collected.

use super::*;

async fn remembered(ledger: &dyn Ledger, which: &Forget) -> Vec<Remembered> {
    ledger.remembered(&mailbox("u"), which).await.unwrap()
}

async fn forgotten(ledger: &dyn Ledger, which: &Forget) -> u64 {
    let told: u64 = remembered(ledger, which).await.iter().map(Remembered::forgets).sum();
    assert_eq!(ledger.forget(&mailbox("u"), which, 2_000).await.unwrap(), told, "what was told is what is done");
    told
}

fn only(uids: &[u32]) -> Forget {
    Forget { uids: uids.iter().map(|n| uid(*n)).collect(), ..Forget::default() }
}

/// All that was delivered is forgotten, and nothing else.
pub(crate) async fn forgetting(ledger: &dyn Ledger) {
    assert!(remembered(ledger, &Forget::default()).await.is_empty(), "a mailbox that nobody collected");
    assert_eq!(forgotten(ledger, &Forget::default()).await, 0);
    let place = opened(ledger, 1, History::None).await.place;
    let done = vec!["a@x.example".to_owned()];
    let partly =
        State::Pending(Pending { tries: 3, first: 5, next_try: FAR, done: done.clone(), in_doubt: 2, reason: "450".into(), ..Pending::default() });
    let waits = State::Pending(Pending { tries: 1, next_try: 77, ..Pending::default() });
    let left = |done: Vec<String>| State::left("nobody".into(), u64::MAX, 5, Pending { done, ..Pending::default() });
    let states = [
        State::Kept,
        State::Owed,
        State::Flagged,
        partly,
        waits.clone(),
        left(done.clone()),
        left(Vec::new()),
        State::Skipped { octets: 9 },
        State::Kept,
    ];
    for (n, state) in states.iter().enumerate() {
        ledger.record(&place, entry(uid(n as u32 + 1), state.clone())).await.unwrap();
    }
    hold(ledger, &place, held_mail(10, &["a@x.example"]), State::Held).await;
    hold(ledger, &place, held_mail(11, &["a@x.example"]), State::Owed).await;
    let held_in_part = State::Pending(Pending { done: done.clone(), held: true, ..Pending::default() });
    hold(ledger, &place, held_mail(12, &["a@x.example"]), held_in_part.clone()).await;
    let dropped = hold(ledger, &place, held_mail(13, &[]), State::Held).await;
    assert!(ledger.held_end(dropped.id, HeldEnd::Dropped).await.unwrap());
    ledger.finish(&place, Finished { watermark: Some(13), first_run_over: true, ..Finished::default() }).await.unwrap();
    // A stranger's mail is none of this mailbox's.
    let claim = ledger.claim(&mailbox("other")).await.unwrap();
    let other = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::None).await.unwrap().place;
    ledger.record(&other, entry(uid(1), State::Kept)).await.unwrap();

    let all = remembered(ledger, &Forget::default()).await;
    let expected = [1, 2, 3, 4, 6, 9, 13].map(uid).to_vec();
    assert_eq!(
        all,
        [Remembered { folder: FolderName::inbox(), epoch: Epoch(1), uids: expected.clone(), former: 0, delivered: 3, held: 3, waiting: 3 }]
    );
    assert_eq!(opened(ledger, 1, History::Full).await.kept_count, 2, "asking changes nothing");
    // One by its UID; those that cannot be forgotten are not, whoever names them.
    assert_eq!(forgotten(ledger, &only(&[9, 5, 10, 99])).await, 1);
    assert_eq!(forgotten(ledger, &only(&[9])).await, 0, "it is forgotten already");
    // Only what is kept knows since when.
    assert_eq!(forgotten(ledger, &Forget { before: Some(1_000), ..Forget::default() }).await, 0);
    assert_eq!(forgotten(ledger, &Forget { before: Some(FAR), ..Forget::default() }).await, 1);
    assert_eq!(forgotten(ledger, &Forget { folder: Some(FolderName::new("Junk")), ..Forget::default() }).await, 0);
    assert_eq!(forgotten(ledger, &Forget { folder: Some(FolderName::inbox()), ..Forget::default() }).await, 5);
    assert_eq!(forgotten(ledger, &Forget::default()).await, 0);

    let progress = opened(ledger, 1, History::Full).await;
    assert_eq!((progress.kept_count, progress.watermark, progress.first_run), (0, 13, false));
    // Each time is another one, however fast they come.
    for (uid, at) in expected.iter().zip([2_001, 2_002, 2_002, 2_002, 2_002, 2_000, 2_002]) {
        assert_eq!(progress.exceptions[uid], State::Pending(Pending { forgotten: at, ..Pending::default() }), "{uid}");
        assert_eq!(progress.hashes[uid].identity, Some(Fingerprint([7; 32])), "should it get another name, it is still this one");
    }
    let others: Vec<&State> = [5, 7, 8, 10, 11, 12].iter().map(|n| &progress.exceptions[&uid(*n)]).collect();
    assert_eq!(others, [&waits, &left(Vec::new()), &State::Skipped { octets: 9 }, &State::Held, &State::Owed, &held_in_part]);
    assert_eq!(ledger.held().await.unwrap().len(), 3);
    let other = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::Full).await.unwrap();
    assert!(other.kept.contains(&uid(1)));
    // It is delivered, deferred or in doubt like any other; who forgot it is not forgotten.
    let next = opened(ledger, 1, History::None).await;
    let again = State::Pending(Pending { tries: 1, forgotten: 2_000, ..Pending::default() });
    ledger.record(&next.place, entry(uid(1), again.clone())).await.unwrap();
    ledger.begin(&next.place, &[uid(2)]).await.unwrap();
    let after = opened(ledger, 1, History::None).await;
    assert_eq!(after.exceptions[&uid(1)], again);
    assert!(matches!(&after.exceptions[&uid(2)], State::Pending(pending) if pending.in_doubt == 1 && pending.forgotten == 2_002));
    ledger.record(&after.place, entry(uid(1), State::Kept)).await.unwrap();
    assert_eq!(remembered(ledger, &Forget::default()).await[0].uids, [uid(1)]);
}

/// What is forgotten in an earlier epoch is not found again in the new one.
pub(crate) async fn forgetting_goes_through_all_epochs(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    ledger.record(&place, entry(uid(1), State::Kept)).await.unwrap();
    ledger.record(&place, Entry::new(uid(2), State::Kept, Some(Fingerprint([9; 32])))).await.unwrap();
    let place = opened(ledger, 2, History::None).await.place;
    ledger.record(&place, entry(uid(1), State::Kept)).await.unwrap();
    let all = remembered(ledger, &Forget::default()).await;
    assert_eq!((all.len(), all[0].epoch, all[0].uids.as_slice(), all[0].former), (1, Epoch(2), &[uid(1)][..], 2));
    assert_eq!(forgotten(ledger, &only(&[1, 2])).await, 1, "a UID is one of the latest epoch");
    assert_eq!(forgotten(ledger, &Forget::default()).await, 2);
    let mut former = opened(ledger, 2, History::None).await.former;
    let again = former.take(&Fingerprint([0; 32]), &Fingerprint([9; 32])).unwrap().state;
    assert_eq!(again, State::Pending(Pending { forgotten: 2_001, ..Pending::default() }));
}

pub(crate) async fn marking_as_collected(ledger: &dyn Ledger) {
    let mark = |uids: &[u32], whole| Mark { folder: FolderName::inbox(), epoch: Epoch(1), uids: uids.iter().map(|n| uid(*n)).collect(), whole };
    let marked = async |mark: Mark| ledger.mark_collected(&mailbox("u"), &[mark]).await.unwrap();
    // Before the first pass: the folder has had its first run, unless a part was named only.
    assert_eq!(marked(mark(&[1], false)).await, Marked { marked: 1, given_up: 0 });
    assert!(opened(ledger, 1, History::None).await.first_run);
    assert_eq!(marked(mark(&[1, 2], true)).await, Marked { marked: 1, given_up: 0 });
    let progress = opened(ledger, 1, History::Full).await;
    assert_eq!((progress.first_run, progress.kept_count), (false, 2));
    // What waits is given up, what is held stays so, and what is owed is owed.
    let pending = Pending { tries: 1, done: vec!["a@x.example".into()], held: true, ..Pending::default() };
    ledger.record(&progress.place, entry(uid(3), State::Pending(Pending::default()))).await.unwrap();
    ledger.record(&progress.place, entry(uid(4), State::Skipped { octets: 9 })).await.unwrap();
    ledger.record(&progress.place, entry(uid(5), State::Owed)).await.unwrap();
    hold(ledger, &progress.place, held_mail(6, &["a@x.example"]), State::Pending(pending)).await;
    hold(ledger, &progress.place, held_mail(7, &["a@x.example"]), State::Held).await;
    ledger.begin(&progress.place, &[uid(8)]).await.unwrap();
    assert_eq!(marked(mark(&[1, 2, 3, 4, 5, 6, 7, 8], true)).await, Marked { marked: 4, given_up: 3 });
    let progress = opened(ledger, 1, History::Full).await;
    assert_eq!(
        progress.exceptions.into_iter().collect::<Vec<_>>(),
        [(uid(5), State::Owed), (uid(6), State::Held), (uid(7), State::Held)],
        "nor is anything in doubt"
    );
    assert_eq!([1, 2, 3, 4, 8].map(|n| progress.kept.contains(&uid(n))), [true; 5]);
    // The reverse of it.
    assert_eq!(forgotten(ledger, &only(&[1, 3])).await, 2);
    assert_eq!(marked(mark(&[1, 3], false)).await, Marked { marked: 2, given_up: 2 });
}
