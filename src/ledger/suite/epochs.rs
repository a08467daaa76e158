//! A new UIDVALIDITY, UIDs that are given out anew, and what a folder remembers over them.

use super::*;

pub(crate) async fn a_new_epoch_knows_the_old_one(ledger: &dyn Ledger) {
    let progress = opened(ledger, 1, History::None).await;
    for (n, state) in [(1, State::Kept), (2, State::Owed), (3, State::Kept), (4, State::Pending(Pending::default()))] {
        ledger.record(&progress.place, entry(uid(n), state)).await.unwrap();
    }
    let again = opened(ledger, 1, History::None).await;
    assert!(again.former.is_empty(), "an epoch is not its own former one");
    assert_eq!((again.hashes.len(), again.hashes[&uid(2)]), (2, Hashes { identity: Some(Fingerprint([7; 32])), copy: None }));
    let mut progress = opened(ledger, 2, History::None).await;
    assert_eq!(progress.watermark, 0);
    let (copy, identity) = (Fingerprint([8; 32]), Fingerprint([7; 32]));
    let states: Vec<State> = std::iter::from_fn(|| progress.former.take(&copy, &identity)).map(|message| message.state).collect();
    assert_eq!(states, [State::Kept, State::Kept, State::Owed, State::Pending(Pending::default())], "each for one new message");
    // Not while a message could not be compared.
    let unfetched = Entry::new(uid(9), State::Pending(Pending::default()), None);
    ledger.record(&progress.place, unfetched.clone()).await.unwrap();
    ledger.forget_former(&progress.place).await.unwrap();
    assert!(!opened(ledger, 2, History::None).await.former.is_empty());
    let progress = opened(ledger, 2, History::None).await;
    ledger.record(&progress.place, Entry { copy: Some(copy), ..unfetched }).await.unwrap();
    ledger.forget_former(&progress.place).await.unwrap();
    assert!(opened(ledger, 2, History::None).await.former.is_empty());
}

/// UIDs that are given out anew under one UIDVALIDITY: everything is of an earlier epoch, also what is held, and how often is told.
pub(crate) async fn renumbering_is_a_new_epoch(ledger: &dyn Ledger) {
    let progress = opened(ledger, 1, History::None).await;
    assert_eq!((progress.generation, progress.first_run, progress.unexpunged), (0, true, 0));
    for n in 1..=3 {
        ledger.record(&progress.place, entry(uid(n), State::Kept)).await.unwrap();
    }
    let row = hold(ledger, &progress.place, held_mail(4, &["a@x.example"]), State::Held).await;
    let finished = Finished { watermark: Some(4), first_run_over: true, unexpunged: Some(3), ..Finished::default() };
    ledger.finish(&progress.place, finished).await.unwrap();
    ledger.renumber(&progress.place).await.unwrap();
    let mut second = opened(ledger, 1, History::Full).await;
    assert_eq!((second.generation, second.first_run, second.unexpunged), (1, false, 3), "it is no new folder");
    assert_eq!((second.watermark, second.kept_count, second.exceptions.len(), second.former.len()), (0, 0, 0, 4));
    // The same UID, and another message.
    assert_eq!(second.former.take(&Fingerprint([0; 32]), &Fingerprint([7; 32])).map(|found| found.state), Some(State::Kept));
    let copy = Entry { copy: Some(Fingerprint([8; 32])), ..entry(uid(1), State::Kept) };
    ledger.record(&second.place, copy).await.unwrap();
    // What was held before follows its message; what is held now is found too.
    let held = std::iter::from_fn(|| second.former.take(&Fingerprint([0; 32]), &Fingerprint([7; 32]))).find(|found| found.state == State::Held);
    ledger.record(&second.place, Entry { former: held.unwrap().key, ..entry(uid(2), State::Held) }).await.unwrap();
    let mut again = held_mail(3, &[]);
    again.key.generation = 1;
    again.trace_id = again.key.trace_id();
    let again = hold(ledger, &second.place, again, State::Held).await;
    let rows = ledger.held().await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.key.epoch, row.key.uid.clone())).collect::<Vec<_>>(), [(Epoch(1), uid(3)), (Epoch(1), uid(2))]);
    for row in [again, row] {
        assert!(ledger.held_end(row.id, HeldEnd::Delivered(State::Owed)).await.unwrap());
    }
    let third = opened(ledger, 1, History::Full).await;
    assert_eq!(third.exceptions.into_iter().collect::<Vec<_>>(), [(uid(2), State::Owed), (uid(3), State::Owed)]);
    assert!(third.kept.contains(&uid(1)) && !third.former.is_empty());
    ledger.forget_former(&third.place).await.unwrap();
    assert!(opened(ledger, 1, History::None).await.former.is_empty());
    ledger.renumber(&opened(ledger, 1, History::None).await.place).await.unwrap();
    let fourth = opened(ledger, 1, History::Full).await;
    assert_eq!((fourth.generation, fourth.former.len()), (2, 3));
    // A later UIDVALIDITY begins anew.
    assert_eq!(opened(ledger, 2, History::None).await.generation, 0);
}

