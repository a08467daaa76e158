//! What happens, for who listens.

use super::Row;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Events that are kept for a listener who is busy. Who is further behind has missed some.
const KEPT_MAX: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its stable name: `session_finished`, `message_delivered`.
    pub name: String,
    /// More about it.
    pub document: Value,
}

impl Event {
    pub(super) fn of_row(row: &Row) -> Self {
        Event { name: format!("message_{}", row.result.as_str()), document: row.json(None) }
    }
}

pub(super) fn channel() -> broadcast::Sender<Arc<Event>> {
    broadcast::Sender::new(KEPT_MAX)
}
