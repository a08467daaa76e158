//! What the reader makes of lines as they come in the field, and that it agrees with `imap-codec` wherever that one can read them.

use super::super::framer::{Event, Framer};
use super::*;
use bytes::BytesMut;
use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::fetch::{MessageDataItem, Section};
use imap_codec::imap_types::response::{self as theirs, Data, StatusBody, StatusKind};
use proptest::prelude::*;

fn read(text: &str) -> Response {
    let (mut framer, mut buffer) = (Framer::new(), BytesMut::from(text.as_bytes()));
    loop {
        match framer.next(&mut buffer).unwrap().unwrap() {
            Event::Line(line) => return Response::parse(&line),
            Event::Search(_) => return Response::Other,
            _ => {}
        }
    }
}

fn status(state: State, code: Option<Code>, text: &str) -> Status {
    Status { state, code, text: text.into() }
}

fn named(name: &str) -> Option<Code> {
    Some(Code::Named(name.into()))
}

/// Lines that one of two well-known parsers, or both, cannot read.
#[test]
fn odd_lines_of_the_field() {
    let capabilities = |words: &str| Capabilities::parse(words.as_bytes());
    let tagged = |status| Response::Tagged { tag: "A2".into(), status };
    let fetched = |uid, size| Response::Fetch(Fetch { uid, size, ..Fetch::default() });
    let set = |uids: &[u32]| uids.iter().copied().collect::<crate::mail::UidSet>();
    let list = |attributes: &[&str], separator, name: Option<&str>| {
        let attributes = attributes.iter().map(ToString::to_string).collect();
        Response::List(ListedFolder { attributes, separator, name: name.map(|name| name.as_bytes().to_vec()) })
    };
    use Response::{Bye, Capability, Continue, Exists, Expunge, Garbage, Other, PreAuth, Recent, Untagged};
    for (line, wanted) in [
        ("* OK Gr\u{fc}\u{df} Gott", Untagged(status(State::Ok, None, "Gr\u{fc}\u{df} Gott"))),
        ("A2 OK", tagged(status(State::Ok, None, ""))),
        ("A2 ok  done ", tagged(status(State::Ok, None, "done"))),
        ("A2 NO [UNAVAILABLE] later", tagged(status(State::No, named("UNAVAILABLE"), "later"))),
        ("A2 NO [limit]", tagged(status(State::No, named("LIMIT"), ""))),
        ("A2 OK [COPYUID 1 2:3 4:5] x", tagged(status(State::Ok, Some(Code::CopyUid { epoch: 1, from: set(&[2, 3]), to: set(&[4, 5]) }), "x"))),
        ("A2 OK [COPYUID 1 9,3:2 4:6]", tagged(status(State::Ok, Some(Code::CopyUid { epoch: 1, from: set(&[2, 3, 9]), to: set(&[4, 5, 6]) }), ""))),
        ("A2 OK [COPYUID 1 2:* 4] x", tagged(status(State::Ok, named("COPYUID"), "x"))),
        ("A2 OK [COPYUID 1 0 4] x", tagged(status(State::Ok, named("COPYUID"), "x"))),
        ("A2 OK [COPYUID 1 2] x", tagged(status(State::Ok, named("COPYUID"), "x"))),
        ("A2 OK [broken", tagged(status(State::Ok, None, "[broken"))),
        ("* BYE", Bye(status(State::No, None, ""))),
        ("* OK [PERMANENTFLAGS (\\Seen $a]b \\*)] Limited", Untagged(status(State::Ok, named("PERMANENTFLAGS"), "Limited"))),
        ("* OK [X \"a]b\"] y", Untagged(status(State::Ok, named("X"), "y"))),
        ("* OK [UIDVALIDITY 7]", Untagged(status(State::Ok, Some(Code::UidValidity(7)), ""))),
        ("* OK [UIDVALIDITY x] y", Untagged(status(State::Ok, named("UIDVALIDITY"), "y"))),
        ("* OK [UIDVALIDITY 4294967296] y", Untagged(status(State::Ok, named("UIDVALIDITY"), "y"))),
        ("* OK [uidnext 8] y", Untagged(status(State::Ok, Some(Code::UidNext(8)), "y"))),
        ("* OK [HIGHESTMODSEQ 9223372036854775807] y", Untagged(status(State::Ok, named("HIGHESTMODSEQ"), "y"))),
        ("* PREAUTH [CAPABILITY IMAP4rev2] hi", PreAuth(status(State::Ok, Some(Code::Capability(capabilities("IMAP4REV2"))), "hi"))),
        ("* CAPABILITY IMAP4rev2  uidplus ", Capability(capabilities("IMAP4REV2 UIDPLUS"))),
        ("* 3 EXISTS ", Exists(3)),
        ("* 4294967296 EXISTS", Other),
        ("* 3 expunge", Expunge),
        ("* FLAGS ( \\Seen)", Other),
        ("* FLAGS (\u{e4} \\Seen)", Other),
        ("* NAMESPACE ((\"\" \"/\")) NIL NIL", Other),
        ("* 3 RECENT", Recent(3)),
        ("* LIST (\\HasNoChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))", list(&["\\HasNoChildren"], Some('/'), Some("a"))),
        ("* list () NIL \"a \\\"b\"", list(&[], None, Some("a \"b"))),
        ("* XLIST (\\Inbox \\X) \".\" [Gmail]/a", list(&["\\Inbox", "\\X"], Some('.'), Some("[Gmail]/a"))),
        ("* LIST () \"/\" {3}\r\na\0b", list(&[], Some('/'), Some("a\0b"))),
        ("* LIST () \"/\" open[", list(&[], Some('/'), Some("open["))),
        ("* LIST () \"/\"", list(&[], Some('/'), None)),
        ("* LIST () \"/\" \"open", list(&[], Some('/'), None)),
        ("* LIST (", list(&[], None, None)),
        ("* LIST", list(&[], None, None)),
        ("* STATUS x (SIZE 44421)", Other),
        ("* XYZZY \"open", Other),
        ("*", Garbage),
        ("", Other),
        ("+", Continue),
        ("+ ", Continue),
        ("+ idling", Continue),
        ("Content-Type: text/plain", Garbage),
        ("* 5 FETCH (UID 7 RFC822.SIZE 5000000000)", fetched(Some(7), Some(5_000_000_000))),
        ("* 5 FETCH (FLAGS (a]b \u{e4}) UID 7)", fetched(Some(7), None)),
        ("* 5 FETCH ( UID 7 )", fetched(Some(7), None)),
        (
            "* 5 FETCH (UID 7 INTERNALDATE \"1-Jan-2026 00:00:00 +0000\" EMAILID (M1) X-GM-LABELS (\"\\\\Inbox\" a) X-GM-MSGID 9)",
            Response::Fetch(Fetch { uid: Some(7), date: Some(1_767_225_600), letter_id: Some(9), ..Fetch::default() }),
        ),
        ("* 5 FETCH (ENVELOPE (\"d\" \"\u{fc}\" ((NIL NIL \"a\" \"b\")) NIL) UID 7)", fetched(Some(7), None)),
        ("* 5 FETCH (BODY[HEADER.FIELDS (TO \"]\")] {3}\r\na)( UID 7)", fetched(Some(7), None)),
        ("* 5 FETCH (BODY[] NIL UID 7)", Response::Fetch(Fetch { uid: Some(7), body: Some(Body::Nil), ..Fetch::default() })),
        (
            "* 5 FETCH (BODY[] \"a\\\"b\" UID 7)",
            Response::Fetch(Fetch { uid: Some(7), body: Some(Body::Inline(b"a\"b".to_vec())), ..Default::default() }),
        ),
        (
            "* 5 FETCH (UID 7 body[]<4096> \"ab\")",
            Response::Fetch(Fetch { uid: Some(7), body: Some(Body::Inline(b"ab".to_vec())), origin: Some(4096), ..Default::default() }),
        ),
        ("* 5 FETCH (BINARY[] ~{2}\r\n\0x UID 7)", Response::Fetch(Fetch { uid: Some(7), body: Some(Body::Streamed(2)), ..Default::default() })),
    ] {
        assert_eq!(read(&format!("{line}\r\n")), wanted, "{line}");
    }
}

