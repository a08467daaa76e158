//! The mail log: one function per thing that happens to mail, each with fixed fields. `grep` for a message's key follows it from its server
//! to its mailbox; `id` is in the message itself (X-Mailgather-Id).

use crate::mail::{CollectorId, Epoch, FolderName, Message, MessageKey, Recipient, Reply};
use std::time::Duration;

/// Most recipients that one line names.
const SHOWN_MAX: usize = 20;
use tracing::{debug, error, info, warn};

/// One recipient has it.
pub fn delivered(message: &Message, recipient: &Recipient, by: &str, to: &str, reply: &Reply, octets: u64) {
    let original = recipient.original.as_ref().map(|address| address.to_string()).unwrap_or_default();
    info!(event = "message_delivered", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), rcpt = %recipient.address, original, by, to, reply = %reply, octets);
}

/// One recipient does not have it now.
pub fn deferred(message: &Message, recipient: &Recipient, to: &str, reason: &str) {
    warn!(event = "message_deferred", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), rcpt = %recipient.address, to, reason);
}

/// The target refused it for good.
pub fn refused(message: &Message, recipient: &Recipient, to: &str, reason: &str, next: &str) {
    warn!(event = "message_refused", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), rcpt = %recipient.address, to, reason, next);
}

/// No answer to the final dot: it may be there, and is tried again.
pub fn in_doubt(message: &Message, recipient: &Recipient, to: &str, reason: &str) {
    warn!(event = "message_in_doubt", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), rcpt = %recipient.address, to, reason, next = "tried again: a possible duplicate");
}

/// Who is to get it, and each step that led to them.
pub fn resolved(message: &Message, recipients: &[Recipient], trail: &str) {
    let to: Vec<String> = recipients.iter().take(SHOWN_MAX).map(|recipient| recipient.address.to_string()).collect();
    info!(event = "message_resolved", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), rcpt = %to.join(","), recipients = recipients.len(), trail);
}

/// It is a journal report from the journal's own sender, and cannot be opened.
pub fn journal_unreadable(message: &Message, reason: &str) {
    warn!(event = "journal_unreadable", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), reason, next = "the report itself is treated as mail without a recipient");
}

/// Its octets were put right as it came in.
pub fn repaired(message: &Message) {
    let crate::mail::Repairs { nul, bare_cr, bare_lf } = message.repairs;
    info!(event = "message_repaired", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), nul, bare_cr, bare_lf);
}

/// Another copy of it was delivered to this recipient before.
pub fn duplicate(message: &Message, recipient: &Recipient, earlier: &str) {
    info!(event = "duplicate_suppressed", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), rcpt = %recipient.address, earlier);
}

/// It is in the store of held mail; `code` is the number of the page that explains why.
pub fn held(message: &Message, code: u16, why: &str, reason: &str) {
    let code = format!("MG-{code}");
    warn!(event = "message_held", code, collector = %message.key.collector, key = %message.key, id = %message.trace_id(), why, reason, next = "mailgather held list");
}

/// It was to be held and cannot be.
pub fn not_held(message: &Message, reason: &str) {
    error!(event = "message_not_held", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), reason, next = "stays on the server, tried again later");
}

/// It was thrown away: the configuration says so.
pub fn discarded(message: &Message, recipient: Option<&Recipient>, reason: &str) {
    let rcpt = recipient.map(|recipient| recipient.address.to_string()).unwrap_or_default();
    warn!(event = "message_discarded", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), rcpt, reason);
}

/// The target may take it if it is given otherwise.
pub fn second_try(message: &Message, reason: &str) {
    info!(event = "message_second_try", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), reason);
}

/// So many decisions were guesses or ended in the default box that this mailbox does not tell recipients.
pub fn unreliable(collector: &CollectorId, share: f64) {
    let percent = format!("{:.0}", share * 100.0);
    let next = "mailgather audit shows which header tells the recipient";
    warn!(event = "recipients_unreliable", collector = %collector, percent, next);
}

/// It is for nobody now: no recipient here, or a loop.
pub fn set_aside(message: &Message, event: &'static str, reason: &str, next: &str) {
    warn!(event, collector = %message.key.collector, key = %message.key, id = %message.trace_id(), reason, next);
}

/// It was collected before the server renumbered the folder.
pub fn known_by_fingerprint(message: &Message) {
    info!(event = "message_duplicate", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), reason = "collected before the server gave it another name (UIDVALIDITY, UIDL); not delivered again");
}

/// It arrived before what the first run takes, as it says itself.
pub fn left_alone(message: &Message) {
    let reason = "it arrived before what `first_run` takes; it stays on the server, and counts as collected";
    info!(event = "message_left_alone", collector = %message.key.collector, key = %message.key, id = %message.trace_id(), reason);
}

