//! The notes that take the place of a message: of one that is too large, and of one that the server cannot give. Pure.

use crate::config::Collector;
use crate::mail::outcome::harmless;
use crate::mail::{FolderName, HeaderBlock, RemoteUid};

/// Fields that describe the body that is not there, or sign it.
const OF_THE_BODY: [&str; 8] = [
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Length",
    "Content-Disposition",
    "Content-Language",
    "MIME-Version",
    "DKIM-Signature",
    "Lines",
];

/// Longest reason or name that a note repeats.
const REASON_MAX: usize = 500;

/// The header of the message, but for what describes its body, and a text that says where the rest is.
pub(super) fn of_too_large(header: &HeaderBlock, collector: &Collector, folder: &FolderName, octets: u64) -> Vec<u8> {
    let limit = collector.max_message_size.unwrap_or_default();
    let text = format!(
        "This is only the header of a message of {octets} octets. It is larger than the {limit} octets that are collected (max_message_size),\r\n\
         and waits in the folder {folder} of {} on {}.\r\n",
        collector.server.username, collector.server.host
    );
    note(header, &text)
}

/// The same of a message whose content the server does not give, for this reason.
pub(super) fn of_unreadable(header: &HeaderBlock, collector: &Collector, folder: &FolderName, uid: &RemoteUid, reason: &str) -> Vec<u8> {
    let mailbox = collector.server.mailbox();
    let text = format!(
        "This stands for a message that the server has and cannot give: {}\r\n\
         It stays in the folder {} of {} on {}, as {uid}.\r\n",
        harmless(reason, REASON_MAX),
        harmless(folder.as_str(), REASON_MAX),
        harmless(&mailbox.login, REASON_MAX),
        mailbox.host,
    );
    let subject = if header.fields().is_empty() { "Subject: a message that the server cannot give\r\n" } else { "" };
    [subject.as_bytes(), &note(header, &text)].concat()
}

fn note(header: &HeaderBlock, text: &str) -> Vec<u8> {
    let mut note = Vec::new();
    for field in header.fields() {
        if !OF_THE_BODY.iter().any(|name| header.is(field, name)) {
            note.extend_from_slice(&header.octets()[field.whole.clone()]);
        }
    }
    note.extend_from_slice(b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    note.extend_from_slice(text.as_bytes());
    note
}
