//! What a configuration names outside of its own file: secrets, certificates, lists, programs, folders. Looked at by `mailgather check` only; a
//! daemon reads each when it needs it. No program is run.

use super::error::{Code, Problem, Report};
use super::secret;
use super::text::{Span, Text};
use super::{SecretSource, maildir_base, zone};
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};

/// One such thing.
#[derive(Clone, Debug)]
pub(super) enum Outside {
    /// Where a secret is.
    Secret(SecretSource),
    /// A file that must be readable: the key that names it, and the path.
    File(&'static str, PathBuf),
    /// The program of a command: the key, and its name.
    Program(&'static str, String),
    /// The path of a Maildir target, with its placeholders.
    Maildir(String),
    /// A time zone.
    Zone(String),
}

/// Looks at all of them. Blocks on the disk.
pub(super) fn look(text: &Text<'_>, named: &[(Span, Outside)]) -> Report {
    let mut report = Report::default();
    for (span, outside) in named {
        match outside {
            Outside::Secret(source) => secret_of(text, *span, source, &mut report),
            Outside::File(key, path) => {
                if let Err(error) = std::fs::File::open(path) {
                    let problem = text.error(Code::Unreadable, *span, format!("`{key}`: {}: {error}", path.display()));
                    report.errors.push(problem.hint("the user that runs the service must be able to read it"));
                }
            }
            Outside::Program(key, program) => report.errors.extend(program_of(text, *span, Code::Unreadable, key, program)),
            Outside::Maildir(path) => report.warnings.extend(maildir(text, *span, path)),
            Outside::Zone(name) => report.errors.extend(zone::check(text, *span, name)),
        }
    }
    report
}

fn secret_of(text: &Text<'_>, span: Span, source: &SecretSource, report: &mut Report) {
    if let SecretSource::Command { argv, .. } = source {
        let program = argv.first().map_or("", String::as_str);
        report.errors.extend(program_of(text, span, Code::SecretSource, "command", program));
        return;
    }
    let hint = match source {
        SecretSource::File(_) => "the file holds the password and nothing else, mode 0600, and belongs to the user that runs the service",
        SecretSource::Env(_) => "the variable must be set where the service is started, not only in this shell; a `{file: …}` is simpler",
        SecretSource::Credential(_) => "systemd passes credentials to the service only: from a shell this cannot be checked; a `{file: …}` can",
        SecretSource::Stored(_) => "`mailgather secret list` shows what the store has, and who uses it",
        SecretSource::Plain(_) | SecretSource::Command { .. } => "",
    };
    match secret::check(source) {
        Err(error) => {
            let problem = text.error(Code::SecretSource, span, error.to_string());
            report.errors.push(if hint.is_empty() { problem } else { problem.hint(hint) });
        }
        Ok(secret::Look::Fine) => {}
        Ok(odd) => {
            let what = match odd {
                secret::Look::Lines => "has more than one line, and all of them are the password",
                _ => "starts or ends with white space, which is a part of the password",
            };
            let problem = text.warning(Code::SecretSource, span, format!("{} {what}", name_of(source)));
            report.warnings.push(problem.hint(match source {
                SecretSource::Stored(path) => format!("`mailgather secret set {}` takes it anew", secret::name_of(path)),
                _ => "only one line end at the end is cut; write it with `printf %s`, without anything around it".to_owned(),
            }));
        }
    }
}

fn name_of(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => path.display().to_string(),
        SecretSource::Env(name) => format!("the environment variable {name}"),
        SecretSource::Credential(name) => format!("credential {name}"),
        SecretSource::Stored(path) => format!("the secret `{}`", secret::name_of(path)),
        SecretSource::Plain(_) | SecretSource::Command { .. } => "this password".to_owned(),
    }
}

fn program_of(text: &Text<'_>, span: Span, code: Code, key: &str, program: &str) -> Option<Problem> {
    let why = cannot_run(program)?;
    let problem = text.error(code, span, format!("`{key}`: the program {program} {why}"));
    Some(problem.hint("the first word names the program, best by its whole path; the user that runs the service must be able to execute it"))
}

/// Why a program cannot be started, as execvp(3) would find it.
fn cannot_run(program: &str) -> Option<&'static str> {
    let can_run = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        let path = Path::new(program);
        return match () {
            () if !path.exists() => Some("does not exist"),
            () if !can_run(path) => Some("is not executable"),
            () => None,
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    (!std::env::split_paths(&folders).any(|folder| can_run(&folder.join(program)))).then_some("is in no folder of $PATH")
}

/// The operator's part of the path is never made: a file system that is not mounted must not look like a new one.
fn maildir(text: &Text<'_>, span: Span, path: &str) -> Option<Problem> {
    let base = maildir_base(path).0;
    let what = match base.metadata() {
        Ok(meta) if meta.is_dir() => return None,
        Ok(_) => "is no folder".to_owned(),
        Err(error) => format!("cannot be used: {error}"),
    };
    let problem = text.warning(Code::Doubtful, span, format!("{}, where the Maildirs are to be, {what}", base.display()));
    Some(problem.hint(format!("create it: mkdir -p {}, owned by the service's user; only what is below it is ever made", base.display())))
}
