//! Held mail, as the ledger knows it: what it is, why it is held, and who is to get it. Its octets are in a file (see [`crate::held`]).

use super::State;
use crate::mail::{CollectorId, MessageKey, TraceId, code};
use std::fmt;
use std::str::FromStr;

/// The number of a held message, written `H-0193`. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeldId(pub i64);

impl fmt::Display for HeldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "H-{:04}", self.0)
    }
}

impl FromStr for HeldId {
    type Err = String;

    /// Takes `H-0193`, `h-193` and `193`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("H-").or_else(|| text.strip_prefix("h-")).unwrap_or(text);
        digits.parse().ok().filter(|id| *id > 0).map(HeldId).ok_or_else(|| format!("`{text}` is not the number of a held message, such as H-0193"))
    }
}

/// Why a message is held: a closed set, for lists and metrics. The words for people are in [`HeldMail::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeldWhy {
    /// Nobody is its recipient, and `unresolved` is `hold`.
    Unresolved,
    /// It went in a circle.
    Loop,
    /// The target refused it for good.
    Refused,
    /// It was tried for as long as `retry.give_up` says.
    GaveUp,
    /// The target never answered the final dot, several times.
    InDoubt,
    /// Its content is what the configuration says to hold.
    Content,
    /// It is larger than `max_message_size`.
    TooLarge,
    /// The server cannot give its content: what is held is a note with its header.
    NotFetched,
}

impl HeldWhy {
    /// All of them.
    pub const ALL: [HeldWhy; 8] = [
        HeldWhy::Unresolved,
        HeldWhy::Loop,
        HeldWhy::Refused,
        HeldWhy::GaveUp,
        HeldWhy::InDoubt,
        HeldWhy::Content,
        HeldWhy::TooLarge,
        HeldWhy::NotFetched,
    ];

    /// A stable word.
    pub fn code(self) -> &'static str {
        match self {
            HeldWhy::Unresolved => "unresolved",
            HeldWhy::Loop => "loop",
            HeldWhy::Refused => "refused",
            HeldWhy::GaveUp => "gave_up",
            HeldWhy::InDoubt => "in_doubt",
            HeldWhy::Content => "content",
            HeldWhy::TooLarge => "too_large",
            HeldWhy::NotFetched => "not_fetched",
        }
    }

    /// The number of its page, as in `MG-401`.
    pub fn number(self) -> u16 {
        match self {
            HeldWhy::Unresolved => code::NO_RECIPIENT,
            HeldWhy::Loop => code::LOOP,
            HeldWhy::Refused => code::REFUSED,
            HeldWhy::GaveUp => code::GIVEN_UP,
            HeldWhy::InDoubt => code::IN_DOUBT,
            HeldWhy::Content => code::CONTENT,
            HeldWhy::TooLarge => code::TOO_LARGE,
            HeldWhy::NotFetched => code::NOT_FETCHED,
        }
    }
}

/// One held message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldMail {
    /// Its number; given by the ledger when it is recorded, 0 before.
    pub id: HeldId,
    /// What named it at its source; the folder's id is not in it.
    pub key: MessageKey,
    /// Its trace id, which names its file too.
    pub trace_id: TraceId,
    /// Why.
    pub why: HeldWhy,
    /// The same in words, with what the target said.
    pub reason: String,
    /// Since when, in seconds since the epoch.
    pub since: i64,
    /// Its size.
    pub octets: u64,
    /// Its reverse-path as it stands in MAIL FROM, empty for null.
    pub sender: String,
    /// Who was to get it and did not, as they stand in RCPT TO; empty if nobody was found.
    pub recipients: Vec<String>,
    /// Who has it already, or was decided about otherwise, the same.
    pub done: Vec<String>,
    /// It came in a journal report, which named its recipients: it does not name them itself.
    pub from_journal: bool,
    /// From, harmless and cut, for lists.
    pub from: String,
    /// Subject, the same.
    pub subject: String,
}

/// Held mail of one collector with the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldTotal {
    /// Whose.
    pub collector: CollectorId,
    /// Why.
    pub why: HeldWhy,
    /// How many messages.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Since when the first of them, in seconds since the epoch.
    pub since: i64,
}

/// What the ledger knows about the copy of a held message at its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtSource {
    /// It was there when its folder was last listed, and stays.
    Stays,
    /// It is to be removed, or is marked as deleted.
    ToGo,
    /// It was removed, or nothing is known about it: the held copy may be the only one.
    Unknown,
}

impl AtSource {
    /// A stable word.
    pub fn code(self) -> &'static str {
        match self {
            AtSource::Stays => "stays",
            AtSource::ToGo => "to_go",
            AtSource::Unknown => "unknown",
        }
    }
}

/// How a held message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldEnd {
    /// It was delivered: its copy at the source, if it still is one that is held, gets this state.
    Delivered(State),
    /// The operator dropped it: its copy at the source stays known, so that it does not come again.
    Dropped,
    /// It became too old: dropped, unless it was held again since then.
    Expired {
        /// Since when it was held, as the row said.
        since: i64,
    },
}
