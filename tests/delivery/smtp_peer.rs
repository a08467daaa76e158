//! A scripted SMTP or LMTP server over real sockets, for `smtp_dialogue.rs`: it behaves unless a rule says otherwise.

#![allow(dead_code)] // Each test binary uses a part of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

/// A step of the dialogue, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Banner,
    Hello,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Dot,
    Rset,
    Xclient,
    Quit,
    Other,
}

/// Where in the dialogue a rule is asked.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: usize,
    pub step: Step,
    /// How often this step came on this connection before.
    pub nth: usize,
    pub line: String,
}

/// What the server does instead of behaving.
#[derive(Clone, Debug)]
pub enum Act {
    /// Octets as they are; if they do not end with a line end, the connection is closed behind them.
    Say(String),
    Close,
    /// Nothing, until the client goes away.
    Silence,
}

pub fn say(text: &str) -> Option<Act> {
    Some(Act::Say(text.to_owned()))
}

type Rule = Arc<dyn Fn(&Seen) -> Option<Act> + Send + Sync>;

#[derive(Clone)]
pub struct Server {
    pub lmtp: bool,
    /// Keyword lines of the answer to EHLO or LHLO.
    pub extensions: Vec<String>,
    pub rule: Rule,
    /// The connection is closed once this many octets were written.
    pub write_max: usize,
    /// The connection is closed once this many octets were read.
    pub read_max: usize,
    /// It is closed by RST, not FIN.
    pub reset: bool,
    pub tls: Option<TlsAcceptor>,
    /// Content that the server answers at once, without reading any.
    pub deaf_answer: Option<String>,
    pub log: Arc<Mutex<Log>>,
    connections: Arc<AtomicUsize>,
}

#[derive(Clone, Debug, Default)]
pub struct Log {
    pub steps: Vec<Seen>,
    /// Complete messages that were answered by a complete 250, un-stuffed, with their recipients.
    pub taken: Vec<(Vec<String>, Vec<u8>)>,
    /// Complete messages that arrived, whatever was answered.
    pub arrived: Vec<Vec<u8>>,
    /// Octets written and read, over all connections.
    pub written: usize,
    pub read: usize,
}

impl Server {
    pub fn new(lmtp: bool) -> Self {
        Server {
            lmtp,
            extensions: ["PIPELINING", "8BITMIME", "SIZE 1000000", "ENHANCEDSTATUSCODES"].map(String::from).to_vec(),
            rule: Arc::new(|_| None),
            write_max: usize::MAX,
            read_max: usize::MAX,
            reset: false,
            tls: None,
            deaf_answer: None,
            log: Arc::default(),
            connections: Arc::default(),
        }
    }

    pub fn extensions(mut self, keywords: &[&str]) -> Self {
        self.extensions = keywords.iter().map(|keyword| keyword.to_string()).collect();
        self
    }

    pub fn rule(mut self, rule: impl Fn(&Seen) -> Option<Act> + Send + Sync + 'static) -> Self {
        self.rule = Arc::new(rule);
        self
    }

