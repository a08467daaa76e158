//! Why a message went where it went: what `mailgather explain` prints.
//!
//! All texts in it are safe to print: control characters, and those that turn the direction of writing, are replaced.

use serde_json::{Value, json};

/// Most steps that are kept; further ones are counted.
pub const TRAIL_STEPS_MAX: usize = 200;
/// Of these, so many are kept free for what was taken: a flood of others must not hide it.
const TAKEN_STEPS: usize = 50;
/// Longest address or name that is shown, in characters.
pub const SHOWN_MAX: usize = 320;
/// Longest part of a rule that is shown, in characters.
pub(super) const RULE_SHOWN_MAX: usize = 80;
/// Longest line of [`Trail::to_line`], in octets.
pub const LINE_OCTETS_MAX: usize = 1_000;
/// What `; 1000000 more` takes of a line.
const MORE_OCTETS: usize = 24;
/// Most addresses of To and Cc that are named as not used.
pub const NOT_USED_MAX: usize = 5;

/// The steps of the resolver, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    trust: String,
    steps: Vec<Step>,
    omitted: usize,
    result: Vec<String>,
    verdict: String,
    not_used: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The number of the rule, from 1.
    pub rule: usize,
    /// The header's name, or `Received:for`.
    pub header: String,
    /// Which instance of the header, from the top, 1-based; `None` if there is none.
    pub instance: Option<usize>,
    /// The address that stands there.
    pub address: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// More about it: `hop 2, by mx1.example.org`.
    pub note: String,
}

/// What was decided about a header or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The message has no such header.
    Absent,
    /// It stands outside the trusted block only.
    Untrusted,
    /// The rule's pattern does not match.
    NoMatch,
    /// No address in it.
    NoAddress,
    /// Several addresses where one is needed.
    Several,
    /// The collected mailbox itself.
    Own,
    /// On the exclude list.
    Excluded,
    /// Not in an accepted domain.
    Foreign,
    /// Its local part holds characters by which servers send mail on to other hosts.
    Routing,
    /// It says that it is a journal report, and it came in from elsewhere.
    NotOpened,
    /// A map or an alias leads back to the collected mailbox.
    LeadsBack,
    /// It makes the message a mailing list's: nobody is guessed.
    ListMail,
    /// Another address of the field was asked for.
    NotAsked,
    /// Accepted; each change on its way, then the recipients.
    Taken {
        /// The rules that changed it: `map почта.рф → икс.рф`.
        by: Option<String>,
        /// The recipients that it led to.
        to: Vec<String>,
    },
}

impl Step {
    /// `Received:for два@почта.рф hop 2, by mx1 taken, map почта.рф → икс.рф → два@икс.рф`
    fn to_phrase(&self) -> String {
        if self.decision == Decision::NotOpened {
            return format!("{} {}", self.decision.words(), self.note);
        }
        let mut phrase = self.header.clone();
        for part in [self.address.as_deref().unwrap_or_default(), &self.note, self.decision.code()] {
            if !part.is_empty() {
                phrase = format!("{phrase} {part}");
            }
        }
        if let Decision::Taken { by: Some(by), to } = &self.decision {
            let by = by.split_whitespace().collect::<Vec<_>>().join(" ");
            phrase = format!("{phrase}, {by} → {}", to.join(", "));
        }
        phrase
    }
}

impl Decision {
    /// A stable word, for JSON and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Decision::Absent => "absent",
            Decision::Untrusted => "untrusted_envelope_header",
            Decision::NoMatch => "no_match",
            Decision::NoAddress => "no_address",
            Decision::Several => "several_addresses",
            Decision::Own => "own_address",
            Decision::Excluded => "excluded_address",
            Decision::Foreign => "foreign_address",
            Decision::Routing => "routing_characters",
            Decision::NotOpened => "journal_not_opened",
            Decision::LeadsBack => "leads_back",
            Decision::ListMail => "list_mail",
            Decision::NotAsked => "not_asked_for",
            Decision::Taken { .. } => "taken",
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Decision::Absent => "absent",
            Decision::Untrusted => "outside the trusted block: not believed",
            Decision::NoMatch => "the pattern does not match: says nothing",
            Decision::NoAddress => "no address in it",
            Decision::Several => "not exactly one address: says nothing",
            Decision::Own => "the collected mailbox itself, says nothing: skipped",
            Decision::Excluded => "on the exclude list: skipped",
            Decision::Foreign => "not in an accepted domain: skipped",
            Decision::Routing => "routing characters in the local part: skipped",
            Decision::NotOpened => "journal report not opened:",
            Decision::LeadsBack => "leads back to the collected mailbox: skipped",
            Decision::ListMail => "a mailing list's or a machine's message: nobody is guessed",
            Decision::NotAsked => "`take` asks for another one: skipped",
            Decision::Taken { .. } => "← taken",
        }
    }
}

