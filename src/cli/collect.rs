//! `mailgather collect`: collect now, by the daemon.

use super::Common;
use super::clear::grouped;
use super::daemon::ask;
use super::exit::Exit;
use super::peek::print;
use crate::control::{Client, ClientError};
use crate::mail::outcome::harmless;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;

/// Longest name of a folder or a login in what is printed, in characters.
const SHOWN_MAX: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Collect {
    /// Only these collectors, also disabled ones; all enabled ones by default.
    names: Vec<String>,
    /// All enabled ones: the same as to name none.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// One session each, which takes so many new messages at most; what is to be tried again comes beside them. The rest comes after the interval.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: Option<u32>,
    /// Only mail that arrived since then, by the server's own clock: so long ago (`2h`, `7d`), a date (midnight, local time), or a time
    /// (`2026-11-01T12:00:00Z`). Of older mail nothing is noted, and it comes with the next session. IMAP only.
    #[arg(long, value_name = "TIME", value_parser = super::history::moment)]
    since: Option<i64>,
    /// Deliver this message once more, on purpose: the one with this UID or UIDL, as the log has it; may be given several times. It must have been
    /// collected from the one collector that is named, and still be on its server.
    #[arg(long, value_name = "UID", conflicts_with_all = ["limit", "all"], requires = "names")]
    refetch: Vec<String>,
    /// The folder of that message, where the collector has several.
    #[arg(long, value_name = "NAME", requires = "refetch")]
    folder: Option<String>,
    /// Take nothing: delete on the server what the one collector that is named has delivered and kept there. What was never delivered (new, waiting,
    /// left, held, too large) stays. Says how much it is, and asks for the collector's name.
    #[arg(long, requires = "names", conflicts_with_all = ["limit", "since", "refetch", "all", "no_wait"])]
    purge_collected: bool,
    /// Do not ask for the collector's name.
    #[arg(long, requires = "purge_collected")]
    yes: bool,
    /// Do not wait for the end.
    #[arg(long)]
    no_wait: bool,
    /// Print the job as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--refetch` does, in words.
pub(super) const AGAIN: &str =
    "note: what is named is forgotten and delivered once more, to all of its recipients, on purpose; new mail comes beside it";

pub(super) fn collect(arguments: &Collect, common: &Common) -> Exit {
    if arguments.purge_collected {
        return purge(arguments, common);
    }
    ask(common, arguments.json, async |client| {
        let mut body = serde_json::Map::new();
        if !arguments.names.is_empty() {
            body.insert("names".to_owned(), json!(arguments.names));
        }
        if let Some(limit) = arguments.limit {
            body.insert("limit".to_owned(), json!(limit));
        }
        if !arguments.refetch.is_empty() {
            body.insert("refetch".to_owned(), json!(arguments.refetch));
        }
        if let Some(since) = arguments.since.and_then(|since| jiff::Timestamp::from_second(since).ok()) {
            body.insert("since".to_owned(), json!(since.to_string()));
        }
        if let Some(folder) = &arguments.folder {
            body.insert("folder".to_owned(), json!(folder));
        }
        let body = if body.is_empty() { Value::Null } else { Value::Object(body) };
        let job = client.post("/v1/collect", &body).await?;
        // Not before it is known that it is done.
        if !arguments.refetch.is_empty() && !common.quiet {
            eprintln!("{AGAIN}");
        }
        if arguments.no_wait {
            let count = job["collectors"].as_array().map_or(0, Vec::len);
            let text = format!("job {}: {count} collector{}", job["job"], if count == 1 { "" } else { "s" });
            print(&format!("{}\n", if arguments.json { job.to_string() } else { text }));
            return Ok(Exit::Ok);
        }
        if job["collectors"].as_array().is_some_and(Vec::is_empty) && !common.quiet {
            eprintln!("note: nothing is collected: no collector is enabled, or all of it is paused (`mailgather status`)");
            eprintln!("hint: a collector that is named on the command line is collected all the same");
        }
        let last = followed(client, &job, arguments, common).await?;
        Ok(summarise(&last, arguments.json, common.quiet, |_| None))
    })
}

/// The end of a job.
async fn followed(client: &Client, job: &Value, arguments: &Collect, common: &Common) -> Result<Value, ClientError> {
    let bar = progress(arguments.json || common.quiet);
    let mut last = job.clone();
    client
        .events(&format!("/v1/jobs/{}/events", job["job"]), |_, state| {
            show(&bar, state);
            last = state.clone();
        })
        .await?;
    bar.finish_and_clear();
    if arguments.json {
        print(&format!("{last}\n"));
    }
    Ok(last)
}

/// Says what would be deleted, asks, and has it deleted.
fn purge(arguments: &Collect, common: &Common) -> Exit {
    let [name] = &arguments.names[..] else {
        eprintln!("error: this is done for one collector at a time\nhint: nothing was deleted");
        return Exit::Usage;
    };
    if let Err(exit) = super::clear::can_ask(arguments.yes) {
        return exit;
    }
    ask(common, arguments.json, async |client| {
        let body = |dry_run: bool| json!({"names": [name], "purge_collected": true, "dry_run": dry_run});
        let found = client.post("/v1/collect", &body(true)).await?;
        let counts = Purge {
            server: found["server"].as_str().unwrap_or_default().to_owned(),
            login: found["login"].as_str().unwrap_or_default().to_owned(),
            folders: found["folders"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|of| (of["folder"].as_str().unwrap_or_default().to_owned(), of["deletes"].as_u64().unwrap_or(0)))
                .collect(),
        };
        counts.describe(name);
        if counts.all() > 0
            && let Err(exit) = super::clear::confirm(name, arguments.yes)
        {
            return Ok(exit);
        }
        let job = client.post("/v1/collect", &body(false)).await?;
        let last = followed(client, &job, arguments, common).await?;
        Ok(summarise(&last, arguments.json, common.quiet, |result| Some(deleted(result["disposed"].as_u64().unwrap_or(0), counts.all()))))
    })
}

/// What a purge is about to delete.
pub(super) struct Purge {
    pub server: String,
    pub login: String,
    /// Folders with a count each.
    pub folders: Vec<(String, u64)>,
}

impl Purge {
    pub(super) fn all(&self) -> u64 {
        self.folders.iter().map(|(_, count)| count).sum()
    }

    /// What is going to happen, for people.
    pub(super) fn describe(&self, name: &str) {
        let shown = |text: &str| harmless(text, SHOWN_MAX);
        let at = format!("«{name}» ({}, {})", shown(&self.server), shown(&self.login));
        match self.all() {
            0 => eprintln!("note: nothing of {at} was delivered and is kept on the server"),
            1 => eprintln!("This DELETES ON THE SERVER, for good, the one message of {at} that was delivered and is kept there."),
            all => eprintln!("This DELETES ON THE SERVER, for good, {} messages of {at} that were delivered and are kept there.", grouped(all)),
        }
        for (folder, count) in self.folders.iter().filter(|_| self.folders.len() > 1) {
            eprintln!("  {}  {}", grouped(*count), shown(folder));
        }
        if self.all() > 0 {
            eprintln!("What nobody has (new, waiting, left, held, too large), and what was only marked as collected, stays.");
        }
    }
}

/// What came of it, in words.
pub(super) fn deleted(count: u64, of: u64) -> String {
    match count >= of {
        true => format!("{count} deleted on the server"),
        false => format!("{count} of {of} deleted on the server; the others are gone from it, or the log says why they are not"),
    }
}

fn progress(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} messages {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, state: &Value) {
    let parts = state["collectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |key: &str| parts.iter().filter_map(|part| part[key].as_u64()).sum::<u64>();
    bar.set_length(sum("found"));
    bar.set_position(sum("taken"));
    let ended = parts.iter().filter(|part| !part["result"].is_null()).count();
    bar.set_message(format!("({ended} of {} collectors done)", parts.len()));
}

/// One line for each collector, in other words if there are some; the exit code is that of the worst.
fn summarise(job: &Value, json: bool, quiet: bool, instead: impl Fn(&Value) -> Option<String>) -> Exit {
    let parts = job["collectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut exits = Vec::new();
    for part in parts {
        let (id, result) = (part["collector"].as_str().unwrap_or_default(), &part["result"]);
        let outcome = result["outcome"].as_str().unwrap_or("stopped");
        let counts = ["delivered", "default_box", "duplicates", "discarded", "held", "left", "deferred"];
        // Who failed before anything happened says why, and nothing else.
        let is_news = !result["error"].is_object() || counts.iter().any(|key| result[*key].as_u64().unwrap_or(0) > 0);
        if is_news && !json && !quiet {
            let mut line = format!("{id}: {} delivered", result["delivered"].as_u64().unwrap_or(0));
            for (key, words) in [
                ("default_box", "of them to the default box"),
                ("duplicates", "known duplicates"),
                ("discarded", "discarded"),
                ("held", "held"),
                ("left", "left on the server"),
                ("deferred", "to be tried again"),
            ] {
                if let Some(count) = result[key].as_u64().filter(|count| *count > 0) {
                    line.push_str(&format!(", {count} {words}"));
                }
            }
            if let Some(instead) = instead(result) {
                line = format!("{id}: {instead}");
            }
            print(&format!("{line}\n"));
        }
        if let Some(error) = result.get("error").filter(|_| !json) {
            let text = |key: &str| error[key].as_str().unwrap_or_default();
            let code = error["code"].as_str().map(|code| format!("[{code}]")).unwrap_or_default();
            eprintln!("{id}: FAILED: error{code}: {}", text("message"));
            if !text("hint").is_empty() {
                eprintln!("hint: {}", text("hint"));
            }
        }
        let number = result["error"]["code"].as_str().and_then(|code| code.strip_prefix("MG-")?.parse().ok());
        exits.push(match outcome {
            "ok" => Exit::Ok,
            _ => number.map_or(Exit::TempFail, |number| Exit::of_code(number, result["error"]["configuration"] == true)),
        });
    }
    Exit::overall(&exits)
}
