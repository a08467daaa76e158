//! Tables of texts with what an edit makes of them, and properties over files that nobody thought of.

use super::*;
use crate::config::text::Text;
use crate::config::yaml::{self, Node};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

fn set(key: &str, value: &str) -> Op {
    Op::Set(path(key).unwrap(), Value::parse(value).unwrap())
}

fn unset(key: &str) -> Op {
    Op::Unset(path(key).unwrap())
}

const FILE: &str = "\
# Ours
delivery: {lmtp: unix:/run/lmtp}

collectors:
  # The first
  sales:                 # of the shop
    email: a@x.example   # theirs
    interval:   '5m'
    recipient:           # who
      # a comment in the block
      auto:
        map: {x.example: y.example}
      default_box: p@y.example

    folders:
    - INBOX
    - '\\Junk'
  # Before the second
  boss:
      email: b@x.example
      tls:
         mode: starttls
      title: \"a \\\" b\"  # said
      empty:
# The end
";

#[test]
fn only_the_intended_lines_change() {
    let changed = |name: &str, ops: &[Op], old: &str, new: &str| {
        let done = edit(FILE, name, ops).unwrap_or_else(|refusal| panic!("{ops:?}: {refusal:?}"));
        assert_eq!(FILE.matches(old).count(), 1, "{old:?}");
        assert_eq!(done, FILE.replacen(old, new, 1), "{ops:?}");
        // The same with other line ends, a mark in front, and no end of the last line.
        let dos = format!("\u{feff}{}", FILE.replace('\n', "\r\n"));
        let expected = format!("\u{feff}{}", done.replace('\n', "\r\n"));
        assert_eq!(edit(&dos, name, ops).unwrap(), expected);
    };
    changed("sales", &[set("interval", "10m")], "interval:   '5m'", "interval:   10m");
    changed("sales", &[set("email", "c@x.example")], "a@x.example   #", "c@x.example   #");
    changed("boss", &[set("title", "x: y")], "title: \"a \\\" b\"  #", "title: 'x: y'  #");
    changed("boss", &[set("empty", "{a: 1}")], "empty:\n", "empty: {a: 1}\n");
    changed("boss", &[set("tls.mode", "none")], "mode: starttls", "mode: none");
    changed("boss", &[set("tls.verify", "off")], "mode: starttls\n", "mode: starttls\n         verify: off\n");
    changed("boss", &[set("interval", "1m")], "empty:\n", "empty:\n      interval: 1m\n");
    changed("sales", &[set("auth.method", "scram")], "    - '\\Junk'\n", "    - '\\Junk'\n    auth:\n      method: scram\n");
    changed(
        "sales",
        &[set("recipient", "{forward_to: z@y.example}")],
        "recipient:           # who\n      # a comment in the block\n      auto:\n        map: {x.example: y.example}\n      default_box: p@y.example\n",
        "recipient: {forward_to: z@y.example}           # who\n",
    );
    changed("sales", &[set("folders", "Sent")], "folders:\n    - INBOX\n    - '\\Junk'\n", "folders: Sent\n");
    changed("sales", &[set("recipient.auto.map", "{q.example: r.example}")], "{x.example: y.example}", "{q.example: r.example}");
    changed("sales", &[unset("interval")], "    interval:   '5m'\n", "");
    changed("sales", &[unset("folders")], "    folders:\n    - INBOX\n    - '\\Junk'\n", "");
    changed("boss", &[unset("tls.mode")], "      tls:\n         mode: starttls\n", "");
    changed("boss", &[Op::Rename("head".into())], "  boss:\n", "  head:\n");
    changed("boss", &[set("email", "x@x.example"), unset("empty"), unset("title")], &FILE[FILE.find("      email: b").unwrap()..], {
        "      email: x@x.example\n      tls:\n         mode: starttls\n# The end\n"
    });
    let sales = &FILE[FILE.find("  sales:").unwrap()..FILE.find("  # Before").unwrap()];
    changed("sales", &[Op::Remove], sales, "");
    let boss = &FILE[FILE.find("  boss:").unwrap()..FILE.find("# The end").unwrap()];
    changed("boss", &[Op::Remove], boss, "");
}

