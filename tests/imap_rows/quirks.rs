//! What servers do that the RFCs do not say, one test for each name in docs/imap.md.

use super::kit::*;
use mailgather::mail::FolderName;
use mailgather::source::{Disposal, Disposed, Retry, SourceErrorKind};

#[tokio::test(start_paused = true)]
async fn quirk_the_server_expunges_by_itself() {
    // Yahoo: STORE +FLAGS \Deleted is the end of them, and every number moves.
    let client = client(server(), None);
    let answer = but("UID STORE", "* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXISTS\r\n@ OK done\r\n");
    let (mut session, said) = client.inbox("UIDPLUS", answer).await.unwrap();
    assert_eq!(session.dispose(&uids(&[4, 6]), Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    assert_eq!(fetch(&mut session, &[9]).await.unwrap().len(), 1);
    assert!(heard(&said).iter().all(|command| command.starts_with("UID ")), "a sequence number was used: {:?}", heard(&said));
}

#[tokio::test(start_paused = true)]
async fn quirk_untagged_data_at_any_time() {
    let noise = "* 1 EXPUNGE\r\n* 7 EXISTS\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 1 RECENT\r\n* FLAGS (\\Seen)\r\n* LIST () \"/\" x\r\n* CAPABILITY IMAP4rev1 UIDPLUS\r\n\
        * OK [ALERT] look here\r\n* NO disk is nearly full\r\n* BAD odd\r\n* XYZZY\r\n* ESEARCHED\r\n* VANISHED (EARLIER) 1:9\r\n* SEARCHING\r\n";
    let client = client(server(), None);
    let answer = move |command: &str| match usual(command).remove(0) {
        Step::Say(text) if command.starts_with("UID") => say(format!("{noise}{}", text.replace("@", &format!("{noise}@")))),
        step => vec![step],
    };
    let (mut session, _) = client.inbox("UIDPLUS", answer).await.unwrap();
    assert_eq!(session.list(want()).await.unwrap().messages.len(), 3);
    assert_eq!(fetch(&mut session, &[4, 6, 9]).await.unwrap().len(), 3);
    assert_eq!(session.dispose(&uids(&[4, 6]), Disposal::Delete).await.unwrap(), Disposed::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn quirk_a_missing_answer_is_asked_for_once_more() {
    let client = client(server(), None);
    let body = |uid: u32| format!("* 1 FETCH (UID {uid} BODY[] {{6}}\r\nA: {uid}\r\n)\r\n");
    let answer = move |command: &str| match command.split(' ').nth(2) {
        Some("4,6,9") if command.starts_with("UID FETCH") => say(body(6) + "@ OK\r\n"),
        Some("4,9") => say(body(9) + "@ OK\r\n"),
        _ => usual(command),
    };
    let (mut session, said) = client.inbox("UIDPLUS", answer).await.unwrap();
    let all = fetch(&mut session, &[4, 6, 9]).await.unwrap();
    let missing = Err("4 missing: the server did not send it".to_owned());
    assert_eq!(all, [Ok((6, b"A: 6\r\n".to_vec())), Ok((9, b"A: 9\r\n".to_vec())), missing]);
    assert_eq!(heard(&said).len(), 2, "asked twice, and no more");
}

#[tokio::test(start_paused = true)]
async fn quirk_an_empty_body_is_no_message() {
    let client = client(server(), None);
    let nothing = || Err("4 missing: the server sent an empty body".to_owned());
    let nil = || Err("4 missing: the server has no body for it (NIL)".to_owned());
    // Exchange announces what it does not have yet; Dovecot says 0 and NIL of what another client expunged.
    for (body, full, empty) in [("NIL", nil(), nil()), ("\"\"", nothing(), Ok((4, vec![]))), ("{0}\r\n", nothing(), Ok((4, vec![])))] {
        for (size, wanted) in [("RFC822.SIZE 500 ", full.clone()), ("", full), ("RFC822.SIZE 0 ", empty)] {
            let answer = format!("* 1 FETCH (UID 4 {size}BODY[] {body})\r\n@ OK\r\n");
            let (mut session, _) = client.inbox("UIDPLUS", but("UID FETCH", answer)).await.unwrap();
            assert_eq!(fetch(&mut session, &[4]).await.unwrap(), [wanted], "{body} {size}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn quirk_a_store_that_is_refused_for_what_is_gone() {
    // RFC 2180 §4.2 leaves it to the server: it may refuse a STORE, of which it did nothing or the rest, for a message that another client expunged.
    let client = client(server(), None);
    let expungeissued = "@ NO [EXPUNGEISSUED] some are gone\r\n";
    for (start, how, again, wanted) in [
        ("UID STORE", Disposal::MarkSeen, "@ OK\r\n", true),
        ("UID STORE", Disposal::Delete, "@ OK\r\n", true),
        ("UID COPY", Disposal::Move(FolderName::new("Done")), "@ OK\r\n", true),
        ("UID STORE", Disposal::MarkSeen, expungeissued, false),
        ("UID COPY", Disposal::Move(FolderName::new("Done")), "@ NO no\r\n", false),
    ] {
        let mut tries = 0;
        let answer = move |command: &str| match command {
            command if command.starts_with(start) => {
                tries += 1;
                say(if tries == 1 { expungeissued } else { again })
            }
            "NOOP" => say("* 1 EXPUNGE\r\n@ OK\r\n"),
            other => usual(other),
        };
        let (mut session, said) = client.inbox("UIDPLUS", answer).await.unwrap();
        let result = session.dispose(&uids(&[4, 6]), how).await;
        assert_eq!(result.is_ok(), wanted);
        let said = heard(&said);
        assert!(said[0].starts_with(start) && said[1] == "NOOP" && said[2] == said[0], "{said:?}");
        assert_eq!(said.iter().filter(|said| said.starts_with(start)).count(), 2);
    }
}

/// Dovecot begins an EXPUNGE before the STORE before it shows, if both come in one write and other clients are at work; others say OK and do nothing.
#[tokio::test(start_paused = true)]
async fn quirk_ok_to_expunge_too_soon() {
    let client = client(server(), None);
    let expunge = "UID EXPUNGE 4,6";
    let search = "UID SEARCH UID 4,6 DELETED";
    let store = "UID STORE 4,6 +FLAGS.SILENT (\\Deleted \\Seen)";
    for (gone, left, wanted, said_wanted) in [
        // All went; or fewer, because somebody else was faster, or the server does not say.
        (vec![2], "", Disposed::Confirmed, vec![store, expunge]),
        (vec![1], "* SEARCH\r\n@ OK\r\n", Disposed::Confirmed, vec![store, expunge, search]),
        (vec![0], "@ OK\r\n", Disposed::Confirmed, vec![store, expunge, search]),
        // A refusal tells nothing.
        (vec![0], "@ BAD no\r\n", Disposed::FlaggedOnly, vec![store, expunge, search]),
        // They are there still, and go at the second word, or never.
        (vec![0, 2], "* SEARCH 4 6\r\n@ OK\r\n", Disposed::Confirmed, vec![store, expunge, search, expunge]),
        (vec![1, 1], "* SEARCH 6\r\n@ OK\r\n", Disposed::Confirmed, vec![store, expunge, search, expunge]),
        (vec![0, 0], "* SEARCH 4 6\r\n@ OK\r\n", Disposed::FlaggedOnly, vec![store, expunge, search, expunge, search]),
    ] {
        let mut times = gone.into_iter();
        let answer = move |command: &str| match command {
            command if command.starts_with("UID EXPUNGE") => say("* 1 EXPUNGE\r\n".repeat(times.next().unwrap()) + "@ OK\r\n"),
            command if command.ends_with("DELETED") => say(left),
            other => usual(other),
        };
        let (mut session, said) = client.inbox("UIDPLUS", answer).await.unwrap();
        assert_eq!(session.dispose(&uids(&[4, 6]), Disposal::Delete).await.unwrap(), wanted);
        assert_eq!(heard(&said), said_wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn quirk_capabilities_after_the_login() {
    // Exchange: what it says before the login is not what it can do, and it does not say anything new unasked.
    let client = client(server(), None);
    let answer = |command: &str| match command {
        command if command.starts_with("AUTHENTICATE") => say("@ OK AUTHENTICATE completed.\r\n"),
        "CAPABILITY" => say("* CAPABILITY IMAP4rev1 UIDPLUS MOVE IDLE\r\n@ OK\r\n"),
        other => usual(other),
    };
    let (mut session, said) =
        client.greeted("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] The Microsoft Exchange IMAP4 service is ready.\r\n", answer).await.unwrap();
    assert!(session.select(&FolderName::inbox()).await.unwrap().can_delete);
    assert!(session.can_idle() && heard(&said).contains(&"CAPABILITY".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_a_folder_and_closes_has_said_why() {
    let client = client(server(), None);
    let answer = |command: &str| match command {
        command if command.starts_with("AUTHENTICATE") => say("@ OK in\r\n"),
        "SELECT INBOX" => vec![Step::Say("@ NO [INUSE] locked by another process\r\n".into()), Step::Close],
        other => usual(other),
    };
    let (mut session, _) = client.greeted("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n", answer).await.unwrap();
    let error = session.select(&FolderName::inbox()).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Throttled, "select"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn quirk_throttling_hints() {
    let client = client(server(), None);
    for (text, retry) in [
        ("NO [LIMIT] UID FETCH Rate limit hit.", Retry::Backoff),
        ("BAD Request is throttled. Suggested Backoff Time: 281961 milliseconds", Retry::After(std::time::Duration::from_millis(281_961))),
        ("NO [UNAVAILABLE] later", Retry::Backoff),
    ] {
        let (mut session, _) = client.inbox("UIDPLUS", but("UID FETCH", format!("@ {text}\r\n"))).await.unwrap();
        let error = fetch(&mut session, &[4]).await.unwrap_err();
        assert_eq!((error.kind, error.retry()), (SourceErrorKind::Throttled, retry), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn quirk_referrals_are_not_followed() {
    let client = client(server(), None);
    let referral = "@ NO [REFERRAL imap://user@evil.example/INBOX] try there\r\n";
    let (mut session, said) = client.open("MAILBOX-REFERRALS", but("SELECT", referral)).await.unwrap();
    let error = session.select(&FolderName::new("shared")).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Mailbox);
    assert!(error.server.as_deref().is_some_and(|said| said.contains("REFERRAL")), "{error}");
    // Nothing else is tried, by whatever name; INBOX may have gone along with the login.
    let tried: Vec<String> = heard(&said).into_iter().filter(|said| !said.starts_with("AUTHENTICATE") && said != "SELECT INBOX").collect();
    assert_eq!(tried, ["SELECT \"shared\""]);
    let answer = |command: &str| match command {
        command if command.starts_with("LOGIN") => say("@ NO [REFERRAL imap://user@evil.example/] moved\r\n"),
        other => usual(other),
    };
    let error = client.greeted("* OK [CAPABILITY IMAP4rev1 LOGIN-REFERRALS] hi\r\n", answer).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Auth);
}

#[tokio::test(start_paused = true)]
async fn quirk_alerts_do_not_disturb() {
    let client = client(server(), None);
    let alerts = "* OK [ALERT] \u{1b}[31mYour quota\u{202e} is nearly used up\r\n".repeat(1000);
    let (log, _here) = logged();
    let (mut session, _) = client.inbox("UIDPLUS", but("UID SEARCH", format!("{alerts}* SEARCH 4\r\n@ OK [ALERT] done\r\n"))).await.unwrap();
    assert_eq!(session.list(want()).await.unwrap().messages.len(), 1);
    let log = log.text();
    assert_eq!(log.matches("server_alert").count(), 5, "{log}");
    assert!(log.contains("quota") && !log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log}");
}

#[tokio::test(start_paused = true)]
async fn quirk_gmail_names_letters() {
    let client = client(server(), None);
    let (mut session, said) = client.inbox("UIDPLUS X-GM-EXT-1", usual).await.unwrap();
    session.list(want()).await.unwrap();
    fetch(&mut session, &[4, 6, 9]).await.unwrap();
    assert_eq!(heard(&said), ["UID SEARCH UID 1:*", "UID FETCH 4,6,9 (UID RFC822.SIZE X-GM-MSGID BODY.PEEK[])"]);
}

#[tokio::test]
async fn quirk_domino_needs_nothing() {
    // Extensions that nobody uses are offered and not touched; bodies are asked for whole.
    let client = client(server(), None);
    let (mut session, said) = client.inbox("UIDPLUS QRESYNC CONDSTORE UTF8=ACCEPT ENABLE", usual).await.unwrap();
    session.list(want()).await.unwrap();
    fetch(&mut session, &[4, 6, 9]).await.unwrap();
    assert_eq!(heard(&said), ["UID SEARCH UID 1:*", "UID FETCH 4,6,9 (UID RFC822.SIZE BODY.PEEK[])"]);
}
