//! Stage 4, only where it is switched on: recipients from what the writer put into To and Cc.
//!
//! - The topmost Resent block (RFC 5322 §3.6.6), if it names anybody: who was written to before the message was resent has it already. Else
//!   To, Cc, and Bcc if it survived.
//! - Only addresses that the rules accept (but not those at a domain that is accepted only because an alias or a map leads to a mailbox
//!   there: `anna@ours: anna@gmail.com` makes nobody else at gmail.com ours), all of them, at most [`GUESS_MAX`]; more than that is nobody, because nobody may be left out
//!   silently.
//! - Never for a mailing list's message (List-Id, List-Post, a Precedence of lists and bulk mail, Auto-Submitted): its To is the list, and
//!   whoever else stands there got a copy of their own. Where `lists` knows the list, its members get the message, and nobody else.

use crate::mail::{Address, Domain, HeaderBlock, Recipient};
use crate::resolve::accept::{fold_key, same};
use crate::resolve::addresses::{ADDRESSES_MAX, addresses};
use crate::resolve::resolution::{Evidence, Reason};
use crate::resolve::rules::{ListName, ListRule, Rules};
use crate::resolve::trail::{Decision, SHOWN_MAX, shown};
use crate::resolve::walk::{Found, Place, Walk, Wanted, add};
use std::collections::HashSet;

/// Most recipients that are guessed. The members of a list do not count: the operator wrote them.
pub const GUESS_MAX: usize = 10;

/// What guessed recipients go by as evidence.
const TO_CC: &str = "To/Cc";

impl Walk<'_> {
    /// Who may be meant. The error says why nobody may be guessed.
    pub(super) fn guess(&mut self) -> Result<Option<Found>, Reason> {
        let (header, rules) = (self.header, self.rules);
        let lists = Lists::of(header);
        let (mut members, mut evidence) = (Vec::new(), Evidence::without_field(4, TO_CC));
        for list in rules.lists.iter().filter(|rule| lists.name(&rule.list)) {
            self.rule += 1;
            let name = shown(&name_of(list), SHOWN_MAX);
            let added = recipients_of(list, rules);
            let to = added.iter().map(|recipient| shown(&recipient.address.to_string(), SHOWN_MAX)).collect();
            let decision = if added.is_empty() { Decision::LeadsBack } else { Decision::Taken { by: Some(format!("list {name}")), to } };
            self.record(&Place { header: "lists", instance: None, note: String::new() }, Some(name.clone()), decision, "");
            if members.is_empty() && !added.is_empty() {
                evidence.header = format!("list {name}");
            }
            add(&mut members, added);
        }
        if let Some(field) = list_mark(header) {
            if !members.is_empty() {
                return Ok(Some((members, evidence)));
            }
            self.rule += 1;
            let name = String::from_utf8_lossy(header.name(&header.fields()[field])).into_owned();
            self.record(&Place { header: &name, instance: None, note: String::new() }, None, Decision::ListMail, "");
            return Err(Reason::ListMail);
        }
        let mut guessed = Vec::new();
        let mut left = ADDRESSES_MAX;
        for (name, fields) in sources(header) {
            self.rule += 1;
            for (nth, field) in fields.into_iter().enumerate() {
                let mut found = addresses(&header.text(&header.fields()[field]));
                if found.len() >= left {
                    // Somebody may stand behind the limit.
                    return Err(Reason::TooManyRecipients);
                }
                left -= found.len();
                let any = !found.is_empty();
                found.retain(|address| !is_list(address, rules));
                if any && found.is_empty() {
                    continue;
                }
                let place = Place { header: name, instance: Some(nth + 1), note: String::new() };
                let more = self.ask(&place, found, &Wanted::guessed());
                add(&mut guessed, more);
            }
        }
        if guessed.len() > GUESS_MAX {
            return Err(Reason::TooManyRecipients);
        }
        if !guessed.is_empty() {
            evidence.header = TO_CC.into();
        }
        add(&mut guessed, members);
        Ok((!guessed.is_empty()).then_some((guessed, evidence)))
    }
}

/// The fields that are asked, by name: those of the topmost Resent block if it has an address, else To, Cc and Bcc.
fn sources(header: &HeaderBlock) -> Vec<(&'static str, Vec<usize>)> {
    let block = resent_block(header);
    let has_address = |field: usize| !addresses(&header.text(&header.fields()[field])).is_empty();
    if block.iter().any(|(_, field)| has_address(*field)) {
        return block.into_iter().map(|(name, field)| (name, vec![field])).collect();
    }
    let fields = |name: &'static str| {
        let fields = header.fields().iter().enumerate().filter(|(_, field)| header.is(field, name));
        (name, fields.map(|(index, _)| index).collect::<Vec<_>>())
    };
    ["To", "Cc", "Bcc"].into_iter().map(fields).filter(|(_, fields)| !fields.is_empty()).collect()
}

