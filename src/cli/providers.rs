//! `mailgather providers`: the providers that are known, built in and of one's own, and who uses them. What `detect` finds is shown with
//! the YAML to write, and never applied.

mod autoconfig;
pub(super) mod detect;

use super::Common;
use super::exit::Exit;
use super::peek::print;
use super::table::table;
use crate::config::words::nearest;
use crate::config::{Access, Config, Provider, load, presets};
use crate::mail::outcome::harmless;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct ProvidersArguments {
    #[command(subcommand)]
    command: ProvidersCommand,
}

#[derive(Debug, Subcommand)]
enum ProvidersCommand {
    /// All of them, one's own first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// One, with its limits and quirks.
    Show {
        /// Its name in the list.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Find the provider of an address, and what to write; nothing is changed.
    Detect(detect::Detect),
}

pub(super) fn providers(arguments: &ProvidersArguments, common: &Common) -> Exit {
    let known = Known::load(common);
    match &arguments.command {
        ProvidersCommand::List { json } => list(&known, *json),
        ProvidersCommand::Show { name, json } => show(&known, name, *json),
        ProvidersCommand::Detect(arguments) => detect::detect(arguments, &known).unwrap_or_else(|exit| exit),
    }
}

/// The providers, and who uses them.
pub(super) struct Known {
    pub(super) providers: Vec<Arc<Provider>>,
    config: Option<Config>,
}

impl Known {
    /// Those of the configuration; without one, or with a broken one, those that are built in: they help to mend it.
    pub(super) fn load(common: &Common) -> Known {
        let built_in = || Known { providers: presets(), config: None };
        if !common.config.exists() {
            return built_in();
        }
        match load(&common.config, &common.environment()) {
            Ok(loaded) => Known { providers: loaded.config.providers(), config: Some(loaded.config) },
            Err(report) => {
                let (config, errors) = (common.config.display(), report.errors.len());
                eprintln!("note: {config} has {errors} errors (`mailgather check`): these are the built-in providers, without its own");
                built_in()
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Provider> + Clone {
        self.providers.iter().map(|provider| &**provider)
    }

    /// The name servers that are configured.
    pub(super) fn dns(&self) -> &[SocketAddr] {
        self.config.as_ref().map_or(&[], |config| &config.service.dns)
    }

    fn users(&self, provider: &Provider) -> Vec<&str> {
        let collectors = self.config.iter().flat_map(|config| config.collectors.values());
        collectors.filter(|collector| collector.provider.as_deref() == Some(&provider.id)).map(|collector| collector.id.as_str()).collect()
    }
}

/// Domains that a line of the list shows.
const DOMAINS_SHOWN: usize = 4;
/// Longest text of a configuration that is printed.
const TEXT_OCTETS_MAX: usize = 500;

fn list(known: &Known, as_json: bool) -> Exit {
    if as_json {
        print(&known.providers.iter().map(|provider| format!("{}\n", to_json(provider, known))).collect::<String>());
        return Exit::Ok;
    }
    let head = ["NAME", "IMAP", "POP3", "USED BY", "TITLE AND DOMAINS"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(known.providers.iter().map(|provider| row(provider, known))).collect();
    print(&table(&rows));
    Exit::Ok
}

fn row(provider: &Provider, known: &Known) -> [String; 5] {
    let server = |access: &Option<Access>| access.as_ref().map_or("-".to_owned(), |access| access.host.clone());
    let users = known.users(provider).len();
    let mut domains: Vec<String> = provider.domains.iter().take(DOMAINS_SHOWN).map(ToString::to_string).collect();
    if provider.domains.len() > DOMAINS_SHOWN {
        domains.push(format!("… {} in all", provider.domains.len()));
    }
    let own = if provider.built_in { "" } else { " (own)" };
    let title = harmless(&provider.title, TEXT_OCTETS_MAX);
    let about = if domains.is_empty() { format!("{title}{own}") } else { format!("{title}{own}: {}", domains.join(", ")) };
    [provider.id.clone(), server(&provider.imap), server(&provider.pop3), if users == 0 { "-".to_owned() } else { users.to_string() }, about]
}

fn show(known: &Known, name: &str, as_json: bool) -> Exit {
    let Some(provider) = known.iter().find(|provider| provider.id == name) else {
        let near = nearest(name, known.iter().map(|provider| provider.id.as_str()));
        let meant = near.map(|near| format!("did you mean `{}`? ", harmless(near, TEXT_OCTETS_MAX))).unwrap_or_default();
        eprintln!("error: there is no provider `{}`\nhint: {meant}`mailgather providers list` shows them", harmless(name, TEXT_OCTETS_MAX));
        return Exit::Usage;
    };
    if as_json {
        print(&format!("{}\n", to_json(provider, known)));
        return Exit::Ok;
    }
    let mut text = format!("{}: {}\n", provider.id, harmless(&provider.title, TEXT_OCTETS_MAX));
    let mut line = |label: &str, value: String| {
        if !value.is_empty() {
            text += &format!("  {label:<16} {}\n", harmless(&value, 10 * TEXT_OCTETS_MAX));
        }
    };
    line("from", if provider.built_in { "built in".to_owned() } else { "the configuration".to_owned() });
    line("imap", provider.imap.as_ref().map_or("-".to_owned(), in_words));
    line("pop3", provider.pop3.as_ref().map_or("-".to_owned(), in_words));
    line("login", provider.login.clone().unwrap_or_else(|| "email".to_owned()));
    line("domains", provider.domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    line("received hosts", provider.received_hosts.join(", "));
    line("folders", provider.special_folders.iter().map(|(of, name)| format!("{of} {name}")).collect::<Vec<_>>().join(", "));
    provider.limits.iter().for_each(|limit| line("limit", limit.clone()));
    provider.quirks.iter().for_each(|quirk| line("quirk", quirk.clone()));
    line("help", provider.help.clone().unwrap_or_default());
    let users = known.users(provider);
    line("used by", if users.is_empty() { "no collector".to_owned() } else { users.join(", ") });
    print(&text);
    Exit::Ok
}

fn in_words(access: &Access) -> String {
    format!("{} port {}, {}", access.host, access.port, access.tls.word())
}

fn to_json(provider: &Provider, known: &Known) -> Value {
    let access = |access: &Option<Access>| access.as_ref().map(|a| json!({"server": a.host, "port": a.port, "tls": a.tls.word()}));
    let folders: serde_json::Map<String, Value> = provider.special_folders.iter().map(|(of, name)| (of.clone(), json!(name))).collect();
    json!({
        "name": provider.id,
        "title": provider.title,
        "built_in": provider.built_in,
        "domains": provider.domains.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "imap": access(&provider.imap),
        "pop3": access(&provider.pop3),
        "login": provider.login.as_deref().unwrap_or("email"),
        "received_hosts": provider.received_hosts,
        "special_folders": folders,
        "limits": provider.limits,
        "quirks": provider.quirks,
        "help": provider.help,
        "used_by": known.users(provider),
    })
}
