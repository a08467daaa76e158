//! A row of the history: what became of one message. All texts in it are harmless: without control characters, and cut.

use crate::mail::outcome::harmless;
use crate::mail::when::stamp;
use crate::mail::{MessageKey, TraceId};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Most recipients of one row; further ones are not named.
pub const RECIPIENTS_MAX: usize = 50;
/// Longest texts, in octets.
const ADDRESS_OCTETS_MAX: usize = 320;
const TEXT_OCTETS_MAX: usize = 300;

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Word {
    /// All of its recipients have it.
    #[default]
    Delivered,
    /// They all had it before.
    Duplicate,
    /// It was not collected, on purpose; or its header alone was.
    Skipped,
    /// It is in the store of held mail.
    Held,
    /// It stays on the server: nobody is its recipient.
    Left,
    /// It was thrown away: the configuration says so.
    Discarded,
    /// It is tried again.
    Deferred,
}

impl Word {
    /// All of them.
    pub const ALL: [Word; 7] = [Word::Delivered, Word::Duplicate, Word::Skipped, Word::Held, Word::Left, Word::Discarded, Word::Deferred];

    /// A stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Delivered => "delivered",
            Word::Duplicate => "duplicate",
            Word::Skipped => "skipped",
            Word::Held => "held",
            Word::Left => "left",
            Word::Discarded => "discarded",
            Word::Deferred => "deferred",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Word::ALL.into_iter().find(|word| word.as_str() == text)
    }
}

/// What became of one recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub to: String,
    /// The address that it was made of, if it is another one.
    pub original: String,
    /// `delivered`, `duplicate`, `deferred`, `refused`, `held`, `discarded`, `left`, `in_doubt`.
    pub result: &'static str,
    /// What the target said.
    pub reply: String,
}

/// The words of [`Recipient::result`].
const RESULTS: [&str; 8] = ["delivered", "duplicate", "deferred", "refused", "held", "discarded", "left", "in_doubt"];

impl Recipient {
    /// One with its texts made harmless.
    pub fn new(to: &str, original: Option<&str>, result: &'static str, reply: &str) -> Self {
        let original = original.map(|original| harmless(original, ADDRESS_OCTETS_MAX)).unwrap_or_default();
        Recipient { to: harmless(to, ADDRESS_OCTETS_MAX), original, result, reply: harmless(reply, TEXT_OCTETS_MAX) }
    }
}

/// What became of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// The collector.
    pub collector: String,
    /// The mailbox: `imap://login@host`.
    pub mailbox: String,
    /// The folder in it.
    pub folder: String,
    /// UIDVALIDITY; 0 for POP3.
    pub epoch: u32,
    /// UID or UIDL.
    pub uid: String,
    /// What is in the message as X-Mailgather-Id; `None` if it was never fetched.
    pub trace_id: Option<TraceId>,
    /// Its Message-ID, without brackets.
    pub message_id: String,
    /// The reverse-path with which it was handed over; empty for null, or where it was not handed over.
    pub sender: String,
    /// Its From.
    pub from: String,
    /// Its size.
    pub octets: u64,
    /// Who got it, and who did not.
    pub recipients: Vec<Recipient>,
    /// How the recipients were found.
    pub by: String,
    /// What became of it.
    pub result: Word,
    /// More about that, one of a fixed set of words; may be empty: `loop`, `refused`, `unresolved`, `too_large` …
    pub why: String,
    /// Where it was to go.
    pub target: String,
    /// The reason in words, if it was not delivered.
    pub reason: String,
    /// When it came to its mailbox, as its header says, in seconds since the epoch.
    pub arrived: Option<i64>,
}

impl Row {
    /// A row about the message that has this name at its source.
    pub fn new(key: &MessageKey) -> Self {
        Row {
            at: Timestamp::now().as_millisecond(),
            collector: key.collector.as_str().to_owned(),
            mailbox: harmless(&key.mailbox.to_string(), ADDRESS_OCTETS_MAX),
            folder: harmless(key.folder.as_str(), TEXT_OCTETS_MAX),
            epoch: key.epoch.0,
            uid: harmless(&key.uid.to_string(), TEXT_OCTETS_MAX),
            ..Row::default()
        }
    }

    /// A text that fits into it.
    pub fn text(text: &str) -> String {
        harmless(text, TEXT_OCTETS_MAX)
    }

