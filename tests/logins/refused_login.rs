//! Refused logins: how often they are tried, so that no account is locked, and what makes a new try worth it.

use crate::support::dovecot::PASSWORD;
use crate::support::process::{PASSWORD_VARIABLE, Signal};
use crate::support::*;
use async_trait::async_trait;
use mailgather::collect::Stop;
use mailgather::collect::asks::Asks;
use mailgather::config::{self, Environment};
use mailgather::service::Installation;
use mailgather::source::{Session, Source, SourceError, SourceErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A mailbox that refuses the login, and ends the test after a day of its own clock.
struct Refusing {
    begun: Instant,
    tries: Arc<Mutex<Vec<Duration>>>,
    stop: Stop,
}

#[async_trait]
impl Source for Refusing {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        let now = self.begun.elapsed();
        if now > Duration::from_secs(24 * 3600) {
            self.stop.request();
        } else {
            self.tries.lock().unwrap().push(now);
        }
        Err(SourceError::new(SourceErrorKind::Auth, "login", "h.example", "the server refused the password"))
    }
}

/// A day passes in no time: the clock of the runtime jumps from one timer to the next.
#[tokio::test(start_paused = true)]
async fn f51_a_wrong_password_for_a_day_is_tried_a_few_times_only() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "service: {{state_dir: '{}', min_free_space: 1B}}\ndelivery: {{smtp: '127.0.0.1:1'}}\nlimits: {{interval_min: 1s}}\ncollectors:\n  c:\n    \
         server: h.example\n    email: me@x.example\n    password: {{env: X}}\n    interval: 5s\n    recipient: {{forward_to: a@x.example}}\n",
        dir.path().display()
    );
    let loaded = config::parse(&text, Path::new("test.yaml"), &Environment::default()).unwrap_or_else(|report| panic!("{report}"));
    let installation = Installation::open(&loaded.config).await.unwrap();
    let mut worker = installation.worker(loaded.config.collectors.values().next().unwrap());
    let (tries, stop) = (Arc::default(), Stop::new());
    worker.source = Box::new(Refusing { begun: Instant::now(), tries: Arc::clone(&tries), stop: stop.clone() });
    worker.run(&stop, &Asks::default(), Duration::ZERO).await;
    let tries: Vec<u64> = tries.lock().unwrap().iter().map(Duration::as_secs).collect();
    // 15 minutes, doubling to six hours: at once, and after 0.25, 0.75, 1.75, 3.75, 7.75, 13.75, 19.75 hours and a tenth more at most.
    assert!((7..=8).contains(&tries.len()), "{tries:?}");
    for hour in tries.windows(3) {
        assert!(hour[2] - hour[0] >= 2700, "more than two tries in 45 minutes: {tries:?}");
    }
}

/// The hours that a refused login waits are for the secret that was refused.
#[test]
fn a_new_secret_is_tried_at_once() {
    let (server, sink) = (Dovecot::start(), Sink::lmtp());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let write = |secret: &str| {
        std::fs::write(&file, secret).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("battery-staple");
    server.put("u", b"Subject: one\r\n\r\none\r\n");
    let collector = CollectorYaml::imap(&server, "u").forward_to("anna@example.org");
    let text = config(&sink.delivery(), &[collector]).replace(&format!("{{env: {PASSWORD_VARIABLE}}}"), &format!("{{file: '{}'}}", file.display()));
    let program = Mailgather::new(&text);
    let mut daemon = program.run();
    let refused = daemon.wait_for("session_failed");
    assert!(refused.contains("MG-203"), "{refused}");
    write(PASSWORD);
    sink.wait_for(1);
    daemon.wait_for("session_finished");
    assert!(!daemon.log().iter().any(|line| line.contains("battery-staple") || line.contains(PASSWORD)), "{:?}", daemon.log());

    // A request is one more try, whatever the wait.
    write("battery-staple-2");
    daemon.signal(Signal::USR1);
    daemon.wait_for("session_failed");
    daemon.signal(Signal::USR1);
    daemon.wait_for("session_failed");
    daemon.stop().expect_success();
    assert_eq!(sink.taken().len(), 1);
}
