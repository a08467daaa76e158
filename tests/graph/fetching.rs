//! Messages on their way in.

use crate::kit::{BOX, fetched, kit, kit_of, letter, octets, server, uid, wanted};
use crate::support::graph::{Fault, Graph, Mime, Rights};
use mailgather::mail::{Canonical, Content};
use mailgather::source::{Fetched, SourceErrorKind};
use std::time::{Duration, Instant};

fn canonical(octets: &[u8]) -> Vec<u8> {
    let (mut canonical, mut all) = (Canonical::new(), Vec::new());
    canonical.push(octets, &mut all);
    canonical.finish(&mut all);
    all
}

#[tokio::test]
async fn four_at_once_and_never_a_fifth() {
    let graph = Graph::start();
    let all: Vec<String> = (0..40).map(|n| graph.put(BOX, "inbox", letter(&format!("{n:02}")))).collect();
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    graph.set_latency(Duration::from_millis(20));
    graph.web.forget();
    let came = fetched(&mut *session, &all).await.unwrap();
    assert_eq!(came.iter().map(|(_, subject)| subject.clone()).collect::<Vec<_>>(), (0..40).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    assert_eq!((graph.most_at_once(), graph.refused_at_once(), graph.web.connections_at_once()), (4, 0, 4));
    // Each connection is used again and again.
    assert!(graph.web.connections() <= 3, "{}", graph.web.connections());
    session.close().await.unwrap();
}

#[tokio::test]
async fn octets_are_what_they_were_in_memory_and_in_files() {
    let graph = Graph::start();
    let large = Mime::Large("large".into(), 3_000_000);
    let odd: &[u8] = b"A: b\nSubject: odd\n\nbare LF and 8 bit \xff\n.\n";
    let all = [graph.put_as(BOX, "inbox", large.clone(), None), graph.put(BOX, "inbox", odd)];
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    session.fetch(wanted(&all)).await.unwrap();
    let mut seen = 0;
    while let Some(Fetched::Message(message)) = session.next_message().await.unwrap() {
        let is_large = message.key.uid == uid(&all[0]);
        let whole = large.whole();
        assert_eq!(octets(&message), canonical(if is_large { &whole } else { odd }));
        assert_eq!(matches!(message.content, Content::Spooled { .. }), is_large);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[tokio::test]
async fn one_that_cannot_be_had_does_not_stop_the_rest() {
    let graph = Graph::start();
    let put = |mime| graph.put_as(BOX, "inbox", mime, None);
    let good = |subject: &str| Mime::Octets(letter(subject).into());
    let all =
        [put(good("one")), put(Mime::None("sealed".into())), put(good("failing")), put(Mime::Octets("".into())), put(good("gone")), put(good("two"))];
    graph.remove(BOX, &all[4]);
    graph.fault("00000003%2Bfixed%3D/$value", 1, Fault::Error(500, "InternalServerError", None));
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    let came: Vec<String> = fetched(&mut *session, &all).await.unwrap().into_iter().map(|(_, what)| what).collect();
    assert_eq!(came[0], "one");
    assert!(came[1].starts_with("unreadable: the server cannot give it as MIME: 500 ErrorMimeContentConversionFailed"), "{came:?}");
    // It may be an outage: that one is asked for again.
    assert!(came[2].starts_with("missing: the server knows the message, and does not give it: 500 InternalServerError"), "{came:?}");
    assert_eq!(came[3], "missing: the server sent nothing");
    assert!(came[4].starts_with("missing: it is not there any more: 404 ErrorItemNotFound"), "{came:?}");
    assert_eq!(came[5], "two");
    // Of the one without MIME, the header is known.
    let peeked = session.header_of(&uid(&all[1])).await.unwrap().unwrap();
    assert_eq!(peeked.header.first("Subject").map(|field| peeked.header.text(field)).as_deref(), Some("sealed"));
    assert_eq!(fetched(&mut *session, &all[2..3]).await.unwrap()[0].1, "failing");
    // A gateway that waits in vain for this one message, each time.
    graph.fault("00000003%2Bfixed%3D/$value", 9, Fault::Error(504, "UnknownError", None));
    let came: Vec<String> =
        fetched(&mut *session, &[all[2].clone(), all[0].clone(), all[5].clone()]).await.unwrap().into_iter().map(|(_, what)| what).collect();
    assert!(came.iter().any(|what| what.starts_with("missing: the server knows the message, and does not give it: 504 UnknownError")), "{came:?}");
    assert_eq!(came.iter().filter(|what| *what == "one" || *what == "two").count(), 2, "{came:?}");
}

#[tokio::test]
async fn whoever_may_look_and_not_read_is_told_so() {
    let graph = Graph::start();
    let all: Vec<String> = (0..9).map(|n| graph.put(BOX, "inbox", letter(&n.to_string()))).collect();
    graph.token("Mail.ReadBasic", Rights { mailboxes: None, write: false, contents: false });
    let kit = kit(&graph);
    *kit.token.lock().unwrap() = "Mail.ReadBasic".into();
    let error = fetched(&mut *kit.inbox().await, &all).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Mailbox, "fetch"), "{error}");
    assert!(error.to_string().contains("ErrorAccessDenied") && error.hint.as_deref().unwrap().contains("Mail.ReadWrite"), "{error:?}");
}

#[tokio::test]
async fn an_item_that_is_neither_given_nor_shown_is_in_nobodys_way() {
    let graph = Graph::start();
    let all: Vec<String> = (0..9).map(|n| graph.put(BOX, "inbox", letter(&n.to_string()))).collect();
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    for (fault, words) in [
        (Fault::Error(500, "InternalServerError", None), "500 InternalServerError"),
        (Fault::Error(400, "ErrorInvalidRequest", None), "400 ErrorInvalidRequest"),
        (Fault::Error(403, "ErrorAccessDenied", None), "403 ErrorAccessDenied"),
        (Fault::Error(404, "", None), "404"),
        (Fault::Html(404), "404"),
    ] {
        graph.fault("00000004%2Bfixed%3D", 2, fault);
        let came = fetched(&mut *session, &all).await.unwrap();
        for (n, (_, what)) in came.iter().enumerate() {
            match n {
                3 => assert!(what.starts_with(&format!("missing: the server neither gives nor shows it: {words}")), "{what}"),
                _ => assert_eq!(*what, n.to_string()),
            }
        }
    }
    // Where that is so with all of them, it is the server.
    graph.fault("fixed%3D", 1_000, Fault::Error(500, "InternalServerError", None));
    let error = fetched(&mut *session, &all).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Throttled, "fetch"), "{error}");
}

