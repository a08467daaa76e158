//! `partial_fetch: on`: pieces that fit, and pieces that do not.

use super::kit::*;
use mailgather::source::{Fetched, SourceErrorKind, Wanted};

const CHUNK: u32 = 4096;

fn text(octets: usize) -> Vec<u8> {
    let line = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ..\r\n";
    let mut text = b"Subject: pieces\r\n\r\n".to_vec();
    while text.len() < octets {
        text.extend_from_slice(line);
    }
    text.truncate(octets - 2);
    text.extend_from_slice(b"\r\n");
    text
}

/// `<start.octets>` of a command.
fn asked(command: &str) -> Option<(usize, usize)> {
    let inside = command.split_once('<')?.1.split_once('>')?.0;
    let (start, octets) = inside.split_once('.')?;
    Some((start.parse().ok()?, octets.parse().ok()?))
}

fn piece(uid: u32, origin: &str, octets: &[u8]) -> Vec<Step> {
    let head = format!("* 1 FETCH (UID {uid} BODY[]{origin} {{{}}}\r\n", octets.len());
    vec![Step::Raw(head.into_bytes()), Step::Raw(octets.to_vec()), Step::Say(")\r\n@ OK done\r\n".into())]
}

/// Serves this text as message 7 in pieces, and says that it has `stated` octets.
fn serves(text: Vec<u8>, stated: Option<u64>) -> impl FnMut(&str) -> Vec<Step> + Send + 'static {
    move |command| match (asked(command), stated) {
        (Some((start, octets)), _) => {
            let from = start.min(text.len());
            piece(7, &format!("<{start}>"), &text[from..(start + octets).min(text.len()).max(from)])
        }
        (None, Some(stated)) if command.contains("(RFC822.SIZE)") => say(format!("* 1 FETCH (UID 7 RFC822.SIZE {stated})\r\n@ OK\r\n")),
        (None, None) if command.contains("(RFC822.SIZE)") => say("@ OK\r\n"),
        (None, _) if command.contains("BODY.PEEK[]") => piece(7, "", &text),
        _ => usual(command),
    }
}

async fn fetched(
    max: Option<u64>,
    answer: impl FnMut(&str) -> Vec<Step> + Send + 'static,
) -> (Result<Result<Vec<u8>, String>, SourceErrorKind>, Vec<String>) {
    let client = client(in_pieces(CHUNK), max);
    let (mut session, said) = client.inbox("UIDPLUS", answer).await.unwrap();
    let result = fetch(&mut session, &[7]).await.map_err(|error| error.kind);
    let result = result.map(|mut all| {
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0).map(|(uid, octets)| {
            assert_eq!(uid, 7);
            octets
        })
    });
    if result.is_ok() {
        session.list(want()).await.expect("the session can be used");
    }
    let said = heard(&said).into_iter().filter(|command| command.contains("BODY.PEEK")).collect();
    (result, said)
}

#[tokio::test(start_paused = true)]
async fn large_messages_come_in_pieces() {
    let chunk = CHUNK as usize;
    for octets in [chunk + 1, 2 * chunk - 1, 2 * chunk, 2 * chunk + 1, 10 * chunk, 100_000] {
        let (result, said) = fetched(None, serves(text(octets), Some(octets as u64))).await;
        assert!(result.unwrap().unwrap() == text(octets), "{octets}");
        assert_eq!(said.len(), octets / chunk + 1, "{octets}: no piece too much, none too few");
        assert_eq!(said[1], "UID FETCH 7 (UID RFC822.SIZE BODY.PEEK[]<4096.4096>)");
    }
    // A message of one chunk is asked for whole, as all are without the option.
    let (result, said) = fetched(None, serves(text(chunk), Some(chunk as u64))).await;
    assert!(result.unwrap().unwrap() == text(chunk) && said == ["UID FETCH 7 (UID RFC822.SIZE BODY.PEEK[])"]);
}

