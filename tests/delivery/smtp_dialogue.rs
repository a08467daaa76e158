//! Delivery by SMTP and LMTP against servers that misbehave in every way we could think of.

use crate::deliver_kit::{delivery, envelope, local, message, no_password, relay, word, words};
use crate::smtp_peer::{Act, Server, Step, say};
use mailgather::config::secret::SecretReader;
use mailgather::config::{Endpoint, Relay, RelayAuth, SecretSource, Tls, TlsMode};
use mailgather::deliver::Destination;
use mailgather::deliver::smtp::{Limits, SmtpDestination};
use mailgather::mail::*;
use mailgather::proto::smtp::Protocol;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
const PATIENT: Limits = Limits {
    connect: Duration::from_secs(10),
    greeting: Duration::from_secs(10),
    command: Duration::from_secs(10),
    data: Duration::from_secs(10),
    block: Duration::from_secs(10),
    final_dot: Duration::from_secs(10),
    quit: Duration::from_millis(500),
    idle: Duration::from_secs(30),
    failure_memory: Duration::ZERO,
    breaker_wait: Duration::from_millis(200),
};

/// For peers that say nothing.
const HASTY: Limits = {
    let soon = Duration::from_millis(300);
    Limits { greeting: soon, command: soon, data: soon, block: soon, final_dot: soon, ..PATIENT }
};

fn protocol(lmtp: bool) -> Protocol {
    if lmtp { Protocol::Lmtp } else { Protocol::Smtp }
}

fn destination(lmtp: bool, relay: Relay) -> SmtpDestination {
    SmtpDestination::with_limits(relay, protocol(lmtp), &delivery(), no_password(), PATIENT)
}

fn hasty(lmtp: bool, relay: Relay) -> SmtpDestination {
    SmtpDestination::with_limits(relay, protocol(lmtp), &delivery(), no_password(), HASTY)
}

async fn to(server: &Server) -> SmtpDestination {
    destination(server.lmtp, local(server.listen().await))
}

fn small() -> Message {
    message(1, "Subject: t\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n")
}

async fn one(destination: &SmtpDestination) -> Outcome {
    let outcomes = destination.deliver(&envelope(&["a@y.example"]), &small()).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.into_iter().next().unwrap()
}

/// The diagnosis of an outcome that is not a delivery, in words.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered(reply) => panic!("delivered: {reply}"),
        Outcome::Deferred(d) | Outcome::Rejected(d) | Outcome::Unknown(d) => d.to_string(),
    }
}

#[tokio::test]
async fn a_message_arrives_as_it_is() {
    for lmtp in [false, true] {
        for extensions in [&["PIPELINING", "8BITMIME", "SIZE"][..], &[]] {
            let server = Server::new(lmtp).extensions(extensions);
            let destination = to(&server).await;
            let outcomes = destination.deliver(&envelope(&["a@y.example", "b@икс.рф"]), &small()).await;
            assert_eq!(words(&outcomes), ["Delivered", "Delivered"]);
            let taken = server.log().taken;
            assert_eq!(taken.len(), 1);
            assert_eq!(taken[0].0, ["<a@y.example>", "<b@xn--h1aev.xn--p1ai>"]);
            assert_eq!(taken[0].1, b"X-Trace: 1\r\nSubject: t\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n");
        }
    }
}

#[tokio::test]
async fn parameters_of_mail_from() {
    let mail_line = |server: &Server| server.log().steps.iter().find(|seen| seen.step == Step::Mail).unwrap().line.clone();
    let eight_bit = message(1, "Subject: t\r\n\r\n\u{e4}\r\n");
    for (offered, line) in [
        (&["8BITMIME", "SIZE 100"][..], "MAIL FROM:<s@x.example> SIZE=30 BODY=8BITMIME"),
        (&["SIZE"], "MAIL FROM:<s@x.example> SIZE=30"),
        (&[""], "MAIL FROM:<s@x.example>"),
    ] {
        let server = Server::new(false).extensions(offered);
        let outcomes = to(&server).await.deliver(&envelope(&["a@y.example"]), &eight_bit).await;
        assert_eq!(words(&outcomes), ["Delivered"]);
        assert_eq!(mail_line(&server), line);
    }
}

