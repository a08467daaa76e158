//! What a server, and what stands in front of it, can do wrong (faults 65 and 67).

use crate::kit::{Setup, fetch, known, uid, want, wanted};
use crate::support::Ews;
use crate::support::ews::{Fault, Judge, Login};
use mailgather::config::AuthMethod;
use mailgather::mail::FolderName;
use mailgather::net::Tracer;
use mailgather::source::{Disposal, Retry, Source, SourceError, SourceErrorKind, Want};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn filled(count: usize) -> (Ews, Vec<String>) {
    let server = Ews::start();
    let ids = (1..=count).map(|number| server.put("INBOX", format!("Subject: {number}\r\n\r\nbody\r\n").as_bytes())).collect();
    (server, ids)
}

async fn open(server: &Ews) -> SourceError {
    Setup::of(server).open().await.map(drop).expect_err("it opens")
}

#[tokio::test]
async fn f65_who_is_busy_is_left_alone_as_long_as_it_says() {
    for (fault, seconds) in [
        (Fault::Soap("ErrorServerBusy", Some(120_000)), Some(120)),
        (Fault::Soap("ErrorServerBusy", None), None),
        (Fault::Each("ErrorServerBusy", Some(5_000)), Some(5)),
        (Fault::Each("ErrorMailboxMoveInProgress", None), Some(300)),
        (Fault::Each("ErrorTooManyObjectsOpened", None), None),
        (Fault::Status(503, vec![("retry-after", "77".into())]), Some(77)),
        (Fault::Status(503, vec![("retry-after", "Fri, 31 Dec 2032 23:59:59 GMT".into())]), Some(3600)),
        (Fault::Status(429, vec![("retry-after", "99999999999".into())]), Some(3600)),
        (Fault::Status(502, Vec::new()), None),
    ] {
        let (server, all) = filled(3);
        for operation in ["GetFolder", "SyncFolderItems", "GetItem", "UpdateItem"] {
            // Whether it is only one message that it has no time for shows when it is asked again.
            let times = if operation == "GetItem" { 9 } else { 1 };
            server.trouble(operation, usize::from(operation == "GetFolder") * 2, times, fault.clone());
        }
        let told = |error: SourceError| (error.kind, error.retry_after.map(|wait| wait.as_secs()), error.stage);
        let mut session = Setup::of(&server).session("INBOX").await;
        let error = session.list(want()).await.unwrap_err();
        assert_eq!(told(error.clone()), (SourceErrorKind::Throttled, seconds, "list"), "{fault:?}: {error:?}");
        if let Some(seconds) = seconds {
            assert_eq!(error.retry(), Retry::After(Duration::from_secs(seconds)));
        }
        let mut session = Setup::of(&server).open().await.map(drop);
        assert_eq!(told(session.expect_err("busy")), (SourceErrorKind::Throttled, seconds, "login"), "{fault:?}");
        let mut opened = Setup::of(&server).session("INBOX").await;
        let error = fetch(&mut *opened, wanted(&all)).await.unwrap_err();
        assert_eq!(told(error), (SourceErrorKind::Throttled, seconds, "fetch"), "{fault:?}");
        let mut opened = Setup::of(&server).session("INBOX").await;
        let error = opened.dispose(&[uid(&all[0])], Disposal::MarkSeen).await.unwrap_err();
        assert_eq!(told(error), (SourceErrorKind::Throttled, seconds, "dispose"), "{fault:?}");
        session = Ok(());
        let _ = session;
    }
}

