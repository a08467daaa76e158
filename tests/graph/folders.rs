//! Folders by path and by use.

use crate::kit::{BOX, kit, letter};
use crate::support::graph::Graph;
use mailgather::mail::FolderName;
use mailgather::source::{Source, SourceErrorKind};

#[tokio::test]
async fn folders_with_paths_and_what_they_are_for_in_any_language() {
    let graph = Graph::start();
    for path in ["Lists/Rust", "Lists/C++ & co", "inbox/Sub/Deep", "O'Neil", "A/B", "Many"] {
        graph.folder(BOX, path);
    }
    (0..300).for_each(|n| drop(graph.folder(BOX, &format!("Many/f{n:03}"))));
    graph.put(BOX, "Lists/Rust", letter("x"));
    let kit = kit(&graph);
    let mut session = kit.source.open().await.unwrap();
    let folders = session.folders().await.unwrap();
    let name = |name: &str| folders.iter().find(|folder| folder.name.as_str() == name).unwrap_or_else(|| panic!("{name}: {folders:?}"));
    for (path, attributes) in [
        ("INBOX", &[][..]),
        ("Нежелательная почта", &["\\Junk"]),
        ("Удаленные", &["\\Trash"]),
        ("Отправленные", &["\\Sent"]),
        ("Черновики", &["\\Drafts"]),
        ("Архив", &["\\Archive"]),
        ("Lists/Rust", &[]),
        ("Lists/C++ & co", &[]),
        ("INBOX/Sub/Deep", &[]),
        ("O'Neil", &[]),
        ("Many/f299", &[]),
    ] {
        assert_eq!(
            (name(path).attributes.as_slice(), name(path).separator),
            (attributes.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(), Some('/'))
        );
    }
    assert!(folders.iter().all(|folder| folder.name.as_str() != "Deletions" && folder.name.as_str() != "Входящие"));
    assert_eq!(folders.len(), 6 + 300 + 9);

    // One by one, without the list.
    for (path, exists) in [
        ("Lists/Rust", Some(1)),
        ("INBOX/Sub/Deep", Some(0)),
        ("O'Neil", Some(0)),
        ("inbox", Some(0)),
        ("Архив", Some(0)),
        ("lists/rust", Some(1)),
        ("Lists/None", None),
        ("", None),
        ("/", None),
    ] {
        let mut session = kit.source.open().await.unwrap();
        let selected = session.select(&FolderName::new(path)).await;
        match exists {
            Some(exists) => assert_eq!(selected.unwrap().exists, exists, "{path}"),
            None => assert_eq!(selected.unwrap_err().kind, SourceErrorKind::Mailbox, "{path}"),
        }
        // A folder that is not there is no reason to leave the others alone.
        assert!(session.select(&FolderName::inbox()).await.is_ok());
    }
}
