//! The form of a log line: `event key=value key="a value"`, one line whatever the values hold.
//!
//! On a terminal or in a file each line starts with the time; under systemd (where `JOURNAL_STREAM` is set) with the level in the form that
//! journald reads (`<6>`, sd-daemon(3)), as journald adds the time itself.

use crate::config::LogLevel;
use crate::mail::code;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Longest value in a line, in octets.
const VALUE_OCTETS_MAX: usize = 1024;

/// Sends log lines to stderr from now on. Called once, by the command line.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).event_format(Line { journald }).finish();
    // A second call would be a mistake of ours that costs nothing.
    let _ = tracing::subscriber::set_global_default(OwnEventsOnly(subscriber));
}

/// Drops what libraries say: their lines are not made for operators, and might hold what passes through them.
struct OwnEventsOnly<S>(S);

impl<S: Subscriber> Subscriber for OwnEventsOnly<S> {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("mailgather") && self.0.enabled(metadata)
    }
    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        self.0.max_level_hint()
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.0.new_span(span)
    }
    fn record(&self, span: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        self.0.record(span, values);
    }
    fn record_follows_from(&self, span: &tracing::span::Id, follows: &tracing::span::Id) {
        self.0.record_follows_from(span, follows);
    }
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
    }
    fn enter(&self, span: &tracing::span::Id) {
        self.0.enter(span);
    }
    fn exit(&self, span: &tracing::span::Id) {
        self.0.exit(span);
    }
}

struct Line {
    journald: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (priority, word) = match *event.metadata().level() {
            Level::ERROR => ("<3>", "error"),
            Level::WARN => ("<4>", "warn"),
            Level::INFO => ("<6>", "info"),
            _ => ("<7>", "debug"),
        };
        if self.journald {
            write!(writer, "{priority}")?;
        } else {
            let now = jiff::Timestamp::now();
            write!(writer, "{now:.3} {word:5} ")?;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        write!(writer, "{}", fields.event)?;
        // Where something went wrong, the page that explains it.
        if let Some(code) = code::of_event(&fields.event) {
            write!(writer, " code=MG-{code}")?;
        }
        writeln!(writer, "{}", fields.rest)
    }
}

#[derive(Default)]
struct Fields {
    event: String,
    rest: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.event.push_str(value);
            return;
        }
        // Writing to a String cannot fail.
        let _ = write!(self.rest, " {}=", field.name());
        value_to(&mut self.rest, value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
}

/// Bare where nothing in it could be mistaken, in quotes with escapes otherwise; cut when too long.
fn value_to(out: &mut String, value: &str) {
    let cut = (0..=value.len().min(VALUE_OCTETS_MAX)).rev().find(|&n| value.is_char_boundary(n)).unwrap_or(0);
    let (value, more) = (&value[..cut], if cut < value.len() { "…" } else { "" });
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\') && !turns_or_ends_lines(c);
    if !value.is_empty() && value.chars().all(plain) {
        out.push_str(value);
        out.push_str(more);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() || turns_or_ends_lines(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push_str(more);
    out.push('"');
}

/// Marks of direction, and line ends of Unicode. What stands between them, dashes and the ellipsis, is ordinary text.
fn turns_or_ends_lines(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &str) -> String {
        let mut out = String::new();
        value_to(&mut out, value);
        out
    }

    #[test]
    fn a_value_stays_on_its_line() {
        assert_eq!(written("раз@икс.рф"), "раз@икс.рф");
        assert_eq!(written("250 2.0.0 Ok"), "\"250 2.0.0 Ok\"");
        assert_eq!(written("a\r\nb=\"c\""), r#""a\r\nb=\"c\"""#);
        assert_eq!(written("{email: …}"), "\"{email: …}\"");
        assert_eq!(written("a–b…"), "a–b…");
        assert_eq!(written("a\u{202e}b\u{2028}c"), r#""a\u{202e}b\u{2028}c""#);
        assert_eq!(written(""), "\"\"");
        assert_eq!(written("\u{1b}[31m"), "\"\\u{1b}[31m\"");
        assert!(written(&"ж".repeat(5000)).len() < 1100);
    }
}
