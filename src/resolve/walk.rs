//! The walk through a header, stages 1 to 3: each rule, each instance of its header, each address in it, with a step of the trail for each.

use crate::mail::{Address, HeaderBlock, Pattern, Recipient};
use crate::resolve::accept::{Source, accept, fold_key, without_prefix};
use crate::resolve::addresses::addresses;
use crate::resolve::probe::Probe;
use crate::resolve::resolution::{Evidence, Reason};
use crate::resolve::rules::{HeaderRule, Rules, Take};
use crate::resolve::trail::{Decision, SHOWN_MAX, Step, Trail, shown};
use crate::resolve::trusted::{Hop, TrustedBlock};
use std::collections::HashSet;

/// The name by which the for-clause of Received fields goes in rules and trails.
pub const RECEIVED_FOR: &str = "Received:for";

pub(super) type Found = (Vec<Recipient>, Evidence);

/// What has been asked so far, and what came of it.
pub(super) struct Walk<'a> {
    pub header: &'a HeaderBlock,
    pub rules: &'a Rules,
    pub block: &'a TrustedBlock,
    pub trail: Trail,
    /// The number of the rule that is being asked.
    pub rule: usize,
    pub seen: Seen,
}

/// What was met on the way, for the reason.
#[derive(Default)]
pub(super) struct Seen {
    own: bool,
    excluded: bool,
    foreign: bool,
    routing: bool,
    untrusted: bool,
}

impl Seen {
    pub fn reason(&self) -> Reason {
        match self {
            Seen { routing: true, .. } => Reason::RoutingCharacters,
            Seen { foreign: true, .. } => Reason::ForeignAddressOnly,
            Seen { excluded: true, .. } => Reason::ExcludedOnly,
            Seen { untrusted: true, .. } => Reason::UntrustedEnvelopeHeader,
            Seen { own: true, .. } => Reason::OwnAddressOnly,
            _ => Reason::NoEnvelopeHeader,
        }
    }
}

/// What a rule asks for.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    index: Option<usize>,
    pattern: Option<&'a Pattern>,
    strip_prefix: Option<&'a str>,
    take: Option<Take>,
    trust_any: bool,
    source: Source,
}

impl Wanted<'_> {
    /// For stage 4.
    pub fn guessed() -> Self {
        Wanted { source: Source { expanded: false, guessed: true }, ..Wanted::default() }
    }
}

/// Where an address stands.
pub(super) struct Place<'a> {
    pub header: &'a str,
    pub instance: Option<usize>,
    pub note: String,
}

impl<'a> Walk<'a> {
    pub fn new(header: &'a HeaderBlock, rules: &'a Rules, block: &'a TrustedBlock, trust: String) -> Self {
        let mut trail = Trail::default();
        trail.trust(trust);
        Walk { header, rules, block, trail, rule: 0, seen: Seen::default() }
    }

    /// Stage 1: one configured header.
    pub fn configured(&mut self, rule: &HeaderRule) -> Option<Found> {
        let wanted = Wanted {
            index: rule.index,
            pattern: rule.pattern.as_ref(),
            strip_prefix: rule.strip_prefix.as_deref(),
            take: Some(rule.take),
            trust_any: rule.trust_any,
            source: Source::default(),
        };
        if rule.header.eq_ignore_ascii_case(RECEIVED_FOR) {
            return self.received_for(1, &wanted);
        }
        self.header_field(&rule.header, 1, &wanted, true)
    }

