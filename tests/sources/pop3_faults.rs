//! What servers do wrong, by the rows of the list of faults: nothing is lost, nothing is deleted that was not collected, the others go on.

use crate::pop3_kit::*;
use mailgather::mail::uidset::digest;
use mailgather::mail::{Epoch, FolderName, RemoteUid, by_content};
use mailgather::net::Channel;
use mailgather::source::{Disposal, Fetched, Listing, Retry, Session, Source, SourceError, SourceErrorKind as Kind, Want, Wanted};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const A: (&[u8], &[u8]) = (b"id-a", b"Subject: a\r\n\r\na\r\n");
const B: (&[u8], &[u8]) = (b"id-b", b"Subject: b\r\n\r\nb\r\n");
const C: (&[u8], &[u8]) = (b"id-c", b"Subject: c\r\n\r\nc\r\n");

fn texts(done: &Done) -> Vec<&[u8]> {
    let mut texts: Vec<&[u8]> = done.messages.iter().map(|(_, text)| text.as_slice()).collect();
    texts.sort_unstable();
    texts
}

/// Whatever the server calls its messages: all are collected, once each, and deleted.
#[tokio::test]
async fn f32_no_uidl_is_too_strange_to_be_collected() {
    let long = [b'x'; 71];
    let longer = vec![b'y'; 1024];
    let longest = vec![b'z'; 1 << 20];
    let ids: [&[u8]; 14] = [
        &long,
        &longer,
        &longest,
        b"two words",
        "уид".as_bytes(),
        b"\xff\xfe",
        b"../../../etc/passwd",
        b"'; DROP TABLE kept; --",
        b"a\0b",
        b"`reboot`",
        b"$(reboot)\x1b[2J",
        b"",
        b"3",
        b"\x005",
    ];
    let letters: Vec<Vec<u8>> = (0..ids.len()).map(|n| format!("Subject: {n}\r\n\r\n{n}\r\n").into_bytes()).collect();
    let messages: Vec<(&[u8], &[u8])> = ids.iter().zip(&letters).map(|(id, text)| (*id, text.as_slice())).collect();
    for pipelining in [true, false] {
        let mut fake = Fake::with(&messages);
        fake.pipelining = pipelining;
        let mailbox = fake.messages.clone();
        let (result, done, _) = all(fake).await;
        result.unwrap();
        let mut expect: Vec<&[u8]> = letters.iter().map(Vec::as_slice).collect();
        expect.sort_unstable();
        assert_eq!(texts(&done), expect);
        assert_eq!((done.deleted.len(), done.missing.len(), mailbox.lock().unwrap().len()), (ids.len(), 0, 0));
    }
}

#[tokio::test]
async fn f32_without_a_usable_id_a_message_is_known_by_its_content() {
    let source = source_of(server(), None);
    let fake = Fake::with(&[A, (b"", B.1), (b"", C.1)]);
    let first = names(&list(&source, &fake, want()).await.unwrap());
    assert_eq!(first[0], uid(b"id-a"));
    assert!(first[1..].iter().all(by_content::is_name) && first[1] != first[2]);
    // The order changes, one more comes, the server touches what it keeps in the message: only the new one is listed.
    let touched = [b"Status: RO\r\n".as_slice(), B.1].concat();
    let fake = Fake::with(&[(b"", b"Subject: new\r\n\r\n"), (b"", C.1), A, (b"", &touched)]);
    let listing = list(&source, &fake, Want { known: known(&first), ..want() }).await.unwrap();
    assert_eq!(listing.messages.len(), 1);
    let present = listing.present.expect("the listing is complete");
    assert!(first.iter().all(|uid| present.contains(uid)));
    // One that is gone is told to be gone.
    let fake = Fake::with(&[(b"", C.1), A]);
    let listing = list(&source, &fake, Want { known: known(&first), also: vec![first[1].clone()], ..want() }).await.unwrap();
    assert_eq!(listing.vanished, [first[1].clone()]);
    assert!(!listing.present.unwrap().contains(&first[1]));
}

