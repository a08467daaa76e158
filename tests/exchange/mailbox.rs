//! What a session does with a mailbox.

use crate::kit::{Setup, fetch, known, uid, want, wanted};
use crate::support::Ews;
use crate::support::certificates::{Authority, for_names};
use crate::support::ews::{Fault, Item, Kind, Trouble};
use async_trait::async_trait;
use mailgather::config::{AuthMethod, Tls, WebPlace};
use mailgather::mail::{Domain, FolderName, Present, RemoteUid};
use mailgather::net::{ServiceHost, TlsClient, Tracer, Web, WebError, WebLimits, tcp};
use mailgather::proto::ews::Version;
use mailgather::source::{Disposal, Disposed, Fetched, Listing, Source, SourceErrorKind, Want};

const BOX: &str = "u@corp.example";

fn mime(number: usize) -> Vec<u8> {
    format!("Subject: {number}\r\nMessage-ID: <{number}@corp.example>\r\n\r\nbody {number}\r\n").into_bytes()
}

fn filled(count: usize) -> (Ews, Vec<String>) {
    let server = Ews::start();
    let ids = (1..=count).map(|number| server.put("INBOX", &mime(number))).collect();
    (server, ids)
}

fn ids(listing: &Listing) -> Vec<RemoteUid> {
    listing.messages.iter().map(|message| message.uid.clone()).collect()
}

fn uids(ids: &[String]) -> Vec<RemoteUid> {
    ids.iter().map(|id| uid(id)).collect()
}

#[tokio::test]
async fn a_mailbox_is_listed_and_read_in_few_requests() {
    let (server, all) = filled(250);
    let mut session = Setup::of(&server).open().await.unwrap();
    let selected = session.select(&FolderName::inbox()).await.unwrap();
    assert_eq!((selected.exists, selected.epoch.0, selected.can_delete), (250, 0, true));
    let listing = session.list(want()).await.unwrap();
    assert_eq!(ids(&listing), uids(&all));
    assert!(!listing.more && listing.cursor.is_some() && listing.present.is_some());
    assert!(listing.messages[0].size.is_some());
    server.world(|world| world.operations.clear());
    let fetched = fetch(&mut *session, wanted(&all)).await.unwrap();
    for (number, (id, octets)) in fetched.iter().enumerate() {
        assert_eq!((id, octets.as_bytes()), (&uid(&all[number]), mime(number + 1).as_slice()));
    }
    assert_eq!((fetched.len(), server.count("GetItem")), (250, 3));
    assert_eq!(session.dispose(&uids(&all), Disposal::Keep).await.unwrap(), Disposed::Confirmed);
    session.close().await.unwrap();
    assert_eq!(server.web().connections(), 1, "one pinned connection");
    server.assert_no_violations();
}

#[tokio::test]
async fn a_cursor_tells_what_has_changed_since() {
    let (server, all) = filled(6);
    let setup = Setup::of(&server);
    let mut session = setup.session("INBOX").await;
    let first = session.list(want()).await.unwrap();
    let cursor = first.cursor.clone();
    let since = |known_ids: &[String]| Want { known: known(known_ids), cursor: cursor.clone(), ..want() };

    let nothing = session.list(since(&all)).await.unwrap();
    assert!(nothing.messages.is_empty() && nothing.vanished.is_empty() && nothing.present.is_none());
    // Two are gone, one of them was never known; a new one has come, and one is read.
    let new = server.put("INBOX", &mime(7));
    server.world(|world| {
        world.store.remove(&all[0]);
        world.store.remove(&all[1]);
        world.store.mark(&all[2], true)
    });
    let mut session = setup.session("INBOX").await;
    let changed = session.list(since(&all[1..])).await.unwrap();
    assert_eq!((ids(&changed), changed.vanished.clone()), (vec![uid(&new)], vec![uid(&all[1])]));
    assert_ne!(changed.cursor, cursor);
    // What is due again is listed whatever the cursor says, and what is not there any more has vanished.
    let also = Want { also: uids(&[all[0].clone(), all[3].clone()]), known: known(&all[1..]), cursor: changed.cursor.clone(), ..want() };
    let due = session.list(also).await.unwrap();
    assert_eq!((ids(&due), due.vanished.clone()), (vec![uid(&all[3])], vec![uid(&all[0])]));

    // The numbers do not fit what is remembered: everything is looked at.
    let complete =
        Want { complete: true, known: known(&[all.clone(), vec!["QUFB".into(), "QkJC".into()]].concat()), cursor: changed.cursor, ..want() };
    let looked = session.list(complete).await.unwrap();
    assert_eq!(ids(&looked), [uid(&new)]);
    let Some(Present::Met(met)) = looked.present else { panic!("not all was looked at") };
    assert_eq!(met.unmet(), 4, "two that are gone, and two that never were");

    // A state that the server does not take any more: the same, without a second listing of what is known.
    server.world(|world| world.store.generation += 1);
    let again = session.list(since(&all)).await.unwrap();
    assert_eq!(ids(&again), [uid(&new)]);
    assert!(again.present.is_some() && again.cursor.is_some());
    // A cursor of another folder is none.
    server.put("Other", &mime(9));
    let mut other = setup.session("Other").await;
    let listing = other.list(Want { cursor, ..want() }).await.unwrap();
    assert_eq!((listing.messages.len(), listing.present.is_some()), (1, true));
    server.assert_no_violations();
}

