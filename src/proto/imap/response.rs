//! What a server says (RFC 9051 §7), read with tolerance: 8-bit text, odd blanks and unknown things are normal.

use super::command::MONTHS;
use super::framer::{Line, piece_origin};
use super::token::{Tokens, Value, decimal};
use crate::mail::UidSet;

/// Most attributes of a folder that are kept, and the longest of them.
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_OCTETS_MAX: usize = 64;

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
    /// How many of them nobody was told of before.
    Recent(u32),
    /// A message is gone.
    Expunge,
    /// A folder.
    List(ListedFolder),
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
    /// COPYUID (RFC 4315 §3): what was copied, and what it is called where it is now.
    CopyUid {
        /// UIDVALIDITY of the folder where the copies are.
        epoch: u32,
        /// The UIDs here.
        from: UidSet,
        /// The UIDs there.
        to: UidSet,
    },
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

/// A folder as LIST tells of it (RFC 9051 §7.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFolder {
    /// Its attributes, as they came: `\\Noselect`.
    pub attributes: Vec<String>,
    /// What stands between the levels of names.
    pub separator: Option<char>,
    /// Its name as it came; `None` if it could not be read or was too long to be kept.
    pub name: Option<Vec<u8>>,
}

/// A FETCH response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fetch {
    /// UID.
    pub uid: Option<u32>,
    /// RFC822.SIZE.
    pub size: Option<u64>,
    /// INTERNALDATE: when it arrived, in seconds since the epoch.
    pub date: Option<i64>,
    /// X-GM-MSGID: Gmail's name for the letter, the same under each of its labels.
    pub letter_id: Option<u64>,
    /// The whole message, or a piece of it.
    pub body: Option<Body>,
    /// Where the piece starts: `BODY[]<4096>`.
    pub origin: Option<u64>,
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
            Some(b"RECENT") => Response::Recent(number),
            Some(b"EXPUNGE") => Response::Expunge,
            Some(b"FETCH") => Response::Fetch(fetch(tokens)),
            _ => Response::Other,
        };
    }
    match word.to_ascii_uppercase().as_slice() {
        b"BYE" => Response::Bye(status(State::No, tokens)),
        b"PREAUTH" => Response::PreAuth(status(State::Ok, tokens)),
        b"CAPABILITY" => Response::Capability(Capabilities::parse(tokens.rest())),
        b"LIST" | b"XLIST" => Response::List(listed(tokens)),
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
        ("COPYUID", _) => copy_uid(rest).unwrap_or(Code::Named(name)),
        _ => Code::Named(name),
    }
}

/// `2:4,9` as SEARCH results never have it, and COPYUID does. `None` for what is no set: `*` has no place in an answer.
fn uid_set(text: &[u8]) -> Option<UidSet> {
    let mut ranges = Vec::new();
    for part in text.split(|octet| *octet == b',') {
        let (low, high) = match memchr::memchr(b':', part) {
            Some(colon) => (&part[..colon], &part[colon + 1..]),
            None => (part, part),
        };
        let (low, high): (u32, u32) = (decimal(low)?, decimal(high)?);
        (low > 0 && high > 0).then(|| ranges.push((low.min(high), low.max(high))))?;
    }
    // A set takes ascending ranges at its end, which is cheap.
    ranges.sort_unstable();
    let mut set = UidSet::new();
    ranges.into_iter().for_each(|(low, high)| set.insert_range(low..=high));
    Some(set)
}

fn copy_uid(rest: &[u8]) -> Option<Code> {
    let mut words = rest.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let (epoch, from, to) = (decimal(words.next()?)?, uid_set(words.next()?)?, uid_set(words.next()?)?);
    Some(Code::CopyUid { epoch, from, to })
}

/// What follows the word LIST. Whatever cannot be read leaves the name out, never the folder: somebody counts them.
fn listed(mut tokens: Tokens<'_>) -> ListedFolder {
    let mut folder = ListedFolder { attributes: Vec::new(), separator: None, name: None };
    tokens.blanks();
    if tokens.eat(b'(') {
        loop {
            tokens.blanks();
            if tokens.eat(b')') {
                break;
            }
            let Some(word) = tokens.word() else { return folder };
            if folder.attributes.len() < ATTRIBUTES_MAX && word.len() <= ATTRIBUTE_OCTETS_MAX && word.is_ascii() {
                folder.attributes.push(String::from_utf8_lossy(word).into_owned());
            }
        }
    }
    folder.separator = match tokens.value() {
        Some(Value::String(text)) => std::str::from_utf8(&text).ok().and_then(|text| text.chars().next()),
        Some(Value::Nil) => None,
        _ => return folder,
    };
    tokens.blanks();
    let rest = tokens.rest();
    folder.name = match rest.first() {
        // In quotes, or a literal.
        Some(b'"' | b'{' | b'~') => match tokens.value() {
            Some(Value::String(text)) => Some(text.into_owned()),
            _ => None,
        },
        Some(_) => {
            let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
            Some(rest[..end].to_vec())
        }
        None => None,
    };
    folder
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
            (b"INTERNALDATE", Value::String(text)) => fetch.date = date_time(&text),
            (b"X-GM-MSGID", Value::Atom(digits)) => fetch.letter_id = decimal(digits),
            (b"BODY[]" | b"RFC822" | b"BINARY[]", value) => {
                fetch.body.replace(body(value)?).is_none().then_some(())?;
            }
            (b"BODY[HEADER]" | b"BODY[HEADER]<0>" | b"RFC822.HEADER", value) => {
                fetch.header.replace(body(value)?).is_none().then_some(())?;
            }
            (piece, value) if piece_origin(piece).is_some() => {
                fetch.origin = piece_origin(piece);
                fetch.body.replace(body(value)?).is_none().then_some(())?;
            }
            // A body is nowhere else.
            (_, Value::Body(_)) => return None,
            _ => {}
        }
    }
}

/// ` 1-Jan-2026 00:00:00 +0300` (RFC 9051 §9, date-time), in seconds since the epoch. `None` if it is no such text.
fn date_time(text: &[u8]) -> Option<i64> {
    let mut parts = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    let (date, time, zone) = (parts.next()?, parts.next()?, parts.next()?);
    let mut date = date.splitn(3, '-');
    let (day, month, year) = (date.next()?.parse().ok()?, date.next()?, date.next()?.parse().ok()?);
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
    let date = jiff::civil::Date::new(year, i8::try_from(month).ok()? + 1, day).ok()?;
    let mut clock = time.splitn(3, ':').map(|part| part.parse::<i8>().ok());
    // A leap second is a second of this minute.
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??.min(59));
    let at = date.to_datetime(jiff::civil::Time::new(hour, minute, second, 0).ok()?);
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2).filter(|_| digits.len() == 4 && digits.bytes().all(|octet| octet.is_ascii_digit()))?;
    let offset = sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60);
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second() - offset)
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