#[tokio::test]
async fn smtputf8_is_used_when_needed_and_never_faked() {
    let mixed = envelope(&["a@y.example", "раз@y.example"]);
    let server = Server::new(false).extensions(&["PIPELINING", "8BITMIME", "SMTPUTF8"]);
    assert_eq!(words(&to(&server).await.deliver(&mixed, &small()).await), ["Delivered", "Delivered"]);
    let mail = &server.log().steps.into_iter().find(|seen| seen.step == Step::Mail).unwrap().line;
    assert!(mail.ends_with(" BODY=8BITMIME SMTPUTF8"), "{mail}");

    let switched_off = {
        let mut relay = local(server.listen().await);
        relay.smtputf8 = false;
        destination(false, relay)
    };
    let without = Server::new(true);
    for destination in [switched_off, to(&without).await] {
        let outcomes = destination.deliver(&mixed, &small()).await;
        assert_eq!(words(&outcomes), ["Delivered", "Rejected Recipient"]);
        assert!(told(&outcomes[1]).contains("раз@y.example needs SMTPUTF8"), "{}", told(&outcomes[1]));
        let mut sender = envelope(&["a@y.example"]);
        sender.sender = ReversePath::Address("раз@x.example".parse().unwrap());
        assert_eq!(words(&destination.deliver(&sender, &small()).await), ["Rejected Message"]);
    }
}

#[tokio::test]
async fn a_message_above_size_is_not_sent() {
    let server = Server::new(false).extensions(&["SIZE 10"]);
    let outcomes = to(&server).await.deliver(&envelope(&["a@y.example", "b@y.example"]), &small()).await;
    assert_eq!(words(&outcomes), ["Rejected Message", "Rejected Message"]);
    assert_eq!(server.count(Step::Mail), 0);
}

#[tokio::test]
async fn errors_of_reaching_a_server() {
    // Dovecot's names: host lookup failed, connection refused.
    let lookup = destination(false, relay(Endpoint::Tcp { host: "no-such-host.invalid".into(), port: 25 }));
    let outcome = one(&lookup).await;
    assert_eq!(word(&outcome), "Deferred Target");
    assert!(told(&outcome).contains("cannot resolve"), "{}", told(&outcome));

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let outcome = one(&destination(false, local(closed))).await;
    assert_eq!(word(&outcome), "Deferred Target");
    assert!(told(&outcome).contains("refused"), "{}", told(&outcome));

    let missing = one(&destination(true, relay(Endpoint::Unix("/nonexistent/lmtp".into())))).await;
    assert_eq!(word(&missing), "Deferred Target");

    // A server of the other protocol says so.
    let smtp = Server::new(false);
    let outcome = one(&destination(true, local(smtp.listen().await))).await;
    assert_eq!(word(&outcome), "Deferred Target");
    assert!(told(&outcome).contains("does not speak LMTP"), "{}", told(&outcome));
    let lmtp = Server::new(true);
    let outcome = one(&destination(false, local(lmtp.listen().await))).await;
    assert!(told(&outcome).contains("does not speak SMTP"), "{}", told(&outcome));
}

#[tokio::test]
async fn a_unix_socket_works() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(true);
    server.listen_unix(folder.path().join("lmtp")).await;
    let destination = destination(true, relay(Endpoint::Unix(folder.path().join("lmtp"))));
    assert_eq!(word(&one(&destination).await), "Delivered");
    assert!(destination.name().starts_with("lmtp unix:/"));
}

#[tokio::test]
async fn a_server_that_knows_only_helo() {
    let server = Server::new(false).rule(|seen| if seen.line.starts_with("EHLO") { say("502 5.5.1 no\r\n") } else { None });
    assert_eq!(word(&one(&to(&server).await).await), "Delivered");
    assert_eq!(server.log().steps.iter().find(|seen| seen.step == Step::Mail).unwrap().line, "MAIL FROM:<s@x.example>");
}

