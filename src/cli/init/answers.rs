//! What is answered already: keys of a collector with their values, and its name.

use super::super::exit::Exit;
use crate::config::edit::{self, Data, Value};
use crate::mail::Secret;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Largest file of answers.
const OCTETS_MAX: u64 = 256 * 1024;
/// In which order keys are written, the others behind them.
const ORDER: [&str; 14] =
    ["title", "use", "provider", "email", "protocol", "server", "port", "tls", "auth", "login", "username", "password", "recipient", "delivery"];

#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    keys: Vec<(Vec<String>, Value)>,
    /// A password that stands in the answers as itself.
    secret: Option<Secret>,
}

impl Answers {
    /// Reads a file of answers.
    pub fn read(path: &Path) -> Result<Self, Exit> {
        let failed = |error: std::io::Error| {
            eprintln!("error: {}: {error}", path.display());
            if error.kind() == std::io::ErrorKind::NotFound { Exit::NoInput } else { Exit::Io }
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        let mut text = String::new();
        file.take(OCTETS_MAX).read_to_string(&mut text).map_err(failed)?;
        let all = edit::values(path, &text).map_err(|why| {
            eprintln!("{why}");
            Exit::Config
        })?;
        let mut answers = Answers::default();
        for (key, value) in all {
            match (key.as_str(), value.data()) {
                ("password", Data::Scalar(secret, _)) => {
                    if mode & 0o044 != 0 {
                        eprintln!(
                            "error: {} holds a password, and others may read it\nhint: chmod 600 it, or say where the password is, as {{file: /path}}",
                            path.display()
                        );
                        return Err(Exit::Config);
                    }
                    answers.secret = Some(Secret::new(secret.clone()));
                }
                _ => answers.keys.push((vec![key], value)),
            }
        }
        Ok(answers)
    }

    /// A key of the top level is answered, at least in part.
    pub fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(path, _)| path.first().is_some_and(|first| first == key))
    }

    /// The text of a key.
    pub fn text(&self, key: &str) -> Option<String> {
        self.keys.iter().find_map(|(path, value)| match value.data() {
            Data::Scalar(text, _) if path.len() == 1 && path[0] == key => Some(text.clone()),
            _ => None,
        })
    }

    /// True if a login without a password is asked for.
    pub fn says_no_password(&self) -> bool {
        let block = self.keys.iter().find(|(path, _)| path.first().is_some_and(|key| key == "auth"));
        match block.map(|(_, value)| value.data()) {
            Some(Data::Map(auth)) => {
                auth.contains_key("token")
                    || matches!(auth.get("method"), Some(Data::Scalar(word, _)) if ["external", "none"].contains(&word.as_str()))
            }
            _ => false,
        }
    }

    pub fn take_secret(&mut self) -> Result<Option<Secret>, Exit> {
        Ok(self.secret.take())
    }

    /// Answers a key with a text.
    pub fn set(&mut self, key: &str, text: &str) {
        let value = Value::parse(text).ok().filter(|value| matches!(value.data(), Data::Scalar(found, _) if found == text));
        self.set_value(key, value.unwrap_or_else(|| Value::text(text)));
    }

    /// Answers a key.
    pub fn set_value(&mut self, key: &str, value: Value) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        self.keys.retain(|(known, _)| *known != path);
        self.keys.push((path, value));
    }

    /// Forgets a key with all below it.
    pub fn remove(&mut self, key: &str) {
        self.keys.retain(|(path, _)| path.first().is_none_or(|first| first != key));
    }

    /// The keys of the collector.
    pub fn keys(&self) -> Vec<(Vec<String>, Value)> {
        let mut keys: Vec<_> = self.keys.iter().filter(|(path, _)| path.first().is_some_and(|key| key != "name")).cloned().collect();
        keys.sort_by_key(|(path, _)| ORDER.iter().position(|key| path.first().is_some_and(|first| first == key)).unwrap_or(ORDER.len() - 2));
        keys
    }
}
