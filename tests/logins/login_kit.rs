//! What the tests of TLS and logins share: a source for a server, and a scripted peer in memory.

// Each test binary uses a part of it.
#![allow(dead_code)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailgather::config::secret::SecretReader;
use mailgather::config::{Auth, AuthMethod, PartialFetch, Protocol, SecretSource, Server, Tls, TlsMode};
use mailgather::mail::{CollectorId, FolderName, Secret};
use mailgather::net::{Channel, Tracer};
use mailgather::source::imap::ImapSource;
use mailgather::source::pop3::Pop3Source;
use mailgather::source::{Selected, Session, Source, SourceError};
use mailgather::spool::Spool;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// A server on this machine.
pub fn server(protocol: Protocol, port: u16, mode: TlsMode, method: AuthMethod) -> Server {
    Server {
        protocol,
        host: "localhost".into(),
        port,
        tls: Tls::mode(mode),
        username: "tim@example.org".into(),
        password: SecretSource::Plain(Secret::new(String::new())),
        auth: Auth { method, ..Auth::default() },
        partial_fetch: PartialFetch::default(),
        compress: false,
        allow_plain_expunge: false,
        connect_timeout: Some(Duration::from_secs(20)),
        idle_timeout: Some(Duration::from_secs(20)),
        web: mailgather::config::WebMailbox::default(),
    }
}

/// What came of an attempt.
pub struct Attempt {
    pub result: Result<(), SourceError>,
    /// What INBOX was said to be.
    pub selected: Option<Selected>,
    /// How often the secret was read.
    pub secret_read: usize,
    /// What was said, as `test --trace` shows it.
    pub trace: Vec<String>,
}

impl Attempt {
    #[track_caller]
    pub fn error(self) -> SourceError {
        self.result.expect_err("it should have failed")
    }
}

/// Connects, logs in, opens INBOX, and says good-bye.
pub async fn attempt(server: &Server, secret: &'static str) -> Attempt {
    run(server, secret, None).await
}

/// The same over a channel that is there.
pub async fn attempt_over(channel: Channel, server: &Server, secret: &'static str) -> Attempt {
    run(server, secret, Some(channel)).await
}

async fn run(server: &Server, secret: &'static str, channel: Option<Channel>) -> Attempt {
    let reads = Arc::new(AtomicUsize::new(0));
    let noted = reads.clone();
    let reader: SecretReader = Arc::new(move || {
        noted.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(Secret::new(secret.into())) })
    });
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::new(folder.path(), 1 << 16, 1 << 20).unwrap();
    let id = CollectorId::new("c").unwrap();
    let trace = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&trace);
    let tracer = Tracer::new("c", move |line| shown.lock().unwrap().push(line.to_owned()));
    let server = server.clone();
    let opened: Result<Box<dyn Session>, SourceError> = match server.protocol {
        Protocol::Imap => {
            let source = ImapSource::new(server, reader, spool, id, None).traced_by(tracer);
            if let Some(channel) = channel { source.open_over(channel).await } else { source.open().await }
        }
        _ => {
            let source = Pop3Source::new(server, reader, spool, id, None).traced_by(tracer);
            if let Some(channel) = channel { source.open_over(channel).await } else { source.open().await }
        }
    };
    let mut selected = None;
    let result = async {
        let mut session = opened?;
        selected = Some(session.select(&FolderName::inbox()).await?);
        session.close().await.map(|_| ())
    };
    let result = result.await;
    if let Err(error) = &result {
        let shown = format!("{error} {error:?}");
        assert!(secret.is_empty() || !shown.contains(secret), "the secret shows: {shown}");
    }
    // Whatever the mechanism, and however it ended.
    let trace = trace.lock().unwrap().clone();
    no_secret_in(&trace, secret);
    Attempt { result, selected, secret_read: reads.load(Ordering::Relaxed), trace }
}

/// Neither the secret nor a part of it in base64, wherever in the encoded text it began, nor anything else that a login says or asks.
fn no_secret_in(trace: &[String], secret: &str) {
    let mut forms = vec![secret.to_owned()];
    for shift in 0..3 {
        let encoded = STANDARD.encode(format!("{}{secret}", &"\0\0\0"[..shift]));
        // The first and the last group may have other octets in them.
        forms.push(encoded.get(4..encoded.len().saturating_sub(4)).unwrap_or_default().to_owned());
    }
    let mut asks = false;
    for line in trace {
        for form in forms.iter().filter(|form| form.len() > 3) {
            assert!(!line.contains(form.as_str()), "{form} shows: {line}");
        }
        let said = line.split(" ms ").nth(1).unwrap().get(5..).unwrap_or_default();
        for (command, words) in [("C: PASS", 2), ("C: APOP", 2), ("C: AUTH", 3)] {
            assert!(!said.starts_with(command) || (said.ends_with(" ***") && said.split(' ').count() <= words + 1), "{line}");
        }
        assert!(!said.contains(" LOGIN ") || said.ends_with(" LOGIN ***") || said.starts_with("S:"), "{line}");
        assert!(!said.contains(" AUTHENTICATE ") || said.ends_with(" ***") || said.starts_with("S:"), "{line}");
        // A server may say so without being asked, before any login: that is no question of one.
        asks |= said.starts_with("C: AUTH") || said.contains(" AUTHENTICATE ") || said.contains(" LOGIN ");
        assert!(!asks || !said.starts_with("S: + ") || said == "S: + ***", "{line}");
    }
}

/// The lines that a peer heard.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

/// A peer in memory: greets, and answers each line with what `answer` makes of it. `@` in an answer stands for the last tag.
pub fn peer(greeting: &str, mut answer: impl FnMut(&str) -> String + Send + 'static) -> (Channel, Heard) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let heard = Heard::default();
    let (noted, greeting) = (heard.clone(), greeting.to_owned());
    tokio::spawn(async move {
        let mut stream = BufReader::new(far);
        let mut tag = String::new();
        if stream.write_all(greeting.as_bytes()).await.is_err() {
            return;
        }
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
            let said = line.trim_end_matches(['\r', '\n']);
            let command = match said.split_once(' ') {
                Some((first, rest)) if first.starts_with('a') && first[1..].bytes().all(|b| b.is_ascii_digit()) => {
                    tag = first.to_owned();
                    rest
                }
                _ => said,
            };
            noted.note(command);
            if stream.write_all(answer(command).replace('@', &tag).as_bytes()).await.is_err() {
                return;
            }
            line.clear();
        }
    });
    (Channel::Memory(near), heard)
}

/// What an IMAP server answers to everything but a login.
pub fn imap_answer(command: &str) -> String {
    match command.split(' ').next().unwrap_or_default() {
        "CAPABILITY" => "* CAPABILITY IMAP4rev1 UIDPLUS\r\n@ OK done\r\n".into(),
        "SELECT" => "* 0 EXISTS\r\n* OK [UIDVALIDITY 77] ok\r\n* OK [UIDNEXT 10] ok\r\n@ OK [READ-WRITE] done\r\n".into(),
        "LOGOUT" => "* BYE bye\r\n@ OK bye\r\n".into(),
        _ => "@ BAD what\r\n".into(),
    }
}

/// What a POP3 server answers to everything but a login.
pub fn pop3_answer(command: &str) -> String {
    match command.split(' ').next().unwrap_or_default() {
        "STAT" => "+OK 0 0\r\n".into(),
        "UIDL" | "LIST" => "+OK\r\n.\r\n".into(),
        "QUIT" => "+OK bye\r\n".into(),
        _ => "-ERR what\r\n".into(),
    }
}
