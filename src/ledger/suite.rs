//! One suite for every ledger: what the trait promises, shown on a fresh store.

use super::*;
use crate::mail::UidSet;

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
        // A batch that was finished leaves no doubt.
        ledger.begin(&progress.place, &[make(9)]).await.unwrap();
        ledger.finish(&progress.place, Finished::default()).await.unwrap();
        assert!(!opened(ledger, epoch, History::None).await.exceptions.contains_key(&make(9)));
    }
}

pub(crate) async fn states_survive(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    let pending = Pending { tries: 2, first: 5, next_try: 6, done: vec!["a@b".into(), "c@d".into()], in_doubt: 1, reason: "450 later".into() };
    let states = [
        State::Pending(pending),
        State::Owed,
        State::Flagged,
        State::Left { reason: "no recipient".into(), rules: u64::MAX, next_try: 77 },
        State::Skipped { octets: u64::MAX },
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
    let finished = Finished { deleted: vec![uid(1)], flagged: vec![uid(2)], kept: vec![uid(3)], vanished: vec![uid(4)], watermark: Some(4) };
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

pub(crate) async fn pruning_forgets_what_is_gone(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    for n in 1..=5 {
        ledger.record(&place, entry(uid(n), if n == 5 { State::Owed } else { State::Kept })).await.unwrap();
    }
    let present = Present::Numbers([2, 3].into_iter().collect::<UidSet>());
    assert_eq!(ledger.prune(&place, &present).await.unwrap(), 3);
    let progress = opened(ledger, 1, History::Full).await;
    assert_eq!((progress.kept_count, progress.exceptions.len()), (2, 0));
}

pub(crate) async fn a_new_epoch_knows_the_old_one(ledger: &dyn Ledger) {
    let progress = opened(ledger, 1, History::None).await;
    for (n, state) in [(1, State::Kept), (2, State::Owed), (3, State::Kept), (4, State::Pending(Pending::default()))] {
        ledger.record(&progress.place, entry(uid(n), state)).await.unwrap();
    }
    let again = opened(ledger, 1, History::None).await;
    assert!(again.former.is_empty(), "an epoch is not its own former one");
    assert_eq!(again.identities.into_iter().collect::<Vec<_>>(), [(uid(2), Fingerprint([7; 32]))]);
    let progress = opened(ledger, 2, History::None).await;
    assert_eq!((progress.former.get(&Fingerprint([7; 32])), progress.watermark), (Some(&3), 0), "what is pending was not collected");
    ledger.forget_former(&progress.place).await.unwrap();
    assert!(opened(ledger, 2, History::None).await.former.is_empty());
}

pub(crate) async fn mailboxes_do_not_mix(ledger: &dyn Ledger) {
    let place = opened(ledger, 1, History::None).await.place;
    ledger.record(&place, entry(uid(1), State::Kept)).await.unwrap();
    let claim = ledger.claim(&mailbox("other")).await.unwrap();
    let progress = ledger.progress(&claim, &FolderName::inbox(), Epoch(1), History::Full).await.unwrap();
    assert_eq!((progress.kept_count, progress.former.len()), (0, 0));
    ledger.record(&place, entry(uid(2), State::Kept)).await.expect("a claim on another mailbox is no matter of ours");
}

/// Runs the whole suite on a fresh ledger for each test.
macro_rules! ledger_suite {
    ($fresh:expr) => {
        ledger_suite!($fresh; the_instance_stays a_stale_claim_writes_nothing an_unfinished_batch_is_in_doubt states_survive disposals_settle
            history_is_read_as_asked pruning_forgets_what_is_gone a_new_epoch_knows_the_old_one mailboxes_do_not_mix);
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