#[tokio::test]
async fn f32_messages_that_share_an_id_are_told_apart_by_their_content() {
    let source = source_of(server(), None);
    let (a2, a3): ((&[u8], &[u8]), (&[u8], &[u8])) = ((b"id-a", B.1), (b"id-a", C.1));
    let first = names(&list(&source, &Fake::with(&[A, a2, (b"id-d", b"D: d\r\n\r\n")]), want()).await.unwrap());
    assert_eq!(first.len(), 3);
    assert!(by_content::shared_id(&first[0]) == Some(digest(b"id-a")) && by_content::shared_id(&first[1]) == by_content::shared_id(&first[0]));
    assert_eq!(first[2], uid(b"id-d"));
    // One of them alone is still known, and so is the other; a third one with the id is not.
    for (there, expect) in [(vec![A], 0), (vec![a2], 0), (vec![a3], 1), (vec![a2, a3, A], 1), (vec![A, A], 1)] {
        let listing = list(&source, &Fake::with(&there), Want { known: known(&first), ..want() }).await.unwrap();
        assert_eq!(listing.messages.len(), expect, "{there:?}");
    }
    // Only what is meant is deleted.
    let fake = Fake::with(&[A, a2, a3]);
    let (mailbox, (channel, _)) = (fake.messages.clone(), fake.run());
    let mut session = source.open_over(channel).await.unwrap();
    let listing = session.list(Want { known: known(&first), also: vec![first[1].clone()], ..want() }).await.unwrap();
    assert_eq!(listing.messages.len(), 2);
    session.dispose(&[first[1].clone()], Disposal::Delete).await.unwrap();
    assert_eq!(session.close().await.unwrap(), [first[1].clone()]);
    assert_eq!(*mailbox.lock().unwrap(), [(A.0.to_vec(), A.1.to_vec()), (a3.0.to_vec(), a3.1.to_vec())]);
}

#[tokio::test]
async fn f32_copies_that_differ_in_trace_fields_alone_are_two_messages() {
    let one = b"Delivered-To: anna@example.org\r\nMessage-ID: <1@x>\r\n\r\nletter\r\n";
    let two = b"Delivered-To: boris@example.org\r\nMessage-ID: <1@x>\r\n\r\nletter\r\n";
    let source = source_of(server(), None);
    let first = names(&list(&source, &Fake::with(&[(b"", one)]), want()).await.unwrap());
    let listing = list(&source, &Fake::with(&[(b"", two)]), Want { known: known(&first), ..want() }).await.unwrap();
    assert_eq!(listing.messages.len(), 1);
}

fn without_uidl(messages: &[(&[u8], &[u8])]) -> Fake {
    let fake = Fake::with(messages).answering("UIDL", "-ERR unknown command\r\n");
    fake.answering("CAPA", "-ERR unknown command\r\n")
}

#[tokio::test]
async fn f32_a_server_without_uidl_is_collected_from_by_content_where_that_is_allowed() {
    let (result, done, heard) = all(without_uidl(&[A, B])).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, Kind::Mailbox);
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("keep_without_uidl")), "{error:?}");
    assert!(done.messages.is_empty() && !heard.text().contains("RETR"));

    let source = source_of(server(), None).by_content(true);
    let fake = without_uidl(&[A, B]);
    let first = names(&list(&source, &fake, want()).await.unwrap());
    assert!(first.len() == 2 && first.iter().all(by_content::is_name));
    // Numbers mean nothing: the first one is gone, a new one came.
    let fake = without_uidl(&[B, C]);
    let mailbox = fake.messages.clone();
    let (channel, _) = fake.run();
    let mut session = source.open_over(channel).await.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    let listing = session.list(Want { known: known(&first), also: vec![first[0].clone()], sizes: true, ..want() }).await.unwrap();
    assert_eq!((listing.messages.len(), listing.vanished.as_slice()), (1, &first[..1]));
    let new = names(&listing);
    session
        .fetch(vec![Wanted { uid: new[0].clone(), generation: 0, size: None }, Wanted { uid: first[0].clone(), generation: 0, size: None }])
        .await
        .unwrap();
    let mut fetched = Vec::new();
    while let Some(one) = session.next_message().await.unwrap() {
        fetched.push(one);
    }
    assert!(matches!(&fetched[..], [Fetched::Missing { uid, .. }, Fetched::Message(message)] if *uid == first[0] && message.key.uid == new[0]));
    session.dispose(&[first[1].clone()], Disposal::Delete).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(*mailbox.lock().unwrap(), [(C.0.to_vec(), C.1.to_vec())]);
}

