//! The words of a line: atoms, strings, literals, lists.

use super::framer::{Line, Literal};
use std::borrow::Cow;

/// Deepest parentheses that are followed.
const DEPTH_MAX: usize = 64;

/// Reads a line from left to right. Every reader returns `None` where the line is not what was asked for.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    line: &'a Line,
    at: usize,
    /// How many literals are left behind.
    literals: usize,
}

/// A value in a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// NIL.
    Nil,
    /// A number, a flag, a word.
    Atom(&'a [u8]),
    /// A quoted string or a literal that was kept.
    String(Cow<'a, [u8]>),
    /// A literal that was handed out as a body.
    Body(u64),
    /// Something that was stepped over: a list, a large literal.
    Skipped,
}

impl<'a> Tokens<'a> {
    /// At the start of the line.
    pub fn new(line: &'a Line) -> Self {
        Tokens { line, at: 0, literals: 0 }
    }

    /// What is left, without a look at literals.
    pub fn rest(&self) -> &'a [u8] {
        &self.line.octets()[self.at..]
    }

    /// True at the end of the line, but for blanks.
    pub fn is_at_end(&self) -> bool {
        self.rest().trim_ascii().is_empty()
    }

    /// Steps over blanks.
    pub fn blanks(&mut self) {
        self.at += self.rest().iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    }

    /// Steps over one octet if it is this one.
    pub fn eat(&mut self, octet: u8) -> bool {
        let there = self.rest().first() == Some(&octet);
        self.at += usize::from(there);
        there
    }

    /// A word up to a blank or a parenthesis; brackets keep what is in them together: `BODY[HEADER.FIELDS (TO)]<0>`.
    pub fn word(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let (mut in_brackets, mut quoted) = (false, false);
        let end = rest.iter().position(|octet| {
            match octet {
                b'[' => in_brackets = true,
                b'"' if in_brackets => quoted = !quoted,
                b']' if !quoted => in_brackets = false,
                _ => {}
            }
            !in_brackets && matches!(octet, b' ' | b'\t' | b'(' | b')')
        });
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        (!word.is_empty() && !in_brackets).then_some(word)
    }

    /// The next value, whatever it is; a list is stepped over.
    pub fn value(&mut self) -> Option<Value<'a>> {
        self.blanks();
        if self.rest().first() != Some(&b'(') {
            return self.scalar();
        }
        let mut depth = 0;
        loop {
            self.blanks();
            if self.eat(b'(') {
                depth += 1;
                if depth > DEPTH_MAX {
                    return None;
                }
            } else if self.eat(b')') {
                depth -= 1;
                if depth == 0 {
                    return Some(Value::Skipped);
                }
            } else {
                self.scalar()?;
            }
        }
    }

    fn scalar(&mut self) -> Option<Value<'a>> {
        if self.rest().first() == Some(&b'"') {
            return self.quoted().map(Value::String);
        }
        // `~{n}`, a literal8 (RFC 3516 §4.2): the tilde says nothing to us.
        if let Some(mark) = self.line.literals().get(self.literals) {
            let start = mark.place.start;
            if self.at == start || (self.at + 1 == start && self.rest().first() == Some(&b'~')) {
                self.at = mark.place.end;
                self.literals += 1;
                return Some(match &mark.literal {
                    Literal::Kept(place) => Value::String(Cow::Borrowed(&self.line.octets()[place.clone()])),
                    Literal::Body(size) => Value::Body(*size),
                    Literal::Skipped => Value::Skipped,
                });
            }
        }
        let word = self.word()?;
        Some(if word.eq_ignore_ascii_case(b"NIL") { Value::Nil } else { Value::Atom(word) })
    }

    fn quoted(&mut self) -> Option<Cow<'a, [u8]>> {
        let inside = &self.rest()[1..];
        let end = memchr::memchr2(b'"', b'\\', inside)?;
        if inside[end] == b'"' {
            self.at += end + 2;
            return Some(Cow::Borrowed(&inside[..end]));
        }
        let (mut octets, mut escaped) = (Vec::new(), false);
        for (n, octet) in inside.iter().enumerate() {
            match octet {
                b'\\' if !escaped => escaped = true,
                b'"' if !escaped => {
                    self.at += n + 2;
                    return Some(Cow::Owned(octets));
                }
                _ => {
                    octets.push(*octet);
                    escaped = false;
                }
            }
        }
        None
    }
}

/// Digits as a number.
pub fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|octet| octet.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let line = Line::from(&br#"12 "a \"b\\" nil (x ("y)" (z))) BODY[HEADER.FIELDS (TO)]<0> "open"#[..]);
        let mut tokens = Tokens::new(&line);
        assert_eq!(tokens.word(), Some(&b"12"[..]));
        assert_eq!(tokens.value(), Some(Value::String(Cow::Owned(br#"a "b\"#.to_vec()))));
        assert_eq!(tokens.value(), Some(Value::Nil));
        assert_eq!(tokens.value(), Some(Value::Skipped));
        assert_eq!(tokens.value(), Some(Value::Atom(b"BODY[HEADER.FIELDS (TO)]<0>")));
        assert_eq!(tokens.value(), None);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| Line::from(&["(".repeat(depth), ")".repeat(depth)].concat().into_bytes()[..]);
        assert_eq!(Tokens::new(&nested(DEPTH_MAX)).value(), Some(Value::Skipped));
        assert_eq!(Tokens::new(&nested(DEPTH_MAX + 1)).value(), None);
        assert_eq!(Tokens::new(&nested(30_000)).value(), None);
    }
}
