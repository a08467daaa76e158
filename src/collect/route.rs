//! From a message to its envelope: journal, loop check, resolver, reverse-path, header edits and the trace fields on top. Pure but for the clock,
//! and for the body of a journal report.

use super::journal::Opened;
use crate::config::{Collector, Delivery, FolderFlag, Otherwise, RecipientMode, Target, TooLarge};
use crate::ledger::{HeldWhy, Instance};
use crate::mail::{Address, Client, Envelope, HeaderBlock, Message, Outcome, Recipient, Repairs, ReversePath, Stage};
use crate::observe::counters::Found;
use crate::observe::maillog;
use crate::policy::Action;
use crate::proto::smtp::is_bad_sender;
use crate::resolve::journal::Report;
use crate::resolve::{self, LoopGuard, Reliability, Resolution, SenderEvidence, SenderFallback, Stamp, Trail, Trust, TrustedBlock};
use crate::spool::Spool;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// What the program calls itself in trace fields.
const PRODUCT: &str = concat!("mailgather/", env!("CARGO_PKG_VERSION"));

/// The rules of one collector, ready to be asked for each message.
pub struct Router {
    collector: Arc<Collector>,
    guard: LoopGuard,
    hostname: String,
    reliability: Arc<Mutex<Reliability>>,
}

/// Where a message goes.
#[derive(Debug)]
pub struct Route {
    /// Its recipients; never empty.
    pub recipients: Vec<Recipient>,
    /// How they were found, for the log.
    pub by: String,
    /// Each step that led to them, in one line.
    pub trail: String,
    /// Its reverse-path.
    pub sender: ReversePath,
    /// A journal report named its recipients; the message itself does not.
    pub from_journal: bool,
    /// The reverse-path does not come from the envelope.
    sender_is_guessed: bool,
    /// What to say in its place if the target will not have it.
    fallback: ReversePath,
    resolution: Resolution,
    client: Option<Client>,
}

/// A message that is for nobody now.
#[derive(Debug)]
pub struct Aside {
    /// The event of the mail log.
    pub event: &'static str,
    /// The kind of reason, if it is held.
    pub why: HeldWhy,
    /// Why.
    pub reason: String,
    /// Hold, discard or leave.
    pub action: Action,
    /// Who would have got it; empty if nobody was found.
    pub recipients: Vec<Recipient>,
    /// Its reverse-path, as far as it is known.
    pub sender: ReversePath,
    /// A journal report named its recipients; the message itself does not.
    pub from_journal: bool,
}

/// The router's answer.
#[derive(Debug)]
pub enum Routed {
    /// It has recipients.
    To(Box<Route>),
    /// It has none.
    Aside(Aside),
}

impl Routed {
    /// The same people are to see a note in place of the message, and it is held for them.
    pub fn not_fetched(self, reason: &str) -> Aside {
        let (event, why, action) = ("message_unreadable", HeldWhy::NotFetched, Action::Hold);
        let reason = format!("the server cannot give this message, which stays there; this is a note about it: {reason}");
        match self {
            Routed::To(route) => {
                let Route { recipients, sender, from_journal, .. } = *route;
                Aside { event, why, reason, action, recipients, sender, from_journal }
            }
            Routed::Aside(aside) => Aside { event, why, reason, action, ..aside },
        }
    }
}

/// What differs between deliveries of one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dress<'a> {
    /// The addresses that the target refused, when the default box gets the message in their place.
    pub refused: &'a [Address],
    /// The target may hold a copy of an earlier attempt.
    pub in_doubt: bool,
    /// Another reverse-path than the message's own.
    pub sender: Option<&'a ReversePath>,
    /// Over-long lines of the header are folded.
    pub fold: bool,
    /// The address of the server that the message was fetched from.
    pub source_ip: Option<IpAddr>,
    /// It is a note in place of a message of so many octets, which is too large.
    pub too_large: Option<u64>,
}

impl Router {
    /// A router for this collector on this host.
    pub fn new(collector: Arc<Collector>, instance: &Instance, hostname: &str) -> Self {
        let id: String = instance.id.iter().map(|byte| format!("{byte:02x}")).collect();
        Router { collector, guard: LoopGuard::new(instance.key, id), hostname: hostname.to_owned(), reliability: Arc::default() }
    }

