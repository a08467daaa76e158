//! The note that is delivered in place of a message that is too large. Pure.

use crate::config::Collector;
use crate::mail::{FolderName, HeaderBlock};

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

/// The header of the message, but for what describes its body, and a text that says where the rest is.
pub(super) fn of_too_large(header: &HeaderBlock, collector: &Collector, folder: &FolderName, octets: u64) -> Vec<u8> {
    let mut note = Vec::new();
    for field in header.fields() {
        if !OF_THE_BODY.iter().any(|name| header.is(field, name)) {
            note.extend_from_slice(&header.octets()[field.whole.clone()]);
        }
    }
    let limit = collector.max_message_size.unwrap_or_default();
    let text = format!(
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         This is only the header of a message of {octets} octets. It is larger than the {limit} octets that are collected (max_message_size),\r\n\
         and waits in the folder {folder} of {} on {}.\r\n",
        collector.server.username, collector.server.host
    );
    note.extend_from_slice(text.as_bytes());
    note
}
