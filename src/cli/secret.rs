//! `mailgather secret`: the program's own store of secrets. A value is never on a command line, and never printed.

use super::exit::Exit;
use super::peek::print;
use super::when::shown;
use super::{Common, hidden, no_room, runtime};
use crate::config::secret::SECRET_OCTETS_MAX;
use crate::config::store::{self, Store, StoreError, Use};
use crate::config::{self, Config};
use crate::mail::when::stamp;
use crate::mail::{CollectorId, Secret, code};
use crate::observe::logging;
use crate::service::command::Requester;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A daemon that hangs is waited for no longer: the secret is kept already.
const DAEMON_WAIT: Duration = Duration::from_secs(5);
/// Longest answer to a question, in octets.
const ANSWER_MAX: u64 = 1_000;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct SecretArguments {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Keep a secret under this name, for `{secret: NAME}` in the configuration; it is typed without being shown. A new one counts from the next login.
    Set {
        /// Its name: letters, digits, `.`, `_` and `-`.
        #[arg(value_parser = name)]
        name: String,
        /// Take it from standard input; one line end at the end is cut.
        #[arg(long)]
        stdin: bool,
        /// Whoever writes the secret itself here is told that it is no place for it.
        #[arg(hide = true)]
        value: Vec<String>,
    },
    /// Show the names of the secrets, when each was set, and which collectors use it.
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Remove a secret; one that is in use only with `--yes`, or when asked.
    Rm {
        /// Its name.
        #[arg(value_parser = name)]
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

fn name(text: &str) -> Result<String, String> {
    if store::is_name(text) { Ok(text.to_owned()) } else { Err("a name has up to 64 letters, digits, `.`, `_` and `-`".to_owned()) }
}

pub(super) fn secret(arguments: &SecretArguments, common: &Common) -> Exit {
    let done = match &arguments.command {
        SecretCommand::Set { value, .. } if !value.is_empty() => {
            eprintln!(
                "error: a secret is never given on the command line: the history of the shell and everybody who may list processes would have it\n\
                 hint: run this without it and type it when asked, or give it by `--stdin`; this one is to be changed"
            );
            Err(Exit::Usage)
        }
        SecretCommand::Set { name, stdin, .. } => set(name, *stdin, common),
        SecretCommand::List { json } => list(*json, common),
        SecretCommand::Rm { name, yes } => remove(name, *yes, common),
    };
    done.unwrap_or_else(|exit| exit)
}

/// The store, and the configuration as far as there is one.
struct Place {
    store: Store,
    state_dir: PathBuf,
    /// `None`: there is no file yet, or it is broken, and the command line names the state directory.
    config: Option<Config>,
}

/// Where the store is. A secret may be there before the file that names it.
fn place(common: &Common) -> Result<Place, Exit> {
    let of = |dir: PathBuf, config| Place { store: Store::new(&dir), state_dir: dir, config };
    match config::load(&common.config, &common.environment()) {
        Ok(loaded) => Ok(of(loaded.config.service.state_dir.clone(), Some(loaded.config))),
        Err(report) if report.is_missing_file() || common.state_dir.is_some() => Ok(of(common.environment().state_dir_without_file(), None)),
        Err(report) => {
            let exit = super::refused(&report);
            eprintln!("\nhint: `--state-dir DIR` says where the store is while the file is broken");
            Err(exit)
        }
    }
}

impl Place {
    fn uses(&self) -> Option<BTreeMap<String, Vec<Use>>> {
        self.config.as_ref().map(store::uses)
    }

    /// The line of the audit: the daemon writes it, which knows from the kernel who asks; where none answers it is ours to write.
    fn log(&self, done: &Value, common: &Common, log: impl FnOnce(&Requester)) {
        audited(self.config.as_ref(), &self.state_dir, done, common, log);
    }
}

/// The line of the audit about something that was done without the daemon.
pub(super) fn audited(config: Option<&Config>, state_dir: &Path, done: &Value, common: &Common, log: impl FnOnce(&Requester)) {
    let client = common.client_of(config);
    let told = runtime().ok().is_some_and(|runtime| {
        let asked = runtime.block_on(async { tokio::time::timeout(DAEMON_WAIT, client.post("/v1/audit", done)).await });
        matches!(asked, Ok(Ok(_)))
    });
    if !told {
        logging::start_for_audit(state_dir);
        log(&Requester::cli());
    }
}

fn set(name: &str, from_stdin: bool, common: &Common) -> Result<Exit, Exit> {
    let place = place(common)?;
    let secret = if from_stdin { piped()? } else { typed(name)? };
    let text = secret.expose();
    if text.is_empty() {
        return Err(refuse("the secret is empty"));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(refuse("the secret has more than one line, or a NUL: no login can send it"));
    }
    if text.trim() != text {
        eprintln!("warning: the secret starts or ends with white space, which is a part of it");
    }
    let replaced = place.store.set(name, &secret).map_err(|error| failed(&error))?;
    place.log(&json!({"event": "secret_set", "name": name, "replaced": replaced}), common, |by| by.log_secret_set(name, replaced));
    if !common.quiet {
        let used = match place.uses().map(|mut uses| uses.remove(name).unwrap_or_default()) {
            Some(uses) if uses.is_empty() => format!("nothing uses it yet: write `password: {{secret: {name}}}`"),
            Some(uses) => format!("used by {}; it counts from the next login", words(&uses)),
            None => format!("for `password: {{secret: {name}}}`"),
        };
        eprintln!("{} `{name}` in {}: {used}", if replaced { "replaced" } else { "kept" }, place.store.folder().display());
    }
    Ok(Exit::Ok)
}

/// Twice, as nobody sees what was typed.
fn typed(name: &str) -> Result<Secret, Exit> {
    if !std::io::stdin().is_terminal() {
        return Err(refuse_with("nobody is there to be asked", "`--stdin` takes the secret from standard input"));
    }
    let typed = hidden::ask([&format!("Secret `{name}` (nothing is shown): "), "Once more: "]).map_err(|error| {
        match error.kind() {
            ErrorKind::Interrupted | ErrorKind::UnexpectedEof => eprintln!("nothing was changed"),
            _ => eprintln!("error: {error}; nothing was changed"),
        }
        Exit::Usage
    });
    let [secret, again] = typed?.map(Secret::new);
    if secret.expose() != again.expose() {
        return Err(refuse("the two differ; nothing was changed"));
    }
    Ok(secret)
}

fn piped() -> Result<Secret, Exit> {
    let mut octets = Vec::new();
    let limit = SECRET_OCTETS_MAX as u64 + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut octets).map_err(|error| refuse(&format!("standard input: {error}")))?;
    if octets.len() > SECRET_OCTETS_MAX {
        return Err(refuse("the secret is longer than 64 KiB"));
    }
    let mut text = String::from_utf8(octets).map_err(|_| refuse("the secret is not UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Secret::new(text))
}

fn list(json: bool, common: &Common) -> Result<Exit, Exit> {
    let place = place(common)?;
    let mut there: BTreeMap<String, Option<i64>> =
        place.store.list().map_err(|error| failed(&error))?.into_iter().map(|stored| (stored.name, Some(stored.set))).collect();
    let uses = place.uses();
    if uses.is_none() && !common.quiet {
        eprintln!("note: {} cannot be read, so that nobody knows who uses them", common.config.display());
    }
    let uses = uses.unwrap_or_default();
    // What is named and not there belongs into the list too: it is what somebody looks for.
    for name in uses.keys() {
        there.entry(name.clone()).or_insert(None);
    }
    let mut rows = vec![["NAME".to_owned(), "SET".to_owned(), "USED BY".to_owned()]];
    for (name, set) in &there {
        let used = uses.get(name).map(Vec::as_slice).unwrap_or_default();
        let set = set.and_then(|at| jiff::Timestamp::from_second(at).ok()).map(|at| if json { stamp(at) } else { shown(at) });
        if json {
            let used: Vec<_> = used.iter().map(|at| json!({"collector": at.collector.as_ref().map(CollectorId::as_str), "key": at.key})).collect();
            print(&format!("{}\n", json!({"name": name, "set": set, "missing": set.is_none(), "used_by": used})));
            continue;
        }
        rows.push([name.clone(), set.unwrap_or_else(|| "MISSING".to_owned()), if used.is_empty() { "-".to_owned() } else { words(used) }]);
    }
    if !json {
        print(&table(&rows));
    }
    for name in there.iter().filter(|(_, set)| set.is_none()).map(|(name, _)| name) {
        eprintln!("hint: `{}` puts it there", common.again(&format!("secret set {name}")));
    }
    Ok(Exit::Ok)
}

fn table(rows: &[[String; 3]]) -> String {
    let widths: Vec<usize> = (0..3).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 3]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn remove(name: &str, yes: bool, common: &Common) -> Result<Exit, Exit> {
    let place = place(common)?;
    let is_there = place.store.list().map_err(|error| failed(&error))?.iter().any(|stored| stored.name == name);
    if !is_there {
        eprintln!("error: there is no secret `{name}` in {}", place.store.folder().display());
        return Err(Exit::NoInput);
    }
    let why = match place.uses().map(|mut uses| uses.remove(name).unwrap_or_default()) {
        Some(uses) if uses.is_empty() => None,
        Some(uses) => Some(format!("the secret `{name}` is used by {}: without it their next login fails", words(&uses))),
        None => Some(format!("{} cannot be read, so that nobody knows who uses the secret `{name}`", common.config.display())),
    };
    if let Some(why) = why.filter(|_| !yes) {
        if !std::io::stdin().is_terminal() {
            return Err(refuse_with(&why, "`--yes` removes it all the same"));
        }
        eprint!("{why}\nType its name to remove it all the same: ");
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        let read = std::io::stdin().lock().take(ANSWER_MAX).read_line(&mut answer);
        if read.is_err() || answer.trim() != name {
            eprintln!("nothing was removed");
            return Err(Exit::Usage);
        }
    }
    place.store.remove(name).map_err(|error| failed(&error))?;
    place.log(&json!({"event": "secret_removed", "name": name}), common, |by| by.log_secret_removed(name));
    if !common.quiet {
        eprintln!("removed `{name}`");
    }
    Ok(Exit::Ok)
}

/// `sales (password), boss (delivery.auth.password)`
fn words(uses: &[Use]) -> String {
    uses.iter().map(|at| format!("{} ({})", at.whose(), at.key)).collect::<Vec<_>>().join(", ")
}

fn refuse(why: &str) -> Exit {
    eprintln!("error: {why}");
    Exit::Usage
}

fn refuse_with(why: &str, hint: &str) -> Exit {
    eprintln!("error: {why}\nhint: {hint}");
    Exit::Usage
}

/// Says why the store cannot be used.
pub(super) fn failed(error: &StoreError) -> Exit {
    if let StoreError::Io { error: why, .. } = error
        && let Some(hint) = no_room(why)
    {
        eprintln!("error[MG-{}]: {error}\nhint: {hint}; what was there before is as it was", code::DISK);
        return Exit::Io;
    }
    eprintln!("error[MG-{}]: {error}", code::STATE_DIR);
    match error {
        StoreError::Io { error, .. } if error.kind() == ErrorKind::PermissionDenied => {
            eprintln!("hint: run it as the user that the service runs as, or as root: `runuser -u mailgather -- mailgather …`");
            Exit::CantCreate
        }
        StoreError::Strange(_) => Exit::CantCreate,
        StoreError::Io { .. } => Exit::Io,
    }
}
