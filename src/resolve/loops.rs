//! Mail that goes in a circle: our delivery ends up in a mailbox that we collect from.
//!
//! Two tests, both before delivery. The number of Received fields, whoever wrote them (RFC 5321 §6.3). And our own marker, one field per
//! pass: it names the mailbox and the recipients by keyed tags, so it tells outsiders nothing, and is signed over the message's fingerprint, so
//! they can neither make one nor move one to another message. A message that was collected from this mailbox for this recipient before
//! is a loop at once; one that came through other collectors of this instance may pass `max_passes` times.

use crate::mail::{Fingerprint, HeaderBlock, MailboxId, Recipient};
use crate::resolve::missing::named_fingerprint;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// The field that holds a marker.
pub const MARKER_HEADER: &str = "X-Mailgather-Loop";
/// Most markers that are looked at in one message, and recipients that one names.
pub const MARKERS_MAX: usize = 100;
/// Most recipients that a marker names.
pub const MARKED_RECIPIENTS_MAX: usize = 1_000;

const TAG_OCTETS: usize = 8;
const MAC_OCTETS: usize = 16;

/// Why a message is a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// It went through too many servers.
    Hops {
        /// Its Received fields.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// It was collected from this mailbox for this recipient before.
    SeenHere,
    /// It went through too many collectors of this instance.
    Passes {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loop::Hops { count, max } => write!(f, "it has {count} Received fields, max_hops is {max}"),
            Loop::SeenHere => write!(f, "a valid {MARKER_HEADER} of this mailbox and recipient is already present"),
            Loop::Passes { count, max } => write!(f, "it went through {count} collectors of this instance, max_passes is {max}"),
        }
    }
}

/// Makes and knows the markers of one instance.
#[derive(Clone)]
pub struct LoopGuard {
    key: [u8; 32],
    instance: String,
}

