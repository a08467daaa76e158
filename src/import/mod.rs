//! Layer 1: the files of fetchmail, getmail and mpop, read into collectors of ours. Pure: what is read, and whom a file names, is the caller's.
//!
//! ```text
//! text ─▶ fetchmail │ getmail │ mpop ─▶ Draft (one a collector) and Note (what has no equal) ─▶ draft::configuration ─▶ YAML
//! .fetchids │ oldmail-… │ uidls ─▶ history ─▶ names of messages that were collected
//! ```
//!
//! Nothing is dropped in silence: an option is a key of a draft, or a [`Note`].

pub mod draft;
pub mod fetchmail;
mod fetchmail_map;
pub mod getmail;
pub mod history;
mod ini;
pub mod mpop;
mod tokens;
pub mod yaml;

pub use draft::{Draft, Password, Past, Protocol};

/// Largest file of another program's settings.
pub const FILE_OCTETS_MAX: usize = 1024 * 1024;
/// Most collectors of one file.
pub const COLLECTORS_MAX: usize = 1_000;
/// Most names in one list, and most aliases of one collector.
pub const LIST_MAX: usize = 1_000;

/// What one file says.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Its mailboxes.
    pub drafts: Vec<Draft>,
    /// What the operator has to know.
    pub notes: Vec<Note>,
    /// Where the file says that the history is (fetchmail's `set idfile`).
    pub history: Option<String>,
}

/// Something that is not the same afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line of the file, from 1.
    pub line: usize,
    /// How grave it is.
    pub kind: Kind,
    /// The option, as the file calls it; no secret.
    pub option: String,
    /// What becomes of it.
    pub text: String,
}

/// How grave a [`Note`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It would lose mail, and is not taken over.
    Refused,
    /// The operator has to complete or to decide something; the collector is disabled until then, if it would do harm.
    Decide,
    /// Nothing here does this.
    NoEqual,
    /// The same is had in another way.
    Differs,
    /// Nothing has to be said for it here.
    Unneeded,
}

impl Kind {
    /// The word in what is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::Decide => "decide",
            Kind::NoEqual => "no equal",
            Kind::Differs => "differs",
            Kind::Unneeded => "not needed",
        }
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct Unreadable {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl Unreadable {
    fn new(line: usize, text: impl Into<String>) -> Self {
        Unreadable { line, text: text.into() }
    }
}

/// Where the file lies, for the paths in it.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The user's home folder, for `~`.
    pub home: &'a str,
    /// The folder that relative paths count from.
    pub folder: &'a str,
}

impl Around<'_> {
    /// The whole path.
    fn path(self, text: &str) -> String {
        let home = self.home.trim_end_matches('/');
        match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
            _ if text.starts_with('/') => text.to_owned(),
            _ => format!("{}/{text}", self.folder.trim_end_matches('/')),
        }
    }
}

/// The notes of one file, as they are collected.
#[derive(Debug, Default)]
struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, line: usize, kind: Kind, option: &str, text: impl Into<String>) {
        self.0.push(Note { line, kind, option: option.to_owned(), text: text.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AROUND: Around<'static> = Around { home: "/home/anna", folder: "/etc/mail" };

    #[test]
    fn paths_are_whole() {
        for (text, whole) in [("~/x", "/home/anna/x"), ("/x", "/x"), ("x/y", "/etc/mail/x/y"), ("~", "/home/anna"), ("~bert/x", "/etc/mail/~bert/x")]
        {
            assert_eq!(AROUND.path(text), whole);
        }
    }

    fn assert_fit(text: &str) {
        for read in [fetchmail::read, getmail::read, mpop::read] {
            let Ok(imported) = read(text, AROUND) else { continue };
            assert!(imported.drafts.len() <= COLLECTORS_MAX);
            let yaml = draft::configuration(&draft::named(imported.drafts), &|_| None);
            assert!(!yaml.chars().any(|c| c.is_control() && c != '\n'), "{yaml:?}");
        }
        assert!(history::fetchids(text.as_bytes()).len() <= text.len() && history::uidls(text.as_bytes()).len() <= text.len());
        history::oldmail(text.as_bytes());
    }

    /// Words that the three grammars know, so that the properties get past the first line.
    fn pieces() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "poll ",
            "skip ",
            "defaults ",
            "user ",
            "is ",
            "here ",
            "there ",
            "password ",
            "a=b ",
            "* ",
            "= ",
            "\"",
            "\\",
            "set ",
            "daemon ",
            "proto ",
            "pop3 ",
            "imap ",
            "aka ",
            "x.example ",
            "7 ",
            "no ",
            "keep ",
            "envelope ",
            "ssl ",
            "smtphost ",
            "\n",
            "#",
            "[retriever]\n",
            "[destination]\n",
            "[options]\n",
            "type = ",
            "SimplePOP3Retriever\n",
            "MultidropIMAPSSLRetriever\n",
            "Maildir\n",
            "path = /m/\n",
            "server = h\n",
            "username = u\n",
            "mailboxes = (",
            "'",
            "(",
            ")",
            ",",
            "account ",
            "host h\n",
            "port ",
            ": ",
            "tls on\n",
            "delivery maildir /m\n",
            "user u\n",
            "uidls_file ~/%U\n",
            " ",
            "\t",
            "\0",
            "é",
            "\u{2028}",
        ]);
        prop::collection::vec(words, 0..60).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,300}|(.|\n){0,300}") {
            assert_fit(&text);
        }

        #[test]
        fn any_pieces(text in pieces()) {
            assert_fit(&text);
        }

        #[test]
        fn any_history(octets in prop::collection::vec(any::<u8>(), 0..500)) {
            history::fetchids(&octets);
            history::uidls(&octets);
            history::oldmail(&octets);
        }
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let users: String = (0..=COLLECTORS_MAX).map(|n| format!("poll h{n} proto pop3 user u\n")).collect();
        assert!(fetchmail::read(&users, AROUND).is_err());
        let accounts: String = (0..=COLLECTORS_MAX).map(|n| format!("account a{n}\nhost h\nuser u\n")).collect();
        assert!(mpop::read(&accounts, AROUND).is_err());
        let names = format!("poll h proto pop3 user u is {} here\n", "x ".repeat(LIST_MAX + 1));
        assert!(fetchmail::read(&names, AROUND).is_err());
        let large = "#".repeat(FILE_OCTETS_MAX + 1);
        for read in [fetchmail::read, getmail::read, mpop::read] {
            assert!(read(&large, AROUND).is_err());
        }
    }
}
