//! `collectors:` and `defaults:`: each collector from its layers, the built-in defaults lowest, then `defaults`, its provider, its templates,
//! and what it says itself.

use super::address::address;
use super::block::{Block, open_entry};
use super::check_local::check_local;
use super::common::{COLLECTOR, Common, DEFAULTS, common};
use super::contradictions::{Said, contradictions};
use super::delivery::{DELIVERY, delivery, is_nowhere};
use super::doubts::{warn_of_delivery, warn_of_lost_mail, warn_of_missing_maildirs, warn_of_provider};
use super::notify::notify_of;
use super::origin::{Layer, said as said_of};
use super::policy::check_default_box;
use super::providers::Providers;
use super::recipient::recipient;
use super::server::{protocol, server};
use super::service::Limits;
use super::templates::{Templates, templates};
use super::values::text;
use super::{ALL, Ctx, kind_of};
use crate::config::error::Code;
use crate::config::text::Span;
use crate::config::yaml::{Entry, Value};
use crate::config::{CheckLocal, Collector, Policy, RecipientMode, Server, Target};
use crate::mail::{CollectorId, MailboxId};
use crate::resolve::Rules;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// `dedupe_window` in `auto` mode, if nobody says otherwise.
const DEDUPE_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// All collectors, each complete.
pub(super) fn collectors(
    ctx: &mut Ctx<'_>,
    top: &Block<'_>,
    limits: &Limits,
    providers: &mut Providers,
) -> Option<BTreeMap<CollectorId, Arc<Collector>>> {
    let defaults = match top.get("defaults") {
        Some(entry) => open_entry(ctx, entry, "`defaults`", &DEFAULTS),
        None => None,
    };
    let defaults = defaults.unwrap_or_else(|| Block::empty("`defaults`", top.span));
    // Read once by themselves, or an error in them would stay hidden while every collector has a value of its own.
    common(ctx, &defaults, limits);
    notify_of(ctx, top, &defaults);
    let templates = templates(ctx, top, limits);
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
    let around = Around { top, defaults: &defaults, templates: &templates, shared: &shared, limits };
    for entry in entries {
        let Some(collector) = collector(ctx, entry, &around, providers) else { continue };
        if collector.enabled {
            one_mailbox(ctx, &collector, entry.span, &mut mailboxes);
        }
        collectors.insert(collector.id.clone(), Arc::new(collector));
    }
    providers.report_missing(ctx);
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

/// What lies under and beside a collector.
struct Around<'b, 'n> {
    /// The whole file.
    top: &'b Block<'n>,
    defaults: &'b Block<'n>,
    templates: &'b Templates<'n>,
    /// `delivery:` of the file.
    shared: &'b Block<'n>,
    limits: &'b Limits,
}

fn collector<'n>(ctx: &mut Ctx<'_>, entry: &'n Entry, around: &Around<'_, 'n>, providers: &mut Providers) -> Option<Collector> {
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
    let own = own.at(entry.span);
    let said = around.templates.under(ctx, own.clone());
    let email = said.get("email").and_then(|entry| address(ctx, entry));
    let filled = providers.fill(ctx, &said, around.defaults, email.as_ref());
    let block = said.clone().over(&Block::of(&name, entry.span, &filled.keys)).over(around.defaults);
    if ctx.asked.is_some_and(|asked| asked == entry.key || asked == ALL) {
        let provider = filled.provider.as_ref().map(|provider| Layer::Provider { id: provider.id.clone(), built_in: provider.built_in });
        let mut layers: Vec<(Layer, &[Entry])> = own.layers().iter().map(|entries| (Layer::Own, *entries)).collect();
        layers.extend(around.templates.used(&own).into_iter().map(|(name, entries)| (Layer::Template(name), entries)));
        layers.extend(provider.map(|provider| (provider, filled.keys.as_slice())));
        layers.extend(around.defaults.layers().iter().map(|entries| (Layer::Defaults, *entries)));
        ctx.said.push((entry.key.clone(), said_of(&layers, COLLECTOR.known, around.shared)));
    }
    let mut common = common(ctx, &block, around.limits);
    let protocol = protocol(ctx, &block);
    contradictions(ctx, &Said { all: &block, own: &own }, protocol, &mut common);
    providers.report_no_server(ctx, &block, protocol, &filled, email.as_ref());
    let server = server(ctx, &block, email.as_ref());
    let host = server.as_ref().map_or("", |server| server.host.as_str());
    let layers = block.child(ctx, "delivery", &DELIVERY).over(around.shared);
    let delivery = delivery(ctx, &layers, &block);
    let target = delivery.as_ref().map(|delivery| &delivery.target).filter(|target| !is_nowhere(target));
    let check_local = check_local(ctx, &block, target);
    // What goes into a Maildir is there, and is sent on to nobody.
    let comes_back = !matches!(delivery.as_ref().map(|delivery| &delivery.target), Some(Target::Maildir { .. }));
    let recipient = recipient(ctx, &block, email.as_ref(), host, comes_back);
    let notify = notify_of(ctx, around.top, &block);
    let title = block.get("title").and_then(|entry| text(ctx, entry)).map(str::to_owned);
    let description = block.get("description").and_then(|entry| text(ctx, entry)).unwrap_or_default().to_owned();
    let (id, server, recipient, delivery) = (id?, server?, recipient?, delivery?);
    match &recipient {
        RecipientMode::ForwardTo(..) => check_default_box(ctx, &layers, &block.name, true),
        RecipientMode::Auto(rules, _) if rules.default_box.is_none() => check_default_box(ctx, &layers, &block.name, false),
        RecipientMode::Auto(..) => {}
    }
    let recipient = with_hosts(recipient, &filled.received_hosts);
    warn_of_lost_mail(ctx, &block, &recipient, common.dedupe_window, common.on_hold, around.limits.held_age);
    warn_of_delivery(ctx, &block, &server, &recipient, &delivery);
    warn_of_missing_maildirs(ctx, &layers, &recipient, &delivery);
    let dedupe_window = common.dedupe_window.unwrap_or(match &recipient {
        RecipientMode::ForwardTo(..) => Duration::ZERO,
        RecipientMode::Auto(..) => DEDUPE_WINDOW,
    });
    warn_of_provider(ctx, &block, filled.provider.as_deref(), &server);
    let Common { disposal, folders, .. } = common;
    Some(Collector {
        title: title.unwrap_or_else(|| id.to_string()),
        id,
        description,
        enabled: common.enabled,
        email,
        server: Server { partial_fetch: common.partial_fetch, compress: common.compress, allow_plain_expunge: common.allow_plain_expunge, ..server },
        interval: common.interval,
        manual: common.manual,
        provider: filled.provider.as_ref().map(|provider| provider.id.clone()),
        received_hosts: filled.received_hosts,
        folders: folders.into_iter().map(|placed| placed.folder).collect(),
        flag: None,
        schedule: common.schedule,
        idle: common.idle,
        first_run: common.first_run,
        expunge: common.expunge,
        keep_without_uidl: common.keep_without_uidl,
        max_bytes_per_session: common.max_bytes_per_session,
        too_large: common.too_large,
        move_to: disposal.move_to,
        collect: common.collect,
        after: disposal.after,
        max_messages_per_session: common.max_messages_per_session,
        max_message_size: common.max_message_size,
        recipient_hash: hash_of(&recipient, &check_local, &delivery.policy),
        dedupe_window,
        recipient,
        check_local,
        on_hold: common.on_hold,
        log: common.log,
        notify,
        delivery: Arc::new(delivery),
    })
}

/// The hosts of the provider tell its Received fields from the sender's.
fn with_hosts(recipient: RecipientMode, received_hosts: &[String]) -> RecipientMode {
    match recipient {
        RecipientMode::Auto(rules, sender) if !received_hosts.is_empty() => {
            let mut rules = Rules::clone(&rules);
            rules.provider_hosts = received_hosts.to_vec();
            RecipientMode::Auto(Arc::new(rules), sender)
        }
        recipient => recipient,
    }
}

/// Of everything that decides about recipients. Stable for one version of the program; a new version may try left mail once more.
fn hash_of(recipient: &RecipientMode, check_local: &CheckLocal, policy: &Policy) -> u64 {
    let digest = Sha256::digest(format!("{recipient:?}\n{check_local:?}\n{policy:?}"));
    u64::from_be_bytes(digest[..8].try_into().unwrap_or_default())
}
