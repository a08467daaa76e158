//! XCLIENT against scripted servers: who is told what, and that no connection serves a message of another client. Real ones are in `smtp_real.rs`.

use crate::deliver_kit::{delivery, envelope, local, message, no_password, word};
use crate::smtp_peer::{Act, Server, Step, say};
use mailgather::config::Delivery;
use mailgather::deliver::Destination;
use mailgather::deliver::smtp::{Limits, SmtpDestination};
use mailgather::mail::*;
use mailgather::proto::smtp::Protocol;
use std::time::Duration;

const LIMITS: Limits = Limits { failure_memory: Duration::ZERO, ..Limits::DEFAULT };

async fn open(server: &Server, delivery: &Delivery) -> SmtpDestination {
    SmtpDestination::with_limits(local(server.listen().await), Protocol::Smtp, delivery, no_password(), LIMITS)
}

const XCLIENT: &[&str] = &["PIPELINING", "XCLIENT NAME ADDR PROTO HELO"];

fn client(ip: &str, helo: Option<&str>) -> Option<Client> {
    Some(Client { ip: ip.parse().unwrap(), name: None, helo: helo.map(|helo| helo.parse().unwrap()), esmtp: true })
}

async fn send_from(destination: &SmtpDestination, client: Option<Client>) -> String {
    let envelope = Envelope { client, ..envelope(&["a@y.example"]) };
    word(&destination.deliver(&envelope, &message(1, "Subject: t\r\n\r\nhello\r\n")).await[0])
}

async fn with_xclient(server: &Server) -> SmtpDestination {
    open(server, &Delivery { xclient: true, ..delivery() }).await
}

/// Connection, and what was said on it: `0 EHLO relay.example`.
fn dialogue(server: &Server) -> Vec<String> {
    server
        .log()
        .steps
        .iter()
        .filter(|seen| matches!(seen.step, Step::Hello | Step::Xclient | Step::Mail))
        .map(|seen| format!("{} {}", seen.connection, seen.line))
        .collect()
}

#[tokio::test]
async fn the_server_is_told_the_real_client() {
    let server = Server::new(false).extensions(XCLIENT);
    let destination = with_xclient(&server).await;
    for client in [
        client("192.0.2.1", Some("first.example")),
        client("192.0.2.1", Some("first.example")),
        client("2001:db8::2", None),
        None,
        client("192.0.2.3", None),
    ] {
        assert_eq!(send_from(&destination, client).await, "Delivered");
    }
    let mail = "MAIL FROM:<s@x.example>";
    assert_eq!(
        dialogue(&server),
        [
            "0 EHLO relay.example",
            "0 XCLIENT ADDR=192.0.2.1 NAME=[UNAVAILABLE] PROTO=ESMTP HELO=first.example",
            "0 EHLO first.example",
            &format!("0 {mail}"),
            // The same client needs no word; another one does.
            &format!("0 {mail}"),
            "0 XCLIENT ADDR=IPV6:2001:db8::2 NAME=[UNAVAILABLE] PROTO=ESMTP HELO=[UNAVAILABLE]",
            "0 EHLO relay.example",
            &format!("0 {mail}"),
            // No client: a connection that is ours alone.
            "1 EHLO relay.example",
            &format!("1 {mail}"),
            "1 XCLIENT ADDR=192.0.2.3 NAME=[UNAVAILABLE] PROTO=ESMTP HELO=[UNAVAILABLE]",
            "1 EHLO relay.example",
            &format!("1 {mail}"),
        ]
    );
    // The provider's inside is nobody's client.
    let inside = Server::new(false).extensions(XCLIENT);
    let to_inside = with_xclient(&inside).await;
    assert_eq!(send_from(&to_inside, client("10.0.0.1", None)).await, "Delivered");
    assert_eq!(send_from(&to_inside, client("::ffff:127.0.0.1", None)).await, "Delivered");
    assert_eq!(inside.count(Step::Xclient), 0);
    // Switched off it is not said, and not where it is not offered.
    let server = Server::new(false).extensions(XCLIENT);
    assert_eq!(send_from(&open(&server, &delivery()).await, client("192.0.2.1", None)).await, "Delivered");
    let without = Server::new(false);
    let destination = with_xclient(&without).await;
    for _ in 0..2 {
        assert_eq!(send_from(&destination, client("192.0.2.1", None)).await, "Delivered");
    }
    assert_eq!((server.count(Step::Xclient), without.count(Step::Xclient), without.connections()), (0, 0, 1));
}

