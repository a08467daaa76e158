//! `mailgather reload` and `mailgather stop`.

use super::Common;
use super::daemon::ask;
use super::exit::Exit;
use super::peek::print;
use clap::Args;
use serde_json::Value;
use std::time::Duration;

/// How long `stop --wait` waits for the socket to go away, beyond any grace time that makes sense.
const STOP_WAIT: Duration = Duration::from_secs(600);
/// How often it looks.
const STOP_TICK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Reload {
    /// Wait until the file was read, and say what came of it. This is what happens in any case; the option is there for unit files that name it.
    #[arg(long)]
    wait: bool,
    /// Print what changed as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Stop {
    /// Wait until the daemon has ended.
    #[arg(long)]
    wait: bool,
    /// Print what was asked as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn reload(arguments: &Reload, common: &Common) -> Exit {
    ask(common, arguments.json, async |client| {
        let done = client.post("/v1/reload", &Value::Null).await?;
        if arguments.json {
            print(&format!("{done}\n"));
            return Ok(Exit::Ok);
        }
        let names =
            |key: &str| done[key].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
        let mut parts: Vec<String> = Vec::new();
        for key in ["added", "changed", "removed"] {
            let names = names(key);
            if !names.is_empty() {
                parts.push(format!("{key}: {names}"));
            }
        }
        let settings = names("settings");
        if !settings.is_empty() {
            parts.push(format!("in force: {settings}"));
        }
        if parts.is_empty() && names("needs_restart").is_empty() {
            parts.push("nothing changed".into());
        }
        if !common.quiet {
            if !parts.is_empty() {
                print(&format!("{}\n", parts.join("; ")));
            }
            let restart = names("needs_restart");
            if !restart.is_empty() {
                eprintln!("note: these settings take effect after a restart: {restart}");
            }
        }
        Ok(Exit::Ok)
    })
}

pub(super) fn stop(arguments: &Stop, common: &Common) -> Exit {
    ask(common, arguments.json, async |client| {
        let done = client.post("/v1/stop", &Value::Null).await?;
        if arguments.json {
            print(&format!("{done}\n"));
        }
        let pid = done["pid"].as_u64().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        let deadline = tokio::time::Instant::now() + STOP_WAIT;
        // The process itself, not its socket: that goes first.
        while arguments.wait && pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()) {
            if tokio::time::Instant::now() > deadline {
                eprintln!("error: the daemon has not ended in {} s", STOP_WAIT.as_secs());
                return Ok(Exit::TempFail);
            }
            tokio::time::sleep(STOP_TICK).await;
        }
        if !arguments.json && !common.quiet {
            eprintln!("{}", if arguments.wait { "the daemon has ended" } else { "the daemon ends at the next message's border" });
        }
        Ok(Exit::Ok)
    })
}
