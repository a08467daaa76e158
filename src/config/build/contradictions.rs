//! What does not go together: the table of `collect` and `after`, with folders, POP3 and the rest around it. docs/configuration.md has it.
//!
//! What only tunes (`idle`, `expunge`, …) and has no effect is an error where a collector says so itself, and nothing at all where `defaults`,
//! a provider or a template do: those speak to many.

use super::Ctx;
use super::block::Block;
use super::common::Common;
use super::disposal::Disposal;
use super::folders::{Placed, inbox, shown, takes_in};
use crate::config::error::Code;
use crate::config::text::Span;
use crate::config::{After, Collect, Expunge, FirstRun, FolderSelect, Idle, OnHold, PartialFetch, PartialMode, Protocol, Schedule};

/// A collector's layers: all of them, and the one that speaks of this collector alone.
pub(super) struct Said<'b, 'n> {
    pub all: &'b Block<'n>,
    pub own: &'b Block<'n>,
}

impl Said<'_, '_> {
    fn at(&self, key: &str) -> Span {
        self.all.get(key).map_or(self.all.span, |entry| entry.span)
    }

    /// Where the collector itself says it.
    fn own_at(&self, key: &str) -> Option<Span> {
        self.own.get(key).map(|entry| entry.span)
    }
}

/// Reports what contradicts, and drops what has no effect.
pub(super) fn contradictions(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, protocol: Protocol, common: &mut Common) {
    match protocol {
        Protocol::Imap => no_web(ctx, said, protocol),
        Protocol::Pop3 => {
            no_web(ctx, said, protocol);
            pop3(ctx, said, common);
        }
        Protocol::Exchange | Protocol::Graph => web(ctx, said, protocol, common),
    }
    collect_and_after(ctx, said, common);
    moves(ctx, said, common);
    held(ctx, said, common);
    first_run(ctx, said, common);
    without_effect(ctx, said, protocol, common);
}

/// How a collector disposes of what it delivered, with the place that says so: of each folder.
fn disposals<'c>(said: &Said<'_, '_>, common: &'c Common) -> Vec<(Disposal, Span, &'c Placed)> {
    let of = |placed: &'c Placed| match placed.folder.after {
        Some(after) => (Disposal { after, move_to: placed.folder.move_to.clone() }, placed.span, placed),
        None => (common.disposal.clone(), said.at("after"), placed),
    };
    common.folders.iter().map(of).collect()
}

/// RFC 1939: one mailbox, no flags, deletion at QUIT.
fn pop3(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, common: &mut Common) {
    if common.collect == Collect::Unseen {
        let problem = ctx.error(Code::Contradiction, said.at("collect"), "`collect: unseen` with POP3, which has no flags");
        ctx.add(problem.hint("`collect: new` takes each message once"));
    }
    for (disposal, span, _) in disposals(said, common) {
        let what = match disposal.after {
            After::MarkSeen => "`after: mark_seen` with POP3, which has no flags",
            After::Move => "`after: {move_to: …}` with POP3, which has no folders",
            After::Keep | After::Delete | After::DeleteAfter(_) => continue,
        };
        ctx.add(ctx.error(Code::Contradiction, span, what).hint("`after: keep`, `delete` or `{delete_after: 14d}`"));
    }
    if common.on_hold == OnHold::Move {
        let problem = ctx.error(Code::Contradiction, said.at("on_hold"), "`on_hold: move` with POP3, which has no folders");
        ctx.add(problem.hint("`on_hold: keep`: a held message's copy stays, and is not fetched again"));
    }
    if let Some(other) = common.folders.iter().find(|placed| placed.folder.select != inbox().select)
        && said.own_at("folders").is_some()
    {
        let problem =
            ctx.error(Code::Contradiction, other.span, format!("`folders` with POP3, which has INBOX only, not {}", shown(&other.folder.select)));
        ctx.add(problem.hint("`protocol: imap` has folders; or remove it"));
    }
    common.folders.retain(|placed| placed.folder.select == inbox().select);
    if common.folders.is_empty() {
        common.folders.push(Placed { folder: inbox(), span: said.all.span });
    }
    let useless = [
        ("idle", common.idle != Idle::Off, "there is no IDLE in POP3"),
        ("expunge", common.expunge != Expunge::default(), "POP3 deletes at the end of each session"),
        ("allow_plain_expunge", common.allow_plain_expunge, "there is no EXPUNGE in POP3"),
        ("partial_fetch", common.partial_fetch.mode == PartialMode::On, "POP3 gives messages whole"),
        ("compress", common.compress, "there is no COMPRESS in POP3"),
    ];
    for (key, set, why) in useless {
        if let Some(span) = said.own_at(key).filter(|_| set) {
            let problem = ctx.error(Code::Contradiction, span, format!("`{key}` has no effect with POP3: {why}"));
            ctx.add(problem.hint("remove it, or `protocol: imap`"));
        }
    }
    (common.idle, common.expunge, common.allow_plain_expunge) = (Idle::Off, Expunge::default(), false);
    (common.partial_fetch, common.compress) = (PartialFetch::default(), false);
}

