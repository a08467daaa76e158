//! A mailbox that refuses whatever token: how often it and the server of tokens are asked, and that somebody's signing in is worth a try at once.

use crate::kit::{Kit, secret_file, signed_in};
use crate::token_server::{CLIENT, Instead};
use async_trait::async_trait;
use mailgather::collect::Stop;
use mailgather::collect::asks::Asks;
use mailgather::config::{Environment, load};
use mailgather::oauth::Keeper;
use mailgather::service::Installation;
use mailgather::source::{Renewing, Session, Source, SourceError, SourceErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The end of a day that is wrong.
const TRIES_MAX: usize = 50;

/// Asks for a token, and refuses it.
struct Refusing {
    keeper: Arc<Keeper>,
    logins: Arc<AtomicUsize>,
}

#[async_trait]
impl Source for Refusing {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.keeper.token().await.map_err(|error| SourceError::no_secret("h.example", error))?;
        self.logins.fetch_add(1, Ordering::Relaxed);
        Err(SourceError::new(SourceErrorKind::Auth, "login", "h.example", "the server refuses the token"))
    }
}

/// The same for a collector, until a day of its clock is over.
struct Day<T> {
    begun: Instant,
    tries: Arc<Mutex<Vec<Duration>>>,
    stop: Stop,
    login: Arc<T>,
}

#[async_trait]
impl<T: Fn(usize) -> SourceError + Send + Sync + 'static> Source for Day<T> {
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        let now = self.begun.elapsed();
        let is_over = now > Duration::from_secs(24 * 3600) || self.tries.lock().unwrap().len() >= TRIES_MAX;
        if is_over {
            self.stop.request();
            return Err(SourceError::new(SourceErrorKind::Auth, "login", "h.example", "the day is over"));
        }
        let number = {
            let mut tries = self.tries.lock().unwrap();
            tries.push(now);
            tries.len()
        };
        let login = Arc::clone(&self.login);
        // The collector's clock stands still meanwhile: the server of tokens answers by that of the machine.
        Err(tokio::task::spawn_blocking(move || login(number)).await.unwrap())
    }
}

/// Collects for a day, which passes in no time, with this in place of each login; when it was tried, in seconds.
fn day(kit: &Kit, login: impl Fn(usize) -> SourceError + Send + Sync + 'static) -> Vec<u64> {
    let env = Environment { state_dir: Some(kit.program.state_dir()), ..Environment::default() };
    let loaded = load(&kit.program.config_file(), &env).unwrap_or_else(|report| panic!("{report}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let tries: Arc<Mutex<Vec<Duration>>> = Arc::default();
    runtime.block_on(async {
        let installation = Installation::open(&loaded.config).await.unwrap();
        let mut worker = installation.worker(loaded.config.collectors.values().next().unwrap());
        let stop = Stop::new();
        worker.source = Box::new(Day { begun: Instant::now(), tries: Arc::clone(&tries), stop: stop.clone(), login: Arc::new(login) });
        worker.run(&stop, &Asks::default(), Duration::ZERO).await;
    });
    let tries = tries.lock().unwrap();
    tries.iter().map(Duration::as_secs).collect()
}

/// What opens the mailbox with the tokens of the kit's collector, and how often it has logged in.
fn refusing(keeper: Arc<Keeper>) -> (impl Fn() -> SourceError + Send + Sync + 'static, Arc<AtomicUsize>) {
    let logins = Arc::new(AtomicUsize::new(0));
    let source = Renewing::new(Box::new(Refusing { keeper: Arc::clone(&keeper), logins: Arc::clone(&logins) }), keeper);
    let open = move || tokio::runtime::Runtime::new().unwrap().block_on(source.open()).err().unwrap();
    (open, logins)
}

#[test]
fn f51_tokens_that_we_renew_ourselves_are_no_reason_to_log_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let program = Kit::new(&format!("client_id: {CLIENT}, client_secret: {}, token_url: '{{tokens}}/token'", secret_file(folder.path())));
    let ((person, _files), (rotating, _more_files)) = (signed_in(""), signed_in(""));
    rotating.tokens.state().rotates = true;
    for (flow, kit) in [("a program", program), ("a person", person), ("rotated", rotating)] {
        let before = kit.tokens.questions();
        let (open, logins) = refusing(kit.keeper());
        let tries = day(&kit, move |_| open());
        // As with a wrong password: 15 minutes, doubling to six hours.
        assert!((7..=8).contains(&tries.len()), "{flow}: {tries:?}");
        // One login with the token that is there, and one with another.
        let (logins, questions) = (logins.load(Ordering::Relaxed), kit.tokens.questions() - before);
        assert!(logins <= 2 * tries.len() && questions == tries.len(), "{flow}: {logins} {questions} {tries:?}");
    }
}

#[test]
fn f51_a_client_secret_that_has_expired_is_not_shown_for_ever() {
    let (kit, _files) = signed_in("");
    let mut kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(kit.file()).unwrap()).unwrap();
    kept["expires"] = kept["granted"].clone();
    std::fs::write(kit.file(), kept.to_string()).unwrap();
    let before = kit.tokens.questions();
    kit.tokens.next(&vec![Instead::Error("invalid_client"); 1000]);
    let (id, oauth) = (kit.keeper().collector().clone(), Arc::clone(kit.keeper().oauth()));
    // A new keeper has no pause after the last refusal: it would be by the machine's clock, and not by the collector's.
    let tries = day(&kit, move |_| refusing(Arc::new(Keeper::new(&id, &oauth))).0());
    assert!((7..=8).contains(&tries.len()), "{tries:?}");
    // A refused login asks for another token once more.
    assert!(kit.tokens.questions() - before <= 2 * tries.len(), "{tries:?}");
}

#[test]
fn f51_who_signs_in_during_a_login_that_is_refused_is_heard_at_once() {
    let (kit, _files) = signed_in("");
    let signing = kit.keeper();
    let browser = signing.begin_code("http://127.0.0.1:7/").unwrap();
    let back = kit.tokens.browse(&browser.address);
    let (open, _) = refusing(kit.keeper());
    let tries = day(&kit, move |number| {
        let refused = open();
        if number == 2 {
            tokio::runtime::Runtime::new().unwrap().block_on(signing.finish_code(&browser, &back)).unwrap();
        }
        refused
    });
    assert!(tries[1] >= 900 && tries[2] - tries[1] <= 10 && tries[3] - tries[2] >= 900, "{tries:?}");
}
