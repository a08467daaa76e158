//! The dialogue with a server, line by line, for somebody who looks for a fault: `mailgather test --trace`.
//!
//! What we say is told by the code that says it, so nothing shows that was not meant to; what an authentication step says shows as `***`. What the
//! server says is taken off the stream as it comes, so that rubbish shows too. Contents of messages, and all else that comes as a literal, show by
//! their size only. Without a [`Tracer`] all this is an `Option` that is `None`.

use crate::mail::Secret;
use crate::mail::outcome::harmless;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Most octets of a line that are shown.
pub const SHOWN_OCTETS_MAX: usize = 500;
/// Most octets of a line that are kept, to be searched for secrets.
const KEPT_OCTETS_MAX: usize = 4096;
/// Most lines of one tracer: listings of a large mailbox end here.
pub const LINES_MAX: u32 = 20_000;
/// Shorter secrets are not searched for: they stand in every other line.
const SECRET_OCTETS_MIN: usize = 3;
/// What a line is compared with of a secret: enough to know it, and less than is kept behind what is shown.
const SECRET_OCTETS_MAX: usize = 256;
/// Most secrets of one connection that are remembered.
const SECRETS_MAX: usize = 16;
/// What stands in place of a secret.
const MASK: &str = "***";

/// Whoever is told the lines.
type Print = dyn Fn(&str) + Send + Sync;

/// Starts a [`Trace`] for each connection; by default none.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Sink>>);

struct Sink {
    name: String,
    since: Instant,
    lines: AtomicU32,
    print: Box<Print>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Tracer(on)" } else { "Tracer(off)" })
    }
}

impl Tracer {
    /// Lines go to `print`, each with `name` and the time since now.
    pub fn new(name: &str, print: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Tracer(Some(Arc::new(Sink { name: harmless(name, 100), since: Instant::now(), lines: AtomicU32::new(0), print: Box::new(print) })))
    }

    /// The dialogue of a new connection, in this protocol.
    pub fn start(&self, dialect: Dialect) -> Trace {
        Trace(self.0.as_ref().map(|sink| Box::new(Talk::new(Arc::clone(sink), dialect))))
    }

    /// Something that happened, and was not said.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if let Some(sink) = &self.0 {
            sink.line("", "--", &text());
        }
    }
}

impl Sink {
    fn line(&self, protocol: &str, who: &str, text: &str) {
        let before = self.lines.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lines| (lines <= LINES_MAX).then_some(lines + 1));
        let text = match before {
            Ok(LINES_MAX) => "-- more lines than a trace may have: the rest is not shown".to_owned(),
            Ok(_) => format!("{protocol:4} {who} {}", harmless(text, SHOWN_OCTETS_MAX)),
            Err(_) => return,
        };
        (self.print)(&format!("{} {:>6} ms {text}", self.name, self.since.elapsed().as_millis()));
    }
}

/// What a dialogue is in: where literals, contents and questions of a login stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// IMAP: literals.
    Imap,
    /// POP3: a message is what comes behind RETR and TOP, up to its dot.
    Pop3,
    /// SMTP and LMTP.
    Smtp,
    /// HTTP: lines that are made for it; bodies are sizes.
    Http,
}

/// The dialogue of one connection, or nothing if nobody wants to see it.
#[derive(Default)]
pub struct Trace(Option<Box<Talk>>);

struct Talk {
    sink: Arc<Sink>,
    dialect: Dialect,
    /// The line that is coming in.
    line: Vec<u8>,
    /// Octets of it that were not kept.
    left_out: u64,
    brace: Brace,
    /// Octets of a literal that are still to come.
    literal: u64,
    /// Octets of a message so far, while one comes (POP3).
    message: Option<u64>,
    /// For each command without an answer, whether a message comes behind that (POP3).
    expected: VecDeque<bool>,
    /// Octets of content that were sent and not told yet.
    content: u64,
    /// From the first line of a login to its end.
    in_login: bool,
    secrets: Vec<Secret>,
}