    /// The same router with this collector's rules; what it noticed so far is shared.
    pub fn with(&self, collector: Arc<Collector>) -> Self {
        let (guard, hostname) = (self.guard.clone(), self.hostname.clone());
        Router { collector, guard, hostname, reliability: Arc::clone(&self.reliability) }
    }

    /// The default box, if there is one.
    pub fn default_box(&self) -> Option<&Address> {
        match &self.collector.recipient {
            RecipientMode::ForwardTo(..) => None,
            RecipientMode::Auto(rules, _) => rules.default_box.as_ref(),
        }
    }

    /// The message that a journal report is about, with what the report says; any other message as it is. A report that cannot be read stays
    /// what it is, and has no recipients of its own.
    pub async fn open_journal(&self, message: Message, spool: &Spool) -> Opened {
        super::journal::open(&self.collector, message, spool).await
    }

    /// Who gets this message, or why nobody does.
    pub fn route(&self, message: &Message, report: Option<&Result<Report, &'static str>>) -> Routed {
        let (header, delivery) = (&message.header, &self.collector.delivery);
        // What was opened begins somewhere behind the report's own header.
        let from_journal = matches!(report, Some(Ok(report)) if report.original.start > 0);
        let aside = |event, why, reason: String, action| {
            Routed::Aside(Aside { event, why, reason, action, recipients: Vec::new(), sender: ReversePath::Null, from_journal: false })
        };
        if resolve::is_internal_message(header) {
            return aside("message_left", HeldWhy::Content, "the mail server's own folder data, not a message".into(), Action::Leave);
        }
        let (resolution, trail) = match report {
            Some(report) => journal_resolution(&self.collector, header, report),
            None => resolution(&self.collector, header),
        };
        if let (RecipientMode::Auto(..), Ok(mut reliability)) = (&self.collector.recipient, self.reliability.lock())
            && let Some(share) = reliability.note(&resolution)
        {
            maillog::unreliable(&self.collector.id, share);
        }
        let recipients = match &resolution {
            Resolution::Leave(reason) => return aside("recipient_unresolved", HeldWhy::Unresolved, reason.to_string(), Action::Leave),
            Resolution::Hold(reason) => return aside("recipient_unresolved", HeldWhy::Unresolved, reason.to_string(), Action::Hold),
            Resolution::Discard(reason) => return aside("recipient_unresolved", HeldWhy::Unresolved, reason.to_string(), Action::Discard),
            found => found.recipients().to_vec(),
        };
        let (trust, fallback) = trust(&self.collector);
        let block = TrustedBlock::find(header, &trust);
        let (sender, evidence) = match report {
            // The report's own envelope is the journal's; P1's sender is in it.
            Some(Ok(Report { sender, .. })) => (sender.clone().map_or(ReversePath::Null, ReversePath::Address), SenderEvidence::Header("journal")),
            _ => resolve::sender(header, &block, fallback, resolve::is_uncertain(&resolution)),
        };
        // It is known for whom it is, though it does not go to them now.
        let aside = |event, why, reason: String| {
            let (recipients, sender) = (recipients.clone(), sender.clone());
            Routed::Aside(Aside { event, why, reason, action: Action::Hold, recipients, sender, from_journal })
        };
        let (mailbox, hops, passes) = (&message.key.mailbox, delivery.max_hops, delivery.max_passes);
        if let Some(found) = self.guard.check(header, mailbox, &message.fingerprint, &recipients, hops, passes) {
            return aside("message_loop", HeldWhy::Loop, found.to_string());
        }
        let (octets, limit) = (message.content.len(), self.collector.max_message_size.unwrap_or(u64::MAX));
        if octets > limit && self.collector.too_large == TooLarge::Hold {
            let reason = format!("{octets} octets are more than max_message_size ({limit})");
            return aside("message_too_large", HeldWhy::TooLarge, reason);
        }
        if let Some(reason) = content_to_hold(&message.repairs, delivery) {
            return aside("message_content", HeldWhy::Content, reason);
        }
        let by = match &resolution {
            Resolution::Recipients(_, evidence) => evidence.to_string(),
            Resolution::DefaultBox(_, reason) | Resolution::Leave(reason) | Resolution::Hold(reason) | Resolution::Discard(reason) => {
                format!("default box: {}", reason.code())
            }
        };
        let fallback = match fallback {
            SenderFallback::Fixed(address) => ReversePath::Address(address.clone()),
            SenderFallback::Default | SenderFallback::Null | SenderFallback::From => ReversePath::Null,
        };
        // A report comes from the journal, whoever sent the original.
        let client = if delivery.xclient && report.is_none() { resolve::client(&block) } else { None };
        let sender_is_guessed = is_guess(evidence);
        let trail = trail.to_line();
        Routed::To(Box::new(Route { recipients, by, trail, sender, from_journal, sender_is_guessed, fallback, resolution, client }))
    }

