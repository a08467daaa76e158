//! The header of a message as a table of byte ranges: nothing is decoded, nothing is written anew.
//!
//! The reader cannot fail: mail in the wild has lines without a colon, an mbox `From ` line on top, no blank line, no header at all. What is
//! not a field is kept as it is and passed over. Limits bound the work on hostile headers; beyond them the rest counts as body, and is still
//! delivered octet for octet.

use bytes::Bytes;
use std::ops::Range;

/// Most octets of a header that are read for fields.
pub const HEADER_OCTETS_MAX: usize = 1024 * 1024;
/// Most fields that are read.
pub const FIELDS_MAX: usize = 2_000;
/// Longest field whose value is looked at, in octets; a longer one counts as present and empty.
pub const FIELD_OCTETS_MAX: usize = 64 * 1024;

/// One header field: where its name and value stand in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, without the colon.
    pub name: Range<usize>,
    /// The value behind the colon, folded as it is, without the last line end.
    pub value: Range<usize>,
    /// The whole field, last line end included: what an [`Edit`] cuts.
    pub whole: Range<usize>,
}

/// The fields of a header, in the order of the message, over its canonical octets.
#[derive(Clone, Debug, Default)]
pub struct HeaderBlock {
    octets: Bytes,
    fields: Vec<Field>,
    /// Where the body starts: behind the blank line, or where the header stopped being one.
    body_start: usize,
    truncated: bool,
}

/// A change of the header at delivery: the octets of `cut` are replaced by `with`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Octets of the message, inside its header.
    pub cut: Range<usize>,
    /// What stands there instead; empty to remove, complete lines ended by CRLF otherwise.
    pub with: Vec<u8>,
}

impl HeaderBlock {
    /// Reads the fields at the start of a message in canonical form (see [`super::canonical`]). `start` may hold more than the header.
    pub fn parse(start: Bytes) -> Self {
        Self::parse_start(start, false)
    }

    /// The same, where the message goes on behind `start` if `more` is set: a field that the cut may have gone through is not read.
    pub fn parse_start(start: Bytes, more: bool) -> Self {
        let limit = start.len().min(HEADER_OCTETS_MAX);
        let more = more || start.len() > limit;
        let text = &start[..limit];
        let mut at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut fields: Vec<Field> = Vec::new();
        let mut first_line = true;
        let mut truncated = false;
        let body_start = loop {
            let Some(len) = memchr::memmem::find(&text[at..], b"\r\n").map(|n| n + 2) else {
                // The end of the message, or of what we read of it: then the last field may go on behind the cut, and is left alone.
                truncated = more || at < text.len();
                let may_go_on = truncated && matches!(text.get(at), None | Some(b' ' | b'\t'));
                break match fields.last() {
                    Some(last) if may_go_on && last.whole.end == at => fields.pop().map_or(at, |last| last.whole.start),
                    _ => at,
                };
            };
            let line = &text[at..at + len];
            let continues = matches!(line[0], b' ' | b'\t');
            if len == 2 {
                break at + 2;
            }
            if continues
                && let Some(last) = fields.last_mut()
                && last.whole.end == at
            {
                last.value.end = at + len - 2;
                last.whole.end = at + len;
            } else if let Some(colon) = field_name_end(line) {
                if fields.len() == FIELDS_MAX {
                    truncated = true;
                    break at;
                }
                let name_end = at + line[..colon].trim_ascii_end().len();
                fields.push(Field { name: at..name_end, value: at + colon + 1..at + len - 2, whole: at..at + len });
            } else if (first_line && !is_mbox_from(line)) || (continues && fields.is_empty()) {
                // The message starts with something that is no header: it has none. A folded line without a field to belong to would become
                // part of the last trace field on top, and so spoil our loop marker.
                break at;
            }
            first_line = false;
            at += len;
        };
        HeaderBlock { octets: start.slice(..body_start.max(fields.last().map_or(0, |f| f.whole.end))), fields, body_start, truncated }
    }

    /// The same, without holding on to the octets behind the header.
    pub fn shrunk(self) -> Self {
        HeaderBlock { octets: Bytes::copy_from_slice(&self.octets), ..self }
    }

    /// All fields, from the top.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// A field's name.
    pub fn name(&self, field: &Field) -> &[u8] {
        &self.octets[field.name.clone()]
    }

    /// A field's value, still folded; empty if the field is longer than [`FIELD_OCTETS_MAX`].
    pub fn value(&self, field: &Field) -> &[u8] {
        if field.whole.len() > FIELD_OCTETS_MAX { b"" } else { &self.octets[field.value.clone()] }
    }

    /// A field's value unfolded (RFC 5322 §2.2.3), trimmed, with anything that is not UTF-8 replaced.
    pub fn text(&self, field: &Field) -> String {
        let mut text = String::from_utf8_lossy(self.value(field)).replace("\r\n", "");
        text.truncate(text.trim_end().len());
        text.trim_start().to_owned()
    }

