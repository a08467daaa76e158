//! The file of one collector's tokens: in a folder of the state directory that is its owner's alone, replaced as a whole and durable.

use super::seal;
use super::tokens::Tokens;
use crate::config::secret::{self, ReadError, SecretError, SecretErrorKind};
use crate::config::{OAuth, SecretSource, store};
use crate::mail::{CollectorId, Secret};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// The folder's name in the state directory.
pub const FOLDER: &str = "oauth";
/// Longest wait for another process that has the lock: somewhat longer than it may wait for its server.
const LOCK_PATIENCE: Duration = Duration::from_secs(45);
/// How often the lock is tried.
const LOCK_TRIED_EVERY: Duration = Duration::from_millis(50);

/// Where the tokens of one collector are kept.
#[derive(Clone, Debug)]
pub struct Kept {
    store: store::Store,
    name: String,
    /// The name of what tells that somebody has signed in.
    signed: String,
    key: Option<SecretSource>,
}

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Tokens.
    Tokens(Box<Tokens>),
    /// No file.
    Nothing,
    /// Something that cannot be used, and why.
    Unusable(String),
}

impl Kept {
    /// Those of this collector.
    pub fn of(collector: &CollectorId, oauth: &OAuth) -> Self {
        // A letter in front: a name may begin with what no name of the store does.
        let name = format!("c.{collector}");
        let signed = format!("s.{collector}");
        Kept { store: store::Store::named(&oauth.state_dir, FOLDER), name, signed, key: oauth.key.clone() }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.store.folder().join(&self.name)
    }

    /// An empty file that is another one each time somebody has signed in. That of the tokens is also written by whoever renews them: it tells nothing
    /// about whether a refused login is worth another try.
    pub fn signed(&self) -> PathBuf {
        self.store.folder().join(&self.signed)
    }

    /// What is there now. The error is about reading it.
    pub async fn read(&self) -> Result<Found, SecretError> {
        let text = match secret::read(&SecretSource::Stored(self.path())).await {
            Ok(text) => text,
            Err(ReadError::NotStored { .. }) => return Ok(Found::Nothing),
            Err(ReadError::Empty | ReadError::TooLong | ReadError::NotText) => return Ok(Found::Unusable("it is damaged".to_owned())),
            Err(error) => return Err(SecretError::new(SecretErrorKind::Unreadable, format!("the tokens that were kept: {error}"))),
        };
        let opened = match (seal::is_sealed(text.expose()), &self.key) {
            (false, _) => Ok(text),
            (true, None) => Err("it is sealed, and there is no `service.token_key`"),
            (true, Some(key)) => seal::open(&read_key(key).await?, &self.name, text.expose()),
        };
        Ok(match opened.and_then(|text| Tokens::read(text.expose())) {
            Ok(tokens) => Found::Tokens(Box::new(tokens)),
            Err(why) => Found::Unusable(why.to_owned()),
        })
    }

    /// Keeps these in place of what is there: durable when it returns.
    pub async fn write(&self, tokens: &Tokens) -> Result<(), SecretError> {
        let mut text = tokens.written();
        if let Some(key) = &self.key {
            let failed = |why| SecretError::new(SecretErrorKind::Unreadable, format!("`service.token_key`: {why}"));
            text = seal::seal(&read_key(key).await?, &self.name, &text).map_err(failed)?;
        }
        let kept = self.clone();
        let written = spawn_blocking(move || kept.store.set(&kept.name, &text)).await;
        match written {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unwritable(error.to_string())),
            Err(error) => Err(unwritable(error.to_string())),
        }
    }

    /// Notes that somebody has signed in.
    pub async fn sign(&self) {
        let kept = self.clone();
        // The tokens are kept by now: without the note they are only used later.
        let _ = spawn_blocking(move || kept.store.set(&kept.signed, &Secret::new(String::new()))).await;
    }

    /// Removes them. False if there were none.
    pub async fn remove(&self) -> Result<bool, SecretError> {
        let kept = self.clone();
        let removed = spawn_blocking(move || {
            let removed = kept.store.remove(&kept.name)?;
            kept.store.remove(&kept.signed)?;
            Ok::<_, store::StoreError>(removed)
        });
        let removed = removed.await;
        removed.map_err(|error| unwritable(error.to_string()))?.map_err(|error| unwritable(error.to_string()))
    }

    /// Waits until no other process is about to change them.
    pub async fn lock(&self) -> Result<File, SecretError> {
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            let kept = self.clone();
            let tried = spawn_blocking(move || kept.store.try_lock(&kept.name)).await;
            match tried.map_err(|error| unwritable(error.to_string()))? {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < until => sleep(LOCK_TRIED_EVERY).await,
                Ok(None) => return Err(unavailable("another process has the tokens locked")),
                Err(error) => return Err(unwritable(error.to_string())),
            }
        }
    }
}

async fn read_key(key: &SecretSource) -> Result<Secret, SecretError> {
    secret::read(key).await.map_err(|error| SecretError::new(SecretErrorKind::Unreadable, format!("`service.token_key`: {error}")))
}

fn unavailable(text: &str) -> SecretError {
    SecretError::new(SecretErrorKind::Unavailable { retry_after: None }, text)
}

fn unwritable(why: String) -> SecretError {
    unavailable(&format!("tokens cannot be kept: {why}")).hint("the state directory must be writable and have room; until then no token is asked for")
}
