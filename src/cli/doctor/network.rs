//! Names and targets.

use super::Patient;
use super::finding::Finding;
use crate::config::{Collector, Delivery, Endpoint, Target};
use crate::deliver::local_check::Exists;
use crate::mail::Address;
use crate::service::probe::{self, Cause};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Names, and targets, that are asked at once.
const AT_ONCE: usize = 8;
/// Most names that are asked for.
const NAMES_MAX: usize = 500;
/// How long a name may take.
const NAME_WAIT: Duration = Duration::from_secs(5);
/// Most that fail are shown one by one.
const SHOWN_MAX: usize = 10;

pub(super) async fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(loaded) = patient.loaded else { return Vec::new() };
    let collectors: Vec<&Arc<Collector>> = loaded.config.collectors.values().filter(|collector| collector.enabled).collect();
    let mut findings = names(&collectors).await;
    findings.extend(targets(&collectors).await);
    findings
}

/// The hosts that the configuration names.
async fn names(collectors: &[&Arc<Collector>]) -> Vec<Finding> {
    let mut hosts: BTreeSet<&str> = collectors.iter().map(|collector| collector.server.host.as_str()).collect();
    for collector in collectors {
        if let Target::Smtp(relay) | Target::Lmtp(relay) = &collector.delivery.target {
            hosts.extend(relay.endpoints.iter().filter_map(|endpoint| match endpoint {
                Endpoint::Tcp { host, .. } => Some(host.as_str()),
                Endpoint::Unix(_) => None,
            }));
        }
    }
    hosts.retain(|host| host.parse::<IpAddr>().is_err());
    let all = hosts.len();
    let asked = hosts.into_iter().take(NAMES_MAX).map(|host| async move {
        match tokio::time::timeout(NAME_WAIT, tokio::net::lookup_host((host, 0))).await {
            Err(_) => Some(format!("`{host}`: no answer in {} s", NAME_WAIT.as_secs())),
            Ok(Err(error)) => Some(format!("`{host}`: {error}")),
            Ok(Ok(mut addresses)) => addresses.next().is_none().then(|| format!("`{host}` has no address")),
        }
    });
    let failed: Vec<String> = futures_util::stream::iter(asked).buffered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let hint = "check the spelling, and the name servers of this machine: /etc/resolv.conf";
    let mut findings: Vec<Finding> = failed.iter().take(SHOWN_MAX).map(|why| Finding::failed("dns", why.clone(), hint)).collect();
    if failed.len() > SHOWN_MAX {
        findings.push(Finding::failed("dns", format!("{} further names do not resolve", failed.len() - SHOWN_MAX), hint));
    }
    match (failed.len(), all) {
        (_, 0) => findings.push(Finding::ok("dns", "the configuration names addresses only")),
        (0, all) => findings.push(Finding::ok("dns", format!("all {} names resolve", all.min(NAMES_MAX)))),
        _ => {}
    }
    findings
}

/// The targets: that each greets, and takes the default box and the addresses that mail is forwarded to. No mail is sent.
async fn targets(collectors: &[&Arc<Collector>]) -> Vec<Finding> {
    // Collectors mostly have one target: it is asked once, for the recipients of all of them.
    let mut targets: Vec<(&Arc<Delivery>, &Arc<Collector>, BTreeSet<Address>)> = Vec::new();
    for collector in collectors {
        let recipients = probe::recipients(collector);
        match targets.iter_mut().find(|(delivery, ..)| delivery.target == collector.delivery.target) {
            Some((.., known)) => known.extend(recipients),
            None => targets.push((&collector.delivery, collector, recipients.into_iter().collect())),
        }
    }
    let asked = targets.iter().map(|(delivery, _, recipients)| async move {
        let recipients: Vec<Address> = recipients.iter().cloned().collect();
        let inspected = probe::inspect_target(delivery, &recipients).await;
        // Who does not answer knows nobody.
        let known = match inspected.iter().any(|inspection| inspection.found.is_ok()) {
            true => probe::known_recipients(delivery, &recipients).await,
            false => Vec::new(),
        };
        (inspected, known)
    });
    let asked: Vec<_> = futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await;
    let (mut inspected, mut findings) = (Vec::new(), BTreeMap::new());
    for (of_target, known) in asked {
        let place = of_target.first().map(|inspection| inspection.place.clone()).unwrap_or_default();
        inspected.extend(of_target);
        for (address, exists) in known {
            let hint = "correct `default_box` or `forward_to`, or make the mailbox: mail for it would be refused";
            let finding = match exists {
                Exists::Yes => Finding::ok("target", format!("{place}: takes mail for {address}")),
                Exists::No(reply) => Finding::failed("target", format!("{place}: takes no mail for {address}: {reply}"), hint),
                Exists::Unknown(why) => Finding::warning("target", format!("{place}: does not say whether it takes mail for {address}: {why}"), hint),
            };
            findings.insert(format!("{place} {address}"), finding);
        }
    }
    for inspection in inspected {
        let place = inspection.place;
        let finding = match inspection.found {
            Ok(words) => Finding::ok("target", format!("{place}: {words}")),
            Err(diagnosis) => {
                let cause = Cause::Target(place.clone(), Box::new(diagnosis));
                Finding::failed("target", cause.message(), cause.hint())
            }
        };
        for doubt in inspection.doubts {
            findings.insert(format!("{place} {doubt}"), Finding::warning("target", format!("{place}: {doubt}"), "docs/delivery.md"));
        }
        findings.insert(place, finding);
    }
    findings.into_values().collect()
}
