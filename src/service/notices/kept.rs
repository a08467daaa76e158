//! What somebody was told and is not over yet, kept over restarts: a restart repeats nothing, and a recovery is told to those who heard of the trouble.
//!
//! One small file, written whole: a `kill -9` leaves the old one or the new one, and at most one notice comes twice.

use crate::config::NoticeEvent;
use crate::mail::CollectorId;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file's name in the state directory.
pub(super) const FILE: &str = "notices.json";
/// Largest file that is read.
const OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// What a notice is about: the channel, the collector, the event.
pub(super) type About = (String, CollectorId, NoticeEvent);

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Since when it lasts.
    pub since: Timestamp,
    /// When it was told last, or tried.
    pub at: Timestamp,
    /// False: the channel was broken, and others were told instead.
    pub is_told: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept(pub BTreeMap<About, Told>);

impl Kept {
    /// Reads that of a state directory; nothing if there is no file. Blocks on the disk.
    pub fn read(state_dir: &Path) -> Result<Self> {
        let file = match File::open(state_dir.join(FILE)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Kept::default()),
            file => file?,
        };
        let mut octets = Vec::new();
        file.take(OCTETS_MAX).read_to_end(&mut octets)?;
        let rows = serde_json::from_slice::<Value>(&octets).ok();
        let rows = rows.as_ref().and_then(Value::as_array).map(|rows| rows.iter().map(row).collect::<Option<_>>());
        rows.flatten().map(Kept).ok_or_else(|| Error::new(ErrorKind::InvalidData, "it is not what mailgather writes there"))
    }

    /// Keeps it: durable when it returns. Blocks on the disk.
    pub fn write(&self, state_dir: &Path) -> Result<()> {
        let new = state_dir.join(format!("{FILE}.new"));
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let rows = self.0.iter().map(|((channel, collector, event), told)| {
            json!({"channel": channel, "collector": collector.as_str(), "event": event.word(), "since": told.since.to_string(), "at": told.at.to_string(), "told": told.is_told})
        });
        file.write_all(format!("{:#}\n", Value::Array(rows.collect())).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, state_dir.join(FILE))?;
        File::open(state_dir)?.sync_all()
    }
}

fn row(value: &Value) -> Option<(About, Told)> {
    let text = |key: &str| value.get(key)?.as_str();
    let event = NoticeEvent::ALL.into_iter().find(|event| Some(event.word()) == text("event"))?;
    let about = (text("channel")?.to_owned(), CollectorId::new(text("collector")?)?, event);
    Some((about, Told { since: text("since")?.parse().ok()?, at: text("at")?.parse().ok()?, is_told: value.get("told")?.as_bool()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Kept::read(dir.path()).unwrap(), Kept::default());
        let at = |second| Timestamp::from_second(second).unwrap();
        let about = |event| ("email-0123".to_owned(), CollectorId::new("a").unwrap(), event);
        let told = Told { since: at(1), at: at(2), is_told: true };
        let kept = Kept([(about(NoticeEvent::Stale), told.clone()), (about(NoticeEvent::Held), Told { is_told: false, ..told })].into());
        kept.write(dir.path()).unwrap();
        assert_eq!(Kept::read(dir.path()).unwrap(), kept);
        std::fs::write(dir.path().join("notices.json.new"), "{").unwrap();
        assert_eq!(Kept::read(dir.path()).unwrap(), kept, "what a crash left of the next one is nothing");
        for broken in ["", "{}", "[{\"channel\": 1}]"] {
            std::fs::write(dir.path().join(FILE), broken).unwrap();
            assert!(Kept::read(dir.path()).is_err(), "{broken}");
        }
    }
}
