//! What one collector is doing and how it has fared, for whoever asks: the command line, metrics, notices. Written by its task, a few times a
//! session; read by others at any time.

use super::maillog::{Failure, SessionFigures};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest text of an error that is kept, in octets.
const REASON_OCTETS_MAX: usize = 2_000;

/// Folders of a collector whose messages are counted one by one.
pub const FOLDERS_MAX: usize = 20;
/// The others, together.
pub const OTHER: &str = "other";
/// Longest name of a folder, in octets.
const FOLDER_OCTETS_MAX: usize = 100;

/// The state of one collector.
#[derive(Debug, Default)]
pub struct Status(Mutex<Snapshot>);

/// The state at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// What it is doing.
    pub phase: Phase,
    /// When the last session began.
    pub last_try: Option<Timestamp>,
    /// When the last session ended that went well.
    pub last_success: Option<Timestamp>,
    /// When the last session ended that brought mail.
    pub last_mail: Option<Timestamp>,
    /// When the next one begins by itself; `None`: on request only, or not known yet.
    pub next: Option<Timestamp>,
    /// Sessions that failed in a row, by which the wait before the next one grows; 1 while only the target or the disk is waited for. Only one that goes
    /// well ends the row, whoever asks for them.
    pub failures: u32,
    /// The same, with those that wait for a target or a disk: each tells that it is still so.
    pub failed_in_row: u32,
    /// Until when a session that somebody asked for and that failed sets back those that come by themselves.
    pub set_back: Option<Timestamp>,
    /// When the first of them ended.
    pub failing_since: Option<Timestamp>,
    /// Why the last one failed.
    pub trouble: Option<Trouble>,
    /// How many messages each folder held when the last session opened it; those beyond [`FOLDERS_MAX`] together as [`OTHER`].
    pub remote: Vec<(String, u64)>,
    /// New messages that the last session saw and left for the next.
    pub waiting: u64,
    /// Sessions by how they ended, since the start.
    pub sessions: Sessions,
    /// Failed sessions by the number of the page that explains why, since the start.
    pub failed_by: BTreeMap<u16, u64>,
    /// What became of messages, since the start; and how long all sessions took.
    pub totals: SessionFigures,
}

/// What a collector is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its time.
    #[default]
    Waiting,
    /// It waits for its turn: too many sessions run, or too many with its server.
    Queued,
    /// A session runs.
    Collecting,
}

impl Phase {
    /// As scripts read it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Queued => "queued",
            Phase::Collecting => "collecting",
        }
    }
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The number of the page that explains it.
    pub code: u16,
    /// In words, with what the server said.
    pub reason: String,
    /// What the operator can do; may be empty.
    pub hint: String,
}

/// Sessions by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// With mail, all of it settled.
    pub ok: u64,
    /// Nothing new.
    pub empty: u64,
    /// With mail that is to be tried again.
    pub partial: u64,
    /// Before their end.
    pub failed: u64,
}

impl Status {
    /// The state now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// It waits for its turn.
    pub fn queued(&self) {
        self.lock().phase = Phase::Queued;
    }

    /// A session begins.
    pub fn began(&self, now: Timestamp) {
        let mut state = self.lock();
        (state.phase, state.last_try, state.next) = (Phase::Collecting, Some(now), None);
    }

    /// It waits; the next session begins by itself at `next`.
    pub fn waits(&self, next: Option<Timestamp>) {
        let mut state = self.lock();
        (state.phase, state.next) = (Phase::Waiting, next);
    }

    /// A session that somebody asked for failed: those that come by themselves begin no sooner.
    pub fn sets_back(&self, until: Option<Timestamp>) {
        self.lock().set_back = until;
    }

