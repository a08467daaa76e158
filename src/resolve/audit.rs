//! `mailgather audit`: which header of a mailbox tells the envelope recipient, learnt from the headers of its last messages.
//!
//! ```text
//! headers ─┬─ trust      which hosts write the topmost Received; what to trust where automatic trust finds nothing
//!          ├─ domains    which domains the trusted block names
//!          ├─ candidates each header by itself, asked by the resolver: present, believed, exactly one accepted address, differs per copy
//!          ├─ copies     one copy for each recipient, or one for all of them
//!          └─ proposal   the `recipient:` block, with the reasons
//! ```
//!
//! Pure. Whether a header would decide is asked of [`resolve`] itself, with a rule for that header alone, so that the
//! proposal and the delivery agree.

mod candidates;
mod copies;
mod proposal;
mod trust;
mod unfound;

pub use candidates::Candidate;
pub use copies::Copies;
pub use proposal::{Mode, Proposal};
pub use trust::{TrustAdvice, TrustFound};
pub use unfound::Unfound;

use crate::mail::{Address, Domain, HeaderBlock};
use crate::resolve::probe::PROBES;
use crate::resolve::resolver::RECEIVED_FOR;
use crate::resolve::{Guess, Headers, Resolution, Rules, TrustedBlock, Unresolved, addresses, resolve};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A domain that is not accepted yet is proposed if it stands in the trusted block of at least this share of the messages, in per cent: what
/// is rare may be a stranger's, for whom we would relay.
const PROPOSED_PERCENT_MIN: usize = 10;
/// A domain is shown if it stands in the trusted block of at least this share of the messages, in per cent ...
const DOMAIN_PERCENT_MIN: usize = 3;
/// ... and of at least so many.
const DOMAIN_MESSAGES_MIN: usize = 2;
/// How far the keys of a collector are indented in a file that is laid out as the samples are.
const INDENT: &str = "    ";
/// Most domains that are shown and proposed.
const DOMAINS_MAX: usize = 20;

/// What a mailbox's headers tell.
#[derive(Clone, Debug)]
pub struct Audit {
    /// How many messages were looked at.
    pub messages: usize,
    /// Who writes the topmost Received, and what is believed.
    pub trust: TrustFound,
    /// The headers that may hold the envelope recipient, the best first.
    pub candidates: Vec<Candidate>,
    /// What the built-in probe would do: messages that find a recipient.
    pub auto_resolved: usize,
    /// The domains that the trusted block names, with the number of messages and whether they are accepted already.
    pub domains: Vec<(Domain, usize, bool)>,
    /// One copy for each recipient, or one for all.
    pub copies: Copies,
    /// Messages of mailing lists.
    pub list_mail: usize,
    /// What to configure.
    pub proposal: Proposal,
}

/// What a mailbox's messages are called, and what its collector has that is not for an audit to judge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mailbox<'a> {
    /// The UID, or UIDL, of each header.
    pub uids: &'a [String],
    /// Keys of the collector's `recipient` that are to be kept as they are, and are not among the rules.
    pub keys: &'a [&'a str],
}

/// Looks at headers, oldest first, by the rules as far as there are some.
pub fn audit(headers: &[HeaderBlock], rules: &Rules) -> Audit {
    audit_mailbox(headers, rules, &Mailbox::default())
}

/// The same, with the names of the messages.
pub fn audit_mailbox(headers: &[HeaderBlock], rules: &Rules, mailbox: &Mailbox<'_>) -> Audit {
    let mut base =
        Rules { headers: Headers::Auto, guess: Guess::Off, journal: None, default_box: None, unresolved: Unresolved::Leave, ..rules.clone() };
    let trust = trust::find(headers, &base);
    trust.advice.apply(&mut base);
    let domains = domains(headers, &base);
    let proposed: Vec<Domain> = domains.iter().filter(|found| is_proposed(found, headers.len())).map(|(domain, ..)| domain.clone()).collect();
    base.domains.extend(proposed.iter().cloned());
    let candidates = candidates::find(headers, &base);
    let copies = copies::find(headers, &base);
    let list_mail = headers.iter().filter(|header| is_list_mail(header)).count();
    let auto = auto_resolved(headers, &base);
    let mut audit =
        Audit { messages: headers.len(), trust, candidates, auto_resolved: auto, domains, copies, list_mail, proposal: Proposal::default() };
    audit.proposal = proposal::make(&audit, headers, rules, base, mailbox);
    audit
}

/// Messages whose recipients these rules find.
fn auto_resolved(headers: &[HeaderBlock], rules: &Rules) -> usize {
    headers.iter().filter(|header| matches!(resolve(header, rules).0, Resolution::Recipients(..))).count()
}

/// Part of a whole in per cent, 0 of nothing.
fn percent(part: usize, whole: usize) -> usize {
    (part * 100 + whole / 2).checked_div(whole).unwrap_or(0)
}

/// True for a domain that is not accepted yet, and is there too often to be a stranger's.
fn is_proposed((_, count, accepted): &(Domain, usize, bool), messages: usize) -> bool {
    !accepted && percent(*count, messages) >= PROPOSED_PERCENT_MIN
}

