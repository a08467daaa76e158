//! Takes secrets out of source lines before they are printed, without a tree: a file with a broken syntax has none.
//!
//! The rule is deny by default. A line is shown up to the value of its first key that is not known to be harmless: so a secret under a
//! misspelt key stays hidden too. Lines without a key belong to the last key above them. What may be told of a secret is where it comes
//! from: `{file: …}`, `{env: …}`, `{credential: …}`, `{secret: …}`.

use super::harmless::{HARMLESS, SECRET};
use super::words::{distance, nearest};
use super::yaml::is_word;

/// What stands for a secret.
pub const MASK: &str = "***";

/// True if a key of this name holds a secret: by its name, or by a slip of the finger.
pub fn names_a_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    if HARMLESS.contains(&key.as_str()) {
        // `token_url` says where tokens are.
        return false;
    }
    let part = ["pass", "secret", "token", "pwd"].iter().any(|word| key.contains(word));
    part || (key.chars().count() >= 5 && SECRET.iter().any(|word| word.len() >= 6 && distance(&key, word) <= 2))
}

/// True if a key inside of a secret's value says only where the secret is. `command` says it too, but its arguments may be secrets.
pub fn says_where(key: &str) -> bool {
    matches!(key, "file" | "env" | "credential" | "secret" | "timeout")
}

/// True if a word is fit for a message: short, and in one piece.
pub fn may_be_quoted(text: &str) -> bool {
    text.chars().count() <= 80 && !text.contains(char::is_whitespace)
}

/// The lines of a text as they may be printed.
pub fn masked_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut state = State { hide_next: true, hide_above: None, open: false };
    for line in text.lines() {
        lines.push(state.line(line));
    }
    lines
}

struct State {
    /// Lines without a key are hidden: the last key was no harmless one.
    hide_next: bool,
    /// Below a line that names a secret, everything that stands further to the right is hidden.
    hide_above: Option<usize>,
    /// A secret started that may go on over lines: until a harmless key, a strange one may be a piece of it.
    open: bool,
}

impl State {
    fn line(&mut self, line: &str) -> String {
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let content = line.trim();
        if content.is_empty() {
            return String::new();
        }
        let inside = self.hide_above.is_some_and(|above| indent > above);
        let shown = if inside { Shown { text: hidden(line), continues: false } } else { self.alone(line) };
        self.hide_next = !shown.continues;
        self.open = !shown.continues && (self.open || may_go_on(line));
        // A line that names a secret may be a comment or otherwise broken; what was written below it is a secret all the same.
        self.hide_above = match self.hide_above {
            Some(above) if inside => Some(above),
            _ if !shown.continues && has_secret_word(line) => Some(indent),
            _ => None,
        };
        shown.text
    }

    fn alone(&self, line: &str) -> Shown {
        let shown = self.by_keys(line);
        // What is shown is a piece of the line from its start, so whichever cut comes first holds.
        match keyless_segment(line) {
            Some(at) if shown.text.trim_end_matches(MASK).trim_end().len() > at => {
                Shown { text: format!("{} {MASK}", line[..at].trim_end()), continues: false }
            }
            _ => shown,
        }
    }

    fn by_keys(&self, line: &str) -> Shown {
        let content = line.trim();
        let keys = keys_of(line);
        let Some(first) = keys.first() else {
            // A continued value: shown under a harmless key, if nothing in it looks bad.
            let visible = !self.hide_next && !content.starts_with('#') && !has_secret_word(line);
            return Shown { text: if visible { without_comment(line) } else { hidden(line) }, continues: visible };
        };
        if content.starts_with('#') || line[..first.start].contains(['"', '\'', '#']) {
            return Shown { text: hidden(line), continues: !has_secret_word(line) && !self.hide_next };
        }
        // Words before the first key are the rest of something above, and nobody knows of what.
        let continued = !line[..first.start].trim_matches([' ', '\t', '-', '{', '[', '}', ']', ',', '?']).is_empty();
        if continued || self.open && !is_near_ours(&first.name) {
            return Shown { text: hidden(line), continues: false };
        }
        let mut shown_to = 0;
        for key in &keys {
            // The keys inside a shown source are shown with it.
            if key.end <= shown_to {
                continue;
            }
            let value = &line[key.end..];
            if names_a_secret(&key.name) {
                if let Some(len) = tells_only_where(value) {
                    shown_to = key.end + len;
                    continue;
                }
            } else if shows_value(&key.name)
                || opens_a_block(value)
                    && (keys.last().is_some_and(|last| last.end > key.end) || matches!(value.trim(), "" | "{}") || !value.contains('{'))
            {
                continue;
            }
            let known = names_a_secret(&key.name) || is_word(&key.name) || is_foreign_word(&key.name);
            let before = if known { &line[..key.end] } else { &line[..key.start] };
            // What stands between the last shown value and this key belongs to neither: a lost line end, a lost quote.
            if let Some(at) = split_after_secret_word(&before[shown_to..]) {
                return Shown { text: format!("{} {MASK}", &before[..shown_to + at]), continues: false };
            }
            let mask = if value.trim().is_empty() && known { "" } else { " ***" };
            return Shown { text: before.trim_end().to_owned() + mask, continues: false };
        }
        let shown = without_comment(line);
        match split_after_secret_word(&shown[shown_to.min(shown.len())..]) {
            // `password` as a value, as in `method: password`, is no secret; what follows it may be.
            Some(at) => Shown { text: format!("{} {MASK}", &shown[..shown_to + at]), continues: false },
            // Below `name:` stand keys; a value without one does not belong there.
            None => Shown { text: shown, continues: keys.last().is_some_and(|key| shows_value(&key.name)) },
        }
    }
}

