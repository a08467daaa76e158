//! `mailgather notify`: who is told of trouble, what was told and is not over, and whether notices arrive.

use super::Common;
use super::daemon::ask;
use super::exit::Exit;
use super::peek::print;
use super::when::shown_again;
use crate::mail::outcome::harmless;
use clap::Args;
use serde_json::Value;

/// Longest text of the daemon's that is repeated, in octets.
const TEXT_MAX: usize = 600;
/// Collectors that a channel of their own names.
const NAMES_MAX: usize = 20;

/// The part of [`super::exit::TABLE`] that can happen here.
const TABLE: &str = "\
Exit codes:
   0  done; with --test, and every channel took its notice
  69  the daemon does not answer
  75  a channel did not take the notice
  78  `notify` names no channel";

#[derive(Debug, Args)]
#[command(after_help = TABLE)]
pub(super) struct Notify {
    /// Send a notice by each channel now, once, and say what came of it.
    #[arg(long)]
    test: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn notify(arguments: &Notify, common: &Common) -> Exit {
    ask(common, arguments.json, async |client| {
        let found = if arguments.test { client.post("/v1/notices/test", &Value::Null).await? } else { client.get("/v1/notices").await? };
        let results = rows(&found, "results");
        let exit = match arguments.test {
            true if results.is_empty() => Exit::Config,
            true if results.iter().any(|result| result["ok"] != true) => Exit::TempFail,
            _ => Exit::Ok,
        };
        if arguments.json {
            print(&format!("{found}\n"));
        } else if arguments.test {
            print(&tried(results));
        } else {
            print(&listed(&found));
        }
        if exit == Exit::Config {
            eprintln!("error: nobody is told of anything: the configuration names no channel");
            eprintln!("hint: as in `notify: [{{email: postmaster@example.org}}, {{webhook: 'https://hooks.example/…'}}]`");
        }
        Ok(exit)
    })
}

fn rows<'v>(found: &'v Value, key: &str) -> &'v [Value] {
    found[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn time(value: &Value) -> String {
    shown_again(&text(value))
}

fn text(value: &Value) -> String {
    harmless(value.as_str().unwrap_or_default(), TEXT_MAX)
}

/// What came of a trial, a line for each channel.
fn tried(results: &[Value]) -> String {
    let line = |result: &Value| match result["ok"] == true {
        true => format!("{}: ok\n", text(&result["channel"])),
        false => format!("{}: FAILED: {}\n", text(&result["channel"]), text(&result["reason"])),
    };
    results.iter().map(line).collect()
}

/// The channels, and what is not over.
fn listed(found: &Value) -> String {
    let (channels, open) = (rows(found, "channels"), rows(found, "open"));
    if channels.is_empty() {
        return "nobody is told of anything: the configuration names no channel\n".to_owned();
    }
    let mut out = String::new();
    for channel in channels {
        let events: Vec<String> = rows(channel, "events").iter().map(text).collect();
        let mut whose: Vec<String> = rows(channel, "collectors").iter().take(NAMES_MAX).map(text).collect();
        if rows(channel, "collectors").len() > NAMES_MAX {
            whose.push("…".to_owned());
        }
        let whose = if whose.is_empty() { String::new() } else { format!(" (for {} alone)", whose.join(", ")) };
        out.push_str(&format!("{}{whose}: {}\n", text(&channel["channel"]), events.join(", ")));
        let last = &channel["last"];
        if last["ok"] == true {
            out.push_str(&format!("  last told at {}\n", time(&last["at"])));
        } else if last.is_object() {
            out.push_str(&format!("  FAILED at {}: {}\n", time(&last["at"]), text(&last["reason"])));
        }
        for open in open.iter().filter(|open| open["channel"] == channel["channel"]) {
            let told = if open["told"] == true { "told" } else { "not told yet: others were" };
            out.push_str(&format!(
                "  {}: {} since {}, {told} at {}\n",
                text(&open["collector"]),
                text(&open["event"]),
                time(&open["since"]),
                time(&open["at"])
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn channels_and_what_is_open() {
        let found = json!({
            "channels": [
                {"channel": "command /x", "events": ["held", "loop"], "last": {"at": "T", "ok": true, "reason": null}},
                {"channel": "webhook h", "collectors": ["b", "c"], "events": ["held"], "last": {"at": "T", "ok": false, "reason": "no\nanswer"}},
            ],
            "open": [{"channel": "command /x", "collector": "a", "event": "held", "since": "S", "told": true, "at": "T"}],
        });
        let wanted =
            "command /x: held, loop\n  last told at T\n  a: held since S, told at T\nwebhook h (for b, c alone): held\n  FAILED at T: no?answer\n";
        assert_eq!(listed(&found), wanted);
        assert!(listed(&json!({})).starts_with("nobody"));
        assert_eq!(tried(&[json!({"channel": "x", "ok": true}), json!({"channel": "y", "ok": false, "reason": "down"})]), "x: ok\ny: FAILED: down\n");
    }
}
