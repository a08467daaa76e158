//! Which fields of a header the provider wrote.
//!
//! Mail systems put their fields on top, so the trusted block is the top of the header down to the lowest Received field that the provider
//! wrote. A sender can forge any Received field below that one, with the provider's own names in it; so a field counts only if each field
//! above it counts, its `by` names a trusted host, and the field above says that the message came from inside: the peer that the server
//! verified (never the HELO word) is a trusted host, loopback or private, or it was a hand-over (LMTP, or no `from`). The first field that
//! took the message from outside is the last of the block. A submission (an authenticated client, a local process) is outside. A field
//! into which the peer's HELO may have written clauses of its own ([suspect](Received::suspect)) is nobody's.
//!
//! Which hosts are trusted:
//!
//! - `trusted_hops: N`: nobody asks for names; exactly the N topmost Received fields count.
//! - `trusted_hosts`: these, and their sub-domains.
//! - else automatic, from the host that is collected from: the host itself, its parent domain if it has three labels or more (there is no list
//!   of public suffixes here; the common shapes `co.uk`, `com.ru` are not taken for a parent); the hosts of the mailbox's provider
//!   (`received_hosts`, which the configuration knows: `mx.google.com` is not `imap.gmail.com`); and from the hosts that the MX records of
//!   the mailbox's domain name, in the same way. Providers name their customers' machines under their own domain too: a peer there is not
//!   inside if its name looks like one (`customer.rs`), unless it is the collected host or an MX host itself, or one of `received_hosts`.
//! - automatic, and the host is an IP address, `localhost` or a name without a dot: the operator's own server, whose mail names it does not
//!   tell. The topmost Received field was written by the server that holds the mailbox, so it counts, and its `by` is then a trusted
//!   host for those below, beside the hosts of the MX records.
//!
//! With no Received field at all, or with a topmost one that is not the provider's, nothing tells the provider's fields from the sender's:
//! nothing is trusted, and the trail says so.
//!
//! A server behind a proxy that hides its peers (all mail seems to come from a private address) takes everything from inside: there, set
//! `trusted_hops`.

use crate::mail::{Domain, HeaderBlock};
use crate::resolve::Rules;
use crate::resolve::customer::looks_rented;
use crate::resolve::received::{Peer, Received};
use std::net::{IpAddr, Ipv4Addr};

/// Most Received fields that are looked at for trust.
pub const TRUSTED_HOPS_MAX: usize = 100;

/// What decides about trust; the words are those of [`Rules`].
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// Hosts whose Received fields are believed; empty means automatic.
    pub trusted_hosts: &'a [String],
    /// Exactly this many topmost Received fields are believed.
    pub trusted_hops: Option<usize>,
    /// The fields under the last trusted Received are believed as well.
    pub envelope_below_received: bool,
    /// The host that is collected from.
    pub server_host: &'a str,
    /// Hosts of the MX records of the mailbox's domain, looked up outside: automatic takes them like `server_host`.
    pub mx_hosts: &'a [String],
    /// Hosts of the provider, with what is below them: automatic takes them as they are.
    pub provider_hosts: &'a [String],
}

impl<'a> Trust<'a> {
    /// Nothing is configured: automatic. What `forward_to` uses.
    pub fn automatic(server_host: &'a str) -> Self {
        Trust { trusted_hosts: &[], trusted_hops: None, envelope_below_received: false, server_host, mx_hosts: &[], provider_hosts: &[] }
    }
}

impl<'a> From<&'a Rules> for Trust<'a> {
    fn from(rules: &'a Rules) -> Self {
        Trust {
            trusted_hosts: &rules.trusted_hosts,
            trusted_hops: rules.trusted_hops,
            envelope_below_received: rules.envelope_below_received,
            server_host: &rules.server_host,
            mx_hosts: &rules.mx_hosts,
            provider_hosts: &rules.provider_hosts,
        }
    }
}

/// The trusted top of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedBlock {
    fields: usize,
    hops: Vec<Hop>,
    /// The last hop took the message from outside.
    ends_outside: bool,
    received: usize,
    why: String,
}

/// A trusted Received field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Which of the header's fields it is, from 0.
    pub field: usize,
    /// What it says.
    pub received: Received,
}

