//! Addresses out of a header value, whatever the value holds.
//!
//! The scanner is our own, not mail-parser's, for three reasons: mail-parser takes a field for an address list only by names that it knows,
//! and envelope headers are not among them; `rfc822; user@host` (RFC 3798 §3.1) and a list without commas are no address lists to it; and it
//! decodes RFC 2047 words, so that an address could come out that does not stand in the field. Here nothing is decoded: what is yielded
//! stands in the value as it is. One walk over the text, no recursion; what cannot be read yields no address, never an error.

use crate::mail::Address;

/// Most addresses that are taken from one field.
pub const ADDRESSES_MAX: usize = 1_000;

/// The addresses of a header value, in its order, at most [`ADDRESSES_MAX`]. Comments, display names and group names are passed over.
pub fn addresses(value: &str) -> Vec<Address> {
    let mut scan = Scan { found: Vec::new(), words: String::new(), path: None };
    let (last_quote, last_close) = (value.rfind('"').unwrap_or(0), value.rfind(')').unwrap_or(0));
    let mut chars = value.char_indices();
    while let Some((at, c)) = chars.next() {
        if scan.found.len() >= ADDRESSES_MAX {
            break;
        }
        match c {
            // A quote or a bracket that nothing closes is an ordinary character: the rest of the field must not vanish in it.
            '"' if at < last_quote => {
                scan.push('"');
                while let Some((_, c)) = chars.next() {
                    scan.push(c);
                    match c {
                        '\\' => scan.extend(chars.next().map(|(_, c)| c)),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '(' if at < last_close => {
                let mut depth = 1;
                while depth > 0
                    && let Some((_, c)) = chars.next()
                {
                    match c {
                        '\\' => drop(chars.next()),
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                }
                scan.push(' ');
            }
            '<' => scan.open(),
            '>' => scan.close(),
            // A source route has commas of its own (RFC 5321 appendix C); elsewhere a comma inside a path means that its `>` is missing.
            ',' if scan.path.as_ref().is_some_and(|path| path.starts_with('@') && !path.contains(':')) => scan.push(','),
            ',' | ';' => scan.end(),
            // What stands before a colon is the name of a group (RFC 5322 §3.4), or `mailto`.
            ':' if scan.path.is_none() => scan.words.clear(),
            '\r' | '\n' | '\t' => scan.push(' '),
            c => scan.push(c),
        }
    }
    scan.end();
    scan.found.truncate(ADDRESSES_MAX);
    scan.found
}

struct Scan {
    found: Vec<Address>,
    /// What stands outside angle brackets since the last separator.
    words: String,
    /// What stands inside the angle bracket that is open.
    path: Option<String>,
}

impl Scan {
    fn push(&mut self, c: char) {
        self.path.as_mut().unwrap_or(&mut self.words).push(c);
    }

    fn extend(&mut self, c: Option<char>) {
        if let Some(c) = c {
            self.push(c);
        }
    }

    fn open(&mut self) {
        self.close();
        // What stood before the bracket is a display name.
        self.words.clear();
        self.path = Some(String::new());
    }

    fn close(&mut self) {
        if let Some(path) = self.path.take() {
            self.found.extend(one(&path));
        }
    }

    fn end(&mut self) {
        self.close();
        let words = std::mem::take(&mut self.words);
        if words.contains('@') {
            self.found.extend(words_outside_quotes(&words).filter_map(one));
        }
    }
}

/// Words between blanks, where a blank inside quotes does not count.
fn words_outside_quotes(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c => return !quoted && c.is_whitespace(),
        }
        false
    })
}

fn one(text: &str) -> Option<Address> {
    let text = text.trim();
    // An encoded word is not an address (RFC 2047 §5), and octets that were no UTF-8 name nobody.
    if text.contains('\u{fffd}') || (text.contains("=?") && text.contains("?=")) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(value: &str) -> Vec<String> {
        addresses(value).iter().map(Address::to_smtp).collect()
    }

    #[test]
    fn a_table_of_values() {
        for (value, want) in [
            ("a@b.example", &["a@b.example"][..]),
            ("<a@b.example>", &["a@b.example"]),
            ("Anna <a@b.example>, c@d.example", &["a@b.example", "c@d.example"]),
            ("\"x@y.example\" <a@b.example>", &["a@b.example"]),
            ("\"Doe, John\" <a@b.example>", &["a@b.example"]),
            ("a@b.example (Anna (the one, c@d.example))", &["a@b.example"]),
            ("undisclosed-recipients:;", &[]),
            ("Team: a@b.example, C <c@d.example>;, e@f.example", &["a@b.example", "c@d.example", "e@f.example"]),
            ("<a@b.example", &["a@b.example"]),
            ("<a@b.example, <c@d.example>", &["a@b.example", "c@d.example"]),
            ("a@b.example c@d.example", &["a@b.example", "c@d.example"]),
            ("<a@b.example> <c@d.example>", &["a@b.example", "c@d.example"]),
            ("rfc822; a@b.example", &["a@b.example"]),
            ("RFC822;a@b.example", &["a@b.example"]),
            ("mailto:a@b.example", &["a@b.example"]),
            ("=?utf-8?Q?A=40x.example?= <a@b.example>", &["a@b.example"]),
            ("=?utf-8?Q?ceo=40b.example?=", &[]),
            ("=?utf-8?Q?Name?=c@d.example", &[]),
            ("\"a b\"@c.example", &["\"a b\"@c.example"]),
            ("\"open <a@b.example>", &["a@b.example"]),
            ("(open <a@b.example>", &["a@b.example"]),
            ("<@r.example,@s.example:u@h.example>", &["u@h.example"]),
            ("два@почта.рф", &["два@xn--80a1acny.xn--p1ai"]),
            ("a@b.example\r\n\t, c@d.example", &["a@b.example", "c@d.example"]),
            ("root", &[]),
            ("", &[]),
            ("@", &[]),
            ("<>", &[]),
            ("a@\u{fffd}.example", &[]),
        ] {
            assert_eq!(found(value), want, "of {value:?}");
        }
    }

    #[test]
    fn a_hundred_thousand_addresses_are_capped() {
        assert_eq!(addresses(&"a@b.example, ".repeat(100_000)).len(), ADDRESSES_MAX);
        assert_eq!(addresses(&"<".repeat(1_000_000)).len(), 0);
        assert_eq!(addresses(&format!("{}{}", "(".repeat(500_000), ")".repeat(500_000))).len(), 0);
        assert_eq!(addresses(&format!("{}\"", "\"\\".repeat(500_000))).len(), 0);
    }

    proptest! {
        #[test]
        fn whatever_stands_there_no_address_breaks_a_line(value in "[ab@.<>()\"\\\\,;: \r\n\u{0}é=?]{0,80}") {
            for address in addresses(&value) {
                let wire = address.to_smtp();
                prop_assert!(!wire.chars().any(|c| c.is_control()), "{:?} of {:?}", wire, value);
                prop_assert_eq!(wire.parse::<Address>().unwrap(), address);
            }
        }
    }
}
