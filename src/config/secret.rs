//! Reads a secret from where the configuration says it is, at each login: a changed secret needs no reload.
//!
//! A file that others may read, or that anybody but its owner may write, is refused: so is a secret that is empty or too long. No error
//! holds anything of the secret; of a command's standard error, one harmless line is shown, because it says why.

use super::SecretSource;
use super::error::harmless;
use crate::mail::Secret;
use futures_util::future::BoxFuture;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest secret, in octets.
pub const SECRET_OCTETS_MAX: usize = 64 * 1024;
/// How much of a command's standard error is shown, in characters.
const STDERR_CHARS_MAX: usize = 200;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is open to others.
    #[error("{path} has mode {mode:04o}: {why}; chmod 0600 it (0640 at most)")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What is wrong with them.
        why: &'static str,
    },
    /// The variable is not set, or not UTF-8.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// systemd gave no credentials.
    #[error("credential {0}: $CREDENTIALS_DIRECTORY is not set; `LoadCredential=` of the unit sets it")]
    NoCredentials(String),
    /// Our own store has none with this name.
    #[error("there is no secret `{name}` in {folder}: run `mailgather secret set {name}`")]
    NotStored {
        /// The name.
        name: String,
        /// Where it would be.
        folder: PathBuf,
    },
    /// The name is a path.
    #[error("a credential's name is one word, not a path")]
    CredentialName,
    /// The command could not be started or waited for.
    #[error("{program}: {error}")]
    Command {
        /// The program.
        program: String,
        /// Why.
        error: std::io::Error,
    },
    /// The command failed.
    #[error("{program} ended with {status}{stderr}")]
    Status {
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// The last line it wrote to its standard error, made harmless.
        stderr: String,
    },
    /// The command took too long.
    #[error("{program} did not end within {limit:?}")]
    Timeout {
        /// The program.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// Nothing in it.
    #[error("the secret is empty")]
    Empty,
    /// Too much in it.
    #[error("the secret is longer than 64 KiB")]
    TooLong,
    /// It cannot be sent.
    #[error("the secret is not UTF-8 text")]
    NotText,
}

/// Why there is no secret to log in with. It holds nothing of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SecretError {
    /// What happened, in words.
    pub text: String,
    /// What follows from it.
    pub kind: SecretErrorKind,
    /// What the operator can do, where more is known than where the secret should be.
    pub hint: Option<String>,
}

/// What follows from a secret that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretErrorKind {
    /// It cannot be read: an operator has to look.
    Unreadable,
    /// Whoever gives it says no, and will go on to.
    Refused,
    /// Whoever gives it has no time now.
    Unavailable {
        /// How long it wants to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
}

impl SecretError {
    /// An error with nothing more to say.
    pub fn new(kind: SecretErrorKind, text: impl Into<String>) -> Self {
        SecretError { text: text.into(), kind, hint: None }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ReadError> for SecretError {
    fn from(error: ReadError) -> Self {
        SecretError::new(SecretErrorKind::Unreadable, error.to_string())
    }
}

impl From<String> for SecretError {
    fn from(text: String) -> Self {
        SecretError::new(SecretErrorKind::Unreadable, text)
    }
}

impl From<&str> for SecretError {
    fn from(text: &str) -> Self {
        SecretError::from(text.to_owned())
    }
}

/// Reads a secret anew each time it is called, so that a changed one needs no reload.
pub type SecretReader = Arc<dyn Fn() -> BoxFuture<'static, Result<Secret, SecretError>> + Send + Sync>;

/// A reader of this source.
pub fn reader(source: &SecretSource) -> SecretReader {
    let source = source.clone();
    Arc::new(move || {
        let source = source.clone();
        Box::pin(async move { read(&source).await.map_err(SecretError::from) })
    })
}

/// Reads a secret.
pub async fn read(source: &SecretSource) -> Result<Secret, ReadError> {
    match source {
        SecretSource::Command { argv, timeout } => run(argv, *timeout).await.and_then(secret_of),
        SecretSource::Plain(secret) if secret.expose().is_empty() => Err(ReadError::Empty),
        SecretSource::Plain(secret) => Ok(secret.clone()),
        SecretSource::Env(name) => std::env::var(name).map_err(|_| ReadError::Env(name.clone())).and_then(|value| secret_of(value.into_bytes())),
        SecretSource::File(_) | SecretSource::Credential(_) | SecretSource::Stored(_) => {
            let source = source.clone();
            let read = tokio::task::spawn_blocking(move || read_path(&path_of(&source)?, &source));
            // A task that was cancelled or panicked has read nothing.
            read.await.unwrap_or(Err(ReadError::Empty)).and_then(secret_of)
        }
    }
}

/// What a secret looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Like one.
    Fine,
    /// It starts or ends with white space.
    Blanks,
    /// It has more than one line.
    Lines,
}

/// Looks whether a secret could be read, and what is odd about it; runs no command. Blocks on the disk.
pub fn check(source: &SecretSource) -> Result<Look, ReadError> {
    let secret = match source {
        SecretSource::Command { .. } => return Ok(Look::Fine),
        SecretSource::Plain(secret) if secret.expose().is_empty() => return Err(ReadError::Empty),
        // What it looks like stands before everybody's eyes.
        SecretSource::Plain(_) => return Ok(Look::Fine),
        SecretSource::Env(name) => std::env::var(name).map_err(|_| ReadError::Env(name.clone())).and_then(|value| secret_of(value.into_bytes()))?,
        SecretSource::File(_) | SecretSource::Credential(_) | SecretSource::Stored(_) => read_path(&path_of(source)?, source).and_then(secret_of)?,
    };
    Ok(match secret.expose() {
        text if text.contains(['\n', '\r']) => Look::Lines,
        text if text.trim() != text => Look::Blanks,
        _ => Look::Fine,
    })
}

/// What tells from outside that a file holds another secret by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    octets: u64,
    changed: (i64, i64),
}

