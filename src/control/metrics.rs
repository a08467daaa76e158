//! What `/metrics` says, in the text of OpenMetrics 1.0 or in that of Prometheus: made anew for each question from what the daemon shows of itself,
//! so that the series of a collector that is gone are gone. Labels are collectors' names and words of fixed sets, never addresses.

use crate::config::Target;
use crate::ledger::HeldTotal;
use crate::mail::code;
use crate::observe::counters::{Remote, Spreads};
use crate::observe::histogram::Spread;
use crate::observe::status::Snapshot;
use crate::observe::version;
use crate::service::board::{Listed, Shown};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The text of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// OpenMetrics 1.0, for those who ask for it: Prometheus does.
    OpenMetrics,
    /// The older text of Prometheus, which everything else reads too: `promtool check metrics`, the textfile collector of node_exporter.
    Prometheus,
}

impl Form {
    /// The best that is understood by who says this in Accept.
    pub(super) fn of_accept(accept: Option<&str>) -> Form {
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) { Form::OpenMetrics } else { Form::Prometheus }
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Form::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Answers over HTTP, by their class.
#[derive(Debug, Default)]
pub struct Requests([AtomicU64; Requests::CLASSES.len()]);

impl Requests {
    const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

    /// One more.
    pub(super) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(2).min(Self::CLASSES.len() - 1);
        self.0[class].fetch_add(1, Relaxed);
    }

