//! One delivery: as many transactions as its recipients need, one after the other.

use super::connection::{Connection, failed};
use super::failover::Standing;
use super::pool::{NoConnection, Pool};
use super::transaction::{self, Mail, Report};
use crate::mail::{Blame, Diagnosis, Envelope, Message, Outcome, Reply, ReversePath, Stage};
use crate::proto::smtp::{Extensions, is_bad_sender, is_policy_refusal};
use crate::spool::reader::Outgoing;
use std::collections::VecDeque;
use std::sync::Arc;

/// Delivers the message over a connection of the pool; one outcome for each recipient, and what they say about the server. The caller holds a
/// permit of the pool.
pub(super) async fn run(pool: &Arc<Pool>, envelope: &Envelope, message: &Message) -> (Vec<Outcome>, Standing) {
    let mut delivery = Running { pool, envelope, message, outcomes: vec![None; envelope.recipients.len()], remembered: false, misconfigured: false };
    if let Some(connection) = delivery.run().await {
        Pool::put_back(pool, connection);
    }
    let (remembered, misconfigured) = (delivery.remembered, delivery.misconfigured);
    let forgotten = || Outcome::Deferred(failed(Stage::Connect, "not tried"));
    let outcomes: Vec<Outcome> = delivery.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(forgotten)).collect();
    let standing = match target_failure(&outcomes) {
        None => Standing::Works { took: outcomes.iter().any(Outcome::is_delivered) },
        Some(diagnosis) if misconfigured => Standing::Misconfigured(diagnosis),
        Some(diagnosis) => Standing::failure(diagnosis, remembered),
    };
    (outcomes, standing)
}

/// Many servers judge the reverse-path at RCPT; they say so, or name it.
fn is_about_sender(reply: &Reply, sender: &ReversePath) -> bool {
    let (text, sender) = (reply.text.to_lowercase(), sender.to_smtp().to_lowercase());
    is_bad_sender(reply) || text.contains("sender") || (!sender.is_empty() && text.contains(&sender))
}

/// The target's failure, if that is all there is: then nothing was handed over, and another target may be asked.
fn target_failure(outcomes: &[Outcome]) -> Option<Diagnosis> {
    let mut first = None;
    for outcome in outcomes {
        match outcome {
            Outcome::Deferred(diagnosis) if diagnosis.blame == Blame::Target => first = first.or(Some(diagnosis)),
            _ => return None,
        }
    }
    first.cloned()
}

/// A delivery on its way.
struct Running<'a> {
    pool: &'a Arc<Pool>,
    envelope: &'a Envelope,
    message: &'a Message,
    outcomes: Vec<Option<Outcome>>,
    /// The server was not asked, as it failed a moment ago.
    remembered: bool,
    /// It refuses everybody.
    misconfigured: bool,
}

