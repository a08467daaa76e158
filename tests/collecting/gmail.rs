//! Gmail's folders are labels: one letter stands in the folder of each of its labels, and in \All. X-GM-MSGID tells that it is one.

use super::kit::BOX;
use crate::support::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const FOLDERS: [(&str, &str); 3] = [("INBOX", "\\Inbox"), ("Work", ""), ("[Gmail]/All Mail", "\\All")];

/// A letter: Gmail's name for it, its octets, the folders that show it.
#[derive(Clone)]
struct Letter {
    id: u64,
    octets: Vec<u8>,
    folders: Vec<&'static str>,
}

/// A server of one mailbox, whose folders show letters.
#[derive(Clone)]
struct Gmail {
    letters: Arc<Mutex<Vec<Letter>>>,
    /// Folder and UID.
    deleted: Arc<Mutex<BTreeSet<(String, usize)>>>,
    names_letters: bool,
}

impl Gmail {
    fn start(letters: Vec<Letter>, names_letters: bool) -> (Gmail, u16) {
        let gmail = Gmail { letters: Arc::new(Mutex::new(letters)), deleted: Arc::default(), names_letters };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let of_server = gmail.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let gmail = of_server.clone();
                std::thread::spawn(move || gmail.talk(stream));
            }
        });
        (gmail, port)
    }

    fn deleted(&self) -> Vec<(String, usize)> {
        self.deleted.lock().unwrap().iter().cloned().collect()
    }

    /// UID and letter of what a folder shows: UIDs are the places among all letters, so that they have holes and differ from what sequence numbers are.
    fn shown(&self, folder: &str) -> Vec<(usize, Letter)> {
        let deleted = self.deleted.lock().unwrap();
        let letters = self.letters.lock().unwrap();
        let there =
            letters.iter().enumerate().filter(|(n, letter)| letter.folders.contains(&folder) && !deleted.contains(&(folder.to_owned(), n + 1)));
        there.map(|(n, letter)| (n + 1, letter.clone())).collect()
    }

    fn talk(&self, mut stream: TcpStream) -> Option<()> {
        let extension = if self.names_letters { " X-GM-EXT-1" } else { "" };
        let capability = format!("CAPABILITY IMAP4rev1 SASL-IR LITERAL+ UIDPLUS SPECIAL-USE{extension}");
        stream.write_all(format!("* OK [{capability}] Gimap ready\r\n").as_bytes()).ok()?;
        let reader = BufReader::new(stream.try_clone().ok()?);
        let mut folder = String::new();
        for line in reader.lines() {
            let line = line.ok()?;
            let (tag, command) = line.split_once(' ')?;
            let words: Vec<&str> = command.split(' ').collect();
            let mut answer = Vec::new();
            let is_in = |uid: usize, set: &str| {
                set.split(',').any(|part| {
                    let (from, to) = part.split_once(':').unwrap_or((part, part));
                    let number = |text: &str| if text == "*" { usize::MAX } else { text.parse().unwrap_or(0) };
                    (number(from)..=number(to)).contains(&uid)
                })
            };
            match words.as_slice() {
                ["CAPABILITY"] => answer.extend(format!("* {capability}\r\n").into_bytes()),
                ["LIST", ..] => {
                    FOLDERS.iter().for_each(|(name, special)| answer.extend(format!("* LIST ({special}) \"/\" \"{name}\"\r\n").into_bytes()));
                }
                ["SELECT", ..] => {
                    folder = command["SELECT ".len()..].trim_matches('"').to_owned();
                    let next = self.letters.lock().unwrap().len() + 1;
                    let exists = self.shown(&folder).len();
                    answer.extend(format!("* {exists} EXISTS\r\n* OK [UIDVALIDITY 7] is\r\n* OK [UIDNEXT {next}] is\r\n").into_bytes());
                }
                ["UID", "SEARCH", ..] => {
                    let set = words.iter().position(|word| *word == "UID").and_then(|_| words.iter().rposition(|word| *word == "UID"));
                    let set = set.filter(|at| *at > 0).map_or("1:*", |at| words[at + 1]);
                    let found: String = self.shown(&folder).iter().filter(|(uid, _)| is_in(*uid, set)).map(|(uid, _)| format!(" {uid}")).collect();
                    answer.extend(format!("* SEARCH{found}\r\n").into_bytes());
                }
                ["UID", "FETCH", set, ..] => {
                    assert!(!command.contains("X-GM-MSGID") || self.names_letters, "{command}");
                    for (n, (uid, letter)) in self.shown(&folder).into_iter().enumerate().filter(|(_, (uid, _))| is_in(*uid, set)) {
                        let (id, size) = (letter.id, letter.octets.len());
                        let name = if command.contains("X-GM-MSGID") { format!("X-GM-MSGID {id} ") } else { String::new() };
                        answer.extend(format!("* {} FETCH ({name}UID {uid} RFC822.SIZE {size} BODY[] {{{size}}}\r\n", n + 1).into_bytes());
                        answer.extend(&letter.octets);
                        answer.extend(b")\r\n");
                    }
                }
                ["UID", "EXPUNGE", set] => {
                    for (uid, _) in self.shown(&folder).into_iter().filter(|(uid, _)| is_in(*uid, set)) {
                        answer.extend(b"* 1 EXPUNGE\r\n");
                        self.deleted.lock().unwrap().insert((folder.clone(), uid));
                    }
                }
                _ => {}
            }
            answer.extend(format!("{tag} OK done\r\n").into_bytes());
            stream.write_all(&answer).ok()?;
        }
        Some(())
    }
}

