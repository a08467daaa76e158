//! `mailgather providers detect ADDRESS`: by the domain, then by what the domain says itself: autoconfig, SRV records (RFC 6186), else the mail
//! exchangers. What is found is shown, and never used by itself: who sits on the way to a name server does not choose who gets a password.

use super::autoconfig::{self, Source};
use super::{Exit, Known};
use crate::cli::peek::print;
use crate::cli::runtime;
use crate::config::{Access, Provider, TlsMode, provider_of, provider_of_hosts};
use crate::mail::outcome::harmless;
use crate::mail::{Address, Domain};
use crate::net::{Dns, DnsError};
use crate::proto::autoconfig::{Authentication, Login};
use clap::Args;
use futures_util::future::try_join;
use serde_json::{Value, json};
use std::net::IpAddr;

#[derive(Debug, Args)]
pub(in crate::cli) struct Detect {
    /// An address, or its domain.
    address: String,
    /// Ask nobody: by the known providers alone.
    #[arg(long, conflicts_with = "ispdb")]
    offline: bool,
    /// Ask Mozilla's database too, which so learns the domain (not the address).
    #[arg(long)]
    ispdb: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// RFC 6186 §3, RFC 8314 §5.1: with TLS from the first octet before the others.
const SERVICES: [(&str, &str, TlsMode, u16); 4] = [
    ("_imaps._tcp", "imap", TlsMode::Implicit, 993),
    ("_imap._tcp", "imap", TlsMode::StartTls, 143),
    ("_pop3s._tcp", "pop3", TlsMode::Implicit, 995),
    ("_pop3._tcp", "pop3", TlsMode::StartTls, 110),
];

/// What was found, and how.
pub(in crate::cli) struct Found<'k> {
    /// `domain`, `autoconfig`, `srv`, `ispdb`, `mx`
    pub by: &'static str,
    pub provider: Option<&'k Provider>,
    /// Protocol and server, the better one first.
    pub servers: Vec<(&'static str, Access)>,
    /// At the first of them, where the answer tells it.
    pub login: Option<(Login, Authentication)>,
    /// In words.
    pub why: String,
}

pub(super) fn detect(arguments: &Detect, known: &Known) -> Result<Exit, Exit> {
    let wanted = Wanted::parse(&arguments.address).ok_or_else(|| {
        eprintln!("error: `{}` is neither an address nor a domain", harmless(&arguments.address, 200));
        Exit::Usage
    })?;
    let found = match by_domain(known, &wanted.domain) {
        Some(found) => Some(found),
        None if arguments.offline => None,
        None => asked(known, &wanted, arguments.ispdb).inspect_err(|_| eprintln!("hint: `--offline` asks nobody"))?,
    };
    if arguments.json {
        print(&format!("{}\n", to_json(&wanted, found.as_ref())));
    } else if let Some(found) = &found {
        print(&format!("{}\n\n{}", harmless(&found.why, 1_000), yaml(&wanted, found)));
        let notes = found.provider.map(|provider| provider.quirks.as_slice()).unwrap_or_default();
        notes.iter().for_each(|note| eprintln!("note: {}", harmless(note, 500)));
    }
    if found.is_none() {
        let asked = if arguments.offline { "; nobody was asked (--offline)" } else { "; neither its autoconfig nor its SRV and MX records name one" };
        eprintln!("error: no provider is known for {}{asked}", wanted.domain);
        eprintln!("hint: ask whoever runs it for the IMAP server, and write `server: imap.{}` or what they say", wanted.domain);
        return Ok(Exit::NoInput);
    }
    Ok(Exit::Ok)
}

/// What the domain of an address says itself.
pub(in crate::cli) fn asked<'k>(known: &'k Known, wanted: &Wanted, ispdb: bool) -> Result<Option<Found<'k>>, Exit> {
    let dns = Dns::new(known.dns());
    runtime()?.block_on(by_asking(known, &dns, wanted, ispdb)).map_err(|error| {
        eprintln!("error: {error}\nhint: `service: {{dns: …}}` names other name servers");
        Exit::Unavailable
    })
}

/// Whose provider is looked for.
pub(in crate::cli) struct Wanted {
    pub address: Option<Address>,
    pub domain: Domain,
}

impl Wanted {
    pub(in crate::cli) fn parse(text: &str) -> Option<Wanted> {
        if let Ok(address) = text.parse::<Address>() {
            return Some(Wanted { domain: address.domain().clone(), address: Some(address) });
        }
        let domain = text.strip_prefix('@').unwrap_or(text).parse::<Domain>().ok().filter(|_| !text.contains(char::is_whitespace))?;
        Some(Wanted { address: None, domain })
    }

