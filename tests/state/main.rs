//! State that survives: forgetting and marking (`mailgather clear`), UIDs and UIDLs that are given out anew, copies that were only flagged.

#[path = "../support/mod.rs"]
mod support;

mod clear;
mod epochs;
mod flagged;
mod migration;
mod uidl;

use support::*;

const BOX: &str = "box@example.org";

/// A letter of its own, as real mail is.
fn letter(n: usize) -> Vec<u8> {
    format!(
        "Received: from a.example by b.example; Sat, 21 Nov 2026 10:00:{:02} +0000\r\nFrom: s@x.example\r\nTo: {BOX}\r\nSubject: letter {n}\r\nMessage-ID: <{n}@x.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nBody {n}\r\n",
        n % 60
    )
    .into_bytes()
}

fn fill(server: &Dovecot, user: &str, numbers: std::ops::Range<usize>) {
    numbers.for_each(|n| server.put(user, &letter(n)));
}

/// Their subjects, sorted.
fn letters(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut subjects: Vec<String> = numbers.into_iter().map(|n| format!("letter {n}")).collect();
    subjects.sort();
    subjects
}

/// What arrived, sorted.
fn arrived(boxes: &Boxes) -> Vec<String> {
    let mut subjects = boxes.subjects(BOX);
    subjects.sort();
    subjects
}

/// Everything goes to one box.
fn forwarding(collector: CollectorYaml) -> CollectorYaml {
    collector.forward_to(BOX)
}

/// The resolver decides, so that letters are remembered for a week and duplicates suppressed.
fn resolving(collector: CollectorYaml) -> CollectorYaml {
    collector.auto("true", BOX)
}
