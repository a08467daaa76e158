//! One delivery: as many transactions as its recipients need, one after the other.

use super::connection::{Connection, failed};
use super::pool::Pool;
use super::transaction::{self, Mail, Report};
use crate::mail::{Blame, Diagnosis, Envelope, Message, Outcome, Stage};
use crate::proto::smtp::Extensions;
use crate::spool::reader::Outgoing;
use std::collections::VecDeque;
use std::sync::Arc;

/// Delivers the message over a connection of the pool; one outcome for each recipient.
pub(super) async fn run(pool: &Arc<Pool>, envelope: &Envelope, message: &Message) -> Vec<Outcome> {
    // The semaphore is never closed; were it, delivering without a permit is what harms least.
    let _permit = pool.permits.acquire().await.ok();
    let mut delivery = Running { pool, envelope, message, outcomes: vec![None; envelope.recipients.len()] };
    if let Some(connection) = delivery.run().await {
        Pool::put_back(pool, connection);
    }
    let forgotten = || Outcome::Deferred(failed(Stage::Connect, "not tried"));
    delivery.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(forgotten)).collect()
}

/// A delivery on its way.
struct Running<'a> {
    pool: &'a Arc<Pool>,
    envelope: &'a Envelope,
    message: &'a Message,
    outcomes: Vec<Option<Outcome>>,
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
                None => match self.pool.connection().await {
                    Ok(connection) => connection,
                    Err(diagnosis) => return self.give_up(diagnosis),
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
                connection = match self.pool.open().await {
                    Ok(connection) => connection,
                    Err(diagnosis) => return self.give_up(diagnosis),
                };
                group = self.sort_out(&connection.extensions, group);
                if group.is_empty() {
                    held = Some(connection);
                    continue;
                }
                report = self.transact(&mut connection, &group).await;
            }
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
        transaction::run(connection, &Mail { envelope: self.envelope, message: self.message, recipients: group, smtputf8 }).await
    }

    /// Answers for those whom this server cannot take, without asking it; returns the others.
    fn sort_out(&mut self, offered: &Extensions, group: Vec<usize>) -> Vec<usize> {
        let octets = Outgoing::new(&self.envelope.prefix, &self.envelope.edits, &self.message.content).len();
        let smtputf8 = offered.smtputf8 && self.pool.relay.smtputf8;
        let why = if offered.smtputf8 { "is switched off for this target" } else { "is not offered by the server" };
        let rejected = |stage, blame, text| Some(Outcome::Rejected(Diagnosis { stage, blame, reply: None, text }));
        let message_refused = if offered.size_max.is_some_and(|max| octets > max) {
            // RFC 1870 §6.3: what the server announces it will not take need not be sent.
            let max = offered.size_max.unwrap_or_default();
            rejected(Stage::MailFrom, Blame::Message, format!("the message has {octets} octets, and the server takes {max} at most (SIZE)"))
        } else if self.envelope.sender.needs_smtputf8() && !smtputf8 {
            let text = format!("the sender {} needs SMTPUTF8, which {why}", self.envelope.sender);
            rejected(Stage::MailFrom, Blame::Message, text)
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

    /// The target is at fault, or it broke off at this message: whoever was not answered is deferred.
    fn give_up(&mut self, diagnosis: Diagnosis) -> Option<Connection> {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(Outcome::Deferred(diagnosis.clone()));
        }
        None
    }
}