/// How far the end of a line is the size of a literal: `{12}`, `{12+}` (RFC 9051 §4.3).
#[derive(Clone, Copy, Default)]
enum Brace {
    #[default]
    No,
    Open(u64),
    Closed(u64),
}

impl Brace {
    fn then(self, octet: u8) -> Self {
        match (self, octet) {
            (_, b'{') => Brace::Open(0),
            (Brace::Open(size), b'0'..=b'9') => Brace::Open(size.saturating_mul(10).saturating_add(u64::from(octet - b'0'))),
            (Brace::Open(size), b'+') => Brace::Open(size),
            (Brace::Open(size), b'}') => Brace::Closed(size),
            (Brace::Closed(size), b'\r') => Brace::Closed(size),
            _ => Brace::No,
        }
    }
}

impl Trace {
    /// True if somebody wants to see it.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// We say these lines, which are not secret; during a login nothing is taken for that.
    pub fn sent(&mut self, octets: &[u8]) {
        if let Some(talk) = &mut self.0 {
            if talk.in_login { talk.sent_in_login(octets) } else { talk.sent(octets) }
        }
    }

    /// The same for a command that is known to have no secret in it, also if it goes along with a login.
    pub fn sent_command(&mut self, octets: &[u8]) {
        if let Some(talk) = &mut self.0 {
            talk.sent(octets);
        }
    }

    /// We say something secret: `shown` of it may show, and no line with `secret` in it from here on.
    pub fn sent_secret(&mut self, shown: &str, secret: &str) {
        if let Some(talk) = &mut self.0 {
            talk.hide(secret);
            // A secret is never in what is shown, so this line is not searched: a user may be called like the password.
            let shown = if shown.is_empty() { MASK.to_owned() } else { format!("{shown} {MASK}") };
            talk.tell_as_is("C:", &shown);
            if talk.dialect == Dialect::Pop3 && shown != MASK {
                talk.expected.push_back(false);
            }
        }
    }

    /// We send content of a message.
    pub fn sent_content(&mut self, octets: usize) {
        if let Some(talk) = &mut self.0 {
            talk.content = talk.content.saturating_add(octets as u64);
        }
    }

    /// The server says this.
    pub fn received(&mut self, octets: &[u8]) {
        if let Some(talk) = &mut self.0 {
            talk.received(octets);
        }
    }

    /// No line with `secret` in it shows from here on.
    pub fn hide(&mut self, secret: &str) {
        if let Some(talk) = &mut self.0 {
            talk.hide(secret);
        }
    }

    /// A login begins: what the server asks in it does not show, nor does any line with `secret` in it, from here on.
    pub fn login_begins(&mut self, secret: &str) {
        if let Some(talk) = &mut self.0 {
            talk.hide(secret);
            talk.in_login = true;
        }
    }

    /// It has ended well.
    pub fn login_ended(&mut self) {
        if let Some(talk) = &mut self.0 {
            talk.in_login = false;
        }
    }

    /// Something happened to the connection.
    pub fn note(&mut self, text: &str) {
        if let Some(talk) = &mut self.0 {
            talk.tell("--", text);
        }
    }
}

impl Talk {
    fn new(sink: Arc<Sink>, dialect: Dialect) -> Self {
        Talk {
            sink,
            dialect,
            line: Vec::new(),
            left_out: 0,
            brace: Brace::No,
            literal: 0,
            message: None,
            expected: VecDeque::new(),
            content: 0,
            in_login: false,
            secrets: Vec::new(),
        }
    }

    fn hide(&mut self, secret: &str) {
        let secret = secret.trim_end();
        if secret.len() >= SECRET_OCTETS_MIN && self.secrets.len() < SECRETS_MAX {
            self.secrets.push(Secret::new(secret[..secret.floor_char_boundary(SECRET_OCTETS_MAX)].to_owned()));
        }
    }

