//! Opening a journal report: its body is read once, and what is delivered is the original in it.

use crate::config::{Collector, RecipientMode};
use crate::mail::{Message, outcome::harmless};
use crate::observe::maillog;
use crate::resolve::journal::{Recognised, Report, recognise};
use crate::spool::Spool;

/// The original of a journal report with what the report says, or the message as it is.
pub async fn open(collector: &Collector, message: Message, spool: &Spool) -> (Message, Option<Result<Report, &'static str>>) {
    let RecipientMode::Auto(rules, _) = &collector.recipient else { return (message, None) };
    let scanner = match recognise(&message.header, rules) {
        Recognised::Ordinary => return (message, None),
        Recognised::Named(recipients) => {
            let report = Report { sender: None, recipients, original: 0..message.content.len() };
            return (message, Some(Ok(report)));
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
            return (message, Some(Err(why)));
        }
    };
    // The report itself, should its original not be readable.
    let Message { key, header, content, fingerprint, eight_bit, repairs, budget: _ } = &message;
    let (key, header, content) = (key.clone(), header.clone(), content.clone());
    let whole = Message { key, header, content, fingerprint: *fingerprint, eight_bit: *eight_bit, repairs: *repairs, budget: None };
    match spool.original(message, report.original.clone()).await {
        Ok(original) => (original, Some(Ok(report))),
        Err(error) => {
            maillog::journal_unreadable(&whole, &harmless(&error.to_string(), 200));
            (whole, Some(Err("the attached original cannot be read")))
        }
    }
}
