//! Moving, deleting, expunging: by UID, and never what is not ours.

use super::kit::*;
use mailgather::config::Server;
use mailgather::mail::FolderName;
use mailgather::source::{Disposal, Disposed, SourceError, SourceErrorKind};

async fn disposed(
    server: Server,
    capabilities: &str,
    how: Disposal,
    answer: impl FnMut(&str) -> Vec<Step> + Send + 'static,
) -> (Result<Disposed, SourceError>, Vec<String>) {
    let client = client(server, None);
    let (mut session, said) = client.inbox(capabilities, answer).await.unwrap();
    let result = session.dispose(&uids(&[4, 6]), how).await;
    (result, heard(&said))
}

fn to_done() -> Disposal {
    Disposal::Move(FolderName::new("Done"))
}

const STORE: &str = "UID STORE 4,6 +FLAGS.SILENT (\\Deleted \\Seen)";

#[tokio::test(start_paused = true)]
async fn moving_where_move_is_offered() {
    let moved = "* OK [COPYUID 5 4,6 1:2] moved\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n@ OK done\r\n";
    for capabilities in ["UIDPLUS MOVE", "MOVE", "IMAP4rev2"] {
        let (result, said) = disposed(server(), capabilities, to_done(), but("UID MOVE", moved)).await;
        assert_eq!((result.unwrap(), said), (Disposed::Confirmed, vec!["UID MOVE 4,6 \"Done\"".to_owned()]));
    }
    // A folder that is not there is made, once.
    for (created, again, wanted) in
        [("@ OK\r\n", "@ OK\r\n", true), ("@ NO [ALREADYEXISTS] x\r\n", "@ OK\r\n", true), ("@ NO x\r\n", "@ NO [TRYCREATE] x\r\n", false)]
    {
        let mut tries = 0;
        let answer = move |command: &str| match command {
            command if command.starts_with("UID MOVE") => {
                tries += 1;
                say(if tries == 1 { "@ NO [TRYCREATE] no such folder\r\n" } else { again })
            }
            "CREATE \"Done\"" => say(created),
            other => usual(other),
        };
        let (result, said) = disposed(server(), "UIDPLUS MOVE", to_done(), answer).await;
        assert_eq!(result.is_ok(), wanted);
        assert_eq!(said, ["UID MOVE 4,6 \"Done\"", "CREATE \"Done\"", "UID MOVE 4,6 \"Done\""]);
    }
    for (answer, kind) in
        [("@ NO no\r\n", SourceErrorKind::Mailbox), ("@ NO [OVERQUOTA] full\r\n", SourceErrorKind::Throttled), ("", SourceErrorKind::Timeout)]
    {
        let (result, said) = disposed(server(), "UIDPLUS MOVE", to_done(), but("UID MOVE", answer)).await;
        assert_eq!((result.unwrap_err().kind, said.len()), (kind, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn moving_by_copy_flags_nothing_before_the_copy_is_there() {
    let (result, said) = disposed(server(), "UIDPLUS", to_done(), usual).await;
    assert_eq!((result.unwrap(), said), (Disposed::Confirmed, ["UID COPY 4,6 \"Done\"", STORE, "UID EXPUNGE 4,6"].map(str::to_owned).to_vec()));
    // Only what the server says it copied is deleted.
    let (result, said) = disposed(server(), "UIDPLUS", to_done(), but("UID COPY", "@ OK [COPYUID 5 6 1] done\r\n")).await;
    assert_eq!((result.unwrap(), said[1..].to_vec()), (Disposed::Confirmed, vec![STORE.replace("4,6", "6"), "UID EXPUNGE 6".to_owned()]));
    let (result, said) = disposed(server(), "UIDPLUS", to_done(), but("UID COPY", "@ OK [COPYUID 5 9 1] done\r\n")).await;
    assert_eq!((result.unwrap(), said.len()), (Disposed::Confirmed, 1));
    let (result, _) = disposed(server(), "", to_done(), usual).await;
    assert_eq!(result.unwrap(), Disposed::FlaggedOnly);
    for answer in ["@ NO no\r\n", "@ BAD no\r\n", "* BYE\r\n", "* OK [COPYUID 5 4,6 1:2] early\r\n", "@ NO [TRYCREATE] no\r\n"] {
        let (result, said) = disposed(server(), "UIDPLUS", to_done(), but("UID COPY", answer)).await;
        assert!(result.is_err() && !said.iter().any(|command| command.contains("STORE") || command.contains("EXPUNGE")), "{answer}: {said:?}");
    }
    // Offered and not understood.
    let (result, said) = disposed(server(), "UIDPLUS MOVE", to_done(), but("UID MOVE", "@ BAD what\r\n")).await;
    assert_eq!((result.unwrap(), said[1].as_str()), (Disposed::Confirmed, "UID COPY 4,6 \"Done\""));
    // Into itself: nothing is done.
    let (result, said) = disposed(server(), "UIDPLUS MOVE", Disposal::Move(FolderName::new("inbox")), usual).await;
    assert_eq!((result.unwrap_err().kind, said.len()), (SourceErrorKind::Mailbox, 0));
}

#[tokio::test(start_paused = true)]
async fn quirk_no_uidplus_and_somebody_elses_deleted_mail() {
    let plain = || Server { allow_plain_expunge: true, ..server() };
    let (result, said) = disposed(server(), "", Disposal::Delete, usual).await;
    assert_eq!((result.unwrap(), said), (Disposed::FlaggedOnly, vec![STORE.to_owned()]));
    let (result, said) = disposed(plain(), "", Disposal::Delete, usual).await;
    assert_eq!((result.unwrap(), said), (Disposed::Confirmed, [STORE, "NOOP", "UID SEARCH DELETED", "EXPUNGE"].map(str::to_owned).to_vec()));
    // One of ours has gone by itself.
    let (result, _) = disposed(plain(), "", Disposal::Delete, but("UID SEARCH", "* SEARCH 6\r\n@ OK\r\n")).await;
    assert_eq!(result.unwrap(), Disposed::Confirmed);
    for answer in ["* SEARCH 4 6 9\r\n@ OK\r\n", "* SEARCH 9\r\n@ OK\r\n", "@ OK\r\n"] {
        let (result, said) = disposed(plain(), "", Disposal::Delete, but("UID SEARCH", answer)).await;
        assert_eq!(result.unwrap(), Disposed::FlaggedOnly, "{answer}");
        assert!(!said.contains(&"EXPUNGE".to_owned()), "{said:?}");
    }
    for answer in ["@ NO no\r\n", "@ BAD no\r\n", "* SEARCH x\r\n", "* BYE\r\n"] {
        let (result, said) = disposed(plain(), "", Disposal::Delete, but("UID SEARCH", answer)).await;
        assert!(result.is_err() && !said.contains(&"EXPUNGE".to_owned()), "{answer}: {said:?}");
    }
    // With UIDPLUS it changes nothing.
    let (_, said) = disposed(plain(), "UIDPLUS", Disposal::Delete, usual).await;
    assert_eq!(said, [STORE, "UID EXPUNGE 4,6"]);
}

/// A copy behind which nothing can be deleted would be made again in each pass.
#[tokio::test(start_paused = true)]
async fn nothing_is_copied_out_of_a_folder_that_is_read_only() {
    let select = "* 5 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 9] x\r\n@ OK [READ-ONLY] done\r\n";
    for how in [to_done(), Disposal::Delete, Disposal::MarkSeen, Disposal::Flag] {
        let (result, said) = disposed(server(), "UIDPLUS", how, but("SELECT", select)).await;
        let error = result.unwrap_err();
        assert!(error.is_refusal() && error.text.contains("read-only"), "{error}");
        assert_eq!(said, Vec::<String>::new());
    }
    let (result, said) = disposed(server(), "UIDPLUS", Disposal::Keep, but("SELECT", select)).await;
    assert_eq!((result.unwrap(), said.len()), (Disposed::Confirmed, 0));
}

/// Nobody may delete here: what was copied once is not copied again, however often it is tried, also by another session.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_deleted_is_copied_once() {
    let client = client(server(), None);
    let copies = |said: &[String]| said.iter().filter(|command| command.starts_with("UID COPY")).count();
    let (mut session, said) = client.inbox("UIDPLUS", but("UID STORE", "@ NO [NOPERM] no\r\n")).await.unwrap();
    assert_eq!(session.dispose(&uids(&[4, 6]), to_done()).await.unwrap(), Disposed::FlaggedOnly);
    for _ in 0..2 {
        let error = session.dispose(&uids(&[4, 6]), Disposal::Delete).await.unwrap_err();
        assert!(error.is_refusal(), "the operator is told: {error}");
    }
    assert_eq!(copies(&heard(&said)), 1);
    // The connection broke behind the COPY; the next session says STORE alone, and copies what is new.
    let (mut session, said) = client.inbox("UIDPLUS", but("UID STORE", "* BYE\r\n")).await.unwrap();
    assert!(session.dispose(&uids(&[7, 8]), to_done()).await.is_err());
    assert_eq!(copies(&heard(&said)), 1);
    let (mut session, said) = client.inbox("UIDPLUS", usual).await.unwrap();
    assert_eq!(session.dispose(&uids(&[7, 8, 9]), to_done()).await.unwrap(), Disposed::Confirmed);
    assert_eq!(
        heard(&said),
        ["UID COPY 9 \"Done\"", "UID STORE 7:9 +FLAGS.SILENT (\\Deleted \\Seen)", "UID EXPUNGE 7:9", "UID SEARCH UID 7:9 DELETED"]
    );
    // In another folder the numbers mean other messages.
    let (mut session, said) = client.inbox("UIDPLUS", but("SELECT", SELECTED.replace("77", "78"))).await.unwrap();
    assert_eq!(session.dispose(&uids(&[4, 6]), to_done()).await.unwrap(), Disposed::Confirmed);
    assert_eq!(copies(&heard(&said)), 1);
}

/// The folder is full in the middle: what is copied by then goes, and is not copied again.
#[tokio::test(start_paused = true)]
async fn a_second_copy_that_is_refused_leaves_no_first_one_twice() {
    for capabilities in ["UIDPLUS", ""] {
        let client = client(server(), None);
        let mut first = None;
        let answer = move |command: &str| match command {
            command if command.starts_with("UID COPY") => {
                let is_first = first.get_or_insert_with(|| command.to_owned()) == command;
                say(if is_first { "@ OK done\r\n" } else { "@ NO [OVERQUOTA] full\r\n" })
            }
            other => usual(other),
        };
        let (mut session, said) = client.inbox(capabilities, answer).await.unwrap();
        // Too many holes for one command.
        let many: Vec<u32> = (1..=4000).map(|n| n * 2).collect();
        let mut firsts = Vec::new();
        for n in 1..=3 {
            let error = session.dispose(&uids(&many), to_done()).await.unwrap_err();
            assert!(error.is_refusal(), "{error}");
            let said = heard(&said);
            let all: Vec<&String> = said.iter().filter(|command| command.starts_with("UID COPY")).collect();
            assert_eq!(all.len(), n + 1, "the first once, the second in each pass");
            let stored = said.iter().filter(|command| command.starts_with("UID STORE")).count();
            assert_eq!(stored, n, "what was copied is deleted, at the first try already");
            firsts.push(all[0].clone());
            assert!(all[1..].iter().all(|other| *other != all[0]));
        }
        assert!(firsts.iter().all(|one| *one == firsts[0]));
    }
}

/// Whose EXPUNGEs those are that the server tells of, it does not say; where they are not exactly ours, it is asked what is left.
#[tokio::test(start_paused = true)]
async fn what_others_expunge_does_not_count_as_ours() {
    let (gone, one) = ("* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n", "* 1 EXPUNGE\r\n");
    for (stored, expunged, found, wanted) in [
        ("", format!("{gone}@ OK\r\n"), "@ NO not asked\r\n", Disposed::Confirmed),
        // Ours, and one of another client's; or both, and one more.
        ("", format!("{gone}{one}@ OK\r\n"), "* SEARCH\r\n@ OK\r\n", Disposed::Confirmed),
        ("", format!("{gone}{one}@ OK\r\n"), "* SEARCH 6\r\n@ OK\r\n", Disposed::FlaggedOnly),
        // Another client's, before ours were to go.
        (gone, "@ OK\r\n".into(), "* SEARCH 4 6\r\n@ OK\r\n", Disposed::FlaggedOnly),
        (gone, "@ OK\r\n".into(), "* SEARCH\r\n@ OK\r\n", Disposed::Confirmed),
        (one, format!("{gone}@ OK\r\n"), "* SEARCH\r\n@ OK\r\n", Disposed::Confirmed),
        // A server that will not say does not say that they are gone.
        ("", format!("{one}@ OK\r\n"), "@ NO not now\r\n", Disposed::FlaggedOnly),
        ("", "@ OK\r\n".into(), "@ BAD what\r\n", Disposed::FlaggedOnly),
    ] {
        let (of_store, of_expunge) = (format!("{stored}@ OK\r\n"), expunged.clone());
        let answer = move |command: &str| match command.split(' ').nth(1) {
            Some("STORE") => say(of_store.clone()),
            Some("EXPUNGE") => say(of_expunge.clone()),
            Some("SEARCH") => say(found),
            _ => usual(command),
        };
        let (result, said) = disposed(server(), "UIDPLUS", Disposal::Delete, answer).await;
        assert_eq!(result.unwrap(), wanted, "{stored:?} {expunged:?} {found:?}: {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do_is_done() {
    let client = client(server(), None);
    let (mut session, said) = client.inbox("UIDPLUS MOVE", usual).await.unwrap();
    for how in [Disposal::Keep, Disposal::MarkSeen, Disposal::Delete, to_done()] {
        assert_eq!(session.dispose(&[], how).await.unwrap(), Disposed::Confirmed);
    }
    assert_eq!(session.dispose(&uids(&[4]), Disposal::Keep).await.unwrap(), Disposed::Confirmed);
    assert!(heard(&said).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_log_says_where_mail_went_and_what_went_wrong() {
    let (log, _here) = logged();
    let moved = "* OK [COPYUID 5 4,6 1001:1002] moved\r\n@ OK done\r\n";
    disposed(server(), "UIDPLUS MOVE", to_done(), but("UID MOVE", moved)).await.0.unwrap();
    let text = log.text();
    assert!(text.contains("message_moved") && text.contains("1001:1002") && text.contains("uidvalidity_there=5"), "{text}");
    disposed(server(), "UIDPLUS", to_done(), but("UID COPY", "@ OK [COPYUID 5 4,6 2001:2002] done\r\n")).await.0.unwrap();
    assert!(log.text().contains("message_copied") && log.text().contains("2001:2002"));
    // One more went than was ours.
    let plain = Server { allow_plain_expunge: true, ..server() };
    let answer = |command: &str| if command == "EXPUNGE" { say("* 1 EXPUNGE\r\n".repeat(3) + "@ OK\r\n") } else { usual(command) };
    assert_eq!(disposed(plain, "", Disposal::Delete, answer).await.0.unwrap(), Disposed::Confirmed);
    assert!(log.text().contains("expunged_more"));
}
