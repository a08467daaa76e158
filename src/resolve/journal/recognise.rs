//! Tells journal reports from ordinary mail, by who sent them and where they came in.

use super::mime::boundary;
use super::{JournalScanner, RECIPIENTS_MAX, entry};
use crate::mail::{Address, HeaderBlock};
use crate::resolve::accept::same;
use crate::resolve::addresses::addresses;
use crate::resolve::rules::{Journal, JournalKind, Rules};
use crate::resolve::trusted::{Trust, TrustedBlock};
use std::collections::HashSet;

/// What a header says about the message, to a collector that opens journal reports.
#[derive(Debug)]
pub enum Recognised {
    /// Ordinary mail.
    Ordinary,
    /// The header names the recipients, and the message is the original.
    Named(Vec<Address>),
    /// A report: the scanner reads recipients and original from its body.
    Report(Box<JournalScanner>),
}

/// Tells reports of the journal that these rules name from ordinary mail.
pub fn recognise(header: &HeaderBlock, rules: &Rules) -> Recognised {
    let Some(journal) = &rules.journal else { return Recognised::Ordinary };
    let block = TrustedBlock::find(header, &Trust::from(rules));
    match journal.kind {
        JournalKind::Google => google_recipients(header, &block, journal).map_or(Recognised::Ordinary, Recognised::Named),
        JournalKind::Exchange => {
            JournalScanner::new(header, &block, journal).map_or(Recognised::Ordinary, |scanner| Recognised::Report(Box::new(scanner)))
        }
    }
}

/// Why a message that says that it is a report of this journal is not opened all the same; `None` for all others.
pub(in crate::resolve) fn not_opened(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<String> {
    let claims = exchange_boundary(header, block, journal).is_some() || google_named(header, block, journal).is_some();
    entry::entry(block, journal).err().filter(|_| claims)
}

/// The boundary of a message that claims to be a report of Exchange.
pub(super) fn exchange_boundary(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<String> {
    let from_journal = journal.kind == JournalKind::Exchange
        && is_from(header, &journal.from)
        && return_path(header, block).is_none_or(|path| path == Path::Null || path == Path::of(&journal.from));
    from_journal.then(|| boundary(header)).flatten()
}

/// The recipients of a message that Google's journal sent: all that X-Gm-Original-To names, if the message comes from the journal's sender and
/// host. At most one more than [`RECIPIENTS_MAX`], so that whoever counts sees that they are too many.
pub fn google_recipients(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<Vec<Address>> {
    google_named(header, block, journal).filter(|_| entry::entry(block, journal).is_ok())
}

fn google_named(header: &HeaderBlock, block: &TrustedBlock, journal: &Journal) -> Option<Vec<Address>> {
    let from_journal = || is_from(header, &journal.from) || return_path(header, block) == Some(Path::of(&journal.from));
    if journal.kind != JournalKind::Google || !from_journal() {
        return None;
    }
    let mut known = HashSet::new();
    let named = header.all("X-Gm-Original-To").flat_map(|field| addresses(&header.text(field)));
    let recipients: Vec<Address> = named.filter(|address| known.insert(address.clone())).take(RECIPIENTS_MAX + 1).collect();
    (!recipients.is_empty()).then_some(recipients)
}

/// True if the message has one From, and this address alone in it.
fn is_from(header: &HeaderBlock, address: &Address) -> bool {
    let mut fields = header.all("From");
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    matches!(&addresses(&header.text(field))[..], [only] if same(only, address))
}

#[derive(Debug)]
enum Path {
    Null,
    Address(Address),
    Rubbish,
}

impl Path {
    fn of(address: &Address) -> Self {
        Path::Address(address.clone())
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Path::Null, Path::Null) => true,
            (Path::Address(one), Path::Address(other)) => same(one, other),
            _ => false,
        }
    }
}

/// The topmost Return-Path that the provider wrote.
fn return_path(header: &HeaderBlock, block: &TrustedBlock) -> Option<Path> {
    let field = header.fields()[..block.len()].iter().find(|field| header.is(field, "Return-Path"))?;
    let text = header.text(field);
    Some(match &addresses(&text)[..] {
        [only] => Path::of(only),
        [] if text.chars().filter(|c| !c.is_whitespace()).eq(['<', '>']) => Path::Null,
        _ => Path::Rubbish,
    })
}