impl TrustedBlock {
    /// Finds the block.
    pub fn find(header: &HeaderBlock, trust: &Trust) -> Self {
        let received: Vec<usize> =
            header.fields().iter().enumerate().filter(|(_, field)| header.is(field, "Received")).map(|(index, _)| index).collect();
        let mut block = TrustedBlock { received: received.len(), ..TrustedBlock::default() };
        let limit = trust.trusted_hops.unwrap_or(usize::MAX).min(TRUSTED_HOPS_MAX);
        let mut hosts = Hosts::new(trust);
        let mut pending = Vec::new();
        block.why = if received.is_empty() {
            "the header has no Received field, so nothing tells the provider's fields from the sender's".into()
        } else {
            hosts.basis.clone()
        };
        for &field in received.iter().take(limit) {
            let hop = Hop { field, received: Received::parse(&header.text(&header.fields()[field])) };
            if trust.trusted_hops.is_some() {
                // The operator says where the provider ends.
                block.ends_outside = true;
                block.hops.push(hop);
                continue;
            }
            if hop.received.note {
                // qmail's note about its processes names no host: it counts if the next real field does.
                pending.push(hop);
                continue;
            }
            if !hosts.wrote(&hop.received, block.hops.is_empty()) {
                let nth = block.hops.len() + pending.len() + 1;
                block.why = match hop.received.by.as_deref().map_or("no host".to_owned(), shown) {
                    _ if hop.received.suspect => format!("{}; the sender may have written into Received {nth}", block.why),
                    by => format!("{}; Received {nth} was written by {by}, which is not among them", block.why),
                };
                break;
            }
            let inside = hosts.took_from_inside(&hop.received);
            block.hops.append(&mut pending);
            block.hops.push(hop);
            if !inside {
                block.ends_outside = true;
                block.why = format!("{}; Received {} took the message from outside", block.why, block.hops.len());
                break;
            }
        }
        let Some(last) = block.hops.last() else { return block };
        block.fields = last.field + 1;
        if trust.envelope_below_received {
            block.fields = received.iter().copied().find(|&field| field > last.field).unwrap_or(header.fields().len());
        }
        block
    }

    /// True if the field with this index (from 0, of [`HeaderBlock::fields`]) is inside.
    pub fn contains(&self, field: usize) -> bool {
        field < self.fields
    }

    /// How many of the header's fields are inside.
    pub fn len(&self) -> usize {
        self.fields
    }

    /// True if nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// The trusted Received fields, from the top.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// How many Received fields the header has, trusted or not.
    pub fn received(&self) -> usize {
        self.received
    }

    /// The hop that took the message from outside: the last one, unless the block ends for another reason.
    pub fn border(&self) -> Option<&Hop> {
        self.hops.last().filter(|_| self.ends_outside)
    }

    /// The block in words, for the trail.
    pub fn describe(&self) -> String {
        format!("{} of {} Received fields trusted ({})", self.hops.len(), self.received, self.why)
    }
}

/// Second labels that make a public suffix with a country's label, in the common cases.
const SECOND_LEVEL: &[&str] = &["ac", "co", "com", "edu", "gob", "gov", "go", "in", "msk", "ne", "net", "nov", "or", "org", "spb"];

/// Most hosts of MX records that are regarded.
const MX_HOSTS_MAX: usize = 20;

/// Longest host name that is shown.
const SHOWN_MAX: usize = 120;

struct Hosts {
    names: Vec<Host>,
    /// The names are learnt from the topmost field.
    learns: bool,
    basis: String,
}

pub(super) enum Host {
    /// The domain and those under it.
    Under(Domain),
    /// The same, found automatically: a peer below it may be a customer's.
    Around(Domain),
    /// Those under it only.
    Below(Domain),
    Literal(IpAddr),
}

impl Hosts {
    fn new(trust: &Trust) -> Self {
        if let Some(hops) = trust.trusted_hops {
            return Hosts { names: Vec::new(), learns: false, basis: format!("trusted_hops: {hops}") };
        }
        if !trust.trusted_hosts.is_empty() {
            let names = trust.trusted_hosts.iter().filter_map(|host| Host::named(host));
            return Hosts { names: names.collect(), learns: false, basis: format!("trusted_hosts: {}", shown(&trust.trusted_hosts.join(", "))) };
        }
        let mut hosts = Hosts { names: Vec::new(), learns: false, basis: String::new() };
        let mut shown_names: Vec<String> = Vec::new();
        for (nth, host) in std::iter::once(trust.server_host).chain(trust.mx_hosts.iter().take(MX_HOSTS_MAX).map(String::as_str)).enumerate() {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            let domain = host.parse::<Domain>().ok().filter(|_| literal(&host).is_none() && host.contains('.') && !host.ends_with(".localhost"));
            match domain {
                Some(domain) => shown_names.push(hosts.add(domain)),
                // An MX record that names no host with a domain tells nothing.
                None if nth > 0 => {}
                None => {
                    hosts.learns = true;
                    hosts.basis = format!("{} does not tell its mail name, so the topmost does", shown(&host));
                }
            }
        }
        for name in trust.provider_hosts {
            hosts.names.extend(name.parse().ok().map(Host::Under));
            shown_names.push(name.clone());
        }
        let mut parts = Vec::new();
        parts.extend(Some(std::mem::take(&mut hosts.basis)).filter(|text| !text.is_empty()));
        let mut seen = std::collections::HashSet::new();
        parts.extend(shown_names.into_iter().filter(|name| seen.insert(name.clone())));
        hosts.basis = format!("automatic: {}", parts.join(", "));
        hosts
    }