/// A UIDL that fails once must not bring everything a second time.
#[tokio::test]
async fn f32_uidl_that_fails_today_is_no_server_without_uidl() {
    let source = source_of(server(), None).by_content(true);
    for (fake, known_before) in [
        (Fake::with(&[A]).answering("UIDL", "-ERR internal error\r\n"), vec![]),
        (without_uidl(&[A]), vec![uid(b"id-a")]),
        (without_uidl(&[A]).answering("UIDL", "-ERR [SYS/TEMP] later\r\n"), vec![uid(b"id-a")]),
    ] {
        let error = list(&source, &fake, Want { known: known(&known_before), ..want() }).await.unwrap_err();
        assert!(matches!(error.kind, Kind::Mailbox | Kind::Throttled), "{error:?}");
        assert!(list(&source, &fake, Want { also: known_before, ..want() }).await.is_err());
    }
}

#[tokio::test]
async fn f32_many_messages_without_ids_are_read_in_each_pass_only_where_that_is_allowed() {
    let letters: Vec<Vec<u8>> = (0..101).map(|n| format!("Subject: {n}\r\n\r\n{n}\r\n").into_bytes()).collect();
    let mut messages: Vec<(&[u8], &[u8])> = letters.iter().map(|text| (&b"same"[..], text.as_slice())).collect();
    messages.push(B);
    let (result, done, _) = all(Fake::with(&messages)).await;
    result.unwrap();
    assert_eq!((texts(&done), done.missing.len()), (vec![B.1], 101));
    assert!(done.missing[0].1.contains("UIDL"));
    let source = source_of(server(), None).by_content(true);
    let listing = list(&source, &Fake::with(&messages), want()).await.unwrap();
    assert!(listing.messages.len() == 102 && listing.present.is_some());
    // A limit cuts that listing too, and the next one goes on behind it.
    let (mut seen, mut rounds) = (Vec::new(), 0);
    loop {
        let listing = list(&source, &Fake::with(&messages), Want { known: known(&seen), limit: 30, ..want() }).await.unwrap();
        assert!(listing.messages.len() <= 30 && listing.more == (seen.len() + 30 < 102), "{} {}", seen.len(), listing.messages.len());
        assert!(!listing.more || listing.vanished.is_empty());
        seen.extend(names(&listing));
        rounds += 1;
        if !listing.more {
            break;
        }
    }
    assert_eq!((seen.len(), rounds), (102, 4));
}

#[tokio::test]
async fn f32_an_order_that_changes_makes_no_difference() {
    let source = source_of(server(), None);
    let shuffled = "+OK\r\n3 id-c\r\n1 id-a\r\n2 id-b\r\n.\r\n";
    let listing = list(&source, &Fake::with(&[A, B, C]).answering("UIDL", shuffled), Want { sizes: true, ..want() }).await.unwrap();
    assert_eq!(names(&listing), [uid(b"id-a"), uid(b"id-b"), uid(b"id-c")]);
    assert!(listing.messages.iter().all(|message| message.size == Some(17)));
    let listing = list(&source, &Fake::with(&[C, A, B]), Want { known: known(&names(&listing)), ..want() }).await.unwrap();
    assert!(listing.messages.is_empty() && listing.present.is_some());
}

/// UIDL leaves a number out. While an id is missing that is known, it may be that one's; when it stays so, the message is collected.
#[tokio::test]
async fn f32_a_message_that_uidl_does_not_mention() {
    let gap = "+OK\r\n1 id-a\r\n3 id-c\r\n.\r\n";
    let source = source_of(server(), None);
    let fake = Fake::with(&[A, B, C]).answering("UIDL", gap);
    let listing = list(&source, &fake, Want { known: known(&[uid(b"id-a")]), ..want() }).await.unwrap();
    assert!(listing.messages.len() == 2 && names(&listing).iter().any(by_content::is_name) && listing.present.is_some());
    let with_b = || Want { known: known(&[uid(b"id-a"), uid(b"id-b"), uid(b"id-c")]), ..want() };
    for _ in 0..2 {
        let listing = list(&source, &fake, with_b()).await.unwrap();
        assert_eq!((names(&listing), listing.present.is_none()), (vec![uid(b"\x002")], true), "it may be id-b");
    }
    let listing = list(&source, &fake, with_b()).await.unwrap();
    assert!(names(&listing).iter().all(by_content::is_name) && listing.messages.len() == 1, "it stays so");
}