    /// The name of a collector for it.
    pub(in crate::cli) fn id(&self) -> String {
        let local = self.address.as_ref().map_or("", |address| address.local());
        let id: String = local.chars().map(|c| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' }).take(64).collect();
        if id.chars().any(|c| c.is_ascii_alphanumeric()) { id } else { "mailbox".to_owned() }
    }
}

pub(in crate::cli) fn by_domain<'k>(known: &'k Known, domain: &Domain) -> Option<Found<'k>> {
    let provider = provider_of(known.iter(), domain)?;
    let whose = if provider.built_in { "built in" } else { "from the configuration" };
    let why = format!("{domain} belongs to provider {} ({}, {whose})", provider.id, harmless(&provider.title, 200));
    Some(Found { by: "domain", provider: Some(provider), servers: servers_of(provider), login: None, why })
}

/// What the domain says itself comes before what others know of it.
async fn by_asking<'k>(known: &'k Known, dns: &Dns, wanted: &Wanted, ispdb: bool) -> Result<Option<Found<'k>>, DnsError> {
    let mut found = autoconfig::ask(known, dns, wanted, Source::OfTheDomain).await;
    if found.is_none() {
        found = by_srv(known, dns, &wanted.domain).await?;
    }
    if found.is_none() && ispdb {
        found = autoconfig::ask(known, dns, wanted, Source::Ispdb).await;
    }
    match found {
        Some(found) => Ok(Some(found)),
        None => by_mx(known, dns, &wanted.domain).await,
    }
}

async fn by_srv<'k>(known: &'k Known, dns: &Dns, domain: &Domain) -> Result<Option<Found<'k>>, DnsError> {
    let ask = |nth: usize| dns.srv(SERVICES[nth].0, domain);
    // Four questions at once; one that fails says that no answer can be believed to be "none".
    let ((imaps, imap), (pop3s, pop3)) = try_join(try_join(ask(0), ask(1)), try_join(ask(2), ask(3))).await?;
    let mut servers: Vec<(&'static str, Access)> = Vec::new();
    for ((_, protocol, tls, _), hosts) in SERVICES.into_iter().zip([imaps, imap, pop3s, pop3]) {
        let Some(first) = hosts.into_iter().next() else { continue };
        if !servers.iter().any(|(other, _)| *other == protocol) && first.host.parse::<Domain>().is_ok() {
            servers.push((protocol, Access { host: first.host, port: first.port, tls }));
        }
    }
    if servers.is_empty() {
        return Ok(None);
    }
    let (provider, named) = whose(known, &servers);
    Ok(Some(Found { by: "srv", provider, login: None, why: format!("the SRV records of {domain} name {named}"), servers }))
}

/// The known provider of one of these servers, and all of them in words.
pub(super) fn whose<'k>(known: &'k Known, servers: &[(&'static str, Access)]) -> (Option<&'k Provider>, String) {
    // An address names nobody: Proton's Bridge is at 127.0.0.1, and so is much else.
    let names = servers.iter().map(|(_, access)| access.host.as_str()).filter(|host| host.parse::<IpAddr>().is_err());
    let provider = names.into_iter().find_map(|host| known.iter().find(|provider| provider.serves(host)));
    let named: Vec<String> = servers.iter().map(|(protocol, access)| format!("{protocol} {}", access.host)).collect();
    let whose = provider.map_or(String::new(), |provider| format!(", of provider {}", provider.id));
    (provider, format!("{}{whose}", named.join(" and ")))
}

async fn by_mx<'k>(known: &'k Known, dns: &Dns, domain: &Domain) -> Result<Option<Found<'k>>, DnsError> {
    let hosts = dns.mx(domain).await?;
    Ok(provider_of_hosts(known.iter(), &hosts).map(|provider| {
        let host = hosts.iter().find(|host| provider.owns(host)).map_or("", String::as_str);
        let why = format!("{domain} takes its mail at {host}, of provider {} ({})", provider.id, harmless(&provider.title, 200));
        Found { by: "mx", provider: Some(provider), servers: servers_of(provider), login: None, why }
    }))
}

fn servers_of(provider: &Provider) -> Vec<(&'static str, Access)> {
    let named = [("imap", &provider.imap), ("pop3", &provider.pop3)];
    named.into_iter().filter_map(|(protocol, access)| access.clone().map(|access| (protocol, access))).collect()
}

