//! XML as it comes, in any pieces and in constant memory: a tag at a time, text in the pieces that came. A text of hundreds of megabytes is never held,
//! which is why no reader of whole documents or whole texts will do; tags are read by quick-xml.
//!
//! What could cost more than it came with is refused: a document type declaration, entities but the five of XML itself and numbers of characters,
//! deep nesting, long tags.

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::BytesStart;

/// Deepest element.
pub const DEPTH_MAX: usize = 64;
/// Longest tag, comment or CDATA section.
const MARKUP_OCTETS_MAX: usize = 64 * 1024;
/// Longest name of an element.
const NAME_OCTETS_MAX: usize = 128;
/// Longest reference: `&#x10FFFF;`
const REFERENCE_OCTETS_MAX: usize = 12;
/// Most attributes of an element that are looked at.
const ATTRIBUTES_MAX: usize = 64;

/// Why octets are not taken for XML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// `<!DOCTYPE …>`, which could define entities.
    #[error("it has a document type declaration, which is refused")]
    Doctype,
    /// An entity that is not one of XML itself.
    #[error("it has an entity of its own, which is refused")]
    Entity,
    /// Nobody nests so deep on purpose.
    #[error("its elements are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// A tag, a name or a text.
    #[error("{0} is longer than is taken")]
    TooLong(&'static str),
    /// Another encoding.
    #[error("it is not in UTF-8")]
    NotUtf8,
    /// Not well-formed.
    #[error("it is no XML: {0}")]
    Broken(&'static str),
    /// It ends in the middle.
    #[error("it ends in the middle")]
    Cut,
}

/// A piece of a document.
#[derive(Debug)]
pub enum Token<'a> {
    /// An element begins.
    Start(Start<'a>),
    /// The innermost element ends.
    End,
    /// Text of it, or a part of that; a character may be cut in two.
    Text(&'a [u8]),
}

/// A start tag.
#[derive(Debug)]
pub struct Start<'a>(BytesStart<'a>);

/// Takes a document apart.
#[derive(Debug, Default)]
pub struct Tokenizer {
    state: State,
    /// The markup or reference that is coming in.
    held: Vec<u8>,
    quote: Option<u8>,
    /// Names of the open elements, with prefixes.
    path: Vec<String>,
    /// The last start tag was an empty element's.
    ends: bool,
    /// The root has begun.
    begun: bool,
    /// Octets of the mark that have come, or all if something else has.
    marked: usize,
    char: [u8; 4],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Markup,
    Reference,
}

enum Whole {
    Nothing,
    Start,
    End,
    Text,
}

impl Tokenizer {
    /// The next piece of what came; `None` if more has to come first. What was used is taken off `input`.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<Token<'s>>, XmlError> {
        if std::mem::take(&mut self.ends) {
            self.path.pop();
            return Ok(Some(Token::End));
        }
        loop {
            match self.state {
                State::Text => {
                    let rest = *input;
                    let Some(&first) = rest.first() else { return Ok(None) };
                    let end = memchr::memchr2(b'<', b'&', rest).unwrap_or(rest.len());
                    *input = &rest[end..];
                    if end > 0 {
                        if self.path.is_empty() {
                            self.outside(&rest[..end])?;
                            continue;
                        }
                        return Ok(Some(Token::Text(&rest[..end])));
                    }
                    self.marked = MARK.len();
                    *input = &rest[1..];
                    self.held.clear();
                    self.held.push(first);
                    self.state = if first == b'<' { State::Markup } else { State::Reference };
                }
                State::Markup => {
                    if !self.gather(input)? {
                        return Ok(None);
                    }
                    self.state = State::Text;
                    match self.whole()? {
                        Whole::Nothing => {}
                        Whole::Start => return self.start().map(Some),
                        Whole::End => return Ok(Some(Token::End)),
                        Whole::Text => return Ok(Some(Token::Text(&self.held[CDATA.len()..self.held.len() - CDATA_END.len()]))),
                    }
                }
                State::Reference => {
                    let Some((&octet, rest)) = input.split_first() else { return Ok(None) };
                    *input = rest;
                    if octet != b';' {
                        self.held.push(octet);
                        if self.held.len() > REFERENCE_OCTETS_MAX {
                            return Err(XmlError::Entity);
                        }
                        continue;
                    }
                    self.state = State::Text;
                    if self.path.is_empty() {
                        return Err(XmlError::Broken("text outside of its root"));
                    }
                    let name = std::str::from_utf8(&self.held[1..]).map_err(|_| XmlError::NotUtf8)?;
                    let length = referred(name)?.encode_utf8(&mut self.char).len();
                    return Ok(Some(Token::Text(&self.char[..length])));
                }
            }
        }
    }

    /// The document has ended here: an error if that is too early.
    pub fn finish(&self) -> Result<(), XmlError> {
        let is_whole = self.begun && self.path.is_empty() && self.state == State::Text && !self.ends;
        if is_whole { Ok(()) } else { Err(XmlError::Cut) }
    }

    /// How many elements are open.
    pub fn depth(&self) -> usize {
        self.path.len()
    }

    fn outside(&mut self, mut text: &[u8]) -> Result<(), XmlError> {
        // UTF-8's own mark, at the very start; it may come in pieces too.
        while let (Some(expected), Some((octet, rest))) = (MARK.get(self.marked), text.split_first()) {
            if octet != expected {
                break;
            }
            self.marked += 1;
            text = rest;
        }
        if !text.is_empty() && self.marked < MARK.len() {
            if self.marked > 0 {
                return Err(XmlError::NotUtf8);
            }
            self.marked = MARK.len();
        }
        if text.iter().all(u8::is_ascii_whitespace) { Ok(()) } else { Err(XmlError::Broken("text outside of its root")) }
    }

    /// Takes octets up to the end of the markup; false if they do not reach it.
    fn gather(&mut self, input: &mut &[u8]) -> Result<bool, XmlError> {
        while let Some((&octet, rest)) = input.split_first() {
            *input = rest;
            self.held.push(octet);
            if self.held.len() > MARKUP_OCTETS_MAX {
                return Err(XmlError::TooLong("a tag"));
            }
            let held = self.held.as_slice();
            let done = match held[1] {
                b'!' if held.len() < COMMENT.len() || held.starts_with(COMMENT) => {
                    held.len() >= COMMENT.len() + COMMENT_END.len() && held.ends_with(COMMENT_END)
                }
                b'!' if CDATA.starts_with(held) => false,
                b'!' if held.starts_with(CDATA) => held.ends_with(CDATA_END),
                b'!' => return Err(XmlError::Doctype),
                b'?' => held.len() > 3 && held.ends_with(b"?>"),
                _ => match (self.quote, octet) {
                    (Some(quote), _) => {
                        if octet == quote {
                            self.quote = None;
                        }
                        false
                    }
                    (None, b'"' | b'\'') => {
                        self.quote = Some(octet);
                        false
                    }
                    (None, b'<') => return Err(XmlError::Broken("a tag in a tag")),
                    (None, b'>') => true,
                    (None, _) => false,
                },
            };
            if done {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks at whole markup.
    fn whole(&mut self) -> Result<Whole, XmlError> {
        let held = std::str::from_utf8(&self.held).map_err(|_| XmlError::NotUtf8)?;
        if let Some(declared) = held.strip_prefix("<?xml ") {
            let declared = declared.to_ascii_lowercase();
            let is_utf8 = !declared.contains("encoding") || declared.contains("utf-8") || declared.contains("us-ascii");
            return if is_utf8 && !self.begun { Ok(Whole::Nothing) } else { Err(XmlError::NotUtf8) };
        }
        if held.starts_with("<?") || held.starts_with("<!--") {
            return Ok(Whole::Nothing);
        }
        if self.held.starts_with(CDATA) {
            return if self.path.is_empty() { Err(XmlError::Broken("text outside of its root")) } else { Ok(Whole::Text) };
        }
        if let Some(name) = held.strip_prefix("</") {
            let name = name.trim_end_matches('>').trim_ascii_end();
            return match self.path.pop() {
                Some(open) if open == name => Ok(Whole::End),
                _ => Err(XmlError::Broken("an end without its start")),
            };
        }
        if self.path.is_empty() && std::mem::replace(&mut self.begun, true) {
            return Err(XmlError::Broken("two roots"));
        }
        if self.path.len() == DEPTH_MAX {
            return Err(XmlError::TooDeep);
        }
        let content = held[1..held.len() - 1].strip_suffix('/');
        self.ends = content.is_some();
        let content = content.unwrap_or(&held[1..held.len() - 1]);
        let name = &content[..name_length(content)];
        if name.len() > NAME_OCTETS_MAX {
            return Err(XmlError::TooLong("a name"));
        }
        if !is_name(name) {
            return Err(XmlError::Broken("a tag without a name"));
        }
        self.path.push(name.to_owned());
        Ok(Whole::Start)
    }

    fn start(&self) -> Result<Token<'_>, XmlError> {
        let held = std::str::from_utf8(&self.held).map_err(|_| XmlError::NotUtf8)?;
        let content = &held[1..held.len() - 1 - usize::from(self.ends)];
        let start = BytesStart::from_content(content, name_length(content));
        // Checks for attributes that stand twice take time by the square of their number.
        for (count, attribute) in start.attributes().with_checks(false).enumerate() {
            if count >= ATTRIBUTES_MAX {
                return Err(XmlError::TooLong("a list of attributes"));
            }
            if attribute.map_err(|_| XmlError::Broken("an attribute"))?.value.contains('<') {
                return Err(XmlError::Broken("an attribute"));
            }
        }
        Ok(Token::Start(Start(start)))
    }
}

/// The byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
const COMMENT: &[u8] = b"<!--";
const COMMENT_END: &[u8] = b"-->";
const CDATA: &[u8] = b"<![CDATA[";
const CDATA_END: &[u8] = b"]]>";

impl Start<'_> {
    /// Its name without the prefix.
    pub fn name(&self) -> &str {
        local(self.0.name().into_inner())
    }

    /// An attribute's value.
    pub fn attribute(&self, name: &str) -> Result<Option<String>, XmlError> {
        let found = self.0.attributes().with_checks(false).flatten().find(|attribute| attribute.key.as_ref() == name);
        found.map(|attribute| unescaped(&attribute.value)).transpose()
    }
}

fn name_length(content: &str) -> usize {
    content.find(|char: char| char.is_ascii_whitespace()).unwrap_or(content.len())
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn is_name(name: &str) -> bool {
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.' | ':') || !char.is_ascii();
    name.chars().all(allowed) && name.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_' || !first.is_ascii())
}

/// What a reference stands for. Servers write characters of headers that XML cannot have (`&#x1F;`): they are shown as unknown ones.
fn referred(name: &str) -> Result<char, XmlError> {
    let Some(number) = name.strip_prefix('#') else {
        let known = resolve_predefined_entity(name).ok_or(XmlError::Entity)?;
        return known.chars().next().ok_or(XmlError::Entity);
    };
    let (digits, base) = number.strip_prefix('x').map_or((number, 10), |digits| (digits, 16));
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err(XmlError::Broken("a reference to no character"));
    }
    let char = u32::from_str_radix(digits, base).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    let is_xml = matches!(char, '\t' | '\n' | '\r') || char >= ' ';
    Ok(if is_xml { char } else { char::REPLACEMENT_CHARACTER })
}

fn unescaped(text: &str) -> Result<String, XmlError> {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        let (name, behind) = rest[at + 1..].split_once(';').ok_or(XmlError::Entity)?;
        plain.push(referred(name)?);
        rest = behind;
    }
    plain.push_str(rest);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A document as one line, in pieces of this size.
    fn read(document: &[u8], size: usize) -> Result<String, XmlError> {
        let (mut tokenizer, mut out, mut text) = (Tokenizer::default(), String::new(), Vec::new());
        for mut piece in document.chunks(size) {
            while let Some(token) = tokenizer.next(&mut piece)? {
                if !matches!(token, Token::Text(_)) {
                    out.push_str(&String::from_utf8_lossy(&std::mem::take(&mut text)));
                }
                match token {
                    Token::Start(start) => out.push_str(&format!("<{} {:?}>", start.name(), start.attribute("a")?)),
                    Token::End => out.push_str("</>"),
                    Token::Text(piece) => text.extend_from_slice(piece),
                }
            }
        }
        tokenizer.finish()?;
        Ok(out)
    }

    #[test]
    fn documents_in_any_pieces() {
        let document = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<!-- > --><s:A a='1 &lt;&#x41;'>x&amp;y<B/><t:C b=\"/>\" a=\"\"  />z&#228;ä\
            <![CDATA[<&]]]]></s:A>\n<!-- -->";
        for size in [1, 2, 3, 5, 1000] {
            let read = read(document.as_bytes(), size).unwrap();
            assert_eq!(read, "<A Some(\"1 <A\")>x&y<B None></><C Some(\"\")></>zää<&]]</>", "{size}");
        }
    }

    #[test]
    fn what_is_refused() {
        use XmlError::*;
        for (document, error) in [
            ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", Doctype),
            ("<!doctype html><html></html>", Doctype),
            ("<a>&b;</a>", Entity),
            ("<a b='&c;'/>", Broken("x")),
            ("<a>&aaaaaaaaaaaaaaaaaaaa;</a>", Entity),
            ("<a>&#xzz;</a>", Broken("a reference to no character")),
            ("<a><b></a></b>", Broken("an end without its start")),
            ("</a>", Broken("an end without its start")),
            ("<a/><b/>", Broken("two roots")),
            ("x<a/>", Broken("text outside of its root")),
            ("<a/>x", Broken("text outside of its root")),
            ("<a/>&lt;", Broken("text outside of its root")),
            ("<a <b>", Broken("a tag in a tag")),
            ("<a b=c/>", Broken("an attribute")),
            ("< a/>", Broken("a tag without a name")),
            ("<>", Broken("a tag without a name")),
            ("<?xml version='1.0' encoding='utf-16'?><a/>", NotUtf8),
            ("<a><b>", Cut),
            ("<a", Cut),
            ("<a>&am", Cut),
            ("", Cut),
        ] {
            let refused = read(document.as_bytes(), 7);
            if document.contains("&c;") {
                // An attribute is read by who asks for it.
                assert!(refused.is_ok(), "{document}");
                continue;
            }
            assert_eq!(refused, Err(error), "{document}");
        }
        assert_eq!(read("<a>".repeat(DEPTH_MAX + 1).as_bytes(), 100), Err(TooDeep));
        assert_eq!(read(format!("<a b='{}'/>", "x".repeat(MARKUP_OCTETS_MAX)).as_bytes(), 1000), Err(TooLong("a tag")));
        assert_eq!(read(format!("<{}/>", "a".repeat(NAME_OCTETS_MAX + 1)).as_bytes(), 1000), Err(TooLong("a name")));
        assert_eq!(read(format!("<a {}/>", "b='' ".repeat(ATTRIBUTES_MAX + 1)).as_bytes(), 1000), Err(TooLong("a list of attributes")));
        assert_eq!(read(b"<a>\xff</a>", 100).unwrap(), "<a None>\u{fffd}</>");
        assert_eq!(read(b"<a\xff/>", 100), Err(NotUtf8));
        assert_eq!(read(b"<a>&#0;&#x1f;&#9;</a>", 100).unwrap(), "<a None>\u{fffd}\u{fffd}\t</>");
    }

    proptest! {
        #[test]
        fn any_octets_end_alike_in_any_pieces(document in "[<>/a&;!?'\" =x\\[\\]-]{0,60}", size in 1usize..9) {
            prop_assert_eq!(read(document.as_bytes(), size), read(document.as_bytes(), 1000));
        }
    }
}
