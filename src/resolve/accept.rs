//! Whether an address of a header is one of ours, and who gets its mail: aliases, domain map, accepted domains, in this order.
//!
//! The targets of an alias are taken as the operator wrote them: they are not looked up again, so aliases cannot go in a circle. A local part
//! is compared without regard to case. `prvs=0123456789=anna@…` (BATV) counts as `anna@…`.

use crate::mail::{Address, Recipient};
use crate::resolve::rules::{Alias, MapTo, Rules};
use crate::resolve::trail::Decision;

/// Decides about one address. `expanded` is true where the collected mailbox itself never says anything, not even with an alias for it.
pub(super) fn accept(found: &Address, rules: &Rules, expanded: bool) -> (Vec<Recipient>, Decision) {
    let address = without_batv(found);
    let is_own = |address: &Address| rules.own.as_ref().is_some_and(|own| same(own, address));
    let exact = || {
        rules.aliases.iter().find(|alias| !alias.local.contains('*') && alias.domain == *address.domain() && fold_eq(&alias.local, address.local()))
    };
    if is_own(&address) && (expanded || exact().is_none()) {
        return (Vec::new(), Decision::Own);
    }
    let (targets, by) = if let Some(alias) = exact() {
        (alias.to.clone(), Some(named(alias)))
    } else if let Some((alias, tag)) = without_tag(&address, rules) {
        (alias.to.iter().map(|to| with_tag(to, tag)).collect(), Some(named(alias)))
    } else if let Some(alias) = rules.aliases.iter().find(|alias| matches(alias, &address)) {
        (alias.to.clone(), Some(named(alias)))
    } else if let Some(domain) = rules.map.get(address.domain()) {
        let (to, name) = match domain {
            MapTo::Domain(domain) => (address.at(domain.clone()), domain.to_string()),
            MapTo::Mailbox(mailbox) => (mailbox.clone(), mailbox.to_string()),
        };
        (vec![to], Some(format!("map   {} → {name}", address.domain())))
    } else if rules.domains.contains(address.domain()) {
        (vec![address.clone()], None)
    } else {
        return (Vec::new(), Decision::Foreign);
    };
    let recipients: Vec<Recipient> = targets
        .into_iter()
        .filter(|target| !is_own(target))
        .map(|address| Recipient { original: (address != *found).then(|| found.clone()), address })
        .collect();
    if recipients.is_empty() {
        return (recipients, Decision::LeadsBack);
    }
    let to = recipients.iter().map(|recipient| super::trail::shown(&recipient.address.to_string(), super::trail::SHOWN_MAX)).collect();
    (recipients, Decision::Taken { by, to })
}

/// Equality as mail systems see it: the local part without regard to case.
pub(super) fn same(one: &Address, other: &Address) -> bool {
    one.domain() == other.domain() && fold_eq(one.local(), other.local())
}

/// The address without qmail's virtual prefix, if it has it.
pub(super) fn without_prefix(address: Address, prefix: Option<&str>) -> Address {
    let local = address.local();
    let rest = prefix.and_then(|prefix| local.get(..prefix.len()).filter(|head| fold_eq(head, prefix)).map(|_| &local[prefix.len()..]));
    rest.and_then(|rest| Address::new(rest, address.domain().clone()).ok()).unwrap_or(address)
}

fn named(alias: &Alias) -> String {
    format!("alias {}@{}", super::trail::shown(&alias.local, super::trail::SHOWN_MAX), alias.domain)
}

fn without_batv(address: &Address) -> Address {
    let mut parts = address.local().splitn(3, '=');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(prvs), Some(tag), Some(local))
            if prvs.eq_ignore_ascii_case("prvs") && tag.len() == 10 && tag.bytes().all(|b| b.is_ascii_hexdigit()) =>
        {
            Address::new(local, address.domain().clone()).unwrap_or_else(|_| address.clone())
        }
        _ => address.clone(),
    }
}

fn without_tag<'a, 'b>(address: &'b Address, rules: &'a Rules) -> Option<(&'a Alias, &'b str)> {
    let plus = address.local().find('+').filter(|&plus| plus > 0)?;
    let (base, tag) = address.local().split_at(plus);
    let alias = rules.aliases.iter().find(|alias| !alias.local.contains('*') && alias.domain == *address.domain() && fold_eq(&alias.local, base))?;
    Some((alias, tag))
}

fn with_tag(to: &Address, tag: &str) -> Address {
    Address::new(&format!("{}{tag}", to.local()), to.domain().clone()).unwrap_or_else(|_| to.clone())
}

fn matches(alias: &Alias, address: &Address) -> bool {
    alias.local.contains('*') && alias.domain == *address.domain() && glob(&alias.local.to_lowercase(), &address.local().to_lowercase())
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
    fn prefixes_and_batv() {
        let a = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(without_prefix(a("Box-Anna@b.example"), Some("box-")), a("Anna@b.example"));
        assert_eq!(without_prefix(a("box-@b.example"), Some("box-")), a("box-@b.example"));
        assert_eq!(without_prefix(a("б@b.example"), Some("x")), a("б@b.example"));
        assert_eq!(without_batv(&a("prvs=0123456789=anna@b.example")), a("anna@b.example"));
        assert_eq!(without_batv(&a("prvs=short=anna@b.example")), a("prvs=short=anna@b.example"));
    }
}