/// A collector that can be pasted; what only the operator knows is said in comments.
fn yaml(wanted: &Wanted, found: &Found<'_>) -> String {
    let id = wanted.id();
    let address = wanted.address.as_ref().map_or_else(|| format!("you@{}", wanted.domain), ToString::to_string);
    let mut text = format!("collectors:\n  {id}:\n    email: {}\n", quoted(&address));
    match (found.by, found.provider) {
        ("domain", Some(provider)) => text += &format!("    # provider: {}   (found by the domain, so it need not be written)\n", provider.id),
        (_, Some(provider)) => text += &format!("    provider: {}\n", provider.id),
        _ => {}
    }
    let known = |access: &Access| found.provider.is_some_and(|provider| provider.serves(&access.host));
    if let Some((protocol, access)) = found.servers.first() {
        let same = known(access);
        let sign = if same { "# " } else { "" };
        if *protocol == "pop3" {
            text += "    protocol: pop3\n";
        }
        text += &format!("    {sign}server: {}\n", access.host);
        let usual = SERVICES.iter().any(|(_, of, tls, port)| of == protocol && *tls == access.tls && *port == access.port);
        if !usual {
            text += &format!("    {sign}port: {}\n", access.port);
        }
        if access.tls != TlsMode::Implicit {
            text += &format!("    {sign}tls: {{mode: {}}}\n", access.tls.word());
        }
    }
    text += &login_lines(found, &id);
    text += "    recipient: {forward_to: someone@here.example}   # or auto: see docs/recipients.md\n";
    text
}

/// Name and password, or what stands in its place.
fn login_lines(found: &Found<'_>, id: &str) -> String {
    let (login, authentication) = found.login.clone().unwrap_or((Login::Email, Authentication::Password));
    // A provider that is known says it already.
    let said = found.provider.and_then(|provider| provider.login.as_deref()).unwrap_or("email");
    let mut text = match login {
        _ if found.login.is_none() => String::new(),
        Login::Email if said != "email" => "    login: email\n".to_owned(),
        Login::LocalPart if said != "local_part" => "    login: local_part\n".to_owned(),
        Login::Email | Login::LocalPart => String::new(),
        Login::Name(name) => format!("    username: '{}'\n", name.replace('\'', "''")),
    };
    text += &match authentication {
        Authentication::Password => format!("    password: {{file: /etc/mailgather/secrets/{id}}}\n"),
        Authentication::Ntlm => format!("    auth: {{method: ntlm}}\n    password: {{file: /etc/mailgather/secrets/{id}}}\n"),
        Authentication::OAuth2 => {
            format!("    auth: {{method: oauth2, token: {{file: /etc/mailgather/secrets/{id}.token}}}}   # or {{command: …}}\n")
        }
    };
    text
}

/// In single quotes where YAML would read something else.
fn quoted(address: &str) -> String {
    let plain = address.starts_with(|c: char| c.is_alphanumeric()) && !address.contains([':', '#', '\'', '"', ' ', ',', '{', '[']);
    if plain { address.to_owned() } else { format!("'{}'", address.replace('\'', "''")) }
}

fn to_json(wanted: &Wanted, found: Option<&Found<'_>>) -> Value {
    let servers = found.map(|found| {
        let each = found.servers.iter().map(|(protocol, a)| json!({"protocol": protocol, "server": a.host, "port": a.port, "tls": a.tls.word()}));
        each.collect::<Vec<_>>()
    });
    let login = found.and_then(|found| found.login.as_ref());
    json!({
        "address": wanted.address.as_ref().map(ToString::to_string),
        "domain": wanted.domain.to_string(),
        "by": found.map(|found| found.by),
        "provider": found.and_then(|found| found.provider).map(|provider| &provider.id),
        "servers": servers.unwrap_or_default(),
        "login": login.map(|(login, _)| match login {
            Login::Email => "email",
            Login::LocalPart => "local_part",
            Login::Name(_) => "manual",
        }),
        "username": login.and_then(|(login, _)| if let Login::Name(name) = login { Some(name) } else { None }),
        "authentication": login.map(|(_, authentication)| match authentication {
            Authentication::Password => "password",
            Authentication::OAuth2 => "oauth2",
            Authentication::Ntlm => "ntlm",
        }),
        "yaml": found.map(|found| yaml(wanted, found)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_domains() {
        let of = |text: &str| Wanted::parse(text).map(|wanted| (wanted.domain.to_string(), wanted.id()));
        assert_eq!(of("anna.s@corp.example"), Some(("corp.example".into(), "anna_s".into())));
        assert_eq!(of("раз@почта.рф"), Some(("почта.рф".into(), "mailbox".into())));
        assert_eq!(of("@corp.example"), Some(("corp.example".into(), "mailbox".into())));
        assert_eq!(of("corp.example"), Some(("corp.example".into(), "mailbox".into())));
        assert_eq!((of(""), of("a b"), of("a@b@c d")), (None, None, None));
    }

    #[test]
    fn quotes() {
        assert_eq!(quoted("a@b.example"), "a@b.example");
        assert_eq!(quoted("раз@почта.рф"), "раз@почта.рф");
        assert_eq!(quoted("\"a b\"@c.example"), "'\"a b\"@c.example'");
        assert_eq!(quoted("*o'x@c.example"), "'*o''x@c.example'");
    }
}
