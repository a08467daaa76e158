//! The text of a report: who sent the original, and to whom.

use super::RECIPIENTS_MAX;
use crate::mail::Address;
use crate::resolve::addresses::addresses;
use std::collections::HashSet;

/// The lines of the report: `Sender: a@b`, `Recipient: a@b, Expanded: list@b`. A recipient that cannot be read fails the report: nobody is
/// left out silently.
pub(super) fn read(text: &str) -> Result<(Option<Address>, Vec<Address>), &'static str> {
    let (mut sender, mut recipients, mut known) = (None, Vec::new(), HashSet::new());
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim().to_ascii_lowercase().as_str() {
            "sender" if sender.is_none() => sender = one_address(value),
            "recipient" | "to" | "cc" | "bcc" if !value.trim().is_empty() => {
                let address = one_address(value).ok_or("the journal report names a recipient that cannot be read")?;
                if known.insert(address.clone()) {
                    recipients.push(address);
                }
                if recipients.len() > RECIPIENTS_MAX {
                    return Err("the journal report names too many recipients");
                }
            }
            _ => {}
        }
    }
    Ok((sender, recipients))
}

/// The address of a line, without the list that it was expanded from and the mailbox that forwarded it: those are no recipients.
fn one_address(value: &str) -> Option<Address> {
    let lower = value.to_ascii_lowercase();
    let end = [", expanded:", ", forwarded:", ",expanded:", ",forwarded:"].iter().filter_map(|word| lower.find(word)).min();
    match &addresses(&value[..end.unwrap_or(value.len())])[..] {
        [only] => Some(only.clone()),
        _ => None,
    }
}
