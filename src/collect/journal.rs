//! Opening a journal report: its body is read once, and what is delivered is the original in it.

use crate::config::{Collector, RecipientMode};
use crate::mail::{Message, outcome::harmless};
use crate::observe::maillog;
use crate::resolve::journal::{Recognised, Report, recognise};
use crate::spool::Spool;

/// A message that may have been a journal report.
pub struct Opened {
    /// The original of a report, or the message as it is.
    pub message: Message,
    /// What the report says, or why it cannot be read; `None` for any other message.
    pub report: Option<Result<Report, &'static str>>,
    /// The report that the message came out of.
    pub whole: Option<Message>,
}

/// Opens a journal report; any other message stays as it is.
pub async fn open(collector: &Collector, message: Message, spool: &Spool) -> Opened {
    let as_it_is = |message, report| Opened { message, report, whole: None };
    let RecipientMode::Auto(rules, _) = &collector.recipient else { return as_it_is(message, None) };
    let scanner = match recognise(&message.header, rules) {
        Recognised::Ordinary => return as_it_is(message, None),
        Recognised::Named(recipients) => {
            let report = Report { sender: None, recipients, original: 0..message.content.len() };
            return as_it_is(message, Some(Ok(report)));
        }
        Recognised::Report(scanner) => *scanner,
    };
    let read = match spool.report(&message, scanner).await {
        Ok(read) => read,
        Err(_) => Err("the report cannot be read back from the spool"),
    };
    let report = match read {
        Ok(report) => report,
        Err(why) => {
            maillog::journal_unreadable(&message, why);
            return as_it_is(message, Some(Err(why)));
        }
    };
    // The report itself, should its original not be readable, or its recipients be nobody here.
    let Message { key, header, content, fingerprint, letter_id, eight_bit, repairs, budget: _ } = &message;
    let (key, header, content) = (key.clone(), header.clone(), content.clone());
    let (fingerprint, letter_id, eight_bit, repairs) = (*fingerprint, *letter_id, *eight_bit, *repairs);
    let whole = Message { key, header, content, fingerprint, letter_id, eight_bit, repairs, budget: None };
    match spool.original(message, report.original.clone()).await {
        Ok(original) => Opened { message: original, report: Some(Ok(report)), whole: Some(whole) },
        Err(error) => {
            maillog::journal_unreadable(&whole, &harmless(&error.to_string(), 200));
            as_it_is(whole, Some(Err("the attached original cannot be read")))
        }
    }
}
