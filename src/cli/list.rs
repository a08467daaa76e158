//! `mailgather list`: the collectors of the configuration, whether a daemon runs or not.

use super::Common;
use super::exit::Exit;
use super::peek::print;
use crate::config::{Collector, RecipientMode, TlsMode};
use crate::mail::outcome::harmless;
use crate::service::switches::Switches;
use clap::Args;
use serde_json::json;

/// Longest cell of the table, in octets.
const CELL_MAX: usize = 60;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct List {
    /// Only collectors in whose name, title, server, address or recipient this stands.
    search: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(arguments: &List, common: &Common) -> Exit {
    let mut loaded = match common.load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    // What was switched by a command stands over the file; who may not read that sees the file alone.
    match Switches::read(&loaded.config.service.state_dir) {
        Ok(switches) => loaded.config = switches.over(&loaded.config, jiff::Timestamp::now()),
        Err(error) => eprintln!("note: what was switched by commands is not shown: {error}"),
    }
    let wanted = arguments.search.as_deref().unwrap_or_default().to_lowercase();
    let fits = |collector: &Collector| words(collector).iter().any(|word| word.to_lowercase().contains(&wanted));
    let found: Vec<&Collector> = loaded.config.collectors.values().map(|collector| &**collector).filter(|collector| fits(collector)).collect();
    let text = if arguments.json { found.iter().map(|collector| format!("{}\n", object(collector))).collect() } else { table(&found) };
    print(&text);
    Exit::Ok
}

/// What a search looks at.
fn words(collector: &Collector) -> Vec<String> {
    let email = collector.email.as_ref().map(ToString::to_string).unwrap_or_default();
    vec![collector.id.as_str().to_owned(), collector.title.clone(), collector.server.host.clone(), email, recipient(collector)]
}

fn recipient(collector: &Collector) -> String {
    match &collector.recipient {
        RecipientMode::ForwardTo(to, _) => to.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        RecipientMode::Auto(rules, _) => match &rules.default_box {
            Some(default_box) => format!("auto, else {default_box}"),
            None => "auto".to_owned(),
        },
    }
}

fn protocol(collector: &Collector) -> String {
    format!("{}{}", collector.server.protocol.word(), if collector.server.tls.mode == TlsMode::Implicit { "s" } else { "" })
}

fn table(collectors: &[&Collector]) -> String {
    let mut rows = vec![["NAME", "ENABLED", "SERVER", "LOGIN", "RECIPIENT", "TITLE"].map(str::to_owned)];
    for collector in collectors {
        let title = if collector.title == collector.id.as_str() { String::new() } else { collector.title.clone() };
        let cells = [
            collector.id.as_str().to_owned(),
            if collector.enabled { "yes" } else { "no" }.to_owned(),
            format!("{} {}:{}", protocol(collector), collector.server.host, collector.server.port),
            collector.server.username.clone(),
            recipient(collector),
            title,
        ];
        rows.push(cells.map(|cell| harmless(&cell, CELL_MAX)));
    }
    super::table::table(&rows)
}

fn object(collector: &Collector) -> serde_json::Value {
    json!({
        "id": collector.id.as_str(), "title": collector.title, "description": collector.description, "enabled": collector.enabled,
        "protocol": collector.server.protocol.word(), "server": collector.server.host, "port": collector.server.port,
        "username": collector.server.username, "email": collector.email.as_ref().map(ToString::to_string), "provider": collector.provider,
        "recipient": recipient(collector), "interval_seconds": collector.interval.as_secs_f64(), "manual": collector.manual,
    })
}
