//! Section 1: what is read from a header, however it is written.

use super::*;
use mailgather::mail::header::{FIELD_OCTETS_MAX, FIELDS_MAX, HEADER_OCTETS_MAX};

fn names(text: &str) -> Vec<String> {
    let header = header(text);
    header.fields().iter().map(|field| String::from_utf8_lossy(header.name(field)).into_owned()).collect()
}

#[test]
fn s1_where_the_header_starts_and_ends() {
    for (text, want) in [
        ("A: 1\n\nB: 2\n", &["A"][..]),
        ("A: 1\r\n\r\nB: 2\r\n", &["A"]),
        ("A: 1\r\rB: 2\r", &["A"]),
        ("A: 1\nB: 2\n", &["A", "B"]),
        // What stands before it.
        ("From x@y Mon Jan 1 00:00:00 2026\nA: 1\n\n", &["A"]),
        (">From x@y Mon Jan 1 00:00:00 2026\nA: 1\n\n", &["A"]),
        ("\u{feff}A: 1\n\n", &["A"]),
        ("\u{feff}From x@y Mon\nA: 1\n\n", &["A"]),
        // A line that is no field is passed over, and the header goes on.
        ("A: 1\nno colon here\nB: 2\n\n", &["A", "B"]),
        ("A: 1\nmit Umlaut ä: x\nB: 2\n\n", &["A", "B"]),
        ("A: 1\nFrom x@y Mon\nB: 2\n\n", &["A", "B"]),
        ("A: 1\n: nameless\nB: 2\n\n", &["A", "B"]),
        ("A : 1\nB\t: 2\n\n", &["A", "B"]),
        // No header at all: all of it is body.
        ("just text\nA: 1\n\n", &[]),
        ("\nA: 1\n", &[]),
        (" folded: yes\nA: 1\n", &[]),
        ("", &[]),
    ] {
        assert_eq!(names(text), want, "of {text:?}");
    }
}

#[test]
fn s1_a_header_that_is_none_goes_to_the_default_box() {
    for text in ["", "\n", "just text\nX-Original-To: anna@provider.example\n", "\nX-Original-To: anna@provider.example\n"] {
        assert_eq!(who(text, &rules()), ["default: no_header"], "of {text:?}");
    }
}

#[test]
fn s1_folded_and_misplaced_lines() {
    for (fields, want) in [
        ("X-Original-To:\n anna@provider.example\n", "anna@provider.example"),
        ("X-Original-To:\n\t\n\t<anna@provider.example>\n", "anna@provider.example"),
        ("X-Original-To: Anna\n  <anna@provider.example\n >\n", "anna@provider.example"),
        ("rubbish without a colon\nX-Original-To: anna@provider.example\n", "default: no_header"),
        ("A: 1\nrubbish\n X-Original-To: boris@provider.example\nEnvelope-To: anna@provider.example\n", "anna@provider.example"),
        ("From x@y Mon Jan 1\nX-Original-To: anna@provider.example\n", "anna@provider.example"),
        ("\u{feff}X-Original-To: anna@provider.example\n", "anna@provider.example"),
        ("X-ORIGINAL-to : anna@provider.example\n", "anna@provider.example"),
    ] {
        assert_eq!(who(&format!("{fields}{OUTSIDE}"), &rules()).join(" "), want, "of {fields:?}");
    }
}

#[test]
fn s1_addresses_survive_what_stands_around_them() {
    for (value, want) in [
        ("\"Doe, Anna <x@y.example>\" <anna@provider.example>", "anna@provider.example"),
        ("\"a \\\" <b@provider.example>, \" <anna@provider.example>", "anna@provider.example"),
        ("anna@provider.example (boris@provider.example)", "anna@provider.example"),
        ("(a (nested, boris@provider.example) one) anna@provider.example", "anna@provider.example"),
        ("undisclosed-recipients:;", "default: no_envelope_header"),
        ("Team: anna@provider.example, Boris <boris@provider.example>;", "anna@provider.example boris@provider.example"),
        ("Team: <anna@provider.example>", "anna@provider.example"),
        ("<anna@provider.example", "anna@provider.example"),
        ("anna@provider.example>", "anna@provider.example"),
        ("<<anna@provider.example>>", "anna@provider.example"),
        ("Anna <anna@provider.example, Boris <boris@provider.example>", "anna@provider.example boris@provider.example"),
        ("\"no end <anna@provider.example>", "anna@provider.example"),
        ("(no end <anna@provider.example>", "anna@provider.example"),
        ("=?utf-8?B?0JDQvdC90LA=?= <anna@provider.example>", "anna@provider.example"),
        ("=?utf-8?B?!!! <anna@provider.example>", "anna@provider.example"),
        ("=?utf-8?Q?anna=40provider=2Eexample?=", "default: no_envelope_header"),
        ("=?x?Q?=0D=0ARCPT_TO:<x@provider.example>?=", "x@provider.example"),
        ("rfc822;anna@provider.example", "anna@provider.example"),
        ("<@relay.example:anna@provider.example>", "anna@provider.example"),
        ("\"anna\"@provider.example", "anna@provider.example"),
        ("anna@[192.0.2.1]", "default: no_envelope_header"),
        ("anna@", "default: no_envelope_header"),
        ("@provider.example", "default: no_envelope_header"),
        ("anna at provider.example", "default: no_envelope_header"),
        (" ", "default: no_envelope_header"),
    ] {
        assert_eq!(who(&format!("X-Original-To: {value}\n{OUTSIDE}"), &rules()).join(" "), want, "of {value:?}");
    }
}

#[test]
fn s1_octets_that_are_no_utf8_name_nobody() {
    for value in [&b"\xe0\xed\xed\xe0@provider.example"[..], b"anna@\xff.example", b"<\xc3@provider.example>"] {
        let text = [b"X-Original-To: ", value, b"\r\n", OUTSIDE.trim_end().as_bytes(), b"\r\n\r\n"].concat();
        let (resolution, _) = resolve(&HeaderBlock::parse(Bytes::from(text)), &rules());
        assert_eq!(resolution.reason(), Some(Reason::NoEnvelopeHeader), "of {value:?}");
    }
}

#[test]
fn s1_beyond_a_limit_what_was_read_decides() {
    let found = format!("X-Original-To: anna@provider.example\n{OUTSIDE}");
    let flood = "X-Flood: y\n";
    // More fields, more octets than are read: the message is resolved with those above.
    for more in [flood.repeat(FIELDS_MAX), format!("X: {}\n", "y".repeat(HEADER_OCTETS_MAX)), "X: y\n z\n".repeat(HEADER_OCTETS_MAX / 8)] {
        let text = format!("{found}{more}Delivered-To: boris@provider.example\n\n");
        assert!(header(&text).is_truncated());
        assert_eq!(who(&text, &rules()), ["anna@provider.example"]);
    }
    // The envelope stands behind the limit: the default box.
    assert_eq!(who(&format!("{}{found}\n", flood.repeat(FIELDS_MAX)), &rules()), ["default: no_envelope_header"]);
    assert_eq!(who(&format!("X: {}\n{found}\n", "y".repeat(HEADER_OCTETS_MAX)), &rules()), ["default: no_header"]);
    // A field that is too long counts as present and empty; the next header is asked.
    let long = format!("X-Original-To: boris@provider.example{}\n", " ".repeat(FIELD_OCTETS_MAX));
    assert_eq!(who(&format!("{long}Envelope-To: anna@provider.example\n{OUTSIDE}"), &rules()), ["anna@provider.example"]);
}
