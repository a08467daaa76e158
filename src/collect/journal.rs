//! Opening a journal report: its body is read once, and what is delivered is the original in it.

use crate::config::{Collector, RecipientMode};
use crate::mail::{Message, outcome::harmless};
use crate::observe::maillog;
use crate::resolve::journal::{JournalScanner, Report, google_recipients};
use crate::resolve::{JournalKind, Trust, TrustedBlock};
use crate::spool::Spool;

/// The original of a journal report with what the report says, or the message as it is.
pub async fn open(collector: &Collector, message: Message, spool: &Spool) -> (Message, Option<Result<Report, &'static str>>) {
    let RecipientMode::Auto(rules, _) = &collector.recipient else { return (message, None) };
    let Some(journal) = &rules.journal else { return (message, None) };
    let block = TrustedBlock::find(&message.header, &Trust::from(&**rules));
    if journal.kind == JournalKind::Google {
        let recipients = google_recipients(&message.header, &block, journal);
        let report = recipients.map(|recipients| Ok(Report { sender: None, recipients, original: 0..message.content.len() }));
        return (message, report);
    }
    let Some(scanner) = JournalScanner::new(&message.header, &block, journal) else { return (message, None) };
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
