//! Another IMAP client of a mailbox: what a person with a mail program does to it while it is collected. Plain sockets, no parser to speak of.

use super::dovecot::PASSWORD;
use super::{SOON, eventually};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A session that is logged in.
pub struct OtherClient {
    reader: BufReader<TcpStream>,
    commands: usize,
}

/// What came before a tagged OK.
#[derive(Debug, Default)]
pub struct Answer {
    /// The untagged lines; a literal stands in its line as `{}`.
    pub lines: Vec<String>,
    /// The literals, in order.
    pub literals: Vec<Vec<u8>>,
}

impl OtherClient {
    /// Logs in over the open channel. A server with room for few still counts the probe of its start for a moment, and hangs up.
    pub fn login(port: u16, user: &str) -> OtherClient {
        let mut reader = None;
        eventually("a greeting", SOON, || {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            stream.set_read_timeout(Some(SOON)).expect("a time limit");
            // A literal and the line end behind it are written apart.
            stream.set_nodelay(true).expect("an option of TCP");
            let reader = reader.insert(BufReader::new(stream));
            reader.fill_buf().is_ok_and(|octets| !octets.is_empty())
        });
        let mut client = OtherClient { reader: reader.expect("a greeting came"), commands: 0 };
        client.line(&mut Answer::default());
        client.command(&format!("LOGIN \"{user}\" \"{PASSWORD}\""));
        client
    }

    /// Logs in and selects INBOX.
    pub fn inbox(port: u16, user: &str) -> OtherClient {
        let mut client = OtherClient::login(port, user);
        client.command("SELECT INBOX");
        client
    }

    /// A command that must succeed.
    #[track_caller]
    pub fn command(&mut self, command: &str) -> Answer {
        self.try_command(command, None).unwrap_or_else(|refusal| panic!("{command}: {refusal}"))
    }

    /// APPEND to INBOX; an error is what the server says against it.
    pub fn append(&mut self, message: &[u8]) -> Result<(), String> {
        self.try_command(&format!("APPEND INBOX {{{}}}", message.len()), Some(message)).map(|_| ())
    }

    /// The same, as if it had arrived then: `"01-Nov-2026 12:00:00 +0000"`.
    pub fn append_at(&mut self, message: &[u8], date: &str) {
        let done = self.try_command(&format!("APPEND INBOX \"{date}\" {{{}}}", message.len()), Some(message));
        done.unwrap_or_else(|refusal| panic!("APPEND: {refusal}"));
    }

    /// How many messages are in the selected folder, asked anew.
    pub fn search(&mut self, criteria: &str) -> Vec<u32> {
        let answer = self.command(&format!("UID SEARCH {criteria}"));
        let found = answer.lines.iter().filter_map(|line| line.strip_prefix("* SEARCH"));
        found.flat_map(|numbers| numbers.split_whitespace().map(|uid| uid.parse().expect("a UID")).collect::<Vec<u32>>()).collect()
    }

    /// Removes messages for good, by UID.
    pub fn expunge(&mut self, uids: &[u32]) {
        let set = uids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        self.command(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"));
        self.command("EXPUNGE");
    }

    fn try_command(&mut self, command: &str, literal: Option<&[u8]>) -> Result<Answer, String> {
        self.commands += 1;
        let tag = format!("t{}", self.commands);
        let mut answer = Answer::default();
        self.reader.get_mut().write_all(format!("{tag} {command}\r\n").as_bytes()).expect("the server takes a command");
        let mut literal = literal;
        loop {
            let line = self.line(&mut answer);
            if let Some(end) = line.strip_prefix(&format!("{tag} ")) {
                return if end.starts_with("OK") { Ok(answer) } else { Err(end.to_string()) };
            }
            match literal.take_if(|_| line.starts_with('+')) {
                Some(octets) => {
                    let stream = self.reader.get_mut();
                    stream.write_all(octets).and_then(|()| stream.write_all(b"\r\n")).expect("the server takes a literal");
                }
                None => answer.lines.push(line),
            }
        }
    }

    /// One line, its literals taken out.
    fn line(&mut self, answer: &mut Answer) -> String {
        let mut whole = String::new();
        loop {
            let mut line = Vec::new();
            let octets = self.reader.read_until(b'\n', &mut line).expect("the server answers");
            assert!(octets > 0, "the server hung up");
            let line = String::from_utf8_lossy(&line).trim_end().to_string();
            let Some((before, length)) = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')) else {
                whole.push_str(&line);
                return whole;
            };
            let Ok(length) = length.parse() else {
                whole.push_str(&line);
                return whole;
            };
            let mut octets = vec![0; length];
            self.reader.read_exact(&mut octets).expect("the octets of a literal");
            answer.literals.push(octets);
            whole.push_str(before);
            whole.push_str("{}");
        }
    }
}