fn letter(n: usize, id: u64, folders: &[&'static str]) -> Letter {
    Letter { id, octets: corpus::letter(n, "anna@pop.example"), folders: folders.to_vec() }
}

const ALL: &str = "[Gmail]/All Mail";

fn five() -> Vec<Letter> {
    vec![
        letter(0, 1_278_455_344_230_334_865, &["INBOX", ALL]),
        letter(1, u64::MAX, &["INBOX", "Work", ALL]),
        // As the first one, to the octet, and another letter all the same.
        letter(0, 3, &["INBOX", ALL]),
        letter(2, 4, &["Work", ALL]),
        letter(3, 5, &[ALL]),
    ]
}

fn program(port: u16, sink: &Sink, lines: &[(&str, &str)]) -> Mailgather {
    let yaml = CollectorYaml::at("imap", "u", port).forward_to(BOX).set("folders", "[INBOX, Work, '\\All']");
    let yaml = lines.iter().fold(yaml, |yaml, (key, value)| yaml.set(key, value));
    Mailgather::new(&config(&sink.delivery(), &[yaml]))
}

fn subjects(sink: &Sink) -> Vec<String> {
    let mut all: Vec<String> = sink.taken().iter().map(|mail| corpus_subject(&mail.content)).collect();
    all.sort();
    all
}

fn corpus_subject(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
}

#[test]
fn a_letter_with_several_labels_is_delivered_once_and_each_copy_disposed_of() {
    let (gmail, port) = Gmail::start(five(), true);
    let sink = Sink::smtp();
    let program = program(port, &sink, &[("after", "delete")]);
    program.once(&[]).expect_success();
    assert_eq!(subjects(&sink), ["letter 0", "letter 0", "letter 1", "letter 2", "letter 3"]);
    assert_eq!(gmail.deleted().len(), 2 + 3 + 2 + 2 + 1, "{:?}", gmail.deleted());
    // A label that is given later brings nobody the letter again; what is new comes.
    gmail.letters.lock().unwrap()[3].folders.push("INBOX");
    gmail.letters.lock().unwrap().push(letter(1, 77, &["INBOX", ALL]));
    gmail.letters.lock().unwrap().push(letter(2, 4, &["INBOX"]));
    program.once(&[]).expect_success();
    assert_eq!(sink.taken().len(), 6, "{:?}", subjects(&sink));
    assert!(sink.violations().is_empty(), "{:?}", sink.violations());
}

#[test]
fn no_copy_goes_before_the_letter_is_delivered() {
    let (gmail, port) = Gmail::start(vec![letter(0, 9, &["INBOX", "Work", ALL])], true);
    let sink = Sink::builder().on("RCPT", 1, "451 later").on("RCPT", 2, "451 later").on("RCPT", 3, "451 later").close_at("DOT", 1).start();
    let program = program(port, &sink, &[("after", "delete"), ("max_messages_per_session", "1")]);
    for _ in 0..6 {
        program.once(&[]);
        assert!(gmail.deleted().is_empty() || sink.taken().len() == 1, "{:?}", gmail.deleted());
    }
    eventually("all copies are gone", SOON, || {
        program.once(&[]);
        gmail.deleted().len() == 3
    });
    // Behind a lost answer to the dot it may come twice, as anywhere; never once for each label.
    assert!((1..=2).contains(&sink.taken().len()), "{:?}", subjects(&sink));
}

#[test]
fn folders_with_recipients_of_their_own_and_servers_without_names() {
    // Each recipient gets it.
    let (_, port) = Gmail::start(vec![letter(0, 9, &["INBOX", "Work", ALL])], true);
    let sink = Sink::smtp();
    program(port, &sink, &[("folders", "[INBOX, {name: Work, forward_to: work@example.org}, '\\All']")]).once(&[]).expect_success();
    let mut to: Vec<String> = sink.taken().iter().flat_map(|mail| mail.recipients.clone()).collect();
    to.sort();
    assert_eq!(to, [BOX, "work@example.org"]);
    // Without the extension folders are folders: what stands in three comes three times, unless `dedupe_window` is set.
    for (window, wanted) in [("0", 3), ("7d", 1)] {
        let (_, port) = Gmail::start(vec![letter(0, 9, &["INBOX", "Work", ALL])], false);
        let sink = Sink::smtp();
        program(port, &sink, &[("dedupe_window", window)]).once(&[]).expect_success();
        assert_eq!(sink.taken().len(), wanted, "{window}");
    }
}
