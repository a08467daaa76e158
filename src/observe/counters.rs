//! Counters of one collector since its start: cheap enough to touch for each message, read by the progress bar and by whoever measures.

use super::histogram::{Histogram, Spread};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Steps of how long a session takes, in milliseconds.
const SESSION_STEPS: &[u64] = &[100, 500, 1_000, 5_000, 15_000, 60_000, 300_000, 1_800_000, 7_200_000];
/// Steps of how long a delivery takes, and the way from here to there, in milliseconds.
const DELIVERY_STEPS: &[u64] = &[5, 25, 100, 500, 2_500, 10_000, 60_000, 300_000];
/// Steps of how late mail is, in milliseconds.
const DELAY_STEPS: &[u64] = &[1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000, 86_400_000];
/// Steps of messages' sizes, in octets.
const SIZE_STEPS: &[u64] = &[1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 5 << 20, 25 << 20, 100 << 20];

/// What happened to messages so far, and to the connections that wait for news of them.
#[derive(Debug)]
pub struct Counters {
    listed: AtomicU64,
    taken: AtomicU64,
    octets: AtomicU64,
    idle_connected: AtomicU64,
    idle_wakeups: AtomicU64,
    idle_missed: AtomicU64,
    sizes: Histogram,
    sessions: Histogram,
    deliveries: Histogram,
    on_the_way: Histogram,
    late: Histogram,
    found: [AtomicU64; Found::WORDS.len()],
    skipped: [AtomicU64; Skipped::WORDS.len()],
    attempts: [AtomicU64; Attempt::WORDS.len()],
    remote: [[AtomicU64; RemoteResult::WORDS.len()]; Remote::ALL.len()],
    certificate: AtomicI64,
    refreshes: [AtomicU64; Refresh::WORDS.len()],
    token_until: AtomicI64,
    grant_until: AtomicI64,
    is_grant_refused: AtomicBool,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            listed: AtomicU64::default(),
            taken: AtomicU64::default(),
            octets: AtomicU64::default(),
            idle_connected: AtomicU64::default(),
            idle_wakeups: AtomicU64::default(),
            idle_missed: AtomicU64::default(),
            sizes: Histogram::new(SIZE_STEPS),
            sessions: Histogram::new(SESSION_STEPS),
            deliveries: Histogram::new(DELIVERY_STEPS),
            on_the_way: Histogram::new(DELIVERY_STEPS),
            late: Histogram::new(DELAY_STEPS),
            found: Default::default(),
            skipped: Default::default(),
            attempts: Default::default(),
            remote: Default::default(),
            certificate: AtomicI64::default(),
            refreshes: Default::default(),
            token_until: AtomicI64::default(),
            grant_until: AtomicI64::default(),
            is_grant_refused: AtomicBool::default(),
        }
    }
}

/// What named a message's recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A header that the provider wrote for this.
    Header,
    /// The `for` of a Received field.
    Received,
    /// `lists`.
    List,
    /// To and Cc.
    Guess,
    /// A journal report.
    Journal,
    /// `forward_to`.
    Forward,
    /// Nothing: the default box gets it.
    Default,
    /// Nothing, and nobody gets it.
    Nothing,
}

impl Found {
    /// Their words, in their order.
    pub const WORDS: [&str; 8] = ["header", "received", "list", "guess", "journal", "forward", "default", "none"];
}

/// Why a message was not delivered, where the figures of sessions do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It is larger than the limit.
    TooLarge,
    /// It went in a circle.
    Loop,
    /// It was collected before.
    Known,
    /// It is none of those that are asked for.
    Filtered,
}

impl Skipped {
    /// Their words, in their order.
    pub const WORDS: [&str; 4] = ["too_large", "loop", "known", "filtered"];
}

/// What a target said to one recipient of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Yes.
    Accepted,
    /// Not now.
    Temporary,
    /// No.
    Permanent,
    /// Nothing.
    Unknown,
}

