//! Delivery to real servers: Postfix by SMTP, Dovecot by LMTP over TCP and a unix socket.

use crate::deliver_kit::{delivery, envelope, local, message, no_password, relay, words};
use crate::support::maildir::{assert_same, field, with_crlf};
use crate::support::{Dovecot, Postfix, SOON, corpus, eventually};
use futures_util::future::join_all;
use mailgather::config::{Delivery, Endpoint, Relay};
use mailgather::deliver::Destination;
use mailgather::deliver::smtp::SmtpDestination;
use mailgather::mail::{Client, Envelope, Outcome, ReversePath};
use mailgather::proto::smtp::Protocol;
use std::collections::BTreeMap;

fn destination(relay: Relay, protocol: Protocol) -> SmtpDestination {
    SmtpDestination::new(relay, protocol, &delivery(), no_password())
}

/// Delivers the whole corpus as it is, not made canonical before, so that the encoder is all that stands between a hostile message and the
/// server; each message carries its name on top.
async fn deliver_corpus(destination: &SmtpDestination, recipient: &str) {
    let corpus = corpus::hostile();
    let deliveries = corpus.iter().enumerate().map(|(uid, (name, raw))| async move {
        let mut envelope = envelope(&[recipient]);
        // The second field is there for the message that starts with a folded line.
        envelope.prefix = format!("X-Mailgather-Case: {name}\r\nX-Mailgather-Trace: 1\r\n").into_bytes();
        // The encoder is safe by itself, but reads the two CRs of CR CR LF as two line ends: that they are one is known where mail comes in.
        let raw = if memchr::memmem::find(raw, b"\r\r\n").is_some() { corpus::canonical(raw) } else { raw.clone() };
        let outcomes = destination.deliver(&envelope, &message(uid as u32, raw)).await;
        assert_eq!(words(&outcomes), ["Delivered"], "{name}: {outcomes:?}");
    });
    join_all(deliveries).await;
}

