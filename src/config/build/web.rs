//! `url:` and what goes with it: the mailboxes behind a web service (EWS, Graph).

use super::Ctx;
use super::block::Block;
use super::oauth::CLOUDS;
use super::values::{boolean, choice, text};
use crate::config::error::Code;
use crate::config::{AuthMethod, Cloud, Protocol, TlsMode, WebMailbox, WebPlace, is_exchange_online};
use crate::mail::Address;
use crate::proto::ews::Version;

/// Where Exchange has its web services.
const EWS_PATH: &str = "/EWS/Exchange.asmx";
/// The version of Graph that is spoken.
const GRAPH_PATH: &str = "/v1.0";
/// Where such a mailbox is.
pub(super) struct Web {
    pub host: String,
    pub port: u16,
    pub mode: TlsMode,
    pub mailbox: WebMailbox,
}

/// The place, and whose mailbox it is.
pub(super) fn web(ctx: &mut Ctx<'_>, block: &Block<'_>, protocol: Protocol, email: Option<&Address>, username: Option<&str>) -> Option<Web> {
    let (version, impersonate) = (version(ctx, block, protocol), impersonate(ctx, block, protocol, email));
    // The mailbox of who logs in needs no name; in Graph the program itself may log in, which has none.
    let is_own = |email: &&Address| username.is_some_and(|name| name.eq_ignore_ascii_case(&email.to_string()));
    let address = match protocol {
        Protocol::Graph => email.cloned(),
        _ => email.filter(|email| impersonate || !is_own(email)).cloned(),
    };
    if protocol == Protocol::Graph && email.is_none() {
        // A wrong address was reported where it stands.
        if block.get("email").is_none() {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has no `email`", block.name));
            ctx.add(problem.hint("Graph asks for the mailbox by its address: `email: shared@tenant.example`"));
        }
        return None;
    }
    let home = email.filter(|_| protocol == Protocol::Exchange).map(|email| email.domain().as_ascii().to_owned());
    let mailbox = |path| WebMailbox { path, address: address.clone(), home: home.clone(), version, impersonate };
    let Some(entry) = block.get("url") else {
        if protocol == Protocol::Graph {
            // A word that names none is reported where it is read.
            let named = block.word_in("auth", "cloud").and_then(|word| CLOUDS.iter().find(|(name, _)| *name == word));
            let host = named.map_or(Cloud::Global, |(_, cloud)| *cloud).graph_host().to_owned();
            return Some(Web { host, port: 443, mode: TlsMode::Implicit, mailbox: mailbox(Some(GRAPH_PATH.to_owned())) });
        }
        let Some(email) = email else {
            let problem = ctx.error(Code::Missing, block.span, format!("{} has neither `url` nor `email`", block.name));
            ctx.add(problem.hint("`url: https://mail.corp.example/EWS/Exchange.asmx`; or `email`, whose domain is asked for it (autodiscover)"));
            return None;
        };
        return Some(Web { host: email.domain().as_ascii().to_owned(), port: 443, mode: TlsMode::Implicit, mailbox: mailbox(None) });
    };
    let said = text(ctx, entry)?.trim();
    let place = match WebPlace::parse(said) {
        Ok(place) => place,
        Err(why) => {
            let problem = ctx.error(Code::Value, entry.value.span, format!("`url`: {why}"));
            ctx.add(problem.hint(match protocol {
                Protocol::Graph => "as in `url: https://graph.microsoft.com/v1.0`; without `url` it is that one",
                _ => "as in `url: https://mail.corp.example/EWS/Exchange.asmx`; `server` is for IMAP and POP3",
            }));
            return None;
        }
    };
    if protocol == Protocol::Exchange && is_exchange_online(&place.host) {
        let text = format!(
            "EWS at {} was switched off by Microsoft on 2026-10-01 where nobody asked for more time, and goes for good on 2027-04-01",
            place.host
        );
        ctx.add(ctx.warning(Code::Doubtful, entry.value.span, text).hint("`protocol: graph`; or `protocol: imap` with `auth: {method: oauth2}`"));
    }
    let path = match (protocol, place.target.as_str()) {
        (Protocol::Exchange, "/") => EWS_PATH.to_owned(),
        (Protocol::Graph, "/") => GRAPH_PATH.to_owned(),
        (_, target) => target.to_owned(),
    };
    let mode = if place.is_secure { TlsMode::Implicit } else { TlsMode::None };
    Some(Web { host: place.host.to_ascii_lowercase(), port: place.port, mode, mailbox: mailbox(Some(path)) })
}

fn version(ctx: &mut Ctx<'_>, block: &Block<'_>, protocol: Protocol) -> Option<Version> {
    let words: Vec<_> = std::iter::once(("auto", None)).chain(Version::ALL.map(|version| (version.word(), Some(version)))).collect();
    let said = block.get("exchange_version").and_then(|entry| choice(ctx, entry, &words, &[]));
    said.filter(|_| protocol == Protocol::Exchange).flatten()
}

fn impersonate(ctx: &mut Ctx<'_>, block: &Block<'_>, protocol: Protocol, email: Option<&Address>) -> bool {
    let Some(entry) = block.get("impersonate") else { return false };
    let said = boolean(ctx, entry).unwrap_or(false) && protocol == Protocol::Exchange;
    if said && email.is_none() {
        let problem = ctx.error(Code::Missing, entry.span, "`impersonate` without `email`: nobody says whose mailbox it is");
        ctx.add(problem.hint("`email: shared@corp.example`, with `username` of who has the role ApplicationImpersonation"));
    }
    said && email.is_some()
}

/// HTTP knows fewer ways to log in.
pub(super) fn check_method(ctx: &mut Ctx<'_>, block: &Block<'_>, protocol: Protocol, method: AuthMethod) {
    let entry = block.get("auth");
    let span = entry.map_or(block.span, |entry| entry.span);
    match (protocol, method) {
        (Protocol::Graph, AuthMethod::OAuth2) => {}
        (Protocol::Graph, _) => {
            let problem = ctx.error(Code::Contradiction, span, "Graph takes tokens only, no passwords");
            ctx.add(problem.hint("`auth: {method: oauth2, …}`"));
        }
        (Protocol::Exchange, AuthMethod::Auto | AuthMethod::Password | AuthMethod::Ntlm | AuthMethod::OAuth2) => {}
        (Protocol::Exchange, _) => {
            let problem = ctx.error(Code::Contradiction, span, "Exchange Web Services know other logins than this `method`");
            ctx.add(problem.hint("`ntlm`, `password` (HTTP Basic), `oauth2`, or `auto`: NTLM where it is offered, else Basic"));
        }
        _ => {}
    }
}
