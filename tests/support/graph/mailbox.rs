//! What lies in the fake's mailboxes.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const WELL_KNOWN: [(&str, &str); 6] = [
    ("inbox", "Входящие"),
    ("junkemail", "Нежелательная почта"),
    ("deleteditems", "Удаленные"),
    ("sentitems", "Отправленные"),
    ("drafts", "Черновики"),
    ("archive", "Архив"),
];
/// Where deleted messages go; nobody lists it.
pub(super) const RECOVERABLE: &str = "recoverableitemsdeletions";

#[derive(Default)]
pub(super) struct Mailbox {
    pub(super) folders: Vec<Folder>,
    pub(super) messages: BTreeMap<u64, Message>,
    pub(super) clock: u64,
    pub(super) in_flight: usize,
    pub(super) is_elsewhere: bool,
    /// Messages tell the folder that they are in by its well-known name.
    pub(super) other_ids: bool,
}

pub(super) struct Folder {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) parent: Option<usize>,
    pub(super) well_known: Option<&'static str>,
    pub(super) removed: Vec<(u64, String)>,
}

pub(super) struct Message {
    pub(super) number: u64,
    /// How often it was moved: the id that is not immutable changes with it.
    pub(super) moves: u64,
    pub(super) folder: usize,
    pub(super) mime: Mime,
    pub(super) received: i64,
    pub(super) is_read: bool,
    pub(super) wants_receipt: bool,
    /// No delta tells of it.
    pub(super) is_hidden: bool,
    pub(super) changed: u64,
}

/// A message's octets.
#[derive(Clone, Debug)]
pub enum Mime {
    /// These.
    Octets(Bytes),
    /// A header with this subject, and lines up to so many octets: made as they are sent.
    Large(String, u64),
    /// The server cannot make it: HTTP 500. It knows the subject.
    None(String),
}

impl Mime {
    /// All octets.
    pub fn whole(&self) -> Bytes {
        match self {
            Mime::Octets(octets) => octets.clone(),
            Mime::Large(subject, octets) => {
                let mut all = large_start(subject);
                all.resize(*octets as usize, b'x');
                all.into()
            }
            Mime::None(_) => Bytes::new(),
        }
    }

    pub(super) fn header(&self, name: &str) -> String {
        let start = match self {
            Mime::Octets(octets) => octets.to_vec(),
            Mime::Large(subject, _) => large_start(subject),
            Mime::None(subject) => large_start(subject),
        };
        let text = String::from_utf8_lossy(&start).into_owned();
        let found = text.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()));
        found.unwrap_or_default()
    }
}

pub(super) fn large_start(subject: &str) -> Vec<u8> {
    format!("From: a@remote.example\r\nTo: b@remote.example\r\nSubject: {subject}\r\nMessage-ID: <{subject}@remote.example>\r\n\r\n").into_bytes()
}

impl Mailbox {
    pub(super) fn with_folders() -> Mailbox {
        let mut mailbox = Mailbox::default();
        for (known, name) in WELL_KNOWN.into_iter().chain([(RECOVERABLE, "Deletions")]) {
            mailbox.make_folder(None, name, Some(known));
        }
        mailbox
    }

    pub(super) fn make_folder(&mut self, parent: Option<usize>, name: &str, well_known: Option<&'static str>) -> usize {
        let id = format!("AAMkFolder+{:04}/=", self.folders.len());
        self.folders.push(Folder { id, name: name.into(), parent, well_known, removed: Vec::new() });
        self.folders.len() - 1
    }

    pub(super) fn at_path(&mut self, path: &str) -> usize {
        let mut at = None;
        for part in path.split('/') {
            let known = self.folders.iter().position(|folder| at.is_none() && folder.well_known == Some(part));
            let there = known.or_else(|| self.folders.iter().position(|folder| folder.parent == at && folder.name == part));
            at = Some(there.unwrap_or_else(|| self.make_folder(at, part, None)));
        }
        at.expect("a path has a part")
    }

    pub(super) fn folder(&self, id: &str) -> Option<usize> {
        self.folders.iter().position(|folder| folder.id == id || folder.well_known.is_some_and(|known| known.eq_ignore_ascii_case(id)))
    }

    pub(super) fn find(&self, id: &str) -> Option<u64> {
        self.messages.values().find(|message| message.id(true) == id || message.id(false) == id).map(|message| message.number)
    }

    pub(super) fn change(&mut self, number: u64, act: impl FnOnce(&mut Message)) {
        self.clock += 1;
        let message = self.messages.get_mut(&number).expect("the message is there");
        message.changed = self.clock;
        act(message);
    }

    pub(super) fn leave(&mut self, number: u64) {
        self.clock += 1;
        let message = &self.messages[&number];
        self.folders[message.folder].removed.push((self.clock, message.id(true)));
    }

    pub(super) fn move_to(&mut self, number: u64, to: usize) {
        self.leave(number);
        self.change(number, |message| (message.folder, message.moves) = (to, message.moves + 1));
    }

    pub(super) fn folder_json(&self, at: usize) -> Value {
        let folder = &self.folders[at];
        let count = |unread: bool| self.messages.values().filter(|message| message.folder == at && !(unread && message.is_read)).count();
        json!({
            "id": folder.id, "displayName": folder.name, "isHidden": false,
            "parentFolderId": folder.parent.map_or("AAMkRoot=", |parent| &self.folders[parent].id),
            "childFolderCount": self.folders.iter().filter(|other| other.parent == Some(at)).count(),
            "totalItemCount": count(false), "unreadItemCount": count(true),
        })
    }

    pub(super) fn message_json(&self, message: &Message, immutable: bool) -> Value {
        let parent = &self.folders[message.folder];
        json!({
            "@odata.etag": format!("W/\"{}\"", message.changed),
            "id": message.id(immutable), "receivedDateTime": instant(message.received), "isRead": message.is_read,
            "parentFolderId": parent.well_known.filter(|_| self.other_ids).unwrap_or(&parent.id), "subject": message.mime.header("Subject:"),
            "internetMessageId": message.mime.header("Message-ID:"), "isDraft": false, "isReadReceiptRequested": message.wants_receipt,
            "from": {"emailAddress": {"address": message.mime.header("From:")}}, "toRecipients": [],
            "internetMessageHeaders": [{"name": "Received", "value": "from fake by fake"}, {"name": "Subject", "value": message.mime.header("Subject:")}],
        })
    }
}

impl Message {
    pub(super) fn id(&self, immutable: bool) -> String {
        match immutable {
            true => format!("AAkALg/{:08}+fixed=", self.number),
            false => format!("AAMkAG/{:08}+{:04}=", self.number, self.moves),
        }
    }
}

pub(super) fn instant(seconds: i64) -> String {
    Timestamp::from_second(seconds).expect("a time").to_string()
}