/// Faults, row 28 and "a stream cut at every byte": in both directions, by FIN and by RST.
#[tokio::test]
async fn a_dialogue_cut_at_every_octet() {
    for lmtp in [false, true] {
        for extensions in [&["PIPELINING", "SIZE 1000"][..], &["8BITMIME"]] {
            let whole = Server::new(lmtp).extensions(extensions);
            let recipients = ["a@y.example", "b@y.example"];
            let outcomes = to(&whole).await.deliver(&envelope(&recipients), &small()).await;
            assert_eq!(words(&outcomes), ["Delivered", "Delivered"]);
            let log = whole.log();
            for reset in [false, true] {
                for cut in 0..log.written {
                    let mut server = Server::new(lmtp).extensions(extensions);
                    (server.write_max, server.reset) = (cut, reset);
                    let outcomes = to(&server).await.deliver(&envelope(&recipients), &small()).await;
                    // In LMTP the first recipient's answer may be complete and the second's not.
                    let complete = if lmtp && cut >= log.written - "250 2.0.0 saved\r\n".len() { 1 } else { 0 };
                    for (position, outcome) in outcomes.iter().enumerate() {
                        let arrived = !server.log().arrived.is_empty();
                        match outcome {
                            // An RST may overtake the answer, so that even a complete one can be lost.
                            Outcome::Delivered(_) => assert!(position < complete, "cut at {cut} of {}", log.written),
                            Outcome::Unknown(_) => {}
                            Outcome::Deferred(d) => assert!(!arrived, "cut at {cut}: the server has it, and we say {d}"),
                            Outcome::Rejected(d) => panic!("cut at {cut}: {d}"),
                        }
                    }
                }
                for cut in 1..=log.read {
                    let mut server = Server::new(lmtp).extensions(extensions);
                    (server.read_max, server.reset) = (cut, reset);
                    for outcome in to(&server).await.deliver(&envelope(&recipients), &small()).await {
                        assert!(matches!(outcome, Outcome::Deferred(_) | Outcome::Unknown(_)), "cut at {cut}: {outcome:?}");
                    }
                    assert!(server.log().taken.is_empty());
                }
            }
        }
    }
}

#[tokio::test]
async fn one_recipients_failure_is_its_own() {
    for pipelining in [true, false] {
        let server = Server::new(false).extensions(if pipelining { &["PIPELINING"] } else { &[] }).rule(|seen| match (seen.step, seen.nth) {
            (Step::Rcpt, 0) => say("450 4.7.1 greylisted\r\n"),
            (Step::Rcpt, 2) => say("550 5.1.1 unknown\r\n"),
            _ => None,
        });
        let outcomes = to(&server).await.deliver(&envelope(&["a@y.example", "b@y.example", "c@y.example"]), &small()).await;
        assert_eq!(words(&outcomes), ["Deferred Recipient", "Delivered", "Rejected Recipient"]);
        assert_eq!(server.log().taken[0].0, ["<b@y.example>"]);
    }
}

/// RFC 2920 §3.1.
#[tokio::test]
async fn a_354_for_nobody_gets_a_lone_dot() {
    let server = Server::new(false).rule(|seen| match (seen.step, seen.nth) {
        (Step::Rcpt, 0) => say("550 5.1.1 unknown\r\n"),
        (Step::Data, 0) => say("354 go on\r\n"),
        (Step::Dot, 0) => say("554 5.5.1 nobody\r\n"),
        _ => None,
    });
    let destination = to(&server).await;
    assert_eq!(word(&one(&destination).await), "Rejected Recipient");
    assert_eq!(server.log().arrived, [b""]);
    // The replies are still in step.
    assert_eq!(word(&one(&destination).await), "Delivered");
    assert_eq!((server.connections(), server.count(Step::Rset)), (1, 0));

    let server = Server::new(true).rule(|seen| match (seen.step, seen.connection) {
        (Step::Rcpt, 0) => say("550 5.1.1 unknown\r\n"),
        (Step::Data, 0) => say("354 go on\r\n"),
        _ => None,
    });
    let destination = to(&server).await;
    assert_eq!(word(&one(&destination).await), "Rejected Recipient");
    assert_eq!(word(&one(&destination).await), "Delivered");
    assert!(server.log().taken.iter().all(|(recipients, _)| !recipients.is_empty()));
    assert_eq!(server.connections(), 2);
}

