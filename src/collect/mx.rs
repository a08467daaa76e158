//! `trusted_hosts: mx`: the mail exchangers that a collector's rules ask for, filled in before a pass, so that the resolver stays pure.

use crate::config::{Collector, RecipientMode};
use crate::net::{Dns, DnsError};
use std::sync::Arc;

/// The collector, complete for resolving. While its mail exchangers are unknown nothing is collected: an envelope header that is believed or not
/// by what a name server did that moment would send mail to the wrong people.
pub async fn with_mx_hosts(collector: &Arc<Collector>, dns: &Dns) -> Result<Arc<Collector>, DnsError> {
    let RecipientMode::Auto(rules, _) = &collector.recipient else { return Ok(Arc::clone(collector)) };
    let Some(domain) = &rules.mx_of else { return Ok(Arc::clone(collector)) };
    let mx_hosts = dns.mx(domain).await?;
    let mut complete = Collector::clone(collector);
    if let RecipientMode::Auto(rules, _) = &mut complete.recipient {
        Arc::make_mut(rules).mx_hosts = mx_hosts;
    }
    Ok(Arc::new(complete))
}
