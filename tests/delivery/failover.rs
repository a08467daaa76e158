//! Several targets, fail-over, the circuit breaker, DSN and 8BITMIME, against scripted servers.

use crate::deliver_kit::{delivery, envelope, message, no_password, relay, word, words};
use crate::smtp_peer::{Act, Server, Step, say};
use mailgather::config::{Delivery, Endpoint, Otherwise, Relay};
use mailgather::deliver::Destination;
use mailgather::deliver::smtp::{Limits, SmtpDestination};
use mailgather::mail::*;
use mailgather::proto::smtp::Protocol;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The breaker's first wait in these tests.
const WAIT: Duration = Duration::from_millis(800);

const LIMITS: Limits = Limits { failure_memory: Duration::ZERO, breaker_wait: WAIT, quit: Duration::from_millis(500), ..Limits::DEFAULT };

async fn listening(servers: &[&Server]) -> Relay {
    let mut endpoints = Vec::new();
    for server in servers {
        endpoints.push(Endpoint::Tcp { host: "127.0.0.1".into(), port: server.listen().await });
    }
    Relay { endpoints, ..relay(Endpoint::Unix("/nonexistent".into())) }
}

fn destination(relay: Relay, delivery: &Delivery) -> SmtpDestination {
    SmtpDestination::with_limits(relay, Protocol::Smtp, delivery, no_password(), LIMITS)
}

async fn to(servers: &[&Server]) -> SmtpDestination {
    destination(listening(servers).await, &delivery())
}

async fn send(destination: &SmtpDestination, uid: u32, recipients: &[&str]) -> Vec<Outcome> {
    destination.deliver(&envelope(recipients), &message(uid, "Subject: t\r\n\r\nhello\r\n")).await
}

async fn one(destination: &SmtpDestination) -> String {
    word(&send(destination, 1, &["a@y.example"]).await[0])
}

/// A server that does something else at one step as long as the switch is on.
fn switched(step: Step, act: Act) -> (Server, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(true));
    let server = Server::new(false).rule({
        let broken = broken.clone();
        move |seen| (seen.step == step && broken.load(Ordering::SeqCst)).then(|| act.clone())
    });
    (server, broken)
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered(reply) => reply.to_string(),
        Outcome::Deferred(d) | Outcome::Rejected(d) | Outcome::Unknown(d) => d.to_string(),
    }
}

/// Only where nothing was handed over, and nothing was said about the message, the next one is asked.
#[tokio::test]
async fn the_next_target_is_asked_when_the_first_fails_as_a_whole() {
    let whole: [(Step, &str); 8] = [
        (Step::Banner, "554 no service\r\n"),
        (Step::Banner, "421 too busy\r\n"),
        (Step::Banner, ""),
        (Step::Hello, "550 who are you\r\n"),
        (Step::Mail, "421 going down\r\n"),
        (Step::Mail, "530 5.7.0 log in first\r\n"),
        (Step::Rcpt, "421 going down\r\n"),
        (Step::Data, ""),
    ];
    for (step, said) in whole {
        let act = if said.is_empty() { Act::Close } else { Act::Say(said.into()) };
        let (first, _) = switched(step, act);
        let second = Server::new(false);
        let destination = to(&[&first, &second]).await;
        assert_eq!(one(&destination).await, "Delivered", "{step:?} {said:?}");
        assert_eq!((first.log().taken.len(), second.log().taken.len()), (0, 1));
    }
    let about_the_message = [
        (Step::Mail, "451 later\r\n", "Deferred Message"),
        (Step::Mail, "550 no\r\n", "Rejected Message"),
        (Step::Rcpt, "450 greylisted\r\n", "Deferred Recipient"),
        (Step::Rcpt, "550 5.1.1 who?\r\n", "Rejected Recipient"),
        (Step::Data, "451 later\r\n", "Deferred Message"),
        (Step::Dot, "451 later\r\n", "Deferred Message"),
        (Step::Dot, "554 spam\r\n", "Rejected Message"),
        (Step::Dot, "421 going down\r\n", "Deferred Message"),
        (Step::Dot, "", "Unknown"),
        (Step::Dot, "garbage\r\n", "Unknown"),
    ];
    for (step, said, expected) in about_the_message {
        let act = if said.is_empty() { Act::Close } else { Act::Say(said.into()) };
        let (first, _) = switched(step, act);
        let second = Server::new(false);
        let destination = to(&[&first, &second]).await;
        assert_eq!(one(&destination).await, expected, "{step:?} {said:?}");
        assert_eq!(second.connections(), 0, "{step:?} {said:?}");
    }
    // One recipient has it, the other one's transaction breaks: no other server is asked for either.
    let first = Server::new(false).rule(|seen| (seen.step == Step::Mail && seen.nth > 0).then_some(Act::Close));
    let second = Server::new(false);
    let destination = destination(listening(&[&first, &second]).await, &Delivery { max_recipients: 1, ..delivery() });
    assert_eq!(words(&send(&destination, 1, &["a@y.example", "b@y.example"]).await)[0], "Delivered");
    assert_eq!(second.connections(), 0);
}

