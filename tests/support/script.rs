//! What a scripted server says in place of its own answers, until it is told to behave.

use std::io::{BufRead, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// One thing that a server says or does.
#[derive(Clone, Debug)]
pub enum Say {
    /// These octets; `@` stands for the tag of the command, which is that of the last one where it has none.
    Text(String),
    /// These octets as they are.
    Octets(Vec<u8>),
    /// These octets again and again, so many times at most, until the client goes away.
    Flood(Vec<u8>, usize),
    /// What the server itself would have said.
    AsUsual,
    /// Nothing more, until the client goes away.
    Silence,
    /// One octet of this after the other, as they are, with a wait before each; what is left comes at once when the server is to behave.
    Drip(String, Duration),
    /// The end of the connection.
    Close,
    /// Its end without a word: RST.
    Reset,
}

/// What a flood sends at most: more than any client may keep.
pub const FLOOD_OCTETS: usize = 512 << 20;
const PIECE_OCTETS: usize = 256 << 10;

impl Say {
    /// Some text.
    pub fn text(text: impl Into<String>) -> Vec<Say> {
        vec![Say::Text(text.into())]
    }

    /// A flood of this, of [`FLOOD_OCTETS`].
    pub fn flood(piece: &str) -> Say {
        // In pieces of some size, so that a flood is one.
        let piece = piece.repeat(PIECE_OCTETS.div_ceil(piece.len()));
        let times = FLOOD_OCTETS / piece.len();
        Say::Flood(piece.into_bytes(), times)
    }
}

/// Answers by the start of a command; that to "" is the greeting.
#[derive(Debug, Default)]
pub struct Script {
    answers: Vec<(String, Vec<Say>)>,
    behaves: AtomicBool,
    heard: Mutex<Vec<String>>,
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// The script has answered it.
    Answered,
    /// The server's own answer is due.
    AsUsual,
}

impl Script {
    /// Says this to commands that start so.
    pub fn answering(answers: Vec<(&str, Vec<Say>)>) -> Script {
        Script { answers: answers.into_iter().map(|(start, says)| (start.to_owned(), says)).collect(), ..Script::default() }
    }

    /// One more answer.
    pub fn also(&mut self, start: &str, says: Vec<Say>) {
        self.answers.push((start.to_owned(), says));
    }

    /// From now on the server's own answers are given.
    pub fn behave(&self) {
        self.behaves.store(true, SeqCst);
    }

    /// All commands so far, without their tags.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no thread panics with the lock").clone()
    }

    /// Something was said that no answer is given to.
    pub fn note(&self, said: &str) {
        self.heard.lock().expect("no thread panics with the lock").push(said.to_owned());
    }

    /// Answers a command; `None` is the end of the connection.
    pub fn answer(&self, tag: &str, command: &str, stream: &mut TcpStream, reader: &mut impl BufRead) -> Option<Spoken> {
        if !command.is_empty() {
            self.note(command);
        }
        let is_meant = |start: &str| if start.is_empty() { command.is_empty() } else { command.starts_with(start) };
        let Some((_, says)) = self.answers.iter().find(|(start, _)| is_meant(start)).filter(|_| !self.behaves.load(SeqCst)) else {
            return Some(Spoken::AsUsual);
        };
        for say in says {
            match say {
                Say::Text(text) => stream.write_all(text.replace('@', tag).as_bytes()).ok()?,
                Say::Octets(octets) => stream.write_all(octets).ok()?,
                Say::Flood(piece, times) => (0..*times).try_for_each(|_| stream.write_all(piece)).ok()?,
                Say::AsUsual => return Some(Spoken::AsUsual),
                Say::Silence => {
                    while reader.read_line(&mut String::new()).ok()? > 0 {}
                    return None;
                }
                Say::Drip(text, wait) => {
                    for octet in text.bytes() {
                        if !self.behaves.load(SeqCst) {
                            std::thread::sleep(*wait);
                        }
                        stream.write_all(&[octet]).ok()?;
                    }
                }
                Say::Close => return None,
                Say::Reset => {
                    socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).ok()?;
                    return None;
                }
            }
        }
        Some(Spoken::Answered)
    }
}
