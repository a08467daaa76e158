//! A scripted IMAP server, and a session with it.

use mailgather::config::secret::SecretReader;
use mailgather::config::{Auth, AuthMethod, PartialFetch, PartialMode, Protocol, SecretSource, Server, Tls, TlsMode};
use mailgather::mail::{CollectorId, Content, FolderName, RemoteUid, Secret};
use mailgather::net::Channel;
use mailgather::source::imap::ImapSource;
use mailgather::source::{Fetched, Session, SourceError, Want, Wanted};
use mailgather::spool::Spool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

/// What a scripted server does.
#[derive(Clone, Debug)]
pub enum Step {
    /// It says this; `@` stands for the tag of the command.
    Say(String),
    /// It says these octets as they are.
    Raw(Vec<u8>),
    /// It waits; a line that comes meanwhile ends the answer.
    Wait(Duration),
    /// It closes the connection.
    Close,
}

pub fn say(text: impl Into<String>) -> Vec<Step> {
    vec![Step::Say(text.into())]
}

pub type Heard = Arc<Mutex<Vec<String>>>;

/// Speaks as `answer` says, after a greeting.
pub async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    greeting: &str,
    mut answer: impl FnMut(&str) -> Vec<Step>,
    heard: Heard,
) -> Option<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    let mut tag = String::new();
    let mut steps = say(greeting);
    loop {
        let mut early: Option<Option<String>> = None;
        for step in std::mem::take(&mut steps) {
            match step {
                Step::Say(text) => writer.write_all(text.replace('@', &tag).as_bytes()).await.ok()?,
                Step::Raw(octets) => writer.write_all(&octets).await.ok()?,
                Step::Close => return None,
                Step::Wait(time) => {
                    tokio::select! {
                        () = tokio::time::sleep(time) => {}
                        line = lines.next_line() => early = Some(line.ok()?),
                    }
                }
            }
            if early.is_some() {
                break;
            }
        }
        let line = match early {
            Some(line) => line?,
            None => lines.next_line().await.ok()??,
        };
        // DONE has no tag: it ends the IDLE.
        let command = match line.split_once(' ') {
            Some((own, command)) => {
                tag = own.to_owned();
                command.to_owned()
            }
            None => line,
        };
        heard.lock().unwrap().push(command.clone());
        steps = answer(&command);
    }
}

/// A server of this name, in the clear over memory.
pub fn server() -> Server {
    Server {
        protocol: Protocol::Imap,
        host: "imap.example.org".into(),
        port: 143,
        tls: Tls::mode(TlsMode::None),
        username: "user".into(),
        password: SecretSource::Plain(Secret::new(String::new())),
        auth: Auth { method: AuthMethod::Auto, allow_plaintext: true, ..Auth::default() },
        partial_fetch: PartialFetch::default(),
        compress: false,
        allow_plain_expunge: false,
        connect_timeout: Some(Duration::from_secs(5)),
        idle_timeout: Some(Duration::from_secs(5)),
        web: mailgather::config::WebMailbox::default(),
    }
}

pub fn in_pieces(chunk: u32) -> Server {
    Server { partial_fetch: PartialFetch { mode: PartialMode::On, chunk }, ..server() }
}

pub struct Client {
    pub source: ImapSource,
    _folder: tempfile::TempDir,
}

/// Messages above 64 KiB go to a file.
pub const SPOOL_ABOVE: u64 = 64 * 1024;

pub fn client(server: Server, max: Option<u64>) -> Client {
    one_subscriber();
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::new(folder.path(), SPOOL_ABOVE, 1 << 20).unwrap();
    let password: SecretReader = Arc::new(|| Box::pin(async { Ok(Secret::new("hunter2".into())) }));
    Client { source: ImapSource::new(server, password, spool, CollectorId::new("c").unwrap(), max), _folder: folder }
}

impl Client {
    /// A session with a server that offers these capabilities and answers so.
    pub async fn open(
        &self,
        capabilities: &str,
        mut answer: impl FnMut(&str) -> Vec<Step> + Send + 'static,
    ) -> Result<(Box<dyn Session>, Heard), SourceError> {
        let capabilities = format!("IMAP4rev1 SASL-IR AUTH=PLAIN {capabilities}");
        let greeting = format!("* OK [CAPABILITY {capabilities}] hi\r\n");
        let told = capabilities.clone();
        let answer = move |command: &str| match command {
            command if command.starts_with("AUTHENTICATE") => say(format!("* CAPABILITY {told}\r\n@ OK in\r\n")),
            "CAPABILITY" => say(format!("* CAPABILITY {told}\r\n@ OK done\r\n")),
            other => answer(other),
        };
        self.greeted(&greeting, answer).await
    }

    /// The same with all of the dialogue.
    pub async fn greeted(
        &self,
        greeting: &str,
        answer: impl FnMut(&str) -> Vec<Step> + Send + 'static,
    ) -> Result<(Box<dyn Session>, Heard), SourceError> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let heard = Heard::default();
        let (greeting, noted) = (greeting.to_owned(), heard.clone());
        tokio::spawn(async move { speak(far, &greeting, answer, noted).await });
        Ok((self.source.open_over(Channel::Memory(near)).await?, heard))
    }

    /// The same, with INBOX open.
    pub async fn inbox(
        &self,
        capabilities: &str,
        answer: impl FnMut(&str) -> Vec<Step> + Send + 'static,
    ) -> Result<(Box<dyn Session>, Heard), SourceError> {
        let (mut session, heard) = self.open(capabilities, answer).await?;
        session.select(&FolderName::inbox()).await?;
        heard.lock().unwrap().clear();
        Ok((session, heard))
    }
}

