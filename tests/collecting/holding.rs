//! `on_hold`: what becomes of the source's copy of mail that is held.

use super::kit::*;
use crate::support::*;

/// Nobody is found for it, and so it is held.
const HOLD: &str = "{auto: {domains: [example.org]}, unresolved: hold}";

fn holding(server: &Dovecot, user: &str, on_hold: &str) -> CollectorYaml {
    CollectorYaml::imap(server, user).set("recipient", HOLD).set("on_hold", on_hold)
}

/// Letters that nobody here gets.
fn fill_for_nobody(server: &Dovecot, user: &str, numbers: std::ops::Range<usize>) {
    numbers.for_each(|n| server.put(user, &corpus::letter(n, "ivan@other.example")));
}

fn held(scene: &Scene) -> usize {
    let listed = scene.program.run_to_end("held", &["list"]).expect_success().stdout;
    listed.lines().filter(|line| line.contains("letter ")).count()
}

#[test]
fn the_copy_is_kept_moved_or_deleted() {
    let server = Dovecot::start();
    for (user, on_hold, after, here, there) in [
        ("keep", "keep", "keep", letters(0..3), None),
        ("keepdelete", "keep", "delete", letters(0..3), None),
        ("move", "{move_to: Held}", "keep", letters([]), Some(letters(0..3))),
        ("movedelete", "{move_to: Held}", "delete", letters([]), Some(letters(0..3))),
        ("moveseen", "{move_to: Held}", "mark_seen", letters([]), Some(letters(0..3))),
        ("delete", "delete", "delete", letters([]), None),
    ] {
        fill_for_nobody(&server, user, 0..3);
        let scene = Scene::new(&holding(&server, user, on_hold).after(after));
        assert_eq!(scene.once(), letters([]), "{user}");
        assert_eq!(held(&scene), 3, "{user}");
        assert_eq!(subjects_in(&server, user, "INBOX"), here, "{user}");
        assert_eq!(inside(&server, user, "Held").map(|there| there.into_iter().map(|(subject, _)| subject).collect::<Vec<_>>()), there, "{user}");
        // Held once, whatever later passes see; and what is new is treated the same.
        assert_eq!((scene.once(), held(&scene)), (letters([]), 3), "{user}");
        fill_for_nobody(&server, user, 3..4);
        assert_eq!((scene.once(), held(&scene)), (letters([]), 4), "{user}");
        assert_eq!(subjects_in(&server, user, "INBOX").len(), if here.is_empty() { 0 } else { 4 }, "{user}");
    }
}

/// Killed between the holding and the move, or the folder is not there yet: the copy is owed its move, and held mail is never fetched again.
#[test]
fn a_move_that_is_owed_is_made_up_for() {
    let server = Dovecot::start();
    // With the separator `.` there is no such name.
    fill_for_nobody(&server, "refused", 0..2);
    let scene = Scene::new(&holding(&server, "refused", "{move_to: a/b}"));
    let (_, said) = scene.once_code(75);
    assert!(said.stderr.contains("a/b"), "{}", said.stderr);
    assert_eq!((held(&scene), server.count("refused")), (2, 2));
    fill_for_nobody(&server, "refused", 2..3);
    scene.once_code(75);
    assert_eq!((held(&scene), server.count("refused")), (3, 3), "new mail does not wait for it");
    scene.configure(&holding(&server, "refused", "{move_to: Held}"));
    assert_eq!(scene.once(), letters([]));
    assert_eq!((held(&scene), server.count("refused"), subjects_in(&server, "refused", "Held")), (3, 0, letters(0..3)));

    for (n, (call, k)) in [("sendto", 4), ("sendto", 5), ("sendto", 6), ("sendto", 7), ("fdatasync", 2), ("rename", 1)].into_iter().enumerate() {
        let user = &format!("killed{n}");
        fill_for_nobody(&server, user, 0..2);
        let scene = Scene::new(&holding(&server, user, "{move_to: Held}"));
        strace::once_with_fault(&scene.program, call, "signal=KILL", k);
        assert_eq!(scene.once(), letters([]), "{call} {k}");
        assert_eq!(scene.once(), letters([]), "{call} {k}");
        assert_eq!((held(&scene), server.count(user), subjects_in(&server, user, "Held")), (2, 0, letters(0..2)), "{call} {k}");
    }
}

/// A folder may hold in its own way: `move_to` is the collector's, `after` the folder's.
#[test]
fn delivered_and_held_mail_of_one_mailbox() {
    let server = Dovecot::start();
    let user = "mixed";
    fill_for_nobody(&server, user, 0..2);
    (2..5).for_each(|n| server.put(user, &corpus::letter(n, "anna@example.org")));
    let scene = Scene::new(&holding(&server, user, "{move_to: Held}").after("delete"));
    assert_eq!(scene.once(), letters(2..5));
    assert_eq!((held(&scene), server.count(user), subjects_in(&server, user, "Held")), (2, 0, letters(0..2)));
}

/// What the operator dropped, nobody got: its copy stays, under another UIDVALIDITY and beyond every age, and does not come again.
#[test]
fn what_was_dropped_is_not_deleted_when_its_age_is_over() {
    let server = Dovecot::start();
    fill_for_nobody(&server, "box", 0..2);
    let scene = Scene::new(&holding(&server, "box", "keep").after("{delete_after: 1s}"));
    assert_eq!((scene.once(), held(&scene)), (letters([]), 2));
    scene.program.run_to_end("held", &["drop", "--all", "--yes"]).expect_success();
    for _ in 0..2 {
        server.new_uidvalidity("box");
        assert_eq!((scene.once(), held(&scene)), (letters([]), 0));
        std::thread::sleep(std::time::Duration::from_millis(2500));
        for _ in 0..2 {
            assert_eq!((scene.once(), held(&scene)), (letters([]), 0));
        }
        assert_eq!(subjects_in(&server, "box", "INBOX"), letters(0..2));
    }
}
