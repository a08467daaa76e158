//! Mail addresses that cannot break a line of SMTP.
//!
//! An [`Address`] is parsed once and is safe from then on: it holds no control character, no line break and no unbalanced bracket, and
//! its domain is kept as lower-case A-labels, so that `икс.рф` and `xn--h1aev.xn--p1ai` are equal. The local part is kept as it was
//! written (RFC 5321 §2.4: its case belongs to its host), without quotes that it does not need.

use std::fmt;
use std::str::FromStr;

/// Longest local part that is taken, in octets. RFC 5321 §4.5.3.1.1 says 64; VERP and SRS addresses in the wild are longer.
pub const LOCAL_PART_OCTETS_MAX: usize = 256;
/// Longest domain in A-label form, in octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;

/// A domain name in lower-case A-labels; equality is equality of the A-labels.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    /// The domain as it goes over the wire: lower case, A-labels.
    pub fn as_ascii(&self) -> &str {
        &self.0
    }

    /// The domain as people write it: U-labels where they are valid (RFC 5890 §2.3.2.1).
    pub fn to_unicode(&self) -> String {
        let (unicode, result) = idna::domain_to_unicode(&self.0);
        if result.is_ok() { unicode } else { self.0.clone() }
    }

    /// True if this is `parent` itself or a sub-domain of it.
    pub fn is_within(&self, parent: &Domain) -> bool {
        self.0 == parent.0
            || (self.0.len() > parent.0.len() && self.0.ends_with(&parent.0) && self.0.as_bytes()[self.0.len() - parent.0.len() - 1] == b'.')
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 4 * DOMAIN_OCTETS_MAX {
            return Err(AddressError::Domain);
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| AddressError::Domain)?;
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let labels_fit = ascii.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(safe));
        if !labels_fit || ascii.len() > DOMAIN_OCTETS_MAX {
            return Err(AddressError::Domain);
        }
        Ok(Domain(ascii))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_unicode())
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A mailbox address `local@domain`.
///
/// `Display` is for people (U-labels, the local part unquoted where that is unambiguous); [`Address::to_smtp`] is for the wire.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    local: String,
    domain: Domain,
}

impl Address {
    /// Builds an address from an unquoted local part and a domain.
    pub fn new(local: &str, domain: Domain) -> Result<Self, AddressError> {
        if local.is_empty() || local.len() > LOCAL_PART_OCTETS_MAX || local.chars().any(char::is_control) {
            return Err(AddressError::LocalPart);
        }
        Ok(Address { local: local.to_owned(), domain })
    }

    /// The local part, unquoted.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The same local part at another domain.
    pub fn at(&self, domain: Domain) -> Address {
        Address { local: self.local.clone(), domain }
    }

    /// True if the local part has octets above 127, so that only SMTPUTF8 can carry it (RFC 6531 §3.2).
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }

    /// The address as it stands between `<` and `>` on the wire: quoted where RFC 5321 §4.1.2 asks for it, the domain in A-labels.
    pub fn to_smtp(&self) -> String {
        format!("{}@{}", quoted_where_needed(&self.local), self.domain.as_ascii())
    }
}

/// Dot-string as it is, anything else as a Quoted-string (RFC 5321 §4.1.2).
fn quoted_where_needed(local: &str) -> String {
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    if local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext)) {
        return local.to_owned();
    }
    let mut quoted = String::with_capacity(local.len() + 2);
    quoted.push('"');
    for c in local.chars() {
        if c == '"' || c == '\\' {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

impl FromStr for Address {
    type Err = AddressError;

    /// Takes `local@domain`, with the local part quoted or not; surrounding white space and one pair of angle brackets are dropped.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let text = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text).trim();
        let at = text.rfind('@').ok_or(AddressError::NoAt)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        // A source route (RFC 5321 §C) is ignored: `@relay.example:user@host`.
        let local = match (local.starts_with('@'), local.rfind(':')) {
            (true, Some(colon)) => &local[colon + 1..],
            _ => local,
        };
        let local =
            if local.len() >= 2 && local.starts_with('"') && local.ends_with('"') { unquoted(&local[1..local.len() - 1])? } else { bare(local)? };
        Address::new(&local, domain.parse()?)
    }
}

fn unquoted(inner: &str) -> Result<String, AddressError> {
    let mut local = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => local.push(chars.next().ok_or(AddressError::LocalPart)?),
            '"' => return Err(AddressError::LocalPart),
            c => local.push(c),
        }
    }
    Ok(local)
}

/// An unquoted local part may hold what mail in the wild holds (`a..b`), but nothing that has a meaning in an SMTP path.
fn bare(local: &str) -> Result<String, AddressError> {
    if local.chars().any(|c| c.is_whitespace() || "<>()[]\\,;:@\"".contains(c)) {
        return Err(AddressError::LocalPart);
    }
    Ok(local.to_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", quoted_where_needed(&self.local), self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@` in it.
    #[error("an address has the form local@domain")]
    NoAt,
    /// The local part is empty, too long, or holds what an SMTP path cannot.
    #[error("the part before the `@` is not a valid local part")]
    LocalPart,
    /// The domain is empty, too long, or not a domain name.
    #[error("the part after the `@` is not a domain name")]
    Domain,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Result<String, AddressError> {
        text.parse::<Address>().map(|a| a.to_smtp())
    }

    #[test]
    fn parses_and_writes() {
        assert_eq!(wire("Anna@Example.ORG").unwrap(), "Anna@example.org");
        assert_eq!(wire(" <a@b.example> ").unwrap(), "a@b.example");
        assert_eq!(wire("раз@икс.рф").unwrap(), "раз@xn--h1aev.xn--p1ai");
        assert_eq!(wire("\"a b\"@c.example").unwrap(), "\"a b\"@c.example");
        assert_eq!(wire("\"plain\"@c.example").unwrap(), "plain@c.example");
        assert_eq!(wire("a..b@c.example").unwrap(), "\"a..b\"@c.example");
        assert_eq!(wire("@relay.example:user@host.example").unwrap(), "user@host.example");
        assert_eq!(wire("\"a@b\"@c.example").unwrap(), "\"a@b\"@c.example");
    }

    #[test]
    fn both_spellings_of_a_domain_are_equal() {
        let unicode: Domain = "почта.рф".parse().unwrap();
        assert_eq!(unicode, unicode.as_ascii().parse().unwrap());
        assert_eq!(unicode.to_string(), "почта.рф");
    }

    #[test]
    fn refuses_what_could_break_a_line() {
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "root",
            "a b@c.example",
            "a\r\n@c.example",
            "\"a\rb\"@c.example",
            "a@b\r\nRCPT TO:<x",
            "a@b..c",
            "a>@b.example",
            "a@b c.example",
            "\"a\"b\"@c.example",
            "a\0@b.example",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_sub_domain_is_within_its_parent_only() {
        let d = |t: &str| t.parse::<Domain>().unwrap();
        assert!(d("mx.example.org").is_within(&d("example.org")));
        assert!(d("example.org").is_within(&d("example.org")));
        assert!(!d("notexample.org").is_within(&d("example.org")));
        assert!(!d("org").is_within(&d("example.org")));
    }
}
