//! The INI form that getmail reads by Python's `RawConfigParser`: sections, `name = value` or `name: value`, further lines of a value indented,
//! comments on lines of their own.

use super::{FILE_OCTETS_MAX, Unreadable};

/// A section with its values; names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub name: String,
    pub line: usize,
    pub values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub line: usize,
    pub name: String,
    pub text: String,
}

impl Section {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|value| value.name == name)
    }
}

pub(super) fn sections(text: &str) -> Result<Vec<Section>, Unreadable> {
    if text.len() > FILE_OCTETS_MAX {
        return Err(Unreadable::new(1, format!("the file has more than {FILE_OCTETS_MAX} octets")));
    }
    let mut found: Vec<Section> = Vec::new();
    for (line, whole) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
        let text = whole.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let is_indented = whole.starts_with(char::is_whitespace);
        if let (true, Some(value)) = (is_indented, found.last_mut().and_then(|section| section.values.last_mut())) {
            value.text.push('\n');
            value.text.push_str(text);
            continue;
        }
        if let Some(name) = text.strip_prefix('[') {
            let Some((name, _)) = name.split_once(']') else { return Err(Unreadable::new(line, "this section has no `]`")) };
            if found.iter().any(|section| section.name == name) {
                return Err(Unreadable::new(line, "this section is there twice"));
            }
            found.push(Section { name: name.to_owned(), line, values: Vec::new() });
            continue;
        }
        let Some(section) = found.last_mut() else { return Err(Unreadable::new(line, "a `[section]` is to stand before this")) };
        let Some(at) = text.find(['=', ':']) else { return Err(Unreadable::new(line, "this is no `name = value`")) };
        let name = text[..at].trim().to_lowercase();
        if section.get(&name).is_some() {
            return Err(Unreadable::new(line, "this option is there twice"));
        }
        section.values.push(Value { line, name, text: text[at + 1..].trim().to_owned() });
    }
    Ok(found)
}

/// The texts of a Python tuple, `("a", 'b',)`; `None` if it is none. Tuples inside are passed over with `None` too.
pub(super) fn tuple(text: &str) -> Option<Vec<String>> {
    let inside = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (mut found, mut chars) = (Vec::new(), inside.chars().peekable());
    let mut separated = true;
    while let Some(c) = chars.next() {
        match c {
            ',' => separated = true,
            '"' | '\'' if separated => {
                separated = false;
                let mut one = String::new();
                loop {
                    match chars.next()? {
                        '\\' => one.push(chars.next()?),
                        end if end == c => break,
                        other => one.push(other),
                    }
                }
                found.push(one);
            }
            'u' | 'b' if separated && matches!(chars.peek(), Some('"' | '\'')) => {}
            _ if c.is_whitespace() => {}
            _ => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_values_and_tuples() {
        let found = sections("# c\n[retriever]\nType = X\n; c\npassword: a=b # c\nmailboxes = ('INBOX',\n  \"b c\")\n[options]\n").unwrap();
        assert_eq!((found.len(), found[0].line, found[1].values.len()), (2, 2, 0));
        assert_eq!(found[0].get("type").unwrap().text, "X");
        assert_eq!(found[0].get("password").unwrap().text, "a=b # c");
        assert_eq!(tuple(&found[0].get("mailboxes").unwrap().text).unwrap(), ["INBOX", "b c"]);
        assert_eq!(
            (tuple("(u'a\\'b',)"), tuple("()"), tuple("a"), tuple("('a' 'b')"), tuple("(('a',))")),
            (Some(vec!["a'b".into()]), Some(vec![]), None, None, None)
        );
        for (text, line) in [("a = b", 1), ("[a]\nb", 2), ("[a", 1), ("[a]\n[a]", 2), ("[a]\nb=1\nB=2", 3)] {
            assert_eq!(sections(text).unwrap_err().line, line);
        }
    }
}