#[test]
fn the_last_line_keeps_what_it_has() {
    let text = "collectors:\n  a:\n    email: a@x.example\n    port: 1";
    assert_eq!(edit(text, "a", &[set("port", "2")]).unwrap(), text.replace("port: 1", "port: 2"));
    assert_eq!(edit(text, "a", &[set("title", "x")]).unwrap(), format!("{text}\n    title: x"));
    assert_eq!(edit(text, "a", &[unset("port")]).unwrap(), text.replace("\n    port: 1", ""));
    assert_eq!(edit(text, "a", &[Op::Remove]).unwrap(), "collectors:");
}

#[test]
fn what_is_not_certain_is_refused_with_a_proposal() {
    for (text, op, why, proposal) in [
        ("collectors: {a: {port: 1}}\n", set("a", "2"), "`collectors` is written in braces", Some("collectors: {a: {port: 1, a: 2}}\n")),
        ("collectors:\n  a: {port: 1, x: y}\n", set("port", "2"), "collector `a` is written in braces", Some("collectors:\n  a: {port: 2, x: y}\n")),
        ("collectors:\n  a: {port: 1, x: y}\n", unset("port"), "collector `a` is written in braces", Some("collectors:\n  a: {x: y}\n")),
        ("collectors:\n  a: {x: y, port: 1 }\n", unset("port"), "collector `a` is written in braces", Some("collectors:\n  a: {x: y }\n")),
        (
            "collectors:\n  a:\n    tls: {mode: none}\n",
            set("tls.verify", "off"),
            "`tls` of collector `a` is written in braces",
            Some("collectors:\n  a:\n    tls: {mode: none, verify: off}\n"),
        ),
        ("x: &x {port: 1}\ncollectors:\n  a: *x\n", set("port", "2"), "is an alias of what stands elsewhere", None),
        ("x: &x {port: 1}\ncollectors:\n  a:\n    tls: *x\n", set("tls", "{mode: none}"), "is an alias", None),
        ("x: &x {port: 1}\ncollectors:\n  a:\n    <<: *x\n    y: 1\n", set("port", "2"), "takes keys from elsewhere by `<<`", None),
        ("collectors:\n  a: &a\n    port: 1\n  b: *a\n", set("port", "2"), "has an anchor or a tag", None),
        ("collectors:\n  a:\n    port: !x 1\n", set("port", "2"), "has an anchor or a tag", None),
        ("collectors:\n  a:\n    t: |\n      one\n      two\n    port: 1\n", set("t", "2"), "where the value of `t` ends is not certain", None),
        ("collectors:\n  a:\n    t: one\n      two\n    port: 1\n", unset("t"), "where the value of `t` ends is not certain", None),
        ("collectors:\n  a:\n    t: 'one\n      two'\n", set("u", "1"), "all of its keys have texts over several lines", None),
        ("collectors:\n  a:\n    port: 1\n    x: [1,\n      2]\n", set("x", "2"), "where the value of `x` ends is not certain", None),
        ("collectors:\n  a:\n    port: 1\n", set("port.x", "2"), "`port` of collector `a` is one value and no block: set `port` whole", None),
        ("collectors:\n  a:\n    port: 1\r    x: 2\n", set("port", "2"), "a carriage return stands alone", None),
        ("collectors:\n  a:\n    port: 1\n---\na: 1\n", set("port", "2"), "a second document", None),
        ("collectors:\n  a:\n    port: 1\n    port: 2\n", set("port", "2"), "a key stands twice", None),
    ] {
        let refusal = edit(text, "a", std::slice::from_ref(&op)).unwrap_err();
        assert!(refusal.why.contains(why), "{text}: {refusal:?}");
        assert_eq!(refusal.proposal.as_deref(), proposal, "{text}");
        assert!(!refusal.is_absent);
    }
    for (name, op) in [("a", unset("port")), ("b", Op::Remove), ("a", unset("tls.mode"))] {
        assert!(edit("collectors:\n  a:\n    x: 1\n", name, &[op]).unwrap_err().is_absent);
    }
    // An alias that others need must not lose its anchor.
    let text = "collectors:\n  a:\n    tls: &t {mode: none}\n  b:\n    tls: *t\n";
    assert!(edit(text, "a", &[Op::Remove]).is_err());
}

