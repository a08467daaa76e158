//! What a server says (RFC 9051 §7), read with tolerance: 8-bit text, odd blanks and unknown things are normal.

use super::framer::Line;
use super::token::{Tokens, Value, decimal};

/// One response. SEARCH results do not come this way: see [`super::Event::Search`].
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// The answer to the command with this tag.
    Tagged {
        /// The tag.
        tag: String,
        /// The answer.
        status: Status,
    },
    /// An untagged OK, NO or BAD.
    Untagged(Status),
    /// The greeting of a connection that is logged in already.
    PreAuth(Status),
    /// The server closes the connection.
    Bye(Status),
    /// The server waits for the rest of a command.
    Continue,
    /// What the server can do.
    Capability(Capabilities),
    /// How many messages the folder holds.
    Exists(u32),
    /// A message is gone.
    Expunge,
    /// Data of a message.
    Fetch(Fetch),
    /// Untagged data that is of no interest.
    Other,
    /// Nothing that IMAP knows: most likely the stream is out of step.
    Garbage,
}

/// OK, NO or BAD, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which of the three.
    pub state: State,
    /// The response code in brackets.
    pub code: Option<Code>,
    /// The text for people.
    pub text: String,
}

/// The three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Done.
    Ok,
    /// Not done.
    No,
    /// Not understood.
    Bad,
}

/// A response code (RFC 9051 §7.1, RFC 5530).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// CAPABILITY.
    Capability(Capabilities),
    /// UIDVALIDITY.
    UidValidity(u32),
    /// UIDNEXT.
    UidNext(u32),
    /// Any other, by its name in upper case: `AUTHENTICATIONFAILED`, `LIMIT`.
    Named(String),
}

/// What a server can do, by name in upper case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(Vec<String>);

impl Capabilities {
    /// From a list of words.
    pub fn parse(words: &[u8]) -> Self {
        let words = words.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty());
        Capabilities(words.map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect())
    }

    /// True if the server has this one.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }
}

/// A FETCH response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fetch {
    /// UID.
    pub uid: Option<u32>,
    /// RFC822.SIZE.
    pub size: Option<u64>,
    /// The whole message.
    pub body: Option<Body>,
    /// The header alone.
    pub header: Option<Body>,
    /// True if the response could not be read to its end, or contradicts itself: what it holds is not to be trusted.
    pub broken: bool,
}

/// Where the body of a FETCH response is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// It was handed out in pieces.
    Streamed(u64),
    /// Here.
    Inline(Vec<u8>),
    /// The server has none.
    Nil,
}

impl Response {
    /// Reads a line.
    pub fn parse(line: &Line) -> Response {
        let mut tokens = Tokens::new(line);
        match line.octets() {
            b"+" => Response::Continue,
            [b'+', b' ', ..] => Response::Continue,
            [b'*', b' ', ..] => {
                tokens.eat(b'*');
                tokens.blanks();
                untagged(tokens)
            }
            octets if octets.trim_ascii().is_empty() => Response::Other,
            _ => tagged(tokens).unwrap_or(Response::Garbage),
        }
    }

    /// Reads the UID that stands before the body in the start of a FETCH response.
    pub fn uid_before_body(line: &Line) -> Option<u32> {
        let mut tokens = Tokens::new(line);
        tokens.eat(b'*');
        tokens.blanks();
        match untagged(tokens) {
            Response::Fetch(fetch) => fetch.uid,
            _ => None,
        }
    }
}

fn tagged(mut tokens: Tokens<'_>) -> Option<Response> {
    let tag = String::from_utf8(tokens.word()?.to_vec()).ok()?;
    tokens.blanks();
    let state = state_of(tokens.word()?)?;
    Some(Response::Tagged { tag, status: status(state, tokens) })
}

fn state_of(word: &[u8]) -> Option<State> {
    [(&b"OK"[..], State::Ok), (b"NO", State::No), (b"BAD", State::Bad)]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name))
        .map(|(_, state)| state)
}

