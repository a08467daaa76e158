//! What a server says it can do (RFC 2449 §5). Ancient servers have no CAPA: then nothing is known, and only the base of RFC 1939 is used.

use crate::proto::sasl::Mechanisms;

/// Most lines of a CAPA answer.
pub const LINES_MAX: usize = 256;

/// The capabilities that make a difference to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// USER and PASS (RFC 2449 §6.3).
    pub user: bool,
    /// Several commands in one write (RFC 2449 §6.6).
    pub pipelining: bool,
    /// The SASL mechanisms, and so AUTH with an initial response (RFC 5034 §3); `None` if the server names none.
    pub sasl: Option<Mechanisms>,
    /// STLS (RFC 2595 §4).
    pub stls: bool,
    /// UIDL (RFC 2449 §6.8).
    pub uidl: bool,
    /// UTF8 (RFC 6856 §2): without the command Courier packs messages with 8-bit headers into a notice of its own.
    pub utf8: bool,
    /// The server hands the connection over to another program at the login, and what it has read ahead is lost: Courier, though it says
    /// PIPELINING.
    pub login_ends_pipeline: bool,
    /// TOP (RFC 2449 §6.2).
    pub top: bool,
    /// LOGIN-DELAY in seconds (RFC 2449 §6.5): the least time between two logins, or the most that any user of this server has to wait.
    pub login_delay: Option<u32>,
}

impl Capabilities {
    /// Takes a line of the answer to CAPA. Unknown ones are nothing to us.
    pub fn line(&mut self, line: &[u8]) {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let Some(tag) = words.next() else { return };
        match tag.to_ascii_uppercase().as_slice() {
            b"USER" => self.user = true,
            b"PIPELINING" => self.pipelining = true,
            b"SASL" => {
                let sasl = self.sasl.get_or_insert_default();
                words.filter_map(|word| std::str::from_utf8(word).ok()).for_each(|name| sasl.add(name));
            }
            b"STLS" => self.stls = true,
            b"UIDL" => self.uidl = true,
            b"UTF8" => self.utf8 = true,
            b"IMPLEMENTATION" => self.login_ends_pipeline = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"Courier")),
            b"TOP" => self.top = true,
            b"LOGIN-DELAY" => self.login_delay = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines() {
        let mut capabilities = Capabilities::default();
        for line in ["TOP", "uidl", "", "  ", "RESP-CODES", "SASL CRAM-MD5 plain", "PIPELINING", "IMPLEMENTATION STLS USER"] {
            capabilities.line(line.as_bytes());
        }
        let sasl = Some(["PLAIN", "CRAM-MD5"].into_iter().collect());
        assert_eq!(capabilities, Capabilities { pipelining: true, sasl, uidl: true, top: true, ..Capabilities::default() });
        capabilities.line(b"IMPLEMENTATION Courier Mail Server");
        assert!(capabilities.login_ends_pipeline);
        capabilities.line(b"USER");
        capabilities.line(b"STLS");
        assert!(capabilities.user && capabilities.stls);
        for (line, delay) in [("LOGIN-DELAY 900", Some(900)), ("login-delay 60 USER", Some(60)), ("LOGIN-DELAY", None), ("LOGIN-DELAY -1", None)] {
            capabilities.line(line.as_bytes());
            assert_eq!(capabilities.login_delay, delay, "{line}");
        }
    }
}