/// A collector as it is generated: each key with the lines that it takes, and a comment or nothing behind its first.
fn lines_of(indent: usize) -> impl Strategy<Value = Vec<(String, Vec<String>)>> {
    let inner = " ".repeat(indent);
    let value = prop_oneof![
        "[a-zа-я][a-zа-я0-9@._/-]{0,12}".prop_map(|word| vec![format!(" {word}")]),
        "[a-z #:'{}&*]{0,10}".prop_map(|text| vec![format!(" '{}'", text.replace('\'', "''"))]),
        "[a-z #:'{}]{0,10}".prop_map(|text| vec![format!(" \"{text}\"")]),
        Just(vec![" {x: 1, 'y': [a, b]}".to_owned()]),
        Just(vec![" [a, {b: c}]".to_owned()]),
        Just(vec![String::new(), "IN  one: 1".to_owned(), "IN  # inside".to_owned(), "IN  two: {a: b}   # c".to_owned()]),
        Just(vec![String::new(), "IN- a".to_owned(), "IN- b: 1".to_owned(), "IN  c: 2".to_owned()]),
    ];
    let comment = prop_oneof![3 => Just(""), 1 => Just("   # said"), 1 => Just(" #")];
    let key = (value, comment, prop::bool::ANY).prop_map(move |(value, comment, blank)| {
        let mut lines: Vec<String> = value.iter().map(|line| line.replace("IN", &inner)).collect();
        lines[0] += comment;
        if blank {
            lines.push(String::new());
        }
        lines
    });
    prop::collection::vec(key, 1..6).prop_map(|keys| keys.into_iter().enumerate().map(|(n, lines)| (format!("k{n}"), lines)).collect())
}

fn files() -> impl Strategy<Value = (String, Vec<(String, Vec<String>)>)> {
    (1usize..5, 1usize..5).prop_flat_map(|(outer, step)| {
        let collectors = prop::collection::vec(lines_of(outer + step), 1..4);
        (collectors, prop::bool::ANY, prop::bool::ANY, prop::bool::ANY).prop_map(move |(collectors, dos, end, behind)| {
            let mut lines = vec!["# head".to_owned(), "other: {a: 1}".to_owned(), "collectors:   # all".to_owned()];
            let mut names = Vec::new();
            for (n, keys) in collectors.iter().enumerate() {
                lines.push(format!("{}c{n}:", " ".repeat(outer)));
                for (key, of) in keys {
                    for (at, line) in of.iter().enumerate() {
                        lines.push(if at == 0 { format!("{}{key}:{line}", " ".repeat(outer + step)) } else { line.clone() });
                    }
                }
                lines.push(format!("{}# behind c{n}", " ".repeat(n)));
                names.push((format!("c{n}"), keys.iter().map(|(key, _)| key.clone()).collect()));
            }
            if behind {
                lines.push("last: 1".to_owned());
            }
            let mut text = lines.join("\n");
            text += if end { "\n" } else { "" };
            (if dos { text.replace('\n', "\r\n") } else { text }, names)
        })
    })
}