pub const SELECTED: &str = "* 3 EXISTS\r\n* OK [UIDVALIDITY 77] ok\r\n* OK [UIDNEXT 10] ok\r\n@ OK [READ-WRITE] done\r\n";

/// The answers of a server with the messages 4, 6 and 9.
pub fn usual(command: &str) -> Vec<Step> {
    match command.split(' ').collect::<Vec<_>>()[..] {
        ["SELECT" | "EXAMINE", ..] => say(SELECTED),
        ["UID", "SEARCH", "DELETED"] => say("* SEARCH 4 6\r\n@ OK done\r\n"),
        // As asked behind an expunge: nothing is left.
        ["UID", "SEARCH", "UID", _, "DELETED"] => say("* SEARCH\r\n@ OK done\r\n"),
        ["UID", "SEARCH", "RETURN", ..] => say("* ESEARCH (TAG \"@\") UID ALL 4,6,9\r\n@ OK done\r\n"),
        ["UID", "SEARCH", ..] => say("* SEARCH 4 6 9\r\n@ OK done\r\n"),
        ["UID", "FETCH", set, ..] => {
            let numbers = set.split(',').flat_map(|part| {
                let (low, high) = part.split_once(':').unwrap_or((part, part));
                low.parse::<u32>().unwrap()..=high.parse().unwrap()
            });
            let all = numbers.map(|uid| {
                let text = format!("A: {uid}\r\n");
                format!("* 1 FETCH (UID {uid} RFC822.SIZE {} BODY[] {{{0}}}\r\n{text})\r\n", text.len())
            });
            say(all.collect::<String>() + "@ OK fetched\r\n")
        }
        ["UID", "EXPUNGE", set] => say("* 1 EXPUNGE\r\n".repeat(set.split(',').count()) + "@ OK done\r\n"),
        ["UID", "STORE" | "COPY" | "MOVE", ..] | ["NOOP" | "EXPUNGE"] | ["CREATE", ..] => say("@ OK done\r\n"),
        ["IDLE"] => say("+ idling\r\n"),
        ["DONE"] => say("@ OK idled\r\n"),
        ["LOGOUT"] => say("* BYE bye\r\n@ OK bye\r\n"),
        _ => say("@ BAD what\r\n"),
    }
}

/// As usual, but for commands that start so.
pub fn but(start: &'static str, answer: impl Into<String>) -> impl FnMut(&str) -> Vec<Step> + Send + 'static {
    let answer = answer.into();
    move |command| if command.starts_with(start) { say(answer.clone()) } else { usual(command) }
}

pub fn heard(heard: &Heard) -> Vec<String> {
    heard.lock().unwrap().clone()
}

pub fn uids(numbers: &[u32]) -> Vec<RemoteUid> {
    numbers.iter().copied().map(RemoteUid::Number).collect()
}

pub fn want() -> Want {
    Want { limit: 10_000, ..Want::all() }
}

pub fn wanted(numbers: &[u32]) -> Vec<Wanted> {
    uids(numbers).into_iter().map(|uid| Wanted { uid, generation: 0, size: None }).collect()
}

/// What comes of fetching these: a message as its number and octets, anything else in words.
pub async fn fetch(session: &mut Box<dyn Session>, numbers: &[u32]) -> Result<Vec<Result<(u32, Vec<u8>), String>>, SourceError> {
    session.fetch(wanted(numbers)).await?;
    let mut all = Vec::new();
    while let Some(fetched) = session.next_message().await? {
        all.push(match fetched {
            Fetched::Message(message) => Ok((message.key.uid.number().unwrap(), octets(&message.content))),
            Fetched::Missing { uid, reason } | Fetched::Unreadable { uid, reason } => Err(format!("{uid} missing: {reason}")),
            Fetched::TooLarge { uid, octets } => Err(format!("{uid} too large: {octets}")),
        });
    }
    Ok(all)
}

pub fn octets(content: &Content) -> Vec<u8> {
    match content {
        Content::Memory(octets) => octets.to_vec(),
        Content::Spooled { file, start, len } => {
            let mut octets = vec![0; *len as usize];
            std::os::unix::fs::FileExt::read_exact_at(&**file, &mut octets, *start).unwrap();
            octets
        }
    }
}

/// A log in memory.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

thread_local! {
    static LOG: std::cell::RefCell<Option<Log>> = const { std::cell::RefCell::new(None) };
}

/// What is logged on this thread goes into its own log, if it has one. One subscriber for all threads, there before anything is logged: of one that
/// comes while another thread logs a line for the first time, tracing may never hear.
fn one_subscriber() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let of_thread = || LOG.with_borrow(Clone::clone).unwrap_or_default();
        tracing_subscriber::fmt().with_ansi(false).with_writer(of_thread).init();
    });
}

/// The log of this thread, until it is dropped.
pub struct Logging;

impl Drop for Logging {
    fn drop(&mut self) {
        LOG.set(None);
    }
}

/// What is logged on this thread from here on, until the guard is dropped.
pub fn logged() -> (Log, Logging) {
    one_subscriber();
    let log = Log::default();
    LOG.set(Some(log.clone()));
    (log, Logging)
}

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
