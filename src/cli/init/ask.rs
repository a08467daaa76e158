//! Questions on a terminal.

use super::super::exit::Exit;
use crate::mail::Secret;
use crate::mail::outcome::harmless;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Write};

/// Longest answer.
const ANSWER_MAX: usize = 4 * 1024;
/// How often one question is asked before it is given up.
const TRIES_MAX: usize = 10;

/// Who is asked.
pub(super) struct Asking {
    is_there: bool,
}

impl Asking {
    /// A person on the terminal, or nobody.
    pub fn new(non_interactive: bool) -> Result<Self, Exit> {
        if !non_interactive && !std::io::stdin().is_terminal() {
            eprintln!("error: nobody is there to be asked\nhint: `--answers FILE --non-interactive`");
            return Err(Exit::Usage);
        }
        Ok(Asking { is_there: !non_interactive })
    }

    /// Somebody can be asked.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// Asks until the answer can be read. Without anybody there it is an error that names the key.
    pub fn until<T>(&self, key: &str, question: &str, default: Option<&str>, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Exit> {
        if !self.is_there {
            return Err(super::Answers::default().lacks(key, ""));
        }
        for _ in 0..TRIES_MAX {
            let shown = default.map(|default| format!(" [{}]", harmless(default, 200))).unwrap_or_default();
            let answer = line(&format!("{question}{shown}: "))?;
            let answer = match (answer.trim(), default) {
                ("", Some(default)) => default.to_owned(),
                ("", None) => continue,
                (answer, _) => answer.to_owned(),
            };
            match read(&answer) {
                Ok(value) => return Ok(value),
                Err(why) => eprintln!("  {}", harmless(&why, 500)),
            }
        }
        Err(super::nothing_written(Exit::Usage))
    }

    /// The same, and the default where nobody is there.
    pub fn or_default<T>(&self, question: &str, default: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Exit> {
        match self.is_there {
            true => self.until("", question, Some(default), read),
            false => read(default).map_err(|why| super::said(&why)),
        }
    }

    /// One of some words.
    pub fn choice(&self, question: &str, words: &[&str], default: &str) -> Result<String, Exit> {
        self.or_default(question, default, |text| match words.contains(&text) {
            true => Ok(text.to_owned()),
            false => Err(format!("one of {}", words.join(", "))),
        })
    }

    /// Yes or no.
    pub fn yes(&self, question: &str, default: bool) -> Result<bool, Exit> {
        let words = if default { "Y/n" } else { "y/N" };
        for _ in 0..TRIES_MAX {
            match line(&format!("{question} [{words}] "))?.trim().to_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" | "д" | "да" => return Ok(true),
                "n" | "no" | "н" | "нет" => return Ok(false),
                _ => {}
            }
        }
        Ok(false)
    }

    /// A secret, not shown while it is typed; `None` for an empty one.
    pub fn hidden(&self, question: &str) -> Result<Option<Secret>, Exit> {
        let stdin = std::io::stdin();
        let failed = |error: rustix::io::Errno| {
            eprintln!("error: the terminal cannot be told not to show the password: {error}");
            Exit::Os
        };
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut silent = before.clone();
        // Ctrl-C comes as a character: a terminal that stays silent behind it would be worse.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(failed)?;
        let back = Back(before);
        let answer = line(&format!("{question}: "));
        drop(back);
        eprintln!();
        let answer = answer?;
        if answer.contains(['\u{3}', '\u{1c}']) {
            return Err(super::nothing_written(Exit::TempFail));
        }
        let secret = answer.trim_end_matches(['\n', '\r']);
        Ok((!secret.is_empty()).then(|| Secret::new(secret.to_owned())))
    }
}

/// The terminal as it was, whatever happens.
struct Back(Termios);

impl Drop for Back {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Asks and reads a line; the end of the input is the end of it all.
fn line(prompt: &str) -> Result<String, Exit> {
    eprint!("{prompt}");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    match std::io::Read::take(std::io::stdin().lock(), ANSWER_MAX as u64).read_line(&mut answer) {
        Ok(0) | Err(_) => {
            eprintln!();
            Err(super::nothing_written(Exit::TempFail))
        }
        Ok(_) => Ok(answer),
    }
}