    /// Trusts a host and its parent; gives the wider of them as it is shown.
    fn add(&mut self, domain: Domain) -> String {
        let parent = parent(&domain);
        let shown = parent.as_ref().unwrap_or(&domain).to_string();
        self.names.extend([Some(domain), parent].into_iter().flatten().map(Host::Around));
        shown
    }

    /// True if a trusted host wrote the field.
    fn wrote(&mut self, received: &Received, topmost: bool) -> bool {
        let Some(by) = &received.by else { return false };
        if self.learns && topmost {
            match literal(by) {
                Some(ip) => self.names.push(Host::Literal(ip)),
                None => self.names.extend(by.parse().ok().map(Host::Around)),
            }
            return true;
        }
        // A hand-over inside a provider's network may name the host by its private address only (Gmail does).
        self.contains(by) || (received.from.is_none() && !received.submitted && literal(by).is_some_and(is_private))
    }

    fn took_from_inside(&self, received: &Received) -> bool {
        took_from(received, |peer| is_private(peer.ip) || peer.name.as_deref().is_some_and(|name| self.owns(name, peer.ip)))
    }

    /// True if the peer with this verified name is one of the provider's own, not of its customers'.
    fn owns(&self, name: &str, ip: IpAddr) -> bool {
        let domain = name.parse::<Domain>().ok();
        self.names.iter().any(|host| match (host, &domain) {
            (Host::Around(parent), Some(domain)) => domain.is_within(parent) && !looks_rented(domain, parent, ip),
            _ => host.covers(name),
        })
    }

    fn contains(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.covers(host))
    }
}

impl Host {
    /// As an operator writes it: with what is below it; `.example.org`: only that.
    pub(super) fn named(host: &str) -> Option<Self> {
        match (host.strip_prefix('.'), literal(host)) {
            (_, Some(ip)) => Some(Host::Literal(ip)),
            (Some(parent), None) => parent.parse().ok().map(Host::Below),
            (None, None) => host.parse().ok().map(Host::Under),
        }
    }

    pub(super) fn covers(&self, host: &str) -> bool {
        let (ip, domain) = (literal(host), host.parse::<Domain>().ok());
        match self {
            Host::Under(parent) | Host::Around(parent) => ip.is_none() && domain.is_some_and(|domain| domain.is_within(parent)),
            Host::Below(parent) => ip.is_none() && domain.is_some_and(|domain| domain != *parent && domain.is_within(parent)),
            Host::Literal(known) => ip == Some(*known),
        }
    }
}

impl Received {
    /// True if the message was handed over here, or came from a private address: not from another site.
    pub(super) fn took_from_private(&self) -> bool {
        took_from(self, |peer| is_private(peer.ip))
    }
}

fn took_from(received: &Received, inside: impl Fn(&Peer) -> bool) -> bool {
    let by_peers = !received.peers.is_empty() && received.peers.iter().all(inside);
    !received.submitted && (received.is_lmtp() || received.from.is_none() || by_peers)
}

fn parent(domain: &Domain) -> Option<Domain> {
    let (_, parent) = domain.as_ascii().split_once('.')?;
    let (second, top) = parent.split_once('.')?;
    let suffix = top.len() == 2 && SECOND_LEVEL.contains(&second);
    (!suffix).then(|| parent.parse().ok()).flatten()
}

fn literal(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.strip_prefix("IPv6:").unwrap_or(host).parse().ok()
}

/// Loopback, private (RFC 1918), unique local (RFC 4193) and link-local addresses, also inside an IPv4-mapped or 6to4 one (RFC 3056).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => {
            let s = ip.segments();
            let embedded = match s[0] {
                0x2002 => Some(Ipv4Addr::from((u32::from(s[1]) << 16) | u32::from(s[2]))),
                _ => ip.to_ipv4_mapped(),
            };
            ip.is_loopback() || (s[0] & 0xfe00) == 0xfc00 || (s[0] & 0xffc0) == 0xfe80 || embedded.is_some_and(|ip| is_private(IpAddr::V4(ip)))
        }
    }
}

fn shown(host: &str) -> String {
    crate::resolve::trail::shown(&host.parse::<Domain>().map_or_else(|_| host.to_owned(), |domain| domain.to_string()), SHOWN_MAX)
}
