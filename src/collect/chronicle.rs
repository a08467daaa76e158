//! What the history is to say of a message, gathered on its way. Nothing is decided by it, and without a history nothing is gathered.

use super::deliver_one::By;
use super::route::Aside;
use super::settle::Fate;
use crate::held::decoded;
use crate::history::{History, Recipient, Row, Word};
use crate::ledger::{HeldMail, State};
use crate::mail::{self, Message, MessageKey, Outcome, TargetDown, arrived};
use jiff::Timestamp;

/// The word for what is too large.
const TOO_LARGE: &str = "too_large";

/// The row of a message that is on its way; nothing if nobody wants it.
pub(super) struct Chronicle(Option<Box<Row>>);

impl Chronicle {
    /// Begins with what the message says of itself.
    pub fn begin(history: &History, message: &Message) -> Self {
        Chronicle(history.is_wanted().then(|| {
            let mut row = Box::new(Row::new(&message.key));
            row.trace_id = Some(message.trace_id());
            describe(&mut row, message);
            row
        }))
    }

    /// It was a journal report: the row is about the letter in it.
    pub fn opened(&mut self, message: &Message) {
        if let Some(row) = &mut self.0 {
            describe(row, message);
        }
    }

    /// Its recipients were found.
    pub fn found(&mut self, by: &str, sender: &mail::ReversePath) {
        if let Some(row) = &mut self.0 {
            (row.by, row.sender) = (Row::text(by), Row::text(&sender.to_smtp()));
        }
    }

    /// It is for nobody now.
    pub fn aside(&mut self, aside: &Aside) {
        if let Some(row) = &mut self.0 {
            (row.why, row.reason, row.sender) = (aside.why.code().to_owned(), Row::text(&aside.reason), Row::text(&aside.sender.to_smtp()));
            for recipient in &aside.recipients {
                row.add(of(recipient, "held", ""));
            }
        }
    }

    /// One recipient has this letter already.
    pub fn duplicate(&mut self, recipient: &mail::Recipient) {
        if let Some(row) = &mut self.0 {
            row.add(of(recipient, "duplicate", ""));
        }
    }

    /// What was decided about one recipient, and what the target said.
    pub fn recipient(&mut self, recipient: &mail::Recipient, outcome: Option<&Outcome>, fate: &Fate, target: &str) {
        let Some(row) = &mut self.0 else { return };
        let (result, reason) = match fate {
            Fate::Delivered => ("delivered", ""),
            Fate::Again { reason, .. } | Fate::TargetDown(TargetDown { reason, .. }) => ("deferred", reason.as_str()),
            Fate::DefaultBox { reason } => ("refused", reason.as_str()),
            Fate::Hold { reason, .. } => ("held", reason.as_str()),
            Fate::Leave { reason } => ("left", reason.as_str()),
            Fate::Discard { reason } => ("discarded", reason.as_str()),
            Fate::InDoubt { reason } => ("in_doubt", reason.as_str()),
        };
        let reply = outcome.and_then(Outcome::reply).map(ToString::to_string);
        row.target = Row::text(target);
        if row.reason.is_empty() {
            row.reason = Row::text(reason);
        }
        row.add(of(recipient, result, reply.as_deref().unwrap_or(reason)));
    }

    /// What became of it in the end; `None`: nothing that the ledger is told of.
    pub fn finish(self, state: Option<&State>, by: By, held: Option<&HeldMail>) -> Option<Box<Row>> {
        let (mut row, state) = (self.0?, state?);
        row.at = Timestamp::now().as_millisecond();
        settle(&mut row, state, by, held);
        Some(row)
    }
}

