//! Whether an address of a header is one of ours, and who gets its mail.
//!
//! In this order: BATV and SRS are undone; the collected mailbox itself says nothing; `exclude`; an alias for the address; an alias for the
//! address without its `+tag`; an alias with `*`; `rewrite`; `map`; accepted domains; else it is foreign, and nothing is ever relayed to it.
//!
//! The targets of an alias, a rewrite and a map are taken as the operator wrote them: they are not looked up again, so rules cannot go in a
//! circle. A local part is compared without regard to case, a domain as A-labels.
//!
//! A result whose local part is the sender's word must not [route](routes): servers take `victim%evil@ours`, `evil!victim@ours` and
//! `"victim@evil"@ours` for mail to victim@evil (Postfix does by default: `allow_percent_hack`, `swap_bangpath`,
//! `resolve_dequoted_address`), and they trust us.

use crate::mail::{Address, Domain, Pattern, Recipient};
use crate::resolve::rules::{Alias, Exclude, MapTo, Rewrite, Rules};
use crate::resolve::srs::undone;
use crate::resolve::trail::{Decision, RULE_SHOWN_MAX, SHOWN_MAX, shown};

/// What became of one address.
pub(super) struct Judged {
    /// Who gets its mail; empty if it was not accepted.
    pub recipients: Vec<Recipient>,
    pub decision: Decision,
    /// More for the trail: `is anna@here` behind an address that was unwrapped, or a rule that could not be used.
    pub remark: String,
}

/// Where an address was found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    /// The collected mailbox itself never says anything here, not even with an alias for it.
    pub expanded: bool,
    /// In To or Cc: what a sender wrote makes nobody at a [target's domain](Rules::target_domains) ours.
    pub guessed: bool,
}

/// Decides about one address.
pub(super) fn accept(found: &Address, rules: &Rules, source: Source) -> Judged {
    let address = undone(found, |domain| is_ours(domain, rules));
    let mut remarks = Vec::new();
    if address != *found {
        remarks.push(format!("is {}", shown(&address.to_string(), SHOWN_MAX)));
    }
    let (recipients, decision) = decide(found, &address, rules, source, &mut remarks);
    Judged { recipients, decision, remark: remarks.join(", ") }
}

fn decide(found: &Address, address: &Address, rules: &Rules, source: Source, remarks: &mut Vec<String>) -> (Vec<Recipient>, Decision) {
    let is_own = |address: &Address| rules.own.as_ref().is_some_and(|own| same(own, address));
    let exact = exact_alias(rules, address.local(), address.domain());
    if is_own(address) && (source.expanded || exact.is_none()) {
        return (Vec::new(), Decision::Own);
    }
    if is_excluded(address, rules) || (found != address && is_excluded(found, rules)) {
        return (Vec::new(), Decision::Excluded);
    }
    let (targets, by, whose) = if let Some(alias) = exact {
        (alias.to.clone(), Some(named(alias)), Word::Operators)
    } else if let Some((alias, tag)) = without_tag(address, rules) {
        let whose = if rules.keep_tag { Word::Senders } else { Word::Operators };
        (alias.to.iter().map(|to| if rules.keep_tag { with_tag(to, tag) } else { to.clone() }).collect(), Some(named(alias)), whose)
    } else if let Some(alias) = rules.aliases.iter().find(|alias| matches(alias, address)) {
        (alias.to.clone(), Some(named(alias)), Word::Senders)
    } else if let Some((to, name, whose)) = rewritten(address, rules, source, remarks) {
        (vec![to], Some(name), whose)
    } else if let Some(domain) = rules.map.get(address.domain()) {
        let (to, name, whose) = match domain {
            MapTo::Domain(domain) => (address.at(domain.clone()), domain.to_string(), Word::Senders),
            MapTo::Mailbox(mailbox) => (mailbox.clone(), mailbox.to_string(), Word::Operators),
        };
        (vec![to], Some(format!("map   {} → {}", address.domain(), shown(&name, SHOWN_MAX))), whose)
    } else if accepts(address.domain(), rules, source) {
        (vec![address.clone()], None, Word::Senders)
    } else {
        return (Vec::new(), Decision::Foreign);
    };
    // One of several would do harm enough, and what the others would get is not a message to the address that stands there.
    if whose == Word::Senders && targets.iter().any(routes) {
        return (Vec::new(), Decision::Routing);
    }
    let recipients: Vec<Recipient> = targets
        .into_iter()
        .filter(|target| !is_own(target))
        .map(|address| Recipient { original: (address != *found).then(|| found.clone()), address })
        .collect();
    if recipients.is_empty() {
        return (recipients, Decision::LeadsBack);
    }
    let to = recipients.iter().map(|recipient| shown(&recipient.address.to_string(), SHOWN_MAX)).collect();
    (recipients, Decision::Taken { by, to })
}

/// Whose word the local part of a recipient is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It stands in the configuration as it is.
    Operators,
    /// At least a part of it was taken from the message.
    Senders,
}

/// True if a server could take the local part for a way to another address, a file or a program. The characters are those that Exim's default
/// ACL refuses in local domains (<https://www.exim.org/exim-html-current/doc/html/spec_html/ch-the_default_configuration_file.html>).
fn routes(address: &Address) -> bool {
    address.local().starts_with('.') || address.local().contains(['@', '%', '!', '/', '|'])
}

/// Equality as mail systems see it: the local part without regard to case.
pub(super) fn same(one: &Address, other: &Address) -> bool {
    one.domain() == other.domain() && fold_eq(one.local(), other.local())
}

