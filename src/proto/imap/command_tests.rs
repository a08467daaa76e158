//! What we write is read back by `imap-codec` as what we meant, and nothing can break out of its place.

use super::*;
use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;
use proptest::prelude::*;

fn written(command: Command<'_>, literals: Literals) -> Vec<u8> {
    command.write("a1", literals).unwrap().parts().concat()
}

fn text(command: Command<'_>) -> String {
    String::from_utf8(written(command, Literals::Synchronising)).unwrap()
}

#[test]
fn commands() {
    let secret = Secret::new("p\"w\\".into());
    let folder = FolderName::new("Entw\u{fc}rfe/\"x\"");
    for (command, wanted) in [
        (Command::Capability, "a1 CAPABILITY\r\n"),
        (Command::Login("u", &secret), "a1 LOGIN \"u\" \"p\\\"w\\\\\"\r\n"),
        (Command::Authenticate("PLAIN", Some(&Secret::new("AHUAcCJ3XA==".into()))), "a1 AUTHENTICATE PLAIN AHUAcCJ3XA==\r\n"),
        (Command::Authenticate("SCRAM-SHA-256", None), "a1 AUTHENTICATE SCRAM-SHA-256\r\n"),
        (Command::Select(&FolderName::new("inbox")), "a1 SELECT INBOX\r\n"),
        (Command::Select(&folder), "a1 SELECT \"Entw&APw-rfe/\\\"x\\\"\"\r\n"),
        (Command::SelectRaw(&FolderName::new("a&b")), "a1 SELECT \"a&b\"\r\n"),
        (Command::ExamineRaw(&FolderName::new("inbox \"")), "a1 EXAMINE \"inbox \\\"\"\r\n"),
        (Command::List(ListKind::Plain), "a1 LIST \"\" \"*\"\r\n"),
        (Command::Create(&folder), "a1 CREATE \"Entw&APw-rfe/\\\"x\\\"\"\r\n"),
        (Command::Search(Search { set: Some("1:3,9:*"), ..Search::default() }), "a1 UID SEARCH UID 1:3,9:*\r\n"),
        (Command::Search(Search { set: Some("9:*"), unseen: true, ..Search::default() }), "a1 UID SEARCH UID 9:* UNSEEN\r\n"),
        (Command::Search(Search::default()), "a1 UID SEARCH ALL\r\n"),
        (Command::Search(Search { deleted: true, ..Search::default() }), "a1 UID SEARCH DELETED\r\n"),
        (
            Command::Search(Search { set: Some("1:*"), since: Some(jiff::civil::date(2026, 2, 1)), ..Search::default() }),
            "a1 UID SEARCH UID 1:* SINCE 1-Feb-2026\r\n",
        ),
        (Command::FetchPiece { uid: 7, start: 1048576, octets: 1024 }, "a1 UID FETCH 7 (UID RFC822.SIZE BODY.PEEK[]<1048576.1024>)\r\n"),
        (Command::Copy("1:3", &folder), "a1 UID COPY 1:3 \"Entw&APw-rfe/\\\"x\\\"\"\r\n"),
        (Command::Move("1:3", &FolderName::inbox()), "a1 UID MOVE 1:3 INBOX\r\n"),
        (Command::ExpungeAll, "a1 EXPUNGE\r\n"),
        (Command::Idle, "a1 IDLE\r\n"),
        (Command::Id, concat!("a1 ID (\"name\" \"mailgather\" \"version\" \"", env!("CARGO_PKG_VERSION"), "\")\r\n")),
        (Command::Compress, "a1 COMPRESS DEFLATE\r\n"),
        (Command::Noop, "a1 NOOP\r\n"),
        (Command::FetchBodies("1:3"), "a1 UID FETCH 1:3 (UID RFC822.SIZE BODY.PEEK[])\r\n"),
        (Command::FetchSizes("1:3"), "a1 UID FETCH 1:3 (RFC822.SIZE)\r\n"),
        (Command::FetchDates("1:3"), "a1 UID FETCH 1:3 (INTERNALDATE)\r\n"),
        (Command::StoreDeleted("4"), "a1 UID STORE 4 +FLAGS.SILENT (\\Deleted \\Seen)\r\n"),
        (Command::StoreSeen("4"), "a1 UID STORE 4 +FLAGS.SILENT (\\Seen)\r\n"),
        (Command::Expunge("4"), "a1 UID EXPUNGE 4\r\n"),
    ] {
        assert_eq!(text(command), wanted);
        let (rest, _) = CommandCodec::default().decode(wanted.as_bytes()).unwrap_or_else(|error| panic!("{wanted}: {error:?}"));
        assert!(rest.is_empty());
    }
    // No RFC has it, and the other codec does not know it.
    assert_eq!(text(Command::FetchLetters("1:3")), "a1 UID FETCH 1:3 (UID RFC822.SIZE X-GM-MSGID BODY.PEEK[])\r\n");
}

