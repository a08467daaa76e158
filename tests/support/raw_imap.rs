//! An IMAP server that serves a message's octets exactly as they are, as hostile and careless servers do: bare LF, bare CR, NUL. (Dovecot makes
//! every LF a CRLF.) It knows the few commands that collecting takes.

use super::script::{Script, Spoken};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A running server; its threads end with the test process.
pub struct RawImap {
    port: u16,
    gone: Arc<Mutex<BTreeSet<usize>>>,
}

/// What a server does when it comes to a message that it cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It closes the connection.
    Close,
    /// It closes the connection in the middle of the message.
    CloseInside,
    /// It says nothing more, and the connection stays open.
    Silence,
    /// It refuses the whole command, behind what came before.
    Refuse,
    /// It leaves the message out and says that all is well.
    LeaveOut,
    /// It says something that is no answer.
    Rubbish,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 6] = [Trouble::Close, Trouble::CloseInside, Trouble::Silence, Trouble::Refuse, Trouble::LeaveOut, Trouble::Rubbish];
}

/// What is special about a server.
#[derive(Clone, Copy)]
struct Manners {
    /// At the message of this UID.
    trouble: (usize, Trouble),
    is_old_and_silent: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Manners { trouble: (0, Trouble::Close), is_old_and_silent: false }
    }
}

impl RawImap {
    /// Serves these messages, with the UIDs 1, 2, … Every login is good.
    pub fn serve(messages: Vec<Vec<u8>>) -> RawImap {
        RawImap::with_trouble(messages, 0, Trouble::Close)
    }

    /// The same, with trouble at the message of this UID; it deletes what it is told to.
    pub fn with_trouble(messages: Vec<Vec<u8>>, uid: usize, trouble: Trouble) -> RawImap {
        RawImap::of(messages, Manners { trouble: (uid, trouble), ..Manners::default() }, Arc::default())
    }

    /// The same without trouble; it does not say UIDNEXT, and all of it is old for a search by date.
    pub fn without_uid_next(messages: Vec<Vec<u8>>) -> RawImap {
        RawImap::of(messages, Manners { is_old_and_silent: true, ..Manners::default() }, Arc::default())
    }

    /// The same, but for the answers that the script has.
    pub fn scripted(messages: Vec<Vec<u8>>, script: Arc<Script>) -> RawImap {
        RawImap::of(messages, Manners::default(), script)
    }

    fn of(messages: Vec<Vec<u8>>, manners: Manners, script: Arc<Script>) -> RawImap {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let messages = Arc::new(messages);
        let gone: Arc<Mutex<BTreeSet<usize>>> = Arc::default();
        let of_server = gone.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (messages, gone, script) = (messages.clone(), of_server.clone(), script.clone());
                std::thread::spawn(move || talk(stream, &messages, &gone, manners, &script));
            }
        });
        RawImap { port, gone }
    }

    /// The UIDs that were deleted.
    pub fn deleted(&self) -> Vec<usize> {
        self.gone.lock().expect("no thread panics with the lock").iter().copied().collect()
    }

    /// The port, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// One connection, to its end; an error is the client's leaving.
fn talk(mut stream: TcpStream, messages: &[Vec<u8>], gone: &Mutex<BTreeSet<usize>>, manners: Manners, script: &Script) -> Option<()> {
    let Manners { trouble: (troubled, trouble), is_old_and_silent } = manners;
    const CAPABILITY: &str = "CAPABILITY IMAP4rev1 SASL-IR LITERAL+ UIDPLUS AUTH=XOAUTH2";
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    if script.answer("", "", &mut stream, &mut reader)? == Spoken::AsUsual {
        stream.write_all(format!("* OK [{CAPABILITY}] ready\r\n").as_bytes()).ok()?;
    }
    let mut last_tag = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        // DONE, and what answers a challenge, has no tag.
        let command = match line.trim_end().split_once(' ') {
            Some((tag, command)) => {
                last_tag = tag.to_owned();
                command
            }
            None => line.trim_end(),
        };
        if script.answer(&last_tag, command, &mut stream, &mut reader)? == Spoken::Answered {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [tag, command @ ..] = words.as_slice() else { return None };
        let command: Vec<String> = command.iter().map(|word| word.to_ascii_uppercase()).collect();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut answer = Vec::new();
        let mut end = "OK done";
        let here = |uid: &usize| !gone.lock().expect("no thread panics with the lock").contains(uid);
        let there = |set: &str| numbers(set, messages.len()).into_iter().filter(here).collect::<Vec<usize>>();
        match command.as_slice() {
            ["CAPABILITY"] => answer.extend(format!("* {CAPABILITY}\r\n").into_bytes()),
            ["LIST", ..] => answer.extend(b"* LIST () \"/\" INBOX\r\n"),
            ["SELECT", _] => {
                let next = messages.len() + 1;
                let exists = there("1:*").len();
                let next = if is_old_and_silent { String::new() } else { format!("* OK [UIDNEXT {next}] is\r\n") };
                answer.extend(format!("* {exists} EXISTS\r\n* OK [UIDVALIDITY 7] is\r\n{next}").into_bytes());
            }
            ["UID", "SEARCH", ..] if is_old_and_silent && command.contains(&"SINCE") => answer.extend(b"* SEARCH\r\n"),
            ["UID", "SEARCH", "UID", set, ..] => {
                let found: String = there(set).iter().map(|uid| format!(" {uid}")).collect();
                answer.extend(format!("* SEARCH{found}\r\n").into_bytes());
            }
            ["UID", "SEARCH", ..] => {
                let found: String = there("1:*").iter().map(|uid| format!(" {uid}")).collect();
                answer.extend(format!("* SEARCH{found}\r\n").into_bytes());
            }
            ["UID", "EXPUNGE", set] => {
                let all = there("1:*");
                for (n, uid) in there(set).into_iter().enumerate() {
                    let number = all.iter().position(|one| *one == uid)? + 1 - n;
                    answer.extend(format!("* {number} EXPUNGE\r\n").into_bytes());
                    gone.lock().expect("no thread panics with the lock").insert(uid);
                }
            }
            ["UID", "FETCH", set, ..] => {
                let all = there("1:*");
                for uid in there(set) {
                    let message = &messages[uid - 1];
                    if uid == troubled {
                        stream.write_all(&std::mem::take(&mut answer)).ok()?;
                        match trouble {
                            Trouble::Close => return None,
                            Trouble::CloseInside => {
                                stream.write_all(format!("* {uid} FETCH (UID {uid} BODY[] {{{}}}\r\nFrom: a", message.len()).as_bytes()).ok()?;
                                return None;
                            }
                            Trouble::Silence => {
                                // To the client's end of the connection.
                                let _ = reader.read_line(&mut String::new());
                                return None;
                            }
                            Trouble::Refuse => {
                                end = "NO [SERVERBUG] internal error";
                                break;
                            }
                            Trouble::LeaveOut => continue,
                            Trouble::Rubbish => {
                                stream.write_all(b"* 1 FETCH ((((((\r\n").ok()?;
                                continue;
                            }
                        }
                    }
                    let number = all.iter().position(|one| *one == uid)? + 1;
                    answer.extend(format!("* {number} FETCH (UID {uid} BODY[] {{{}}}\r\n", message.len()).into_bytes());
                    answer.extend_from_slice(message);
                    answer.extend(b")\r\n");
                }
            }
            _ => {}
        }
        answer.extend(format!("{tag} {end}\r\n").into_bytes());
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
