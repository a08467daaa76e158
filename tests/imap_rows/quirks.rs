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
    for body in ["NIL", "\"\"", "{0}\r\n"] {
        for (size, wanted) in [
            ("RFC822.SIZE 500 ", Err("4 missing: the server sent an empty body".to_owned())),
            ("", Err("4 missing: the server sent an empty body".to_owned())),
            ("RFC822.SIZE 0 ", Ok((4, vec![]))),
        ] {
            let (mut session, _) =
                client.inbox("UIDPLUS", but("UID FETCH", format!("* 1 FETCH (UID 4 {size}BODY[] {body})\r\n@ OK\r\n"))).await.unwrap();
            assert_eq!(fetch(&mut session, &[4]).await.unwrap(), [wanted], "{body} {size}");
        }
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
    assert!(error.server.as_deref().is_some_and(|said| said.contains("REFERRAL")) && heard(&said).len() == 3, "{error} {:?}", heard(&said));
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
    let (mut session, _) = client.inbox("UIDPLUS", but("UID SEARCH", format!("{alerts}* SEARCH 4\r\n@ OK [ALERT] done\r\n"))).await.unwrap();
    assert_eq!(session.list(want()).await.unwrap().messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn quirk_gmail_and_domino_need_nothing() {
    // Extensions that nobody uses are offered and not touched; bodies are asked for whole.
    let client = client(server(), None);
    let (mut session, said) = client.inbox("UIDPLUS X-GM-EXT-1 QRESYNC CONDSTORE UTF8=ACCEPT ENABLE", usual).await.unwrap();
    session.list(want()).await.unwrap();
    fetch(&mut session, &[4, 6, 9]).await.unwrap();
    assert_eq!(heard(&said), ["UID SEARCH UID 1:*", "UID FETCH 4,6,9 (UID RFC822.SIZE BODY.PEEK[])"]);
}
