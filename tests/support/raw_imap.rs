//! An IMAP server that serves a message's octets exactly as they are, as hostile and careless servers do: bare LF, bare CR, NUL. (Dovecot makes
//! every LF a CRLF.) It knows the few commands that collecting takes; all messages stay.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A running server; its threads end with the test process.
pub struct RawImap {
    port: u16,
}

impl RawImap {
    /// Serves these messages, with the UIDs 1, 2, … Every login is good.
    pub fn serve(messages: Vec<Vec<u8>>) -> RawImap {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let messages = Arc::new(messages);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let messages = messages.clone();
                std::thread::spawn(move || talk(stream, &messages));
            }
        });
        RawImap { port }
    }

    /// The port, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// One connection, to its end; an error is the client's leaving.
fn talk(mut stream: TcpStream, messages: &[Vec<u8>]) -> Option<()> {
    const CAPABILITY: &str = "CAPABILITY IMAP4rev1 SASL-IR LITERAL+ UIDPLUS";
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    stream.write_all(format!("* OK [{CAPABILITY}] ready\r\n").as_bytes()).ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [tag, command @ ..] = words.as_slice() else { return None };
        let command: Vec<String> = command.iter().map(|word| word.to_ascii_uppercase()).collect();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut answer = Vec::new();
        match command.as_slice() {
            ["CAPABILITY"] => answer.extend(format!("* {CAPABILITY}\r\n").into_bytes()),
            ["SELECT", _] => {
                let next = messages.len() + 1;
                answer.extend(format!("* {} EXISTS\r\n* OK [UIDVALIDITY 7] is\r\n* OK [UIDNEXT {next}] is\r\n", messages.len()).into_bytes());
            }
            ["UID", "SEARCH", "UID", set, ..] => {
                let found: String = numbers(set, messages.len()).iter().map(|uid| format!(" {uid}")).collect();
                answer.extend(format!("* SEARCH{found}\r\n").into_bytes());
            }
            ["UID", "FETCH", set, ..] => {
                for uid in numbers(set, messages.len()) {
                    let message = &messages[uid - 1];
                    answer.extend(format!("* {uid} FETCH (UID {uid} BODY[] {{{}}}\r\n", message.len()).into_bytes());
                    answer.extend_from_slice(message);
                    answer.extend(b")\r\n");
                }
            }
            _ => {}
        }
        answer.extend(format!("{tag} OK done\r\n").into_bytes());
        stream.write_all(&answer).ok()?;
    }
}

/// The numbers of a sequence-set that exist; `*` is the last one.
fn numbers(set: &str, last: usize) -> Vec<usize> {
    let number = |text: &str| if text == "*" { last } else { text.parse().unwrap_or(0) };
    let mut all: Vec<usize> = set
        .split(',')
        .flat_map(|part| {
            let (from, to) = part.split_once(':').map_or((number(part), number(part)), |(from, to)| (number(from), number(to)));
            from.min(to)..=from.max(to)
        })
        .filter(|uid| (1..=last).contains(uid))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
