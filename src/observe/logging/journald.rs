//! journald's native protocol (systemd's "Native Journal Protocol"): a datagram for each entry, a line for each field. Written by ourselves: it is
//! a page, and the crates that speak it fix the names of fields.

use super::form::{escaped, message};
use super::record::Record;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::Level;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// How long a line waits for a journald that is behind; then lines are lost for as long, and counted.
const PATIENCE: Duration = Duration::from_millis(250);

/// A connection to journald.
pub(super) struct Journal {
    socket: UnixDatagram,
    stuck_until: Mutex<Option<Instant>>,
    lost: AtomicU64,
}

impl Journal {
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Journal { socket, stuck_until: Mutex::default(), lost: AtomicU64::new(0) })
    }

    /// Sends an entry. Mail waits for a journald that hangs a moment at most, now and then.
    pub fn send(&self, record: &Record) {
        let stuck = |until: Option<Option<Instant>>| {
            let mut stuck = self.stuck_until.lock().unwrap_or_else(PoisonError::into_inner);
            until.map_or(*stuck, |until| std::mem::replace(&mut stuck, until))
        };
        if stuck(None).is_some_and(|until| Instant::now() < until) {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        let sent = self.socket.send(&entry(record, self.lost.swap(0, Relaxed)));
        stuck(Some(match sent {
            Ok(_) => None,
            Err(_) => {
                self.lost.fetch_add(1, Relaxed);
                Some(Instant::now() + PATIENCE)
            }
        }));
    }
}

/// Whether stderr is journald's, as it tells by `$JOURNAL_STREAM` (systemd.exec(5)). A shell of a graphical session inherits the variable, and its
/// stderr is a terminal: the numbers tell.
pub(super) fn is_behind_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The level as syslog counts; what the operator did is a notice.
pub(super) fn priority(record: &Record) -> u8 {
    match record.level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO if super::is_of_service(&record.event) => 5,
        Level::INFO => 6,
        _ => 7,
    }
}

/// An entry. Every field is there as `MAILGATHER_NAME`; no value has a line end, so that each stands on its line.
fn entry(record: &Record, lost: u64) -> Vec<u8> {
    let mut out = format!(
        "MESSAGE={}\nPRIORITY={}\nSYSLOG_IDENTIFIER=mailgather\nMAILGATHER_EVENT={}\n",
        message(record),
        priority(record),
        escaped(&record.event)
    );
    for (name, value) in &record.fields {
        let name = if *name == "id" { "MAIL_ID".to_owned() } else { name.to_ascii_uppercase() };
        out.push_str(&format!("MAILGATHER_{name}={}\n", escaped(value.as_str())));
    }
    if lost > 0 {
        out.push_str(&format!("MAILGATHER_LOST_BEFORE={lost}\n"));
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::record;
    use super::*;

    #[test]
    fn entries_have_fields_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        assert!(Journal::connect(&path).is_err());
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::connect(&path).unwrap();
        let fields = [("code", "MG-401"), ("collector", "sales"), ("id", "0123"), ("reason", "a\nMAILGATHER_EVENT=b")];
        journal.send(&record(Level::WARN, "recipient_unresolved", &fields));
        journal.send(&record(Level::INFO, "collector_started", &fields[1..2]));
        let mut octets = [0; 4096];
        let length = journald.recv(&mut octets).unwrap();
        let entry = String::from_utf8_lossy(&octets[..length]).into_owned();
        let wanted = "MESSAGE=recipient_unresolved code=MG-401 collector=sales id=0123 reason=\"a\\nMAILGATHER_EVENT=b\"\nPRIORITY=4\n\
            SYSLOG_IDENTIFIER=mailgather\nMAILGATHER_EVENT=recipient_unresolved\nMAILGATHER_CODE=MG-401\nMAILGATHER_COLLECTOR=sales\n\
            MAILGATHER_MAIL_ID=0123\nMAILGATHER_REASON=a\\nMAILGATHER_EVENT=b\n";
        assert_eq!(entry, wanted);
        let length = journald.recv(&mut octets).unwrap();
        assert!(String::from_utf8_lossy(&octets[..length]).contains("PRIORITY=5\n"), "what the operator did is a notice");
    }

    #[test]
    fn a_journald_that_hangs_costs_lines_and_no_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::connect(&path).unwrap();
        let line = record(Level::INFO, "x", &[]);
        let start = Instant::now();
        // More than the system's queue takes (unix(7): net.unix.max_dgram_qlen).
        (0..5000).for_each(|_| journal.send(&line));
        assert!(start.elapsed() < Duration::from_secs(5) && journal.lost.load(Relaxed) > 0);
        journald.set_nonblocking(true).unwrap();
        let mut octets = [0; 4096];
        while journald.recv(&mut octets).is_ok() {}
        std::thread::sleep(PATIENCE);
        journal.send(&line);
        let length = journald.recv(&mut octets).unwrap();
        assert!(String::from_utf8_lossy(&octets[..length]).contains("MAILGATHER_LOST_BEFORE="), "and it says how many");
        assert_eq!(journal.lost.load(Relaxed), 0);
    }
}