/// What a text means, by the reader of the configuration: another one than the editor's.
fn means(text: &str) -> BTreeMap<String, String> {
    fn flatten(name: String, node: &Node, into: &mut BTreeMap<String, String>) {
        match &node.value {
            yaml::Value::Map(entries) => entries.iter().for_each(|entry| flatten(format!("{name}/{}", entry.key), &entry.value, into)),
            yaml::Value::List(items) => items.iter().enumerate().for_each(|(n, item)| flatten(format!("{name}/{n}"), item, into)),
            yaml::Value::Scalar { text, .. } => drop(into.insert(name, text.clone())),
            yaml::Value::Empty => drop(into.insert(name, String::new())),
        }
    }
    let mut problems = Vec::new();
    let node = yaml::parse(&Text::new(Path::new("t"), text), 0, &mut problems).unwrap_or_else(|| panic!("{text}\n{problems:?}"));
    assert_eq!(problems, []);
    let mut all = BTreeMap::new();
    flatten(String::new(), &node, &mut all);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_edit_does_what_is_meant_and_leaves_the_rest((text, names) in files(), which in any::<prop::sample::Index>(), key in any::<prop::sample::Index>(), kind in 0..5) {
        let (name, keys) = which.get(&names);
        let key = key.get(keys).clone();
        let op = match kind {
            0 => set(&key, "'new # value'"),
            1 => set("added", "[1, 2]"),
            2 => unset(&key),
            3 => Op::Remove,
            _ => Op::Rename("other_name".to_owned()),
        };
        let done = match edit(&text, name, std::slice::from_ref(&op)) {
            Ok(done) => done,
            // All keys of a collector gone is what nobody can mean by one of them.
            Err(refusal) => return Err(TestCaseError::fail(format!("{op:?}: {refusal:?}\n{text}"))),
        };
        // Each value but the one that was meant is what it was.
        let place = format!("/collectors/{name}");
        let (before, after) = (means(&text), means(&done));
        let of = |all: &BTreeMap<String, String>, under: &str| -> BTreeMap<String, String> {
            all.iter().filter(|(path, _)| **path == *under || path.starts_with(&format!("{under}/"))).map(|(path, value)| (path[under.len()..].to_owned(), value.clone())).collect()
        };
        let without = |all: &BTreeMap<String, String>, under: &[&str]| -> BTreeMap<String, String> {
            all.iter().filter(|(path, _)| !under.iter().any(|under| *path == under || path.starts_with(&format!("{under}/")))).map(|(path, value)| (path.clone(), value.clone())).collect()
        };
        let lines = diff(&text, &done);
        let (olds, news) = (lines.iter().filter(|line| matches!(line, Line::Old(_))).count(), lines.iter().filter(|line| matches!(line, Line::New(_))).count());
        let spanned = means_lines(&text, name, &key);
        match kind {
            0 => {
                let under = format!("{place}/{key}");
                prop_assert_eq!(of(&after, &under), BTreeMap::from([(String::new(), "new # value".to_owned())]));
                prop_assert_eq!(without(&after, &[&under]), without(&before, &[&under]));
                prop_assert!(news <= 1 && olds <= spanned, "{}", done);
            }
            1 => {
                let under = format!("{place}/added");
                prop_assert_eq!(of(&after, &under).len(), 2);
                prop_assert_eq!(without(&after, &[&under]), before);
                // The line that was the last one without an end gets one.
                prop_assert!(olds <= 1 && news <= 2 && (olds == 0 || !text.ends_with('\n')), "{}", done);
            }
            2 => {
                let under = format!("{place}/{key}");
                prop_assert_eq!(without(&after, &[&under, &place]), without(&before, &[&under, &place]));
                prop_assert!(of(&after, &under).is_empty());
                prop_assert!(olds <= spanned + 1 && news <= 1, "{}", done);
            }
            3 => {
                prop_assert_eq!(without(&after, &[&place, "/collectors"]), without(&before, &[&place, "/collectors"]));
                prop_assert!(of(&after, &place).is_empty());
            }
            _ => {
                prop_assert_eq!(of(&after, "/collectors/other_name"), of(&before, &place));
                prop_assert_eq!((olds, news), (1, 1));
            }
        }
        // Comments that stand in no value that went are all there.
        let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("# behind") || line.starts_with("# head")).count();
        prop_assert_eq!(comments(&text), comments(&done), "{}", done);
    }

    #[test]
    fn any_text_is_edited_or_refused(text in "[-a:{}\\[\\],&*!|>'\"#я \r\n]{0,80}") {
        let text = format!("collectors:\n  a:\n    b: 1\n{text}");
        for op in [set("b", "2"), unset("b"), Op::Remove, Op::Rename("c".into())] {
            let _ = edit(&text, "a", &[op]);
        }
    }
}

/// How many lines a key takes, at most.
fn means_lines(text: &str, name: &str, key: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.iter().position(|line| line.trim() == format!("{name}:")).unwrap();
    let at = from + lines[from..].iter().position(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap();
    let indent = |line: &str| line.len() - line.trim_start().len();
    1 + lines[at + 1..]
        .iter()
        .take_while(|line| {
            line.trim().is_empty()
                || line.contains("# inside")
                || indent(line) > indent(lines[at])
                || line.trim_start().starts_with('-')
                || indent(line) == indent(lines[at]) && line.contains("c: 2")
        })
        .count()
}