impl Running<'_> {
    /// Returns the connection if it can be used again.
    async fn run(&mut self) -> Option<Connection> {
        let everybody: Vec<usize> = (0..self.outcomes.len()).collect();
        let mut groups: VecDeque<Vec<usize>> = everybody.chunks(self.pool.max_recipients).map(<[usize]>::to_vec).collect();
        let mut held = None;
        while let Some(group) = groups.pop_front() {
            let mut connection = match held.take() {
                Some(connection) => connection,
                None => match self.pool.connection(self.envelope.client.as_ref()).await {
                    Ok(connection) => connection,
                    Err(none) => return self.without_connection(none),
                },
            };
            let mut group = self.sort_out(&connection.extensions, group);
            if group.is_empty() {
                held = Some(connection);
                continue;
            }
            let reused = connection.messages > 0;
            let mut report = self.transact(&mut connection, &group).await;
            if report.untouched && reused {
                // The server had closed a resting connection, and we learnt it too late: this says nothing about the message.
                connection = match self.pool.fresh(self.envelope.client.as_ref()).await {
                    Ok(connection) => connection,
                    Err(none) => return self.without_connection(none),
                };
                group = self.sort_out(&connection.extensions, group);
                if group.is_empty() {
                    held = Some(connection);
                    continue;
                }
                report = self.transact(&mut connection, &group).await;
            }
            self.count_refusals(&group, connection.client.is_some(), &mut report);
            for (index, outcome) in group.into_iter().zip(report.outcomes) {
                self.outcomes[index] = Some(outcome);
            }
            if let Some(diagnosis) = report.trouble {
                return self.give_up(diagnosis);
            }
            if !report.too_many.is_empty() {
                groups.push_front(report.too_many);
            }
            held = self.pool.keep(connection);
        }
        held
    }

    async fn transact(&self, connection: &mut Connection, group: &[usize]) -> Report {
        let needs_smtputf8 = group.iter().any(|&index| self.envelope.recipients[index].address.needs_smtputf8());
        let smtputf8 = needs_smtputf8 || self.envelope.sender.needs_smtputf8();
        transaction::run(
            connection,
            &Mail { envelope: self.envelope, message: self.message, recipients: group, smtputf8, suppress_dsn: self.pool.suppress_dsn },
        )
        .await
    }

    /// A server that refuses one recipient after the other by policy, and takes nobody, refuses us. Refusals that judge somebody else do not
    /// count, or a few letters from a blocked sender would stop the mail of all others.
    fn count_refusals(&mut self, group: &[usize], told_client: bool, report: &mut Report) {
        let mut state = self.pool.state();
        if report.accepted {
            return state.refusals.forget();
        }
        for (&index, outcome) in group.iter().zip(&mut report.outcomes) {
            let Outcome::Rejected(diagnosis) = outcome else { continue };
            let is_about_us = |reply: &Reply| is_policy_refusal(reply) && !told_client && !is_about_sender(reply, &self.envelope.sender);
            if diagnosis.stage != Stage::RcptTo || !diagnosis.reply.as_ref().is_some_and(is_about_us) {
                continue;
            }
            if state.refusals.refused(&self.envelope.recipients[index].address, self.message.trace_id()) {
                self.misconfigured = true;
                let text = "the server refuses one recipient after the other by policy: it seems not to accept mail from this host".to_owned();
                *outcome = Outcome::Deferred(Diagnosis { blame: Blame::Target, text, ..diagnosis.clone() });
            }
        }
    }

    /// Answers for those whom this server cannot take, without asking it; returns the others.
    fn sort_out(&mut self, offered: &Extensions, group: Vec<usize>) -> Vec<usize> {
        let octets = Outgoing::new(&self.envelope.prefix, &self.envelope.edits, &self.message.content).len();
        let smtputf8 = offered.smtputf8 && self.pool.relay.smtputf8;
        let why = if offered.smtputf8 { "is switched off for this target" } else { "is not offered by the server" };
        let rejected = |stage, blame, text| Some(Outcome::Rejected(Diagnosis::of_text(stage, blame, text)));
        let message_refused = if offered.size_max.is_some_and(|max| octets > max) {
            // RFC 1870 §6.3: what the server announces it will not take need not be sent.
            let max = offered.size_max.unwrap_or_default();
            rejected(Stage::MailFrom, Blame::Message, format!("the message has {octets} octets, and the server takes {max} at most (SIZE)"))
        } else if self.envelope.sender.needs_smtputf8() && !smtputf8 {
            let text = format!("the sender {} needs SMTPUTF8, which {why}", self.envelope.sender);
            rejected(Stage::MailFrom, Blame::Message, text)
        } else if self.pool.eight_bit_held && !offered.eight_bit_mime && (self.message.eight_bit || !self.envelope.prefix.is_ascii()) {
            // RFC 6152 §3: such content may be sent only where 8BITMIME is offered.
            let text = "the message has octets above 127, the server does not offer 8BITMIME, and `eight_bit: hold` is configured";
            rejected(Stage::MailFrom, Blame::Message, text.to_owned())
        } else {
            None
        };
        let mut rest = Vec::with_capacity(group.len());
        for index in group {
            let address = &self.envelope.recipients[index].address;
            self.outcomes[index] = match &message_refused {
                Some(refused) => Some(refused.clone()),
                None if address.needs_smtputf8() && !smtputf8 => {
                    rejected(Stage::RcptTo, Blame::Recipient, format!("the recipient {address} needs SMTPUTF8, which {why}"))
                }
                None => {
                    rest.push(index);
                    None
                }
            };
        }
        rest
    }

    fn without_connection(&mut self, none: NoConnection) -> Option<Connection> {
        self.remembered = none.remembered;
        self.give_up(none.diagnosis)
    }

    /// The target is at fault, or it broke off at this message: whoever was not answered is deferred.
    fn give_up(&mut self, diagnosis: Diagnosis) -> Option<Connection> {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(Outcome::Deferred(diagnosis.clone()));
        }
        None
    }
}
