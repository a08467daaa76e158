//! From a message to its envelope: loop check, resolver, reverse-path, header edits and the trace fields on top. Pure but for the clock.

use crate::config::{Collector, Protocol, RecipientMode, Target, TlsMode};
use crate::ledger::Instance;
use crate::mail::{Address, Envelope, Message, Recipient, ReversePath};
use crate::resolve::{self, LoopGuard, Resolution, SenderFallback, Stamp, Trail, Trust, TrustedBlock};
use std::sync::Arc;

/// What the program calls itself in trace fields.
const PRODUCT: &str = concat!("mailgather/", env!("CARGO_PKG_VERSION"));

/// The rules of one collector, ready to be asked for each message.
pub struct Router {
    collector: Arc<Collector>,
    guard: LoopGuard,
    hostname: String,
}

/// Where a message goes.
#[derive(Debug)]
pub struct Route {
    /// Its recipients; never empty.
    pub recipients: Vec<Recipient>,
    /// How they were found, for the log.
    pub by: String,
    sender: ReversePath,
    resolution: Resolution,
}

/// The router's answer.
#[derive(Debug)]
pub enum Routed {
    /// It has recipients.
    To(Box<Route>),
    /// It stays at its source.
    Leave {
        /// The event of the mail log.
        event: &'static str,
        /// Why.
        reason: String,
    },
}

impl Router {
    /// A router for this collector on this host.
    pub fn new(collector: Arc<Collector>, instance: &Instance, hostname: &str) -> Self {
        let id: String = instance.id.iter().map(|byte| format!("{byte:02x}")).collect();
        Router { collector, guard: LoopGuard::new(instance.key, id), hostname: hostname.to_owned() }
    }

    /// The default box, if there is one.
    pub fn default_box(&self) -> Option<&Address> {
        match &self.collector.recipient {
            RecipientMode::ForwardTo(..) => None,
            RecipientMode::Auto(rules, _) => rules.default_box.as_ref(),
        }
    }

    /// Who gets this message, or why nobody does.
    pub fn route(&self, message: &Message) -> Routed {
        let header = &message.header;
        if resolve::is_internal_message(header) {
            return Routed::Leave { event: "message_left", reason: "the mail server's own folder data, not a message".into() };
        }
        let (resolution, _) = resolution(&self.collector, header);
        let recipients = match &resolution {
            Resolution::Leave(reason) => return Routed::Leave { event: "recipient_unresolved", reason: reason.to_string() },
            found => found.recipients().to_vec(),
        };
        let (max_hops, max_passes) = (self.collector.delivery.max_hops, self.collector.delivery.max_passes);
        let found = self.guard.check(header, &message.key.mailbox, &message.fingerprint, &recipients, max_hops, max_passes);
        if let Some(found) = found {
            return Routed::Leave { event: "message_loop", reason: found.to_string() };
        }
        let by = match &resolution {
            Resolution::Recipients(_, evidence) => evidence.to_string(),
            Resolution::DefaultBox(_, reason) | Resolution::Leave(reason) | Resolution::Hold(reason) | Resolution::Discard(reason) => {
                format!("default box: {}", reason.code())
            }
        };
        let sender = sender(&self.collector, header, &resolution);
        Routed::To(Box::new(Route { recipients, by, sender, resolution }))
    }

    /// The envelope of one delivery. `refused` is the address that the target refused, when the default box gets the message in its place.
    pub fn envelope(&self, message: &Message, route: &Route, recipients: &[Recipient], refused: Option<&Address>, in_doubt: bool) -> Envelope {
        let (server, delivery) = (&self.collector.server, &self.collector.delivery);
        let protocol = match (server.protocol, server.tls.mode) {
            (Protocol::Imap, TlsMode::None) => "IMAP",
            (Protocol::Imap, _) => "IMAPS",
            (Protocol::Pop3, TlsMode::None) => "POP3",
            (Protocol::Pop3, _) => "POP3S",
        };
        let stamp = Stamp {
            received: delivery.trace_received,
            id: delivery.trace_id,
            return_path: matches!(delivery.target, Target::Maildir { .. }).then_some(&route.sender),
            hostname: &self.hostname,
            product: PRODUCT,
            protocol,
            source_host: &server.host,
            source_ip: None,
            trace_id: message.trace_id(),
            collector: &message.key.collector,
            time: &jiff::Zoned::now(),
            recipients,
            resolution: &route.resolution,
            refused: refused.map(std::slice::from_ref).unwrap_or_default(),
            marker: &self.guard.mint(&message.key.mailbox, &message.fingerprint, recipients),
        };
        Envelope {
            sender: route.sender.clone(),
            recipients: recipients.to_vec(),
            prefix: stamp.to_header(),
            edits: resolve::edits(&message.header, &route.resolution, recipients, &self.hostname, &delivery.headers),
            in_doubt,
            client: None,
        }
    }
}

/// The resolver's answer for a header, with the trail that `explain` prints.
pub fn resolution(collector: &Collector, header: &crate::mail::HeaderBlock) -> (Resolution, Trail) {
    match &collector.recipient {
        RecipientMode::ForwardTo(to, _) => resolve::forward(to),
        RecipientMode::Auto(rules, _) => resolve::resolve(header, rules),
    }
}

/// The reverse-path for a header that was resolved so.
pub fn sender(collector: &Collector, header: &crate::mail::HeaderBlock, resolution: &Resolution) -> ReversePath {
    let (trust, fallback): (Trust<'_>, &SenderFallback) = match &collector.recipient {
        RecipientMode::ForwardTo(_, fallback) => (Trust::automatic(&collector.server.host), fallback),
        RecipientMode::Auto(rules, fallback) => (Trust::from(&**rules), fallback),
    };
    let block = TrustedBlock::find(header, &trust);
    resolve::sender(header, &block, fallback, resolve::is_uncertain(resolution)).0
}
