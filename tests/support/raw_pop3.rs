//! A POP3 server that comes to trouble at one of its messages.

use super::raw_imap::Trouble;
use super::script::{Script, Spoken};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

/// A running server; its threads end with the test process.
pub struct RawPop3 {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    messages: Mutex<Vec<Vec<u8>>>,
    gone: Mutex<BTreeSet<usize>>,
    trouble: Mutex<Option<(usize, Trouble)>>,
    ways: Mutex<Ways>,
    script: Arc<Script>,
}

/// Ways of a server that are not those of others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// It knows no TOP.
    pub no_top: bool,
    /// It says +OK to QUIT and deletes nothing.
    pub untrue_quit: bool,
    /// Its trouble comes once.
    pub recovers: bool,
}

impl RawPop3 {
    /// Serves these messages; every login is good. At the n-th one, from 1, there is trouble.
    pub fn with_trouble(messages: Vec<Vec<u8>>, n: usize, trouble: Trouble) -> RawPop3 {
        let server = RawPop3::serve(messages, Ways::default());
        server.comes_to(n, trouble);
        server
    }

    /// Serves these messages.
    pub fn serve(messages: Vec<Vec<u8>>, ways: Ways) -> RawPop3 {
        RawPop3::of(messages, ways, Arc::default())
    }

    /// Serves these messages, but for the answers that the script has.
    pub fn scripted(messages: Vec<Vec<u8>>, script: Arc<Script>) -> RawPop3 {
        RawPop3::of(messages, Ways::default(), script)
    }

    fn of(messages: Vec<Vec<u8>>, ways: Ways, script: Arc<Script>) -> RawPop3 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared { messages: Mutex::new(messages), ways: Mutex::new(ways), script, ..Shared::default() });
        let of_server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_server);
                std::thread::spawn(move || talk(stream, &shared));
            }
        });
        RawPop3 { port, shared }
    }

    /// The port, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// One more message.
    pub fn put(&self, message: Vec<u8>) {
        lock(&self.shared.messages).push(message);
    }

    /// From now on there is trouble at the n-th message, from 1.
    pub fn comes_to(&self, n: usize, trouble: Trouble) {
        *lock(&self.shared.trouble) = Some((n, trouble));
    }

    /// From now on it has these ways.
    pub fn is(&self, ways: Ways) {
        *lock(&self.shared.ways) = ways;
    }

    /// The messages that were deleted, from 1.
    pub fn deleted(&self) -> Vec<usize> {
        lock(&self.shared.gone).iter().copied().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with the lock")
}

/// One connection, to its end; an error is the client's leaving.
fn talk(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let (messages, ways) = (lock(&shared.messages).clone(), *lock(&shared.ways));
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    // What is there keeps its place in the list for the session.
    let there: Vec<usize> = (1..=messages.len()).filter(|n| !lock(&shared.gone).contains(n)).collect();
    let mut deleted = BTreeSet::new();
    if shared.script.answer("", "", &mut stream, &mut reader)? == Spoken::AsUsual {
        stream.write_all(b"+OK ready\r\n").ok()?;
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if shared.script.answer("", line.trim_end(), &mut stream, &mut reader)? == Spoken::Answered {
            continue;
        }
        let words: Vec<String> = line.split_whitespace().map(str::to_ascii_uppercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let listing = |of: &dyn Fn(usize) -> String| -> String {
            let lines = there.iter().enumerate().filter(|(_, n)| !deleted.contains(*n)).map(|(at, n)| format!("{} {}\r\n", at + 1, of(*n)));
            format!("+OK\r\n{}.\r\n", lines.collect::<String>())
        };
        let answer = match words.as_slice() {
            ["CAPA"] if ways.no_top => "+OK\r\nUIDL\r\nUSER\r\n.\r\n".to_owned(),
            ["TOP", ..] if ways.no_top => "-ERR unknown command\r\n".to_owned(),
            ["CAPA"] => "+OK\r\nUIDL\r\nTOP\r\nUSER\r\n.\r\n".to_owned(),
            ["STAT"] => format!("+OK {} {}\r\n", there.len(), there.iter().map(|n| messages[n - 1].len()).sum::<usize>()),
            ["LIST"] => listing(&|n| messages[n - 1].len().to_string()),
            ["UIDL"] => listing(&|n| format!("id-{n}")),
            ["RETR" | "TOP", at, ..] => {
                let n = *there.get(at.parse::<usize>().ok()?.checked_sub(1)?)?;
                let text = String::from_utf8_lossy(&messages[n - 1]).replace("\r\n.", "\r\n..");
                let (troubled, trouble) = lock(&shared.trouble).unwrap_or((0, Trouble::Close));
                if n == troubled && ways.recovers {
                    *lock(&shared.trouble) = None;
                }
                match trouble {
                    Trouble::Close if n == troubled => return None,
                    Trouble::CloseInside if n == troubled => {
                        stream.write_all(b"+OK\r\nFrom: a").ok()?;
                        return None;
                    }
                    Trouble::Silence if n == troubled => {
                        let _ = reader.read_line(&mut String::new());
                        return None;
                    }
                    Trouble::Refuse | Trouble::LeaveOut if n == troubled => "-ERR internal error\r\n".to_owned(),
                    Trouble::Rubbish if n == troubled => "((((((\r\n".to_owned(),
                    _ => format!("+OK\r\n{text}.\r\n"),
                }
            }
            ["DELE", at] => {
                deleted.insert(*there.get(at.parse::<usize>().ok()?.checked_sub(1)?)?);
                "+OK\r\n".to_owned()
            }
            ["QUIT"] => {
                if !ways.untrue_quit {
                    lock(&shared.gone).extend(&deleted);
                }
                "+OK\r\n".to_owned()
            }
            ["USER" | "PASS" | "NOOP", ..] => "+OK\r\n".to_owned(),
            _ => "-ERR what\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).ok()?;
        if words == ["QUIT"] {
            return None;
        }
    }
}
