//! APOP (RFC 1939 §7): a hash of the greeting's timestamp and the password.

use super::cram::hex;
use crate::mail::Secret;
use md5::{Digest, Md5};

/// Longest timestamp that is taken.
const TIMESTAMP_OCTETS_MAX: usize = 255;

/// The timestamp of a greeting, with its angle brackets. `None` if there is none that has the form of a message id (RFC 822 §4.6.1): with
/// octets of his choice there, an attacker who answers in the server's place finds the password by MD5 collisions (CVE-2007-1558).
pub fn timestamp(greeting: &str) -> Option<&str> {
    let start = greeting.find('<')?;
    let end = start + greeting[start..].find('>')?;
    let inside = &greeting[start + 1..end];
    let (local, domain) = inside.split_once('@')?;
    let is_word = |text: &str, special: &str| {
        !text.is_empty()
            && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || special.as_bytes().contains(&b)))
    };
    let is_literal =
        |text: &str| text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).is_some_and(|inside| is_word(&inside.replace(':', "."), "-"));
    let fine = inside.len() <= TIMESTAMP_OCTETS_MAX && is_word(local, "!#$%&'*+-/=?^_`{|}~") && (is_word(domain, "-_") || is_literal(domain));
    fine.then(|| &greeting[start..=end])
}

/// The digest of APOP.
pub fn apop(timestamp: &str, password: &Secret) -> String {
    let mut digest = Md5::new();
    digest.update(timestamp.as_bytes());
    digest.update(password.expose().as_bytes());
    hex(&digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1939_section_7() {
        let greeting = "POP3 server ready <1896.697170952@dbc.mtview.ca.us>";
        assert_eq!(timestamp(greeting), Some("<1896.697170952@dbc.mtview.ca.us>"));
        assert_eq!(apop(timestamp(greeting).unwrap(), &Secret::new("tanstaaf".into())), "c4c9334bac560ecc979e58001b3e22fb");
    }

    #[test]
    fn only_message_ids_are_hashed() {
        for fine in ["<1.2@h>", "<a+b@[127.0.0.1]>", "<1@host_name.local>", "ready <1.2@h> <3@h>"] {
            assert!(timestamp(fine).is_some(), "{fine}");
        }
        let long = format!("<1@{}>", "a".repeat(300));
        for bad in ["", "ready", "<>", "<1>", "<@h>", "<1@>", "<1 2@h>", "<1@h", "<1..2@h>", "<1@h@g>", "<1\u{fffd}@h>", "<é@h>", "<1\u{1}@h>", &long]
        {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
    }
}
