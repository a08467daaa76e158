//! What the collectors of one server, by host and port, know together of its IDLE. A server that lets mail go unsaid does so for all of them, but one
//! folder that is not told of is no reason to turn away from a server that keeps its word to everybody else.

use crate::mail::CollectorId;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Where one accuser alone is not believed, because the server has told somebody of mail, so many are.
const ACCUSERS_ENOUGH: usize = 2;

/// The servers that collectors watch.
#[derive(Debug, Default)]
pub struct IdleServers(Mutex<HashMap<(String, u16), Arc<IdleServer>>>);

impl IdleServers {
    /// The server of a collector that begins, or that a reload has changed: the server is tried again, by all of its collectors.
    pub fn enter(&self, host: &str, port: u16) -> Arc<IdleServer> {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A server that no collector has any more is forgotten, so that the map follows the configuration.
        servers.retain(|_, server| Arc::strong_count(server) > 1);
        let server = Arc::clone(servers.entry((host.to_ascii_lowercase(), port)).or_default());
        server.try_again();
        server
    }
}

/// One server.
#[derive(Debug, Default)]
pub struct IdleServer {
    verdict: watch::Sender<Verdict>,
    evidence: Mutex<Evidence>,
}

/// Who is left to the interval.
#[derive(Debug, Default)]
struct Verdict {
    /// All collectors of the server.
    all: bool,
    /// These.
    some: BTreeSet<CollectorId>,
}

impl Verdict {
    fn is_about(&self, collector: &CollectorId) -> bool {
        self.all || self.some.contains(collector)
    }
}

#[derive(Debug, Default)]
struct Evidence {
    has_told: bool,
    /// Whose mail it has missed, again and again, since its last word to anybody.
    accusers: BTreeSet<CollectorId>,
}

/// Whom an accusation concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// The collector that made it.
    Collector,
    /// Every collector of the server.
    Server,
}

impl IdleServer {
    /// It told somebody of mail.
    pub fn has_told(&self) {
        let mut evidence = self.evidence();
        evidence.has_told = true;
        evidence.accusers.clear();
    }

    /// It missed so much mail of this collector, one after the other, that the collector does not rely on it any more.
    pub fn accuse(&self, collector: &CollectorId) -> Sentence {
        let mut evidence = self.evidence();
        evidence.accusers.insert(collector.clone());
        let all = !evidence.has_told || evidence.accusers.len() >= ACCUSERS_ENOUGH;
        drop(evidence);
        self.verdict.send_modify(|verdict| {
            verdict.some.insert(collector.clone());
            verdict.all |= all;
        });
        if all { Sentence::Server } else { Sentence::Collector }
    }

    /// Resolves when this collector is to be left to the interval.
    pub async fn left(&self, collector: &CollectorId) {
        // `self` keeps the sender, so that the wait ends by the verdict only; here and below.
        let _ = self.verdict.subscribe().wait_for(|verdict| verdict.is_about(collector)).await;
    }

    /// Resolves when the server is tried again by this collector.
    pub async fn tried_again(&self, collector: &CollectorId) {
        let _ = self.verdict.subscribe().wait_for(|verdict| !verdict.is_about(collector)).await;
    }

    fn try_again(&self) {
        *self.evidence() = Evidence::default();
        self.verdict.send_replace(Verdict::default());
    }

    fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn id(name: &str) -> CollectorId {
        CollectorId::new(name).unwrap()
    }

    fn is_left(server: &IdleServer, name: &str) -> bool {
        let left = server.left(&id(name)).now_or_never().is_some();
        assert_eq!(server.tried_again(&id(name)).now_or_never().is_none(), left);
        left
    }

    #[test]
    fn one_is_believed_about_a_server_that_has_told_nobody() {
        let servers = IdleServers::default();
        let (server, other) = (servers.enter("imap.x.example", 993), servers.enter("imap.x.example", 143));
        assert!(!is_left(&server, "a"));
        assert_eq!(server.accuse(&id("a")), Sentence::Server);
        assert!(is_left(&server, "a") && is_left(&server, "b"));
        assert!(!is_left(&other, "a"), "another port is another server");
    }

    #[test]
    fn one_bad_folder_condemns_no_server_that_tells_others() {
        let server = IdleServers::default().enter("imap.gmail.com", 993);
        server.has_told();
        assert_eq!(server.accuse(&id("a")), Sentence::Collector);
        assert!(is_left(&server, "a") && !is_left(&server, "b"));
        // It goes on to tell others: a second folder that is not told of is as the first.
        server.has_told();
        assert_eq!(server.accuse(&id("b")), Sentence::Collector);
        assert_eq!(server.accuse(&id("b")), Sentence::Collector, "it is one collector still");
        assert!(is_left(&server, "a") && is_left(&server, "b") && !is_left(&server, "c"));
        // And it has stopped telling.
        assert_eq!(server.accuse(&id("c")), Sentence::Server);
        assert!(is_left(&server, "d"));
    }

    #[test]
    fn a_change_of_one_collector_is_another_chance_for_the_server() {
        let servers = IdleServers::default();
        let server = servers.enter("imap.x.example", 993);
        server.accuse(&id("a"));
        let again = servers.enter("IMAP.x.example", 993);
        assert!(Arc::ptr_eq(&server, &again));
        assert!(!is_left(&server, "a") && !is_left(&server, "b"));
        server.accuse(&id("a"));
        drop((server, again));
        assert!(!is_left(&servers.enter("imap.x.example", 993), "a"), "nobody remembers it");
    }
}