impl Trail {
    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The lines of `explain`, each ended by a line feed.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.trust.is_empty() {
            text.push_str(&format!("  {}\n", self.trust));
        }
        let mut shown = None;
        for step in &self.steps {
            let number = if shown == Some(step.rule) { String::new() } else { step.rule.to_string() };
            shown = Some(step.rule);
            let (address, words) = match (&step.address, &step.decision) {
                (None, decision) => (decision.words(), ""),
                (Some(address), decision) => (address.as_str(), decision.words()),
            };
            let note = if step.note.is_empty() || words.is_empty() { step.note.clone() } else { format!("{}   ", step.note) };
            text.push_str(format!("{number:>3} {:<20} {address:<24} {note}{words}", step.header).trim_end());
            text.push('\n');
            if let Decision::Taken { by: Some(by), to } = &step.decision {
                text.push_str(&format!("      {by:<38} {}\n", to.join(", ")));
            }
        }
        if self.omitted > 0 {
            text.push_str(&format!("    and {} more steps\n", self.omitted));
        }
        for line in &self.result {
            text.push_str(&format!("  → {line}\n"));
        }
        if !self.verdict.is_empty() {
            text.push_str(&format!("  {}\n", self.verdict));
        }
        if !self.not_used.is_empty() {
            text.push_str(&format!("  not used: {}\n", self.not_used.join("; ")));
        }
        text
    }

    /// One line for the mail log, at most [`LINE_OCTETS_MAX`] octets: what was decided about each header that is there, then who gets it.
    /// Where it would be too long, what was taken is kept and the rest is counted.
    pub fn to_line(&self) -> String {
        let verdict = (!self.verdict.is_empty()).then(|| match &self.result[..] {
            [] => self.verdict.clone(),
            to => format!("{} → {}", self.verdict, to.join(", ")),
        });
        let decisive = self.steps.iter().filter(|step| step.decision != Decision::Absent);
        let (steps, taken): (Vec<_>, Vec<_>) = decisive.partition(|step| !matches!(step.decision, Decision::Taken { .. }));
        let taken: Vec<String> = taken.into_iter().map(Step::to_phrase).chain(verdict).collect();
        let mut room = LINE_OCTETS_MAX.saturating_sub(taken.iter().map(|part| part.len() + 2).sum::<usize>() + MORE_OCTETS);
        let all = steps.len() + self.omitted;
        let mut parts: Vec<String> = Vec::new();
        for part in steps.into_iter().map(Step::to_phrase) {
            let Some(left) = room.checked_sub(part.len() + 2) else { break };
            room = left;
            parts.push(part);
        }
        if parts.len() < all {
            parts.push(format!("{} more", all - parts.len()));
        }
        parts.extend(taken);
        let mut line = parts.join("; ");
        if line.len() > LINE_OCTETS_MAX {
            line.truncate(line.floor_char_boundary(LINE_OCTETS_MAX - '…'.len_utf8()));
            line.push('…');
        }
        line
    }

    /// The same for machines.
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                let mut value = json!({"rule": step.rule, "header": step.header, "instance": step.instance, "address": step.address,
                                       "decision": step.decision.code(), "note": step.note});
                if let Decision::Taken { by, to } = &step.decision {
                    value["by"] = json!(by);
                    value["to"] = json!(to);
                }
                value
            })
            .collect();
        json!({"trust": self.trust, "steps": steps, "steps_omitted": self.omitted, "recipients": self.result, "verdict": self.verdict,
               "not_used": self.not_used})
    }

    pub(super) fn trust(&mut self, text: String) {
        self.trust = text;
    }

    pub(super) fn step(&mut self, mut step: Step) {
        let limit = if matches!(step.decision, Decision::Taken { .. }) { TRAIL_STEPS_MAX } else { TRAIL_STEPS_MAX - TAKEN_STEPS };
        if self.steps.len() >= limit {
            self.omitted += 1;
            return;
        }
        step.header = shown(&step.header, SHOWN_MAX);
        step.address = step.address.map(|address| shown(&address, SHOWN_MAX));
        step.note = shown(&step.note, 2 * SHOWN_MAX);
        self.steps.push(step);
    }

    pub(super) fn result(&mut self, recipients: impl IntoIterator<Item = String>, verdict: String) {
        self.result = recipients.into_iter().map(|text| shown(&text, SHOWN_MAX)).collect();
        self.verdict = verdict;
    }

    pub(super) fn not_used(&mut self, text: String) {
        self.not_used.push(text);
    }
}

/// Text that is safe on a terminal and in a log, cut at `max` characters.
pub(super) fn shown(text: &str, max: usize) -> String {
    let safe = |c: char| match c {
        c if c.is_control() => '\u{fffd}',
        // Directional marks, embeddings, overrides and isolates, line and paragraph separators: they could make one address look like another.
        '\u{61c}' | '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    let mut shown: String = text.chars().take(max).map(safe).collect();
    if text.chars().nth(max).is_some() {
        shown.push('…');
    }
    shown
}
