//! `mailgather clear`: forgets what was collected, so that it is collected and delivered again; or the reverse. Takes the state directory.

pub(super) mod server;

use super::exit::Exit;
use super::peek::{named, names};
use super::{Common, runtime};
use crate::config::{Collector, Loaded};
use crate::ledger::{Forget, Ledger, LedgerError, Marked, Remembered};
use crate::mail::outcome::harmless;
use crate::mail::{RemoteUid, code};
use crate::observe::logging::audit;
use crate::service::command::Requester;
use crate::service::refetch::{self, folder_name};
use crate::service::{Installation, OpenError};
use clap::Args;
use server::Found;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

/// Longest name of a folder or a login in what is printed, in characters.
const SHOWN_MAX: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Clear {
    /// The collector.
    name: String,
    /// Only what was collected before this date (midnight, local time) or time (`2026-11-01T12:00:00Z`); with `--mark-collected` only what arrived
    /// before.
    #[arg(long, value_name = "DATE", value_parser = before)]
    before: Option<i64>,
    /// Only this folder.
    #[arg(long, value_name = "NAME")]
    folder: Option<String>,
    /// Only the message with this UID or UIDL, as the log has it; may be given several times.
    #[arg(long, value_name = "UID")]
    uid: Vec<String>,
    /// The reverse: what is on the server now counts as collected. Nothing is fetched.
    #[arg(long)]
    mark_collected: bool,
    /// Do not ask the server how much of it is still there.
    #[arg(long, conflicts_with = "mark_collected")]
    offline: bool,
    /// Do not ask for the collector's name.
    #[arg(long)]
    yes: bool,
    /// Print what was done as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn clear(arguments: &Clear, common: &Common) -> Exit {
    try_clear(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_clear(arguments: &Clear, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let Some(collector) = named(&loaded, &arguments.name) else {
        eprintln!("error: no collector is called `{}`\nhint: the configuration has: {}", arguments.name, names(&loaded));
        return Err(Exit::Usage);
    };
    can_ask(arguments.yes)?;
    let uids = uids(&arguments.uid, &collector)?;
    start_logging(common, &loaded);
    runtime()?.block_on(async {
        let installation = open(&loaded).await?;
        let done = match arguments.mark_collected {
            true => mark(arguments, &collector, installation.ledger().as_ref(), &uids).await?,
            false => forget(arguments, &collector, installation.ledger().as_ref(), uids).await?,
        };
        if let Some(done) = done {
            super::peek::print(&format!("{}\n", if arguments.json { done.json } else { done.text }));
        }
        Ok(Exit::Ok)
    })
}

/// What was done, in both forms.
struct Done {
    text: String,
    json: String,
}

async fn forget(arguments: &Clear, collector: &Arc<Collector>, ledger: &dyn Ledger, uids: Vec<RemoteUid>) -> Result<Option<Done>, Exit> {
    let mailbox = collector.server.mailbox();
    let which = Forget { folder: arguments.folder.as_deref().map(folder_name), before: arguments.before, uids };
    let all = ledger.remembered(&mailbox, &Forget::default()).await.map_err(|error| ledger_failed(&error))?;
    check_folder(&which, &all)?;
    let remembered = ledger.remembered(&mailbox, &which).await.map_err(|error| ledger_failed(&error))?;
    check_uids(&which, &remembered)?;
    let forgets: u64 = remembered.iter().map(Remembered::forgets).sum();
    let found = match (forgets, arguments.offline) {
        (0, _) => Found::These(0),
        (_, true) => Found::Unknown("it was not asked (--offline)".into()),
        (_, false) => server::still_there(collector, &remembered).await,
    };
    describe(arguments, collector, &remembered, &found);
    let held: u64 = remembered.iter().map(|folder| folder.held).sum();
    if forgets > 0 {
        confirm(&arguments.name, arguments.yes)?;
        let forgotten = ledger.forget(&mailbox, &which, jiff::Timestamp::now().as_second()).await.map_err(|error| ledger_failed(&error))?;
        tracing::warn!(target: audit::TARGET, event = "collector_cleared", collector = %collector.id, by = %Requester::cli(), mailbox = %mailbox, forgotten, again = found.word(), held);
    }
    let text = match &found {
        Found::These(again) => {
            format!("{}: {forgets} forgotten, {again} of them are on the server and will be collected and delivered again", collector.id)
        }
        Found::Unknown(_) => {
            format!("{}: {forgets} forgotten; those that are still on the server will be collected and delivered again", collector.id)
        }
    };
    let folders: Vec<_> = remembered.iter().map(|of| serde_json::json!({"folder": of.folder.as_str(), "forgotten": of.forgets()})).collect();
    let waiting: u64 = remembered.iter().map(|folder| folder.waiting).sum();
    let json = serde_json::json!({
        "collector": collector.id.as_str(), "mailbox": mailbox.to_string(), "forgotten": forgets, "again": found.count(),
        "held": held, "waiting": waiting, "folders": folders,
    });
    Ok(Some(Done { text, json: json.to_string() }))
}

async fn mark(arguments: &Clear, collector: &Arc<Collector>, ledger: &dyn Ledger, uids: &[RemoteUid]) -> Result<Option<Done>, Exit> {
    let mailbox = collector.server.mailbox();
    let only = arguments.folder.as_deref().map(folder_name);
    let marks = server::to_mark(collector, only.as_ref(), uids, arguments.before).await?;
    let there: usize = marks.iter().map(|mark| mark.uids.len()).sum();
    eprintln!(
        "{} {} on the server of {} will count as collected. Nothing is fetched, and none of it will ever be delivered.",
        grouped(there as u64),
        if there == 1 { "message" } else { "messages" },
        shown(collector)
    );
    confirm(&arguments.name, arguments.yes)?;
    let Marked { marked, given_up } = ledger.mark_collected(&mailbox, &marks).await.map_err(|error| ledger_failed(&error))?;
    tracing::warn!(target: audit::TARGET, event = "collector_marked", collector = %collector.id, by = %Requester::cli(), mailbox = %mailbox, there, marked, given_up);
    let mut text = format!("{}: {marked} marked as collected, {} were so before", collector.id, (there as u64).saturating_sub(marked));
    if given_up > 0 {
        text.push_str(&format!("; {given_up} of them waited to be delivered, and are given up"));
    }
    let json = serde_json::json!({
        "collector": collector.id.as_str(), "mailbox": mailbox.to_string(), "there": there, "marked": marked, "given_up": given_up,
    });
    Ok(Some(Done { text, json: json.to_string() }))
}

/// What is going to happen, for people.
fn describe(arguments: &Clear, collector: &Collector, remembered: &[Remembered], found: &Found) {
    let forgets: u64 = remembered.iter().map(Remembered::forgets).sum();
    let sum = |of: fn(&Remembered) -> u64| remembered.iter().map(of).sum::<u64>();
    eprintln!("This forgets {} collected {} of {}.", grouped(forgets), if forgets == 1 { "message" } else { "messages" }, shown(collector));
    if remembered.iter().filter(|folder| folder.forgets() > 0).count() > 1 {
        for folder in remembered.iter().filter(|folder| folder.forgets() > 0) {
            eprintln!("  {}  {}", grouped(folder.forgets()), harmless(folder.folder.as_str(), SHOWN_MAX));
        }
    }
    match found {
        _ if forgets == 0 => {}
        Found::These(0) => eprintln!("None of them is on the server any more."),
        Found::These(again) => {
            let are = if *again == 1 { "is" } else { "are" };
            eprintln!("{} of them {are} still on the server and WILL BE COLLECTED AND DELIVERED AGAIN.", grouped(*again));
        }
        Found::Unknown(why) => {
            eprintln!("How many of them are still on the server cannot be told: {why}.\nThose that are WILL BE COLLECTED AND DELIVERED AGAIN.");
        }
    }
    if sum(|folder| folder.held) > 0 {
        let held = sum(|folder| folder.held);
        eprintln!("{} held {} not forgotten: `mailgather held` has them.", grouped(held), if held == 1 { "message is" } else { "messages are" });
    }
    if arguments.before.is_none() && sum(|folder| folder.waiting) > 0 {
        eprintln!("{} that nobody has yet, or that were left on the server, are not touched.", grouped(sum(|folder| folder.waiting)));
    }
}

/// An error unless somebody can be asked, or need not be.
pub(super) fn can_ask(yes: bool) -> Result<(), Exit> {
    if yes || std::io::stdin().is_terminal() {
        return Ok(());
    }
    eprintln!("error: nobody is there to be asked; say `--yes`");
    Err(Exit::Usage)
}

/// Asks for the collector's name, which no slip of the finger types.
pub(super) fn confirm(name: &str, yes: bool) -> Result<(), Exit> {
    if yes {
        return Ok(());
    }
    eprint!("Type the collector's name to go on: ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.trim() == name {
        return Ok(());
    }
    eprintln!("nothing was changed");
    Err(Exit::TempFail)
}

fn check_folder(which: &Forget, all: &[Remembered]) -> Result<(), Exit> {
    let known = || all.iter().map(|of| format!("`{}`", harmless(of.folder.as_str(), SHOWN_MAX))).collect::<Vec<_>>().join(", ");
    match &which.folder {
        Some(folder) if !all.iter().any(|of| of.folder == *folder) => {
            let has = if all.is_empty() { "nothing was collected from this mailbox yet".into() } else { format!("it knows {}", known()) };
            eprintln!("error: the ledger knows no folder `{}` of this mailbox\nhint: {has}", harmless(folder.as_str(), SHOWN_MAX));
            Err(Exit::NoInput)
        }
        None if !which.uids.is_empty() && all.len() > 1 => {
            eprintln!("error: each folder has UIDs of its own: say `--folder` too\nhint: the ledger knows {}", known());
            Err(Exit::Usage)
        }
        _ => Ok(()),
    }
}

/// Each message that is named must be one that can be forgotten, or nothing is done.
fn check_uids(which: &Forget, remembered: &[Remembered]) -> Result<(), Exit> {
    for uid in &which.uids {
        if !remembered.iter().any(|folder| folder.uids.contains(uid)) {
            eprintln!(
                "error: the message `{uid}` is not one that was collected\n\
                 hint: it is new, waits, or is held (`mailgather held list`); the log names each message by COLLECTOR/FOLDER/UIDVALIDITY/UID"
            );
            return Err(Exit::NoInput);
        }
    }
    Ok(())
}

/// UIDs as they were given: numbers for IMAP; for POP3 what the log prints, in which strange octets are escaped.
fn uids(given: &[String], collector: &Collector) -> Result<Vec<RemoteUid>, Exit> {
    let of = |text: &String| {
        refetch::uid(text, collector.server.protocol).ok_or_else(|| {
            eprintln!("error: `{text}` is no UID of IMAP, which is a number\nhint: the log names each message by COLLECTOR/FOLDER/UIDVALIDITY/UID");
            Exit::Usage
        })
    };
    given.iter().map(of).collect()
}

/// A date, which begins at midnight, or a time.
pub(super) fn before(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_second());
    }
    let date: jiff::civil::Date =
        text.parse().map_err(|_| format!("`{text}` is neither a date, as 2026-11-01, nor a time, as 2026-11-01T12:00:00Z"))?;
    let midnight = date.to_zoned(jiff::tz::TimeZone::system()).map_err(|error| error.to_string())?;
    Ok(midnight.timestamp().as_second())
}

