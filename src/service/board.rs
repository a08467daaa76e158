//! What the daemon shows of itself: one place, written by the supervisor at each change, read by everybody else.

use super::switches::Switch;
use crate::config::{Channel, Collector, LogRedact};
use crate::mail::CollectorId;
use crate::observe::{Counters, Status};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The state of the service, and of each collector.
#[derive(Debug)]
pub struct Board(Mutex<Shown>);

/// What is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When the process started.
    pub started: Timestamp,
    /// The configuration file.
    pub file: PathBuf,
    /// When the configuration that is in force was read.
    pub loaded: Timestamp,
    /// By whom it was asked for.
    pub loaded_by: String,
    /// What is wrong with the file as it is now, if it could not take its place.
    pub rejected: Option<Rejected>,
    /// How often the file was read again, by whom (the first word of it, of a small set), and whether it was taken.
    pub reloads: BTreeMap<(String, bool), u64>,
    /// Settings of the file that wait for a restart.
    pub needs_restart: Vec<&'static str>,
    /// `service.enabled`, or what a command said.
    pub enabled: bool,
    /// The whole service was switched by a command.
    pub switch: Option<Switch>,
    /// Who is told of trouble.
    pub notify: Vec<Arc<Channel>>,
    /// What is hidden from them.
    pub redact: LogRedact,
    /// It is told to end.
    pub stopping: bool,
    /// Every collector of the configuration, enabled or not.
    pub collectors: BTreeMap<CollectorId, Listed>,
}

/// A file that was not taken.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// When.
    pub at: Timestamp,
    /// What is wrong with it, with file, line and column.
    pub text: String,
}

/// One collector.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its configuration.
    pub collector: Arc<Collector>,
    /// How it fares. It outlives changes of the configuration.
    pub status: Arc<Status>,
    /// What it counted so far.
    pub counters: Arc<Counters>,
    /// It was switched on or off by a command, whatever the configuration says.
    pub switch: Option<Switch>,
}

impl Shown {
    /// `cli uid=0` counts as `cli`.
    fn count_reload(&mut self, by: &str, is_taken: bool) {
        let trigger = by.split(' ').next().unwrap_or_default().to_owned();
        *self.reloads.entry((trigger, is_taken)).or_default() += 1;
    }
}

impl Board {
    /// That of a process that starts now.
    pub fn new(file: PathBuf) -> Self {
        let now = Timestamp::now();
        Board(Mutex::new(Shown {
            started: now,
            file,
            loaded: now,
            loaded_by: "start".into(),
            rejected: None,
            reloads: BTreeMap::new(),
            needs_restart: Vec::new(),
            enabled: true,
            switch: None,
            notify: Vec::new(),
            redact: LogRedact::default(),
            stopping: false,
            collectors: BTreeMap::new(),
        }))
    }

    /// Everything, as it is now.
    pub fn shown(&self) -> Shown {
        self.lock().clone()
    }

    /// One collector.
    pub fn listed(&self, id: &CollectorId) -> Option<Listed> {
        self.lock().collectors.get(id).cloned()
    }

    /// The file was read again, and is in force.
    pub(super) fn taken(&self, by: String) {
        self.update(|shown| {
            shown.count_reload(&by, true);
            (shown.rejected, shown.loaded, shown.loaded_by) = (None, Timestamp::now(), by);
        });
    }

    /// The file was read again, and what was in force stays in force.
    pub(super) fn rejected(&self, text: String, by: &str) {
        self.update(|shown| {
            shown.count_reload(by, false);
            shown.rejected = Some(Rejected { at: Timestamp::now(), text });
        });
    }

    /// Changes what is shown.
    pub(super) fn update(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
