//! Counters of one collector since its start: cheap enough to touch for each message, read by the progress bar.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What happened to messages so far.
#[derive(Debug, Default)]
pub struct Counters {
    listed: AtomicU64,
    taken: AtomicU64,
    octets: AtomicU64,
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

    /// Messages to collect, messages with an outcome, and their octets.
    pub fn read(&self) -> (u64, u64, u64) {
        (self.listed.load(Relaxed), self.taken.load(Relaxed), self.octets.load(Relaxed))
    }
}