fn untagged(mut tokens: Tokens<'_>) -> Response {
    let Some(word) = tokens.word() else { return Response::Other };
    if let Some(state) = state_of(word) {
        return Response::Untagged(status(state, tokens));
    }
    if let Some(number) = decimal::<u32>(word) {
        tokens.blanks();
        return match tokens.word().map(<[u8]>::to_ascii_uppercase).as_deref() {
            Some(b"EXISTS") => Response::Exists(number),
            Some(b"EXPUNGE") => Response::Expunge,
            Some(b"FETCH") => Response::Fetch(fetch(tokens)),
            _ => Response::Other,
        };
    }
    match word.to_ascii_uppercase().as_slice() {
        b"BYE" => Response::Bye(status(State::No, tokens)),
        b"PREAUTH" => Response::PreAuth(status(State::Ok, tokens)),
        b"CAPABILITY" => Response::Capability(Capabilities::parse(tokens.rest())),
        _ => Response::Other,
    }
}

fn status(state: State, mut tokens: Tokens<'_>) -> Status {
    tokens.blanks();
    let rest = tokens.rest();
    let (code, text) = match rest.strip_prefix(b"[").and_then(|inside| Some((inside, code_end(inside)?))) {
        Some((inside, end)) => (Some(code(&inside[..end])), &inside[end + 1..]),
        None => (None, rest),
    };
    Status { state, code, text: String::from_utf8_lossy(text.trim_ascii()).into_owned() }
}

/// Where the closing bracket of a code is: not one in quotes, nor one in a list (Gmail has flags with `]`), if that leaves any.
fn code_end(inside: &[u8]) -> Option<usize> {
    let (mut quoted, mut depth) = (false, 0usize);
    let outside = inside.iter().position(|octet| {
        match octet {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        *octet == b']' && !quoted && depth == 0
    });
    outside.or_else(|| memchr::memchr(b']', inside))
}

fn code(inside: &[u8]) -> Code {
    let inside = inside.trim_ascii();
    let name = inside.split(|octet| *octet == b' ').next().unwrap_or_default();
    let rest = inside[name.len()..].trim_ascii();
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    match (name.as_str(), decimal(rest)) {
        ("CAPABILITY", _) => Code::Capability(Capabilities::parse(rest)),
        ("UIDVALIDITY", Some(number)) => Code::UidValidity(number),
        ("UIDNEXT", Some(number)) => Code::UidNext(number),
        _ => Code::Named(name),
    }
}

fn fetch(mut tokens: Tokens<'_>) -> Fetch {
    let mut fetch = Fetch::default();
    fetch.broken = items(&mut tokens, &mut fetch).is_none();
    fetch
}

fn items(tokens: &mut Tokens<'_>, fetch: &mut Fetch) -> Option<()> {
    tokens.blanks();
    tokens.eat(b'(').then_some(())?;
    loop {
        tokens.blanks();
        if tokens.eat(b')') {
            return tokens.is_at_end().then_some(());
        }
        let name = tokens.word()?.to_ascii_uppercase();
        match (name.as_slice(), tokens.value()?) {
            (b"UID", Value::Atom(digits)) => {
                let uid = decimal(digits).filter(|uid| *uid > 0)?;
                // One response cannot be about two messages.
                fetch.uid.replace(uid).is_none_or(|former| former == uid).then_some(())?;
            }
            (b"UID", _) => return None,
            (b"RFC822.SIZE", Value::Atom(digits)) => fetch.size = decimal(digits),
            (b"BODY[]" | b"BODY[]<0>" | b"RFC822" | b"BINARY[]", value) => {
                fetch.body.replace(body(value)?).is_none().then_some(())?;
            }
            (b"BODY[HEADER]" | b"BODY[HEADER]<0>" | b"RFC822.HEADER", value) => {
                fetch.header.replace(body(value)?).is_none().then_some(())?;
            }
            // A body is nowhere else.
            (_, Value::Body(_)) => return None,
            _ => {}
        }
    }
}

fn body(value: Value<'_>) -> Option<Body> {
    Some(match value {
        Value::Body(size) => Body::Streamed(size),
        Value::String(octets) => Body::Inline(octets.into_owned()),
        Value::Nil => Body::Nil,
        Value::Atom(_) | Value::Skipped => return None,
    })
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
