//! The reverse-path of a collected message: where a bounce goes.
//!
//! Only what the provider wrote is believed (spam carries Return-Path fields of its own, and a forged one would make us the source of
//! backscatter): the topmost Return-Path inside the trusted block, then its kin, then the envelope-from comment of a trusted Received
//! field. `<>` stays null and is never rewritten. A message that is itself a machine's answer and has none of these gets the null path;
//! everything else is up to `sender_fallback`.

use crate::mail::{Address, HeaderBlock, ReversePath};
use crate::resolve::addresses::addresses;
use crate::resolve::resolver::Resolution;
use crate::resolve::trusted::TrustedBlock;
use std::fmt;

/// `recipient.sender_fallback`: the reverse-path of mail whose own is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderFallback {
    /// Null for default-box and guessed mail, else From.
    Default,
    /// The null reverse-path.
    Null,
    /// Resent-Sender, Sender, Resent-From, From: the first valid address.
    From,
    /// Always this.
    Fixed(Address),
}

/// What named the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderEvidence {
    /// This field.
    Header(&'static str),
    /// The envelope-from comment of a trusted Received field.
    Received,
    /// The message is a bounce or an automatic answer.
    Bounce,
    /// `sender_fallback`.
    Fallback,
}

impl fmt::Display for SenderEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SenderEvidence::Header(name) => f.write_str(name),
            SenderEvidence::Received => f.write_str("Received (envelope-from)"),
            SenderEvidence::Bounce => f.write_str("an automatic message"),
            SenderEvidence::Fallback => f.write_str("sender_fallback"),
        }
    }
}

/// The stage of guessing from To and Cc, in [`crate::resolve::Evidence`].
pub const GUESS_STAGE: u8 = 4;

/// True if no envelope trace named the recipients: the message goes to the default box, or to those that To and Cc name, or to nobody yet.
/// Such mail is spam more often than not, so a bounce or an automatic answer to its From would mostly hit a bystander.
pub fn is_uncertain(resolution: &Resolution) -> bool {
    !matches!(resolution, Resolution::Recipients(_, evidence) if evidence.stage != GUESS_STAGE)
}

/// Finds the reverse-path. `uncertain` is what [`is_uncertain`] says of the message's resolution.
pub fn sender(header: &HeaderBlock, block: &TrustedBlock, fallback: &SenderFallback, uncertain: bool) -> (ReversePath, SenderEvidence) {
    const TRUSTED: [&str; 5] = ["Return-Path", "X-Envelope-From", "Envelope-From", "X-Envelope-Sender", "X-Return-Path"];
    for name in TRUSTED {
        let topmost = header.fields()[..block.len()].iter().find(|field| header.is(field, name));
        if let Some(path) = topmost.and_then(|field| path(&header.text(field))) {
            return (path, SenderEvidence::Header(name));
        }
    }
    if let Some(path) = block.hops().iter().find_map(|hop| hop.received.envelope_from.as_deref().and_then(path)) {
        return (path, SenderEvidence::Received);
    }
    if is_automatic(header) {
        return (ReversePath::Null, SenderEvidence::Bounce);
    }
    match fallback {
        SenderFallback::Null => (ReversePath::Null, SenderEvidence::Fallback),
        SenderFallback::Fixed(address) => (ReversePath::Address(address.clone()), SenderEvidence::Fallback),
        SenderFallback::Default if uncertain => (ReversePath::Null, SenderEvidence::Fallback),
        SenderFallback::Default | SenderFallback::From => from_header(header),
    }
}

/// `<>`, `<a@b>` or `a@b`; anything else counts as absent.
fn path(text: &str) -> Option<ReversePath> {
    let text = text.trim();
    if text.strip_prefix('<').and_then(|rest| rest.split_once('>')).is_some_and(|(inner, _)| inner.trim().is_empty()) {
        return Some(ReversePath::Null);
    }
    match &addresses(text)[..] {
        [one] => Some(ReversePath::Address(one.clone())),
        _ => None,
    }
}

fn from_header(header: &HeaderBlock) -> (ReversePath, SenderEvidence) {
    for name in ["Resent-Sender", "Sender", "Resent-From", "From"] {
        if let Some(address) = header.first(name).and_then(|field| addresses(&header.text(field)).into_iter().next()) {
            return (ReversePath::Address(address), SenderEvidence::Header(name));
        }
    }
    (ReversePath::Null, SenderEvidence::Fallback)
}

/// A bounce, a receipt or an automatic answer (RFC 3464, RFC 3834 §5).
fn is_automatic(header: &HeaderBlock) -> bool {
    let value = |name| header.first(name).map(|field| header.text(field).to_ascii_lowercase()).unwrap_or_default();
    let from_daemon = || {
        let from = value("From");
        addresses(&from).first().map_or_else(|| from.contains("mailer-daemon"), |address| address.local() == "mailer-daemon")
    };
    value("Content-Type").starts_with("multipart/report") || value("Auto-Submitted").starts_with("auto-replied") || from_daemon()
}
