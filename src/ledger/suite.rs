//! One suite for every ledger: what the trait promises, shown on a fresh store.

use super::*;
use crate::mail::{CollectorId, MessageKey, UidSet};
use std::sync::Arc;

mod epochs;
mod forgetting;
mod held;
mod history;
mod seen;
mod states;

pub(crate) use epochs::*;
pub(crate) use forgetting::*;
pub(crate) use held::*;
pub(crate) use history::*;
pub(crate) use seen::*;
pub(crate) use states::*;

/// Ten years after the tests run.
const FAR: i64 = 4_000_000_000;

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

/// Runs the whole suite on a fresh ledger for each test.
macro_rules! ledger_suite {
    ($fresh:expr) => {
        ledger_suite!($fresh; the_instance_stays a_stale_claim_writes_nothing an_unfinished_batch_is_in_doubt states_survive disposals_settle a_cursor_is_kept
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
