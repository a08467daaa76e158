//! `collectors:` and `defaults:`.

use super::address::address;
use super::block::{Block, Keys, open_entry};
use super::check_local::check_local;
use super::delivery::{DELIVERY, delivery, is_nowhere};
use super::doubts::{warn_of_delivery, warn_of_lost_mail, warn_of_missing_maildirs};
use super::policy::check_default_box;
use super::recipient::recipient;
use super::server::{protocol, server};
use super::service::Limits;
use super::values::{boolean, choice, duration, duration_within, number, show_duration, size, text};
use super::{Ctx, kind_of};
use crate::config::error::Code;
use crate::config::text::Span;
use crate::config::yaml::{Entry, Value};
use crate::config::{
    After, CheckLocal, Collect, Collector, Expunge, FirstRun, Folder, FolderSelect, Idle, OnHold, Policy, Protocol, RecipientMode, Schedule, Target,
    TooLarge,
};
use crate::mail::{CollectorId, FolderName, MailboxId};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// `dedupe_window` in `auto` mode, if nobody says otherwise.
const DEDUPE_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest `dedupe_window`: what is remembered is kept in the ledger.
const DEDUPE_WINDOW_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The keys of a collector.
pub(super) const COLLECTOR: Keys = Keys {
    known: &[
        "title",
        "description",
        "enabled",
        "protocol",
        "email",
        "server",
        "port",
        "tls",
        "auth",
        "login",
        "username",
        "password",
        "interval",
        "collect",
        "after",
        "max_messages_per_session",
        "max_message_size",
        "timeouts",
        "recipient",
        "delivery",
        "dedupe_window",
        "on_hold",
    ],
    not_yet: NOT_YET,
};
/// What makes sense to share: not what names one mailbox, and not who gets its mail.
const DEFAULTS: Keys = Keys {
    known: &[
        "enabled",
        "protocol",
        "port",
        "tls",
        "auth",
        "login",
        "interval",
        "collect",
        "after",
        "max_messages_per_session",
        "max_message_size",
        "timeouts",
        "delivery",
        "dedupe_window",
        "on_hold",
    ],
    not_yet: NOT_YET,
};
const NOT_YET: &[&str] = &[
    "disabled_until",
    "provider",
    "url",
    "exchange_version",
    "folders",
    "schedule",
    "idle",
    "expunge",
    "max_bytes_per_session",
    "partial_fetch",
    "first_run",
    "allow_plain_expunge",
    "log",
    "use",
    "min_free_space",
    "notify",
];
const SIZE_LIMIT: Keys = Keys { known: &["limit", "action"], not_yet: &[] };

/// All collectors, each complete.
pub(super) fn collectors(ctx: &mut Ctx<'_>, top: &Block<'_>, limits: &Limits) -> Option<BTreeMap<CollectorId, Arc<Collector>>> {
    let defaults = match top.get("defaults") {
        Some(entry) => open_entry(ctx, entry, "`defaults`", &DEFAULTS),
        None => None,
    };
    let defaults = defaults.unwrap_or_else(|| Block::empty("`defaults`", top.span));
    // Read once by themselves, or an error in them would stay hidden while every collector has a value of its own.
    common(ctx, &defaults, limits);
    let shared = top.child(ctx, "delivery", &DELIVERY);
    let Some(entry) = top.get("collectors") else {
        ctx.add(
            ctx.error(Code::Missing, Span::default(), "no `collectors`")
                .hint("collectors:\n        office: {email: …, server: …, password: …, recipient: …}"),
        );
        return None;
    };
    let entries = match &entry.value.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Empty => &[],
        _ => {
            let problem = ctx.error(Code::WrongType, entry.span, format!("`collectors` takes a block for each collector, not {}", kind_of(entry)));
            ctx.add(problem.hint("give each collector a name: `office: {…}`"));
            return None;
        }
    };
    if entries.is_empty() {
        ctx.add(ctx.warning(Code::Doubtful, entry.span, "there is no collector: nothing is collected"));
    }
    let mut collectors = BTreeMap::new();
    let mut mailboxes: HashMap<MailboxId, (CollectorId, Span)> = HashMap::new();
    for entry in entries {
        let Some(collector) = collector(ctx, entry, &defaults, &shared, limits) else { continue };
        if collector.enabled {
            one_mailbox(ctx, &collector, entry.span, &mut mailboxes);
        }
        collectors.insert(collector.id.clone(), Arc::new(collector));
    }
    Some(collectors)
}

