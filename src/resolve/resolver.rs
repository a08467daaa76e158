//! The resolver: who gets a message.
//!
//! Stages, each asked only if the ones before yielded nobody: 1 the configured headers, 2 the built-in [probe](crate::resolve::probe),
//! 3 the `for` of trusted Received fields, 5 the default box. (Stage 1 stands in place of 2 and 3; stages 0 and 4, journals and guessing,
//! do not exist yet.) The first header that yields a recipient decides: To and Cc are never asked, because the copies for the others are
//! messages of their own in the same mailbox.

use crate::mail::{Address, HeaderBlock, Recipient};
use crate::resolve::accept::{accept, without_prefix};
use crate::resolve::addresses::addresses;
use crate::resolve::probe::{PROBES, Probe};
use crate::resolve::rules::{HeaderRule, Headers, Rules, Take, Unresolved};
use crate::resolve::trail::{Decision, NOT_USED_MAX, SHOWN_MAX, Step, Trail, shown};
use crate::resolve::trusted::{Hop, Trust, TrustedBlock};
use std::collections::HashSet;
use std::fmt;

/// The name by which the for-clause of Received fields goes in rules and trails.
pub const RECEIVED_FOR: &str = "Received:for";

/// Who gets the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// These; never empty.
    Recipients(Vec<Recipient>, Evidence),
    /// The default box, because of the reason.
    DefaultBox(Recipient, Reason),
    /// Nobody: it stays at the source, because of the reason.
    Leave(Reason),
    /// Nobody: it is held.
    Hold(Reason),
    /// Nobody: it is thrown away.
    Discard(Reason),
}

impl Resolution {
    /// The recipients; empty for [`Resolution::Leave`] only.
    pub fn recipients(&self) -> &[Recipient] {
        match self {
            Resolution::Recipients(recipients, _) => recipients,
            Resolution::DefaultBox(recipient, _) => std::slice::from_ref(recipient),
            Resolution::Leave(_) | Resolution::Hold(_) | Resolution::Discard(_) => &[],
        }
    }
}

/// What named the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Which stage: 1 configured, 2 probe, 3 Received-for; 0 for `forward_to`.
    pub stage: u8,
    /// The header's name, [`RECEIVED_FOR`] or `forward_to`.
    pub header: String,
    /// Which instance of the header, from the top, 1-based; 0 for `forward_to`.
    pub instance: usize,
    /// Which of the header's fields, from 0.
    pub field: Option<usize>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            0 => f.write_str(&self.header),
            stage => write!(f, "{} {} (stage {stage})", self.header, self.instance),
        }
    }
}

/// Why nobody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The message has no header.
    NoHeader,
    /// No header that was asked for is there.
    NoEnvelopeHeader,
    /// Such headers stand outside the trusted block only, where a sender could have written them.
    UntrustedEnvelopeHeader,
    /// They name the collected mailbox only.
    OwnAddressOnly,
    /// They name addresses of other domains only.
    ForeignAddressOnly,
    /// They name more than `max_recipients`. Nobody is left out silently: the default box gets the message.
    TooManyRecipients,
}

impl Reason {
    /// A stable word, for headers, JSON and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Reason::NoHeader => "no_header",
            Reason::NoEnvelopeHeader => "no_envelope_header",
            Reason::UntrustedEnvelopeHeader => "untrusted_envelope_header",
            Reason::OwnAddressOnly => "own_address_only",
            Reason::ForeignAddressOnly => "foreign_address_only",
            Reason::TooManyRecipients => "too_many_recipients",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::NoHeader => "the message has no header",
            Reason::NoEnvelopeHeader => "no header tells the envelope recipient",
            Reason::UntrustedEnvelopeHeader => "only headers that a sender could have written tell a recipient (see trusted_hosts, trusted_hops)",
            Reason::OwnAddressOnly => "the headers name the collected mailbox only",
            Reason::ForeignAddressOnly => "the headers name addresses of other domains only (see domains, map, aliases)",
            Reason::TooManyRecipients => "more recipients than max_recipients",
        })
    }
}

