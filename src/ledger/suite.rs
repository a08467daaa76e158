//! One suite for every ledger: what the trait promises, shown on a fresh store.

use super::*;
use crate::mail::{CollectorId, MessageKey, UidSet};
use std::sync::Arc;

pub(crate) fn mailbox(login: &str) -> MailboxId {
    MailboxId { protocol: "imap", host: "mail.example.org".into(), login: login.into() }
}

fn uid(number: u32) -> RemoteUid {
    RemoteUid::Number(number)
}

fn uidl(text: &str) -> RemoteUid {
    RemoteUid::Opaque(text.as_bytes().into())
}

fn entry(uid: RemoteUid, state: State) -> Entry {
    Entry::new(uid, state, Some(Fingerprint([7; 32])))
}

async fn opened(ledger: &dyn Ledger, epoch: u32, history: History) -> Progress {
    let claim = ledger.claim(&mailbox("u")).await.unwrap();
    ledger.progress(&claim, &FolderName::inbox(), Epoch(epoch), history).await.unwrap()
}

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

pub(crate) async fn mailboxes_do_not_mix(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    ledger.record(&place, entry(uid(1), State::Kept)).await.unwrap();
    let claim = ledger.claim(&mailbox("other")).await.unwrap();
    let progress = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::Full).await.unwrap();
    assert_eq!((progress.kept_count, progress.former.is_empty()), (0, true));
    ledger.record(&place, entry(uid(2), State::Kept)).await.expect("a claim on another mailbox is no matter of ours");
}

fn seen_key(n: u8) -> SeenKey {
    SeenKey([n; 16])
}

fn seen(n: u8, at: i64) -> Seen {
    Seen { key: seen_key(n), trace_id: TraceId([n; 16]), at, expires: at + 5 }
}

/// A row about the message with this UID in INBOX of `u`, epoch 1.
fn held_mail(number: u32, recipients: &[&str]) -> HeldMail {
    let key = MessageKey {
        collector: CollectorId::new("sales").unwrap(),
        mailbox: Arc::new(mailbox("u")),
        folder: FolderName::inbox(),
        epoch: Epoch(1),
        uid: uid(number),
        generation: 0,
    };
    HeldMail {
        id: HeldId(0),
        trace_id: key.trace_id(),
        key,
        why: HeldWhy::Refused,
        reason: "550 no".into(),
        since: 1_000 + i64::from(number),
        octets: 100,
        sender: "s@x.example".into(),
        recipients: recipients.iter().map(ToString::to_string).collect(),
        done: vec!["had@x.example".into()],
        from_journal: number.is_multiple_of(2),
        from: "Анна <s@x.example>".into(),
        subject: "a subject".into(),
    }
}

/// Records it as the pass does, and returns its row.
async fn hold(ledger: &dyn Ledger, place: &Place, mail: HeldMail, state: State) -> HeldMail {
    let (uid, trace_id) = (mail.key.uid.clone(), mail.trace_id);
    let entry = Entry { held: Some(Box::new(mail)), ..entry(uid, state) };
    ledger.record(place, entry).await.unwrap();
    ledger.held().await.unwrap().into_iter().find(|mail| mail.trace_id == trace_id).unwrap()
}

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

/// Ten years after the tests run.
const FAR: i64 = 4_000_000_000;

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
    // Once everything was compared it counts no more, but for the epochs behind.
    let compared = opened(ledger, 3, History::None).await;
    ledger.finish(&compared.place, Finished { compared: true, ..Finished::default() }).await.unwrap();
    assert_eq!(opened(ledger, 3, History::None).await.begun, -again.begun);
    assert_eq!(opened(ledger, 4, History::None).await.begun, again.begun);
    let claim = ledger.claim(&mailbox("u")).await.unwrap();
    assert!(ledger.progress(&claim, &FolderName::new("Junk"), Epoch(1), History::None).await.unwrap().first_run, "another folder");
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
    assert_eq!(all, [Remembered { folder: FolderName::inbox(), epoch: Epoch(1), uids: expected.clone(), former: 0, held: 3, waiting: 3 }]);
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

/// Runs the whole suite on a fresh ledger for each test.
macro_rules! ledger_suite {
    ($fresh:expr) => {
        ledger_suite!($fresh; the_instance_stays a_stale_claim_writes_nothing an_unfinished_batch_is_in_doubt states_survive disposals_settle
            history_is_read_as_asked kept_mail_ages pruning_forgets_what_is_gone what_is_kept_is_counted a_new_epoch_knows_the_old_one mailboxes_do_not_mix
            seen_has_exact_borders seen_is_forgotten held_mail_is_recorded_with_its_state uidls_and_every_reason_are_held
            a_released_message_gets_its_final_state a_dropped_message_does_not_come_again what_is_held_follows_its_message
            only_what_is_held_gets_a_state
            a_part_of_the_recipients_may_be_served who_has_it_is_known_on_both_sides
            the_end_of_a_part_is_noted
            what_is_left_alone_counts_as_collected what_is_old_is_owed renumbering_is_a_new_epoch a_kept_message_takes_its_age_along
            first_runs_and_sessions_are_counted_by_folder the_history_of_uidls_is_all_of_them
            forgetting forgetting_goes_through_all_epochs marking_as_collected);
    };
    ($fresh:expr; $($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            let (_keep, ledger) = $fresh;
            $crate::ledger::suite::$name(&ledger).await;
        })*
    };
}
pub(crate) use ledger_suite;