/// Faults, rows 7 and 9: each message once, none beside them, and its octets as the line-end rule says.
fn check_corpus(stored: Vec<Vec<u8>>) {
    let mut by_name: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for message in stored {
        by_name.entry(field(&message, "X-Mailgather-Case").unwrap_or_else(|| "forged".into())).or_default().push(with_crlf(&message));
    }
    let corpus = corpus::hostile();
    for (name, raw) in &corpus {
        let arrived = by_name.remove(name).unwrap_or_default();
        assert_eq!(arrived.len(), 1, "{name} arrived {} times", arrived.len());
        // Where there is no proper header the name on top becomes one, and servers differ in what they make of the rest.
        if raw.starts_with(b"From: a@remote.example\r\n") && name != "header-line-without-colon" && name != "empty-field-name" {
            assert_same(name, &corpus::canonical(raw), &arrived[0]);
        }
    }
    assert!(by_name.is_empty(), "mail that nobody sent: {:?}", by_name.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_corpus_reaches_postfix() {
    // A field above this limit (100 KiB as it comes) is cut in two.
    let postfix = Postfix::builder().extra("header_size_limit = 1000000").start();
    let destination = destination(local(postfix.port()), Protocol::Smtp);
    deliver_corpus(&destination, "anna@example.org").await;
    let count = corpus::hostile().len();
    eventually("Postfix delivers", SOON, || postfix.count("anna") >= count);
    // A forged message would take the same way.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(postfix.count("postmaster"), 0);
    check_corpus(postfix.messages("anna"));
    assert!(!postfix.log().contains("improper command pipelining"), "{}", postfix.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_corpus_reaches_dovecot() {
    let dovecot = Dovecot::start();
    let by_tcp = destination(local(dovecot.lmtp()), Protocol::Lmtp);
    let by_socket = destination(relay(Endpoint::Unix(dovecot.lmtp_socket())), Protocol::Lmtp);
    deliver_corpus(&by_tcp, "anna@example.org").await;
    deliver_corpus(&by_socket, "vera@example.org").await;
    assert_eq!(dovecot.count("postmaster@example.org"), 0);
    for user in ["anna@example.org", "vera@example.org"] {
        check_corpus(dovecot.messages(user));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_answers_for_each_recipient() {
    let postfix = Postfix::builder().message_size_limit(100_000).start();
    let destination = destination(local(postfix.port()), Protocol::Smtp);
    let recipients = ["anna@example.org", "defer@example.org", "refuse@example.org", "who@example.org", "раз@example.org"];
    let hello = message(1, "Subject: t\r\n\r\nПривет\r\n");
    let outcomes = destination.deliver(&envelope(&recipients), &hello).await;
    assert_eq!(words(&outcomes)[..4], ["Delivered", "Deferred Recipient", "Rejected Recipient", "Rejected Recipient"], "{outcomes:?}");
    assert!(outcomes[4].is_delivered(), "{outcomes:?}");
    // Nobody accepted, then a good one on the same connection.
    let refused = destination.deliver(&envelope(&["refuse@example.org"]), &hello).await;
    assert_eq!(words(&refused), ["Rejected Recipient"]);
    assert_eq!(words(&destination.deliver(&envelope(&["anna@example.org"]), &hello).await), ["Delivered"]);
    let large = message(2, vec![b'x'; 200_000]);
    assert_eq!(words(&destination.deliver(&envelope(&["anna@example.org"]), &large).await), ["Rejected Message"]);
    let mut bounce = envelope(&["anna@example.org"]);
    bounce.sender = ReversePath::Null;
    assert_eq!(words(&destination.deliver(&bounce, &hello).await), ["Delivered"]);
    destination.rest().await;
    eventually("Postfix delivers", SOON, || postfix.count("anna") == 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_answers_for_each_recipient() {
    let dovecot = Dovecot::builder().users(&["anna@example.org", "vera@example.org"]).start();
    let destination = destination(relay(Endpoint::Unix(dovecot.lmtp_socket())), Protocol::Lmtp);
    let hello = message(1, "Subject: t\r\n\r\nПривет\r\n");
    let recipients = ["anna@example.org", "who@example.org", "vera@example.org", "раз@example.org"];
    let outcomes = destination.deliver(&envelope(&recipients), &hello).await;
    assert_eq!(words(&outcomes), ["Delivered", "Rejected Recipient", "Delivered", "Rejected Recipient"], "{outcomes:?}");
    let Outcome::Rejected(diagnosis) = &outcomes[3] else { unreachable!() };
    assert!(diagnosis.text.contains("SMTPUTF8"), "{diagnosis}");
    assert_eq!((dovecot.count("anna@example.org"), dovecot.count("vera@example.org")), (1, 1));
    let wrong = SmtpDestination::new(local(dovecot.lmtp()), Protocol::Smtp, &delivery(), no_password());
    let outcomes = wrong.deliver(&envelope(&["anna@example.org"]), &hello).await;
    assert_eq!(words(&outcomes), ["Deferred Target"], "{outcomes:?}");
}

fn real_client() -> Client {
    Client {
        ip: "192.0.2.77".parse().unwrap(),
        name: Some("mail.sender.example".parse().unwrap()),
        helo: Some("helo.sender.example".parse().unwrap()),
        esmtp: true,
    }
}

/// The target judges and names the client that the provider saw, not us.
#[tokio::test(flavor = "multi_thread")]
async fn postfix_is_told_the_real_client() {
    let blocked = "smtpd_client_restrictions = check_client_access inline:{ {192.0.2.66 = 554 5.7.1 blocked} }";
    let postfix = Postfix::builder().extra("smtpd_authorized_xclient_hosts = 127.0.0.0/8").extra(blocked).extra("inet_protocols = all").start();
    let with_xclient = Delivery { xclient: true, ..delivery() };
    let destination = SmtpDestination::new(local(postfix.port()), Protocol::Smtp, &with_xclient, no_password());
    let hello = message(1, "Subject: t\r\n\r\nПривет\r\n");
    let send = async |client: Option<Client>, recipient: &str| {
        let envelope = Envelope { client, ..envelope(&[recipient]) };
        words(&destination.deliver(&envelope, &hello).await).remove(0)
    };
    assert_eq!(send(Some(real_client()), "anna@example.org").await, "Delivered");
    assert_eq!(send(None, "boris@example.org").await, "Delivered");
    let other = Client { ip: "2001:db8::7".parse().unwrap(), name: None, helo: None, esmtp: false };
    assert_eq!(send(Some(other), "vera@example.org").await, "Delivered");
    // What the target has against the sender's host is about this message.
    let blocked = Client { ip: "192.0.2.66".parse().unwrap(), name: None, ..real_client() };
    assert_eq!(send(Some(blocked), "anna@example.org").await, "Rejected Message");
    eventually("Postfix delivers", SOON, || ["anna", "boris", "vera"].iter().all(|user| postfix.count(user) == 1));
    let received = |user: &str| field(&postfix.messages(user)[0], "Received").unwrap();
    for (user, expected) in [
        ("anna", "from helo.sender.example (mail.sender.example [192.0.2.77])"),
        ("boris", "from relay.example (localhost [127.0.0.1])"),
        ("vera", "from relay.example (unknown [IPv6:2001:db8::7])"),
    ] {
        assert!(received(user).contains(expected), "{user}: {}", received(user));
    }
    eventually("the sender's host is logged", SOON, || postfix.log().contains("client=mail.sender.example[192.0.2.77]"));
    // A Postfix that does not allow it does not offer it, and mail goes on.
    let plain = Postfix::start();
    let destination = SmtpDestination::new(local(plain.port()), Protocol::Smtp, &with_xclient, no_password());
    let envelope = Envelope { client: Some(real_client()), ..envelope(&["anna@example.org"]) };
    assert_eq!(words(&destination.deliver(&envelope, &hello).await), ["Delivered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_is_told_the_real_client() {
    let dovecot = Dovecot::builder().extra("login_trusted_networks = 127.0.0.0/8").start();
    let with_xclient = Delivery { xclient: true, ..delivery() };
    for relay in [local(dovecot.lmtp()), relay(Endpoint::Unix(dovecot.lmtp_socket()))] {
        let destination = SmtpDestination::new(relay, Protocol::Lmtp, &with_xclient, no_password());
        for client in [Some(real_client()), None, Some(real_client())] {
            let envelope = Envelope { client, ..envelope(&["anna@example.org"]) };
            assert_eq!(words(&destination.deliver(&envelope, &message(1, "Subject: t\r\n\r\nhello\r\n")).await), ["Delivered"]);
        }
    }
    let received: Vec<String> = dovecot.messages("anna@example.org").iter().filter_map(|message| field(message, "Received")).collect();
    let told = received.iter().filter(|field| field.starts_with("from helo.sender.example ([192.0.2.77])")).count();
    let own = received.iter().filter(|field| field.starts_with("from relay.example")).count();
    // Dovecot offers XCLIENT to trusted networks, and a unix socket is none.
    assert_eq!((told, own), (2, 4), "{received:#?}");
}

/// Fail-over between real servers.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_postfix_gives_way_to_the_next() {
    let (dead, living) = (crate::support::ports::Port::reserve(), Postfix::start());
    let endpoint = |port| Endpoint::Tcp { host: "127.0.0.1".into(), port };
    let relay = Relay { endpoints: vec![endpoint(dead.number()), endpoint(living.port())], ..local(1) };
    let destination = destination(relay, Protocol::Smtp);
    for _ in 0..6 {
        assert_eq!(words(&destination.deliver(&envelope(&["anna@example.org"]), &message(1, "Subject: t\r\n\r\nhello\r\n")).await), ["Delivered"]);
    }
    eventually("Postfix delivers", SOON, || living.count("anna") == 6);
}
