//! What an operator switched by a command: collectors on or off, the whole service paused, for a time or until the reverse is said. It is kept over
//! restarts, beside the ledger, and stands over what the configuration says.
//!
//! One small file, written whole: into a new one, fsync, rename, fsync of the folder. A `kill -9` leaves the old switches or the new ones.

use crate::config::Config;
use crate::mail::CollectorId;
use crate::mail::outcome::harmless;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name in the state directory.
const FILE: &str = "switches.json";
/// Largest file that is read.
const OCTETS_MAX: u64 = 16 * 1024 * 1024;
/// Longest reason that is kept, in octets.
const REASON_MAX: usize = 500;
/// The longest time for which something is switched: what is to stand longer is said without one, or in the file.
pub const FOR_DAYS_MAX: u64 = 3_650;
/// The name of the whole service in the file: no collector can have it.
const SERVICE: &str = "*";

/// One switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// On or off.
    pub on: bool,
    /// Until when it stands; `None`: until the reverse is said.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    service: Option<Switch>,
    collectors: BTreeMap<CollectorId, Switch>,
}

/// Why they cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The disk.
    #[error("{path}: {}", crate::disk::told(.path, .error))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Somebody wrote something else into it.
    #[error("{0} is not what mailgather writes there: mend it, or remove it, and with it what was switched by commands")]
    Broken(PathBuf),
}

impl Switches {
    /// Reads those of a state directory; none if there is no file. Blocks on the disk.
    pub fn read(state_dir: &Path) -> Result<Self, SwitchError> {
        let path = state_dir.join(FILE);
        let failed = |error| SwitchError::Io { path: path.clone(), error };
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Switches::default()),
            file => file.map_err(failed)?,
        };
        let mut octets = Vec::new();
        file.take(OCTETS_MAX).read_to_end(&mut octets).map_err(failed)?;
        serde_json::from_slice(&octets).ok().and_then(|value| of_json(&value)).ok_or(SwitchError::Broken(path))
    }

    /// Keeps them: durable when it returns. Blocks on the disk.
    pub fn write(&self, state_dir: &Path) -> Result<(), SwitchError> {
        let (path, new) = (state_dir.join(FILE), state_dir.join(format!("{FILE}.new")));
        let written = || {
            let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(format!("{:#}\n", self.json()).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(state_dir)?.sync_all()
        };
        written().map_err(|error| SwitchError::Io { path, error })
    }

    /// Switches a collector, or with `None` the whole service.
    pub fn set(&mut self, which: Option<&CollectorId>, switch: Switch) {
        let switch = Switch { reason: harmless(&switch.reason, REASON_MAX), ..switch };
        match which {
            Some(id) => drop(self.collectors.insert(id.clone(), switch)),
            None => self.service = Some(switch),
        }
    }

    /// That of a collector, if one stands at this time.
    pub fn of(&self, id: &CollectorId, now: Timestamp) -> Option<&Switch> {
        self.collectors.get(id).filter(|switch| stands(switch, now))
    }

    /// That of the whole service.
    pub fn of_service(&self, now: Timestamp) -> Option<&Switch> {
        self.service.as_ref().filter(|switch| stands(switch, now))
    }

    /// The configuration as it is with them.
    pub fn over(&self, config: &Config, now: Timestamp) -> Config {
        let mut config = config.clone();
        if let Some(switch) = self.of_service(now) {
            config.service.enabled = switch.on;
        }
        for (id, collector) in &mut config.collectors {
            if let Some(switch) = self.of(id, now)
                && collector.enabled != switch.on
            {
                Arc::make_mut(collector).enabled = switch.on;
            }
        }
        config
    }

    /// Forgets those that say what the configuration says anyway, those that are over, and those of collectors that are gone.
    pub fn tidy(&mut self, config: &Config, now: Timestamp) {
        self.service = self.service.take().filter(|switch| stands(switch, now) && switch.on != config.service.enabled);
        self.collectors.retain(|id, switch| stands(switch, now) && config.collectors.get(id).is_some_and(|collector| collector.enabled != switch.on));
    }

    /// When the next of them is over.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let all = self.collectors.values().chain(&self.service);
        all.filter_map(|switch| switch.until).filter(|until| *until > now).min()
    }

    fn json(&self) -> Value {
        let one = |switch: &Switch| json!({"on": switch.on, "until": switch.until.map(|at| at.to_string()), "reason": switch.reason, "by": switch.by, "at": switch.at.to_string()});
        let mut all: serde_json::Map<String, Value> = self.collectors.iter().map(|(id, switch)| (id.as_str().to_owned(), one(switch))).collect();
        all.extend(self.service.iter().map(|switch| (SERVICE.to_owned(), one(switch))));
        Value::Object(all)
    }
}