/// True if each address of this domain would pass, or be mapped. An alias accepts its own address only.
fn is_accepted(domain: &Domain, rules: &Rules) -> bool {
    rules.domains.contains(domain)
        || rules.map.contains_key(domain)
        || rules.subdomains.iter().any(|parent| parent != domain && domain.is_within(parent))
}

fn is_own(address: &Address, rules: &Rules) -> bool {
    rules.own.as_ref().is_some_and(|own| own.domain() == address.domain() && own.local().eq_ignore_ascii_case(address.local()))
}

/// RFC 2919, RFC 2369, and the word that old lists use.
fn is_list_mail(header: &HeaderBlock) -> bool {
    let bulk = |text: String| ["list", "bulk"].iter().any(|word| text.eq_ignore_ascii_case(word));
    header.first("List-Id").is_some()
        || header.first("List-Post").is_some()
        || header.first("Precedence").is_some_and(|field| bulk(header.text(field)))
}

/// The domains that the provider's own fields name: those of envelope headers in the trusted block and of its for-clauses. The mailbox's own
/// address does not count, nor does a domain of which only one address is ever seen, where there are many messages: it is the mailbox.
fn domains(headers: &[HeaderBlock], rules: &Rules) -> Vec<(Domain, usize, bool)> {
    let mut seen: BTreeMap<Domain, (usize, BTreeSet<String>)> = BTreeMap::new();
    for header in headers {
        let block = TrustedBlock::find(header, &rules.into());
        let mut named = BTreeSet::new();
        let inside = header.fields().iter().enumerate().filter(|(index, _)| block.contains(*index)).map(|(_, field)| field);
        for field in inside.filter(|field| PROBES.iter().any(|probe| header.is(field, probe.header))) {
            named.extend(addresses(&header.text(field)));
        }
        named.extend(block.hops().iter().filter(|hop| hop.received.for_.len() == 1).flat_map(|hop| hop.received.for_.iter().cloned()));
        let mut here = BTreeSet::new();
        for address in named.iter().filter(|address| !is_own(address, rules)) {
            let entry = seen.entry(address.domain().clone()).or_default();
            entry.0 += usize::from(here.insert(address.domain().clone()));
            entry.1.insert(address.local().to_lowercase());
        }
    }
    let enough = |count: usize| count >= DOMAIN_MESSAGES_MIN && percent(count, headers.len()) >= DOMAIN_PERCENT_MIN;
    let is_mailbox = |count: usize, locals: usize| locals == 1 && count >= 10 && percent(count, headers.len()) >= 90;
    let mut found: Vec<(Domain, usize, bool)> = seen
        .into_iter()
        .map(|(domain, (count, locals))| (is_accepted(&domain, rules), domain, count, locals.len()))
        .filter(|(accepted, _, count, locals)| *accepted || (enough(*count) && !is_mailbox(*count, *locals)))
        .map(|(accepted, domain, count, _)| (domain, count, accepted))
        .collect();
    found.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    found.truncate(DOMAINS_MAX);
    found
}

impl Audit {
    /// The table, the findings and the proposal, for people.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{} messages. In per cent of them: present = there; inside = where a sender cannot write; one, several = exactly one, or more, accepted\n\
             addresses there; own = names the collected mailbox only. Copies = messages that came more than once, of which so many differ there.\n\n",
            self.messages
        );
        text.push_str(&format!(
            "  {:<22} {:>7} {:>6} {:>5} {:>7} {:>5} {:>9} {:>9} {:>9}\n",
            "header", "present", "inside", "one", "several", "own", "addresses", "instances", "copies"
        ));
        for candidate in &self.candidates {
            text.push_str(&candidate.to_line(self.messages));
        }
        if self.candidates.is_empty() {
            text.push_str("  (no header looks like an envelope recipient)\n");
        }
        text.push('\n');
        for line in &self.proposal.findings {
            text.push_str(&format!("  - {line}\n"));
        }
        // As it stands in a collector, so that it can be put in place of `recipient:` as it is.
        text.push('\n');
        for line in self.proposal.yaml.lines() {
            text.push_str(&format!("{INDENT}{line}\n"));
        }
        text.push('\n');
        text
    }

    /// The same for machines.
    pub fn to_json(&self) -> Value {
        let domains: Vec<Value> = self
            .domains
            .iter()
            .map(|(domain, messages, accepted)| json!({"domain": domain.to_unicode(), "messages": messages, "accepted": accepted}))
            .collect();
        json!({
            "messages": self.messages,
            "headers": self.candidates.iter().map(Candidate::to_json).collect::<Vec<_>>(),
            "trust": self.trust.to_json(),
            "auto_resolved": self.auto_resolved,
            "domains": domains,
            "copies": self.copies.to_json(),
            "list_mail": self.list_mail,
            "unfound": self.proposal.unfound.iter().map(Unfound::to_json).collect::<Vec<_>>(),
            "findings": self.proposal.findings,
            "mode": self.proposal.mode.word(),
            "yaml": self.proposal.yaml,
        })
    }
}

/// Text of a header that is shown or written into a comment.
fn shown(text: &str) -> String {
    crate::mail::outcome::harmless(text, 120)
}

/// True for the for-clause, which is no field of its own.
fn is_received_for(name: &str) -> bool {
    name.eq_ignore_ascii_case(RECEIVED_FOR)
}
