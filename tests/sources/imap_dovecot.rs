//! IMAP against a real Dovecot: TLS and logins, a password that needs a literal, marking, deleting, moving, folders, IDLE, pieces, compression,
//! another client at the same mailbox, failures told apart.

use crate::imap_kit;
use crate::support::Dovecot;
use crate::support::dovecot::{Builder, PASSWORD};
use mailgather::config::secret::SecretReader;
use mailgather::config::{Auth, AuthMethod, PartialFetch, PartialMode, Server, Tls, TlsMode};
use mailgather::mail::{CollectorId, Content, FolderName, RemoteUid, Secret};
use mailgather::source::imap::ImapSource;
use mailgather::source::{Disposal, Disposed, Fetched, Session, Source, SourceErrorKind, Want, Wanted, Woken};
use mailgather::spool::Spool;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const USER: &str = "u@example.org";
/// Neither an atom nor a quoted string can carry it.
const ODD_PASSWORD: &str = "secret ü\"\\";

/// A Dovecot that knows the odd password beside the usual one, and a folder for the spool.
struct Mailbox {
    server: Dovecot,
    folder: tempfile::TempDir,
}

impl Mailbox {
    fn start() -> Mailbox {
        Mailbox::start_with(Dovecot::builder())
    }

    fn start_with(builder: Builder) -> Mailbox {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        fs::write(&users, format!("{USER}:{{PLAIN}}{ODD_PASSWORD}::::::\n")).unwrap();
        for path in [folder.path(), &users] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let extra = format!("passdb {{\n driver = passwd-file\n args = scheme=PLAIN username_format=%u {}\n}}", users.display());
        Mailbox { server: builder.extra(&extra).start(), folder }
    }

    fn put(&self, messages: impl Iterator<Item = String>) {
        messages.for_each(|text| self.server.put(USER, text.as_bytes()));
    }

    fn source(&self, mode: TlsMode, auth: AuthMethod) -> ImapSource {
        self.source_with(mode, auth, ODD_PASSWORD, None)
    }

    fn source_with(&self, mode: TlsMode, auth: AuthMethod, password: &'static str, max_message_size: Option<u64>) -> ImapSource {
        self.source_of(self.server_of(mode, auth), password, max_message_size)
    }

    /// A session in the clear, with something of the configuration changed, and INBOX open.
    async fn inbox(&self, change: impl FnOnce(&mut Server)) -> Box<dyn Session> {
        let mut server = self.server_of(TlsMode::None, AuthMethod::Auto);
        change(&mut server);
        let mut session = self.source_of(server, ODD_PASSWORD, None).open().await.unwrap();
        session.select(&FolderName::inbox()).await.unwrap();
        session
    }

    fn server_of(&self, mode: TlsMode, auth: AuthMethod) -> Server {
        Server {
            host: "localhost".into(),
            port: if mode == TlsMode::Implicit { self.server.imaps() } else { self.server.imap() },
            tls: Tls { ca_file: Some(self.server.ca()), ..Tls::mode(mode) },
            username: USER.into(),
            auth: Auth { method: auth, allow_plaintext: true, ..Auth::default() },
            connect_timeout: Some(Duration::from_secs(20)),
            idle_timeout: Some(Duration::from_secs(20)),
            ..imap_kit::server()
        }
    }

    fn source_of(&self, server: Server, password: &'static str, max_message_size: Option<u64>) -> ImapSource {
        let spool = Spool::new(&self.folder.path().join("spool"), 256 * 1024, 4 * 1024 * 1024).unwrap();
        let password: SecretReader = Arc::new(move || Box::pin(async move { Ok(Secret::new(password.into())) }));
        ImapSource::new(server, password, spool, CollectorId::new("c").unwrap(), max_message_size)
    }

    fn flags(&self) -> Vec<String> {
        self.server.flags(USER)
    }
}

fn text(n: usize) -> String {
    format!("From: a@example.com\r\nSubject: {n}\r\n\r\n{}\r\n", format!("line of {n}\r\n").repeat(n % 50))
}

