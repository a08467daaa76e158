//! fetchmailrc: the grammar of fetchmail(1), "The run control file". Words in any order, noise words, `defaults`, several users of a server.

use super::tokens::{Token, Word, tokens};
use super::{Around, COLLECTORS_MAX, FILE_OCTETS_MAX, Imported, LIST_MAX, Unreadable, fetchmail_map};

/// What stands behind a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    One,
    Many,
}

/// Whom an option is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Server,
    User,
}

/// Every keyword of an entry, under the name that it has here.
const OPTIONS: &[(&[&str], &str, Of, Takes)] = &[
    (&["via"], "via", Of::Server, Takes::One),
    (&["proto", "protocol"], "protocol", Of::Server, Takes::One),
    (&["local", "localdomains"], "localdomains", Of::Server, Takes::Many),
    (&["port", "service"], "service", Of::Server, Takes::One),
    (&["auth", "authenticate", "preauth", "preauthenticate"], "auth", Of::Server, Takes::One),
    (&["timeout"], "timeout", Of::Server, Takes::One),
    (&["envelope"], "envelope", Of::Server, Takes::One),
    (&["qvirtual"], "qvirtual", Of::Server, Takes::One),
    (&["aka"], "aka", Of::Server, Takes::Many),
    (&["interface"], "interface", Of::Server, Takes::One),
    (&["monitor"], "monitor", Of::Server, Takes::One),
    (&["plugin"], "plugin", Of::Server, Takes::One),
    (&["plugout"], "plugout", Of::Server, Takes::One),
    (&["dns"], "dns", Of::Server, Takes::Nothing),
    (&["checkalias"], "checkalias", Of::Server, Takes::Nothing),
    (&["uidl"], "uidl", Of::Server, Takes::Nothing),
    (&["interval"], "interval", Of::Server, Takes::One),
    (&["tracepolls"], "tracepolls", Of::Server, Takes::Nothing),
    (&["principal"], "principal", Of::Server, Takes::One),
    (&["esmtpname"], "esmtpname", Of::Server, Takes::One),
    (&["esmtppassword"], "esmtppassword", Of::Server, Takes::One),
    (&["bad-header", "badheader"], "bad-header", Of::Server, Takes::One),
    (&["pass", "password"], "password", Of::User, Takes::One),
    (&["folder", "folders"], "folder", Of::User, Takes::Many),
    (&["smtphost"], "smtphost", Of::User, Takes::Many),
    (&["fetchdomains"], "fetchdomains", Of::User, Takes::Many),
    (&["smtpaddress"], "smtpaddress", Of::User, Takes::One),
    (&["smtpname"], "smtpname", Of::User, Takes::One),
    (&["antispam", "spamresponse"], "antispam", Of::User, Takes::Many),
    (&["mda"], "mda", Of::User, Takes::One),
    (&["bsmtp"], "bsmtp", Of::User, Takes::One),
    (&["lmtp"], "lmtp", Of::User, Takes::Nothing),
    (&["preconnect"], "preconnect", Of::User, Takes::One),
    (&["postconnect"], "postconnect", Of::User, Takes::One),
    (&["keep"], "keep", Of::User, Takes::Nothing),
    (&["flush"], "flush", Of::User, Takes::Nothing),
    (&["limitflush"], "limitflush", Of::User, Takes::Nothing),
    (&["fetchall"], "fetchall", Of::User, Takes::Nothing),
    (&["rewrite"], "rewrite", Of::User, Takes::Nothing),
    (&["forcecr"], "forcecr", Of::User, Takes::Nothing),
    (&["stripcr"], "stripcr", Of::User, Takes::Nothing),
    (&["pass8bits"], "pass8bits", Of::User, Takes::Nothing),
    (&["dropstatus"], "dropstatus", Of::User, Takes::Nothing),
    (&["dropdelivered"], "dropdelivered", Of::User, Takes::Nothing),
    (&["mimedecode"], "mimedecode", Of::User, Takes::Nothing),
    (&["idle"], "idle", Of::User, Takes::Nothing),
    (&["ssl"], "ssl", Of::User, Takes::Nothing),
    (&["sslkey"], "sslkey", Of::User, Takes::One),
    (&["sslcert"], "sslcert", Of::User, Takes::One),
    (&["sslproto"], "sslproto", Of::User, Takes::One),
    (&["sslcertck"], "sslcertck", Of::User, Takes::Nothing),
    (&["sslcertfile"], "sslcertfile", Of::User, Takes::One),
    (&["sslcertpath"], "sslcertpath", Of::User, Takes::One),
    (&["sslcommonname"], "sslcommonname", Of::User, Takes::One),
    (&["sslfingerprint"], "sslfingerprint", Of::User, Takes::One),
    (&["limit"], "limit", Of::User, Takes::One),
    (&["warnings"], "warnings", Of::User, Takes::One),
    (&["batchlimit"], "batchlimit", Of::User, Takes::One),
    (&["fetchlimit"], "fetchlimit", Of::User, Takes::One),
    (&["fetchsizelimit"], "fetchsizelimit", Of::User, Takes::One),
    (&["fastuidl"], "fastuidl", Of::User, Takes::One),
    (&["expunge"], "expunge", Of::User, Takes::One),
    (&["properties"], "properties", Of::User, Takes::One),
];

