//! POP3 against a real Dovecot: many messages, deletion, STLS.

use crate::pop3_kit;
use crate::support::Dovecot;
use mailgather::config::secret::SecretReader;
use mailgather::config::{Auth, AuthMethod, Server, Tls, TlsMode};
use mailgather::mail::{Canonical, CollectorId, Content, FolderName, KnownUids, RemoteUid, Secret};
use mailgather::source::pop3::Pop3Source;
use mailgather::source::{Disposal, Fetched, Source, SourceErrorKind, Want, Wanted};
use mailgather::spool::Spool;
use std::sync::Arc;
use std::time::Duration;

fn source(dovecot: &Dovecot, mode: TlsMode, auth: AuthMethod, password: &'static str) -> Pop3Source {
    source_of(server(dovecot, mode, auth), password)
}

fn server(dovecot: &Dovecot, mode: TlsMode, auth: AuthMethod) -> Server {
    Server {
        port: if mode == TlsMode::Implicit { dovecot.pop3s() } else { dovecot.pop3() },
        tls: Tls { ca_file: Some(dovecot.ca()), ..Tls::mode(mode) },
        auth: Auth { method: auth, allow_plaintext: mode == TlsMode::None, ..Auth::default() },
        connect_timeout: Some(Duration::from_secs(20)),
        idle_timeout: Some(Duration::from_secs(20)),
        ..pop3_kit::server()
    }
}

fn source_of(server: Server, password: &'static str) -> Pop3Source {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path(), 1 << 20, 64 << 20).unwrap();
    let read: SecretReader = Arc::new(move || Box::pin(async move { Ok(Secret::new(password.into())) }));
    Pop3Source::new(server, read, spool, CollectorId::new("c").unwrap(), None)
}

