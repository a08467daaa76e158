//! An IMAP server inside the test that offers IDLE and never tells of anything, or of too much.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server says while it idles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing.
    Silent,
    /// Of new mail that there is not, at once and each time.
    CriesWolf,
    /// It refuses logins.
    Refuses,
    /// Nothing, and it does not answer DONE either.
    Deaf,
    /// Nothing, nor does it read what it is told: the connection has died.
    Dead,
    /// Of ever more mail, without an end.
    Storm,
}

/// A running server; its threads end with the test process.
pub struct Peer {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Manner,
    messages: Mutex<Vec<Vec<u8>>>,
    logins: AtomicUsize,
    idles: AtomicUsize,
    /// Connections that are in IDLE now.
    idling: AtomicUsize,
    logouts: AtomicUsize,
}

impl Peer {
    /// Starts it, with an empty mailbox that everybody shares.
    pub fn start(manner: Manner) -> Peer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let count = AtomicUsize::default;
        let shared = Arc::new(Shared { manner, messages: Mutex::default(), logins: count(), idles: count(), idling: count(), logouts: count() });
        let state = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || talk(stream, &state));
            }
        });
        Peer { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts a message into the mailbox.
    pub fn put(&self, message: &[u8]) {
        self.shared.messages.lock().unwrap().push(message.to_vec());
    }

    /// Logins that were tried.
    pub fn logins(&self) -> usize {
        self.shared.logins.load(SeqCst)
    }

    /// How often IDLE was said.
    pub fn idles(&self) -> usize {
        self.shared.idles.load(SeqCst)
    }

    /// Connections that are in IDLE now.
    pub fn idling(&self) -> usize {
        self.shared.idling.load(SeqCst)
    }

    /// How often a client went away in order.
    pub fn logouts(&self) -> usize {
        self.shared.logouts.load(SeqCst)
    }
}

/// One connection, to its end; an error is the client's leaving.
fn talk(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    const CAPABILITY: &str = "CAPABILITY IMAP4rev1 SASL-IR LITERAL+ UIDPLUS IDLE";
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    stream.write_all(format!("* OK [{CAPABILITY}] ready\r\n").as_bytes()).ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let messages = shared.messages.lock().unwrap().clone();
        let last = messages.len();
        let words: Vec<String> = line.split_whitespace().map(str::to_ascii_uppercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let tag = line.split_whitespace().next()?;
        let mut answer = Vec::new();
        match &words[1..] {
            ["AUTHENTICATE" | "LOGIN", ..] => {
                shared.logins.fetch_add(1, SeqCst);
                if shared.manner == Manner::Refuses {
                    stream.write_all(format!("{tag} NO [AUTHENTICATIONFAILED] no\r\n").as_bytes()).ok()?;
                    continue;
                }
            }
            ["CAPABILITY"] => answer.extend(format!("* {CAPABILITY}\r\n").into_bytes()),
            ["SELECT", _] => {
                answer.extend(format!("* {last} EXISTS\r\n* OK [UIDVALIDITY 7] is\r\n* OK [UIDNEXT {}] is\r\n", last + 1).into_bytes());
            }
            ["UID", "SEARCH", "UID", set, ..] => {
                let found: String = numbers(set, last).map(|uid| format!(" {uid}")).collect();
                answer.extend(format!("* SEARCH{found}\r\n").into_bytes());
            }
            ["UID", "FETCH", set, ..] => {
                for uid in numbers(set, last) {
                    let message = &messages[uid - 1];
                    answer.extend(format!("* {uid} FETCH (UID {uid} BODY[] {{{}}}\r\n", message.len()).into_bytes());
                    answer.extend_from_slice(message);
                    answer.extend(b")\r\n");
                }
            }
            ["IDLE"] => {
                shared.idles.fetch_add(1, SeqCst);
                stream.write_all(b"+ idling\r\n").ok()?;
                if shared.manner == Manner::CriesWolf {
                    std::thread::sleep(Duration::from_millis(5));
                    stream.write_all(format!("* {} EXISTS\r\n", last + 1).as_bytes()).ok()?;
                }
                if shared.manner == Manner::Storm {
                    // Until the client has had enough.
                    for exists in last + 1.. {
                        stream.write_all(format!("* {exists} EXISTS{}\r\n", " ".repeat(60_000)).as_bytes()).ok()?;
                    }
                }
                shared.idling.fetch_add(1, SeqCst);
                let mut done = reader.read_line(&mut String::new());
                while shared.manner == Manner::Deaf && done.as_ref().is_ok_and(|octets| *octets > 0) {
                    done = reader.read_line(&mut String::new());
                }
                if shared.manner == Manner::Dead {
                    std::thread::sleep(Duration::from_secs(600));
                }
                shared.idling.fetch_sub(1, SeqCst);
                if done.ok()? == 0 {
                    return None;
                }
            }
            ["LOGOUT"] => {
                shared.logouts.fetch_add(1, SeqCst);
                answer.extend(b"* BYE bye\r\n");
            }
            _ => {}
        }
        answer.extend(format!("{tag} OK done\r\n").into_bytes());
        stream.write_all(&answer).ok()?;
    }
}

/// The numbers of a sequence-set that exist, in order; `*` is the last one.
fn numbers(set: &str, last: usize) -> impl Iterator<Item = usize> + '_ {
    let number = move |text: &str| if text == "*" { last } else { text.parse().unwrap_or(0) };
    let is_in = move |uid: usize| {
        set.split(',').any(|part| {
            let (from, to) = part.split_once(':').map_or((number(part), number(part)), |(from, to)| (number(from), number(to)));
            (from.min(to)..=from.max(to)).contains(&uid)
        })
    };
    (1..=last).filter(move |uid| is_in(*uid))
}
