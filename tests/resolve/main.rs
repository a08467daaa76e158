//! The resolver against the rules of the field, section by section, a corpus of realistic headers, and whatever octets there may be.

use bytes::Bytes;
use mailgather::mail::header::Edit;
use mailgather::mail::{Address, Canonical, CollectorId, Fingerprint, HeaderBlock, MailboxId, Recipient, ReversePath, TraceId};
use mailgather::resolve::*;
use std::collections::BTreeSet;

mod corpus;
mod dress;
mod journal;
mod properties;
mod section_10_stamp;
mod section_1_parsing;
mod section_2_trusted_block;
mod section_3_acceptance;
mod section_3_guess;
mod section_3_order;
mod section_4_sender;
mod section_6_loops;
mod section_9_edits;
mod trails;
mod whatever_octets;

fn canonical(octets: &[u8]) -> Bytes {
    let (mut canonical, mut out) = (Canonical::new(), Vec::new());
    canonical.push(octets, &mut out);
    canonical.finish(&mut out);
    Bytes::from(out)
}

fn header(text: &str) -> HeaderBlock {
    HeaderBlock::parse(canonical(text.as_bytes()))
}

fn a(text: &str) -> Address {
    text.parse().unwrap()
}

fn alias(from: &str, to: &[&str]) -> Alias {
    let (local, domain) = from.rsplit_once('@').unwrap();
    Alias { local: local.into(), domain: domain.parse().unwrap(), to: to.iter().map(|text| a(text)).collect() }
}

/// A catch-all mailbox `box@provider.example` at `imap.provider.example`.
fn rules() -> Rules {
    Rules {
        headers: Headers::Auto,
        domains: BTreeSet::from(["provider.example".parse().unwrap(), "local.example".parse().unwrap()]),
        server_host: "imap.provider.example".into(),
        own: Some(a("box@provider.example")),
        default_box: Some(a("postmaster@local.example")),
        unresolved: Unresolved::DefaultBox,
        ..Rules::default()
    }
}

fn who(text: &str, rules: &Rules) -> Vec<String> {
    match resolve(&header(text), rules).0 {
        Resolution::Recipients(recipients, _) => recipients.iter().map(|r| r.address.to_string()).collect(),
        Resolution::DefaultBox(_, reason) => vec![format!("default: {}", reason.code())],
        Resolution::Leave(reason) => vec![format!("leave: {}", reason.code())],
        Resolution::Hold(reason) => vec![format!("hold: {}", reason.code())],
        Resolution::Discard(reason) => vec![format!("discard: {}", reason.code())],
    }
}

const OUTSIDE: &str = "Received: from x (x.example [203.0.113.7]) by mx.provider.example with ESMTP id 1; d\n";

/// As the configuration knows them.
fn hosts_of_provider(server: &str) -> Vec<String> {
    let all = mailgather::config::presets();
    mailgather::config::provider_of_hosts(all.iter().map(|p| &**p), &[server.to_owned()]).map(|p| p.received_hosts.clone()).unwrap_or_default()
}

fn mailbox(login: &str) -> MailboxId {
    MailboxId { protocol: "imap", host: "imap.provider.example".into(), login: login.into() }
}

/// The message's header as it leaves: the edits applied.
fn edited(header: &HeaderBlock, resolution: &Resolution) -> String {
    apply(header.octets(), &edits(header, resolution, resolution.recipients(), "gate.example", &HeaderOptions::default()))
}

/// The octets with the edits applied, line ends as LF.
fn apply(octets: &[u8], edits: &[Edit]) -> String {
    let (mut at, mut out) = (0, Vec::new());
    for edit in edits {
        out.extend_from_slice(&octets[at..edit.cut.start]);
        out.extend_from_slice(&edit.with);
        at = edit.cut.end;
    }
    out.extend_from_slice(&octets[at..]);
    String::from_utf8_lossy(&out).replace("\r\n", "\n")
}