/// The collector, and which mailbox that is.
fn shown(collector: &Collector) -> String {
    let server = &collector.server;
    format!("«{}» ({}, {})", collector.id, server.host, harmless(&server.username, SHOWN_MAX))
}

/// `4 310`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(" ")
}

pub(super) async fn open(loaded: &Loaded) -> Result<Installation, Exit> {
    Installation::open(&loaded.config).await.map_err(|error| match error {
        OpenError::Busy(_) => {
            eprintln!("error[MG-{}]: {error}", code::STATE_DIR);
            eprintln!("hint: a daemon runs on it: stop it first, and start it again afterwards; nothing was changed");
            Exit::TempFail
        }
        error => super::run::open_failed(&error),
    })
}

pub(super) fn ledger_failed(error: &LedgerError) -> Exit {
    eprintln!("error[MG-{}]: {error}\nhint: nothing was changed", code::LEDGER);
    Exit::Io
}

/// The lines of the command tell what happens; `-v` shows those of the log too.
fn start_logging(common: &Common, loaded: &Loaded) {
    common.start_logging(&loaded.config, true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates() {
        assert_eq!([0, 7, 310, 4_310, 1_000_000].map(grouped), ["0", "7", "310", "4 310", "1 000 000"]);
        assert_eq!(before("2026-11-01T12:00:00Z"), Ok(1_793_534_400));
        assert!(before("2026-11-01").is_ok_and(|time| (time - 1_793_491_200).abs() <= 14 * 3600));
        assert!(before("yesterday").unwrap_err().contains("2026-11-01"));
    }
}
