//! `mailgather audit COLLECTOR`: which header of the mailbox tells the recipient. Reads headers only, touches nothing.

use super::Common;
use super::exit::Exit;
use super::peek::{self, LAST_MAX, Look, named, names, print};
use crate::config::{CheckLocal, Collector, RecipientMode, SenderFallback};
use crate::mail::{Address, HeaderBlock};
use crate::resolve::Rules;
use crate::resolve::audit::{self as analysis, Mailbox};
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// The collector whose mailbox is looked at.
    #[arg(value_name = "COLLECTOR")]
    name: String,
    /// So many of the last messages.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=i64::from(LAST_MAX)))]
    last: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn audit(arguments: &Audit, common: &Common) -> Exit {
    try_audit(arguments, common).unwrap_or_else(|exit| exit)
}

fn try_audit(arguments: &Audit, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let Some(collector) = named(&loaded, &arguments.name) else {
        eprintln!("error: no collector is called `{}`\nhint: the configuration has: {}", arguments.name, names(&loaded));
        return Err(Exit::Usage);
    };
    let collector = peek::complete(collector, &loaded)?;
    let peeked = peek::headers(&collector, Look::Last(usize::from(arguments.last)))?;
    let (uids, headers): (Vec<String>, Vec<HeaderBlock>) = peeked.into_iter().map(|one| (one.uid.to_string(), one.header)).unzip();
    if headers.is_empty() {
        eprintln!("error: the mailbox of {} is empty: there is nothing to learn from", arguments.name);
        return Err(Exit::NoInput);
    }
    let audit = analysis::audit_mailbox(&headers, &rules(&collector), &Mailbox { uids: &uids, keys: &keys(&collector) });
    if arguments.json {
        let mut value = audit.to_json();
        value["collector"] = json!(arguments.name);
        print(&format!("{value}\n"));
    } else {
        print(&format!("{}: {}", arguments.name, audit.to_text()));
    }
    Ok(Exit::Ok)
}

/// What the collector has beside its rules.
fn keys(collector: &Collector) -> Vec<&'static str> {
    let sender = match &collector.recipient {
        RecipientMode::Auto(_, sender) | RecipientMode::ForwardTo(_, sender) => sender,
    };
    let keys = [("check_local", collector.check_local != CheckLocal::None), ("sender_fallback", *sender != SenderFallback::Default)];
    keys.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect()
}

/// The collector's rules; those that it could start with, if everything is forwarded so far.
fn rules(collector: &Collector) -> Rules {
    let own = || collector.email.clone().or_else(|| collector.server.username.parse::<Address>().ok());
    match &collector.recipient {
        RecipientMode::Auto(rules, _) => Rules { own: rules.own.clone().or_else(own), ..(**rules).clone() },
        RecipientMode::ForwardTo(..) => {
            let own = own();
            Rules {
                domains: own.iter().map(|address| address.domain().clone()).collect(),
                server_host: collector.server.host.clone(),
                provider_hosts: collector.received_hosts.clone(),
                own,
                ..Rules::default()
            }
        }
    }
}