/// Finds the recipients of a message in `auto` mode, and says why. The same header and rules always give the same answer.
pub fn resolve(header: &HeaderBlock, rules: &Rules) -> (Resolution, Trail) {
    let block = TrustedBlock::find(header, &Trust::from(rules));
    let mut trail = Trail::default();
    trail.trust(block.describe());
    let mut walk = Walk { header, rules, block: &block, trail, rule: 0, seen: Seen::default() };
    let found = match &rules.headers {
        Headers::List(list) => list.iter().find_map(|rule| walk.configured(rule)),
        Headers::Auto => PROBES.iter().find_map(|probe| walk.probe(probe)).or_else(|| walk.received_for(3, &Wanted::default())),
    };
    let (seen, mut trail) = (walk.seen, walk.trail);
    let reason = match found {
        Some((recipients, evidence)) if recipients.len() <= rules.max_recipients.max(1) => {
            trail.result(recipients.iter().map(|recipient| recipient.address.to_string()), String::new());
            if let Some(not_used) = not_used(header, &recipients) {
                trail.not_used(not_used);
            }
            return (Resolution::Recipients(recipients, evidence), trail);
        }
        Some(_) => Reason::TooManyRecipients,
        None if header.fields().is_empty() => Reason::NoHeader,
        None => seen.reason(),
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

/// The resolution of `forward_to`: everything goes to these addresses.
pub fn forward(to: &[Address]) -> (Resolution, Trail) {
    let mut recipients = Vec::new();
    add(&mut recipients, to.iter().cloned().map(Recipient::new));
    let mut trail = Trail::default();
    trail.result(recipients.iter().map(|recipient| recipient.address.to_string()), "forward_to".into());
    if recipients.is_empty() {
        // The configuration refuses an empty list; without a recipient there is nothing to do but to leave the message where it is.
        return (Resolution::Leave(Reason::NoEnvelopeHeader), trail);
    }
    (Resolution::Recipients(recipients, Evidence { stage: 0, header: "forward_to".into(), instance: 0, field: None }), trail)
}

type Found = (Vec<Recipient>, Evidence);

struct Walk<'a> {
    header: &'a HeaderBlock,
    rules: &'a Rules,
    block: &'a TrustedBlock,
    trail: Trail,
    rule: usize,
    seen: Seen,
}

/// What was met on the way, for the reason.
#[derive(Default)]
struct Seen {
    own: bool,
    foreign: bool,
    untrusted: bool,
}

impl Seen {
    fn reason(&self) -> Reason {
        match self {
            Seen { foreign: true, .. } => Reason::ForeignAddressOnly,
            Seen { untrusted: true, .. } => Reason::UntrustedEnvelopeHeader,
            Seen { own: true, .. } => Reason::OwnAddressOnly,
            _ => Reason::NoEnvelopeHeader,
        }
    }
}

/// What a rule asks for.
#[derive(Clone, Copy, Default)]
struct Wanted<'a> {
    index: Option<usize>,
    strip_prefix: Option<&'a str>,
    take: Option<Take>,
    trust_any: bool,
    expanded: bool,
}

/// Where an address stands.
struct Place<'a> {
    header: &'a str,
    instance: usize,
    field: usize,
    stage: u8,
    note: String,
}

