//! Commands as they go over the wire. Nothing in an argument can end its line.

use crate::mail::Secret;
use crate::proto::sasl;

/// A command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// What can you do?
    Capa,
    /// Secure the channel.
    Stls,
    /// The login name.
    User(&'a str),
    /// The password.
    Pass(&'a str),
    /// AUTH PLAIN, the response to follow when the server asks.
    AuthPlain,
    /// AUTH PLAIN with the response in the same line (RFC 5034 §4).
    AuthPlainInitial(&'a str, &'a str),
    /// The response of AUTH PLAIN: login name and password (RFC 4616 §2).
    PlainResponse(&'a str, &'a str),
    /// How many messages?
    Stat,
    /// All ids.
    Uidl,
    /// All sizes.
    List,
    /// A whole message.
    Retr(u32),
    /// A message's header, without its text (RFC 1939 §7).
    Top(u32),
    /// Mark a message as deleted.
    Dele(u32),
    /// Delete what is marked, and end.
    Quit,
}

/// A login name or password has an octet that would end the line (or, in PLAIN, the field): CR, LF or NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {0} has a line break or a NUL in it, which POP3 cannot send")]
pub struct Unsendable(pub &'static str);

/// Longest AUTH line with an initial response, line end included (RFC 5034 §4, RFC 2449 §4).
const COMMAND_OCTETS_MAX: usize = 255;

impl Command<'_> {
    /// Appends the command with its line end; nothing if an argument cannot be sent.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        match *self {
            Command::Capa => out.extend_from_slice(b"CAPA"),
            Command::Stls => out.extend_from_slice(b"STLS"),
            Command::User(user) => words(out, &["USER ", sendable("login name", user)?]),
            Command::Pass(password) => words(out, &["PASS ", sendable("password", password)?]),
            Command::AuthPlain => out.extend_from_slice(b"AUTH PLAIN"),
            Command::AuthPlainInitial(user, password) => words(out, &["AUTH PLAIN ", &plain(user, password)?]),
            Command::PlainResponse(user, password) => words(out, &[&plain(user, password)?]),
            Command::Stat => out.extend_from_slice(b"STAT"),
            Command::Uidl => out.extend_from_slice(b"UIDL"),
            Command::List => out.extend_from_slice(b"LIST"),
            Command::Retr(number) => words(out, &["RETR ", &number.to_string()]),
            Command::Top(number) => words(out, &["TOP ", &number.to_string(), " 0"]),
            Command::Dele(number) => words(out, &["DELE ", &number.to_string()]),
            Command::Quit => out.extend_from_slice(b"QUIT"),
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// True if the response of AUTH PLAIN is short enough for the command's own line.
    pub fn plain_fits_initial(user: &str, password: &str) -> bool {
        let response = (user.len() + password.len() + 2).div_ceil(3) * 4;
        "AUTH PLAIN \r\n".len() + response <= COMMAND_OCTETS_MAX
    }
}

fn words(out: &mut Vec<u8>, words: &[&str]) {
    words.iter().for_each(|word| out.extend_from_slice(word.as_bytes()));
}

fn sendable<'a>(what: &'static str, text: &'a str) -> Result<&'a str, Unsendable> {
    if text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) { Err(Unsendable(what)) } else { Ok(text) }
}

/// The response of AUTH PLAIN; a line break in name or password is refused too, for the sake of servers that decode first and split then.
fn plain(user: &str, password: &str) -> Result<String, Unsendable> {
    let (user, password) = (sendable("login name", user)?, sendable("password", password)?);
    let response = sasl::plain(user, &Secret::new(password.to_owned())).ok_or(Unsendable("password"))?;
    Ok(response.expose().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: Command) -> Result<String, Unsendable> {
        let mut out = Vec::new();
        command.write(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn writes_commands() {
        let table = [
            (Command::Capa, "CAPA\r\n"),
            (Command::User("mrose"), "USER mrose\r\n"),
            (Command::Pass(" tan staaf "), "PASS  tan staaf \r\n"),
            // RFC 5034 §6.
            (Command::AuthPlainInitial("test", "test"), "AUTH PLAIN AHRlc3QAdGVzdA==\r\n"),
            (Command::PlainResponse("test", "test"), "AHRlc3QAdGVzdA==\r\n"),
            (Command::Retr(u32::MAX), "RETR 4294967295\r\n"),
            (Command::Top(7), "TOP 7 0\r\n"),
            (Command::Dele(7), "DELE 7\r\n"),
        ];
        for (command, expect) in table {
            assert_eq!(line(command).as_deref(), Ok(expect));
        }
    }

    #[test]
    fn nothing_ends_a_line_early() {
        for bad in ["a\r\nDELE 1", "a\n", "\r", "a\0b"] {
            assert_eq!(line(Command::User(bad)), Err(Unsendable("login name")));
            assert_eq!(line(Command::Pass(bad)), Err(Unsendable("password")));
            assert_eq!(line(Command::PlainResponse("u", bad)), Err(Unsendable("password")));
            assert_eq!(line(Command::AuthPlainInitial(bad, "p")), Err(Unsendable("login name")));
        }
    }

    #[test]
    fn an_initial_response_fits_in_255_octets() {
        for length in 0..400 {
            let (user, password) = ("u", "p".repeat(length));
            assert_eq!(Command::plain_fits_initial(user, &password), line(Command::AuthPlainInitial(user, &password)).unwrap().len() <= 255);
        }
    }
}
