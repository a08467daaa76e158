//! What we say to a server (RFC 9051 §6). A [`Wire`] knows where a synchronising literal has to wait. Whatever a string holds, it stays inside
//! its quotes or its literal: nothing from outside can add a command.

use super::{Capabilities, utf7};
use crate::mail::{FolderName, Secret, UidSet};
use jiff::civil::Date;

/// Longest set of UIDs in one command: some servers cut lines at 8192 octets (RFC 7162 §4).
const SET_OCTETS_MAX: usize = 7900;
/// Largest literal that LITERAL- lets go without waiting (RFC 7888 §5).
const LITERAL_MINUS_OCTETS_MAX: usize = 4096;

/// A command.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// What can you do?
    Capability,
    /// Secure the channel.
    StartTls,
    /// Log in by name and password.
    Login(&'a str, &'a Secret),
    /// Log in by this SASL mechanism; its first message goes along (SASL-IR, RFC 4959), or it all waits for the server's `+`.
    Authenticate(&'a str, Option<&'a Secret>),
    /// Open a folder.
    Select(&'a FolderName),
    /// Open a folder, for looking only (RFC 9051 §6.3.3).
    Examine(&'a FolderName),
    /// Open a folder whose name on the server is no modified UTF-7: as it is.
    SelectRaw(&'a FolderName),
    /// The same, for looking only.
    ExamineRaw(&'a FolderName),
    /// Which folders are there?
    List(ListKind),
    /// Make a folder.
    Create(&'a FolderName),
    /// Which UIDs are there?
    Search(Search<'a>),
    /// How large are these?
    FetchSizes(&'a str),
    /// Asks for INTERNALDATE: when these messages arrived.
    FetchDates(&'a str),
    /// Send these, and do not mark them \Seen.
    FetchBodies(&'a str),
    /// The same, with Gmail's names for the letters (X-GM-EXT-1).
    FetchLetters(&'a str),
    /// Send a piece of one, and do not mark it \Seen (RFC 9051 §6.4.5, "partial").
    FetchPiece {
        /// Which message.
        uid: u32,
        /// The first octet.
        start: u64,
        /// Most octets.
        octets: u32,
    },
    /// Send the headers of these, by UID, and do not mark them \Seen.
    FetchHeaders(&'a str),
    /// The same by sequence numbers, from the first to the last.
    FetchHeadersBetween(u32, u32),
    /// Mark these \Seen.
    StoreSeen(&'a str),
    /// Mark these \Deleted. And \Seen: Exchange tells senders that mail was "deleted unread" otherwise.
    StoreDeleted(&'a str),
    /// Remove those of these that are \Deleted (RFC 4315 §2.1).
    Expunge(&'a str),
    /// Remove everything that is \Deleted, whoever flagged it.
    ExpungeAll,
    /// Copy these to a folder.
    Copy(&'a str, &'a FolderName),
    /// Move these to a folder (RFC 6851).
    Move(&'a str, &'a FolderName),
    /// Tell me what happens, until I say DONE (RFC 2177).
    Idle,
    /// This is who I am (RFC 2971).
    Id,
    /// From here on, compressed (RFC 4978).
    Compress,
    /// Nothing: a chance for the server to tell what happened.
    Noop,
    /// Good bye.
    Logout,
}

/// What ends an IDLE: a line without a tag.
pub const DONE: &[u8] = b"DONE\r\n";

/// How folders are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// LIST as every server knows it.
    Plain,
    /// With the attributes of RFC 6154, asked for as RFC 5258 has it.
    SpecialUse,
    /// XLIST: the same from before RFC 6154.
    Xlist,
}

/// As dates have them (RFC 9051 §9, date-month).
pub(super) const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What a search is for; all of it must be true of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search<'a> {
    /// Its UID is one of these; `None` for any.
    pub set: Option<&'a str>,
    /// It has no \Seen.
    pub unseen: bool,
    /// It has \Deleted.
    pub deleted: bool,
    /// It arrived on this day or later, as the server counts days.
    pub since: Option<Date>,
    /// The answer is to be a set with ranges (ESEARCH, RFC 4731): a few octets for a mailbox of any size.
    pub compact: bool,
}

impl Search<'_> {
    fn text(&self) -> String {
        let mut text = String::from(if self.compact { "UID SEARCH RETURN (ALL)" } else { "UID SEARCH" });
        match self.set {
            Some(set) => text.push_str(&format!(" UID {set}")),
            None if !self.deleted && !self.unseen && self.since.is_none() => text.push_str(" ALL"),
            None => {}
        }
        if self.deleted {
            text.push_str(" DELETED");
        }
        if self.unseen {
            text.push_str(" UNSEEN");
        }
        if let Some(date) = self.since {
            let month = usize::try_from(date.month() - 1).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"Jan");
            text.push_str(&format!(" SINCE {}-{month}-{:04}", date.day(), date.year().max(1)));
        }
        text
    }
}

/// How literals may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Literals {
    /// Each waits for a `+`.
    #[default]
    Synchronising,
    /// Only those above 4096 octets wait (LITERAL-).
    Minus,
    /// None waits (LITERAL+).
    Plus,
}

impl Literals {
    /// As the server offers it.
    pub fn offered(capabilities: &Capabilities) -> Self {
        match () {
            () if capabilities.has("LITERAL+") => Literals::Plus,
            () if capabilities.has("LITERAL-") || capabilities.has("IMAP4REV2") => Literals::Minus,
            () => Literals::Synchronising,
        }
    }
}

/// A command as octets, in parts: before each part but the first, the server's `+` has to be waited for.
#[derive(Clone, PartialEq, Eq)]
pub struct Wire {
    parts: Vec<Vec<u8>>,
}

impl Wire {
    /// The parts.
    pub fn parts(&self) -> &[Vec<u8>] {
        &self.parts
    }

    /// True if it can be sent at once, so that others may follow it.
    pub fn is_whole(&self) -> bool {
        self.parts.len() == 1
    }
}

/// Not even its length is shown: it may hold a password.
impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

/// A string with a NUL octet: IMAP has no way to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has a NUL octet, which IMAP cannot send")]
pub struct UnwritableCommand;

impl Command<'_> {
    /// Writes the command with this tag.
    pub fn write(&self, tag: &str, literals: Literals) -> Result<Wire, UnwritableCommand> {
        let mut writer = Writer { parts: vec![format!("{tag} ").into_bytes()], literals };
        match self {
            Command::Capability => writer.text("CAPABILITY"),
            Command::StartTls => writer.text("STARTTLS"),
            Command::Login(username, password) => {
                writer.text("LOGIN ");
                writer.string(username)?;
                writer.text(" ");
                writer.string(password.expose())?;
            }
            Command::Authenticate(mechanism, initial) => {
                writer.text("AUTHENTICATE ");
                writer.text(mechanism);
                if let Some(initial) = initial {
                    writer.text(" ");
                    writer.text(initial.expose());
                }
            }
            Command::Select(folder) => {
                writer.text("SELECT ");
                writer.folder(folder)?;
            }
            Command::Examine(folder) => {
                writer.text("EXAMINE ");
                writer.folder(folder)?;
            }
            Command::SelectRaw(folder) => {
                writer.text("SELECT ");
                writer.string(folder.as_str())?;
            }
            Command::ExamineRaw(folder) => {
                writer.text("EXAMINE ");
                writer.string(folder.as_str())?;
            }
            Command::List(ListKind::Plain) => writer.text("LIST \"\" \"*\""),
            Command::List(ListKind::SpecialUse) => writer.text("LIST \"\" \"*\" RETURN (SPECIAL-USE)"),
            Command::List(ListKind::Xlist) => writer.text("XLIST \"\" \"*\""),
            Command::Create(folder) => {
                writer.text("CREATE ");
                writer.folder(folder)?;
            }
            Command::Search(search) => writer.text(&search.text()),
            Command::FetchPiece { uid, start, octets } => writer.text(&format!("UID FETCH {uid} (UID RFC822.SIZE BODY.PEEK[]<{start}.{octets}>)")),
            Command::Copy(set, folder) => {
                writer.text(&format!("UID COPY {set} "));
                writer.folder(folder)?;
            }
            Command::Move(set, folder) => {
                writer.text(&format!("UID MOVE {set} "));
                writer.folder(folder)?;
            }
            Command::FetchSizes(set) => writer.text(&format!("UID FETCH {set} (RFC822.SIZE)")),
            Command::FetchDates(set) => writer.text(&format!("UID FETCH {set} (INTERNALDATE)")),
            Command::FetchBodies(set) => writer.text(&format!("UID FETCH {set} (UID RFC822.SIZE BODY.PEEK[])")),
            Command::FetchLetters(set) => writer.text(&format!("UID FETCH {set} (UID RFC822.SIZE X-GM-MSGID BODY.PEEK[])")),
            Command::FetchHeaders(set) => writer.text(&format!("UID FETCH {set} (UID BODY.PEEK[HEADER])")),
            Command::FetchHeadersBetween(first, last) => writer.text(&format!("FETCH {first}:{last} (UID BODY.PEEK[HEADER])")),
            Command::StoreSeen(set) => writer.text(&format!("UID STORE {set} +FLAGS.SILENT (\\Seen)")),
            Command::StoreDeleted(set) => writer.text(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted \\Seen)")),
            Command::Expunge(set) => writer.text(&format!("UID EXPUNGE {set}")),
            Command::ExpungeAll => writer.text("EXPUNGE"),
            Command::Idle => writer.text("IDLE"),
            Command::Id => writer.text(concat!("ID (\"name\" \"mailgather\" \"version\" \"", env!("CARGO_PKG_VERSION"), "\")")),
            Command::Compress => writer.text("COMPRESS DEFLATE"),
            Command::Noop => writer.text("NOOP"),
            Command::Logout => writer.text("LOGOUT"),
        }
        writer.text("\r\n");
        Ok(Wire { parts: writer.parts })
    }

    /// The set as sequence-sets, each short enough for a line; none for the empty set.
    pub fn sets(uids: &UidSet) -> Vec<String> {
        let mut sets: Vec<String> = Vec::new();
        for range in uids.ranges() {
            let text = if range.start() == range.end() { range.start().to_string() } else { format!("{}:{}", range.start(), range.end()) };
            match sets.last_mut() {
                Some(set) if set.len() + 1 + text.len() <= SET_OCTETS_MAX => {
                    set.push(',');
                    set.push_str(&text);
                }
                _ => sets.push(text),
            }
        }
        sets
    }
}

struct Writer {
    parts: Vec<Vec<u8>>,
    literals: Literals,
}

impl Writer {
    fn last(&mut self) -> &mut Vec<u8> {
        if self.parts.is_empty() {
            self.parts.push(Vec::new());
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    fn text(&mut self, text: &str) {
        self.last().extend_from_slice(text.as_bytes());
    }

    fn folder(&mut self, folder: &FolderName) -> Result<(), UnwritableCommand> {
        if folder.as_str().eq_ignore_ascii_case("INBOX") {
            self.text("INBOX");
            return Ok(());
        }
        self.string(&utf7::encode(folder.as_str()))
    }

    /// A quoted string, or a literal for what cannot be quoted: CR, LF and 8-bit (RFC 3501 §9, QUOTED-CHAR).
    fn string(&mut self, text: &str) -> Result<(), UnwritableCommand> {
        if text.contains('\0') {
            return Err(UnwritableCommand);
        }
        if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
            let last = self.last();
            last.push(b'"');
            for octet in text.bytes() {
                if matches!(octet, b'"' | b'\\') {
                    last.push(b'\\');
                }
                last.push(octet);
            }
            last.push(b'"');
            return Ok(());
        }
        let waits = match self.literals {
            Literals::Synchronising => true,
            Literals::Minus => text.len() > LITERAL_MINUS_OCTETS_MAX,
            Literals::Plus => false,
        };
        self.text(&format!("{{{}{}}}\r\n", text.len(), if waits { "" } else { "+" }));
        if waits {
            self.parts.push(Vec::new());
        }
        self.text(text);
        Ok(())
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
