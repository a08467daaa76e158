//! A small XML document from outside, read whole. What it says ends in a place that a password goes to, or in a suggestion to an operator: a document type
//! declaration is refused (so no entity is ever expanded but the five of XML itself); depth, number and length have limits.

use crate::mail::outcome::harmless;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

/// Most attributes of an element that are looked at.
const ATTRIBUTES_MAX: usize = 16;

/// What is read, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What it is called in errors.
    pub what: &'static str,
    /// The outermost element.
    pub root: &'static str,
    /// Longest document.
    pub octets_max: usize,
    /// Deepest element.
    pub depth_max: usize,
    /// Longest text of an element that counts.
    pub text_octets_max: usize,
}

/// Why a document is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Beyond [`Kind::octets_max`].
    #[error("it has more than {0} octets")]
    TooLong(usize),
    /// Another encoding, or none.
    #[error("it is not in UTF-8")]
    NotUtf8,
    /// It is not well-formed.
    #[error("it is no XML: {0}")]
    NotXml(String),
    /// `<!DOCTYPE …>`, which could define entities.
    #[error("it has a document type declaration, which is refused")]
    Doctype,
    /// An entity that is not one of XML itself.
    #[error("it has an entity of its own, which is refused")]
    Entity,
    /// Nobody nests so deep on purpose.
    #[error("its elements are nested more than {0} deep")]
    TooDeep(usize),
    /// Something else; a web page, as a rule.
    #[error("it is no {0}")]
    Other(&'static str),
}

/// Who takes what stands in a document. Paths are the local names from the outermost element to the one that it is about.
pub trait Visitor {
    /// An element begins.
    fn open(&mut self, path: &[&str], attributes: Attributes<'_>);
    /// An element ends, with the text behind its last child; `None` if that is too long to be good for anything.
    fn close(&mut self, path: &[&str], text: Option<&str>);
}

/// The attributes of an element.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(&'a BytesStart<'a>);

impl Attributes<'_> {
    /// The value of one, as it stands there.
    pub fn get(&self, name: &str) -> Option<String> {
        // Checks for attributes that stand twice take time by the square of their number.
        let mut attributes = self.0.attributes();
        let mut all = attributes.with_checks(false).take(ATTRIBUTES_MAX).flatten();
        all.find(|attribute| attribute.key.as_ref() == name).map(|attribute| attribute.value.as_ref().to_owned())
    }
}

