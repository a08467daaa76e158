//! One channel at work: a queue, and a task that takes what stands in it, tells it, tries again, and gives up.

use super::kept::About;
use super::notice::Notice;
use super::{command, mail, webhook};
use crate::config::{Channel, Way};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

/// Notices that wait for one channel.
const QUEUE_MAX: usize = 10_000;
/// Notices that are told at once.
pub(super) const BUNDLE_MAX: usize = 100;
/// The waits before the second and each further try.
const WAITS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(30)];
/// Somebody who is told often is told the rest at once, after a wait that doubles from the first of these to the last.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A channel that was quiet for so long is told the next at once again.
const QUIET: Duration = Duration::from_secs(900);

/// A notice that waits, and what it is about: nothing, if it only stands in for another channel's.
pub(super) type Waiting = (Option<About>, Notice);

/// What became of notices.
pub(super) struct Ended {
    /// The channel.
    pub key: String,
    /// The notices.
    pub notices: Vec<Waiting>,
    /// Why they could not be told.
    pub outcome: Result<(), String>,
}

/// A channel and its queue.
pub(super) struct Post {
    pub channel: Arc<Channel>,
    /// Names it in the file of what was told: the same after a restart.
    pub key: String,
    /// Names it for people: no secret, and no address.
    pub name: String,
    host: String,
    queue: Mutex<VecDeque<Waiting>>,
    wake: Notify,
}

impl Post {
    pub fn new(channel: Arc<Channel>, host: &str) -> Self {
        let (key, name) = names(&channel.way);
        Post { channel, key, name, host: host.to_owned(), queue: Mutex::default(), wake: Notify::new() }
    }

    /// Puts a notice into the queue; false if there is no room.
    pub fn put(&self, waiting: Waiting) -> bool {
        let mut queue = self.queue();
        if queue.len() >= QUEUE_MAX {
            return false;
        }
        queue.push_back(waiting);
        self.wake.notify_one();
        true
    }

    /// Takes a notice out of the queue again; false if it is on its way already.
    pub fn cancel(&self, about: &About) -> bool {
        let mut queue = self.queue();
        let before = queue.len();
        queue.retain(|(other, _)| other.as_ref() != Some(about));
        queue.len() < before
    }

    /// Tells what comes, for ever.
    pub async fn run(&self, ended: mpsc::Sender<Ended>) {
        let (mut pause, mut last) = (PAUSE_MIN, None::<Instant>);
        loop {
            let notices: Vec<Waiting> = {
                let mut queue = self.queue();
                let some = queue.len().min(BUNDLE_MAX);
                queue.drain(..some).collect()
            };
            if notices.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let all: Vec<Notice> = notices.iter().map(|(_, notice)| notice.clone()).collect();
            let mut outcome = self.send(&all).await;
            for wait in WAITS {
                if outcome.is_ok() {
                    break;
                }
                sleep(wait).await;
                outcome = self.send(&all).await;
            }
            if ended.send(Ended { key: self.key.clone(), notices, outcome }).await.is_err() {
                return;
            }
            pause = if last.is_some_and(|last| last.elapsed() < QUIET) { (pause * 2).min(PAUSE_MAX) } else { PAUSE_MIN };
            last = Some(Instant::now());
            sleep(pause).await;
        }
    }

