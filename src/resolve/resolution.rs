//! What the resolver answers: who gets a message, what named them, or why nobody was found.

use crate::mail::Recipient;
use std::fmt;

/// What `forward_to` goes by as evidence.
pub(super) const FORWARD_TO: &str = "forward_to";

/// Who gets the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// These; never empty.
    Recipients(Vec<Recipient>, Evidence),
    /// The default box, because of the reason.
    DefaultBox(Recipient, Reason),
    /// Nobody: it stays at the source, because of the reason.
    Leave(Reason),
    /// Nobody: it is held.
    Hold(Reason),
    /// Nobody: it is thrown away.
    Discard(Reason),
}

impl Resolution {
    /// The recipients; empty for [`Resolution::Leave`], [`Resolution::Hold`] and [`Resolution::Discard`] only.
    pub fn recipients(&self) -> &[Recipient] {
        match self {
            Resolution::Recipients(recipients, _) => recipients,
            Resolution::DefaultBox(recipient, _) => std::slice::from_ref(recipient),
            Resolution::Leave(_) | Resolution::Hold(_) | Resolution::Discard(_) => &[],
        }
    }

    /// Why nobody was found, if nobody was.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Resolution::Recipients(..) => None,
            Resolution::DefaultBox(_, reason) | Resolution::Leave(reason) | Resolution::Hold(reason) | Resolution::Discard(reason) => Some(*reason),
        }
    }
}

/// What named the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Which stage: 1 configured, 2 probe, 3 Received-for, 4 guessed; 0 for `forward_to` and journal reports.
    pub stage: u8,
    /// The header's name, `Received:for`, `To/Cc` or `list …` where it was guessed, `journal` or `forward_to`.
    pub header: String,
    /// Which instance of the header, from the top, 1-based; 0 where there is no single one.
    pub instance: usize,
    /// Which of the header's fields, from 0; `None` where there is no single one.
    pub field: Option<usize>,
}

impl Evidence {
    /// Evidence that is no single field of the header.
    pub(super) fn without_field(stage: u8, header: impl Into<String>) -> Self {
        Evidence { stage, header: header.into(), instance: 0, field: None }
    }

    /// True if the recipients were guessed from what the writer put into To and Cc: copies are told apart by the whole set of recipients then.
    pub fn is_guess(&self) -> bool {
        self.stage == 4
    }

    /// True if nobody was looked for: everything goes to the addresses of `forward_to`.
    pub fn is_forward(&self) -> bool {
        self.stage == 0 && self.header == FORWARD_TO
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.stage, self.instance) {
            (0, _) => f.write_str(&self.header),
            (stage, 0) => write!(f, "{} (stage {stage})", self.header),
            (stage, instance) => write!(f, "{} {instance} (stage {stage})", self.header),
        }
    }
}

/// Why nobody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The message has no header.
    NoHeader,
    /// No header that was asked for is there.
    NoEnvelopeHeader,
    /// Such headers stand outside the trusted block only, where a sender could have written them.
    UntrustedEnvelopeHeader,
    /// They name the collected mailbox only.
    OwnAddressOnly,
    /// They name excluded addresses only.
    ExcludedOnly,
    /// They name addresses of other domains only.
    ForeignAddressOnly,
    /// They name addresses only whose local part would route mail elsewhere.
    RoutingCharacters,
    /// They name more than `max_recipients`, or To and Cc more than may be guessed. Nobody is left out silently: the default box gets the
    /// message.
    TooManyRecipients,
    /// Recipients would have to be guessed, and it is a mailing list's message, whose To says nothing about who subscribed.
    ListMail,
}

impl Reason {
    /// A stable word, for headers, JSON and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Reason::NoHeader => "no_header",
            Reason::NoEnvelopeHeader => "no_envelope_header",
            Reason::UntrustedEnvelopeHeader => "untrusted_envelope_header",
            Reason::OwnAddressOnly => "own_address_only",
            Reason::ExcludedOnly => "excluded_only",
            Reason::ForeignAddressOnly => "foreign_address_only",
            Reason::RoutingCharacters => "routing_characters",
            Reason::TooManyRecipients => "too_many_recipients",
            Reason::ListMail => "list_mail",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::NoHeader => "the message has no header",
            Reason::NoEnvelopeHeader => "no header tells the envelope recipient",
            Reason::UntrustedEnvelopeHeader => "only headers that a sender could have written tell a recipient (see trusted_hosts, trusted_hops)",
            Reason::OwnAddressOnly => "the headers name the collected mailbox only",
            Reason::ExcludedOnly => "the headers name excluded addresses only (see exclude)",
            Reason::ForeignAddressOnly => "the headers name addresses of other domains only (see domains, map, aliases)",
            Reason::RoutingCharacters => {
                "the headers name an address with routing characters in the local part (one of @ % ! / |, or a dot in front)"
            }
            Reason::TooManyRecipients => "more recipients than max_recipients, or than may be guessed",
            Reason::ListMail => "a mailing list's recipients are never guessed (see lists)",
        })
    }
}