impl Attempt {
    /// Their words, in their order.
    pub const WORDS: [&str; 4] = ["accepted", "temporary", "permanent", "unknown"];
}

/// What came of a question for an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// There is a new one.
    Ok,
    /// None now.
    Failed,
    /// None until somebody does something.
    Refused,
}

impl Refresh {
    /// Their words, in their order.
    pub const WORDS: [&str; 3] = ["ok", "failed", "refused"];
}

/// What is known of a collector's access token and of what it is renewed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenFigures {
    /// Until when the access token is good, in seconds since the epoch.
    pub until: i64,
    /// What it is renewed with is refused.
    pub is_refused: bool,
    /// Until when that is good, if the server said so.
    pub grant_until: Option<i64>,
}

/// What was done to copies at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Deleted.
    Delete,
    /// Flagged.
    Flag,
    /// Moved.
    Move,
    /// Commands that remove what is flagged.
    Expunge,
}

impl Remote {
    /// All of them, in their order.
    pub const ALL: [Remote; 4] = [Remote::Delete, Remote::Flag, Remote::Move, Remote::Expunge];
}

/// What the server said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteResult {
    /// It is done.
    Confirmed,
    /// It is noted; what becomes of it shows at the end of the session.
    Requested,
    /// Flagged as deleted, and still there.
    Flagged,
    /// No.
    Refused,
}

impl RemoteResult {
    /// Their words, in their order.
    pub const WORDS: [&str; 4] = ["confirmed", "requested", "flagged", "refused"];
}

/// The histograms of one collector.
#[derive(Clone, Debug)]
pub struct Spreads {
    /// Sizes of messages, in octets.
    pub sizes: Spread,
    /// How long sessions took, in milliseconds.
    pub sessions: Spread,
    /// How long the target took for a message, in milliseconds.
    pub deliveries: Spread,
    /// From a message being whole here to its being delivered, in milliseconds.
    pub on_the_way: Spread,
    /// From a message's arrival at its provider to its being delivered, in milliseconds.
    pub late: Spread,
}

/// The figures of IDLE: `mailgather_idle_connected`, `…_wakeups_total`, `…_missed_total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleFigures {
    /// Connections that wait for news now.
    pub connected: u64,
    /// Passes that began because the server told of mail.
    pub wakeups: u64,
    /// How often a pass by the interval found mail of which the server had told nothing, though its connection was sound.
    pub missed: u64,
}

impl Counters {
    /// A pass found this many messages to collect.
    pub fn listed(&self, messages: u64) {
        self.listed.fetch_add(messages, Relaxed);
    }

    /// A message of this size got an outcome.
    pub fn taken(&self, octets: u64) {
        self.taken.fetch_add(1, Relaxed);
        self.octets.fetch_add(octets, Relaxed);
        self.sizes.take(octets);
    }

    /// A session took so long.
    pub fn session(&self, took: Duration) {
        self.sessions.take(took.as_millis() as u64);
    }

    /// The target answered for a message, so late.
    pub fn answered(&self, took: Duration, attempts: impl IntoIterator<Item = Attempt>) {
        self.deliveries.take(took.as_millis() as u64);
        for attempt in attempts {
            self.attempts[attempt as usize].fetch_add(1, Relaxed);
        }
    }

    /// A message was delivered so long after it was whole here, and so long after it arrived at its provider, if that is known.
    pub fn delivered(&self, on_the_way: Duration, late: Option<Duration>) {
        self.on_the_way.take(on_the_way.as_millis() as u64);
        if let Some(late) = late {
            self.late.take(late.as_millis() as u64);
        }
    }

    /// This named a message's recipients.
    pub fn found(&self, by: Found) {
        self.found[by as usize].fetch_add(1, Relaxed);
    }

    /// A message was not delivered, because of this.
    pub fn skipped(&self, why: Skipped) {
        self.skipped_all(why, 1);
    }

    /// So many were, for this reason.
    pub fn skipped_all(&self, why: Skipped, messages: u64) {
        self.skipped[why as usize].fetch_add(messages, Relaxed);
    }

