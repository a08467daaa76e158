//! What is answered already: keys of a collector with their values, and its name.

use super::super::exit::Exit;
use crate::config::edit::{self, Data, Value};
use crate::config::{AnswersText, Problem, Report, secret_within};
use crate::mail::Secret;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
    /// The file, for what is wrong with it.
    file: Option<(PathBuf, AnswersText)>,
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
        let lines = AnswersText::new(path, &text);
        let strange = lines.strange();
        if !strange.is_empty() {
            eprint!("{}", Report { errors: strange, warnings: Vec::new() });
            return Err(Exit::Config);
        }
        let (mut keys, mut secret) = (Vec::new(), None);
        for (key, value) in all {
            match (key.as_str(), value.data()) {
                ("password", Data::Scalar(text, _)) => {
                    if mode & 0o044 != 0 {
                        eprintln!(
                            "error: {} holds a password, and others may read it\nhint: chmod 600 it, or say where the password is, as {{secret: NAME}}",
                            path.display()
                        );
                        return Err(Exit::Config);
                    }
                    secret = Some(Secret::new(text.clone()));
                }
                _ => keys.push((vec![key], value)),
            }
        }
        let answers = Answers { keys: edit::apart(keys), secret, file: Some((path.to_owned(), lines)) };
        // Only the password of the mailbox has a way into the store.
        match answers.keys.iter().find_map(|(path, value)| Some((path, secret_within(path, value)?))) {
            Some((path, key)) => {
                let key = if path.last() == Some(&key) { path.join(".") } else { key };
                Err(answers.wrong(&path[0], &format!("`{key}` is a secret: say where it is, as {{secret: NAME}}")))
            }
            None => Ok(answers),
        }
    }

    /// Says that a key is not answered as it must be.
    pub fn wrong(&self, key: &str, why: &str) -> Exit {
        match &self.file {
            Some((_, lines)) => eprintln!("{}", lines.wrong(key, why)),
            None => return super::said(why),
        }
        Exit::Config
    }

    /// Says that a key is not answered, and nobody is there to be asked.
    pub fn lacks(&self, key: &str, hint: &str) -> Exit {
        eprintln!("error: the answers have no `{key}`");
        if let Some((path, _)) = &self.file {
            eprintln!("  --> {}", path.display());
        }
        if !hint.is_empty() {
            eprintln!("hint: {hint}");
        }
        Exit::Config
    }

    /// What is wrong with a file that was made of them, where it was answered; `inside` is where the collector is in it.
    pub fn traced(&self, problem: &Problem, made: &Path, text: &str, inside: &[&str]) -> Problem {
        match (&self.file, &problem.place) {
            (Some((_, lines)), Some(place)) if place.path == made => lines.traced(problem, text, inside),
            // A file that is not there is no place to look at.
            (None, Some(place)) if place.path == made => Problem { place: None, ..problem.clone() },
            _ => problem.clone(),
        }
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

    /// One word that answers a key, if it is answered.
    pub fn word(&self, key: &str) -> Result<Option<String>, Exit> {
        match (self.text(key), self.has(key)) {
            (None, true) => Err(self.wrong(key, &format!("`{key}` takes one word"))),
            (text, _) => Ok(text),
        }
    }

    /// True if a login without a password is asked for.
    pub fn says_no_password(&self) -> bool {
        self.keys.iter().any(|(path, value)| match (&path.iter().map(String::as_str).collect::<Vec<_>>()[..], value.data()) {
            (["auth", "token" | "client_id" | "service_account", ..], _) => true,
            (["auth", "method"], Data::Scalar(word, _)) => ["external", "none"].contains(&word.as_str()),
            _ => false,
        })
    }

    /// The password that stood there as itself.
    pub fn take_secret(&mut self) -> Option<Secret> {
        self.secret.take()
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
        let path: Vec<&str> = key.split('.').collect();
        self.keys.retain(|(known, _)| known.len() < path.len() || known.iter().zip(&path).any(|(known, step)| known != step));
    }

    /// The keys of the collector.
    pub fn keys(&self) -> Vec<(Vec<String>, Value)> {
        let mut keys: Vec<_> = self.keys.iter().filter(|(path, _)| path.first().is_some_and(|key| key != "name")).cloned().collect();
        keys.sort_by_key(|(path, _)| ORDER.iter().position(|key| path.first().is_some_and(|first| first == key)).unwrap_or(ORDER.len() - 2));
        keys
    }
}
