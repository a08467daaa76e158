//! The headers that may hold the envelope recipient, each judged by itself.

use super::{is_received_for, percent, shown};
use crate::mail::{Address, HeaderBlock};
use crate::resolve::probe::PROBES;
use crate::resolve::resolver::{RECEIVED_FOR, Reason};
use crate::resolve::{HeaderRule, Headers, Received, Resolution, Rules, Take, TrustedBlock, addresses, resolve};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A field that is not in the built-in probe is looked at if it holds exactly one address in this share of the messages, in per cent ...
const OTHER_PERCENT_MIN: usize = 20;
/// ... and in so many.
const OTHER_MESSAGES_MIN: usize = 3;
/// Most such fields.
const OTHERS_MAX: usize = 20;
/// Most names of fields that are counted.
const NAMES_MAX: usize = 5_000;
/// Least names in one place before what they have in common counts as a prefix.
const PREFIX_LOCALS_MIN: usize = 3;

/// Fields that hold an address that is not the recipient's, or not this copy's.
const NOT_RECIPIENTS: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "return-path",
    "to",
    "cc",
    "bcc",
    "message-id",
    "in-reply-to",
    "references",
    "errors-to",
    "received",
    "disposition-notification-to",
    "return-receipt-to",
    "x-envelope-from",
    "envelope-from",
    "x-envelope-sender",
    "x-return-path",
    "x-sender",
    "x-original-from",
    "x-google-original-from",
    "x-sender-id",
    "x-originating-email",
    "x-authenticated-sender",
    "x-authenticated-user",
    "x-get-message-sender-via",
    "dkim-signature",
    "authentication-results",
    "arc-authentication-results",
    "received-spf",
    "x-received",
    "x-sent-to",
    "content-id",
    "abuse-reports-to",
    "x-complaints-to",
    "x-report-abuse",
    "x-mailer",
    "subject",
    "thread-topic",
];
const NOT_RECIPIENTS_START: &[&str] = &["resent-", "list-", "x-mailgather-", "dkim-", "arc-", "content-", "x-ms-exchange-", "feedback-id"];

/// One header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, or `Received:for`.
    pub header: String,
    /// Whether the built-in probe asks it.
    pub built_in: bool,
    /// Messages that have it.
    pub present: usize,
    /// Messages that have it in the trusted block.
    pub inside: usize,
    /// Messages in which it, asked alone, yields exactly one recipient.
    pub one: usize,
    /// The same with several.
    pub several: usize,
    /// Messages in which it names the collected mailbox only.
    pub own: usize,
    /// Messages in which it names foreign addresses only.
    pub foreign: usize,
    /// Most instances in one message.
    pub instances: usize,
    /// Distinct addresses that it led to.
    pub distinct: usize,
    /// Messages (by Message-ID) that came in several copies with this header.
    pub copies: usize,
    /// Those whose copies differ in it: the sign of an envelope header.
    pub differ: usize,
    /// What all local parts begin with: qmail's virtual prefix.
    pub prefix: Option<String>,
}

pub(super) fn find(headers: &[HeaderBlock], rules: &Rules) -> Vec<Candidate> {
    let mut names: Vec<(String, bool)> = PROBES.iter().map(|probe| (probe.header.to_owned(), true)).collect();
    names.push((RECEIVED_FOR.to_owned(), true));
    names.extend(others(headers).into_iter().map(|name| (name, false)));
    let mut found: Vec<Candidate> = names.into_iter().map(|(name, built_in)| judge(headers, rules, name, built_in)).collect();
    // A field that nobody knows and that never names one of ours is somebody else's.
    found.retain(|candidate| candidate.present > 0 && (candidate.built_in || candidate.one + candidate.several > 0));
    // Stable: in the probe's order where they are equally good.
    found.sort_by(|one, other| other.one.cmp(&one.one).then(other.differ.cmp(&one.differ)));
    found
}

/// Fields that are in no list of ours and hold exactly one address, often.
fn others(headers: &[HeaderBlock]) -> Vec<String> {
    let mut counts: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for header in headers {
        let mut seen = BTreeSet::new();
        for field in header.fields() {
            let written = String::from_utf8_lossy(header.name(field)).into_owned();
            let name = written.to_ascii_lowercase();
            let known = NOT_RECIPIENTS.contains(&name.as_str())
                || NOT_RECIPIENTS_START.iter().any(|start| name.starts_with(start))
                || PROBES.iter().any(|probe| probe.header.eq_ignore_ascii_case(&name));
            if known || !seen.insert(name.clone()) || addresses(&header.text(field)).len() != 1 {
                continue;
            }
            if counts.len() < NAMES_MAX || counts.contains_key(&name) {
                counts.entry(name).or_insert((0, written)).0 += 1;
            }
        }
    }
    let often = |count: usize| count >= OTHER_MESSAGES_MIN && percent(count, headers.len()) >= OTHER_PERCENT_MIN;
    let mut often: Vec<(usize, String)> = counts.into_values().filter(|(count, _)| often(*count)).collect();
    often.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    often.into_iter().take(OTHERS_MAX).map(|(_, name)| name).collect()
}