#[tokio::test]
async fn f65_a_login_that_is_refused_is_tried_once() {
    let (server, _) = filled(1);
    let mut setup = Setup::of(&server);
    setup.password = "wrong".into();
    let error = setup.open().await.map(drop).unwrap_err();
    assert_eq!((error.kind, error.retry()), (SourceErrorKind::Auth, Retry::Credentials), "{error:?}");
    assert_eq!(server.web().requests().len(), 1);
    // A server that lets in and then forgets who we are.
    server.trouble("SyncFolderItems", 0, 9, Fault::Status(401, vec![("www-authenticate", "Basic realm=\"x\"".into())]));
    let mut session = Setup::of(&server).session("INBOX").await;
    let before = server.web().requests().len();
    assert_eq!(session.list(want()).await.unwrap_err().kind, SourceErrorKind::Auth);
    assert_eq!(server.web().requests().len(), before + 1);
}

#[tokio::test]
async fn f65_forms_to_log_in_and_other_pages_get_a_hint() {
    for (fault, kind, hint) in [
        (Fault::Status(302, vec![("location", "https://sso.corp.example/adfs/ls?ticket=12345".into())]), SourceErrorKind::Protocol, "ADFS"),
        (Fault::Status(440, Vec::new()), SourceErrorKind::Protocol, "/EWS/Exchange.asmx"),
        (Fault::Status(403, Vec::new()), SourceErrorKind::Auth, "EwsEnabled"),
        (Fault::Status(404, Vec::new()), SourceErrorKind::Protocol, "check `url`"),
        (Fault::Document("<!DOCTYPE html><html><body>Outlook</body></html>".into()), SourceErrorKind::Protocol, "web page"),
        (Fault::Document("<html><body>Outlook</body></html>".into()), SourceErrorKind::Protocol, "web page"),
        (Fault::Soap("ErrorNonExistentMailbox", None), SourceErrorKind::Mailbox, "primary address"),
    ] {
        let (server, _) = filled(1);
        server.trouble("*", 0, 1, fault.clone());
        let error = open(&server).await;
        assert_eq!(error.kind, kind, "{fault:?}: {error:?}");
        assert!(error.hint.as_deref().is_some_and(|said| said.contains(hint)), "{fault:?}: {error:?}");
        assert!(!error.to_string().contains("12345"), "{error}");
    }
}

#[tokio::test]
async fn f65_no_entity_is_expanded() {
    let lol = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><s:Envelope xmlns:s=\"x\"><s:Body>&b;</s:Body></s:Envelope>";
    let xxe =
        "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY f SYSTEM \"file:///etc/passwd\">]><s:Envelope xmlns:s=\"x\"><s:Body>&f;</s:Body></s:Envelope>";
    let bare = "<s:Envelope xmlns:s=\"x\"><s:Body>&f;</s:Body></s:Envelope>";
    for document in [lol, xxe, bare] {
        let (server, all) = filled(1);
        server.trouble("GetItem", 0, 1, Fault::Document(document.into()));
        let mut session = Setup::of(&server).session("INBOX").await;
        let error = fetch(&mut *session, wanted(&all)).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Protocol);
        assert!(error.text.contains("refused"), "{error}");
        assert!(session.list(want()).await.is_err(), "after an error the session is used no more");
    }
}

