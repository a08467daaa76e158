//! A scripted POP3 server, and a whole session with it.
// Each test file compiles this for itself and uses a part of it.
#![allow(dead_code)]

use mailgather::config::secret::SecretReader;
use mailgather::config::{Auth, AuthMethod, PartialFetch, Protocol, SecretSource, Server, Tls, TlsMode};
use mailgather::mail::{CollectorId, Content, FolderName, KnownUids, RemoteUid, Secret};
use mailgather::net::Channel;
use mailgather::source::pop3::Pop3Source;
use mailgather::source::{Disposal, Disposed, Fetched, Listing, Session, Source, SourceError, Want, Wanted};
use mailgather::spool::Spool;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a mailbox holds: id, and the message as it goes over the wire, stuffed, but for the end.
pub type Mailbox = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

/// What becomes of the deleted messages at QUIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quit {
    /// They are removed, and the answer is +OK.
    #[default]
    Done,
    /// They stay, and the answer is -ERR.
    Refused,
    /// They stay, and the answer is +OK.
    Untrue,
    /// They stay, and there is no answer.
    CutBefore,
    /// They are removed, and there is no answer.
    CutAfter,
}

/// A server with a knob for each misbehaviour.
#[derive(Clone, Default)]
pub struct Fake {
    pub pipelining: bool,
    pub sasl: bool,
    /// What CAPA's answer has besides.
    pub capa: &'static str,
    pub messages: Mailbox,
    /// Answers instead of its own, by start of the command ("" is the greeting). An empty one is silence.
    pub answers: Vec<(String, Vec<u8>)>,
    /// Closes after so many octets.
    pub cut: Option<usize>,
    /// Closes in place of an answer to this command.
    pub close_at: Option<&'static str>,
    /// Closes by a reset.
    pub reset: bool,
    pub quit: Quit,
    /// Octets and the pause between them.
    pub slow: Option<(usize, Duration)>,
}

/// All that the client said, and how many octets the server sent.
#[derive(Clone, Default)]
pub struct Heard(pub Arc<Mutex<(String, usize)>>);

