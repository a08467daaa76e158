//! What `/metrics` says, in the text of OpenMetrics 1.0: made anew for each question from what the daemon shows of itself, so that the series of a
//! collector that is gone are gone. Labels are collectors' names and words of fixed sets, never addresses.

use crate::mail::code;
use crate::observe::status::Snapshot;
use crate::observe::version;
use crate::service::board::{Listed, Shown};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::path::Path;

/// The media type of the text.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The kinds of what ends a session: each collector has all of them, so that a rate has a zero to begin with.
const KINDS: &[u16] = &[
    code::DNS,
    code::UNREACHABLE,
    code::CERTIFICATE,
    code::LOGIN,
    code::THROTTLED,
    code::TIMEOUT,
    code::PROTOCOL,
    code::MAILBOX,
    code::TARGET_DOWN,
    code::DISK,
    0,
];

/// The metrics as they are now.
pub(super) fn text(shown: &Shown, stored: Stored) -> Result<String, fmt::Error> {
    let rows = shown.collectors.values().map(|listed| Row {
        id: listed.collector.id.as_str().to_owned(),
        found: listed.status.snapshot(),
        listed: listed.clone(),
    });
    let scrape = Scrape { rows: rows.collect(), shown: shown.clone(), process: Process::read(), stored };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// What is in the state directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    /// Rows of the history; `None` if there is none.
    pub history_entries: Option<u64>,
    /// Octets of files; see [`state_octets`].
    pub state_octets: Option<u64>,
}

/// Octets of the ledger, the history and what else stands in the state directory itself; held mail and logs, in folders of their own, are not counted,
/// as there may be many of them. Blocks on the disk.
pub(super) fn state_octets(state_dir: &Path) -> Option<u64> {
    let files = std::fs::read_dir(state_dir).ok()?.filter_map(|entry| entry.ok()?.metadata().ok());
    Some(files.filter(|file| file.is_file()).map(|file| file.len()).sum())
}

#[derive(Debug)]
struct Scrape {
    stored: Stored,
    shown: Shown,
    rows: Vec<Row>,
    process: Process,
}

#[derive(Debug)]
struct Row {
    id: String,
    listed: Listed,
    found: Snapshot,
}

impl Row {
    fn is_on(&self, shown: &Shown) -> bool {
        self.listed.collector.enabled && shown.enabled
    }
}

type Labels = Vec<(&'static str, String)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (to, shown) = (&mut encoder, &self.shown);
        let build = [("version", version::NUMBER), ("commit", version::COMMIT.unwrap_or("unknown"))].map(|(name, value)| (name, value.to_owned()));
        gauges(to, "build_info", "The version that runs", None, [(build.to_vec(), 1.0)])?;
        let is_taken = if shown.rejected.is_none() { 1.0 } else { 0.0 };
        gauges(to, "config_last_reload_successful", "Whether the file as it is now is in force", None, [(vec![], is_taken)])?;
        let loaded = time(Some(shown.loaded)).unwrap_or(0.0);
        gauges(to, "config_last_reload_success_timestamp", "When the configuration in force was read", Some(Unit::Seconds), [(vec![], loaded)])?;
        let reloads = [("success", shown.reloads.0), ("failure", shown.reloads.1)];
        counters(
            to,
            "config_reloads",
            "How often the file was read again",
            reloads.map(|(result, count)| (vec![("result", result.to_owned())], count)),
        )?;
        let enabled = self.rows.iter().filter(|row| row.is_on(shown)).count();
        let states = [("enabled", enabled), ("disabled", self.rows.len() - enabled)];
        gauges(to, "collectors", "Collectors of the configuration", None, states.map(|(state, n)| (vec![("state", state.to_owned())], n as f64)))?;
        let active = self.rows.iter().filter(|row| row.found.phase == crate::observe::status::Phase::Collecting).count();
        gauges(to, "sessions_active", "Sessions that run now", None, [(vec![], active as f64)])?;
        self.of_collectors(to)?;
        self.of_messages(to)?;
        let entries = self.stored.history_entries.map(|entries| (vec![], entries as f64));
        gauges(to, "history_entries", "Rows of the history", None, entries)?;
        let octets = self.stored.state_octets.map(|octets| (vec![], octets as f64));
        gauges(to, "state", "Octets of the ledger, the history and other files in the state directory itself", Some(Unit::Bytes), octets)?;
        gauges(to, "process_start_time", "When the process started", Some(Unit::Seconds), [(vec![], time(Some(shown.started)).unwrap_or(0.0))])?;
        gauges(to, "process_resident_memory", "Memory that the process has", Some(Unit::Bytes), self.process.resident.map(|value| (vec![], value)))?;
        gauges(to, "process_open_fds", "File descriptors that the process has", None, self.process.descriptors.map(|value| (vec![], value)))
    }
}

