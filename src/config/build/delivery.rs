//! `delivery:`, global and of a collector.

use super::Ctx;
use super::block::{Block, Keys};
use super::target::{TARGETS, hello, target};
use super::values::{boolean, choice, number};
use crate::config::yaml::Entry;
use crate::config::{Delivery, Relay, Target};

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
    ],
    not_yet: &[
        "on_permanent_failure",
        "policy",
        "retry",
        "suppress_dsn",
        "xclient",
        "eight_bit",
        "bare_cr",
        "nul",
        "add_missing",
        "headers",
        "max_passes",
        "default_box",
    ],
};
const TRACE: Keys = Keys { known: &["received", "id"], not_yet: &[] };

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
        max_recipients: block.get("max_recipients").and_then(|entry| number(ctx, entry, 1..=10_000)).unwrap_or(100),
        trace_received: trace.get("received").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        trace_id: trace.get("id").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        max_hops: block.get("max_hops").and_then(|entry| number(ctx, entry, 1..=1_000)).unwrap_or(50),
        ..Delivery::default()
    };
    Some(delivery)
}