#[tokio::test]
async fn a_connection_is_never_one_of_another_client() {
    let one_only = Delivery { xclient: true, max_connections: 1, ..delivery() };
    let server = Server::new(false).extensions(XCLIENT);
    let destination = open(&server, &one_only).await;
    // With one connection at most, the told one gives way to one of our own.
    for who in [client("192.0.2.1", None), None, client("192.0.2.1", None), None] {
        assert_eq!(send_from(&destination, who).await, "Delivered");
    }
    let said: Vec<String> = dialogue(&server).into_iter().filter(|line| !line.contains("EHLO")).collect();
    let xclient = "XCLIENT ADDR=192.0.2.1 NAME=[UNAVAILABLE] PROTO=ESMTP HELO=[UNAVAILABLE]";
    let mail = "MAIL FROM:<s@x.example>";
    assert_eq!(
        said,
        [format!("0 {xclient}"), format!("0 {mail}"), format!("1 {mail}"), format!("1 {xclient}"), format!("1 {mail}"), format!("2 {mail}")]
    );
}

#[tokio::test]
async fn a_refused_xclient() {
    let first = || client("192.0.2.1", None);
    // It may not: not asked again, and mail goes on, over the same connection.
    let server = Server::new(false)
        .extensions(XCLIENT)
        .rule(|seen| if seen.step == Step::Xclient { say("550 5.7.1 insufficient authorization\r\n") } else { None });
    let destination = with_xclient(&server).await;
    for _ in 0..3 {
        assert_eq!(send_from(&destination, first()).await, "Delivered");
    }
    assert_eq!((server.count(Step::Xclient), server.connections()), (1, 1));

    // It does not want that client: this message goes over a connection of our own; the next client is told.
    for refusal in ["554 5.7.1 client host rejected\r\n", "hello"] {
        let server = Server::new(false).extensions(XCLIENT).rule(move |seen| match (seen.step, refusal) {
            (Step::Xclient, said) if seen.line.contains("192.0.2.1") && said != "hello" => say(said),
            (Step::Hello, "hello") if seen.connection == 0 && seen.nth == 1 => say("550 5.7.1 helo rejected\r\n"),
            _ => None,
        });
        let destination = with_xclient(&server).await;
        assert_eq!(send_from(&destination, first()).await, "Delivered", "{refusal}");
        let mail: Vec<usize> = server.log().steps.iter().filter(|seen| seen.step == Step::Mail).map(|seen| seen.connection).collect();
        assert_eq!(mail, [1], "{refusal}");
        assert_eq!(send_from(&destination, client("192.0.2.2", None)).await, "Delivered");
        assert_eq!(server.count(Step::Xclient), 2);
    }
    // Not now: this message waits, the target is not to blame; what cannot be understood is the target's.
    for (said, expected) in [("451 4.7.1 later\r\n", "Deferred Message"), ("250 fine\r\n", "Deferred Target"), ("garbage\r\n", "Deferred Target")] {
        let server = Server::new(false).extensions(XCLIENT).rule(move |seen| if seen.step == Step::Xclient { say(said) } else { None });
        let destination = with_xclient(&server).await;
        assert_eq!(send_from(&destination, first()).await, expected, "{said}");
        assert_eq!((server.count(Step::Mail), send_from(&destination, None).await.as_str()), (0, "Delivered"), "{said}");
    }
    // A resting connection died: noticed at XCLIENT, and another one is opened.
    let server = Server::new(false).extensions(XCLIENT).rule(|seen| (seen.step == Step::Xclient && seen.connection == 0).then_some(Act::Close));
    let destination = with_xclient(&server).await;
    assert_eq!(send_from(&destination, None).await, "Delivered");
    assert_eq!(send_from(&destination, first()).await, "Delivered");
    assert_eq!(server.connections(), 2);
}

/// A server that is told the real client judges that one: blocked senders must not stop everybody's mail.
#[tokio::test]
async fn refusals_of_a_client_are_not_refusals_of_us() {
    let server = Server::new(false)
        .extensions(XCLIENT)
        .rule(|seen| if seen.step == Step::Rcpt && seen.line.contains("blocked") { say("554 5.7.1 Client host blocked\r\n") } else { None });
    let destination = with_xclient(&server).await;
    for n in 1..=6 {
        let envelope = Envelope { client: client("192.0.2.66", None), ..envelope(&[&format!("blocked{n}@y.example")]) };
        let outcomes = destination.deliver(&envelope, &message(n, "Subject: t\r\n\r\nhello\r\n")).await;
        assert_eq!(word(&outcomes[0]), "Rejected Message", "{n}");
    }
    assert_eq!((send_from(&destination, client("192.0.2.1", None)).await.as_str(), destination.down()), ("Delivered", None));
}
