//! The message of `mailgather test --deliver`.

use crate::config::Collector;
use crate::mail::{Address, Epoch, FolderName, Message, MessageKey, RemoteUid};
use crate::net;
use crate::spool::Spool;
use jiff::Timestamp;
use std::sync::Arc;

/// Octets that its spool may hold.
const SPOOL_OCTETS: u64 = 64 * 1024;

/// A small message to this address that says what it is; each is another one.
pub(super) async fn write(address: &Address, collector: &Collector) -> Result<Message, String> {
    let nonce: [u8; 8] = net::random_octets().map_err(|error| error.text)?;
    let nonce: String = nonce.iter().map(|octet| format!("{octet:02x}")).collect();
    let now = Timestamp::now();
    let text = text(address, collector.id.as_str(), &nonce, &net::hostname(), &now.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string());
    let spool = Spool::new(&std::env::temp_dir(), SPOOL_OCTETS, SPOOL_OCTETS).map_err(|error| error.to_string())?;
    let key = MessageKey {
        collector: collector.id.clone(),
        mailbox: Arc::new(collector.server.mailbox()),
        folder: FolderName::new("mailgather test"),
        epoch: Epoch(0),
        uid: RemoteUid::Opaque(nonce.as_bytes().into()),
        generation: 0,
    };
    let mut intake = spool.intake(key, Some(text.len() as u64)).await;
    intake.write(text.as_bytes()).await.map_err(|error| error.to_string())?;
    intake.finish().await.map_err(|error| error.to_string())
}

fn text(address: &Address, collector: &str, nonce: &str, host: &str, date: &str) -> String {
    // An address has no line end; a host's name is the system's.
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.' || *c == '-').collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    let address = address.to_smtp();
    format!(
        "From: mailgather test <{address}>\r\nTo: <{address}>\r\nSubject: mailgather test of the collector {collector}\r\nDate: {date}\r\n\
         Message-ID: <mailgather-test.{nonce}@{host}>\r\nAuto-Submitted: auto-generated\r\nX-Mailgather-Test: {collector}\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         This is a test message of mailgather on {host}. Somebody ran\r\n\r\n    mailgather test {collector} --deliver ...\r\n\r\n\
         to see whether mail reaches this address. Nothing has to be done about it.\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::HeaderBlock;

    #[test]
    fn it_says_what_it_is() {
        let address: Address = "anna@example.org".parse().unwrap();
        let text = text(&address, "boss", "0123", "a\r\nb.example", "Sat, 21 Nov 2026 19:00:00 +0000");
        assert!(text.lines().all(|line| line.len() < 100));
        let header = HeaderBlock::parse(text.into_bytes().into());
        let field = |name: &str| header.text(header.first(name).unwrap());
        assert_eq!(field("Subject"), "mailgather test of the collector boss");
        assert_eq!(field("Auto-Submitted"), "auto-generated");
        assert_eq!(field("Message-ID"), "<mailgather-test.0123@ab.example>");
    }
}