/// It was not fetched.
pub fn skipped(key: &MessageKey, reason: &str) {
    warn!(event = "message_skipped", collector = %key.collector, key = %key, reason);
}

/// It could not be fetched now.
pub fn unfetched(key: &MessageKey, reason: &str) {
    warn!(event = "message_not_fetched", collector = %key.collector, key = %key, reason, next = "tried again later");
}

/// A folder that the configuration names is not there.
pub fn folder_missing(collector: &CollectorId, reason: &str) {
    warn!(event = "folder_missing", collector = %collector, reason);
}

/// Copies at the source were disposed of.
pub fn disposed(collector: &CollectorId, how: &str, messages: usize, state: &str) {
    info!(event = "remote_disposed", collector = %collector, how, messages, state);
}

/// The server gives out UIDs again that it had given out, under the same UIDVALIDITY, which RFC 9051 §2.3.1.1 forbids.
pub fn uids_went_back(collector: &CollectorId, uid_next: u32, highest: u32) {
    let next = "every message is compared with those that were collected, and what is new is taken";
    warn!(event = "uids_went_back", collector = %collector, uid_next, highest, next);
}

/// The server has given all messages of the folder other UIDs.
pub fn uidvalidity_changed(collector: &CollectorId, folder: &FolderName, now: Epoch, messages: u64, remembered: u64) {
    let next = "every message is compared with those that were collected, and what is new is taken";
    warn!(event = "uidvalidity_changed", collector = %collector, folder = folder.as_str(), uidvalidity = %now, messages, remembered, next);
}

/// What came of comparing the messages of a folder that have other names than before.
#[derive(Debug)]
pub struct RenumberedFigures {
    /// Messages that the ledger remembered, when the pass began.
    pub remembered: u64,
    /// Messages that were known again: not delivered a second time.
    pub known: u64,
    /// Messages that are older than what the first run took.
    pub left_alone: u64,
    /// Messages that nobody knew.
    pub new: u64,
}

/// A pass compared messages that have other names than before; a flood is more new ones than anybody would expect.
pub fn renumbered(collector: &CollectorId, folder: &FolderName, figures: &RenumberedFigures, is_flood: bool) {
    let RenumberedFigures { remembered, known, left_alone, new } = figures;
    let next = match is_flood {
        false => "what was known is not delivered again",
        true => {
            "most messages looked new and were taken as new: if they are old, the server has changed them too, and `mailgather clear NAME --mark-collected` leaves alone what is still to come"
        }
    };
    warn!(event = "messages_compared", collector = %collector, folder = folder.as_str(), remembered, known, left_alone, new, is_flood, next);
}

/// None of the UIDLs that were collected is there any more, and others are.
pub fn ids_changed(collector: &CollectorId, remembered: u64) {
    let next = "every message is compared with those that were collected, and what is new is taken";
    warn!(event = "ids_changed", collector = %collector, remembered, next);
}

/// Who is left to the interval, because a server does not tell of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleLeft {
    /// Nobody, yet or on purpose.
    Nobody,
    /// The collector whose mail was missed.
    Collector,
    /// All collectors of the server that say `idle: auto`.
    Server,
}

/// A server that was to tell of new mail said nothing of some that a poll found, and its connection is sound.
pub fn idle_missed(collector: &CollectorId, missed: u64, left: IdleLeft) {
    let next = match left {
        IdleLeft::Nobody => "the interval's poll goes on as a guard",
        IdleLeft::Collector => {
            "the server tells others of mail: this collector alone is left to the interval, until the next start or a reload that changes a collector of this server"
        }
        IdleLeft::Server => {
            "this server is left to the interval, by all collectors with `idle: auto`, until the next start or a reload that changes one of them"
        }
    };
    warn!(event = "idle_missed", collector = %collector, missed, next);
}

/// Others found out that the server does not tell of mail.
pub fn idle_left(collector: &CollectorId) {
    let reason = "other collectors have seen this server miss mail";
    let next = "the interval decides alone, until the next start or a reload that changes a collector of this server";
    info!(event = "idle_left", collector = %collector, reason, next);
}

/// A connection waits for news.
pub fn idle_started(collector: &CollectorId, folder: &FolderName) {
    debug!(event = "idle_started", collector = %collector, folder = folder.as_str());
}

/// As many connections wait for news as may.
pub fn idle_waits(collector: &CollectorId, folder: &FolderName) {
    let next = "the interval decides alone, until another connection ends or `service.max_idle` is higher";
    info!(event = "idle_waits", collector = %collector, folder = folder.as_str(), next);
}

