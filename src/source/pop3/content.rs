//! What a message is told by where its id cannot: a hash of what stands in the mailbox. Not [`crate::mail::Fingerprint`], which leaves out the
//! trace fields: here each copy is a message of its own, also one that differs from another in Delivered-To alone.

use crate::mail::header::HEADER_OCTETS_MAX;
use sha2::{Digest, Sha256};

/// Fields that servers write into a message while it lies in the mailbox (UW IMAP, qpopper, Cucipop), in lower case.
const VOLATILE: [&[u8]; 8] = [b"status", b"x-status", b"x-uidl", b"x-keywords", b"x-imap", b"x-imapbase", b"content-length", b"lines"];
/// Longer than any of them.
const NAME_OCTETS_MAX: usize = 16;

/// Takes a message in pieces.
pub(super) struct ContentDigest {
    hash: Sha256,
    at: At,
    /// The field that the present line belongs to is left out.
    skip: bool,
    name: Vec<u8>,
    header_octets: usize,
}

enum At {
    /// In the first octets of a line of the header.
    Name,
    /// Behind them.
    Rest,
    Body,
}

impl ContentDigest {
    pub(super) fn new() -> Self {
        ContentDigest { hash: Sha256::new(), at: At::Name, skip: false, name: Vec::new(), header_octets: 0 }
    }

    /// Takes the next octets.
    pub(super) fn push(&mut self, mut octets: &[u8]) {
        while let Some(&first) = octets.first() {
            match self.at {
                At::Body => return self.hash.update(octets),
                At::Rest => {
                    let line = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
                    let (rest, behind) = octets.split_at(line);
                    if !self.skip {
                        self.hash.update(rest);
                    }
                    self.header_octets += line;
                    octets = behind;
                    if rest.ends_with(b"\n") {
                        self.at = if self.header_octets > HEADER_OCTETS_MAX { At::Body } else { At::Name };
                    }
                }
                At::Name => {
                    self.name.push(first);
                    octets = &octets[1..];
                    let is_folded = matches!(self.name[0], b' ' | b'\t');
                    if is_folded || first == b':' || first == b'\n' || self.name.len() == NAME_OCTETS_MAX {
                        self.decide(is_folded);
                    }
                }
            }
        }
    }

    /// The start of a line is here: does it count?
    fn decide(&mut self, is_folded: bool) {
        let name = std::mem::take(&mut self.name);
        if !is_folded {
            let field = name.strip_suffix(b":").unwrap_or_default().trim_ascii_end().to_ascii_lowercase();
            self.skip = VOLATILE.contains(&field.as_slice());
        }
        if !self.skip {
            self.hash.update(&name);
        }
        self.header_octets += name.len();
        self.at = match name.as_slice() {
            b"\r\n" | b"\n" => At::Body,
            [.., b'\n'] => At::Name,
            _ => At::Rest,
        };
    }

    /// 128 bits of the hash.
    pub(super) fn finish(mut self) -> u128 {
        let name = std::mem::take(&mut self.name);
        self.hash.update(name);
        let mut first = [0; 16];
        first.copy_from_slice(&self.hash.finalize()[..16]);
        u128::from_be_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, piece: usize) -> u128 {
        let mut digest = ContentDigest::new();
        text.as_bytes().chunks(piece).for_each(|piece| digest.push(piece));
        digest.finish()
    }

    #[test]
    fn what_a_server_writes_anew_does_not_count_and_all_else_does() {
        let plain = "Received: from a;\r\n\tfolded\r\nSubject: x\r\n\r\nStatus: of the body\r\n";
        let touched =
            "Status: RO\r\nReceived: from a;\r\n\tfolded\r\nX-UIDL: 1\r\n  2\r\n 3\r\nSubject: x\r\nLINES : 3\r\n\r\nStatus: of the body\r\n";
        for piece in [1, 2, 7, 1000] {
            assert_eq!(of(plain, piece), of(touched, piece), "in pieces of {piece}");
            assert_eq!(of(plain, piece), of(plain, 1000));
        }
        let mut seen = std::collections::HashSet::from([of(plain, 1000)]);
        for other in [
            plain.replace("from a", "from b"),
            plain.replace("folded", "fo1ded"),
            plain.replace("of the body", "of a body"),
            plain.replace("Subject", "X-Statuses"),
            plain.replace("\r\n\r\n", "\r\n"),
            "Stat".into(),
            "\r\n".into(),
            String::new(),
        ] {
            assert!(seen.insert(of(&other, 3)), "{other:?}");
        }
    }
}