/// A line as it may be printed, and whether what continues it may be, too.
struct Shown {
    text: String,
    continues: bool,
}

/// Where a piece of a flow map starts that has no key: a lost colon, a torn key.
fn keyless_segment(line: &str) -> Option<usize> {
    let line = &without_placeholders(line);
    let mut stack = Vec::new();
    let mut start = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if matches!(c, ',' | '}') && stack.last() == Some(&'{') {
            let segment = start.map_or("", |start| &line[start..at]);
            if !segment.trim().is_empty() && !segment.contains(": ") && !segment.trim_end().ends_with([':', ']', '}']) {
                return start;
            }
        }
        if matches!(c, '{' | '[') && stack.last() == Some(&'{') {
            // A bracket follows a key, or its colon is lost.
            let segment = start.map_or("", |start| line[start..at].trim());
            if !segment.is_empty() && !segment.contains(": ") && !segment.ends_with(':') {
                return start;
            }
        }
        match c {
            // `/var/mail/{local}` opens nothing.
            '{' | '[' if " \t{[,:".contains(before) => stack.push(c),
            '}' | ']' => {
                stack.pop();
            }
            _ => {}
        }
        if "{,".contains(c) && stack.last() == Some(&'{') {
            start = Some(at + 1);
        } else if c == '}' || c == ']' {
            start = None;
        }
        before = c;
    }
    let rest = start.filter(|_| stack.last() == Some(&'{')).map_or("", |start| &line[start..]);
    (!rest.trim().is_empty() && !rest.contains(':') && !rest.trim_start().starts_with('#')).then_some(start?)
}

/// The line with each `{local}`, `{domain}` and `${name}` in it made a word of the same length: such braces are no map.
fn without_placeholders(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        out += before;
        let name = behind[1..].split('}').next().filter(|name| name.len() + 1 < behind.len()).unwrap_or("");
        if matches!(name, "local" | "domain") || (before.ends_with('$') && is_word(name)) {
            out.extend(std::iter::repeat_n('x', name.len() + 2));
            rest = &behind[name.len() + 2..];
        } else {
            out.push('{');
            rest = &behind[1..];
        }
    }
    out + rest
}

fn is_foreign_word(name: &str) -> bool {
    (1..=40).contains(&name.chars().count()) && name.chars().all(char::is_alphabetic)
}

/// A secret's line after which the value may go on: a block, an open quote, an open bracket, or nothing yet.
fn may_go_on(line: &str) -> bool {
    let value = line.rsplit(':').next().unwrap_or("").trim();
    let quotes = |quote| line.matches(quote).count() % 2 == 1;
    has_secret_word(line) && (value.is_empty() || line.contains(['|', '>', '{', '[']) || quotes('"') || quotes('\'') || !line.contains(": "))
}

fn is_near_ours(key: &str) -> bool {
    shows_value(key) || nearest(key, HARMLESS.iter().chain(SECRET).copied()).is_some()
}

fn hidden(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    line[..indent].to_owned() + MASK
}

pub(super) fn has_secret_word(line: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).any(names_a_secret)
}

struct Key {
    name: String,
    /// Where its name starts.
    start: usize,
    /// Behind the colon.
    end: usize,
}