/// The stamp of a secret that lies in a file. Nothing is read; other sources have none. Blocks on the disk.
pub fn stamp(source: &SecretSource) -> Option<Stamp> {
    let meta = match source {
        SecretSource::File(_) | SecretSource::Credential(_) | SecretSource::Stored(_) => std::fs::metadata(path_of(source).ok()?).ok()?,
        SecretSource::Plain(_) | SecretSource::Env(_) | SecretSource::Command { .. } => return None,
    };
    Some(Stamp { inode: meta.ino(), octets: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) })
}

/// True for a name that stays inside its folder.
pub fn is_credential_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// The name that a secret of our own store has.
pub fn name_of(stored: &Path) -> std::borrow::Cow<'_, str> {
    stored.file_name().unwrap_or_default().to_string_lossy()
}

fn path_of(source: &SecretSource) -> Result<PathBuf, ReadError> {
    match source {
        SecretSource::File(path) | SecretSource::Stored(path) => Ok(path.clone()),
        SecretSource::Credential(name) if !is_credential_name(name) => Err(ReadError::CredentialName),
        SecretSource::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(folder) => Ok(Path::new(&folder).join(name)),
            None => Err(ReadError::NoCredentials(name.clone())),
        },
        _ => Err(ReadError::Empty),
    }
}

