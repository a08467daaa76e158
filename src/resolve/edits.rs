//! What is changed in a message's own header at a delivery, and nothing else is:
//!
//! - an mbox `From ` line and a byte order mark before the header are cut; a message without a header gets a blank line, so that the trace
//!   fields on top do not run into its body;
//! - Return-Path is removed (the last server writes its own, or the stamp does for a Maildir), and so are the droppings of mbox files and mail
//!   programs (Status, X-UID, …), which would steer the reader's program;
//! - in `auto` mode Bcc and Resent-Bcc are removed, and envelope headers other than the one used that name other people: both would tell
//!   each recipient about the others;
//! - an Authentication-Results that bears our host's name is renamed to X-Orig-Authentication-Results: only the local server may speak under
//!   that name (RFC 8601 §5), and it has not seen the message yet;
//! - a Delivered-To that equals a recipient of this delivery is renamed to X-Orig-Delivered-To: Postfix's local(8) and qmail would bounce the
//!   message as a loop. Our own loop test has been passed by then.
//!
//! To, From, Cc and all others stay as they are, octet for octet.

use crate::mail::header::Edit;
use crate::mail::{Field, HeaderBlock, Recipient};
use crate::resolve::accept::same;
use crate::resolve::addresses::addresses;
use crate::resolve::probe::PROBES;
use crate::resolve::resolver::Resolution;

/// Written by mbox files and mail programs, about a copy that is not ours.
const DROPPINGS: &[&str] = &[
    "Status",
    "X-Status",
    "X-Mozilla-Status",
    "X-Mozilla-Status2",
    "X-Mozilla-Keys",
    "X-Keywords",
    "X-UID",
    "X-UIDL",
    "X-IMAP",
    "X-IMAPbase",
    "Content-Length",
    "Lines",
];

/// The edits for one delivery to these recipients (those of the transaction, not all of the message): ascending, not overlapping.
/// `hostname` is this host's: the authserv-id of the server that we deliver to.
pub fn edits(header: &HeaderBlock, resolution: &Resolution, recipients: &[Recipient], hostname: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    let junk = header.leading_junk();
    // The blank line that ends an empty header, if it has one, is the first thing behind the junk.
    let bare_body = header.fields().is_empty() && !header.octets()[junk.end..].starts_with(b"\r\n");
    if !junk.is_empty() || bare_body {
        edits.push(Edit { cut: junk, with: if bare_body { b"\r\n".to_vec() } else { Vec::new() } });
    }
    // `forward_to` has no field that was used, and no other recipients to keep quiet about; a default box sees what there is.
    let (auto, used, configured) = match resolution {
        Resolution::Recipients(_, evidence) => (!evidence.is_forward(), evidence.field, evidence.header.as_str()),
        _ => (true, None, ""),
    };
    let resolved = matches!(resolution, Resolution::Recipients(..)) && auto;
    for (index, field) in header.fields().iter().enumerate() {
        let is = |name: &&str| header.is(field, name);
        let with = if is(&"Return-Path") || DROPPINGS.iter().any(is) || (auto && ["Bcc", "Resent-Bcc"].iter().any(is)) {
            Vec::new()
        } else if is(&"Delivered-To") {
            match names_one_of(header, field, recipients) {
                true => renamed(header, field, b"X-Orig-Delivered-To:"),
                false => continue,
            }
        } else if is(&"Authentication-Results") {
            match authserv_id(header, field).eq_ignore_ascii_case(hostname) {
                true => renamed(header, field, b"X-Orig-Authentication-Results:"),
                false => continue,
            }
        } else if resolved
            && used != Some(index)
            && (PROBES.iter().any(|probe| is(&probe.header)) || is(&configured))
            && names_others(header, field, recipients)
        {
            Vec::new()
        } else {
            continue;
        };
        edits.push(Edit { cut: field.whole.clone(), with });
    }
    edits
}

fn renamed(header: &HeaderBlock, field: &Field, name: &[u8]) -> Vec<u8> {
    [name, &header.octets()[field.value.clone()], b"\r\n"].concat()
}

/// The first word (RFC 8601 §2.2), without the comments and the version that may follow it.
fn authserv_id(header: &HeaderBlock, field: &Field) -> String {
    let text = header.text(field);
    text.split([';', ' ', '\t', '(']).next().unwrap_or_default().trim_matches('"').to_owned()
}

fn names_one_of(header: &HeaderBlock, field: &Field, recipients: &[Recipient]) -> bool {
    addresses(&header.text(field)).iter().any(|address| recipients.iter().any(|recipient| same(address, &recipient.address)))
}

fn names_others(header: &HeaderBlock, field: &Field, recipients: &[Recipient]) -> bool {
    let is_recipient = |address| {
        let original = |recipient: &Recipient| recipient.original.as_ref().is_some_and(|original| same(address, original));
        recipients.iter().any(|recipient| same(address, &recipient.address) || original(recipient))
    };
    !addresses(&header.text(field)).iter().all(is_recipient)
}
