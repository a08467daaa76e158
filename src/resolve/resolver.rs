//! The resolver: who gets a message.
//!
//! Stages, each asked only if the ones before yielded nobody: 0 the recipients of a journal report, 1 the configured headers, 2 the built-in
//! [probe](crate::resolve::probe), 3 the `for` of trusted Received fields, 4 [guessing](crate::resolve::guess) from To and Cc, only where
//! it is switched on, 5 the default box. (Stage 1 stands in place of 2 and 3.) The first header that yields a recipient decides: To and Cc
//! are not asked beside it, because the copies for the others are messages of their own in the same mailbox. `guess: union` is for
//! providers that put one copy into the box for all: there, To and Cc add to what an envelope header said.

use crate::mail::{Address, HeaderBlock, Recipient};
use crate::resolve::addresses::addresses;
use crate::resolve::journal::not_opened;
use crate::resolve::probe::PROBES;
use crate::resolve::resolution::FORWARD_TO;
pub use crate::resolve::resolution::{Evidence, Reason, Resolution};
use crate::resolve::rules::{Guess, Headers, Rules, Unresolved};
use crate::resolve::trail::{Decision, NOT_USED_MAX, SHOWN_MAX, Trail, shown};
use crate::resolve::trusted::{Trust, TrustedBlock};
pub use crate::resolve::walk::RECEIVED_FOR;
use crate::resolve::walk::{Found, Place, Walk, Wanted, add};

/// What the recipients of a journal report go by as evidence.
pub const JOURNAL: &str = "journal";

/// Finds the recipients of a message in `auto` mode, and says why. The same header and rules always give the same answer.
pub fn resolve(header: &HeaderBlock, rules: &Rules) -> (Resolution, Trail) {
    let block = TrustedBlock::find(header, &Trust::from(rules));
    let mut walk = Walk::new(header, rules, &block, block.describe());
    if let Some(why) = rules.journal.as_ref().and_then(|journal| not_opened(header, &block, journal)) {
        walk.record(&Place { header: JOURNAL, instance: None, note: why }, None, Decision::NotOpened, "");
    }
    let found = match &rules.headers {
        Headers::List(list) => list.iter().find_map(|rule| walk.configured(rule)),
        Headers::Auto => PROBES.iter().find_map(|probe| walk.probe(probe)).or_else(|| walk.received_for(3, &Wanted::default())),
    };
    let asks = match rules.guess {
        Guess::Off => false,
        Guess::On => found.is_none(),
        Guess::Union => true,
    };
    let guessed = if asks { walk.guess() } else { Ok(None) };
    let found = match (found, guessed) {
        // What an envelope header said stays the evidence: each copy is told apart by its own recipients then.
        (Some((mut recipients, evidence)), Ok(Some((more, _)))) => {
            add(&mut recipients, more);
            Ok(Some((recipients, evidence)))
        }
        (Some(found), Ok(None) | Err(Reason::ListMail)) => Ok(Some(found)),
        (None, Ok(found)) => Ok(found),
        (_, Err(reason)) => Err(reason),
    };
    let found = match found {
        Ok(None) if header.fields().is_empty() => Err(Reason::NoHeader),
        Ok(None) => Err(walk.seen.reason()),
        Ok(Some(found)) => Ok(found),
        Err(reason) => Err(reason),
    };
    let by = (!asks).then_some("an envelope header decided");
    conclude(header, rules, walk.trail, found, by)
}

/// Judges the recipients that a journal report names (stage 0). To and Cc of the original are not asked: the report knows them all, Bcc
/// included.
pub fn resolve_journal(recipients: &[Address], header_of_original: &HeaderBlock, rules: &Rules) -> (Resolution, Trail) {
    let block = TrustedBlock::default();
    let mut walk = Walk::new(header_of_original, rules, &block, "a journal report names the recipients".into());
    walk.rule = 1;
    let place = Place { header: JOURNAL, instance: None, note: String::new() };
    let found = walk.ask(&place, recipients.to_vec(), &Wanted::default());
    let found = if found.is_empty() { Err(walk.seen.reason()) } else { Ok((found, Evidence::without_field(0, JOURNAL))) };
    conclude(header_of_original, rules, walk.trail, found, Some("the journal report decided"))
}

/// The resolution of `forward_to`: everything goes to these addresses.
pub fn forward(to: &[Address]) -> (Resolution, Trail) {
    let mut recipients = Vec::new();
    add(&mut recipients, to.iter().cloned().map(Recipient::new));
    let mut trail = Trail::default();
    trail.result(recipients.iter().map(|recipient| recipient.address.to_string()), FORWARD_TO.into());
    if recipients.is_empty() {
        // The configuration refuses an empty list; without a recipient there is nothing to do but to leave the message where it is.
        return (Resolution::Leave(Reason::NoEnvelopeHeader), trail);
    }
    (Resolution::Recipients(recipients, Evidence::without_field(0, FORWARD_TO)), trail)
}

/// The verdict: the recipients that were found, or what `unresolved` says. `decided` says why To and Cc were not used.
fn conclude(header: &HeaderBlock, rules: &Rules, mut trail: Trail, found: Result<Found, Reason>, decided: Option<&str>) -> (Resolution, Trail) {
    let reason = match found {
        Ok((recipients, evidence)) if recipients.len() <= rules.max_recipients.max(1) => {
            trail.result(recipients.iter().map(|recipient| recipient.address.to_string()), String::new());
            if let Some(not_used) = decided.and_then(|decided| not_used(header, &recipients, decided)) {
                trail.not_used(not_used);
            }
            return (Resolution::Recipients(recipients, evidence), trail);
        }
        Ok(_) => Reason::TooManyRecipients,
        Err(reason) => reason,
    };
    let resolution = match (&rules.default_box, rules.unresolved) {
        (Some(address), Unresolved::DefaultBox) => Resolution::DefaultBox(Recipient::new(address.clone()), reason),
        (_, Unresolved::Hold) => Resolution::Hold(reason),
        (_, Unresolved::Discard) => Resolution::Discard(reason),
        _ => Resolution::Leave(reason),
    };
    let verdict = match &resolution {
        Resolution::DefaultBox(..) => format!("default box, because {reason}"),
        Resolution::Hold(_) => format!("held, because {reason}"),
        Resolution::Discard(_) => format!("discarded, because {reason}"),
        _ => format!("left on the server, because {reason}"),
    };
    trail.result(resolution.recipients().iter().map(|recipient| recipient.address.to_string()), verdict);
    (resolution, trail)
}

/// To and Cc, which the operator may wonder about.
fn not_used(header: &HeaderBlock, recipients: &[Recipient], decided: &str) -> Option<String> {
    let mut parts = Vec::new();
    for name in ["To", "Cc"] {
        let Some(field) = header.first(name) else { continue };
        let used = |address: &Address| recipients.iter().any(|r| r.address == *address || r.original.as_ref() == Some(address));
        let others: Vec<String> =
            addresses(&header.text(field)).iter().filter(|address| !used(address)).map(|a| shown(&a.to_string(), SHOWN_MAX)).collect();
        if !others.is_empty() {
            let more = if others.len() > NOT_USED_MAX { format!(" and {} more", others.len() - NOT_USED_MAX) } else { String::new() };
            parts.push(format!("{name}: {}{more}", others[..others.len().min(NOT_USED_MAX)].join(", ")));
        }
    }
    (!parts.is_empty()).then(|| format!("{} ({decided})", parts.join("; ")))
}