impl Heard {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().0.clone()
    }

    pub fn sent(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

impl Fake {
    pub fn with(messages: &[(&[u8], &[u8])]) -> Self {
        let messages = messages.iter().map(|(id, text)| (id.to_vec(), text.to_vec())).collect();
        Fake { pipelining: true, messages: Arc::new(Mutex::new(messages)), ..Fake::default() }
    }

    pub fn answering(mut self, command: &str, answer: impl Into<Vec<u8>>) -> Self {
        self.answers.push((command.to_owned(), answer.into()));
        self
    }

    fn answer(&self, line: &str, gone: &mut HashSet<usize>) -> Vec<u8> {
        let scripted = |(command, _): &&(String, Vec<u8>)| if command.is_empty() { line.is_empty() } else { line.starts_with(command.as_str()) };
        if let Some((_, answer)) = self.answers.iter().find(scripted) {
            return answer.clone();
        }
        let mut messages = self.messages.lock().unwrap();
        let number = || line.split(' ').nth(1)?.parse::<usize>().ok().filter(|n| (1..=messages.len()).contains(n) && !gone.contains(n));
        let there = || messages.iter().enumerate().map(|(n, message)| (n + 1, message)).filter(|(n, _)| !gone.contains(n));
        let ok = b"+OK\r\n".to_vec();
        let none = || b"-ERR no such message\r\n".to_vec();
        match line.get(..4).unwrap_or(line) {
            "" => b"+OK hello\r\n".to_vec(),
            "CAPA" => {
                let (pipelining, sasl) = (if self.pipelining { "PIPELINING\r\n" } else { "" }, if self.sasl { "SASL PLAIN\r\n" } else { "USER\r\n" });
                format!("+OK\r\nUIDL\r\n{pipelining}{sasl}{}.\r\n", self.capa).into_bytes()
            }
            "STAT" => format!("+OK {} 1\r\n", there().count()).into_bytes(),
            "UIDL" => {
                let lines = there().flat_map(|(n, (id, _))| [n.to_string().as_bytes(), b" ", id, b"\r\n"].concat());
                ok.into_iter().chain(lines).chain(*b".\r\n").collect()
            }
            "LIST" => {
                let lines = there().flat_map(|(n, (_, text))| format!("{n} {}\r\n", text.len()).into_bytes());
                ok.into_iter().chain(lines).chain(*b".\r\n").collect()
            }
            "RETR" => match number().map(|n| &messages[n - 1].1) {
                Some(text) => [format!("+OK {} octets\r\n", text.len()).as_bytes(), text, b".\r\n"].concat(),
                None => none(),
            },
            "TOP " => match number().map(|n| &messages[n - 1].1) {
                Some(text) => {
                    let header = text.windows(4).position(|four| four == b"\r\n\r\n").map_or(text.len(), |at| at + 4);
                    [b"+OK\r\n", &text[..header], b".\r\n"].concat()
                }
                None => none(),
            },
            "DELE" => match number() {
                Some(n) => {
                    gone.insert(n);
                    ok
                }
                None => none(),
            },
            "QUIT" => {
                if matches!(self.quit, Quit::Done | Quit::CutAfter) {
                    let mut n = 0;
                    messages.retain(|_| {
                        n += 1;
                        !gone.contains(&n)
                    });
                }
                match self.quit {
                    Quit::Done | Quit::Untrue => ok,
                    Quit::Refused => b"-ERR some deleted messages not removed\r\n".to_vec(),
                    Quit::CutBefore | Quit::CutAfter => Vec::new(),
                }
            }
            _ => ok,
        }
    }

    /// Serves one connection to its end; true if it is to be reset.
    pub async fn serve(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), noted: &Heard) -> bool {
        let (mut input, mut line, mut gone) = (Vec::new(), Some(String::new()), HashSet::new());
        loop {
            while let Some(command) = line.take() {
                if self.close_at.is_some_and(|at| command.starts_with(at)) {
                    return self.reset;
                }
                let mut answer = self.answer(&command, &mut gone);
                let sent = noted.sent();
                let cut = self.cut.is_some_and(|cut| sent + answer.len() >= cut);
                if let (true, Some(cut)) = (cut, self.cut) {
                    answer.truncate(cut - sent);
                }
                // In two writes at least, so that borders of reads fall inside.
                let (piece, pause) = self.slow.unwrap_or((answer.len().div_ceil(2).max(1), Duration::ZERO));
                for piece in answer.chunks(piece) {
                    if stream.write_all(piece).await.is_err() {
                        return false;
                    }
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                noted.0.lock().unwrap().1 += answer.len();
                if cut || command == "QUIT" {
                    return cut && self.reset;
                }
                line = next_line(&mut input);
            }
            let mut block = [0; 4096];
            match stream.read(&mut block).await {
                Ok(0) | Err(_) => return false,
                Ok(octets) => {
                    noted.0.lock().unwrap().0.push_str(std::str::from_utf8(&block[..octets]).unwrap());
                    input.extend_from_slice(&block[..octets]);
                }
            }
            line = next_line(&mut input);
        }
    }

    /// One connection over a pipe.
    pub fn run(self) -> (Channel, Heard) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let heard = Heard::default();
        let noted = heard.clone();
        tokio::spawn(async move { self.serve(&mut theirs, &noted).await });
        (Channel::Memory(ours), heard)
    }

    /// Connections over TCP, one after the other; the last of `fakes` serves all further ones. Returns the port, and what each connection heard.
    pub async fn listen(fakes: Vec<Fake>) -> (u16, Arc<Mutex<Vec<Heard>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let all: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let noted = all.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let heard = Heard::default();
                let at = {
                    let mut all = noted.lock().unwrap();
                    all.push(heard.clone());
                    all.len() - 1
                };
                let fake = fakes[at.min(fakes.len() - 1)].clone();
                tokio::spawn(async move {
                    if fake.serve(&mut stream, &heard).await {
                        reset(stream);
                    }
                });
            }
        });
        (port, all)
    }
}

/// Closes at once, by RST.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

fn next_line(input: &mut Vec<u8>) -> Option<String> {
    let at = input.iter().position(|b| *b == b'\n')?;
    Some(String::from_utf8(input.drain(..=at).collect()).unwrap().trim_end().to_owned())
}

/// A mailbox at this port, over TCP in the clear.
pub fn source_at(port: u16) -> Pop3Source {
    let mut server = server();
    server.port = port;
    server.auth.allow_plaintext = true;
    source_of(server, None)
}

