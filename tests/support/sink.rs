//! A scripted SMTP or LMTP server inside the test process: it takes messages and keeps them with their envelopes, says what a script wants it
//! to say, closes where the script says so, and holds the client to the rules of RFC 5321.
//!
//! Steps of a dialogue have these names: `CONNECT` (the greeting), `EHLO` (also LHLO and HELO), `MAIL`, `RCPT`, `DATA`, `DOT` (the answer to
//! the final dot; in LMTP one for each recipient), `CONTENT` (each line of the content, for closing only), `AUTH`, `RSET`, `NOOP`, `QUIT`.

use super::{SOON, eventually};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// A running server; its listener and its connections are closed on drop.
pub struct Sink {
    shared: Arc<Shared>,
    place: Place,
}

/// A message that was taken: at least one recipient got a positive answer to the final dot.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The reverse-path, without its brackets.
    pub from: String,
    /// The parameters of MAIL, e.g. `BODY=8BITMIME SIZE=100`.
    pub parameters: String,
    /// The forward-paths that were taken, without their brackets. SMTP: accepted at RCPT; LMTP: accepted after the dot as well.
    pub recipients: Vec<String>,
    /// The octets between DATA and the final dot, stuffing undone.
    pub content: Vec<u8>,
    /// The number of the connection, from 1.
    pub connection: usize,
}

#[derive(Clone, Debug)]
enum Action {
    Reply(String),
    Close,
    TakeAndClose,
    ReplyAndClose(String),
    Silence,
    Delay(Duration),
}

#[derive(Clone, Debug)]
struct Rule {
    step: String,
    /// 0: each time.
    occurrence: usize,
    containing: String,
    action: Action,
    met: usize,
}

/// What a test may choose.
pub struct Builder {
    lmtp: bool,
    unix: Option<PathBuf>,
    capabilities: Vec<String>,
    rules: Vec<Rule>,
}

impl Builder {
    /// Listens on a unix socket instead of a port.
    pub fn unix(mut self, path: &Path) -> Builder {
        self.unix = Some(path.into());
        self
    }

    /// The lines of the answer to EHLO, all of them.
    pub fn capabilities(mut self, lines: &[&str]) -> Builder {
        self.capabilities = lines.iter().map(ToString::to_string).collect();
        self
    }

    /// The usual capabilities but for this one.
    pub fn without(mut self, capability: &str) -> Builder {
        self.capabilities.retain(|line| !line.starts_with(capability));
        self
    }

    /// At the n-th occurrence of a step over all connections (from 1; 0: each time) this is the answer. Several lines are parted by `\n`.
    pub fn on(self, step: &str, occurrence: usize, reply: &str) -> Builder {
        self.rule(step, occurrence, "", Action::Reply(reply.into()))
    }

    /// Each time the step's argument (for `DOT` the recipient in LMTP, the reverse-path in SMTP) holds `text`, this is the answer.
    pub fn on_text(self, step: &str, text: &str, reply: &str) -> Builder {
        self.rule(step, 0, text, Action::Reply(reply.into()))
    }

    /// The connection is closed in place of an answer. At `DOT` the message is not kept.
    pub fn close_at(self, step: &str, occurrence: usize) -> Builder {
        self.rule(step, occurrence, "", Action::Close)
    }

    /// For `DOT`: the message is kept and the connection closed without an answer (RFC 1047).
    pub fn take_and_close_at(self, step: &str, occurrence: usize) -> Builder {
        self.rule(step, occurrence, "", Action::TakeAndClose)
    }

    /// The connection is closed behind this answer. At `DOT` with a positive one the message is kept: the client may not have seen it.
    pub fn close_after(self, step: &str, occurrence: usize, reply: &str) -> Builder {
        self.rule(step, occurrence, "", Action::ReplyAndClose(reply.into()))
    }

    /// Each time the content holds `text`, the connection is closed as soon as that was read, in the middle of the content.
    pub fn close_in_content(self, text: &str) -> Builder {
        self.rule("CONTENT", 0, text, Action::Close)
    }

    /// No answer ever; the connection stays open.
    pub fn silence_at(self, step: &str, occurrence: usize) -> Builder {
        self.rule(step, occurrence, "", Action::Silence)
    }

    /// The usual answer, later.
    pub fn delay(self, step: &str, occurrence: usize, time: Duration) -> Builder {
        self.rule(step, occurrence, "", Action::Delay(time))
    }

