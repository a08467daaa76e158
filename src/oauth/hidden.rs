//! What a question held that nobody else may see, and how it is taken out of the server's words, which may repeat it: pure.

use crate::mail::Secret;
use crate::mail::outcome::harmless;

/// Fields of a form that nobody else may see.
const FIELDS: [&str; 9] =
    ["client_secret", "client_assertion", "refresh_token", "assertion", "code", "code_verifier", "device_code", "token", "access_token"];

/// The secrets of one question.
#[derive(Default)]
pub struct Hidden(Vec<Secret>);

impl Hidden {
    /// Those of this form.
    pub fn of(form: &Secret) -> Self {
        let fields = form_urlencoded::parse(form.expose().as_bytes());
        let secrets = fields.filter(|(name, value)| FIELDS.contains(&&**name) && !value.is_empty());
        Hidden(secrets.map(|(_, value)| Secret::new(value.into_owned())).collect())
    }

    /// These words without them, made harmless, and no longer than this.
    pub fn words(&self, text: &str, octets_max: usize) -> String {
        harmless(&self.without(text), octets_max)
    }

    /// These words without them. Nothing may be cut before: of half a secret nobody could tell what it is.
    pub fn without(&self, text: &str) -> String {
        let mut out = Vec::with_capacity(text.len());
        let mut left = text.as_bytes();
        while let Some((first, rest)) = left.split_first() {
            let longest = self.0.iter().filter_map(|secret| repeated(left, secret.expose().as_bytes())).max();
            match longest {
                Some(octets) => {
                    out.extend_from_slice(b"***");
                    left = &left[octets..];
                }
                None => {
                    out.push(*first);
                    left = rest;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// How many octets the text begins with that are the secret: as it is, or with octets as forms and addresses have them (`%2F`, `+`) or as JSON may
/// (`\/`).
fn repeated(text: &[u8], secret: &[u8]) -> Option<usize> {
    if text.starts_with(secret) {
        return Some(secret.len());
    }
    let mut at = 0;
    for &octet in secret {
        at += match &text[at..] {
            [b'%', high, low, ..] if encoded(*high, *low) == Some(octet) => 3,
            [b'\\', next, ..] if *next == octet => 2,
            [b'+', ..] if octet == b' ' => 1,
            [next, ..] if *next == octet => 1,
            _ => return None,
        };
    }
    Some(at)
}

fn encoded(high: u8, low: u8) -> Option<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_is_not_told() {
        let form = "grant_type=refresh_token&refresh_token=1%2F%2Fr%7E+%25&client_id=me&client_secret=s3&token=t4";
        let hidden = Hidden::of(&Secret::new(form.to_owned()));
        for (said, told) in [
            ("me: 1//r~ % of s3 has expired, t4 too", "me: *** of *** has expired, *** too"),
            // As it was sent, as others write it, and as PHP's JSON does.
            ("refresh_token=1%2F%2Fr%7E+%25&client_id=me", "refresh_token=***&client_id=me"),
            ("1%2f%2fr~%20%25", "***"),
            ("1\\/\\/r~ %", "***"),
            ("1//r, 1%2F%2", "1//r, 1%2F%2"),
            ("почта s3", "почта ***"),
            ("", ""),
        ] {
            assert_eq!(hidden.words(said, 400), told, "{said}");
        }
        // A long one, of which nothing is left by cutting.
        let long = "0.AXoA~".repeat(200);
        let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("refresh_token", &long).finish();
        let hidden = Hidden::of(&Secret::new(form.clone()));
        for said in [format!("bad token {long}"), form] {
            let told = hidden.words(&said, 80);
            assert!(told.ends_with("***") && !told.contains("AXoA"), "{told}");
        }
    }
}