/// What only the mailboxes behind a web service have.
fn no_web(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, protocol: Protocol) {
    for key in ["url", "exchange_version", "impersonate"] {
        if let Some(span) = said.own_at(key) {
            let problem = ctx.error(Code::Contradiction, span, format!("`{key}` has no effect with {}", protocol.title()));
            ctx.add(problem.hint("it goes with `protocol: exchange`; IMAP and POP3 take `server`"));
        }
    }
}

/// Over HTTP there is a place in place of a server, and nothing of what IMAP needs to be told.
fn web(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, protocol: Protocol, common: &mut Common) {
    let service = protocol.title();
    for (key, why) in [("server", "`url` names the place, with its scheme"), ("port", "it is a part of `url`")] {
        if let Some(span) = said.own_at(key) {
            let problem = ctx.error(Code::Contradiction, span, format!("`{key}` has no effect with {service}: {why}"));
            ctx.add(problem.hint(match protocol {
                Protocol::Graph => "remove it; `url` is for clouds of one's own, and may be left out",
                _ => "`url: https://mail.corp.example/EWS/Exchange.asmx`, or nothing at all: the domain of `email` is asked (autodiscover)",
            }));
        }
    }
    if let Some(span) = said.own_at("tls").filter(|_| said.own.word_in("tls", "mode").is_some()) {
        let problem = ctx.error(Code::Contradiction, span, format!("`tls.mode` has no effect with {service}: the scheme of `url` says it"));
        ctx.add(problem.hint("remove `mode`; the other keys of `tls` hold for https"));
    }
    for key in ["exchange_version", "impersonate"] {
        if let Some(span) = said.own_at(key).filter(|_| protocol == Protocol::Graph) {
            ctx.add(ctx.error(Code::Contradiction, span, format!("`{key}` has no effect with Graph")).hint("it goes with `protocol: exchange`"));
        }
    }
    let useless = [
        ("idle", common.idle != Idle::Off, "new mail is found at the next `interval`"),
        ("expunge", common.expunge != Expunge::default(), "what is deleted is gone at once"),
        ("allow_plain_expunge", common.allow_plain_expunge, "there is no EXPUNGE"),
        ("partial_fetch", common.partial_fetch.mode == PartialMode::On, "messages come whole"),
        ("compress", common.compress, "there is no COMPRESS"),
        ("keep_without_uidl", common.keep_without_uidl, "each message has an id"),
    ];
    for (key, _, why) in useless.into_iter().filter(|(_, set, _)| *set) {
        if let Some(span) = said.own_at(key) {
            ctx.add(
                ctx.error(Code::Contradiction, span, format!("`{key}` has no effect with {service}: {why}")).hint("remove it, or `protocol: imap`"),
            );
        }
    }
    (common.idle, common.expunge, common.allow_plain_expunge) = (Idle::Off, Expunge::default(), false);
    (common.partial_fetch, common.compress, common.keep_without_uidl) = (PartialFetch::default(), false, false);
}

/// `all` takes what is there, so what is there must go.
fn collect_and_after(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, common: &Common) {
    if common.collect != Collect::All {
        return;
    }
    for (disposal, span, placed) in disposals(said, common) {
        let word = match disposal.after {
            After::Keep => "keep",
            After::MarkSeen => "mark_seen",
            After::Delete | After::DeleteAfter(_) | After::Move => continue,
        };
        let at = if placed.folder.after.is_some() { span } else { said.at("collect") };
        let problem = ctx.error(Code::Contradiction, at, format!("{} would deliver the same mail for ever", said.all.name));
        let problem = problem.label(format!("collect: all  with  after: {word}"));
        ctx.add(
            problem.hint(
                "`collect: new` keeps mail on the server and takes each message once; with `all` go `after: delete`, `delete_after`, `move_to`",
            ),
        );
    }
}

/// What is moved into a folder that is collected is collected again.
fn moves(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, common: &Common) {
    let mut targets: Vec<(FolderSelect, Span)> = Vec::new();
    for (disposal, span, _) in disposals(said, common) {
        targets.extend(disposal.move_to.map(|to| (to, span)));
    }
    targets.extend(common.on_hold_to.clone().map(|to| (to, said.at("on_hold"))));
    for (to, span) in targets {
        let Some(source) = common.folders.iter().find(|placed| takes_in(&placed.folder.select, &to)) else { continue };
        let by = shown(&source.folder.select);
        let problem = ctx.error(Code::Contradiction, span, format!("mail would be moved to {}, which is collected too: a loop", shown(&to)));
        let problem = if source.folder.select == to { problem } else { problem.note(format!("{by} in `folders` takes it in")) };
        ctx.add(problem.hint("move it to a folder that is not in `folders`, or name the folders to collect one by one"));
    }
}