#[test]
fn a_fetch_that_contradicts_itself_is_broken() {
    for line in [
        "* 5 FETCH (UID 7 UID 8)",
        "* 5 FETCH (UID 7",
        "* 5 FETCH UID 7",
        "* 5 FETCH (UID 7) x",
        "* 5 FETCH (UID 0)",
        "* 5 FETCH (UID -1)",
        "* 5 FETCH (UID 4294967296)",
        "* 5 FETCH (BODY[] {2}\r\nab BODY[] {2}\r\nab UID 7)",
        "* 5 FETCH (BODY[] {2}\r\nabcd UID 7)",
        "* 5 FETCH (BODY[] (a) UID 7)",
        "* 5 FETCH (X (BODY[] {2}\r\nab",
    ] {
        assert!(matches!(read(&format!("{line}\r\n")), Response::Fetch(Fetch { broken: true, .. })), "{line}");
    }
}

/// Compares our reading with that of imap-codec; false if the latter cannot read the line.
fn agrees(text: &str) -> bool {
    let text = format!("{text}\r\n");
    let Ok((rest, response)) = ResponseCodec::default().decode(text.as_bytes()) else { return false };
    assert!(rest.is_empty(), "{text}");
    let ours = read(&text);
    match response {
        theirs::Response::CommandContinuationRequest(_) => assert_eq!(ours, Response::Continue),
        theirs::Response::Status(theirs::Status::Tagged(theirs::Tagged { tag, body })) => match &ours {
            Response::Tagged { tag: own, status } => {
                assert_eq!(own, tag.as_ref());
                same_status(&body, status, &text);
            }
            other => panic!("{text}: {other:?}"),
        },
        theirs::Response::Status(theirs::Status::Untagged(body)) => match &ours {
            Response::Untagged(status) => same_status(&body, status, &text),
            other => panic!("{text}: {other:?}"),
        },
        theirs::Response::Status(theirs::Status::Bye(_)) => assert!(matches!(ours, Response::Bye(_)), "{text}"),
        theirs::Response::Data(Data::Exists(number)) => assert_eq!(ours, Response::Exists(number)),
        theirs::Response::Data(Data::Recent(number)) => assert_eq!(ours, Response::Recent(number)),
        theirs::Response::Data(Data::List { .. }) => assert!(matches!(ours, Response::List(ListedFolder { name: Some(_), .. })), "{text}"),
        theirs::Response::Data(Data::Expunge(_)) => assert_eq!(ours, Response::Expunge),
        theirs::Response::Data(Data::Capability(all)) => match &ours {
            Response::Capability(own) => all.into_iter().for_each(|one| assert!(own.has(&one.to_string().to_ascii_uppercase()), "{text}: {one}")),
            other => panic!("{text}: {other:?}"),
        },
        theirs::Response::Data(Data::Fetch { items, .. }) => match &ours {
            Response::Fetch(fetch) => {
                assert!(!fetch.broken, "{text}");
                for item in items {
                    match item {
                        MessageDataItem::Uid(uid) => assert_eq!(fetch.uid, Some(uid.get())),
                        MessageDataItem::Rfc822Size(size) => assert_eq!(fetch.size, Some(u64::from(size))),
                        MessageDataItem::BodyExt { section: None::<Section<'_>>, data, .. } => {
                            let theirs = data.0.map(|data| data.as_ref().len() as u64);
                            let own = match fetch.body.as_ref().unwrap() {
                                Body::Streamed(size) => Some(*size),
                                Body::Inline(octets) => Some(octets.len() as u64),
                                Body::Nil => None,
                            };
                            assert_eq!(own, theirs, "{text}");
                        }
                        _ => {}
                    }
                }
            }
            other => panic!("{text}: {other:?}"),
        },
        _ => assert_eq!(ours, Response::Other, "{text}"),
    }
    true
}

