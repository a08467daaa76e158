//! Section 6: loops, and messages that are none.

use super::*;

fn guard() -> LoopGuard {
    LoopGuard::new([7; 32], "one")
}

fn to(text: &str) -> Vec<Recipient> {
    vec![Recipient::new(a(text))]
}

#[test]
fn the_same_mailbox_and_recipient_at_once() {
    let f = Fingerprint([1; 32]);
    let marked = header(&format!("X-Mailgather-Loop: {}\n", guard().mint(&mailbox("u"), &f, &to("anna@local.example"))));
    let check = |guard: &LoopGuard, login: &str, f, recipient: &str| guard.check(&marked, &mailbox(login), &f, &to(recipient), 50, 3);
    assert_eq!(check(&guard(), "u", f, "Anna@local.example"), Some(Loop::SeenHere));
    assert_eq!(check(&guard(), "u", f, "boris@local.example"), None);
    assert_eq!(check(&guard(), "v", f, "anna@local.example"), None);
    // Another message, another instance, another key: not ours.
    assert_eq!(check(&guard(), "u", Fingerprint([2; 32]), "anna@local.example"), None);
    assert_eq!(check(&LoopGuard::new([7; 32], "two"), "u", f, "anna@local.example"), None);
    assert_eq!(check(&LoopGuard::new([8; 32], "one"), "u", f, "anna@local.example"), None);
}

#[test]
fn other_collectors_pass_a_few_times() {
    let f = Fingerprint([1; 32]);
    let marks = |logins: &[&str]| {
        header(
            &logins
                .iter()
                .map(|login| format!("X-Mailgather-Loop: {}\n", guard().mint(&mailbox(login), &f, &to("a@local.example"))))
                .collect::<String>(),
        )
    };
    let check = |logins: &[&str]| guard().check(&marks(logins), &mailbox("me"), &f, &to("a@local.example"), 50, 3);
    assert_eq!(check(&["a", "b"]), None);
    assert_eq!(check(&["a", "b", "b", "b"]), None);
    assert_eq!(check(&["a", "b", "c"]), Some(Loop::Passes { count: 3, max: 3 }));
}

#[test]
fn a_tampered_or_strange_marker_is_nothing() {
    let f = Fingerprint([1; 32]);
    let good = guard().mint(&mailbox("u"), &f, &to("a@local.example"));
    let mut bad = good.clone().into_bytes();
    bad[3] = if bad[3] == b'0' { b'1' } else { b'0' };
    for value in [String::from_utf8(bad).unwrap(), String::new(), "1".into(), "2 a b".into(), format!("{good} zz"), "1 é é é".into()] {
        assert_eq!(
            guard().check(&header(&format!("X-Mailgather-Loop: {value}\n")), &mailbox("u"), &f, &to("a@local.example"), 50, 3),
            None,
            "{value}"
        );
    }
}

#[test]
fn hops_are_counted() {
    let f = Fingerprint([1; 32]);
    let check = |n, max| guard().check(&header(&"Received: by x; d\n".repeat(n)), &mailbox("u"), &f, &to("a@local.example"), max, 3);
    assert_eq!(check(49, 50), None);
    assert_eq!(check(50, 50), Some(Loop::Hops { count: 50, max: 50 }));
    assert_eq!(check(50, 0), None);
}

#[test]
fn the_internal_message_of_uw_imap() {
    let text = "X-IMAP: 1 2\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\n";
    assert!(is_internal_message(&header(text)));
    assert!(!is_internal_message(&header("X-IMAP: 1 2\nSubject: hello\n\n")));
    assert!(!is_internal_message(&header("Subject: DON'T DELETE THIS MESSAGE\n\n")));
    assert!(!is_internal_message(&header(&format!("{OUTSIDE}{text}"))), "it came from outside");
}