    fn read(&self) -> [(&'static str, u64); Self::CLASSES.len()] {
        std::array::from_fn(|n| (Self::CLASSES[n], self.0[n].load(Relaxed)))
    }
}

/// What is known beside the board.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Held mail.
    pub held: Vec<HeldTotal>,
    /// Octets that are free where the state directory is.
    pub free: Option<u64>,
    /// Answers over HTTP.
    pub requests: Vec<(&'static str, u64)>,
    /// Notices by channel and by what became of them.
    pub notices: Vec<(&'static str, &'static str, u64)>,
    /// Rows of the history; `None` if there is none.
    pub history_entries: Option<u64>,
    /// Octets of files; see [`state_octets`].
    pub state_octets: Option<u64>,
}

impl Beside {
    /// Octets that are free in a folder. Quick: no disk is read.
    pub(super) fn free_in(folder: &Path) -> Option<u64> {
        rustix::fs::statvfs(folder).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Answers until now.
    pub(super) fn requests_of(requests: &Requests) -> Vec<(&'static str, u64)> {
        requests.read().to_vec()
    }
}

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

/// Who lets the file be read again.
const TRIGGERS: &[&str] = &["file", "signal", "cli", "api"];

/// A unit, and how many of what is counted make one of it.
type Scale = (Unit, f64);
const SECONDS: Scale = (Unit::Seconds, 1_000.0);
const OCTETS: Scale = (Unit::Bytes, 1.0);

/// The metrics as they are now.
pub(super) fn text(shown: &Shown, beside: Beside, form: Form) -> Result<String, fmt::Error> {
    let rows = shown.collectors.values().map(|listed| Row {
        id: listed.collector.id.as_str().to_owned(),
        found: listed.status.snapshot(),
        spreads: listed.counters.spreads(),
        listed: listed.clone(),
    });
    let scrape = Scrape { rows: rows.collect(), shown: shown.clone(), process: Process::read(), beside };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(match form {
        Form::OpenMetrics => out,
        Form::Prometheus => older(&out),
    })
}

/// The older text of the same: there a counter's family has the name of its sample, and neither units nor the end are told.
fn older(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                out.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with("# ") {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Octets of the ledger, the history and what else stands in the state directory itself; held mail and logs, in folders of their own, are not counted,
/// as there may be many of them. Blocks on the disk.
pub(super) fn state_octets(state_dir: &Path) -> Option<u64> {
    let files = std::fs::read_dir(state_dir).ok()?.filter_map(|entry| entry.ok()?.metadata().ok());
    Some(files.filter(|file| file.is_file()).map(|file| file.len()).sum())
}

#[derive(Debug)]
struct Scrape {
    shown: Shown,
    rows: Vec<Row>,
    process: Process,
    beside: Beside,
}

#[derive(Debug)]
struct Row {
    id: String,
    listed: Listed,
    found: Snapshot,
    spreads: Spreads,
}

impl Row {
    fn is_on(&self, shown: &Shown) -> bool {
        self.listed.collector.enabled && shown.enabled
    }

    fn transport(&self) -> &'static str {
        match self.listed.collector.delivery.target {
            Target::Smtp(_) => "smtp",
            Target::Lmtp(_) => "lmtp",
            Target::Maildir { .. } => "maildir",
        }
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
        let reloads = TRIGGERS.iter().flat_map(|trigger| {
            [("success", true), ("failure", false)].map(|(result, is_taken)| {
                let count = shown.reloads.get(&((*trigger).to_owned(), is_taken)).copied().unwrap_or(0);
                (vec![("result", result.to_owned()), ("trigger", (*trigger).to_owned())], count)
            })
        });
        counters(to, "config_reloads", "How often the file was read again", reloads)?;
        let enabled = self.rows.iter().filter(|row| row.is_on(shown)).count();
        let states = [("enabled", enabled), ("disabled", self.rows.len() - enabled)];
        gauges(to, "collectors", "Collectors of the configuration", None, states.map(|(state, n)| (vec![("state", state.to_owned())], n as f64)))?;
        let active = self.rows.iter().filter(|row| row.found.phase == crate::observe::status::Phase::Collecting).count();
        gauges(to, "sessions_active", "Sessions that run now", None, [(vec![], active as f64)])?;
        self.of_collectors(to)?;
        self.of_messages(to)?;
        self.of_deliveries(to)?;
        self.of_sources(to)?;
        self.of_the_rest(to)?;
        gauges(to, "process_start_time", "When the process started", Some(Unit::Seconds), [(vec![], time(Some(shown.started)).unwrap_or(0.0))])?;
        gauges(to, "process_resident_memory", "Memory that the process has", Some(Unit::Bytes), self.process.resident.map(|value| (vec![], value)))?;
        gauges(
            to,
            "process_virtual_memory",
            "Addresses that the process has",
            Some(Unit::Bytes),
            self.process.virtual_memory.map(|value| (vec![], value)),
        )?;
        gauges(to, "process_threads", "Threads of the process", None, self.process.threads.map(|value| (vec![], value)))?;
        gauges(to, "process_max_fds", "File descriptors that it may have", None, self.process.descriptors_max.map(|value| (vec![], value)))?;
        let cpu = self.process.cpu.unwrap_or(0.0);
        let family = to.encode_descriptor("process_cpu", "Time that the processors worked for it", Some(&Unit::Seconds), MetricType::Counter)?;
        ConstCounter::new(cpu).encode(family)?;
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
        let backoff = |found: &Snapshot| Some(found.next?.duration_since(found.last_try?).as_secs_f64());
        let backoff = move |found: &Snapshot| Some(if found.failures > 0 { backoff(found).unwrap_or(0.0).max(0.0) } else { 0.0 });
        let backoffs = on().filter_map(|row| Some((of(row), backoff(&row.found)?)));
        gauges(to, "collector_backoff", "From the last session to the next, while sessions fail; else 0", seconds(), backoffs)?;
        gauges(
            to,
            "collector_interval",
            "Time between two sessions that begin by themselves",
            seconds(),
            on().filter(|row| !row.listed.collector.manual).map(|row| (of(row), row.listed.collector.interval.as_secs_f64())),
        )?;
        let remote = on().flat_map(|row| row.found.remote.iter().map(move |(folder, messages)| (with(row, "folder", folder), *messages as f64)));
        gauges(to, "remote_messages", "Messages that the folder held when the last session opened it", None, remote)?;
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
        histograms(to, "session_duration", "How long sessions took", SECONDS, self.rows.iter().map(|row| (of(row), &row.spreads.sessions)))?;
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
        counters(to, "bytes_collected", "Octets of them", each(|row| row.found.totals.octets))?;
        histograms(to, "message_size", "Sizes of messages", OCTETS, self.rows.iter().map(|row| (of(row), &row.spreads.sizes)))?;
        let found = self.rows.iter().flat_map(|row| row.listed.counters.by_found().map(|(word, count)| (with(row, "by", word), count)));
        counters(to, "messages_resolved", "Messages by what named their recipients", found)?;
        let delivered = self.rows.iter().map(|row| (with(row, "transport", row.transport()), row.found.totals.delivered));
        counters(to, "messages_delivered", "Messages that were delivered to all of their recipients", delivered)?;
        counters(to, "messages_default_box", "Those among them that went to the default box", each(|row| row.found.totals.default_box))?;
        counters(to, "messages_deferred", "Deliveries that are to be tried again", each(|row| row.found.totals.deferred))?;
        counters(to, "messages_newly_held", "Messages that were put into the store of held mail", each(|row| row.found.totals.held))?;
        let skipped = self.rows.iter().flat_map(|row| {
            let totals = &row.found.totals;
            let of_sessions = [("duplicate", totals.duplicates), ("discarded", totals.discarded), ("left", totals.left)];
            of_sessions.into_iter().chain(row.listed.counters.by_skipped()).map(|(reason, count)| (with(row, "reason", reason), count))
        });
        counters(to, "messages_skipped", "Messages that were not delivered, on purpose; a message may have two reasons", skipped)
    }

    /// How the target fares.
    fn of_deliveries(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let attempts = self.rows.iter().flat_map(|row| {
            let labels = |result: &str| vec![("collector", row.id.clone()), ("transport", row.transport().to_owned()), ("result", result.to_owned())];
            row.listed.counters.by_attempt().map(move |(word, count)| (labels(word), count))
        });
        counters(to, "delivery_attempts", "What targets said, to each recipient of each delivery", attempts)?;
        let deliveries = self.rows.iter().map(|row| (with(row, "transport", row.transport()), &row.spreads.deliveries));
        histograms(to, "delivery_duration", "How long targets took for a message", SECONDS, deliveries)?;
        let on_the_way = self.rows.iter().map(|row| (of(row), &row.spreads.on_the_way));
        histograms(to, "collect_to_delivery", "From a message being whole here to its being delivered", SECONDS, on_the_way)?;
        let late = self.rows.iter().map(|row| (of(row), &row.spreads.late));
        histograms(to, "arrival_delay", "From the arrival at the provider, as the message says, to the delivery", SECONDS, late)
    }

    /// What was done to copies at the source, and what their servers show.
    fn of_sources(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for what in Remote::ALL {
            let (name, help) = match what {
                Remote::Delete => ("remote_deletes", "Copies that were to be deleted on the server"),
                Remote::Flag => ("remote_flag_changes", "Copies that were to be flagged on the server"),
                Remote::Move => ("remote_moves", "Copies that were to be moved on the server"),
                Remote::Expunge => ("remote_expunges", "Commands that remove what is flagged as deleted, for each group of messages"),
            };
            let values = self.rows.iter().flat_map(|row| row.listed.counters.by_remote(what).map(|(word, count)| (with(row, "result", word), count)));
            counters(to, name, help, values)?;
        }
        let certificates = self.rows.iter().filter_map(|row| Some((of(row), row.listed.counters.certificate_until()? as f64)));
        let help = "Until when the certificate is valid that the server showed last";
        gauges(to, "tls_certificate_expiry_timestamp", help, Some(Unit::Seconds), certificates)?;
        let with_tokens = || self.rows.iter().filter(|row| row.listed.collector.server.auth.oauth.is_some());
        let tokens = with_tokens().filter_map(|row| Some((of(row), row.listed.counters.token_figures()?.until as f64)));
        gauges(to, "oauth_token_expiry_timestamp", "Until when the access token is good", Some(Unit::Seconds), tokens)?;
        let refreshes = with_tokens().flat_map(|row| row.listed.counters.by_refresh().map(|(word, count)| (with(row, "result", word), count)));
        counters(to, "oauth_refreshes", "Questions for access tokens", refreshes)
    }

    /// Held mail, the disk, the control socket, notices.
    fn of_the_rest(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Beside { held, free, requests, notices, history_entries, state_octets } = &self.beside;
        gauges(to, "history_entries", "Rows of the history", None, history_entries.map(|entries| (vec![], entries as f64)))?;
        let octets = state_octets.map(|octets| (vec![], octets as f64));
        gauges(to, "state", "Octets of the ledger, the history and other files in the state directory itself", Some(Unit::Bytes), octets)?;
        let of_held = |value: fn(&HeldTotal) -> u64| {
            held.iter().map(move |total| {
                let labels = vec![("collector", total.collector.as_str().to_owned()), ("reason", total.why.code().to_owned())];
                (labels, value(total) as f64)
            })
        };
        gauges(to, "messages_held", "Messages that are held now", None, of_held(|total| total.messages))?;
        gauges(to, "held", "Octets of them", Some(Unit::Bytes), of_held(|total| total.octets))?;
        gauges(to, "spool_free", "Octets that are free where the state directory is", Some(Unit::Bytes), free.map(|free| (vec![], free as f64)))?;
        let requests = requests.iter().map(|(class, count)| (vec![("code", (*class).to_owned())], *count));
        counters(to, "http_requests", "Answers over HTTP, by the class of their status", requests)?;
        let notices =
            notices.iter().map(|(channel, result, count)| (vec![("channel", (*channel).to_owned()), ("result", (*result).to_owned())], *count));
        counters(to, "notifications", "Notices by the kind of their channel", notices)
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
    let name = full(name);
    let mut family = to.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A histogram that nothing was taken into yet has no series: they are many, and tell nothing.
fn histograms<'s>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    (unit, scale): Scale,
    values: impl IntoIterator<Item = (Labels, &'s Spread)>,
) -> Result<(), fmt::Error> {
    let name = full(name);
    let mut family = to.encode_descriptor(&name, help, Some(&unit), MetricType::Histogram)?;
    for (labels, spread) in values {
        let count = spread.count();
        if count == 0 {
            continue;
        }
        let steps = spread.steps.iter().map(|(end, count)| (if *end == u64::MAX { f64::INFINITY } else { *end as f64 / scale }, *count));
        let steps: Vec<(f64, u64)> = steps.collect();
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(spread.sum as f64 / scale, count, &steps, None)?;
    }
    Ok(())
}

/// What the system says of the process (proc(5)).
#[derive(Debug)]
struct Process {
    resident: Option<f64>,
    virtual_memory: Option<f64>,
    threads: Option<f64>,
    cpu: Option<f64>,
    descriptors: Option<f64>,
    descriptors_max: Option<f64>,
}

impl Process {
    fn read() -> Process {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program, in brackets, may hold anything; the third field comes behind it.
        let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Process {
            resident: field(24).map(|pages| pages * rustix::param::page_size() as f64),
            virtual_memory: field(23),
            threads: field(20),
            cpu: field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks),
            descriptors: std::fs::read_dir("/proc/self/fd").ok().map(|list| list.count() as f64),
            descriptors_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|most| most as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_text_names_counters_as_their_samples() {
        let newer = "# HELP a_seconds Time.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1.0\n# HELP b Things.\n# TYPE b counter\nb_total{x=\"1\"} 2\n# EOF\n";
        let wanted =
            "# HELP a_seconds Time.\n# TYPE a_seconds gauge\na_seconds 1.0\n# HELP b_total Things.\n# TYPE b_total counter\nb_total{x=\"1\"} 2\n";
        assert_eq!(older(newer), wanted);
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        assert_eq!(Form::of_accept(Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")), Form::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/plain")] {
            assert_eq!(Form::of_accept(other), Form::Prometheus);
        }
    }

    #[test]
    fn statuses_by_their_class() {
        let requests = Requests::default();
        [200, 202, 404, 503, 101, 999].into_iter().for_each(|status| requests.answered(status));
        assert_eq!(requests.read(), [("2xx", 3), ("3xx", 0), ("4xx", 1), ("5xx", 2)]);
    }
}
