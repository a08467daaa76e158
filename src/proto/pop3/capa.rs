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
        assert_eq!(
            capabilities,
            Capabilities { user: false, pipelining: true, sasl: Some(["PLAIN", "CRAM-MD5"].into_iter().collect()), stls: false, uidl: true }
        );
        capabilities.line(b"USER");
        capabilities.line(b"STLS");
        assert!(capabilities.user && capabilities.stls);
    }
}