/// What is equal for two addresses that are the [`same`].
pub(super) fn fold_key(address: &Address) -> (String, Domain) {
    (address.local().chars().flat_map(char::to_lowercase).collect(), address.domain().clone())
}

/// The address without qmail's virtual prefix, if it has it.
pub(super) fn without_prefix(address: Address, prefix: Option<&str>) -> Address {
    let local = address.local();
    let rest = prefix.and_then(|prefix| local.get(..prefix.len()).filter(|head| fold_eq(head, prefix)).map(|_| &local[prefix.len()..]));
    rest.and_then(|rest| Address::new(rest, address.domain().clone()).ok()).unwrap_or(address)
}

/// A domain that any rule here speaks of: only there wrappers are undone.
fn is_ours(domain: &Domain, rules: &Rules) -> bool {
    in_domains(domain, rules)
        || rules.map.contains_key(domain)
        || rules.own.as_ref().is_some_and(|own| own.domain() == domain)
        || rules.aliases.iter().any(|alias| alias.domain == *domain)
}

fn accepts(domain: &Domain, rules: &Rules, source: Source) -> bool {
    in_domains(domain, rules) && !(source.guessed && rules.target_domains.contains(domain))
}

fn in_domains(domain: &Domain, rules: &Rules) -> bool {
    rules.domains.contains(domain) || rules.subdomains.iter().any(|parent| domain != parent && domain.is_within(parent))
}

fn is_excluded(address: &Address, rules: &Rules) -> bool {
    rules.exclude.iter().any(|entry| match entry {
        Exclude::Address(excluded) => same(excluded, address),
        Exclude::Pattern(pattern) => spellings(address).any(|text| pattern.is_match(&text)),
    })
}

/// As people write it, and as it goes over the wire where that differs: an expression may have been written for either.
fn spellings(address: &Address) -> impl Iterator<Item = String> {
    let (shown, wire) = (address.to_string(), address.to_smtp());
    let wire = (wire != shown).then_some(wire);
    std::iter::once(shown).chain(wire)
}

fn exact_alias<'a>(rules: &'a Rules, local: &str, domain: &Domain) -> Option<&'a Alias> {
    rules.aliases.iter().find(|alias| !alias.local.contains('*') && alias.domain == *domain && fold_eq(&alias.local, local))
}

fn named(alias: &Alias) -> String {
    format!("alias {}@{}", shown(&alias.local, SHOWN_MAX), alias.domain)
}

fn without_tag<'a, 'b>(address: &'b Address, rules: &'a Rules) -> Option<(&'a Alias, &'b str)> {
    let plus = address.local().find('+').filter(|&plus| plus > 0)?;
    let (base, tag) = address.local().split_at(plus);
    Some((exact_alias(rules, base, address.domain())?, tag))
}

fn with_tag(to: &Address, tag: &str) -> Address {
    Address::new(&format!("{}{tag}", to.local()), to.domain().clone()).unwrap_or_else(|_| to.clone())
}

fn matches(alias: &Alias, address: &Address) -> bool {
    alias.local.contains('*') && alias.domain == *address.domain() && glob(&alias.local.to_lowercase(), &address.local().to_lowercase())
}

/// The first rule that matches the whole address, and what it makes of it. A rule that makes no address of it, or takes a domain from it that
/// is not accepted, is passed over, and named in the remarks.
fn rewritten(address: &Address, rules: &Rules, source: Source, remarks: &mut Vec<String>) -> Option<(Address, String, Word)> {
    if rules.rewrite.is_empty() {
        return None;
    }
    let texts: Vec<String> = spellings(address).collect();
    for Rewrite { regex, to } in &rules.rewrite {
        let Some(result) = texts.iter().find_map(|text| expand(regex, text, to)) else { continue };
        match result.parse::<Address>() {
            Ok(result) if writes_domain(to) || accepts(result.domain(), rules, source) => {
                let whose = if to.contains('$') { Word::Senders } else { Word::Operators };
                return Some((result, format!("rewrite {}", shown(regex.as_str(), RULE_SHOWN_MAX)), whose));
            }
            Ok(_) => remarks.push(format!("rewrite {} leads to a domain that is not accepted", shown(regex.as_str(), RULE_SHOWN_MAX))),
            Err(_) => remarks.push(format!("rewrite {} makes no address of it", shown(regex.as_str(), RULE_SHOWN_MAX))),
        }
    }
    None
}

/// True if the operator wrote the domain out. One that is taken from the address is a sender's word, and would make us a relay.
fn writes_domain(to: &str) -> bool {
    to.rsplit_once('@').is_some_and(|(_, domain)| !domain.contains('$'))
}

fn expand(regex: &Pattern, text: &str, to: &str) -> Option<String> {
    let groups = regex.captures_whole(text)?;
    let mut result = String::new();
    groups.expand(to, &mut result);
    Some(result)
}

/// `*` stands for any octets, none too. Going back to the last star only keeps it at the product of the two lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(octet) if *octet == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = back else { return false };
                back = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|octet| *octet == b'*')
}

fn fold_eq(one: &str, other: &str) -> bool {
    one.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("sales+*", "sales+x", true),
            ("sales+*", "sales", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*a*a*a*b", "aaaaaaaaaaaa", false),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn prefixes() {
        let a = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(without_prefix(a("Box-Anna@b.example"), Some("box-")), a("Anna@b.example"));
        assert_eq!(without_prefix(a("box-@b.example"), Some("box-")), a("box-@b.example"));
        assert_eq!(without_prefix(a("б@b.example"), Some("x")), a("б@b.example"));
    }
}