/// The source's copy of held mail.
fn held(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, common: &mut Common) {
    let deletes = |disposal: &Disposal| matches!(disposal.after, After::Delete | After::DeleteAfter(_));
    let at = said.at("on_hold");
    match common.on_hold {
        OnHold::Keep => {}
        OnHold::Delete => {
            if disposals(said, common).iter().any(|(disposal, ..)| !deletes(disposal)) {
                let problem = ctx.error(Code::Contradiction, at, "`on_hold: delete` deletes mail from a mailbox that is not to lose any");
                ctx.add(problem.hint("with `after: delete` it does; or `on_hold: keep`: a held message's copy stays, and is not fetched again"));
            }
        }
        OnHold::Move => match (&common.on_hold_to, &common.disposal.move_to) {
            (None, None) => {
                let problem = ctx.error(Code::Contradiction, at, "`on_hold: move`, and nothing says where to");
                ctx.add(problem.hint("`on_hold: {move_to: Held}`, or `after: {move_to: Collected}`, where it goes then too"));
            }
            (Some(held), Some(collected)) if held != collected => {
                let problem = ctx.error(Code::Contradiction, at, "`on_hold` and `after` move to different folders");
                ctx.add(problem.hint("write `on_hold: move`: held mail's copies go to the folder of `after`"));
            }
            (Some(_), None) => common.disposal.move_to.clone_from(&common.on_hold_to),
            _ => {}
        },
    }
}

fn first_run(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, common: &Common) {
    if common.collect == Collect::All && common.first_run != FirstRun::All {
        let problem =
            ctx.error(Code::Contradiction, said.at("first_run"), "`first_run` counts mail as collected, and `collect: all` takes it all the same");
        ctx.add(problem.hint("`collect: new` leaves it alone; or `first_run: all`"));
    }
}

/// Keys that do nothing beside another one.
fn without_effect(ctx: &mut Ctx<'_>, said: &Said<'_, '_>, protocol: Protocol, common: &mut Common) {
    if protocol == Protocol::Imap && common.keep_without_uidl {
        if let Some(span) = said.own_at("keep_without_uidl") {
            let problem = ctx.error(
                Code::Contradiction,
                span,
                "`keep_without_uidl` has no effect with IMAP, where each message has a UID that tells it from the others",
            );
            ctx.add(problem.hint("remove it; it is for POP3 servers without UIDL"));
        }
        common.keep_without_uidl = false;
    }
    if common.manual {
        let useless = [("idle", common.idle != Idle::Off), ("schedule", common.schedule != Schedule::Always)];
        for (key, set) in useless {
            if let Some(span) = said.own_at(key).filter(|_| set) {
                let problem =
                    ctx.error(Code::Contradiction, span, format!("`{key}` has no effect with `interval: manual`: no pass starts by itself"));
                ctx.add(problem.hint("give it an interval, as in `interval: 5m`, or remove it"));
            }
        }
        (common.idle, common.schedule) = (Idle::Off, Schedule::Always);
    }
    // A server without MOVE (RFC 6851) gets COPY, \Deleted and EXPUNGE.
    let kept = |after: After| matches!(after, After::Keep | After::MarkSeen);
    let nothing_goes = common.on_hold == OnHold::Keep && disposals(said, common).iter().all(|(disposal, ..)| kept(disposal.after));
    let deletes = |after: After| matches!(after, After::Delete | After::DeleteAfter(_));
    let nothing_waits = common.expunge != Expunge::default() && !disposals(said, common).iter().any(|(disposal, ..)| deletes(disposal.after));
    let useless = [
        // What was copied is expunged at once: until then it would be in both folders.
        ("expunge", nothing_waits && !nothing_goes, "what is moved goes at once", "it goes with `after: delete` or `delete_after`"),
        ("expunge", nothing_waits && nothing_goes, "this collector deletes nothing", "it goes with `after: delete` or `delete_after`"),
        (
            "allow_plain_expunge",
            common.allow_plain_expunge && nothing_goes,
            "this collector deletes nothing",
            "it goes with `after: delete`, `delete_after` or `move_to`",
        ),
    ];
    for (key, _, why, hint) in useless.into_iter().filter(|(_, set, ..)| *set && protocol == Protocol::Imap) {
        if let Some(span) = said.own_at(key) {
            let problem = ctx.error(Code::Contradiction, span, format!("`{key}` has no effect: {why}"));
            ctx.add(problem.hint(hint));
        }
    }
}
