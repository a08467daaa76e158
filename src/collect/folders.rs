//! Which folders a pass goes through, and by which rules. Pure: the configuration and the server's list in, names out.

use crate::config::words::nearest;
use crate::config::{After, Collector, Folder, FolderSelect, RecipientMode};
use crate::mail::FolderName;
use crate::mail::outcome::harmless;
use crate::resolve::SenderFallback;
use crate::source::{RemoteFolder, SourceError, SourceErrorKind};
use std::collections::HashSet;
use std::sync::Arc;

/// Most folders that one collector goes through.
pub const FOLDERS_MAX: usize = 1_000;
/// Most names in a hint.
const NAMES_SHOWN: usize = 20;

/// The folders of a pass, in the order in which they are collected.
#[derive(Debug, Default, PartialEq)]
pub struct Chosen {
    /// Each with its place in the configuration.
    pub folders: Vec<(FolderName, usize)>,
    /// Entries that name nothing on the server, in words.
    pub missing: Vec<String>,
    /// How many more than [`FOLDERS_MAX`] there were.
    pub beyond: usize,
}

/// True if the server's list is needed: one folder that every server has, or one that is named, can be opened as it is.
pub fn needs_list(collector: &Collector) -> bool {
    let moves = moves_to(collector);
    collector.server.protocol.has_folders()
        && (collector.folders.len() > 1
            || collector.folders.iter().map(|folder| &folder.select).chain(moves).any(|select| !matches!(select, FolderSelect::Name(_))))
}

/// True if a letter may come from more than one folder.
pub fn may_be_several(collector: &Collector) -> bool {
    collector.folders.len() > 1 || collector.folders.iter().any(|folder| matches!(folder.select, FolderSelect::Glob(_)))
}

/// The folders that the configuration names, without the server's list.
pub fn as_named(collector: &Collector) -> Chosen {
    let names = collector.folders.iter().enumerate().filter_map(|(n, folder)| match &folder.select {
        FolderSelect::Name(name) => Some((name.clone(), n)),
        FolderSelect::Glob(_) | FolderSelect::SpecialUse(_) => None,
    });
    Chosen { folders: names.collect(), ..Chosen::default() }
}

/// The folders that the configuration names, of those that the server has. A folder belongs to the first entry that names it; one by its name
/// comes before patterns that match it too. Folders that mail is moved to are never taken by a pattern.
pub fn choose(collector: &Collector, listed: &[RemoteFolder]) -> Chosen {
    let mut chosen = Chosen::default();
    let by_name: HashSet<&FolderName> = collector.folders.iter().filter_map(|folder| name_of(&folder.select)).collect();
    let moved_to: HashSet<FolderName> = moves_to(collector).filter_map(|select| find(select, listed)).collect();
    let mut taken: HashSet<&FolderName> = HashSet::new();
    for (n, folder) in collector.folders.iter().enumerate() {
        let before = chosen.folders.len() + chosen.beyond;
        for remote in listed.iter().filter(|remote| matches(&folder.select, remote)) {
            let by_pattern = name_of(&folder.select).is_none();
            if by_pattern && (by_name.contains(&remote.name) || moved_to.contains(&remote.name)) {
                continue;
            }
            if !taken.insert(&remote.name) {
                continue;
            }
            match chosen.folders.len() < FOLDERS_MAX {
                true => chosen.folders.push((remote.name.clone(), n)),
                false => chosen.beyond += 1,
            }
        }
        if chosen.folders.len() + chosen.beyond == before && !listed.iter().any(|remote| matches(&folder.select, remote)) {
            chosen.missing.push(missing(&folder.select, listed));
        }
    }
    chosen
}

impl Chosen {
    /// Why nothing can be collected: everything that the configuration names is missing, and not by patterns alone, which may match later.
    pub fn nothing(&self, collector: &Collector, listed: &[RemoteFolder]) -> Option<SourceError> {
        let is_named = collector.folders.iter().any(|folder| !matches!(folder.select, FolderSelect::Glob(_)));
        if !self.folders.is_empty() || !is_named {
            return None;
        }
        let peer = format!("{}:{}", collector.server.host, collector.server.port);
        let mut names: Vec<String> = listed.iter().take(NAMES_SHOWN).map(|remote| format!("`{}`", harmless(remote.name.as_str(), 100))).collect();
        if listed.len() > NAMES_SHOWN {
            names.push(format!("{} more", listed.len() - NAMES_SHOWN));
        }
        let error = SourceError::new(SourceErrorKind::Mailbox, "folders", &peer, harmless(&self.missing.join("; "), 1000));
        Some(error.hint(format!("the mailbox has {}", if names.is_empty() { "no folder at all".to_owned() } else { names.join(", ") })))
    }
}

