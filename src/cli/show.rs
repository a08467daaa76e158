//! `mailgather show`: what is in force for a collector, and where each value comes from.

use super::exit::Exit;
use super::peek::print;
use super::when::shown;
use super::{Common, refused};
use crate::config::{Setting, Sources};
use crate::mail::outcome::harmless;
use crate::mail::when::stamp;
use crate::observe::logging::without_people;
use crate::service::switches::Switches;
use clap::Args;
use serde_json::{Value, json};

/// Longest value that is printed, in octets.
const VALUE_MAX: usize = 16 * 1024;
/// Beyond this width of a value its origin stands behind it all the same, and not in a column.
const COLUMN_MAX: usize = 48;
/// What is hidden of a login name.
const HIDDEN: &str = "***";

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct Show {
    /// The collector.
    name: String,
    /// Say behind each value where it comes from: file and line, a template, the provider, `defaults`, or the built-in default.
    #[arg(long)]
    origin: bool,
    /// Hide people too: the local parts of addresses, login names, title and description. For passing it on; secrets are hidden in any case.
    #[arg(long)]
    redacted: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn show(arguments: &Show, common: &Common) -> Exit {
    let env = common.environment();
    let read = Sources::read(&common.config, &env).and_then(|sources| sources.effective(&arguments.name, &env));
    let (loaded, settings) = match read {
        Ok(read) => read,
        Err(report) => return refused(&report),
    };
    let Some(mut settings) = settings else {
        eprintln!("error: no collector is called `{}`\nhint: the configuration has: {}", harmless(&arguments.name, 200), super::peek::names(&loaded));
        return Exit::Usage;
    };
    if arguments.redacted {
        settings.iter_mut().for_each(redact);
    }
    let id = loaded.config.collectors.keys().find(|id| id.as_str() == arguments.name);
    // What a command switched stands over the file; who may not read that sees the file alone.
    let switches = Switches::read(&loaded.config.service.state_dir);
    let switch = id.and_then(|id| switches.as_ref().ok()?.of(id, jiff::Timestamp::now()).cloned());
    if arguments.json {
        let switch = switch.map(|switch| json!({"on": switch.on, "until": switch.until.map(stamp), "reason": switch.reason, "by": switch.by}));
        let settings: Vec<Value> = settings.iter().map(|setting| object(setting, arguments.origin)).collect();
        print(&format!("{}\n", json!({"collector": arguments.name, "settings": settings, "switch": switch})));
        return Exit::Ok;
    }
    if let Some(switch) = switch {
        let until = switch.until.map(|until| format!(" until {}", shown(until))).unwrap_or_default();
        eprintln!("note: switched {} by a command{until}, whatever the file says", if switch.on { "on" } else { "off" });
    }
    let lines: Vec<(String, String)> = settings.iter().map(|setting| (line(setting), setting.from.to_string())).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= COLUMN_MAX).max().unwrap_or(0);
    let text: String =
        lines.iter().map(|(line, from)| if arguments.origin { format!("{line:width$}  # {from}\n") } else { format!("{line}\n") }).collect();
    print(&text);
    Exit::Ok
}

fn line(setting: &Setting) -> String {
    format!("{}: {}", harmless(&setting.key, 500), harmless(&setting.value, VALUE_MAX))
}

fn object(setting: &Setting, with_origin: bool) -> Value {
    let mut object = json!({"key": setting.key, "value": setting.value});
    if with_origin {
        object["origin"] = setting.from.json();
    }
    object
}

fn redact(setting: &mut Setting) {
    if ["username", "title", "description", "delivery.auth"].contains(&setting.key.as_str()) || setting.key.ends_with(".username") {
        setting.value = HIDDEN.to_owned();
    } else if let Some(hidden) = without_people(&setting.value) {
        setting.value = hidden;
    }
}