#[tokio::test(start_paused = true)]
async fn f24_the_stated_size_is_wrong() {
    let octets = 3 * CHUNK as usize + 5;
    for stated in [None, Some(0), Some(1), Some(4096), Some(4097), Some(8192), Some(octets as u64 - 1), Some(octets as u64 + 1), Some(1 << 40)] {
        let (result, said) = fetched(None, serves(text(octets), stated)).await;
        assert!(result.unwrap().unwrap() == text(octets), "{stated:?} {said:?}");
        assert!(said.len() <= 9, "{stated:?}: {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_at_once_large_and_small() {
    let answer = |command: &str| {
        let set = command.split(' ').nth(2).unwrap_or_default().to_owned();
        let of = |uid: u32| text(if uid.is_multiple_of(2) { 20_000 } else { 100 });
        match asked(command) {
            Some((start, octets)) => {
                let uid: u32 = set.parse().unwrap();
                let all = of(uid);
                piece(uid, &format!("<{start}>"), &all[start.min(all.len())..(start + octets).min(all.len())])
            }
            None if command.contains("(RFC822.SIZE)") => {
                let sizes = (1..=9).map(|uid| format!("* {uid} FETCH (UID {uid} RFC822.SIZE {})\r\n", of(uid).len()));
                say(sizes.collect::<String>() + "@ OK\r\n")
            }
            None if command.starts_with("UID FETCH") => {
                let mut steps = Vec::new();
                for uid in set.split(',').map(|uid| uid.parse().unwrap()) {
                    steps.extend(piece(uid, "", &of(uid)).into_iter().take(2));
                    steps.push(Step::Say(")\r\n".into()));
                }
                steps.push(Step::Say("@ OK\r\n".into()));
                steps
            }
            None => usual(command),
        }
    };
    let client = client(in_pieces(CHUNK), None);
    let (mut session, said) = client.inbox("UIDPLUS", answer).await.unwrap();
    // The listing told some of the sizes.
    let batch = (1..=9).map(|uid| Wanted { uid: mailgather::mail::RemoteUid::Number(uid), generation: 3, size: (uid == 1).then_some(100) });
    session.fetch(batch.collect()).await.unwrap();
    let mut sizes = Vec::new();
    while let Some(fetched) = session.next_message().await.unwrap() {
        let Fetched::Message(message) = fetched else { panic!("{fetched:?}") };
        assert_eq!(message.key.generation, 3);
        sizes.push((message.key.uid.number().unwrap(), octets(&message.content).len()));
    }
    assert_eq!(sizes, [(1, 100), (3, 100), (5, 100), (7, 100), (9, 100), (2, 20_000), (4, 20_000), (6, 20_000), (8, 20_000)]);
    assert_eq!(heard(&said)[0], "UID FETCH 2:9 (RFC822.SIZE)");
}

#[tokio::test(start_paused = true)]
async fn pieces_that_do_not_fit_are_no_message() {
    let whole = text(3 * CHUNK as usize);
    let stated = Some(whole.len() as u64);
    let bad = |number: usize, bad: Vec<Step>| {
        let mut usual = serves(whole.clone(), stated);
        move |command: &str| match asked(command) {
            Some((start, _)) if start == number * CHUNK as usize => bad.clone(),
            _ => usual(command),
        }
    };
    let chunk = CHUNK as usize;
    for (number, answer, reason) in [
        (0, say("@ OK\r\n"), "did not send it"),
        (1, say("@ OK\r\n"), "left out a piece"),
        (1, piece(7, "<0>", &whole[..chunk]), "another piece"),
        (1, piece(7, "<4097>", &whole[..chunk]), "another piece"),
        (1, piece(7, "<4096>", &whole[..chunk + 1]), "larger piece"),
        (1, piece(7, "<4096>", &whole[..chunk - 1]), "shorter pieces"),
        (1, piece(7, "<4096>", &[]), "shorter pieces"),
        (1, piece(7, "", &whole[..chunk]), "does not send pieces"),
        (0, piece(7, "", &whole), "does not send pieces"),
        (1, piece(8, "<4096>", &whole[..chunk]), "another message"),
        (
            1,
            [piece(7, "<4096>", &whole[..chunk]).into_iter().take(2).collect(), say(")\r\n"), piece(7, "<4096>", &whole[..chunk])].concat(),
            "another piece",
        ),
        (1, say("@ NO broken\r\n"), "broken"),
    ] {
        let shown = format!("{number} {reason}");
        let (result, _) = fetched(None, bad(number, answer)).await;
        let said = result.unwrap().unwrap_err();
        assert!(said.contains(reason), "{shown}: {said}");
    }
    // A literal that is not all there takes the next answers for its octets, and what follows is no IMAP.
    for (answer, kind) in [
        (say("@ BAD what\r\n"), SourceErrorKind::Protocol),
        (say("@ NO [LIMIT] slow down\r\n"), SourceErrorKind::Throttled),
        (say("* 1 FETCH (UID 7 BODY[]<4096> {4096}\r\nabc"), SourceErrorKind::Protocol),
        (vec![Step::Say("* 1 FETCH (UID 7 BODY[]<4096> {4096}\r\nabc".into()), Step::Close], SourceErrorKind::Closed),
        (say("* 1 FETCH (UID 7 BODY[]<4096> {99999999999}\r\nabc"), SourceErrorKind::Protocol),
    ] {
        let (result, _) = fetched(None, bad(1, answer)).await;
        assert_eq!(result.unwrap_err(), kind);
    }
    // The end in its other forms.
    for end in [
        say("* 1 FETCH (UID 7 BODY[]<12288> NIL)\r\n@ OK\r\n"),
        say("* 1 FETCH (UID 7 BODY[] \"\")\r\n@ OK\r\n"),
        say("@ OK\r\n"),
        say("@ NO behind the end\r\n"),
    ] {
        let (result, _) = fetched(None, bad(3, end)).await;
        assert!(result.unwrap().unwrap() == whole);
    }
}

#[tokio::test(start_paused = true)]
async fn quirk_a_server_that_cuts_every_piece_short() {
    let whole = text(20_000);
    for stated in [None, Some(20_000), Some(9_000), Some(50_000)] {
        let whole = whole.clone();
        let answer = move |command: &str| match (asked(command), stated) {
            (Some((start, octets)), _) => {
                let octets = octets.min(1000);
                piece(7, &format!("<{start}>"), &whole[start.min(whole.len())..(start + octets).min(whole.len())])
            }
            (None, Some(stated)) if command.contains("(RFC822.SIZE)") => say(format!("* 1 FETCH (UID 7 RFC822.SIZE {stated})\r\n@ OK\r\n")),
            (None, _) if command.contains("(RFC822.SIZE)") => say("@ OK\r\n"),
            _ => usual(command),
        };
        let (result, _) = fetched(None, answer).await;
        let said = result.unwrap().unwrap_err();
        assert!(said.contains("shorter pieces"), "{stated:?}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_large_in_pieces() {
    let whole = text(40_000);
    // As the server says, or as it turns out.
    let (result, said) = fetched(Some(10_000), serves(whole.clone(), Some(40_000))).await;
    assert_eq!((result.unwrap().unwrap_err().as_str(), said.len()), ("7 too large: 40000", 0));
    let (result, said) = fetched(Some(10_000), serves(whole, None)).await;
    assert_eq!(result.unwrap().unwrap_err(), "7 too large: 12288");
    assert!(said.len() <= 4, "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn quirk_an_empty_body_in_pieces() {
    let nothing = || Err("7 missing: the server sent an empty body".to_owned());
    let nil = || Err("7 missing: the server has no body for it (NIL)".to_owned());
    for (body, full, empty) in [("NIL", nil(), nil()), ("\"\"", nothing(), Ok(vec![])), ("{0}\r\n", nothing(), Ok(vec![]))] {
        for (stated, wanted) in [(5000, full), (0, empty)] {
            let answer = move |command: &str| match asked(command) {
                Some((start, _)) => say(format!("* 1 FETCH (UID 7 BODY[]<{start}> {body})\r\n@ OK\r\n")),
                None if command.contains("(RFC822.SIZE)") => say(format!("* 1 FETCH (UID 7 RFC822.SIZE {stated})\r\n@ OK\r\n")),
                None => usual(command),
            };
            assert_eq!(fetched(None, answer).await.0.unwrap(), wanted, "{body} {stated}");
        }
    }
}

/// `auto`: in pieces once the transfer broke off, and whole again where the server knows no pieces.
#[tokio::test(start_paused = true)]
async fn auto_asks_in_pieces_for_what_broke_off_and_then_whole_again() {
    let body = "Subject: x\r\n\r\n".to_owned() + &"line\r\n".repeat(2000);
    let client = client(server(), None);
    let mut asked = Vec::new();
    for breaks in [true, false, false] {
        let whole = format!("* 1 FETCH (UID 4 RFC822.SIZE {0} BODY[] {{{0}}}\r\n{body})\r\n@ OK\r\n", body.len());
        let answer = move |command: &str| match command {
            command if command.starts_with("UID FETCH") && breaks => vec![Step::Say(whole[..5000].into()), Step::Close],
            command if command.starts_with("UID FETCH") => say(whole.clone()),
            other => usual(other),
        };
        let (mut session, said) = client.inbox("UIDPLUS", answer).await.unwrap();
        let fetched = fetch(&mut session, &[4]).await;
        asked.push(heard(&said).iter().any(|command| command.starts_with("UID FETCH 4 ") && command.contains("<0.")));
        match (asked.len(), fetched) {
            (1, Err(error)) => assert_eq!(error.kind, mailgather::source::SourceErrorKind::Closed),
            (2, Ok(all)) => assert!(all[0].as_ref().unwrap_err().contains("does not send pieces"), "{all:?}"),
            (3, Ok(all)) => assert!(all[0].as_ref().unwrap().1 == body.as_bytes()),
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!(asked, [false, true, false]);
}