/// The folder that a selection names, if there is one.
pub fn find(select: &FolderSelect, listed: &[RemoteFolder]) -> Option<FolderName> {
    listed.iter().find(|remote| matches(select, remote)).map(|remote| remote.name.clone())
}

/// The collector as it is in this folder.
pub fn inside(collector: &Arc<Collector>, folder: &Folder) -> Arc<Collector> {
    if folder.after.is_none() && folder.forward_to.is_none() && folder.flag.is_none() {
        return Arc::clone(collector);
    }
    let mut inside = Collector::clone(collector);
    inside.flag = folder.flag;
    if let Some(after) = folder.after {
        inside.after = after;
        if after == After::Move {
            inside.move_to = folder.move_to.clone().or(inside.move_to);
        }
    }
    if let Some(to) = &folder.forward_to {
        inside.recipient = RecipientMode::ForwardTo(to.clone(), SenderFallback::Default);
    }
    Arc::new(inside)
}

/// The folders that mail is moved to.
pub fn moves_to(collector: &Collector) -> impl Iterator<Item = &FolderSelect> {
    collector.move_to.iter().chain(collector.folders.iter().filter_map(|folder| folder.move_to.as_ref()))
}

fn name_of(select: &FolderSelect) -> Option<&FolderName> {
    match select {
        FolderSelect::Name(name) => Some(name),
        FolderSelect::Glob(_) | FolderSelect::SpecialUse(_) => None,
    }
}

fn matches(select: &FolderSelect, remote: &RemoteFolder) -> bool {
    match select {
        FolderSelect::Name(name) => *name == remote.name,
        FolderSelect::Glob(pattern) => glob(pattern, remote.name.as_str(), remote.separator),
        FolderSelect::SpecialUse(attribute) => remote.attributes.iter().any(|own| own.eq_ignore_ascii_case(attribute)),
    }
}

/// RFC 9051 §6.3.9: `*` matches anything, `%` anything without the separator. INBOX is the same in any case (§5.1). Linear for each star.
fn glob(pattern: &str, name: &str, separator: Option<char>) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Which lengths of the name the pattern so far can match.
    let mut reach = vec![false; name.len() + 1];
    reach[0] = true;
    for wanted in pattern {
        let mut next = vec![false; name.len() + 1];
        match wanted {
            '*' | '%' => {
                let mut open = false;
                for at in 0..=name.len() {
                    if at > 0 && wanted == '%' && Some(name[at - 1]) == separator {
                        open = false;
                    }
                    open |= reach[at];
                    next[at] = open;
                }
            }
            wanted => {
                for at in 0..name.len() {
                    next[at + 1] = reach[at] && name[at] == wanted;
                }
            }
        }
        reach = next;
    }
    reach[name.len()]
}