#[tokio::test]
async fn all_targets_fail() {
    let (first, _) = switched(Step::Banner, Act::Say("554 no\r\n".into()));
    let (second, _) = switched(Step::Hello, Act::Say("421 busy\r\n".into()));
    let destination = to(&[&first, &second]).await;
    for tries in 1..=3 {
        assert_eq!(destination.down(), None);
        let outcomes = send(&destination, 1, &["a@y.example", "b@y.example"]).await;
        assert_eq!(words(&outcomes), ["Deferred Target", "Deferred Target"]);
        // Both reasons are told.
        let told = text(&outcomes[0]);
        assert!(told.contains("554 no") && told.contains("421 busy") && told.matches("smtp 127.0.0.1:").count() == 2, "{told}");
        assert_eq!((first.connections(), second.connections()), (tries, tries));
    }
    let reason = destination.down().unwrap();
    assert!(reason.contains("554 no") && reason.contains("421 busy") && reason.ends_with("; next try in 1 s"), "{reason}");
    // Nobody is asked now.
    let outcomes = send(&destination, 1, &["a@y.example"]).await;
    assert!(word(&outcomes[0]) == "Deferred Target" && text(&outcomes[0]).contains("next try in"), "{}", text(&outcomes[0]));
    assert_eq!((first.connections(), second.connections()), (3, 3));
}

#[tokio::test]
async fn a_target_that_fails_is_left_alone_and_comes_back() {
    let (first, broken) = switched(Step::Banner, Act::Say("554 no\r\n".into()));
    let second = Server::new(false);
    let destination = to(&[&first, &second]).await;
    for _ in 0..10 {
        assert_eq!(one(&destination).await, "Delivered");
        assert_eq!(destination.down(), None, "the second works");
    }
    assert_eq!((first.connections(), second.connections()), (3, 1));
    // Its time is over: one delivery tries, and the message arrives all the same.
    tokio::time::sleep(WAIT).await;
    for _ in 0..5 {
        assert_eq!(one(&destination).await, "Delivered");
    }
    assert_eq!(first.connections(), 4);
    broken.store(false, Ordering::SeqCst);
    tokio::time::sleep(WAIT).await;
    assert_eq!(one(&destination).await, "Delivered");
    assert_eq!(first.connections(), 4, "the wait has doubled");
    tokio::time::sleep(WAIT).await;
    for _ in 0..5 {
        assert_eq!(one(&destination).await, "Delivered");
    }
    assert_eq!((first.log().taken.len(), second.log().taken.len()), (5, 16));
}

#[tokio::test]
async fn a_reply_says_which_of_several_servers_gave_it() {
    let (first, _broken) = switched(Step::Banner, Act::Say("554 no\r\n".into()));
    let second = Server::new(false).rule(|seen| if seen.line.contains("<no") { say("550 5.1.1 no\r\n") } else { None });
    let destination = to(&[&first, &second]).await;
    let name = destination.name();
    let (_, second_name) = name.split_once(", ").unwrap();
    for outcome in send(&destination, 1, &["a@y.example", "no@y.example"]).await {
        assert_eq!(outcome.reply().unwrap().by.as_deref(), Some(second_name), "{outcome:?}");
    }
    let alone = to(&[&Server::new(false)]).await;
    assert_eq!(send(&alone, 1, &["a@y.example"]).await[0].reply().unwrap().by, None);
}

