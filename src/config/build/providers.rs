//! `providers:`, the built-in ones, and which of them fills in what a collector does not say.

use super::address::host;
use super::block::Block;
use super::common::common;
use super::provider::{BUILT_IN, Known, known};
use super::service::Limits;
use super::values::text;
use super::{Ctx, kind_of, word_of};
use crate::config::error::Code;
use crate::config::provider::provider_of;
use crate::config::text::Span;
use crate::config::words::{distance, nearest};
use crate::config::yaml::{Entry, Value};
use crate::config::{Protocol, Provider, ProviderDomain};
use crate::mail::{Address, Domain};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The operator's own, the built-in ones behind them, and who asked for one that is not there.
pub(super) struct Providers {
    own: Vec<Arc<Known>>,
    missing: BTreeMap<String, Vec<(String, Span)>>,
}

/// The provider of a collector.
pub(super) struct Filled {
    pub provider: Option<Arc<Provider>>,
    /// Its `received_hosts`; without a provider, those of the one whose host the server is.
    pub received_hosts: Vec<String>,
    /// The keys that it fills in.
    pub keys: Vec<Entry>,
}

/// `providers:` of the file in front of the built-in ones.
pub(super) fn providers(ctx: &mut Ctx<'_>, top: &Block<'_>, limits: &Limits) -> Providers {
    let mut own: Vec<Arc<Known>> = Vec::new();
    if let Some(entry) = top.get("providers") {
        match &entry.value.value {
            Value::Map(entries) => own = entries.iter().filter_map(|entry| known(ctx, entry, false)).map(Arc::new).collect(),
            Value::Empty => {}
            _ => {
                let problem = ctx.error(Code::WrongType, entry.span, format!("`providers` takes a block for each provider, not {}", kind_of(entry)));
                ctx.add(problem.hint("as in `corp: {domains: [corp.example], server: imap.corp.example}`"));
            }
        }
        for known in &own {
            // Read by themselves, or an error would stay hidden until a collector takes the value.
            common(ctx, &Block::of(&format!("provider `{}`", known.provider.id), entry.span, &known.keys), limits);
        }
        claimed_twice(ctx, entry.span, &own);
    }
    Providers { own, missing: BTreeMap::new() }
}

fn claimed_twice(ctx: &mut Ctx<'_>, span: Span, own: &[Arc<Known>]) {
    let mut claims: BTreeMap<String, &str> = BTreeMap::new();
    for known in own {
        for claim in &known.provider.domains {
            if let Some(other) = claims.insert(claim.to_string(), &known.provider.id) {
                let message = format!("providers `{other}` and `{}` both claim {claim}", known.provider.id);
                ctx.add(ctx.error(Code::Contradiction, span, message).hint("a domain in `domains` belongs to one provider"));
            }
        }
    }
}

impl Providers {
    /// Those of the file.
    pub fn own(&self) -> Vec<Arc<Provider>> {
        self.own.iter().map(|known| Arc::clone(&known.provider)).collect()
    }

    /// All of them, the operator's own first. The built-in ones are read when somebody comes to them: most collectors name their server.
    fn known(&self) -> impl Iterator<Item = &Arc<Known>> + Clone {
        let is_replaced = |known: &Known| self.own.iter().any(|own| own.provider.id == known.provider.id);
        let built_in = std::iter::once(()).flat_map(|()| BUILT_IN.iter()).filter(move |known| !is_replaced(known));
        self.own.iter().chain(built_in)
    }

    /// The provider of a collector, and what it fills in. `said` is what the collector and its templates say, `defaults` what stands below.
    pub fn fill(&mut self, ctx: &mut Ctx<'_>, said: &Block<'_>, defaults: &Block<'_>, email: Option<&Address>) -> Filled {
        let nothing = Filled { provider: None, received_hosts: Vec::new(), keys: Vec::new() };
        let asked = said.get("provider").or(defaults.get("provider"));
        let word = asked.map_or(Some("auto"), |entry| text(ctx, entry));
        let server = said.get("server").and_then(word_of).and_then(|name| host(name).ok());
        let chosen = match word {
            None | Some("none") => return nothing,
            Some("auto") => {
                let claims = email.and_then(|email| provider_of(self.iter(), email.domain()));
                // A mailbox of theirs that is reached elsewhere is not theirs to describe.
                let fits = claims.filter(|known| server.as_deref().is_none_or(|host| known.serves(host) || known.owns(host)));
                match fits {
                    Some(known) => Some(known.id.clone()),
                    // Somebody's own domain at a known provider: everything but its rules about addresses is said already.
                    None => return self.by_server(server.as_deref()),
                }
            }
            Some(name) => Some(name.to_owned()),
        };
        let Some(name) = chosen else { return nothing };
        let span = asked.or(said.get("email")).map_or(said.span, |entry| entry.value.span);
        let Some(known) = self.named(&name) else {
            self.missing.entry(name).or_default().push((said.name.clone(), span));
            // Where the server is would be told by the provider: one error is enough.
            ctx.mute(Code::Missing, said.span, no_server(said));
            return nothing;
        };
        let provider = Arc::clone(&known.provider);
        Filled {
            received_hosts: provider.received_hosts.clone(),
            provider: Some(provider),
            keys: known.keys_for(said, defaults, server.as_deref(), span),
        }
    }