#[tokio::test]
async fn a_transfer_that_breaks_off_yields_no_message() {
    let graph = Graph::start();
    let all: Vec<String> = (0..9).map(|n| graph.put(BOX, "inbox", letter(&n.to_string()))).collect();
    let kit = kit(&graph);
    let value = |n: usize| format!("{:08}%2Bfixed%3D/$value", n + 1);
    // Once is made good; twice is told, and the others come.
    graph.fault(&value(0), 1, Fault::BreakOff(60));
    graph.fault(&value(1), 1, Fault::ShortLength(60));
    graph.fault(&value(2), 5, Fault::ShortLength(60));
    graph.fault(&value(3), 5, Fault::BreakOff(0));
    let came: Vec<String> = fetched(&mut *kit.inbox().await, &all).await.unwrap().into_iter().map(|(_, what)| what).collect();
    for (n, what) in came.iter().enumerate() {
        match n {
            2 | 3 => assert!(what.starts_with("missing: its transfer broke off"), "{n}: {what}"),
            _ => assert_eq!(*what, n.to_string()),
        }
    }
    graph.no_more_faults();
    // A page of somebody's in between is no message either.
    graph.fault(&value(5), 1, Fault::Html(200));
    let came = fetched(&mut *kit.inbox().await, &all).await.unwrap();
    assert!(came[5].1.contains("a page of HTML") && came[4].1 == "4", "{came:?}");
    // Where nothing comes whole, it is no message's fault.
    graph.fault("$value", 1000, Fault::BreakOff(60));
    let error = fetched(&mut *kit.inbox().await, &all).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Closed, "fetch"), "{error}");
}

