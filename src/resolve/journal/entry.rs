//! Where a journal report came in: only one from a host that sends such reports is opened. From is the sender's word, and a report dictates
//! recipients.
//!
//! The lowest trusted Received field tells it. It took the message
//!
//! - from a peer whose verified name is one of `journal_hosts`: believed, whatever stands below. Nobody else has such a name.
//! - from inside (a private or loopback address, LMTP, no `from`), and it is the lowest field of all: the report was made there. With further
//!   fields below, which nobody vouches for, the message has been elsewhere before: a filter or proxy at a private address hands over everybody's mail.
//! - from anybody else, from a user who logged in to send, or through a host that is not trusted: not believed.
//!
//! With no Received field at all a message did not come by SMTP, where each server has to add one (RFC 5321 §4.4): the server that holds the
//! mailbox put it there itself. Nothing is trusted then, and nothing has to be. Where there are fields and none of them is trusted, it is unknown how
//! the message came.

use crate::mail::Domain;
use crate::resolve::client::peer;
use crate::resolve::customer::looks_rented;
use crate::resolve::rules::{Journal, JournalKind};
use crate::resolve::trail::{SHOWN_MAX, shown};
use crate::resolve::trusted::{Host, TrustedBlock};

/// Whether a report may have come in as it did; if not, why not.
pub(super) fn entry(block: &TrustedBlock, journal: &Journal) -> Result<(), String> {
    if block.received() == 0 {
        return Ok(());
    }
    let Some(last) = block.hops().last() else {
        return Err("it did not come through a trusted host (see trusted_hosts, trusted_hops)".into());
    };
    let named = |host: &str| format!("it came from {}; name it in journal_hosts", shown(host, SHOWN_MAX));
    let received = &last.received;
    // A web page (`with HTTP`) and a program of the same host (`with local`) are users of the provider, as much as a login is.
    let by_hand = received.with.as_deref().map(str::to_ascii_uppercase).is_some_and(|with| with.starts_with("HTTP") || with.starts_with("LOCAL"));
    if received.submitted || received.note || by_hand {
        return Err("it came from a user who logged in to send, or by a Received field into which a sender may have written".into());
    }
    let peer = peer(received);
    if let Some((ip, Some(name))) = &peer
        && hosts(journal).iter().any(|host| host.covers(name) && !(journal.hosts.is_empty() && is_rented(name, host, *ip)))
    {
        return Ok(());
    }
    if received.took_from_private() && block.received() == block.hops().len() {
        return Ok(());
    }
    Err(match peer {
        Some((_, Some(name))) => named(&name),
        // An address without a name can be nobody's in a list of names.
        Some((ip, None)) => format!("it came from {ip}, which has no verified name that journal_hosts could hold; see trusted_hosts"),
        None => format!(
            "it came through {}, and nothing trusted says from where; see trusted_hosts",
            shown(received.by.as_deref().unwrap_or("?"), SHOWN_MAX)
        ),
    })
}

/// `journal_hosts`, or what they are by default.
fn hosts(journal: &Journal) -> Vec<Host> {
    let configured = journal.hosts.iter().filter_map(|host| Host::named(host));
    let built_in = match (journal.hosts.is_empty(), journal.kind) {
        (false, _) => Vec::new(),
        (true, JournalKind::Google) => vec!["google.com".parse().ok()],
        (true, JournalKind::Exchange) => vec!["outlook.com".parse().ok(), Some(journal.from.domain().clone())],
    };
    configured.chain(built_in.into_iter().flatten().map(Host::Around)).collect()
}

/// The journal's sender may have its address at a provider that has other customers.
fn is_rented(name: &str, host: &Host, ip: std::net::IpAddr) -> bool {
    match (host, name.parse::<Domain>()) {
        (Host::Around(parent), Ok(name)) => looks_rented(&name, parent, ip),
        _ => false,
    }
}