fn missing(select: &FolderSelect, listed: &[RemoteFolder]) -> String {
    match select {
        FolderSelect::Name(name) => match nearest(name.as_str(), listed.iter().map(|remote| remote.name.as_str())) {
            Some(near) => format!("there is no folder `{}`; there is `{near}`", name.as_str()),
            None => format!("there is no folder `{}`", name.as_str()),
        },
        FolderSelect::Glob(pattern) => format!("no folder matches `{pattern}`"),
        FolderSelect::SpecialUse(attribute) => format!("the server names no folder as {attribute} (RFC 6154)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, separator, expected) in [
            ("INBOX", "INBOX", Some('/'), true),
            ("*", "a/b", Some('/'), true),
            ("%", "a/b", Some('/'), false),
            ("%", "a.b", Some('/'), true),
            ("Lists/%", "Lists/a", Some('/'), true),
            ("Lists/%", "Lists/a/b", Some('/'), false),
            ("Lists/*", "Lists/a/b", Some('/'), true),
            ("Lists/%/new", "Lists/a/new", Some('/'), true),
            ("*b*", "abc", None, true),
            ("*b*d", "abc", None, false),
            ("При*", "Приём", Some('.'), true),
            ("", "", None, true),
            ("%/%", "a/b", Some('/'), true),
            ("**", "", None, true),
        ] {
            assert_eq!(glob(pattern, name, separator), expected, "{pattern} {name}");
        }
        // No pattern makes it slow.
        assert!(!glob(&"*a".repeat(500), &"a".repeat(499), None));
    }

    fn collector(folders: &[&str], move_to: Option<&str>) -> Collector {
        let text = "delivery: {maildir: '/nowhere/{local}'}\ncollectors:\n  a: {server: h.example, username: u, password: {env: P}, recipient: {forward_to: b@c.example}}";
        let loaded = crate::config::parse(text, std::path::Path::new("t.yaml"), &crate::config::Environment::default()).unwrap();
        let collector = loaded.config.collectors.values().next().unwrap();
        let select = |text: &&str| match text {
            text if text.starts_with('\\') => FolderSelect::SpecialUse((*text).into()),
            text if text.contains(['*', '%']) => FolderSelect::Glob((*text).into()),
            text => FolderSelect::Name(FolderName::new(text)),
        };
        let folders = folders.iter().map(|text| Folder { select: select(text), flag: None, forward_to: None, after: None, move_to: None }).collect();
        Collector { folders, move_to: move_to.map(|text| select(&text)), ..Collector::clone(collector) }
    }

    fn remote(name: &str, attributes: &[&str]) -> RemoteFolder {
        RemoteFolder { name: FolderName::new(name), attributes: attributes.iter().map(ToString::to_string).collect(), separator: Some('/') }
    }

    #[test]
    fn what_is_chosen() {
        let listed = [remote("INBOX", &[]), remote("Lists/a", &[]), remote("Lists/b", &[]), remote("Spam", &["\\Junk"]), remote("Done", &[])];
        let names = |folders: &[&str], move_to| {
            let chosen = choose(&collector(folders, move_to), &listed);
            (chosen.folders.iter().map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", "), chosen.missing.join("; "))
        };
        for (folders, move_to, expected, missing) in [
            (&["INBOX"][..], None, "0 INBOX", ""),
            (&["Lists/*", "Lists/a"], None, "0 Lists/b, 1 Lists/a", ""),
            (&["*"], Some("Done"), "0 INBOX, 0 Lists/a, 0 Lists/b, 0 Spam", ""),
            (&["\\junk", "*"], None, "0 Spam, 1 INBOX, 1 Lists/a, 1 Lists/b, 1 Done", ""),
            (
                &["Lists/c", "\\All", "x*"],
                None,
                "",
                "there is no folder `Lists/c`; there is `Lists/a`; the server names no folder as \\All (RFC 6154); no folder matches `x*`",
            ),
            (&["INBOX", "%"], None, "0 INBOX, 1 Spam, 1 Done", ""),
        ] {
            assert_eq!(names(folders, move_to), (expected.to_owned(), missing.to_owned()), "{folders:?}");
        }
        assert!(
            needs_list(&collector(&["\\Junk"], None))
                && needs_list(&collector(&["INBOX", "a"], None))
                && needs_list(&collector(&["INBOX"], Some("\\Trash")))
        );
        assert!(!needs_list(&collector(&["INBOX"], Some("Done"))));
        let many: Vec<RemoteFolder> = (0..FOLDERS_MAX + 5).map(|n| remote(&format!("f{n}"), &[])).collect();
        let chosen = choose(&collector(&["*"], None), &many);
        assert_eq!((chosen.folders.len(), chosen.beyond), (FOLDERS_MAX, 5));
    }

    #[test]
    fn a_folder_has_rules_of_its_own() {
        let base = Arc::new(collector(&["INBOX"], None));
        let plain = base.folders[0].clone();
        assert!(Arc::ptr_eq(&inside(&base, &plain), &base));
        let to: crate::mail::Address = "spam@c.example".parse().unwrap();
        let special = Folder { flag: Some(crate::config::FolderFlag::Spam), forward_to: Some(vec![to.clone()]), after: Some(After::Delete), ..plain };
        let there = inside(&base, &special);
        assert_eq!((there.after, there.flag), (After::Delete, Some(crate::config::FolderFlag::Spam)));
        assert!(matches!(&there.recipient, RecipientMode::ForwardTo(addresses, _) if *addresses == [to]));
    }
}
