//! The list of faults: literals, sizes, floods, slowness, silence, resets, limits of connections.

use super::kit::*;
use mailgather::mail::FolderName;
use mailgather::net::Channel;
use mailgather::source::{Disposal, Disposed, SourceError, SourceErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// What a whole pass did, until it ended or failed.
#[derive(Debug, Default)]
struct Pass {
    messages: Vec<(u32, Vec<u8>)>,
    /// Disposal was asked for: everything before was done.
    disposing: bool,
    disposed: Option<Disposed>,
}

async fn pass(client: &Client, channel: Channel, done: &mut Pass) -> Result<(), SourceError> {
    let mut session = client.source.open_over(channel).await?;
    session.select(&FolderName::inbox()).await?;
    let listing = session.list(want()).await?;
    let listed: Vec<u32> = listing.messages.iter().filter_map(|one| one.uid.number()).collect();
    assert_eq!(listed, [4, 6, 9], "a listing is the whole listing, or none");
    for fetched in fetch(&mut session, &listed).await? {
        done.messages.push(fetched.unwrap());
    }
    done.disposing = true;
    done.disposed = Some(session.dispose(&uids(&listed), Disposal::Delete).await?);
    session.close().await.map(|_| ())
}

fn whole() -> Vec<(u32, Vec<u8>)> {
    [4, 6, 9].iter().map(|uid| (*uid, format!("A: {uid}\r\n").into_bytes())).collect()
}

fn dialogue(command: &str) -> Vec<Step> {
    match command {
        command if command.starts_with("AUTHENTICATE") => say("* CAPABILITY IMAP4rev1 UIDPLUS\r\n@ OK in\r\n"),
        other => usual(other),
    }
}

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n";

/// A server on TCP whose line is reset after so many octets to the client.
async fn reset_after(octets: usize) -> (TcpStream, Heard) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Heard::default();
    let noted = said.clone();
    tokio::spawn(async move {
        let (mut line, _) = listener.accept().await.unwrap();
        let (mut inside, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { speak(far, GREETING, dialogue, noted).await });
        let (mut left, mut up, mut down) = (octets, vec![0; 4096], vec![0; 4096]);
        while left > 0 {
            tokio::select! {
                read = line.read(&mut up) => match read {
                    Ok(n @ 1..) => inside.write_all(&up[..n]).await.unwrap(),
                    _ => return,
                },
                read = inside.read(&mut down) => {
                    let n = read.unwrap_or(0).min(left);
                    if n == 0 || line.write_all(&down[..n]).await.is_err() {
                        break;
                    }
                    left -= n;
                }
            }
        }
        if left == 0 {
            line.set_zero_linger().unwrap();
        }
    });
    (TcpStream::connect(("127.0.0.1", port)).await.unwrap(), said)
}