    /// Of a server that the collector names itself: the provider that has it, else (another of their names, `imap.googlemail.com`) only the hosts of
    /// the one under whose names it stands.
    fn by_server(&self, server: Option<&str>) -> Filled {
        // An address says nothing: Proton's Bridge is at 127.0.0.1, and so is much else.
        let host = server.filter(|host| host.parse::<IpAddr>().is_err());
        let provider = host.and_then(|host| self.known().find(|known| known.provider.serves(host)));
        let owner = provider.or_else(|| host.and_then(|host| self.known().find(|known| known.provider.owns(host))));
        Filled {
            received_hosts: owner.map(|known| known.provider.received_hosts.clone()).unwrap_or_default(),
            provider: provider.map(|known| Arc::clone(&known.provider)),
            keys: Vec::new(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.known().map(|known| &*known.provider)
    }

    fn named(&self, id: &str) -> Option<&Arc<Known>> {
        self.known().find(|known| known.provider.id == id)
    }

    /// Names that nobody has, each once, with who asks for it.
    pub fn report_missing(&self, ctx: &mut Ctx<'_>) {
        for (name, users) in &self.missing {
            let Some((_, span)) = users.first() else { continue };
            let shown = users.iter().take(USERS_SHOWN).map(|(user, _)| user.as_str()).collect::<Vec<_>>().join(", ");
            let more = if users.len() > USERS_SHOWN { format!(" and {} more", users.len() - USERS_SHOWN) } else { String::new() };
            let problem = ctx.error(Code::Value, *span, format!("there is no provider {}", ctx.quoted(name, *span)));
            let problem = match nearest(name, self.known().map(|known| known.provider.id.as_str())) {
                Some(near) => problem.label(format!("did you mean `{near}`?")),
                None => problem,
            };
            let problem = problem.note(format!("used by {shown}{more}"));
            ctx.add(problem.hint("`mailgather providers list` shows those that are built in; one's own stand in `providers:`"));
        }
    }

    /// Says what to write where neither the collector nor a provider names a server.
    pub fn report_no_server(&self, ctx: &mut Ctx<'_>, block: &Block<'_>, protocol: Protocol, filled: &Filled, email: Option<&Address>) {
        if block.get("server").is_some() || protocol.is_web() {
            return;
        }
        let problem = ctx.error(Code::Missing, block.span, no_server(block));
        let Some(email) = email else {
            return ctx.add(problem.hint("write `server: imap.example.org`, or `email: you@example.org`, whose domain may tell the provider"));
        };
        let name = protocol.word();
        if let Some(provider) = &filled.provider {
            let other = if name == "imap" { "pop3" } else { "imap" };
            let problem = problem.note(format!("provider `{}` has no server for `protocol: {name}`", provider.id));
            return ctx.add(problem.hint(format!("`protocol: {other}`, or write `server` yourself")));
        }
        let domain = email.domain();
        let near = self.near(domain);
        let problem = match near.is_empty() {
            true => problem.note(format!("no provider is known for {domain}")),
            false => problem.note(format!("no provider is known for {domain}; near are {}", near.join(", "))),
        };
        let problem = problem.hint(format!("write `server: {name}.{domain}`, or whatever the server is called"));
        ctx.add(
            problem.hint(format!("`mailgather providers detect {email}` asks the domain; `provider: NAME` takes one of `mailgather providers list`")),
        );
    }

    /// Domains of providers that are a slip of the finger away.
    fn near(&self, domain: &Domain) -> Vec<String> {
        let exact = |claim: &ProviderDomain| match claim {
            ProviderDomain::Exactly(domain) => Some(domain.clone()),
            ProviderDomain::Below(_) => None,
        };
        let all = self.known().flat_map(|known| known.provider.domains.iter().filter_map(exact).map(move |own| (own, &known.provider.id)));
        let slips_max = if domain.as_ascii().len() < 8 { 1 } else { 2 };
        let mut near: Vec<(usize, Domain, &String)> = all.map(|(own, id)| (distance(domain.as_ascii(), own.as_ascii()), own, id)).collect();
        near.retain(|(slips, ..)| *slips <= slips_max);
        near.sort_by(|a, b| (a.0, a.1.as_ascii()).cmp(&(b.0, b.1.as_ascii())));
        near.into_iter().take(3).map(|(_, own, id)| format!("{own} ({id})")).collect()
    }
}

/// Most collectors that an error names.
const USERS_SHOWN: usize = 5;

/// What the reader of the server would say too: said once, with what this place knows more.
fn no_server(block: &Block<'_>) -> String {
    format!("{} has no `server`", block.name)
}