#[tokio::test]
async fn too_large_ends_its_own_request_alone() {
    let graph = Graph::start();
    let huge = graph.put_as(BOX, "inbox", Mime::Large("huge".into(), 400_000_000), None);
    let announced = graph.put_as(BOX, "inbox", Mime::Octets(vec![b'x'; 200_000].into()), None);
    let good = graph.put(BOX, "inbox", letter("good"));
    graph.fault("00000002%2Bfixed%3D/$value", 1, Fault::ShortLength(100));
    let kit = kit_of(server(&graph), Some(100_000));
    let came = fetched(&mut *kit.inbox().await, &[huge, announced, good]).await.unwrap();
    let octets: u64 = came[0].1.strip_prefix("too large: ").unwrap().parse().unwrap();
    assert!((100_001..300_000).contains(&octets), "{octets}");
    assert_eq!((came[1].1.as_str(), came[2].1.as_str()), ("too large: 200000", "good"));
}

#[tokio::test]
async fn what_the_server_asks_for_is_waited_for() {
    let graph = Graph::start();
    let all: Vec<String> = (0..8).map(|n| graph.put(BOX, "inbox", letter(&n.to_string()))).collect();
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    graph.fault("$value", 2, Fault::Error(429, "ApplicationThrottled", Some(1)));
    let start = Instant::now();
    assert_eq!(fetched(&mut *session, &all).await.unwrap().len(), 8);
    assert!(start.elapsed() >= Duration::from_secs(1) && start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // A longer wait is for the next session.
    graph.fault("$value", 1, Fault::Error(503, "ServiceUnavailable", Some(120)));
    let error = fetched(&mut *session, &all).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (SourceErrorKind::Throttled, Some(Duration::from_secs(120))), "{error}");
    assert!(session.fetch(vec![]).await.is_err(), "the session was used after an error");
}

#[tokio::test]
async fn a_token_that_expires_in_mid_session_is_read_anew_once() {
    let graph = Graph::start();
    let all: Vec<String> = (0..8).map(|n| graph.put(BOX, "inbox", letter(&n.to_string()))).collect();
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    graph.revoke(crate::support::graph::TOKEN);
    graph.token("another", crate::support::graph::Rights { mailboxes: None, write: true, contents: true });
    *kit.token.lock().unwrap() = "another".into();
    assert_eq!(fetched(&mut *session, &all).await.unwrap().len(), 8);
    // Where the same one comes again, it is no use to go on.
    graph.revoke("another");
    graph.web.forget();
    let error = fetched(&mut *session, &all).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Auth, "login"), "{error}");
    assert!(graph.web.requests().len() <= 8 && !error.to_string().contains("another"), "{error}");
}

#[tokio::test]
async fn headers_are_shown_oldest_first() {
    let graph = Graph::start();
    let all: Vec<String> = (0..30).map(|n| graph.put(BOX, "inbox", letter(&format!("{n:02}")))).collect();
    graph.put_as(BOX, "inbox", Mime::Large("large".into(), 50_000_000), None);
    let mut session = kit(&graph).inbox().await;
    let last = session.headers(12).await.unwrap();
    let subjects: Vec<String> = last.iter().map(|peeked| peeked.header.text(peeked.header.first("Subject").unwrap())).collect();
    assert_eq!((subjects.len(), subjects[0].as_str(), subjects[10].as_str(), subjects[11].as_str()), (12, "19", "29", "large"));
    assert_eq!(session.headers(100).await.unwrap().len(), 31);
    assert!(session.header_of(&uid("AAkALg/none")).await.unwrap().is_none());
    assert!(session.header_of(&uid(&all[0])).await.unwrap().is_some());
    // Nothing is marked.
    assert!(graph.read(BOX, "inbox").iter().all(|read| !read));
}