#[tokio::test]
async fn f32_ids_that_change_each_session_bring_each_message_again_and_lose_none() {
    let source = source_of(server(), None);
    let first = names(&list(&source, &Fake::with(&[A, B]), want()).await.unwrap());
    let changed = Fake::with(&[(b"x1", A.1), (b"x2", B.1)]);
    let listing = list(&source, &changed, Want { known: known(&first), ..want() }).await.unwrap();
    assert_eq!(names(&listing), [uid(b"x1"), uid(b"x2")]);
    // The caller can see it: as many messages as before, and not one of them known.
    let present = listing.present.unwrap();
    assert!(first.iter().all(|uid| !present.contains(uid)));
}

#[tokio::test]
async fn f33_numbers_that_are_none_and_damaged_listings_make_nothing_vanish() {
    let listing = "+OK\r\n-1 a\r\n0 b\r\n99999999999 c\r\n2147483648 d\r\n18446744073709551617 e\r\n1 id-a\r\n1 id-z\r\nnonsense\r\n.\r\n";
    let sizes = "+OK\r\n-1 5\r\n0 5\r\n1 -5\r\n1 99999999999999999999999\r\n4294967297 9\r\n2147483647 7\r\n2 x\r\n.\r\n";
    let source = source_of(server(), None);
    let fake = Fake::with(&[A, B]).answering("UIDL", listing).answering("LIST", sizes);
    let listing = list(&source, &fake, Want { also: vec![uid(b"id-b")], sizes: true, ..want() }).await.unwrap();
    assert_eq!(names(&listing)[0], uid(b"id-a"));
    assert!(listing.messages.iter().all(|message| message.size.is_none()));
    assert!(listing.present.is_none() && listing.vanished.is_empty(), "a damaged listing must not make anything vanish");
}

#[tokio::test]
async fn f33_one_bad_message_is_reported_and_the_others_go_on() {
    let empty: (&[u8], &[u8]) = (b"id-e", b"");
    let dots: (&[u8], &[u8]) = (b"id-d", b"..\r\n");
    for pipelining in [true, false] {
        let mut fake = Fake::with(&[A, B, empty, C, (b"id-f", B.1), dots, (b"id-g", A.1)]);
        fake.pipelining = pipelining;
        // Refused; announced and not sent; without any size and not sent; gone between LIST and RETR.
        let fake = fake.answering("RETR 2", "-ERR it is broken\r\n").answering("RETR 5", "+OK 500 octets\r\n.\r\n");
        let fake = fake.answering("RETR 7", "+OK\r\n.\r\n");
        let (result, done, _) = all(fake).await;
        result.unwrap();
        let expect = [(uid(b"id-a"), A.1.to_vec()), (uid(b"id-e"), vec![]), (uid(b"id-c"), C.1.to_vec()), (uid(b"id-d"), b".\r\n".to_vec())];
        assert_eq!(done.messages, expect);
        let reasons: Vec<(RemoteUid, &str)> = done.missing.iter().map(|(uid, reason)| (uid.clone(), reason.as_str())).collect();
        let nothing = "the server sent nothing, though it announced";
        let (f, g) = (format!("{nothing} 500 octets"), format!("{nothing} no size"));
        assert_eq!(reasons, [(uid(b"id-b"), "it is broken"), (uid(b"id-f"), f.as_str()), (uid(b"id-g"), g.as_str())]);
        assert_eq!(done.deleted, expect.map(|(uid, _)| uid));
    }
}

#[tokio::test]
async fn f33_a_listed_size_decides_nothing_but_that_something_must_come() {
    // LIST says more, less, and a lot for a message that then is empty.
    let fake = Fake::with(&[A, B, (b"id-e", b"")]).answering("LIST", "+OK\r\n1 999999\r\n2 1\r\n3 40\r\n.\r\n");
    let fake = fake.answering("RETR 3", "+OK 0 octets\r\n.\r\n");
    let (result, done, _) = all_with(fake, server(), None, Want { sizes: true, ..want() }).await;
    result.unwrap();
    assert_eq!(texts(&done), [A.1, B.1]);
    assert_eq!(done.missing, [(uid(b"id-e"), "the server sent nothing, though it announced 40 octets".to_owned())]);
}

