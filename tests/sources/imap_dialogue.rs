//! IMAP against a scripted peer: each way in which a step can fail, and a stream that is cut at every octet.

use crate::imap_kit;
use mailgather::config::secret::SecretReader;
use mailgather::config::{Auth, AuthMethod, Server, Tls, TlsMode};
use mailgather::mail::{CollectorId, Content, FolderName, RemoteUid, Secret};
use mailgather::net::Channel;
use mailgather::source::imap::ImapSource;
use mailgather::source::{Disposal, Disposed, Fetched, Listing, SourceError, SourceErrorKind, Want, Wanted};
use mailgather::spool::Spool;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN LOGINDISABLED] hi\r\n";
const BODIES: [(u32, &str); 3] = [(4, "A: 1\r\n\r\nx)\r\n* BYE\r\n"), (6, "B: 2\r\n\r\na5 OK\r\n"), (9, "C: 3\r\n\r\n")];

/// What the peer answers: `@` stands for the tag.
fn usual(command: &str) -> String {
    let fetch = |uids: &[u32]| {
        let bodies = BODIES.iter().filter(|(uid, _)| uids.contains(uid));
        let all = bodies.map(|(uid, body)| match uid {
            // The UID may come behind the body.
            6 => format!("* 2 FETCH (BODY[] {{{}}}\r\n{body} FLAGS () UID 6)\r\n", body.len()),
            _ => format!("* 1 FETCH (UID {uid} BODY[] {{{}}}\r\n{body})\r\n* 3 FETCH (FLAGS (\\Seen))\r\n", body.len()),
        });
        all.collect::<String>() + "@ OK fetched\r\n"
    };
    match command.split(' ').collect::<Vec<_>>()[..] {
        ["AUTHENTICATE", ..] | ["LOGIN", ..] => "* CAPABILITY IMAP4rev1 UIDPLUS\r\n@ OK in\r\n".into(),
        ["CAPABILITY"] => "* CAPABILITY IMAP4rev1 UIDPLUS\r\n@ OK done\r\n".into(),
        ["SELECT", "INBOX"] => {
            "* FLAGS (\\Seen)\r\n* 3 EXISTS\r\n* 1 RECENT\r\n* OK [UIDVALIDITY 77] ok\r\n* OK [UIDNEXT 10] ok\r\n@ OK [READ-WRITE] done\r\n".into()
        }
        ["UID", "SEARCH", ..] => "* SEARCH 4 6 9\r\n@ OK done\r\n".into(),
        ["UID", "FETCH", "4,6,9", ..] => fetch(&[4, 6, 9]),
        ["UID", "FETCH", uid, ..] => fetch(&[uid.parse().unwrap_or(0)]),
        ["UID", "STORE", ..] => "* 3 FETCH (FLAGS (\\Deleted \\Seen))\r\n@ OK done\r\n".into(),
        ["UID", "EXPUNGE", ..] => "* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n@ OK done\r\n".into(),
        ["LOGOUT"] => "* BYE bye\r\n@ OK bye\r\n".into(),
        _ => "@ BAD what\r\n".into(),
    }
}

/// The peer: greets, answers each line, and goes away after `cut` octets. Notes the commands.
async fn peer(stream: DuplexStream, greeting: String, answer: impl Fn(&str) -> String, cut: usize, heard: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut left = cut;
    let mut out = greeting;
    loop {
        if let Some(slow) = out.strip_prefix('~') {
            // One octet each four seconds: never silent for long, and never done.
            for octet in slow.bytes() {
                tokio::time::sleep(Duration::from_secs(4)).await;
                if stream.write_all(&[octet]).await.is_err() {
                    return;
                }
            }
            out.clear();
        }
        let now = out.len().min(left);
        left -= now;
        let sent = stream.write_all(&out.as_bytes()[..now]).await;
        let mut line = String::new();
        if left == 0 || sent.is_err() || stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let (tag, command) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        heard.lock().unwrap().push(command.to_owned());
        out = answer(command).replace("@ ", &format!("{tag} "));
    }
}