#[tokio::test]
async fn a_long_listing_is_cut_at_a_page_and_goes_on_from_there() {
    let (server, all) = filled(25);
    server.world(|world| world.store.page_max = 4);
    let mut session = Setup::of(&server).session("INBOX").await;
    let (mut seen, mut cursor) = (Vec::new(), None);
    for _ in 0..20 {
        let listing = session.list(Want { limit: 10, cursor: cursor.clone(), known: known(&all[..2]), ..want() }).await.unwrap();
        assert!(listing.messages.len() <= 10);
        seen.extend(ids(&listing));
        cursor = listing.cursor.clone();
        if !listing.more {
            break;
        }
        assert!(listing.present.is_none(), "half a listing shows nothing of what is gone");
        assert!(!listing.met_nothing, "two were met, or the listing went on from the cursor");
    }
    assert_eq!(seen, uids(&all[2..]));
    // Other ids than those that are known.
    let others = ["x".to_owned(), "y".to_owned()];
    let strangers = session.list(Want { limit: 10, known: known(&others), ..want() }).await.unwrap();
    assert!(strangers.more && strangers.met_nothing && strangers.present.is_none());
    server.assert_no_violations();
}

/// What stands before a cursor is not listed again: nothing of it may be dropped.
#[tokio::test]
async fn more_changes_than_were_asked_for_are_all_listed() {
    let (server, all) = filled(25);
    server.world(|world| (world.store.ignores_limits, world.store.page_max) = (true, 12));
    let mut session = Setup::of(&server).session("INBOX").await;
    let (mut seen, mut cursor, mut more) = (Vec::new(), None, true);
    while more {
        let listing = session.list(Want { limit: 5, cursor, known: known(&all[..1]), ..want() }).await.unwrap();
        assert!(!listing.messages.is_empty());
        seen.extend(ids(&listing));
        (cursor, more) = (listing.cursor, listing.more);
    }
    assert_eq!(seen, uids(&all[1..]));
    // Those that are due come whatever their number, and the cursor stays where it was.
    let due = session.list(Want { limit: 5, cursor: cursor.clone(), also: uids(&all[..9]), known: known(&all), ..want() }).await.unwrap();
    assert_eq!((ids(&due), due.more, due.cursor), (uids(&all[..9]), true, cursor));
}

#[tokio::test]
async fn those_that_were_asked_for_by_name_and_nothing_else() {
    let (server, all) = filled(9);
    let mut session = Setup::of(&server).session("INBOX").await;
    server.world(|world| world.store.remove(&all[1]));
    for (limit, unseen, not_before) in [(100, false, None), (1, true, None), (3, false, Some(0))] {
        let also = uids(&all[..3]);
        let listing = session.list(Want { above: u32::MAX, also, limit, unseen, not_before, ..want() }).await.unwrap();
        assert_eq!(ids(&listing), uids(&[all[0].clone(), all[2].clone()]));
        assert_eq!((listing.vanished, listing.more, listing.cursor), (uids(&all[1..2]), false, None));
        assert!(listing.present.is_none());
    }
    assert_eq!((server.count("SyncFolderItems"), server.count("FindItem"), server.count("GetItem")), (0, 0, 3));
}

