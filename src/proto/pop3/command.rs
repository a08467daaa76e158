//! Commands as they go over the wire. Nothing in an argument can end its line.

/// A command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// What can you do?
    Capa,
    /// Secure the channel.
    Stls,
    /// UTF8 (RFC 6856 §2.1): headers may come as they are.
    Utf8,
    /// The login name.
    User(&'a str),
    /// The password.
    Pass(&'a str),
    /// Login name, and the digest of greeting and password (RFC 1939 §7).
    Apop(&'a str, &'a str),
    /// AUTH by this SASL mechanism, with its first message in the same line, or all of it when the server asks (RFC 5034 §4).
    Auth(&'a str, Option<&'a str>),
    /// The answer to a SASL challenge.
    Response(&'a str),
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
            Command::Utf8 => out.extend_from_slice(b"UTF8"),
            Command::User(user) => words(out, &["USER ", sendable("login name", user)?]),
            Command::Pass(password) => words(out, &["PASS ", sendable("password", password)?]),
            // Blanks separate the arguments of APOP, and nothing can quote them.
            Command::Apop(user, _) if user.contains([' ', '\t']) => return Err(Unsendable("login name")),
            Command::Apop(user, digest) => words(out, &["APOP ", sendable("login name", user)?, " ", digest]),
            Command::Auth(mechanism, None) => words(out, &["AUTH ", mechanism]),
            Command::Auth(mechanism, Some(initial)) => words(out, &["AUTH ", mechanism, " ", sendable("password", initial)?]),
            Command::Response(response) => words(out, &[sendable("password", response)?]),
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

    /// True if the first message of a mechanism is short enough for the command's own line.
    pub fn fits_initial(mechanism: &str, initial: &str) -> bool {
        "AUTH  \r\n".len() + mechanism.len() + initial.len() <= COMMAND_OCTETS_MAX
    }
}

fn words(out: &mut Vec<u8>, words: &[&str]) {
    words.iter().for_each(|word| out.extend_from_slice(word.as_bytes()));
}

fn sendable<'a>(what: &'static str, text: &'a str) -> Result<&'a str, Unsendable> {
    if text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) { Err(Unsendable(what)) } else { Ok(text) }
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
            (Command::Auth("PLAIN", Some("AHRlc3QAdGVzdA==")), "AUTH PLAIN AHRlc3QAdGVzdA==\r\n"),
            (Command::Auth("CRAM-MD5", None), "AUTH CRAM-MD5\r\n"),
            (Command::Response("AHRlc3QAdGVzdA=="), "AHRlc3QAdGVzdA==\r\n"),
            (Command::Apop("mrose", "c4c9"), "APOP mrose c4c9\r\n"),
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
            assert_eq!(line(Command::Response(bad)), Err(Unsendable("password")));
            assert_eq!(line(Command::Auth("PLAIN", Some(bad))), Err(Unsendable("password")));
            assert_eq!(line(Command::Apop(bad, "c4c9")), Err(Unsendable("login name")));
        }
    }

    #[test]
    fn an_initial_response_fits_in_255_octets() {
        for length in 0..400 {
            let initial = "p".repeat(length);
            assert_eq!(Command::fits_initial("PLAIN", &initial), line(Command::Auth("PLAIN", Some(&initial))).unwrap().len() <= 255);
        }
    }
}
