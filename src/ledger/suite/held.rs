//! Held mail: its rows, its parts, and what becomes of its message.

use super::*;

pub(crate) async fn held_mail_is_recorded_with_its_state(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let (one, two) = (held_mail(1, &["a@x.example", "b@x.example"]), held_mail(2, &[]));
    let second = hold(ledger, &place, two.clone(), State::Owed).await;
    let first = hold(ledger, &place, one.clone(), State::Held).await;
    assert_eq!(ledger.held().await.unwrap(), [first.clone(), second.clone()], "oldest first");
    assert_eq!(first, HeldMail { id: first.id, ..one.clone() });
    assert_eq!(second, HeldMail { id: second.id, ..two });
    assert_ne!(first.id, second.id);
    assert_eq!(ledger.held_octets().await.unwrap(), 200);
    let [total] = &ledger.held_totals().await.unwrap()[..] else { panic!("all have the same collector and reason") };
    assert_eq!((&total.collector, total.why, total.messages, total.octets), (&first.key.collector, first.why, 2, 200));
    assert_eq!(total.since, first.since.min(second.since));
    let progress = opened(ledger, 1, History::None).await;
    assert_eq!(progress.exceptions.into_iter().collect::<Vec<_>>(), [(uid(1), State::Held), (uid(2), State::Owed)]);
    // A stale pass holds nothing.
    assert!(matches!(
        ledger.record(&place, Entry { held: Some(Box::new(held_mail(3, &[]))), ..entry(uid(3), State::Held) }).await,
        Err(LedgerError::Fenced)
    ));
    assert_eq!(ledger.held().await.unwrap().len(), 2);
    // Held once more (for others of its recipients, or a crash came before the record was known to be durable): one row, the same number, what
    // its file is now, and everybody who has not got it.
    let again = hold(
        ledger,
        &progress.place,
        HeldMail { octets: 120, reason: "554 never".into(), since: 9_999, recipients: vec!["b@x.example".into(), "c@x.example".into()], ..one },
        State::Held,
    )
    .await;
    assert_eq!((again.id, again.octets, again.reason.as_str(), again.since), (first.id, 120, "554 never", 9_999));
    assert_eq!(again.recipients, ["a@x.example", "b@x.example", "c@x.example"]);
    assert_eq!(ledger.held_octets().await.unwrap(), 220);
}

pub(crate) async fn uidls_and_every_reason_are_held(ledger: &dyn Ledger) {
    let place = opened(ledger, 0, History::None).await.place;
    for (n, why) in HeldWhy::ALL.into_iter().enumerate() {
        let mut mail = HeldMail { why, ..held_mail(n as u32, &[]) };
        mail.key.uid = RemoteUid::Opaque([b"\xff'", &[n as u8][..]].concat().into());
        mail.key.epoch = Epoch(0);
        mail.key.generation = n as u32;
        mail.trace_id = mail.key.trace_id();
        let row = hold(ledger, &place, mail.clone(), State::Held).await;
        assert_eq!(row, HeldMail { id: row.id, ..mail });
    }
}

pub(crate) async fn a_released_message_gets_its_final_state(ledger: &dyn Ledger) {
    for (number, state, kept, exception) in [(1, State::Kept, true, None), (2, State::Owed, false, Some(State::Owed))] {
        let place = opened(ledger, 1, History::None).await.place;
        let row = hold(ledger, &place, held_mail(number, &["a@x.example"]), State::Held).await;
        assert!(ledger.held_end(row.id, HeldEnd::Delivered(state)).await.unwrap());
        assert!(!ledger.held_end(row.id, HeldEnd::Dropped).await.unwrap(), "it is not there any more");
        let progress = opened(ledger, 1, History::Full).await;
        assert_eq!((progress.kept.contains(&uid(number)), progress.exceptions.get(&uid(number))), (kept, exception.as_ref()));
        if exception.is_some() {
            assert_eq!(progress.hashes[&uid(number)].identity, Some(Fingerprint([7; 32])), "its disposal knows which message it is");
        }
        // Held again after its release (the operator asked for it once more): a row of its own, another number.
        let again = hold(ledger, &progress.place, held_mail(number, &[]), State::Held).await;
        assert!(again.id > row.id);
        assert!(ledger.held_end(again.id, HeldEnd::Dropped).await.unwrap());
    }
    assert_eq!((ledger.held().await.unwrap().len(), ledger.held_octets().await.unwrap()), (0, 0));
}