#[tokio::test]
async fn unread_mail_and_times_are_searched_for_in_pages() {
    let (server, all) = filled(30);
    server.world(|world| {
        world.store.page_max = 7;
        all.iter().step_by(2).for_each(|id| assert!(world.store.mark(id, true)));
    });
    let received = server.items(BOX, "INBOX")[20].received;
    let mut session = Setup::of(&server).session("INBOX").await;
    let unread: Vec<String> = all.iter().skip(1).step_by(2).cloned().collect();
    let listing = session.list(Want { unseen: true, ..want() }).await.unwrap();
    assert_eq!((ids(&listing), listing.cursor), (uids(&unread), None));
    let some = session.list(Want { unseen: true, limit: 4, known: known(&unread[..1]), ..want() }).await.unwrap();
    assert_eq!((ids(&some), some.more), (uids(&unread[1..5]), true));
    let also = session.list(Want { unseen: true, also: uids(&all[..1]), known: known(&unread), ..want() }).await.unwrap();
    assert_eq!(ids(&also), uids(&all[..1]), "asked for by name, read or not");
    let late = session.list(Want { not_before: Some(received), also: uids(&[all[0].clone(), all[25].clone()]), ..want() }).await.unwrap();
    assert_eq!(ids(&late), uids(&all[20..]));
    let split = session.list(Want { since: Some(received), ..want() }).await.unwrap();
    assert_eq!((split.older.len(), ids(&split)), (20, uids(&all[20..])));
    // Who must know what is still there asks for the unread ones of all.
    let complete = session.list(Want { unseen: true, complete: true, known: known(&["QUFB".into()]), ..want() }).await.unwrap();
    assert_eq!(ids(&complete), uids(&unread));
    assert!(matches!(complete.present, Some(Present::Met(met)) if met.unmet() == 1));
    server.assert_no_violations();
}

