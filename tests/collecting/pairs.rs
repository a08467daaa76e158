//! Every pair of `collect` and `after` that the configuration takes: what arrives, what is left, and that nothing comes twice.

use super::kit::*;
use crate::support::*;

const IMAP_PAIRS: [(&str, &str); 13] = [
    ("new", "keep"),
    ("new", "delete"),
    ("new", "mark_seen"),
    ("new", "{delete_after: 1h}"),
    ("new", "{move_to: Done}"),
    ("unseen", "keep"),
    ("unseen", "delete"),
    ("unseen", "mark_seen"),
    ("unseen", "{delete_after: 1h}"),
    ("unseen", "{move_to: Done}"),
    ("all", "delete"),
    ("all", "{delete_after: 1h}"),
    ("all", "{move_to: Done}"),
];

/// The mailbox of each test: 0 is untouched, 1 was read, 2 was flagged, 3 is to be deleted by another client, 4 was read and answered.
const BEFORE: [&str; 5] = ["", "\\Seen", "\\Flagged", "\\Deleted", "\\Answered \\Seen"];

/// What becomes of a letter with these flags that was collected.
fn disposed(after: &str, flags: &str) -> Option<String> {
    match after {
        "delete" | "{move_to: Done}" => None,
        "mark_seen" => Some(with(flags, "\\Seen")),
        _ => Some(flags.to_owned()),
    }
}

fn with(flags: &str, flag: &str) -> String {
    let mut all: Vec<&str> = flags.split_whitespace().chain([flag]).collect();
    all.sort_unstable();
    all.dedup();
    all.join(" ")
}

fn every_pair(server: &Server) {
    for (collect, after) in IMAP_PAIRS {
        let (what, user) = (
            format!("{}: {collect} × {after}", server.family()),
            format!("{collect}{}", after.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "")),
        );
        fill(server, &user, 0..5);
        for (n, flags) in BEFORE.iter().enumerate().filter(|(_, flags)| !flags.is_empty()) {
            flag(server, &user, n, flags);
        }
        let scene = Scene::new(&CollectorYaml::imap(server, &user).forward_to(BOX).set("collect", collect).after(after));
        let is_collected = |n: usize| collect != "unseen" || !BEFORE[n].contains("Seen");
        assert_eq!(scene.once(), letters((0..5).filter(|n| is_collected(*n))), "{what}");

        let mut left: Vec<There> = Vec::new();
        for (n, flags) in BEFORE.iter().enumerate() {
            let stays = if is_collected(n) { disposed(after, flags) } else { Some((*flags).to_owned()) };
            left.extend(stays.map(|flags| (format!("letter {n}"), flags)));
        }
        assert_eq!(inside(server, &user, "INBOX").unwrap(), left, "{what}: what is left");
        // Moved with their flags; the server may have its own mind about \Deleted ones.
        if after.contains("move_to") {
            assert_eq!(subjects_in(server, &user, "Done"), letters((0..5).filter(|n| is_collected(*n))), "{what}: where it was moved to");
        } else {
            assert_eq!(inside(server, &user, "Done"), None, "{what}");
        }

        // Nothing comes again, and what is new comes alone.
        assert_eq!(scene.once(), letters([]), "{what}: a second pass");
        assert_eq!(inside(server, &user, "INBOX").unwrap(), left, "{what}: what a second pass leaves");
        fill(server, &user, 5..6);
        assert_eq!(scene.once(), letters([5]), "{what}: a third pass");
        left.extend(disposed(after, "").map(|flags| ("letter 5".to_owned(), flags)));
        assert_eq!(inside(server, &user, "INBOX").unwrap(), left, "{what}: what a third pass leaves");
        // A person reads what was kept, or takes the mark away again: it was collected all the same.
        if left.iter().any(|(subject, _)| subject == "letter 0") {
            flag(server, &user, 0, "\\Seen");
            assert_eq!(scene.once(), letters([]), "{what}: read meanwhile");
            let mut client = OtherClient::inbox(server.imap(), &user);
            client.command("UID STORE 1:* -FLAGS.SILENT (\\Seen)");
            drop(client);
            let unread_now = letters((0..5).filter(|n| !is_collected(*n)));
            assert_eq!(scene.once(), unread_now, "{what}: what was read before and never collected");
            assert_eq!(scene.once(), letters([]), "{what}: at the end");
        }
    }
}

#[test]
fn every_pair_by_imap_dovecot() {
    every_pair(&Dovecot::start());
}

#[test]
fn every_pair_by_imap_cyrus() {
    every_pair(&Cyrus::start());
}

#[test]
fn every_pair_by_pop3() {
    for server in families() {
        let server = &*server;
        for (collect, after) in [("new", "keep"), ("new", "delete"), ("new", "{delete_after: 1h}"), ("all", "delete"), ("all", "{delete_after: 1h}")]
        {
            let (what, user) = (
                format!("{}: {collect} × {after}", server.family()),
                format!("{collect}{}", after.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "")),
            );
            fill(server, &user, 0..4);
            // Flags are no concern of POP3's.
            flag(server, &user, 1, "\\Seen");
            flag(server, &user, 2, "\\Flagged");
            let scene = Scene::new(&CollectorYaml::pop3(server, &user).forward_to(BOX).set("collect", collect).after(after));
            assert_eq!(scene.once(), letters(0..4), "{what}");
            let left = |numbers: std::ops::Range<usize>| if after == "delete" { letters([]) } else { letters(numbers) };
            assert_eq!(maildir::subjects(&server.messages(&user)), left(0..4), "{what}");
            assert_eq!(scene.once(), letters([]), "{what}: a second pass");
            fill(server, &user, 4..5);
            assert_eq!(scene.once(), letters([4]), "{what}: a third pass");
            assert_eq!(maildir::subjects(&server.messages(&user)), left(0..5), "{what}");
            assert_eq!(scene.once(), letters([]), "{what}: at the end");
        }
    }
}

/// What the operator changes from one day to the next: what was kept stays, what was owed is not delivered again.
#[test]
fn a_change_of_after_brings_nothing_twice_and_deletes_nothing_old() {
    let server = Dovecot::start();
    fill(&server, "box", 0..3);
    let collector = |collect: &str, after: &str| CollectorYaml::imap(&server, "box").forward_to(BOX).set("collect", collect).after(after);
    let scene = Scene::new(&collector("new", "keep"));
    assert_eq!(scene.once(), letters(0..3));
    for (n, (collect, after)) in
        [("new", "mark_seen"), ("unseen", "keep"), ("new", "delete"), ("unseen", "mark_seen"), ("new", "keep")].into_iter().enumerate()
    {
        scene.configure(&collector(collect, after));
        assert_eq!(scene.once(), letters([]), "{collect} × {after}");
        fill(&server, "box", n + 3..n + 4);
        assert_eq!(scene.once(), letters([n + 3]), "{collect} × {after}");
    }
    assert_eq!(subjects_in(&server, "box", "INBOX"), letters([0, 1, 2, 3, 4, 6, 7]));
}
