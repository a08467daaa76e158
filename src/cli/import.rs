//! `mailgather import`: the files of fetchmail, getmail and mpop become a configuration, and what they remember becomes what was collected.

mod files;
mod history;

use super::exit::Exit;
use super::{Common, refused, runtime, shell_word};
use crate::config::{self, Environment};
use crate::import::draft::{self, Draft, Password};
use crate::import::{Around, FILE_OCTETS_MAX, Imported, Note, fetchmail, getmail, mpop};
use crate::mail::outcome::harmless;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Longest name of an option in what is printed, in characters.
const SHOWN_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Of {
    /// The file of fetchmail, ~/.fetchmailrc.
    Fetchmailrc,
    /// A file of getmail, ~/.config/getmail/getmailrc; of several, several collectors are made.
    Getmailrc,
    /// The file of mpop, ~/.mpoprc.
    Mpoprc,
}

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Import {
    /// What it is.
    #[arg(value_enum)]
    of: Of,
    /// The file.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the configuration into this file (0600) in place of printing it; never over one that is there.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Write the passwords into files of this folder (0600). Without it: with `--write` into `secrets` beside that file, else into the configuration.
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// What the other program remembers counts as collected, as far as it is still on the server. Its file or folder, if it is not at the usual
    /// place. Takes the state directory.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    history: Option<std::ffi::OsString>,
    /// Print one JSON object: the configuration, what has no equal, and what was marked.
    #[arg(long)]
    json: bool,
}

/// One file of the other program.
struct Source {
    path: PathBuf,
    imported: Imported,
}