pub(crate) async fn a_dropped_message_does_not_come_again(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let row = hold(ledger, &place, held_mail(1, &[]), State::Held).await;
    assert!(ledger.held_end(row.id, HeldEnd::Dropped).await.unwrap());
    assert_eq!(opened(ledger, 1, History::None).await.exceptions[&uid(1)], State::Held);
    // Nor after a change of UIDVALIDITY, where it is not what was delivered either: `delete_after` is not for it.
    assert_eq!(in_the_next_epoch(ledger, 7).await.state, State::Held);
}

/// What epoch 1 knows of the message with this identity.
async fn in_the_next_epoch(ledger: &dyn Ledger, identity: u8) -> FormerMessage {
    opened(ledger, 2, History::None).await.former.take(&Fingerprint([0; 32]), &Fingerprint([identity; 32])).unwrap()
}

/// UIDVALIDITY changed, and the message has another UID: its state, and what is held of it, go with it.
pub(crate) async fn what_is_held_follows_its_message(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let row = hold(ledger, &place, held_mail(1, &["a@x.example"]), State::Held).await;
    let pending = State::Pending(Pending { tries: 1, done: vec!["a@x.example".into()], held: true, ..Pending::default() });
    let copy = Fingerprint([9; 32]);
    ledger.record(&place, Entry { copy: Some(copy), ..entry(uid(2), pending.clone()) }).await.unwrap();
    let mut progress = opened(ledger, 2, History::None).await;
    let held = progress.former.take(&Fingerprint([0; 32]), &Fingerprint([7; 32])).unwrap();
    let half = progress.former.take(&copy, &Fingerprint([0; 32])).unwrap();
    assert_eq!((&held.state, &half.state), (&State::Held, &pending));
    ledger.record(&progress.place, Entry { former: held.key, ..entry(uid(50), State::Held) }).await.unwrap();
    let progress = opened(ledger, 2, History::None).await;
    assert_eq!(progress.exceptions.into_iter().collect::<Vec<_>>(), [(uid(50), State::Held)]);
    let mut former = progress.former;
    assert!(former.take(&Fingerprint([0; 32]), &Fingerprint([7; 32])).is_none(), "it stands for one message, in later passes too");
    assert_eq!(former.take(&copy, &Fingerprint([0; 32])), Some(half));
    ledger.forget_former(&progress.place).await.unwrap();
    let mut expected = row.clone();
    (expected.key.epoch, expected.key.uid) = (Epoch(2), uid(50));
    assert_eq!(ledger.held().await.unwrap(), [expected]);
    assert!(ledger.held_end(row.id, HeldEnd::Delivered(State::Owed)).await.unwrap());
    assert_eq!(opened(ledger, 2, History::None).await.exceptions[&uid(50)], State::Owed);
}

pub(crate) async fn only_what_is_held_gets_a_state(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    // The source's copy is on its way out: a release must not bring it back.
    let owed = hold(ledger, &place, held_mail(1, &[]), State::Owed).await;
    assert!(ledger.held_end(owed.id, HeldEnd::Delivered(State::Kept)).await.unwrap());
    assert_eq!(opened(ledger, 1, History::None).await.exceptions[&uid(1)], State::Owed);
    // A copy that vanished is forgotten, its row is not, and the row ends all the same.
    let place = opened(ledger, 1, History::None).await.place;
    let vanished = hold(ledger, &place, held_mail(2, &[]), State::Held).await;
    assert_eq!(ledger.prune(&place, &Present::Numbers([1].into_iter().collect::<UidSet>())).await.unwrap(), 1);
    assert_eq!(ledger.held().await.unwrap(), std::slice::from_ref(&vanished));
    assert!(ledger.held_end(vanished.id, HeldEnd::Delivered(State::Owed)).await.unwrap());
    assert!(!opened(ledger, 1, History::Full).await.exceptions.contains_key(&uid(2)), "nothing is owed to a copy that is gone");
    // A mailbox that nobody has collected here.
    let place = opened(ledger, 1, History::None).await.place;
    let mut stranger = held_mail(3, &[]);
    stranger.key.mailbox = Arc::new(mailbox("stranger"));
    stranger.trace_id = stranger.key.trace_id();
    let stranger = hold(ledger, &place, stranger, State::Held).await;
    assert!(ledger.held_end(stranger.id, HeldEnd::Delivered(State::Kept)).await.unwrap());
    assert_eq!(opened(ledger, 1, History::None).await.exceptions.get(&uid(3)), Some(&State::Held), "another mailbox's message");
    assert!(ledger.held().await.unwrap().is_empty());
}