/// Faults, row 36.
#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let (good, later, never) = ("250 2.0.0 ok\r\n", "451 4.2.0 later\r\n", "554 5.6.0 never\r\n");
    let cases: [(&str, Vec<&str>, [&str; 2]); 8] = [
        ("mixed", vec![good, later], ["Delivered", "Deferred Recipient"]),
        ("mixed", vec![never, good], ["Rejected Message", "Delivered"]),
        ("full", vec!["552 5.2.2 quota\r\n", good], ["Deferred Recipient", "Delivered"]),
        ("too few, then close", vec![good, "25"], ["Delivered", "Unknown"]),
        ("too few, then silence", vec![later], ["Deferred Recipient", "Unknown"]),
        ("none", vec!["2"], ["Unknown", "Unknown"]),
        ("too many, all the same", vec![good, good, good], ["Delivered", "Delivered"]),
        ("too many, shifted", vec![later, good, later], ["Unknown", "Unknown"]),
    ];
    for (name, replies, expected) in cases {
        let said = replies.concat();
        let server = Server::new(true).rule(move |seen| match (seen.step, seen.nth) {
            (Step::Rcpt, 1) => say("550 5.1.1 unknown\r\n"),
            (Step::Dot, _) => say(&said),
            _ => None,
        });
        let destination = hasty(true, local(server.listen().await));
        let outcomes = destination.deliver(&envelope(&["a@y.example", "b@y.example", "c@y.example"]), &small()).await;
        assert_eq!(words(&outcomes), [expected[0], "Rejected Recipient", expected[1]], "{name}");
    }
}

