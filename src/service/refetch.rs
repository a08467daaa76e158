//! Single messages that an operator wants once more: named as the log names them, looked up in the ledger, and forgotten there while no pass of ours is in
//! the mailbox, so that the next one delivers them again.

use crate::config::{Collector, Protocol};
use crate::ledger::{Forget, Ledger};
use crate::mail::outcome::harmless;
use crate::mail::{FolderName, RemoteUid};

/// Most messages of one request.
pub const UIDS_MAX: usize = 1_000;
/// Longest name of a folder that is repeated, in octets.
const SHOWN_MAX: usize = 200;

/// A UID as the log has it: a number for IMAP; else what is printed there, in which strange octets are escaped.
pub fn uid(text: &str, protocol: Protocol) -> Option<RemoteUid> {
    match protocol.numbers_messages() {
        false => Some(RemoteUid::Opaque(unescaped(text).into())),
        true => text.parse().ok().filter(|uid| *uid > 0).map(RemoteUid::Number),
    }
}

/// What is to be forgotten of a collector's mailbox, so that these messages are collected once more; or why not.
///
/// # Errors
/// In words: what is no UID, was not collected, or is not clear without its folder.
pub async fn which(collector: &Collector, uids: &[String], folder: Option<&str>, ledger: &dyn Ledger) -> Result<Forget, String> {
    let id = &collector.id;
    if uids.is_empty() || uids.len() > UIDS_MAX {
        return Err(format!("from 1 to {UIDS_MAX} messages can be fetched again at once"));
    }
    let of = |text: &String| {
        uid(text, collector.server.protocol).ok_or_else(|| format!("`{}` is no UID of IMAP, which is a number", harmless(text, SHOWN_MAX)))
    };
    let which = Forget { folder: folder.map(folder_name), before: None, uids: uids.iter().map(of).collect::<Result<_, _>>()? };
    let remembered = |which| async move { ledger.remembered(&collector.server.mailbox(), which).await.map_err(|error| error.to_string()) };
    let everything = Forget::default();
    let all = remembered(&everything).await?;
    let known = || all.iter().map(|of| format!("`{}`", harmless(of.folder.as_str(), SHOWN_MAX))).collect::<Vec<_>>().join(", ");
    match &which.folder {
        Some(folder) if !all.iter().any(|of| of.folder == *folder) => {
            return Err(format!("{id}: the ledger knows no such folder of this mailbox; it knows {}", known()));
        }
        None if all.len() > 1 => return Err(format!("{id}: each folder has UIDs of its own: say `--folder` too; the ledger knows {}", known())),
        _ => {}
    }
    let found = remembered(&which).await?;
    match which.uids.iter().find(|uid| !found.iter().any(|folder| folder.uids.contains(uid))) {
        Some(uid) => Err(format!(
            "{id}: the message `{uid}` is not one that was collected: it is new, waits, is held (`mailgather held list`), or is gone from the server"
        )),
        None => Ok(which),
    }
}

/// The reverse of [`u8::escape_ascii`]; what is no escape stays as it is.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, more)) = rest.split_first() {
        let (octet, left) = match (first, more) {
            (b'\\', [b'x', high, low, left @ ..]) => {
                match std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(octet) => (octet, left),
                    None => (first, more),
                }
            }
            (b'\\', [b't', left @ ..]) => (b'\t', left),
            (b'\\', [b'r', left @ ..]) => (b'\r', left),
            (b'\\', [b'n', left @ ..]) => (b'\n', left),
            (b'\\', [octet @ (b'\\' | b'\'' | b'"'), left @ ..]) => (*octet, left),
            _ => (first, more),
        };
        octets.push(octet);
        rest = left;
    }
    octets
}

/// INBOX is the same in any case (RFC 9051 §5.1).
pub fn folder_name(text: &str) -> FolderName {
    if text.eq_ignore_ascii_case("INBOX") { FolderName::inbox() } else { FolderName::new(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_as_the_log_has_them() {
        for octets in [&b"plain-1"[..], b"\0=00ff*2", b"a\\b'c\"\t\r\xff", b"\\x4", b""] {
            assert_eq!(unescaped(&RemoteUid::Opaque(octets.into()).to_string()), octets);
        }
        assert_eq!(unescaped("a\\b"), b"a\\b");
        assert_eq!((folder_name("Inbox"), folder_name("inbox/a")), (FolderName::inbox(), FolderName::new("inbox/a")));
        assert_eq!(["7", "0", "x", "-1"].map(|text| uid(text, Protocol::Imap)), [Some(RemoteUid::Number(7)), None, None, None]);
        assert_eq!(uid("0", Protocol::Pop3), Some(RemoteUid::Opaque(b"0"[..].into())));
    }
}
