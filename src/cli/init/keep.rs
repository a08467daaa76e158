//! A password that was typed, in the program's own store of secrets.

use super::super::exit::Exit;
use crate::config::store::{Store, is_name};
use crate::mail::Secret;

/// Longest part of a collector's name that goes into the name of its secret: a number may follow.
const STEM_MAX: usize = 58;

/// A name for the password of this collector: never one that holds another secret.
pub(super) fn name(store: &Store, collector: &str, secret: &Secret) -> String {
    let stem: String = collector.trim_start_matches(['_', '-']).chars().take(STEM_MAX).collect();
    let stem = if is_name(&stem) { stem } else { "mailbox".to_owned() };
    let names = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}")));
    let is_free = |name: &String| {
        let path = store.folder().join(name);
        path.symlink_metadata().is_err() || is_same(store, name, secret)
    };
    names.take(1_000).find(is_free).unwrap_or(stem)
}

/// Keeps it. True if it was not there yet.
pub(super) fn write(store: &Store, name: &str, secret: &Secret) -> Result<bool, Exit> {
    if is_same(store, name, secret) {
        return Ok(false);
    }
    // The name was free when it was chosen; that was before the last questions.
    if store.folder().join(name).symlink_metadata().is_ok() {
        eprintln!("error: somebody has set the secret `{name}` meanwhile\nhint: nothing was written; begin again, and it gets another name");
        return Err(Exit::TempFail);
    }
    store.set(name, secret).map(|_| true).map_err(|error| super::super::secret::failed(&error))
}

fn is_same(store: &Store, name: &str, secret: &Secret) -> bool {
    std::fs::read(store.folder().join(name)).is_ok_and(|there| there == secret.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let (one, two) = (Secret::new("one".to_owned()), Secret::new("two".to_owned()));
        assert_eq!(name(&store, "office", &one), "office");
        assert!(write(&store, "office", &one).unwrap() && !write(&store, "office", &one).unwrap());
        assert_eq!((name(&store, "office", &one).as_str(), name(&store, "office", &two).as_str()), ("office", "office-2"));
        assert!(write(&store, "office", &two).is_err() && is_same(&store, "office", &one));
        assert_eq!((name(&store, "_x", &one).as_str(), name(&store, "--", &one).as_str()), ("x", "mailbox"));
        assert!(is_name(&name(&store, &"x".repeat(64), &one)));
    }
}
