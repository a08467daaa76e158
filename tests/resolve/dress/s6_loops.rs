//! Loops.

use super::*;

const F: Fingerprint = Fingerprint([1; 32]);

fn guard() -> LoopGuard {
    LoopGuard::new([7; 32], "one")
}

fn mark(guard: &LoopGuard, login: &str, fingerprint: &Fingerprint, recipients: &[&str]) -> String {
    format!("X-Mailgather-Loop: {}\n", guard.mint(&mailbox(login), fingerprint, &to(recipients)))
}

fn check(text: &str, login: &str, fingerprint: &Fingerprint, recipients: &[&str]) -> Option<Loop> {
    guard().check(&header(text), &mailbox(login), fingerprint, &to(recipients), 50, 3)
}

#[test]
fn s6_max_hops_counts_the_whole_header() {
    for (hops, max, is_loop) in [(49, 50, false), (50, 50, true), (51, 50, true), (3, 3, true), (500, 0, false)] {
        let text = format!("{}From: a@b.example\n{}", "Received: by x; d\n".repeat(hops / 2), "rEceived: by y; d\n".repeat(hops - hops / 2));
        let found = guard().check(&header(&text), &mailbox("u"), &F, &to(&["a@local.example"]), max, 3);
        assert_eq!(found, is_loop.then_some(Loop::Hops { count: hops, max }));
    }
}

#[test]
fn s6_the_same_mailbox_and_recipient_is_a_loop_at_once() {
    let text = mark(&guard(), "u", &F, &["a@local.example", "b@local.example"]);
    for (login, recipients, want) in [
        ("u", &["a@local.example"][..], Some(Loop::SeenHere)),
        ("u", &["c@local.example", "B@local.example"], Some(Loop::SeenHere)),
        ("u", &["c@local.example"], None),
        ("v", &["a@local.example"], None),
    ] {
        assert_eq!(check(&text, login, &F, recipients), want, "{login} {recipients:?}");
    }
}

#[test]
fn s6_forged_and_replayed_markers_do_not_count() {
    let good = mark(&guard(), "u", &F, &["a@local.example"]);
    let other_message = mark(&guard(), "u", &Fingerprint([2; 32]), &["a@local.example"]);
    let other_key = mark(&LoopGuard::new([8; 32], "one"), "u", &F, &["a@local.example"]);
    let other_instance = mark(&LoopGuard::new([7; 32], "two"), "u", &F, &["a@local.example"]);
    let words: Vec<&str> = good.split_whitespace().collect();
    let other: Vec<&str> = other_message.split_whitespace().collect();
    // Parts of two good markers, put together.
    let mixed = |mac: &str, mailbox: &str, tag: &str| format!("X-Mailgather-Loop: 1 {mac} {mailbox} {tag}\n");
    let forged = [
        other_message.clone(),
        other_key,
        other_instance,
        mixed(other[2], words[3], words[4]),
        mixed(words[2], words[3], other[4]),
        mixed(&"0".repeat(32), words[3], words[4]),
        format!("X-Mailgather-Loop: 1 {}\n", words[2]),
        format!("X-Mailgather-Loop: {} {}\n", words[1..].join(" "), words[4]),
        good.replace("X-Mailgather-Loop", "X-Mailgather-Loop-Copy"),
    ];
    for text in &forged {
        assert_eq!(check(text, "u", &F, &["a@local.example"]), None, "{text}");
    }
    // However many: they are not passes either.
    assert_eq!(check(&forged.concat().repeat(5), "v", &F, &["a@local.example"]), None);
    assert_eq!(check(&good, "u", &F, &["a@local.example"]), Some(Loop::SeenHere));
    assert_eq!(check(&(forged.concat() + &good), "u", &F, &["a@local.example"]), Some(Loop::SeenHere), "a good one below forged ones");
}

#[test]
fn s6_other_collectors_may_pass_max_passes_times() {
    let text: String = ["a", "b", "c"].map(|login| mark(&guard(), login, &F, &["a@local.example"])).concat();
    for (max, want) in [(0, None), (4, None), (3, Some(Loop::Passes { count: 3, max: 3 })), (1, Some(Loop::Passes { count: 3, max: 1 }))] {
        assert_eq!(guard().check(&header(&text), &mailbox("me"), &F, &to(&["a@local.example"]), 50, max), want, "{max}");
    }
    let one_thrice = mark(&guard(), "a", &F, &["a@local.example"]).repeat(3);
    assert_eq!(check(&one_thrice, "me", &F, &["a@local.example"]), None, "one marker counts once");
}

#[test]
fn s6_a_message_that_got_its_message_id_from_us_is_known_again() {
    for date in ["", "Date: Mon, 16 Nov 2026 10:00:00 +0300\n"] {
        let text = format!("{OUTSIDE}{date}Subject: alarm\n");
        let added = String::from_utf8(missing(&header(&text), &F, "gate.example")).unwrap();
        let back = format!("{}{added}{text}", mark(&guard(), "u", &F, &["a@local.example"]));
        // Its fingerprint holds the Message-ID now.
        assert_eq!(check(&back, "u", &Fingerprint([9; 32]), &["a@local.example"]), Some(Loop::SeenHere), "{back}");
        assert_eq!(check(&back, "u", &Fingerprint([9; 32]), &["b@local.example"]), None);
        let moved = back.replace(&"01".repeat(32), &"02".repeat(32));
        assert_eq!(check(&moved, "u", &Fingerprint([9; 32]), &["a@local.example"]), None);
    }
}