/// Two passes over one mailbox would deliver and dispose of each other's mail.
fn one_mailbox(ctx: &mut Ctx<'_>, collector: &Collector, span: Span, mailboxes: &mut HashMap<MailboxId, (CollectorId, Span)>) {
    let mailbox = collector.server.mailbox();
    if let Some((other, first)) = mailboxes.get(&mailbox) {
        let problem = ctx.error(Code::Contradiction, span, format!("collectors `{other}` and `{}` collect the same mailbox", collector.id));
        let first = ctx.text.name_of(*first);
        ctx.add(problem.note(format!("`{other}` is at {first}")).hint("disable one of the two: `enabled: false`"));
        return;
    }
    mailboxes.insert(mailbox, (collector.id.clone(), span));
}

fn collector<'n>(ctx: &mut Ctx<'_>, entry: &'n Entry, defaults: &Block<'n>, shared: &Block<'n>, limits: &Limits) -> Option<Collector> {
    let id = CollectorId::new(&entry.key);
    if id.is_none() {
        let problem = ctx.error(Code::Value, entry.span, format!("{} is no name for a collector", ctx.quoted(&entry.key, entry.span)));
        ctx.add(problem.hint("letters, digits, `_` and `-`, at most 64; any text goes to `title`"));
    }
    let name =
        if id.is_some() && ctx.text.may_quote(&entry.key, entry.span) { format!("collector `{}`", entry.key) } else { "this collector".to_owned() };
    if COLLECTOR.known.contains(&entry.key.as_str()) && matches!(entry.value.value, Value::Scalar { .. }) {
        let problem = ctx.error(Code::WrongType, entry.span, format!("`{}` stands where the name of a collector is wanted", entry.key));
        ctx.add(problem.label("indented too little?"));
        return None;
    }
    let own = open_entry(ctx, entry, &name, &COLLECTOR)?;
    // What is missing is missed at the collector's name.
    let block = own.at(entry.span).over(defaults);
    let email = block.get("email").and_then(|entry| address(ctx, entry));
    let common = common(ctx, &block, limits);
    let protocol = protocol(ctx, &block);
    what_contradicts(ctx, &block, protocol, &common);
    let server = server(ctx, &block, email.as_ref());
    let host = server.as_ref().map_or("", |server| server.host.as_str());
    let layers = block.child(ctx, "delivery", &DELIVERY).over(shared);
    let delivery = delivery(ctx, &layers, &block);
    let target = delivery.as_ref().map(|delivery| &delivery.target).filter(|target| !is_nowhere(target));
    let check_local = check_local(ctx, &block, target);
    // What goes into a Maildir is there, and is sent on to nobody.
    let comes_back = !matches!(delivery.as_ref().map(|delivery| &delivery.target), Some(Target::Maildir { .. }));
    let recipient = recipient(ctx, &block, email.as_ref(), host, comes_back);
    let title = block.get("title").and_then(|entry| text(ctx, entry)).map(str::to_owned);
    let description = block.get("description").and_then(|entry| text(ctx, entry)).unwrap_or_default().to_owned();
    let (id, server, recipient, delivery) = (id?, server?, recipient?, delivery?);
    match &recipient {
        RecipientMode::ForwardTo(..) => check_default_box(ctx, &layers, &block.name, true),
        RecipientMode::Auto(rules, _) if rules.default_box.is_none() => check_default_box(ctx, &layers, &block.name, false),
        RecipientMode::Auto(..) => {}
    }
    warn_of_lost_mail(ctx, &block, &recipient, common.dedupe_window, common.on_hold, limits.held_age);
    warn_of_delivery(ctx, &block, &server, &recipient, &delivery);
    warn_of_missing_maildirs(ctx, &layers, &recipient, &delivery);
    Some(Collector {
        title: title.unwrap_or_else(|| id.to_string()),
        id,
        description,
        enabled: common.enabled,
        email,
        server,
        interval: common.interval,
        manual: false,
        provider: None,
        folders: vec![Folder { select: FolderSelect::Name(FolderName::inbox()), flag: None, forward_to: None, after: None, move_to: None }],
        flag: None,
        schedule: Schedule::default(),
        idle: Idle::default(),
        first_run: FirstRun::default(),
        expunge: Expunge::default(),
        max_bytes_per_session: None,
        too_large: TooLarge::default(),
        move_to: None,
        collect: common.collect,
        after: common.after,
        max_messages_per_session: common.max_messages_per_session,
        max_message_size: common.max_message_size,
        recipient_hash: hash_of(&recipient, &check_local, &delivery.policy),
        dedupe_window: common.dedupe_window.unwrap_or(match &recipient {
            RecipientMode::ForwardTo(..) => Duration::ZERO,
            RecipientMode::Auto(..) => DEDUPE_WINDOW,
        }),
        recipient,
        check_local,
        on_hold: common.on_hold,
        delivery: Arc::new(delivery),
    })
}

