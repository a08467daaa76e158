//! What is asked: paths and queries, escaped, and bodies.

use jiff::Timestamp;
use serde_json::json;
use std::fmt::Write;

/// Messages that a page should have, and, where the server fails over so many, how many then. A server may send fewer or more.
pub const PAGES_MESSAGES: [usize; 3] = [500, 50, 5];
/// Longest id of a message or folder that is taken.
pub const ID_OCTETS_MAX: usize = 1024;
/// Folders that each mailbox has under the same name in any language, and their RFC 6154 attributes. The inbox is first, and has none.
pub const WELL_KNOWN: [(&str, Option<&str>); 6] = [
    ("inbox", None),
    ("junkemail", Some("\\Junk")),
    ("deleteditems", Some("\\Trash")),
    ("sentitems", Some("\\Sent")),
    ("drafts", Some("\\Drafts")),
    ("archive", Some("\\Archive")),
];

/// What of a message is asked for in a listing.
const OF_MESSAGE: &str = "receivedDateTime,isRead";
/// What of a folder is asked for.
const OF_FOLDER: &str = "id,displayName,childFolderCount,totalItemCount,parentFolderId";
/// Folders of a page: what Graph allows at most is more.
const PAGE_FOLDERS: usize = 250;

/// A mailbox: where it is on its host.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// `/v1.0/users/shared%40tenant.example`
    path: String,
}

/// How a message is marked as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkRead {
    /// And nobody is sent a receipt for that.
    WithoutReceipt,
    /// For servers that let nobody change whether a receipt is wanted.
    Only,
}

impl Mailbox {
    /// The mailbox with this address below `base`, which is `/v1.0`.
    pub fn new(base: &str, address: &str) -> Self {
        Mailbox { path: format!("{}/users/{}", base.trim_end_matches('/'), escaped(address)) }
    }

    /// A folder by its id, or by a well-known name.
    pub fn folder(&self, id: &str) -> String {
        format!("{}/mailFolders/{}?$select={OF_FOLDER}", self.path, escaped(id))
    }

    /// The folders in a folder, or those at the top; only those with this name, if one is given.
    pub fn folders(&self, parent: Option<&str>, name: Option<&str>) -> String {
        let mut target = format!("{}?$select={OF_FOLDER}&$top={PAGE_FOLDERS}", self.children(parent));
        if let Some(name) = name {
            // A quote is doubled (OData 4.01, URL conventions 5.1.1.14.1).
            let condition = format!("displayName eq '{}'", name.replace('\'', "''"));
            target += "&$filter=";
            target += &escaped(&condition);
        }
        target
    }

    /// Where a folder is made.
    pub fn children(&self, parent: Option<&str>) -> String {
        match parent {
            Some(parent) => format!("{}/mailFolders/{}/childFolders", self.path, escaped(parent)),
            None => format!("{}/mailFolders", self.path),
        }
    }

    /// All messages of a folder, and then what changes.
    pub fn delta(&self, folder: &str) -> String {
        format!("{}/messages/delta?$select={OF_MESSAGE}", self.in_folder(folder))
    }

    /// The messages of a folder that came at this time or later, oldest first; only unread ones, if that is wanted.
    pub fn listing(&self, folder: &str, since: Option<i64>, unread: bool) -> String {
        // What is sorted by has to be the first condition.
        let mut condition = format!("receivedDateTime ge {}", instant(since.unwrap_or(0)));
        if unread {
            condition += " and isRead eq false";
        }
        format!("{}/messages?$select={OF_MESSAGE}&$filter={}&$orderby=receivedDateTime", self.in_folder(folder), escaped(&condition))
    }

    /// The last messages of a folder, newest first.
    pub fn newest(&self, folder: &str, messages: usize) -> String {
        format!(
            "{}/messages?$select={OF_MESSAGE}&$orderby={}&$top={}",
            self.in_folder(folder),
            escaped("receivedDateTime desc"),
            messages.clamp(1, 1000)
        )
    }

    /// A message in its folder: to be changed or deleted.
    pub fn message(&self, folder: &str, id: &str) -> String {
        format!("{}/messages/{}", self.in_folder(folder), escaped(id))
    }

    /// The same, to be looked at.
    pub fn look(&self, folder: &str, id: &str) -> String {
        format!("{}?$select={OF_MESSAGE},parentFolderId", self.message(folder, id))
    }

    /// What is known of a message besides its MIME.
    pub fn properties(&self, folder: &str, id: &str) -> String {
        format!("{}?$select=internetMessageHeaders,internetMessageId,subject,from,toRecipients,receivedDateTime", self.message(folder, id))
    }

    /// The message itself. Graph's manual has it below the folder too, where the server answers 405, `The OData request is not supported`.
    pub fn mime(&self, id: &str) -> String {
        format!("{}/messages/{}/$value", self.path, escaped(id))
    }