/// Old Exchange: the last line of a message without an end, and the dot right behind it.
#[tokio::test(start_paused = true)]
async fn f33_a_dot_without_a_line_end_before_it_ends_a_message_whose_size_is_exact() {
    let text = "Subject: x\r\n\r\nno line end";
    let fake = |announced: usize| {
        let fake = Fake::with(&[A, (b"id-x", text.as_bytes()), B]).answering("RETR 2", format!("+OK {announced} octets\r\n{text}.\r\n"));
        Fake { pipelining: false, ..fake }
    };
    // Whatever the pieces are in which it is read.
    for slow in [None, Some((1, Duration::from_millis(1))), Some((2, Duration::from_millis(1)))] {
        let (result, done, _) = all(Fake { slow, ..fake(text.len()) }).await;
        result.unwrap();
        assert_eq!(done.messages[1], (uid(b"id-x"), format!("{text}\r\n").into_bytes()));
        assert_eq!((done.messages.len(), done.deleted.len()), (3, 3));
    }
    // With any other size nobody can tell the end from a stalled line: the message is not taken, and what came before it is.
    for announced in [0, text.len() - 1, text.len() + 3, 4000] {
        let (result, done, _) = all(fake(announced)).await;
        let error = result.unwrap_err();
        assert!(error.kind == Kind::Timeout && error.is_about_one_message(), "{error:?}");
        assert_eq!((done.messages.len(), done.deleted.len()), (1, 0));
    }
    // A line that is a dot, and a pause behind it, is no end; nor is the right size when the rest comes late.
    let stalled = format!("+OK {} octets\r\nSubject: x\r\n\r\n..\r\n", "Subject: x\r\n\r\n".len());
    let stalled = Fake { pipelining: false, ..Fake::with(&[A, B]).answering("RETR 2", stalled) };
    let (result, done, _) = all(stalled).await;
    assert_eq!((result.unwrap_err().kind, done.messages.len()), (Kind::Timeout, 1));
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let start = "+OK\r\n-ERR\r\n+OK\r\n+OK\r\n+OK 1 100\r\n+OK\r\n1 id-a\r\n.\r\n+OK 20 octets\r\nSubject: x\r\n\r\na line.\r\n";
        theirs.write_all(start.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        theirs.write_all(b"more\r\n.\r\n+OK\r\n+OK\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    let mut session = Some(source_of(server(), None).open_over(Channel::Memory(ours)).await.unwrap());
    let mut done = Done::default();
    collect(&mut session, want(), &mut done).await.unwrap();
    assert_eq!(done.messages[0].1, b"Subject: x\r\n\r\na line.\r\nmore\r\n");
}

#[tokio::test(start_paused = true)]
async fn f33_a_message_without_its_dot_is_never_taken_for_whole() {
    let endless = "+OK\r\nSubject: x\r\n\r\nand so on\r\n";
    let (result, done, _) = all(Fake::with(&[A, B]).answering("RETR 2", endless)).await;
    let error = result.unwrap_err();
    assert!(error.kind == Kind::Timeout && error.is_about_one_message());
    assert_eq!((texts(&done), done.deleted.len()), (vec![A.1], 0));
}

#[tokio::test]
async fn f34_the_code_of_a_refused_login_says_what_to_do() {
    let minutes = Retry::After(Duration::from_secs(900));
    for (said, delay, kind, retry, hint) in [
        ("[LOGIN-DELAY] minimum time between mail checks violation", "LOGIN-DELAY 900\r\n", Kind::Throttled, minutes, "longer `interval`"),
        ("[LOGIN-DELAY] too soon", "", Kind::Throttled, Retry::Backoff, "longer `interval`"),
        ("[IN-USE] lock busy", "", Kind::Throttled, Retry::Backoff, "ten minutes"),
        ("Unable to lock maildrop: lock busy!", "", Kind::Throttled, Retry::Backoff, "ten minutes"),
        ("[SYS/TEMP] try later", "", Kind::Throttled, Retry::Backoff, ""),
        ("[SYS/PERM] mailbox disabled", "", Kind::Mailbox, Retry::Backoff, ""),
        ("[AUTH] wrong password, account locked", "LOGIN-DELAY 900\r\n", Kind::Auth, Retry::Credentials, "unlock"),
        ("no", "", Kind::Auth, Retry::Credentials, "password"),
    ] {
        for pipelining in [true, false] {
            let mut fake = Fake::with(&[A]).answering("PASS", format!("-ERR {said}\r\n"));
            (fake.pipelining, fake.capa) = (pipelining, delay);
            let (result, _, heard) = all(fake).await;
            let error = result.unwrap_err();
            assert_eq!((error.kind, error.retry()), (kind, retry), "{said}");
            assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{error:?}");
            assert_eq!(heard.text().matches("PASS").count(), 1);
        }
    }
}

#[tokio::test]
async fn f34_the_least_interval_is_what_the_server_says() {
    let source = source_of(server(), None);
    assert_eq!(source.least_interval(), None);
    for (capa, least) in [
        ("LOGIN-DELAY 600\r\n", Some(600)),
        ("LOGIN-DELAY 900 USER\r\n", Some(900)),
        ("LOGIN-DELAY 0\r\n", None),
        ("LOGIN-DELAY 4294967295\r\n", Some(24 * 3600)),
        ("LOGIN-DELAY soon\r\n", None),
        ("", None),
    ] {
        list(&source, &Fake { capa, ..Fake::with(&[A]) }, want()).await.unwrap();
        assert_eq!(source.least_interval(), least.map(Duration::from_secs), "{capa}");
    }
}

#[tokio::test]
async fn f52_a_server_with_too_many_sessions_is_no_refused_login() {
    for greeting in ["-ERR [IN-USE] too many sessions", "-ERR too many connections from your IP", "-ERR [SYS/TEMP] overloaded"] {
        let (result, _, heard) = all(Fake::default().answering("", format!("{greeting}\r\n"))).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.stage), (Kind::Throttled, "greeting"));
        assert_eq!(heard.text(), "");
    }
}