fn same_status(body: &StatusBody<'_>, ours: &Status, text: &str) {
    let kind = match body.kind {
        StatusKind::Ok => State::Ok,
        StatusKind::No => State::No,
        StatusKind::Bad => State::Bad,
    };
    assert_eq!((ours.state, ours.text.as_str()), (kind, body.text.inner().trim()), "{text}");
    assert_eq!(ours.code.is_some(), body.code.is_some(), "{text}");
    match (&body.code, &ours.code) {
        (Some(theirs::Code::UidValidity(number)), own) => assert_eq!(*own, Some(Code::UidValidity(number.get())), "{text}"),
        (Some(theirs::Code::UidNext(number)), own) => assert_eq!(*own, Some(Code::UidNext(number.get())), "{text}"),
        _ => {}
    }
}

#[test]
fn agrees_with_imap_codec() {
    for line in [
        "* OK ready",
        "a1 OK [CAPABILITY IMAP4REV1 IDLE] in",
        "a1 NO [AUTHENTICATIONFAILED] no",
        "* NO [UNAVAILABLE] x",
        "* BYE bye",
        "* BAD x",
        "* OK [UIDVALIDITY 17] x",
        "* OK [UIDNEXT 18] x",
        "* OK [PERMANENTFLAGS (\\Seen \\*)] x",
        "* CAPABILITY IMAP4REV1 STARTTLS AUTH=PLAIN UIDPLUS LITERAL+",
        "* 4 EXISTS",
        "* 4 RECENT",
        "* 4 EXPUNGE",
        "* FLAGS (\\Seen x)",
        "* LIST (\\Noselect) \"/\" {3}\r\na/b",
        "* STATUS x (MESSAGES 3)",
        "* 4 FETCH (UID 9 FLAGS (\\Seen) RFC822.SIZE 12)",
        "* 4 FETCH (BODY[] {5}\r\nab\r\nc UID 9)",
        "* 4 FETCH (UID 9 BODY[] \"\")",
        "* 4 FETCH (UID 9 BODY[] NIL)",
        "* 4 FETCH (BODY[1.2] {2}\r\n() UID 9)",
        "* 4 FETCH (UID 9 ENVELOPE (NIL \"s\" NIL NIL NIL NIL NIL NIL NIL NIL))",
        "+ more",
    ] {
        assert!(agrees(line), "imap-codec does not read {line}");
    }
}

