//! What the operator told the resolver (`recipient.auto` and its neighbours), checked and ready for use.

use crate::mail::{Address, Domain, Pattern};
use std::collections::{BTreeMap, BTreeSet};

/// The rules of one collector in `auto` mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Which headers are asked.
    pub headers: Headers,
    /// Domains whose addresses pass as they are: those configured, or by default the targets and sources of `map` and `aliases` and the
    /// domain of `email`.
    pub domains: BTreeSet<Domain>,
    /// Domains all of whose sub-domains are accepted too, but not they themselves: `.example.org`.
    pub subdomains: BTreeSet<Domain>,
    /// Those of `domains` that nobody wrote down there: an alias or a map leads to a mailbox in them, which makes no other address there ours.
    /// Nothing is guessed at these.
    pub target_domains: BTreeSet<Domain>,
    /// Domain to domain (`раз@почта.рф` becomes `раз@икс.рф`), or to one mailbox.
    pub map: BTreeMap<Domain, MapTo>,
    /// Address to addresses.
    pub aliases: Vec<Alias>,
    /// Expressions that rewrite an address, asked behind aliases and before `map`; the first that matches decides.
    pub rewrite: Vec<Rewrite>,
    /// Mailing lists to members: only asked where recipients are guessed.
    pub lists: Vec<ListRule>,
    /// Addresses that never are recipients.
    pub exclude: Vec<Exclude>,
    /// The `+tag` of an address is kept where an alias without it decided.
    pub keep_tag: bool,
    /// Whether To and Cc may be asked.
    pub guess: Guess,
    /// Journal reports are opened.
    pub journal: Option<Journal>,
    /// Hosts whose Received fields are believed: suffixes matched against "by". Empty means automatic, from `server_host`.
    pub trusted_hosts: Vec<String>,
    /// Exactly this many topmost Received fields are believed.
    pub trusted_hops: Option<usize>,
    /// Fields under the last trusted Received, up to the next one, are believed as well.
    pub envelope_below_received: bool,
    /// Most recipients of one message.
    pub max_recipients: usize,
    /// `trusted_hosts: mx`: the hosts that this domain's MX records name are trusted beside `server_host`.
    pub mx_of: Option<Domain>,
    /// Those hosts, looked up outside before a pass.
    pub mx_hosts: Vec<String>,
    /// Hosts whose Received fields the provider of the mailbox writes, with what is below them: automatic trusts them beside `server_host`.
    pub provider_hosts: Vec<String>,
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
    /// What of the value is read: the first group of the expression, or all that it matches. Without a match the instance says nothing.
    pub pattern: Option<Pattern>,
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
    /// It is held.
    Hold,
    /// It is thrown away, and reported.
    Discard,
}

/// Where `map` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapTo {
    /// The same local part at this domain.
    Domain(Domain),
    /// This mailbox, for the whole domain.
    Mailbox(Address),
}

/// `rewrite`: one entry. The expression is matched against the whole address as people write it (`раз@почта.рф`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// What it must match, from the first character to the last.
    pub regex: Pattern,
    /// What becomes of it, with `$1` or `${name}` for the groups. A domain that comes from a group must be an accepted one.
    pub to: String,
}

/// `lists`: one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRule {
    /// The list.
    pub list: ListName,
    /// Its members here.
    pub to: Vec<Address>,
}

/// How a mailing list is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListName {
    /// By its address in To, Cc or List-Post (RFC 2369).
    Address(Address),
    /// By its List-Id (RFC 2919), lower case, without the angle brackets.
    Id(String),
}

/// `exclude`: one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclude {
    /// This address.
    Address(Address),
    /// Each address that the expression matches, as people write it.
    Pattern(Pattern),
}

/// `guess`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guess {
    /// Never.
    #[default]
    Off,
    /// Where no envelope header says anything.
    On,
    /// Also beside what an envelope header says: for providers that put one copy into the box, however many recipients it has.
    Union,
}

/// `recipient.journal`, `journal_from` and `journal_hosts`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Whose reports.
    pub kind: JournalKind,
    /// Who sends them. A report from anybody else is ordinary mail: anyone can write one that dictates recipients.
    pub from: Address,
    /// The hosts that they come from: names with what is below them, `.example.org` only what is below it. Empty: google.com for Google;
    /// outlook.com and the domain of `from` for Exchange.
    pub hosts: Vec<String>,
}

/// The kinds of journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalKind {
    /// Exchange and Microsoft 365: a report with the envelope in its first part and the original attached.
    Exchange,
    /// Google: the recipients in `X-Gm-Original-To` of the message itself.
    Google,
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

impl Default for Rules {
    /// The defaults of every key, for no domain at all.
    fn default() -> Self {
        Rules {
            headers: Headers::Auto,
            domains: BTreeSet::new(),
            subdomains: BTreeSet::new(),
            target_domains: BTreeSet::new(),
            map: BTreeMap::new(),
            aliases: Vec::new(),
            rewrite: Vec::new(),
            lists: Vec::new(),
            exclude: Vec::new(),
            keep_tag: true,
            guess: Guess::Off,
            journal: None,
            trusted_hosts: Vec::new(),
            trusted_hops: None,
            envelope_below_received: false,
            max_recipients: 20,
            mx_of: None,
            mx_hosts: Vec::new(),
            provider_hosts: Vec::new(),
            server_host: String::new(),
            own: None,
            default_box: None,
            unresolved: Unresolved::Leave,
        }
    }
}
