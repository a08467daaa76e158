//! IMAP against a real Dovecot: TLS and logins, a password that needs a literal, marking, deleting, failures told apart.

mod support;

use mailgather::config::secret::SecretReader;
use mailgather::config::{Auth, AuthMethod, PartialFetch, Protocol, SecretSource, Server, Tls, TlsMode};
use mailgather::mail::{CollectorId, FolderName, KnownUids, RemoteUid, Secret};
use mailgather::source::imap::ImapSource;
use mailgather::source::{Disposal, Disposed, Fetched, Session, Source, SourceErrorKind, Want, Wanted};
use mailgather::spool::Spool;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use support::Dovecot;

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
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        fs::write(&users, format!("{USER}:{{PLAIN}}{ODD_PASSWORD}::::::\n")).unwrap();
        for path in [folder.path(), &users] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let extra = format!("passdb {{\n driver = passwd-file\n args = scheme=PLAIN username_format=%u {}\n}}", users.display());
        Mailbox { server: Dovecot::builder().extra(&extra).start(), folder }
    }

    fn put(&self, messages: impl Iterator<Item = String>) {
        messages.for_each(|text| self.server.put(USER, text.as_bytes()));
    }

    fn source(&self, mode: TlsMode, auth: AuthMethod) -> ImapSource {
        self.source_with(mode, auth, ODD_PASSWORD, None)
    }

    fn source_with(&self, mode: TlsMode, auth: AuthMethod, password: &'static str, max_message_size: Option<u64>) -> ImapSource {
        let server = Server {
            protocol: Protocol::Imap,
            host: "localhost".into(),
            port: if mode == TlsMode::Implicit { self.server.imaps() } else { self.server.imap() },
            tls: Tls { ca_file: Some(self.server.ca()), ..Tls::mode(mode) },
            username: USER.into(),
            password: SecretSource::Plain(Secret::new(password.into())),
            auth: Auth { method: auth, allow_plaintext: true, ..Auth::default() },
            partial_fetch: PartialFetch::default(),
            compress: false,
            allow_plain_expunge: false,
            connect_timeout: Some(Duration::from_secs(20)),
            idle_timeout: Some(Duration::from_secs(20)),
        };
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
    Want { above: 0, also: vec![], unseen: false, since: None, sizes: false, complete: false, known: KnownUids::new(), limit: 100_000 }
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
        let messages = fetched(&mut session).await;
        assert_eq!(messages.len(), 500);
        for (n, fetched) in (1..).zip(&messages) {
            let Fetched::Message(message) = fetched else { panic!("{fetched:?}") };
            assert_eq!(message.key.uid, RemoteUid::Number(n));
            let mailgather::mail::Content::Memory(octets) = &message.content else { panic!("spooled") };
            assert_eq!(octets, text(n as usize).as_bytes());
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
            Fetched::Missing { uid, reason } => format!("{uid} {reason}"),
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