/// Half open: the others wait for the one that tries, so that a pass goes on where the target is back.
#[tokio::test]
async fn one_delivery_tries_and_the_others_wait_for_it() {
    let (server, broken) = switched(Step::Banner, Act::Say("554 no\r\n".into()));
    let destination = Arc::new(to(&[&server]).await);
    for _ in 0..3 {
        assert_eq!(one(&destination).await, "Deferred Target");
    }
    assert!(destination.down().is_some());
    let together = |destination: &Arc<SmtpDestination>| {
        let deliveries: Vec<_> = (0..20)
            .map(|_| {
                tokio::spawn({
                    let d = destination.clone();
                    async move { one(&d).await }
                })
            })
            .collect();
        async move { futures_util::future::join_all(deliveries).await.into_iter().map(Result::unwrap).collect::<Vec<_>>() }
    };
    tokio::time::sleep(WAIT).await;
    assert_eq!(destination.down(), None, "a pass may begin");
    assert_eq!(together(&destination).await, ["Deferred Target"; 20]);
    assert_eq!(server.connections(), 4, "only one of them tried");
    broken.store(false, Ordering::SeqCst);
    tokio::time::sleep(2 * WAIT).await;
    assert_eq!(together(&destination).await, ["Delivered"; 20]);
    // One that is dropped while it tries leaves its turn to the others.
    let (silent, hangs) = switched(Step::Banner, Act::Silence);
    let limits = Limits { greeting: Duration::from_millis(500), ..LIMITS };
    let relay = listening(&[&silent]).await;
    let destination = Arc::new(SmtpDestination::with_limits(relay, Protocol::Smtp, &delivery(), no_password(), limits));
    for _ in 0..3 {
        assert_eq!(one(&destination).await, "Deferred Target");
    }
    tokio::time::sleep(WAIT).await;
    assert!(tokio::time::timeout(Duration::from_millis(20), one(&destination)).await.is_err());
    hangs.store(false, Ordering::SeqCst);
    assert_eq!(one(&destination).await, "Delivered");
}

