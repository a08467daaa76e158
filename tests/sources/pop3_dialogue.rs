//! Scripted POP3 servers: each way in which a step can fail.

use crate::pop3_kit::*;
use mailgather::config::{AuthMethod, TlsMode};
use mailgather::mail::{Epoch, FolderName, KnownUids, RemoteUid};
use mailgather::net::Channel;
use mailgather::source::{Disposal, Disposed, Fetched, Source, SourceError, SourceErrorKind as Kind, Want, Wanted};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(start_paused = true)]
async fn a_greeting_that_is_wrong_has_a_hint() {
    for (greeting, kind, hint) in [
        (&b"* OK [CAPABILITY IMAP4rev1] ready\r\n"[..], Kind::Protocol, Some("`protocol: imap`")),
        (b"HTTP/1.1 400 Bad Request\r\n", Kind::Protocol, None),
        (b"", Kind::Timeout, Some("mode: implicit")),
    ] {
        let error = all(Fake::default().answering("", greeting)).await.0.unwrap_err();
        assert_eq!((error.stage, error.kind), ("greeting", kind));
        match hint {
            Some(words) => assert!(error.hint.as_ref().is_some_and(|hint| hint.contains(words)), "{error:?}"),
            None => assert_eq!(error.hint, None),
        }
    }
}

const A: (&[u8], &[u8]) = (b"id-a", b"Subject: a\r\n\r\n..dot\r\n...\r\n.\n\r\n");
const B: (&[u8], &[u8]) = (b"id-b", b"Subject: b\r\n\r\nb\r\n");
const A_TEXT: &[u8] = b"Subject: a\r\n\r\n.dot\r\n..\r\n\r\n\r\n";

#[tokio::test]
async fn a_session_takes_few_round_trips() {
    for pipelining in [true, false] {
        let mut fake = Fake::with(&[A, B]);
        fake.pipelining = pipelining;
        let (result, done, heard) = all(fake).await;
        result.unwrap();
        let expect = vec![(uid(b"id-a"), A_TEXT.to_vec()), (uid(b"id-b"), B.1.to_vec())];
        assert_eq!(done.messages, expect);
        assert_eq!(done.deleted, [uid(b"id-a"), uid(b"id-b")]);
        let said = heard.text();
        assert_eq!(said, "CAPA\r\nUSER u1\r\nPASS pw-u1\r\nSTAT\r\nUIDL\r\nRETR 1\r\nRETR 2\r\nDELE 1\r\nDELE 2\r\nQUIT\r\n");
    }
}

#[tokio::test]
async fn cut_at_every_octet_no_message_is_partial_and_nothing_counts_as_deleted() {
    let (whole, _, heard) = all(Fake::with(&[A, B])).await;
    whole.unwrap();
    let length = heard.sent();
    for pipelining in [true, false] {
        for cut in 1..length {
            let fake = Fake { cut: Some(cut), pipelining, ..Fake::with(&[A, B]) };
            // Without PIPELINING the answer to CAPA is shorter, so the last cuts fall behind the end.
            let (result, done, _) = all(fake).await;
            for (id, text) in &done.messages {
                assert_eq!(text, if *id == uid(b"id-a") { A_TEXT } else { B.1 }, "cut at {cut}");
            }
            match result {
                Ok(()) => assert!(!pipelining && done.messages.len() == 2, "no error though cut at {cut}"),
                Err(error) => {
                    assert!(matches!(error.kind, Kind::Closed), "cut at {cut}: {error:?}");
                    assert!(done.deleted.is_empty(), "cut at {cut}");
                }
            }
        }
    }
}

