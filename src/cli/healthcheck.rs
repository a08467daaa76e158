//! `mailgather healthcheck`: for a container's health, for monitoring.

use super::Common;
use super::daemon::ask;
use super::exit::Exit;
use super::peek::print;
use crate::control::ClientError;
use crate::mail::outcome::harmless;
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the daemon may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Longest name that is repeated, in octets.
const NAME_MAX: usize = 64;

/// The part of [`super::exit::TABLE`] that can happen here.
const TABLE: &str = "\
Exit codes:
   0  the daemon answers; with --collectors, and every enabled collector is well
  69  the daemon does not answer
  75  a collector fails, or the configuration file as it is now was not taken";

#[derive(Debug, Args)]
#[command(after_help = TABLE)]
pub(super) struct Healthcheck {
    /// Fail also if an enabled collector fails, or the configuration file as it is now was not taken.
    #[arg(long)]
    collectors: bool,
    /// Print what was found as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn healthcheck(arguments: &Healthcheck, common: &Common) -> Exit {
    ask(common, arguments.json, async |client| {
        let asking = async {
            client.get("/livez").await?;
            if arguments.collectors { client.get("/health/collectors").await } else { Ok(json!({"healthy": true})) }
        };
        // Whoever asks for the health of a daemon that hangs must not hang with it.
        let silent = |_| ClientError::Broken(format!("nothing came in {} s", ANSWER_WAIT.as_secs()));
        let found = tokio::time::timeout(ANSWER_WAIT, asking).await.map_err(silent)??;
        let problems = problems(&found);
        if arguments.json {
            print(&format!("{found}\n"));
        } else if problems.is_empty() {
            if !common.quiet {
                print("healthy\n");
            }
        } else {
            problems.iter().for_each(|problem| eprintln!("error: {problem}"));
            eprintln!("hint: `mailgather status --failed` says why");
        }
        Ok(if problems.is_empty() { Exit::Ok } else { Exit::TempFail })
    })
}

/// What is wrong, in words.
fn problems(found: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let failing: Vec<String> =
        found["failing"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|name| harmless(name, NAME_MAX)).collect();
    if !failing.is_empty() {
        problems.push(format!("{} of the collectors fail: {}", failing.len(), failing.join(", ")));
    }
    if found["config_ok"] == false {
        problems.push("the configuration file as it is now was not taken".to_owned());
    }
    if problems.is_empty() && found["healthy"] != true {
        problems.push("the daemon says that it is not healthy".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        for (found, wanted) in [
            (json!({"healthy": true, "failing": [], "config_ok": true}), &[][..]),
            (json!({"healthy": true}), &[]),
            (json!({"healthy": false, "failing": ["a", "b"], "config_ok": true}), &["2 of the collectors fail: a, b"]),
            (json!({"healthy": false, "failing": [], "config_ok": false}), &["the configuration file as it is now was not taken"]),
            (json!({}), &["the daemon says that it is not healthy"]),
        ] {
            assert_eq!(problems(&found), wanted, "{found}");
        }
    }
}
