//! `add`, `edit`, `remove`, `rename`: changes of the configuration that show themselves first, and touch only the lines that they must.

use super::exit::Exit;
use super::peek::print;
use super::{Common, no_room, refused, runtime};
use crate::config::edit::{self, Op, Refusal, Value};
use crate::config::{Change, EditError, Editor, Problem, Request, Severity, Versions, WriteError, load_and_look, log_written};
use crate::control::ClientError;
use crate::ledger::sqlite::look_at_memory;
use crate::mail::outcome::harmless;
use crate::observe::logging;
use crate::service::installation::LEDGER_FILE;
use crate::service::switches::Switches;
use clap::Args;
use serde_json::{Value as Json, json};
use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::path::Path;

/// Longest name in what is printed.
const SHOWN_MAX: usize = 200;
/// Values that nobody can take for a path.
const SET_HELP: &str = "A key with its value, as in `interval=10m`, `tls.mode=starttls`, `password={file: /path}`; may be given several times";

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Add {
    /// The name of the new collector.
    name: String,
    #[arg(long, value_name = "KEY=VALUE", help = SET_HELP)]
    set: Vec<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Edit {
    /// The collector.
    name: String,
    #[arg(long, value_name = "KEY=VALUE", help = SET_HELP)]
    set: Vec<String>,
    /// A key that goes, so that templates, `defaults` and the built-in defaults decide again; may be given several times.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Remove {
    /// The collector.
    name: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Rename {
    /// The collector.
    name: String,
    /// Its new name.
    to: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Write without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Show what would change, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object: the file, the difference, and whether it was written and taken.
    #[arg(long)]
    json: bool,
}

pub(super) fn add(arguments: &Add, common: &Common) -> Exit {
    if arguments.set.is_empty() {
        eprintln!("error: nothing is said of the new collector `{}` but its name", harmless(&arguments.name, SHOWN_MAX));
        eprintln!(
            "hint: `--set KEY=VALUE` for each key: `--set email=… --set 'password={{secret: NAME}}' --set recipient.forward_to=…`; or `{}` asks for \
             them one by one",
            common.again("init")
        );
        return Exit::Usage;
    }
    let keys = arguments.set.iter().map(|set| key_and_value(set)).collect::<Result<Vec<_>, _>>();
    keys.and_then(|keys| carry_out(&Request::Add { name: arguments.name.clone(), keys }, &arguments.how, common)).unwrap_or_else(|exit| exit)
}

pub(super) fn edit(arguments: &Edit, common: &Common) -> Exit {
    try_edit(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_edit(arguments: &Edit, common: &Common) -> Result<Exit, Exit> {
    if arguments.set.is_empty() && arguments.unset.is_empty() {
        let (name, show) = (harmless(&arguments.name, SHOWN_MAX), format!("show {} --origin", arguments.name));
        eprintln!("error: nothing says what is to change in `{name}`");
        eprintln!(
            "hint: `--set KEY=VALUE` gives a key a value, as in `--set interval=10m`, `--unset KEY` takes it out; `{}` shows what it has",
            common.again(&show)
        );
        return Err(Exit::Usage);
    }
    let mut ops = Vec::new();
    for key in &arguments.unset {
        ops.push(Op::Unset(edit::path(key).map_err(|refusal| usage(&refusal))?));
    }
    for set in &arguments.set {
        let (path, value) = key_and_value(set)?;
        ops.push(Op::Set(path, value));
    }
    carry_out(&Request::Edit { name: arguments.name.clone(), ops }, &arguments.how, common)
}

pub(super) fn remove(arguments: &Remove, common: &Common) -> Exit {
    carry_out(&Request::Remove { name: arguments.name.clone() }, &arguments.how, common).unwrap_or_else(|exit| exit)
}

pub(super) fn rename(arguments: &Rename, common: &Common) -> Exit {
    let request = Request::Rename { name: arguments.name.clone(), to: arguments.to.clone() };
    carry_out(&request, &arguments.how, common).unwrap_or_else(|exit| exit)
}

fn key_and_value(set: &str) -> Result<(Vec<String>, Value), Exit> {
    let Some((key, value)) = set.split_once('=') else {
        eprintln!("error: `{}` is no KEY=VALUE\nhint: as in `--set interval=10m`", harmless(set, SHOWN_MAX));
        return Err(Exit::Usage);
    };
    let path = edit::path(key.trim()).map_err(|refusal| usage(&refusal))?;
    let value = Value::parse(value).map_err(|refusal| {
        eprintln!("error: {}: {}", harmless(key, SHOWN_MAX), refusal.why);
        Exit::Usage
    })?;
    Ok((path, value))
}

fn usage(refusal: &Refusal) -> Exit {
    eprintln!("error: {}", harmless(&refusal.why, SHOWN_MAX));
    Exit::Usage
}

fn carry_out(request: &Request, how: &How, common: &Common) -> Result<Exit, Exit> {
    let editor = Editor::open(&common.config, &common.environment()).map_err(|report| {
        let exit = refused(&report);
        if report.is_missing_file() && matches!(request, Request::Add { .. }) {
            eprintln!("hint: `mailgather init` makes a first configuration");
        }
        exit
    })?;
    let change = editor.change(request).map_err(|error| why_not(&error, &editor))?;
    let notes = consequences(request, &editor, &change)?;
    if change.is_nothing() {
        if how.json {
            print(&format!("{}\n", json!({"file": change.file, "diff": "", "written": false, "reload": Json::Null})));
        } else if !common.quiet {
            eprintln!("nothing changes: {} says so already", change.file.display());
        }
        return Ok(Exit::Ok);
    }
    let patch = change.patch();
    if !how.json {
        print(&patch);
        notes.iter().for_each(|note| eprintln!("note: {note}"));
    }
    change.loaded.warnings.iter().filter(|_| !how.json && !common.quiet).for_each(|warning| eprintln!("{warning}\n"));
    if how.dry_run {
        if how.json {
            print(&format!("{}\n", json!({"file": change.file, "diff": patch, "notes": notes, "written": false, "reload": Json::Null})));
        }
        return Ok(Exit::Ok);
    }
    confirm(how, &change)?;
    change.write().map_err(|error| not_written(&error))?;
    let reload = told(&change, how.json, common)?;
    let missing = missing_outside(&change.file, common);
    if !how.json {
        missing.iter().for_each(|problem| eprintln!("{problem}"));
    }
    let notes: Vec<String> = notes.into_iter().chain(missing.into_iter().map(|problem| problem.message)).collect();
    if how.json {
        print(&format!("{}\n", json!({"file": change.file, "diff": patch, "notes": notes, "written": true, "reload": reload})));
    }
    Ok(Exit::Ok)
}

/// What the operator should know, in words; and what speaks against it.
fn consequences(request: &Request, editor: &Editor, change: &Change) -> Result<Vec<String>, Exit> {
    let (Request::Remove { name } | Request::Rename { name, .. }) = request else { return Ok(Vec::new()) };
    let state_dir = &change.loaded.config.service.state_dir;
    // Of a configuration that is wrong as it is nobody knows the mailbox.
    let mailbox = editor.load().ok().and_then(|before| {
        before.config.collectors.values().find(|collector| collector.id.as_str() == name).map(|collector| collector.server.mailbox())
    });
    let mut notes = Vec::new();
    match (request, &mailbox) {
        (Request::Remove { .. }, Some(mailbox)) => match look_at_memory(&state_dir.join(LEDGER_FILE), mailbox) {
            Ok((0, 0)) => notes.push(format!("nothing was collected from {mailbox} yet")),
            Ok((collected, held)) => {
                let held = if held > 0 { format!("; {held} held messages stay held (`mailgather held list`)") } else { String::new() };
                notes.push(format!(
                    "{collected} messages of {mailbox} stay remembered as collected: should a collector of this mailbox come back, under whatever name, \
                     they do not come again{held}"
                ));
            }
            Err(error) => notes.push(format!("what was collected from {mailbox} stays remembered ({error})")),
        },
        (Request::Rename { .. }, Some(mailbox)) => {
            notes.push(format!("what was collected from {mailbox} stays remembered, as it belongs to the mailbox: nothing comes twice"));
            notes.push(format!("its own log goes on in a new file: what was logged so far stays under `{name}`"));
        }
        _ => {}
    }
    if let Request::Rename { name, to } = request {
        // A switch belongs to the name: a collector that a command switched off must not come back under another one.
        let switch = Switches::read(state_dir).map_err(|error| {
            eprintln!("error: {error}");
            Exit::Io
        })?;
        let id = crate::mail::CollectorId::new(name);
        if let Some(switch) = id.and_then(|id| switch.of(&id, jiff::Timestamp::now()).cloned()) {
            let (is, back) = if switch.on { ("on", "disable") } else { ("off", "enable") };
            eprintln!("error: `{name}` is switched {is} by a command, and the switch would not go with it to `{to}`");
            let write = if switch.on { "true" } else { "false" };
            eprintln!("hint: `mailgather edit {name} --set enabled={write}`, then `mailgather {back} {name}` takes the switch back");
            return Err(Exit::Config);
        }
    }
    Ok(notes)
}

fn confirm(how: &How, change: &Change) -> Result<(), Exit> {
    if how.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        eprintln!("error: nobody is there to be asked; say `--yes` to write it, `--dry-run` to look only");
        return Err(Exit::Usage);
    }
    eprint!("Write this to {}? [y/N] ", change.file.display());
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && ["y", "yes", "д", "да"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    eprintln!("nothing was written");
    Err(Exit::TempFail)
}

/// Tells the daemon, if one runs, and waits until it has taken the change.
pub(super) fn told(change: &Change, is_json: bool, common: &Common) -> Result<Json, Exit> {
    let shows = !is_json && !common.quiet;
    if shows {
        let name = change.moved.as_ref().unwrap_or(&change.file);
        let past = if change.after.is_none() { "removed" } else { "written" };
        eprintln!("{past}: {}", name.display());
        if change.before.is_some() {
            eprintln!("what it held before is kept in {}", Versions::of(&change.loaded.config.service.state_dir).folder(&change.file).display());
        }
    }
    let file = change.file.to_string_lossy();
    let client = common.client()?;
    let written = json!({"written": {"change": change.word, "collector": change.collector, "file": file}});
    match runtime()?.block_on(client.post("/v1/reload", &written)) {
        Ok(done) => {
            if shows {
                eprintln!("the daemon has taken it");
            }
            Ok(done)
        }
        // It sees the change by itself, and who may not ask it cannot wait for that.
        Err(ClientError::Connect { error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
            if shows {
                eprintln!("note: this user may not ask the daemon at {}: whether it has taken the change stands in its log", client.path().display());
            }
            Ok(Json::Null)
        }
        Err(ClientError::Connect { .. }) => {
            // The daemon writes the line of the audit; without one it is ours to write.
            common.start_logging(&change.loaded.config, true);
            if change.loaded.config.service.state_dir.is_dir() {
                logging::start_for_audit(&change.loaded.config.service.state_dir);
            }
            log_written(&format!("cli uid={}", rustix::process::getuid().as_raw()), change.word, &change.collector, &file);
            if shows {
                eprintln!("no daemon answers at {}: it takes effect when one is started", client.path().display());
            }
            Ok(Json::Null)
        }
        Err(error) => Err(super::daemon::failed(&error, is_json, &client, common)),
    }
}

/// What `mailgather check` says is missing outside of the file that was written, as a secret that is not in the store yet: the file is right all the same.
pub(super) fn missing_outside(file: &Path, common: &Common) -> Vec<Problem> {
    let Ok((_, found)) = load_and_look(&common.config, &common.environment()) else { return Vec::new() };
    let is_here = |problem: &Problem| problem.place.as_ref().is_some_and(|place| place.path == file);
    let warning = |problem| Problem { severity: Severity::Warning, ..problem };
    found.errors.into_iter().map(warning).chain(found.warnings).filter(is_here).collect()
}

/// Says why there is no change. Of files that were wrong before, the errors are shown as they stand on the disk.
fn why_not(error: &EditError, editor: &Editor) -> Exit {
    let EditError::Wrong(report) = error else { return not_changed(error) };
    match editor.load() {
        Ok(_) => {
            let exit = refused(report);
            eprintln!("nothing was written: the lines above are those of the file as it would be with this change");
            exit
        }
        Err(before) => {
            let exit = refused(&before);
            let is_new = |problem: &&Problem| !before.errors.iter().any(|old| (old.code, &old.message) == (problem.code, &problem.message));
            let new: Vec<&Problem> = report.errors.iter().filter(is_new).collect();
            if !new.is_empty() {
                eprintln!("\nand with this change:");
                new.into_iter().for_each(|problem| eprintln!("{}", Problem { place: None, ..problem.clone() }));
            }
            eprintln!("\nnothing was written: the configuration was broken before this change, and the change does not mend it");
            eprintln!("hint: mend the lines above first; `mailgather check` looks at them");
            exit
        }
    }
}

/// Says why there is no change.
pub(super) fn not_changed(error: &EditError) -> Exit {
    match error {
        EditError::Unknown(name, known) => {
            let known = if known.is_empty() { "no collector".to_owned() } else { known.join(", ") };
            eprintln!("error: no collector is called `{}`\nhint: the configuration has: {}", harmless(name, SHOWN_MAX), harmless(&known, 4_000));
            Exit::Usage
        }
        EditError::Name(why) | EditError::Request(why) => {
            eprintln!("error: {}", harmless(why, 1_000));
            Exit::Usage
        }
        EditError::Secret(key) => {
            eprintln!("error: the secret of `{}` belongs neither on a command line nor into the configuration", harmless(key, SHOWN_MAX));
            eprintln!(
                "hint: say where it is: `--set 'password={{secret: NAME}}'` (`mailgather secret set NAME`), `{{file: /path}}`, `{{credential: name}}`, `{{env: NAME}}` or `{{command: [program, argument]}}`"
            );
            Exit::Usage
        }
        EditError::Refused { file, refusal, patch } => {
            let line = refusal.line.map(|line| format!(":{line}")).unwrap_or_default();
            eprintln!("error: {}", harmless(&refusal.why, 1_000));
            eprintln!("  --> {}{line}", file.display());
            match patch {
                _ if refusal.is_absent => eprintln!("hint: `mailgather show NAME --origin` tells where each value comes from"),
                Some(patch) => {
                    eprintln!("nothing was written, as it is not certain that the following is what you mean; to be made by hand:");
                    print(patch);
                    eprintln!("hint: a value in braces can be replaced whole, as by `--set 'tls={{mode: starttls}}'`");
                }
                None => eprintln!("nothing was written; change it by hand, and let `mailgather check` look at it"),
            }
            Exit::Config
        }
        EditError::Wrong(report) => {
            let exit = refused(report);
            eprintln!("nothing was written");
            exit
        }
    }
}

/// Says why it was not written.
pub(super) fn not_written(error: &WriteError) -> Exit {
    eprintln!("error: {error}");
    match error {
        WriteError::Changed(_) | WriteError::Busy(_) => {
            eprintln!("hint: say it again");
            Exit::TempFail
        }
        WriteError::Io { error: why, .. } if error.is_disk() => {
            if let Some(hint) = no_room(why) {
                eprintln!("hint: {hint}; nothing was changed");
            }
            Exit::Io
        }
        WriteError::Io { .. } => {
            eprintln!("hint: nothing was changed; who may write there is root, or the owner of the file. The change above can be made by hand");
            Exit::CantCreate
        }
    }
}
