//! What a message is dressed in for its delivery, rule by rule: reverse-path (section 4 of the rules), loops (6), repair of the header (8),
//! edits (9), trace fields (10). Each table is named after its section.

use super::*;

mod s10_received;
mod s4_sender;
mod s6_loops;
mod s8_repair;
mod s9_edits;
mod whatever_octets;

fn to(addresses: &[&str]) -> Vec<Recipient> {
    addresses.iter().map(|address| Recipient::new(a(address))).collect()
}

/// What the resolver would say, found by this stage in this header.
fn resolved(stage: u8, name: &str, field: Option<usize>, recipients: &[&str]) -> Resolution {
    Resolution::Recipients(to(recipients), Evidence { stage, header: name.into(), instance: 1, field })
}

fn default_box() -> Resolution {
    Resolution::DefaultBox(Recipient::new(a("postmaster@local.example")), Reason::NoEnvelopeHeader)
}
