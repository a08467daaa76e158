//! Addresses that a mail system wrapped around another one: BATV and SRS undone.
//!
//! - `prvs=KDDDSSSSSS=anna@here` (BATV) is `anna@here`.
//! - `SRS0=hash=tt=there.example=anna@here` is `anna@there.example`; what stands behind `SRS0` may be `=`, `+` or `-`.
//! - `SRS1=hash=host==hash=tt=there.example=anna@here` is `anna@there.example` too: the second forwarder wraps the first one's `=hash=…`.
//!
//! The hashes are not checked: they belong to whoever wrote them. Nothing is gained by inventing one, because what comes out is judged like
//! any other address.

use crate::mail::{Address, Domain};

/// Most wrappers that are taken off one address.
const WRAPPERS_MAX: usize = 4;
/// Longest hash and time stamp, in octets; what is longer is no SRS.
const HASH_OCTETS_MAX: usize = 32;

/// The address inside, where `is_ours` knows the domain of the wrapper; else the address as it is.
pub(super) fn undone(address: &Address, is_ours: impl Fn(&Domain) -> bool) -> Address {
    let mut address = address.clone();
    for _ in 0..WRAPPERS_MAX {
        let Some(inner) = batv(&address).or_else(|| srs(&address)).filter(|_| is_ours(address.domain())) else { break };
        address = inner;
    }
    address
}

/// <https://datatracker.ietf.org/doc/html/draft-levine-smtp-batv-01>: a key number, three digits of the day, six of the hash.
fn batv(address: &Address) -> Option<Address> {
    let (tag, local) = strip_word(address.local(), "prvs=")?.split_once('=')?;
    let is_tag = tag.len() == 10 && tag.bytes().all(|b| b.is_ascii_hexdigit());
    is_tag.then(|| Address::new(local, address.domain().clone()).ok()).flatten()
}

fn srs(address: &Address) -> Option<Address> {
    let local = address.local();
    let inner = match (strip_word(local, "SRS0"), strip_word(local, "SRS1")) {
        (Some(rest), _) => after_separator(rest)?,
        (_, Some(rest)) => {
            let (hash, rest) = after_separator(rest)?.split_once('=')?;
            let (host, rest) = rest.split_once('=')?;
            after_separator(rest).filter(|_| is_hash(hash) && !host.is_empty())?
        }
        _ => return None,
    };
    let mut parts = inner.splitn(4, '=');
    let (hash, time, domain, local) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let local = (is_hash(hash) && is_hash(time)).then_some(local)?;
    Address::new(local, domain.parse().ok()?).ok()
}

fn is_hash(text: &str) -> bool {
    !text.is_empty() && text.len() <= HASH_OCTETS_MAX && text.is_ascii()
}

fn after_separator(text: &str) -> Option<&str> {
    text.strip_prefix(['=', '+', '-'])
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word)).map(|_| &text[word.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_come_off() {
        for (wrapped, want) in [
            ("prvs=0123456789=anna@b.example", "anna@b.example"),
            ("PRVS=01234abcdef=anna@b.example", "PRVS=01234abcdef=anna@b.example"),
            ("Prvs=012345abCD=an=na@b.example", "an=na@b.example"),
            ("prvs=short=anna@b.example", "prvs=short=anna@b.example"),
            ("prvs=0123456789=@b.example", "prvs=0123456789=@b.example"),
            ("SRS0=HHH=TT=orig.example=anna@b.example", "anna@orig.example"),
            ("srs0+hhh=tt=ORIG.example=anna@b.example", "anna@orig.example"),
            ("SRS0-HHH=TT=почта.рф=раз@b.example", "раз@почта.рф"),
            ("SRS0=HHH=TT=orig.example=a=b=c@b.example", "a=b=c@orig.example"),
            ("SRS1=HHH=first.example==HHH=TT=orig.example=anna@b.example", "anna@orig.example"),
            ("SRS1+HHH=first.example=+HHH=TT=orig.example=anna@b.example", "anna@orig.example"),
            ("SRS1-HHH=first.example=-HHH=TT=orig.example=anna@b.example", "anna@orig.example"),
            ("SRS0=HHH=TT=b.example=prvs=0123456789=anna@b.example", "anna@b.example"),
            // Not what it looks like.
            ("SRS0=HHH=TT=orig.example=anna@foreign.example", "SRS0=HHH=TT=orig.example=anna@foreign.example"),
            ("SRS0=HHH=TT=orig.example@b.example", "SRS0=HHH=TT=orig.example@b.example"),
            ("SRS0=HHH=TT=or ig=anna@b.example", ""),
            ("\"SRS0=HHH=TT=or ig=anna\"@b.example", "\"SRS0=HHH=TT=or ig=anna\"@b.example"),
            ("SRS0HHH=TT=orig.example=anna@b.example", "SRS0HHH=TT=orig.example=anna@b.example"),
            ("SRS1=HHH=first.example=HHH=TT=orig.example=anna@b.example", "SRS1=HHH=first.example=HHH=TT=orig.example=anna@b.example"),
            ("srs@b.example", "srs@b.example"),
            ("эsrs0=1=2=3=4@b.example", "эsrs0=1=2=3=4@b.example"),
        ] {
            let Ok(wrapped) = wrapped.parse::<Address>() else {
                assert_eq!(want, "", "{wrapped}");
                continue;
            };
            assert_eq!(undone(&wrapped, |domain| domain.as_ascii() == "b.example"), want.parse().unwrap(), "of {wrapped}");
        }
    }

    #[test]
    fn the_wrappers_are_counted() {
        let nested = format!("{}anna@b.example", "prvs=0123456789=".repeat(6));
        assert_eq!(undone(&nested.parse().unwrap(), |_| true).to_string(), "prvs=0123456789=prvs=0123456789=anna@b.example");
    }
}
