//! Reading and filling a Maildir from outside, and comparing what was delivered with what was collected.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The uid and gid of all test mail: it needs no entry in /etc/passwd.
pub const MAIL_UID: u32 = 5000;

/// A Maildir on disk; it need not exist yet.
#[derive(Clone, Debug)]
pub struct Maildir(pub PathBuf);

/// A message in a Maildir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its file name.
    pub name: String,
    /// True if no reader has seen it: it lies in `new/`.
    pub is_new: bool,
    /// The letters after `:2,`.
    pub flags: String,
    /// Its octets as they are on disk.
    pub bytes: Vec<u8>,
}

impl Maildir {
    /// Writes a message into `new/`, octet by octet as given. Names ascend, so that a server gives out UIDs in this order.
    pub fn put(&self, bytes: &[u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("1700000000.M{:09}P{}.test", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        self.make();
        std::fs::write(self.0.join("tmp").join(&name), bytes).expect("a file in tmp/");
        let _ = std::os::unix::fs::chown(self.0.join("tmp").join(&name), Some(MAIL_UID), Some(MAIL_UID));
        std::fs::rename(self.0.join("tmp").join(&name), self.0.join("new").join(&name)).expect("a move into new/");
    }

    /// Makes the folders, as the mail user's if we may.
    pub fn make(&self) {
        for folder in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(self.0.join(folder)).expect("the folders of a Maildir");
        }
        for path in [self.0.parent().unwrap_or(&self.0), &self.0, &self.0.join("tmp"), &self.0.join("new"), &self.0.join("cur")] {
            let _ = std::os::unix::fs::chown(path, Some(MAIL_UID), Some(MAIL_UID));
        }
    }

    /// All messages, in the order of their names.
    pub fn stored(&self) -> Vec<Stored> {
        let mut all = Vec::new();
        for folder in ["new", "cur"] {
            for path in files(&self.0.join(folder)) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // A reader may move or remove a file between the listing and the reading.
                let Ok(bytes) = std::fs::read(&path) else { continue };
                let flags = name.split_once(":2,").map(|(_, flags)| flags.to_string()).unwrap_or_default();
                all.push(Stored { name, is_new: folder == "new", flags, bytes });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The octets of all messages.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.stored().into_iter().map(|m| m.bytes).collect()
    }

    /// How many messages there are.
    pub fn count(&self) -> usize {
        files(&self.0.join("new")).len() + files(&self.0.join("cur")).len()
    }

    /// Files that were begun and not finished.
    pub fn unfinished(&self) -> usize {
        files(&self.0.join("tmp")).len()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map(|entries| entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect()).unwrap_or_default()
}

/// A message cut into its header fields (each with its line ends, folded lines included) and its body. A line without a colon in the header is
/// a field of its own.
pub fn split(message: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let length = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(length);
        rest = after;
        match (line, fields.last_mut()) {
            (b"\n" | b"\r\n", _) => return (fields, rest.to_vec()),
            ([b' ' | b'\t', ..], Some(field)) => field.extend_from_slice(line),
            _ => fields.push(line.to_vec()),
        }
    }
    (fields, Vec::new())
}

/// The name of a header field, in lower case.
pub fn name_of(field: &[u8]) -> String {
    let end = field.iter().position(|&b| b == b':').unwrap_or(0);
    String::from_utf8_lossy(&field[..end]).trim_end().to_ascii_lowercase()
}

/// The value of the first field of this name, unfolded and trimmed.
pub fn field(message: &[u8], name: &str) -> Option<String> {
    let (fields, _) = split(message);
    let found = fields.iter().find(|f| name_of(f) == name.to_ascii_lowercase())?;
    let value = String::from_utf8_lossy(&found[name.len() + 1..]).replace("\r\n", "").replace('\n', "");
    Some(value.trim().to_string())
}

/// Fields that the program takes out of a message (its documented header edits), in lower case.
const REMOVED: [&str; 13] = [
    "return-path",
    "status",
    "x-status",
    "x-mozilla-status",
    "x-mozilla-status2",
    "x-mozilla-keys",
    "x-keywords",
    "x-uid",
    "x-uidl",
    "x-imap",
    "x-imapbase",
    "content-length",
    "lines",
];
/// Fields that the program or the target's server puts on top.
const ADDED: [&str; 4] = ["return-path", "received", "delivered-to", "x-original-to"];

/// Says what differs between a message in canonical form and a delivered copy beyond the documented header edits: fields put on top
/// (`X-Mailgather-*`, Received, a missing Message-ID or Date, and the target's own Return-Path, Delivered-To, X-Original-To) and fields taken out.
pub fn difference(canonical: &[u8], delivered: &[u8]) -> Option<String> {
    if canonical == delivered {
        return None;
    }
    let ((want, want_body), (got, got_body)) = (split_original(canonical), split(delivered));
    let kept = |fields: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        // A field of ours that the message brought is renamed by the router, and not where only the delivery is tested.
        let is_ours = |name: &str| name.starts_with("x-mailgather-") || name.starts_with("x-orig-mailgather-");
        fields.into_iter().filter(|f| !REMOVED.contains(&name_of(f).as_str()) && !is_ours(&name_of(f))).collect()
    };
    let (want, got) = (kept(want), kept(got));
    if got.len() < want.len() {
        return Some(format!("{} of {} header fields are missing", want.len() - got.len(), want.len()));
    }
    let (top, rest) = got.split_at(got.len() - want.len());
    // What the original lacks may be added (`add_missing`).
    let is_missing = |name: &str| ["message-id", "date"].contains(&name) && !want.iter().any(|f| name_of(f) == name);
    if let Some(foreign) = top.iter().find(|f| !ADDED.contains(&name_of(f).as_str()) && !is_missing(&name_of(f))) {
        return Some(format!("a field was added: {}", foreign.escape_ascii()));
    }
    if let Some((want, got)) = want.iter().zip(rest).find(|(want, got)| want != got) {
        return Some(format!("a field was changed from {} to {}", show(want), show(got)));
    }
    if want_body != got_body {
        let at = want_body.iter().zip(&got_body).take_while(|(a, b)| a == b).count();
        let near = |body: &[u8]| show(&body[at.saturating_sub(20).min(body.len())..(at + 40).min(body.len())]);
        return Some(format!(
            "the body differs at octet {at} of {} (got {}): {} became {}",
            want_body.len(),
            got_body.len(),
            near(&want_body),
            near(&got_body)
        ));
    }
    None
}

/// A collected message cut in two by the documented rules: a byte order mark and an mbox `From ` line on top are dropped, and a message whose
/// first line is no field has no header.
pub fn split_original(canonical: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut message = canonical.strip_prefix(b"\xef\xbb\xbf").unwrap_or(canonical);
    if message.starts_with(b"From ") || message.starts_with(b">From ") {
        let end = message.iter().position(|&b| b == b'\n').map_or(message.len(), |at| at + 1);
        message = &message[end..];
    }
    let first_line = message.split(|&b| b == b'\r' || b == b'\n').next().unwrap_or_default();
    let name = first_line.split(|&b| b == b':').next().unwrap_or_default();
    let is_field = name.len() < first_line.len() && !name.is_empty() && name.trim_ascii_end().iter().all(|b| b.is_ascii_graphic());
    if first_line.is_empty() || is_field { split(message) } else { (Vec::new(), message.to_vec()) }
}

/// Fails the test if a delivered copy differs beyond the documented header edits.
#[track_caller]
pub fn assert_same(name: &str, canonical: &[u8], delivered: &[u8]) {
    if let Some(difference) = difference(canonical, delivered) {
        panic!("{name}: {difference}");
    }
}

fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

/// A message with every line end as CRLF, for files that a server has written with bare LF.
pub fn with_crlf(stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.len() + stored.len() / 40);
    let mut before = 0;
    for &b in stored {
        if b == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(b);
        before = b;
    }
    out
}

/// A folder of Maildirs to deliver into, one for each address.
pub struct Boxes(tempfile::TempDir);

impl Boxes {
    /// An empty one.
    pub fn new() -> Boxes {
        Boxes(tempfile::Builder::new().prefix("mailgather-boxes-").tempdir().expect("a temporary folder"))
    }

    /// The value of `delivery:` in a configuration. Every Maildir is made when its first message comes.
    pub fn delivery(&self) -> String {
        format!("{{maildir: '{}/{{domain}}/{{local}}', maildir_create: true}}", self.0.path().display())
    }

    /// The Maildir of an address.
    pub fn of(&self, address: &str) -> Maildir {
        let (local, domain) = address.rsplit_once('@').expect("an address");
        Maildir(self.0.path().join(domain).join(local))
    }

    /// The subjects of an address's messages, sorted.
    pub fn subjects(&self, address: &str) -> Vec<String> {
        subjects(&self.of(address).messages())
    }
}

/// The subjects of messages, sorted.
pub fn subjects(messages: &[Vec<u8>]) -> Vec<String> {
    let mut all: Vec<String> = messages.iter().map(|message| field(message, "Subject").unwrap_or_default()).collect();
    all.sort();
    all
}