proptest! {
    #[test]
    fn agrees_with_imap_codec_on_made_up_lines(
        uid in 0u32..12, size in any::<u32>(), body in "[ -~\r\n]{0,30}", text in "[ -~]{0,20}", number in any::<u32>(),
        which in 0usize..7, swap in any::<bool>(), code in "(\\[(UIDVALIDITY|UIDNEXT|ALERT|X-Y|UNAVAILABLE)( [0-9]{1,11})?\\] )?",
    ) {
        let literal = format!("BODY[] {{{}}}\r\n{body}", body.len());
        let line = match which {
            0 if swap => format!("* 3 FETCH (UID {uid} {literal} RFC822.SIZE {size})"),
            0 => format!("* 3 FETCH ({literal} UID {uid})"),
            1 => format!("a1 OK {code}{text}"),
            2 => format!("* NO {code}{text}"),
            3 => format!("* {number} EXISTS"),
            4 => format!("* {number} EXPUNGE"),
            5 => format!("* {text}"),
            _ => format!("+ {text}"),
        };
        // Text that begins with a bracket is where the two may differ: RFC 3501 and RFC 9051 do.
        prop_assume!(!text.trim_start().starts_with('[') && !text.contains('{'));
        agrees(&line);
    }
}

#[test]
fn dates_of_arrival() {
    for (text, wanted) in [
        (" 1-Jan-2026 00:00:00 +0000", Some(1_767_225_600)),
        ("01-JAN-2026 03:30:00 +0330", Some(1_767_225_600)),
        ("31-Dec-2025 16:00:00 -0800", Some(1_767_225_600)),
        ("31-Dec-2025 23:59:60 +0000", Some(1_767_225_599)),
        ("29-Feb-2025 00:00:00 +0000", None),
        ("1-Foo-2026 00:00:00 +0000", None),
        ("1-Jan-2026 00:00 +0000", None),
        ("1-Jan-2026 24:00:00 +0000", None),
        ("1-Jan-2026 00:00:00", None),
        ("1-Jan-2026 00:00:00 GMT", None),
        ("1-Jan-2026 00:00:00 +0\u{e4}0", None),
        ("1-Jan-2026 00:00:00 \u{e4}", None),
        ("-1-Jan-2026", None),
        ("", None),
    ] {
        let date = match read(&format!("* 5 FETCH (UID 7 INTERNALDATE \"{text}\")\r\n")) {
            Response::Fetch(fetch) => fetch.date,
            other => panic!("{other:?}"),
        };
        assert_eq!(date, wanted, "{text}");
    }
}