/// The row of held mail that an operator sent on its way: what became of those who were to get it. It stays held for who did not.
pub fn of_released(
    message: &Message,
    by: &str,
    sender: &mail::ReversePath,
    target: &str,
    asked: &[(&mail::Recipient, Option<&Outcome>)],
) -> Box<Row> {
    let mut row = Box::new(Row::new(&message.key));
    describe(&mut row, message);
    (row.trace_id, row.by, row.sender, row.target) = (Some(message.trace_id()), Row::text(by), Row::text(&sender.to_smtp()), Row::text(target));
    for (recipient, outcome) in asked {
        let (result, reply) = match outcome {
            Some(Outcome::Delivered(reply)) => ("delivered", reply.to_string()),
            Some(Outcome::Deferred(diagnosis)) => ("deferred", diagnosis.to_string()),
            Some(Outcome::Rejected(diagnosis)) => ("refused", diagnosis.to_string()),
            Some(Outcome::Unknown(diagnosis)) => ("in_doubt", diagnosis.to_string()),
            None => ("in_doubt", "no answer".to_owned()),
        };
        if result != "delivered" {
            (row.result, row.reason) = (Word::Held, Row::text(&reply));
        }
        row.add(of(recipient, result, &reply));
    }
    row
}

/// The row of a message that was not fetched.
pub(super) fn of_entry(key: &MessageKey, state: &State) -> Box<Row> {
    let mut row = Box::new(Row::new(key));
    settle(&mut row, state, By::default(), None);
    row
}

/// What was delivered is the header alone, as the message is too large.
pub(super) fn header_only(row: &mut Row, octets: u64) {
    (row.result, row.why, row.octets) = (Word::Skipped, TOO_LARGE.to_owned(), octets);
}

fn describe(row: &mut Row, message: &Message) {
    let text = |name: &str| message.header.first(name).map(|field| message.header.text(field)).unwrap_or_default();
    row.message_id = Row::text(text("Message-ID").trim_start_matches('<').trim_end_matches('>'));
    row.from = Row::text(&decoded(&text("From")));
    row.octets = message.content.len();
    row.arrived = arrived(&message.header);
}

fn of(recipient: &mail::Recipient, result: &'static str, reply: &str) -> Recipient {
    let original = recipient.original.as_ref().map(ToString::to_string);
    Recipient::new(&recipient.address.to_string(), original.as_deref(), result, reply)
}

fn settle(row: &mut Row, state: &State, by: By, held: Option<&HeldMail>) {
    let mut is = |result: Word, why: &str| {
        row.result = result;
        if !why.is_empty() {
            row.why = why.to_owned();
        }
    };
    match (state, by) {
        (State::Held | State::HeldAway, By::Duplicate) if held.is_none() => is(Word::Duplicate, ""),
        (State::Held | State::HeldAway, _) => is(Word::Held, held.map_or("", |held| held.why.code())),
        _ if held.is_some() => is(Word::Held, held.map_or("", |held| held.why.code())),
        (State::Kept | State::Owed | State::Flagged, by) => match by {
            By::Delivery => is(Word::Delivered, ""),
            By::Unresolved => is(Word::Delivered, "unresolved"),
            By::Refused => is(Word::Delivered, "refused"),
            By::Duplicate => is(Word::Duplicate, ""),
            By::Discard => is(Word::Discarded, ""),
            By::Old => is(Word::Skipped, "old"),
            By::Header => is(Word::Skipped, TOO_LARGE),
        },
        (State::Pending(pending), _) => {
            is(Word::Deferred, "");
            if row.reason.is_empty() {
                row.reason = Row::text(&pending.reason);
            }
        }
        (State::Left { reason, .. }, _) => {
            is(Word::Left, "");
            row.reason = Row::text(reason);
        }
        (State::Skipped { octets }, _) => {
            is(Word::Skipped, TOO_LARGE);
            row.octets = *octets;
        }
    }
    if let Some(held) = held
        && row.reason.is_empty()
    {
        row.reason = Row::text(&held.reason);
    }
    // Somebody was refused, and all have it in the end: the reason stays with the one whom it is about.
    if row.result == Word::Delivered && row.why.is_empty() {
        row.reason.clear();
    }
}
