//! `held release` and `held redeliver`: held mail on its way after all. Only a positive answer of the target lets go of it.
//!
//! The order of effects: delivered, then the row ends, then the file is removed. Whoever is killed between the first two delivers once more at
//! the next try (a Maildir finds its file); nothing is ever lost.

use super::{Common, Exit, Redeliver, Release, Which, chosen, failed, ledger_failed, open, runtime, say, start_logging};
use crate::collect::chronicle;
use crate::collect::dedupe;
use crate::collect::journal::Opened;
use crate::collect::plan::final_state;
use crate::collect::route::{Aside, Dress, Route, Routed, Router};
use crate::config::{Collector, Loaded};
use crate::deliver::Destination;
use crate::ledger::{HeldEnd, HeldMail, HeldWhy, State};
use crate::mail::{Address, Message, Outcome, Recipient, ReversePath};
use crate::observe::logging::audit;
use crate::observe::maillog;
use crate::service::Installation;
use crate::service::command::Requester;
use std::sync::Arc;

/// What is to be done with each message.
enum How<'a> {
    /// As it stands, to these or, if there are none, to those it was meant for.
    Release(&'a [Address]),
    /// By today's rules.
    Redeliver,
}

pub(super) fn release(arguments: &Release, common: &Common) -> Result<Exit, Exit> {
    each(&arguments.which, arguments.collector.as_deref(), &How::Release(&arguments.to), common)
}

pub(super) fn redeliver(arguments: &Redeliver, common: &Common) -> Result<Exit, Exit> {
    each(&arguments.which, arguments.collector.as_deref(), &How::Redeliver, common)
}

fn each(which: &Which, collector: Option<&str>, how: &How<'_>, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    start_logging(common, &loaded);
    if let Some(name) = collector
        && named(&loaded, name).is_none()
    {
        let known: Vec<&str> = loaded.config.collectors.keys().map(|id| id.as_str()).collect();
        eprintln!("error: no collector is called `{name}`\nhint: the configuration has: {}", known.join(", "));
        return Err(Exit::Usage);
    }
    runtime()?.block_on(async {
        let installation = open(&loaded).await?;
        let rows = installation.ledger().held().await.map_err(|error| ledger_failed(&error))?;
        let mut exit = Exit::Ok;
        for mail in chosen(which, &rows, |mail| mail.id)? {
            let done = one(&installation, &loaded, &mail, collector, how).await.unwrap_or_else(|exit| exit);
            // A broken store is worse than a target that does not want it.
            exit = if exit == Exit::Io || done == Exit::Ok { exit } else { done };
        }
        Ok(exit)
    })
}

async fn one(installation: &Installation, loaded: &Loaded, mail: &HeldMail, collector: Option<&str>, how: &How<'_>) -> Result<Exit, Exit> {
    let stays = |why: &str| {
        say(&format!("{}: stays held: {why}", mail.id));
        Exit::TempFail
    };
    let collector = match collector {
        Some(name) => named(loaded, name),
        None => of(loaded, mail),
    };
    let Some(collector) = collector else {
        eprintln!("hint: say `--collector NAME`: whose delivery is to be used");
        return Err(stays(&format!("its collector {} is not in the configuration any more", mail.key.collector)));
    };
    let message = installation.held().message(mail).await.map_err(|error| failed(&error))?;
    let router = installation.router(&collector);
    // A journal report that could not be opened when it was held may be one that can be opened by today's rules.
    let (message, report) = match how {
        How::Release(_) => (message, None),
        // What came out of one does not name its recipients: they stand in the row.
        How::Redeliver if mail.from_journal => (message, None),
        How::Redeliver => {
            let Opened { message, report, .. } = router.open_journal(message, installation.spool()).await;
            (message, report)
        }
    };
    let destination = installation.destination(&collector);
    let mut delivery = Delivery { installation, collector: &collector, mail, message: &message, router: &router, destination: &*destination };
    let route = match how {
        How::Release(to) => delivery.as_it_stands(to).map_err(|why| stays(&why))?,
        How::Redeliver if mail.from_journal => delivery.as_it_stands(&[]).map_err(|why| stays(&why))?,
        How::Redeliver => match router.route(&message, report.as_ref()) {
            Routed::To(route) => *route,
            Routed::Aside(Aside { reason, .. }) => {
                if mail.why == HeldWhy::Loop {
                    eprintln!("hint: `mailgather held release {} --to ADDR` delivers it all the same", mail.id);
                }
                return Err(stays(&reason));
            }
        },
    };
    let (wanting, had) = match how {
        How::Release(to) => {
            let has_it = |recipient: &Recipient| to.is_empty() && delivery.has_it(recipient);
            route.recipients.iter().cloned().partition(|recipient| !has_it(recipient))
        }
        How::Redeliver => delivery.forget(&route.recipients).await?,
    };
    had.iter().for_each(|recipient| say(&format!("{}: {} has it already", mail.id, recipient.address)));
    let rest = if wanting.is_empty() { Vec::new() } else { delivery.deliver(&route, &wanting).await? };
    destination.rest().await;
    if !rest.is_empty() {
        let rest: Vec<String> = rest.iter().map(|recipient| recipient.address.to_string()).collect();
        return Err(stays(&format!("for {}", rest.join(", "))));
    }
    // A note is no copy of its message: that one stays where it is, and is not disposed of for having been delivered.
    let end = match mail.why {
        HeldWhy::NotFetched => HeldEnd::Dropped,
        _ => HeldEnd::Delivered(delivery.state_at_source(loaded)),
    };
    let how = if matches!(how, How::Redeliver) { "redeliver" } else { "release" };
    installation.held().end(mail, end).await.map_err(|error| failed(&error))?;
    tracing::info!(target: audit::TARGET, event = "held_released", by = %Requester::cli(), how, collector = %mail.key.collector, key = %mail.key, id = %mail.trace_id, held = %mail.id);
    say(&format!("{}: done", mail.id));
    Ok(Exit::Ok)
}

