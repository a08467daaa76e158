//! The log: what becomes of an event of `tracing` on its way to the operator.
//!
//! Each event becomes a `record::Record` once: bounded, and what `log.redact` hides made harmless. The collector's `log` decides whether it is
//! wanted, `fold` whether it was said just before. Then it goes to the process's own log (stderr, or journald) and, by a thread of its own, into
//! the collector's file (`files`): no mail waits for that file, and a full disk costs lines of it and nothing else. [`read`] reads the files again.
//!
//! Secrets do not come this far: a password is a type that cannot be printed, and what is said to servers is masked where it is shown.

pub mod audit;
mod files;
mod fold;
mod form;
mod journald;
pub mod read;
mod record;
mod redact;

use crate::config::{Config, LogFormat, LogLevel, LogMode, LogRedact};
use files::Queue;
use fold::Folds;
pub use form::json_of_line;
use journald::Journal;
use record::Record;
pub use redact::redacted;
pub use redact::without_people;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tracing::{Event, Level, Subscriber};

/// The folder of the collectors' files in the state directory.
pub const FOLDER: &str = "logs";
/// How long the end of the process waits for the last lines of the files.
const FINISH_WAIT: Duration = Duration::from_secs(2);

/// The log of this process, once there is one.
static LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// How much goes to the process's own log, given what the configuration says: options of the command line may want another level.
pub type Loudness = Box<dyn Fn(LogLevel) -> LogLevel + Send + Sync>;

/// Logs from now on. Called once, by the command line; `format` is what it says itself.
pub fn start(config: &Config, loudness: Loudness, format: Option<LogFormat>) {
    let (sink, failed) = Sink::open(format.unwrap_or(config.log_format));
    let log = Log::new(sink, loudness);
    log.configure(config);
    if begin(log)
        && let Some(error) = failed
    {
        tracing::warn!(event = "log_journal_unavailable", reason = %error, next = "the log goes to stderr");
    }
}

/// For a command that does something for the audit log of this state directory, and logs nothing else: what it says, it says itself. Another process may
/// hold the state directory; lines are appended whole.
pub fn start_for_audit(state_dir: &Path) {
    begin(Log::new(Sink::Text, Box::new(|_| LogLevel::Error)));
    if let Some(log) = LOG.get() {
        log.files.audit_folder(audit::folder(state_dir));
    }
}

/// A second call would be a mistake of ours that costs nothing.
fn begin(log: Log) -> bool {
    let log = Arc::new(log);
    if LOG.set(Arc::clone(&log)).is_err() || tracing::subscriber::set_global_default(Tracing(Arc::clone(&log))).is_err() {
        return false;
    }
    files::start(&log);
    true
}

/// A configuration takes the place of another one: its levels, modes and `redact` are in force from now on.
pub fn configure(config: &Config) {
    if let Some(log) = LOG.get() {
        log.configure(config);
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Where the collectors' files are: where systemd made a folder for logs, else in the state directory.
pub fn folder(state_dir: &Path) -> PathBuf {
    match std::env::var_os("LOGS_DIRECTORY").filter(|dirs| !dirs.is_empty()) {
        // systemd.exec(5): several folders stand with colons between them.
        Some(dirs) => PathBuf::from(dirs.to_string_lossy().split(':').next().unwrap_or_default()),
        None => state_dir.join(FOLDER),
    }
}

/// The collectors' files and the audit log are kept from now on. Called by whoever holds the state directory: nobody else writes them.
pub fn keep_files(state_dir: &Path) {
    if let Some(log) = LOG.get() {
        log.files.folders(folder(state_dir), audit::folder(state_dir));
    }
}

/// Opens the collectors' files anew: somebody may have moved them away (SIGHUP).
pub fn reopen() {
    if let Some(log) = LOG.get() {
        log.files.reopen();
    }
}

/// Writes what is still to be written. Called at the end of the process.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.sweep(None);
        log.files.finish(FINISH_WAIT);
    }
}

/// The log of a process.
struct Log {
    sink: Sink,
    loudness: Loudness,
    /// The last level that goes to the process's own log, and into files.
    own_level: AtomicU8,
    file_level: AtomicU8,
    settings: RwLock<Settings>,
    folds: Mutex<Folds>,
    files: Queue,
}

/// What a reload may change.
#[derive(Default)]
struct Settings {
    /// Of the collectors that do not log all.
    modes: HashMap<String, LogMode>,
    redact: LogRedact,
}

impl Log {
    fn new(sink: Sink, loudness: Loudness) -> Self {
        Log {
            sink,
            loudness,
            own_level: AtomicU8::new(0),
            file_level: AtomicU8::new(0),
            settings: RwLock::default(),
            folds: Mutex::default(),
            files: Queue::default(),
        }
    }

    fn configure(&self, config: &Config) {
        let modes = config.collectors.values().filter(|collector| collector.log != LogMode::Full);
        let modes = modes.map(|collector| (collector.id.as_str().to_owned(), collector.log)).collect();
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Settings { modes, redact: config.log_redact };
        let own = (self.loudness)(config.log_level);
        self.own_level.store(own as u8, Relaxed);
        // What is said aloud is in the file too; a quiet command line silences the terminal, not the record.
        self.file_level.store(own.max(config.log_level) as u8, Relaxed);
    }