    /// A session went through these folders, which held so many messages.
    pub fn saw<'a>(&self, folders: impl Iterator<Item = (&'a str, u64)>) {
        // The same ones in each session, in whatever order the server names them.
        let mut folders: Vec<(&str, u64)> = folders.collect();
        folders.sort_by_key(|(name, _)| (*name != "INBOX", *name));
        let mut remote: Vec<(String, u64)> = Vec::new();
        for (name, messages) in folders {
            // A name may be an address, which no figure is to show.
            let is_shown = remote.len() < FOLDERS_MAX && !name.contains('@');
            let name = if is_shown { crate::mail::outcome::harmless(name, FOLDER_OCTETS_MAX) } else { OTHER.to_owned() };
            // Two names may be cut to one, and a folder may be called as the others are.
            match remote.iter_mut().find(|(same, _)| *same == name) {
                Some((_, all)) => *all += messages,
                None => remote.push((name, messages)),
            }
        }
        if !remote.is_empty() {
            self.lock().remote = remote;
        }
    }

    /// A session ended, and left this many new messages to the next; `failure` says why, if it failed, for the `failures`th time in a row.
    pub fn ended(&self, now: Timestamp, figures: &SessionFigures, waiting: u64, failure: Option<(&Failure<'_>, u32)>) {
        let mut state = self.lock();
        (state.phase, state.waiting) = (Phase::Waiting, waiting);
        state.totals.add(figures);
        if figures.delivered > 0 {
            state.last_mail = Some(now);
        }
        let Some((failure, failures)) = failure else {
            match figures {
                _ if figures.deferred > 0 => state.sessions.partial += 1,
                _ if figures.messages() > 0 => state.sessions.ok += 1,
                _ => state.sessions.empty += 1,
            }
            (state.last_success, state.failures, state.failed_in_row, state.failing_since, state.trouble) = (Some(now), 0, 0, None, None);
            state.set_back = None;
            return;
        };
        state.sessions.failed += 1;
        *state.failed_by.entry(failure.code).or_default() += 1;
        (state.failures, state.failed_in_row) = (failures, state.failed_in_row.saturating_add(1));
        state.failing_since.get_or_insert(now);
        let reason = crate::mail::outcome::harmless(failure.reason, REASON_OCTETS_MAX);
        state.trouble = Some(Trouble { code: failure.code, reason, hint: failure.hint.to_owned() });
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn folders_are_few_and_no_addresses() {
        let status = Status::default();
        status.saw([("INBOX", 7), ("Shared/anna@x.example", 2)].into_iter());
        assert_eq!(status.snapshot().remote, [("INBOX".to_owned(), 7), ("other".to_owned(), 2)]);
        let many: Vec<String> = (0..500).map(|n| format!("folder {n:03} {}", "ü\n".repeat(200))).collect();
        status.saw(many.iter().map(|name| (name.as_str(), 1)));
        let found = status.snapshot().remote;
        assert_eq!((found.len(), found.last()), (FOLDERS_MAX + 1, Some(&("other".to_owned(), 480))));
        assert!(found.iter().all(|(name, _)| !name.contains('\n') && name.len() <= FOLDER_OCTETS_MAX + 10), "{found:?}");
        status.saw([("other", 1), ("a@b", 2), ("other", 4)].into_iter());
        assert_eq!(status.snapshot().remote, [("other".to_owned(), 7)]);
        status.saw(std::iter::empty());
        assert_eq!(status.snapshot().remote.len(), 1, "what was seen last stands");
    }

    #[test]
    fn a_failure_stays_until_a_session_goes_well() {
        let status = Status::default();
        let failure = Failure { code: 203, reason: "refused\n", hint: "look" };
        status.began(at(1));
        assert_eq!((status.snapshot().phase, status.snapshot().last_try), (Phase::Collecting, Some(at(1))));
        status.ended(at(2), &SessionFigures::default(), 0, Some((&failure, 1)));
        status.ended(at(5), &SessionFigures::default(), 0, Some((&failure, 2)));
        status.waits(Some(at(9)));
        let found = status.snapshot();
        assert_eq!((found.failures, found.failing_since, found.next, found.last_success), (2, Some(at(2)), Some(at(9)), None));
        assert_eq!(found.trouble.map(|trouble| (trouble.code, trouble.reason.contains('\n'))), Some((203, false)));
        status.ended(at(10), &SessionFigures { delivered: 2, ..SessionFigures::default() }, 7, None);
        let found = status.snapshot();
        assert_eq!((found.failures, found.failing_since, found.trouble, found.waiting), (0, None, None, 7));
        assert_eq!((found.last_success, found.last_mail), (Some(at(10)), Some(at(10))));
        status.ended(at(20), &SessionFigures::default(), 0, None);
        assert_eq!(status.snapshot().last_mail, Some(at(10)), "no mail, no news");
        assert_eq!(status.snapshot().sessions, Sessions { ok: 1, empty: 1, partial: 0, failed: 2 });
        assert_eq!((status.snapshot().totals.delivered, status.snapshot().failed_by), (2, BTreeMap::from([(203, 2)])));
    }
}