/// An answer that is cut yields what was whole by then, and an error; by whatever it is cut.
#[tokio::test]
async fn f65_an_answer_that_is_cut_yields_whole_messages_only() {
    let (server, all) = filled(4);
    for cut in (0..4_000).step_by(130) {
        for fault in [Fault::Cut(cut), Fault::Short(cut)] {
            let mut session = Setup::of(&server).session("INBOX").await;
            server.trouble("GetItem", 0, 1, fault.clone());
            session.fetch(wanted(&all)).await.unwrap();
            let mut whole = 0;
            let error = loop {
                match session.next_message().await {
                    Ok(Some(mailgather::source::Fetched::Message(message))) => {
                        whole += 1;
                        assert_eq!(message.content.len(), format!("Subject: {whole}\r\n\r\nbody\r\n").len() as u64);
                    }
                    Ok(Some(other)) => panic!("{fault:?}: {other:?}"),
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            match error {
                Some(error) => assert_eq!(error.kind, SourceErrorKind::Closed, "{fault:?}: {error}"),
                None => assert_eq!(whole, 4, "{fault:?}"),
            }
        }
    }
}

#[tokio::test]
async fn f65_silence_has_an_end_and_a_closed_connection_is_made_anew() {
    let (server, all) = filled(2);
    let mut setup = Setup::of(&server);
    setup.server.idle_timeout = Some(Duration::from_millis(300));
    let mut session = setup.session("INBOX").await;
    server.trouble("SyncFolderItems", 0, 1, Fault::Late(Duration::from_secs(20)));
    let begun = Instant::now();
    assert_eq!(session.list(want()).await.unwrap_err().kind, SourceErrorKind::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(5));
    // Closed between two requests, as servers do with those that were silent for long.
    let mut session = Setup::of(&server).session("INBOX").await;
    server.trouble("GetItem", 0, 1, Fault::HangUp);
    let before = server.web().connections();
    assert_eq!(fetch(&mut *session, wanted(&all)).await.unwrap().len(), 2);
    assert_eq!(server.web().connections(), before + 1);
    // One that does so each time is not asked for ever.
    server.trouble("UpdateItem", 0, 9, Fault::HangUp);
    let error = session.dispose(&[uid(&all[0])], Disposal::MarkSeen).await.unwrap_err();
    assert_eq!((error.kind, server.count("UpdateItem")), (SourceErrorKind::Closed, 2));
}

#[tokio::test]
async fn f65_lists_without_an_end_end() {
    let (server, _) = filled(1);
    let stuck = |inside: &str, operation: &str| {
        format!(
            "<s:Envelope xmlns:s=\"s\" xmlns:m=\"m\" xmlns:t=\"t\"><s:Body><m:R><m:ResponseMessages><m:{operation}ResponseMessage ResponseClass=\"Success\">\
             <m:ResponseCode>NoError</m:ResponseCode>{inside}</m:{operation}ResponseMessage></m:ResponseMessages></m:R></s:Body></s:Envelope>"
        )
    };
    let sync = stuck("<m:SyncState>same</m:SyncState><m:IncludesLastItemInRange>false</m:IncludesLastItemInRange>", "SyncFolderItems");
    let find = stuck("<m:RootFolder IndexedPagingOffset=\"0\" IncludesLastItemInRange=\"false\"/>", "FindItem");
    server.trouble("SyncFolderItems", 0, usize::MAX, Fault::Document(sync));
    server.trouble("FindItem", 0, usize::MAX, Fault::Document(find));
    let setup = Setup::of(&server);
    for asked in [want(), Want { unseen: true, ..want() }] {
        let error = setup.session("INBOX").await.list(asked).await.unwrap_err();
        assert!(error.text.contains("no end"), "{error}");
    }
    assert!(server.count("SyncFolderItems") <= 3);
}

/// An answer that has no list in it is no empty list.
#[tokio::test]
async fn f65_an_answer_without_its_list_is_none() {
    let (server, _) = filled(2);
    let empty = "<s:Envelope xmlns:s=\"x\"><s:Body/></s:Envelope>".to_owned();
    let success = |operation: &str| {
        format!(
            "<s:Envelope xmlns:s=\"s\" xmlns:m=\"m\"><s:Body><m:R><m:ResponseMessages><m:{operation}ResponseMessage ResponseClass=\"Success\">\
             <m:ResponseCode>NoError</m:ResponseCode></m:{operation}ResponseMessage></m:ResponseMessages></m:R></s:Body></s:Envelope>"
        )
    };
    for (operation, document) in [
        ("FindItem", empty.clone()),
        ("FindItem", success("FindItem")),
        ("FindFolder", empty.clone()),
        ("FindFolder", success("FindFolder")),
        ("SyncFolderItems", empty),
        ("SyncFolderItems", success("SyncFolderItems")),
    ] {
        let asked = async || {
            server.trouble(operation, 0, 1, Fault::Document(document.clone()));
            let mut session = Setup::of(&server).session("INBOX").await;
            match operation {
                "FindItem" => session.list(Want { unseen: true, ..want() }).await.map(drop),
                "FindFolder" => session.folders().await.map(drop),
                _ => session.list(want()).await.map(drop),
            }
        };
        assert_eq!(asked().await.unwrap_err().kind, SourceErrorKind::Protocol, "{operation}: {document}");
    }
    server.trouble("FindItem", 0, 1, Fault::Document(success("FindItem")));
    let mut session = Setup::of(&server).session("INBOX").await;
    assert_eq!(session.headers(5).await.unwrap_err().kind, SourceErrorKind::Protocol);
}

/// Another client moves, deletes and adds while we list in pages and read: nothing comes twice, nothing that stays is lost.
#[tokio::test]
async fn f67_another_client_changes_the_folder_meanwhile() {
    let (server, all) = filled(500);
    server.world(|world| {
        world.store.page_max = 50;
        world.store.folder("u@corp.example", "Elsewhere");
    });
    let setup = Setup::of(&server);
    let mut session = setup.session("INBOX").await;
    let (mut seen, mut cursor, mut lost) = (Vec::<String>::new(), None, 0);
    for round in 0..40 {
        let listing = session.list(Want { limit: 60, cursor: cursor.clone(), known: known(&seen), ..want() }).await.unwrap();
        cursor = listing.cursor.clone();
        let ids: Vec<String> = listing.messages.iter().map(|message| message.uid.to_string()).collect();
        if round < 8 {
            server.world(|world| {
                let elsewhere = world.store.folder("u@corp.example", "Elsewhere");
                world.store.move_to(&all[round * 60 + 7], &elsewhere);
                world.store.remove(&all[499 - round]);
            });
            server.put("INBOX", format!("Subject: new {round}\r\n\r\n").as_bytes());
        }
        for (id, told) in fetch(&mut *session, wanted(&ids)).await.unwrap() {
            match told.starts_with("Subject") {
                true => seen.push(id.to_string()),
                false => lost += 1,
            }
        }
        if !listing.more && round >= 8 {
            break;
        }
    }
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), seen.len(), "twice");
    let left = server.items("u@corp.example", "INBOX");
    assert!(
        left.iter().all(|item| seen.contains(&item.id)),
        "of {} {} are missing",
        left.len(),
        left.iter().filter(|item| !seen.contains(&item.id)).count()
    );
    assert!(lost <= 16, "{lost}");
    server.assert_no_violations();
}

