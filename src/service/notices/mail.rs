//! A notice by mail: a small message that says what it is, so that nothing answers to it, to the server that the operator named.

use super::notice::{Notice, subject, text};
use crate::config::Delivery;
use crate::mail::{Address, CollectorId, Envelope, Epoch, FolderName, MailboxId, Message, MessageKey, Outcome, Recipient, RemoteUid, ReversePath};
use crate::net::{self, Tracer};
use crate::service::installation::destination;
use crate::spool::Spool;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Connecting, and the whole dialogue.
const LIMIT: Duration = Duration::from_secs(120);
/// Octets of a notice: the text of a hundred of them is less.
const OCTETS_MAX: u64 = 1024 * 1024;
/// Octets of a line of base64 (RFC 2045 §6.8).
const BASE64_LINE: usize = 76;

/// Sends them; the error says in words who did not get them.
pub(super) async fn send(notices: &[Notice], to: &[Address], from: Option<&Address>, via: &Delivery, host: &str) -> Result<(), String> {
    let message = message(notices, to, from, host).await?;
    let envelope = Envelope {
        // Whoever cannot get it cannot be told by a bounce either; some relays take their own users' addresses only.
        sender: from.map_or(ReversePath::Null, |from| ReversePath::Address(from.clone())),
        recipients: to.iter().cloned().map(Recipient::new).collect(),
        prefix: Vec::new(),
        edits: Vec::new(),
        in_doubt: false,
        client: None,
    };
    // A connection of its own: that of collected mail may be what is broken.
    let destination = destination(via, to, &Tracer::default());
    let outcomes = timeout(LIMIT, destination.deliver(&envelope, &message)).await.map_err(|_| format!("no answer in {} s", LIMIT.as_secs()))?;
    destination.rest().await;
    let failures = outcomes.iter().zip(to).filter_map(|(outcome, to)| match outcome {
        Outcome::Delivered(_) => None,
        Outcome::Deferred(diagnosis) | Outcome::Rejected(diagnosis) | Outcome::Unknown(diagnosis) => Some(format!("{to}: {diagnosis}")),
    });
    let failures: Vec<String> = failures.collect();
    // Who has it must not get it again for the others' sake.
    if failures.len() < outcomes.len() { Ok(()) } else { Err(failures.join("; ")) }
}

async fn message(notices: &[Notice], to: &[Address], from: Option<&Address>, host: &str) -> Result<Message, String> {
    let nonce: [u8; 8] = net::random_octets().map_err(|error| error.text)?;
    let nonce: String = nonce.iter().map(|octet| format!("{octet:02x}")).collect();
    let content = write(notices, to, from, host, &nonce, Timestamp::now());
    let spool = Spool::new(&std::env::temp_dir(), OCTETS_MAX, OCTETS_MAX).map_err(|error| error.to_string())?;
    let key = MessageKey {
        collector: CollectorId::new("notify").ok_or("no name")?,
        mailbox: Arc::new(MailboxId { protocol: "imap", host: host.to_owned(), login: "notify".to_owned() }),
        folder: FolderName::new("mailgather notify"),
        epoch: Epoch(0),
        uid: RemoteUid::Opaque(nonce.as_bytes().into()),
        generation: 0,
    };
    let mut intake = spool.intake(key, Some(content.len() as u64)).await;
    intake.write(content.as_bytes()).await.map_err(|error| error.to_string())?;
    intake.finish().await.map_err(|error| error.to_string())
}

/// The message. Nothing of what servers said stands in its header.
fn write(notices: &[Notice], to: &[Address], from: Option<&Address>, host: &str, nonce: &str, now: Timestamp) -> String {
    let domain: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.' || *c == '-').collect();
    let domain = if domain.is_empty() { "localhost" } else { &domain };
    let from = from.map_or_else(|| format!("mailgather@{domain}"), Address::to_smtp);
    let to: Vec<String> = to.iter().map(|to| format!("<{}>", to.to_smtp())).collect();
    let date = now.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let subject = subject(notices, domain);
    let mut body = text(notices);
    body.push_str(&format!("-- \nmailgather on {domain}. What lasts is told again now and then (`repeat` of `notify`), and so is its end.\n"));
    let (encoding, body) = match body.is_ascii() {
        true => ("7bit", body.replace('\n', "\r\n")),
        false => {
            let code = STANDARD.encode(body.replace('\n', "\r\n"));
            let lines: Vec<&str> = code.as_bytes().chunks(BASE64_LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect();
            ("base64", lines.join("\r\n") + "\r\n")
        }
    };
    format!(
        "From: mailgather <{from}>\r\nTo: {}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <mailgather-notice.{nonce}@{domain}>\r\n\
         Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\nX-Mailgather-Notice: {}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}",
        to.join(",\r\n\t"),
        notices.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::HeaderBlock;

    #[test]
    fn it_says_what_it_is_and_who_it_is_from() {
        let to: Vec<Address> = vec!["a@x.example".parse().unwrap(), "раз@икс.рф".parse().unwrap()];
        let notice = Notice::test("cli\r\nBcc: b@x.example", Timestamp::UNIX_EPOCH);
        let mail = write(std::slice::from_ref(&notice), &to, None, "h.example", "01", Timestamp::UNIX_EPOCH);
        assert!(!mail.contains("\r\nBcc") && mail.contains("cli??Bcc: b@x.example"), "{mail}");
        let header = HeaderBlock::parse(mail.clone().into_bytes().into());
        let field = |name: &str| header.text(header.first(name).unwrap());
        assert_eq!(field("From"), "mailgather <mailgather@h.example>");
        assert_eq!((field("Auto-Submitted").as_ref(), field("Subject").as_ref()), ("auto-generated", "mailgather on h.example: a test"));
        assert!(mail.split("\r\n").all(|line| !line.contains(['\r', '\n']) && line.len() < 998));
        let cyrillic = Notice { message: "нет".into(), ..notice };
        let mail = write(&[cyrillic], &to[..1], Some(&to[0]), "h", "01", Timestamp::UNIX_EPOCH);
        assert!(mail.is_ascii() && mail.contains("base64\r\n\r\n") && mail.contains("From: mailgather <a@x.example>\r\n"), "{mail}");
    }
}