    /// Adds what became of a recipient.
    pub fn add(&mut self, recipient: Recipient) {
        if self.recipients.len() < RECIPIENTS_MAX {
            self.recipients.push(recipient);
        }
    }

    /// What a target said last, if anything.
    pub fn reply(&self) -> &str {
        self.recipients.iter().rev().map(|recipient| recipient.reply.as_str()).find(|reply| !reply.is_empty()).unwrap_or_default()
    }

    /// From its arrival to this row, in seconds, as far as the clocks agree.
    pub fn took(&self) -> Option<i64> {
        self.arrived.map(|arrived| self.at / 1000 - arrived).filter(|took| *took >= 0)
    }

    /// As JSON. Its number is what pages go by.
    pub fn json(&self, number: Option<i64>) -> Value {
        let recipients: Vec<Value> = self
            .recipients
            .iter()
            .map(|to| json!({"to": to.to, "original": none_if_empty(&to.original), "result": to.result, "reply": none_if_empty(&to.reply)}))
            .collect();
        let mut document = json!({
            "at": Timestamp::from_millisecond(self.at).map(stamp).unwrap_or_default(),
            "collector": self.collector, "mailbox": self.mailbox, "folder": self.folder, "uidvalidity": self.epoch, "uid": self.uid,
            "key": format!("{}/{}/{}/{}", self.collector, self.folder, self.epoch, self.uid),
            "trace_id": self.trace_id.map(|id| id.to_string()), "message_id": none_if_empty(&self.message_id), "reverse_path": self.sender,
            "from": none_if_empty(&self.from), "octets": self.octets, "recipients": recipients, "by": none_if_empty(&self.by),
            "result": self.result.as_str(), "why": none_if_empty(&self.why), "target": none_if_empty(&self.target),
            "reply": none_if_empty(self.reply()), "reason": none_if_empty(&self.reason),
            "arrived": self.arrived.and_then(|at| Timestamp::from_second(at).ok()).map(stamp), "seconds": self.took(),
        });
        if let Some(number) = number {
            document["number"] = number.into();
        }
        document
    }

    /// About as much as it takes in memory.
    pub(super) fn octets_in_memory(&self) -> usize {
        let of_recipients: usize = self.recipients.iter().map(|to| 80 + to.to.len() + to.original.len() + to.reply.len()).sum();
        let texts = [&self.mailbox, &self.folder, &self.uid, &self.message_id, &self.sender, &self.from, &self.by, &self.target, &self.reason];
        400 + of_recipients + texts.iter().map(|text| text.len()).sum::<usize>()
    }

    /// The recipients as one text: a line each, with tabs. Neither is in a harmless text.
    pub(super) fn recipients_text(&self) -> String {
        let lines: Vec<String> = self.recipients.iter().map(|to| [&to.to, &to.original, to.result, &to.reply].join("\t")).collect();
        lines.join("\n")
    }

    pub(super) fn recipients_of(text: &str) -> Vec<Recipient> {
        let recipient = |line: &str| {
            let mut parts = line.splitn(4, '\t');
            let mut part = || parts.next().unwrap_or_default();
            let (to, original, result, reply) = (part().to_owned(), part().to_owned(), part(), part().to_owned());
            let result = RESULTS.into_iter().find(|known| *known == result).unwrap_or("");
            Recipient { to, original, result, reply }
        };
        text.lines().map(recipient).collect()
    }
}

fn none_if_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_a_text_and_back() {
        let mut row = Row::default();
        row.add(Recipient::new("раз@икс.рф", Some("раз@почта.рф"), "delivered", "250 2.0.0 Ok\r\nqueued\tas 1"));
        row.add(Recipient::new("b@x.example", None, "refused", ""));
        assert_eq!(row.reply(), "250 2.0.0 Ok??queued?as 1");
        assert_eq!(Row::recipients_of(&row.recipients_text()), row.recipients);
        assert!(Row::recipients_of("").is_empty());
        (0..2 * RECIPIENTS_MAX).for_each(|_| row.add(Recipient::default()));
        assert_eq!(row.recipients.len(), RECIPIENTS_MAX);
    }

    #[test]
    fn the_time_that_it_took() {
        let took = |at, arrived| Row { at, arrived, ..Row::default() }.took();
        assert_eq!((took(5_999, Some(2)), took(5_000, None), took(5_000, Some(9))), (Some(3), None, None));
    }
}
