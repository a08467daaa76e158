//! A POP3 server that comes to trouble at one of its messages.

use super::raw_imap::Trouble;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A running server; its threads end with the test process.
pub struct RawPop3 {
    port: u16,
    gone: Arc<Mutex<BTreeSet<usize>>>,
}

impl RawPop3 {
    /// Serves these messages; every login is good. At the n-th one, from 1, there is trouble.
    pub fn with_trouble(messages: Vec<Vec<u8>>, n: usize, trouble: Trouble) -> RawPop3 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let gone: Arc<Mutex<BTreeSet<usize>>> = Arc::default();
        let (of_server, messages) = (gone.clone(), Arc::new(messages));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (messages, gone) = (messages.clone(), of_server.clone());
                std::thread::spawn(move || talk(stream, &messages, &gone, (n, trouble)));
            }
        });
        RawPop3 { port, gone }
    }

    /// The port, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The messages that were deleted, from 1.
    pub fn deleted(&self) -> Vec<usize> {
        self.gone.lock().expect("no thread panics with the lock").iter().copied().collect()
    }
}

/// One connection, to its end; an error is the client's leaving.
fn talk(mut stream: TcpStream, messages: &[Vec<u8>], gone: &Mutex<BTreeSet<usize>>, (troubled, trouble): (usize, Trouble)) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    // What is there keeps its place in the list for the session.
    let there: Vec<usize> = (1..=messages.len()).filter(|n| !gone.lock().expect("no thread panics with the lock").contains(n)).collect();
    let mut deleted = BTreeSet::new();
    stream.write_all(b"+OK ready\r\n").ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let words: Vec<String> = line.split_whitespace().map(str::to_ascii_uppercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let listing = |of: &dyn Fn(usize) -> String| -> String {
            let lines = there.iter().enumerate().filter(|(_, n)| !deleted.contains(*n)).map(|(at, n)| format!("{} {}\r\n", at + 1, of(*n)));
            format!("+OK\r\n{}.\r\n", lines.collect::<String>())
        };
        let answer = match words.as_slice() {
            ["CAPA"] => "+OK\r\nUIDL\r\nTOP\r\nUSER\r\n.\r\n".to_owned(),
            ["STAT"] => format!("+OK {} {}\r\n", there.len(), there.iter().map(|n| messages[n - 1].len()).sum::<usize>()),
            ["LIST"] => listing(&|n| messages[n - 1].len().to_string()),
            ["UIDL"] => listing(&|n| format!("id-{n}")),
            ["RETR" | "TOP", at, ..] => {
                let n = *there.get(at.parse::<usize>().ok()?.checked_sub(1)?)?;
                let text = String::from_utf8_lossy(&messages[n - 1]).replace("\r\n.", "\r\n..");
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
                gone.lock().expect("no thread panics with the lock").extend(&deleted);
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
