//! `enable`, `disable`, `pause`, `resume`: switches that are kept over restarts and stand over the configuration.

use super::Common;
use super::daemon::ask;
use super::exit::Exit;
use super::peek::print;
use super::when::shown_again;
use crate::service::switches::FOR_DAYS_MAX;
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Switch {
    /// The collectors.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Pause {
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(super) struct How {
    /// For so long, as in `2h`, `90m`, `3d`; else until the reverse is said.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    for_seconds: Option<u64>,
    /// Why: shown by `status`.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print what was switched as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn switch(arguments: &Switch, common: &Common, word: &str) -> Exit {
    let places: Vec<(String, String)> =
        arguments.names.iter().map(|name| (name.clone(), format!("/v1/collectors/{}/{word}", super::daemon::encoded(name)))).collect();
    at(&places, &arguments.how, common, word)
}

pub(super) fn pause(arguments: &Pause, common: &Common, word: &str) -> Exit {
    at(&[("the service".to_owned(), format!("/v1/{word}"))], &arguments.how, common, word)
}

fn at(places: &[(String, String)], how: &How, common: &Common, word: &str) -> Exit {
    ask(common, how.json, async |client| {
        for (name, place) in places {
            let done = client.post(place, &json!({"for_seconds": how.for_seconds, "reason": how.reason})).await?;
            if how.json {
                print(&format!("{done}\n"));
            } else if !common.quiet {
                let until = done["switch"]["until"].as_str().map(|until| format!(" until {}", shown_again(until))).unwrap_or_default();
                print(&format!("{name}: {}{until}\n", state(word, &done)));
            }
        }
        Ok(Exit::Ok)
    })
}

fn state(word: &str, done: &Value) -> &'static str {
    match word {
        "pause" | "resume" => match done["state"].as_str() {
            Some("off") => "paused",
            _ => "running",
        },
        _ if done["enabled"] == true => "enabled",
        _ => "disabled",
    }
}

/// A time for which a switch can stand.
fn span(text: &str) -> Result<u64, String> {
    match seconds(text)? {
        seconds if seconds > FOR_DAYS_MAX * 86_400 => {
            Err(format!("the longest is {FOR_DAYS_MAX}d; without `--for` it stands until the reverse is said"))
        }
        seconds => Ok(seconds),
    }
}

/// `2h`, `90m`, `1h30m`, `3d`, `45s`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let (mut all, mut number, mut is_open) = (0u64, 0u64, false);
    let too_long = || "this is too long".to_owned();
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number = number.checked_mul(10).and_then(|n| n.checked_add(u64::from(c) - u64::from('0'))).ok_or_else(too_long)?;
                is_open = true;
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err("a time is written as in `2h`, `90m`, `1h30m`, `3d`".to_owned()),
        };
        if !is_open {
            return Err("a time is written as in `2h`, `90m`, `1h30m`, `3d`".to_owned());
        }
        all = number.checked_mul(unit).and_then(|part| all.checked_add(part)).ok_or_else(too_long)?;
        (number, is_open) = (0, false);
    }
    match (is_open, all) {
        (true, _) => Err(format!("`{text}` has no unit: write `{text}s`, `{text}m` or `{text}h`")),
        (false, 0) => Err("this is no time".to_owned()),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_has_a_longest_time() {
        assert_eq!(span("3650d"), Ok(315_360_000));
        for long in ["3651d", "3650d1s", "99999d", "87601h"] {
            assert!(span(long).is_err_and(|why| why.contains("the longest is 3650d")), "{long}");
        }
    }

    #[test]
    fn times() {
        for (text, wanted) in [("2h", Some(7_200)), ("1h30m", Some(5_400)), ("3d", Some(259_200)), ("45s", Some(45))] {
            assert_eq!(seconds(text).ok(), wanted, "{text}");
        }
        for wrong in ["", "5", "h", "5x", "0s", "-1h", "99999999999999999999h", "1h5"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
