//! `folders`: which folders of the mailbox are collected, and what is special about one.

use super::Ctx;
use super::address::addresses;
use super::block::{Block, Keys};
use super::disposal::{Disposal, after};
use super::values::{choice, one_or_more, text};
use crate::config::error::Code;
use crate::config::text::Span;
use crate::config::words::nearest;
use crate::config::yaml::{Entry, Value};
use crate::config::{Folder, FolderFlag, FolderSelect};
use crate::mail::FolderName;

/// The keys of an entry of `folders`.
pub(super) const FOLDER: Keys = Keys { known: &["name", "flag", "forward_to", "after"], not_yet: &[] };

/// Most entries: each is looked for among the folders of the mailbox.
const FOLDERS_MAX: usize = 1_000;
/// Longest name; servers that allow more are not known.
const NAME_OCTETS_MAX: usize = 1_000;
/// RFC 6154 §2 and RFC 8457 §4.
const SPECIAL_USES: [&str; 8] = ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash"];

/// An entry with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub folder: Folder,
    pub span: Span,
}

/// INBOX, with nothing special about it.
pub(super) fn inbox() -> Folder {
    Folder { select: FolderSelect::Name(FolderName::inbox()), flag: None, forward_to: None, after: None, move_to: None }
}

/// The folders in their order; INBOX alone if nobody says otherwise, or if what was said is wrong.
pub(super) fn folders(ctx: &mut Ctx<'_>, block: &Block<'_>) -> Vec<Placed> {
    let default = vec![Placed { folder: inbox(), span: block.span }];
    let Some(entry) = block.get("folders") else { return default };
    let Some(items) = one_or_more(ctx, entry) else { return default };
    if items.len() > FOLDERS_MAX {
        ctx.add(
            ctx.error(Code::Range, entry.span, format!("`folders` has more than {FOLDERS_MAX} entries")).hint("`*` stands for any part of a name"),
        );
        return default;
    }
    let mut folders: Vec<Placed> = Vec::new();
    for item in &items {
        let Some(folder) = folder(ctx, item) else { continue };
        if let Some(first) = folders.iter().find(|placed| placed.folder.select == folder.select) {
            let first = ctx.text.name_of(first.span);
            let problem = ctx.error(Code::Duplicate, item.value.span, format!("`folders` has {} twice", shown(&folder.select)));
            ctx.add(
                problem
                    .note(format!("first at {first}"))
                    .hint("remove one of the two; a plain name decides about its folder, else the first glob or special use that takes it in"),
            );
            continue;
        }
        folders.push(Placed { folder, span: item.value.span });
    }
    if folders.is_empty() { default } else { folders }
}

fn folder(ctx: &mut Ctx<'_>, item: &Entry) -> Option<Folder> {
    if !matches!(item.value.value, Value::Map(_)) {
        return Some(Folder { select: select(ctx, item, true)?, ..inbox() });
    }
    let block = Block::open(ctx, &item.value, "an entry of `folders`", &FOLDER)?;
    let name = block.get("name").map(|name| select(ctx, name, true));
    if name.is_none() {
        let problem = ctx.error(Code::Missing, item.value.span, "an entry of `folders` has no `name`");
        ctx.add(problem.hint("as in `{name: '\\Junk', flag: spam}`"));
    }
    let flag = block.get("flag").map(|flag| choice(ctx, flag, &[("spam", FolderFlag::Spam)], &[]));
    let forward_to = block.get("forward_to").map(|to| addresses(ctx, to));
    let disposal = block.get("after").map(|entry| after(ctx, entry));
    let disposal = disposal.map_or(Some(None), |disposal| disposal.map(Some))?;
    let (after, move_to) = disposal.map_or((None, None), |Disposal { after, move_to }| (Some(after), move_to));
    Some(Folder {
        select: name??,
        flag: flag.map_or(Some(None), |flag| flag.map(Some))?,
        forward_to: forward_to.map_or(Some(None), |to| to.map(Some))?,
        after,
        move_to,
    })
}