struct Played {
    messages: Vec<(u32, Vec<u8>)>,
    others: Vec<String>,
    listing: Option<Listing>,
    result: Result<Disposed, SourceError>,
    heard: Vec<String>,
    password_read: bool,
}

#[derive(Clone)]
struct Play {
    tls: TlsMode,
    auth: AuthMethod,
    max: Option<u64>,
    cut: usize,
    want: Want,
    size: Option<u64>,
}

impl Default for Play {
    fn default() -> Self {
        let want = Want { limit: 100, ..imap_kit::want() };
        Play { tls: TlsMode::None, auth: AuthMethod::Auto, max: None, cut: usize::MAX, want, size: None }
    }
}

/// A whole pass against the peer.
async fn play(play: Play, greeting: &str, answer: impl Fn(&str) -> String + Send + 'static) -> Played {
    let (near, far) = tokio::io::duplex(1 << 16);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let scripted = tokio::spawn(peer(far, greeting.to_owned(), answer, play.cut, heard.clone()));
    let auth = Auth { method: play.auth, allow_plaintext: false, ..Auth::default() };
    let server = Server { tls: Tls::mode(play.tls), auth, ..imap_kit::server() };
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path(), 1 << 16, 1 << 20).unwrap();
    let read = Arc::new(AtomicBool::new(false));
    let noted = read.clone();
    let password: SecretReader = Arc::new(move || {
        noted.store(true, Ordering::Relaxed);
        Box::pin(async { Ok(Secret::new("hunter2".into())) })
    });
    let source = ImapSource::new(server, password, spool, CollectorId::new("c").unwrap(), play.max);
    let (mut messages, mut others, mut listing) = (Vec::new(), Vec::new(), None);
    let pass = async {
        let mut session = source.open_over(Channel::Memory(near)).await?;
        let selected = session.select(&FolderName::inbox()).await?;
        assert_eq!(selected.epoch.0, 77);
        let listed = listing.insert(session.list(play.want).await?).clone();
        let batch = listed.messages.into_iter().map(|listed| Wanted { uid: listed.uid, generation: 0, size: play.size });
        session.fetch(batch.collect()).await?;
        while let Some(fetched) = session.next_message().await? {
            match fetched {
                Fetched::Message(message) => {
                    let Content::Memory(octets) = &message.content else { panic!("spooled") };
                    messages.push((message.key.uid.number().unwrap(), octets.to_vec()));
                }
                Fetched::Missing { uid, reason } | Fetched::Unreadable { uid, reason } => others.push(format!("{uid} missing: {reason}")),
                Fetched::TooLarge { uid, octets } => others.push(format!("{uid} too large: {octets}")),
            }
        }
        let uids: Vec<RemoteUid> = messages.iter().map(|(uid, _)| RemoteUid::Number(*uid)).collect();
        let disposed = session.dispose(&uids, Disposal::Delete).await?;
        session.close().await?;
        Ok(disposed)
    };
    let result = tokio::time::timeout(Duration::from_secs(3600), pass).await.expect("the pass hangs");
    if let Err(error) = &result {
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
    scripted.abort();
    let heard = heard.lock().unwrap().clone();
    Played { messages, others, listing, result, heard, password_read: read.load(Ordering::Relaxed) }
}

/// A peer that answers as usual but for commands that start with `command`.
fn but(command: &'static str, answer: &'static str) -> impl Fn(&str) -> String + Send + 'static {
    move |heard| if heard.starts_with(command) { answer.to_owned() } else { usual(heard) }
}

