//! One Received field, read as tolerantly as mail servers write it (RFC 5321 §4.4).
//!
//! Only what the writing server vouches for is believed by the callers: the host in `by`, the peer in parentheses behind `from` (the word
//! itself is what the peer said in HELO), `with`, `for`, and the envelope-from comment.
//!
//! A peer chooses its HELO word, and some servers write it down with whatever blanks, brackets and quotes it has. So a field is
//! [suspect](Received::suspect), and nothing in it is believed, if `from`, `by` or `with` occurs twice, with equal values too (the first may be the
//! peer's and the second the server's own); if another clause stands between `from` and `by`; if a comment or a quoted string does not end,
//! or has swallowed brackets between quotes; if it has too many words. RFC 822 §4.1 allowed `with` more than once; RFC 5321 §4.4 does not, and no server is known
//! that writes it so.

use crate::mail::Address;
use crate::resolve::addresses::addresses;
use std::net::IpAddr;

/// Most words and comments that are read in one field.
pub const TOKENS_MAX: usize = 1_000;

/// The clauses of a Received field that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The word behind `from`: what the peer called itself.
    pub from: Option<String>,
    /// What the peer called itself, where that stands in a comment (Exim's `helo=`, qmail's `HELO`); then `from` is the server's own word.
    pub helo: Option<String>,
    /// The peers in parentheses behind `from`.
    pub peers: Vec<Peer>,
    /// The host that wrote the field.
    pub by: Option<String>,
    /// `via`.
    pub via: Option<String>,
    /// `with`: the protocol.
    pub with: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// The addresses behind `for`.
    pub for_: Vec<Address>,
    /// The value of an `(envelope-from <…>)` comment (Exim, Dovecot, qmail's kin).
    pub envelope_from: Option<String>,
    /// A note of qmail about its own processes: neither `from` nor `by`.
    pub note: bool,
    /// The message was submitted here by a user or a local process: what stands below is of the user's making.
    pub submitted: bool,
    /// A peer may have written some of it: no host, peer, recipient or sender was taken from it, and it counts as [`submitted`](Self::submitted).
    pub suspect: bool,
}

/// A peer as the writing server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name by reverse look-up, lower case; `None` if unknown or "may be forged".
    pub name: Option<String>,
    /// Its address.
    pub ip: IpAddr,
}

impl Received {
    /// Reads an unfolded value. What cannot be read is left out.
    pub fn parse(value: &str) -> Self {
        let Some(tokens) = tokens(value) else { return Received::suspicious() };
        let mut received = Received::default();
        let mut clause = Clause::None;
        let mut for_words = String::new();
        // The date is no clause, whatever stands in it.
        let date = tokens.iter().rposition(|token| *token == Token::Semicolon).unwrap_or(tokens.len());
        let mut words = tokens.into_iter().take(date);
        while let Some(token) = words.next() {
            match token {
                Token::Comment(text) => received.comment(text, &clause),
                Token::Semicolon => {}
                Token::Word(word) => match Clause::of(word) {
                    Some(next) => {
                        if !received.may_have(&next, &for_words) {
                            return Received::suspicious();
                        }
                        clause = next;
                        if clause == Clause::For {
                            continue;
                        }
                        // Comments may stand between a keyword and its value (RFC 5322 §3.2.2).
                        for token in words.by_ref() {
                            match token {
                                Token::Comment(text) => received.comment(text, &clause),
                                Token::Semicolon => break,
                                // No host has a quote in its name, and no server writes one there by itself.
                                Token::Word(value) if clause == Clause::From && value.contains('"') => return Received::suspicious(),
                                Token::Word(value) => {
                                    received.set(&clause, value);
                                    break;
                                }
                            }
                        }
                    }
                    None if clause == Clause::For => {
                        for_words.push_str(word);
                        for_words.push(' ');
                    }
                    None => {}
                },
            }
        }
        received.for_ = addresses(&for_words);
        received.note &= received.from.is_none() && received.by.is_none();
        // RFC 3848: the A stands for an authenticated client.
        received.submitted |= received
            .with
            .as_deref()
            .is_some_and(|with| ["ESMTPA", "ESMTPSA", "UTF8SMTPA", "UTF8SMTPSA"].iter().any(|word| with.eq_ignore_ascii_case(word)));
        received
    }

