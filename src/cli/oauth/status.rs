//! `mailgather oauth status`: how the tokens of collectors fare.

use super::super::exit::Exit;
use super::super::peek::print;
use super::super::table::table;
use super::super::{Common, runtime};
use super::{account, keeper};
use crate::oauth::Keeper;
use crate::oauth::told::told;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// One collector; all that have tokens of their own, if nobody says it.
    name: Option<String>,
    /// Print JSON: an object a line for each collector.
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: &Status, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let keepers = match &arguments.name {
        Some(name) => vec![keeper(name, &loaded)?.1],
        None => {
            let all = loaded.config.collectors.values();
            all.filter_map(|collector| Some(Arc::new(Keeper::new(&collector.id, collector.server.auth.oauth.as_ref()?)))).collect()
        }
    };
    let runtime = runtime()?;
    let states: Vec<Value> = keepers.iter().map(|keeper| runtime.block_on(told(keeper))).collect();
    if arguments.json {
        states.iter().for_each(|state| print(&format!("{state}\n")));
    } else if states.is_empty() {
        eprintln!("no collector gets tokens by itself");
    } else {
        print(&shown(&states));
        for (keeper, state) in keepers.iter().zip(&states) {
            if state["state"] != "good" && keeper.oauth().flow.needs_a_person() && state["state"] != "expired" {
                eprintln!("hint: `{}` signs in", common.again(&format!("oauth login {}", keeper.collector())));
            }
        }
    }
    let needs = |state: &&Value| !matches!(state["state"].as_str(), Some("good" | "expired"));
    // Whoever asks for one wants to know by the exit code too.
    Ok(if arguments.name.is_some() && states.iter().any(|state| needs(&state)) { Exit::NoPermission } else { Exit::Ok })
}

fn shown(states: &[Value]) -> String {
    let now = Timestamp::now().as_second();
    let seconds = |state: &Value, name: &str| state[name].as_str().and_then(|text| text.parse::<Timestamp>().ok()).map(Timestamp::as_second);
    let text = |state: &Value, name: &str| state[name].as_str().unwrap_or("-").to_owned();
    let mut rows = vec![["NAME", "FLOW", "ACCOUNT", "STATE", "TOKEN UNTIL", "REFRESH TOKEN", "SCOPES"].map(str::to_owned)];
    for state in states {
        let refresh = match (state["refresh_token"].as_bool(), seconds(state, "refresh_since"), seconds(state, "refresh_until")) {
            (Some(true), _, Some(until)) => format!("until {}", account::time(until)),
            (Some(true), Some(since), None) => format!("{} old", account::span(now - since)),
            (Some(true), None, None) => "yes".to_owned(),
            _ => "-".to_owned(),
        };
        let scopes: Vec<&str> = state["scopes"].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).collect();
        let reason = state["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        rows.push([
            text(state, "collector"),
            format!("{}, {}", text(state, "provider"), text(state, "flow")),
            text(state, "account"),
            format!("{}{reason}", text(state, "state")),
            seconds(state, "expires").map_or_else(|| "-".to_owned(), account::time),
            refresh,
            if scopes.is_empty() { "-".to_owned() } else { scopes.join(" ") },
        ]);
    }
    table(&rows)
}
