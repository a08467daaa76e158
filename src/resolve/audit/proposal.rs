//! The `recipient:` block that is proposed, with the reasons.

use super::candidates::{Candidate, alone};
use super::unfound::{self, Unfound};
use super::{Audit, Mailbox, TrustAdvice, auto_resolved, is_proposed, percent, shown};
use crate::mail::{Address, Domain, HeaderBlock};
use crate::resolve::{Headers, JournalKind, MapTo, Resolution, Rules, Unresolved, resolve};
use std::collections::BTreeSet;

/// A list of headers has to be better than the built-in probe by this share of the messages, in per cent.
const BETTER_PERCENT_MIN: usize = 3;
/// Most headers in a proposed list.
const LIST_MAX: usize = 4;
/// A header that adds less than this share of the messages, in per cent, is not worth a line.
const ADDS_PERCENT_MIN: usize = 1;
/// Below this share of found recipients, in per cent, the headers count as no help.
const HELP_PERCENT_MIN: usize = 50;
/// The share of messages that fields under the trusted block have to tell, in per cent, before they are mentioned.
const BELOW_PERCENT_MIN: usize = 80;
/// From this share of found recipients on, in per cent, headers count as enough.
const ENOUGH_PERCENT_MIN: usize = 95;
/// Least messages before a single address counts as the only one.
const ONLY_ONE_MIN: usize = 10;

/// What to configure.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    /// In a word.
    pub mode: Mode,
    /// What was found, in words.
    pub findings: Vec<String>,
    /// The messages that it finds nobody for, if it is about headers.
    pub unfound: Vec<Unfound>,
    /// The block, ready to be put into a collector.
    pub yaml: String,
}

/// The kinds of proposals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The built-in probe does.
    Auto,
    /// A list of headers.
    List,
    /// All mail goes to one address.
    Forward,
    /// Only To and Cc tell anything.
    Guess,
    /// Nothing does.
    #[default]
    Nothing,
}

impl Mode {
    /// A stable word.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::List => "list",
            Mode::Forward => "forward_to",
            Mode::Guess => "guess",
            Mode::Nothing => "nothing",
        }
    }
}

/// A header of a proposed list, and what it adds.
struct Chosen<'a> {
    candidate: &'a Candidate,
    adds: usize,
}

/// `configured` are the present rules, `base` the same with the advice about trust and domains followed.
pub(super) fn make(audit: &Audit, headers: &[HeaderBlock], configured: &Rules, base: Rules, mailbox: &Mailbox<'_>) -> Proposal {
    let mut findings = audit.trust.findings();
    let mut draft = Draft { audit, configured, keys: mailbox.keys, rules: base, below: false };
    let auto = audit.auto_resolved;
    if percent(auto, audit.messages) < HELP_PERCENT_MIN && !draft.rules.envelope_below_received {
        let below = Rules { envelope_below_received: true, ..draft.rules.clone() };
        draft.below = percent(auto_resolved(headers, &below), audit.messages) >= BELOW_PERCENT_MIN;
    }
    let chosen = draft.choose(headers);
    let list: usize = chosen.iter().map(|one| one.adds).sum();
    let needs_prefix = chosen.iter().any(|one| one.candidate.prefix.is_some());
    let better = percent(list, audit.messages) >= percent(auto, audit.messages) + BETTER_PERCENT_MIN;
    let recipients = draft.recipients(headers);
    let only_one = recipients.len() == 1 && audit.messages >= ONLY_ONE_MIN && percent(auto, audit.messages) >= 90;
    let guessed = percent(audit.copies.guessable, audit.messages);
    let mode = match () {
        () if only_one => Mode::Forward,
        () if needs_prefix || (better && percent(list, audit.messages) >= HELP_PERCENT_MIN) => Mode::List,
        () if percent(auto, audit.messages) >= HELP_PERCENT_MIN => Mode::Auto,
        () if guessed >= HELP_PERCENT_MIN => Mode::Guess,
        () => Mode::Nothing,
    };
    let unfound = draft.unfound(mode, headers, &chosen, mailbox.uids);
    findings.extend(draft.findings(mode, auto, &chosen));
    findings.extend(unfound.iter().map(|one| one.finding(audit.messages, !mailbox.uids.is_empty())));
    findings.push(draft.verdict(mode, &unfound, guessed));
    let yaml = match (mode, recipients.first()) {
        (Mode::Forward, Some(only)) => {
            format!("recipient:\n  # all mail that was looked at went to this one address\n  forward_to: {}\n", quoted(&only.to_string()))
        }
        _ => draft.yaml(mode, auto, &chosen),
    };
    Proposal { mode, findings, unfound, yaml }
}

