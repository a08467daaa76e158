//! Counters of one collector since its start: cheap enough to touch for each message, read by the progress bar and by whoever measures.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What happened to messages so far, and to the connections that wait for news of them.
#[derive(Debug, Default)]
pub struct Counters {
    listed: AtomicU64,
    taken: AtomicU64,
    octets: AtomicU64,
    idle_connected: AtomicU64,
    idle_wakeups: AtomicU64,
    idle_missed: AtomicU64,
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

    /// What IDLE did and does.
    pub fn idle(&self) -> IdleFigures {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        IdleFigures { connected: read(&self.idle_connected), wakeups: read(&self.idle_wakeups), missed: read(&self.idle_missed) }
    }
}
