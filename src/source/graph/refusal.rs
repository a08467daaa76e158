//! What the operator is told of an error answer.

use super::super::{SourceError, SourceErrorKind};
use super::Shared;
use crate::proto::graph::{Meaning, Problem};

/// The error, with what to do about it.
pub(super) fn error(shared: &Shared, stage: &'static str, problem: &Problem) -> SourceError {
    let meaning = problem.meaning();
    let kind = match meaning {
        Meaning::Token => SourceErrorKind::Auth,
        // At the beginning nothing at all may be done; later it is about one thing.
        Meaning::Denied if stage == "login" => SourceErrorKind::Auth,
        Meaning::Denied | Meaning::NoMailbox | Meaning::NotFound | Meaning::NoMime | Meaning::Refused => SourceErrorKind::Mailbox,
        Meaning::Busy | Meaning::Failed => SourceErrorKind::Throttled,
        Meaning::Resync => SourceErrorKind::Protocol,
    };
    let text = match meaning {
        Meaning::Token => "the access token is refused",
        Meaning::Denied => "the token is good, and may not do this with this mailbox",
        Meaning::NoMailbox => "there is no mailbox at this address that Graph can open",
        Meaning::NotFound => "it is not there",
        Meaning::NoMime => "the message cannot be had as MIME",
        Meaning::Busy => "the server has no time for this mailbox now",
        Meaning::Failed => "the server failed",
        Meaning::Resync => "the server cannot tell what has changed, again and again",
        Meaning::Refused => "the server refuses",
    };
    let error = SourceError::new(kind, stage, &shared.peer, text).said(&problem.to_string());
    match hint(meaning, stage) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn hint(meaning: Meaning, stage: &str) -> Option<&'static str> {
    match meaning {
        Meaning::Token => Some(
            "it has expired, was revoked, or was made for another service: the scope has to be https://graph.microsoft.com/.default (or that of the \
             national cloud that `auth.cloud` names)",
        ),
        Meaning::Denied if stage == "dispose" => Some(
            "reading is allowed and changing is not: the app needs Mail.ReadWrite, not Mail.Read; what was delivered stays where it is, and new mail is \
             collected all the same",
        ),
        Meaning::Denied => Some(
            "the app registration needs Mail.ReadWrite (or Mail.Read with `after: keep`) with an administrator's consent, and where RBAC for \
             Applications or an application access policy limits it, this mailbox has to be inside; with delegated permission, the user who logged in \
             needs Mail.ReadWrite.Shared and full access to a shared mailbox",
        ),
        Meaning::NoMailbox => Some(
            "look at `email`: the mailbox has no licence, is not in this tenant or this national cloud, or still lies on one's own Exchange \
             (`protocol: exchange`)",
        ),
        Meaning::Busy => Some("it is tried again when the server allows; other programs that read this mailbox by the same app count too"),
        Meaning::NotFound | Meaning::NoMime | Meaning::Failed | Meaning::Resync | Meaning::Refused => None,
    }
}