/// Keywords of `set`; the others are flags.
const SET_VALUES: &[&str] = &["daemon", "postmaster", "logfile", "pidfile", "idfile", "properties"];
const SET_FLAGS: &[&str] = &["bouncemail", "spambounce", "softbounce", "syslog", "invisible", "showdots"];
const NOISE: &[&str] = &["and", "with", "has", "wants", "options"];
const BEGINNINGS: &[&str] = &["set", "poll", "server", "skip", "defaults"];

/// An option as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opt {
    pub line: usize,
    pub name: &'static str,
    /// `no keep`
    pub no: bool,
    pub values: Vec<String>,
}

/// A server, or the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub line: usize,
    pub name: String,
    pub skip: bool,
    pub options: Vec<Opt>,
    pub users: Vec<User>,
}

/// A user of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct User {
    pub line: usize,
    pub name: String,
    /// `is`: a local name, or a remote one and the local one that it is.
    pub names: Vec<(String, Option<String>)>,
    pub options: Vec<Opt>,
}

/// A whole file.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub set: Vec<(usize, String, bool, String)>,
    pub defaults: Entry,
    pub entries: Vec<Entry>,
}

/// Reads a fetchmailrc.
pub fn read(text: &str, around: Around<'_>) -> Result<Imported, Unreadable> {
    if text.len() > FILE_OCTETS_MAX {
        return Err(Unreadable::new(1, format!("the file has more than {FILE_OCTETS_MAX} octets")));
    }
    let file = parse(text)?;
    if file.entries.iter().map(|entry| entry.users.len().max(1)).sum::<usize>() > COLLECTORS_MAX {
        return Err(Unreadable::new(1, format!("more than {COLLECTORS_MAX} mailboxes in one file")));
    }
    Ok(fetchmail_map::imported(&file, around))
}