pub(crate) async fn a_part_of_the_recipients_may_be_served(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let row = hold(ledger, &place, held_mail(1, &["a@x.example", "\"b c\"@x.example"]), State::Held).await;
    ledger.held_rest(row.id, &["\"b c\"@x.example".into()], &["a@x.example".into()], &[seen(5, 50)]).await.unwrap();
    let rest = ledger.held().await.unwrap();
    let done = vec!["had@x.example".into(), "a@x.example".into()];
    assert_eq!(rest, [HeldMail { recipients: vec!["\"b c\"@x.example".into()], done, ..row }]);
    assert_eq!(ledger.seen(&[seen_key(5)], 50).await.unwrap(), [Some(TraceId([5; 16]))]);
    // A number that is not there: the deliveries were made all the same.
    ledger.held_rest(HeldId(99), &[], &[], &[seen(6, 60)]).await.unwrap();
    assert_eq!(ledger.seen(&[seen_key(6)], 60).await.unwrap(), [Some(TraceId([6; 16]))]);
}

/// Held for some and tried again for others: who gets it here needs none from there, and the other way round.
pub(crate) async fn who_has_it_is_known_on_both_sides(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let pending = |done: &[&str]| Pending { tries: 1, done: done.iter().map(ToString::to_string).collect(), held: true, ..Pending::default() };
    let row = hold(ledger, &place, held_mail(1, &["a@x.example"]), State::Pending(pending(&["a@x.example"]))).await;
    let had: Vec<String> = vec!["a@x.example".into(), "b@x.example".into()];
    let again = State::Pending(pending(&["a@x.example", "b@x.example"]));
    ledger.record(&place, Entry { had, ..entry(uid(1), again) }).await.unwrap();
    let row = HeldMail { done: vec!["had@x.example".into(), "b@x.example".into()], ..row };
    assert_eq!(ledger.held().await.unwrap(), std::slice::from_ref(&row), "whom it is held for does not have it");
    ledger.held_rest(row.id, &row.recipients, &["c@x.example".into()], &[]).await.unwrap();
    let State::Pending(found) = opened(ledger, 1, History::None).await.exceptions.remove(&uid(1)).unwrap() else { panic!("it is not settled") };
    assert_eq!(found.done, ["a@x.example", "b@x.example", "c@x.example"]);
}

/// When the held part of a message has ended, the rest decides about the copy at its source; what was dropped keeps it there.
pub(crate) async fn the_end_of_a_part_is_noted(ledger: &dyn Ledger) {
    let pending = Pending { tries: 1, done: vec!["a@x.example".into()], held: true, ..Pending::default() };
    for (number, end, held) in [(1, HeldEnd::Delivered(State::Owed), false), (2, HeldEnd::Dropped, true)] {
        let place = opened(ledger, 1, History::None).await.place;
        let row = hold(ledger, &place, held_mail(number, &["a@x.example"]), State::Pending(pending.clone())).await;
        assert!(ledger.held_end(row.id, end).await.unwrap());
        let found = opened(ledger, 1, History::None).await.exceptions.remove(&uid(number)).unwrap();
        assert_eq!(found, State::Pending(Pending { held, ..pending.clone() }));
    }
    // Too old, but held again meanwhile.
    let place = opened(ledger, 1, History::None).await.place;
    let row = hold(ledger, &place, held_mail(3, &["a@x.example"]), State::Held).await;
    assert!(!ledger.held_end(row.id, HeldEnd::Expired { since: row.since - 1 }).await.unwrap());
    assert!(ledger.held_end(row.id, HeldEnd::Expired { since: row.since }).await.unwrap());
}
