//! Who writes the topmost Received, and what to trust where the present rules find nothing.

use super::{percent, shown};
use crate::mail::{Domain, HeaderBlock};
use crate::resolve::{Received, Rules, TrustedBlock};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Below this share of messages with a trusted block, in per cent, trust is proposed.
const FOUND_PERCENT_MIN: usize = 60;
/// The hosts that are proposed write at least this share of the topmost Received fields, in per cent.
const WRITERS_PERCENT_MIN: usize = 80;
/// Most parent domains that are proposed as `trusted_hosts`.
const HOSTS_MAX: usize = 3;
/// Most hosts that are remembered.
const WRITERS_MAX: usize = 1_000;

/// What was found about trust.
#[derive(Clone, Debug)]
pub struct TrustFound {
    /// Messages with a Received field.
    pub received: usize,
    /// Messages with a trusted block by the present rules.
    pub trusted: usize,
    /// The hosts that wrote the topmost Received, with the number of messages, the most frequent first.
    pub writers: Vec<(String, usize)>,
    /// What to set.
    pub advice: TrustAdvice,
}

/// What to set about trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TrustAdvice {
    /// Nothing: the present rules find the provider's fields.
    #[default]
    Keep,
    /// `trusted_hosts`
    Hosts(Vec<String>),
    /// `trusted_hops`
    Hops(usize),
    /// There is no Received field to start from.
    Nothing,
}

impl TrustAdvice {
    /// The rules with the advice followed.
    pub(super) fn apply(&self, rules: &mut Rules) {
        match self {
            TrustAdvice::Keep | TrustAdvice::Nothing => {}
            TrustAdvice::Hosts(hosts) => {
                rules.trusted_hosts = hosts.clone();
                rules.trusted_hops = None;
            }
            TrustAdvice::Hops(hops) => {
                rules.trusted_hosts = Vec::new();
                rules.trusted_hops = Some(*hops);
            }
        }
    }
}

pub(super) fn find(headers: &[HeaderBlock], rules: &Rules) -> TrustFound {
    let mut writers: BTreeMap<String, usize> = BTreeMap::new();
    let (mut received, mut trusted) = (0, 0);
    for header in headers {
        received += usize::from(header.first("Received").is_some());
        trusted += usize::from(!TrustedBlock::find(header, &rules.into()).is_empty());
        if let Some(host) = topmost_writer(header)
            && (writers.len() < WRITERS_MAX || writers.contains_key(&host))
        {
            *writers.entry(host).or_default() += 1;
        }
    }
    let mut writers: Vec<(String, usize)> = writers.into_iter().collect();
    writers.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let advice = match () {
        () if received == 0 => TrustAdvice::Nothing,
        () if percent(trusted, received) >= FOUND_PERCENT_MIN => TrustAdvice::Keep,
        () => advise(&writers, received),
    };
    TrustFound { received, trusted, writers, advice }
}

/// The host of the topmost Received that names one: a note of qmail about its processes does not.
fn topmost_writer(header: &HeaderBlock) -> Option<String> {
    let read = |field| Received::parse(&header.text(field));
    let topmost = header.all("Received").take(5).map(read).find(|received| !received.note)?;
    Some(topmost.by?.trim_end_matches('.').to_ascii_lowercase())
}

fn advise(writers: &[(String, usize)], received: usize) -> TrustAdvice {
    let mut parents: BTreeMap<String, usize> = BTreeMap::new();
    for (host, count) in writers {
        if let Some(parent) = parent(host) {
            *parents.entry(parent).or_default() += count;
        }
    }
    let mut parents: Vec<(String, usize)> = parents.into_iter().collect();
    parents.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    parents.truncate(HOSTS_MAX);
    let covered: usize = parents.iter().map(|(_, count)| count).sum();
    if percent(covered, received) >= WRITERS_PERCENT_MIN {
        // One that writes next to nothing needs no trust.
        let hosts = parents.into_iter().filter(|(_, count)| percent(*count, received) >= 5).map(|(host, _)| host);
        return TrustAdvice::Hosts(hosts.collect());
    }
    // The server that holds the mailbox wrote the topmost field, whatever it calls itself.
    TrustAdvice::Hops(1)
}

/// The domain under which a provider names its hosts: without the first label where at least two others stay, and more than a suffix like
/// `co.uk`. A name without a dot is no domain.
fn parent(host: &str) -> Option<String> {
    let domain: Domain = host.parse().ok()?;
    if host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
        return None;
    }
    let labels: Vec<&str> = domain.as_ascii().split('.').collect();
    if labels.len() < 2 {
        return None;
    }
    let suffix = labels[labels.len() - 1].len() == 2 && labels[labels.len() - 2].len() <= 3;
    let keep = if suffix { 3 } else { 2 };
    Some(labels[labels.len().saturating_sub(keep)..].join("."))
}

impl TrustFound {
    /// In words.
    pub(super) fn findings(&self) -> Vec<String> {
        let writers: Vec<String> =
            self.writers.iter().take(3).map(|(host, count)| format!("{} ({} %)", shown(host), percent(*count, self.received.max(1)))).collect();
        let by = if writers.is_empty() { "nobody who says so".to_owned() } else { writers.join(", ") };
        let found = format!(
            "trust: the topmost Received was written by {by}; the present rules find the provider's fields in {} of {} messages",
            self.trusted, self.received
        );
        match &self.advice {
            TrustAdvice::Keep => vec![found],
            TrustAdvice::Hosts(hosts) => {
                vec![format!("{found}: set trusted_hosts to {}, if these hosts are your provider's", shown(&hosts.join(", ")))]
            }
            TrustAdvice::Hops(hops) => {
                vec![format!("{found}, and the hosts have no domain in common: trusted_hops: {hops} believes the topmost alone")]
            }
            TrustAdvice::Nothing => {
                vec!["trust: no message has a Received field, so nothing tells the provider's fields from the sender's".to_owned()]
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let (hosts, hops) = match &self.advice {
            TrustAdvice::Hosts(hosts) => (Some(hosts), None),
            TrustAdvice::Hops(hops) => (None, Some(hops)),
            TrustAdvice::Keep | TrustAdvice::Nothing => (None, None),
        };
        let writers: Vec<Value> = self.writers.iter().take(20).map(|(host, count)| json!({"host": shown(host), "messages": count})).collect();
        json!({"received": self.received, "trusted": self.trusted, "writers": writers, "trusted_hosts": hosts, "trusted_hops": hops})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_of_hosts() {
        for (host, wanted) in [
            ("mx1.prov.example", Some("prov.example")),
            ("prov.example", Some("prov.example")),
            ("a.b.c.prov.example", Some("prov.example")),
            ("mx.prov.co.uk", Some("prov.co.uk")),
            ("prov.co.uk", Some("prov.co.uk")),
            ("mail", None),
            ("192.0.2.1", None),
            ("[192.0.2.1]", None),
        ] {
            assert_eq!(parent(host).as_deref(), wanted, "{host}");
        }
    }
}
