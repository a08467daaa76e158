//! Real and hostile mail that other projects' packages ship as data of their own tests: mailing lists, bounces, broken MIME, odd character
//! sets. Nothing of it is committed: `tests/run packages` unpacks it, and [`messages`] takes that step if it was not taken.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `contrib/packages.sh` unpacks.
const UNPACKED: &str = "/var/cache/mailgather-tests";

/// Fewer messages than this, and the corpus is not what the tests were written for.
pub const AT_LEAST: usize = 500;

/// A folder of a package, the names in it that are messages, and how many there must be at least.
const FOLDERS: [(&str, fn(&str) -> bool, usize); 7] = [
    // The lists of real projects, with the envelope headers of a real Postfix.
    ("source/notmuch/test/corpora", |name| name.contains(":2,") || name.ends_with(".eml") || !name.contains('.'), 280),
    // Messages of RFCs, broken and legacy ones.
    ("crates/mail-parser/resources/eml", |name| name.ends_with(".eml"), 180),
    // Bounces of many mail systems.
    ("debian/python3-flufl.bounce", |name| name.ends_with(".txt"), 100),
    ("debian/golang-github-jhillyerd-enmime-dev", |name| name.ends_with(".raw"), 70),
    ("debian/libpython3.11-testsuite/usr/lib/python3.11/test/test_email/data", |name| name.ends_with(".txt"), 40),
    ("debian/python3-dkim", |name| name.ends_with(".msg") || name.ends_with(".message"), 5),
    ("debian/mailman3/usr/lib/python3/dist-packages/mailman", |name| name.ends_with(".eml") || name.ends_with(".txt"), 5),
];

/// All messages with their names, without empty ones and without second copies.
///
/// Two files whose Message-ID, Date, From, Subject and body are equal are one message twice for the program too, which would deliver one.
pub fn messages() -> Vec<(String, Vec<u8>)> {
    if FOLDERS.iter().any(|(folder, ..)| !Path::new(UNPACKED).join(folder).is_dir()) {
        let root = env!("CARGO_MANIFEST_DIR");
        let status = Command::new("bash").args(["tests/run", "corpora"]).current_dir(root).status().expect("bash");
        assert!(status.success(), "the public corpora are not in {UNPACKED} and could not be fetched: run `tests/run corpora` as root");
    }
    let mut known = HashSet::new();
    let mut all = Vec::new();
    for (folder, is_message, at_least) in FOLDERS {
        let mut files = Vec::new();
        walk(&Path::new(UNPACKED).join(folder), &mut files);
        files.sort();
        let before = all.len();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !is_message(&name) {
                continue;
            }
            let bytes = std::fs::read(&file).expect("a file that is there");
            let looks_like_mail = ["From", "Received", "Message-I", "MIME-Version", "Subject", "Content-Type", "Date", "Return-Path", "To"];
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).to_ascii_lowercase();
            let has_field = |field: &&str| {
                let field = field.to_ascii_lowercase();
                head.starts_with(&field) || head.contains(&format!("\n{field}")) || head.contains(&format!("\r{field}"))
            };
            // Licences, lists and templates lie beside the messages. Of mail, hostile as it may be, some line looks like a field.
            if bytes.is_empty() || !looks_like_mail.iter().any(has_field) || !known.insert(identity(&bytes)) {
                continue;
            }
            let path = file.strip_prefix(UNPACKED).unwrap_or(&file).display().to_string();
            all.push((path, bytes));
        }
        let found = all.len() - before;
        assert!(found >= at_least, "{folder}: {found} messages, at least {at_least} were there when this was written");
    }
    assert!(all.len() >= AT_LEAST, "{} messages in all packages, {AT_LEAST} are wanted", all.len());
    all
}

/// What makes two files the same message.
fn identity(bytes: &[u8]) -> Vec<u8> {
    let message = super::maildir::with_crlf(bytes);
    let (_, body) = super::maildir::split(&message);
    let fields = ["Message-ID", "Date", "From", "Subject"].map(|name| super::maildir::field(&message, name).unwrap_or_default());
    if fields[0].is_empty() && fields[1].is_empty() { message } else { [fields.join("\n").as_bytes(), &body].concat() }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}