/// Resent-To, Resent-Cc and Resent-Bcc of the topmost block. A block ends where one of its names comes again, or at a trace field: those
/// are written above the block of each resending.
fn resent_block(header: &HeaderBlock) -> Vec<(&'static str, usize)> {
    const NAMES: [&str; 8] =
        ["Resent-To", "Resent-Cc", "Resent-Bcc", "Resent-From", "Resent-Sender", "Resent-Date", "Resent-Message-ID", "Resent-Reply-To"];
    let mut seen: Vec<(&'static str, usize)> = Vec::new();
    for (index, field) in header.fields().iter().enumerate() {
        match NAMES.into_iter().find(|name| header.is(field, name)) {
            Some(name) if seen.iter().any(|(known, _)| *known == name) => break,
            Some(name) => seen.push((name, index)),
            None if !seen.is_empty() && ["Received", "Return-Path"].iter().any(|name| header.is(field, name)) => break,
            None => {}
        }
    }
    seen.retain(|(name, _)| NAMES[..3].contains(name));
    seen
}

/// The field that makes it a mailing list's or a machine's message: RFC 2919 §3, RFC 2369 §3.4, RFC 3834 §5; Precedence is custom.
fn list_mark(header: &HeaderBlock) -> Option<usize> {
    header.fields().iter().position(|field| {
        if header.is(field, "List-Id") || header.is(field, "List-Post") {
            return true;
        }
        let word = |text: String| text.split([';', '(', ' ', '\t']).next().unwrap_or_default().to_ascii_lowercase();
        if header.is(field, "Precedence") {
            ["list", "bulk", "junk"].contains(&word(header.text(field)).as_str())
        } else {
            header.is(field, "Auto-Submitted") && !["no", ""].contains(&word(header.text(field)).as_str())
        }
    })
}

/// What a message says about the list that it comes from.
struct Lists {
    ids: Vec<String>,
    addresses: HashSet<(String, Domain)>,
}

impl Lists {
    fn of(header: &HeaderBlock) -> Self {
        let ids = header.all("List-Id").map(|field| id_in(&header.text(field))).filter(|id| !id.is_empty()).collect();
        let mut found: Vec<Address> = header.all("List-Post").flat_map(|field| posts(&header.text(field))).take(ADDRESSES_MAX).collect();
        for name in ["To", "Cc"] {
            found.extend(header.all(name).flat_map(|field| addresses(&header.text(field))).take(ADDRESSES_MAX));
        }
        Lists { ids, addresses: found.iter().map(fold_key).collect() }
    }

    /// True if the message is the list's, or written to it.
    fn name(&self, list: &ListName) -> bool {
        match list {
            ListName::Address(address) => self.addresses.contains(&fold_key(address)),
            ListName::Id(id) => {
                let domain = id.parse::<Domain>().ok();
                self.ids.iter().any(|found| found == id || (domain.is_some() && found.parse::<Domain>().ok() == domain))
            }
        }
    }
}

/// `Announcements <announce.list.example>`: what stands in the last brackets, or all of it, lower case.
fn id_in(text: &str) -> String {
    let id = text.rsplit_once('<').map_or(text, |(_, id)| id.split('>').next().unwrap_or(id));
    id.trim().to_lowercase()
}

/// `<mailto:announce@list.example?subject=x>, <https://…>`
fn posts(text: &str) -> Vec<Address> {
    let urls = text.split(['<', '>', ',']).map(str::trim).filter(|url| url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:")));
    urls.filter_map(|url| url[7..].split('?').next().unwrap_or_default().parse().ok()).collect()
}

fn is_list(address: &Address, rules: &Rules) -> bool {
    rules.lists.iter().any(|rule| matches!(&rule.list, ListName::Address(list) if same(list, address)))
}

fn name_of(rule: &ListRule) -> String {
    match &rule.list {
        ListName::Address(address) => address.to_string(),
        ListName::Id(id) => id.clone(),
    }
}

fn recipients_of(rule: &ListRule, rules: &Rules) -> Vec<Recipient> {
    let original = match &rule.list {
        ListName::Address(address) => Some(address),
        ListName::Id(_) => None,
    };
    let mut members = Vec::new();
    let others = rule.to.iter().filter(|member| !rules.own.as_ref().is_some_and(|own| same(own, member)));
    add(&mut members, others.map(|member| Recipient { address: member.clone(), original: original.filter(|list| *list != member).cloned() }));
    members
}