/// A name, a special use, or, where several may be meant, a glob.
pub(super) fn select(ctx: &mut Ctx<'_>, entry: &Entry, several: bool) -> Option<FolderSelect> {
    let name = text(ctx, entry)?;
    let span = entry.value.span;
    if name.is_empty() || name.len() > NAME_OCTETS_MAX || name.chars().any(char::is_control) {
        ctx.add(ctx.error(Code::Value, span, format!("`{}`: the name of the folder is empty, too long, or holds control characters", entry.key)));
        return None;
    }
    if name.starts_with('\\') {
        if let Some(known) = SPECIAL_USES.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            return Some(FolderSelect::SpecialUse((*known).to_owned()));
        }
        let problem = ctx.error(Code::Value, span, format!("`{}`: {} is no special use of a folder", entry.key, ctx.quoted(name, span)));
        let lower = SPECIAL_USES.map(str::to_lowercase);
        let near = nearest(&name.to_lowercase(), lower.iter().map(String::as_str)).and_then(|near| lower.iter().position(|known| known == near));
        let problem = match near {
            Some(near) => problem.label(format!("did you mean `{}`?", SPECIAL_USES[near])),
            None => problem,
        };
        ctx.add(problem.hint(format!("those of RFC 6154: {}; a folder's own name has no `\\` in front", SPECIAL_USES.join(" "))));
        return None;
    }
    if name.contains(['*', '%']) {
        if !several {
            let problem = ctx.error(Code::Value, span, format!("`{}` takes one folder, not all that match {}", entry.key, ctx.quoted(name, span)));
            ctx.add(problem.hint("a name, or a special use as in `'\\Trash'`"));
            return None;
        }
        return Some(FolderSelect::Glob(name.to_owned()));
    }
    // RFC 9051 §5.1: INBOX in any case is the same folder.
    let name = if name.eq_ignore_ascii_case("INBOX") { FolderName::inbox() } else { FolderName::new(name) };
    Some(FolderSelect::Name(name))
}

/// As it stands in the file.
pub(super) fn shown(select: &FolderSelect) -> String {
    match select {
        FolderSelect::Name(name) => format!("`{name}`"),
        FolderSelect::Glob(text) | FolderSelect::SpecialUse(text) => format!("`{text}`"),
    }
}

/// True if the second is certainly among what the first names. Which folder has a special use, only the server knows.
pub(super) fn takes_in(select: &FolderSelect, other: &FolderSelect) -> bool {
    match (select, other) {
        (FolderSelect::Glob(glob), FolderSelect::Name(name)) => matches(glob.as_bytes(), name.as_str().as_bytes()),
        (FolderSelect::Glob(glob), FolderSelect::SpecialUse(_)) => glob.bytes().all(|b| b == b'*'),
        _ => select == other,
    }
}

/// RFC 9051 §6.3.9; which of `/`, `.` and `\` separates levels is not known here, so `%` passes none of them.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    // Where the last star stood, and how much of the name it has taken: going back to it alone is enough.
    let (mut at, mut rest, mut star) = (0, 0, None::<(usize, usize)>);
    while rest < name.len() {
        match glob.get(at) {
            Some(b'*' | b'%') => {
                star = Some((at, rest));
                at += 1;
            }
            Some(octet) if *octet == name[rest] => (at, rest) = (at + 1, rest + 1),
            _ => {
                let Some((star_at, taken)) = star else { return false };
                if glob[star_at] == b'%' && b"/.\\".contains(&name[taken]) {
                    return false;
                }
                star = Some((star_at, taken + 1));
                (at, rest) = (star_at + 1, taken + 1);
            }
        }
    }
    glob[at..].iter().all(|octet| b"*%".contains(octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, name, expected) in [
            ("*", "INBOX", true),
            ("*", "A/B", true),
            ("%", "A", true),
            ("%", "A/B", false),
            ("A/%", "A/B", true),
            ("A/%", "A/B/C", false),
            ("A/*", "A/B/C", true),
            ("A/*", "B", false),
            ("*done*", "Old.done.2026", true),
            ("*done", "done2", false),
            ("Архив*", "Архив 2025", true),
        ] {
            assert_eq!(matches(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        }
    }
}
