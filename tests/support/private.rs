//! What servers of the tests have in common, of whichever family: a folder of their own, programs that were unpacked, and ports that answer.

use super::ports::Port;
use super::process::Guarded;
use super::{SOON, eventually};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where `tests/run packages` unpacks the packages that conflict with those that are installed.
pub const PACKAGES: &str = "/var/cache/mailgather-tests/debian";

/// A folder for a server with folders in it; other users, as which parts of servers run, may pass through.
pub fn folder(server: &str, inside: &[&str]) -> TempDir {
    let folder = tempfile::Builder::new().prefix(&format!("mailgather-{server}-")).tempdir().expect("a temporary folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("our own folder");
    for name in inside {
        std::fs::create_dir_all(folder.path().join(name)).expect("a folder in ours");
    }
    folder
}

/// Gives paths, and all that is in them, to a user; `user:group` for both.
pub fn give(user: &str, paths: &[impl AsRef<OsStr>]) {
    let status = Command::new("chown").arg("-R").arg(user).args(paths).status().expect("chown");
    assert!(status.success(), "there is no user {user}: run `tests/run packages` as root");
}

/// The path of a program in a package that was unpacked.
pub fn unpacked(package: &str, path: &str) -> String {
    let path = Path::new(PACKAGES).join(package).join(path);
    assert!(path.exists(), "nothing is unpacked at {}: run `tests/run packages` as root", path.display());
    path.to_string_lossy().into_owned()
}

/// Waits until a server accepts connections at all of its ports; its logs tell why it ended.
pub fn until_it_answers(name: &str, server: &Guarded, ports: &[&Port], logs: &[PathBuf]) {
    let said = || logs.iter().map(|log| std::fs::read_to_string(log).unwrap_or_default()).collect::<String>();
    eventually(&format!("{name} answers"), SOON, || {
        assert!(server.is_alive(), "{name} ended: {}", said());
        ports.iter().all(|port| port.answers())
    });
}

/// The ports of a server of mailboxes.
pub struct MailPorts {
    pub imap: Port,
    pub imaps: Port,
    pub pop3: Port,
    pub pop3s: Port,
}

impl MailPorts {
    /// Free ones.
    pub fn reserve() -> MailPorts {
        MailPorts { imap: Port::reserve(), imaps: Port::reserve(), pop3: Port::reserve(), pop3s: Port::reserve() }
    }

    /// IMAP, IMAP over TLS, POP3, POP3 over TLS.
    pub fn all(&self) -> [&Port; 4] {
        [&self.imap, &self.imaps, &self.pop3, &self.pop3s]
    }

    /// Their numbers.
    pub fn numbers(&self) -> [u16; 4] {
        self.all().map(Port::number)
    }
}
