//! Delivery into Maildirs: durable, once, and never anywhere else.

use crate::deliver_kit::{envelope, message, words};
use mailgather::deliver::Destination;
use mailgather::deliver::maildir::MaildirDestination;
use mailgather::mail::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

fn destination(base: &Path, create: bool) -> MaildirDestination {
    MaildirDestination::new(&format!("{}/{{domain}}/{{local}}", base.display()), create, vec!["box@x.example".parse().unwrap()])
}

async fn deliver(destination: &MaildirDestination, envelope: &Envelope) -> Vec<Outcome> {
    destination.deliver(envelope, &message(1, "Subject: t\r\n\r\n.a\r\nb\r\n")).await
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()).unwrap_or_default()
}

#[tokio::test]
async fn a_message_arrives_with_its_octets_and_once() {
    let base = tempfile::tempdir().unwrap();
    let destination = destination(base.path(), true);
    let both = envelope(&["anna@икс.рф", "bob@x.example"]);
    for _ in 0..3 {
        assert_eq!(words(&deliver(&destination, &both).await), ["Delivered", "Delivered"]);
    }
    for folder in ["икс.рф/anna", "x.example/bob"] {
        let folder = base.path().join(folder);
        let found = names(&folder.join("new"));
        assert_eq!((found.len(), names(&folder.join("tmp")).len()), (1, 0), "{found:?}");
        assert!(found[0].ends_with(".mailgather") && !found[0].contains([':', '/']), "{found:?}");
        let file = folder.join("new").join(&found[0]);
        assert_eq!(fs::read(&file).unwrap(), b"X-Trace: 1\nSubject: t\n\n.a\nb\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
    // Another message, and the same one asked for once more by the operator, are other files.
    let mut again = message(1, "Subject: t\r\n\r\n");
    again.key.generation = 1;
    let bob = envelope(&["bob@x.example"]);
    assert_eq!(words(&destination.deliver(&bob, &again).await), ["Delivered"]);
    assert_eq!(words(&destination.deliver(&bob, &message(2, "Subject: t\r\n\r\n")).await), ["Delivered"]);
    assert_eq!(names(&base.path().join("x.example/bob/new")).len(), 3);
}

#[tokio::test]
async fn one_address_twice_is_one_file() {
    let base = tempfile::tempdir().unwrap();
    let destination = destination(base.path(), true);
    let outcomes = deliver(&destination, &envelope(&["bob@x.example"; 6])).await;
    assert_eq!(words(&outcomes), ["Delivered"; 6]);
    assert_eq!(names(&base.path().join("x.example/bob/new")).len(), 1);
    let file = base.path().join("x.example/bob/new").join(&names(&base.path().join("x.example/bob/new"))[0]);
    assert_eq!(fs::read(file).unwrap(), b"X-Trace: 1\nSubject: t\n\n.a\nb\n");
}

#[tokio::test]
async fn in_doubt_what_a_reader_moved_is_found() {
    let base = tempfile::tempdir().unwrap();
    let destination = destination(base.path(), true);
    let folder = base.path().join("x.example/bob");
    let mut bob = envelope(&["bob@x.example"]);
    deliver(&destination, &bob).await;
    let name = names(&folder.join("new")).remove(0);
    let mut last = folder.join("new").join(&name);
    bob.in_doubt = true;
    for moved in ["", ":2,S", ",S=29,W=33:2,RS", ":2,"] {
        let to = folder.join("cur").join(format!("{name}{moved}"));
        fs::rename(&last, &to).unwrap();
        last = to;
        assert_eq!(words(&deliver(&destination, &bob).await), ["Delivered"]);
        assert_eq!(names(&folder.join("new")), [""; 0], "{moved}");
    }
    // A longer name is another file.
    fs::rename(&last, folder.join("cur").join(format!("{name}x"))).unwrap();
    deliver(&destination, &bob).await;
    assert_eq!(names(&folder.join("new")), [name]);
}

#[tokio::test]
async fn a_missing_folder_is_an_unknown_user() {
    let base = tempfile::tempdir().unwrap();
    let destination = destination(base.path(), false);
    let outcomes = deliver(&destination, &envelope(&["who@x.example", "box@x.example"])).await;
    assert_eq!(words(&outcomes), ["Rejected Recipient", "Delivered"]);
    let Outcome::Rejected(diagnosis) = &outcomes[0] else { unreachable!() };
    assert!(diagnosis.text.contains("no such mailbox") && diagnosis.text.ends_with("maildir_create is not true"), "{diagnosis}");
    assert!(!base.path().join("x.example/who").exists());
    assert_eq!(names(&base.path().join("x.example/box/new")).len(), 1);

    // A folder that is no Maildir is not made one behind its owner's back.
    fs::create_dir_all(base.path().join("x.example/half/new")).unwrap();
    assert_eq!(words(&deliver(&destination, &envelope(&["half@x.example"])).await), ["Deferred Recipient"]);
    assert_eq!(names(&base.path().join("x.example/half")), ["new"]);

    // A base that is not there is not made: its file system may not be mounted.
    let unmounted = MaildirDestination::new(&format!("{}/none/{{local}}", base.path().display()), true, vec![]);
    let outcomes = deliver(&unmounted, &envelope(&["a@x.example"])).await;
    assert_eq!(words(&outcomes), ["Deferred Target"]);
    let Outcome::Deferred(diagnosis) = &outcomes[0] else { unreachable!() };
    let advice = format!("create it: mkdir -p {}/none, owned by the service's user", base.path().display());
    let error = mailgather::collect::PassError::Target(diagnosis.into());
    assert_eq!(error.hint(), advice);
    assert!(!error.to_string().contains("mkdir") && error.to_string().contains("No such file"), "{error}");
    assert!(!base.path().join("none").exists());
}

#[tokio::test]
async fn unsafe_names_are_rejected() {
    let base = tempfile::tempdir().unwrap();
    let destination = MaildirDestination::new(&format!("{}/in/{{local}}", base.path().display()), true, vec![]);
    fs::create_dir(base.path().join("in")).unwrap();
    for local in ["..", ".", "../out", "a/b", ".ssh", "/etc"] {
        let mut bad = envelope(&["a@x.example"]);
        bad.recipients[0].address = Address::new(local, "x.example".parse().unwrap()).unwrap();
        assert_eq!(words(&deliver(&destination, &bad).await), ["Rejected Recipient"], "{local}");
    }
    assert_eq!((names(base.path()), names(&base.path().join("in"))), (vec!["in".to_owned()], vec![]));
}

/// Faults, row 77: whoever owns a mailbox cannot lead us elsewhere.
#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let base = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let destination = destination(base.path(), true);
    deliver(&destination, &envelope(&["bob@x.example"])).await;
    let folder = base.path().join("x.example/bob");
    let name = names(&folder.join("new")).remove(0);
    for part in ["tmp", "new", "cur"] {
        fs::create_dir(elsewhere.path().join(part)).unwrap();
    }

    symlink(elsewhere.path(), base.path().join("x.example/mallory")).unwrap();
    symlink(elsewhere.path(), base.path().join("evil.example")).unwrap();
    for address in ["mallory@x.example", "a@evil.example"] {
        assert_eq!(words(&deliver(&destination, &envelope(&[address])).await), ["Deferred Recipient"], "{address}");
    }
    for part in ["tmp", "new", "cur"] {
        fs::rename(folder.join(part), folder.join("aside")).unwrap();
        symlink(elsewhere.path().join(part), folder.join(part)).unwrap();
        assert_eq!(words(&deliver(&destination, &envelope(&["bob@x.example"])).await), ["Deferred Recipient"], "{part}");
        fs::remove_file(folder.join(part)).unwrap();
        fs::rename(folder.join("aside"), folder.join(part)).unwrap();
    }
    for part in ["tmp", "new", "cur"] {
        assert_eq!(names(&elsewhere.path().join(part)), [""; 0]);
    }

    // A link in tmp under our file's name is removed, not written through.
    fs::write(elsewhere.path().join("precious"), "precious").unwrap();
    fs::remove_file(folder.join("new").join(&name)).unwrap();
    symlink(elsewhere.path().join("precious"), folder.join("tmp").join(&name)).unwrap();
    assert_eq!(words(&deliver(&destination, &envelope(&["bob@x.example"])).await), ["Delivered"]);
    assert_eq!(fs::read(elsewhere.path().join("precious")).unwrap(), b"precious");
    assert!(!fs::symlink_metadata(folder.join("new").join(&name)).unwrap().is_symlink());
}

#[tokio::test]
async fn a_leftover_in_tmp_is_replaced() {
    let base = tempfile::tempdir().unwrap();
    let destination = destination(base.path(), true);
    let bob = envelope(&["bob@x.example"]);
    deliver(&destination, &bob).await;
    let folder = base.path().join("x.example/bob");
    let name = names(&folder.join("new")).remove(0);
    fs::remove_file(folder.join("new").join(&name)).unwrap();
    fs::write(folder.join("tmp").join(&name), "half of it").unwrap();
    assert_eq!(words(&deliver(&destination, &bob).await), ["Delivered"]);
    assert!(fs::read(folder.join("new").join(&name)).unwrap().starts_with(b"X-Trace: 1\nSubject"));
    assert_eq!(names(&folder.join("tmp")), [""; 0]);
}

#[tokio::test]
async fn a_spool_that_cannot_be_read_leaves_nothing() {
    let base = tempfile::tempdir().unwrap();
    let destination = destination(base.path(), true);
    let mut broken = message(1, "");
    let file = tempfile::tempfile().unwrap();
    file.set_len(10).unwrap();
    broken.content = Content::Spooled { file: Arc::new(file), start: 0, len: 20 };
    assert_eq!(words(&destination.deliver(&envelope(&["bob@x.example"]), &broken).await), ["Deferred Message"]);
    let folder = base.path().join("x.example/bob");
    assert_eq!((names(&folder.join("tmp")), names(&folder.join("new"))), (vec![], vec![]));
}

#[tokio::test]
async fn many_at_once() {
    let base = tempfile::tempdir().unwrap();
    let destination = Arc::new(destination(base.path(), true).with_writers(3));
    let deliveries: Vec<_> = (0..60)
        .map(|uid| {
            let destination = destination.clone();
            tokio::spawn(async move { destination.deliver(&envelope(&["bob@x.example"]), &message(uid, "Subject: t\r\n\r\n")).await })
        })
        .collect();
    for delivered in deliveries {
        assert_eq!(words(&delivered.await.unwrap()), ["Delivered"]);
    }
    assert_eq!(names(&base.path().join("x.example/bob/new")).len(), 60);
}