/// Everything in a line that could be a key: a run of characters before a colon. Wrong guesses only hide more.
fn keys_of(line: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut from = 0;
    for (at, c) in line.char_indices() {
        if c != ':' {
            if "{}[],".contains(c) {
                from = at + 1;
            }
            continue;
        }
        let rest = &line[at + 1..];
        let name = line[from..at].trim();
        let word = name.rsplit(char::is_whitespace).next().unwrap_or(name);
        // `unix:/run/x` and `[::1]:25` are values; `password:x` is a slip that must not show.
        let ends_key = rest.is_empty() || rest.starts_with([' ', '\t', '"', '\'', '{', '[']) || names_a_secret(word);
        if ends_key {
            let unquoted = name.trim_matches(['"', '\'']);
            // `- key:` and `server: x password:` (a lost line end): the last word is the key, the words before belong to a value.
            let name = if unquoted.contains(char::is_whitespace) { word } else { unquoted };
            keys.push(Key { name: name.to_owned(), start: at - line[..at].len() + line[..at].rfind(name).unwrap_or(from), end: at + 1 });
            from = at + 1;
        }
    }
    keys
}

fn shows_value(key: &str) -> bool {
    HARMLESS.contains(&key) || key.contains(['@', '.'])
}

/// The key of a block, or of a flow map whose own keys are looked at next: a collector's name, for one.
fn opens_a_block(value: &str) -> bool {
    let value = value.trim();
    value.is_empty() || value.starts_with('#') || value.starts_with('{') || value.starts_with('&') && !value.contains(' ')
}

/// If a secret's value is a map with one entry that tells where the secret is: how long that is.
fn tells_only_where(value: &str) -> Option<usize> {
    let start = value.len() - value.trim_start().len();
    let inner = value[start..].strip_prefix('{')?;
    let close = inner.find('}')?;
    let (kind, place) = inner[..close].split_once(':')?;
    let plain = |c: char| !c.is_whitespace() && !"{}[],:\"'#&*!|>%@`".contains(c);
    let fine = matches!(kind.trim(), "file" | "env" | "credential" | "secret") && place.trim().chars().all(plain);
    fine.then_some(start + 1 + close + 1)
}

/// Behind the first word that names a secret, if anything follows it: `password hunter2`, `passwordhunter2`.
fn split_after_secret_word(line: &str) -> Option<usize> {
    let word_char = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let len = rest.find(|c| !word_char(c)).unwrap_or(rest.len());
        if len == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let word = &rest[..len];
        if names_a_secret(word) {
            let exact = SECRET.iter().any(|secret| distance(&word.to_lowercase(), secret) <= 2);
            if !exact {
                return Some(at);
            }
            // A closing bracket or a comma shows no secret; a word does.
            return (!line[at + len..].trim_matches(|c: char| c.is_whitespace() || "}],:".contains(c)).is_empty()).then_some(at + len);
        }
        at += len;
    }
    None
}

/// Comments may hold anything, so they are not shown.
fn without_comment(line: &str) -> String {
    let cut = line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len());
    line[..cut].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(masked_lines(text).join("\n"), expected.trim_end_matches('\n'), "{text}");
    }

    #[test]
    fn hides_the_values_of_secret_keys_and_of_strangers() {
        check("password: hunter2", "password: ***");
        check("  pasword: 'hunter2' # mine", "  pasword: ***");
        check("  \"password\": hunter2", "  ***");
        check("password:hunter2", "password: ***");
        check("password hunter2", "***");
        check("strange: hunter2", "strange: ***");
        check("a: {email: x@y.example, password: hunter2, server: z}", "a: {email: x@y.example, password: ***");
        check("server: a.example password: hunter2", "server: a.example password: ***");
        check("email: a@b.example # hunter2", "email: a@b.example");
        check("# password was hunter2", "***");
    }

    #[test]
    fn hides_what_continues_a_secret() {
        check("a:\n  password: |\n    hunter2\n    port: hunter2\n  port: 25", "a:\n  password: ***\n    ***\n    ***\n  port: 25");
        check("password: \"one\ntwo\n\nthree\"\nport: 1", "password: ***\n***\n\n***\nport: 1");
        check("password:\nhunter2", "password:\n***");
        check("foo: bar\n  hunter2", "foo: ***\n  ***");
    }

    #[test]
    fn shows_what_helps() {
        check("    password: {file: /etc/mailgather/secrets/a}", "    password: {file: /etc/mailgather/secrets/a}");
        check("    pasword: {env: MAIL}  # x", "    pasword: {env: MAIL}");
        check("auth: {method: password}", "auth: {method: password}");
        check("office:\n  email: пример@почта.рф", "office:\n  email: пример@почта.рф");
        check("lmtp: unix:/run/dovecot/lmtp", "lmtp: unix:/run/dovecot/lmtp");
        check("a: {maildir: \"/m/{domain}/{local}\", to: '${who}@b.example'}", "a: {maildir: \"/m/{domain}/{local}\", to: '${who}@b.example'}");
        check("map: {почта.рф: икс.рф}\nforward_to:\n  - a@b.example", "map: {почта.рф: икс.рф}\nforward_to:\n  - a@b.example");
    }
}