    fn suspicious() -> Self {
        Received { suspect: true, submitted: true, ..Received::default() }
    }

    /// Whether this clause may come now, behind those that came before it.
    fn may_have(&self, next: &Clause, for_words: &str) -> bool {
        let before_by = self.from.is_some() && self.by.is_none();
        match next {
            Clause::From => self.from.is_none(),
            Clause::By => self.by.is_none(),
            Clause::With => self.with.is_none() && !before_by,
            Clause::For => for_words.is_empty() && !before_by,
            Clause::Via | Clause::Id => !before_by,
            Clause::None => true,
        }
    }

    /// True if the message was handed over by LMTP (RFC 2033 §5: it is not for use between sites).
    pub fn is_lmtp(&self) -> bool {
        self.with.as_deref().is_some_and(|with| with.to_ascii_uppercase().trim_start_matches("UTF8").starts_with("LMTP"))
    }

    fn set(&mut self, clause: &Clause, value: &str) {
        let slot = match clause {
            Clause::From => &mut self.from,
            Clause::By => &mut self.by,
            Clause::Via => &mut self.via,
            Clause::With => &mut self.with,
            Clause::Id => &mut self.id,
            Clause::For | Clause::None => return,
        };
        slot.get_or_insert_with(|| value.to_owned());
    }

    fn comment(&mut self, text: &str, clause: &Clause) {
        let text = text.trim();
        if let Some(rest) = strip_prefix_fold(text, "envelope-from") {
            self.envelope_from.get_or_insert_with(|| rest.trim_start_matches([' ', '\t', '=', ':']).trim().to_owned());
        } else if *clause == Clause::From {
            if strip_prefix_fold(text, "authenticated").is_some() {
                self.submitted = true;
            } else {
                self.helo = self.helo.take().or_else(|| helo(text));
                self.peers.extend(peers(text));
            }
        } else {
            // `(qmail 12 invoked by uid 89)`, sendmail's `(from user@localhost)`, Postfix's `(Postfix, from userid 33)`.
            self.note |= *clause == Clause::None && strip_prefix_fold(text, "qmail ").is_some();
            self.submitted |= text.contains("from userid") || (*clause == Clause::None && strip_prefix_fold(text, "from ").is_some());
        }
    }
}

/// `(HELO x)`, `(helo=x)`, `([192.0.2.1]:25 helo=x)`.
fn helo(text: &str) -> Option<String> {
    let word = text.split_whitespace().find_map(|word| strip_prefix_fold(word, "helo="));
    let word = word.or_else(|| ["helo ", "ehlo "].iter().find_map(|name| strip_prefix_fold(text, name)).map(str::trim));
    word.filter(|word| !word.is_empty()).map(str::to_owned)
}

/// The peers in one comment: `(mail.example.org [192.0.2.1])`, `([192.0.2.1] helo=x)`, `(user@192.0.2.1)`, `(2001:db8::1)`.
fn peers(text: &str) -> Vec<Peer> {
    if ["helo ", "ehlo ", "helo=", "lhlo "].iter().any(|word| strip_prefix_fold(text, word).is_some()) {
        return Vec::new();
    }
    let forged = text.contains("forged");
    let mut peers = Vec::new();
    let mut name = None;
    for word in text.split_whitespace() {
        if strip_prefix_fold(word, "port=").is_some() {
            continue;
        }
        // From here on stands what the peer said about itself, blanks and all.
        if ["helo=", "ident="].iter().any(|prefix| strip_prefix_fold(word, prefix).is_some()) {
            break;
        }
        let host = word.rsplit('@').next().unwrap_or(word).trim_end_matches([',', '.']);
        match address_of(host) {
            Some(ip) => peers.push(Peer { name: name.take().filter(|_| !forged), ip }),
            None => name = Some(host.to_ascii_lowercase()).filter(|host| host != "unknown"),
        }
    }
    peers
}

fn address_of(word: &str) -> Option<IpAddr> {
    let word = match word.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => word,
    };
    strip_prefix_fold(word, "IPv6:").unwrap_or(word).parse().ok()
}

fn strip_prefix_fold<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Clause {
    None,
    From,
    By,
    Via,
    With,
    Id,
    For,
}