impl Walk<'_> {
    fn configured(&mut self, rule: &HeaderRule) -> Option<Found> {
        let wanted = Wanted {
            index: rule.index,
            strip_prefix: rule.strip_prefix.as_deref(),
            take: Some(rule.take),
            trust_any: rule.trust_any,
            expanded: false,
        };
        if rule.header.eq_ignore_ascii_case(RECEIVED_FOR) {
            return self.received_for(1, &wanted);
        }
        self.header_field(&rule.header, 1, &wanted, true)
    }

    fn probe(&mut self, probe: &Probe) -> Option<Found> {
        self.header_field(probe.header, 2, &Wanted { expanded: probe.expanded, ..Wanted::default() }, probe.walk)
    }

    /// Asks the instances of one header: all from the top, or the topmost believed one alone.
    fn header_field(&mut self, name: &str, stage: u8, wanted: &Wanted, walk: bool) -> Option<Found> {
        self.rule += 1;
        let header = self.header;
        let instances = header.fields().iter().enumerate().filter(|(_, field)| header.is(field, name)).map(|(index, _)| index);
        let (mut asked, mut outside) = (0, 0);
        for (nth, field) in instances.enumerate() {
            let instance = nth + 1;
            if wanted.index.is_some_and(|index| index != instance) {
                continue;
            }
            if !wanted.trust_any && !self.block.contains(field) {
                outside += 1;
                continue;
            }
            asked += 1;
            let place =
                Place { header: name, instance, field, stage, note: if instance > 1 { format!("instance {instance}") } else { String::new() } };
            let found = self.ask(&place, addresses(&header.text(&header.fields()[field])), wanted);
            if found.is_some() || !walk {
                return found;
            }
        }
        if asked == 0 {
            self.seen.untrusted |= outside > 0;
            self.note(name, None, if outside > 0 { Decision::Untrusted } else { Decision::Absent });
        }
        None
    }

    /// Stage 3: the `for` of Received fields, topmost to lowest. A field that names several recipients tells nobody which copy this is.
    fn received_for(&mut self, stage: u8, wanted: &Wanted) -> Option<Found> {
        self.rule += 1;
        let block = self.block;
        let any: Vec<Hop>;
        let hops = if wanted.trust_any {
            let fields = self.header.fields().iter().enumerate().filter(|(_, field)| self.header.is(field, "Received"));
            let parse = |(field, value)| Hop { field, received: super::received::Received::parse(&self.header.text(value)) };
            any = fields.take(super::trusted::TRUSTED_HOPS_MAX).map(parse).collect();
            &any[..]
        } else {
            block.hops()
        };
        let mut named = false;
        for (nth, hop) in hops.iter().enumerate() {
            if wanted.index.is_some_and(|index| index != nth + 1) || hop.received.for_.is_empty() {
                continue;
            }
            named = true;
            let by = hop.received.by.as_deref().unwrap_or("?");
            let by = by.parse::<crate::mail::Domain>().map_or_else(|_| by.to_owned(), |by| by.to_string());
            let place = Place {
                header: RECEIVED_FOR,
                instance: nth + 1,
                field: hop.field,
                stage,
                note: format!("hop {}, by {}", nth + 1, shown(&by, SHOWN_MAX)),
            };
            if hop.received.for_.len() > 1 {
                self.record(&place, None, Decision::Several);
                continue;
            }
            if let Some(found) = self.ask(&place, hop.received.for_.clone(), wanted) {
                return Some(found);
            }
        }
        if !named {
            self.note(RECEIVED_FOR, None, Decision::Absent);
        }
        None
    }

    /// Decides about the addresses of one field.
    fn ask(&mut self, place: &Place, found: Vec<Address>, wanted: &Wanted) -> Option<Found> {
        if found.is_empty() {
            self.record(place, None, Decision::NoAddress);
            return None;
        }
        let mark = self.trail.steps().len();
        let mut accepted = Vec::new();
        for address in found {
            let text = address.to_string();
            let (recipients, decision) = accept(&without_prefix(address, wanted.strip_prefix), self.rules, wanted.expanded);
            self.seen.own |= matches!(decision, Decision::Own | Decision::LeadsBack);
            self.seen.foreign |= decision == Decision::Foreign;
            self.record(place, Some(text), decision);
            if !recipients.is_empty() {
                accepted.push(recipients);
            }
        }
        let chosen = match wanted.take {
            Some(Take::First) => 0..accepted.len().min(1),
            Some(Take::Last) => accepted.len().saturating_sub(1)..accepted.len(),
            Some(Take::All) | None => 0..accepted.len(),
        };
        self.trail.unmark(mark, |nth| chosen.contains(&nth));
        let mut recipients = Vec::new();
        add(&mut recipients, accepted.drain(chosen).flatten());
        let evidence = Evidence { stage: place.stage, header: place.header.to_owned(), instance: place.instance, field: Some(place.field) };
        (!recipients.is_empty()).then_some((recipients, evidence))
    }

    fn record(&mut self, place: &Place, address: Option<String>, decision: Decision) {
        let (header, instance) = (place.header.to_owned(), Some(place.instance));
        self.trail.step(Step { rule: self.rule, header, instance, address, decision, note: place.note.clone() });
    }

    fn note(&mut self, name: &str, address: Option<String>, decision: Decision) {
        self.trail.step(Step { rule: self.rule, header: name.to_owned(), instance: None, address, decision, note: String::new() });
    }
}

/// Adds those that are not there yet.
fn add(recipients: &mut Vec<Recipient>, more: impl Iterator<Item = Recipient>) {
    let mut known: HashSet<Address> = recipients.iter().map(|recipient| recipient.address.clone()).collect();
    recipients.extend(more.filter(|recipient| known.insert(recipient.address.clone())));
}

/// To and Cc, which the operator may wonder about.
fn not_used(header: &HeaderBlock, recipients: &[Recipient]) -> Option<String> {
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
    (!parts.is_empty()).then(|| format!("{} (an envelope header decided)", parts.join("; ")))
}