/// Collects all, deletes the first `delete`; returns the texts.
async fn collect(source: &Pop3Source, delete: usize) -> Vec<Vec<u8>> {
    let mut session = source.open().await.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    let listing = session.list(Want { sizes: true, complete: true, ..Want::all() }).await.unwrap();
    assert!(listing.messages.iter().all(|m| m.size.is_some()) && listing.present.is_some());
    let uids: Vec<RemoteUid> = listing.messages.iter().map(|m| m.uid.clone()).collect();
    let mut texts = Vec::new();
    for batch in listing.messages.chunks(200) {
        session.fetch(batch.iter().map(|m| Wanted { uid: m.uid.clone(), generation: 0, size: m.size }).collect()).await.unwrap();
        while let Some(fetched) = session.next_message().await.unwrap() {
            let Fetched::Message(message) = fetched else { panic!("{fetched:?}") };
            assert_eq!(message.key.uid, uids[texts.len()]);
            let Content::Memory(octets) = &message.content else { panic!("small messages stay in memory") };
            texts.push(octets.to_vec());
        }
    }
    let delete = &uids[..delete.min(uids.len())];
    session.dispose(delete, Disposal::Delete).await.unwrap();
    assert_eq!(session.close().await.unwrap(), delete);
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_messages_come_once_and_go() {
    let dovecot = Dovecot::start();
    let mut expect = Vec::new();
    for n in 0..500 {
        let dots = ["..\n", ".\n", ".x\n", "\n"][n % 4].repeat(n % 7);
        let raw = format!("From: a@example.org\nSubject: {n}\nMessage-ID: <{n}@example.org>\n\n{dots}{}last\n", "text of a line\n".repeat(n));
        dovecot.put("u1", raw.as_bytes());
        let mut canonical = Vec::new();
        Canonical::new().push(raw.as_bytes(), &mut canonical);
        expect.push(canonical);
    }
    expect.sort();
    for (mode, auth, delete, left) in [
        (TlsMode::None, AuthMethod::Auto, 0, 500),
        (TlsMode::StartTls, AuthMethod::Plain, 0, 500),
        (TlsMode::Implicit, AuthMethod::Auto, 500, 0),
        (TlsMode::StartTls, AuthMethod::Password, 1, 0),
    ] {
        let before = dovecot.count("u1");
        let mut texts = collect(&source(&dovecot, mode, auth, crate::support::dovecot::PASSWORD), delete).await;
        texts.sort();
        assert_eq!(texts.len(), before, "{mode:?}");
        assert!(before == 0 || texts == expect, "{mode:?}: octets differ");
        assert_eq!(dovecot.count("u1"), left, "{mode:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_untrusted_server_are_told_apart() {
    let dovecot = Dovecot::start();
    let wrong = source(&dovecot, TlsMode::StartTls, AuthMethod::Auto, "not it").open().await.err().unwrap();
    assert_eq!(wrong.kind, SourceErrorKind::Auth, "{wrong}");
    assert!(!format!("{wrong:?}").contains("not it"));
    let mut server = server(&dovecot, TlsMode::StartTls, AuthMethod::Auto);
    server.tls.ca_file = None;
    let untrusted = source_of(server, "not it").open().await.err().unwrap();
    assert_eq!(untrusted.kind, SourceErrorKind::Tls, "{untrusted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_headers_leaves_no_trace() {
    let dovecot = Dovecot::start();
    for n in 1..=150 {
        dovecot.put("u1", format!("Subject: {n}\r\n\r\n.dot\r\ntext\r\n").as_bytes());
    }
    for mode in [TlsMode::None, TlsMode::StartTls] {
        let mut session = source(&dovecot, mode, AuthMethod::Auto, crate::support::dovecot::PASSWORD).open().await.unwrap();
        session.select(&FolderName::inbox()).await.unwrap();
        assert_eq!(session.peer().map(|peer| peer.to_string()).as_deref(), Some("127.0.0.1"));
        let peeked = session.headers(100).await.unwrap();
        let subjects: Vec<String> = peeked.iter().map(|one| one.header.text(one.header.first("Subject").unwrap())).collect();
        assert_eq!(subjects, (51..=150).map(|n| n.to_string()).collect::<Vec<_>>());
        let again = session.header_of(&peeked[3].uid).await.unwrap().unwrap();
        assert_eq!(again.header.octets(), peeked[3].header.octets());
        assert_eq!(session.close().await.unwrap(), []);
    }
    assert_eq!(dovecot.count("u1"), 150);
    assert!(dovecot.flags("u1").iter().all(String::is_empty), "TOP marked a message as retrieved");
}

#[tokio::test]
async fn f52_a_second_session_where_one_is_allowed_is_no_refused_login() {
    let dovecot = Dovecot::builder().max_connections(1).start();
    dovecot.put("u1", b"Subject: x\r\n\r\ntext\r\n");
    let source = source(&dovecot, TlsMode::None, AuthMethod::Auto, crate::support::dovecot::PASSWORD);
    let first = source.open().await.unwrap();
    // The server counts a session a moment after it has let it in.
    let mut tries = 0;
    let error = loop {
        match source.open().await {
            Err(error) => break error,
            Ok(second) => second.close().await.unwrap(),
        };
        tries += 1;
        assert!(tries < 100, "the server never refuses a second session");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(error.kind, SourceErrorKind::Throttled, "{error}");
    first.close().await.unwrap();
    crate::support::eventually("the first session is over", Duration::from_secs(10), || {
        std::thread::scope(|scope| scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(source.open()).is_ok()).join().unwrap())
    });
}

#[tokio::test]
async fn c7_dates_are_read_by_top_from_a_real_server() {
    let dovecot = Dovecot::start();
    for n in 0..300 {
        let year = if n % 3 == 0 { 2026 } else { 2020 };
        dovecot.put("u1", format!("Received: from a by b;\r\n\tSun, 01 Nov {year} 00:00:00 +0000\r\nSubject: {n}\r\n\r\ntext\r\n").as_bytes());
    }
    let mut session = source(&dovecot, TlsMode::StartTls, AuthMethod::Auto, crate::support::dovecot::PASSWORD).open().await.unwrap();
    let want = Want { since: Some(1_700_000_000), ..everything(KnownUids::new()) };
    let listing = session.list(want).await.unwrap();
    assert_eq!((listing.messages.len(), listing.older.len()), (100, 200));
    assert_eq!(session.close().await.unwrap(), []);
    assert!(dovecot.flags("u1").iter().all(String::is_empty), "TOP marked a message as retrieved");
}

fn everything(known: KnownUids) -> Want {
    Want { complete: true, known, limit: 10_000, ..Want::all() }
}

/// Octets of this process in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// By hand: `cargo test --test sources pop3_dovecot -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes 200,000 files"]
async fn two_hundred_thousand_messages_that_stay() {
    use std::io::{BufRead, BufReader, Write};
    const COUNT: u32 = 200_000;
    let dovecot = Dovecot::start();
    dovecot.put("u1", b"Subject: first\r\n\r\ntext\r\n");
    let cur = dovecot.maildir("u1").0.join("cur");
    for n in 1..COUNT {
        std::fs::write(cur.join(format!("{}.M{n}.host:2,S", 1_700_000_000 + n)), format!("Subject: {n}\r\n\r\ntext\r\n")).unwrap();
    }
    // What the wire takes, with nothing done to the lines.
    let raw = || {
        let begun = std::time::Instant::now();
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", dovecot.pop3())).unwrap();
        stream.write_all(format!("USER u1\r\nPASS {}\r\nSTAT\r\nUIDL\r\n", crate::support::dovecot::PASSWORD).as_bytes()).unwrap();
        let (mut lines, mut octets) = (BufReader::new(&stream).lines(), 0);
        lines.by_ref().take(5).for_each(|line| drop(line.unwrap()));
        while let Some(Ok(line)) = lines.next()
            && line != "."
        {
            octets += line.len() + 2;
        }
        (&stream).write_all(b"QUIT\r\n").unwrap();
        (begun.elapsed(), octets)
    };
    println!("the server's first listing: {:?}", raw().0);
    let (time, octets) = raw();
    println!("the wire alone: {time:?} for {octets} octets of UIDL");
    let source = source(&dovecot, TlsMode::None, AuthMethod::Auto, crate::support::dovecot::PASSWORD);
    let mut known = KnownUids::new();
    let mut session = source.open().await.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    loop {
        let listing = session.list(everything(known.clone())).await.unwrap();
        listing.messages.iter().for_each(|message| known.insert(&message.uid));
        if !listing.more {
            break;
        }
    }
    session.close().await.unwrap();
    assert_eq!(known.len(), u64::from(COUNT));
    for (what, more) in [("nothing new", 0), ("10 new", 10)] {
        for n in 0..more {
            dovecot.put("u1", format!("Subject: new {n}\r\n\r\ntext\r\n").as_bytes());
        }
        raw();
        for sizes in [false, true] {
            let known = known.clone();
            let (before, begun) = (resident(), std::time::Instant::now());
            let mut session = source.open().await.unwrap();
            session.select(&FolderName::inbox()).await.unwrap();
            let opened = begun.elapsed();
            let listing = session.list(Want { sizes, ..everything(known) }).await.unwrap();
            let (time, after) = (begun.elapsed(), resident());
            assert_eq!((listing.messages.len(), listing.more), (more, false));
            println!(
                "{what}, sizes {sizes}: {time:?} (the mailbox was open after {opened:?}), {} KiB more in memory",
                after.saturating_sub(before) / 1024
            );
            drop(listing);
            session.close().await.unwrap();
        }
    }
}