/// CAPA ends the connection, or is refused and the connection ends then: the work is done without it, and it is never asked again.
#[tokio::test]
async fn p20_capa_that_breaks_the_connection_is_left_out() {
    let hangs_up = Fake { close_at: Some("CAPA"), pipelining: false, ..Fake::with(&[A]) };
    let refuses = Fake { close_at: Some("USER"), ..hangs_up.clone() }.answering("CAPA", "-ERR what?\r\n");
    let garbage = Fake { close_at: None, ..hangs_up.clone() }.answering("CAPA", "what?\r\n");
    let works = Fake { close_at: Some("CAPA"), ..Fake::with(&[A]) };
    for broken in [hangs_up, refuses, garbage] {
        let (port, heard) = Fake::listen(vec![broken, works.clone()]).await;
        let source = source_at(port);
        let mut done = Done::default();
        whole(&source, &mut done).await.unwrap();
        assert_eq!(texts(&done), [A.1]);
        works.messages.lock().unwrap().push((A.0.to_vec(), A.1.to_vec()));
        whole(&source, &mut done).await.unwrap();
        let heard: Vec<bool> = heard.lock().unwrap().iter().map(|one| one.text().contains("CAPA")).collect();
        assert_eq!(heard, [true, false, false]);
        works.messages.lock().unwrap().push((A.0.to_vec(), A.1.to_vec()));
    }
    // A line that broke by chance proves nothing: the second try breaks too.
    let (port, heard) =
        Fake::listen(vec![Fake { cut: Some(15), ..Fake::with(&[A]) }, Fake { cut: Some(5), ..Fake::with(&[A]) }, Fake::with(&[A])]).await;
    let source = source_at(port);
    assert_eq!(whole(&source, &mut Done::default()).await.unwrap_err().kind, Kind::Closed);
    whole(&source, &mut Done::default()).await.unwrap();
    assert!(heard.lock().unwrap()[2].text().contains("CAPA"));
    // Once a password went out there is no second try.
    let (port, heard) = Fake::listen(vec![Fake { close_at: Some("PASS"), ..Fake::with(&[A]) }.answering("CAPA", "-ERR\r\n")]).await;
    assert_eq!(whole(&source_at(port), &mut Done::default()).await.unwrap_err().kind, Kind::Closed);
    assert_eq!(heard.lock().unwrap().len(), 1);
}