    /// True if the field has this name, in any case.
    pub fn is(&self, field: &Field, name: &str) -> bool {
        self.name(field).eq_ignore_ascii_case(name.as_bytes())
    }

    /// All fields of this name, from the top.
    pub fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Field> + 'a {
        self.fields.iter().filter(move |field| self.is(field, name))
    }

    /// The topmost field of this name.
    pub fn first(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| self.is(field, name))
    }

    /// The octets from the start of the message up to the body.
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// Where the body starts in the message.
    pub fn body_start(&self) -> usize {
        self.body_start
    }

    /// Where trace fields of ours may go: behind an mbox `From ` line and a byte order mark, which are cut at delivery.
    pub fn leading_junk(&self) -> Range<usize> {
        let bom = if self.octets.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let rest = &self.octets[bom..];
        let mbox = if is_mbox_from(rest) { memchr::memmem::find(rest, b"\r\n").map_or(0, |n| n + 2) } else { 0 };
        0..bom + mbox
    }

    /// True if a limit cut the reading short.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Where the colon stands, if the line starts a field: printable ASCII without blanks before it (RFC 5322 §2.2), blanks just before the
/// colon tolerated (§4.5.8).
fn field_name_end(line: &[u8]) -> Option<usize> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    (!name.is_empty() && name.iter().all(|b| (33..=126).contains(b))).then_some(colon)
}

fn is_mbox_from(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(text: &str) -> HeaderBlock {
        HeaderBlock::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn names(block: &HeaderBlock) -> Vec<&str> {
        block.fields().iter().map(|f| std::str::from_utf8(block.name(f)).unwrap()).collect()
    }

    #[test]
    fn reads_fields_and_folding() {
        let b = block("A: 1\r\nB : two\r\n\tmore\r\n\r\nbody: no\r\n");
        assert_eq!(names(&b), ["A", "B"]);
        assert_eq!(b.text(b.first("b").unwrap()), "two\tmore");
        assert_eq!(b.body_start(), 24);
        assert!(!b.is_truncated());
    }

    #[test]
    fn keeps_what_is_no_field() {
        let b = block("From x@y Mon\r\nA: 1\r\nno colon here\r\n folded junk\r\nB: 2\r\n\r\n");
        assert_eq!(names(&b), ["A", "B"]);
        assert_eq!(b.leading_junk(), 0..14);
        assert_eq!(b.text(b.first("A").unwrap()), "1");
    }

    #[test]
    fn a_message_may_have_no_header_or_no_body() {
        let b = block("just some text\r\nA: not a header\r\n");
        assert!(b.fields().is_empty());
        assert_eq!(b.body_start(), 0);
        let b = block(" folded\r\nA: 1\r\n");
        assert_eq!((b.fields().len(), b.body_start()), (0, 0));
        let b = block("From x@y Mon\r\n folded\r\nA: 1\r\n");
        assert_eq!((b.fields().len(), b.body_start()), (0, 14));
        let b = block("A: 1\r\n");
        assert_eq!((names(&b), b.body_start()), (vec!["A"], 6));
        let b = block("\r\nbody\r\n");
        assert_eq!((b.fields().len(), b.body_start()), (0, 2));
        assert_eq!(block("").body_start(), 0);
    }

    #[test]
    fn limits_hold() {
        let b = block(&"X: y\r\n".repeat(FIELDS_MAX + 5));
        assert_eq!(b.fields().len(), FIELDS_MAX);
        assert!(b.is_truncated());
        let b = block(&format!("X: {}\r\nY: 1\r\n\r\n", "a".repeat(FIELD_OCTETS_MAX)));
        assert_eq!(b.value(b.first("X").unwrap()), b"");
        assert_eq!(b.text(b.first("Y").unwrap()), "1");
        let b = block(&format!("X: {}\r\n\r\n", "a".repeat(HEADER_OCTETS_MAX)));
        assert!(b.is_truncated() && b.fields().is_empty());
    }

    proptest! {
        #[test]
        fn ranges_are_sound(raw in "[A-Za-z: \t\r\n.>]{0,200}") {
            let mut canonical = Vec::new();
            let mut rule = crate::mail::Canonical::new();
            rule.push(raw.as_bytes(), &mut canonical);
            rule.finish(&mut canonical);
            let len = canonical.len();
            let b = HeaderBlock::parse(Bytes::from(canonical));
            let mut end = 0;
            for f in b.fields() {
                prop_assert!(f.whole.start >= end && f.whole.end <= len && f.name.end <= f.value.start && f.value.end <= f.whole.end);
                end = f.whole.end;
            }
            prop_assert!(b.body_start() <= len && b.body_start() >= end);
            prop_assert!(b.leading_junk().end <= len);
        }
    }
}
