//! What Exchange's refusals mean, and what to do about them. Pure.

use crate::proto::ews::{Code, CodeKind, Fault, Outcome};
use crate::source::{SourceError, SourceErrorKind};
use std::time::Duration;

/// Longest wait that a server may ask for: a nonsensical number must not put a mailbox to sleep.
const BACK_OFF_MAX: Duration = Duration::from_secs(3600);
/// How long a mailbox that is being moved is left alone.
const MOVING: Duration = Duration::from_secs(300);

/// The error of a refused request.
pub(super) fn of_fault(stage: &'static str, peer: &str, fault: &Fault) -> SourceError {
    error(stage, peer, &fault.code, &fault.text, fault.back_off, "the server refuses the request")
}

/// The error of a refused part of a request.
pub(super) fn of_outcome(stage: &'static str, peer: &str, outcome: &Outcome) -> SourceError {
    error(stage, peer, &outcome.code, &outcome.text, outcome.back_off, "the server refuses this")
}

fn error(stage: &'static str, peer: &str, code: &Code, text: &str, back_off: Option<Duration>, what: &str) -> SourceError {
    let (kind, words, hint) = meaning(code.kind(), what);
    let mut error = SourceError::new(kind, stage, peer, words).said(&format!("{code}: {text}"));
    if let Some(hint) = hint {
        error = error.hint(hint);
    }
    match (code.kind(), back_off) {
        (CodeKind::Busy | CodeKind::Stuck | CodeKind::TooMany, Some(wait)) => error.after(wait.min(BACK_OFF_MAX)),
        (CodeKind::Moving, wait) => error.after(wait.unwrap_or(MOVING).min(BACK_OFF_MAX)),
        _ => error,
    }
}

fn meaning(kind: CodeKind, what: &str) -> (SourceErrorKind, String, Option<&'static str>) {
    use SourceErrorKind::{Auth, Mailbox, Protocol, Throttled};
    let (kind, words, hint) = match kind {
        CodeKind::Busy | CodeKind::Stuck => (
            Throttled,
            "the server has no time for this account now",
            Some("its throttling policy gives the account so much time; it is tried again later, as long as the server says (docs/exchange.md)"),
        ),
        CodeKind::TooMany => (
            Throttled,
            "too many connections or open objects of this account",
            Some("other programs use the same account: give mailgather one of its own, or raise EwsMaxConcurrency (docs/exchange.md)"),
        ),
        CodeKind::Moving => (Throttled, "the mailbox is being moved", Some("it is tried again when the move may be over")),
        CodeKind::NoMailbox => (
            Mailbox,
            "there is no such mailbox",
            Some("check `email`: it is the mailbox's primary address, and the account in it must be on this organisation's servers"),
        ),
        CodeKind::NoFolder => (Mailbox, "there is no such folder", Some("`mailgather test NAME` shows those that there are")),
        CodeKind::Denied => (
            Mailbox,
            "this account may not do that in the mailbox",
            Some("give it the right to the mailbox: Add-MailboxPermission -AccessRights FullAccess (docs/exchange.md)"),
        ),
        CodeKind::Impersonation => (
            Mailbox,
            "this account may not speak as the owner of the mailbox",
            Some("give it the role ApplicationImpersonation (New-ManagementRoleAssignment), or use FullAccess without `impersonate`"),
        ),
        CodeKind::Full => (Mailbox, "the mailbox is full", None),
        CodeKind::Version => (Protocol, "the server does not know this version", Some("`exchange_version: auto` finds out which it knows")),
        CodeKind::Schema => (
            Protocol,
            "the server takes the request for malformed",
            Some("an older `exchange_version` may fit the server; with `auto` this is a fault of ours"),
        ),
        CodeKind::Login => (Auth, "the account is disabled, or its password has expired", None),
        CodeKind::NoItem => (Mailbox, "the message is not there", None),
        CodeKind::NoMime => (Mailbox, "the server cannot make an internet message of it", None),
        CodeKind::Done | CodeKind::SyncState | CodeKind::Other => (Mailbox, what, None),
    };
    (kind, words.to_owned(), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, back_off: Option<u64>) -> SourceError {
        let fault = Fault { code: Code::new(code), text: "words".into(), back_off: back_off.map(Duration::from_millis) };
        of_fault("list", "h:443", &fault)
    }

    #[test]
    fn each_has_its_consequence() {
        use SourceErrorKind::*;
        for (code, back_off, kind, after) in [
            ("ErrorServerBusy", Some(2_500), Throttled, Some(2_500)),
            ("ErrorServerBusy", None, Throttled, None),
            ("ErrorServerBusy", Some(u64::MAX), Throttled, Some(3_600_000)),
            ("ErrorExceededConnectionCount", None, Throttled, None),
            ("ErrorMailboxMoveInProgress", None, Throttled, Some(300_000)),
            ("ErrorNonExistentMailbox", None, Mailbox, None),
            ("ErrorAccessDenied", None, Mailbox, None),
            ("ErrorImpersonateUserDenied", None, Mailbox, None),
            ("ErrorInvalidServerVersion", None, Protocol, None),
            ("ErrorSchemaValidation", None, Protocol, None),
            ("ErrorAccountDisabled", None, Auth, None),
            ("ErrorWhatever", None, Mailbox, None),
        ] {
            let error = of(code, back_off);
            assert_eq!((error.kind, error.retry_after.map(|wait| wait.as_millis())), (kind, after), "{code}");
            assert_eq!(error.server.as_deref(), Some(format!("{code}: words").as_str()));
        }
        assert!(of("ErrorAccessDenied", None).hint.unwrap().contains("FullAccess"));
        assert!(of("ErrorNonExistentMailbox", None).hint.unwrap().contains("`email`"), "the key of the configuration");
        assert!(of("ErrorImpersonateUserDenied", None).hint.unwrap().contains("ApplicationImpersonation"));
    }
}