    fn rule(mut self, step: &str, occurrence: usize, containing: &str, action: Action) -> Builder {
        self.rules.push(Rule { step: step.into(), occurrence, containing: containing.into(), action, met: 0 });
        self
    }

    /// Starts it.
    pub fn start(self) -> Sink {
        let state = State { rules: self.rules, ..State::default() };
        let shared = Arc::new(Shared { lmtp: self.lmtp, capabilities: self.capabilities, state: Mutex::new(state) });
        let place = match self.unix {
            Some(path) => {
                let listener = UnixListener::bind(&path).expect("a unix socket");
                let shared = shared.clone();
                std::thread::spawn(move || accept(&shared, || listener.accept().ok().map(|(stream, _)| Stream::Unix(stream))));
                Place::Unix(path)
            }
            None => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
                let port = listener.local_addr().expect("it is bound").port();
                let shared = shared.clone();
                std::thread::spawn(move || accept(&shared, || listener.accept().ok().map(|(stream, _)| Stream::Tcp(stream))));
                Place::Tcp(port)
            }
        };
        Sink { shared, place }
    }
}

enum Place {
    Tcp(u16),
    Unix(PathBuf),
}

struct Shared {
    lmtp: bool,
    capabilities: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    taken: Vec<Taken>,
    commands: Vec<String>,
    violations: Vec<String>,
    broken_off: usize,
    connections: usize,
    open: Vec<(usize, Stream)>,
    most_open: usize,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of one connection's thread must not hide what the others saw.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The script's word on this occurrence of a step.
    fn scripted(&self, step: &str, argument: &str) -> Option<Action> {
        let mut state = self.state();
        let mut found = None;
        // Every rule counts the step, also behind the one that applies.
        for rule in state.rules.iter_mut().filter(|rule| rule.step == step && argument.contains(&rule.containing)) {
            rule.met += 1;
            if found.is_none() && (rule.occurrence == 0 || rule.occurrence == rule.met) {
                found = Some(rule.action.clone());
            }
        }
        found
    }
}

impl Sink {
    /// An SMTP server on a loopback port that takes everything.
    pub fn smtp() -> Sink {
        Sink::builder().start()
    }

    /// An LMTP server on a loopback port that takes everything.
    pub fn lmtp() -> Sink {
        Sink::lmtp_builder().start()
    }

    /// An SMTP server with something special.
    pub fn builder() -> Builder {
        let capabilities = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 1073741824"].map(String::from).to_vec();
        Builder { lmtp: false, unix: None, capabilities, rules: Vec::new() }
    }

    /// An LMTP server with something special.
    pub fn lmtp_builder() -> Builder {
        Builder { lmtp: true, ..Sink::builder() }
    }

    /// The port; a unix socket has none.
    pub fn port(&self) -> u16 {
        match &self.place {
            Place::Tcp(port) => *port,
            Place::Unix(path) => panic!("this sink listens on {}", path.display()),
        }
    }

    /// The value of `delivery:` in a configuration.
    pub fn delivery(&self) -> String {
        let protocol = if self.shared.lmtp { "lmtp" } else { "smtp" };
        match &self.place {
            Place::Tcp(port) => format!("{{{protocol}: 127.0.0.1:{port}}}"),
            Place::Unix(path) => format!("{{{protocol}: unix:{}}}", path.display()),
        }
    }