    fn sent_in_login(&mut self, octets: &[u8]) {
        let text = String::from_utf8_lossy(octets);
        self.hide(text.trim_end().rsplit(' ').next().unwrap_or_default());
        let word = if text.starts_with("AUTH ") { "AUTH " } else { "" };
        self.tell_as_is("C:", &format!("{word}{MASK}"));
    }

    fn sent(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, behind) = rest.split_at(end);
            rest = behind;
            let brace = match self.dialect {
                Dialect::Imap => line.iter().filter(|octet| **octet != b'\n').fold(Brace::No, |brace, octet| brace.then(*octet)),
                Dialect::Pop3 | Dialect::Smtp | Dialect::Http => Brace::No,
            };
            let line = line.trim_ascii_end();
            if !line.is_empty() {
                self.tell_octets("C:", line, brace);
            }
            if let Brace::Closed(size) = brace {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                rest = rest.get(size..).unwrap_or_default();
            }
            if self.dialect == Dialect::Pop3 {
                self.expected.push_back(line.starts_with(b"RETR ") || line.starts_with(b"TOP "));
            }
        }
    }

    fn received(&mut self, mut octets: &[u8]) {
        while let Some((&octet, rest)) = octets.split_first() {
            if self.literal > 0 {
                let skipped = usize::try_from(self.literal).unwrap_or(usize::MAX).min(octets.len());
                self.literal -= skipped as u64;
                octets = &octets[skipped..];
                continue;
            }
            octets = rest;
            if octet == b'\n' {
                self.line_ended();
                continue;
            }
            self.brace = if self.dialect == Dialect::Imap { self.brace.then(octet) } else { Brace::No };
            if self.line.len() < KEPT_OCTETS_MAX { self.line.push(octet) } else { self.left_out += 1 }
        }
    }

    /// A whole line is in.
    fn line_ended(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        let (brace, left_out) = (std::mem::take(&mut self.brace), std::mem::take(&mut self.left_out));
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        match self.message {
            Some(octets) if text != b"." || left_out > 0 => self.message = Some(octets.saturating_add(line.len() as u64 + left_out + 1)),
            Some(octets) => {
                self.message = None;
                self.tell("S:", &format!("{{{octets} octets}}"));
                self.tell("S:", ".");
            }
            None => {
                self.tell_received(text, brace);
                if self.dialect == Dialect::Pop3 && (text.starts_with(b"+OK") || text.starts_with(b"-ERR")) {
                    let has_message = self.expected.pop_front().unwrap_or_default();
                    self.message = (has_message && text.starts_with(b"+OK")).then_some(0);
                }
                if let Brace::Closed(size) = brace {
                    self.literal = size;
                }
            }
        }
        line.clear();
        self.line = line;
    }

    /// During a login only what is an answer shows; a question, and whatever else may come, does not.
    fn tell_received(&mut self, text: &[u8], brace: Brace) {
        if !self.in_login || self.is_answer(text) {
            return self.tell_octets("S:", text, brace);
        }
        let mark = if text.starts_with(b"+") { "+ " } else { "" };
        self.tell_as_is("S:", &format!("{mark}{MASK}"));
    }

    fn is_answer(&self, text: &[u8]) -> bool {
        match self.dialect {
            Dialect::Imap => {
                let tag = text.strip_prefix(b"a").map(|rest| rest.iter().take_while(|octet| octet.is_ascii_digit()).count());
                text.starts_with(b"* ") || tag.is_some_and(|digits| digits > 0 && text.get(digits + 1) == Some(&b' '))
            }
            Dialect::Pop3 => text.starts_with(b"+OK") || text.starts_with(b"-ERR"),
            Dialect::Smtp => text.len() >= 3 && text[..3].iter().all(u8::is_ascii_digit) && !text.starts_with(b"334"),
            Dialect::Http => true,
        }
    }

    fn tell_octets(&mut self, who: &str, line: &[u8], brace: Brace) {
        let text = String::from_utf8_lossy(line);
        match (brace, text.rfind('{')) {
            (Brace::Closed(size), Some(at)) => self.tell(who, &format!("{}{{{size} octets}}", &text[..at])),
            _ => self.tell(who, &text),
        }
    }

    /// Tells a line, unless a secret stands in it.
    fn tell(&mut self, who: &str, text: &str) {
        if self.secrets.iter().any(|secret| text.contains(secret.expose())) {
            return self.tell_as_is(who, &format!("{MASK} (a line with a secret in it)"));
        }
        self.tell_as_is(who, text);
    }

    fn tell_as_is(&mut self, who: &str, text: &str) {
        let protocol = match self.dialect {
            Dialect::Imap => "imap",
            Dialect::Pop3 => "pop3",
            Dialect::Smtp => "smtp",
            Dialect::Http => "http",
        };
        match std::mem::take(&mut self.content) {
            0 => {}
            octets => self.sink.line(protocol, "C:", &format!("{{{octets} octets}}")),
        }
        self.sink.line(protocol, who, text);
    }
}