fn dated(received: &str, date: &str) -> Vec<u8> {
    let received = if received.is_empty() { String::new() } else { format!("Received: from a by b;\r\n\t{received}\r\n") };
    format!("{received}Date: {date}\r\nSubject: x\r\n\r\ntext\r\n").into_bytes()
}

/// `since` is answered by the headers that TOP shows, in a few round trips and without RETR.
#[tokio::test]
async fn c7_since_is_decided_by_the_topmost_received_field() {
    let (old, new) = ("Thu, 01 Jan 2026 00:00:00 +0000", "Sun, 01 Nov 2026 00:00:00 +0000");
    let since = "2026-06-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
    let letters = [dated(old, new), dated(new, old), dated("", old), dated("", new), b"Subject: undated\r\n\r\n".to_vec(), dated(old, old)];
    let ids = [b"1", b"2", b"3", b"4", b"5", b"6"];
    let messages: Vec<(&[u8], &[u8])> = ids.iter().zip(&letters).map(|(id, text)| (id.as_slice(), text.as_slice())).collect();
    let since = |also: &[RemoteUid]| Want { since: Some(since), also: also.to_vec(), ..want() };
    let source = source_of(server(), None);
    for pipelining in [true, false] {
        let fake = Fake { capa: "TOP\r\n", pipelining, ..Fake::with(&messages) };
        let listing = list(&source, &fake, since(&[uid(b"6")])).await.unwrap();
        assert_eq!(names(&listing), [b"2", b"4", b"5", b"6"].map(|id| uid(id)), "and 6, because it is due");
        assert_eq!(listing.older, [uid(b"1"), uid(b"3")]);
        assert!(listing.present.is_some());
        let (channel, heard) = fake.run();
        source.open_over(channel).await.unwrap().list(since(&[])).await.unwrap();
        assert!(heard.text().matches("TOP ").count() == 6 && !heard.text().contains("RETR"));
    }
    // Without TOP the date is seen when the message is here.
    for fake in [Fake::with(&messages), Fake { capa: "TOP\r\n", ..Fake::with(&messages) }.answering("TOP", "-ERR what?\r\n")] {
        let listing = list(&source, &fake, since(&[])).await.unwrap();
        assert_eq!((listing.messages.len(), listing.older.len()), (6, 0));
    }
    // One whose header is refused alone is listed.
    let fake = Fake { capa: "TOP\r\n", ..Fake::with(&messages) }.answering("TOP 1", "-ERR gone\r\n");
    let listing = list(&source, &fake, since(&[])).await.unwrap();
    assert_eq!((listing.messages.len(), listing.older.len()), (4, 2));
    // Where messages are read to be named, their headers are there already.
    let source = source_of(server(), None).by_content(true);
    let listing = list(&source, &without_uidl(&messages), since(&[])).await.unwrap();
    assert_eq!((listing.messages.len(), listing.older.len()), (3, 3));
}

#[tokio::test]
async fn f30_nothing_counts_as_deleted_before_the_answer_to_quit() {
    for quit in [Quit::Refused, Quit::CutBefore, Quit::CutAfter] {
        let mut fake = Fake::with(&[A, B]);
        fake.quit = quit;
        let (result, done, _) = all(fake).await;
        let kind = if quit == Quit::Refused { Kind::Mailbox } else { Kind::Closed };
        assert_eq!((result.unwrap_err().kind, done.deleted.len()), (kind, 0), "{quit:?}");
    }
    // An answer that is no word to believe: the next listing shows what is still there.
    let mut fake = Fake::with(&[A, B]);
    fake.quit = Quit::Untrue;
    let source = source_of(server(), None);
    let (result, done, _) = all(fake.clone()).await;
    result.unwrap();
    assert_eq!(done.deleted.len(), 2);
    let listing = list(&source, &fake, Want { also: done.deleted.clone(), known: known(&done.deleted), ..want() }).await.unwrap();
    assert_eq!((names(&listing), listing.vanished.len()), (done.deleted, 0));
}