    /// This was done to so many copies at the source.
    pub fn remote(&self, what: Remote, result: RemoteResult, copies: u64) {
        self.remote[what as usize][result as usize].fetch_add(copies, Relaxed);
    }

    /// The server showed a certificate that is valid until then, in seconds since the epoch.
    pub fn certificate(&self, until: i64) {
        self.certificate.store(until, Relaxed);
    }

    /// An access token is good until then; what it is renewed with is refused, or good until a time of its own.
    pub fn token(&self, until: i64, is_refused: bool, grant_until: Option<i64>) {
        self.token_until.store(until, Relaxed);
        self.is_grant_refused.store(is_refused, Relaxed);
        self.grant_until.store(grant_until.unwrap_or_default(), Relaxed);
    }

    /// A question for an access token ended so.
    pub fn refreshed(&self, result: Refresh) {
        self.refreshes[result as usize].fetch_add(1, Relaxed);
    }

    /// A connection begins to wait for news.
    pub fn idle_begins(&self) {
        self.idle_connected.fetch_add(1, Relaxed);
    }

    /// A connection that waited is gone.
    pub fn idle_ended(&self) {
        self.idle_connected.fetch_sub(1, Relaxed);
    }

    /// A pass begins because the server told of mail.
    pub fn idle_woke(&self) {
        self.idle_wakeups.fetch_add(1, Relaxed);
    }

    /// The server missed mail.
    pub fn idle_missed(&self) {
        self.idle_missed.fetch_add(1, Relaxed);
    }

    /// Messages to collect, messages with an outcome, and their octets.
    pub fn read(&self) -> (u64, u64, u64) {
        (self.listed.load(Relaxed), self.taken.load(Relaxed), self.octets.load(Relaxed))
    }

    /// The histograms.
    pub fn spreads(&self) -> Spreads {
        Spreads {
            sizes: self.sizes.read(),
            sessions: self.sessions.read(),
            deliveries: self.deliveries.read(),
            on_the_way: self.on_the_way.read(),
            late: self.late.read(),
        }
    }

    /// What named recipients, each with its word.
    pub fn by_found(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Found::WORDS.into_iter().zip(self.found.iter().map(|count| count.load(Relaxed)))
    }

    /// What was skipped, each with its word.
    pub fn by_skipped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Skipped::WORDS.into_iter().zip(self.skipped.iter().map(|count| count.load(Relaxed)))
    }

    /// What targets said, each with its word.
    pub fn by_attempt(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Attempt::WORDS.into_iter().zip(self.attempts.iter().map(|count| count.load(Relaxed)))
    }

    /// What servers said when this was done to copies, each with its word.
    pub fn by_remote(&self, what: Remote) -> impl Iterator<Item = (&'static str, u64)> {
        RemoteResult::WORDS.into_iter().zip(self.remote[what as usize].iter().map(|count| count.load(Relaxed)))
    }

    /// Until when the server's certificate is valid, in seconds since the epoch; `None`: it showed none yet.
    pub fn certificate_until(&self) -> Option<i64> {
        Some(self.certificate.load(Relaxed)).filter(|until| *until != 0)
    }

    /// What is known of the access token; `None` if there is none.
    pub fn token_figures(&self) -> Option<TokenFigures> {
        let some = |time: &AtomicI64| Some(time.load(Relaxed)).filter(|time| *time != 0);
        let until = some(&self.token_until)?;
        Some(TokenFigures { until, is_refused: self.is_grant_refused.load(Relaxed), grant_until: some(&self.grant_until) })
    }

    /// How questions for access tokens ended, each with its word.
    pub fn by_refresh(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refresh::WORDS.into_iter().zip(self.refreshes.iter().map(|count| count.load(Relaxed)))
    }

    /// What IDLE did and does.
    pub fn idle(&self) -> IdleFigures {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        IdleFigures { connected: read(&self.idle_connected), wakeups: read(&self.idle_wakeups), missed: read(&self.idle_missed) }
    }
}