    /// All messages taken so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.state().taken.clone()
    }

    /// The messages taken so far, which it forgets, and the commands.
    pub fn drain(&self) -> Vec<Taken> {
        let mut state = self.shared.state();
        state.commands.clear();
        std::mem::take(&mut state.taken)
    }

    /// How many messages were taken.
    pub fn count(&self) -> usize {
        self.shared.state().taken.len()
    }

    /// Waits until so many messages were taken.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        eventually(&format!("{count} messages arrive at the sink"), SOON, || self.count() >= count);
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Most connections that were open at once.
    pub fn most_open(&self) -> usize {
        self.shared.state().most_open
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    /// Contents that broke off before their final dot.
    pub fn broken_off(&self) -> usize {
        self.shared.state().broken_off
    }

    /// Every command line, as `connection: line`.
    pub fn commands(&self) -> Vec<String> {
        self.shared.state().commands.clone()
    }

    /// What the client did against the rules: a bare CR or LF, a NUL, octets above 127 or SMTPUTF8 without leave, commands out of order.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Forgets what was taken; the script goes on.
    pub fn clear(&self) {
        let mut state = self.shared.state();
        state.taken.clear();
        state.commands.clear();
    }

    /// Puts another script in place of the rest of this one.
    pub fn script(&self, script: impl FnOnce(Builder) -> Builder) {
        self.shared.state().rules = script(Sink::builder()).rules;
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        state.open.iter().for_each(|(_, stream)| stream.shut());
        drop(state);
        // One more connection wakes the accepting thread, which then ends and closes the listener.
        match &self.place {
            Place::Tcp(port) => drop(TcpStream::connect(("127.0.0.1", *port))),
            Place::Unix(path) => drop(UnixStream::connect(path)),
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn twin(&self) -> Stream {
        match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().expect("a second handle")),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().expect("a second handle")),
        }
    }

    fn shut(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn accept(shared: &Arc<Shared>, mut next: impl FnMut() -> Option<Stream>) {
    while let Some(stream) = next() {
        let mut state = shared.state();
        if state.ended {
            return;
        }
        if let Stream::Tcp(tcp) = &stream {
            let _ = tcp.set_nodelay(true);
        }
        state.connections += 1;
        let number = state.connections;
        state.open.push((number, stream.twin()));
        state.most_open = state.most_open.max(state.open.len());
        drop(state);
        let shared = shared.clone();
        std::thread::spawn(move || {
            let mut dialogue = Dialogue { shared: &shared, number, stream, input: Vec::new(), at: 0, output: Vec::new() };
            // Any end of the dialogue, also an I/O error, is the end of the connection.
            let _ = dialogue.run();
            dialogue.stream.shut();
            shared.state().open.retain(|(other, _)| *other != number);
        });
    }
}

/// One connection. `None` from a step means that the connection ends.
struct Dialogue<'a> {
    shared: &'a Shared,
    number: usize,
    stream: Stream,
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
}

#[derive(Default)]
struct Transaction {
    from: String,
    parameters: String,
    recipients: Vec<String>,
}

