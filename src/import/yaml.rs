//! YAML for people, from values that may hold anything.

use std::fmt::Write;

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A word of ours, as it is: a number, a duration, `true`.
    Word(String),
    /// A text from outside: quoted where YAML would read something else.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A block; keys are quoted like texts.
    Block(Vec<(String, Node)>),
}

impl Node {
    /// A word of ours.
    pub fn word(word: impl ToString) -> Node {
        Node::Word(word.to_string())
    }

    /// A text from outside.
    pub fn text(text: impl Into<String>) -> Node {
        Node::Text(text.into())
    }

    /// A list of texts, or the text itself if there is one only.
    pub fn texts(texts: impl IntoIterator<Item = String>) -> Node {
        let mut list: Vec<Node> = texts.into_iter().map(Node::Text).collect();
        if list.len() == 1 { list.remove(0) } else { Node::List(list) }
    }

    /// A block with one key.
    pub fn one(key: &str, value: Node) -> Node {
        Node::Block(vec![(key.to_owned(), value)])
    }

    /// Adds a key to a block; of one that is there, the value changes.
    pub fn set(&mut self, key: &str, value: Node) {
        if let Node::Block(entries) = self {
            entries.retain(|(known, _)| known != key);
            entries.push((key.to_owned(), value));
        }
    }

    /// The value of a block's key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Node::Block(entries) = self else { return None };
        entries.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// True for a block or a list with nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Node::List(list) => list.is_empty(),
            Node::Block(entries) => entries.is_empty(),
            Node::Word(_) | Node::Text(_) => false,
        }
    }
}

/// In flow style, on one line.
pub fn flow(node: &Node) -> String {
    let mut out = String::new();
    write_flow(node, &mut out);
    out
}

fn write_flow(node: &Node, out: &mut String) {
    match node {
        Node::Word(word) => out.push_str(word),
        Node::Text(text) => out.push_str(&quoted(text)),
        Node::List(list) => {
            out.push('[');
            for (n, one) in list.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                write_flow(one, out);
            }
            out.push(']');
        }
        Node::Block(entries) => {
            out.push('{');
            for (n, (key, value)) in entries.iter().enumerate() {
                let _ = write!(out, "{}{}: ", if n > 0 { ", " } else { "" }, quoted(key));
                write_flow(value, out);
            }
            out.push('}');
        }
    }
}

/// A text as a scalar that YAML reads as this very text, also inside of brackets.
pub fn quoted(text: &str) -> String {
    let is_odd = |c: char| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if text.chars().any(is_odd) {
        let mut out = String::from('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                _ if is_odd(c) => {
                    let _ = write!(out, "\\U{:08X}", u32::from(c));
                }
                _ => out.push(c),
            }
        }
        out.push('"');
        return out;
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._@/+-".contains(c);
    let is_word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].iter().any(|word| text.eq_ignore_ascii_case(word));
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if begins && !is_word && text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_they_must_be() {
        for (text, yaml) in [
            ("anna@x.example", "anna@x.example"),
            ("/srv/mail", "/srv/mail"),
            ("12", "'12'"),
            ("no", "'no'"),
            ("", "''"),
            ("p#w: 'x'", "'p#w: ''x'''"),
            ("a\nb\"\\", "\"a\\U0000000Ab\\\"\\\\\""),
            ("{local}", "'{local}'"),
            ("*", "'*'"),
        ] {
            assert_eq!(quoted(text), yaml);
        }
        let node = Node::Block(vec![("smtp".into(), Node::texts(["a:25".into(), "b:25".into()])), ("n".into(), Node::word(7))]);
        assert_eq!(flow(&node), "{smtp: ['a:25', 'b:25'], 'n': 7}");
    }
}