/// A collector has more folders than are watched.
pub fn idle_folders(collector: &CollectorId, watched: usize, others: &[FolderName]) {
    let unwatched = others.len();
    let folders: Vec<&str> = others.iter().take(SHOWN_MAX).map(FolderName::as_str).collect();
    let folders = folders.join(", ");
    info!(event = "idle_folders", collector = %collector, watched, unwatched, folders, next = "the interval decides alone about these folders");
}

/// A connection that waited for news is gone; it `is_usual` if the one before it had come as far.
pub fn idle_dropped(collector: &CollectorId, folder: &FolderName, reason: &str, again: Duration, is_usual: bool) {
    let next = format!("in {} s; the interval's poll goes on meanwhile", again.as_secs());
    if is_usual {
        debug!(event = "idle_dropped", collector = %collector, folder = folder.as_str(), reason, next);
    } else {
        info!(event = "idle_dropped", collector = %collector, folder = folder.as_str(), reason, next);
    }
}

/// Connections that waited are given up, for good, because passes and people need their places.
pub fn idle_room(collector: &CollectorId, watched: usize) {
    let reason = "the server allows this mailbox no more connections";
    let next =
        "only the first folders are watched, so many; the interval decides alone about the others, until the next start or change of the collector";
    warn!(event = "idle_room", collector = %collector, watched, reason, next);
}

/// The server does not offer IDLE.
pub fn idle_not_offered(collector: &CollectorId) {
    info!(event = "idle_not_offered", collector = %collector, next = "the interval decides alone");
}

/// A session begins.
pub fn session_started(collector: &CollectorId, server: &str, session: u64) {
    debug!(event = "session_started", collector = %collector, session, server);
}

/// The figures of a finished session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFigures {
    /// Messages handed over, all recipients final.
    pub delivered: u64,
    /// Of these, to the default box.
    pub default_box: u64,
    /// Messages that everybody had already.
    pub duplicates: u64,
    /// Messages thrown away on purpose.
    pub discarded: u64,
    /// Messages to be tried again.
    pub deferred: u64,
    /// Messages left on the server.
    pub left: u64,
    /// Messages that are held.
    pub held: u64,
    /// Octets of all of them.
    pub octets: u64,
    /// How long it took.
    pub took: Duration,
}

impl SessionFigures {
    /// Messages that something became of.
    pub fn messages(&self) -> u64 {
        let SessionFigures { delivered, duplicates, discarded, deferred, left, held, .. } = self;
        delivered + duplicates + discarded + deferred + left + held
    }

    /// Adds those of the next session.
    pub fn add(&mut self, next: &SessionFigures) {
        self.delivered += next.delivered;
        self.default_box += next.default_box;
        self.duplicates += next.duplicates;
        self.discarded += next.discarded;
        self.deferred += next.deferred;
        self.left += next.left;
        self.held += next.held;
        self.octets += next.octets;
        self.took += next.took;
    }
}

/// A session ended in order.
pub fn session_finished(collector: &CollectorId, session: u64, figures: &SessionFigures, stop_reason: &str) {
    let SessionFigures { delivered, default_box, duplicates, discarded, deferred, left, held, octets, took } = figures;
    let ms = took.as_millis() as u64;
    if figures.messages() > 0 {
        info!(event = "session_finished", collector = %collector, session, delivered, default_box, duplicates, discarded, deferred, left, held, octets, ms, stop_reason);
    } else {
        // A poll that found nothing is no news.
        debug!(event = "session_finished", collector = %collector, session, delivered, default_box, duplicates, discarded, deferred, left, held, octets, ms, stop_reason);
    }
}

/// A session failed.
pub fn session_failed(collector: &CollectorId, session: u64, failures: u32, failure: &Failure<'_>, next_try: Option<Duration>) {
    let next = next_try.map(|wait| format!("in {} s", wait.as_secs())).unwrap_or_else(|| "none".into());
    let Failure { code, reason, hint } = failure;
    let code = format!("MG-{code}");
    if failures < 3 {
        warn!(event = "session_failed", code, collector = %collector, session, failures, reason, hint, next_try = %next);
    } else {
        error!(event = "session_failed", code, collector = %collector, session, failures, reason, hint, next_try = %next);
    }
}

/// The server refused to mark, move or delete what was delivered. Nothing waits for that.
pub fn disposal_refused(collector: &CollectorId, session: u64, failure: &Failure<'_>) {
    let Failure { code, reason, hint } = failure;
    let code = format!("MG-{code}");
    warn!(event = "disposal_refused", code, collector = %collector, session, reason, hint);
}

/// Why a session failed.
pub struct Failure<'a> {
    /// The number of the page that explains it.
    pub code: u16,
    /// In words, with what the server said.
    pub reason: &'a str,
    /// What the operator can do.
    pub hint: &'a str,
}