fn whole() -> Vec<(u32, Vec<u8>)> {
    BODIES.iter().map(|(uid, body)| (*uid, body.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn a_whole_pass() {
    let played = play(Play::default(), GREETING, usual).await;
    assert_eq!(played.result.unwrap(), Disposed::Confirmed);
    assert_eq!(played.messages, whole());
    let said = [
        "AUTHENTICATE PLAIN AHVzZXIAaHVudGVyMg==",
        "SELECT INBOX",
        "UID SEARCH UID 1:*",
        "UID FETCH 4,6,9 (UID RFC822.SIZE BODY.PEEK[])",
        "UID STORE 4,6,9 +FLAGS.SILENT (\\Deleted \\Seen)",
        "UID EXPUNGE 4,6,9",
        "LOGOUT",
    ];
    assert_eq!(played.heard, said);
}

#[tokio::test]
async fn cut_at_every_octet() {
    let commands = ["AUTHENTICATE x", "SELECT INBOX", "UID SEARCH x", "UID FETCH 4,6,9 x", "UID STORE x", "UID EXPUNGE x"];
    // Tags have two octets, the mark for them one; the last two are the line end of the last answer.
    let total = GREETING.len() + commands.iter().map(|command| usual(command).len() + 1).sum::<usize>();
    for cut in 0..total {
        let played = play(Play { cut, ..Play::default() }, GREETING, usual).await;
        let error = played.result.expect_err("a cut dialogue looks whole");
        assert!(matches!(error.kind, SourceErrorKind::Closed), "{cut}: {error:?}");
        assert_eq!(played.messages, whole()[..played.messages.len()], "cut at {cut}");
        assert!(played.others.is_empty(), "cut at {cut}");
        // A listing is the whole listing, or none.
        assert!(played.listing.is_none_or(|listing| listing.messages.len() == 3));
    }
    assert!(play(Play { cut: total, ..Play::default() }, GREETING, usual).await.result.is_ok());
}

#[tokio::test]
async fn no_secret_without_tls() {
    let offers = "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hi\r\n";
    for (greeting, answer) in [
        ("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", "@ OK go\r\n"),
        ("* OK hi\r\n", "@ OK go\r\n"),
        ("* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "@ OK go\r\n"),
        (offers, "@ NO no\r\n"),
        (offers, "@ BAD no\r\n"),
        (offers, "@ OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
        (offers, "@ OK go\r\n*"),
        // The memory channel cannot do TLS: the handshake fails, and nothing follows.
        (offers, "@ OK go\r\n"),
    ] {
        let played = play(Play { tls: TlsMode::StartTls, ..Play::default() }, greeting, but("STARTTLS", answer)).await;
        let error = played.result.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Tls, "{greeting} {answer}: {error}");
        assert!(!played.password_read);
        assert!(played.heard.iter().all(|command| matches!(command.as_str(), "STARTTLS" | "CAPABILITY")), "{:?}", played.heard);
    }
}

#[tokio::test]
async fn each_step_can_fail() {
    use SourceErrorKind::*;
    for (command, answer, stage, kind) in [
        ("AUTHENTICATE", "@ NO [AUTHENTICATIONFAILED] no\r\n", "login", Auth),
        ("AUTHENTICATE", "@ BAD no\r\n", "login", Auth),
        ("AUTHENTICATE", "+ more\r\n", "login", Protocol),
        ("AUTHENTICATE", "@ NO [UNAVAILABLE] later\r\n", "login", Throttled),
        ("AUTHENTICATE", "* BYE Too many connections\r\n", "login", Throttled),
        ("SELECT", "@ NO no\r\n", "select", Mailbox),
        ("SELECT", "* 3 EXISTS\r\n@ OK no uidvalidity\r\n", "select", Protocol),
        ("SELECT", "* 3 EXISTS\r\n* OK [UIDVALIDITY 0] x\r\n@ OK done\r\n", "select", Protocol),
        ("SELECT", "* OK [UIDVALIDITY 77] x\r\n@ OK no exists\r\n", "select", Protocol),
        ("UID SEARCH", "@ NO no\r\n", "list", Mailbox),
        ("UID SEARCH", "@ BAD no\r\n", "list", Protocol),
        ("UID SEARCH", "* SEARCH 4 six\r\n@ OK done\r\n", "list", Protocol),
        ("UID SEARCH", "* BYE idle\r\n", "list", Closed),
        ("UID FETCH", "@ BAD no\r\n", "fetch", Protocol),
        ("UID FETCH", "@ NO [LIMIT] Rate limit hit.\r\n", "fetch", Throttled),
        ("UID FETCH", "* 1 FETCH (UID 4 BODY[] {18446744073709551616}\r\n", "fetch", Protocol),
        ("UID FETCH", "* 1 FETCH (UID 4 BODY[] {9223372036854775807}\r\n", "fetch", Protocol),
        ("UID FETCH", "* 1 FETCH (UID 4 BODY[] {-1}\r\n", "fetch", Protocol),
        ("UID FETCH", "* 1 FETCH (UID 4 BODY[] {3}\r\nabcdef)\r\n@ OK\r\n", "fetch", Protocol),
        ("UID FETCH", "* 1 FETCH (UID 4 BODY[] {9}\r\nabcdef)\r\n@ OK x)\r\n", "fetch", Protocol),
        ("UID FETCH", "* 1 FETCH (UID 4 BODY[] {3}\r\nabc BODY[] {3}\r\nabc)\r\n@ OK\r\n", "fetch", Protocol),
        ("UID FETCH", "Content-Type: text/plain\r\n", "fetch", Protocol),
        ("UID FETCH", "a99 OK\r\n", "fetch", Protocol),
        ("UID STORE", "@ NO [READ-ONLY] no\r\n", "dispose", Mailbox),
        ("UID EXPUNGE", "@ NO no\r\n", "dispose", Mailbox),
    ] {
        let played = play(Play::default(), GREETING, but(command, answer)).await;
        let error = played.result.expect_err(answer);
        assert_eq!((error.stage, error.kind), (stage, kind), "{command}: {answer}: {error}");
        assert!(stage == "dispose" || played.messages.is_empty());
    }
    for (greeting, kind) in
        [("* BYE down\r\n", Closed), ("* NO no\r\n", Mailbox), ("HTTP/1.1 400 Bad Request\r\n", Protocol), ("* 3 EXISTS\r\n", Protocol)]
    {
        let played = play(Play::default(), greeting, usual).await;
        assert_eq!(played.result.unwrap_err().kind, kind, "{greeting}");
        assert!(!played.password_read);
    }
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_is_wrong_has_a_hint() {
    for (tls, greeting, kind, hint) in [
        (TlsMode::None, "+OK POP3 ready\r\n", SourceErrorKind::Protocol, Some("`protocol: pop3`")),
        (TlsMode::None, "HTTP/1.1 400 Bad Request\r\n", SourceErrorKind::Protocol, None),
        (TlsMode::None, "", SourceErrorKind::Timeout, Some("mode: implicit")),
        (TlsMode::StartTls, "", SourceErrorKind::Timeout, Some("mode: implicit")),
        (TlsMode::Implicit, "", SourceErrorKind::Timeout, None),
    ] {
        let error = play(Play { tls, ..Play::default() }, greeting, usual).await.result.unwrap_err();
        assert_eq!((error.stage, error.kind), ("greeting", kind));
        match hint {
            Some(words) => assert!(error.hint.as_ref().is_some_and(|hint| hint.contains(words)), "{error:?}"),
            None => assert_eq!(error.hint, None),
        }
    }
}

#[tokio::test]
async fn login_is_chosen_once() {
    let played = play(Play { auth: AuthMethod::Password, ..Play::default() }, GREETING, usual).await;
    assert!(played.result.is_err() && !played.password_read, "LOGIN is disabled");
    let played = play(Play { auth: AuthMethod::Plain, ..Play::default() }, "* OK [CAPABILITY IMAP4rev1] hi\r\n", usual).await;
    assert!(played.result.is_err() && !played.password_read, "PLAIN is not offered");
    let played = play(Play::default(), "* OK [CAPABILITY IMAP4rev1] hi\r\n", usual).await;
    assert_eq!(played.heard[0], "LOGIN \"user\" \"hunter2\"");
    // Without SASL-IR the credentials wait for the server.
    let patient = |command: &str| match command {
        "AUTHENTICATE PLAIN" => "+ \r\n".into(),
        "" => String::new(),
        other => usual(other),
    };
    let played = play(Play::default(), "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", patient).await;
    assert_eq!(played.heard[0], "AUTHENTICATE PLAIN");
}

#[tokio::test]
async fn one_message_that_fails_leaves_the_others() {
    let answer = |command: &str| match command.split(' ').nth(2) {
        _ if !command.starts_with("UID FETCH") => usual(command),
        Some("4,6,9") => "* 1 FETCH (UID 4 BODY[] {3}\r\na\r\n)\r\n@ NO some are broken\r\n".into(),
        Some("6") => "@ NO broken\r\n".into(),
        _ => usual(command),
    };
    let played = play(Play::default(), GREETING, answer).await;
    assert_eq!(played.messages, [(4, b"a\r\n".to_vec()), (9, BODIES[2].1.as_bytes().to_vec())]);
    assert_eq!(played.others, ["6 missing: broken"]);
    assert!(played.result.is_ok());
}

#[tokio::test]
async fn odd_answers_to_fetch() {
    let odd = "* 1 FETCH (UID 5 BODY[] {1}\r\nx)\r\n* 1 FETCH (UID 4 BODY[] {0}\r\n)\r\n* 2 FETCH (UID 6 BODY[] \"A: b\")\r\n* 2 FETCH (UID 6 BODY[] {1}\r\nx)\r\n\
               * 9 XYZZY\r\n* 4 EXISTS\r\n* 2 EXPUNGE\r\n* 3 FETCH (BODY[] {300}\r\n";
    let odd = format!("{odd}{} UID 9)\r\n@ OK done\r\n", "x".repeat(300));
    let answer = move |command: &str| if command.starts_with("UID FETCH") { odd.clone() } else { usual(command) };
    let played = play(Play { max: Some(200), ..Play::default() }, GREETING, answer.clone()).await;
    assert_eq!(played.messages, [(6, b"A: b\r\n".to_vec())]);
    assert_eq!(played.others, ["4 missing: the server sent an empty body", "9 too large: 300"]);
    // A message of which the listing says that it is empty is one.
    let played = play(Play { size: Some(0), ..Play::default() }, GREETING, answer).await;
    assert_eq!(played.messages[0], (4, vec![]));
}

#[tokio::test]
async fn listings() {
    let usual_want = Play::default().want;
    let above = |above| Want { above, ..usual_want.clone() };
    // UIDNEXT says that there is nothing: no round trip.
    let played = play(Play { want: above(9), ..Play::default() }, GREETING, usual).await;
    assert!(played.listing.unwrap().messages.is_empty() && !played.heard.iter().any(|command| command.contains("SEARCH")));
    // `9:*` finds the last message though its UID is below.
    let quirk = but("UID SEARCH", "* SEARCH 6\r\n@ OK\r\n");
    let played = play(Play { want: above(8), ..Play::default() }, GREETING, quirk).await;
    assert!(played.listing.unwrap().messages.is_empty());
    // Exceptions come back whatever their number, or have vanished.
    let also = Want { also: vec![RemoteUid::Number(2), RemoteUid::Number(4)], limit: 2, ..above(5) };
    let played = play(Play { want: also, ..Play::default() }, GREETING, usual).await;
    let listing = played.listing.unwrap();
    assert_eq!(listing.messages.iter().filter_map(|listed| listed.uid.number()).collect::<Vec<_>>(), [4, 6]);
    assert!(listing.more && listing.vanished == [RemoteUid::Number(2)]);
    assert_eq!(played.heard[2], "UID SEARCH UID 2,4,6:*");
    // OK without a result says nothing about what is there: nothing is listed, and nothing has vanished.
    for unseen in [false, true] {
        let also = Want { also: vec![RemoteUid::Number(2), RemoteUid::Number(4)], unseen, ..above(5) };
        let played = play(Play { want: also, ..Play::default() }, GREETING, but("UID SEARCH", "@ OK done\r\n")).await;
        let listing = played.listing.unwrap();
        assert!(listing.messages.is_empty() && listing.vanished.is_empty() && listing.present.is_none(), "{listing:?}");
    }
    // An empty result is one.
    let also = Want { also: vec![RemoteUid::Number(2)], ..above(5) };
    let played = play(Play { want: also, ..Play::default() }, GREETING, but("UID SEARCH", "* SEARCH\r\n@ OK done\r\n")).await;
    assert_eq!(played.listing.unwrap().vanished, [RemoteUid::Number(2)]);
    // Whoever asks for everything must not be told that there is nothing.
    for answer in ["* SEARCH\r\n@ OK\r\n", "@ OK\r\n"] {
        let played = play(Play { want: Want { complete: true, ..above(0) }, ..Play::default() }, GREETING, but("UID SEARCH ALL", answer)).await;
        assert_eq!(played.result.unwrap_err().kind, SourceErrorKind::Protocol);
    }
}

#[tokio::test]
async fn floods_end() {
    let long = "x".repeat(60_000);
    let body = format!("* 1 FETCH (UID 8 BODY[] {{60000}}\r\n{long})\r\n");
    for piece in [format!("* XYZZY {long}\r\n"), format!("* OK {long}\r\n"), "(".repeat(70_000), body] {
        let flood = piece.repeat(66 * 1024 * 1024 / piece.len());
        let played =
            play(Play::default(), GREETING, move |command: &str| if command.starts_with("UID SEARCH") { flood.clone() } else { usual(command) })
                .await;
        assert_eq!(played.result.unwrap_err().kind, SourceErrorKind::Protocol, "{}", &piece[..20]);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_and_dripping_end() {
    let played = play(Play::default(), GREETING, but("UID SEARCH", "")).await;
    assert_eq!(played.result.unwrap_err().kind, SourceErrorKind::Timeout);
    let played = play(Play::default(), "", usual).await;
    assert_eq!((played.result.as_ref().unwrap_err().kind, played.result.as_ref().unwrap_err().stage), (SourceErrorKind::Timeout, "greeting"));
    let slow = format!("~* 1 FETCH (UID 4 BODY[] {{2000}}\r\n{}", "x".repeat(2000));
    let drip = move |command: &str| if command.starts_with("UID FETCH") { slow.clone() } else { usual(command) };
    let played = play(Play::default(), GREETING, drip).await;
    let error = played.result.unwrap_err();
    assert!(error.kind == SourceErrorKind::Timeout && error.text.contains("too slow"), "{error}");
    // A proxy that forgets what came with the login gets the SELECT once more. (Nothing goes with AUTHENTICATE.)
    let seen = AtomicBool::new(false);
    let forgetful =
        move |command: &str| if command == "SELECT INBOX" && !seen.swap(true, Ordering::Relaxed) { String::new() } else { usual(command) };
    let by_login = Play { auth: AuthMethod::Password, ..Play::default() };
    let played = play(by_login, "* OK [CAPABILITY IMAP4rev1 UIDPLUS] hi\r\n", forgetful).await;
    assert_eq!(played.messages, whole());
}

/// Headers by EXAMINE: of the last messages, or of one.
async fn look(
    last: Option<usize>,
    uid: Option<u32>,
    answer: impl Fn(&str) -> String + Send + 'static,
) -> (Result<Vec<(u32, String, bool)>, SourceError>, Vec<String>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let scripted = tokio::spawn(peer(far, GREETING.to_owned(), answer, usize::MAX, heard.clone()));
    let server = Server { auth: Auth::default(), ..imap_kit::server() };
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path(), 1 << 16, 1 << 20).unwrap();
    let password: SecretReader = Arc::new(|| Box::pin(async { Ok(Secret::new("hunter2".into())) }));
    let source = ImapSource::new(server, password, spool, CollectorId::new("c").unwrap(), None).read_only();
    let looked = async {
        let mut session = source.open_over(Channel::Memory(near)).await?;
        session.select(&FolderName::inbox()).await?;
        assert_eq!(session.peer(), None, "a pipe has no address");
        let refused = matches!(session.dispose(&[RemoteUid::Number(4)], Disposal::Keep).await, Ok(Disposed::Confirmed));
        assert!(refused, "to keep is to do nothing");
        let peeked = match (last, uid) {
            (Some(last), _) => session.headers(last).await?,
            (None, Some(uid)) => session.header_of(&RemoteUid::Number(uid)).await?.into_iter().collect(),
            (None, None) => {
                session.dispose(&[RemoteUid::Number(4)], Disposal::Delete).await?;
                vec![]
            }
        };
        session.close().await?;
        let first = |header: &mailgather::mail::HeaderBlock| header.fields().first().map_or(String::new(), |field| header.text(field));
        Ok(peeked.iter().map(|one| (one.uid.number().unwrap(), first(&one.header), one.header.is_truncated())).collect())
    };
    let result = tokio::time::timeout(Duration::from_secs(3600), looked).await.expect("the look hangs");
    scripted.abort();
    let heard = heard.lock().unwrap().clone();
    (result, heard)
}

/// A folder of `exists` messages, whose UIDs are ten times their numbers.
fn folder_of(exists: u32) -> impl Fn(&str) -> String + Send + Clone + 'static {
    move |heard| {
        let header = |n: u32| {
            let text = format!("Subject: s{n}\r\nTo: x\r\n\r\n");
            format!("* {n} FETCH (UID {} BODY[HEADER] {{{}}}\r\n{text})\r\n", 10 * n, text.len())
        };
        match heard.split(' ').collect::<Vec<_>>()[..] {
            ["EXAMINE", "INBOX"] => format!("* {exists} EXISTS\r\n* OK [UIDVALIDITY 77] ok\r\n@ OK [READ-ONLY] done\r\n"),
            ["FETCH", range, "(UID", "BODY.PEEK[HEADER])"] => {
                let (first, last) = range.split_once(':').unwrap();
                let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
                assert!(first >= 1 && first <= last && last <= exists, "{heard}");
                (first..=last).map(header).collect::<String>() + "@ OK done\r\n"
            }
            ["UID", "FETCH", uid, "(UID", "BODY.PEEK[HEADER])"] => {
                let uid: u32 = uid.parse().unwrap();
                let found = uid.is_multiple_of(10) && (1..=exists).contains(&(uid / 10));
                let found = if found { header(uid / 10) } else { String::new() };
                found + "@ OK done\r\n"
            }
            _ => usual(heard),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn headers_are_looked_at_in_chunks_and_nothing_is_marked() {
    for (exists, last, commands) in [
        (120, 3, vec!["FETCH 118:120"]),
        (120, 60, vec!["FETCH 71:120", "FETCH 61:70"]),
        (120, 500, vec!["FETCH 71:120", "FETCH 21:70", "FETCH 1:20"]),
        (1, 10, vec!["FETCH 1:1"]),
        (0, 10, vec![]),
        (5, 0, vec![]),
    ] {
        let (result, heard) = look(Some(last), None, folder_of(exists)).await;
        let first = exists - (last as u32).min(exists);
        let wanted: Vec<_> = (first + 1..=exists).map(|n| (10 * n, format!("s{n}"), false)).collect();
        assert_eq!(result.unwrap(), wanted, "{exists} {last}");
        let mut said = vec!["EXAMINE INBOX".to_owned()];
        said.extend(commands.iter().map(|command| format!("{command} (UID BODY.PEEK[HEADER])")));
        said.push("LOGOUT".into());
        assert_eq!(heard[1..], said, "{exists} {last}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_header_is_looked_at_by_uid() {
    for (uid, wanted) in [(20, vec![(20, "s2".to_owned(), false)]), (21, vec![]), (0, vec![])] {
        let (result, heard) = look(None, Some(uid), folder_of(3)).await;
        assert_eq!(result.unwrap(), wanted);
        assert_eq!(heard.iter().filter(|said| said.starts_with("UID FETCH")).count(), usize::from(uid > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_for_looking_deletes_nothing() {
    let (result, heard) = look(None, None, folder_of(3)).await;
    assert_eq!(result.unwrap_err().kind, SourceErrorKind::Mailbox);
    assert!(!heard.iter().any(|said| said.contains("STORE") || said.contains("EXPUNGE")), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn odd_answers_to_a_look() {
    let with = |answer: String| {
        let usual = folder_of(3);
        move |heard: &str| if heard.starts_with("FETCH") { answer.clone() } else { usual(heard) }
    };
    let long = format!("Subject: s\r\nDate: d\r\nX: {}\r\n\r\n", "y".repeat(1024 * 1024));
    let huge = "* 3 FETCH (UID 30 BODY[HEADER] {99999999}\r\n";
    for (answer, wanted) in [
        // In quotes, as NIL, the UID behind, an old name; what nobody asked for, and what has no UID, is no header.
        ("* 3 FETCH (BODY[HEADER] \"Subject: q\" UID 30)\r\n@ OK\r\n".to_owned(), Ok(vec![(30, "q".to_owned(), false)])),
        ("* 3 FETCH (BODY[HEADER] NIL UID 30)\r\n@ OK\r\n".into(), Ok(vec![(30, String::new(), false)])),
        ("* 3 FETCH (RFC822.HEADER {9}\r\nTo: x\r\n\r\n UID 30)\r\n@ OK\r\n".into(), Ok(vec![(30, "x".into(), false)])),
        ("* 3 FETCH (FLAGS (\\Seen) UID 30)\r\n* 4 EXISTS\r\n* 3 FETCH (BODY[HEADER] {2}\r\n\r\n)\r\n@ OK\r\n".into(), Ok(vec![])),
        // The same message twice counts once; more messages than asked for are left out.
        (
            "* 3 FETCH (UID 30 BODY[HEADER] \"A: 1\")\r\n* 3 FETCH (UID 30 BODY[HEADER] \"A: 2\")\r\n@ OK\r\n".into(),
            Ok(vec![(30, "2".into(), false)]),
        ),
        (
            (1..=9).map(|n| format!("* {n} FETCH (UID {n} BODY[HEADER] \"A: {n}\")\r\n")).collect::<String>() + "@ OK\r\n",
            Ok((1..=3).map(|n| (n, n.to_string(), false)).collect()),
        ),
        // A header beyond the limit is cut, and what the cut went through is not read.
        (format!("* 3 FETCH (UID 30 BODY[HEADER] {{{}}}\r\n{long})\r\n@ OK\r\n", long.len()), Ok(vec![(30, "s".into(), true)])),
        // A refusal behind some headers is about the others.
        ("* 3 FETCH (UID 30 BODY[HEADER] \"A: 1\")\r\n@ NO some could not be read\r\n".into(), Ok(vec![(30, "1".into(), false)])),
        ("@ NO cannot\r\n".into(), Err(SourceErrorKind::Mailbox)),
        ("@ NO [THROTTLED] slow down\r\n".into(), Err(SourceErrorKind::Throttled)),
        ("@ BAD what\r\n".into(), Err(SourceErrorKind::Protocol)),
        ("* 3 FETCH (UID 30 BODY[HEADER] {2}\r\n\r\n BODY[] {1}\r\nx)\r\n@ OK\r\n".into(), Err(SourceErrorKind::Protocol)),
        (huge.into(), Err(SourceErrorKind::Protocol)),
        (String::new(), Err(SourceErrorKind::Timeout)),
    ] {
        let shown = answer.chars().take(120).collect::<String>();
        let (result, _) = look(Some(3), None, with(answer)).await;
        match wanted {
            Ok(wanted) => assert_eq!(result.unwrap(), wanted, "{shown}"),
            Err(kind) => assert_eq!(result.unwrap_err().kind, kind, "{shown}"),
        }
    }
}

/// What Dovecot and Courier answer for a message that another client has expunged is no mail.
#[tokio::test]
async fn what_another_client_removed_is_missing() {
    let notice = "From: System Administrator <root@localhost>\r\nSubject: message unavailable\r\n\r\n\
                  This message is no longer available on the server.\r\n";
    let gone = format!(
        "* 1 FETCH (UID 4 RFC822.SIZE 0 BODY[] NIL)\r\n* 2 FETCH (UID 6 BODY[] {{{}}}\r\n{notice})\r\n* 3 FETCH (UID 9 BODY[] {{6}}\r\nC: 3\r\n)\r\n",
        notice.len()
    );
    let answer = move |command: &str| if command.starts_with("UID FETCH") { format!("{gone}@ OK [EXPUNGEISSUED] done\r\n") } else { usual(command) };
    let played = play(Play::default(), GREETING, answer).await;
    assert_eq!(played.messages, [(9, b"C: 3\r\n".to_vec())]);
    assert_eq!(played.others, ["4 missing: the server has no body for it (NIL)", "6 missing: another client has removed it meanwhile"]);
}
