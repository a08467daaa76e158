//! Journal reports for `explain`: opened as delivery opens them.

use crate::config::{Collector, RecipientMode};
use crate::mail::HeaderBlock;
use crate::resolve::journal::{Recognised, Report, recognise};
use crate::resolve::{JournalKind, Rules};
use bytes::Bytes;

/// What a message is to a collector that opens journal reports.
pub(super) enum Opened<'a> {
    /// Ordinary mail.
    Ordinary,
    /// A report, and the header of the original.
    Report(&'a Rules, Box<Report>, HeaderBlock),
    /// A report that cannot be read, with the reason: it names nobody.
    Unreadable(&'a Rules, &'static str),
    /// A report of which only the header is here.
    Closed,
}

/// True if the collector's messages have to be read whole.
pub(super) fn reads_bodies(collector: &Collector) -> bool {
    let journal = rules(collector).and_then(|rules| rules.journal.as_ref());
    journal.is_some_and(|journal| journal.kind == JournalKind::Exchange)
}

/// Opens a message; `whole` holds all of its canonical octets, if they are here.
pub(super) fn open<'a>(collector: &'a Collector, header: &HeaderBlock, whole: Option<&Bytes>) -> Opened<'a> {
    let Some(rules) = rules(collector) else { return Opened::Ordinary };
    let mut scanner = match recognise(header, rules) {
        Recognised::Ordinary => return Opened::Ordinary,
        Recognised::Named(recipients) => {
            return Opened::Report(rules, Box::new(Report { sender: None, recipients, original: 0..0 }), header.clone());
        }
        Recognised::Report(scanner) => scanner,
    };
    let Some(whole) = whole else { return Opened::Closed };
    scanner.push(whole.get(header.body_start()..).unwrap_or_default());
    match scanner.finish() {
        Ok(report) => {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
            let original = whole.slice(place(report.original.start)..place(report.original.end).max(place(report.original.start)));
            Opened::Report(rules, Box::new(report), HeaderBlock::parse(original))
        }
        Err(why) => Opened::Unreadable(rules, why),
    }
}

fn rules(collector: &Collector) -> Option<&Rules> {
    match &collector.recipient {
        RecipientMode::Auto(rules, _) => Some(rules),
        RecipientMode::ForwardTo(..) => None,
    }
}