#[tokio::test]
async fn what_is_no_mail_is_left_alone() {
    let (server, all) = filled(1);
    server.put_item(BOX, "INBOX", Item::new(b"BEGIN:VCARD").kind(Kind::Contact));
    server.put_item(BOX, "INBOX", Item::new(b"BEGIN:VCALENDAR").kind(Kind::CalendarItem));
    let meeting = server.put_item(BOX, "INBOX", Item::new(&mime(2)).kind(Kind::MeetingRequest));
    let mut session = Setup::of(&server).session("INBOX").await;
    let listing = session.list(want()).await.unwrap();
    assert_eq!(ids(&listing), [uid(&all[0]), uid(&meeting)]);
    assert_eq!(session.headers(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn messages_that_cannot_be_had_do_not_stop_the_rest() {
    let (server, all) = filled(2);
    let with = |trouble| server.put_item(BOX, "INBOX", Item::new(&mime(3)).trouble(trouble));
    let odd = [
        with(Trouble::Code("ErrorMimeContentConversionFailed")),
        with(Trouble::NoMime),
        with(Trouble::Raw("this is no base64!")),
        with(Trouble::Raw("")),
        with(Trouble::Raw("U3ViamVjd")),
    ];
    let gone = server.put("INBOX", &mime(4));
    server.world(|world| world.store.remove(&gone));
    let large = server.put("INBOX", &[mime(5), vec![b'x'; 5_000]].concat());
    let batch = [&all[..1], &odd, &[gone, "###".into(), large], &all[1..]].concat();
    let mut session = Setup { max_message_size: Some(4_000), ..Setup::of(&server) }.session("INBOX").await;
    let fetched = fetch(&mut *session, wanted(&batch)).await.unwrap();
    let told: Vec<&str> = fetched.iter().map(|(_, told)| told.as_str()).collect();
    for (number, words) in [
        "Subject: 1",
        "unreadable: ErrorMimeContentConversionFailed",
        "unreadable: the server has no internet message (MIME) of this Message",
        "unreadable: the content that the server sent is no base64",
        "missing: the server sent an empty content",
        "unreadable: the content that the server sent is no base64, or not all",
        "missing: ErrorItemNotFound",
        "missing: ErrorInvalidIdMalformed",
        "too large: 50",
        "Subject: 2",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(told[number].starts_with(words), "{words}: {}", told[number]);
        assert_eq!(fetched[number].0, uid(&batch[number]));
    }
    assert_eq!(server.count("GetItem"), 1);
}

#[tokio::test]
async fn one_that_brings_the_whole_request_down_is_found() {
    for (trouble, words) in [
        (Trouble::Fault("ErrorInternalServerError"), "ErrorInternalServerError"),
        (Trouble::Fault("ErrorTimeoutExpired"), "the server shows the message, and has no time to give it: ErrorTimeoutExpired"),
        (Trouble::Code("ErrorTimeoutExpired"), "the server shows the message, and has no time to give it: ErrorTimeoutExpired"),
        (Trouble::Status("504"), "the server shows the message, and has no time to give it: HTTP 504"),
    ] {
        let (server, all) = filled(5);
        let poison = server.put_item(BOX, "INBOX", Item::new(&mime(6)).trouble(trouble.clone()));
        let mut session = Setup::of(&server).session("INBOX").await;
        for batch in [[&all[..3], std::slice::from_ref(&poison), &all[3..]].concat(), vec![poison.clone(), all[0].clone()]] {
            let fetched = fetch(&mut *session, wanted(&batch)).await.unwrap_or_else(|error| panic!("{trouble:?}: {error:?}"));
            assert_eq!(fetched.len(), batch.len());
            for (id, told) in fetched {
                let is_poison = id == uid(&poison);
                assert!(told.starts_with(if is_poison { "missing: " } else { "Subject" }) && (!is_poison || told.contains(words)), "{told}");
            }
        }
    }
    // It hangs up on one of them, which is the one that the caller is left with.
    let (server, all) = filled(5);
    let poison = server.put_item(BOX, "INBOX", Item::new(&mime(6)).trouble(Trouble::HangUp));
    let mut session = Setup::of(&server).session("INBOX").await;
    session.fetch(wanted(&[&all[..3], &[poison], &all[3..]].concat())).await.unwrap();
    for id in &all[..3] {
        let Some(Fetched::Message(message)) = session.next_message().await.unwrap() else { panic!("{id} did not come") };
        assert_eq!(message.key.uid, uid(id));
    }
    assert_eq!(session.next_message().await.unwrap_err().kind, SourceErrorKind::Closed);
}

/// One that the server has no time for is there, and is no reason to leave the others.
#[tokio::test]
async fn what_is_due_and_cannot_be_looked_at_is_taken_to_be_there() {
    let (server, all) = filled(3);
    server.trouble("GetItem", 0, 1, Fault::Each("ErrorTimeoutExpired", None));
    let mut session = Setup::of(&server).session("INBOX").await;
    let listing = session.list(Want { also: uids(&all[..1]), known: known(&all[1..]), ..want() }).await.unwrap();
    assert_eq!((ids(&listing), listing.vanished), (uids(&all[..1]), vec![]));
    // Whether it is young enough, it does not say.
    server.trouble("GetItem", 0, 1, Fault::Each("ErrorTimeoutExpired", None));
    let young = session.list(Want { not_before: Some(0), ..Want::only(uids(&all[..1])) }).await;
    assert_eq!(young.unwrap_err().kind, SourceErrorKind::Throttled);
}

/// From one message on the server has no time for anything: none of them is to blame.
#[tokio::test]
async fn a_server_that_gets_stuck_in_a_batch_blames_none_of_it() {
    let server = Ews::start();
    for number in 1..=20 {
        let item = Item::new(&mime(number));
        server.put_item(BOX, "INBOX", if number > 3 { item.trouble(Trouble::Code("ErrorTimeoutExpired")) } else { item });
    }
    let all: Vec<String> = server.items(BOX, "INBOX").into_iter().map(|item| item.id).collect();
    let mut session = Setup::of(&server).session("INBOX").await;
    session.fetch(wanted(&all)).await.unwrap();
    let (mut came, mut missed) = (0, 0);
    let error = loop {
        match session.next_message().await {
            Ok(Some(Fetched::Message(_))) => came += 1,
            Ok(Some(Fetched::Missing { .. })) => missed += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!((came, missed, error.kind), (3, 3, SourceErrorKind::Throttled), "{error:?}");
}

/// A state that is refused in other words than it should be.
#[tokio::test]
async fn a_cursor_that_is_refused_is_given_up() {
    for fault in [
        Fault::Soap("ErrorInternalServerError", None),
        Fault::Each("ErrorCorruptData", None),
        Fault::Soap("ErrorSchemaValidation", None),
        Fault::Status(500, Vec::new()),
    ] {
        let (server, all) = filled(3);
        let mut session = Setup::of(&server).session("INBOX").await;
        let cursor = session.list(want()).await.unwrap().cursor;
        server.trouble("SyncFolderItems", 0, 1, fault.clone());
        let listing = session.list(Want { cursor, known: known(&all[..2]), ..want() }).await.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!((ids(&listing), listing.present.is_some()), (uids(&all[2..]), true), "{fault:?}");
    }
}

#[tokio::test]
async fn messages_are_marked_deleted_and_moved_by_the_hundred() {
    let (server, all) = filled(450);
    server.world(|world| world.store.folder(BOX, "Archive/2026"));
    let mut session = Setup::of(&server).session("INBOX").await;
    let gone = ["R29uZQ==".to_owned()];
    assert_eq!(session.dispose(&uids(&all), Disposal::MarkSeen).await.unwrap(), Disposed::Confirmed);
    assert!(server.items(BOX, "INBOX").iter().all(|item| item.is_read));
    let half = [&all[..200], &gone].concat();
    assert_eq!(session.dispose(&uids(&half), Disposal::Delete).await.unwrap(), Disposed::Confirmed, "what is gone counts as deleted");
    let rest = uids(&all[200..]);
    let target = FolderName::new("Archive/2026");
    assert_eq!(session.dispose(&rest, Disposal::Move(target)).await.unwrap(), Disposed::Confirmed);
    assert_eq!(server.items(BOX, "INBOX").len(), 0);
    assert_eq!(server.items(BOX, "Archive/2026").len(), 250);
    assert_eq!(server.items(BOX, "#recoverableitemsdeletions").len(), 200);
    assert_eq!((server.count("UpdateItem"), server.count("DeleteItem"), server.count("MoveItem")), (3, 2, 2));
    assert_eq!(server.world(|world| world.receipts), 0, "nobody is told that a message was read");
    let error = session.dispose(&rest, Disposal::Move(FolderName::new("No/Where"))).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Mailbox);
    assert!(session.dispose(&[], Disposal::Keep).await.is_ok(), "a refusal does not end the session");
    server.trouble("DeleteItem", 0, 1, Fault::Each("ErrorCannotDeleteObject", None));
    let error = session.dispose(&uids(&all[..1]), Disposal::Delete).await.unwrap_err();
    assert_eq!(
        (error.kind, error.server.as_deref()),
        (SourceErrorKind::Mailbox, Some("ErrorCannotDeleteObject: ErrorCannotDeleteObject, in words."))
    );
    server.assert_no_violations();
}

#[tokio::test]
async fn folders_have_paths_and_what_rfc_6154_calls_them() {
    let server = Ews::start();
    server.world(|world| {
        world.store.folder(BOX, "Lists/Rust & Co");
        world.store.folder(BOX, "INBOX/Sub");
        world.store.page_max = 3;
    });
    let id = server.put("Lists/Rust & Co", &mime(1));
    let mut session = Setup::of(&server).open().await.unwrap();
    let folders = session.folders().await.unwrap();
    let told: Vec<String> = folders.iter().map(|folder| format!("{}{}", folder.name.as_str(), folder.attributes.concat())).collect();
    assert_eq!(
        told,
        [
            "INBOX",
            "Gesendete Elemente\\Sent",
            "Gelöschte Elemente\\Trash",
            "Junk-E-Mail\\Junk",
            "Entwürfe\\Drafts",
            "Lists",
            "Lists/Rust & Co",
            "INBOX/Sub"
        ]
    );
    session.select(&FolderName::new("Lists/Rust & Co")).await.unwrap();
    assert_eq!(ids(&session.list(want()).await.unwrap()), [uid(&id)]);
    for (name, exists) in [("junkemail", 0), ("Junk-E-Mail", 0), ("INBOX/Sub", 0), ("inbox", 0)] {
        assert_eq!(session.select(&FolderName::new(name)).await.unwrap().exists, exists, "{name}");
    }
    let error = session.select(&FolderName::new("Nowhere")).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Mailbox);
    assert!(session.select(&FolderName::inbox()).await.is_ok());
    server.assert_no_violations();
}

#[tokio::test]
async fn a_shared_mailbox_by_delegation_and_by_impersonation() {
    let server = Ews::start();
    server.world(|world| {
        world.store.mailbox("team@corp.example");
        world.store.mailbox("closed@corp.example");
        world.delegates.push((BOX.into(), "team@corp.example".into()));
    });
    let id = server.put_item("team@corp.example", "INBOX", Item::new(&mime(1)));
    let setup = Setup::of(&server);
    let mut session = setup.clone().mailbox("team@corp.example", false).session("INBOX").await;
    assert_eq!(fetch(&mut *session, wanted(std::slice::from_ref(&id))).await.unwrap()[0].1.as_bytes(), mime(1));
    let mut closed = setup.clone().mailbox("closed@corp.example", false).open().await.unwrap();
    let error = closed.select(&FolderName::inbox()).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Mailbox);
    assert!(error.hint.as_deref().unwrap().contains("FullAccess"), "{error:?}");
    let error = setup.clone().mailbox("nobody@corp.example", false).open().await.map(drop).unwrap_err();
    assert!(error.text.contains("no such mailbox"), "{error}");
    let error = setup.clone().mailbox("closed@corp.example", true).open().await.map(drop).unwrap_err();
    assert!(error.hint.as_deref().unwrap().contains("ApplicationImpersonation"), "{error:?}");
    server.world(|world| world.impersonators.push(BOX.into()));
    let mut session = setup.mailbox("closed@corp.example", true).session("INBOX").await;
    assert!(session.list(want()).await.unwrap().messages.is_empty());
    server.assert_no_violations();
}

#[tokio::test]
async fn c13_the_version_is_found_or_named() {
    for (known, asked, version) in [
        ("Exchange2016", None, "Exchange2013_SP1"),
        ("Exchange2013_SP1", None, "Exchange2013_SP1"),
        ("Exchange2010_SP2", None, "Exchange2010_SP1"),
        ("Exchange2007_SP1", None, "Exchange2007_SP1"),
        ("Exchange2016", Some(Version::Exchange2016), "Exchange2016"),
        ("Exchange2016", Some(Version::Exchange2010Sp1), "Exchange2010_SP1"),
    ] {
        let server = Ews::start();
        server.world(|world| world.version = known);
        let id = server.put("INBOX", &mime(1));
        let source = Setup::of(&server).version(asked).source();
        for _ in 0..2 {
            let mut session = mailgather::source::Source::open(&source).await.unwrap();
            session.folders().await.unwrap();
            session.select(&FolderName::inbox()).await.unwrap();
            assert_eq!(ids(&session.list(want()).await.unwrap()), [uid(&id)], "{known} {version}");
            session.dispose(&[uid(&id)], Disposal::MarkSeen).await.unwrap();
        }
        server.assert_no_violations();
    }
    let server = Ews::start();
    let error = Setup::of(&server).version(Some(Version::Exchange2016)).open().await.map(drop).unwrap_err();
    assert!(error.hint.as_deref().unwrap().contains("exchange_version: auto"), "{error:?}");
}

#[tokio::test]
async fn headers_are_read_without_marking_anything() {
    let (server, all) = filled(60);
    let mut session = Setup::of(&server).session("INBOX").await;
    let peeked = session.headers(50).await.unwrap();
    let names: Vec<RemoteUid> = peeked.iter().map(|peeked| peeked.uid.clone()).collect();
    assert_eq!(names, uids(&all[10..]));
    assert!(String::from_utf8_lossy(peeked[49].header.octets()).starts_with("Subject: 60\r\n"));
    assert!(session.header_of(&uid("R29uZQ==")).await.unwrap().is_none());
    // One that the server can make no message of has a header all the same.
    for trouble in [Trouble::Code("ErrorMimeContentConversionFailed"), Trouble::NoMime, Trouble::Fault("ErrorInternalServerError")] {
        let odd = server.put_item(BOX, "Odd", Item::new(&mime(7)).trouble(trouble));
        let header = session.header_of(&uid(&odd)).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(header.header.octets()).starts_with("Subject: 7\r\nMessage-ID: <7@corp.example>\r\n"));
    }
    // The rest of a large one is not waited for.
    let large = server.put("INBOX", &[mime(5), vec![b'x'; 8 << 20]].concat());
    let header = session.header_of(&uid(&large)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(header.header.octets()).starts_with("Subject: 5\r\n"));
    assert!(session.header_of(&uid(&all[0])).await.unwrap().is_some(), "the session goes on");
    assert!(server.items(BOX, "INBOX").iter().all(|item| !item.is_read));
}

/// Each host is the one server.
struct Doors(u16, TlsClient);

#[async_trait]
impl mailgather::source::autodiscover::Doors for Doors {
    async fn connect(&self, place: &WebPlace) -> Result<Web, WebError> {
        let channel = self.1.secure(tcp("127.0.0.1", self.0, None).await?, "localhost", None).await?;
        Web::over(channel, &place.host, place.port, WebLimits::default(), &Tracer::default()).await
    }

    async fn services(&self, _: &Domain) -> Result<Vec<ServiceHost>, String> {
        Ok(Vec::new())
    }
}

/// Without `url` the place is asked for, once; where it turns out wrong it is asked for again.
#[tokio::test]
async fn c6_without_a_url_autodiscover_is_asked() {
    let authority = Authority::new();
    let server = Ews::tls(authority.sign(for_names(&["localhost"])).server());
    let id = server.put("INBOX", &mime(1));
    server.world(|world| world.found_at = format!("https://localhost:{}/EWS/Elsewhere.asmx", server.web().port()));
    let mut setup = Setup::of(&server);
    setup.server.tls = Tls { ca_file: Some(authority.file()), ..Tls::default() };
    (setup.server.host, setup.server.port, setup.server.web.path) = ("corp.example".into(), 443, None);
    let tls = TlsClient::new(&setup.server.tls).unwrap();
    let source = setup.source().found_by(std::sync::Arc::new(Doors(server.web().port(), tls.clone())));
    let error = source.open().await.map(drop).unwrap_err();
    assert!(error.text.contains("no web services") && error.peer.starts_with("localhost:"), "{error}");
    server.world(|world| world.found_at = server.url());
    for _ in 0..2 {
        let mut session = source.open().await.unwrap();
        session.select(&FolderName::inbox()).await.unwrap();
        assert_eq!(ids(&session.list(want()).await.unwrap()), [uid(&id)]);
    }
    let asked = server.web().requests().iter().filter(|request| request.contains("autodiscover")).count();
    // Twice: the bare domain, which gets no password, and the host of autodiscover, without the password first.
    assert_eq!(asked, 6, "{:?}", server.web().requests());
    // The mailbox has moved, and the old place answers in some way or other: the next session asks anew. Who says when to come back has not moved.
    for (fault, anew) in [
        (Fault::Status(302, vec![("location", "https://elsewhere.example/".into())]), true),
        (Fault::Status(403, Vec::new()), true),
        (Fault::Status(503, Vec::new()), true),
        (Fault::Each("ErrorNonExistentMailbox", None), true),
        (Fault::Status(503, vec![("retry-after", "1".into())]), false),
    ] {
        server.trouble("GetFolder", 0, 1, fault.clone());
        assert!(source.open().await.is_err(), "{fault:?}");
        let asked = || server.web().requests().iter().filter(|request| request.contains("autodiscover")).count();
        let before = asked();
        source.open().await.unwrap();
        assert_eq!(asked() > before, anew, "{fault:?}");
    }
    // One that closes the connection behind each question for a login is asked all the same.
    server.world(|world| world.closes = true);
    setup.server.auth.method = AuthMethod::Auto;
    let source = setup.source().found_by(std::sync::Arc::new(Doors(server.web().port(), tls)));
    source.open().await.unwrap();
}
