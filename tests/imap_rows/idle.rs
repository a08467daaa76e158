//! IDLE: told, not told, and servers that hang, flood, die or lie.

use super::kit::*;
use mailgather::mail::FolderName;
use mailgather::source::{SourceError, SourceErrorKind, Woken};
use std::time::Duration;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// One wait: what came of it, how long it took, what was said.
async fn idle(
    limit: Duration,
    stop: Option<Duration>,
    answer: impl FnMut(&str) -> Vec<Step> + Send + 'static,
) -> (Result<Woken, SourceError>, Duration, Vec<String>) {
    let client = client(server(), None);
    let (mut session, said) = client.inbox("UIDPLUS IDLE", answer).await.unwrap();
    assert!(session.can_idle());
    let start = Instant::now();
    let stop = async move {
        match stop {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    let woken = session.idle(limit, Box::pin(stop)).await;
    let took = start.elapsed();
    if woken.is_ok() {
        // The session can be used.
        said.lock().unwrap().push("|".into());
        session.list(want()).await.unwrap();
        said.lock().unwrap().retain(|command| command != "UID SEARCH UID 1:*");
    }
    (woken, took, heard(&said))
}

/// Answers IDLE so, and all else as usual.
fn idling(steps: impl Fn() -> Vec<Step> + Send + 'static) -> impl FnMut(&str) -> Vec<Step> + Send + 'static {
    move |command| if command == "IDLE" { steps() } else { usual(command) }
}

fn after(wait: Duration, told: &'static str) -> impl FnMut(&str) -> Vec<Step> + Send + 'static {
    idling(move || vec![Step::Say("+ idling\r\n".into()), Step::Wait(wait), Step::Say(told.into())])
}

#[tokio::test(start_paused = true)]
async fn news_wakes_and_nothing_else_does() {
    for news in ["* 4 EXISTS\r\n", "* 1 EXPUNGE\r\n* 3 EXISTS\r\n", "* 1 RECENT\r\n", "* OK still\r\n* 4 EXISTS\r\n"] {
        let (woken, took, said) = idle(HOUR, None, after(minutes(2), news)).await;
        assert_eq!(woken.unwrap(), Woken::Told, "{news}");
        assert!(took >= minutes(2) && took < minutes(3), "{news} {took:?}");
        assert_eq!(said, ["IDLE", "DONE", "|"]);
    }
    for noise in [
        "* OK Still here\r\n",
        "* 1 FETCH (FLAGS (\\Seen))\r\n",
        "* 3 EXISTS\r\n* 0 RECENT\r\n",
        "* 1 EXPUNGE\r\n* 2 EXISTS\r\n",
        "* FLAGS (\\Seen)\r\n",
        "* XYZZY\r\n",
        "* OK [UIDNEXT 10] x\r\n",
    ] {
        let (woken, took, said) = idle(minutes(5), None, after(minutes(2), noise)).await;
        assert_eq!(woken.unwrap(), Woken::Limit, "{noise}");
        assert!(took >= minutes(5) && took < minutes(6), "{noise} {took:?}");
        assert_eq!(said, ["IDLE", "DONE", "|"]);
    }
    // News between IDLE and its `+`, and between DONE and its answer.
    for early in ["* 4 EXISTS\r\n+ idling\r\n", "+ idling\r\n* 4 EXISTS\r\n"] {
        let (woken, took, _) = idle(HOUR, None, idling(move || say(early))).await;
        assert!(woken.unwrap() == Woken::Told && took < minutes(1));
    }
    let (woken, took, said) = idle(HOUR, None, but("DONE", "* 4 EXISTS\r\n@ OK\r\n")).await;
    assert!(woken.unwrap() == Woken::Told && took < minutes(10), "{took:?}");
    assert_eq!(said, ["IDLE", "DONE", "|"]);
}

#[tokio::test(start_paused = true)]
async fn f70_an_idle_is_begun_again_every_nine_minutes() {
    let (woken, took, said) = idle(HOUR, None, usual).await;
    assert_eq!(woken.unwrap(), Woken::Limit);
    assert!(took >= HOUR && took < HOUR + minutes(1), "{took:?}");
    assert_eq!(said.iter().filter(|command| *command == "IDLE").count(), 7, "{said:?}");
    assert_eq!(said.iter().filter(|command| *command == "DONE").count(), 7);
}

/// A provider that cuts what is silent for five minutes: after the second time IDLE is begun again before that.
#[tokio::test(start_paused = true)]
async fn p24_an_idle_that_is_cut_each_time_is_begun_again_sooner() {
    let client = client(server(), None);
    for (session, cut) in [true, true, false].into_iter().enumerate() {
        let script = idling(move || vec![Step::Say("+ idling\r\n".into()), Step::Wait(minutes(5)), Step::Close]);
        let (mut session_with, said) = match cut {
            true => client.inbox("UIDPLUS IDLE", script).await.unwrap(),
            false => client.inbox("UIDPLUS IDLE", usual).await.unwrap(),
        };
        let woken = session_with.idle(HOUR, Box::pin(std::future::pending())).await;
        assert_eq!(woken.is_err(), cut, "{session} {woken:?}");
        let idles = heard(&said).iter().filter(|command| *command == "IDLE").count();
        assert_eq!(idles, if cut { 1 } else { 16 }, "{session}");
        tokio::time::sleep(minutes(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn stop_ends_it_at_once() {
    for (stop, answer) in [(minutes(3), "+ idling\r\n"), (Duration::ZERO, "+ idling\r\n"), (minutes(20), "+ idling\r\n")] {
        let (woken, took, said) = idle(HOUR, Some(stop), but("IDLE", answer)).await;
        assert_eq!(woken.unwrap(), Woken::Stopped);
        assert!(took >= stop && took < stop + Duration::from_secs(1), "{took:?}");
        assert_eq!(said.last().unwrap(), "|");
    }
    // No `+`, hence no DONE: the session is given up.
    let (woken, took, _) = idle(HOUR, Some(Duration::from_secs(1)), but("IDLE", "")).await;
    assert!(woken.unwrap_err().kind == SourceErrorKind::Timeout && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn f70_servers_that_hang_die_or_lie() {
    use SourceErrorKind::*;
    for (answer, done, kind, within) in [
        // The `+` or the answer to DONE does not come.
        ("", "", Timeout, minutes(1)),
        ("+ idling\r\n", "", Timeout, minutes(10)),
        ("+ idling\r\n", "* OK\r\n", Timeout, minutes(10)),
        // It says no, though it offers IDLE.
        ("@ NO not now\r\n", "", Mailbox, minutes(1)),
        ("@ BAD what\r\n", "", Protocol, minutes(1)),
        ("@ OK done\r\n", "", Mailbox, minutes(1)),
        // It ends it by itself.
        ("+ idling\r\n@ OK enough\r\n", "", Closed, minutes(1)),
        ("+ idling\r\n@ NO enough\r\n", "", Mailbox, minutes(1)),
        ("+ idling\r\n* BYE Autologout\r\n", "", Closed, minutes(1)),
        ("+ idling\r\n* BYE Too many connections\r\n", "", Throttled, minutes(1)),
        ("+ idling\r\n", "@ NO no\r\n", Mailbox, minutes(10)),
        ("+ idling\r\n", "* BYE\r\n", Closed, minutes(10)),
        // It is out of step.
        ("+ idling\r\nSubject: x\r\n", "", Protocol, minutes(1)),
        ("+ idling\r\n* 4 FETCH (UID 4 BODY[] {99999999999}\r\n", "", Timeout, minutes(10)),
    ] {
        let script = move |command: &str| match command {
            "IDLE" => say(answer),
            "DONE" => say(done),
            other => usual(other),
        };
        let (woken, took, _) = idle(HOUR, None, script).await;
        assert_eq!(woken.unwrap_err().kind, kind, "{answer}{done}");
        assert!(took < within, "{answer}{done}: {took:?}");
    }
    // The line is closed, or dies in the middle of a word.
    let (woken, ..) = idle(HOUR, None, idling(|| vec![Step::Say("+ idling\r\n".into()), Step::Wait(minutes(1)), Step::Close])).await;
    assert_eq!(woken.unwrap_err().kind, Closed);
    let half = "* 4 EXI";
    let (woken, took, _) = idle(HOUR, None, move |command: &str| match command {
        "IDLE" => vec![Step::Say("+ idling\r\n".into()), Step::Wait(minutes(1)), Step::Say(half.into())],
        "DONE" => vec![],
        other => usual(other),
    })
    .await;
    assert!(woken.unwrap_err().kind == Timeout && took < minutes(10));
}

#[tokio::test(start_paused = true)]
async fn f70_an_exists_storm_is_news_or_an_error() {
    let storm: String = (0..200_000).map(|n| format!("* {} EXISTS\r\n", n % 7 + 4)).collect();
    let (woken, took, _) = idle(HOUR, None, idling(move || vec![Step::Say("+ idling\r\n".into()), Step::Say(storm.clone())])).await;
    assert!(woken.unwrap() == Woken::Told && took < minutes(1));
    // One that does not end, and one that says nothing new.
    for line in ["* 5 EXISTS", "* OK Still here"] {
        let line = format!("{line}{}\r\n", " ".repeat(60_000));
        let storm = line.repeat((66 << 20) / line.len());
        let (woken, ..) = idle(HOUR, None, idling(move || vec![Step::Say("+ idling\r\n".into()), Step::Say(storm.clone())])).await;
        assert_eq!(woken.unwrap_err().kind, SourceErrorKind::Protocol);
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_since_the_listing_is_news() {
    let client = client(server(), None);
    let (mut session, said) = client.inbox("UIDPLUS IDLE", but("UID STORE", "* 4 EXISTS\r\n@ OK\r\n")).await.unwrap();
    session.list(want()).await.unwrap();
    session.dispose(&uids(&[4]), mailgather::source::Disposal::MarkSeen).await.unwrap();
    said.lock().unwrap().clear();
    assert_eq!(session.idle(HOUR, Box::pin(std::future::pending())).await.unwrap(), Woken::Told);
    assert!(heard(&said).is_empty());
    session.list(want()).await.unwrap();
    assert_eq!(session.idle(minutes(1), Box::pin(std::future::pending())).await.unwrap(), Woken::Limit);
    // The EXPUNGE of what we deleted is none.
    let (mut session, _) = client.inbox("UIDPLUS IDLE", but("UID EXPUNGE", "* 1 EXPUNGE\r\n@ OK\r\n")).await.unwrap();
    session.list(want()).await.unwrap();
    session.dispose(&uids(&[4]), mailgather::source::Disposal::Delete).await.unwrap();
    assert_eq!(session.idle(minutes(1), Box::pin(std::future::pending())).await.unwrap(), Woken::Limit);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refused_is_not_asked_again() {
    let client = client(server(), None);
    let (mut session, _) = client.open("UIDPLUS IDLE", but("IDLE", "@ BAD what\r\n")).await.unwrap();
    assert!(!session.can_idle(), "no folder is open");
    session.select(&FolderName::inbox()).await.unwrap();
    assert!(session.can_idle());
    assert!(session.idle(HOUR, Box::pin(std::future::pending())).await.is_err());
    let (session, _) = client.inbox("UIDPLUS IDLE", usual).await.unwrap();
    assert!(!session.can_idle());
    let (session, _) = super::kit::client(server(), None).inbox("UIDPLUS", usual).await.unwrap();
    assert!(!session.can_idle(), "it is not offered");
}