    /// The route that an operator chose for held mail: these recipients, and no question is asked. The header is edited as today's rules say: what
    /// they find in it is kept quiet from everybody else. Without a reverse-path it has the one that these rules find.
    pub fn released(&self, message: &Message, recipients: Vec<Recipient>, sender: Option<ReversePath>) -> Route {
        let (resolution, trail) = resolution(&self.collector, &message.header);
        let sender = sender.unwrap_or_else(|| self::sender(&self.collector, &message.header, &resolution));
        let (by, trail) = ("released by the operator".into(), trail.to_line());
        Route { recipients, by, trail, sender, from_journal: false, sender_is_guessed: false, fallback: ReversePath::Null, resolution, client: None }
    }

    /// True if the header has lines that can be folded.
    pub fn can_fold(&self, message: &Message) -> bool {
        !resolve::fold(&message.header).is_empty()
    }

    /// The envelope of one delivery.
    pub fn envelope(&self, message: &Message, route: &Route, recipients: &[Recipient], dress: &Dress<'_>) -> Envelope {
        let (server, delivery) = (&self.collector.server, &self.collector.delivery);
        let protocol = server.protocol.trace_word(server.tls.mode);
        let sender = dress.sender.unwrap_or(&route.sender);
        let stamp = Stamp {
            received: delivery.trace_received,
            id: delivery.trace_id,
            return_path: matches!(delivery.target, Target::Maildir { .. }).then_some(sender),
            hostname: &self.hostname,
            product: PRODUCT,
            protocol,
            source_host: &server.host,
            source_ip: dress.source_ip,
            trace_id: message.trace_id(),
            collector: &message.key.collector,
            time: &jiff::Zoned::now(),
            recipients,
            resolution: &route.resolution,
            refused: dress.refused,
            marker: &self.guard.mint(&message.key.mailbox, &message.fingerprint, recipients),
        };
        let mut prefix = stamp.to_header();
        if let Some(octets) = dress.too_large {
            // A field of ours: one that stood in the message itself would be renamed as anybody's.
            prefix.extend_from_slice(format!("X-Mailgather-Too-Large: {octets}\r\n").as_bytes());
        }
        match self.collector.flag {
            Some(FolderFlag::Spam) => prefix.extend_from_slice(b"X-Spam-Flag: YES\r\n"),
            None => {}
        }
        if delivery.add_missing {
            prefix.extend(resolve::missing(&message.header, &message.fingerprint, &self.hostname));
        }
        let mut edits = resolve::edits(&message.header, &route.resolution, recipients, &self.hostname, &delivery.headers);
        if dress.fold {
            edits = resolve::merge(edits, resolve::fold(&message.header));
        }
        let client = route.client.clone();
        Envelope { sender: sender.clone(), recipients: recipients.to_vec(), prefix, edits, in_doubt: dress.in_doubt, client }
    }
}

impl Route {
    /// True if nobody was found, and the default box gets it.
    pub fn is_default_box(&self) -> bool {
        matches!(self.resolution, Resolution::DefaultBox(..))
    }

    /// What named the recipients, for counting.
    pub fn found(&self) -> Found {
        match &self.resolution {
            Resolution::Recipients(_, evidence) if evidence.is_forward() => Found::Forward,
            Resolution::Recipients(_, evidence) => match evidence.stage {
                0 => Found::Journal,
                1 | 2 => Found::Header,
                3 => Found::Received,
                _ if evidence.header.starts_with("list") => Found::List,
                _ => Found::Guess,
            },
            Resolution::DefaultBox(..) => Found::Default,
            Resolution::Leave(_) | Resolution::Hold(_) | Resolution::Discard(_) => Found::Nothing,
        }
    }

