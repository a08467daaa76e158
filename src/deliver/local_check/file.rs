//! `check_local: {file: PATH}`: one address a line, `@domain` for all of a domain, `#` for comments.

use super::Exists;
use crate::mail::{Address, Domain};
use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Largest file that is read.
const FILE_OCTETS_MAX: u64 = 16 * 1024 * 1024;
/// How long the file is not looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct AddressFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looked: Option<Instant>,
    stamp: Option<Stamp>,
    /// What is in it, or why it cannot be read.
    addresses: Option<Result<Arc<Addresses>, String>>,
}

/// What changes when the file does: mtime with its nanoseconds, size, inode and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(i64, i64, u64, u64, u64);

#[derive(Debug, Default, PartialEq)]
struct Addresses {
    addresses: HashSet<(String, Domain)>,
    domains: HashSet<Domain>,
}

impl AddressFile {
    pub(super) fn new(path: PathBuf) -> Self {
        AddressFile { path, state: Mutex::default() }
    }

    pub(super) async fn exists(&self, address: &Address) -> Exists {
        match self.current().await {
            Ok(addresses) if addresses.has(address) => Exists::Yes,
            Ok(_) => Exists::No(format!("it is not in {}", self.path.display())),
            Err(why) => Exists::Unknown(why),
        }
    }

    /// The content as it is now, or was a second ago.
    async fn current(&self) -> Result<Arc<Addresses>, String> {
        let mut state = self.state.lock().await;
        if let Some(known) = &state.addresses
            && state.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY)
        {
            return known.clone();
        }
        let (path, before) = (self.path.clone(), state.stamp);
        let has_content = matches!(state.addresses, Some(Ok(_)));
        let read = tokio::task::spawn_blocking(move || read(&path, before.filter(|_| has_content))).await;
        let read = read.unwrap_or_else(|join| Err(join.to_string()));
        state.looked = Some(Instant::now());
        match read {
            Ok(None) => {}
            Ok(Some((stamp, addresses))) => {
                state.stamp = Some(stamp);
                state.addresses = Some(Ok(Arc::new(addresses)));
            }
            Err(why) => {
                let why = format!("{}: {why}", self.path.display());
                let known = matches!(&state.addresses, Some(Err(before)) if *before == why);
                if !known {
                    tracing::error!(event = "check_local_file_failed", reason = why, next = "recipients are not checked");
                }
                state.stamp = None;
                state.addresses = Some(Err(why));
            }
        }
        state.addresses.clone().unwrap_or_else(|| Err("not read".to_owned()))
    }
}

/// `None` if it is still as it was at `before`.
fn read(path: &Path, before: Option<Stamp>) -> Result<Option<(Stamp, Addresses)>, String> {
    // A named pipe must not make us wait.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(|error| error.to_string())?;
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("not a regular file".to_owned());
    }
    let stamp = Stamp(meta.mtime(), meta.mtime_nsec(), meta.size(), meta.ino(), meta.dev());
    if before == Some(stamp) {
        return Ok(None);
    }
    let mut octets = Vec::new();
    // One more than allowed tells that there is more.
    file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets).map_err(|error| error.to_string())?;
    if octets.len() as u64 > FILE_OCTETS_MAX {
        return Err(format!("larger than {} MiB", FILE_OCTETS_MAX / 1024 / 1024));
    }
    let text = String::from_utf8(octets).map_err(|_| "not UTF-8 text".to_owned())?;
    let (addresses, odd) = Addresses::parse(&text);
    if let Some(line) = odd {
        tracing::warn!(event = "check_local_line_skipped", file = %path.display(), line, reason = "neither an address nor @domain");
    }
    Ok(Some((stamp, addresses)))
}

impl Addresses {
    /// What the lines say, and the number of the first that says nothing we understand.
    fn parse(text: &str) -> (Self, Option<usize>) {
        let (mut found, mut odd) = (Addresses::default(), None);
        for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            // A local part may hold a `#`; a comment behind an address stands apart from it.
            let comment = line.match_indices('#').find(|(at, _)| line[..*at].chars().next_back().is_none_or(char::is_whitespace));
            let line = line[..comment.map_or(line.len(), |(at, _)| at)].trim();
            if line.is_empty() {
                continue;
            }
            // Whether it stands there twice does not matter.
            let taken = match line.strip_prefix('@') {
                Some(domain) => domain.parse().map(|domain| found.domains.insert(domain)),
                None => line.parse::<Address>().map(|address| found.addresses.insert(key(&address))),
            };
            if taken.is_err() {
                odd = odd.or(Some(number + 1));
            }
        }
        (found, odd)
    }

    fn has(&self, address: &Address) -> bool {
        self.domains.contains(address.domain()) || self.addresses.contains(&key(address))
    }
}

fn key(address: &Address) -> (String, Domain) {
    (address.local().to_lowercase(), address.domain().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let (addresses, odd) = Addresses::parse(
            "\u{feff}# staff\nAnna@Example.org\r\n  boris@example.org # the other one\n\n#vera@example.org\nРаз@икс.рф\n@xn--e1afmkfd.example\n@@\na#b@example.org\n\"odd one\"@example.org\n",
        );
        assert_eq!(odd, Some(8));
        for (address, has) in [
            ("anna@example.org", true),
            ("ANNA@EXAMPLE.ORG", true),
            ("boris@example.org", true),
            ("vera@example.org", false),
            ("раз@xn--h1aev.xn--p1ai", true),
            ("РАЗ@икс.рф", true),
            ("два@икс.рф", false),
            ("anybody@пример.example", true),
            ("anybody@sub.пример.example", false),
            ("a#b@example.org", true),
            ("\"odd one\"@example.org", true),
        ] {
            assert_eq!(addresses.has(&address.parse().unwrap()), has, "{address}");
        }
        assert_eq!(Addresses::parse(""), (Addresses::default(), None));
    }
}
