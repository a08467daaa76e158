//! The path of Maildirs as a template: each value is one safe component of a path, or the address has no Maildir.

use crate::config::maildir_base;
use crate::mail::Address;
use std::path::PathBuf;

/// Longest path component, in octets: NAME_MAX of every file system in use.
const COMPONENT_OCTETS_MAX: usize = 255;

/// A path with placeholders, split where its components stop to be the operator's.
pub(super) struct Template {
    pub(super) text: String,
    pub(super) base: PathBuf,
    /// The components below the base; at least one.
    below: Vec<String>,
}

impl Template {
    pub(super) fn new(text: &str) -> Self {
        let (base, below) = maildir_base(text);
        Template { text: text.to_owned(), base, below: below.iter().map(|part| part.to_string()).collect() }
    }

    /// The components below the base for this address, or why it cannot have any.
    pub(super) fn components(&self, address: &Address) -> Result<Vec<String>, String> {
        let domain = address.domain().to_unicode().to_lowercase();
        let fill = |part: &String| {
            let mut filled = String::new();
            let mut rest = part.as_str();
            // From left to right, so that a local part `{domain}` is not filled in once more.
            while let Some(at) = rest.find('{') {
                filled.push_str(&rest[..at]);
                rest = &rest[at..];
                let value = if let Some(after) = rest.strip_prefix("{local}") {
                    rest = after;
                    address.local()
                } else if let Some(after) = rest.strip_prefix("{domain}") {
                    rest = after;
                    &domain
                } else {
                    rest = &rest[1..];
                    filled.push('{');
                    continue;
                };
                filled.push_str(safe(value)?);
            }
            filled.push_str(rest);
            if filled.len() > COMPONENT_OCTETS_MAX {
                return Err(format!("`{filled}` is too long for a file name"));
            }
            match filled.as_str() {
                "." | ".." => Err(format!("`{filled}` cannot be a folder")),
                _ => Ok(filled),
            }
        };
        self.below.iter().map(fill).collect()
    }
}

/// The value, if it can be (a part of) one path component whatever stands around it.
fn safe(value: &str) -> Result<&str, String> {
    let why = if value.is_empty() {
        "it is empty"
    } else if value.starts_with('.') {
        "it starts with a dot"
    } else if value.contains('/') {
        "it has a slash"
    } else if value.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(value);
    };
    Err(format!("`{}` cannot name a folder: {why}", value.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn components(template: &str, local: &str, domain: &str) -> Result<Vec<String>, String> {
        Template::new(template).components(&Address::new(local, domain.parse().unwrap()).unwrap())
    }

    #[test]
    fn templates() {
        let template = Template::new("/var/mail/{domain}/{local}/Maildir");
        assert_eq!(template.base, PathBuf::from("/var/mail"));
        let of = |template, local, domain| components(template, local, domain).unwrap().join("/");
        assert_eq!(of("/var/mail/{domain}/{local}/Maildir", "Anna", "Example.ORG"), "example.org/Anna/Maildir");
        assert_eq!(of("/m/{local}@{domain}", "раз", "xn--h1aev.xn--p1ai"), "раз@икс.рф");
        assert_eq!(of("/m/{local}", "{domain}", "a.example"), "{domain}");
        assert_eq!(of("/m/{x}{local}", "a", "a.example"), "{x}a");
        assert_eq!(of("/m/box", "a", "a.example"), "box");
        assert_eq!(Template::new("/m/box").base, PathBuf::from("/m"));
    }

    #[test]
    fn an_unsafe_local_part_has_no_folder() {
        for local in [".", "..", ".hidden", "a/b", "../x", "/", "/etc/passwd"] {
            assert!(components("/m/{local}", local, "a.example").is_err(), "{local}");
        }
        assert!(components("/m/{local}-{local}", &"x".repeat(128), "a.example").is_err());
        assert!(components("/m/{local}", &"x".repeat(255), "a.example").is_ok());
    }

    proptest! {
        #[test]
        fn a_component_is_one_component(local in any::<String>()) {
            if let Ok(address) = Address::new(&local, "a.example".parse().unwrap())
                && let Ok(parts) = Template::new("/m/{local}").components(&address)
            {
                prop_assert_eq!(parts.len(), 1);
                let path = PathBuf::from(&parts[0]);
                let kinds: Vec<_> = path.components().collect();
                prop_assert!(matches!(kinds[..], [std::path::Component::Normal(_)]) && !parts[0].contains('\0'));
            }
        }
    }
}