impl fmt::Debug for LoopGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopGuard").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl LoopGuard {
    /// A guard with the secret and the name of this instance; both stay the same for the life of its state.
    pub fn new(key: [u8; 32], instance: impl Into<String>) -> Self {
        LoopGuard { key, instance: instance.into() }
    }

    /// The marker of a delivery to these recipients: the value of [`MARKER_HEADER`], in words that may be folded at each blank.
    pub fn mint(&self, mailbox: &MailboxId, fingerprint: &Fingerprint, recipients: &[Recipient]) -> String {
        let mailbox = self.mailbox_tag(mailbox);
        let tags: Vec<[u8; TAG_OCTETS]> =
            recipients.iter().take(MARKED_RECIPIENTS_MAX).map(|recipient| self.recipient_tag(fingerprint, recipient)).collect();
        let mac = self.marker(&mailbox, fingerprint, &tags).finalize().into_bytes();
        let mut value = format!("1 {} {}", hex(&mac[..MAC_OCTETS]), hex(&mailbox));
        for tag in &tags {
            value.push(' ');
            value.push_str(&hex(tag));
        }
        value
    }

    /// Tells whether the message, about to be delivered to these recipients, is in a loop. `max_hops` 0 means no limit of hops, `max_passes`
    /// 0 none of passes through other collectors of this instance.
    ///
    /// A message without Message-ID was delivered with [one that tells its fingerprint](crate::resolve::missing()), and so has another one when
    /// it comes back; its markers are those of the former. Whoever moves both to a message of his own has it held, and nothing else.
    pub fn check(
        &self,
        header: &HeaderBlock,
        mailbox: &MailboxId,
        fingerprint: &Fingerprint,
        recipients: &[Recipient],
        max_hops: usize,
        max_passes: usize,
    ) -> Option<Loop> {
        let count = header.all("Received").count();
        if max_hops > 0 && count >= max_hops {
            return Some(Loop::Hops { count, max: max_hops });
        }
        let here = self.mailbox_tag(mailbox);
        let fingerprints: Vec<Fingerprint> = [Some(*fingerprint), named_fingerprint(header)].into_iter().flatten().collect();
        let tags = |fingerprint| recipients.iter().map(|recipient| self.recipient_tag(fingerprint, recipient)).collect::<Vec<_>>();
        let ours: Vec<[u8; TAG_OCTETS]> = fingerprints.iter().flat_map(tags).collect();
        let mut passes = Vec::new();
        for field in header.all(MARKER_HEADER).take(MARKERS_MAX) {
            let Some(marker) = Marker::parse(&header.text(field)) else { continue };
            let is_ours = |fingerprint| self.marker(&marker.mailbox, fingerprint, &marker.recipients).verify_truncated_left(&marker.mac).is_ok();
            if !fingerprints.iter().any(is_ours) {
                continue;
            }
            if marker.mailbox == here && marker.recipients.iter().any(|tag| ours.contains(tag)) {
                return Some(Loop::SeenHere);
            }
            if !passes.contains(&marker.mac) {
                passes.push(marker.mac);
            }
        }
        (max_passes > 0 && passes.len() >= max_passes).then_some(Loop::Passes { count: passes.len(), max: max_passes })
    }

    fn mailbox_tag(&self, mailbox: &MailboxId) -> [u8; TAG_OCTETS] {
        self.tag(&[b"mailbox", mailbox.protocol.as_bytes(), mailbox.host.as_bytes(), mailbox.login.as_bytes()])
    }

    /// The fingerprint is in it, so that nobody can tell from two messages that they went to the same person.
    fn recipient_tag(&self, fingerprint: &Fingerprint, recipient: &Recipient) -> [u8; TAG_OCTETS] {
        self.tag(&[
            b"recipient",
            &fingerprint.0,
            recipient.address.local().to_lowercase().as_bytes(),
            recipient.address.domain().as_ascii().as_bytes(),
        ])
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_OCTETS] {
        let mac = self.mac(parts).finalize().into_bytes();
        let mut tag = [0; TAG_OCTETS];
        tag.copy_from_slice(&mac[..TAG_OCTETS]);
        tag
    }

    fn marker(&self, mailbox: &[u8], fingerprint: &Fingerprint, recipients: &[[u8; TAG_OCTETS]]) -> Hmac<Sha256> {
        self.mac(&[b"marker", mailbox, &fingerprint.0, recipients.as_flattened()])
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.key_block());
        for part in [&[self.instance.as_bytes()], parts].concat() {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }

    /// RFC 2104 §2: a key shorter than a block is filled with zeros.
    fn key_block(&self) -> hmac::digest::Key<Hmac<Sha256>> {
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block[..self.key.len()].copy_from_slice(&self.key);
        block
    }
}

struct Marker {
    mac: [u8; MAC_OCTETS],
    mailbox: [u8; TAG_OCTETS],
    recipients: Vec<[u8; TAG_OCTETS]>,
}

impl Marker {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        if words.next()? != "1" {
            return None;
        }
        let (mac, mailbox) = (unhex(words.next()?)?, unhex(words.next()?)?);
        let recipients = words.take(MARKED_RECIPIENTS_MAX).map(unhex).collect::<Option<Vec<_>>>()?;
        Some(Marker { mac, mailbox, recipients })
    }
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(octets)
}

/// True for the message in which UW-IMAP (and what descends from it) keeps the state of an mbox: it is neither delivered nor deleted. It
/// never went through a mail server, so a message from outside cannot pose as it.
pub fn is_internal_message(header: &HeaderBlock) -> bool {
    let has_state = header.first("X-IMAP").or_else(|| header.first("X-IMAPbase")).is_some();
    let subject = header.first("Subject").map(|field| header.text(field)).unwrap_or_default();
    has_state && subject.to_ascii_uppercase().starts_with("DON'T DELETE THIS MESSAGE") && header.first("Received").is_none()
}