#[tokio::test]
async fn recipients_are_split() {
    let five: Vec<String> = (0..5).map(|n| format!("r{n}@y.example")).collect();
    let five: Vec<&str> = five.iter().map(String::as_str).collect();
    // By configuration.
    let server = Server::new(false);
    let mut wanted = delivery();
    wanted.max_recipients = 2;
    let destination = SmtpDestination::with_limits(local(server.listen().await), Protocol::Smtp, &wanted, no_password(), PATIENT);
    assert_eq!(words(&destination.deliver(&envelope(&five), &small()).await), ["Delivered"; 5]);
    assert_eq!(server.log().taken.iter().map(|(recipients, _)| recipients.len()).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!((server.connections(), server.count(Step::Rset)), (1, 0));

    // By the server: it takes two at once.
    let taken_now = Arc::new(AtomicUsize::new(0));
    let server = Server::new(false).rule(move |seen| match seen.step {
        Step::Mail => {
            taken_now.store(0, Ordering::SeqCst);
            None
        }
        Step::Rcpt if taken_now.fetch_add(1, Ordering::SeqCst) >= 2 => say("452 4.5.3 too many recipients\r\n"),
        _ => None,
    });
    assert_eq!(words(&to(&server).await.deliver(&envelope(&five), &small()).await), ["Delivered"; 5]);
    assert_eq!(server.log().taken.len(), 3);

    // One that takes none is not asked again and again.
    let server = Server::new(false).rule(|seen| if seen.step == Step::Rcpt { say("452 4.5.3 too many\r\n") } else { None });
    assert_eq!(words(&to(&server).await.deliver(&envelope(&five), &small()).await), ["Deferred Recipient"; 5]);
    assert_eq!(server.count(Step::Mail), 1);
}

#[tokio::test]
async fn connections_are_kept_and_retired() {
    let server = Server::new(false);
    let destination = to(&server).await;
    for _ in 0..5 {
        assert_eq!(word(&one(&destination).await), "Delivered");
    }
    assert_eq!((server.connections(), server.count(Step::Rset), server.count(Step::Quit)), (1, 0, 0));
    destination.rest().await;
    assert_eq!(server.count(Step::Quit), 1);
    assert_eq!(word(&one(&destination).await), "Delivered");
    assert_eq!(server.connections(), 2);

    let server = Server::new(false);
    let mut wanted = delivery();
    wanted.max_messages_per_connection = 2;
    let destination = SmtpDestination::with_limits(local(server.listen().await), Protocol::Smtp, &wanted, no_password(), PATIENT);
    for _ in 0..5 {
        assert_eq!(word(&one(&destination).await), "Delivered");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((server.connections(), server.count(Step::Quit)), (3, 2));

    // RSET only where something was left behind.
    let server = Server::new(false).rule(|seen| if (seen.step, seen.nth) == (Step::Rcpt, 0) { say("550 5.1.1 no\r\n") } else { None });
    let destination = to(&server).await;
    assert_eq!(word(&one(&destination).await), "Rejected Recipient");
    assert_eq!(word(&one(&destination).await), "Delivered");
    assert_eq!(word(&one(&destination).await), "Delivered");
    assert_eq!((server.connections(), server.count(Step::Rset)), (1, 1));

    // A connection that nobody uses is closed by itself.
    let server = Server::new(false);
    let limits = Limits { idle: Duration::from_millis(50), ..PATIENT };
    let destination = SmtpDestination::with_limits(local(server.listen().await), Protocol::Smtp, &delivery(), no_password(), limits);
    assert_eq!(word(&one(&destination).await), "Delivered");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(server.count(Step::Quit), 1);
}

#[tokio::test]
async fn a_resting_connection_that_died_costs_nothing() {
    // The server hangs up behind the first message: noticed before the second is sent.
    let server = Server::new(false).rule(|seen| if seen.step == Step::Dot && seen.connection == 0 { say("250 ok\r\n421 bye\r\n") } else { None });
    let destination = to(&server).await;
    assert_eq!(word(&one(&destination).await), "Delivered");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(word(&one(&destination).await), "Delivered");
    assert_eq!(server.connections(), 2);

    // It answers MAIL with 421, or closes: once more on a fresh connection, and only once.
    for act in [Act::Say("421 4.4.2 idle too long\r\n".into()), Act::Close] {
        for (fails_on, expected) in [(0..1, "Delivered"), (0..9, "Deferred Target")] {
            let act = act.clone();
            let server = Server::new(false).rule(move |seen| {
                let late = seen.nth == 1 || seen.connection > 0;
                (seen.step == Step::Mail && late && fails_on.contains(&seen.connection)).then(|| act.clone())
            });
            let destination = to(&server).await;
            assert_eq!(word(&one(&destination).await), "Delivered");
            assert_eq!(word(&one(&destination).await), expected);
            assert_eq!(server.connections(), 2);
        }
    }
}

#[tokio::test]
async fn no_more_connections_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = {
        let (now, most) = (now.clone(), most.clone());
        Server::new(false).rule(move |seen| {
            match seen.step {
                Step::Mail => drop(most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst)),
                Step::Dot => drop(now.fetch_sub(1, Ordering::SeqCst)),
                _ => {}
            }
            None
        })
    };
    let destination = Arc::new(to(&server).await);
    let deliveries: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn({
                let destination = destination.clone();
                async move { word(&one(&destination).await) }
            })
        })
        .collect();
    for delivered in deliveries {
        assert_eq!(delivered.await.unwrap(), "Delivered");
    }
    assert!(most.load(Ordering::SeqCst) <= 4 && server.connections() <= 4, "{} at once", most.load(Ordering::SeqCst));
    assert_eq!(server.log().taken.len(), 40);
}

