//! Repair of the header.

use super::*;

const F: Fingerprint = Fingerprint([0xab; 32]);

fn added(text: &str) -> String {
    String::from_utf8(missing(&header(text), &F, "gate.икс.рф")).unwrap().replace("\r\n", "\n")
}

#[test]
fn s8_missing_fields() {
    let id = "ab".repeat(32);
    let dated = "Received: from x by y; Mon, 16 Nov 2026 10:00:00 +0300 (MSK)\n";
    for (text, want) in [
        ("Message-ID: <1@x>\nDate: Mon, 16 Nov 2026 10:00:00 +0300\n".to_owned(), String::new()),
        ("message-id:\ndate:\n".into(), String::new()),
        ("Date: x\n".into(), format!("Message-ID: <{id}@gate.xn--h1aev.xn--p1ai>\n")),
        (format!("{dated}Message-ID: <1@x>\n"), "Date: Mon, 16 Nov 2026 10:00:00 +0300\n".into()),
        // The topmost that parses.
        (format!("Received: by z\nReceived: by z; soon\n{dated}Message-ID: <1@x>\n"), "Date: Mon, 16 Nov 2026 10:00:00 +0300\n".into()),
        ("Received: by z; Tue, 16 Nov 2026 7:0:05 GMT\nMessage-ID: <1@x>\n".into(), String::new()),
        ("Received: by z; Tue, 16 Nov 2026 07:00:05 GMT\nMessage-ID: <1@x>\n".into(), "Date: Mon, 16 Nov 2026 07:00:05 +0000\n".into()),
        ("Received: by z; 16 Nov 26 07:00 -0500\nMessage-ID: <1@x>\n".into(), "Date: Mon, 16 Nov 2026 07:00:00 -0500\n".into()),
        ("Message-ID: <1@x>\n".into(), String::new()),
        // No header: nothing, and no empty message either.
        ("just text\n".into(), String::new()),
        ("\nbody\n".into(), String::new()),
        (String::new(), String::new()),
    ] {
        assert_eq!(added(&text), want, "of {text:?}");
    }
    assert_eq!(missing(&header(&"X: y\n".repeat(2_001)), &F, "h"), b"", "the rest of the header was not read");
}

#[test]
fn s8_the_same_for_a_re_collect_and_another_for_another_alarm() {
    let alarm = |second: u8| format!("Received: from x by y id {second}; Mon, 16 Nov 2026 10:00:0{second} +0300\nSubject: disk full\n");
    assert_eq!(added(&alarm(1)), added(&alarm(1)));
    assert_ne!(added(&alarm(1)), added(&alarm(2)), "a server would take the second alarm for a duplicate");
    // Where a Date tells them apart, the copies for two people keep one name.
    let copy = |id: u8| format!("Received: from x by y id {id}; d\nDate: Mon, 16 Nov 2026 10:00:00 +0300\n");
    assert_eq!(added(&copy(1)), added(&copy(2)));
}

#[test]
fn s8_no_host_name_breaks_the_line() {
    for host in ["", "a b", "x\r\nBcc: y@z", "localhost", "[::1]"] {
        let lines = String::from_utf8(missing(&header("Date: x\n"), &F, host)).unwrap();
        assert!(lines.starts_with("Message-ID: <abab") && lines.ends_with(">\r\n") && lines.matches("\r\n").count() == 1, "{lines:?}");
    }
}

/// Lines of so many octets, with white space each `gap`.
fn long(len: usize, gap: usize) -> String {
    (1..=len).map(|at| if at % gap == 0 { ' ' } else { 'x' }).collect()
}

#[test]
fn s8_over_long_header_lines_are_folded() {
    for (what, text, folds) in [
        ("short", format!("A: {}\n", "x ".repeat(400)), 0),
        ("998 octets", format!("A: {}x\n", long(994, 10)), 0),
        ("999 octets", format!("A: {}x\n", long(995, 10)), 1),
        ("many", format!("A: {}x\n", long(10_000, 7)), 10),
        ("no white space but behind the colon", format!("A: {}\n", "x".repeat(5_000)), 1),
        ("none at all", format!("A:{}\n", "x".repeat(5_000)), 0),
        ("white space at the end only", format!("A:{}     \n", "x".repeat(5_000)), 0),
        ("white space only", format!("A:{}\n", " ".repeat(5_000)), 0),
        ("a continuation line", format!("A: x\n\t{}x\nB: y\n", long(1_500, 9)), 1),
        ("a blank before the colon", format!("A : {}\n", "x".repeat(2_000)), 1),
        ("above what is read of a field", format!("A: {}x\n", long(70_000, 100)), 77),
        ("the body", format!("A: x\n\n{}\n", long(5_000, 9)), 0),
    ] {
        let raw = canonical(text.as_bytes());
        let header = HeaderBlock::parse(raw.clone());
        let edits = fold(&header);
        assert_eq!(edits.len(), folds, "{what}");
        let after = apply(&raw, &edits);
        // Folding is undone by unfolding (RFC 5322 §2.2.3).
        let folded = HeaderBlock::parse(canonical(after.as_bytes()));
        assert_eq!(folded.fields().len(), header.fields().len(), "{what}");
        for (one, other) in header.fields().iter().zip(folded.fields()) {
            assert_eq!(header.text(one), folded.text(other), "{what}");
        }
        assert!(!after.lines().any(|line| !line.is_empty() && line.trim().is_empty()) || what.starts_with("white"), "{what}");
        let can_fold = !["none", "white", "no white", "a blank", "the body"].iter().any(|start| what.starts_with(start));
        assert!(!can_fold || after.lines().all(|line| line.len() <= 998), "{what}: {:?}", after.lines().map(str::len).max());
    }
}

#[test]
fn s8_folds_join_the_edits() {
    let text = format!("Status: {0}\nSubject: {0}\nBcc: {0}\nX: {0}\n", long(2_000, 9));
    let raw = canonical(text.as_bytes());
    let header = HeaderBlock::parse(raw.clone());
    let resolution = resolved(2, "Envelope-To", None, &["a@local.example"]);
    let edits = edits(&header, &resolution, resolution.recipients(), "gate.example", &HeaderOptions::default());
    let merged = merge(edits, fold(&header));
    let after = apply(&raw, &merged);
    assert!(!after.contains("Status") && !after.contains("Bcc") && after.lines().all(|line| line.len() <= 998), "{after}");
    assert_eq!(after.matches('\n').count(), 6);
    assert_eq!(merge(Vec::new(), fold(&header)).len(), 8);
    assert_eq!(merge(merged.clone(), Vec::new()), merged);
}
