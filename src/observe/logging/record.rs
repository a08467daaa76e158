//! An event as it goes out: its time, level, name and fields, each of bounded length.

use crate::mail::code;
use jiff::Timestamp;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// Longest value, in octets.
const VALUE_OCTETS_MAX: usize = 1024;

/// One line of the log.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub time: Timestamp,
    pub level: Level,
    pub event: String,
    /// In the order in which they were written down, a page's number first.
    pub fields: Vec<(&'static str, Value)>,
    /// It goes to the process's own log.
    pub is_said: bool,
    /// It goes into its collector's file.
    pub is_filed: bool,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Text(String),
    /// A number or a truth value, as JSON writes it.
    Bare(String),
}

impl Record {
    pub fn of(event: &Event<'_>) -> Self {
        let level = *event.metadata().level();
        let mut record =
            Record { time: Timestamp::now(), level, event: String::new(), fields: Vec::with_capacity(12), is_said: true, is_filed: true };
        event.record(&mut record);
        // Where something went wrong, the page that explains it.
        if let Some(code) = code::of_event(&record.event) {
            record.fields.insert(0, ("code", Value::Text(format!("MG-{code}"))));
        }
        record
    }

    /// The text of a field.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    /// The collector that it is about.
    pub fn collector(&self) -> Option<&str> {
        self.text("collector")
    }

    fn put_text(&mut self, field: &Field, mut value: String) {
        if value.len() > VALUE_OCTETS_MAX {
            value.truncate(value.floor_char_boundary(VALUE_OCTETS_MAX));
            value.push('…');
        }
        match field.name() {
            "event" => self.event = value,
            name => self.fields.push((name, Value::Text(value))),
        }
    }

    fn put_bare(&mut self, field: &Field, value: String) {
        self.fields.push((field.name(), Value::Bare(value)));
    }
}

impl Value {
    pub fn as_str(&self) -> &str {
        match self {
            Value::Text(text) | Value::Bare(text) => text,
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_bare(field, value.to_string());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_bare(field, value.to_string());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_bare(field, value.to_string());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.put_bare(field, format!("{value:?}")),
            // JSON has no such number.
            false => self.put_text(field, value.to_string()),
        }
    }
}