/// Resolution rules, section 7: relaying denied for more than three different recipients.
#[tokio::test]
async fn a_server_that_refuses_everybody_is_left_alone() {
    let refusing = Arc::new(AtomicBool::new(true));
    let server = Server::new(false).rule({
        let refusing = refusing.clone();
        move |seen| if seen.step == Step::Rcpt && refusing.load(Ordering::SeqCst) { say("554 5.7.1 Relay access denied\r\n") } else { None }
    });
    let destination = to(&[&server]).await;
    // A single message that nobody wants says nothing about the target, however many its recipients.
    let five = ["a@y.example", "b@y.example", "c@y.example", "d@y.example", "e@y.example"];
    assert_eq!(words(&send(&destination, 1, &five).await), ["Rejected Message"; 5]);
    assert_eq!(destination.down(), None);
    // The second one shows that it is not the message.
    assert_eq!(words(&send(&destination, 2, &["f@y.example"]).await), ["Deferred Target"]);
    assert!(destination.down().unwrap().contains("seems not to accept mail from this host"), "{:?}", destination.down());
    refusing.store(false, Ordering::SeqCst);
    assert_eq!(words(&send(&destination, 3, &["f@y.example"]).await), ["Deferred Target"]);
    tokio::time::sleep(WAIT).await;
    assert_eq!(words(&send(&destination, 3, &["f@y.example"]).await), ["Delivered"]);
    assert_eq!(destination.down(), None);

    // Different messages, one recipient each: the fourth in a row, but not if one is accepted in between.
    let server = Server::new(false).rule(|seen| if seen.line.contains("<no") { say("550 5.7.1 no\r\n") } else { None });
    let destination = to(&[&server]).await;
    for (uid, recipient, expected) in [
        (1, "no1", "Rejected Message"),
        (2, "no2", "Rejected Message"),
        (3, "no2", "Rejected Message"),
        (4, "no3", "Rejected Message"),
        (5, "yes", "Delivered"),
        (6, "no4", "Rejected Message"),
        (7, "no5", "Rejected Message"),
        (8, "no6", "Rejected Message"),
        (9, "no7", "Deferred Target"),
        (10, "yes", "Deferred Target"),
    ] {
        assert_eq!(words(&send(&destination, uid, &[&format!("{recipient}@y.example")]).await), [expected], "{uid} {recipient}");
    }
    // What is said about the sender is about nobody else.
    for refusal in [
        "554 5.7.1 <s@x.example>: Sender address rejected: Access denied\r\n",
        "550 5.1.8 no such domain\r\n",
        "554 5.7.1 S@X.example is blocked\r\n",
    ] {
        let server = Server::new(false).rule(move |seen| if seen.line.contains("<no") { say(refusal) } else { None });
        let destination = to(&[&server]).await;
        for uid in 1..=6 {
            assert_eq!(words(&send(&destination, uid, &[&format!("no{uid}@y.example")]).await), ["Rejected Message"], "{refusal}");
        }
        assert_eq!(words(&send(&destination, 9, &["yes@y.example"]).await), ["Delivered"], "{refusal}");
    }
    // When the time is over the count begins anew: one that is never wanted does not come first for ever.
    tokio::time::sleep(WAIT).await;
    assert_eq!(words(&send(&destination, 9, &["no7@y.example"]).await), ["Rejected Message"]);
    assert_eq!(words(&send(&destination, 10, &["yes@y.example"]).await), ["Delivered"]);
}

fn line_of(server: &Server, step: Step) -> Vec<String> {
    server.log().steps.into_iter().filter(|seen| seen.step == step).map(|seen| seen.line).collect()
}

#[tokio::test]
async fn nobody_is_to_be_told() {
    for (offered, suppress, mail, rcpt) in [
        ("DSN", true, "MAIL FROM:<s@x.example> RET=HDRS", "RCPT TO:<a@y.example> NOTIFY=NEVER"),
        ("DSN", false, "MAIL FROM:<s@x.example>", "RCPT TO:<a@y.example>"),
        ("X", true, "MAIL FROM:<s@x.example>", "RCPT TO:<a@y.example>"),
    ] {
        let server = Server::new(false).extensions(&[offered]);
        let destination = destination(listening(&[&server]).await, &Delivery { suppress_dsn: suppress, ..delivery() });
        assert_eq!(one(&destination).await, "Delivered");
        assert_eq!((line_of(&server, Step::Mail), line_of(&server, Step::Rcpt)), (vec![mail.to_owned()], vec![rcpt.to_owned()]));
    }
}

#[tokio::test]
async fn eight_bit_content_without_8bitmime() {
    for (offered, held, body, expected) in [
        ("X", true, "\u{e4}\r\n", "Rejected Message"),
        ("X", true, "a\r\n", "Delivered"),
        ("8BITMIME", true, "\u{e4}\r\n", "Delivered"),
        ("X", false, "\u{e4}\r\n", "Delivered"),
    ] {
        let server = Server::new(false).extensions(&[offered]);
        let eight_bit = if held { Otherwise::Hold } else { Otherwise::Deliver };
        let destination = destination(listening(&[&server]).await, &Delivery { eight_bit, ..delivery() });
        let outcomes = destination.deliver(&envelope(&["a@y.example"]), &message(1, body)).await;
        assert_eq!(words(&outcomes), [expected], "{offered} {held} {body:?}");
        if expected == "Rejected Message" {
            assert!(text(&outcomes[0]).contains("8BITMIME"), "{}", text(&outcomes[0]));
            assert_eq!(server.count(Step::Mail), 0);
        } else {
            assert!(server.log().taken[0].1.ends_with(body.as_bytes()));
        }
    }
}