/// What a session that was cut off yields, whatever the way in which it ended.
async fn cut_off(fake: Fake) -> (usize, bool) {
    let (port, _) = Fake::listen(vec![fake]).await;
    let (source, mut done) = (source_at(port), Done::default());
    let session = tokio::time::timeout(Duration::from_secs(30), source_session(&source)).await.expect("it hangs");
    let result = match session {
        Ok(session) => collect(&mut Some(session), want(), &mut done).await,
        Err(error) => Err(error),
    };
    for (id, text) in &done.messages {
        assert_eq!(text, if *id == uid(b"id-a") { A.1 } else { B.1 }, "a part of a message was taken for a whole one");
    }
    if let Err(error) = &result {
        assert!(matches!(error.kind, Kind::Closed | Kind::Connect), "{error:?}");
        assert!(done.deleted.is_empty());
    }
    (done.messages.len(), result.is_ok())
}

async fn source_session(source: &impl Source) -> Result<Box<dyn Session>, SourceError> {
    source.open().await
}

#[tokio::test]
async fn f22_f28_closed_or_reset_at_every_octet_of_a_dialogue() {
    let (result, _, heard) = all(Fake::with(&[A, B])).await;
    result.unwrap();
    let length = heard.sent();
    let mut most = 0;
    for reset in [false, true] {
        for cut in 1..length {
            let (messages, fine) = cut_off(Fake { cut: Some(cut), reset, ..Fake::with(&[A, B]) }).await;
            assert!(!fine, "cut at {cut} of {length}");
            most = most.max(messages);
        }
    }
    assert_eq!(most, 2, "what was whole before the cut is collected");
}

/// An octet a second, at each step: the whole answer has a limit, not only the wait for the next octet.
#[tokio::test(start_paused = true)]
async fn f26_a_slow_answer_comes_to_an_end_at_each_step() {
    for (step, octets) in [("", 5000), ("CAPA", 5000), ("USER", 5000), ("STAT", 5000), ("UIDL", 5000), ("RETR", 5000), ("QUIT", 5000)] {
        let begun = tokio::time::Instant::now();
        let mut fake = Fake { pipelining: false, slow: None, ..Fake::with(&[A]) }.answering(step, [b"+OK ".as_slice(), &vec![b'x'; octets]].concat());
        fake.slow = Some((1, Duration::from_secs(1)));
        // Everything else is slow too, but short.
        let (result, done, _) = all(fake).await;
        assert_eq!(result.unwrap_err().kind, Kind::Timeout, "{step}");
        assert!(done.deleted.is_empty() && begun.elapsed() < Duration::from_secs(600), "{step}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn f27_a_black_hole_at_each_step_comes_to_an_end() {
    for step in ["", "CAPA", "USER", "PASS", "STAT", "UIDL", "LIST", "RETR", "DELE", "QUIT"] {
        let fake = Fake { pipelining: false, ..Fake::with(&[A]).answering(step, "") };
        let begun = tokio::time::Instant::now();
        let (result, done, _) = all_with(fake, server(), None, Want { sizes: true, ..want() }).await;
        assert_eq!(result.unwrap_err().kind, if step == "QUIT" { Kind::Closed } else { Kind::Timeout }, "{step}");
        assert!(done.deleted.is_empty() && begun.elapsed() <= Duration::from_secs(21), "{step}");
    }
    // In the middle of a message, too.
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    theirs.write_all(b"+OK\r\n-ERR\r\n+OK\r\n+OK\r\n+OK 1 100\r\n+OK\r\n1 id-a\r\n.\r\n+OK 100 octets\r\nSubject: x\r\n").await.unwrap();
    let mut session = source_of(server(), None).open_over(Channel::Memory(ours)).await.unwrap();
    assert_eq!(session.select(&FolderName::inbox()).await.unwrap().epoch, Epoch(0));
    let Listing { messages, .. } = session.list(want()).await.unwrap();
    session.fetch(vec![Wanted { uid: messages[0].uid.clone(), generation: 0, size: None }]).await.unwrap();
    assert_eq!(session.next_message().await.unwrap_err().kind, Kind::Timeout);
    drop(theirs);
}
