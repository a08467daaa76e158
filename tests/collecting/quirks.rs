//! Tolerances of docs/quirks.md that only a real server can show.

use super::kit::*;
use crate::support::*;

/// Gmail shows one message in the folder of each of its labels and in `\All`: another copy of the same letter for the same recipient is disposed of, and
/// delivered once, within `dedupe_window`.
#[test]
fn quirk_one_message_in_several_folders() {
    let server = Dovecot::start();
    for (n, (window, copies)) in [("1d", 1), ("0", 2)].into_iter().enumerate() {
        let user = &format!("box{n}");
        make_folder(&server, user, "All");
        fill(&server, user, 0..2);
        (0..2).for_each(|n| Maildir(server.maildir(user).0.join(".All")).put(&corpus::letter(n, "anna@pop.example")));
        let collector = CollectorYaml::imap(&server, user).forward_to(BOX).set("folders", "[INBOX, All]").after("delete");
        let scene = Scene::new(&collector.set("dedupe_window", window));
        assert_eq!(scene.once(), letters((0..2).flat_map(|n| std::iter::repeat_n(n, copies))), "dedupe_window: {window}");
        assert!(["INBOX", "All"].iter().all(|folder| subjects_in(&server, user, folder).is_empty()), "dedupe_window: {window}");
    }
}

/// The first message of an mbox of UW IMAP and its heirs is their state: it is no mail, and whoever deletes it takes the mailbox's memory.
#[test]
fn quirk_the_internal_message_of_uw_imap_stays() {
    let server = Dovecot::start();
    let state = b"From: Mail System Internal Data <MAILER-DAEMON@host>\r\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\n\
        Message-ID: <1@host>\r\nX-IMAP: 1700000000 0000000003\r\nStatus: RO\r\n\r\nThis text is part of the internal format of your mail folder.\r\n";
    for (protocol, user) in [CollectorYaml::imap as Protocol, CollectorYaml::pop3].into_iter().zip(["imap", "pop3"]) {
        server.put(user, state);
        fill(&server, user, 0..2);
        let scene = Scene::new(&protocol(&server, user).forward_to(BOX).after("delete"));
        assert_eq!(scene.once(), letters(0..2), "{user}");
        assert_eq!(scene.once(), letters([]), "{user}");
        assert_eq!(server.messages(user), [state], "{user}: it stays as it is");
    }
}