    /// Stage 2: one header of the probe.
    pub fn probe(&mut self, probe: &Probe) -> Option<Found> {
        self.header_field(probe.header, 2, &Wanted { source: Source { expanded: probe.expanded, guessed: false }, ..Wanted::default() }, probe.walk)
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
            let note = if instance > 1 { format!("instance {instance}") } else { String::new() };
            let place = Place { header: name, instance: Some(instance), note };
            let found = self.ask_text(&place, &header.text(&header.fields()[field]), wanted);
            if !found.is_empty() {
                return Some((found, Evidence { stage, header: name.to_owned(), instance, field: Some(field) }));
            }
            if !walk {
                return None;
            }
        }
        if asked == 0 {
            self.seen.untrusted |= outside > 0;
            self.note(name, if outside > 0 { Decision::Untrusted } else { Decision::Absent });
        }
        None
    }

    /// Stage 3: the `for` of Received fields, topmost to lowest. A field that names several recipients tells nobody which copy this is.
    pub fn received_for(&mut self, stage: u8, wanted: &Wanted) -> Option<Found> {
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
            let instance = nth + 1;
            if wanted.index.is_some_and(|index| index != instance) || hop.received.for_.is_empty() {
                continue;
            }
            named = true;
            let by = hop.received.by.as_deref().unwrap_or("?");
            let by = by.parse::<crate::mail::Domain>().map_or_else(|_| by.to_owned(), |by| by.to_string());
            let place = Place { header: RECEIVED_FOR, instance: Some(instance), note: format!("hop {instance}, by {}", shown(&by, SHOWN_MAX)) };
            let [address] = &hop.received.for_[..] else {
                self.record(&place, None, Decision::Several, "");
                continue;
            };
            let found = match wanted.pattern {
                Some(_) => self.ask_text(&place, &address.to_string(), wanted),
                None => self.ask(&place, vec![address.clone()], wanted),
            };
            if !found.is_empty() {
                return Some((found, Evidence { stage, header: RECEIVED_FOR.to_owned(), instance, field: Some(hop.field) }));
            }
        }
        if !named {
            self.note(RECEIVED_FOR, Decision::Absent);
        }
        None
    }

    /// Decides about the addresses in a text, or in what the rule's pattern takes from it.
    fn ask_text(&mut self, place: &Place, text: &str, wanted: &Wanted) -> Vec<Recipient> {
        let text = match wanted.pattern.map(|pattern| picked(pattern, text)) {
            None => text,
            Some(Some(text)) => text,
            Some(None) => {
                self.record(place, None, Decision::NoMatch, "");
                return Vec::new();
            }
        };
        self.ask(place, addresses(text), wanted)
    }

    /// Decides about addresses: who is accepted of them, and was asked for.
    pub fn ask(&mut self, place: &Place, found: Vec<Address>, wanted: &Wanted) -> Vec<Recipient> {
        if found.is_empty() {
            self.record(place, None, Decision::NoAddress, "");
            return Vec::new();
        }
        let judge = |address: Address| {
            let text = address.to_string();
            (text, accept(&without_prefix(address, wanted.strip_prefix), self.rules, wanted.source))
        };
        let judged: Vec<_> = found.into_iter().map(judge).collect();
        let accepted = judged.iter().filter(|(_, judged)| !judged.recipients.is_empty()).count();
        let chosen = match wanted.take {
            Some(Take::First) => 0..accepted.min(1),
            Some(Take::Last) => accepted.saturating_sub(1)..accepted,
            Some(Take::All) | None => 0..accepted,
        };
        let (mut recipients, mut nth) = (Vec::new(), 0);
        for (text, mut judged) in judged {
            if !judged.recipients.is_empty() {
                match chosen.contains(&nth) {
                    true => recipients.append(&mut judged.recipients),
                    false => judged.decision = Decision::NotAsked,
                }
                nth += 1;
            }
            self.seen.own |= matches!(judged.decision, Decision::Own | Decision::LeadsBack);
            self.seen.excluded |= judged.decision == Decision::Excluded;
            self.seen.routing |= judged.decision == Decision::Routing;
            self.seen.foreign |= judged.decision == Decision::Foreign;
            self.record(place, Some(text), judged.decision, &judged.remark);
        }
        let mut once = Vec::new();
        add(&mut once, recipients);
        once
    }

    /// A step about an address or an instance of a header.
    pub fn record(&mut self, place: &Place, address: Option<String>, decision: Decision, remark: &str) {
        let parts = [place.note.as_str(), remark];
        let note = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        self.trail.step(Step { rule: self.rule, header: place.header.to_owned(), instance: place.instance, address, decision, note });
    }

    /// A step about a header that is not there, or not believed.
    fn note(&mut self, name: &str, decision: Decision) {
        self.record(&Place { header: name, instance: None, note: String::new() }, None, decision, "");
    }
}

/// The first group that took part, or all of the match.
fn picked<'t>(pattern: &Pattern, text: &'t str) -> Option<&'t str> {
    let groups = pattern.captures(text)?;
    groups.iter().skip(1).flatten().next().or(groups.get(0)).map(|group| group.as_str())
}

/// Adds those that are not there yet. The case of a local part makes no other mailbox: a person would get the message twice.
pub(super) fn add(recipients: &mut Vec<Recipient>, more: impl IntoIterator<Item = Recipient>) {
    let mut known: HashSet<_> = recipients.iter().map(|recipient| fold_key(&recipient.address)).collect();
    recipients.extend(more.into_iter().filter(|recipient| known.insert(fold_key(&recipient.address))));
}