impl Scrape {
    /// How the collectors fare.
    fn of_collectors(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let on = || self.rows.iter().filter(|row| row.is_on(&self.shown));
        let each = |value: fn(&Snapshot) -> Option<f64>| on().filter_map(move |row| Some((of(row), value(&row.found)?)));
        let seconds = || Some(Unit::Seconds);
        // Before the first session has ended nobody knows.
        let up = |found: &Snapshot| (found.last_success.is_some() || found.failures > 0).then_some(if found.failures == 0 { 1.0 } else { 0.0 });
        gauges(to, "collector_up", "Whether the last session went well", None, each(up))?;
        gauges(to, "collector_last_attempt_timestamp", "When the last session began", seconds(), each(|found| time(found.last_try)))?;
        gauges(
            to,
            "collector_last_success_timestamp",
            "When the last session ended that went well",
            seconds(),
            each(|found| time(found.last_success)),
        )?;
        gauges(
            to,
            "collector_last_message_timestamp",
            "When the last session ended that brought mail",
            seconds(),
            each(|found| time(found.last_mail)),
        )?;
        gauges(to, "collector_next_session_timestamp", "When the next session begins by itself", seconds(), each(|found| time(found.next)))?;
        gauges(to, "collector_consecutive_failures", "Sessions that failed in a row", None, each(|found| Some(f64::from(found.failures))))?;
        gauges(
            to,
            "collector_interval",
            "Time between two sessions",
            seconds(),
            on().map(|row| (of(row), row.listed.collector.interval.as_secs_f64())),
        )?;
        gauges(to, "backlog_messages", "New messages that the last session left to the next", None, each(|found| Some(found.waiting as f64)))?;
        let sessions = self.rows.iter().flat_map(|row| {
            let of_row = row.found.sessions;
            [("ok", of_row.ok), ("empty", of_row.empty), ("partial", of_row.partial), ("failed", of_row.failed)]
                .map(|(result, count)| (with(row, "result", result), count))
        });
        counters(to, "sessions", "Sessions by how they ended", sessions)?;
        let errors = self.rows.iter().flat_map(|row| {
            KINDS.iter().map(move |kind| {
                let kind = code::kind(*kind);
                let count = row.found.failed_by.iter().filter(|(code, _)| code::kind(**code) == kind).map(|(_, count)| count).sum();
                (with(row, "reason", kind), count)
            })
        });
        counters(to, "session_errors", "Sessions that failed, by why", errors)?;
        let took = self.rows.iter().map(|row| (of(row), row.found.totals.took.as_millis() as u64 / 1000));
        counters_in(to, "session_duration", "Time that all sessions took", Some(Unit::Seconds), took)?;
        let idle = || on().map(|row| (row, row.listed.counters.idle()));
        gauges(
            to,
            "idle_connected",
            "Connections on which a server is to tell of new mail",
            None,
            idle().map(|(row, idle)| (of(row), idle.connected as f64)),
        )?;
        counters(to, "idle_wakeups", "Sessions that began because a server told of mail", idle().map(|(row, idle)| (of(row), idle.wakeups)))?;
        counters(
            to,
            "idle_missed",
            "New mail of which a server said nothing: found by the interval",
            idle().map(|(row, idle)| (of(row), idle.missed)),
        )
    }

    /// What became of messages.
    fn of_messages(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let each = |value: fn(&Row) -> u64| self.rows.iter().map(move |row| (of(row), value(row)));
        counters(to, "messages_collected", "Messages that something became of", each(|row| row.found.totals.messages()))?;
        counters_in(to, "collected", "Octets of them", Some(Unit::Bytes), each(|row| row.found.totals.octets))?;
        counters(to, "messages_delivered", "Messages that were delivered to all of their recipients", each(|row| row.found.totals.delivered))?;
        counters(to, "messages_default_box", "Those among them that went to the default box", each(|row| row.found.totals.default_box))?;
        counters(to, "messages_deferred", "Deliveries that are to be tried again", each(|row| row.found.totals.deferred))?;
        counters(to, "messages_newly_held", "Messages that were put into the store of held mail", each(|row| row.found.totals.held))?;
        let skipped = self.rows.iter().flat_map(|row| {
            let totals = &row.found.totals;
            [("duplicate", totals.duplicates), ("discarded", totals.discarded), ("left", totals.left)]
                .map(|(reason, count)| (with(row, "reason", reason), count))
        });
        counters(to, "messages_skipped", "Messages that were not delivered, on purpose", skipped)
    }
}

fn of(row: &Row) -> Labels {
    vec![("collector", row.id.clone())]
}

fn with(row: &Row, key: &'static str, value: &str) -> Labels {
    vec![("collector", row.id.clone()), (key, value.to_owned())]
}

fn time(at: Option<Timestamp>) -> Option<f64> {
    at.map(|at| at.as_millisecond() as f64 / 1000.0)
}

/// Ours begin with our name; what every process has is named as everywhere.
fn full(name: &str) -> String {
    if name.starts_with("process_") { name.to_owned() } else { format!("mailgather_{name}") }
}

fn gauges(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    values: impl IntoIterator<Item = (Labels, f64)>,
) -> Result<(), fmt::Error> {
    let name = full(name);
    let mut family = to.encode_descriptor(&name, help, unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in values {
        if labels.is_empty() {
            return ConstGauge::new(value).encode(family);
        }
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) -> Result<(), fmt::Error> {
    counters_in(to, name, help, None, values)
}

fn counters_in(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    values: impl IntoIterator<Item = (Labels, u64)>,
) -> Result<(), fmt::Error> {
    let name = full(name);
    let mut family = to.encode_descriptor(&name, help, unit.as_ref(), MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What the system says of the process (proc(5)).
#[derive(Debug)]
struct Process {
    resident: Option<f64>,
    descriptors: Option<f64>,
}

impl Process {
    fn read() -> Process {
        let statm = std::fs::read_to_string("/proc/self/statm").ok();
        let pages = statm.as_deref().and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
        let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(|list| list.count() as f64);
        Process { resident: pages.map(|pages| pages * rustix::param::page_size() as f64), descriptors }
    }
}