struct Draft<'a> {
    audit: &'a Audit,
    configured: &'a Rules,
    keys: &'a [&'a str],
    rules: Rules,
    below: bool,
}

impl<'a> Draft<'a> {
    /// The headers that together find the most recipients: the best first, then what adds most for the messages that are left.
    fn choose(&self, headers: &[HeaderBlock]) -> Vec<Chosen<'a>> {
        let mut left: Vec<&HeaderBlock> = headers.iter().collect();
        let mut chosen: Vec<Chosen<'a>> = Vec::new();
        while chosen.len() < LIST_MAX {
            let unused = self.audit.candidates.iter().filter(|one| !chosen.iter().any(|used| used.candidate.header == one.header));
            let scored = unused.map(|candidate| (candidate, self.found_by(candidate, &left)));
            // The first of the equally good ones: they are in order.
            let best = scored.fold(None, |best: Option<(&'a Candidate, usize)>, one| match best {
                Some(best) if best.1 >= one.1 => Some(best),
                _ => Some(one),
            });
            let Some((candidate, adds)) = best.filter(|(_, adds)| *adds > 0 && percent(*adds, headers.len()) >= ADDS_PERCENT_MIN) else { break };
            let rules = alone(&self.rules, &candidate.header, candidate.prefix.as_deref());
            left.retain(|header| !is_found(header, &rules));
            chosen.push(Chosen { candidate, adds });
        }
        chosen
    }

    fn found_by(&self, candidate: &Candidate, headers: &[&HeaderBlock]) -> usize {
        // A header cannot find more than the messages that have it.
        if candidate.present == 0 {
            return 0;
        }
        let rules = alone(&self.rules, &candidate.header, candidate.prefix.as_deref());
        headers.iter().filter(|header| is_found(header, &rules)).count()
    }

    fn recipients(&self, headers: &[HeaderBlock]) -> BTreeSet<Address> {
        headers.iter().flat_map(|header| resolve(header, &self.rules).0.recipients().to_vec()).map(|recipient| recipient.address).collect()
    }

    fn findings(&self, mode: Mode, auto: usize, chosen: &[Chosen<'_>]) -> Vec<String> {
        let Audit { messages, .. } = *self.audit;
        let mut findings = Vec::new();
        let domains: Vec<String> = self
            .audit
            .domains
            .iter()
            .map(|(domain, count, accepted)| {
                format!("{} ({count}{})", shown(&domain.to_unicode()), if *accepted { "" } else { ", not accepted yet" })
            })
            .collect();
        if !domains.is_empty() {
            findings.push(format!("domains in the provider's own fields: {}", domains.join(", ")));
        }
        findings
            .push(format!("the built-in probe (headers: auto) finds recipients for {auto} of {messages} messages ({} %)", percent(auto, messages)));
        for one in chosen.iter().filter(|_| mode == Mode::List) {
            findings.push(format!("{} finds {} of {messages}", shown(&one.candidate.header), one.adds));
        }
        if self.below {
            let below = "an envelope header stands right under the block that only the provider can write: a sender can write there too, so it is \
                         not believed; envelope_below_received: true only if the provider says that it always writes its own there";
            findings.push(below.to_owned());
        }
        let outside = self.audit.candidates.iter().filter(|one| one.inside == 0 && one.built_in && percent(one.present, messages) >= 10);
        for one in outside.take(3) {
            findings.push(format!(
                "{} is there in {} % of the messages, but never where only the provider can write: it is not believed",
                shown(&one.header),
                percent(one.present, messages)
            ));
        }
        findings.extend(self.audit.copies.finding());
        if self.audit.list_mail > 0 {
            findings.push(format!(
                "{} messages ({} %) are of mailing lists: never guessed",
                self.audit.list_mail,
                percent(self.audit.list_mail, messages)
            ));
        }
        findings
    }

    /// The messages that the proposed headers find nobody for; with other proposals it is not up to headers.
    fn unfound(&self, mode: Mode, headers: &[HeaderBlock], chosen: &[Chosen<'_>], uids: &[String]) -> Vec<Unfound> {
        let rules = match mode {
            Mode::Auto => self.rules.clone(),
            Mode::List => {
                let rule = |one: &Chosen<'_>| match alone(&self.rules, &one.candidate.header, one.candidate.prefix.as_deref()).headers {
                    Headers::List(list) => list,
                    Headers::Auto => Vec::new(),
                };
                Rules { headers: Headers::List(chosen.iter().flat_map(rule).collect()), ..self.rules.clone() }
            }
            Mode::Forward | Mode::Guess | Mode::Nothing => return Vec::new(),
        };
        unfound::find(headers, &rules, uids)
    }

    fn verdict(&self, mode: Mode, unfound: &[Unfound], guessed: usize) -> String {
        let missed: usize = unfound.iter().map(|one| one.count).sum();
        let messages = self.audit.messages;
        let enough = percent(messages - missed, messages) >= ENOUGH_PERCENT_MIN;
        let look = "look at these with `mailgather explain NAME --uid UID` before you rely on it";
        match mode {
            Mode::Auto if enough => "verdict: `headers: auto` is enough".to_owned(),
            Mode::Auto => format!("verdict: no list of headers is better than `headers: auto`, which finds nobody for {missed} of {messages} messages: {look}"),
            Mode::List if enough => "verdict: this list is better than the built-in probe".to_owned(),
            Mode::List => format!("verdict: this list is better than the built-in probe, and finds nobody for {missed} of {messages} messages: {look}"),
            Mode::Forward => "verdict: all mail goes to one address: no multidrop box, `forward_to` is simpler and surer".to_owned(),
            Mode::Guess => format!(
                "verdict: no header tells whose copy a message is; To and Cc name one of your addresses in {guessed} %: guessing loses Bcc and lists, so ask the provider for Delivered-To or X-Original-To first"
            ),
            Mode::Nothing => {
                "verdict: nothing tells the recipient: ask the provider to write Delivered-To or X-Original-To; until then everything goes to the default box".to_owned()
            }
        }
    }

    fn yaml(&self, mode: Mode, auto: usize, chosen: &[Chosen<'_>]) -> String {
        let Audit { messages, .. } = *self.audit;
        let mut lines = vec![format!("# by mailgather audit, from the last {messages} messages"), "recipient:".to_owned(), "  auto:".to_owned()];
        let mut line = |text: String| lines.push(format!("    {text}"));
        if mode == Mode::List {
            line("headers:".to_owned());
            for one in chosen {
                let name = quoted(&one.candidate.header);
                let differs = if one.candidate.differ > 0 { ", differs per copy" } else { "" };
                let entry = match &one.candidate.prefix {
                    Some(prefix) => format!("{{header: {name}, strip_prefix: {}}}", quoted(prefix)),
                    None => name,
                };
                line(format!("  - {entry}   # finds {} % of the messages{differs}", percent(one.adds, messages)));
            }
        } else {
            line(format!("headers: auto   # finds {} % of the messages", percent(auto, messages)));
        }
        let mut domains: Vec<String> =
            self.rules.domains.iter().filter(|domain| self.is_needed(domain)).map(|domain| quoted(&domain.to_unicode())).collect();
        domains.extend(self.rules.subdomains.iter().map(|domain| quoted(&format!(".{}", domain.to_unicode()))));
        if !domains.is_empty() {
            let new = self.audit.domains.iter().any(|found| is_proposed(found, messages));
            let note = if new { "   # seen in the provider's own fields: are they all yours?" } else { "" };
            line(format!("domains: [{}]{note}", domains.join(", ")));
        }
        let rare: Vec<String> = self
            .audit
            .domains
            .iter()
            .filter(|found| !found.2 && !is_proposed(found, messages))
            .map(|(domain, count, _)| format!("{} ({count} of {messages} messages)", shown(&domain.to_unicode())))
            .collect();
        if !rare.is_empty() {
            line(format!("# not accepted, and rare: add to `domains` what is yours: {}", rare.join(", ")));
        }
        if !self.rules.map.is_empty() {
            let to = |to: &MapTo| match to {
                MapTo::Domain(domain) => domain.to_unicode(),
                MapTo::Mailbox(address) => address.to_string(),
            };
            let pairs: Vec<String> =
                self.rules.map.iter().map(|(from, target)| format!("{}: {}", quoted(&from.to_unicode()), quoted(&to(target)))).collect();
            line(format!("map: {{{}}}", pairs.join(", ")));
        }
        if !self.rules.aliases.is_empty() {
            line("aliases:".to_owned());
            for alias in &self.rules.aliases {
                let to: Vec<String> = alias.to.iter().map(|address| quoted(&address.to_string())).collect();
                line(format!("  {}: [{}]", quoted(&format!("{}@{}", alias.local, alias.domain.to_unicode())), to.join(", ")));
            }
        }
        match &self.audit.trust.advice {
            TrustAdvice::Hosts(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(|host| quoted(host)).collect();
                line(format!("trusted_hosts: [{}]   # they write the topmost Received: only if they are your provider's", hosts.join(", ")));
            }
            TrustAdvice::Hops(hops) => line(format!("trusted_hops: {hops}   # the topmost Received, whoever wrote it")),
            TrustAdvice::Keep | TrustAdvice::Nothing => match (&self.configured.trusted_hosts[..], self.configured.trusted_hops) {
                _ if self.configured.mx_of.is_some() => line("trusted_hosts: mx".to_owned()),
                (_, Some(hops)) => line(format!("trusted_hops: {hops}")),
                ([], None) => {}
                (hosts, None) => line(format!("trusted_hosts: [{}]", hosts.iter().map(|host| quoted(host)).collect::<Vec<_>>().join(", "))),
            },
        }
        if self.configured.envelope_below_received {
            line("envelope_below_received: true".to_owned());
        } else if self.below {
            line("# envelope_below_received: true   # only if the provider says that it always writes its header there".to_owned());
        }
        match mode {
            Mode::Guess => line("guess: on   # nothing but To and Cc tells anything".to_owned()),
            _ if self.audit.copies.is_single() => line("guess: union   # one copy stands for all recipients".to_owned()),
            _ => {}
        }
        if !self.configured.keep_tag {
            line("keep_tag: false".to_owned());
        }
        if self.configured.max_recipients != Rules::default().max_recipients {
            line(format!("max_recipients: {}", self.configured.max_recipients));
        }
        let rest = [("rewrite", self.configured.rewrite.len()), ("lists", self.configured.lists.len()), ("exclude", self.configured.exclude.len())];
        let kept: Vec<&str> = rest.iter().filter(|(_, count)| *count > 0).map(|(name, _)| *name).chain(self.keys.iter().copied()).collect();
        if !kept.is_empty() {
            line(format!("# keep what you have under: {}", kept.join(", ")));
        }
        lines.extend(self.beside_auto());
        lines.push(String::new());
        lines.join("\n")
    }

    /// What becomes of mail that is for nobody, as it is configured: nothing of that is for a proposal to change.
    fn beside_auto(&self) -> Vec<String> {
        let configured = self.configured;
        let mut lines = Vec::new();
        lines.extend(configured.default_box.as_ref().map(|address| format!("  default_box: {}", quoted(&address.to_string()))));
        lines.extend(match (configured.unresolved, &configured.default_box) {
            (Unresolved::Hold, _) => Some("  unresolved: hold".to_owned()),
            (Unresolved::Discard, _) => Some("  unresolved: discard".to_owned()),
            (Unresolved::Leave, Some(_)) => Some("  unresolved: leave".to_owned()),
            (Unresolved::Leave, None) => Some("  unresolved: leave   # on the server; or name who gets it: `default_box: ADDRESS`".to_owned()),
            // The default beside a default box.
            (Unresolved::DefaultBox, _) => None,
        });
        if let Some(journal) = &configured.journal {
            let kind = match journal.kind {
                JournalKind::Exchange => "exchange",
                JournalKind::Google => "google",
            };
            lines.push(format!("  journal: {kind}"));
            lines.push(format!("  journal_from: {}", quoted(&journal.from.to_string())));
        }
        lines
    }

    /// The domain of the collected mailbox is accepted by default. If it is a provider's, its other addresses are no business of ours.
    fn is_needed(&self, domain: &Domain) -> bool {
        let is_own = self.rules.own.as_ref().is_some_and(|own| own.domain() == domain);
        let is_mapped = self.rules.map.iter().any(|(from, to)| from == domain || matches!(to, MapTo::Domain(to) if to == domain));
        let is_alias = self.rules.aliases.iter().any(|alias| alias.domain == *domain || alias.to.iter().any(|to| to.domain() == domain));
        !is_own || is_mapped || is_alias || self.audit.domains.iter().any(|(seen, ..)| seen == domain)
    }
}

fn is_found(header: &HeaderBlock, rules: &Rules) -> bool {
    debug_assert!(matches!(rules.headers, Headers::List(_)));
    matches!(resolve(header, rules).0, Resolution::Recipients(..))
}

/// A scalar of YAML: in single quotes unless it is a plain word.
fn quoted(text: &str) -> String {
    let plain =
        text.chars().next().is_some_and(char::is_alphabetic) && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '@' | '_' | '+'));
    let word = matches!(text.to_ascii_lowercase().as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off");
    let safe: String = text.chars().filter(|c| !c.is_control()).collect();
    if plain && !word { text.to_owned() } else { format!("'{}'", safe.replace('\'', "''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_that_need_quotes_get_them() {
        for (text, wanted) in [
            ("firm.example", "firm.example"),
            ("почта.рф", "почта.рф"),
            ("post@firm.example", "post@firm.example"),
            ("Received:for", "'Received:for'"),
            ("*@firm.example", "'*@firm.example'"),
            ("o'neil@x.example", "'o''neil@x.example'"),
            ("null", "'null'"),
            ("163.com", "'163.com'"),
            ("a\nb", "'ab'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), wanted);
        }
    }
}
