//! `mailgather policy test "554 5.7.1 …"`: what the target's reply would do, by the functions that decide at delivery.

use super::Common;
use super::exit::Exit;
use super::peek::{named, names, print};
use crate::config::{Collector, RecipientMode, Target};
use crate::mail::outcome::harmless;
use crate::mail::{Blame, Diagnosis, Outcome, Reply, Stage};
use crate::policy::{Action, Circumstances, Policy, PolicyRule, ReplyPattern, is_greylisting};
use crate::proto::smtp::Protocol;
use crate::proto::smtp::reply::ReplyReader;
use crate::proto::smtp::verdict::{Verdict, verdict};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(super) struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say what a reply of the target would do.
    Test(Test),
}

#[derive(Debug, Args)]
struct Test {
    /// The reply, as the log has it: `554 5.7.1 text`.
    reply: String,
    /// By the delivery and the default box of this collector; needed if there are several that differ.
    #[arg(long = "as", value_name = "NAME")]
    collector: Option<String>,
    /// The reply to this command alone; to each of them by default.
    #[arg(long, value_enum)]
    stage: Option<StageName>,
    /// What the target speaks; what the configuration says by default.
    #[arg(long, value_enum)]
    protocol: Option<ProtocolName>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StageName {
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA.
    Data,
    /// The content, up to the final dot.
    Dot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    Smtp,
    Lmtp,
}

const STAGES: [(StageName, Stage, &str); 4] = [
    (StageName::Mail, Stage::MailFrom, "mail"),
    (StageName::Rcpt, Stage::RcptTo, "rcpt"),
    (StageName::Data, Stage::Data, "data"),
    (StageName::Dot, Stage::Content, "dot"),
];

pub(super) fn policy(arguments: &PolicyArguments, common: &Common) -> Exit {
    let PolicyCommand::Test(test) = &arguments.command;
    try_test(test, common).unwrap_or_else(|exit| exit)
}

fn try_test(test: &Test, common: &Common) -> Result<Exit, Exit> {
    let Some(reply) = read(&test.reply) else {
        eprintln!(
            "error: `{}` is no reply\nhint: three digits, then the text: mailgather policy test '554 5.7.1 rejected'",
            harmless(&test.reply, 200)
        );
        return Err(Exit::Usage);
    };
    let situation = Situation::of(test, common)?;
    let wanted = STAGES.iter().filter(|(name, ..)| test.stage.is_none_or(|only| only == *name));
    let rows: Vec<Row> = wanted.map(|(_, stage, name)| Row::of(&situation, *stage, name, &reply)).collect();
    if test.json {
        let rows: Vec<Value> = rows.iter().map(Row::to_json).collect();
        let value = json!({"reply": reply.to_string(), "code": reply.code, "collector": situation.collector, "default_box": situation.has_box, "stages": rows});
        print(&format!("{value}\n"));
        return Ok(Exit::Ok);
    }
    let whose = situation.collector.as_deref().map_or("the built-in table alone".to_owned(), |id| format!("as collector {id}"));
    let default_box = if situation.has_box { "with a default box" } else { "without a default box" };
    let mut text = format!("{reply}\n  {whose}, {}, {default_box}\n", if situation.protocol == Protocol::Lmtp { "LMTP" } else { "SMTP" });
    rows.iter().for_each(|row| text.push_str(&row.to_text()));
    print(&text);
    Ok(Exit::Ok)
}

/// The reply as the client would read it.
fn read(text: &str) -> Option<Reply> {
    let (taken, full) = ReplyReader::new().push(format!("{text}\r\n").as_bytes()).ok()?;
    full.filter(|_| taken == text.len() + 2).map(|full| full.reply)
}

/// Whose policy.
struct Situation {
    collector: Option<String>,
    policy: Policy,
    has_box: bool,
    protocol: Protocol,
}

impl Situation {
    fn of(test: &Test, common: &Common) -> Result<Self, Exit> {
        let chosen = test.protocol.map(|name| if name == ProtocolName::Lmtp { Protocol::Lmtp } else { Protocol::Smtp });
        let built_in = || Situation { collector: None, policy: Policy::default(), has_box: true, protocol: chosen.unwrap_or(Protocol::Smtp) };
        if test.collector.is_none() && !common.config.exists() {
            eprintln!("note: {} is not there: this is the built-in table", common.config.display());
            return Ok(built_in());
        }
        let loaded = common.load()?;
        let of = |collector: &Collector| Situation {
            collector: Some(collector.id.as_str().to_owned()),
            policy: collector.delivery.policy.clone(),
            has_box: matches!(&collector.recipient, RecipientMode::Auto(rules, _) if rules.default_box.is_some()),
            protocol: chosen.unwrap_or(if matches!(collector.delivery.target, Target::Lmtp(_)) { Protocol::Lmtp } else { Protocol::Smtp }),
        };
        let mut all = loaded.config.collectors.values().map(|collector| of(collector));
        let found = match test.collector.as_deref() {
            Some(name) => named(&loaded, name).map(|collector| of(&collector)),
            None => match all.next() {
                None => Some(built_in()),
                Some(first) => all.all(|other| other.same(&first)).then_some(first),
            },
        };
        found.ok_or_else(|| {
            eprintln!("error: whose policy? Say `--as NAME`\nhint: the configuration has: {}", names(&loaded));
            Exit::Usage
        })
    }