/// What the server said last may be half a line, and that may be the fault that is looked for.
impl Drop for Talk {
    fn drop(&mut self) {
        if let Some(octets) = self.message {
            self.tell("--", &format!("the connection ends {octets} octets into a message"));
        } else if self.literal > 0 {
            self.tell("--", &format!("the connection ends {} octets before the end of a literal", self.literal));
        } else if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.tell_received(&line, Brace::No);
            self.tell("--", "the connection ends in the middle of this line");
        }
        if self.content > 0 {
            self.tell("--", "the connection ends behind this");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// What a trace shows, without names and times.
    fn shown(dialect: Dialect, talk: impl FnOnce(&mut Trace)) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&lines);
        let tracer = Tracer::new("box", move |line| noted.lock().unwrap().push(line.split_once(" ms ").unwrap().1.to_owned()));
        talk(&mut tracer.start(dialect));
        let lines = lines.lock().unwrap();
        lines.iter().map(|line| line.get(5..).unwrap_or(line).to_owned()).collect()
    }

    #[test]
    fn lines_and_literals_both_ways_in_any_pieces() {
        let from_server: &[u8] = b"* OK hi\r\n* 1 FETCH (UID 7 BODY[HEADER] {9}\r\nSubject: \xff)\r\na1 OK done\x1b[31m\r\n";
        for size in [1, 2, 3, 7, 1000] {
            let lines = shown(Dialect::Imap, |trace| {
                trace.sent(b"a1 SELECT {5+}\r\nK\xc3\xa4se\r\na2 UID FETCH 7 BODY.PEEK[HEADER]\r\n");
                from_server.chunks(size).for_each(|piece| trace.received(piece));
            });
            let wanted = [
                "C: a1 SELECT {5 octets}",
                "C: a2 UID FETCH 7 BODY.PEEK[HEADER]",
                "S: * OK hi",
                "S: * 1 FETCH (UID 7 BODY[HEADER] {9 octets}",
                "S: \u{fffd})",
                "S: a1 OK done?[31m",
            ];
            // The literal's 9 octets end in front of the 8-bit one.
            assert_eq!(lines, wanted, "{size}");
        }
    }

    #[test]
    fn a_message_by_pop3_is_a_size() {
        let lines = shown(Dialect::Pop3, |trace| {
            trace.received(b"+OK hi\r\n");
            trace.sent_command(b"UIDL\r\nTOP 1 0\r\nTOP 2 0\r\nQUIT\r\n");
            trace.received(b"+OK\r\n1 a\r\n.\r\n+OK\r\nSubject: x\r\n..\r\n.\r\n-ERR no\r\n+OK bye\r\n");
        });
        let wanted = ["S: +OK hi", "C: UIDL", "C: TOP 1 0", "C: TOP 2 0", "C: QUIT", "S: +OK", "S: 1 a", "S: .", "S: +OK", "S: {16 octets}"];
        assert_eq!(lines[..10], wanted);
        assert_eq!(lines[10..], ["S: .", "S: -ERR no", "S: +OK bye"]);
    }

    #[test]
    fn nothing_of_a_login_shows_but_its_answers() {
        let lines = shown(Dialect::Imap, |trace| {
            trace.login_begins("s3cret");
            trace.sent_secret("a1 AUTHENTICATE PLAIN", "AHUAczNjcmV0");
            trace.received(b"+ Y2hhbGxlbmdl\r\nmore of it\r\na9x\r\na1 BAD what is AHUAczNjcmV0?\r\n* BAD s3cret is wrong\r\n");
            trace.sent_secret("", "czNjcmV0");
            trace.sent(b"anything\r\n");
            trace.sent_command(b"a2 SELECT INBOX\r\n");
            trace.received(b"a1 OK in\r\n");
            trace.login_ended();
            trace.received(b"* OK your password s3cret is old\r\n+ go on\r\n");
            trace.sent(b"a3 NOOP\r\n");
        });
        let masked = "*** (a line with a secret in it)";
        let wanted = [
            "C: a1 AUTHENTICATE PLAIN ***",
            "S: + ***",
            "S: ***",
            "S: ***",
            &format!("S: {masked}"),
            &format!("S: {masked}"),
            "C: ***",
            "C: ***",
            "C: a2 SELECT INBOX",
            "S: a1 OK in",
            &format!("S: {masked}"),
            "S: + go on",
            "C: a3 NOOP",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn contents_long_lines_and_ends() {
        let long = format!("250 {}", "x".repeat(10_000));
        let lines = shown(Dialect::Smtp, |trace| {
            trace.sent(b"DATA\r\n");
            trace.received(b"354 go\r\n");
            trace.sent_content(1000);
            trace.sent_content(234);
            trace.received(long.as_bytes());
            trace.received(b"\r\n25");
        });
        assert_eq!(lines[..3], ["C: DATA", "S: 354 go", "C: {1234 octets}"]);
        assert!(lines[3].starts_with("S: 250 xxx") && lines[3].ends_with("x…") && lines[3].len() < SHOWN_OCTETS_MAX + 10, "{}", lines[3]);
        assert_eq!(lines[4..], ["S: 25", "-- the connection ends in the middle of this line"]);
        let lines = shown(Dialect::Smtp, |trace| {
            trace.login_begins("s3cret");
            trace.sent(b"AUTH PLAIN AHUAczNjcmV0\r\n");
            trace.received(b"334 dGVsbCBtZQ==\r\n535 5.7.8 AHUAczNjcmV0 is wrong\r\n235 ok\r\n");
        });
        assert_eq!(lines, ["C: AUTH ***", "S: ***", "S: *** (a line with a secret in it)", "S: 235 ok"]);
        // A secret that is cut by the limit is found all the same.
        let secret = "t".repeat(600);
        let lines = shown(Dialect::Imap, |trace| {
            trace.login_begins(&secret);
            trace.received(format!("* OK {}{secret}\r\n", "y".repeat(SHOWN_OCTETS_MAX - 10)).as_bytes());
        });
        assert!(!lines[0].contains("tt"), "{}", lines[0]);
    }

    #[test]
    fn a_trace_has_an_end_and_none_costs_nothing() {
        let lines = shown(Dialect::Imap, |trace| (0..LINES_MAX + 10).for_each(|_| trace.received(b"*\n")));
        assert_eq!(lines.len(), LINES_MAX as usize + 1);
        Trace::default().received(b"x\r\n");
        assert_eq!(std::mem::size_of::<Trace>(), std::mem::size_of::<usize>());
    }
}
