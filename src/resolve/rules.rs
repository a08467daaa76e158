//! What the operator told the resolver (`recipient.auto` and its neighbours), checked and ready for use.

use crate::mail::{Address, Domain};
use std::collections::{BTreeMap, BTreeSet};

/// The rules of one collector in `auto` mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Which headers are asked.
    pub headers: Headers,
    /// Domains whose addresses pass as they are: those configured, or by default the targets and sources of `map` and `aliases` and the
    /// domain of `email`.
    pub domains: BTreeSet<Domain>,
    /// Domain to domain: `раз@почта.рф` becomes `раз@икс.рф`.
    pub map: BTreeMap<Domain, Domain>,
    /// Address to addresses.
    pub aliases: Vec<Alias>,
    /// Hosts whose Received fields are believed: suffixes matched against "by". Empty means automatic, from `server_host`.
    pub trusted_hosts: Vec<String>,
    /// Exactly this many topmost Received fields are believed.
    pub trusted_hops: Option<usize>,
    /// Fields under the last trusted Received, up to the next one, are believed as well.
    pub envelope_below_received: bool,
    /// Most recipients of one message.
    pub max_recipients: usize,
    /// The host that is collected from: what `trusted_hosts: auto` starts from.
    pub server_host: String,
    /// The collected mailbox itself: an envelope header that only names it says nothing.
    pub own: Option<Address>,
    /// Who gets what nobody else gets.
    pub default_box: Option<Address>,
    /// What to do when there is no recipient.
    pub unresolved: Unresolved,
}

/// `recipient.auto.headers`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Headers {
    /// The built-in probe, then Received-for.
    Auto,
    /// These, in this order, then nothing.
    List(Vec<HeaderRule>),
}

/// One configured header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// The field's name. `Received:for` means the for-clause of trusted Received fields.
    pub header: String,
    /// The n-th instance from the top, 1-based; `None` takes the first that yields an accepted address.
    pub index: Option<usize>,
    /// Cut from the front of the local part, in any case: qmail's virtual prefix.
    pub strip_prefix: Option<String>,
    /// Which of several accepted addresses.
    pub take: Take,
    /// Believe instances outside the trusted block too.
    pub trust_any: bool,
}

/// `take`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The first address.
    First,
    /// The last.
    Last,
    /// All.
    All,
}

/// `recipient.unresolved`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// To the default box.
    DefaultBox,
    /// It stays on the server, and is reported.
    Leave,
}

/// `aliases`: one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The local part; `*` stands for any octets, once or more often.
    pub local: String,
    /// The domain.
    pub domain: Domain,
    /// Who gets it.
    pub to: Vec<Address>,
}