    /// Tells them once.
    pub async fn send(&self, notices: &[Notice]) -> Result<(), String> {
        match &self.channel.way {
            Way::Email { to, from, via, .. } => mail::send(notices, to, from.as_ref(), via, &self.host).await,
            Way::Webhook { url, token, tls, timeout } => webhook::send(notices, url, token.as_ref(), tls, *timeout, &self.host).await,
            Way::Command { argv, timeout } => command::send(notices, argv, *timeout, &self.host).await,
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a channel and its name.
fn names(way: &Way) -> (String, String) {
    let (what, name) = match way {
        Way::Email { to, .. } => {
            let to: Vec<String> = to.iter().map(|to| to.to_smtp()).collect();
            let mut domains: Vec<(&str, usize)> = Vec::new();
            for domain in to.iter().filter_map(|to| Some(to.rsplit_once('@')?.1)) {
                match domains.iter_mut().find(|(known, _)| *known == domain) {
                    Some((_, count)) => *count += 1,
                    None => domains.push((domain, 1)),
                }
            }
            let domains =
                domains.iter().map(|(domain, count)| format!("…@{domain}{}", if *count > 1 { format!(" ×{count}") } else { String::new() }));
            (to.join(" "), format!("email {}", domains.collect::<Vec<_>>().join(" ")))
        }
        Way::Webhook { url, .. } => {
            let place = match url {
                crate::config::SecretSource::Plain(url) => crate::config::WebPlace::parse(url.expose()).ok().map(|place| place.host),
                _ => None,
            };
            let secret = match url {
                crate::config::SecretSource::Plain(url) => url.expose().to_owned(),
                other => format!("{other:?}"),
            };
            (secret, format!("webhook {}", place.as_deref().unwrap_or("of a secret address")))
        }
        Way::Command { argv, .. } => (argv.join("\0"), format!("command {}", argv.first().map_or("", String::as_str))),
    };
    let hash: String = Sha256::digest(&what).iter().take(8).map(|octet| format!("{octet:02x}")).collect();
    (format!("{}-{hash}", way.word()), name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::notice::Notice;
    use super::*;
    use crate::config::{NoticeEvent, SecretSource};
    use crate::mail::{CollectorId, Secret};
    use jiff::Timestamp;

    fn channel(way: Way) -> Arc<Channel> {
        Arc::new(Channel { way, events: NoticeEvent::ALL.to_vec(), after: 1, stale: None, repeat: Duration::from_secs(60) })
    }

    fn of(program: &str) -> Post {
        Post::new(channel(Way::Command { argv: vec![program.into()], timeout: Duration::from_secs(5) }), "h")
    }

    #[test]
    fn an_address_is_told_once_and_a_domain_named_once() {
        let text = "notify: [{email: [a@x.example, A@X.example, b@x.example, a@x.example, c@y.example], via: {maildir: /tmp/notices}}]\n\
                    delivery: {lmtp: '127.0.0.1:24'}\ncollectors:\n  \
                    a: {server: h.example, email: a@h.example, password: {env: P}, recipient: {forward_to: x@y.example}}\n";
        let loaded = crate::config::parse(text, std::path::Path::new("t.yaml"), &Default::default()).unwrap_or_else(|report| panic!("{report}"));
        let post = Post::new(Arc::clone(&loaded.config.notify[0]), "h");
        let Way::Email { to, .. } = &post.channel.way else { panic!() };
        assert_eq!(to.iter().filter(|to| to.to_smtp() == "a@x.example").count(), 1);
        assert!(post.name.matches("…@x.example").count() == 1 && post.name.ends_with(" …@y.example"), "{}", post.name);
    }

    #[test]
    fn names_tell_no_secret() {
        let url = SecretSource::Plain(Secret::new("https://hooks.example/T0/B0/hunter2".into()));
        let post = Post::new(channel(Way::Webhook { url, token: None, tls: Box::default(), timeout: Duration::from_secs(5) }), "h");
        assert_eq!(post.name, "webhook hooks.example");
        assert!(!post.key.contains("hunter2") && post.key.starts_with("webhook-"));
        assert_eq!(of("/bin/true").key, of("/bin/true").key);
        assert_ne!(of("/bin/true").key, of("/bin/false").key);
    }

    #[test]
    fn a_queue_has_an_end_and_lets_go() {
        let post = of("/bin/true");
        let about = ("x".to_owned(), CollectorId::new("a").unwrap(), NoticeEvent::Held);
        let notice = Notice::test("me", Timestamp::UNIX_EPOCH);
        assert!(post.put((Some(about.clone()), notice.clone())));
        assert!(post.cancel(&about) && !post.cancel(&about));
        for _ in 0..QUEUE_MAX {
            assert!(post.put((None, notice.clone())));
        }
        assert!(!post.put((None, notice)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_fails_is_tried_again_and_given_up() {
        let post = Arc::new(of("/no/such/program"));
        let (sender, mut ended) = mpsc::channel(1);
        assert!(post.put((None, Notice::test("me", Timestamp::UNIX_EPOCH))));
        let running = Arc::clone(&post);
        let task = tokio::spawn(async move { running.run(sender).await });
        let begun = Instant::now();
        let first = ended.recv().await.unwrap();
        assert!(first.outcome.is_err() && first.notices.len() == 1);
        assert_eq!(begun.elapsed().as_secs(), 42, "three more tries");
        task.abort();
    }
}
