//! `log.redact`: the one place where values are made harmless that are no secrets, and still nobody else's business.

use super::record::{Record, Value};
use crate::config::LogRedact;

/// What stands in place of what is hidden.
const HIDDEN: &str = "***";
/// Fields that hold no address whatever they look like: by them a letter is followed.
const NAMES: &[&str] = &["collector", "key", "id", "held", "code", "file"];

/// Hides what is to be hidden.
pub(super) fn redact(record: &mut Record, how: LogRedact) {
    if how == LogRedact::None {
        return;
    }
    for (name, value) in &mut record.fields {
        let Value::Text(text) = value else { continue };
        match *name {
            "subject" => *text = HIDDEN.to_owned(),
            // Beside the address stands a person's name.
            "from" if how == LogRedact::Addresses => *text = HIDDEN.to_owned(),
            name if how == LogRedact::Addresses && !NAMES.contains(&name) => {
                if let Some(hidden) = without_people(text) {
                    *text = hidden;
                }
            }
            _ => {}
        }
    }
}

/// A text for somebody who reads it elsewhere than in the log: a notice.
pub fn redacted(text: &str, how: LogRedact) -> String {
    let hidden = if how == LogRedact::Addresses { without_people(text) } else { None };
    hidden.unwrap_or_else(|| text.to_owned())
}

/// The text with the local part of each address hidden: domains tell the operator which server it is about. `None`: there is none.
pub fn without_people(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices('@') {
        let follows = text[at + 1..].chars().next().is_some_and(|c| c.is_alphanumeric() || c == '[');
        let start = local_part(&text[done..at]) + done;
        if !follows || start == at {
            continue;
        }
        out.push_str(&text[done..start]);
        out.push_str(HIDDEN);
        done = at;
    }
    (done > 0).then(|| out + &text[done..])
}

/// Where the local part begins with which this ends. Rather too much of it than too little: `bounce+anna=икс.рф@list` names Anna too.
fn local_part(before: &str) -> usize {
    if let Some(quoted) = before.strip_suffix('"') {
        return quoted.rfind('"').unwrap_or(before.len());
    }
    let is_border = |c: char| c.is_whitespace() || c.is_control() || "<>()[],;:\"@`".contains(c);
    before.char_indices().rev().find(|(_, c)| is_border(*c)).map_or(0, |(at, c)| at + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::record;
    use super::*;
    use tracing::Level;

    #[test]
    fn subjects_and_people_are_hidden() {
        let fields = [("key", "a/INBOX/1/x@y"), ("subject", "Gehalt"), ("from", "Anna <anna@x.example>"), ("rcpt", "anna@x.example")];
        let after = |how| {
            let mut record = record(Level::INFO, "held_dropped", &fields);
            redact(&mut record, how);
            record.fields.into_iter().map(|(_, value)| value.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(after(LogRedact::None), fields.map(|(_, value)| value));
        assert_eq!(after(LogRedact::Subjects), ["a/INBOX/1/x@y", "***", "Anna <anna@x.example>", "anna@x.example"]);
        assert_eq!(after(LogRedact::Addresses), ["a/INBOX/1/x@y", "***", "***", "***@x.example"]);
    }

    #[test]
    fn addresses_in_a_text() {
        for (text, wanted) in [
            ("550 <anna@x.example>: no such user", "550 <***@x.example>: no such user"),
            ("раз@икс.рф,two@x.example", "***@икс.рф,***@x.example"),
            ("bounce+anna=x.example@list.example", "***@list.example"),
            ("\"anna b\"@x.example", "***@x.example"),
            ("imap://anna@x.example@h", "imap:***@***@h"),
            ("mailto:o'brien@[192.0.2.1]", "mailto:***@[192.0.2.1]"),
        ] {
            assert_eq!(without_people(text).as_deref(), Some(wanted));
        }
        for nothing in ["", "@", "a @ b", "no address", "at@", "@example.org"] {
            assert_eq!(without_people(nothing), None, "{nothing}");
        }
    }
}
