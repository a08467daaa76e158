//! IMAP against a real Dovecot, which the test starts for itself. Skipped, with a word, where no Dovecot is installed.

use mailgather::config::{AuthMethod, Protocol, SecretSource, Server, Tls, TlsMode};
use mailgather::mail::{CollectorId, FolderName, KnownUids, RemoteUid, Secret};
use mailgather::source::imap::ImapSource;
use mailgather::source::{Disposal, Disposed, Fetched, Password, Session, Source, SourceErrorKind, Want, Wanted};
use mailgather::spool::Spool;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

struct Dovecot {
    dir: tempfile::TempDir,
    child: Child,
    imap: u16,
    imaps: u16,
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Dovecot {
    fn start() -> Option<Dovecot> {
        if !Path::new("/usr/sbin/dovecot").exists() || !is_root() {
            eprintln!("skipped: needs dovecot-imapd and root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_str().unwrap().to_owned();
        let key = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        fs::write(dir.path().join("cert.pem"), key.cert.pem()).unwrap();
        fs::write(dir.path().join("key.pem"), key.signing_key.serialize_pem()).unwrap();
        fs::write(dir.path().join("users"), "u@example.org:{PLAIN}secret ü\"\\::::::\n").unwrap();
        let (imap, imaps) = (free_port(), free_port());
        let config = format!(
            "base_dir = {base}/run\nstate_dir = {base}/state\nlog_path = {base}/log\nlisten = 127.0.0.1\nprotocols = imap\nssl = yes\n\
             ssl_cert = <{base}/cert.pem\nssl_key = <{base}/key.pem\ndisable_plaintext_auth = no\nauth_mechanisms = plain login\n\
             auth_failure_delay = 0\nmail_location = maildir:{base}/mail/%u\nmail_uid = mail\nmail_gid = mail\nfirst_valid_uid = 1\n\
             default_internal_user = dovecot\ndefault_login_user = dovenull\n\
             passdb {{\n driver = passwd-file\n args = scheme=PLAIN username_format=%u {base}/users\n}}\n\
             userdb {{\n driver = static\n args = uid=mail gid=mail home={base}/mail/%u\n}}\n\
             namespace inbox {{\n inbox = yes\n}}\n\
             service imap-login {{\n inet_listener imap {{\n port = {imap}\n }}\n inet_listener imaps {{\n port = {imaps}\n ssl = yes\n }}\n}}\n"
        );
        fs::write(dir.path().join("dovecot.conf"), config).unwrap();
        for folder in ["mail", "mail/u@example.org", "mail/u@example.org/cur", "mail/u@example.org/new", "mail/u@example.org/tmp"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let child = Command::new("/usr/sbin/dovecot").args(["-F", "-c"]).arg(dir.path().join("dovecot.conf")).stdin(Stdio::null()).spawn().unwrap();
        let dovecot = Dovecot { dir, child, imap, imaps };
        let up = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            std::net::TcpStream::connect(("127.0.0.1", imap)).is_ok()
        });
        assert!(up, "{}", fs::read_to_string(dovecot.dir.path().join("log")).unwrap_or_default());
        Some(dovecot)
    }

    fn maildir(&self) -> PathBuf {
        self.dir.path().join("mail/u@example.org")
    }

    fn put(&self, messages: impl Iterator<Item = (usize, String)>) {
        for (n, text) in messages {
            fs::write(self.maildir().join(format!("new/{n:07}.x.y")), text).unwrap();
        }
        assert!(Command::new("chown").args(["-R", "mail:mail"]).arg(self.dir.path().join("mail")).status().unwrap().success());
    }

    fn source(&self, mode: TlsMode, auth: AuthMethod) -> ImapSource {
        self.source_with(mode, auth, "secret ü\"\\", None)
    }

    fn source_with(&self, mode: TlsMode, auth: AuthMethod, password: &'static str, max_message_size: Option<u64>) -> ImapSource {
        let server = Server {
            protocol: Protocol::Imap,
            host: "localhost".into(),
            port: if mode == TlsMode::Implicit { self.imaps } else { self.imap },
            tls: Tls { mode, ca_file: Some(self.dir.path().join("cert.pem")) },
            username: "u@example.org".into(),
            password: SecretSource::Plain(Secret::new(password.into())),
            auth,
            allow_plaintext: true,
            connect_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(10)),
        };
        let spool = Spool::new(&self.dir.path().join("spool"), 256 * 1024, 4 * 1024 * 1024).unwrap();
        let password: Password = Arc::new(move || Box::pin(async move { Ok(Secret::new(password.into())) }));
        ImapSource::new(server, password, spool, CollectorId::new("c").unwrap(), max_message_size)
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn text(n: usize) -> String {
    format!("From: a@example.com\r\nSubject: {n}\r\n\r\n{}\r\n", format!("line of {n}\r\n").repeat(n % 50))
}

fn want() -> Want {
    Want { above: 0, also: vec![], unseen: false, sizes: false, complete: false, known: KnownUids::new(), limit: 100_000 }
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

fn flags(dovecot: &Dovecot) -> Vec<String> {
    let names = ["cur", "new"].into_iter().flat_map(|folder| fs::read_dir(dovecot.maildir().join(folder)).unwrap());
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).map(|name| name.split(":2,").nth(1).unwrap_or("").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn collects_marks_and_deletes() {
    let Some(dovecot) = Dovecot::start() else { return };
    dovecot.put((1..=500).map(|n| (n, text(n))));
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
    assert!(flags(&dovecot).iter().all(String::is_empty), "collecting changed a flag");

    let source = dovecot.source(TlsMode::None, AuthMethod::Auto);
    let mut session = source.open().await.unwrap();
    session.select(&FolderName::inbox()).await.unwrap();
    let odd: Vec<RemoteUid> = (1..=500).step_by(2).map(RemoteUid::Number).collect();
    let even: Vec<RemoteUid> = (2..=500).step_by(2).map(RemoteUid::Number).collect();
    assert_eq!(session.dispose(&odd, Disposal::MarkSeen).await.unwrap(), Disposed::Confirmed);
    assert_eq!(flags(&dovecot).iter().filter(|flags| *flags == "S").count(), 250);
    assert_eq!(listed(&mut session, Want { unseen: true, ..want() }).await.len(), 250);
    assert_eq!(session.dispose(&even, Disposal::Delete).await.unwrap(), Disposed::Confirmed);
    assert_eq!(flags(&dovecot).len(), 250);
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
    let Some(dovecot) = Dovecot::start() else { return };
    dovecot.put([(1, text(1)), (2, text(20_049)), (3, String::new()), (4, text(4))].into_iter());
    let error = dovecot.source_with(TlsMode::StartTls, AuthMethod::Auto, "wrong horse", None).open().await.err().unwrap();
    assert_eq!((error.kind, error.stage), (SourceErrorKind::Auth, "login"));
    assert!(!format!("{error:?}").contains("horse"));

    let source = dovecot.source_with(TlsMode::None, AuthMethod::Auto, "secret ü\"\\", Some(200));
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
    assert_eq!(shown[..4], ["1 of 7", "2 too large", "3 the server sent an empty body", "4 of 7"]);
    assert_eq!(shown[4..], gone);
    session.close().await.unwrap();
}