fn named(loaded: &Loaded, name: &str) -> Option<Arc<Collector>> {
    loaded.config.collectors.values().find(|collector| collector.id.as_str() == name).cloned()
}

/// The collector that held it, or the one that has its mailbox now: state belongs to the mailbox, and a renamed collector keeps it.
fn of(loaded: &Loaded, mail: &HeldMail) -> Option<Arc<Collector>> {
    named(loaded, mail.key.collector.as_str()).or_else(|| with_mailbox(loaded, mail))
}

fn with_mailbox(loaded: &Loaded, mail: &HeldMail) -> Option<Arc<Collector>> {
    loaded.config.collectors.values().find(|collector| collector.server.mailbox() == *mail.key.mailbox).cloned()
}

/// One message on its way.
struct Delivery<'a> {
    installation: &'a Installation,
    collector: &'a Collector,
    mail: &'a HeldMail,
    message: &'a Message,
    router: &'a Router,
    destination: &'a dyn Destination,
}

impl Delivery<'_> {
    /// To these, or to those it was meant for, from whom it came.
    fn as_it_stands(&self, to: &[Address]) -> Result<Route, String> {
        let meant = || -> Result<Vec<Address>, String> {
            self.mail.recipients.iter().map(|address| address.parse::<Address>().map_err(|error| format!("{address}: {error}"))).collect()
        };
        if to.is_empty() && self.mail.why == HeldWhy::Loop {
            return Err("it went in a circle: say `--to ADDR` to deliver it all the same".into());
        }
        let addresses: Vec<Address> = if to.is_empty() { meant()? } else { to.to_vec() };
        if addresses.is_empty() {
            return Err("nobody was found for it: say `--to ADDR`, or mend the rules and `redeliver`".into());
        }
        let mut recipients: Vec<Recipient> = Vec::new();
        for address in addresses {
            if !recipients.iter().any(|known| known.address == address) {
                recipients.push(Recipient::new(address));
            }
        }
        let sender = match self.mail.sender.as_str() {
            // It was held before anybody asked for its reverse-path.
            "" if self.mail.recipients.is_empty() => None,
            "" => Some(ReversePath::Null),
            sender => Some(ReversePath::Address(sender.parse().map_err(|error| format!("its reverse-path {sender}: {error}"))?)),
        };
        Ok(self.router.released(self.message, recipients, sender))
    }

    /// Forgets the deliveries by which this letter would be known as a duplicate; those who have this very message are told apart, because
    /// held mail may be what is left of a delivery to several.
    async fn forget(&mut self, recipients: &[Recipient]) -> Result<(Vec<Recipient>, Vec<Recipient>), Exit> {
        let ledger = self.installation.ledger();
        let keys: Vec<_> = recipients.iter().map(|recipient| self.key(recipient)).collect();
        let seen = ledger.seen(&keys, i64::MIN).await.map_err(|error| ledger_failed(&error))?;
        let wanted = |n: usize| self.mail.recipients.contains(&recipients[n].address.to_smtp());
        let noted = |n: usize| !wanted(n) && seen.get(n).copied().flatten() == Some(self.message.trace_id());
        let has_it = |n: usize| self.has_it(&recipients[n]) || noted(n);
        let forget: Vec<_> = (0..keys.len()).filter(|n| !has_it(*n)).map(|n| keys[n]).collect();
        ledger.forget_seen(&forget).await.map_err(|error| ledger_failed(&error))?;
        let (had, wanting): (Vec<_>, Vec<_>) = (0..recipients.len()).partition(|n| has_it(*n));
        let of = |which: Vec<usize>| which.into_iter().map(|n| recipients[n].clone()).collect();
        Ok((of(wanting), of(had)))
    }

    /// The row says that it was delivered, or that an earlier decision was about this recipient.
    fn has_it(&self, recipient: &Recipient) -> bool {
        self.mail.done.contains(&recipient.address.to_smtp())
    }

    fn key(&self, recipient: &Recipient) -> crate::ledger::SeenKey {
        dedupe::key(&self.message.fingerprint, &recipient.address, &self.destination.name())
    }

    /// Delivers, says how it went, notes who has it, and returns who does not.
    async fn deliver(&mut self, route: &Route, wanting: &[Recipient]) -> Result<Vec<Recipient>, Exit> {
        let (id, to) = (self.mail.id, self.destination.name());
        // In doubt each time: an earlier release may have been killed behind its delivery, and a Maildir can tell.
        let envelope = self.router.envelope(self.message, route, wanting, &Dress { in_doubt: true, ..Dress::default() });
        let outcomes = self.destination.deliver(&envelope, self.message).await;
        let (mut rest, mut seen) = (Vec::new(), Vec::new());
        for (n, recipient) in wanting.iter().enumerate() {
            let address = &recipient.address;
            match outcomes.get(n) {
                Some(Outcome::Delivered(reply)) => {
                    say(&format!("{id}: delivered to {address}, {to}: {reply}"));
                    maillog::delivered(self.message, recipient, &route.by, &to, reply, self.mail.octets);
                    let (key, now) = (self.key(recipient), jiff::Timestamp::now().as_second());
                    seen.push(dedupe::seen(key, self.message.trace_id(), now, self.collector.dedupe_window));
                    continue;
                }
                Some(Outcome::Deferred(diagnosis) | Outcome::Rejected(diagnosis)) => {
                    say(&format!("{id}: not delivered to {address}, {to}: {diagnosis}"))
                }
                Some(Outcome::Unknown(diagnosis)) => say(&format!("{id}: perhaps delivered to {address}, {to} did not say: {diagnosis}")),
                None => say(&format!("{id}: perhaps delivered to {address}, {to} did not say")),
            }
            rest.push(recipient.clone());
        }
        if self.collector.dedupe_window.is_zero() {
            seen.clear();
        }
        let asked: Vec<_> = wanting.iter().enumerate().map(|(n, recipient)| (recipient, outcomes.get(n))).collect();
        let row = chronicle::of_released(self.message, &route.by, &route.sender, &to, &asked);
        if rest.len() < wanting.len() {
            // With nobody left the row is about to end; until then it says for whom it was.
            let left: Vec<String> = rest.iter().map(|recipient| recipient.address.to_smtp()).collect();
            let left = if left.is_empty() { self.mail.recipients.clone() } else { left };
            let done: Vec<String> =
                wanting.iter().filter(|recipient| !rest.contains(recipient)).map(|recipient| recipient.address.to_smtp()).collect();
            self.installation.ledger().held_rest(id, &left, &done, &seen).await.map_err(|error| ledger_failed(&error))?;
        }
        self.installation.history().put(row);
        Ok(rest)
    }

    /// What becomes of the source's copy: what its own collector does after a delivery, whoever delivered this.
    fn state_at_source(&self, loaded: &Loaded) -> State {
        with_mailbox(loaded, self.mail).map_or(State::Kept, |collector| final_state(collector.after))
    }
}
