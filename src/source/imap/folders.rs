//! The folders of a mailbox. A name is text from outside: it is decoded, bounded, free of control characters, and never becomes a path.

use super::connection::Input;
use super::refusal::is_not_now;
use super::session::ImapSession;
use crate::mail::FolderName;
use crate::mail::outcome::harmless;
use crate::proto::imap::{Command, ListKind, ListedFolder, State, Status, decode_folder_name};
use crate::source::{RemoteFolder, SourceError};
use std::collections::HashMap;

/// Most folders that a mailbox may have; what is listed beyond them is left out and reported.
const FOLDERS_MAX: usize = 10_000;
/// Longest name, in octets, as the server sends it.
const NAME_OCTETS_MAX: usize = 1_000;
/// Longest name in the log.
const LOGGED_OCTETS_MAX: usize = 100;

/// The attributes of RFC 6154 and RFC 8457, as the RFCs write them.
const SPECIAL_USE: [&str; 8] = ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash", "\\Important"];
/// What XLIST called them.
const XLIST_NAMES: [(&str, &str); 3] = [("\\Spam", "\\Junk"), ("\\AllMail", "\\All"), ("\\Starred", "\\Flagged")];

/// What a LIST yielded.
#[derive(Default)]
struct Gathered {
    folders: Vec<Found>,
    /// By name, to know a name that comes twice.
    known: HashMap<FolderName, usize>,
    left_out: LeftOut,
}

struct Found {
    folder: RemoteFolder,
    /// The name as it came is well-formed modified UTF-7.
    is_exact: bool,
}

/// What could not be taken, for the log.
#[derive(Default)]
struct LeftOut {
    unreadable: u64,
    too_many: u64,
    example: String,
}

impl ImapSession {
    pub(super) async fn list_folders(&mut self) -> Result<Vec<RemoteFolder>, SourceError> {
        self.settle_select().await?;
        self.connection.enter("folders");
        self.connection.know_capabilities().await?;
        let kind = match () {
            () if self.offers("LIST-EXTENDED") && self.offers("SPECIAL-USE") => ListKind::SpecialUse,
            // With SPECIAL-USE alone, LIST tells the attributes unasked (RFC 6154 §2).
            () if self.connection.has("XLIST") && !self.offers("SPECIAL-USE") => ListKind::Xlist,
            () => ListKind::Plain,
        };
        let (mut status, mut gathered) = self.list_by(kind).await?;
        // Offered and not understood: as without it.
        if kind != ListKind::Plain && status.state != State::Ok && !is_not_now(&status) {
            (status, gathered) = self.list_by(ListKind::Plain).await?;
        }
        if status.state != State::Ok {
            return Err(self.connection.refused("to list the folders", &status));
        }
        let LeftOut { unreadable, too_many, example } = gathered.left_out;
        if unreadable + too_many > 0 {
            tracing::warn!(event = "folders_left_out", collector = %self.shared.collector, server = self.connection.peer(), unreadable, too_many, example, limit = FOLDERS_MAX);
        }
        Ok(gathered.folders.into_iter().map(|found| found.folder).collect())
    }

    async fn list_by(&mut self, kind: ListKind) -> Result<(Status, Gathered), SourceError> {
        let tag = self.connection.send(&Command::List(kind)).await?;
        let mut gathered = Gathered::default();
        let take = |input| {
            if let Input::Listed(listed) = input {
                gathered.take(listed, kind == ListKind::Xlist);
            }
        };
        let status = self.answer(tag, take).await?;
        Ok((status, gathered))
    }
}

impl Gathered {
    fn take(&mut self, listed: ListedFolder, is_xlist: bool) {
        let has = |name: &str| listed.attributes.iter().any(|own| own.eq_ignore_ascii_case(name));
        if has("\\Noselect") || has("\\NonExistent") {
            return;
        }
        let Some(raw) = listed.name.filter(|raw| raw.len() <= NAME_OCTETS_MAX && !raw.is_empty()) else {
            self.left_out.unreadable += 1;
            return;
        };
        // XLIST tells the INBOX by its name in the user's language.
        let is_inbox = raw.eq_ignore_ascii_case(b"INBOX") || (is_xlist && listed.attributes.iter().any(|own| own.eq_ignore_ascii_case("\\Inbox")));
        let named = if is_inbox { Some((FolderName::inbox(), true)) } else { name(&raw) };
        let Some((name, is_exact)) = named else {
            self.left_out.unreadable += 1;
            self.left_out.example = harmless(&String::from_utf8_lossy(&raw), LOGGED_OCTETS_MAX);
            return;
        };
        let attributes = listed.attributes.iter().map(|attribute| standard(attribute)).collect();
        let found = Found { folder: RemoteFolder { name: name.clone(), attributes, separator: listed.separator }, is_exact };
        match self.known.get(&name).copied() {
            // The broken form of a name that there is: SELECT would open the well-formed one.
            Some(at) if self.folders[at].is_exact => self.left_out.unreadable += u64::from(!is_exact),
            Some(at) => {
                self.left_out.unreadable += u64::from(is_exact);
                self.folders[at] = found;
            }
            None if self.folders.len() == FOLDERS_MAX => self.left_out.too_many += 1,
            None => {
                self.known.insert(name, self.folders.len());
                self.folders.push(found);
            }
        }
    }
}

/// The name in Unicode, and whether the server sent it as RFC 3501 §5.1.3 wants it. One that is no modified UTF-7 is its octets, if they are text: SELECT
/// falls back to them. `None` for what is no name.
fn name(raw: &[u8]) -> Option<(FolderName, bool)> {
    let (text, is_exact) = match decode_folder_name(raw) {
        Some(text) => (text, true),
        None => (std::str::from_utf8(raw).ok()?.to_owned(), false),
    };
    (!text.chars().any(char::is_control)).then(|| (FolderName::new(&text), is_exact))
}

/// An attribute as RFC 6154 writes it, whatever the server's case and age.
fn standard(attribute: &str) -> String {
    let modern = XLIST_NAMES.iter().find(|(old, _)| attribute.eq_ignore_ascii_case(old)).map_or(attribute, |(_, new)| new);
    SPECIAL_USE.iter().find(|known| modern.eq_ignore_ascii_case(known)).map_or(modern, |known| known).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f71_names() {
        let exact = |text: &str| Some((FolderName::new(text), true));
        let raw = |text: &str| Some((FolderName::new(text), false));
        for (octets, wanted) in [
            (&b"a/b"[..], exact("a/b")),
            (b"Entw&APw-rfe", exact("Entwürfe")),
            (b"../../etc", exact("../../etc")),
            (b"`id`$(id)';--", exact("`id`$(id)';--")),
            (b"a&b", raw("a&b")),
            (b"&APw", raw("&APw")),
            ("Entwürfe".as_bytes(), raw("Entwürfe")),
            (b"a\0b", None),
            (b"a&AAA-b", None),
            (b"a&AA0ACg-a1 LOGOUT", None),
            (b"\xff", None),
        ] {
            assert_eq!(name(octets), wanted, "{}", octets.escape_ascii());
        }
        assert_eq!(["\\spam", "\\JUNK", "\\HasNoChildren", "$x"].map(standard), ["\\Junk", "\\Junk", "\\HasNoChildren", "$x"]);
    }
}