/// A kept message that got another name has been collected when it was: `delete_after` counts from then, and it stands for one message only.
pub(crate) async fn a_kept_message_takes_its_age_along(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    ledger.record(&place, entry(uid(1), State::Kept)).await.unwrap();
    let mut progress = opened(ledger, 2, History::None).await;
    let found = progress.former.take(&Fingerprint([0; 32]), &Fingerprint([7; 32])).unwrap();
    ledger.record(&progress.place, Entry { former: found.key, ..entry(uid(9), State::Kept) }).await.unwrap();
    let progress = opened(ledger, 2, History::Full).await;
    assert_eq!((progress.kept.contains(&uid(9)), progress.kept_count, progress.former.len()), (true, 1, 0), "in a later pass too");
}

pub(crate) async fn first_runs_and_sessions_are_counted_by_folder(ledger: &dyn Ledger) {
    let progress = opened(ledger, 1, History::None).await;
    ledger.finish(&progress.place, Finished { unexpunged: Some(2), ..Finished::default() }).await.unwrap();
    let again = opened(ledger, 1, History::None).await;
    assert_eq!((again.first_run, again.unexpunged), (true, 2), "until it is over");
    // A new epoch before that is still the first run.
    assert!(opened(ledger, 2, History::None).await.first_run);
    let progress = opened(ledger, 1, History::None).await;
    ledger.finish(&progress.place, Finished { first_run_over: true, unexpunged: Some(0), ..Finished::default() }).await.unwrap();
    let again = opened(ledger, 1, History::None).await;
    assert_eq!((again.first_run, again.unexpunged), (false, 0));
    let later = opened(ledger, 3, History::None).await;
    assert!(!later.first_run, "what was there is not new because its UIDs are");
    assert!(later.begun > 1_700_000_000 && later.begun == again.begun);
    assert!(later.has_earlier && later.former.is_empty(), "there is an earlier epoch, of which nothing can be known again");
    ledger.forget_former(&later.place).await.unwrap();
    assert!(!opened(ledger, 3, History::None).await.has_earlier);
    let later = opened(ledger, 3, History::None).await;
    ledger.renumber(&later.place).await.unwrap();
    assert_eq!(opened(ledger, 3, History::None).await.begun, again.begun);
    // That everything was compared is known of the one epoch.
    let compared = opened(ledger, 3, History::None).await;
    ledger.finish(&compared.place, Finished { compared: true, ..Finished::default() }).await.unwrap();
    let of = async |epoch| {
        let found = opened(ledger, epoch, History::None).await;
        (found.compared, found.begun)
    };
    assert_eq!([of(3).await, of(4).await], [(true, again.begun), (false, again.begun)]);
    let claim = ledger.claim(&mailbox("u")).await.unwrap();
    assert!(ledger.progress(&claim, &FolderName::new("Junk"), Epoch(1), History::None).await.unwrap().first_run, "another folder");
}