#[tokio::test]
async fn refusals_have_their_kinds() {
    let table: [(&str, &[u8], Kind); 19] = [
        ("", b"-ERR too many connections\r\n", Kind::Throttled),
        ("", b"* OK IMAP ready\r\n", Kind::Protocol),
        ("", b"", Kind::Closed),
        ("USER", b"-ERR unknown user\r\n", Kind::Auth),
        ("PASS", b"-ERR [AUTH] wrong\r\n", Kind::Auth),
        ("PASS", b"-ERR wrong\r\n", Kind::Auth),
        ("PASS", b"-ERR [IN-USE] x\r\n", Kind::Throttled),
        ("PASS", b"-ERR [LOGIN-DELAY] x\r\n", Kind::Throttled),
        ("PASS", b"-ERR [SYS/TEMP] x\r\n", Kind::Throttled),
        ("PASS", b"-ERR [SYS/PERM] x\r\n", Kind::Mailbox),
        ("PASS", b"-ERR maildrop locked\r\n", Kind::Throttled),
        ("PASS", b"+ go on\r\n", Kind::Protocol),
        ("STAT", b"-ERR no\r\n", Kind::Mailbox),
        ("STAT", b"+OK lots\r\n", Kind::Protocol),
        ("UIDL", b"-ERR unknown command\r\n", Kind::Mailbox),
        ("RETR", b"what?\r\n", Kind::Protocol),
        ("DELE", b"-ERR no\r\n", Kind::Mailbox),
        ("QUIT", b"-ERR some deleted messages not removed\r\n", Kind::Mailbox),
        ("QUIT", b"", Kind::Closed),
    ];
    for (command, answer, kind) in table {
        for pipelining in [true, false] {
            let mut fake = Fake::with(&[A, B]).answering(command, answer);
            fake.pipelining = pipelining;
            if command.is_empty() && answer.is_empty() {
                fake.cut = Some(0);
            }
            let (result, done, heard) = all(fake).await;
            let error = result.expect_err(command);
            assert_eq!(error.kind, kind, "{command} {}: {error:?}", answer.escape_ascii());
            assert!(done.deleted.is_empty());
            assert!(heard.text().matches("PASS").count() <= 1, "never a second try");
            assert!(!format!("{error:?}").contains("pw-u1"));
        }
    }
}

#[tokio::test]
async fn ancient_servers_do_without_capa() {
    let (result, done, _) = all(Fake::with(&[A]).answering("CAPA", b"-ERR unknown command\r\n")).await;
    result.unwrap();
    assert_eq!(done.deleted.len(), 1);
}

#[tokio::test]
async fn no_secret_without_tls() {
    let mut starttls = server();
    starttls.tls.mode = TlsMode::StartTls;
    for answer in [&b"-ERR no TLS\r\n"[..], b"+OK begin\r\n+OK injected\r\n"] {
        let (result, _, heard) = all_with(Fake::with(&[A]).answering("STLS", answer), starttls.clone(), None, want()).await;
        assert_eq!(result.unwrap_err().kind, Kind::Tls);
        assert_eq!(heard.text(), "STLS\r\n");
    }
    // Over real TCP in the clear, nothing is said at all.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut open = server();
    open.port = listener.local_addr().unwrap().port();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"+OK hello\r\n").await.unwrap();
        let (mut said, mut block) = (String::new(), [0; 512]);
        while let Ok(octets @ 1..) = stream.read(&mut block).await {
            said.push_str(std::str::from_utf8(&block[..octets]).unwrap());
            if said.ends_with("CAPA\r\n") {
                stream.write_all(b"-ERR\r\n").await.unwrap();
            }
        }
        said
    });
    assert_eq!(source_of(open, None).open().await.err().map(|e| e.kind), Some(Kind::Tls));
    let said = peer.await.unwrap();
    assert!(!said.contains("USER") && !said.contains("PASS"), "{said}");
}

#[tokio::test]
async fn auth_plain_in_one_line_and_in_two() {
    const RESPONSE: &str = "AHUxAHB3LXUx\r\n";
    let mut plain = server();
    plain.auth.method = AuthMethod::Plain;
    let mut offered = Fake::with(&[A]);
    offered.sasl = true;
    let (result, _, heard) = all(offered.clone()).await;
    result.unwrap();
    assert!(heard.text().contains(&format!("AUTH PLAIN {RESPONSE}")) && !heard.text().contains("PASS"));
    // Not named in CAPA, so the response waits for `+`.
    let (result, _, heard) = all_with(Fake::with(&[A]).answering("AUTH PLAIN", b"+ \r\n"), plain, None, want()).await;
    result.unwrap();
    assert!(heard.text().contains(&format!("AUTH PLAIN\r\n{RESPONSE}")));
    let (result, _, heard) = all(offered.answering("AUTH", b"-ERR [AUTH] no\r\n")).await;
    assert_eq!(result.unwrap_err().kind, Kind::Auth);
    assert!(!heard.text().contains("PASS"), "never a second try");
}

