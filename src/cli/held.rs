//! `mailgather held list | show | release | redeliver | drop`: mail that could not be placed. Looking works beside a running daemon; everything
//! else takes the state directory.

mod drop;
mod print;
mod release;

pub(super) use print::{cut, size};

use super::exit::Exit;
use super::{Common, runtime};
use crate::config::Loaded;
use crate::held;
use crate::ledger::sqlite::look_at_held;
use crate::ledger::{AtSource, HeldId, HeldMail, LedgerError};
use crate::mail::{Address, code};
use crate::service::installation::LEDGER_FILE;
use crate::service::{Installation, OpenError};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct Held {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All held mail, the oldest first.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Everything about one message, and its header.
    Show(Show),
    /// Deliver as it stands: to those it was meant for, or to others. Nobody is asked whether that is a good idea.
    Release(Release),
    /// Ask the resolver again, by today's rules, and deliver to whom it finds.
    Redeliver(Redeliver),
    /// Throw away. This cannot be undone.
    Drop(Drop),
}

#[derive(Debug, Args)]
struct Show {
    /// Its number: `H-0193`, or 193.
    id: HeldId,
    /// Print JSON.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the whole message to the standard output, octet for octet, and nothing else.
    #[arg(long)]
    raw: bool,
    /// The header only, made harmless for a terminal; this is what happens anyway.
    #[arg(long, conflicts_with = "raw")]
    headers_only: bool,
}

/// Which messages.
#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "which")]
struct Which {
    /// Their numbers: `H-0193`, or 193.
    #[arg(group = "which")]
    ids: Vec<HeldId>,
    /// All held mail.
    #[arg(long, group = "which")]
    all: bool,
}

#[derive(Debug, Args)]
struct Release {
    #[command(flatten)]
    which: Which,
    /// To this address instead; may be given several times.
    #[arg(long, value_name = "ADDR")]
    to: Vec<Address>,
    /// By the delivery of this collector; needed if the one that held it is not in the configuration any more.
    #[arg(long, value_name = "NAME")]
    collector: Option<String>,
}

#[derive(Debug, Args)]
struct Redeliver {
    #[command(flatten)]
    which: Which,
    /// By the rules and the delivery of this collector.
    #[arg(long, value_name = "NAME")]
    collector: Option<String>,
}

#[derive(Debug, Args)]
struct Drop {
    #[command(flatten)]
    which: Which,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) fn held(arguments: &Held, common: &Common) -> Exit {
    let done = match &arguments.what {
        What::List { json } => list(*json, common),
        What::Show(arguments) => show(arguments, common),
        What::Release(arguments) => release::release(arguments, common),
        What::Redeliver(arguments) => release::redeliver(arguments, common),
        What::Drop(arguments) => drop::drop(arguments, common),
    };
    done.unwrap_or_else(|exit| exit)
}

fn list(json: bool, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let rows = look(&loaded, common)?;
    match rows {
        Some(rows) => print::list(&rows, json),
        None => Ok(Exit::Ok),
    }
}

fn show(arguments: &Show, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let rows = look(&loaded, common)?.unwrap_or_default();
    let (mail, at_source) = rows.iter().find(|(mail, _)| mail.id == arguments.id).ok_or_else(|| unknown(arguments.id))?;
    let file = held::open_file(&loaded.config.service.state_dir.join(held::FOLDER), mail);
    if arguments.raw {
        return print::raw(file.map_err(|error| failed(&error))?);
    }
    print::show(mail, *at_source, file, arguments.json)
}

/// All held mail, read beside whoever holds the state directory. `None` if there is no ledger, which was said: an empty answer would look like
/// that of the state directory that was meant.
fn look(loaded: &Loaded, common: &Common) -> Result<Option<Vec<(HeldMail, AtSource)>>, Exit> {
    let dir = &loaded.config.service.state_dir;
    if common.state_dir.is_some() && !dir.is_dir() {
        eprintln!("error: the state directory {} does not exist", dir.display());
        return Err(Exit::NoInput);
    }
    let ledger = dir.join(LEDGER_FILE);
    if !ledger.exists() {
        eprintln!("note: no ledger in {}: nothing was collected there yet; `--state-dir` names another", dir.display());
        return Ok(None);
    }
    look_at_held(&ledger).map(Some).map_err(|error| ledger_failed(&error))
}

/// The state directory, for who changes it.
async fn open(loaded: &Loaded) -> Result<Installation, Exit> {
    Installation::open(&loaded.config).await.map_err(|error| match error {
        OpenError::Busy(_) => {
            eprintln!("error[MG-{}]: {error}", code::STATE_DIR);
            eprintln!("hint: a daemon runs on it: stop it first. `held list` and `held show` work beside it");
            Exit::TempFail
        }
        error => super::run::open_failed(&error),
    })
}

/// The messages that were named, in that order, or all; all of them must be there, or nothing is done.
fn chosen<T: Clone>(which: &Which, rows: &[T], id_of: impl Fn(&T) -> HeldId) -> Result<Vec<T>, Exit> {
    if which.all {
        if rows.is_empty() {
            eprintln!("no held mail");
        }
        return Ok(rows.to_vec());
    }
    let mut chosen: Vec<T> = Vec::new();
    for id in &which.ids {
        let row = rows.iter().find(|row| id_of(row) == *id).ok_or_else(|| unknown(*id))?;
        if !chosen.iter().any(|known| id_of(known) == *id) {
            chosen.push(row.clone());
        }
    }
    Ok(chosen)
}

fn unknown(id: HeldId) -> Exit {
    eprintln!("error: {id} is not held\nhint: `mailgather held list` shows what is");
    Exit::NoInput
}

fn failed(error: &held::HoldError) -> Exit {
    eprintln!("error[MG-{}]: {error}", code::DISK);
    Exit::Io
}

fn ledger_failed(error: &LedgerError) -> Exit {
    eprintln!("error[MG-{}]: {error}", code::LEDGER);
    Exit::Io
}

/// One line of the answer. Nobody may read it any more (`| head`): that must not stop us between a delivery and its record.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// On a terminal the lines of the command tell what happens; each message's log line would stand between them. `-v` shows them all the same.
fn start_logging(common: &Common, loaded: &Loaded) {
    common.start_logging(&loaded.config, true);
}
