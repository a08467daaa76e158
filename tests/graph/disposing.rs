//! Marking, deleting and moving.

use crate::kit::{BOX, kit, letter, uid};
use crate::support::graph::{Fault, Graph, Rights};
use mailgather::mail::{FolderName, RemoteUid};
use mailgather::source::{Disposal, Disposed, SourceErrorKind};
use std::time::Duration;

fn filled(count: usize) -> (Graph, Vec<RemoteUid>) {
    let graph = Graph::start();
    let all = (0..count).map(|n| uid(&graph.put(BOX, "inbox", letter(&n.to_string())))).collect();
    (graph, all)
}

#[tokio::test]
async fn each_way_at_four_at_once_and_what_is_gone_counts_as_done() {
    let (graph, all) = filled(21);
    let mut session = kit(&graph).inbox().await;
    graph.remove(BOX, &all[0].to_string());
    graph.move_to(BOX, &all[1].to_string(), "archive");
    graph.set_latency(Duration::from_millis(5));
    assert_eq!(session.dispose(&all, Disposal::Keep).await.unwrap(), Disposed::Confirmed);
    assert_eq!(session.dispose(&all[..8], Disposal::MarkSeen).await.unwrap(), Disposed::Confirmed);
    assert_eq!(graph.read(BOX, "inbox"), [[true; 6].as_slice(), &[false; 13]].concat());
    assert_eq!(session.dispose(&all[..8], Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    assert_eq!((graph.ids(BOX, "inbox").len(), graph.ids(BOX, "recoverableitemsdeletions").len(), graph.ids(BOX, "archive").len()), (13, 6, 1));
    for (range, folder, there) in [(8..12, "archive", 1), (12..16, "Done/2026", 0), (16..21, "INBOX/Sub", 0)] {
        assert_eq!(session.dispose(&all[range.clone()], Disposal::Move(FolderName::new(folder))).await.unwrap(), Disposed::Confirmed, "{folder}");
        let path = folder.replace("INBOX", "inbox");
        // `archive` is no name that the mailbox has: there it is another one.
        let there = if folder == "archive" { 0 } else { there };
        if folder != "archive" {
            assert_eq!(graph.ids(BOX, &path).len(), there + range.len(), "{folder}");
        }
    }
    assert_eq!(graph.ids(BOX, "inbox").len(), 1 - 1);
    assert_eq!((graph.most_at_once(), graph.refused_at_once()), (4, 0));
    // And once more: nothing is there to be moved.
    assert_eq!(session.dispose(&all, Disposal::Move(FolderName::new("Done/2026"))).await.unwrap(), Disposed::Confirmed);
    assert_eq!(session.dispose(&all, Disposal::Flag).await.unwrap_err().kind, SourceErrorKind::Mailbox);
    assert_eq!(session.dispose(&all, Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    session.close().await.unwrap();
}

#[tokio::test]
async fn nobody_is_sent_a_receipt() {
    let (graph, all) = filled(5);
    all.iter().for_each(|uid| graph.want_receipt(BOX, &uid.to_string()));
    let mut session = kit(&graph).inbox().await;
    session.dispose(&all, Disposal::MarkSeen).await.unwrap();
    assert_eq!((graph.read(BOX, "inbox"), graph.receipts()), (vec![true; 5], 0));
    // A server that does not let us say so is marked at all the same.
    all.iter().for_each(|uid| graph.set_read(BOX, &uid.to_string(), false));
    graph.refuse_receipt_changes();
    session.dispose(&all, Disposal::MarkSeen).await.unwrap();
    assert_eq!(graph.read(BOX, "inbox"), [true; 5]);
}

#[tokio::test]
async fn a_refusal_names_those_that_it_is_about_and_leaves_the_session_usable() {
    let (graph, all) = filled(6);
    graph.token("reads-only", Rights { mailboxes: Some(vec![BOX.into()]), write: false, contents: true });
    let kit = kit(&graph);
    *kit.token.lock().unwrap() = "reads-only".into();
    let mut session = kit.inbox().await;
    let error = session.dispose(&all, Disposal::Delete).await.unwrap_err();
    assert_eq!((error.kind, error.stage, error.is_refusal()), (SourceErrorKind::Mailbox, "dispose", true));
    assert!(error.hint.as_deref().unwrap().contains("Mail.ReadWrite") && error.to_string().contains("ErrorAccessDenied"), "{error}");
    assert_eq!(graph.ids(BOX, "inbox").len(), 6);
    *kit.token.lock().unwrap() = crate::support::graph::TOKEN.into();
    let mut session = kit.inbox().await;
    graph.fault("DELETE", 1, Fault::Error(500, "InternalServerError", None));
    let error = session.dispose(&all, Disposal::Delete).await.unwrap_err();
    assert!(error.is_refusal());
    let left: Vec<RemoteUid> = graph.ids(BOX, "inbox").iter().map(|id| RemoteUid::Opaque(id.as_bytes().into())).collect();
    assert_eq!((left.len(), error.only), (1, left));
    // What broke on the way was done, or is done now.
    graph.fault("DELETE", 1, Fault::HangUp);
    assert_eq!(session.dispose(&all, Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    assert_eq!(graph.ids(BOX, "inbox").len(), 0);
}