#[tokio::test]
async fn a_message_above_the_limit_is_passed_over() {
    let (result, done, _) = all_with(Fake::with(&[A, B]), server(), Some(20), want()).await;
    result.unwrap();
    assert_eq!(done.too_large, [(uid(b"id-a"), A_TEXT.len() as u64 - 1)]);
    assert_eq!(done.messages.len(), 1);
}

#[tokio::test]
async fn a_refused_dele_stays_owed_alone() {
    let (result, done, _) = all(Fake::with(&[A, B]).answering("DELE 1", b"-ERR no\r\n")).await;
    result.unwrap();
    assert_eq!(done.deleted, [uid(b"id-b")]);
}

#[tokio::test]
async fn listing_knows_what_is_known_owed_and_gone() {
    let (channel, heard) = Fake::with(&[A, B, (b"id-c", B.1)]).run();
    let mut session = source_of(server(), None).open_over(channel).await.unwrap();
    let selected = session.select(&FolderName::inbox()).await.unwrap();
    assert_eq!((selected.epoch, selected.exists, selected.uid_next, selected.can_delete), (Epoch(0), 3, None, true));
    assert_eq!(session.dispose(&[uid(b"id-a")], Disposal::Keep).await.unwrap(), Disposed::Confirmed);
    let mut known = KnownUids::new();
    [b"id-a", b"id-b", b"id-x"].iter().for_each(|id| known.insert(&uid(*id)));
    let also = vec![uid(b"id-b"), uid(b"id-y")];
    let listing = session.list(Want { known, also, limit: 1, sizes: true, ..want() }).await.unwrap();
    assert_eq!(listing.messages.iter().map(|m| (m.uid.clone(), m.size)).collect::<Vec<_>>(), [(uid(b"id-b"), Some(B.1.len() as u64))]);
    assert!(listing.more);
    assert_eq!(listing.vanished, [uid(b"id-y")]);
    let present = listing.present.unwrap();
    assert!(present.contains(&uid(b"id-a")) && !present.contains(&uid(b"id-x")));
    // Any listed message can be deleted; one that is not there is passed over.
    session.dispose(&[uid(b"id-a"), uid(b"id-y")], Disposal::Delete).await.unwrap();
    assert_eq!(session.close().await.unwrap(), [uid(b"id-a")]);
    assert!(heard.text().ends_with("DELE 1\r\nQUIT\r\n"));
}

#[tokio::test]
async fn no_quit_with_messages_on_their_way() {
    let (channel, heard) = Fake::with(&[A, B]).run();
    let mut session = source_of(server(), None).open_over(channel).await.unwrap();
    let listing = session.list(want()).await.unwrap();
    session.fetch(listing.messages.into_iter().map(|m| Wanted { uid: m.uid, generation: 0, size: None }).collect()).await.unwrap();
    assert!(matches!(session.next_message().await.unwrap(), Some(Fetched::Message(_))));
    session.dispose(&[uid(b"id-a")], Disposal::Delete).await.unwrap();
    assert!(session.close().await.is_err());
    assert!(!heard.text().contains("QUIT"));
}

