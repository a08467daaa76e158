//! The socket's place and its permissions.
//!
//! Who may open it decides the kernel: mode 0600, or 0660 with a group of the operator's choice, in a folder that is ours. Beside that the
//! server asks who is there (SO_PEERCRED), and writes it into the log.

use crate::config::Config;
use rustix::fs::{Gid, Mode, chmod, chown};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in its folder.
const NAME: &str = "control.sock";
/// What the socket is called among those that systemd gives (`FileDescriptorName=`).
const INHERITED_NAME: &str = "control";
/// Longest path of a socket (unix(7): `sun_path`, with its NUL).
const PATH_OCTETS_MAX: usize = 107;

/// Where the socket is: where the configuration says, else where it is by default.
pub fn path_of(config: &Config) -> PathBuf {
    config.control.socket.clone().unwrap_or_else(|| default_path(&config.service.state_dir))
}

/// Where the socket is by default: where systemd made a folder for it, else beside the state that it controls.
pub fn default_path(state_dir: &Path) -> PathBuf {
    match std::env::var_os("RUNTIME_DIRECTORY").filter(|dirs| !dirs.is_empty()) {
        // systemd.exec(5): several folders stand with colons between them.
        Some(dirs) => PathBuf::from(dirs.to_string_lossy().split(':').next().unwrap_or_default()).join(NAME),
        None => state_dir.join(NAME),
    }
}

/// The socket that systemd made and listens on already (sd_listen_fds(3)), if it gave one to this process. To be called once, before any thread is
/// started: the variables that tell of it are taken away, so that no child believes them.
pub fn inherited() -> Result<Option<std::os::unix::net::UnixListener>, SocketError> {
    let variable = |name: &str| std::env::var(name).ok();
    // What was given to another process is nothing of ours.
    if variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(None);
    }
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut given = listenfd::ListenFd::from_env();
    if given.len() == 0 {
        return Ok(None);
    }
    let at = names.split(':').position(|name| name == INHERITED_NAME).ok_or(SocketError::NotNamed(given.len()))?;
    let listener = given.take_unix_listener(at).map_err(|error| SocketError::WrongKind(error.to_string()))?;
    let listener = listener.ok_or(SocketError::NotNamed(given.len()))?;
    match socket2::SockRef::from(&listener).is_listener() {
        Ok(true) => Ok(Some(listener)),
        Ok(false) => Err(SocketError::WrongKind("it does not listen".to_owned())),
        Err(error) => Err(SocketError::WrongKind(error.to_string())),
    }
}

/// A socket that listens; its file goes with it.
#[derive(Debug)]
pub struct Listening {
    /// Where connections come in.
    pub listener: UnixListener,
    path: PathBuf,
    /// It is systemd's, which goes on listening when we end.
    is_inherited: bool,
}

/// Why it does not.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("{0}: another mailgather listens there")]
    Busy(PathBuf),
    /// Something else stands there.
    #[error("{0} is there, and is no socket")]
    NoSocket(PathBuf),
    /// Beyond what the system takes.
    #[error("{0}: a socket's path has {PATH_OCTETS_MAX} octets at most")]
    TooLong(PathBuf),
    /// The system knows no such group.
    #[error("there is no group `{0}` in /etc/group")]
    NoGroup(String),
    /// systemd gave sockets, and not the one.
    #[error("systemd gave {0} sockets, and none of them is called `{INHERITED_NAME}`: write `FileDescriptorName={INHERITED_NAME}`")]
    NotNamed(usize),
    /// systemd gave something else under its name.
    #[error("what systemd gave as `{INHERITED_NAME}` is no unix stream socket that listens: write `ListenStream=` with a path ({0})")]
    WrongKind(String),
    /// The system says no.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl Listening {
    /// Listens. A socket that a crash left behind is taken away first; one that answers is not. Must be called inside the runtime.
    pub async fn open(path: &Path, group: Option<&str>) -> Result<Self, SocketError> {
        let failed = |error: io::Error| SocketError::Io { path: path.to_owned(), error };
        if path.as_os_str().len() > PATH_OCTETS_MAX {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        let group = group.map(|group| number(group).ok_or_else(|| SocketError::NoGroup(group.to_owned()))).transpose()?;
        match std::fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => return Err(SocketError::NoSocket(path.to_owned())),
            Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(SocketError::Busy(path.to_owned())),
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        // Open to nobody but us from its first moment: bind(2) makes it under a name that nobody looks for, with the mode of the umask.
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(failed)?;
        let opened = || {
            chmod(&new, Mode::from_raw_mode(if group.is_some() { 0o660 } else { 0o600 }))?;
            if let Some(group) = group {
                chown(&new, None, Some(Gid::from_raw(group)))?;
            }
            rustix::fs::rename(&new, path)
        };
        if let Err(error) = opened() {
            let _ = std::fs::remove_file(&new);
            return Err(failed(error.into()));
        }
        Ok(Listening { listener, path: path.to_owned(), is_inherited: false })
    }

    /// Takes over the socket that systemd made, which also says who may open it. Must be called inside the runtime.
    pub fn of_systemd(listener: std::os::unix::net::UnixListener) -> Result<Self, SocketError> {
        let path = listener.local_addr().ok().and_then(|address| Some(address.as_pathname()?.to_owned())).unwrap_or_default();
        let failed = |error: io::Error| SocketError::Io { path: path.clone(), error };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok(Listening { listener, path, is_inherited: true })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The number of a group (group(5)). What a directory service knows beyond that file is named by its number.
fn number(group: &str) -> Option<u32> {
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    let text = std::fs::read_to_string("/etc/group").ok()?;
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    text.lines().find_map(of_line)
}

impl Drop for Listening {
    fn drop(&mut self) {
        if !self.is_inherited {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn it_is_ours_alone_and_a_second_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sock");
        let first = Listening::open(&path, None).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Listening::open(&path, None).await, Err(SocketError::Busy(_))));
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(Listening::open(&path, None).await, Err(SocketError::NoSocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"x", "what is no socket of ours stays");
    }

    #[tokio::test]
    async fn what_a_crash_left_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let group = rustix::process::getgid().as_raw().to_string();
        let listening = Listening::open(&path, Some(&group)).await.unwrap();
        assert_eq!(std::fs::metadata(listening.path()).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(UnixStream::connect(&path).await.is_ok());
        assert_eq!((number("root"), number("17"), number("no such group")), (Some(0), Some(17), None));
        let long = dir.path().join("x".repeat(200));
        assert!(matches!(Listening::open(&long, None).await, Err(SocketError::TooLong(_))));
    }
}