/// What `imap-codec` does not know.
#[test]
fn commands_of_extensions() {
    for (command, wanted) in [
        (Command::List(ListKind::SpecialUse), "a1 LIST \"\" \"*\" RETURN (SPECIAL-USE)\r\n"),
        (Command::FetchPiece { uid: 7, start: 4294967296, octets: 1024 }, "a1 UID FETCH 7 (UID RFC822.SIZE BODY.PEEK[]<4294967296.1024>)\r\n"),
        (Command::List(ListKind::Xlist), "a1 XLIST \"\" \"*\"\r\n"),
        (Command::Search(Search { compact: true, ..Search::default() }), "a1 UID SEARCH RETURN (ALL) ALL\r\n"),
        (
            Command::Search(Search { set: Some("9:*"), compact: true, unseen: true, ..Search::default() }),
            "a1 UID SEARCH RETURN (ALL) UID 9:* UNSEEN\r\n",
        ),
    ] {
        assert_eq!(text(command), wanted);
    }
}

#[test]
fn credentials_wait_where_they_must() {
    let secret = Secret::new("\u{e4}".into());
    let parts = |literals| {
        let wire = Command::Login("u", &secret).write("a1", literals).unwrap();
        wire.parts().iter().map(|part| String::from_utf8(part.clone()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(parts(Literals::Synchronising), ["a1 LOGIN \"u\" {2}\r\n", "\u{e4}\r\n"]);
    assert_eq!(parts(Literals::Minus), ["a1 LOGIN \"u\" {2+}\r\n\u{e4}\r\n"]);
    assert_eq!(parts(Literals::Plus), ["a1 LOGIN \"u\" {2+}\r\n\u{e4}\r\n"]);
    let response = Secret::new("AHUAw6Q=".into());
    let plain = Command::Authenticate("PLAIN", Some(&response)).write("a1", Literals::Plus).unwrap();
    let nul = Secret::new("a\0b".into());
    assert_eq!(Command::Login("u", &nul).write("a1", Literals::Plus), Err(UnwritableCommand));
    assert!(!format!("{plain:?}").contains("AHUA"));
}

#[test]
fn long_sets_are_split() {
    let set: UidSet = (0..20_000u32).map(|n| 1_000_000 + 2 * n).collect();
    let sets = Command::sets(&set);
    assert!(sets.len() > 10 && sets.iter().all(|set| text(Command::StoreDeleted(set)).len() < 8000));
    let uids: Vec<u32> = sets.iter().flat_map(|set| set.split(',')).map(|uid| uid.parse().unwrap()).collect();
    assert_eq!(uids, set.iter().collect::<Vec<_>>());
    assert_eq!(Command::sets(&UidSet::new()), Vec::<String>::new());
}

proptest! {
    #[test]
    fn nothing_breaks_out(username in "\\PC{0,20}|[ -~\r\n\u{e4}]{1,20}", password in "[ -~\r\n\u{e4}\u{0}]{1,20}", folder in "(\\PC|[\r\n\u{0}&/\"]){1,20}") {
        let secret = Secret::new(password.clone());
        match Command::Login(&username, &secret).write("a1", Literals::Plus) {
            Err(UnwritableCommand) => prop_assert!(username.contains('\0') || password.contains('\0')),
            Ok(wire) => {
                let octets = wire.parts().concat();
                let (rest, command) = CommandCodec::default().decode(&octets).unwrap();
                prop_assert!(rest.is_empty());
                let CommandBody::Login { username: user, password: pass } = command.body else { panic!("{command:?}") };
                prop_assert_eq!(user.as_ref(), username.as_bytes());
                prop_assert_eq!(pass.declassify().as_ref(), password.as_bytes());
            }
        }
        let octets = written(Command::Select(&FolderName::new(&folder)), Literals::Synchronising);
        prop_assert_eq!(octets.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count(), 2);
        let (rest, command) = CommandCodec::default().decode(&octets).unwrap();
        let is_select = matches!(command.body, CommandBody::Select { .. });
        prop_assert!(rest.is_empty() && is_select);
    }
}