#[tokio::test]
async fn a_dead_server_is_not_dialled_for_each_message() {
    let server = Server::new(false).rule(|seen| if seen.step == Step::Banner { say("554 no service\r\n") } else { None });
    let limits = Limits { failure_memory: Duration::from_secs(30), ..PATIENT };
    let destination = SmtpDestination::with_limits(local(server.listen().await), Protocol::Smtp, &delivery(), no_password(), limits);
    for _ in 0..5 {
        let outcome = one(&destination).await;
        assert_eq!(word(&outcome), "Deferred Target");
        assert!(told(&outcome).contains("554 no service"), "{}", told(&outcome));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_large_message_streams_and_an_early_answer_ends_it() {
    let body = "0123456789abcdef.\r\n".repeat(200_000);
    let large = message(1, format!("Subject: large\r\n\r\n{body}"));
    let server = Server::new(true).extensions(&["PIPELINING"]);
    let outcomes = to(&server).await.deliver(&envelope(&["a@y.example"]), &large).await;
    assert_eq!(words(&outcomes), ["Delivered"]);
    assert!(server.log().taken[0].1.ends_with(body.as_bytes()));

    // A server that answers in the middle and reads no further: no deadlock, and a yes to half a message is none.
    for (answer, expected) in [
        ("552 5.3.4 too big\r\n", "Rejected Message"),
        ("451 4.3.0 disk full\r\n", "Deferred Message"),
        ("421 4.3.2 bye\r\n", "Deferred Message"),
        ("250 2.0.0 fine\r\n", "Deferred Message"),
        ("xyz\r\n", "Deferred Message"),
        // What no message can help stays the target's.
        ("530 5.7.0 log in first\r\n", "Deferred Target"),
    ] {
        let mut server = Server::new(false).extensions(&["PIPELINING"]);
        server.deaf_answer = Some(answer.to_owned());
        let begun = Instant::now();
        let outcomes = to(&server).await.deliver(&envelope(&["a@y.example"]), &large).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{answer:?}");
        assert_eq!(words(&outcomes), [expected], "{answer:?}: {outcomes:?}");
        assert!(server.log().arrived.is_empty());
    }
    // More than the buffers of a loopback connection hold.
    let huge = message(1, format!("Subject: huge\r\n\r\n{}", body.repeat(7)));
    // One that hangs up in the middle, and all recipients share that.
    for reset in [false, true] {
        let mut server = Server::new(false).extensions(&["PIPELINING"]);
        (server.read_max, server.reset) = (1024 * 1024, reset);
        let outcomes = to(&server).await.deliver(&envelope(&["a@y.example", "b@y.example"]), &huge).await;
        assert_eq!(words(&outcomes), ["Deferred Message", "Deferred Message"], "{outcomes:?}");
        assert!(server.log().arrived.is_empty());
    }
    // One that stops reading and says nothing at all.
    let mut server = Server::new(false).extensions(&["PIPELINING"]);
    server.deaf_answer = Some(String::new());
    let destination = hasty(false, local(server.listen().await));
    assert_eq!(words(&destination.deliver(&envelope(&["a@y.example"]), &huge).await), ["Deferred Message"]);
}

#[tokio::test]
async fn a_spool_that_cannot_be_read_sends_no_dot() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(300_000).unwrap();
    let mut broken = small();
    // The file is shorter than it should be, as after an I/O error.
    broken.content = Content::Spooled { file: Arc::new(file), start: 0, len: 600_000 };
    let server = Server::new(false);
    let destination = to(&server).await;
    let outcomes = destination.deliver(&envelope(&["a@y.example"]), &broken).await;
    assert_eq!(words(&outcomes), ["Deferred Message"]);
    assert!(told(&outcomes[0]).contains("spool"), "{}", told(&outcomes[0]));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(server.log().arrived.is_empty());
    assert_eq!(word(&one(&destination).await), "Delivered");
}

/// Faults, row 26: an octet at a time is as late as none.
#[tokio::test]
async fn a_slow_peer_meets_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stream.write_all(b"2").await.is_err() {
                return;
            }
        }
    });
    let begun = Instant::now();
    let outcome = one(&hasty(false, local(port))).await;
    assert_eq!(word(&outcome), "Deferred Target");
    assert!(told(&outcome).contains("greeting: no answer in 0.3 s") && begun.elapsed() < Duration::from_secs(2), "{}", told(&outcome));
}

struct Authority {
    folder: tempfile::TempDir,
    acceptor: tokio_rustls::TlsAcceptor,
}

fn authority() -> Authority {
    mailgather::net::install_crypto_provider();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    Authority { folder, acceptor: tokio_rustls::TlsAcceptor::from(Arc::new(config)) }
}

fn starttls(port: u16, ca_folder: &Path) -> Relay {
    let mut relay = relay(Endpoint::Tcp { host: "localhost".into(), port });
    relay.tls = Tls { ca_file: Some(ca_folder.join("ca.pem")), ..Tls::mode(TlsMode::StartTls) };
    relay.auth = Some(RelayAuth { username: "tim".into(), password: SecretSource::Env("UNUSED".into()) });
    relay
}

fn password() -> SecretReader {
    Arc::new(|| Box::pin(async { Ok(Secret::new("tanstaaftanstaaf".into())) }))
}