    /// Another reverse-path, where the target refused this one for everybody and another may do: it says that it cannot be answered to, or the
    /// message's own is not known anyway.
    pub fn sender_instead(&self, outcomes: &[Outcome]) -> Option<ReversePath> {
        let refusal = |outcome: &Outcome| match outcome {
            Outcome::Rejected(diagnosis) if diagnosis.stage == Stage::MailFrom => diagnosis.reply.clone(),
            // Many servers judge the reverse-path only when they hear the first recipient.
            Outcome::Rejected(diagnosis) if diagnosis.stage == Stage::RcptTo => diagnosis.reply.clone().filter(is_bad_sender),
            _ => None,
        };
        let reply = outcomes.iter().map(refusal).reduce(|one, other| one.and(other)).flatten()?;
        // RFC 3463 §3.2: the sender's address is malformed (5.1.7) or its domain does not exist (5.1.8).
        let about_sender = is_bad_sender(&reply) || (reply.enhanced.is_none() && matches!(reply.code, 501 | 553));
        let about_policy = matches!(reply.enhanced, Some((5, 7, _))) || matches!(reply.code, 501 | 550 | 553);
        let may_help = about_sender || (self.sender_is_guessed && about_policy);
        (may_help && self.sender != self.fallback).then(|| self.fallback.clone())
    }
}

/// Why a message is held for what was put right in it, if the configuration says so.
pub fn content_to_hold(repairs: &Repairs, delivery: &Delivery) -> Option<String> {
    let wanted = [
        (repairs.nul, delivery.nul, "NUL octets, which were removed (nul: hold)"),
        (repairs.bare_cr, delivery.bare_cr, "CRs without LF, which became line ends (bare_cr: hold)"),
    ];
    let (count, _, what) = wanted.into_iter().find(|(count, otherwise, _)| *count > 0 && *otherwise == Otherwise::Hold)?;
    Some(format!("it held {count} {what}"))
}

/// The resolver's answer for a header, with the trail that `explain` prints.
pub fn resolution(collector: &Collector, header: &HeaderBlock) -> (Resolution, Trail) {
    match &collector.recipient {
        RecipientMode::ForwardTo(to, _) => resolve::forward(to),
        RecipientMode::Auto(rules, _) => resolve::resolve(header, rules),
    }
}

/// The same for a journal report.
pub fn journal_resolution(collector: &Collector, header: &HeaderBlock, report: &Result<Report, &'static str>) -> (Resolution, Trail) {
    match (&collector.recipient, report) {
        (RecipientMode::Auto(rules, _), Ok(report)) => resolve::resolve_journal(&report.recipients, header, rules),
        // A report that cannot be read names nobody, and its own header only the journal's mailbox.
        (RecipientMode::Auto(rules, _), Err(_)) => resolve::resolve_journal(&[], header, rules),
        (RecipientMode::ForwardTo(to, _), _) => resolve::forward(to),
    }
}

/// The reverse-path for a header that was resolved so.
pub fn sender(collector: &Collector, header: &HeaderBlock, resolution: &Resolution) -> ReversePath {
    let (trust, fallback) = trust(collector);
    resolve::sender(header, &TrustedBlock::find(header, &trust), fallback, resolve::is_uncertain(resolution)).0
}

/// The envelope did not tell it.
fn is_guess(evidence: SenderEvidence) -> bool {
    let of_envelope = ["Return-Path", "X-Envelope-From", "Envelope-From", "X-Envelope-Sender", "X-Return-Path", "journal"];
    match evidence {
        SenderEvidence::Header(name) => !of_envelope.contains(&name),
        SenderEvidence::Received => false,
        SenderEvidence::Bounce | SenderEvidence::Fallback => true,
    }
}

fn trust(collector: &Collector) -> (Trust<'_>, &SenderFallback) {
    match &collector.recipient {
        RecipientMode::ForwardTo(_, fallback) => {
            (Trust { provider_hosts: &collector.received_hosts, ..Trust::automatic(&collector.server.host) }, fallback)
        }
        RecipientMode::Auto(rules, fallback) => (Trust::from(&**rules), fallback),
    }
}