impl Dialogue<'_> {
    fn run(&mut self) -> Option<()> {
        self.answer("CONNECT", "", "220 sink.test ESMTP")?;
        let mut open: Option<Transaction> = None;
        loop {
            let line = self.line()?;
            let text = String::from_utf8_lossy(&line).into_owned();
            self.shared.state().commands.push(format!("{}: {text}", self.number));
            let verb = text.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "LHLO" | "HELO" => {
                    let wanted = if self.shared.lmtp { verb == "LHLO" } else { verb != "LHLO" };
                    if !wanted {
                        self.violation(format!("{verb} in the wrong protocol"));
                    }
                    let mut lines = vec!["sink.test".to_string()];
                    // HELO is answered by one line (RFC 5321 §4.1.1.1).
                    if verb != "HELO" {
                        lines.extend(self.shared.capabilities.iter().cloned());
                    }
                    let last = lines.len() - 1;
                    let reply: Vec<String> = lines.iter().enumerate().map(|(n, l)| format!("250{}{l}", if n == last { ' ' } else { '-' })).collect();
                    open = None;
                    self.answer("EHLO", &text, &reply.join("\n"))?;
                }
                "MAIL" => {
                    if open.is_some() {
                        self.violation("MAIL inside a transaction".into());
                    }
                    let (path, parameters) = path_of(&text);
                    for (word, capability) in [("BODY=", "8BITMIME"), ("SMTPUTF8", "SMTPUTF8"), ("SIZE=", "SIZE")] {
                        if parameters.contains(word) && !self.offers(capability) {
                            self.violation(format!("{parameters} without {capability}"));
                        }
                    }
                    if self.answer("MAIL", &text, "250 2.1.0 Ok")?.starts_with('2') {
                        open = Some(Transaction { from: path, parameters, recipients: Vec::new() });
                    }
                }
                "RCPT" => {
                    let usual = if open.is_some() { "250 2.1.5 Ok" } else { "503 5.5.1 MAIL first" };
                    let reply = self.answer("RCPT", &text, usual)?;
                    if let (Some(transaction), true) = (&mut open, reply.starts_with('2')) {
                        transaction.recipients.push(path_of(&text).0);
                    }
                }
                "DATA" => {
                    let ready = open.as_ref().is_some_and(|t| !t.recipients.is_empty());
                    let usual = if ready { "354 Go ahead" } else { "503 5.5.1 no valid recipients" };
                    if self.answer("DATA", &text, usual)?.starts_with("354") {
                        let transaction = open.take().unwrap_or_default();
                        self.content(transaction)?;
                    }
                }
                "RSET" => {
                    open = None;
                    self.answer("RSET", &text, "250 2.0.0 Ok")?;
                }
                "NOOP" => drop(self.answer("NOOP", &text, "250 2.0.0 Ok")?),
                "AUTH" => drop(self.answer("AUTH", &text, "235 2.7.0 Ok")?),
                "QUIT" => {
                    self.answer("QUIT", &text, "221 2.0.0 Bye")?;
                    self.flush()?;
                    return None;
                }
                _ => {
                    self.violation(format!("an unknown command: {text:?}"));
                    drop(self.answer("?", &text, "500 5.5.2 what?")?);
                }
            }
        }
    }

    /// Reads up to the final dot, answers, keeps what was taken.
    fn content(&mut self, transaction: Transaction) -> Option<()> {
        let Some(content) = self.flush().and_then(|()| self.dotted()) else {
            self.shared.state().broken_off += 1;
            return None;
        };
        let utf8 = transaction.parameters.contains("SMTPUTF8");
        if !content.is_ascii() && !transaction.parameters.contains("BODY=8BITMIME") && self.offers("8BITMIME") && !utf8 {
            self.violation("octets above 127 without BODY=8BITMIME".into());
        }
        if !utf8 && (!transaction.from.is_ascii() || transaction.recipients.iter().any(|r| !r.is_ascii())) {
            self.violation("an address above ASCII without SMTPUTF8".into());
        }
        if let Some(fault) = line_end_fault(&content) {
            self.violation(fault);
        }
        let Transaction { from, parameters, recipients } = transaction;
        let mut kept = Taken { from, parameters, recipients: Vec::new(), content, connection: self.number };
        // The message is kept before the answer leaves, as a real server does it.
        if self.shared.lmtp {
            let mut replies = Vec::new();
            for recipient in recipients {
                let reply = self.decide("DOT", &recipient, "250 2.0.0 Ok: taken");
                let goes_on = matches!(&reply, Decision::Answer(_));
                if reply.text().starts_with('2') {
                    kept.recipients.push(recipient);
                }
                replies.push(reply);
                if !goes_on {
                    break;
                }
            }
            self.keep(kept);
            replies.into_iter().try_for_each(|reply| self.carry_out(reply).map(drop))
        } else {
            let reply = self.decide("DOT", &kept.from.clone(), "250 2.0.0 Ok: taken");
            if reply.text().starts_with('2') {
                kept.recipients = recipients;
            }
            self.keep(kept);
            self.carry_out(reply).map(drop)
        }
    }

    fn keep(&self, message: Taken) {
        if !message.recipients.is_empty() {
            self.shared.state().taken.push(message);
        }
    }

    fn offers(&self, capability: &str) -> bool {
        self.shared.capabilities.iter().any(|line| line.split(' ').next() == Some(capability))
    }

    fn violation(&self, what: String) {
        self.shared.state().violations.push(what);
    }

    /// Answers as the script or else the custom wants it; `None` ends the connection.
    fn answer(&mut self, step: &str, argument: &str, usual: &str) -> Option<String> {
        let decision = self.decide(step, argument, usual);
        self.carry_out(decision)
    }

    fn decide(&self, step: &str, argument: &str, usual: &str) -> Decision {
        match self.shared.scripted(step, argument) {
            None => Decision::Answer(usual.into()),
            Some(Action::Reply(reply)) => Decision::Answer(reply),
            Some(Action::ReplyAndClose(reply)) => Decision::Last(reply),
            Some(Action::Close) => Decision::Close,
            Some(Action::TakeAndClose) => Decision::TakenAndClose,
            Some(Action::Silence) => Decision::Silence,
            Some(Action::Delay(time)) => {
                std::thread::sleep(time);
                Decision::Answer(usual.into())
            }
        }
    }

    fn carry_out(&mut self, decision: Decision) -> Option<String> {
        match decision {
            Decision::Answer(reply) => {
                self.write_reply(&reply);
                Some(reply)
            }
            Decision::Last(reply) => {
                self.write_reply(&reply);
                self.flush()?;
                None
            }
            Decision::Close | Decision::TakenAndClose => {
                self.flush()?;
                None
            }
            Decision::Silence => {
                self.flush()?;
                // Until the client gives up, or the sink is dropped.
                while self.fill().is_some() {
                    self.input.clear();
                }
                None
            }
        }
    }

    fn write_reply(&mut self, reply: &str) {
        for line in reply.split('\n') {
            self.output.extend_from_slice(line.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
    }

    fn flush(&mut self) -> Option<()> {
        self.stream.write_all(&self.output).ok()?;
        self.output.clear();
        Some(())
    }

    fn fill(&mut self) -> Option<()> {
        // What is answered so far goes out before we wait: replies to pipelined commands share a packet.
        self.flush()?;
        let mut buffer = [0; 65536];
        let n = self.stream.read(&mut buffer).ok().filter(|&n| n > 0)?;
        self.input.drain(..self.at);
        self.at = 0;
        self.input.extend_from_slice(&buffer[..n]);
        Some(())
    }

    /// One command line, without its line end.
    fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input[self.at..]) {
                let line = self.input[self.at..self.at + end].to_vec();
                self.at += end + 1;
                return match line.strip_suffix(b"\r") {
                    Some(line) => Some(line.to_vec()),
                    None => {
                        self.violation(format!("a command ends with a bare LF: {}", line.escape_ascii()));
                        Some(line)
                    }
                };
            }
            self.fill()?;
        }
    }

    /// The content, stuffing undone; ends at CRLF dot CRLF only (RFC 5321 §4.1.1.4).
    fn dotted(&mut self) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let Some(end) = memchr::memmem::find(&self.input[self.at..], b"\r\n") else {
                // A line of a megabyte must not be searched again and again: all but a last CR is taken over at once.
                let rest = self.input.len() - self.at;
                if rest > 65536 {
                    let mut start = self.at;
                    if self.input[start] == b'.' && self.begins_line(&content) {
                        start += 1;
                    }
                    let stop = self.input.len() - 1;
                    content.extend_from_slice(&self.input[start..stop]);
                    self.at = stop;
                }
                self.fill()?;
                continue;
            };
            let line = &self.input[self.at..self.at + end + 2];
            let begins = self.begins_line(&content);
            if begins && line == b".\r\n" {
                self.at += end + 2;
                return Some(content);
            }
            content.extend_from_slice(if begins && line[0] == b'.' { &line[1..] } else { line });
            let hangs_up = self.hangs_up_at(line);
            self.at += end + 2;
            if hangs_up {
                return None;
            }
        }
    }

    fn hangs_up_at(&self, line: &[u8]) -> bool {
        let scripted = self.shared.state().rules.iter().any(|rule| rule.step == "CONTENT");
        scripted && self.shared.scripted("CONTENT", &String::from_utf8_lossy(line)).is_some()
    }

    fn begins_line(&self, content: &[u8]) -> bool {
        content.is_empty() || content.ends_with(b"\r\n")
    }
}