#[tokio::test]
async fn a_token_is_a_login_too_and_nothing_of_either_shows_in_a_trace() {
    let (server, all) = filled(1);
    let lines = Arc::new(Mutex::new(Vec::<String>::new()));
    let noted = Arc::clone(&lines);
    let mut setup = Setup::of(&server);
    setup.tracer = Tracer::new("box", move |line| noted.lock().unwrap().push(line.to_owned()));
    setup.password = "hunter2-is-long".into();
    server.world(|world| world.login = Login::Basic(vec![("u@corp.example".into(), "hunter2-is-long".into())]));
    let mut session = setup.session("INBOX").await;
    assert_eq!(fetch(&mut *session, wanted(&all)).await.unwrap().len(), 1);
    server.world(|world| world.login = Login::Bearer(vec![("eyJ0b2tlbg".into(), "u@corp.example".into())]));
    setup.server.auth.method = AuthMethod::OAuth2;
    setup.password = "eyJ0b2tlbg".into();
    let mut session = setup.session("INBOX").await;
    assert_eq!(session.list(want()).await.unwrap().messages.len(), 1);
    setup.password = "another".into();
    assert_eq!(setup.open().await.map(drop).unwrap_err().kind, SourceErrorKind::Auth);
    let shown = lines.lock().unwrap().join("\n");
    assert!(
        shown.contains("POST /EWS/Exchange.asmx") && shown.contains("authorization: Basic ***") && shown.contains("authorization: Bearer ***"),
        "{shown}"
    );
    for secret in ["hunter2", "eyJ0b2tlbg", "another", "dUBjb3Jw", "U3ViamVjd", "GetItem", "Subject"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

/// A token ends in the middle of a session: the next one takes its place, and a mailbox is not put to sleep for it.
#[tokio::test]
async fn f68_a_token_that_ends_in_a_session_is_read_anew() {
    let (server, all) = filled(3);
    let takes = |token: &str| server.world(|world| world.login = Login::Bearer(vec![(token.into(), "u@corp.example".into())]));
    let asked = || (server.web().connections(), server.web().requests().len());
    let mut setup = Setup::of(&server);
    (setup.server.auth.method, setup.password) = (AuthMethod::OAuth2, "first".into());
    takes("first");
    let mut session = setup.session("INBOX").await;
    takes("second");
    *setup.later.lock().unwrap() = Some("second".into());
    let before = asked();
    assert_eq!(session.list(want()).await.unwrap().messages.len(), 3);
    assert_eq!(asked(), (before.0 + 1, before.1 + 2), "refused, and asked once more");
    assert_eq!(fetch(&mut *session, wanted(&all)).await.unwrap().len(), 3);
    // The same token once more: it would be refused again.
    takes("third");
    let before = asked();
    let error = session.dispose(&[uid(&all[0])], Disposal::MarkSeen).await.unwrap_err();
    assert_eq!((error.kind, asked()), (SourceErrorKind::Auth, (before.0, before.1 + 1)), "{error}");
    // Another one that does not work either is tried once.
    takes("second");
    let mut session = setup.session("INBOX").await;
    takes("third");
    *setup.later.lock().unwrap() = Some("fourth".into());
    let before = asked();
    assert_eq!(session.list(want()).await.unwrap_err().kind, SourceErrorKind::Auth);
    assert_eq!(asked(), (before.0 + 1, before.1 + 2));
    // One that never worked is not asked for again.
    let before = asked();
    assert_eq!(setup.open().await.map(drop).unwrap_err().kind, SourceErrorKind::Auth);
    assert_eq!(asked(), (before.0 + 1, before.1 + 1));
}

/// `auth: auto` at a server, or a proxy, that closes the connection behind its first 401: the way that was chosen is taken along.
#[tokio::test]
async fn c8_the_way_that_auto_chose_outlives_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    for is_ntlm in [false, true] {
        let (server, all) = filled(2);
        if is_ntlm {
            let judge = Judge::start(folder.path(), &["CORP:u:pw"], b"");
            server.world(|world| world.login = Login::Ntlm(judge, HashMap::new()));
        }
        server.world(|world| world.closes = true);
        let mut setup = Setup::of(&server);
        (setup.server.auth.method, setup.server.username) = (AuthMethod::Auto, "CORP\\u".into());
        let source = setup.source();
        for round in 1..=2 {
            let mut session = Source::open(&source).await.unwrap();
            session.select(&FolderName::inbox()).await.unwrap();
            assert_eq!(session.list(want()).await.unwrap().messages.len(), 2, "NTLM {is_ntlm}");
            assert_eq!(server.web().connections(), 2 * round, "NTLM {is_ntlm}");
            if round == 2 {
                // One that the server closes later is made anew, without another question about ways.
                server.trouble("UpdateItem", 0, 1, Fault::HangUp);
                session.dispose(&[uid(&all[0])], Disposal::MarkSeen).await.unwrap();
                assert_eq!(server.web().connections(), 5, "NTLM {is_ntlm}");
            }
        }
        // A wrong password is tried once, as ever.
        setup.password = "wrong".into();
        let error = setup.open().await.map(drop).unwrap_err();
        assert_eq!((error.kind, server.web().connections()), (SourceErrorKind::Auth, 7), "NTLM {is_ntlm}: {error}");
    }
}