    /// Where a message is moved.
    pub fn moving(&self, folder: &str, id: &str) -> String {
        format!("{}/move", self.message(folder, id))
    }

    fn in_folder(&self, folder: &str) -> String {
        format!("{}/mailFolders/{}", self.path, escaped(folder))
    }
}

/// `Prefer` of every request: ids that a message keeps when it is moved, and the size of pages.
pub fn prefer(page_messages: usize) -> String {
    format!("IdType=\"ImmutableId\", odata.maxpagesize={page_messages}")
}

/// The body that marks a message as read.
pub fn marked_read(how: MarkRead) -> String {
    match how {
        MarkRead::WithoutReceipt => json!({"isRead": true, "isReadReceiptRequested": false}).to_string(),
        MarkRead::Only => json!({"isRead": true}).to_string(),
    }
}

/// The body that moves a message to the folder with this id.
pub fn moved_to(folder: &str) -> String {
    json!({"destinationId": folder}).to_string()
}

/// The body that makes a folder of this name.
pub fn named(folder: &str) -> String {
    json!({"displayName": folder}).to_string()
}

/// Everything but unreserved characters (RFC 3986 §2.3) as `%XX`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(octet.into()),
            // Writing into a string cannot fail.
            _ => drop(write!(out, "%{octet:02X}")),
        }
    }
    out
}

/// `2026-11-22T08:00:00Z`
fn instant(seconds: i64) -> String {
    let clamped = seconds.clamp(0, Timestamp::MAX.as_second());
    Timestamp::from_second(clamped).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked() {
        let mailbox = Mailbox::new("/v1.0", "shared+x@tenant.example");
        let user = "/v1.0/users/shared%2Bx%40tenant.example";
        let of_message = "$select=receivedDateTime,isRead";
        for (asked, wanted) in [
            (mailbox.folder("inbox"), format!("{user}/mailFolders/inbox?$select={OF_FOLDER}")),
            (mailbox.folders(None, None), format!("{user}/mailFolders?$select={OF_FOLDER}&$top=250")),
            (
                mailbox.folders(Some("A=/"), Some("Bob's & ж")),
                format!(
                    "{user}/mailFolders/A%3D%2F/childFolders?$select={OF_FOLDER}&$top=250&$filter=displayName%20eq%20%27Bob%27%27s%20%26%20%D0%B6%27"
                ),
            ),
            (mailbox.delta("F"), format!("{user}/mailFolders/F/messages/delta?{of_message}")),
            (
                mailbox.listing("F", Some(1_795_334_400), true),
                format!(
                    "{user}/mailFolders/F/messages?{of_message}&$filter=receivedDateTime%20ge%202026-11-22T08%3A00%3A00Z%20and%20isRead%20eq%20false&$orderby=receivedDateTime"
                ),
            ),
            (
                mailbox.listing("F", Some(-5), false),
                format!(
                    "{user}/mailFolders/F/messages?{of_message}&$filter=receivedDateTime%20ge%201970-01-01T00%3A00%3A00Z&$orderby=receivedDateTime"
                ),
            ),
            (mailbox.newest("F", 0), format!("{user}/mailFolders/F/messages?{of_message}&$orderby=receivedDateTime%20desc&$top=1")),
            (mailbox.mime("A+b/c?="), format!("{user}/messages/A%2Bb%2Fc%3F%3D/$value")),
            (mailbox.moving("F", "a"), format!("{user}/mailFolders/F/messages/a/move")),
            (mailbox.look("F", "a"), format!("{user}/mailFolders/F/messages/a?{of_message},parentFolderId")),
        ] {
            assert_eq!(asked, wanted);
        }
        assert_eq!(moved_to("a\"b"), r#"{"destinationId":"a\"b"}"#);
        assert_eq!(prefer(50), "IdType=\"ImmutableId\", odata.maxpagesize=50");
    }

    proptest! {
        /// Whatever an id or a name is, it stays one segment, and no text from outside adds to a query.
        #[test]
        fn nothing_breaks_out(id in any::<String>(), name in any::<String>(), since in any::<i64>()) {
            let mailbox = Mailbox::new("/v1.0/", &name);
            for target in [mailbox.mime(&id), mailbox.folders(Some(&id), Some(&name)), mailbox.listing(&id, Some(since), true), mailbox.look(&id, &id)] {
                prop_assert!(target.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#'));
                prop_assert!(target.matches('?').count() <= 1 && target.starts_with("/v1.0/users/"));
            }
            prop_assert_eq!(mailbox.mime(&id).matches('/').count(), 6);
            prop_assert_eq!(mailbox.folders(Some(&id), Some(&name)).matches('&').count(), 2);
        }
    }
}
