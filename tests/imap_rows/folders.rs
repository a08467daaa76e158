//! LIST, XLIST, special use, names, and opening what they name.

use super::kit::*;
use mailgather::mail::FolderName;
use mailgather::source::SourceErrorKind;

/// The folders as `name attributes separator`.
async fn listed(capabilities: &str, answer: impl FnMut(&str) -> Vec<Step> + Send + 'static) -> Result<(Vec<String>, Vec<String>), SourceErrorKind> {
    let client = client(server(), None);
    let (mut session, said) = client.open(capabilities, answer).await.unwrap();
    let folders = session.folders().await.map_err(|error| error.kind)?;
    let folders = folders.iter().map(|one| format!("{} {:?} {}", one.name, one.attributes.join(" "), one.separator.unwrap_or('-'))).collect();
    // The session goes on.
    session.select(&FolderName::inbox()).await.unwrap();
    Ok((folders, heard(&said)))
}

const FOLDERS: &str = "* LIST (\\HasNoChildren) \"/\" INBOX\r\n* LIST (\\Noselect) \"/\" \"[Gmail]\"\r\n* LIST (\\NonExistent) \"/\" gone\r\n\
    * LIST (\\HasNoChildren \\junk) \"/\" \"[Gmail]/Spam\"\r\n* LIST (\\All) \".\" {10}\r\n&BBIEQQQ1-\r\n* LIST () NIL flat\r\n@ OK done\r\n";
const SHOWN: [&str; 4] = ["INBOX \"\\\\HasNoChildren\" /", "[Gmail]/Spam \"\\\\HasNoChildren \\\\Junk\" /", "Все \"\\\\All\" .", "flat \"\" -"];

#[tokio::test(start_paused = true)]
async fn folders_of_a_mailbox() {
    for (capabilities, command) in [
        ("UIDPLUS", "LIST \"\" \"*\""),
        ("SPECIAL-USE XLIST", "LIST \"\" \"*\""),
        ("SPECIAL-USE LIST-EXTENDED", "LIST \"\" \"*\" RETURN (SPECIAL-USE)"),
        ("IMAP4rev2", "LIST \"\" \"*\" RETURN (SPECIAL-USE)"),
    ] {
        let (folders, said) = listed(capabilities, but("LIST", FOLDERS)).await.unwrap();
        assert_eq!(folders, SHOWN);
        let lists: Vec<&String> = said.iter().filter(|said| said.contains("LIST")).collect();
        assert_eq!(lists, [command], "{capabilities}: {said:?}");
    }
    let xlist = "* XLIST (\\Inbox \\HasNoChildren) \"/\" Posteingang\r\n* XLIST (\\Spam) \"/\" Werbung\r\n* XLIST (\\AllMail) \"/\" Alle\r\n@ OK\r\n";
    let (folders, _) = listed("XLIST", but("XLIST", xlist)).await.unwrap();
    assert_eq!(folders, ["INBOX \"\\\\Inbox \\\\HasNoChildren\" /", "Werbung \"\\\\Junk\" /", "Alle \"\\\\All\" /"]);
}

#[tokio::test(start_paused = true)]
async fn quirk_offered_and_not_understood_list() {
    for (capabilities, start) in [("SPECIAL-USE LIST-EXTENDED", "LIST \"\" \"*\" RETURN"), ("XLIST", "XLIST")] {
        for refusal in ["@ BAD what\r\n", "@ NO what\r\n"] {
            let answer = move |command: &str| match command {
                command if command.starts_with(start) => say(refusal),
                "LIST \"\" \"*\"" => say(FOLDERS),
                other => usual(other),
            };
            assert_eq!(listed(capabilities, answer).await.unwrap().0, SHOWN);
        }
    }
    for (refusal, kind) in [
        ("@ NO no\r\n", SourceErrorKind::Mailbox),
        ("@ BAD no\r\n", SourceErrorKind::Protocol),
        ("@ NO [LIMIT] Rate limit hit\r\n", SourceErrorKind::Throttled),
        ("* BYE\r\n", SourceErrorKind::Closed),
        ("", SourceErrorKind::Timeout),
    ] {
        assert_eq!(listed("UIDPLUS", but("LIST", refusal)).await.unwrap_err(), kind, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn f71_hostile_folder_names() {
    let long = "x".repeat(1001);
    let megabyte = "y".repeat(1 << 20);
    let hostile = format!(
        "* LIST () \"/\" \"../../etc\"\r\n* LIST () \"/\" \"`id`; $(id) '--\"\r\n* LIST () \"/\" {{3}}\r\na\0b\r\n* LIST () \"/\" {long}\r\n\
         * LIST () \"/\" {{{}}}\r\n{megabyte}\r\n* LIST () \"/\" \"a&AA0ACg-LOGOUT\"\r\n* LIST () \"/\" \"a&b\"\r\n* LIST () \"/\" \"a&-b\"\r\n\
         * LIST () \"/\" \"c&d\"\r\n* LIST () \"/\" \"\"\r\n* LIST (((((\r\n* LIST\r\n* LIST () \"/\" \"open\r\n* LIST () \"/\" /\r\n@ OK done\r\n",
        megabyte.len()
    );
    let (folders, _) = listed("UIDPLUS", but("LIST", hostile)).await.unwrap();
    // Text, whatever it says; of the two that are one name, the well-formed.
    assert_eq!(folders, ["../../etc \"\" /", "`id`; $(id) '-- \"\" /", "a&b \"\" /", "c&d \"\" /", "/ \"\" /"]);
    // A name of a megabyte in quotes is a line without an end.
    let endless = format!("* LIST () \"/\" \"{megabyte}\"\r\n@ OK\r\n");
    assert_eq!(listed("UIDPLUS", but("LIST", endless)).await.unwrap_err(), SourceErrorKind::Protocol);
    // A hundred thousand folders.
    let many: String = (0..100_000).map(|n| format!("* LIST () \"/\" f{n}\r\n")).collect();
    let (folders, _) = listed("UIDPLUS", but("LIST", many + "@ OK done\r\n")).await.unwrap();
    assert_eq!((folders.len(), folders[9_999].as_str()), (10_000, "f9999 \"\" /"));
}

#[tokio::test(start_paused = true)]
async fn quirk_broken_folder_names_are_opened_by_their_octets() {
    let opens = |known: &'static str| {
        move |command: &str| match command {
            command if command.starts_with("SELECT") && command != known => say("@ NO [NONEXISTENT] no such folder\r\n"),
            other => usual(other),
        }
    };
    let client = client(server(), None);
    for (folder, known, tried) in [
        ("a&b", "SELECT \"a&-b\"", vec!["SELECT \"a&-b\""]),
        ("a&b", "SELECT \"a&b\"", vec!["SELECT \"a&-b\"", "SELECT \"a&b\""]),
        ("x", "SELECT \"y\"", vec!["SELECT \"x\""]),
        ("a&b", "SELECT \"y\"", vec!["SELECT \"a&-b\"", "SELECT \"a&b\""]),
    ] {
        let (mut session, said) = client.open("UIDPLUS", opens(known)).await.unwrap();
        let selected = session.select(&FolderName::new(folder)).await;
        assert_eq!(selected.is_ok(), tried.last() == Some(&known), "{folder} {known}");
        let selects: Vec<String> = heard(&said).into_iter().filter(|command| command.starts_with("SELECT") && !command.ends_with("INBOX")).collect();
        assert_eq!(selects, tried);
    }
}