/// Reads a document to its end.
pub fn read(kind: &Kind, octets: &[u8], visitor: &mut impl Visitor) -> Result<(), DocumentError> {
    if octets.len() > kind.octets_max {
        return Err(DocumentError::TooLong(kind.octets_max));
    }
    let text = std::str::from_utf8(octets).map_err(|_| DocumentError::NotUtf8)?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut walk = Walk { kind, visitor, path: Vec::new(), text: String::new(), has_root: false };
    let broken = |error: &dyn std::error::Error| DocumentError::NotXml(harmless(&error.to_string(), 200));
    loop {
        match reader.read_event().map_err(|error| broken(&error))? {
            Event::Start(start) => walk.open(&start)?,
            Event::Empty(start) => {
                walk.open(&start)?;
                walk.close();
            }
            Event::End(_) => walk.close(),
            Event::Text(text) => walk.text(&text.xml10_content()),
            Event::CData(text) => walk.text(&text.xml10_content()),
            Event::GeneralRef(name) => match name.resolve_char_ref().map_err(|error| broken(&error))? {
                Some(char) => walk.text(char.encode_utf8(&mut [0; 4])),
                None => walk.text(resolve_predefined_entity(&name).ok_or(DocumentError::Entity)?),
            },
            Event::DocType(_) => return Err(DocumentError::Doctype),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match (walk.has_root, walk.path.is_empty()) {
        (false, _) => Err(DocumentError::Other(kind.what)),
        // The parser takes an end in the middle of an element for an end.
        (true, false) => Err(DocumentError::NotXml("it ends in the middle".into())),
        (true, true) => Ok(()),
    }
}

/// Where in a document we are.
struct Walk<'a, V> {
    kind: &'a Kind,
    visitor: &'a mut V,
    /// Names of the open elements.
    path: Vec<String>,
    /// The text of the innermost one.
    text: String,
    has_root: bool,
}

impl<V: Visitor> Walk<'_, V> {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), DocumentError> {
        if self.path.len() == self.kind.depth_max {
            return Err(DocumentError::TooDeep(self.kind.depth_max));
        }
        let name = start.local_name().as_ref().to_owned();
        if self.path.is_empty() && name != self.kind.root {
            return Err(DocumentError::Other(self.kind.what));
        }
        self.has_root = true;
        self.path.push(name);
        self.text.clear();
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        self.visitor.open(&path, Attributes(start));
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if self.text.len() <= self.kind.text_octets_max {
            self.text.push_str(text);
        }
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        self.visitor.close(&path, (text.len() <= self.kind.text_octets_max).then_some(text.as_str()));
        self.path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIND: Kind = Kind { what: "list of things", root: "things", octets_max: 1_000, depth_max: 4, text_octets_max: 20 };

    /// `path@a=text`, an element that ends after another.
    #[derive(Default)]
    struct Seen(Vec<String>, Vec<Option<String>>);

    impl Visitor for Seen {
        fn open(&mut self, _: &[&str], attributes: Attributes<'_>) {
            self.1.push(attributes.get("a"));
        }

        fn close(&mut self, path: &[&str], text: Option<&str>) {
            self.0.push(format!("{}={}", path.join("/"), text.unwrap_or("(too long)")));
        }
    }

    fn seen(document: &str) -> Result<Seen, DocumentError> {
        let mut seen = Seen::default();
        read(&KIND, document.as_bytes(), &mut seen).map(|()| seen)
    }

    #[test]
    fn elements_in_their_places() {
        let document = "\u{feff}<?xml version=\"1.0\"?><!-- x --><x:things xmlns:x=\"u\" a=\"1\"><one b=\"3\" a='2'>&lt;&#x41;<![CDATA[<b>]]></one><two/></x:things>";
        let Seen(closed, attributes) = seen(document).unwrap();
        assert_eq!(closed, ["things/one=<A<b>", "things/two=", "things="]);
        assert_eq!(attributes, [Some("1".to_owned()), Some("2".to_owned()), None]);
        let long = format!("<things><one>{}</one><one>{}</one></things>", "x".repeat(20), "x".repeat(21));
        assert_eq!(seen(&long).unwrap().0, [format!("things/one={}", "x".repeat(20)), "things/one=(too long)".into(), "things=".into()]);
        let crowd: String = (0..ATTRIBUTES_MAX).map(|n| format!(" b{n}=\"\"")).collect();
        assert_eq!(seen(&format!("<things{crowd} a=\"1\"/>")).unwrap().1, [None]);
    }

    #[test]
    fn what_is_not_believed() {
        for (document, wanted) in [
            ("<!DOCTYPE x [<!ENTITY e \"y\">]><things/>", DocumentError::Doctype),
            ("<things>&e;</things>", DocumentError::Entity),
            ("<html><body>Welcome</body></html>", DocumentError::Other("list of things")),
            ("Welcome", DocumentError::Other("list of things")),
            ("", DocumentError::Other("list of things")),
            ("<things><a>", DocumentError::NotXml("it ends in the middle".into())),
            ("<things><a><a><a><a>", DocumentError::TooDeep(4)),
            (&" ".repeat(1_001), DocumentError::TooLong(1_000)),
        ] {
            assert_eq!(seen(document).map(|seen| seen.0), Err(wanted), "{document:.60}");
        }
        assert_eq!(read(&KIND, &[0xff, 0xfe, b'<'], &mut Seen::default()), Err(DocumentError::NotUtf8));
        assert!(matches!(seen("<things><a></things>"), Err(DocumentError::NotXml(_))));
        assert!(matches!(seen("<things></thing>"), Err(DocumentError::NotXml(_))));
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&KIND, &octets, &mut Seen::default());
        }
    }
}
