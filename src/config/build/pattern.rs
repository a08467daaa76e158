//! Regular expressions, and the texts that use their groups.

use super::Ctx;
use super::values::text;
use crate::config::error::Code;
use crate::config::text::Span;
use crate::config::yaml::Entry;
use crate::mail::{Address, Pattern};

/// An expression as it stands, where nothing else may stand: without slashes.
pub(super) fn pattern(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Pattern> {
    let text = text(ctx, entry)?;
    if in_slashes(text).is_some() {
        // It would be taken for an expression that looks for slashes, and never match.
        let problem = ctx.error(Code::Value, entry.value.span, format!("`{}` takes the expression without slashes around it", entry.key));
        ctx.add(problem.hint("slashes tell an expression from an address or a code, in `exclude` and in `reply`"));
        return None;
    }
    compiled(ctx, &entry.key, text, entry.value.span)
}

/// What stands between slashes, where an expression is one of several forms: `/spam/`.
pub(super) fn in_slashes(text: &str) -> Option<&str> {
    text.strip_prefix('/').and_then(|text| text.strip_suffix('/'))
}

/// An expression that stands at a place. What is wrong is said without repeating it.
pub(super) fn compiled(ctx: &mut Ctx<'_>, key: &str, text: &str, span: Span) -> Option<Pattern> {
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let problem = ctx.error(Code::Value, span, format!("`{key}`: this is no regular expression that can be used: {error}"));
            ctx.add(problem.hint("the syntax is that of https://docs.rs/regex; in single quotes a `\\` stands for itself"));
            None
        }
    }
}

/// The `to` of a `rewrite`: an address with `$1` or `${name}` in it. Each group must be one of the expression. The domain may
/// come from a group: the resolver follows it to accepted domains only.
pub(super) fn replacement(ctx: &mut Ctx<'_>, entry: &Entry, regex: Option<&Pattern>) -> Option<String> {
    let text = text(ctx, entry)?;
    let span = entry.value.span;
    let mut plain = String::new();
    for piece in pieces(text) {
        let group = match piece {
            Piece::Text(text) => {
                plain += text;
                continue;
            }
            Piece::Group(group) => group,
        };
        plain.push('x');
        let Some(regex) = regex else { continue };
        let known = match group.parse::<usize>() {
            Ok(number) => number < regex.group_names().len(),
            Err(_) => regex.group_names().flatten().any(|name| name == group),
        };
        if !known {
            let shown = ctx.quoted(group, span);
            let problem = ctx.error(Code::Value, span, format!("`{}`: the expression has no group {shown}", entry.key));
            ctx.add(match group.split_once(|c: char| !c.is_ascii_digit()) {
                // `$1_x` is the group `1_x`, as in the documentation of the expressions.
                Some((number, _)) if !number.is_empty() => problem.hint(format!("`${{{number}}}` where a letter, a digit or `_` follows")),
                _ if group.is_empty() => problem.hint("`$$` stands for the character `$`"),
                _ => problem.hint("groups are `( )`, counted from 1, and `(?<name> )`; `$0` is all that matched"),
            });
            return None;
        }
    }
    // A group may hold a whole address: whether its domain is accepted is known when there is one.
    if !text.contains('@') && plain != text {
        return Some(text.to_owned());
    }
    if let Err(error) = plain.parse::<Address>() {
        let shown = ctx.quoted(text, span);
        ctx.add(ctx.error(Code::Value, span, format!("`{}`: {shown} makes no address: {error}", entry.key)));
        return None;
    }
    Some(text.to_owned())
}

enum Piece<'t> {
    Text(&'t str),
    Group(&'t str),
}

/// As `regex::Captures::expand` reads it: the longest run of letters, digits and `_` behind a `$`, or what stands in `${ }`; `$$` is a `$`.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let behind = &rest[at + 1..];
        if let Some(more) = behind.strip_prefix('$') {
            pieces.push(Piece::Text("$"));
            rest = more;
        } else if let Some((name, more)) = behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            pieces.push(Piece::Group(name));
            rest = more;
        } else {
            let len = behind.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(behind.len());
            pieces.push(Piece::Group(&behind[..len]));
            rest = &behind[len..];
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_in_a_text() {
        for (text, expected) in [
            ("a@b", vec!["a@b"]),
            ("$1@b", vec!["<1>", "@b"]),
            ("x${name}y@b", vec!["x", "<name>", "y@b"]),
            ("$1_x", vec!["<1_x>"]),
            ("a$$b", vec!["a", "$", "b"]),
            ("a$", vec!["a", "<>"]),
            ("${open", vec!["<>", "{open"]),
        ] {
            let found: Vec<String> = pieces(text)
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.to_owned(),
                    Piece::Group(name) => format!("<{name}>"),
                })
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