    fn same(&self, other: &Situation) -> bool {
        self.policy == other.policy && self.has_box == other.has_box && self.protocol == other.protocol
    }
}

/// What the reply does at one stage.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    stage: &'static str,
    /// `accepted`, `deferred`, `rejected`, `unexpected`.
    meaning: &'static str,
    blame: Option<&'static str>,
    action: &'static str,
    by: String,
    /// What follows when it goes on for longer than `retry.give_up`, if that is something else.
    later: Option<(&'static str, String)>,
    note: Option<&'static str>,
}

impl Row {
    fn of(situation: &Situation, stage: Stage, name: &'static str, reply: &Reply) -> Row {
        let row = |meaning, blame, action, by: &str| Row { stage: name, meaning, blame, action, by: by.to_owned(), later: None, note: None };
        let (outcome, meaning, blame) = match verdict(situation.protocol, stage, reply) {
            Verdict::Accepted => return row("accepted", None, "go on", "nothing to decide"),
            Verdict::Unexpected => {
                return row(
                    "unexpected",
                    Some("target"),
                    "wait",
                    "a reply that has no place here: the connection is given up, and nothing counts as delivered",
                );
            }
            Verdict::Deferred(blame) => (Outcome::Deferred(diagnosis(stage, blame, reply)), "deferred", blame),
            Verdict::Rejected(blame) => (Outcome::Rejected(diagnosis(stage, blame, reply)), "rejected", blame),
        };
        let with = Circumstances { default_box: situation.has_box, is_default_box: false, given_up: false };
        let Some(decision) = situation.policy.decide(&outcome, with) else {
            let by = "the target as a whole: no message is to blame, all mail waits at its source";
            return row(meaning, Some(blame_word(blame)), "wait", by);
        };
        let given_up = situation.policy.decide(&outcome, Circumstances { given_up: true, ..with });
        let later = given_up.filter(|later| later.action != decision.action);
        let note = match stage {
            // RFC 5321 §4.5.3.1.10: too many recipients at once.
            Stage::RcptTo if reply.code == 452 && matches!(reply.enhanced, None | Some((4, 5, 3))) => {
                Some("before that, the batch of recipients is split")
            }
            Stage::RcptTo if is_greylisting(&diagnosis(stage, blame, reply)) => Some("as of a greylisting server: not asked again at once"),
            _ => None,
        };
        Row {
            stage: name,
            meaning,
            blame: Some(blame_word(blame)),
            action: word(decision.action),
            by: in_words(&decision.by, &situation.policy),
            later: later.map(|later| (word(later.action), in_words(&later.by, &situation.policy))),
            note,
        }
    }

    fn to_text(&self) -> String {
        let about = self.blame.map_or(String::new(), |blame| format!(", about the {blame}"));
        let mut text = format!("  {:<5} {:<12} {}{about}: {}\n", self.stage, self.action, self.meaning, self.by);
        if let Some((action, by)) = &self.later {
            text.push_str(&format!("        {action:<12} in the end: {by}\n"));
        }
        if let Some(note) = self.note {
            text.push_str(&format!("        {note}\n"));
        }
        text
    }

    fn to_json(&self) -> Value {
        let later = self.later.as_ref().map(|(action, by)| json!({"action": action, "by": by}));
        json!({"stage": self.stage, "meaning": self.meaning, "about": self.blame, "action": self.action, "by": self.by, "given_up": later, "note": self.note})
    }
}

fn diagnosis(stage: Stage, blame: Blame, reply: &Reply) -> Diagnosis {
    Diagnosis::of_reply(stage, blame, reply.clone())
}

fn blame_word(blame: Blame) -> &'static str {
    match blame {
        Blame::Target => "target",
        Blame::Message => "message",
        Blame::Recipient => "recipient",
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Defer => "defer",
        Action::DefaultBox => "default_box",
        Action::Hold => "hold",
        Action::Discard => "discard",
        Action::Leave => "leave",
    }
}

/// `policy rule 2` with what the operator wrote there.
fn in_words(by: &str, policy: &Policy) -> String {
    let Some(rest) = by.strip_prefix("policy rule ") else { return format!("built in: {by}") };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let rule = digits.parse::<usize>().ok().and_then(|nth| policy.rules.get(nth.checked_sub(1)?));
    match rule {
        Some(rule) => format!("delivery.policy, rule {digits} of {}: {}{}", policy.rules.len(), shown(rule), &rest[digits.len()..]),
        None => by.to_owned(),
    }
}