/// The keys that `defaults` may have too.
struct Common {
    enabled: bool,
    interval: Duration,
    collect: Collect,
    after: After,
    max_messages_per_session: usize,
    max_message_size: Option<u64>,
    dedupe_window: Option<Duration>,
    on_hold: OnHold,
}

fn common(ctx: &mut Ctx<'_>, block: &Block<'_>, limits: &Limits) -> Common {
    protocol(ctx, block);
    let (collect, after) = what_to_collect(ctx, block);
    Common {
        enabled: block.get("enabled").and_then(|entry| boolean(ctx, entry)).unwrap_or(true),
        interval: interval(ctx, block, limits),
        collect,
        after,
        max_messages_per_session: block.get("max_messages_per_session").and_then(|entry| number(ctx, entry, 0..=100_000)).unwrap_or(100),
        max_message_size: block.get("max_message_size").and_then(|entry| max_message_size(ctx, entry)),
        dedupe_window: block.get("dedupe_window").and_then(|entry| duration_within(ctx, entry, Duration::ZERO..=DEDUPE_WINDOW_MAX)),
        on_hold: block.get("on_hold").and_then(|entry| on_hold(ctx, entry)).unwrap_or_default(),
    }
}

fn interval(ctx: &mut Ctx<'_>, block: &Block<'_>, limits: &Limits) -> Duration {
    // The default follows the limits; only what somebody wrote can be outside.
    let default = Duration::from_secs(300).clamp(limits.min, limits.max);
    let Some(entry) = block.get("interval") else { return default };
    if matches!(&entry.value.value, Value::Scalar { text, .. } if text == "manual") {
        ctx.not_yet(entry.value.span, "interval: manual");
        return default;
    }
    let Some(interval) = duration(ctx, entry) else { return default };
    let (bound, key, limit) = match interval {
        interval if interval < limits.min => ("below", "interval_min", limits.min),
        interval if interval > limits.max => ("above", "interval_max", limits.max),
        interval => return interval,
    };
    let (shown, limit) = (show_duration(interval), show_duration(limit));
    let problem = ctx.error(Code::Range, entry.value.span, format!("interval {shown} is {bound} limits.{key} ({limit})"));
    ctx.add(problem.hint(format!("set `limits: {{{key}: {shown}}}` if the server's owner agrees")));
    default
}

fn what_to_collect(ctx: &mut Ctx<'_>, block: &Block<'_>) -> (Collect, After) {
    let collects = [("new", Collect::New), ("all", Collect::All), ("unseen", Collect::Unseen)];
    let collect = block.get("collect").and_then(|entry| choice(ctx, entry, &collects, &[])).unwrap_or(Collect::New);
    let after = match block.get("after") {
        Some(entry) => after(ctx, entry).unwrap_or(After::Delete),
        None => After::Keep,
    };
    (collect, after)
}