enum Decision {
    Answer(String),
    Last(String),
    Close,
    TakenAndClose,
    Silence,
}

impl Decision {
    fn text(&self) -> &str {
        match self {
            Decision::Answer(reply) | Decision::Last(reply) => reply,
            Decision::TakenAndClose => "250",
            Decision::Close | Decision::Silence => "",
        }
    }
}

/// The path between the brackets, and the parameters behind them.
fn path_of(line: &str) -> (String, String) {
    match (line.find('<'), line.rfind('>')) {
        (Some(start), Some(end)) if start < end => (line[start + 1..end].to_string(), line[end + 1..].trim().to_string()),
        _ => (line.to_string(), String::new()),
    }
}

fn line_end_fault(content: &[u8]) -> Option<String> {
    for at in memchr::memchr3_iter(b'\r', b'\n', 0, content) {
        let fault = match content[at] {
            0 => Some("a NUL"),
            b'\r' if content.get(at + 1) != Some(&b'\n') => Some("a bare CR"),
            b'\n' if at == 0 || content[at - 1] != b'\r' => Some("a bare LF"),
            _ => None,
        };
        if let Some(fault) = fault {
            return Some(format!("{fault} in the content: …{}…", content[at.saturating_sub(20)..(at + 20).min(content.len())].escape_ascii()));
        }
    }
    None
}
