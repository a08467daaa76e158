//! The envelope of a delivery (RFC 5321 §2.3.1): who it comes from and who gets it.

use super::{Address, Domain};
use std::fmt;
use std::net::IpAddr;

/// The reverse-path: where a bounce would go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: the message may not be answered by a machine (RFC 5321 §4.5.5).
    Null,
    /// An address.
    Address(Address),
}

impl ReversePath {
    /// What stands between `MAIL FROM:<` and `>`.
    pub fn to_smtp(&self) -> String {
        match self {
            ReversePath::Null => String::new(),
            ReversePath::Address(address) => address.to_smtp(),
        }
    }

    /// True if only SMTPUTF8 can carry it.
    pub fn needs_smtputf8(&self) -> bool {
        matches!(self, ReversePath::Address(address) if address.needs_smtputf8())
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => f.write_str("<>"),
            ReversePath::Address(address) => write!(f, "{address}"),
        }
    }
}

/// One recipient of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// The local address.
    pub address: Address,
    /// The address that was found in the message, where a map or alias led to another.
    pub original: Option<Address>,
}

impl Recipient {
    /// A recipient that no map changed.
    pub fn new(address: Address) -> Self {
        Recipient { address, original: None }
    }
}

/// Sender and recipients of one delivery. There is always at least one recipient.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The reverse-path.
    pub sender: ReversePath,
    /// The recipients; never empty.
    pub recipients: Vec<Recipient>,
    /// The trace fields that go on top of the message at this delivery: complete header lines, each ended by CRLF.
    pub prefix: Vec<u8>,
    /// Edits of the message's own header for this delivery, ascending and not overlapping (see [`super::header::Edit`]).
    pub edits: Vec<super::header::Edit>,
    /// True if the target may hold a copy of an earlier attempt whose outcome is not known (a crash, no answer to the final dot).
    pub in_doubt: bool,
    /// The client that handed the message to the provider, if the trusted header tells: for XCLIENT.
    pub client: Option<Client>,
}

/// The mail client (or server) from which the provider took a message, as the provider saw it: what the local server would have seen, had
/// the message come to it directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub ip: IpAddr,
    /// Its name by reverse look-up, if the provider verified one.
    pub name: Option<Domain>,
    /// What it called itself in HELO or EHLO.
    pub helo: Option<Domain>,
    /// True if it spoke ESMTP, not SMTP.
    pub esmtp: bool,
}
