//! A secret value: wiped from memory when dropped, and never shown by `Debug` or `Display`.

use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// A password or token.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the value over.
    pub fn new(value: String) -> Self {
        Secret(SecretString::from(value))
    }

    /// The value itself: only for the line that logs in.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}