/// Not of `defaults`: a collector may add what is missing there.
fn what_contradicts(ctx: &mut Ctx<'_>, block: &Block<'_>, protocol: Protocol, common: &Common) {
    let Common { collect, after, on_hold, .. } = *common;
    let at = |key: &str| block.get(key).map_or(block.span, |entry| entry.span);
    if collect == Collect::All && after != After::Delete {
        let word = if after == After::Keep { "keep" } else { "mark_seen" };
        let problem = ctx.error(Code::Contradiction, at("collect"), format!("{} would deliver the same mail for ever", block.name));
        let problem = problem.label(format!("collect: all  with  after: {word}"));
        ctx.add(problem.hint("`collect: new` keeps mail on the server and takes each message once; `after: delete` goes with `all`"));
    }
    if on_hold == OnHold::Delete && after != After::Delete {
        let problem = ctx.error(Code::Contradiction, at("on_hold"), "`on_hold: delete` deletes mail from a mailbox that is not to lose any");
        ctx.add(problem.hint("with `after: delete` it does; or `on_hold: keep`: a held message's copy stays, and is not fetched again"));
    }
    if protocol == Protocol::Pop3 {
        if collect == Collect::Unseen {
            let problem = ctx.error(Code::Contradiction, at("collect"), "`collect: unseen` with POP3, which has no flags");
            ctx.add(problem.hint("`collect: new` takes each message once"));
        }
        if after == After::MarkSeen {
            let problem = ctx.error(Code::Contradiction, at("after"), "`after: mark_seen` with POP3, which has no flags");
            ctx.add(problem.hint("`after: keep` or `after: delete`"));
        }
    }
}

fn after(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<After> {
    if let Value::Map(entries) = &entry.value.value {
        for later in entries {
            match later.key.as_str() {
                "delete_after" | "move_to" => ctx.not_yet(later.span, &later.key),
                _ => ctx.add(ctx.error(Code::Value, later.span, "`after` is one of `keep`, `delete`, `mark_seen`")),
            }
        }
        return None;
    }
    choice(ctx, entry, &[("keep", After::Keep), ("delete", After::Delete), ("mark_seen", After::MarkSeen)], &[])
}

fn on_hold(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<OnHold> {
    if let Value::Map(_) = entry.value.value {
        ctx.not_yet(entry.span, "on_hold: {move_to: …}");
        return None;
    }
    choice(ctx, entry, &[("keep", OnHold::Keep), ("delete", OnHold::Delete)], &["move"])
}

fn max_message_size(ctx: &mut Ctx<'_>, entry: &Entry) -> Option<u64> {
    let limit = match &entry.value.value {
        Value::Map(_) => {
            let block = open_entry(ctx, entry, "`max_message_size`", &SIZE_LIMIT)?;
            if let Some(action) = block.get("action") {
                choice(ctx, action, &[("skip", ())], &["hold", "headers_only"]);
            }
            let Some(limit) = block.get("limit") else {
                ctx.add(ctx.error(Code::Missing, entry.span, "`max_message_size` has no `limit`"));
                return None;
            };
            size(ctx, limit)
        }
        _ => size(ctx, entry),
    };
    if limit == Some(0) {
        ctx.add(ctx.error(Code::Range, entry.value.span, "`max_message_size` of 0 would skip everything").hint("without the key there is no limit"));
    }
    limit
}

/// Of everything that decides about recipients. Stable for one version of the program; a new version may try left mail once more.
fn hash_of(recipient: &RecipientMode, check_local: &CheckLocal, policy: &Policy) -> u64 {
    let digest = Sha256::digest(format!("{recipient:?}\n{check_local:?}\n{policy:?}"));
    u64::from_be_bytes(digest[..8].try_into().unwrap_or_default())
}
