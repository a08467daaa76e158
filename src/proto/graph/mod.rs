//! Microsoft Graph (v1.0), as far as a mailbox needs it: what is asked, and what the answers mean. Pure; HTTP is the caller's.

mod answer;
mod link;
mod problem;
mod request;

pub use answer::{Change, FolderPage, MessagePage, RemoteMailFolder, Seen, UnreadablePage, folder, folder_page, header, message, message_page};
pub use link::{Link, Origin};
pub use problem::{Meaning, Problem};
pub use request::{ID_OCTETS_MAX, Mailbox, MarkRead, PAGES_MESSAGES, WELL_KNOWN, marked_read, moved_to, named, prefer};