/// Lists over one connection, and ends it.
pub async fn list(source: &Pop3Source, fake: &Fake, want: Want) -> Result<Listing, SourceError> {
    let mut session = source.open_over(fake.clone().run().0).await?;
    session.select(&FolderName::inbox()).await?;
    let listing = session.list(want).await?;
    session.close().await?;
    Ok(listing)
}

/// The names in a listing.
pub fn names(listing: &Listing) -> Vec<RemoteUid> {
    listing.messages.iter().map(|message| message.uid.clone()).collect()
}

/// These are known.
pub fn known(uids: &[RemoteUid]) -> KnownUids {
    let mut known = KnownUids::new();
    uids.iter().for_each(|uid| known.insert(uid));
    known
}

/// One session over TCP: opened, everything collected and deleted.
pub async fn whole(source: &Pop3Source, done: &mut Done) -> Result<(), SourceError> {
    let session = source.open().await?;
    collect(&mut Some(session), want(), done).await
}

pub fn server() -> Server {
    Server {
        protocol: Protocol::Pop3,
        host: "127.0.0.1".into(),
        port: 110,
        tls: Tls::mode(TlsMode::None),
        username: "u1".into(),
        password: SecretSource::Plain(Secret::new("pw-u1".into())),
        auth: Auth { method: AuthMethod::Auto, allow_plaintext: false, ..Auth::default() },
        partial_fetch: PartialFetch::default(),
        compress: false,
        allow_plain_expunge: false,
        connect_timeout: Some(Duration::from_secs(10)),
        idle_timeout: Some(Duration::from_secs(10)),
        web: mailgather::config::WebMailbox::default(),
    }
}

pub fn source_of(server: Server, max_message_size: Option<u64>) -> Pop3Source {
    // The spool's folder is made anew for each source and only ever holds unlinked files.
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(dir.path(), 1 << 20, 64 << 20).unwrap();
    let password: SecretReader = Arc::new(|| Box::pin(async { Ok(Secret::new("pw-u1".into())) }));
    Pop3Source::new(server, password, spool, CollectorId::new("c").unwrap(), max_message_size)
}

pub fn uid(id: &[u8]) -> RemoteUid {
    RemoteUid::Opaque(id.into())
}

pub fn want() -> Want {
    Want { complete: true, ..Want::all() }
}

/// What one whole session did.
#[derive(Debug, Default)]
pub struct Done {
    pub messages: Vec<(RemoteUid, Vec<u8>)>,
    pub missing: Vec<(RemoteUid, String)>,
    pub too_large: Vec<(RemoteUid, u64)>,
    pub deleted: Vec<RemoteUid>,
}

/// Collects and deletes everything. What was collected before an error stays in `done`.
pub async fn collect(session: &mut Option<Box<dyn Session>>, want: Want, done: &mut Done) -> Result<(), SourceError> {
    let it = session.as_mut().unwrap();
    it.select(&FolderName::inbox()).await?;
    let listing = it.list(want).await?;
    it.fetch(listing.messages.into_iter().map(|m| Wanted { uid: m.uid, generation: 0, size: m.size }).collect()).await?;
    while let Some(fetched) = it.next_message().await? {
        match fetched {
            Fetched::Message(message) => {
                let Content::Memory(octets) = &message.content else { panic!("small messages stay in memory") };
                done.messages.push((message.key.uid.clone(), octets.to_vec()));
            }
            Fetched::Missing { uid, reason } | Fetched::Unreadable { uid, reason } => done.missing.push((uid, reason)),
            Fetched::TooLarge { uid, octets } => done.too_large.push((uid, octets)),
        }
    }
    let uids: Vec<RemoteUid> = done.messages.iter().map(|(uid, _)| uid.clone()).collect();
    assert_eq!(it.dispose(&uids, Disposal::Delete).await?, Disposed::Requested);
    done.deleted = session.take().unwrap().close().await?;
    Ok(())
}

pub async fn all(fake: Fake) -> (Result<(), SourceError>, Done, Heard) {
    all_with(fake, server(), None, want()).await
}

pub async fn all_with(fake: Fake, server: Server, max: Option<u64>, want: Want) -> (Result<(), SourceError>, Done, Heard) {
    let (channel, heard) = fake.run();
    let mut done = Done::default();
    let result = match source_of(server, max).open_over(channel).await {
        Ok(session) => collect(&mut Some(session), want, &mut done).await,
        Err(error) => Err(error),
    };
    (result, done, heard)
}