#[tokio::test]
async fn f28_reset_at_every_octet() {
    let client = client(server(), None);
    let commands = ["AUTHENTICATE", "SELECT INBOX", "UID SEARCH x", "UID FETCH 4,6,9", "UID STORE", "UID EXPUNGE"];
    let text = |steps: Vec<Step>| steps.iter().map(|step| if let Step::Say(text) = step { text.len() } else { 0 }).sum::<usize>();
    // Tags have two octets, the mark for them one.
    let total = GREETING.len() + commands.iter().map(|command| text(dialogue(command)) + 1).sum::<usize>();
    for octets in 0..total {
        let (line, said) = reset_after(octets).await;
        let mut done = Pass::default();
        let error = tokio::time::timeout(Duration::from_secs(30), pass(&client, Channel::Tcp(line), &mut done)).await.expect("it hangs");
        let error = error.expect_err("a dialogue that was cut looks whole");
        // A reset may overtake what was sent before it: less may have arrived, never something else.
        assert!(matches!(error.kind, SourceErrorKind::Closed), "{octets}: {error:?}");
        assert_eq!(done.messages, whole()[..done.messages.len()], "{octets}");
        assert!(done.disposed.is_none() && (!done.disposing || done.messages == whole()), "{octets}");
        let asked = heard(&said);
        assert!(done.disposing || !asked.iter().any(|command| command.contains("STORE") || command.contains("EXPUNGE")), "{octets}: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn f22_cut_in_the_middle_of_a_literal() {
    let body = "Subject: x\r\n\r\n".to_owned() + &"line\r\n".repeat(20_000);
    let client = client(server(), None);
    for cut in [0, 1, 2, body.len() / 2, 70_000, body.len() - 1, body.len()] {
        let answer = {
            let head = format!("* 1 FETCH (UID 4 BODY[] {{{}}}\r\n{}", body.len(), &body[..cut]);
            move |command: &str| match command {
                command if command.starts_with("UID FETCH") => vec![Step::Say(head.clone()), Step::Close],
                other => usual(other),
            }
        };
        let (mut session, _) = client.inbox("UIDPLUS", answer).await.unwrap();
        assert_eq!(fetch(&mut session, &[4]).await.unwrap_err().kind, SourceErrorKind::Closed, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn f23_literals_of_odd_sizes() {
    let client = client(server(), None);
    for size in ["4294967295", "9223372036854775807", "18446744073709551616", "-1", "1x", "", "+", "3000000000"] {
        let (mut session, _) =
            client.inbox("UIDPLUS", but("UID FETCH", format!("* 1 FETCH (UID 4 BODY[] {{{size}}}\r\nx)\r\n@ OK\r\n"))).await.unwrap();
        let error = fetch(&mut session, &[4]).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Protocol, "{size}: {error}");
        assert!(error.to_string().len() < 500);
    }
    for size in ["00000001", "1", "1+"] {
        let (mut session, _) =
            client.inbox("UIDPLUS", but("UID FETCH", format!("* 1 FETCH (UID 4 BODY[] {{{size}}}\r\nx)\r\n@ OK\r\n"))).await.unwrap();
        assert_eq!(fetch(&mut session, &[4]).await.unwrap(), [Ok((4, b"x\r\n".to_vec()))], "{size}");
    }
    // Within what is allowed, and never there: no memory is taken for it.
    let (mut session, _) = client.inbox("UIDPLUS", but("UID FETCH", "* 1 FETCH (UID 4 BODY[] {2000000000}\r\nx)\r\n@ OK\r\n")).await.unwrap();
    assert_eq!(fetch(&mut session, &[4]).await.unwrap_err().kind, SourceErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn f24_the_literal_counts_and_not_the_stated_size() {
    let client = client(server(), None);
    for size in [0u64, 1, 5, 7, 1 << 40] {
        let answer = format!("* 1 FETCH (UID 4 RFC822.SIZE {size} BODY[] {{6}}\r\nA: 4\r\n)\r\n@ OK\r\n");
        let (mut session, _) = client.inbox("UIDPLUS", but("UID FETCH", answer)).await.unwrap();
        assert_eq!(fetch(&mut session, &[4]).await.unwrap(), [Ok((4, b"A: 4\r\n".to_vec()))], "{size}");
    }
    // The literal itself is wrong: no message, and the session ends, because nobody knows where the next answer begins.
    for literal in [5, 7] {
        let answer = format!("* 1 FETCH (UID 4 BODY[] {{{literal}}}\r\nA: 4\r\n)\r\n@ OK\r\n");
        let (mut session, _) = client.inbox("UIDPLUS", but("UID FETCH", answer)).await.unwrap();
        let error = fetch(&mut session, &[4]).await.unwrap_err();
        assert!(error.is_about_one_message(), "{literal}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn f25_floods_and_depths() {
    let client = client(server(), None);
    let id: String = (0..100_000).map(|n| format!("\"k{n}\" \"v\" ")).collect();
    for (at, flood) in [
        ("UID SEARCH", "x".repeat(1 << 20)),
        ("UID SEARCH", format!("* X {}\r\n", "(".repeat(1_000_000))),
        ("UID FETCH", format!("* 1 FETCH ({}\r\n", "(".repeat(60_000)) + "@ BAD deep\r\n"),
        ("SELECT", format!("* ID ({id})\r\n")),
        ("UID FETCH", format!("* 1 FETCH (UID 5 BODY[] {{65536}}\r\n{})\r\n", "y".repeat(65_536)).repeat(1100)),
        ("UID SEARCH", format!("* ESEARCH (\"{}\")\r\n", "x".repeat(60_000)).repeat(1200)),
        ("UID SEARCH", format!("* 1 FETCH (FLAGS ({}))\r\n", "\\Seen ".repeat(10_000)).repeat(1200)),
    ] {
        let start = at;
        let answer = move |command: &str| if command.starts_with(start) { say(flood.clone()) } else { usual(command) };
        let (mut session, _) = client.open("UIDPLUS", answer).await.unwrap();
        let result = async {
            session.select(&FolderName::inbox()).await?;
            session.list(want()).await?;
            fetch(&mut session, &[4]).await.map(|_| ())
        };
        let error = result.await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Protocol, "{at}: {error}");
        assert!(error.to_string().len() < 600, "{at}");
    }
    // More messages than a mailbox has: a number is a number.
    let many = but("SELECT", "* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 77] ok\r\n@ OK\r\n");
    let (mut session, _) = client.inbox("UIDPLUS", many).await.unwrap();
    assert_eq!(session.list(want()).await.unwrap().messages.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn f26_one_octet_at_a_time() {
    let drip = |text: &str| -> Vec<Step> { text.bytes().flat_map(|octet| [Step::Wait(Duration::from_secs(4)), Step::Raw(vec![octet])]).collect() };
    let client = client(server(), None);
    for (at, text) in [
        ("SELECT", format!("* OK {}", "x".repeat(9000))),
        ("UID SEARCH", format!("* SEARCH {}", "4 ".repeat(9000))),
        ("UID FETCH", format!("* 1 FETCH (UID 4 BODY[] {{9000}}\r\n{}", "x".repeat(9000))),
        ("UID STORE", format!("* OK {}", "x".repeat(9000))),
    ] {
        let steps = drip(&text);
        let answer = move |command: &str| if command.starts_with(at) { steps.clone() } else { usual(command) };
        // Without UIDPLUS nothing goes along with the STORE, which would end the drip.
        let (mut session, _) = client.open("", answer).await.unwrap();
        let start = Instant::now();
        let result = async {
            session.select(&FolderName::inbox()).await?;
            session.list(want()).await?;
            fetch(&mut session, &[4]).await?;
            session.dispose(&uids(&[4]), Disposal::Delete).await
        };
        assert_eq!(result.await.unwrap_err().kind, SourceErrorKind::Timeout, "{at}");
        assert!(start.elapsed() < Duration::from_secs(900), "{at}: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn f26_a_greeting_of_one_octet_at_a_time() {
    let client = client(server(), None);
    let (near, mut far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        for octet in format!("* OK {}", "x".repeat(9000)).bytes() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            far.write_all(&[octet]).await?;
        }
        Ok::<(), std::io::Error>(())
    });
    let start = Instant::now();
    let error = client.source.open_over(Channel::Memory(near)).await.map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Timeout, "greeting"));
    assert!(start.elapsed() <= Duration::from_secs(6), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn f69_modseq_beyond_all_numbers_and_vanished_without_end() {
    let client = client(server(), None);
    let vanished = "* VANISHED (EARLIER) 1:4294967295\r\n".repeat(10_000);
    let answer = move |command: &str| match command {
        "SELECT INBOX" => say(format!("* OK [HIGHESTMODSEQ 18446744073709551616] x\r\n{SELECTED}")),
        command if command.starts_with("UID SEARCH") => say(format!("{vanished}* SEARCH 4 6 (MODSEQ 18446744073709551616)\r\n@ OK\r\n")),
        "UID FETCH 4 (UID RFC822.SIZE BODY.PEEK[])" => {
            say("* 1 FETCH (MODSEQ (18446744073709551616) UID 4 BODY[] {6}\r\nA: 4\r\n)\r\n@ OK [HIGHESTMODSEQ x] done\r\n")
        }
        other => usual(other),
    };
    let (mut session, _) = client.inbox("UIDPLUS CONDSTORE QRESYNC", answer).await.unwrap();
    assert_eq!(session.list(want()).await.unwrap().messages.len(), 2);
    assert_eq!(fetch(&mut session, &[4]).await.unwrap(), [Ok((4, b"A: 4\r\n".to_vec()))]);
}

#[tokio::test(start_paused = true)]
async fn f27_a_black_hole_at_each_step() {
    let client = client(server(), None);
    for (at, stage) in [
        ("AUTHENTICATE", "login"),
        ("SELECT", "select"),
        ("UID SEARCH", "list"),
        ("UID FETCH", "fetch"),
        ("UID STORE", "dispose"),
        ("UID EXPUNGE", "dispose"),
    ] {
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut is_gone = false;
        let answer = move |command: &str| {
            is_gone |= command.starts_with(at);
            if is_gone { vec![] } else { dialogue(command) }
        };
        tokio::spawn(async move { speak(far, GREETING, answer, Heard::default()).await });
        let start = Instant::now();
        let mut done = Pass::default();
        let error = pass(&client, Channel::Memory(near), &mut done).await.unwrap_err();
        assert_eq!((error.kind, error.stage), (SourceErrorKind::Timeout, stage), "{at}: {error}");
        assert!(start.elapsed() <= Duration::from_secs(20) && done.disposed.is_none(), "{at}: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn f52_too_many_connections_is_no_wrong_password() {
    let client = client(server(), None);
    for refusal in [
        "@ NO [ALERT] Too many simultaneous connections. (Failure)\r\n",
        "@ NO [LIMIT] Maximum number of connections from user+IP exceeded\r\n",
        "@ NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=1)\r\n",
        "* BYE Too many connections from your IP\r\n",
        "@ NO [INUSE] mailbox in use\r\n",
    ] {
        let answer = move |command: &str| if command.starts_with("AUTHENTICATE") { say(refusal) } else { usual(command) };
        let error = client.greeted(GREETING, answer).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Throttled, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn f20_another_client_expunges_between_our_steps() {
    let client = client(server(), None);
    // Between SEARCH and FETCH: OK without the message, twice, or NO.
    for answer in ["* 2 EXPUNGE\r\n@ OK\r\n", "@ NO [EXPUNGEISSUED] some are gone\r\n"] {
        let script = move |command: &str| match command.split(' ').nth(2) {
            Some("4,6") if command.starts_with("UID FETCH") => say(format!("* 1 FETCH (UID 4 BODY[] {{6}}\r\nA: 4\r\n)\r\n{answer}")),
            Some("6") if command.starts_with("UID FETCH") => say(answer),
            _ => usual(command),
        };
        let (mut session, _) = client.inbox("UIDPLUS", script).await.unwrap();
        let all = fetch(&mut session, &[4, 6]).await.unwrap();
        assert!(all[0].is_ok() && all[1].is_err(), "{all:?}");
        // And between FETCH and STORE: the others are deleted, nothing else.
        assert_eq!(session.dispose(&uids(&[4]), Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    }
}
