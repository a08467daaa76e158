//! `delivery:`, global and of a collector.

use super::Ctx;
use super::block::{Block, Keys};
use super::policy::{policy, retry};
use super::target::{TARGETS, hello, target};
use super::values::{boolean, choice, number};
use crate::config::yaml::Entry;
use crate::config::{Delivery, HeaderOptions, Otherwise, Relay, Target};
use crate::resolve::{BccOption, DeliveredToOption, ReceiptOption, SpamOption};

/// The keys of `delivery:`.
pub(super) const DELIVERY: Keys = Keys {
    known: &[
        "lmtp",
        "smtp",
        "maildir",
        "tls",
        "auth",
        "hello",
        "smtputf8",
        "max_connections",
        "max_messages_per_connection",
        "max_recipients",
        "maildir_create",
        "trace_headers",
        "max_hops",
        "max_passes",
        "on_permanent_failure",
        "policy",
        "retry",
        "suppress_dsn",
        "xclient",
        "eight_bit",
        "bare_cr",
        "nul",
        "add_missing",
        "fold",
        "headers",
    ],
    not_yet: &[],
};
pub(super) const HEADERS: Keys = Keys { known: &["bcc", "delivered_to", "spam", "receipts"], not_yet: &[] };
/// Most recipients of one transaction: as many as delivery ever puts into one.
const RECIPIENTS_MAX: usize = 1_000;
pub(super) const TRACE: Keys = Keys { known: &["received", "id"], not_yet: &[] };

/// The delivery of a collector, from its own block over the shared ones. `owner` is who misses a target.
pub(super) fn delivery(ctx: &mut Ctx<'_>, block: &Block<'_>, owner: &Block<'_>) -> Option<Delivery> {
    let names_target = |entries: &[Entry]| entries.iter().any(|entry| TARGETS.contains(&entry.key.as_str()));
    // What belongs to a target goes with it: the login of a shared relay must never reach the target that a collector put in its place.
    let of_target = block.down_to(names_target);
    let target = target(ctx, &of_target, owner);
    let smtputf8 = block.get("smtputf8").and_then(|entry| choice(ctx, entry, &[("auto", true), ("off", false)], &[])).unwrap_or(true);
    let hello = block.get("hello").and_then(|entry| hello(ctx, entry));
    let create = block.get("maildir_create").and_then(|entry| boolean(ctx, entry)).unwrap_or(false);
    let trace = block.child(ctx, "trace_headers", &TRACE);
    let delivery = Delivery {
        target: match target {
            Some(Target::Smtp(relay)) => Target::Smtp(Relay { hello, smtputf8, ..relay }),
            Some(Target::Lmtp(relay)) => Target::Lmtp(Relay { hello, smtputf8, ..relay }),
            Some(Target::Maildir { path, .. }) => Target::Maildir { path, create },
            // Everything else was read to be checked.
            None => Target::Maildir { path: String::new(), create },
        },
        max_connections: block.get("max_connections").and_then(|entry| number(ctx, entry, 1..=1_000)).unwrap_or(4),
        max_messages_per_connection: block.get("max_messages_per_connection").and_then(|entry| number(ctx, entry, 0..=1_000_000)).unwrap_or(100),
        max_recipients: block.get("max_recipients").and_then(|entry| number(ctx, entry, 1..=RECIPIENTS_MAX)).unwrap_or(100),
        trace_received: trace.get("received").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        trace_id: trace.get("id").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        max_hops: block.get("max_hops").and_then(|entry| number(ctx, entry, 1..=1_000)).unwrap_or(50),
        max_passes: block.get("max_passes").and_then(|entry| number(ctx, entry, 1..=100)).unwrap_or(3),
        policy: policy(ctx, block),
        retry: retry(ctx, block),
        suppress_dsn: block.get("suppress_dsn").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        xclient: block.get("xclient").and_then(|entry| boolean(ctx, entry)).unwrap_or(false),
        eight_bit: otherwise(ctx, block, "eight_bit", "send"),
        bare_cr: otherwise(ctx, block, "bare_cr", "crlf"),
        nul: otherwise(ctx, block, "nul", "strip"),
        add_missing: block.get("add_missing").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        fold_headers: block.get("fold").and_then(|entry| choice(ctx, entry, &[("headers", true), ("off", false)], &["qp"])).unwrap_or(true),
        headers: headers(ctx, block),
    };
    Some(delivery)
}

/// What stands in the place of a target about which an error was reported.
pub(super) fn is_nowhere(target: &Target) -> bool {
    matches!(target, Target::Maildir { path, .. } if path.is_empty())
}

/// The usual way has a word of its own in each key; the careful one is always `hold`.
fn otherwise(ctx: &mut Ctx<'_>, block: &Block<'_>, key: &str, usual: &str) -> Otherwise {
    let words = [(usual, Otherwise::Deliver), ("hold", Otherwise::Hold)];
    block.get(key).and_then(|entry| choice(ctx, entry, &words, &[])).unwrap_or_default()
}

/// The edits of a message's header that may be chosen.
fn headers(ctx: &mut Ctx<'_>, delivery: &Block<'_>) -> HeaderOptions {
    let block = delivery.child(ctx, "headers", &HEADERS);
    let bcc = [("auto", BccOption::Auto), ("keep", BccOption::Keep), ("remove", BccOption::Remove)];
    let delivered_to = [("rename", DeliveredToOption::Rename), ("all", DeliveredToOption::RenameAll), ("keep", DeliveredToOption::Keep)];
    let spam = [("keep", SpamOption::Keep), ("strip", SpamOption::Strip), ("prefix", SpamOption::Prefix)];
    let receipts = [("keep", ReceiptOption::Keep), ("drop", ReceiptOption::Drop)];
    HeaderOptions {
        bcc: block.get("bcc").and_then(|entry| choice(ctx, entry, &bcc, &[])).unwrap_or_default(),
        delivered_to: block.get("delivered_to").and_then(|entry| choice(ctx, entry, &delivered_to, &[])).unwrap_or_default(),
        spam: block.get("spam").and_then(|entry| choice(ctx, entry, &spam, &[])).unwrap_or_default(),
        receipts: block.get("receipts").and_then(|entry| choice(ctx, entry, &receipts, &[])).unwrap_or_default(),
    }
}