fn read_path(path: &Path, source: &SecretSource) -> Result<Vec<u8>, ReadError> {
    let is_stored = matches!(source, SecretSource::Stored(_));
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound if is_stored => {
            ReadError::NotStored { name: name_of(path).into_owned(), folder: path.parent().unwrap_or(path).to_owned() }
        }
        _ => ReadError::File { path: path.to_owned(), error },
    };
    // A FIFO would block here for ever, a device never end: only a file is opened.
    let meta = std::fs::metadata(path).map_err(fail)?;
    if !meta.is_file() {
        return Err(fail(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let file = std::fs::File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
    // What systemd put into a credential's folder has the mode systemd gives it.
    if is_stored || matches!(source, SecretSource::File(_)) {
        let why = match mode {
            // Ours are made without: somebody opened it.
            mode if is_stored && mode & 0o077 != 0 => Some("it is for its owner alone"),
            mode if mode & 0o007 != 0 => Some("everybody may use it"),
            mode if mode & 0o020 != 0 => Some("its group may change it"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(ReadError::Mode { path: path.to_owned(), mode, why });
        }
    }
    let mut octets = Vec::new();
    file.take(SECRET_OCTETS_MAX as u64 + 1).read_to_end(&mut octets).map_err(fail)?;
    Ok(octets)
}

/// One line end at the end is the editor's, not the secret's.
fn secret_of(mut octets: Vec<u8>) -> Result<Secret, ReadError> {
    if octets.len() > SECRET_OCTETS_MAX {
        return Err(ReadError::TooLong);
    }
    if octets.last() == Some(&b'\n') {
        octets.pop();
        if octets.last() == Some(&b'\r') {
            octets.pop();
        }
    }
    if octets.is_empty() {
        return Err(ReadError::Empty);
    }
    String::from_utf8(octets).map(Secret::new).map_err(|_| ReadError::NotText)
}

async fn run(argv: &[String], limit: Duration) -> Result<Vec<u8>, ReadError> {
    let Some((program, arguments)) = argv.split_first() else { return Err(ReadError::Empty) };
    let fail = |error| ReadError::Command { program: program.clone(), error };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(fail)?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let all = async {
        // Too much output ends the wait at once: such a command may never close its standard error.
        let output = async {
            let output = read_up_to(&mut stdout, SECRET_OCTETS_MAX + 1).await.map_err(fail)?;
            if output.len() > SECRET_OCTETS_MAX { Err(ReadError::TooLong) } else { Ok(output) }
        };
        let complaint = async { Ok(read_up_to(&mut stderr, SECRET_OCTETS_MAX).await.unwrap_or_default()) };
        let (output, complaint) = tokio::try_join!(output, complaint)?;
        Ok((output, complaint, child.wait().await.map_err(fail)?))
    };
    // When the time is over the future is dropped, and the child killed with it.
    let Ok(done) = tokio::time::timeout(limit, all).await else { return Err(ReadError::Timeout { program: program.clone(), limit }) };
    let (output, complaint, status) = done?;
    if !status.success() {
        return Err(ReadError::Status { program: program.clone(), status: status.to_string(), stderr: last_line(&complaint, &output) });
    }
    Ok(output)
}

async fn read_up_to(from: &mut Option<impl AsyncRead + Unpin>, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    if let Some(from) = from {
        from.take(limit as u64).read_to_end(&mut octets).await?;
    }
    Ok(octets)
}

/// The last line of a complaint, unless it repeats what may be the secret.
fn last_line(complaint: &[u8], output: &[u8]) -> String {
    let complaint = String::from_utf8_lossy(complaint);
    let line: String = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("").trim().chars().take(STDERR_CHARS_MAX).collect();
    let output = String::from_utf8_lossy(output);
    if line.is_empty() || output.split_whitespace().any(|word| line.contains(word)) {
        return String::new();
    }
    format!(": {}", harmless(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(argv: &[&str], timeout_ms: u64) -> SecretSource {
        SecretSource::Command { argv: argv.iter().map(|s| (*s).to_owned()).collect(), timeout: Duration::from_millis(timeout_ms) }
    }

    async fn outcome(source: &SecretSource) -> Result<String, String> {
        read(source).await.map(|secret| secret.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn files_lose_one_line_end_and_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let source = SecretSource::File(path.clone());
        assert!(outcome(&source).await.unwrap_err().contains("No such file"));
        for (octets, expected) in [
            (&b"hunter2\n"[..], Some("hunter2")),
            (b"a\r\n", Some("a")),
            (b"a\n\n", Some("a\n")),
            (b" a ", Some(" a ")),
            (b"\n", None),
            (b"", None),
            (b"\xff", None),
        ] {
            std::fs::write(&path, octets).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(outcome(&source).await.ok().as_deref(), expected, "{octets:?}");
            assert_eq!(check(&source).is_ok(), expected.is_some());
        }
        std::fs::write(&path, "hunter2").unwrap();
        for (mode, fine) in [(0o640, true), (0o400, true), (0o644, false), (0o660, false), (0o602, false), (0o601, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let got = outcome(&source).await;
            assert_eq!(got.is_ok(), fine, "{mode:o}");
            assert!(fine || got.unwrap_err().contains(&format!("{mode:04o}")));
        }
        std::fs::write(&path, vec![b'a'; SECRET_OCTETS_MAX + 2]).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(outcome(&source).await.unwrap_err().contains("64 KiB"));
        assert!(outcome(&SecretSource::File(folder.path().to_owned())).await.unwrap_err().contains("not a regular file"));
    }

    #[tokio::test]
    async fn commands_have_limits_and_their_failures_say_why() {
        assert_eq!(outcome(&command(&["printf", "a b\n"], 5_000)).await.unwrap(), "a b");
        assert!(outcome(&command(&["sleep", "30"], 50)).await.unwrap_err().contains("did not end within"));
        assert!(outcome(&command(&["/no/such/program"], 5_000)).await.is_err());
        assert!(outcome(&command(&["true"], 5_000)).await.unwrap_err().contains("empty"));
        assert!(outcome(&command(&["yes"], 5_000)).await.unwrap_err().contains("64 KiB"));
        let failed = outcome(&command(&["sh", "-c", "echo hunter2; printf 'locked\\033[1m\\n' >&2; exit 3"], 5_000)).await.unwrap_err();
        assert!(
            failed.contains("exit status: 3") && failed.contains("locked") && !failed.contains('\u{1b}') && !failed.contains("hunter2"),
            "{failed}"
        );
        let leaky = outcome(&command(&["sh", "-c", "echo hunter2; echo bad hunter2 >&2; exit 1"], 5_000)).await.unwrap_err();
        assert!(!leaky.contains("hunter2"), "{leaky}");
    }

    #[tokio::test]
    async fn other_sources() {
        assert_eq!(outcome(&SecretSource::Plain(Secret::new("x".into()))).await.unwrap(), "x");
        assert!(outcome(&SecretSource::Env("MAILGATHER_NO_SUCH_VARIABLE".into())).await.unwrap_err().contains("not set"));
        assert!(outcome(&SecretSource::Credential("../etc/passwd".into())).await.unwrap_err().contains("one word"));
        let folder = tempfile::tempdir().unwrap();
        let stored = SecretSource::Stored(folder.path().join("boss"));
        let missing = outcome(&stored).await.unwrap_err();
        assert!(missing.contains("no secret `boss`") && missing.contains("mailgather secret set boss"), "{missing}");
        std::fs::write(folder.path().join("boss"), "hunter2").unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(folder.path().join("boss"), PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!((outcome(&stored).await.is_ok(), check(&stored).is_ok()), (fine, fine), "{mode:o}");
        }
        assert!(stamp(&stored).is_some());
        for (name, fine) in [("office", true), ("a.b", true), ("..", false), ("a/b", false), ("", false)] {
            assert_eq!(is_credential_name(name), fine, "{name}");
        }
    }
}
