//! `mailgather status`: what the daemon does, and how each collector fares.

use super::Common;
use super::daemon::{ask, encoded};
use super::exit::Exit;
use super::peek::print;
use super::table::lines;
use super::when::shown_again;
use crate::mail::outcome::harmless;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;
use std::io::IsTerminal;
use std::time::Duration;

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Longest name of a server in the table, in octets.
const SERVER_MAX: usize = 40;
/// Longest text of an error in the table, in octets.
const ERROR_MAX: usize = 500;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Status {
    /// Only this collector, with everything that is known of it.
    name: Option<String>,
    /// Only collectors that fail.
    #[arg(long, conflicts_with = "name")]
    failed: bool,
    /// Show it again and again, until interrupted.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: &Status, common: &Common) -> Exit {
    ask(common, arguments.json, async |client| {
        loop {
            let service = client.get("/v1/status").await?;
            let collectors = match &arguments.name {
                Some(name) => vec![client.get(&format!("/v1/collectors/{}", encoded(name))).await?],
                None => client.get("/v1/collectors").await?["collectors"].as_array().cloned().unwrap_or_default(),
            };
            let shown: Vec<&Value> = collectors.iter().filter(|one| !arguments.failed || one["state"] == "failing").collect();
            let text = match (arguments.json, &arguments.name) {
                (true, _) => format!("{}\n", serde_json::json!({"service": service, "collectors": shown})),
                (false, Some(_)) => detail(&collectors[0], Timestamp::now()),
                (false, None) => format!("{}{}", head(&service), table(&shown, Timestamp::now())),
            };
            if arguments.watch && std::io::stdout().is_terminal() {
                // Clears the screen (ECMA-48: CUP, ED).
                print("\u{1b}[H\u{1b}[2J");
            }
            print(&text);
            if !arguments.watch {
                let is_well = collectors.iter().all(|one| one["state"] != "failing");
                return Ok(if arguments.name.is_some() && !is_well { Exit::TempFail } else { Exit::Ok });
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    })
}

/// The service in a line, and what is wrong with its configuration.
fn head(service: &Value) -> String {
    let config = &service["config"];
    let up = age(service["uptime_seconds"].as_u64().unwrap_or(0));
    let (all, failing) = (service["collectors"]["all"].as_u64().unwrap_or(0), service["collectors"]["failing"].as_u64().unwrap_or(0));
    let state = match (service["state"].as_str().unwrap_or_default(), &service["switch"]) {
        ("off", switch) if switch["on"] == false => {
            let until = switch["until"].as_str().map(|until| format!(" until {}", shown_again(until))).unwrap_or_default();
            let reason = harmless(&word(switch, "reason"), 500);
            format!("paused{until} by {}{}{reason}, up", word(switch, "by"), if reason.is_empty() { "" } else { ": " })
        }
        ("off", _) => "off by the configuration, up".to_owned(),
        (state, _) => state.to_owned(),
    };
    let ok = if config["ok"] == true { "config ok" } else { "CONFIG REJECTED" };
    let (loaded, by) =
        (config["loaded"].as_str().and_then(|at| at.get(11..19)).unwrap_or_default(), config["loaded_by"].as_str().unwrap_or_default());
    let attention = if failing > 0 { format!(", {failing} need{} attention", if failing == 1 { "s" } else { "" }) } else { String::new() };
    let mut text =
        format!("SERVICE  {state} {up} · {ok}, loaded {loaded} UTC ({by}) · {all} collector{}{attention}\n", if all == 1 { "" } else { "s" });
    if let Some(problem) = config["rejected"]["problem"].as_str() {
        text.push_str("the file as it is now was not taken; what was in force stays in force:\n");
        problem.lines().for_each(|line| text.push_str(&format!("  {}\n", harmless(line, 2000))));
    }
    text
}

/// All collectors, and below each that fails, why.
fn table(collectors: &[&Value], now: Timestamp) -> String {
    let mut rows = vec![["NAME", "SERVER", "STATE", "LAST TRY", "LAST MAIL", "NEXT", "DELIVERED", "WAITING"].map(str::to_owned)];
    for one in collectors {
        rows.push([
            word(one, "id"),
            format!("{} {}", protocol(one), harmless(&word(one, "server"), SERVER_MAX)),
            state(one),
            ago(one, "last_try", now),
            ago(one, "last_mail", now),
            next(one, now),
            one["since_start"]["messages"]["taken"].to_string(),
            one["waiting"].to_string(),
        ]);
    }
    let mut text = String::new();
    for (number, line) in lines(&rows).into_iter().enumerate() {
        text.push_str(&line);
        let Some(one) = number.checked_sub(1).map(|at| collectors[at]) else { continue };
        if one["failures"].as_u64().unwrap_or(0) > 0 {
            text.push_str(&trouble(one, "  ! "));
        }
    }
    text
}

fn trouble(one: &Value, indent: &str) -> String {
    let error = &one["error"];
    let mut text = format!("{indent}{} {}\n", word(error, "code"), harmless(&word(error, "message"), ERROR_MAX));
    if !word(error, "hint").is_empty() {
        text.push_str(&format!("{indent}hint: {}\n", harmless(&word(error, "hint"), ERROR_MAX)));
    }
    text
}

/// Everything that is known of one.
fn detail(one: &Value, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{key:14}{value}\n"));
        }
    };
    let title = word(one, "title");
    line("collector", if title == word(one, "id") { title } else { format!("{} ({})", word(one, "id"), harmless(&title, 200)) });
    line("description", harmless(&word(one, "description"), 500));
    line("server", format!("{} {}:{}, tls {}", word(one, "protocol"), word(one, "server"), one["port"], word(one, "tls")));
    line("login", harmless(&word(one, "username"), 200));
    line("provider", word(one, "provider"));
    let recipient = &one["recipient"];
    line(
        "recipient",
        match recipient["forward_to"].as_array() {
            Some(to) => format!("→ {}", to.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
            None => format!("from the header, default box {}", recipient["default_box"].as_str().unwrap_or("none")),
        },
    );
    line("state", state(one));
    let switch = &one["switch"];
    if !switch.is_null() {
        let said = if switch["on"] == true { "switched on" } else { "switched off" };
        let reason = harmless(&word(switch, "reason"), 500);
        line(
            "switch",
            format!("{said} by {} at {}{}{reason}", word(switch, "by"), shown_again(&word(switch, "at")), if reason.is_empty() { "" } else { ": " }),
        );
    }
    line("last try", ago(one, "last_try", now));
    line("last success", ago(one, "last_success", now));
    line("last mail", ago(one, "last_mail", now));
    line("next", next(one, now));
    line("waiting", format!("{} messages", one["waiting"]));
    let since = &one["since_start"];
    let sessions = &since["sessions"];
    line(
        "since start",
        format!(
            "{} messages, {} octets; sessions: {} with mail, {} without, {} with mail deferred, {} failed",
            since["messages"]["taken"], since["octets"], sessions["ok"], sessions["empty"], sessions["partial"], sessions["failed"]
        ),
    );
    if one["failures"].as_u64().unwrap_or(0) > 0 {
        text.push_str(&trouble(one, ""));
    }
    text
}

fn word(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

fn protocol(one: &Value) -> String {
    format!("{}{}", word(one, "protocol"), if word(one, "tls") == "implicit" { "s" } else { "" })
}

fn state(one: &Value) -> String {
    match (word(one, "state").as_str(), word(one, "phase").as_str(), one["failures"].as_u64().unwrap_or(0)) {
        ("off", ..) => match one["switch"]["until"].as_str() {
            Some(until) => format!("off until {}", shown_again(until)),
            None => "off".into(),
        },
        ("failing", _, times) => format!("failing ×{times}"),
        (_, "queued", _) => "waits its turn".into(),
        (state, ..) => state.into(),
    }
}

fn ago(one: &Value, key: &str, now: Timestamp) -> String {
    match one[key].as_str().and_then(|at| at.parse::<Timestamp>().ok()) {
        Some(at) => format!("{} ago", age(now.duration_since(at).as_secs().max(0).unsigned_abs())),
        None => "-".into(),
    }
}

fn next(one: &Value, now: Timestamp) -> String {
    match one["next"].as_str().and_then(|at| at.parse::<Timestamp>().ok()) {
        Some(at) if at <= now => "now".into(),
        Some(at) => format!("in {}", age(at.duration_since(now).as_secs().max(0).unsigned_abs())),
        None if one["manual"] == true => "on request".into(),
        None => "-".into(),
    }
}

/// `12s`, `3m`, `2h 5m`, `3d 4h`.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ages() {
        let found: Vec<String> = [0, 59, 60, 3599, 3600, 86_399, 90_000].into_iter().map(age).collect();
        assert_eq!(found, ["0s", "59s", "1m", "59m", "1h 0m", "23h 59m", "1d 1h"]);
    }

    #[test]
    fn a_table_has_its_errors_below_each_row() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let good = json!({"id": "a", "protocol": "imap", "tls": "implicit", "server": "h", "state": "ok", "phase": "waiting", "failures": 0,
            "last_try": "2026-11-21T11:59:48Z", "next": "2026-11-21T12:04:00Z", "waiting": 3, "since_start": {"messages": {"taken": 7}}});
        let mut bad = good.clone();
        (bad["id"], bad["state"], bad["failures"]) = ("bb".into(), "failing".into(), 6.into());
        bad["error"] = json!({"code": "MG-203", "message": "refused\u{1b}[31m", "hint": "an application password"});
        let text = table(&[&good, &bad], now);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("a     imaps h  ok") && lines[1].contains("12s ago") && lines[1].contains("in 4m"), "{text}");
        assert!(lines[2].contains("failing ×6") && lines[3].starts_with("  ! MG-203 refused") && lines[4].contains("application"), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert_eq!(encoded("a/../b"), "a%2F%2E%2E%2Fb");
    }
}