impl Clause {
    fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "from" => Clause::From,
            "by" => Clause::By,
            "via" => Clause::Via,
            "with" => Clause::With,
            "id" => Clause::Id,
            "for" => Clause::For,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Comment(&'a str),
    Semicolon,
}

/// Words, comments (without their brackets) and semicolons outside comments and quotes. `None` if they are more than [`TOKENS_MAX`], or one of
/// them does not end.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let octets = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        if tokens.len() >= TOKENS_MAX {
            return None;
        }
        match octets[at] {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b';' => {
                tokens.push(Token::Semicolon);
                at += 1;
            }
            b'(' => {
                let end = comment_end(octets, at + 1)?;
                tokens.push(Token::Comment(&text[at + 1..end]));
                at = end + 1;
            }
            _ => {
                let end = word_end(octets, at)?;
                tokens.push(Token::Word(&text[at..end]));
                at = end;
            }
        }
    }
    Some(tokens)
}

/// Where the bracket stands that closes the comment. A quoted local part in a path, `<"a)b"@c>`, does not close it: the sender chooses what
/// stands there.
fn comment_end(octets: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 1;
    while at < octets.len() {
        match octets[at] {
            b'\\' => at += 1,
            b'"' if octets[at - 1] == b'<' => at = quote_end(octets, at + 1)?,
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn word_end(octets: &[u8], mut at: usize) -> Option<usize> {
    while at < octets.len() {
        match octets[at] {
            b'"' => at = quote_end(octets, at + 1)?,
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    Some(octets.len())
}

/// Brackets between quotes are no server's: a quote in HELO and one in a recipient's address would hide the server's own words between them.
fn quote_end(octets: &[u8], mut at: usize) -> Option<usize> {
    while at < octets.len() {
        match octets[at] {
            b'\\' => at += 1,
            b'"' => return Some(at),
            b'(' | b')' => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(name: Option<&str>, ip: &str) -> Peer {
        Peer { name: name.map(str::to_owned), ip: ip.parse().unwrap() }
    }

    #[test]
    fn the_peer_is_the_one_in_parentheses() {
        for (value, peers) in [
            ("from helo.example (rdns.example [192.0.2.1]) by mx", vec![peer(Some("rdns.example"), "192.0.2.1")]),
            ("from helo.example (unknown [192.0.2.1]) by mx", vec![peer(None, "192.0.2.1")]),
            (
                "from h (rdns.example. [IPv6:2001:db8::1]) (using TLSv1.3 with cipher X (256/256 bits)) by mx",
                vec![peer(Some("rdns.example"), "2001:db8::1")],
            ),
            ("from rdns.example ([192.0.2.1] helo=[127.0.0.1]) by mx", vec![peer(None, "192.0.2.1")]),
            ("from rdns.example ([192.0.2.1]:4711 helo=x) by mx", vec![peer(None, "192.0.2.1")]),
            ("from [127.0.0.1] (helo=localhost) by mx", vec![]),
            ("from unknown (HELO [127.0.0.1]) (ident@192.0.2.1) by mx", vec![peer(None, "192.0.2.1")]),
            ("from EX1.corp (10.1.1.1) by EX2.corp (10.1.1.2)", vec![peer(None, "10.1.1.1")]),
            ("from h (IDENT:u@rdns.example [192.0.2.1] (may be forged)) by mx", vec![peer(None, "192.0.2.1")]),
            ("from localhost by mx", vec![]),
            ("from rdns.example ([192.0.2.1] helo=x [127.0.0.1]) by mx", vec![peer(None, "192.0.2.1")]),
            ("from [192.0.2.1] (ident=x [127.0.0.1] helo=y) by mx", vec![]),
            ("from rdns.example ([192.0.2.1] port=25 helo=y) by mx", vec![peer(None, "192.0.2.1")]),
        ] {
            assert_eq!(Received::parse(value).peers, peers, "of {value:?}");
        }
    }

    #[test]
    fn clauses_outside_comments_and_before_the_last_semicolon() {
        let r = Received::parse(
            "from a.example (r.example [192.0.2.1]) by mx.example.org (by fake; for <x@y.example>) with ESMTPS id 7 for <b@example.org>; Mon, 1 Jan 2024 for <z@y.example>",
        );
        assert_eq!(
            (r.from.as_deref(), r.by.as_deref(), r.with.as_deref(), r.id.as_deref()),
            (Some("a.example"), Some("mx.example.org"), Some("ESMTPS"), Some("7"))
        );
        assert_eq!(r.for_, ["b@example.org".parse().unwrap()]);
        let exim = Received::parse("from a by b with esmtps  (TLS1.3) tls X (Exim 4.96)\t(envelope-from <s@x.example>) id 1 for c@d.example; date");
        assert_eq!((exim.envelope_from.as_deref(), exim.for_.len()), (Some("<s@x.example>"), 1));
        assert_eq!(Received::parse("by mx for <a@b.example>,<c@d.example>; d").for_.len(), 2);
    }

    #[test]
    fn what_a_sender_can_put_there_is_believed_by_nobody() {
        let real = "(rdns.evil.example [203.0.113.7]) by mx7.provider.example (Postfix) with ESMTP id 1 for <info@ours.example>; d";
        for helo in [
            "x ([127.0.0.1]) by mx7.provider.example",
            "x()by()mx7.provider.example()with()LMTP(",
            "x by mx7.provider.example with LMTP (",
            "x BY mx7.provider.example",
            "x by other.example",
            "x from localhost",
            "x with LMTP",
            "x with ESMTP",
            "x for <ceo@ours.example>",
            "x id 7",
            "x via LMTP",
            "x (",
            "x ((a)",
            "x (\\",
            "x \"",
            "x\"",
            "\"",
            "x (<\"",
            "x (envelope-from <\"",
            "x by (envelope-from <\"",
            &"x ".repeat(TOKENS_MAX),
        ] {
            // The recipient's address may have been chosen to close what HELO opens.
            for to in ["<info@ours.example>", "<\"a)b\"@ours.example>", "<\"@x) mx7.provider.example with LMTP \\\"c\"@ours.example>"] {
                let value = format!("from {helo} {}", real.replace("<info@ours.example>", to));
                let r = Received::parse(&value);
                assert_eq!(r, Received::suspicious(), "of {value}");
            }
        }
        // A quote that ends in the recipient's address, from a server that writes no brackets.
        let value = "from x\" [203.0.113.7] by mx.provider.example with ESMTP for <\"x by mx.provider.example with LMTP \\\"c\"@ours.example>; d";
        assert!(Received::parse(value).suspect);
        // A reverse-path that closes the comment it stands in.
        assert!(Received::parse("from a by mx (envelope-from <\"x) for <ceo@b.example> (\"@evil.example>) id 1; d").suspect);
        let r = Received::parse("from a by mx (envelope-from <\"x y\"@evil.example>) id 1 for <\"by evil\"@b.example>; d");
        assert_eq!((r.suspect, r.by.as_deref(), r.for_.len()), (false, Some("mx"), 1));
        assert_eq!(r.envelope_from.as_deref(), Some("<\"x y\"@evil.example>"));
        // What HELO may hold without doing harm: another peer in brackets is one more that would have to be inside.
        let r = Received::parse(&format!("from x ([127.0.0.1]) {real}"));
        assert_eq!((r.suspect, r.peers.len()), (false, 2));
        assert!(!Received::parse(&format!("from x; y {real}")).suspect);
    }

    #[test]
    fn notes_and_submissions() {
        assert!(Received::parse("(qmail 12 invoked by uid 89); 1 Jan 2024 00:00:00 -0000").note);
        for submitted in [
            "by web (Postfix, from userid 33) id 1; d",
            "(from apache@localhost) by web (8.14/Submit) id 1; d",
            "from x (localhost [127.0.0.1]) (Authenticated sender: u) by mx with ESMTP; d",
            "from x (localhost [127.0.0.1]) by mx with ESMTPSA; d",
        ] {
            assert!(Received::parse(submitted).submitted, "{submitted}");
        }
        assert!(Received::parse("from mx by mx with LMTP id 1; d").is_lmtp());
        assert!(Received::parse("from mx by mx with utf8lmtps; d").is_lmtp());
    }

    proptest! {
        #[test]
        fn never_fails(value in "(from |by |for |with |id |[a<>@(\"\\\\);\\[\\] é.1]){0,40}") {
            let r = Received::parse(&value);
            prop_assert!(!(r.note && r.by.is_some()));
        }
    }
}
