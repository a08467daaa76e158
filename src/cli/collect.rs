//! `mailgather collect`: collect now, by the daemon.

use super::Common;
use super::daemon::ask;
use super::exit::Exit;
use super::peek::print;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;

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
    /// Deliver this message once more, on purpose: the one with this UID or UIDL, as the log has it; may be given several times. It must have been
    /// collected from the one collector that is named, and still be on its server.
    #[arg(long, value_name = "UID", conflicts_with_all = ["limit", "all"], requires = "names")]
    refetch: Vec<String>,
    /// The folder of that message, where the collector has several.
    #[arg(long, value_name = "NAME", requires = "refetch")]
    folder: Option<String>,
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
        Ok(summarise(&last, arguments.json, common.quiet))
    })
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

/// One line for each collector; the exit code is that of the worst.
fn summarise(job: &Value, json: bool, quiet: bool) -> Exit {
    let parts = job["collectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut exits = Vec::new();
    for part in parts {
        let (id, result) = (part["collector"].as_str().unwrap_or_default(), &part["result"]);
        let outcome = result["outcome"].as_str().unwrap_or("stopped");
        let counts = ["delivered", "default_box", "duplicates", "discarded", "held", "left", "deferred"];
        let is_nothing = counts.iter().all(|key| result[*key].as_u64().unwrap_or(0) == 0);
        // Who failed before anything happened says why, and nothing else.
        if !json && !quiet && !(is_nothing && result["error"].is_object()) {
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