fn want() -> Want {
    Want { limit: 100_000, ..imap_kit::want() }
}

async fn listed(session: &mut Box<dyn Session>, want: Want) -> Vec<Wanted> {
    let listing = session.list(want).await.unwrap();
    listing.messages.into_iter().map(|listed| Wanted { uid: listed.uid, generation: 0, size: listed.size }).collect()
}

async fn fetched(session: &mut Box<dyn Session>) -> Vec<Fetched> {
    let mut all = Vec::new();
    while let Some(fetched) = session.next_message().await.unwrap() {
        // Content only: holding all messages would use up the budget.
        all.push(match fetched {
            Fetched::Message(mut message) => {
                message.budget = None;
                Fetched::Message(message)
            }
            other => other,
        });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn collects_marks_and_deletes() {
    let dovecot = Mailbox::start();
    dovecot.put((1..=500).map(text));
    for (mode, auth) in [
        (TlsMode::None, AuthMethod::Password),
        (TlsMode::None, AuthMethod::Auto),
        (TlsMode::StartTls, AuthMethod::Auto),
        (TlsMode::Implicit, AuthMethod::Password),
        (TlsMode::Implicit, AuthMethod::Plain),
    ] {
        let mut session = dovecot.source(mode, auth).open().await.unwrap();
        let selected = session.select(&FolderName::inbox()).await.unwrap();
        assert!(selected.epoch.0 > 0 && selected.exists == 500 && selected.uid_next == Some(501) && selected.can_delete);
        let batch = listed(&mut session, want()).await;
        session.fetch(batch).await.unwrap();
        let mut messages = Vec::new();
        for fetched in fetched(&mut session).await {
            let Fetched::Message(message) = fetched else { panic!("{fetched:?}") };
            let mailgather::mail::Content::Memory(octets) = message.content else { panic!("spooled") };
            messages.push((message.key.uid.number().unwrap(), octets));
        }
        // Of several commands that are on their way, Dovecot answers a later one first when its send buffer is full (RFC 9051 §5.5).
        messages.sort_by_key(|(uid, _)| *uid);
        assert_eq!(messages.len(), 500);
        for (n, (uid, octets)) in (1..).zip(&messages) {
            assert_eq!((*uid, &octets[..]), (n, text(n as usize).as_bytes()));
        }
        assert_eq!(session.close().await.unwrap(), []);
    }
    assert!(dovecot.flags().iter().all(String::is_empty), "collecting changed a flag");

    let source = dovecot.source(TlsMode::None, AuthMethod::Auto);
    let mut session = source.open().await.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    let odd: Vec<RemoteUid> = (1..=500).step_by(2).map(RemoteUid::Number).collect();
    let even: Vec<RemoteUid> = (2..=500).step_by(2).map(RemoteUid::Number).collect();
    assert_eq!(session.dispose(&odd, Disposal::MarkSeen).await.unwrap(), Disposed::Confirmed);
    assert_eq!(dovecot.flags().iter().filter(|flags| *flags == "S").count(), 250);
    assert_eq!(listed(&mut session, Want { unseen: true, since: None, ..want() }).await.len(), 250);
    assert_eq!(session.dispose(&even, Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    assert_eq!(dovecot.flags().len(), 250);
    let listing = session.list(Want { above: 490, also: vec![odd[0].clone(), even[0].clone()], sizes: true, ..want() }).await.unwrap();
    assert_eq!(listing.vanished, [even[0].clone()]);
    let uids: Vec<u32> = listing.messages.iter().filter_map(|listed| listed.uid.number()).collect();
    assert_eq!(uids, [1, 491, 493, 495, 497, 499]);
    assert_eq!(listing.messages[1].size, Some(text(491).len() as u64));
    let listing = session.list(Want { above: 499, complete: true, limit: 3, ..want() }).await.unwrap();
    assert!(listing.messages.is_empty() && matches!(listing.present, Some(mailgather::mail::Present::Numbers(set)) if set.len() == 250));
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_apart() {
    let dovecot = Mailbox::start();
    dovecot.put([text(1), text(20_049), String::new(), text(4)].into_iter());
    let error = dovecot.source_with(TlsMode::StartTls, AuthMethod::Auto, "wrong horse", None).open().await.err().unwrap();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Auth, "login"));
    assert!(!format!("{error:?}").contains("horse"));

    let source = dovecot.source_with(TlsMode::None, AuthMethod::Auto, ODD_PASSWORD, Some(200));
    let mut session = source.open().await.unwrap();
    let error = session.select(&FolderName::new("Entwürfe \"x\"\r\na9 LOGOUT")).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Mailbox, "select"));
    session.abandon().await;

    let mut session = source.open().await.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    let batch = (1..=9).map(|n| Wanted { uid: RemoteUid::Number(n), generation: 7, size: None }).collect();
    session.fetch(batch).await.unwrap();
    let shown: Vec<String> = fetched(&mut session)
        .await
        .iter()
        .map(|fetched| match fetched {
            Fetched::Message(message) => format!("{} of {}", message.key.uid, message.key.generation),
            Fetched::TooLarge { uid, .. } => format!("{uid} too large"),
            Fetched::Missing { uid, reason } | Fetched::Unreadable { uid, reason } => format!("{uid} {reason}"),
        })
        .collect();
    let gone = "the server did not send it";
    let gone: Vec<String> = (5..=9).map(|n| format!("{n} {gone}")).collect();
    assert_eq!(shown[..4], ["1 of 7", "2 too large", "3 of 7", "4 of 7"]);
    assert_eq!(shown[4..], gone);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_headers_leaves_no_trace() {
    let dovecot = Mailbox::start();
    dovecot.put((1..=120).map(text));
    for (mode, ip) in [(TlsMode::None, "127.0.0.1"), (TlsMode::Implicit, "127.0.0.1")] {
        let source = dovecot.source(mode, AuthMethod::Auto).read_only();
        let mut session = source.open().await.unwrap();
        session.select(&FolderName::inbox()).await.unwrap();
        assert_eq!(session.peer().map(|peer| peer.to_string()).as_deref(), Some(ip));
        let peeked = session.headers(70).await.unwrap();
        let subject = |one: &mailgather::source::Peeked| one.header.text(one.header.first("Subject").unwrap());
        let seen: Vec<_> = peeked.iter().map(|one| (one.uid.number().unwrap(), subject(one))).collect();
        assert_eq!(seen, (51..=120).map(|n| (n, n.to_string())).collect::<Vec<_>>());
        let one = session.header_of(&RemoteUid::Number(7)).await.unwrap().unwrap();
        assert_eq!(subject(&one), "7");
        assert!(session.header_of(&RemoteUid::Number(999)).await.unwrap().is_none());
        session.close().await.unwrap();
    }
    assert!(dovecot.flags().iter().all(String::is_empty), "looking changed a flag");
    let new = dovecot.server.maildir(USER).0.join("new");
    assert_eq!(fs::read_dir(new).unwrap().count(), 120, "the messages are not new any more");
}

fn numbers(range: impl Iterator<Item = u32>) -> Vec<RemoteUid> {
    range.map(RemoteUid::Number).collect()
}

/// What was fetched, by UID; a message that is missing has no octets.
async fn octets_of(session: &mut Box<dyn Session>, uids: &[RemoteUid]) -> Vec<(u32, Option<Vec<u8>>)> {
    session.fetch(uids.iter().map(|uid| Wanted { uid: uid.clone(), generation: 0, size: None }).collect()).await.unwrap();
    let mut all = Vec::new();
    for fetched in fetched(session).await {
        all.push(match fetched {
            Fetched::Message(message) => {
                let octets = match &message.content {
                    Content::Memory(octets) => octets.to_vec(),
                    Content::Spooled { file, start, len } => {
                        let mut octets = vec![0; *len as usize];
                        std::os::unix::fs::FileExt::read_exact_at(&**file, &mut octets, *start).unwrap();
                        octets
                    }
                };
                (message.key.uid.number().unwrap(), Some(octets))
            }
            Fetched::Missing { uid, .. } | Fetched::Unreadable { uid, .. } | Fetched::TooLarge { uid, .. } => (uid.number().unwrap(), None),
        });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_made_by_moving_listed_and_opened() {
    let special = "namespace inbox {\n inbox = yes\n separator = /\n mailbox Junk {\n special_use = \\Junk\n auto = create\n }\n}";
    for (without, folder) in [(&[][..], "Архив & Co/2026"), (&["MOVE"], "Entwürfe \"neu\""), (&["MOVE", "UIDPLUS"], "x")] {
        let dovecot = Mailbox::start_with(Dovecot::builder().extra(special).without(without));
        dovecot.put((1..=30).map(text));
        let mut session = dovecot.inbox(|_| ()).await;
        let done = FolderName::new(folder);
        let expected = if without.contains(&"UIDPLUS") { Disposed::FlaggedOnly } else { Disposed::Confirmed };
        // The folder is not there yet; then it is.
        assert_eq!(session.dispose(&numbers(1..=10), Disposal::Move(done.clone())).await.unwrap(), expected);
        assert_eq!(session.dispose(&numbers((11..=20).chain([999])), Disposal::Move(done.clone())).await.unwrap(), expected);
        let left = if expected == Disposed::Confirmed { 10 } else { 30 };
        assert_eq!(listed(&mut session, want()).await.len(), left);
        let folders = session.folders().await.unwrap();
        let shown: Vec<_> = folders.iter().map(|one| (one.name.as_str(), one.separator)).collect();
        assert!(shown.contains(&(folder, Some('/'))) && shown.contains(&("INBOX", Some('/'))), "{shown:?}");
        let junk = folders.iter().find(|one| one.name.as_str() == "Junk").unwrap();
        assert!(junk.attributes.iter().any(|attribute| attribute == "\\Junk"), "{:?}", junk.attributes);
        let selected = session.select(&done).await.unwrap();
        assert_eq!(selected.exists, 20);
        let all = octets_of(&mut session, &numbers(1..=20)).await;
        assert!(all.iter().all(|(uid, octets)| octets.as_deref() == Some(text(*uid as usize).as_bytes())));
        session.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_expunge_leaves_what_others_flagged() {
    let dovecot = Mailbox::start_with(Dovecot::builder().without(&["UIDPLUS"]));
    dovecot.put((1..=9).map(text));
    let mut other = Other::open(&dovecot).await;
    let mut session = dovecot.inbox(|server| server.allow_plain_expunge = true).await;
    assert_eq!(session.dispose(&numbers(1..=2), Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    assert_eq!(dovecot.flags().len(), 7);
    // Flagged by another client, in the middle of our session.
    other.say("UID STORE 9 +FLAGS (\\Deleted)").await;
    assert_eq!(session.dispose(&numbers(3..=4), Disposal::Delete).await.unwrap(), Disposed::FlaggedOnly);
    assert_eq!(dovecot.flags().len(), 7);
    other.say("UID STORE 9 -FLAGS (\\Deleted)").await;
    assert_eq!(session.dispose(&numbers(3..=5), Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    assert_eq!(dovecot.flags().len(), 4);
    // And without the option nothing is expunged.
    let mut session = dovecot.inbox(|_| ()).await;
    assert_eq!(session.dispose(&numbers(6..=6), Disposal::Delete).await.unwrap(), Disposed::FlaggedOnly);
    assert_eq!(dovecot.flags().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_tells_of_new_and_vanished_mail() {
    let dovecot = Mailbox::start();
    dovecot.put((1..=3).map(text));
    let mut session = dovecot.inbox(|_| ()).await;
    assert!(session.can_idle());
    let never = || Box::pin(std::future::pending());
    session.list(want()).await.unwrap();
    let start = Instant::now();
    assert_eq!(session.idle(Duration::from_secs(1), never()).await.unwrap(), Woken::Limit);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(session.idle(Duration::from_secs(600), Box::pin(tokio::time::sleep(Duration::from_millis(300)))).await.unwrap(), Woken::Stopped);
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        dovecot.put((4..=4).map(text));
    };
    let (woken, ()) = tokio::join!(session.idle(Duration::from_secs(600), never()), late);
    assert_eq!(woken.unwrap(), Woken::Told);
    assert_eq!(listed(&mut session, Want { above: 3, ..want() }).await.len(), 1);
    let mut other = Other::open(&dovecot).await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        other.say("UID STORE 1 +FLAGS (\\Deleted)").await;
        other.say("UID EXPUNGE 1").await;
    };
    let (woken, ()) = tokio::join!(session.idle(Duration::from_secs(600), never()), late);
    assert_eq!(woken.unwrap(), Woken::Told);
    assert!(start.elapsed() < Duration::from_secs(60));
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_and_compression() {
    let dovecot = Mailbox::start_with(Dovecot::builder().extra("protocol imap {\n mail_plugins = $mail_plugins imap_zlib\n}"));
    let large = format!("From: a@example.com\r\nSubject: large\r\n\r\n{}", "0123456789 abcdefghij klmnopqrst uvwxyz\r\n".repeat(30_000));
    let even = large[..1 << 18].trim_end().to_owned() + "\r\n";
    dovecot.put([text(1), large.clone(), text(3), even.clone(), String::new()].into_iter());
    let wanted = [(1, text(1)), (2, large), (3, text(3)), (4, even), (5, String::new())];
    for (mode, chunk, compress) in [
        (PartialMode::On, 64 * 1024, false),
        (PartialMode::On, 0, false),
        (PartialMode::Auto, 0, true),
        (PartialMode::On, 8192, true),
        (PartialMode::Off, 0, false),
    ] {
        let partial_fetch = PartialFetch { mode, chunk };
        let mut session = dovecot.inbox(|server| (server.partial_fetch, server.compress) = (partial_fetch, compress)).await;
        let mut all = octets_of(&mut session, &numbers(1..=5)).await;
        all.sort();
        for ((uid, text), (found, octets)) in wanted.iter().zip(&all) {
            assert!(uid == found && octets.as_deref() == Some(text.as_bytes()), "{uid} {mode:?} {chunk} {compress}");
        }
        session.close().await.unwrap();
    }
    assert!(dovecot.flags().iter().all(String::is_empty), "fetching in pieces changed a flag");
    assert!(!dovecot.server.log().contains("rror"), "{}", dovecot.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_by_esearch_and_since() {
    for without in [&[][..], &["ESEARCH"]] {
        let dovecot = Mailbox::start_with(Dovecot::builder().without(without));
        dovecot.put((1..=2000).map(text));
        let mut session = dovecot.inbox(|_| ()).await;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        assert_eq!(listed(&mut session, Want { since: Some(now), ..want() }).await.len(), 2000);
        assert_eq!(listed(&mut session, Want { since: Some(now + 3 * 86_400), ..want() }).await.len(), 0);
        session.dispose(&numbers((1..=2000).step_by(7)), Disposal::Delete).await.unwrap();
        let listing = session.list(Want { complete: true, also: numbers(1..=3), above: 1990, ..want() }).await.unwrap();
        assert_eq!(listing.vanished, numbers(1..=1));
        assert!(matches!(listing.present, Some(mailgather::mail::Present::Numbers(set)) if set.len() == 2000 - 286));
        let uids: Vec<u32> = listing.messages.iter().filter_map(|one| one.uid.number()).collect();
        assert_eq!(uids, [2, 3, 1991, 1992, 1993, 1994, 1995, 1997, 1998, 1999, 2000]);
        session.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f52_the_limit_of_connections_is_no_wrong_password() {
    let dovecot = Mailbox::start_with(Dovecot::builder().max_connections(1));
    dovecot.put((1..=1).map(text));
    let first = dovecot.inbox(|_| ()).await;
    let source = dovecot.source(TlsMode::None, AuthMethod::Auto);
    // Dovecot lets in and turns away, so that a SELECT may have the refusal.
    let refused = async {
        let mut session = source.open().await?;
        session.select(&FolderName::inbox()).await
    };
    let error = refused.await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Throttled, "{error}");
    first.close().await.unwrap();
    crate::support::eventually("there is room again", crate::support::SOON, || dovecot.server.log().contains("Logged out"));
    assert!(source.open().await.is_ok());
}

/// Another client at the same mailbox, who knows the server's own password for everybody.
struct Other {
    stream: BufReader<TcpStream>,
    tags: u32,
}

impl Other {
    async fn open(dovecot: &Mailbox) -> Other {
        let stream = TcpStream::connect(("127.0.0.1", dovecot.server.imap())).await.unwrap();
        let mut other = Other { stream: BufReader::new(stream), tags: 0 };
        let mut greeting = String::new();
        other.stream.read_line(&mut greeting).await.unwrap();
        other.say(&format!("LOGIN {USER} {PASSWORD}")).await;
        other.say("SELECT INBOX").await;
        other
    }

    async fn say(&mut self, command: &str) {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.stream.write_all(format!("{tag} {command}\r\n").as_bytes()).await.unwrap();
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).await.unwrap() > 0, "{command}: closed");
            if let Some(answer) = line.strip_prefix(&format!("{tag} ")) {
                assert!(answer.starts_with("OK"), "{command}: {answer}");
                return;
            }
        }
    }
}

/// Ours is every third message: fetched and deleted, some of it by both. Another client deletes every other third meanwhile, and flags the rest \Deleted without expunging it.
/// Whatever the order of things, what stays is exactly what it flagged, and what we got is what we deleted.
#[tokio::test(flavor = "multi_thread")]
async fn f20_another_client_at_the_same_mailbox() {
    const MESSAGES: u32 = 600;
    for seed in 1..=3u64 {
        let dovecot = Mailbox::start();
        dovecot.put((1..=MESSAGES as usize).map(text));
        let mut session = dovecot.inbox(|_| ()).await;
        let mut other = Other::open(&dovecot).await;
        let theirs = async {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut uids: Vec<u32> = (1..=MESSAGES).filter(|uid| uid % 3 != 0 || uid % 9 == 0).collect();
            random.shuffle(&mut uids);
            for some in uids.chunks(11) {
                for uid in some {
                    other.say(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).await;
                    if uid % 3 != 2 {
                        other.say(&format!("UID EXPUNGE {uid}")).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(random.u64(0..4))).await;
            }
        };
        let ours = async {
            let mut deleted = 0;
            let mut above = 0;
            loop {
                let batch = listed(&mut session, Want { above, limit: 40, ..want() }).await;
                let Some(last) = batch.last().and_then(|wanted| wanted.uid.number()) else { break };
                let uids: Vec<RemoteUid> = batch.into_iter().map(|wanted| wanted.uid).collect();
                let mut done = Vec::new();
                for (uid, octets) in octets_of(&mut session, &uids).await {
                    match octets {
                        Some(octets) => {
                            assert_eq!(String::from_utf8_lossy(&octets), text(uid as usize), "seed {seed}: {uid} is another message");
                        }
                        None => assert!(uid % 3 == 1 || uid % 9 == 0, "{uid} is missing, and nobody deleted it"),
                    }
                    if uid % 3 == 0 {
                        done.push(uid);
                    }
                }
                assert_eq!(session.dispose(&numbers(done.iter().copied()), Disposal::Delete).await.unwrap(), Disposed::Confirmed);
                deleted += done.len();
                above = last;
            }
            deleted
        };
        let (deleted, ()) = tokio::join!(ours, theirs);
        assert!(deleted <= MESSAGES as usize / 3 && deleted > 0);
        session.close().await.unwrap();
        // Whatever is left is what the other client flagged, and it is flagged still.
        let mut session = dovecot.inbox(|_| ()).await;
        assert_eq!(dovecot.flags(), vec!["T"; MESSAGES as usize / 3]);
        let left: Vec<u32> = listed(&mut session, want()).await.iter().filter_map(|wanted| wanted.uid.number()).collect();
        assert_eq!(left, (1..=MESSAGES).filter(|uid| uid % 3 == 2).collect::<Vec<_>>());
        session.close().await.unwrap();
    }
}