pub(super) fn parse(text: &str) -> Result<File, Unreadable> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let mut file = File::default();
    while let Some(token) = parser.next() {
        match token.bare() {
            Some("set") => file.set.push(parser.set(token.line)?),
            Some("defaults") => {
                let entry = parser.entry(token.line, String::new(), false)?;
                file.defaults = entry;
            }
            Some(word @ ("poll" | "server" | "skip")) => {
                let name = parser.value(token.line, word)?;
                let entry = parser.entry(token.line, name, word == "skip")?;
                file.entries.push(entry);
            }
            Some(word) if NOISE.contains(&word) => {}
            _ => return Err(Unreadable::new(token.line, "`poll`, `skip`, `defaults` or `set` is to begin here")),
        }
    }
    Ok(file)
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Option<&'t Token> {
        self.at += 1;
        self.tokens.get(self.at - 1)
    }

    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at)
    }

    fn peek_bare(&self) -> Option<&'t str> {
        self.peek().and_then(Token::bare)
    }

    fn value(&mut self, line: usize, of: &str) -> Result<String, Unreadable> {
        let missing = || Unreadable::new(line, format!("`{of}` has no value"));
        self.next().and_then(Token::text).map(str::to_owned).ok_or_else(missing)
    }

    fn set(&mut self, line: usize) -> Result<(usize, String, bool, String), Unreadable> {
        let mut no = false;
        let mut word = self.value(line, "set")?;
        if word == "no" {
            no = true;
            word = self.value(line, "set no")?;
        }
        let value = match () {
            () if SET_FLAGS.contains(&word.as_str()) => String::new(),
            () if SET_VALUES.contains(&word.as_str()) && !no => {
                if self.peek().is_some_and(|token| token.word == Word::Equals) {
                    self.at += 1;
                }
                self.value(line, &word)?
            }
            () => return Err(Unreadable::new(line, "fetchmail knows no such `set`")),
        };
        Ok((line, word, no, value))
    }

    fn entry(&mut self, line: usize, name: String, skip: bool) -> Result<Entry, Unreadable> {
        let mut entry = Entry { line, name, skip, ..Entry::default() };
        while let Some(token) = self.peek() {
            let Some(word) = token.bare() else { return Err(Unreadable::new(token.line, "a keyword is to stand here")) };
            if BEGINNINGS.contains(&word) {
                break;
            }
            self.at += 1;
            match word {
                _ if NOISE.contains(&word) => {}
                "user" | "username" => self.user(&mut entry, token.line)?,
                "is" | "to" => self.names(&mut entry, token.line)?,
                // What is left of English.
                "here" | "there" => {}
                _ => {
                    let no = word == "no";
                    let word = if no { self.value(token.line, "no")? } else { word.to_owned() };
                    self.option(&mut entry, token.line, &word, no)?;
                }
            }
        }
        Ok(entry)
    }

    /// `user anna`, `user anna there`: at the server; `user anna here`: a local name.
    fn user(&mut self, entry: &mut Entry, line: usize) -> Result<(), Unreadable> {
        let name = self.value(line, "user")?;
        let is_local = self.peek_bare() == Some("here");
        if matches!(self.peek_bare(), Some("here" | "there")) {
            self.at += 1;
        }
        // Options that stood before belong to this user.
        let is_nameless = |user: &mut User| user.name.is_empty() && user.names.is_empty();
        let options = entry.users.pop_if(is_nameless).map_or_else(Vec::new, |user| user.options);
        let mut user = User { line, options, ..User::default() };
        if is_local {
            user.names.push((name, None))
        } else {
            user.name = name
        };
        entry.users.push(user);
        Ok(())
    }

    /// `is anna bert=b * here`; `is anna there`: the name at the server.
    fn names(&mut self, entry: &mut Entry, line: usize) -> Result<(), Unreadable> {
        let mut names = Vec::new();
        while let Some(token) = self.peek() {
            let is_word = token.bare().is_none_or(|word| !is_keyword(word));
            let (Some(text), true) = (token.text(), is_word) else { break };
            self.at += 1;
            let mut pair = (text.to_owned(), None);
            if self.peek().is_some_and(|token| token.word == Word::Equals) {
                self.at += 1;
                pair.1 = Some(self.value(token.line, "=")?);
            }
            names.push(pair);
            if names.len() > LIST_MAX {
                return Err(Unreadable::new(line, format!("more than {LIST_MAX} names in one list")));
            }
        }
        if names.is_empty() {
            return Err(Unreadable::new(line, "`is` and `to` take at least one name"));
        }
        let is_remote = self.peek_bare() == Some("there");
        if matches!(self.peek_bare(), Some("here" | "there")) {
            self.at += 1;
        }
        if entry.users.is_empty() {
            entry.users.push(User { line, ..User::default() });
        }
        let Some(user) = entry.users.last_mut() else { return Ok(()) };
        match (is_remote, names.first()) {
            (true, Some((name, _))) => user.name.clone_from(name),
            _ => user.names.append(&mut names),
        }
        if user.names.len() > LIST_MAX {
            return Err(Unreadable::new(line, format!("more than {LIST_MAX} names in one list")));
        }
        Ok(())
    }

    fn option(&mut self, entry: &mut Entry, line: usize, word: &str, no: bool) -> Result<(), Unreadable> {
        let Some((_, name, of, takes)) = OPTIONS.iter().find(|(words, ..)| words.contains(&word)) else {
            return Err(Unreadable::new(line, "this is no keyword of fetchmail; a text that looks like one must be quoted"));
        };
        let mut values = Vec::new();
        match takes {
            _ if no => {}
            Takes::Nothing => {}
            Takes::One => {
                values.push(self.value(line, word)?);
                // `envelope 1 Received`: so many of these fields are passed over.
                let is_number = |text: &String| text.parse::<u32>().is_ok();
                if *name == "envelope" && values.first().is_some_and(is_number) {
                    values.push(self.value(line, word)?);
                }
            }
            Takes::Many => {
                while let Some(text) = self.peek().filter(|token| token.bare().is_none_or(|word| !is_keyword(word))).and_then(Token::text) {
                    self.at += 1;
                    values.push(text.to_owned());
                    if values.len() > LIST_MAX {
                        return Err(Unreadable::new(line, format!("more than {LIST_MAX} names in one list")));
                    }
                }
                if values.is_empty() {
                    return Err(Unreadable::new(line, format!("`{word}` has no value")));
                }
            }
        }
        let option = Opt { line, name, no, values };
        match (of, entry.users.last_mut()) {
            (Of::User, Some(user)) => user.options.push(option),
            // `defaults` may have options of users without naming one.
            (Of::User, None) => entry.users.push(User { line, options: vec![option], ..User::default() }),
            (Of::Server, _) => entry.options.push(option),
        }
        Ok(())
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "user" | "username" | "is" | "to" | "here" | "there" | "no")
        || NOISE.contains(&word)
        || BEGINNINGS.contains(&word)
        || OPTIONS.iter().any(|(words, ..)| words.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(user: &User) -> Vec<String> {
        user.names.iter().map(|(from, to)| to.as_ref().map_or_else(|| from.clone(), |to| format!("{from}={to}"))).collect()
    }

    #[test]
    fn english_and_terse() {
        let file = parse(
            "# comment\nset daemon 300 set no bouncemail\ndefaults proto imap, timeout 60 keep\npoll mail.x.example with proto POP3 and options no dns:\n   user \"an na\" there with \
             password \"p\\\"w\" is a=b c=d * here; wants ssl\n   user bert here is remote there pass keep\nskip y.example aka z.example \"w.example\" user joe is joe here envelope 2 Delivered-To",
        )
        .unwrap();
        assert_eq!(file.set, [(2, "daemon".into(), false, "300".into()), (2, "bouncemail".into(), true, String::new())]);
        assert_eq!((file.defaults.options.len(), file.defaults.users.len()), (2, 1));
        let [mail, y] = file.entries.as_slice() else { panic!("{file:?}") };
        assert_eq!((mail.name.as_str(), mail.skip, mail.users.len(), mail.line), ("mail.x.example", false, 2, 4));
        assert_eq!((mail.users[0].name.as_str(), names(&mail.users[0])), ("an na", vec!["a=b".to_owned(), "c=d".into(), "*".into()]));
        assert_eq!(mail.users[0].options[0].values, ["p\"w"]);
        // A password may be a keyword.
        assert_eq!((mail.users[1].name.as_str(), names(&mail.users[1])), ("remote", vec!["bert".to_owned()]));
        assert_eq!(mail.users[1].options[0].values, ["keep"]);
        assert_eq!((y.skip, y.options[0].values.len(), y.options[1].values.as_slice()), (true, 2, &["2".to_owned(), "Delivered-To".into()][..]));
    }

    #[test]
    fn what_fetchmail_does_not_take() {
        for (text, line) in [
            ("pol x", 1),
            ("poll x\nfoo", 2),
            ("poll x user u is\n", 1),
            ("set x", 1),
            ("poll x user u\npass", 2),
            ("poll x aka keep", 1),
            ("\"poll\" x", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
