//! A mail provider: where its mailboxes are, how one logs in, and what is special about it. Some are built in (`providers.yaml`); an
//! operator's own come first.

use super::{Protocol, TlsMode};
use crate::mail::Domain;
use std::fmt;

/// A built-in or a configured provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The key of its block.
    pub id: String,
    /// For people.
    pub title: String,
    /// It came with the program.
    pub built_in: bool,
    /// The domains of its mailboxes.
    pub domains: Vec<ProviderDomain>,
    /// What its collectors speak, unless they say otherwise.
    pub protocol: Option<Protocol>,
    /// Where IMAP is.
    pub imap: Option<Access>,
    /// Where POP3 is.
    pub pop3: Option<Access>,
    /// The login name, as `login` says it.
    pub login: Option<String>,
    /// The hosts whose Received fields are theirs, with what is below them; the hosts that their MX records name are among them.
    pub received_hosts: Vec<String>,
    /// Special use and name of folders.
    pub special_folders: Vec<(String, String)>,
    /// For people: what they allow.
    pub limits: Vec<String>,
    /// For people: what is special about them.
    pub quirks: Vec<String>,
    /// Their own page about it.
    pub help: Option<String>,
}

/// A server of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the channel is secured.
    pub tls: TlsMode,
}

/// An entry of `domains` of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderDomain {
    /// This one.
    Exactly(Domain),
    /// All below it, but not it: `*.corp.example`.
    Below(Domain),
}

impl fmt::Display for ProviderDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProviderDomain::Exactly(domain) => domain.fmt(f),
            ProviderDomain::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl Provider {
    /// How exactly it claims a domain: the more, the better; `None` if it does not.
    pub fn claims(&self, domain: &Domain) -> Option<usize> {
        let of = |own: &ProviderDomain| match own {
            ProviderDomain::Exactly(own) => (own == domain).then_some(usize::MAX),
            ProviderDomain::Below(own) => (own != domain && domain.is_within(own)).then(|| own.as_ascii().len()),
        };
        self.domains.iter().filter_map(of).max()
    }

    /// The server for a protocol.
    pub fn access(&self, protocol: Protocol) -> Option<&Access> {
        match protocol {
            Protocol::Imap => self.imap.as_ref(),
            Protocol::Pop3 => self.pop3.as_ref(),
            Protocol::Exchange | Protocol::Graph => None,
        }
    }

    /// True if this is the name of one of its servers.
    pub fn serves(&self, host: &str) -> bool {
        [&self.imap, &self.pop3].into_iter().flatten().any(|access| access.host.eq_ignore_ascii_case(host))
    }

    /// True if a host is one of its own: of a mail exchanger.
    pub fn owns(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').parse::<Domain>().ok();
        let within = |own: &String| own.parse::<Domain>().ok().zip(host.as_ref()).is_some_and(|(own, host)| host.is_within(&own));
        self.serves_domain(host.as_ref()) || self.received_hosts.iter().any(within)
    }

    fn serves_domain(&self, host: Option<&Domain>) -> bool {
        host.is_some_and(|host| self.serves(host.as_ascii()))
    }
}

/// The provider that claims a domain most exactly; of equals the first, so operators' own stand in front.
pub fn provider_of<'p>(providers: impl IntoIterator<Item = &'p Provider>, domain: &Domain) -> Option<&'p Provider> {
    let mut best: Option<(usize, &Provider)> = None;
    for provider in providers {
        // One's own beats a built-in one, however exact that is.
        let better = |claim: usize| best.is_none_or(|(other, known)| provider.built_in == known.built_in && claim > other);
        if let Some(claim) = provider.claims(domain).filter(|claim| better(*claim)) {
            best = Some((claim, provider));
        }
    }
    best.map(|(_, provider)| provider)
}

/// Whose mail exchangers these are: the first that owns one of the hosts, the first host first.
pub fn provider_of_hosts<'p>(providers: impl IntoIterator<Item = &'p Provider> + Clone, hosts: &[String]) -> Option<&'p Provider> {
    hosts.iter().find_map(|host| providers.clone().into_iter().find(|provider| provider.owns(host)))
}