/// The rules with this header asked alone.
pub(super) fn alone(rules: &Rules, header: &str, strip_prefix: Option<&str>) -> Rules {
    let rule = HeaderRule {
        header: header.to_owned(),
        index: None,
        pattern: None,
        strip_prefix: strip_prefix.map(str::to_owned),
        take: Take::All,
        trust_any: false,
    };
    Rules { headers: Headers::List(vec![rule]), ..rules.clone() }
}

fn judge(headers: &[HeaderBlock], rules: &Rules, name: String, built_in: bool) -> Candidate {
    let only = alone(rules, &name, None);
    let mut candidate = Candidate { built_in, ..Candidate::default() };
    let (mut distinct, mut by_id) = (BTreeSet::new(), BTreeMap::<String, Vec<Vec<Address>>>::new());
    let mut locals = BTreeSet::new();
    for header in headers {
        let (instances, inside) = instances(header, &only, &name);
        if instances == 0 {
            continue;
        }
        candidate.present += 1;
        candidate.instances = candidate.instances.max(instances);
        candidate.inside += usize::from(inside);
        let (resolution, _) = resolve(header, &only);
        let named: Vec<Address> =
            resolution.recipients().iter().map(|recipient| recipient.original.as_ref().unwrap_or(&recipient.address).clone()).collect();
        match (&resolution, named.len()) {
            (Resolution::Leave(Reason::OwnAddressOnly), _) => candidate.own += 1,
            (Resolution::Leave(Reason::ForeignAddressOnly), _) => candidate.foreign += 1,
            (_, 0) => {}
            (_, 1) => candidate.one += 1,
            _ => candidate.several += 1,
        }
        distinct.extend(named.iter().cloned());
        locals.extend(named.iter().map(|address| address.local().to_lowercase()));
        if let Some(id) = message_id(header) {
            by_id.entry(id).or_default().push(named);
        }
    }
    let groups = by_id.values().filter(|copies| copies.len() > 1);
    for copies in groups {
        candidate.copies += 1;
        candidate.differ += usize::from(copies.iter().any(|copy| *copy != copies[0]));
    }
    candidate.distinct = distinct.len();
    candidate.prefix = prefix(&locals);
    candidate.header = name;
    candidate
}

/// How often the header is there, and whether an instance is believed.
fn instances(header: &HeaderBlock, rules: &Rules, name: &str) -> (usize, bool) {
    let block = TrustedBlock::find(header, &rules.into());
    if is_received_for(name) {
        let all = header.all("Received").take(100).filter(|field| !Received::parse(&header.text(field)).for_.is_empty()).count();
        return (all, block.hops().iter().any(|hop| hop.received.for_.len() == 1));
    }
    let of_name = header.fields().iter().enumerate().filter(|(_, field)| header.is(field, name));
    of_name.fold((0, false), |(count, inside), (index, _)| (count + 1, inside || block.contains(index)))
}

pub(super) fn message_id(header: &HeaderBlock) -> Option<String> {
    header.first("Message-ID").map(|field| header.text(field)).filter(|id| !id.is_empty())
}

/// What all local parts begin with, up to a hyphen.
fn prefix(locals: &BTreeSet<String>) -> Option<String> {
    if locals.len() < PREFIX_LOCALS_MIN {
        return None;
    }
    // Sorted, so what the first and the last have in common all have in common.
    let (first, last) = (locals.first()?, locals.last()?);
    let common: String = first.chars().zip(last.chars()).take_while(|(one, other)| one == other).map(|(one, _)| one).collect();
    let end = common.rfind('-')? + 1;
    // Nobody is left without a name.
    locals.iter().all(|local| local.len() > end).then(|| common[..end].to_owned())
}

impl Candidate {
    pub(super) fn to_line(&self, messages: usize) -> String {
        let share = |part: usize| format!("{} %", percent(part, messages));
        let copies = if self.copies > 0 { format!("{}/{}", self.differ, self.copies) } else { "-".to_owned() };
        let name = if self.built_in { shown(&self.header) } else { format!("{} *", shown(&self.header)) };
        format!(
            "  {name:<22} {:>7} {:>6} {:>5} {:>7} {:>5} {:>9} {:>9} {copies:>9}\n",
            share(self.present),
            share(self.inside),
            share(self.one),
            share(self.several),
            share(self.own),
            self.distinct,
            self.instances,
        )
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"header": shown(&self.header), "built_in": self.built_in, "present": self.present, "inside": self.inside, "one": self.one,
               "several": self.several, "own": self.own, "foreign": self.foreign, "instances": self.instances, "addresses": self.distinct,
               "copies": self.copies, "copies_that_differ": self.differ, "prefix": self.prefix})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let prefix_of = |locals: &[&str]| prefix(&locals.iter().map(|local| (*local).to_owned()).collect());
        assert_eq!(prefix_of(&["box-firm-anna", "box-firm-bob", "box-firm-carl"]).as_deref(), Some("box-firm-"));
        assert_eq!(prefix_of(&["box-a", "box-b"]), None);
        assert_eq!(prefix_of(&["anna", "andrew", "ann"]), None);
        assert_eq!(prefix_of(&["a-b", "a-", "a-c"]), None);
        assert_eq!(prefix_of(&["яa-b", "яa-c", "яa-д"]).as_deref(), Some("яa-"));
        assert_eq!(prefix_of(&["anna", "anna-maria", "anna-lisa"]), None);
    }
}