pub(super) fn import(arguments: &Import, common: &Common) -> Exit {
    try_import(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_import(arguments: &Import, common: &Common) -> Result<Exit, Exit> {
    if let Some(target) = arguments.write.as_deref().filter(|target| target.symlink_metadata().is_ok()) {
        eprintln!("error: {} is there already, and is not written over", target.display());
        eprintln!("hint: name another file; to take the history over once more leave `--write` out");
        return Err(Exit::CantCreate);
    }
    let mut sources = arguments.files.iter().map(|path| read(arguments.of, path)).collect::<Result<Vec<_>, _>>()?;
    let notes: Vec<(PathBuf, Note)> = sources
        .iter_mut()
        .flat_map(|source| std::mem::take(&mut source.imported.notes).into_iter().map(|note| (source.path.clone(), note)))
        .collect();
    if !arguments.json {
        notes.iter().for_each(|(path, note)| eprintln!("{}", told(path, note)));
    }
    // The history of each draft is where its file says.
    let origins: Vec<(PathBuf, Option<String>)> =
        sources.iter().flat_map(|source| source.imported.drafts.iter().map(|_| (source.path.clone(), source.imported.history.clone()))).collect();
    let drafts = draft::named(sources.into_iter().flat_map(|source| source.imported.drafts).collect());
    if drafts.is_empty() {
        eprintln!("error: no mailbox in it can be collected from");
        return Err(Exit::Data);
    }

    let folder = secrets_folder(arguments);
    let in_file = |draft: &Draft| folder.as_ref().map(|folder| folder.join(&draft.name).to_string_lossy().into_owned());
    let text = draft::configuration(&drafts, &in_file);
    // What is asked now takes the passwords from here, as no file has them yet.
    let name = arguments.write.clone().unwrap_or_else(|| PathBuf::from("imported.yaml"));
    let environment = environment(arguments, common)?;
    let loaded = config::parse(&draft::configuration(&drafts, &|_| None), &name, &environment).map_err(|report| {
        eprintln!("error: what the file says makes no whole configuration; nothing was written");
        refused(&report)
    })?;

    let mut marked = Vec::new();
    if let Some(place) = &arguments.history {
        common.start_logging(&loaded.config, true);
        let place = (!place.is_empty()).then_some(Path::new(place));
        marked = runtime()?.block_on(history::mark(&loaded, &drafts, &origins, place, common.quiet || arguments.json))?;
    }
    let plain = drafts.iter().filter(|draft| matches!(draft.password, Password::Plain(_))).count();
    if let Some(folder) = folder.as_deref().filter(|_| plain > 0) {
        files::secrets(folder, &drafts)?;
    }
    if let Some(target) = &arguments.write {
        files::new(target, text.as_bytes()).map_err(|error| files::failed(target, &error))?;
    }
    if arguments.json {
        super::peek::print(&format!("{}\n", json(arguments, &text, &notes, &marked)));
    } else if arguments.write.is_none() {
        super::peek::print(&text);
    }
    if !common.quiet {
        advice(arguments, folder.as_deref(), plain, &drafts);
    }
    Ok(Exit::Ok)
}

/// The folder of the passwords: safest is a file for each, wherever there is a place for files at all.
fn secrets_folder(arguments: &Import) -> Option<PathBuf> {
    let folder = match (&arguments.secrets, &arguments.write) {
        (Some(folder), _) => folder.clone(),
        (None, Some(file)) => file.parent().unwrap_or(Path::new("")).join("secrets"),
        (None, None) => return None,
    };
    Some(std::path::absolute(&folder).unwrap_or(folder))
}

fn read(of: Of, path: &Path) -> Result<Source, Exit> {
    use std::io::Read;
    let failed = |error: std::io::Error| {
        eprintln!("error: {}: {error}", path.display());
        if error.kind() == std::io::ErrorKind::NotFound { Exit::NoInput } else { Exit::Io }
    };
    let mut octets = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_OCTETS_MAX as u64 + 1).read_to_end(&mut octets).map_err(failed)?;
    let Ok(text) = String::from_utf8(octets) else {
        eprintln!("error: {}: this is not UTF-8\nhint: iconv -f latin1 -t utf-8 makes it so", path.display());
        return Err(Exit::Data);
    };
    let home = std::env::var("HOME").unwrap_or_else(|_| "/".into());
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = whole.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let around = Around { home: &home, folder: &folder };
    let read = match of {
        Of::Fetchmailrc => fetchmail::read,
        Of::Getmailrc => getmail::read,
        Of::Mpoprc => mpop::read,
    };
    let mut imported = read(&text, around).map_err(|error| {
        eprintln!("error: {}:{}: {}", path.display(), error.line, error.text);
        Exit::Data
    })?;
    imported.notes.sort_by_key(|note| note.line);
    Ok(Source { path: path.to_owned(), imported })
}

/// With a history, the state directory is that of the configuration that is there already.
fn environment(arguments: &Import, common: &Common) -> Result<Environment, Exit> {
    let mut environment = common.environment();
    environment.file_mode = Some(0o600);
    if arguments.history.is_some() && common.state_dir.is_none() && common.config.exists() {
        let loaded = config::load(&common.config, &common.environment()).map_err(|report| refused(&report))?;
        environment.state_dir = Some(loaded.config.service.state_dir.clone());
    }
    Ok(environment)
}

/// `~/.fetchmailrc:12: flush: refused: …`
fn told(path: &Path, note: &Note) -> String {
    format!("{}:{}: {}: {}: {}", path.display(), note.line, harmless(&note.option, SHOWN_MAX), note.kind.as_str(), note.text)
}

fn json(arguments: &Import, text: &str, notes: &[(PathBuf, Note)], marked: &[history::Marking]) -> serde_json::Value {
    let notes: Vec<_> = notes
        .iter()
        .map(|(path, note)| {
            serde_json::json!({"file": path.to_string_lossy(), "line": note.line, "option": note.option, "kind": note.kind.as_str(), "message": note.text})
        })
        .collect();
    let marked: Vec<_> = marked.iter().map(history::Marking::json).collect();
    serde_json::json!({
        "configuration": if arguments.write.is_none() { Some(text) } else { None },
        "written": arguments.write.as_ref().map(|path| path.to_string_lossy()),
        "notes": notes,
        "history": marked,
    })
}

fn advice(arguments: &Import, folder: Option<&Path>, plain: usize, drafts: &[Draft]) {
    match folder {
        _ if plain == 0 => {}
        None => eprintln!("warning: passwords stand in the configuration itself ({plain}): `--secrets DIR` writes them into files of their own"),
        Some(folder) => eprintln!("passwords ({plain}) are in {}", folder.display()),
    }
    let disabled: Vec<&str> = drafts.iter().filter(|draft| !draft.enabled).map(|draft| draft.name.as_str()).collect();
    if !disabled.is_empty() {
        eprintln!("disabled: {}", disabled.join(", "));
    }
    if arguments.history.is_none() {
        eprintln!("warning: what the other program has collected and left on the server will come again: `--history` prevents it");
    }
    if let Some(file) = &arguments.write {
        eprintln!("next: mailgather check {}", shell_word(file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Kind;

    #[test]
    fn a_note_is_one_line_with_its_place() {
        let note = Note { line: 12, kind: Kind::Refused, option: "flush\n".into(), text: "why".into() };
        let line = told(Path::new("/x/.fetchmailrc"), &note);
        assert!(line.starts_with("/x/.fetchmailrc:12: flush") && line.ends_with(": refused: why") && !line.contains('\n'), "{line}");
    }
}