fn shown(rule: &PolicyRule) -> String {
    let part = |number: Option<u16>| number.map_or("x".to_owned(), |number| number.to_string());
    let reply = match &rule.reply {
        ReplyPattern::Code(code) => format!("code {code}"),
        ReplyPattern::Enhanced(class, subject, detail) => format!("enhanced code {class}.{}.{}", part(*subject), part(*detail)),
        ReplyPattern::Regex(pattern) => format!("text /{}/", harmless(pattern.as_str(), 200)),
    };
    format!("{reply} → {}", word(rule.action))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Pattern;

    fn situation(rules: Vec<PolicyRule>, has_box: bool) -> Situation {
        let policy = Policy { rules, ..Policy::default() };
        Situation { collector: None, policy, has_box, protocol: Protocol::Smtp }
    }

    #[test]
    fn replies_are_read_as_the_client_reads_them() {
        let shown = |text: &str| read(text).map(|reply| (reply.code, reply.enhanced, reply.text));
        assert_eq!(shown("554 5.7.1 no"), Some((554, Some((5, 7, 1)), "no".into())));
        assert_eq!(shown("550"), Some((550, None, String::new())));
        for bad in ["", "no", "99 x", "654 x", "550-more", "550 a\r\n250 b", "554x"] {
            assert_eq!(shown(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_stage_has_its_own_answer() {
        let usual = situation(vec![], true);
        for (stage, text, meaning, blame, action, later) in [
            (StageName::Mail, "250 ok", "accepted", None, "go on", None),
            (StageName::Data, "250 ok", "unexpected", Some("target"), "wait", None),
            (StageName::Rcpt, "550 5.1.1 no such user", "rejected", Some("recipient"), "default_box", None),
            (StageName::Rcpt, "450 4.2.0 greylisted", "deferred", Some("recipient"), "defer", Some("hold")),
            (StageName::Rcpt, "552 5.2.2 full", "deferred", Some("recipient"), "defer", Some("default_box")),
            (StageName::Rcpt, "421 4.3.0 bye", "deferred", Some("target"), "wait", None),
            (StageName::Mail, "530 5.7.0 login first", "deferred", Some("target"), "wait", None),
            (StageName::Dot, "554 5.7.1 spam", "rejected", Some("message"), "hold", None),
        ] {
            let (_, wire, name) = STAGES.iter().find(|(known, ..)| *known == stage).unwrap();
            let row = Row::of(&usual, *wire, name, &read(text).unwrap());
            let seen = (row.meaning, row.blame, row.action, row.later.as_ref().map(|(action, _)| *action));
            assert_eq!(seen, (meaning, blame, action, later), "{text}: {row:?}");
        }
    }

    #[test]
    fn what_happens_before_the_decision_is_noted() {
        for (text, wanted) in [
            ("452 too many", Some("split")),
            ("452 4.5.3 too many", Some("split")),
            ("452 4.2.2 full", None),
            ("450 4.7.1 wait", Some("greylisting")),
        ] {
            let row = Row::of(&situation(vec![], true), Stage::RcptTo, "rcpt", &read(text).unwrap());
            assert_eq!(row.note.is_some(), wanted.is_some(), "{text}: {row:?}");
            assert!(wanted.is_none_or(|word| row.note.unwrap().contains(word)), "{text}: {row:?}");
        }
    }

    #[test]
    fn the_operators_rule_is_named_with_its_place() {
        let rule = |reply, action| PolicyRule { reply, action };
        let rules = vec![
            rule(ReplyPattern::Code(599), Action::Leave),
            rule(ReplyPattern::Enhanced(5, Some(7), None), Action::Discard),
            rule(ReplyPattern::Regex(Pattern::new("spam|virus").unwrap()), Action::DefaultBox),
        ];
        let by = |text: &str, has_box| {
            let row = Row::of(&situation(rules.clone(), has_box), Stage::Content, "dot", &read(text).unwrap());
            (row.action, row.by)
        };
        assert_eq!(by("554 5.7.1 spam", true), ("discard", "delivery.policy, rule 2 of 3: enhanced code 5.7.x → discard".into()));
        assert_eq!(by("550 SPAM", true), ("default_box", "delivery.policy, rule 3 of 3: text /spam|virus/ → default_box".into()));
        assert_eq!(by("550 SPAM", false), ("hold", "delivery.policy, rule 3 of 3: text /spam|virus/ → default_box; there is no default box".into()));
        let (_, built_in) = by("550 5.6.0 content", true);
        assert!(built_in.starts_with("built in: message refused"), "{built_in}");
    }
}
