//! Where a secret is: `password:`, and the slips that YAML makes of one.

use super::block::{Keys, open_entry};
use super::values::{duration, path, show_duration, text};
use super::{Ctx, kind_of};
use crate::config::SecretSource;
use crate::config::error::Code;
use crate::config::outside::Outside;
use crate::config::store;
use crate::config::text::{Pos, Span};
use crate::config::yaml::{Entry, Value};
use crate::mail::Secret;
use std::time::Duration;

pub(super) const SOURCES: Keys = Keys { known: &["file", "env", "credential", "command", "secret", "timeout"], not_yet: &["cache"] };
/// How long a command may take, if nobody says otherwise.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
const COMMAND_TIMEOUT_MAX: Duration = Duration::from_secs(300);
const BETTER: &str = "better: `{secret: name}`, `{file: /path}`, `{credential: name}`, `{env: NAME}` or `{command: [program, argument]}`";

/// The secret of an entry. Nothing of its value gets into a message.
pub(super) fn password(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<SecretSource> {
    match &entry.value.value {
        Value::Scalar { text, plain } => plain_password(ctx, entry, text, *plain),
        Value::Empty => {
            let problem = empty(ctx, entry);
            ctx.add(problem);
            None
        }
        Value::Map(_) => source(ctx, entry),
        Value::List(_) => {
            let problem = ctx.error(Code::WrongType, entry.value.span, format!("`{}` takes a text or a source, not {}", entry.key, kind_of(entry)));
            ctx.add(problem.hint("a password that starts with `[` must stand in quotes"));
            None
        }
    }
}

fn plain_password(ctx: &mut Ctx<'_>, entry: &Entry, text: &str, plain: bool) -> Option<SecretSource> {
    let key = &entry.key;
    if entry.value.tag.as_deref().is_some_and(|tag| !tag.starts_with("tag:yaml.org,2002:")) || entry.value.anchored {
        let problem =
            ctx.error(Code::YamlTrap, entry.value.span, format!("this `{key}` is cut: YAML takes a word with `!` or `&` in front for its own"));
        ctx.add(problem.hint("quote it"));
        return None;
    }
    if text.is_empty() {
        ctx.add(ctx.error(Code::Missing, entry.value.span, format!("`{key}` is empty")));
        return None;
    }
    if plain {
        let rest = ctx.text.rest_of_line(entry.value.span.end);
        let blanks = rest.chars().take_while(|c| c.is_whitespace()).count();
        if blanks > 0 && rest.trim_start().starts_with('#') {
            let column = entry.value.span.end.column + blanks;
            let start = Pos { column, ..entry.value.span.end };
            let span = Span { start, end: Pos { column: column + 1, ..start } };
            let problem = ctx.warning(Code::YamlTrap, span, format!("this `{key}` is cut at the `#`")).label("from here on a comment for YAML");
            ctx.add(problem.hint(format!("if the `#` belongs to it, quote it; if it is a comment, quote the value before it; {BETTER}")));
        }
    }
    if ctx.text.mode(entry.span).is_some_and(|mode| mode & 0o004 != 0) {
        let problem = ctx.error(Code::SecretSource, entry.span, format!("`{key}` stands in a file that everybody may read"));
        ctx.add(problem.hint(format!("chmod o-r the file; {BETTER}")));
    } else {
        ctx.add(ctx.warning(Code::SecretSource, entry.span, format!("`{key}` stands in the configuration itself")).hint(BETTER));
    }
    Some(SecretSource::Plain(Secret::new(text.to_owned())))
}

/// Nothing stands there, or YAML says so.
fn empty(ctx: &Ctx<'_>, entry: &Entry) -> crate::config::Problem {
    let key = &entry.key;
    let rest = ctx.text.rest_of_line(entry.span.end);
    let value = rest.trim_start_matches(['"', '\'']).trim_start().trim_start_matches(':').trim_start();
    let trap = match value.chars().next() {
        Some('#') => "YAML reads what starts with `#` as a comment",
        Some('!') => "YAML reads a word that starts with `!` as a tag",
        Some('&') => "YAML reads a word that starts with `&` as an anchor",
        _ => return ctx.error(Code::Missing, entry.span, format!("`{key}` has no value")).hint(BETTER),
    };
    ctx.error(Code::YamlTrap, entry.span, format!("this `{key}` is empty: {trap}")).hint("quote it")
}

fn source(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<SecretSource> {
    let block = open_entry(ctx, entry, &format!("`{}`", entry.key), &SOURCES)?;
    let found: Vec<_> = ["file", "env", "credential", "command", "secret"].iter().filter_map(|key| block.get(key)).collect();
    let [one] = found[..] else {
        if found.len() > 1 || !ctx.report.errors.iter().any(|problem| problem.code == Code::NotYet) {
            ctx.add(ctx.error(
                Code::SecretSource,
                entry.span,
                format!("`{}` takes exactly one of file, env, credential, command, secret", entry.key),
            ));
        }
        return None;
    };
    if let Some(timeout) = block.get("timeout").filter(|_| one.key != "command") {
        ctx.add(ctx.error(Code::Contradiction, timeout.span, "`timeout` goes with `command` only"));
    }
    let source = match one.key.as_str() {
        "file" => path(ctx, one).map(SecretSource::File),
        "env" => {
            let name = text(ctx, one)?;
            if name.is_empty() || name.contains(['=', '\0']) {
                ctx.add(ctx.error(Code::SecretSource, one.value.span, "`env` takes the name of a variable").hint("without a `$`"));
                return None;
            }
            Some(SecretSource::Env(name.to_owned()))
        }
        "credential" => {
            let name = text(ctx, one)?;
            if !crate::config::secret::is_credential_name(name) {
                let problem = ctx.error(Code::SecretSource, one.value.span, "`credential` takes the name of a systemd credential, not a path");
                ctx.add(problem.hint("the name that stands in `LoadCredential=`"));
                return None;
            }
            Some(SecretSource::Credential(name.to_owned()))
        }
        "secret" => {
            let name = text(ctx, one)?;
            if !store::is_name(name) {
                let problem = ctx.error(Code::SecretSource, one.value.span, "`secret` takes the name of a secret, never the secret itself");
                ctx.add(
                    problem.hint("a name has up to 64 letters, digits, `.`, `_` and `-`; `mailgather secret set NAME` keeps the secret under it"),
                );
                return None;
            }
            Some(SecretSource::Stored(ctx.secrets.join(name)))
        }
        _ => {
            let timeout = block.get("timeout").and_then(|entry| command_timeout(ctx, entry)).unwrap_or(COMMAND_TIMEOUT);
            Some(SecretSource::Command { argv: argv(ctx, one, "[pass, show, mail/sales]")?, timeout })
        }
    };
    if let Some(source) = &source {
        // A list of words may go over lines: what is meant is its key.
        let span = if matches!(source, SecretSource::Command { .. }) { one.span } else { one.value.span };
        ctx.names(span, Outside::Secret(source.clone()));
    }
    source
}

/// More than none, and at most five minutes.
pub(super) fn command_timeout(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<Duration> {
    let timeout = duration(ctx, entry)?;
    if timeout.is_zero() || timeout > COMMAND_TIMEOUT_MAX {
        let most = show_duration(COMMAND_TIMEOUT_MAX);
        ctx.add(ctx.error(Code::Range, entry.value.span, format!("`timeout` of a command must be more than 0 and at most {most}")));
        return None;
    }
    Some(timeout)
}

/// Program and arguments; never a shell line, in which a quote is a hole.
pub(super) fn argv(ctx: &mut Ctx<'_>, entry: &Entry, example: &str) -> Option<Vec<String>> {
    let words = match &entry.value.value {
        Value::List(items) => items.iter().map(|item| match &item.value {
            Value::Scalar { text, .. } if !text.contains('\0') => Some(text.clone()),
            _ => None,
        }),
        _ => {
            let problem = ctx.error(Code::WrongType, entry.span, "`command` is a list of words: there is no shell");
            ctx.add(problem.hint(format!("write `{example}`")));
            return None;
        }
    };
    match words.collect::<Option<Vec<_>>>() {
        Some(argv) if argv.first().is_some_and(|program| !program.is_empty()) => Some(argv),
        _ => {
            ctx.add(ctx.error(Code::WrongType, entry.span, "`command` is a list of words that starts with the program"));
            None
        }
    }
}