fn stands(switch: &Switch, now: Timestamp) -> bool {
    switch.until.is_none_or(|until| until > now)
}

fn of_json(value: &Value) -> Option<Switches> {
    let mut switches = Switches::default();
    for (name, value) in value.as_object()? {
        let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let until = match value.get("until")? {
            Value::Null => None,
            until => Some(until.as_str()?.parse().ok()?),
        };
        let switch = Switch { on: value.get("on")?.as_bool()?, until, reason: text("reason")?, by: text("by")?, at: text("at")?.parse().ok()? };
        match name == SERVICE {
            true => switches.service = Some(switch),
            false => drop(switches.collectors.insert(CollectorId::new(name)?, switch)),
        }
    }
    Some(switches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn switch(on: bool, until: Option<i64>) -> Switch {
        Switch { on, until: until.map(at), reason: "moving\nhouse".into(), by: "cli uid=0".into(), at: at(1) }
    }

    fn config() -> Config {
        let text = "delivery: {lmtp: '127.0.0.1:24'}\ncollectors:\n  a: &c {server: h.example, email: a@h.example, password: {env: P}, recipient: {forward_to: x@y.example}}\n  b: {<<: *c, email: b@h.example, enabled: false}\n";
        crate::config::parse(text, Path::new("t.yaml"), &Default::default()).unwrap_or_else(|report| panic!("{report}")).config
    }

    #[test]
    fn they_stand_over_the_configuration_and_end() {
        let (a, b) = (CollectorId::new("a").unwrap(), CollectorId::new("b").unwrap());
        let mut switches = Switches::default();
        switches.set(Some(&a), switch(false, Some(100)));
        switches.set(Some(&b), switch(true, None));
        let enabled = |switches: &Switches, now| {
            let config = switches.over(&config(), at(now));
            (config.collectors[&a].enabled, config.collectors[&b].enabled, config.service.enabled)
        };
        assert_eq!(enabled(&switches, 99), (false, true, true));
        assert_eq!(enabled(&switches, 100), (true, true, true), "its time is over");
        assert_eq!((switches.next_end(at(5)), switches.next_end(at(100))), (Some(at(100)), None));
        switches.set(None, switch(false, None));
        assert!(!enabled(&switches, 1).2);
        // What the file says anyway, and who is gone, is forgotten.
        switches.set(Some(&a), switch(true, None));
        switches.set(Some(&CollectorId::new("gone").unwrap()), switch(false, None));
        switches.tidy(&config(), at(1));
        assert_eq!((switches.of(&a, at(1)), switches.collectors.len()), (None, 1));
        assert!(switches.of(&b, at(1)).is_some() && switches.of_service(at(1)).is_some());
    }

    #[test]
    fn they_are_kept_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Switches::read(dir.path()).unwrap(), Switches::default());
        let mut switches = Switches::default();
        switches.set(Some(&CollectorId::new("a").unwrap()), switch(false, Some(100)));
        switches.set(None, switch(false, None));
        switches.write(dir.path()).unwrap();
        assert_eq!(Switches::read(dir.path()).unwrap(), switches);
        // What a crash left of the next one is nothing.
        std::fs::write(dir.path().join("switches.json.new"), "{").unwrap();
        assert_eq!(Switches::read(dir.path()).unwrap(), switches);
        for broken in ["", "[]", "{\"a b\": {}}", "{\"a\": {\"on\": 1}}"] {
            std::fs::write(dir.path().join(FILE), broken).unwrap();
            assert!(matches!(Switches::read(dir.path()), Err(SwitchError::Broken(_))), "{broken}");
        }
    }
}
