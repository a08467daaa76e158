//! What the tests of destinations share: a message, an envelope, outcomes in words.

#![allow(dead_code)] // Each test binary uses a part of it.

use bytes::Bytes;
use mailgather::config::secret::SecretReader;
use mailgather::config::{Delivery, Endpoint, Relay, Tls, TlsMode};
use mailgather::mail::*;
use std::sync::Arc;

/// A message with these octets, as they are: not made canonical.
pub fn message(uid: u32, octets: impl Into<Bytes>) -> Message {
    let octets: Bytes = octets.into();
    Message {
        key: MessageKey {
            collector: CollectorId::new("test").unwrap(),
            mailbox: Arc::new(MailboxId { protocol: "imap", host: "h".into(), login: "l".into() }),
            folder: FolderName::inbox(),
            epoch: Epoch(1),
            uid: RemoteUid::Number(uid),
            generation: 0,
        },
        header: HeaderBlock::parse(octets.clone()),
        fingerprint: Fingerprint([0; 32]),
        letter_id: None,
        eight_bit: !octets.is_ascii(),
        content: Content::Memory(octets),
        repairs: Repairs::default(),
        budget: None,
    }
}

/// An envelope from `s@x.example`, with one trace field.
pub fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        sender: ReversePath::Address("s@x.example".parse().unwrap()),
        recipients: recipients.iter().map(|address| Recipient::new(address.parse().unwrap())).collect(),
        prefix: b"X-Trace: 1\r\n".to_vec(),
        edits: Vec::new(),
        in_doubt: false,
        client: None,
    }
}

/// `Delivered`, `Deferred Target`, ...: what tables say.
pub fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered(_) => "Delivered".into(),
        Outcome::Deferred(d) => format!("Deferred {:?}", d.blame),
        Outcome::Rejected(d) => format!("Rejected {:?}", d.blame),
        Outcome::Unknown(_) => "Unknown".into(),
    }
}

pub fn words(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(word).collect()
}

/// A server in the clear, without a login.
pub fn relay(endpoint: Endpoint) -> Relay {
    Relay { endpoints: vec![endpoint], tls: Tls::mode(TlsMode::None), auth: None, hello: Some("relay.example".into()), smtputf8: true }
}

pub fn local(port: u16) -> Relay {
    relay(Endpoint::Tcp { host: "127.0.0.1".into(), port })
}

/// Four connections, fifty recipients at once.
pub fn delivery() -> Delivery {
    Delivery { max_messages_per_connection: 0, max_recipients: 50, trace_received: false, trace_id: false, ..Delivery::default() }
}

pub fn no_password() -> SecretReader {
    Arc::new(|| Box::pin(async { Err("no password here".into()) }))
}