    fn is_enabled(&self, level: Level) -> bool {
        let most = self.own_level.load(Relaxed).max(self.file_level.load(Relaxed));
        rank(level) <= most
    }

    fn take(&self, mut record: Record) {
        {
            let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
            if audit::EVENTS.contains(&record.event.as_str()) {
                let mut record = record.clone();
                redact::redact(&mut record, settings.redact);
                self.files.put_audit(audit::Line { month: record.time.strftime("%Y-%m").to_string(), text: form::text(&record) });
            }
            let mode = record.collector().and_then(|id| settings.modes.get(id)).copied().unwrap_or_default();
            let is_trouble = record.level <= Level::WARN;
            (record.is_said, record.is_filed) = match mode {
                LogMode::Full => (true, true),
                LogMode::Errors => (is_trouble || is_of_service(&record.event), is_trouble),
                LogMode::Off => (is_of_service(&record.event), false),
            };
            if !record.is_said && !record.is_filed {
                return;
            }
            redact::redact(&mut record, settings.redact);
        }
        // Who looks at every step wants to see each.
        if self.file_level.load(Relaxed) >= LogLevel::Debug as u8 {
            return self.write(&record);
        }
        let (is_new, before) = self.folds().see(&record, Instant::now());
        before.iter().for_each(|record| self.write(record));
        if is_new {
            self.write(&record);
        }
    }

    fn write(&self, record: &Record) {
        let rank = rank(record.level);
        let said = record.is_said && rank <= self.own_level.load(Relaxed);
        let text = said.then(|| self.sink.write(record)).flatten();
        if let Some(id) = record.collector().filter(|_| record.is_filed && rank <= self.file_level.load(Relaxed)) {
            self.files.put(id, || text.unwrap_or_else(|| form::text(record)));
        }
    }

    /// Writes what was folded before this moment; all of it at the end.
    fn sweep(&self, now: Option<Instant>) {
        let folded = self.folds().sweep(now);
        folded.iter().for_each(|record| self.write(record));
    }

    fn folds(&self) -> std::sync::MutexGuard<'_, Folds> {
        self.folds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event is the service's own, or tells what the operator did: no collector's `log` silences it. What names a collector and begins
/// otherwise is about its letters and its sessions.
fn is_of_service(event: &str) -> bool {
    event == "internal_error"
        || audit::EVENTS.contains(&event)
        || ["service_", "config_", "control_", "collect_requested", "collector_", "held_"].iter().any(|of| event.starts_with(of))
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => LogLevel::Error as u8,
        Level::WARN => LogLevel::Warn as u8,
        Level::INFO => LogLevel::Info as u8,
        Level::DEBUG => LogLevel::Debug as u8,
        // Nothing of ours.
        Level::TRACE => u8::MAX,
    }
}

/// The process's own log.
enum Sink {
    Text,
    /// Text with the level in front as journald reads it from stderr (sd-daemon(3)): where its socket cannot be had.
    Prefixed,
    Json,
    Journal(Journal),
}

impl Sink {
    /// The place for this format, and what went wrong on the way.
    fn open(format: LogFormat) -> (Self, Option<std::io::Error>) {
        let is_journal = match format {
            LogFormat::Text => return (Sink::Text, None),
            LogFormat::Json => return (Sink::Json, None),
            LogFormat::Auto if !journald::is_behind_stderr() => return (Sink::Text, None),
            LogFormat::Auto => true,
            LogFormat::Journald => journald::is_behind_stderr(),
        };
        match Journal::connect(Path::new(journald::SOCKET)) {
            Ok(journal) => (Sink::Journal(journal), None),
            Err(error) if is_journal => (Sink::Prefixed, Some(error)),
            Err(error) => (Sink::Text, Some(error)),
        }
    }

    /// Gives back the line where it is the one that files have too.
    fn write(&self, record: &Record) -> Option<String> {
        let line = match self {
            Sink::Text => form::text(record),
            Sink::Json => form::json(record),
            Sink::Prefixed => format!("<{}>{}\n", journald::priority(record), form::message(record)),
            Sink::Journal(journal) => {
                journal.send(record);
                return None;
            }
        };
        // Whom could we tell?
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
        matches!(self, Sink::Text).then_some(line)
    }
}

/// What `tracing` calls.
struct Tracing(Arc<Log>);

impl Subscriber for Tracing {
    /// Drops what libraries say: their lines are not made for operators, and might hold what passes through them.
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        let is_ours = metadata.is_event() && metadata.target().starts_with("mailgather");
        is_ours && (metadata.target() == audit::TARGET || self.0.is_enabled(*metadata.level()))
    }
    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        // What operators did passes in any case, and is no more verbose than this.
        let levels = [Level::DEBUG, Level::INFO];
        levels.into_iter().find(|level| self.0.is_enabled(*level)).or(Some(Level::INFO)).map(Into::into)
    }
    fn event(&self, event: &Event<'_>) {
        self.0.take(Record::of(event));
    }
    /// There are no spans: every line says itself what it is about.
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