#[tokio::test]
async fn other_folders_and_seen_are_errors() {
    let (channel, _) = Fake::with(&[A]).run();
    let mut session = source_of(server(), None).open_over(channel).await.unwrap();
    assert_eq!(session.select(&FolderName::new("Sent")).await.unwrap_err().kind, Kind::Mailbox);
    assert_eq!(session.list(want()).await.unwrap_err().kind, Kind::Protocol, "a session is not used after an error");
    let (channel, _) = Fake::with(&[A]).run();
    let mut session = source_of(server(), None).open_over(channel).await.unwrap();
    session.list(want()).await.unwrap();
    assert_eq!(session.dispose(&[uid(b"id-a")], Disposal::MarkSeen).await.unwrap_err().kind, Kind::Mailbox);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_and_a_slow_one_come_to_an_end() {
    for command in ["", "CAPA", "USER", "PASS", "STAT", "UIDL", "RETR", "DELE", "QUIT"] {
        // One command at a time: where commands are pipelined, the next answer would stand for the missing one.
        let fake = Fake { pipelining: false, ..Fake::with(&[A]).answering(command, b"") };
        let (result, done, _) = all(fake).await;
        assert!(matches!(result.as_ref().unwrap_err().kind, Kind::Timeout | Kind::Closed), "{command}: {result:?}");
        assert!(done.deleted.is_empty());
    }
    // The message ends with bare LF: never taken for whole.
    let (result, done, _) = all(Fake::with(&[A]).answering("RETR", b"+OK\r\nA: b\n\nc\n.\n")).await;
    assert_eq!(result.unwrap_err().kind, Kind::Timeout);
    assert!(done.messages.is_empty());
    // An octet every nine seconds is inside the idle limit, and still no way to hold a session.
    let (ours, mut theirs) = tokio::io::duplex(64);
    tokio::spawn(async move {
        while theirs.write_all(b"+").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
    });
    let mut patient = server();
    patient.connect_timeout = Some(Duration::from_secs(3600));
    let slow = source_of(patient, None).open_over(Channel::Memory(ours)).await;
    assert_eq!(slow.err().map(|e| e.kind), Some(Kind::Timeout));
}

/// However long a listing is, it is asked for once, read once, and what comes back is no longer than what was wanted.
#[tokio::test]
async fn a_hundred_thousand_lines_are_listed_by_one_question() {
    let id = |n: u32| format!("{n:08x}5e5d1a2b").into_bytes();
    for count in [10_000, 100_000] {
        let mut lines = b"+OK\r\n".to_vec();
        (1..=count).for_each(|n| lines.extend([n.to_string().as_bytes(), b" ", &id(n), b"\r\n"].concat()));
        lines.extend(b".\r\n");
        let octets = lines.len();
        let stat = format!("+OK {count} 1\r\n").into_bytes();
        let (channel, heard) = Fake::with(&[]).answering("UIDL", lines).answering("STAT", stat).run();
        let mut session = source_of(server(), None).open_over(channel).await.unwrap();
        // All are known but every thousandth, and of those there are more than are wanted at once.
        let mut known = KnownUids::new();
        (1..=count).filter(|n| n % 1000 != 0).for_each(|n| known.insert(&uid(&id(n))));
        let also = vec![uid(b"gone")];
        let listing = session.list(Want { known, also, limit: 7, ..want() }).await.unwrap();
        let listed: Vec<RemoteUid> = listing.messages.into_iter().map(|message| message.uid).collect();
        assert_eq!(listed, (1..=7).map(|n| uid(&id(n * 1000))).collect::<Vec<_>>());
        assert!(listing.more);
        assert_eq!(listing.vanished, [uid(b"gone")]);
        let present = listing.present.expect("as many lines as STAT counts");
        assert!(present.contains(&uid(&id(count - 1))) && !present.contains(&uid(b"gone")));
        // The work does not depend on the count: each question came once, and each octet went over the wire once.
        assert_eq!(heard.text(), "CAPA\r\nUSER u1\r\nPASS pw-u1\r\nSTAT\r\nUIDL\r\n");
        let sent = heard.sent();
        assert!((octets..octets + 200).contains(&sent), "{sent} octets for a listing of {octets}");
        session.close().await.unwrap();
    }
}

/// Headers: of the last messages, or of one.
async fn look(fake: Fake, last: Option<usize>, id: Option<&[u8]>) -> (Result<Vec<(RemoteUid, String)>, SourceError>, Heard) {
    let (channel, heard) = fake.run();
    let looked = async {
        let mut session = source_of(server(), None).open_over(channel).await?;
        session.select(&FolderName::inbox()).await?;
        let peeked = match (last, id) {
            (Some(last), _) => session.headers(last).await?,
            (None, id) => session.header_of(&uid(id.unwrap())).await?.into_iter().collect(),
        };
        assert_eq!(session.close().await?, []);
        let first = |header: &mailgather::mail::HeaderBlock| header.fields().first().map_or(String::new(), |field| header.text(field));
        Ok(peeked.iter().map(|one| (one.uid.clone(), first(&one.header))).collect())
    };
    let result = tokio::time::timeout(Duration::from_secs(3600), looked).await.expect("the look hangs");
    (result, heard)
}

const TOP_A: &[u8] = b"+OK\r\nSubject: a\r\n\r\n.\r\n";
const TOP_B: &[u8] = b"+OK top of message follows\r\nSubject: b\r\n\r\n..text that nobody asked for\r\n.\r\n";

fn topped() -> Fake {
    Fake::with(&[A, B]).answering("TOP 1", TOP_A).answering("TOP 2", TOP_B)
}

#[tokio::test(start_paused = true)]
async fn headers_are_looked_at_by_top_and_nothing_is_retrieved() {
    let (a, b) = ((uid(b"id-a"), "a".to_owned()), (uid(b"id-b"), "b".to_owned()));
    for pipelining in [true, false] {
        for (last, id, wanted, tops) in [
            (Some(10), None, vec![a.clone(), b.clone()], "TOP 2 0\r\nTOP 1 0\r\n"),
            (Some(1), None, vec![b.clone()], "TOP 2 0\r\n"),
            (Some(0), None, vec![], ""),
            (None, Some(&b"id-a"[..]), vec![a.clone()], "TOP 1 0\r\n"),
            (None, Some(b"id-x"), vec![], ""),
        ] {
            let mut fake = topped();
            fake.pipelining = pipelining;
            let (result, heard) = look(fake, last, id).await;
            assert_eq!(result.unwrap(), wanted, "{last:?} {id:?}");
            assert_eq!(heard.text(), format!("CAPA\r\nUSER u1\r\nPASS pw-u1\r\nSTAT\r\nUIDL\r\n{tops}QUIT\r\n"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_top_is_told_from_a_message_that_is_gone() {
    let (result, heard) = look(Fake::with(&[A, B]).answering("TOP", b"-ERR unknown command\r\n"), Some(5), None).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.stage), (Kind::Mailbox, "headers"));
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("use IMAP") && hint.contains("mailgather explain FILE")), "{error:?}");
    assert_eq!(error.server.as_deref(), Some("unknown command"));
    assert!(!heard.text().contains("RETR"));

    let gone = Fake::with(&[A, B]).answering("TOP 1", b"-ERR no such message\r\n").answering("TOP 2", TOP_B);
    assert_eq!(look(gone, Some(5), None).await.0.unwrap(), [(uid(b"id-b"), "b".to_owned())]);

    let busy = Fake::with(&[A, B]).answering("TOP", b"-ERR [SYS/TEMP] later\r\n");
    assert_eq!(look(busy, Some(5), None).await.0.unwrap_err().kind, Kind::Throttled);

    let mut cut = topped();
    cut.cut = Some(150);
    assert_eq!(look(cut, Some(5), None).await.0.unwrap_err().kind, Kind::Closed);
    let silent = Fake::with(&[A, B]).answering("TOP", b"+OK\r\nSubject: endless\r\n");
    assert_eq!(look(silent, Some(5), None).await.0.unwrap_err().kind, Kind::Timeout);
}

/// Answers to DELE may still be on their way when the next listing is asked for.
#[tokio::test]
async fn a_listing_behind_deletions_is_complete() {
    for pipelining in [true, false] {
        let mut fake = Fake::with(&[A, B, (b"id-c", B.1)]);
        fake.pipelining = pipelining;
        let (channel, heard) = fake.run();
        let mut session = source_of(server(), None).open_over(channel).await.unwrap();
        session.select(&FolderName::inbox()).await.unwrap();
        session.list(want()).await.unwrap();
        session.dispose(&[uid(b"id-a"), uid(b"id-b")], Disposal::Delete).await.unwrap();
        let listing = session.list(Want { also: vec![uid(b"id-a")], ..want() }).await.unwrap();
        assert_eq!((names(&listing), listing.vanished.as_slice()), (vec![uid(b"id-c")], &[uid(b"id-a")][..]));
        assert!(listing.present.is_some() && !heard.text().contains("LIST"));
        assert_eq!(session.close().await.unwrap().len(), 2);
    }
}

/// Courier packs messages with 8-bit headers into a notice unless it is told UTF8 before the login. A refusal is no failure.
#[tokio::test]
async fn utf8_is_said_before_the_login_where_it_is_offered() {
    const CAPA: &[u8] = b"+OK\r\nUSER\r\nUIDL\r\nPIPELINING\r\nUTF8 USER\r\nIMPLEMENTATION Courier Mail Server\r\n.\r\n";
    for answer in [&b"+OK\r\n"[..], b"-ERR not now\r\n"] {
        let (result, done, heard) = all(Fake::with(&[A]).answering("CAPA", CAPA).answering("UTF8", answer)).await;
        result.unwrap();
        assert_eq!(done.messages.len(), 1);
        assert!(heard.text().starts_with("CAPA\r\nUTF8\r\nUSER u1\r\nPASS pw-u1\r\nSTAT\r\n"), "{}", heard.text());
    }
}
