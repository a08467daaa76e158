//! What works, and perhaps not as it is meant: warnings about a whole collector.

use super::Ctx;
use super::block::Block;
use crate::config::error::Code;
use crate::config::{Delivery, Endpoint, RecipientMode, Relay, Server, Target};
use crate::mail::Address;

/// What can be known before the first message.
pub(super) fn warn_of_delivery(ctx: &mut Ctx<'_>, block: &Block<'_>, server: &Server, recipient: &RecipientMode, delivery: &Delivery) {
    let known: Vec<&Address> = match recipient {
        RecipientMode::ForwardTo(to, _) => to.iter().collect(),
        RecipientMode::Auto(rules, _) => rules.aliases.iter().flat_map(|alias| &alias.to).chain(&rules.default_box).collect(),
    };
    let at = block.get("recipient").map_or(block.span, |entry| entry.span);
    if let Some(address) = known.iter().find(|address| address.needs_smtputf8()) {
        let shown = format!("`{address}`");
        match &delivery.target {
            Target::Lmtp(_) => {
                let problem = ctx.warning(Code::Doubtful, at, format!("{shown} needs SMTPUTF8, which Dovecot 2.3 does not offer for LMTP"));
                ctx.add(problem.hint("Dovecot 2.4 does; a server without it gets no such mail, and the collector says so"));
            }
            Target::Smtp(Relay { smtputf8: false, .. }) => {
                ctx.add(ctx.error(Code::Contradiction, at, format!("{shown} needs SMTPUTF8, and `smtputf8` is off")));
            }
            _ => {}
        }
    }
    if let Target::Smtp(Relay { endpoints, auth, .. }) | Target::Lmtp(Relay { endpoints, auth, .. }) = &delivery.target {
        let is_source = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Tcp { host, .. } if *host == server.host);
        let same_login = auth.as_ref().is_some_and(|auth| auth.username == server.username);
        let same_user = known.iter().any(|address| address.to_string() == server.username || address.local() == server.username);
        if endpoints.iter().any(is_source) && (same_login || same_user) {
            let problem = ctx.warning(Code::Doubtful, at, format!("{} delivers to the server it collects from, for the same user", block.name));
            ctx.add(problem.hint("what is delivered is collected again: a loop, until `max_hops` stops it"));
        }
    }
}
