//! What a failure means, and whose it is: the disk's, the message's, or that of one recipient's folder.

use crate::disk;
use crate::mail::{Blame, Diagnosis, Outcome, Stage};
use rustix::io::Errno;
use std::path::Path;

pub(super) fn diagnosis(blame: Blame, text: String) -> Diagnosis {
    Diagnosis::of_text(Stage::File, blame, text)
}

/// The folder that all Maildirs are in is not there. It is not made: its file system may not be mounted.
pub(super) fn no_base(base: &Path) -> Diagnosis {
    let hint = format!("create it: mkdir -p {}, owned by the service's user", base.display());
    Diagnosis { hint: Some(hint), ..diagnosis(Blame::Target, format!("cannot open {}: {}", base.display(), Errno::NOENT)) }
}

pub(super) fn target(text: String, hint: Option<String>) -> Outcome {
    Outcome::Deferred(Diagnosis { hint, ..diagnosis(Blame::Target, text) })
}

pub(super) fn message(text: String) -> Outcome {
    Outcome::Deferred(diagnosis(Blame::Message, text))
}

pub(super) fn recipient(text: String) -> Outcome {
    Outcome::Deferred(diagnosis(Blame::Recipient, text))
}

pub(super) fn rejected(text: String) -> Outcome {
    Outcome::Rejected(diagnosis(Blame::Recipient, text))
}

/// A disk that is full or failing is everybody's trouble, anything else that of this folder.
pub(super) fn failure(error: Errno, doing: &str, at: &Path) -> Outcome {
    match error {
        Errno::NOSPC | Errno::DQUOT => target(
            format!("{doing}: {}", disk::told(at, &error.into())),
            Some("make room on the disk of the Maildir; mail stays at its source until it can be written".to_owned()),
        ),
        Errno::IO | Errno::ROFS | Errno::FBIG | Errno::MFILE | Errno::NFILE => target(format!("{doing}: {error}"), None),
        Errno::NOTDIR | Errno::LOOP => recipient(format!("{doing}: it is no folder, or a symbolic link, which is not followed")),
        error => recipient(format!("{doing}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        for error in [Errno::NOSPC, Errno::DQUOT] {
            let Outcome::Deferred(diagnosis) = failure(error, "writing the file failed", Path::new("/proc")) else { panic!() };
            assert_eq!(diagnosis.blame, Blame::Target);
            assert!(diagnosis.to_string().contains("free on /proc, the file system of /proc"), "{diagnosis}");
            assert!(diagnosis.hint.unwrap().starts_with("make room on the disk of the Maildir"));
        }
    }
}