/// Faults, row 13: without TLS there is no secret and no mail on the wire.
#[tokio::test]
async fn starttls_is_required_and_cannot_be_injected_into() {
    let authority = authority();
    let run = |server: Server| {
        let relay = |port| starttls(port, authority.folder.path());
        async move {
            let destination = SmtpDestination::with_limits(relay(server.listen().await), Protocol::Smtp, &delivery(), password(), PATIENT);
            (one(&destination).await, server)
        }
    };
    let offer = ["PIPELINING", "STARTTLS", "AUTH PLAIN"];
    let mut secured = Server::new(false).extensions(&offer);
    secured.tls = Some(authority.acceptor.clone());

    let (outcome, server) = run(secured.clone()).await;
    assert_eq!(word(&outcome), "Delivered");
    let steps: Vec<Step> = server.log().steps.iter().map(|seen| seen.step).collect();
    assert_eq!(steps[..6], [Step::Banner, Step::Hello, Step::StartTls, Step::Hello, Step::Auth, Step::Mail]);
    assert_eq!(server.log().steps[4].line, "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm");

    let mut fresh = secured.clone().rule(|seen| if seen.step == Step::Auth { say("535 5.7.8 wrong\r\n") } else { None });
    fresh.log = Arc::default();
    let (outcome, server) = run(fresh).await;
    assert_eq!(word(&outcome), "Deferred Target");
    assert_eq!((server.count(Step::Auth), server.count(Step::Mail)), (1, 0));
    assert!(!told(&outcome).contains("tanst"), "{}", told(&outcome));

    // Text behind the 220, in the clear; a refusal; no offer; and a server that offers a login only in the clear.
    let injected = Server::new(false)
        .extensions(&offer)
        .rule(|seen| (seen.step == Step::StartTls).then(|| Act::Say("220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n".into())));
    let mut injected = injected;
    injected.tls = Some(authority.acceptor.clone());
    let refused = Server::new(false).extensions(&offer).rule(|seen| (seen.step == Step::StartTls).then(|| Act::Say("454 4.7.0 not now\r\n".into())));
    let silent = Server::new(false).extensions(&["AUTH PLAIN"]);
    for server in [injected, refused, silent] {
        let (outcome, server) = run(server).await;
        assert_eq!(word(&outcome), "Deferred Target", "{outcome:?}");
        assert!(told(&outcome).starts_with("tls: "), "{}", told(&outcome));
        assert_eq!((server.count(Step::Auth), server.count(Step::Mail)), (0, 0));
    }

    // A login is never sent in the clear, even if the configuration lets TLS be.
    let server = Server::new(false).extensions(&["AUTH PLAIN"]);
    let mut relay = starttls(server.listen().await, authority.folder.path());
    relay.tls.mode = TlsMode::None;
    let outcome = one(&SmtpDestination::with_limits(relay, Protocol::Smtp, &delivery(), password(), PATIENT)).await;
    assert_eq!((word(&outcome).as_str(), server.count(Step::Auth)), ("Deferred Target", 0));
}

/// Resolution rules, section 7: a refused login is never tried again faster than the back-off; servers lock accounts.
#[tokio::test]
async fn a_refused_login_is_not_tried_again_at_once() {
    let authority = authority();
    let mut server = Server::new(false).extensions(&["STARTTLS", "AUTH PLAIN"]).rule(|seen| match seen.step {
        Step::Auth => say("535 5.7.8 wrong\r\n"),
        _ => None,
    });
    server.tls = Some(authority.acceptor.clone());
    let limits = Limits { breaker_wait: Duration::from_secs(30), ..PATIENT };
    let relay = starttls(server.listen().await, authority.folder.path());
    let destination = SmtpDestination::with_limits(relay, Protocol::Smtp, &delivery(), password(), limits);
    for _ in 0..5 {
        assert_eq!(word(&one(&destination).await), "Deferred Target");
    }
    assert_eq!(server.count(Step::Auth), 1);
    let reason = destination.down().unwrap();
    assert!(reason.contains("535 5.7.8 wrong") && reason.ends_with("next try in 30 s"), "{reason}");
}