    /// Listens on a free port until the test's runtime ends.
    pub async fn listen(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve_tcp(stream));
            }
        });
        port
    }

    pub async fn listen_unix(&self, path: PathBuf) {
        let listener = UnixListener::bind(path).unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                let connection = server.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move { Talk::new(server, Box::new(stream), connection).run().await });
            }
        });
    }

    async fn serve_tcp(self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        if self.reset {
            stream.set_zero_linger().unwrap();
        }
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        Talk::new(self, Box::new(stream), connection).run().await;
    }

    pub fn log(&self) -> Log {
        self.log.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How often a step came.
    pub fn count(&self, step: Step) -> usize {
        self.log().steps.iter().filter(|seen| seen.step == step).count()
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The end of a connection, however it came.
struct Over;

struct Talk {
    server: Server,
    stream: Box<dyn Stream>,
    connection: usize,
    input: Vec<u8>,
    written: usize,
    read: usize,
    recipients: Vec<String>,
    mail: bool,
    counts: std::collections::HashMap<Step, usize>,
}

impl Talk {
    fn new(server: Server, stream: Box<dyn Stream>, connection: usize) -> Self {
        Talk { server, stream, connection, input: Vec::new(), written: 0, read: 0, recipients: Vec::new(), mail: false, counts: Default::default() }
    }

    async fn run(mut self) {
        let _ = self.talk().await;
    }

    async fn talk(&mut self) -> Result<(), Over> {
        self.answer(Step::Banner, "", "220 sink ESMTP\r\n").await?;
        loop {
            let line = self.line().await?;
            let upper = line.to_ascii_uppercase();
            let verb = upper.split([' ', '\r', '\n']).next().unwrap_or_default();
            match verb {
                "EHLO" | "LHLO" if (verb == "LHLO") == self.server.lmtp => {
                    let mut words = vec!["sink".to_owned()];
                    words.extend(self.server.extensions.clone());
                    let last = words.len() - 1;
                    let offer: String =
                        words.iter().enumerate().map(|(i, word)| format!("250{}{word}\r\n", if i == last { " " } else { "-" })).collect();
                    self.answer(Step::Hello, &line, &offer).await?;
                }
                "HELO" if !self.server.lmtp => drop(self.answer(Step::Hello, &line, "250 sink\r\n").await?),
                "STARTTLS" => {
                    if self.answer(Step::StartTls, &line, "220 go\r\n").await?.starts_with("220") {
                        self.start_tls().await?;
                    }
                }
                "AUTH" => drop(self.answer(Step::Auth, &line, "235 2.7.0 welcome\r\n").await?),
                "MAIL" => {
                    let said = self.answer(Step::Mail, &line, "250 2.1.0 ok\r\n").await?;
                    self.mail = said.starts_with('2');
                    self.recipients.clear();
                }
                "RCPT" => {
                    let usual = if self.mail { "250 2.1.5 ok\r\n" } else { "503 5.5.1 need MAIL\r\n" };
                    if self.answer(Step::Rcpt, &line, usual).await?.starts_with('2') {
                        self.recipients.push(line[8..].trim().to_owned());
                    }
                }
                "DATA" => {
                    let usual = if self.recipients.is_empty() { "554 5.5.1 no valid recipients\r\n" } else { "354 go\r\n" };
                    if self.answer(Step::Data, &line, usual).await?.starts_with("354") {
                        self.content().await?;
                    }
                }
                "XCLIENT" => drop(self.answer(Step::Xclient, &line, "220 sink ESMTP\r\n").await?),
                "RSET" => {
                    self.mail = false;
                    self.recipients.clear();
                    self.answer(Step::Rset, &line, "250 2.0.0 ok\r\n").await?;
                }
                "QUIT" => {
                    self.answer(Step::Quit, &line, "221 2.0.0 bye\r\n").await?;
                    return Ok(());
                }
                _ => drop(self.answer(Step::Other, &line, "500 5.5.2 what?\r\n").await?),
            }
        }
    }

    async fn content(&mut self) -> Result<(), Over> {
        if let Some(answer) = self.server.deaf_answer.clone() {
            if !answer.is_empty() {
                self.say(&answer).await?;
            }
            tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        }
        let mut content = Vec::new();
        loop {
            let end = loop {
                match self.input.iter().position(|&b| b == b'\n') {
                    Some(end) => break end + 1,
                    None => self.fill().await?,
                }
            };
            let line: Vec<u8> = self.input.drain(..end).collect();
            if line == b".\r\n" {
                break;
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        self.server.log.lock().unwrap().arrived.push(content.clone());
        let one = "250 2.0.0 saved\r\n";
        let usual = if self.server.lmtp { one.repeat(self.recipients.len()) } else { one.to_owned() };
        let recipients = std::mem::take(&mut self.recipients);
        self.mail = false;
        let said = self.answer(Step::Dot, "", &usual).await?;
        if said.starts_with("250") {
            self.server.log.lock().unwrap().taken.push((recipients, content));
        }
        Ok(())
    }

    async fn start_tls(&mut self) -> Result<(), Over> {
        let acceptor = self.server.tls.clone().expect("the test gave the server a certificate");
        let (unused, _) = tokio::io::duplex(1);
        let stream = std::mem::replace(&mut self.stream, Box::new(unused));
        self.input.clear();
        self.stream = Box::new(acceptor.accept(stream).await.map_err(|_| Over)?);
        Ok(())
    }

    /// Answers as the rule says, or as usual; returns what was said.
    async fn answer(&mut self, step: Step, line: &str, usual: &str) -> Result<String, Over> {
        let nth = self.counts.entry(step).or_default();
        let seen = Seen { connection: self.connection, step, nth: *nth, line: line.trim_end().to_owned() };
        *nth += 1;
        self.server.log.lock().unwrap().steps.push(seen.clone());
        match (self.server.rule)(&seen).unwrap_or_else(|| Act::Say(usual.to_owned())) {
            Act::Say(text) => {
                self.say(&text).await?;
                Ok(text)
            }
            Act::Close => Err(Over),
            Act::Silence => loop {
                self.fill().await?;
            },
        }
    }

    async fn say(&mut self, text: &str) -> Result<(), Over> {
        let room = self.server.write_max - self.written;
        let octets = &text.as_bytes()[..text.len().min(room)];
        self.stream.write_all(octets).await.map_err(|_| Over)?;
        self.stream.flush().await.map_err(|_| Over)?;
        self.written += octets.len();
        self.server.log.lock().unwrap().written += octets.len();
        if octets.len() < text.len() || !text.ends_with('\n') { Err(Over) } else { Ok(()) }
    }

    async fn line(&mut self) -> Result<String, Over> {
        loop {
            if let Some(end) = self.input.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.input.drain(..end + 1).collect();
                return Ok(String::from_utf8(line).expect("commands are UTF-8"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Over> {
        let mut octets = vec![0; (self.server.read_max - self.read).min(64 * 1024)];
        if octets.is_empty() {
            return Err(Over);
        }
        match self.stream.read(&mut octets).await {
            Ok(0) | Err(_) => Err(Over),
            Ok(n) => {
                self.read += n;
                self.server.log.lock().unwrap().read += n;
                self.input.extend_from_slice(&octets[..n]);
                if self.read == self.server.read_max { Err(Over) } else { Ok(()) }
            }
        }
    }
}
